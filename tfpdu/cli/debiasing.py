"""`tfpdu debiasing`, `scripts/compare_debiasing.py`: does debiasing by diffusion help, and does deletion hurt groups?

    tfpdu debiasing --config=cifar10:imbalanced --workdir=runs/debiasing --dry_run     # cells, and how long they take
    tfpdu debiasing --config=cifar10:imbalanced --workdir=runs/debiasing
    tfpdu debiasing --config=celeb_a:cpu --workdir=runs/faces --generator=train --output=docs/results/debiasing.json
    tfpdu debiasing --config=celeb_a:cpu --workdir=runs/faces --study=deletion --generator=train

--study=methods compares what is trained on a biased table: nothing done about it, copies, fewer rows, weights, sampling
by group, group DRO, and rows of a generator; the same steps from the same weights for each. --study=deletion forgets
rows that fall on one group, that an adversary chose, or at random, and measures groups before and after.

Samples are those of config.generator.pretrained. --generator is the directory of a run of the same config, whose
samples are used instead (tfpdu run --config.loop.until=0 makes one); "train" makes such a run in --workdir. Without
either, diffusion is left out.

A cell that is done is kept in --workdir, and the same command goes on where it was stopped. Prints the table;
<study>.json, .csv and .html are written there after every run, or to --output. Both studies share a --workdir.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfpdu.cli import app
from tfpdu.common.errors import UserError

if TYPE_CHECKING:
    from tfpdu.debiasing import Comparison, Deletion

_CONFIG = app.define_config()
_WORKDIR = flags.DEFINE_string("workdir", "", "directory of the studies; one that exists is resumed")
_STUDY = flags.DEFINE_enum("study", "methods", ["methods", "deletion"], "which question")
_METHODS = flags.DEFINE_list("methods", [], "of --study=methods; default all")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "each draws initial weights, orders, copies and forget sets")
_ETA = flags.DEFINE_float("eta", 0.01, "step size of group DRO's weights")
_SHARE = flags.DEFINE_float("share", 0.5, "of --study=deletion: rows to forget, as a share of the smallest group")
_GENERATOR = flags.DEFINE_string("generator", "", "the directory of a run of the same config, or train")
_OUTPUT = flags.DEFINE_string("output", "", "where to write the results, a .json file; .csv and .html go beside it")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "say which cells there are and how long they take; run none")

_FREE = ("config.study.methods", "config.study.seeds", "config.study.generator")  # they only add cells


def _main(argv: Sequence[str]) -> None:
    del argv
    config = app.as_dict(_CONFIG.value)
    if "ensemble" not in config:
        raise UserError("--config: expected a run's, such as cifar10:imbalanced; this is a benchmark's")
    output = app.json_path(_OUTPUT.value)
    if not _WORKDIR.value:
        raise UserError("--workdir: expected a directory for the study, e.g. --workdir=runs/debiasing")
    from tfpdu.common.run_directory import RunDirectory
    from tfpdu.debiasing import METHODS, StudySettings

    settings = StudySettings(tuple(_METHODS.value) or tuple(METHODS), _whole(_SEEDS.value), _ETA.value, _SHARE.value)
    study = {"eta": settings.eta, "share": settings.share, "methods": settings.methods, "seeds": settings.seeds}
    study["generator"] = _GENERATOR.value
    run = RunDirectory(_WORKDIR.value, {**config, "study": study}, free=_FREE)
    with run.lock():
        grid = _grid(config, settings, run.path)
        if _DRY_RUN.value:
            from tfpdu.debiasing.forecast import forecast

            print(forecast(grid.study, grid.cells, grid.names))
            return
        try:
            grid.run()
        finally:
            _write(grid, {**config, "study": study}, output or run.path / f"{_STUDY.value}.json")


def _whole(texts: Sequence[str]) -> tuple[int, ...]:
    try:
        return tuple(int(text) for text in texts)
    except ValueError:
        raise UserError(f"--seeds={','.join(texts)}: expected whole numbers") from None


def _grid(config: dict[str, Any], settings: Any, directory: Path) -> "Comparison | Deletion":
    from tfpdu.common.cells import Cells
    from tfpdu.common.determinism import configure
    from tfpdu.debiasing import Comparison, Deletion, Source, Study
    from tfpdu.material import gather
    from tfpdu.settings import Settings

    run_settings = Settings.from_config(config)
    configure(run_settings.ensemble.threads)
    material = gather(run_settings)
    kind = Comparison if _STUDY.value == "methods" else Deletion
    source = Source(_GENERATOR.value, config, material, directory)
    return kind(Study(run_settings, material), settings, Cells(directory / _STUDY.value), source)


def _write(grid: "Comparison | Deletion", config: dict[str, Any], path: Path) -> None:
    """The table, and the files."""
    lines = grid.results()
    if not lines:
        return
    from tfpdu.common import files
    from tfpdu.common.machine import processor
    from tfpdu.reporting.group_study import as_csv, as_lines, as_summary
    from tfpdu.reporting.group_study_page import write_study_page
    from tfpdu.reporting.group_study_words import report_of

    machine = {"processor": processor(), "threads": grid.study.settings.ensemble.threads}
    report = report_of(grid, lines, machine)
    summary = as_summary(report.results, report.differences, report.verdicts)
    seconds = sum(line["cell_seconds"] for line in lines)
    head = {"study": _STUDY.value, "config": config, "machine": machine, "seconds": seconds}
    files.write_json(path, {**head, "summary": summary, "cells": lines})
    files.write_text(path.with_suffix(".csv"), as_csv(lines))
    write_study_page(path.with_suffix(".html"), report)
    print("\n".join(as_lines(report.results, report.names, report.verdicts)))
    print(*(path.with_suffix(suffix) for suffix in (".json", ".csv", ".html")), sep="\n")


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
