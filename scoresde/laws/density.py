"""A law given by its log-density: on the line everything is computed from it; in higher dimensions, what is given is used."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .._arrays import like, namespace, positive_int, stream
from ..errors import NoMethod
from . import _common as common
from ._common import coefficients, on_the_line, rows
from ._panels import Panels, find_panels
from .gaussian import Gaussian
from .smoothed import SmoothedDensity, posterior

__all__ = ["Density"]


@dataclass(frozen=True, init=False, repr=False)
class Density:
    r"""The law with log-density ``logpdf``: (..., d) -> (...), in numpy.

    dim : int; score : \nabla \log p, (..., d) -> (..., d), on the line optional (else by differences); sample : (n, seed) -> (n, d), on
    the line optional (else by quantiles); noised : kernel -> law, on the line optional (else by quadrature); support : (low, high) on the
    line, where the density jumps or ends, default the whole line; normalized : False divides by the integral (line only).
    On the line the density must be piecewise smooth. Modes are looked for on all scales, but a spike beside others that is narrower than a
    hundredth of its distance from 0 is missed (and the integral then refused). Moments, ``cdf`` and ``quantile`` come from panels that
    resolve it (about 1e-14; tails to 1e-60).
    Raises ValueError if a density that claims to be normalized integrates to anything but 1 (to 1e-8), or returns NaN or the wrong shape.
    """

    _logpdf: Callable
    dim: int
    _score: Callable | None
    _sample: Callable | None
    _noised: Callable | None
    support: tuple | None
    normalized: bool
    name: str
    _count: int  # nodes a panel: the twin has others

    error, twin = 0.0, None

    def __init__(self, logpdf, *, dim, score=None, sample=None, noised=None, support=None, normalized=True, name=""):
        for key, value in (("logpdf", logpdf), ("score", score), ("sample", sample), ("noised", noised)):
            if not callable(value) and (value is not None or key == "logpdf"):
                raise TypeError(f"{key}: got {type(value).__name__}, allowed is a function{'' if key == 'logpdf' else ' or None'}")
        dim = positive_int("dim", dim)
        if dim > 1 and (support is not None or not normalized):
            got = "support" if support is not None else "normalized=False"
            raise NoMethod(f"Density: got {got} in dimension {dim}, where nothing is integrated: leave it out")
        fields = {"_logpdf": logpdf, "dim": dim, "_score": score, "_sample": sample, "_noised": noised, "support": _interval(support)}
        self.__dict__.update(fields, normalized=bool(normalized), name=str(name), _count=16)
        if dim == 1:
            self.panels  # finds and checks the mass before any work  # noqa: B018

    @classmethod
    def resolved(cls, panels, outside, *, error, twin, name=""):
        """What engines return: log-densities that are polynomials on panels, and beyond fall off as that of ``outside`` (None: a Gaussian)."""
        ends = np.array([panels.lo[0], panels.hi[-1]])
        if outside is None:
            outside = Gaussian([panels.expectation(lambda x: x, "mean")], panels.expectation(np.square, "variance"))
        level = panels.logpdf(ends, np.array([0, len(panels.lo) - 1])) - outside.logpdf(ends[:, None])
        place = lambda x: np.clip(np.searchsorted(panels.lo, x, side="right") - 1, 0, len(panels.lo) - 1)  # noqa: E731

        def split(x, within, beyond):
            x = x[:, 0]
            out, inside = np.empty(len(x)), (x >= ends[0]) & (x <= ends[1])
            if inside.any():
                out[inside] = within(x[inside], place(x[inside]))
            if not inside.all():
                y = x[~inside]
                out[~inside] = beyond(y[:, None], (y > ends[1]).astype(int))
            return out

        law = object.__new__(cls)
        law.__dict__.update(
            _logpdf=lambda x: split(x, panels.logpdf, lambda y, side: outside.logpdf(y) + level[side]),
            _score=lambda x: split(x, panels.slope, lambda y, side: outside.score(y)[:, 0])[:, None],
            dim=1, _sample=None, _noised=None, support=None, normalized=True, name=name, _count=16, _found=(panels, 0.0), error=error, twin=twin,
            finer=lambda: law if twin is None else twin,
        )  # fmt: skip
        return law

    def __repr__(self):
        return f"Density({self.name or getattr(self._logpdf, '__name__', 'logpdf')!r}, d={self.dim})"

    @property
    def _ends(self):
        return self.support or (-math.inf, math.inf)

    def _raw(self, x):
        """The user's log-density on x (n, d), numpy, checked."""
        with np.errstate(divide="ignore", over="ignore"):
            value = np.asarray(self._logpdf(x), dtype=np.float64)
        if value.shape != x.shape[:-1]:
            raise ValueError(
                f"logpdf: got shape {value.shape} for x of shape {x.shape}, allowed is {x.shape[:-1]}: the last axis holds the coordinates"
            )
        return value

    @cached_property
    def _found(self):
        """(panels of the normalised density, log of the integral that was divided out)."""
        panels = find_panels(lambda x: self._raw(x[:, None]), self._ends, self._count)
        top = panels.logs.max()
        total = top + math.log(Panels(panels.lo, panels.hi, panels.logs - top).mass.sum())
        if self.normalized and not abs(total) <= 1e-8:
            raise ValueError(
                f"logpdf: got a density that integrates to {math.exp(min(total, 700)):.10g}, allowed is 1; pass normalized=False to divide by it "
                "(or support=, if it jumps; a spike narrower than a hundredth of its place is not found: write it as a mixture)"
            )
        level = 0.0 if self.normalized else total
        return Panels(panels.lo, panels.hi, panels.logs - level), level

    @property
    def panels(self):
        """The panels that resolve the density on the line."""
        on_the_line(self, "panels")
        return self._found[0]

    @cached_property
    def scale(self):
        """Half the distance between the quartiles: the length on which the law lives."""
        low, high = self.panels.quantile(np.array([0.25, 0.75]))[:, 0]
        return 0.5 * (high - low)

    @cached_property
    def heavy(self):
        """Whether the outermost panels lie more than 200 scales away: tails heavier than Gaussian or exponential."""
        return bool(self.panels.hi[-1] - self.panels.lo[0] > 400 * self.scale)

    def finer(self):
        """The same law on panels with another number of nodes: an independent resolution."""
        new = object.__new__(Density)
        new.__dict__.update({k: v for k, v in self.__dict__.items() if k != "_found"}, _count=self._count + 5)
        return new

    def _need(self, what, key):
        raise NoMethod(f"{what}: not known for a Density in dimension {self.dim}; pass {key}= when you build it")

    def mean(self):
        if self.dim > 1:
            self._need("mean", "sample")
        return np.array([self.panels.expectation(lambda x: x, "mean")])

    def cov(self):
        centre = self.mean()[0]
        return np.array([[self.panels.expectation(lambda x: (x - centre) ** 2, "cov")]])

    def second_moment(self):
        if self.dim > 1:
            self._need("second_moment", "sample")
        return self.panels.expectation(np.square, "second_moment")

    def _on_numpy(self, f, x):
        """f on the rows of x as numpy float64, the result back in the namespace and dtype of x."""
        x, shape = rows(x, self.dim)
        y = x.astype(np.float64) if namespace(x) is np else x.detach().cpu().numpy().astype(np.float64)
        value = f(y)
        return like(value, x).reshape((*shape, *value.shape[1:]))

    def log_unit(self, x):
        """log p at x (n, d), normalised, -inf outside the support."""
        value = self._raw(x) if self.normalized else self._raw(x) - self._found[1]
        if self.support is None:
            return value
        return np.where((x[:, 0] >= self.support[0]) & (x[:, 0] <= self.support[1]), value, -math.inf)

    def logpdf(self, x):
        return self._on_numpy(self.log_unit, x)

    def pdf(self, x):
        return self._on_numpy(lambda y: np.exp(self.log_unit(y)), x)

    def score(self, x):
        r"""\nabla \log p: as given, else on the line by central differences of order 8 (about 1e-11)."""
        if self._score is not None:
            return self._on_numpy(self._given_score, x)
        if self.dim > 1:
            self._need("score", "score")
        return self._on_numpy(lambda y: self._difference(lambda z: self._raw(z), y)[:, None], x)

    def _given_score(self, x):
        value = np.asarray(self._score(x), dtype=np.float64)
        if value.shape != x.shape:
            raise ValueError(f"score: got shape {value.shape} for x of shape {x.shape}, allowed is the shape of x")
        return value

    def score_jacobian(self, x):
        r"""\nabla^2 \log p, by central differences of the score (of logpdf if there is none), on the line only."""
        if self.dim > 1:
            raise NoMethod(f"score_jacobian: not known for a Density in dimension {self.dim}; write a law of your own with this method")
        if self._score is not None:
            return self._on_numpy(lambda y: self._difference(lambda z: self._given_score(z)[:, 0], y)[:, None, None], x)
        return self._on_numpy(lambda y: self._second_difference(y)[:, None, None], x)

    def _steps(self, x):
        """A step for differences: a fraction of the panel, so that the density is smooth across it."""
        panels = self.panels
        panel = np.clip(np.searchsorted(panels.lo, x) - 1, 0, len(panels.lo) - 1)
        return (panels.hi - panels.lo)[panel] / 32

    def _stencil(self, f, x):
        h = self._steps(x[:, 0])
        points = x[:, 0] + h * np.arange(-4, 5)[:, None]
        return f(points.reshape(-1, 1)).reshape(9, -1), h

    def _difference(self, f, x):
        values, h = self._stencil(f, x)
        return (np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280]) @ values) / h

    def _second_difference(self, x):
        values, h = self._stencil(self._raw, x)
        return (np.array([-1 / 560, 8 / 315, -1 / 5, 8 / 5, -205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560]) @ values) / h**2

    def sample(self, n, seed):
        """(n, d) draws: as given, else on the line by quantiles of uniforms. Growing n keeps the first rows."""
        n = positive_int("n", n, least=0)
        if self._sample is not None:
            draws = np.asarray(self._sample(n, seed), dtype=np.float64)
            if draws.shape != (n, self.dim):
                raise ValueError(f"sample: got shape {draws.shape}, allowed is ({n}, {self.dim})")
            return draws
        if self.dim > 1:
            self._need("sample", "sample")
        return self.panels.quantile(stream(seed, "sample: uniforms").random(n))

    def noised(self, kernel):
        r"""The law of m X + \sqrt v Z: as given, else on the line by quadrature (a SmoothedDensity)."""
        m, v = coefficients(kernel)
        if self._noised is not None:
            return self._noised(kernel)
        if self.dim > 1:
            self._need("noised", "noised")
        if m == 0.0:
            return Gaussian([0.0], v) if v > 0 else common.refuse_point_mass(kernel)
        return SmoothedDensity(self, m, v) if v > 0 else self._scaled(m)

    def _scaled(self, m):
        """The law of m X, m != 0."""
        if m == 1.0:
            return self
        support = None if self.support is None else tuple(sorted(m * end for end in self.support))
        sample = None if self._sample is None else (lambda n, seed: m * self._sample(n, seed))
        score = None if self._score is None else (lambda x: self._score(x / m) / m)
        log_m = math.log(abs(m))
        return Density(lambda x: self.log_unit(x / m) - log_m, dim=1, score=score, sample=sample, support=support, name=f"{m:.6g} * {self.name}")

    def denoise(self, x, kernel):
        r"""E[X_0 | m X_0 + \sqrt v Z = x]: on the line by quadrature, else by Tweedie's identity (x + v s)/m."""
        m, v = coefficients(kernel)
        if self._noised is None and self.dim == 1:
            return self._on_numpy(lambda y: posterior(self, m, v, y[:, 0]).mean_y[:, None], x)
        if m == 0.0:
            self._need("denoise at m = 0", "sample")
        x, shape = rows(x, self.dim)
        return ((x + v * self.noised(kernel).score(x)) / m).reshape(*shape, self.dim)

    def denoise_cov(self, x, kernel):
        r"""Cov[X_0 | m X_0 + \sqrt v Z = x]: on the line by quadrature, else (v/m^2)(I + v \nabla s)."""
        m, v = coefficients(kernel)
        if self._noised is None and self.dim == 1:
            return self._on_numpy(lambda y: posterior(self, m, v, y[:, 0]).var_y[:, None, None], x)
        if m == 0.0:
            self._need("denoise_cov at m = 0", "sample")
        x, shape = rows(x, self.dim)
        inner = common.wide(x * 0 + 1) + v * self.noised(kernel).score_jacobian(x)
        return (inner * (v / m**2)).reshape(*shape, self.dim, self.dim)

    def cdf(self, x):
        r"""P(X \le x), dimension 1 only; relatively accurate in the left tail, ``sf`` in the right one (to 1e-60)."""
        on_the_line(self, "cdf")
        return self._on_numpy(lambda y: self.panels.tail(y[:, 0], np.zeros(len(y), dtype=bool)), x)

    def sf(self, x):
        r"""P(X > x), dimension 1 only."""
        on_the_line(self, "sf")
        return self._on_numpy(lambda y: self.panels.tail(y[:, 0], np.ones(len(y), dtype=bool)), x)

    def quantile(self, u):
        """x with cdf(x) = u for u of any shape: (..., 1), dimension 1 only; 0 and 1 give the ends of the support."""
        on_the_line(self, "quantile")
        return np.clip(self.panels.quantile(u), *self._ends)

    def breakpoints(self):
        """The panels' edges, but for outer ones of mass 1e-32."""
        on_the_line(self, "breakpoints")
        return self.panels.breakpoints()


def _interval(support):
    if support is None:
        return None
    ends = np.asarray(support, dtype=np.float64)
    if ends.shape != (2,) or not ends[0] < ends[1]:
        raise ValueError(f"support: got {support!r:.60}, allowed is (low, high) with low < high; infinite ends are allowed")
    return float(ends[0]), float(ends[1])
