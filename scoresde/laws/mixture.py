"""Finite mixtures of Gaussians in any dimension: closed under noising, so every score, denoiser and moment is a closed form."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._arrays import finite, frozen, like, namespace, positive_int, stream, turned
from . import _common as common
from ._common import coefficients, in_blocks, ndtr, normal_quantile, on_the_line, rows, solve_quantile, trusted
from ._components import average, mean_matrix, posterior, spread, squares
from .gaussian import LOG_2PI, QUIET, Gaussian, eigensystem, positive_variances

__all__ = ["GaussianMixture"]


@dataclass(frozen=True, eq=False, repr=False)
class GaussianMixture:
    r"""\sum_k w_k N(\mu_k, \Sigma_k).

    weights : (K,) >= 0 with sum 1; means : (K, d); covs : () one variance for all, (K,) variances, (K, d) diagonals of variances, or
    (K, d, d) symmetric positive definite matrices. Stored as (K,), (K, d) and (K,) | (K, d) | (K, d, d).
    Raises ValueError for other shapes, weights that do not sum to 1, numbers that are not finite, or a covariance that is not positive
    definite (it names the component and its smallest eigenvalue); a symmetric (d, d) with off-diagonals where K = d is refused, because
    two axes are K rows of variances here.
    """

    weights: Any
    means: Any
    covs: Any

    error, twin = 0.0, None

    def __post_init__(self):
        weights, means, covs = common.weights_of(self.weights), finite("means", self.means), finite("covs", self.covs)
        count = len(weights)
        if means.ndim != 2 or len(means) != count or not means.shape[1]:
            remedy = "; write means[:, None] for a law on the line" if means.shape == (count,) else ""
            raise ValueError(f"means: got shape {means.shape} with {count} weights, allowed is ({count}, d){remedy}")
        d, basis = means.shape[1], None
        _check_shape(covs, count, d)
        covs = np.broadcast_to(covs, (count,)) if covs.ndim == 0 else covs
        if covs.ndim == 3 and d > 1:
            lam, basis = eigensystem(covs, "covs")
        else:
            lam = covs.reshape(count, -1)
            positive_variances(covs if covs.ndim < 3 else lam, "covs")
        fields = {"weights": weights, "means": means, "covs": covs, "_lam": lam, "_basis": basis}
        self.__dict__.update({k: None if x is None else frozen(x) for k, x in fields.items()})

    @property
    def dim(self):
        return self.means.shape[1]

    def __repr__(self):
        return f"GaussianMixture(K={len(self.weights)}, d={self.dim})"

    def __eq__(self, other):
        if not isinstance(other, GaussianMixture):
            return NotImplemented
        return all(common.same(getattr(self, k), getattr(other, k)) for k in ("weights", "means", "covs"))

    def __hash__(self):
        return common.fingerprint(self.weights, self.means, self.covs)

    def component(self, k):
        """The k-th component, a Gaussian."""
        k = range(len(self.weights))[k]
        basis = None if self._basis is None else self._basis[k]
        return trusted(Gaussian, _mean=self.means[k], _cov=np.asarray(self.covs[k]), _lam=self._lam[k], _basis=basis)

    def mean(self):
        return self.weights @ self.means

    def cov(self):
        """(d, d); deviations are taken from the mean first."""
        dev = self.means - self.mean()
        return mean_matrix(self.weights[:, None], self._lam, self._basis, self.dim)[0] + (dev * self.weights[:, None]).T @ dev

    def second_moment(self):
        r"""E|X|^2 = \sum_k w_k (|\mu_k|^2 + tr \Sigma_k)."""
        return float(self.weights @ ((self.means * self.means).sum(1) + self._lam.sum(1) * (self.dim // self._lam.shape[1])))

    @cached_property
    def _log_weights(self):
        with np.errstate(divide="ignore"):
            return np.log(self.weights)

    @cached_property
    def _constant(self):
        """log w_k - log det(2 pi Sigma_k) / 2, (K,)."""
        log_lam = np.log(self._lam)
        half_log_det = 0.5 * self.dim * log_lam[:, 0] if log_lam.shape[1] == 1 else 0.5 * log_lam.sum(1)
        return self._log_weights - half_log_det - 0.5 * self.dim * LOG_2PI

    @cached_property
    def _largest(self):
        return float(np.abs(self.means).max())

    def _fields(self, x):
        basis = None if self._basis is None else like(self._basis, x)
        return like(self._constant, x), like(self.means, x), like(self._lam, x), basis

    def _width(self):
        return len(self.weights) + 4 * self.dim

    def logpdf(self, x):
        """(...); -inf where all squared distances overflow."""
        x, shape = rows(x, self.dim)

        def block(x):
            xp, (constant, *components) = namespace(x), self._fields(x)
            logits = constant[:, None] - 0.5 * squares(x, *components)
            top = xp.amax(logits, 0)
            top = xp.where(top == -np.inf, 0.0, top)
            return top + xp.log(xp.exp(logits - top).sum(0))

        with np.errstate(**QUIET):
            return in_blocks(block, x, self._width()).reshape(shape)

    def pdf(self, x):
        logpdf = self.logpdf(x)
        return namespace(logpdf).exp(logpdf)

    def _posterior(self, x, constant, means, lam, basis):
        return posterior(x, constant, means, lam, basis, self._largest)

    def responsibilities(self, x):
        r"""w_k N(x; \mu_k, \Sigma_k) / p(x), (..., K)."""
        x, shape = rows(x, self.dim)

        def block(x):
            e, total = self._posterior(x, *self._fields(x))
            return (e / total).T

        with np.errstate(**QUIET):
            return in_blocks(block, x, self._width()).reshape(*shape, len(self.weights))

    def score(self, x):
        r"""\nabla \log p(x) = -\sum_k r_k(x) \Sigma_k^{-1} (x - \mu_k), (..., d)."""
        x, shape = rows(x, self.dim)

        def block(x):
            constant, means, lam, basis = self._fields(x)
            e, total = self._posterior(x, constant, means, lam, basis)
            return average(x, e, means, 1 / lam, basis) / -total[:, None]

        with np.errstate(**QUIET):
            return in_blocks(block, x, self._width()).reshape(*shape, self.dim)

    def score_jacobian(self, x):
        r"""\nabla^2 \log p = \mathrm{Cov}_r[q_k] - \sum_k r_k \Sigma_k^{-1}, q_k = -\Sigma_k^{-1} (x - \mu_k), (..., d, d)."""
        x, shape = rows(x, self.dim)

        def block(x):
            constant, means, lam, basis = self._fields(x)
            e, total = self._posterior(x, constant, means, lam, basis)
            r = e / total
            return spread(x, r, means, -1 / lam, basis) - mean_matrix(r, 1 / lam, basis, self.dim)

        with np.errstate(**QUIET):
            return in_blocks(block, x, self._width() + 2 * self.dim**2).reshape(*shape, self.dim, self.dim)

    def sample(self, n, seed):
        """(n, d) draws. Growing n keeps the first rows: labels and normals come from streams of their own."""
        k = draw_labels(self.weights, n, seed)
        z = stream(seed, "sample: normals").standard_normal((len(k), self.dim)) * np.sqrt(self._lam[k])
        if self._basis is not None:
            moved = np.empty_like(z)
            for j in np.unique(k):
                moved[k == j] = turned(z[k == j], self._basis[j].T)
            z = moved
        return self.means[k] + z

    def noised(self, kernel):
        r"""\sum_k w_k N(m \mu_k, m^2 \Sigma_k + v I). Raises ValueError where that has point masses (m = v = 0)."""
        m, v = coefficients(kernel)
        lam = self._lam * (m * m) + v
        if v == 0.0 and not lam.min() > 0:
            common.refuse_point_mass(kernel)
        covs = lam.reshape(self.covs.shape) if self._basis is None else self.covs * (m * m) + v * np.eye(self.dim)
        return trusted(
            GaussianMixture, weights=self.weights, means=self.means * m, covs=covs, _lam=lam, _basis=self._basis, _log_weights=self._log_weights
        )

    def denoise(self, x, kernel):
        r"""E[X_0 | m X_0 + \sqrt v Z = x], (..., d): the responsibilities of the noised law weigh the components' own denoisers.

        Exact for m = 0 (the mean) and v = 0 (x / m) too.
        """
        m, _ = coefficients(kernel)
        return denoise_components(x, self.means, self._lam, self.noised(kernel), m)

    def denoise_cov(self, x, kernel):
        r"""Cov[X_0 | m X_0 + \sqrt v Z = x], (..., d, d): mean of the components' covariances plus covariance of their means."""
        m, v = coefficients(kernel)
        return denoise_cov_components(x, self.means, self._lam, self.noised(kernel), m, v)

    def given(self, y, operator, noise_cov):
        r"""The law of X given A X + N(0, R) = y, again a mixture (Bayes' rule in each component).

        y : (q,); operator A : (q, d); noise_cov R : (), (q,) or (q, q). Covariances in Joseph's form, so that they stay symmetric.
        Raises ValueError if the observation fixes a direction exactly: that posterior has no density.
        """
        y, A, R = finite("y", y), finite("operator", operator), finite("noise_cov", noise_cov)
        if A.ndim != 2 or A.shape[1] != self.dim or y.shape != A.shape[:1]:
            raise ValueError(f"operator: got shape {A.shape} with y of shape {y.shape}, allowed are (q, {self.dim}) and (q,)")
        q = len(y)
        if R.shape not in ((), (q,), (q, q)):
            raise ValueError(f"noise_cov: got shape {R.shape}, allowed are (), ({q},) or ({q}, {q})")
        R = R if R.ndim == 2 else np.diag(np.broadcast_to(R, (q,)))
        C = mean_matrix(np.eye(len(self.weights)), self._lam, self._basis, self.dim)
        seen = GaussianMixture(self.weights, self.means @ A.T, _symmetric(A @ C @ A.T + R))
        gain = np.linalg.solve(seen.covs, A @ C).swapaxes(1, 2)  # (K, d, q)
        rest = np.eye(self.dim) - gain @ A
        covs = _symmetric(rest @ C @ rest.swapaxes(1, 2) + gain @ R @ gain.swapaxes(1, 2))
        means = self.means + (gain @ (y - seen.means)[..., None])[..., 0]
        return GaussianMixture(seen.responsibilities(y), means, covs)

    def cdf(self, x):
        r"""P(X \le x), dimension 1 only; relatively accurate in the left tail, ``sf`` in the right one."""
        return self._tail(x, 1.0)

    def sf(self, x):
        r"""P(X > x), dimension 1 only."""
        return self._tail(x, -1.0)

    def _tail(self, x, sign):
        on_the_line(self, "cdf")
        x, shape = rows(x, 1)

        def block(x):
            means, inverse, weights = (like(p, x) for p in (self.means, sign / np.sqrt(self._lam), self.weights))
            return weights @ ndtr((x[:, 0] - means) * inverse)

        with np.errstate(over="ignore"):
            return in_blocks(block, x, self._width()).reshape(shape)

    def quantile(self, u):
        """x with cdf(x) = u for u of any shape: (..., 1), dimension 1 only; 0 and 1 give -inf and inf. To about 1e-14 relative."""
        on_the_line(self, "quantile")
        means, sds, kept = self.means[:, 0], np.sqrt(self._lam[:, 0]), self.weights > 0

        def tail(x, upper):
            signed = np.stack([x, np.where(upper, -1.0, 1.0)], -1)
            return in_blocks(lambda y: self.weights @ ndtr(y[:, 1] * (y[:, 0] - means[:, None]) / sds[:, None]), signed, self._width())

        def block(u):  # a mixture's quantile lies between those of its components
            each = means[kept] + sds[kept] * normal_quantile(u)
            return np.stack([each.min(1), each.max(1)], -1)

        return solve_quantile(u, lambda u: in_blocks(block, u[:, None], self._width()).T, tail, lambda x: self.pdf(x[:, None]))

    def breakpoints(self):
        """Panel edges for quadrature on the line: steps of about sd/2 out to 12 sd of each component, merged where they overlap."""
        on_the_line(self, "breakpoints")
        return common.dyadic_breakpoints(self.means[:, 0], np.sqrt(self._lam[:, 0]))


