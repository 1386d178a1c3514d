"""Identities that hold for every law: calculus, noising, Tweedie, moments, tails, draws, numpy = torch."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from scoresde import targets
from scoresde.errors import NoMethod
from scoresde.kernel import Kernel, ornstein_uhlenbeck
from scoresde.laws import Circle, Density, Empirical, Gaussian, GaussianMixture, Law, Product, SmoothedBox, Uniform, kernel_density
from scoresde.testing import kernels, laws, mixtures, points

EPS = 2.0**-52
RNG = np.random.default_rng(7)
NODES, WEIGHTS = (lambda r: (0.5 * (1 + r[0]), 0.5 * r[1]))(np.polynomial.legendre.leggauss(16))


def spd(d, low=0.3, high=2.0):
    q, _ = np.linalg.qr(RNG.standard_normal((d, d)))
    c = (q * np.linspace(low, high, d)) @ q.T
    return 0.5 * (c + c.T)


LINE = [
    targets.g1, targets.gm3, targets.student5, targets.student5.noised(ornstein_uhlenbeck(0.3)), SmoothedBox([-1.0], [2.0], 0.04),
    SmoothedBox([-1.0], [2.0], 9.0), Product([targets.gm3]), kernel_density(RNG.standard_normal((30, 1))),
]  # fmt: skip
SPACE = [
    targets.ring8, targets.aniso16, Gaussian(RNG.standard_normal(3), spd(3)),
    GaussianMixture([0.2, 0.5, 0.3], RNG.standard_normal((3, 2)), [[1.0, 0.5], [0.3, 2.0], [1.0, 1.0]]),
    GaussianMixture([0.4, 0.6], RNG.standard_normal((2, 3)), np.stack([spd(3), spd(3)])),
    GaussianMixture([0.3, 0.7], RNG.standard_normal((2, 16)), [0.7, 1.3]),
    GaussianMixture([0.3, 0.7], RNG.standard_normal((2, 16)), np.stack([spd(16), spd(16)])),
    Circle(2.0, 0.3), SmoothedBox([-1.0, 0.0, 2.0], [1.0, 3.0, 2.5], 0.3), Product([targets.gm3, targets.g1, targets.gm3]),
    Product([targets.ring8, targets.gm3, targets.gm3]),
]  # fmt: skip
ROUGH = [targets.uni, targets.diracs, Uniform([0.0, 1.0], [2.0, 5.0]), Empirical(RNG.standard_normal((5, 3)), [0.1, 0.2, 0.3, 0.2, 0.2])]


# Rounding. log p is a sum of squares, so its error is a few ulps of itself; weights of components inherit that as relative errors, and
# move scores by sqrt(|J| + 1/v), Jacobians by |J| + 1/v. 256 is the number of operations, generously; 1/v <= 16 in the strategies.
def slack_log(law, x):
    return 256 * EPS * (1 + np.abs(law.logpdf(x)))


def slack_score(law, x):
    return slack_log(law, x)[..., None] * (16 + np.abs(law.score_jacobian(x)).max(axis=(-2, -1)) + np.abs(law.score(x)).max(axis=-1))[..., None]


def slack_jacobian(law, x):
    return slack_log(law, x)[..., None, None] * (16 + np.abs(law.score_jacobian(x)).max(axis=(-2, -1)))[..., None, None]


def segment(law, x):
    """y = x + 0.01 in every coordinate, and the 16 Gauss–Legendre points between: shorter than the distance to any complex pole."""
    step = np.full(law.dim, 0.01)
    return x + step, x[:, None] + NODES[:, None] * step, step


@given(st.data())
def test_score_is_the_gradient_of_logpdf(data):
    law = data.draw(laws())
    x = data.draw(points(law))
    y, path, step = segment(law, x)
    rise = WEIGHTS @ (law.score(path) @ step).T
    assert (np.abs(law.logpdf(y) - law.logpdf(x) - rise) <= slack_log(law, x) + slack_log(law, y) + (slack_score(law, x) @ step[:1])).all()


@given(st.data())
def test_jacobian_is_the_derivative_of_the_score(data):
    law = data.draw(laws())
    x = data.draw(points(law))
    y, path, step = segment(law, x)
    rise = np.einsum("k,nkij,j->ni", WEIGHTS, law.score_jacobian(path), step)
    assert (np.abs(law.score(y) - law.score(x) - rise) <= slack_score(law, x) + slack_score(law, y)).all()


@pytest.mark.parametrize("law", LINE + SPACE, ids=repr)
def test_calculus_of_named_laws(law):
    x = law.sample(6, 1)
    y, path, step = segment(law, x)
    own = 1e-10 if isinstance(law, Density) else 0.0  # its Jacobian is a difference of order 8
    assert (np.abs(law.logpdf(y) - law.logpdf(x) - WEIGHTS @ (law.score(path) @ step).T) <= 2 * slack_log(law, x) + slack_score(law, x)[:, 0]).all()
    rise = np.einsum("k,nkij,j->ni", WEIGHTS, law.score_jacobian(path), step)
    assert (np.abs(law.score(y) - law.score(x) - rise) <= 2 * slack_score(law, x) + own).all()


@given(st.data())
def test_noising_composes(data):
    law = data.draw(laws(smooth=False))
    earlier, later = data.draw(kernels()), data.draw(kernels())
    assume(later.m != 0 and earlier.m != 0)
    twice, once = law.noised(earlier).noised(later), law.noised(later @ earlier)
    x = data.draw(points(once))
    assert type(twice) is type(once)
    assert (np.abs(twice.logpdf(x) - once.logpdf(x)) <= slack_log(once, x)).all()


@given(st.data())
def test_noised_moments(data):
    law, k = data.draw(laws(smooth=False)), data.draw(kernels())
    p = law.noised(k)
    scale = 64 * EPS * (1 + p.second_moment() + k.m**2 * law.second_moment())
    assert np.abs(p.mean() - k.m * law.mean()).max() <= scale
    assert np.abs(p.cov() - k.m**2 * law.cov() - k.v * np.eye(law.dim)).max() <= scale
    assert abs(p.second_moment() - np.trace(p.cov()) - p.mean() @ p.mean()) <= scale


def tweedie_holds(law, k, x):
    p, v, m = law.noised(k), k.v, k.m
    s, J = p.score(x), p.score_jacobian(x)
    mean, cov = law.denoise(x, k), law.denoise_cov(x, k)
    size = np.abs(law.mean()).max() + np.sqrt(law.second_moment())
    close = np.abs(mean - (x + v * s) / m) <= (v * slack_score(p, x) + 256 * EPS * (np.abs(x).max() + abs(m) * size)) / abs(m)
    inner = np.eye(law.dim) + v * J
    close_cov = np.abs(cov - v / m**2 * inner) <= v / m**2 * (v * slack_jacobian(p, x) + 256 * EPS * (1 + v * np.abs(J).max()))
    return bool(close.all()), bool(close_cov.all())


@given(st.data())
def test_tweedie(data):
    law, k = data.draw(laws(smooth=False)), data.draw(kernels().filter(lambda k: abs(k.m) > 1e-3))
    assert tweedie_holds(law, k, data.draw(points(law.noised(k)))) == (True, True)


@pytest.mark.parametrize("law", LINE + SPACE + ROUGH, ids=repr)
@pytest.mark.parametrize("k", [ornstein_uhlenbeck(0.05), ornstein_uhlenbeck(1.0), Kernel(-0.7, 2.0), Kernel(1.0, 0.5)], ids=str)
def test_tweedie_of_named_laws(law, k):
    assert tweedie_holds(law, k, law.noised(k).sample(5, 2)) == (True, True)


def test_tweedie_control():
    """The same comparison refuses a denoiser of the wrong noise level."""
    k, wrong, x = ornstein_uhlenbeck(0.5), ornstein_uhlenbeck(0.5001), np.array([[0.3]])
    p = targets.gm3.noised(k)
    assert np.abs(targets.gm3.denoise(x, wrong) - (x + k.v * p.score(x)) / k.m).max() > 1e3 * slack_score(p, x).max()


@pytest.mark.parametrize("law", LINE + SPACE + ROUGH, ids=repr)
def test_denoising_what_says_nothing_and_everything(law):
    """m = 0 gives the prior's moments, v = 0 gives x / m and no doubt."""
    x = law.sample(4, 3)
    nothing = Kernel(0.0, 2.0)
    scale = 1e-12 * (1 + law.second_moment())
    assert np.abs(law.denoise(x, nothing) - law.mean()).max() <= scale
    assert np.abs(law.denoise_cov(x, nothing) - law.cov()).max() <= scale
    if isinstance(law, Empirical):
        with pytest.raises(ValueError, match="allowed is v > 0: without noise there is nothing to denoise"):
            law.denoise(x, Kernel(1.0, 0.0))
        return
    everything = Kernel(-2.0, 0.0)
    assert np.abs(law.denoise(-2 * x, everything) - x).max() <= 64 * EPS * np.abs(x).max()
    assert np.abs(law.denoise_cov(-2 * x, everything)).max() <= 64 * EPS * (1 + np.abs(x).max()) ** 2


