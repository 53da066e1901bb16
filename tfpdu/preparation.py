"""What Algorithm 2 starts from beside its data: the prior, the judge, the generator and its quality gate.

Every part is kept in the run directory and found there by a resumed run.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.bias import Constraint, Prior, need_of_cells
from tfpdu.bias.priors import names_of
from tfpdu.common import UserError, files, say
from tfpdu.common.run_directory import RunDirectory
from tfpdu.common.seeds import hashed_order
from tfpdu.data import UNKNOWN, Records, concatenate
from tfpdu.diffusion import (
    Generator,
    NoisyClassifier,
    fit_generator,
    fit_noisy_classifier,
    measure_memory,
    measure_quality,
    measure_traces,
    synthetic_twin,
)
from tfpdu.ensemble import Ensemble, EnsembleSettings
from tfpdu.ensemble.initial import InitialWeights
from tfpdu.material import Material
from tfpdu.settings import Settings
from tfpdu.steps import Step
from tfpdu.unlearning import ShardedLearner

Predict = Callable[[np.ndarray], np.ndarray]
Judge = Callable[[np.ndarray], np.ndarray]


def fit_classifier(
    directory: Path,
    records: Records,
    settings: EnsembleSettings,
    parent: Settings,
    weights: np.ndarray | None = None,
    initial: InitialWeights = None,
) -> Ensemble:
    """One ResNet18 outside the ensemble (judge, quality gate), kept in `directory`; an ensemble of one."""
    learner = ShardedLearner(
        directory,
        settings,
        parent.views,
        classes=records.classes,
        input_shape=records.images.shape[1:],
        seed=parent.seed,
        initial=initial,
    )
    nothing = np.zeros(len(records), np.int32)
    return learner.learn(records, nothing, nothing, weights).ensemble


def fit_prior(material: Material, settings: Settings, run: RunDirectory) -> Prior:
    """D, as it was before the first iteration; with kind "eda" and no stated need, that of the cells is measured first.

    The need is the error of classifiers on rows of the auxiliary pool that did not train them (two folds): no row of
    S takes part, so a deletion leaves it as it is. A prior that is estimated from rows is recorded, since deletions
    may erase some of these.
    """
    recorded = run.event("prior")
    if recorded is not None:
        return Prior(tuple(Constraint(tuple(c["variables"]), c["probabilities"]) for c in recorded["constraints"]))
    prior = material.prior or _measured_prior(material, settings, run)
    if settings.prior.kind in ("reference", "eda") and not run.events("iteration"):
        told = [{"variables": list(c.variables), "probabilities": c.probabilities.tolist()} for c in prior.constraints]
        run.record({"event": "prior", "constraints": told})
    return prior


def _measured_prior(material: Material, settings: Settings, run: RunDirectory) -> Prior:
    drawn, auxiliary, prior = material.drawn, material.pools.auxiliary, settings.prior
    known = run.event("need")
    if known is None:
        say("prior: measuring which cells are in need")
        wrong = np.zeros(len(auxiliary), bool)
        order = hashed_order(auxiliary.ids, settings.seed, "need")
        for fold in (0, 1):
            train, rest = auxiliary.take(order[fold::2]), order[1 - fold :: 2]
            classifier = fit_classifier(run.file("judge", f"need{fold}"), train, settings.judge, settings)
            wrong[rest] = classifier.probabilities(auxiliary.take(rest).images).argmax(1) != auxiliary.labels[rest]
        needs = [need_of_cells(auxiliary, wrong, entry).tolist() for entry in prior.over]
        known = {"event": "need", "over": [list(names_of(entry)) for entry in prior.over], "need": needs}
        run.record(known)
    return prior.build(drawn, auxiliary, [np.array(cells) for cells in known["need"]])


def fit_judge(material: Material, settings: Settings, directory: Path) -> Judge:
    """Classifiers of the prior's attributes, trained on the auxiliary pool alone and kept in `directory`.

    An attribute that samples are steered to is learned from the half of the pool that steers nothing.

    Returns:
      A function from uint8[m, h, w, c] to int8[m, j]; -1 in columns that the prior does not name.
    """
    auxiliary = material.pools.auxiliary
    names = [spec.name for spec in auxiliary.specs]
    wanted = set(settings.prior.variables) & set(names)
    predicts: dict[int, Predict] = {}
    for name in sorted(wanted):
        pool = _halves(auxiliary, settings)[1] if name in settings.steer else auxiliary
        table = pool.labelled_by(name)
        if not len(table):
            raise UserError(f"config.pools.auxiliary: no row with a known {name!r} for the judge to learn from")
        # Each value weighs the same: where one is rare, a plain classifier would hardly ever see it in a sample.
        weights = table.class_weights()[table.labels]
        classifier = fit_classifier(directory / name, table, settings.judge, settings, weights)
        predicts[names.index(name)] = classifier.probabilities

    def judge(images: np.ndarray) -> np.ndarray:
        verdict = np.full((len(images), len(names)), UNKNOWN, np.int8)
        for column, predict in predicts.items():
            verdict[:, column] = predict(images).argmax(1)
        return verdict

    return judge


def fit_steering(material: Material, settings: Settings, directory: Path) -> list[NoisyClassifier]:
    """The noise-aware classifiers of config.generator.steer, of one half of the auxiliary pool, kept in `directory`."""
    rows, _ = _halves(material.pools.auxiliary, settings)
    return [
        fit_noisy_classifier(rows, name, settings.noisy_classifier, directory / name, settings.seed)
        for name in settings.steer
    ]


def _halves(auxiliary: Records, settings: Settings) -> tuple[Records, Records]:
    """Rows that steer, and rows that judge where it led."""
    order = hashed_order(auxiliary.ids, settings.seed, "steering")
    return auxiliary.take(order[::2]), auxiliary.take(order[1::2])


def generator_rows(material: Material, settings: Settings) -> Records:
    """What the generator learns from: the public pool under lineage=public, else S."""
    if settings.generator.lineage != "public":
        return material.drawn
    if not len(material.pools.public):
        raise UserError("config.generator.lineage=public: config.pools.public holds no rows")
    return material.pools.public


def train_generator(rows: Records, settings: Settings, directory: str | Path) -> Generator:
    """Trains config.generator on these rows, or finds it in `directory`; see `tfpdu.diffusion.fit_generator`."""
    return fit_generator(rows.without_attributes(settings.steer), settings.generator, directory, settings.seed)


def fit_generator_for(step: Step | None, rows: Records, settings: Settings, run: RunDirectory) -> Generator:
    """Trains the generator of these rows, or finds it; with a step it is that step's own, else the whole run's."""
    directory = run.file("generator") if step is None else run.file("generator", step.name)
    generator = train_generator(rows, settings, directory)
    note_generator(step, generator, settings, run)
    return generator


def note_generator(step: Step | None, generator: Generator, settings: Settings, run: RunDirectory) -> None:
    """Tells in the run's events what generator it uses."""
    names = ("images_seen", "seconds", "images_per_second", "loss", "parameters", "rows", "id")
    made = {name: generator.card[name] for name in names}
    if generator.privacy is not None:
        made["private"] = generator.card["private"]
    if settings.pretrained:
        made["pretrained"] = settings.pretrained
    if settings.steer:
        made["steered_to"] = list(settings.steer)
    if generator.settings.candidates > 1:
        made |= {"candidates": generator.settings.candidates, "critics": list(generator.settings.critics)}
    run.record({"event": "generator", **_at(step), **made, "lineage": settings.generator.lineage})


