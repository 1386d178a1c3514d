r"""The law of a chain while no noise enters: the image of the law before under the monotone map x -> F(x) that the rows compose to.

q(y) = q_0(x) / F'(x) at x = F^{-1}(y), P(Y <= y) = Q_0(x). F is computed point by point, so its only error is that of holding it: as
Chebyshev series on panels that are halved until the series has converged. History (multistep schemes) rides on the point.
A map that folds (F' = 0 where the law has mass) is refused: its image has infinite density at the folds.
"""

import numpy as np

from ..errors import NotTrusted
from ..laws import Empirical
from ..laws._resolve import chebyshev
from ..laws.line import Line, Outer
from ..laws.monotone import Monotone
from .chain import evolve

__all__ = ["push"]

DEGREES = (16, 12)  # of the law's panels, and of its twin's
LEVELS = (1e-15, 1e-10, 1e-6)  # last coefficients over the range of F on the panel: the first that is reached
PANELS = 4000  # of both together
OUTSIDE = 1e-12  # mass on which F need not be monotone, where the tolerance does not allow more
JUMP = 1e-10  # mass of a panel that may be bridged
ROUNDING = 1e-15  # TV that rounding may cost beyond what the two maps show


def push(table, score, law, r0, rows, tolerance):
    """The laws of y_r for each r in ``rows``, if y_{r0} has ``law`` and no noise enters rows r0..max(rows)-1."""

    def chain(x):
        y = evolve(table, score, r0, rows[-1], x)
        return np.stack([y[r - r0 - 1] for r in rows])

    if isinstance(law, Empirical):
        return [Empirical(y[:, None], law.weights) for y in chain(np.ascontiguousarray(law.points[:, 0]))]
    twin = getattr(law, "twin", None)
    base, other = _base(law), _base(law if twin is None else twin)
    edges = _usable(chain, base, np.append(base.panels[:-1:3], base.panels[-1]))  # F may be smoother than the law
    mains, twins = _maps(chain, base, edges, len(rows), max(OUTSIDE, 0.1 * tolerance))
    return [_pushed(base, other, float(getattr(law, "error", 0.0)), *pair) for pair in zip(mains, twins, strict=True)]


def _base(law):
    return law.base if isinstance(law, Line) and law.flow is None else Outer(law)


def _pushed(base, other, inherited, main, twin):
    """The Line of one state. To the error of the law before it adds what the two maps differ by, and the mass where F is not monotone."""
    (flow, lost), (other_flow, _) = main, twin
    law, check = Line(base, flow), Line(base, other_flow)
    x, w = law._quadrature
    y = flow.at(x)[0]
    apart = 0.5 * float(w @ np.abs(np.expm1(check._log_density(y) - law._log_density(y))))
    error = inherited + apart + lost + ROUNDING
    return Line(base, flow, error, Line(other, other_flow, error))


def _usable(chain, base, edges):
    """``edges`` without the outer panels, void of mass, where the score fails."""
    if np.isfinite(chain(edges[[0, -1]])).all():
        return edges
    void = (base.log_density(edges) < -46) & ~np.isfinite(chain(edges)).all(axis=0)
    inside = np.flatnonzero(~void)
    return edges[inside[0] : inside[-1] + 1]


def _maps(chain, base, edges, count, allowed):
    """For both degrees, [(Monotone, mass outside)] for each of the ``count`` states that ``chain`` returns."""
    shifted = np.concatenate([edges[:1], 0.5 * (edges[1:] + edges[:-1]), edges[-1:]])
    floor = None
    for level in LEVELS:  # a score with kinks or rounding noise may never converge to the first; the twin then shows what that costs
        builds = [_Build(n, e) for n, e in zip(DEGREES, (edges, shifted), strict=True)]
        while (todo := sum(len(b.todo) for b in builds)) and sum(b.size for b in builds) <= PANELS:
            x = [b.nodes() for b in builds]
            flat = np.concatenate([u.ravel() for u in x])
            log_p, f = base.log_density(flat), chain(flat)
            _refuse_nan(f, flat, log_p)
            split = x[0].size
            if floor is None:
                floor = _noise(chain, flat, f, log_p, builds[0].unit)
            for b, u, part in zip(builds, x, (slice(0, split), slice(split, None)), strict=True):
                b.take(u, f[:, part].reshape(count, *u.shape), log_p[part].reshape(u.shape), max(level, floor))
        if not todo:
            return [b.maps(allowed) for b in builds]
    raise NotTrusted(
        f"propagate: the noise-free part of the chain needs more than {PANELS} panels: its map has kinks or jumps (a ReLU network?); use a smooth "
        "score, a scheme with noise, or simulate(table, score, n=..., seed=...)"
    )


def _noise(chain, x, f, log_p, unit):
    """Rounding of the chain, relative to |F| + |F'| (|x| + unit): what a change of x in its last places does."""
    here = log_p > -46
    x, f = x[here], f[:, here]
    size = np.abs(x) + unit
    slope = np.abs(chain(x + 1e-7 * size) - f) * 1e7
    scale = np.abs(f) + slope
    return 3 * float(np.median(np.abs(chain(x + 4e-16 * size) - f) / np.where(scale > 0, scale, 1.0), axis=1).max())


