r"""The step schedule with the least total variation of the chain's own law, by descent on the propagated law.

The law moves by q_{k+1}(x) = \int q_k(y) N(x; A_k(y), c_k^2) dy, A_k(y) = a_k y + b_k s(t_k, y). With f_N = \frac12 sign(q_N - p) and
f_k(y) = \int f_{k+1}(x) N(x; A_k(y), c_k^2) dx, one sweep back gives all derivatives of TV = \frac12\int|q_N - p| at once: with z = (x - A)/c,

    \partial TV/\partial A_k(y) = q_k(y) \int f_{k+1} N z / c,   \partial TV/\partial c_k = \int q_k \int f_{k+1} N (z^2 - 1) / c,

and the chain rule through a_k, b_k, c_k, t_k leads to the times.
"""

import math

import numpy as np

from .._arrays import as_law, finite, frozen, positive_int
from ..errors import NoMethod
from ..grid import optimal, quadratic
from ..information import ledger
from ..kernel import ornstein_uhlenbeck
from ..scheme import ancestral
from ..score import exact

__all__ = ["optimal_total_variation"]

SPACING = 0.6  # of the nodes, over the standard deviation of the noise: a trapezoidal sum is then off by e^{-2 \pi^2 / (2 SPACING^2)} = 1e-12
REACH = 7.5  # of the noise, in its standard deviations
LIGHT = 1e-14  # nodes with less mass are dropped from the next range
MOST = 1500  # nodes of one state: where steps are tiny the sums get coarser, and so does the optimum
FINAL = 601  # nodes of the last density
ROUNDING = 1e-8  # a total variation below it is not minimised further
SETTLED = 1e-4  # of the value: greatest slope, in the logarithm of a step, at which the descent ends


def optimal_total_variation(target, T, steps, *, scheme=None, stop=0.0):
    r"""A grid T = t_0 > ... > t_N = stop at which TV(law of the chain, p_{stop}) is least, all N - 1 inner times being free; exact score.

    target : a law on the line; scheme : grid -> Table with one evaluation and fresh noise in each step, default ancestral with variance
    "beta"; the chain starts at N(0, I). BFGS in the logarithms of the steps with the exact gradient, from the better of ``grid.quadratic``
    and ``grid.optimal`` (the former if I(p_{stop}|\gamma) is infinite). A local minimum, with no proof that it is the global one; the TV
    itself is for ``propagate`` to tell. Steps far longer than the law's own scale are poorly resolved, so give enough of them.
    Raises ValueError for T, stop, steps out of range and other tables, NoMethod off the line.
    """
    from scipy.optimize import minimize

    T, stop, steps = float(finite("T", T)), float(finite("stop", stop)), positive_int("steps", steps)
    if as_law("target", target).dim != 1:
        raise NoMethod(f"optimal_total_variation: got dimension {target.dim}, allowed is 1; take one axis (targets.first_axis), or use grid.optimal")
    starts = [quadratic(T, steps, stop=stop)]
    if np.isfinite(ledger(target, [stop]).relative_fisher).all():
        starts.append(optimal(target, T, steps, stop=stop))
    loss = _Loss(target, scheme or _ancestral, stop)
    begin, first = min(((loss(times)[0], times) for times in starts), key=lambda pair: pair[0])
    if steps == 1 or begin < ROUNDING:
        return first
    length = T - stop

    def grid(theta):
        share = np.exp(theta - theta.max())
        h = share * (length / share.sum())
        times = T - np.concatenate([[0.0], np.cumsum(h)])
        times[-1] = stop
        return h, times

    def objective(theta):
        h, times = grid(theta)
        if not (np.diff(times) < 0).all():
            return 1 / begin, np.zeros(steps)  # steps below rounding: as bad as can be
        value, slope = loss(times)
        by_step = -np.cumsum(slope[::-1])[::-1][1:]  # t_j = T - h_0 - ... - h_{j-1}
        return value / begin, h * (by_step - (h @ by_step) / length) / begin

    found = minimize(objective, np.log(-np.diff(first)), jac=True, method="BFGS", options={"gtol": SETTLED, "maxiter": 5 * steps})
    return frozen(grid(found.x)[1]) if found.fun < 1 else first


def _ancestral(grid):
    return ancestral(grid, "beta")


