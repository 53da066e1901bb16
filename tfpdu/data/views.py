"""Training augmentation as a finite set of views: view j of a row is one fixed picture, for training and audit.

Nothing here depends on where a row stands or on which others are there: removing rows changes neither the order
nor the views of the rest.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.seeds import id_hashes, mix
from tfpdu.common.validation import non_negative, positive

MIDDLE_GREY = 128  # what a cut-out square holds; zero after normalisation (DeVries & Taylor 2017)


@dataclasses.dataclass(frozen=True)
class ViewPolicy:
    """Which views there are.

    Attributes:
      count: views a row, N.
      flip: half of the views are mirrored left to right.
      shift: pixels, at most, that a view is moved in either direction. What comes in at the border is the reflection
        of the picture (without the edge pixel twice), not black: a black bar would tell how far a view was moved, and
        shows no training picture's colours.
      cutout: side in pixels of a grey square around a random pixel, cut at the border; 0 = none.
    """

    count: int = 10
    flip: bool = True
    shift: int = 4
    cutout: int = 0

    def __post_init__(self) -> None:
        positive(count=self.count)
        non_negative(shift=self.shift, cutout=self.cutout)
        for name in ("count", "shift", "cutout"):
            if int(getattr(self, name)) != getattr(self, name):
                raise UserError(f"{name}: expected a whole number, got {getattr(self, name)}")


def row_keys(ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """uint64[n], one key a row. All functions here take keys in place of ids, which spares hashing texts again."""
    if isinstance(ids, np.ndarray) and ids.dtype == np.uint64:
        return ids
    return id_hashes(ids, "row")


def epoch_order(ids: Sequence[str] | np.ndarray, epoch: int, seed: int) -> np.ndarray:
    """The order of rows in an epoch, int64[n]: sorted by hash(seed, epoch, id)."""
    return np.argsort(mix(row_keys(ids), seed, "order", epoch), kind="stable")


def training_views(ids: Sequence[str] | np.ndarray, epoch: int, policy: ViewPolicy, seed: int) -> np.ndarray:
    """The view of each row in an epoch, int64[n] in 0..count-1: hash(seed, epoch, id) mod count."""
    return (mix(row_keys(ids), seed, "view", epoch) % np.uint64(policy.count)).astype(np.int64)


def render(
    images: np.ndarray, ids: Sequence[str] | np.ndarray, view: np.ndarray, policy: ViewPolicy, seed: int
) -> np.ndarray:
    """The views of a batch.

    Args:
      images: uint8[b, h, w, c], or another type; pixels are moved and never blended.
      ids: strings [b], or uint64[b] of `row_keys`.
      view: int[b], which view of each row, from 0; or one number for all.
      policy: what views are.
      seed: the run's seed.

    Returns:
      As the images, in new memory; image i depends on (images[i], ids[i], view[i], policy, seed) alone.

    Raises:
      UserError: the shift is not smaller than the picture.
    """
    b, height, width, channels = images.shape
    if policy.shift >= min(height, width):
        raise UserError(f"config.views.shift: {policy.shift} pixels, the pictures have {height} x {width}")
    draws = _draws(row_keys(ids), view, seed)
    out = images.copy()
    if policy.shift or policy.flip:
        rows, columns = _sources(draws, height, width, policy)
        whole = f"V{channels * images.itemsize}"  # all channels of a pixel at once
        pixels = np.ascontiguousarray(images).reshape(b * height * width, channels).view(whole)[:, 0]
        base = np.arange(b)[:, None] * (height * width)
        index = (base + rows * width)[:, :, None] + columns[:, None, :]  # [b, h, w]
        pixels.take(index, out=out.view(whole)[..., 0], mode="clip")
    if policy.cutout:
        out[_holes(draws, height, width, policy.cutout)] = MIDDLE_GREY
    return out


def _draws(keys: np.ndarray, view: np.ndarray, seed: int) -> np.ndarray:
    """uint64[b]: the random bits of a view. Twelve for each of flip, shift and cut-out."""
    with np.errstate(over="ignore"):
        step = (np.asarray(view).astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        return mix(mix(keys, seed, "views") + step, "transform")


def _uniform(draws: np.ndarray, field: int, n: int) -> np.ndarray:
    """int64[b] in 0..n-1 from the field-th twelve bits."""
    bits = (draws >> np.uint64(12 * field)) & np.uint64(0xFFF)
    return ((bits * np.uint64(n)) >> np.uint64(12)).astype(np.int64)


def _sources(draws: np.ndarray, height: int, width: int, policy: ViewPolicy) -> tuple[np.ndarray, np.ndarray]:
    """From which row and column each pixel comes: int64[b, h], int64[b, w]."""
    reach = 2 * policy.shift + 1
    down, right = (_uniform(draws, field, reach)[:, None] - policy.shift for field in (1, 2))
    rows = _reflected(np.arange(height) + down, height)
    columns = _reflected(np.arange(width) + right, width)
    if policy.flip:
        mirrored = _uniform(draws, 0, 2)[:, None] == 1
        columns = np.where(mirrored, columns[:, ::-1], columns)
    return rows, columns


def _reflected(position: np.ndarray, size: int) -> np.ndarray:
    return (size - 1) - np.abs((size - 1) - np.abs(position))


def _holes(draws: np.ndarray, height: int, width: int, side: int) -> np.ndarray:
    """bool[b, h, w]: the cut-out square."""
    top = _uniform(draws, 3, height) - side // 2
    left = _uniform(draws, 4, width) - side // 2
    in_rows = (np.arange(height) >= top[:, None]) & (np.arange(height) < top[:, None] + side)
    in_columns = (np.arange(width) >= left[:, None]) & (np.arange(width) < left[:, None] + side)
    return in_rows[:, :, None] & in_columns[:, None, :]
