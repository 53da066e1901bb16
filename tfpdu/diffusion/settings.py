"""What a user can choose about the generator, and what of it changes the trained weights."""

import dataclasses
import enum
from typing import Any

from tfpdu.common import UserError
from tfpdu.common.validation import in_range, non_negative, one_of, positive
from tfpdu.diffusion.architecture import Architecture
from tfpdu.diffusion.private import PrivateSettings
from tfpdu.diffusion.sampler import Churn, Sampler, sigma_schedule

SAMPLING = ("sigma_min", "sigma_max", "rho", "steps", "sampler", "guidance", "steering", "sample_batch")
INTERVAL = ("guidance_low", "guidance_high")
CHURN = ("churn", "churn_low", "churn_high", "churn_noise")
CHOICE = ("candidates", "critics", "critic_images", "critic_widths")
NEUTRAL = ("lineage", "min_rows", "floor", "checkpoint_images")


class Weighting(enum.StrEnum):
    """How the squared error at noise level sigma is weighted; SNR = sigma_data^2 / sigma^2."""

    PAPER = "paper"  # 1
    EDM = "edm"  # (1 + SNR) / sigma_data^2, which makes the network's own loss equally large at every sigma
    MIN_SNR = "min_snr"  # min(SNR, 5)


@dataclasses.dataclass(frozen=True)
class GeneratorSettings:
    """How the generator is built, trained and sampled. `images` is the main lever on quality.

    Attributes:
      images: training images seen in all, counted with repetition.
      batch: training images a step.
      widths, blocks, fold, attention, embedding, precision: see `Architecture`.
      drop_each: probability that the class, and each attribute apart, is hidden from a training image.
      drop_all: probability that all of them are hidden together; classifier-free guidance needs this.
      optimiser: 'muon' or 'adam', see `tfpdu.diffusion.optimisers`. Private training takes Adam: Muon would raise
        the noise to the size of the gradient.
      learning_rate: peak of the learning rate; it rises linearly, then falls as `schedule` says.
      schedule: 'cosine' (a half cosine to zero at `images`), or 'rsqrt' (constant up to `decay_images`, then falling as
        the inverse square root; Karras et al., 2024, equation 67): such a training has no end, and goes on from where
        it stood when `images` is raised.
      decay_images: see `schedule`.
      warm_up: share of `images` (with 'rsqrt', of `decay_images`) over which the rate rises.
      ema: half-life of the averaged weights, as a share of `images` (with 'rsqrt', of the images seen so far).
      weighting: of the loss over noise levels: 'paper' (1), 'edm' or 'min_snr'.
      p_mean, p_std: training noise levels follow ln sigma ~ N(p_mean, p_std^2).
      sigma_data: standard deviation of images in [-1, 1].
      flip: mirror half of the training images left to right; off where a mirror image means something else (digits).
      min_cell: a training row whose (class, attributes) cell has fewer rows is conditioned on its class only, since
        a condition that names few rows teaches the network to copy them. Private training has no such rule: what
        becomes of a row must not depend on others.
      sigma_min, sigma_max, rho, steps, sampler: of the sampler, see `sigma_schedule`.
      churn, churn_low, churn_high, churn_noise: of stochastic sampling, see `Churn`; 0 is deterministic.
      guidance: g of classifier-free guidance; 1 is the conditional model, see `tfpdu.diffusion.guidance`.
      guidance_low, guidance_high: the noise levels between which it is not 1.
      steering: s of gradient guidance towards attributes that the generator was not trained on, where it is given
        classifiers of them; 0 is off, see `tfpdu.diffusion.steering`.
      sample_batch: images sampled at a time; short batches are filled up to it, so that a sample does not depend on
        its companions.
      candidates: the most samples that are drawn for one image, until the critics see in it what was asked for, see
        `tfpdu.diffusion.critics`; 1 asks no critic.
      critics: what critics tell apart: "label", attributes; each learns the generator's rows, beside it.
      critic_images: training images that each critic sees, counted with repetition.
      critic_widths: channels of each level of a critic; every level after the first halves the resolution.
      lineage: 'keep' (trained on the originals), 'public' (on rows outside the data set) or 'strict' (a deletion
        retires the generator); recorded on the card.
      min_rows: fewer training rows are refused.
      floor: least share of real data's accuracy that samples must reach, see `tfpdu.diffusion.quality`.
      checkpoint_images: images seen between two checkpoints.
      private: differentially private training, see `tfpdu.diffusion.private`; `batch` is then the expected number of
        rows a step.
    """

    images: int = 800_000
    batch: int = 128
    widths: tuple[int, ...] = (48, 96, 128)
    blocks: int = 1
    fold: int = 2
    attention: bool = True
    embedding: int = 192
    precision: str = "mixed_bfloat16"
    drop_each: float = 0.1
    drop_all: float = 0.1
    optimiser: str = "adam"
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    decay_images: int = 1_000_000
    warm_up: float = 0.02
    ema: float = 0.02
    weighting: str = "edm"
    p_mean: float = -1.2
    p_std: float = 1.2
    sigma_data: float = 0.5
    flip: bool = True
    min_cell: int = 20
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    steps: int = 18
    sampler: str = "heun"
    churn: float = 0.0
    churn_low: float = 0.05
    churn_high: float = 50.0
    churn_noise: float = 1.003
    guidance: float = 1.0
    guidance_low: float = 0.0
    guidance_high: float = 1000.0
    steering: float = 4.0
    sample_batch: int = 64
    candidates: int = 1
    critics: tuple[str, ...] = ()
    critic_images: int = 100_000
    critic_widths: tuple[int, ...] = (32, 64)
    lineage: str = "keep"
    min_rows: int = 100
    floor: float = 0.5
    checkpoint_images: int = 50_000
    private: PrivateSettings = dataclasses.field(default_factory=PrivateSettings)

    def __post_init__(self) -> None:
        if not isinstance(self.private, PrivateSettings):  # a mapping, as in a config or on a card
            object.__setattr__(self, "private", PrivateSettings(**self.private))
        object.__setattr__(self, "widths", tuple(int(width) for width in self.widths))
        object.__setattr__(self, "critic_widths", tuple(int(width) for width in self.critic_widths))
        object.__setattr__(self, "critics", tuple(str(name) for name in self.critics))
        positive(images=self.images, batch=self.batch, learning_rate=self.learning_rate, sigma_data=self.sigma_data)
        positive(
            ema=self.ema, p_std=self.p_std, checkpoint_images=self.checkpoint_images, sample_batch=self.sample_batch
        )
        positive(min_rows=self.min_rows, decay_images=self.decay_images)
        positive(candidates=self.candidates, critic_images=self.critic_images)
        non_negative(min_cell=self.min_cell, guidance=self.guidance, steering=self.steering, warm_up=self.warm_up)
        in_range(0, 1, drop_each=self.drop_each, drop_all=self.drop_all, warm_up=self.warm_up, ema=self.ema)
        in_range(0, 1, floor=self.floor)
        in_range(-10, 10, p_mean=self.p_mean)
        one_of(["muon", "adam"], optimiser=self.optimiser)
        one_of(["cosine", "rsqrt"], schedule=self.schedule)
        one_of([w.value for w in Weighting], weighting=self.weighting)
        one_of([s.value for s in Sampler], sampler=self.sampler)
        non_negative(churn=self.churn, churn_low=self.churn_low, churn_high=self.churn_high)
        non_negative(churn_noise=self.churn_noise, guidance_low=self.guidance_low)
        if not self.guidance_low < self.guidance_high:
            raise UserError(
                f"guidance_high: expected above guidance_low={self.guidance_low:g}, got {self.guidance_high:g}"
            )
        one_of(["keep", "public", "strict"], lineage=self.lineage)
        sigma_schedule(self.steps, self.sigma_min, self.sigma_max, self.rho)  # raises when they do not fit
        if self.endless and self.private.epsilon:
            raise UserError("schedule: rsqrt has no end, and private training spends its epsilon on one; use cosine")
        if self.candidates > 1 and not self.critics:
            raise UserError(
                f"candidates: {self.candidates} need a critic that chooses; expected critics, e.g. ('label',)"
            )
        if self.critics and self.private.epsilon:
            raise UserError(
                "critics: they learn the rows without noise, which private.epsilon does not cover; expected ()"
            )
        if self.guidance != 1 and not self.drop_all:
            raise UserError(f"guidance: {self.guidance} needs an unconditional model; expected drop_all above 0")

    @property
    def optimiser_steps(self) -> int:
        """Training steps: the least number that sees at least `images` images."""
        return -(-self.images // self.batch)

    @property
    def endless(self) -> bool:
        """True where `images` only says when to stop: what is trained so far does not depend on it."""
        return self.schedule == "rsqrt"

    @property
    def warm_up_steps(self) -> int:
        """Training steps over which the learning rate rises."""
        return round(self.warm_up * (self.decay_images // self.batch if self.endless else self.optimiser_steps))

    def half_life(self, images_seen: int) -> float:
        """Of the averaged weights, in images."""
        return self.ema * (images_seen if self.endless else self.images)

    def architecture(self, image_shape: tuple[int, ...], classes: int, cardinalities: tuple[int, ...]) -> Architecture:
        """The network for such data; raises `UserError` when the images do not fit."""
        shared = {field: getattr(self, field) for field in _ARCHITECTURE}
        height, width, channels = image_shape
        return Architecture((height, width, channels), classes, cardinalities, **shared)

    def training(self) -> dict[str, Any]:
        """The settings that the training's course depends on; where it is endless, it may have any length."""
        unused: tuple[str, ...] = ("images",) if self.endless else ("schedule", "decay_images")
        unused += () if self.private.epsilon else ("private",)
        return {
            k: v
            for k, v in dataclasses.asdict(self).items()
            if k not in SAMPLING + INTERVAL + CHURN + CHOICE + NEUTRAL + unused
        }

    def sampling(self) -> dict[str, Any]:
        """The settings that samples depend on beside the weights."""
        # What is not used is left out, so that samples keep the id of a generator that knew no such setting.
        names = SAMPLING + (CHURN if self.churn else ()) + (CHOICE if self.candidates > 1 else ())
        if any(getattr(self, name) != getattr(type(self), name) for name in INTERVAL):
            names += INTERVAL
        return {k: v for k, v in dataclasses.asdict(self).items() if k in names}

    def stochastic(self) -> Churn:
        """The sampler's churn."""
        return Churn(self.churn, self.churn_low, self.churn_high, self.churn_noise)


_ARCHITECTURE = ("widths", "blocks", "fold", "attention", "embedding", "precision")


@dataclasses.dataclass(frozen=True)
class NoisyClassifierSettings:
    """How a noise-aware classifier is built and trained.

    Attributes:
      images: training images seen in all, counted with repetition.
      widths, fold, embedding, precision: see `Architecture`; every level after the first halves the resolution.
      p_mean, p_std: training noise levels follow ln sigma ~ N(p_mean, p_std^2). They lie above the generator's own,
        since a sample's attributes are settled while its details are still noise.
      flip: mirror half of the images left to right; as the generator's.
      shift: pixels, at most, that training images are moved in either direction, see `tfpdu.data.views`.
      sample_batch: images judged at a time; short batches are filled up to it.
      batch, learning_rate, warm_up, ema, sigma_data, checkpoint_images: as in `GeneratorSettings`.
    """

    images: int = 100_000
    batch: int = 128
    widths: tuple[int, ...] = (32, 64)
    fold: int = 2
    embedding: int = 64
    precision: str = "float32"
    learning_rate: float = 2e-3
    warm_up: float = 0.02
    ema: float = 0.05
    p_mean: float = 0.0
    p_std: float = 1.2
    sigma_data: float = 0.5
    flip: bool = True
    shift: int = 0
    sample_batch: int = 64
    checkpoint_images: int = 50_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(int(width) for width in self.widths))
        non_negative(shift=self.shift)
        _ = self.learning  # raises when something is out of range

    @property
    def learning(self) -> GeneratorSettings:
        """The same as settings of a training, in which no condition is hidden and no cell is merged."""
        shared = {name: value for name, value in dataclasses.asdict(self).items() if name != "shift"}
        return GeneratorSettings(**shared, attention=False, drop_each=0, drop_all=0, min_cell=0)

    def architecture(self, image_shape: tuple[int, ...]) -> Architecture:
        """The network for such images; raises `UserError` when they do not fit."""
        return self.learning.architecture(image_shape, 1, ())

    def training(self) -> dict[str, Any]:
        """The settings that the trained weights depend on."""
        neutral = ("sample_batch", "checkpoint_images") + (() if self.shift else ("shift",))
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in neutral}
