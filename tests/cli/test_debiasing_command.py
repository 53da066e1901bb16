"""`scripts/compare_debiasing.py`: cells, table, JSON, CSV and page of both studies; bad input in one line."""

import json

import pytest

from tests.commands import command

TINY = (
    "--config=digits",
    "--config.draw.rows=100",
    "--config.ensemble.width=8",
    "--config.ensemble.epochs=1",
    "--config.ensemble.threads=1",
)


def compare(*words):
    return command("scripts/compare_debiasing.py", *words, timeout=400)


def test_a_missing_workdir_and_a_benchmark_s_config_get_one_line():
    for words, told in (([], "--workdir"), (["--config=bench_digits"], "cifar10:imbalanced")):
        result = compare(*words)
        assert result.returncode == 2, result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert told in result.stderr


@pytest.mark.slow
def test_both_studies_write_table_and_files_and_go_on_where_they_ended(tmp_path):
    words = (*TINY, f"--workdir={tmp_path / 'study'}", "--methods=none,reweigh,diffusion")
    dry = compare(*words, "--seeds=0", "--dry_run")
    assert "cells  3, 3 left" in dry.stdout, dry.stderr
    first = compare(*words, "--seeds=0")
    assert first.returncode == 0, first.stderr
    assert "Diffusion was not run: no generator" in first.stdout
    again = compare(*words, "--seeds=0,1")  # a seed more: only its cells are new
    assert "seed-0/none" not in again.stderr
    assert "seed-1/none" in again.stderr
    written = json.loads((tmp_path / "study" / "methods.json").read_text())
    assert [line["arm"] for line in written["cells"]] == ["none", "reweigh", "diffusion"] * 2
    assert written["summary"]["arms"]["reweigh"]["accuracy"]["seeds"] == 2
    deletion = compare(*words, "--seeds=0", "--study=deletion", f"--output={tmp_path / 'out.json'}")
    assert deletion.returncode == 0, deletion.stderr
    assert {path.suffix for path in tmp_path.glob("out.*")} == {".json", ".csv", ".html"}
    assert "Does deletion hurt?" in (tmp_path / "out.html").read_text()
    other = compare(*words, "--seeds=0", "--eta=0.5")
    assert other.returncode == 2
    assert "config.study.eta" in other.stderr


@pytest.mark.slow
def test_an_unknown_method_is_named_with_the_nearest(tmp_path):
    result = compare(f"--workdir={tmp_path / 'study'}", "--methods=rewiegh")
    assert result.returncode == 2
    assert "reweigh" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "study").exists()
