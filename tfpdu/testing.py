"""Conformance suites: what every plug-in of a kind has to do, for ours and for one's own.

Each `check_*` raises `AssertionError` with what is wrong, and returns None if all is well.
"""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfpdu.bias.eda.categorical import all_rows
from tfpdu.common.errors import UserError
from tfpdu.common.validation import one_of


def check_eda(cls: Callable[[], Any]) -> None:
    """Checks an estimation-of-distribution algorithm: `fit`, `sample`, `log_prob`, `optimise` as `tfpdu.bias.UMDA` has.

    Args:
      cls: makes an unfitted model when called without arguments.
    """
    cardinalities = (2, 3, 4)
    rows = np.random.default_rng(7).integers(0, cardinalities, (400, 3))
    rows[:, 1] = np.minimum(rows[:, 0] + rows[:, 1] // 2, 2)  # not uniform, not independent
    model = cls()
    assert model.fit(rows, cardinalities) is model, "fit must return the model itself"
    _check_distribution(cls, rows, cardinalities)
    _check_samples(model, cardinalities)
    _check_search(cls)
    for wrong in (
        np.zeros((0, 3), int),
        np.full((2, 3), -1),
        np.full((2, 3), 2),
        np.zeros((2, 2), int),
        np.zeros((2, 3)),
    ):
        refused = _refuses(functools.partial(cls().fit, wrong, cardinalities))
        assert refused, f"fit must refuse {wrong.dtype} rows {wrong.tolist()}"
    assert _refuses(lambda: cls().sample(1, 0)), "sample before fit must raise UserError"


def _check_distribution(cls: Callable[[], Any], rows: np.ndarray, cardinalities: tuple[int, ...]) -> None:
    every = all_rows(cardinalities)
    model = cls().fit(rows, cardinalities)
    p = np.exp(model.log_prob(every))
    assert abs(p.sum() - 1) < 1e-9, f"probabilities of all rows must sum to 1, got {p.sum()}"
    for i, K in enumerate(cardinalities):
        shares = np.bincount(rows[:, i], minlength=K) / len(rows)
        marginal = np.bincount(every[:, i], p, K)
        assert np.allclose(marginal, shares, atol=1e-9), f"marginal {i} is {marginal}, the data's is {shares}"
    shuffled = cls().fit(rows[::-1], cardinalities)
    assert np.array_equal(model.log_prob(every), shuffled.log_prob(every)), "fit must not depend on the rows' order"
    constant = cls().fit(np.zeros((5, 3), int), cardinalities)
    assert constant.log_prob(np.zeros((1, 3), int))[0] == 0.0, "constant rows must have probability 1"
    assert constant.log_prob(np.ones((1, 3), int))[0] == -np.inf, "an impossible row must have log-probability -inf"


def _check_samples(model: Any, cardinalities: tuple[int, ...]) -> None:
    n = 20_000
    drawn = model.sample(n, 3)
    assert drawn.shape == (n, len(cardinalities)), f"sample has shape {drawn.shape}"
    assert np.issubdtype(drawn.dtype, np.integer), f"sample has dtype {drawn.dtype}"
    assert np.array_equal(drawn, model.sample(n, 3)), "the same seed must give the same sample"
    assert not np.array_equal(drawn, model.sample(n, 4)), "another seed must give another sample"
    p = np.exp(model.log_prob(all_rows(cardinalities)))
    counts = np.bincount(np.ravel_multi_index(tuple(drawn.T), cardinalities), minlength=len(p))
    # Five standard deviations of a binomial share: about one in a million by chance, and the seed is fixed.
    off = np.abs(counts / n - p) - 5 * np.sqrt(p * (1 - p) / n) - 1e-12
    assert np.all(off <= 0), f"sampled shares differ from exp(log_prob) by up to {np.max(off):.4f} beyond chance"


def _check_search(cls: Callable[[], Any]) -> None:
    def fitness(rows: np.ndarray) -> np.ndarray:
        return rows.sum(axis=1).astype(float)

    search = cls().optimise(fitness, (2, 3, 2, 3), seed=5, target=6.0)
    assert search.fitness == 6.0, f"a sum over four variables must reach its best, 6, got {search.fitness}"
    assert search.best.tolist() == [1, 2, 1, 2], f"best row is {search.best.tolist()}"
    again = cls().optimise(fitness, (2, 3, 2, 3), seed=5, target=6.0)
    assert again.evaluations == search.evaluations, "the same seed must give the same search"
    start = np.random.default_rng(1).integers(0, 2, (200, 2))
    model = cls()
    model.optimise(fitness, (2, 2), seed=0, start=start, evaluations=200)
    p = np.exp(model.log_prob(all_rows((2, 2))))
    assert p[3] > p[0], "one generation from given rows must lean towards the fitter ones"
    assert _refuses(lambda: cls().optimise(lambda rows: np.full(len(rows), np.nan), (2, 2), seed=0)), "NaN fitness"


def _refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except UserError:
        return True
    return False


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

        assert _refuses(use), f"an attack that requires {name} must refuse signals without it by UserError"


def check_method(method: Any, settings: Any = None) -> None:
    """Checks an unlearning method: attributes and `unlearn` as those in `tfpdu.unlearning.METHODS` have them.

    Args:
      method: as `tfpdu.unlearning.methods.Method`; a function becomes one by `tfpdu.unlearning.methods.own`.
      settings: with which it forgets `memorised_rows` from `memorising_network`; None for its defaults.
    """
    assert method.name, "a method must have a name"
    assert method.citation, "a method must say where it comes from"
    settings = method.settings() if settings is None else settings
    model, (forget, retain) = memorising_network(), memorised_rows()
    before = [w.copy() for w in model.get_weights()]
    result = method.unlearn(model, forget, retain, settings, seed=3)
    assert result is not model, "unlearn must return a new model"
    assert _same(model.get_weights(), before), "unlearn must leave its input model as it is, to the bit"
    shuffled = [part.take(np.random.default_rng(1).permutation(len(part))) for part in (forget, retain)]
    again = method.unlearn(model, *shuffled, settings, seed=3)
    assert _same(result.get_weights(), again.get_weights()), (
        "the same seed and rows, in any order, must give the same weights to the bit"
    )
    _check_forgetting(model, result, forget, retain)
    _check_saved_method(result, forget)
    _check_retain_none(method, model, forget, settings)
    _check_frozen_layers(method, model, forget, retain, settings)
    _check_method_refusals(method, model, forget, retain, settings)


def memorised_rows() -> tuple[Any, Any]:
    """Rows (forget, retain) for `memorising_network`: 8x8 pictures of a bar in one of three places, with noise.

    The 9 rows to forget have the next class' label, so that a model without them calls them what they look like.
    """
    from tfpdu.unlearning.methods import Examples

    generator = np.random.default_rng(4)
    labels = np.arange(45) % 3
    images = generator.integers(0, 120, (45, 8, 8, 1))
    for image, label in zip(images, labels, strict=True):
        image[:, 3 * label : 3 * label + 2] += 100
    wrong = np.arange(45) < 9
    ids = np.array([f"row{i:02d}" for i in range(45)])
    rows = Examples(images.astype(np.uint8), np.where(wrong, (labels + 1) % 3, labels), ids)
    return rows.take(wrong), rows.take(~wrong)


@functools.cache
def memorising_network() -> Any:
    """A small convolutional Keras classifier (pixels 0..255 to logits) that knows `memorised_rows` by heart."""
    import keras

    from tfpdu.unlearning.methods import DescentSettings, concatenate
    from tfpdu.unlearning.methods.descent import Pass, cross_entropy, descend, one_hot
    from tfpdu.unlearning.methods.network import initialise, leaves

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 128, -1),
            layers.Conv2D(8, 3, 2, use_bias=False),
            layers.BatchNormalization(momentum=0.8),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(32, "relu"),
            layers.Dense(3),
        ]
    )
    initialise(leaves(model), 0)
    rows = concatenate(memorised_rows())
    walk = Pass(rows, one_hot(rows.labels, 3), cross_entropy)
    descend(model, lambda epoch: [walk], DescentSettings(epochs=30, learning_rate=0.05, batch=45, weight_decay=0), 0)
    return model


