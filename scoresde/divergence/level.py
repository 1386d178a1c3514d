r"""Total variation of two mixtures of Gaussians in the plane, slice by slice.

TV = \int G(y) dy, G(y) = \frac12 \sum_j |F(x_{j+1}, y) - F(x_j, y)|, F(x, y) = \int_{-\infty}^x (p - q)(u, y) du, a sum of normal distribution
functions, and x_j(y) the roots of p = q along the slice. Where the level curve {p = q} turns back in y, two roots merge and G behaves as
|y - y_0|^{3/2}: panels are broken at these turning points, found by Newton's method in the plane, and y is an even function of the variable of
integration about them, in which G is smooth. What is not found that way, adaptive halving resolves.
"""

import math

import numpy as np
from scipy.special import ndtr

from .panels import EPS, integrate
from .slices import LOG_2PI, REACH, in_blocks

FINE = 0.5  # steps of the meshes, in standard deviations
TINY = 1e-18  # mass that is not looked for
MOST = 6000  # panels across the slices


def total_variation(z):
    """(value, error) of the total variation in the coordinates of ``z`` (Slices)."""
    edges = z.edges(FINE)
    knots = np.concatenate([edges[:1], turning_points(z, edges), edges[-1:]])
    piece = np.clip(np.searchsorted(knots, edges, side="right") - 1, 0, len(knots) - 2)
    share = (edges - knots[piece]) / (knots[piece + 1] - knots[piece])
    tau = np.unique(np.concatenate([np.arange(len(knots)), piece + 2 / math.pi * np.arcsin(np.sqrt(np.clip(share, 0.0, 1.0)))]))

    def f(tau, _):
        j = np.clip(np.floor(tau).astype(int), 0, len(knots) - 2)
        width, angle = knots[j + 1] - knots[j], 0.5 * math.pi * (tau - j)
        y = (knots[j] + width * np.sin(angle) ** 2).ravel()
        return z.by_rows(lambda y: slice_variation(z, y), y).reshape(2, *tau.shape) * (0.5 * math.pi * width * np.sin(2 * angle))

    done = integrate(f, tau[:-1], tau[1:], tolerance=1e-15, most=MOST)
    (value, error), (noise, _) = done.total(), done.total(1)
    return value, error + EPS * noise + TINY


# ---- one slice ----------------------------------------------------------------------------------------------------------------------


def slice_variation(z, y):
    """(G, its uncertainty in units of EPS) at y (n,), (2, n)."""
    t = (y[:, None] - z.mu) / z.sigma
    heights = np.exp(z.log_w - 0.5 * t * t - 0.5 * LOG_2PI) / z.sigma
    tiny = TINY * ((np.abs(t) <= REACH + 1) @ (np.exp(z.log_w) / z.sigma)) + 1e-300
    sheet = (heights, z.centres(y), z.s, z.count)
    row, roots, slack = _roots(sheet, tiny, *z.mesh(y, FINE))
    signs = np.where(np.arange(len(z.mu)) < z.count, 1.0, -1.0)
    n = np.arange(len(y))
    below = np.concatenate([np.zeros(len(y)), _below(sheet, signs, row, roots), heights @ signs])
    row, at = np.concatenate([n, row, n]), np.concatenate([np.full(len(y), -np.inf), roots, np.full(len(y), np.inf)])
    order = np.lexsort((at, row))
    row, below = row[order], below[order]
    same = row[1:] == row[:-1]
    lobes = 0.5 * np.abs(np.diff(below))[same]
    noise = slack / EPS + heights @ (4 + 0.4 * np.minimum(z.condition(), 1 / EPS))
    return np.stack([np.bincount(row[1:][same], lobes, len(y)), noise])


def _below(sheet, signs, row, x):
    heights, centres, s, _ = sheet
    total = np.zeros(len(x))
    for k, sign in enumerate(signs):
        total += sign * heights[row, k] * ndtr((x - centres[row, k]) / s[k])
    return total


def _jets(sheet, row, x):
    """(p + q, p - q and two derivatives, log p/q and two derivatives), (7, n); the last three may be infinite or NaN."""
    heights, centres, s, count = sheet
    sides = np.zeros((2, 3, len(x)))
    for k in range(len(s)):
        u = (x - centres[row, k]) / s[k]
        e = heights[row, k] * np.exp(-0.5 * u * u) / (s[k] * math.sqrt(2 * math.pi))
        side = sides[0 if k < count else 1]
        side[0] += e
        side[1] -= e * u / s[k]
        side[2] += e * (u * u - 1) / s[k] ** 2
    (p, p1, p2), (q, q1, q2) = sides
    a, b = p1 / p, q1 / q
    return np.stack([p + q, p - q, p1 - q1, p2 - q2, np.log(p / q), a - b, p2 / p - a * a - q2 / q + b * b])


