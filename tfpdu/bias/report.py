"""The bias report: the content of bias.json."""

import dataclasses
from typing import Any

import numpy as np

from tfpdu.bias.divergence import kl_divergence, smoothed, total_bias
from tfpdu.bias.priors import Constraint, Prior
from tfpdu.data.records import Records


def bias_report(
    before: Records,
    after: Records,
    prior: Prior,
    smoothing: float = 0.0,
    weights_after: np.ndarray | None = None,
) -> dict[str, Any]:
    """Partial and total bias of a table before and after, in nats.

    Args:
      before: the table as it came.
      after: the table after Algorithm 1 (or `before` again).
      prior: what both are held against.
      smoothing: pseudo-rows a value, in both.
      weights_after: float64[n_after] if the rows of `after` carry weights.

    Returns:
      {attributes: {name: {prior, before, after, kl_before, kl_after, values, counts_before, counts_after}},
      total_before, total_after (1/2 sum KL^2), kl_before, kl_after (sum KL), n_added, smoothing, joint}. `joint`
      holds, by name, the joint of all variables where no constraint states it, against the product of the
      marginal priors: marginals alone cannot see an association (all dogs black, all cats orange).
      Where a judge has seen the added rows, each entry also has after_realised and kl_after_realised.
    """
    entries = {c.name: _entry(c, before, after, smoothing, weights_after) for c in prior.constraints}
    kls_before = [entry["kl_before"] for entry in entries.values()]
    kls_after = [entry["kl_after"] for entry in entries.values()]
    unstated = independent_joint(prior)
    return {
        "attributes": entries,
        "total_before": total_bias(kls_before),
        "total_after": total_bias(kls_after),
        "kl_before": float(np.sum(kls_before)),
        "kl_after": float(np.sum(kls_after)),
        "n_added": len(after) - len(before),
        "smoothing": smoothing,
        "joint": {} if unstated is None else {unstated.name: _entry(unstated, before, after, smoothing, weights_after)},
    }


def independent_joint(prior: Prior) -> Constraint | None:
    """The product of single-variable constraints: the joint if the variables were independent.

    None if the prior already states the joint of all its variables, has one variable only, or has a
    variable without a marginal of its own.
    """
    marginals = {c.variables[0]: c.probabilities for c in prior.constraints if len(c.variables) == 1}
    stated = any(set(c.variables) == set(prior.variables) for c in prior.constraints)
    if stated or set(marginals) != set(prior.variables):
        return None
    joint = np.ones(())
    for variable in prior.variables:
        joint = np.multiply.outer(joint, marginals[variable])
    return Constraint(prior.variables, joint)


def as_lines(report: dict[str, Any]) -> list[str]:
    """The report as a table of text lines for a terminal."""
    lines = [f"{'attribute':<24}{'value':<24}{'rows':>8}{'prior':>9}{'before':>9}{'after':>9}"]
    entries = {**report["attributes"], **{f"({name})": e for name, e in report["joint"].items()}}
    for name, entry in entries.items():
        columns = zip(
            entry["values"], entry["counts_after"], entry["prior"], entry["before"], entry["after"], strict=True
        )
        for value, count, prior, old, new in columns:
            lines.append(f"{name:<24}{value:<24}{count:>8g}{prior:>9.4f}{old:>9.4f}{new:>9.4f}")
        lines.append(f"{name:<24}{'KL, nats':<24}{'':>17}{entry['kl_before']:>9.2g}{entry['kl_after']:>9.2g}")
    lines.append(f"{'all':<24}{'sum KL, nats':<41}{report['kl_before']:>9.2g}{report['kl_after']:>9.2g}")
    lines.append(f"{'all':<24}{'total, 1/2 sum KL^2':<41}{report['total_before']:>9.2g}{report['total_after']:>9.2g}")
    lines.append(f"rows added: {report['n_added']}; smoothing: {report['smoothing']:g} pseudo-rows a value")
    if report["joint"]:
        lines.append("(in brackets: not in the prior; held against the product of its marginals)")
    return lines


def _entry(
    constraint: Constraint, before: Records, after: Records, smoothing: float, weights: np.ndarray | None
) -> dict[str, Any]:
    D = constraint.probabilities.ravel()
    counts_before, counts_after = constraint.counts(before), constraint.counts(after, weights)
    P_before, P_after = smoothed(counts_before, smoothing), smoothed(counts_after, smoothing)
    entry = {
        "values": constraint.value_names(after),
        "prior": D.tolist(),
        "before": P_before.tolist(),
        "after": P_after.tolist(),
        "kl_before": kl_divergence(D, P_before),
        "kl_after": kl_divergence(D, P_after),
        "counts_before": _whole(counts_before),
        "counts_after": _whole(counts_after),
    }
    if after.realised is not None:
        seen = np.where(after.realised >= 0, after.realised, after.attributes)
        judged = dataclasses.replace(after, attributes=seen)
        P = smoothed(constraint.counts(judged, weights), smoothing)
        entry |= {"after_realised": P.tolist(), "kl_after_realised": kl_divergence(D, P)}
    return entry


def _whole(counts: np.ndarray) -> list[float]:
    return [int(c) if c == int(c) else float(c) for c in counts]
