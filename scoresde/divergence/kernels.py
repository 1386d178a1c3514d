r"""Kernel distances: maximum mean discrepancy, energy distance, kernel Stein discrepancy.

Laws: with M_t = \iint e^{-t|x-y|^2} d(P-Q) d(P-Q), MMD^2 = M_t at t = 1/(2 b^2), and energy^2 = \frac{1}{2\sqrt\pi} \int_0^\infty M_t\,t^{-3/2} dt,
so one closed form serves both: E e^{-t|X-Y|^2} over pairs of components. It is summed as 1 - E e^{-t|X-Y|^2}, which keeps its digits for
small t.

Samples: U-statistics, in blocks of rows. U - \theta is a linear part, normal in the limit, and a degenerate part, in the limit a weighted sum
of centred squares of normals, which rules where \theta = 0; ``Means.limits`` bounds both, so it is asymptotically right in either case.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from ..enclosure import Enclosure
from ..errors import NoMethod
from ..kernel import Kernel
from ..laws import Empirical
from . import product
from .bounds import components
from .panels import EPS
from .product import plain
from .quadrature import over_line, root, unbounded
from .rows import drawn, draws, is_sample, positive, rows, same_dimension, two_samples
from .view import Pair, view

__all__ = ["energy_distance", "kernel_stein_discrepancy", "maximum_mean_discrepancy"]

BLOCK = 2**21  # numbers of one array: 16 MB; about ten live at once


def maximum_mean_discrepancy(p, q, *, bandwidth=1.0, alpha=1e-6, n=None, seed=None, level="finite-sample"):
    r"""MMD = \sqrt{E k(X,X') + E k(Y,Y') - 2 E k(X,Y)} in [0, \sqrt2], k(x, y) = e^{-|x-y|^2 / (2 b^2)}, b = ``bandwidth`` > 0, a length.

    Laws: exact on the line, for Gaussians, mixtures and discrete laws in any d, and for products. Samples (n, d), or one beside a law:
    level "finite-sample": |MMD(\hat P, \hat Q) - MMD| \le (1 + \sqrt{\log(1/\alpha)}) \sqrt{1/n + 1/m} with probability at least 1 - alpha
    (1/m = 0 for a law; the mean of the norm by its variance, k(x, x) = 1, and McDiarmid's inequality, since k >= 0 and one row moves a mean
    embedding by \sqrt2/n at most). "asymptotic": the U-statistic with its limit law, much narrower. Nothing is drawn: n and seed are not used.
    Time O(n^2 d), memory some 200 MB for any n.
    Raises NoMethod for laws without a closed form, ValueError for shapes, equal arrays, bandwidth <= 0 or another level.
    Source: Gretton et al. 2012, https://jmlr.org/papers/v13/gretton12a.html
    """
    t = 0.5 / positive("bandwidth", bandwidth) ** 2
    if level not in ("finite-sample", "asymptotic"):
        raise ValueError(f"level: got {level!r}, allowed are 'finite-sample', 'asymptotic'")
    if not is_sample(p) and not is_sample(q):
        return _root_of(*_discrepancy(p, q, t), math.sqrt(2.0))
    gauss = lambda a, b: np.exp(np.multiply(_squares(a, b), -t))  # noqa: E731
    if is_sample(p) and is_sample(q):
        means = Means.of(*two_samples(p, q, least=2), gauss)
    else:
        x, law = (rows("p", p, 2), q) if is_sample(p) else (rows("q", q, 2), p)
        same_dimension(x, law)
        embedded = np.exp(law.noised(Kernel(1.0, 0.5 / t)).logpdf(x) + 0.5 * law.dim * math.log(math.pi / t))
        means = Means.beside_a_law(x, gauss, embedded, 1.0 - float(_gap(law, law, np.array([t]))[0][0]))
    if level == "asymptotic":
        return means.limits(alpha, math.sqrt(2.0))
    half = (1 + math.sqrt(-math.log(alpha))) * math.sqrt(1 / means.n + 1 / means.m)
    method = "distance of mean embeddings (biased), McDiarmid"
    return Enclosure.near(math.sqrt(means.biased(1.0)), half, "finite-sample", alpha, method).cut(0.0, math.sqrt(2.0))


def energy_distance(p, q, *, alpha=1e-6, n=None, seed=None):
    r"""\sqrt{2E|X-Y| - E|X-X'| - E|Y-Y'|}, a distance (the root, as scipy's); on the line \left(2\int(F-G)^2\right)^{1/2}.

    Laws: any on the line; Gaussians, mixtures and discrete laws in any d, products of those. Samples (n, d): U-statistic with its limit law,
    level asymptotic (needs E|X|^2 finite); a law beside a sample is drawn, n rows (by default as many as the sample has), with ``seed``.
    Time O(n log n) on the line, else O(n^2 d), memory some 200 MB for any n.
    Raises NoMethod for laws without a closed form, ValueError for shapes, equal arrays or a missing seed.
    Source: Székely & Rizzo 2013, https://doi.org/10.1016/j.jspi.2013.03.018
    """
    if not is_sample(p) and not is_sample(q):
        return _energy(p, q)
    x, y = drawn("energy_distance", p, q, n, seed)
    means = _by_sorting(x[:, 0], y[:, 0]) if x.shape[1] == 1 else Means.of(x, y, lambda a, b: -np.sqrt(_squares(a, b)))
    return means.limits(alpha, math.inf)


def kernel_stein_discrepancy(p, q, *, bandwidth=1.0, alpha=1e-6, n=None, seed=None):
    r"""KSD = \sqrt{E u(X, X')}, X, X' ~ P independent, zero for P = Q: a distance of a sample to a law of which only the score s is used.

    u(x,y) = k\,s(x)\cdot s(y) + s(x)\cdot\nabla_y k + s(y)\cdot\nabla_x k + \nabla_x\cdot\nabla_y k,  k = (b^2 + |x-y|^2)^{-1/2}, b = ``bandwidth``.
    p : sample (n, d), or a law that is drawn, n rows with ``seed``; q : a law with a score in the same dimension. The kernel is the inverse
    multiquadric, which sees mass that escapes to infinity. U-statistic with its limit law, level asymptotic (needs E|s|^4 finite).
    Like every divergence of scores it is blind to the weights of far modes. Time O(n^2 d), memory some 200 MB for any n.
    Raises NoMethod if q is a sample or has no score, or p is a law and n is None; ValueError for shapes.
    Source: Gorham & Mackey 2017, https://proceedings.mlr.press/v70/gorham17a.html
    """
    b = positive("bandwidth", bandwidth)
    if is_sample(q) or isinstance(q, Empirical) or not callable(getattr(q, "score", None)):
        raise NoMethod("kernel_stein_discrepancy: q is a sample or has no score, allowed is a law with one; kernel_density(q) has one")
    if not is_sample(p) and n is None:
        raise NoMethod("kernel_stein_discrepancy: no exact method for two laws; pass n (draws of p) and seed")
    x = rows("p", p if is_sample(p) else draws("kernel_stein_discrepancy", p, n, seed), 2)
    same_dimension(x, q)
    s = np.asarray(q.score(x), dtype=np.float64)
    return Means.beside_a_law(np.concatenate([x - x.mean(axis=0), s], axis=1), _stein(b), np.zeros(len(x)), 0.0).limits(alpha, math.inf)


def _stein(b):
    """u(x, y) for rows (x, s(x)) of 2d numbers, (n, m)."""

    def u(first, second):
        (x, s), (y, t) = (np.split(z, 2, axis=1) for z in (first, second))
        r, d = _squares(x, y), x.shape[1]
        base = 1 / (b * b + r)
        slope = np.sum(x * s, axis=1)[:, None] - x @ t.T - s @ y.T + np.sum(y * t, axis=1)  # (s(x) - s(y)).(x - y)
        return np.sqrt(base) * (s @ t.T + base * (slope + d - 3 * r * base))

    return u


def _root_of(square, error, high):
    e = root(square, error).cut(0.0, high)
    return Enclosure(e.lo, e.hi, "deterministic", 0.0, e.value, "closed form")


# ---- laws ---------------------------------------------------------------------------------------------------------------------------


def _discrepancy(p, q, t):
    r"""(M_t, error) for a number t."""
    p, q = plain(p), plain(q)
    if p is q or (type(p) is type(q) and p == q):
        return 0.0, 0.0
    if p.dim == 1:
        return _discrepancy_on_the_line(p, q, t)
    (between, e), (first, e1), (second, e2) = (_gap(a, b, np.array([t])) for a, b in ((p, q), (p, p), (q, q)))
    return float(2 * between[0] - first[0] - second[0]), float(2 * e[0] + e1[0] + e2[0])


def _discrepancy_on_the_line(p, q, t):
    r"""M_t = \sqrt{\pi/t} \int (\tilde p - \tilde q)^2, the laws noised by half the kernel: without cancellation."""
    half = Kernel(1.0, 0.25 / t)
    a, b = p.noised(half), q.noised(half)
    pair = Pair(view(a), view(b))

    def f(x, _):
        lp, lq, d = pair.logs(x)
        m = np.exp(np.logaddexp(lp, lq))
        y = (m * np.tanh(0.5 * d)) ** 2
        blur = 8 * (4 + np.where(np.isfinite(lp), np.abs(lp), 0.0) + np.where(np.isfinite(lq), np.abs(lq), 0.0))
        return np.stack([y, m * np.abs(np.tanh(0.5 * d)) * m * blur])

    value, error, noise = over_line(f, pair.edges)
    scale, lost = math.sqrt(math.pi / t), sum(float(getattr(law, "error", 0.0)) for law in (a, b))  # |MMD(p, p')| <= sqrt2 TV
    square = scale * value
    return square, scale * (error + EPS * noise) + 2 * lost * (math.sqrt(2 * square) + lost)


def _gap(p, q, t):
    r"""(1 - E e^{-t|X-Y|^2}, error) for X ~ P, Y ~ Q independent, t (T,)."""
    a, b = components(p), components(q)
    if a is not None and b is not None:
        return _gap_of_components(a, b, t)
    pairs = product.paired(p, q)
    if pairs is None or (len(t) > 1 and any(components(law) is None for x, y, _ in pairs for law in (x, y))):
        raise NoMethod(
            f"kernel distance: no closed form for {type(p).__name__} and {type(q).__name__} in dimension {p.dim}: allowed are Gaussians, mixtures, "
            "discrete laws and products of those (for maximum_mean_discrepancy products of any laws on the line); use samples, law.sample(n, seed)"
        )
    total, error = np.zeros(len(t)), np.zeros(len(t))
    for x, y, count in pairs:
        gap, e = _gap(x, y, t) if components(x) is not None and components(y) is not None else _gap_on_the_line(x, y, t)
        with np.errstate(divide="ignore"):
            total += count * np.log1p(-np.minimum(gap, 1.0))
        error += count * e / np.maximum(1 - gap, 1e-300)
    gap = -np.expm1(total)
    return gap, np.minimum((1 - gap) * error + 4 * EPS * gap, 1.0)


def _gap_on_the_line(p, q, t):
    r"""\int p(x) (1 - E e^{-t(x-Y)^2}) dx by quadrature, for one t (1,)."""
    p, q = (q, p) if isinstance(p, Empirical) else (p, q)
    pair = Pair(view(p), view(q.noised(Kernel(1.0, 0.5 / float(t[0])))))

    def f(x, _):
        lp, lq, _d = pair.logs(x)
        y = np.exp(lp) * np.maximum(1 - np.exp(np.minimum(lq + 0.5 * math.log(math.pi / t[0]), 0.0)), 0.0)
        return np.stack([y, 8 * np.exp(lp) * (4 + np.where(np.isfinite(lp), np.abs(lp), 0.0))])

    value, error, noise = over_line(f, pair.edges)
    return np.array([value]), np.array([error + EPS * noise])


def _gap_of_components(a, b, t):
    r"""1 - \sum w_k v_l \prod_i (1 + 2t\lambda_i)^{-1/2} e^{-t\delta_i^2/(1 + 2t\lambda_i)}, \lambda, \delta on the axes of \Sigma_k + \Sigma_l."""
    (w, m, va), (v, n, vb) = a, b
    d, total, blur = m.shape[1], np.zeros(len(t)), np.zeros(len(t))
    thin = va.ndim == vb.ndim == 1
    rows_ = max(1, BLOCK // (len(n) * d * (d if va.ndim == 3 or vb.ndim == 3 else 1)))
    for i in range(0, len(m), rows_):
        here = slice(i, i + rows_)
        lam, shift, loss = _axes(m[here], va[here], n, vb)
        weights = np.outer(w[here], v).ravel()
        nodes = max(1, BLOCK // lam.size)
        for j in range(0, len(t), nodes):
            s = t[j : j + nodes, None, None]
            spread = 2 * s * lam
            exponent = (0.5 * (d if thin else 1) * np.log1p(spread) + s * shift / (1 + spread)).sum(axis=2)
            total[j : j + nodes] += -np.expm1(-exponent) @ weights
            blur[j : j + nodes] += np.exp(-exponent) @ (weights * loss) * s[:, 0, 0]
    return total, np.minimum(16 * EPS * total * math.sqrt(d) + EPS * blur, 1.0)


def _axes(m, va, n, vb):
    """Variances (P, r) of X - Y on its axes, squared means (P, r), over pairs of components, r = 1 or d; and d^2 times the largest if turned."""
    d, move = m.shape[1], m[:, None] - n
    if va.ndim == vb.ndim == 1:
        lam, shift = va[:, None] + vb, np.sum(move * move, axis=2)
        return lam.reshape(-1, 1), shift.reshape(-1, 1), np.zeros(lam.size)
    if va.ndim < 3 and vb.ndim < 3:
        va, vb = (np.broadcast_to(s if s.ndim == 2 else s[:, None], x.shape) for s, x in ((va, m), (vb, n)))
        return (va[:, None] + vb).reshape(-1, d), (move * move).reshape(-1, d), np.zeros(len(m) * len(n))
    va, vb = (s if s.ndim == 3 else np.broadcast_to(s[:, None] if s.ndim == 1 else s, x.shape)[:, :, None] * np.eye(d) for s, x in ((va, m), (vb, n)))
    lam, basis = np.linalg.eigh((va[:, None] + vb).reshape(-1, d, d))
    shift = np.einsum("pij,pi->pj", basis, move.reshape(-1, d)) ** 2
    return np.maximum(lam, 0.0), shift, d * d * (np.abs(lam).max(axis=1) + shift.sum(axis=1))


def _energy(p, q):
    p, q = plain(p), plain(q)
    if p.dim != q.dim:
        raise ValueError(f"energy_distance: got laws of dimension {p.dim} and {q.dim}, allowed are equal dimensions")
    if p is q or (type(p) is type(q) and p == q):
        return Enclosure.exact(0.0, "the same law")
    if p.dim == 1:
        pair = Pair(view(p), view(q))
        pair.needs_cdf("energy_distance")

        def f(x, _):
            gap, rounding = pair.difference(x)
            return np.stack([gap * gap, 2 * np.abs(gap) * rounding / EPS])

        value, error, noise = over_line(f, pair.edges)
        return unbounded("the integral of (F - G)^2") if math.isinf(value) else root(2 * value, 2 * (error + EPS * noise))
    if isinstance(p, Empirical) and isinstance(q, Empirical):
        return _root_of(*_energy_of_atoms(p, q), math.inf)
    return _root_of(*_energy_by_bandwidths(p, q), math.inf)


def _energy_by_bandwidths(p, q):
    r"""\frac{1}{2\sqrt\pi} \int M_t t^{-3/2} dt: in s = \log t an analytic integrand, so the trapezoid rule converges geometrically."""
    size = p.second_moment() + q.second_moment()
    # M_t <= min(2, 2 t E|X-Y|^2) and E|X-Y|^2 <= 2 size: both tails are below 1e-16 of sqrt(size)
    ends = np.array([-82.0, 82.0]) - math.log(size)
    sums, step = [], 0.25
    for offset in (0.0, 0.125):  # the rule and its shift by half a step
        s = np.arange(ends[0] + offset, ends[1], step)
        t = np.exp(s)
        (between, e), (first, e1), (second, e2) = (_gap(a, b, t) for a, b in ((p, q), (p, p), (q, q)))
        m, error = 2 * between - first - second, 2 * e + e1 + e2
        scale = 0.5 * step / math.sqrt(math.pi) * np.exp(-0.5 * s)
        sums.append((float(scale @ m), float(scale @ error)))
    (a, e), (b, e2) = sums
    return 0.5 * (a + b), abs(a - b) + e + e2 + 4e-17 * math.sqrt(size)


def _energy_of_atoms(p, q):
    def mean(x, w, y, v):
        step = max(1, BLOCK // len(y))
        return sum(float(w[i : i + step] @ np.sqrt(_squares(x[i : i + step], y)) @ v) for i in range(0, len(x), step))

    (x, w), (y, v) = (p.points, p.weights), (q.points, q.weights)
    terms = 2 * mean(x, w, y, v), mean(x, w, x, w), mean(y, v, y, v)
    return terms[0] - terms[1] - terms[2], 16 * EPS * sum(terms)


# ---- samples ------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Means:
    r"""Means of a kernel over n rows x and m rows y, each row's: ``a`` over the other x, ``b`` over the other y, ``c``, ``back`` of k(x, y).

    ``of_a``, ``of_b``, ``of_c``: variances of k(x, x'), k(y, y'), k(x, y). A law in place of y: m = inf, one number b, no variances.
    """

    n: int
    m: float
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    back: np.ndarray
    of_a: float
    of_b: float
    of_c: float

    @classmethod
    def of(cls, x, y, kernel):
        (a, of_a), (b, of_b), (c, back, of_c) = _within(x, kernel), _within(y, kernel), _across(x, y, kernel)
        return cls(len(x), len(y), a, b, c, back, of_a, of_b, of_c)

    @classmethod
    def beside_a_law(cls, x, kernel, embedded, own):
        """``embedded``: E k(x_i, Y); ``own``: E k(Y, Y')."""
        a, of_a = _within(x, kernel)
        return cls(len(x), math.inf, a, np.array([own]), embedded, np.zeros(1), of_a, 0.0, 0.0)

    def biased(self, diagonal):
        """The squared distance of the mean embeddings, k(x, x) = ``diagonal``."""
        own = [z.mean() + (diagonal - z.mean()) / size for z, size in ((self.a, self.n), (self.b, self.m))]
        return max(float(own[0] + own[1] - 2 * self.c.mean()), 0.0)

    def limits(self, alpha, high):
        r"""The root of U = \bar a + \bar b - 2\bar c \pm z \sqrt{4 Var(a - c)/n + 4 Var(b - back)/m} \pm (2\sqrt\xi + 2\xi)\|\lambda\|.

        z = z_{1 - \alpha/4}, \xi = \log(4/\alpha): P(\sum\lambda_i(Z_i^2 - 1) \ge 2\sqrt\xi\|\lambda\| + 2\xi\max\lambda) \le e^{-\xi} (Laurent &
        Massart 2000, https://doi.org/10.1214/aos/1015957395), \|\lambda\|^2 \le Var k(x,x')/n^2 + Var k(y,y')/m^2 + 2 Var k(x,y)/(nm).
        """
        xi, u = math.log(4 / alpha), float(np.mean(self.a) + np.mean(self.b) - 2 * np.mean(self.c))
        linear = 4 * float(np.var(self.a - self.c, ddof=1)) / self.n
        if len(self.b) > 1:
            linear += 4 * float(np.var(self.b - self.back, ddof=1)) / self.m
        rest = self.of_a / self.n**2 + self.of_b / self.m**2 + 2 * self.of_c / (self.n * self.m)
        half = -float(ndtri(0.25 * alpha)) * math.sqrt(linear) + (2 * math.sqrt(xi) + 2 * xi) * math.sqrt(rest)
        value = math.sqrt(max(u, 0.0))
        width = max(value - math.sqrt(max(u - half, 0.0)), math.sqrt(max(u + half, 0.0)) - value)
        return Enclosure.near(value, width, "asymptotic", alpha, "U-statistic and its limit law").cut(0.0, high)


def _squares(x, y):
    """|x_i - y_j|^2 (n, m), summed directly where d is small: the expanded square would lose digits of close points."""
    from scipy.spatial.distance import cdist

    return cdist(x, y, "sqeuclidean")


def _within(x, kernel):
    """(means over the other rows (n,), variance) of kernel(x_i, x_j), i != j."""
    n, means, squares = len(x), np.zeros(len(x)), 0.0
    step = max(1, BLOCK // n)
    for i in range(0, n, step):
        k = kernel(x[i : i + step], x)
        k[np.arange(len(k)), np.arange(i, i + len(k))] = 0.0
        means[i : i + step] = k.sum(axis=1) / (n - 1)
        squares += float(np.einsum("ij,ij->", k, k))
    return means, max(squares / (n * (n - 1)) - float(means.mean()) ** 2, 0.0)


def _across(x, y, kernel):
    """(means over y (n,), means over x (m,), variance) of kernel(x_i, y_j)."""
    a, b, squares = np.zeros(len(x)), np.zeros(len(y)), 0.0
    step = max(1, BLOCK // len(y))
    for i in range(0, len(x), step):
        k = kernel(x[i : i + step], y)
        a[i : i + step] = k.mean(axis=1)
        b += k.sum(axis=0) / len(x)
        squares += float(np.einsum("ij,ij->", k, k))
    return a, b, max(squares / (len(x) * len(y)) - float(a.mean()) ** 2, 0.0)


def _by_sorting(x, y):
    """``Means.of`` for the kernel -|x - y| on the line: sums of distances from sorted prefix sums, second moments from the moments."""

    def sums(z, to):
        ordered = np.sort(to)
        prefix, k = np.append(0.0, np.cumsum(ordered)), np.searchsorted(ordered, z)
        return z * (2 * k - len(to)) - 2 * prefix[k] + prefix[-1]

    shift = x.mean()
    x, y = x - shift, y - shift
    n, m = len(x), len(y)
    a, b, c, back = -sums(x, x) / (n - 1), -sums(y, y) / (m - 1), -sums(x, y) / m, -sums(y, x) / n
    squares = 2 * np.var(x, ddof=1), 2 * np.var(y, ddof=1), np.mean(x * x) + np.mean(y * y) - 2 * x.mean() * y.mean()
    return Means(n, m, a, b, c, back, *(max(float(s - z.mean() ** 2), 0.0) for s, z in zip(squares, (a, b, c), strict=True)))
