r"""Slides "Modelos generativos basados en score", L383-L433: Langevin dynamics, supports and low density.

The notes' step \alpha is twice the package's: x + \frac\alpha2 s + \sqrt\alpha z is ``scheme.langevin(step=alpha/2)``. All laws are
propagated, none sampled.
"""

import math

import numpy as np

from scoresde import Gaussian, GaussianMixture, Uniform, propagate, scheme, score, total_variation, variance_exploding

from .formula import Formula, Sides
from .numeric import ORDER, order
from .sums import close, column, fact, normal, together

__all__ = ["FORMULAS", "separated", "stationary"]


# F19, F20
def stationary(alpha):
    """Langevin on the Gaussian of the target's mean and variance v until the start is forgotten to rounding; alpha in units of v."""

    def sides(bench):
        law = normal(bench)
        table = scheme.langevin(step=0.5 * alpha * bench.var, steps=math.ceil(75 / alpha))
        end = propagate(table, score.exact(law), start=Gaussian([bench.mean + bench.sd], bench.var))
        return close([end.mean()[0], end.cov()[0, 0]], [bench.mean, bench.var / (1 - 0.25 * alpha)], "stationary mean and variance; v/(1 - a/(4 v))")

    return sides


def _gradient_at_a_fixed_point(bench):
    """grad log p(x) with an x that is not x_{t-1}, say the start: a drifting random walk."""
    law, alpha, start = normal(bench), 0.3 * bench.var, Gaussian([bench.mean + bench.sd], bench.var)
    gradient = law.score(start.mean()[None, :])

    def frozen(t, x):
        return np.broadcast_to(gradient, x.shape)

    frozen.dim = 1
    end = propagate(scheme.langevin(step=0.5 * alpha, steps=100), frozen, start=start)
    return close([end.mean()[0], end.cov()[0, 0]], [bench.mean, bench.var / (1 - 0.25 * 0.3)], "mean and variance after 100 steps; v/(1 - a/(4 v))")


def _exact_in_the_limit(bench):
    """Started from the target and run for twice its smallest variance: what is lost is the step's doing, and goes to 0 with it."""
    target, tau, found = bench.target, 2 * float(bench.target.covs.min()), []
    for steps in (20, 40, 80):
        end = propagate(scheme.langevin(step=tau / steps, steps=steps), score.exact(target), start=target)
        found.append(total_variation(end, target).value)
    return Sides(order(found), 1.0, ORDER, "order in α at which the TV of the chain's law and p goes to 0")


# F21, F22
def _outside_the_support(bench):
    box = Uniform([bench.mean - bench.sd], [bench.mean + bench.sd])
    outside = column(bench.mean + 1.5 * bench.sd)
    try:
        defined = bool(np.isfinite(box.score(outside)).all())
    except ValueError:  # the package refuses to name a score there
        defined = False
    noised = box.noised(variance_exploding(0.1 * bench.sd)).score(outside)
    return fact(
        box.pdf(outside)[0] == 0, not defined, np.isfinite(noised).all(), what="density 0 and no score outside a support; noised, there is one"
    )


def separated(bench, weight):
    """Two modes eight standard deviations of the target apart, the left one of this weight."""
    return GaussianMixture([weight, 1 - weight], bench.mean + bench.sd * np.array([[-4.0], [4.0]]), 0.25 * bench.var)


def _weights_are_lost(bench):
    """At half a standard deviation from the right mode the score is that of one component, whatever the weights; a chain started on the left
    stays there."""
    x, scores, alone, other = column(bench.mean + 3.5 * bench.sd), [], [], []
    for weight in (0.1, 0.5, 0.9):
        law = separated(bench, weight)
        left, right = (float(law.component(k).score(x)[0, 0]) for k in (0, 1))
        scores.append(float(law.score(x)[0, 0]))
        alone.append(right)
        other.append(float(law.responsibilities(x)[0, 0]) * abs(left - right))
    law = separated(bench, 0.5)
    end = propagate(scheme.langevin(step=0.02 * bench.var, steps=50), score.exact(law), start=law.component(0))
    seen = close(scores, alone, "score near the right mode for weights .1, .5, .9, and that of the component alone")
    return together(
        Sides(seen.lhs, seen.rhs, seen.tolerance + np.array(other), seen.what),
        fact(
            1 - end.cdf(column(bench.mean))[0] < 0.01,
            what="50 Langevin steps from the left component: less than 1 % arrive on the right (it has half)",
        ),
    )


FORMULAS = (
    Formula(
        "002-F19", "002 L383", "x_t = x_{t-1} + ½α ∇ log p(x) + √α ε", "x_t = x_{t-1} + ½α ∇ log p(x_{t-1}) + √α ε", "MISPRINT",
        _gradient_at_a_fixed_point, stationary(0.3), "misprint", "x is read as a fixed point, the start; also at L506",
    ),
    Formula("002-F20", "002 L388", "exact samples as α_t → 0, T → ∞", "", "HOLDS", _exact_in_the_limit, note="a fixed α leaves a bias of order α"),
    Formula("002-F21", "002 L423", "∇ log p is not defined where p = 0", "", "HOLDS", _outside_the_support),
    Formula(
        "002-F22", "002 L433", "in regions of low density the score is too weak to sample with", "", "HOLDS", _weights_are_lost,
        note="where modes are separated the score does not see their weights",
    ),
)  # fmt: skip
