"""Poisson-sampled batches for private training: what happens to a row depends on its own id alone.

Whether a row is drawn at a step, and its noise, noise level, flip and hidden conditions, are keyed by (key, step, id).
So adding or removing a row changes nothing for any other, which is what the accounting of `tfpdu.diffusion.private`
takes for granted; batches of a fixed size, epochs and noise levels stratified over a batch would all break it.
"""

import dataclasses
from typing import Any

import numpy as np

from tfpdu.common.seeds import id_hashes, mix
from tfpdu.data.records import UNKNOWN, Records
from tfpdu.diffusion.batches import Batch, noised
from tfpdu.diffusion.private import Privacy
from tfpdu.diffusion.settings import GeneratorSettings


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Rows whose gradients are computed at once, always equally many.

    copies: a `Batch` whose arrays have two leading axes, [rows, multiplicity, ...]; present: float32[rows], 1 for a row
    of the batch and 0 for filling.
    """

    copies: Batch
    present: np.ndarray


@dataclasses.dataclass(frozen=True)
class PoissonBatch:
    """One step's rows (int64[m], into the table; m may be 0), in chunks, and the key of the step's noise."""

    rows: np.ndarray
    chunks: tuple[Chunk, ...]
    key: tuple[Any, ...]


def chosen(hashes: np.ndarray, rate: float, step: int) -> np.ndarray:
    """The rows of a step, int64[m]: each with probability `rate`, by its own hash (uint64[n]) alone.

    They come in the order of their draws, so that sums over them do not depend on the order of the table.
    """
    draws = mix(hashes, "chosen", step)
    if rate >= 1:
        return np.argsort(draws)
    rows = np.flatnonzero(draws < np.uint64(min(rate * 2.0**64, 2.0**64 - 2048)))
    return rows[np.argsort(draws[rows])]


class PoissonBatches:
    """The batches of a private training run.

    Args:
      records: training rows. Their attributes are conditions as they are: cells are not merged by their counts.
      settings: noise law, dropout of conditions, flips, multiplicity, chunk.
      privacy: gives the sampling rate.
      key: of the sampling and the noise; whoever knows it can take the noise off.
    """

    def __init__(self, records: Records, settings: GeneratorSettings, privacy: Privacy, key: str):
        self.privacy = privacy
        self.conditions, self.merged_cells = records.attributes.astype(np.int32), list[dict[str, object]]()
        self._settings, self._key = settings, key
        self._images, self._labels = records.images, records.labels.astype(np.int32)
        self._hashes = id_hashes(records.ids, "private", key)

    def at(self, step: int) -> PoissonBatch:
        """The batch of a step, counted from 0."""
        rows = chosen(self._hashes, self.privacy.sampling_rate, step)
        seeds = mix(self._hashes, "row", step)
        size = self._settings.private.chunk
        chunks = [self._chunk(rows[start : start + size], seeds) for start in range(0, len(rows), size)]
        return PoissonBatch(rows, tuple(chunks), ("private noise", self._key, step))

    def _chunk(self, rows: np.ndarray, seeds: np.ndarray) -> Chunk:
        private = self._settings.private
        copies = [self._copies(int(row), int(seeds[row])) for row in rows]
        gap = private.chunk - len(rows)
        columns = {}
        for field in dataclasses.fields(Batch):
            column = np.stack([getattr(copy, field.name) for copy in copies])  # (rows, multiplicity, ...)
            filling = UNKNOWN if field.name in ("labels", "attributes") else 1
            columns[field.name] = np.pad(column, [(0, gap)] + [(0, 0)] * (column.ndim - 1), constant_values=filling)
        return Chunk(Batch(**columns), (np.arange(private.chunk) < len(rows)).astype(np.float32))

    def _copies(self, row: int, seed: int) -> Batch:
        times = self._settings.private.multiplicity
        columns = (self._images[row], self._labels[row], self.conditions[row])
        images, labels, attributes = (np.repeat(column[None], times, axis=0) for column in columns)
        return noised(images, labels, attributes, self._settings, np.random.default_rng(seed))
