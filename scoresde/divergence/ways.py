"""How one divergence is computed for each kind of pair: a table of methods, and the dispatch over it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..enclosure import LEVELS, Enclosure
from ..errors import NoMethod, NotTrusted
from ..laws import Empirical, Gaussian, Rotated
from ..laws.rotated import factorised_together
from . import plane, product
from .rows import is_sample
from .view import Pair, view

__all__ = ["Ways", "between", "check", "from_samples"]


@dataclass(frozen=True)
class Ways:
    """The methods of one divergence, by kind of pair; None where there is none. ``high``: the largest value possible.

    Exact: ``line`` takes a Pair; ``atoms`` two laws of which one is discrete; ``gaussians`` two Gaussians; ``plane`` two mixtures in d = 2;
    ``factors`` the divergences of the factors of two products with their counts, or ``pairs`` those factors themselves.
    ``gridded`` : two laws in the plane, one of them computed by an engine.
    ``proof`` : two mixtures on the line, in ball arithmetic. ``otherwise`` : bounds for any two laws in d > 1.
    ``drawn`` : (p, q, n=, seed=, alpha=), densities known. ``samples`` : (p, q, alpha=, n=, seed=), at least one of them an array.

    ``continuity``: a bound of the change of the divergence when a law moves by a total variation e, None if there is none;
    ``lipschitz``: that bound is e itself, as sharp as can be, so it is always part of the width.
    """

    name: str
    line: Callable
    atoms: Callable
    gaussians: Callable | None = None
    factors: Callable | None = None
    pairs: Callable | None = None
    plane: Callable | None = None
    gridded: Callable | None = None
    proof: Callable | None = None
    otherwise: Callable | None = None
    drawn: Callable | None = None
    samples: Callable | None = None
    high: float = math.inf
    continuity: Callable | None = None
    lipschitz: bool = False


def between(ways, p, q, *, alpha, n, seed, rigorous):
    """The divergence of p and q by the strongest method there is."""
    check(ways.name, alpha, *(law for law in (p, q) if not is_sample(law)))
    if is_sample(p) or is_sample(q):
        return from_samples(ways, p, q, alpha=alpha, n=n, seed=seed, rigorous=rigorous)
    if p.dim != q.dim:
        raise ValueError(f"{ways.name}: got laws of dimension {p.dim} and {q.dim}, allowed are equal dimensions")
    if rigorous:
        return _proved(ways, p, q)
    draw = None if ways.drawn is None or (n is None and seed is None) else partial(ways.drawn, n=n, seed=seed, alpha=alpha)
    return _travelled(ways, p, q, draw)


def check(name, alpha, *laws):
    """Raises TypeError for what is not a law, ValueError for alpha outside (0, 1)."""
    for law in laws:
        if not hasattr(law, "dim") or not (hasattr(law, "logpdf") or isinstance(law, Empirical)):
            raise TypeError(f"{name}: got {type(law).__name__}, allowed is a law (with dim and logpdf) or a sample (n, d) as an array")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: got {alpha}, allowed is 0 < alpha < 1, a probability of error")


def from_samples(ways, p, q, *, alpha, n, seed, rigorous):
    """At least one of p, q is an array; a computed law beside it counts with its error."""
    if rigorous or ways.samples is None:
        what = "a proof" if rigorous else "a bound"
        remedy = "Empirical(array) is the discrete law itself, kernel_density(array) a smooth one"
        raise NoMethod(f"{ways.name}: no method gives {what} from samples; {remedy}")
    e = ways.samples(p, q, alpha=alpha, n=n, seed=seed)
    error = sum(float(getattr(law, "error", 0.0)) for law in (p, q) if not is_sample(law))
    if not error or e.level == "heuristic":
        return e
    if ways.continuity is None:
        raise NotTrusted(f"{ways.name}: the law has a total variation error of {error:.1e}, which bounds nothing here; use total_variation")
    loss = ways.continuity(error)
    return Enclosure(e.lo - loss, e.hi + loss, e.level, e.alpha, e.value, e.method).cut(0.0, ways.high)


def _proved(ways, p, q):
    """In ball arithmetic; ImportError without python-flint."""
    if ways.proof is None:
        raise NoMethod(f"{ways.name}: rigorous=True has no proof of this divergence; drop the option for a deterministic enclosure")
    return Enclosure.exact(0.0, "the same law") if _same(p, q) else ways.proof(p, q)


def _travelled(ways, p, q, draw):
    """The divergence, widened by what is known about the accuracy of laws that were computed."""
    base = direct(ways, p, q, draw)
    errors = [float(getattr(law, "error", 0.0)) for law in (p, q)]
    twins = [getattr(law, "twin", None) for law in (p, q)]
    others = [direct(ways, *pair, draw) for twin, pair in zip(twins, ((twins[0], q), (p, twins[1])), strict=True) if twin is not None]
    if not any(errors) and not others:
        return base
    values = [base.value, *(e.value for e in others)]
    if others and None in values and all(math.isfinite(e.hi) for e in (base, *others)):  # bounds: each end moves by what the twins say
        lo, hi = (max((abs(getattr(base, end) - getattr(e, end)) for e in others), default=0.0) for end in ("lo", "hi"))
        loss = ways.continuity(sum(errors)) if ways.continuity is not None else 0.0
        return Enclosure(base.lo - lo - loss, base.hi + hi + loss, base.level, base.alpha, None, base.method).cut(0.0, ways.high)
    if any(v is None or math.isinf(v) for v in values):
        agree = all((e.lo, e.hi) == (base.lo, base.hi) for e in others)
        return base if agree else Enclosure(min(e.lo for e in (base, *others)), math.inf, base.level, base.alpha)
    shift = sum(abs(base.value - e.value) for e in others)
    alone = sum(errors) if ways.lipschitz else sum(error for error, twin in zip(errors, twins, strict=True) if twin is None)
    if alone > 0:
        if ways.continuity is None:
            raise NotTrusted(
                f"{ways.name}: a law has a total variation error of {alone:.1e} and no twin, which bounds nothing here; "
                "use total_variation, or a law from propagate, which carries a twin"
            )
        shift = max(shift, ways.continuity(alone))
    half = max(base.hi - base.value, base.value - base.lo) + shift
    level = max((base.level, "deterministic"), key=LEVELS.index)
    return Enclosure.near(base.value, half, level, base.alpha, base.method).cut(0.0, ways.high)


def direct(ways, p, q, draw=None):
    """The divergence of two laws as they stand. draw : (p, q) -> Enclosure where nothing is exact, None if draws are not wanted."""
    p, q = (p, q) if p is q else (product.plain(p), product.plain(q))
    if _same(p, q):
        return Enclosure.exact(0.0, "the same law")
    if isinstance(p, Empirical) or isinstance(q, Empirical):
        return ways.atoms(p, q)
    if isinstance(p, Gaussian) and isinstance(q, Gaussian) and ways.gaussians is not None:
        return ways.gaussians(p, q)
    if p.dim == 1:
        return ways.line(Pair(view(p), view(q)))
    if ways.pairs is not None and p.dim == 2 and plane.suits(p, q):  # two factors are few for a Fourier integral
        return ways.plane(p, q)
    if (p.dim > 2 or ways.plane is None or isinstance(p, Rotated) or isinstance(q, Rotated)) and (ways.factors or ways.pairs):
        together = factorised_together(p, q)
        if together is not None:
            return direct(ways, *together, draw)
    pairs = product.paired(p, q) if ways.factors or ways.pairs else None
    if pairs is not None:
        pairs = [pair for pair in pairs if not _same(*pair[:2])]
        if not pairs:
            return Enclosure.exact(0.0, "equal factors")
        if len(pairs) == 1 and pairs[0][2] == 1:
            return direct(ways, *pairs[0][:2], draw)
        return ways.pairs(pairs) if ways.pairs else ways.factors([(direct(ways, a, b), count) for a, b, count in pairs])
    if ways.plane is not None and p.dim == 2 and plane.suits(p, q):
        return ways.plane(p, q)
    if ways.gridded is not None and p.dim == 2 and (hasattr(p, "window") or hasattr(q, "window")):
        return ways.gridded(p, q)
    if draw is None:
        return _bounded(ways, p, q)
    e = draw(p, q)
    try:
        bounds = _bounded(ways, p, q)
    except NoMethod:
        return e
    lo, hi = max(e.lo, bounds.lo), min(e.hi, bounds.hi)  # both hold, the drawn one with probability 1 - alpha
    return e if lo > hi or e.level == "heuristic" else e.cut(lo, hi)


def _bounded(ways, p, q):
    if ways.otherwise is not None:
        return ways.otherwise(p, q)
    remedy = "pass n= (draws per law) and seed= for an interval by sampling" if ways.drawn else "compare projections onto an axis"
    raise NoMethod(
        f"{ways.name}: no exact method for {type(p).__name__} and {type(q).__name__} in dimension {p.dim}; there is one for two Gaussians and for "
        f"products of laws on the line (total_variation, kullback_leibler, chi_squared, hellinger, wasserstein2, fisher_divergence), for mixtures in "
        f"the plane, and on the line for every pair: {remedy}"
    )


def _same(p, q):
    return p is q or (type(p) is type(q) and bool(np.all(p == q)))
