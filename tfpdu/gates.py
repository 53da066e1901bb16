"""What a gate (`--fail_if`) may ask of a run: the attacks and the group fairness of its last step."""

from collections.abc import Sequence
from typing import Any

from tfpdu.audit import fairness
from tfpdu.common import UserError, files
from tfpdu.common import gate as conditions
from tfpdu.common.gate import Gate
from tfpdu.common.run_directory import RunDirectory
from tfpdu.reporting import attacks
from tfpdu.steps import Step, last_step

Row = dict[str, Any]


def fired(run: RunDirectory, gates: Sequence[Gate]) -> list[str]:
    """A line for each gate that fires at the last step, a deletion round's or an iteration's.

    Raises:
      UserError: a gate names what was not measured, or cannot be decided.
    """
    if not gates:
        return []
    step = last_step(run)
    if step is None:
        raise UserError(f"--fail_if={gates[0]}: {run.path} has no step that was measured")
    numbers = {**fairness.numbers(fairness_of(run, step)), **attacks.numbers(audit_of(run, step))}
    return conditions.fired(gates, numbers)


def audit_of(run: RunDirectory, step: Step) -> list[Row]:
    """The audit's rows of a step: a deletion round has its own, beside those of the iteration before it."""
    if step.round:
        return list((run.event("deletion", round=step.round) or {}).get("audit", []))
    return [row for row in _rows(run, "audit.json") if row["iteration"] == step.iteration]


def fairness_of(run: RunDirectory, step: Step) -> list[Row]:
    """The rows of fairness.json of a step."""
    stage = f"round {step.round}" if step.round else "iteration"
    rows = _rows(run, "fairness.json")
    return [row for row in rows if (row["iteration"], row["stage"]) == (step.iteration, stage)]


def _rows(run: RunDirectory, name: str) -> list[Row]:
    path = run.file(name)
    return list(files.read_json(path)) if path.exists() else []
