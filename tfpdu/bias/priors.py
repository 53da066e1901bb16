"""What the training distribution should be: constraints on attributes, and where they come from."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from tfpdu.bias.divergence import smoothed
from tfpdu.common.errors import UserError
from tfpdu.common.validation import distribution
from tfpdu.data.records import Records

Variables = str | Sequence[str]  # "colour", or ("label", "colour") for their joint


@dataclasses.dataclass(frozen=True, eq=False)
class Constraint:
    """The wished-for distribution D of one variable, or of several jointly.

    Attributes:
      variables: names of attributes, or "label"; more than one makes a joint.
      probabilities: float64[K1, K2, ...], one axis per variable, summing to 1.
    """

    variables: tuple[str, ...]
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        names = (self.variables,) if isinstance(self.variables, str) else tuple(self.variables)
        D = np.array(self.probabilities, np.float64)
        if not names or len(set(names)) != len(names):
            raise UserError(f"prior: expected one or more different variables, got {list(names)}")
        if D.ndim != len(names):
            raise UserError(f"prior of {' x '.join(names)}: expected {len(names)} axes, got shape {list(D.shape)}")
        distribution(**{f"prior of {' x '.join(names)}": D.ravel()})
        D.setflags(write=False)
        object.__setattr__(self, "variables", names)
        object.__setattr__(self, "probabilities", D)

    @property
    def name(self) -> str:
        """The variables' names, joined as 'label x colour'."""
        return " x ".join(self.variables)

    def value_names(self, records: Records) -> list[str]:
        """One name per cell, row-major: 'black' for an attribute, 'dog, black' for a joint."""
        names = [""]
        for variable in self.variables:
            names = [f"{a}, {b}" if a else b for a in names for b in records.spec(variable).values]
        return names

    def cells(self, records: Records) -> np.ndarray:
        """The cell of each row, int64[n], row-major; -1 where any of the variables is unknown."""
        return cells_of(records, self.variables)

    def counts(self, records: Records, weights: np.ndarray | None = None) -> np.ndarray:
        """Rows (or weight, float64[n]) per cell, float64[K1 * K2 * ...]; unknown rows are left out."""
        cells = self.cells(records)
        known = cells >= 0
        chosen = None if weights is None else np.asarray(weights, np.float64)[known]
        return np.bincount(cells[known], chosen, self.probabilities.size).astype(np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class Prior:
    """One or more constraints that the training distribution should meet together."""

    constraints: tuple[Constraint, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "constraints", tuple(self.constraints))
        names = [constraint.name for constraint in self.constraints]
        if not names or len(set(names)) != len(names):
            raise UserError(f"prior: expected one or more different constraints, got {names}")

    @functools.cached_property
    def variables(self) -> tuple[str, ...]:
        """All variables that any constraint speaks of, in order of appearance."""
        return tuple(dict.fromkeys(v for constraint in self.constraints for v in constraint.variables))

    @functools.cached_property
    def joint_name(self) -> str:
        """All variables as one joint: 'label x colour'."""
        return " x ".join(self.variables)

    def shape(self, records: Records) -> tuple[int, ...]:
        """The number of values of each variable."""
        return tuple(records.spec(variable).cardinality for variable in self.variables)


def cells_of(records: Records, variables: Sequence[str]) -> np.ndarray:
    """The joint cell of each row, int64[n], row-major over the variables; -1 where any is unknown."""
    columns = [records.column(variable) for variable in variables]
    shape = [records.spec(variable).cardinality for variable in variables]
    known = np.all([column >= 0 for column in columns], axis=0)
    cells = np.full(len(records), -1, np.int64)
    cells[known] = np.ravel_multi_index([column[known] for column in columns], shape)
    return cells


def uniform_prior(records: Records, over: Sequence[Variables]) -> Prior:
    """Every value (of a joint: every cell) equally often; one constraint per entry of `over`."""
    shapes = [shape_of(records, variables) for variables in over]
    return _checked(records, over, [np.full(shape, 1 / np.prod(shape)) for shape in shapes])


def given_prior(records: Records, over: Sequence[Variables], given: Sequence[Sequence[float] | np.ndarray]) -> Prior:
    """Stated numbers: given_prior(records, ["colour", ("label", "colour")], [[0.5, 0.5], [0.1, 0.4, 0.4, 0.1]]).

    A joint's numbers are an array with an axis per variable, or the same flat, row-major.
    """
    if len(over) != len(given):
        raise UserError(f"prior: {len(given)} lists of probabilities for {len(over)} constraints")
    tables = []
    for variables, values in zip(over, given, strict=True):
        shape, D = shape_of(records, variables), np.asarray(values, np.float64)
        if D.size != np.prod(shape):
            expected = " x ".join(map(str, shape))
            raise UserError(f"prior of {' x '.join(names_of(variables))}: expected {expected} numbers, got {D.size}")
        tables.append(D.reshape(shape))
    return _checked(records, over, tables)


def reference_prior(records: Records, over: Sequence[Variables], reference: Records, smoothing: float = 0.0) -> Prior:
    """The distribution of another table (a census, an auxiliary pool), with `smoothing` pseudo-rows a cell."""
    tables = []
    for names in map(names_of, over):
        for variable in names:
            if reference.spec(variable).values != records.spec(variable).values:
                raise UserError(f"prior of {' x '.join(names)}: {variable!r} has other values in the reference table")
        shape = shape_of(reference, names)
        cells = cells_of(reference, names)
        counts = np.bincount(cells[cells >= 0], minlength=int(np.prod(shape)))
        tables.append(smoothed(counts, smoothing).reshape(shape))
    return _checked(records, over, tables)


def check(prior: Prior, records: Records, allow_empty_cells: bool = False) -> None:
    """Raises `UserError` where the table cannot be brought to the prior by adding rows.

    Args:
      prior: the constraints.
      records: the table they are meant for.
      allow_empty_cells: also ask for cells without a single row. A generator has never seen such a cell, so this
        has to be said: it may compose it from what it knows of the parts, or not.
    """
    for variable in prior.variables:
        values = np.unique(records.column(variable))
        values = values[values >= 0]
        if len(values) < 2:
            found = f"only {records.spec(variable).values[values[0]]!r}" if len(values) else "no known value"
            raise UserError(f"prior: {variable!r} has {found} in the data, expected at least two different values")
    for constraint in prior.constraints:
        expected = [records.spec(variable).cardinality for variable in constraint.variables]
        got = list(constraint.probabilities.shape)
        if got != expected:
            raise UserError(f"prior of {constraint.name}: expected shape {expected}, got {got}")
        D, counts = constraint.probabilities.ravel(), constraint.counts(records)
        empty = [name for name, d, n in zip(constraint.value_names(records), D, counts, strict=True) if d > 0 and not n]
        if empty and not allow_empty_cells:
            raise UserError(
                f"prior of {constraint.name}: ({empty[0]}) has no row to learn it from"
                f"{f' ({len(empty)} such cells)' if len(empty) > 1 else ''}; allow_empty_cells=True asks for it anyway"
            )


def _checked(records: Records, over: Sequence[Variables], tables: Sequence[np.ndarray]) -> Prior:
    prior = Prior(tuple(Constraint(names_of(names), D) for names, D in zip(over, tables, strict=True)))
    check(prior, records, allow_empty_cells=True)
    return prior


def names_of(variables: Variables) -> tuple[str, ...]:
    """One entry as a tuple of variable names."""
    return (variables,) if isinstance(variables, str) else tuple(variables)


def shape_of(records: Records, variables: Variables) -> list[int]:
    """The number of values of each variable of one entry."""
    return [records.spec(variable).cardinality for variable in names_of(variables)]
