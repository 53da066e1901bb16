"""The receipt of a deletion round: what was done for whom, as JSON and as a page to read; nothing in it is an id."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tfpdu
from tfpdu.common import files
from tfpdu.common.run_directory import RunDirectory
from tfpdu.diffusion import pretrained_rows
from tfpdu.material import Material
from tfpdu.purge import cards
from tfpdu.reporting import write_receipt_page
from tfpdu.settings import Settings
from tfpdu.unlearning import Ledger
from tfpdu.unlearning.history import Round


def write_receipt(
    run: RunDirectory, ledger: Ledger, round_: Round, material: Material, settings: Settings, ids: Sequence[str]
) -> Path:
    """Writes receipts/round-<n>.json and .html.

    Args:
      run: the run directory.
      ledger: its ledger.
      round_: the round, whose classifier is learned.
      material: all rows of the run, those of the round among them.
      settings: of the run.
      ids: of the round's rows, in the clear.

    Returns:
      The path of the JSON file.
    """
    requests = ledger.history().requests
    before = run.event("deletion_before", round=round_.number) or {}
    after = run.event("deletion", round=round_.number) or {}
    gaps = incomplete(run, material, settings, ids)
    receipt: dict[str, Any] = {
        "round": round_.number,
        "started": round_.started.isoformat(timespec="seconds"),
        "mode": settings.deletion.mode,
        "tfpdu": tfpdu.__version__,
        "data": settings.data.name,
        "requests": [
            {
                "request_id": name,
                "asked": requests[name].time.isoformat(timespec="seconds"),
                "due": requests[name].due.isoformat(timespec="seconds"),
                "rows": len(requests[name].digests),
            }
            for name in round_.requests
        ],
        "rows": sorted(ledger.salt.digests("id", ids).values()),
        "pools": {name: n for name, pool in material.pools.ids().items() if (n := len(set(pool) & set(ids)))},
        "near_copies": (run.event("near_copies", round=round_.number) or {"count": 0})["count"],
        "in_classifier": after.get("rows", 0),
        "after_iteration": after.get("after_iteration"),
        "where": before.get("where", []),
        "shards_retrained": after.get("shards", []),
        **{name: after[name] for name in ("row_epochs", "cost", "unlearn_seconds") if name in after},
        "purged": sorted(set(before.get("artefacts", {})) - set(after.get("artefacts", {}))),
        "artefacts": after.get("artefacts", {}),
        "concentrated": before.get("concentrated", []),
        "group_floor": settings.deletion.group_floor,
        "under_floor": under_floor(after.get("groups", []), settings.deletion.group_floor),
        "before": _measured(before),
        "after": _measured(after),
        "complete": not gaps,
        "incomplete": gaps,
    }
    path = run.file("receipts", f"round-{round_.number:04d}.json")
    files.write_json(path, receipt)
    write_receipt_page(path.with_suffix(".html"), receipt)
    return path


def incomplete(run: RunDirectory, material: Material, settings: Settings, ids: Sequence[str]) -> list[str]:
    """What still holds something of the rows after the classifier has unlearned them, a line each."""
    gone, lines = set(ids), []
    trained = {row_id for path in cards(run) for row_id in files.read_json(path)["row_ids"]}
    if settings.pretrained:
        trained |= set(pretrained_rows(settings.pretrained))
    count = len(gone & trained)
    if count:
        private = settings.generator.private
        bound = (
            f"; what one of them can change in it is bounded by epsilon {private.epsilon:g}, delta {private.delta:g}"
            if private.epsilon
            else ""
        )
        lines.append(
            f"generator: it learned {count} of the rows and is in use"
            f" (generator.lineage={settings.generator.lineage}); its samples may carry traces of them{bound}"
        )
    count = len(gone & set(material.pools.auxiliary.ids.tolist()))
    if count:
        lines.append(
            f"judge: it had learned {count} of the rows when it looked at the samples in use; it is learned anew"
        )
    return lines


def under_floor(groups: Sequence[dict[str, Any]], floor: float) -> list[dict[str, Any]]:
    """The groups, of rows as `tfpdu.audit.of_groups` returns, with an accuracy under the floor; classes are none."""
    return [
        row
        for row in groups
        if row["metric"] == "accuracy" and row["attribute"] != "label" and row["value"] is not None
        if row["value"] < floor
    ]


def _measured(event: dict[str, Any]) -> dict[str, Any]:
    names = ("test_accuracy", "loss_of_rows", "loss_of_non_members", "groups", "audit")
    return {name: event[name] for name in names if name in event}
