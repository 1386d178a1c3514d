r"""Two Gaussians in any dimension: closed forms, and total variation by a contour integral.

Coordinates are chosen in which q = N(0, I) and p = N(\delta, diag(\lambda)); every formula below is a sum over these axes of a function
of \lambda, e = \lambda - 1 and \delta^2, in which equal axes are counted, not repeated. e is carried beside \lambda because each loses
digits where the other is accurate.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..enclosure import Enclosure
from ..errors import NoMethod

EPS = 2.0**-52
LOSS = 8 * EPS


@dataclass(frozen=True)
class Axes:
    """Groups of axes: variance ratio ``lam``, ``e = lam - 1``, ``count`` of axes, ``shift`` = sum of delta^2 over the group.

    Each number is accurate to LOSS relatively; ``blur`` is the absolute uncertainty of e (relative: of shift) that full matrices add.
    """

    lam: np.ndarray
    e: np.ndarray
    count: np.ndarray
    shift: np.ndarray
    blur: float


def _full(cov, d):
    return cov if cov.ndim == 2 else np.diag(np.broadcast_to(cov, (d,)))


def axes(p, q):
    """The common axes of two Gaussians (see the module's docstring). Scalar and diagonal covariances never form a matrix."""
    move, d = p.mean() - q.mean(), p.dim
    vp, vq = np.asarray(p.covariance), np.asarray(q.covariance)
    if vp.ndim < 2 and vq.ndim < 2:
        if vp.ndim == vq.ndim == 0:
            return Axes(*(np.atleast_1d(x) for x in (vp / vq, (vp - vq) / vq, float(d), move @ move / vq)), 0.0)
        lam, e = (np.broadcast_to(x, (d,)) for x in (vp / vq, (vp - vq) / vq))
        lam, first, group, count = np.unique(lam, return_index=True, return_inverse=True, return_counts=True)
        return Axes(lam, e[first], count.astype(float), np.bincount(group, weights=move**2 / vq), 0.0)
    vp, vq = _full(vp, d), _full(vq, d)
    whiten = np.linalg.cholesky(vq)
    solve = np.linalg.solve
    difference = solve(whiten, solve(whiten, vp - vq).T)
    e, turn = np.linalg.eigh(0.5 * (difference + difference.T))
    lam = 1.0 + e
    if np.max(np.abs(e)) > 0.5:  # small eigenvalues would be lost in 1 + e
        ratio = solve(whiten, np.linalg.cholesky(vp))
        turn, root, _ = np.linalg.svd(ratio)
        lam = root**2
        e = lam - 1.0
    shift = (turn.T @ solve(whiten, move)) ** 2
    return Axes(lam, e, np.ones(d), shift, d * EPS * float(np.linalg.cond(vq)) * float(np.max(lam)))


def _log1pmx(e, lam):
    """log(1 + e) - e without cancellation; e > -1 real. Series below 1/8, else log(lam) - e."""
    small = np.abs(e) < 0.125
    x = np.where(small, e, 0.0)
    series = np.zeros_like(x)
    for k in range(19, 1, -1):  # 0.125^20 / 20 < 2^-62 of the leading term
        series = x * series + (1.0 if k % 2 else -1.0) / k
    return np.where(small, x * x * series, np.log(lam) - e)


def kullback_leibler(p, q):
    r"""KL = \frac12 \sum [e - \log\lambda + \delta^2]."""
    a = axes(p, q)
    value = 0.5 * float(a.count @ -_log1pmx(a.e, a.lam) + a.shift.sum())
    blurred = a.blur * float(a.count @ (np.abs(a.e) / a.lam + a.blur / a.lam**2) + a.shift.sum())
    return Enclosure.near(value, LOSS * value + blurred, method="closed form").cut(0.0)


def hellinger(p, q):
    r"""H^2 = 1 - \prod \left(\frac{2\sqrt\lambda}{1+\lambda}\right)^{1/2} \exp\left(-\frac{\delta^2}{4(1+\lambda)}\right)."""
    a = axes(p, q)
    gap = a.e**2 / ((1 + np.sqrt(a.lam)) ** 2 * 2 * np.sqrt(a.lam))  # (1 + lam)/(2 sqrt lam) - 1
    exponent = float(0.5 * a.count @ np.log1p(gap) + np.sum(a.shift / (4 * (1 + a.lam))))
    square = -math.expm1(-exponent)
    blurred = a.blur * float(a.count @ ((np.abs(a.e) + a.blur) / a.lam**2) + a.shift.sum())
    error = (LOSS * exponent + blurred) * math.exp(-exponent) + EPS * square
    return Enclosure.near(math.sqrt(square), _root_error(square, error), method="closed form").cut(0.0, 1.0)


def _root_error(square, error):
    """|sqrt(x) - sqrt(square)| for |x - square| <= error."""
    return error / math.sqrt(square) + EPS * math.sqrt(square) if square > error else math.sqrt(square + error)


def chi_squared(p, q):
    r"""1 + \chi^2 = \prod (1 - e^2)^{-1/2} \exp\left(\frac{\delta^2}{1 - e}\right), infinite if some e >= 1, i.e. some \lambda >= 2."""
    a = axes(p, q)
    if np.any(a.e >= 1):
        return Enclosure.near(math.inf, 0.0, method="closed form: a variance ratio is at least 2")
    exponent = float(-0.5 * a.count @ (np.log1p(-a.e) + np.log1p(a.e)) + np.sum(a.shift / (1 - a.e)))
    steep = float(a.count @ ((LOSS * np.abs(a.e) + a.blur) * (np.abs(a.e) + a.blur) / (1 - a.e**2)))
    steep += float(np.sum((LOSS + a.blur) * a.shift * (2 - a.e) / (1 - a.e) ** 2))
    if exponent > 709.0:
        return Enclosure(np.finfo(float).max, math.inf, "deterministic", method="closed form, beyond floating point")
    value = math.expm1(exponent)
    return Enclosure.near(value, (value + 1) * 2 * steep + 2 * EPS * value, method="closed form").cut(0.0)


def wasserstein2(p, q):
    r"""W_2^2 = |\mu_p-\mu_q|^2 + \min_U \|A - BU\|_F^2, A A^T = \Sigma_p, B B^T = \Sigma_q, U orthogonal (Procrustes form of Bures).

    The minimiser U comes from the singular vectors of A^T B. Unlike the trace formula this does not cancel where the laws are close.
    Source: Bhatia, Jain & Lim 2019, https://arxiv.org/abs/1712.01504
    """
    move, vp, vq, d = p.mean() - q.mean(), np.asarray(p.covariance), np.asarray(q.covariance), p.dim
    size = math.sqrt(max(p.second_moment(), q.second_moment()))
    if vp.ndim < 2 and vq.ndim < 2:
        spread = (vp - vq) / (np.sqrt(vp) + np.sqrt(vq))
        value = math.hypot(np.linalg.norm(move), float(np.linalg.norm(np.broadcast_to(spread, (d,)))))
        return Enclosure.near(value, LOSS * value, method="closed form").cut(0.0)
    a, b = np.linalg.cholesky(_full(vp, d)), np.linalg.cholesky(_full(vq, d))
    left, _, right = np.linalg.svd(a.T @ b)
    value = math.hypot(np.linalg.norm(move), float(np.linalg.norm(a - b @ right.T @ left.T)))
    return Enclosure.near(value, 8 * d * EPS * size, method="closed form").cut(0.0)


def wasserstein1(p, q):
    r"""E|\Delta + \tau Z|, \tau = |\sigma_p - \sigma_q|, on the line; |\Delta| for equal covariances in any d."""
    move, vp, vq = p.mean() - q.mean(), np.asarray(p.covariance), np.asarray(q.covariance)
    if p.dim == 1:
        vp, vq, delta = float(vp.reshape(())), float(vq.reshape(())), abs(float(move[0]))
        tau = abs(vp - vq) / (math.sqrt(vp) + math.sqrt(vq))
        if tau > 0:
            z = min(delta / tau, 60.0) if delta > 60 * tau else delta / tau
            delta = tau * math.sqrt(2 / math.pi) * math.exp(-0.5 * z * z) + delta * math.erf(z / math.sqrt(2))
        return Enclosure.near(delta, 2 * LOSS * delta, method="closed form").cut(0.0)
    if vp.shape == vq.shape and np.array_equal(vp, vq):
        return Enclosure.near(float(np.linalg.norm(move)), LOSS * float(np.linalg.norm(move)), method="closed form").cut(0.0)
    raise NoMethod("wasserstein1: no closed form for Gaussians of different covariance in dimension > 1; use wasserstein2, which bounds it above")


def fisher_divergence(p, q):
    r"""E_p|s_p - s_q|^2 = \|\Sigma_q^{-1}(\Sigma_p - \Sigma_q)L^{-T}\|_F^2 + |\Sigma_q^{-1}(\mu_p - \mu_q)|^2, \Sigma_p = L L^T."""
    move, vp, vq, d = p.mean() - q.mean(), np.asarray(p.covariance), np.asarray(q.covariance), p.dim
    if vp.ndim < 2 and vq.ndim < 2:
        value = float(np.sum(np.broadcast_to(((vp - vq) / vq) ** 2 / vp, (d,)))) + float(np.sum((move / vq) ** 2))
        return Enclosure.near(value, LOSS * value, method="closed form").cut(0.0)
    vp, vq = _full(vp, d), _full(vq, d)
    root = np.linalg.cholesky(vp)
    value = float(np.sum(np.linalg.solve(vq, np.linalg.solve(root, vp - vq).T) ** 2) + np.sum(np.linalg.solve(vq, move) ** 2))
    loss = 8 * d * EPS * float(np.linalg.cond(vq) + np.linalg.cond(vp))
    return Enclosure.near(value, loss * value, method="closed form").cut(0.0)


# ---- total variation --------------------------------------------------------------------------------------------------------------


def clog1p(z):
    """log(1 + z) for complex z, accurate for small |z| (numpy's complex log1p keeps 7 digits at 1e-10 + 1e-12j)."""
    x, y = z.real, z.imag
    return 0.5 * np.log1p(x * (2 + x) + y * y) + 1j * np.arctan2(y, 1 + x)


def _clog1pmx(z):
    """log(1 + z) - z for complex z; series below 1/8."""
    small = np.abs(z) < 0.125
    x = np.where(small, z, 0.0)
    series = np.zeros_like(x)
    for k in range(19, 1, -1):
        series = x * series + (1.0 if k % 2 else -1.0) / k
    return np.where(small, x * x * series, clog1p(z) - z)


def _log_m(s, a, log_mx):
    r"""\log \int q^s p^{1-s} = \sum \frac12 s\log\lambda - \frac12\log(1+se) - \frac12 s(1-s)\delta^2/(1+se), and its rounding scale."""
    value, scale = np.zeros_like(s), np.zeros(s.shape)
    for i in range(0, len(a.e), 64):  # blocks keep the (nodes, axes) array small in dimension 1e4
        block = slice(i, i + 64)
        se = s[:, None] * a.e[block]
        first, second = s[:, None] * log_mx[block], _clog1pmx(se)  # s log lam - log(1 + se): the linear terms cancel exactly
        third = s[:, None] * (1 - s[:, None]) * a.shift[block] / (1 + se)
        value += 0.5 * ((first - second) @ a.count[block] - third.sum(axis=1))
        scale += 0.5 * ((np.abs(first) + np.abs(second)) @ a.count[block] + np.abs(third).sum(axis=1))
    return value, scale


def _contour(a, tau, tolerance=2e-16, most=2**15):
    r"""(1/\pi) Im \int (1 - M(s)) ds / (s(1-s)) along s = 1/2 + [-\tau(\cosh v - 1) + i \sinh v]/2, trapezoid, n doubled.

    Returns (value, error), the error being the last change by doubling plus rounding.
    """
    log_mx = _log1pmx(a.e, a.lam)
    small = min(1.0, math.sqrt(float(a.count @ a.e**2 + a.shift.sum())))
    end = 40.0 - math.log(max(small, 1e-300))  # 1 - M reaches 1 only at |s| ~ 1/small
    end = min(end, 650.0)

    def total(v):
        s = 0.5 + 0.5 * (-tau * (np.cosh(v) - 1) + 1j * np.sinh(v))
        ds = 0.5 * (-tau * np.sinh(v) + 1j * np.cosh(v))
        log_m, scale = _log_m(s, a, log_mx)
        growth = np.exp(np.minimum(log_m.real, 700.0))
        weight = ds / (s * (1 - s))
        one_minus = -_cexpm1(np.minimum(log_m.real, 700.0) + 1j * log_m.imag)
        noise = np.abs(weight) * (np.abs(one_minus) * 4 + growth * np.minimum(scale, 1e300))
        return float(np.sum((one_minus * weight).imag)), float(np.sum(noise))

    n = 64
    with np.errstate(over="ignore", invalid="ignore"):
        step = end / n
        middle = total(np.zeros(1))
        inner = total(step * np.arange(1, n + 1))
        sums = [0.5 * middle[0] + inner[0], 0.5 * middle[1] + inner[1]]
        value = sums[0] * step / math.pi
        while True:
            more = total(step * (np.arange(n) + 0.5))
            sums = [sums[0] + more[0], sums[1] + more[1]]
            n, step = 2 * n, step / 2
            old, value = value, sums[0] * step / math.pi
            error, rounding = abs(value - old), EPS * sums[1] * step / math.pi
            if not math.isfinite(value):
                return value, math.inf
            if error <= max(tolerance * abs(value), rounding) or n >= most:
                return value, error + rounding


def _cexpm1(z):
    """exp(z) - 1 for complex z without cancellation."""
    x, y = z.real, z.imag
    half = np.sin(0.5 * y)
    return np.expm1(x) * np.cos(y) - 2 * half * half + 1j * np.exp(x) * np.sin(y)


def total_variation(p, q):
    r"""TV = \frac1\pi \int_0^\infty \mathrm{Re}\,[1-M(\tfrac12+it)]\,\frac{dt}{\frac14+t^2},  M(s) = \int q^s p^{1-s}.

    From min(p, q) = \sqrt{pq}\, e^{-|L|/2} and the Fourier transform of e^{-|L|/2}, L = \log p/q. The contour may be bent where M decays
    slowly (few axes). Equal covariances: erf(|\delta| / \sqrt8). Absolute error about 1e-15 in any dimension, relative for close laws.
    """
    a = axes(p, q)
    blurred = min(1.0, a.blur * math.sqrt(float(np.sum(a.count / a.lam**2)) + float(a.shift.sum())))
    if not a.e.any():
        delta = math.sqrt(float(a.shift.sum()))
        return Enclosure.near(math.erf(delta / math.sqrt(8)), LOSS * min(1.0, delta) + blurred, method="closed form").cut(0.0, 1.0)
    value, error = 1.0, math.inf
    for b in (a, axes(q, p)):
        for tau in (*_bends(b), 0.0) if b.count.sum() < 9 else (0.0,):  # the best first, the others are asked if it disappoints
            value, error = min((value, error), _contour(b, tau), key=lambda x: x[1]) if error > 2e-15 else (value, error)
    return Enclosure.near(min(max(value, 0.0), 1.0), error + LOSS * min(1.0, value) + blurred, method="contour integral").cut(0.0, 1.0)


def _bends(a):
    """Tilts of the contour, best first: M grows or decays like exp(c Re s), with this c."""
    flat = a.e == 0
    c = float(0.5 * a.count @ np.log(a.lam) + 0.5 * np.sum(np.where(flat, 0.0, a.shift / np.where(flat, 1.0, a.e))))
    return math.copysign(0.3, c), math.copysign(0.3, -c)
