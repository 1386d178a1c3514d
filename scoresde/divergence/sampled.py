r"""Divergences of two laws with known densities in any dimension, from n draws of each.

With L = \log p/q and m = (p+q)/2, a divergence \int m \varphi(L) is the mean of \frac12(\varphi(L(X)) + \varphi(L(Y))), X ~ p, Y ~ q independent:

    TV: |\tanh(L/2)|;   H^2: 1 - 1/\cosh(L/2);   JS: J(\tanh(L/2));   KL: (1+u)(L + e^{-L} - 1), u = \tanh(L/2);   \chi^2: (1+u) 4\sinh^2(L/2).

The first three are bounded, so a betting interval holds at every n (level finite-sample). The last two are nonnegative and bounded where L is:
cut off at L = t they bound the divergence from below, and of Gaussian mixtures what is cut off is bounded by moments of the likelihood ratio.

Draws are taken in blocks of 2^20 numbers: memory is about 100 MB in any dimension, plus 64 bytes for each of the n pairs. Functions take laws of
equal dimension, n >= 2 draws per law, a seed, and the probability of error alpha; they raise ValueError where n or the seed is missing.
"""

import math

import numpy as np

from .._arrays import positive_int, seed_words
from ..enclosure import Enclosure
from ..errors import NoMethod, NotTrusted
from . import concentration
from .moments import moments
from .quadrature import LN2, entropy_gap, phi

__all__ = ["chi_squared", "fisher_divergence", "hellinger", "jensen_shannon", "kullback_leibler", "total_variation"]

BLOCK = 2**20  # numbers in a block of draws
MOST = 10**7  # pairs of draws: their values are kept, 640 MB with what the interval needs
_SHARE = 0.1  # of the sum of squares that one draw may carry before its mean is called heuristic


def total_variation(p, q, *, n, seed, alpha=1e-6):
    r"""TV = E \frac12(|\tanh(L(X)/2)| + |\tanh(L(Y)/2)|), each term in [0, 1]: level finite-sample.

    The half-width is about \sqrt{2 V \log(2/\alpha)/n} with V rarely above .02: .002 at n = 1e5, alpha = 1e-6.
    """
    z = _draws("total_variation", p, q, n, seed, lambda L: np.abs(np.tanh(0.5 * L)))
    return _bounded(z, 1.0, alpha)


def jensen_shannon(p, q, *, n, seed, alpha=1e-6):
    r"""JS = E \frac12(J(\tanh L(X)/2) + J(\tanh L(Y)/2)), 2J(u) = (1+u)\log(1+u) + (1-u)\log(1-u) in [0, 2\ln 2]: level finite-sample."""
    return _bounded(_draws("jensen_shannon", p, q, n, seed, lambda L: entropy_gap(np.tanh(0.5 * L))), LN2, alpha)


def hellinger(p, q, *, n, seed, alpha=1e-6):
    r"""H^2 = E \frac12(1 - 1/\cosh(L(X)/2) + 1 - 1/\cosh(L(Y)/2)), each term in [0, 1]: level finite-sample."""

    def term(L):
        w = np.expm1(-0.5 * np.abs(L))
        return w**2 / (1 + (1 + w) ** 2)

    z = _draws("hellinger", p, q, n, seed, term)
    lo, hi = concentration.betting(z, alpha)
    return _between(math.sqrt(lo), math.sqrt(hi), math.sqrt(np.mean(z)), alpha, "balanced estimator, betting interval").cut(0.0, 1.0)


def kullback_leibler(p, q, *, n, seed, alpha=1e-6):
    r"""KL(p|q) = E \frac12(k(L(X)) + k(L(Y))), k = (1+u)(L + e^{-L} - 1) \ge 0, u = \tanh(L/2).

    Gaussian mixtures: level finite-sample. k is cut off at L = t; what that loses is at most E_p(L - t)_+, bounded through E_p e^{sL}; the upper
    end is also at most the log-sum bound. Other laws: the central limit theorem, level asymptotic, or heuristic if one draw carries a tenth
    of the sum of squares. Infinite if a draw of p falls where q vanishes.
    """
    _check("kullback_leibler", (p, q), n)
    known = moments(p, q)
    t, rest = _cut(known, n, alpha)
    z = _draws("kullback_leibler", p, q, n, seed, lambda L: _kl_term(L, t))
    if math.isinf(np.max(z)):
        return _infinite(alpha)
    if math.isinf(t):
        return _asymptotic(z, alpha)
    top = 2 * (t - 1 + math.exp(-t))
    lo, hi = (top * x for x in concentration.betting(z / top, alpha))
    value = min(float(np.mean(z)), known.divergence)
    return _between(min(lo, value), hi + rest, value, alpha, "balanced estimator, betting interval, moment bound").cut(0.0, known.divergence)


