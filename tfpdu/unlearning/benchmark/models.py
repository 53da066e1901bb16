"""The models that a benchmark starts from and compares with: originals and reference models, kept as weights files."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfpdu.audit import References
from tfpdu.common import UserError, files
from tfpdu.common.interrupt import safe_point
from tfpdu.common.progress import Progress
from tfpdu.common.seeds import id_hashes, stable_hash
from tfpdu.data import DrawSettings, Pools, Records, concatenate, draw
from tfpdu.ensemble.aggregate import softmax
from tfpdu.ensemble.backbones import build_backbone
from tfpdu.ensemble.networks import answers
from tfpdu.ensemble.transfer import read_initial
from tfpdu.ensemble.weights import load_weights, save_weights
from tfpdu.unlearning.benchmark.settings import BenchmarkSettings
from tfpdu.unlearning.benchmark.sharded import Committee, ShardedSettings, learn_shards
from tfpdu.unlearning.methods import Examples
from tfpdu.unlearning.methods.base import resolve
from tfpdu.unlearning.methods.descent import descend, learning

Build = Callable[[int], keras.Model]


def examples(records: Records, labels: np.ndarray | None = None) -> Examples:
    """Rows as the methods take them, with other labels where some are given."""
    return Examples(records.images, records.labels if labels is None else labels, records.ids)


@dataclasses.dataclass(frozen=True)
class Tables:
    """The rows of a benchmark, all disjoint.

    Attributes:
      train: what originals learn, in the order of ids.
      held_out: rows that forgotten ones are compared with.
      population: rows that RMIA compares with, and that attacks are calibrated on.
      auxiliary: rows that methods with an auditor learn from, and that tuning measures on.
      test: for accuracy.
    """

    train: Records
    held_out: Records
    population: Records
    auxiliary: Records
    test: Records

    @classmethod
    def of(cls, pools: Pools, settings: BenchmarkSettings) -> "Tables":
        """Draws them from the pools by hashes of ids; raises `UserError` where a pool is too small."""
        parts = {
            "private": (pools.private, settings.rows),
            "non_members_evaluation": (pools.non_members_evaluation, settings.held_out),
            "non_members_calibration": (pools.non_members_calibration, settings.population),
        }
        drawn: list[Records] = []
        for name, (pool, rows) in parts.items():
            if name == "private" and rows > len(pool):
                raise UserError(f"config.bench.rows: {rows} wanted, the private pool has {len(pool)}")
            if not len(pool):
                raise UserError(f"config.pools.{name}: the benchmark needs some rows there")
            part = draw(pool, DrawSettings(rows=min(rows, len(pool))), 0)
            drawn.append(part.take(np.argsort(part.ids, kind="stable")))
        if not len(pools.auxiliary):
            raise UserError("config.pools.auxiliary: the benchmark needs some rows there")
        return cls(drawn[0], drawn[1], drawn[2], pools.auxiliary, pools.test)


def builder(settings: BenchmarkSettings, table: Records) -> Build:
    """seed -> an untrained model of the backbone for these rows; the same seed gives the same bits."""
    if ":" in settings.backbone:
        made: Build = resolve(settings.backbone)
        return made
    options = dict(settings.options)
    if settings.initial:
        options["weights"] = read_initial(settings.initial)
    shape = tuple(table.images.shape[1:])
    return functools.partial(_built, settings.backbone, shape, table.classes, options)


def _built(name: str, shape: Any, classes: int, options: dict[str, Any], seed: int) -> keras.Model:
    try:
        return build_backbone(name, shape, classes, seed=seed, **options)
    except TypeError as error:
        raise UserError(f"config.bench.options: {str(error).partition(') ')[2] or error}") from None


class Models:
    """Trains models once, and finds them again in a folder.

    Args:
      settings: of the benchmark.
      tables: its rows.
      directory: of the weights.
    """

    def __init__(self, settings: BenchmarkSettings, tables: Tables, directory: Path):
        self._settings, self._tables, self._directory = settings, tables, directory
        self.build = builder(settings, tables.train)

    def original(self, seed: int, labels: np.ndarray) -> keras.Model:
        """The model that has learned all training rows with these labels."""
        rows = examples(self._tables.train, labels)
        return self._trained(f"original-{seed}-{_name(rows)}", rows, stable_hash("original", seed) % 2**31)

    def committee(self, seed: int, labels: np.ndarray, options: ShardedSettings) -> Committee:
        """Shard models that have learned all training rows with these labels."""
        rows = examples(self._tables.train, labels)
        options = dataclasses.replace(options, build=options.build or self.build)
        name = f"shards-{seed}-{_name(rows)}-{stable_hash(repr(dataclasses.replace(options, build=None))):016x}"
        paths = [self._directory / f"{name}-{shard}.weights.h5" for shard in range(options.shards)]
        if not all(path.exists() for path in paths):
            for path, member in zip(paths, learn_shards(rows, options, seed).members, strict=True):
                save_weights(member, path)
        assert options.build is not None
        members = [options.build(0) for _ in paths]
        for path, member in zip(paths, members, strict=True):
            load_weights(member, path)
        return Committee(members)

    def references(self) -> tuple[Records, References]:
        """All rows that RMIA asks about, and what the reference models answer on them.

        They come in pairs that part the rows between them by a coin for each row, members and non-members alike: each
        row has as many references that were trained with it as without.
        """
        tables = self._tables
        rows = concatenate([tables.train, tables.held_out, tables.population])
        path = self._directory / "references.npz"
        count = self._settings.references
        included = np.stack([_coins(rows, number) for number in range(count)], axis=1)  # [n, R]
        if not path.exists():
            parts = []
            with Progress("reference models", count, "models", every_seconds=0) as progress:
                for number in range(count):
                    safe_point()
                    some = examples(rows.take(included[:, number]))
                    model = self._trained(f"reference-{number}", some, stable_hash("reference", number) % 2**31)
                    parts.append(true_class(answers(model, rows.images), rows.labels))
                    progress.advance()
            files.write_npz(path, probabilities=np.stack(parts, axis=1))
            for number in range(count):
                (self._directory / f"reference-{number}.weights.h5").unlink()
        return rows, References(files.read_npz(path)["probabilities"], included)

    def _trained(self, name: str, rows: Examples, seed: int) -> keras.Model:
        path = self._directory / f"{name}.weights.h5"
        model = self.build(seed)
        if path.exists():
            load_weights(model, path)
            return model
        walk = learning(model, rows)
        descend(model, lambda epoch: [walk], self._settings.training, seed)
        save_weights(model, path)
        return model


def true_class(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The probability of each row's class, float64[n]."""
    return np.asarray(softmax(logits)[np.arange(len(labels)), labels])


def _coins(rows: Records, number: int) -> np.ndarray:
    """bool[n], the rows that a reference model is trained on; those of its pair's other half are the rest."""
    heads = id_hashes(rows.ids.tolist(), "reference", number // 2) % np.uint64(2) == number % 2
    return np.asarray(heads)


def _name(rows: Examples) -> str:
    return f"{stable_hash(*np.asarray(rows.labels).tolist(), *_ids(rows)):016x}"


def _ids(rows: Examples) -> Sequence[str]:
    ids: list[str] = np.asarray(rows.ids, str).tolist()
    return ids
