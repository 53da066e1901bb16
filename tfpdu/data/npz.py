"""One's own arrays, from a single .npz file."""

import os
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from tfpdu.common import files
from tfpdu.common.errors import UserError
from tfpdu.common.validation import one_of
from tfpdu.data.attributes import as_int8, categories
from tfpdu.data.pictures import checked_size, resize
from tfpdu.data.pixel_file import BLOCK_BYTES
from tfpdu.data.records import UNKNOWN, AttributeSpec, Records
from tfpdu.data.shelf import Filling, Shelf
from tfpdu.data.storage import Images


def load_npz(
    directory: str = "", image_size: int = 0, attributes: Sequence[str] = (), shelf: Shelf | None = None
) -> Records:
    """The rows of an .npz file.

    Its arrays: `images` uint8[n, h, w, c] or [n, h, w] with c 1 or 3; `labels` whole numbers [n] from 0; and, if
    wished, `names` strings [C] of the classes, `ids` unique strings [n], `subjects` strings [n] (empty = unknown),
    `attributes` [n, j], texts (empty = unknown) or codes from 0 (-1 = unknown), with `attribute_names` strings [j].

    Args:
      directory: the .npz file.
      image_size: pixels a side; 0 keeps the file's.
      attributes: which of the file's attributes to take; empty = all.
      shelf: where too many pictures go.

    Raises:
      UserError: an array is missing or has another type or shape, or a row is at fault; the row is named.
    """
    if not directory:
        raise UserError("config.data.directory: npz needs the path of an .npz file")
    with files.reading_npz(directory) as archive:
        for key in ("images", "labels"):
            if key not in archive.files:
                raise UserError(f"{directory}: holds no array {key!r}; it has {', '.join(sorted(archive.files))}")
        arrays = {key: archive[key] for key in archive.files if key != "images"}
        images = _images(directory, archive, image_size, shelf or Shelf())
    n = len(images)
    for key in ("labels", "attributes", "ids", "subjects"):
        if key in arrays and (arrays[key].ndim < 1 or len(arrays[key]) != n):
            raise UserError(f"{directory}: {key} has shape {list(arrays[key].shape)}, expected {n} rows as in images")
    names = _label_names(directory, arrays)
    specs, codes = _attributes(directory, arrays, n, attributes)
    return Records(
        images=images,
        labels=_labels(directory, arrays["labels"], len(names)),
        attributes=codes,
        ids=_strings(directory, arrays, "ids") if "ids" in arrays else np.array([f"npz/{row:06d}" for row in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=specs,
        label_names=names,
        subjects=_strings(directory, arrays, "subjects") if "subjects" in arrays else None,
    )


def _images(path: str, archive: Any, image_size: int, shelf: Shelf) -> Images:
    """The pictures, read from the file in blocks."""
    with archive.zip.open("images.npy") as member:
        shape, column_major, dtype = _header(member)
        if dtype != np.uint8:
            problem = "" if dtype.kind != "f" or column_major else _not_finite(member, shape, dtype)
            raise UserError(f"{path}: images{problem or f' are {dtype}, expected uint8 from 0 to 255'}")
        if len(shape) == 3:
            shape = (*shape, 1)
        if len(shape) != 4 or shape[-1] not in (1, 3) or 0 in shape:
            raise UserError(f"{path}: images have shape {list(shape)}, expected [n, h, w, 1 or 3]")

        def read(pictures: Filling) -> None:
            if not pictures.wanted:
                return
            for block in [archive["images"].reshape(shape)] if column_major else _blocks(member, shape, dtype):
                pictures.append(resize(block, image_size))

        side, about = checked_size(image_size), os.stat(path)
        stored = (shape[0], side or shape[1], side or shape[2], shape[3])
        file = {"file": os.path.realpath(path), "bytes": about.st_size, "changed": about.st_mtime_ns}
        return shelf.fill({"name": "npz", **file, "shape": stored}, stored, read)[0]


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and dtype of an array whose file stands at its beginning."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(member)
    if version not in read:
        raise ValueError(f"array format {version}")
    shape, column_major, dtype = read[version](member)
    if dtype.hasobject:
        raise ValueError("images are Python objects")
    return shape, column_major, dtype


def _blocks(member: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> Iterator[np.ndarray]:
    """The array that follows a header, a few rows at a time."""
    size = dtype.itemsize * int(np.prod(shape[1:]))
    step = max(1, BLOCK_BYTES // max(1, size))
    for start in range(0, shape[0], step):
        rows = min(step, shape[0] - start)
        content = member.read(rows * size)
        if len(content) < rows * size:
            raise ValueError("the array of images is cut short")
        yield np.frombuffer(content, dtype).reshape(rows, *shape[1:])


def _not_finite(member: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> str:
    """Names the first row of floating-point pictures with NaN or infinity, if there is one."""
    start = 0
    for block in _blocks(member, shape, dtype) if len(shape) > 1 else ():
        finite = np.isfinite(block.reshape(len(block), -1)).all(1)
        if not finite.all():
            return f", row {start + int(np.argmin(finite))}: holds NaN or infinity"
        start += len(block)
    return ""


def _labels(path: str, labels: np.ndarray, classes: int) -> np.ndarray:
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise UserError(
            f"{path}: labels, row {wrong[0]}: {labels[wrong[0]]}, expected a number from 0 to {classes - 1}"
        )
    return labels.astype(np.int32)


def _label_names(path: str, arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    labels = arrays["labels"]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"{path}: labels are {labels.dtype}{list(labels.shape)}, expected whole numbers [n]")
    if "names" in arrays:
        return tuple(_strings(path, arrays, "names").tolist())
    return tuple(str(label) for label in range(int(labels.max()) + 1))


def _strings(path: str, arrays: dict[str, np.ndarray], key: str) -> np.ndarray:
    if arrays[key].ndim != 1 or arrays[key].dtype.kind not in "USiu":
        raise UserError(f"{path}: {key} is {arrays[key].dtype}{list(arrays[key].shape)}, expected strings [n]")
    return arrays[key].astype(str)


def _attributes(
    path: str, arrays: dict[str, np.ndarray], n: int, wanted: Sequence[str]
) -> tuple[tuple[AttributeSpec, ...], np.ndarray]:
    """The specs and the int8[n, j] codes of the wanted attributes."""
    table = arrays.get("attributes", np.zeros((n, 0), np.int8))
    if table.ndim != 2 or table.dtype.kind not in "USiub":
        raise UserError(f"{path}: attributes are {table.dtype}{list(table.shape)}, expected texts or codes [n, j]")
    names = tuple(_strings(path, arrays, "attribute_names").tolist()) if "attribute_names" in arrays else ()
    if len(names) != table.shape[1]:
        raise UserError(f"{path}: attribute_names has {len(names)} names, attributes has {table.shape[1]} columns")
    for name in wanted:
        one_of(names, **{"config.data.attributes": name})
    chosen = [_column(path, name, table[:, names.index(name)]) for name in (tuple(wanted) or names)]
    codes = [as_int8(spec, column) for spec, column in chosen]
    return tuple(spec for spec, _ in chosen), np.stack(codes, 1) if codes else np.zeros((n, 0), np.int8)


def _column(path: str, name: str, column: np.ndarray) -> tuple[AttributeSpec, np.ndarray]:
    if column.dtype.kind in "US":
        return categories(name, column.astype(str).tolist())
    codes = column.astype(np.int64)
    if codes.min() < UNKNOWN:
        row = int(np.argmax(codes < UNKNOWN))
        raise UserError(f"{path}: attribute {name!r}, row {row}: code {codes[row]}, expected -1 or more")
    return AttributeSpec(name, tuple(str(value) for value in range(int(codes.max()) + 1))), codes
