"""Published numbers of unlearning methods, as data: what a benchmark of methods is put beside.

All on CIFAR-10 with ResNet18 unless said otherwise; numbers are percentages as printed, spreads as printed after "±".
`checked` says whether the numbers were read in the work itself; others are second-hand and are not to be quoted as
its own. The methods' own learning rates were searched against a model retrained from scratch: with default settings
nothing of this is to be expected.
"""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Source:
    """A work: who, when, what, where, and how far its numbers were checked."""

    title: str
    authors: str
    year: int
    where: str
    checked: bool
    note: str = ""


SOURCES = {
    "amun": Source(
        "Not All Wrong is Bad: Using Adversarial Examples for Unlearning",
        "Ebrahimpour-Boroojeny, Sundaram, Chandrasekaran",
        2025,
        "ICML, PMLR 267",
        True,
    ),
    "salun": Source(
        "SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency",
        "Fan et al.",
        2024,
        "ICLR",
        False,
        "Recalled; the gaps fit the rows. Its code masked gradients only until 2026: a frozen mask may not match.",
    ),
    "l1_sparse": Source(
        "Model Sparsity Can Simplify Machine Unlearning",
        "Jia et al.",
        2023,
        "NeurIPS",
        False,
        "Recalled. Its FT differs from SalUn's by the learning rate alone.",
    ),
    "sisa": Source("Machine Unlearning", "Bourtoule et al.", 2021, "IEEE S&P, abstract", True),
    "sg_unlearn": Source(
        "Adversarial Machine Unlearning",
        "Di, Yu, Vorobeychik, Liu",
        2024,
        "arXiv, ICLR 2025",
        False,
        "No table could be read; only the direction: lower attack success at comparable utility.",
    ),
    "cs726": Source(
        "CS726 Advanced Machine Learning: Project, Machine Unlearning (slides)",
        "Gokhake, Doshi, Mehta",
        2024,
        "IIT Bombay",
        True,
    ),
    "yu2021": Source(
        "How does data augmentation affect privacy in machine learning?",
        "Yu, Zhang, Chen, Yin, Liu",
        2021,
        "AAAI, abstract",
        True,
    ),
    "starting_kit": Source(
        "Starting kit of the NeurIPS 2023 unlearning challenge",
        "challenge organisers",
        2023,
        "output of its notebook",
        True,
    ),
    "fairness_robustness": Source(
        "Fairness and Robustness in Machine Unlearning",
        "Tran, Woo",
        2025,
        "WWW Companion",
        True,
        "The abstract has no number; layer spread gap = max over classes of sigma - min.",
    ),
}


@dataclasses.dataclass(frozen=True)
class MethodTable:
    """A published table of methods.

    Attributes:
      source: key of `SOURCES`.
      place: in that work.
      forgotten: share of the training rows that are forgotten, in [0, 1].
      retained: whether the methods may use the rows that stay.
      columns: names of the numbers.
      rows: {method: one number a column}; percentages, minutes for "minutes".
      spreads: {method: one "±" a column}, where printed.
      note: what to know.
    """

    source: str
    place: str
    forgotten: float
    retained: bool
    columns: tuple[str, ...]
    rows: dict[str, tuple[float, ...]]
    spreads: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    note: str = ""

    def value(self, method: str, column: str) -> float:
        """A number by its row and column."""
        return self.rows[method][self.columns.index(column)]

    def gap(self, method: str, columns: Sequence[str]) -> float:
        """Mean absolute difference from the retrained model over these columns, points."""
        return sum(abs(self.value(method, c) - self.value("Retrain", c)) for c in columns) / len(columns)


_AMUN = ("unlearn_accuracy", "retain_accuracy", "test_accuracy", "ft_auc", "average_gap")
_RUNS = "3 models x 3 forget sets x 3 runs; FT AUC is RMIA's, forget against test rows, ideal 50."
_SALUN = ("unlearn_error", "retain_accuracy", "test_accuracy", "mia_efficacy", "average_gap", "minutes")
_MASK = "Unlearn error is 100 - accuracy on the forgotten rows; MIA efficacy the share of them called non-members."

