r"""Products of laws on the line: additive and multiplicative divergences from the factors, total variation through \int p^s q^{1-s}."""

import math

import numpy as np

from ..enclosure import LEVELS, Enclosure
from ..errors import NoMethod
from ..laws import Empirical, Gaussian, GaussianMixture, Product, SmoothedBox, Uniform
from .closed import LOSS, Axes, _log1pmx, _log_m, axes
from .panels import EPS, GAUSS, KRONROD, NODES, integrate
from .quadrature import _DOUBLING
from .view import Pair, view


def plain(law):
    """A mixture of one component is a Gaussian, a product of one factor that factor, a product of Gaussians on the line a Gaussian.

    On the line a Gaussian's variance is a number, however it was written, so that equal laws are seen to be equal.
    """
    if isinstance(law, GaussianMixture) and len(law.weights) == 1:
        return plain(law.component(0))
    if isinstance(law, Gaussian) and law.dim == 1 and law.covariance.ndim:
        return Gaussian(law.mean(), law.covariance.item())
    if isinstance(law, Product) and law.repeat == (1,):
        return plain(law.factors[0])
    if isinstance(law, Product):
        parts = [plain(f) for f in law.factors]
        if all(isinstance(f, Gaussian) and (f.dim == 1 or f.covariance.ndim < 2) for f in parts):
            variances = [np.tile(np.broadcast_to(f.covariance.reshape(-1), (f.dim,)), n) for f, n in zip(parts, law.repeat, strict=True)]
            return Gaussian(law.mean(), np.concatenate(variances))
    return law


def factors(law):
    """The factors on the line, one per coordinate, equal ones being one object; None if the law is not such a product."""
    if isinstance(law, Product):
        parts = {id(f): factors(f) for f in law.factors}
        return None if None in parts.values() else [x for f, count in zip(law.factors, law.repeat, strict=True) for x in parts[id(f)] * count]
    if law.dim == 1:
        return [plain(law)]
    one = np.atleast_1d
    if isinstance(law, Gaussian) and law.covariance.ndim < 2:
        return _shared(lambda mean, var: Gaussian(one(mean), var), law.mean(), np.broadcast_to(law.covariance, (law.dim,)))
    if isinstance(law, Uniform):
        return _shared(lambda low, high: Uniform(one(low), one(high)), law.low, law.high)
    if isinstance(law, SmoothedBox):
        return _shared(lambda low, high: SmoothedBox(one(low), one(high), law.var), law.low, law.high)
    return None


def _shared(build, first, second):
    keys = list(zip(first.tolist(), second.tolist(), strict=True))
    known = {key: build(*key) for key in set(keys)}
    return [known[key] for key in keys]


def paired(p, q):
    """[(factor of p, factor of q, count)] over distinct pairs, in common blocks of coordinates where there are some, else on the line, or None."""
    if any(isinstance(law, Product) and any(f.dim > 1 for f in law.factors) for law in (p, q)) and (found := _blocks(p, q)):
        return found
    a, b = factors(p), factors(q)
    if a is None or b is None:
        return None
    count = {}
    for x, y in zip(a, b, strict=True):
        _, _, n = count.get((id(x), id(y)), (x, y, 0))
        count[id(x), id(y)] = (x, y, n + 1)
    return list(count.values())


def _monotone(f, parts, method):
    """f(numbers, counts), increasing in each number, over enclosures [(e, count)]; two ulps of rounding a factor."""
    counts = np.array([n for _, n in parts], dtype=float)
    lo, hi = (f(np.array([getattr(e, end) for e, _ in parts]), counts) for end in ("lo", "hi"))
    values = [e.value for e, _ in parts]
    value = None if None in values else f(np.array(values), counts)
    slack = 1 + 4 * EPS * len(parts)
    level = LEVELS[max(LEVELS.index(e.level) for e, _ in parts)]
    return Enclosure(lo / slack, hi * slack, level, sum(e.alpha for e, _ in parts), value, method)


def added(parts):
    return _monotone(lambda x, n: float(n @ x), parts, "sum over factors")


def added_squares(parts):
    return _monotone(lambda x, n: math.sqrt(float(n @ x**2)), parts, "root of the sum over factors")


def chi_squared(parts):
    log = _monotone(lambda x, n: float(n @ np.log1p(x)), parts, "product over factors")  # of 1 + chi^2
    grown = lambda x, over: math.expm1(x) if x < 709.0 else over  # noqa: E731
    lo = grown(log.lo, math.inf if math.isinf(log.lo) else np.finfo(float).max)
    value = None if log.value is None or 709.0 <= log.value < math.inf else grown(log.value, math.inf)
    return Enclosure(lo * (1 - 2 * EPS), grown(log.hi, math.inf) * (1 + 2 * EPS), log.level, log.alpha, value, log.method)


