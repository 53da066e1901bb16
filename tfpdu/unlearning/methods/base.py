"""What an unlearning method is: a model and the rows to forget in, a new model out."""

import dataclasses
import functools
import importlib
import typing
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tfpdu.common import UserError
from tfpdu.data.storage import Images, joined, pick
from tfpdu.data.views import row_keys
from tfpdu.unlearning.methods.network import LogProbabilities, clone


@dataclasses.dataclass(frozen=True)
class Examples:
    """Rows to forget or to retain.

    Attributes:
      images: uint8 or float32 [n, h, w, c] in the model's own input units (0..255 where it rescales inside).
      labels: int[n], from 0.
      ids: unique strings [n], stable across runs: they key the order of rows and all draws.
    """

    images: Images
    labels: np.ndarray
    ids: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.labels)
        if len(self.images) != n or len(self.ids) != n:
            raise UserError(f"examples: {len(self.images)} images, {n} labels and {len(self.ids)} ids")
        if self.images.dtype not in (np.uint8, np.float32) or self.images.ndim != 4:
            raise UserError(
                f"examples: images must be uint8 or float32 [n,h,w,c], got {self.images.dtype}{list(self.images.shape)}"
            )
        if np.ndim(self.labels) != 1 or not np.issubdtype(np.asarray(self.labels).dtype, np.integer):
            raise UserError(f"examples: labels must be int[n], got {np.asarray(self.labels).dtype}")
        if len(np.unique(self.ids)) != n:
            values, counts = np.unique(self.ids, return_counts=True)
            raise UserError(f"examples: id {values[counts > 1][0]!r} occurs more than once")

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def keys(self) -> np.ndarray:
        """uint64[n], one key a row, see `tfpdu.data.views.row_keys`."""
        return row_keys(self.ids)

    def take(self, rows: np.ndarray) -> "Examples":
        """The rows int[m] or bool[n], in that order; pictures on disk are not read."""
        return Examples(pick(self.images, rows), np.asarray(self.labels)[rows], np.asarray(self.ids)[rows])


def concatenate(parts: Sequence[Examples]) -> Examples:
    """All rows of the parts, one after the other; float32 where the parts' pixels differ in type."""
    images = [part.images for part in parts]
    if len({image.dtype for image in images}) > 1:
        images = [np.asarray(image[:], np.float32) for image in images]
    labels = np.concatenate([np.asarray(part.labels) for part in parts])
    return Examples(joined(images), labels, np.concatenate([np.asarray(part.ids, str) for part in parts]))


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """A method without settings."""


Run = Callable[[keras.Model, Examples, Any, Any, int], keras.Model]


@dataclasses.dataclass(frozen=True)
class Method:
    """An unlearning method for any Keras classifier.

    Attributes:
      name: as in `METHODS`.
      citation: the work it comes from.
      needs_retain: whether it cannot do without retained rows.
      settings: the frozen dataclass of its settings, whose defaults are the work's own.
      run: (model, forget, retain, settings, seed) -> model. It gets a copy of the model that gives logits, which it
        may change and return, and rows sorted by id.
    """

    name: str
    citation: str
    needs_retain: bool
    settings: type
    run: Run

    def unlearn(
        self,
        model: keras.Model,
        forget: Examples,
        retain: Examples | None = None,
        settings: Any = None,
        seed: int = 0,
        from_logits: bool = True,
    ) -> keras.Model:
        """Makes a model that has forgotten.

        Args:
          model: any built Keras classifier, images [b, h, w, c] to logits [b, C]; it stays as it is, to the bit.
          forget: the rows to forget, at least one.
          retain: rows of the training set that stay, disjoint from `forget` by id; None where there are none at hand.
          settings: of this method; None for the defaults.
          seed: of all draws. The same seed, rows (in any order) and model give the same bits.
          from_logits: False where the model gives probabilities; so does the result then.

        Returns:
          A new model of the same kind.

        Raises:
          UserError: the rows, the settings or the model do not fit together; one line says what.
        """
        settings = self.settings() if settings is None else settings
        if not isinstance(settings, self.settings):
            raise UserError(f"{self.name}: settings must be {self.settings.__name__}, got {type(settings).__name__}")
        if retain is None and self.needs_retain:
            raise UserError(f"{self.name}: needs retained rows, got retain=None")
        _check(model, forget, retain)
        forget, retain = _by_id(forget), None if retain is None else _by_id(retain)
        copy = clone(model, seed)
        learner = copy if from_logits else LogProbabilities(copy)
        result = self.run(learner, forget, retain, settings, seed)
        return result.inner if isinstance(result, LogProbabilities) else result


def resolve(name: str) -> Any:
    """What "package.module:name" names.

    Raises:
      UserError: there is no such thing.
    """
    package, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(package), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{name}: expected package.module:name of something to import; {error}") from None


def own(name: str) -> Method:
    """One's own method, "package.module:name": a `Method`, or a function as `Method.run` is.

    A function's settings class and whether it needs retained rows are read from its annotations: `settings: Mine`,
    and `retain: Examples` in place of `retain: Examples | None`. It may change and return the model it is given.
    """
    found = resolve(name)
    if isinstance(found, Method):
        return found
    if not callable(found):
        raise UserError(f"{name}: expected a function or a tfpdu.unlearning.methods.Method, got {type(found).__name__}")
    hints = typing.get_type_hints(found)
    needs = hints.get("retain") is Examples
    return Method(name, (found.__doc__ or name).split("\n")[0], needs, hints.get("settings", NoSettings), found)


def _by_id(rows: Examples) -> Examples:
    """The rows in an order that does not depend on how they came."""
    return rows.take(np.argsort(np.asarray(rows.ids, str), kind="stable"))


def _check(model: keras.Model, forget: Examples, retain: Examples | None) -> None:
    """Raises unless rows fit the model and each other."""
    if not isinstance(model, keras.Model) or not model.built:
        raise UserError(f"model: expected a built keras.Model, got {type(model).__name__}")
    parts = {"forget": forget} if retain is None else {"forget": forget, "retain": retain}
    for name, part in parts.items():
        if not len(part):
            raise UserError(f"{name}: there are no rows")
        classes = _classes(model, name, part)
        labels = np.asarray(part.labels)
        strange = labels[(labels < 0) | (labels >= classes)]
        if len(strange):
            raise UserError(f"{name}: label {strange[0]}, the model has classes 0 to {classes - 1}")
    if retain is not None:
        both = np.intersect1d(np.asarray(forget.ids, str), np.asarray(retain.ids, str))
        if len(both):
            raise UserError(f"retain: {len(both)} ids are also to be forgotten, such as {str(both[0])!r}")


def _classes(model: keras.Model, name: str, part: Examples) -> int:
    shape = tuple(part.images.shape[1:])
    wanted: Any = getattr(model, "input_shape", None)  # a subclassed model has none
    fits = not isinstance(wanted, tuple) or (len(wanted) == 4 and all(
        a in (None, b) for a, b in zip(wanted[1:], shape, strict=True)
    ))  # fmt: skip
    if not fits:
        raise UserError(f"{name}: pictures {list(shape)}, the model takes {list(wanted[1:])}")
    try:
        given = model(np.asarray(part.images[:1], np.float32), training=False).shape
    except Exception as error:  # a subclassed model's own, of any kind
        raise UserError(f"{name}: pictures {list(shape)} do not fit the model: {str(error).splitlines()[0]}") from None
    if len(given) != 2 or given[1] < 2:
        raise UserError(f"model: expected logits [b, C] of at least 2 classes, got {list(given)}")
    return int(given[1])
