"""How a method is set up for a task, and carried out on it."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfpdu.common import UserError
from tfpdu.common.seeds import stable_hash
from tfpdu.common.validation import did_you_mean, one_of
from tfpdu.unlearning.benchmark.scenarios import class_quotas
from tfpdu.unlearning.benchmark.sharded import SHARDED, ShardedSettings
from tfpdu.unlearning.methods import METHODS, AttackSettings, Examples, Method, build_adversaries, concatenate, own
from tfpdu.unlearning.methods.retrain import RetrainSettings

if TYPE_CHECKING:
    from tfpdu.unlearning.benchmark.settings import BenchmarkSettings

RETRAIN = "retrain"
AGAIN = "retrain_again"  # with another seed: how far two retrained models are apart
RETRAINED = (RETRAIN, AGAIN)
AMUN_A = "amun_adaptive"  # AMUN with adversarial pictures of the current model at each request
EXACT = (*RETRAINED, SHARDED.name)  # trained as the original was, so that nothing is to be tuned
_KNOWN = {**METHODS, AGAIN: METHODS[RETRAIN], AMUN_A: METHODS["amun"], SHARDED.name: SHARDED}


def method_of(name: str) -> Method:
    """The method behind a name of the benchmark."""
    return own(name) if ":" in name else _KNOWN[name]


def check_recipe(method: str, settings: "BenchmarkSettings", where: str = "methods") -> None:
    """Raises `UserError` where a method, named at `where`, is unknown, or its settings are."""
    if ":" not in method:
        one_of(_KNOWN, **{where: method})
    for scenario in settings.scenarios:
        recipe(method, scenario, settings)


def recipe(method: str, scenario: str, settings: "BenchmarkSettings") -> Any:
    """The settings of a method in a scenario: its defaults, with what the config's recipes say laid over them."""
    kind = method_of(method).settings
    fields = {field.name for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {"views": settings.views} if "views" in fields else {}
    if method in EXACT:
        values |= {
            field.name: getattr(settings.training, field.name) for field in dataclasses.fields(settings.training)
        }
    for name in (method, f"{method}@{scenario}"):
        values |= dict(settings.recipes.get(name, {}))
    if "attack" in fields and not isinstance(values.get("attack"), AttackSettings):
        values["attack"] = _made(AttackSettings, dict(values.get("attack", {})), f"recipes.{method}.attack")
    return _made(kind, values, f"recipes.{method}")


def _made(kind: type, values: Mapping[str, Any], where: str) -> Any:
    names = [field.name for field in dataclasses.fields(kind)]
    for name in values:
        if name not in names:
            raise UserError(
                f"{where}: no setting {name!r}{did_you_mean(name, names)}; known: {', '.join(names) or '-'}"
            )
    try:
        return kind(**values)
    except UserError as error:
        raise UserError(f"{where}.{error}") from None


@dataclasses.dataclass(frozen=True)
class Request:
    """One request as a method sees it.

    Attributes:
      forget: rows to forget now.
      retain: rows that stay, or None where they are not at hand.
    """

    forget: Examples
    retain: Examples | None


@dataclasses.dataclass(frozen=True)
class Unlearned:
    """What came of a request.

    Attributes:
      model: that has forgotten.
      seconds: that it took.
    """

    model: keras.Model
    seconds: float


def usable(method: str, request: Request) -> bool:
    """Whether a method can do without what a request lacks."""
    return request.retain is not None or not method_of(method).needs_retain


def carry_out(
    method: str,
    options: Any,
    original: keras.Model,
    requests: Sequence[Request],
    *,
    seed: int,
    strangers: Examples,
    build: Callable[[int], keras.Model],
) -> list[Unlearned]:
    """Unlearns one request after the other, each from the model that the one before has left.

    Args:
      method: a name.
      options: its settings, of `recipe`.
      original: the model that has learned all rows.
      requests: in order.
      seed: of the method's draws.
      strangers: rows that no model has seen, for methods that need some.
      build: seed -> an untrained model, for retraining.
    """
    way = method_of(method)
    seed = stable_hash(AGAIN, seed) % 2**31 if method == AGAIN else seed
    done: list[Unlearned] = []
    start = time.perf_counter()
    if way.name == "amun" and len(requests) > 1 and method != AMUN_A:
        # One set of adversarial pictures, of the first model, for all requests: this is AMUN as published.
        whole = concatenate([request.forget for request in requests])
        options = dataclasses.replace(
            options, adversaries=build_adversaries(original, whole, options.attack), adaptive=False
        )
    shared = (time.perf_counter() - start) / len(requests)
    if isinstance(options, RetrainSettings | ShardedSettings) and options.build is None:
        options = dataclasses.replace(options, build=build)
    model = original
    for request in requests:
        start = time.perf_counter()
        settings = options
        if way.name == "stackelberg":
            settings = dataclasses.replace(options, nonmembers=_like(strangers, request.forget))
        model = way.unlearn(model, request.forget, request.retain, settings, seed)
        done.append(Unlearned(model, shared + time.perf_counter() - start))
    return done


def _like(rows: Examples, others: Examples) -> Examples:
    """As many rows as possible, but no more than the others, with their shares of classes."""
    labels = np.asarray(rows.labels)
    quota = class_quotas(labels, np.asarray(others.labels), len(others.labels))
    chosen = [np.flatnonzero(labels == c)[: quota[c]] for c in np.flatnonzero(quota)]
    return rows.take(np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, int))
