"""Adaptive Gauss–Kronrod integration on panels of the line, vectorised over panels and over several integrals at once.

Every panel is evaluated with the 15-point Kronrod rule and its embedded 7-point Gauss rule; panels whose two rules differ by more than
rounding are halved. Neither rule sees a kink that lies between an end and the node next to it (0.4 % of the panel), so the integrand is also
compared with its extrapolation at both ends. The stated error is the accumulated difference of the two rules (the 15-point value is far more
accurate than that), the mismatch at the ends, and rounding of the integrand and of the abscissae.
Source: Kronrod 1965; nodes recomputed here to 40 digits from the Stieltjes polynomial.
"""

from dataclasses import dataclass

import numpy as np

EPS = 2.0**-52

_X = [0.99145537112081263921, 0.94910791234275852453, 0.86486442335976907279, 0.74153118559939443986]
_X += [0.58608723546769113029, 0.40584515137739716691, 0.2077849550078984676]
_K = [0.022935322010529224964, 0.063092092629978553291, 0.10479001032225018384, 0.14065325971552591875]
_K += [0.16900472663926790283, 0.19035057806478540991, 0.20443294007529889241]
_G = [0.12948496616886969327, 0.2797053914892766679, 0.38183005050511894495]
NODES = np.array([*(-x for x in _X), 0.0, *reversed(_X)])
KRONROD = np.array([*_K, 0.20948214108472782801, *reversed(_K)])
GAUSS = np.zeros(15)
GAUSS[1::2] = [*_G, 0.41795918367346938776, *reversed(_G)]
RULES = np.stack([KRONROD, GAUSS], axis=1)

_INSET = 1 - 1e-9  # ends are seen from inside: the integrand may jump there
_LEFT, _RIGHT = -_INSET, _INSET
POINTS = np.array([_LEFT, *NODES, _RIGHT])


def _extrapolation(t):
    """Weights of the polynomial through the 15 nodes at t."""
    gaps = NODES[:, None] - NODES + np.eye(15)
    return np.array([np.prod(np.delete(t - NODES, i)) for i in range(15)]) / np.prod(gaps, axis=1)


ENDS = np.stack([_extrapolation(_LEFT), _extrapolation(_RIGHT)], axis=1)
SLIVER = 0.5 * (1 - NODES[-1])

_BLOCK = 2**13  # panels per call of the integrand


@dataclass(frozen=True)
class Panels:
    """Integrals over the panels given: ``value`` (k, P), ``error`` (k, P): rule difference plus rounding of the abscissae.

    ``leaves`` (L, 2) are the panels finally used, from left to right, with the first row's integrals ``leaf_value`` (L,).
    """

    value: np.ndarray
    error: np.ndarray
    leaves: np.ndarray
    leaf_value: np.ndarray

    def total(self, row=0):
        return float(np.sum(self.value[row])), float(np.sum(self.error[row]))


def integrate(f, lo, hi, who=None, *, watch=1, tolerance=2e-16, rounds=60, most=400_000):
    """Integrals of the rows of f over the panels [lo, hi].

    f(x (P, 17), who (P,)) -> (k, P, 17); ``who`` (P,) int names the integral a panel belongs to (f may depend on it) and panels are refined
    until each is accurate relative to the total of its own integral. The first ``watch`` rows steer the refinement, the next ``watch`` rows,
    if there are any, are their rounding in units of EPS: nothing is refined below it. At most ``most`` panels are evaluated: what is left
    unresolved shows in the error.
    """
    count = len(lo)
    who = np.zeros(count, dtype=np.intp) if who is None else who
    problems = int(who.max()) + 1 if count else 1
    origin, spent, value, leaves, leaf_value = np.arange(count), 0, None, [], []
    for turn in range(rounds):
        blocks = (slice(i, i + _BLOCK) for i in range(0, len(lo), _BLOCK))
        new, difference, absolute, shake = (np.concatenate(p, axis=1) for p in zip(*(_rule(f, lo[b], hi[b], who[b]) for b in blocks), strict=True))
        if value is None:
            k = len(new)
            value, error, accepted = np.zeros((k, count)), np.zeros((k, count)), np.zeros((k, problems))
        spent += new.shape[1]
        size = accepted + _gather(absolute, who, problems)
        bad = (difference > tolerance * size[:, who]) & (difference > 64 * EPS * absolute) & (difference > 4 * shake)
        if k >= 2 * watch:
            bad[:watch] &= difference[:watch] > EPS * absolute[watch : 2 * watch]
        bad = bad[:watch].any(axis=0) & (hi - lo > 64 * EPS * np.maximum(np.abs(lo), np.abs(hi)))
        bad &= spent < most and turn < rounds - 1
        good = ~bad
        value += _gather(new[:, good], origin[good], count)
        error += _gather((difference + shake)[:, good], origin[good], count)
        accepted += _gather(absolute[:, good], who[good], problems)
        leaves.append(np.stack([lo[good], hi[good]], axis=1))
        leaf_value.append(new[0, good])
        if not bad.any():
            break
        middle = 0.5 * (lo[bad] + hi[bad])
        lo, hi = np.concatenate([lo[bad], middle]), np.concatenate([middle, hi[bad]])
        who, origin = np.tile(who[bad], 2), np.tile(origin[bad], 2)
    leaves, leaf_value = np.concatenate(leaves), np.concatenate(leaf_value)
    order = np.argsort(leaves[:, 0], kind="stable")
    return Panels(value, error, leaves[order], leaf_value[order])


def _gather(rows, index, count):
    return np.stack([np.bincount(index, row, count) for row in rows])


def _rule(f, lo, hi, who):
    """Kronrod values, |Kronrod - Gauss|, integrals of |f|, and the effect of rounding the abscissae, each (k, panels)."""
    half, middle = 0.5 * (hi - lo), 0.5 * (hi + lo)
    seen = f(middle[:, None] + half[:, None] * POINTS, who)
    y, ends = seen[..., 1:-1], seen[..., ::16]
    both = half[:, None] * (y @ RULES)
    absolute = half * (np.abs(y) @ KRONROD)
    unseen = SLIVER * half * np.abs(ends - y @ ENDS).sum(axis=2)
    shake = 0.5 * EPS * np.maximum(np.abs(lo), np.abs(hi)) * np.abs(np.diff(y, axis=2)).sum(axis=2)
    return both[..., 0], np.abs(both[..., 0] - both[..., 1]) + unseen, absolute, shake


def grade(edges, ratio=3.0):
    """Edges to which geometric ones are added where a panel is much wider than its neighbour: nothing hides in a gap between far modes."""
    edges = np.asarray(edges, dtype=np.float64)
    width = np.diff(edges)
    if len(width) < 2:
        return edges
    left, right = np.append(np.inf, width[:-1]), np.append(width[1:], np.inf)
    extra = []
    for i in np.nonzero(width > ratio * np.minimum(left, right))[0]:
        steps = 2.0 ** np.arange(1, 64)
        for start, w, sign in ((edges[i], left[i], 1), (edges[i + 1], right[i], -1)):
            if np.isfinite(w):
                extra.append(start + sign * w * steps[w * steps < 0.5 * width[i]])
        extra.append(np.array([0.5 * (edges[i] + edges[i + 1])]))
    return np.unique(np.concatenate([edges, *extra])) if extra else edges
