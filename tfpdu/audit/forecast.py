"""What an audit would cost, before it is made."""

import time

import numpy as np

from tfpdu.audit.attacks import new_attack, required
from tfpdu.audit.membership import AuditSettings
from tfpdu.audit.subject import Subject
from tfpdu.common.errors import UserError
from tfpdu.common.machine import peak_gigabytes


def forecast(subject: Subject, settings: AuditSettings) -> str:
    """Text for the terminal: rows, queries, minutes and memory; a block of rows is asked about to time it.

    Raises:
      UserError: no population has as many rows as the protocol needs.
    """
    records = subject.rows(settings)
    if records is None:
        raise UserError(f"audit: no population has {settings.least_rows} matched rows in either role")
    n, queries = len(records), len(records) * (1 + subject.views)
    needed = sorted({extra for name in settings.attacks for extra in required(new_attack(name))})
    some = records.take(np.arange(min(n, 2 * settings.block_rows)))
    subject.collect(some.take(np.arange(min(len(some), 8))), needed, settings.block_rows, lambda f, _: f)  # compiles
    start = time.monotonic()
    subject.collect(some, needed, settings.block_rows, lambda f, _: f)
    seconds = (time.monotonic() - start) * n / len(some)
    peak = peak_gigabytes()
    answers = n * (subject.views + 2 * records.classes + 4) * 8 / 2**30
    return "\n".join(
        [
            f"model: {subject.title}",
            f"attacks: {', '.join(settings.attacks)}",
            f"rows: {n}, of {len(subject.populations)} population(s) and non-members, {settings.rows} a role at most",
            f"queries: {queries} ({n} rows, each plain and in {subject.views} views)"
            + (f"; and for {', '.join(needed)}" if needed else ""),
            "time: about " + (f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s") + " on this machine",
            f"memory: about {peak + answers:.1f} GB",
        ]
    )
