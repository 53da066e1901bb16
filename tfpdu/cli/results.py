"""`tfpdu results`, `scripts/results.py`: the experiments of the paper and ours, run, collected, and put side by side.

    tfpdu results --dry_run
    tfpdu results --plan=table1,naive --initial=resnet18_imagenet.weights.h5

Each variant and seed is one `tfpdu run` in --root; the same command goes on where it was stopped and passes over what
is done. As runs end, their numbers and reports without originals are written to --output/runs, and for each experiment
tables and a page beside it, over its own seeds and those that --seeds ever named.
--plan names experiments, "paper", "ours" or "all", or a .json file of your own. --dry_run lists the runs with their
commands and a forecast for this machine. --scale=gpu has directories of its own, gpu in --root and in --output.
--missing passes over runs that --output has with the same settings, though --root lacks them: a plan can be shared out
among machines. --collect writes --output anew from runs that are there, and runs nothing.

Exit codes: 0 done; 2 the input is at fault; 1 some run failed, the others are done; 143 and 130 stopped, to be resumed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfpdu.cli import app
from tfpdu.common.errors import UserError

if TYPE_CHECKING:
    from tfpdu.experiments import Experiment
    from tfpdu.experiments.campaign import Cell

_PLAN = flags.DEFINE_list("plan", ["all"], "experiments to run, or .json files of such")
_ROOT = flags.DEFINE_string("root", "runs/results", "where the run directories are")
_OUTPUT = flags.DEFINE_string("output", "docs/results", "where to collect what is kept")
_SCALE = flags.DEFINE_enum("scale", "cpu", ["cpu", "gpu"], "gpu: the twins at full scale")
_SEEDS = flags.DEFINE_list("seeds", [], "in place of each experiment's own")
_INITIAL = flags.DEFINE_string("initial", "", "weights for variants that start from some, a file of `tfpdu convert`")
_GENERATOR = flags.DEFINE_string("generator", "", "a trained generator for variants whose lineage is public")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "list the runs, with minutes as forecast; run nothing")
_MISSING = flags.DEFINE_bool("missing", False, "run only what --output has not got")
_COLLECT = flags.DEFINE_bool("collect", False, "only collect the runs that are there")

_FORECAST = "forecast.json"


def _main(argv: Sequence[str]) -> None:
    del argv
    from tfpdu.common import files, say
    from tfpdu.common.run_directory import held, made
    from tfpdu.experiments import KNOWN, chosen
    from tfpdu.experiments.campaign import Campaign, Changes, cells_of
    from tfpdu.experiments.collection import collect_run, is_collected, refuse_another, summary_of, with_seeds

    seeds = _seeds()
    experiments = chosen(_PLAN.value, KNOWN)
    changes = Changes(seeds, _SCALE.value == "gpu", _INITIAL.value, _GENERATOR.value)
    root, output = Path(_ROOT.value), Path(_OUTPUT.value, "gpu" if changes.gpu else "")
    cells = cells_of(experiments, root, app.load_preset, changes)
    if _MISSING.value:
        cells = [cell for cell in cells if not is_collected(cell, _place(cell, output))]
    for cell in cells:
        refuse_another(cell, _place(cell, output))
    if _DRY_RUN.value:
        print("\n".join(_forecast(cells, root)))
        return
    shown = [with_seeds(e, seeds, output) for e in experiments]
    chosen_names, variants = [e.name for e in experiments], {cell.variant.name for cell in cells}
    others = [  # what is there of others, with which these share runs
        with_seeds(e, (), output)
        for e in KNOWN["all"]
        if e.name not in chosen_names and summary_of(output, e).is_file() and variants & {v.name for v in e.variants}
    ]
    made(root, "--root")
    with held(root, "--root"):
        minutes = files.read_json(root / _FORECAST) if (root / _FORECAST).is_file() else {}
        campaign = Campaign(cells, minutes)
        if _COLLECT.value:
            for cell in cells:
                if cell.done:
                    collect_run(cell, _place(cell, output))
            failed = []
        else:
            left = campaign.minutes_left()
            say(f"{len(cells)} runs" + (f", about {left / 60:.1f} h left" if left is not None else ""))
            failed = campaign.run(lambda cell: _collect(cell, [*shown, *others], output))
        for experiment in shown:
            if _summarise(experiment, output):
                print(output / experiment.name / "index.html")
        for experiment in others:
            _summarise(experiment, output)
    if failed:
        print("\n".join(f"tfpdu: {line}" for line in failed), file=sys.stderr)
        sys.exit(1)


def _place(cell: "Cell", output: Path) -> Path:
    from tfpdu.experiments.collection import place_of

    return place_of(output, cell.variant.name, cell.seed)


def _collect(cell: "Cell", experiments: "Sequence[Experiment]", output: Path) -> None:
    """Collects a run, and makes the tables and pages anew of the experiments that it is part of."""
    from tfpdu.experiments.collection import collect_run

    collect_run(cell, _place(cell, output))
    for experiment in experiments:
        if cell.variant.name in [variant.name for variant in experiment.variants] and cell.seed in experiment.seeds:
            _summarise(experiment, output)


def _summarise(experiment: "Experiment", output: Path) -> bool:
    """Writes the table and page of an experiment, unless none of its runs is there."""
    from tfpdu.common import files
    from tfpdu.experiments.collection import summarise_experiment, summary_of
    from tfpdu.reporting.experiment_page import write_experiment_page

    summary = summarise_experiment(experiment, output)
    if summary["variants"]:
        files.write_json(summary_of(output, experiment), summary)
        write_experiment_page(output / experiment.name, summary, experiment.measures)
    return bool(summary["variants"])


def _forecast(cells: "Sequence[Cell]", root: Path) -> list[str]:
    """A line a run: minutes, and the command; the minutes are kept for the run itself."""
    from tfpdu.common import files
    from tfpdu.forecast import Known, forecast_minutes

    minutes: dict[str, float] = {}
    known: Known = {}
    lines, total = [], 0.0
    for cell in cells:
        if cell.done:
            lines.append(f"      done  {cell.command}")
            continue
        if cell.variant.name not in minutes:
            try:
                minutes[cell.variant.name] = forecast_minutes(cell.config, known)
            except UserError as error:  # data or weights that are not here; the other runs are told of all the same
                lines.append(f"         ?  {cell.command}  ({error})")
                continue
        total += minutes[cell.variant.name]
        lines.append(f"{minutes[cell.variant.name]:6.1f} min  {cell.command}")
    if root.is_dir():
        files.write_json(root / _FORECAST, minutes)
    return [*lines, f"{total:6.1f} min  in all, {len(cells)} runs"]


def _seeds() -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in _SEEDS.value)
    except ValueError:
        raise UserError(f"--seeds={','.join(_SEEDS.value)}: expected whole numbers, e.g. 0,1,2") from None


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
