"""What the pages of the two studies say around their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfpdu.data import Records
from tfpdu.debiasing import Comparison, Deletion, Study
from tfpdu.debiasing.deletion import COPIES, FORGETS, REMEDIES
from tfpdu.debiasing.methods import DIFFUSION, METHODS, NONE
from tfpdu.reporting import debiasing, deletion_study
from tfpdu.reporting.formatting import count, duration
from tfpdu.reporting.group_study import Line, Results
from tfpdu.reporting.group_study_page import StudyReport

_SHARED = (
    "The intervals of means and differences are over seeds: initial weights, orders, views, and which rows are copied,"
    " dropped or forgotten. S, the test rows and the generator with its samples are one draw, so they do not tell what"
    " another sample of people would give; the intervals over test rows of each single model are in the JSON and CSV"
    " files.",
    "Worst-group accuracy is the lowest accuracy of a group of the attribute; worst class x group accuracy that of a"
    " class in a group, as in the literature on group shifts. Demographic parity compares how often groups are given"
    " the positive class, equal opportunity how often their positives are, equalized odds the worse of that and of how"
    " often their negatives are; of several classes, the worst one against the rest counts. Data bias (KL), which"
    " Algorithm 1 removes, is none of these.",
    "Every model takes the same number of steps from the same initial weights of its seed, with the settings of"
    " config.ensemble on all rows at once; nothing was tuned for any method, and none was stopped early.",
)


def report_of(grid: Comparison | Deletion, lines: Sequence[Line], machine: Mapping[str, Any]) -> StudyReport:
    """The page's content, from the cells that are done."""
    results = Results(lines)
    return _methods(grid, results, machine) if isinstance(grid, Comparison) else _deletion(grid, results, machine)


def _methods(grid: Comparison, results: Results, machine: Mapping[str, Any]) -> StudyReport:
    names = debiasing.NAMES
    return StudyReport(
        title="Does debiasing by diffusion help?",
        lead=(
            "A biased table is learned as it is, debiased by plain methods that need no generator, and debiased by rows"
            " of a diffusion model; each model is measured on the same test rows, group by group."
        ),
        facts=[*_facts(grid, results, machine), ("group DRO", f"eta {grid.settings.eta:g}")],
        results=results,
        cells=len(grid.names),
        names=names,
        reference=NONE,
        marked=DIFFUSION if results.measured(DIFFUSION) else "",
        verdicts=debiasing.verdicts(results),
        differences=debiasing.differences(results),
        meanings=[(names[method], words) for method, words in METHODS.items() if method in results.arms],
        notes=[
            *_SHARED,
            *_help(grid, results.measured(DIFFUSION)),
            "The best plain method is the one with the best mean on these seeds, measure by measure. It was chosen on"
            " the numbers that it is compared by, which flatters it a little.",
        ],
    )


def _deletion(grid: Deletion, results: Results, machine: Mapping[str, Any]) -> StudyReport:
    share = f"{grid.settings.share:.0%} of the smallest group"
    sources = sorted({str(line["how"]) for line in results.lines if line.get("how")})
    notes = [*_SHARED, *_help(grid, any(words != COPIES for words in sources))]
    if any("trained" in words for words in sources):
        notes.append(
            "Rows of S trained the generator, those deleted among them: what replaces them may carry what was to be"
            " forgotten, so these deletions are exact for the classifier alone. A generator of public rows avoids that."
        )
    return StudyReport(
        title="Does deletion hurt?",
        lead=(
            "Rows are deleted on request, exactly: a model is trained anew without them. Requests that fall on one"
            " group are compared with as many at random, with new rows in their place, and with weights."
        ),
        facts=[
            *_facts(grid, results, machine),
            ("each request", f"{count(grid.rows)} rows, {share}"),
            ("new rows", ", ".join(sources) or "none yet"),
        ],
        results=results,
        cells=len(grid.names),
        names=deletion_study.NAMES,
        reference=deletion_study.START,
        marked="",
        verdicts=deletion_study.verdicts(results),
        differences=deletion_study.differences(results),
        meanings=[
            *FORGETS.items(),
            *((f"{name}", words) for name, words in REMEDIES.items()),
            (
                "worst-off group",
                "the one with the lowest accuracy on the auxiliary pool before the deletion; its rows are deleted in"
                " the order of their Shapley values for a 5-nearest-neighbour classifier of the group’s auxiliary rows"
                " among the last features of the model (Jia et al. 2019)",
            ),
        ],
        notes=notes,
    )


def _help(grid: Comparison | Deletion, used: bool) -> list[str]:
    """What a generator of public rows has over plain methods, if it was used."""
    if not used or not grid.source.strangers:
        return []
    return [
        f"The generator comes from a pool of {count(grid.source.strangers)} rows outside S, which no other method has:"
        " part of what its samples give is theirs."
    ]


def _facts(grid: Comparison | Deletion, results: Results, machine: Mapping[str, Any]) -> list[tuple[str, str]]:
    study = grid.study
    ensemble, data = study.settings.ensemble, study.settings.data
    groups = ", ".join(f"{name} {count(n)}" for name, n in _sizes(study, study.records).items())
    fewest = sorted((n, name) for name, n in _sizes(study, study.test).items())[:1]
    seconds = sum(line["cell_seconds"] for line in results.lines)
    target = f", {data.target}" if data.target else ""
    start = f" from {ensemble.initial}" if ensemble.initial else ""
    return [
        ("data", f"{data.name}{target}, {count(len(study.records))} rows in S"),
        (f"groups by {study.attribute}", groups),
        ("test rows", ", ".join([count(len(study.test)), *(f"{count(n)} of them {name}" for n, name in fewest)])),
        ("model", f"ResNet18, stem {ensemble.stem}, width {ensemble.width}{start}"),
        ("training", f"{count(study.course.steps)} steps of {study.course.batch} rows"),
        ("seeds", ", ".join(map(str, results.seeds))),
        ("time", f"{duration(seconds)} on {machine['processor']}, {machine['threads']} threads"),
    ]


def _sizes(study: Study, rows: Records) -> dict[str, int]:
    """Rows of each group that has any."""
    codes, names = study.groups(rows)
    sizes = np.bincount(codes[codes >= 0], minlength=len(names)).tolist()
    return {name: n for name, n in zip(names, sizes, strict=True) if n}
