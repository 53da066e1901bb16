"""Randomness keyed by names and ids, never by position: removing a row changes no other row's draws."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np


def stable_hash(*parts: Any) -> int:
    """A 64-bit hash of the parts' text, equal on every machine and in every process."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def id_hashes(ids: Sequence[str], *parts: Any) -> np.ndarray:
    """One 64-bit hash per id. Returns uint64[n]; row i depends on (parts, ids[i]) alone."""
    base = hashlib.blake2b("\x1f".join(str(part) for part in parts).encode() + b"\x1e", digest_size=8)
    digests = bytearray()
    for row_id in ids:
        h = base.copy()
        h.update(str(row_id).encode())
        digests += h.digest()
    return np.frombuffer(bytes(digests), "<u8").astype(np.uint64)


def mix(keys: np.ndarray, *parts: Any) -> np.ndarray:
    """New 64-bit hashes out of old ones, without hashing texts again: splitmix64 (Steele et al. 2014).

    Args:
      keys: uint64[n], e.g. of `id_hashes`.
      *parts: what the draw is for. For fixed parts the map is one-to-one, so different keys never tie.

    Returns:
      uint64[n]; entry i depends on (parts, keys[i]) alone.
    """
    z = np.asarray(keys, np.uint64) ^ np.uint64(stable_hash(*parts))
    z = z + np.uint64(0x9E3779B97F4A7C15)  # wraps around, as intended
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hashed_order(ids: Sequence[str], *parts: Any) -> np.ndarray:
    """The permutation that sorts rows by their hash. Returns int64[n].

    Dropping a row leaves the relative order of all others as it was.
    """
    return np.argsort(id_hashes(ids, *parts), kind="stable")


def rng(*parts: Any) -> np.random.Generator:
    """A NumPy generator that depends on the parts alone."""
    return np.random.default_rng(stable_hash(*parts))


def keras_seed(*parts: Any) -> int:
    """A seed in [0, 2**31) for Keras and TensorFlow."""
    return stable_hash(*parts) % 2**31
