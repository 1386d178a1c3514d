r"""Scores: any callable s(t, x) -> shape of x, with t the forward noise time (a float, or (n,) one per row).

Optional attributes that engines and theorems read when they are there: ``dim``, ``law`` (the target), ``error_bound`` (sup over t, x of
|s - \nabla \log p_t|), ``jacobian(t, x)``, ``affine(t)``. x0 / epsilon / v predictions convert to and from scores by Tweedie's identity.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ._arrays import as_law, as_points, finite, frozen, like, namespace, positive_int, seed_words
from .divergence.panels import EPS, integrate
from .divergence.view import view
from .enclosure import Enclosure
from .errors import NoMethod
from .kernel import Kernel, ornstein_uhlenbeck
from .laws import Gaussian

__all__ = ["Exact", "Perturbed", "exact", "from_epsilon", "from_v", "from_x0", "l2_error", "perturbed", "sine", "to_epsilon", "to_v", "to_x0"]


@dataclass(frozen=True)
class Exact:
    r"""s(t, x) = \nabla \log p_t(x), p_t the law of ``law`` noised by forward(t). Build it with :func:`exact`."""

    law: Any
    forward: Callable[[float], Kernel] = ornstein_uhlenbeck

    error_bound = 0.0

    @property
    def dim(self):
        return self.law.dim

    def at(self, t):
        """The noised law p_t; t a float."""
        return self.law.noised(self.forward(t))

    def __call__(self, t, x):
        return _each_time(t, x, lambda u, y: self.at(u).score(y))

    def jacobian(self, t, x):
        r"""\nabla^2 \log p_t(x), shape (..., d, d)."""
        return _each_time(t, x, lambda u, y: self.at(u).score_jacobian(y))

    def affine(self, t):
        """(p_t, shift) if the score is that of a Gaussian p_t plus a constant shift (d,), else None."""
        return (self.at(t), np.zeros(self.dim)) if isinstance(self.law, Gaussian) else None


@dataclass(frozen=True)
class Perturbed:
    r"""s(t, x) + M u(t, x), with |u| <= 1 everywhere. Build it with :func:`perturbed`."""

    score: Any
    M: float
    direction: Any

    @cached_property
    def shift(self):
        """The constant vector M u (d,), or None if the direction is a field."""
        return None if callable(self.direction) else frozen(self.M * np.asarray(self.direction))

    @property
    def dim(self):
        return self.score.dim

    @property
    def law(self):
        return getattr(self.score, "law", None)

    @property
    def error_bound(self):
        bound = getattr(self.score, "error_bound", None)
        return None if bound is None else bound + abs(self.M)

    def __call__(self, t, x):
        s = self.score(t, x)
        if self.shift is not None:
            return s + like(self.shift, s)
        return s + self.M * self.direction(t, x)

    @property
    def jacobian(self):
        """The score's own Jacobian if the direction is constant; a field's is unknown, so there is none."""
        if self.shift is None:
            raise AttributeError("jacobian: the direction is a field whose derivative is not known")
        return self.score.jacobian

    def affine(self, t):
        inner = getattr(self.score, "affine", lambda t: None)(t)
        return None if inner is None or self.shift is None else (inner[0], inner[1] + self.shift)


@dataclass(frozen=True)
class Sine:
    r"""The smooth field u(t, x) = \sin(\langle\omega, x\rangle + \phi) e, of sup norm 1. Build it with :func:`sine`."""

    omega: Any
    along: Any
    phase: float

    def __call__(self, t, x):
        xp = namespace(x)
        return xp.sin((x * like(self.omega, x)).sum(axis=-1) + self.phase)[..., None] * like(self.along, x)


def exact(law, forward=ornstein_uhlenbeck):
    r"""s(t, x) = \nabla \log p_t(x),  p_t = law of m X + \sqrt v Z with (m, v) = forward(t).

    law : a Law with ``noised`` and ``score``; forward : t -> Kernel, the clock (default Ornstein–Uhlenbeck).
    Raises TypeError if ``law`` cannot be noised, or if ``forward`` is a Kernel instead of a function of t.
    """
    as_law("law", law)
    if isinstance(forward, Kernel) or not callable(forward):
        raise TypeError(f"forward: got {type(forward).__name__}, allowed is a function t -> Kernel, such as ornstein_uhlenbeck itself")
    return Exact(law, forward)


def perturbed(score, M, direction=None):
    r"""s(t, x) + M u(t, x): a score whose sup-norm error is exactly M.

    score : callable with .dim; M : float; direction : None (the first axis), (d,) (normalised), or a field u(t, x) with sup norm 1,
    vouched by you; :func:`sine` makes smooth ones. Raises ValueError for a zero direction or a wrong shape.
    """
    M = float(finite("M", M))
    dim = _dim_of(score)
    if callable(direction):
        return Perturbed(score, M, direction)
    u = np.eye(1, dim)[0] if direction is None else finite("direction", direction)
    if u.shape != (dim,) or not (norm := float(np.linalg.norm(u))) > 0:
        raise ValueError(f"direction: got {u!r:.80} of shape {u.shape}, allowed is a nonzero vector ({dim},), None, or a field u(t, x)")
    return Perturbed(score, M, tuple((u / norm).tolist()))


def sine(omega, *, along=None, phase=0.0):
    r"""The field u(t, x) = \sin(\langle\omega, x\rangle + \phi) e with |e| = 1: smooth, of sup norm 1.

    omega : (d,) or a number for d = 1; along : (d,), normalised (default the first axis); phase : \phi.
    """
    omega = np.atleast_1d(finite("omega", omega))
    e = np.eye(1, len(omega))[0] if along is None else finite("along", along)
    if e.shape != omega.shape or not np.linalg.norm(e) > 0:
        raise ValueError(f"along: got shape {e.shape}, allowed is a nonzero vector {omega.shape}")
    return Sine(tuple(omega.tolist()), tuple((e / np.linalg.norm(e)).tolist()), float(finite("phase", phase)))


def from_x0(f, forward=ornstein_uhlenbeck, *, dim=None):
    r"""s = (m \hat x_0 - x) / v, from a denoiser f(t, x) = E[X_0 | X_t = x]. Tweedie: Efron 2011, https://doi.org/10.1198/jasa.2011.tm11181"""
    return _Converted(f, forward, lambda x, g, m, v: (m * g - x) / v, _maybe_dim(f, dim))