def _roots(sheet, tiny, x, row, rounds=60):
    """(row, root, slack per row): sign changes of p - q along each slice; slack: mass that unseen pairs of roots could enclose.

    A gap between neighbouring points is settled when the second differences of p - q or of log p/q leave no room for a pair of roots more, or
    when what it could enclose is tiny; else it is halved.
    """
    at = _jets(sheet, row, x)
    same = np.nonzero(row[1:] == row[:-1])[0]
    row, a, b, fa, fb = row[same], x[same], x[same + 1], at[:, same], at[:, same + 1]
    found, slack = [], np.zeros(len(tiny))
    for turn in range(rounds):
        width = b - a
        bow, log_bow = (_bow(width, fa[i], fb[i]) for i in (3, 6))
        settled = _settled(bow, fa[1], fb[1]) | _settled(log_bow, fa[4], fb[4])
        could = width * np.minimum(bow, np.maximum(fa[0], fb[0]))
        noise = 16 * EPS * np.maximum(fa[0], fb[0])
        lost = ~settled & ((could <= tiny[row]) | (bow <= noise) | (width <= 8 * EPS * np.maximum(np.abs(a), np.abs(b))) | (turn == rounds - 1))
        slack += np.bincount(row[lost], np.maximum(could, width * noise)[lost], len(tiny))
        change = (settled | lost) & ((fa[1] > 0) != (fb[1] > 0))
        found.append([row[change], a[change], b[change], fa[1, change], fb[1, change]])
        split = ~(settled | lost)
        if not split.any():
            break
        row, a, b, fa, fb = row[split], a[split], b[split], fa[:, split], fb[:, split]
        middle = 0.5 * (a + b)
        fm = _jets(sheet, row, middle)
        row, a, b = np.tile(row, 2), np.concatenate([a, middle]), np.concatenate([middle, b])
        fa, fb = np.concatenate([fa, fm], axis=1), np.concatenate([fm, fb], axis=1)
    row, a, b, fa, fb = (np.concatenate(v) for v in zip(*found, strict=True))
    return row, _polished(sheet, row, a, b, fa, fb), slack


def _bow(width, second_a, second_b):
    """Several times the deviation from the chord."""
    return 0.5 * width**2 * (np.maximum(np.abs(second_a), np.abs(second_b)) + np.abs(second_b - second_a))


def _settled(bow, a, b):
    return np.where((a > 0) == (b > 0), np.minimum(np.abs(a), np.abs(b)) > bow, np.abs(b - a) > 4 * bow)


def _polished(sheet, row, a, b, fa, fb):
    """Roots in the brackets [a, b] by Newton's method, bisection where it leaves them; F is stationary there, so half the digits suffice."""
    x = a + np.nan_to_num(np.clip(fa / (fa - fb), 0.01, 0.99), nan=0.5) * (b - a)
    fine, rising, live = 1e-9 * (b - a), fb > 0, np.arange(len(x))
    a, b = a.copy(), b.copy()
    for _ in range(80):
        if not len(live):
            break
        at = x[live]
        f, slope = _jets(sheet, row[live], at)[1:3]
        right = (f > 0) == rising[live]
        b[live[right]], a[live[~right]] = at[right], at[~right]
        new = at - f / slope
        x[live] = new = np.where((new >= a[live]) & (new <= b[live]), new, 0.5 * (a[live] + b[live]))
        live = live[(f != 0) & (np.abs(new - at) > fine[live])]
    return x


# ---- turning points -----------------------------------------------------------------------------------------------------------------


def turning_points(z, edges, rounds=30):
    """y of the points with g = 0 = dg/dx, g = log p/q, sorted: Newton's method from every point of a mesh that may be near one."""
    rows = np.sort(np.concatenate([edges, 0.5 * (edges[1:] + edges[:-1])]))
    y, x, tall, wide = z.by_rows(lambda y: _starts(z, y), np.stack([rows, _spacing(rows)], axis=1))
    for _ in range(rounds):
        weight, (g, gx, gy, gxx, gxy) = _log_ratio(z, y, x)
        area = gx * gxy - gy * gxx
        dx, dy = (gy * gx - gxy * g) / area, (gxx * g - gx * gx) / area
        shrink = 1 / np.maximum(1.0, np.maximum(np.abs(dx) / wide, np.abs(dy) / tall))
        dx, dy = (np.nan_to_num(v * shrink) for v in (dx, dy))
        x, y = x + dx, y + dy
    good = (np.abs(dx) <= 1e-6 * wide) & (np.abs(dy) <= 1e-10 * tall) & (weight * wide * tall > 1e-17) & (area != 0)
    good &= (y > edges[0]) & (y < edges[-1])
    order = np.argsort(y[good])
    y, tall = y[good][order], tall[good][order]
    return y[np.diff(y, prepend=-np.inf) > 1e-9 * tall]


def _starts(z, rows):
    """(y, x, height, width) of those cells of a mesh, about (y, x), in which a turning point may be and would matter; rows: (y, height)."""
    x, row = z.mesh(rows[:, 0], FINE)
    (y, tall), wide = rows[row].T, _spacing(x, row)
    weight, (g, gx, gy, gxx, gxy) = _log_ratio(z, y, x)
    reach = np.abs(gx) * wide + np.abs(gy) * tall + np.abs(gxx) * wide**2
    near = (np.abs(gx) <= 2 * (np.abs(gxx) * wide + np.abs(gxy) * tall)) & (np.abs(g) <= 2 * reach)
    near &= weight * wide * tall * np.minimum(reach, 1.0) > 1e-17
    return np.stack([y, x, tall, wide])[:, near]


def _spacing(v, row=None):
    """The larger distance to a neighbour (in the same row), (n,)."""
    gap = np.abs(np.diff(v, prepend=v[:1], append=v[-1:]))
    if row is not None:
        gap[1:-1] *= row[1:] == row[:-1]
    return np.maximum(gap[1:], gap[:-1])


def _log_ratio(z, y, x):
    """p + q, and (g, g_x, g_y, g_xx, g_xy), (5, n)."""

    def both(y, x):
        p, q = z.gradients(y, x, second=True)
        return np.concatenate([np.exp(p[:1]) + np.exp(q[:1]), p - q])

    out = in_blocks(both, y, x, 2 * len(z.mu))
    return out[0], out[1:]
