"""The real `tensorflow_model_server` for tests, where it is on the PATH."""

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tfpdu.serving import Client

BINARY = "tensorflow_model_server"


class ModelServer:
    """Serves what a models.config names, as `FakeServer` does: `address`, `rpc_address`; skips the test without it."""

    def __init__(self, config: Path, **_: Any):
        binary = self.require()
        rest, rpc = _free_port(), _free_port()
        self.address, self.rpc_address = f"127.0.0.1:{rest}", f"grpc://127.0.0.1:{rpc}"
        flags = [f"--port={rpc}", f"--rest_api_port={rest}", f"--model_config_file={config}"]
        flags += ["--model_config_file_poll_wait_seconds=1", "--file_system_poll_wait_seconds=1"]
        flags += ["--allow_version_labels_for_unavailable_models"]
        self._process = subprocess.Popen([binary, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @staticmethod
    def require() -> str:
        """The path of the binary; skips the test without one."""
        binary = shutil.which(BINARY)
        if binary is None:
            pytest.skip(f"no {BINARY} on the PATH: the stand-in was asked, the real server was not")
        return binary

    def __enter__(self) -> "ModelServer":
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.terminate()
        self._process.wait(60)


def until_labelled(server: Any, model: str, *labels: str, seconds: float = 60) -> None:
    """Waits until a server has loaded what these labels mean; by REST, which any server here has."""
    from tfpdu.common import UserError

    client, end = Client(server.address, model), time.monotonic() + seconds
    while True:
        try:
            if all(client.labelled(label) for label in labels):
                return
        except UserError:  # it is still starting
            pass
        assert time.monotonic() < end, f"{server.address} did not come up"
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
