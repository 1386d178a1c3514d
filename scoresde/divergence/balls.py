r"""Gaussian mixtures on the line in ball arithmetic: every number is a midpoint and a radius that contains the true value (Arb).

The parameters are the float64 numbers that a law stores, taken exactly; weights are divided by their sum, so that the law is one of mass 1.
Sums of exponentials are written e^{l_j} \sum_k \pm e^{l_k - l_j} around the component j that leads at the point in question, with the
polynomials l_k = \log|w_k| N(x; m_k, v_k) expanded about the middle of a ball: nothing cancels, underflows or is lost on a wide ball.
"""

import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

try:
    from flint import acb, arb, arb_series, ctx
except ImportError as missing:
    raise ImportError("rigorous=True: python-flint is not installed, which does the ball arithmetic; pip install 'scoresde[rigorous]'") from missing

from ..enclosure import Enclosure
from ..errors import NoMethod
from ..laws import Gaussian, GaussianMixture

__all__ = [
    "BITS", "METHOD", "REACH", "Balls", "acb", "arb", "arb_series", "balls", "enclosed", "exactly", "fringe", "normal", "root", "up_to", "working",
]  # fmt: skip

METHOD = "ball arithmetic"
BITS = 128
REACH = 13.0
r"""Standard deviations around each component that are integrated; \Phi(-13) = 6e-39 is about the rounding of one operation."""


@contextmanager
def working(bits, cap=10):
    """Inside (a with block, or a function that is decorated): numbers of so many bits, power series of so many terms."""
    before = ctx.prec, ctx.cap
    ctx.prec, ctx.cap = bits, cap
    try:
        yield
    finally:
        ctx.prec, ctx.cap = before


exactly = working(BITS)


@dataclass(frozen=True, eq=False)
class Balls:
    r"""\sum_k w_k N(m_k, v_k): ``terms`` (w, m, v) of balls, every w of a certain sign (a difference of two laws has both)."""

    terms: tuple[tuple[Any, Any, Any], ...]

    def flow(self, t):
        r"""The law at Ornstein–Uhlenbeck time t (a number, exact): m e^{-t}, 1 + e^{-2t}(v - 1). N(0, 1) stays exactly what it is."""
        if not t >= 0:
            raise ValueError(f"t: got {t!r}, allowed is a forward noise time t >= 0")
        shrink = (-arb(t)).exp()
        return Balls(tuple((w, m * shrink, 1 + shrink * shrink * (v - 1)) for w, m, v in self.terms))

    def same(self, other):
        """Are these certainly equal, term by term?"""
        pairs = zip(self.terms, other.terms, strict=False)
        return len(self.terms) == len(other.terms) and all(a == b for s, t in pairs for a, b in zip(s, t, strict=True))

    def minus(self, other):
        """(terms of p - q in which equal components are merged, a bound of the mass of what was dropped: its sign is unknown)."""
        terms, lost = list(self.terms), arb(0)
        for w, m, v in other.terms:
            k = next((k for k, (_, a, b) in enumerate(terms) if a == m and b == v), None)
            if k is None:
                terms.append((-w, m, v))
            else:
                terms[k] = (terms[k][0] - w, m, v)
        for w, _, _ in terms:
            lost += 0 if w > 0 or w < 0 else abs(w).upper()
        return Balls(tuple(t for t in terms if t[0] > 0 or t[0] < 0)), lost

    # ---- moments, and what lies outside an interval -----------------------------------------------------------------------------------

    def mean(self):
        return sum((w * m for w, m, _ in self.terms), arb(0))

    def second_moment(self):
        return sum((w * (m * m + v) for w, m, v in self.terms), arb(0))

    def hull(self):
        """(a, b), exact: all components up to REACH standard deviations; at most ``fringe()``/2 of the mass of a law is on either side."""
        reach = [(m, REACH * v.sqrt()) for _, m, v in self.terms]
        return min((m - r).lower() for m, r in reach), max((m + r).upper() for m, r in reach)

    def pdf(self, x):
        level, ratios, _ = self.lead(x)
        return level.exp() * sum(ratios, arb(0))

    def cdf(self, x):
        """The mass below x (difference of the two masses, for a difference of laws)."""
        return sum((w * ((m - x) / (2 * v).sqrt()).erfc() for w, m, v in self.terms), arb(0)) / 2

    def outside(self, a, b, centre=None):
        r"""\int (x - c)^2 f(x) dx over all x outside [a, b]; the mass there without c."""
        return sum((w * (_beyond(m, v, b, centre) + _beyond(-m, v, -a, None if centre is None else -centre)) for w, m, v in self.terms), arb(0))

    # ---- the density ------------------------------------------------------------------------------------------------------------------

    @cached_property
    def _forms(self):
        """Per component (sign, m, a, b) with l_k = a + b (x - m)^2, and floats of the last three."""
        forms = [(1 if w > 0 else -1, m, abs(w).log() - (2 * arb.pi() * v).log() / 2, -1 / (2 * v)) for w, m, v in self.terms]
        return forms, [tuple(float(x) for x in form[1:]) for form in forms]

    def _about(self, c):
        """(j, [(sign, l_k, l_k', l_k''/2 at c)]), where j leads at the real part of c."""
        forms, rough = self._forms
        x = float(c.real)
        j = max(range(len(rough)), key=lambda k: rough[k][1] + rough[k][2] * (x - rough[k][0]) ** 2)
        return j, [(s, a + b * d * d, 2 * (b * d), b) for s, m, a, b in forms for d in (c - m,)]

    def lead(self, z):
        """(l_j on z, [\\pm e^{l_k - l_j}], [l_k']) on a real or complex ball z, where j leads at its middle."""
        j, rows = self._about(z.mid())
        away, (_, *top) = None if z.is_exact() else z - z.mid(), rows[j]
        ratios = [z * 0 + s if k == j else s * _poly(row, away, top).exp() for k, (s, *row) in enumerate(rows)]
        return _poly(top, away), ratios, [slope if away is None else slope + 2 * (bend * away) for _, _, slope, bend in rows]

    def series(self, x, length):
        """(j, power series of \\sum_k \\pm e^{l_k - l_j} about a real ball x), where j leads at its middle."""
        j, rows = self._about(x.mid())
        away, (_, *top) = x - x.mid(), rows[j]
        total = arb_series([rows[j][0]], length)
        for k, (s, *row) in enumerate(rows):
            if k != j:
                slope, bend = row[1] - top[1], row[2] - top[2]
                total += s * arb_series([_poly(row, away, top), slope + 2 * (bend * away), bend], length).exp()
        return j, total