AMUN_10 = MethodTable(
    "amun",
    "Table 1, 10 %",
    0.10,
    True,
    _AMUN,
    {
        "Retrain": (94.49, 100.0, 94.33, 50.00, 0.0),
        "FT": (95.16, 96.64, 92.21, 52.08, 2.06),
        "RL": (95.54, 97.47, 92.17, 51.33, 1.74),
        "GA": (98.94, 99.22, 93.39, 60.96, 4.28),
        "BS": (99.14, 99.89, 93.04, 57.85, 3.48),
        "l1-Sparse": (94.29, 95.63, 91.55, 51.21, 2.16),
        "SalUn": (96.25, 98.14, 93.06, 50.88, 1.44),
        "AMUN": (95.45, 99.57, 93.45, 50.18, 0.62),
        "AMUN+SalUn": (95.02, 99.58, 93.29, 50.72, 0.68),
    },
    {
        "Retrain": (0.20, 0.0, 0.18, 0.42, 0.0),
        "FT": (0.29, 0.25, 0.27, 0.34, 0.10),
        "RL": (0.14, 0.08, 0.10, 0.63, 0.18),
        "GA": (1.39, 1.31, 1.18, 2.93, 0.47),
        "BS": (0.31, 0.06, 0.14, 1.12, 0.32),
        "l1-Sparse": (0.34, 0.16, 0.17, 0.32, 0.06),
        "SalUn": (0.21, 0.16, 0.18, 0.54, 0.12),
        "AMUN": (0.19, 0.00, 0.22, 0.36, 0.05),
        "AMUN+SalUn": (0.18, 0.04, 0.04, 0.79, 0.18),
    },
    _RUNS,
)

AMUN_50 = MethodTable(
    "amun",
    "Table 1, 50 %",
    0.50,
    True,
    _AMUN,
    {
        "Retrain": (92.09, 100.0, 91.85, 50.01, 0.0),
        "FT": (94.24, 95.82, 91.21, 51.74, 2.17),
        "RL": (94.83, 99.79, 90.08, 50.78, 1.38),
        "GA": (100.0, 100.0, 94.65, 63.39, 4.62),
        "BS": (55.24, 55.67, 50.16, 55.19, 32.01),
        "l1-Sparse": (98.00, 98.71, 92.79, 54.44, 2.67),
        "SalUn": (96.68, 99.89, 91.97, 50.86, 1.36),
        "AMUN": (93.50, 99.71, 92.39, 49.99, 0.33),
        "AMUN+SalUn": (93.56, 99.72, 92.52, 49.81, 0.36),
    },
    {
        "Retrain": (0.37, 0.0, 0.33, 0.12, 0.0),
        "FT": (0.30, 0.31, 0.33, 0.36, 0.13),
        "RL": (0.44, 0.04, 0.16, 0.14, 0.09),
        "GA": (0.0, 0.0, 0.07, 0.26, 0.05),
        "BS": (5.11, 4.90, 5.28, 0.42, 3.86),
        "l1-Sparse": (0.17, 0.13, 0.10, 0.47, 0.11),
        "SalUn": (0.35, 0.01, 0.18, 0.18, 0.04),
        "AMUN": (0.09, 0.01, 0.04, 0.18, 0.03),
        "AMUN+SalUn": (0.07, 0.02, 0.20, 0.40, 0.07),
    },
    f"{_RUNS} The gap printed for GA, 4.62, is not that of its row, 6.02.",
)

AMUN_10_WITHOUT = MethodTable(
    "amun",
    "Table 2, 10 %",
    0.10,
    False,
    _AMUN,
    {
        "Retrain": (94.49, 100.0, 94.33, 50.00, 0.0),
        "RL": (100.0, 100.0, 94.45, 61.85, 4.31),
        "GA": (4.77, 5.07, 5.09, 49.78, 68.53),
        "BS": (100.0, 100.0, 94.48, 61.41, 4.20),
        "SalUn": (100.0, 100.0, 94.47, 61.09, 4.11),
        "AMUN": (94.28, 97.47, 91.67, 52.24, 1.94),
        "AMUN+SalUn": (94.19, 97.71, 91.79, 51.93, 1.77),
    },
    note=_RUNS,
)

AMUN_50_WITHOUT = MethodTable(
    "amun",
    "Table 2, 50 %",
    0.50,
    False,
    _AMUN,
    {
        "Retrain": (92.09, 100.0, 91.85, 50.01, 0.0),
        "RL": (100.0, 100.0, 94.57, 61.99, 4.29),
        "GA": (100.0, 100.0, 92.65, 63.41, 5.13),
        "BS": (100.0, 100.0, 94.58, 62.43, 4.40),
        "SalUn": (100.0, 100.0, 94.59, 62.45, 4.40),
        "AMUN": (92.77, 95.66, 89.43, 52.60, 2.51),
        "AMUN+SalUn": (91.90, 96.59, 89.98, 52.32, 2.00),
    },
    note=_RUNS,
)

