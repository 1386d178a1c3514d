r"""Divergences of two laws, each a function f(p, q) -> Enclosure.

p, q : laws of equal dimension, or samples. Units: total variation is half the L1 distance; Kullback–Leibler, Jensen–Shannon and Rényi are in
nats; Hellinger, Wasserstein, Kolmogorov, energy and kernel discrepancies are distances. An array (n, d) is a sample of an unknown law,
``Empirical(array)`` that discrete law itself.

What is exact: two Gaussians in any dimension; any two laws on the line; mixtures in the plane; products of such laws; mixtures in any dimension
whose means span a line beside a common Gaussian, which are products after a turn; discrete laws. A law that was computed (``twin`` not None)
is compared at both of its resolutions, and the difference is part of the width. Elsewhere W2 and KL are bounded from both sides, and ``n``
draws per law with a ``seed`` give intervals at level alpha. From samples of unknown laws only lower bounds are possible for total variation
and its kin: the other side is then 1 or infinite, not invented.
"""

import math
from functools import partial

from ..enclosure import Enclosure
from ..errors import NoMethod
from ..laws import Empirical, Gaussian
from . import beside, bounds, closed, discrete, empirical_transport, plane, product, quadrature, renyi_orders, sampled, transport, witness
from .kernels import energy_distance, kernel_stein_discrepancy, maximum_mean_discrepancy
from .rows import is_sample, rows, same_dimension
from .sliced import sliced_wasserstein2
from .ways import Ways, between, check, direct

__all__ = [
    "chi_squared", "energy_distance", "fisher_divergence", "hellinger", "jensen_shannon", "kernel_stein_discrepancy", "kolmogorov",
    "kullback_leibler", "maximum_mean_discrepancy", "renyi", "sliced_wasserstein2", "total_variation", "wasserstein1", "wasserstein2",
]  # fmt: skip


def _proof(module, name):
    """A proof in ball arithmetic, loaded when it is asked for: python-flint is an extra."""

    def prove(p, q):
        from . import certified, certified_transport

        return getattr({"certified": certified, "transport": certified_transport}[module], name)(p, q)

    return prove


def _gridded(name):
    """A method for laws in the plane that an engine has computed, loaded when such a law is met: it compiles."""

    def compare(p, q):
        from . import gridded

        return getattr(gridded, name)(p, q)

    return compare


def _total_variation_of_gaussians(p, q):
    """By the contour; thin covariances in the plane, which blur it, slice by slice."""
    e = closed.total_variation(p, q)
    return plane.total_variation(p, q) if p.dim == 2 and e.width > 1e-11 else e


def _total_variation_of_factors(pairs):
    """By the Fourier integral if the factors are on the line or Gaussian; else from both sides, which meet as one factor dominates."""
    if all(p.dim == 1 or (isinstance(p, Gaussian) and isinstance(q, Gaussian)) for p, q, _ in pairs):
        few = beside.arranged(pairs)
        return product.total_variation(pairs) if few is None else beside.total_variation(*few)
    return product.total_variation_bounds([(direct(TV, p, q), direct(H, p, q), count) for p, q, count in pairs])