def _poly(row, away, less=(0, 0, 0)):
    """a + b y + c y^2 at y = away (0 for None), for the coefficients ``row`` minus ``less``."""
    a = row[0] - less[0]
    return a if away is None else a + away * (row[1] - less[1] + (row[2] - less[2]) * away)


def _beyond(m, v, b, centre):
    r"""\int_b^\infty (x - c)^2 N(x; m, v) dx, or the mass there."""
    z = (b - m) / v.sqrt()
    mass = (z / arb(2).sqrt()).erfc() / 2
    if centre is None:
        return mass
    density = (-z * z / 2).exp() / (2 * arb.pi()).sqrt()
    d = m - centre
    return v * (z * density + mass) + 2 * d * v.sqrt() * density + d * d * mass


def fringe():
    r"""2\Phi(-REACH)."""
    return (arb(REACH) / arb(2).sqrt()).erfc()


def normal():
    """N(0, 1)."""
    return Balls(((arb(1), arb(0), arb(1)),))


def balls(law, what):
    """The law's own numbers, exactly. Raises NoMethod for anything but a Gaussian or a GaussianMixture on the line."""
    if law.dim != 1 or not isinstance(law, (Gaussian, GaussianMixture)):
        raise NoMethod(
            f"{what}: rigorous=True has a method for Gaussian and GaussianMixture of dimension 1, got {type(law).__name__} of dimension {law.dim}; "
            "drop the option for a deterministic enclosure"
        )
    if isinstance(law, Gaussian):
        return Balls(((arb(1), arb(float(law.mean()[0])), arb(float(law.cov()[0, 0]))),))
    rows = [(arb(float(w)), arb(float(m)), arb(float(v))) for w, m, v in zip(law.weights, law.means[:, 0], law.covs.reshape(-1), strict=True)]
    total = sum((w for w, _, _ in rows), arb(0))
    return Balls(tuple((w if total == 1 else w / total, m, v) for w, m, v in rows if w > 0))


def up_to(bound):
    """A ball around [0, bound]: what is known of a remainder."""
    half = bound.upper() / 2
    return arb(half, half)


def root(ball):
    """The square root of a number known to be nonnegative; its ball may reach below 0."""
    return ball.sqrt() if ball > 0 else up_to(ball.upper().sqrt())


def enclosed(ball, method=METHOD):
    """The Enclosure of a ball of something that is nonnegative: its ends rounded outward."""
    if not ball.is_finite():
        return Enclosure(0.0, math.inf, "rigorous", method=method)
    lo, hi = float(ball.lower()), float(ball.upper())
    lo = lo if arb(lo) <= ball.lower() else math.nextafter(lo, -math.inf)
    hi = hi if arb(hi) >= ball.upper() else math.nextafter(hi, math.inf)
    lo = max(lo, 0.0)
    return Enclosure(lo, hi, "rigorous", value=min(max(float(ball.mid()), lo), hi) if math.isfinite(hi) else None, method=method)
