"""`tfpdu results`, `scripts/results.py`: the experiments of the paper and ours, run, collected, and put side by side.

    tfpdu results --dry_run
    tfpdu results --plan=table1,naive --initial=resnet18_imagenet.weights.h5

Each variant and seed is one `tfpdu run` in --root; the same command goes on where it was stopped and passes over what
is done. As runs end, their numbers, reports without originals, tables over seeds and pages are written to --output.
--plan names experiments, "paper", "ours" or "all", or a .json file of your own. --dry_run lists the runs with their
commands and a forecast for this machine. --scale=gpu has directories of its own, gpu in --root and in --output.
--missing passes over runs that --output has with the same settings, though --root lacks them: a plan can be shared out
among machines. --collect writes --output anew from runs that are there, and runs nothing.

Exit codes: 0 done; 2 the input is at fault; 1 some run failed, the others are done; 143 and 130 stopped, to be resumed.
"""

import shutil
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

    experiments = chosen(_PLAN.value, KNOWN)
    changes = Changes(_seeds(), _SCALE.value == "gpu", _INITIAL.value, _GENERATOR.value)
    root, output = Path(_ROOT.value), Path(_OUTPUT.value, "gpu" if changes.gpu else "")
    cells = cells_of(experiments, root, app.load_preset, changes)
    if _MISSING.value:
        cells = [cell for cell in cells if not _shared_out(cell, experiments, output)]
    if _DRY_RUN.value:
        print("\n".join(_forecast(cells, root)))
        return
    made(root, "--root")
    with held(root, "--root"):
        minutes = files.read_json(root / _FORECAST) if (root / _FORECAST).is_file() else {}
        campaign = Campaign(cells, minutes)
        if _COLLECT.value:
            for cell in cells:
                if cell.done:
                    _collect(cell, experiments, output)
            failed = []
        else:
            left = campaign.minutes_left()
            say(f"{len(cells)} runs" + (f", about {left / 60:.1f} h left" if left is not None else ""))
            failed = campaign.run(lambda cell: _collect(cell, experiments, output))
    for experiment in experiments:
        if (output / experiment.name / "index.html").is_file():
            print(output / experiment.name / "index.html")
    if failed:
        print("\n".join(f"tfpdu: {line}" for line in failed), file=sys.stderr)
        sys.exit(1)


def _places(cell: "Cell", experiments: "Sequence[Experiment]", output: Path) -> "dict[Path, Experiment]":
    """Where a run is collected: once in each experiment that it is part of."""
    from tfpdu.experiments.collection import collected_name

    name = collected_name(cell.variant.name, cell.seed)
    own = [e for e in experiments if cell.variant.name in [variant.name for variant in e.variants]]
    return {output / experiment.name / name: experiment for experiment in own}


def _collect(cell: "Cell", experiments: "Sequence[Experiment]", output: Path) -> None:
    """Collects a run into each experiment that it is part of, and makes their tables and pages anew."""
    from tfpdu.experiments.collection import collect_run

    for place, experiment in _places(cell, experiments, output).items():
        collect_run(cell, place)
        _summarise(experiment, output)


def _shared_out(cell: "Cell", experiments: "Sequence[Experiment]", output: Path) -> bool:
    """Whether a run is collected; an experiment that lacks it gets it from another that has it."""
    from tfpdu.common.files import TEMPORARY
    from tfpdu.experiments.collection import is_collected

    places = _places(cell, experiments, output)
    there = [place for place in places if is_collected(cell, place)]
    for place, experiment in places.items() if there and not _DRY_RUN.value else ():
        if place not in there:
            half = place.with_name(f"{TEMPORARY}{place.name}")
            for old in (half, place):
                shutil.rmtree(old, ignore_errors=True)
            shutil.copytree(there[0], half)
            half.rename(place)
            _summarise(experiment, output)
    return bool(there)


def _summarise(experiment: "Experiment", output: Path) -> None:
    from tfpdu.common import files
    from tfpdu.experiments.collection import summarise_experiment
    from tfpdu.reporting.experiment_page import write_experiment_page

    summary = summarise_experiment(experiment, output / experiment.name)
    files.write_json(output / experiment.name / "summary.json", summary)
    write_experiment_page(output / experiment.name, summary, experiment.measures)


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