def _same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def _losses(model: Any, rows: Any) -> np.ndarray:
    from tfpdu.audit.losses import cross_entropy_from_logits

    return cross_entropy_from_logits(model(np.asarray(rows.images, np.float32), training=False), rows.labels)


def _check_forgetting(model: Any, result: Any, forget: Any, retain: Any) -> None:
    before, after = _losses(model, forget).mean(), _losses(result, forget).mean()
    assert after > 1.5 * before, f"the mean loss of forgotten rows must rise, it went from {before:.3g} to {after:.3g}"
    kept = _losses(result, retain).mean()
    assert kept < after, f"retained rows have a mean loss of {kept:.3g}, more than the forgotten ones' {after:.3g}"


def _check_saved_method(result: Any, rows: Any) -> None:
    import tempfile
    from pathlib import Path

    import keras

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.keras")
        result.save(path)
        loaded = keras.models.load_model(path)
    assert _same(result.get_weights(), loaded.get_weights()), "the result must survive save and load"
    images = np.asarray(rows.images, np.float32)
    assert np.array_equal(result(images), loaded(images)), "a loaded result must give the same answers"


def _check_retain_none(method: Any, model: Any, forget: Any, settings: Any) -> None:
    if method.needs_retain:
        assert _refuses_in_one_line(lambda: method.unlearn(model, forget, None, settings, 3)), (
            "a method that needs retained rows must refuse retain=None with one line"
        )
        return
    before, after = _losses(model, forget), _losses(method.unlearn(model, forget, None, settings, 3), forget)
    assert after.mean() > 1.5 * before.mean(), "without retained rows, the mean loss of forgotten rows must rise too"


