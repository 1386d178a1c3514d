"""Density: panels, noising by quadrature against closed forms and mpmath, tails, and what is refused."""

import math

import numpy as np
import pytest
from scipy import special

from scoresde.errors import NoMethod, NotTrusted
from scoresde.kernel import Kernel, ornstein_uhlenbeck
from scoresde.laws import Density, Gaussian, GaussianMixture
from scoresde.targets import gm3, student5

EPS = 2.0**-52


def laplace(x):
    return -np.abs(x[..., 0]) - math.log(2)


def exponential(x):
    return -x[..., 0]


LAPLACE, EXPONENTIAL = Density(laplace, dim=1), Density(exponential, dim=1, support=(0.0, math.inf))


def smoothed_exponential(x, m, v):
    r"""log density of m E + \sqrt v Z, E exponential: \log\frac1m + \frac{v}{2m^2} - \frac xm + \log\Phi(\frac{x}{\sqrt v} - \frac{\sqrt v}{m})."""
    return -math.log(m) + v / (2 * m * m) - x / m + special.log_ndtr(x / math.sqrt(v) - math.sqrt(v) / m)


@pytest.mark.parametrize("t", [1e-6, 1e-4, 1e-2, 0.3, 1.0, 3.0, 8.0])
def test_a_kink_and_an_end_against_closed_forms(t):
    """Every regime of the quadrature, kernel narrow to wide, across a kink and a jump; 8 sd into the Gaussian tail and 30 scales out."""
    k = ornstein_uhlenbeck(t)
    m, root = k.m, math.sqrt(k.v)
    x = np.unique(np.concatenate([np.linspace(-8 * root, 8 * root, 41), np.geomspace(root, 30 * m + 8 * root, 20)]))
    one_sided = smoothed_exponential(x, m, k.v)
    got = EXPONENTIAL.noised(k).logpdf(x[:, None])
    # the closed form adds terms of size x/m, v/m^2 and the squared argument, the quadrature one of size |log p|
    size = 1 + np.abs(x) / m + k.v / m**2 + (x / root - root / m) ** 2
    assert (np.abs(got - one_sided) <= 64 * EPS * size).all()
    both = np.logaddexp(one_sided, smoothed_exponential(-x, m, k.v)) - math.log(2)
    assert (np.abs(LAPLACE.noised(k).logpdf(x[:, None]) - both) <= 64 * EPS * (size + np.abs(x) * root / m)).all()


@pytest.mark.parametrize("t", [1e-4, 0.1, 1.0, 3.0])
@pytest.mark.parametrize("x", [0.0, 1.7, -4.0, 60.0])
def test_student_against_mpmath(t, x):
    mp = pytest.importorskip("mpmath").mp
    k = ornstein_uhlenbeck(t)
    with mp.workdps(25):
        m, v, at = mp.mpf(k.m), mp.mpf(k.v), mp.mpf(x)
        s, centre = mp.sqrt(v) / m, at / m
        level = mp.gamma(3) / mp.gamma(mp.mpf(5) / 2) / mp.sqrt(5 * mp.pi)
        cuts = {centre + s * j for j in (-12, -6, -3, -1, 0, 1, 3, 6, 12)} | {mp.mpf(j) for j in (-200, -50, -10, -3, 0, 3, 10, 50, 200)}
        cuts = [-mp.inf, *sorted(cuts), mp.inf]
        joint = lambda y: level * (1 + y * y / 5) ** -3 * mp.exp(-((at - m * y) ** 2) / (2 * v)) / mp.sqrt(2 * mp.pi * v)  # noqa: E731
        total = mp.quad(joint, cuts)
        mean = mp.quad(lambda y: (y - centre) * joint(y), cuts) / total
        log, score = float(mp.log(total)), float(m * mean / v)
        var = float(mp.quad(lambda y: (y - centre - mean) ** 2 * joint(y), cuts) / total)
        posterior = float(centre + mean)
    p, X, root = student5.noised(k), np.array([[x]]), math.sqrt(k.v)
    assert abs(p.logpdf(X)[0] - log) <= 1e-13 * (1 + abs(log))
    assert abs(p.score(X)[0, 0] - score) <= 1e-12 * (abs(score) + 1e-3 / root)  # -E[Z | x] / root, E[Z | x] to 1e-15
    assert abs(student5.denoise(X, k)[0, 0] - posterior) <= 1e-12 * (1 + abs(posterior))
    assert abs(student5.denoise_cov(X, k)[0, 0, 0] - var) <= 1e-12 * (1 + var)


def test_student_itself():
    assert student5.mean() == pytest.approx(0.0, abs=1e-15) and student5.cov()[0, 0] == pytest.approx(5 / 3, rel=1e-14)
    u = np.array([1e-40, 1e-10, 0.1, 0.5, 0.9])
    x = student5.quantile(u)[:, 0]
    assert np.abs(special.stdtr(5, x[2:]) / u[2:] - 1).max() <= 1e-13
    tail = special.betainc(2.5, 0.5, 5 / (5 + x[:2] ** 2)) / 2  # P(|X| > x) by the incomplete beta function
    assert np.abs(tail / u[:2] - 1).max() <= 1e-12
    assert np.abs(student5.sf(-x[:3, None]) / u[:3] - 1).max() <= 1e-12


