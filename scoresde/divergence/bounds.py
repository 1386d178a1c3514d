r"""W_2 and KL of mixtures in any dimension, enclosed by closed forms of their components.

A component is N(\mu_k, \Sigma_k) or a point mass (\Sigma_k = 0). Lower bounds come from moments and from projections onto axes, upper bounds
from couplings of the components: any coupling gives one, so how well it was optimised decides the width, not the truth.
"""

import math
from functools import partial

import numpy as np

from ..enclosure import Enclosure
from ..errors import NoMethod, NotTrusted
from ..laws import Empirical, Gaussian, GaussianMixture
from . import closed, discrete, quadrature, renyi_orders, transport
from .panels import EPS
from .product import plain
from .projections import along, projected, turnable
from .view import Pair, view

__all__ = ["components", "kullback_leibler", "matched", "on_the_line", "parts", "wasserstein2"]

PAIRS = 2**12  # of components, for KL: about a second
ROUTES = 2**18  # pairs of components between which mass may move: 64 MB and some seconds
ORDERS = (0.5, 0.75, 0.9, 0.97)
AXES = 8  # on which W_2 is computed exactly, about 3 ms each


def components(law):
    """(weights (K,), means (K, d), covs (K,) | (K, d) | (K, d, d)) of a Gaussian, mixture or discrete law (variances 0), else None."""
    law = plain(law)
    if isinstance(law, Gaussian):
        return np.ones(1), law.mean()[None], law.covariance[None]
    if isinstance(law, GaussianMixture):
        kept = law.weights > 0
        return law.weights[kept], law.means[kept], law.covs[kept]
    if isinstance(law, Empirical):
        kept = law.weights > 0
        return law.weights[kept], law.points[kept], np.zeros(int(kept.sum()))
    return None


def parts(law):
    """(weights (K,), [Gaussian, ...]) of a Gaussian or a mixture, else None."""
    law = plain(law)
    if isinstance(law, Gaussian):
        return np.ones(1), [law]
    if isinstance(law, GaussianMixture):
        kept = np.flatnonzero(law.weights > 0)
        return law.weights[kept], [law.component(k) for k in kept]
    return None


# ---- Wasserstein --------------------------------------------------------------------------------------------------------------------


def wasserstein2(p, q):
    r"""max(Gelbrich, axes) \le W_2(P, Q) \le MW_2, laws in any dimension.

    Gelbrich: |\mu_p - \mu_q|^2 + Bures(\Sigma_p, \Sigma_q)^2. Axes: \sum_i W_2(u_i \cdot P, u_i \cdot Q)^2 over an orthonormal basis, exact
    on the first 8 principal axes of the scatter, Gelbrich on the others together. MW_2^2: the least \sum_{kl} \pi_{kl} W_2(p_k, q_l)^2 over
    couplings \pi of the weights, a linear program; two discrete laws are their components, so there both ends meet. Laws without components
    have the independent coupling above: |\mu_p - \mu_q|^2 + tr\Sigma_p + tr\Sigma_q.
    Raises NoMethod beyond 262144 pairs of components.
    Source: Gelbrich 1990, https://doi.org/10.1002/mana.19901470121; Delon & Desolneux 2020, https://doi.org/10.1137/19M1301047
    """
    d, atoms = p.dim, isinstance(p, Empirical) and isinstance(q, Empirical)
    size = math.sqrt(p.second_moment()) + math.sqrt(q.second_moment())
    a, b = components(p), components(q)
    if a is None or b is None:
        move, spread = p.mean() - q.mean(), np.trace(p.cov()) + np.trace(q.cov())
        low, hi, method = 0.0, math.sqrt(move @ move + spread), "independent coupling"
    else:
        squares = _costs(a, b)
        lowest, highest, _ = matched(squares, a[0], b[0])
        low, hi, method = math.sqrt(max(lowest, 0.0)) if atoms else 0.0, math.sqrt(highest), "mixture Wasserstein distance"
    if not atoms:
        low = max(_by_axes(p, q, 0), _by_axes(p, q, AXES))
    slack = 16 * d * EPS * size
    lo, hi = max(low - slack, 0.0), hi + slack
    value = 0.5 * (lo + hi) if atoms else None
    if atoms:
        return Enclosure.near(value, 0.5 * (hi - lo), method="transport between atoms, primal and dual").cut(0.0)
    return Enclosure(min(lo, hi), hi, "deterministic", 0.0, value, f"Gelbrich and projections below, {method} above")


