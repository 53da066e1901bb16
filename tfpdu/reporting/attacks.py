"""Attacks in words: what each is called, what it asks, and what its row of audit.json says."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfpdu.reporting.formatting import aligned, count, decimal, percent

Row = Mapping[str, Any]

# name in audit.json -> what readers call it, and what it asks
ATTACKS = {
    "m_loss": ("M-Loss", "is the loss on the picture low?"),
    "m_mean": ("M-Mean", "is the mean loss over the picture's training views low?"),
    "moments": ("Moments", "a small network on the moments of the losses over the training views"),
    "correctness": ("correctness", "is the answer right? No more than the gap between training and test accuracy"),
    "confidence": ("confidence", "is the probability of the true class high?"),
    "confidence_by_class": ("confidence, by class", "the same, with a threshold a class"),
    "entropy": ("entropy", "is the model sure of its answer, right or wrong?"),
    "entropy_by_class": ("entropy, by class", "the same, with a threshold a class"),
    "modified_entropy": ("modified entropy", "is the model sure, and right?"),
    "modified_entropy_by_class": ("modified entropy, by class", "the same, with a threshold a class"),
    "adversarial_confidence": (
        "adversarial confidence",
        "does the answer hold on a picture perturbed against the model?",
    ),
    "lira_online": ("LiRA, online", "is the confidence like that of models trained with the row, or without it?"),
    "lira_offline": ("LiRA, offline", "is the confidence higher than that of models trained without the row?"),
    "lira_offline_two_sided": ("LiRA, offline, two-sided", "is the confidence unlike that of models without the row?"),
    "rmia_online": ("RMIA, online", "does the row gain more over reference models than rows that nobody trained on?"),
    "rmia_offline": ("RMIA, offline", "the same, with models trained without the row"),
    "two_versions": ("two versions", "did the answer change between an earlier version of the model and this one?"),
    "blind": ("blind", "never asks the model: has to be at 50%, or the other numbers are no evidence"),
    "tfp_threshold": ("loss threshold", "TensorFlow Privacy: the loss on the picture"),
    "tfp_entropy": ("entropy threshold", "TensorFlow Privacy: the entropy of the answer"),
    "tfp_lr": ("logistic regression", "TensorFlow Privacy: on the answer and its loss"),
    "tfp_mlp": ("perceptron", "TensorFlow Privacy: on the answer and its loss"),
    "tfp_knn": ("nearest neighbours", "TensorFlow Privacy: on the answer and its loss"),
    "tfp_rf": ("random forest", "TensorFlow Privacy: on the answer and its loss"),
}
PROTOCOLS = {
    "holdout": "thresholds and attackers are fitted on other rows than those that are counted",
    "yu2021": "as Yu et al. 2021: the threshold is the best one for the very rows that are counted, so that even an "
    "attack that knows nothing ends a little above 50%",
    "tensorflow_privacy": "as TensorFlow Privacy counts: the best threshold for the very rows that are counted, so "
    "again a little above 50% by construction",
}
POPULATIONS = {
    "all_originals": "all originals of S",
    "forgotten": "originals forgotten so far",
    "remaining": "originals not yet forgotten",
}
LEVEL = 0.05  # of the family of tests of one audit, after Holm
UNRESOLVABLE = "unresolvable"
NOTHING, LEAK, REVERSE = "nothing found", "leak", "leak in reverse"


def attack_name(name: str) -> str:
    """What readers call an attack; one's own is called by its name."""
    return ATTACKS[name][0] if name in ATTACKS else name


def verdict(row: Row) -> str:
    """A row of audit.json in words: "nothing found", "leak" or "leak in reverse".

    A leak, either way, is an AUC whose interval leaves out 50%; where that does not hold after Holm's correction for
    all tests of the audit, the words say so. A row whose scores were chosen on themselves has no p-value: "in-sample".
    """
    low, high, p = row.get("auc_ci_low"), row.get("auc_ci_high"), row.get("p_holm")
    if low is None or high is None:
        return ""
    found = LEAK if low > 0.5 else REVERSE if high < 0.5 else NOTHING
    if found == NOTHING or "p_holm" not in row:
        return found
    if p is None:
        return f"{found} (in-sample)"
    return found if p <= LEVEL else f"{found}, not after Holm"


def p_text(p: float | None) -> str:
    """A p-value: 0.0312 -> '0.031', tiny ones '<0.001'."""
    if p is None:
        return "–"
    return "<0.001" if p < 0.001 else decimal(p, 3)


def stand_out(rows: Iterable[Row]) -> list[Row]:
    """Of each slice that has a test that is significant after Holm the strongest one, strongest first."""
    found = [row for row in rows if row.get("slice") and row.get("p_holm") is not None and row["p_holm"] <= LEVEL]
    found.sort(key=lambda row: (row["p_holm"], -abs(row["auc"] - 0.5)))
    best: dict[tuple[str, ...], Row] = {}
    for row in found:
        best.setdefault((str(row.get("iteration")), row["population"], row["slice"]), row)
    return list(best.values())


