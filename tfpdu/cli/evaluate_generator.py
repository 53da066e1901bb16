"""`tfpdu evaluate`, `scripts/evaluate_generator.py`: what a generator is worth and what it remembers.

    python scripts/evaluate_generator.py --config=digits --generator=runs/digits/generator --output=digits.json

A classifier (config.ensemble, one shard) learns from samples, and from as many real training rows of the generator;
both are tested on the test pool (CAS). KID, precision and recall are taken against held-out rows, in the features of a
classifier of auxiliary rows; copies against the generator's own training rows. The configuration has to be that of
the run which the generator comes from, but for how it samples (steps, guidance, candidates); what is trained here is
thrown away.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from tfpdu.cli import app
from tfpdu.common import files
from tfpdu.common.errors import UserError

_CONFIG = app.define_config()
_GENERATOR = flags.DEFINE_string(
    "generator", "", "directory (generator/ of a run), or the name of one that comes with tfpdu"
)
_SAMPLES = flags.DEFINE_integer("samples", 5000, "samples a measurement, and real rows beside them", lower_bound=4)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "one measurement each")
_INITIAL = flags.DEFINE_string(
    "initial", "", "weights that the classifier starts from; by default those of config.ensemble.initial, if any"
)
_OUTPUT = flags.DEFINE_string("output", "", "also write the JSON here")
_CARD = flags.DEFINE_bool("card", False, "also note the means on the generator's card")

_SHOWN = (
    *("cas", "cas_real", "cas_ratio"),
    *("kid", "precision", "recall", "density", "coverage"),
    *("copy_ratio", "copy_ratio_real"),
)


def _main(argv: Sequence[str]) -> None:
    del argv
    if not _GENERATOR.value:
        raise UserError("--generator: expected the directory of a generator, e.g. --generator=runs/digits/generator")
    seeds = _seeds(_SEEDS.value)
    from tfpdu.common.determinism import configure
    from tfpdu.settings import Settings

    settings = Settings.from_config(app.as_dict(_CONFIG.value))
    from tfpdu.diffusion import load_pretrained, note_metrics
    from tfpdu.ensemble.transfer import read_initial
    from tfpdu.evaluation import Evaluation, evaluate_generator
    from tfpdu.material import gather

    configure(settings.ensemble.threads)
    initial = read_initial(_INITIAL.value) if _INITIAL.value else None
    generator = load_pretrained(_GENERATOR.value, settings.generator, "--generator")
    result = evaluate_generator(
        generator,
        gather(settings),
        settings,
        Evaluation(
            samples=_SAMPLES.value,
            seeds=seeds,
            classifier=settings.ensemble.one_model(),
            initial=initial,
            name="transferred" if _INITIAL.value or settings.ensemble.initial else "scratch",
        ),
    )
    if _OUTPUT.value:
        files.write_json(Path(_OUTPUT.value), result)
    if _CARD.value:
        sampling = {name: getattr(settings.generator, name) for name in ("steps", "guidance", "candidates")}
        measured = {key: result[key] for key in (*_SHOWN, "realised")}
        note_metrics(_GENERATOR.value, result["classifier"], sampling | measured)
    print("\n".join(_lines(result)))


def _seeds(words: Sequence[str]) -> tuple[int, ...]:
    try:
        seeds = tuple(int(word) for word in words)
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds={','.join(words)}: expected different whole numbers, e.g. 0,1,2")
    return seeds


def _lines(result: dict[str, Any]) -> list[str]:
    """The table for the terminal: a line a measure, its mean and each seed."""
    heads = "".join(f"{'seed ' + str(one['seed']):>10}" for one in result["seeds"])
    lines = [f"{'':18}{'mean':>10}{heads}"]
    for key in _SHOWN:
        lines.append(f"{key:18}{result[key]:10.4f}" + "".join(f"{one[key]:10.4f}" for one in result["seeds"]))
    for attribute, values in result["realised"].items():
        for value, share in values.items():
            real = result["realised_real"].get(attribute, {}).get(value, float("nan"))
            lines.append(f"realised {attribute}={value}: {share:.4f} of the samples, {real:.4f} of real held-out rows")
        recalls = list(result["realised_real"].get(attribute, {}).values())
        if recalls:
            lines.append(f"judge of {attribute}: balanced accuracy {sum(recalls) / len(recalls):.4f} on those rows")
    lines.append(f"classifier: {result['classifier']}; features: {result['extractor']}; {result['samples']} samples")
    return lines


def main() -> None:
    """Runs the command; does not return."""
    app.run(_main)
