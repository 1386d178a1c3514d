"""The normal law in any dimension, with a scalar, diagonal or full covariance."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .._arrays import finite, frozen, like, namespace, positive_int, stream, turned
from . import _common as common
from ._common import coefficients, ndtr, normal_quantile, on_the_line, probabilities, rows, trusted

__all__ = ["Gaussian", "standard_normal"]

LOG_2PI = math.log(2 * math.pi)
QUIET = {"over": "ignore", "invalid": "ignore", "divide": "ignore"}


def eigensystem(cov, name, where=""):
    """(eigenvalues (..., d), eigenvectors (..., d, d)) of symmetric positive definite matrices; ValueError with the smallest eigenvalue."""
    asymmetry = np.abs(cov - cov.swapaxes(-1, -2)).max()
    if asymmetry > 1e-12 * np.abs(cov).max():
        raise ValueError(
            f"{name}: got a matrix that is not symmetric (differences up to {asymmetry:.3g}), allowed are covariances; use (C + C.T) / 2"
        )
    lam, basis = np.linalg.eigh(0.5 * (cov + cov.swapaxes(-1, -2)))
    bad = lam[..., 0] <= cov.shape[-1] * 2.0**-53 * np.abs(lam).max(axis=-1)
    if bad.any():
        k = int(np.argmax(bad)) if bad.ndim else None
        least, which = (lam[0] if k is None else lam[k, 0]), "" if k is None else f"component {k}: "
        raise ValueError(
            f"{name}: {which}got smallest eigenvalue {least:.3g}, allowed are positive definite covariances, beyond rounding; "
            "add a small multiple of the identity, or use Empirical for point masses"
        )
    return lam, basis


def positive_variances(variances, name):
    bad = np.argwhere(variances <= 0)
    if len(bad):
        k = tuple(bad[0].tolist())
        place = f" at index {k[0] if len(k) == 1 else k}" if k else ""
        raise ValueError(f"{name}: got {variances[k]}{place}, allowed are variances > 0; for point masses use Empirical")


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Gaussian:
    r"""N(\mu, \Sigma) with \Sigma = c I, diag(c) or a full matrix.

    mean : (d,); cov : () for c I, (d,) for a diagonal of variances, or (d, d) symmetric positive definite. ``covariance`` is ``cov`` as
    given, while ``cov()`` is always (d, d). Raises ValueError for other shapes, numbers that are not finite, or a covariance that is not
    positive definite (it says the smallest eigenvalue).
    """

    _mean: np.ndarray
    _cov: np.ndarray

    error, twin = 0.0, None

    def __init__(self, mean, cov):
        mean, cov = finite("mean", mean), finite("cov", cov)
        if mean.ndim != 1 or not mean.size:
            remedy = f"; write [{mean}] for a law on the line" if mean.ndim == 0 else ""
            raise ValueError(f"mean: got shape {mean.shape}, allowed is (d,){remedy}")
        d, basis = len(mean), None
        if cov.shape not in ((), (d,), (d, d)):
            raise ValueError(f"cov: got shape {cov.shape} with mean of shape ({d},), allowed are (), ({d},) variances, or ({d}, {d})")
        if cov.ndim == 2 and d > 1:
            lam, basis = eigensystem(cov, "cov")
        else:
            lam = cov.reshape(-1)
            positive_variances(cov if cov.ndim < 2 else lam, "cov")
        fields = {"_mean": mean, "_cov": cov, "_lam": lam, "_basis": basis}
        self.__dict__.update({k: None if x is None else frozen(x) for k, x in fields.items()})

    @property
    def dim(self):
        return len(self._mean)

    @property
    def covariance(self):
        """The covariance as it is stored: (), (d,) or (d, d)."""
        return self._cov

    def __repr__(self):
        numbers = f"mean={self._mean.tolist()}, cov={self._cov.tolist()}"
        return f"Gaussian({numbers})" if len(numbers) <= 60 else f"Gaussian(d={self.dim})"

    def __eq__(self, other):
        if not isinstance(other, Gaussian):
            return NotImplemented
        return common.same(self._mean, other._mean) and common.same(self._cov, other._cov)

    def __hash__(self):
        return common.fingerprint(self._mean, self._cov)

    def mean(self):
        return self._mean

    def cov(self):
        r"""\Sigma, (d, d)."""
        return self._cov.copy() if self._cov.ndim == 2 else np.diag(np.broadcast_to(self._cov, (self.dim,)))

    def second_moment(self):
        r"""E|X|^2 = |\mu|^2 + tr \Sigma."""
        return float(self._mean @ self._mean + self._lam.sum() * (self.dim // len(self._lam)))

    @cached_property
    def _log_norm(self):
        return -0.5 * float(np.log(self._lam).sum() * (self.dim // len(self._lam)) + self.dim * LOG_2PI)

    def _turned(self, x):
        """x - mu in the eigenbasis, and the variances there."""
        diff = x - like(self._mean, x)
        return (diff if self._basis is None else diff @ like(self._basis, x)), like(self._lam, x)

    def logpdf(self, x):
        """(...); -inf where the squared distance overflows."""
        x, shape = rows(x, self.dim)
        with np.errstate(**QUIET):
            r, lam = self._turned(x)
            return (self._log_norm - 0.5 * (r * (r / lam)).sum(-1)).reshape(shape)

    def pdf(self, x):
        logpdf = self.logpdf(x)
        return namespace(logpdf).exp(logpdf)

    def score(self, x):
        r"""-\Sigma^{-1}(x - \mu), (..., d)."""
        x, shape = rows(x, self.dim)
        with np.errstate(**QUIET):
            r, lam = self._turned(x)
            r = -r / lam
            return (r if self._basis is None else r @ like(self._basis, x).T).reshape(*shape, self.dim)

    def score_jacobian(self, x):
        r"""-\Sigma^{-1} for each x, (..., d, d)."""
        return self._for_each(x, -self._matrix(1 / self._lam))

    def _matrix(self, diagonal):
        return np.diag(np.broadcast_to(diagonal, (self.dim,))) if self._basis is None else (self._basis * diagonal) @ self._basis.T

    def _for_each(self, x, matrix):
        x, shape = rows(x, self.dim)
        return namespace(x).broadcast_to(like(matrix, x), (*shape, self.dim, self.dim))

    def sample(self, n, seed):
        """(n, d) draws. Growing n keeps the first rows."""
        z = stream(seed, "sample: normals").standard_normal((positive_int("n", n, least=0), self.dim)) * np.sqrt(self._lam)
        return self._mean + (z if self._basis is None else turned(z, self._basis.T))

    def noised(self, kernel):
        r"""N(m \mu, m^2 \Sigma + v I). Raises ValueError where that is a point mass (m = v = 0)."""
        m, v = coefficients(kernel)
        lam = self._lam * (m * m) + v
        if v == 0.0 and not lam.min() > 0:
            common.refuse_point_mass(kernel)
        cov = lam.reshape(self._cov.shape) if self._basis is None else self._cov * (m * m) + v * np.eye(self.dim)
        return trusted(Gaussian, _mean=self._mean * m, _cov=cov, _lam=lam, _basis=self._basis)

    def denoise(self, x, kernel):
        r"""E[X_0 | m X_0 + \sqrt v Z = x] = \mu + m \Sigma (m^2 \Sigma + v)^{-1} (x - m \mu), (..., d). Exact also for m = 0 and v = 0."""
        m, _ = coefficients(kernel)
        noised, (x, shape) = self.noised(kernel), rows(x, self.dim)
        with np.errstate(**QUIET):
            r, _ = noised._turned(x)
            r = r * like(m * self._lam / noised._lam, x)
            return (like(self._mean, x) + (r if self._basis is None else r @ like(self._basis, x).T)).reshape(*shape, self.dim)

    def denoise_cov(self, x, kernel):
        r"""Cov[X_0 | m X_0 + \sqrt v Z = x] = v \Sigma (m^2 \Sigma + v)^{-1} for each x, (..., d, d)."""
        _, v = coefficients(kernel)
        return self._for_each(x, self._matrix(self._lam * (v / self.noised(kernel)._lam)))

    def cdf(self, x):
        r"""P(X \le x), dimension 1 only; relatively accurate in the left tail, ``sf`` in the right one."""
        return self._tail(x, 1.0)

    def sf(self, x):
        r"""P(X > x), dimension 1 only."""
        return self._tail(x, -1.0)

    def _tail(self, x, sign):
        on_the_line(self, "cdf")
        x, shape = rows(x, 1)
        with np.errstate(over="ignore"):
            return ndtr(sign * (x - like(self._mean, x)) / like(np.sqrt(self._lam), x)).reshape(shape)

    def quantile(self, u):
        """x with cdf(x) = u for u of any shape: (..., 1), dimension 1 only; 0 and 1 give -inf and inf."""
        on_the_line(self, "quantile")
        return (self._mean + np.sqrt(self._lam) * normal_quantile(probabilities(u)))[..., None]

    def breakpoints(self):
        """Panel edges for quadrature on the line: steps of about sd/2 out to 12 sd."""
        on_the_line(self, "breakpoints")
        return common.dyadic_breakpoints(self._mean, np.sqrt(self._lam))


def standard_normal(d):
    """N(0, I) in dimension d."""
    return Gaussian(np.zeros(positive_int("d", d)), 1.0)
