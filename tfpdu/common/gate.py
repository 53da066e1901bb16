"""Gates on measured numbers: "equalized_odds.ci_low>0.1" is a name, one comparison and a number, and nothing else.

Nothing is evaluated as code. A name stands for one or several numbers (of all attributes, say); a gate fires when any
of them meets its condition.
"""

import dataclasses
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence

from tfpdu.common.errors import UserError
from tfpdu.common.validation import did_you_mean

FIRED = 3  # exit code of a command whose gate fired, which a pipeline can tell from bad input (2) and a crash (1)
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_FORM = re.compile(r"\s*([^<>=!]+?)\s*(<=|>=|<|>)\s*([^<>=!\s]+)\s*")


@dataclasses.dataclass(frozen=True)
class Gate:
    """A condition under which a command fails, e.g. Gate("equalized_odds.ci_low", ">", 0.1)."""

    name: str
    comparison: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> "Gate":
        """Reads "name>number"; comparisons are >, >=, < and <=.

        >>> Gate.parse("moments.ci_low > 0.55")
        Gate(name='moments.ci_low', comparison='>', limit=0.55)

        Raises:
          UserError: it has another form.
        """
        found = _FORM.fullmatch(text)
        try:
            limit = float(found.group(3)) if found else math.nan
        except ValueError:
            limit = math.nan
        if found is None or not math.isfinite(limit):
            raise UserError(f"--fail_if={text}: expected a name, one of >, >=, <, <= and a number, e.g. x.ci_low>0.1")
        return cls(found.group(1), found.group(2), limit)

    def fires(self, numbers: Mapping[str, Sequence[float | None]]) -> str | None:
        """Says in one line how the condition is met, or gives None where it is not.

        Args:
          numbers: all that may be named; None is a number that could not be estimated.

        Raises:
          UserError: the name is not known; or the condition is not met as far as can be said, and a number that it
            depends on could not be estimated: what was not measured passes no gate.
        """
        if self.name not in numbers:
            known = ", ".join(sorted(numbers))
            raise UserError(f"--fail_if: unknown {self.name!r}{did_you_mean(self.name, numbers)}; known: {known}")
        values = numbers[self.name]
        met = [value for value in values if value is not None and _COMPARISONS[self.comparison](value, self.limit)]
        if met:
            worst = max(met) if ">" in self.comparison else min(met)
            return f"{self.name} is {worst:.4g}, the gate fires at {self.comparison}{self.limit:g}"
        if not values or None in values:
            raise UserError(f"--fail_if={self}: cannot be decided, {self.name} is not estimable from these rows")
        return None

    def __str__(self) -> str:
        return f"{self.name}{self.comparison}{self.limit:g}"


def fired(gates: Sequence[Gate], numbers: Mapping[str, Sequence[float | None]]) -> list[str]:
    """A line for each gate that fires; see `Gate.fires`."""
    return [line for line in (gate.fires(numbers) for gate in gates) if line]
