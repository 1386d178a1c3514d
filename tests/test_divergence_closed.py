"""Closed forms: two Gaussians in any dimension, discrete laws, products; the public door and its refusals."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scoresde as sd
from scoresde.divergence import closed
from scoresde.divergence.panels import EPS
from scoresde.divergence.view import Pair, view

ALL = (
    sd.total_variation, sd.kullback_leibler, sd.jensen_shannon, sd.chi_squared, sd.hellinger, sd.wasserstein1, sd.wasserstein2,
    sd.fisher_divergence, sd.kolmogorov,
)  # fmt: skip
GAUSSIAN = (sd.total_variation, sd.kullback_leibler, sd.chi_squared, sd.hellinger, sd.wasserstein2, sd.fisher_divergence)
COMB = sd.GaussianMixture([0.5, 0.5], [[-3.0], [3.0]], [0.5, 0.5])
GM3 = sd.GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], [0.25, 0.16, 0.36])


def covers(e, truth):
    return mp.mpf(e.lo) <= truth <= mp.mpf(e.hi)


def close(e, other):
    """Two computed enclosures of one number must meet."""
    return e.lo <= other.hi and other.lo <= e.hi


def radial_total_variation(d, lam):
    """TV(N(0, I), N(0, lam I)): two values of a chi-squared distribution function."""
    lam = mp.mpf(lam)
    r = d * lam * mp.log(lam) / (lam - 1)
    cdf = lambda x: mp.gammainc(mp.mpf(d) / 2, 0, x / 2, regularized=True)  # noqa: E731
    return abs(cdf(r) - cdf(r / lam))


@pytest.mark.parametrize("lam", [1.01, 1.3, 4.0, 1e-6, 1 + 1e-9])
@pytest.mark.parametrize("d", [1, 2, 3, 5, 8, 9, 10, 100, 1000])
def test_total_variation_of_two_radial_gaussians(d, lam):
    with mp.workdps(40):
        e = sd.total_variation(sd.standard_normal(d), sd.Gaussian(np.zeros(d), lam))
        truth = radial_total_variation(d, lam)
        assert covers(e, truth)
        assert e.width <= 2e-13 and abs(e.value - truth) <= 1e-14
        if lam == 1 + 1e-9:  # close laws: relative accuracy, lam - 1 being exact
            assert abs(e.value - truth) <= 1e-13 * truth


@given(st.floats(-20, 20), st.floats(-20, 0), st.floats(-3.1, 3.1))
def test_the_complex_logarithm_keeps_its_digits(real, imag, angle):
    z = complex(10.0 ** (0.1 * real - 6) * math.cos(angle), 10.0**imag * math.sin(angle))
    with mp.workdps(60):
        truth = mp.log(1 + mp.mpc(z))
        got = complex(closed.clog1p(np.array(z)))
        assert abs(mp.mpc(got) - truth) <= 8 * EPS * abs(truth)


@given(st.floats(-6, 6), st.floats(-3, 3))
def test_total_variation_on_the_line_by_contour_and_by_roots(shift, log_sd):
    p, q = sd.standard_normal(1), sd.Gaussian([shift], math.exp(2 * log_sd))
    assert close(closed.total_variation(p, q), view_of(sd.total_variation, p, q))


def view_of(f, p, q):
    from scoresde.divergence import quadrature

    return getattr(quadrature, f.__name__)(Pair(view(p), view(q)))


@pytest.mark.parametrize("eps", [1e-3, 1e-6, 1e-9, 1e-12])
def test_equal_covariances_keep_relative_accuracy(eps):
    p, q = sd.standard_normal(1), sd.Gaussian([eps], 1.0)
    with mp.workdps(40):
        for e, truth in (
            (sd.total_variation(p, q), mp.erf(mp.mpf(eps) / mp.sqrt(8))),
            (sd.kullback_leibler(p, q), mp.mpf(eps) ** 2 / 2),
            (sd.hellinger(p, q), mp.sqrt(-mp.expm1(-(mp.mpf(eps) ** 2) / 8))),
            (sd.chi_squared(p, q), mp.expm1(mp.mpf(eps) ** 2)),
            (sd.wasserstein1(p, q), mp.mpf(eps)),
            (sd.wasserstein2(p, q), mp.mpf(eps)),
            (sd.fisher_divergence(p, q), mp.mpf(eps) ** 2),
        ):
            assert covers(e, truth) and abs(e.value - truth) <= 16 * EPS * truth


@st.composite
def gaussians(draw, d=1):
    mean = draw(st.lists(st.floats(-3, 3), min_size=d, max_size=d))
    return sd.Gaussian(mean, [math.exp(draw(st.floats(-2, 2))) for _ in range(d)])


@given(gaussians(), gaussians())
def test_closed_forms_agree_with_quadrature_on_the_line(p, q):
    for f in (sd.kullback_leibler, sd.hellinger, sd.fisher_divergence, sd.chi_squared):
        a, b = f(p, q), view_of(f, p, q)
        assert close(a, b), f.__name__
    from scoresde.divergence import transport

    pair = Pair(view(p), view(q))
    assert close(sd.wasserstein1(p, q), transport.wasserstein1(pair))
    assert close(sd.wasserstein2(p, q), transport.wasserstein2(pair))


@given(gaussians(3), gaussians(3), st.integers(0, 2**31))
def test_rotations_change_nothing(p, q, seed):
    """Diagonal covariances turned by one rotation: the full-matrix branch against the diagonal one."""
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
    rotated = [sd.Gaussian(turn @ g.mean(), (turn * g.covariance) @ turn.T) for g in (p, q)]
    for f in GAUSSIAN:
        a, b = f(p, q), f(*rotated)
        if a.lo == math.inf or b.lo == math.inf:  # chi^2 at its edge may be decided by rounding
            continue
        # the rotated matrices are rounded themselves: n eps kappa on every eigenvalue, kappa <= e^4, moves f by its own derivative
        assert abs(a.value - b.value) <= b.width + 1e-11 * (1 + a.value) * (1 + a.value if f is sd.chi_squared else 1), f.__name__


@given(gaussians(2), gaussians(2))
def test_bounds_between_the_divergences(p, q):
    tv, kl, h = sd.total_variation(p, q), sd.kullback_leibler(p, q), sd.hellinger(p, q)
    square = h * h
    assert square.lo <= tv.hi and tv.lo <= (square * (2 - square)).cut(0).sqrt().hi
    assert tv.lo <= (kl / 2).cut(0).sqrt().hi  # Pinsker
    assert tv.lo <= (1 - (-kl).exp()).cut(0).sqrt().hi  # Bretagnolle–Huber
    assert kl.lo <= sd.chi_squared(p, q).hi
    assert tv.lo >= 0 and tv.hi <= 1 and h.hi <= 1


def test_a_wrong_hellinger_convention_would_break_the_bounds():
    """Without the factor 1/2, H^2 <= TV fails: the test above has teeth."""
    p, q = sd.standard_normal(1), sd.Gaussian([4.0], 1.0)
    assert 2 * sd.hellinger(p, q).value ** 2 > sd.total_variation(p, q).value


@given(gaussians(2), gaussians(2), st.floats(0.05, 3))
def test_noise_only_brings_laws_closer(p, q, t):
    kernel = sd.ornstein_uhlenbeck(t)
    for f in (sd.total_variation, sd.kullback_leibler, sd.hellinger, sd.wasserstein2):
        assert f(p.noised(kernel), q.noised(kernel)).lo <= f(p, q).hi
    assert sd.wasserstein2(p.noised(kernel), q.noised(kernel)).lo <= (sd.wasserstein2(p, q) * math.exp(-t)).hi


def test_full_covariances_against_traces():
    rng = np.random.default_rng(3)
    d = 5
    a, b = (lambda m: m @ m.T / d + 0.2 * np.eye(d))(rng.standard_normal((d, d))), np.diag(np.linspace(0.5, 2, d)) + 0.3
    m1, m2 = rng.standard_normal((2, d))
    p, q = sd.Gaussian(m1, a), sd.Gaussian(m2, b)
    inverse = np.linalg.inv(b)
    kl = 0.5 * (np.trace(inverse @ a) - d + (m1 - m2) @ inverse @ (m1 - m2) + np.linalg.slogdet(b)[1] - np.linalg.slogdet(a)[1])
    gap = inverse - np.linalg.inv(a)
    fisher = np.trace(gap @ a @ gap) + np.sum((inverse @ (m1 - m2)) ** 2)
    lam, turn = np.linalg.eigh(a)
    root = (turn * np.sqrt(lam)) @ turn.T
    bures = np.trace(a + b) - 2 * np.sum(np.sqrt(np.linalg.eigvalsh(root @ b @ root)))
    w2 = math.sqrt(np.sum((m1 - m2) ** 2) + bures)
    # numpy's inverses and traces: d kappa ulps, kappa < 100
    for e, truth in ((sd.kullback_leibler(p, q), kl), (sd.fisher_divergence(p, q), fisher), (sd.wasserstein2(p, q), w2)):
        assert abs(e.value - truth) <= d * 100 * 8 * EPS * (1 + truth)


def test_bures_does_not_cancel_for_close_full_covariances():
    """The trace formula would lose half the digits: 1e-8 instead of 1e-15."""
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    lam, eps = np.array([0.5, 1.0, 2.0, 3.0]), 1e-9
    p, q = (sd.Gaussian(np.zeros(4), (turn * v) @ turn.T) for v in (lam, lam * (1 + eps) ** 2))
    truth = eps * math.sqrt(lam.sum())
    e = sd.wasserstein2(p, q)
    assert e.lo <= truth <= e.hi and abs(e.value - truth) <= 1e-13


def test_infinite_chi_squared_is_proved_at_twice_the_variance():
    g = sd.standard_normal(1)
    assert sd.chi_squared(sd.Gaussian([0.0], 2.0), g).lo == math.inf
    assert sd.chi_squared(sd.Gaussian([0.0], 1.999), g).hi < math.inf
    assert sd.chi_squared(sd.GaussianMixture([0.9, 0.1], [[0.0], [1.0]], [0.5, 2.5]), g).lo == math.inf
    edge = sd.chi_squared(sd.GaussianMixture([0.9, 0.1], [[0.0], [1.0]], [0.5, 2.0]), g)
    assert edge.lo == math.inf and edge.level == "deterministic"
    assert sd.chi_squared(sd.Gaussian([40.0], 1.0), g).hi == math.inf  # finite, e^1600: beyond floating point, and said so
    assert sd.chi_squared(sd.Gaussian([40.0], 1.0), g).lo < math.inf


def test_the_same_law_is_at_distance_exactly_zero():
    for law in (sd.standard_normal(3), GM3, sd.Uniform([0.0], [1.0]), sd.Empirical([[0.0], [1.0]])):
        for f in (sd.total_variation, sd.kullback_leibler, sd.wasserstein2, sd.hellinger):
            e = f(law, law)
            assert e.lo == e.hi == 0 and e.level == "rigorous"
    again = sd.GaussianMixture(GM3.weights, GM3.means, GM3.covs)
    assert sd.total_variation(GM3, again).hi == 0


# ---- discrete laws ------------------------------------------------------------------------------------------------------------------


def test_discrete_laws_share_atoms_or_are_apart():
    p, q = sd.Empirical([[0.0, 0.0], [1.0, 2.0]], [0.25, 0.75]), sd.Empirical([[1.0, 2.0], [0.0, 0.0], [5.0, 5.0]], [0.5, 0.25, 0.25])
    rounding = 64 * EPS
    assert abs(sd.total_variation(p, q).value - 0.25) <= rounding
    assert abs(sd.kullback_leibler(p, q).value - 0.75 * math.log(1.5)) <= rounding
    assert sd.kullback_leibler(q, p).lo == math.inf
    assert abs(sd.chi_squared(p, q).value - (0.0625 / 0.5 + 0.25)) <= rounding
    assert sd.total_variation(p, sd.Empirical([[9.0, 9.0]])).lo == 1


def test_a_discrete_law_and_a_density_are_apart():
    p, g = sd.Empirical([[0.0], [1.0]]), sd.standard_normal(1)
    assert sd.total_variation(p, g).lo == 1 and sd.hellinger(g, p).lo == 1
    assert sd.kullback_leibler(p, g).lo == sd.kullback_leibler(g, p).lo == math.inf
    assert sd.jensen_shannon(p, g).lo == math.log(2)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.lists(st.floats(-5, 5), min_size=1, max_size=8))
def test_transport_of_equal_numbers_of_atoms_sorts_them(x, y):
    n = min(len(x), len(y))
    x, y = np.sort(x[:n]), np.sort(y[:n])
    p, q = sd.Empirical(x[:, None]), sd.Empirical(y[:, None])
    # sums of n weights 1/n
    rounding = 64 * EPS * 10 * n
    assert abs(sd.wasserstein1(p, q).value - np.mean(np.abs(x - y))) <= rounding
    assert abs(sd.wasserstein2(p, q).value ** 2 - np.mean((x - y) ** 2)) <= 10 * rounding


def test_transport_of_one_atom_to_a_density():
    g = sd.Gaussian([1.0], 4.0)
    p = sd.Empirical([[1.5]])
    e1, e2 = sd.wasserstein1(p, g), sd.wasserstein2(g, p)
    z = mp.mpf("0.25")
    truth = 2 * (2 * mp.npdf(z) + z * mp.erf(z / mp.sqrt(2)))
    assert covers(e1, truth) and covers(e2, mp.sqrt(mp.mpf("4.25")))
    assert e1.width < 1e-13 and e2.width < 1e-13


@given(st.lists(st.tuples(st.floats(-4, 4), st.floats(0.05, 1)), min_size=2, max_size=5, unique_by=lambda a: a[0]))
def test_transport_of_atoms_to_a_normal(atoms):
    """W2^2 = E X^2 + 1 - 2 sum x_i (phi(z_{i-1}) - phi(z_i)), z the normal's quantiles of the levels."""
    atoms = sorted(atoms)
    x, w = np.array([a for a, _ in atoms]), np.array([b for _, b in atoms])
    w /= w.sum()
    g = sd.standard_normal(1)
    density = np.append(np.append(0.0, g.pdf(g.quantile(np.cumsum(w)[:-1]))), 0.0)
    truth = float(w @ x**2) + 1 + 2 * float(x @ np.diff(density))
    e = sd.wasserstein2(sd.Empirical(x[:, None], w), g)
    # sums of five terms below 16
    assert e.lo**2 - 200 * EPS <= truth <= e.hi**2 + 200 * EPS
    one = sd.wasserstein1(sd.Empirical(x[:, None], w), g)
    line = np.linspace(-12, 12, 200_001)[:, None]
    area = np.sum(np.abs(sd.Empirical(x[:, None], w).cdf(line) - g.cdf(line))) * (line[1, 0] - line[0, 0])
    assert abs(one.value - area) <= 2e-4 * len(x)  # the rule's step at each jump


