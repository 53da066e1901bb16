"""Commands of tfpdu as a user gives them, without the seconds in which Python imports TensorFlow.

A process that has imported what commands import forks a child for each; the child starts a runtime of its own. What a
test says of signals, of kills, of what is imported or of variables that are read at import needs a real process, see
`subprocess`.
"""

import atexit
import functools
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HEAVY = ("tfpdu.loop", "tfpdu.deletion", "tfpdu.reporting", "tfpdu.serving", "tensorflow_datasets", "fairlearn.metrics")


def command(*words: Any, cwd: Path = ROOT, timeout: int = 300) -> Any:
    """Runs a command in a child, and waits for it.

    Args:
      words: "tfpdu" and what follows, or a script's path relative to the checkout and its arguments.
      cwd: where.
      timeout: seconds after which it is killed.

    Returns:
      A `subprocess.CompletedProcess` with texts.

    Raises:
      subprocess.TimeoutExpired: it was killed.
    """
    script, *arguments = map(str, words)
    if script != "tfpdu":
        script = str(ROOT / script)
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        order = {"words": [script, *arguments], "cwd": str(cwd), "timeout": timeout, "out": str(out), "err": str(err)}
        code = _answer({**order, "environment": dict(os.environ)})
        if code == -signal.SIGALRM:
            raise subprocess.TimeoutExpired(order["words"], timeout, err.read_text())
        return subprocess.CompletedProcess(order["words"], code, out.read_text(), err.read_text())


def _answer(order: dict[str, Any]) -> int:
    server = _server()
    try:
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        answer = server.stdout.readline()
        assert answer, "the process that forks has ended"
        return int(answer)
    except BaseException:  # an answer that nobody has read would be taken for the next command's
        server.kill()
        _server.cache_clear()
        raise


@functools.cache
def _server() -> Any:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.commands"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.stdin.close)
    return server


def _serve() -> None:
    for name in HEAVY:
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            _live(order)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _live(order: dict[str, Any]) -> None:
    code = 1
    try:
        signal.alarm(order["timeout"])
        for handle, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT, 0o666), handle)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["environment"])
        sys.argv = order["words"]
        sys.path[0] = str(Path(sys.argv[0]).parent)
        if sys.argv[0] == "tfpdu":
            from tfpdu.cli.main import main

            main()
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
