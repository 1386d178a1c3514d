"""Laws seen in turned coordinates, and mixtures in any dimension whose means span a line or a plane: a small core and a Gaussian rest."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._arrays import finite, frozen, like, turned
from . import _common as common
from ._common import on_the_line, rows, trusted
from .gaussian import Gaussian
from .mixture import GaussianMixture
from .product import Product

__all__ = ["Rotated", "factorised", "in_basis"]

EPS = 2.0**-52
DENSE = 2**22  # numbers of covariance matrices that may be turned


@dataclass(frozen=True, eq=False, repr=False)
class Rotated:
    r"""The law of Q^T Y, Y \sim ``law``, Q orthogonal: (Q x)_i = \langle basis_i, x\rangle for the first r coordinates.

    law : a law on R^d; basis : (r, d) orthonormal rows, r <= d. The other rows of Q are completed by r Householder reflections, so that a
    turn costs O(r d) and no (d, d) matrix is formed unless ``cov()`` or a Jacobian is asked for; along coordinate axes in order Q = I. Noise
    N(0, v I) does not see Q: a rotated law stays one. Divergences of two laws with the same basis are those of ``law``.
    Raises TypeError for what is no law, ValueError for a basis of another shape or one that is not orthonormal to 1e-12.
    """

    law: Any
    basis: Any

    def __post_init__(self):
        if not hasattr(self.law, "dim") or not hasattr(self.law, "noised"):
            raise TypeError(f"law: got {type(self.law).__name__}, allowed is a law (with .dim and .noised(kernel)); for an array use Empirical")
        basis = finite("basis", self.basis)
        if basis.ndim != 2 or basis.shape[1] != self.law.dim or not 1 <= len(basis) <= self.law.dim:
            raise ValueError(f"basis: got shape {basis.shape} for a law of dimension {self.law.dim}, allowed is (r, d) with 1 <= r <= d")
        off = float(np.abs(basis @ basis.T - np.eye(len(basis))).max())
        if off > 1e-12:
            raise ValueError(f"basis: got rows whose products are off by {off:.3g}, allowed are orthonormal rows; take np.linalg.qr(basis.T)[0].T")
        self.__dict__.update(basis=frozen(basis))

    @property
    def dim(self):
        return self.law.dim

    @property
    def error(self):
        return getattr(self.law, "error", 0.0)

    @property
    def twin(self):
        twin = getattr(self.law, "twin", None)
        return None if twin is None else self._of(twin)

    def _of(self, law):
        return trusted(Rotated, law=law, basis=self.basis)

    @cached_property
    def _mirrors(self):
        """Unit vectors v_i (zero for the identity): Q = H_r ... H_1, H_i x = x - 2 <v_i, x> v_i."""
        found = []
        for i, b in enumerate(self.basis):
            for v in found:
                b = b - 2 * (b @ v) * v
            b = np.where(np.arange(self.dim) < i, 0.0, b)
            rest = float(np.sum(np.delete(b, i) ** 2))
            v = b.copy()
            v[i] = b[i] - 1 if b[i] <= 0 else -rest / (1 + b[i])  # without cancellation
            size = float(np.linalg.norm(v))
            found.append(frozen(v / size if size > 0 else v))
        return found

    def turn(self, x):
        """Q x for points (..., d)."""
        for v in self._mirrors:
            x = _mirrored(x, v)
        return x

    def back(self, y):
        """Q^T y for points (..., d)."""
        for v in reversed(self._mirrors):
            y = _mirrored(y, v)
        return y

    def _back_matrices(self, matrices):
        """Q^T A Q for matrices (..., d, d)."""
        return self.back(self.back(matrices).swapaxes(-1, -2)).swapaxes(-1, -2)

    def __repr__(self):
        return f"Rotated({self.law!r})"

    def __eq__(self, other):
        return self.law == other.law and common.same(self.basis, other.basis) if isinstance(other, Rotated) else NotImplemented

    def __hash__(self):
        return hash((self.law, common.fingerprint(self.basis)))

    def mean(self):
        return self.back(self.law.mean())

    def cov(self):
        return self._back_matrices(self.law.cov())

    def second_moment(self):
        return self.law.second_moment()

    def logpdf(self, x):
        """(...)."""
        x, shape = rows(x, self.dim)
        return self.law.logpdf(self.turn(x)).reshape(shape)

    def pdf(self, x):
        x, shape = rows(x, self.dim)
        return self.law.pdf(self.turn(x)).reshape(shape)

    def score(self, x):
        r"""Q^T \nabla\log p_Y(Q x), (..., d)."""
        x, shape = rows(x, self.dim)
        return self.back(self.law.score(self.turn(x))).reshape(*shape, self.dim)

    def score_jacobian(self, x):
        """(..., d, d)."""
        x, shape = rows(x, self.dim)
        return self._back_matrices(self.law.score_jacobian(self.turn(x))).reshape(*shape, self.dim, self.dim)

    def sample(self, n, seed):
        """(n, d) draws: those of ``law``, turned back. Growing n keeps the first rows."""
        y = self.law.sample(n, seed)
        for v in reversed(self._mirrors):
            y = y - 2 * turned(y, v[:, None]) * v
        return y

    def noised(self, kernel):
        """The noised law, turned."""
        return self._of(self.law.noised(kernel))

    def denoise(self, x, kernel):
        r"""E[X_0 | m X_0 + \sqrt v Z = x], (..., d)."""
        x, shape = rows(x, self.dim)
        return self.back(self.law.denoise(self.turn(x), kernel)).reshape(*shape, self.dim)

    def denoise_cov(self, x, kernel):
        """(..., d, d)."""
        x, shape = rows(x, self.dim)
        return self._back_matrices(self.law.denoise_cov(self.turn(x), kernel)).reshape(*shape, self.dim, self.dim)

    def cdf(self, x):
        """Dimension 1 only, else NoMethod."""
        on_the_line(self, "cdf")
        return self.law.cdf(self.turn(x))

    def quantile(self, u):
        """Dimension 1 only, else NoMethod."""
        on_the_line(self, "quantile")
        return self.back(self.law.quantile(u))


def _mirrored(x, v):
    v = like(v, x)
    return x - 2 * (x @ v)[..., None] * v if v.any() else x


# ---- a small core and a Gaussian rest ---------------------------------------------------------------------------------------------------


def factorised(law):
    r"""Rotated(Product((core, rest))) equal to ``law`` to the rounding of its parameters, or None.

    For a GaussianMixture whose means span a line or a plane, and whose covariances do not mix it with its complement and are one and the
    same there (one isotropic covariance for all, for example): then X = centre + Q^T (Y, Z), Y a mixture in dimension 1 or 2, Z Gaussian and
    independent of Y. A Rotated is returned as it is.
    """
    if isinstance(law, Rotated):
        return law
    basis = _span(law) if isinstance(law, GaussianMixture) and law.dim > 1 else None
    return None if basis is None else in_basis(law, basis)


def factorised_together(p, q):
    """(p, q) in one basis as products of a core and a Gaussian rest, in its coordinates, or None."""
    for law in (p, q):
        if isinstance(law, Rotated):
            found = [in_basis(x, law.basis) for x in (p, q)]
            return None if None in found else tuple(x.law for x in found)
    mixtures = [law for law in (p, q) if isinstance(law, GaussianMixture)]
    if not mixtures or not all(isinstance(law, (Gaussian, GaussianMixture)) for law in (p, q)):
        return None
    basis = _span(*mixtures)
    found = [None] if basis is None else [in_basis(x, basis) for x in (p, q)]
    return None if None in found else tuple(x.law for x in found)


def in_basis(law, basis):
    """``law`` as Rotated(Product((core, rest)), basis), core of dimension len(basis), or None where the two are not independent."""
    r, d = basis.shape
    if isinstance(law, Rotated):
        return law if law.basis is basis or common.same(law.basis, basis) else None
    if not isinstance(law, (Gaussian, GaussianMixture)) or not r < d:
        return None
    frame = Rotated(law, basis)  # of which only the turn is used
    gaussian = isinstance(law, Gaussian)
    weights, means, covs = (np.ones(1), law.mean()[None], law.covariance[None]) if gaussian else (law.weights, law.means, law.covs)
    turned, size = frame.turn(means), _rounding(means)
    centre = weights @ turned[:, r:]
    if np.abs(turned[:, r:] - centre).max() > size:
        return None
    spread = _spreads(frame, covs, r)
    if spread is None:
        return None
    inner, outer = spread
    core = Gaussian(turned[0, :r], inner[0]) if gaussian else GaussianMixture(weights, turned[:, :r], inner)
    return trusted(Rotated, law=Product((core, Gaussian(centre, outer))), basis=frame.basis)


def _rounding(means):
    """What rounding may move a coordinate of the means by."""
    return 32 * EPS * float(np.sqrt(np.max(np.sum(means * means, axis=1)) * len(means)))


def _span(*laws):
    """(r, d) orthonormal rows, r = 1 or 2, of the span of the deviations of means (each law's from its own) and of unequal covariances; or None."""
    moves = np.concatenate([law.means - law.weights @ law.means for law in laws])
    unequal = [law.covs[1:] - law.covs[:1] for law in laws if law.covs.ndim > 1 or np.ptp(law.covs)]
    if any(x.ndim == 1 for x in unequal) or sum(x.size for x in unequal) > DENSE:
        return None
    extra = [x.reshape(-1, x.shape[-1]) if x.ndim == 3 else np.eye(x.shape[1])[np.any(x, axis=0)] for x in unequal]
    size = max(_rounding(law.means) for law in laws)
    around = np.concatenate([moves, *[x * (np.abs(moves).max() / max(np.abs(x).max(initial=0.0), 1e-300)) for x in extra if np.any(x)]])
    varying = np.flatnonzero(np.abs(around).max(axis=0) > size)
    d = moves.shape[1]
    if len(varying) <= min(2, d - 1):  # coordinate axes: no turn at all
        return np.eye(d)[varying if len(varying) else [0]]
    _, s, axes = np.linalg.svd(around, full_matrices=False)
    r = int(np.sum(s > size))
    if r > 2 or r >= d:
        return None
    return axes[:r] * np.where(np.abs(axes[:r]).max(axis=1) == axes[:r].max(axis=1), 1.0, -1.0)[:, None]


def _spreads(frame, covs, r):
    """(covariances of the cores, covariance of the rest) if each component's is of blocks and the rest is common to all, else None."""
    d = frame.dim
    if covs.ndim == 1:
        return (covs, float(covs[0])) if np.ptp(covs) <= 4 * EPS * covs.max() else None
    if covs.size * (d if covs.ndim == 2 else 1) > DENSE:
        return None
    full = covs if covs.ndim == 3 else covs[:, :, None] * np.eye(d)
    full = frame.turn(frame.turn(full).swapaxes(-1, -2))
    size = 64 * d * EPS * float(np.abs(full).max())
    rest = full[0, r:, r:]
    if np.abs(full[:, :r, r:]).max() > size or np.abs(full[:, r:, r:] - rest).max() > size:
        return None
    inner, rest = 0.5 * (full[:, :r, :r] + full[:, :r, :r].swapaxes(1, 2)), 0.5 * (rest + rest.T)
    variances = np.diag(rest)
    if np.abs(rest - np.diag(variances)).max() <= size:
        rest = variances if np.ptp(variances) > size else variances[0]
    return inner[:, 0, 0] if r == 1 else inner, rest
