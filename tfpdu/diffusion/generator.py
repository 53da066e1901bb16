"""The generator: train it, load it, ask it for images of given classes and attributes."""

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfpdu.common import Progress, UserError
from tfpdu.common.files import read_json, secret, write_json
from tfpdu.common.interrupt import safe_point
from tfpdu.common.seeds import stable_hash
from tfpdu.common.validation import did_you_mean, non_negative, positive
from tfpdu.data.records import UNKNOWN, AttributeSpec, Records
from tfpdu.diffusion.cards import CHECKPOINT, as_json, finish, load_checked, refuse_another, rows_hash
from tfpdu.diffusion.compiled import compiled
from tfpdu.diffusion.critics import Critics, best_of, fit_critics, load_critics, refuse_impossible_critics
from tfpdu.diffusion.guidance import guided
from tfpdu.diffusion.network import build_network
from tfpdu.diffusion.noisy_classifier import NoisyClassifier
from tfpdu.diffusion.poisson import PoissonBatches
from tfpdu.diffusion.preconditioning import denoise
from tfpdu.diffusion.private import Privacy
from tfpdu.diffusion.sampler import Sampler, integrate, keyed_noise, sigma_schedule
from tfpdu.diffusion.settings import CHURN, INTERVAL, SAMPLING, GeneratorSettings
from tfpdu.diffusion.steering import Steering
from tfpdu.diffusion.training import Training, training_batches

CARD = "generator.json"
NOISE_KEY = "noise.key"  # of private training; it is there only while training is unfinished


