"""What runs found, small enough to be kept: their files without pictures of originals, and tables over seeds.

Below one directory, `runs/<variant>-seed-<k>/` has the files of a run, once for all experiments that it is part of, and
`<experiment>/` has `summary.json`, figures and `index.html`. A summary is computed from the collected files alone, so
each of its numbers can be made again from them.
"""

import dataclasses
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from tfpdu.common import UserError, files
from tfpdu.common.run_directory import difference
from tfpdu.experiments.campaign import FREE, Cell
from tfpdu.experiments.plan import RUNS, Contrast, Experiment
from tfpdu.reporting.comparison import NOT_COMPARABLE, compare
from tfpdu.reporting.html import render
from tfpdu.reporting.measurements import Measured, Measurements, measurements, over_seeds
from tfpdu.reporting.run_data import RunData, read_run
from tfpdu.reporting.samples import grid
from tfpdu.reporting.summary import summarise

FILES = ("manifest.json", "bias.json", "audit.json", "table1.csv")


def place_of(output: Path, variant: str, seed: int) -> Path:
    """The directory of a collected run."""
    return output / RUNS / f"{variant}-seed-{seed}"


def summary_of(output: Path, experiment: Experiment) -> Path:
    """The file with an experiment's summary."""
    return output / experiment.name / "summary.json"


def with_seeds(experiment: Experiment, seeds: Sequence[int], output: Path) -> Experiment:
    """The experiment with more seeds, and with those that its summary has already."""
    path = summary_of(output, experiment)
    before = files.read_json(path)["variants"].values() if path.is_file() else ()
    every = {*experiment.seeds, *seeds, *(seed for variant in before for seed in variant["seeds"])}
    return dataclasses.replace(experiment, seeds=tuple(sorted(every)))


def collect_run(cell: Cell, directory: Path) -> None:
    """Copies what is to be kept of a run: numbers, settings, and its report without originals.

    Of group fairness, the first and the last iteration: those between are in the report, and are most of a run's bytes.
    Paths in the settings become names. Where originals may not be shown, samples are not either if one of them is
    still so near to a training row that it should have been drawn again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    run = read_run(cell.workdir)
    for name in FILES:
        if (run.workdir / name).is_file():
            shutil.copyfile(run.workdir / name, directory / name)
    files.write_json(directory / "fairness.json", _ends(run.fairness))
    files.write_text(directory / "metrics.jsonl", "".join(json.dumps(_nameless(event)) + "\n" for event in run.events))
    files.write_json(directory / "config.json", _nameless(run.config))
    took = files.read_json(cell.notes) if cell.notes.is_file() else {}
    files.write_json(directory / "cell.json", {"seconds": took.get("seconds"), "command": _command(cell)})
    shown = run if may_show_samples(run) else dataclasses.replace(run, showcase={})
    if "synthetic" in shown.showcase:
        _write_grid(shown.showcase["synthetic"], directory / "samples.png")
    files.write_text(directory / "report.html", render(shown, show_originals=False))


def _ends(fairness: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    last = max((row["iteration"] for row in fairness), default=0)
    return [row for row in fairness if row["iteration"] in (0, last)]


def is_collected(cell: Cell, directory: Path) -> bool:
    """Whether a directory holds what `collect_run` kept of this run, finished, with the very settings of the cell."""
    if not (directory / "config.json").is_file() or not (directory / "report.html").is_file():
        return False
    return not _difference(cell, directory) and summarise(read_run(directory)).finished


def refuse_another(cell: Cell, directory: Path) -> None:
    """Raises `UserError` where a run of other settings is kept: of another plan's variant of this name, or older."""
    if (directory / "config.json").is_file() and (different := _difference(cell, directory)):
        raise UserError(f"{directory}: holds another run, {different}; remove it, or name another --output")


def _difference(cell: Cell, directory: Path) -> str:
    return difference(files.read_json(directory / "config.json"), _nameless(cell.config), FREE)