SALUN_10 = MethodTable(
    "salun",
    "Table 1, 10 %",
    0.10,
    True,
    _SALUN,
    {
        "Retrain": (5.24, 100.0, 94.26, 12.88, 0.0, 43.29),
        "FT": (0.63, 99.88, 94.06, 2.70, 3.78, 2.37),
        "RL": (7.61, 99.67, 92.83, 37.36, 7.15, 2.64),
        "GA": (0.69, 99.50, 94.01, 1.70, 4.12, 0.13),
        "IU": (1.07, 99.20, 93.20, 2.67, 4.06, 3.22),
        "BE": (0.59, 99.42, 93.85, 7.47, 2.76, 0.26),
        "BS": (1.78, 98.29, 92.69, 8.96, 2.67, 0.43),
        "l1-Sparse": (4.19, 97.74, 91.59, 9.84, 2.26, 2.36),
        "SalUn": (2.85, 99.62, 93.93, 14.39, 1.15, 2.66),
        "SalUn-soft": (4.19, 99.74, 93.44, 19.49, 2.19, 2.71),
    },
    note=_MASK,
)

SALUN_50 = MethodTable(
    "salun",
    "Table 1, 50 %",
    0.50,
    True,
    _SALUN[:5],
    {
        "Retrain": (7.91, 100.0, 91.72, 19.29, 0.0),
        "FT": (0.44, 99.96, 94.23, 2.15, 6.79),
        "RL": (4.80, 99.55, 91.31, 41.95, 6.65),
        "GA": (0.40, 99.61, 94.34, 1.22, 7.15),
        "IU": (3.97, 96.21, 90.00, 7.29, 5.36),
        "BE": (3.08, 96.84, 90.41, 24.87, 3.72),
        "BS": (9.76, 90.19, 83.71, 32.15, 8.13),
        "l1-Sparse": (1.44, 99.52, 93.13, 4.76, 5.72),
        "SalUn": (7.75, 94.28, 89.29, 16.99, 2.65),
        "SalUn-soft": (3.41, 99.62, 91.82, 31.50, 4.30),
    },
    note=_MASK,
)

L1_SPARSE_10 = MethodTable(
    "l1_sparse",
    "dense ResNet18, 10 %",
    0.10,
    True,
    ("unlearn_error", "mia_efficacy", "retain_accuracy", "test_accuracy"),
    {
        "Retrain": (5.41, 13.12, 100.0, 94.42),
        "FT": (6.83, 14.97, 96.61, 90.13),
        "GA": (7.54, 10.04, 93.31, 89.28),
        "FF": (7.84, 9.52, 92.05, 88.10),
        "IU": (2.03, 5.07, 98.26, 91.33),
    },
    note=_MASK,
)

STARTING_KIT = MethodTable(
    "starting_kit",
    "CIFAR-10, 10 %",
    0.10,
    True,
    ("mia_accuracy",),
    {"Original": (57.9,), "FT": (51.2,), "Retrain": (50.2,)},
    note="Logistic regression on the loss, forget against test rows. Test accuracy 88.3 originally, 84.0 after FT.",
)

CS726 = MethodTable(
    "cs726",
    "slides",
    0.10,
    True,
    ("test_accuracy",),
    {"Original": (88.0,), "FT": (84.1,), "FT + distance to the old weights": (85.8,), "final": (88.0,)},
    note="All automobiles are forgotten.",
)

TABLES = (
    AMUN_10,
    AMUN_50,
    AMUN_10_WITHOUT,
    AMUN_50_WITHOUT,
    SALUN_10,
    SALUN_50,
    L1_SPARSE_10,
    STARTING_KIT,
    CS726,
)


@dataclasses.dataclass(frozen=True)
class Statement:
    """A single published number with its place; shares in [0, 1], speed-ups as factors."""

    source: str
    place: str
    what: str
    value: float
    note: str = ""


_CLASS = "A forget set of one class beside test rows of all classes measures the class, not membership."

STATEMENTS = (
    Statement(
        "cs726", "Distributional difference", "attack accuracy against test rows of the forgotten class", 0.46, _CLASS
    ),
    Statement("cs726", "Final Model", "attack accuracy against all test rows", 0.99, _CLASS),
    Statement("sisa", "abstract", "speed-up of retraining, Purchase", 4.63),
    Statement("sisa", "abstract", "speed-up of retraining, SVHN", 2.45),
    Statement(
        "sisa", "abstract", "speed-up of retraining, ImageNet with transfer learning", 1.36, "slight loss of accuracy"
    ),
    Statement(
        "yu2021",
        "abstract",
        "success of Moments, CIFAR-10, WRN16-8",
        0.701,
        "thresholds chosen on the rows they are scored on",
    ),
    Statement("yu2021", "abstract", "best success before it", 0.619),
)
