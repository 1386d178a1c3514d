r"""Slides "Modelos generativos basados en score", L450-L507: noise at several levels and annealed Langevin dynamics, its laws propagated."""

import math
from functools import lru_cache

import numpy as np

from scoresde import Gaussian, Table, grid, information, propagate, scheme, score, total_variation, variance_exploding

from .formula import Formula
from .sums import close, column, equal, less, mean_of
from .uruguay_002_langevin import separated

__all__ = ["FORMULAS", "annealing", "contractions"]


def _levels(law, count=10):
    r"""\sigma_1 > ... > \sigma_L, geometric: from three times the size of the law to half its smallest detail."""
    return np.array(grid.geometric(3 * math.sqrt(law.second_moment()), count - 1, stop=0.5 * math.sqrt(law.covs.min())))


@lru_cache(maxsize=16)
def annealing(law, epsilon, steps, power=2, start=None):
    r"""TV to the law smoothed by \sigma_L after annealing with \alpha_l = \epsilon \sigma_L^2 (\sigma_l/\sigma_L)^{power}, ``steps`` a level, started
    from N(0, \sigma_1^2); power None: as many plain steps at \sigma_L."""
    levels = _levels(law)
    start = start or Gaussian([0.0], levels[0] ** 2)
    step = 0.5 * epsilon * levels[-1] ** 2
    if power is None:
        table = scheme.langevin(step=step, steps=steps * len(levels), t=levels[-1])
    else:
        table = scheme.annealed_langevin(levels, steps=steps, step=step, power=power)
    end = propagate(table, score.exact(law, forward=variance_exploding), start=start)
    return total_variation(end, law.noised(variance_exploding(levels[-1])))


# F23 - F25
def _decreasing(bench):
    levels = _levels(bench.target)
    entropies = [information.entropy(bench.target.noised(variance_exploding(s))) for s in levels]
    return less(
        *zip(entropies[1:], entropies[:-1], strict=True),
        *zip(levels[1:], levels[:-1], strict=True),
        what="each level is less noisy than the one before",
    )


def _weight_of_levels(weight):
    def sides(bench):
        got = []
        for s in (1.0, 0.1, 0.01):
            k = variance_exploding(s)
            x0 = column(bench.mean)
            got.append(weight(s) * mean_of(Gaussian(x0[0], k.v), lambda x, k=k, x0=x0: k.score(x, np.broadcast_to(x0, x.shape))[:, 0] ** 2))
        return equal(*((e, got[0]) for e in got), what="weight times the mean square of the regression target at sigma = 1, .1, .01")

    return sides


def contractions(power):
    r"""The factor by which one step brings N(0, \sigma_l^2)'s mean nearer, at ten levels from 1 to .01: equal if \alpha_l/\sigma_l^2 is."""

    def sides(_):
        levels = np.array(grid.geometric(1.0, 9, stop=0.01))
        factors = []
        for s in levels:
            step = 0.5 * 2e-5 * (s / levels[-1]) ** power
            factors.append(propagate(scheme.langevin(step=step, steps=1), score.exact(Gaussian([0.0], s * s)), start=Gaussian([1.0], 1.0)).mean()[0])
        return close(factors, [factors[-1]] * 10, "contraction of one step at each level, and at the last")

    return sides


# F26, F27
def _chained(bench):
    """Two levels in one table, and the second started from the law that the first left."""
    levels = _levels(bench.target)[-2:]
    s = score.exact(bench.target, forward=variance_exploding)
    whole = scheme.annealed_langevin(levels, steps=5, step=0.1 * levels[-1] ** 2)
    first = Table(whole.times[:6], whole.a[:5], whole.b[:5], whole.c[:5])
    second = Table(whole.times[5:], whole.a[5:], whole.b[5:], whole.c[5:])
    middle = propagate(first, s, start=bench.target)
    laws = [propagate(t, s, start=bench.target) for t in (whole, second @ first)] + [propagate(second, s, start=middle)]
    return equal(
        *((total_variation(laws[0], law), 0.0) for law in laws[1:]), what="TV of both levels in one run, joined tables, and one run after the other"
    )


def _recovers_the_law(bench):
    """With twice the time and half the step the error falls; on separated modes plain Langevin with as many steps fails."""
    apart = separated(bench, 0.2)
    return less(
        (annealing(bench.target, 0.4, 20), 0.67 * annealing(bench.target, 0.8, 5)), (annealing(apart, 0.4, 20), 0.67 * annealing(apart, 0.8, 5)),
        (annealing(apart, 0.4, 20), 0.5 * annealing(apart, 0.4, 20, None)),
        what="TV after annealing: half the step and four times the steps, a third less at least; at most half that of plain steps, modes apart",
    )  # fmt: skip


FORMULAS = (
    Formula("002-F23", "002 L450", "σ_1 > σ_2 > … > σ_L", "", "HOLDS", _decreasing),
    Formula(
        "002-F24", "002 L469", "E_σ[½ E‖∇ log q_σ(x̃|x) - s(x̃, σ)‖²], all levels alike", "weights λ(σ) = σ² make the levels alike", "CONVENTION",
        _weight_of_levels(lambda s: 1.0), _weight_of_levels(lambda s: s * s), "convention", "unweighted, the smallest σ dominates",
    ),
    Formula(
        "002-F25", "002 L503", "α_l = β σ_l/σ_L", "α_l = ε σ_l²/σ_L²", "MISPRINT", contractions(1), contractions(2), "misprint",
        "only with squares is a step's signal-to-noise ratio the same at every level (as 003 L258)",
    ),
    Formula("002-F26", "002 L507", "x_0 ← x_T: each level starts where the last one ended", "", "HOLDS", _chained),
    Formula(
        "002-F27", "002 L499", "annealed Langevin dynamics recovers the data's law", "", "HOLDS", _recovers_the_law, note="with the rule of squares",
    ),
)  # fmt: skip
