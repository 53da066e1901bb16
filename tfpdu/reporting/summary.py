"""The few numbers that a busy reader wants, drawn from the files of a run."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup

from tfpdu.reporting.formatting import count, exact, nats, percent
from tfpdu.reporting.run_data import RunData

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Summary:
    """Headline numbers; None where the run has not got there yet. Rates in [0, 1], bias in nats, times in seconds.

    `attack_first` and `attack_last` are the audit.json rows of the strongest attack on all originals at the first and
    at the last audited iteration. `work_seconds` adds up what the events measured: the run's own generators,
    augmentation, the first trainings, each unlearning step and deletion
    round, and the audits. `ended` says why a run stopped before its
    last iteration.
    """

    dataset: str | None
    originals_drawn: int | None
    rows: int | None
    added: int | None
    shards: int | None
    iterations_done: int
    iterations_planned: int | None
    device: str | None
    work_seconds: float | None
    kl_before: float | None
    kl_after: float | None
    baseline_accuracy: float | None
    test_first: float | None
    test_last: float | None
    originals_left: int | None
    attacks: int
    attack_first: Row | None
    attack_last: Row | None
    lineage: str | None
    has_generator: bool
    ended: str | None

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end: all iterations, or as many as its rows allowed."""
        planned = self.iterations_planned
        return self.ended is not None or (planned is not None and self.iterations_done >= planned)


def summarise(run: RunData) -> Summary:
    """Computes the headline numbers of a run, finished or in progress."""
    iterations = run.iterations()
    first, last = (iterations[0], iterations[-1]) if iterations else ({}, {})
    audited = main_audit(run)
    ends = sorted({row["iteration"] for row in audited if row.get("population") == "all_originals"})
    return Summary(
        dataset=_first([run.manifest.get("data", {}).get("name"), run.setting("data.name", "data")], str),
        originals_drawn=first.get("n_original", _counted(run)),
        rows=_plus(last.get("n_original"), last.get("n_synthetic")),
        added=run.bias.get("n_added"),
        shards=_first([run.setting("ensemble.shards", "unlearning.shards", "shards")], int),
        iterations_done=int(last.get("iteration", 0)),
        iterations_planned=_first(
            [run.setting("loop.iterations", "unlearning.iterations", "iterations", "loop.steps")], int
        ),
        device=run.manifest.get("device"),
        work_seconds=_work_seconds(run),
        kl_before=run.bias.get("kl_before"),
        kl_after=run.bias.get("kl_after"),
        baseline_accuracy=run.last("baseline").get("test_accuracy"),
        test_first=first.get("test_accuracy"),
        test_last=last.get("test_accuracy"),
        originals_left=last.get("n_original"),
        attacks=len({row["attack"] for row in audited}),
        attack_first=strongest(audited, ends[0]) if ends else None,
        attack_last=strongest(audited, ends[-1]) if ends else None,
        lineage=run.lineage,
        has_generator=run.has_generator,
        ended=run.last("stopped").get("reason"),
    )


def main_audit(run: RunData) -> list[dict[str, Any]]:
    """The audit rows that charts and headlines use: whole populations, one protocol (`holdout` where there is one)."""
    rows = [row for row in run.audit if not row.get("slice") and row.get("success_rate") is not None]
    protocols = {row.get("protocol") for row in rows}
    protocol = "holdout" if "holdout" in protocols else next(iter(sorted(map(str, protocols))), None)
    return [row for row in rows if str(row.get("protocol")) == protocol]


def strongest(rows: Iterable[Row], iteration: int, population: str = "all_originals") -> Row | None:
    """The row with the highest success rate at one iteration; the first of equals; None if there is none."""
    mine = [row for row in rows if row["iteration"] == iteration and row.get("population") == population]
    return max(mine, key=lambda row: row["success_rate"]) if mine else None


def sentence(summary: Summary) -> Markup:
    """The run in two or three sentences, with every number exact in a `<data>` element."""
    rate, number, kl = exact(percent), exact(count), exact(nats)
    parts = []
    if summary.kl_before is not None and summary.added is not None:
        rows = Markup("{} added rows took").format(number(summary.added)) if summary.added else "Debiasing took"
        parts.append(
            Markup("{} the data bias from {} to {} nats.").format(rows, kl(summary.kl_before), kl(summary.kl_after))
        )
    if summary.originals_left is not None and summary.originals_drawn is not None and summary.iterations_done > 0:
        left = summary.originals_left
        words = Markup("no original is left") if left == 0 else Markup("{} originals are left").format(number(left))
        parts.append(
            Markup("After {} unlearning steps {}, and test accuracy went from {} to {}.").format(
                summary.iterations_done, words, rate(summary.test_first), rate(summary.test_last)
            )
        )
    if summary.attack_first and summary.attack_last:
        end = "still above guessing" if above_guessing(summary.attack_last) else "which cannot be told from guessing"
        parts.append(
            Markup(
                "The strongest attack on the membership of the originals was right {} of the time at first and {} at "
                "last, {} (50%)."
            ).format(rate(summary.attack_first["success_rate"]), rate(summary.attack_last["success_rate"]), end)
        )
    return Markup(" ").join(parts)


def above_guessing(row: Row) -> bool:
    """Whether an attack's interval lies above 50 %."""
    low = row.get("ci_low")
    return bool(low is not None and low > 0.5)


def _work_seconds(run: RunData) -> float | None:
    iterations = run.iterations()
    parts = [row.get("seconds") for row in run.by_step("generator") if not row.get("pretrained")]
    parts += [row.get("seconds") for row in run.by_step("augment")]
    parts += [run.last("baseline").get("train_seconds")]
    parts += [row.get("train_seconds") for row in iterations[:1]]
    parts += [row.get("unlearn_seconds") for row in iterations[1:]]
    parts += [row.get("unlearn_seconds") for row in run.by_step("deletion")]
    parts += [row.get("audit_seconds") for row in iterations]
    known = [float(part) for part in parts if part is not None]
    return sum(known) if known else None


def _counted(run: RunData) -> int | None:
    for entry in run.bias.get("attributes", {}).values():
        if entry.get("counts_before"):
            return int(sum(entry["counts_before"]))
    return None


def _first(values: Iterable[Any], kind: type) -> Any:
    return next((value for value in values if isinstance(value, kind)), None)


def _plus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b
