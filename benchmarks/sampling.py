"""Which way of sampling teaches most? One generator, one setting, several values of it.

    python benchmarks/sampling.py --config=cifar10:public --generator=cifar10 --setting=guidance --values=1,1.25,1.5,2 \
      --output=docs/results/sampling_cifar10.jsonl

A classifier (config.ensemble, one shard) learns from samples drawn with each value, and from as many real training
rows of the generator. Both are tested on the auxiliary pool, never on the test pool, since a value is chosen by what
is found here. KID, precision and recall are taken against held-out rows. A line a value is appended to --output.
"""

import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from tfpdu.cli import app
from tfpdu.common import files
from tfpdu.common.errors import UserError

VARIED = ("guidance", "guidance_low", "guidance_high", "steps", "churn", "candidates")

_CONFIG = app.define_config()
_GENERATOR = flags.DEFINE_string("generator", "", "directory of a generator, or the name of one that comes with tfpdu")
_SETTING = flags.DEFINE_enum("setting", "guidance", VARIED, "what is varied")
_VALUES = flags.DEFINE_list("values", ["1", "1.25", "1.5", "2"], "its values")
_SAMPLES = flags.DEFINE_integer("samples", 5000, "samples a value, and real rows beside them", lower_bound=4)
_SEED = flags.DEFINE_integer("seed", 0, "of samples, real rows and classifiers")
_OUTPUT = flags.DEFINE_string("output", "", "JSON lines; a line a value is appended")


def scan(config: dict[str, Any], where: str, setting: str, values: Sequence[float], samples: int) -> Iterator[dict]:
    """Measures one value after the other; yields what goes into its line."""
    from tfpdu.common.determinism import configure
    from tfpdu.data import Records, concatenate
    from tfpdu.diffusion import load_pretrained, measure_fidelity, synthetic_twin
    from tfpdu.evaluation import extractor, matched_rows, training_rows
    from tfpdu.material import gather
    from tfpdu.preparation import fit_classifier
    from tfpdu.settings import Settings

    settings = dataclasses.replace(Settings.from_config(config), seed=_SEED.value)
    configure(settings.ensemble.threads)
    material = gather(settings)
    holdout = concatenate([material.pools.non_members_calibration, material.pools.non_members_evaluation])
    auxiliary = material.pools.auxiliary
    rows = training_rows(load_pretrained(where, settings.generator, "--generator"), material)
    real, asked = matched_rows(rows, settings.seed, samples)
    with tempfile.TemporaryDirectory() as temporary:
        features = extractor(material, settings, Path(temporary))

        def accuracy(name: str, table: Records) -> float:
            classifier = fit_classifier(Path(temporary, name), table, settings.ensemble.one_model(), settings)
            return float(np.mean(classifier.probabilities(auxiliary.images).argmax(axis=1) == auxiliary.labels))

        cas_real = accuracy("real", real)
        for value in values:
            ways = dataclasses.replace(settings.generator, **{setting: value})
            generator = load_pretrained(where, ways, "--generator")
            start = time.perf_counter()
            twin = synthetic_twin(asked, generator.for_specs(asked.specs))
            seconds = time.perf_counter() - start
            fidelity = measure_fidelity(holdout.images, twin.images, features, seed=settings.seed)
            cas = accuracy(f"{setting}-{value}", twin)
            yield {
                "images_seen": generator.card["images_seen"],
                "classifier": "transferred" if settings.ensemble.initial else "scratch",
                "samples": len(twin),
                "seed": settings.seed,
                **{name: getattr(ways, name) for name in VARIED},
                **{"cas": cas, "cas_real": cas_real, "cas_ratio": cas / cas_real},
                **{name: getattr(fidelity, name) for name in ("kid", "precision", "recall")},
                "samples_per_second": round(len(twin) / seconds, 1),
            }


def _main(argv: Sequence[str]) -> None:
    del argv
    if not _GENERATOR.value or not _OUTPUT.value:
        raise UserError("--generator and --output: expected a generator and a file for the results")
    kind = int if _SETTING.value in ("steps", "candidates") else float
    try:
        values = [kind(word) for word in _VALUES.value]
    except ValueError as error:
        raise UserError(f"--values={','.join(_VALUES.value)}: {error}") from None
    for line in scan(app.as_dict(_CONFIG.value), _GENERATOR.value, _SETTING.value, values, _SAMPLES.value):
        files.append_json_line(Path(_OUTPUT.value), line)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    app.run(_main)
