r"""Total variation between a chain on the line and a target from its particles before the last noise: bounds from above and from below."""

import dataclasses
import math

import numpy as np
from scipy import special

from .._arrays import finite, positive_int, seed_words
from ..divergence import concentration, quadrature, total_variation
from ..divergence.view import Pair, view
from ..enclosure import Enclosure
from ..errors import NoMethod
from ..laws._common import in_blocks
from ..laws.cloud import Cloud
from ..laws.line import Line
from .propagate import check_chain
from .simulate import simulate

__all__ = ["chain_total_variation", "smoothed_total_variation"]

MESH = 0.01  # of the grid that the particles are laid on, in standard deviations of the noise: 6e-6 in total variation
_CHOOSE = 1 / 3  # of the particles that choose the witness set


def chain_total_variation(target, table, score, *, n, seed, alpha=1e-6, start=None):
    r"""TV(law of the chain's last state, target) on the line, level finite-sample, from n particles: see ``smoothed_total_variation``.

    The last row adds c z with c > 0 to what was before; the chain is run without that term. Any table, any score s(t, x), start as for
    ``simulate``. For chains that ``propagate`` takes, total_variation(propagate(...), target) is exact and faster.
    Raises TypeError, ValueError as ``simulate``; NoMethod in d > 1, for Metropolis tests, and where the last row adds no noise.
    """
    if check_chain(table, score, start) != 1 or getattr(target, "dim", 1) != 1:
        raise NoMethod("chain_total_variation: got dimension > 1, allowed is the line; total_variation(simulate(...), target) bounds it from below")
    c = float(table.c[-1, 0])
    if c == 0 or getattr(table, "target", None) is not None:
        raise NoMethod(
            "chain_total_variation: got a table whose last row adds no fresh noise (or a Metropolis test), so that its law given the past has no "
            "density; total_variation(simulate(...), target) bounds it from below"
        )
    quiet = np.array(table.c)
    quiet[-1, 0] = 0.0
    seed = np.random.SeedSequence(seed_words(seed, "chain_total_variation"))
    means = simulate(dataclasses.replace(table, c=quiet), score, positive_int("n", n, least=10), seed=seed, start=start)
    return smoothed_total_variation(means[:, 0], c * c, target, alpha=alpha)


def smoothed_total_variation(means, var, target, *, alpha=1e-6):
    r"""TV(P, \pi), P the law of Y + \sqrt{v} Z, from independent draws Y_1..Y_n of any law of Y: level finite-sample.

    means : (n,) draws; var : v > 0; target : law of dimension 1 with a distribution function. With \hat p = \frac1n \sum N(Y_i, v), evaluated
    exactly up to a grid of spacing \sqrt v/100: E\hat p = P, and moving one draw moves TV(\hat p, \pi) by at most 1/n, hence from above

        TV(P, \pi) \le E\,TV(\hat p, \pi) \le TV(\hat p, \pi) + \sqrt{\log(2/\alpha)/(2n)}   (Jensen, McDiarmid).

    From below: a third of the draws gives the set A = {\hat p > \pi}; P(A) is the mean of g(Y) = P(Y + \sqrt v Z \in A | Y) in [0, 1] over
    the others (Rao–Blackwell), bounded by betting, and TV >= P(A) - \pi(A). Each side holds with probability 1 - alpha/2.
    The half-width is about .0085 at n = 1e5, alpha = 1e-6; memory 100 n bytes.
    """
    means, var = finite("means", means), float(finite("var", var))
    if means.ndim != 1 or len(means) < 10:
        raise ValueError(f"means: got shape {means.shape}, allowed is (n,) with n >= 10: the means of the last step on the line")
    if not var > 0:
        raise ValueError(f"var: got {var}, allowed is > 0, the variance of the last noise")
    plug_in = total_variation(smoothed(means, var), target)
    cut = int(_CHOOSE * len(means))
    pair = Pair(view(smoothed(means[:cut], var)), view(target))
    pair.needs_cdf("smoothed_total_variation")
    cuts, inside = _scheffe(pair, math.sqrt(var))
    step = inside[:-1] - inside[1:]  # 1_A(x) = inside[-1] + sum of step_k over the cuts above x
    g = in_blocks(lambda y: inside[-1] + special.ndtr((cuts - y) / math.sqrt(var)) @ step, means[cut:, None], len(cuts) + 1)
    weight = float(inside[-1] + pair.q.cdf(cuts) @ step) + float(getattr(target, "error", 0.0)) + 1e-12
    below = concentration.betting_lower(np.clip(g, 0.0, 1.0), 0.5 * alpha) - weight
    value = plug_in.value
    half = max(plug_in.hi + concentration.mcdiarmid(len(means), 0.5 * alpha) - value, value - max(below, 0.0))
    return Enclosure.near(value, half, "finite-sample", alpha, "Rao-Blackwellised last step, McDiarmid above, betting below").cut(0.0, 1.0)


def smoothed(means, var):
    r"""\frac1n \sum N(means_i, var) as a Line, each mean shared by its two neighbours on a grid of spacing \delta.

    Linear interpolation of a -> N(a, v) errs in L1 by at most \delta^2/8 \sup\|\partial_a^2 N(a, v)\|_1 = 4\phi(1) \delta^2/(8v), in TV by half.
    """
    spacing = MESH * math.sqrt(var)
    place = means / spacing
    left = np.floor(place)
    nodes, index = np.unique(np.concatenate([left, left + 1]), return_inverse=True)
    weights = np.bincount(index, np.concatenate([1 - (place - left), place - left]) / len(means))
    return Line(Cloud.of(nodes * spacing, weights, var), error=0.0605 * MESH**2)


def _scheffe(pair, scale):
    """The roots of p - q, and 1 where p > q on the intervals between them, from left to right; 0 elsewhere."""
    cuts, _ = quadrature.crossings(pair)
    if not len(cuts):
        return cuts, np.zeros(1)
    between = np.concatenate([[cuts[0] - scale], 0.5 * (cuts[1:] + cuts[:-1]), [cuts[-1] + scale]])
    return cuts, (pair.logs(between)[2] > 0).astype(np.float64)
