r"""A weighted cloud of points, each carrying the same Gaussian: q(x) = \sum_j w_j N(x; a_j, R). What a chain's law is after a noisy step.

Every sum runs over the points that can matter at x and no others: a window of half-width B \sqrt R is summed, and it is widened until all
that lies outside is below 1e-17 of the sum. All terms are positive, so densities and tail probabilities are relatively accurate.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit

from .._arrays import frozen, stream
from ._resolve import smooth_panels
from .mixture import draw_labels

__all__ = ["FLAGS", "Cloud", "fast_exp"]

FLAGS = {"contract", "reassoc", "nsz", "arcp"}  # never "fast": that deletes the guards against NaN
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
WINDOW = 12.0
NEGLIGIBLE = 39.0  # -log of 1e-17


def exp_py(z):
    """e^z for z <= 700 to one ulp, without branches or calls so that loops over it vectorise; e^-700 below that."""
    z = max(z, -700.0)
    k = np.rint(z * 1.4426950408889634)
    r = (z - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    p = 1 / 6227020800.0
    p = p * r + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p * np.int64((np.int64(k) + 1023) << 52).view(np.float64)


fast_exp = njit(exp_py, error_model="numpy", fastmath={"contract"}, inline="always")


def tail_py(z):
    r"""\frac12 erfc(z) = P(N(0, 1/2) > z) for 0 <= z, relative accuracy 1e-14 (to z = 26): e^{-z^2} t p(2t - 1), t = 3/(3 + z), p a fit."""
    t = 3 / (3 + z)
    u = 2 * t - 1
    p = ((6.960826676918732e-10 * u - 6.887764564851836e-10) * u - 6.7466166592885155e-09) * u + 8.819261127493028e-09
    p = ((p * u + 3.664236808113754e-08) * u - 6.969137492166344e-08) * u - 1.6465031872909234e-07
    p = ((p * u + 4.625957722124128e-07) * u + 7.90667050691161e-07) * u - 2.91288955670152e-06
    p = ((p * u - 5.066145023147302e-06) * u + 1.7927404739404595e-05) * u + 4.61296321678228e-05
    p = ((p * u - 9.138508325770763e-05) * u - 0.0005056770091283558) * u - 0.00020206941602184296
    p = ((p * u + 0.004471205772864542) * u + 0.01992129354606908) * u + 0.05174454364992089
    p = ((p * u + 0.09837139285073528) * u + 0.1472324088616524) * u + 0.17900115118139018
    return fast_exp(-z * z) * t * p


fast_tail = njit(tail_py, error_model="numpy", fastmath={"contract"}, inline="always")


def bounds_py(a, x, reach):
    """The range of points within ``reach`` of x, at least one point."""
    lo = np.searchsorted(a, x - reach)
    hi = np.searchsorted(a, x + reach)
    if lo == hi:  # the nearest one
        lo = max(lo - 1, 0)
        if lo + 1 < a.size and a[lo + 1] - x < x - a[lo]:
            lo += 1
        hi = lo + 1
    return lo, hi


bounds = njit(bounds_py, error_model="numpy", fastmath=FLAGS)


def moments_py(x, a, w, log_w, var, level, log_sum, first, second):
    """log S_0, S_1/S_0 and S_2/S_0 - (S_1/S_0)^2 with S_k = sum_j w_j (a_j - x)^k exp(-(a_j - x)^2 / 2R); S_k up to k = ``level``."""
    c, root = -0.5 / var, math.sqrt(var)
    for i in range(x.size):
        xi = x[i]
        if abs(xi) == math.inf:
            log_sum[i], first[i], second[i] = -math.inf, -xi, 0.0
            continue
        lo, hi = bounds(a, xi, WINDOW * root)
        s0, s1, s2 = 0.0, 0.0, 0.0
        if level == 0:
            for j in range(lo, hi):
                d = a[j] - xi
                s0 += w[j] * fast_exp(c * d * d)
        else:
            for j in range(lo, hi):
                d = a[j] - xi
                e = w[j] * fast_exp(c * d * d)
                s0 += e
                s1 += e * d
                s2 += e * d * d
        log_s = math.log(s0)
        if 0.5 * WINDOW * WINDOW + log_s < NEGLIGIBLE:  # what the window leaves out may matter here: widen it, on a log scale
            for _ in range(2):
                top = -1e300
                for j in range(lo, hi):
                    d = a[j] - xi
                    top = max(top, log_w[j] + c * d * d)
                lo, hi = bounds(a, xi, math.sqrt(2 * (NEGLIGIBLE - top)) * root)
            top = -1e300
            for j in range(lo, hi):
                d = a[j] - xi
                top = max(top, log_w[j] + c * d * d)
            s0, s1, s2 = 0.0, 0.0, 0.0
            for j in range(lo, hi):
                d = a[j] - xi
                e = fast_exp(min(log_w[j] + c * d * d - top, 0.0))  # far out its rounding, alone, may exceed any exponent
                s0 += e
                s1 += e * d
                s2 += e * d * d
            log_s = top + math.log(s0) if top > -1e300 else -math.inf
        log_sum[i] = log_s
        if level > 0:
            first[i] = s1 / s0
            second[i] = s2 / s0 - (s1 / s0) ** 2


moments = njit(moments_py, error_model="numpy", fastmath=FLAGS, cache=True)


def tails_py(x, a, w, below, above, var):
    r"""(P(X <= x), P(X > x)), each with relative accuracy. below[j] = sum of w before j, above[j] = sum of w from j on."""
    root = math.sqrt(var)
    scale = 1 / math.sqrt(2 * var)
    left = np.searchsorted(a, x - 8.5 * root)
    right = np.searchsorted(a, x + 8.5 * root)
    lower, upper = below[left], above[right]
    for j in range(left, right):
        z = (a[j] - x) * scale
        t = fast_tail(abs(z))
        far, near = w[j] * t, w[j] * (1 - t)
        lower += far if z > 0 else near
        upper += near if z > 0 else far
    if lower < 0.1 and right < a.size:
        nearest = fast_tail(min((a[right] - x) * scale, 26.0)) * w[right]
        reach = math.sqrt(2 * (NEGLIGIBLE - math.log(max(lower, nearest, 1e-300)))) * root
        for j in range(right, np.searchsorted(a, x + reach)):
            lower += w[j] * fast_tail((a[j] - x) * scale)
    if upper < 0.1 and left > 0:
        nearest = fast_tail(min((x - a[left - 1]) * scale, 26.0)) * w[left - 1]
        reach = math.sqrt(2 * (NEGLIGIBLE - math.log(max(upper, nearest, 1e-300)))) * root
        for j in range(np.searchsorted(a, x - reach), left):
            upper += w[j] * fast_tail((x - a[j]) * scale)
    return lower, upper


tails = njit(tails_py, error_model="numpy", fastmath=FLAGS, cache=True)


def both_tails_py(x, a, w, below, above, var, lower, upper):
    """``tails`` at each x."""
    for i in range(x.size):
        lower[i], upper[i] = tails(x[i], a, w, below, above, var)


both_tails = njit(both_tails_py, error_model="numpy", fastmath=FLAGS, cache=True)


def density_py(x, a, w, var):
    """q(x) near the bulk: what Newton's method needs; zero is allowed."""
    c, root = -0.5 / var, math.sqrt(var)
    s0 = 0.0
    for j in range(np.searchsorted(a, x - WINDOW * root), np.searchsorted(a, x + WINDOW * root)):
        d = a[j] - x
        s0 += w[j] * fast_exp(c * d * d)
    return s0 / (root * 2.5066282746310002)


