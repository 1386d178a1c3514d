"""Mixtures of Gaussians in the plane: identities that give the exact value, invariances, the border of infinity, refusals.

Every comparison asks that the stated enclosure covers the truth; a bound on its width goes with it, so that a wide one does not pass.
"""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scoresde as sd
from scoresde.divergence import closed, level, plane
from scoresde.divergence.panels import EPS
from scoresde.divergence.slices import slices
from scoresde.errors import NoMethod, NotTrusted

SMOOTH = ("kullback_leibler", "hellinger", "jensen_shannon", "fisher_divergence")
GM3 = sd.targets.gm3
NEAR3 = GM3.noised(sd.ornstein_uhlenbeck(0.1))
ring8 = sd.targets.ring8


def mixture(weights, means, covs):
    """covs: one variance, K variances, K rows of variances, or K matrices."""
    covs = np.array(covs, float)
    return sd.GaussianMixture(np.array(weights, float), np.array(means, float), covs[:, :, None] * np.eye(2) if covs.ndim == 2 else covs)


def rotation(angle):
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def moved(law, to, shift=(0.0, 0.0)):
    """The law of A X + b, a mixture with full covariances."""
    covs = to @ (law.covs if law.covs.ndim == 3 else law.covs[:, None, None] * np.eye(2)) @ to.T
    return sd.GaussianMixture(law.weights, law.means @ to.T + np.array(shift), 0.5 * (covs + covs.swapaxes(1, 2)))


def times(p, r):
    """The law of independent coordinates p, r, as a mixture in the plane."""
    i, j = (x.ravel() for x in np.indices((len(p.weights), len(r.weights))))
    means = np.stack([p.means[i, 0], r.means[j, 0]], axis=1)
    return mixture(p.weights[i] * r.weights[j], means, np.stack([p.covs.ravel()[i], r.covs.ravel()[j]], axis=1))


def meet(e, other):
    """Two enclosures of one number have a point in common."""
    return e.lo <= other.hi and other.lo <= e.hi


gaussians = st.builds(
    lambda mean, angle, a, b: sd.Gaussian(np.array(mean), (lambda r: 0.5 * (r + r.T))(rotation(angle) @ np.diag([a, b]) @ rotation(angle).T)),
    st.tuples(st.floats(-2, 2), st.floats(-2, 2)), st.floats(0, math.pi), st.floats(0.1, 3), st.floats(0.1, 3),
)  # fmt: skip


@settings(max_examples=12)
@given(gaussians, gaussians)
def test_two_gaussians_agree_with_their_closed_forms(p, q):
    for name in ("total_variation", "kullback_leibler", "hellinger", "chi_squared", "fisher_divergence"):
        e, truth = getattr(plane, name)(p, q), getattr(closed, name)(p, q)
        assert meet(e, truth), name
        if name == "hellinger":  # a root: its square is what has a small width
            assert e.hi**2 - e.lo**2 <= 1e-12
        elif math.isfinite(e.hi):
            assert e.width <= 1e-11 * max(1.0, e.value), name


def radial_total_variation(lam):
    """TV(N(0, I), N(0, lam I)) in the plane: 1 - exp(-r/2) is the distribution function of |Z|^2."""
    lam = mp.mpf(lam)
    r = 2 * lam * mp.log(lam) / (lam - 1)
    return abs(mp.exp(-r / 2) - mp.exp(-r / (2 * lam)))


@pytest.mark.parametrize("lam", [1 + 2.0**-20, 1.5, 4.0, 1e3, 1e-6])
def test_radial_total_variation(lam):
    with mp.workdps(30):
        e = plane.total_variation(sd.standard_normal(2), sd.Gaussian([0.0, 0.0], lam))
        assert e.lo <= radial_total_variation(lam) <= e.hi and e.width <= 1e-11
        assert not e.lo <= radial_total_variation(lam * 1.001) <= e.hi  # control


def test_turning_points_of_a_circle_are_its_extremes():
    z = slices(sd.standard_normal(2), sd.Gaussian([0.0, 0.0], 4.0), [0.3])[0]
    with np.errstate(all="ignore"):
        found = level.turning_points(z, z.edges(0.5))
    radius = math.sqrt(8 / 3 * math.log(4))  # log p/q = log 4 - 3/8 |x|^2
    assert len(found) == 2 and np.abs(np.abs(found) / (radius * np.linalg.norm(z.to[0])) - 1).max() <= 1e-9


