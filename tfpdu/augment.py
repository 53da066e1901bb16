"""Algorithm 1: from a table and a prior to a debiased table.

The paper's names: S is the table, D the prior, P the empirical distribution, Lambda the distribution that the
synthetic rows are drawn from, G the generator, B(S, D) the sum of KL(D || P) over the constraints in nats, rho
the threshold on it. The paper initialises Lambda = P and walks to D; with a known D the additions that end the
walk are known in closed form (`solver="exact"`), and the walk itself is there too (`solver="gradient"`).
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from tfpdu.bias import resample
from tfpdu.bias.additions import Demand, allocate, demand_of, meet
from tfpdu.bias.descent import descend
from tfpdu.bias.priors import Prior, cells_of, check
from tfpdu.bias.report import bias_report
from tfpdu.bias.requests import plan
from tfpdu.bias.resample import source_id
from tfpdu.common.errors import UserError
from tfpdu.common.validation import non_negative, one_of, positive
from tfpdu.data.records import UNKNOWN, Records, concatenate

__all__ = ["AugmentSettings", "Debiased", "Generate", "Judge", "Replenished", "debias", "replenish", "source_id"]

Generate = Callable[[np.ndarray, np.ndarray, list[str]], np.ndarray]
Judge = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class AugmentSettings:
    """How a table is brought to its prior.

    Attributes:
      method: "diffusion" adds rows of the generator; "oversample" copies, "undersample" drops, "reweigh" weighs
        rows; "none" leaves the table as it is.
      rho: Algorithm 1 ends when B(S, D) < rho, nats.
      smoothing: pseudo-rows a value in every P; needed only where P(v) = 0 < D(v) has to stay finite.
      solver: "exact" (least additions) or "gradient" (the paper's descent on L-hat, within 1 % of it).
      scope: "global" balances all of S; "shard" each shard by itself, the paper's letter.
      max_redraws: how often a sample is drawn again whose judged attributes differ from the requested ones.
      allow_empty_cells: ask the generator also for cells without a single row.
      max_growth: refuse a prior that needs more than so many times the rows that are there (a rare cell that
        should be common, or a slip in the prior).
      replenish: whether synthetic rows come for those that a step forgets (Algorithm 2). False is the plain sequence
        of augmentation, once, and unlearning: S shrinks, and nothing brings it back to its prior.
    """

    method: str = "diffusion"
    rho: float = 1e-6
    smoothing: float = 0.0
    solver: str = "exact"
    scope: str = "global"
    max_redraws: int = 3
    allow_empty_cells: bool = False
    max_growth: float = 10.0
    replenish: bool = True

    def __post_init__(self) -> None:
        one_of(("diffusion", "none", "oversample", "undersample", "reweigh"), method=self.method)
        one_of(("exact", "gradient"), solver=self.solver)
        one_of(("global", "shard"), scope=self.scope)
        positive(rho=self.rho, max_growth=self.max_growth)
        non_negative(smoothing=self.smoothing, max_redraws=self.max_redraws)


@dataclasses.dataclass(frozen=True, eq=False)
class Debiased:
    """S* and how it came about.

    Attributes:
      records: S*: the rows of S that stayed, in their order, then the added ones.
      weights: float64[len(records)] with mean 1 for method "reweigh", else None.
      report: the content of bias.json (`tfpdu.bias.bias_report`).
      additions: int64[K1, K2, ...], rows added per joint cell of the prior's variables.
      requested: rows asked of the generator.
      redrawn: samples drawn again because the judge saw other attributes.
      kept_although_different: rows that still differ after `max_redraws`.
      shards: int64[len(records)], each row's shard, if `shard_of` was given with scope "shard"; else None.
    """

    records: Records
    weights: np.ndarray | None
    report: dict[str, Any]
    additions: np.ndarray
    requested: int = 0
    redrawn: int = 0
    kept_although_different: int = 0
    shards: np.ndarray | None = None


def debias(
    records: Records,
    prior: Prior,
    generate: Generate | None,
    *,
    settings: AugmentSettings | None = None,
    seed: int,
    iteration: int = 0,
    judge: Judge | None = None,
    generator_id: str = "",
    shard_of: np.ndarray | None = None,
) -> Debiased:
    """Algorithm 1. Returns S* = S with the additions that bring B(S, D) under rho.

    An added row's label is dealt by P_S(label | cell) in whole rows (where "label" is in the cell it is given),
    its other attributes are those of a known row of S with the same label and cell, picked by the new row's id.

    Args:
      records: S.
      prior: D, over attributes and "label".
      generate: G; only method "diffusion" calls it.
      settings: see `AugmentSettings`.
      seed: the run's seed.
      iteration: t; ids read "synthetic/<t>/<number>" and `origin` is t + 1.
      judge: an independent classifier of attributes, or None: then no row has `realised` attributes.
      generator_id: goes into the rows' `generator` column.
      shard_of: int[n], the shard of each row; needed for scope "shard" only.

    Raises:
      UserError: the prior cannot be met with these rows (which part, and why), or not as closely as rho.
    """
    settings = settings or AugmentSettings()
    _require_generator(settings, generate)
    sampler = _Sampler(generate, judge, settings.max_redraws, generator_id, seed, iteration)
    n = len(records)
    groups = _groups(settings, shard_of, n)
    keep, weights = np.ones(n, bool), np.ones(n)
    additions = np.zeros(int(np.prod(prior.shape(records))), np.int64)
    added: list[Records] = []
    for _, rows in groups:
        S = records.take(rows) if len(rows) < n else records
        part, keep[rows], weights[rows] = _change(S, prior, settings, sampler, sum(map(len, added)))
        added.append(part)
        inside = cells_of(part, prior.variables)
        additions += np.bincount(inside, minlength=len(additions))
    kept = records if keep.all() else records.take(keep)
    new = [part for part in added if len(part)]
    result = concatenate([kept, *new]) if new else kept
    row_weights = weights / weights.mean() if settings.method == "reweigh" else None
    shards = None
    if settings.scope == "shard":
        new_shards = np.repeat([shard for shard, _ in groups], [len(part) for part in added])
        shards = np.concatenate([np.asarray(shard_of, np.int64)[keep], new_shards]).astype(np.int64)
    return Debiased(
        records=result,
        weights=row_weights,
        report=bias_report(records, result, prior, settings.smoothing, row_weights),
        additions=additions.reshape(prior.shape(records)),
        **sampler.tally,
        shards=shards,
    )


def planned(
    records: Records, prior: Prior, *, settings: AugmentSettings, seed: int, shard_of: np.ndarray | None = None
) -> int:
    """How many rows `debias` will add; arguments and errors are its own, but nothing is made."""
    n, total = len(records), 0
    if settings.method == "none":
        return 0
    for _, rows in _groups(settings, shard_of, n):
        S = records.take(rows) if len(rows) < n else records
        demand = _demand(S, prior, settings)
        if settings.method == "reweigh":
            resample.row_weights(S, prior)
        elif settings.method == "undersample":
            resample.rows_to_keep(S, prior, demand, settings.rho, seed)
        else:
            total += int(_additions(demand, settings).sum())
    return total


@dataclasses.dataclass(frozen=True, eq=False)
class Replenished:
    """The rows that `replenish` made, alone, with the counts of `Debiased`."""

    records: Records
    requested: int = 0
    redrawn: int = 0
    kept_although_different: int = 0


def replenish(
    records: Records,
    prior: Prior,
    m: int,
    generate: Generate | None,
    *,
    settings: AugmentSettings | None = None,
    seed: int,
    iteration: int,
    judge: Judge | None = None,
    reference: Records | None = None,
    generator_id: str = "",
    first: int = 0,
) -> Replenished:
    """Algorithm 2's refill: exactly m new rows that bring the table as close to the prior as whole rows permit.

    With a single constraint the rows go where KL falls most, which is optimal; so at a fixed size the bias never
    rises above what Algorithm 1 reached (putting back what was removed is among the candidates).

    Args:
      records: the table after the removal.
      prior: D.
      m: rows to make.
      generate: G, for method "diffusion".
      settings: as in `debias`; with "oversample" the m rows are copies of originals still there, and methods
        that add no rows ("none", "undersample", "reweigh"), or `replenish=False`, return an empty table.
      seed: the run's seed.
      iteration: t, from 1.
      judge: as in `debias`.
      reference: the S of iteration 0, from which P(label | cell) is taken so that labels do not drift; by
        default the table itself.
      generator_id: goes into the rows' `generator` column.
      first: number of the first new id, for callers that fill shard by shard.

    Returns:
      `Replenished`: the m new rows alone, and what the judge thought of them.

    Raises:
      UserError: no cell of the prior may take rows; method "oversample" has no original left to copy.
    """
    settings = settings or AugmentSettings()
    _require_generator(settings, generate)
    if m == 0 or not settings.replenish or settings.method not in ("diffusion", "oversample"):
        return Replenished(records.take(np.zeros(0, np.int64)))
    reference = records if reference is None else reference
    demand = demand_of(records, prior, settings.smoothing, settings.allow_empty_cells)
    seen = cells_of(reference, prior.variables)
    opened = np.bincount(seen[seen >= 0], minlength=len(demand.open)) > 0  # known to S at iteration 0, if gone now
    demand = dataclasses.replace(demand, open=demand.open | opened)
    additions = allocate(demand, m)
    if settings.method == "oversample":
        rows = resample.rows_to_copy(records, prior, additions, seed, iteration)
        return Replenished(resample.copies(records, rows, iteration, first))
    sampler = _Sampler(generate, judge, settings.max_redraws, generator_id, seed, iteration)
    made = sampler.rows(records, prior, additions, reference, first)
    return Replenished(made, **sampler.tally)


def _change(
    S: Records, prior: Prior, settings: AugmentSettings, sampler: "_Sampler", first: int
) -> tuple[Records, np.ndarray, np.ndarray]:
    """What a method does to one table: (rows added, bool[n] rows that stay, float64[n] weights)."""
    nothing = S.take(np.zeros(0, np.int64))
    stay, ones = np.ones(len(S), bool), np.ones(len(S))
    if settings.method == "none":
        return nothing, stay, ones
    demand = _demand(S, prior, settings)
    if settings.method == "reweigh":
        return nothing, stay, resample.row_weights(S, prior)
    if settings.method == "undersample":
        return nothing, resample.rows_to_keep(S, prior, demand, settings.rho, sampler.seed), ones
    additions = _additions(demand, settings)
    if settings.method == "oversample":
        rows = resample.rows_to_copy(S, prior, additions, sampler.seed, sampler.iteration)
        return resample.copies(S, rows, sampler.iteration, first), stay, ones
    return sampler.rows(S, prior, additions, S, first), stay, ones


def _demand(S: Records, prior: Prior, settings: AugmentSettings) -> Demand:
    """The counts and the prior; raises `UserError` where no rows can bring the one to the other."""
    check(prior, S, settings.allow_empty_cells and settings.method == "diffusion")
    return demand_of(S, prior, settings.smoothing, settings.allow_empty_cells)


def _additions(demand: Demand, settings: AugmentSettings) -> np.ndarray:
    """How many rows of each joint cell G has to make until B(S, D) < rho, int64[cells]."""
    if settings.solver == "gradient":
        return descend(demand, settings.rho, settings.max_growth)
    return meet(demand, settings.rho, settings.max_growth)


class _Sampler:
    """Makes synthetic rows of requested cells, and counts what the judge had drawn again."""

    def __init__(
        self,
        generate: Generate | None,
        judge: Judge | None,
        max_redraws: int,
        generator_id: str,
        seed: int,
        iteration: int,
    ):
        self._generate, self._judge, self._max_redraws = generate, judge, max_redraws
        self._generator_id, self.seed, self.iteration = generator_id, seed, iteration
        self.tally: Counter[str] = Counter()

    def rows(self, present: Records, prior: Prior, additions: np.ndarray, reference: Records, first: int) -> Records:
        """Synthetic rows, `additions[cell]` of each cell. Labels and other attributes follow `reference`."""
        m = int(additions.sum())
        self.tally["requested"] += m
        ids = [f"synthetic/{self.iteration:02d}/{first + k:06d}" for k in range(m)]
        labels, attributes = plan(present, prior, additions, reference, ids, self.seed)
        images, realised = self._draw(present, labels, attributes, ids)
        return Records(
            images=images,
            labels=labels,
            attributes=attributes,
            ids=np.array(ids, dtype=str),
            origin=np.full(m, self.iteration + 1, np.int8),
            specs=present.specs,
            label_names=present.label_names,
            subjects=None,
            generator=np.full(m, self._generator_id),
            realised=realised,
        )

    def _draw(
        self, like: Records, labels: np.ndarray, attributes: np.ndarray, ids: list[str]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        images = np.zeros((len(ids), *like.images.shape[1:]), np.uint8)  # [m, h, w, c]
        realised = np.full(attributes.shape, UNKNOWN, np.int8)  # [m, j]
        waiting = np.arange(len(ids))
        for redraw in range(int(self._max_redraws) + 1):
            if not waiting.size:
                break
            self.tally["redrawn"] += len(waiting) if redraw else 0
            keys = [f"{ids[row]}#{redraw}" for row in waiting]
            images[waiting] = _expect(self._call(labels[waiting], attributes[waiting], keys), images[waiting], "images")
            if self._judge is None:
                return images, None
            seen = _expect(self._judge(images[waiting]), realised[waiting], "attributes")
            realised[waiting] = seen
            asked = attributes[waiting]
            differs = np.any((seen != UNKNOWN) & (asked != UNKNOWN) & (seen != asked), axis=1)
            waiting = waiting[differs]
        self.tally["kept_although_different"] += len(waiting)
        return images, None if self._judge is None else realised

    def _call(self, labels: np.ndarray, attributes: np.ndarray, keys: list[str]) -> np.ndarray:
        assert self._generate is not None  # checked at the door
        return np.asarray(self._generate(labels, attributes, keys))


def _groups(settings: AugmentSettings, shard_of: np.ndarray | None, n: int) -> list[tuple[int, np.ndarray]]:
    """(shard, its rows) of each table that is brought to the prior by itself; all rows at once have no shard."""
    if settings.scope == "global":
        return [(UNKNOWN, np.arange(n))]
    if shard_of is None or len(shard_of) != n:
        raise UserError(f"augment.scope='shard' needs the shard of each of the {n} rows")
    shards = np.asarray(shard_of)
    return [(int(shard), np.flatnonzero(shards == shard)) for shard in np.unique(shards)]


def _require_generator(settings: AugmentSettings, generate: Generate | None) -> None:
    if generate is None and settings.method == "diffusion":
        raise UserError("augment.method='diffusion' needs a generator; methods without: none, oversample, reweigh, …")


def _expect(got: Any, like: np.ndarray, what: str) -> np.ndarray:
    array = np.asarray(got)
    if array.shape != like.shape:
        raise UserError(f"augment: expected {what} of shape {list(like.shape)}, got {list(array.shape)}")
    return array
