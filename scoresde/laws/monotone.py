"""A strictly monotone map of the line, held as Chebyshev series on adjoining panels and continued by straight lines."""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

__all__ = ["Monotone"]

FLAGS = {"contract", "reassoc", "nsz", "arcp"}


def series_py(c, t):
    """(f, f', f'' and the third derivative) at t in [-1, 1] of the Chebyshev series c."""
    f, g, h, e = 0.0, 0.0, 0.0, 0.0
    f1, g1, h1, e1 = 0.0, 0.0, 0.0, 0.0
    for k in range(c.size - 1, 0, -1):  # Clenshaw's recurrence, differentiated three times
        e, e1 = 6 * h + 2 * t * e - e1, e
        h, h1 = 4 * g + 2 * t * h - h1, h
        g, g1 = 2 * f + 2 * t * g - g1, g
        f, f1 = c[k] + 2 * t * f - f1, f
    return c[0] + t * f - f1, f + t * g - g1, 2 * g + t * h - h1, 3 * h + t * e - e1


series = njit(series_py, error_model="numpy", fastmath=FLAGS)


def value_py(c, t):
    """(f, f') at t in [-1, 1] of the Chebyshev series c."""
    f, g, f1, g1 = 0.0, 0.0, 0.0, 0.0
    for k in range(c.size - 1, 0, -1):
        g, g1 = 2 * f + 2 * t * g - g1, g
        f, f1 = c[k] + 2 * t * f - f1, f
    return c[0] + t * f - f1, f + t * g - g1


value = njit(value_py, error_model="numpy", fastmath=FLAGS)


def evaluate_py(x, edges, c, values, slopes, out):
    """out[0..3] = F and its first three derivatives at x."""
    last = edges.size - 1
    for i in range(x.size):
        if x[i] < edges[0] or x[i] > edges[last]:
            end = 0 if x[i] < edges[0] else last
            s = slopes[0] if end == 0 else slopes[1]
            out[0, i], out[1, i], out[2, i], out[3, i] = values[end] + s * (x[i] - edges[end]), s, 0.0, 0.0
        else:
            p = min(max(np.searchsorted(edges, x[i]) - 1, 0), last - 1)
            half = 0.5 * (edges[p + 1] - edges[p])
            f, g, h, e = series(c[p], (x[i] - edges[p]) / half - 1)
            out[0, i], out[1, i], out[2, i], out[3, i] = f, g / half, h / half**2, e / half**3


evaluate = njit(evaluate_py, error_model="numpy", fastmath=FLAGS, cache=True)


def invert_py(y, edges, c, values, slopes, out):
    """x with F(x) = y for increasing F: the panel by bisection, then Newton inside a bracket."""
    last = edges.size - 1
    for i in range(y.size):
        if not (values[0] < y[i] < values[last]):
            e = 0 if y[i] <= values[0] else last
            out[i] = edges[e] + (y[i] - values[e]) / (slopes[0] if e == 0 else slopes[1])
            continue
        p = min(max(np.searchsorted(values, y[i]) - 1, 0), last - 1)
        half = 0.5 * (edges[p + 1] - edges[p])
        lo, hi = -1.0, 1.0
        t = 2 * (y[i] - values[p]) / (values[p + 1] - values[p]) - 1
        for _ in range(60):
            f, g = value(c[p], t)
            if f > y[i]:
                hi = t
            else:
                lo = t
            step = (y[i] - f) / g if g > 0 else math.inf
            new = t + step
            if not lo <= new <= hi:
                new = 0.5 * (lo + hi)
            done = abs(new - t) <= 1e-9  # quadratic: the next error is its square
            t = new
            if done:
                break
        out[i] = edges[p] + half * (t + 1)


invert = njit(invert_py, error_model="numpy", fastmath=FLAGS, cache=True)


@dataclass(frozen=True, eq=False)
class Monotone:
    """y = sign * F(x), F increasing. edges (P+1,), coefficients (P, degree+1) of F, values (P+1,) = F(edges), slopes = F' at both ends."""

    edges: np.ndarray
    coefficients: np.ndarray
    values: np.ndarray
    slopes: np.ndarray
    sign: float = 1.0

    def at(self, x):
        """y and its first three derivatives at x (n,), shape (4, n)."""
        out = np.empty((4, len(x)))
        evaluate(x, self.edges, self.coefficients, self.values, self.slopes, out)
        return out if self.sign > 0 else -out

    def scaled(self, m):
        """x -> m y, for m != 0."""
        k = abs(m)
        return Monotone(self.edges, k * self.coefficients, k * self.values, k * self.slopes, math.copysign(self.sign, self.sign * m))

    def inverse(self, y):
        out = np.empty_like(y)
        invert(y if self.sign > 0 else -y, self.edges, self.coefficients, self.values, self.slopes, out)
        return out
