r"""W_1 and W_2 from samples.

On the line the optimal coupling matches quantiles, so a sort is all; in d > 1 an assignment problem is solved (POT, extra ``ot``).

What samples can say about the laws: W(\hat P, \hat Q) is biased upward by W(\hat P, P) + W(\hat Q, Q) at most (triangle inequality), of order
n^{-1/d}, so the plug-in value is level heuristic; its noise floor, the distance between halves of either sample, is at least as large in the
mean (W is convex in each law). A confidence band of the distribution functions gives a lower bound at every sample size, and an upper
one if the support is bounded; nothing else bounds W above, as a small mass may be arbitrarily far away.
"""

import math

import numpy as np

from ..enclosure import Enclosure
from ..errors import NoMethod, NotTrusted
from ..laws import Empirical
from . import discrete
from .concentration import dkw
from .rows import halves, is_sample, rows, same_dimension, two_samples

__all__ = ["merged", "sorted_cost", "wasserstein"]

LARGEST = 25_000_000  # entries of a cost matrix: 200 MB, and five times that inside the solver
CELLS = 2048  # of the unit interval, where a law's quantiles bound its quantile function


def wasserstein(p, q, power, *, alpha=1e-6, level="heuristic", support=None):
    r"""W_r(P, Q) = (\inf E|X - Y|^r)^{1/r}, r = ``power`` in {1, 2}, from independent rows of P and of Q; on the line one may be a law.

    level "heuristic": the distance of the empirical laws \pm their noise floors. "finite-sample": with
    probability at least 1 - alpha at least lo (and at most hi if ``support`` = (a, b) holds both laws, on the line), from
    Dvoretzky–Kiefer–Wolfowitz bands of the quantile functions; in d > 1 from the coordinates.
    Memory: O(n) on the line; in d > 1 the n x m cost matrix, refused beyond 25e6 entries. Needs POT in d > 1 at level "heuristic".
    Raises NoMethod for a law in d > 1 and for matrices too large, ImportError without POT, ValueError for wrong shapes or equal arrays.
    """
    if level not in ("heuristic", "finite-sample"):
        raise ValueError(f"level: got {level!r}, allowed are 'heuristic', 'finite-sample'")
    p, q = _checked(p, q)
    if support is not None:
        _within(support, p, q)
    d = q.shape[1] if is_sample(q) else q.dim
    if level == "finite-sample":
        return _banded(p, q, power, alpha, support) if d == 1 else _by_coordinates(p, q, power, alpha)
    if d > 1 and not (is_sample(p) and is_sample(q)):
        raise NoMethod(f"wasserstein{power}: got a sample and a law in dimension {d}, allowed on the line only; draw law.sample(n, seed) instead")
    value = _plug_in(p, q, power)
    floors = [_plug_in(*(x[half] for half in halves(len(x))), power) if len(x) > 1 else math.inf for x in (p, q) if is_sample(x)]
    return _shown(value, sum(floors), f"distance of the samples, noise floor {sum(floors):.3g}")


def _shown(value, half, method):
    """value +- half, which may be infinite."""
    if math.isinf(half):
        return Enclosure(0.0, math.inf, "heuristic", 0.0, value, method)
    return Enclosure.near(value, half, "heuristic", method=method).cut(0.0)


def _checked(p, q):
    if is_sample(p) and is_sample(q):
        return two_samples(p, q)
    p, q = (rows(name, x) if is_sample(x) else x for name, x in (("p", p), ("q", q)))
    x, law = (p, q) if is_sample(p) else (q, p)
    if not is_sample(x):
        raise TypeError("wasserstein: got two laws, allowed is at least one sample (n, d)")
    same_dimension(x, law)
    return p, q


def _within(support, *given):
    a, b = (float(s) for s in support)
    for x in given:
        if is_sample(x) and (x.shape[1] != 1 or np.min(x) < a or np.max(x) > b):
            raise ValueError(f"support: got ({a}, {b}), allowed is an interval on the line that holds both samples: [{np.min(x)}, {np.max(x)}]")


# ---- the line -----------------------------------------------------------------------------------------------------------------------


def merged(n, m):
    """(i, j, w): quantile functions of n and of m points are their i-th and j-th smallest on pieces of length w of (0, 1)."""
    if n == m:
        return np.arange(n), np.arange(n), np.full(n, 1 / n)
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # in units of 1/(nm), exact
    start = np.append(0, ends[:-1])
    return start // m, start // n, (ends - start) / (n * m)


def sorted_cost(x, y, power, pieces=None):
    r"""\int_0^1 |F^{-1} - G^{-1}|^r du for sorted points x (..., n), y (..., m)."""
    i, j, w = merged(x.shape[-1], y.shape[-1]) if pieces is None else pieces
    gap = x - y if x.shape == y.shape else x[..., i] - y[..., j]
    return np.abs(gap) @ w if power == 1 else np.square(gap, out=gap) @ w


