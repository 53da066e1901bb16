"""A process that carries out commands of a run, each in a forked child that may be killed at a change on the disk.

The networks are stand-ins of a few layers: what is under test is how files and records survive a kill, not what is
learned; every product module that writes one is the product's own.

    python -m tests.doomed  < orders, one JSON object a line  > answers, one JSON object a line
"""

import contextlib
import json
import os
import signal
import sys
import types
from pathlib import Path
from typing import Any

from absl import flags

from tests.forked import Order, serve
from tfpdu import loop
from tfpdu.cli import forget
from tfpdu.common import StopRequested
from tfpdu.common.run_directory import RunDirectory
from tfpdu.diffusion import network
from tfpdu.diffusion.training import Training
from tfpdu.ensemble import resnet
from tfpdu.reporting.html import render
from tfpdu.reporting.receipt import write_receipt_page
from tfpdu.reporting.run_data import read_run
from tfpdu.requests import acknowledge
from tfpdu.settings import Settings
from tfpdu.synthesis import Synthesis
from tfpdu.unlearning import Selector, salt
from tfpdu.verification import verify

PATIENCE = 300  # seconds after which a child that hangs is given up


def work(order: Order) -> None:
    """The order's command."""
    COMMANDS[order["command"]](order["config"], Path(order["workdir"]), **order["options"])


# ---- the commands --------------------------------------------------------------------------------


def begin(config: dict[str, Any], workdir: Path) -> None:
    """A run that is stopped before iteration 1."""

    def stopping(settings: Settings, run: RunDirectory) -> list[int]:
        if run.event("iteration", 0) is not None and _called_by_the_loop():
            raise StopRequested("SIGTERM")
        return carry_out(settings, run)

    carry_out = loop.carry_out
    loop.carry_out = stopping
    with contextlib.suppress(StopRequested):
        loop.run_pdu(config, workdir)


def go_on(config: dict[str, Any], workdir: Path, ids: list[str], request_id: str, told: bool = False) -> None:
    """A run to its end, to which a request comes as soon as iteration 1 is done; who was not told asks again."""
    settings, iterate = Settings.from_config(config), loop._Loop._iterate

    def ask() -> None:
        request = acknowledge(settings, RunDirectory(workdir, config), Selector(tuple(ids)), request_id)
        print(f"acknowledged: request {request.request_id}")

    def asking(self: Any, t: int, table: Any) -> None:
        iterate(self, t, table)
        if t == 1:
            ask()

    loop._Loop._iterate = asking
    if not told and RunDirectory(workdir, config).event("iteration", 1) is not None:
        ask()
    loop.run_pdu(config, workdir)


def ask_and_forget(config: dict[str, Any], workdir: Path, ids: list[str], request_id: str, told: bool = False) -> None:
    """`tfpdu forget`; who was told that the request is acknowledged does not ask again."""
    asked = [] if told else [f"--ids={','.join(ids)}", f"--request_id={request_id}"]
    flags.FLAGS(["forget", f"--workdir={workdir}", *asked])
    forget._main([])


def asked_and_killed(config: dict[str, Any], workdir: Path, ids: list[str], moment: str, turn: int) -> None:
    """A run that acknowledges a request in the middle of its work, and is killed there and then."""
    home, name = MOMENTS[moment]
    work, calls = getattr(home, name), []

    def dying(self: Any, *arguments: Any) -> Any:
        calls.append(name)
        if len(calls) == turn:
            acknowledge(Settings.from_config(config), RunDirectory(workdir, config), Selector(tuple(ids)), moment)
            os.kill(os.getpid(), signal.SIGKILL)
        return work(self, *arguments)

    setattr(home, name, dying)
    loop.run_pdu(config, workdir)


def run(config: dict[str, Any], workdir: Path) -> None:
    """The run, to its end."""
    loop.run_pdu(config, workdir)


MOMENTS = {
    "training the generator": (Training, "finish"),
    "making samples": (Synthesis, "_make"),
    "learning": (loop._Loop, "_iterate"),
    "audit": (loop._Loop, "_audit"),
}
COMMANDS = {"begin": begin, "go on": go_on, "forget": ask_and_forget, "asked": asked_and_killed, "run": run}


def _called_by_the_loop() -> bool:
    return sys._getframe(2).f_code.co_name == "run"


def check(order: Order) -> None:
    """The directory verifies, and its pages are those of the files beside them."""
    config, workdir, replay = order["config"], Path(order["workdir"]), order["command"] == "run"
    settings = Settings.from_config(config)
    found = verify(settings, RunDirectory(workdir, config), replay)
    wrong = [finding.words for finding in found if not finding.holds]
    if wrong:
        raise AssertionError(f"does not verify: {wrong}")
    page = workdir / "report.html"
    if page.exists() and page.read_text() != render(read_run(workdir), None, settings.show_originals):
        raise AssertionError("report.html is not that of the files beside it")
    for path in workdir.glob("receipts/*.json"):
        again = workdir.parent / "receipt.html"
        write_receipt_page(again, json.loads(path.read_text()))
        if again.read_text() != path.with_suffix(".html").read_text():
            raise AssertionError(f"{path.with_suffix('.html').name} is not that of the file beside it")


def _replace(owner: Any, name: str, stand_in: Any) -> None:
    """Puts a stand-in where something is; a name that is gone would leave the real thing at work, and slow."""
    getattr(owner, name)
    setattr(owner, name, stand_in)


def stand_in() -> None:
    """Small networks, and one secret for all ledgers, so that their lines can be compared."""
    _replace(resnet, "basic_block", lambda x, filters, stride, name, even: x)
    _replace(network._Builder, "_attention", lambda self, x, name: x)
    _replace(
        network._Builder,
        "_block",
        lambda self, x, width, name: x if x.shape[-1] == width else self._conv(width, f"{name}_project", size=1)(x),
    )
    salt.secrets = types.SimpleNamespace(token_bytes=lambda count: b"s" * count)


if __name__ == "__main__":
    stand_in()
    serve("workdir", work, check, PATIENCE)