def known_rows(generator: Generator, material: Material) -> Records:
    """Those of the generator's training rows that are in the private or the public pool."""
    table = concatenate([material.pools.private, material.pools.public])
    return table.take(np.flatnonzero(np.isin(table.ids, np.array(generator.row_ids))))


def inspect(
    step: Step | None,
    generator: Generator,
    rows: Records,
    material: Material,
    settings: Settings,
    run: RunDirectory,
    judge: Judge,
) -> dict[str, Any]:
    """What the samples are worth and what the generator remembers, before anything is replaced by them.

    The worth: train on samples, test on real rows (CAS), beside as many of the generator's own training rows.

    Returns:
      As `tfpdu.diffusion.measure_quality`; {"passed": True} where config.generator.floor is 0.
    """
    floor = settings.generator.floor
    known = _recorded("quality_gate", step, run)
    if known is not None:
        return known
    if not floor and _recorded("memory", step, run) is not None:
        return {"passed": True}
    real = rows.take(hashed_order(rows.ids, settings.seed, "gate")[: settings.gate_rows])
    say(f"quality gate: {len(real)} samples against {len(real)} real rows")
    twin = synthetic_twin(real, generator.for_specs(real.specs))
    if len(known_rows(generator, material)):  # else its training rows are elsewhere
        found = measure_memory(generator, twin, rows, _strangers(material), seed=settings.seed)
        run.record({"event": "memory", **_at(step), **found})
    if not floor:
        return {"passed": True}

    def train(records: Records, seed: int) -> Predict:
        directory = run.file("gate", files.array_hash(records.images)[:8])
        return fit_classifier(directory, records, settings.judge, settings).probabilities

    auxiliary = material.pools.auxiliary
    verdict = measure_quality(twin, real, auxiliary, train, floor=floor, seed=settings.seed, judge=judge)
    shutil.rmtree(run.file("gate"), ignore_errors=True)  # it saw rows that will be forgotten
    run.record({"event": "quality_gate", **_at(step), **verdict})
    return verdict