TV = Ways(
    "total_variation", quadrature.total_variation, discrete.total_variation, _total_variation_of_gaussians, pairs=_total_variation_of_factors,
    plane=plane.total_variation,
    gridded=_gridded("total_variation"), proof=_proof("certified", "total_variation"), drawn=sampled.total_variation, samples=witness.total_variation,
    high=1.0, continuity=float, lipschitz=True,
)  # fmt: skip
KL = Ways(
    "kullback_leibler", quadrature.kullback_leibler, discrete.kullback_leibler, closed.kullback_leibler, product.added,
    plane=plane.kullback_leibler,
    gridded=_gridded("kullback_leibler"), proof=_proof("certified", "kullback_leibler"), otherwise=bounds.kullback_leibler,
    drawn=sampled.kullback_leibler, samples=witness.kullback_leibler,
)  # fmt: skip
JS = Ways(
    "jensen_shannon", quadrature.jensen_shannon, discrete.jensen_shannon, plane=plane.jensen_shannon,
    gridded=_gridded("jensen_shannon"), drawn=sampled.jensen_shannon,
    samples=witness.jensen_shannon, high=quadrature.LN2,
)  # fmt: skip
CHI2 = Ways(
    "chi_squared", quadrature.chi_squared, discrete.chi_squared, closed.chi_squared, product.chi_squared, plane=plane.chi_squared,
    gridded=_gridded("chi_squared"),
    drawn=sampled.chi_squared, samples=witness.chi_squared,
)  # fmt: skip
H = Ways(
    "hellinger", quadrature.hellinger, discrete.hellinger, closed.hellinger, product.hellinger, plane=plane.hellinger,
    gridded=_gridded("hellinger"), drawn=sampled.hellinger,
    samples=witness.hellinger, high=1.0, continuity=math.sqrt,
)  # fmt: skip
W1 = Ways(
    "wasserstein1", transport.wasserstein1, discrete.wasserstein1, closed.wasserstein1,
    samples=lambda p, q, *, alpha, n, seed: empirical_transport.wasserstein(p, q, 1, alpha=alpha),
)  # fmt: skip
W2 = Ways(
    "wasserstein2", transport.wasserstein2, lambda p, q: (discrete if p.dim == 1 else bounds).wasserstein2(p, q), closed.wasserstein2,
    product.added_squares, proof=_proof("transport", "wasserstein2"), otherwise=bounds.wasserstein2,
    samples=lambda p, q, *, alpha, n, seed: empirical_transport.wasserstein(p, q, 2, alpha=alpha),
)  # fmt: skip
FISHER = Ways(
    "fisher_divergence", quadrature.fisher_divergence, discrete.fisher_divergence, closed.fisher_divergence, product.added,
    plane=plane.fisher_divergence,
    gridded=_gridded("fisher_divergence"), proof=_proof("certified", "fisher_divergence"), drawn=sampled.fisher_divergence,
)  # fmt: skip
KS = Ways("kolmogorov", quadrature.kolmogorov, discrete.kolmogorov, high=1.0, continuity=float, lipschitz=True)