def _costs(a, b):
    """W_2^2 of all pairs of components, (K, L), rounded upward by a relative 1e-14."""
    (_, m, va), (_, n, vb) = a, b
    if len(m) * len(n) > ROUTES:
        raise NoMethod(f"wasserstein2: got {len(m)} x {len(n)} components, allowed are {ROUTES} pairs; compare samples, or use sliced_wasserstein2")
    move = np.sum((m[:, None] - n) ** 2, axis=-1)
    if va.ndim < 3 and vb.ndim < 3:
        first, second = np.sqrt(va), np.sqrt(vb)
        if va.ndim == vb.ndim == 1:
            spread = m.shape[1] * (first[:, None] - second) ** 2
        else:
            first, second = (np.broadcast_to(s if s.ndim == 2 else s[:, None], x.shape) for s, x in ((first, m), (second, n)))
            spread = np.sum((first[:, None] - second) ** 2, axis=-1)
        return (move + spread) * (1 + 1e-14)
    va, vb = _full(va, m.shape), _full(vb, n.shape)
    return (move + np.array([[_bures(s, t, -1.0) for t in vb] for s in va])) * (1 + 1e-14)


def coupled_moment(a, b):
    r"""E (X - Y)(X - Y)^T, (d, d), of the coupling behind MW_2, components coupled optimally."""
    (w, m, va), (v, n, vb) = a, b
    plan = matched(_costs(a, b), w, v)[2]
    total = np.zeros((m.shape[1], m.shape[1]))
    va, vb = _full(va, m.shape), _full(vb, n.shape)
    for k, j in zip(*np.nonzero(plan), strict=True):
        (lam, left), (mu, right) = np.linalg.eigh(va[k]), np.linalg.eigh(vb[j])
        a, b = left * np.sqrt(np.maximum(lam, 0.0)), right * np.sqrt(np.maximum(mu, 0.0))
        x, _, y = np.linalg.svd(a.T @ b)
        gap = a - b @ y.T @ x.T
        total += plan[k, j] * (np.outer(m[k] - n[j], m[k] - n[j]) + gap @ gap.T)
    return total


def _full(covs, shape):
    return covs if covs.ndim == 3 else np.broadcast_to(covs[:, None] if covs.ndim == 1 else covs, shape)[:, :, None] * np.eye(shape[1])


def _bures(s, t, side):
    r"""tr S + tr T - 2 F(S, T) = \min_U |A - B U|_F^2, A A^T = S, B B^T = T, U orthogonal; from below for side = 1, from above for -1.

    The fidelity F grows with S and T, so an error of the eigenvalues is kept on the safe side by moving them all one way; the traces are
    then put right.
    """
    (lam, left), (mu, right) = np.linalg.eigh(s), np.linalg.eigh(t)
    e = side * len(s) * EPS * max(lam[-1], mu[-1])
    a, b = left * np.sqrt(np.maximum(lam + e, 0.0)), right * np.sqrt(np.maximum(mu + e, 0.0))
    left, _, right = np.linalg.svd(a.T @ b)
    return max(float(np.sum((a - b @ right.T @ left.T) ** 2)) - 2 * len(s) * e, 0.0)


