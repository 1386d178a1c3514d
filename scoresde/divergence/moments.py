r"""Upper bounds of E_p e^{sL}, L = \log p/q, of two Gaussian mixtures in any dimension, and what follows from them.

Splitting the weights, a_i = \sum_j \varphi_{ij} and b_j \ge \sum_i \psi_{ij}, writes p = \sum \varphi_{ij} p_i and q \ge \sum \psi_{ij} q_j. The
function (x, y) -> x^{1+s} y^{-s} is convex and homogeneous of degree one, hence

    E_p e^{sL} = \int p^{1+s} q^{-s} \le \sum_{ij} \varphi_{ij}^{1+s} \psi_{ij}^{-s} e^{s c_{ij}},   e^{s c_{ij}} = \int p_i^{1+s} q_j^{-s},

and for s -> 0, KL(p|q) \le \sum_{ij} \varphi_{ij} (\log(\varphi_{ij}/\psi_{ij}) + KL(p_i|q_j)), the log-sum inequality. Both hold for every
splitting; a good one is found by minimising over \varphi and \psi in turn. Source (s = 0): Hershey & Olsen 2007,
https://doi.org/10.1109/ICASSP.2007.366913
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from . import closed
from .bounds import parts

__all__ = ["Moments", "moments"]

ORDERS = np.array([0.0, *(2.0 ** np.array([-14, -12, -10, -8, -6, -4, -3, -2, -1, 0])), 1.5, 2.0, 3.0, 4.0])
_COST = 2e9  # operations that the components' pairs may take, about three seconds
_ROUNDS = 20


@dataclass(frozen=True)
class Moments:
    r"""``log_moment`` (S,): upper bounds of \log E_p e^{sL} for the orders s > 0 in ``orders`` (S,), inf where none was found; ``divergence``:
    an upper bound of KL(p|q); ``infinite``: is E_p e^L proven infinite?"""

    orders: np.ndarray
    log_moment: np.ndarray
    divergence: float
    infinite: bool

    @cached_property
    def chi_squared(self):
        r"""An upper bound of \chi^2(p|q) = E_p e^L - 1, inf if none is known."""
        return _exp(float(self.log_moment[self.orders == 1.0][0])) * (1 + 1e-12) - 1

    def excess(self, t):
        r"""An upper bound of E_p (L - t)_+ : the least of E_p e^{s(L - t)} / (e s)."""
        return _exp(np.min(self.log_moment - self.orders * t - 1 - np.log(self.orders)))

    def tilted_tail(self, t):
        r"""An upper bound of E_p[e^L; L > t]: the least of E_p e^{sL} e^{(1-s)t} over s > 1."""
        over = self.orders > 1
        return _exp(np.min(self.log_moment[over] - (self.orders[over] - 1) * t))


def _exp(x):
    return math.exp(x) if x < 709 else math.inf


def moments(p, q):
    """The Moments of two Gaussians or Gaussian mixtures; None for other laws, or if the pairs of components are too many."""
    mine, other = parts(p), parts(q)
    if mine is None or other is None:
        return None
    (a, first), (b, second) = mine, other
    full = max(np.ndim(c.covariance) for c in (first[0], second[0])) == 2
    if len(a) * len(b) * (p.dim**3 if full else p.dim + 1e5) > _COST:
        return None
    costs = np.stack([[_costs(closed.axes(u, v)) for v in second] for u in first])  # (K, K', 1 + S)
    bounds = _bounds(np.moveaxis(costs, -1, 0), a, b)
    return Moments(ORDERS[1:], bounds[1:], float(bounds[0]), _diverges(first, second))


def _costs(a):
    r"""c(s) = \frac12 \sum [(1+s) \delta^2/(1 - se) - \log(1 - se)/s - \log\lambda] for every order; KL at s = 0, inf where 1 - se \le 0.

    Rounded up: by 1e-14 of its terms, and by what the uncertainty of e and \delta^2 adds.
    """
    s = ORDERS[1:, None]
    room = 1 - s * a.e
    fits = (room > 2 * s * a.blur).all(axis=1)
    room, safe = np.where(fits[:, None], room, 1.0), np.where(fits[:, None], s * a.e, 0.0)
    log = np.log(a.lam)
    move = (1 + s[:, 0]) * (a.shift / room).sum(axis=1)
    grow = a.blur * ((1 / room + 1 / a.lam) @ a.count + (1 + s[:, 0]) * (a.shift * (s / room + 1) / room).sum(axis=1))
    cost = 0.5 * (move - (np.log1p(-safe) / s + log) @ a.count)
    rounding = 1e-14 * (move + (np.abs(np.log1p(-safe)) / s + np.abs(log)) @ a.count)
    kl = 0.5 * (a.count @ (a.e - log) + a.shift.sum()) + a.blur * (a.count @ (1 + 1 / a.lam) + a.shift.sum())
    return np.append(kl + 1e-14 * (a.count @ (np.abs(a.e) + np.abs(log)) + a.shift.sum()), np.where(fits, cost + grow + rounding, np.inf))


def _bounds(cost, a, b):
    """The bound of each order (1 + S,) from the costs (1 + S, K, K'); pairs of infinite cost get no weight."""
    s, log_a, log_b = ORDERS[:, None, None], np.log(a)[:, None], np.log(b)
    open_ = np.isfinite(cost)
    cost = np.where(open_, cost, 0.0)
    psi = np.where(open_, log_b, -np.inf) + log_a
    with np.errstate(invalid="ignore"):
        for _ in range(_ROUNDS if cost[0].size > 1 else 1):
            phi = log_a + _normal(psi - cost, 2)
            psi = log_b + _normal(phi + s / (1 + s) * cost, 1)
        ratio = np.where(open_, phi - psi, 0.0)
        terms = (phi + s * (ratio + cost))[1:].reshape(len(ORDERS) - 1, -1)
        top = np.max(terms, axis=1)
        log_moment = top + np.log(np.exp(terms - top[:, None]).sum(axis=1))
    some = open_.any(axis=2).all(axis=1)  # every component of p needs one of q
    return np.append(np.sum(np.exp(phi[0]) * (ratio[0] + cost[0])), np.where(some[1:], log_moment, np.inf))


def _normal(x, axis):
    """x minus its log-sum-exp along the axis; -inf where a whole row is."""
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(top == -np.inf, 0.0, top)
    total = np.exp(x - top).sum(axis=axis, keepdims=True)
    return np.where(x == -np.inf, -np.inf, x - top - np.log(np.where(total > 0, total, 1.0)))


def _diverges(first, second):
    r"""Is \int p^2/q infinite because for one i and a direction v, 2 v^T P_i v \le v^T Q_j v for all j (precisions P, Q)?

    Along v then p_i^2/q does not decay. The axes of the covariances of p are tried.
    """
    for law in first:
        full = law.covariance.ndim == 2
        axes = np.linalg.eigh(law.covariance)[1] if full else None
        least = np.min([_precision(other, axes) for other in second], axis=0)
        exact = not full and all(other.covariance.ndim < 2 for other in second)
        if np.any(2 * _precision(law, axes) <= least * (1 if exact else 1 - 1e-9)):
            return True
    return False


def _precision(law, axes):
    """v^T C^{-1} v for the columns v of axes (None: the coordinate axes), (d,)."""
    cov = law.covariance
    if cov.ndim == 2:
        return np.diag(np.linalg.inv(cov)) if axes is None else np.einsum("ij,ij->j", axes, np.linalg.solve(cov, axes))
    plain = np.broadcast_to(1 / cov, (law.dim,))
    return plain if axes is None else plain @ axes**2
