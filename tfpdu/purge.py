"""What service mode erases from a run directory once a deletion round is done: every trace of its rows.

Weights, samples and generators that may not stay are gone by then, since the round learned anew without the rows. Here
go the rows' ids in the record of rows and on the generator's card, and the pictures in the report. The ledger erases
its own clear ids. Copies of the data set elsewhere are not the run's to reach.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from tfpdu.common import files
from tfpdu.common.run_directory import RunDirectory
from tfpdu.data import ImageStore, Records
from tfpdu.material import ROWS, load_data, recorded, without_strangers
from tfpdu.preparation import showcase
from tfpdu.settings import Settings

PER_ROW = ("draw", "shard", "slice", "leaves", "content")  # columns of the record of rows, over S


def purge(run: RunDirectory, ids: Collection[str], settings: Settings) -> None:
    """Erases every trace of rows that nothing in use has learned any more; safe to repeat.

    Args:
      run: the run directory, held by this process.
      ids: of the rows.
      settings: of the run.
    """
    gone = set(ids)
    record = files.read_json(run.file(ROWS))
    for card in cards(run):
        _without_ids(card, gone)
    stay = [row_id not in gone for row_id in record["draw"]]
    columns = {name: [v for v, keep in zip(record[name], stay, strict=True) if keep] for name in PER_ROW}
    canaries = [row_id for row_id in record["canaries"] if row_id not in gone]
    pools = {name: [row_id for row_id in ids if row_id not in gone] for name, ids in record["pools"].items()}
    if pools != record["pools"] or not all(stay):
        files.write_json(run.file(ROWS), {**record, **columns, "canaries": canaries, "pools": pools})
    records = load_data(settings, run)
    _without_pixels(records, run, gone)  # after the record, which a row without its pixels would no longer fit
    material = recorded(records, settings, run)
    without_strangers(records, material, run)
    redraw_pictures(material.drawn, run, settings)


def cards(run: RunDirectory) -> list[Path]:
    """The cards of all generators in the run directory, and of their critics."""
    found = run.file("generator")
    return sorted([*found.rglob("generator.json"), *found.rglob("classifier.json")])


def _without_pixels(records: Records, run: RunDirectory, gone: set[str]) -> None:
    """The pixels in the run's own store of pictures; a shared one holds a data set as it is published."""
    rows = np.flatnonzero(np.isin(records.ids, sorted(gone)))
    if len(rows) and isinstance(records.images, ImageStore) and records.images.lies_in(run.path):
        records.images.erase(rows, run.path)


def _without_ids(path: Path, gone: set[str]) -> None:
    """A card that no longer names the rows, and says how many it no longer names."""
    card = files.read_json(path)
    left = [row_id for row_id in card["row_ids"] if row_id not in gone]
    count = len(card["row_ids"]) - len(left)
    if count:
        files.write_json(path, {**card, "row_ids": left, "erased_rows": card.get("erased_rows", 0) + count})


def redraw_pictures(left: Records, run: RunDirectory, settings: Settings) -> None:
    """Draws the originals that the report shows anew, from the rows that are left; safe to repeat."""
    path = run.file("samples", "showcase.npz")
    if not path.exists():
        return
    shown = files.read_npz(path)
    if "originals" in shown:
        each = shown["originals"].shape[1]
        fresh = showcase(left, left.take(np.zeros(0, np.int64)), each, settings.seed, originals=True)
        if not np.array_equal(fresh["originals"], shown["originals"]):  # killed again and again, it gets on
            files.write_npz(path, **{**shown, "originals": fresh["originals"]})
