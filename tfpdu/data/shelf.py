"""Where a data set's pictures go while it is loaded: into memory, or, if they are too many, once into a store on disk.

A store is keyed by its source (name, version, size of the pictures, the files it was made of) and made whole or not
at all: it is written beside, and renamed when it is finished. What a killed process left is thrown away and made anew.
It holds pixels and nothing else: ids, labels, attributes and subjects are read from the source each time.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.interrupt import safe_point
from tfpdu.common.progress import Progress, say
from tfpdu.common.validation import non_negative
from tfpdu.data.pixel_file import PixelFile, write_all
from tfpdu.data.storage import Images, ImageStore

GB = 2**30
T = TypeVar("T")


def default_cache() -> Path:
    """TFPDU_CACHE, or else ~/.cache/tfpdu."""
    return Path(os.environ.get("TFPDU_CACHE") or "~/.cache/tfpdu").expanduser()


class Filling:
    """Takes the pictures of a data set while they are read.

    Attributes:
      wanted: False where they are on disk already: then nothing is to be put.
      notes: JSON-ready; what was found out while reading pictures, kept with them.
    """

    def __init__(self, shape: tuple[int, int, int, int], title: str, target: np.ndarray | int | None, folder: Path):
        self.wanted, self.notes = target is not None, dict[str, Any]()
        self._shape, self._target, self._next, self._folder = shape, target, 0, folder
        self._progress = Progress(title, shape[0], "pictures") if isinstance(target, int) else None

    def put(self, row: int, images: np.ndarray) -> None:
        """Pictures uint8[b, h, w, c] of the rows from `row` on. Threads may put different rows at once."""
        if images.dtype != np.uint8 or images.shape[1:] != self._shape[1:] or row + len(images) > self._shape[0]:
            raise ValueError(f"{images.dtype}{list(images.shape)} from row {row} on, expected uint8{list(self._shape)}")
        if isinstance(self._target, int):
            size = int(np.prod(self._shape[1:]))
            with _errors_named(self._folder, size * self._shape[0]):
                write_all(self._target, memoryview(np.ascontiguousarray(images).reshape(-1)), row * size)
        elif self._target is not None:
            self._target[row : row + len(images)] = images

    def append(self, images: np.ndarray) -> None:
        """Pictures of the next rows; a safe point for a stop."""
        self.put(self._next, images)
        self._next += len(images)
        if self._progress is not None:
            self._progress.advance(len(images))
            safe_point()


@dataclasses.dataclass(frozen=True)
class Shelf:
    """Says which data sets stay in memory, and where the others are kept.

    Attributes:
      folder: of the stores; made at need.
      in_memory_gb: pictures of up to so many GB (2^30 bytes) are held in memory; 0 = none are.
    """

    folder: Path = dataclasses.field(default_factory=default_cache)
    in_memory_gb: float = 4.0

    def __post_init__(self) -> None:
        non_negative(**{"config.data.in_memory_gb": self.in_memory_gb})

    def fill(
        self, source: Mapping[str, Any], shape: tuple[int, int, int, int], read: Callable[[Filling], T]
    ) -> tuple[Images, T]:
        """The pictures of a data set, and what `read` says of it.

        Args:
          source: JSON-ready, with a `name`; all that the pictures depend on.
          shape: (n, h, w, c).
          read: reads the source and puts its pictures into the filling, where they are wanted.

        Returns:
          An array, or a store if the pictures are too many; and the result of `read`.

        Raises:
          UserError: the folder cannot be written, or the disk is full.
          StopRequested: a signal came; nothing is left of a store that was not finished.
        """
        title, size = str(source["name"]), int(np.prod(shape))
        if size <= self.in_memory_gb * GB:
            images = np.zeros(shape, np.uint8)
            return images, read(Filling(shape, title, images, self.folder))
        folder = self.folder.absolute() / f"{title}-{_digest(source)}"
        with self._held(folder, size):
            store = _finished(folder)
            if store is None:
                say(f"{title}: {size / GB:.2f} GB of pictures go to {folder}")
                result = _make(folder, source, shape, read)
                return ImageStore([PixelFile.opened(folder)[0]]), result
        filling = Filling(shape, title, None, self.folder)
        filling.notes |= store[1]
        return ImageStore([store[0]]), read(filling)

    @contextlib.contextmanager
    def _held(self, folder: Path, size: int) -> Iterator[None]:
        """One process makes a store; others wait for it."""
        if (folder / "store.json").exists() and not os.access(self.folder, os.W_OK):
            yield  # a cache that may only be read
            return
        with _errors_named(self.folder, size):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = open(folder.with_name(f"{folder.name}.lock"), "a")  # noqa: SIM115
        with handle:
            if not _locked(handle):
                say(f"{folder}: waiting for another process, which is working on it")
                while not _locked(handle):
                    safe_point()
                    time.sleep(0.2)
            yield


def _locked(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _finished(folder: Path) -> tuple[PixelFile, dict[str, Any]] | None:
    """The store in a folder with its notes; None where there is none, or a damaged one, which is thrown away."""
    if not folder.exists():
        return None
    try:
        return PixelFile.opened(folder)
    except UserError as error:
        say(f"{error}; making it anew")
        shutil.rmtree(folder)
        return None


def _make(folder: Path, source: Mapping[str, Any], shape: tuple[int, int, int, int], read: Callable[[Filling], T]) -> T:
    """Reads the source into a folder beside, and renames it."""
    partial, size = folder.with_name(f"{folder.name}.partial"), int(np.prod(shape))
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process: this one holds the lock
    try:
        with _errors_named(folder.parent, size):
            _require_room(folder.parent, size)
            partial.mkdir()
            file = PixelFile(partial, shape)
            handle = os.open(file.path, os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            filling = Filling(shape, str(source["name"]), handle, folder.parent)
            result = read(filling)  # its errors are the source's
            with _errors_named(folder.parent, size):
                os.truncate(handle, size)  # rows that were not put, at the end, are zeros
                os.fsync(handle)
        finally:
            os.close(handle)
        with _errors_named(folder.parent, size):
            file.seal(source, filling.notes)
            os.rename(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return result


def _digest(source: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:16]


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def _errors_named(folder: Path, size: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem = f"the disk is full, {size / GB:.2f} GB are needed"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            problem = "may not be written"
        elif error.errno in (errno.EEXIST, errno.ENOTDIR):
            problem = "is a file, expected a directory"
        else:
            raise
        raise UserError(f"config.data.cache={folder}: {problem}") from None