@pytest.mark.parametrize("law", LINE + SPACE + ROUGH, ids=repr)
def test_a_kernel_without_noise_rescales(law):
    p, x = law.noised(Kernel(-0.5, 0.0)), law.sample(4, 3)
    if not isinstance(law, Empirical):
        assert np.abs(p.logpdf(-0.5 * x) - law.logpdf(x) - law.dim * math.log(2)).max() <= 1e-12 * (1 + np.abs(law.logpdf(x)).max())
    assert np.abs(p.mean() + 0.5 * law.mean()).max() <= 1e-14 * (1 + np.abs(law.mean()).max())
    with pytest.raises(ValueError, match=r"got m = 0.0, v = 0.0, allowed is v > 0 or m != 0"):
        (law if not isinstance(law, Empirical) else p.noised(Kernel(1.0, 1.0))).noised(Kernel(0.0, 0.0))


@pytest.mark.parametrize("law", LINE, ids=repr)
def test_pdf_integrates_to_cdf(law):
    edges = law.breakpoints()
    x = edges[:-1, None] + np.diff(edges)[:, None] * NODES
    pieces = (law.pdf(x[..., None]) * WEIGHTS).sum(axis=1) * np.diff(edges)
    total = 1e-13 + len(edges) * EPS  # rule on panels of half an sd, and the sum's rounding; mass outside is below 1e-30
    assert (np.diff(edges) > 0).all() and abs(pieces.sum() - 1) <= total
    assert np.abs(law.cdf(edges[1:, None]) - np.cumsum(pieces)).max() <= total
    assert np.abs(law.sf(edges[:-1, None]) - np.cumsum(pieces[::-1])[::-1]).max() <= total


