"""Does debiasing by diffusion help? The differences that are asked about, and the words that the numbers choose."""

import dataclasses

from tfpdu.debiasing.methods import DIFFUSION, NONE, PLAIN
from tfpdu.reporting.group_study import MEASURES, Difference, Results, Verdict

NAMES = {
    NONE: "none",
    "oversample": "oversample",
    "undersample": "undersample",
    "reweigh": "reweigh",
    "balanced": "balanced sampling",
    "group_dro": "group DRO",
    DIFFUSION: "diffusion",
}


def differences(results: Results) -> list[Difference]:
    """Each method less none, and each less the plain method with the best mean, for every measure."""
    found = []
    for measure in results.measures:
        best = results.best(list(PLAIN), measure)
        for other in dict.fromkeys(name for name in (NONE, best) if name is not None):
            for arm in results.arms:
                one = results.difference(arm, other, measure) if arm != other else None
                if one is not None:
                    found.append(Difference(arm, other, measure, one, NAMES[other]))
    return found


def verdicts(results: Results) -> list[Verdict]:
    """One a measure, the worst group's accuracy first; before them, why diffusion is missing where it is."""
    found = []
    if not results.measured(DIFFUSION):
        why = results.skipped().get(DIFFUSION, "it is not among the cells that are done")
        found.append(Verdict(f"Diffusion was not run: {why}."))
    for measure in results.measures:
        best = results.best(list(PLAIN), measure)
        if best is not None:
            one = _of_diffusion(results, measure, best) or _of_plain(results, measure, best)
            found.append(dataclasses.replace(one, text=f"{_head(measure)}: {one.text}"))
    return found


def _of_diffusion(results: Results, measure: str, best: str) -> Verdict | None:
    """Diffusion against the best plain method, and against doing nothing; None where it was not measured."""
    against, nothing = (results.difference(DIFFUSION, other, measure) for other in (best, NONE))
    if against is None or nothing is None:
        return None
    sign, side = MEASURES[measure][1], against.side()
    name = "doing nothing" if best == NONE else NAMES[best]
    full = name if best == NONE else f"{name}, the best plain method,"
    number = f"diffusion less {name} is {against.show_difference()} points"
    tail = "" if best == NONE else f"; less doing nothing, {nothing.show_difference()}"
    if side is None:
        return Verdict(f"one seed, so no verdict; {number}{tail}.")
    if side == sign:
        return Verdict(f"diffusion is better than {full.rstrip(',')}; {number}{tail}.", "good")
    if side == -sign:
        wins = "doing nothing wins" if best == NONE else f"a plain method wins, {name}"
        return Verdict(f"{wins}; {number}{tail}.", "bad")
    ahead = f", and {name}, which needs no generator, is ahead in the mean" if against.mean * sign < 0 else ""
    told = f"no difference between diffusion and {full} can be told{ahead}"
    return Verdict(f"{told}; {number}{tail}.")


def _of_plain(results: Results, measure: str, best: str) -> Verdict:
    """The best plain method against doing nothing."""
    against = results.difference(best, NONE, measure) if best != NONE else None
    if against is None:
        return Verdict("no plain method is better in the mean than doing nothing.")
    number = f"{NAMES[best]}, the best plain method, less doing nothing is {against.show_difference()} points"
    side = against.side()
    if side is None:
        return Verdict(f"one seed, so no verdict; {number}.")
    if side == 0:
        return Verdict(f"no plain method can be told from doing nothing; {number}.")
    return Verdict(f"a plain method helps; {number}.", "good")


def _head(measure: str) -> str:
    words = MEASURES[measure][0]
    return words[0].upper() + words[1:]
