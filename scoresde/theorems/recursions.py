r"""A Gaussian target: the law of every scheme is Gaussian, by a recursion for mean and variance in each eigen-direction of the covariance.

For any other target the statements are about the Gaussian with its mean and covariance, and the claims say so.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .. import grid
from ..divergence import total_variation
from ..enclosure import Enclosure
from ..engine.line import propagate_line
from ..engine.propagate import propagate
from ..laws import Gaussian, standard_normal
from ..scheme import (
    ancestral,
    ddim,
    dpm_solver_2,
    euler_maruyama,
    exponential_absolute,
    exponential_relative,
    flow_euler,
    flow_heun,
    optimal_variance,
    randomized_midpoint,
)
from ..score import exact
from .bounds import powered
from .claim import Statement, claim_over, states
from .gaussians import MOMENTS, SURROGATE, directions, told
from .numeric import EPS, about, equal, mutated, richardson, unmet

__all__ = ["gaussian_exact_maps", "gaussian_recursions"]

# ---- G1: the recursions ---------------------------------------------------------------------------------------------------------------


def _clocks(t, u):
    r"""(h, \sigma_t^2, \sigma_u^2) with \sigma^2 = 1 - e^{-2t}."""
    return t - u, -math.expm1(-2 * t), -math.expm1(-2 * u)


def _euler_maruyama(p, t, u):
    h = t - u
    return 1 + h, 2 * h, 2 * h


def _exponential_relative(p, t, u):
    h = t - u
    return 2 - math.exp(-h), 2 * (1 - math.exp(-h)), 1 - math.exp(-2 * h)


def _exponential_absolute(p, t, u):
    h = t - u
    return math.exp(h), 2 * (math.exp(h) - 1), math.exp(2 * h) - 1


def _beta(p, t, u):
    h = t - u
    return math.exp(h), 2 * math.sinh(h), 1 - math.exp(-2 * h)


def _posterior(p, t, u):
    h, vt, vu = _clocks(t, u)
    return math.exp(h), 2 * math.sinh(h), (1 - math.exp(-2 * h)) * vu / vt


def _optimal(p, t, u):
    h, beta = t - u, 1 - math.exp(-2 * (t - u))
    return math.exp(h), 2 * math.sinh(h), math.exp(2 * h) * beta * (1 - beta * np.mean(1 / p.at(t)[1]))


def _ddim(p, t, u):
    h, vt, vu = _clocks(t, u)
    return math.exp(h), math.exp(h) * vt - math.sqrt(vt * vu), 0.0


def _flow_euler(p, t, u):
    h = t - u
    return 1 + h, h, 0.0


def _affine(coefficients):
    """One score a step, y' = a y + c s + sqrt(R) z:  A = a - c/v_t, B = c mu_t/v_t."""

    def step(p, t, u):
        (mean, var), (a, c, R) = p.at(t), coefficients(p, t, u)
        return a - c / var, c * mean / var, R

    return step


def _heun(p, t, u):
    h, (mean, var), (after, late) = t - u, p.at(t), p.at(u)
    A1, B1 = 1 + h - h / var, h * mean / var
    A = 1 + 0.5 * h * ((1 - 1 / var) + (1 - 1 / late) * A1)
    return A, 0.5 * h * (mean / var + (1 - 1 / late) * B1 + after / late), 0.0


def _dpm_solver_2(p, t, u):
    (m, sigma), (m2, sigma2) = ((math.exp(-x), math.sqrt(-math.expm1(-2 * x))) for x in (t, u))
    first, last = math.log(m / sigma), math.log(m2 / sigma2)
    middle, H = 0.5 * (first + last), last - first
    s = 0.5 * math.log1p(math.exp(-2 * middle))
    m1, sigma1, (mean, var), (mean1, var1) = math.exp(-s), math.sqrt(-math.expm1(-2 * s)), p.at(t), p.at(s)
    k1, k2 = sigma1 * math.expm1(H / 2) * sigma / var, sigma2 * math.expm1(H) * sigma1 / var1  # eps_t(x) = sigma (x - mean) / var
    A1, B1 = m1 / m - k1, k1 * mean
    return m2 / m - k2 * A1, k2 * (mean1 - B1), 0.0


@dataclass(frozen=True)
class Recursion:
    """A scheme, grid (and the target) -> Table, and its step (p, t, u) -> (A, B, R): mean' = A mean + B, var' = A^2 var + R."""

    name: str
    table: Callable
    step: Callable
    stop: float = 0.0  # the least time at which its grid may end


