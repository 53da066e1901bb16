"""What unlearning costs in rows times epochs: exactly, for a table that changes, and expected, by SISA's theory.

A shard is learned in stages, one a slice: each goes on from the one before, on the rows of its own slice and of all
earlier ones. A row that leaves makes the stages that saw it be trained again. In the theory a stage is the share of the
shard's rows that it sees and its passes over them, and the rows that leave are drawn uniformly.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfpdu.common.validation import in_range, positive

if TYPE_CHECKING:
    from tfpdu.ensemble.settings import EnsembleSettings

Stages = Sequence[tuple[float, float]]  # a slice each: share of the shard's rows that it sees, passes over them


def retraining_cost(
    settings: "EnsembleSettings",
    shard: np.ndarray,
    slice_: np.ndarray,
    changed_shard: np.ndarray,
    changed_slice: np.ndarray,
) -> int:
    """Rows times epochs of learning a table whose rows, but for some, were learned before: `Learned.row_epochs`.

    Args:
      settings: of the ensemble.
      shard: int[n], the shard of each row of the table that is to be learned, in 0..k-1.
      slice_: int[n], its slice, in 0..R-1.
      changed_shard: int[m], the shards of the rows that left or came.
      changed_slice: int[m], their slices.
    """
    k, slices = settings.shards, settings.slices
    epochs = np.diff([0, *settings.slice_epochs()])  # [R]
    first = np.full(k, slices)  # [k]: the first stage that has to be trained again
    np.minimum.at(first, changed_shard, changed_slice)
    seen = np.bincount(shard * slices + slice_, minlength=k * slices).reshape(k, slices).cumsum(1)  # [k, R] rows
    return int((seen * epochs)[np.arange(slices) >= first[:, None]].sum())


def sisa_stages(slices: int) -> list[tuple[float, float]]:
    """SISA's R stages: stage r sees r / R of the shard, 2 / (R + 1) times.

    Passes are in units of those of an unsliced training, whose cost all stages together have (Bourtoule et al. 2021).
    """
    positive(slices=slices)
    return [((r + 1) / slices, 2 / (slices + 1)) for r in range(slices)]


def slicing_cost(slices: int, requests: int = 1) -> float:
    """Expected cost of forgetting rows of one shard of R slices, as a share of training the shard anew.

    2/3 + 1/(3R) for one row (Bourtoule et al. 2021, time analysis of slicing). For K rows, the first stage that saw one
    of them is r with probability ((R - r + 1)^K - (R - r)^K) / R^K.

    Args:
      slices: R.
      requests: K, rows that are forgotten at once, few against the rows of a slice.
    """
    return _affected(sisa_stages(slices), 1, requests)


def batch_cost(rows: int, shards: int, requests: int, stages: Stages = ((1.0, 1.0),)) -> float:
    """Expected rows times passes of forgetting K rows at once.

    E[C] = sum_j e_j c_j (N (1 - (1 - c_j / S)^K) - K), where stage j sees the share c_j of its shard e_j times. One
    stage of all rows gives N (1 - (1 - 1/S)^K) - K (Bourtoule et al. 2021, batched requests); `sisa_stages`
    with one shard gives 2/3 + 1/(3R) of N.

    Args:
      rows: N, in shards of equal size.
      shards: S.
      requests: K, drawn uniformly; few against the rows of a stage, since they are treated as drawn with repetition.
      stages: c_j in 0..1 and e_j in units of the passes of an unsliced training.
    """
    in_range(1, rows, shards=shards)
    return rows * _affected(stages, shards, requests) - requests * sum(share * passes for share, passes in stages)


def sequential_cost(rows: int, shards: int, requests: int) -> float:
    """Expected rows times passes of forgetting K rows one after the other, with unsliced shards.

    E[C] = (N/S + 1/(2S) - 1) K - K^2 / (2S) (Bourtoule et al. 2021, sequential requests).

    Args:
      rows: N, at the start.
      shards: S.
      requests: K, drawn uniformly.
    """
    in_range(1, rows, shards=shards, requests=requests)
    return (rows / shards + 1 / (2 * shards) - 1) * requests - requests**2 / (2 * shards)


def _affected(stages: Stages, shards: int, requests: int) -> float:
    """The share of a training, over all shards, that saw one of K uniformly drawn rows."""
    positive(requests=requests)
    return sum(passes * share * (1 - (1 - share / shards) ** requests) for share, passes in stages)
