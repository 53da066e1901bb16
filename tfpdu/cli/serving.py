"""`tfpdu serving`, `scripts/serving.py`: versions of a run's ensemble for TensorFlow Serving.

    tfpdu serving export   --workdir=runs/mine --models=models        # write a version; no server is told
    tfpdu serving publish  --workdir=runs/mine --models=models --server=localhost:8501    # and make it the answer
    tfpdu serving publish  ... --label=canary                         # beside the stable one
    tfpdu serving promote  --models=models --server=...               # the canary becomes stable
    tfpdu serving rollback --models=models --server=... [--version=3] # back, unless that version saw a deleted row
    tfpdu serving withdraw --models=models --server=... --version=3 --reason="wrong classes"
    tfpdu serving status   --models=models --server=...               # what the servers say, beside the journal
    tfpdu serving check    --models=models --server=...               # golden answers, latency, throughput

publish verifies and gates the run, exports it, has it answer in a fresh process, then tells the servers in two pushes
(load, then move the label), and takes off every version that saw a deleted row. "Withdrawn" is said when every named
server says that the version is gone. Killed or refused anywhere, the same command goes on. `tfpdu forget
--publish=models` does the same at the end of a deletion round; to batch deletions, publish less often than you forget:
who sees two versions that differ by one row can tell more of that row than of one among many.

Exit codes: 0 done; 2 the input is at fault, or a server did not follow; 3 a gate fired; 4 status or check found a
server that does not answer as it should.
"""

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from tfpdu.cli import app, publishing
from tfpdu.common.errors import Busy, UserError
from tfpdu.common.validation import one_of

if TYPE_CHECKING:
    from tfpdu.serving.publish import Publisher
    from tfpdu.serving.versions import Repository

flags.adopt_module_key_flags(publishing)
_WORKDIR = flags.DEFINE_string("workdir", "", "the run directory; default the one that was published last")
_MODELS = flags.DEFINE_string("models", "", "the directory of models that servers read; default export/ of the run")
_VERSION = flags.DEFINE_integer("version", None, "of a version", lower_bound=1)
_REASON = flags.DEFINE_string("reason", "withdrawn by hand", "of withdraw, for the journal; name nobody")
_BATCHES = flags.DEFINE_list("batches", ["1", "8", "64"], "of check: pictures a request")
_REQUESTS = flags.DEFINE_integer("requests", 50, "of check: for each batch size", lower_bound=1)
_CLIENTS = flags.DEFINE_integer("clients", 1, "of check: that ask at the same time", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "of check: where to write what was found, a .json file")

WRONG = 4  # exit code, as of `tfpdu verify`


def _main(argv: Sequence[str]) -> None:
    if len(argv) < 2:
        raise UserError(
            f"serving: expected one of {', '.join(COMMANDS)}, e.g. tfpdu serving publish --workdir=runs/mine"
        )
    one_of(COMMANDS, **{"serving": argv[1]})
    COMMANDS[argv[1]]()


# ---- from a run ----------------------------------------------------------------------------------


def _publish(only_export: bool = False) -> None:
    from tfpdu.common.run_directory import RunDirectory

    run = RunDirectory.existing(_WORKDIR.value)
    models = _MODELS.value or str(run.file("export"))
    publishing.check_flags(models)
    from tfpdu.common.determinism import configure
    from tfpdu.settings import Settings

    settings = Settings.from_config(run.config)
    with run.lock():
        configure(settings.ensemble.threads)
        publishing.publish(settings, run, models, only_export)


def _export() -> None:
    _publish(only_export=True)


# ---- among versions ------------------------------------------------------------------------------


def _repository() -> "Repository":
    from tfpdu.serving.versions import JOURNAL, Repository

    models = _MODELS.value or (str(Path(_WORKDIR.value, "export")) if _WORKDIR.value else "")
    if not models:
        raise UserError("--models: expected the directory of models that the servers read")
    there = sorted(path.parent.name for path in Path(models).glob(f"*/{JOURNAL}"))
    name = publishing.NAME.value or (there[0] if len(there) == 1 else "")
    if not name:
        raise UserError(f"--name: expected a model of {models}; there are: {', '.join(there) or 'none'}")
    return Repository.existing(models, name)


