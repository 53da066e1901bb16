"""Populations whose group measures are known, and samples of them: for the coverage of intervals."""

import dataclasses

import numpy as np

from tfpdu.audit.predictions import Attribute, Predictions

CONFIDENCES = np.array([0.55, 0.65, 0.75, 0.85, 0.95])
SHARES = np.array([0.1, 0.15, 0.2, 0.25, 0.3])


@dataclasses.dataclass(frozen=True)
class Population:
    """Groups with a share of positives and a rate of right answers for each label and confidence.

    Attributes:
      positives: P(label = 1 | group), [G].
      right: P(right | group, label, confidence), [G, 2, 5].
      rows: rows of each group in a sample, [G].
      people: rows a person; 1 is independent rows.
      spread: of the people's own rates: a person's rate of right answers is drawn from a Beta distribution around the
        group's, with this intra-person correlation.
    """

    positives: np.ndarray
    right: np.ndarray
    rows: tuple[int, ...]
    people: int = 1
    spread: float = 0.0

    def truth(self) -> dict[tuple[str, str], float]:
        """{(group, metric): value}; groups are "0", "1", ... and "all"."""
        hits = self.right @ SHARES  # [G, 2]
        tpr, fpr = hits[:, 1], 1 - hits[:, 0]
        selection = self.positives * tpr + (1 - self.positives) * fpr
        accuracy = self.positives * hits[:, 1] + (1 - self.positives) * hits[:, 0]
        of_confidence = np.einsum("gy,gyc->gc", np.stack([1 - self.positives, self.positives], 1), self.right)
        calibration = (SHARES * np.abs(of_confidence - CONFIDENCES)).sum(1)
        rates = {"tpr": tpr, "fpr": fpr, "selection_rate": selection, "accuracy": accuracy, "calibration": calibration}
        found = {(str(g), name): float(v) for name, values in rates.items() for g, v in enumerate(values)}
        gaps = {name: float(np.ptp(values)) for name, values in rates.items()}
        weights = np.array(self.rows) / sum(self.rows)
        of_all = {
            "demographic_parity": gaps["selection_rate"],
            "demographic_parity_ratio": float(selection.min() / selection.max()),
            "equal_opportunity": gaps["tpr"],
            "equalized_odds": max(gaps["tpr"], gaps["fpr"]),
            "worst_group_accuracy": float(accuracy.min()),
            "average_accuracy": float(weights @ accuracy),
            "adjusted_accuracy": float(accuracy.mean()),
        }
        return found | {("all", name): value for name, value in of_all.items()}

    def sample(self, rng: np.random.Generator) -> Predictions:
        """A sample of `rows` of each group."""
        codes = np.repeat(np.arange(len(self.rows)), self.rows)
        n = len(codes)
        subjects = np.concatenate([[0], np.cumsum((np.arange(1, n) % self.people == 0) | (np.diff(codes) > 0))])
        labels = (rng.random(n) < self.positives[codes]).astype(np.int64)
        at = rng.choice(len(SHARES), n, p=SHARES)
        p = self.right[codes, labels, at]
        if self.spread:
            # one uniform number a person, turned into a Beta quantile of each row's own rate
            from scipy import special

            size = 1 / self.spread - 1
            p = special.betaincinv(p * size, (1 - p) * size, rng.random(subjects[-1] + 1)[subjects])
        right = rng.random(n) < p
        return Predictions(
            labels=labels,
            predicted=np.where(right, labels, 1 - labels),
            classes=("no", "yes"),
            attributes=(Attribute("group", tuple(map(str, range(len(self.rows)))), codes),),
            confidence=CONFIDENCES[at],
            subjects=subjects if self.people > 1 else None,
        )


def _right(rates: list[list[float]], slope: float = 0.5) -> np.ndarray:
    """Rates that rise with confidence around the given means, [G, 2, 5]."""
    return np.array(rates)[:, :, None] + slope * (CONFIDENCES - CONFIDENCES @ SHARES)


UNEQUAL = Population(np.array([0.5, 0.35]), _right([[0.83, 0.82], [0.78, 0.62]]), (1000, 800))
EQUAL = Population(np.array([0.5, 0.5]), _right([[0.8, 0.8], [0.8, 0.8]], 1.0), (800, 800))
PEOPLE = Population(np.array([0.5, 0.35]), _right([[0.83, 0.82], [0.78, 0.6]]), (1600, 1200), people=8, spread=0.25)


def covered(population: Population, samples: int, seed: int = 0) -> dict[tuple[str, str], float]:
    """{(group, metric): share of the samples whose interval holds the truth}."""
    from tfpdu.audit.fairness import measures

    truth, rng = population.truth(), np.random.default_rng(seed)
    hits = dict.fromkeys(truth, 0)
    for _ in range(samples):
        for row in measures(population.sample(rng)):
            key = row["group"], row["metric"]
            if row["attribute"] == "group" and key in truth and row["value"] is not None:
                hits[key] += row["ci_low"] <= truth[key] <= row["ci_high"]
    return {key: count / samples for key, count in hits.items()}


def covered_of_classes(classes: int, unlike: float, rows: int, samples: int, seed: int = 0) -> dict[str, float]:
    """{measure: share of samples whose interval holds the truth}, of two groups and several classes.

    Args:
      classes: how many.
      unlike: 0 makes the groups equal, 1 unlike in everything.
      rows: of each group in a sample.
      samples: how many.
      seed: of the samples.
    """
    from tfpdu.audit.fairness import measures

    rng, made = np.random.default_rng(seed), np.random.default_rng(9)
    answers = np.eye(classes) * 0.7 + 0.3 / classes
    other = made.dirichlet(np.full(classes, 2.0), classes)
    given = np.stack([answers, (1 - unlike) * answers + unlike * other])  # P(answer | group, label)
    shares = np.stack([np.full(classes, 1 / classes)] * 2)
    shares[1] = (1 - unlike) * shares[1] + unlike * made.dirichlet(np.full(classes, 3.0))
    truth = _truth_of_classes(given, shares)
    hits = dict.fromkeys(truth, 0)
    codes = np.repeat([0, 1], rows)
    for _ in range(samples):
        labels = np.concatenate([rng.choice(classes, rows, p=share) for share in shares])
        predicted = (np.cumsum(given[codes, labels], 1) < rng.random(2 * rows)[:, None]).sum(1).clip(0, classes - 1)
        attribute = Attribute("group", ("0", "1"), codes)
        for row in measures(Predictions(labels, predicted, tuple(map(str, range(classes))), (attribute,))):
            if row["attribute"] == "group" and row["metric"] in truth:
                hits[row["metric"]] += row["ci_low"] <= truth[row["metric"]] <= row["ci_high"]
    return {name: count / samples for name, count in hits.items()}


def _truth_of_classes(given: np.ndarray, shares: np.ndarray) -> dict[str, float]:
    selection = np.einsum("gy,gyp->gp", shares, given)
    tpr = np.einsum("gcc->gc", given)
    gaps = {"demographic_parity": np.ptp(selection, 0), "equal_opportunity": np.ptp(tpr, 0)}
    gaps["equalized_odds"] = np.maximum(np.ptp(tpr, 0), np.ptp((selection - shares * tpr) / (1 - shares), 0))
    ratio = selection.min(0) / selection.max(0)
    found = {"demographic_parity_ratio": float(ratio.min()), "demographic_parity_ratio_mean": float(ratio.mean())}
    for name, gap in gaps.items():
        found |= {name: float(gap.max()), f"{name}_mean": float(gap.mean())}
    return found