def note_traces(
    step: Step | None, generator: Generator, rows: Records, material: Material, settings: Settings, run: RunDirectory
) -> None:
    """Records, once, whether the generator knows rows of S from strangers: what it may carry into its samples.

    Args:
      step: whose generator it is; None if it serves the whole run.
      generator: the one in question.
      rows: all originals, or of a step's generator those forgotten by then; of none, nothing is recorded.
      material: its pools have the strangers.
      settings: of the run.
      run: its directory.
    """
    if not len(rows) or _recorded("traces", step, run) is not None:
        return
    try:
        found = measure_traces(generator, rows, _strangers(material), seed=settings.seed)
    except UserError as error:  # few rows, of cells that no stranger is in
        say(f"traces of {len(rows)} rows in the generator: not measured, {error}")
        return
    run.record({"event": "traces", **_at(step), "population": "forgotten" if step else "originals", **found})


def _strangers(material: Material) -> Records:
    return concatenate([material.pools.non_members_calibration, material.pools.non_members_evaluation])


def _recorded(event: str, step: Step | None, run: RunDirectory) -> dict[str, Any] | None:
    """The event of a step, or of the whole run."""
    key = _at(step)
    return run.event(event, key.get("iteration"), key.get("round"))


def _at(step: Step | None) -> dict[str, int]:
    return {} if step is None else step.key


def showcase(drawn: Records, synthetic: Records, each: int, seed: int, originals: bool) -> dict[str, np.ndarray]:
    """Pictures for the report: up to `each` originals and samples a class, drawn by id."""

    def grid(records: Records) -> np.ndarray:
        order = hashed_order(records.ids, seed, "showcase")
        out = np.zeros((drawn.classes, each, *drawn.images.shape[1:]), np.uint8)
        for label in range(drawn.classes):
            rows = order[records.labels[order] == label][:each]
            out[label, : len(rows)] = records.images[rows]
        return out

    columns = {"synthetic": grid(synthetic), "label_names": np.array(drawn.label_names)}
    return {"originals": grid(drawn), **columns} if originals else columns
