"""The search for traces finds what it is to find, so that finding nothing says something."""

import base64

import numpy as np
import pytest

from tests.traces import encoded, traces
from tfpdu.common import files
from tfpdu.reporting.samples import grid, strip
from tfpdu.reporting.tensorboard import TensorBoardWriter

PICTURES = np.random.default_rng(0).integers(0, 255, (2, 3, 8, 8, 1), dtype=np.uint8)  # [C, k, h, w, c]
ONE = PICTURES[1, 2]


def _tensorboard(path):
    TensorBoardWriter(path.parent).write_iteration({"iteration": 0}, showcase=PICTURES)


WRAPPED = {
    "raw": lambda path: path.write_bytes(b"..." + ONE.tobytes() + b"..."),
    "png": lambda path: path.write_bytes(encoded(ONE, "PNG")),
    "jpeg": lambda path: path.write_bytes(b"record" + encoded(ONE, "JPEG") + b"end"),
    "base64": lambda path: path.write_text(f'"{base64.b64encode(encoded(ONE, "PNG")).decode()}"'),
    "strip in a page": lambda path: path.write_text(f'<img src="{strip(PICTURES[1])}">'),
    "grid": lambda path: path.write_bytes(encoded(grid(PICTURES), "PNG")),
    "tensorboard": _tensorboard,
    "array": lambda path: files.write_npz(path.with_suffix(".npz"), images=PICTURES),
    "id": lambda path: path.write_text("photos/17.png"),
}


@pytest.mark.parametrize("way", WRAPPED)
def test_a_row_is_found_however_it_is_wrapped(tmp_path, way):
    WRAPPED[way](tmp_path / "file")
    assert len(traces(tmp_path, ["photos/17.png"], [ONE])) == 1
    assert not traces(tmp_path, ["photos/18.png"], [255 - ONE])