# ---- products -----------------------------------------------------------------------------------------------------------------------


def test_products_add_and_multiply():
    p, q = sd.Product([GM3] * 7), sd.standard_normal(7)
    one = sd.Gaussian([0.0], 1.0)
    assert close(sd.kullback_leibler(p, q), 7 * sd.kullback_leibler(GM3, one))
    assert close(sd.fisher_divergence(p, q), 7 * sd.fisher_divergence(GM3, one))
    assert close(sd.wasserstein2(p, q), (7.0 * (sd.wasserstein2(GM3, one) * sd.wasserstein2(GM3, one))).sqrt())
    log1p = (1 + sd.chi_squared(GM3, one)).log() * 7
    assert close(sd.chi_squared(p, q), log1p.exp() - 1)
    h = sd.hellinger(GM3, one)
    assert close(1 - sd.hellinger(p, q) * sd.hellinger(p, q), ((1 - h * h).log() * 7).exp())


def test_a_product_beyond_floating_point_is_not_called_infinite():
    one, other = sd.Product([GM3, GM3] * 50 + [COMB]), sd.standard_normal(101)
    e = sd.chi_squared(one, other)
    assert math.isfinite(e.lo) and e.lo > 1e52
    over = sd.chi_squared(sd.Product([COMB] * 600), sd.standard_normal(600))
    assert math.isfinite(over.lo) and over.hi == math.inf and over.value is None
    heavy = sd.GaussianMixture([0.5, 0.5], [[0.0], [1.0]], [1.0, 3.0])
    assert sd.chi_squared(sd.Product([heavy, GM3]), sd.standard_normal(2)).lo == math.inf


