"""Scores: exact ones are gradients, perturbed ones have the stated error, conversions undo each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scoresde as sd
from scoresde import kernel, score

MIX = sd.GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.0, 0.0]], [0.3, 0.5])
X = np.random.default_rng(0).normal(size=(50, 2)) * 2
EPS = np.finfo(float).eps


@given(st.floats(0.01, 5.0))
def test_the_exact_score_is_that_of_the_noised_law(t):
    s = score.exact(MIX)
    assert np.array_equal(s(t, X), MIX.noised(kernel.ornstein_uhlenbeck(t)).score(X)) and s.dim == 2 and s.error_bound == 0.0


def test_one_time_per_row_is_the_loop_over_rows():
    t = np.tile([0.1, 0.7, 2.0, 0.1, 0.3], 10)
    rows = np.concatenate([score.exact(MIX)(float(u), x[None]) for u, x in zip(t, X, strict=True)])
    assert np.abs(score.exact(MIX)(t, X) - rows).max() <= 64 * EPS * np.abs(rows).max()
    with pytest.raises(ValueError, match="one time per row"):
        score.exact(MIX)(t[:3], X)


@given(st.floats(0.001, 2.0), st.floats(0.05, 3.0))
def test_the_perturbation_has_sup_norm_exactly_M(M, t):
    base = score.exact(MIX)
    shifted = score.perturbed(base, M, [3.0, 4.0])
    size = np.linalg.norm(shifted(t, X) - base(t, X), axis=1)
    assert size == pytest.approx(M, rel=64 * EPS * (1 + np.abs(base(t, X)).max() / M)) and shifted.error_bound == M
    wave = score.perturbed(base, M, score.sine([2.0, 1.0], along=[0.0, 2.0]))
    size = np.abs(wave(t, X) - base(t, X))
    assert size.max() <= M * (1 + 1e-12) + 8 * EPS * np.abs(base(t, X)).max() and size[:, 0].max() == 0.0
    crest = np.array([[np.pi / 4, 0.0]])  # omega . x = pi / 2
    assert np.linalg.norm(wave(t, crest) - base(t, crest)) == pytest.approx(M, rel=1e-12 * (1 + np.abs(base(t, crest)).max() / M))


@given(st.floats(0.05, 4.0))
def test_conversions_undo_each_other(t):
    s = score.exact(MIX)
    want = s(t, X)
    for there, back in ((score.to_x0, score.from_x0), (score.to_epsilon, score.from_epsilon), (score.to_v, score.from_v)):
        again = back(there(s))
        # x0 = (x + v s)/m and back: the error of x/v, not of s, is what rounds
        scale = np.abs(want).max() + np.abs(X).max() / -np.expm1(-2 * t)
        assert np.abs(again(t, X) - want).max() <= 64 * EPS * scale * np.exp(t) and again.dim == 2


@given(st.floats(0.05, 4.0))
def test_to_x0_is_the_posterior_mean(t):
    k = kernel.ornstein_uhlenbeck(t)
    assert score.to_x0(score.exact(MIX))(t, X) == pytest.approx(MIX.denoise(X, k), rel=1e-10, abs=1e-10)  # both cancel by up to e^t/v ~ 1e3


def test_v_prediction_combines_the_two_others():
    s, t = score.exact(MIX), 0.4
    k = kernel.ornstein_uhlenbeck(t)
    v = k.m * score.to_epsilon(s)(t, X) - k.v**0.5 * score.to_x0(s)(t, X)
    assert score.to_v(s)(t, X) == pytest.approx(v, rel=1e-12, abs=1e-13)


def test_another_clock():
    s = score.exact(MIX, forward=kernel.variance_exploding)
    assert np.array_equal(s(0.7, X), MIX.noised(kernel.Kernel(1.0, 0.7 * 0.7)).score(X))


def test_l2_error_of_a_constant_shift_is_its_length():
    line = sd.targets.gm3
    e = score.l2_error(score.perturbed(score.exact(line), 0.25), line, [0.1, 1.0, 3.0])
    assert 0.25 in e and e.width < 1e-9 and e.level == "deterministic"


def test_l2_error_by_draws_covers_the_quadrature_and_a_wrong_value_is_outside():
    line = sd.targets.gm3
    wave = score.perturbed(score.exact(line), 0.25, score.sine(3.0))
    exact = score.l2_error(wave, line, [0.5, 2.0])
    drawn = score.l2_error(wave, line, [0.5, 2.0], n=20_000, seed=0)
    assert drawn.lo <= exact.value <= drawn.hi and drawn.level == "asymptotic" and drawn.alpha == pytest.approx(1e-6)
    assert not drawn.lo <= 0.25 <= drawn.hi


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: score.exact(np.zeros((3, 2))), TypeError, "law: got ndarray"),
        (lambda: score.exact(MIX, forward=kernel.ornstein_uhlenbeck(1.0)), TypeError, "forward: got Kernel"),
        (lambda: score.perturbed(lambda t, x: -x, 0.1), ValueError, "without .dim"),
        (lambda: score.perturbed(score.exact(MIX), 0.1, [1.0]), ValueError, "direction: got"),
        (lambda: score.perturbed(score.exact(MIX), 0.1, [0.0, 0.0]), ValueError, "nonzero"),
        (lambda: score.perturbed(score.exact(MIX), np.inf), ValueError, "M: got inf"),
        (lambda: score.l2_error(score.exact(MIX), MIX, [0.1]), sd.NoMethod, "pass n= draws"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
