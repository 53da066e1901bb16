"""Weights that every shard's model starts from: read from a file, and checked block by block against the network."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np

from tfpdu.common import UserError
from tfpdu.ensemble.resnet import stage_of
from tfpdu.ensemble.settings import EnsembleSettings
from tfpdu.ensemble.torchvision import torchvision_resnet18
from tfpdu.ensemble.weights import read_arrays

FOUND, IDENTITY, SHORTCUT, DRAWN = "found", "identity", "shortcut alone", "drawn"


@dataclasses.dataclass(frozen=True)
class Block:
    """How much of a block of a ResNet18 a set of weights covers.

    Attributes:
      name: "stem", or "stage1_block1" to "stage4_block2".
      found: weights with an array of their path and shape.
      missing: paths without an array.
      mismatched: paths whose array has another shape.
      closed: the residual branch's last scale is 0 in the file itself, so the branch adds nothing at first.
    """

    name: str
    found: int
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    closed: bool = False

    @property
    def state(self) -> str:
        """What the block is at first.

        "found"; "identity", since the last scale of a residual branch without weights is 0; "shortcut alone", the
        same in a block that changes the shape; or "drawn", where weights that take part are drawn by the seed.
        """
        lacking = [path.removeprefix(f"{self.name}_") for path in self.lacking]
        if self.name == "stem" or any(path.startswith("shortcut") for path in lacking):
            return DRAWN if lacking else FOUND
        if self.closed or "2_norm/gamma" in lacking:
            return SHORTCUT if self.strided else IDENTITY
        return DRAWN if lacking else FOUND

    @property
    def lacking(self) -> tuple[str, ...]:
        """Paths without an array that fits."""
        return self.missing + self.mismatched

    @property
    def strided(self) -> bool:
        """Whether the block halves the picture, and so has a convolution in its shortcut."""
        return self.name in ("stage2_block1", "stage3_block1", "stage4_block1")


def read_initial(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a file by weight path, the logits left out, since their classes are others.

    Args:
      path: `.weights.h5` of a ResNet18 as tfpdu writes it (`tfpdu convert` does), or torchvision's names in a `.npz`
        or `.safetensors`.

    Raises:
      UserError: the file is missing, damaged, or of another network.
    """
    if not str(path).endswith(".h5"):
        return torchvision_resnet18(path)
    arrays = read_arrays(path)
    if "stem_conv/kernel" not in arrays:
        raise UserError(f"{path}: not the weights of a ResNet18 of tfpdu")
    return {name: array for name, array in arrays.items() if not name.startswith("logits/")}


def initial_weights(settings: EnsembleSettings, model: keras.Model) -> dict[str, np.ndarray] | None:
    """The arrays of `settings.initial` for a network; None where it is empty.

    Raises:
      UserError: as `read_initial`; no array fits; or a frozen stage would keep weights drawn by the seed.
    """
    if not settings.initial:
        return None
    weights = read_initial(settings.initial)
    table = blocks(weights, model)
    where = f"config.ensemble.initial={settings.initial}"
    if not any(block.found for block in table):
        shape = tuple(weights["stem_conv/kernel"].shape)
        raise UserError(f"{where}: fits no weight of this network; its first kernel is {shape}; see stem and width")
    for block in table:
        if stage_of(block.name) <= settings.freeze and block.state == DRAWN:
            lacking = block.lacking[0]
            raise UserError(
                f"{where}: config.ensemble.freeze={settings.freeze} would keep {block.name} as drawn, since"
                f" {lacking} {'is missing' if lacking in block.missing else 'has another shape'}"
            )
    return weights


def blocks(weights: Mapping[str, np.ndarray], model: keras.Model) -> list[Block]:
    """Each block of a ResNet18, from the stem on, and what of it the weights cover; the logits are no block."""
    shapes = {v.path: tuple(v.shape) for v in model.weights}
    names = dict.fromkeys(_block_of(path) for path in shapes if not path.startswith("logits/"))
    return [_block(name, [(p, s) for p, s in shapes.items() if _block_of(p) == name], weights) for name in names]


def table_of(rows: Iterable[Block]) -> list[Sequence[str]]:
    """The blocks as lines of text: head, then block, found, missing, other shape, what it is at first."""
    lines = [
        (row.name, str(row.found), str(len(row.missing)), str(len(row.mismatched)), row.state)
        for row in sorted(rows, key=lambda row: (row.name != "stem", row.name))
    ]
    return [("block", "found", "missing", "other shape", "at first"), *lines]


def _block(name: str, shapes: Sequence[tuple[str, tuple[int, ...]]], weights: Mapping[str, np.ndarray]) -> Block:
    missing = tuple(path for path, _ in shapes if path not in weights)
    other = tuple(path for path, shape in shapes if path in weights and weights[path].shape != shape)
    gamma = weights.get(f"{name}_2_norm/gamma")
    closed = gamma is not None and not np.any(gamma)
    return Block(name, len(shapes) - len(missing) - len(other), missing, other, closed)


def _block_of(path: str) -> str:
    return "stem" if path.startswith("stem") else "_".join(path.split("_")[:2])
