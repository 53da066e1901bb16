"""Generators that were trained before the run: those that come with the package, and the user's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfpdu.common import UserError
from tfpdu.common.files import read_json, write_json
from tfpdu.common.validation import did_you_mean
from tfpdu.diffusion.generator import CARD, Generator, load_generator, with_sampling
from tfpdu.diffusion.settings import GeneratorSettings

SHIPPED = Path(__file__).parent / "weights"


def load_pretrained(name: str, settings: GeneratorSettings, flag: str = "config.generator.pretrained") -> Generator:
    """Loads a generator by name or path; it samples as `settings` say.

    Args:
      name: of a generator that comes with the package, or a directory with generator.json and its weights (the
        generator/ of another run).
      settings: steps, guidance and the other settings of sampling are taken from here, all others from the card.
        Critics are those that it was trained with.
      flag: where the user named it, for messages.

    Raises:
      UserError: neither a known name nor such a directory, damaged files (their SHA-256 is on the card), or candidates
        asked of a generator without critics.
    """
    generator = load_generator(_directory(name, flag))
    if settings.candidates > 1 and not generator.critics:
        raise UserError(
            f"{flag}={name}: it has no critic to choose among config.generator.candidates={settings.candidates};"
            " expected 1"
        )
    return with_sampling(generator, settings)


def pretrained_rows(name: str, flag: str = "config.generator.pretrained") -> tuple[str, ...]:
    """The ids of the rows that trained such a generator; raises as `load_pretrained`."""
    return tuple(read_json(_directory(name, flag) / CARD)["row_ids"])


def _directory(name: str, flag: str) -> Path:
    directory = SHIPPED / name
    if not (directory / CARD).exists():
        directory = Path(name)
    if not (directory / CARD).exists():
        known = sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}"))
        raise UserError(
            f"{flag}={name}: no generator of that name{did_you_mean(name, known)}, and no"
            f" directory with a {CARD}; known: {', '.join(known) or 'none'}"
        )
    return directory


def note_metrics(
    generator: str, name: str, metrics: Mapping[str, Any], flag: str = "config.generator.pretrained"
) -> None:
    """Writes what was measured of a generator on its card, under `metrics` and a name.

    Args:
      generator: its name or directory, as for `load_pretrained`.
      name: of the measurement; an earlier one of that name is replaced.
      metrics: JSON-ready.
      flag: where the user named the generator, for messages.
    """
    path = _directory(generator, flag) / CARD
    card = read_json(path)
    write_json(path, {**card, "metrics": {**card.get("metrics", {}), name: dict(metrics)}})
