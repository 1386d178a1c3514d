"""GaussianMixture: against mpmath at the extremes, Bayes' rule, memory, kernel density estimates, and what is refused."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoresde.kernel import Kernel, ornstein_uhlenbeck
from scoresde.laws import Gaussian, GaussianMixture, kernel_density
from scoresde.targets import gm3
from scoresde.testing import mixtures, points

EPS = 2.0**-52


def reference(weights, means, variances, x):
    """(log p, score, Jacobian) of a mixture on the line, 60 digits, any exponents."""
    mp = pytest.importorskip("mpmath").mp
    with mp.workdps(60):
        x = mp.mpf(x)
        parts = [(mp.mpf(w), mp.mpf(mu), mp.mpf(v)) for w, mu, v in zip(weights, means, variances, strict=True) if w > 0]
        terms = [(w / mp.sqrt(2 * mp.pi * v), x - mu, v) for w, mu, v in parts]
        logs = [mp.log(c) - r * r / (2 * v) for c, r, v in terms]
        top = max(logs)
        r = [mp.exp(log - top) for log in logs]
        total = mp.fsum(r)
        q = [-d / v for _, d, v in terms]
        s = mp.fsum(a * b for a, b in zip(r, q, strict=True)) / total
        J = mp.fsum(a * ((b - s) ** 2 - 1 / v) for a, b, (_, _, v) in zip(r, q, terms, strict=True)) / total
        return top + mp.log(total), s, J


EXTREME = {
    "means 1e8 apart": ([0.5, 0.5], [-5e7, 5e7], [1.0, 2.0], [-5e7 - 3, -5e7, 0.0, 1.0, 2e7, 5e7 + 4]),
    "weight 1e-300": ([1.0, 1e-300], [0.0, 3.0], [1.0, 0.25], [-2.0, 0.0, 3.0, 30.0]),
    "weight 1e-300 of a wide component": ([1.0, 1e-300], [0.0, 0.0], [1.0, 1e6], [0.0, 30.0, 38.0, 50.0]),
    "variances 1e-200 and 1e200": ([0.5, 0.5], [0.0, 1.0], [1e-200, 1e200], [0.0, 1e-101, 1e-99, 1.0, 1e90]),
    "far out": ([0.3, 0.45, 0.25], [-2.0, 0.4, 2.2], [0.25, 0.16, 0.36], [-1e3, 1e5, 1e12, -1e100, 1e153]),
    "beyond squares": ([0.3, 0.45, 0.25], [-2.0, 0.4, 2.2], [0.25, 0.16, 0.36], [1e160, -1e300, 1e300]),
    "weight zero": ([0.0, 1.0], [-1.0, 1.0], [1.0, 0.5], [-3.0, 0.0, 7.0]),
}


@pytest.mark.parametrize("case", EXTREME)
def test_extremes_against_mpmath(case):
    weights, means, variances, xs = EXTREME[case]
    law = GaussianMixture(weights, np.array(means)[:, None], variances)
    for x in xs:
        log, s, J = reference(weights, means, variances, x)
        X = np.array([[x]])
        got = law.logpdf(X)[0], law.score(X)[0, 0], law.score_jacobian(X)[0, 0, 0]
        if log < -1.7e308:
            assert got[0] == -math.inf and law.pdf(X)[0] == 0
        else:
            assert abs(got[0] - float(log)) <= 16 * EPS * (1 + abs(float(log)))
        # a weight is off by the error of its exponent (squares are at most 1e4 where two components matter), a score by weight x distance
        assert abs(got[1] - float(s)) <= 1e4 * EPS * (abs(float(s)) + abs(float(J) + 1 / max(variances)) ** 0.5)
        assert abs(got[2] - float(J)) <= 1e5 * EPS * max(abs(float(J)), 1 / max(variances))


@pytest.mark.parametrize("d", [1, 2, 3, 20])
def test_infinity_belongs_to_the_widest_component(d):
    rng = np.random.default_rng(d)
    full = np.stack([np.eye(d) * v + 0.1 for v in (0.5, 2.0, 1.0)])
    for covs in ([0.5, 2.0, 1.0], full):
        law = GaussianMixture([0.2, 0.3, 0.5], rng.standard_normal((3, d)), covs)
        u = rng.standard_normal((4, d))
        for size in (1e170, 1e300):
            limit = law.component(1).score(size * u)  # relative differences of other terms are below 1e-160
            assert np.abs(law.score(size * u) / limit - 1).max() <= 64 * EPS * d
            assert np.abs(law.score_jacobian(size * u) - law.component(1).score_jacobian(u)).max() <= 64 * EPS * d
            assert (law.logpdf(size * u) == -np.inf).all() and np.array_equal(law.responsibilities(size * u), np.tile([0.0, 1.0, 0.0], (4, 1)))


def test_infinity_in_torch():
    torch = pytest.importorskip("torch")
    x = torch.tensor([[1e300], [-3.0]], dtype=torch.float64)
    assert np.array_equal(gm3.score(x).numpy(), gm3.score(x.numpy())) and gm3.logpdf(x)[0] == -math.inf
    assert gm3.score(torch.tensor([[1e30]])).dtype == torch.float32 and torch.isfinite(gm3.score(torch.tensor([[1e30]]))).all()


def test_quantiles_in_the_deep_tails():
    mp = pytest.importorskip("mpmath").mp
    u = np.array([1e-300, 1e-100, 1e-16, 0.25, 0.5, 0.75, 1 - 1e-16])
    x = gm3.quantile(u)[:, 0]
    with mp.workdps(50):
        for a, b in zip(u, x, strict=True):
            side, aim = (1, mp.mpf(a)) if a <= 0.5 else (-1, 1 - mp.mpf(a))

            def excess(y, side=side, aim=aim):
                terms = zip(gm3.weights, gm3.means[:, 0], gm3.covs, strict=True)
                return mp.log(mp.fsum(mp.mpf(w) * mp.ncdf(side * (y - mp.mpf(mu)) / mp.sqrt(mp.mpf(v))) for w, mu, v in terms) / aim)

            true = mp.findroot(excess, mp.mpf(b))
            assert abs(float(true - b)) <= 1e-14 * max(abs(float(true)), 0.4)  # 0.4: the smallest sd
    far = GaussianMixture([0.5, 0.5], [[-1e8], [1e8]], 1.0)
    assert np.abs(far.quantile([0.25, 0.75])[:, 0] / [-1e8, 1e8] - 1).max() <= 2 * EPS and abs(far.quantile(0.5)[0]) < 1e8 - 7


@given(st.data())
def test_given_is_bayes_rule(data):
    """Observing m X + sqrt(v) Z is denoising: mean and covariance agree; and posterior x evidence = prior x likelihood."""
    law = data.draw(mixtures(max_dim=3))
    x = data.draw(points(law, max_points=1))[0]
    m, v, d = 0.8, 0.5, law.dim
    post = law.given(x, m * np.eye(d), v)
    scale = 1e-11 * (1 + np.abs(x).max() + np.abs(law.means).max()) ** 2
    assert np.abs(post.mean() - law.denoise(x, Kernel(m, v))).max() <= scale
    assert np.abs(post.cov() - law.denoise_cov(x, Kernel(m, v))).max() <= scale
    y = x + 0.1
    operator, noise = np.linspace(0.2, 1.0, 2 * d).reshape(2, d), np.array([[1.0, 0.2], [0.2, 0.5]])
    seen = operator @ x + 0.3
    post = law.given(seen, operator, noise)
    covs = [operator @ law.component(k).cov() @ operator.T + noise for k in range(len(law.weights))]
    evidence = GaussianMixture(law.weights, law.means @ operator.T, np.stack(covs))
    likelihood = Gaussian(operator @ y, noise).logpdf(seen)
    left, right = post.logpdf(y) + evidence.logpdf(seen), law.logpdf(y) + likelihood
    assert abs(left - right) <= 1e-10 * (1 + abs(left) + abs(right))


def test_given_refusals():
    law = GaussianMixture([1.0], [[0.0, 1.0]], 1.0)
    with pytest.raises(ValueError, match=r"operator: got shape \(2, 3\) with y of shape \(2,\), allowed are \(q, 2\) and \(q,\)"):
        law.given([0.0, 1.0], np.ones((2, 3)), 1.0)
    with pytest.raises(ValueError, match=r"noise_cov: got shape \(3,\), allowed are \(\), \(1,\) or \(1, 1\)"):
        law.given([0.0], [[1.0, 0.0]], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="smallest eigenvalue"):
        law.given([0.0], [[1.0, 0.0]], 0.0)  # the first coordinate is known exactly


def test_responsibilities_and_components():
    x = np.array([[-2.0], [0.0], [2.0]])
    r = gm3.responsibilities(x)
    joint = np.stack([w * gm3.component(k).pdf(x) for k, w in enumerate(gm3.weights)], -1)
    assert r.shape == (3, 3) and np.abs(r - joint / joint.sum(-1, keepdims=True)).max() <= 16 * EPS
    assert gm3.component(-1) == Gaussian([2.2], 0.36)
    with pytest.raises(IndexError):
        gm3.component(3)


def peak(f):
    tracemalloc.start()
    f()
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size


def test_memory_never_holds_points_times_components_times_dimension():
    rng = np.random.default_rng(0)
    n, count, d = 16, 2000, 200
    law, x = GaussianMixture(np.full(count, 1 / count), rng.standard_normal((count, d)), 1.0), rng.standard_normal((n, d))
    whole = 8 * n * count * d
    assert peak(lambda: law.score(x)) < whole / 4 and peak(lambda: law.logpdf(x)) < whole / 4
    wide = GaussianMixture([0.5, 0.5], rng.standard_normal((2, 10000)), [1.0, 2.0])
    assert peak(wide.second_moment) < 8 * 10000 * 100
    many = rng.standard_normal((200000, 1))
    assert peak(lambda: law.component(0).logpdf(np.zeros((5, d)))) < 1e6
    line = GaussianMixture(np.full(100, 0.01), rng.standard_normal((100, 1)), 1.0)
    assert peak(lambda: line.score(many)) < 8 * 200000 * 100 / 2


def test_blocks_change_nothing():
    rng = np.random.default_rng(1)
    law = GaussianMixture(np.full(50, 0.02), rng.standard_normal((50, 2)), rng.uniform(0.5, 1.0, (50, 2)))
    x = rng.standard_normal((40000, 2))
    for method in (law.logpdf, law.score, law.responsibilities, law.score_jacobian, lambda x: law.denoise(x, ornstein_uhlenbeck(0.2))):
        whole, parts = method(x), np.concatenate([method(x[i : i + 5000]) for i in range(0, 40000, 5000)])
        assert np.abs(whole - parts).max() <= 64 * EPS * np.abs(whole).max()


def test_breakpoints_merge():
    edges = kernel_density(np.random.default_rng(0).standard_normal((2000, 1))).breakpoints()
    assert len(edges) < 400 and (np.diff(edges) > 0).all()
    both = GaussianMixture([0.5, 0.5], [[0.0], [0.0]], [1.0, 1e-8]).breakpoints()
    inner = np.diff(both[np.abs(both) < 12e-4])
    assert inner.max() <= 1e-4 and both[0] <= -12 and len(both) < 200  # the fine grid wins where it is, the coarse one elsewhere


def test_kernel_density():
    rng = np.random.default_rng(2)
    data = rng.standard_normal((100, 2)) * [1.0, 3.0]
    law = kernel_density(data)
    silverman = data.std(axis=0, ddof=1) * (4 / (4 * 100)) ** (1 / 6)
    assert np.abs(law.covs - silverman**2).max() <= 16 * EPS * 10 and np.array_equal(law.means, data)
    assert kernel_density(data, 0.5).covs.shape == (100,) and kernel_density(data, [0.5, 1.0]).covs[3].tolist() == [0.25, 1.0]
    assert kernel_density(data[:, :1]).covs.shape == (100,)
    with pytest.raises(ValueError, match=r"data: got shape \(5,\), allowed is \(n, d\); write data\[:, None\]"):
        kernel_density(np.zeros(5))
    with pytest.raises(ValueError, match=r"standard deviation 0.0 in coordinate 1 \(3 points\), allowed is > 0; pass bandwidth="):
        kernel_density([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    for bandwidth in (0.0, -1.0, [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match=r"bandwidth: got .* allowed are standard deviations > 0 of shape \(\) or \(2,\)"):
            kernel_density(data, bandwidth)


TWO = [[0.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("weights", "means", "covs", "message"),
    [
        ([0.5, 0.6], TWO, 1.0, "weights: got numbers that sum to 1.1, allowed is 1; divide them by their sum"),
        ([1.5, -0.5], TWO, 1.0, "weights: got -0.5 at index 1, allowed are numbers >= 0"),
        ([], np.zeros((0, 1)), 1.0, r"weights: got shape \(0,\), allowed is \(K,\) with K >= 1"),
        ([0.5, np.inf], TWO, 1.0, "weights: got inf at index"),
        ([0.5, 0.5], [0.0, 1.0], 1.0, r"means: got shape \(2,\) with 2 weights, allowed is \(2, d\); write means\[:, None\] for a law on the line"),
        ([0.5, 0.5], [[0.0, 1.0]], 1.0, r"means: got shape \(1, 2\) with 2 weights"),
        ([0.5, 0.5], [[0.0, np.nan], [1.0, 1.0]], 1.0, r"means: got nan at index \(0, 1\)"),
        ([0.5, 0.5], TWO, [1.0, 1.0, 1.0], r"covs: got shape \(3,\) with means of shape \(2, 2\), allowed are \(\), \(2,\) or \(2, 2\) variances"),
        ([0.5, 0.5], TWO, [1.0, 0.0], "covs: got 0.0 at index 1, allowed are variances > 0; for point masses use Empirical"),
        ([0.5, 0.5], TWO, [[1.0, 1.0], [-1.0, 2.0]], r"covs: got -1.0 at index \(1, 0\)"),
        ([0.5, 0.5], TWO, [[1.0, 0.3], [0.3, 1.0]], r"symmetric \(2, 2\) with off-diagonals.*np.broadcast_to\(C, \(2, 2, 2\)\)"),
        ([1 / 3] * 3, [[0.0, 0.0]] * 3, np.eye(2), r"covs: got shape \(2, 2\).*np.broadcast_to\(C, \(3, 2, 2\)\)"),
        ([0.5, 0.5], TWO, np.stack([np.eye(2), [[1.0, 2.0], [2.0, 1.0]]]), "covs: component 1: got smallest eigenvalue -1, allowed"),
    ],
)  # fmt: skip
def test_refusals(weights, means, covs, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(weights, means, covs)


def test_variances_are_read_by_shape():
    rows = GaussianMixture([0.5, 0.5], TWO, [[1.0, 2.0], [3.0, 1.0]])  # not symmetric: K rows of variances
    assert np.array_equal(rows.component(1).cov(), np.diag([3.0, 1.0]))
    full = GaussianMixture([0.5, 0.5], TWO, np.array([[1.0, 0.3], [0.3, 1.0]])[:, :, None] * np.eye(2))
    assert np.array_equal(full.component(0).cov(), np.diag([1.0, 0.3]))
    assert GaussianMixture([0.5, 0.5], TWO, 2.0).covs.tolist() == [2.0, 2.0]
    assert GaussianMixture(np.full(10, 0.1), np.zeros((10, 1)), 1.0).weights.sum() == pytest.approx(1)  # 10 * 0.1 is 1 up to rounding
    assert repr(gm3) == "GaussianMixture(K=3, d=1)" and gm3 != rows and gm3 != Gaussian([0.0], 1.0)


def test_quantiles_are_monotone_and_solve_to_rounding():
    """A point that has converged stays, even where Newton's next step would be refused."""
    law = GaussianMixture([0.6, 0.4], [[-1.0], [1.5]], [0.9, 0.5])
    u = np.arange(1, 20_000) / 20_000
    x = law.quantile(u)
    assert (np.diff(x[:, 0]) > 0).all()
    assert np.abs(law.cdf(x) - u).max() <= 8 * np.finfo(float).eps  # the distribution function's own rounding