def chi_squared(p, q, *, n, seed, alpha=1e-6):
    r"""\chi^2(p|q) = E \frac12(c(L(X)) + c(L(Y))), c = (1+u) 4 \sinh^2(L/2), u = \tanh(L/2): level finite-sample.

    c is cut off at L = t, which bounds from below. The upper end is inf, unless both laws are Gaussian mixtures whose components allow a
    bound of \int p^{1+s} q^{-s} for some s >= 1. No mean of c itself is offered: its variance is \int p^3/q^2, rarely finite.
    """
    _check("chi_squared", (p, q), n)
    known = moments(p, q)
    if known is not None and known.infinite:
        return Enclosure.near(math.inf, 0.0, method="in some direction p^2/q does not decay")
    t, rest = _tilted_cut(known, n, alpha)
    z = _draws("chi_squared", p, q, n, seed, lambda L: _chi_term(L, t))
    top = 8 * math.sinh(0.5 * t) ** 2
    lo, hi = (top * x for x in concentration.betting(z / top, alpha))
    most = math.inf if known is None else known.chi_squared
    if math.isinf(rest):
        return Enclosure(min(lo, most), most, "finite-sample", alpha, None, "balanced estimator cut off, betting interval")
    value = min(float(np.mean(z)), most)
    return _between(min(lo, value), hi + rest, value, alpha, "balanced estimator, betting interval, moment bound").cut(0.0, most)


def fisher_divergence(p, q, *, n, seed, alpha=1e-6):
    r"""E_p|\nabla\log p - \nabla\log q|^2 from n draws of p: the central limit theorem, level asymptotic (heuristic if one draw dominates).

    Densities that jump are not noticed: theirs is infinite. Infinite if a draw of p falls where q vanishes.
    """
    _check("fisher_divergence", (p, q), n, ("sample", "logpdf", "score"))
    z = []
    for x in _blocks(p, n, seed_words(seed, "fisher_divergence: p"), p.dim):
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            if np.any(q.logpdf(x) == -np.inf):
                return _infinite(alpha)
            z.append(((np.asarray(p.score(x)) - q.score(x)) ** 2).sum(axis=-1))
    z = np.concatenate(z)
    if not np.isfinite(z).all():
        raise NotTrusted("fisher_divergence: a score is not finite at a draw of p; check score(x) of both laws")
    return _asymptotic(z, alpha)


# ---- draws ---------------------------------------------------------------------------------------------------------------------------


def _check(name, laws, n, needs=("sample", "logpdf")):
    if n is None:
        kinds = " and ".join(type(law).__name__ for law in laws)
        raise ValueError(f"n: got None, allowed is an int >= 2: {name} has no exact method for {kinds}, so it draws; pass n=100_000, seed=0, say")
    if positive_int("n", n, least=2) > MOST:
        raise ValueError(
            f"n: got {n}, allowed is at most {MOST}, which take 640 MB; average enclosures over several seeds, (e0 + e1) / 2, where alphas add up"
        )
    for law in laws:
        for need in needs:
            if not callable(getattr(law, need, None)):
                raise NoMethod(f"{name}: {type(law).__name__} has no {need}, which is needed here; give it one")


