"""`scripts/report.py`: a report from a run directory, one line where there is none."""

from tests.commands import command
from tfpdu.common.files import append_json_line, write_json

STEP = {"event": "iteration", "iteration": 0, "forget_fraction": 0.0, "n_original": 50, "test_accuracy": 0.5}


def report(*arguments):
    return command("scripts/report.py", *arguments)


def test_report_and_table_are_written_anew(tmp_path):
    write_json(tmp_path / "config.json", {"data": {"name": "digits"}})
    append_json_line(tmp_path / "metrics.jsonl", STEP)
    result = report(f"--workdir={tmp_path}", "--title=My <run>")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(tmp_path / "report.html")
    assert "50.0%" in result.stdout
    assert "My &lt;run&gt;" in (tmp_path / "report.html").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "metrics.jsonl", "report.html", "table1.csv"]


def test_directory_without_a_run_is_the_users_error(tmp_path):
    for arguments, words in (([], "--workdir"), ([f"--workdir={tmp_path}"], "not a run directory")):
        result = report(*arguments)
        assert result.returncode == 2
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
