"""The ledger along the flow, and exact KL divergences of chains: de Bruijn, Tweedie, Girsanov, each against an independent computation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scoresde as sd
from scoresde import information
from scoresde.divergence import flow
from scoresde.divergence.panels import EPS

GM3 = sd.GaussianMixture([0.3, 0.45, 0.25], [[-2.0], [0.4], [2.2]], [0.25, 0.16, 0.36])
GAMMA = sd.standard_normal(1)
COIN = sd.Empirical([[-1.0], [1.0]])
BOX = sd.Uniform([-1.0], [1.0])
TABLE = sd.scheme.euler_maruyama(sd.grid.uniform(1.0, 4))
SCALARS = (information.relative_fisher, information.fisher, information.entropy, information.mmse)
SCHEMES = (
    sd.scheme.euler_maruyama, sd.scheme.exponential_relative, sd.scheme.exponential_absolute, lambda grid: sd.scheme.ancestral(grid, "beta"),
)  # fmt: skip


def after(law, t):
    return law.noised(sd.ornstein_uhlenbeck(t)) if t else law


def gauss_hermite(f, d):
    x, w = np.polynomial.hermite_e.hermegauss(80)
    grid = np.stack(np.meshgrid(*[x] * d), -1).reshape(-1, d)
    weight = np.prod(np.stack(np.meshgrid(*[w] * d), -1).reshape(-1, d), axis=1) / (2 * math.pi) ** (d / 2)
    return float(weight @ f(grid))


# ---- scalars ------------------------------------------------------------------------------------------------------------------------


def test_relative_fisher_information_of_the_mixture():
    e = information.relative_fisher(GM3)
    assert abs(e.value - 4.1794319824482890) <= 8 * EPS * 4.2 and e.width <= 1e-12  # ball arithmetic


@given(st.floats(0, 6))
def test_gaussians_in_any_dimension_by_gauss_hermite(t):
    law = sd.Gaussian([1.0, -0.5], [[2.0, 0.6], [0.6, 0.5]])
    now = after(law, t)
    root = np.linalg.cholesky(now.cov())
    points = lambda z: now.mean() + z @ root.T  # noqa: E731
    expected = (
        gauss_hermite(lambda z: np.sum((now.score(points(z)) + points(z)) ** 2, -1), 2),
        gauss_hermite(lambda z: np.sum(now.score(points(z)) ** 2, -1), 2),
        gauss_hermite(lambda z: -now.logpdf(points(z)), 2),
        np.trace(law.denoise_cov(np.zeros(2), sd.ornstein_uhlenbeck(t))),
    )
    for f, value in zip(SCALARS, expected, strict=True):
        # 6400 weights that sum to 1
        assert abs(f(law, t).value - value) <= 1e-12 * (1 + abs(value)), f.__name__


@pytest.mark.parametrize("law", [GM3, COIN, BOX], ids=["mixture", "atoms", "box"])
@pytest.mark.parametrize("t", [0.05, 0.7, 3.0])
def test_identities_of_tweedie_bind_the_scalars(law, t):
    """F = d/v - (m/v)^2 mmse and I = d m^4/v + m^2 M2 - (m/v)^2 mmse."""
    m, v = math.exp(-t), -math.expm1(-2 * t)
    fisher, relative, phi = (f(law, t) for f in (information.fisher, information.relative_fisher, information.mmse))
    right = 1 / v - (m / v) ** 2 * phi
    assert right.lo <= fisher.hi and fisher.lo <= right.hi
    right = (m**4 / v + m**2 * law.second_moment()) - (m / v) ** 2 * phi
    slack = 8 * EPS * (m**4 / v + m**2)
    assert right.lo - slack <= relative.hi and relative.lo <= right.hi + slack
    wrong = 1 / v - (m / v) ** 2 * phi * 1.0001
    assert wrong.hi < fisher.lo or fisher.hi < wrong.lo


@pytest.mark.parametrize("law", [GM3, COIN, sd.Gaussian([2.0], 0.3)], ids=["mixture", "atoms", "gaussian"])
def test_de_bruijn(law):
    """d/dt KL(p_t|gamma) = -I_t: fourth-order central differences; the rest is h^4 times a fifth derivative, and 1e-15/h of rounding."""
    t, h = 0.8, 1e-3
    kl = {k: sd.kullback_leibler(after(law, t + k * h), GAMMA).value for k in (-2, -1, 1, 2)}
    slope = (kl[-2] - 8 * kl[-1] + 8 * kl[1] - kl[2]) / (12 * h)
    relative = information.relative_fisher(law, t).value
    assert abs(slope + relative) <= 1e-10 + 40 * h**4
    assert abs(slope + 1.0001 * relative) > 1e-10 + 40 * h**4


def test_mutual_information_grows_at_half_the_error_of_denoising():
    """d I(X_0; X_t) / d snr = mmse / 2 with snr = 1/(e^{2t} - 1)."""
    t, h = 0.5, 1e-3
    snr = lambda t: 1 / math.expm1(2 * t)  # noqa: E731
    for law in (GM3, COIN):
        mi = {k: information.mutual_information(law, t + k * h).value for k in (-2, -1, 1, 2)}
        rise = (mi[-2] - 8 * mi[-1] + 8 * mi[1] - mi[2]) / (snr(t - 2 * h) - 8 * snr(t - h) + 8 * snr(t + h) - snr(t + 2 * h))
        assert abs(rise - 0.5 * information.mmse(law, t).value) <= 1e-8


def test_contraction_of_kl_and_fisher_information():
    times = np.linspace(0.0, 4.0, 30)
    book = information.ledger(GM3, times)
    kl = np.array([sd.kullback_leibler(after(GM3, float(t)), GAMMA).value for t in times])
    assert np.all(kl <= 0.5 * book.relative_fisher) and np.all(kl <= np.exp(-2 * times) * kl[0] * (1 + 1e-12))
    assert np.all(np.diff(np.exp(2 * times) * book.relative_fisher) < 0)


def test_what_is_infinite_is_infinite():
    assert information.relative_fisher(BOX).lo == information.fisher(BOX).lo == math.inf
    assert abs(information.entropy(BOX).value - math.log(2)) <= 1e-14
    assert information.relative_fisher(COIN).lo == math.inf and information.entropy(COIN).hi == -math.inf
    assert information.mmse(COIN).hi == information.mmse(GM3).hi == 0
    assert abs(information.mutual_information(COIN).value - math.log(2)) <= 1e-14
    assert information.mutual_information(GM3).lo == math.inf
    assert abs(information.mutual_information(sd.Product([COIN] * 3)).value - 3 * math.log(2)) <= 1e-14
    book = information.ledger(COIN, [0.0, 0.5])
    assert book.entropy[0] == -math.inf and book.mmse[0] == 0 and np.isfinite(book.entropy[1])
    assert information.ledger(BOX, [0.0]).fisher[0] == math.inf


def test_sweep_and_single_times_agree():
    times = np.array([0.0, 1e-3, 0.4, 2.5])
    swept, error = flow.on_the_line(GM3, times)
    single, other = flow.one_by_one(GM3, times)
    assert np.all(np.abs(swept - single) <= error + other + 4 * EPS)
    book = information.ledger(GM3, times)
    assert np.array_equal(book.relative_fisher, swept[0])
    assert np.allclose(book.second_moment, [after(GM3, t).second_moment() for t in times], rtol=16 * EPS)
    with pytest.raises(ValueError, match="read-only"):
        book.mmse[0] = 1


def test_products_add():
    law = sd.Product([GM3, GM3, sd.Gaussian([0.5], 2.0)])
    for f in SCALARS:
        total = 2 * f(GM3, 0.3) + f(sd.Gaussian([0.5], 2.0), 0.3)
        e = f(law, 0.3)
        assert e.lo <= total.hi and total.lo <= e.hi


def test_refusals():
    with pytest.raises(sd.NoMethod, match="Product"):
        information.entropy(sd.GaussianMixture([0.5, 0.5], np.zeros((2, 2)), [1.0, 2.0]))
    with pytest.raises(ValueError, match="t:"):
        information.fisher(GM3, -0.1)
    with pytest.raises(ValueError, match="ledger"):
        information.fisher(GM3, [0.1, 0.2])
    with pytest.raises(ValueError, match="times"):
        information.ledger(GM3, 0.3)
    with pytest.raises(TypeError, match="Table"):
        information.joint_kullback_leibler(GM3, sd.grid.uniform(1.0, 4))


# ---- chains -------------------------------------------------------------------------------------------------------------------------

# GM3, T = 6, h = .1: KL of the marginal, the skeleton, the path
MEASURED = [(0.06563, 0.23219, 0.23358), (0.06452, 0.12400, 0.12437), (0.0699, 0.6297, 0.6344), (0.05766, 0.12279, 0.12279)]


@pytest.mark.parametrize("scheme,measured", list(zip(SCHEMES, MEASURED, strict=True)))
def test_the_chain_of_divergences_as_measured(scheme, measured):
    table = scheme(sd.grid.uniform(6.0, 60))
    marginal = sd.kullback_leibler(GM3, sd.propagate(table, sd.score.exact(GM3)))
    joint, path = information.joint_kullback_leibler(GM3, table), information.path_kullback_leibler(GM3, table)
    for e, printed in zip((marginal, joint, path), measured, strict=True):
        assert abs(e.value - printed) <= 5.1e-5 if printed in (0.0699, 0.6297, 0.6344) else abs(e.value - printed) <= 5.1e-6
    assert marginal.hi < joint.lo and joint.lo <= path.hi
    assert joint.width < 1e-12 and path.width < 1e-12


def gaussian_chain(table, law):
    """KL of the joint law of the reverse diffusion's skeleton given the chain, as one Gaussian of dimension N + 1."""
    times = table.times
    n = len(times)
    mean, cov = float(law.mean()[0]), float(law.cov()[0, 0])
    now = [after(law, float(t)) for t in times]
    gap = np.abs(times[:, None] - times)
    var = np.array([float(g.cov()[0, 0]) for g in now])
    early = np.where(times[:, None] < times, var[:, None], var)
    exact = sd.Gaussian(np.exp(-times) * mean, np.exp(-gap) * early)
    means, covs = np.zeros(n), np.zeros((n, n))
    covs[0, 0] = 1.0
    for k in range(n - 1):
        a, b, c = table.a[k, 0], table.b[k, 0], table.c[k, 0]
        slope = a - b / var[k]
        means[k + 1] = slope * means[k] + b * float(now[k].mean()[0]) / var[k]
        covs[k + 1, : k + 1] = covs[: k + 1, k + 1] = slope * covs[k, : k + 1]
        covs[k + 1, k + 1] = slope**2 * covs[k, k] + c**2
    return sd.kullback_leibler(exact, sd.Gaussian(means, covs)), cov


