"""The ensemble as one graph: uint8 pictures or encoded ones in, named answers out, all that is between them inside."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpdu.common import UserError
from tfpdu.ensemble import Ensemble
from tfpdu.serving.pictures import PictureReader

DEFAULT, BYTES = "serving_default", "serving_bytes"  # signatures
MAX_BATCH = 1024  # pictures in a request


class ServedEnsemble(tf.Module):
    """k members, the aggregation and the reading of pictures; needs neither Keras nor tfpdu once it is saved.

    Args:
      ensemble: the members; their networks take float pixels 0..255 and give float32 logits.
      class_names: C of them.
      reader: of encoded pictures.
      member_votes: also answer with the class that each member chose. Votes show which shard a deletion changed.
      max_batch: pictures in a request at most; more is refused with a clear error.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        class_names: Sequence[str],
        reader: PictureReader,
        member_votes: bool = False,
        max_batch: int = MAX_BATCH,
    ):
        super().__init__()
        network = ensemble.model(0)
        classes = int(network.output_shape[-1])
        if len(class_names) != classes:
            raise UserError(f"serving: {len(class_names)} class names for {classes} classes")
        if network.input_shape[1:] != reader.shape:
            raise UserError(f"serving: pictures of {reader.shape} for networks of {network.input_shape[1:]}")
        self._reader, self._votes, self._max_batch = reader, member_votes, max_batch
        self._how = ensemble.settings.aggregate
        self._sizes = ensemble.sizes / ensemble.sizes.sum()  # [k]
        self._names = tf.constant(list(class_names))
        self._network = _Plain(network)
        self._members = [_variables(ensemble.weights(s), s) for s in range(len(ensemble))]
        # Functions of their own: the network is in the graph once, for all members and both signatures.
        self._answer = tf.function(self._answered, input_signature=[tf.TensorSpec([None, *reader.shape], tf.uint8)])

    def signatures(self) -> dict[str, Any]:
        """The concrete functions by signature name.

        The sides of `images` are left open there and checked in the graph: a runtime trusts what a signature says.
        """
        images = tf.TensorSpec([None, None, None, None], tf.uint8, name="images")
        encoded = tf.TensorSpec([None], tf.string, name="image_bytes")
        return {
            DEFAULT: tf.function(self._of_images).get_concrete_function(images),
            BYTES: tf.function(self._of_bytes).get_concrete_function(encoded),
        }

    def _of_images(self, images: Any) -> dict[str, Any]:
        shape = tf.shape(images)  # [n, h, w, c]
        expected = ", ".join(map(str, self._reader.shape))
        right = tf.reduce_all(tf.equal(shape[1:], self._reader.shape))
        fits = tf.debugging.Assert(right, [f"images: expected uint8 [n, {expected}], got", shape])
        with tf.control_dependencies([fits, self._counted(shape[0], "images")]):
            images = tf.reshape(images, [-1, *self._reader.shape])
        return self._answer(images)

    def _of_bytes(self, image_bytes: Any) -> dict[str, Any]:
        with tf.control_dependencies([self._counted(tf.shape(image_bytes)[0], "image_bytes")]):
            image_bytes = tf.identity(image_bytes)
        images = tf.map_fn(
            self._reader.read, image_bytes, fn_output_signature=tf.TensorSpec(self._reader.shape, tf.uint8)
        )
        return self._answer(images)

    def _counted(self, count: Any, name: str) -> Any:
        words = f"{name}: expected 1 to {self._max_batch} pictures in a request, got"
        return tf.debugging.Assert((count >= 1) & (count <= self._max_batch), [words, count])

    def _answered(self, images: Any) -> dict[str, Any]:
        pixels = tf.cast(images, tf.float32)
        logits = [self._network(weights, pixels) for weights in self._members]  # k of float32[n, C]
        each = tf.nn.softmax(tf.cast(tf.stack(logits), tf.float64))  # [k, n, C]
        probabilities = self._together(each)  # float64[n, C]
        best = tf.argmax(probabilities, -1)  # [n]; what breaks a tied vote is too small for float32
        answer = {
            "probabilities": tf.cast(probabilities, tf.float32),
            "class_id": best,
            "class_name": tf.gather(self._names, best),
        }
        if self._votes:
            answer["member_votes"] = tf.transpose(tf.argmax(each, -1))  # [n, k]
        return answer

    def _together(self, each: Any) -> Any:
        """`tfpdu.ensemble.aggregate` in the graph: float64[k, n, C] to [n, C]."""
        mean = tf.reduce_mean(each, 0)
        if self._how == "mean_probability":
            return mean
        if self._how == "weighted":
            return tf.tensordot(tf.constant(self._sizes), each, 1)
        votes = tf.reduce_mean(tf.one_hot(tf.argmax(each, -1), each.shape[-1], dtype=tf.float64), 0)
        return (votes + 1e-6 * mean) / (1 + 1e-6)


class _Plain:
    """A Keras network as a function of its weights, so that no Keras object is saved."""

    def __init__(self, network: keras.Model):
        self._network, self._traced = network, tf.function(self._logits, reduce_retracing=True)
        place = {id(variable): i for i, variable in enumerate(network.weights)}
        self._trainable = [place[id(variable)] for variable in network.trainable_variables]
        self._others = [place[id(variable)] for variable in network.non_trainable_variables]

    def __call__(self, weights: Sequence[Any], pixels: Any) -> Any:
        """Logits float32[n, C] of float pixels [n, h, w, c], with weights in the order of `network.weights`."""
        return self._traced([tf.convert_to_tensor(value) for value in weights], pixels)

    def _logits(self, weights: Sequence[Any], pixels: Any) -> Any:
        learned, others = ([weights[i] for i in places] for places in (self._trainable, self._others))
        logits, _ = self._network.stateless_call(learned, others, pixels, training=False)
        return logits


def _variables(weights: Sequence[np.ndarray], member: int) -> list[tf.Variable]:
    return [tf.Variable(value, trainable=False, name=f"member{member}_weight{i}") for i, value in enumerate(weights)]
