"""What lies beside an exported graph: golden answers and warm-up requests, from synthetic rows or noise alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpdu.common import UserError, files
from tfpdu.serving.graph import BYTES, DEFAULT
from tfpdu.serving.release import TOLERANCE, Release

WARMUP = "tf_serving_warmup_requests"
WARM_BATCHES = (1, 8, 64)  # pictures a request; with batching switched on, `allowed_batch_sizes` has the same


def write_golden(release: Release, directory: Path) -> None:
    """Writes golden.npz (images uint8[m, h, w, c], probabilities float64[m, C], class_id int64[m]) and golden.json.

    The answers are the Keras ensemble's own, so the graph is compared with what was audited.
    """
    images = release.examples
    probabilities = release.ensemble.probabilities(images)
    files.write_npz(
        directory / "golden.npz", images=images, probabilities=probabilities, class_id=probabilities.argmax(1)
    )
    facts = {
        "examples": release.examples_are,
        "class_names": release.class_names,
        "tolerance": TOLERANCE[release.precision],
        "precision": release.precision,
    }
    files.write_json(directory / "golden.json", facts)


def write_warmup(model: str, images: np.ndarray, path: Path, batches: Sequence[int] = WARM_BATCHES) -> None:
    """Writes requests for both signatures, one for each batch size, as a TFRecord of PredictionLog.

    Raises:
      UserError: tensorflow-serving-api is not installed.
    """
    log = protos("prediction_log_pb2")
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, name, inputs in _requests(images, batches):
            request = log.PredictionLog()
            predict = request.predict_log.request
            predict.model_spec.name, predict.model_spec.signature_name = model, signature
            predict.inputs[name].CopyFrom(tf.make_tensor_proto(inputs))
            writer.write(request.SerializeToString())


def _requests(images: np.ndarray, batches: Sequence[int]) -> list[tuple[str, str, Any]]:
    encoded = [tf.io.encode_png(image).numpy() for image in images]
    requests: list[tuple[str, str, Any]] = []
    for n in batches:
        rows = np.arange(n) % len(images)
        requests.append((DEFAULT, "images", images[rows]))
        requests.append((BYTES, "image_bytes", [encoded[row] for row in rows]))
    return requests


def protos(name: str) -> Any:
    """A module of tensorflow_serving.apis or .config; raises `UserError` where tensorflow-serving-api is not there."""
    import importlib

    for package in ("apis", "config"):
        try:
            return importlib.import_module(f"tensorflow_serving.{package}.{name}")
        except ImportError:
            continue
    raise UserError("serving: needs tensorflow-serving-api; install it with pip install 'tfpdu[serving]'")