def _among_versions(work: Callable[["Publisher"], Any]) -> None:
    """Does something with the versions that are there, by the ledger of the run that they are of."""
    from tfpdu.common.run_directory import RunDirectory
    from tfpdu.publication import deletions, note_withdrawals
    from tfpdu.serving.publish import Publisher
    from tfpdu.settings import Settings

    repository = _repository()
    with contextlib.ExitStack() as stack:
        try:
            run = RunDirectory.existing(_WORKDIR.value or repository.journal().workdir)
            if repository.base.is_relative_to(run.path.resolve()):
                stack.enter_context(run.lock())  # a job that starts there clears the directory, this one too
            stack.enter_context(repository.hold())
            gone = deletions(run)
        except Busy:
            raise
        except UserError as error:
            raise UserError(f"cannot tell what was deleted: {error}") from None
        settings = publishing.publish_settings(Settings.from_config(run.config).deletion.mode)
        work(Publisher(repository, gone, publishing.clients(repository.name), settings, note=print))
        note_withdrawals(run, repository)


def _promote() -> None:
    _among_versions(lambda publisher: publisher.promote())


def _rollback() -> None:
    _among_versions(lambda publisher: publisher.rollback(_VERSION.value))


def _withdraw() -> None:
    number = _VERSION.value
    if number is None:
        raise UserError("--version: expected the number of the version to withdraw")
    _among_versions(lambda publisher: publisher.withdraw(number, _REASON.value))


# ---- of servers ----------------------------------------------------------------------------------


def _asked() -> None:
    if not publishing.SERVER.value:
        raise UserError("--server: expected host:8501 or grpc://host:8500; servers are asked, not the directory")


def _status() -> None:
    _asked()
    from tfpdu.serving.versions import GONE, LABELS

    repository = _repository()
    journal, wrong = repository.journal(), []
    for number, version in journal.versions.items():
        labels = ", ".join(label for label, meant in journal.labels.items() if meant == number)
        print(f"journal: version {number}: {version.state} {labels} {version.reason}".rstrip())
    for client in publishing.clients(repository.name):
        found = client.status()
        at = {label: client.labelled(label) for label in LABELS}
        for number, status in found.items():
            labels = ", ".join(label for label, meant in at.items() if meant == number)
            print(f"{client.server}: version {number}: {status.state} {labels} {status.error}".rstrip())
            known = journal.versions.get(number)
            if status.state != "END" and (known is None or known.state in GONE):
                wrong.append(f"{client.server}: version {number} is {status.state} and should be gone")
        for number in journal.listed():
            if number not in found or found[number].state != "AVAILABLE":
                wrong.append(f"{client.server}: version {number} is published and not available")
        for label, number in journal.labels.items():
            if at[label] != number:
                wrong.append(f"{client.server}: {label} is version {at[label] or 'none'}, expected {number}")
    _end(wrong)


def _check() -> None:
    _asked()
    output = app.json_path(_OUTPUT.value)
    try:
        batches = [int(text) for text in _BATCHES.value]
    except ValueError:
        raise UserError(f"--batches={','.join(_BATCHES.value)}: expected whole numbers") from None
    from tfpdu.common import files
    from tfpdu.serving.check import compare, golden_images, measure

    repository, wrong, rows = _repository(), [], []
    for client in publishing.clients(repository.name):
        number = _VERSION.value or client.labelled(publishing.LABEL.value)
        if number is None:
            raise UserError(f"--server={client.server}: knows no version labelled {publishing.LABEL.value}")
        found = compare(client, number, repository.path(number))
        for name, difference in found["signatures"].items():
            print(f"{client.server}: version {number}, {name}: within {difference:.2g} of the golden answers")
        if not found["holds"]:
            wrong.append(f"{client.server}: version {number} does not give the golden answers")
        images = golden_images(repository.path(number))
        speed = measure(client, images, batches, _REQUESTS.value, _CLIENTS.value, number)
        print(_table(speed))
        rows.append({"server": client.server, "version": number, **found, "speed": speed})
    if output:
        files.write_json(output, rows)
        print(output)
    _end(wrong)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    heads = ("batch", "p50_ms", "p95_ms", "p99_ms", "images_per_second")
    lines = ["".join(f"{head:>19}" for head in heads)]
    return "\n".join([*lines, *("".join(f"{row[head]:19.1f}" for head in heads) for row in rows)])


def _end(wrong: Sequence[str]) -> None:
    for line in wrong:
        print(f"tfpdu: {line}", file=sys.stderr)
    if wrong:
        sys.exit(WRONG)


COMMANDS = {
    "export": _export,
    "publish": _publish,
    "status": _status,
    "promote": _promote,
    "rollback": _rollback,
    "withdraw": _withdraw,
    "check": _check,
}


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main, arguments=1)
