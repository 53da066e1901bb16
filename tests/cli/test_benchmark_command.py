"""`tfpdu benchmark`: cells, files, a second call that goes on, bad input in one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = {
    "bench.rows": 120,
    "bench.held_out": 60,
    "bench.population": 60,
    "bench.scenarios": "('random:0.2',)",
    "bench.methods": "('fine_tune',)",
    "bench.seeds": "(0,)",
    "bench.references": 2,
    "bench.robust_rows": 10,
    "bench.audit_rows": 20,
    "bench.options.widths": "(8,)",
    "training.epochs": 2,
}


def benchmark(*commands):
    """[exit code, stdout, stderr] of each command, all run in one process."""
    run = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "many.py"), "tfpdu.cli.benchmark_unlearning"],
        input=json.dumps([[str(word) for word in command] for command in commands]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=True,
    )
    return json.loads(run.stdout)


@pytest.mark.slow
def test_a_benchmark_writes_its_files_and_a_second_call_finds_the_cells(tmp_path):
    words = ["--config=bench_digits", f"--workdir={tmp_path / 'bench'}"]
    words += [f"--config.{key}={value}" for key, value in SMALL.items() if key != "bench.options.widths"]
    dry, first, second, dry_tuned, tuned = benchmark(
        [*words, "--dry_run"],
        words,
        [*words, f"--output={tmp_path / 'bench.json'}"],
        [*words, "--tune=2", "--dry_run"],
        [*words, "--tune=2"],
    )
    assert dry_tuned[0] == 0, dry_tuned[2]
    assert "trials     2, 2 left" in dry_tuned[1]
    assert dry[0] == 0, dry[2]
    assert "cells      3, 3 left" in dry[1]
    assert first[0] == 0, first[2]
    files = [tmp_path / "bench" / f"benchmark.{suffix}" for suffix in ("json", "csv", "html")]
    assert first[1].splitlines()[-3:] == [str(file) for file in files]
    result = json.loads(files[0].read_text())
    assert [cell["method"] for cell in result["cells"]] == ["original", "retrain", "fine_tune"]
    assert {"robust_fgsm_test", "layer_spread_std", "layer_spread_variance"} <= set(result["cells"][2])
    assert second[0] == 0, second[2]
    assert "benchmark: 1/3" not in second[2]
    assert json.loads((tmp_path / "bench.json").read_text())["cells"] == result["cells"]
    assert tuned[0] == 0, tuned[2]
    assert "fine_tune@random:0.2" in tuned[1]
    assert len(json.loads((tmp_path / "bench" / "tuning.json").read_text())["trials"]) == 2

    # Another machine, with an empty directory, has nothing left to do; one with other settings takes nothing over.
    shared = [words[0], *words[2:], "--missing"]
    no_methods = [word for word in shared if not word.startswith("--config.bench.methods")]
    output, trials = f"--output={tmp_path / 'bench.json'}", f"--output={tmp_path / 'bench' / 'tuning.json'}"
    again, tuned_again, longer, left_out = benchmark(
        [*shared, f"--workdir={tmp_path / 'other'}", output],
        [*shared, f"--workdir={tmp_path / 'other'}", "--tune=2", trials],
        [*shared, f"--workdir={tmp_path / 'longer'}", "--config.training.epochs=3", output],
        [*no_methods, f"--workdir={tmp_path / 'fewer'}", "--config.bench.methods=('retrain',)", output],
    )
    assert again[0] == tuned_again[0] == 0, again[2] + tuned_again[2]
    assert not (tmp_path / "other" / "models").exists()
    assert json.loads((tmp_path / "bench.json").read_text())["cells"] == result["cells"]
    assert longer[0] == 2
    assert "bench.json: made with config.training.epochs=2, now config.training.epochs=3" in longer[2]
    assert left_out[0] == 2
    assert "fine_tune on random:0.2 with seed 0 is left out" in left_out[2]


@pytest.mark.slow
def test_what_cannot_be_is_refused_in_one_line(tmp_path):
    workdir = f"--workdir={tmp_path / 'bench'}"
    cases = {
        ("--config=digits",): "expected a benchmark's, such as bench_digits",
        ("--config=bench_digts",): "did you mean 'bench_digits'",
        ("--config.bench.methods=('fine_tun',)",): "did you mean 'fine_tune'",
        ("--config.bench.scenarios=('clas:3',)",): "did you mean 'class'",
        ("--config.bench.rows=100000",): "config.bench.rows: 100000 wanted",
        ("--config.bench.rows=0",): "config.bench.rows: expected a number above 0",
        ("--output=table.txt",): "expected a file that ends in .json",
        ("--missing",): "--missing: give --output",
    }
    for (words, line), (code, _, err) in zip(
        cases.items(), benchmark(*([*words, workdir] for words in cases)), strict=True
    ):
        assert code == 2, (words, err)
        assert line in err
        assert err.count("\n") == 1
