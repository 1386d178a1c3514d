"""Any two laws on the line: every divergence against mpmath at 30 digits, hard shapes, tails, laws of a user, laws that an engine computed."""

import math
from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath.calculus.quadrature import GaussLegendre
from scipy.special import gammaln

import scoresde as sd
from scoresde.divergence.panels import EPS
from scoresde.divergence.view import Pair, view

GM3 = sd.GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], [0.25, 0.16, 0.36])
NORMAL = sd.standard_normal(1)
SYMMETRIC = (sd.total_variation, sd.jensen_shannon, sd.hellinger, sd.wasserstein1, sd.wasserstein2, sd.kolmogorov)
DIRECTED = (sd.kullback_leibler, sd.chi_squared, sd.fisher_divergence)
DIGITS = 25


class Exact:
    """A mixture at mpmath's precision, its weights summing to 1 there."""

    def __init__(self, law):
        w = [mp.mpf(float(x)) for x in law.weights]
        self.parts = [(a / sum(w), mp.mpf(float(m)), mp.sqrt(mp.mpf(float(v)))) for a, m, v in zip(w, law.means[:, 0], law.covs, strict=True)]

    def pdf(self, x):
        return sum(w * mp.npdf(x, m, s) for w, m, s in self.parts)

    def slope(self, x):
        return -sum(w * mp.npdf(x, m, s) * (x - m) / s**2 for w, m, s in self.parts)

    def cdf(self, x, sign=1):
        return sum(w * mp.erfc(sign * (m - x) / s / mp.sqrt(2)) / 2 for w, m, s in self.parts)

    def integrated_cdf(self, x):
        return sum(w * ((x - m) * mp.erfc((m - x) / s / mp.sqrt(2)) / 2 + s**2 * mp.npdf(x, m, s)) for w, m, s in self.parts)

    def edges(self, reach):
        return [m + k * s for _, m, s in self.parts for k in range(-reach, reach + 1)]


def panels(p, q, reach=12):
    edges, least = [], min(s for _, _, s in p.parts + q.parts)
    for x in sorted(p.edges(reach) + q.edges(reach)):
        if not edges or x - edges[-1] > least / 2:
            edges.append(x)
    return edges


def nodes(edges):
    rule = GaussLegendre(mp.mp).calc_nodes(4, mp.mp.prec)  # 24 nodes a panel of about one standard deviation
    return [(0.5 * (a + b + (b - a) * x), 0.5 * (b - a) * w) for a, b in pairwise(edges) for x, w in rule]


def roots(f, lo, hi, count=1200):
    x = [lo + (hi - lo) * k / count for k in range(count + 1)]
    y = [f(z) for z in x]
    return [mp.findroot(f, (x[k], x[k + 1]), solver="anderson", tol=mp.mpf(10) ** -50, verify=False) for k in range(count) if y[k] * y[k + 1] < 0]


