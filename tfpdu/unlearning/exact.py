"""Exact unlearning by sharded, isolated, sliced training (SISA; Bourtoule et al. 2021).

Every trained slice has a key: a hash over each row that it saw (id, content, label, weight) and over everything
else that its bits depend on. A file of that name is the model; where a row is gone the key is another, so no file
that saw the row can be taken for one that did not. Files that no current key names are purged first of all.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tfpdu import __version__
from tfpdu.common import UserError, files
from tfpdu.common.determinism import configure, fingerprint
from tfpdu.data import Records
from tfpdu.data.views import ViewPolicy
from tfpdu.ensemble.aggregate import Ensemble, Evaluator, resnet18_evaluator
from tfpdu.ensemble.initial import InitialWeights
from tfpdu.ensemble.settings import EnsembleSettings
from tfpdu.ensemble.trainer import Rows
from tfpdu.ensemble.transfer import initial_weights
from tfpdu.unlearning.executors import Executor, executor_of
from tfpdu.unlearning.job import ShardJob, Training


@dataclasses.dataclass(frozen=True)
class Learned:
    """What learning a table gave.

    Attributes:
      ensemble: one model a shard that has rows.
      retrained: the shards that this table made learn anew; those whose rows were the same are not among them.
        A call that is repeated, as after an interruption, gives the same answer.
      seconds: of training, summed over the retrained shards.
      row_epochs: rows times epochs of that training, its cost without a clock.
      keys: the key of each shard's last slice.
    """

    ensemble: Ensemble
    retrained: tuple[int, ...]
    seconds: float
    row_epochs: int
    keys: tuple[str, ...]


class ShardedLearner:
    """Learns tables of rows, and only retrains the shards and slices in which something changed.

    Learning a table without some rows *is* unlearning them: the weights are bit for bit those of a training that
    never saw the rows, and nothing that saw them is left in `directory`.

    Args:
      directory: holds `shards/<s>/<key>.weights.h5`.
      settings: of the ensemble.
      views: of the training augmentation.
      classes: number of classes.
      input_shape: (h, w, c).
      seed: of the run.
      initial: weights that every shard starts from (they must not have seen the rows), see `build_resnet18`; by
        default those of the file that the settings name, if any. Their content is in the keys.
      executor: trains the shards; by default the one that the settings name.
    """

    def __init__(
        self,
        directory: str | Path,
        settings: EnsembleSettings,
        views: ViewPolicy,
        *,
        classes: int,
        input_shape: tuple[int, int, int],
        seed: int,
        initial: InitialWeights = None,
        executor: Executor | None = None,
    ):
        configure(settings.threads)
        self.directory = Path(directory) / "shards"
        self.settings, self.views, self.seed = settings, views, seed
        height, width, channels = (int(size) for size in input_shape)
        self.classes, self.input_shape = classes, (height, width, channels)
        if initial is None and settings.initial:
            initial = initial_weights(settings, self._evaluator().model)
        self._initial, self._initial_hash = initial, _initial_hash(initial)
        self._executor = executor or executor_of(settings)

    def learn(
        self, records: Records, shard: np.ndarray, slice_: np.ndarray, weights: np.ndarray | None = None
    ) -> Learned:
        """Brings every shard to the state of having learned exactly these rows.

        Args:
          records: the table, n rows.
          shard: int[n], the shard of each row, in 0..k-1.
          slice_: int[n], its slice, in 0..R-1.
          weights: float[n], the weight of each row in the loss; 1 by default.

        Raises:
          UserError: the arguments do not fit, or no rows are left.
          StopRequested: a signal came; the same call goes on from there.
        """
        weights = np.ones(len(records)) if weights is None else np.asarray(weights, np.float64)
        keys = self.keys(records, shard, slice_, weights)
        filled = [s for s in range(self.settings.shards) if np.any(shard == s)]
        self._purge({(str(s), key) for s in filled for key in keys[s]})
        last = tuple(shard_keys[-1] for shard_keys in keys)
        retrained, reused = self._changes(keys, filled)
        rows = Rows(records.images, records.labels, records.ids, weights)
        waiting = [s for s in filled if not self._weights_file(s, last[s]).exists()]
        if waiting:
            self._executor.run([self._job(s, keys[s], rows, np.flatnonzero(shard == s), slice_) for s in waiting])
        notes = [files.read_json(self._note(s, key)) for s in retrained for key in keys[s] if key not in reused]
        return Learned(
            ensemble=self._ensemble(shard, last),
            retrained=retrained,
            seconds=sum(note["seconds"] for note in notes),
            row_epochs=sum(note["row_epochs"] for note in notes),
            keys=last,
        )

    def found(
        self, records: Records, shard: np.ndarray, slice_: np.ndarray, weights: np.ndarray | None = None
    ) -> Ensemble | None:
        """The ensemble that learned this table, if all its weights are there; nothing is trained or removed."""
        if not self.ready(records, shard, slice_, weights):
            return None
        keys = self.keys(records, shard, slice_, weights)
        return self._ensemble(shard, [shard_keys[-1] for shard_keys in keys])

    def ready(self, records: Records, shard: np.ndarray, slice_: np.ndarray, weights: np.ndarray | None = None) -> bool:
        """Whether learning this table would train nothing, since all its weights are there."""
        keys = self.keys(records, shard, slice_, weights)
        return all(self._weights_file(s, keys[s][-1]).exists() for s in set(shard.tolist()))

    def clear(self) -> None:
        """Removes all that was learned: no row is left to learn from."""
        self._purge(set())

    def artefacts(self) -> dict[str, str]:
        """{file: SHA-256} of all weights that are there, by their path below `directory`."""
        return {str(p.relative_to(self.directory)): files.file_hash(p) for p in sorted(self.directory.glob("*/*.h5"))}

    def _ensemble(self, shard: np.ndarray, last: Sequence[str]) -> Ensemble:
        """The models of the shards that hold rows, in their order."""
        filled = [s for s in range(self.settings.shards) if np.any(shard == s)]
        files_ = [self._weights_file(s, last[s]) for s in filled]
        return Ensemble(files_, self._evaluator(), self.settings, sizes=[int((shard == s).sum()) for s in filled])

    # ---- training ----------------------------------------------------------------------------

    def _job(self, s: int, keys: list[str], rows: Rows, members: np.ndarray, slice_: np.ndarray) -> ShardJob:
        settings, views = self.settings, self.views
        process = {"tfpdu": __version__, **fingerprint()}
        training = Training(settings, views, self.classes, self.input_shape, self.seed, self._initial, process)
        return ShardJob(training, s, tuple(keys), rows, members, slice_[members], self.directory / str(s))

    def _evaluator(self) -> Evaluator:
        settings = self.settings
        return resnet18_evaluator(
            self.input_shape, self.classes, settings.stem, settings.width, settings.image_upscale, settings.precision
        )

    # ---- keys --------------------------------------------------------------------------------

    def keys(
        self, records: Records, shard: np.ndarray, slice_: np.ndarray, weights: np.ndarray | None = None
    ) -> list[list[str]]:
        """The key of each shard and slice [k][R], without training; that of slice r covers every row of slices 0..r."""
        weights = np.ones(len(records)) if weights is None else np.asarray(weights, np.float64)
        self._check(records, shard, slice_, weights)
        common = {
            "tfpdu": __version__,
            "training": self.settings.training(),
            "views": dataclasses.asdict(self.views),
            "classes": self.classes,
            "input_shape": self.input_shape,
            "seed": self.seed,
            "initial": self._initial_hash,
            "process": fingerprint(),
        }
        base = json.dumps(common, sort_keys=True)
        texts = _row_texts(records, weights)
        return [
            [_key(base, s, r, texts[(shard == s) & (slice_ <= r)]) for r in range(self.settings.slices)]
            for s in range(self.settings.shards)
        ]

    def _changes(self, keys: list[list[str]], filled: list[int]) -> tuple[tuple[int, ...], set[str]]:
        """Which shards this table makes learn anew, and the keys that were there before; both outlive a kill."""
        path = self.directory / "learned.json"
        state = files.read_json(path) if path.exists() else {}
        there = [key for s, shard_keys in enumerate(keys) for key in shard_keys if self._weights_file(s, key).exists()]
        if state.get("keys") != keys or set(state["reused"]) - set(there):
            state = {"keys": keys, "reused": there}
            files.write_json(path, state)
        reused = set(state["reused"])
        return tuple(s for s in filled if keys[s][-1] not in reused), reused

    def _purge(self, current: set[tuple[str, str]]) -> None:
        """Deletes all that no current key names: weights, unfinished trainings, temporary files of a killed process."""
        for path in self.directory.glob("*/*"):
            if (path.parent.name, path.name.partition(".")[0]) not in current:
                path.unlink()

    def _weights_file(self, s: int, key: str) -> Path:
        return self.directory / str(s) / f"{key}.weights.h5"

    def _note(self, s: int, key: str) -> Path:
        return self.directory / str(s) / f"{key}.json"

    def _check(self, records: Records, shard: np.ndarray, slice_: np.ndarray, weights: np.ndarray) -> None:
        n, settings = len(records), self.settings
        if not n:
            raise UserError("ensemble: there are no rows to learn from")
        if records.images.shape[1:] != self.input_shape:
            raise UserError(f"ensemble: pictures are {records.images.shape[1:]}, the networks take {self.input_shape}")
        if records.labels.min() < 0 or records.labels.max() >= self.classes:
            raise UserError(f"ensemble: labels must be in 0..{self.classes - 1}")
        for name, column, count in (("shard", shard, settings.shards), ("slice", slice_, settings.slices)):
            if len(column) != n or column.min() < 0 or column.max() >= count:
                raise UserError(f"ensemble: expected for each of {n} rows a {name} in 0..{count - 1}")
        if len(weights) != n or not np.all(np.isfinite(weights)) or weights.min() < 0:
            raise UserError(f"ensemble: expected for each of {n} rows a finite weight of at least 0")


def _row_texts(records: Records, weights: np.ndarray) -> np.ndarray:
    """All of a row that its training depends on, as text: strings [n]."""
    digests = [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in records.images]
    columns = zip(records.ids.tolist(), digests, records.labels.tolist(), weights.tolist(), strict=True)
    return np.array([json.dumps(row) for row in columns], dtype=object)


def _key(base: str, s: int, r: int, rows: np.ndarray) -> str:
    """SHA-256, 32 hex digits, over the configuration, the shard, the slice and every row up to it, in any order."""
    digest = hashlib.sha256(json.dumps([base, s, r, len(rows)]).encode())
    for row in sorted(rows):
        digest.update(row.encode() + b"\n")
    return digest.hexdigest()[:32]


def _initial_hash(initial: InitialWeights) -> str | None:
    if isinstance(initial, Mapping):
        return files.array_hash(*[part for name in sorted(initial) for part in (np.array(name), initial[name])])
    return None if initial is None else files.file_hash(initial)
