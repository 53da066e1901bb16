"""Algorithm 1's own way to Lambda: gradient descent on L-hat, the paper's path beside the exact one."""

import math

import numpy as np
from scipy import optimize
from threadpoolctl import threadpool_limits

from tfpdu.bias.additions import Demand, meet
from tfpdu.bias.divergence import total_bias
from tfpdu.common.errors import UserError


def descend(demand: Demand, rho: float, max_growth: float = math.inf, steps: int = 30) -> np.ndarray:
    """Additions by gradient descent on the logits of Lambda. Returns int64[cells].

    Lambda = softmax(Theta) is the distribution over joint cells from which the m added rows are drawn, and
    P_i = (n P_i + m Lambda_i) / (n + m) is each attribute's distribution with them. A turn adds rows (a thousandth
    of the table), then moves Theta downhill on L-hat. The paper's line 6 has a plus before the gradient; with it
    L-hat, the loss, would grow. Its fixed step size lambda does not do either: L-hat is quartic in the imbalance,
    so its gradient all but vanishes long before the table is fair. So the descent is on sqrt(2 L-hat), which has
    the same minima and is quadratic there, and the step size is found by line search (L-BFGS-B). The turns end
    when B(S, D) < rho, counted in whole rows.

    Args:
      demand: the counts and the prior.
      rho: the threshold on B(S, D), nats.
      max_growth: as in `tfpdu.bias.additions.meet`.
      steps: most gradient steps a turn.

    Raises:
      UserError: no additions reach rho (as `tfpdu.bias.additions.meet` finds).
    """
    if demand.bias(np.zeros(len(demand.joint))) < rho:
        return np.zeros(len(demand.joint), np.int64)
    most = 1.1 * meet(demand, rho, max_growth).sum() + 100  # whether rho can be reached at all is known beforehand
    cells = np.flatnonzero(demand.open)
    start = demand.joint[cells] + 1e-3 * max(demand.joint.sum(), 1) / len(cells)
    start /= start.sum()
    theta = np.log(start)  # Lambda = {P(tau_1), ..., P(tau_j)}
    rows = max(margin.counts.sum() for margin in demand.margins)
    m = 0
    while m <= most:
        m += max(1, int(rows + m) // 1000)
        # A little of the first Lambda is mixed in: where softmax has all but closed a cell, its gradient is gone.
        with threadpool_limits(1):  # threads cost more than these few numbers, ten times more on a busy machine
            theta = _downhill(demand, cells, np.log(0.9 * _softmax(theta) + 0.1 * start), m, steps)
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


def _downhill(demand: Demand, cells: np.ndarray, theta: np.ndarray, m: float, steps: int) -> np.ndarray:
    def root(trial: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = loss_and_gradient(demand, cells, trial, m)
        norm = math.sqrt(2 * loss)
        return norm, gradient / norm if norm > 0 else np.zeros_like(trial)

    options = {"maxiter": steps, "ftol": 1e-15, "gtol": 1e-12}
    return optimize.minimize(root, theta, jac=True, method="L-BFGS-B", options=options).x


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