def truths(law_p, law_q):
    p, q = Exact(law_p), Exact(law_q)
    lo, hi = min(p.edges(9) + q.edges(9)), max(p.edges(9) + q.edges(9))
    total = dict.fromkeys((f.__name__ for f in (*SYMMETRIC, *DIRECTED)), mp.mpf(0))
    for x, w in nodes(panels(p, q)):
        a, b = p.pdf(x), q.pdf(x)
        m = (a + b) / 2
        total["kullback_leibler"] += w * a * mp.log(a / b)
        total["jensen_shannon"] += w * (a * mp.log(a / m) + b * mp.log(b / m)) / 2
        total["hellinger"] += w * (mp.sqrt(a) - mp.sqrt(b)) ** 2 / 2
        total["fisher_divergence"] += w * a * (p.slope(x) / a - q.slope(x) / b) ** 2
    total["hellinger"] = mp.sqrt(total["hellinger"])
    total["chi_squared"] = sum(w * (p.pdf(x) - q.pdf(x)) ** 2 / q.pdf(x) for x, w in nodes(panels(p, q, 30)))
    gap = [p.cdf(x) - q.cdf(x) for x in roots(lambda x: p.pdf(x) - q.pdf(x), lo, hi)]
    steps = [mp.mpf(0), *gap, mp.mpf(0)]
    total["total_variation"] = sum(abs(b - a) for a, b in pairwise(steps)) / 2
    total["kolmogorov"] = max(abs(x) for x in gap)
    area = lambda x: p.integrated_cdf(x) - q.integrated_cdf(x)  # noqa: E731
    steps = [mp.mpf(0), *(area(x) for x in roots(lambda x: p.cdf(x) - q.cdf(x), lo, hi)), area(100 * hi)]
    total["wasserstein1"] = sum(abs(b - a) for a, b in pairwise(steps))
    # W2: y runs over q; T(y) by Newton on the logarithm of the smaller tail, from a float
    back = law_q.quantile(law_p.cdf(np.array([[float(x)] for x in sorted(p.edges(8))])))[:, 0]
    here = nodes(sorted({mp.mpf(float(x)) for x in [*map(float, panels(p, q)), *back[np.isfinite(back)]]}))
    here = [(y, w) for y, w in here if q.pdf(y) > mp.mpf(10) ** -24]
    y = np.array([[float(y)] for y, _ in here])
    mirror = law_p.noised(sd.Kernel(-1.0, 0.0))
    start = np.where(law_q.cdf(y) < 0.5, law_p.quantile(law_q.cdf(y))[:, 0], -mirror.quantile(law_q.sf(y))[:, 0])
    square = mp.mpf(0)
    for (y, w), x in zip(here, start, strict=True):
        x, sign = mp.mpf(float(x)), 1 if q.cdf(y) < 0.5 else -1
        u = q.cdf(y, sign)
        for _ in range(20):
            f = p.cdf(x, sign)
            step = sign * mp.log(f / u) * f / p.pdf(x)
            x -= step
            if abs(step) < mp.mpf(10) ** -12:  # the next one is its square
                break
        assert abs(step) < mp.mpf(10) ** -12
        square += w * q.pdf(y) * (x - y) ** 2
    total["wasserstein2"] = mp.sqrt(square)
    return total


