"""What an exported ensemble costs to ask: beside one exported ResNet18, and an equal one in TorchScript.

    python -m benchmarks.serving --output=docs/results/serving.json   # ResNet18 at 32 x 32, 5 members, both stems
    python -m benchmarks.serving --members=2 --stems=imagenet --batches=1,8 --seconds=0.5

Versions are exported as `tfpdu serving publish` does and loaded again; requests go straight to the graph, so no server
and no network is in the numbers. The contenders take turns, so that whatever else the machine does meets all of them.
Latency is the median of a request; ratios are to the single ResNet18. PyTorch is optional (pip install torch==2.13.0).
With --grouped k bare networks one after the other are set beside one network of k groups instead.
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


def grouped(stem: str, batch: int, k: int, width: int, side: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of k bare ResNet18s: one after the other, and as one network of grouped convolutions."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    members = [_bare_weights(stem, width, rng) for _ in range(k)]
    stacked = [
        tuple(tf.concat(of_all, -1) for of_all in zip(*layer, strict=True)) for layer in zip(*members, strict=True)
    ]
    in_turn = tf.function(lambda x: tf.concat([_bare_resnet18(weights, x, stem) for weights in members], -1))
    as_one = tf.function(lambda x: _bare_resnet18(stacked, x, stem))
    pictures = rng.normal(size=(batch, side, side, 3)).astype(np.float32)
    np.testing.assert_allclose(in_turn(pictures).numpy(), as_one(pictures).numpy(), rtol=1e-3, atol=1e-3)
    found = latencies({"in turn": in_turn, "grouped": as_one}, pictures, seconds)
    taken = {name: statistics.median(times) * 1000 for name, times in found.items()}
    return {
        **{"stem": stem, "batch": batch, "in_turn_ms": taken["in turn"], "grouped_ms": taken["grouped"]},
        "ratio": taken["grouped"] / taken["in turn"],
    }


def _bare_weights(stem: str, width: int, rng: np.random.Generator) -> list[tuple[Any, Any, Any]]:
    """Kernel, scale and shift of each convolution, in the order in which `_bare_resnet18` takes them."""
    import tensorflow as tf

    shapes, channels = [(7 if stem == "imagenet" else 3, 3, width)], width
    for stage in range(4):
        for _ in range(2):
            filters = width * 2**stage
            shapes += [(3, channels, filters), (3, filters, filters)]
            shapes += [(1, channels, filters)] if channels != filters else []
            channels = filters
    return [
        (
            tf.constant(rng.normal(0, (2 / (size * size * before)) ** 0.5, (size, size, before, after)), tf.float32),
            tf.constant(rng.uniform(0.9, 1.1, after), tf.float32),
            tf.constant(rng.uniform(-0.1, 0.1, after), tf.float32),
        )
        for size, before, after in shapes
    ]


def _bare_resnet18(weights: list[tuple[Any, Any, Any]], x: Any, stem: str) -> Any:
    """Convolutions, scales, shifts and shortcuts; k members stacked along their channels are k groups."""
    import tensorflow as tf

    layers = iter(weights)

    def convolution(x: Any, stride: int) -> Any:
        kernel, scale, shift = next(layers)
        return tf.nn.conv2d(x, kernel, stride, "SAME") * scale + shift

    x = tf.nn.relu(convolution(x, 1 if stem == "cifar" else 2))
    if stem != "cifar":
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    for stage in range(4):
        for place in range(2):
            halves = stage > 0 and place == 0
            branch = tf.nn.relu(convolution(x, 2 if halves else 1))
            branch = convolution(branch, 1)
            x = tf.nn.relu(branch + (convolution(x, 2) if halves else x))
    return tf.reduce_mean(x, [1, 2])


COLUMNS = {
    **{"stem": "", "batch": "", "contender": ""},
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
    parser.add_argument("--grouped", action="store_true", help="only compare k bare networks with one of k groups")
    parser.add_argument("--output", default="", help="JSON file for the result; empty: only printed")
    arguments = parser.parse_args()
    configure(arguments.threads)
    k, side, seconds = arguments.members, arguments.side, arguments.seconds
    batches, stems = [int(text) for text in arguments.batches.split(",")], arguments.stems.split(",")
    if arguments.grouped:
        rows = [grouped(stem, batch, k, arguments.width, side, seconds) for stem in stems for batch in batches]
    else:
        rows = measure(stems, batches, k, arguments.width, side, seconds, arguments.threads)
    print("\n".join(table(rows)))
    if arguments.output:
        settings = {name: value for name, value in vars(arguments).items() if name != "output"}
        files.write_json(arguments.output, {**settings, "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
