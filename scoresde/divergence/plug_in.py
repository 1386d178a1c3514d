r"""Plug-in estimates from samples, level heuristic: they have no error bound, and what they show for equal laws stands in ``method``.

The bounds of ``witness`` are what can be trusted; these are for orientation.
"""

import math

import numpy as np

from .._arrays import positive_int, seed_words
from ..enclosure import Enclosure
from ..errors import NoMethod, NotTrusted
from .rows import is_sample, rows, two_samples

__all__ = ["histogram_total_variation", "neighbour_kullback_leibler"]


def histogram_total_variation(p, q, *, bins=None):
    r"""\frac12 \sum_b |\hat p_b - \hat q_b| on the line: a sample and a law, or two samples; cells of equal mass of q (of both samples).

    For equal laws it shows \frac12 \sum_b \sqrt{2 r_b (1/n + 1/m)/\pi} on average, r_b the cells' masses, instead of 0: that is the half-width
    given. Cells blur what is finer than they are. bins : default 2 n^{1/3}, n the smaller sample. Level heuristic.
    """
    x, y = two_samples(p, q) if is_sample(p) and is_sample(q) else (rows("p", p), q) if is_sample(p) else (rows("q", q), p)
    if x.shape[1] != 1:
        raise NoMethod(f"histogram_total_variation: got dimension {x.shape[1]}, allowed is 1; total_variation bounds from below in any dimension")
    if is_sample(y):
        pool, rate, cells = np.sort(np.concatenate([x, y])[:, 0]), 1 / len(x) + 1 / len(y), _bins(bins, min(len(x), len(y)))
        counts, masses = (_histogram(np.searchsorted(pool, z[:, 0]) / len(pool), cells) for z in (x, y))
    else:
        rate, cells = 1 / len(x), _bins(bins, len(x))
        counts, masses = _histogram(np.asarray(y.cdf(x)), cells), np.full(cells, 1 / cells)
    value = 0.5 * float(np.abs(counts - masses).sum())
    floor = 0.5 * float(np.sqrt(rate / math.pi * (counts + masses)).sum())
    return Enclosure.near(value, floor, "heuristic", 0.0, f"histogram of {cells} cells, noise floor {floor:.2g}").cut(0.0, 1.0)


def _bins(bins, n):
    return max(2, round(2 * n ** (1 / 3))) if bins is None else positive_int("bins", bins, least=2)


def _histogram(u, cells):
    return np.bincount(np.minimum((u * cells).astype(np.intp), cells - 1), minlength=cells) / len(u)


def neighbour_kullback_leibler(p, q, *, neighbours=5, n=None, seed=None):
    r"""KL(p|q) \approx \frac dn \sum_i \log\frac{\nu_k(x_i)}{\rho_k(x_i)} + \log\frac{m}{n-1}, samples x of p and y of q in any dimension.

    \rho_k, \nu_k : distances from x_i to its k-th neighbour among the other x and among y. Of a law, n draws are made with ``seed``. The half-width
    is three standard errors, the noise floor for equal laws; the bias, which is far larger in d >= 8 or where scales differ, is not in it. Level
    heuristic. Raises NotTrusted where ties (rounded data) make a distance 0. Source: Wang, Kulkarni & Verdú 2009,
    https://doi.org/10.1109/TIT.2009.2016060
    """
    from scipy.spatial import cKDTree

    k = positive_int("neighbours", neighbours)
    x, y = two_samples(*(_draws(which, law, n, seed) for which, law in (("p", p), ("q", q))))
    if min(len(x) - 1, len(y)) < k:
        raise ValueError(f"neighbours: got {k} with samples of {len(x)} and {len(y)}, allowed is fewer than either")
    own, other = cKDTree(x).query(x, [k + 1])[0][:, 0], cKDTree(y).query(x, [k])[0][:, 0]
    ties = int(np.count_nonzero((own == 0) | (other == 0)))
    if ties:
        raise NotTrusted(
            f"neighbour_kullback_leibler: {ties} of {len(x)} draws have {k} neighbours at distance 0 (rounded or repeated data), which makes the "
            "estimate infinite or undefined; use kullback_leibler, a lower bound that ties do not harm"
        )
    terms = x.shape[1] * np.log(other / own)
    value, floor = max(float(np.mean(terms)) + math.log(len(y) / (len(x) - 1)), 0.0), 3 * float(np.std(terms)) / math.sqrt(len(x))
    return Enclosure.near(value, floor, "heuristic", 0.0, f"{k}-th neighbours, noise floor {floor:.2g}, bias unknown").cut(0.0)


def _draws(which, law, n, seed):
    if is_sample(law):
        return law
    if n is None:
        raise ValueError(f"n: got None, allowed is an int >= 2: draws are made of {type(law).__name__}; pass n=10_000, seed=0, say")
    words = seed_words(seed, f"neighbour_kullback_leibler: {which}")
    return law.sample(positive_int("n", n, least=2), np.random.SeedSequence(words))