PAIRS = [
    (GM3, sd.GaussianMixture([0.6, 0.4], [[-1.0], [1.5]], [0.9, 0.5])),
    (sd.GaussianMixture([0.2, 0.8], [[0.3], [0.0]], [0.01, 0.7]), sd.GaussianMixture([0.5, 0.3, 0.2], [[-0.5], [0.1], [1.0]], [1.0, 0.25, 0.49])),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_the_stated_width_covers_the_truth_and_is_small(pair):
    with mp.workdps(DIGITS):
        for name, truth in truths(*pair).items():
            e = getattr(sd, name)(*pair)
            assert mp.mpf(e.lo) <= truth <= mp.mpf(e.hi), name
            # the promise of this module: 1e-13, W2 1e-12, relative where the number is large
            assert e.width <= (1e-12 if name == "wasserstein2" else 1e-13) * (1 + float(truth)), name
            assert not mp.mpf(e.lo) <= truth * (1 + mp.mpf(10) ** -10) <= mp.mpf(e.hi), name  # nor does it cover a number close by


def test_measured_constants_of_the_catalogue():
    after_one = GM3.noised(sd.ornstein_uhlenbeck(1.0))
    for e, truth in (
        (sd.total_variation(after_one, NORMAL), "0.057090806480251209373"),  # ball arithmetic
        (sd.fisher_divergence(GM3, NORMAL), "4.1794319824482890"),
    ):
        # a distance is made of differences of CDFs, each of order 1 and good to EPS of itself, on this processor or that
        assert abs(e.value - float(truth)) <= 4 * EPS * max(1.0, float(truth)) and e.width <= 2e-13


@st.composite
def mixtures(draw, least=-2.0):
    k = draw(st.integers(1, 3))
    w = np.array([draw(st.floats(0.05, 1)) for _ in range(k)])
    return sd.GaussianMixture(w / w.sum(), [[draw(st.floats(-4, 4))] for _ in range(k)], [10 ** draw(st.floats(least, 1)) for _ in range(k)])


@given(mixtures(), mixtures())
def test_symmetry_and_bounds(p, q):
    for f in SYMMETRIC:
        a, b = f(p, q), f(q, p)
        assert a.lo <= b.hi and b.lo <= a.hi, f.__name__
    tv, h, kl = sd.total_variation(p, q), sd.hellinger(p, q), sd.kullback_leibler(p, q)
    js, ks = sd.jensen_shannon(p, q), sd.kolmogorov(p, q)
    assert (h * h).lo <= tv.hi and tv.lo <= (h * (2 - h * h).cut(0).sqrt()).hi
    assert tv.lo <= (kl / 2).cut(0).sqrt().hi
    assert kl.lo <= sd.chi_squared(p, q).hi and js.lo <= (tv * math.log(2)).hi and ks.lo <= tv.hi
    t = min(tv.value, 1.0)
    envelope = 0.5 * ((1 + t) * math.log1p(t) + ((1 - t) * math.log1p(-t) if t < 1 else 0.0))
    assert envelope <= js.hi + math.log(2) * tv.width + 4 * EPS
    w1, w2 = sd.wasserstein1(p, q), sd.wasserstein2(p, q)
    assert w1.lo <= w2.hi
    gap = float(abs(p.mean() - q.mean())[0])
    assert gap <= w1.hi + 4 * EPS * (1 + gap)


def test_directed_divergences_are_not_symmetric():
    for f in DIRECTED:
        a, b = f(*PAIRS[1]), f(*reversed(PAIRS[1]))
        assert a.hi < b.lo or b.hi < a.lo


@given(mixtures(), mixtures(), st.floats(0.05, 2))
def test_data_processing(p, q, t):
    kernel = sd.ornstein_uhlenbeck(t)
    for f in (sd.total_variation, sd.kullback_leibler, sd.jensen_shannon, sd.hellinger):
        assert f(p.noised(kernel), q.noised(kernel)).lo <= f(p, q).hi
    assert sd.wasserstein2(p.noised(kernel), q.noised(kernel)).lo <= (sd.wasserstein2(p, q) * math.exp(-t)).hi


@given(mixtures(-5.0), st.floats(-3, 3), st.floats(0.3, 3))
def test_transport_of_an_affine_image_is_exact(p, shift, scale):
    """W2 of X and aX + b: E((a-1)X + b)^2. Narrow components make plateaus in the distribution function."""
    q = sd.GaussianMixture(p.weights, p.means * scale + shift, p.covs * scale**2)
    m = float(p.mean()[0])
    truth = math.sqrt(max((scale - 1) ** 2 * float(p.cov()[0, 0]) + ((scale - 1) * m + shift) ** 2, 0.0))
    e = sd.wasserstein2(p, q)
    # the parameters of q are rounded: a few ulps of its location and scale
    assert e.lo - 32 * EPS * 10 <= truth <= e.hi + 32 * EPS * 10


@pytest.mark.parametrize("weight", [0.5, 0.9, 0.99])
def test_plateaus_of_the_distribution_function_are_solved_to_the_end(weight):
    """Between two narrow modes Newton's step is small long before it is accurate."""
    p = sd.GaussianMixture([weight, 1 - weight], [[0.0], [1.0]], [1e-4, 1e-4])
    q = sd.GaussianMixture(p.weights, p.means * 1.7 + 0.6, p.covs * 1.7**2)
    truth = math.sqrt(0.7**2 * float(p.cov()[0, 0]) + (0.7 * float(p.mean()[0]) + 0.6) ** 2)
    e = sd.wasserstein2(p, q)
    assert e.lo <= truth <= e.hi and abs(e.value - truth) <= 4 * EPS


@given(mixtures(-6.0), mixtures(-6.0), st.integers(0, 2**31))
def test_other_panels_give_the_same(p, q, seed):
    """Every panel cut in two at random: components of standard deviation 1e-3 beside wide ones, bends in far tails."""
    from scoresde.divergence import quadrature

    pair, other = Pair(view(p), view(q)), Pair(view(p), view(q))
    cut = pair.edges[:-1] + np.diff(pair.edges) * np.random.default_rng(seed).uniform(0.2, 0.8, len(pair.edges) - 1)
    other.__dict__["edges"] = np.union1d(pair.edges, cut)
    for f in (quadrature.kullback_leibler, quadrature.jensen_shannon, quadrature.hellinger, quadrature.fisher_divergence, quadrature.chi_squared):
        a, b = f(pair), f(other)
        assert a.lo <= b.hi and b.lo <= a.hi, f.__name__


@given(mixtures(-6.0), mixtures(-6.0))
def test_total_variation_by_roots_and_by_quadrature(p, q):
    from scoresde.divergence import quadrature

    pair = Pair(view(p), view(q))
    a, b = quadrature.total_variation(pair), quadrature._total_variation_by_quadrature(pair, quadrature.crossings(pair)[0])
    assert a.lo <= b.hi and b.lo <= a.hi and a.width <= 1e-12


@pytest.mark.parametrize("eps", [1e-3, 1e-6, 1e-9, 1e-12])
def test_close_mixtures_keep_relative_accuracy(eps):
    """KL ~ eps^2 F / 2, chi^2 ~ eps^2 F, TV ~ eps E|s| / 2: relative error O(eps) from the expansion, 1e-16/eps from rounding."""
    q = sd.GaussianMixture(GM3.weights, GM3.means + eps, GM3.covs)
    exact = float((GM3.means + eps - GM3.means)[1, 0])  # eps as it was rounded into the means
    fisher = sd.information.fisher(GM3).value
    relative = 3 * eps + 1e-15 / eps
    values = exact**2 * fisher / 2, exact**2 * fisher, exact, exact
    for f, value in zip((sd.kullback_leibler, sd.chi_squared, sd.wasserstein2, sd.wasserstein1), values, strict=True):
        e = f(GM3, q)
        assert abs(e.value - value) <= relative * value
        assert e.hi - e.value <= 0.02 * value


# ---- hard shapes --------------------------------------------------------------------------------------------------------------------


def test_far_modes_and_spikes():
    far = sd.GaussianMixture([0.5, 0.5], [[0.0], [1e8]], [1.0, 1.0])
    for f, truth in ((sd.total_variation, 0.5), (sd.wasserstein1, 5e7), (sd.wasserstein2, math.sqrt(0.5) * 1e8), (sd.kolmogorov, 0.5)):
        e = f(far, NORMAL)
        assert abs(e.value - truth) <= 1e-8 * truth and e.width <= 1e-8 * truth
    assert sd.chi_squared(far, NORMAL).hi == math.inf
    kl = sd.kullback_leibler(far, NORMAL)  # 1/2 E[X^2] on the far mode: 1e16/4, and lower order
    assert abs(kl.value - 2.5e15) <= 1e3 + kl.width
    spike = sd.GaussianMixture([0.999, 0.001], [[0.0], [5.0]], [1.0, 1e-16])
    tv = sd.total_variation(spike, NORMAL)
    assert abs(tv.value - 1e-3) <= 1e-14 and tv.width <= 1e-15
    narrow = sd.GaussianMixture([0.999, 0.001], [[0.0], [5.0]], [1.0, 1e-8])
    with mp.workdps(30):
        # chi^2 of the spike: w^2 int n^2/q, n^2/q Gaussian; cross term 2 w (1-w) and (1-w)^2, less 1
        v, x, w = mp.mpf(1e-8), mp.mpf(5), mp.mpf(0.001)
        lam = 1 / (2 / v - 1)
        peak = mp.sqrt(2 * mp.pi) / (2 * mp.pi * v) * mp.sqrt(2 * mp.pi * lam) * mp.exp(-(x**2) / v + lam * (2 * x / v) ** 2 / 2)
        c = mp.mpf(0.999)
        assert abs(sd.chi_squared(narrow, NORMAL).value - (w**2 * peak + 2 * w * c + c**2 - 1)) <= 1e-11 * 2000


def test_bends_in_the_far_tails_of_a_mixture_are_resolved():
    """q has two narrow components; p lives between them, where log q is two parabolas that meet in a bend of width 1e-6."""
    p, q = sd.Gaussian([0.1], 0.04), sd.GaussianMixture([0.5, 0.5], [[-1.0], [1.3]], [1e-4, 1e-4])
    e = sd.kullback_leibler(p, q)
    with mp.workdps(40):
        # the bend at x = .15 cuts p in two: -E log q = piecewise quadratic up to e^-(2.3/1e-4 |x - .15|) terms
        s, b = mp.mpf("0.2"), mp.mpf("0.15")
        m, v = mp.mpf("0.1"), mp.mpf(1e-4)
        z = (b - m) / s
        cdf, pdf = mp.ncdf(z), mp.npdf(z)

        def part(mu, mass, sign):  # E (X - mu)^2 on one side
            return mass * (s**2 + (m - mu) ** 2) - sign * s * pdf * ((b - mu) + (m - mu))

        quadratic = part(mp.mpf(-1), cdf, 1) + part(mp.mpf("1.3"), 1 - cdf, -1)
        log_q = mp.log(0.5) - mp.log(2 * mp.pi * v) / 2 - quadratic / (2 * v)
        bend = mp.npdf(b, m, s) * mp.pi**2 / 12 * 2 * v / mp.mpf("2.3")  # int log(1 + e^{-|k y|}) dy = pi^2/(6k)
        truth = -mp.log(2 * mp.pi * mp.e * s**2) / 2 - log_q - bend
        assert abs(e.value - truth) <= 1e-9 and e.width <= 1e-8


def test_a_dip_between_the_scores_of_far_components_is_not_stepped_over():
    """As above, for the Fisher divergence: (s_p - s_q)^2 dips to about 0 over a width of 4e-7, between nodes of every other panel."""
    p, q = sd.Gaussian([0.1], 0.04), sd.GaussianMixture([0.5, 0.5], [[-1.0], [1.3]], [1e-6, 1e-6])
    e = sd.fisher_divergence(p, q)
    with mp.workdps(30):
        v, b, c = mp.mpf(1e-6), mp.mpf(-1.0) / 2 + mp.mpf(1.3) / 2, (mp.mpf(1.3) + 1) / 2
        mean, sd_ = mp.mpf(0.1), mp.sqrt(mp.mpf(0.04))

        def f(y):
            x = b + y
            return mp.npdf(x, mean, sd_) * ((c * mp.tanh(c * y / v) - y) / v + (x - mean) / sd_**2) ** 2

        w = v / c
        edges = [-mp.mpf(3), -2, -1.5, -1, -0.5, -0.1, -60 * w, -20 * w, -5 * w, 0, 5 * w, 20 * w, 60 * w, 0.1, 0.5, 1, 1.5, 2, 3]
        truth = mp.quad(f, edges)
        unseen = mp.npdf(b, mean, sd_) * (c / v) ** 2 * 2 * w  # the dip: int 1 - tanh^2 = 2 w
        assert mp.mpf(e.lo) <= truth <= mp.mpf(e.hi)
        assert e.width < unseen / 100


def test_disjoint_and_bounded_supports():
    a, b = sd.Uniform([0.0], [1.0]), sd.Uniform([3.0], [4.5])
    assert sd.total_variation(a, b).lo >= 1 - 1e-14 and sd.kullback_leibler(a, b).lo == math.inf
    assert abs(sd.wasserstein1(a, b).value - 3.25) <= 1e-14 and abs(sd.hellinger(a, b).value - 1) <= 1e-14
    inner = sd.Uniform([0.25], [0.5])
    assert abs(sd.kullback_leibler(inner, a).value - math.log(4)) <= 1e-14 and sd.kullback_leibler(a, inner).lo == math.inf
    assert abs(sd.total_variation(inner, a).value - 0.75) <= 1e-14 and abs(sd.chi_squared(inner, a).value - 3) <= 1e-13


def test_a_box_against_a_normal():
    box = sd.Uniform([-1.0], [1.0])
    with mp.workdps(30):
        outside = 2 * mp.ncdf(-1)
        # 1/2 > phi on the whole box: TV is the normal's mass outside
        for e, truth in (
            (sd.total_variation(box, NORMAL), outside),
            (sd.kullback_leibler(box, NORMAL), mp.log(2 * mp.pi) / 2 - mp.log(2) + mp.mpf(1) / 6),
            (sd.kolmogorov(box, NORMAL), outside / 2),
            (sd.chi_squared(box, NORMAL), mp.quad(lambda x: mp.exp(x * x / 2), [-1, 1]) * mp.sqrt(2 * mp.pi) / 4 - 1),
        ):
            assert mp.mpf(e.lo) <= truth <= mp.mpf(e.hi) and e.width <= 1e-13
    assert sd.fisher_divergence(box, NORMAL).lo == math.inf and sd.kullback_leibler(NORMAL, box).lo == math.inf
    wide = sd.Uniform([-50.0], [50.0])  # the normal's mass outside is 1e-545: still infinite
    assert sd.kullback_leibler(NORMAL, wide).lo == math.inf


class Student:
    """A user's law on the line: a log-density and nothing else."""

    dim = 1

    def __init__(self, nu):
        self.nu = nu

    def logpdf(self, x):
        nu = self.nu
        return gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu * np.pi) - (nu + 1) / 2 * np.log1p(x[..., 0] ** 2 / nu)


