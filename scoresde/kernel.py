"""X -> m X + sqrt(v) Z with Z ~ N(0, I): the one forward process, and its clocks.

Kernels compose: ``later @ earlier`` is again a kernel, with m = m2 m1 and v = m2^2 v1 + v2. The Ornstein–Uhlenbeck flow, its
Euler–Maruyama chain, the DDPM / AR(1) chain and the variance-exploding process are all of this form.
"""

import math
from dataclasses import dataclass

import numpy as np

from ._arrays import as_points, equal_fields, finite, like, namespace, positive_int, stream

__all__ = [
    "Kernel", "autoregressive", "euler_maruyama", "euler_maruyama_marginals", "ornstein_uhlenbeck", "variance_exploding", "variance_preserving",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Kernel:
    r"""X \mapsto m X + \sqrt v\, Z,  Z \sim N(0, I).

    m, v : floats, or arrays (n,), one per row of x; v >= 0. ``log_m`` is log|m|, kept where m itself underflows.
    Raises ValueError for v < 0 or anything not finite.
    """

    m: float
    v: float
    log_m: float | None = None

    def __post_init__(self):
        m, v = finite("m", self.m), finite("v", self.v)
        if (v < 0).any():
            raise ValueError(f"v: got {v.min()}, allowed is a variance >= 0")
        if m.ndim > 1 or v.ndim > 1:
            raise ValueError(f"Kernel: got m of shape {m.shape} and v of shape {v.shape}, allowed are numbers or arrays (n,)")
        log_m = _log_abs(m) if self.log_m is None else np.asarray(self.log_m, dtype=np.float64)
        for name, value in (("m", m), ("v", v), ("log_m", log_m)):
            object.__setattr__(self, name, float(value) if value.ndim == 0 else value)

    def __matmul__(self, earlier):
        if not isinstance(earlier, Kernel):
            return NotImplemented
        return Kernel(self.m * earlier.m, self.m * self.m * earlier.v + self.v, self.log_m + earlier.log_m)

    __eq__ = equal_fields

    def __hash__(self):
        return hash((np.asarray(self.m).tobytes(), np.asarray(self.v).tobytes()))

    def sample(self, x0, seed):
        r"""m x_0 + \sqrt v\, Z, shape of ``x0`` (..., d). Growing the first axis keeps the first rows."""
        x0 = as_points(x0, np.shape(x0)[-1], "x0") if np.ndim(x0) else as_points(x0, 1, "x0")
        z = stream(seed, "kernel sample").standard_normal(tuple(x0.shape))
        m, v = _columns(self.m, x0), _columns(self.v, x0)
        return m * x0 + v**0.5 * like(z, x0)

    def logpdf(self, x, x0):
        r"""\log N(x; m x_0, v I), shape (...). Raises ValueError if v = 0: the kernel has no density."""
        r, v = self._residual(x, x0)
        d = r.shape[-1]
        xp = namespace(r)
        return -0.5 * ((r * r).sum(axis=-1) / v[..., 0] + d * xp.log(2 * math.pi * v[..., 0]))

    def score(self, x, x0):
        r"""\nabla_x \log N(x; m x_0, v I) = -(x - m x_0) / v, shape (..., d)."""
        r, v = self._residual(x, x0)
        return -r / v

    def _residual(self, x, x0):
        x = as_points(x, x.shape[-1] if np.ndim(x) else 1)
        x0 = as_points(x0, x.shape[-1], "x0")
        if np.min(self.v) <= 0:
            raise ValueError("v: got 0, allowed is v > 0 here: a kernel without noise has no density")
        return x - _columns(self.m, x) * x0, _columns(self.v, x)


def _log_abs(m):
    with np.errstate(divide="ignore"):
        return np.log(np.abs(m))


def _columns(value, x):
    """A number, or (n,) as a column that multiplies the rows of x."""
    value = like(value, x)
    return value.reshape(1) if value.ndim == 0 else value[..., None]


def ornstein_uhlenbeck(t):
    r"""e^{-t} X + \sqrt{1 - e^{-2t}}\, Z: the law at time t of dX = -X dt + \sqrt2 dB.

    t : float >= 0 or (n,), one per row. Source: Uhlenbeck & Ornstein 1930, https://doi.org/10.1103/PhysRev.36.823
    """
    if type(t) is float and 0.0 <= t < math.inf:  # the hot path of every engine
        return _unchecked(math.exp(-t), -math.expm1(-2.0 * t), -t)
    t = _times(t)
    return Kernel(np.exp(-t), -np.expm1(-2.0 * t), -t)


def _unchecked(m, v, log_m):
    kernel = object.__new__(Kernel)
    for name, value in (("m", m), ("v", v), ("log_m", log_m)):
        object.__setattr__(kernel, name, value)
    return kernel


def variance_exploding(sigma):
    r"""X + \sigma Z. The OU law rescaled: e^{t} X_t is variance exploding with \sigma^2 = e^{2t} - 1.

    sigma : float >= 0 or (n,). Source: Song & Ermon 2019, https://arxiv.org/abs/1907.05600
    """
    sigma = finite("sigma", sigma)
    if (sigma < 0).any():
        raise ValueError(f"sigma: got {sigma.min()}, allowed is a standard deviation >= 0")
    return Kernel(np.ones_like(sigma), sigma * sigma, np.zeros_like(sigma))


def variance_preserving(beta, t, *, nodes=64):
    r"""OU at the clock \tau(t) = \frac12 \int_0^t \beta(s) ds: the law at t of dX = -\frac12 \beta X dt + \sqrt\beta dB.

    beta : callable s (n,) -> (n,), nonnegative; t : float >= 0; nodes : Gauss–Legendre nodes of the integral (exact for polynomials
    of degree 2 nodes - 1). Source: Song et al. 2021, https://arxiv.org/abs/2011.13456
    """
    t = float(_times(t))
    u, w = np.polynomial.legendre.leggauss(positive_int("nodes", nodes))
    rate = finite("beta(s)", beta(0.5 * t * (1 + u)))
    if (rate < 0).any():
        raise ValueError(f"beta: got {rate.min()} on [0, {t}], allowed is a rate >= 0")
    return ornstein_uhlenbeck(float(0.25 * t * np.dot(w, rate)))


def euler_maruyama(steps, *, count=None):
    r"""The Euler–Maruyama chain of OU, X' = (1 - h) X + \sqrt{2h} Z, over all steps:

    m = \prod_j (1 - h_j),   v = \sum_j 2 h_j \prod_{i>j} (1 - h_i)^2;   equal steps: m = (1-h)^k, v = (1 - (1-h)^{2k}) / (1 - h/2).

    steps : float, or (k,) in the order taken, each 0 < h < 2 (outside, the chain explodes); count : int, that many equal steps (up to
    1e9 and more, in closed form). m < 0 is possible for h > 1. Raises ValueError outside these ranges.
    """
    h = finite("steps", steps)
    if (h <= 0).any() or (h >= 2).any():
        bad = h[(h <= 0) | (h >= 2)].flat[0]
        raise ValueError(f"steps: got {bad}, allowed is 0 < h < 2: at h >= 2 the chain explodes; take more, smaller steps")
    if count is not None:
        if h.ndim:
            raise ValueError(f"count: got {count} with {h.size} steps, allowed is count with one step h; drop one of them")
        k, h = positive_int("count", count, least=0), float(h)
        log_factor = _log_factor(h)
        log_m = k * log_factor if k else 0.0
        return Kernel((-1.0) ** (k % 2 if h > 1 else 0) * math.exp(log_m), 0.0 - math.expm1(2 * log_m) / (1 - h / 2), log_m)
    h = np.atleast_1d(h)
    if h.ndim > 1:
        raise ValueError(f"steps: got shape {h.shape}, allowed is a number or (k,)")
    log_factors = _log_factor(h)
    after = np.append(np.cumsum(log_factors[::-1])[::-1][1:], 0.0)  # log prod_{i>j} |1 - h_i|
    log_m = float(np.sum(log_factors))
    sign = -1.0 if np.count_nonzero(h > 1) % 2 else 1.0
    return Kernel(sign * math.exp(log_m), float(np.sum(2 * h * np.exp(2 * after))), log_m)


def _log_factor(h):
    """log|1 - h| without cancellation: 2 - h is exact for h in [1, 2]."""
    with np.errstate(divide="ignore"):
        value = np.log1p(-np.where(np.asarray(h) > 1, 2 - np.asarray(h), h))
    return float(value) if np.ndim(h) == 0 else value


def autoregressive(alphas):
    r"""X' = a X + \sqrt{1 - a^2} Z over all a: exactly OU at the clock -\sum \log|a|.  DDPM: a = \sqrt{1 - \beta}.

    alphas : float or (k,), each 0 < |a| <= 1 (a = 0 forgets everything; |a| > 1 has no stationary law).
    Source: Ho, Jain & Abbeel 2020, https://arxiv.org/abs/2006.11239
    """
    a = np.atleast_1d(finite("alphas", alphas))
    if (np.abs(a) > 1).any() or (a == 0).any():
        bad = a[(np.abs(a) > 1) | (a == 0)].flat[0]
        raise ValueError(f"alphas: got {bad}, allowed is 0 < |a| <= 1, since the noise has variance 1 - a^2")
    log_m = float(np.sum(np.log(np.abs(a))))
    sign = -1.0 if np.count_nonzero(a < 0) % 2 else 1.0
    return Kernel(sign * math.exp(log_m), -math.expm1(2 * log_m), log_m)


def euler_maruyama_marginals(grid):
    r"""The discrete chain's own clock: t \mapsto the Euler–Maruyama kernel from 0 to t, known at the grid's times only.

    grid : (N+1,) strictly decreasing, ending at 0 (the chain starts from the data). Use it as ``forward=`` of an exact score to get
    \nabla \log p_k of the discrete chain. The returned function raises ValueError between the grid's times.
    """
    times = finite("grid", grid)
    if times.ndim != 1 or len(times) < 2 or (np.diff(times) >= 0).any():
        raise ValueError("grid: allowed are strictly decreasing times (N+1,); build one with scoresde.grid")
    if times[-1] != 0:
        raise ValueError(f"grid: got last time {times[-1]}, allowed is 0: the discrete chain starts from the data; use stop=0")
    up = times[::-1]
    factors = np.append(0.0, np.cumsum(_log_factor(_checked_steps(np.diff(up)))))
    signs = np.append(1.0, np.cumprod(np.where(np.diff(up) > 1, -1.0, 1.0)))
    v = np.zeros(len(up))
    for k, h in enumerate(np.diff(up)):
        v[k + 1] = (1 - h) ** 2 * v[k] + 2 * h
    kernels = {float(t): Kernel(s * math.exp(f), w, f) for t, s, f, w in zip(up, signs, factors, v, strict=True)}

    def forward(t):
        if np.ndim(t):
            each = [forward(float(u)) for u in t]
            return Kernel(np.array([k.m for k in each]), np.array([k.v for k in each]), np.array([k.log_m for k in each]))
        if float(t) not in kernels:
            raise ValueError(f"t: got {float(t)!r}, allowed are the grid's {len(up)} times: the discrete chain has no law between them")
        return kernels[float(t)]

    return forward


def _checked_steps(h):
    if (h >= 2).any():
        raise ValueError(f"grid: got a step {h.max()}, allowed is h < 2: the chain explodes; take more steps")
    return h


def _times(t):
    t = finite("t", t)
    if (t < 0).any():
        raise ValueError(f"t: got {t.min()}, allowed is a forward noise time t >= 0")
    return t
