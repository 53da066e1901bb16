"""TensorBoard event files, one per iteration under a fixed name, so that a resumed run repeats no step."""

import io
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from tfpdu.common.files import replacing
from tfpdu.reporting.run_data import read_run
from tfpdu.reporting.samples import grid

Row = Mapping[str, Any]

_LEAST_SIDE = 32  # pixels a side below which a sample is enlarged, by a whole factor


class TensorBoardWriter:
    """Writes what one iteration measured as scalars, and its samples as an image; the step is the iteration.

    Each iteration has an event file of its own, `events.out.tfevents.<iteration>.tfpdu`, replaced as a whole: writing
    an iteration again neither doubles it nor leaves half of it. TensorBoard reads the files in order of their names.
    TensorFlow is not needed.

    Args:
      directory: where to; made if missing.
    """

    def __init__(self, directory: str | Path):
        self._directory = Path(directory)

    def write_iteration(
        self,
        event: Row,
        audit_rows: Iterable[Row] = (),
        showcase: np.ndarray | None = None,
        wall_time: float | None = None,
    ) -> Path:
        """Writes, or writes anew, one iteration.

        Args:
          event: an `iteration` event; every number in it becomes the scalar `iteration/<name>`.
          audit_rows: rows of audit.json; those of this iteration, without a slice, become
            `attack_success/<population>/<attack>`, with the protocol in the name if it is not `holdout`.
          showcase: samples uint8[C,k,h,w,c], shown as one picture `samples`, a row per class.
          wall_time: seconds since the epoch; default now.

        Returns:
          The event file's path.
        """
        iteration = int(event["iteration"])
        values = [_scalar(f"iteration/{key}", value) for key, value in event.items() if _is_scalar(key, value)]
        for row in audit_rows:
            if row["iteration"] == iteration and not row.get("slice") and row.get("success_rate") is not None:
                values.append(_scalar(_attack_tag(row), row["success_rate"]))
        if showcase is not None and showcase.size:
            values.append(_image("samples", _enlarged(grid(showcase), showcase.shape[2])))
        path = self._directory / f"events.out.tfevents.{iteration:010d}.tfpdu"
        _write(path, iteration, values, time.time() if wall_time is None else wall_time)
        return path


def rebuild_tensorboard(workdir: str | Path) -> list[Path]:
    """Writes all event files of a run directory anew from metrics.jsonl, audit.json and samples/showcase.npz.

    The samples of earlier iterations are not kept, so the picture goes with the last iteration alone.
    """
    run = read_run(workdir)
    writer = TensorBoardWriter(run.workdir / "tensorboard")
    events = run.iterations()
    last = events[-1]["iteration"] if events else None
    synthetic = run.showcase.get("synthetic")
    return [writer.write_iteration(e, run.audit, synthetic if e["iteration"] == last else None) for e in events]


def _attack_tag(row: Row) -> str:
    protocol = "" if row.get("protocol", "holdout") == "holdout" else f"_{row['protocol']}"
    return f"attack_success{protocol}/{row['population']}/{row['attack']}"


def _is_scalar(key: str, value: Any) -> bool:
    return key != "iteration" and isinstance(value, int | float) and not isinstance(value, bool)


def _scalar(tag: str, value: float) -> summary_pb2.Summary.Value:
    return summary_pb2.Summary.Value(
        tag=tag,
        metadata=scalar_metadata.create_summary_metadata(display_name=None, description=None),
        tensor=tensor_util.make_tensor_proto(np.float32(value)),
    )


def _enlarged(picture: np.ndarray, side: int) -> np.ndarray:
    factor = -(-_LEAST_SIDE // side)
    return picture.repeat(factor, 0).repeat(factor, 1)


def _image(tag: str, picture: np.ndarray) -> summary_pb2.Summary.Value:
    """One PNG; picture uint8[h,w,c], c = 1 or 3."""
    height, width = picture.shape[:2]
    buffer = io.BytesIO()
    Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(buffer, "PNG")
    parts = [str(width).encode(), str(height).encode(), buffer.getvalue()]  # the plug-in's format
    return summary_pb2.Summary.Value(
        tag=tag,
        metadata=image_metadata.create_summary_metadata(display_name=None, description=None),
        tensor=tensor_util.make_tensor_proto(np.array(parts, dtype=object)),
    )


def _write(path: Path, step: int, values: Sequence[summary_pb2.Summary.Value], wall_time: float) -> None:
    events = [event_pb2.Event(wall_time=wall_time, file_version="brain.Event:2")]
    events += [
        event_pb2.Event(wall_time=wall_time, step=step, summary=summary_pb2.Summary(value=[value])) for value in values
    ]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        writer = RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString())
        file.flush()