def matched(cost, w, v):
    r"""(lo, hi, plan) with lo \le \min\{\sum \pi_{kl} cost_{kl} : \pi 1 = w, \pi^T 1 = v\} \le hi, whatever the solver did.

    hi: the cost of the plan found, repaired so that its marginals are w and v; lo: a dual certificate. Cost (K, L) >= 0.
    """
    if len(w) == 1 or len(v) == 1:
        plan = np.outer(w, v)
        value = float(np.sum(plan * cost))
        return value * (1 - 1e-14), value * (1 + 1e-14), plan
    from scipy.optimize import linprog
    from scipy.sparse import identity, kron, vstack

    k, l = cost.shape
    rows = vstack([kron(identity(k), np.ones((1, l))), kron(np.ones((1, k)), identity(l))]).tocsr()
    scale = float(np.max(cost)) or 1.0
    found = linprog(cost.ravel() / scale, A_eq=rows, b_eq=np.concatenate([w, v]), method="highs")
    if found.x is None:
        raise NotTrusted(f"wasserstein2: the linear program over {k} x {l} components failed ({found.message}); check the weights")
    plan = _repaired(np.maximum(found.x.reshape(k, l), 0.0), w, v)
    potential = np.min(cost - scale * found.eqlin.marginals[:k, None], axis=0)  # the best partner: feasible by construction
    f = np.min(cost - potential, axis=1)
    rounding = 1e-14 * (np.sum(plan * cost) + np.abs(f) @ w + np.abs(potential) @ v)
    return float(f @ w + potential @ v - rounding), float(np.sum(plan * cost) + rounding), plan


def _repaired(plan, w, v):
    """A coupling of w and v close to ``plan``: rows and columns scaled down to size, the rest spread as a product (Altschuler et al. 2017)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        plan = plan * np.nan_to_num(np.minimum(w / plan.sum(1), 1.0), nan=0.0)[:, None]
        plan = plan * np.nan_to_num(np.minimum(v / plan.sum(0), 1.0), nan=0.0)
    left, right = np.maximum(w - plan.sum(1), 0.0), np.maximum(v - plan.sum(0), 0.0)
    rest = left.sum()
    return plan + np.outer(left, right) / rest if rest > 0 else plan


def on_the_line(p, q):
    """W_2 of two laws on the line, exact."""
    p, q = plain(p), plain(q)
    if isinstance(p, Empirical) or isinstance(q, Empirical):
        return discrete.wasserstein2(p, q)
    if isinstance(p, Gaussian) and isinstance(q, Gaussian):
        return closed.wasserstein2(p, q)
    return transport.wasserstein2(Pair(view(p), view(q)))


def _by_axes(p, q, count):
    """The root of the sum of W_2^2 on ``count`` axes and of Gelbrich's bound on what is orthogonal to them."""
    move, vp, vq = p.mean() - q.mean(), p.cov(), q.cov()
    free = turnable(p) and turnable(q)
    basis = np.linalg.eigh(vp + vq + np.outer(move, move))[1][:, ::-1].T if free else np.eye(p.dim)
    if not free:
        basis = basis[np.argsort(-np.diag(vp + vq) - move**2, kind="stable")]
    seen = [on_the_line(along(p, u), along(q, u)) for u in basis[:count]]
    square = sum(e.lo**2 for e in seen if e.level != "heuristic")
    rest = basis[count:]
    if len(rest):
        square += float(np.sum((rest @ move) ** 2)) + _bures(rest @ vp @ rest.T, rest @ vq @ rest.T, 1.0)
    return math.sqrt(square)


# ---- Kullback–Leibler -----------------------------------------------------------------------------------------------------------------