class Generator:
    """A trained denoiser with its sampler, for one image shape, set of classes and list of attributes.

    Make one with `fit_generator` or `load_generator`.

    Attributes:
      card: what is known of it: id, data, images seen, seconds, loss, settings, merged cells.
      settings: of training and sampling.
      specs: the attributes it can be asked for, in the order of the columns: those it was trained on, then those that
        it is steered to.
      label_names: the classes it can be asked for.
      row_ids: strings: the ids of its training rows.
      network: the Keras model F with the averaged weights.
      critics: classifiers that choose among candidates, see `tfpdu.diffusion.critics`.
      tally: where candidates are drawn, counts over all calls: "candidates" drawn, and "kept_unlike", images handed out
        although a critic sees something else in them than was asked for.
    """

    def __init__(self, network: keras.Model, card: dict[str, Any], critics: Sequence[NoisyClassifier] = ()):
        self.network, self.card, self.critics = network, card, tuple(critics)
        self.tally: Counter[str] = Counter()
        self.settings = GeneratorSettings(**card["settings"])
        self._trained_on = tuple(AttributeSpec(name, tuple(values)) for name, values in card["attributes"])
        self._steering = Steering((), 0.0)
        self.label_names = tuple(card["label_names"])
        self.row_ids = tuple(card["row_ids"])
        self.shape = tuple(card["image_shape"])
        sigma_data = self.settings.sigma_data
        self._denoise = compiled(
            lambda z, sigma, labels, attributes: denoise(
                network, z, sigma, labels, attributes, sigma_data, training=False
            ),
            network,
        )

    @property
    def id(self) -> str:
        """16 hex digits: a hash of training rows, settings and seed; private weights depend on a secret as well.

        A steered generator's is a hash of that, of the classifiers and of the scale.
        """
        return str(self.card["id"]) if not self._steering.classifiers else self._steering.id_of(self.card["id"])

    @property
    def specs(self) -> tuple[AttributeSpec, ...]:
        """See the class."""
        return self._trained_on + self._steering.specs

    @property
    def privacy(self) -> Privacy | None:
        """The figures of private training; None where training was ordinary."""
        figures = self.card.get("private")
        return Privacy(**figures) if figures else None

    def sample(
        self, labels: np.ndarray, attributes: np.ndarray, keys: Sequence[str], guidance: float | None = None
    ) -> np.ndarray:
        """Makes one image per key. Image i depends on the generator, labels[i], attributes[i] and keys[i] alone.

        Args:
          labels: int[m]; -1 asks for any class.
          attributes: int[m, j], codes into `specs`; -1 asks for any value.
          keys: m strings.
          guidance: g, see `tfpdu.diffusion.guidance`; None takes the settings' own.

        Returns:
          uint8[m, h, w, c].

        Raises:
          UserError: no image asked for, a class or value the generator does not know, or lengths that differ.
          StopRequested: a signal arrived.
        """
        labels, attributes = self._checked(labels, attributes, keys)
        scale = self.settings.guidance if guidance is None else guidance
        non_negative(guidance=scale)
        if scale != 1 and not self.settings.drop_all:
            raise UserError(f"guidance: {scale} needs a generator trained with drop_all above 0")

        def draw(rows: np.ndarray, keys: Sequence[str]) -> np.ndarray:
            return self._draw(labels[rows], self._as_trained(labels[rows], attributes[rows]), keys, scale)

        if self.settings.candidates == 1:
            return draw(np.arange(len(keys)), keys)
        critics = Critics(self.critics, ["label", *(spec.name for spec in self.specs)])
        asked = np.column_stack([labels, attributes])  # (m, 1 + j)
        images, drawn, unlike = best_of(draw, asked, keys, critics, self.settings.candidates)
        self.tally.update(candidates=drawn, kept_unlike=unlike)
        return images

    def steered(self, classifiers: Sequence[NoisyClassifier], scale: float | None = None) -> "Generator":
        """This generator, to be asked also for attributes it was not trained on, see `tfpdu.diffusion.steering`.

        Every classifier appends its attribute to `specs`; an earlier steering is replaced.

        Args:
          classifiers: noise-aware ones, each of another attribute.
          scale: s, 0 or more; None takes the settings' own.

        Returns:
          Another `Generator` on the same network, with an id of its own.

        Raises:
          UserError: a classifier of images of another shape, of an attribute that the generator knows or that another
            one steers to, or a scale that is negative or not finite.
        """
        steering = Steering(tuple(classifiers), self.settings.steering if scale is None else scale)
        steering.check(self.shape, ["label", *(spec.name for spec in self._trained_on)])
        other = copy.copy(self)
        other._steering, other.tally = steering, Counter()
        return other

    def for_specs(
        self, specs: Sequence[AttributeSpec]
    ) -> Callable[[np.ndarray, np.ndarray, Sequence[str]], np.ndarray]:
        """A `sample` whose attribute columns are those of `specs`; attributes that only the generator has stay open.

        Raises:
          UserError: an attribute that the generator was not trained on and is not steered to, or one with other values.
        """
        columns = self._columns(specs)

        def sample(labels: np.ndarray, attributes: np.ndarray, keys: Sequence[str]) -> np.ndarray:
            return self.sample(labels, self._wanted(attributes, columns), keys)

        return sample

    def denoise(self, z: np.ndarray, sigma: float, records: Records) -> np.ndarray:
        """D(z; sigma, c), the estimate of the clean images behind noisy ones, each conditioned as it was in training.

        Steering takes no part: it is no condition of the training.

        Args:
          z: float[n, h, w, c], images in [-1, 1] plus sigma times standard normal noise.
          sigma: above 0.
          records: n rows; their labels and attributes are the conditions, columns matched by name.

        Returns:
          float64[n, h, w, c]; entry i depends on the generator, sigma, z[i] and the condition of row i alone.

        Raises:
          UserError: images of another shape, or conditions that the generator does not know.
          StopRequested: a signal arrived.
        """
        if z.shape != (len(records), *self.shape):
            raise UserError(f"generator: it knows images of {list(self.shape)}, got {list(z.shape)}")
        positive(sigma=sigma)
        wanted = self._wanted(records.attributes, self._columns(records.specs))
        labels, wanted = self._checked(records.labels, wanted, records.ids.tolist())
        attributes = self._as_trained(labels, wanted)
        clean, size = np.empty(z.shape), self.settings.sample_batch
        for start in range(0, len(z), size):
            safe_point()
            part = slice(start, start + size)
            filled = self._filled(labels[part], attributes[part], z[part])
            own, _ = self._apart(filled[1])
            clean[part] = self._evaluate(filled[2], sigma, filled[0], own)[: len(z[part])]
        return clean

    def _columns(self, specs: Sequence[AttributeSpec]) -> list[int]:
        known = [spec.name for spec in self.specs]
        for spec in specs:
            if spec.name not in known:
                raise UserError(
                    f"generator: it was not trained on attribute {spec.name!r}{did_you_mean(spec.name, known)}; it "
                    f"knows: {', '.join(known) or 'no attributes'}; another one needs a classifier that steers to it"
                )
            if spec not in self.specs:
                raise UserError(f"generator: attribute {spec.name!r} has other values than it was trained on")
        return [known.index(spec.name) for spec in specs]

    def _wanted(self, attributes: np.ndarray, columns: list[int]) -> np.ndarray:
        """Attributes in the generator's own columns, int32[m, j]; the others stay open."""
        wanted = np.full((len(attributes), len(self.specs)), UNKNOWN, np.int32)
        wanted[:, columns] = attributes
        return wanted

    def _filled(self, labels: np.ndarray, attributes: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, ...]:
        """A batch filled up to the fixed size: the same kernels run whatever is asked for."""
        gap = self.settings.sample_batch - len(z)
        return (
            np.concatenate([labels, np.full(gap, UNKNOWN, np.int32)]),
            np.concatenate([attributes, np.full((gap, attributes.shape[1]), UNKNOWN, np.int32)]),
            np.concatenate([z, np.zeros((gap, *self.shape))]),
        )

    def _draw(self, labels: np.ndarray, attributes: np.ndarray, keys: Sequence[str], scale: float) -> np.ndarray:
        """One sample per key, whatever it shows: uint8[m, h, w, c]."""
        images = np.empty((len(keys), *self.shape), np.uint8)
        size = self.settings.sample_batch
        with Progress("samples", len(keys), "images") as progress:
            for start in range(0, len(keys), size):
                safe_point()
                part = slice(start, start + size)
                images[part] = self._batch(labels[part], attributes[part], keys[part], scale)
                progress.advance(len(images[part]))
        return images

    def _batch(self, labels: np.ndarray, attributes: np.ndarray, keys: Sequence[str], scale: float) -> np.ndarray:
        s, m = self.settings, len(keys)
        labels, attributes, noise = self._filled(labels, attributes, keyed_noise(keys, self.shape, self.card["seed"]))
        sigmas = sigma_schedule(s.steps, s.sigma_min, s.sigma_max, s.rho)

        def fresh(step: int) -> np.ndarray:
            again = np.zeros_like(noise)
            again[:m] = keyed_noise(keys, self.shape, self.card["seed"], "churn", step)
            return again

        own, sought = self._apart(attributes)
        denoise = self._steering.applied(
            guided(self._evaluate, labels, own, scale, s.guidance_low, s.guidance_high), sought
        )
        clean = integrate(denoise, noise, sigmas, Sampler(s.sampler), s.stochastic(), fresh)
        return np.rint(np.clip((clean[:m] + 1) * 127.5, 0, 255)).astype(np.uint8)

    def _apart(self, attributes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The columns that the network was trained on, and those that it is steered to."""
        return attributes[:, : len(self._trained_on)], attributes[:, len(self._trained_on) :]

    def _evaluate(self, z: np.ndarray, sigma: float, labels: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        level = np.full(len(z), sigma, np.float32)
        tensors = (keras.ops.convert_to_tensor(a) for a in (z.astype(np.float32), level, labels, attributes))
        return keras.ops.convert_to_numpy(self._denoise(*tensors)).astype(np.float64)

    def _checked(
        self, labels: np.ndarray, attributes: np.ndarray, keys: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        labels, attributes = np.asarray(labels, np.int32), np.asarray(attributes, np.int32)
        if not len(keys):
            raise UserError("generator: asked for zero images")
        if labels.shape != (len(keys),) or attributes.shape != (len(keys), len(self.specs)):
            raise UserError(
                f"generator: {len(keys)} keys, but labels of shape {list(labels.shape)} and attributes of shape "
                f"{list(attributes.shape)}; it knows {len(self.specs)} attributes"
            )
        columns = [("label", labels, len(self.label_names))]
        columns += [(spec.name, attributes[:, j], spec.cardinality) for j, spec in enumerate(self.specs)]
        for name, codes, values in columns:
            wrong = (codes < UNKNOWN) | (codes >= values)
            if wrong.any():
                raise UserError(f"generator: {name} {codes[wrong][0]} is unknown to it; it has {values} values")
        return labels, attributes

    def _as_trained(self, labels: np.ndarray, attributes: np.ndarray) -> np.ndarray:
        """Asks for a cell that was too small to condition on by its class alone, as it was shown in training."""
        attributes = attributes.copy()
        own, _ = self._apart(attributes)
        for cell in self.card["merged_cells"]:
            inside = (labels == cell["label"]) & np.all(own == cell["attributes"], axis=1)
            own[inside] = UNKNOWN  # a view
        return attributes


def fit_generator(records: Records, settings: GeneratorSettings, directory: str | Path, seed: int) -> Generator:
    """Trains a generator, or resumes one, or loads the finished one that `directory` holds.

    Args:
      records: training rows; their attributes become conditions.
      settings: see `GeneratorSettings`.
      directory: gets `generator.json` (the card), `ema.weights.h5` and, until training ends, `checkpoint.npz`. Private
        training keeps a random secret there, too, `noise.key`, and deletes it at the end: its sampling and noise are
        keyed by secret and seed. A secret that is there already is used, which repeats a training bit for bit.
        With schedule="rsqrt" the checkpoint stays, and more `images` go on from it; where it is gone, as in a copy of a
        generator that comes with tfpdu, they go on from the averaged weights, see `Training.take_up`.
      seed: of weights, batches, noise and samples.

    Raises:
      UserError: too few rows, images that do not fit the network, a directory that holds another generator, an
        epsilon, delta or batch that does not fit the rows, or training that diverged.
      StopRequested: a signal arrived; calling again goes on from there.
    """
    directory = Path(directory)
    if len(records) < max(1, settings.min_rows):
        raise UserError(
            f"generator: {len(records)} training rows, at least {max(1, settings.min_rows)} are needed "
            "(--config.generator.min_rows)"
        )
    cardinalities = tuple(spec.cardinality for spec in records.specs)
    architecture = settings.architecture(records.images.shape[1:], records.classes, cardinalities)
    refuse_impossible_critics(records, settings)
    course = f"{stable_hash(rows_hash(records), sorted(settings.training().items()), seed):016x}"
    earlier = read_json(directory / CARD) if (directory / CARD).exists() else None
    if earlier is not None and not _goes_on(earlier, settings, course):
        key = _refuse_another(earlier, directory, settings, course)
        fit_critics(records, settings, directory, seed)
        return _finished(earlier, directory, settings, key)

    batches = training_batches(
        records, settings, seed, secret(directory / NOISE_KEY) if settings.private.epsilon else ""
    )
    training = Training.of_denoiser(architecture, settings, batches, seed, course, directory / CHECKPOINT)
    if earlier is not None and not (directory / CHECKPOINT).exists():
        load_checked(training.network, directory, CARD, earlier["weights_sha256"])
        training.take_up(earlier)
    training.run()
    if settings.endless or settings.critics:
        training.save()  # killed while critics train, it is not trained again
    critics = fit_critics(records, settings, directory, seed)
    key = _training_key(course, settings, training.taken_up)
    card = {
        "id": _identity(key, settings),
        "training_key": key,
        "course": course,
        "taken_up": list(training.taken_up),
        "lineage": settings.lineage,
        **finish(training, records, seed, directory),
        "label_names": list(records.label_names),
        "attributes": [[spec.name, list(spec.values)] for spec in records.specs],
        "merged_cells": batches.merged_cells,
        "private": dataclasses.asdict(batches.privacy) if isinstance(batches, PoissonBatches) else None,
        "settings": dataclasses.asdict(settings),
    }
    write_json(directory / CARD, card)
    _remove_state(directory, settings)
    return Generator(training.network, card, critics)


def load_generator(directory: str | Path) -> Generator:
    """Loads a finished generator.

    Raises:
      UserError: no card there, a card with missing entries, weights that are damaged or of another architecture.
    """
    directory = Path(directory)
    card = read_json(directory / CARD)
    try:
        shape, classes = tuple(card["image_shape"]), len(card["label_names"])
        cardinalities = tuple(len(values) for _, values in card["attributes"])
        network = build_network(GeneratorSettings(**card["settings"]).architecture(shape, classes, cardinalities))
        generator, expected = Generator(network, card), card["weights_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{directory / CARD}: not a generator's card ({error})") from None
    load_checked(network, directory, CARD, expected)
    generator.critics = load_critics(directory, generator.settings.critics)
    return generator


def with_sampling(generator: Generator, settings: GeneratorSettings) -> Generator:
    """The same weights, sampled as `settings` say; it has the id of a generator that was trained with them.

    Critics are its own. Raises `UserError` where candidates are asked for and it has none.
    """
    card = generator.card
    names = (*SAMPLING, *INTERVAL, *CHURN, "candidates")  # also those at their defaults
    ways = {**card["settings"], **{name: getattr(settings, name) for name in names}}
    identity = _identity(card["training_key"], GeneratorSettings(**ways))
    return Generator(generator.network, {**card, "id": identity, "settings": ways}, generator.critics)


def _identity(training_key: str, settings: GeneratorSettings) -> str:
    return f"{stable_hash(training_key, sorted(settings.sampling().items())):016x}"


def _training_key(course: str, settings: GeneratorSettings, taken_up: Sequence[int]) -> str:
    """What the weights depend on: a course, where it ends if that is open, and where it was taken up again."""
    parts = [course, *([settings.optimiser_steps] if settings.endless else []), *taken_up]
    return f"{stable_hash(*parts):016x}" if len(parts) > 1 else course


def _refuse_another(card: Any, directory: Path, settings: GeneratorSettings, course: str) -> str:
    """The training key of the generator in a directory that has a card; raises `UserError` where it is another's."""
    key = _training_key(course, settings, card.get("taken_up", ()) if isinstance(card, dict) else ())
    refuse_another(
        card, directory, "generator", ("training_key", key), {**settings.training(), "images": settings.images}
    )
    return key


def _finished(card: Any, directory: Path, settings: GeneratorSettings, key: str) -> Generator:
    """The generator in a directory that has a card; one that differs only in how it samples gets a new card."""
    identity = _identity(key, settings)
    if card.get("id") != identity or card["settings"] != as_json(settings):
        changed = {"id": identity, "lineage": settings.lineage, "settings": as_json(settings)}
        write_json(directory / CARD, {**card, **changed})
    _remove_state(directory, settings)
    return load_generator(directory)


def _goes_on(card: Any, settings: GeneratorSettings, course: str) -> bool:
    """True where a finished training is asked to see more images than it did."""
    if not settings.endless or not isinstance(card, dict) or card.get("course") != course:
        return False
    return bool(settings.optimiser_steps * settings.batch > card["images_seen"])


def _remove_state(directory: Path, settings: GeneratorSettings) -> None:
    """Removes what a finished training does not need."""
    for name in (NOISE_KEY,) if settings.endless else (CHECKPOINT, NOISE_KEY):
        (directory / name).unlink(missing_ok=True)
