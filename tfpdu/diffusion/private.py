"""Differential privacy of the generator: settings, accounting, and what the figures mean in words.

DP-SGD (Abadi et al., 2016): each step draws every row with probability q on its own (Poisson sampling), cuts each drawn
row's gradient to norm C, sums, adds N(0, (noise_multiplier * C)^2) to every coordinate, and divides by the expected
batch. Whatever is computed from those sums alone, Adam and the averaged weights included, is private as well. Tables
are neighbours when one has one row more. The accounting is dp_accounting's: 'pld', privacy loss distributions
(Koskela et al., 2020; Doroshenko et al., 2022), or 'rdp', Renyi divergences (Mironov et al., 2019), which gives larger
epsilons.
"""

import dataclasses
import functools
import math
from typing import Any

from tfpdu.common import UserError
from tfpdu.common.validation import in_range, non_negative, one_of, positive

ACCOUNTANTS = ("pld", "rdp")
LEAST_NOISE, MOST_NOISE = 0.3, 1e4  # noise multipliers between which one is sought
GRID = 5e-4  # of the privacy loss, rounded so that epsilon comes out too large: by some 0.1 % in 14,000 steps


@dataclasses.dataclass(frozen=True)
class PrivateSettings:
    """How private training is to be; off by default.

    Attributes:
      epsilon: at most this much is spent on the whole training; 0 is off: ordinary training.
      delta: the probability at which epsilon may fail; below 1 / rows.
      clip_norm: C, the largest norm of one row's gradient.
      multiplicity: noised copies of a row (own noise level, flip, hidden conditions) whose gradients are averaged
        before clipping (De et al., 2022, section 3.2).
      rows: the number of rows that the sampling rate q = batch / rows is made from; 0 takes the table's own number,
        which is then treated as public.
      chunk: rows whose gradients are held in memory at once.
      accountant: 'pld' or 'rdp'.
    """

    epsilon: float = 0.0
    delta: float = 1e-5
    clip_norm: float = 1.0
    multiplicity: int = 1
    rows: int = 0
    chunk: int = 32
    accountant: str = "pld"

    def __post_init__(self) -> None:
        non_negative(**{"private.epsilon": self.epsilon, "private.rows": self.rows})
        positive(
            **{
                "private.clip_norm": self.clip_norm,
                "private.multiplicity": self.multiplicity,
                "private.chunk": self.chunk,
            }
        )
        in_range(0, 1, **{"private.delta": self.delta})
        one_of(ACCOUNTANTS, **{"private.accountant": self.accountant})


