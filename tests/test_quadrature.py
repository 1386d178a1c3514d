"""The two numerical tools under the divergences: adaptive Gauss–Kronrod panels, and sign changes with roots."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoresde import NoMethod, NotTrusted
from scoresde.divergence.panels import EPS, GAUSS, KRONROD, NODES, grade, integrate
from scoresde.divergence.quadrature import entropy_gap, over_line, phi
from scoresde.divergence.signs import ridders, sign_changes
from scoresde.divergence.view import Pair, view
from scoresde.laws import Gaussian, GaussianMixture

# rounding of a sum of 15 products of numbers of size 1
ROUNDING = 16 * EPS


@pytest.mark.parametrize("degree", range(24))
def test_the_rules_are_exact_for_polynomials(degree):
    exact = (1 - (-1) ** (degree + 1)) / (degree + 1)
    assert abs(KRONROD @ NODES**degree - exact) <= ROUNDING
    if degree < 14:
        assert abs(GAUSS @ NODES**degree - exact) <= ROUNDING


def test_the_rules_are_not_exact_beyond_their_degree():
    assert abs(KRONROD @ NODES**24 - 2 / 25) > 1e-10
    assert abs(GAUSS @ NODES**14 - 2 / 15) > 1e-6


@given(st.floats(-0.999, 0.999), st.floats(0.1, 5))
def test_a_kink_anywhere_in_the_panel_is_found(kink, slope):
    """Also within the last 0.4 % of a panel, where no node lies."""
    done = integrate(lambda x, _: slope * np.abs(x - kink)[None], np.array([-1.0]), np.array([1.0]))
    value, error = done.total()
    exact = slope * 0.5 * ((1 + kink) ** 2 + (1 - kink) ** 2)
    # what the inset of the end checks may hide: slope * (1e-9)^2, and sums of up to 60 panels
    assert abs(value - exact) <= error + 64 * EPS * exact


def test_many_integrals_at_once_are_judged_each_by_its_own_size():
    scale = np.array([1.0, 1e-12])
    lo, hi = np.array([0.0, 0.0]), np.array([30.0, 30.0])
    done = integrate(lambda x, who: (scale[who][:, None] * np.exp(-x) * np.cos(5 * x))[None], lo, hi, np.array([0, 1]))
    exact = 1 / 26  # up to exp(-30)
    assert np.all(np.abs(done.value[0] / scale - exact) <= done.error[0] / scale + 1e-13 + 8 * EPS)


def test_tails_of_power_laws_are_followed_and_divergence_is_seen():
    edges = np.linspace(-2, 2, 9)
    value, error, _ = over_line(lambda x, _: np.stack([1 / (math.pi * (1 + x * x)), 0 * x]), edges)
    assert abs(value - 1) <= error + 4 * EPS and error < 1e-13
    assert over_line(lambda x, _: np.stack([1 / (1 + np.abs(x)), 0 * x]), edges)[0] == math.inf


def test_grading_leaves_no_panel_much_wider_than_its_neighbour_in_a_gap():
    edges = grade(np.concatenate([np.linspace(-1, 1, 5), 1e8 + np.linspace(-1, 1, 5)]))
    width = np.diff(edges)
    assert np.max(width[1:] / width[:-1]) <= 4.1 and np.max(width[:-1] / width[1:]) <= 4.1
    assert len(edges) < 120


@given(st.floats(-700, 700))
def test_phi_has_no_cancellation(d):
    import mpmath as mp

    with mp.workdps(400):
        exact = mp.mpf(d) + mp.exp(-mp.mpf(d)) - 1
        got = mp.mpf(float(phi(np.array(d))))
        assert abs(got - exact) <= 8 * EPS * exact + mp.mpf(2) ** -1070


@given(st.floats(-1, 1))
def test_entropy_gap_has_no_cancellation(u):
    import mpmath as mp

    with mp.workdps(400):
        x = mp.mpf(u)
        exact = sum((1 + s * x) * mp.log1p(s * x) for s in (1, -1) if s * x > -1) / 2
        # u near 1: log(1 - u) of an exact difference
        assert abs(mp.mpf(float(entropy_gap(np.array(u)))) - exact) <= 8 * EPS * exact + mp.mpf(2) ** -1070


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=9, unique=True), st.booleans())
def test_roots_that_samples_straddle_are_found_or_their_weight_is_stated(places, squared):
    """Roots as close as 0.01 under samples 0.25 apart; a double root changes no sign. The misjudged region has weight int min(1, |g|) dx."""
    roots = np.sort(np.array(places) / 100)
    double = roots[:1] if squared else roots[:0]

    def f(x):
        y = np.prod([x - r for r in [*roots, *double]], axis=0) / 3.0 ** len(roots)
        return y, np.ones_like(x), np.full_like(x, 1e-3 * EPS)

    found, slack = sign_changes(f, np.linspace(-4, 4.1, 33))
    grid = np.linspace(-4, 4.1, 100_001)
    y = f(grid)[0]
    sides = np.searchsorted(found, grid) % 2
    wrong = np.minimum(np.sum(np.minimum(np.abs(y), 1)[np.sign(y) == 2 * sides - 1]), np.sum(np.minimum(np.abs(y), 1)[np.sign(y) == 1 - 2 * sides]))
    # one grid point may fall between a root and its computed place
    assert wrong * (grid[1] - grid[0]) <= slack + len(roots) * 1e-9


def test_a_jump_through_zero_is_bracketed_to_ulps():
    f = lambda x: (np.where(x < 0.3, -1.0, 2.0), np.ones_like(x), np.full_like(x, EPS))  # noqa: E731
    found, slack = sign_changes(f, np.linspace(-1, 1, 9))
    assert abs(found[0] - 0.3) <= 8 * EPS and slack <= 1e-14


@given(st.floats(-5, 5), st.floats(0.01, 10))
def test_ridders_solves_what_it_brackets(root, slope):
    f = lambda x: np.tanh(slope * (x - root)) + 0.1 * (x - root)  # noqa: E731
    a, b = np.array([root - 1.3]), np.array([root + 7.1])
    # the bracket's 1e-10, then one more step of a second-order method; a and b round the root itself
    assert abs(ridders(f, a, b, f(a), f(b))[0] - root) <= 1e-9


class Bare:
    """A user's law: a log-density and nothing else."""

    dim = 1

    def __init__(self, law, shift=0.0):
        self.law, self.shift = law, shift

    def logpdf(self, x):
        return self.law.logpdf(x) + self.shift


def test_panels_are_found_for_a_law_without_breakpoints():
    law = GaussianMixture([0.2, 0.8], [[-3.0], [2.0]], [0.01, 2.0])
    edges = view(Bare(law)).edges
    assert law.cdf(edges[:1, None])[0] + law.sf(edges[-1:, None])[0] <= 1e-12


def test_a_spike_is_climbed_and_missing_mass_is_refused():
    assert view(Bare(Gaussian([3.3], 1e-16))).edges[0] < 3.3 < view(Bare(Gaussian([3.3], 1e-16))).edges[-1]
    with pytest.raises(NotTrusted, match="breakpoints"):
        view(Bare(Gaussian([0.0], 1.0), shift=0.1))


def test_what_needs_a_cdf_says_so():
    pair = Pair(view(Bare(Gaussian([0.0], 1.0))), view(Gaussian([1.0], 1.0)))
    with pytest.raises(NoMethod, match="cdf"):
        pair.needs_cdf("wasserstein1")
