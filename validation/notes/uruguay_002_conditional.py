r"""Slides "Modelos generativos basados en score", L534-L560: conditional sampling, and likelihoods.

The observation is y = x + N(0, R), half a standard deviation above the target's mean.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.integrate import solve_ivp

from scoresde import Density, Kernel, ornstein_uhlenbeck, propagate, scheme, score, standard_normal

from .bench import Bench, mixture
from .formula import Formula, Sides
from .numeric import derivative
from .sums import agree, close, column, fact, normal

__all__ = ["FORMULAS"]


def _observation(bench):
    """(y, R): y = x + N(0, R) seen half a standard deviation above the mean."""
    return np.array([bench.mean + 0.5 * bench.sd]), 0.49 * bench.var


def _posterior(bench):
    y, r = _observation(bench)
    return bench.target.given(y, np.eye(1), r)


def _likelihood_slope(bench, x):
    r"""\nabla_x \log N(y; x, R): minus the kernel's score in y."""
    y, r = _observation(bench)
    return -Kernel(1.0, r).score(np.broadcast_to(y, x.shape), x)


# F28 - F30
def _bayes(bench):
    x = bench.points(bench.target)
    return close(_posterior(bench).score(x), bench.target.score(x) + _likelihood_slope(bench, x), "score of p(x|y), and of p(x) plus that of p(y|x)")


def _with_a_classifier(bench):
    """A logistic classifier; the posterior is normalised by quadrature and differentiated."""
    centre, rate = bench.mean, 1.5 / bench.sd

    def log_p(x):
        return -np.logaddexp(0.0, -rate * (x[..., 0] - centre))

    law = Density(lambda x: bench.target.logpdf(x) + log_p(x), dim=1, normalized=False)
    x = bench.points(bench.target)
    gradient = rate / (1 + np.exp(rate * (x - centre)))
    found = derivative(lambda y: law.logpdf(column(y)), x[:, 0], 0.01 * math.sqrt(bench.target.covs.min()))
    return agree(bench.target.score(x) + gradient, found, "score plus the classifier's gradient, and (d/dx) log p(x|y)")


def _guided(clean):
    """At noise time 1/2: the score of the noised posterior, and the unconditional one plus a likelihood's gradient."""

    def sides(bench):
        y, r = _observation(bench)
        k, law = ornstein_uhlenbeck(0.5), bench.ou(0.5)
        x = bench.points(law)
        true = _posterior(bench).noised(k).score(x)
        if clean:
            return close(true, law.score(x) + _likelihood_slope(bench, x), "score of the noised posterior, and with the clean likelihood")

        def log_likelihood(points):  # X_0 given x_t is a mixture again; y is that plus noise
            return np.array([bench.target.given([p], np.array([[k.m]]), k.v).noised(Kernel(1.0, r)).logpdf(y) for p in points])

        found, error = derivative(log_likelihood, x[:, 0], 0.02 * math.sqrt(k.v))
        return agree(true, (law.score(x)[:, 0] + found, error), "score of the noised posterior, and with log E[p(y|X_0)|x_t]")

    return sides


# F31
def _score_as_a_density(bench):
    law = _posterior(bench)
    return fact((law.score(bench.points(law)) >= 0).all(), what="is the score of p(x|y) nowhere negative, as a density is")


def _sampled_by_the_score(bench):
    """Langevin on the posterior of Gaussian data, step v/10: the law's variance is v/(1 - 1/20), a bias of the step and known."""
    y, r = _observation(bench)
    prior = normal(bench)
    law = mixture(prior).given(y, np.eye(1), r).component(0)
    v = float(law.cov()[0, 0])
    end = propagate(scheme.langevin(step=0.1 * v, steps=400), score.exact(law), start=prior)
    return close(
        [end.mean()[0], end.cov()[0, 0] * (1 - 0.05)], [law.mean()[0], v], "mean and variance (less the step's bias) of Langevin driven by that score"
    )


# F32
@lru_cache(maxsize=4)
def _likelihood(bench: Bench):
    r"""\log p(x) = \log N(x_T; 0, 1) - \int_0^T (1 + s') dt along \dot x = -x - s, by an adaptive solver; T = 20."""
    s = score.exact(bench.target)
    x0 = bench.points(bench.target)[:, 0]
    n = len(x0)

    def flow(t, state):
        x = column(state[:n])
        return np.concatenate([-state[:n] - s(t, x)[:, 0], 1 + s.jacobian(t, x)[:, 0, 0]])

    ends = [solve_ivp(flow, (0.0, 20.0), np.append(x0, np.zeros(n)), method="DOP853", rtol=tol, atol=tol).y[:, -1] for tol in (1e-9, 1e-11)]
    found = [standard_normal(1).logpdf(column(e[:n])) - e[n:] for e in ends]
    # what two tolerances change, and N(0, 1) for p_T: the flow keeps quantiles, so |x_T| < 2, and a component of p_T is N(m mu, 1 + m^2 (v - 1))
    m, mu, v = math.exp(-20.0), float(np.abs(bench.target.means).max()), float(bench.target.covs.max())
    unlike = 2 * m * mu + 5 * m * m * (1 + v + mu * mu)
    return found[1], 10 * np.abs(found[1] - found[0]) + unlike, bench.target.logpdf(column(x0))


def _no_likelihood(bench):
    found, error, exact = _likelihood(bench)
    return Sides(float((np.abs(found - exact) <= error).sum()), 0.0, 0.0, "points whose likelihood the score alone gives; claimed: none")


def _likelihood_by_the_flow(bench):
    found, error, exact = _likelihood(bench)
    return Sides(found, exact, error, "log p from the score alone, along the probability flow, and log p")


FORMULAS = (
    Formula("002-F28", "002 L534", "∇ log p(x|y) = ∇ log p(x) + ∇ log p(y|x)", "", "HOLDS", _bayes),
    Formula("002-F29", "002 L539", "… p(y|x) a known classifier", "", "HOLDS", _with_a_classifier, note="at noise level 0"),
    Formula(
        "002-F30", "002 L540", "conditional sampling with the unconditional score and p(y|x)",
        "… with p_t(y|x_t) = E[p(y|X_0)|x_t] at each noise level", "IMPRECISE", _guided(True), _guided(False), "qualifier",
    ),
    Formula(
        "002-F31", "002 L540", "sample from ∇ log p(x|y)", "sample from p(x|y) by its score", "IMPRECISE", _score_as_a_density, _sampled_by_the_score,
        "qualifier",
    ),
    Formula(
        "002-F32", "002 L560", "score models give no likelihoods", "they do, along the probability flow: log p(x) = log N(x_T) - ∫(1 + ∇·s) dt",
        "IMPRECISE", _no_likelihood, _likelihood_by_the_flow, "qualifier",
    ),
)  # fmt: skip
