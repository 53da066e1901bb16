"""CIFAR-10 (Krizhevsky 2009) from TFDS, train and test partition in one table."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfpdu.common.validation import one_of
from tfpdu.data.attributes import SUPERCLASS, superclass
from tfpdu.data.pictures import resize
from tfpdu.data.records import Records
from tfpdu.data.tfds_directory import decode_picture, open_data_set, read_split

VERSION = "3.0.2"
ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar.html"


def load_cifar10(directory: str = "", image_size: int = 0, attributes: Sequence[str] = ()) -> Records:
    """60,000 images, uint8[n, 32, 32, 3], of 10 classes; ids 'cifar10/train/00001' keep the official partition.

    Args:
      directory: a TFDS data directory; empty = TFDS_DATA_DIR.
      image_size: pixels a side; 0 = 32.
      attributes: 'superclass' (animal, vehicle); empty = the same.
    """
    for name in attributes:
        one_of([SUPERCLASS.name], **{"config.data.attributes": name})
    builder = open_data_set("cifar10", VERSION, ORIGIN, directory)
    splits = [read_split(builder, split, _decode) for split in ("train", "test")]
    ids = np.concatenate([split["id"] for split in splits]).astype(str)  # 'train_00001'
    order = np.argsort(ids)  # TFDS stores rows shuffled; sorted by id, any re-made copy gives the same table
    labels = np.concatenate([split["label"] for split in splits])[order].astype(np.int32)
    names = tuple(builder.info.features["label"].names)
    return Records(
        images=resize(np.concatenate([split["image"] for split in splits])[order], image_size),
        labels=labels,
        attributes=superclass(labels, names)[:, None],
        ids=np.array(["cifar10/" + row_id.replace("_", "/") for row_id in ids[order]]),
        origin=np.zeros(len(labels), np.int8),
        specs=(SUPERCLASS,),
        label_names=names,
    )


def _decode(example: Any) -> Any:
    image = decode_picture(example["image"])
    image.set_shape((32, 32, 3))
    return {"image": image, "label": example["label"], "id": example["id"]}
