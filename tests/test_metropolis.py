"""Chains with a Metropolis test: the rule itself, particles against the law on the line, invariance, and what the engine measures of its errors."""

import math
from itertools import pairwise

import numpy as np
import pytest

import scoresde as sd
from scoresde import Table, grid, scheme, targets
from scoresde.engine import loop, metropolis
from scoresde.engine.normals import key, normals, uniforms

PI = targets.gm3
SCORE = sd.score.exact(PI)
START = sd.Gaussian([0.5], 0.8)


def naive(x, y, h, law, s):
    """log of pi(y) N(x; y + h s, 2h) / (pi(x) N(y; x + h s, 2h)) as it is written."""
    log_q = lambda a, b: -np.sum((b - a - h * s(a)) ** 2, axis=-1) / (4 * h)  # noqa: E731
    return law.logpdf(y) + log_q(y, x) - law.logpdf(x) - log_q(x, y)


@pytest.mark.parametrize("d", [1, 3])
def test_the_ratio_without_cancellation_is_the_textbook_ratio(d):
    rng = np.random.default_rng(d)
    law = sd.GaussianMixture([0.4, 0.6], rng.standard_normal((2, d)), [0.5, 1.2])
    x, y = rng.standard_normal((2, 50, d))
    for h in (0.01, 1.0):
        ratio = loop.log_acceptance(x, y, law.logpdf(x), law.logpdf(y), law.score(x), law.score(y), h)
        assert np.allclose(ratio, naive(x, y, h, law, law.score), rtol=1e-9, atol=1e-12 / h)
        assert np.array_equal(ratio, -loop.log_acceptance(y, x, law.logpdf(y), law.logpdf(x), law.score(y), law.score(x), h))


