"""A made-up run directory: plausible numbers for developing and testing reports, measured by nobody."""

import math
from pathlib import Path

import numpy as np
import pytest

from tfpdu.common.files import append_json_line, write_json, write_npz
from tfpdu.reporting.tables import write_table1

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ADDED = 4 * 1520 - 5000
ATTACKS = {"m_loss": 0.10, "m_mean": 0.13, "moments": 0.17}
UPSTREAM = {"tfp_threshold": 0.09, "tfp_lr": 0.14}


class MadeUpRun:
    """Writes the files of a run directory, each on its own, so that a test can leave some out."""

    def __init__(
        self,
        directory: Path,
        iterations: int = 10,
        done: int | None = None,
        lineage: str = "keep",
        pictures: tuple[int, int] = (8, 32),
    ):
        self.directory = directory
        self.iterations = iterations
        self.done = iterations if done is None else done
        self.lineage = lineage
        self.pictures = pictures
        self.rng = np.random.default_rng(7)
        directory.mkdir(parents=True, exist_ok=True)

    def everything(self) -> "MadeUpRun":
        for write in (self.config, self.manifest, self.bias, self.metrics, self.audit, self.fairness, self.showcase):
            write()
        return self

    def config(self, **extra: object) -> None:
        value = {
            "data": {"name": "cifar10"},
            "seed": 7,
            "augment": {"method": "diffusion", "rho": 1e-6},
            "generator": {"lineage": self.lineage, "min_rows": 500},
            "ensemble": {"shards": 5},
            "loop": {"iterations": self.iterations, "capacity": 0.2},
            "report": {"originals": True},
        }
        write_json(self.directory / "config.json", value | extra)

    def manifest(self, **extra: object) -> None:
        value = {
            "tfpdu_version": "0.1.0",
            "versions": {"python": "3.11.9", "tensorflow": "2.20.0", "keras": "3.15.1", "numpy": "1.26.4"},
            "platform": "Linux-6.1-x86_64",
            "cpu": "a test's idea of a CPU, 2 cores",
            "device": "CPU",
            "threads": 2,
            "precision": "float32",
            "seed": 7,
            "data": {"name": "cifar10", "note": "JPEG re-encoded copy of CIFAR-10", "hash": "3f9a" * 16},
            "pools": {
                "private": 10000,
                "non_members_calibration": 2000,
                "non_members_evaluation": 4000,
                "auxiliary": 4000,
                "public": 30000,
                "test": 10000,
            },
            "created": "2026-01-15T10:00:00Z",
        }
        write_json(self.directory / "manifest.json", value | extra)

    def bias(self) -> None:
        before = [1520, 1439, 930, 1111]
        cells = ["animal, dark", "animal, light", "vehicle, dark", "vehicle, light"]
        marginal = _entry([2959, 2041], [3040, 3040], ["animal", "vehicle"], [0.5, 0.5])
        joint = _entry(before, [1520] * 4, cells, [0.25] * 4)
        attributes = {"superclass": marginal, "superclass x background": joint}
        write_json(
            self.directory / "bias.json",
            {
                "attributes": attributes,
                "total_before": 0.5 * sum(e["kl_before"] ** 2 for e in attributes.values()),
                "total_after": 0.5 * sum(e["kl_after"] ** 2 for e in attributes.values()),
                "kl_before": sum(e["kl_before"] for e in attributes.values()),
                "kl_after": sum(e["kl_after"] for e in attributes.values()),
                "n_added": ADDED,
                "smoothing": 0.0,
            },
        )

    def metrics(self) -> None:
        for event in self.events():
            append_json_line(self.directory / "metrics.jsonl", event)
        write_table1(self.directory, self.events())

    def events(self) -> list[dict]:
        rng = np.random.default_rng(11)
        n0, added = 5000, ADDED
        events: list[dict] = [
            {
                "event": "generator",
                "images_seen": 1_200_000,
                "seconds": 2710.5,
                "images_per_second": 442.7,
                "loss": 0.1874,
                "parameters": 3_012_483,
                "rows": 5000,
                "lineage": self.lineage,
                "id": "g-5b1f09c2",
            },
            {
                "event": "quality_gate",
                "cas": 0.4127,
                "cas_real": 0.6012,
                "cas_ratio": 0.6865,
                "floor": 0.5,
                "passed": True,
                "realised": {
                    "superclass": {"animal": 0.941, "vehicle": 0.967},
                    "background": {"dark": 0.902, "light": 0.885},
                },
            },
            {
                "event": "memory",
                "samples": 500,
                "copies": {"ratio": 0.004, "ci_low": 0.0005, "ci_high": 0.0144},
                "copies_of_held_out": {"ratio": 0.0, "ci_low": 0.0, "ci_high": 0.0074},
                "neighbours": {
                    "share": 0.538,
                    "ci_low": 0.493,
                    "ci_high": 0.582,
                    "swap_p_value": 0.0712,
                    "samples": 500,
                },
                "membership": {"auc": 0.553, "ci_low": 0.517, "ci_high": 0.588, "members": 500, "nonmembers": 500},
            },
            {"event": "baseline", "test_accuracy": 0.6391, "train_seconds": 170.2},
            {
                "event": "augment",
                "iteration": 0,
                "requested": ADDED,
                "redrawn": 61,
                "kept_although_different": 4,
                "seconds": 31.7,
            },
        ]
        for t in range(self.done + 1):
            forgotten = round(n0 * t / self.iterations)
            if t:
                events.append(
                    {
                        "event": "augment",
                        "iteration": t,
                        "requested": 500,
                        "redrawn": int(rng.integers(20, 60)),
                        "kept_although_different": int(rng.integers(0, 6)),
                        "seconds": 17.3,
                    }
                )
            events.append(
                {
                    "event": "iteration",
                    "iteration": t,
                    "forget_fraction": forgotten / n0,
                    "n_original": n0 - forgotten,
                    "n_synthetic": added + forgotten,
                    "retain_accuracy": 0.748 + float(rng.normal(0, 0.008)),
                    "retain_accuracy_originals": 0.741 + float(rng.normal(0, 0.01)) if forgotten < n0 else None,
                    "retain_accuracy_synthetic": 0.79 + float(rng.normal(0, 0.01)),
                    "test_accuracy": 0.657 - 0.004 * t + float(rng.normal(0, 0.005)),
                    "train_seconds": 186.4,
                    "unlearn_seconds": 0.0 if t == 0 else 171.0 + float(rng.normal(0, 6)),
                    "bias_total": 3.1e-9,
                    "audit_seconds": 14.2,
                    "parameters": 11_186_112,
                }
            )
        return events

    def audit(self) -> None:
        rows = []
        for t in range(self.done + 1):
            for population in ("all_originals", "forgotten", "remaining"):
                share = t / self.iterations
                n = {"all_originals": 500, "forgotten": round(500 * share), "remaining": round(500 * (1 - share))}[
                    population
                ]
                if n == 0:
                    continue
                for protocol, attack, gap in self._attacks(t):
                    signal = {"all_originals": 1 - share, "forgotten": 0.0, "remaining": 1.0}[population]
                    rate = 0.5 + gap * signal + float(self.rng.normal(0, 0.01)) + (0.01 if protocol != "holdout" else 0)
                    half = 1.96 * math.sqrt(rate * (1 - rate) / (2 * n))
                    rows.append(
                        {
                            "iteration": t,
                            "attack": attack,
                            "protocol": protocol,
                            "population": population,
                            "success_rate": rate,
                            "ci_low": rate - half,
                            "ci_high": rate + half,
                            "tpr": rate + 0.05,
                            "tnr": rate - 0.05,
                            "auc": rate + 0.02,
                            "auc_ci_low": rate - 0.02,
                            "auc_ci_high": rate + 0.06,
                            "tpr_at_fpr": {"0.1": 0.1 + gap * signal, "0.01": None},
                            "n_members": n,
                            "n_nonmembers": n,
                        }
                    )
        write_json(self.directory / "audit.json", rows)

    def _attacks(self, t: int) -> list[tuple[str, str, float]]:
        """Protocol, attack and strength; upstream's only at the full audits."""
        named = [(protocol, *item) for protocol in ("holdout", "yu2021") for item in ATTACKS.items()]
        full = t in (0, self.iterations // 2, self.iterations)
        return named + ([("tensorflow_privacy", *item) for item in UPSTREAM.items()] if full else [])

    def fairness(self) -> None:
        rows = []
        stages = [(0, "before", 0.0), (0, "after", 0.03)] + [(t, "iteration", 0.02) for t in range(self.done + 1)]
        for t, stage, shift in stages:
            groups = [("label", name) for name in CLASSES] + [("superclass", "animal"), ("superclass", "vehicle")]
            for index, (attribute, group) in enumerate(groups):
                n = 1000 if attribute == "label" else {"animal": 6000, "vehicle": 4000}[group]
                value = 0.52 + 0.02 * ((index * 7) % 13) + shift * (1.5 if index % 2 else 0.4)
                half = 1.96 * math.sqrt(value * (1 - value) / n)
                rows.append(
                    {
                        "iteration": t,
                        "stage": stage,
                        "attribute": attribute,
                        "group": group,
                        "metric": "accuracy",
                        "value": value,
                        "ci_low": value - half,
                        "ci_high": value + half,
                        "n": n,
                        "n_pos": n,
                        "n_neg": 0,
                    }
                )
        write_json(self.directory / "fairness.json", rows)

    def showcase(self, names: tuple[str, ...] = CLASSES) -> None:
        k, size = self.pictures  # a side, and pixels
        y, x = np.mgrid[0:size, 0:size] / size
        images = np.zeros((2, len(names), k, size, size, 3), np.uint8)
        for kind in range(2):
            for row in range(len(names)):
                for column in range(k):
                    hue = (row / len(names) + 0.03 * self.rng.normal()) % 1
                    centre = 0.5 + 0.12 * self.rng.normal(size=2)
                    blob = np.exp(-((x - centre[0]) ** 2 * (1 + row % 3) + (y - centre[1]) ** 2 * (3 - row % 3)) * 14)
                    colour = 0.5 + 0.5 * np.cos(2 * np.pi * (hue + np.array([0, 1 / 3, 2 / 3])))
                    picture = 0.75 - 0.4 * y[..., None] + blob[..., None] * (colour - 0.6)
                    picture = picture + 0.05 * (1 + kind) * self.rng.normal(size=picture.shape)
                    images[kind, row, column] = np.clip(picture * 255, 0, 255).astype(np.uint8)
        write_npz(
            self.directory / "samples/showcase.npz",
            originals=images[0],
            synthetic=images[1],
            label_names=np.array(names),
        )


def _entry(before: list[int], after: list[int], values: list[str], prior: list[float]) -> dict:
    b, a, d = (np.array(v, np.float64) for v in (before, after, prior))
    b, a = b / b.sum(), a / a.sum()
    return {
        "prior": prior,
        "before": b.tolist(),
        "after": a.tolist(),
        "values": values,
        "kl_before": float(np.sum(d * np.log(d / b))),
        "kl_after": max(0.0, float(np.sum(d * np.log(d / a)))),
        "counts_before": before,
        "counts_after": after,
    }


@pytest.fixture(scope="session")
def run_builder() -> type[MadeUpRun]:
    """The class, for fixtures that outlive one test."""
    return MadeUpRun


@pytest.fixture
def made_up_run(tmp_path: Path):
    """Gives a function that starts a `MadeUpRun` in a fresh directory."""
    return lambda **options: MadeUpRun(tmp_path / "run", pictures=(2, 8), **options)
