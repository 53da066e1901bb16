"""A version is tried in a fresh process before anyone is served by it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfpdu.common import UserError
from tfpdu.serving import fresh_process

SECONDS = 900  # to load and answer
Trial = Callable[[Path], dict[str, Any]]


def try_out(version: Path) -> dict[str, Any]:
    """Loads a version in a process that imports TensorFlow and not tfpdu, and compares its answers, on the CPU.

    Returns:
      `differences` by signature and batch size, `warmup`: requests replayed, `tolerance`.

    Raises:
      UserError: it cannot be loaded, or its answers are not the golden ones.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-I", str(Path(fresh_process.__file__)), str(version)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"{version}: a fresh process did not answer within {SECONDS} s") from None
    lines = done.stdout.splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise UserError(f"{version}: a fresh process could not load it (exit code {done.returncode})") from None
    return checked(version, found)


def checked(version: Path, found: dict[str, Any]) -> dict[str, Any]:
    """What a trial found; raises `UserError` where that is not good enough."""
    if "error" in found:
        raise UserError(f"{version}: does not answer in a fresh process: {found['error']}")
    if found["strangers"]:
        raise UserError(f"{version}: loading it imports {found['strangers'][0]}, which a server does not have")
    worst = max(found["differences"], key=found["differences"].__getitem__)
    if not found["differences"][worst] <= found["tolerance"]:  # a NaN is not within it either
        raise UserError(
            f"{version}: {worst} at once: differs by {found['differences'][worst]:.3g} from the golden answers,"
            f" expected at most {found['tolerance']:g}"
        )
    return found
