"""The two sides of an audit, members and non-members, from wherever the user has them."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.data.catalog import load
from tfpdu.data.pictures import checked_size, resize
from tfpdu.data.records import UNKNOWN, AttributeSpec, Records
from tfpdu.data.shelf import Filling, Shelf
from tfpdu.data.tfds_directory import decode_picture, identity_of, read_split, stored_builder

_BLOCK = 1024  # pictures that are hashed at a time


@dataclasses.dataclass(frozen=True)
class SideOptions:
    """How a side is read.

    Attributes:
      image_size: pixels a side; 0 keeps the source's (64 for a folder).
      table: of an image folder, its CSV, see `tfpdu.data.image_folder`.
      label: of an image folder, the column of the class.
      subject: of an image folder, the column of the person.
      attributes: to slice by; empty: all that there are.
      directory: of TFDS data; empty: TFDS_DATA_DIR.
    """

    image_size: int = 0
    table: str = ""
    label: str = ""
    subject: str = ""
    attributes: tuple[str, ...] = ()
    directory: str = ""


def read_side(text: str, flag: str, options: SideOptions | None = None, varied: bool = True) -> Records:
    """The rows that a flag names: an .npz file, a folder of pictures with a CSV, or "name:split" of TFDS.

    A split may be cut, as TFDS has it: "cifar10:train[:5000]". TFDS data are only read, never downloaded.

    Args:
      text: the flag's value.
      flag: "--members" or "--nonmembers", for messages.
      options: see there.
      varied: refuse rows that are all of one class.

    Raises:
      UserError: it is none of these, or its loader refuses it.
    """
    options, path = options or SideOptions(), Path(text).expanduser()
    shared: dict[str, Any] = {"image_size": options.image_size, "attributes": options.attributes, "varied": varied}
    try:
        if path.is_dir():
            own = {name: getattr(options, name) for name in ("table", "label", "subject")}
            problems = f"{flag.lstrip('-')}_problems.csv"
            return load("image_folder", directory=str(path), problems=problems, **own, **shared)
        if path.suffix == ".npz":
            return load("npz", directory=str(path), **shared)
        if ":" in text:
            return _tfds(text, options)
    except UserError as error:
        raise UserError(f"{flag}={text}: {str(error).removeprefix(f'{path}: ')}") from None
    missing = "no such folder" if not path.suffix else "not an .npz file"
    raise UserError(f"{flag}={text}: {missing}; expected an .npz file, a folder of pictures or name:split of TFDS")


def aligned(sides: Mapping[str, Records], classes: int = 0) -> list[Records]:
    """All sides with the same classes, attributes and pictures' size, and ids that differ.

    Classes are those of any side, in the order of their names (numbers by value); attributes those of all.
    Ids that sources number by themselves get the side's name before them.

    Args:
      sides: by the flag that named each, such as "--members".
      classes: how many the model has; numbered classes are filled up to it. 0: not known.

    Raises:
      UserError: the model has another number of classes, or pictures differ in size.
    """
    names = _ordered({name for side in sides.values() for name in side.label_names}, classes)
    if classes and len(names) != classes:
        raise UserError(f"--model: it has {classes} classes, the rows have {len(names)} ({', '.join(names[:5])}, ...)")
    first, *others = sides
    for flag in others:
        shapes = [sides[each].images.shape[1:] for each in (first, flag)]
        if shapes[0] != shapes[1]:
            raise UserError(f"{flag}: pictures are {_by(shapes[1])}, those of {first} {_by(shapes[0])}")
    shared = [s.name for s in sides[first].specs if all(s.name in _attributes(sides[flag]) for flag in others)]
    specs = [
        AttributeSpec(name, _ordered({value for side in sides.values() for value in side.spec(name).values}, 0))
        for name in shared
    ]
    recoded = [_recoded(side, names, specs) for side in sides.values()]
    numbered = all(row_id.startswith(("npz/", "image_folder/")) for side in recoded for row_id in side.ids[:1].tolist())
    every = np.concatenate([side.ids for side in recoded])
    if numbered and len(np.unique(every)) < len(every):
        recoded = [
            dataclasses.replace(side, ids=np.char.add(f"{flag.lstrip('-')}/", side.ids))
            for side, flag in zip(recoded, sides, strict=True)
        ]
    return recoded


def _attributes(side: Records) -> list[str]:
    return [spec.name for spec in side.specs]


def same_pictures(members: Records, nonmembers: Records) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose very pixels are on the other side as well: bool[n1], bool[n0]."""
    digests = [_digests(side) for side in (members, nonmembers)]
    shared = np.intersect1d(digests[0], digests[1])
    return np.isin(digests[0], shared), np.isin(digests[1], shared)


def _digests(records: Records) -> np.ndarray:
    parts = []
    for start in range(0, len(records), _BLOCK):
        block = records.images[start : start + _BLOCK]
        parts += [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in block]
    return np.array(parts)


def _recoded(side: Records, names: tuple[str, ...], specs: Sequence[AttributeSpec]) -> Records:
    columns = []
    for spec in specs:
        places = np.array([spec.values.index(value) for value in side.spec(spec.name).values] + [UNKNOWN])
        columns.append(places[side.column(spec.name)])  # -1, unknown, takes the last
    places = np.array([names.index(name) for name in side.label_names])
    return dataclasses.replace(
        side,
        labels=places[side.labels].astype(np.int32),
        label_names=names,
        specs=tuple(specs),
        attributes=np.stack(columns, 1).astype(np.int8) if columns else np.zeros((len(side), 0), np.int8),
        realised=None,
    )


def _ordered(names: set[str], least: int) -> tuple[str, ...]:
    if names and all(name.isdecimal() for name in names):
        return tuple(map(str, range(max(least, 1 + max(map(int, names))))))
    return tuple(sorted(names))


def _tfds(text: str, options: SideOptions) -> Records:
    name, _, split = text.partition(":")
    builder = stored_builder(name, options.directory)
    features = builder.info.features
    lacking = [key for key in ("image", "label") if key not in features]
    if lacking:
        raise UserError(f"{name} has no feature {lacking[0]!r}; it has {', '.join(features)}")
    try:
        n = builder.info.splits[split].num_examples
    except (KeyError, ValueError):
        raise UserError(f"no split {split!r}; {name} has {', '.join(builder.info.splits)}") from None
    side = checked_size(options.image_size)
    height, width, channels = features["image"].shape
    if not (height and width):
        raise UserError(f"pictures of {name} differ in size; write them to an .npz file or a folder")
    shape = (n, side or height, side or width, 3)

    def decode(example: Any) -> Any:
        image = decode_picture(example["image"])
        image.set_shape((height, width, 3))
        return {"image": image, "label": example["label"]}

    def read(pictures: Filling) -> dict[str, np.ndarray]:
        return read_split(builder, split, decode, pictures, lambda images: resize(images, side))

    images, columns = Shelf().fill(identity_of(builder, split=split, side=side), shape, read)
    if channels == 1:
        images = np.ascontiguousarray(np.asarray(images[:])[..., :1])
    return Records(
        images=images,
        labels=columns["label"].astype(np.int32),
        attributes=np.zeros((n, 0), np.int8),
        ids=np.array([f"{name}/{split}/{row:07d}" for row in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(),
        label_names=tuple(features["label"].names),
    )


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
