r"""Divergences of two laws, each a function f(p, q) -> Enclosure.

p, q : laws of equal dimension. Units: total variation is half the L1 distance; Kullback–Leibler and Jensen–Shannon are in nats; Hellinger,
Wasserstein and Kolmogorov are distances. An array (n, d) is a sample of an unknown law, ``Empirical(array)`` that discrete law itself.

What is exact: two Gaussians in any dimension; any two laws on the line; products of laws on the line; discrete laws. A law that was computed
(``twin`` not None) is compared at both of its resolutions, and the difference is part of the width.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._arrays import finite, namespace
from ..enclosure import LEVELS, Enclosure
from ..errors import NoMethod, NotTrusted
from ..laws import Empirical, Gaussian, GaussianMixture, Product, SmoothedBox, Uniform
from . import closed, discrete, product, quadrature, transport
from .view import Pair, view

__all__ = [
    "chi_squared", "fisher_divergence", "hellinger", "jensen_shannon", "kolmogorov", "kullback_leibler", "total_variation", "wasserstein1",
    "wasserstein2",
]  # fmt: skip


OWN = (Empirical, Gaussian, GaussianMixture, Product, SmoothedBox, Uniform)


@dataclass(frozen=True)
class Ways:
    """The exact methods of one divergence, by kind of pair; None where there is none. ``high``: the largest value possible.

    ``line`` takes a Pair; ``atoms`` two laws of which one is discrete; ``gaussians`` two Gaussians; ``factors`` the divergences of the
    factors of two products with their counts, or ``pairs`` those factors themselves.

    ``continuity``: a bound of the change of the divergence when a law moves by a total variation e, None if there is none;
    ``lipschitz``: that bound is e itself, as sharp as can be, so it is always part of the width.
    """

    name: str
    line: Callable
    atoms: Callable
    gaussians: Callable | None = None
    factors: Callable | None = None
    pairs: Callable | None = None
    high: float = math.inf
    continuity: Callable | None = None
    lipschitz: bool = False


TV = Ways(
    "total_variation", quadrature.total_variation, discrete.total_variation, closed.total_variation, pairs=product.total_variation,
    high=1.0, continuity=float, lipschitz=True,
)  # fmt: skip
KL = Ways("kullback_leibler", quadrature.kullback_leibler, discrete.kullback_leibler, closed.kullback_leibler, product.added)
JS = Ways("jensen_shannon", quadrature.jensen_shannon, discrete.jensen_shannon, high=quadrature.LN2)
CHI2 = Ways("chi_squared", quadrature.chi_squared, discrete.chi_squared, closed.chi_squared, product.chi_squared)
H = Ways("hellinger", quadrature.hellinger, discrete.hellinger, closed.hellinger, product.hellinger, high=1.0, continuity=math.sqrt)
W1 = Ways("wasserstein1", transport.wasserstein1, discrete.wasserstein1, closed.wasserstein1)
W2 = Ways("wasserstein2", transport.wasserstein2, discrete.wasserstein2, closed.wasserstein2, product.added_squares)
FISHER = Ways("fisher_divergence", quadrature.fisher_divergence, discrete.fisher_divergence, closed.fisher_divergence, product.added)
KS = Ways("kolmogorov", quadrature.kolmogorov, discrete.kolmogorov, high=1.0, continuity=float, lipschitz=True)


def total_variation(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""TV(p, q) = \sup_A |p(A) - q(A)| = \frac12 \int |p - q|, in [0, 1].

    On the line from the distribution functions between the roots of \log p/q; of Gaussians in any d by a contour integral, of products by
    a Fourier integral over the factors (two to nine factors may be wide). A discrete law and a density are at distance 1.
    alpha, n, seed: for methods that sample (none here yet). Raises NoMethod for samples, for other laws in d > 1, and for
    rigorous=True; TypeError or ValueError for arguments of the wrong kind or dimension.
    """
    return _between(TV, p, q, alpha, rigorous)


