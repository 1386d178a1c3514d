r"""Slides "Modelos Generativos" (Universidad de Chile, MA5606), part 1: the game of generator and discriminator, with \pi the target.

V(\mu_G, D) = E_\pi ln D + E_{\mu_G} ln(1 - D); \mu_G is the bench's second law, D is written by its logit.
"""

import math

import numpy as np
from scipy.optimize import minimize_scalar

from scoresde import jensen_shannon

from .bench import EPS
from .formula import Formula, Sides
from .numeric import QUAD

LN2 = math.log(2.0)


def _value(bench, logit, generator=None):
    r"""V(\mu_G, D) for D with this logit, a function of x (n, 1)."""
    p, q = bench.target, bench.second if generator is None else generator
    return bench.integral(lambda x: -p.pdf(x) * np.logaddexp(0.0, -logit(x)) - q.pdf(x) * np.logaddexp(0.0, logit(x)), p, q)


def _optimal(bench, generator=None):
    r"""The logit of D^* = d\pi / d(\mu_G + \pi)."""
    q = bench.second if generator is None else generator
    return lambda x: bench.target.logpdf(x) - q.logpdf(x)


def _waves(bench):
    """Sixteen smooth changes of a logit, of sizes 0.05 and 0.4, on the target's own scale."""
    return [
        lambda x, a=a, w=w, c=c: a * np.sin(w * (x[:, 0] - bench.mean) / bench.sd + c)
        for a in (0.05, 0.4) for w in (0.0, 0.7, 1.9, 4.0) for c in (0.4, 2.5)
    ]  # fmt: skip


def _optimum(bench):
    best = _optimal(bench)
    values = [_value(bench, lambda x, g=g: best(x) + g(x)) for g in _waves(bench)]
    top = _value(bench, best)
    return Sides(values, top, QUAD * abs(top), "V at 16 other discriminators, V at D*", "<=")


def _kernels(bench):
    """Two-point kernels Y = D (1 ± r), D a function, against D itself, and D against D*."""
    p, q, best = bench.target, bench.second, _optimal(bench)
    x, w = bench.nodes(p, q)
    p, q, spread, plain = w * p.pdf(x), w * q.pdf(x), [], []
    for g in _waves(bench):
        logit = best(x) + g(x)
        log_d, log_rest = -np.logaddexp(0.0, -logit), -np.logaddexp(0.0, logit)
        r, odds = 0.7 * np.exp(-np.maximum(logit, 0.0)), 0.7 * np.exp(np.minimum(logit, 0.0))  # Y = D ± 0.7 min(D, 1 - D), odds = r D/(1 - D)
        plain.append(np.sum(p * log_d + q * log_rest))
        spread.append(np.sum(p * (log_d + 0.5 * np.log1p(-r * r)) + q * (log_rest + 0.5 * np.log1p(-odds * odds))))
    top = _value(bench, best)
    return Sides(
        spread + plain, [*plain, *[top] * len(plain)], QUAD * abs(top), "V of kernels, then of functions; V of their means, then of D*", "<="
    )


def _pointwise(bench):
    x = bench.points(bench.target)
    a, b = bench.target.pdf(x), bench.second.pdf(x)
    a, b = a / (a + b), b / (a + b)
    found, error = [], []
    for u, v in zip(a, b, strict=True):
        best = minimize_scalar(
            lambda y, u=u, v=v: -u * math.log(y) - v * math.log1p(-y), bounds=(1e-12, 1 - 1e-12), method="bounded", options={"xatol": 1e-10}
        )
        found.append(best.x)
        error.append(1e-10 + 8 * math.sqrt(EPS * best.fun * u * v))  # rounding moves a minimum by the root of 2 EPS f / f'', f'' = 1/(uv)
    return Sides(found, a, error, "argmax by search, a/(a+b), at 5 points")


def _shannon(factor):
    def sides(bench):
        value, js = _value(bench, _optimal(bench)), jensen_shannon(bench.target, bench.second)
        right = factor * js - 2 * LN2
        return Sides(value, right.value, QUAD + right.width, "V(μ_G, D*), right side")

    return sides


def _undefined(bench):
    r"""The two measures that an undefined \mu could be, \mu_G and \mu_Z: the one that brings the formula closer."""
    value = _value(bench, _optimal(bench))
    rights = [(2 * jensen_shannon(mu, bench.second) - 2 * LN2).value for mu in (bench.second, bench.noise)]
    return Sides(value, min(rights, key=lambda r: abs(r - value)), QUAD * 10, "C(μ_G), right side with μ = μ_G or μ_Z, whichever is nearer")


