r"""The uniform law on a circle of the plane, and the same law noised: closed forms by Bessel functions, one class for both."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from .._arrays import finite, like, namespace, positive_int, stream
from ..errors import NoMethod
from . import _common as common
from ._common import coefficients, on_the_line, rows, trusted
from .gaussian import Gaussian

__all__ = ["Circle"]


@dataclass(frozen=True, repr=False)
class Circle:
    r"""The law of r (\cos\theta, \sin\theta) + \sqrt v Z, \theta uniform: p(x) = e^{-(|x|^2 + r^2)/2v} I_0(r|x|/v)/(2\pi v).

    radius : r > 0; var : v >= 0, default 0, the circle itself, which has no density: ``pdf``, ``logpdf``, ``score`` and ``score_jacobian``
    then raise NoMethod: noise the law first. Dimension 2, centre 0. Raises ValueError for other numbers.
    """

    radius: Any
    var: Any = 0.0

    dim, error, twin = 2, 0.0, None

    def __post_init__(self):
        radius, var = finite("radius", self.radius), finite("var", self.var)
        for name, x, least in (("radius", radius, "> 0"), ("var", var, ">= 0")):
            if x.ndim or x < 0 or (x == 0 and name == "radius"):
                raise ValueError(f"{name}: got {x.tolist()!r:.60}, allowed is a number {least}")
        self.__dict__.update(radius=float(radius), var=float(var))

    def __repr__(self):
        return f"Circle({self.radius!r})" if self.var == 0 else f"Circle({self.radius!r}, {self.var!r})"

    def mean(self):
        return np.zeros(2)

    def cov(self):
        return (0.5 * self.radius**2 + self.var) * np.eye(2)

    def second_moment(self):
        return self.radius**2 + 2 * self.var

    def _polar(self, x):
        r"""(|x| (n, 1), \kappa = r|x|/v (n, 1))."""
        if self.var == 0:
            raise NoMethod("Circle: the uniform law on a circle has no density and no score; noise it first: law.noised(kernel)")
        length = namespace(x).sqrt((x * x).sum(-1))[:, None]
        return length, length * (self.radius / self.var)

    def logpdf(self, x):
        x, shape = rows(x, 2)
        length, kappa = self._polar(x)
        log = -((length - self.radius) ** 2) / (2 * self.var) + namespace(x).log(_bessel(kappa, 0)) - math.log(2 * math.pi * self.var)
        return log[:, 0].reshape(shape)

    def pdf(self, x):
        logpdf = self.logpdf(x)
        return namespace(logpdf).exp(logpdf)

    def score(self, x):
        r"""x (-1 + r^2 a/v)/v, a = I_1(\kappa)/(\kappa I_0(\kappa)), (..., 2)."""
        x, shape = rows(x, 2)
        _, kappa = self._polar(x)
        pull, _ = _pulls(kappa)
        return (x * (self.radius**2 / self.var * pull - 1) / self.var).reshape(*shape, 2)

    def score_jacobian(self, x):
        x, shape = rows(x, 2)
        length, kappa = self._polar(x)
        gain = (self.radius / self.var) ** 2
        return (gain * _spread(x, length, kappa) - like(np.eye(2) / self.var, x)).reshape(*shape, 2, 2)

    def sample(self, n, seed):
        """(n, 2) draws. Growing n keeps the first rows."""
        n = positive_int("n", n, least=0)
        angle = 2 * math.pi * stream(seed, "sample: angles").random(n)
        x = self.radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return x if self.var == 0 else x + math.sqrt(self.var) * stream(seed, "sample: normals").standard_normal((n, 2))

    def noised(self, kernel):
        r"""The circle of radius |m| r with variance m^2 var + v; the Gaussian N(0, v I) for m = 0."""
        m, v = coefficients(kernel)
        if m == 0.0:
            return Gaussian(np.zeros(2), v) if v > 0 else common.refuse_point_mass(kernel)
        return trusted(Circle, radius=abs(m) * self.radius, var=m * m * self.var + v)

    def denoise(self, x, kernel):
        r"""E[X_0 | m X_0 + \sqrt v Z = x], (..., 2). Needs v > 0, or var > 0 and m \ne 0."""
        x, shape, m, v, total, _, kappa = self._seen(x, kernel)
        pull, _ = _pulls(kappa)
        return (x * (m * self.var / total + v * m * self.radius**2 / total**2 * pull)).reshape(*shape, 2)

    def denoise_cov(self, x, kernel):
        r"""Cov[X_0 | m X_0 + \sqrt v Z = x], (..., 2, 2). Needs as ``denoise``."""
        x, shape, _, v, total, length, kappa = self._seen(x, kernel)
        own = like(np.eye(2) * (v * self.var / total), x)
        return (own + (v * self.radius / total) ** 2 * _spread(x, length, kappa)).reshape(*shape, 2, 2)

    def _seen(self, x, kernel):
        m, v = coefficients(kernel)
        if v == 0.0 and self.var == 0.0:
            common.refuse_noiseless(kernel)
        if v == 0.0 and m == 0.0:
            common.refuse_point_mass(kernel)
        x, shape = rows(x, 2)
        total = m * m * self.var + v
        length = namespace(x).sqrt((x * x).sum(-1))[:, None]
        return x, shape, m, v, total, length, length * (abs(m) * self.radius / total)

    def cdf(self, x):
        """Raises NoMethod: it is for laws on the line."""
        on_the_line(self, "cdf")

    sf = quantile = cdf

    def breakpoints(self):
        """Raises NoMethod, likewise."""
        on_the_line(self, "breakpoints")


def _bessel(kappa, order):
    r"""e^{-\kappa} I_0(\kappa) or e^{-\kappa} I_1(\kappa), \kappa >= 0."""
    xp = namespace(kappa)
    return getattr(special if xp is np else xp.special, "i1e" if order else "i0e")(kappa)


def _pulls(kappa):
    r"""(a, A) with A = I_1/I_0 = E\cos(\theta - \theta_x) of the posterior angle, a = A/\kappa, which is 1/2 at 0."""
    xp = namespace(kappa)
    mean = _bessel(kappa, 1) / _bessel(kappa, 0)
    small = kappa < 1e-6
    return xp.where(small, 0.5 + 0 * kappa, mean / xp.where(small, 1 + 0 * kappa, kappa)), mean


def _spread(x, length, kappa):
    r"""Cov of (\cos\theta, \sin\theta) given x: a across the direction of x and 1 - a - A^2 along it, (n, 2, 2)."""
    xp = namespace(x)
    pull, mean = _pulls(kappa)
    unit = x / xp.where(length == 0, 1 + 0 * length, length)
    along = xp.where(kappa < 1e-3, -kappa * kappa / 8, 1 - 2 * pull - mean * mean)  # at 0 the two agree: what cancels is kappa^2/8
    return pull[..., None] * like(np.eye(2), x) + along[..., None] * unit[:, :, None] * unit[:, None, :]
