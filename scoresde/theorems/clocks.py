r"""The chain and its clocks: Euler–Maruyama moments, the process a chain is an exact sample of, and schedules as changes of clock."""

import math

import numpy as np

from ..divergence import kullback_leibler, total_variation, wasserstein2
from ..enclosure import Enclosure
from ..kernel import euler_maruyama, ornstein_uhlenbeck, variance_exploding
from .claim import Statement, claim_equal, claim_over, states
from .numeric import EPS, about, equal, flow, mutated, needs, order, probes, richardson, slow, vouched

__all__ = ["euler_maruyama_modified_equation", "euler_maruyama_moments", "song_2021_time_change"]


def _recursion(steps, start=0.0, noise=2.0):
    r"""(m, v) after x' = (1 - h) x + \sqrt{2h} z, by the recursion v' = (1 - h)^2 v + 2h from v_0 = ``start``."""
    m, v = 1.0, start
    for h in steps:
        m, v = (1 - h) * m, (1 - h) ** 2 * v + noise * h
    return m, v


def _same(lhs, rhs, operations, **how):
    """lhs = rhs up to so many roundings on either side."""
    error = operations * EPS * max(abs(lhs), abs(rhs))
    sides = (Enclosure.near(x, error, method="closed form") for x in (lhs, rhs))
    return claim_equal(*sides, within=8 * error + 1e-300, **how)


@states(Statement(
    "A1", r"Euler–Maruyama moments m_k, σ_k²", "linear recursion; the scheme: Maruyama 1955",
    r"X_{k+1} = (1-h)X_k + \sqrt{2h}\,Z_k:\quad m_k = (1-h)^k,\quad \sigma_k^2 = \frac{1-(1-h)^{2k}}{1-h/2},\quad"
    r" E|X_k|^2 = m_k^2 E|X_0|^2 + d\,\sigma_k^2,\quad 0<h<2",
))  # fmt: skip
def euler_maruyama_moments(target, *, quick=False):
    r"""m_k = (1-h)^k, \sigma_k^2 = (1-(1-h)^{2k})/(1-h/2): the recursion, run step by step, against the closed form.

    Cells: h in (0, 2), k up to 100, to the rounding of k steps. Control: \sigma_k^2 without the 1 - h/2 (the continuous formula).
    """
    needs(target, "second_moment")
    start = target.second_moment()
    cells, wrong = [], []
    for h in (0.1, 1.9) if quick else (0.01, 0.1, 1.0, 1.9):
        for k in (1, 10) if quick else (1, 10, 100):
            closed = euler_maruyama(h, count=k)
            m, v = _recursion([h] * k)
            # each step rounds 1 - h, its square, two products and a sum; the closed form rounds log|1 - h|^k, exp and a quotient
            steps = 6 * k + 4 * (0 if closed.m == 0 else abs(closed.log_m)) + 16
            at = {"h": h, "k": k}
            cells.append(_same(m, closed.m, steps, name="m", parameters={"of": "m_k", **at}))
            cells.append(_same(v, closed.v, steps, name="v", parameters={"of": "σ_k²", **at}))
            wrong.append(_same(v, closed.v * (1 - h / 2), steps, name="v", parameters={"of": "σ_k²", **at}))
            if math.isfinite(start):
                second = _recursion([h] * k, start=start, noise=2 * target.dim)[1]
                cells.append(_same(second, closed.m**2 * start + closed.v * target.dim, steps, name="M2", parameters={"of": "E|X_k|²", **at}))
    control = claim_over(wrong, **mutated(euler_maruyama_moments, r"\sigma_k^2 = 1-(1-h)^{2k}"))
    terms = {f"stationary variance at h = {h}": Enclosure.near(1 / (1 - h / 2), EPS) for h in (0.01, 0.1, 1.0)}
    return claim_over(cells, control=control, terms=terms, **about(euler_maruyama_moments))


@states(Statement(
    "A2", r"the Euler–Maruyama chain is an exact OU process", "derived here; for general equations: Zygalakis 2011, modified equations for SDEs",
    r"L(X_k) = L(\tilde X_{kh}),\quad d\tilde X = -a\tilde X\,dt + \sqrt{2av}\,dB,\quad a = -\tfrac1h\log(1-h),\quad v = \frac1{1-h/2},\quad 0<h<1",
    caveat="the chain's own law differs from p_{kh}: the terms give the distance at t = 1, of order h (TV, W2) and h² (KL)",
))  # fmt: skip
def euler_maruyama_modified_equation(target, *, quick=False):
    r"""a = -\log(1-h)/h, v = 1/(1-h/2): discrete and continuous agree exactly at another speed and another temperature.

    Cells: (m_k, \sigma_k^2) by recursion against the process (a, v). Terms: TV, KL, W2 between the chain started at the target and p_1,
    and their orders in h. Control: a = v = 1, the chain read as a sample of the OU process itself.
    """
    needs(target, "noised")
    cells, wrong = [], []
    for h in (0.1, 0.9) if quick else (0.01, 0.1, 0.5, 0.9):
        for k in (1, 10):
            m, v = _recursion([h] * k)
            a, temperature = -math.log1p(-h) / h, 1 / (1 - h / 2)
            steps = 6 * k + 4 * k * h * a + 16
            for claims, speed, heat in ((cells, a, temperature), (wrong, 1.0, 1.0)):
                t = speed * k * h
                claims.append(_same(m, math.exp(-t), steps, name="m", parameters={"of": "m_k", "h": h, "k": k}))
                claims.append(_same(v, heat * -math.expm1(-2 * t), steps, name="v", parameters={"of": "σ_k²", "h": h, "k": k}))
    control = claim_over(wrong, **mutated(euler_maruyama_modified_equation, r"L(X_k) = p_{kh}"))
    what = about(euler_maruyama_modified_equation)
    return claim_over(cells, control=control, terms=_discrete_against_continuous(target, quick), **what)