@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 4, 1.3])
def test_a_common_factor_changes_no_total_variation(angle):
    """TV(p x r, q x r) = TV(p, q) for laws p, q, r on the line, in any direction in the plane; so do JS, KL and H."""
    turn = rotation(angle)
    p, q = (moved(times(law, GM3), turn) for law in (GM3, NEAR3))
    e, truth = plane.total_variation(p, q), sd.total_variation(GM3, NEAR3)
    assert meet(e, truth) and e.width <= 1e-12
    other = sd.total_variation(GM3, GM3.noised(sd.ornstein_uhlenbeck(0.1 + 1e-9)))
    assert not meet(e, other)  # control
    for name in SMOOTH:
        e, truth = getattr(plane, name)(p, q), getattr(sd, name)(GM3, NEAR3)
        assert meet(e, truth) and e.width <= 1e-11, name


def test_products_of_mixtures_on_the_line():
    """KL and Fisher add, 1 - H^2 and 1 + chi^2 multiply; a Product is taken as it is."""
    p, q = sd.Product([GM3, NEAR3]), sd.Product([NEAR3, GM3])
    assert plane.suits(p, q)
    for name in ("kullback_leibler", "hellinger", "fisher_divergence", "chi_squared"):
        e, truth = getattr(plane, name)(p, q), getattr(sd, name)(p, q)
        assert meet(e, truth) and e.width <= 1e-10 * max(1.0, e.value), name


SHEAR = np.array([[1.0, 1.0], [1.0, 1.0 + 2.0**-10]])  # all numbers below are dyadic: nothing is rounded in A Sigma A^T


def test_thin_components_lose_nothing():
    """f-divergences do not depend on a linear map, here one that makes components of aspect about 4000 : 1."""
    p = mixture([0.5, 0.25, 0.25], [[0, 0], [1.5, 0.5], [-1, 1]], [[1, 0.5], [0.25, 1], [0.5, 0.5]])
    q = mixture([0.75, 0.25], [[0.5, 0], [-0.5, 1]], [[1, 1], [0.5, 0.25]])
    thin = [moved(law, SHEAR) for law in (p, q)]
    assert max(np.linalg.cond(c) for c in thin[0].covs) > 1e6
    for name in ("total_variation", "kullback_leibler", "hellinger", "jensen_shannon"):
        e, other = getattr(plane, name)(p, q), getattr(plane, name)(*thin)
        assert meet(e, other) and max(e.width, other.width) <= 1e-10, name


def test_thin_components_that_cross():
    """The slices in which they overlap are 1000 times narrower than either; diagonal Gaussians have exact closed forms."""
    p, q = sd.Gaussian([0.0, 0.0], [1.0, 1e-6]), sd.Gaussian([0.3, -0.2], [1e-6, 1.0])
    for name in ("total_variation", "kullback_leibler", "hellinger"):
        e, truth = getattr(plane, name)(p, q), getattr(closed, name)(p, q)
        assert meet(e, truth) and e.width <= 1e-10 * max(1.0, e.value), name


@pytest.mark.parametrize(
    ("weight", "needle"), [(0.1, sd.Gaussian([0.3, 0.2], 1e-6)), (1e-9, sd.Gaussian([4.0, 4.0], 0.01)), (0.5, sd.Gaussian([0.0, 0.0], [1e-6, 1.0]))]
)
def test_a_needle_in_a_haystack(weight, needle):
    """TV((1-w) q + w r, q) = w TV(r, q)."""
    q = sd.standard_normal(2)
    covs = [np.eye(2), needle.cov()]
    p = sd.GaussianMixture([1 - weight, weight], [[0.0, 0.0], needle.mean()], np.array(covs))
    e, truth = plane.total_variation(p, q), weight * closed.total_variation(needle, q)
    rounding = 2 * EPS  # of the weight 1 - w
    assert meet(e, sd.Enclosure.near(truth.value, truth.width + rounding)) and e.width <= 1e-11


@pytest.mark.parametrize("far", [[1e3, 0.0], [700.0, -700.0], [0.0, 1e5]])
def test_modes_that_do_not_see_each_other(far):
    """Divergences of mixtures of far copies are the weighted ones of the copies, and for KL that of the weights."""
    p, q = sd.Gaussian([0.0, 0.0], [[1.0, 0.3], [0.3, 0.5]]), sd.Gaussian([0.5, 0.25], [[0.75, -0.25], [-0.25, 1.0]])
    both = [
        sd.GaussianMixture([w, 1 - w], np.stack([g.mean(), g.mean() + np.array(far)]), np.stack([g.cov()] * 2)) for g, w in ((p, 0.75), (q, 0.75))
    ]
    for name in ("total_variation", "kullback_leibler", "fisher_divergence", "chi_squared"):
        e, truth = getattr(plane, name)(*both), getattr(closed, name)(p, q)
        assert meet(e, truth) and e.width <= 1e-12 * np.linalg.norm(far) * max(1.0, e.value), name  # rounding of coordinates
    tilted = sd.GaussianMixture([0.25, 0.75], both[0].means, both[0].covs)
    e = plane.kullback_leibler(both[0], tilted)
    assert e.lo <= 0.5 * math.log(3) <= e.hi
    assert 0.5 in plane.total_variation(both[0], tilted)


