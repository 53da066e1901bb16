"""The one training loop that all methods share: SGD on batches whose order depends on (seed, epoch, id) alone."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpdu.common import UserError
from tfpdu.common.validation import in_range, non_negative, one_of, positive
from tfpdu.data.views import ViewPolicy, epoch_order, render, training_views
from tfpdu.ensemble.networks import compiled_graph, frozen_statistics, is_normalisation, is_product, leaves
from tfpdu.unlearning.methods.base import Examples

Loss = Callable[[Any, Any], Any]  # logits [b, C], targets [b, k] -> losses [b]

_SCHEDULES = ("constant", "cosine", "step", "restarts")
LAYERS = ("all", "intermediate_and_last", "last")
_LOWEST = 0.05  # of the rate, at the end of each period of "restarts": .1 to .005 in Goel et al.'s code


@dataclasses.dataclass(frozen=True)
class DescentSettings:
    """How weights are moved. Defaults are the AMUN paper's for ResNet18 on CIFAR-10, which it uses for every method.

    No default rate is good for every model: published tables come from a search over learning_rate and schedule.

    Attributes:
      epochs: passes over the rows.
      learning_rate: of the first step.
      batch: rows a step, at most; the batches of an epoch are nearly equal.
      momentum: of SGD, v = momentum * v + g; w -= rate * v.
      weight_decay: added to the gradient as weight_decay * w, for all weights, as PyTorch's SGD does. Regularisers
        inside the model's layers are left out.
      schedule: "constant"; "cosine" to 0; "step": times step_factor every step_epochs; "restarts": a cosine to 5 % over
        periods of 1, 2, 4, … epochs (SGDR, Loshchilov and Hutter 2017).
      step_epochs: of "step".
      step_factor: of "step".
      clip: the largest norm of the whole gradient; 0 = none.
      batchnorm: "update": normalise by the batch and keep updating the moving statistics, as the papers' code does;
        "frozen": normalise by the moving statistics, and leave them.
      freeze: for methods with a mask. "weights": what is masked does not change by a bit; "gradients": only the
        gradient is masked, so that weight decay moves the masked weights, as in SalUn's code before 2026.
      layers: which layers learn (Tran and Woo 2025): "all"; "intermediate_and_last": all but the first third of the
        convolutions and dense layers; "last": the last one. Their paper names no indices, so the third is ours. Frozen
        layers' batch statistics stay as well.
      views: how pictures are augmented, such as the papers' `ViewPolicy(shift=4)`; None leaves them as they are.
    """

    epochs: int = 10
    learning_rate: float = 0.01
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "constant"
    step_epochs: int = 5
    step_factor: float = 0.1
    clip: float = 0.0
    batchnorm: str = "update"
    freeze: str = "weights"
    layers: str = "all"
    views: ViewPolicy | None = None

    def __post_init__(self) -> None:
        positive(epochs=self.epochs, learning_rate=self.learning_rate, batch=self.batch, step_epochs=self.step_epochs)
        for name in ("epochs", "batch", "step_epochs"):
            if getattr(self, name) != int(getattr(self, name)):
                raise UserError(f"{name}: expected a whole number, got {getattr(self, name)}")
        in_range(0, 1, momentum=self.momentum, step_factor=self.step_factor)
        non_negative(weight_decay=self.weight_decay, clip=self.clip)
        one_of(_SCHEDULES, schedule=self.schedule)
        one_of(("update", "frozen"), batchnorm=self.batchnorm)
        one_of(("weights", "gradients"), freeze=self.freeze)
        one_of(LAYERS, layers=self.layers)

    def rate(self, time: float) -> float:
        """The learning rate at a time in epochs, in [0, epochs)."""
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * time / self.epochs))
        if self.schedule == "step":
            return self.learning_rate * self.step_factor ** (int(time) // self.step_epochs)
        if self.schedule == "restarts":
            period = math.floor(math.log2(time + 1))  # starts at 2**period - 1 and lasts 2**period epochs
            share = (time + 1) / 2**period - 1
            return self.learning_rate * (_LOWEST + (1 - _LOWEST) * 0.5 * (1 + math.cos(math.pi * share)))
        return self.learning_rate


@dataclasses.dataclass(frozen=True)
class Pass:
    """One walk over rows within an epoch.

    Attributes:
      rows: to walk over.
      targets: float32[n, k], handed to the loss: the distribution to learn, for cross-entropy.
      loss: (logits [b, C], targets [b, k]) -> [b], of which the mean is minimised. Each function is compiled once, so
        give the same one every epoch.
      batch: rows a step, at most; None = the settings'.
      rate: of these steps, times the schedule's.
      training: False runs the model in evaluation mode: batch statistics are used, and see nothing of these rows.
      augmented: bool [n], which rows `settings.views` applies to; None = all.
    """

    rows: Examples
    targets: np.ndarray
    loss: Loss
    batch: int | None = None
    rate: float = 1.0
    training: bool = True
    augmented: np.ndarray | None = None


def cross_entropy(logits: Any, targets: Any) -> Any:
    """Against distributions [b, C], in nats, [b]."""
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


def ascent(logits: Any, targets: Any) -> Any:
    """The negative of cross-entropy, [b]."""
    return -cross_entropy(logits, targets)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """float32[n, C]."""
    return np.eye(classes, dtype=np.float32)[np.asarray(labels)]


def classes_of(model: keras.Model, rows: Examples) -> int:
    """C, the number of logits."""
    return int(model(np.asarray(rows.images[:1], np.float32), training=False).shape[-1])


def learning(model: keras.Model, rows: Examples) -> Pass:
    """A pass of cross-entropy over rows with their own labels."""
    return relabelled(rows, rows.labels, classes_of(model, rows))


def relabelled(rows: Examples, labels: np.ndarray, classes: int) -> Pass:
    """A pass of cross-entropy over rows with labels int[n]."""
    return Pass(rows, one_hot(labels, classes), cross_entropy)


def descend(
    model: keras.Model,
    plan: Callable[[int], Iterable[Pass]],
    settings: DescentSettings,
    seed: int,
    *,
    trained: Sequence[Any] | None = None,
    mask: Sequence[np.ndarray] | None = None,
    anchor: float = 0.0,
    l1: Callable[[int], float] = lambda epoch: 0.0,
    avoid: Sequence[np.ndarray | None] | None = None,
    extra: Callable[[], Any] | None = None,
) -> list[float]:
    """Trains the model in place; the gradient code of all methods but the adversarial ones' pictures is here.

    Args:
      model: images to logits [b, C].
      plan: the passes of an epoch, from its number.
      settings: how weights are moved.
      seed: of the order of rows.
      trained: the layers that learn, of `leaves`; by default those that `settings.layers` names. Of all others neither
        weights nor batch statistics change.
      mask: bool, one array for each of `learning_weights(model, layers)`; False = must not change, see
        `settings.freeze`.
      anchor: lambda of the term lambda/2 * ||w - w at the start||^2.
      l1: alpha of the term alpha * ||w||_1, from the epoch's number.
      avoid: for each of these weights, orthonormal columns U float [d, r], d the product of all its sizes but the last;
        the steps are made orthogonal to them, (I - U U') g; None leaves a weight's steps as they are.
      extra: a term to be added to the loss of every step, differentiable in the weights.

    Returns:
      The mean loss of each epoch, without the terms on the weights.

    Raises:
      UserError: the loss is no longer finite.
    """
    layers = chosen_layers(model, settings.layers) if trained is None else trained
    weights = learning_weights(model, layers)
    everything = leaves(model)
    still = [x for x in everything if is_normalisation(x) and (settings.batchnorm == "frozen" or x not in layers)]
    step = _Step(model, weights, settings, mask, anchor, avoid, extra)
    losses = []
    with frozen_statistics(still):
        for epoch in range(settings.epochs):
            losses.append(_epoch(step, list(plan(epoch)), settings, epoch, seed, l1(epoch)))
            last = epoch + 1 == settings.epochs  # whose last step no loss has seen
            if not np.isfinite(losses[-1]) or (last and not all(np.isfinite(w).all() for w in weights)):
                raise UserError(
                    f"learning_rate={settings.learning_rate:g}: the loss is {losses[-1]} in epoch {epoch + 1};"
                    " choose a smaller rate"
                )
    return losses


def chosen_layers(model: keras.Model, which: str) -> list[Any]:
    """The layers that learn, see `DescentSettings.layers`."""
    everything = leaves(model)
    products = sum(map(is_product, everything))
    if which == "all" or not products:
        return everything
    return tail(model, 1 if which == "last" else products - products // 3)


def tail(model: keras.Model, k: int) -> list[Any]:
    """The layers from the k-th last convolution or dense layer to the output, normalisations between them included."""
    everything = leaves(model)
    products = [i for i, layer in enumerate(everything) if is_product(layer)]
    return everything[products[max(len(products) - k, 0)] :] if products else everything


def learning_weights(model: keras.Model, layers: Sequence[Any] | None = None) -> list[Any]:
    """The trainable weights of these layers (by default all), in the model's order, as TensorFlow variables."""
    own = None if layers is None else {id(w) for layer in layers if layer is not model for w in layer.trainable_weights}
    return [w.value for w in model.trainable_weights if own is None or id(w) in own]


def gradient_sum(
    model: keras.Model, walk: Pass, layers: Sequence[Any] | None = None, batch: int = 128
) -> list[np.ndarray]:
    """The gradient of the sum of a pass' losses, in evaluation mode, for each of `learning_weights(model, layers)`."""
    weights = learning_weights(model, layers)
    signature = [tf.TensorSpec((None, *x.shape[1:]), tf.float32) for x in (walk.rows.images, walk.targets)]
    compiled = compiled_graph(signature, weights_gradient, model, weights, walk.loss)
    total = [np.zeros(w.shape, np.float32) for w in weights]
    for start in range(0, len(walk.rows), batch):
        part = slice(start, start + batch)
        found = compiled(np.asarray(walk.rows.images[part], np.float32), walk.targets[part])
        total = [a + b.numpy() for a, b in zip(total, found, strict=True)]
    return total


def weights_gradient(model: Any, weights: list[Any], loss: Loss, images: Any, targets: Any) -> list[Any]:
    """The gradient of the sum of a batch's losses in evaluation mode, for each weight; to be compiled."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        value = tf.reduce_sum(loss(tf.cast(model(images, training=False), tf.float32), targets))
    found = tape.gradient(value, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(g) for g in found]


def _epoch(step: "_Step", passes: list[Pass], settings: DescentSettings, epoch: int, seed: int, alpha: float) -> float:
    counts = [math.ceil(len(each.rows) / (each.batch or settings.batch)) for each in passes]
    done, total, losses = 0, sum(counts), []
    for each, count in zip(passes, counts, strict=True):
        for part in np.array_split(epoch_order(each.rows.keys, epoch, seed), count):
            rate = each.rate * settings.rate(epoch + done / total)
            images = _pictures(each, part, settings.views, epoch, seed)
            losses.append(step(each, images, each.targets[part], rate, alpha))
            done += 1
    return float(np.mean([float(loss) for loss in losses]))


def _pictures(walk: Pass, part: np.ndarray, views: ViewPolicy | None, epoch: int, seed: int) -> np.ndarray:
    """The pictures of rows int[b] as they are in this epoch, float32[b, h, w, c]."""
    images, keys = walk.rows.images[part], walk.rows.keys[part]
    if views is None:
        return np.asarray(images, np.float32)
    seen = render(images, keys, training_views(keys, epoch, views, seed), views, seed)
    if walk.augmented is not None:
        seen = np.where(walk.augmented[part][:, None, None, None], seen, images)
    return np.asarray(seen, np.float32)


class _Step:
    """One step of SGD, compiled once for each loss."""

    def __init__(
        self,
        model: Any,
        weights: list[Any],
        settings: DescentSettings,
        mask: Sequence[np.ndarray] | None,
        anchor: float,
        avoid: Sequence[np.ndarray | None] | None,
        extra: Callable[[], Any] | None,
    ):
        self._model, self._weights, self._settings, self._extra = model, weights, settings, extra
        self._velocity = [tf.Variable(tf.zeros_like(w), trainable=False) for w in weights]
        self._mask = None if mask is None else [tf.constant(np.asarray(m, bool)) for m in mask]
        self._avoid = [None if u is None else tf.constant(u, tf.float32) for u in avoid or [None] * len(weights)]
        self._anchor, self._start = anchor, [tf.identity(w) for w in weights] if anchor else []
        self._compiled: dict[tuple[Loss, bool, bool], Any] = {}

    def __call__(self, walk: Pass, images: np.ndarray, targets: np.ndarray, rate: float, alpha: float) -> Any:
        kind = (walk.loss, walk.training, alpha != 0)
        if kind not in self._compiled:
            scalar = tf.TensorSpec((), tf.float32)
            signature = [tf.TensorSpec((None, *x.shape[1:]), tf.float32) for x in (images, targets)]
            self._compiled[kind] = compiled_graph([*signature, scalar, scalar], self._descend, *kind)
        return self._compiled[kind](images, targets, np.float32(rate), np.float32(alpha))

    def _descend(
        self, loss: Loss, training: bool, sparse: bool, images: Any, targets: Any, rate: Any, alpha: Any
    ) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._weights)
            logits = tf.cast(self._model(images, training=training), tf.float32)  # [b, C]
            value = tf.reduce_mean(loss(logits, targets))
            whole = value + self._extra() if self._extra else value
        gradients = tape.gradient(whole, self._weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        gradients = [tf.convert_to_tensor(g) for g in gradients]
        if sparse:
            gradients = [g + alpha * tf.sign(w) for g, w in zip(gradients, self._weights, strict=True)]
        if self._anchor:
            pulls = zip(gradients, self._weights, self._start, strict=True)
            gradients = [g + self._anchor * (w - start) for g, w, start in pulls]
        if self._mask:
            gradients = [tf.where(m, g, tf.zeros_like(g)) for g, m in zip(gradients, self._mask, strict=True)]
        if self._settings.clip:
            gradients, _ = tf.clip_by_global_norm(gradients, self._settings.clip)
        for i, gradient in enumerate(gradients):
            self._move(i, gradient, rate)
        return value

    def _move(self, i: int, gradient: Any, rate: Any) -> None:
        weight, velocity = self._weights[i], self._velocity[i]
        push, basis = gradient + self._settings.weight_decay * weight, self._avoid[i]
        if basis is not None:
            flat = tf.reshape(push, (basis.shape[0], -1))
            push = tf.reshape(flat - basis @ tf.matmul(basis, flat, transpose_a=True), push.shape)
        if self._mask and self._settings.freeze == "weights":
            speed = self._settings.momentum * velocity + push
            velocity.assign(tf.where(self._mask[i], speed, tf.zeros_like(speed)))
            weight.assign(tf.where(self._mask[i], weight - rate * speed, weight))
            return
        # v = momentum * v + push; w -= rate * v, in one pass over memory: a ResNet18 learns 8 % faster.
        tf.raw_ops.ResourceApplyMomentum(
            var=weight.handle, accum=velocity.handle, lr=rate, grad=push, momentum=self._settings.momentum
        )