def _check_frozen_layers(method: Any, model: Any, forget: Any, retain: Any, settings: Any) -> None:
    """With layers="last", where a method has this setting, all but the last layer stays as it was."""
    import dataclasses

    if "layers" not in {field.name for field in dataclasses.fields(settings)}:
        return
    result = method.unlearn(model, forget, retain, dataclasses.replace(settings, layers="last"), seed=3)
    before, after = model.get_weights(), result.get_weights()
    assert _same(before[:-2], after[:-2]), 'layers="last" must leave all other weights and statistics, to the bit'
    assert not _same(before[-2:], after[-2:]), 'layers="last" must change the last layer'


def _check_method_refusals(method: Any, model: Any, forget: Any, retain: Any, settings: Any) -> None:
    import dataclasses

    import keras

    none, some = np.zeros(0, int), np.arange(3)
    narrow, outside = forget.images[:, :, :4], np.full(len(forget), 3)
    one = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    wrong = {
        "no rows to forget": (model, forget.take(none), retain),
        "an empty retained set": (model, forget, retain.take(none)),
        "rows both retained and forgotten": (model, forget, dataclasses.replace(retain.take(some), ids=forget.ids[:3])),
        "pictures of another shape": (model, dataclasses.replace(forget, images=narrow), retain),
        "a label that the model does not have": (model, dataclasses.replace(forget, labels=outside), retain),
        "a model of one class": (one, dataclasses.replace(forget, labels=0 * outside), None),
    }
    for what, arguments in wrong.items():
        if arguments[2] is None and method.needs_retain:
            arguments = (*arguments[:2], dataclasses.replace(retain, labels=0 * retain.labels))
        refused = _refuses_in_one_line(functools.partial(method.unlearn, *arguments, settings, 3))
        assert refused, f"unlearn must refuse {what} with a UserError of one line"


def _refuses_in_one_line(call: Callable[[], object]) -> bool:
    try:
        call()
    except UserError as error:
        return "\n" not in str(error).strip()
    return False
