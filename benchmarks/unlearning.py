"""What forgetting 1 row, 1 % and 10 % of the rows costs, as a share of a full retraining, beside SISA's theory.

    python benchmarks/unlearning.py --output=docs/results/unlearning_cost.json        # make bench prints it too

Cost is rows times epochs, over those of training one model on all rows that are left. It is counted from where the rows
lie, without training, and averaged over draws of the rows that are forgotten; theory is its expectation
(`tfpdu.unlearning.cost`). Forget-ordered slices are those of the first of ten steps; "next" draws among the rows that
leave in it.

Wall time is measured where theory promises to save half at least: of real deletions, checkpoints included, of the draw
whose cost is nearest to the mean, by a tiny network on scikit-learn's digits, over that of training one model on all
rows just before; the faster of two each. In brackets the cost of that very draw. A training of other rows times epochs
than were counted ends the benchmark.
"""

import argparse
import dataclasses
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from tfpdu.common import files, seeds
from tfpdu.common.machine import machine
from tfpdu.data import Records, ViewPolicy, load
from tfpdu.ensemble import EnsembleSettings, assign_shards
from tfpdu.unlearning import Learned, ShardedLearner
from tfpdu.unlearning.cost import Stages, batch_cost, retraining_cost, sisa_stages
from tfpdu.unlearning.plan import leaving_steps, plan_bases

NETWORK = EnsembleSettings(shards=1, stem="cifar", width=4, epochs=15, batch=128, learning_rate=0.05)
SHARES = (0.0, 0.01, 0.1)  # of the rows; 0 is a single row
STEPS = 10
REPEATS = 2
WORTH_TIMING = 0.501  # expected cost


@dataclasses.dataclass(frozen=True)
class Case:
    """A way to cut the rows, and which are forgotten: any, or with forget-ordered slices those that leave next."""

    shards: int
    slices: int
    order: str = "even"
    drawn: str = "any"

    @property
    def name(self) -> str:
        return f"{self.shards} x {self.slices if self.order == 'even' else self.order}"

    @property
    def ensemble(self) -> EnsembleSettings:
        return dataclasses.replace(NETWORK, shards=self.shards, slices=self.slices, slice_order=self.order)


CASES = (
    *(Case(*cut) for cut in ((1, 1), (2, 1), (5, 1), (5, 4), (10, 8))),
    *(Case(shards, 2, "forget", drawn) for shards in (1, 2) for drawn in ("next", "any")),
)


@dataclasses.dataclass(frozen=True)
class Cut:
    """Shard and slice of each row, which rows may be forgotten, and the theory's stages."""

    shard: np.ndarray
    slice: np.ndarray
    candidates: np.ndarray
    stages: Stages


def cut(case: Case, records: Records) -> Cut:
    ensemble, everything = case.ensemble, np.arange(len(records))
    shard, slices = assign_shards(records, ensemble.shards, ensemble.dealt_slices, 0)
    if case.order == "even":
        return Cut(shard, slices, everything, sisa_stages(case.slices))
    leaves = leaving_steps(records.ids.tolist(), STEPS, 0)
    first, last = ensemble.slice_epochs()
    added = (last - first) / first
    plan = plan_bases(len(records), np.bincount(leaves)[1:].tolist(), added, ensemble.base_share)
    slices = plan.slices(0, leaves, np.full(len(records), -1))
    if case.drawn == "next":
        return Cut(shard, slices, np.flatnonzero(leaves == 1), [(1.0, added)])
    return Cut(shard, slices, everything, [(plan.shares[0], 1.0), (1.0, added)])


def draw(case: Case, place: Cut, count: int, number: int) -> np.ndarray:
    """bool[n]: the rows that are forgotten."""
    chosen = seeds.rng("unlearning", case.name, case.drawn, count, number).choice(
        place.candidates, count, replace=False
    )
    gone = np.zeros(len(place.shard), bool)
    gone[chosen] = True
    return gone


def counted(case: Case, place: Cut, gone: np.ndarray) -> int:
    """Rows times epochs of forgetting these rows."""
    where = (place.shard[~gone], place.slice[~gone], place.shard[gone], place.slice[gone])
    return retraining_cost(case.ensemble, *where)


def compare(case: Case, records: Records, share: float, draws: int) -> tuple[dict[str, Any], np.ndarray]:
    """Counted beside expected cost; and of the rows that were drawn, those whose cost is nearest to the mean."""
    place, n = cut(case, records), len(records)
    k = max(1, round(share * n))
    costs = np.array([counted(case, place, draw(case, place, k, i)) for i in range(draws)])
    typical = draw(case, place, k, int(np.abs(costs - costs.mean()).argmin()))
    full = (n - k) * NETWORK.epochs
    theory, measured = batch_cost(n, case.shards, k, place.stages) / (n - k), costs.mean() / full
    line = {"cut": case.name, **dataclasses.asdict(case), "forgotten": k, "theory": theory, "measured": measured}
    return {**line, "standard_error": costs.std() / full / draws**0.5, "deviation": measured / theory - 1}, typical


