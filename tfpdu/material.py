"""The data of a run: pools, the draw S, its shards and canaries, recorded by id and found again."""

import dataclasses
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import tfpdu
from tfpdu.audit import coin_flips
from tfpdu.bias import Prior
from tfpdu.common import UserError, files
from tfpdu.common.determinism import fingerprint
from tfpdu.common.machine import processor
from tfpdu.common.run_directory import RunDirectory
from tfpdu.common.seeds import hashed_order
from tfpdu.common.validation import one_of
from tfpdu.data import ImageStore, Pools, Records, concatenate, cut_pools, draw, load
from tfpdu.ensemble import EnsembleSettings, assign_shards
from tfpdu.settings import Settings
from tfpdu.unlearning.condition import rows_where
from tfpdu.unlearning.plan import leaving_steps

ROWS = "pools.json"  # of the run directory: every row that the run may use, by id
POOL_SEED = 0  # seeds vary draws and training, never the pools


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
    learned = ["label", *(name for name in names if name not in settings.steer)]
    one_of(learned, **{f"config.generator.critics[{i}]": name for i, name in enumerate(settings.generator.critics)})
    return records


def _stated_prior(settings: Settings, drawn: Records, pools: Pools) -> Prior | None:
    return None if settings.prior.needs_measuring else settings.prior.build(drawn, pools.auxiliary)


def content_of_initial(settings: EnsembleSettings) -> dict[str, str]:
    """What a manifest says of the weights to start from: the SHA-256 of their file; nothing where there is none."""
    path = settings.initial
    if path and not Path(path).is_file():
        raise UserError(f"config.ensemble.initial={path}: no such file")
    return {"initial": files.file_hash(path)} if path else {}


def refuse_other_initial(settings: EnsembleSettings, manifest: Mapping[str, Any]) -> None:
    """Raises `UserError` if the file is another than the manifest says: a run would silently learn all anew."""
    if manifest.get("initial") != content_of_initial(settings).get("initial"):
        path = settings.initial
        raise UserError(f"config.ensemble.initial={path}: another file than the run was begun with; start another run")


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
