"""The default targets and their first axes."""

import numpy as np
import pytest

from scoresde import targets
from scoresde.errors import NoMethod
from scoresde.kernel import ornstein_uhlenbeck
from scoresde.laws import Density, Empirical, Gaussian, GaussianMixture, Product, SmoothedBox, Uniform
from scoresde.targets import first_axis

EPS = 2.0**-52


def test_names():
    assert all(getattr(targets, name) is law for name, law in targets.ALL.items()) and set(targets.ALL) < set(targets.__all__)
    assert set(targets.DEFAULTS) <= set(targets.ALL) and targets.DEFAULTS[0] == "gm3"


def test_parameters():
    gm3 = targets.gm3
    assert gm3.weights.tolist() == [0.3, 0.45, 0.25] and gm3.means[:, 0].tolist() == [-2.0, 0.4, 2.2] and gm3.covs.tolist() == [0.25, 0.16, 0.36]
    assert targets.g1 == Gaussian([1.3], 0.3) and targets.gm2sym.mean()[0] == 0 and targets.diracs.second_moment() == 1
    assert np.abs(targets.ring8.mean()).max() <= 4 * EPS and np.abs(np.linalg.norm(targets.ring8.means, axis=1) - 2).max() <= 4 * EPS
    assert targets.aniso16.dim == 16 and targets.uni == Uniform([-1.0], [1.0])
    assert np.abs(targets.student5.score([[0.7]]) + 6 * 0.7 / 5.49).max() <= 4 * EPS


RNG = np.random.default_rng(3)
A = RNG.standard_normal((3, 3, 3))
MANY = [
    Gaussian([1.0, 2.0], [1.0, 3.0]), Gaussian([1.0, 2.0], 2.0), Gaussian(np.arange(3.0), A[0] @ A[0].T + np.eye(3)),
    GaussianMixture([0.3, 0.7], RNG.standard_normal((2, 3)), 0.5),
    GaussianMixture([0.3, 0.7], RNG.standard_normal((2, 3)), RNG.uniform(0.5, 1, (2, 3))),
    GaussianMixture([0.2, 0.3, 0.5], RNG.standard_normal((3, 3)), A @ A.swapaxes(1, 2) + np.eye(3)), Empirical(RNG.standard_normal((6, 2))),
    Uniform([0.0, 0.0], [1.0, 2.0]), SmoothedBox([0.0, 0.0], [1.0, 2.0], 0.3),
    Product([targets.gm3, targets.g1]), Product([targets.ring8, targets.g1]),
]  # fmt: skip


@pytest.mark.parametrize("law", [*MANY, *targets.ALL.values()], ids=repr)
def test_first_axis_is_the_principal_one(law):
    axis = first_axis(law)
    values, vectors = np.linalg.eigh(law.cov())
    assert axis.dim == 1 and axis.cov()[0, 0] == pytest.approx(values[-1], rel=1e-12)
    u = vectors[:, -1] * np.sign(vectors[np.argmax(np.abs(vectors[:, -1])), -1])
    if law.dim > 1 and values[-1] - values[-2] > 1e-6 * values[-1]:  # otherwise the axis is not unique
        assert axis.mean()[0] == pytest.approx(u @ law.mean(), abs=1e-9)
        x = law.sample(4000, 0) @ u  # its law is that of the projection: third moments too, at 6 standard errors
        y = axis.sample(4000, 1)[:, 0]
        cubes = x**3, y**3
        limit = 6 * np.sqrt((cubes[0].var() + cubes[1].var()) / 4000)
        assert abs(cubes[0].mean() - cubes[1].mean()) <= limit
        moved = (x + 0.5 * np.sqrt(values[-1])) ** 3  # control: half a standard deviation is seen
        assert abs(moved.mean() - cubes[1].mean()) > 6 * np.sqrt((moved.var() + cubes[1].var()) / 4000)
        k = ornstein_uhlenbeck(0.3)  # noising commutes with projecting
        assert first_axis(law.noised(k)).cov()[0, 0] == pytest.approx(axis.noised(k).cov()[0, 0], rel=1e-12)
    if law.dim == 1:
        assert axis is law


def test_first_axis_refuses():
    with pytest.raises(NoMethod, match="no projection for a Density in dimension 2; pass a Gaussian, a mixture, or a law on the line"):
        first_axis(Density(targets.ring8.logpdf, dim=2))
