"""`tfpdu bias`, `scripts/bias_report.py`: how far a data set is from a prior, and what Algorithm 1 would add.

    python scripts/bias_report.py --config=digits --workdir=runs/digits-bias

Prints the table and writes bias.json, bias_attributes.png and bias_joint.png to the work directory. Nothing is
trained and nothing generated: "after" is the table with the rows that Algorithm 1 would ask for. In the directory of
a run that has been through Algorithm 1, the run's own bias.json is shown instead, and kept.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from tfpdu.cli import app
from tfpdu.common import files
from tfpdu.common.errors import UserError

_CONFIG = app.define_config()
_WORKDIR = flags.DEFINE_string("workdir", "", "where bias.json and the figures go, or the directory of a run")


def bias_of(config: dict[str, Any], problems: str | Path = "") -> dict[str, Any]:
    """The content of bias.json for a configuration: of the drawn S, before and after the additions it asks for.

    Args:
      config: the whole configuration, as for a run.
      problems: where faulty rows of the user's own pictures are listed.
    """
    import numpy as np

    from tfpdu.augment import debias
    from tfpdu.data import cut_pools, draw, load
    from tfpdu.material import POOL_SEED
    from tfpdu.settings import Settings

    settings = Settings.from_config(config)
    source = dataclasses.asdict(settings.data)
    pools = cut_pools(load(source.pop("name"), problems=problems, **source), settings.pools, POOL_SEED)
    drawn = draw(pools.private, settings.draw, settings.seed)
    prior = settings.prior.build(drawn, pools.auxiliary)

    def blank(labels: np.ndarray, attributes: np.ndarray, keys: list[str]) -> np.ndarray:
        return np.zeros((len(keys), *drawn.images.shape[1:]), np.uint8)  # only counts are looked at

    return debias(drawn, prior, blank, settings=settings.augment, seed=settings.seed).report


def _main(argv: Sequence[str]) -> None:
    del argv
    if not _WORKDIR.value:
        raise UserError("--workdir: expected the directory for bias.json and the figures, e.g. --workdir=runs/bias")
    workdir = Path(_WORKDIR.value)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir}: is a file, expected a directory")
    from tfpdu.bias import as_lines
    from tfpdu.reporting.distributions import write_distributions

    of_a_run = (workdir / "config.json").exists()
    if of_a_run and not (workdir / "bias.json").exists():
        raise UserError(f"--workdir={workdir}: the run in it has not come to Algorithm 1 yet; name another directory")
    if not of_a_run:
        files.write_json(workdir / "bias.json", bias_of(app.as_dict(_CONFIG.value), workdir / "problems.csv"))
    report = files.read_json(workdir / "bias.json")
    written = write_distributions(report, workdir)
    print("\n".join(as_lines(report)))
    print("\n".join(str(path) for path in [workdir / "bias.json", *written]))


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
