"""How an ensemble is cut, trained and aggregated."""

import dataclasses
from typing import Any

from tfpdu.common.errors import UserError
from tfpdu.common.validation import in_range, non_negative, one_of, positive

STEMS = ("cifar", "imagenet", "torchvision")
STAGES = 4
AGGREGATES = ("mean_probability", "vote", "weighted")
PRECISIONS = ("float32", "mixed_bfloat16")
SLICE_ORDERS = ("even", "forget")
EXECUTORS = ("serial", "ray")
PLACEMENT = ("executor", "address")  # fields that say where the work is done, and change no result


@dataclasses.dataclass(frozen=True)
class EnsembleSettings:
    """Everything but the rows and the seed that an ensemble of ResNet18s depends on.

    Attributes:
      shards: k, how many models share the rows; a row trains one of them.
      slices: R, parts of a shard that are learned one upon the other; a deletion goes back to the last part without
        the row. 1 is the cheapest to learn.
      slice_order: "even" deals rows to slices by hash; "forget" makes two slices, with the rows that are to be
        forgotten next in the last one, see `tfpdu.unlearning.plan`.
      last_slice: with "forget", the epochs that the last slice adds, as a share of `epochs`: what a step costs.
      base_share: with "forget", the least share of all rows that the first slice may hold before it is made anew.
      stem: "cifar" (3x3, stride 1) or "imagenet" (7x7, stride 2, pooled): the latter does a fifteenth of the work.
        "torchvision" is "imagenet" with padding as PyTorch has it, which weights from there expect.
      width: channels of the first stage; 64 is ResNet18.
      image_upscale: enlarges pictures this many times, inside the network.
      initial: file of weights that every model starts from, see `tfpdu.ensemble.transfer`; empty: drawn by the seed.
      freeze: how many of the 4 stages keep those weights, counted from the pictures; the stem goes with the first.
        Batch normalisation in them keeps its statistics too. 0: all is learned.
      epochs: passes over a shard, or, with R slices, their equivalent: 2 epochs / (R + 1) over each cumulative slice.
      batch: most rows in a step; a shard is dealt into nearly equal batches of at most this many.
      learning_rate: the highest rate of SGD with `momentum`; rises linearly in `warmup` (a share of all steps) and
        falls as a half cosine to 0.
      weight_decay: of the kernels alone, decoupled (Loshchilov and Hutter 2019): w -= rate * weight_decay * w.
      label_smoothing: share of the target spread evenly over the classes.
      precision: "float32" or "mixed_bfloat16" (weights and logits stay float32).
      threads: of TensorFlow; part of what a trained shard is, see `tfpdu.common.determinism`.
      aggregate: "mean_probability", "vote", or "weighted" (mean by the shards' numbers of rows).
      executor: who trains the shards: "serial", this process, one after another; or "ray", which gives the same bits.
      address: with "ray", that of the cluster, "auto" where one runs on this machine; empty: Ray on this machine alone.
    """

    shards: int = 2
    slices: int = 1
    slice_order: str = "even"
    last_slice: float = 1 / 3
    base_share: float = 0.75
    stem: str = "imagenet"
    width: int = 64
    image_upscale: int = 1
    initial: str = ""
    freeze: int = 0
    epochs: int = 20
    batch: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.1
    label_smoothing: float = 0.0
    precision: str = "float32"
    threads: int = 2
    aggregate: str = "mean_probability"
    executor: str = "serial"
    address: str = ""

    def __post_init__(self) -> None:
        positive(shards=self.shards, slices=self.slices, width=self.width, image_upscale=self.image_upscale)
        positive(epochs=self.epochs, learning_rate=self.learning_rate, threads=self.threads)
        in_range(4, 1e6, batch=self.batch)  # a batch of one row has no variance to normalise by
        in_range(0, 0.999, momentum=self.momentum, label_smoothing=self.label_smoothing)
        in_range(0, 1, warmup=self.warmup)
        in_range(1, max(2 * self.epochs - 1, 1), slices=self.slices)  # each slice gets an epoch at least
        in_range(0, 1, last_slice=self.last_slice, base_share=self.base_share)
        non_negative(weight_decay=self.weight_decay)
        one_of(SLICE_ORDERS, slice_order=self.slice_order)
        one_of(STEMS, stem=self.stem)
        one_of(PRECISIONS, precision=self.precision)
        one_of(AGGREGATES, aggregate=self.aggregate)
        one_of(EXECUTORS, executor=self.executor)
        in_range(0, STAGES, freeze=self.freeze)
        if self.freeze and not self.initial:
            raise UserError(f"freeze={self.freeze}: expected initial=<file of weights> with it, nothing is learned yet")
        if self.address and self.executor != "ray":
            raise UserError(f"address={self.address}: expected executor=ray with it, got executor={self.executor}")
        if self.slice_order == "forget" and self.slices != 2:
            raise UserError(f"slice_order=forget: expected slices=2, got {self.slices}")

    def one_model(self) -> "EnsembleSettings":
        """The same training of a single model on all rows at once, in this process."""
        return dataclasses.replace(self, shards=1, slices=1, slice_order="even", executor="serial", address="")

    @property
    def dealt_slices(self) -> int:
        """Slices to which rows are dealt by hash: with "forget" none, since the plan says where they lie."""
        return self.slices if self.slice_order == "even" else 1

    def slice_epochs(self) -> list[int]:
        """Where each slice's epochs end: R numbers; the last is the number of epochs in all.

        2 epochs / (R + 1) a slice makes the cost that of `epochs` passes over the whole shard (Bourtoule et al. 2021).
        With "forget" the first slice gets all of `epochs`, and the last one adds its share.
        """
        if self.slice_order == "forget":
            return [self.epochs, self.epochs + max(round(self.epochs * self.last_slice), 1)]
        return [2 * self.epochs * (r + 1) // (self.slices + 1) for r in range(self.slices)]

    def training(self) -> dict[str, Any]:
        """The fields that trained weights depend on, JSON-ready, with where the slices' epochs end.

        Threads are in the fingerprint of the process, as they really are.
        """
        # Weights to start from are in the keys by their content.
        elsewhere = {"aggregate", "threads", "shards", "slices", "slice_order", "last_slice", "base_share", "initial"}
        elsewhere |= set(PLACEMENT) | ({"freeze"} if not self.freeze else set())  # keys from before there was freeze
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k not in elsewhere}
        return {**fields, "slice_epochs": self.slice_epochs()}
