"""Published gaps of unlearning methods beside a benchmark's own, and whether the order of methods agrees."""

import dataclasses
from collections.abc import Sequence

from scipy import stats

from tfpdu.reporting.benchmark import Entry
from tfpdu.reporting.published_methods import SOURCES, TABLES, MethodTable
from tfpdu.unlearning.benchmark.scenarios import Scenario

_NAMES = {
    "FT": "fine_tune",
    "RL": "random_labels",
    "GA": "gradient_ascent",
    "BS": "boundary_shrink",
    "l1-Sparse": "l1_sparse",
    "SalUn": "salun",
    "AMUN": "amun",
    "IU": "woodfisher",
}


@dataclasses.dataclass(frozen=True)
class Beside:
    """A published table beside our numbers.

    Attributes:
      heading: work and table, marked where it is second-hand.
      rows: (method's name, our gap, the published one), by the published one.
      agreement: Kendall's tau of the two orders, in [-1, 1].
      p_value: two-sided, of no association.
      note: of the table.
    """

    heading: str
    rows: tuple[tuple[str, float, float], ...]
    agreement: float
    p_value: float
    note: str


def beside(scenario: str, found: Sequence[Entry]) -> list[Beside]:
    """The published tables of the same kind and share of forgotten rows, with at least four methods in common.

    Args:
      scenario: its name.
      found: our entries of it.
    """
    parsed = Scenario.parse(scenario)
    if parsed.kind not in ("random", "no_retain"):
        return []
    ours = {entry.method: entry for entry in found if "average_gap" in entry.values}
    tables = [
        table
        for table in TABLES
        if "average_gap" in table.columns
        and table.retained == (parsed.kind == "random")
        and abs(table.forgotten - float(parsed.what)) < 1e-9
    ]
    made = [_made(table, ours) for table in tables]
    return [one for one in made if len(one.rows) >= 4]


def _made(table: MethodTable, ours: dict[str, Entry]) -> Beside:
    shared = [(theirs, ours[name]) for theirs, name in _NAMES.items() if theirs in table.rows and name in ours]
    rows = [(e.name, e.values["average_gap"].mean, table.value(theirs, "average_gap")) for theirs, e in shared]
    rows.sort(key=lambda row: row[2])
    tau = stats.kendalltau([row[1] for row in rows], [row[2] for row in rows]) if len(rows) > 1 else None
    source = SOURCES[table.source]
    heading = f"{source.authors} {source.year}, {table.place}{'' if source.checked else ' (second-hand)'}"
    return Beside(
        heading,
        tuple(rows),
        float(tau.statistic) if tau else float("nan"),
        float(tau.pvalue) if tau else float("nan"),
        table.note,
    )