@pytest.mark.parametrize("law", [*LINE, targets.uni], ids=repr)
def test_quantile_inverts_both_tails(law):
    u = np.array([1e-30, 1e-12, 0.01, 0.3, 0.5, 0.7, 0.99, 1 - 1e-12, 1 - 2.0**-53])
    x = law.quantile(u)
    assert x.shape == (9, 1) and (np.diff(x[:, 0]) > 0).all()
    small = u <= 0.5
    mass, aim = np.where(small, law.cdf(x), law.sf(x)), np.where(small, u, 1 - u)
    condition = 1 + np.abs(x[:, 0]) * law.pdf(x) / aim  # a rounding of x moves the mass by that
    if isinstance(law, Uniform):
        condition = condition + 1 / aim  # low + width u is rounded at the size of low
    assert (np.abs(mass - aim) <= 1e-13 * condition * aim).all()
    with pytest.raises(ValueError, match=r"u: got 1.5, allowed are probabilities in \[0, 1\]"):
        law.quantile([0.2, 1.5])


@pytest.mark.parametrize("law", LINE + SPACE + ROUGH, ids=repr)
def test_draws(law):
    n = 20000
    x = law.sample(n, 11)
    assert x.shape == (n, law.dim) and all(np.array_equal(law.sample(k, 11), x[:k]) for k in (1, 10, 65))
    assert not np.array_equal(law.sample(10, 12), x[:10])
    sd = np.sqrt(np.diag(law.cov()))
    assert (np.abs(x.mean(axis=0) - law.mean()) <= 6 * sd / math.sqrt(n)).all()  # level 2e-9 a coordinate
    with pytest.raises(ValueError, match="seed: got None"):
        law.sample(3, None)
    if law.dim == 1 and not isinstance(law, Empirical):  # Dvoretzky–Kiefer–Wolfowitz with Massart's constant, level 1e-6
        critical = math.sqrt(math.log(2 / 1e-6) / (2 * n))
        assert kolmogorov(x, law) <= critical
        assert kolmogorov(x + 0.1 * sd, law) > critical  # control: a shift of a tenth of an sd moves the cdf by about .04