def test_a_density_of_a_mixture_is_that_mixture():
    law, x = Density(gm3.logpdf, dim=1), np.linspace(-4, 4, 9)[:, None]
    assert np.abs(law.mean() - gm3.mean()).max() <= 1e-14 and np.abs(law.cov() - gm3.cov()).max() <= 1e-13
    assert np.abs(law.score(x) - gm3.score(x)).max() <= 1e-9  # differences of order 8 on panels / 32
    assert np.abs(law.score_jacobian(x) - gm3.score_jacobian(x)).max() <= 1e-6
    assert np.abs(law.cdf(x) - gm3.cdf(x)).max() <= 1e-14
    for t in (1e-3, 0.2, 2.0):
        k = ornstein_uhlenbeck(t)
        p, q = law.noised(k), gm3.noised(k)
        assert np.abs(p.logpdf(x) - q.logpdf(x)).max() <= 1e-13 * (1 + np.abs(q.logpdf(x)).max())
        assert np.abs(p.score(x) - q.score(x)).max() <= 1e-12 / math.sqrt(k.v)
        assert np.abs(p.score_jacobian(x) - q.score_jacobian(x)).max() <= 1e-12 / k.v
        assert np.abs(p.cdf(x) - q.cdf(x)).max() <= 1e-13 and np.abs(p.sf(x) - q.sf(x)).max() <= 1e-13
        assert np.abs(law.denoise_cov(x, k) - gm3.denoise_cov(x, k)).max() <= 1e-12


def test_twin_is_the_same_law_at_another_resolution():
    p = student5.noised(ornstein_uhlenbeck(0.2))
    q, x = p.twin, np.linspace(-30, 30, 61)[:, None]
    assert q.base.panels.logs.shape[1] != p.base.panels.logs.shape[1] and p.error <= 1e-12 and student5.twin is None
    difference = np.abs(p.logpdf(x) - q.logpdf(x)).max()
    assert 0 < difference <= 1e-13 * np.abs(p.logpdf(x)).max()


def test_exponential_tail_is_relatively_accurate():
    x = np.array([1e-12, 1e-3, 0.5, 3.0, 11.0, 29.0, 90.0])
    assert np.abs(EXPONENTIAL.sf(x[:, None]) * np.exp(x) - 1).max() <= 64 * EPS * 90
    assert np.abs(EXPONENTIAL.cdf(x[:, None]) / -np.expm1(-x) - 1).max() <= 64 * EPS
    assert np.abs(EXPONENTIAL.quantile(1 - np.exp2([-3.0, -20.0, -50.0]))[:, 0] / (np.array([3, 20, 50]) * math.log(2)) - 1).max() <= 64 * EPS


def test_scale_and_sign():
    k = Kernel(-2.0, 0.0)
    x = np.array([[-3.0], [-0.5]])
    law = EXPONENTIAL.noised(k)
    assert law.support == (-math.inf, 0.0) and np.abs(law.logpdf(x) - (x[:, 0] / 2 - math.log(2))).max() <= 4 * EPS
    assert EXPONENTIAL.noised(Kernel(1.0, 0.0)) is EXPONENTIAL and EXPONENTIAL.noised(Kernel(0.0, 2.0)) == Gaussian([0.0], 2.0)
    assert EXPONENTIAL.logpdf([[-1.0]]) == -math.inf and EXPONENTIAL.cdf([[-1.0]]) == 0
    flipped, straight = EXPONENTIAL.noised(Kernel(-0.7, 0.3)), EXPONENTIAL.noised(Kernel(0.7, 0.3))
    assert np.abs(flipped.logpdf(x) - straight.logpdf(-x)).max() <= 64 * EPS * 10
    twice = straight.noised(Kernel(2.0, 0.1))
    assert (twice.m, twice.v) == (1.4, pytest.approx(1.3)) and straight.noised(Kernel(0.0, 1.0)) == Gaussian([0.0], 1.0)


def test_unnormalized_and_singular():
    well = Density(lambda x: -((x[..., 0] ** 2 - 4) ** 2), dim=1, normalized=False)
    assert well.panels.mass.sum() == pytest.approx(1, abs=1e-14) and well.mean()[0] == pytest.approx(0, abs=1e-14)
    total = math.log(well.pdf([[0.3]])[0]) + (0.09 - 4) ** 2
    assert well.logpdf([[1.9]])[0] == pytest.approx(total - (1.9**2 - 4) ** 2, rel=1e-14)
    gamma = Density(lambda x: -0.5 * np.log(x[..., 0]) - x[..., 0] - 0.5 * math.log(math.pi), dim=1, support=(0, math.inf))
    assert gamma.mean()[0] == pytest.approx(0.5, rel=1e-13)  # infinite at 0
    far = Density(GaussianMixture([1.0], [[1e4]], [1e-4]).logpdf, dim=1)  # one mode is found anywhere
    assert far.mean()[0] == pytest.approx(1e4, rel=1e-12)
    spike = GaussianMixture([0.9, 0.1], [[0.0], [3.0]], [1.0, 1e-12])
    with pytest.raises(ValueError, match=r"integrates to 0.9, .* a spike narrower than a hundredth of its place is not found"):
        Density(spike.logpdf, dim=1)


