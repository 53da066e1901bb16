"""`tfpdu forget`, `scripts/forget.py`: deletes rows of a run on request.

    tfpdu forget --workdir=runs/mine --subject=ada --request_id=ticket-17
    tfpdu forget --workdir=runs/mine --ids=image_folder/1.png,image_folder/2.png
    tfpdu forget --workdir=runs/mine --where="label == 3 and young == yes"
    tfpdu forget --workdir=runs/mine                        # carries out what is pending

The request is on the disk before anything else happens, also while a run is going on, which then carries it out before
its next iteration. The rows are unlearned exactly, what saw them is removed, the audit is repeated, and a receipt says
what was done. The same --request_id twice is one request. --dry_run says what it would cost, and changes nothing.

Both say where a request falls on one group: more of its rows go than blind choice would take. Exit codes: 0 done; 2 the
input is at fault; 3 done, and a group's accuracy is under config.deletion.group_floor, or a gate of --fail_if fired, on
attacks or group fairness after the round, and nothing was published.

    tfpdu forget --workdir=runs/mine --publish=models --server=localhost:8501

brings what is left to TensorFlow Serving and withdraws every version that saw a deleted row, see `tfpdu serving
--help`; also where nothing is pending. Several deletions are batched by publishing less often than one forgets.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from tfpdu.cli import app, publishing
from tfpdu.common import say
from tfpdu.common.errors import Busy, UserError

if TYPE_CHECKING:
    from tfpdu.common.run_directory import RunDirectory

flags.adopt_module_key_flags(publishing)
_WORKDIR = flags.DEFINE_string("workdir", "", "the run directory")
_IDS = flags.DEFINE_list("ids", [], "ids of the rows, with commas between them")
_IDS_FILE = flags.DEFINE_string("ids_file", "", "a text file with one id a line")
_SUBJECT = flags.DEFINE_string("subject", "", "all rows of this person")
_WHERE = flags.DEFINE_string("where", "", "all rows for which this holds, e.g. \"label == 3 and young == 'yes'\"")
_REQUEST_ID = flags.DEFINE_string("request_id", "", "your name for the request; asked for again, it is done only once")
_PUBLISH = flags.DEFINE_string("publish", "", "the directory of models to publish what is left in, when it is done")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "say what would be deleted, retrained and left, and how long it takes")


def _main(argv: Sequence[str]) -> None:
    del argv
    from tfpdu.common.gate import Gate
    from tfpdu.common.run_directory import RunDirectory
    from tfpdu.settings import Settings
    from tfpdu.unlearning import Ledger, Selector

    gates = [Gate.parse(text) for text in publishing.FAIL_IF.value]
    run = RunDirectory.existing(_WORKDIR.value)
    settings = Settings.from_config(run.config)
    asked = bool(_IDS.value or _IDS_FILE.value or _SUBJECT.value or _WHERE.value)
    if not asked and (_REQUEST_ID.value or _DRY_RUN.value or Ledger.found(run.path) is None):
        raise UserError("--ids, --ids_file, --subject, --where: expected one of them; nothing is pending")
    if _PUBLISH.value:
        publishing.check_flags(_PUBLISH.value)
    if asked:
        from tfpdu.requests import acknowledge, forecast_deletion

        selector = Selector.of(_IDS.value, _IDS_FILE.value or None, _SUBJECT.value or None, _WHERE.value or None)
        if _DRY_RUN.value:
            print(forecast_deletion(settings, run, selector))
            return
        request = acknowledge(settings, run, selector, _REQUEST_ID.value or None)
        print(f"acknowledged: request {request.request_id}, {len(request.digests)} rows, due {request.due:%Y-%m-%d}")
    from tfpdu.common.determinism import configure
    from tfpdu.deletion import carry_out
    from tfpdu.gates import fired
    from tfpdu.reporting import write_report

    try:
        with run.lock():
            configure(settings.ensemble.threads)
            rounds = carry_out(settings, run)
            if run.file("report.html").exists():  # without a round too: a process may have been killed before this
                write_report(run.path, show_originals=settings.show_originals)
            for number in rounds:
                print(run.file("receipts", f"round-{number:04d}.html"))
            if _PUBLISH.value:
                publishing.publish(settings, run, _PUBLISH.value)
    except Busy as busy:
        if not asked and not Ledger(run.path).pending():
            raise
        late = "; nothing was published" if _PUBLISH.value else ""
        say(f"{busy}; the request is pending: a run carries it out before its next iteration, or call this again{late}")
        return
    if not _PUBLISH.value:
        app.end_if_fired(fired(run, gates))
    if asked and not rounds:  # done before, by this command or a run
        rounds = [n for n, done in Ledger(run.path).history().rounds.items() if request.request_id in done.requests]
    tell_of_floor(run, rounds, settings.deletion.group_floor)


def tell_of_floor(run: "RunDirectory", rounds: Sequence[int], floor: float) -> None:
    """Ends with the gate's exit code where the last of these rounds left a group under the floor."""
    from tfpdu.common import files
    from tfpdu.common.gate import FIRED

    low = files.read_json(run.file("receipts", f"round-{rounds[-1]:04d}.json"))["under_floor"] if rounds else []
    if low:
        named = ", ".join(f"{row['attribute']} {row['group']} {row['value']:.3f}" for row in low)
        print(f"tfpdu: config.deletion.group_floor={floor:g}: accuracy after the round: {named}", file=sys.stderr)
        sys.exit(FIRED)


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
