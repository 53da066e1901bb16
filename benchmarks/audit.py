"""What an audit costs beside the forward passes that it cannot do without, and its peak memory.

    python benchmarks/audit.py --output=docs/results/audit_cost.json  # 5,000 + 5,000 rows x 10 views, width 16
    python benchmarks/audit.py --quick                                # 500 + 500 rows

All threshold attacks and Moments run on made-up pictures of 32 x 32. "audit" is everything: matching, views, queries,
losses, fits, scores, intervals. "forward" is the part of it that was spent in the model's answers, so that another job
on the machine slows both; the ratio is that of the two.

Prints a line of JSON; `peak_gb` is the process's, TensorFlow included, and `growth_gb` what the audit added to it.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from tfpdu.cli import app
from tfpdu.common import files
from tfpdu.common.machine import machine, peak_gigabytes

_QUICK = flags.DEFINE_bool("quick", False, "500 + 500 rows in place of 5,000 + 5,000")
_ROWS = flags.DEFINE_integer("rows", 0, "rows a side; default 5,000, or 500 with --quick", lower_bound=0)
_VIEWS = flags.DEFINE_integer("views", 10, "views of each row", lower_bound=1)
_WIDTH = flags.DEFINE_integer("width", 16, "of the ResNet18", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file for the result; empty: only printed")
_SIDE = 32
_CLASSES = 10
ATTACKS = (
    *("blind", "correctness", "m_loss", "m_mean", "moments", "confidence", "confidence_by_class"),
    *("entropy", "entropy_by_class", "modified_entropy", "modified_entropy_by_class"),
)


def measure(rows: int, views: int, width: int, side: int = _SIDE, seed: int = 0) -> dict[str, Any]:
    """Seconds of the forward passes and of the audit, their ratio, and memory in GB (2^30 bytes).

    Args:
      rows: members, and as many non-members.
      views: N.
      width: of the ResNet18.
      side: pixels.
      seed: of pictures and weights.
    """
    import keras

    from tfpdu.audit import AuditSettings, audit_members
    from tfpdu.data import ViewPolicy
    from tfpdu.ensemble import Ensemble, EnsembleSettings
    from tfpdu.ensemble.resnet import build_resnet18

    keras.utils.set_random_seed(seed)
    model = build_resnet18((side, side, 3), _CLASSES, "cifar", width)
    ensemble = Ensemble([model.get_weights()], model, EnsembleSettings(shards=1, width=width))
    members = _records(rows, "member", side, seed)
    calibration, evaluation = (
        _records(rows // 2 + rows // 10, name, side, seed + k) for k, name in ((1, "c"), (2, "e"))
    )
    settings = AuditSettings(rows=rows, attacks=ATTACKS)
    asked, forward = 0, 0.0

    def predict(images: np.ndarray) -> np.ndarray:
        nonlocal asked, forward
        start = time.monotonic()
        answers = ensemble.probabilities(images)
        asked, forward = asked + len(images), forward + time.monotonic() - start
        return answers

    ensemble.probabilities(members.images[:64])  # compiles
    pools, policy, start_gb = (calibration, evaluation), ViewPolicy(views), peak_gigabytes()
    start = time.monotonic()
    table = audit_members(
        predict, {"members": members}, *pools, policy=policy, seed=seed, settings=settings, note=lambda line: None
    )
    seconds = time.monotonic() - start
    peak = peak_gigabytes()
    return {
        "rows": sum(row["n_members"] + row["n_nonmembers"] for row in table[:1]),
        "asked": asked,
        "attacks": len(table),
        "forward_seconds": forward,
        "audit_seconds": seconds,
        "ratio": seconds / forward,
        "peak_gb": peak,
        "growth_gb": peak - start_gb,
    }


def _records(n: int, name: str, side: int, seed: int) -> Any:
    from tfpdu.data import Records

    rng = np.random.default_rng(seed)
    return Records(
        images=rng.integers(0, 256, (n, side, side, 3), np.uint8),
        labels=(np.arange(n) % _CLASSES).astype(np.int32),
        attributes=np.zeros((n, 0), np.int8),
        ids=np.array([f"{name}/{row:07d}" for row in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(),
        label_names=tuple(map(str, range(_CLASSES))),
    )


def _main(argv: Sequence[str]) -> None:
    del argv
    rows = _ROWS.value or (500 if _QUICK.value else 5000)
    output = app.json_path(_OUTPUT.value)
    found = {"views": _VIEWS.value, "width": _WIDTH.value, **measure(rows, _VIEWS.value, _WIDTH.value)}
    print(json.dumps(found))
    if output:
        files.write_json(output, {**found, "machine": machine()})


if __name__ == "__main__":
    app.run(_main)
