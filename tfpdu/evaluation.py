"""What a generator is worth: what its samples teach, how near they are to real pictures, and what it remembers.

Nothing here selects anything: samples are measured on test rows, against held-out rows, by classifiers of other rows.
"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.common import UserError, say
from tfpdu.common.seeds import hashed_order
from tfpdu.data import Records, concatenate
from tfpdu.diffusion import (
    Extractor,
    Generator,
    classification_accuracy_score,
    extractor_of,
    measure_fidelity,
    measure_memory,
    realised_attributes,
    synthetic_twin,
)
from tfpdu.ensemble import EnsembleSettings
from tfpdu.ensemble.initial import InitialWeights
from tfpdu.material import Material
from tfpdu.preparation import Judge, Predict, fit_classifier, fit_judge, fit_steering, known_rows
from tfpdu.settings import Settings


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What to measure a generator with.

    Attributes:
      samples: how many, and how many real rows stand beside them; fewer where the generator learned from fewer.
      seeds: one measurement each; a seed picks samples, real rows and the classifier's initial weights.
      classifier: the recipe that samples and real rows are learned by.
      initial: weights that it starts from, or None.
      name: of the classifier, for the results: "scratch" or "transferred".
    """

    samples: int
    seeds: tuple[int, ...]
    classifier: EnsembleSettings
    initial: InitialWeights = None
    name: str = "scratch"


def evaluate_generator(
    generator: Generator, material: Material, settings: Settings, evaluation: Evaluation
) -> dict[str, Any]:
    """Measures a generator, once a seed.

    Args:
      generator: trained on rows of `material` (its private or public pool).
      material: pools of the data that it was trained on.
      settings: of the run they come from; the judge and the extractor are trained on its auxiliary pool.
      evaluation: see there.

    Returns:
      JSON-ready: means over the seeds of `cas`, `cas_real`, `cas_ratio`, `kid`, `precision`, `recall`, `density`,
      `coverage`, `copy_ratio`, `copy_ratio_real`, `realised` and `realised_real` (the judge on held-out real rows);
      `classifier`, `extractor`, `samples`, `generator` (its card without rows), and `seeds`, with all of each.

    Raises:
      UserError: the generator's training rows are not among the material's.
    """
    rows = training_rows(generator, material)
    holdout = concatenate([material.pools.non_members_calibration, material.pools.non_members_evaluation])
    with tempfile.TemporaryDirectory() as directory:
        generator = generator.steered(fit_steering(material, settings, Path(directory, "steering")))
        judge = fit_judge(material, settings, Path(directory, "judge"))
        features = extractor(material, settings, Path(directory))
        shared = generator, rows, holdout, material, settings, evaluation, judge, features
        measured = [_measure(seed, *shared, directory=Path(directory, str(seed))) for seed in evaluation.seeds]
    return {
        **_mean([{k: v for k, v in one.items() if k not in ("seed", "memory")} for one in measured]),
        "classifier": evaluation.name,
        "extractor": features.name,
        "samples": min(evaluation.samples, len(rows)),
        "generator": {k: v for k, v in generator.card.items() if k not in ("row_ids", "merged_cells")},
        "seeds": measured,
    }


def training_rows(generator: Generator, material: Material) -> Records:
    """The rows that a generator was trained on; raises `UserError` where they are not among the material's."""
    rows = known_rows(generator, material)
    missing = np.setdiff1d(np.array(generator.row_ids), rows.ids)
    if len(missing):
        raise UserError(f"generator: it was trained on row {str(missing[0])!r}, which this configuration does not have")
    return rows


def matched_rows(rows: Records, seed: int, samples: int) -> tuple[Records, Records]:
    """Real rows that a seed picks, and the same rows with the keys by which as many samples are drawn."""
    real = rows.take(hashed_order(rows.ids, seed, "evaluation")[:samples])
    return real, dataclasses.replace(real, ids=np.char.add(f"evaluation/{seed}/", real.ids))


def _measure(
    seed: int,
    generator: Generator,
    rows: Records,
    holdout: Records,
    material: Material,
    settings: Settings,
    evaluation: Evaluation,
    judge: Judge,
    features: Extractor,
    *,
    directory: Path,
) -> dict[str, Any]:
    real, asked = matched_rows(rows, seed, evaluation.samples)
    say(f"seed {seed}: {len(real)} samples against {len(real)} real rows")
    twin = synthetic_twin(asked, generator.for_specs(real.specs))

    def train(records: Records, seed: int) -> Predict:
        parent = dataclasses.replace(settings, seed=seed)
        where = directory / ("synthetic" if records is twin else "real")
        classifier = fit_classifier(where, records, evaluation.classifier, parent, initial=evaluation.initial)
        return classifier.probabilities

    score = classification_accuracy_score(twin, real, material.pools.test, train, seed)
    fidelity = measure_fidelity(holdout.images, twin.images, features, seed=seed)
    memory = measure_memory(generator, twin, rows, holdout, limit=len(twin), seed=seed)
    return {
        "seed": seed,
        **score,
        **{key: getattr(fidelity, key) for key in ("kid", "precision", "recall", "density", "coverage")},
        "copy_ratio": memory["copies"]["ratio"],
        "copy_ratio_real": memory["copies_of_held_out"]["ratio"],
        "realised": realised_attributes(twin.attributes, judge(twin.images), twin.specs),
        "realised_real": realised_attributes(holdout.attributes, judge(holdout.images), holdout.specs),
        "memory": memory,
    }


def extractor(material: Material, settings: Settings, directory: Path) -> Extractor:
    """The pooled features of a classifier of the labels, trained on the auxiliary pool."""
    auxiliary = material.pools.auxiliary
    model = fit_classifier(directory / "extractor", auxiliary, settings.judge, settings).model(0)
    return extractor_of(model, f"resnet18 of {len(auxiliary)} auxiliary rows of {settings.data.name}")


def _mean(tables: list[Any]) -> Any:
    """Mean of nested tables of numbers, place by place."""
    if isinstance(tables[0], dict):
        return {key: _mean([table[key] for table in tables if key in table]) for key in tables[0]}
    return float(np.mean(tables))
