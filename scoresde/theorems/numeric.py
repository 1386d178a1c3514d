"""What the chapters share: wording of a claim, comparisons to the resolution of the numbers, extrapolation, points to look at."""

import math

import numpy as np

from ..enclosure import Enclosure, enclose
from ..errors import NoMethod
from ..kernel import ornstein_uhlenbeck
from .claim import claim_at_most, claim_equal, not_applicable

__all__ = [
    "EPS", "about", "at_most", "blurred", "changes", "equal", "exists", "flow", "mutated", "needs", "order", "populated", "probes", "richardson",
    "slope", "slow", "time_derivative", "unmet", "vouched", "worst",
]  # fmt: skip

EPS = 2.0**-52


def about(theorem, *assumptions):
    """The keywords of a claim that come from the theorem's Statement; ``assumptions`` are pairs (text, does it hold here)."""
    info = theorem.info
    return {
        "name": theorem.__name__, "id": info.id, "statement": info.statement, "reference": info.reference, "caveat": info.caveat,
        "assumptions": tuple(assumptions),
    }  # fmt: skip


def unmet(what, relation="<="):
    """The claim "not applicable" if an assumption of ``what`` fails, else None."""
    failing = [text for text, holds in what["assumptions"] if not holds]
    return not_applicable(reason="fails here: " + "; ".join(failing), relation=relation, **what) if failing else None


def mutated(theorem, statement):
    """The keywords of a theorem's negative control: a false statement that must be refuted."""
    return {"name": f"{theorem.__name__}, mutated", "id": theorem.info.id, "statement": statement, "expected": "refuted"}


def at_most(lhs, rhs, **how):
    """lhs <= rhs to the resolution of the numbers: the slack is the width of both sides, at most 1e-12 and 1e-6 of them.

    Equality cases (a shifted N(0, I) attains several of the bounds) are then verified, and a true statement is never refuted.
    """
    lhs, rhs = enclose(lhs), enclose(rhs)
    width, size = lhs.width + rhs.width, max(abs(lhs.lo), abs(rhs.lo))
    slack = min(width, 1e-6 * size + 1e-12) if math.isfinite(width) and math.isfinite(size) else 0.0
    return claim_at_most(lhs, rhs, slack=slack, **how)


def equal(lhs, rhs, *, digits, floor, **how):
    """lhs = rhs to so many digits of the right side (or of ``floor``, the size below which a difference is of no interest)."""
    lhs, rhs = enclose(lhs), enclose(rhs)
    return claim_equal(lhs, rhs, within=10.0**-digits * max(abs(rhs.value), floor), **how)


def needs(target, *methods):
    """Raises NoMethod unless the target (an object of the user's, perhaps) has these methods."""
    missing = [name for name in methods if not callable(getattr(target, name, None))]
    if missing:
        raise NoMethod(f"target: {type(target).__name__} has no method {missing[0]}(), which is needed here; give it one, as in laws.Law")


def flow(target, t):
    """p_t, the target after Ornstein–Uhlenbeck time t."""
    return target if t == 0 else target.noised(ornstein_uhlenbeck(t))


def slow(target):
    """Is p_t itself a computed law (a density without a closed form)? Sweeps are shorter then: every time costs a quadrature."""
    return target.dim == 1 and getattr(flow(target, 0.5), "twin", None) is not None


def blurred(e, error):
    """The enclosure widened by ``error``: p_t is known to an ulp of its parameters, which counts where p_t is close to \\gamma."""
    return Enclosure(e.lo - error, e.hi + error, e.level, e.alpha, e.value, e.method) if math.isfinite(error) else e


def exists(f):
    """Is the number f() finite? False where the law says that it is infinite or cannot vouch for it."""
    try:
        value = f()
    except ArithmeticError:
        return False
    value = value.hi if isinstance(value, Enclosure) else np.max(np.abs(value))
    return bool(np.isfinite(value))


def vouched(f):
    """f() or None where no method exists or accuracy cannot be vouched for (used for informative terms only)."""
    try:
        return f()
    except (NoMethod, ArithmeticError):
        return None


