"""Speed and memory of the generator at a preset's size: training, sampling, share of the machine's peak.

    python benchmarks/generator_speed.py --config=cifar10 --output=docs/results/generator_speed.json

Training: steps on random pictures, the first ones (compilation) left out. Sampling: unguided, 18 Heun steps, which are
35 evaluations of the network. The peak is that of benchmarks/training.py: the fastest of a few large 3x3 convolutions.
Memory is the whole process's, early and at the end of the training, which shows whether it grows.
"""

import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from training import peak_gflops

from tfpdu.cli import app
from tfpdu.common import files
from tfpdu.common.machine import machine, peak_gigabytes

_CONFIG = app.define_config()
_OUTPUT = flags.DEFINE_string("output", "", "also write the JSON here")
_SHAPE = flags.DEFINE_list("shape", ["32", "32", "3"], "of the pictures: height, width, channels")
_STEPS = flags.DEFINE_integer("steps", 150, "training steps, in five turns", lower_bound=5)

TURNS = 5


def gflop(network: Any) -> float:
    """Multiply-adds times two of one image's way through all convolutions and dense layers, in GFLOP."""
    total = 0
    for layer in network.layers:
        if type(layer).__name__ in ("Conv2D", "Dense"):
            positions = int(np.prod(layer.output.shape[1:-1]))  # 1 for a vector
            total += positions * int(np.prod(layer.kernel.shape))
    return 2e-9 * total


def measure(config: dict[str, Any], shape: tuple[int, ...], steps: int) -> dict[str, Any]:
    from tfpdu.common.determinism import configure
    from tfpdu.data.records import AttributeSpec, Records
    from tfpdu.diffusion import fit_generator
    from tfpdu.diffusion.training import Training, training_batches
    from tfpdu.settings import Settings

    settings = Settings.from_config(config)
    configure(settings.ensemble.threads)
    draw, n = np.random.default_rng(0), 512
    rows = Records(
        images=draw.integers(0, 256, (n, *shape), np.uint8),
        labels=draw.integers(0, 10, n).astype(np.int32),
        attributes=draw.integers(0, 2, (n, 1)).astype(np.int8),
        ids=np.array([f"row{i}" for i in range(n)]),
        origin=np.zeros(n, np.int32),
        label_names=tuple("abcdefghij"),
        specs=(AttributeSpec("attribute", ("no", "yes")),),
    )
    ours = dataclasses.replace(settings.generator, steps=18, guidance=1.0, sampler="heun", churn=0.0)
    before = peak_gflops(ours.precision)
    architecture = ours.architecture(shape, 10, (2,))
    with tempfile.TemporaryDirectory() as directory:
        batches = training_batches(rows, ours, 0)
        step = Training.of_denoiser(architecture, ours, batches, 0, "", Path(directory, "none.npz")).compiled_step()
        rates, memory = [], []
        for _ in range(TURNS + 1):
            start = time.perf_counter()
            for number in range(steps // TURNS):
                step(batches.at(number), 0.999)
            rates.append(steps // TURNS * ours.batch / (time.perf_counter() - start))
            memory.append(peak_gigabytes())
        generator = fit_generator(
            rows, dataclasses.replace(ours, images=ours.batch, candidates=1, critics=()), directory, 0
        )
    count = 2 * ours.sample_batch
    arguments = rows.labels[:count], rows.attributes[:count], rows.ids[:count].tolist()
    generator.sample(*arguments)
    start = time.perf_counter()
    generator.sample(*arguments)
    sampling = count / (time.perf_counter() - start)
    cost, peak = gflop(generator.network), max(before, peak_gflops(ours.precision))
    rate = statistics.median(rates[1:])  # the first turn compiled
    return {
        "parameters": generator.network.count_params(),
        "gflop_per_image_forward": round(cost, 4),
        "training_images_per_second": round(rate, 1),
        "training_share_of_peak": round(3 * cost * rate / peak, 3),  # forward, and twice that backward
        "sampling_images_per_second": round(sampling, 1),
        "sampling_share_of_peak": round(35 * cost * sampling / peak, 3),
        "peak_gflops": round(peak, 1),
        "memory_gigabytes_early": round(memory[0], 2),
        "memory_gigabytes_late": round(memory[-1], 2),
        "machine": machine(),
    }


def _main(argv: Sequence[str]) -> None:
    del argv
    found = measure(app.as_dict(_CONFIG.value), tuple(int(size) for size in _SHAPE.value), _STEPS.value)
    if _OUTPUT.value:
        files.write_json(Path(_OUTPUT.value), found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    app.run(_main)
