"""Pictures that are not in memory: an array of them to look at, which reads the rows that are asked for."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.data.pixel_file import PixelFile, rows_in_block

WHOLE_BYTES = 2**28  # the most that becomes an array without being asked for by an index


class ImageStore:
    """Read-only pictures uint8[n, h, w, c]: rows of files, and rows of arrays that were joined to them.

    Indexing reads the rows it names, and no others, into a new array. `take` and `joined` only choose: no pixel is
    read. `numpy.asarray` gives a small store as an array and refuses a large one, so that nothing reads a whole data
    set by accident; `store[:]` does it on purpose. Stores can be pickled; files must be there where they are unpickled.

    Args:
      sources: where pictures are, all of one (h, w, c).
      rows: int64[n], row numbers, counted through all sources one after the other; by default all.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, sources: Sequence[PixelFile | np.ndarray], rows: np.ndarray | None = None):
        self.sources = tuple(sources)
        self._starts = np.cumsum([0, *map(len, self.sources)])  # [s + 1]
        self._rows = np.arange(self._starts[-1]) if rows is None else np.asarray(rows, np.int64)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, h, w, c)."""
        _, height, width, channels = self.sources[0].shape
        return len(self._rows), height, width, channels

    @property
    def nbytes(self) -> int:
        """Bytes of all pictures."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"ImageStore(uint8{list(self.shape)})"

    def __getitem__(self, index: Any) -> np.ndarray:
        """As `array[index]` of an array with these pictures; always new memory."""
        first, *rest = index if isinstance(index, tuple) else (index,)
        rows = self._rows[first]
        images = self._read(np.ravel(rows)).reshape(*np.shape(rows), *self.shape[1:])
        return images[(*[slice(None)] * np.ndim(rows), *rest)] if rest else images

    def __iter__(self) -> Iterator[np.ndarray]:
        """Picture after picture, uint8[h, w, c], read in blocks."""
        size = rows_in_block(self.shape[1:])
        for start in range(0, len(self), size):
            yield from self[start : start + size]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.nbytes > WHOLE_BYTES:
            raise UserError(
                f"pictures: {self.nbytes / 1e9:.2f} GB on disk would all be read into memory, at most"
                f" {WHOLE_BYTES / 1e9:.2f} are; take fewer rows, or raise --config.data.in_memory_gb"
            )
        return self[:].astype(dtype or np.uint8, copy=False)

    def take(self, rows: np.ndarray) -> "ImageStore | np.ndarray":
        """Rows int[m] or bool[n], in that order, without reading them; a plain array once no row is in a file."""
        chosen = self._rows[np.asarray(rows)]
        used = np.unique(self._source(chosen))
        if not any(isinstance(self.sources[s], PixelFile) for s in used):
            return self._read(chosen)
        if len(used) == len(self.sources):
            return ImageStore(self.sources, chosen)
        # An array that no row is in any more must not be kept in memory.
        kept = ImageStore([self.sources[s] for s in used])
        moved = np.zeros(len(self.sources), np.int64)
        moved[used] = kept._starts[:-1] - self._starts[:-1][used]
        return ImageStore(kept.sources, chosen + moved[self._source(chosen)])

    def lies_in(self, owner: str | os.PathLike[str]) -> bool:
        """Whether all files are inside a directory, so that they are its run's to erase rows from."""
        held = [source for source in self.sources if isinstance(source, PixelFile)]
        return all(file.folder.resolve().is_relative_to(Path(owner).resolve()) for file in held)

    def erase(self, rows: np.ndarray, owner: str | os.PathLike[str]) -> None:
        """Overwrites the pixels of rows int[m] with zeros, in their files; every store of these files then reads zeros.

        On a file system that copies on write, or a disk that moves blocks about, old bytes may outlive this.

        Args:
          rows: row numbers here; those in memory are left alone.
          owner: the run directory that the files must lie in. A cache outside belongs to no run: it holds a data set
            as it is published, and other runs read it.

        Raises:
          UserError: a file lies outside `owner`, or cannot be written; in the first case nothing was changed.
        """
        chosen, home = self._rows[np.asarray(rows)], Path(owner).resolve()
        source = self._source(chosen)
        touched = [(s, self.sources[s]) for s in np.unique(source).tolist()]
        held = [(s, file) for s, file in touched if isinstance(file, PixelFile)]
        for _, file in held:
            if not file.folder.resolve().is_relative_to(home):
                raise UserError(f"{file.folder}: is not inside {owner}, so it is not this run's to erase rows from")
        for s, file in held:
            file.erase(chosen[source == s] - self._starts[s])

    def settle(self, unwanted: np.ndarray, owner: str | os.PathLike[str]) -> None:
        """Erases rows bool[n] once from stores that were made, perhaps anew, since the last call.

        A store that was lost or damaged is made again from its source, with rows that its run had erased. Killed in
        between, the next call does it. Stores outside the run directory `owner` are left alone.

        Raises:
          UserError: a file cannot be written.
        """
        held = [source for source in self.sources if isinstance(source, PixelFile)]
        if self.lies_in(owner) and any(file.unsettled for file in held):
            self.erase(np.flatnonzero(unwanted), owner)
            for file in held:
                file.settle()

    def _source(self, rows: np.ndarray) -> np.ndarray:
        """int64: which source each row number is in."""
        return np.searchsorted(self._starts, rows, side="right") - 1

    def _read(self, rows: np.ndarray) -> np.ndarray:
        if len(self.sources) == 1:
            return _read(self.sources[0], rows)
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        source = self._source(rows)
        for s in np.unique(source).tolist():
            here = source == s
            out[here] = _read(self.sources[s], rows[here] - self._starts[s])
        return out


Images: TypeAlias = np.ndarray | ImageStore


def pick(images: Images, rows: np.ndarray) -> Images:
    """The pictures of rows int[m] or bool[n]: a copy of an array's, a choice of a store's."""
    return images.take(rows) if isinstance(images, ImageStore) else images[rows]


def stretch(images: Images, start: int, stop: int) -> Images:
    """Rows start..stop-1, or up to the end: a view of an array, a choice of a store's."""
    if not isinstance(images, ImageStore):
        return images[start:stop]
    return images.take(np.arange(start, min(stop, len(images))))


def joined(parts: Sequence[Images]) -> Images:
    """The pictures of all parts, one after the other; a store, without reading, where one of them is a store."""
    if not any(isinstance(part, ImageStore) for part in parts):
        return np.concatenate(parts)
    stores = [part if isinstance(part, ImageStore) else ImageStore([part]) for part in parts]
    sources: list[PixelFile | np.ndarray] = []
    for store in stores:
        sources += [source for source in store.sources if _place(source, sources) is None]
    whole = ImageStore(sources)
    rows = []
    for store in stores:
        places = [_place(source, sources) for source in store.sources]
        moved = whole._starts[places] - store._starts[:-1]
        rows.append(store._rows + moved[store._source(store._rows)])
    return ImageStore(sources, np.concatenate(rows))


def _place(source: PixelFile | np.ndarray, sources: Sequence[PixelFile | np.ndarray]) -> int | None:
    """Where a source is among others: the same array, or the same file."""
    for place, other in enumerate(sources):
        if source is other or (isinstance(source, PixelFile) and isinstance(other, PixelFile) and source == other):
            return place
    return None


def _read(source: PixelFile | np.ndarray, rows: np.ndarray) -> np.ndarray:
    return source.read(rows) if isinstance(source, PixelFile) else source[rows]
