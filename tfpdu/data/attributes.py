"""Attributes that are not stored but derived: categories of texts, bins of numbers, joints, CIFAR-10's superclass."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.validation import did_you_mean
from tfpdu.data.records import UNKNOWN, AttributeSpec, Records

MISSING = frozenset({"", "na", "n/a", "nan", "null", "?", "unknown"})  # 'nobody knows', in any case
MOST_VALUES = 127  # codes are int8
MOST_NUMBERS = 20  # more different numbers than these are a quantity, which wants bins

SUPERCLASS = AttributeSpec("superclass", ("animal", "vehicle"))
VEHICLES = ("airplane", "automobile", "ship", "truck")


def superclass(labels: np.ndarray, label_names: Sequence[str]) -> np.ndarray:
    """CIFAR-10's coarse classes (the paper's attribute): int8[n], codes into `SUPERCLASS.values`."""
    is_vehicle = np.array([name in VEHICLES for name in label_names], np.int8)
    return is_vehicle[labels]


def is_missing(text: str) -> bool:
    """True for an empty text and for 'NA', 'n/a', 'NaN', 'null', '?' and 'unknown'."""
    return text.strip().lower() in MISSING


def number(text: str) -> float:
    """The finite number that a text stands for, NaN where it is missing; `ValueError` for anything else."""
    if is_missing(text):
        return float("nan")
    value = float(text)
    if not np.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return value


def categories(name: str, texts: Sequence[str]) -> tuple[AttributeSpec, np.ndarray]:
    """Codes of a column of texts. Values are sorted, as numbers where all are whole numbers.

    Returns:
      The spec, and int64[n] codes with -1 for missing texts.

    Raises:
      UserError: the column is a quantity (more than 20 different numbers), for which bins have to be stated.
    """
    texts = [text.strip() for text in texts]
    found = {text for text in texts if not is_missing(text)}
    numeric = all(is_number(text) for text in found)
    if numeric and len(found) > MOST_NUMBERS:
        raise UserError(
            f"{name}: {len(found)} different numbers; state bins, by edges '{name}:30,60' or quantiles '{name}:q3'"
        )
    values = sorted(found, key=lambda text: (float(text), text)) if numeric else sorted(found)
    code = {value: index for index, value in enumerate(values)}
    return AttributeSpec(name, tuple(values)), np.array([code.get(text, UNKNOWN) for text in texts], np.int64)


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table that becomes an attribute, with bins if it is a quantity.

    Attributes:
      name: the column.
      edges: rising; value v is in bin i where edges[i-1] <= v < edges[i]. Empty: no stated edges.
      quantiles: number of equally full bins, edges taken from the rows at hand; 0 = none.
    """

    name: str
    edges: tuple[float, ...] = ()
    quantiles: int = 0

    @classmethod
    def parse(cls, text: str, known: Sequence[str]) -> "Column":
        """Reads 'age', 'age:30,60' (edges) or 'age:q3' (quantiles); `known` are the table's columns.

        Raises:
          UserError: no such column (the nearest is named), or edges that do not rise.
        """
        name, colon, bins = (text, "", "") if text in known else text.partition(":")
        if name not in known:
            raise UserError(f"unknown column {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
        if not colon:
            return cls(name)
        wrong = UserError(f"{text!r}: expected bins as '{name}:30,60' (rising edges) or '{name}:q3' (quantiles)")
        try:
            if bins.strip().lower().startswith("q"):
                quantiles = int(bins.strip()[1:])
                if not 2 <= quantiles <= MOST_VALUES:
                    raise wrong
                return cls(name, quantiles=quantiles)
            edges = tuple(float(edge) for edge in bins.split(","))
        except ValueError:
            raise wrong from None
        if not np.all(np.isfinite(edges)) or np.any(np.diff(edges) <= 0):
            raise wrong
        return cls(name, edges=edges)

    @property
    def is_binned(self) -> bool:
        """True for a quantity, whose texts must be numbers."""
        return bool(self.edges or self.quantiles)

    def encode(self, texts: Sequence[str]) -> tuple[AttributeSpec, np.ndarray]:
        """The spec and the int64[n] codes of a column's texts; -1 where a text is missing.

        Raises:
          UserError: too many different numbers without bins, or quantiles that coincide.
        """
        if not self.is_binned:
            return categories(self.name, texts)
        numbers = np.array([number(text) for text in texts], np.float64)
        return bins(self.name, numbers, self.edges or self._quantile_edges(numbers))

    def _quantile_edges(self, numbers: np.ndarray) -> tuple[float, ...]:
        known = numbers[np.isfinite(numbers)]
        cuts = np.quantile(known, np.arange(1, self.quantiles) / self.quantiles) if len(known) else np.zeros(0)
        edges = np.unique(cuts)
        if len(edges) < self.quantiles - 1 or edges[0] <= known.min():
            raise UserError(f"{self.name}: {len(known)} known numbers do not fall into {self.quantiles} quantiles")
        return tuple(edges.tolist())


def bins(name: str, numbers: np.ndarray, edges: Sequence[float]) -> tuple[AttributeSpec, np.ndarray]:
    """Bins of a quantity: '<30', '30-60', '>=60' for edges 30 and 60.

    Args:
      name: the attribute's name.
      numbers: float64[n], NaN = unknown.
      edges: rising; at least one.

    Returns:
      The spec (one value more than edges), and int64[n] codes with -1 for NaN.
    """
    marks = [f"{edge:.6g}" for edge in edges]
    between = [f"{low}-{high}" for low, high in itertools.pairwise(marks)]
    spec = AttributeSpec(name, (f"<{marks[0]}", *between, f">={marks[-1]}"))
    codes = np.digitize(numbers, np.asarray(edges, np.float64)).astype(np.int64)
    return spec, np.where(np.isfinite(numbers), codes, UNKNOWN)


def joint(records: Records, variables: Sequence[str]) -> tuple[AttributeSpec, np.ndarray]:
    """One attribute out of several: `joint(r, ("label", "colour"))` has the values 'dog, black', 'dog, orange', ...

    Args:
      records: any table.
      variables: attributes' names or 'label'; the last one varies fastest (row-major).

    Returns:
      The spec named 'label x colour', and int64[n] codes; -1 where any part is unknown.
    """
    return product([records.spec(name) for name in variables], [records.column(name) for name in variables])


def product(specs: Sequence[AttributeSpec], columns: Sequence[np.ndarray]) -> tuple[AttributeSpec, np.ndarray]:
    """One attribute out of several, as for `joint`, of int[n] columns of codes."""
    names = [""]
    codes, known = np.zeros(len(columns[0]), np.int64), np.ones(len(columns[0]), bool)
    for spec, column in zip(specs, columns, strict=True):
        known &= column != UNKNOWN
        codes = codes * spec.cardinality + column
        names = [f"{left}, {right}" if left else right for left in names for right in spec.values]
    return AttributeSpec(" x ".join(spec.name for spec in specs), tuple(names)), np.where(known, codes, UNKNOWN)


def with_joint(records: Records, variables: Sequence[str]) -> Records:
    """The same rows with the joint of `variables` as one more attribute.

    Raises:
      UserError: the joint has more than 127 values.
    """
    spec, codes = joint(records, variables)
    return dataclasses.replace(
        records,
        specs=(*records.specs, spec),
        attributes=np.concatenate([records.attributes, as_int8(spec, codes)[:, None]], 1),
        realised=None,  # nobody judged the joint
    )


def as_int8(spec: AttributeSpec, codes: np.ndarray) -> np.ndarray:
    """Codes as the int8 of `Records.attributes`; an attribute of more than 127 values raises `UserError`."""
    if spec.cardinality > MOST_VALUES:
        raise UserError(f"attribute {spec.name!r}: {spec.cardinality} values, expected at most {MOST_VALUES}")
    return codes.astype(np.int8)


def is_number(text: str) -> bool:
    """Whether a cell of a table is a finite number."""
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