def grid_sum(f, half, n):
    x = half * (2 * np.arange(n) / n - 1)
    points = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1)
    return float(np.sum(f(points))) * (2 * half / n) ** 2


def test_smooth_divergences_agree_with_plain_sums():
    """The trapezoid rule is exponentially accurate for smooth integrands that vanish at the ends: its error is the change by doubling."""
    p, q = ring8, mixture([0.6, 0.4], [[0, 0.3], [1, -0.5]], [[[2, 0.6], [0.6, 1]], [[1, -0.4], [-0.4, 0.7]]])
    d = lambda x: p.logpdf(x) - q.logpdf(x)  # noqa: E731
    integrands = {
        "kullback_leibler": lambda x: p.pdf(x) * d(x),
        "jensen_shannon": lambda x: (
            math.log(2) * 0.5 * (p.pdf(x) + q.pdf(x)) - 0.5 * (p.pdf(x) * np.logaddexp(0, -d(x)) + q.pdf(x) * np.logaddexp(0, d(x)))
        ),
        "fisher_divergence": lambda x: p.pdf(x) * ((p.score(x) - q.score(x)) ** 2).sum(-1),
    }
    for name, f in integrands.items():
        coarse, fine = (grid_sum(f, 12.0, n) for n in (256, 512))
        e = getattr(plane, name)(p, q)
        assert meet(e, sd.Enclosure.near(fine, abs(fine - coarse) + 512 * EPS * abs(fine))) and e.width <= 1e-10, name


@settings(max_examples=3)
@given(st.floats(0.1, 3.0), st.floats(-1, 1), st.floats(0.05, 1.0))
def test_relations_between_divergences(angle, shift, noise):
    p = ring8
    q = moved(p, rotation(angle), [shift, 0.1]).noised(sd.ornstein_uhlenbeck(noise))
    tv, h, kl, js = (getattr(plane, name)(p, q) for name in ("total_variation", "hellinger", "kullback_leibler", "jensen_shannon"))
    assert h.lo**2 <= tv.hi and tv.lo <= h.hi * math.sqrt(2 - h.hi**2)
    assert 2 * tv.lo**2 <= kl.hi and js.lo <= math.log(2) * tv.hi
    assert meet(tv, plane.total_variation(q, p)) and meet(js, plane.jensen_shannon(q, p)) and meet(h, plane.hellinger(q, p))
    turn = rotation(1.0)
    assert meet(tv, plane.total_variation(moved(p, turn), moved(q, turn)))


def test_the_same_law_in_another_order():
    p = mixture([0.2, 0.3, 0.5], [[0, 0], [1, 2], [3, 1]], [0.5, 0.2, 0.7])
    q = mixture([0.5, 0.3, 0.2], [[3, 1], [1, 2], [0, 0]], [0.7, 0.2, 0.5])
    for name in ("total_variation", *SMOOTH, "chi_squared"):
        e = getattr(plane, name)(p, q)
        assert 0.0 in e and e.hi <= 1e-13, name


@pytest.mark.parametrize("eps", [1e-3, 1e-6, 1e-9])
def test_close_laws_keep_relative_accuracy(eps):
    p, q = sd.standard_normal(2), sd.Gaussian([eps, 0.0], 1.0)
    with mp.workdps(30):
        shift = mp.mpf(eps) ** 2
        for name, truth in (("kullback_leibler", shift / 2), ("fisher_divergence", shift), ("chi_squared", mp.expm1(shift))):
            e = getattr(plane, name)(p, q)
            assert e.lo <= truth <= e.hi and abs(e.value - truth) <= 1e-12 * truth + 1e-19, name
        e = plane.total_variation(p, q)
        assert e.lo <= mp.erf(eps / mp.sqrt(8)) <= e.hi and abs(e.value - mp.erf(eps / mp.sqrt(8))) <= 4 * EPS


# ---- chi-squared: where it is infinite ----------------------------------------------------------------------------------------------

PAIR = mixture([0.5, 0.5], [[0, 0], [1, 1]], [2.0, 1.0])


@pytest.mark.parametrize(
    "q",
    [
        sd.standard_normal(2),  # exactly on the border, one component: infinite
        mixture([0.5, 0.5], [[0, 0], [1, 0]], [0.9, 0.5]),
        mixture([0.5, 0.5], [[0, 0], [0, 0]], [[4.0, 0.1], [0.1, 4.0]]),  # enough along both axes, not between them
        sd.Gaussian([0.0, 0.0], [[10.0, 9.5], [9.5, 10.0]]),  # enough in one direction only
    ],
)
def test_infinite_chi_squared(q):
    e = plane.chi_squared(PAIR, q)
    assert e.lo == math.inf and e.level == "deterministic"


