"""Certified removal for a convex head: logistic regression on frozen features, Newton steps, and noise.

The claim. Let A learn a head from rows S, and let U, at most `capacity` rows of it, be forgotten. The head released
then and the head that A releases after learning S without U are (epsilon, delta)-indistinguishable, either way round
[1]: P[first in W] <= e^epsilon P[second in W] + delta for every set W of weights.

It holds because both are a centre plus Gaussian noise of one standard deviation, and the centres are never further
apart than gamma. There are two ways to be sure of a gamma:

- *Measured*, the default: `HeadSettings.distance` is declared beforehand, and Newton steps on the rows that stay go on
  until their gradient has a norm of lambda * distance at most. F is lambda-strongly convex, so the weights are then
  within `distance` of its minimiser, and gamma = distance + r / lambda [3 does so with gradient descent]. Here r is
  the gradient norm at which learning stops: r / lambda is how far the head that never saw U can be off.
- *Worst case*, `distance=0`: exactly one Newton step, whatever the rows are [1]:

      gamma = (M / (2 lambda)) (2 m G / (lambda n) + r / lambda)^2 + 2 r / lambda

  with m the capacity, G and M of `tfpdu.unlearning.logistic`. One r / lambda inside is the learned weights' distance
  from the minimiser that the step sets out from; outside, one is that of the head that never saw U, one the step's own
  linear system. With r = 0 it is `newton_noise`'s gamma. On digits the step is some 10^4 times closer than that.

The head without any request carries the same noise, or it would be no head that "never saw U" can look like.

What it takes, and what it does not say:

- The features must come from an extractor that no row of S trained or tuned, and not be normalised with statistics of
  S.
- n, m, lambda and the noise are public constants. They stay as they are while rows go: every request is answered from
  the learned weights and *all* rows forgotten so far, so the order of requests does not matter, errors do not add up,
  nothing comes back, and the sum of requests is held against the capacity.
- Each release has noise of its own. For a row forgotten by the i-th of k releases, those from the i-th on are together
  as indistinguishable from as many heads learned without the rows as one with sqrt(k - i + 1) gamma is
  (`gaussian_epsilon`).
- Requests may be chosen after looking at earlier releases: the claim then holds for every course of those, given it.
  But *which* rows go may then itself tell about a row that went earlier [4]; no unlearning can take that back.
- Nor does it take back what was released before the request. Whoever has a head from before and one from after can
  compare them, and learn more of the row than from either.
- It speaks of what is released. The state behind it (`save`) still depends on forgotten rows through the learned
  weights, though their features are gone from it: keep it as secret as the rows were. Whoever must leave no trace
  learns the head anew, which costs a later claim nothing: that head never saw them.

References:
  [1] Sekhari, Acharya, Kamath, Suresh. Remember what you want to forget: algorithms for machine unlearning. NeurIPS
      2021.
  [2] Guo, Goldstein, Hannun, van der Maaten. Certified data removal from machine learning models. ICML 2020.
  [3] Neel, Roth, Sharifi-Malvajerdi. Descent-to-delete: gradient-based methods for machine unlearning. ALT 2021.
  [4] Gupta, Jung, Neel, Roth, Sharifi-Malvajerdi, Waites. Adaptive machine unlearning. NeurIPS 2021.
"""

import dataclasses
import hashlib
import json
import math
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.files import array_hash, read_npz, write_npz
from tfpdu.unlearning import logistic
from tfpdu.unlearning.head import HeadRelease, HeadSettings
from tfpdu.unlearning.logistic import Rows
from tfpdu.unlearning.noise import gaussian_epsilon, secret_noise

STATE = "certified_head.npz"


@dataclasses.dataclass(frozen=True)
class Certificate:
    """The figures behind a release. All but `distance` are public: they do not depend on what the rows hold.

    Attributes:
      epsilon: of this release by itself.
      delta: of this release by itself, and of all.
      capacity: rows that may be forgotten.
      forgotten: rows that are.
      rows: n that the noise is made for.
      gamma: how far apart the centres can be.
      sigma: standard deviation of the noise on each weight.
      releases: how many there were, this one included.
      epsilon_since_first: for the rows forgotten first, of all releases since then together, at the same delta;
        `epsilon` while nothing is forgotten.
      distance: at most this far is this release's centre from the minimiser without the forgotten rows, measured by
        its gradient [2]; never above gamma. Depends on the rows: not for publication.
    """

    epsilon: float
    delta: float
    capacity: int
    forgotten: int
    rows: int
    gamma: float
    sigma: float
    releases: int
    epsilon_since_first: float
    distance: float


