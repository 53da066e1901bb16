"""What a generator remembers of its training rows, measured once and in one table.

Each number stands beside what rows that the generator never saw give: real pictures have near twins too.
"""

import dataclasses
from typing import Any

import numpy as np

from tfpdu.common.seeds import hashed_order
from tfpdu.data.records import Records
from tfpdu.diffusion.generator import Generator
from tfpdu.diffusion.membership import generator_membership, told_apart
from tfpdu.diffusion.memorization import NEAR, copy_ratio, matched, neighbour_share


def measure_memory(
    generator: Generator, synthetic: Records, rows: Records, holdout: Records, *, limit: int = 500, seed: int = 0
) -> dict[str, Any]:
    """Copies, neighbours and membership, in pixels.

    Args:
      generator: the one in question.
      synthetic: its samples, at least one.
      rows: the rows it was trained on.
      holdout: rows of the same source that it was not trained on.
      limit: most samples that are searched for, and most rows a side of the membership attack.
      seed: picks them, and draws the attack's noise.

    Returns:
      JSON-ready: `samples`; `copies` and `copies_of_held_out`: {ratio, ci_low, ci_high}, the share of samples, and of
      held-out rows, that are near-copies of training rows; `neighbours`: see `NeighbourShare`; `membership`: {auc,
      ci_low, ci_high, members, nonmembers, by_sigma: {sigma: auc}}.

    Raises:
      UserError: tables that are empty, overlap, or have no cell in common.
      StopRequested: a signal arrived.
    """
    flips = generator.settings.flip
    samples = _some(synthetic, limit, seed).images
    copies = {
        name: copy_ratio(images, rows.images, flips, within=NEAR)
        for name, images in (("copies", samples), ("copies_of_held_out", _some(holdout, limit, seed).images[:]))
    }
    members, nonmembers = _pairs(rows, holdout, limit, seed)
    attack = generator_membership(generator, members, nonmembers, seed=seed)
    return {
        "samples": len(samples),
        **{name: {"ratio": c.ratio, "ci_low": c.ci_low, "ci_high": c.ci_high} for name, c in copies.items()},
        "neighbours": dataclasses.asdict(neighbour_share(samples, rows, holdout, flips)),
        "membership": {
            "auc": attack.mean.value,
            "ci_low": attack.mean.ci_low,
            "ci_high": attack.mean.ci_high,
            "members": len(members),
            "nonmembers": len(nonmembers),
            "by_sigma": {f"{s:g}": area.value for s, area in zip(attack.sigmas, attack.by_sigma, strict=True)},
        },
    }


def measure_traces(
    generator: Generator, rows: Records, strangers: Records, *, limit: int = 500, seed: int = 0
) -> dict[str, Any]:
    """Does the generator know rows from strangers of the same cells? Asked of originals, forgotten ones among them.

    Args:
      generator: the one whose samples stand in for `rows`.
      rows: whether it was trained on them or not.
      strangers: rows of the same source that it was not trained on.
      limit: most rows a side.
      seed: picks them, and draws the attack's noise.

    Returns:
      JSON-ready: {auc, ci_low, ci_high, rows, strangers}; 0.5 is guessing, more is a trace of the rows.

    Raises:
      UserError: tables that are empty, overlap, or have no cell in common.
      StopRequested: a signal arrived.
    """
    rows, strangers = _pairs(rows, strangers, limit, seed)
    area = told_apart(generator, rows, strangers, seed=seed).mean
    sizes = {"rows": len(rows), "strangers": len(strangers)}
    return {"auc": area.value, "ci_low": area.ci_low, "ci_high": area.ci_high, **sizes}


def _pairs(rows: Records, strangers: Records, limit: int, seed: int) -> tuple[Records, Records]:
    """At most `limit` rows of each side, by the hash of their ids; rows i of both share a cell."""
    rows, strangers = matched(rows, strangers)
    pairs = hashed_order(rows.ids.tolist(), "memory", seed)[:limit]
    return rows.take(pairs), strangers.take(pairs)


def _some(records: Records, limit: int, seed: int) -> Records:
    """At most `limit` rows, by the hash of their ids."""
    return records.take(np.sort(hashed_order(records.ids.tolist(), "memory", seed)[:limit]))
