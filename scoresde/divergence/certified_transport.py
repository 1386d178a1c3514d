r"""The distance W_2 of Gaussian mixtures on the line as a proof: W_2^2 = \int (T(x) - x)^2 q(x) dx, T = F_p^{-1} \circ F_q.

On a cell the integrand is a Taylor polynomial about the middle and Lagrange's remainder, both from power series in balls: T is the series
of F_q put into the reversed series of F_p, at the middle, or over the whole cell with T(cell) bracketed by monotonicity. The cell of the
widest share is halved until all are narrow; where T jumps (between far modes) the range of (T(x) - x)^2 times the mass decides.
"""

import heapq

from .balls import BITS, arb, arb_series, balls, enclosed, fringe, root, up_to, working

__all__ = ["cost", "wasserstein2"]

ORDER = 20  # even, so that the remainder's power of x - c has one sign
CELLS = 2**12
NARROW = 2.0**-52  # of one cell, so that W_2 is known to 1e-12 of the standard deviations, or of itself, where there are a thousand cells
more = working(BITS + 64, ORDER + 3)  # quantiles far out come from differences of nearly equal masses


@more
def wasserstein2(p, q):
    r"""W_2(p, q) = (\int_0^1 (F_p^{-1} - F_q^{-1})^2 du)^{1/2}, rigorous. p, q : Gaussian or GaussianMixture of dimension 1; NoMethod for others."""
    return enclosed(root(cost(balls(p, "wasserstein2"), balls(q, "wasserstein2"))))


@more
def cost(p, q):
    """W_2^2 of two mixtures in balls, a ball."""
    if p.same(q):
        return arb(0)
    apart, variances = p.mean() - q.mean(), [law.second_moment() - _square(law.mean()) for law in (p, q)]
    least = _square(apart) + _square(variances[0].sqrt() - variances[1].sqrt())  # the cost of Gaussians, a lower bound of any (Gelbrich 1990)
    if len(p.terms) == len(q.terms) == 1:
        return least
    size = least.abs_upper().sqrt()
    goal = NARROW * (size * (size + sum(variances).sqrt()) + 2.0**-30 * sum(variances))
    centre, (a, b) = q.mean(), (_quantile(q, u, *q.hull()).mid() for u in (fringe(), 1 - fringe()))
    ya, yb = (_quantile(p, q.cdf(x), *p.hull()) for x in (a, b))  # between the ends of the hull, which leave out at most fringe()/2
    cells = [_cell(p, q, a, b, ya, yb)]
    while cells[0][0] < -goal and len(cells) < CELLS:  # the widest share is split
        _, _, _, left, c, right, below, at_c, above = heapq.heappop(cells)
        heapq.heappush(cells, _cell(p, q, left, c, below, at_c))
        heapq.heappush(cells, _cell(p, q, c, right, at_c, above))
    tails = up_to(2 * (q.outside(a, b, centre) + p.outside(ya.upper(), yb.lower(), centre)))
    return sum((cell[2] for cell in cells), tails)


def _cell(p, q, left, right, below, above):
    """(-width, left end, share of the cost, left, c, right, T(left), T(c), T(right)) of the cell [left, right]: sorted by width."""
    x, y, c = left.union(right), below.union(above), ((left + right) / 2).mid()
    at_c = _quantile(p, q.cdf(c), below.lower(), above.upper())
    crude = _square(y - x) * (q.cdf(right) - q.cdf(left))
    fine = _taylor(p, q, x, y, c, at_c, left - c, right - c)
    share = fine if fine.rad() <= crude.rad() else crude
    return -float(share.rad()), float(left), share, left, c, right, below, at_c, above


def _taylor(p, q, x, y, c, at_c, left, right):
    r"""\int (T - x)^2 q over the cell x = c + [left, right], with T(x) in y and T(c) in at_c."""
    middle, cell = _integrand(p, q, c, at_c), _integrand(p, q, x, y)
    if middle is None or cell is None:
        return arb.nan()
    coefficients = [*(middle[k] for k in range(ORDER)), cell[ORDER]]
    return sum((h * (right ** (k + 1) - left ** (k + 1)) / (k + 1) for k, h in enumerate(coefficients)), arb(0))


def _integrand(p, q, x, y):
    """The power series of (T - x)^2 q about a ball x, where T(x) lies in the ball y; None where the density of p may vanish on y."""
    density, mass = _density(q, x), _density(p, y).integral()
    if not mass[1] > 0:
        return None
    moved = mass.reversion()(density.integral())
    gap = moved + arb_series([y - x, -1], ORDER + 1)
    return gap * gap * density


def _square(x):
    return x * x  # x**2 goes through the logarithm, and loses balls around 0


def _density(law, x):
    """The power series of the density about a ball x."""
    rows = ((w / (2 * arb.pi() * v).sqrt(), [-_square(x - m) / (2 * v), (m - x) / v, -1 / (2 * v)]) for w, m, v in law.terms)
    return sum((height * arb_series(row, ORDER + 1).exp() for height, row in rows), arb_series([0], ORDER + 1))


def _quantile(law, u, lo, hi):
    """A ball around the x in [lo, hi] (exact balls) with law.cdf(x) = u: Newton's method for intervals, quartering where it does not contract."""
    for _ in range(400):
        x, width = lo.union(hi), hi - lo
        c, slope = x.mid(), law.pdf(x)
        found = c - (law.cdf(c) - u) / slope if slope > 0 else x
        lo, hi = lo.max(found.lower()), hi.min(found.upper())
        if hi - lo <= width / 2:
            continue
        for point in (c, ((lo + c) / 2).mid(), ((c + hi) / 2).mid()):
            gap = law.cdf(point) - u
            lo, hi = lo.max(point) if gap < 0 else lo, hi.min(point) if gap > 0 else hi
        if not hi - lo < width:
            break
    return lo.union(hi)
