"""Experiments as data: presets with a few values changed, seeds, and what to look at.

An experiment is a question, variants to answer it, and seeds; a variant is a preset and overrides; a variant and a seed
make a cell, which is one `tfpdu run`. Experiments share the cells that they have in common.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfpdu.common import UserError, files
from tfpdu.common.validation import did_you_mean

RUNS = "runs"  # where experiments are collected, the directory of their runs
Measure = tuple[str, str, str]  # name of `tfpdu.reporting.measurements`, words, unit


@dataclasses.dataclass(frozen=True)
class Variant:
    """A preset and what is changed of it.

    Attributes:
      name: unique among variants of other settings; also the name of its directory.
      config: a preset such as "cifar10:cpu", or a file.
      overrides: ("loop.until", 0), ...: as `--config.loop.until=0`.
      words: what the variant is, for a reader.
    """

    name: str
    config: str
    overrides: tuple[tuple[str, Any], ...] = ()
    words: str = ""

    @property
    def twin(self) -> "Variant":
        """The same at full scale: presets have a variant with ":gpu"; digits and files are what they are."""
        stem, _, scale = self.config.partition(":")
        if stem not in ("cifar10", "celeb_a") or scale.endswith("gpu"):
            return self
        return dataclasses.replace(self, config=f"{stem}:gpu" if scale == "cpu" else f"{self.config}:gpu")


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A measure of one variant less that of another, seed by seed."""

    measure: str
    first: str
    second: str
    words: str


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A question, and the runs that answer it.

    Attributes:
      name: of its directory.
      title: as in "Figure 5: ...".
      question: what is to be found out, and how.
      variants: at least one.
      seeds: of each variant.
      measures: what its table shows.
      contrasts: differences that answer the question.
      ours: whether it is beyond the paper's own.
    """

    name: str
    title: str
    question: str
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    measures: tuple[Measure, ...] = ()
    contrasts: tuple[Contrast, ...] = ()
    ours: bool = False


def chosen(names: Sequence[str], known: Mapping[str, tuple[Experiment, ...]]) -> tuple[Experiment, ...]:
    """The experiments of these names, each once; a name that ends in .json is a file of its own.

    Args:
      names: of `known`, or files.
      known: what a name stands for.

    Raises:
      UserError: a name that is none of them, or a file that is no plan.
    """
    found: dict[str, Experiment] = {}
    for name in names:
        if name.endswith(".json"):
            more = read_plan(name)
        elif name in known:
            more = known[name]
        else:
            raise UserError(f"--plan={name}: no such experiment{did_you_mean(name, known)}; known: {', '.join(known)}")
        found |= {experiment.name: experiment for experiment in more}
    _refuse_ambiguous(found.values())
    return tuple(found.values())


def read_plan(path: str | Path) -> tuple[Experiment, ...]:
    """Experiments of a file: a JSON list of objects with the fields of `Experiment`.

    Overrides are objects ({"loop.until": 0}), lists in them tuples; measures lists of name, words, unit.

    Raises:
      UserError: the file is missing, no JSON, or has other fields.
    """
    try:
        return tuple(_experiment(entry) for entry in files.read_json(Path(path)))
    except OSError:
        raise UserError(f"--plan={path}: no such file") from None
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UserError(f"--plan={path}: expected a JSON list of experiments ({str(error).splitlines()[0]})") from None


def _experiment(entry: Mapping[str, Any]) -> Experiment:
    variants = tuple(
        Variant(**{**one, "overrides": tuple((key, _tuples(value)) for key, value in one.get("overrides", {}).items())})
        for one in entry["variants"]
    )
    contrasts = tuple(Contrast(**one) for one in entry.get("contrasts", ()))
    lists = {name: tuple(map(_tuples, entry[name])) for name in ("seeds", "measures") if name in entry}
    return Experiment(**{**entry, **lists, "variants": variants, "contrasts": contrasts})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _refuse_ambiguous(experiments: Collection[Experiment]) -> None:
    for name in {experiment.name for experiment in experiments} & {RUNS, "gpu"}:
        raise UserError(f"--plan: an experiment may not be named {name!r}, which is a directory beside its own")
    seen: dict[str, Variant] = {}
    for variant in (variant for experiment in experiments for variant in experiment.variants):
        if seen.setdefault(variant.name, variant) != variant:
            raise UserError(f"--plan: two different variants are named {variant.name!r}; they would share a directory")
