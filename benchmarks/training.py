"""Training speed of ResNet18 at 32 x 32, as ratios measured in one run: tfpdu, PyTorch, the machine's peak.

    make bench                                  # or: python benchmarks/training.py --batch=128 --repeats=5

The contenders take turns, so that whatever else the machine does meets all of them; medians are compared. PyTorch is
optional (`pip install torch==2.13.0`). The peak is the fastest of a few large 3x3 convolutions, in float32 or bfloat16.
"""

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# PyTorch's threads otherwise wait by spinning; where the cores have other work it then falls to a tenth of its speed.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from tfpdu.common.determinism import configure

# Multiply-adds times two, forward and twice that backward, for one 32 x 32 image. Nominal: where a map is smaller than
# the kernel, tfpdu leaves out the products with padding, and is credited with them all the same, as PyTorch is.
GFLOP = {"imagenet": 0.22, "cifar": 3.34}
PRECISIONS = {"float32": "float32", "mixed_bfloat16": "bfloat16"}


def ours(stem: str, precision: str, images: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    from tfpdu.ensemble import EnsembleSettings
    from tfpdu.ensemble.step import resnet18_step

    resnet18_step.cache_clear()
    settings = EnsembleSettings(stem=stem, precision=precision)
    step = resnet18_step(
        images.shape[1:], 10, stem, settings.width, 1, precision, settings.momentum, settings.weight_decay
    )
    targets, weights = np.eye(10, dtype=np.float32)[labels], np.ones(len(labels), np.float32)
    return lambda: float(step(images, targets, weights, 0.01))


def torch_resnet18(stem: str, classes: int = 10) -> Any:
    """The same ResNet18 in PyTorch, channels last."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels: int, out: int, stride: int):
            super().__init__()
            self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
            self.norm1, self.norm2 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
            same = stride == 1 and channels == out
            project = [nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)]
            self.shortcut = nn.Identity() if same else nn.Sequential(*project)

        def forward(self, x):
            inner = torch.relu(self.norm1(self.conv1(x)))
            return torch.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))

    large = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    small = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers, channels = large if stem == "imagenet" else small, 64
    for stage, out in enumerate((64, 128, 256, 512)):
        for block in range(2):
            layers.append(Block(channels, out, 2 if stage and not block else 1))
            channels = out
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
    return net.to(memory_format=torch.channels_last)


def pytorch(stem: str, precision: str, images: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    import torch
    from torch import nn

    torch.set_num_threads(2)
    net = torch_resnet18(stem)
    optimiser = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    x = torch.from_numpy(np.moveaxis(images, 3, 1).copy()).contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(labels)

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision != "float32"):
            logits = net((x.float() / 255 - 0.5) / 0.25)
        loss = nn.functional.cross_entropy(logits.float(), y)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def peak_gflops(precision: str, seconds: float = 1.0) -> float:
    """The best rate of a 3x3 convolution over a few shapes, GFLOP/s."""
    import tensorflow as tf

    best, dtype = 0.0, PRECISIONS[precision]
    for side, channels in ((32, 64), (16, 128), (32, 256), (8, 512)):
        x = tf.ones((64, side, side, channels), dtype)
        kernel = tf.ones((3, 3, channels, channels), dtype)
        run = functools.partial(tf.nn.conv2d, strides=1, padding="SAME")
        run(x, kernel)
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds / 4:
            run(x, kernel).numpy()
            count += 1
        best = max(best, count * 2e-9 * 64 * side**2 * 9 * channels**2 / (time.perf_counter() - start))
    return best


def throughput(contenders: dict[str, Callable[[], object]], batch: int, repeats: int) -> dict[str, float]:
    """Median images a second of each, in turns of about half a second."""
    steps, rates = {}, {name: [] for name in contenders}
    for name, step in contenders.items():
        step()
        step()
        start = time.perf_counter()
        step()
        steps[name] = max(1, round(0.5 / (time.perf_counter() - start)))
    for _ in range(repeats):
        for name, step in contenders.items():
            start = time.perf_counter()
            for _ in range(steps[name]):
                step()
            rates[name].append(steps[name] * batch / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in rates.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each contender")
    arguments = parser.parse_args()
    configure(2)
    try:
        import torch
    except ImportError:
        torch = None
        print("PyTorch is not installed: pip install torch==2.13.0; its column stays empty")
    print(f"{'stem':10}{'precision':16}{'tfpdu':>10}{'PyTorch':>10}{'ratio':>8}{'of peak':>9}   (images/s)")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (arguments.batch, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, arguments.batch)
    for stem in ("imagenet", "cifar"):
        for precision in PRECISIONS:
            contenders = {"tfpdu": ours(stem, precision, images, labels)}
            if torch is not None:
                contenders["PyTorch"] = pytorch(stem, precision, images, labels)
            before = peak_gflops(precision)
            rates = throughput(contenders, arguments.batch, arguments.repeats)
            share = rates["tfpdu"] * GFLOP[stem] / max(before, peak_gflops(precision))
            other = rates.get("PyTorch", float("nan"))
            ratio = rates["tfpdu"] / other
            print(f"{stem:10}{precision:16}{rates['tfpdu']:10.0f}{other:10.0f}{ratio:8.2f}{share:9.0%}", flush=True)


if __name__ == "__main__":
    main()
