r"""Slides "Modelos Generativos", part 7: schedules, weights of the loss, moving averages.

A schedule \gamma_0, ..., \gamma_{N-1} takes the backward chain from X_{k+1} to X_k; t_k = \gamma_0 + ... + \gamma_{k-1}, X_0 is the data.
"""

import numpy as np

from scoresde import Gaussian, grid, propagate, scheme, score, simulate, total_variation
from scoresde.kernel import variance_preserving

from .bench import EPS
from .formula import Formula, Sides
from .numeric import QUAD

LOW, HIGH, STEPS = 0.002, 0.1, 100


def _times(gammas):
    """The grid t_N > ... > t_0 = 0."""
    return np.append(0.0, np.cumsum(gammas))[::-1]


def _output(bench, gammas):
    return total_variation(propagate(scheme.euler_maruyama(_times(gammas)), score.exact(bench.target)), bench.target)


def _schedule(share, what):
    r"""TV to the data with \gamma_k = \gamma_min + (\gamma_max - \gamma_min) share(k), against equal steps with the same T and N."""

    def sides(bench):
        gammas = LOW + (HIGH - LOW) * share(np.arange(STEPS))
        graded, equal = _output(bench, gammas), _output(bench, np.full(STEPS, gammas.mean()))
        return Sides(graded.value, equal.value, graded.width + equal.width, f"TV to the data with {what}, with equal steps; N = 100", "<=")

    return sides


def _sums(bench):
    """Schedules gamma_0, gamma_1, ...: equal and growing, with the sums of the printed time argument for k = 0..19."""
    equal, growing = np.full(20, 0.05), 0.01 + 0.004 * np.arange(20)
    return equal, growing, np.cumsum(equal), np.cumsum(growing)


def _step_index(bench):
    """The printed sum at constant steps, against the k gamma of L684."""
    equal, _, sums, _ = _sums(bench)
    k = np.arange(20)
    x = bench.points(bench.ou(0.5))
    s = score.exact(bench.target)
    return Sides(
        [s(float(sums[j]), x) for j in (3, 11)], [s(float(k[j] * equal[0]), x) for j in (3, 11)], QUAD * (1 + np.abs(x)) / equal[0],
        "s(Σ_(j≤k) γ_j, x), s(kγ, x) at 5 x, for k = 3, 11, γ = .05",
    )  # fmt: skip


def _step_start(bench):
    """The printed sum against the time at which the Euler-Maruyama scheme takes its score for the step from X_{k+1} to X_k."""
    found, exact = [], []
    for gammas, sums in zip(_sums(bench)[:2], _sums(bench)[2:], strict=True):
        table = scheme.euler_maruyama(_times(gammas))
        found.append(sums)
        exact.append(table.score_times[::-1])  # rows go from k = N-1 to k = 0
    return Sides(found, exact, 64 * EPS, "Σ_(j≤k) γ_j, the scheme's score time t_(k+1), k = 0..19, two schedules")


def _changed_clock(bench):
    r"""A schedule is a change of clock: fixed steps \delta of dX = \beta(s) {X + 2 score} ds + \sqrt{2\beta} dB, with the same noises.

    Also in law: OU run at the clock (1/2) \int \beta has the kernels of dX = -\beta/2 X + \sqrt\beta dB.
    """
    n, delta = 24, 1 / 24
    beta = 0.4 + 2.4 * (np.arange(n) / n) ** 2  # of steps k = 0..n-1, near the data first
    schedule = scheme.euler_maruyama(_times(beta * delta))
    clock = _times(beta * delta)
    s = score.exact(bench.target)

    def slowed(u, x):  # the score at the time of the fixed grid
        return s(float(clock[round((1 - u) / delta)]), x)

    slowed.dim = 1

    def end(b):
        return simulate(scheme.Table(grid.uniform(1.0, n), 1 + b, 2 * b, np.sqrt(2 * b)), slowed, 50, seed=bench.seed)[:, 0]

    b = beta[::-1] * delta
    one, two = simulate(schedule, s, 50, seed=bench.seed)[:, 0], end(b)
    shaken = np.abs(end(b * (1 + 1e-9)) - two).max() / 1e-9  # what a relative change of every coefficient does, hence what rounding does
    # OU in the new clock: m solves m' = -beta m / 2, here beta = 1 + s, so m = exp(-(t + t^2/2)/2)
    t = 0.8
    k, m = variance_preserving(lambda u: 1 + u, t), np.exp(-0.5 * (t + 0.5 * t * t))
    return Sides([*one, k.m, k.v], [*two, m, 1 - m * m], 64 * EPS * (1 + np.abs(one).max() + shaken), "end points of 50 paths; m, v at t = .8")


