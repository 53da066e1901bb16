"""Memory of learning, unlearning and evaluating 300,000 generated pictures, 921 MB of pixels, under a limit of 2 GB.

    python benchmarks/memory.py --output=docs/results/memory.json

The limit is the kernel's (RLIMIT_DATA, set before anything else is imported): it counts all private writable memory
that the process has asked for, touched or not, TensorFlow's included; going beyond it is a MemoryError. With
`--in_memory` the same is tried with the pictures in an array. For a limit that counts the page cache too, run it in a
container: `docker run --memory=2g ...`; pages of the store are given back whenever they are wanted elsewhere.
"""

import argparse
import contextlib
import json
import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
MB = 1e6


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--side", type=int, default=32, help="pixels")
    parser.add_argument("--limit_mb", type=float, default=2000, help="of memory; 0: none")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--in_memory", action="store_true", help="hold the pictures in an array instead")
    parser.add_argument("--cache", default="", help="folder for the pictures; empty: a temporary one")
    parser.add_argument("--output", default="", help="JSON file for the result; empty: only printed")
    return parser.parse_args()


def status() -> dict[str, float]:
    """Fields of /proc/self/status in MB."""
    pairs = (line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if line.endswith("kB"))
    return {name: int(value.split()[0]) * 1024 / MB for name, value in pairs}


class Meter:
    """Peaks of memory by stage: the kernel's of all resident pages, sampled ones of the anonymous part."""

    def __init__(self):
        self.stages: dict[str, dict[str, float]] = {}
        self._peaks: dict[str, float] = {}
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            now = status()
            for name in ("RssAnon", "VmData"):
                self._peaks[name] = max(self._peaks.get(name, 0.0), now[name])
            time.sleep(0.05)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from what is resident now
        self._peaks = {}
        start = time.monotonic()
        yield
        time.sleep(0.1)
        self.stages[name] = {
            "seconds": round(time.monotonic() - start, 1),
            "peak_rss_mb": round(status()["VmHWM"]),
            "peak_anonymous_mb": round(self._peaks["RssAnon"]),
            "peak_data_mb": round(self._peaks["VmData"]),
        }
        print(name, self.stages[name], flush=True)


def generated(rows: int, side: int, shelf):
    """Ten classes of noise around a brightness each; an attribute that nothing shows."""
    import numpy as np

    from tfpdu.common.seeds import rng
    from tfpdu.data import AttributeSpec, Records

    labels = np.arange(rows, dtype=np.int32) % 10

    def read(pictures) -> None:
        for start in range(0, rows if pictures.wanted else 0, 1000):
            part = labels[start : start + 1000]
            noise = rng("generated", start).integers(0, 64, (len(part), side, side, 3), np.uint8)
            pictures.append(noise + (part * 19).astype(np.uint8)[:, None, None, None])

    images, _ = shelf.fill({"name": "generated", "rows": rows, "side": side}, (rows, side, side, 3), read)
    return Records(
        images=images,
        labels=labels,
        attributes=(np.arange(rows) // 10 % 2).astype(np.int8)[:, None],
        ids=np.array([f"generated/{row:06d}" for row in range(rows)]),
        origin=np.zeros(rows, np.int8),
        specs=(AttributeSpec("parity", ("even", "odd")),),
        label_names=tuple("0123456789"),
    )


def measure(given: argparse.Namespace, directory: str) -> dict[str, object]:
    import numpy as np

    from tfpdu.audit import AuditSettings, audit_members
    from tfpdu.common.determinism import configure
    from tfpdu.common.seeds import hashed_order
    from tfpdu.data import DrawSettings, PoolSizes, ViewPolicy, cut_pools, draw
    from tfpdu.data.shelf import Shelf
    from tfpdu.ensemble import EnsembleSettings, assign_shards
    from tfpdu.unlearning import ShardedLearner

    configure(2)
    meter, views = Meter(), ViewPolicy(count=2, shift=2)
    settings = EnsembleSettings(shards=given.shards, width=4, epochs=1, batch=256, learning_rate=0.02)
    with meter.stage("make the set"):
        folder = Path(given.cache or directory, "cache")
        records = generated(given.rows, given.side, Shelf(folder, 1e6 if given.in_memory else 0))
    with meter.stage("cut pools and draw"):
        pools = cut_pools(records, PoolSizes(0.9, 0.01, 0.01, 0.0, 0.0, 0.08), 0)
        drawn = draw(pools.private, DrawSettings(len(pools.private)), 0)
        shard, slice_ = assign_shards(drawn, given.shards, 1, 0)
    learner = ShardedLearner(directory, settings, views, classes=10, input_shape=records.images.shape[1:], seed=0)
    with meter.stage("learn"):
        learned = learner.learn(drawn, shard, slice_)
    with meter.stage("unlearn 1 %"):
        left = np.sort(hashed_order(drawn.ids, "forgotten")[len(drawn) // 100 :])
        learned = learner.learn(drawn.take(left), shard[left], slice_[left])
    with meter.stage("evaluate"):
        kept = drawn.take(left)
        retain = np.mean(learned.ensemble.probabilities(kept.images).argmax(1) == kept.labels)
        test = np.mean(learned.ensemble.probabilities(pools.test.images).argmax(1) == pools.test.labels)
    with meter.stage("audit"):
        rows = audit_members(
            learned.ensemble.probabilities,
            {"all_originals": drawn},
            pools.non_members_calibration,
            pools.non_members_evaluation,
            policy=views,
            seed=0,
            settings=AuditSettings(rows=200),
        )
    return {
        "rows": given.rows,
        "learned": len(drawn),
        "forgotten": len(drawn) - len(left),
        "pixels_mb": round(records.images.nbytes / MB),
        "in_memory": given.in_memory,
        "limit_mb": given.limit_mb,
        "shards": given.shards,
        "retain_accuracy": round(float(retain), 4),
        "test_accuracy": round(float(test), 4),
        "audited": len(rows),
        "peak_rss_mb": max(stage["peak_rss_mb"] for stage in meter.stages.values()),
        "peak_anonymous_mb": max(stage["peak_anonymous_mb"] for stage in meter.stages.values()),
        "peak_data_mb": max(stage["peak_data_mb"] for stage in meter.stages.values()),
        "stages": meter.stages,
    }


def main() -> None:
    given = arguments()
    if given.limit_mb:
        resource.setrlimit(resource.RLIMIT_DATA, (int(given.limit_mb * MB),) * 2)
    with tempfile.TemporaryDirectory() as directory:
        result = measure(given, directory)
    text = json.dumps(result, indent=1)
    print(text)
    if given.output:
        from tfpdu.common import files

        files.write_text(given.output, text + "\n")


if __name__ == "__main__":
    main()