def kolmogorov(x, law):
    cdf = np.sort(law.cdf(x))
    n = len(cdf)
    return max((np.arange(1, n + 1) / n - cdf).max(), (cdf - np.arange(n) / n).max())


@given(mixtures(max_dim=2), st.integers(0, 2**32))
def test_draws_of_mixtures_by_coordinate(law, seed):
    """Each coordinate of a mixture is a mixture: Kolmogorov's distance at level 1e-6 / examples."""
    x = law.sample(4000, seed)
    covs = law.covs if law.covs.ndim < 3 else np.einsum("kii->ki", law.covs)
    for j in range(law.dim):
        axis = GaussianMixture(law.weights, law.means[:, j : j + 1], covs if covs.ndim == 1 else covs[:, j])
        limit = math.sqrt(math.log(2 / 1e-8) / 8000)
        assert kolmogorov(x[:, j : j + 1], axis) <= limit
        shift = math.sqrt(2 * math.pi * axis.cov()[0, 0]) * 3 * limit  # control: moved by so much, any mixture is told apart
        assert kolmogorov(x[:, j : j + 1] + shift, axis) > limit


TORCH = [law for law in LINE + SPACE if not isinstance(law, Density)]


@pytest.mark.parametrize("law", TORCH, ids=repr)
def test_torch_is_numpy(law):
    torch = pytest.importorskip("torch")
    x, k = law.sample(6, 5).reshape(3, 2, law.dim), ornstein_uhlenbeck(0.4)
    slack = slack_jacobian(law, x).max() + slack_score(law, x).max()
    for method in (law.logpdf, law.pdf, law.score, law.score_jacobian, lambda x: law.denoise(x, k), lambda x: law.denoise_cov(x, k)):
        here, there = method(x), method(torch.tensor(x))
        assert there.dtype == torch.float64 and here.dtype == np.float64 and tuple(there.shape) == here.shape
        assert np.abs(there.numpy() - here).max() <= slack
        for single in (method(x.astype(np.float32)), method(torch.tensor(x, dtype=torch.float32))):
            assert str(single.dtype).removeprefix("torch.") == "float32"
            assert np.abs(np.asarray(single) - here).max() <= 2.0**29 * slack  # 2^29 = float32 ulp / float64 ulp


@pytest.mark.parametrize("law", LINE + SPACE + ROUGH, ids=repr)
def test_shapes_integers_and_refusals(law):
    d = law.dim
    assert isinstance(law, Law) and law.mean().shape == (d,) and law.cov().shape == (d, d) and isinstance(law.second_moment(), float)
    if isinstance(law, Empirical):
        for method in (law.pdf, law.logpdf, law.score, law.score_jacobian):
            with pytest.raises(NoMethod, match="noise it first"):
                method(np.zeros((1, d)))
        return
    inside = np.round(law.quantile(0.5)) if d == 1 else np.round(law.mean())
    inside = np.ceil(law.low) if isinstance(law, Uniform) else inside
    x = np.broadcast_to(inside, (2, 3, d)).astype(int)
    assert law.logpdf(x).shape == law.pdf(x).shape == (2, 3) and law.logpdf(x).dtype == np.float64
    assert law.score(x).shape == (2, 3, d) and law.score_jacobian(x).shape == (2, 3, d, d)
    assert law.logpdf(x[0, 0]).shape == () and law.score(np.zeros((0, d))).shape == (0, d)
    for method in (law.logpdf, law.pdf, law.score, law.score_jacobian):
        with pytest.raises(ValueError, match=rf"x: got shape \(7,\), allowed is \(..., {d}\)" if d != 7 else ""):
            method(np.zeros(7))
    with pytest.raises(TypeError, match=r"kernel: got float 0.3, allowed is a Kernel, such as ornstein_uhlenbeck\(t\)"):
        law.noised(0.3)
    with pytest.raises(ValueError, match="a law is noised by one kernel at a time"):
        law.noised(ornstein_uhlenbeck(np.array([0.1, 0.2])))