@dataclasses.dataclass(frozen=True)
class Privacy:
    """The figures of one training: (epsilon, delta) and all that they follow from.

    Attributes:
      epsilon, delta: of one row added or removed; the epsilon reached, at most the one asked for.
      noise_multiplier: standard deviation of the noise on the summed gradient, as a multiple of `clip_norm`.
      clip_norm: C.
      sampling_rate: q, the probability of a row to be in a step's batch.
      expected_batch: what the noisy sum is divided by; a public constant.
      steps: of the optimiser.
      accountant: 'pld' or 'rdp'.
      neighbours: which tables the figures compare.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    clip_norm: float
    sampling_rate: float
    expected_batch: int
    steps: int
    accountant: str
    neighbours: str = "add or remove one row"

    def group_epsilon(self, m: int) -> tuple[float, float]:
        """(epsilon, delta) of m rows together: m epsilon and delta (e^(m epsilon) - 1) / (e^epsilon - 1).

        Vadhan (2017), "The complexity of differential privacy", lemma 2.2, in its sharper geometric-sum form. A delta
        of 1 is no guarantee at all.

        Raises:
          UserError: m is below 1.

        >>> Privacy(1.0, 1e-6, 1.0, 1.0, 0.1, 10, 100, "pld").group_epsilon(2)
        (2.0, 3.7182818284590455e-06)
        """
        if m < 1:
            raise UserError(f"deleted records: expected at least 1, got {m}")
        total = m * self.epsilon
        factor = math.inf
        if self.epsilon == 0:
            factor = m
        elif total < 700:
            factor = math.expm1(total) / math.expm1(self.epsilon)
        return total, min(1.0, self.delta * factor)


def plan(private: PrivateSettings, rows: int, batch: int, steps: int) -> Privacy:
    """The least noise that keeps a training within its epsilon.

    Args:
      private: what is asked for; epsilon above 0.
      rows: of the table, used where the settings name no public number.
      batch: the expected number of rows a step.
      steps: of the optimiser.

    Raises:
      UserError: a batch beyond the rows, a delta that would let a row be published, or an epsilon out of reach.
    """
    public = private.rows or rows
    if batch > public:
        raise UserError(f"batch: {batch} rows a step are more than the {public} rows there are to sample from")
    if not 0 < private.delta < 1 / public:
        raise UserError(
            f"private.delta: expected above 0 and below 1 / rows = {1 / public:.3g}, got {private.delta:g}; a larger "
            "one allows a row to be published outright"
        )
    rate = batch / public
    noise = noise_multiplier(private.epsilon, private.delta, rate, steps, private.accountant)
    spent = epsilon_spent(noise, private.delta, rate, steps, private.accountant)
    return Privacy(spent, private.delta, noise, private.clip_norm, rate, batch, steps, private.accountant)


def epsilon_spent(noise: float, delta: float, sampling_rate: float, steps: int, accountant: str = "pld") -> float:
    """Epsilon at `delta` of `steps` Poisson-subsampled Gaussian mechanisms; one row added or removed.

    Args:
      noise: noise multiplier, above 0.
      delta: in (0, 1).
      sampling_rate: q in (0, 1].
      steps: at least 1.
      accountant: 'pld' or 'rdp'.
    """
    one_of(ACCOUNTANTS, accountant=accountant)
    return _spent(noise, delta, sampling_rate, steps, accountant)


@functools.lru_cache(maxsize=1024)
def _spent(noise: float, delta: float, sampling_rate: float, steps: int, accountant: str) -> float:
    """`epsilon_spent`, or by 'bound' a hasty upper bound: 'rdp' at whole orders alone."""
    import dp_accounting
    from dp_accounting import pld, rdp

    event: Any = dp_accounting.GaussianDpEvent(noise)
    if sampling_rate < 1:
        event = dp_accounting.PoissonSampledDpEvent(sampling_rate, event)
    relation = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    accounts: Any = {
        "pld": lambda: pld.PLDAccountant(relation, GRID),
        "rdp": lambda: rdp.RdpAccountant(None, relation),
        "bound": lambda: rdp.RdpAccountant([*range(2, 64), 128, 256, 512, 1024], relation),
    }
    return float(accounts[accountant]().compose(dp_accounting.SelfComposedDpEvent(event, steps)).get_epsilon(delta))


def noise_multiplier(epsilon: float, delta: float, sampling_rate: float, steps: int, accountant: str = "pld") -> float:
    """The noise multiplier whose epsilon at `delta` is at most `epsilon`, within 0.2 % of the least one.

    It is found by bisection and has 4 digits; the arguments are those of `epsilon_spent`.

    Raises:
      UserError: no multiplier up to 10,000 is enough.
    """
    positive(epsilon=epsilon)
    one_of(ACCOUNTANTS, accountant=accountant)

    def enough(noise: float, by: str) -> bool:
        return _spent(noise, delta, sampling_rate, steps, by) <= epsilon

    def least(low: float, high: float, by: str) -> float:
        """Between `low`, which is not enough, and `high`, which is."""
        while high > low * 1.002:
            middle = _up(math.sqrt(low * high))
            if middle in (low, high):
                break
            low, high = (low, middle) if enough(middle, by) else (middle, high)
        return high

    if not enough(MOST_NOISE, accountant):
        raise UserError(
            f"private.epsilon: {epsilon:g} is out of reach of {steps} steps at sampling rate {sampling_rate:.3g}"
        )
    high = LEAST_NOISE
    while high < MOST_NOISE and not enough(high, "bound"):
        high *= 2
    if high > LEAST_NOISE:
        high = least(high / 2, high, "bound")
    while not enough(high, accountant):  # where the grid is coarse for so small an epsilon
        high = min(MOST_NOISE, 2 * high)
    low = high
    while low > LEAST_NOISE and enough(low, accountant):
        low, high = max(LEAST_NOISE, _up(low * 0.93)), low
    return low if enough(low, accountant) else least(low, high, accountant)


def privacy_statement(
    privacy: Privacy, deleted: int = 1, originals_train_classifier: bool = True, steering_public: bool = True
) -> tuple[str, ...]:
    """What the figures buy, in sentences for a report.

    Args:
      privacy: of the generator.
      deleted: records deleted so far, or to be deleted; at least 1.
      originals_train_classifier: whether an original is still among the classifier's training rows.
      steering_public: whether the prior, and the counts by which rows were asked for, are declared public.

    Returns:
      Sentences, in order: per deleted record; for all deleted together; how far they reach; what they leave out.
    """
    sentences = [
        f"Per deleted record, {_figures(privacy.epsilon, privacy.delta)}: with or without that one record among the "
        f"generator's training rows, every outcome of its training is as likely up to a factor of e^"
        f"{privacy.epsilon:.3g} = {_factor(privacy.epsilon)}, but for outcomes of probability {privacy.delta:.3g} in "
        f"all (DP-SGD: noise {privacy.noise_multiplier:.4g} times the clipping norm {privacy.clip_norm:g}, sampling "
        f"rate {privacy.sampling_rate:.3g}, {privacy.steps} steps; accountant {privacy.accountant}; neighbouring "
        f"tables: {privacy.neighbours})."
    ]
    if deleted > 1:
        epsilon, delta = privacy.group_epsilon(deleted)
        sentences.append(
            f"For the {deleted} deleted records together, {_figures(epsilon, delta)}."
            if delta < 1
            else f"For the {deleted} deleted records together nothing is guaranteed: group privacy gives epsilon = "
            f"{epsilon:.4g}, at which delta reaches 1."
        )
    sentences += [_reach(originals_train_classifier, steering_public), _LEFT_OUT]
    return tuple(sentences)


_LEFT_OUT = (
    "Left out are: figures computed on the originals themselves (quality gate, audit, the losses and row ids on the "
    "generator's card); the choice of settings, if it looked at them; deletions chosen by looking at what the "
    "generator made; and persons with several rows, who count as that many records. The figures hold as long as the "
    "key of the noise, which is deleted when training ends, stays unknown; the noise is drawn in floating point by a "
    "generator that is not cryptographic."
)


def _reach(originals_train_classifier: bool, steering_public: bool) -> str:
    if originals_train_classifier:
        return (
            "Generator only: this holds for the generator and its samples. Originals still train the classifier, "
            "which is under no such guarantee for them."
        )
    if not steering_public:
        return (
            "Generator only: no original trains the classifier, but the prior or the counts by which rows were asked "
            "for are not declared public, and they were computed from originals."
        )
    return (
        "Whole pipeline: no original trains the classifier, and prior and counts are public, so generator, samples and "
        "classifier all follow from the private training, and the figures hold for them together."
    )


def _figures(epsilon: float, delta: float) -> str:
    return f"epsilon = {epsilon:.4g} at delta = {delta:.3g}"


def _factor(epsilon: float) -> str:
    return f"{math.exp(epsilon):.3g}" if epsilon < 700 else "beyond all numbers"


def _up(noise: float) -> float:
    """Rounds up to 4 significant digits."""
    digits = 3 - math.floor(math.log10(noise))
    return round(math.ceil(noise * 10**digits - 1e-9) / 10**digits, digits)
