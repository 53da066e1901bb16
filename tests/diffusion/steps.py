"""Single steps of a small network from given weights, comparable between ways of training and between backends."""

import dataclasses

import keras
import numpy as np

from tests.diffusion.conftest import TINY, toy_records
from tfpdu.common.seeds import rng
from tfpdu.diffusion.poisson import PoissonBatches
from tfpdu.diffusion.private import Privacy
from tfpdu.diffusion.training import Training

SMALL = dataclasses.replace(TINY, images=192, widths=(8,), attention=False, embedding=8)
PRIVATE = dataclasses.replace(SMALL, private=dict(epsilon=3.0, delta=1e-3, chunk=8, multiplicity=2, accountant="rdp"))

KEYS = [f"key{i}" for i in range(11)]
LABELS = np.arange(11, dtype=np.int32) % 2
ATTRIBUTES = np.stack([np.arange(11) % 2, np.arange(11) % 3], -1).astype(np.int8)


def privacy(clip=1.0, noise=0.0, batch=10):
    return Privacy(1.0, 1e-5, noise, clip, 0.2, batch, 10, "rdp")


def private_batch(figures=None, records=None):
    return PoissonBatches(records or toy_records(), PRIVATE, figures or privacy(), "key").at(0)


def evaluations(generator):
    """The denoiser at several noise levels, float64[levels * 11, 8, 8, 1]."""
    noise, labels, attributes = rng("z").normal(size=(11, 8, 8, 1)), LABELS, ATTRIBUTES.astype(np.int32)
    return np.concatenate([generator._evaluate(s * noise, s, labels, attributes) for s in (0.01, 0.5, 3.0)])


def gradients(classifier):
    """Of log p at several noise levels, float64[levels * 11, 8, 8, 1]; every third row asks for nothing."""
    noise, codes = rng("z").normal(size=(11, 8, 8, 1)), np.arange(11) % 3 - 1
    return np.concatenate([s * classifier.gradient(s * noise, s, codes) for s in (0.01, 0.5, 3.0)])


class Nowhere:
    """A checkpoint that is not there."""

    def exists(self):
        return False


class Stepper:
    """Steps from one and the same network; SGD at rate 1 moves the weights by the gradient."""

    def __init__(self, build):
        self.training = Training.of_denoiser(
            PRIVATE.architecture((8, 8, 1), 2, (2, 3)), PRIVATE, None, 7, "", Nowhere()
        )
        self.network, draw = self.training.network, rng("start")
        self.start = [draw.normal(0, 0.15, w.shape).astype(np.float32) for w in self.network.get_weights()]
        optimiser = keras.optimizers.SGD(1.0)
        optimiser.build(self.network.trainable_variables)
        self._step = build(self.network, optimiser, self.training.averages, self.training._losses)

    def gradient(self, batch):
        """Returns (float64[parameters], what the step returned)."""
        self.network.set_weights(self.start)
        said = self._step(batch, 0.5)
        pairs = zip(self.start, self.network.get_weights(), strict=True)
        return np.concatenate([(a.astype(np.float64) - b).ravel() for a, b in pairs]), said
