r"""The probability flow dx = (-x - s_\tau(x)) d\tau: likelihoods, and the monotone map on the line. Bits instead of numbers: binomial diffusion."""

import math

import numpy as np

from ..enclosure import Enclosure
from ..errors import NoMethod
from .claim import Statement, claim_over, states
from .numeric import EPS, about, equal, exists, flow, mutated, needs, probes, slow, unmet

__all__ = ["chen_2018_flow_likelihood", "quadratic_identity", "sohl_dickstein_2015_binomial", "transported"]

MOMENT = r"E|X|^2 finite"
AWAY = "the divergence along the flow is not 0 (it is for N(μ, I))"


# ---- C10 -------------------------------------------------------------------------------------------------------------------------------


def transported(target, x, start, end, steps):
    r"""(x_T (n, d), \int \operatorname{div}(-x - s_\tau)\,d\tau (n,)) along the flow from time ``start`` to ``end``, points x (n, d).

    Runge–Kutta of order 4 in ``steps`` steps, equal in log(\tau + 0.02), since p_\tau varies fastest near time 0.
    """
    times = np.exp(np.linspace(math.log(start + 0.02), math.log(end + 0.02), steps + 1)) - 0.02
    middle = 0.5 * (times[1:] + times[:-1])
    law, total = flow(target, start), np.zeros(len(x))

    def speed(law, y):
        return -y - law.score(y), -law.dim - np.trace(law.score_jacobian(y), axis1=-2, axis2=-1)

    for k, h in enumerate(np.diff(times)):
        between, after = flow(target, float(middle[k])), flow(target, float(times[k + 1]))
        v1, d1 = speed(law, x)
        v2, d2 = speed(between, x + 0.5 * h * v1)
        v3, d3 = speed(between, x + 0.5 * h * v2)
        v4, d4 = speed(after, x + h * v3)
        x, total, law = x + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4), total + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4), after
    return x, total