class CertifiedHead:
    """A learned head, its rows, and what was forgotten. Make one with `fit_head` or `load_head`.

    Attributes:
      settings: of the head.
      classes: K.
      rows: n, the public number of rows that the noise is made for.
      ids: strings, the rows that are not forgotten, sorted.
      released: the `HeadRelease` of the present state; it stays the same, bit for bit, until more rows are forgotten.
      releases: how many there were.
    """

    def __init__(self, state: dict[str, np.ndarray]):
        self._take(state)

    def _take(self, state: dict[str, np.ndarray]) -> None:
        self._state = state
        self.settings = HeadSettings(**json.loads(str(state["settings"])))
        self.classes, self.rows, self.releases = (int(state[name]) for name in ("classes", "rows", "releases"))
        self.ids = state["ids"]
        self.released = HeadRelease(state["released"], self.settings)

    @property
    def forgotten(self) -> int:
        """How many rows of the `rows` are gone."""
        return self.rows - len(self.ids)

    def forget(self, ids: Iterable[str]) -> HeadRelease:
        """Takes rows out, together with all that were taken out before. Cost: a Hessian over the rows left, and O(d^3).

        Args:
          ids: of rows; those that are forgotten already, and repetitions, count once and change nothing. An order has
            no influence.

        Returns:
          The new release; the one there was where nothing new is asked for.

        Raises:
          UserError: an id that never was a row, or more rows in all than the capacity. Nothing is changed then.
        """
        gone = self._known(ids)
        if not gone:
            return self.released
        total = self.forgotten + len(gone)
        if total > self.settings.capacity:
            raise UserError(
                f"forget: {len(gone)} rows more make {total} in all, the head's capacity is {self.settings.capacity}; "
                "learn a new head without them"
            )
        keep = ~np.isin(self.ids, sorted(gone))
        kept = {name: self._state[name][keep] for name in ("features", "labels", "ids")}
        tombs = sorted({*self._state["tombs"].tolist(), *(self._tomb(row_id) for row_id in gone)})
        centre = _newton_centre(self._state["weights"], _rows(kept), self.settings)
        self._take(
            {
                **self._state,
                **kept,
                "tombs": np.array(tombs),
                "centre": centre,
                "released": _noisy(centre, str(self._state["secret"]), self.settings, self.rows),
                "releases": np.array(self.releases + 1),
            }
        )
        return self.released

    def certificate(self) -> Certificate:
        """The figures behind the present release."""
        s, centre = self.settings, self._state["centre"]
        gamma, sigma = s.gamma(self.rows), s.sigma(self.rows)
        slope = logistic.gradient(centre, _rows(self._state), s.strong_convexity)
        together = gaussian_epsilon(math.sqrt(max(1, self.releases - 1)) * gamma / sigma, s.delta)
        return Certificate(
            epsilon=s.epsilon,
            delta=s.delta,
            capacity=s.capacity,
            forgotten=self.forgotten,
            rows=self.rows,
            gamma=gamma,
            sigma=sigma,
            releases=self.releases,
            epsilon_since_first=together,
            distance=float(np.linalg.norm(slope)) / s.strong_convexity,
        )

    def save(self, directory: str | Path) -> None:
        """Writes `certified_head.npz`, for its owner's eyes only: whoever reads it can take the noise off."""
        write_npz(Path(directory) / STATE, 0o600, **self._state)

    def _known(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that are still rows."""
        if isinstance(ids, str):
            raise UserError(f"forget: expected a list of ids, got the text {ids!r}")
        asked, rows, tombs = {str(row_id) for row_id in ids}, set(self.ids.tolist()), set(self._state["tombs"].tolist())
        for row_id in sorted(asked - rows):
            if self._tomb(row_id) not in tombs:
                raise UserError(f"forget: {row_id!r} is no row of this head")
        return asked & rows

    def _tomb(self, row_id: str) -> str:
        """What stays of a forgotten id; without the secret it cannot be tried out."""
        return hashlib.blake2b(
            row_id.encode(), key=str(self._state["secret"]).encode()[:64], digest_size=16
        ).hexdigest()


def fit_head(
    features: Any,
    labels: Any,
    ids: Sequence[str],
    classes: int,
    settings: HeadSettings,
    secret: str | None = None,
    rows: int | None = None,
) -> CertifiedHead:
    """Learns a head on all rows, and makes its first release.

    Args:
      features: real[n, p], finite, of an extractor that none of the rows trained.
      labels: int[n] in 0..classes-1; a class may have no row.
      ids: n unique strings. The order of the rows has no influence.
      classes: K, at least 2.
      settings: see `HeadSettings`.
      secret: text that keys the noise, at least 32 characters; `tfpdu.common.files.secret` keeps one on disk, so that
        learning again after an interruption gives the very same release. By default a new random one. No public seed
        has a part in the noise.
      rows: the public number of rows that the noise is made for, when the table lacks some that count as forgotten
        already (as for the head that a claim compares with); by default n.

    Raises:
      UserError: features that are no finite table, labels or ids that do not fit, a capacity that leaves no row, too
        many weights, or a residual that float64 cannot reach.
    """
    prepared = settings.prepared(features)
    labels, names = _checked(labels, ids, len(prepared), classes)
    rows = _public_count(rows, len(names), settings.capacity)
    secret = secrets.token_hex(16) if secret is None else secret
    if len(secret) < 32:
        raise UserError(
            f"secret: expected at least 32 characters, got {len(secret)}; tfpdu.common.files.secret makes one"
        )
    order = np.argsort(names)
    table = {"features": prepared[order], "labels": labels[order], "ids": names[order]}
    weights = logistic.minimiser(_rows(table), classes, settings.strong_convexity, settings.residual)
    return CertifiedHead(
        {
            **table,
            "weights": weights,
            "centre": weights,
            "released": _noisy(weights, secret, settings, rows),
            "tombs": np.array([], "<U32"),
            "settings": np.array(json.dumps(dataclasses.asdict(settings), default=lambda number: number.item())),
            "secret": np.array(secret),
            "classes": np.array(classes),
            "rows": np.array(rows),
            "releases": np.array(1),
        }
    )


def load_head(directory: str | Path) -> CertifiedHead:
    """Reads a head that `CertifiedHead.save` wrote.

    Raises:
      UserError: no such file, or not a head's.
    """
    path = Path(directory) / STATE
    try:
        return CertifiedHead(read_npz(path))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a certified head's state ({error})") from None


def _newton_centre(learned: np.ndarray, kept: Rows, settings: HeadSettings) -> np.ndarray:
    """Newton steps on the loss of the rows that stay, from the weights learned on all: one, or till it is near enough.

    The gradient there is, up to the residual, minus the forgotten rows' over the number of those that stay: [1] in the
    form that needs the rows that stay, not those that go.
    """
    slope = logistic.gradient(learned, kept, settings.strong_convexity)
    curvature = logistic.hessian(learned, kept, settings.strong_convexity)
    centre = logistic.newton_step(learned, slope, curvature, settings.residual)
    if settings.distance:
        goal = settings.distance * settings.strong_convexity
        centre = logistic.minimiser(kept, len(centre), settings.strong_convexity, goal, centre)
    return centre


def _noisy(centre: np.ndarray, secret: str, settings: HeadSettings, rows: int) -> np.ndarray:
    """Keyed by the centre itself, so equal centres give one release, and two different ones never share their noise."""
    sigma = settings.sigma(rows)
    noise = secret_noise(secret, centre.size, "certified head", array_hash(centre), repr(sigma))
    return centre + sigma * noise.reshape(centre.shape)


def _rows(state: dict[str, np.ndarray]) -> Rows:
    return Rows(state["features"], state["labels"])


def _public_count(rows: int | None, n: int, capacity: int) -> int:
    """The number of rows that the noise is made for: those of the table, or as many as the caller says there were."""
    rows = n if rows is None else rows
    if not n <= rows <= n + capacity or int(rows) != rows:
        raise UserError(f"rows: expected {n} (the table's) to {n + capacity} (the capacity more), got {rows!r}")
    if capacity >= rows:
        raise UserError(f"capacity: expected less than the {rows} rows, so that one stays, got {capacity}")
    return int(rows)


def _checked(labels: Any, ids: Sequence[str], n: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels as int64[n] and ids as text[n]."""
    if classes < 2 or int(classes) != classes:
        raise UserError(f"classes: expected a whole number of at least 2, got {classes!r}")
    labels, names = np.asarray(labels), np.asarray(ids, np.str_)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise UserError(f"labels: expected {n} whole numbers, got {labels.dtype} of shape {list(labels.shape)}")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        row = np.flatnonzero(wrong)[0]
        raise UserError(f"labels: row {row} has {labels[row]}, expected 0 to {classes - 1}")
    if names.shape != (n,) or len(np.unique(names)) < n:
        raise UserError(f"ids: expected {n} different ones, got {len(np.unique(names))} in shape {list(names.shape)}")
    return labels.astype(np.int64), names
