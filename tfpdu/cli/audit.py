"""`tfpdu audit`, `scripts/audit.py`: how well can rows of the training data be told from others, by asking the model?

    tfpdu audit --workdir=runs/digits                                  # a run: its last ensemble, or --iteration=3
    tfpdu audit --model=my.keras --members=train.npz --nonmembers=held_out.npz      # a Keras model or SavedModel
    tfpdu audit --model=saved/ --members=cifar10:train[:5000] --nonmembers=cifar10:test
    tfpdu audit --logits=answers.npz                                   # bare answers of any framework's model

Members were in the training, non-members not. --members and --nonmembers are .npz files (images, labels), folders
with a CSV, or a TFDS name with split. The model gets their pixels as --pixels says and nothing else: means,
deviations and sizes have to be a part of it, or of a function named by --model=package.module:function. An answer
file holds members, nonmembers [n, C] or [n, 1 + N, C], members_labels and nonmembers_labels; docs/audit.md has its
other arrays.

Prints a table; --output=audit.json also writes the rows, audit.csv and the page audit.html beside it.
--fail_if="moments.ci_low>0.55" makes it a gate for pipelines: names are [population.][slice.]attack.key, such as
m_loss.auc_ci_low, moments.tpr_at_0.01 or label:cat.m_loss.p_holm.

Exit codes: 0 done, no gate fired; 2 the input is at fault, or a gate cannot be decided; 3 a gate fired.
"""

import contextlib
import csv
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfpdu.cli import app
from tfpdu.common.errors import UserError

if TYPE_CHECKING:
    from tfpdu.audit import AuditSettings
    from tfpdu.audit.subject import Subject

_WORKDIR = flags.DEFINE_string("workdir", "", "a run directory")
_ITERATION = flags.DEFINE_integer("iteration", None, "with --workdir: whose ensemble; default the last step's")
_MODEL = flags.DEFINE_string("model", "", ".keras, .h5, a SavedModel's directory, or package.module:function")
_MEMBERS = flags.DEFINE_string("members", "", "with --model: rows that it was trained on")
_NONMEMBERS = flags.DEFINE_string("nonmembers", "", "with --model: rows that it was not trained on")
_LOGITS = flags.DEFINE_string("logits", "", "an answer file of logits")
_PROBABILITIES = flags.DEFINE_string("probabilities", "", "an answer file of probabilities")
_PIXELS = flags.DEFINE_enum(
    "pixels", "0..255", ["0..255", "0..1", "uint8"], "what the model gets; the first two float32"
)
_ANSWERS = flags.DEFINE_enum("answers", "auto", ["auto", "logits", "probabilities"], "what the model gives")
_EARLIER = flags.DEFINE_string("earlier", "", "with --model: an earlier version of it, for the attack two_versions")
_BATCH = flags.DEFINE_integer("batch", 256, "pictures that the model is asked about at once", lower_bound=1)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 0, "pixels a side that pictures are resized to; 0 as they are")
_TABLE = flags.DEFINE_string("table", "", "of a folder of pictures: its CSV")
_LABEL = flags.DEFINE_string("label", "", "of a folder of pictures: the column of the class")
_SUBJECT = flags.DEFINE_string("subject", "", "of a folder of pictures: the column of the person")
_ATTRIBUTES = flags.DEFINE_list("attributes", [], "columns to slice by, e.g. gender; default all that there are")
_DIRECTORY = flags.DEFINE_string("tfds_directory", "", "of TFDS data; default TFDS_DATA_DIR")
_DROP_SHARED = flags.DEFINE_bool("drop_shared", False, "leave out pictures that are on both sides, instead of refusing")
_ATTACKS = flags.DEFINE_list("attacks", [], "names; default all usual ones that the answers allow")
_ATTACK = flags.DEFINE_multi_string("attack", [], "one's own as well, package.module:function; several times")
_PROTOCOLS = flags.DEFINE_list("protocols", ["holdout"], "holdout, yu2021")
_TFP = flags.DEFINE_list("tensorflow_privacy", [], "its attacks as well: threshold, entropy, lr, knn, mlp, rf")
_SLICES = flags.DEFINE_list("slices", [], "label, correct, and names of attributes")
_ROWS = flags.DEFINE_integer("rows", 5000, "members, and non-members, a role at most", lower_bound=1)
_VIEWS = flags.DEFINE_integer("views", 10, "with --model: views of each row, N", lower_bound=1)
_SHIFT = flags.DEFINE_integer("shift", 4, "with --model: pixels that a view is moved at most", lower_bound=0)
_FLIP = flags.DEFINE_bool("flip", True, "with --model: half of the views are mirrored")
_BUDGET = flags.DEFINE_integer(
    "budget", 8, "grey levels of perturbed images, for adversarial_confidence", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", 0, "of roles, views and attacks; a run has its own", lower_bound=0)
_OUTPUT = flags.DEFINE_string("output", "", "where to write the rows, a .json file; .csv and .html go beside it")
_FAIL_IF = flags.DEFINE_multi_string("fail_if", [], 'end with exit code 3 if this holds, e.g. "moments.ci_low>0.55"')
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "say how many queries, how long and how much memory; attack nothing")