density = njit(density_py, error_model="numpy", fastmath=FLAGS, cache=True)


def quantiles_py(u, upper_tail, a, w, below, above, var, out):
    """x with P(X <= x) = u, or P(X > x) = u: Newton on the logarithm of the smaller tail, in a bracket that every evaluation narrows."""
    root = math.sqrt(var)
    for i in range(u.size):
        ui, vi = u[i], 1 - u[i]
        if upper_tail:
            ui, vi = vi, ui
        if not 0.0 < u[i] < 1.0:
            out[i] = -math.inf if ui == 0.0 else (math.inf if ui == 1.0 else math.nan)
            continue
        lo, hi = a[0] - 39 * root, a[-1] + 39 * root
        k = min(np.searchsorted(below, ui), a.size) - 1
        x = a[max(k, 0)]
        for _ in range(200):
            lower, upper = tails(x, a, w, below, above, var)
            small = ui <= vi
            miss = math.log(lower / ui) if small else -math.log(upper / vi)  # increasing in x, zero at the answer
            q = density(x, a, w, var)
            step = -miss * (lower if small else upper) / q if q > 0 else math.inf
            if abs(step) <= 1e-8 * root + 4e-16 * abs(x):  # quadratic: the next error is below rounding
                x += step
                break
            if miss > 0:
                hi = x
            else:
                lo = x
            x = x + step if lo < x + step < hi else 0.5 * (lo + hi)
        out[i] = x