@pytest.mark.parametrize("d,width", [(10, 1e-9), (30, 1e-11), (100, 1e-12)])
def test_total_variation_of_products_against_gaussians(d, width):
    """The Fourier integral over factors, on Gaussian factors where the contour integral is exact."""
    from scoresde.divergence import product

    p, q = sd.Gaussian([0.1], 1.3), sd.standard_normal(1)
    e = product.total_variation([(p, q, d)])
    exact = sd.total_variation(sd.Gaussian(np.full(d, 0.1), 1.3), sd.standard_normal(d))
    assert close(e, exact) and e.width <= width
    wrong = sd.total_variation(sd.Gaussian(np.full(d, 0.1), 1.3001), sd.standard_normal(d))
    assert not close(e, wrong)


def test_total_variation_of_the_chain_in_many_dimensions():
    """GM3^d against the law of 60 Euler–Maruyama steps, T = 6: the table of products, 6 digits."""
    law = sd.propagate(sd.scheme.euler_maruyama(sd.grid.uniform(6.0, 60)), sd.score.exact(GM3))
    for d, printed in ((10, 0.455568), (100, 0.945107)):
        e = sd.total_variation(sd.Product([law] * d), sd.Product([GM3] * d))
        assert abs(e.value - printed) <= 5e-7 + e.width