@states(Statement(
    "C10", "probability flow: log p_0(x_0) = log p_T(x_T) + ∫ div, and x_T = F_T⁻¹(F_0(x_0)) on the line",
    "Chen, Rubanova, Bettencourt & Duvenaud 2018, https://arxiv.org/abs/1806.07366; Song et al. 2021, https://arxiv.org/abs/2011.13456",
    r"\dot x_\tau=-x_\tau-s_\tau(x_\tau):\qquad\log p_0(x_0)=\log p_T(x_T)-\int_0^T\big(d+\operatorname{tr}\nabla s_\tau(x_\tau)\big)d\tau;"
    r"\qquad d=1:\ F_\tau(x_\tau)=F_0(x_0)", (MOMENT, AWAY),
    caveat="with log γ(x_T) for log p_T(x_T), as samplers report it, the likelihood is off by the initialisation error; above the line the map is "
    "not the optimal transport in general",
))  # fmt: skip
def chen_2018_flow_likelihood(target, *, quick=False):
    r"""\log p_0(x_0) against \log p_T(x_T) + \int div, and F_T(x_T) against F_0(x_0) (on the line), at five points; any d.

    The flow by Runge–Kutta, its error from half the steps, which are doubled until they agree; from time 0.05 to 1 (from 0 it may be stiff).
    Raises NoMethod in d > 64: the divergence is the trace of a d x d Jacobian.
    Control: \log p_0(x_0) = \log p_T(x_T), without the divergence.
    """
    needs(target, "noised", "second_moment")
    what = about(chen_2018_flow_likelihood, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    if target.dim > 64:
        raise NoMethod(f"chen_2018_flow_likelihood: got dimension {target.dim}, allowed is at most 64: the divergence takes the whole Jacobian")
    start, end = 0.05, 1.0
    first, last = flow(target, start), flow(target, end)
    x = probes(first)
    steps = 16 if slow(target) else 40
    y, total = transported(target, x, start, end, steps)
    while True:
        steps, rough, early = 2 * steps, y, total
        y, total = transported(target, x, start, end, steps)
        shift = np.linalg.norm(y - rough, axis=-1)
        if steps > 300 or max(shift.max(), np.abs(total - early).max()) <= (1e-4 if quick or slow(target) else 1e-5):
            break
    what = about(chen_2018_flow_likelihood, (MOMENT, True), (AWAY, float(np.max(np.abs(total))) > 0.01))
    if (claim := unmet(what, "=")) is not None:
        return claim
    slope = float(np.max(np.linalg.norm(last.score(y), axis=-1)))
    cells, wrong = [], []
    likelihood, carried = first.logpdf(x), last.logpdf(y)
    for k in range(len(x)):
        error = (slope + 1) * shift[k] + abs(total[k] - early[k]) + 256 * EPS * (8 + abs(likelihood[k]) + abs(carried[k]))
        lhs = Enclosure.near(likelihood[k], 16 * EPS * (8 + abs(likelihood[k])), method="closed form")
        how = {"digits": 4, "floor": float(target.dim), "name": "log p", "parameters": {"of": "log p_0(x_0)", "point": k}}
        cells.append(equal(lhs, Enclosure.near(carried[k] + total[k], error, method="flow, Runge–Kutta"), **how))
        wrong.append(equal(lhs, Enclosure.near(carried[k], error, method="flow, Runge–Kutta"), **how))
    if target.dim == 1 and hasattr(first, "cdf"):
        before, after = first.cdf(x), last.cdf(y)
        density = np.exp(last.logpdf(y))
        for k in range(len(x)):
            lhs = Enclosure.near(after[k], 2 * density[k] * shift[k] + 64 * EPS, method="flow, Runge–Kutta")
            cells.append(equal(lhs, float(before[k]), digits=6, floor=1.0, name="F", parameters={"of": "F_T(x_T) = F_0(x_0)", "point": k}))
    control = claim_over(wrong, **mutated(chen_2018_flow_likelihood, r"\log p_0(x_0)=\log p_T(x_T)"))
    return claim_over(cells, control=control, parameters={"from": start, "to": end, "steps": steps}, **what)


# ---- C12 -------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "C12", "‖y−(1−h)x‖² = ‖x−(1+h)y‖² − 2h‖y−x‖² + h²(‖x‖²−‖y‖²)", "expansion of both squares",
    r"\|y-(1-h)x\|^2=\|x-(1+h)y\|^2-2h\|y-x\|^2+h^2\left(\|x\|^2-\|y\|^2\right)", (MOMENT,),
    caveat="it turns one Euler–Maruyama step of the noise around; the terms beyond the first are of order h² where ‖y − x‖² is of order h",
))  # fmt: skip
def quadratic_identity(target, *, quick=False):
    r"""The identity by which a step x -> y of the forward chain is read as a step back; x at five points of the target, y one step on.

    Cells: h = 0.01, 0.1, 0.5, each at the worst point. Control: without the term in h^2.
    """
    needs(target, "noised", "second_moment")
    what = about(quadratic_identity, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    cells, wrong, x = [], [], probes(flow(target, 0.05))
    square = lambda z: (z * z).sum(-1)  # noqa: E731
    for h in (0.1,) if quick else (0.01, 0.1, 0.5):
        noise = np.array([-1.3, 0.4, 2.1, -0.6, 1.1])[:, None] * np.where(np.arange(target.dim) % 2, -1.0, 1.0)
        y = (1 - h) * x + math.sqrt(2 * h) * noise
        lhs, short, rest = square(y - (1 - h) * x), square(x - (1 + h) * y) - 2 * h * square(y - x), h * h * (square(x) - square(y))
        error = 64 * EPS * (square(x) + square(y)) * (1 + h) ** 2
        for side, rhs in ((cells, short + rest), (wrong, short)):
            k = int(np.argmax(np.abs(lhs - rhs)))
            sides = (Enclosure.near(value[k], error[k], method="closed form") for value in (lhs, rhs))
            side.append(equal(*sides, digits=10, floor=float(square(x)[k] + square(y)[k]), name="squares", parameters={"h": h}))
    control = claim_over(wrong, **mutated(quadratic_identity, r"\|y-(1-h)x\|^2=\|x-(1+h)y\|^2-2h\|y-x\|^2"))
    return claim_over(cells, control=control, **what)


# ---- C11 -------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "C11", "binomial diffusion: P(x_t = 1 | x_0) = ½ + (x_0 − ½) Π(1 − β_s), and the exact reverse of a bit string",
    "Sohl-Dickstein, Weiss, Maheswaranathan & Ganguli 2015, https://arxiv.org/abs/1503.03585",
    r"q(x_t|x_{t-1})=\mathrm{Bern}\big(x_{t-1}(1-\beta_t)+\tfrac12\beta_t\big):\quad P(x_t=1|x_0)=\tfrac12+(x_0-\tfrac12)\prod_{s\le t}(1-\beta_s);"
    r"\qquad\beta_t=\tfrac1{T-t+1}:\ \prod_{s\le t}(1-\beta_s)=\tfrac{T-t}T",
    caveat="no use is made of the target: bits are not real numbers",
))  # fmt: skip
def sohl_dickstein_2015_binomial(target=None, *, bits=4, length=6, quick=False):
    r"""Every string of ``bits`` bits, by enumeration: the law at each time from the product formula, and back through Bayes' rule step by step.

    The initial law is fixed, p(x) proportional to 1 + x (x the number that the bits write). Cells: total variation between the iterated
    transition and the product formula at every time; between the law that the exact reverse chain makes of the law at T and the initial one;
    the remaining share (T - t)/T. Control: \beta_t = 1/(T - t + 2), which leaves the last bit undetermined.
    """
    what = about(sohl_dickstein_2015_binomial)
    cells, wrong = [], []
    for T in (length,) if quick else (2, length, 3 * length):
        cells += _binomial(bits, T, lambda t, T=T: 1 / (T - t + 1))
        wrong += _binomial(bits, T, lambda t, T=T: 1 / (T - t + 2))
    control = claim_over(wrong, **mutated(sohl_dickstein_2015_binomial, r"\beta_t=\tfrac1{T-t+2}:\ \prod_{s\le t}(1-\beta_s)=\tfrac{T-t}T"))
    return claim_over(cells, control=control, parameters={"bits": bits}, **what)


