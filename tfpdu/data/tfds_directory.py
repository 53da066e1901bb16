"""TFDS data directories: found and read without touching them, downloaded only if they hold nothing."""

import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.progress import say
from tfpdu.data.shelf import Filling

BATCH = 500
REACH_SECONDS = 15.0


def open_data_set(name: str, version: str, origin: str, directory: str = "") -> Any:
    """A TFDS builder whose files are there.

    A data set that `directory` (or TFDS_DATA_DIR, or TFDS's own default) holds is only read; another one is
    downloaded into it.

    Args:
      name: the data set's TFDS name, e.g. 'cifar10'.
      version: its version, e.g. '3.0.2'.
      origin: an address on the host that it is downloaded from.
      directory: a TFDS data directory; empty = TFDS_DATA_DIR.

    Raises:
      UserError: it is not there and cannot be downloaded; the message says how to get it.
    """
    import tensorflow_datasets as tfds

    chosen = directory or os.environ.get("TFDS_DATA_DIR", "") or "~/tensorflow_datasets"
    root = Path(chosen).expanduser()
    home = root / name / version
    try:
        if (home / "dataset_info.json").exists():
            return tfds.builder_from_directory(home)
        if directory and not root.is_dir():
            raise UserError(f"config.data.directory={directory}: no such directory")
        _reach(origin)
        say(f"{name} {version} is not in {root}; downloading it")
        builder = tfds.builder(f"{name}:{version}", data_dir=root)
        builder.download_and_prepare()
        return builder
    except UserError:
        raise
    except Exception as error:  # TFDS, its HTTP client and the file system raise many kinds
        reason = str(error).strip().split("\n")[0][:160] or type(error).__name__
        raise UserError(
            f"config.data.name={name}: {name} {version} is not in {root} and could not be downloaded ({reason});"
            " set TFDS_DATA_DIR or --config.data.directory to a TFDS data directory that holds it"
        ) from None


def stored_builder(name: str, directory: str = "") -> Any:
    """The newest version of any TFDS data set that is on disk; nothing is downloaded.

    Args:
      name: as TFDS has it, "mnist" or "cats_vs_dogs/large".
      directory: a TFDS data directory; empty = TFDS_DATA_DIR.

    Raises:
      UserError: it is not there, or not readable.
    """
    import tensorflow_datasets as tfds

    root = Path(directory or os.environ.get("TFDS_DATA_DIR", "") or "~/tensorflow_datasets").expanduser()
    versions = [path.parent for path in (root / name).glob("*/dataset_info.json")]
    if not versions:
        raise UserError(f"no data set {name!r} in {root}; set TFDS_DATA_DIR to a TFDS data directory that holds it")
    newest = max(versions, key=lambda path: [int(part) if part.isdecimal() else -1 for part in path.name.split(".")])
    try:
        return tfds.builder_from_directory(newest)
    except Exception as error:  # TFDS raises many kinds for a damaged directory
        raise UserError(f"{newest}: cannot be read ({str(error).strip().splitlines()[0][:160]})") from None


def _reach(address: str) -> None:
    """Raises `OSError` at once where there is no network; TFDS would try again for minutes."""
    # An answer that refuses the request still shows that the host is there.
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(address, timeout=REACH_SECONDS):
        pass


def identity_of(builder: Any, **settings: Any) -> dict[str, Any]:
    """What the pictures of a data set depend on, JSON-ready: name, version, its files by name and size, settings."""
    home = Path(builder.data_path)
    stored = sorted((path.name, path.stat().st_size) for path in home.iterdir() if ".tfrecord" in path.name)
    return {"name": builder.info.name, "version": str(builder.info.version), "files": stored, **settings}


def read_split(
    builder: Any,
    split: str,
    decode: Callable[[Any], Any],
    pictures: Filling | None = None,
    finish: Callable[[np.ndarray], np.ndarray] = lambda images: images,
) -> dict[str, np.ndarray]:
    """All examples of a split, in stored order.

    Args:
      builder: from `open_data_set`.
      split: 'train', 'test', ...
      decode: a TensorFlow function of one example, whose 'image' is still encoded, to a dict of tensors.
      pictures: takes what `decode` names 'image', if it wants it; else no picture is decoded.
      finish: last changes to a block of pictures uint8[b, h, w, c].

    Returns:
      The other keys, stacked: arrays [n, ...].

    Raises:
      UserError: files of the split are missing or damaged.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    n = builder.info.splits[split].num_examples
    wanted = pictures is not None and pictures.wanted

    def decoded(example: Any) -> Any:
        # Pictures that nobody takes are not in the graph's result, so TensorFlow leaves out their decoding.
        return {key: value for key, value in decode(example).items() if wanted or key != "image"}

    try:
        data = builder.as_dataset(
            split=split,
            decoders={"image": tfds.decode.SkipDecoding()},
            # One file after the other: rows come in stored order, whatever the number of files.
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
            shuffle_files=False,
        )
        data = data.map(decoded, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).batch(BATCH)
        columns: dict[str, np.ndarray] = {}
        done = 0
        for batch in data.prefetch(2).as_numpy_iterator():
            if pictures is not None and wanted:
                pictures.append(finish(batch.pop("image")))
            for key, value in batch.items():
                # Filled in place: a list of batches, joined at the end, would need the memory twice.
                columns.setdefault(key, np.empty((n, *value.shape[1:]), value.dtype))[done : done + len(value)] = value
            done += len(next(iter(batch.values())))
    except (tf.errors.OpError, OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0][:160]
        raise UserError(f"{builder.data_path}: split {split!r} cannot be read ({reason})") from None
    if done != n:
        raise UserError(f"{builder.data_path}: split {split!r} holds {done} rows, its dataset_info.json says {n}")
    return columns


def decode_picture(encoded: Any) -> Any:
    """An encoded JPEG or PNG, as a scalar string tensor, to uint8[h, w, 3].

    The default JPEG transform of TensorFlow is the fast, inexact one: it shifts channel means by 1/255.
    """
    import tensorflow as tf

    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")  # it reads PNG as well
