import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tfpdu.common import StopRequested
from tfpdu.common.interrupt import deferred, request, safe_point, stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_safe_point(number):
    before = signal.getsignal(number)
    done = []

    def work():
        with deferred():
            safe_point()  # nothing has come yet
            os.kill(os.getpid(), number)
            done.append("the rest of the step")
            assert stopping()
            safe_point()
            done.append("beyond the safe point")

    with pytest.raises(StopRequested, match=signal.Signals(number).name):
        work()
    assert done == ["the rest of the step"]
    assert signal.getsignal(number) is before
    assert not stopping()


def test_a_stop_can_be_asked_for_from_inside():
    with deferred():
        request("the driver")
        with pytest.raises(StopRequested, match="the driver"):
            safe_point()
    assert not stopping()


def test_a_block_without_a_signal_changes_nothing():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with deferred():
        safe_point()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM"])
def test_a_second_signal_of_either_kind_ends_a_process_that_hangs(second):
    code = f"""
        import os, signal, time
        from tfpdu.common.interrupt import deferred
        with deferred():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.{second})
            time.sleep(30)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=20)
    assert ended.returncode == -getattr(signal, second)