def hellinger(parts):
    def f(x, n):
        with np.errstate(divide="ignore"):
            return math.sqrt(-math.expm1(float(n @ np.log1p(-np.minimum(x * x, 1.0)))))

    return _monotone(f, parts, "product over factors").cut(0.0, 1.0)


def _blocks(p, q):
    """[(block of p, block of q, 1)] at least two of them, or None: the factors in order, Gaussians with independent coordinates cut to fit."""
    queues, found = [_listed(law) for law in (p, q)], []
    while queues[0]:
        heads = [queue[0] for queue in queues]
        size = min(law.dim for law in heads)
        cut = [_cut(law, size) for law in heads]
        if None in cut:
            return None
        found.append((cut[0][0], cut[1][0], 1))
        for queue, (_, rest) in zip(queues, cut, strict=True):
            queue[:1] = [] if rest is None else [rest]
    return found if len(found) > 1 else None


def _listed(law):
    """The factors of a law in order, products within products opened."""
    if not isinstance(law, Product):
        return [plain(law)]
    return [x for f, count in zip(law.factors, law.repeat, strict=True) for x in _listed(f) * count]


def _cut(law, size):
    """(law of the first ``size`` coordinates, law of the others or None), or None where they are not independent."""
    if law.dim == size:
        return law, None
    if not isinstance(law, Gaussian) or law.covariance.ndim == 2:
        return None
    at = lambda x, part: x[part] if x.ndim else x  # noqa: E731
    return tuple(Gaussian(law.mean()[part], at(law.covariance, part)) for part in (slice(size), slice(size, None)))


def total_variation_bounds(parts):
    r"""\max(\max_j TV_j, H^2) \le TV \le \min(\sum_j TV_j, \sqrt{1 - (1-H^2)^2}), from [(TV_j, H_j, count)], 1 - H^2 = \prod_j (1 - H_j^2)."""
    added_up, whole = added([(tv, n) for tv, _, n in parts]), hellinger([(h, n) for _, h, n in parts])
    square = min(whole.hi**2, 1.0)
    lo = max(whole.lo**2, *(tv.lo for tv, _, _ in parts))
    hi = min(added_up.hi, math.sqrt(square * (2 - square)), 1.0)
    level = max((added_up.level, whole.level), key=LEVELS.index)
    return Enclosure(min(lo, hi), hi, level, added_up.alpha + whole.alpha, None, "factors and Hellinger, from both sides")


# ---- total variation ----------------------------------------------------------------------------------------------------------------


def _nodes(p, q):
    """(H^2, w, l, v): w = \\sqrt{pq} dx and l = log p/q at quadrature nodes that resolve both; v: the same with the coarser rule."""
    pair = Pair(view(p), view(q))

    def f(x, _):
        lp, lq, d = pair.logs(x)
        m, w = np.exp(np.logaddexp(lp, lq)) / 2, np.exp(-0.5 * np.abs(d))
        y = m * np.expm1(-0.5 * np.abs(d)) ** 2 / (1 + w * w)
        return np.stack([y, 64 * m])

    e = pair.edges
    full = np.concatenate([e[0] - (e[1] - e[0]) * _DOUBLING[7::-1], e, e[-1] + (e[-1] - e[-2]) * _DOUBLING[:8]])
    done = integrate(f, full[:-1], full[1:])
    half, middle = 0.5 * np.diff(done.leaves, axis=1), done.leaves.mean(axis=1, keepdims=True)
    lp, lq, d = pair.logs(middle + half * NODES)
    root = half * np.exp(0.5 * (np.maximum(lp, -1e5) + np.maximum(lq, -1e5)))
    kept = root.max(axis=1) > 1e-22
    d = np.clip(d[kept], -1e4, 1e4)
    return done.total()[0], (root * KRONROD)[kept].ravel(), d.ravel(), (root * GAUSS)[kept].ravel()


def _joined(parts):
    """The axes of a product of pairs of Gaussians, [(axes, count), ...] -> Axes or None; equal variance ratios become one group."""
    if not parts:
        return None
    lam, e, count, shift = (np.concatenate([getattr(a, k) for a, _ in parts]) for k in ("lam", "e", "count", "shift"))
    times = np.concatenate([np.full(len(a.e), float(n)) for a, n in parts])
    _, first, group = np.unique(lam, return_index=True, return_inverse=True)
    return Axes(lam[first], e[first], np.bincount(group, count * times), np.bincount(group, shift * times), max(a.blur for a, _ in parts))


