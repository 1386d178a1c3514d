"""Gaussian: closed forms against numpy, mpmath and scipy, the three forms of a covariance, extremes, and what is refused."""

import math

import numpy as np
import pytest

from scoresde.kernel import Kernel, ornstein_uhlenbeck
from scoresde.laws import Gaussian, GaussianMixture, standard_normal

EPS = 2.0**-52
C = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]])


def test_full_covariance_against_linear_algebra():
    mean, x = np.array([1.0, -2.0, 0.5]), np.random.default_rng(0).standard_normal((4, 3))
    law, solve = Gaussian(mean, C), np.linalg.solve(C, (x - mean).T).T
    slack = 64 * EPS * np.linalg.cond(C)
    logpdf = -0.5 * ((x - mean) * solve).sum(1) - 0.5 * np.linalg.slogdet(2 * math.pi * C)[1]
    assert np.abs(law.logpdf(x) - logpdf).max() <= slack * np.abs(logpdf).max()
    assert np.abs(law.score(x) + solve).max() <= slack * np.abs(solve).max()
    assert np.abs(law.score_jacobian(x) + np.linalg.inv(C)).max() <= slack * np.abs(np.linalg.inv(C)).max()
    assert np.array_equal(law.cov(), C) and law.second_moment() == pytest.approx(np.trace(C) + mean @ mean, rel=8 * EPS)


def test_forms_of_a_covariance_agree():
    mean, x, k = np.array([0.3, -1.0]), np.array([[0.2, 0.9], [-3.0, 1.0]]), ornstein_uhlenbeck(0.3)
    forms = [Gaussian(mean, 0.7), Gaussian(mean, [0.7, 0.7]), Gaussian(mean, 0.7 * np.eye(2)), GaussianMixture([1.0], [mean], 0.7)]
    for law in forms[1:]:
        for method in ("logpdf", "pdf", "score", "score_jacobian"):
            assert np.abs(getattr(law, method)(x) - getattr(forms[0], method)(x)).max() <= 64 * EPS * 10
            assert np.abs(getattr(law.noised(k), method)(x) - getattr(forms[0].noised(k), method)(x)).max() <= 64 * EPS * 10
        for method in ("denoise", "denoise_cov"):
            assert np.abs(getattr(law, method)(x, k) - getattr(forms[0], method)(x, k)).max() <= 64 * EPS * 10
        assert np.abs(law.cov() - forms[0].cov()).max() <= 4 * EPS
    assert [law.covariance.shape for law in forms[:3]] == [(), (2,), (2, 2)]
    assert [law.noised(k).covariance.shape for law in forms[:3]] == [(), (2,), (2, 2)]


def test_tails_against_mpmath():
    mp = pytest.importorskip("mpmath").mp
    law = Gaussian([1.0], 4.0)
    for x in (-70.0, -3.0, 1.0, 2.5, 60.0):
        with mp.workdps(40):
            left, right = float(mp.ncdf((mp.mpf(x) - 1) / 2)), float(mp.ncdf((1 - mp.mpf(x)) / 2))
        z = (x - 1) / 2
        rel = 8 * EPS * (1 + z * z)  # z is rounded, and the tail moves by z^2 times that
        assert law.cdf([[x]])[0] == pytest.approx(left, rel=rel) and law.sf([[x]])[0] == pytest.approx(right, rel=rel)
    for u in (1e-300, 1e-20, 0.2, 0.5, 0.8, 1 - 2.0**-53):
        with mp.workdps(40):
            z = -mp.sqrt(2) * mp.erfinv(1 - 2 * mp.mpf(u)) if u > 1e-30 else mp.findroot(lambda z, u=u: mp.log(mp.ncdf(z)) - mp.log(u), -37)
        assert law.quantile(u)[0] == pytest.approx(float(1 + 2 * z), rel=1e-14)
    assert np.array_equal(law.quantile([0.0, 1.0])[:, 0], [-np.inf, np.inf])


