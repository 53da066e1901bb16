"""`tfpdu requests`, `scripts/requests.py`: the deletion requests of a run, pending and done, with due dates.

    tfpdu requests --workdir=runs/mine

Ends with exit code 0, or 3 where a request is overdue, so that a nightly job can tell.
"""

import datetime
import sys
from collections.abc import Sequence

from absl import flags

from tfpdu.cli import app

_WORKDIR = flags.DEFINE_string("workdir", "", "the run directory")


def _main(argv: Sequence[str]) -> None:
    del argv
    from tfpdu.common.gate import FIRED
    from tfpdu.common.run_directory import RunDirectory
    from tfpdu.unlearning import Ledger

    run = RunDirectory.existing(_WORKDIR.value)
    ledger = Ledger.found(run.path)
    if ledger is None:
        print("no requests")
        return
    now = datetime.datetime.now(datetime.UTC)
    requests = ledger.history().requests.values()
    width = max([len("request"), *(len(r.request_id) for r in requests)])
    print(f"{'request':{width}}  {'rows':>6}  {'asked':10}  {'due':10}  {'state':8}  receipt")
    for r in requests:
        state = "overdue" if r.overdue(now) else r.state
        receipt = f"receipts/round-{r.round:04d}.html" if r.state == "done" else ""
        row = f"{r.request_id:{width}}  {len(r.digests):6}  {r.time:%Y-%m-%d}  {r.due:%Y-%m-%d}  {state:8}  {receipt}"
        print(row.rstrip())
    if any(r.overdue(now) for r in requests):
        sys.exit(FIRED)


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