def test_few_factors_state_their_width():
    from scoresde.divergence import product

    p, q = sd.Gaussian([0.0], 1.3), sd.standard_normal(1)
    e = product.total_variation([(p, q, 3)], most=3e6)
    assert covers(e, radial_total_variation(3, 1.3)) and e.width < 1e-2


def test_boxes_and_diagonal_gaussians_are_products():
    box = sd.Uniform([-1.0, -2.0], [1.0, 2.0])
    e = sd.kullback_leibler(box, sd.standard_normal(2))
    truth = mp.log(2 * mp.pi) - mp.log(8) + (mp.mpf(1) / 3 + mp.mpf(4) / 3) / 2
    assert covers(e, truth)
    assert sd.kullback_leibler(sd.standard_normal(2), box).lo == math.inf


# ---- the public door ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", ALL)
def test_refusals_name_the_remedy(f):
    g = sd.standard_normal(1)
    with pytest.raises(ValueError, match="dimension 1 and 2"):
        f(g, sd.standard_normal(2))
    with pytest.raises(TypeError, match="allowed is a law"):
        f(g, sd.ornstein_uhlenbeck(1.0))
    if f not in (sd.total_variation, sd.kullback_leibler, sd.wasserstein2, sd.fisher_divergence):
        with pytest.raises(sd.NoMethod, match="rigorous"):
            f(g, sd.Gaussian([1.0], 1.0), rigorous=True)
    with pytest.raises(ValueError, match="alpha"):
        f(g, sd.Gaussian([1.0], 1.0), alpha=0.0)
    with pytest.raises((sd.NoMethod, ValueError), match=r"samples|dependent|same draws"):
        f(np.zeros((3, 1)), np.zeros((3, 1)))