quantiles = njit(quantiles_py, error_model="numpy", fastmath=FLAGS, cache=True)


@dataclass(frozen=True, eq=False)
class Cloud:
    r"""q(x) = \sum_j w_j N(x; a_j, R), on flat float64 arrays x (n,). nodes sorted, weights > 0 with sum 1, var = R > 0."""

    nodes: np.ndarray
    weights: np.ndarray
    var: float

    @classmethod
    def of(cls, nodes, weights, var):
        """The cloud of points in any order; weights are scaled to sum 1, those that are zero dropped."""
        keep = weights > 0
        if not keep.all():
            nodes, weights = nodes[keep], weights[keep]
        if (nodes[1:] < nodes[:-1]).any():
            order = np.argsort(nodes, kind="stable")
            nodes, weights = nodes[order], weights[order]
        return cls(frozen(nodes), frozen(weights / weights.sum()), float(var))

    @cached_property
    def log_weights(self):
        return np.log(self.weights)

    @cached_property
    def below(self):
        """(n+1,): the weight of the points before each."""
        return np.concatenate([[0.0], np.cumsum(self.weights)])

    @cached_property
    def above(self):
        """(n+1,): the weight of each point and those after it."""
        return np.concatenate([np.cumsum(self.weights[::-1])[::-1], [0.0]])

    def moved(self, m, v):
        """The law of m X + sqrt(v) Z."""
        return Cloud.of(m * self.nodes, self.weights, m * m * self.var + v)

    def mean(self):
        return float(self.weights @ self.nodes)

    def variance(self):
        return float(self.weights @ (self.nodes - self.mean()) ** 2) + self.var

    def log_density(self, x):
        return self._moments(x, 0)[0]

    def local(self, x):
        """(log q, E[a - x | x], Var[a | x]): point j has posterior weight w_j N(x; a_j, R) / q(x)."""
        return self._moments(x, 2)

    def slopes(self, x):
        """(log q, (log q)', (log q)'')."""
        log_q, first, second = self._moments(x, 2)
        return log_q, first / self.var, (second / self.var - 1) / self.var

    def tails(self, x):
        """(P(X <= x), P(X > x))."""
        lower, upper = np.empty_like(x), np.empty_like(x)
        both_tails(x, self.nodes, self.weights, self.below, self.above, self.var, lower, upper)
        return lower, upper

    def quantile(self, u, upper_tail=False):
        """x with P(X <= x) = u, or with P(X > x) = u."""
        out = np.empty_like(u)
        quantiles(u, upper_tail, self.nodes, self.weights, self.below, self.above, self.var, out)
        return out

    def sample(self, n, seed):
        """n draws: a point by its weight, then its Gaussian; growing n keeps the first rows."""
        j = draw_labels(self.weights, n, seed)
        return self.nodes[j] + math.sqrt(self.var) * stream(seed, "sample: normals").standard_normal(len(j))

    @cached_property
    def panels(self):
        """Edges between which log q is smooth; the mass outside is below 1e-32."""
        first = np.searchsorted(self.below, 1e-33) - 1
        last = len(self.above) - np.searchsorted(self.above[::-1], 1e-33)
        reach = 12.0 * math.sqrt(self.var)
        ends = self.nodes[max(first, 0)] - reach, self.nodes[min(last, len(self.nodes) - 1)] + reach
        return smooth_panels(self.log_density, np.linspace(*ends, 17))

    def _moments(self, x, level):
        log_sum = np.empty_like(x)
        first, second = np.empty_like(x), np.empty_like(x)
        moments(x, self.nodes, self.weights, self.log_weights, self.var, level, log_sum, first, second)
        log_sum -= HALF_LOG_2PI + 0.5 * math.log(self.var)
        return log_sum, first, second
