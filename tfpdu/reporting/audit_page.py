"""The page of `tfpdu audit`: attacks on one model, with ROC curves and histograms of the scores."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

import tfpdu
from tfpdu.audit import auc
from tfpdu.audit.protocols import Outcome
from tfpdu.common.files import write_text
from tfpdu.reporting import attacks
from tfpdu.reporting.attack_figures import histogram_chart, roc_chart
from tfpdu.reporting.html import environment, stylesheet
from tfpdu.reporting.style import SERIES, series

_SLICES_SHOWN = 20
_NO_CURVE = ("blind", "correctness")  # chance, and a single point


@dataclasses.dataclass(frozen=True)
class AuditReport:
    """What there is to tell of an audit.

    Attributes:
      title: of the model.
      facts: (what, value) pairs for the head: accuracy on either side, queries, seed.
      notes: what a reader has to know before the numbers.
      rows: of audit.json.
      outcomes: (population, outcome), the scores behind the rows in the same order.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    outcomes: Sequence[tuple[str, Outcome]]


def write_audit_page(path: Path, report: AuditReport) -> None:
    """Writes the page, which needs no other file; the same audit gives the same bytes."""
    whole = [row for row in report.rows if not row.get("slice")]
    slices = [row for row in report.rows if row.get("slice")]
    found = attacks.stand_out(slices)
    names = dict.fromkeys(row["attack"] for row in whole)
    text = (
        environment()
        .get_template("audit.html")
        .render(
            report=report,
            groups=list(_groups(report)),
            attacks=[
                (attacks.attack_name(name), attacks.ATTACKS.get(name, ("", "your own attack"))[1]) for name in names
            ],
            protocols=[
                (name, attacks.PROTOCOLS.get(name, "")) for name in dict.fromkeys(row["protocol"] for row in whole)
            ],
            fprs=attacks.rates(report.rows),
            slices={"words": attacks.slices_sentence(slices, found) if slices else "", "rows": found[:_SLICES_SHOWN]},
            populations=attacks.POPULATIONS,
            headline=_headline(whole),
            css=Markup(stylesheet()),
            version=tfpdu.__version__,
        )
    )
    write_text(path, text)


def _groups(report: AuditReport) -> Any:
    """A group of rows for each population and protocol, with its charts."""
    pairs = list(zip(report.rows, report.outcomes, strict=True))
    whole = [(row, outcome) for row, (_, outcome) in pairs if not row.get("slice")]
    for number, key in enumerate(dict.fromkeys((row["population"], row["protocol"]) for row, _ in whole)):
        mine = [(row, outcome) for row, outcome in whole if (row["population"], row["protocol"]) == key]
        outcomes = [outcome for _, outcome in mine]
        curves = _told_apart([outcome for outcome in outcomes if outcome.attack not in _NO_CURVE] or outcomes)
        yield {
            "population": attacks.POPULATIONS.get(key[0], key[0]),
            "protocol": key[1],
            "rows": [row for row, _ in mine],
            "legend": [(series(i)[0], attacks.attack_name(outcome.attack)) for i, outcome in enumerate(curves)],
            "left_out": len(outcomes) - len(curves),
            "roc": Markup(roc_chart(f"roc-{number}", curves)),
            "histograms": [
                (attacks.attack_name(outcome.attack), Markup(histogram_chart(f"scores-{number}-{i}", outcome)))
                for i, outcome in enumerate(outcomes)
                if outcome.attack != "blind"
            ],
        }


def _told_apart(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """As many outcomes as there are colours, those farthest from guessing, in their order."""
    far = sorted(outcomes, key=lambda one: -abs(auc(one.members, one.nonmembers).value - 0.5))[: len(SERIES)]
    return [outcome for outcome in outcomes if any(outcome is one for one in far)]


def _headline(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The strongest attack that is counted honestly, the blind one aside, and how many found something."""
    honest = [row for row in rows if row["attack"] != "blind" and row["protocol"] == "holdout"]
    honest = honest or [row for row in rows if row["attack"] != "blind"] or list(rows)
    words = [attacks.verdict(row) for row in honest]
    return {
        "strongest": max(honest, key=lambda row: row["success_rate"]),
        "leaks": words.count(attacks.LEAK),
        "reverse": words.count(attacks.REVERSE),
        "tests": len(honest),
        "blind": next((row for row in rows if row["attack"] == "blind"), None),
    }
