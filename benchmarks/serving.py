"""What an exported ensemble costs to ask: beside one exported ResNet18, and an equal one in TorchScript.

    python -m benchmarks.serving --output=docs/results/serving.json   # ResNet18 at 32 x 32, 5 members, both stems
    python -m benchmarks.serving --members=2 --stems=imagenet --batches=1,8 --seconds=0.5

Versions are exported as `tfpdu serving publish` does and loaded again; requests go straight to the graph, so no server
and no network is in the numbers. The contenders take turns, so that whatever else the machine does meets all of them.
Latency is the median of a request; ratios are to the single ResNet18. PyTorch is optional (pip install torch==2.13.0).
With --grouped the members' convolutions one after the other are set beside one grouped convolution instead.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # see benchmarks/training.py

import numpy as np

from tfpdu.common import files
from tfpdu.common.determinism import configure
from tfpdu.common.machine import machine

CLASSES = 10


def exported(k: int, stem: str, width: int, side: int, directory: Path) -> Callable[[np.ndarray], np.ndarray]:
    """An ensemble of k ResNet18s, exported and loaded: uint8[n, h, w, 3] to probabilities."""
    import tensorflow as tf

    from tfpdu.ensemble import Ensemble, EnsembleSettings, Evaluator, build_resnet18
    from tfpdu.serving.export import export
    from tfpdu.serving.pictures import PictureReader
    from tfpdu.serving.release import Release, noise

    shape = (side, side, 3)
    networks = [build_resnet18(shape, CLASSES, stem, width, seed=seed) for seed in range(k)]
    settings = EnsembleSettings(shards=k, stem=stem, width=width)
    ensemble = Ensemble([network.get_weights() for network in networks], Evaluator(networks[0]), settings)
    hashes = [{"shard": s, "weights": files.array_hash(*ensemble.weights(s))} for s in range(k)]
    names = tuple(f"class {c}" for c in range(CLASSES))
    lineage = {"salt": "", "rows": [], "members": hashes}
    release = Release(ensemble, names, PictureReader(shape), noise(shape, 0), "noise", lineage)
    loaded = tf.saved_model.load(str(export(release, directory / f"{stem}-{k}" / "1", "benchmark")))
    signature = loaded.signatures["serving_default"]

    def ask(images: np.ndarray) -> np.ndarray:
        _ = loaded  # a signature does not keep its variables
        return signature(images=tf.constant(images))["probabilities"].numpy()

    return ask


def torchscript(stem: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """ResNet18 traced, frozen and optimised for inference, with the same pixels in and probabilities out."""
    import torch

    from benchmarks.training import torch_resnet18

    torch.set_num_threads(threads)
    net = torch_resnet18(stem, CLASSES).eval()
    example = torch.zeros(1, 3, 32, 32).to(memory_format=torch.channels_last)
    with torch.no_grad():
        traced = torch.jit.optimize_for_inference(torch.jit.trace(net, example))

    def ask(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            pixels = torch.from_numpy(np.moveaxis(images, 3, 1)).to(memory_format=torch.channels_last)
            return torch.softmax(traced((pixels.float() / 255 - 0.45) / 0.225), 1).numpy()

    return ask


def latencies(
    contenders: dict[str, Callable[[np.ndarray], np.ndarray]], images: np.ndarray, seconds: float
) -> dict[str, list[float]]:
    """Seconds of each request, in turns, for so many seconds a contender."""
    for ask in contenders.values():
        ask(images)
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    while any(sum(times) < seconds for times in taken.values()):
        for name, ask in contenders.items():
            start = time.perf_counter()
            ask(images)
            taken[name].append(time.perf_counter() - start)
    return taken


def measure(
    stems: list[str], batches: list[int], k: int, width: int, side: int, seconds: float, threads: int
) -> list[dict[str, Any]]:
    """A row a stem, batch size and contender."""
    rows = []
    for stem in stems:
        with tempfile.TemporaryDirectory() as directory:
            contenders = {
                "ResNet18": exported(1, stem, width, side, Path(directory)),
                f"ensemble of {k}": exported(k, stem, width, side, Path(directory)),
            }
        if width == 64 and side == 32:  # an equal one is of these alone
            try:
                contenders["TorchScript"] = torchscript(stem, threads)
            except ImportError:
                print("PyTorch is not installed: pip install torch==2.13.0; its rows are left out")
        for batch in batches:
            images = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
            taken = latencies(contenders, images, seconds)
            single = statistics.median(taken["ResNet18"])
            for name, times in taken.items():
                middle = statistics.median(times)
                p99 = float(np.percentile(times, 99))
                rows.append(
                    {
                        "stem": stem,
                        "batch": batch,
                        "contender": name,
                        "p50_ms": middle * 1000,
                        "p99_ms": p99 * 1000,
                        "images_per_second": batch / middle,
                        "ratio": middle / single,
                    }
                )
    return rows


def grouped(k: int, batch: int, side: int, channels: int, seconds: float) -> dict[str, float]:
    """Milliseconds of k members' 3x3 convolutions, one after the other and as one grouped convolution; the ratio."""
    import tensorflow as tf

    pictures = [tf.random.normal((batch, side, side, channels)) for _ in range(k)]
    kernels = [tf.random.normal((3, 3, channels, channels)) for _ in range(k)]
    together = tf.concat(pictures, -1), tf.concat(kernels, -1)  # [b, h, w, k * c], [3, 3, c, k * c]

    @tf.function
    def in_turn(pictures: list, kernels: list) -> list:
        return [tf.nn.conv2d(x, kernel, 1, "SAME") for x, kernel in zip(pictures, kernels, strict=True)]

    as_one = tf.function(lambda x, kernel: tf.nn.conv2d(x, kernel, 1, "SAME"))
    ways = {"in turn": lambda _: in_turn(pictures, kernels), "grouped": lambda _: as_one(*together)}
    taken = {n: statistics.median(t) * 1000 for n, t in latencies(ways, together[0], seconds).items()}
    return {
        **{"batch": batch, "side": side, "channels": channels},
        **{"in_turn_ms": taken["in turn"], "grouped_ms": taken["grouped"]},
        "ratio": taken["grouped"] / taken["in turn"],
    }


