import pytest

from tfpdu.common import Progress, progress, say


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_come_at_most_every_interval_and_say_what_is_left(clock, capsys):
    with Progress("generator", 100, "images", every_seconds=20) as bar:
        for _ in range(4):
            clock[0] += 10
            bar.advance(10, note="loss 0.5")
    assert capsys.readouterr().err.splitlines() == [
        "generator: 20/100 images, 1.3 min left loss 0.5",
        "generator: 40/100 images, 1.0 min left loss 0.5",
    ]


def test_work_done_before_an_interruption_counts_as_done_and_not_as_speed(clock, capsys):
    with Progress("shards", 100, done=80, every_seconds=5) as bar:
        clock[0] += 60
        bar.advance(10)
    assert capsys.readouterr().err == "shards: 90/100 it, 1.0 min left\n"


def test_without_any_progress_there_is_no_end_in_sight(clock, capsys):
    with Progress("x", 10, every_seconds=1) as bar:
        clock[0] += 2
        bar.advance(0)
    assert "inf min left" in capsys.readouterr().err


def test_what_is_said_goes_to_stderr_so_that_stdout_is_for_results(capsys):
    say("8 rows are at fault")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "8 rows are at fault\n"


def test_a_terminal_gets_a_bar_and_is_left_clean(monkeypatch, capsys):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("generator", 3, "images") as bar:
        for _ in range(3):
            bar.advance(1, note="loss 0.5")
    assert "generator" in capsys.readouterr().err
