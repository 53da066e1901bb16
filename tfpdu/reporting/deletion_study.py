"""Does deletion hurt? The differences that are asked about, and the words that the numbers choose."""

from tfpdu.debiasing.deletion import BEFORE, FORGETS, PLAIN, REMEDIES, REPLENISHED
from tfpdu.debiasing.methods import REWEIGH
from tfpdu.reporting.group_study import GROUP, Difference, Found, Results, Verdict

START = f"{BEFORE}/{PLAIN}"
_REMEDIES = {PLAIN: "", REPLENISHED: ", replenished", REWEIGH: ", reweighed"}
NAMES = {
    f"{forget}/{remedy}": f"{forget}{words}" for forget in (BEFORE, *FORGETS) for remedy, words in _REMEDIES.items()
}
_DOING = {REPLENISHED: "Replenishing", REWEIGH: "Reweighing"}
_WORST = "worst_group_accuracy"


def differences(results: Results) -> list[Difference]:
    """After less before, less a deletion at random, and with a remedy less without; of every measure and the group hit.

    Reweighed models are compared with the model that was reweighed before the deletion, too.
    """
    pairs = []
    for forget in FORGETS:
        for remedy in REMEDIES:
            arm = f"{forget}/{remedy}"
            pairs.append((arm, START, "before"))
            if forget != "random":
                pairs.append((arm, f"random/{remedy}", "random, treated alike"))
            if remedy != PLAIN:
                pairs.append((arm, f"{forget}/{PLAIN}", "untreated"))
            if remedy == REWEIGH:
                pairs.append((arm, f"{BEFORE}/{REWEIGH}", "before, reweighed"))
    found = []
    for measure in (*results.measures, GROUP):
        for arm, other, column in pairs:
            one = results.difference(arm, other, measure)
            if one is not None:
                found.append(Difference(arm, other, measure, one, column))
    return found


def verdicts(results: Results) -> list[Verdict]:
    """What each forget set did to the worst group and to the group it fell on, and what the remedies gave back."""
    found = []
    for forget, words in FORGETS.items():
        arm = f"{forget}/{PLAIN}"
        lines = results.of(arm)
        if not lines:
            continue
        head = f"Deleting {lines[0]['forgotten']:,} rows {words}"
        worst, hit = results.difference(arm, START, _WORST), results.difference(arm, START, GROUP)
        found.append(_change(f"{head}: worst-group accuracy", worst))
        if worst != hit:  # else the group that was hit is the worst one, before and after
            found.append(_change(f"{head}: accuracy of {_hit(results, arm)}", hit))
        if forget != "random":
            found.append(
                _change(
                    f"{head}, against as many at random: worst-group accuracy",
                    results.difference(arm, f"random/{PLAIN}", _WORST),
                )
            )
        for remedy in _DOING:
            text = f"{_DOING[remedy]} after d{head[1:]}: worst-group accuracy"
            found.append(_change(text, results.difference(f"{forget}/{remedy}", arm, _WORST)))
    return [verdict for verdict in found if verdict is not None]


def _hit(results: Results, arm: str) -> str:
    groups = list(dict.fromkeys(str(line["group"]) for line in results.of(arm)))
    words = "the worst-off group" if arm.startswith("adversary") else "the smallest group"
    return f"{words} ({' or '.join(groups)})"


def _change(words: str, found: Found | None) -> Verdict | None:
    if found is None:
        return None
    number, side = f"{found.show_difference()} points", found.side()
    if side is None:
        return Verdict(f"{words} changes by {number} in one seed, so no verdict.")
    if side == 0:
        return Verdict(f"{words}: no change can be told, {number}.")
    return Verdict(f"{words} {'rises' if side > 0 else 'falls'}, {number}.", "good" if side > 0 else "bad")
