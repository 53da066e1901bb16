"""Generators that were trained before the run: those that come with the package, and the user's own."""

from pathlib import Path

from tfpdu.common import UserError
from tfpdu.common.validation import did_you_mean
from tfpdu.diffusion.generator import CARD, Generator, load_generator, with_sampling
from tfpdu.diffusion.settings import GeneratorSettings

SHIPPED = Path(__file__).parent / "weights"


def load_pretrained(name: str, settings: GeneratorSettings) -> Generator:
    """Loads a generator by name or path; it samples as `settings` say.

    Args:
      name: of a generator that comes with the package, or a directory with generator.json and its weights (the
        generator/ of another run).
      settings: steps, guidance and the other settings of sampling are taken from here, all others from the card.

    Raises:
      UserError: neither a known name nor such a directory, or damaged files (their SHA-256 is on the card).
    """
    directory = SHIPPED / name
    if not (directory / CARD).exists():
        directory = Path(name)
    if not (directory / CARD).exists():
        known = sorted(path.parent.name for path in SHIPPED.glob(f"*/{CARD}"))
        raise UserError(
            f"config.generator.pretrained={name}: no generator of that name{did_you_mean(name, known)}, and no"
            f" directory with a {CARD}; known: {', '.join(known) or 'none'}"
        )
    return with_sampling(load_generator(directory), settings)
