r"""A claim about sampled numbers, decided with as few draws as it takes, within an error probability fixed beforehand.

A run of many checks has one budget \alpha; check i gets \alpha_i = \alpha w_i / \sum_j w_j, and round k < K of its escalation \alpha_i / K.
By the union bound the chance of any wrong verdict in the whole run is at most \alpha, whenever each check stops and however often it looks.
"""

import math
from dataclasses import replace

import numpy as np

from .._arrays import finite, positive_int, seed_words
from ..enclosure import LEVELS, Enclosure
from .claim import Claim

__all__ = ["decide", "draws_to_decide", "shares", "within_budget"]

GROWTH = 4  # an interval of level alpha shrinks as n^{-1/2}: every round halves it


def shares(alpha, weights):
    r"""\alpha_i = \alpha w_i / \sum_j w_j, a tuple: the budget of a run, split over its checks.

    alpha : error probability of the whole run, in (0, 1); weights : numbers > 0, one per check (equal ones split evenly).
    Raises ValueError for other values.
    """
    weights = finite("weights", weights)
    if weights.ndim != 1 or not weights.size or not (weights > 0).all():
        raise ValueError(f"weights: got {weights.tolist()!r:.80}, allowed is a sequence of numbers > 0, one per check")
    return tuple((_probability(alpha) * (weights / weights.sum())).tolist())


def within_budget(claim, alpha):
    """The claim if its numbers err with probability at most ``alpha``, its share; else it decides nothing, and says what it would spend."""
    if claim.alpha <= alpha * (1 + 1e-9) or claim.verdict not in ("verified", "refuted"):
        return claim
    reason = f"its numbers err with probability {claim.alpha:.1e}, allowed is its share {alpha:.1e} of the run's budget; divide alpha among them"
    return replace(claim, verdict="inconclusive", reason=reason)


def draws_to_decide(variance, gap, *, alpha, rounds=8):
    r"""n \approx 2 V\ell/D^2 + 14\ell/(3D), \ell = \log(4K/\alpha): the draws in a round that decides a gap D.

    variance : V of one draw, which lies in [0, 1]; gap : D > 0 between the mean and the bound; alpha : error probability of the check;
    rounds : K. The half-width of an empirical Bernstein interval at level alpha/K is then at most D: as likely decided as not, and nearly
    surely at 3n. Raises ValueError for other values.
    Source: Maurer & Pontil 2009, https://arxiv.org/abs/0907.3740, Theorem 4.
    """
    if not 0 <= finite("variance", variance) <= 0.25:
        raise ValueError(f"variance: got {variance}, allowed is 0 <= V <= 1/4, as draws lie in [0, 1]")
    if not finite("gap", gap) > 0:
        raise ValueError(f"gap: got {gap}, allowed is a number > 0; no number of draws decides an equality")
    log = math.log(4 * positive_int("rounds", rounds) / _probability(alpha))
    return math.ceil(2 * variance * log / gap**2 + 14 * log / (3 * gap))


def decide(estimate, compare, *, alpha, seed, name, rounds=8, n=1000):
    r"""The claim compare(e) with e sharpened until it is decided: n_k = 4^k n draws in round k, at level \alpha/K, k < K = ``rounds``.

    estimate(n, alpha, seed) -> Enclosure, or a tuple of them whose alphas add up to at most alpha; compare(e), or compare(*tuple), -> Claim.
    e is the intersection of the rounds' intervals: with probability at least 1 - alpha it holds the truth at every round, so one may stop at
    any. Fresh draws in each round: its SeedSequence is keyed by (name, seed, k) alone, so no check changes another's draws. If intervals
    do not meet, the estimate is wrong: the claim is inconclusive and says so. ``parameters`` of the claim tell n, rounds and draws.
    Raises ValueError if an estimate spends more than its alpha, TypeError if it returns a bare number (which would pass for exact).
    """
    alpha, rounds, n = _probability(alpha), positive_int("rounds", rounds), positive_int("n", n)
    words, known, draws = seed_words(seed, name), None, 0
    for k in range(rounds):
        size = n * GROWTH**k
        draws += size
        found = _checked(estimate(size, alpha / rounds, np.random.SeedSequence(words, spawn_key=(k,))), alpha / rounds)
        spent = tuple(replace(e, alpha=min(e.alpha * rounds, alpha)) for e in found)
        before, known = known, spent if known is None else tuple(map(_meet, known, spent))
        if None in known:
            return _counted(_contradiction(compare(*spent), before, spent, alpha), size, k + 1, draws)
        claim = compare(*known)
        if not isinstance(claim, Claim):
            raise TypeError(f"compare: got {type(claim).__name__}, allowed is a Claim (claim_at_most, claim_equal, claim_rate, ...)")
        if claim.verdict != "inconclusive" or claim.vacuous or any(e.level == LEVELS[-1] for e in known):
            return _counted(claim, size, k + 1, draws)
    reason = f"not decided by {rounds} rounds, the last of n = {size}: {claim.reason}{_needed(claim, size)}"
    return _counted(replace(claim, reason=reason), size, rounds, draws)


def _checked(found, alpha):
    found = found if isinstance(found, tuple) else (found,)
    for e in found:
        if not isinstance(e, Enclosure):
            raise TypeError(f"estimate: got {type(e).__name__}, allowed is an Enclosure or a tuple of them; Enclosure.exact(x) if it is a constant")
    if sum(e.alpha for e in found) > alpha * (1 + 1e-12):
        raise ValueError(
            f"estimate: got an interval of alpha = {sum(e.alpha for e in found):.3g}, allowed is the {alpha:.3g} it was given; pass alpha on, "
            "divided among the parts"
        )
    return found


def _meet(old, new):
    """The intersection, None if it is empty; the point estimate is that of the larger sample."""
    lo, hi = max(old.lo, new.lo), min(old.hi, new.hi)
    if lo > hi:
        return None
    value = None if new.value is None else min(max(new.value, lo), hi)
    return Enclosure(lo, hi, max(old.level, new.level, key=LEVELS.index), max(old.alpha, new.alpha), value, new.method)


def _contradiction(claim, before, now, alpha):
    a, b = next((x, y) for x, y in zip(before, now) if _meet(x, y) is None)
    reason = f"the intervals of two rounds do not meet, [{a.lo:.6g}, {a.hi:.6g}] and [{b.lo:.6g}, {b.hi:.6g}]"
    reason += f": that has probability at most {alpha:.0e}, so the estimate is wrong (a bug; please report it)"
    return replace(claim, verdict="inconclusive", reason=reason)


def _counted(claim, n, rounds, draws):
    return replace(claim, parameters={**claim.parameters, "n": n, "rounds": rounds, "draws": draws})


def _needed(claim, n):
    """How many draws a round would take at the gap seen: an interval shrinks as n^{-1/2}."""
    if claim.lhs is None or claim.rhs is None or claim.cells:
        return ""
    gap = claim.lhs - claim.rhs
    far = None if gap.value is None else abs(abs(gap.value) - claim.parameters.get("within", 0.0))
    return f"; a round of about {n * (0.5 * gap.width / far) ** 2:.0e} draws would" if far and math.isfinite(gap.width) else ""


def _probability(alpha):
    alpha = float(finite("alpha", alpha))
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: got {alpha}, allowed is 0 < alpha < 1, a probability of error")
    return alpha