def test_laws_without_structure_in_high_dimension_are_bounded_or_say_what_to_pass():
    p, g = sd.GaussianMixture([0.5, 0.5], np.zeros((2, 3)), [1.0, 2.0]), sd.standard_normal(3)
    for f in (sd.total_variation, sd.jensen_shannon, sd.hellinger, sd.chi_squared, sd.fisher_divergence):
        with pytest.raises(sd.NoMethod, match=r"pass n= .* and seed="):
            f(p, g)
    for f in (sd.wasserstein1, sd.kolmogorov):
        with pytest.raises(sd.NoMethod, match="onto an axis"):
            f(p, g)
    for f in (sd.kullback_leibler, sd.wasserstein2):
        e = f(p, g)
        assert e.value is None and 0 <= e.lo < e.hi < math.inf and e.level == "deterministic"


def test_the_band_of_a_sample_covers_and_narrows():
    law = GM3
    for n in (100, 10_000):
        e = sd.kolmogorov(law.sample(n, seed=5), law, alpha=1e-6)
        half = math.sqrt(math.log(2e6) / (2 * n))
        assert e.level == "finite-sample" and e.alpha == 1e-6 and 0 in e
        assert abs(e.hi - (e.value + half)) <= 1e-12
    wrong = sd.kolmogorov(sd.Gaussian([0.0], 1.0), law.sample(10_000, seed=5))  # the other order, another law
    assert wrong.lo > 0 and sd.kolmogorov(sd.standard_normal(1), law).value in wrong


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=20))
def test_the_statistic_is_the_largest_gap_at_an_atom(x):
    x = np.sort(np.array(x))
    n, cdf = len(x), sd.standard_normal(1).cdf(x[:, None])
    truth = max(np.max(np.searchsorted(x, x, side="right") / n - cdf), np.max(cdf - np.searchsorted(x, x, side="left") / n))
    assert abs(sd.kolmogorov(x[:, None], sd.standard_normal(1)).value - truth) <= 8 * EPS * n


