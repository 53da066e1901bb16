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
from tfpdu.audit import coin_flips
from tfpdu.bias import Prior, need_of_cells
from tfpdu.bias.priors import names_of
from tfpdu.common import UserError, files, say
from tfpdu.common.determinism import fingerprint
from tfpdu.common.machine import processor
from tfpdu.common.run_directory import RunDirectory
from tfpdu.common.seeds import hashed_order
from tfpdu.common.validation import one_of
from tfpdu.data import UNKNOWN, ImageStore, Pools, Records, concatenate, cut_pools, draw, load
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
from tfpdu.ensemble.initial import InitialWeights
from tfpdu.ensemble.transfer import content_of_initial, refuse_other_initial
from tfpdu.settings import Settings
from tfpdu.steps import Step
from tfpdu.unlearning import ShardedLearner
from tfpdu.unlearning.condition import rows_where
from tfpdu.unlearning.plan import leaving_steps

ROWS = "pools.json"  # of the run directory: every row that the run may use, by id
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
      leaves: int32[n], the iteration that forgets each row, 1..T.
      canaries: rows of the one-run audit, drawn beside S; a fair coin has put each into S or left it out.
    """

    pools: Pools
    drawn: Records
    prior: Prior | None
    shard: np.ndarray
    slice: np.ndarray
    leaves: np.ndarray
    canaries: Records

    @property
    def ids(self) -> list[str]:
        """Of all rows of the pools; S is drawn from the private one."""
        return [row_id for ids in self.pools.ids().values() for row_id in ids]

    def held(self) -> Records:
        """All rows of the pools in one table."""
        return concatenate([getattr(self.pools, name) for name in self.pools.ids()])


def prepare_data(settings: Settings, run: RunDirectory) -> Material:
    """Loads the data, cuts the pools, draws S, and records all of it by id; a resumed run keeps to the record.

    Raises:
      UserError: the data set no longer holds a recorded row, or holds it with another content.
    """
    records = load_data(settings, run)
    if run.file(ROWS).exists():
        refuse_other_initial(settings.ensemble, files.read_json(run.file("manifest.json")))
        material = recorded(records, settings, run)
    else:
        material = cut(records, settings)
        drawn = material.drawn
        columns = {"shard": material.shard, "slice": material.slice, "leaves": material.leaves}
        written = {
            "pools": material.pools.ids(),
            "draw": drawn.ids.tolist(),
            "canaries": material.canaries.ids.tolist(),
            **{name: column.tolist() for name, column in columns.items()},
            "content": content_hashes(drawn),
        }
        files.write_json(run.file("manifest.json"), manifest(material, settings))
        files.write_json(run.file(ROWS), written)
    if settings.deletion.mode == "service":
        without_strangers(records, material, run)
    return material


def without_strangers(records: Records, material: Material, run: RunDirectory) -> None:
    """Erases from the run's own store of pictures, if it was just made from its source, all that is not the run's.

    A store that is made anew would else hold again what was deleted.
    """
    if isinstance(records.images, ImageStore):
        records.images.settle(~np.isin(records.ids, material.ids), run.path)


def recorded(records: Records, settings: Settings, run: RunDirectory) -> Material:
    """The rows of the run's record; rows that the data set has gained since are in no pool."""
    written = files.read_json(run.file(ROWS))
    changed = f"--workdir={run.path}: the data set changed since this run was made ({{}}); start another run"
    try:
        pools = Pools.from_ids(records, written["pools"])
        drawn = records.take(records.rows_of(written["draw"]))
        canaries = records.take(records.rows_of(written["canaries"]))
    except UserError as error:
        raise UserError(changed.format(error)) from None
    for row_id, then, now in zip(written["draw"], written["content"], content_hashes(drawn), strict=True):
        if then != now:
            raise UserError(changed.format(f"row {row_id!r} has another content"))
    shard, slices, leaves = (np.array(written[name], np.int32) for name in ("shard", "slice", "leaves"))
    return Material(pools, drawn, _stated_prior(settings, drawn, pools), shard, slices, leaves, canaries)


