"""What building AMUN's adversarial pictures costs beside the forward and backward passes that it cannot do without.

    python benchmarks/adversaries.py --output=docs/results/adversaries.json

Prints seconds of `build_adversaries` (PGD-50, doubling radii) on a ResNet18, seconds of as many passes in full batches
and nothing else, and their ratio. The network is briefly fitted to random pictures of 32x32, so that radii differ.
"""

import argparse
import json
import time

import numpy as np
import tensorflow as tf

from tfpdu.common import files
from tfpdu.common.machine import machine
from tfpdu.ensemble.networks import compiled_graph, image_gradient
from tfpdu.ensemble.resnet import build_resnet18
from tfpdu.unlearning.methods import AttackSettings, DescentSettings, Examples, build_adversaries
from tfpdu.unlearning.methods.descent import descend, learning


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--stem", choices=("imagenet", "cifar"), default="imagenet")
    parser.add_argument("--output", default="", help="JSON file for the result; empty: only printed")
    arguments = parser.parse_args()
    found = cost(arguments.rows, arguments.width, arguments.stem)
    print(json.dumps(found))
    if arguments.output:
        files.write_json(arguments.output, {**found, "machine": machine()})


def cost(rows: int, width: int, stem: str) -> dict[str, float | str]:
    """Pictures, passes, the smallest and largest radius, seconds with and without the bookkeeping, their ratio."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (rows, 32, 32, 3)).astype(np.uint8)
    examples = Examples(images, generator.integers(0, 10, rows), np.arange(rows).astype(str))
    model = build_resnet18((32, 32, 3), 10, stem, width)
    walk = learning(model, examples)
    descend(model, lambda epoch: [walk], DescentSettings(epochs=5, learning_rate=0.05), 0)
    attack = AttackSettings(epsilon=0.01, batch=min(250, rows))
    start = time.perf_counter()
    found = build_adversaries(model, examples, attack)
    building = time.perf_counter() - start
    alone = passes(model, examples, found.passes, attack.batch)
    return {
        **{"rows": rows, "width": width, "stem": stem, "passes": int(found.passes)},
        **{"smallest_radius": float(found.epsilon.min()), "largest_radius": float(found.epsilon.max())},
        **{"building_seconds": building, "passes_seconds": alone, "ratio": building / alone},
    }


def passes(model: object, examples: Examples, count: int, batch: int) -> float:
    """Seconds of `count` pictures forward and backward, with compiling, as in building."""
    start = time.perf_counter()
    shape = tf.TensorSpec((None, *examples.images.shape[1:]), tf.float32)
    gradient = compiled_graph([shape, tf.TensorSpec((None,), tf.int32)], image_gradient, model)
    pictures, labels = examples.images[:batch].astype(np.float32), examples.labels[:batch].astype(np.int32)
    for first in range(0, count, batch):
        size = min(batch, count - first)
        gradient(pictures[:size], labels[:size])[1].numpy()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
