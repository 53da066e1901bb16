"""--dry_run: what a run would do, for how long and with how much memory, measured on this machine in a minute."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.augment import planned
from tfpdu.bias import bias_report
from tfpdu.bias.priors import cells_of
from tfpdu.common import say
from tfpdu.common.determinism import configure
from tfpdu.common.machine import peak_gigabytes
from tfpdu.data import Records
from tfpdu.diffusion import GeneratorSettings, fit_generator
from tfpdu.diffusion.training import Training, training_batches
from tfpdu.ensemble import Ensemble
from tfpdu.ensemble.trainer import Rows, Span, Trainer
from tfpdu.material import Material, gather
from tfpdu.settings import Settings
from tfpdu.tables import bases_of

Known = dict[str, tuple[float, float]]  # what was timed -> its two rates


@dataclasses.dataclass(frozen=True)
class Rates:
    """Images a second on this machine; infinite where a stage is not used."""

    learn: float
    evaluate: float
    generate: float = float("inf")
    sample: float = float("inf")


def forecast_minutes(config: Mapping[str, Any], known: Known) -> float:
    """How long a run would take on this machine, in minutes; raises as `forecast` does.

    Args:
      config: of the run.
      known: rates of earlier forecasts, taken where this run does the same work; its own are added.
    """
    _, _, _, stages = _stages(config, known)
    return sum(stages.values())


def _stages(config: Mapping[str, Any], known: Known) -> tuple[Settings, Material, int, dict[str, float]]:
    """The settings, the data, the rows that Algorithm 1 adds, and the minutes of each stage."""
    settings = Settings.from_config(config)
    configure(settings.ensemble.threads)
    material = gather(settings)
    added = _additions(material, settings)
    return settings, material, added, minutes(material, settings, added, measure(material, settings, known))


def forecast(config: Mapping[str, Any]) -> str:
    """Text for the terminal: data, cells, shards, minutes by stage, memory.

    Writes nothing, but for the problems.csv of an image folder with faulty rows.

    Raises:
      UserError: as `run_pdu` would.
    """
    settings, material, added, stages = _stages(config, {})
    growth = added * material.drawn.images[0].nbytes * 4 / 2**30
    lines = _data_lines(material, settings, added)
    lines += ["", *(f"  {name:34}{value:8.1f} min" for name, value in stages.items())]
    lines += [
        f"  {'in all':34}{sum(stages.values()):8.1f} min",
        "",
        f"memory: about {peak_gigabytes() + growth:.1f} GB",
    ]
    return "\n".join(lines)


def minutes(material: Material, settings: Settings, added: int, rates: Rates) -> dict[str, float]:
    """Minutes of each stage by what it has to do and how fast this machine does it."""
    n0, ensemble, judge = len(material.drawn), settings.ensemble, settings.judge
    n, steps, k = n0 + added, settings.loop.last + 1, settings.ensemble.shards
    left = [n0 - round(n0 * t / settings.loop.iterations) for t in range(steps)]
    views = settings.views.count + 1
    seconds = {"baseline (S as it is)": n0 * ensemble.epochs / rates.learn}
    if settings.augment.method == "diffusion":
        judges = len(set(settings.prior.variables) - {"label"}) + settings.prior.needs_measuring  # two halves are one
        gate = settings.gate_rows if settings.generator.floor else 0
        generators, made = 0 if settings.pretrained else 1, added + (n0 - left[-1]) * settings.augment.replenish
        if settings.generator.lineage == "strict":  # a generator a step, as long as enough originals are left
            left = [rows for t, rows in enumerate(left) if not t or rows >= settings.generator.min_rows]
            generators, made, steps = len(left), sum(n - rows for rows in left), len(left)
        steering = len(settings.steer) * settings.noisy_classifier.images
        critics = len(settings.generator.critics) * settings.generator.critic_images
        draws = (1 + settings.generator.candidates) / 2  # between the one that is always drawn and all
        seconds |= {
            "judge and quality gate": (len(material.pools.auxiliary) * judges + 2 * gate * max(1, generators))
            * judge.epochs
            / rates.learn,
            "generator": (generators * (settings.generator.images + critics) + steering) / rates.generate,
            "sampling": draws * (made + gate * max(1, generators)) / rates.sample,
        }
    rows = 4 * settings.audit.rows + 2 * min(settings.audit.rows, n0)  # two roles of three overlapping populations
    learned: float = steps * n
    if settings.augment.method != "diffusion":  # nothing comes for what goes, and nothing may be left at the last step
        steps -= left[-1] == 0
        learned = n * sum(left) / n0
    elif not settings.augment.replenish:
        learned = sum(rows + added for rows in left)
    trained = learned * mean_cost(settings, n, n0, steps)
    seconds |= {
        f"learning and {steps - 1} retrainings": trained * ensemble.epochs / rates.learn,
        "measuring": k * (learned + steps * len(material.pools.test)) / rates.evaluate,
        "audit": steps * k * rows * views / rates.evaluate,
    }
    return {name: value / 60 for name, value in seconds.items()}


def mean_cost(settings: Settings, rows: int, originals: int, steps: int) -> float:
    """Of the first `steps` steps, as a share of full trainings."""
    if settings.ensemble.slice_order != "forget":
        return 1.0
    T = settings.loop.iterations
    leaving = np.diff([round(originals * t / T) for t in range(T + 1)]).tolist()
    return sum(bases_of(settings, rows, leaving).costs[:steps]) / steps


def measure(material: Material, settings: Settings, known: Known) -> Rates:
    """Times a few steps of each kind, but for those that are known."""
    drawn = material.drawn
    rows = (drawn.images.shape[1:], drawn.classes, settings.views)
    alike = dataclasses.replace(settings.ensemble, shards=1, epochs=1, slices=1, slice_order="even")
    learn, evaluate = _timed(f"{rows} {alike}", known, lambda: _ensemble_rates(drawn, settings))
    if settings.augment.method != "diffusion":
        return Rates(learn, evaluate)
    few = dataclasses.replace(settings.generator, images=settings.generator.batch, min_rows=1, candidates=1, critics=())
    generator = _timed(f"{rows} {drawn.specs} {few}", known, lambda: _generator_rates(drawn, few, settings.seed))
    return Rates(learn, evaluate, *generator)


def _timed(what: str, known: Known, rates: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    if what not in known:
        say("measuring this machine ...")
        known[what] = rates()
    return known[what]


def _ensemble_rates(drawn: Records, settings: Settings) -> tuple[float, float]:
    """Images a second of learning and of evaluating."""
    some = drawn.take(np.arange(min(len(drawn), 6 * settings.ensemble.batch)))
    trainer = Trainer(settings.ensemble, settings.views, drawn.classes, drawn.images.shape[1:], settings.seed)
    trainer.start(0)
    rows = Rows(some.images, some.labels, some.ids, np.ones(len(some)))
    trainer.train(rows, Span(0, 1))  # compiles
    learn = len(some) / trainer.train(rows, Span(0, 1))
    ensemble = Ensemble([trainer.model.get_weights()], trainer.model, settings.ensemble)
    ensemble.probabilities(some.images)
    return learn, len(some) / _seconds(lambda: ensemble.probabilities(some.images))


def _generator_rates(drawn: Records, few: GeneratorSettings, seed: int) -> tuple[float, float]:
    """Images a second of training and of sampling."""
    architecture = few.architecture(drawn.images.shape[1:], drawn.classes, tuple(s.cardinality for s in drawn.specs))
    with tempfile.TemporaryDirectory() as directory:
        batches = training_batches(drawn, few, seed)
        training = Training.of_denoiser(architecture, few, batches, seed, "", Path(directory) / "none.npz")
        rate = training.images_per_second()
        generator = fit_generator(drawn, few, directory, seed)
    size = min(few.sample_batch, len(drawn))
    arguments = (drawn.labels[:size], drawn.attributes[:size], drawn.ids[:size].tolist())
    generator.sample(*arguments)  # compiles
    return rate, few.sample_batch / _seconds(lambda: generator.sample(*arguments))


def _seconds(work: Any) -> float:
    start = time.monotonic()
    work()
    return max(time.monotonic() - start, 1e-9)


def _additions(material: Material, settings: Settings) -> int:
    """Rows that Algorithm 1 adds; with a prior that is still to be measured, the most that it can come to."""
    if material.prior is None:
        most = round(len(material.drawn) * settings.prior.weight / (1 - settings.prior.weight))
        return most if settings.augment.method in ("diffusion", "oversample") else 0
    options: dict[str, Any] = {"settings": settings.augment, "seed": settings.seed, "shard_of": material.shard}
    return planned(material.drawn, material.prior, **options)


def _data_lines(material: Material, settings: Settings, added: int) -> list[str]:
    drawn, prior, k = material.drawn, material.prior, settings.ensemble.shards
    pools = ", ".join(f"{name} {len(ids)}" for name, ids in material.pools.ids().items())
    bias, most = "measured in the run", "at most "
    if prior is not None:
        bias, most = f"{bias_report(drawn, drawn, prior, settings.augment.smoothing)['kl_before']:.4g} nats", ""
    lines = [
        f"data: {settings.data.name}, S of {len(drawn)} rows, {drawn.images.shape[1]}x{drawn.images.shape[2]} pixels",
        f"pools: {pools}",
        f"bias: {bias}; Algorithm 1 ({settings.augment.method}) adds {most}{added} rows, then {len(drawn) + added}",
        f"shards: {k} of {(len(drawn) + added) // k} rows; {settings.loop.iterations} steps of"
        f" {len(drawn) / settings.loop.iterations:.0f} rows until no original is left",
    ]
    return lines + _small_cells(material, settings)


def _small_cells(material: Material, settings: Settings) -> list[str]:
    """Cells of label and prior's attributes that are too small to condition on, or to be in every shard."""
    drawn = material.drawn
    variables = list(dict.fromkeys(["label", *settings.prior.variables]))
    cells = cells_of(drawn, variables)
    counts = np.bincount(cells[cells >= 0], minlength=1)
    least = max(settings.generator.min_cell, settings.ensemble.shards)
    shape = [drawn.spec(v).cardinality for v in variables]
    small = [(np.unravel_index(c, shape), counts[c]) for c in np.flatnonzero((counts > 0) & (counts < least))]
    if not small:
        return [f"cells: none of {np.count_nonzero(counts)} has fewer than {least} rows"]
    named = [
        f"{', '.join(drawn.spec(v).values[i] for v, i in zip(variables, index, strict=True))}: {count}"
        for index, count in small
    ]
    return [f"cells with fewer than {least} rows ({' x '.join(variables)}):", *(f"  {line}" for line in named)]
