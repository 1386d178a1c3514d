r"""The Metropolis-adjusted Langevin chain y = x + h s(x) + \sqrt{2h} z: what the test makes of a proposal that is biased."""

import math

import numpy as np

from ..divergence.view import view
from ..enclosure import Enclosure
from ..engine.metropolis import Mesh, Points, points, transitions
from ..errors import NoMethod
from .claim import Statement, claim_over, states
from .numeric import EPS, about, equal, exists, flow, mutated, needs, probes, richardson, slow, unmet

__all__ = ["roberts_1996_metropolis_adjusted"]

MOMENT = r"E|X|^2 finite"
TAILS = "p_t has light tails (all its mass within 60 on the line)"
STEPS = {1.0: (0.5,), 0.1: (0.05, 0.5)}  # h for each t
SMALL = (0.16, 0.04, 0.01)  # each a fourth of the one before: the rejection rate is a series in \sqrt h


@states(Statement(
    "E4'", "the Metropolis-adjusted Langevin chain: detailed balance, invariance, acceptance",
    "Metropolis et al. 1953; Besag 1994; Roberts & Tweedie 1996, https://doi.org/10.2307/3318418; the last limit: derived here (order: Roberts &"
    " Rosenthal 1998, https://doi.org/10.1111/1467-9868.00123)",
    r"\pi(x)P(x,y)=\pi(y)P(y,x),\quad P(x,y)=p(x,y)\left(1\wedge\rho(x,y)\right),\ \rho=\frac{\pi(y)p(y,x)}{\pi(x)p(x,y)};\qquad \pi P=\pi;\qquad"
    r" \mathrm P(\mathrm{accept})=\iint\min(\pi(x)p(x,y),\pi(y)p(y,x))\,dx\,dy;\qquad"
    r" \lim_{h\to0}h^{-3/2}\,\mathrm P(\mathrm{reject}) = \tfrac1{\sqrt2}E\left|\tfrac16s''(X)Z^3+\tfrac12(ss')(X)Z\right|\qquad(\pi=p_t,\ d=1)",
    (MOMENT, TAILS), caveat="without the test the bias is of order h (E4); the test costs nothing to first order, since it rejects with probability"
    " of order h^{3/2}",
))  # fmt: skip
def roberts_1996_metropolis_adjusted(target, *, quick=False):
    r"""\pi P = \pi for every step h, by detailed balance; and what of the proposals is accepted, on \pi = p_t, t = 1 and 0.1, on the line.

    Cells: detailed balance at the worst of 1600 pairs; (\pi P)(x)/\pi(x) = 1 at five points, by quadrature that the kinks of the test cut; the
    acceptance rate by that quadrature and by a plain double sum; h^{-3/2} P(reject), extrapolated to h = 0. Control: the test without the
    proposal's densities, \rho = \pi(y)/\pi(x).
    """
    theorem = roberts_1996_metropolis_adjusted
    needs(target, "noised", "second_moment")
    finite = exists(target.second_moment)
    what = about(theorem, (MOMENT, finite), (TAILS, True))
    if (claim := unmet(what, "=")) is not None:
        return claim
    if target.dim != 1:
        raise NoMethod(f"{theorem.__name__}: got dimension {target.dim}, allowed is 1: the integrals over the test's kinks are done on the line")
    times = (1.0,) if quick or slow(target) else (1.0, 0.1)
    laws = {t: flow(target, t) for t in times}
    edges = {t: view(p).edges for t, p in laws.items()}
    what = about(theorem, (MOMENT, True), (TAILS, all(e[-1] - e[0] <= 60 for e in edges.values())))
    if (claim := unmet(what, "=")) is not None:
        return claim
    cells, wrong, terms = [], [], {}
    for t, p in laws.items():
        field = points(p, lambda _, x, p=p: p.score(x), t)
        for h in STEPS[t]:
            at = {"t": t, "h": h}
            cells.append(_balance(p, h, True, at))
            wrong.append(_balance(p, h, False, at))
            (here, rate), (there, again) = (_integrals(field, edges[t], h, count, probes(p)[:, 0]) for count in (16, 12))
            k = int(np.argmax(np.abs(here - 1)))
            lhs = Enclosure.near(here[k], 1e-12 + 2 * float(np.max(np.abs(here - there))), method="quadrature")
            cells.append(equal(lhs, 1.0, digits=8, floor=1.0, name="invariance", parameters={"of": "πP/π", **at}))
            lhs = Enclosure.near(rate, 1e-11 + 2 * abs(rate - again), method="quadrature")
            cells.append(equal(lhs, _double_sum(p, field, edges[t], h), digits=3, floor=1.0, name="acceptance", parameters={"of": "P(accept)", **at}))
            terms[f"P(accept) at t = {t:g}, h = {h:g}"] = lhs
    p, t = laws[1.0], 1.0
    rejected = [1 - _integrals(points(p, lambda _, x: p.score(x), t), edges[t], h, 12)[1] for h in SMALL]
    limit, error = richardson([r / h**1.5 for r, h in zip(rejected, SMALL, strict=True)], [1e-12 / h**1.5 for h in SMALL], (1, 2))
    rhs = _rejection(p, edges[t])
    lhs = Enclosure.near(float(limit), float(error), method="quadrature, extrapolated")
    cells.append(equal(lhs, rhs, digits=2, floor=rhs.value, name="rejection", parameters={"of": "P(reject)/h^{3/2}", "t": t}))
    terms["lim P(reject)/h^{3/2}"] = rhs
    control = claim_over(wrong, **mutated(theorem, r"\pi(x)P(x,y)=\pi(y)P(y,x),\ P(x,y)=p(x,y)(1\wedge\pi(y)/\pi(x))"))
    return claim_over(cells, control=control, terms=terms, **what)


