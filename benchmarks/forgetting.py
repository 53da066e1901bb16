"""Test accuracy and cost of Algorithm 2's steps with forget-ordered slices and with plain SISA, beside full retraining.

    python benchmarks/forgetting.py --config=cifar10:cpu --generator=cifar10 --directory=runs/forgetting \
      --output=forgetting.jsonl --config.generator.floor=0
    python benchmarks/forgetting.py --output=docs/results/forgetting.jsonl --summary

For each seed the tables of all steps are made once; then each method learns the same tables, in the same shards: `full`
trains whole shards (one slice), `forget` has forget-ordered slices, `sisa` four slices dealt by hash. A seed draws S,
its synthetic rows, the order of forgetting and the weights that training starts from.

A line of JSON is appended to --output when a step is learned and tested. The same command goes on where it was killed:
lines that are there are not measured again, and --directory holds the tables, the weights, and unfinished trainings.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from tfpdu.cli import app
from tfpdu.common import files, say
from tfpdu.common.errors import UserError
from tfpdu.common.intervals import student
from tfpdu.common.run_directory import RunDirectory
from tfpdu.common.seeds import stable_hash

METHODS = {
    "full": {"slices": 1, "slice_order": "even"},
    "forget": {"slices": 2, "slice_order": "forget"},
    "sisa": {"slices": 4, "slice_order": "even"},
}
Line = dict[str, Any]


def run_of(config: dict[str, Any], directory: Path, seed: int) -> RunDirectory:
    """The directory of a seed's tables and weights; its slices are replaced, and its seed."""
    # Rows are dealt to the most slices that a method has; one with fewer looks away.
    ensemble = {**config["ensemble"], **METHODS["sisa"]}
    return RunDirectory(directory / f"seed-{seed}", {**config, "seed": seed, "ensemble": ensemble})


class Seed:
    """The tables of one seed's steps, and what each method makes of them.

    Args:
      run: its directory, held by this process.
    """

    def __init__(self, run: RunDirectory):
        from tfpdu.common.determinism import configure
        from tfpdu.settings import Settings
        from tfpdu.state import State

        self.run, self.settings = run, Settings.from_config(run.config)
        if self.settings.generator.lineage == "strict":
            raise UserError("config.generator.lineage=strict: the tables of all steps have to be there at once")
        configure(self.settings.ensemble.threads)
        self.state = State.open(self.settings, run)

    def make_tables(self, steps: int) -> None:
        """Makes the rows of steps 0..steps, or finds them."""
        from tfpdu.steps import Step
        from tfpdu.synthesis import Exhausted

        for t in range(steps + 1):
            if self.run.event("iteration", t) is not None:
                continue
            try:
                records = self.state.tables.after(Step(t)).records
            except Exhausted as end:
                raise UserError(f"--steps={steps}: step {t}: {end}") from None
            counts = {"n_original": int(records.is_original.sum()), "n_synthetic": int((~records.is_original).sum())}
            self.run.record({"event": "iteration", "iteration": t, **counts})

    def table(self, method: str, t: int) -> Any:
        """The table of a step, its slices as the method has them."""
        from tfpdu.steps import Step
        from tfpdu.tables import Tables

        state, settings = self.state, self.settings_of(method)
        table = Tables(state.material, state.prior, settings, self.run, frozenset()).now(Step(t))
        return dataclasses.replace(table, slice=np.minimum(table.slice, settings.ensemble.slices - 1))

    def settings_of(self, method: str) -> Any:
        """The settings of the run with the method's slices."""
        ensemble = dataclasses.replace(self.settings.ensemble, **METHODS[method])
        return dataclasses.replace(self.settings, ensemble=ensemble)

    def learn(self, method: str, t: int) -> Line:
        """Learns (t = 0) or unlearns a step, in the method's own folder, and tests it."""
        from tfpdu.state import learner_of

        settings, test = self.settings_of(method), self.state.material.pools.test
        learner = learner_of(self.state.material, settings, self.run.file(method))
        if t and not (learner.directory / "learned.json").exists():
            raise UserError(f"{learner.directory}: the weights of step {t - 1} are gone; start with another --output")
        table = self.table(method, t)
        learned = learner.learn(table.records, table.shard, table.slice, table.weights)
        right = learned.ensemble.probabilities(test.images).argmax(1) == test.labels
        return {
            "test_accuracy": float(right.mean()),
            "row_epochs": learned.row_epochs,
            "cost": learned.row_epochs / (len(table.records) * settings.ensemble.epochs),
            "seconds": learned.seconds,
            "rows": len(table.records),
            "n_original": int(table.records.is_original.sum()),
        }


