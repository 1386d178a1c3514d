r"""Is p^2/q integrable, and where is its mass? For two mixtures of Gaussians in the plane.

In direction u, p^2/q decays like \exp(-\frac{r^2}2 h(u)) up to \exp(O(r)), h(u) = \min_i \max_j u^T (2\Lambda_i - \Lambda_j) u over the
precisions \Lambda_i of p, \Lambda_j of q. h > 0 everywhere: integrable, h < 0 somewhere: not. If 2\Lambda_i - \Lambda_j is positive definite for
some j = j(i), and that for every i of K, then p^2/q \le K \sum_i (w_i p_i)^2 / (w_j q_j): Gaussians of known place and size.
"""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np

from ..errors import NotTrusted
from .slices import spots

BORDER = 1e-11


def diverges(z, covs_p, covs_q):
    """Is the integral of p^2/q infinite? Proved either way; NotTrusted on the border, unless one component of q rules there: then exact."""
    if len(covs_q) == 1:
        return any(_exceeds(c, covs_q[0]) for c in covs_p)
    forms = _forms(z)
    p, q = np.unique(forms[: z.count], axis=0), forms[z.count :]
    shapes, first = np.unique(q, axis=0, return_index=True)
    i, j = np.triu_indices(len(shapes), 1)
    apart = shapes[i] - shapes[j]
    turn = np.arccos(np.clip(-apart[:, 0] / np.hypot(apart[:, 1], apart[:, 2]), -1.0, 1.0))
    middle = np.arctan2(apart[:, 2], apart[:, 1])
    crossings = np.concatenate([middle + turn, middle - turn])
    border = False
    for form in p:
        h = 2 * form - shapes
        angle = np.concatenate([np.arctan2(-h[:, 2], -h[:, 1]), crossings[np.isfinite(crossings)]])
        values = h[:, :1] + h[:, 1:2] * np.cos(angle) + h[:, 2:] * np.sin(angle)
        best = values.max(axis=0)
        at, close = int(np.argmin(best)), BORDER * float(np.max(np.abs(form)) + np.max(np.abs(shapes)))
        if best[at] < -close:
            return True
        if best[at] <= close:
            ruling = np.nonzero(values[:, at] >= best[at] - 4 * close)[0]
            alone = len(ruling) == 1 and np.sum((q == shapes[ruling[0]]).all(axis=1)) == 1
            mine = next(k for k in range(z.count) if (forms[k] == form).all())
            if alone and _exceeds(covs_p[mine], covs_q[first[ruling[0]]]):
                return True
            border = True
    if border:
        raise NotTrusted(
            "chi_squared: the covariances are on the border between a finite and an infinite integral of p^2/q, within rounding; "
            "use kullback_leibler or hellinger, or noise both laws a little"
        )
    return False


def _exceeds(c, d):
    """Is 2 D - C not positive definite? In rational arithmetic."""
    c, d = ([Fraction(v) for v in (m[0, 0], 0.5 * (m[0, 1] + m[1, 0]), m[1, 1])] for m in (c, d))
    s00, s01, s11 = (2 * y - x for x, y in zip(c, d, strict=True))
    return not (s00 > 0 and s00 * s11 > s01 * s01)


def _forms(z):
    r"""u^T \Lambda u = f_0 + f_1 \cos\phi + f_2 \sin\phi for u = (\cos\phi/2, \sin\phi/2): (K, 3)."""
    xx = z.s**-2
    yy, yx = z.sigma**-2 + z.b**2 * xx, -z.b * xx
    return np.stack([0.5 * (yy + xx), 0.5 * (yy - xx), yx], axis=1)


def with_peaks(z):
    r"""(z with the Gaussians p_i^2 / q_{j(i)} among its components, log of the integral of the bound in the module's docstring).

    For panels only: the new components carry no weight. In coordinates in which q_j = N(0, I) and p_i = N(\delta, C) these are multiples of
    N(2 S^{-1}\delta, C S^{-1}), S = 2I - C, with integral (\det C \det S)^{-1/2} \exp(\delta^T S^{-1}\delta). NotTrusted where no such j(i) exists.
    """
    mu, sigma, a, b, s, log_w = (getattr(z, k)[: z.count, None] for k in ("mu", "sigma", "a", "b", "s", "log_w"))
    mu_q, sigma_q, a_q, b_q, s_q, log_q = (getattr(z, k)[z.count :] for k in ("mu", "sigma", "a", "b", "s", "log_w"))
    c00, c10, c11 = (sigma / sigma_q) ** 2, (b - b_q) * sigma**2 / (s_q * sigma_q), ((b - b_q) * sigma / s_q) ** 2 + (s / s_q) ** 2
    s00, s10, s11 = 2 - c00, -c10, 2 - c11
    det_c, det = (sigma * s / (sigma_q * s_q)) ** 2, s00 * s11 - s10 * s10
    dy = (mu - mu_q) / sigma_q
    dx = (a - a_q - b_q * (mu - mu_q)) / s_q
    y, x = (s11 * dy - s10 * dx) / det, (s00 * dx - s10 * dy) / det
    log_size = 2 * log_w - log_q - 0.5 * np.log(det_c * det) + dy * y + dx * x
    log_size = np.where((s00 > 0) & (s11 > 0) & (det > 1e-9), log_size, np.inf)
    best = np.arange(z.count), np.argmin(log_size, axis=1)
    if not np.all(np.isfinite(log_size[best])):
        raise NotTrusted(
            "chi_squared: finite, but some component of p is dominated by no single component of q, only by several together, and p^2/q is not "
            "followed that far; use kullback_leibler or hellinger"
        )
    yy, yx, det_v = (c00 * s11 - c10 * s10) / det, (c10 * s00 - c00 * s10) / det, det_c / det
    new = {
        "mu": mu_q + 2 * sigma_q * y, "a": a_q + 2 * b_q * sigma_q * y + 2 * s_q * x, "sigma": sigma_q * np.sqrt(yy),
        "b": b_q + s_q / sigma_q * yx / yy, "s": s_q * np.sqrt(det_v / yy), "log_w": log_size,
    }  # fmt: skip
    wide = replace(z, **{k: np.concatenate([getattr(z, k), v[best]]) for k, v in new.items()})
    return replace(wide, spots=spots(wide)), math.log(z.count) + float(np.logaddexp.reduce(log_size[best]))
