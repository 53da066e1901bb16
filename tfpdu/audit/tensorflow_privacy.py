"""The one door to tensorflow-privacy's membership-inference tests (the package tensorflow-empirical-privacy 0.1).

Imported lazily, by name: `import tensorflow_privacy` itself fails on TensorFlow 2.20 unless upstream's own switch
`sys.skip_tf_privacy_import` is set before anything below it is imported, which happens here and nowhere else. With it
the tests load without TensorFlow.

What upstream does differently from `tfpdu.audit`, and the rows therefore say protocol "tensorflow_privacy": thresholds
are chosen on the very rows they are counted on, so that the success rate is biased upwards and its interval is not a
confidence interval. The AUC has neither fault: for the threshold attacks nothing is fitted, and the trained attackers'
scores are out-of-fold (two folds). Upstream's epsilon bound is left out: it takes the best of all thresholds without
correction and fires on data without any leak.

Worked around: losses and probabilities are handed over as copies in float64 (some upstream functions overwrite their
input) and losses as given (its own are clipped at 18.4 nats, and `get_loss_test` fails on logits); the entropy attack
gets probabilities in the place of logits, since it ignores probabilities; the forest's grid names an option that
scikit-learn has dropped; attackers are unseeded, so NumPy's global state is set for the call and put back afterwards.
"""

import contextlib
import dataclasses
import importlib
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from tfpdu.audit.losses import root_moments
from tfpdu.audit.protocols import Outcome
from tfpdu.audit.signals import Signals
from tfpdu.audit.statistics import best_threshold
from tfpdu.common.errors import UserError
from tfpdu.common.seeds import stable_hash
from tfpdu.common.validation import one_of

PROTOCOL = "tensorflow_privacy"
THRESHOLDS = {"threshold": "THRESHOLD_ATTACK", "entropy": "THRESHOLD_ENTROPY_ATTACK"}
TRAINED = {
    "lr": "LOGISTIC_REGRESSION",
    "mlp": "MULTI_LAYERED_PERCEPTRON",
    "rf": "RANDOM_FOREST",
    "knn": "K_NEAREST_NEIGHBORS",
}
LEAST_ROWS = 12  # a side: trained attackers part them in two folds, and each fold in three
Slices = Mapping[str, tuple[np.ndarray, np.ndarray]]
_ROOT = "tensorflow_privacy.privacy.privacy_tests.membership_inference_attack"


def load(name: str) -> ModuleType:
    """Imports a module of upstream's membership_inference_attack package, such as "data_structures"."""
    sys.skip_tf_privacy_import = True  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"{_ROOT}.{name}")


def run_attacks(
    members: Signals,
    nonmembers: Signals,
    names: Sequence[str],
    seed: int,
    features: str = "probabilities",
    slices: Slices | None = None,
) -> Iterator[Outcome]:
    """The scores and the in-sample threshold of each named attack, of `THRESHOLDS` and `TRAINED`.

    With slices, name -> (bool[n1], bool[n0]) as `tfpdu.audit.slices.paired_slices` gives them, each attack is also run
    on the rows of each slice alone, as upstream's own `SlicingSpec` does; of a trained attack only the slices with
    `LEAST_ROWS` rows a side.
    """
    one_of(("probabilities", "moments"), features=features)
    trained = set(names) & set(TRAINED)
    if trained and min(len(members), len(nonmembers)) < LEAST_ROWS:
        raise UserError(
            f"tensorflow_privacy: {len(members)} and {len(nonmembers)} rows, at least {LEAST_ROWS} a side are needed"
        )
    for name in names:
        yield _outcome(members, nonmembers, name, seed, features)
        for title, masks in (slices or {}).items():
            inside, outside = members.take(masks[0]), nonmembers.take(masks[1])
            if min(len(inside), len(outside)) >= (LEAST_ROWS if name in TRAINED else 1):
                yield dataclasses.replace(_outcome(inside, outside, name, seed, features), slice=title)


def _outcome(members: Signals, nonmembers: Signals, name: str, seed: int, features: str) -> Outcome:
    members, nonmembers = (side.take(np.argsort(side.ids, kind="stable")) for side in (members, nonmembers))
    if name == "threshold":
        return _run(_loss_input(members, nonmembers), name, THRESHOLDS[name])
    if name == "entropy":
        return _run(_entropy_input(members, nonmembers), name, THRESHOLDS[name])
    with _global_seed(seed, name), _scikit_learn_of_today():
        outcome = _run(_feature_input(members, nonmembers, features), name, TRAINED[name])
    return dataclasses.replace(outcome, exchangeable=False)  # either half trained the attacker of the other


def _run(data: Any, name: str, kind: str) -> Outcome:
    attack = load("membership_inference_attack")
    kinds = load("data_structures").AttackType
    with warnings.catch_warnings():  # upstream divides by zero in bounds that nobody reads
        warnings.simplefilter("ignore")
        (result,) = attack.run_attacks(data, attack_types=(kinds[kind],)).single_attack_results
    members = np.array(result.membership_scores_train, np.float64)
    nonmembers = np.array(result.membership_scores_test, np.float64)
    return Outcome(f"tfp_{name}", PROTOCOL, members, nonmembers, best_threshold(members, nonmembers))


def _loss_input(members: Signals, nonmembers: Signals) -> Any:
    return load("data_structures").AttackInputData(
        loss_train=members.losses0.astype(np.float64), loss_test=nonmembers.losses0.astype(np.float64)
    )


def _entropy_input(members: Signals, nonmembers: Signals) -> Any:
    return load("data_structures").AttackInputData(
        logits_train=_normalised(members.probabilities), logits_test=_normalised(nonmembers.probabilities)
    )


def _feature_input(members: Signals, nonmembers: Signals, features: str) -> Any:
    structures = load("data_structures")
    if features == "probabilities":
        tables = [_normalised(side.probabilities) for side in (members, nonmembers)]
        losses = [side.losses0.astype(np.float64) for side in (members, nonmembers)]
    else:
        tables = [root_moments(side.losses) for side in (members, nonmembers)]
        losses = [side.losses.mean(axis=1) for side in (members, nonmembers)]
    return structures.AttackInputData(
        logits_train=tables[0], logits_test=tables[1], loss_train=losses[0], loss_test=losses[1]
    )


def _normalised(probabilities: np.ndarray) -> np.ndarray:
    table = probabilities.astype(np.float64)
    return table / table.sum(axis=1, keepdims=True)


@contextlib.contextmanager
def _global_seed(seed: int, name: str) -> Iterator[None]:
    before = np.random.get_state()
    np.random.seed(stable_hash(seed, "tensorflow-privacy", name) % 2**32)
    try:
        yield
    finally:
        np.random.set_state(before)


@contextlib.contextmanager
def _scikit_learn_of_today() -> Iterator[None]:
    """Upstream's forest asks for max_features "auto", which is gone from scikit-learn; it meant "sqrt"."""
    selection = load("models").model_selection
    upstream = selection.GridSearchCV

    def grid_search(model: Any, param_grid: dict[str, list[Any]], **options: Any) -> Any:
        if "max_features" in param_grid:
            param_grid = param_grid | {"max_features": ["sqrt"]}
        return upstream(model, param_grid=param_grid, **options)

    selection.GridSearchCV = grid_search
    try:
        yield
    finally:
        selection.GridSearchCV = upstream
