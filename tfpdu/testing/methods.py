"""The suite for unlearning methods, and a small network that knows its rows by heart."""

import functools
from typing import Any

import numpy as np

from tfpdu.testing.refusal import refuses


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

    from tfpdu.ensemble.networks import leaves
    from tfpdu.unlearning.methods import DescentSettings, concatenate
    from tfpdu.unlearning.methods.descent import Pass, cross_entropy, descend, one_hot
    from tfpdu.unlearning.methods.network import initialise

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
        assert refuses(lambda: method.unlearn(model, forget, None, settings, 3)), (
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
        refused = refuses(functools.partial(method.unlearn, *arguments, settings, 3))
        assert refused, f"unlearn must refuse {what} with a UserError of one line"
