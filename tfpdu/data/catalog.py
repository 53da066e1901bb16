"""Load by name: every data set comes as `Records`."""

import atexit
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.validation import did_you_mean, one_of
from tfpdu.data.celeb_a import load_celeb_a
from tfpdu.data.cifar10 import load_cifar10
from tfpdu.data.digits import load_digits
from tfpdu.data.image_folder import load_image_folder
from tfpdu.data.npz import load_npz
from tfpdu.data.records import UNKNOWN, Records
from tfpdu.data.shelf import Shelf, default_cache

SOURCES: dict[str, Callable[..., Records]] = {
    "digits": load_digits,
    "cifar10": load_cifar10,
    "celeb_a": load_celeb_a,
    "image_folder": load_image_folder,
    "npz": load_npz,
}
OWN = ("image_folder", "npz")  # the user's own pictures


def load(
    name: str,
    *,
    directory: str = "",
    image_size: int = 0,
    attributes: Sequence[str] = (),
    target: str = "",
    problems: str | os.PathLike[str] = "",
    cache: str | os.PathLike[str] = "",
    in_memory_gb: float = 4.0,
    home: str | os.PathLike[str] = "",
    varied: bool = True,
    **options: Any,
) -> Records:
    """Loads a data set.

    Args:
      name: 'digits', 'cifar10', 'celeb_a', 'image_folder' or 'npz'.
      directory: a TFDS data directory (empty = TFDS_DATA_DIR), the folder of pictures, or the .npz file.
      image_size: pixels a side; 0 = the source's own (digits 8, cifar10 32, celeb_a and image_folder 64).
      attributes: names of the attributes to take; empty = the source's default.
      target: celeb_a: the attribute that is the class label; empty = Smiling.
      problems: image_folder: the file that lists faulty rows; other sources have none.
      cache: folder for pictures that are too many to be held in memory; empty = TFPDU_CACHE, or else ~/.cache/tfpdu;
        for one's own pictures (image_folder, npz) `home`.
      in_memory_gb: pictures of more than so many GB (2^30 bytes) are kept in `cache` and read from there; 0 = all are,
        but for digits.
      home: where the cache of one's own pictures is; empty = a temporary folder, gone when the process ends.
      varied: refuse a data set with a single class, or an attribute with a single value.
      **options: image_folder: `table`, `label`, `subject`. An option that the source does not have may only be empty.

    Returns:
      All rows, originals (origin 0), with ids that are stable across runs and machines.

    Raises:
      UserError: unknown name, option or attribute; data that is missing, at fault, or has one value only.
    """
    one_of(SOURCES, **{"config.data.name": name})
    source = SOURCES[name]
    given = {"directory": directory, "image_size": image_size, "attributes": tuple(attributes), "target": target}
    given |= options
    known = {option for function in SOURCES.values() for option in inspect.signature(function).parameters}
    takes = inspect.signature(source).parameters
    for option, value in given.items():
        if option not in known:
            raise UserError(f"config.data: unknown option {option!r}{did_you_mean(option, known)}")
        if option not in takes and value and option != "directory":  # a directory that is not needed does no harm
            raise UserError(f"config.data.{option}: {name} has no such option; leave it empty")
    given |= {"problems": problems, "shelf": Shelf(_cache(name, cache, home), in_memory_gb)}
    records = source(**{option: value for option, value in given.items() if option in takes})
    if varied:
        _check_varied(records)
    return records


def _cache(name: str, cache: str | os.PathLike[str], home: str | os.PathLike[str]) -> Path:
    """Published data sets share a cache; one's own pictures stay with what was made of them."""
    if cache or name not in OWN:
        return Path(cache).expanduser() if cache else default_cache()
    if home:
        return Path(home)
    folder = Path(tempfile.gettempdir(), f"tfpdu-{os.getpid()}")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _check_varied(records: Records) -> None:
    """Refuses variables that say nothing: neither a class nor an attribute may have a single value."""
    for variable in ("label", *(spec.name for spec in records.specs)):
        codes = records.column(variable)
        found = np.unique(codes[codes != UNKNOWN])
        if len(found) < 2:
            has = f"only the value {records.spec(variable).values[found[0]]!r}" if len(found) else "no known value"
            raise UserError(f"config.data: {variable!r} has {has}; at least two are needed")
