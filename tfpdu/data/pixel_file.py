"""Pictures in a file: raw bytes, row after row, read and overwritten by row number.

A folder holds `pixels.u8` and `store.json`, which says what the file holds, with a hash for each block of rows. Rows
are read, not mapped into memory: a batch is all that a reader holds, and a file that somebody cut short is an error
that can be told, where a mapping would end the process.
"""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.common import files
from tfpdu.common.errors import UserError

FORMAT = 1
BLOCK_BYTES = 2**24  # what is hashed at a time, and has a hash of its own


def rows_in_block(shape: tuple[int, ...]) -> int:
    """How many pictures of (h, w, c) make a block."""
    return max(1, BLOCK_BYTES // max(1, int(np.prod(shape))))


@dataclasses.dataclass(frozen=True)
class PixelFile:
    """Pictures on disk, uint8[n, h, w, c]; light to keep, to copy and to send to another process.

    Attributes:
      folder: absolute.
      shape: (n, h, w, c).
    """

    folder: Path
    shape: tuple[int, int, int, int]

    @property
    def path(self) -> Path:
        """The file of pixels."""
        return self.folder / "pixels.u8"

    @property
    def row_bytes(self) -> int:
        """Bytes of a picture."""
        return int(np.prod(self.shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The pictures of rows int64[m], in 0..n-1 and in any order: uint8[m, h, w, c], new memory.

        Raises:
          UserError: the file is gone or cut short.
        """
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        if not out.size:
            return out
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)  # a stretch of successive rows is read at once
        ends = np.append(starts[1:], len(rows))
        size, pixels = self.row_bytes, memoryview(out.reshape(-1))
        try:
            with open(self.path, "rb", buffering=0) as file:
                for start, end, row in zip(starts.tolist(), ends.tolist(), rows[starts].tolist(), strict=True):
                    _read_into(file.fileno(), pixels[start * size : end * size], row * size)
        except (OSError, EOFError) as error:
            raise UserError(f"{self.path}: rows cannot be read ({_reason(error)})") from None
        return out

    def erase(self, rows: np.ndarray) -> None:
        """Overwrites rows with zeros, on disk when this returns, and renews the hashes of their blocks.

        Killed in between, the file fails its check: it is made anew, and `unsettled`.

        Raises:
          UserError: the file cannot be written.
        """
        rows = np.unique(np.asarray(rows, np.int64))
        if not len(rows):
            return
        try:
            with open(self.path, "rb+", buffering=0) as file:
                for row in rows.tolist():
                    write_all(file.fileno(), memoryview(bytes(self.row_bytes)), row * self.row_bytes)
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{self.path}: rows cannot be erased ({_reason(error)})") from None
        about = files.read_json(self.folder / "store.json")
        for block in np.unique(rows // rows_in_block(self.shape[1:])).tolist():
            about["blocks"][block] = self._block_hash(block)
        files.write_json(self.folder / "store.json", {**about, "stamp": self._stamp()})

    # ---- what store.json says ----------------------------------------------------------------

    def seal(self, source: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
        """Writes `store.json` beside finished pixels: with it the folder is a store."""
        about = {"format": FORMAT, "source": source, "shape": self.shape, "notes": notes, "unsettled": True}
        files.write_json(self.folder / "store.json", {**about, "blocks": list(self._hashes()), "stamp": self._stamp()})

    @property
    def unsettled(self) -> bool:
        """Whether `settle` was not called since the pixels came from their source."""
        return bool(files.read_json(self.folder / "store.json").get("unsettled"))

    def settle(self) -> None:
        """Notes that the file holds no row that its owner does not want."""
        about = files.read_json(self.folder / "store.json")
        files.write_json(self.folder / "store.json", {name: v for name, v in about.items() if name != "unsettled"})

    @classmethod
    def opened(cls, folder: str | os.PathLike[str]) -> tuple["PixelFile", dict[str, Any]]:
        """The file of a sealed folder, checked, and the notes it was sealed with.

        The check reads every pixel, unless size and time of change are those of the last check.

        Raises:
          UserError: the folder is no whole store of this format.
        """
        folder = Path(folder).absolute()
        about = files.read_json(folder / "store.json")
        try:
            if about["format"] != FORMAT:
                raise UserError(f"{folder}: a store of format {about['format']}, expected {FORMAT}")
            n, height, width, channels = about["shape"]
            store = cls(folder, (n, height, width, channels))
            if about["stamp"] != (stamp := store._stamp()):
                store._check(about["blocks"])
                with contextlib.suppress(OSError):  # a cache that may only be read is checked each time
                    files.write_json(folder / "store.json", {**about, "stamp": stamp})
            return store, about["notes"]
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{folder / 'store.json'}: does not describe a store of pictures") from None
        except OSError as error:
            raise UserError(f"{store.path}: cannot be read ({_reason(error)})") from None

    def _check(self, hashes: list[str]) -> None:
        expected = len(self) * self.row_bytes
        if self.path.stat().st_size != expected:
            raise UserError(f"{self.path}: {self.path.stat().st_size} bytes, expected {expected}")
        for block, found in enumerate(self._hashes()):
            if found != hashes[block]:
                raise UserError(f"{self.path}: rows from {block * rows_in_block(self.shape[1:])} on are damaged")

    def _hashes(self) -> Iterator[str]:
        return (self._block_hash(block) for block in range(-(-len(self) // rows_in_block(self.shape[1:]))))

    def _block_hash(self, block: int) -> str:
        size = rows_in_block(self.shape[1:])
        rows = np.arange(block * size, min((block + 1) * size, len(self)))
        return hashlib.blake2b(self.read(rows), digest_size=16).hexdigest()

    def _stamp(self) -> list[int]:
        about = self.path.stat()
        return [about.st_size, about.st_mtime_ns]


def write_all(handle: int, view: memoryview, offset: int) -> None:
    """Writes all bytes at an offset of an open file; raises `OSError`."""
    while view:
        count = os.pwrite(handle, view, offset)
        view, offset = view[count:], offset + count


def _read_into(handle: int, view: memoryview, offset: int) -> None:
    while view:
        count = os.preadv(handle, [view], offset)
        if not count:
            raise EOFError
        view, offset = view[count:], offset + count


def _reason(error: Exception) -> str:
    return "it is too short" if isinstance(error, EOFError) else (getattr(error, "strerror", None) or str(error))