def _main(argv: Sequence[str]) -> None:
    del argv
    output = app.json_path(_OUTPUT.value)
    from tfpdu.common.gate import Gate, fired

    gates = [Gate.parse(text) for text in _FAIL_IF.value]
    sys.path.append(os.getcwd())  # for package:function; last, so that it hides nothing
    with _subject() as subject:
        attacks = (*(_ATTACKS.value or subject.usual_attacks()), *_ATTACK.value)
        subject.check(attacks)
        settings = _settings(attacks)
        if _DRY_RUN.value:
            from tfpdu.audit.forecast import forecast

            print(forecast(subject, settings))
            return
        rows = _audit(subject, settings, output)
    from tfpdu.reporting.attacks import numbers

    app.end_if_fired(fired(gates, numbers(rows)))


def _audit(subject: "Subject", settings: "AuditSettings", output: Path | None) -> list[dict[str, Any]]:
    """Attacks, prints and writes."""
    from tfpdu.audit import audit_rows
    from tfpdu.common import files, say
    from tfpdu.reporting.attacks import as_lines, csv_table
    from tfpdu.reporting.audit_page import AuditReport, write_audit_page

    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        outcomes, signals = subject.attack(settings, notes.append, _watch(stack))
    rows = audit_rows(outcomes, settings, subject.iteration)
    facts, more = _facts(subject, signals)
    notes += more
    for line in notes:
        say(f"note: {line}")
    print("\n".join([*(f"{name}: {value}" for name, value in facts), "", *as_lines(rows)]))
    if output:
        files.write_json(output, rows)
        table = io.StringIO(newline="")
        csv.writer(table).writerows(csv_table(rows))
        files.write_text(output.with_suffix(".csv"), table.getvalue())
        write_audit_page(output.with_suffix(".html"), AuditReport(subject.title, facts, notes, rows, outcomes))
        print(*(output.with_suffix(suffix) for suffix in (".json", ".csv", ".html")), sep="\n")
    return rows


def _watch(stack: contextlib.ExitStack) -> Callable[[Any, int], Any]:
    from tfpdu.common.interrupt import safe_point
    from tfpdu.common.progress import Progress

    def watch(predict: Any, rows: int) -> Any:
        progress = stack.enter_context(Progress("audit", rows, "queries"))

        def watched(images: Any) -> Any:
            safe_point()
            answers = predict(images)
            progress.advance(len(images))
            return answers

        return watched

    return watch


def _facts(subject: "Subject", signals: Any) -> tuple[list[tuple[str, str]], list[str]]:
    from tfpdu.audit.subject import accuracy_on
    from tfpdu.data import concatenate
    from tfpdu.reporting.formatting import count, percent

    nonmembers = concatenate([subject.calibration_nonmembers, subject.evaluation_nonmembers])
    facts = [("model", subject.title)]
    accuracies = {name: accuracy_on(signals, table) for name, table in subject.populations.items()}
    accuracies["non-members"] = accuracy_on(signals, nonmembers)
    facts += [(f"accuracy on {name.replace('_', ' ')}", percent(v)) for name, v in accuracies.items() if v is not None]
    facts += [("rows asked about", f"{count(len(signals))}, {subject.views} views each"), ("seed", str(subject.seed))]
    chance = 1 / signals.probabilities.shape[1]
    best = max(value for value in accuracies.values() if value is not None)
    notes = []
    if best < 1.2 * chance:
        notes.append(
            f"the model is right on {percent(best)} of the rows, no more than by chance: are --pixels and the order of"
            " the classes right?"
        )
    return facts, notes


