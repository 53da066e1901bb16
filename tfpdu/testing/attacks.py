"""The suite for membership-inference attacks, and rows that a model has memorised."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.validation import one_of
from tfpdu.testing.refusal import refuses


def check_attack(make: Callable[[], Any]) -> None:
    """Checks a membership-inference attack: `name`, `fit` and `score` as `tfpdu.audit.Attack` has them.

    One's own attack is checked in one line of a test:

        def test_my_attack():
            check_attack(MyAttack)                          # a class that needs no arguments, or
            check_attack(lambda: MyAttack(temperature=2))   # any call that makes an unfitted one

    It has to give finite float64 scores, one a row, higher for members; the same for the same rows and seed, whatever
    the order of rows, views, reference models and calibration rows, and whatever else is scored; an AUC and a success
    rate (threshold from calibration rows) above 0.9 on a memorising toy model; and it must stand losses of 0 and of 708
    nats, rows that are all alike, and a dozen of calibration rows. Asked before `fit` it scores or raises `UserError`.
    An attack that names extra answers in `requires` gets them from the toy, see `memorised_signals`, and has to refuse
    signals without them with `UserError`.

    Args:
      make: makes an unfitted attack when called without arguments, such as the attack's class.
    """
    attack = make()
    assert isinstance(attack.name, str), "an attack must have a name"
    assert attack.name, "an attack's name must not be empty"
    extras = _required_extras(attack)
    members, nonmembers = memorised_signals(600, 10, seed=1, extras=extras)
    half = np.arange(len(members)) < len(members) // 2
    calibration, evaluation = (members.take(half), nonmembers.take(half)), (members.take(~half), nonmembers.take(~half))
    attack = _fitted(make, *calibration)
    scores = [attack.score(side) for side in evaluation]
    for side, values in zip(evaluation, scores, strict=True):
        _check_scores(values, len(side))
    _check_attack_order(make, attack, calibration, evaluation[0], scores[0])
    _check_attack_strength(attack, calibration, scores)
    _check_attack_extremes(make, extras)
    _check_attack_refusal(make, calibration, extras)
    with contextlib.suppress(UserError):  # one that has nothing to learn needs no fit
        _check_scores(make().score(evaluation[0]), len(evaluation[0]))


def memorised_signals(n: int, views: int, seed: int, classes: int = 10, extras: Sequence[str] = ()) -> tuple[Any, Any]:
    """Signals of a model that has learnt its n members by heart, and of as many non-members.

    Members have losses of about 0.02 nats, with little spread over the views; non-members of about 6, with much: their
    answers are unsure and mostly wrong.

    Args:
      n: rows a side.
      views: N.
      seed: of everything.
      classes: C, at least 3.
      extras: of `tfpdu.audit.EXTRAS`. "references": eight models, of which the even ones were trained with a row and
        the others without it (NaN in none). "adversarial": as the answers, ten times the loss. "earlier": the members
        are rows that the earlier version had learnt by heart and that the audited one does not know: their answers
        are like a non-member's, and the non-members' earlier answers are nearly the same as the present ones.

    Returns:
      (members, nonmembers), each `tfpdu.audit.Signals`.
    """
    from tfpdu.audit.signals import EXTRAS

    for name in extras:
        one_of(EXTRAS, extras=name)
    generator = np.random.default_rng(seed)
    sides = [
        _made_signals(generator, centre, spread, n, views, classes, prefix)
        for centre, spread, prefix in ((_BY_HEART, 0.3, "member"), (_UNKNOWN, 0.7, "stranger"))
    ]
    members, nonmembers = (
        _with_extras(np.random.default_rng([seed, number]), side, extras) for number, side in enumerate(sides)
    )
    return members, nonmembers


_BY_HEART, _UNKNOWN = np.log(0.02), np.log(6.0)  # of the losses, in nats


def _made_signals(
    generator: np.random.Generator, centre: float, spread: float, n: int, views: int, classes: int, prefix: str
) -> Any:
    from tfpdu.audit.signals import Signals

    easy = generator.normal(centre, 0.6, (n, 1))
    losses = np.exp(easy + generator.normal(0, spread, (n, views + 1)))  # [n, 1 + N]
    labels = generator.integers(0, classes, n)
    ids = np.array([f"{prefix}{i:05d}" for i in range(n)])
    return Signals(ids, labels, losses[:, 0].copy(), losses[:, 1:].copy(), _answers(losses[:, 0], labels, classes))


def _answers(losses: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """float64[n, C] with these losses; of what is left half goes to the next class and half evenly to the others."""
    rows, left = np.arange(len(losses)), -np.expm1(-losses)
    p = np.repeat((left / 2 / (classes - 2))[:, None], classes, axis=1)
    p[rows, (labels + 1) % classes] = left / 2
    p[rows, labels] = np.exp(-losses)
    return p


def _with_extras(generator: np.random.Generator, side: Any, extras: Sequence[str]) -> Any:
    import dataclasses

    from tfpdu.audit.signals import References

    n, classes = side.probabilities.shape
    if "references" in extras:
        included = np.broadcast_to(np.arange(8) % 2 == 0, (n, 8)).copy()
        unknown = np.log(side.losses0)  # of a row for models that do not know it
        unknown = unknown if unknown.mean() > 0 else generator.normal(_UNKNOWN, 0.6, n)
        losses = np.exp(generator.normal(np.where(included, _BY_HEART, unknown[:, None]), 0.3))
        side = dataclasses.replace(side, references=References(np.exp(-losses), included))
    if "adversarial" in extras:
        side = dataclasses.replace(side, adversarial=_answers(10 * side.losses0, side.labels, classes))
    if "earlier" in extras:
        known = side.losses0.mean() < 1
        now = np.exp(generator.normal(_UNKNOWN, 0.6, n)) if known else side.losses0
        then = side.losses0 if known else now * np.exp(generator.normal(0, 0.1, n))
        side = dataclasses.replace(
            side,
            losses0=now,
            probabilities=_answers(now, side.labels, classes),
            earlier=_answers(then, side.labels, classes),
        )
    return side


def _required_extras(attack: Any) -> tuple[str, ...]:
    from tfpdu.audit.signals import EXTRAS

    extras = tuple(getattr(attack, "requires", ()))
    assert set(extras) <= set(EXTRAS), f"requires has {extras}, known are {EXTRAS}"
    return extras


def _check_scores(values: Any, n: int) -> None:
    assert isinstance(values, np.ndarray), f"score must return an array, got {type(values)}"
    assert values.shape == (n,), f"score has shape {values.shape}, expected ({n},)"
    assert values.dtype == np.float64, f"score has dtype {values.dtype}, expected float64"
    assert np.isfinite(values).all(), "scores must be finite"


def _fitted(make: Callable[[], Any], members: Any, nonmembers: Any, seed: int = 3) -> Any:
    attack = make()
    attack.fit(members, nonmembers, seed)
    return attack


def _check_attack_order(make: Callable[[], Any], attack: Any, calibration: Any, rows: Any, scores: np.ndarray) -> None:
    """Scores depend neither on the order of rows or views, nor on what else is scored, nor on an earlier fit."""
    import dataclasses

    again = _fitted(make, *calibration).score(rows)
    assert np.array_equal(again, scores), "the same rows and seed must give identical scores"
    generator = np.random.default_rng(5)
    order = generator.permutation(len(rows))
    assert np.allclose(attack.score(rows.take(order)), scores[order], rtol=1e-9, atol=1e-12), (
        "a row's score must not depend on the order of the rows"
    )
    assert np.allclose(attack.score(rows.take(order[:1])), scores[order[:1]], rtol=1e-9, atol=1e-12), (
        "a row's score must not depend on the other rows"
    )
    views = generator.permutation(rows.losses.shape[1])
    shuffled = dataclasses.replace(rows, losses=rows.losses[:, views])
    assert np.allclose(attack.score(shuffled), scores, rtol=1e-9, atol=1e-12), (
        "a score must not depend on the order of the views"
    )
    if rows.references is not None:
        models = generator.permutation(rows.references.probabilities.shape[1])
        columns = dataclasses.replace(rows, references=rows.references.of_models(models))
        assert np.allclose(attack.score(columns), scores, rtol=1e-9, atol=1e-12), (
            "a score must not depend on the order of the reference models"
        )
    mixed = [side.take(np.random.default_rng(6).permutation(len(side))) for side in calibration]
    assert np.allclose(_fitted(make, *mixed).score(rows), scores, rtol=1e-9, atol=1e-12), (
        "fit must not depend on the order of the calibration rows"
    )


def _check_attack_strength(attack: Any, calibration: Any, scores: list[np.ndarray]) -> None:
    from tfpdu.audit.auc import auc
    from tfpdu.audit.statistics import best_threshold, success_rate

    area = auc(scores[0], scores[1]).value
    assert area > 0.9, f"higher must mean member: AUC {area:.3f} on a memorising model"
    threshold = best_threshold(*(attack.score(side) for side in calibration))
    rate = success_rate(scores[0], scores[1], threshold).success_rate
    assert rate > 0.9, f"success rate {rate:.3f} on a memorising model, expected above 0.9"


def _check_attack_extremes(make: Callable[[], Any], extras: Sequence[str]) -> None:
    """Losses of 0 and of 708 nats (a probability of 0), all rows alike, few rows: finite scores all the same."""
    import dataclasses

    from tfpdu.audit.signals import References

    members, nonmembers = memorised_signals(12, 4, seed=2, extras=extras)

    def extreme(side: Any, loss: float) -> Any:
        losses0, classes = np.full(12, loss), side.probabilities.shape[1]
        answers = _answers(losses0, side.labels, classes)
        made = dataclasses.replace(side, losses0=losses0, losses=np.full((12, 4), loss), probabilities=answers)
        for name in ("adversarial", "earlier"):
            made = dataclasses.replace(made, **{name: answers}) if name in extras else made
        if made.references is not None:
            own = np.full(made.references.probabilities.shape, np.exp(-loss))
            made = dataclasses.replace(made, references=References(own, made.references.included))
        return made

    sure, wrong = extreme(members, 0.0), extreme(nonmembers, 708.0)
    for calibration in ((sure, wrong), (sure, sure), (members, nonmembers)):
        attack = _fitted(make, *calibration)
        for side in (sure, wrong, members):
            assert np.isfinite(attack.score(side)).all(), "scores must be finite for losses from 0 to 708 nats"


def _check_attack_refusal(make: Callable[[], Any], calibration: Any, extras: Sequence[str]) -> None:
    """Signals without an answer that the attack needs are refused, by fit or at the latest by score."""
    import dataclasses

    for name in extras:
        lacking = [dataclasses.replace(side, **{name: None}) for side in calibration]

        def use(sides: Any = lacking) -> None:
            _fitted(make, *sides).score(sides[0])

        assert refuses(use), f"an attack that requires {name} must refuse signals without it by UserError"