@pytest.mark.parametrize("law", SPACE, ids=repr)
def test_the_line_is_needed(law):
    for method in (law.cdf, law.sf, law.quantile):
        with pytest.raises(NoMethod, match=rf"got a law of dimension {law.dim}, allowed is 1"):
            method(np.full((1, law.dim), 0.5))
    with pytest.raises(NoMethod, match="breakpoints"):
        law.breakpoints()


@pytest.mark.parametrize("law", LINE + SPACE + ROUGH, ids=repr)
def test_values_are_frozen_hashable_and_pickle(law):
    with pytest.raises((AttributeError, TypeError)):
        law.dim = 3
    again = pickle.loads(pickle.dumps(law))
    assert again == law and hash(again) == hash(law) and law != 3 and len(repr(law)) < 120
    assert np.array_equal(again.sample(3, 0), law.sample(3, 0))
    for name, value in vars(law).items():
        assert name.startswith("_") or not isinstance(value, np.ndarray) or not value.flags.writeable


def test_product_stores_equal_factors_once():
    calls = []

    class Counting:
        dim, error, twin = 1, 0.25, None

        def logpdf(self, x):
            calls.append(x.shape)
            return targets.gm3.logpdf(x)

        def noised(self, kernel):
            return targets.gm3.noised(kernel)

    law = Counting()
    p = Product([law] * 1000)
    x = np.zeros((3, 1000))
    assert p.factors == (law,) and p.repeat == (1000,) and p.dim == 1000 and p.expanded() == (law,) * 1000
    assert np.allclose(p.logpdf(x), 1000 * targets.gm3.logpdf([[0.0]]), rtol=1e-13) and calls == [(3, 1000, 1)]
    assert p.error == 1.0 and p.twin is None and Product([law, targets.gm3, law]).error == 0.5
    q = Product([targets.gm3, targets.gm3, targets.g1])
    assert q == Product([targets.gm3, targets.g1], repeat=[2, 1]) and q.factors == (targets.gm3, targets.g1)
    with pytest.raises(ValueError, match="factors: got none"):
        Product([])
    with pytest.raises(TypeError, match="factors: got float, allowed are laws"):
        Product([1.0])
    with pytest.raises(ValueError, match="repeat: got 1 counts for 2 factors"):
        Product([targets.gm3, targets.g1], repeat=[2])


def test_product_interleaves_and_computes_blocks():
    a, b = targets.ring8, targets.gm3
    p, x = Product([a, b, a]), RNG.standard_normal((4, 5))
    parts = x[:, :2], x[:, 2:3], x[:, 3:]
    assert np.allclose(p.logpdf(x), a.logpdf(parts[0]) + b.logpdf(parts[1]) + a.logpdf(parts[2]), rtol=1e-14)
    assert np.array_equal(p.score(x), np.concatenate([a.score(parts[0]), b.score(parts[1]), a.score(parts[2])], axis=1))
    J = p.score_jacobian(x)
    assert np.array_equal(J[:, :2, :2], a.score_jacobian(parts[0])) and np.array_equal(J[:, 3:, 3:], a.score_jacobian(parts[2]))
    assert not J[:, :2, 2:].any() and not J[:, 2, 3:].any()
    assert np.array_equal(p.cov()[2:, 2:], np.block([[b.cov(), np.zeros((1, 2))], [np.zeros((2, 1)), a.cov()]]))
    draws = Product([b, b]).sample(4000, 0)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 6 / math.sqrt(4000)  # copies are independent
    draws = Product([targets.g1, Gaussian([0.0], 1.0)]).sample(4000, 0)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 6 / math.sqrt(4000)  # and so are different factors, whose own seeds differ
    computed = Product([targets.student5.noised(ornstein_uhlenbeck(1.0)), b])
    assert computed.error == computed.factors[0].error and np.abs(computed.twin.logpdf(x[:, :2]) - computed.logpdf(x[:, :2])).max() < 1e-12