def _settings(attacks: Sequence[str]) -> "AuditSettings":
    from tfpdu.audit import AuditSettings

    return AuditSettings(
        rows=_ROWS.value,
        protocols=tuple(_PROTOCOLS.value),
        attacks=tuple(dict.fromkeys(attacks)),
        tensorflow_privacy=tuple(_TFP.value),
        fprs=(0.1, 0.01, 0.001),
        slices=tuple(_SLICES.value),
    )


@contextlib.contextmanager
def _subject() -> Iterator["Subject"]:
    """The subject that the flags name; a run directory is held as long as it is used."""
    doors = {"workdir": _WORKDIR, "model": _MODEL, "logits": _LOGITS, "probabilities": _PROBABILITIES}
    given = [name for name, flag in doors.items() if flag.value]
    if len(given) != 1:
        found = " and ".join(f"--{name}" for name in given) or "none"
        raise UserError(f"expected one of --workdir, --model, --logits and --probabilities, got {found}")
    if given == ["workdir"]:
        from tfpdu.common.run_directory import RunDirectory

        run = RunDirectory.existing(_WORKDIR.value)
        from tfpdu.common.determinism import configure
        from tfpdu.run_audit import subject_of_run
        from tfpdu.settings import Settings

        settings = Settings.from_config(run.config)
        with run.lock():
            configure(settings.ensemble.threads)
            yield subject_of_run(settings, run, _ITERATION.value)
    elif given == ["model"]:
        yield _of_model()
    else:
        from tfpdu.audit.answer_file import read_answers
        from tfpdu.audit.subject import subject_of_answers

        path = doors[given[0]].value
        yield subject_of_answers(read_answers(path, given[0]), Path(path).name, _SEED.value)


def _of_model() -> "Subject":
    from tfpdu.audit.models import load_model
    from tfpdu.audit.subject import subject_of_model
    from tfpdu.data import ViewPolicy
    from tfpdu.data.sides import SideOptions, aligned, read_side

    for name, flag in (("members", _MEMBERS), ("nonmembers", _NONMEMBERS)):
        if not flag.value:
            raise UserError(f"--{name}: expected an .npz file, a folder of pictures or name:split of TFDS")
    shared: dict[str, Any] = {"pixels": _PIXELS.value, "answers": _ANSWERS.value, "batch": _BATCH.value}
    model = load_model(_MODEL.value, **shared)
    earlier = load_model(_EARLIER.value, **shared) if _EARLIER.value else None
    options = SideOptions(
        _IMAGE_SIZE.value, _TABLE.value, _LABEL.value, _SUBJECT.value, tuple(_ATTRIBUTES.value), _DIRECTORY.value
    )
    members, nonmembers = (
        read_side(flag.value, f"--{name}", options)
        for name, flag in (("members", _MEMBERS), ("nonmembers", _NONMEMBERS))
    )
    model.check_shape(members.images.shape[1:])
    members, nonmembers = aligned({"--members": members, "--nonmembers": nonmembers}, model.classes)
    members, nonmembers = _apart(members, nonmembers)
    policy = ViewPolicy(_VIEWS.value, _FLIP.value, _SHIFT.value)
    return subject_of_model(
        model,
        members,
        nonmembers,
        policy=policy,
        seed=_SEED.value,
        earlier=earlier,
        budget=_BUDGET.value,
        title=Path(_MODEL.value).name,
    )


def _apart(members: Any, nonmembers: Any) -> tuple[Any, Any]:
    """Both sides without the pictures that are on both, if the user wants that; else an error that names one."""
    from tfpdu.common import say
    from tfpdu.data.sides import same_pictures

    in_members, in_nonmembers = same_pictures(members, nonmembers)
    if not in_nonmembers.any():
        return members, nonmembers
    first, number = nonmembers.ids[in_nonmembers][0], int(in_nonmembers.sum())
    if not _DROP_SHARED.value:
        raise UserError(
            f"--nonmembers: {first!r} has the very pixels of a member ({number} such); --drop_shared leaves them out"
        )
    say(f"note: {number} non-members have the very pixels of members; both are left out")
    return members.take(~in_members), nonmembers.take(~in_nonmembers)


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