def _binomial(bits, T, beta):
    start = 1.0 + np.arange(2**bits)
    laws, steps, left = [start / start.sum()], [], 1.0
    cells = []
    for t in range(1, T + 1):
        steps.append(_string_kernel(bits, 1 - beta(t)))
        laws.append(laws[-1] @ steps[-1])
        left *= 1 - beta(t)
        at = {"T": T, "t": t}
        cells.append(_same(laws[-1], laws[0] @ _string_kernel(bits, left), {"of": "q(x_t|x_0)", **at}))
        cells.append(equal(_near(left, 64 * EPS), (T - t) / T, digits=12, floor=1.0, name="share", parameters={"of": "Π(1−β)", **at}))
    back = np.full(2**bits, 2.0**-bits)
    cells.append(_same(laws[-1], back, {"of": "x_T is uniform", "T": T, "t": T}))
    back = laws[-1]
    for kernel, before, after in zip(reversed(steps), reversed(laws[:-1]), reversed(laws[1:]), strict=True):
        back = (back / after) @ (kernel * before[:, None]).T  # q(x_{t-1}|x_t) = q(x_t|x_{t-1}) q(x_{t-1})/q(x_t)
    cells.append(_same(back, laws[0], {"of": "reverse chain", "T": T, "t": 0}))
    return cells


def _string_kernel(bits, keep):
    """(2^bits, 2^bits) transition of independent bits, each kept with probability ``keep`` and else drawn anew."""
    one, kernel = np.array([[1 + keep, 1 - keep], [1 - keep, 1 + keep]]) / 2, np.ones((1, 1))
    for _ in range(bits):
        kernel = np.kron(kernel, one)
    return kernel


def _near(value, error):
    return Enclosure.near(value, error, method="enumeration")


def _same(p, q, parameters):
    """TV(p, q) = 0 for laws on the strings."""
    return equal(_near(0.5 * float(np.abs(p - q).sum()), 64 * EPS).cut(0.0), 0.0, digits=12, floor=1.0, name="TV", parameters=parameters)
