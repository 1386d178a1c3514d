"""The Gaussian engine against the affine map of the chain, read off by probing, and against closed forms."""

import math

import numpy as np
import pytest

import scoresde as sd
from scoresde import grid, kernel, scheme

EPS = np.finfo(float).eps
G = grid.uniform(2.0, 12, stop=0.05)
TABLES = {
    "euler_maruyama": scheme.euler_maruyama(G),
    "exponential_absolute": scheme.exponential_absolute(G),
    "exponential_relative": scheme.exponential_relative(G),
    "ancestral beta": scheme.ancestral(G, variance="beta"),
    "ancestral posterior": scheme.ancestral(G),
    "ddim": scheme.ddim(G, eta=0.5),
    "flow_euler": scheme.flow_euler(G),
    "flow_heun": scheme.flow_heun(G),
    "stochastic_heun": scheme.stochastic_heun(G),
    "dpm_solver_2": scheme.dpm_solver_2(G),
    "dpm_solver_pp_2m": scheme.dpm_solver_pp_2m(G),
    "predictor_corrector": scheme.predictor_corrector(G, steps=2, step=0.02),
    "score at end": scheme.score_at_end(scheme.euler_maruyama(G)),
    "two noises": sd.Table(G, 1.0, 0.1, [[0.3, 0.0]] + [[0.3, 0.2]] * 11),
}
FULL = np.array([[0.9, 0.4, 0.0], [0.4, 0.5, 0.1], [0.0, 0.1, 1.4]])
OTHER = np.array([[1.0, 0.2, 0.3], [0.2, 0.8, 0.0], [0.3, 0.0, 1.2]])
MU = np.array([1.3, -0.2, 0.5])


def probed(table, score, start):
    """Law of the last state: the chain is an affine map of (y_0, z_0, ..., z_{R-1}), read off one unit vector at a time."""
    d, R = start.dim, table.rows
    inputs = np.concatenate([np.zeros((1, d * (R + 1))), np.eye(d * (R + 1))]).reshape(-1, R + 1, d)
    ys, ss = [inputs[:, 0]], []
    for r in range(R):
        ss.append(score(float(table.score_times[r]), ys[r]) if table.used[r] else np.zeros_like(ys[r]))
        new = sum(table.a[r, j] * ys[r - j] + table.b[r, j] * ss[r - j] for j in range(table.a.shape[1]) if r >= j)
        ys.append(new + sum(table.c[r, l] * inputs[:, 1 + r - l] for l in range(table.c.shape[1]) if r >= l))
    offset, linear = ys[-1][0], ys[-1][1:] - ys[-1][0]
    A, C = linear[:d].T, linear[d:].T
    return offset + A @ start.mean(), A @ start.cov() @ A.T + C @ C.T


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("start", ["isotropic", "full"])
def test_the_engine_agrees_with_the_probed_affine_map(name, start):
    target = sd.Gaussian(MU, FULL)
    begin = sd.standard_normal(3) if start == "isotropic" else sd.Gaussian([0.1, 0.2, -0.3], OTHER)
    score = sd.score.perturbed(sd.score.exact(target), 0.3, [1.0, 1.0, 0.0])
    law = sd.propagate(TABLES[name], score, start=begin)
    mean, cov = probed(TABLES[name], score, begin)
    # about 30 rows, each rounding relative to gains of up to 1 + 2h/v ~ 10; probing subtracts the offset once
    slack = 1000 * EPS * (1 + np.abs(cov).max() + np.abs(mean).max())
    assert np.abs(law.mean() - mean).max() <= slack and np.abs(law.cov() - cov).max() <= slack


def test_the_probe_sees_a_wrong_coefficient():
    target = sd.Gaussian(MU, FULL)
    score = sd.score.exact(target)
    right, wrong = TABLES["euler_maruyama"], TABLES["flow_euler"]
    _, cov = probed(right, score, sd.standard_normal(3))
    assert np.abs(sd.propagate(wrong, score).cov() - cov).max() > 1e-3


def test_different_schemes_give_different_laws():
    target, laws = sd.Gaussian(MU, FULL), {}
    for name, table in TABLES.items():
        laws[name] = sd.propagate(table, sd.score.exact(target)).cov()
    names = list(laws)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert np.abs(laws[a] - laws[b]).max() > 1e-7, (a, b)


