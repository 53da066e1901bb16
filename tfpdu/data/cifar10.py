"""CIFAR-10 (Krizhevsky 2009) from TFDS, train and test partition in one table."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfpdu.common.validation import one_of
from tfpdu.data.attributes import SUPERCLASS, superclass
from tfpdu.data.pictures import checked_size, resize
from tfpdu.data.records import Records
from tfpdu.data.shelf import Filling, Shelf
from tfpdu.data.storage import pick
from tfpdu.data.tfds_directory import decode_picture, identity_of, open_data_set, read_split

VERSION = "3.0.2"
SPLITS = ("train", "test")
SIDE = 32
ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar.html"


def load_cifar10(
    directory: str = "", image_size: int = 0, attributes: Sequence[str] = (), shelf: Shelf | None = None
) -> Records:
    """60,000 images, uint8[n, 32, 32, 3], of 10 classes; ids 'cifar10/train/00001' keep the official partition.

    Args:
      directory: a TFDS data directory; empty = TFDS_DATA_DIR.
      image_size: pixels a side; 0 = 32.
      attributes: 'superclass' (animal, vehicle); empty = the same.
      shelf: where too many pictures go.
    """
    for name in attributes:
        one_of([SUPERCLASS.name], **{"config.data.attributes": name})
    builder = open_data_set("cifar10", VERSION, ORIGIN, directory)
    n = sum(builder.info.splits[split].num_examples for split in SPLITS)
    side = checked_size(image_size) or SIDE

    def read(pictures: Filling) -> list[dict[str, np.ndarray]]:
        fit = functools.partial(resize, size=side)
        return [read_split(builder, split, _decode, pictures, fit) for split in SPLITS]

    source = identity_of(builder, splits=SPLITS, side=side)
    images, splits = (shelf or Shelf()).fill(source, (n, side, side, 3), read)
    ids = np.concatenate([split["id"] for split in splits]).astype(str)  # 'train_00001'
    order = np.argsort(ids)  # TFDS stores rows shuffled; sorted by id, any re-made copy gives the same table
    labels = np.concatenate([split["label"] for split in splits])[order].astype(np.int32)
    names = tuple(builder.info.features["label"].names)
    return Records(
        images=pick(images, order),
        labels=labels,
        attributes=superclass(labels, names)[:, None],
        ids=np.array(["cifar10/" + row_id.replace("_", "/") for row_id in ids[order]]),
        origin=np.zeros(len(labels), np.int8),
        specs=(SUPERCLASS,),
        label_names=names,
    )


def _decode(example: Any) -> Any:
    image = decode_picture(example["image"])
    image.set_shape((SIDE, SIDE, 3))
    return {"image": image, "label": example["label"], "id": example["id"]}
