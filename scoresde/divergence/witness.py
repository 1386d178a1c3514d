r"""Lower bounds of divergences where at least one law is known by a sample only: a witness set, found on some draws, weighed on others.

For every set A, D(p, q) >= D(Bernoulli p(A), Bernoulli q(A)) (data processing); for total variation this is p(A) - q(A), and equality holds for
A = {p > q} (Scheffé). A third of the draws chooses A, the others, independent of A, are binomial, so that Clopper–Pearson bounds hold at every
sample size. How A is chosen affects the sharpness only, never the truth. The other end is 1 (ln 2, inf): no sample bounds these divergences
from above without assumptions on the laws.

On the line A is a union of cells, and half-lines are tried too (Dvoretzky–Kiefer–Wolfowitz); in more dimensions A is where one of several
classifiers votes for p. Draws must be independent. A sample is an array (n, d), numpy or torch; where a law takes part whose distribution function
is not at hand (d > 1), ``n`` draws are made of it with ``seed``.
"""

import math
from dataclasses import dataclass

import numpy as np

from .._arrays import positive_int, seed_words
from ..enclosure import Enclosure
from ..laws import Empirical
from ..laws._common import in_blocks
from .concentration import clopper_pearson_lower, dkw
from .quadrature import LN2, entropy_gap
from .rows import is_sample, rows, two_samples

__all__ = ["chi_squared", "hellinger", "jensen_shannon", "kolmogorov", "kullback_leibler", "total_variation"]

_CELLS = 2**12
_NEIGHBOURS = 4  # dimensions up to which neighbours are asked
_TREE = 20_000  # points in a tree of neighbours
_MOST = 2**27  # numbers drawn of a law, 1 GB
_EXACT = 1e-12  # error of a law's own distribution function


def total_variation(p, q, *, alpha=1e-6, n=None, seed=None):
    r"""TV(p, q) >= p(A) - q(A): [lo, 1] with P(TV < lo) <= alpha, level finite-sample. p, q : a sample and a law, or two samples."""
    return _bound("total_variation", lambda a, b: a - b, 1.0, p, q, alpha, n, seed)


def kullback_leibler(p, q, *, alpha=1e-6, n=None, seed=None):
    r"""KL(p|q) >= a \log(a/b) + (1-a)\log((1-a)/(1-b)), a <= p(A), b >= q(A), a > b: [lo, inf], level finite-sample."""
    return _bound("kullback_leibler", _binary_kl, math.inf, p, q, alpha, n, seed)


def jensen_shannon(p, q, *, alpha=1e-6, n=None, seed=None):
    r"""JS(p, q) >= that of two coins of p(A) and q(A): [lo, ln 2], level finite-sample."""

    def coins(a, b):
        return sum(0.5 * (u + v) * float(entropy_gap(np.float64((u - v) / (u + v)))) for u, v in ((a, b), (1 - a, 1 - b)) if u + v > 0)

    return _bound("jensen_shannon", coins, LN2, p, q, alpha, n, seed)


def chi_squared(p, q, *, alpha=1e-6, n=None, seed=None):
    r"""\chi^2(p|q) >= (a - b)^2 / (b(1-b)), a <= p(A), b >= q(A), a > b: [lo, inf], level finite-sample."""
    return _bound("chi_squared", lambda a, b: (a - b) ** 2 / (b * (1 - b)), math.inf, p, q, alpha, n, seed)


def hellinger(p, q, *, alpha=1e-6, n=None, seed=None):
    r"""H^2(p, q) >= \frac12((\sqrt a - \sqrt b)^2 + (\sqrt{1-a} - \sqrt{1-b})^2): [lo, 1] for H, level finite-sample."""
    return _bound("hellinger", lambda a, b: math.hypot(a**0.5 - b**0.5, (1 - a) ** 0.5 - (1 - b) ** 0.5) * 0.5**0.5, 1.0, p, q, alpha, n, seed)


def kolmogorov(x, y, *, alpha=1e-6):
    r"""\sup|F - G| of the laws behind two samples (n, 1), (m, 1): \sup|F_n - G_m| \pm (e_n + e_m), bands of alpha/2 each: level finite-sample."""
    x, y = two_samples(x, y)
    if x.shape[1] != 1:
        raise ValueError(f"kolmogorov: got samples of dimension {x.shape[1]}, allowed is 1; project onto an axis")
    gap = float(np.max(np.abs(_gaps(x[:, 0], y[:, 0])[0])))
    half = dkw(len(x), 0.5 * alpha) + dkw(len(y), 0.5 * alpha)
    return Enclosure.near(gap, half, "finite-sample", alpha, "two-sample Kolmogorov-Smirnov statistic, two DKW-Massart bands").cut(0.0, 1.0)


