"""A classifier of one attribute that reads noisy images at any noise level: what steers a generator to that attribute.

    log p(a | z; sigma) = log softmax( c_in sigma_data * F(c_in z; c_noise) )[a],    c_noise = ln(sigma) / 4

F is the denoiser's way down with a linear layer (see `tfpdu.diffusion.network`). The factor c_in sigma_data before the
softmax falls from 1 to sigma_data / sigma, as the log-odds of two Gaussians of spread sigma_data do. With it the step
sigma^2 grad_z log p, which is added to an image in [-1, 1], stays of the size of an image at every sigma; without it,
it would grow like sigma, and so would any error of F.

A classifier that steers must not learn from rows that the generator or the ensemble learns from: its gradients enter
every sample, so rows to be forgotten would live on in it, and the audit's non-members would no longer be strangers to
the samples. Rows for it come from the auxiliary pool. A critic, which only chooses among samples, learns the rows of
its generator and goes with it, see `tfpdu.diffusion.critics`.

Reference: Dhariwal & Nichol (2021), "Diffusion models beat GANs on image synthesis", section 4 and appendix H.
"""

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from tfpdu.common import UserError
from tfpdu.common.files import read_json, write_json
from tfpdu.common.seeds import stable_hash
from tfpdu.common.validation import positive
from tfpdu.data.records import UNKNOWN, AttributeSpec, Records
from tfpdu.data.views import ViewPolicy, render
from tfpdu.diffusion.batches import Batch, Batches
from tfpdu.diffusion.cards import CHECKPOINT, finish, load_checked, refuse_another, rows_hash
from tfpdu.diffusion.compiled import Loss, compiled, gradient_of
from tfpdu.diffusion.network import build_classifier
from tfpdu.diffusion.preconditioning import preconditioning
from tfpdu.diffusion.settings import NoisyClassifierSettings
from tfpdu.diffusion.training import Training, scaled

CARD = "classifier.json"


class ShiftedBatches(Batches):
    """Batches whose images are moved by up to `settings.shift` pixels, another way each time."""

    def __init__(self, records: Records, settings: NoisyClassifierSettings, seed: int):
        super().__init__(records, settings.learning, seed)
        self._policy = ViewPolicy(flip=False, shift=settings.shift)

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        batch = super().at(step)
        if not self._policy.shift:
            return batch
        ids = self._ids[self._rows(step)]
        return dataclasses.replace(batch, images=render(batch.images, ids, step, self._policy, self._seed))


class NoisyClassifier:
    """A trained noise-aware classifier. Make one with `fit_noisy_classifier` or `load_noisy_classifier`.

    Attributes:
      card: what is known of it: id, data, images seen, seconds, loss, settings, ids of its rows.
      settings: of its training.
      spec: its attribute.
      shape: (h, w, c) of its images.
      network: the Keras model F with the averaged weights.
    """

    def __init__(self, network: keras.Model, card: dict[str, Any]):
        self.network, self.card = network, card
        self.settings = NoisyClassifierSettings(**card["settings"])
        name, values = card["attribute"]
        self.spec = AttributeSpec(name, tuple(values))
        self.shape = tuple(card["image_shape"])
        sigma_data = self.settings.sigma_data

        def logs(z: Any, sigma: Any) -> Any:
            return log_probabilities(network, z, sigma, sigma_data, training=False)

        def log_of(z: Any, sigma: Any, codes: Any) -> Any:
            chosen = ops.one_hot(codes, self.spec.cardinality, dtype="float32")  # of -1: nothing but zeros
            return ops.sum(chosen * logs(z, sigma), axis=1)  # (b,)

        self._logs, self._gradient = compiled(logs, network), gradient_of(log_of, network)

    @property
    def id(self) -> str:
        """16 hex digits: a hash of training rows, attribute, settings and seed."""
        return str(self.card["id"])

    def log_probabilities(self, z: np.ndarray, sigma: float) -> np.ndarray:
        """ln p(a | z; sigma) of every value, float64[n, values], as if all values were equally common.

        Args:
          z: float[n, h, w, c], images in [-1, 1] plus sigma times standard normal noise.
          sigma: above 0.

        Raises:
          UserError: images of another shape, or sigma not above 0.
        """
        self._check(z, sigma)
        found, size = np.empty((len(z), self.spec.cardinality)), self.settings.sample_batch
        for start in range(0, len(z), size):
            part = z[start : start + size]
            filled = np.concatenate([part, np.zeros((size - len(part), *self.shape))])
            found[start : start + size] = self._call(self._logs, filled, sigma)[: len(part)]
        return found

    def gradient(self, z: np.ndarray, sigma: float, codes: np.ndarray) -> np.ndarray:
        """grad_z ln p(codes[i] | z[i]; sigma), exactly 0 where codes[i] is -1.

        Args:
          z: float[b, h, w, c]; sigma: above 0; see `log_probabilities`. All of the batch is computed at once.
          codes: int[b].

        Returns:
          float64[b, h, w, c].

        Raises:
          UserError: images of another shape, sigma not above 0, or a value that the attribute does not have.
        """
        self._check(z, sigma)
        codes = np.asarray(codes, np.int32)
        wrong = (codes < UNKNOWN) | (codes >= self.spec.cardinality)
        if codes.shape != (len(z),) or wrong.any():
            said = f"value {codes[wrong][0]}" if wrong.any() else f"values of shape {list(codes.shape)}"
            raise UserError(
                f"classifier of {self.spec.name!r}: {said} for {len(z)} images; it has {self.spec.cardinality} values"
            )
        return self._call(self._gradient, z, sigma, codes)

    def _call(self, function: Any, z: np.ndarray, sigma: float, *codes: np.ndarray) -> np.ndarray:
        tensors = (z.astype(np.float32), np.full(len(z), sigma, np.float32), *codes)
        found = function(*(ops.convert_to_tensor(tensor) for tensor in tensors))
        return ops.convert_to_numpy(found).astype(np.float64)

    def _check(self, z: np.ndarray, sigma: float) -> None:
        if z.shape[1:] != self.shape:
            raise UserError(
                f"classifier of {self.spec.name!r}: it knows images of {list(self.shape)}, got {list(z.shape[1:])}"
            )
        positive(sigma=sigma)