def _spread(a):
    r"""About \int \sqrt{pq} \log^2(p/q) of two Gaussians: the curvature of M, which sets the scale of t."""
    if a is None:
        return 0.0
    return min(float(a.count @ (0.5 * (a.e / (1 + 0.5 * np.abs(a.e))) ** 2) + a.shift.sum()), 64.0)


def total_variation(pairs, most=2e7):
    r"""TV = \frac1\pi\int_0^\infty Re[1 - \prod_j M_j(1/2 + it)^{n_j}] \frac{dt}{1/4+t^2}, M_j(s) = \int p_j^s q_j^{1-s}.

    With w = \sqrt{pq} dx, l = \log p/q: 1 - M = A - iB, A = H^2 + 2\sum w \sin^2(tl/2), B = \sum w \sin(tl). The decay of M makes ten factors
    or more accurate to about 1e-12; two to nine may decay slowly, which the width states. Factors are on the line, or Gaussian in any
    dimension: for these \log M is a closed form.
    """
    if any(isinstance(law, Empirical) for p, q, _ in pairs for law in (p, q)):
        raise NoMethod("total_variation: no exact method for products with discrete factors; noise them first, law.noised(kernel)")
    normal = [isinstance(p, Gaussian) and isinstance(q, Gaussian) for p, q, _ in pairs]
    data = [(*_nodes(p, q), count) for (p, q, count), known in zip(pairs, normal, strict=True) if not known]
    closed_form = _joined([(axes(p, q), count) for (p, q, count), known in zip(pairs, normal, strict=True) if known])
    curve = None if closed_form is None else _log1pmx(closed_form.e, closed_form.lam)

    def log_m(t):
        """log|M|, its argument, and their error, at t (n,)."""
        size, turn, loss = np.zeros(len(t)), np.zeros(len(t)), np.zeros(len(t))
        for square, w, l, v, count in data:
            for i in range(0, len(t), 512):
                block = slice(i, i + 512)
                angle = t[block, None] * l
                sine, versine = np.sin(angle), 2 * np.sin(0.5 * angle) ** 2
                a, b = square + versine @ w, sine @ w
                gap = (1 - a) ** 2 + b * b
                error = np.abs(versine @ (w - v)) + np.abs(sine @ (w - v)) + 8 * EPS * (np.abs(a) + np.abs(b) + EPS * t[block])
                safe = np.maximum(gap, 1e-300)
                size[block] += count * 0.5 * np.where(a < 0.5, np.log1p(np.maximum(-2 * a + a * a + b * b, -1 + 1e-16)), np.log(safe))
                turn[block] += count * np.arctan2(b, 1 - a)
                loss[block] += count * error / np.sqrt(safe)
        if closed_form is not None:
            value, scale = _log_m(0.5 + 1j * t, closed_form, curve)
            size, turn, loss = size + value.real, turn - value.imag, loss + (LOSS + closed_form.blur) * (scale + np.abs(value))
        return size, turn, loss

    def f(t, _):
        size, turn, loss = log_m(t.ravel())
        weight = 1 / (math.pi * (0.25 + t.ravel() ** 2))
        y = weight * (-np.expm1(size) * np.cos(turn) + 2 * np.sin(0.5 * turn) ** 2)
        return np.stack([y, weight * np.exp(size) * np.minimum(loss, 1e3) / EPS]).reshape(2, *t.shape)

    spread = math.sqrt(sum(count * float(w @ l**2) for _, w, l, _, count in data) + _spread(closed_form)) + 1e-300
    step, start, value, error, noise, spent = min(0.125, 0.5 / spread), 0.0, 0.0, 0.0, 0.0, 0
    points = sum(len(w) for _, w, *_ in data) + (0 if closed_form is None else 8 * len(closed_form.e))
    while True:
        edges = start + step * np.linspace(0.0, 1.0, 9)
        done = integrate(f, edges[:-1], edges[1:], tolerance=1e-16, most=int(max(most / points / 15, 64)))
        value, error, noise = value + done.total()[0], error + done.total()[1], noise + done.total(1)[0]
        start, step, spent = edges[-1], 2 * step, spent + 2 * len(done.leaves) * 15 * points
        size = log_m(np.linspace(0.7, 1.0, 16) * start)[0]
        rest = 2 / math.pi * math.atan(0.5 / start)
        left = math.exp(float(np.max(size))) * rest
        if left <= 1e-16 * (value + rest) or spent > most:
            break
    return Enclosure.near(value + rest, error + EPS * (noise + 4) + left, method="Fourier integral over factors").cut(0.0, 1.0)
