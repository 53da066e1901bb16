"""`tfpdu report`, `scripts/report.py`: writes report.html and table1.csv anew from a run directory.

    python scripts/report.py --workdir=runs/digits

Nothing is computed that is not in the run directory, and nothing else in it is changed.
"""

from collections.abc import Sequence

from absl import flags

from tfpdu.cli import app
from tfpdu.common.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", "", "the run directory, finished or in progress")
_TITLE = flags.DEFINE_string("title", None, "the report's heading; by default made from the data set's name")
_ORIGINALS = flags.DEFINE_bool("originals", True, "show pictures of originals, unless the run's config forbids it")
_TENSORBOARD = flags.DEFINE_bool(
    "tensorboard", False, "also write the TensorBoard files anew; samples of earlier iterations are then gone from them"
)
_TABLE = flags.DEFINE_bool("table", True, "also print the table of iterations")


def _main(argv: Sequence[str]) -> None:
    del argv
    if not _WORKDIR.value:
        raise UserError("--workdir: expected the directory of a run, e.g. --workdir=runs/digits")
    from tfpdu.reporting import print_table, rebuild_tensorboard, write_report, write_table1
    from tfpdu.reporting.run_data import read_run

    run = read_run(_WORKDIR.value)
    if run.iterations():
        write_table1(run.workdir, run.events)
        if _TENSORBOARD.value:
            rebuild_tensorboard(run.workdir)
        if _TABLE.value:
            print_table(run.events)
    print(write_report(run.workdir, _TITLE.value, _ORIGINALS.value))


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
