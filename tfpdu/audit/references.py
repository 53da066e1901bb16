"""Reference models: how likely would others, who were or were not trained on a row, find its label?

The shards of an ensemble are reference models at no training cost. A member's own shard was trained on it and all
others were not; so the others are its references. A non-member has no shard, and k references to a member's k - 1,
each of which is in the audited ensemble's mean: the two would differ before any model has remembered anything. So a
non-member is dealt a pseudo-shard, by a hash of its id, whose model is left out for it too. Then, of rows that leave no
trace, members and non-members have scores of one distribution.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfpdu.audit.losses import checked
from tfpdu.audit.signals import Predict, References, ask
from tfpdu.common.errors import UserError
from tfpdu.common.seeds import id_hashes
from tfpdu.data.records import Records

NO_SHARD = -1  # of a row that no model was trained on


def pseudo_shards(ids: Sequence[str], shards: int, seed: int) -> np.ndarray:
    """The shard that each non-member poses in: int64[n] in 0..shards-1, by a hash of (seed, id) alone."""
    if shards < 1:
        raise UserError(f"pseudo_shards: expected at least 1 shard, got {shards}")
    return (id_hashes(ids, seed, "pseudo-shard") % np.uint64(shards)).astype(np.int64)


def shard_references(answers: Any, labels: Any, ids: Sequence[str], shard: Any, seed: int) -> References:
    """References for the rows of an ensemble's audit, out of its own models' answers.

    For each row the model of its shard, or of its pseudo-shard, is left out (NaN), and `included` is False throughout:
    k - 1 references without the row, for members and non-members alike, so that nothing in the table tells them apart.
    They serve the offline attacks; the online ones, which need models trained with the row, refuse them.

    Args:
      answers: float64[k, n, C], each shard model's probabilities, as `Ensemble.shard_probabilities` gives; k >= 2.
      labels: int[n], true classes.
      ids: strings [n].
      shard: int[n] in 0..k-1, the shard that each row is in or, for a deleted one, was in; -1 for rows that were never
        in any: those get a pseudo-shard.
      seed: of the pseudo-shards; the same one for all rows of an audit.
    """
    answers, shard = np.asarray(answers, np.float64), np.asarray(shard)
    k, n = answers.shape[0], len(ids)
    if answers.ndim != 3 or k < 2 or answers.shape[1] != n:
        raise UserError(f"shard_references: expected answers [k, {n}, C] of k >= 2, got {list(answers.shape)}")
    if shard.shape != (n,) or shard.dtype.kind not in "iu" or (n and (shard.min() < NO_SHARD or shard.max() >= k)):
        raise UserError(f"shard_references: expected shard int[{n}] from {NO_SHARD} to {k - 1}")
    own = np.where(shard == NO_SHARD, pseudo_shards(ids, k, seed), shard)
    probabilities = np.stack([_true_class(model, labels) for model in answers], axis=1)  # [n, k]
    probabilities[np.arange(n), own] = np.nan
    return References(probabilities, np.zeros((n, k), bool))


def references_from_shards(
    shard_probabilities: Callable[[np.ndarray], np.ndarray],
    shards: Mapping[str, int],
    seed: int,
    block_rows: int = 512,
) -> Callable[[Records], References]:
    """A source for `Extras.references`: asks an ensemble's models about any rows, see `shard_references`.

    Args:
      shard_probabilities: uint8 images [m, h, w, c] -> float64[k, m, C], such as `Ensemble.shard_probabilities`.
      shards: id -> shard of every row that is in a shard or, before its deletion, was.
      seed: of the pseudo-shards of all other rows.
      block_rows: images that go to the models at once.
    """

    def ask_shards(records: Records) -> References:
        ids = records.ids.tolist()
        shard = np.array([shards.get(row_id, NO_SHARD) for row_id in ids], np.int64)
        parts = []
        for start in range(0, len(ids), block_rows):
            part = slice(start, start + block_rows)
            answers = shard_probabilities(records.images[part])
            parts.append(shard_references(answers, records.labels[part], ids[part], shard[part], seed))
        return References(
            np.concatenate([part.probabilities for part in parts]), np.concatenate([part.included for part in parts])
        )

    return ask_shards


def collect_references(
    predicts: Sequence[Predict], records: Records, included: Any, block_rows: int = 512
) -> References:
    """References from any models whose training rows are known.

    Draw the rows of each by coins that know nothing of the audited model's training rows (half of all rows, members
    and non-members alike, as LiRA and RMIA online have it, best in pairs that part the rows between them, so that
    each row has references of both kinds; or none of them, for the offline attacks). Models that were trained on all
    members and on no non-member are no references: `included` would tell the answer.

    Args:
      predicts: R models.
      records: n rows.
      included: bool[n, R], the model was trained on the row.
      block_rows: images that go to a model at once.
    """
    included = np.asarray(included)
    if included.shape != (len(records), len(predicts)):
        raise UserError(
            f"collect_references: expected included [{len(records)}, {len(predicts)}], got {list(included.shape)}"
        )
    answers = [ask(predict, records.images, records.classes, block_rows) for predict in predicts]
    return References(np.stack([_true_class(p, records.labels) for p in answers], axis=1), included)


def _true_class(probabilities: np.ndarray, labels: Any) -> np.ndarray:
    p, y = checked(probabilities, labels)
    return np.clip(p[np.arange(len(y)), y], 0, 1)
