"""CelebA (Liu et al. 2015) from TFDS: faces with forty attributes and the identity of the person."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.validation import one_of
from tfpdu.data.records import AttributeSpec, Records
from tfpdu.data.shelf import Filling, Shelf
from tfpdu.data.tfds_directory import decode_picture, identity_of, open_data_set, read_split

VERSION = "2.1.0"
ORIGIN = "https://drive.google.com"
SPLITS = ("train", "validation", "test")
DEFAULT_ATTRIBUTES = ("Young", "Male")
DEFAULT_TARGET = "Smiling"
DEFAULT_SIZE = 64
SQUARE = 178  # the width of the aligned 178 x 218 pictures; the square cuts 20 rows above and below


def load_celeb_a(
    directory: str = "",
    image_size: int = 0,
    attributes: Sequence[str] = (),
    target: str = "",
    shelf: Shelf | None = None,
) -> Records:
    """Faces, uint8[n, 64, 64, 3]: the centre square of 178 pixels, averaged over areas.

    Ids 'celeb_a/train/000001' keep the official partition and count in stored order; `subjects` are identities.

    Args:
      directory: a TFDS data directory; empty = TFDS_DATA_DIR.
      image_size: pixels a side; 0 = 64.
      attributes: of CelebA's forty, each with the values 'not Male', 'Male'; empty = Young and Male.
      target: the attribute that is the class label; empty = Smiling.
      shelf: where too many pictures go.
    """
    if image_size < 0 or image_size > SQUARE:
        raise UserError(f"config.data.image_size: expected pixels a side from 1 to {SQUARE}, got {image_size}")
    builder = open_data_set("celeb_a", VERSION, ORIGIN, directory)
    forty = list(builder.info.features["attributes"])
    wanted, label = tuple(attributes) or DEFAULT_ATTRIBUTES, target or DEFAULT_TARGET
    for name in wanted:
        one_of(forty, **{"config.data.attributes": name})
    one_of(forty, **{"config.data.target": label})

    n, side = sum(builder.info.splits[split].num_examples for split in SPLITS), image_size or DEFAULT_SIZE
    decode = _decoder(side, (*wanted, label))

    def read(pictures: Filling) -> list[dict[str, np.ndarray]]:
        return [read_split(builder, split, decode, pictures) for split in SPLITS]

    source = identity_of(builder, splits=SPLITS, side=side)
    images, splits = (shelf or Shelf()).fill(source, (n, side, side, 3), read)
    codes = np.concatenate([split["attributes"] for split in splits]).astype(np.int8)
    ids = [f"celeb_a/{name}/{row:06d}" for name, split in zip(SPLITS, splits, strict=True) for row in _rows(split)]
    specs = [AttributeSpec(name, (f"not {name}", name)) for name in (*wanted, label)]
    return Records(
        images=images,
        labels=codes[:, -1].astype(np.int32),
        attributes=codes[:, :-1],
        ids=np.array(ids),
        origin=np.zeros(len(ids), np.int8),
        specs=tuple(specs[:-1]),
        label_names=specs[-1].values,
        subjects=np.concatenate([split["identity"] for split in splits]).astype(str),
    )


def _rows(split: dict[str, np.ndarray]) -> range:
    return range(1, len(split["identity"]) + 1)


def _decoder(size: int, names: Sequence[str]) -> Any:
    """A TensorFlow function from a stored example to image uint8[size, size, 3], codes [len(names)], identity."""
    import tensorflow as tf

    def decode(example: Any) -> Any:
        image = decode_picture(example["image"])
        image = tf.image.resize_with_crop_or_pad(image, SQUARE, SQUARE)  # the centre square
        image = tf.image.resize(image, (size, size), method="area")
        return {
            "image": tf.cast(tf.round(image), tf.uint8),
            "attributes": tf.stack([example["attributes"][name] for name in names]),
            "identity": example["identity"]["Identity_No"],
        }

    return decode
