"""One rung of the generator's ladder: train with a change, and see what it is worth for the time it took.

    python benchmarks/generator.py --config=cifar10 --rung="widths 64-128-192" --output=ladder.jsonl \
      --config.generator.images=200000 --config.generator.widths="(64,128,192)"

Trains config.generator on the public pool (on S with lineage=keep) into --directory, or goes on with what is there,
and appends a line to --output: images seen, seconds, images a second, parameters, held-out denoising losses by noise
level, KID, precision, recall and CAS. Everything is measured on rows that the generator did not see; CAS on the
auxiliary pool, since rungs are chosen by it.
"""

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from tfpdu.cli import app
from tfpdu.common import files
from tfpdu.common.errors import UserError

_CONFIG = app.define_config()
_RUNG = flags.DEFINE_string("rung", "", "what is tried, in a few words")
_OUTPUT = flags.DEFINE_string("output", "", "JSON lines; a line is appended")
_DIRECTORY = flags.DEFINE_string("directory", "", "keep the generator here; by default it is thrown away")
_SAMPLES = flags.DEFINE_integer("samples", 2000, "samples for KID and CAS; 0 measures the losses alone", lower_bound=0)

SIGMAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def rung(config: dict[str, Any], directory: Path, samples: int) -> dict[str, Any]:
    """Trains and measures; returns what goes into the line."""
    from tfpdu.common.determinism import configure
    from tfpdu.diffusion import denoising_losses
    from tfpdu.evaluation import Evaluation, evaluate_generator
    from tfpdu.material import gather
    from tfpdu.preparation import generator_rows, train_generator
    from tfpdu.settings import Settings

    settings = Settings.from_config(config)
    configure(settings.ensemble.threads)
    material = gather(settings)
    generator = train_generator(generator_rows(material, settings), settings, directory)
    held_out = material.pools.non_members_calibration.take(np.arange(500))
    losses = denoising_losses(generator, held_out, SIGMAS, settings.seed).mean(axis=0)
    names = ("images_seen", "seconds", "images_per_second", "parameters")
    line = {name: generator.card[name] for name in names}
    line["losses"] = {f"{sigma:g}": round(float(loss), 4) for sigma, loss in zip(SIGMAS, losses, strict=True)}
    if samples:
        selecting = dataclasses.replace(
            material, pools=dataclasses.replace(material.pools, test=material.pools.auxiliary)
        )
        classifier = settings.ensemble.one_model()
        found = evaluate_generator(generator, selecting, settings, Evaluation(samples, (0,), classifier))
        line |= {key: found[key] for key in ("cas", "cas_real", "cas_ratio", "kid", "precision", "recall", "samples")}
    return line


def _main(argv: Sequence[str]) -> None:
    del argv
    if not _RUNG.value or not _OUTPUT.value:
        raise UserError("--rung and --output: expected what is tried and a file for the result")
    with tempfile.TemporaryDirectory() as temporary:
        line = rung(app.as_dict(_CONFIG.value), Path(_DIRECTORY.value or temporary), _SAMPLES.value)
    line = {"rung": _RUNG.value, **line}
    files.append_json_line(Path(_OUTPUT.value), line)
    print(json.dumps(line))


if __name__ == "__main__":
    app.run(_main)