class _Loss:
    """times -> (TV, its gradient in the times, 0 at both ends)."""

    def __init__(self, target, scheme, stop):
        self.score, self.scheme = exact(target), scheme
        end = target if stop == 0 else target.noised(ornstein_uhlenbeck(stop))
        lo, hi = np.ravel(end.quantile(np.array([1e-9, 1 - 1e-9])))
        room = 0.1 * (hi - lo)
        self.x = np.linspace(lo - room, hi + room, FINAL)
        self.density = np.asarray(end.pdf(self.x[:, None]))

    def __call__(self, times):
        a, b, c = _one_evaluation(self.scheme(times))
        steps, spread = len(c), np.append(1.0, c)
        y = _nodes(-8.0, 8.0, SPACING * min(1.0, c[0]))
        mass = np.exp(-0.5 * y * y) * ((y[1] - y[0]) / math.sqrt(2 * math.pi))
        kept = []
        for k in range(steps):
            s = self._score(times[k], y)
            image = a[k] * y + b[k] * s
            if k + 1 == steps:
                x = self.x
            else:
                heavy = image[mass > LIGHT]
                x = _nodes(heavy.min() - REACH * c[k], heavy.max() + REACH * c[k], SPACING * min(spread[k + 1], c[k + 1]))
            z = (x - image[:, None]) / c[k]
            weight = np.exp(-0.5 * z * z) * ((x[1] - x[0]) / (c[k] * math.sqrt(2 * math.pi)))
            kept.append((y, s, mass, z, weight))
            y, mass = x, mass @ weight
        value, f = _absolute(0.5 * (mass - self.density * (x[1] - x[0])))
        f *= 0.5
        gradient, by = np.zeros(steps + 1), np.zeros((3, steps))
        for k in reversed(range(steps)):
            y, s, mass, z, weight = kept[k]
            by_image = mass * ((weight * z) @ f) / c[k]
            by[:, k] = by_image @ y, by_image @ s, mass @ ((weight * (z * z - 1)) @ f) / c[k]
            shift = 1e-6 * times[k]
            gradient[k] = b[k] * (by_image @ (self._score(times[k] + shift, y) - s)) / shift
            f = weight @ f
        gradient += self._through(times, by)
        gradient[[0, -1]] = 0.0
        return value, gradient

    def _score(self, t, y):
        return np.asarray(self.score(t, y[:, None]))[:, 0]

    def _through(self, times, by):
        """Derivatives through the coefficients: a step knows its two ends only, so every second time may be moved at once."""
        out, h = np.zeros(len(times)), -np.diff(times)
        reach = 1e-5 * np.minimum(h[:-1], h[1:])
        for inner in (np.arange(1, len(h), 2), np.arange(2, len(h), 2)):
            moved = np.zeros(len(times))
            moved[inner] = reach[inner - 1]
            up, down = (np.stack(_one_evaluation(self.scheme(times + e))) for e in (moved, -moved))
            change = np.sum(by * (up - down), axis=0)
            out[inner] = (change[inner - 1] + change[inner]) / (2 * moved[inner])
        return out


def _one_evaluation(table):
    """(a, b, c), each (N,), of a table whose every step is y' = a y + b s(t_k, y) + c z with c > 0."""
    plain = table.a.shape[1] == table.c.shape[1] == 1 and table.state.all() and np.array_equal(table.score_times, table.times[:-1])
    if not plain or not (table.c > 0).all():
        what = f"{table.name or 'a table'}, {'with a step that adds no noise' if plain else 'with stages or past states'}"
        raise ValueError(f"scheme: got {what}, allowed are one evaluation at the left end and fresh noise in every step; use euler_maruyama, say")
    return table.a[:, 0], table.b[:, 0], table.c[:, 0]


def _nodes(lo, hi, spacing):
    return np.linspace(lo, hi, min(max(math.ceil((hi - lo) / spacing), 8) + 1, MOST))


def _absolute(f):
    r"""\int|f| over nodes of spacing 1, f linear between them, and its derivatives in the nodes' values: smooth where f changes sign."""
    left, right = f[:-1], f[1:]
    size = np.abs(left) + np.abs(right)
    square = left * left + right * right
    across = left * right < 0
    value = 0.5 * np.divide(square, size, out=size.copy(), where=across)
    slope = np.zeros_like(f)
    for side, out in ((left, slope[:-1]), (right, slope[1:])):
        sign = 0.5 * np.sign(side)
        out += np.divide(side * size - square * sign, size * size, out=sign, where=across)
    return float(value.sum()), slope