def kullback_leibler(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""KL(p|q) = \int p \log\frac pq \ge 0, nats; infinite if p has mass where q has none.

    Gaussians and products (additive) in any d; any two laws on the line. Parameters and errors as ``total_variation``.
    Source: Kullback & Leibler 1951, https://doi.org/10.1214/aoms/1177729694
    """
    return _between(KL, p, q, alpha, rigorous)


def jensen_shannon(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""JS(p, q) = \frac12 KL(p|m) + \frac12 KL(q|m), m = (p+q)/2, nats, in [0, \ln 2].

    Laws on the line, discrete laws in any d. Parameters and errors as ``total_variation``.
    Source: Lin 1991, https://doi.org/10.1109/18.61115
    """
    return _between(JS, p, q, alpha, rigorous)


def chi_squared(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""\chi^2(p|q) = \int \frac{p^2}{q} - 1 \ge 0; infinite if the tails of p are too heavy for q.

    Gaussians and products (1 + \chi^2 multiplies) in any d; any two laws on the line. Infinity is proved for Gaussian tails (variance of p
    at least twice that of q) and for supports; for other laws it is of level heuristic. A value beyond floating point is [1.8e308, inf].
    Parameters and errors as ``total_variation``.
    """
    return _between(CHI2, p, q, alpha, rigorous)


def hellinger(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""H(p, q) = \sqrt{\tfrac12 \int (\sqrt p - \sqrt q)^2} in [0, 1], a distance; H^2 = 1 - \int\sqrt{pq}.

    H^2 \le TV \le H\sqrt{2 - H^2}. Gaussians and products (1 - H^2 multiplies) in any d; any two laws on the line.
    Parameters and errors as ``total_variation``.
    """
    return _between(H, p, q, alpha, rigorous)


def wasserstein1(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""W_1(p, q) = \inf E|X - Y| over couplings; on the line \int |F - G|.

    Laws on the line, discrete ones too; Gaussians of equal covariance in any d. Parameters and errors as ``total_variation``.
    """
    return _between(W1, p, q, alpha, rigorous)


def wasserstein2(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""W_2(p, q) = \sqrt{\inf E|X - Y|^2} over couplings, a distance; on the line \left(\int_0^1 (F^{-1} - G^{-1})^2 du\right)^{1/2}.

    Laws on the line, discrete ones too; Gaussians (Bures) and products in any d. Parameters and errors as ``total_variation``.
    """
    return _between(W2, p, q, alpha, rigorous)


def fisher_divergence(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""E_p|\nabla\log p - \nabla\log q|^2 (without 1/2); infinite if p jumps or reaches where q is 0.

    Gaussians and products (additive) in any d; any two laws with a score on the line. It is blind to the weights of far modes.
    Parameters and errors as ``total_variation``. Source: Hyvärinen 2005, https://jmlr.org/papers/v6/hyvarinen05a.html
    """
    return _between(FISHER, p, q, alpha, rigorous)


def kolmogorov(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""\sup_x |P(X \le x) - Q(X \le x)| in [0, 1], laws of dimension 1.

    Of a sample (n, 1) and a law: the Kolmogorov–Smirnov statistic \pm \sqrt{\log(2/\alpha)/(2n)}, level finite-sample: with probability
    at least 1 - alpha this encloses the distance of the law that was sampled.
    Parameters and errors as ``total_variation``.
    Source: Dvoretzky, Kiefer & Wolfowitz 1956; Massart 1990 (the constant), https://doi.org/10.1214/aop/1176990746
    """
    if _is_sample(p) != _is_sample(q):
        sample, law = (p, q) if _is_sample(p) else (q, p)
        _check("kolmogorov", law, alpha, rigorous)
        return _band(sample, law, alpha)
    return _between(KS, p, q, alpha, rigorous)


def _band(sample, law, alpha):
    x = finite("sample", np.asarray(sample if namespace(sample) is np else sample.detach().cpu()))
    if x.ndim != 2 or not x.size:
        raise ValueError(f"sample: got shape {x.shape}, allowed is (n, d); write sample[:, None] for n numbers")
    if x.shape[1] != law.dim or law.dim != 1:
        raise ValueError(f"sample: got shape {x.shape} with a law of dimension {law.dim}, allowed is dimension 1 for both; project onto an axis")
    e = kolmogorov(Empirical(x), law)
    half = math.sqrt(math.log(2 / alpha) / (2 * len(x))) + max(e.hi - e.value, e.value - e.lo)
    return Enclosure.near(e.value, half, "finite-sample", alpha, "Kolmogorov-Smirnov statistic, DKW-Massart band").cut(0.0, 1.0)


def _is_sample(x):
    return isinstance(x, np.ndarray) or namespace(x) is not np


def _check(name, law, alpha, rigorous):
    if not hasattr(law, "dim") or not (hasattr(law, "logpdf") or isinstance(law, Empirical)):
        raise TypeError(f"{name}: got {type(law).__name__}, allowed is a law (with dim and logpdf) or a sample (n, d) as an array")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: got {alpha}, allowed is 0 < alpha < 1, a probability of error")
    if rigorous:
        raise NoMethod(f"{name}: rigorous=True is not available yet; the level is 'deterministic' (rule differences and rounding), drop the option")


def _between(ways, p, q, alpha, rigorous):
    for law in (p, q):
        if _is_sample(law):
            raise NoMethod(
                f"{ways.name}: no method for samples yet; kolmogorov(sample, law) has one, Empirical(array) is the discrete law itself, "
                "kernel_density(array) a smooth one"
            )
        _check(ways.name, law, alpha, rigorous)
    if p.dim != q.dim:
        raise ValueError(f"{ways.name}: got laws of dimension {p.dim} and {q.dim}, allowed are equal dimensions")
    return _travelled(ways, p, q)


def _travelled(ways, p, q):
    """The divergence, widened by what is known about the accuracy of laws that were computed."""
    base = _direct(ways, p, q)
    errors = [float(getattr(law, "error", 0.0)) for law in (p, q)]
    twins = [getattr(law, "twin", None) for law in (p, q)]
    others = [_direct(ways, *pair) for twin, pair in zip(twins, ((twins[0], q), (p, twins[1])), strict=True) if twin is not None]
    if not any(errors) and not others:
        return base
    values = [base.value, *(e.value for e in others)]
    if any(v is None or math.isinf(v) for v in values):
        agree = all((e.lo, e.hi) == (base.lo, base.hi) for e in others)
        return base if agree else Enclosure(min(e.lo for e in (base, *others)), math.inf, base.level, base.alpha)
    shift = sum(abs(base.value - e.value) for e in others)
    alone = sum(errors) if ways.lipschitz else sum(error for error, twin in zip(errors, twins, strict=True) if twin is None)
    if alone > 0:
        if ways.continuity is None:
            raise NotTrusted(
                f"{ways.name}: a law has a total variation error of {alone:.1e} and no twin, which bounds nothing here; "
                "use total_variation, or a law from propagate, which carries a twin"
            )
        shift = max(shift, ways.continuity(alone))
    half = max(base.hi - base.value, base.value - base.lo) + shift
    level = max((base.level, "deterministic"), key=LEVELS.index)
    return Enclosure.near(base.value, half, level, base.alpha, base.method).cut(0.0, ways.high)


def _direct(ways, p, q):
    if p is q or (isinstance(p, OWN) and p == q):  # of a user's class nothing is known about ==
        return Enclosure.exact(0.0, "the same law")
    p, q = product.plain(p), product.plain(q)
    if isinstance(p, Empirical) or isinstance(q, Empirical):
        return ways.atoms(p, q)
    if isinstance(p, Gaussian) and isinstance(q, Gaussian) and ways.gaussians is not None:
        return ways.gaussians(p, q)
    if p.dim == 1:
        return ways.line(Pair(view(p), view(q)))
    pairs = product.paired(p, q) if ways.factors or ways.pairs else None
    if pairs is None:
        raise NoMethod(
            f"{ways.name}: no exact method for {type(p).__name__} and {type(q).__name__} in dimension {p.dim}; there is one for two Gaussians and "
            "for products of laws on the line (total_variation, kullback_leibler, chi_squared, hellinger, wasserstein2, fisher_divergence), and on "
            "the line for every pair: compare projections onto an axis"
        )
    return ways.pairs(pairs) if ways.pairs else ways.factors([(_direct(ways, a, b), count) for a, b, count in pairs])