def _refuse_nan(f, x, log_p):
    bad = ~np.isfinite(f).all(axis=0)
    if bad.any():
        k = int(np.argmax(np.where(bad, log_p, -np.inf)))
        raise ValueError(
            f"score: the noise-free part of the chain started at x = {x[k]:.6g} (density {np.exp(log_p[k]):.1e}) ends in {f[:, k]}, allowed are "
            "finite values"
        )


class _Build:
    """The panels of one resolution: those still to be resolved, and those whose series has converged."""

    def __init__(self, degree, edges):
        self.t, self.matrix = chebyshev(degree)
        self.todo = np.stack([edges[:-1], edges[1:]], 1)
        self.unit = (edges[-1] - edges[0]) / 24  # about a standard deviation
        self.least = 2e-13 * self.unit  # no more halving where F jumps
        self.panels, self.series, self.mass = [], [], []

    @property
    def size(self):
        return len(self.todo) + sum(map(len, self.panels))

    def nodes(self):
        return self.todo.mean(axis=1)[:, None] + 0.5 * np.diff(self.todo) * self.t

    def take(self, x, f, log_p, converged):
        """Keep the panels on which every state has converged; halve the others."""
        c = f @ self.matrix.T
        half, size = 0.5 * np.diff(self.todo)[:, 0], np.abs(x).max(axis=1) + self.unit
        mass = np.minimum(np.exp(log_p.max(axis=1)) * 2 * half, 1.0)
        span, top = np.ptp(f, axis=2), np.abs(f).max(axis=2)
        rounding = top + span * size / half
        allowed = converged * rounding + span * np.minimum(converged / np.sqrt(mass + 1e-300), 1e-3)
        tail = np.abs(c[..., -2:]).max(axis=2)
        rough = (tail > allowed).any(axis=0) & (half > self.least)
        # below the level of its last coefficients a series carries rounding only, and derivatives would amplify it
        c[np.abs(c) <= 3 * np.abs(c[..., -3:]).max(axis=2, keepdims=True)] = 0.0
        self.panels.append(self.todo[~rough])
        self.series.append(c[:, ~rough])
        self.mass.append(mass[~rough])
        halves = self.todo[rough]
        middle = halves.mean(axis=1)
        self.todo = np.concatenate([np.stack([halves[:, 0], middle], 1), np.stack([middle, halves[:, 1]], 1)])

    def maps(self, allowed):
        """[(Monotone, mass outside)], one for each state."""
        panels, c, mass = np.concatenate(self.panels), np.concatenate(self.series, axis=1), np.concatenate(self.mass)
        order = np.argsort(panels[:, 0])
        edges = np.append(panels[order, 0], panels[order[-1], 1])
        return [_monotone(edges, series, mass[order], self.t, allowed) for series in c[:, order]]


def _monotone(edges, c, mass, t, allowed):
    """(Monotone, mass given up): the panels around the heaviest on which F keeps its direction, jumps bridged by straight lines."""
    half = 0.5 * np.diff(edges)
    slope = np.polynomial.chebyshev.chebval(t, np.polynomial.chebyshev.chebder(c.T)) / half[:, None]  # (panels, nodes)
    signs = np.where(slope.min(axis=1) > 0, 1, np.where(slope.max(axis=1) < 0, -1, 0))
    heaviest = int(np.argmax(mass))
    sign = signs[heaviest] or 1
    c, slope, signs = sign * c, sign * slope, sign * signs
    left, right = c @ (-1.0) ** np.arange(c.shape[1]), c.sum(axis=1)
    bridged = _bridge(edges, c, slope, signs, left, right, mass < JUMP)
    wrong = np.flatnonzero(signs != 1)
    first, last = wrong[wrong < heaviest].max(initial=-1) + 1, wrong[wrong >= heaviest].min(initial=len(c))
    lost = float(mass[:first].sum() + mass[last:].sum() + mass[bridged].sum())
    if lost > allowed:
        k = int(wrong[np.argmax(mass[wrong])]) if len(wrong) else int(np.argmax(mass * bridged))
        raise NotTrusted(
            f"propagate: the noise-free part of the chain folds: its map turns back between x = {edges[k]:.6g} and {edges[k + 1]:.6g}, where the law "
            f"before it has mass {mass[k]:.1e}; its image has infinite density there. Take more, smaller steps, or a scheme with noise"
        )
    values = np.append(left[first:last], right[last - 1])
    ends = np.array([slope[first, 0], slope[last - 1, -1]])
    return Monotone(edges[first : last + 1], np.ascontiguousarray(c[first:last]), values, ends, float(sign)), lost


def _bridge(edges, c, slope, signs, left, right, light):
    """Replace, in place, runs of panels of next to no mass on which F is all rounding by the line that joins their neighbours; which ones."""
    bridged = (signs != 1) & light
    run = np.flatnonzero(np.diff(np.concatenate([[False], bridged, [False]]).astype(int)))
    for i, j in run.reshape(-1, 2):
        if i == 0 or j == len(c) or not left[j] > right[i - 1]:
            bridged[i:j] = False
            continue
        at = right[i - 1] + (left[j] - right[i - 1]) * (edges[i : j + 1] - edges[i]) / (edges[j] - edges[i])
        c[i:j] = 0.0
        c[i:j, 0], c[i:j, 1] = 0.5 * (at[1:] + at[:-1]), 0.5 * np.diff(at)
        left[i:j], right[i:j], signs[i:j] = at[:-1], at[1:], 1
        slope[i:j] = (np.diff(at) / np.diff(edges[i : j + 1]))[:, None]
    return bridged
