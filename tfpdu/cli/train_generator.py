"""`tfpdu train`, `scripts/train_generator.py`: a generator alone, for runs that use it ready-made.

    python scripts/train_generator.py --config=cifar10:public --directory=generators/cifar10

Trains config.generator on the public pool (lineage=public) or on S (lineage=keep), into --directory. The same command
goes on with an interrupted training; with --config.generator.schedule=rsqrt also with a finished one, where
--config.generator.images asks for more. A run uses the result with --config.generator.pretrained=generators/cifar10.
"""

from collections.abc import Sequence

from absl import flags

from tfpdu.cli import app
from tfpdu.common.errors import UserError
from tfpdu.common.progress import say

_CONFIG = app.define_config()
_DIRECTORY = flags.DEFINE_string("directory", "", "gets the card, the weights and, meanwhile, the checkpoint")


def _main(argv: Sequence[str]) -> None:
    del argv
    if not _DIRECTORY.value:
        raise UserError("--directory: expected where to put the generator, e.g. --directory=generators/digits")
    from tfpdu.common.determinism import configure
    from tfpdu.common.run_directory import held, made
    from tfpdu.settings import Settings

    settings = Settings.from_config(app.as_dict(_CONFIG.value))
    from tfpdu.material import gather
    from tfpdu.preparation import generator_rows, train_generator

    configure(settings.ensemble.threads)
    rows = generator_rows(gather(settings), settings)
    directory = made(_DIRECTORY.value, "--directory")
    with held(directory, "--directory"):
        card = train_generator(rows, settings, directory).card
    say(f"{card['images_seen']} images seen in {card['seconds'] / 60:.1f} minutes, loss {card['loss']:.4f}")
    print(directory)


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
