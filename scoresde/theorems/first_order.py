"""A Gaussian target: what the error of every scheme is to first order in the step, in closed form."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import grid
from ..enclosure import Enclosure
from ..engine.propagate import propagate
from ..laws import Gaussian
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
)
from ..score import exact
from .bounds import powered
from .claim import Statement, claim_over, states
from .gaussians import MOMENTS, SURROGATE, directions, told
from .numeric import EPS, about, equal, mutated, richardson, unmet

__all__ = ["gaussian_first_order"]


def _noise(v):
    return (v - 2) ** 2 / v + 2 * (1 - v)


def _drift(v):
    return (v - 1) ** 2 / v + 2 * (1 - v)


@dataclass(frozen=True)
class FirstOrder:
    r"""var' - v_u = h^{q+1} \rho(t, v_t) + ..., mean' - \mu_u = h^{q+1} r(v_t) \mu_t + ... of one exact step from N(\mu_t, v_t), q = power."""

    name: str
    table: Callable
    rho: Callable
    mean: Callable
    flow: bool = False  # carried on by the flow, or by the reverse diffusion
    power: int = 1
    stop: float = 0.0  # where the grid ends, over the least variance or 1


FIRST = (
    FirstOrder("euler_maruyama", lambda g, p: euler_maruyama(g), lambda t, v: _noise(v), lambda v: -0.5 + 0 * v),
    FirstOrder("exponential_relative", lambda g, p: exponential_relative(g), lambda t, v: _noise(v) - v, lambda v: -1 + 0 * v),
    FirstOrder("exponential_absolute", lambda g, p: exponential_absolute(g), lambda t, v: _noise(v) + v, lambda v: 0 * v),
    FirstOrder("ancestral (beta)", lambda g, p: ancestral(g, "beta"), lambda t, v: _noise(v) + v - 2, lambda v: 0 * v),
    FirstOrder("ancestral (optimal)", lambda g, p: ancestral(g, optimal_variance(g, p.law)),
               lambda t, v: _noise(v) + v + 2 - 4 * np.mean(1 / v, axis=-1, keepdims=True), lambda v: 0 * v),
    FirstOrder("flow_euler", lambda g, p: flow_euler(g), lambda t, v: _drift(v), lambda v: -0.5 + 0 * v, flow=True),
    FirstOrder("flow_heun", lambda g, p: flow_heun(g), lambda t, v: -(v - 1) * (v * v - 3) / (3 * v * v), lambda v: (3 - 2 * v) / (12 * v), True, 2),
    FirstOrder("ancestral (posterior), stopped", lambda g, p: ancestral(g, "posterior"),
               lambda t, v: _noise(v) + v - 2 - 4 / np.expm1(2 * t), lambda v: 0 * v, stop=0.1),
    FirstOrder("ddim, stopped", lambda g, p: ddim(g), lambda t, v: _drift(v) + v + 1 / np.expm1(-2 * t), lambda v: 0 * v, True, 1, 0.1),
)  # fmt: skip

# limits for grids of equal steps that go on to t = 0, where \sigma_t = 0: the same for every Gaussian
POSTERIOR, DDIM = -2.0, -0.5  # of (var - v)/h, divided by log(1/h)
DPM_SOLVER_2 = -1.9393601014  # of (var - v)/h: -2 {1 + \sum_{j>=2} [2 (\sqrt j - \sqrt{j-1}) (j (j-1))^{1/4} - 1]}


@states(Statement(
    "G3", "Gaussian targets: the exact first-order error of every scheme, and what happens at t = 0",
    "derived here; orders measured before by Pierret & Galerne 2025, arXiv:2405.14250",
    r"\frac{var-v}{h^q}\to\int_0^T\rho(t,v_t)\,\Phi_t\,dt,\quad \Phi_t = \Big(\frac{e^{-t}v}{v_t}\Big)^2 \text{(diffusion)},\ \frac v{v_t}"
    r" \text{(flow)};\quad \rho_{EM} = \tfrac{(v-2)^2}v+2(1-v);"
    r"\qquad\text{steps down to } 0:\ \frac{var-v}{h\log(1/h)}\to-2 \text{ (posterior)},\ -\tfrac12 \text{ (DDIM)};"
    r"\quad \frac{var-v}h\to-1.93936 \text{ (DPM-Solver-2)}",
    (MOMENTS,),
    "The chain starts at p_T. Order 1 (q = 1) except flow_heun (q = 2) and optimal variances in one direction (exact). Three schemes lose their "
    "order where the last step goes to 0, with constants that are the same for every target; DPM-Solver-2 takes a step of DDIM from h to 0. "
    + SURROGATE + ".",
))  # fmt: skip
def gaussian_first_order(target, *, quick=False):
    r"""(mean - \mu)/h^q and (var - v)/h^q of a chain from p_T, extrapolated to h = 0, against closed integrals, for nine schemes.

    \rho is the local error of an exact start: with N = (v-2)^2/v + 2(1-v) and D = (v-1)^2/v + 2(1-v) it is N (euler_maruyama), N - v, N + v
    (exponential_relative, _absolute), N + v - 2 (ancestral, beta), D (flow_euler), -(v-1)(v^2-3)/(3v^2) with q = 2 (flow_heun),
    N + v - 2 - 4/(e^{2t}-1) (posterior) and D + v - 1/\sigma_t^2 (ddim). The last two are not integrable at 0: there the error is h log(1/h),
    with the constants -2 and -1/2, and DPM-Solver-2, of order 2 before, has order 1. Control: -1 for the posterior variance.
    """
    theorem = gaussian_first_order
    p, held = directions(target)
    what = about(theorem, held)
    if (claim := unmet(what, "=")) is not None:
        return claim
    scale = min(1.0, float(p.var.min()))
    T = min(0.5, 2 * scale)
    cells = [cell for scheme in FIRST for cell in _compare(scheme, p, T, scheme.stop * scale, (16, 32, 64, 128)[: 3 if quick else 4])]
    cells += _at_zero(p, 0.05 * scale, POSTERIOR)
    control = claim_over(_at_zero(p, 0.05 * scale, -1.0)[:1], **mutated(theorem, r"\frac{var-v}{h\log(1/h)}\to-1 \text{ (posterior)}"))
    return powered(claim_over(cells, parameters=told(target, p, T=T), **what), control)


def _errors(p, table, T, stop, steps):
    """(mean - mu_stop, variance - v_stop), (len(steps), d) each, of chains from p_T."""
    mean, var = p.at(stop)
    start = Gaussian(*p.at(T))
    laws = [propagate(table(grid.uniform(T, n, stop=stop), p), exact(p.law), start=start) for n in steps]
    return np.array([law.mean() - mean for law in laws]), np.array([np.broadcast_to(law.covariance, var.shape) - var for law in laws])


def _compare(scheme, p, T, stop, steps):
    means, variances = _errors(p, scheme.table, T, stop, steps)
    powers = (T - stop) / np.array(steps)[:, None]
    node, weight = np.polynomial.legendre.leggauss(40)
    t = stop + 0.5 * (T - stop) * (1 + node)[:, None]
    weight = 0.5 * (T - stop) * weight
    v = p.var + (1 - p.var) * -np.expm1(-2 * t)
    end = p.at(stop)[1]
    carried = end / v if scheme.flow else (np.exp(stop - t) * end / v) ** 2
    sides = (
        ("mean", means, weight @ (scheme.mean(v) * np.exp(-t) * p.mean * np.sqrt(carried)), np.abs(p.mean) + np.sqrt(p.var)),
        ("variance", variances, weight @ (scheme.rho(t, v) * carried), p.var),
    )
    cells = []
    for of, errors, right, size in sides:
        noise = 256 * EPS * (size.max() / powers**scheme.power)
        limit, error = richardson(errors / powers**scheme.power, noise, (1, 2, 3))
        floor = size * (1 + T / p.var) ** scheme.power  # what the constants are made of
        i = int(np.argmax((np.abs(limit - right) - error) / floor))
        lhs = Enclosure.near(float(limit[i]), float(error[i]), method="chains, extrapolated")
        cells.append(equal(lhs, float(right[i]), digits=2, floor=float(floor[i]), name=of, parameters={"scheme": scheme.name, "of": of}))
    return cells


def _at_zero(p, T, posterior):
    r"""The limits for steps that go on to 0. T is short: the rest of the way adds to the h of h log(1/h), not to its constant."""
    steps = np.array([64, 128, 256])
    with_last = lambda g, p: ddim(g[-2:]) @ dpm_solver_2(g[:-1])  # noqa: E731
    cells = []
    limits = (
        ("ancestral (posterior)", lambda g, p: ancestral(g, "posterior"), posterior),
        ("ddim", lambda g, p: ddim(g), DDIM),
        ("dpm_solver_2", with_last, DPM_SOLVER_2),
    )
    for name, table, constant in limits:
        rates = _errors(p, table, T, 0.0, steps)[1] / (T / steps[:, None])
        if name != "dpm_solver_2":
            rates = np.diff(rates, axis=0) / math.log(2)  # h is halved: log(1/h) grows by log 2
        gap = np.abs(np.diff(rates, axis=0)[-1])
        i = int(np.argmax(np.abs(rates[-1] - constant)))
        lhs = Enclosure.near(float(rates[-1, i]), float(gap[i]) + 1e-6, method="chains")
        cells.append(equal(lhs, constant, digits=1, floor=1.0, name="at 0", parameters={"scheme": name, "of": "variance, steps down to 0"}))
    return cells
