"""Plain words on what a run guarantees and what it does not, chosen by what the run was."""

import dataclasses
from typing import Any

from tfpdu.reporting.run_data import RunData

_CONDITIONS = (
    "“Without those rows” means the same manifest minus them: shard, slice and forget rank of every other row, and all "
    "seeds, were fixed by row id when the run was created.",
    "The prior and the counts that steer the augmentation are treated as public.",
    "The judge of sample attributes and any fitness were trained on auxiliary rows, none of them in S.",
    "Requests do not adapt to models already seen: whoever asks for a deletion chose it without looking at the "
    "models that this run gave out.",
)


@dataclasses.dataclass(frozen=True)
class Guarantees:
    """What the report says: the classifier's guarantee, and the pipeline's by the generator's lineage.

    Attributes:
      tone: 'good' where nothing of a forgotten row is left in the pipeline by construction, 'partial' where it can
        be for some rows, 'warning' where it is not.
      headline: one line on the pipeline.
      paragraphs: what that means.
    """

    tone: str
    headline: str
    paragraphs: tuple[str, ...]


_BY_LINEAGE = {
    "keep": Guarantees(
        "warning",
        "The generator remembers: the pipeline as a whole has no deletion guarantee.",
        (
            "The generator of this run was trained on the originals and is kept (generator.lineage = keep, the "
            "setting of the published method). Its samples stand in for the forgotten rows and still carry what it "
            "learned from them, so a row that the classifier has unlearned can still shape the classifier through "
            "the samples, and part of it might be recovered from the generator.",
            "“No originals left” therefore says which rows the classifier is trained on, not that nothing of them "
            "is left. Where that matters, train the generator on rows outside S: generator.lineage = public.",
        ),
    ),
    "public": Guarantees(
        "good",
        "The generator never saw the originals: its samples carry nothing of them.",
        (
            "The generator of this run was trained on rows outside S (generator.lineage = public), and stays as it is "
            "when originals are deleted. The guarantee for the classifier therefore holds for the whole pipeline, "
            "samples included.",
            "It says nothing about the public rows: they were never to be forgotten, and the generator may remember "
            "them.",
        ),
    ),
    "strict": Guarantees(
        "partial",
        "Each deletion retires the generator and its samples; both are made anew from the rows still there.",
        (
            "The generator of this run was trained on originals, but with each deletion the generator and "
            "every sample it made are dropped and made again without the deleted rows (generator.lineage = strict). "
            "Nothing that saw a deleted row survives in the pipeline.",
            "The originals that remain still train the generator, and a generator cannot be trained on nothing: such "
            "a run stops at generator.min_rows originals, whose traces are in the samples.",
        ),
    ),
}

_UNKNOWN = Guarantees(
    "warning",
    "The run does not say what its generator was trained on: assume that the samples carry the originals.",
    ("generator.lineage is not in config.json, or not one of keep, public, strict.",),
)

_UNKNOWN_METHOD = Guarantees(
    "warning",
    "This report does not know how the added rows were made: assume that they carry the originals.",
    ("augment.method in config.json is none of those that this version knows.",),
)

_WITHOUT_GENERATOR = {
    "none": Guarantees(
        "good",
        "No generator: no rows were made, and nothing but the classifier has seen the originals.",
        ("augment.method = none: the data set is only what was drawn, less what was deleted.",),
    ),
    "oversample": Guarantees(
        "good",
        "The added rows are copies of originals still in S; each step copies anew from what is left.",
        (
            "augment.method = oversample: the copies of a forgotten row leave with it, since every step starts from "
            "the originals that remain. Counts of originals left do not count copies.",
        ),
    ),
    "undersample": Guarantees(
        "good",
        "No generator: rows were left out, none were made.",
        ("augment.method = undersample: rows that were left out trained nothing.",),
    ),
    "reweigh": Guarantees(
        "good",
        "No generator: rows were weighted, none were made.",
        ("augment.method = reweigh: the weights depend on the counts, which are treated as public.",),
    ),
}


_SAMPLES_AS_GIVEN = (
    "The synthetic rows are taken as given: both models learn from the same samples. What the generator carried into "
    "them from the originals is not undone; see the words on the pipeline."
)


_STARTED_FROM_WEIGHTS = (
    "Training starts from weights of a file (ensemble.initial), which saw none of the rows of S. That is the user’s to "
    "know: weights that were made from S would carry it past every deletion."
)


def conditions(run: RunData) -> tuple[str, ...]:
    """Under which conditions epsilon and delta are zero for the classifier of this run."""
    given = (_SAMPLES_AS_GIVEN,) if run.has_generator and run.lineage not in ("public", "strict") else ()
    started = (_STARTED_FROM_WEIGHTS,) if run.setting("ensemble.initial") else ()
    return (*given, *started, *_CONDITIONS)


def guarantees(run: RunData) -> Guarantees:
    """The words for this run, by `augment.method` and `generator.lineage` in its config."""
    if not run.has_generator:
        return _WITHOUT_GENERATOR.get(run.setting("augment.method"), _UNKNOWN_METHOD)
    known = _BY_LINEAGE.get(str(run.lineage), _UNKNOWN)
    figures = run.last("generator").get("private")
    if run.lineage != "keep" or not figures:
        return known
    return _private(figures, run)


def _private(figures: dict[str, Any], run: RunData) -> Guarantees:
    """A kept generator that was trained privately: what its epsilon buys for the rows deleted so far."""
    from tfpdu.diffusion import Privacy, privacy_statement  # brings Keras along, which other reports do without

    privacy = Privacy(**figures)
    iterations = run.iterations()
    first, last = (iterations[0]["n_original"], iterations[-1]["n_original"]) if iterations else (0, 0)
    return Guarantees(
        "partial",
        f"The generator was trained with differential privacy: epsilon {privacy.epsilon:.3g} per deleted record.",
        (
            "The generator of this run was trained on the originals and is kept (generator.lineage = keep); its "
            "training was private, which bounds what it can have learned from any one of them.",
            *privacy_statement(privacy, max(1, first - last), originals_train_classifier=not iterations or last > 0),
        ),
    )