RECURSIONS = (
    Recursion("euler_maruyama", lambda g, p: euler_maruyama(g), _affine(_euler_maruyama)),
    Recursion("exponential_relative", lambda g, p: exponential_relative(g), _affine(_exponential_relative)),
    Recursion("exponential_absolute", lambda g, p: exponential_absolute(g), _affine(_exponential_absolute)),
    Recursion("ancestral (beta)", lambda g, p: ancestral(g, "beta"), _affine(_beta)),
    Recursion("ancestral (posterior)", lambda g, p: ancestral(g, "posterior"), _affine(_posterior)),
    Recursion("ancestral (optimal)", lambda g, p: ancestral(g, optimal_variance(g, p.law)), _affine(_optimal)),
    Recursion("ddim", lambda g, p: ddim(g), _affine(_ddim)),
    Recursion("flow_euler", lambda g, p: flow_euler(g), _affine(_flow_euler)),
    Recursion("flow_heun", lambda g, p: flow_heun(g), _heun),
    Recursion("dpm_solver_2", lambda g, p: dpm_solver_2(g), _dpm_solver_2, 0.05),
)


def _run(p, times, step, mean, var):
    """(mean, variance) of the last state, direction by direction."""
    for t, u in pairwise(times):
        A, B, R = step(p, float(t), float(u))
        mean, var = A * mean + B, A * A * var + R
    return mean, var


@states(Statement(
    "G1", "Gaussian targets: mean and variance of every scheme by a closed recursion",
    "derived here; for four of the schemes see Pierret & Galerne 2025, arXiv:2405.14250",
    r"y' = a y + c\,s + \sqrt R z,\ s = -(y-\mu_t)/v_t:\quad mean' = (a-\tfrac c{v_t})\,mean + \tfrac{c\mu_t}{v_t},"
    r"\quad var' = (a-\tfrac c{v_t})^2 var + R \quad\text{in each eigen-direction}",
    (MOMENTS,), f"Two-stage schemes have their own A and B. {SURROGATE}.",
))  # fmt: skip
def gaussian_recursions(target, *, quick=False):
    r"""mean' = A mean + B, var' = A^2 var + R for ten schemes, and moments of randomized_midpoint, against the propagated law, to rounding.

    Coefficients a, c, R (or A, B of the two-stage schemes) are written here from their formulas, not read off the tables. Cells: mean and
    variance by ``propagate``, in every eigen-direction; in the widest one also the law by the engine on the line, which knows nothing of
    Gaussians: TV = 0 to 1e-8. Control: euler_maruyama with the noise 1 - e^{-2h} of another scheme.
    """
    theorem = gaussian_recursions
    p, held = directions(target)
    what = about(theorem, held)
    if (claim := unmet(what, "=")) is not None:
        return claim
    T = min(4.0, 8 * float(p.var.min()))  # steps of at most half the least variance: no scheme is unstable
    cells = []
    for r in RECURSIONS:
        for times in (grid.uniform(T, 16, stop=r.stop * T), grid.quadratic(T, 12, stop=r.stop * T))[: 1 if quick else 2]:
            cells += _moments(r.name, propagate(r.table(times, p), exact(p.law)), _run(p, times, r.step, 0.0 * p.mean, 1 + 0.0 * p.var))
        cells.append(_on_the_line(r, p.widest, grid.uniform(T, 12, stop=r.stop * T)))
    cells += _randomized(p.widest, grid.uniform(T / 8, 2))
    times = grid.uniform(T, 16)
    wrong = _run(p, times, _affine(lambda p, t, u: (1 + t - u, 2 * (t - u), -math.expm1(-2 * (t - u)))), 0.0 * p.mean, 1 + 0.0 * p.var)
    control = claim_over(_moments("euler_maruyama", propagate(euler_maruyama(times), exact(p.law)), wrong)[1:],
                         **mutated(theorem, r"var' = (1+h-\tfrac{2h}{v_t})^2 var + 1 - e^{-2h} \text{ for euler\_maruyama}"))  # fmt: skip
    return powered(claim_over(cells, parameters=told(target, p, T=T), **what), control)


