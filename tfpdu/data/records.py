"""The table that every stage takes and returns; its pictures may be on disk."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.validation import did_you_mean
from tfpdu.data.storage import Images, joined, pick

UNKNOWN = -1  # the code of an attribute value that nobody knows


@dataclasses.dataclass(frozen=True)
class AttributeSpec:
    """A categorical attribute: its name and the name of each value; code v stands for `values[v]`."""

    name: str
    values: tuple[str, ...]

    @property
    def cardinality(self) -> int:
        """How many values the attribute has."""
        return len(self.values)


@dataclasses.dataclass(frozen=True)
class Records:
    """An image data set, immutable. n rows, images of h x w x c, j attributes.

    Attributes:
      images: uint8[n, h, w, c]: an array, or an `ImageStore` where the pictures are on disk.
      labels: int32[n], codes into `label_names`.
      attributes: int8[n, j], codes into `specs[j].values`; -1 is unknown.
      ids: unique strings [n], stable across runs.
      origin: int8[n]; 0 is an original, t + 1 was made for iteration t (iteration 0 adds rows too).
      specs: one `AttributeSpec` per attribute column.
      label_names: the name of each class.
      subjects: strings [n] (the person; empty where unknown) or None.
      generator: strings [n]: the id of the generator that made the row, empty for an original.
      realised: int8[n, j]: the attributes as an independent judge sees them, or None.
    """

    images: Images
    labels: np.ndarray
    attributes: np.ndarray
    ids: np.ndarray
    origin: np.ndarray
    specs: tuple[AttributeSpec, ...]
    label_names: tuple[str, ...]
    subjects: np.ndarray | None = None
    generator: np.ndarray | None = None
    realised: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        for field in ("images", "attributes", "ids", "origin", "subjects", "generator", "realised"):
            column = getattr(self, field)
            if column is not None and len(column) != n:
                raise UserError(f"records: {field} has {len(column)} rows, labels have {n}")
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise UserError(f"records: images must be uint8[n,h,w,c], got {self.images.dtype}{list(self.images.shape)}")
        if self.attributes.ndim != 2 or self.attributes.shape[1] != len(self.specs):
            raise UserError(f"records: {len(self.specs)} attributes named, table has shape {self.attributes.shape}")
        if len(np.unique(self.ids)) != n:
            values, counts = np.unique(self.ids, return_counts=True)
            raise UserError(f"records: id {values[counts > 1][0]!r} occurs more than once")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.label_names)

    @property
    def is_original(self) -> np.ndarray:
        """bool[n]: rows that are originals."""
        return self.origin == 0

    def column(self, name: str) -> np.ndarray:
        """The codes of one variable, int64[n]: an attribute's name, or 'label'."""
        if name == "label":
            return self.labels.astype(np.int64)
        return self.attributes[:, self._index(name)].astype(np.int64)

    def spec(self, name: str) -> AttributeSpec:
        """The spec of one variable: an attribute's name, or 'label'."""
        return AttributeSpec("label", self.label_names) if name == "label" else self.specs[self._index(name)]

    def take(self, rows: np.ndarray) -> "Records":
        """The rows chosen by an index or boolean array, in that order; pictures on disk are not read."""
        rows = np.asarray(rows)
        columns = {field: getattr(self, field) for field in _COLUMNS}
        taken: dict[str, Any] = {field: None if c is None else pick(c, rows) for field, c in columns.items()}
        return dataclasses.replace(self, **taken)

    def labelled_by(self, name: str) -> "Records":
        """The rows on which an attribute is known, with its values in place of the classes; attributes stay."""
        codes, spec = self.column(name), self.spec(name)
        known = codes != UNKNOWN
        return dataclasses.replace(self.take(known), labels=codes[known].astype(np.int32), label_names=spec.values)

    def without_attributes(self, names: Sequence[str]) -> "Records":
        """The same rows without these attributes; an unknown one raises `UserError`."""
        dropped = {self._index(name) for name in names}
        kept = [j for j in range(len(self.specs)) if j not in dropped]
        realised = None if self.realised is None else self.realised[:, kept]
        specs = tuple(self.specs[j] for j in kept)
        return dataclasses.replace(self, attributes=self.attributes[:, kept], realised=realised, specs=specs)

    def class_weights(self) -> np.ndarray:
        """One weight a class, float64[classes], by which rows of every class that occurs weigh the same in sum.

        The mean weight of a row is 1; a class without rows has some finite weight.
        """
        counts = np.bincount(self.labels, minlength=self.classes)
        return len(self) / (max(1, np.count_nonzero(counts)) * np.maximum(counts, 1))

    def rows_of(self, ids: Sequence[str]) -> np.ndarray:
        """Row numbers of the ids, int64[m]; an unknown id raises."""
        where = {row_id: row for row, row_id in enumerate(self.ids.tolist())}
        try:
            return np.array([where[str(row_id)] for row_id in ids], np.int64)
        except KeyError as error:
            raise UserError(f"unknown id {error.args[0]!r}") from None

    def without(self, ids: Sequence[str]) -> "Records":
        """All rows but those with these ids."""
        return self.take(~np.isin(self.ids, np.asarray(list(ids), dtype=str)))

    def _index(self, name: str) -> int:
        names = [spec.name for spec in self.specs]
        if name not in names:
            raise UserError(f"unknown attribute {name!r}{did_you_mean(name, names)}; known: label, {', '.join(names)}")
        return names.index(name)


_COLUMNS = ("images", "labels", "attributes", "ids", "origin", "subjects", "generator", "realised")


def unlabelled(ids: Sequence[str], images: np.ndarray | None = None) -> Records:
    """Rows of which only the ids, and perhaps the pictures uint8[n, h, w, c], are known: one class, no attributes."""
    n = len(ids)
    return Records(
        images=np.zeros((n, 1, 1, 1), np.uint8) if images is None else images,
        labels=np.zeros(n, np.int32),
        attributes=np.zeros((n, 0), np.int8),
        ids=np.array(list(ids), dtype=str),
        origin=np.zeros(n, np.int8),
        specs=(),
        label_names=("",),
    )


def concatenate(parts: Sequence[Records]) -> Records:
    """Stacks tables with the same specs; a column that one part lacks is filled with its 'unknown'."""
    first = parts[0]
    if any(p.specs != first.specs or p.label_names != first.label_names for p in parts):
        raise UserError("records: tables with different attributes or classes cannot be joined")
    shapes = sorted({part.images.shape[1:] for part in parts})
    if len(shapes) > 1:
        raise UserError(f"records: images of {list(shapes[0])} and of {list(shapes[1])} cannot be joined")

    def stack(field: str) -> np.ndarray | None:
        columns = [getattr(part, field) for part in parts]
        if all(column is None for column in columns):
            return None
        return joined([_default(p, field) if c is None else c for p, c in zip(parts, columns, strict=True)])

    stacked: dict[str, Any] = {field: stack(field) for field in _COLUMNS}
    return dataclasses.replace(first, **stacked)


def _default(part: Records, field: str) -> np.ndarray:
    return part.attributes if field == "realised" else np.full(len(part), "", dtype="<U1")