def test_simulate_takes_the_proposal_or_stays():
    """Three steps by hand, from the normals and uniforms of each particle, with a score that is not the target's."""
    law, s = sd.Gaussian([0.2, -0.4], [0.5, 2.0]), lambda t, x: -0.3 * np.sin(x)
    s.dim = 2
    h, x = 0.7, np.random.default_rng(0).standard_normal((40, 2))
    want, noise, moved = x.copy(), key(5, "simulate noise"), 0
    for r in range(3):
        y = want + h * s(0, want) + math.sqrt(2 * h) * normals(noise, 40, 2, row=r)
        taken = np.log(uniforms(noise, 40, row=r)) < naive(want, y, h, law, lambda x: s(0, x))
        moved += taken.sum()
        want[taken] = y[taken]
    out = sd.simulate(scheme.mala(law, step=h, steps=3), s, n=40, seed=5, start=x)
    assert np.allclose(out, want, rtol=1e-13, atol=1e-14) and 30 < moved < 110
    assert np.array_equal(out[:7], sd.simulate(scheme.mala(law, step=h, steps=3), s, n=7, seed=5, start=x[:7]))
    assert np.array_equal(out, sd.simulate(scheme.mala(law, step=h, steps=3), s, n=40, seed=5, start=x, batch=11))
    torch = pytest.importorskip("torch")
    tensor = lambda t, x: -0.3 * torch.sin(x)  # noqa: E731
    tensor.dim = 2
    other = sd.simulate(scheme.mala(law, step=h, steps=3), tensor, n=40, seed=5, start=x, device="cpu")
    assert np.allclose(other.numpy(), want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("h", [0.05, 0.6])
def test_the_target_is_invariant_to_rounding(h):
    law = sd.propagate(scheme.mala(PI, step=h, steps=3), SCORE, start=PI)
    assert sd.total_variation(law, PI).hi < 1e-13 and law.error < 1e-13  # 3 steps of sums of positive terms


def test_any_score_leaves_the_target_invariant_and_no_test_does_not():
    off = sd.score.perturbed(SCORE, 1.0)
    law = sd.propagate(scheme.mala(PI, step=0.3, steps=1), off, start=PI)
    assert sd.total_variation(law, PI).hi < 1e-13
    assert sd.total_variation(sd.propagate(scheme.langevin(step=0.3, steps=1), off, start=PI), PI).lo > 0.05


def test_particles_follow_the_law_and_not_that_without_the_test():
    table, alone = scheme.mala(PI, step=0.6, steps=4), scheme.langevin(step=0.6, steps=4)
    law = sd.propagate(table, SCORE, start=START, tolerance=1e-6)
    assert 0 < law.error < 1e-6
    x = sd.simulate(table, SCORE, n=60_000, seed=2, start=START)
    assert sd.kolmogorov(x, law).lo == 0.0
    assert sd.kolmogorov(x, sd.propagate(alone, SCORE, start=START)).lo > 0.0 < sd.kolmogorov(x, PI).lo


def test_the_law_by_brute_force():
    """q' on a fine uniform grid, kinks and all: what a trapezoidal sum gets wrong is of second order in the spacing."""
    h, x = 0.4, np.linspace(-9, 9, 3601)
    dx, q, log_p, s = x[1] - x[0], START.pdf(x[:, None]), PI.logpdf(x[:, None]), PI.score(x[:, None])[:, 0]
    for _ in range(2):
        log_q = -((x[None] - (x + h * s)[:, None]) ** 2) / (4 * h) - 0.5 * math.log(4 * math.pi * h)
        flow = np.exp(log_q + np.minimum(0, log_p[None] - log_p[:, None] + log_q.T - log_q)) * dx
        q = q @ flow + q * (1 - flow.sum(axis=1))
    law = sd.propagate(scheme.mala(PI, step=h, steps=2), SCORE, start=START, tolerance=1e-6)
    assert np.abs(law.pdf(x[:, None]) - q).max() < 2 * dx**2 / h  # curvature of the kernel is 1/h


def test_marginals_are_the_laws_on_the_way():
    table = scheme.mala(PI, step=0.5, steps=3)
    laws = sd.marginals(table, SCORE, start=START, tolerance=1e-6)
    assert len(laws) == 4 and laws[0] is START
    assert np.array_equal(laws[2].panels.logs, sd.propagate(scheme.mala(PI, step=0.5, steps=2), SCORE, start=START, tolerance=1e-6).panels.logs)
    again = sd.propagate(scheme.mala(PI, step=0.5, steps=1), SCORE, start=laws[2], tolerance=1e-6)  # a computed law is a start, too
    assert sd.total_variation(again, laws[3]).value < again.error + laws[3].error
    distances = [sd.kullback_leibler(law, PI) for law in laws]
    assert all(b.hi < a.lo for a, b in pairwise(distances))  # a reversible chain forgets its start


def test_a_computed_law_is_a_law():
    law = sd.propagate(scheme.mala(PI, step=0.5, steps=2), SCORE, start=START, tolerance=1e-6)
    u = np.array([1e-6, 0.2, 0.5, 0.9])
    x = law.quantile(u)
    assert np.allclose(law.cdf(x), u, rtol=1e-9) and np.allclose(law.sf(x), 1 - u, rtol=1e-9)
    away = x + 0.0123
    slope = (law.logpdf(away + 1e-5) - law.logpdf(away - 1e-5)) / 2e-5
    assert np.allclose(law.score(away)[:, 0], slope, atol=1e-5)
    noised = law.noised(sd.ornstein_uhlenbeck(0.3))
    assert noised.second_moment() == pytest.approx(math.exp(-0.6) * law.second_moment() - math.expm1(-0.6), rel=1e-12)
    assert np.isfinite(law.logpdf(np.array([[-60.0], [60.0]]))).all() and law.sample(5, 0).shape == (5, 1)


def test_the_measured_error_covers_the_true_one():
    """A coarse run reports more than what it differs from a finer one by."""
    table = scheme.mala(PI, step=1.0, steps=2)
    rough = sd.propagate(table, SCORE, start=START, tolerance=1e-3)
    fine = sd.propagate(table, SCORE, start=START, tolerance=1e-6)
    assert sd.total_variation(rough, fine).value <= rough.error + fine.error and fine.error < 1e-6 and fine.error < rough.error < 1e-3


def test_variable_steps_and_joining():
    table = scheme.mala(PI, step=0.2, steps=1) @ scheme.mala(PI, step=0.8, steps=1)
    assert table.target is PI and table.evaluations == 3 and sd.from_json(sd.to_json(table)) == table
    first = sd.propagate(scheme.mala(PI, step=0.8, steps=1), SCORE, start=START, tolerance=1e-5)
    then = sd.propagate(scheme.mala(PI, step=0.2, steps=1), SCORE, start=first, tolerance=1e-5)
    both = sd.propagate(table, SCORE, start=START, tolerance=1e-5)
    assert sd.total_variation(both, then).value <= both.error + then.error < 2e-5


def test_where_the_density_vanishes_nothing_goes():
    box = sd.Uniform([-1.0], [1.0])
    still = lambda t, x: np.zeros_like(x)  # noqa: E731
    still.dim = 1
    x = sd.simulate(scheme.mala(box, step=0.2, steps=60), still, n=20_000, seed=0, start=sd.standard_normal(1))
    inside = np.abs(x) <= 1
    assert inside.mean() > 0.7 and sd.kolmogorov(x[inside.ravel()], box).lo == 0.0
    with pytest.raises(ValueError, match="a density all over the start's support"):
        sd.propagate(scheme.mala(box, step=0.2, steps=1), still, start=sd.Gaussian([0.0], 1.0))


def test_a_score_that_is_no_number_is_not_passed_over():
    broken = lambda t, x: np.where(x > 1.5, np.nan, -x)  # noqa: E731
    broken.dim = 1
    with pytest.raises(sd.NotTrusted, match="not finite"):
        sd.simulate(scheme.mala(PI, step=0.2, steps=5), broken, n=2000, seed=0)


def test_kernels_as_plain_python_functions():
    rng = np.random.default_rng(0)
    x, y, lx, sx, ly, sy = rng.standard_normal((6, 4))
    enter, left, again, other = np.zeros((4, 4)), np.zeros(4), np.zeros((4, 4)), np.zeros(4)
    cut = np.array([[True, False], [False, False], [False, True], [False, False]])
    metropolis.whole_panels_py(x, lx, sx, y, ly, sy, np.ones(4), 0.5, cut, enter, left)
    metropolis.whole_panels(x, lx, sx, y, ly, sy, np.ones(4), 0.5, cut, again, other)
    assert np.allclose(enter, again, rtol=1e-13) and np.allclose(left, other, rtol=1e-13) and (enter[0, :2] == 0).all()


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: Table([0.0, 0.0], 1.0, 0.2, 1.0, target=PI), "no Langevin proposals"),
        (ValueError, lambda: Table([0.0, 0.0], 0.9, 0.2, math.sqrt(0.4), target=PI), "no Langevin proposals"),
        (TypeError, lambda: Table([0.0, 0.0], 1.0, 0.2, math.sqrt(0.4), target=3), "target: got int"),
        (ValueError, lambda: scheme.langevin(step=0.1, steps=1) @ scheme.mala(PI, step=0.1, steps=1), "one and the same"),
        (ValueError, lambda: scheme.mala(PI, step=0.0, steps=1), "step: got 0.0"),
        (sd.NoMethod, lambda: sd.propagate(scheme.mala(PI, step=0.1, steps=1), SCORE, start=sd.Empirical([[0.0]])), "stays a point mass"),
        (
            sd.NoMethod,
            lambda: sd.propagate(scheme.mala(sd.standard_normal(2), step=0.1, steps=1), sd.score.exact(sd.standard_normal(2))),
            "a Metropolis test in dimension 2",
        ),
        (sd.NoMethod, lambda: sd.simulate(scheme.mala(PI, step=0.1, steps=1), SCORE, n=3, seed=0, engine="fused"), "Metropolis tests"),
        (ValueError, lambda: sd.simulate(scheme.mala(sd.standard_normal(2), step=0.1, steps=1), SCORE, n=3, seed=0), "equal dimensions"),
        (sd.NotTrusted, lambda: sd.propagate(scheme.mala(PI, step=1e-7, steps=1), SCORE), "the step is too small"),
    ],
)
def test_errors(error, call, message):
    with pytest.raises(error, match=message):
        call()


def test_a_chain_on_the_grid_is_not_a_metropolis_chain():
    assert scheme.euler_maruyama(grid.uniform(1.0, 2)).target is None and scheme.mala(PI, step=0.1, steps=2) != scheme.langevin(step=0.1, steps=2)
