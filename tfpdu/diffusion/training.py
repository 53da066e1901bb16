"""Training of denoisers and noise-aware classifiers, resumable.

A run killed anywhere and started again gives the same weights bit for bit.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from tfpdu.common import Progress, UserError
from tfpdu.common.files import read_npz, replacing
from tfpdu.common.interrupt import safe_point, stopping
from tfpdu.data.records import Records
from tfpdu.diffusion.architecture import Architecture
from tfpdu.diffusion.batches import Batches
from tfpdu.diffusion.compiled import Loss, training_step
from tfpdu.diffusion.network import build_network
from tfpdu.diffusion.optimisers import InverseSquareRoot, Muon
from tfpdu.diffusion.poisson import PoissonBatches
from tfpdu.diffusion.preconditioning import denoising_loss
from tfpdu.diffusion.private import plan
from tfpdu.diffusion.private_step import private_step
from tfpdu.diffusion.settings import GeneratorSettings, Weighting

LOSS_SHARE = 0.05  # the reported loss is an average over about this share of the run
RAMP_UP = 0.05  # early in training the half-life is at most this share of the images seen so far


def ema_beta(images_seen: int, batch: int, half_life: float) -> float:
    """How much of the average a step keeps: 0.5 ** (batch / half-life).

    The half-life grows at first with the images seen (Karras et al., 2022, appendix F.2); `images_seen` counts the step
    itself.

    >>> round(ema_beta(10**9, 128, 50_000), 5)
    0.99823
    """
    return 0.5 ** (batch / max(min(half_life, RAMP_UP * images_seen), 1e-8))


def training_batches(
    records: Records, settings: GeneratorSettings, seed: int, secret: str = ""
) -> Batches | PoissonBatches:
    """What a training learns from, step by step: epochs, or in private training Poisson samples.

    Args:
      records: training rows.
      settings: see `GeneratorSettings`.
      seed: of batches and noise.
      secret: beside the seed, the key of private training's sampling and noise.

    Raises:
      UserError: private training whose epsilon, delta or batch does not fit these rows.
    """
    if not settings.private.epsilon:
        return Batches(records, settings, seed)
    privacy = plan(settings.private, len(records), settings.batch, settings.optimiser_steps)
    return PoissonBatches(records, settings, privacy, f"{seed}/{secret}")


class Training:
    """The state of a run: network, optimiser, averaged weights, step.

    Args:
      network: with its initial weights.
      losses: what to lower, see `training_step`.
      settings: of the training.
      batches: what to learn, see `training_batches`.
      key: names the run; a checkpoint with another key is refused.
      checkpoint: file that holds the state between interruptions; it is there only while training is unfinished.
      subject: what is being trained, in words.
      rate: what the user calls the learning rate.
    """

    def __init__(
        self,
        network: keras.Model,
        losses: Loss,
        settings: GeneratorSettings,
        batches: Batches | PoissonBatches,
        key: str,
        checkpoint: Path,
        subject: str = "generator",
        rate: str = "--config.generator.learning_rate",
    ):
        self._settings, self._batches, self._key, self._path = settings, batches, key, checkpoint
        self.network, self._losses, self._subject, self._rate = network, losses, subject, rate
        self._optimiser = _optimiser(settings)
        self._optimiser.build(self.network.trainable_variables)
        self.averages = [keras.Variable(v, trainable=False, dtype="float32") for v in self.network.trainable_variables]
        self.step, self.seconds, self.loss = 0, 0.0, math.nan
        self.taken_up: tuple[int, ...] = ()  # images seen wherever it went on from averaged weights alone
        if checkpoint.exists():
            self._restore()

    @classmethod
    def of_denoiser(
        cls,
        architecture: Architecture,
        settings: GeneratorSettings,
        batches: Batches | PoissonBatches,
        seed: int,
        key: str,
        checkpoint: Path,
    ) -> "Training":
        """The training of a generator's network; `seed` is that of the initial weights."""
        network = build_network(architecture, seed)

        def losses(images: Any, noise: Any, sigma: Any, labels: Any, attributes: Any) -> Any:
            return denoising_loss(
                network,
                scaled(images),
                noise,
                sigma,
                labels,
                attributes,
                settings.sigma_data,
                Weighting(settings.weighting),
            )  # (b,)

        return cls(network, losses, settings, batches, key, checkpoint)

    @property
    def images_seen(self) -> int:
        """Images seen so far, counted with repetition."""
        return self.step * self._settings.batch

    def take_up(self, card: Mapping[str, Any]) -> None:
        """Goes on from the averaged weights, all that is left of a finished training: the network has them by now.

        Its rate and batches are those that would have come next; the optimiser remembers nothing. So the weights are
        not those of a training that kept its checkpoint, and `taken_up` says so.

        Args:
          card: of the finished training.
        """
        for variable, average in zip(self.network.trainable_variables, self.averages, strict=True):
            average.assign(variable)
        self.step, self.seconds, self.loss = card["images_seen"] // self._settings.batch, card["seconds"], card["loss"]
        self._optimiser.iterations.assign(self.step)
        self.taken_up = (*card.get("taken_up", ()), card["images_seen"])

    def run(self) -> None:
        """Trains to the end, writing checkpoints. Raises `StopRequested` after a signal, with the state on disk."""
        s = self._settings
        step = self.compiled_step()
        every = max(1, round(s.checkpoint_images / s.batch))
        with Progress(self._subject, s.optimiser_steps * s.batch, "images", done=self.step * s.batch) as progress:
            first, start, before = self.step, time.monotonic(), self.seconds
            while self.step < s.optimiser_steps:
                if stopping():
                    self.save()
                    safe_point()
                seen = (self.step + 1) * s.batch
                beta = ema_beta(seen, s.batch, s.half_life(seen))
                self._take(*step(self._batches.at(self.step), beta))
                self.seconds = before + time.monotonic() - start
                if self.step % every == 0 and self.step < s.optimiser_steps:
                    self.save()
                rate = (self.step - first) * s.batch / max(time.monotonic() - start, 1e-9)
                progress.advance(s.batch, f"{rate:.0f} images/s, loss {self.loss:.4f}")

    def images_per_second(self, steps: int = 10) -> float:
        """Speed of a few steps, after one that compiles. The weights move: for a forecast, not within a run."""
        step = self.compiled_step()
        step(self._batches.at(0), 1.0)
        start = time.monotonic()
        for number in range(1, steps + 1):
            step(self._batches.at(number), 1.0)
        return steps * self._settings.batch / max(time.monotonic() - start, 1e-9)

    def finish(self) -> keras.Model:
        """Puts the averaged weights into the network and returns it. The checkpoint is left to the caller to remove."""
        for variable, average in zip(self.network.trainable_variables, self.averages, strict=True):
            variable.assign(average)
        return self.network

    def compiled_step(self) -> Callable[[Any, float], tuple[float, float]]:
        """(batch, beta) -> (loss, gradient norm), see `training_step`."""
        state = (self.network, self._optimiser, self.averages, self._losses)
        if isinstance(self._batches, PoissonBatches):
            return private_step(*state, self._batches.privacy)
        return training_step(*state)

    def _take(self, loss: float, norm: float) -> None:
        """Books a finished step; a loss or gradient that is not finite ends the run."""
        self.step += 1
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise UserError(
                f"{self._subject}: training diverged at step {self.step} (loss {loss}, gradient norm {norm}); lower "
                f"{self._rate} (now {self._settings.learning_rate}) or use precision=float32"
            )
        keep = max(0.0, 1 - 1 / max(1.0, LOSS_SHARE * min(self._settings.optimiser_steps, self.step)))
        self.loss = loss if math.isnan(self.loss) else keep * self.loss + (1 - keep) * loss

    def _variables(self) -> dict[str, list[Any]]:
        return {"weight": self.network.weights, "average": self.averages, "optimiser": self._optimiser.variables}

    def save(self) -> None:
        """Writes the checkpoint."""
        state = {
            "key": self._key,
            "backend": keras.backend.backend(),
            "step": self.step,
            "seconds": self.seconds,
            "loss": self.loss,
            "taken_up": self.taken_up,
        }
        arrays = {f"{kind}{i}": np.asarray(v) for kind, vs in self._variables().items() for i, v in enumerate(vs)}
        with replacing(self._path) as temporary, open(temporary, "wb") as file:
            np.savez(file, state=np.array(json.dumps(state)), **arrays)

    def _restore(self) -> None:
        arrays = read_npz(self._path)
        state = json.loads(str(arrays["state"])) if "state" in arrays else {}
        if state.get("key") != self._key:
            raise UserError(
                f"{self._path}: a checkpoint of another {self._subject} (other rows, settings or seed); remove it"
            )
        backend = state.get("backend", "tensorflow")
        if backend != keras.backend.backend():  # equal seeds start from other weights there
            raise UserError(
                f"{self._path}: begun under KERAS_BACKEND={backend}, now {keras.backend.backend()}; go on there, or "
                "remove it"
            )
        if state["step"] > self._settings.optimiser_steps:
            raise UserError(
                f"{self._path}: has seen {state['step'] * self._settings.batch} images already, more than the "
                f"{self._settings.images} asked for"
            )
        for kind, variables in self._variables().items():
            for i, variable in enumerate(variables):
                variable.assign(arrays[f"{kind}{i}"])
        self.step, self.seconds, self.loss = state["step"], state["seconds"], state["loss"]
        self.taken_up = tuple(state.get("taken_up", ()))


def scaled(images: Any) -> Any:
    """Pixels uint8 in 0..255 -> float32 in [-1, 1], of the same shape."""
    return ops.cast(images, "float32") / 127.5 - 1


def _optimiser(settings: GeneratorSettings) -> keras.optimizers.Optimizer:
    rate = _learning_rate(settings)
    if settings.optimiser == "muon" and not settings.private.epsilon:
        return Muon(rate, "bfloat16" if settings.precision == "mixed_bfloat16" else "float32")
    # beta_2 below its usual 0.999: short runs need variance estimates that forget their beginning.
    return keras.optimizers.Adam(rate, beta_1=0.9, beta_2=0.99, epsilon=1e-8)


def _learning_rate(settings: GeneratorSettings) -> keras.optimizers.schedules.LearningRateSchedule:
    peak, warm_up = settings.learning_rate, settings.warm_up_steps
    if settings.endless:
        return InverseSquareRoot(peak, settings.decay_images / settings.batch, warm_up)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=peak / max(1, warm_up) if warm_up else peak,
        decay_steps=max(1, settings.optimiser_steps - warm_up),
        warmup_target=peak if warm_up else None,
        warmup_steps=warm_up,
    )
