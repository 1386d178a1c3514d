r"""Gaussian components in any dimension, numpy and torch: the sums over k that densities, scores and denoisers are made of.

Component k has mean \mu_k and covariance B_k diag(\lambda_k) B_k^T; ``lam`` is (K, 1) or (K, d), ``basis`` (K, d, d) or None. Arrays
over components and points are (K, n): sums over k then run along contiguous rows. Loops run over coordinates or over components,
whichever are fewer, so that n K d numbers are never held; differences x - \mu are taken first, so that far means cost no digits.
"""

import math

import numpy as np

from .._arrays import namespace
from ._common import wide

__all__ = ["average", "mean_matrix", "posterior", "spread", "squares"]


def squares(x, means, lam, basis):
    r"""|B_k^T (x - \mu_k)|^2_{1/\lambda_k}: squared Mahalanobis distances (K, n) of the rows of x (n, d)."""
    count, d = means.shape
    if basis is None and d <= count:
        total = None
        for j in range(d):
            r = x[:, j] - means[:, j, None]
            r = r * (r / lam[:, min(j, lam.shape[1] - 1), None])
            total = r if total is None else total + r
        return total
    each = []
    for k in range(count):
        r = x - means[k] if basis is None else (x - means[k]) @ basis[k]
        each.append((r * (r / lam[k])).sum(-1))
    return namespace(x).stack(each)


def posterior(x, constant, means, lam, basis, centre_and_scale):
    r"""(e, total): e (K, n) proportional to w_k N(x; \mu_k, \Sigma_k) with largest entry 1, and its sum over k.

    Where all squared distances overflow, the nearest component (in units of its own spread) has everything: that is the limit |x| -> inf.
    """
    xp = namespace(x)
    logits = constant[:, None] - 0.5 * squares(x, means, lam, basis)
    top = xp.amax(logits, 0)
    if x.shape[0] and float(top.min()) == -math.inf:
        lost = top == -math.inf
        near = _nearest(xp, x, means, lam, basis, centre_and_scale)
        index = xp.arange(means.shape[0]) if xp is np else xp.arange(means.shape[0], device=x.device)
        e = xp.where(lost, xp.ones_like(logits) * (index[:, None] == near), xp.exp(logits - xp.where(lost, 0.0, top)))
    else:
        e = xp.exp(logits - top)
    return e, e.sum(0)


def _nearest(xp, x, means, lam, basis, largest):
    """Index (n,) of the component nearest to x, computed in units in which nothing overflows."""
    scale = xp.clip(xp.amax(abs(x), -1), max(largest, 1e-300), None)[:, None]
    best, least = None, None
    for k in range(means.shape[0]):
        r = x / scale - means[k] / scale
        r = r if basis is None else r @ basis[k]
        q = (r * (r / lam[k])).sum(-1)
        best = xp.where(q < least, k, best) if k else xp.zeros_like(q, dtype=xp.int64)
        least = xp.where(q < least, q, least) if k else q
    return best


def average(x, r, means, gain, basis, shift=None):
    r"""\sum_k r_k [ s_k + B_k diag(g_k) B_k^T (x - \mu_k) ], (n, d), for r (K, n), gain (K, 1 or d), shift (K, d) or None (0)."""
    count, d = means.shape
    xp = namespace(x)
    if basis is None and d <= count:
        out = []
        for j in range(d):  # (r g) first: a component without weight may have an infinite g (x - mu)
            terms = (r * gain[:, min(j, gain.shape[1] - 1), None]) * (x[:, j] - means[:, j, None])
            out.append((terms if shift is None else terms + r * shift[:, j, None]).sum(0))
        return out[0][:, None] if d == 1 else xp.stack(out, -1)
    total = 0.0
    for k in range(count):
        diff = x - means[k] if basis is None else (x - means[k]) @ basis[k]
        term = (r[k][:, None] * gain[k]) * diff
        term = term if basis is None else term @ basis[k].T
        total = total + (term if shift is None else term + r[k][:, None] * shift[k])
    return total


def spread(x, r, means, gain, basis, shift=None):
    r"""Covariance (n, d, d) under the weights r (K, n; sum 1) of s_k + B_k diag(g_k) B_k^T (x - \mu_k).

    Deviations are taken from the heaviest component, then from the mean: nothing cancels, and where one component has all weight the
    result is exactly 0.
    """
    count, d = means.shape
    xp = namespace(x)
    if count == 1:
        return xp.zeros_like(x)[:, :, None] * xp.zeros_like(x)[:, None, :]
    top = r.argmax(0)
    if basis is None and d <= min(count, 4):
        column = xp.arange(x.shape[0])
        dev = []
        for j in range(d):
            e = gain[:, min(j, gain.shape[1] - 1), None] * (x[:, j] - means[:, j, None])
            e = e if shift is None else e + shift[:, j, None]
            e = xp.where(r > 0, e - e[top, column], 0.0)
            dev.append(e - (r * e).sum(0))
        return xp.stack([xp.stack([(r * dev[i] * dev[j]).sum(0) for j in range(d)], -1) for i in range(d)], -2)

    def pull(k, rows=slice(None)):
        diff = x[rows] - means[k] if basis is None else (x[rows] - means[k]) @ basis[k]
        diff = gain[k] * diff
        diff = diff if basis is None else diff @ basis[k].T
        return diff if shift is None else diff + shift[k]

    used = [k for k in range(count) if float(r[k].max()) > 0] if x.shape[0] else []
    heaviest = xp.zeros_like(x)
    for k in used:
        heaviest = xp.where((top == k)[:, None], pull(k), heaviest)
    first = sum((r[k][:, None] * xp.where((r[k] > 0)[:, None], pull(k) - heaviest, 0.0) for k in used), xp.zeros_like(x))
    second = xp.zeros_like(x)[:, :, None] * xp.zeros_like(x)[:, None, :]
    for k in used:
        dev = xp.where((r[k] > 0)[:, None], pull(k) - heaviest, 0.0) - first
        second = second + (r[k][:, None] * dev)[:, :, None] * dev[:, None, :]
    return second


def mean_matrix(r, inner, basis, d):
    r"""\sum_k r_k B_k diag(i_k) B_k^T, (n, d, d), for r (K, n) and inner (K, 1 or d)."""
    if basis is None:
        diagonal = r.T @ inner
        return wide(namespace(r).broadcast_to(diagonal, (diagonal.shape[0], d)))
    full = (basis * inner[:, None, :]) @ basis.swapaxes(-1, -2)
    return (r.T @ full.reshape(len(inner), d * d)).reshape(-1, d, d)