@pytest.mark.parametrize("scheme", SCHEMES)
def test_joint_kl_of_a_gaussian_target_as_one_big_gaussian(scheme):
    law = sd.Gaussian([1.3], 0.3)
    table = scheme(sd.grid.quadratic(2.0, 7, stop=0.1))
    truth, _ = gaussian_chain(table, law)
    e = information.joint_kullback_leibler(law, table)
    # a Cholesky of dimension 8 whose condition number is below 1e4
    assert abs(e.value - truth.value) <= 1e-11
    assert abs(1.0001 * e.value - truth.value) > 1e-7


def test_joint_kl_holds_for_any_one_evaluation_row():
    law = sd.Gaussian([1.3], 0.3)
    rng = np.random.default_rng(0)
    grid = np.array([1.5, 1.1, 0.6, 0.2])
    table = sd.Table(grid, a=rng.uniform(0.8, 1.5, 3), b=rng.uniform(0.1, 0.9, 3), c=rng.uniform(0.3, 0.9, 3))
    assert abs(information.joint_kullback_leibler(law, table).value - gaussian_chain(table, law)[0].value) <= 1e-11
    with pytest.raises(sd.NoMethod, match="row 0"):
        information.path_kullback_leibler(law, table)
    posterior = sd.scheme.ancestral(grid, "posterior")
    assert abs(information.joint_kullback_leibler(law, posterior).value - gaussian_chain(posterior, law)[0].value) <= 1e-11


