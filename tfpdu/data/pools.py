"""A data set is cut once into disjoint pools: who is a member, who is not, who judges, who tests."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.seeds import id_hashes
from tfpdu.data.records import Records

OFFICIAL = "official"
NAMES = ("private", "non_members_calibration", "non_members_evaluation", "auxiliary", "public", "test")


@dataclasses.dataclass(frozen=True)
class PoolSizes:
    """How large each pool is: a whole number of rows, or a share (a number with a point, 0.0 to 1.0).

    Attributes:
      private: what S is drawn from: members.
      non_members_calibration: trained nothing; attacks are calibrated on them.
      non_members_evaluation: trained nothing; attacks are measured on them.
      auxiliary: judge, fitness, tuning, feature extractors.
      public: a `public` generator's training rows.
      test: final accuracy only; 'official' = the source's own test partition, which then is in no other pool,
        and shares are of the rows outside it.
    """

    private: int | float
    non_members_calibration: int | float
    non_members_evaluation: int | float
    auxiliary: int | float
    public: int | float
    test: int | float | str

    def __post_init__(self) -> None:
        for name in NAMES:
            size = getattr(self, name)
            if size == OFFICIAL and name == "test":
                continue
            known = isinstance(size, (int, float)) and not isinstance(size, bool) and np.isfinite(size) and size >= 0
            if not known or (isinstance(size, float) and size > 1):
                or_official = ", or 'official'" if name == "test" else ""
                raise UserError(f"{name}: expected a number of rows (1000) or a share (0.1){or_official}, got {size!r}")
        shares = sum(size for size in map(self._number, NAMES) if isinstance(size, float))
        if shares > 1 + 1e-9:
            raise UserError(f"the shares sum to {shares:g}, expected at most 1")

    def _number(self, name: str) -> int | float:
        size = getattr(self, name)
        return 0 if size == OFFICIAL else size

    def rows(self, n: int) -> dict[str, int]:
        """Rows a pool out of n; rounding of shares never adds up to more than all shares together."""
        sizes: dict[str, int] = {}
        cumulated = 0.0
        for name in NAMES:
            size = self._number(name)
            if isinstance(size, float):
                before, cumulated = cumulated, cumulated + size
                size = int(np.floor(cumulated * n + 0.5 - 1e-9)) - int(np.floor(before * n + 0.5 - 1e-9))
            sizes[name] = int(size)
        return sizes


@dataclasses.dataclass(frozen=True)
class Pools:
    """Disjoint tables, see `PoolSizes`; a pool may be empty."""

    private: Records
    non_members_calibration: Records
    non_members_evaluation: Records
    auxiliary: Records
    public: Records
    test: Records

    def ids(self) -> dict[str, list[str]]:
        """The ids of each pool, to be recorded."""
        return {name: getattr(self, name).ids.tolist() for name in NAMES}

    @classmethod
    def from_ids(cls, records: Records, ids: Mapping[str, Sequence[str]]) -> "Pools":
        """The pools that `ids()` recorded.

        Raises:
          UserError: a pool is missing or unknown, an id is not in the data set, or is in two pools.
        """
        if set(ids) != set(NAMES):
            raise UserError(f"pools: expected {', '.join(NAMES)}, got {', '.join(ids) or 'none'}")
        listed = [row_id for name in NAMES for row_id in ids[name]]
        if len(set(listed)) != len(listed):
            twice = next(row_id for row_id in listed if listed.count(row_id) > 1)
            raise UserError(f"pools: id {twice!r} is listed more than once")
        return cls(**{name: records.take(records.rows_of(ids[name])) for name in NAMES})


def cut_pools(records: Records, sizes: PoolSizes, seed: int) -> Pools:
    """Cuts a data set into pools that have its shares of classes.

    Rows are ordered by the hash of (seed, id) within their class, classes are interleaved in proportion, and the
    sequence is cut: each pool has its share of each class within one row. Where `subjects` are known, whole subjects
    take the rows' place, so that nobody is in two pools; a pool then has at least the number of rows asked for, or
    the nearest number to its share.

    Args:
      records: the whole data set, in any order.
      sizes: of the pools.
      seed: a constant of the data set, not the run's seed: runs with other seeds share their pools.

    Raises:
      UserError: more rows are asked for than there are, or there is no official test partition, or the private or
        the test pool is left empty.
    """
    official = np.zeros(len(records), bool)
    if sizes.test == OFFICIAL:
        official = _official_test(records)
    rest = np.flatnonzero(~official)
    wanted = sizes.rows(len(rest))
    if sum(wanted.values()) > len(rest):
        parts = " + ".join(f"{name} {size}" for name, size in wanted.items() if size)
        outside = " outside the official test partition" if official.any() else ""
        raise UserError(f"config.pools: {parts} = {sum(wanted.values())} rows, the data set has {len(rest)}{outside}")
    unit, units = _units(records, rest)
    order = _interleaved(records.labels[rest], unit, id_hashes(units, seed, "pools"))
    cuts = _cuts(np.bincount(unit, minlength=len(units))[order], wanted, sizes)
    pool_of_unit = np.full(len(units), -1, np.int64)
    for index, (start, stop) in enumerate(cuts):
        pool_of_unit[order[start:stop]] = index
    pool = pool_of_unit[unit]
    tables = {name: records.take(np.sort(rest[pool == index])) for index, name in enumerate(NAMES)}
    if official.any():
        tables["test"] = records.take(official)
    for name in ("private", "test"):
        if not len(tables[name]):
            raise UserError(f"config.pools.{name}: {getattr(sizes, name)} leaves the pool empty")
    return Pools(**tables)


def _official_test(records: Records) -> np.ndarray:
    """bool[n]: ids of the form '<source>/test/...'."""
    official = np.array([row_id.split("/")[1:2] == ["test"] for row_id in records.ids.tolist()], bool)
    if not official.any():
        raise UserError("config.pools.test: this data set has no official test partition; name a number of rows")
    if records.subjects is not None:
        inside, outside = set(records.subjects[official]), set(records.subjects[~official])
        shared = sorted((inside & outside) - {""})
        if shared:
            raise UserError(
                f"config.pools.test: subject {str(shared[0])!r} is inside and outside the official test partition;"
                " name a number of rows instead"
            )
    return official


def _units(records: Records, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """What stays together: the unit of each row, int64[n], and the units' names (a subject, or a lone row's id)."""
    ids = records.ids[rows].tolist()
    if records.subjects is None:
        return np.arange(len(rows)), ids
    subjects = records.subjects[rows].tolist()
    keys = [f"subject\x1f{subject}" if subject else row_id for subject, row_id in zip(subjects, ids, strict=True)]
    names, unit = np.unique(keys, return_inverse=True)
    return unit, names.tolist()


def _interleaved(labels: np.ndarray, unit: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """The order of units, int64[u], any stretch of which has each class in proportion.

    A unit's class is the one that most of its rows have. Within a class units follow their hash; the k-th row of
    m stands at k/m of the way.
    """
    if not len(hashes):
        return np.zeros(0, np.int64)
    counts = np.zeros((len(hashes), labels.max() + 1), np.int64)
    np.add.at(counts, (unit, labels), 1)
    size, stratum = counts.sum(1), counts.argmax(1)
    place = np.zeros(len(hashes))
    for label in np.unique(stratum):
        members = np.flatnonzero(stratum == label)
        members = members[np.argsort(hashes[members], kind="stable")]
        ends = np.cumsum(size[members])
        place[members] = (ends - size[members] / 2) / ends[-1]
    return np.lexsort((hashes, place))


def _cuts(weights: np.ndarray, wanted: Mapping[str, int], sizes: PoolSizes) -> list[tuple[int, int]]:
    """Start and stop of each pool in the order of units, whose rows are `weights`."""
    ends = np.concatenate([[0], np.cumsum(weights)])  # rows before each unit
    cuts, start, target = [], 0, 0
    for name in NAMES:
        target += wanted[name]
        if isinstance(sizes._number(name), float):  # a share: the nearest boundary
            stop = max(start, int(np.abs(ends - target).argmin())) if wanted[name] else start
        else:  # a count: at least so many
            stop = int(np.searchsorted(ends, ends[start] + wanted[name])) if wanted[name] else start
            if stop >= len(ends):
                raise UserError(
                    f"config.pools.{name}: {wanted[name]} rows wanted, {ends[-1] - ends[start]} are left;"
                    " pools keep the rows of a person together and so take a few more than asked for"
                )
        cuts.append((start, stop))
        start = stop
    return cuts