def _discrete_against_continuous(target, quick):
    """Distances at t = 1 between the chain's law and p_1, with the local order in h."""
    counts, terms = (5, 10) if quick else (5, 10, 20), {}
    limit = flow(target, 1.0)
    wanted = (("TV", total_variation), ("KL", kullback_leibler), ("W2", wasserstein2))
    for name, divergence in wanted[:1] if quick or slow(target) else wanted:
        errors = [vouched(lambda n=n, f=divergence: f(target.noised(euler_maruyama(1 / n, count=n)), limit)) for n in counts]
        if any(e is None for e in errors):
            continue
        terms |= {f"{name}(chain, p_1) at h = {1 / n:g}": e for n, e in zip(counts, errors)}
        slope = order([1 / n for n in counts], errors)
        terms |= {} if slope is None else {f"order of {name} in h": slope}
    return terms


@states(Statement(
    "A4", r"a noise schedule is a change of clock", "Song et al. 2021, https://arxiv.org/abs/2011.13456",
    r"dX = -\tfrac12\beta X\,dt + \sqrt\beta\,dB \;\Rightarrow\; L(X_t) = p_{\tau(t)},\quad \tau = \tfrac12\int_0^t\beta;\qquad"
    r" \text{Euler–Maruyama with } \beta_k, \Delta \text{ is that of OU with } h_k = \tfrac12\beta_k\Delta;\qquad"
    r" s_{VE}(e^\tau x) = e^{-\tau}s_\tau(x),\quad \sigma_{VE}^2 = e^{2\tau}-1",
    caveat="the schedule of a discretised VP process is exactly a choice of OU steps if β is frozen over each step",
))  # fmt: skip
def song_2021_time_change(target, *, quick=False):
    r"""VP is OU at the clock \tau = \frac12\int\beta, VE is OU in units of e^\tau: one forward process, and schedules are grids of times.

    Cells: moment equations m' = -\beta m/2, v' = \beta(1 - v) integrated numerically against OU(\tau); the VP chain against OU steps;
    scores of the target's VE law. Control: \tau = \int\beta, the factor ½ lost.
    """
    needs(target, "noised", "mean", "cov")
    cells, wrong = [], []
    for t in (0.5,) if quick else (0.1, 0.5, 1.0):  # beta from 0.1 to 20 over [0, 1]
        clock = 0.5 * (0.1 * t + 0.5 * 19.9 * t * t)
        for side, tau in ((cells, clock), (wrong, 2 * clock)):
            exact = ornstein_uhlenbeck(tau)
            for of, (value, error), rhs in zip(("m", "v"), _moment_equations(t), (exact.m, exact.v)):
                about_it = {"name": of, "parameters": {"of": f"VP {of}(t)", "t": t}}
                side.append(equal(Enclosure.near(value, error, method="Runge–Kutta, extrapolated"), rhs, digits=8, floor=1.0, **about_it))
    betas, width = np.array([8.0, 3.0, 1.0, 0.4, 0.1]), 0.2
    m, v = 1.0, 0.0
    for beta in betas:
        m, v = (1 - 0.5 * beta * width) * m, (1 - 0.5 * beta * width) ** 2 * v + beta * width
    closed = euler_maruyama(0.5 * betas * width)
    cells.append(_same(m, closed.m, 64, name="m", parameters={"of": "VP chain m_N"}))
    cells.append(_same(v, closed.v, 64, name="v", parameters={"of": "VP chain v_N"}))
    for tau in (0.5,) if quick else (0.1, 0.5, 2.0):
        p, growth = flow(target, tau), math.exp(tau)
        spread = target.noised(variance_exploding(math.sqrt(math.expm1(2 * tau))))
        x = probes(p)
        s = p.score(x)
        rounding = 16 * EPS * (8 + np.abs(p.logpdf(x)))[:, None] * (1 + np.abs(s) + np.abs(x) / -math.expm1(-2 * tau))
        lhs, rhs, size = spread.score(growth * x), s / growth, float(np.max(np.abs(s)))
        worst = np.unravel_index(np.argmax(np.abs(lhs - rhs)), lhs.shape)
        sides = (Enclosure.near(y[worst], rounding[worst], method="closed form") for y in (lhs, rhs))
        cells.append(equal(*sides, digits=8, floor=size, name="score", parameters={"of": "VE score, worst of 5 points", "t": tau}))
    control = claim_over(wrong, **mutated(song_2021_time_change, r"\tau = \int_0^t\beta"))
    return claim_over(cells, control=control, **about(song_2021_time_change))


def _moment_equations(t):
    r"""[(m, error), (v, error)] of m' = -\beta m/2, v' = \beta(1-v), \beta = 0.1 + 19.9 t, by Runge–Kutta 4 with 32 to 256 steps, extrapolated."""
    f = lambda u, y: (0.1 + 19.9 * u) * np.array([-0.5 * y[0], 1 - y[1]])  # noqa: E731
    values = []
    for n in (32, 64, 128, 256):
        y, h = np.array([1.0, 0.0]), t / n
        for k in range(n):
            u = k * h
            k1 = f(u, y)
            k2 = f(u + h / 2, y + h / 2 * k1)
            k3 = f(u + h / 2, y + h / 2 * k2)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + f(u + h, y + h * k3))
        values.append(y)
    return list(zip(*richardson(values, 256 * EPS, (4, 5, 6)), strict=True))
