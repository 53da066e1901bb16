"""Files that are either wholly there or not: written beside, fsynced, renamed."""

import contextlib
import hashlib
import io
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.common.errors import StopRequested, UserError

TEMPORARY = ".tmp-"  # begins the name of a file that is being written
HASH_BYTES = 2**24  # of an array that are hashed at a time


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], mode: int = 0o666) -> Iterator[Path]:
    """Yields a temporary sibling to write to; renames it over `path` if the block ends well.

    The sibling keeps the suffixes of `path`, since Keras and NumPy choose a format by them. `mode` is narrowed by the
    process's umask.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes)
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, mode & ~umask())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_text(path: str | os.PathLike[str], text: str, mode: int = 0o666) -> None:
    """Writes UTF-8 text atomically."""
    with replacing(path, mode) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes bytes atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_private(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes bytes atomically to a file that only its owner may read (mode 0600).

    For files that are written without holding the run directory: a job that starts there clears the temporary files
    of `replacing`. The caller holds some other lock, since the temporary sibling `<name>.new` is always the same.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        try:
            write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_all(handle: int, data: bytes) -> None:
    """Writes all bytes to an open file; the system may take them in several parts."""
    while data:
        data = data[os.write(handle, data) :]


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes JSON atomically: keys in the order given, NumPy numbers as numbers, NaN and infinity as null."""
    write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads JSON; a file that is missing or broken is the user's error, named."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:  # bad JSON or bad UTF-8
        raise UserError(f"{path}: not valid JSON ({error})") from None


def secret(path: str | os.PathLike[str]) -> str:
    """The secret kept in a file that only its owner can read: the one that is there, or else a new random one.

    A new one, 32 hex digits of the system's randomness, is on disk before it is returned.

    Raises:
      UserError: the file is there and empty.
    """
    path = Path(path)
    if not path.exists():
        write_text(path, secrets.token_hex(16), 0o600)
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        raise UserError(f"{path}: it is empty; a secret was expected")
    return text


def write_npz(path: str | os.PathLike[str], mode: int = 0o666, **arrays: np.ndarray) -> None:
    """Writes a compressed .npz atomically, with fixed bytes for fixed arrays (NumPy stamps no time)."""
    with replacing(path, mode) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads an .npz without unpickling anything; a missing or broken file is the user's error."""
    with reading_npz(path) as file:
        return {key: file[key] for key in file.files}


@contextlib.contextmanager
def reading_npz(path: str | os.PathLike[str]) -> Iterator[Any]:
    """NumPy's open .npz, for who does not need all of it; a missing or broken file is the user's error."""
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (UserError, StopRequested):
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds for a damaged file
        raise UserError(f"{path}: not a readable .npz file ({error})") from None


def save_weights(model: Any, path: str | os.PathLike[str]) -> None:
    """Saves a Keras model's `.weights.h5` atomically."""
    with replacing(path) as temporary:
        model.save_weights(temporary, overwrite=True)


def append_json_line(path: str | os.PathLike[str], value: Any) -> None:
    """Appends one JSON object as a line, fsynced; first drops a torn last line that a killed process left."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as file:
        size = file.seek(0, io.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(plain(value), ensure_ascii=False, allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_json_lines(path: str | os.PathLike[str]) -> list[Any]:
    """Reads all whole lines; a missing file is an empty list, a torn last line is left out.

    Raises:
      UserError: a whole line is not valid JSON; the line is named.
    """
    path = Path(path)
    if not path.exists():
        return []
    text = path.read_bytes()
    values = []
    for number, line in enumerate(text[: text.rfind(b"\n") + 1].split(b"\n"), 1):
        try:
            values += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            raise UserError(f"{path}: line {number}: not valid JSON ({error})") from None
    return values


def array_hash(*arrays: Any) -> str:
    """SHA-256 over dtype, shape and bytes of the arrays, as 64 hex digits.

    What has `dtype`, `shape` and slices but is no array, such as pictures on disk, is read in blocks.
    """
    digest = hashlib.sha256()
    for array in arrays:
        if isinstance(array, np.ndarray | np.generic) or not isinstance(getattr(array, "dtype", None), np.dtype):
            array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        if array.dtype.kind == "O":
            digest.update(repr(array.tolist()).encode())
            continue
        rows = max(1, HASH_BYTES // max(1, array.dtype.itemsize * int(np.prod(array.shape[1:]))))
        for start in range(0, len(array), rows):
            digest.update(np.ascontiguousarray(array[start : start + rows]).tobytes())
    return digest.hexdigest()


def weights_hash(model: Any) -> str:
    """SHA-256 over all variables of a Keras model, in order."""
    return array_hash(*[np.asarray(value) for value in model.get_weights()])


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(value: Any) -> Any:
    """A JSON-ready copy: NumPy scalars and arrays as numbers and lists, non-finite floats as None."""
    converters: list[tuple[Any, Callable[[Any], Any]]] = [
        (dict, lambda v: {str(key): plain(item) for key, item in v.items()}),
        ((list, tuple, np.ndarray), lambda v: [plain(item) for item in v]),
        ((bool, np.bool_), bool),
        ((int, np.integer), int),
        ((float, np.floating), lambda v: float(v) if np.isfinite(v) else None),
        (os.PathLike, str),
    ]
    for kinds, convert in converters:
        if isinstance(value, kinds):
            return convert(value)
    return value


def umask() -> int:
    """The permissions that new files lack."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_directory(path: Path) -> None:
    """Makes names that were added to, renamed in or removed from a directory outlive a power cut."""
    with contextlib.suppress(OSError):  # some file systems cannot fsync a directory
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
