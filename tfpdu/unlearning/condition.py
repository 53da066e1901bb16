"""Conditions on rows, such as "superclass==animal and label!=2", read without running anything.

Python's parser makes the tree, for its precedence and quoting are what users expect; no node of it is evaluated, and
those that are not named here are refused.
"""

import ast
import dataclasses
import warnings

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.validation import did_you_mean
from tfpdu.data.records import UNKNOWN, Records

LONGEST = 2_000  # characters
_UNKNOWN = "unknown"


def rows_where(records: Records, text: str, flag: str = "--where") -> np.ndarray:
    """The rows for which a condition surely holds: bool[n].

    A condition compares a variable (`label`, an attribute's name, `subject` or `id`; an attribute of such a name goes
    first) with a value by `==`, `!=`, `in` or `not in` (of a list such as `[cat, dog]`), and joins comparisons by
    `and`, `or`, `not` and parentheses. Names that are no plain words are put into quotes, on either side. A whole
    number is the code of a label's or attribute's value; but where the values are themselves named by numbers, as the
    digits' are, it is the name, and so it always is with subjects and ids.

    Where an attribute is not known, neither `colour==black` nor `colour!=black` nor the negation of either holds
    (Kleene 1938, strong three-valued logic); `colour==unknown` finds those rows. So it is with subjects.

    Args:
      records: n rows.
      text: the condition, at most 2,000 characters.
      flag: how the user named it, for the message.

    Raises:
      UserError: the condition cannot be read, or names a variable or value that is not there.
    """
    try:
        if len(text) > LONGEST:
            raise UserError(f"{len(text)} characters, expected at most {LONGEST}")
        return _truth(_tree(text), records).holds
    except RecursionError:
        raise UserError(f"{flag}={_shown(text)}: nested too deeply") from None
    except UserError as error:
        raise UserError(f"{flag}={_shown(text)}: {error}") from None


@dataclasses.dataclass(frozen=True)
class _Truth:
    """bool[n] each: where it surely holds, where it surely does not; unknown elsewhere."""

    holds: np.ndarray
    fails: np.ndarray

    def __invert__(self) -> "_Truth":
        return _Truth(self.fails, self.holds)

    def __and__(self, other: "_Truth") -> "_Truth":
        return _Truth(self.holds & other.holds, self.fails | other.fails)

    def __or__(self, other: "_Truth") -> "_Truth":
        return ~(~self & ~other)


def _tree(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd Python, which is refused below
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UserError(
            'cannot be read; expected something like "label==3" or "\'odd name\'==a and label!=2"'
        ) from None


def _truth(node: ast.expr, records: Records) -> _Truth:
    if isinstance(node, ast.BoolOp):
        parts = [_truth(value, records) for value in node.values]
        result = parts[0]
        for part in parts[1:]:
            result = result & part if isinstance(node.op, ast.And) else result | part
        return result
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_truth(node.operand, records)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return _comparison(node, records)
    raise UserError(f"{ast.unparse(node)!r}: expected a comparison such as label==3")


def _comparison(node: ast.Compare, records: Records) -> _Truth:
    operator, right = node.ops[0], node.comparators[0]
    if not isinstance(operator, (ast.Eq, ast.NotEq, ast.In, ast.NotIn)):
        raise UserError(f"{ast.unparse(node)!r}: expected ==, !=, in or not in")
    several = isinstance(operator, (ast.In, ast.NotIn))
    if several and not isinstance(right, (ast.List, ast.Tuple, ast.Set)):
        raise UserError(f"{ast.unparse(right)!r}: expected a list such as [1, 2]")
    name = _word(node.left)
    if not isinstance(name, str):
        raise UserError(f"{ast.unparse(node.left)!r}: expected a variable's name on the left")
    variable = _variable(name, records)
    codes = variable.codes
    values = right.elts if isinstance(right, (ast.List, ast.Tuple, ast.Set)) and several else [right]
    truth = _Truth(np.zeros(len(records), bool), np.ones(len(records), bool))
    for value in values:
        code = _code(_word(value), variable)
        known = codes != UNKNOWN
        same = codes == code
        truth = truth | (_Truth(same, ~same) if code == UNKNOWN else _Truth(same & known, ~same & known))
    return ~truth if isinstance(operator, (ast.NotEq, ast.NotIn)) else truth


@dataclasses.dataclass(frozen=True)
class _Variable:
    """A column as codes int64[n] into the names of its values, -1 where unknown; `coded` if users know the codes."""

    name: str
    codes: np.ndarray
    values: tuple[str, ...]
    coded: bool


def _variable(name: str, records: Records) -> _Variable:
    coded = ["label", *(spec.name for spec in records.specs)]
    if name in coded:
        return _Variable(name, records.column(name), records.spec(name).values, True)
    texts = {"subject": records.subjects, "id": records.ids}
    known = [*coded, *(text for text, column in texts.items() if column is not None)]
    if name not in known:
        raise UserError(f"unknown variable {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
    values, codes = np.unique(np.asarray(texts[name]).astype(str), return_inverse=True)
    nobody = int(values[:1].tolist() == [""])  # sorts first, and shifts the others down by one: unknown is -1
    return _Variable(name, codes - nobody, tuple(values[nobody:].tolist()), False)


def _word(node: ast.expr) -> str | int:
    """A name or text as text, a whole number as a number."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, bool, type(None))):
        return str(node.value)
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    raise UserError(f"{ast.unparse(node)!r}: expected a name, a whole number or a text in quotes")


def _code(value: str | int, variable: _Variable) -> int:
    names = variable.values
    if str(value) in names:
        return names.index(str(value))
    if value == _UNKNOWN:
        return UNKNOWN
    numbered = any(name.lstrip("-").isdecimal() for name in names)
    if isinstance(value, int) and variable.coded and value < len(names) and not numbered:
        return value
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    near = did_you_mean(str(value), names[:10_000])
    raise UserError(f"{variable.name}: no value {value!r}{near}; known: {shown}")


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:77] + "..."