def student_divergences(nu, mu):
    def density(n):
        level = mp.gamma((n + 1) / mp.mpf(2)) / mp.gamma(n / mp.mpf(2)) / mp.sqrt(n * mp.pi)
        return lambda x: level * (1 + x * x / n) ** (-(n + 1) / mp.mpf(2))

    p, q = density(nu), density(mu)
    halves = [0, 1, 4, 30, 1000, mp.inf]
    kl = 2 * mp.quad(lambda x: p(x) * mp.log(p(x) / q(x)), halves)
    cut = mp.findroot(lambda x: p(x) - q(x), (1.2, 2.5), solver="anderson")
    return kl, abs(2 * mp.quad(lambda x: p(x) - q(x), [0, cut]))


def test_heavy_tails_of_a_law_that_is_only_a_log_density():
    with mp.workdps(25):
        kl, tv = student_divergences(3, 5)
        for e, truth in ((sd.kullback_leibler(Student(3), Student(5)), kl), (sd.total_variation(Student(3), Student(5)), tv)):
            assert mp.mpf(e.lo) <= truth <= mp.mpf(e.hi) and e.width <= 1e-13
    assert sd.chi_squared(Student(3), Student(7)).lo == math.inf  # p^2/q decays like 1 only
    assert sd.chi_squared(Student(3), Student(7)).level == "heuristic"
    assert sd.chi_squared(Student(3), Student(5)).hi < math.inf
    with pytest.raises(sd.NoMethod, match="cdf"):
        sd.wasserstein1(Student(3), NORMAL)
    with pytest.raises(sd.NoMethod, match="score"):
        sd.fisher_divergence(Student(3), NORMAL)


