"""Attacks that calibrate a row's signal by reference models: LiRA and RMIA.

References:
  [1] Carlini, Chien, Nasr, Song, Terzis, Tramer. Membership inference attacks from first principles. S&P 2022.
  [2] Zarifzadeh, Liu, Shokri. Low-cost high-power membership inference attacks. ICML 2024.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from tfpdu.audit.losses import checked
from tfpdu.common.errors import UserError
from tfpdu.common.validation import in_range, one_of, positive

LIRA_MODES = ("online", "offline", "offline_z", "offline_two_sided")


def logit_statistic(probabilities: Any, labels: Any) -> np.ndarray:
    """log p_y - log(sum of the other p_j), float64[n]: LiRA's statistic, whose distribution is near normal [1].

    Args:
      probabilities: [n, C], rows summing to 1 within 1e-3. The input is left as it is.
      labels: int[n].
    """
    p, y = checked(probabilities, labels)
    rows = np.arange(len(y))
    own, others = p[rows, y], p.copy()
    others[rows, y] = 0
    return np.log(own + 1e-45) - np.log(others.sum(axis=1) + 1e-45)


def statistic_of_confidence(p: Any) -> np.ndarray:
    """log p - log(1 - p) of the true class's probability, any shape; NaN stays NaN.

    For models of which only that probability is kept. Cut at a probability of 1e-45 and, as float64 tells no larger
    ones from 1, of 1 - 1e-16: `logit_statistic` goes further up.
    """
    p = np.asarray(p, np.float64)
    return np.log(np.maximum(p, 1e-45)) - np.log(np.maximum(1 - p, 2.0**-53))


def deviation_of_all(groups: Sequence[Any]) -> np.ndarray:
    """One deviation for all rows (ddof 0), [k], from the residuals about each row's median; for `fix_variance`.

    Args:
      groups: per row the statistic of its models: n arrays [m_i] or [m_i, k], each with at least one model.
    """
    tables = [_table(group) for group in groups]
    return np.concatenate([table - np.median(table, axis=0) for table in tables]).std(axis=0)


def lira_scores(
    target: Any,
    ins: Sequence[Any] | None,
    outs: Sequence[Any],
    mode: str = "online",
    fix_variance: bool = False,
    deviations: Mapping[str, Any] | None = None,
    least_deviation: float = 0.0,
) -> np.ndarray:
    """Likelihood-ratio attack [1]. Returns float64[n]; higher = member.

    Each row's statistic is normal under the reference models that were trained with it (in) and without (out), with
    the median as mean and the deviation with ddof 0.

    Args:
      target: [n] the statistic of the audited model, or [n, k] for k queries of each row, whose scores are averaged.
      ins: per row the statistic of the models trained with it: n arrays [m_i] or [m_i, k]. Online only.
      outs: per row that of the models trained without it.
      mode: "online": log N(t; in) - log N(t; out). "offline": P[Z <= t] with Z ~ N(out), [1, eq. 4], one-sided.
        "offline_z": (t - median of out) / deviation, in the order of "offline" but without rounding to 1.
        "offline_two_sided": -log N(t; out), what the authors' code computes; it takes a row that is far *below* its
        out models for a member too.
      fix_variance: one deviation for all rows, from the residuals about each row's median: better under about 64
        models. Otherwise every row needs two models that do not agree on a side.
      deviations: fixed deviations [k] by side, "ins" and "outs", learned elsewhere by `deviation_of_all`. With
        `fix_variance` they come from the rows at hand, so that a row's score depends on the others; with these not.
      least_deviation: smaller deviations count as this one; at 0 a deviation of 0 is an error.
    """
    one_of(LIRA_MODES, mode=mode)
    t = np.asarray(target, np.float64)
    t = t[:, None] if t.ndim == 1 else t  # [n, k]

    def normal(groups: Sequence[Any], name: str) -> tuple[np.ndarray, np.ndarray]:
        given = None if deviations is None else deviations[name]
        return _normal(groups, len(t), fix_variance, name, given, least_deviation)

    mean_out, sd_out = normal(outs, "outs")
    if mode in ("offline", "offline_z"):
        z = (t - mean_out) / sd_out
        return (special.ndtr(z) if mode == "offline" else z).mean(axis=1)
    log_out = _log_density(t, mean_out, sd_out)
    if mode == "offline_two_sided":
        return -log_out.mean(axis=1)
    if ins is None:
        raise UserError("lira: the online mode needs the statistic of models trained with the rows (ins)")
    return (_log_density(t, *normal(ins, "ins")) - log_out).mean(axis=1)


def rmia_scores(p_x: Any, refs_x: Any, p_z: Any, refs_z: Any, gamma: float = 1.0, a: float | None = None) -> np.ndarray:
    """Robust membership attack [2]. Returns float64[n] in [0, 1]; higher = member.

    The share of population rows z with [p(x) / P(x)] / [p(z) / P(z)] >= gamma, where P is the mean over reference
    models. Ties count, as the definition has it (within 1e-12; the authors' code has a strict >).

    Args:
      p_x: [n] the audited model's probability of the true class.
      refs_x: [n, R] that of the reference models; NaN where a model is not to be used for a row.
      p_z: [Z] as p_x, for population rows that nobody trained on.
      refs_z: [Z, R] as refs_x.
      gamma: above 0.
      a: None: online, half of the references were trained with x, P(x) is their plain mean. A number in [0, 1]:
        offline, all references were trained without x, and P(x) = ((1 + a) * mean + (1 - a)) / 2 makes up for it.
    """
    positive(gamma=gamma)
    ratio_x, ratio_z = _ratio(p_x, refs_x, a, "x"), np.sort(_ratio(p_z, refs_z, a, "z"))
    # ratio_x / ratio_z >= gamma, by a search in the sorted population: O((n + Z) log Z).
    return np.searchsorted(ratio_z, ratio_x / gamma * (1 + 1e-12), side="right") / len(ratio_z)


def _ratio(p: Any, references: Any, a: float | None, name: str) -> np.ndarray:
    p, references = np.asarray(p, np.float64), np.asarray(references, np.float64)
    if p.ndim != 1 or not p.size or references.ndim != 2 or len(references) != len(p):
        raise UserError(f"rmia: expected p_{name} [n] and refs_{name} [n, R], got {p.shape} and {references.shape}")
    used = ~np.isnan(references)
    if not used.any(axis=1).all():
        raise UserError(f"rmia: row {int(np.flatnonzero(~used.any(axis=1))[0])} of refs_{name} has no reference model")
    mean = np.where(used, references, 0.0).sum(axis=1) / used.sum(axis=1)
    if a is not None:
        in_range(0, 1, a=a)
        mean = ((1 + a) * mean + (1 - a)) / 2
    return p / np.maximum(mean, np.finfo(np.float64).tiny)


def _normal(
    groups: Sequence[Any], n: int, fix_variance: bool, name: str, given: Any, least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Median and deviation of each row's models, [n, k] (or [1, k] for a fixed deviation)."""
    if len(groups) != n:
        raise UserError(f"lira: {name} has {len(groups)} rows, target has {n}")
    tables = [_table(group) for group in groups]
    fixed = fix_variance or given is not None
    short = [row for row, table in enumerate(tables) if len(table) < (1 if fixed else 2)]
    if short:
        raise UserError(f"lira: row {short[0]} of {name} has {len(tables[short[0]])} reference models, too few")
    median = np.stack([np.median(table, axis=0) for table in tables])
    if given is not None:
        sd = np.atleast_1d(np.asarray(given, np.float64))[None]
    elif fix_variance:
        sd = deviation_of_all(tables)[None]
    else:
        sd = np.stack([table.std(axis=0) for table in tables])
    sd = np.maximum(sd, least)
    if (sd <= 0).any():
        raise UserError(f"lira: the {name} of row {int(np.argwhere(sd <= 0)[0][0])} are all equal, no deviation")
    return median, sd


def _table(group: Any) -> np.ndarray:
    """[m, k]: m models, k queries."""
    table = np.asarray(group, np.float64)
    return table[:, None] if table.ndim == 1 else table


def _log_density(values: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    return -0.5 * ((values - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
