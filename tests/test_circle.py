"""The uniform law on a circle, and noised: against a ring of many point masses, whose noised law is the same up to e^{-N^2 v/2r^2}."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch

import scoresde as sd
from scoresde import scheme
from scoresde.errors import NoMethod
from scoresde.laws import Circle, Empirical

EPS = 2.0**-52
K = sd.ornstein_uhlenbeck(0.3)
X = np.array([[0.3, 0.4], [0.0, 0.0], [1e-9, 0.0], [1e-4, 1e-4], [1.1, -0.3], [2.0, 0.0], [-3.0, 4.0]])


def ring(radius, count=4000):
    angle = 2 * math.pi * np.arange(count) / count
    return Empirical(radius * np.stack([np.cos(angle), np.sin(angle)], axis=1))


@pytest.mark.parametrize("radius, var", [(1.0, 0.1), (2.0, 3.0), (1.0, 1e-3), (0.01, 1.0)])
class TestAgainstARing:
    FIELDS: ClassVar = ("logpdf", "score", "score_jacobian")

    @pytest.mark.parametrize("field", FIELDS)
    def test_density_and_score(self, radius, var, field):
        """The ring's exponents (|x|^2 + r^2)/2v are rounded, and weigh scores by r/v, Jacobians by its square."""
        mine, theirs = (getattr(law, field)(X) for law in (Circle(radius, var), ring(radius).noised(sd.Kernel(1.0, var))))
        exponent = 1 + (5 + radius) ** 2 / var
        weight = {"logpdf": 1.0, "score": radius / var, "score_jacobian": (radius / var) ** 2}[field]
        assert np.abs(mine - theirs).max() <= 64 * EPS * exponent * (weight + np.abs(theirs).max())

    def test_denoising(self, radius, var):
        law, copy = Circle(radius, var), ring(radius).noised(sd.Kernel(1.0, var))
        size = 64 * EPS * (1 + (5 + radius) ** 2 / var) * (1 + radius) ** 2
        assert np.abs(law.denoise(X, K) - copy.denoise(X, K)).max() <= size
        assert np.abs(law.denoise_cov(X, K) - copy.denoise_cov(X, K)).max() <= size

    def test_torch_sees_the_same(self, radius, var):
        law, x = Circle(radius, var), torch.tensor(X)
        for field in self.FIELDS:
            value, torched = getattr(law, field)(X), getattr(law, field)(x)
            assert torched.dtype == torch.float64
            assert np.abs(torched.numpy() - value).max() <= 256 * EPS * (1 + np.abs(value).max())


def test_the_circle_itself():
    law = Circle(1.5)
    x = law.sample(1000, 3)
    assert np.abs(np.linalg.norm(x, axis=1) - 1.5).max() <= 4 * EPS * 1.5 and np.array_equal(law.sample(10, 3), x[:10])
    assert law.second_moment() == 2.25 and np.array_equal(law.cov(), 1.125 * np.eye(2))
    # tr Cov(X_0|x) = r^2 (1 - A^2), A in [0, 1]; at the centre nothing is known of the angle
    assert np.allclose(law.denoise_cov(np.zeros((1, 2)), K)[0], law.cov(), rtol=4 * EPS)
    for method in (law.pdf, law.logpdf, law.score, law.score_jacobian):
        with pytest.raises(NoMethod, match="noise it first"):
            method(X)
    with pytest.raises(ValueError, match="nothing to denoise"):
        law.denoise(X, sd.Kernel(1.0, 0.0))
    assert law.noised(sd.Kernel(-2.0, 0.0)) == Circle(3.0) and law.noised(sd.Kernel(0.0, 2.0)) == sd.Gaussian([0.0, 0.0], 2.0)
    assert repr(law) == "Circle(1.5)" and sd.from_json(sd.to_json(Circle(1.5, 0.2))) == Circle(1.5, 0.2)


@pytest.mark.parametrize("arguments, named", [((0.0,), "radius"), ((-1.0,), "radius"), ((1.0, -0.1), "var"), (([1.0],), "radius")])
def test_refused_numbers(arguments, named):
    with pytest.raises(ValueError, match=named):
        Circle(*arguments)


def test_far_out_nothing_overflows():
    """kappa = 1e8: A = 1 - 1/(2 kappa), so the pull is towards the circle, and the curvature -1/v along the radius."""
    law, x = Circle(1.0, 1e-8), np.array([[1.0, 0.0], [0.0, 1.001]])
    s, jacobian = law.score(x), law.score_jacobian(x)
    assert np.isfinite(s).all() and s[1, 1] == pytest.approx(-0.001 / 1e-8, rel=1e-2)
    assert jacobian[0, 0, 0] == pytest.approx(-1e8, rel=1e-6) and abs(jacobian[0, 1, 1]) <= 1e-6 * 1e8


def test_reverse_diffusion_comes_back_to_the_circle():
    """60 ancestral steps to sigma = 0.0447 from the centre's N(0, I): radii within 6 sigma of the circle, all directions alike."""
    table = scheme.ancestral(sd.grid.geometric(4.0, 60, stop=1e-3), "posterior")
    x = sd.simulate(table, sd.score.exact(Circle(1.0)), 2000, seed=5)
    sigma = math.sqrt(-math.expm1(-2e-3))
    assert np.abs(np.linalg.norm(x, axis=1) - math.exp(-1e-3)).max() <= 6 * sigma
    # the mean direction of 2000 uniform angles: each coordinate has standard deviation 1/sqrt(2n), 5.5 of them for level 1e-7
    assert np.abs(x.mean(axis=0)).max() <= 5.5 / math.sqrt(2 * 2000)
