"""Training batches that depend on (seed, step) and on the rows' ids alone: there is no iterator to save."""

import dataclasses

import numpy as np

from tfpdu.common.seeds import hashed_order, rng
from tfpdu.data.records import UNKNOWN, Records
from tfpdu.diffusion.preconditioning import draw_sigmas
from tfpdu.diffusion.settings import GeneratorSettings


@dataclasses.dataclass(frozen=True)
class Batch:
    """One step's input.

    images uint8[b, h, w, c], noise float32[b, h, w, c], sigma float32[b], labels int32[b], attributes int32[b, j].
    """

    images: np.ndarray
    noise: np.ndarray
    sigma: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray

    def tensors(self) -> tuple[np.ndarray, ...]:
        """The arrays in the order in which a loss takes them."""
        return self.images, self.noise, self.sigma, self.labels, self.attributes


class Batches:
    """The batches of a training run.

    Every epoch goes through all rows once, in the order of hash(seed, epoch, id); batches run across epoch borders.

    Args:
      records: training rows.
      settings: batch size, noise law, dropout of conditions, flips, least cell.
      seed: of the run.
    """

    def __init__(self, records: Records, settings: GeneratorSettings, seed: int):
        self._settings, self._seed = settings, seed
        self._images, self._ids = records.images, records.ids
        self._labels = records.labels.astype(np.int32)
        self.conditions, self.merged_cells = merge_small_cells(records, settings.min_cell)
        self._orders: dict[int, np.ndarray] = {}

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        rows = self._rows(step)
        draw = rng("generator", self._seed, "step", step)
        return noised(self._images[rows], self._labels[rows], self.conditions[rows], self._settings, draw)

    def _rows(self, step: int) -> np.ndarray:
        size, n = self._settings.batch, len(self._ids)
        places = np.arange(step * size, (step + 1) * size)
        rows = np.empty(size, np.int64)
        for epoch in np.unique(places // n):
            here = places // n == epoch
            rows[here] = self._order(int(epoch))[places[here] % n]
        return rows

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            self._orders = {k: v for k, v in self._orders.items() if k == epoch - 1}
            self._orders[epoch] = hashed_order(self._ids, "generator", self._seed, "epoch", epoch)
        return self._orders[epoch]


def noised(
    images: np.ndarray,
    labels: np.ndarray,
    attributes: np.ndarray,
    settings: GeneratorSettings,
    draw: np.random.Generator,
) -> Batch:
    """A batch of these rows: flips, hidden conditions, noise levels and noise come from `draw`, in this order.

    Args:
      images: uint8[b, h, w, c]; overwritten where they are flipped.
      labels: int32[b]; attributes: int32[b, j].
      settings: flip, dropout of conditions, law of noise levels.
      draw: the noise levels of the b rows are drawn together, see `draw_sigmas`.
    """
    s = settings
    if s.flip:
        mirrored = draw.random(len(images)) < 0.5
        images[mirrored] = images[mirrored, :, ::-1]
    # Parts of the condition become 'unknown': each apart, and all together.
    hidden = draw.random((len(labels), 1 + attributes.shape[1])) < s.drop_each
    hidden |= draw.random((len(labels), 1)) < s.drop_all
    labels, attributes = np.where(hidden[:, 0], UNKNOWN, labels), np.where(hidden[:, 1:], UNKNOWN, attributes)
    sigma = draw_sigmas(draw, len(images), s.p_mean, s.p_std)
    noise = draw.standard_normal(images.shape, dtype=np.float32)
    return Batch(images, noise, sigma, labels, attributes)


def merge_small_cells(records: Records, least: int) -> tuple[np.ndarray, list[dict[str, object]]]:
    """Attributes to train with: those of rows in cells with fewer than `least` rows become unknown.

    A cell is a combination of class and all attributes.

    Returns:
      (attributes int32[n, j], the merged cells as {"label", "attributes", "rows"}).
    """
    attributes = records.attributes.astype(np.int32)
    if not attributes.shape[1]:
        return attributes, []
    table = np.column_stack([records.labels.astype(np.int32), attributes])
    cells, of_row, counts = np.unique(table, axis=0, return_inverse=True, return_counts=True)
    small = (counts < least) & (cells[:, 1:] != UNKNOWN).any(axis=1)
    attributes[small[of_row.ravel()]] = UNKNOWN
    merged: list[dict[str, object]] = [
        {"label": int(cell[0]), "attributes": cell[1:].tolist(), "rows": int(count)}
        for cell, count in zip(cells[small], counts[small], strict=True)
    ]
    return attributes, merged
