"""The risk of a single row or person: how likely is it to be a member, given its score?

References:
  [1] Song, Mittal. Systematic evaluation of privacy risks of machine learning models. USENIX Security 2021, section 4
      (the privacy risk score, by histograms of a score over members and non-members, a class at a time).
"""

from typing import Any

import numpy as np

from tfpdu.audit.statistics import scores
from tfpdu.common.errors import UserError
from tfpdu.common.validation import positive


class PrivacyRisk:
    """The posterior probability that a row is a member, given the bin of its score, at equal prior odds [1].

    risk = share of the calibration members in the bin / (that share + the non-members'). Half of the rows with a risk
    of 0.5 are members, on rows like the calibration's.

    Args:
      bins: how many; their edges are quantiles of all calibration scores, so that none is empty. [1] has 5 and
        log-spaced ones.
      edges: these bins' edges instead, ascending float[b + 1]; scores beyond the ends count to the outer bins, and one
        on an edge to the upper bin. Empty bins have the risk of the nearest one that is not.
      least_rows: a class with fewer calibration rows on either side has the risks of all classes together.
    """

    def __init__(self, bins: int = 5, edges: Any = None, least_rows: int = 50):
        positive(bins=bins, least_rows=least_rows)
        self._bins, self._least_rows = bins, least_rows
        self._given = None if edges is None else np.asarray(edges, np.float64)
        if self._given is not None and (self._given.ndim != 1 or (np.diff(self._given) <= 0).any()):
            raise UserError("edges: expected ascending numbers")
        self._tables: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def fit(
        self, members: Any, nonmembers: Any, member_labels: Any = None, nonmember_labels: Any = None
    ) -> "PrivacyRisk":
        """Learns the histograms from calibration rows; with labels int[n], a class at a time as well.

        Args:
          members: float[n1] scores, higher = member.
          nonmembers: float[n0].
          member_labels: int[n1] or None.
          nonmember_labels: int[n0] or None.
        """
        x, y = scores(members, "members"), scores(nonmembers, "nonmembers")
        self._tables = {_ALL: self._table(x, y)}
        if member_labels is not None and nonmember_labels is not None:
            x_labels, y_labels = np.asarray(member_labels), np.asarray(nonmember_labels)
            for code in np.intersect1d(x_labels, y_labels):
                own_x, own_y = x[x_labels == code], y[y_labels == code]
                if min(len(own_x), len(own_y)) >= self._least_rows:
                    self._tables[int(code)] = self._table(own_x, own_y)
        return self

    def of(self, values: Any, labels: Any = None) -> np.ndarray:
        """Risk of each row, float64[n] in [0, 1].

        Args:
          values: float[n] scores of the same attack.
          labels: int[n] or None, for the histograms of all classes.
        """
        if not self._tables:
            raise UserError("privacy risk: asked before fit")
        values = scores(values, "scores")
        codes = np.full(len(values), _ALL) if labels is None else np.asarray(labels)
        risk = np.empty(len(values))
        for code in np.unique(codes):
            edges, table = self._tables.get(int(code), self._tables[_ALL])
            risk[codes == code] = table[_bin(values[codes == code], edges)]
        return risk

    def _table(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Edges [b + 1] and risk of each bin [b]."""
        edges = self._given
        if edges is None:
            inner = np.quantile(np.concatenate([x, y]), np.linspace(0, 1, self._bins + 1)[1:-1], method="lower")
            edges = np.array([-np.inf, *np.unique(inner), np.inf])
        shares = [np.bincount(_bin(side, edges), minlength=len(edges) - 1) / len(side) for side in (x, y)]
        total = shares[0] + shares[1]
        full = np.flatnonzero(total > 0)
        nearest = full[np.abs(np.arange(len(total))[:, None] - full).argmin(axis=1)]
        return edges, (shares[0][nearest] / total[nearest])


_ALL = -1  # the key of all classes together


def _bin(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """int64[n]: the bin of each value; an edge belongs to the bin above it."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


def by_subject(values: Any, subjects: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean score of each person's rows, for an audit of persons in place of rows.

    A person's rows are members together or not at all, so the mean over them says more than one row does, and its rows
    are no independent draws: intervals and risks (`PrivacyRisk` fitted on calibration persons) are to be had from the
    persons' means.

    Args:
      values: float[n] scores.
      subjects: strings [n]; rows without a subject ("") are left out.

    Returns:
      names strings [m], ascending; mean scores float64[m]; rows int64[m] of each.
    """
    values, subjects = scores(values, "scores"), np.asarray(subjects)
    if subjects.shape != values.shape:
        raise UserError(f"subjects: expected one per score, got {list(subjects.shape)} for {len(values)}")
    known = subjects != ""
    names, owner, count = np.unique(subjects[known], return_inverse=True, return_counts=True)
    return names, np.bincount(owner, values[known], len(names)) / np.maximum(count, 1), count