def _moments(name, law, closed):
    """Mean and variance of a Gaussian law against closed ones, in the worst direction; law is diagonal in these directions."""
    mean, var = (np.broadcast_to(x, (law.dim,)) for x in closed)
    found, spread = law.mean(), np.broadcast_to(law.covariance, (law.dim,))
    return [_worst(name, "mean", found, mean, np.sqrt(var) + np.abs(mean)), _worst(name, "variance", spread, var, var)]


def _worst(scheme, of, found, closed, size, digits=10):
    k = int(np.argmax(np.abs(found - closed) / size))
    lhs, rhs = Enclosure.near(float(found[k]), 64 * EPS * float(size[k])), Enclosure.near(float(closed[k]), 64 * EPS * float(size[k]))
    return equal(lhs, rhs, digits=digits, floor=float(size[k]), name=of, parameters={"scheme": scheme, "of": of})


def _on_the_line(r, p, times):
    """TV between the engine on the line and the recursion."""
    start = standard_normal(1)
    law = propagate_line(r.table(times, p), exact(p.law), start)
    closed = Gaussian(*_run(p, times, r.step, start.mean(), np.ones(1)))
    return equal(total_variation(law, closed), 0.0, digits=8, floor=1.0, name="law", parameters={"scheme": r.name, "of": "law, engine on the line"})


def _randomized(p, times):
    r"""randomized_midpoint: given u a step is affine, so mean' = E_u[A mean + B], E y'^2 = E_u[A^2 (var + mean^2) + 2AB mean + B^2 + R].

    Against the mixture of the Gaussian laws of its tables given (u_1, u_2), over the Gauss–Legendre nodes of two steps.
    """
    node, weight = np.polynomial.legendre.leggauss(8)
    u, weight = 0.5 * (1 + node), 0.5 * weight
    mean, second = 0.0, 1.0
    for t, end in pairwise(times):
        h = t - end
        late, first = [p.at(float(t - x * h)) for x in u], p.at(float(t))
        centre, var = (np.array([float(pair[k][0]) for pair in late]) for k in (0, 1))
        lean = 1 - 2 / var  # b_s(y) = lean y + 2 centre/var
        A = 1 + h * lean * (1 + u * h * (1 - 2 / first[1][0]))
        B = h * lean * 2 * u * h * first[0][0] / first[1][0] + 2 * h * centre / var
        R = 2 * h * u * (1 + h * lean) ** 2 + 2 * h * (1 - u)
        mean, second = weight @ (A * mean + B), weight @ (A * A * second + 2 * A * B * mean + B * B + R)
    scheme, pairs = randomized_midpoint(times), np.stack(np.meshgrid(u, u), -1).reshape(-1, 2)
    shares = np.multiply.outer(weight, weight).ravel()
    table = scheme.at(pairs.T)
    laws = [propagate(table.particle(i), exact(p.law)) for i in range(len(pairs))]
    found = np.array([law.mean()[0] for law in laws])
    spread = np.array([np.ravel(law.covariance)[0] for law in laws])
    centre = shares @ found
    mixed = Gaussian([centre], shares @ (spread + (found - centre) ** 2))
    return _moments("randomized_midpoint", mixed, (np.array([mean]), np.array([second - mean * mean])))


# ---- G2: the exact maps ---------------------------------------------------------------------------------------------------------------


