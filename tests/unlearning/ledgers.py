"""Ledgers with a clock that ticks, processes that are killed at any system call, and a table to delete from."""

import contextlib
import datetime
import itertools
import os

import numpy as np

from tfpdu.data import AttributeSpec, Records
from tfpdu.unlearning.ledger import Ledger
from tfpdu.unlearning.selection import Selector

START = datetime.datetime(2025, 1, 31, 12, tzinfo=datetime.UTC)
CALLS = ("open", "write", "fsync", "ftruncate", "replace", "unlink", "mkdir", "rmdir")


def clock():
    """A clock that is a minute later each time."""
    minutes = itertools.count()
    return lambda: START + datetime.timedelta(minutes=next(minutes))


def make(directory, **changes):
    return Ledger.create(directory, **{"clock": clock(), "secret": bytes(range(32)), **changes})


def ask(ledger, *ids, name=None, **selector):
    return ledger.request(Selector(ids=() if selector else ids, **selector), ids, name)


def contents(directory):
    """{path: bytes} of all files, and the directories."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }


class Killed(BaseException):
    """The process is gone: no handler of an error may do anything any more."""


@contextlib.contextmanager
def killed_at(call, share=1.0):
    """Kills at system call number `call`: a write gets that share of its bytes onto the disk, all else does nothing.

    Yields a list of the names of the calls that were made.
    """
    made = []
    originals = {name: getattr(os, name) for name in CALLS}

    def wrap(name):
        def wrapped(*args, **kwargs):
            if name == "open" and not args[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                return originals[name](*args, **kwargs)
            made.append(name)
            if len(made) == call and name == "write":
                originals[name](args[0], args[1][: int(share * len(args[1]))])
            if len(made) >= call:
                raise Killed(name)
            return originals[name](*args, **kwargs)

        return wrapped

    for name in CALLS:
        setattr(os, name, wrap(name))
    try:
        yield made
    finally:
        for name, function in originals.items():
            setattr(os, name, function)


def table(n=12, seed=0, prefix="set", subjects=True, shape=(6, 6, 3), synthetic=0):
    """Labels a, b, c in turn; the colour is black, orange or unknown; two rows a person, and the last have none.

    The last `synthetic` rows are a generator's.
    """
    random = np.random.default_rng(seed)
    people = [f"person {row // 2}" if row < n - 2 else "" for row in range(n)]
    return Records(
        images=random.integers(0, 256, (n, *shape), dtype=np.uint8),
        labels=np.arange(n, dtype=np.int32) % 3,
        attributes=(np.arange(n) // 3 % 3 - 1).astype(np.int8)[:, None],
        ids=np.array([f"{prefix}/{row:03d}" for row in range(n)]),
        origin=np.array([0] * (n - synthetic) + [1] * synthetic, np.int8),
        specs=(AttributeSpec("colour", ("black", "orange")),),
        label_names=("a", "b", "c"),
        subjects=np.array(people) if subjects else None,
    )
