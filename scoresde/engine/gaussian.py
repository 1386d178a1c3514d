"""The exact law of a chain whose score is affine: a linear recurrence for the joint law of what the table remembers, in any dimension."""

import numpy as np

from ..laws import Gaussian

__all__ = ["propagate_gaussian"]


def propagate_gaussian(table, score, start, *, keep="last"):
    r"""y_{r+1} = \sum_j (a_{r,j} + b_{r,j} G_{r-j}) y_{r-j} + b_{r,j} g_{r-j} + \sum_l c_{r,l} z_{r-l},   s_r = G_r y_r + g_r,  G_r = -\Sigma_t^{-1}.

    Every \Sigma_t = m^2 \Sigma + v I has the eigenvectors of the target's covariance \Sigma, so in that basis the recurrence is diagonal;
    only the start's covariance may be full there. Returns the Gaussian law of the last state, or of all S+1 states (keep="all").
    start : Gaussian; score : has ``affine(t) -> (p_t, shift)``, or is None for a table that never evaluates it.
    """
    d = start.dim
    basis = None if score is None else eigenbasis(score.affine(float(table.score_times[0]))[0])
    mean0, cov0 = start.mean(), _spread(start)
    if basis is not None:
        mean0 = basis.T @ mean0
        cov0 = basis.T @ (cov0 if cov0.ndim == 2 else cov0[:, None] * np.eye(d)) @ basis if np.ptp(cov0) else cov0
    dense = cov0.ndim == 2
    weigh = (lambda g, C: g[:, None] * C) if dense else (lambda g, C: g * C)
    unit = np.eye(d) if dense else np.ones(d)
    lags, noises = table.a.shape[1], table.c.shape[1]
    # remembered: y_r, y_{r-1}, ... (lags of them) and z_{r-1}, z_{r-2}, ... (noises - 1 of them), with their joint covariance
    S = lags + noises - 1
    mean = [mean0] + [np.zeros(d)] * (S - 1)
    cov = [[np.zeros_like(cov0)] * S for _ in range(S)]
    cov[0][0] = cov0
    slopes, shifts = [np.zeros(d)] * lags, [np.zeros(d)] * lags
    out = [start]
    for r in range(table.rows):
        if table.used[r]:
            law, shift = score.affine(float(table.score_times[r]))
            precision = 1 / _eigenvalues(law, basis)
            centre, shift = law.mean(), np.asarray(shift)
            if basis is not None:
                centre, shift = basis.T @ centre, basis.T @ shift
            slopes, shifts = [-precision, *slopes[:-1]], [precision * centre + shift, *shifts[:-1]]
        else:
            slopes, shifts = [np.zeros(d), *slopes[:-1]], [np.zeros(d), *shifts[:-1]]
        a, b, c = table.a[r], table.b[r], table.c[r]
        gains = [a[j] + b[j] * slopes[j] for j in range(lags)] + [np.full(d, x) for x in c[1:]]
        new_mean = sum(gains[j] * mean[j] + b[j] * shifts[j] for j in range(lags))
        cross = [sum(weigh(gains[i], cov[i][k]) for i in range(S)) for k in range(S)]  # Cov(new, old_k)
        own = sum(gains[k] * cross[k] if not dense else cross[k] * gains[k][None, :] for k in range(S)) + c[0] ** 2 * unit
        own = 0.5 * (own + own.T) if dense else own
        mean, cov = _shift(mean, cov, new_mean, cross, own, c[0] * unit, unit, lags, S)
        if table.state[r] and (keep == "all" or r == table.rows - 1):
            out.append(_law(mean[0], cov[0][0], basis))
    return out if keep == "all" else out[-1]


def _shift(mean, cov, new_mean, cross, own, with_noise, unit, lags, S):
    """Push (new y, and this row's noise) in front of the remembered ones and forget the oldest of each."""
    zero = np.zeros_like(own)
    old = [*range(lags - 1), *range(lags, S - 1)]  # what stays: all lags but the last, all noises but the last
    names = ["y", *range(lags - 1), *(["z", *range(lags, S - 1)] if lags < S else [])]

    def entry(p, q):
        if p == "y" and q == "y":
            return own
        if "y" in (p, q) and "z" in (p, q):
            return with_noise
        if p == "z" and q == "z":
            return unit
        if "z" in (p, q):
            return zero  # fresh noise is independent of everything remembered
        if p == "y":
            return cross[q]
        if q == "y":
            return cross[p].T if cross[p].ndim == 2 else cross[p]
        return cov[p][q]

    means = [new_mean, *(mean[k] for k in old if k < lags)] + ([np.zeros_like(new_mean)] * (S - lags))
    return means, [[entry(p, q) for q in names] for p in names]


def eigenbasis(law):
    """The eigenvectors of the covariance, as columns; None when it is diagonal already."""
    cov = _spread(law)
    return None if cov.ndim == 1 else np.linalg.eigh(cov)[1]


def _spread(law):
    """Variances (d,) or a full covariance (d, d), as the law holds it."""
    cov = law.covariance
    return np.broadcast_to(cov, (law.dim,)) if cov.ndim < 2 else cov


def _eigenvalues(law, basis):
    cov = _spread(law)
    return cov if basis is None or cov.ndim == 1 else np.einsum("ij,ij->j", basis, cov @ basis)


def _law(mean, cov, basis):
    if basis is None:
        return Gaussian(mean, cov)
    full = basis @ (cov if cov.ndim == 2 else cov[:, None] * np.eye(len(cov))) @ basis.T
    return Gaussian(basis @ mean, 0.5 * (full + full.T))