def girsanov(scheme, law, table, count=24):
    """KL(p_T|gamma) + 1/4 sum int E|b - b_hat|^2, the expectation over (X_{k+delta}, X_k) of a Gaussian target in closed form."""
    x, w = np.polynomial.legendre.leggauss(count)
    total = sd.kullback_leibler(after(law, float(table.times[0])), GAMMA).value
    for t0, t1 in zip(table.times[:-1], table.times[1:], strict=True):
        for delta, weight in zip(0.5 * (t0 - t1) * (1 + x), 0.5 * (t0 - t1) * w, strict=True):
            late, now = after(law, float(t0)), after(law, float(t0 - delta))
            v0, v1 = float(late.cov()[0, 0]), float(now.cov()[0, 0])
            m0, m1 = float(late.mean()[0]), float(now.mean()[0])
            cross = math.exp(-delta) * v1
            # b = y + 2 s(y), b_hat as the scheme freezes it: both affine in (Y, Y_k)
            by, b0 = 1 - 2 / v1, 2 * m1 / v1
            u0, uk = m0 / v0, 1 - 1 / v0
            hat_y, hat_k, hat_0 = {
                0: (0.0, 1 - 2 / v0, 2 * m0 / v0), 1: (-1.0, 2 * uk, 2 * u0), 2: (1.0, -2 / v0, 2 * m0 / v0),
                3: (-1.0, 2 * math.exp(delta) * uk, 2 * math.exp(delta) * u0),
            }[scheme]  # fmt: skip
            f, g = by - hat_y, -hat_k
            mean = f * m1 + g * m0 + b0 - hat_0
            total += 0.25 * weight * (mean**2 + f * f * v1 + g * g * v0 + 2 * f * g * cross)
    return total


@pytest.mark.parametrize("scheme", range(4))
def test_path_kl_against_girsanov_integrated_in_time(scheme):
    law = sd.Gaussian([1.3], 0.3)
    table = SCHEMES[scheme](sd.grid.uniform(2.0, 9, stop=0.05))
    e = information.path_kullback_leibler(law, table)
    assert abs(e.value - girsanov(scheme, law, table)) <= 1e-12
    assert abs(e.value - girsanov((scheme + 1) % 4, law, table)) > 1e-4