def from_epsilon(f, forward=ornstein_uhlenbeck, *, dim=None):
    r"""s = -\hat\varepsilon / \sqrt v, from a noise prediction f(t, x)."""
    return _Converted(f, forward, lambda x, g, m, v: -g / v**0.5, _maybe_dim(f, dim))


def from_v(f, forward=ornstein_uhlenbeck, *, dim=None):
    r"""v-prediction, v = m \hat\varepsilon - \sigma \hat x_0: \hat\varepsilon = (\sigma x + m v)/(m^2 + \sigma^2), s = -\hat\varepsilon/\sigma.
    Source: Salimans & Ho 2022, https://arxiv.org/abs/2202.00512"""
    return _Converted(f, forward, lambda x, g, m, v: -(v**0.5 * x + m * g) / ((m * m + v) * v**0.5), _maybe_dim(f, dim))


def to_x0(score, forward=None):
    r"""\hat x_0 = (x + v s) / m. ``forward`` defaults to the score's own clock."""
    return _Converted(score, _clock(score, forward), lambda x, s, m, v: (x + v * s) / m, _maybe_dim(score, None))


def to_epsilon(score, forward=None):
    r"""\hat\varepsilon = -\sqrt v\, s."""
    return _Converted(score, _clock(score, forward), lambda x, s, m, v: -(v**0.5) * s, _maybe_dim(score, None))


def to_v(score, forward=None):
    r"""v = m \hat\varepsilon - \sqrt v\, \hat x_0."""
    return _Converted(score, _clock(score, forward), lambda x, s, m, v: -m * v**0.5 * s - v**0.5 * (x + v * s) / m, _maybe_dim(score, None))


