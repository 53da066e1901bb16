"""`tfpdu verify`, `scripts/verify.py`: whether a run directory is what it says, and holds nothing of deleted rows.

    tfpdu verify --workdir=runs/mine            # chain, receipts, weights by key and hash, pictures, lineage
    tfpdu verify --workdir=runs/mine --replay   # also learns the rows left from nothing, and compares bit for bit

Ends with exit code 0 where all holds, 4 where something does not. Changes nothing.
"""

import sys
from collections.abc import Sequence

from absl import flags

from tfpdu.cli import app

_WORKDIR = flags.DEFINE_string("workdir", "", "the run directory, which no job is writing to")
_REPLAY = flags.DEFINE_bool("replay", False, "learn the rows that are left from nothing and compare the weights")


def _main(argv: Sequence[str]) -> None:
    del argv
    from tfpdu.common.determinism import configure
    from tfpdu.common.run_directory import RunDirectory
    from tfpdu.settings import Settings

    run = RunDirectory.existing(_WORKDIR.value)
    settings = Settings.from_config(run.config)
    from tfpdu.verification import verify

    with run.lock():
        configure(settings.ensemble.threads)
        findings = verify(settings, run, _REPLAY.value)
    for finding in findings:
        print(f"{'ok  ' if finding.holds else 'FAIL'}  {finding.name:10}{finding.words}")
    if not all(finding.holds for finding in findings):
        sys.exit(4)


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
