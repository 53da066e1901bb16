"""The published numbers of the method that tfpdu implements, as data: each with its place in the text.

Pan, Andrews, Chang, Mishra, "Privacy-Preserving Debiasing using Data Augmentation and Machine Unlearning" (cited as
"main"). Rates are shares in [0, 1], times seconds. None of its numbers comes with an interval or a number of
repetitions. Bars and curves of its figures are not read off: only what its text and Table I state is here. Numbers of
other works are in `tfpdu.reporting.published_methods`.
"""

import dataclasses
import itertools

MAIN = "main"

# What a run does with a published number.
VALUE, AT_LEAST, ORDER, SEEN = "value", "at least", "order", "seen"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a run has to be like for a published number to be its counterpart; None and empty ask for nothing.

    Attributes:
      data: name of the data set.
      originals: |S| before anything is added.
      counts: {value: rows} of S by the attribute `over`.
      over: the variable of the prior.
      steps: T.
    """

    data: str = "cifar10"
    originals: int | None = None
    counts: tuple[tuple[str, int], ...] = ()
    over: str = ""
    steps: int | None = None


@dataclasses.dataclass(frozen=True)
class Published:
    """A published number or statement.

    Attributes:
      name: unique; also says to a reader what it is.
      value: the number; for an order, 0: the difference that is said to be above it; None where none is given.
      unit: "share", "seconds" or "rows".
      measure: what to hold it against, a name of `tfpdu.reporting.measurements`.
      place: table, figure or section.
      kind: "value"; "at least": the statement is that the quantity exceeds it; "order": that a difference is above
        0; "seen": nothing that a run measures stands for it.
      better: "higher", "lower", or "" where only the same will do.
      setting: of the run that it is comparable with.
      note: what to know before comparing.
      source: "main", or a key of `SOURCES`.
    """

    name: str
    value: float | None
    unit: str
    measure: str
    place: str
    kind: str = VALUE
    better: str = ""
    setting: Setting = Setting()
    note: str = ""
    source: str = MAIN


@dataclasses.dataclass(frozen=True)
class Contradiction:
    """Where the paper says two things, or one that cannot be; `ours` is what tfpdu does."""

    place: str
    text: str
    ours: str


# ---- Table I: ten iterations at a forget rate of 10 % ---------------------------------------------------------

RETAIN = (0.745, 0.744, 0.758, 0.756, 0.758, 0.746, 0.761, 0.744, 0.757, 0.741)
TESTING = (0.646, 0.655, 0.642, 0.653, 0.653, 0.668, 0.650, 0.655, 0.688, 0.645)
TRAINING_TIME = (
    "11m 1s",
    "12m 5s",
    "11m 48s",
    "11m 55s",
    "11m 9s",
    "10m 24s",
    "10m 29s",
    "10m 33s",
    "10m 54s",
    "11m 1s",
)

_TABLE1 = Setting(originals=5000, steps=10)
_SIZE = "Table I does not say how many rows S has; taken as the 5,000 of Figure 5."
_CLOCK = "Wall time on an RTX 2080 Super and a Ryzen 7 3700X against that of the run's machine; a step's retraining."


def seconds(text: str) -> int:
    """The paper's way to write a time: '11m 1s' -> 661.

    >>> seconds("11m 1s")
    661
    """
    minutes, rest = text.split("m ")
    return 60 * int(minutes) + int(rest.removesuffix("s"))


_COLUMNS = (
    ("retain accuracy", RETAIN, "share", "retain_accuracy", "higher", _SIZE),
    ("testing accuracy", TESTING, "share", "test_accuracy", "higher", _SIZE),
    ("training time", tuple(map(seconds, TRAINING_TIME)), "seconds", "step_seconds", "lower", _CLOCK),
)


def table1() -> tuple[Published, ...]:
    """Retain accuracy, testing accuracy and training time of iterations 1 to 10."""
    return tuple(
        Published(
            f"{name}, iteration {t}",
            value,
            unit,
            f"{measure}@{t}",
            f"Table I, iteration {t}",
            better=better,
            setting=_TABLE1,
            note=note,
        )
        for name, values, unit, measure, better, note in _COLUMNS
        for t, value in enumerate(values, 1)
    )


# ---- Figures 5 to 11: bias, and what debiasing does to a classifier -------------------------------------------

_FIGURE5 = Setting(originals=5000, counts=(("animal", 2959), ("vehicle", 2041)), over="superclass")
_FIGURE6 = Setting(originals=4000, counts=(("animal", 800), ("vehicle", 3200)), over="superclass")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

DEBIASING = (
    Published("rows of S", 5000, "rows", "originals", "Figure 5, caption", setting=_FIGURE5),
    Published("animals in S", 2959, "rows", "count/superclass=animal", "section IV.B.1, Figure 5", setting=_FIGURE5),
    Published("vehicles in S", 2041, "rows", "count/superclass=vehicle", "section IV.B.1, Figure 5", setting=_FIGURE5),
    Published(
        "vehicles added", 918, "rows", "added", "section IV.B.1", setting=_FIGURE5, note="2959 - 2041, the least number"
    ),
    Published("biased rows", 4000, "rows", "originals", "section IV.B.1, Figure 6", setting=_FIGURE6),
    Published(
        "animals among them (20 %)",
        800,
        "rows",
        "count/superclass=animal",
        "section IV.B.1, Figure 6",
        setting=_FIGURE6,
    ),
    Published(
        "vehicles among them (80 %)",
        3200,
        "rows",
        "count/superclass=vehicle",
        "section IV.B.1, Figure 6",
        setting=_FIGURE6,
    ),
    Published("animals added", 2400, "rows", "added", "section IV.B.1, Figure 8", setting=_FIGURE6),
    *(
        Published(
            f"{name}: accuracy after debiasing less before",
            0.0,
            "share",
            f"gain/label={name}",
            "section IV.B.1, Figures 7 and 9",
            ORDER,
            setting=_FIGURE6,
            note="Stated of each category, without a number in the text; 200 training iterations on either side.",
        )
        for name in CLASSES
    ),
    Published(
        "quality of the samples on par with the originals",
        None,
        "share",
        "cas_ratio",
        "section IV.B.2, Figures 10 and 11",
        SEEN,
        note="Judged by eye. Beside it: accuracy of a classifier of samples over that of one of as many real rows.",
    ),
)

# ---- Section IV.D and Figure 12: attacks ----------------------------------------------------------------------

_CIFAR = Setting(originals=5000)
_CELEBA = Setting(data="celeb_a")
_BELOW = (
    "A best threshold chosen on the rows it is scored on never scores under 50 %, and the better of an attack and its"
    " opposite never does either: this is some other quantity."
)
_START = "Read where all originals are in the model (0 % forgotten); the statement is on all of Figure 12."
_LATER = "Not said of which data set; held against both."


def _attacks() -> tuple[Published, ...]:
    place = "section IV.D, Figure 12"
    rows = [
        Published(
            "baseline attack success, CIFAR-10",
            0.45,
            "share",
            "success/strongest@0",
            place,
            SEEN,
            setting=_CIFAR,
            note=_BELOW,
        ),
        Published(
            "baseline attack success, CelebA",
            0.37,
            "share",
            "success/strongest@0",
            place,
            SEEN,
            setting=_CELEBA,
            note=_BELOW,
        ),
    ]
    orders = {
        "CIFAR-10": (_CIFAR, ("moments", "m_mean", "m_loss")),
        "CelebA": (_CELEBA, ("moments", "m_loss", "m_mean")),
    }
    for data, (setting, order) in orders.items():
        for first, second in itertools.pairwise(order):
            rows.append(
                Published(
                    f"{data}: success of {first} less {second}",
                    0.0,
                    "share",
                    f"lead/{first}-{second}@0",
                    place,
                    ORDER,
                    setting=setting,
                    note=_START,
                )
            )
        steps = dataclasses.replace(setting, originals=None, steps=10)
        rows += [
            Published(
                f"{data}: success of moments at 80 % forgotten",
                0.60,
                "share",
                "success/moments@8",
                place,
                AT_LEAST,
                better="lower",
                setting=steps,
                note=_LATER,
            ),
            Published(
                f"{data}: success of moments at the end",
                0.50,
                "share",
                "success/moments@10",
                place,
                better="",
                setting=steps,
                note=f"“Akin to random guessing”. {_LATER}",
            ),
            Published(
                f"{data}: success of any attack at the end",
                0.45,
                "share",
                "success/strongest@10",
                "section V",
                SEEN,
                setting=steps,
                note=f"“< 45% attack success rate”, against the 50 % of section IV.D. {_BELOW}",
            ),
        ]
    return tuple(rows)


ATTACKS = _attacks()


def main_paper() -> tuple[Published, ...]:
    """All numbers and statements of the main paper, in its order."""
    return (*DEBIASING, *table1(), *ATTACKS)


CONTRADICTIONS = (
    Contradiction(
        "section IV.D and section V",
        "Moments is said to converge to about 50 % success, random guessing, and the conclusion offers less than 45 %;"
        " the baseline before augmentation is 45 % (CIFAR-10) and 37 % (CelebA), below guessing.",
        "Success on a balanced set, with TPR, TNR, AUC and intervals; guessing is 50 %. Nothing is tuned to them.",
    ),
    Contradiction(
        "section IV.A",
        "M-Mean is said to be proposed in [19], which has no attack on the mean over augmented copies.",
        "M-Loss, M-Mean and Moments are those of Yu et al. (2021), its [1]; Moments are k-th roots of raw moments.",
    ),
    Contradiction(
        "Algorithm 1",
        "The gradient step has a plus sign, and the loss is to be minimised.",
        "A minus sign; with a known prior the least number of additions, in closed form.",
    ),
    Contradiction(
        "section III.B and Figure 2",
        "Bias is measured on marginals; in Figure 2 (black dogs, orange cats) every marginal is fair.",
        "A prior may be over joints of attributes and of label and attribute.",
    ),
    Contradiction(
        "section III.C, Theorem 1 and reference [14]",
        "n/d^(1/4) is given for what any unlearning can delete, and cn for the same; the first comes to 86 rows for a"
        " ResNet18 on 5,000, while 500 are deleted a step.",
        "The guard is cn with c configured; the rate binds the convex head alone. Both are printed.",
    ),
    Contradiction(
        "references [15] and [16]",
        "The bivariate marginal algorithm and the response to selection are cited for each other.",
        "UMDA, MIMIC and cGA as their authors define them.",
    ),
    Contradiction(
        "section III.C",
        "No original is left in the data set, so all possibility of an attack is said to be blocked; the generator was"
        " trained on the originals.",
        "generator.lineage says which it is: keep (the paper's), public, or strict; the report says what is left.",
    ),
)