def slices_sentence(rows: Sequence[Row], found: Sequence[Row]) -> str:
    """How many slices stand out, of how many that were large enough to be looked at."""
    every = {(row.get("iteration"), row["population"], row["slice"]) for row in rows}
    return f"{len(found)} of {len(every)} slices stand out after Holm’s correction"


def as_lines(rows: Sequence[Row]) -> list[str]:
    """Plain text for a terminal: a table a population and protocol, then the slices that stand out."""
    lines: list[str] = []
    whole = [row for row in rows if not row.get("slice")]
    for population, protocol in dict.fromkeys((row["population"], row["protocol"]) for row in whole):
        mine = [row for row in whole if (row["population"], row["protocol"]) == (population, protocol)]
        sides = f"{count(mine[0]['n_members'])} against {count(mine[0]['n_nonmembers'])} non-members"
        lines += ["", f"{POPULATIONS.get(population, population)}: {sides}, {protocol}"]
        lines += _table(mine)
    slices = [row for row in rows if row.get("slice")]
    if slices:
        found = stand_out(slices)
        lines += ["", slices_sentence(slices, found) + (", each by its strongest attack:" if found else "")]
        lines += aligned([_slice_cells(row) for row in found[:10]])
    return lines[1:]


def numbers(rows: Sequence[Row]) -> dict[str, list[float | None]]:
    """What a gate can name: [population.][slice.]attack.key, such as "moments.ci_low" or "label:cat.m_loss.auc".

    A name without population or slice stands for all populations' whole rows. Keys are those of the rows, with
    "tpr_at_0.01" for the true-positive rate at that false-positive rate. Of several protocols `holdout` is meant;
    others are named before the attack, "yu2021.moments.success_rate".
    """
    found: dict[str, list[float | None]] = {}
    main = "holdout" if any(row["protocol"] == "holdout" for row in rows) else None
    for row in rows:
        values = {key: row.get(key) for key in _NUMBERS}  # runs of before have no p-values
        values |= {f"tpr_at_{k}": v for k, v in row["tpr_at_fpr"].items()}
        part = f"{row['slice'].replace('=', ':')}." if row.get("slice") else ""
        protocol = "" if main in (None, row["protocol"]) else f"{row['protocol']}."
        for key, value in values.items():
            for prefix in ("", f"{row['population']}."):
                found.setdefault(f"{prefix}{part}{protocol}{row['attack']}.{key}", []).append(value)
    return found


_NUMBERS = ("success_rate", "ci_low", "ci_high", "tpr", "tnr", "auc", "auc_ci_low", "auc_ci_high", "p_value", "p_holm")


def csv_table(rows: Sequence[Row]) -> list[list[str]]:
    """The rows as a table of texts, head first; `tpr_at_fpr` becomes a column a rate, with "unresolvable"."""
    fprs = rates(rows)
    plain = [key for key in (rows[0] if rows else {}) if key not in ("tpr_at_fpr", "slice")]
    lines = [[*plain, "slice", *(f"tpr_at_fpr_{fpr}" for fpr in fprs), "verdict"]]
    for row in rows:
        cells = ["" if row[key] is None else str(row[key]) for key in plain]
        tprs = [row["tpr_at_fpr"].get(fpr) for fpr in fprs]
        texts = [UNRESOLVABLE if value is None else str(value) for value in tprs]
        lines.append([*cells, row.get("slice") or "", *texts, verdict(row)])
    return lines


def rates(rows: Iterable[Row]) -> list[str]:
    """The false-positive rates of all rows as texts, largest first."""
    return sorted({fpr for row in rows for fpr in row.get("tpr_at_fpr") or {}}, key=float, reverse=True)


def _table(rows: Sequence[Row]) -> list[str]:
    fprs = rates(rows)
    heads = (
        "attack",
        "success",
        "TPR",
        "TNR",
        "AUC",
        *(f"TPR at {100 * float(fpr):.4g}%" for fpr in fprs),
        "p (Holm)",
        "verdict",
    )
    return aligned([heads, *([attack_name(row["attack"]), *_cells(row, fprs)] for row in rows)])


def _cells(row: Row, fprs: Sequence[str]) -> list[str]:
    tprs = [row["tpr_at_fpr"].get(fpr) for fpr in fprs]
    return [
        f"{percent(row['success_rate'])} ({percent(row['ci_low'])} to {percent(row['ci_high'])})",
        percent(row["tpr"]),
        percent(row["tnr"]),
        f"{decimal(row['auc'])} ({decimal(row['auc_ci_low'])} to {decimal(row['auc_ci_high'])})",
        *(UNRESOLVABLE if value is None else percent(value) for value in tprs),
        p_text(row["p_holm"]),
        verdict(row),
    ]


def _slice_cells(row: Row) -> list[str]:
    names = row["slice"], POPULATIONS.get(row["population"], row["population"]), attack_name(row["attack"])
    success, _, _, area, *_, p, words = _cells(row, [])
    return [*names, success, area, p, words]
