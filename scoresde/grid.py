r"""Time grids T = t_0 > t_1 > \dots > t_N = stop, float64 (N+1,). t is forward noise time: small t is near the data.

A schedule is a grid: every variance-preserving schedule is Ornstein–Uhlenbeck at a changed clock. All grids take small steps near the
data (the end of the array), except the uniform one. Notes that write a step gamma mean h here.
"""

import math

import numpy as np

from ._arrays import finite, frozen, positive_int
from .schedule import optimal

__all__ = ["checked", "cosine", "geometric", "karras", "linear", "linear_beta", "log_snr", "optimal", "quadratic", "tanh", "uniform"]


def checked(grid, name="grid"):
    """``grid`` as a float64 array, refused unless it has >= 2 strictly decreasing times, the last >= 0."""
    times = finite(name, grid)
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"{name}: got shape {times.shape}, allowed is (N+1,) with N >= 1 steps")
    if (np.diff(times) >= 0).any():
        k = int(np.argmax(np.diff(times) >= 0))
        raise ValueError(f"{name}: got {times[k]} then {times[k + 1]} at index {k}, allowed are strictly decreasing times, from T to the data")
    if times[-1] < 0:
        raise ValueError(f"{name}: got last time {times[-1]}, allowed is >= 0")
    return times


def uniform(T, steps=None, *, h=None, stop=0.0):
    r"""t_k = T - k (T - stop) / N. Exactly one of ``steps`` = N and ``h``: the fewest equal steps <= h."""
    T, stop = _ends(T, stop)
    if (steps is None) == (h is None):
        raise ValueError(f"steps, h: got steps={steps}, h={h}, allowed is exactly one of them")
    if h is not None:
        h = float(finite("h", h))
        if h <= 0:
            raise ValueError(f"h: got {h}, allowed is a step > 0")
        steps = max(1, math.ceil((T - stop) / h * (1 - 4e-16)))  # (T - stop) / h that is whole but for rounding stays whole
    return _graded(T, steps, stop, lambda s: s)


def linear(T, steps, *, ratio=10.0, stop=0.0):
    r"""Steps in arithmetic progression, h_last = h_first / ratio at the data: t(s) with s = 1 at T. ratio >= 1; ratio = 1 is uniform."""
    T, stop = _ends(T, stop)
    ratio = float(finite("ratio", ratio))
    if ratio < 1:
        raise ValueError(f"ratio: got {ratio}, allowed is >= 1 (first step over last step): small steps near the data")
    steps = positive_int("steps", steps)
    h = np.linspace(1.0, ratio, steps)  # from the data outwards
    inner = np.cumsum(h) / np.sum(h)
    return _close(stop + (T - stop) * np.append(0.0, inner)[::-1], T, stop)


def quadratic(T, steps, *, stop=0.0):
    r"""t(s) = stop + (T - stop) s^2, s = 1 - k/N."""
    return _graded(T, steps, stop, lambda s: s * s)


def cosine(T, steps, *, stop=0.0):
    r"""t(s) = stop + (T - stop)(1 - \cos(\pi s / 2)): slope 0 at the data, fastest at T.  Idea: Nichol & Dhariwal 2021, https://arxiv.org/abs/2102.09672"""
    return _graded(T, steps, stop, lambda s: 1 - np.cos(0.5 * math.pi * s))


def tanh(T, steps, *, stop=0.0):
    r"""t(s) = stop + (T - stop)(1 + \tanh(3(s - 1)) / \tanh 3): small steps near the data, then growing."""
    return _graded(T, steps, stop, lambda s: 1 + np.tanh(3 * (s - 1)) / math.tanh(3))


def geometric(T, steps, *, stop):
    r"""t_k = T (stop / T)^{k/N}: constant ratio, so stop > 0."""
    T, stop = _ends(T, stop)
    if stop <= 0:
        raise ValueError(f"stop: got {stop}, allowed is stop > 0: a geometric grid never reaches 0; use stop=1e-3, say")
    s = np.arange(positive_int("steps", steps), -1, -1) / steps
    return _close(stop * (T / stop) ** s, T, stop)


def log_snr(T, steps, *, stop):
    r"""Uniform in \lambda = \log(m / \sqrt v) = -\frac12 \log(e^{2t} - 1), so stop > 0.  Source: Lu et al. 2022, https://arxiv.org/abs/2206.00927"""
    T, stop = _ends(T, stop)
    if stop <= 0:
        raise ValueError(f"stop: got {stop}, allowed is stop > 0: the log-SNR is infinite at 0; use stop=1e-3, say")
    first, last = (-t - 0.5 * math.log(-math.expm1(-2 * t)) for t in (T, stop))
    s = np.arange(positive_int("steps", steps) + 1) / steps
    return _close(0.5 * np.logaddexp(0.0, -2 * (first + s * (last - first))), T, stop)


def linear_beta(steps, *, beta=(1e-4, 0.02)):
    r"""DDPM's linear \beta_1..\beta_N as OU times: t_k = -\frac12 \sum_{j <= k} \log(1 - \beta_j), from T down to 0.

    beta : (first, last) with 0 < beta < 1; ``first`` acts next to the data. Source: Ho, Jain & Abbeel 2020, https://arxiv.org/abs/2006.11239
    """
    steps = positive_int("steps", steps)
    low, high = (float(finite("beta", b)) for b in beta)
    if not (0 < low < 1 and 0 < high < 1):
        raise ValueError(f"beta: got ({low}, {high}), allowed is 0 < beta < 1 at both ends")
    clock = np.append(0.0, np.cumsum(-0.5 * np.log1p(-np.linspace(low, high, steps))))
    return frozen(clock[::-1])


def karras(steps, *, sigma_min, sigma_max, rho=7.0):
    r"""\sigma_k = (\sigma_{max}^{1/\rho} + \frac kN (\sigma_{min}^{1/\rho} - \sigma_{max}^{1/\rho}))^\rho as OU times t = \frac12 \log(1 + \sigma^2).

    0 < sigma_min < sigma_max, the noise levels of the variance-exploding clock. Source: Karras et al. 2022, https://arxiv.org/abs/2206.00364
    """
    steps = positive_int("steps", steps)
    low, high, rho = (float(finite(k, v)) for k, v in (("sigma_min", sigma_min), ("sigma_max", sigma_max), ("rho", rho)))
    if not 0 < low < high:
        raise ValueError(f"sigma_min, sigma_max: got {low}, {high}, allowed is 0 < sigma_min < sigma_max")
    if rho <= 0:
        raise ValueError(f"rho: got {rho}, allowed is > 0 (7 is usual, 1 is uniform in sigma)")
    s = np.arange(steps + 1) / steps
    sigma = (high ** (1 / rho) + s * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return frozen(checked(0.5 * np.log1p(sigma * sigma)))


def _ends(T, stop):
    T, stop = float(finite("T", T)), float(finite("stop", stop))
    if not 0 <= stop < T:
        raise ValueError(f"T, stop: got T={T}, stop={stop}, allowed is 0 <= stop < T")
    return T, stop


def _graded(T, steps, stop, shape):
    """t(s) = stop + (T - stop) shape(s) at s = 1, 1 - 1/N, ..., 0 with shape(0) = 0, shape(1) = 1."""
    T, stop = _ends(T, stop)
    steps = positive_int("steps", steps)
    s = np.arange(steps, -1, -1) / steps
    return _close(stop + (T - stop) * shape(s), T, stop)


def _close(times, T, stop):
    times = np.array(times)
    times[0], times[-1] = T, stop  # the ends are meant exactly
    return frozen(checked(times))
