"""`tfpdu benchmark`, `scripts/benchmark_unlearning.py`: unlearning methods x scenarios x seeds, measured alike.

    tfpdu benchmark --config=bench_digits --workdir=runs/bench_digits
    tfpdu benchmark --config=bench_cifar10:cpu --workdir=runs/bench --dry_run        # cells, and how long they take
    tfpdu benchmark --config=bench_cifar10:cpu --workdir=runs/bench --tune=8         # search settings first, see below
    tfpdu benchmark --workdir=runs/bench --config=bench_cifar10:cpu --output=docs/results/bench.json

A cell that is done is kept in --workdir, and the same command goes on where it was stopped. Prints the table;
benchmark.json, benchmark.csv and benchmark.html are written there after every run, or to --output. With --missing,
cells that --output has already are not run again, so that machines can share a benchmark, a seed each.

--tune=N tries N settings of each method in each scenario, the recipe and N - 1 at random, on rows that the benchmark
does not forget and without the retrained model. It prints recipes to put into the config; all trials are kept in
tuning.json, or --output. --oracle (tuning-oracle.json) searches by the distance to the retrained model on the
benchmark's own rows, as published tables do; label such numbers so.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfpdu.cli import app
from tfpdu.common.errors import UserError

if TYPE_CHECKING:
    from tfpdu.unlearning.benchmark import Benchmark, BenchmarkSettings, Tables

_CONFIG = app.define_config("bench_digits")
_WORKDIR = flags.DEFINE_string("workdir", "", "directory of the benchmark; default runs/bench_<data set of the config>")
_OUTPUT = flags.DEFINE_string("output", "", "where to write the results, a .json file; .csv and .html go beside it")
_TUNE = flags.DEFINE_integer(
    "tune", 0, "settings to try for each method and scenario, in place of the benchmark", lower_bound=0
)
_TUNE_SEED = flags.DEFINE_integer("tune_seed", 0, "of the search", lower_bound=0)
_ORACLE = flags.DEFINE_bool("oracle", False, "with --tune: judge by the distance to the retrained model, as papers do")
_MISSING = flags.DEFINE_bool("missing", False, "take what --output has already, by the same config, for done")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "say which cells (or trials) there are and how long they take")

_FREE = ("config.bench.scenarios", "config.bench.methods", "config.bench.seeds")  # they only add or leave out cells


def _main(argv: Sequence[str]) -> None:
    del argv
    config = app.as_dict(_CONFIG.value)
    if "bench" not in config:
        raise UserError("--config: expected a benchmark's, such as bench_digits; this is a run's, for tfpdu run")
    output = app.json_path(_OUTPUT.value)
    from tfpdu.common.run_directory import RunDirectory
    from tfpdu.unlearning.benchmark import Benchmark

    settings, tables = _prepared(config)  # before a directory is made for what cannot be
    run = RunDirectory(_WORKDIR.value or f"runs/bench_{config['data']['name']}", config, free=_FREE)
    with run.lock():
        benchmark = Benchmark(settings, tables, run.path)
        if _TUNE.value:
            _tune(benchmark, config, output or run.path / f"tuning{'-oracle' * _ORACLE.value}.json")
            return
        if _MISSING.value:
            benchmark.adopt(_earlier("cells", output, {"config": config}))
        if _DRY_RUN.value:
            from tfpdu.unlearning.benchmark.forecast import forecast

            print(forecast(benchmark))
            return
        try:
            benchmark.run()
        finally:
            _write(benchmark, config, output or run.path / "benchmark.json")


def _prepared(config: dict[str, Any]) -> "tuple[BenchmarkSettings, Tables]":
    from tfpdu.common.determinism import configure
    from tfpdu.data import PoolSizes, cut_pools, load
    from tfpdu.unlearning.benchmark import BenchmarkSettings, Tables

    settings = BenchmarkSettings.from_config(config)
    configure(settings.threads)
    return settings, Tables.of(cut_pools(load(**config["data"]), PoolSizes(**config["pools"]), 0), settings)


def _tune(benchmark: "Benchmark", config: dict[str, Any], path: Path) -> None:
    from tfpdu.common import files
    from tfpdu.unlearning.benchmark.tuning import Tuning

    tuning = Tuning(benchmark, _TUNE.value, _TUNE_SEED.value, _ORACLE.value)
    head = {"config": config, "seed": _TUNE_SEED.value, "oracle": _ORACLE.value}
    if _MISSING.value:
        tuning.adopt(_earlier("trials", path, head))
    if _DRY_RUN.value:
        from tfpdu.unlearning.benchmark.forecast import tuning_forecast

        print(tuning_forecast(tuning))
        return
    try:
        tuning.run()
    finally:
        found = {"trials_each": _TUNE.value, "recipes": tuning.best(), "trials": tuning.results()}
        files.write_json(path, {**head, **found})
    known = "by the distance to the retrained model" if _ORACLE.value else "by rehearsal"
    print(f"# found {known}, the best of {_TUNE.value} settings each, seed {_TUNE_SEED.value}")
    print(f"config.recipes = ConfigDict({json.dumps(tuning.best(), indent=4)})")


def _earlier(kind: str, path: Path | None, head: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells or trials that --output has, if it is there; raises `UserError` if its head is another one."""
    from tfpdu.common import files
    from tfpdu.common.run_directory import difference

    if path is None:
        raise UserError("--missing: give --output, the results that another machine has begun")
    if not path.exists():
        return []
    found = dict(files.read_json(path))
    if kind not in found or not head.keys() <= found.keys():
        raise UserError(f"--output={path}: holds no {kind} of a benchmark")
    for key, value in head.items():
        different = difference(found[key], value, _FREE, key)
        if different:
            raise UserError(f"--output={path}: {different}; use the same configuration, or another file")
    return list(found[kind])