def _blocks(law, n, words, width):
    """Draws of a law in blocks (k, d), each from a stream of its own; growing n keeps the first rows."""
    size = max(1, BLOCK // width)
    for b, i in enumerate(range(0, n, size)):
        yield np.asarray(law.sample(min(size, n - i), np.random.SeedSequence([*words, b])), dtype=np.float64)


def _draws(name, p, q, n, seed, f):
    """(n,) means of f(L) over one draw of p and one of q."""
    _check(name, (p, q), n)
    z, done = np.empty(n), 0
    words = [seed_words(seed, f"{name}: {which}") for which in "pq"]
    for x, y in zip(_blocks(p, n, words[0], p.dim), _blocks(q, n, words[1], q.dim), strict=True):
        k, both = len(x), np.concatenate([x, y])
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            lp, lq = np.asarray(p.logpdf(both), dtype=np.float64), np.asarray(q.logpdf(both), dtype=np.float64)
        if not (np.isfinite(lp[:k]).all() and np.isfinite(lq[k:]).all()) or np.isnan(lp).any() or np.isnan(lq).any():
            raise NotTrusted(f"{name}: a log-density is not finite at a draw of its own law; check logpdf(x) and sample(n, seed)")
        terms = f(lp - lq)
        z[done : done + k] = 0.5 * (terms[:k] + terms[k:])
        done += k
    return z


# ---- terms and their cuts ------------------------------------------------------------------------------------------------------------


def _kl_term(L, t):
    r"""(1 + u)(\phi(\min(L, t))), \phi(L) = L + e^{-L} - 1, u = \tanh(L/2); in [0, 2\phi(t)] for t >= 2."""
    low = np.clip(L, -745.0, -1.0)  # there it is 2 (1 + e^L (L - 1)) / (1 + e^L), which survives e^L = 0
    e = np.exp(low)
    return np.where(L > -1, (1 + np.tanh(0.5 * L)) * phi(np.maximum(np.minimum(L, t), -1.0)), 2 * (1 + e * (low - 1)) / (1 + e))


def _chi_term(L, t):
    r"""(1 + u) 4 \sinh^2(\min(L, t)/2), u = \tanh(L/2), which is 2 (1 - e^L)^2/(1 + e^L) for L <= t; in [0, 8 \sinh^2(t/2)] for t >= 2."""
    low = np.minimum(L, 0.0)
    return np.where(L > 0, (1 + np.tanh(0.5 * L)) * 4 * np.sinh(0.5 * np.clip(L, 0.0, t)) ** 2, 2 * np.expm1(low) ** 2 / (1 + np.exp(low)))


def _cut(known, n, alpha):
    """(t, what is lost beyond t): the t at which the loss and the price of a longer range, 2 t log(2/alpha)/n, balance; inf if none is known."""
    if known is None or not np.isfinite(known.log_moment).any():
        return math.inf, 0.0
    price = 2 * math.log(2 / alpha) / n
    t = np.maximum((known.log_moment - 1 - math.log(price)) / known.orders, 2.0)
    return min(((float(x), known.excess(float(x))) for x in t[np.isfinite(t)]), key=lambda pair: pair[1] + price * pair[0])


def _tilted_cut(known, n, alpha):
    """As ``_cut`` for a range of 2 e^t; without moments of order s > 1 a range of sqrt(n), and nothing known beyond."""
    price = 2 * math.log(2 / alpha) / n
    best = (max(2.0, -0.5 * math.log(price)), math.inf)
    if known is None:
        return best
    over = (known.orders > 1) & np.isfinite(known.log_moment)
    s, log = known.orders[over], known.log_moment[over]
    t = np.clip((log + np.log(s - 1) - math.log(price)) / s, 2.0, 700.0)
    return min([best, *((float(x), known.tilted_tail(float(x))) for x in t)], key=lambda pair: pair[1] + price * math.exp(pair[0]))


# ---- intervals -----------------------------------------------------------------------------------------------------------------------


def _between(lo, hi, value, alpha, method):
    """lo <= truth <= hi as an enclosure symmetric about the value."""
    return Enclosure.near(value, max(value - lo, hi - value), "finite-sample", alpha, method)


def _bounded(z, top, alpha):
    """The mean of z in [0, top]."""
    lo, hi = (top * x for x in concentration.betting(z / top, alpha))
    return _between(lo, hi, float(np.mean(z)), alpha, "balanced estimator, betting interval").cut(0.0, top)


def _asymptotic(z, alpha):
    largest = float(np.max(np.abs(z)))
    share = 1 / float(np.sum((z / largest) ** 2)) if largest > 0 else 0.0
    level, note = ("asymptotic", "") if share <= _SHARE else ("heuristic", f"; one draw carries {share:.0%} of the sum of squares")
    return Enclosure.near(float(np.mean(z)), concentration.normal(z, alpha), level, alpha, f"central limit theorem{note}").cut(0.0)


def _infinite(alpha):
    return Enclosure(math.inf, math.inf, "finite-sample", alpha, math.inf, "a draw of p where q vanishes")
