r"""Divergences of Gaussian mixtures on the line to about 30 digits, straight from their definitions and sharing nothing with the package.

Arithmetic of 128 bits: Arb if python-flint is installed, else mpmath (ten times slower). Integrals by the 48-point Gauss–Legendre rule on
panels that are halved until 24 and 48 points agree to 1e-13 in double precision: the 48-point error is then about the square of that.
Total variation and W_1 need no quadrature: distribution functions have closed forms, and so have their integrals; what is searched for
are the points where p = q, and F = G.
"""

import math
from contextlib import nullcontext
from functools import cache, wraps
from itertools import pairwise

import mpmath
import numpy as np
from scipy.special import erfc

try:
    from flint import arb, ctx
except ImportError:
    arb = None

__all__ = ["ENGINE", "Mixture", "integrals", "number", "total_variation", "wasserstein1", "wasserstein2"]

BITS = 128
REACH = 13.5  # standard deviations: beyond it a component has mass 2e-41
FINE = 20_000  # points at which p - q is scanned for changes of sign

if arb is not None:
    ENGINE = "Arb"
    number, exp, log, sqrt = arb, arb.exp, arb.log, arb.sqrt
    upper = lambda x: (x / sqrt(arb(2))).erfc() / 2  # P(Z > x)  # noqa: E731
    pi, working = arb.pi, lambda: _Precision()
else:
    ENGINE = "mpmath"
    mp = mpmath.MPContext()
    mp.prec = BITS
    number, exp, log, sqrt = mp.mpf, mp.exp, mp.log, mp.sqrt
    upper = lambda x: mp.erfc(x / mp.sqrt(2)) / 2  # noqa: E731
    pi, working = lambda: +mp.pi, nullcontext


class _Precision:
    def __enter__(self):
        self.before, ctx.prec = ctx.prec, BITS

    def __exit__(self, *_):
        ctx.prec = self.before


def precisely(f):
    @wraps(f)
    def wrapped(*args, **options):
        with working():
            return f(*args, **options)

    return wrapped


@cache
def rule():
    """Nodes and weights of 48 points on [-1, 1], to 128 bits."""
    context = mpmath.MPContext()
    context.prec = BITS + 20
    pairs = mpmath.calculus.quadrature.GaussLegendre(context).calc_nodes(5, context.prec)
    return [(number(context.nstr(x, 42)), number(context.nstr(w, 42))) for x, w in pairs]


class Mixture:
    """A mixture's stored parameters, taken exactly; weights are divided by their sum."""

    def __init__(self, law):
        self.weights, self.means, self.variances = law.weights, law.means[:, 0], law.covs.reshape(-1)
        self.sds = np.sqrt(self.variances)
        with working():
            total = sum(map(number, self.weights.tolist()), number(0))
            rows = zip(self.weights.tolist(), self.means.tolist(), self.variances.tolist())
            self.terms = [(number(w) / total, number(m), number(v), sqrt(number(v))) for w, m, v in rows if w > 0]
            self.peaks = [(w / (sqrt(2 * pi()) * s), m, 1 / v) for w, m, v, s in self.terms]

    def reach(self):
        return float(np.min(self.means - REACH * self.sds)), float(np.max(self.means + REACH * self.sds))

    # double precision, arrays

    def logs(self, x):
        """log p and its derivative at x (n,)."""
        away = (x[..., None] - self.means) / self.sds
        with np.errstate(divide="ignore"):
            each = np.log(self.weights / (math.sqrt(2 * math.pi) * self.sds)) - 0.5 * away**2
        top = each.max(-1)
        share = np.exp(each - top[..., None])
        return top + np.log(share.sum(-1)), -(share * away / self.sds).sum(-1) / share.sum(-1)

    def tail(self, x, sign):
        """P(X < x) for sign = -1, P(X > x) for +1, each relatively accurate."""
        return 0.5 * erfc(sign * (x[..., None] - self.means) / (self.sds * math.sqrt(2))) @ self.weights

    # 128 bits, one number at a time

    def density(self, x):
        """p(x) and p'(x)."""
        total = slope = number(0)
        for a, m, c in self.peaks:
            d = x - m
            g = a * exp(-d * d * c / 2)
            total, slope = total + g, slope - d * c * g
        return total, slope

    def mass(self, x, sign):
        return sum((w * upper(sign * (x - m) / s) for w, m, _, s in self.terms), number(0))

    def integrated(self, x):
        r"""\int_{-\infty}^x P(X < y) dy = \sum_k w_k \{(x - m) \Phi(z) + s \phi(z)\}, z = (x - m)/s."""
        both = (((x - m) * upper((m - x) / s), s * exp(-((x - m) ** 2) / (2 * v)) / sqrt(2 * pi()), w) for w, m, v, s in self.terms)
        return sum((w * (a + b) for a, b, w in both), number(0))

    def mean(self):
        return sum((w * m for w, m, _, _ in self.terms), number(0))


