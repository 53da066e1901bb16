"""What certified removal costs on scikit-learn's digits: accuracy before and after, time as a share of learning anew.

    python benchmarks/certified.py --seeds=5

Prints the table of docs/certified.md. A seed draws the 1,500 rows that are learned (the other 297 test), those that are
forgotten, and the noise; accuracies are means with Student's 95 % interval. Features are the 64 pixels, which no
extractor has made.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from tfpdu.common.intervals import student
from tfpdu.unlearning import CertifiedHead, HeadSettings, fit_head

ROWS = 1500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    print("| distance | lambda | forgotten | sigma | before, % | after, % | never saw them, % | time |")
    print("|---|---|---|---|---|---|---|---|")
    for distance, strong_convexity in ((1e-3, 1e-3), (0.0, 0.1), (0.0, 1.0)):
        for m in (1, 15, 150):
            settings = HeadSettings(distance=distance, strong_convexity=strong_convexity, capacity=m)
            trials = np.array([trial(settings, seed) for seed in range(seeds)])
            cells = [f"{distance:g}", f"{strong_convexity:g}", f"{m}", f"{settings.sigma(ROWS):.2g}"]
            cells += [interval(100 * column) for column in trials[:, :3].T] + [f"{np.median(trials[:, 3]):.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


def trial(settings: HeadSettings, seed: int) -> tuple[float, float, float, float]:
    """Accuracy before, after, and of a head that never saw the rows; time of forgetting over that of learning anew."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    learned, test = order[:ROWS], order[ROWS:]

    def learn(rows: np.ndarray) -> CertifiedHead:
        return fit_head(pixels[rows] / 16, labels[rows], rows.astype(str), 10, settings, f"{seed:032d}", rows=ROWS)

    def accuracy(head: CertifiedHead) -> float:
        return float((head.released.predict(pixels[test] / 16) == labels[test]).mean())

    head = learn(learned)
    before = accuracy(head)
    forgetting, _ = timed(lambda: head.forget(learned[: settings.capacity].astype(str)))
    anew, never = timed(lambda: learn(learned[settings.capacity :]))
    return before, accuracy(head), accuracy(never), forgetting / anew


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def interval(values: np.ndarray) -> str:
    mean, half = student(values)
    return f"{mean:.1f} ± {half:.1f}"


if __name__ == "__main__":
    main()