class Clock:
    """Times real deletions of one way to cut the rows."""

    def __init__(self, case: Case, records: Records, directory: Path):
        self.case, self.records, self.directory = case, records, directory
        self.place = cut(case, records)
        everything = np.zeros(len(records), bool)
        self._learn(case.ensemble, "all", everything)
        self.seconds = min(self._fresh(NETWORK, "one model", everything)[0] for _ in range(REPEATS))
        self.row_epochs = len(records) * NETWORK.epochs

    def forget(self, gone: np.ndarray) -> dict[str, float]:
        """Seconds, their share of those of a full retraining, and the cost of this very draw as a share of the same.

        A full retraining on the rows left is taken to be shorter than that on all rows as there are fewer of them.
        """
        timed = [self._fresh(self.case.ensemble, "left", gone, self.directory / "all") for _ in range(REPEATS)]
        seconds, cost = min(seconds for seconds, _ in timed), counted(self.case, self.place, gone)
        if any(learned.row_epochs != cost for _, learned in timed):
            raise SystemExit(f"{self.case}: {timed[0][1].row_epochs} rows x epochs were trained, {cost} were counted")
        share = float((~gone).mean())
        full_seconds, full_cost = self.seconds * share, self.row_epochs * share
        clocked = {"seconds": seconds, "full_seconds": full_seconds, "wall": seconds / full_seconds}
        return {**clocked, "cost_of_timed": cost / full_cost}

    def _fresh(
        self, ensemble: EnsembleSettings, folder: str, gone: np.ndarray, start: Path | None = None
    ) -> tuple[float, Learned]:
        """Learns what is left in a folder that holds nothing, or what `start` holds."""
        shutil.rmtree(self.directory / folder, ignore_errors=True)
        if start:
            shutil.copytree(start, self.directory / folder)
        return self._learn(ensemble, folder, gone)

    def _learn(self, ensemble: EnsembleSettings, folder: str, gone: np.ndarray) -> tuple[float, Learned]:
        records, place = self.records, self.place
        learner = ShardedLearner(
            self.directory / folder,
            ensemble,
            ViewPolicy(count=10, flip=False, shift=1),
            classes=records.classes,
            input_shape=records.images.shape[1:],
            seed=0,
        )
        nothing = np.zeros(len(records), np.int32)
        shard, slice_ = (nothing, nothing) if folder == "one model" else (place.shard, place.slice)
        start = time.perf_counter()
        learned = learner.learn(records.take(~gone), shard[~gone], slice_[~gone])
        return time.perf_counter() - start, learned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=500, help="of the rows that are forgotten, a line of the table")
    parser.add_argument("--count_only", action="store_true", help="train nothing; no wall time")
    parser.add_argument("--output", default="", help="JSON file for the result; empty: only printed")
    arguments = parser.parse_args()
    records = load("digits")
    print("| shards x slices | forgotten | of | theory | measured | wall time |\n|---|---|---|---|---|---|")
    lines = []
    with tempfile.TemporaryDirectory() as directory:
        if not arguments.count_only:
            Clock(Case(1, 1), records.take(np.arange(64)), Path(directory) / "warm-up")  # compiles
        for number, case in enumerate(CASES):
            clock = None
            for share in SHARES:
                line, typical = compare(case, records, share, arguments.draws)
                if line["theory"] < WORTH_TIMING and not arguments.count_only:
                    clock = clock or Clock(case, records, Path(directory) / str(number))
                    line |= clock.forget(typical)
                lines.append(line)
                print(row(line), flush=True)
    worst = max(abs(line["deviation"]) for line in lines)
    print(f"\nmeasured is within {worst:.1%} of theory; {len(records)} rows, {NETWORK.epochs} epochs")
    if arguments.output:
        head = {"rows": len(records), "network": dataclasses.asdict(NETWORK), "draws": arguments.draws}
        files.write_json(arguments.output, {**head, "machine": machine(), "largest_deviation": worst, "lines": lines})


def row(line: dict[str, Any]) -> str:
    wall = f"{line['wall']:.3f} ({line['cost_of_timed']:.3f})" if "wall" in line else ""
    cells = [line["cut"], f"{line['forgotten']}", line["drawn"], f"{line['theory']:.3f}", f"{line['measured']:.3f}"]
    return f"| {' | '.join([*cells, wall])} |"


if __name__ == "__main__":
    main()