def test_the_forward_chain_has_the_law_of_its_kernel():
    steps = [0.1, 0.3, 1.2]
    start = sd.Gaussian(MU, FULL)
    law, exact = sd.propagate(scheme.forward_euler_maruyama(steps), None, start=start), start.noised(kernel.euler_maruyama(steps))
    assert law.mean() == pytest.approx(exact.mean(), rel=16 * EPS) and law.cov() == pytest.approx(exact.cov(), rel=16 * EPS)


def test_the_variance_of_langevin_is_the_closed_form():
    """ULA on N(0, v): stationary variance v / (1 - step / (2 v))."""
    v, step = 0.5, 0.1
    law = sd.propagate(scheme.langevin(step=step, steps=2000), sd.score.exact(sd.Gaussian([0.0], v)))
    assert law.cov()[0, 0] == pytest.approx(v / (1 - step / (2 * v)), rel=1e-13)


def test_exponential_relative_preserves_the_standard_normal_and_exponential_absolute_does_not():
    score = sd.score.exact(sd.standard_normal(1))
    times = grid.uniform(40.0, 400)
    assert sd.propagate(scheme.exponential_relative(times), score).cov()[0, 0] == pytest.approx(1, abs=1e-14)
    h = 0.1
    absolute = sd.propagate(scheme.exponential_absolute(times), score).cov()[0, 0]
    assert absolute == pytest.approx((math.exp(h) + 1) / (3 - math.exp(h)), rel=1e-13)


def test_the_optimal_ancestral_variance_is_exact_for_gaussians():
    """With that variance only the initialisation error is left: started at p_T the chain ends in the target."""
    target = sd.Gaussian([1.3, 0.0], 0.3)
    table = scheme.ancestral(G, variance=scheme.optimal_variance(G, target))
    law = sd.propagate(table, sd.score.exact(target), start=target.noised(kernel.ornstein_uhlenbeck(2.0)))
    end = target.noised(kernel.ornstein_uhlenbeck(0.05))
    assert law.mean() == pytest.approx(end.mean(), abs=1e-14) and law.cov() == pytest.approx(end.cov(), rel=1e-13, abs=1e-15)


def test_marginals_are_the_laws_of_the_states():
    target = sd.Gaussian(MU, FULL)
    laws = sd.marginals(TABLES["flow_heun"], sd.score.exact(target))
    assert len(laws) == 13 and laws[0] == sd.standard_normal(3)
    assert laws[-1] == sd.propagate(TABLES["flow_heun"], sd.score.exact(target))
    half = scheme.flow_heun(G[:7])
    assert laws[6] == sd.propagate(half, sd.score.exact(target))


def test_ten_thousand_dimensions_cost_no_matrix():
    target = sd.Gaussian(np.linspace(-1, 1, 10_000), np.linspace(0.2, 2.0, 10_000))
    law = sd.propagate(TABLES["euler_maruyama"], sd.score.exact(target))
    one = sd.propagate(TABLES["euler_maruyama"], sd.score.exact(sd.Gaussian([1.0], 2.0)))
    assert law.mean()[-1] == pytest.approx(one.mean()[0], rel=8 * EPS) and law.second_moment() > 0


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda s: sd.propagate(kernel.ornstein_uhlenbeck(1.0), s), TypeError, "table: got Kernel, allowed is a Table"),
        (lambda s: sd.propagate(TABLES["ddim"], None), TypeError, "score: got None"),
        (lambda s: sd.propagate(TABLES["ddim"], lambda t, x: -x), ValueError, "without .dim and no start"),
        (lambda s: sd.propagate(TABLES["ddim"], s, start=sd.standard_normal(2)), ValueError, "start: got dimension 2 for a score of dimension 3"),
        (lambda s: sd.propagate(TABLES["ddim"], s, start=np.zeros((5, 3))), TypeError, "allowed is a Law"),
        (lambda s: sd.propagate(TABLES["ddim"], s, tolerance=0.0), ValueError, "tolerance: got 0.0"),
    ],
)
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call(sd.score.exact(sd.Gaussian(MU, FULL)))


def test_no_engine_names_the_one_to_use():
    mixture = sd.GaussianMixture([0.5, 0.5], [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], [0.2, 0.3])
    with pytest.raises(sd.NoMethod, match="simulate"):
        sd.propagate(TABLES["euler_maruyama"], sd.score.exact(mixture))
