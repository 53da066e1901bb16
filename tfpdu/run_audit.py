"""The audit of a run's ensemble: in the loop, in a deletion round, and of a run directory afterwards."""

import dataclasses
from typing import Any

import numpy as np

from tfpdu.audit import (
    AuditSettings,
    Extras,
    coin_flips,
    cross_entropy,
    fix_guesses,
    new_attack,
    one_run_audit,
    references_from_shards,
)
from tfpdu.audit.attacks import required
from tfpdu.audit.subject import Subject, subject_of_predict
from tfpdu.common.run_directory import RunDirectory
from tfpdu.common.seeds import id_hashes
from tfpdu.ensemble import Ensemble
from tfpdu.material import Material
from tfpdu.settings import LEAST_CANARIES, Settings
from tfpdu.state import standing


def shard_extras(ensemble: Ensemble, shard: np.ndarray, material: Material, seed: int) -> Extras:
    """Reference models at no training cost: the ensemble's own; none where it has one model alone.

    A row whose shard holds no rows any more, and so has no model, is dealt a pseudo-shard like a non-member.

    Args:
      ensemble: one model for each shard that holds rows.
      shard: int[n], the shard of each row that it learned.
      material: S, with the shard of each of its rows.
      seed: of the pseudo-shards.
    """
    if len(ensemble) < 2:
        return Extras()
    place = {s: model for model, s in enumerate(np.unique(shard).tolist())}
    rows = zip(material.drawn.ids.tolist(), material.shard.tolist(), strict=True)
    homes = {row_id: place[s] for row_id, s in rows if s in place}
    return Extras(references=references_from_shards(ensemble.shard_probabilities, homes, seed))


ONE_RUN_DELTA = 1e-5


def one_run_of(ensemble: Ensemble, material: Material, gone: frozenset[str], seed: int) -> dict[str, Any] | None:
    """The one-run audit of an ensemble by the canaries of its run, or None where there are none.

    Scores are the loss with its sign turned, so nothing is fitted on the coins. Half of the canaries, by a hash of
    their ids, fix how many guesses are made on either side; the bound comes from the other half. Later steps of a run
    have forgotten some of the canaries that were in S: the coin stays the question, so the bound falls as they go.

    Args:
      ensemble: of a step.
      material: of the run.
      gone: ids of rows that were deleted on request; such canaries take no part, in or out.
      seed: of the run.

    Returns:
      The fields of the event `one_run`.
    """
    canaries = material.canaries.without(sorted(gone))
    if len(canaries) < LEAST_CANARIES:
        return None
    scores = -cross_entropy(ensemble.probabilities(canaries.images), canaries.labels)
    included = coin_flips(canaries.ids.tolist(), seed)
    fixing = id_hashes(canaries.ids.tolist(), seed, "one-run half") % np.uint64(2) == 0
    if not fixing.any() or fixing.all():
        return None
    guesses = fix_guesses(scores[fixing], included[fixing], ONE_RUN_DELTA)
    found = one_run_audit(scores[~fixing], included[~fixing], guesses, ONE_RUN_DELTA, seed=seed)
    return {**dataclasses.asdict(found), **dataclasses.asdict(guesses), "canaries": len(canaries)}


def within_reach(settings: AuditSettings, extras: Extras) -> AuditSettings:
    """The settings without attacks that need what is not given: late steps of a run may be left with one model."""
    kept = [name for name in settings.attacks if all(getattr(extras, x) for x in required(new_attack(name)))]
    return dataclasses.replace(settings, attacks=tuple(kept))


def subject_of_run(settings: Settings, run: RunDirectory, iteration: int | None = None) -> Subject:
    """The ensemble of a run directory, which this process holds; nothing in it is changed.

    Args:
      settings: of the run.
      run: its directory.
      iteration: whose ensemble; None: the last step's, deletion rounds included.

    Raises:
      UserError: no iteration is done, or the weights are not there any more.
    """
    found = standing(settings, run, iteration)
    state, step, table = found.state, found.step, found.table
    gone, drawn = state.tables.gone(step), state.material.drawn
    pools = state.material.pools
    subject = subject_of_predict(
        found.ensemble.probabilities,
        {"all_originals": drawn, "forgotten": drawn.take(gone), "remaining": drawn.take(~gone)},
        (pools.non_members_calibration, pools.non_members_evaluation),
        policy=settings.views,
        seed=settings.seed,
        extras=shard_extras(found.ensemble, table.shard, state.material, settings.seed),
        title=f"{run.path.resolve().name}, step {step.name}",
    )
    return dataclasses.replace(subject, iteration=step.iteration)
