"""The directory of a finished training: a card that says what was trained, and weights that are checked on loading."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import keras

from tfpdu.common import UserError
from tfpdu.common.files import array_hash, file_hash, save_weights
from tfpdu.common.machine import machine
from tfpdu.data.records import Records
from tfpdu.diffusion.training import Training

WEIGHTS, CHECKPOINT = "ema.weights.h5", "checkpoint.npz"


def load_checked(network: keras.Model, directory: Path, card: str, expected: str) -> None:
    """Loads `ema.weights.h5` into a network.

    Args:
      network: of the card's architecture; its weights are overwritten.
      directory: holds card and weights.
      card: the card's file name, for messages.
      expected: SHA-256 of the weights file.

    Raises:
      UserError: weights that are missing, damaged or of another architecture.
    """
    path = directory / WEIGHTS
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if file_hash(path) != expected:
        raise UserError(f"{path}: damaged, or not the weights that {card} describes (their SHA-256 differs)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras explains a mismatch by old versions before it raises
            network.load_weights(path)
    except Exception as error:  # h5py and Keras raise many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: weights of another architecture than {card} describes ({reason[:120]})") from None


def rows_hash(records: Records) -> str:
    """What a training learns from, in one hash: pixels, labels, attributes and ids of its rows."""
    return array_hash(records.images, records.labels, records.attributes, records.ids)


def finish(training: Training, records: Records, seed: int, directory: Path) -> dict[str, Any]:
    """Saves the averaged weights of a training that has run.

    Args:
      training: at its last step.
      records: its rows.
      seed: of the run.
      directory: gets `ema.weights.h5`.

    Returns:
      What every card says: rows, images seen, seconds, loss, parameters, seed, machine, image shape, hashes, row ids.
    """
    network = training.finish()
    save_weights(network, directory / WEIGHTS)
    return {
        "rows": len(records),
        "rows_hash": rows_hash(records),
        "images_seen": training.images_seen,
        "seconds": round(training.seconds, 3),
        "images_per_second": round(training.images_seen / max(training.seconds, 1e-9), 2),
        "loss": training.loss,
        "parameters": network.count_params(),
        "seed": seed,
        "machine": machine(),
        "image_shape": list(records.images.shape[1:]),
        "weights_sha256": file_hash(directory / WEIGHTS),
        "row_ids": records.ids.tolist(),
    }


def refuse_another(card: Any, directory: Path, subject: str, key: tuple[str, str], settings: dict[str, Any]) -> None:
    """Raises `UserError` unless a card is that of the training asked for, and names a setting that differs.

    Args:
      card: as read.
      directory: where it lies.
      subject: what was to be trained, in words.
      key: the name of the card's entry that tells trainings apart, and what it should be.
      settings: those that the trained weights depend on.
    """
    if isinstance(card, dict) and card.get(key[0]) == key[1]:
        return
    old, new = (card.get("settings", {}) if isinstance(card, dict) else {}), as_json(settings)
    names = [name for name, value in new.items() if name in old and old[name] != value]
    difference = f": {names[0]} was {old[names[0]]}, now {new[names[0]]}" if names else ""
    raise UserError(
        f"{directory}: holds another {subject} (other rows, settings or seed{difference}); choose another directory or "
        "remove it"
    )


def as_json(settings: Any) -> dict[str, Any]:
    """Settings, a dataclass or a mapping, as JSON gives them back: tuples are lists."""
    fields = settings if isinstance(settings, dict) else dataclasses.asdict(settings)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
