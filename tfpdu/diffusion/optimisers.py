"""Optimisers of the denoiser and their learning rates."""

from typing import Any

import keras
from keras import ops

RMS = 0.2  # of an update, in learning rates; about that of Adam's, so that both get on with the same rate
ADAMS = ("first/", "last/", "noise/", "embedding/", "table/")  # layers at the network's ends, by their paths


@keras.saving.register_keras_serializable("tfpdu")
class Muon(keras.optimizers.Muon):
    """Muon for convolutions too: a kernel [h, w, c, f] is the matrix [h * w * c, f].

    An update is the momentum's matrix with all singular values made about 1 (Jordan et al., 2024, "Muon: an optimizer
    for hidden layers"), scaled to the size of Adam's (Liu et al., 2025, "Muon is scalable for LLM training"). Vectors
    and the layers at the network's ends are learned by Adam, with the same rate.

    Keras' own Muon leaves everything that is not a matrix to Adam.

    Args:
      learning_rate: of both.
      precision: 'float32', or 'bfloat16' for the matrix products of the update (its weights stay float32).
      **kwargs: as Keras' Muon has them.
    """

    def __init__(self, learning_rate: Any = 1e-3, precision: str = "float32", **kwargs: Any):
        unset = {"weight_decay": None, "adam_weight_decay": None, "adam_beta_2": 0.99, "exclude_layers": list(ADAMS)}
        super().__init__(learning_rate, **{**unset, "rms_rate": RMS, **kwargs})
        self.precision = precision

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) not in (2, 4) or any(layer in variable.path for layer in self.exclude_layers)

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        self.assign_add(m, gradient + m * (self.momentum - 1))
        ahead = gradient + self.momentum * m if self.nesterov else m
        matrix = ops.cast(ops.reshape(ahead, (-1, variable.shape[-1])), self.precision)  # (h * w * c, f)
        update = ops.cast(self.zeropower_via_newtonschulz5(matrix, self.ns_steps), variable.dtype)
        update = self.lr_adjust(update)
        self.assign_sub(variable, ops.reshape(lr * update, variable.shape))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "precision": self.precision}


@keras.saving.register_keras_serializable("tfpdu")
class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """peak * min(1, (step + 1) / warm_up) / sqrt(max(1, step / decay)) (Karras et al., 2024, equation 67).

    It does not know how long the training will be.

    Args:
      peak: the highest rate.
      decay: steps after which it falls.
      warm_up: steps over which it rises; 0 starts at the peak.
    """

    def __init__(self, peak: float, decay: float, warm_up: int = 0):
        super().__init__()
        self.peak, self.decay, self.warm_up = peak, decay, warm_up

    def __call__(self, step: Any) -> Any:
        """The rate of a step, counted from 0; float32[]."""
        step = ops.cast(step, "float32")
        rise = ops.minimum(1.0, (step + 1) / max(1, self.warm_up))
        return self.peak * rise / ops.sqrt(ops.maximum(1.0, step / self.decay))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"peak": self.peak, "decay": self.decay, "warm_up": self.warm_up}