def _balance(p, h, corrected, at):
    r"""\pi(x) P(x, y) against \pi(y) P(y, x) at the pair where they differ most, from the textbook's densities."""
    sd = math.sqrt(float(p.cov()[0, 0]))
    x = float(p.mean()[0]) + sd * np.linspace(-2.5, 2.6, 40)
    log_p, s = np.asarray(p.logpdf(x[:, None])), np.asarray(p.score(x[:, None]))[:, 0]
    proposal = -((x - (x + h * s)[:, None]) ** 2) / (4 * h) - 0.5 * math.log(4 * math.pi * h)  # row x, column y
    ratio = log_p - log_p[:, None] + (proposal.T - proposal if corrected else 0.0)
    flows = log_p[:, None] + proposal + np.minimum(ratio, 0.0)
    # relative rounding of e^{a sum}: of its exponents
    there, back = np.exp(flows), np.exp(flows.T)
    error = 8 * EPS * (4 + np.abs(log_p[:, None]) + np.abs(log_p) + np.abs(proposal) + np.abs(proposal.T)) * np.maximum(there, back)
    i, j = np.unravel_index(np.argmax(np.abs(there - back) - error), there.shape)
    lhs, rhs = (Enclosure.near(f[i, j], error[i, j], method="closed form") for f in (there, back))
    return equal(lhs, rhs, digits=10, floor=float(there.max()), name="balance", parameters={"of": "π(x)P(x,y)", **at})


def _integrals(field, edges, h, count, at=None):
    r"""((\pi P)(x)/\pi(x) at points or None, P(accept)) with ``count`` Gauss nodes a panel."""
    pieces = np.maximum(1, np.ceil(np.diff(edges) / (1.2 * math.sqrt(2 * h)))).astype(int)
    parts = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(edges[:-1], edges[1:], pieces, strict=True)]
    mesh = Mesh(np.append(np.concatenate(parts), edges[-1]), count)
    y = field(mesh.x)
    density = np.exp(y.log)
    held = density > 1e-18
    rate = float((mesh.w * density)[held] @ (1 - transitions(y[held], mesh, y, field, h, onto=False)[1]))
    if at is None:
        return None, rate
    there = field(at)
    onto, left = transitions(there, mesh, y, field, h)
    return onto @ density / np.exp(there.log) + left, rate


def _double_sum(p, field, edges, h):
    r"""\iint \min(\pi(x) p(x, y), \pi(y) p(y, x)) by the trapezoidal rule on a grid of x and z, y = x + h s + \sqrt{2h} z.

    Beyond 5.5 standard deviations z has probability 4e-8. A kink costs at most an eighth of the second difference times the spacing, and so
    does curvature: their sum is the error in z; in x, half of the grid against all of it.
    """
    centre, sd = float(p.mean()[0]), math.sqrt(float(p.cov()[0, 0]))
    count = 1 + 2 * math.ceil(min(max(18 * sd / np.diff(edges).min(), 90), 300))
    x, z = field(centre + sd * np.linspace(-9.0, 9.0, count)), np.linspace(-5.5, 5.5, 701)
    dx, dz = x.x[1] - x.x[0], z[1] - z[0]
    y = field((x.x[:, None] + h * x.s[:, None] + math.sqrt(2 * h) * z).ravel())
    y = Points(*(a.reshape(len(x.x), len(z)) for a in (y.x, y.log, y.s)))
    taken = np.exp(np.minimum(x[:, None].beside(y, h)[0], 0.0) - 0.5 * z**2) / math.sqrt(2 * math.pi)
    weight = np.exp(x.log) * dx
    rates = taken.sum(axis=1) * dz
    value, coarse = float(weight @ rates), float(2 * weight[::2] @ rates[::2])
    error = float(weight @ np.abs(np.diff(taken, 2, axis=1)).sum(axis=1)) * dz / 8 + abs(value - coarse)
    return Enclosure.near(value, error + 1e-7, method="double sum")


def _rejection(p, edges):
    r"""2^{-1/2} E|s'' Z^3/6 + s s' Z/2|: the mean over Z in closed form, over X by Gauss nodes at two resolutions."""
    values = []
    for count in (16, 12):
        mesh = Mesh(edges, count)
        x, gap = mesh.x, 1e-3
        s = np.asarray(p.score(x[:, None]))[:, 0]
        slope = lambda y: np.asarray(p.score_jacobian(y[:, None]))[:, 0, 0]  # noqa: E731
        curve = (8 * (slope(x + gap) - slope(x - gap)) - slope(x + 2 * gap) + slope(x - 2 * gap)) / (12 * gap)
        weight = mesh.w * np.exp(np.asarray(p.logpdf(x[:, None])))
        values.append(float(weight @ _absolute(curve / 6, 0.5 * s * slope(x))) / math.sqrt(2))
    return Enclosure.near(values[0], 1e-8 + 2 * abs(values[0] - values[1]), method="quadrature")


def _absolute(a, b):
    r"""E|a Z^3 + b Z| = 2\int_0^\infty |a z^2 + b| z \varphi dz, split at r^2 = -b/a where the sign changes."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        r2 = np.where(a * b < 0, -b / a, 0.0)
        e = np.exp(-0.5 * r2)
        # \int_0^r z\varphi = c(1 - e), \int_0^r z^3\varphi = c(2 - (r^2 + 2) e), c = (2 pi)^{-1/2}
        inner = np.where(r2 > 0, a * (2 - (np.where(e > 0, r2, 0.0) + 2) * e) + b * (1 - e), 0.0)
    return 2 / math.sqrt(2 * math.pi) * (np.abs(2 * a + b - inner) + np.abs(inner))
