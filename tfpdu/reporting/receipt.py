"""The page of a deletion receipt."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tfpdu.common.files import write_text
from tfpdu.reporting.attacks import attack_name
from tfpdu.reporting.fairness import MEASURES
from tfpdu.reporting.html import environment, stylesheet

ON = {"requested": "on the deleted rows", "remaining": "on the originals left"}


def write_receipt_page(path: Path, receipt: Mapping[str, Any]) -> None:
    """Writes the page of a receipt, see `tfpdu.receipts.write_receipt`."""
    before, after = receipt["before"], receipt["after"]
    keys = ("protocol", "population", "attack")
    audits = [{tuple(row[k] for k in keys): row for row in side.get("audit", [])} for side in (before, after)]
    attacks = [
        {"words": f"{attack_name(key[2])} {ON[key[1]]}", "before": audits[0].get(key), "after": row}
        for key, row in audits[1].items()
        if key[0] == "holdout"
    ]
    groups = [{_words(row): row["value"] for row in side.get("groups", []) if _words(row)} for side in (before, after)]
    table = [{"words": words, "before": groups[0].get(words), "after": value} for words, value in groups[1].items()]
    page = environment().get_template("receipt.html")
    write_text(path, page.render(receipt=receipt, attacks=attacks, groups=table, css=Markup(stylesheet())))


def _words(row: Mapping[str, Any]) -> str | None:
    """What a row of group fairness is about; None for what the page leaves to fairness.json."""
    if row["metric"] == "accuracy":
        return f"accuracy, {row['attribute']} {row['group']}"
    return f"{MEASURES[row['metric']][0]}, {row['attribute']}" if row["metric"] in MEASURES else None