def _weights(bench):
    r"""E|grad log p_{k|0}(X_k|X_0)|^2 = 1/\sigma_k^2, so that \lambda_k = \sigma_k^2 makes it 1 for every k; \gamma = 0.01."""
    z, w = bench.hermite(8)
    found, size = [], []
    for k in (1, 10, 100, 500):
        chain = bench.chain(k, 0.01)
        x0 = bench.points(bench.target)
        x = chain.m * x0[:, None, :] + np.sqrt(chain.v) * z[None, :, None]
        found.append(chain.v * (chain.score(x, x0[:, None, :])[..., 0] ** 2 @ w))
        size.append(np.full(len(x0), 1 + np.abs(x0).max() / np.sqrt(chain.v)))
    return Sides(found, 1.0, 10 * QUAD * np.array(size), "σ_k² E‖∇ log p_(k|0)‖², d, for k = 1, 10, 100, 500 at 5 X_0")


def _average(bench):
    """The recursion against the weighted sum, theta_n drawn from the target."""
    n, m = 50, 0.05
    theta = bench.target.sample(n + 1, bench.seed)[:, 0]
    mean, start = theta[0], theta[0]
    for j in range(n):
        mean = (1 - m) * mean + m * theta[1 + j]
    closed = (1 - m) ** n * start + m * np.sum((1 - m) ** (n - 1 - np.arange(n)) * theta[1:])
    table = scheme.Table(np.zeros(n + 1), 1 - m, 0.0, m)  # theta_n ~ N(0, 1), a table without a score
    law = propagate(table, None, start=Gaussian([1.0], 1.0))
    kept, spread = (1 - m) ** n, np.sum((m * (1 - m) ** np.arange(n)) ** 2)
    found, exact = [mean, law.mean()[0], law.cov()[0, 0]], [closed, kept, kept**2 + spread]
    return Sides(found, exact, 64 * EPS * n * (1 + np.abs(theta).max()), "θ̄_50 of the recursion, weighted sum; weight of θ̄_0, (1-m)^50; variance")


FORMULAS = (
    Formula(
        "001-F48", "001 L905-906", "γ_k = γ_min + (γ_max-γ_min)(N-k)/N: larger steps near the data",
        "γ_k = γ_min + (γ_max-γ_min) k/N: smaller steps near the data",
        "MISPRINT", _schedule(lambda k: (STEPS - k) / STEPS, "γ_k as printed"), _schedule(lambda k: k / STEPS, "γ_k reversed"), "misprint",
        "X_0 is the data, k runs from N-1 to 0; L892 itself says that the steps shrink",
    ),
    Formula(
        "001-F49", "001 L894, L903", "the time argument Σ_{j=0}^k γ_j is that of the sampler with constant steps, kγ",
        "it is t_{k+1}, where the EM scheme stands",
        "CONVENTION", _step_index, _step_start, "convention", "γ_j is the step t_j → t_{j+1}; at constant steps the sum is (k+1)γ",
    ),
    Formula("001-F50", "001 L908", "changing the schedule is a change of time in OU, then a fixed step", "", "HOLDS", _changed_clock),
    Formula(
        "001-F51", "001 L917-921", "ℓ = Σ λ_k DSM_k, λ_k a function of σ_k stabilises it", "", "HOLDS", _weights,
        note="λ_k = σ_k²; with the misprint -Ẑ_k/σ_k² of 001-F26 it would be σ_k⁴",
    ),
    Formula(
        "001-F53", "001 L935", "θ̄_{n+1} = (1-m) θ̄_n + m θ_n", "", "HOLDS", _average,
        note="m small: the forgetting; many codes print θ̄' = m θ̄ + (1-m) θ with m = .999",
    ),
)  # fmt: skip