@states(Statement(
    "G2", "Gaussian targets: the exact map of the flow and the exact kernel of the reverse diffusion",
    "derived here; see also Pierret & Galerne 2025, arXiv:2405.14250",
    r"dY = (Y+s)dt:\ y\mapsto \mu_u+\sqrt{v_u/v_t}\,(y-\mu_t);\qquad"
    r" X_u|X_t=y\ \sim\ N\big(\mu_u+e^{-h}\tfrac{v_u}{v_t}(y-\mu_t),\ v_u(1-e^{-2h}\tfrac{v_u}{v_t})\big),\ h=t-u",
    (MOMENTS,), SURROGATE + ".",
))  # fmt: skip
def gaussian_exact_maps(target):
    r"""The flow's map and the reverse kernel between times t > u, each against an independent computation.

    Cells: Bayes' rule p_t(y) N(x; kernel(y)) = p_u(x) N(y; e^{-h}x, 1 - e^{-2h}) in logarithms; the kernel on N(m_0, c_0) against chains of
    ancestral(beta), and the map against chains of flow_heun, both extrapolated to h = 0; and ancestral sampling with optimal variance, which
    is the kernel, whatever its steps (one direction: several would need one variance each). Control: Bayes' rule with v_u(1 - e^{-3h} v_u/v_t).
    """
    theorem = gaussian_exact_maps
    p, held = directions(target)
    what = about(theorem, held)
    if (claim := unmet(what, "=")) is not None:
        return claim
    least = float(p.var.min())
    cells, wrong = [], []
    for t, u in ((1.0, 0.4), (0.4, 0.0), (2.5, 0.0)):
        cells.append(_bayes(p, t, u, 2.0))
        wrong.append(_bayes(p, t, u, 3.0))
    t = min(0.5, least)
    start = Gaussian(p.mean + 0.5 * np.sqrt(p.var), 0.5 * p.var)
    k, r = _kernel(p, t, 0.0)
    cells += _limits(p, "reverse kernel", lambda g: ancestral(g, "beta"), t, start, (k, r), (1, 2, 3))
    cells += _limits(p, "flow map", flow_heun, t, start, (np.sqrt(p.var / p.at(t)[1]), 0.0), (2, 3, 4))
    one, times = p.widest, grid.quadratic(3.0, 7)
    k, r = _kernel(one, 3.0, 0.0)
    start = Gaussian(one.mean + 1.0, 0.3 * one.var)
    law = propagate(ancestral(times, optimal_variance(times, one.law)), exact(one.law), start=start)
    cells += _moments("ancestral (optimal)", law, (one.mean + k * (start.mean() - one.at(3.0)[0]), k * k * start.covariance + r))
    control = claim_over(wrong, **mutated(theorem, r"Var(X_u|X_t) = v_u(1-e^{-3h}\tfrac{v_u}{v_t})"))
    return powered(claim_over(cells, parameters=told(target, p), **what), control)


def _kernel(p, t, u):
    """(slope, variance) of X_u given X_t."""
    (_, vt), (_, vu) = p.at(t), p.at(u)
    return math.exp(u - t) * vu / vt, vu * (1 - math.exp(2 * (u - t)) * vu / vt)


def _bayes(p, t, u, exponent):
    """Both sides of Bayes' rule at 25 points of each direction, where they differ most."""
    (mt, vt), (mu, vu), h = p.at(t), p.at(u), t - u
    z = np.array([-1.9, -0.8, 0.15, 0.7, 1.4])
    y, x = mt + np.sqrt(vt) * z[:, None, None], mu + np.sqrt(vu) * z[None, :, None]
    normal = lambda x, m, v: -0.5 * ((x - m) ** 2 / v + np.log(2 * math.pi * v))  # noqa: E731
    k = math.exp(-h) * vu / vt
    left = normal(y, mt, vt) + normal(x, mu + k * (y - mt), vu * (1 - math.exp(-exponent * h) * vu / vt))
    right = normal(x, mu, vu) + normal(y, math.exp(-h) * x, -math.expm1(-2 * h))
    at = np.unravel_index(np.argmax(np.abs(left - right)), left.shape)
    size = float(np.abs(left[at]) + np.abs(right[at]) + np.abs(x).max() / math.sqrt(vu.min()))
    lhs, rhs = (Enclosure.near(float(side[at]), 64 * EPS * size) for side in (left, right))
    return equal(lhs, rhs, digits=9, floor=size, name="Bayes", parameters={"of": "Bayes' rule", "t": t, "u": u})


def _limits(p, what, scheme, t, start, closed, powers):
    """Mean and variance of chains from ``start`` at t to the data, extrapolated to h = 0, against y -> mean + k (y - mu_t) + sqrt(r) z."""
    k, r = closed
    laws = [propagate(scheme(grid.uniform(t, n)), exact(p.law), start=start) for n in (8, 16, 32, 64)]
    pairs = (
        ("mean", [law.mean() for law in laws], p.mean + k * (start.mean() - p.at(t)[0]), np.sqrt(p.var) + np.abs(p.mean)),
        ("variance", [np.broadcast_to(law.covariance, p.var.shape) for law in laws], k * k * start.covariance + r, p.var),
    )
    cells = []
    for of, values, right, size in pairs:
        limit, error = richardson(values, 64 * EPS * float(size.max()), powers)
        i = int(np.argmax((np.abs(limit - right) - error) / size))
        lhs = Enclosure.near(float(limit[i]), float(error[i]), method="chains, extrapolated")
        cells.append(equal(lhs, float(right[i]), digits=4, floor=float(size[i]), name=what, parameters={"of": f"{what}, {of}"}))
    return cells
