"""Algorithm 1's own way to Lambda: gradient descent on L-hat, the paper's path beside the exact one."""

import math

import numpy as np

from tfpdu.bias.additions import Demand, meet
from tfpdu.bias.divergence import total_bias
from tfpdu.common.errors import UserError
from tfpdu.common.validation import positive


def descend(
    demand: Demand, rho: float, max_growth: float = math.inf, step_size: float = 1.0, steps: int = 30
) -> np.ndarray:
    """Additions by gradient descent on the logits of Lambda. Returns int64[cells].

    Lambda = softmax(Theta) is the distribution over joint cells from which the m added rows are drawn, and
    P_i = (n P_i + m Lambda_i) / (n + m) is each attribute's distribution with them. A turn adds rows, then takes
    `steps` steps Theta <- Theta - lambda * grad L-hat. The paper's line 6 has a plus: with the plus, L-hat
    would grow, and it is the loss "to be minimised". L-hat is quartic in the imbalance, so its gradient all but
    vanishes long before the table is fair: a step uses the gradient's direction, and its length lambda is halved
    when L-hat would rise. The turns end when B(S, D) < rho, counted in whole rows.

    Args:
      demand: the counts and the prior.
      rho: the threshold on B(S, D), nats.
      max_growth: as in `tfpdu.bias.additions.meet`.
      step_size: lambda, the first step's length in logits.
      steps: gradient steps a turn.

    Raises:
      UserError: no additions reach rho (as `tfpdu.bias.additions.meet` finds).
    """
    positive(step_size=step_size)
    if demand.bias(np.zeros(len(demand.joint))) < rho:
        return np.zeros(len(demand.joint), np.int64)
    most = 1.1 * meet(demand, rho, max_growth).sum() + 100  # whether rho can be reached at all is known beforehand
    cells = np.flatnonzero(demand.open)
    start = demand.joint[cells] + 1e-3 * max(demand.joint.sum(), 1) / len(cells)
    theta = np.log(start / start.sum())  # Lambda = {P(tau_1), ..., P(tau_j)}
    rows = max(margin.counts.sum() for margin in demand.margins)
    m = 0
    while m <= most:
        m += max(1, int(rows + m) // 1000)
        theta, step_size = _steps(demand, cells, theta, m, step_size, steps)
        additions = _whole(demand, cells, theta, m)
        if demand.bias(additions) < rho:
            return additions
    raise UserError(f"augment: gradient descent did not bring the bias under rho={rho:g}; use solver='exact'")


def loss_and_gradient(demand: Demand, cells: np.ndarray, theta: np.ndarray, m: float) -> tuple[float, np.ndarray]:
    """L-hat = 1/2 sum_i KL(D_i || P_i)^2 and its gradient in the logits, float64[len(cells)].

    dKL_i/dLambda(cell) = -D_i(v) / P_i(v) * m / (n_i + m) with v the cell's value of attribute i;
    dL/dTheta = Lambda * (g - <Lambda, g>) with g = sum_i KL_i dKL_i/dLambda.
    """
    Lambda = _softmax(theta)
    additions = np.zeros(len(demand.joint))
    additions[cells] = m * Lambda
    kls = demand.kls(additions)
    g = np.zeros(len(cells))
    for margin, kl in zip(demand.margins, kls, strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(margin.prior > 0, -margin.prior / margin.after(additions), 0.0)
        g += kl * (slope * m / (margin.counts.sum() + m))[margin.member[cells]]
    return total_bias(kls), Lambda * (g - Lambda @ g)


def _steps(
    demand: Demand, cells: np.ndarray, theta: np.ndarray, m: float, step: float, steps: int
) -> tuple[np.ndarray, float]:
    loss, gradient = loss_and_gradient(demand, cells, theta, m)
    for _ in range(steps):
        norm = float(np.linalg.norm(gradient))
        if not math.isfinite(norm) or norm < 1e-300 or step < 1e-9:
            break
        trial = theta - step * gradient / norm  # minus: downhill
        trial -= trial.max()
        trial_loss, trial_gradient = loss_and_gradient(demand, cells, trial, m)
        if trial_loss < loss:
            theta, loss, gradient, step = trial, trial_loss, trial_gradient, min(step * 1.5, 4.0)
        else:
            step /= 2
    return theta, max(step, 1e-3)


def _whole(demand: Demand, cells: np.ndarray, theta: np.ndarray, m: int) -> np.ndarray:
    """m Lambda in whole rows: floors, and the rest to the largest remainders."""
    wished = m * _softmax(theta)
    rows = np.floor(wished).astype(np.int64)
    rows[np.argsort(rows - wished, kind="stable")[: m - rows.sum()]] += 1
    additions = np.zeros(len(demand.joint), np.int64)
    additions[cells] = rows
    return additions


def _softmax(theta: np.ndarray) -> np.ndarray:
    e = np.exp(theta - theta.max())
    return e / e.sum()