def total_variation(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""TV(p, q) = \sup_A |p(A) - q(A)| = \frac12 \int |p - q|, in [0, 1].

    On the line from the distribution functions between the roots of \log p/q; of Gaussians in any d by a contour integral, of mixtures in the
    plane slice by slice, of products by a Fourier integral over the factors. A discrete law and a density are at distance 1. Elsewhere ``n``
    draws per law and a ``seed`` give the balanced estimator with a betting interval. Samples: a lower bound, from a set chosen on one part and
    weighed on the other (d > 1 beside a law: ``n`` and ``seed``). rigorous: a proof in ball arithmetic, Gaussians and mixtures on the line.
    Raises NoMethod where there is no method, saying what there is; TypeError or ValueError for arguments of the wrong kind or dimension;
    ImportError for rigorous=True without python-flint.
    """
    return between(TV, p, q, alpha=alpha, n=n, seed=seed, rigorous=rigorous)


def kullback_leibler(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""KL(p|q) = \int p \log\frac pq \ge 0, nats; infinite if p has mass where q has none.

    Gaussians and products (additive) in any d; any two laws on the line; mixtures in the plane. In d > 2 mixtures are bounded from both sides.
    Parameters and errors as ``total_variation``. Source: Kullback & Leibler 1951, https://doi.org/10.1214/aoms/1177729694
    """
    return between(KL, p, q, alpha=alpha, n=n, seed=seed, rigorous=rigorous)


def jensen_shannon(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""JS(p, q) = \frac12 KL(p|m) + \frac12 KL(q|m), m = (p+q)/2, nats, in [0, \ln 2].

    Laws on the line, mixtures in the plane, discrete laws in any d. Parameters and errors as ``total_variation``.
    Source: Lin 1991, https://doi.org/10.1109/18.61115
    """
    return between(JS, p, q, alpha=alpha, n=n, seed=seed, rigorous=rigorous)


def chi_squared(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""\chi^2(p|q) = \int \frac{p^2}{q} - 1 \ge 0; infinite if the tails of p are too heavy for q.

    Gaussians and products (1 + \chi^2 multiplies) in any d; any two laws on the line; mixtures in the plane. Infinity is proved for Gaussian
    tails (variance of p at least twice that of q) and for supports; for other laws it is of level heuristic. A value beyond floating point is
    [1.8e308, inf]. Parameters and errors as ``total_variation``.
    """
    return between(CHI2, p, q, alpha=alpha, n=n, seed=seed, rigorous=rigorous)


def hellinger(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""H(p, q) = \sqrt{\tfrac12 \int (\sqrt p - \sqrt q)^2} in [0, 1], a distance; H^2 = 1 - \int\sqrt{pq}.

    H^2 \le TV \le H\sqrt{2 - H^2}. Gaussians and products (1 - H^2 multiplies) in any d; any two laws on the line; mixtures in the plane.
    Parameters and errors as ``total_variation``.
    """
    return between(H, p, q, alpha=alpha, n=n, seed=seed, rigorous=rigorous)


def renyi(p, q, *, order, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""R_a(p|q) = \frac1{a-1} \log \int p^a q^{1-a}, nats, a = ``order`` > 0; order 1 is KL, order 2 is \log(1 + \chi^2); increasing in a.

    Gaussians and products (additive) in any d; any two laws on the line; discrete laws. Parameters and errors as ``total_variation``.
    Source: van Erven & Harremoës 2014, https://doi.org/10.1109/TIT.2014.2320500
    """
    order = renyi_orders.checked_order(order)
    if order == 1:
        return kullback_leibler(p, q, alpha=alpha, n=n, seed=seed, rigorous=rigorous)
    line, atoms, gaussians = (partial(f, order) for f in (renyi_orders.line, renyi_orders.atoms, renyi_orders.gaussians))
    return between(Ways("renyi", line, atoms, gaussians, product.added), p, q, alpha=alpha, n=n, seed=seed, rigorous=rigorous)


def wasserstein1(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""W_1(p, q) = \inf E|X - Y| over couplings; on the line \int |F - G|.

    Laws on the line, discrete ones too; Gaussians of equal covariance in any d. Samples: the distance of the empirical laws, level heuristic,
    noise floor shown (``divergence.empirical_transport`` has finite-sample bounds). Parameters and errors as ``total_variation``.
    """
    return between(W1, p, q, alpha=alpha, n=n, seed=seed, rigorous=rigorous)


def wasserstein2(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""W_2(p, q) = \sqrt{\inf E|X - Y|^2} over couplings, a distance; on the line \left(\int_0^1 (F^{-1} - G^{-1})^2 du\right)^{1/2}.

    Laws on the line, discrete laws, Gaussians (Bures) and products in any d; other laws in d > 1 between Gelbrich's bound and the mixture
    distance. Samples as ``wasserstein1``; in d > 1 they need POT (``pip install 'scoresde[ot]'``). Parameters and errors as ``total_variation``.
    """
    return between(W2, p, q, alpha=alpha, n=n, seed=seed, rigorous=rigorous)


def fisher_divergence(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""E_p|\nabla\log p - \nabla\log q|^2 (without 1/2); infinite if p jumps or reaches where q is 0.

    Gaussians and products (additive) in any d; any two laws with a score on the line; mixtures in the plane. It is blind to the weights of far
    modes. Parameters and errors as ``total_variation``. Source: Hyvärinen 2005, https://jmlr.org/papers/v6/hyvarinen05a.html
    """
    return between(FISHER, p, q, alpha=alpha, n=n, seed=seed, rigorous=rigorous)


def kolmogorov(p, q, *, alpha=1e-6, n=None, seed=None, rigorous=False):
    r"""\sup_x |P(X \le x) - Q(X \le x)| in [0, 1], laws of dimension 1.

    Of a sample (n, 1) and a law: the Kolmogorov–Smirnov statistic \pm \sqrt{\log(2/\alpha)/(2n)}, level finite-sample: with probability
    at least 1 - alpha this encloses the distance of the law that was sampled. Of two samples: two such bands.
    Parameters and errors as ``total_variation``.
    Source: Dvoretzky, Kiefer & Wolfowitz 1956; Massart 1990 (the constant), https://doi.org/10.1214/aop/1176990746
    """
    samples = is_sample(p) + is_sample(q)
    if not samples:
        return between(KS, p, q, alpha=alpha, n=n, seed=seed, rigorous=rigorous)
    if rigorous:
        raise NoMethod("kolmogorov: no method gives a proof from samples; drop rigorous=True")
    if samples == 2:
        check("kolmogorov", alpha)
        return witness.kolmogorov(p, q, alpha=alpha)
    x, law = (p, q) if is_sample(p) else (q, p)
    check("kolmogorov", alpha, law)
    x = rows("sample", x)
    same_dimension(x, law)
    if law.dim != 1:
        raise ValueError(f"kolmogorov: got a sample of shape {x.shape}, allowed is dimension 1; project onto an axis")
    e = kolmogorov(Empirical(x), law)
    half = math.sqrt(math.log(2 / alpha) / (2 * len(x))) + max(e.hi - e.value, e.value - e.lo)
    return Enclosure.near(e.value, half, "finite-sample", alpha, "Kolmogorov-Smirnov statistic, DKW-Massart band").cut(0.0, 1.0)