def test_heavy_tails_have_no_moments():
    cauchy = Density(lambda x: -np.log1p(x[..., 0] ** 2) - math.log(math.pi), dim=1)
    assert np.abs(cauchy.quantile([0.25, 0.75])[:, 0] - [-1, 1]).max() <= 1e-13
    for moment in (cauchy.mean, cauchy.second_moment):
        with pytest.raises(NotTrusted, match="the tails are so heavy that the integral is infinite or converges too slowly"):
            moment()
    p = cauchy.noised(ornstein_uhlenbeck(0.5))  # the Voigt profile is still a density
    w = special.wofz((0.7 + 1j * math.exp(-0.5)) / math.sqrt(-2 * math.expm1(-1.0)))
    assert p.pdf([[0.7]])[0] == pytest.approx(w.real / math.sqrt(-2 * math.pi * math.expm1(-1.0)), rel=1e-13)


def test_any_dimension_with_what_is_given():
    target = GaussianMixture([0.5, 0.5], [[0.0, 0.0], [2.0, 1.0]], 0.5)
    law = Density(target.logpdf, dim=2, score=target.score, noised=target.noised, sample=target.sample)
    x, k = np.array([[0.3, -0.2]]), ornstein_uhlenbeck(0.3)
    assert np.array_equal(law.score(x), target.score(x)) and np.array_equal(law.sample(5, 0), target.sample(5, 0))
    assert np.abs(law.denoise(x, k) - target.denoise(x, k)).max() <= 1e-14
    assert np.abs(law.denoise_cov(x, k) - target.denoise_cov(x, k)).max() <= 1e-14
    bare = Density(target.logpdf, dim=2)
    needs = {"score": lambda: bare.score(x), "noised": lambda: bare.noised(k), "sample": lambda: bare.sample(2, 0)}
    for key, method in [*needs.items(), ("sample", bare.mean)]:
        with pytest.raises(NoMethod, match=f"in dimension 2; pass {key}= when you build it"):
            method()
    with pytest.raises(NoMethod, match="score_jacobian: not known for a Density in dimension 2"):
        bare.score_jacobian(x)
    with pytest.raises(NoMethod, match=r"cdf: got a law of dimension 2, allowed is 1"):
        bare.cdf(x)
    with pytest.raises(NoMethod, match="support in dimension 2, where nothing is integrated"):
        Density(target.logpdf, dim=2, support=(0, 1))


def test_torch_passes_through():
    torch = pytest.importorskip("torch")
    x = torch.tensor([[0.3], [2.0]], dtype=torch.float32)
    for law in (student5, student5.noised(ornstein_uhlenbeck(0.1))):
        assert law.score(x).dtype == torch.float32 and np.abs(law.logpdf(x).numpy() - law.logpdf(x.numpy().astype(float))).max() <= 1e-6


@pytest.mark.parametrize(
    ("logpdf", "options", "error", "message"),
    [
        (lambda x: -(x[..., 0] ** 2), {}, ValueError, r"integrates to 1.77245385\d*, allowed is 1; pass normalized=False to divide by it"),
        (lambda x: -(x**2), {}, ValueError, r"logpdf: got shape \(4001, 1\) for x of shape \(4001, 1\), allowed is \(4001,\)"),
        (lambda x: np.where(x[..., 0] > 1, np.nan, -(x[..., 0] ** 2)), {}, ValueError, "logpdf: got nan at x = .*pass support= to exclude points"),
        (lambda x: np.full(x.shape[:-1], -np.inf), {}, ValueError, "no finite value on a logarithmic grid"),
        (lambda x: np.sin(1e6 * x[..., 0]) - x[..., 0] ** 2, {}, NotTrusted, "more than 2000 panels"),
        (laplace, {"support": (1.0, 0.0)}, ValueError, r"support: got \(1.0, 0.0\), allowed is \(low, high\) with low < high"),
        (3.0, {}, TypeError, "logpdf: got float, allowed is a function"),
        (laplace, {"score": 1.0}, TypeError, "score: got float, allowed is a function or None"),
        (laplace, {"dim": 0}, ValueError, "dim: got 0"),
    ],
)
def test_refusals(logpdf, options, error, message):
    with pytest.raises(error, match=message):
        Density(logpdf, **{"dim": 1, **options})


def test_wrong_shapes_of_what_is_given():
    with pytest.raises(ValueError, match=r"score: got shape \(2,\) for x of shape \(2, 1\)"):
        Density(laplace, dim=1, score=lambda x: np.sign(x[..., 0])).score(np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"sample: got shape \(3,\), allowed is \(3, 1\)"):
        Density(laplace, dim=1, sample=lambda n, seed: np.zeros(n)).sample(3, 0)