def measure(
    config: dict[str, Any], directory: Path, output: Path, seeds: Sequence[int], methods: Sequence[str], steps: int
) -> None:
    """Appends the lines that `output` lacks."""
    name = f"{stable_hash(json.dumps({**config, 'seed': None}, sort_keys=True)):016x}"
    for number in seeds:
        if all(len(_done(output, name, number, method)) > steps for method in methods):
            continue
        run = run_of(config, directory, number)
        with run.lock():
            seed = Seed(run)
            seed.make_tables(steps)
            for method in methods:
                for t in range(len(_done(output, name, number, method)), steps + 1):
                    line = {"config": name, "seed": number, "method": method, "step": t, **seed.learn(method, t)}
                    files.append_json_line(output, line)
                    say(f"seed {number}, {method}, step {t}: {line['test_accuracy']:.4f}, cost {line['cost']:.3f}")


def _done(output: Path, name: str, seed: int, method: str) -> list[Line]:
    """The lines of a seed and method: steps 0, 1, 2, ..."""
    lines = files.read_json_lines(output)
    if any(line["config"] != name for line in lines):
        raise UserError(f"--output={output}: holds lines of another configuration; name another file")
    found = [line for line in lines if (line["seed"], line["method"]) == (seed, method)]
    if [line["step"] for line in found] != list(range(len(found))):
        raise UserError(f"--output={output}: steps of seed {seed}, {method} are missing; name another file")
    return found


# ---- summary -----------------------------------------------------------------------------------------


def summary(lines: Sequence[Line]) -> list[Line]:
    """What each method reaches over the forgetting steps (1 and later) and all seeds.

    Returns:
      A dict a method: `steps`, how many in all; `accuracy`, their mean; `row_epochs` and `seconds`, their sums;
      `first_cost` and `mean_cost`, of step 1 and of all, as shares of a full training. And where `full` has the same
      steps, the difference to it in accuracy: `by_seed` and `by_step`, its means over the others; `difference`, the
      mean over seeds; `interval`, half its Student 95 % interval (None for one seed); `worst`, the lowest of all.
    """
    tested = {(line["method"], line["seed"], line["step"]): line for line in lines if line["step"]}
    found = []
    for method in dict.fromkeys(method for method, _, _ in tested):
        own = [line for (name, _, _), line in tested.items() if name == method]
        gaps = {
            (line["seed"], line["step"]): line["test_accuracy"] - tested[other]["test_accuracy"]
            for line in own
            if (other := ("full", line["seed"], line["step"])) in tested
        }
        found.append(
            {
                "method": method,
                "steps": len(own),
                "accuracy": float(np.mean([line["test_accuracy"] for line in own])),
                "row_epochs": sum(line["row_epochs"] for line in own),
                "seconds": sum(line["seconds"] for line in own),
                "first_cost": float(np.mean([line["cost"] for line in own if line["step"] == 1])),
                "mean_cost": float(np.mean([line["cost"] for line in own])),
                **(_differences(gaps) if gaps else {}),
            }
        )
    return found


