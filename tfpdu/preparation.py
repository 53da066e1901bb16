"""What Algorithm 2 starts from: pools, the draw S, the prior, the judge, the generator and its quality gate.

Every part is kept in the run directory and found there by a resumed run.
"""

import dataclasses
import platform
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import tfpdu
from tfpdu.bias import Prior, need_of_cells
from tfpdu.bias.priors import names_of
from tfpdu.common import UserError, files, say
from tfpdu.common.determinism import fingerprint
from tfpdu.common.machine import processor
from tfpdu.common.run_directory import RunDirectory
from tfpdu.common.seeds import hashed_order
from tfpdu.common.validation import one_of
from tfpdu.data import UNKNOWN, Pools, Records, concatenate, cut_pools, draw, load
from tfpdu.diffusion import (
    Generator,
    NoisyClassifier,
    fit_generator,
    fit_noisy_classifier,
    measure_memory,
    measure_quality,
    synthetic_twin,
)
from tfpdu.ensemble import Ensemble, EnsembleSettings, assign_shards
from tfpdu.ensemble.resnet import InitialWeights
from tfpdu.settings import Settings
from tfpdu.unlearning import ShardedLearner

POOL_SEED = 0  # seeds vary draws and training, never the pools

Predict = Callable[[np.ndarray], np.ndarray]
Judge = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Material:
    """The data of a run.

    Attributes:
      pools: the disjoint pools.
      drawn: S, the private rows that the classifier learns and then forgets.
      prior: D, or None as long as the need of its cells is to be measured, see `fit_prior`.
      shard: int32[n], the shard of each row of S, fixed here for ever.
      slice: int32[n], its slice within the shard.
      forget_order: ids of S in the order in which they are forgotten.
    """

    pools: Pools
    drawn: Records
    prior: Prior | None
    shard: np.ndarray
    slice: np.ndarray
    forget_order: np.ndarray


def prepare_data(settings: Settings, run: RunDirectory) -> Material:
    """Loads the data, cuts the pools, draws S, and records all of it by id."""
    material = gather(settings, run.file("problems.csv"), run.file("cache"))
    _record(material, settings, run)
    return material


def gather(settings: Settings, problems: str | Path = "", home: str | Path = "") -> Material:
    """Loads the data, cuts the pools, draws S.

    Args:
      settings: of the run.
      problems: the file for faulty rows of an image folder.
      home: a folder for one's own pictures where they are too many for memory, see `tfpdu.data.load`.
    """
    records = load(
        settings.data.name,
        problems=problems,
        home=home,
        **{k: v for k, v in dataclasses.asdict(settings.data).items() if k != "name"},
    )
    names = [spec.name for spec in records.specs]
    one_of(names, **{f"config.generator.steer[{i}]": name for i, name in enumerate(settings.steer)})
    pools = cut_pools(records, settings.pools, POOL_SEED)
    drawn = draw(pools.private, settings.draw, settings.seed)
    prior = None if settings.prior.needs_measuring else settings.prior.build(drawn, pools.auxiliary)
    shard, slices = assign_shards(drawn, settings.ensemble.shards, settings.ensemble.dealt_slices, settings.seed)
    forget_order = drawn.ids[hashed_order(drawn.ids, settings.seed, "forget")]
    return Material(pools, drawn, prior, shard, slices, forget_order)


def _record(material: Material, settings: Settings, run: RunDirectory) -> None:
    pools = {name: list(ids) for name, ids in material.pools.ids().items()}
    drawn = material.drawn
    written = {
        "pools": pools,
        "draw": drawn.ids.tolist(),
        "shard": material.shard.tolist(),
        "slice": material.slice.tolist(),
        "data_hash": files.array_hash(drawn.images, drawn.labels, drawn.attributes),
    }
    if run.file("pools.json").exists():
        before = files.read_json(run.file("pools.json"))
        if before != written:
            raise UserError(f"--workdir={run.path}: the data set changed since this run was made; start another run")
        return
    files.write_json(run.file("pools.json"), written)
    files.write_json(run.file("manifest.json"), manifest(material, settings))


