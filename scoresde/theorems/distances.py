"""Distances of Gaussians on the line: closed forms against quadrature."""

import math

import numpy as np
from scipy import special

from .. import grid
from ..divergence import kullback_leibler, total_variation, wasserstein2
from ..enclosure import Enclosure
from ..engine.propagate import propagate
from ..errors import NoMethod
from ..laws import GaussianMixture
from ..scheme import euler_maruyama
from ..score import exact
from .bounds import powered
from .claim import Statement, claim_over, states
from .gaussians import MOMENTS, SURROGATE, directions, told
from .numeric import EPS, about, equal, mutated, unmet

__all__ = ["gaussian_distances"]


@states(Statement(
    "G4", "distances of Gaussians in closed form: KL, W2, TV against quadrature",
    "textbook",
    r"KL = \tfrac12[\tfrac{v_1}{v_2}+\tfrac{\Delta^2}{v_2}-1+\ln\tfrac{v_2}{v_1}],\quad W_2^2 = \Delta^2+(\sqrt{v_1}-\sqrt{v_2})^2,"
    r"\quad TV = |P(x_1,x_2)-Q(x_1,x_2)|,\ x_{1,2}\text{ the roots of }\log p=\log q",
    (MOMENTS,), SURROGATE + ".",
))  # fmt: skip
def gaussian_distances(target):
    r"""KL, W_2 and TV of N(m_1, v_1) and N(m_2, v_2): the closed forms, written here, against quadrature that sees mixtures of one component.

    Pairs: the target's Gaussian with N(0, 1), with the law of a coarse Euler–Maruyama chain, with one of twice its variance one standard
    deviation away, and with a near copy of itself. Control: the two arguments of KL exchanged.
    """
    theorem = gaussian_distances
    if target.dim != 1:
        raise NoMethod(f"{theorem.__name__}: got dimension {target.dim}, allowed is 1: the quadrature is on the line")
    p, held = directions(target)
    what = about(theorem, held)
    if (claim := unmet(what, "=")) is not None:
        return claim
    m, v = float(p.mean[0]), float(p.var[0])
    chain = propagate(euler_maruyama(grid.uniform(min(4.0, 8 * v), 16)), exact(p.law))
    doubled = (m + math.sqrt(v), 2 * v)
    others = {
        "N(0, 1)": (0.0, 1.0), "coarse chain": (float(chain.mean()[0]), float(np.ravel(chain.covariance)[0])), "doubled": doubled,
        "near": (m + 1e-3 * math.sqrt(v), 1.001 * v),
    }  # fmt: skip
    cells = []
    for name, (m2, v2) in others.items():
        one, two = (GaussianMixture(np.ones(1), np.array([[a]]), np.array([b])) for a, b in ((m, v), (m2, v2)))
        sides = {
            "KL": (kullback_leibler(one, two), _closed_kl(m, v, m2, v2)),
            "W2": (wasserstein2(one, two), math.hypot(m - m2, math.sqrt(v) - math.sqrt(v2))),
            "TV": (total_variation(one, two), _closed_tv(m, v, m2, v2)),
        }
        for of, (found, closed) in sides.items():
            right = Enclosure.near(closed, 64 * EPS * (1 + closed))
            cells.append(equal(found, right, digits=7, floor=1e-6, name=of, parameters={"of": of, "pair": name}))
    one, two = (GaussianMixture(np.ones(1), np.array([[a]]), np.array([b])) for a, b in ((m, v), doubled))
    control = equal(kullback_leibler(one, two), _closed_kl(*doubled, m, v), digits=7, floor=1e-6, **mutated(theorem, r"KL(p|q) = KL(q|p)"))
    return powered(claim_over(cells, parameters=told(target, p), **what), control)


def _closed_kl(m1, v1, m2, v2):
    """1/2 [r - 1 - log r + (m1 - m2)^2/v2], r = v1/v2."""
    excess = (v1 - v2) / v2
    return 0.5 * (excess - math.log1p(excess) + (m1 - m2) ** 2 / v2)


def _closed_tv(m1, v1, m2, v2):
    r"""|P(I) - Q(I)|, I between the two roots of (x - m_1)^2/v_1 - (x - m_2)^2/v_2 = \log(v_2/v_1); a half line for equal variances."""
    if abs(v1 - v2) <= 4 * EPS * v1:
        return math.erf(abs(m1 - m2) / math.sqrt(8 * v1))
    a, b = 1 / v1 - 1 / v2, m2 / v2 - m1 / v1
    c = m1 * m1 / v1 - m2 * m2 / v2 - math.log(v2 / v1)
    large = -(b + math.copysign(math.sqrt(max(b * b - a * c, 0.0)), b))  # a x^2 + 2 b x + c = 0
    x1, x2 = sorted((large / a, c / large) if large else (0.0, 0.0))
    inside = lambda m, v: float(special.ndtr((x2 - m) / math.sqrt(v)) - special.ndtr((x1 - m) / math.sqrt(v)))  # noqa: E731
    return abs(inside(m1, v1) - inside(m2, v2))