def test_extremes():
    law = Gaussian([1e8, -3.0], [1e-12, 1e12])
    x = np.array([[1e300, -1e300], [1e8 + 1e-6, 0.0]])
    s = law.score(x)
    assert np.isfinite(s[1]).all() and s[0, 0] == -np.inf and s[0, 1] == pytest.approx(1e288, rel=8 * EPS)  # -1e312 is beyond float64
    assert law.logpdf(x)[0] == -np.inf and law.pdf(x)[0] == 0.0
    far = standard_normal(1)
    assert far.score([[1e300]])[0, 0] == -1e300 and far.cdf([[1e300]])[0] == 1 and far.sf([[1e300]])[0] == 0
    big = standard_normal(100000)
    assert big.second_moment() == 100000 and big.noised(ornstein_uhlenbeck(0.5)).covariance == pytest.approx(1.0, rel=4 * EPS)


def test_breakpoints_hold_all_mass():
    edges = Gaussian([5.0], 0.01).breakpoints()
    assert edges[0] <= 5 - 1.2 and edges[-1] >= 5 + 1.2 and np.diff(edges).max() <= 0.1  # 12 sd on both sides, steps of about sd/2


def test_equality_and_repr():
    assert Gaussian([1.0], 2.0) == Gaussian([1.0], 2.0) != Gaussian([1.0], 3.0)
    assert standard_normal(3) == Gaussian([0.0, -0.0, 0.0], 1.0) and hash(standard_normal(3)) == hash(Gaussian([0.0, -0.0, 0.0], 1.0))
    assert repr(Gaussian([1.3], 0.3)) == "Gaussian(mean=[1.3], cov=0.3)" and repr(standard_normal(50)) == "Gaussian(d=50)"
    law = Gaussian(np.zeros(3), C)
    assert law.covariance is not C and not law.covariance.flags.writeable


@pytest.mark.parametrize(
    ("mean", "cov", "error", "message"),
    [
        (0.0, 1.0, ValueError, r"mean: got shape \(\), allowed is \(d,\); write \[0.0\] for a law on the line"),
        ([[0.0]], 1.0, ValueError, r"mean: got shape \(1, 1\), allowed is \(d,\)"),
        ([], 1.0, ValueError, r"mean: got shape \(0,\)"),
        ([0.0, np.nan], 1.0, ValueError, r"mean: got nan at index \(1,\)"),
        (["a"], 1.0, TypeError, "mean: got list"),
        ([0.0, 1.0], [1.0, 2.0, 3.0], ValueError, r"cov: got shape \(3,\) with mean of shape \(2,\), allowed are \(\), \(2,\) variances"),
        ([0.0], 0.0, ValueError, "cov: got 0.0, allowed are variances > 0; for point masses use Empirical"),
        ([0.0, 0.0], [1.0, -2.0], ValueError, "cov: got -2.0 at index 1, allowed are variances > 0"),
        ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], ValueError, "cov: got smallest eigenvalue -1, allowed are positive definite covariances"),
        ([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]], ValueError, "add a small multiple of the identity, or use Empirical for point masses"),
        ([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]], ValueError, r"not symmetric \(differences up to 0.5\), allowed are covariances; use \(C \+ C.T\) / 2"),
    ],
)
def test_refusals(mean, cov, error, message):
    with pytest.raises(error, match=message):
        Gaussian(mean, cov)


def test_point_mass_is_refused():
    with pytest.raises(ValueError, match=r"kernel: got m = 0.0, v = 0.0, allowed is v > 0 or m != 0: the noised law would be a point mass"):
        standard_normal(2).noised(Kernel(0.0, 0.0))
    with pytest.raises(ValueError, match="d: got 0"):
        standard_normal(0)


@pytest.mark.parametrize("d", [3, 16, 128])
def test_a_draw_does_not_depend_on_how_many_there_are(d):
    """With a full covariance too, where a product of matrices would let the BLAS choose how to sum by their shape."""
    root = np.random.default_rng(0).normal(size=(d, d)) / np.sqrt(d)
    law = Gaussian(np.zeros(d), root @ root.T + np.eye(d))
    many = law.sample(3000, 1)
    for n in (1, 2, 7, 63, 64, 65, 1000):
        assert np.array_equal(many[:n], law.sample(n, 1))
    spread = np.cov(many.T) - law.cov()
    sizes = np.sqrt((law.cov() ** 2 + np.outer(np.diag(law.cov()), np.diag(law.cov()))) / len(many))
    assert np.abs(spread / sizes).max() <= 7  # standard errors; 16384 entries at 3e-12 each