def test_a_kernel_density_estimate_of_many_points():
    data = np.random.default_rng(0).standard_normal((1000, 1))
    estimate = sd.kernel_density(data)
    assert sd.total_variation(estimate, NORMAL).width <= 1e-13
    assert sd.kullback_leibler(estimate, NORMAL).width <= 1e-13


# ---- laws that an engine computed ---------------------------------------------------------------------------------------------------


class Counted:
    """Counts the points at which a law's log-density is asked for."""

    dim = 1

    def __init__(self, law):
        self.law, self.points = law, 0

    def logpdf(self, x):
        self.points += np.size(x)
        return self.law.logpdf(x)

    def __getattr__(self, name):
        return getattr(self.law, name)


def test_laws_from_propagate_with_their_twins():
    law = sd.propagate(sd.scheme.euler_maruyama(sd.grid.uniform(6.0, 60)), sd.score.exact(GM3))
    # the table of the one-evaluation chains: KL(pi|chain) .0656328, TV .143223141992880 by two engines that differ by 1e-14
    kl, tv = sd.kullback_leibler(GM3, law), sd.total_variation(law, GM3)
    assert abs(kl.value - 0.0656328) <= 1e-7 and kl.width <= 1e-12
    assert abs(tv.value - 0.14322314199288) <= 2e-14
    assert tv.hi - tv.value >= law.error
    for f in (sd.chi_squared, sd.fisher_divergence, sd.wasserstein2, sd.jensen_shannon):
        assert f(GM3, law).width <= 1e-11 and f(law, GM3).width <= 1e-11
    counted = Counted(law.twin)
    sd.total_variation(counted, GM3)
    assert counted.points <= 4000


