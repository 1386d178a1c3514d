"""Every quantity exists twice: the particles of a chain follow its propagated law, and do not follow the target."""

import numpy as np
import pytest

import scoresde as sd
from scoresde import grid, scheme

PI = sd.targets.gm3
SCORE = sd.score.exact(PI)
G = grid.uniform(6.0, 60)
TABLES = {
    "euler_maruyama": scheme.euler_maruyama(G),
    "variable steps": scheme.euler_maruyama(grid.quadratic(6.0, 40)),
    "exponential_relative": scheme.exponential_relative(G),
    "exponential_absolute": scheme.exponential_absolute(G),
    "ancestral": scheme.ancestral(grid.uniform(6.0, 60, stop=0.05)),
    "flow_euler": scheme.flow_euler(G),
    "flow_heun": scheme.flow_heun(grid.uniform(6.0, 30)),
    "predictor_corrector": scheme.predictor_corrector(grid.uniform(6.0, 40), steps=1, step=0.05),
    "score at end": scheme.score_at_end(scheme.euler_maruyama(G)),
}


@pytest.mark.parametrize("name", TABLES)
def test_particles_follow_the_propagated_law_and_not_the_target(name):
    table = TABLES[name]
    law = sd.propagate(table, SCORE)
    n = 200_000 if name == "euler_maruyama" else 40_000
    x = sd.simulate(table, SCORE, n=n, seed=7)
    agree, control = sd.kolmogorov(x, law, alpha=1e-6), sd.kolmogorov(x, PI, alpha=1e-6)
    assert agree.lo == 0.0, agree  # the distance to its own law may be zero
    assert control.lo > 0.0, control  # the negative control: the target is excluded at the same level
    assert agree.level == "finite-sample" and agree.alpha == 1e-6


def test_the_index_of_the_score_is_not_cosmetic():
    """At h = .1, T = 6 on gm3: the score at the end of the step gives another total variation."""
    laws = {k: sd.propagate(TABLES[k], SCORE) for k in ("euler_maruyama", "score at end")}
    tv = {k: sd.total_variation(law, PI).value for k, law in laws.items()}
    assert abs(tv["euler_maruyama"] - tv["score at end"]) > 0.03


def test_the_notes_backward_chain_with_the_discrete_marginals():
    """The lecture notes' chain: scores of p_k of the discrete forward chain, at the end of the step or at its beginning."""
    discrete = sd.score.exact(PI, forward=sd.kernel.euler_maruyama_marginals(G))
    for table in (TABLES["euler_maruyama"], TABLES["score at end"]):
        law = sd.propagate(table, discrete)
        x = sd.simulate(table, discrete, n=40_000, seed=3)
        assert sd.kolmogorov(x, law).lo == 0.0 < sd.kolmogorov(x, PI).lo
        assert sd.total_variation(law, sd.propagate(table, SCORE)).lo > 1e-4  # and it is not the chain with the continuous scores


def test_each_state_of_a_trajectory_follows_its_marginal():
    table = TABLES["exponential_relative"]
    path, laws = sd.trajectories(table, SCORE, n=20_000, seed=11), sd.marginals(table, SCORE)
    assert len(laws) == len(path.times) == 61
    for k in (0, 1, 30, 59, 60):
        assert sd.kolmogorov(path.states[k], laws[k]).lo == 0.0
    assert sd.kolmogorov(path.states[30], laws[60]).lo > 0.0


def test_products_factorise():
    pair = sd.Product([PI, PI, sd.Gaussian([0.5], 0.4)])
    law = sd.propagate(TABLES["euler_maruyama"], sd.score.exact(pair))
    one = sd.propagate(TABLES["euler_maruyama"], SCORE)
    assert isinstance(law, sd.Product) and law.dim == 3
    assert sd.kullback_leibler(pair, law).value == pytest.approx(
        2 * sd.kullback_leibler(PI, one).value
        + sd.kullback_leibler(sd.Gaussian([0.5], 0.4), sd.propagate(TABLES["euler_maruyama"], sd.score.exact(sd.Gaussian([0.5], 0.4)))).value,
        rel=1e-10,  # both engines are accurate to about 1e-12
    )
    x = sd.simulate(TABLES["euler_maruyama"], sd.score.exact(pair), n=40_000, seed=1)
    for k in range(3):
        assert sd.kolmogorov(x[:, k : k + 1], law.expanded()[k]).lo == 0.0
    assert sd.kolmogorov(x[:, 2:], law.expanded()[0]).lo > 0.0  # control: the third coordinate follows another law
    assert abs(np.corrcoef(x.T)[0, 1]) < 6 / np.sqrt(40_000)


def test_high_dimension_has_the_moments_of_the_gaussian_recursion():
    d, n = 64, 20_000
    target = sd.Gaussian(np.linspace(-1, 1, d), 0.3)
    law = sd.propagate(TABLES["euler_maruyama"], sd.score.exact(target))
    x = sd.simulate(TABLES["euler_maruyama"], sd.score.exact(target), n=n, seed=5)
    variance = np.diag(law.cov())
    z = (x.mean(axis=0) - law.mean()) / np.sqrt(variance / n)
    w = (x.var(axis=0) / variance - 1) / np.sqrt(2 / n)
    limit = 6.5  # 2 d Gaussian tails at 6.5 sigma: 1e-8
    assert np.abs(z).max() < limit and np.abs(w).max() < limit
    assert np.abs((x.var(axis=0) / 0.3 - 1) / np.sqrt(2 / n)).max() > limit  # control: the target's variance is excluded
