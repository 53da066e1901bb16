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
      total_before, total_after (1/2 sum KL^2), kl_before, kl_after (sum KL), n_added, smoothing, joint}.
      `joint` holds, by name, the joint of the label and all the prior's variables where no constraint states it:
      marginals alone cannot see an association (all dogs black, all cats orange). Its prior is the product of the
      marginal priors, or None (with its KLs) where a variable has none. It does not enter the sums. Each entry also
      has its `shape`, and where a judge has seen the added rows, after_realised and kl_after_realised.
    """
    entries = {c.name: _entry(c, before, after, smoothing, weights_after) for c in prior.constraints}
    kls_before = [entry["kl_before"] for entry in entries.values()]
    kls_after = [entry["kl_after"] for entry in entries.values()]
    unstated = _unstated_joint(prior, after)
    joint = {}
    if unstated is not None:
        joint[" x ".join(unstated)] = _joint(unstated, prior, before, after, smoothing, weights_after)
    return {
        "attributes": entries,
        "total_before": total_bias(kls_before),
        "total_after": total_bias(kls_after),
        "kl_before": float(np.sum(kls_before)),
        "kl_after": float(np.sum(kls_after)),
        "n_added": len(after) - len(before),
        "smoothing": smoothing,
        "joint": joint,
    }


def as_lines(report: dict[str, Any]) -> list[str]:
    """The report, fresh or read from bias.json, as a table of text lines for a terminal."""
    entries = {**report["attributes"], **{f"({name})": entry for name, entry in report["joint"].items()}}
    first = max(len(name) for name in ["attribute", *entries]) + 2
    second = max(len(value) for entry in entries.values() for value in [*entry["values"], _TOTAL]) + 2

    def line(*words: str) -> str:
        return f"{words[0]:<{first}}{words[1]:<{second}}" + "".join(f"{word:>9}" for word in words[2:])

    lines = [line("attribute", "value", "rows", "added", "prior", "before", "after")]
    for name, entry in entries.items():
        columns = ("values", "counts_after", "counts_before", "before", "after")
        prior = entry["prior"] or [None] * len(entry["values"])
        for value, new, old, before, after, D in zip(*(entry[key] for key in columns), prior, strict=True):
            if new or D:
                shares = [f"{share:.4f}" for share in (before, after)]
                lines.append(line(name, value, f"{new:g}", f"{new - old:+g}", "" if D is None else f"{D:.4f}", *shares))
        if entry["prior"]:
            lines.append(line(name, "KL, nats", "", "", "", _nats(entry["kl_before"]), _nats(entry["kl_after"])))
    for word, key in (("sum KL, nats", "kl"), (_TOTAL, "total")):
        lines.append(line("all", word, "", "", "", _nats(report[f"{key}_before"]), _nats(report[f"{key}_after"])))
    lines.append(f"rows added: {report['n_added']}; smoothing: {report['smoothing']:g} pseudo-rows a value")
    if report["joint"]:
        lines.append("(in brackets: not part of the prior; where it has one, that is the product of its marginals)")
    return lines


_TOTAL = "total, 1/2 sum KL^2"


def _nats(value: float | None) -> str:
    return "inf" if value is None else f"{value:.3g}"


def _unstated_joint(prior: Prior, records: Records) -> tuple[str, ...] | None:
    """The label and all the prior's variables, unless that is one variable, or stated, or too much to show."""
    variables = tuple(dict.fromkeys(("label", *prior.variables)))
    stated = any(set(c.variables) == set(variables) for c in prior.constraints)
    cells = int(np.prod([records.spec(variable).cardinality for variable in variables]))
    return None if stated or len(variables) == 1 or cells > 400 else variables


def _joint(
    variables: tuple[str, ...],
    prior: Prior,
    before: Records,
    after: Records,
    smoothing: float,
    weights: np.ndarray | None,
) -> dict[str, Any]:
    marginals = {c.variables[0]: c.probabilities for c in prior.constraints if len(c.variables) == 1}
    D = np.ones(())
    for variable in variables:
        uniform = np.full(after.spec(variable).cardinality, 1 / after.spec(variable).cardinality)
        D = np.multiply.outer(D, marginals.get(variable, uniform))
    entry = _entry(Constraint(variables, D), before, after, smoothing, weights)
    if set(variables) != set(marginals):
        entry |= {key: None for key in entry if key == "prior" or key.startswith("kl_")}
    return entry


def _entry(
    constraint: Constraint, before: Records, after: Records, smoothing: float, weights: np.ndarray | None
) -> dict[str, Any]:
    D = constraint.probabilities.ravel()
    counts_before, counts_after = constraint.counts(before), constraint.counts(after, weights)
    P_before, P_after = smoothed(counts_before, smoothing), smoothed(counts_after, smoothing)
    entry = {
        "values": constraint.value_names(after),
        "shape": list(constraint.probabilities.shape),
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