def _binary_kl(a, b):
    return a * math.log(a / b) + ((1 - a) * math.log((1 - a) / (1 - b)) if a < 1 else 0.0)


def _bound(name, coins, high, p, q, alpha, n, seed):
    """[lo, high] from the best of the sets whose bounds (a <= p(A), q(A) <= b) hold together."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # far draws may overflow a classifier: they then vote against p
        pairs = [(float(a), float(b)) for a, b in _weighed(name, p, q, alpha, n, seed) if a > b]
    lo = max([0.0, *(coins(a, b) for a, b in pairs)])
    return Enclosure(min(lo, high), high, "finite-sample", alpha, None, "held-out witness, Clopper-Pearson")


# ---- the pairs (a, b) with P(a <= p(A) and q(A) <= b for all of them) >= 1 - alpha ------------------------------------------------


def _weighed(name, p, q, alpha, n, seed):
    laws = [not is_sample(law) for law in (p, q)]
    if not any(laws):
        return _from_two(*two_samples(p, q), alpha, None)
    law, x = (p, rows("q", q)) if laws[0] else (q, rows("p", p))
    if x.shape[1] != law.dim:
        raise ValueError(f"{name}: got a sample of shape {x.shape} and a law of dimension {law.dim}, allowed are equal dimensions")
    if law.dim == 1 and callable(getattr(law, "cdf", None)) and not isinstance(law, Empirical):
        pairs = _from_cdf(x, law, alpha)
    else:
        if n is None:
            raise ValueError(f"n: got None, allowed is an int >= 4: {name} draws from the {type(law).__name__}; pass n=100_000, seed=0, say")
        if positive_int("n", n, least=4) * law.dim > _MOST:
            raise ValueError(f"n: got {n} draws in dimension {law.dim}, allowed is n d <= {_MOST}, 1 GB; draw fewer")
        y = rows("law.sample", law.sample(n, np.random.SeedSequence(seed_words(seed, f"witness {name}"))))
        density = None if isinstance(law, Empirical) else getattr(law, "logpdf", None)
        pairs = [(a, b + float(getattr(law, "error", 0.0))) for a, b in _from_two(x, y, alpha, density)]
    return [(1 - b, 1 - a) for a, b in pairs] if laws[0] else pairs  # A for p = the sample; else its complement


def _from_cdf(x, law, alpha):
    r"""A law on the line: U = F(X) is uniform under it, so that it gives cells their exact probabilities; half-lines as well."""
    _enough(x)
    u, slack = np.asarray(law.cdf(x), dtype=np.float64), _EXACT + float(getattr(law, "error", 0.0))
    first, second = _parts(u)
    inside = _cells(first, None)
    pairs = [(clopper_pearson_lower(int(inside(second).sum()), len(second), 0.5 * alpha), inside.share + slack + _CELLS * _EXACT)]
    u, e = np.sort(u), dkw(len(u), 0.5 * alpha)
    rank = np.arange(len(u) + 1) / len(u)
    i, j = int(np.argmax(rank[1:] - u)), int(np.argmax(u - rank[:-1]))
    return [*pairs, (rank[i + 1] - e, u[i] + slack), (1 - rank[j] - e, 1 - u[j] + slack)]


def _from_two(x, y, alpha, density):
    _enough(x, y)
    (x1, x2), (y1, y2) = _parts(x), _parts(y)
    share = 0.5 if x.shape[1] == 1 else 1.0
    inside = _on_ranks(x1[:, 0], y1[:, 0]) if x.shape[1] == 1 else _classified(x1, y1, density)
    k, l = int(inside(x2).sum()), int(inside(y2).sum())
    pairs = [(clopper_pearson_lower(k, len(x2), 0.5 * share * alpha), 1 - clopper_pearson_lower(len(y2) - l, len(y2), 0.5 * share * alpha))]
    if x.shape[1] > 1:
        return pairs
    gap, f, g = _gaps(x[:, 0], y[:, 0])
    e, h = dkw(len(x), 0.25 * alpha), dkw(len(y), 0.25 * alpha)
    i, j = int(np.argmax(gap)), int(np.argmin(gap))
    return [*pairs, (f[i] - e, g[i] + h), (1 - f[j] - e, 1 - g[j] + h)]


def _gaps(x, y):
    """(F - G, F, G), the empirical distribution functions at all the points."""
    points = np.concatenate([x, y])
    f, g = (np.searchsorted(np.sort(s), points, side="right") / len(s) for s in (x, y))
    return f - g, f, g


def _enough(*samples):
    if min(map(len, samples)) < 4:
        raise ValueError(f"sample: got {min(map(len, samples))} draws, allowed are at least 4: a third chooses the set, the others weigh it")


def _parts(x):
    """A third and two thirds of the draws, after a fixed permutation: a sample that was sorted is as good as any other."""
    order = np.random.Generator(np.random.PCG64DXSM(len(x))).permutation(len(x))
    return x[order[: len(x) // 3]], x[order[len(x) // 3 :]]


# ---- choosing A ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Cells:
    """The union of the cells [i, i+1)/B of the unit interval where ``chosen`` (B,) is True."""

    chosen: np.ndarray

    @property
    def share(self):
        return float(np.mean(self.chosen))

    def __call__(self, u):
        return self.chosen[np.minimum((u * len(self.chosen)).astype(np.intp), len(self.chosen) - 1)]


def _cells(u, v):
    """Where the draws u lie denser than v (None: the uniform law), both in [0, 1]: the number of cells is chosen on a third of them."""
    cut, cut_v = -(-2 * len(u) // 3), 0 if v is None else -(-2 * len(v) // 3)
    parts = [(u[:cut], None if v is None else v[:cut_v]), (u[cut:], None if v is None else v[cut_v:])]
    excess, held = (_counts(a) - (1 / _CELLS if b is None else _counts(b)) for a, b in parts)
    best, gain = 2, -math.inf
    for size in (2**k for k in range(1, 13)):
        a, b = (x.reshape(size, -1).sum(axis=1) for x in (excess, held))
        if float(b[a > 0].sum()) > gain and (size == 2 or 8 * size <= cut):
            best, gain = size, float(b[a > 0].sum())
    return Cells((cut * excess + (len(u) - cut) * held).reshape(best, -1).sum(axis=1) > 0)


def _counts(u):
    return np.bincount(np.minimum((u * _CELLS).astype(np.intp), _CELLS - 1), minlength=_CELLS) / max(len(u), 1)


def _on_ranks(x, y):
    """``_cells`` of the ranks among all draws that choose."""
    pool = np.sort(np.concatenate([x, y]))
    rank = lambda z: np.searchsorted(pool, z, side="left") / len(pool)  # noqa: E731
    inside = _cells(rank(x), rank(y))
    return lambda z: inside(rank(z.reshape(-1)))


def _classified(x, y, density):
    """The best of several classifiers, trained on two thirds and compared on the last third."""
    (a, x), (b, y) = ((z[: len(z) // 3], z[len(z) // 3 :]) for z in (x, y))
    votes = [_gaussians(x, y)]
    if x.shape[1] <= _NEIGHBOURS:
        votes.append(_neighbours(x, y))
    if density is not None:  # shells of equal density: a sample may miss the typical set
        votes.append(_levels(x, y, density))
    gains = [float(np.mean(vote(a)) - np.mean(vote(b))) if len(a) and len(b) else 0.0 for vote in votes]
    return votes[int(np.argmax(gains))]


def _spread(z):
    s = z.std(axis=0)
    return np.where(s > 0, s, 1.0)


def _gaussians(x, y):
    """Quadratic discriminant: where the Gaussian of mean and covariance of x is denser than that of y (variances only where draws are few)."""
    fits = []
    for z in (x, y):
        mean, scale, d = z.mean(axis=0), _spread(z), z.shape[1]
        cov = (np.cov((z - mean) / scale, rowvar=False) if len(z) > 4 * d else np.eye(d)) + 1e-6 * np.eye(d)
        root = np.linalg.cholesky(cov)
        fits.append((mean, np.linalg.inv(root) / scale, np.log(np.diag(root)).sum() + np.log(scale).sum()))

    def block(z):
        a, b = (0.5 * (((z - mean) @ inverse.T) ** 2).sum(axis=1) + log for mean, inverse, log in fits)
        return a < b

    return lambda z: in_blocks(block, z, 4 * z.shape[1])


def _neighbours(x, y):
    """Where the k-th neighbour among x is nearer than that among y, for equal shares k/n of both."""
    from scipy.spatial import cKDTree

    scale = _spread(np.concatenate([x, y]))
    x, y = (z[:_TREE] / scale for z in (x, y))
    share = max(len(x), len(y)) ** -0.6
    trees = [(cKDTree(z), [max(1, round(share * len(z)))]) for z in (x, y)]

    def block(z):
        a, b = (tree.query(z / scale, k)[0][:, 0] for tree, k in trees)
        return a < b

    return lambda z: in_blocks(block, z, 4 * z.shape[1])


def _levels(x, y, density):
    """Sets between levels of a law's log-density."""
    level = lambda z: np.asarray(density(z), dtype=np.float64)  # noqa: E731
    inside = _on_ranks(level(x), level(y))
    return lambda z: inside(level(z))