def test_ancestral_path_and_joint_are_one_and_the_riemann_sum():
    """KL(pi|gamma) - sum (e^{2h} - 1)/2 I_k: the values of the catalogue at h = .2, .1, .05."""
    for h, printed in ((0.2, 0.202351), (0.1, 0.122791), (0.05, 0.067653)):
        table = sd.scheme.ancestral(sd.grid.uniform(6.0, h=h), "beta")
        step = -np.diff(table.times)
        book = information.ledger(GM3, table.times[:-1])
        sum_ = sd.kullback_leibler(GM3, GAMMA).value - float(0.5 * np.expm1(2 * step) @ book.relative_fisher)
        joint, path = information.joint_kullback_leibler(GM3, table), information.path_kullback_leibler(GM3, table)
        assert abs(joint.value - path.value) <= 1e-13 and abs(path.value - sum_) <= 1e-13
        assert abs(path.value - printed) <= 6e-7


@given(st.lists(st.floats(0.02, 0.5), min_size=2, max_size=6), st.sampled_from(range(4)))
def test_refinement_helps_the_denoiser_and_joint_is_below_path(steps, which):
    times = np.cumsum([*steps, 0.05])[::-1]
    table = SCHEMES[which](times)
    joint, path = information.joint_kullback_leibler(GM3, table), information.path_kullback_leibler(GM3, table)
    assert joint.lo <= path.hi
    if which == 3:
        finer = sd.scheme.ancestral(np.sort(np.concatenate([times, 0.5 * (times[1:] + times[:-1])]))[::-1], "beta")
        assert information.path_kullback_leibler(GM3, finer).hi < path.lo
    if which in (1, 3):  # explicit bound with constant 1
        h = -np.diff(times)
        bound = sd.kullback_leibler(after(GM3, float(times[0])), GAMMA) + float(np.max(h)) * (
            information.relative_fisher(GM3, float(times[-1])) - information.relative_fisher(GM3, float(times[0]))
        )
        assert path.lo <= bound.hi


def test_products_and_targets_without_fisher_information():
    grid = sd.grid.uniform(3.0, 12)
    table = sd.scheme.ancestral(grid, "beta")
    one, ten = (information.path_kullback_leibler(law, table) for law in (GM3, sd.Product([GM3] * 10)))
    assert abs(ten.value - 10 * one.value) <= 1e-12
    box = information.path_kullback_leibler(BOX, table)  # I_0 is infinite, but no score is taken at 0
    assert math.isfinite(box.hi) and box.lo > 0
    assert information.joint_kullback_leibler(COIN, table).lo == math.inf


def test_tables_beyond_the_formulas():
    grid = sd.grid.uniform(2.0, 6, stop=0.1)
    for table in (sd.scheme.flow_heun(grid), sd.scheme.stochastic_heun(grid), sd.scheme.langevin(step=0.1, steps=3)):
        with pytest.raises(sd.NoMethod):
            information.joint_kullback_leibler(GM3, table)
    assert information.joint_kullback_leibler(GM3, sd.scheme.flow_euler(grid)).lo == math.inf
    with pytest.raises(sd.NoMethod, match="row 0"):
        information.path_kullback_leibler(GM3, sd.scheme.flow_euler(grid))


def test_tables_joined_from_two_schemes():
    law = sd.Gaussian([1.3], 0.3)
    first, second = sd.scheme.exponential_relative(np.array([1.0, 0.7, 0.5])), sd.scheme.euler_maruyama(np.array([0.5, 0.3, 0.1]))
    both = information.path_kullback_leibler(law, second @ first)
    start = sd.kullback_leibler(after(law, 0.5), GAMMA).value  # counted by the second part alone
    assert abs(both.value - (girsanov(1, law, first) + girsanov(0, law, second) - start)) <= 1e-12


@pytest.mark.parametrize("call", [
    lambda x: sd.information.ledger(x, [0.1]), sd.information.relative_fisher, sd.information.mutual_information,
    lambda x: sd.information.path_kullback_leibler(x, TABLE), lambda x: sd.information.joint_kullback_leibler(x, TABLE),
    lambda x: sd.grid.optimal(x, 6.0, 4), lambda x: sd.optimal_total_variation(x, 6.0, 4), lambda x: sd.verify(x, only="A1"), sd.score.exact,
])  # fmt: skip
@pytest.mark.parametrize("wrong", [3, np.zeros((5, 1)), "gm3"])
def test_what_is_no_law_is_refused_by_name(call, wrong):
    with pytest.raises(TypeError, match=r"(law|target): got (int|ndarray|str), allowed is a Law"):
        call(wrong)