def _write_grid(samples: np.ndarray, path: Path) -> None:
    """uint8[C, k, h, w, c] as one picture, a row a class, pixels doubled."""
    picture = grid(samples).repeat(2, 0).repeat(2, 1)
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(buffer, "PNG")
    files.write_bytes(path, buffer.getvalue())


def may_show_samples(run: RunData) -> bool:
    """Whether the samples of a run may be passed on."""
    if run.setting("report.originals") is not False:
        return True
    return not any(row.get("kept_copies") for row in run.named("augment"))


def summarise_experiment(experiment: Experiment, output: Path) -> dict[str, Any]:
    """The summary of an experiment, JSON-ready, from what is collected of its variants and seeds below `output`."""
    found = {v.name: _collected(experiment, v.name, output) for v in experiment.variants}
    numbers = {name: {run.setting("seed"): measurements(run) for run in runs} for name, runs in found.items()}
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "question": experiment.question,
        "variants": {
            v.name: {"words": v.words, **_variant(found[v.name], list(numbers[v.name].values()))}
            for v in experiment.variants
            if found[v.name]
        },
        "missing": [
            f"{v.name}, seed {seed}"
            for v in experiment.variants
            for seed in experiment.seeds
            if seed not in numbers[v.name]
        ],
        "contrasts": [
            {**dataclasses.asdict(c), **_number(contrast(c, numbers[c.first], numbers[c.second]))}
            for c in experiment.contrasts
        ],
    }


def contrast(wanted: Contrast, first: dict[int, Measurements], second: dict[int, Measurements]) -> Measured | None:
    """The difference of two variants over the seeds that both have, paired; None without one.

    Over two seeds or more the interval is Student's t of the differences. A single pair has none: what varies between
    two trainings is not in the intervals of one.
    """
    seeds = [
        s for s in sorted(first.keys() & second.keys()) if wanted.measure in first[s] and wanted.measure in second[s]
    ]
    if not seeds:
        return None
    pairs = [Measured(first[s][wanted.measure].value - second[s][wanted.measure].value) for s in seeds]
    return over_seeds([{"": pair} for pair in pairs])[""]


def _collected(experiment: Experiment, variant: str, output: Path) -> list[RunData]:
    places = [place_of(output, variant, seed) for seed in experiment.seeds]
    return [read_run(place) for place in places if (place / "report.html").is_file()]  # the last that is written of one


def _variant(runs: Sequence[RunData], numbers: Sequence[Measurements]) -> dict[str, Any]:
    cells = [files.read_json(run.workdir / "cell.json") for run in runs]
    lines = compare([run.workdir for run in runs]).lines
    return {
        "seeds": [run.setting("seed") for run in runs],
        "runs": [f"../{RUNS}/{run.workdir.name}" for run in runs],
        "commands": [cell["command"] for cell in cells],
        "seconds": [cell["seconds"] for cell in cells],
        "machine": sorted({f"{run.manifest.get('cpu')}, {run.manifest.get('device')}" for run in runs}),
        "measures": {name: _number(value) for name, value in over_seeds(list(numbers)).items()},
        "paper": [line.as_json() for line in lines if line.verdict != NOT_COMPARABLE],
    }


def _number(value: Measured | None) -> dict[str, Any]:
    if value is None:
        return {"value": None, "low": None, "high": None, "runs": 0, "interval": "none"}
    return {**dataclasses.asdict(value), "interval": value.interval}


def _command(cell: Cell) -> str:
    """Without the places of this machine."""
    words = ["tfpdu", *cell.words]
    return " ".join(
        f"{word.partition('=')[0]}={_name(word.partition('=')[2])}" if "=" in word else word for word in words
    )


def _nameless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nameless(item) for key, item in value.items()}
    return _name(value) if isinstance(value, str) else value


def _name(text: str) -> str:
    return PurePath(text).name if text.startswith(("/", "~")) else text
