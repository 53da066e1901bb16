"""Does debiasing by diffusion help? The differences that are asked about, and the words that the numbers choose."""

from tfpdu.debiasing.methods import DIFFUSION, NONE, PLAIN
from tfpdu.reporting.group_study import MEASURES, Difference, Found, Results, Verdict

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
                    found.append(Difference(arm, other, measure, one))
    return found


def verdicts(results: Results) -> list[Verdict]:
    """One sentence a measure, the worst group's accuracy first."""
    return [verdict for measure in results.measures if (verdict := _verdict(results, measure)) is not None]


def _verdict(results: Results, measure: str) -> Verdict | None:
    words, sign = MEASURES[measure]
    head = words[0].upper() + words[1:]
    best = results.best(list(PLAIN), measure)
    if best is None:
        return None
    name = "doing nothing" if best == NONE else NAMES[best]
    if not results.values(DIFFUSION, measure):
        why = results.skipped().get(DIFFUSION, "it is not among the cells that are done")
        return Verdict(f"{head}: diffusion was not run ({why}); of the plain methods {name} has the best mean.")
    against = results.difference(DIFFUSION, best, measure)
    if against is None:
        return Verdict(f"{head}: no seed has both diffusion and {name}, so they are not compared.")
    number = f"{against.show_difference()} points"
    side = against.side()
    ahead = _ahead(against, sign, name)
    if side is None:
        return Verdict(f"{head}: one seed, so no verdict; diffusion less {name}, the best plain method, is {number}.")
    if side == sign:
        text = f"{head}: diffusion is better than {name}, the best plain method, by {number}."
        return Verdict(text, "good")
    if side == -sign:
        return Verdict(f"{head}: a plain method wins: diffusion less {name} is {number}.", "bad")
    return Verdict(
        f"{head}: no difference between diffusion and {name}, the best plain method, can be told: {number}{ahead}."
    )


def _ahead(against: Found, sign: int, name: str) -> str:
    if against.mean * sign >= 0:
        return ""
    return f"; in the mean {name} is ahead, and it needs no generator"
