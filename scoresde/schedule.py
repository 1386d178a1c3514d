r"""The step schedule with the least path Kullback–Leibler divergence, by dynamic programming.

With x = \frac12 e^{-2t} and g(x) = e^{2t} I_t, nondecreasing in x, ancestral sampling (variance "beta", exact score) has

    KL_path = KL(p_\delta|\gamma) - \sum_k \tfrac12 (e^{2 h_k} - 1) I_{t_k} = KL(p_\delta|\gamma) - \sum_k (x_{k+1} - x_k) g(x_k),

a left Riemann sum of g, which the best grid makes as large as possible.
"""

import math

import numpy as np

from ._arrays import finite, frozen, positive_int
from .information import ledger

__all__ = ["optimal"]

SAMPLES = 96  # of g, between which it is interpolated


def optimal(target, T, steps, *, stop=0.0):
    r"""The grid T = t_0 > ... > t_N = stop with the least path KL of ancestral sampling (variance "beta"), a bound on KL(p_{stop} | chain).

    target : a Gaussian in any d, a law on the line, or a product of those; with ``stop`` = 0 its relative Fisher information must be
    finite. Global optimum over many candidate times by dynamic programming, then Newton's method. A target N(0, I), to which every grid is
    the same, gets the uniform one. Raises ValueError for T, stop or steps out of range or an infinite I_{stop}; NoMethod for other targets.
    Prior art: Watson et al. 2021, https://arxiv.org/abs/2106.03802
    """
    T, stop, steps = float(finite("T", T)), float(finite("stop", stop)), positive_int("steps", steps)
    if not 0 <= stop < T:
        raise ValueError(f"T, stop: got T={T}, stop={stop}, allowed is 0 <= stop < T")
    clock = _clock(T, stop)
    u = np.linspace(0.0, 1.0, SAMPLES + 1)
    times = clock(u)[0]
    times[0], times[-1] = T, stop
    information = ledger(target, times).relative_fisher
    if not np.isfinite(information).all():
        raise ValueError(f"stop: got {stop}, where the target's relative Fisher information is infinite; allowed is stop > 0, say 1e-3")
    g = _Spline(np.exp(2 * times) * information)
    if information.max() <= 1e-12:
        return frozen(np.linspace(T, stop, steps + 1))
    u = np.linspace(0.0, 1.0, max(512, 8 * steps) + 1)
    chosen = u[_programme(0.5 * np.exp(-2 * clock(u)[0]), g(u)[0], steps)]
    best = clock(_polished(chosen, clock, g))[0]
    best[0], best[-1] = T, stop
    return frozen(best)


def _clock(T, stop):
    r"""u -> (t, t', t''), t(u) = stop + (T - stop)(e^{a(1-u)} - 1)/(e^a - 1): from T at 0 to ``stop`` at 1, fine where the law changes fast."""
    a = 7.0 if stop == 0 else min(max(math.log(T / stop), 2.0), 16.0)
    scale = (T - stop) / math.expm1(a)

    def clock(u):
        grown = scale * np.exp(a * (1 - u))
        return stop + scale * np.expm1(a * (1 - u)), -a * grown, a * a * grown

    return clock


class _Spline:
    """u in [0, 1] -> (f, f', f'') of the cubic spline through values at equal distances."""

    def __init__(self, values):
        from scipy.interpolate import CubicSpline

        spline = CubicSpline(np.linspace(0.0, 1.0, len(values)), values)
        self._parts = spline, spline.derivative(), spline.derivative(2)

    def __call__(self, u):
        return tuple(part(u) for part in self._parts)


def _programme(x, g, steps):
    r"""The indices 0 = i_0 < ... < i_N = len(x) - 1 that maximise \sum (x_{i_{k+1}} - x_{i_k}) g_{i_k}."""
    last = len(x) - 1
    gain = (x[None, :] - x[:, None]) * g[:, None]
    gain[np.tril_indices(last + 1)] = -np.inf
    value, came = gain[0], []
    for _ in range(steps - 1):
        reached = value[:, None] + gain
        came.append(np.argmax(reached, axis=0))
        value = np.take_along_axis(reached, came[-1][None], axis=0)[0]
    path = [last]
    for before in reversed(came):
        path.append(int(before[path[-1]]))
    return np.array([0, *reversed(path)])


def _polished(u, clock, g):
    """Newton's method for the inner points; a step that leaves the order, or does not raise the sum, ends it."""
    value, gradient, hessian = _sum(u, clock, g)
    for _ in range(20):
        if len(u) == 2:
            break
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        moved = u.copy()
        moved[1:-1] -= step
        if (np.diff(moved) <= 0).any():
            break
        better = _sum(moved, clock, g)
        if not better[0] > value:
            break
        u, (value, gradient, hessian) = moved, better
    return u


def _sum(u, clock, g):
    r"""\sum (x_{k+1} - x_k) g_k, its gradient and Hessian in the inner points, x = \frac12 e^{-2t(u)}."""
    t, t1, t2 = clock(u)
    x = 0.5 * np.exp(-2 * t)
    x1, x2 = -2 * t1 * x, (4 * t1 * t1 - 2 * t2) * x
    g0, g1, g2 = g(u)
    rise, inner = np.diff(x), slice(1, -1)
    jump = g0[:-2] - g0[inner]
    gradient = x1[inner] * jump + rise[1:] * g1[inner]
    diagonal = x2[inner] * jump - 2 * x1[inner] * g1[inner] + rise[1:] * g2[inner]
    beside = (x1[1:] * g1[:-1])[1:-1]
    return float(rise @ g0[:-1]), gradient, np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