def richardson(values, noise, powers, ratio=2.0):
    """(limit, error) of values (L, ...) at h, h/ratio, h/ratio^2, ... whose expansion in h has these ``powers`` (at least L - 1 of them).

    The error is the last change in the last column of the tableau, plus ``noise`` (the absolute error of each value) times the weights.
    """
    table = np.asarray(values, dtype=np.float64)
    weights = np.eye(len(table))
    before = table
    for p in powers[: len(values) - 1]:
        before, factor = table, ratio**p
        table = (factor * table[1:] - table[:-1]) / (factor - 1)
        weights = (factor * weights[1:] - weights[:-1]) / (factor - 1)
    last, spread = table[-1], np.abs(weights[-1])
    noise = np.asarray(noise, dtype=np.float64)
    noise = np.broadcast_to(noise.reshape(noise.shape + (1,) * (np.ndim(values) - noise.ndim)), np.shape(values))
    return last, np.abs(last - before[-1]) + np.tensordot(spread, noise, 1)


def order(steps, errors):
    """log-slope of the last two errors, an Enclosure, or None where they are not bounded away from 0."""
    (a, b), (x, y) = errors[-2:], steps[-2:]
    return None if a.lo <= 0 or b.lo <= 0 else (a.log() - b.log()) / math.log(x / y)


def slope(f, t):
    """-f'(t) by central differences at t/4, t/8, ..., t/64 (at most 1/4), extrapolated; f returns Enclosures."""
    values, noise = [], []
    for k in range(5):
        step = min(t, 1.0) / 2 ** (k + 2)
        gap = (f(t - step) - f(t + step)) / (2 * step)
        values.append(gap.value)
        noise.append(0.5 * gap.width)
    limit, error = richardson(values, noise, (2, 4, 6, 8))
    return Enclosure.near(limit, float(error), method="central differences, extrapolated")


def worst(value, error, rhs, of, t):
    """The claim at the point where |value - rhs| beyond its error is largest, to five digits of the largest right side."""
    at = np.unravel_index(np.argmax(np.abs(value - rhs) - error), value.shape)
    size = float(np.max(np.abs(rhs)))
    lhs, rhs = Enclosure.near(value[at], error[at], method="extrapolated"), Enclosure.near(rhs[at], 1e-11 * size, method="closed form")
    return equal(lhs, rhs, digits=5, floor=max(1.0, size), name=of, parameters={"of": of, "t": t})


def time_derivative(target, t, x):
    r"""(-\partial_\tau \log p_\tau(x), error) at \tau = t by central differences, extrapolated."""
    values, noise = [], []
    for k in range(5):
        step = min(t, 1.0) / 2 ** (k + 2)
        before, after = (flow(target, u).logpdf(x) for u in (t - step, t + step))
        values.append((before - after) / (2 * step))
        noise.append(4 * EPS * (8 + np.abs(before).max()) / step)
    return richardson(values, noise, (2, 4, 6, 8))


def changes(target, quick):
    r"""(t, x, s, tr \nabla s, *time_derivative) at five points x of p_t, for each time t of a claim on a Fokker–Planck equation."""
    for t in (0.5,) if quick else (0.1, 0.5, 2.0):
        p = flow(target, t)
        x = probes(p)
        yield t, x, p.score(x), np.trace(p.score_jacobian(x), axis1=-2, axis2=-1), *time_derivative(target, t, x)


def probes(law):
    """(5, d) points about a law, up to 2 standard deviations from its mean, none of them symmetric to another."""
    sd = np.sqrt(np.diag(law.cov())) if law.dim <= 512 else np.full(law.dim, math.sqrt(law.second_moment() / law.dim))
    sign = np.where(np.arange(law.dim) % 2, -1.0, 1.0)
    return law.mean() + np.outer([-1.9, -0.8, 0.15, 0.7, 1.4], sign * sd)


def populated(law, x):
    """Those of the points (n, d) where the density is at least e^-30 of the largest: far between two modes no posterior is resolved."""
    level = np.asarray(law.logpdf(x))
    return x[level > level.max() - 30]
