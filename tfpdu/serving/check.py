"""Running servers beside the golden answers, and how fast they are."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.common import UserError, files
from tfpdu.serving.client import Client
from tfpdu.serving.export import EXTRA

BATCHES = (1, 8, 64)


def golden_images(version: Path) -> np.ndarray:
    """The pictures of a version's golden answers, uint8[m, h, w, c]."""
    return files.read_npz(version / EXTRA / "golden.npz")["images"]


def compare(client: Client, number: int, version: Path) -> dict[str, Any]:
    """Asks a server for the golden answers of a version, by both signatures.

    Args:
      client: of the server.
      number: of the version, which it has loaded.
      version: the directory of that version.

    Returns:
      {"signatures": {name: largest difference of a probability}, "tolerance", "holds"}.

    Raises:
      UserError: the server cannot be asked, or the directory holds no golden answers.
    """
    import tensorflow as tf

    golden = files.read_npz(version / EXTRA / "golden.npz")
    tolerance = files.read_json(version / EXTRA / "golden.json")["tolerance"]
    encoded = [tf.io.encode_png(image).numpy() for image in golden["images"]]
    answers = {
        "serving_default": client.predict(golden["images"], version=number),
        "serving_bytes": client.predict(image_bytes=encoded, version=number),
    }
    found = {}
    for name, answer in answers.items():
        if answer.probabilities.shape != golden["probabilities"].shape:
            raise UserError(
                f"{client.server}: version {number} answers {list(answer.probabilities.shape)}, not {name}'s"
            )
        found[name] = float(np.abs(answer.probabilities - golden["probabilities"]).max())
    return {"signatures": found, "tolerance": tolerance, "holds": all(d <= tolerance for d in found.values())}


def measure(
    client: Client,
    images: np.ndarray,
    batches: Sequence[int] = BATCHES,
    requests: int = 50,
    clients: int = 1,
    version: int | None = None,
) -> list[dict[str, float]]:
    """Latency and throughput of a server, as its clients see them.

    Args:
      client: of the server.
      images: uint8[m, h, w, c], repeated to the size of the batch.
      batches: pictures a request.
      requests: for each of them, after one that is not counted.
      clients: that ask at the same time.
      version: which; by default the newest that is loaded.

    Returns:
      A row a batch size: batch, clients, requests, p50_ms, p95_ms, p99_ms, images_per_second.
    """
    rows = []
    for batch in batches:
        chosen = images[np.arange(batch) % len(images)]
        client.predict(chosen, version=version)
        start = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            seconds = list(pool.map(lambda _, chosen=chosen: _timed(client, chosen, version), range(requests)))
        whole = time.perf_counter() - start
        p50, p95, p99 = (float(np.percentile(seconds, q) * 1000) for q in (50, 95, 99))
        row = {"batch": batch, "clients": clients, "requests": requests, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}
        rows.append({**row, "images_per_second": batch * requests / whole})
    return rows


def _timed(client: Client, images: np.ndarray, version: int | None) -> float:
    start = time.perf_counter()
    client.predict(images, version=version)
    return time.perf_counter() - start