def _plug_in(p, q, power):
    """The distance of the empirical laws."""
    if is_sample(p) and is_sample(q):
        if p.shape[1] > 1:
            return _assigned(p, q, power)
        return float(sorted_cost(np.sort(p[:, 0]), np.sort(q[:, 0]), power)) ** (1 / power)
    a, b = (Empirical(x) if is_sample(x) else x for x in (p, q))
    return (discrete.wasserstein1 if power == 1 else discrete.wasserstein2)(a, b).value


def _banded(p, q, power, alpha, support):
    """Bounds from bands of both quantile functions; a law is known, so it has no band but the cells of a grid."""
    share = alpha / sum(map(is_sample, (p, q)))
    bands = [(np.sort(x[:, 0]), dkw(len(x), share)) if is_sample(x) else (x, 0.0) for x in (p, q)]
    cuts = [np.linspace(0.0, 1.0, CELLS + 1)] if not (is_sample(p) and is_sample(q)) else []
    for x, e in bands:
        if is_sample(x):
            steps = np.arange(len(x) + 1) / len(x)
            cuts += [steps - e, steps + e]
    u = np.unique(np.concatenate([[0.0, 1.0], *cuts]))
    u = u[(u >= 0) & (u <= 1)]
    (a, b), (c, d) = (_quantile_range(x, e, u, support) for x, e in bands)
    with np.errstate(over="ignore"):
        least, most = np.maximum(np.maximum(a - d, c - b), 0.0) ** power, np.maximum(b - c, d - a) ** power
    w = np.diff(u)
    lo, hi = (float(w @ cost) ** (1 / power) for cost in (least, most))
    value = min(max(_plug_in(p, q, power), lo), hi)
    rounding = 1e-12 * lo
    return Enclosure(max(lo - rounding, 0.0), hi, "finite-sample", alpha, value, "quantile functions within their DKW bands")


def _quantile_range(x, e, u, support):
    """(least, most) of the quantile function on the pieces between the sorted probabilities u."""
    low, high = (-math.inf, math.inf) if support is None else support
    if not is_sample(x):
        at = np.asarray(x.quantile(u), dtype=np.float64).reshape(-1)
        return at[:-1], at[1:]
    middle, n = 0.5 * (u[1:] + u[:-1]), len(x)
    below, above = np.floor((middle - e) * n).astype(int), np.floor((middle + e) * n).astype(int)
    return np.where(below >= 0, x[np.maximum(below, 0)], low), np.where(above < n, x[np.minimum(above, n - 1)], high)


# ---- more dimensions ------------------------------------------------------------------------------------------------------------------


def _by_coordinates(p, q, power, alpha):
    r"""W_1 >= \max_i W_1(coordinate i), W_2^2 >= \sum_i W_2(coordinate i)^2, each bounded at alpha/d."""
    d = q.shape[1] if is_sample(q) else q.dim
    if not (is_sample(p) and is_sample(q)):
        raise NoMethod(f"wasserstein{power}: got a sample and a law in dimension {d}, allowed on the line only; draw law.sample(n, seed) instead")
    lows = [_banded(p[:, [i]], q[:, [i]], power, alpha / d, None).lo for i in range(d)]
    lo = max(lows) if power == 1 else math.hypot(*lows)
    return Enclosure(lo, math.inf, "finite-sample", alpha, None, "DKW bands of every coordinate")


def _assigned(x, y, power):
    """The distance of two empirical laws by POT's network simplex."""
    if len(x) * len(y) > LARGEST:
        raise NoMethod(
            f"wasserstein{power}: got {len(x)} and {len(y)} rows, allowed are n m <= {LARGEST} (here {8e-9 * len(x) * len(y):.1f} GB for the costs "
            f"alone); take fewer rows, say p[:{math.isqrt(LARGEST)}], or sliced_wasserstein2, which needs no matrix"
        )
    try:
        import ot
    except ImportError:
        raise ImportError(f"wasserstein{power}: samples in dimension > 1 need POT, which is not installed; pip install 'scoresde[ot]'") from None
    from scipy.spatial.distance import cdist

    cost = cdist(x, y, "euclidean" if power == 1 else "sqeuclidean")
    weights = (np.full(len(z), 1 / len(z)) for z in (x, y))
    plan, log = ot.emd(*weights, cost, numItermax=10**8, log=True)
    if log["warning"] is not None:
        raise NotTrusted(f"wasserstein{power}: the network simplex stopped early ({log['warning']}); take fewer rows")
    return max(float(np.sum(plan * cost)), 0.0) ** (1 / power)