def content_hashes(records: Records) -> list[str]:
    """32 hex digits a row, over its pixels, label and attributes."""
    rows = zip(records.images, records.labels, records.attributes, strict=True)
    return [files.array_hash(*map(np.ascontiguousarray, row))[:32] for row in rows]


def gather(settings: Settings) -> Material:
    """Loads the data, cuts the pools, draws S, for a command that has no run directory."""
    return cut(_load(settings, "", ""), settings)


def cut(records: Records, settings: Settings) -> Material:
    """The pools of a data set, and S drawn from its private one."""
    pools = cut_pools(records, settings.pools, POOL_SEED)
    drawn, canaries = _with_canaries(draw(pools.private, settings.draw, settings.seed), pools.private, settings)
    ensemble, seed = settings.ensemble, settings.seed
    likely = rows_where(drawn, settings.deletion.likely, "config.deletion.likely") if settings.deletion.likely else None
    shard, slices = assign_shards(drawn, ensemble.shards, ensemble.dealt_slices, seed, likely)
    leaves = leaving_steps(drawn.ids, settings.loop.iterations, seed)
    return Material(pools, drawn, _stated_prior(settings, drawn, pools), shard, slices, leaves, canaries)


def _with_canaries(drawn: Records, private: Records, settings: Settings) -> tuple[Records, Records]:
    """S with the canaries that its coins put there, and all canaries; each coin knows of its own row alone."""
    rest = _strangers(private.without(drawn.ids.tolist()), drawn, settings.seed)
    count = settings.canaries
    if count > len(rest):
        raise UserError(
            f"config.audit.canaries: {count} wanted, the private pool has {len(rest)} rows beside the"
            f" {len(drawn)} of config.draw.rows"
        )
    canaries = rest.take(np.arange(count))
    heads = coin_flips(canaries.ids.tolist(), settings.seed)
    return (concatenate([drawn, canaries.take(heads)]) if heads.any() else drawn), canaries


def _strangers(rest: Records, drawn: Records, seed: int) -> Records:
    """One row of each person who is not in S, in the order of their hash; all rows where no person is known."""
    rest = rest.take(hashed_order(rest.ids, seed, "canaries"))
    if rest.subjects is None or drawn.subjects is None:
        return rest
    _, first = np.unique(np.where(rest.subjects == "", rest.ids, rest.subjects), return_index=True)
    alone = np.isin(np.arange(len(rest)), first) & ~np.isin(rest.subjects, drawn.subjects[drawn.subjects != ""])
    return rest.take(alone)


def load_data(settings: Settings, run: RunDirectory) -> Records:
    """All rows of the data set as it is now, those in no pool and those that were deleted among them."""
    return _load(settings, run.file("problems.csv"), run.file("cache"))


def _load(settings: Settings, problems: str | Path, home: str | Path) -> Records:
    fields = {name: value for name, value in dataclasses.asdict(settings.data).items() if name != "name"}
    records = load(settings.data.name, problems=problems, home=home, **fields)
    names = [spec.name for spec in records.specs]
    one_of(names, **{f"config.generator.steer[{i}]": name for i, name in enumerate(settings.steer)})
    return records


def _stated_prior(settings: Settings, drawn: Records, pools: Pools) -> Prior | None:
    return None if settings.prior.needs_measuring else settings.prior.build(drawn, pools.auxiliary)


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
        **content_of_initial(settings.ensemble),
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
    at = (step.key.get("iteration"), step.key.get("round")) if step else (None, None)
    known = run.event("quality_gate", *at)
    if known is not None:
        return known
    if not floor and run.event("memory", *at) is not None:
        return {"passed": True}
    real = rows.take(hashed_order(rows.ids, settings.seed, "gate")[: settings.gate_rows])
    say(f"quality gate: {len(real)} samples against {len(real)} real rows")
    twin = synthetic_twin(real, generator.for_specs(real.specs))
    if len(known_rows(generator, material)):  # else its training rows are elsewhere
        holdout = concatenate([material.pools.non_members_calibration, material.pools.non_members_evaluation])
        run.record(
            {"event": "memory", **_at(step), **measure_memory(generator, twin, rows, holdout, seed=settings.seed)}
        )
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