@dataclass(frozen=True)
class _Converted:
    f: Callable
    forward: Callable
    formula: Callable
    dim: int | None

    def __call__(self, t, x):
        k = self.forward(t)
        m, v = (value if np.ndim(value) == 0 else like(value, x)[..., None] for value in (k.m, k.v))
        return self.formula(x, self.f(t, x), m, v)


def l2_error(score, law, times, *, n=None, seed=None, alpha=1e-6):
    r"""\max_{t \in times} ( E_{p_t} |s(t, X) - \nabla \log p_t(X)|^2 )^{1/2}.

    On the line by adaptive quadrature under p_t (deterministic). With ``n`` draws per time and a seed, in any d, by Monte Carlo: the
    summand is unbounded, so the level is only asymptotic (central limit, alpha split over the times).
    """
    times = np.atleast_1d(finite("times", times))
    reference = exact(law)
    if law.dim == 1 and n is None:
        return _worst([_square_error(score, reference.at(float(t)), float(t)) for t in times]).sqrt()
    if n is None:
        raise NoMethod(f"l2_error: no quadrature in dimension {law.dim}; pass n= draws and seed= for a Monte Carlo interval (level asymptotic)")
    n, parts = positive_int("n", n, least=2), []
    quantile = math.sqrt(2 * math.log(2 * len(times) / alpha))  # at least the normal quantile
    for k, t in enumerate(map(float, times)):
        p = reference.at(t)
        x = p.sample(n, np.random.SeedSequence(seed_words(seed, f"l2_error at time {k}")))
        e = ((np.asarray(score(t, x)) - p.score(x)) ** 2).sum(axis=-1)
        half = quantile * float(e.std(ddof=1)) / math.sqrt(n)
        parts.append(Enclosure.near(e.mean(), half, level="asymptotic", alpha=alpha / len(times), method=f"{n} draws, central limit").cut(0.0))
    return _worst(parts).sqrt()


def _worst(parts):
    worst = parts[0]
    for part in parts[1:]:
        worst = worst.maximum(part)
    return worst


def _square_error(score, p, t):
    """E_p |s(t, X) - grad log p(X)|^2 on the line, by adaptive quadrature over the panels of p."""

    def f(x, _):
        points = x[..., None]
        exact, got = p.score(points)[..., 0], np.asarray(score(t, points.reshape(-1, 1))).reshape(x.shape)
        density = np.exp(p.logpdf(points))
        return np.stack([density * (got - exact) ** 2, density * np.abs(got - exact) * (np.abs(got) + np.abs(exact))])

    edges = view(p).edges
    found = integrate(f, edges[:-1], edges[1:])
    (value, error), (size, _) = found.total(), found.total(1)
    return Enclosure.near(value, error + 8 * EPS * size, method="quadrature").cut(0.0)


def _each_time(t, x, f):
    """f(t, x) for a float t; for t (n,) one call per distinct time, on the rows that have it."""
    if np.ndim(t) == 0:
        return f(float(t), x)
    x = as_points(x, x.shape[-1])
    t = np.asarray(t, dtype=np.float64)
    if x.ndim != 2 or t.shape != (x.shape[0],):
        raise ValueError(f"t: got shape {t.shape} with x of shape {tuple(x.shape)}, allowed is a number or one time per row of x (n, d)")
    out = None
    for u in np.unique(t):
        rows = np.flatnonzero(t == u)
        part = f(float(u), x[rows])
        if out is None:
            out = namespace(x).empty((x.shape[0], *part.shape[1:]), dtype=part.dtype)
        out[rows] = part
    return out


def _dim_of(score):
    dim = _maybe_dim(score, None)
    if dim is None:
        raise ValueError("score: got a bare callable without .dim, allowed is a score that knows its dimension; give the function an attribute dim")
    return dim


def _maybe_dim(f, dim):
    return dim if dim is not None else getattr(f, "dim", None)


def _clock(score, forward):
    return forward if forward is not None else getattr(score, "forward", ornstein_uhlenbeck)