def test_empirical_is_the_discrete_law():
    law = Empirical([[3.0], [1.0], [1.0]], [0.5, 0.25, 0.25])
    assert np.array_equal(law.cdf(np.array([[0.9], [1.0], [2.9], [3.0]])), [0.0, 0.5, 0.5, 1.0])
    assert np.array_equal(law.sf(np.array([[0.9], [1.0], [3.0]])), [1.0, 0.5, 0.0])
    assert np.array_equal(law.quantile([0.0, 0.5, 0.50001, 1.0])[:, 0], [1.0, 1.0, 3.0, 3.0])
    assert np.array_equal(law.breakpoints(), [1.0, 3.0])
    ten = Empirical(np.arange(10.0)[:, None])  # 10 * 0.1 != 1 in sums: quantiles must not slip by one
    assert np.array_equal(ten.quantile(np.arange(1, 11) / 10)[:, 0], np.arange(10.0))
    assert type(law.noised(ornstein_uhlenbeck(0.1))) is GaussianMixture
    with pytest.raises(ValueError, match=r"points: got shape \(3,\).*points\[:, None\]"):
        Empirical([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="weights: got 2 of them for 3 points"):
        Empirical(np.zeros((3, 1)), [0.5, 0.5])


def test_uniform_and_box_refusals():
    with pytest.raises(ValueError, match=r"write Uniform\(\[low\], \[high\]\)"):
        Uniform(-1.0, 1.0)
    with pytest.raises(ValueError, match=r"got low = 2.0, high = 1.0 in coordinate 1, allowed is low < high"):
        Uniform([0.0, 2.0], [1.0, 1.0])
    for var in (0.0, -1.0, [1.0, 2.0]):
        with pytest.raises(ValueError, match=r"var: got .*without noise use Uniform"):
            SmoothedBox([0.0], [1.0], var)
    law = targets.uni
    assert law.logpdf([[2.0]]) == -np.inf and law.pdf([[2.0]]) == 0 and law.score([[0.5]]) == 0
    with pytest.raises(ValueError, match="got 1 points outside the box, where the score is not defined; noise the law first"):
        law.score([[0.5], [2.0]])
    assert type(law.noised(Kernel(0.0, 2.0))) is Gaussian


@pytest.mark.parametrize("var", [1e-12, 1e-3, 1.0, 1e8])
@pytest.mark.parametrize("width", [1e-9, 1.0, 1e6])
def test_box_against_mpmath(var, width):
    """Log-density, score and Jacobian to a few ulps of their natural size, also where differences of erf have no digits left."""
    mp = pytest.importorskip("mpmath").mp
    law, sd = SmoothedBox([0.5], [0.5 + width], var), math.sqrt(var)
    low, high = float(law.low[0]), float(law.high[0])
    with mp.workdps(60):
        for x in (low - 40 * sd, low - 3 * sd, low + 0.1 * width, 0.5 * (low + high), high, high + 1.5 * sd, high + 9 * sd, high + 1e4 * sd):
            a, b = (mp.mpf(x) - mp.mpf(high)) / mp.mpf(sd), (mp.mpf(x) - mp.mpf(low)) / mp.mpf(sd)
            a, b, sign = (a, b, 1) if a + b < 0 else (-b, -a, -1)
            mass = (mp.erfc(-b / mp.sqrt(2)) - mp.erfc(-a / mp.sqrt(2))) / 2
            mean = -(mp.npdf(b) - mp.npdf(a)) / mass
            excess = -(b * mp.npdf(b) - a * mp.npdf(a)) / mass - mean**2
            X = np.array([[x]])
            z = max(abs(float(a)), abs(float(b)))
            near = min(abs(float(a)), abs(float(b)))  # x - high is rounded: the exponent b^2/2 loses b ulp(x)/sd
            rounding = 8 * EPS * (4 + near * near + near * (abs(x) + abs(high)) / sd)
            assert abs(law.logpdf(X)[0] - float(mp.log(mass / (high - low)))) <= rounding
            assert abs(law.score(X)[0, 0] * sd + sign * float(mean)) <= 8 * EPS * (1 + min(z, 1 + abs(float(mean)))) + EPS * (abs(x) + abs(high)) / sd
            assert abs(law.score_jacobian(X)[0, 0, 0] * var - float(excess)) <= 64 * EPS * (1 + near) + 8 * EPS * (abs(x) + abs(high)) / sd