def log_probabilities(network: Any, z: Any, sigma: Any, sigma_data: float, training: bool) -> Any:
    """ln p(a | z; sigma) of every value a, float32[b, values]; see the module.

    Args:
      network: F, as `tfpdu.diffusion.network.build_classifier` makes it.
      z: float32[b, h, w, c]; sigma: float32[b].
      sigma_data: see `preconditioning`.
      training: passed to the network.
    """
    _, _, c_in, c_noise = preconditioning(sigma, sigma_data)
    raw = network([ops.reshape(c_in, (-1, 1, 1, 1)) * z, c_noise], training=training)  # (b, values)
    return ops.log_softmax(ops.expand_dims(c_in * sigma_data, 1) * ops.cast(raw, "float32"), axis=1)


def fit_noisy_classifier(
    records: Records, attribute: str, settings: NoisyClassifierSettings, directory: str | Path, seed: int
) -> NoisyClassifier:
    """Trains a noise-aware classifier, or resumes one, or loads the finished one that `directory` holds.

    Every value weighs the same in the loss, however rare it is in the rows: the posterior is that of a table in which
    all values are equally common.

    Args:
      records: for steering auxiliary rows, for a critic those of its generator (see the module; the caller decides).
        Those on which the attribute is unknown are left out.
      attribute: its name.
      settings: see `NoisyClassifierSettings`.
      directory: gets `classifier.json` (the card), `ema.weights.h5` and, until training ends, `checkpoint.npz`.
      seed: of weights, batches and noise.

    Raises:
      UserError: an unknown attribute, rows that show fewer than two of its values, images that do not fit the network,
        a directory that holds another classifier, or training that diverged.
      StopRequested: a signal arrived; calling again goes on from there.
    """
    directory, table = Path(directory), learnable(records, attribute, settings)
    key = (
        f"{stable_hash(rows_hash(table), attribute, table.label_names, sorted(settings.training().items()), seed):016x}"
    )
    if (directory / CARD).exists():
        return _finished(directory, settings, key)
    own_seed = stable_hash(seed, "noisy classifier", attribute)
    network = build_classifier(settings.architecture(table.images.shape[1:]), table.classes, own_seed)
    training = Training(
        network,
        _weighted_losses(network, table, settings),
        settings.learning,
        ShiftedBatches(table, settings, own_seed),
        key,
        directory / CHECKPOINT,
        f"classifier of {attribute!r}",
        "learning_rate",
    )
    training.run()
    card = {
        "id": key,
        "attribute": [attribute, list(table.label_names)],
        **finish(training, table, seed, directory),
        "settings": dataclasses.asdict(settings),
    }
    write_json(directory / CARD, card)
    (directory / CHECKPOINT).unlink(missing_ok=True)
    return NoisyClassifier(network, card)


def learnable(records: Records, attribute: str, settings: NoisyClassifierSettings) -> Records:
    """The rows that a noise-aware classifier of an attribute would learn, with its values as labels.

    Raises:
      UserError: it cannot be trained: an unknown attribute, fewer than two values, images that do not fit the network.
    """
    table = records.labelled_by(attribute)
    table = dataclasses.replace(table, attributes=table.attributes[:, :0], realised=None, specs=())
    seen = len(np.unique(table.labels))
    if seen < 2:
        raise UserError(
            f"classifier of {attribute!r}: {len(table)} rows with {seen} of its {table.classes} values; expected rows "
            "with at least two"
        )
    settings.architecture(table.images.shape[1:])
    return table


def load_noisy_classifier(directory: str | Path) -> NoisyClassifier:
    """Loads a finished noise-aware classifier.

    Raises:
      UserError: no card there, a card with missing entries, weights that are damaged or of another architecture.
    """
    directory = Path(directory)
    card = read_json(directory / CARD)
    try:
        architecture = NoisyClassifierSettings(**card["settings"]).architecture(tuple(card["image_shape"]))
        classifier = NoisyClassifier(build_classifier(architecture, len(card["attribute"][1])), card)
        expected = card["weights_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{directory / CARD}: not a noise-aware classifier's card ({error})") from None
    load_checked(classifier.network, directory, CARD, expected)
    return classifier


def _weighted_losses(network: keras.Model, table: Records, settings: NoisyClassifierSettings) -> Loss:
    """Cross-entropy of noisy images, each row with the weight of its value; the values are the table's labels."""
    weights = np.diag(table.class_weights()).astype(np.float32)

    def losses(images: Any, noise: Any, sigma: Any, labels: Any, attributes: Any) -> Any:
        z = scaled(images) + ops.reshape(sigma, (-1, 1, 1, 1)) * noise  # (b, h, w, c)
        logs = log_probabilities(network, z, sigma, settings.sigma_data, training=True)  # (b, values)
        chosen = ops.matmul(ops.one_hot(labels, table.classes, dtype="float32"), weights)
        return -ops.sum(chosen * logs, axis=1)  # (b,)

    return losses


def _finished(directory: Path, settings: NoisyClassifierSettings, key: str) -> NoisyClassifier:
    card = read_json(directory / CARD)
    refuse_another(card, directory, "classifier", ("id", key), settings.training())
    (directory / CHECKPOINT).unlink(missing_ok=True)
    return load_noisy_classifier(directory)
