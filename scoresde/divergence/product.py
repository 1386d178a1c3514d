r"""Products of laws on the line: additive and multiplicative divergences from the factors, total variation through \int p^s q^{1-s}."""

import math

import numpy as np

from ..enclosure import LEVELS, Enclosure
from ..errors import NoMethod
from ..laws import Empirical, Gaussian, GaussianMixture, Product, SmoothedBox, Uniform
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
        if all(isinstance(f, Gaussian) and f.dim == 1 for f in parts):
            return Gaussian(law.mean(), np.repeat([f.covariance.reshape(-1)[0] for f in parts], law.repeat))
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
    """[(factor of p, factor of q, count)] over distinct pairs, or None."""
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


def total_variation(pairs, most=2e7):
    r"""TV = \frac1\pi\int_0^\infty Re[1 - \prod_j M_j(1/2 + it)^{n_j}] \frac{dt}{1/4+t^2}, M_j(s) = \int p_j^s q_j^{1-s}.

    With w = \sqrt{pq} dx, l = \log p/q: 1 - M = A - iB, A = H^2 + 2\sum w \sin^2(tl/2), B = \sum w \sin(tl). The decay of M makes ten factors
    or more accurate to about 1e-12; two to nine may decay slowly, which the width states.
    """
    if any(isinstance(law, Empirical) for p, q, _ in pairs for law in (p, q)):
        raise NoMethod("total_variation: no exact method for products with discrete factors; noise them first, law.noised(kernel)")
    data = [(*_nodes(p, q), count) for p, q, count in pairs]

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
        return size, turn, loss

    def f(t, _):
        size, turn, loss = log_m(t.ravel())
        weight = 1 / (math.pi * (0.25 + t.ravel() ** 2))
        y = weight * (-np.expm1(size) * np.cos(turn) + 2 * np.sin(0.5 * turn) ** 2)
        return np.stack([y, weight * np.exp(size) * np.minimum(loss, 1e3) / EPS]).reshape(2, *t.shape)

    spread = math.sqrt(sum(count * float(w @ l**2) for _, w, l, _, count in data)) + 1e-300
    step, start, value, error, noise, spent = min(0.125, 0.5 / spread), 0.0, 0.0, 0.0, 0.0, 0
    points = sum(len(w) for _, w, *_ in data)
    while True:
        edges = start + step * np.linspace(0.0, 1.0, 9)
        done = integrate(f, edges[:-1], edges[1:], tolerance=1e-16, most=int(max(most / points / 15, 64)))
        value, error, noise = value + done.total()[0], error + done.total()[1], noise + done.total(1)[0]
        start, step, spent = edges[-1], 2 * step, spent + 2 * len(done.leaves) * 15 * points
        size = log_m(np.linspace(0.7, 1.0, 16) * start)[0]
        rest = 1 - 2 / math.pi * math.atan(2 * start) if start < 1e3 else 1 / (math.pi * start)
        left = math.exp(float(np.max(size))) * rest
        if left <= 1e-16 * (value + rest) or spent > most:
            break
    return Enclosure.near(value + rest, error + EPS * (noise + 4) * 1.0 + left, method="Fourier integral over factors").cut(0.0, 1.0)