def manifest(material: Material, settings: Settings) -> dict[str, Any]:
    """What a run was made on and from: versions, machine, seeds, data."""
    packages = ("tensorflow", "keras", "numpy", "scipy", "scikit-learn", "tensorflow-datasets")
    drawn = material.drawn
    return {
        "tfpdu_version": tfpdu.__version__,
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
        "platform": platform.platform(),
        "cpu": processor(),
        "seed": settings.seed,
        "precision": settings.ensemble.precision,
        **fingerprint(),
        "data": {
            "name": settings.data.name,
            "hash": files.array_hash(drawn.images, drawn.labels, drawn.attributes),
            "rows": len(drawn),
            "image_shape": list(drawn.images.shape[1:]),
            "classes": list(drawn.label_names),
            "attributes": {spec.name: list(spec.values) for spec in drawn.specs},
        },
        "pools": {name: len(ids) for name, ids in material.pools.ids().items()},
    }


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
    """D; with kind "eda" and no stated need, the need of the cells is measured first.

    The need is the error of classifiers on rows of the auxiliary pool that did not train them (two folds): no row of
    S takes part, so a deletion leaves it as it is.
    """
    drawn, auxiliary, prior = material.drawn, material.pools.auxiliary, settings.prior
    if material.prior is not None:
        return material.prior
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


def fit_generator_for(t: int | None, rows: Records, settings: Settings, run: RunDirectory) -> Generator:
    """Trains the generator of these rows, or finds it; with an iteration t it is that step's own."""
    directory = run.file("generator") if t is None else run.file("generator", f"{t:04d}")
    generator = train_generator(rows, settings, directory)
    note_generator(t, generator, settings, run)
    return generator


def note_generator(t: int | None, generator: Generator, settings: Settings, run: RunDirectory) -> None:
    """Tells in the run's events what generator it uses."""
    names = ("images_seen", "seconds", "images_per_second", "loss", "parameters", "rows", "id")
    made = {name: generator.card[name] for name in names}
    if generator.privacy is not None:
        made["private"] = generator.card["private"]
    if settings.pretrained:
        made["pretrained"] = settings.pretrained
    if settings.steer:
        made["steered_to"] = list(settings.steer)
    run.record({"event": "generator", **_at(t), **made, "lineage": settings.generator.lineage})


def known_rows(generator: Generator, material: Material) -> Records:
    """Those of the generator's training rows that are in the private or the public pool."""
    table = concatenate([material.pools.private, material.pools.public])
    return table.take(np.flatnonzero(np.isin(table.ids, np.array(generator.row_ids))))


def inspect(
    t: int | None,
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
    known = run.event("quality_gate", t)
    if known is not None:
        return known
    if not floor and run.event("memory", t) is not None:
        return {"passed": True}
    real = rows.take(hashed_order(rows.ids, settings.seed, "gate")[: settings.gate_rows])
    say(f"quality gate: {len(real)} samples against {len(real)} real rows")
    twin = synthetic_twin(real, generator.for_specs(real.specs))
    if len(known_rows(generator, material)):  # else its training rows are elsewhere
        holdout = concatenate([material.pools.non_members_calibration, material.pools.non_members_evaluation])
        run.record({"event": "memory", **_at(t), **measure_memory(generator, twin, rows, holdout, seed=settings.seed)})
    if not floor:
        return {"passed": True}

    def train(records: Records, seed: int) -> Predict:
        directory = run.file("gate", files.array_hash(records.images)[:8])
        return fit_classifier(directory, records, settings.judge, settings).probabilities

    auxiliary = material.pools.auxiliary
    verdict = measure_quality(twin, real, auxiliary, train, floor=floor, seed=settings.seed, judge=judge)
    shutil.rmtree(run.file("gate"), ignore_errors=True)  # it saw rows that will be forgotten
    run.record({"event": "quality_gate", **_at(t), **verdict})
    return verdict


def _at(t: int | None) -> dict[str, int]:
    return {} if t is None else {"iteration": t}


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
