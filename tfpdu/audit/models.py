"""Any model as the audit asks it: uint8 pictures in, probabilities out."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from tfpdu.audit.answer_file import refuse_probabilities
from tfpdu.audit.losses import checked
from tfpdu.common.errors import UserError
from tfpdu.common.validation import one_of

PIXELS = ("0..255", "0..1", "uint8")
ANSWERS = ("auto", "logits", "probabilities")
OWN_LAYERS = (
    *(f"tfpdu.ensemble.{name}" for name in ("convolution", "normalization", "vit")),
    "tfpdu.unlearning.benchmark.sharded",
)


class AuditedModel:
    """A model of another make.

    Args:
      forward: pictures as `pixels` says -> answers [m, C], in inference mode.
      pixels: what the model wants: "0..255" and "0..1" are float32, "uint8" as they are. Whatever else it needs (means,
        deviations, another size) has to be a part of the model, or of a function around it.
      answers: "logits", "probabilities", or "auto": probabilities if those of the first rows are all distributions.
      title: for messages.
      batch: pictures that it is asked about at once.
      classes: C, or 0 if that shows only in its answers.
      input_shape: (h, w, c), or None if it does not say.
      gradient: whether `forward` takes and gives TensorFlow tensors, for attacks that perturb images.
    """

    def __init__(
        self,
        forward: Callable[[Any], Any],
        *,
        pixels: str = "0..255",
        answers: str = "auto",
        title: str = "model",
        batch: int = 256,
        classes: int = 0,
        input_shape: tuple[int, ...] | None = None,
        gradient: bool = False,
    ):
        one_of(PIXELS, pixels=pixels)
        one_of(ANSWERS, answers=answers)
        self.pixels, self.answers, self.title, self.batch = pixels, answers, title, batch
        self.classes, self.input_shape, self.gradient = classes, input_shape, gradient
        self._forward = forward

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """float64[m, C] of uint8 images [m, h, w, c].

        Raises:
          UserError: the model refuses the pictures, or its answers are not what they are said to be.
        """
        answers = np.concatenate(list(self._blocks(images)))
        if answers.ndim != 2 or answers.shape[1] < 2:
            raise UserError(
                f"{self.title}: answers have shape {list(answers.shape)}, expected [n, C] of at least 2 classes; wrap a"
                " sigmoid's p as 1 - p and p"
            )
        if not np.isfinite(answers).all():
            raise UserError(f"{self.title}: its answers hold NaN or infinity")
        if self.answers == "auto":
            sums = answers.sum(axis=1)
            self.answers = "probabilities" if answers.min() >= 0 and np.allclose(sums, 1, atol=1e-3) else "logits"
        try:
            if self.answers == "probabilities":
                return checked(answers, np.zeros(len(answers), np.int64))[0]
            refuse_probabilities(answers)
        except UserError as error:
            raise UserError(f"{self.title}: {error}") from None
        return np.asarray(special.softmax(answers.astype(np.float64), axis=1))

    def perturbed(self, images: np.ndarray, labels: np.ndarray, budget: int) -> np.ndarray:
        """uint8 images perturbed against this model, see `tfpdu.audit.perturbed_images`."""
        from tfpdu.audit.perturbation import perturbed_images

        if not self.gradient or self.pixels == "uint8":
            raise UserError(f"{self.title}: an attack with perturbed images needs a model with gradients by its pixels")
        if self.answers == "auto":
            self.probabilities(images[: self.batch])
        scale = 1 / 255 if self.pixels == "0..1" else 1.0

        def forward(x: Any, training: bool = False) -> Any:
            return self._forward(x * scale)

        logits = self.answers == "logits"
        return perturbed_images(forward, images, labels, budget=budget, from_logits=logits, block_rows=self.batch)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raises `UserError` where pictures of this shape (h, w, c) do not fit the model."""
        wanted = self.input_shape
        if wanted and (len(wanted) != 3 or any(w not in (None, s) for w, s in zip(wanted, shape, strict=True))):
            words = ["x".join("any" if s is None else str(s) for s in one) for one in (shape, wanted)]
            raise UserError(f"--members: pictures are {words[0]}, {self.title} takes {words[1]}; see --image_size")

    def _blocks(self, images: np.ndarray) -> Iterator[np.ndarray]:
        for start in range(0, len(images), self.batch):
            block = np.asarray(images[start : start + self.batch])
            if self.pixels != "uint8":
                block = block.astype(np.float32)
            if self.pixels == "0..1":
                block /= 255
            # The last block is padded, so that a compiled model is compiled once.
            rows = len(block)
            if start and rows < self.batch:
                block = np.concatenate([block, np.zeros((self.batch - rows, *block.shape[1:]), block.dtype)])
            try:
                answers = np.asarray(self._forward(block))
            except UserError:
                raise
            except Exception as error:  # any framework's
                words = str(error).strip().splitlines() or [type(error).__name__]
                raise UserError(f"{self.title}: refuses pictures {list(block.shape)} ({words[0][:160]})") from None
            yield answers[:rows]