def _least(bench):
    at_target = _value(bench, _optimal(bench, bench.target), bench.target)
    others = [_value(bench, _optimal(bench, g), g) for g in (bench.second, bench.noise, bench.ou(0.3))]
    return Sides([at_target, *np.minimum(others, -2 * LN2)], -2 * LN2, QUAD, "C(π), and min(C(μ_G), -ln 4) for three others; -ln 4")


def _logistic(bench):
    """Weights (a, b) of the discriminator D(x) = 1/(1 + e^{-(a + b x)}) at which gradients are taken."""
    return np.array([0.3 - bench.mean / bench.sd, 1.2 / bench.sd])


def _discriminator_gradient(bench):
    """The mean of the per-sample gradients against the gradient of V (a complex step, exact to rounding)."""
    theta, p, q = _logistic(bench), bench.target, bench.second
    x, w = bench.nodes(p, q)
    p, q, features = w * p.pdf(x), w * q.pdf(x), np.stack([np.ones(len(x)), x[:, 0]])
    d = 1 / (1 + np.exp(-(theta @ features)))
    mean = features @ (p * (1 - d) - q * d)
    step = 1e-30
    exact = []
    for direction in np.eye(2):
        logit = (theta + 1j * step * direction) @ features
        exact.append(np.sum(-p * np.log1p(np.exp(-logit)) - q * np.log1p(np.exp(logit))).imag / step)
    uphill = theta + 1e-3 * mean / np.linalg.norm(mean)
    gain = _value(bench, lambda x: uphill[0] + uphill[1] * x[:, 0]) - _value(bench, lambda x: theta[0] + theta[1] * x[:, 0])
    size = np.abs(features) @ (p + q)
    return Sides(
        [*mean, gain], [*exact, max(gain, 0.0)], QUAD * np.append(size, 0.0), "mean of sample gradients, gradient of V (a step along it raises V)"
    )


def _generator_gradient(bench):
    """G(z) = theta + z: d/dtheta of the mean of log(1 - D(G(z))), per sample and of the mean (complex step)."""
    (a, b), theta, step = _logistic(bench), bench.mean - 0.4 * bench.sd, 1e-30
    z, w = bench.nodes(bench.noise)
    w = w * bench.noise.pdf(z)
    logit = a + b * (theta + z[:, 0])
    mean = np.sum(w * -b / (1 + np.exp(-logit)))
    exact = np.sum(-w * np.log1p(np.exp(logit + 1j * step * b))).imag / step
    return Sides(mean, exact, QUAD * b, "mean of sample gradients, gradient of the mean")


FORMULAS = (
    Formula(
        "001-F01", "001 L198, L234", "D*(x) = dπ/d(μ_G + π)(x) maximises V(μ_G, ·)", "", "HOLDS", _optimum,
        note="unique up to (π + μ_G)-null sets",
    ),
    Formula("001-F02", "001 L228-230", "max over kernels μ_D = max over functions D", "", "HOLDS", _kernels),
    Formula("001-F03", "001 L232", "argmax_y a ln y + b ln(1-y) = a/(a+b)", "", "HOLDS", _pointwise, note="a, b > 0"),
    Formula(
        "001-F04", "001 L202, L216", "V(μ_G, μ_D*) = JS(π, μ_G) - 2 ln 2", "V(μ_G, μ_D*) = 2 JS(π, μ_G) - 2 ln 2", "CONVENTION",
        _shannon(1.0), _shannon(2.0), "convention", "read with JS := KL(π|m) + KL(μ_G|m), without the halves of the usual definition",
    ),
    Formula(
        "001-F05", "001 L240, L252", "C(μ_G) = JS(μ, μ_G) - 2 ln 2", "C(μ_G) = JS(π, μ_G) - 2 ln 2", "MISPRINT",
        _undefined, _shannon(2.0), "misprint", "μ is never defined; JS as in 001-F04",
    ),
    Formula("001-F06", "001 L248, L265", "min C = C(π) = -ln 4", "", "HOLDS", _least),
    Formula(
        "001-F07", "001 L323", "∇_θd (1/m) Σ [log D(x_i) + log(1 - D(G(z_i)))]", "", "HOLDS", _discriminator_gradient,
        note="direction not stated: D ascends, G descends",
    ),
    Formula("001-F08", "001 L338", "∇_θg (1/m) Σ log(1 - D(G(z_i)))", "", "HOLDS", _generator_gradient, note="the noise law printed p_g(z) is μ_Z"),
)  # fmt: skip
