"""`tfpdu run`, `scripts/run_pdu.py`: Algorithm 2 from a biased data set to an audited classifier.

    python scripts/run_pdu.py --config=digits --workdir=runs/digits

The same command resumes an interrupted run. --dry_run says what would happen, how long and with how much memory.
"""

from collections.abc import Sequence

from absl import flags

from tfpdu.cli import app
from tfpdu.common.errors import UserError

_CONFIG = app.define_config()
_WORKDIR = flags.DEFINE_string("workdir", "", "the run directory; one that exists is resumed")
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "say what would be done, with minutes, memory and cells too small; do nothing"
)


def _main(argv: Sequence[str]) -> None:
    del argv
    config = app.as_dict(_CONFIG.value)
    if _DRY_RUN.value:
        from tfpdu.forecast import forecast

        print(forecast(config))
        return
    if not _WORKDIR.value:
        raise UserError("--workdir: expected the directory of the run, e.g. --workdir=runs/digits")
    from tfpdu.loop import run_pdu

    print(run_pdu(config, _WORKDIR.value))


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