# ---- integrals ---------------------------------------------------------------------------------------------------------------------------


@cache
def _coarse(count):
    return np.polynomial.legendre.leggauss(count)


def panels(f, edges, tolerance, rounds=60):
    """Panels (P, 2) of the rows of f(x) -> (k, ...), halved until the rules of 24 and 48 points agree to ``tolerance`` of each total."""
    lo, hi, done = edges[:-1], edges[1:], []
    total = 0.0
    for _ in range(rounds):
        found = []
        for count in (24, 48):
            t, w = _coarse(count)
            y = f(0.5 * (lo + hi)[:, None] + 0.5 * (hi - lo)[:, None] * t)
            found.append(0.5 * (hi - lo) * (y @ w))
            size = 0.5 * (hi - lo) * (np.abs(y) @ w)
        total = np.maximum(total, size.sum(-1, keepdims=True))
        good = (np.abs(found[0] - found[1]) <= tolerance * total).all(0)
        done.append(np.stack([lo[good], hi[good]], 1))
        if good.all():
            return np.concatenate(done)
        middle = 0.5 * (lo + hi)[~good]
        lo, hi = np.concatenate([lo[~good], middle]), np.concatenate([middle, hi[~good]])
    raise ArithmeticError("the reference found no panels on which its rules agree")


def over(f, found):
    """The integrals of f(x) -> list of 128-bit numbers, over the panels (P, 2)."""
    total = None
    for lo, hi in found.tolist():
        half, middle = (number(hi) - number(lo)) / 2, (number(hi) + number(lo)) / 2
        for t, w in rule():
            terms = [half * w * y for y in f(middle + half * t)]
            total = terms if total is None else [a + b for a, b in zip(total, terms)]
    return total


def _halves(found):
    middle = found.mean(1)
    return np.concatenate([np.stack([found[:, 0], middle], 1), np.stack([middle, found[:, 1]], 1)])


def _core(p, q):
    """Edges two units apart over what either law reaches: four points a standard deviation at the least."""
    (a, b), (c, d) = p.reach(), q.reach()
    lo, hi = min(a, c), max(b, d)
    return np.linspace(lo, hi, math.ceil((hi - lo) / 2) + 1)


@precisely
def integrals(p, q, *, halved=False):
    r"""{kullback_leibler, hellinger, jensen_shannon, chi_squared, fisher_divergence}, of Mixtures; \chi^2 only where it is finite.

    ``halved``: on panels half as long, to see what the first ones were worth.
    """

    def rough(x):
        (lp, sp), (lq, sq) = p.logs(x), q.logs(x)
        with np.errstate(over="ignore"):
            m = np.logaddexp(lp, lq) - math.log(2)
            js = 0.5 * (np.exp(lp) * (lp - m) + np.exp(lq) * (lq - m))
            return np.stack([np.exp(lp) * (lp - lq), np.exp(0.5 * (lp + lq)), js, np.exp(lp) * (sp - sq) ** 2])

    def exact(x):
        (a, da), (b, db) = p.density(x), q.density(x)
        m = (a + b) / 2
        return [a * log(a / b), sqrt(a * b), (a * log(a / m) + b * log(b / m)) / 2, a * (da / a - db / b) ** 2]

    halve = _halves if halved else np.copy
    kl, affinity, js, fisher = over(exact, halve(panels(rough, _core(p, q), 1e-13)))
    values = {"kullback_leibler": kl, "hellinger": sqrt(1 - affinity), "jensen_shannon": js, "fisher_divergence": fisher}
    if np.max(p.variances) < 2 * np.max(q.variances):
        values["chi_squared"] = _chi_squared(p, q, halve)
    return values


def _chi_squared(p, q, halve):
    r"""\int p^2/q - 1, over all that is above e^{-95} of its highest point, which may lie far from both laws."""
    core = _core(p, q)
    out = 1.15 ** np.arange(150.0)
    edges = np.concatenate([core[0] - out[::-1], core, core[-1] + out])
    height = lambda x: 2 * p.logs(x)[0] - q.logs(x)[0]  # noqa: E731
    scan = np.concatenate([edges, 0.5 * (edges[1:] + edges[:-1])])
    seen = height(scan)
    top = float(seen.max())
    high = scan[seen > top - 95]
    inside = edges[np.searchsorted(edges, high.min(), side="right") - 1 : np.searchsorted(edges, high.max()) + 1]
    found = panels(lambda x: np.exp(height(x) - top)[None], inside, 1e-13)
    (value,) = over(lambda x: [p.density(x)[0] ** 2 / q.density(x)[0]], halve(found))
    return value - 1


