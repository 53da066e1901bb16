"""`scripts/bias_report.py`: table, bias.json, figures; a run's own report is kept."""

import json

import pytest

from tests.commands import command


def bias_report(*arguments):
    return command("scripts/bias_report.py", *arguments)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("bias") / "digits"
    return workdir, bias_report(f"--workdir={workdir}", "--config.prior.over=(('parity',),('label',))")


def test_digits_are_measured_and_drawn(done):
    workdir, result = done
    assert result.returncode == 0, result.stderr
    report = json.loads((workdir / "bias.json").read_text())
    parity = report["attributes"]["parity"]
    assert parity["counts_before"] == [384, 96]
    assert parity["kl_before"] == pytest.approx(0.223143551)
    assert parity["counts_after"][0] == parity["counts_after"][1]
    assert report["kl_after"] < 1e-6
    assert report["n_added"] == sum(parity["counts_after"]) - 480
    assert sorted(p.name for p in workdir.iterdir()) == ["bias.json", "bias_attributes.png", "bias_joint.png"]


def test_table_is_printed_to_stdout_alone(done):
    workdir, result = done
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["attribute", "value", "rows", "added", "prior", "before", "after"]
    assert lines[-1] == str(workdir / "bias_joint.png")
    assert [line for line in result.stderr.splitlines() if line.strip()] == []


def test_report_of_a_run_is_shown_and_not_computed_anew(done, tmp_path):
    report = json.loads((done[0] / "bias.json").read_text()) | {"n_added": 12345}
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "bias.json").write_text(json.dumps(report))
    result = bias_report(f"--workdir={tmp_path}")
    assert "rows added: 12345" in result.stdout
    assert json.loads((tmp_path / "bias.json").read_text()) == report


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--workdir"]),
        (["--workdir=README.md"], ["README.md", "expected a directory"]),
        (["--workdir={tmp}", "--config.prior.over=(('parety',),)"], ["parety", "parity"]),
        pytest.param(
            ["--workdir={tmp}", "--config.prior.kind=given", "--config.prior.given=((0.5,0.4),)"],
            ["parity", "0.9"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--workdir={tmp}", "--config.prior.kind=eda"], ["config.prior.need", "tfpdu run"], marks=pytest.mark.slow
        ),
        pytest.param(
            ["--workdir={tmp}", "--config.prior.kind=eda", "--config.prior.need=((1,2,3),)"],
            ["parity", "[2]"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_faulty_input_gets_one_line_and_exit_code_2(tmp_path, arguments, words):
    result = bias_report(*(word.format(tmp=tmp_path / "out") for word in arguments))
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.returncode == 2
    assert len(lines) == 1, result.stderr
    assert all(word in lines[0] for word in words), lines
    assert not (tmp_path / "out").exists()