COLUMNS = {
    **{"stem": "", "batch": "", "contender": "", "side": "", "channels": ""},
    **{"p50_ms": ".2f", "p99_ms": ".2f", "images_per_second": ".0f", "in_turn_ms": ".2f", "grouped_ms": ".2f"},
    "ratio": ".2f",
}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown of the rows of `measure` or of `grouped`."""
    columns = {name: form for name, form in COLUMNS.items() if name in rows[0]}
    heads = [name.replace("_", " ").replace("batch", "pictures a request") for name in columns]
    cells = [[format(row[name], form) for name, form in columns.items()] for row in rows]
    return [f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *cells)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", type=int, default=5, help="of the ensemble")
    parser.add_argument("--stems", default="imagenet,cifar")
    parser.add_argument("--batches", default="1,8,64", help="pictures a request")
    parser.add_argument("--width", type=int, default=64, help="channels of the first stage; 64 is ResNet18")
    parser.add_argument("--side", type=int, default=32, help="pixels a side")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each contender and batch size")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grouped", action="store_true", help="only compare k convolutions with a grouped one")
    parser.add_argument("--output", default="", help="JSON file for the result; empty: only printed")
    arguments = parser.parse_args()
    configure(arguments.threads)
    k, side, seconds = arguments.members, arguments.side, arguments.seconds
    batches, stems = [int(text) for text in arguments.batches.split(",")], arguments.stems.split(",")
    if arguments.grouped:
        sizes = [(batch, *size) for batch in batches for size in ((32, 64), (8, 64), (4, 128))]
        rows = [grouped(k, *size, seconds) for size in sizes]
    else:
        rows = measure(stems, batches, k, arguments.width, side, seconds, arguments.threads)
        print("\n".join(table(rows)))
    if arguments.output:
        files.write_json(arguments.output, {**vars(arguments), "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
