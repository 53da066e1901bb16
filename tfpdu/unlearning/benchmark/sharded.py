"""Exact unlearning as one of the benchmark's methods: a committee of shard models, of which a request retrains some.

It is exact: each retrained member starts from its own initial weights and never sees the rows. Its answers are the mean
of the members', so it is another model than the single one that the others start from, and is less accurate, since
each member learns a part of the rows alone. Runs have it with slices, ledger and receipts: `tfpdu.unlearning.exact`.

Reference:
  [1] Bourtoule et al. Machine unlearning. IEEE S&P 2021 (SISA).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfpdu.common import UserError
from tfpdu.common.seeds import id_hashes, stable_hash
from tfpdu.unlearning.methods import DescentSettings, Examples, Method, clone
from tfpdu.unlearning.methods.descent import descend, learning

Build = Callable[[int], keras.Model]


@keras.saving.register_keras_serializable("tfpdu")
class Committee(keras.Model):
    """Models of one shape that answer as one: the logarithm of the mean of their probabilities.

    Args:
      members: images [b, h, w, c] to logits [b, C].
    """

    def __init__(self, members: Sequence[keras.Model], **options: Any):
        super().__init__(**options)
        self.members = list(members)
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """[b, C], whose softmax is the mean of the members'."""
        shares = [ops.softmax(member(x, training=training)) for member in self.members]
        return ops.log(ops.maximum(ops.mean(ops.stack(shares), axis=0), 1e-30))

    def get_config(self) -> dict[str, Any]:
        """The members, as Keras writes models."""
        return {**super().get_config(), "members": [keras.saving.serialize_keras_object(m) for m in self.members]}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Committee":
        """A committee with weights of any values."""
        members = [keras.saving.deserialize_keras_object(m) for m in config.pop("members")]
        return cls(members, **config)


@dataclasses.dataclass(frozen=True)
class ShardedSettings(DescentSettings):
    """As `DescentSettings`, of the training that made the members.

    Attributes:
      shards: k; rows are dealt by a hash of their id.
      build: seed -> an untrained member; needed.
    """

    shards: int = 5
    build: Build | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shards < 2 or self.shards != int(self.shards):
            raise UserError(f"shards: expected a whole number of at least 2, got {self.shards}")


def shards_of(rows: Examples, shards: int) -> np.ndarray:
    """int64[n] in 0..shards-1, by a hash of the id alone."""
    return (id_hashes(np.asarray(rows.ids, str).tolist(), "shard") % np.uint64(shards)).astype(np.int64)


def learn_shards(rows: Examples, settings: ShardedSettings, seed: int) -> Committee:
    """Trains all members."""
    return Committee([_member(rows, shard, settings, seed) for shard in range(settings.shards)])


def _member(rows: Examples, shard: int, settings: ShardedSettings, seed: int) -> keras.Model:
    if settings.build is None:
        raise UserError("sharded.build: needs a function that makes an untrained member")
    key = stable_hash("shard", seed, shard) % 2**31
    member, own = settings.build(key), rows.take(shards_of(rows, settings.shards) == shard)
    if not len(own):
        return member  # nothing is left of the shard
    walk = learning(member, own)
    descend(member, lambda epoch: [walk], settings, key)
    return member


def _run(model: keras.Model, forget: Examples, retain: Examples, settings: ShardedSettings, seed: int) -> keras.Model:
    if not isinstance(model, Committee) or len(model.members) != settings.shards:
        raise UserError(f"sharded: needs a committee of {settings.shards} shard models, got {type(model).__name__}")
    touched = np.unique(shards_of(forget, settings.shards))
    members = [
        _member(retain, shard, settings, seed) if shard in touched else clone(member)
        for shard, member in enumerate(model.members)
    ]
    return Committee(members)


SHARDED = Method(
    name="sharded",
    citation="Bourtoule et al. Machine unlearning. IEEE S&P 2021",
    needs_retain=True,
    settings=ShardedSettings,
    run=_run,
)
