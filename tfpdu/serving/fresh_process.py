"""Run by path in a process of its own: loads a version as a stranger would, with TensorFlow alone, and replays it.

    python -I fresh_process.py models/digits/3

Prints one line of JSON: the largest difference from the golden answers for each signature and batch size, how many
warm-up requests were replayed, or what went wrong. Imports nothing of tfpdu.
"""

import json
import os
import sys
from typing import Any

BATCHES = (1, 7, 64)


def replay(version: str) -> dict[str, Any]:
    """Loads the version and compares; raises whatever TensorFlow raises."""
    import numpy as np
    import tensorflow as tf

    extra = os.path.join(version, "assets.extra")
    with np.load(os.path.join(extra, "golden.npz"), allow_pickle=False) as golden:
        images, expected = golden["images"], golden["probabilities"]
    with open(os.path.join(extra, "golden.json"), encoding="utf-8") as file:
        facts = json.load(file)
    signatures = tf.saved_model.load(version).signatures
    encoded = [tf.io.encode_png(image).numpy() for image in images]
    differences: dict[str, float] = {}
    for n in BATCHES:
        rows = np.arange(n) % len(images)
        answers = {
            "serving_default": signatures["serving_default"](images=tf.constant(images[rows])),
            "serving_bytes": signatures["serving_bytes"](image_bytes=tf.constant([encoded[row] for row in rows])),
        }
        for name, answer in answers.items():
            differences[f"{name}, {n}"] = float(np.abs(answer["probabilities"].numpy() - expected[rows]).max())
            named = [facts["class_names"][i].encode() for i in answer["class_id"].numpy()]
            if answer["class_name"].numpy().tolist() != named:
                raise ValueError(f"{name}: class_name does not fit class_id")
    return {
        "differences": differences,
        "tolerance": facts["tolerance"],
        "warmup": _warm(signatures, os.path.join(extra, "tf_serving_warmup_requests")),
        "strangers": sorted(name for name in sys.modules if name.split(".")[0] == "tfpdu"),
    }


def _warm(signatures: Any, path: str) -> int | None:
    """The number of warm-up requests that were replayed; None where the protocol's package is not installed."""
    import tensorflow as tf

    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:
        return None
    count = 0
    for record in tf.data.TFRecordDataset(path):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        signatures[request.model_spec.signature_name](**inputs)
        count += 1
    return count


if __name__ == "__main__":
    try:
        found = replay(sys.argv[1])
    except Exception as error:  # whatever it is, the one who asked is to be told
        found = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    print(json.dumps(found))