def draw_labels(weights, n, seed):
    u = stream(seed, "sample: labels").random(positive_int("n", n, least=0))
    last = int(np.flatnonzero(weights)[-1])  # rounding in the sums must not draw a label of weight 0
    return np.minimum(np.searchsorted(np.cumsum(weights), u, side="right"), last)


def denoise_components(x, means, lam, noised, m):
    """E[X_0 | x] for components N(means, lam) (lam = 0: point masses) that became the mixture ``noised``."""
    x, shape = rows(x, noised.dim)
    gain = m * (lam / noised._lam)

    def block(x):
        constant, centres, lam, basis = noised._fields(x)
        e, total = noised._posterior(x, constant, centres, lam, basis)
        return average(x, e / total, centres, like(gain, x), basis, like(means, x))

    with np.errstate(**QUIET):
        return in_blocks(block, x, noised._width()).reshape(*shape, noised.dim)


def denoise_cov_components(x, means, lam, noised, m, v):
    """Cov[X_0 | x], as ``denoise_components``."""
    x, shape = rows(x, noised.dim)
    gain, inner = m * (lam / noised._lam), lam * (v / noised._lam)

    def block(x):
        constant, centres, lam, basis = noised._fields(x)
        e, total = noised._posterior(x, constant, centres, lam, basis)
        r = e / total
        return spread(x, r, centres, like(gain, x), basis, like(means, x)) + mean_matrix(r, like(inner, x), basis, noised.dim)

    with np.errstate(**QUIET):
        return in_blocks(block, x, noised._width() + 2 * noised.dim**2).reshape(*shape, noised.dim, noised.dim)


def _symmetric(C):
    return 0.5 * (C + C.swapaxes(-1, -2))


def _check_shape(covs, count, d):
    matrix = covs.ndim == 2 and covs.shape == (d, d) and d > 1
    remedy = f"; for one matrix in every component write np.broadcast_to(C, ({count}, {d}, {d}))" if matrix else ""
    if covs.shape not in ((), (count,), (count, d), (count, d, d)):
        raise ValueError(
            f"covs: got shape {covs.shape} with means of shape ({count}, {d}), allowed are (), ({count},) or ({count}, {d}) variances, or "
            f"({count}, {d}, {d}){remedy}"
        )
    if matrix and (covs == covs.T).all() and (covs != np.diag(np.diag(covs))).any():
        raise ValueError(
            f"covs: got a symmetric ({d}, {d}) with off-diagonals, allowed are {count} rows of variances{remedy}; for rows of variances that "
            f"happen to be symmetric write covs[:, :, None] * np.eye({d})"
        )