# ---- total variation and W1 --------------------------------------------------------------------------------------------------------------


def crossings(p, q):
    """Where p = q: changes of sign on a fine grid, and of extrema between its points that lie beyond zero."""
    core = _core(p, q)
    x = np.linspace(core[0], core[-1], FINE)
    (lp, sp), (lq, sq) = p.logs(x), q.logs(x)
    d, slope = lp - lq, sp - sq
    f = lambda x: float(p.logs(np.array(x))[0] - q.logs(np.array(x))[0])  # noqa: E731
    g = lambda x: float(p.logs(np.array(x))[1] - q.logs(np.array(x))[1])  # noqa: E731
    cuts = []
    for i in np.flatnonzero((d[1:] > 0) != (d[:-1] > 0)):
        cuts.append(_bisect(f, x[i], x[i + 1]))
    for i in np.flatnonzero(((slope[1:] > 0) != (slope[:-1] > 0)) & ((d[1:] > 0) == (d[:-1] > 0)) & (d[:-1] * slope[:-1] < 0)):
        top = _bisect(g, x[i], x[i + 1])
        if (f(top) > 0) != (d[i] > 0):
            cuts += [_bisect(f, x[i], top), _bisect(f, top, x[i + 1])]
    return sorted(cuts)


def _bisect(f, a, b):
    """A root of f in [a, b], to an ulp: the integral up to it is off by the square of that."""
    a, b, left = float(a), float(b), f(a) > 0
    while a < (c := 0.5 * (a + b)) < b:
        a, b = (c, b) if (f(c) > 0) == left else (a, c)
    return a


@precisely
def total_variation(p, q):
    r"""\frac12 \sum |\Delta(F - G)| between the points where p = q."""
    d = [number(0), *(p.mass(number(x), -1) - q.mass(number(x), -1) for x in crossings(p, q)), number(0)]
    return sum((abs(b - a) for a, b in pairwise(d)), number(0)) / 2


@precisely
def wasserstein1(p, q):
    r"""\sum |\Delta\int(F - G)| between the points where F = G; one lies between any two crossings at which F - G has opposite signs."""
    cuts = crossings(p, q)
    d = lambda x: float(_signed(p, q, number(x)))  # noqa: E731
    roots = [_bisect(d, a, b) for a, b in pairwise(cuts) if (d(a) > 0) != (d(b) > 0)]
    whole = [number(0), *(p.integrated(number(x)) - q.integrated(number(x)) for x in roots), q.mean() - p.mean()]
    return sum((abs(b - a) for a, b in pairwise(whole)), number(0))


def _signed(p, q, x):
    """F - G from the tail that is smaller, so that its sign is right in both."""
    left = p.mass(x, -1) - q.mass(x, -1)
    return left if float(p.mass(x, -1)) < 0.5 else q.mass(x, 1) - p.mass(x, 1)


# ---- W2 ----------------------------------------------------------------------------------------------------------------------------------


@precisely
def wasserstein2(p, q):
    r"""(\int (T(x) - x)^2 p(x) dx)^{1/2}, G(T(x)) = F(x): T by bisection, then Newton's iteration in 128 bits."""

    def rough(x):
        return np.exp(p.logs(x)[0])[None] * (_image(p, q, x) - x) ** 2

    def exact(x):
        at = float(x)
        sign = -1 if p.tail(np.array(at), -1) < 0.5 else 1
        mass, y = p.mass(x, sign), number(float(_image(p, q, np.array([at]))[0]))
        for _ in range(4):
            y = y + sign * (q.mass(y, sign) / mass - 1) * mass / q.density(y)[0]
            y = number(y.mid()) if arb is not None else y  # Newton's iteration forgets rounding, balls would not
        return [p.density(x)[0] * (y - x) ** 2]

    (square,) = over(exact, panels(rough, _core(p, q), 1e-13))
    return sqrt(square)


def _image(p, q, x):
    """T(x) in double precision: bisection on the smaller tail."""
    left, right = p.tail(x, -1), p.tail(x, 1)
    low = left < right
    lo, hi = (np.full(x.shape, float(e)) for e in (q.reach()[0] - 1, q.reach()[1] + 1))
    for _ in range(70):
        middle = 0.5 * (lo + hi)
        below = np.where(low, q.tail(middle, -1) < left, q.tail(middle, 1) > right)
        lo, hi = np.where(below, middle, lo), np.where(below, hi, middle)
    return 0.5 * (lo + hi)
