"""`tfpdu run`, `scripts/run_pdu.py`: Algorithm 2 from a biased data set to an audited classifier.

    python scripts/run_pdu.py --config=digits --workdir=runs/digits

The same command resumes an interrupted run. --dry_run says what would happen, how long and with how much memory.

--fail_if="equalized_odds.ci_low>0.1" makes it a gate for pipelines: on group fairness and attacks after the last
iteration, by the names that `tfpdu fairness` and `tfpdu audit` have. Exit code 3: a gate fired; the run is whole.
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
_FAIL_IF = flags.DEFINE_multi_string(
    "fail_if", [], "end with exit code 3 if this holds at the end, e.g. equalized_odds.ci_low>0.1; several times"
)


def _main(argv: Sequence[str]) -> None:
    del argv
    from tfpdu.settings import Settings

    config = app.as_dict(_CONFIG.value)
    Settings.from_config(config)  # before the seconds in which TensorFlow is imported
    if _DRY_RUN.value:
        from tfpdu.forecast import forecast

        print(forecast(config))
        return
    if not _WORKDIR.value:
        raise UserError("--workdir: expected the directory of the run, e.g. --workdir=runs/digits")
    from tfpdu.common.gate import Gate
    from tfpdu.common.run_directory import RunDirectory
    from tfpdu.gates import fired

    gates = [Gate.parse(text) for text in _FAIL_IF.value]  # before hours are spent
    from tfpdu.loop import run_pdu

    print(run_pdu(config, _WORKDIR.value))
    app.end_if_fired(fired(RunDirectory.existing(_WORKDIR.value), gates))


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
