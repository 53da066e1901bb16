"""`tfpdu benchmark`: cells, files, a second call that goes on, bad input in one line."""

import json

import pytest

from tests.commands import command

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


def benchmark(*words):
    return command("tfpdu", "benchmark", *words, timeout=500)


@pytest.mark.slow
def test_a_benchmark_writes_its_files_and_a_second_call_finds_the_cells(tmp_path):
    words = ["--config=bench_digits", f"--workdir={tmp_path / 'bench'}"]
    words += [f"--config.{key}={value}" for key, value in SMALL.items() if key != "bench.options.widths"]
    dry, first = benchmark(*words, "--dry_run"), benchmark(*words)
    assert dry.returncode == 0, dry.stderr
    assert "cells      3, 3 left" in dry.stdout
    assert first.returncode == 0, first.stderr
    files = [tmp_path / "bench" / f"benchmark.{suffix}" for suffix in ("json", "csv", "html")]
    assert first.stdout.splitlines()[-3:] == [str(file) for file in files]
    result = json.loads(files[0].read_text())
    assert [cell["method"] for cell in result["cells"]] == ["original", "retrain", "fine_tune"]
    assert {"robust_fgsm_test", "layer_spread_std", "layer_spread_variance"} <= set(result["cells"][2])
    second = benchmark(*words, f"--output={tmp_path / 'bench.json'}")
    assert second.returncode == 0, second.stderr
    assert "benchmark: 1/3" not in second.stderr
    assert json.loads((tmp_path / "bench.json").read_text())["cells"] == result["cells"]
    dry_tuned, tuned = benchmark(*words, "--tune=2", "--dry_run"), benchmark(*words, "--tune=2")
    assert dry_tuned.returncode == 0, dry_tuned.stderr
    assert "trials     2, 2 left" in dry_tuned.stdout
    assert tuned.returncode == 0, tuned.stderr
    assert "fine_tune@random:0.2" in tuned.stdout
    assert len(json.loads((tmp_path / "bench" / "tuning.json").read_text())["trials"]) == 2

    # Another machine, with an empty directory, has nothing left to do; one with other settings takes nothing over.
    shared = [words[0], *words[2:], "--missing"]
    no_methods = [word for word in shared if not word.startswith("--config.bench.methods")]
    output, trials = f"--output={tmp_path / 'bench.json'}", f"--output={tmp_path / 'bench' / 'tuning.json'}"
    again = benchmark(*shared, f"--workdir={tmp_path / 'other'}", output)
    assert again.returncode == 0, again.stderr
    again = benchmark(*shared, f"--workdir={tmp_path / 'other'}", "--tune=2", trials)
    assert again.returncode == 0, again.stderr
    assert not (tmp_path / "other" / "models").exists()
    assert json.loads((tmp_path / "bench.json").read_text())["cells"] == result["cells"]
    longer = benchmark(*shared, f"--workdir={tmp_path / 'longer'}", "--config.training.epochs=3", output)
    assert longer.returncode == 2
    assert "bench.json: made with config.training.epochs=2, now config.training.epochs=3" in longer.stderr
    changed = "--config.bench.methods=('retrain',)"
    left_out = benchmark(*no_methods, f"--workdir={tmp_path / 'fewer'}", changed, output)
    assert left_out.returncode == 2
    assert "fine_tune on random:0.2 with seed 0 is left out" in left_out.stderr


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
    for words, line in cases.items():
        done = benchmark(*words, workdir)
        assert done.returncode == 2, (words, done.stderr)
        assert line in done.stderr
        assert done.stderr.count("\n") == 1