def test_finite_chi_squared_of_a_mixture():
    """\\chi^2(p|q) = \\sum_{ij} w_i w_j \\int p_i p_j / q - 1 for a Gaussian q, each integral in closed form."""
    q = sd.Gaussian([0.5, -0.25], [[3.0, 0.5], [0.5, 2.0]])
    total = mp.mpf(0)
    with mp.workdps(40):
        precision = mp.matrix(q.cov().tolist()) ** -1
        for wi, mi, ci in zip(PAIR.weights, PAIR.means, PAIR.covs, strict=True):
            for wj, mj, cj in zip(PAIR.weights, PAIR.means, PAIR.covs, strict=True):
                form = mp.eye(2) * (1 / mp.mpf(ci) + 1 / mp.mpf(cj)) - precision
                mi_, mj_, mq = (mp.matrix(list(map(float, m))) for m in (mi, mj, q.mean()))
                linear = mi_ / mp.mpf(ci) + mj_ / mp.mpf(cj) - precision * mq
                constant = (mi_.T * mi_)[0] / mp.mpf(ci) + (mj_.T * mj_)[0] / mp.mpf(cj) - (mq.T * precision * mq)[0]
                size = mp.sqrt(1 / mp.det(precision)) / (mp.mpf(ci) * mp.mpf(cj) * mp.sqrt(mp.det(form)))
                total += mp.mpf(wi) * mp.mpf(wj) * size * mp.exp(((linear.T * form**-1 * linear)[0] - constant) / 2)
        e = plane.chi_squared(PAIR, q)
        assert e.lo <= total - 1 <= e.hi and e.width <= 1e-11 * e.value


def test_chi_squared_far_away():
    """The mass of p^2/q lies where neither law has any; beyond floating point the value is [1.8e308, inf]."""
    p = mixture([0.5, 0.5], [[0, 0], [0.5, 0]], 1.0)
    q = lambda far: sd.Gaussian([far, 0.0], 1.0)  # noqa: E731
    # sum_{ij} exp(delta_i . delta_j) / 4 - 1 for unit covariances
    truth = 0.25 * sum(math.exp((0.0 - 12.0 + a) * (0.0 - 12.0 + b)) for a in (0.0, 0.5) for b in (0.0, 0.5)) - 1
    e = plane.chi_squared(p, q(12.0))
    assert e.lo <= truth * (1 + 1e-13) and truth * (1 - 1e-13) <= e.hi and e.width <= 1e-9 * e.value
    e = plane.chi_squared(p, q(40.0))
    assert (e.lo, e.hi) == (np.finfo(float).max, math.inf)


def test_chi_squared_that_cannot_be_followed_is_refused():
    covered = mixture([0.5, 0.5], [[0, 0], [0, 0]], [[100.0, 1.0], [1.0, 100.0]])  # by both components together, by neither alone
    with pytest.raises(NotTrusted, match="no single component"):
        plane.chi_squared(sd.GaussianMixture([1.0], [[0.0, 0.0]], 2.1), covered)
    with pytest.raises(NotTrusted, match="border"):
        plane.chi_squared(PAIR, mixture([0.5, 0.5], [[5, 0], [-5, 0]], 1.0))


# ---- refusals -----------------------------------------------------------------------------------------------------------------------


def test_refusals():
    assert not plane.suits(sd.standard_normal(3), sd.standard_normal(3))
    assert not plane.suits(sd.Uniform([0.0, 0.0], [1.0, 1.0]), sd.standard_normal(2))
    with pytest.raises(NoMethod, match="dimension 2"):
        plane.total_variation(sd.standard_normal(3), sd.standard_normal(3))
    with pytest.raises(NotTrusted, match="times their own width apart"):
        plane.kullback_leibler(mixture([0.5, 0.5], [[0, 0], [1e200, 0]], 1.0), sd.standard_normal(2))
    with pytest.raises(NoMethod, match="501 components"):
        plane.hellinger(sd.standard_normal(2), mixture(np.full(501, 1 / 501), np.zeros((501, 2)), 1.0))


def test_components_without_weight_do_not_matter():
    p = mixture([0.5, 0.5, 0.0], [[0, 0], [1, 1], [500, 0]], [1.0, 0.5, 1e-6])
    q = mixture([0.5, 0.5], [[0, 0], [1, 1]], [1.0, 0.5])
    assert meet(plane.total_variation(p, ring8), plane.total_variation(q, ring8))