def _write(benchmark: "Benchmark", config: dict[str, Any], path: Path) -> None:
    """The table, and the files."""
    from tfpdu.common import files
    from tfpdu.common.machine import processor
    from tfpdu.reporting import benchmark as report
    from tfpdu.reporting.benchmark_page import BenchmarkReport, write_benchmark_page
    from tfpdu.reporting.benchmark_published import beside
    from tfpdu.reporting.benchmark_robustness import associations
    from tfpdu.reporting.formatting import count, duration

    lines = benchmark.results()
    if not lines:
        return
    found, tables = report.entries(lines), benchmark.tables
    seconds = sum(line["cell_seconds"] for line in lines)
    machine = {"processor": processor(), "threads": benchmark.settings.threads}
    head = {"config": config, "machine": machine, "seconds": seconds}
    apart, published = report.by_scenario(found), config["data"]["name"] == "cifar10"  # which others' tables are about
    about = {
        "summary": report.as_summary(found),
        "published": {name: [asdict(one) for one in beside(name, some)] for name, some in apart.items() if published},
        "layer_spread": {name: [asdict(one) for one in associations(some)] for name, some in apart.items()},
    }
    files.write_json(path, {**head, **about, "cells": lines})
    files.write_text(path.with_suffix(".csv"), report.as_csv(lines))
    facts = [
        ("data", f"{config['data']['name']}, {count(len(tables.train))} training rows"),
        ("model", " ".join(map(str, (config["bench"]["backbone"], *config["bench"]["options"].values())))),
        ("start", "ImageNet weights" if config["bench"]["initial"] else "from scratch"),
        ("training", f"{config['training']['epochs']} epochs"),
        ("strangers", f"{count(len(tables.held_out))} held-out rows"),
        ("reference models", str(benchmark.settings.references)),
        ("time", f"{duration(seconds)} on {machine['processor']}, {machine['threads']} threads"),
    ]
    cells = len(benchmark.cells())
    title = f"Unlearning methods on {config['data']['name']}"
    write_benchmark_page(path.with_suffix(".html"), BenchmarkReport(title, facts, lines, cells, published))
    print("\n".join(report.as_lines(found)))
    print(*(path.with_suffix(suffix) for suffix in (".json", ".csv", ".html")), sep="\n")


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