def load_model(text: str, *, pixels: str = "0..255", answers: str = "auto", batch: int = 256) -> AuditedModel:
    """The model that --model names.

    Args:
      text: a Keras file (.keras, .h5), a SavedModel's directory, or "package.module:function", which returns a Keras
        model or any callable from pictures [m, h, w, c] to answers [m, C].
      pixels: see `AuditedModel`.
      answers: see there.
      batch: see there.

    Raises:
      UserError: it is none of these, or cannot be loaded.
    """
    title, path = f"--model={text}", Path(text)
    options: dict[str, Any] = {"pixels": pixels, "answers": answers, "batch": batch, "title": title}
    if path.is_dir():
        return _saved_model(path, title, options)
    if path.is_file():
        return of_keras(_keras_file(path, title), **options)
    if ":" in text and path.suffix not in (".keras", ".h5"):
        model = _made(text, title)
        return of_keras(model, **options) if hasattr(model, "input_shape") else AuditedModel(model, **options)
    raise UserError(f"{title}: no such file; expected a .keras or .h5 file, a SavedModel or package:function")


def load_keras(text: str) -> Any:
    """The Keras model that --model names, a .keras or .h5 file or "package.module:function" that returns one.

    Raises:
      UserError: it is neither, or cannot be loaded.
    """
    title, path = f"--model={text}", Path(text)
    if path.is_file():
        return _keras_file(path, title)
    if ":" not in text or path.suffix in (".keras", ".h5"):
        raise UserError(f"{title}: no such file; expected a .keras or .h5 file, or package:function")
    model = _made(text, title)
    if not hasattr(model, "get_weights"):
        raise UserError(f"{title}: returned {type(model).__name__}, expected a Keras model")
    return model


def of_keras(model: Any, **options: Any) -> AuditedModel:
    """A Keras model, compiled for inference; options as for `AuditedModel`."""
    import keras

    shape, outputs = model.input_shape, model.output_shape
    if isinstance(shape, list | dict) or isinstance(outputs, list | dict):
        raise UserError(f"{options.get('title', 'model')}: expected one input and one output")
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        forward = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    else:

        def forward(x: Any) -> Any:
            return keras.ops.convert_to_numpy(model(x, training=False))

    classes = int(outputs[-1] or 0)
    gradient = keras.backend.backend() == "tensorflow"
    return AuditedModel(forward, classes=classes, input_shape=tuple(shape[1:]), gradient=gradient, **options)


def _keras_file(path: Path, title: str) -> Any:
    import keras

    for module in OWN_LAYERS:  # Keras knows a class by name once its module was imported
        importlib.import_module(module)
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # zip, HDF5, JSON and Keras raise many kinds
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{title}: not a Keras model that can be loaded ({words[0][:160]}); layers of one's own: package:function"
        ) from None


def _saved_model(path: Path, title: str, options: dict[str, Any]) -> AuditedModel:
    import tensorflow as tf

    if not (path / "saved_model.pb").exists():
        raise UserError(f"{title}: a directory without saved_model.pb is no SavedModel")
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
    except Exception as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{title}: not a SavedModel that can be loaded ({words[0][:160]})") from None
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(f"{title}: expected one input and one output, got {', '.join(inputs)}; {', '.join(outputs)}")
    (name, spec), (output, answer) = next(iter(inputs.items())), next(iter(outputs.items()))

    def forward(x: Any, keep: Any = loaded) -> Any:  # a signature lives as long as its model
        return signature(**{name: tf.cast(x, spec.dtype)})[output]

    shape = tuple(spec.shape[1:]) if spec.shape.rank else None
    classes = int(answer.shape[-1] or 0) if answer.shape.rank else 0
    return AuditedModel(forward, classes=classes, input_shape=shape, gradient=spec.dtype.is_floating, **options)


def _made(text: str, title: str) -> Any:
    package, _, function = text.partition(":")
    try:
        model = getattr(importlib.import_module(package), function)()
    except Exception as error:  # whatever the user's module raises
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{title}: no model comes from {package!r} ({words[:160]})") from None
    if not callable(model):
        raise UserError(f"{title}: returned {type(model).__name__}, expected a Keras model or a function")
    return model
