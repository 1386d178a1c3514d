"""Hypothesis strategies: laws, kernels, grids, tables, points where a law lives, and scores, all of moderate size and well conditioned.

Numbers are drawn on coarse grids, so that a failing example prints short and shrinks fast; numerical extremes deserve tests of their own.
"""

import numpy as np
from hypothesis import strategies as st

from .. import grid, scheme, score
from ..kernel import Kernel, autoregressive, euler_maruyama, ornstein_uhlenbeck, variance_exploding
from ..laws import Empirical, Gaussian, GaussianMixture, Product, SmoothedBox, Uniform

__all__ = ["grids", "kernels", "laws", "mixtures", "points", "scores", "tables"]


def _numbers(low, high, steps=64):
    """Numbers low, ..., high on a grid of ``steps`` steps."""
    return st.integers(0, steps).map(lambda i: low + (high - low) * i / steps)


def _vectors(size, low, high):
    return st.lists(_numbers(low, high), min_size=size, max_size=size).map(np.array)


def _variances():
    """From 1/16 to 4, evenly in the logarithm."""
    return _numbers(-4.0, 2.0, 24).map(lambda e: 2.0**e)


@st.composite
def _covariances(draw, d):
    """(), (d,) or (d, d), eigenvalues in [1/16, 4]."""
    form = draw(st.integers(0, 2))
    if form == 0:
        return draw(_variances())
    diagonal = np.array(draw(st.lists(_variances(), min_size=d, max_size=d)))
    if form == 1:
        return diagonal
    basis, _ = np.linalg.qr(np.eye(d) + np.reshape(draw(_vectors(d * d, -1.0, 1.0)), (d, d)) * 0.3)
    full = (basis * diagonal) @ basis.T
    return 0.5 * (full + full.T)


@st.composite
def mixtures(draw, max_dim=2, max_components=3):
    """GaussianMixture: d <= max_dim, K <= max_components, means in [-4, 4]^d, eigenvalues of covariances in [1/16, 4]."""
    d, count = draw(st.integers(1, max_dim)), draw(st.integers(1, max_components))
    parts = np.array(draw(st.lists(st.integers(1, 16), min_size=count, max_size=count)), dtype=float)
    means = np.stack([draw(_vectors(d, -4.0, 4.0)) for _ in range(count)])
    form = draw(st.integers(0, 2))
    if form == 0:
        covs = np.array(draw(st.lists(_variances(), min_size=count, max_size=count)))
    else:
        full = [np.asarray(draw(_covariances(d))) for _ in range(count)]
        full = np.stack([np.diag(np.broadcast_to(c, (d,))) if c.ndim < 2 else c for c in full])
        covs = full[:, :, :] if form == 1 or d == count else np.einsum("kii->ki", full)
    return GaussianMixture(parts / parts.sum(), means, covs)


@st.composite
def _gaussians(draw, max_dim):
    d = draw(st.integers(1, max_dim))
    return Gaussian(draw(_vectors(d, -4.0, 4.0)), draw(_covariances(d)))


@st.composite
def _boxes(draw, max_dim):
    d = draw(st.integers(1, max_dim))
    low = draw(_vectors(d, -3.0, 2.0))
    return Uniform(low, low + draw(_vectors(d, 0.25, 3.0)))


@st.composite
def _empiricals(draw, max_dim):
    d, count = draw(st.integers(1, max_dim)), draw(st.integers(1, 4))
    return Empirical(np.stack([draw(_vectors(d, -4.0, 4.0)) for _ in range(count)]))


def laws(max_dim=2, smooth=True):
    """Gaussians, mixtures, smoothed boxes and products of them; with ``smooth=False`` also Uniform and Empirical."""
    boxes = st.builds(lambda box, v: SmoothedBox(box.low, box.high, v), _boxes(max_dim), _variances())
    plain = st.one_of(_gaussians(max_dim), mixtures(max_dim=max_dim), boxes)
    kinds = [plain]
    if max_dim >= 2:
        line = st.one_of(_gaussians(1), mixtures(max_dim=1))
        kinds.append(st.builds(lambda law, count: Product([law] * count), line, st.integers(1, max_dim)))
    if not smooth:
        kinds += [_boxes(max_dim), _empiricals(max_dim)]
    return st.one_of(*kinds)


def kernels(least_noise=1 / 64):
    """Kernels of every clock, m possibly negative or 0, v >= least_noise; ``least_noise=0`` includes kernels without noise (m != 0)."""
    clocks = st.one_of(
        _numbers(0.01, 4.0).map(ornstein_uhlenbeck),
        _numbers(0.125, 3.0).map(variance_exploding),
        st.lists(_numbers(0.05, 1.5), min_size=1, max_size=4).map(euler_maruyama),
        st.lists(_numbers(-1.0, 0.99, 63).filter(lambda a: a != 0), min_size=1, max_size=4).map(autoregressive),
    )
    general = st.builds(Kernel, _numbers(-2.0, 2.0), _numbers(0.0, 3.0))
    allowed = st.one_of(clocks, general).filter(lambda k: k.v >= least_noise and (k.v > 0 or k.m != 0))
    return allowed


@st.composite
def grids(draw, max_steps=8, stop=None):
    """Time grids of 1 to ``max_steps`` steps, T in [0.25, 4]; ``stop`` is the last time, or drawn from 0 and small positive times."""
    T, steps = draw(_numbers(0.25, 4.0)), draw(st.integers(1, max_steps))
    stop = draw(st.sampled_from([0.0, 1 / 64, 1 / 8])) if stop is None else stop
    make = draw(st.sampled_from([grid.uniform, grid.quadratic, grid.cosine, grid.tanh] + ([grid.geometric] if stop > 0 else [])))
    return make(T, steps, stop=stop)


def tables(max_steps=8):
    """Tables of one-evaluation, multistage and multistep schemes on drawn grids that stop before 0."""
    schemes = [
        scheme.euler_maruyama, scheme.exponential_absolute, scheme.exponential_relative, scheme.stochastic_heun, scheme.ancestral,
        scheme.ddim, scheme.flow_euler, scheme.flow_heun, scheme.dpm_solver_2, scheme.dpm_solver_pp_2m,
    ]  # fmt: skip
    return st.builds(lambda make, times: make(times), st.sampled_from(schemes), grids(max_steps=max_steps, stop=1 / 8))


def points(law, max_points=5):
    """Arrays (n, d), 1 <= n <= max_points, where ``law`` lives: within 6 standard deviations of its mean in each coordinate."""
    centre, scale = law.mean(), np.sqrt(np.diag(law.cov()))
    scale = np.where(scale > 0, scale, 1.0)
    row = _vectors(law.dim, -6.0, 6.0).map(lambda z: centre + scale * z)
    return st.lists(row, min_size=1, max_size=max_points).map(np.stack)


def scores(law):
    """The exact score of ``law``, and perturbations of it by a constant and by a smooth field, with M <= 1/4."""
    base = score.exact(law)
    sizes = _numbers(0.0, 0.25, 8)
    waves = _vectors(law.dim, -2.0, 2.0).map(score.sine)
    return st.one_of(
        st.just(base),
        sizes.map(lambda M: score.perturbed(base, M)),
        st.builds(lambda M, wave: score.perturbed(base, M, wave), sizes, waves),
    )