def test_a_computed_law_is_not_trusted_beyond_its_tails():
    """p reaches far beyond the region in which the computed q has relatively accurate tails."""
    law = sd.propagate(sd.scheme.euler_maruyama(sd.grid.uniform(2.0, 20)), sd.score.exact(GM3))
    wide = sd.Gaussian([0.0], 400.0)
    with pytest.raises(sd.NotTrusted, match="tails"):
        sd.kullback_leibler(wide, law)
    assert sd.total_variation(wide, law).width <= 1e-9 and sd.hellinger(wide, law).width <= 1e-9


def test_a_computed_law_whose_tail_may_be_too_heavy_is_not_trusted():
    """A noised Laplace law has tails exp(-|x|/scale): chi-squared against a normal law is infinite, however small p^2/q gets before it grows."""
    laplace = sd.Density(lambda x: -np.abs(x[..., 0]) - np.log(2), dim=1, support=None, name="Laplace")
    with pytest.raises(sd.NotTrusted, match="may be infinite"):
        sd.chi_squared(laplace.noised(sd.ornstein_uhlenbeck(2.0)), sd.standard_normal(1))


def test_the_width_of_w2_covers_what_rounding_can_carry_across_a_gap():
    """Modes 1000 apart that hardly move: the truth is the motion of each, but 1e-16 of mass matched across the gap weighs more."""
    a, b = 2.0**-23, 2.0**-24
    p, q = sd.GaussianMixture([0.5, 0.5], [[0.0], [1000.0]], 1.0), sd.GaussianMixture([0.5, 0.5], [[a], [1000.0 + b]], 1.0)
    assert math.sqrt((a * a + b * b) / 2) in sd.wasserstein2(p, q)


def test_chi_squared_on_the_border_of_the_tails():
    """var p = 2 var q: one widest component of q leaves p^2/q growing on a side; two, on either side, hold it down."""
    p = sd.Gaussian([0.0], 2.0)
    assert sd.chi_squared(p, sd.Gaussian([0.5], 1.0)).lo == math.inf
    e = sd.chi_squared(p, sd.GaussianMixture([0.5, 0.5], [[-5.0], [5.0]], 1.0))
    x = np.linspace(-40, 40, 80_001)[:, None]  # p^2/q ~ e^{-5|x|}, analytic: the trapezoid rule is exact to rounding
    q = sd.GaussianMixture([0.5, 0.5], [[-5.0], [5.0]], 1.0)
    assert np.trapezoid(np.exp(2 * p.logpdf(x) - q.logpdf(x)), x[:, 0]) - 1 == pytest.approx(e.value, rel=1e-11) and e.hi < math.inf
