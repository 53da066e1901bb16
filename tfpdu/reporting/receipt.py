"""The page of a deletion receipt."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tfpdu.common.files import write_text
from tfpdu.reporting.html import ATTACK_NAMES, environment, stylesheet

ON = {"requested": "on the deleted rows", "remaining": "on the originals left"}


def write_receipt_page(path: Path, receipt: Mapping[str, Any]) -> None:
    """Writes the page of a receipt, see `tfpdu.receipts.write_receipt`."""
    before, after = receipt["before"], receipt["after"]
    keys = ("protocol", "population", "attack")
    audits = [{tuple(row[k] for k in keys): row for row in side.get("audit", [])} for side in (before, after)]
    attacks = [
        {"words": f"{ATTACK_NAMES.get(key[2], key[2])} {ON[key[1]]}", "before": audits[0].get(key), "after": row}
        for key, row in audits[1].items()
        if key[0] == "holdout"
    ]
    groups = [{(row["attribute"], row["group"]): row["value"] for row in s.get("groups", [])} for s in (before, after)]
    table = [
        {"attribute": attribute, "group": group, "before": groups[0].get((attribute, group)), "after": value}
        for (attribute, group), value in groups[1].items()
    ]
    page = environment().get_template("receipt.html")
    write_text(path, page.render(receipt=receipt, attacks=attacks, groups=table, css=Markup(stylesheet())))