def _differences(gaps: dict[tuple[int, int], float]) -> Line:
    def means(axis: int) -> dict[int, float]:
        keys = sorted({at[axis] for at in gaps})
        return {key: float(np.mean([gap for at, gap in gaps.items() if at[axis] == key])) for key in keys}

    by_seed = means(0)
    values = list(by_seed.values())
    half = student(values)[1] if len(values) > 1 else None
    summed = {"difference": float(np.mean(values)), "interval": half, "worst": min(gaps.values())}
    return {**summed, "by_seed": by_seed, "by_step": means(1)}


def table_of(found: Sequence[Line]) -> list[str]:
    """The summary as a table: accuracies in percent, differences to full retraining in points."""
    heads = ("method", "steps", "accuracy", "to full (95 %)", "each seed", "worst step, mean", "worst step of a seed")
    lines = [
        f"| {' | '.join((*heads, 'cost of step 1', 'mean cost', 'rows x epochs', 'minutes'))} |",
        "|---" * 11 + "|",
    ]
    for one in found:
        cells = [one["method"], f"{one['steps']}", f"{100 * one['accuracy']:.2f}", *[""] * 4]
        if "difference" in one:
            half = "" if one["interval"] is None else f" ± {100 * one['interval']:.2f}"
            step, gap = min(one["by_step"].items(), key=lambda item: item[1])
            cells[3] = f"{100 * one['difference']:+.2f}{half}"
            cells[4] = ", ".join(f"{100 * value:+.2f}" for value in one["by_seed"].values())
            cells[5:] = [f"{100 * gap:+.2f} ({step})", f"{100 * one['worst']:+.2f}"]
        cells += [f"{one['first_cost']:.3f}", f"{one['mean_cost']:.3f}", f"{one['row_epochs']}"]
        lines.append(f"| {' | '.join(cells)} | {one['seconds'] / 60:.1f} |")
    return lines


# ---- command -----------------------------------------------------------------------------------------


def _main(argv: Sequence[str]) -> None:
    del argv
    values = flags.FLAGS
    if not values.output:
        raise UserError("--output: expected a file for the lines, e.g. --output=forgetting.jsonl")
    output = Path(values.output)
    if not values.summary:
        if not values.directory:
            raise UserError("--directory: expected a folder for tables and weights")
        config = app.as_dict(values.config)
        if values.generator:
            config["generator"] |= {"pretrained": values.generator, "lineage": "public"}
        steps = config["loop"]["iterations"] if values.steps is None else values.steps
        if steps > config["loop"]["iterations"]:
            raise UserError(f"--steps={steps}: config.loop.iterations={config['loop']['iterations']} has no more")
        seeds, methods = _numbers(values.seeds), _known(values.methods)
        measure(config, Path(values.directory), output, seeds, methods, steps)
    lines = files.read_json_lines(output)
    if not lines:
        raise UserError(f"--output={output}: holds no lines")
    print("\n".join(table_of(summary(lines))))


def _numbers(words: Sequence[str]) -> list[int]:
    if not all(word.isdecimal() for word in words) or not words:
        raise UserError(f"--seeds={','.join(words)}: expected whole numbers, e.g. 0,1,2")
    return [int(word) for word in words]


def _known(methods: Sequence[str]) -> list[str]:
    from tfpdu.common.validation import one_of

    for method in methods:
        one_of(METHODS, **{"--methods": method})
    return list(methods)


if __name__ == "__main__":  # not where tests import it: other commands have flags of the same names
    app.define_config()
    flags.DEFINE_string("generator", "", "directory of a generator of public rows; empty: the configuration's")
    flags.DEFINE_string("directory", "", "keep tables and weights here")
    flags.DEFINE_string("output", "", "JSON lines: one a seed, method and step")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "of the runs")
    flags.DEFINE_list("methods", list(METHODS), "which of full, forget, sisa")
    flags.DEFINE_integer("steps", None, "forgetting steps; by default config.loop.iterations", lower_bound=1)
    flags.DEFINE_bool("summary", False, "only print the table of --output")
    app.run(_main)