def kullback_leibler(p, q):
    r"""max(projections, pairwise) \le KL(P|Q) \le min(log-sum, pairwise), P = \sum w_i p_i, Q = \sum v_j q_j mixtures of Gaussians in any d.

    Projections: data processing onto the best of a few directions, for any laws. Log-sum: \sum_{ij} \varphi_{ij} (\log\varphi_{ij}/\psi_{ij}
    + KL(p_i|q_j)) for any \varphi with row sums w and \psi with column sums v, by convexity, minimised by turns; sharp for P close to Q.
    Pairwise, sharp for modes far apart, from KL(P|Q) = \sum_i w_i KL(p_i|Q) - I, I the information that X ~ P has on its component:
    R_a(p_i|Q) \le KL(p_i|Q) \le -\log\sum_j v_j e^{-KL(p_i|q_j)} for a < 1, where (a-1) R_a(p_i|Q) \le \log\sum_j v_j^{1-a} e^{(a-1)
    R_a(p_i|q_j)}, and -\sum w_i \log\sum_j w_j BC(p_i, p_j) \le I \le -\sum w_i \log\sum_j w_j e^{-KL(p_i|p_j)}, BC = \int\sqrt{p_i p_j}.
    Laws without Gaussian components have no upper bound (inf). Raises NoMethod beyond 4096 pairs of components.
    Source: Hershey & Olsen 2007, https://doi.org/10.1109/ICASSP.2007.366913; Kolchinsky & Tracey 2017, https://doi.org/10.3390/e19070361
    """
    below = projected(_kullback_leibler_on_the_line, p, q)
    a, b = parts(p), parts(q)
    if a is None or b is None or math.isinf(below.lo):
        return below
    (w, first), (v, second) = a, b
    kl = _table(closed.kullback_leibler, first, second)
    lo, hi = below.lo, _log_sum(w, v, kl)
    if len(w) ** 2 <= PAIRS:
        pairwise = _pairwise(w, v, kl, first, second)
        lo, hi = max(lo, pairwise[0]), min(hi, pairwise[1])
    return Enclosure(min(lo, hi), hi, "deterministic", 0.0, None, "projections and Renyi divergences below, convexity over components above")


def _table(f, first, second, end="hi"):
    """(K, L) upper or lower ends of f(a, b) over pairs of components."""
    if len(first) * len(second) > PAIRS:
        raise NoMethod(
            f"kullback_leibler: got {len(first)} x {len(second)} components, allowed are {PAIRS} pairs; pass n and seed for an estimate by sampling, "
            "or compare projections onto an axis"
        )
    return np.array([[getattr(f(a, b), end) for b in second] for a in first])


def _kullback_leibler_on_the_line(a, b):
    a, b = plain(a), plain(b)
    if isinstance(a, Gaussian) and isinstance(b, Gaussian):
        return closed.kullback_leibler(a, b)
    if isinstance(a, Empirical) or isinstance(b, Empirical):
        return discrete.kullback_leibler(a, b)
    return quadrature.kullback_leibler(Pair(view(a), view(b)))


def _log_sum(w, v, kl, turns=2000):
    """The variational upper bound: phi and psi improve each other; every turn is a bound, and the last is the smallest."""
    like = np.exp(-np.minimum(kl - kl.min(axis=1, keepdims=True), 700.0))
    psi = np.outer(np.ones(len(w)) / len(w), v)
    value = math.inf
    for _ in range(turns):
        phi = psi * like
        phi *= (w / phi.sum(axis=1))[:, None]
        used = phi.sum(axis=0)  # psi = phi v / used, so phi / psi needs no division
        psi = np.where(used > 0, phi * (v / np.maximum(used, 1e-300)), v / len(w))
        terms = phi * (np.log(np.maximum(used, 1e-300) / v) + kl)
        old, value = value, float(terms.sum())
        if old - value <= 1e-13 * max(value, 1e-300):
            break
    return max(value, 0.0) + 1e-14 * float(np.abs(terms).sum() + 1)


def _pairwise(w, v, kl, first, second):
    """(lo, hi) of the pairwise bounds."""
    same = _table(closed.kullback_leibler, first, first)
    overlap = 1.0 - _table(closed.hellinger, first, first, "lo") ** 2
    most, least = -w @ _log_mean(-same, w), -w @ np.log(overlap @ w)
    above = w @ -_log_mean(-kl, v)
    rows = np.zeros(len(w))
    for order in ORDERS:
        away = _table(partial(renyi_orders.gaussians, order), first, second, "lo")
        rows = np.maximum(rows, _log_mean((order - 1) * away, v ** (1 - order)) / (order - 1))
    rounding = 1e-14 * (1 + float(above) + float(most))
    return max(float(w @ rows - most) - rounding, 0.0), max(float(above - least), 0.0) + rounding


def _log_mean(x, weights):
    """log of the sum of weights_j e^{x_ij} over j."""
    top = x.max(axis=1)
    return top + np.log(np.exp(x - top[:, None]) @ weights)