def test_a_sample_may_be_a_tensor():
    torch = pytest.importorskip("torch")
    x = GM3.sample(50, seed=1)
    assert sd.kolmogorov(torch.tensor(x), GM3) == sd.kolmogorov(x, GM3)
    assert sd.wasserstein1(torch.tensor(x), GM3) == sd.wasserstein1(x, GM3)


def test_samples_are_checked():
    with pytest.raises(ValueError, match="sample"):
        sd.kolmogorov(np.zeros(5), sd.standard_normal(1))
    with pytest.raises(ValueError, match="dimension 1"):
        sd.kolmogorov(np.zeros((5, 2)), sd.standard_normal(2))
    with pytest.raises(ValueError, match="finite"):
        sd.kolmogorov(np.array([[np.nan]]), sd.standard_normal(1))


class Computed:
    """A law with an error and perhaps a twin, as an engine would return."""

    dim = 1

    def __init__(self, law, error, twin=None):
        self.law, self.error, self.twin = law, error, twin

    def __getattr__(self, name):
        return getattr(self.law, name)


def test_accuracy_travels():
    law, g = Computed(sd.Gaussian([1.0], 0.5), 1e-3, sd.Gaussian([1.0], 0.51)), sd.standard_normal(1)
    for f in (sd.kullback_leibler, sd.wasserstein2, sd.hellinger):
        e, other = f(law, g), f(law.twin, g)
        assert e.lo <= other.value <= e.hi and e.hi - e.value >= abs(e.value - other.value)
    tv = sd.total_variation(law, g)
    assert tv.hi - tv.value >= 1e-3
    alone = Computed(sd.Gaussian([1.0], 0.5), 1e-3)
    with pytest.raises(sd.NotTrusted, match="twin"):
        sd.kullback_leibler(alone, g)
    assert sd.hellinger(alone, g).width >= 2 * math.sqrt(1e-3) * 0.99
