r"""Equal Gaussians on a uniform lattice of the plane: q(x) = \sum_{ij} m_{ij} N(x; g_{ij}, s I). What an engine's law in the plane is made of.

Any cloud \sum_k w_k N(x; a_k, R I) is one: half of R spreads the points over the lattice, the other half is s, and a trapezoidal sum over spacings
of 0.36 \sqrt R joins the two halves to 2e-16 (its relative error is e^{-(2\pi/0.36)^2/8}). Terms are positive; those below CUT times the height of
the law are left out, so densities are relatively accurate to 1e-9 down to TRUSTED times that height, which is nine standard deviations.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit

from .._arrays import frozen, stream
from ..errors import NotTrusted
from .cloud import FLAGS, fast_exp
from .mixture import draw_labels

__all__ = ["CUT", "TRUSTED", "Lattice", "box", "deposit", "height"]

CUT = 1e-28  # of the height: terms below it are left out
TRUSTED = 1e-18  # of the height: densities above it are relatively accurate
SPACING = 0.36  # of the lattice over \sqrt R
LIMIT = 6_000_000  # lattice points
NEGLIGIBLE = 36.0  # -log of 2e-16


def deposit_py(a, w, signs, var, x0, y0, dx, dy, cut, out):
    """out[c, i, j] += signs[c, k] w_k N((x0 + j dx, y0 + i dy); a_k, var) where that is more than ``cut``: a disc about each point.

    A Gaussian is a product of one in x and one in y, and each of those a table times a geometric progression.
    """
    norm, inv = 1 / (2 * math.pi * var), 1 / var
    top = 0.0
    for k in range(w.size):
        top = max(top, w[k])
    if top * norm <= cut:
        return
    reach = math.sqrt(2 * var * math.log(top * norm / cut))
    hx, hy = int(reach / dx) + 2, int(reach / dy) + 2
    tx, ty = np.empty(2 * hx + 1), np.empty(2 * hy + 1)
    for l in range(2 * hx + 1):
        tx[l] = math.exp(-0.5 * inv * ((l - hx) * dx) ** 2)
    for l in range(2 * hy + 1):
        ty[l] = math.exp(-0.5 * inv * ((l - hy) * dy) ** 2)
    gx, gy = np.empty(2 * hx + 1), np.empty(2 * hy + 1)
    for k in range(w.size):
        if w[k] * norm <= cut:
            continue
        r2 = 2 * var * math.log(w[k] * norm / cut)
        r = math.sqrt(r2)
        j, i = int(np.rint((a[k, 0] - x0) / dx)), int(np.rint((a[k, 1] - y0) / dy))
        mx, my = int(r / dx) + 1, int(r / dy) + 1
        if j < mx or i < my or j + mx >= out.shape[2] or i + my >= out.shape[1]:
            continue
        u, v = a[k, 0] - x0 - j * dx, a[k, 1] - y0 - i * dy
        p, g = w[k] * norm * fast_exp(-0.5 * inv * (u * u + v * v) - mx * u * dx * inv), fast_exp(u * dx * inv)
        for l in range(hx - mx, hx + mx + 1):
            gx[l] = p * tx[l]
            p *= g
        p, g = fast_exp(-my * v * dy * inv), fast_exp(v * dy * inv)
        for l in range(hy - my, hy + my + 1):
            gy[l] = p * ty[l]
            p *= g
        for m in range(-my, my + 1):
            chord = r2 - (m * dy - v) ** 2
            if chord > 0:
                half = min(int(math.sqrt(chord) / dx) + 1, mx)
                source = gx[hx - half : hx + half + 1]
                for c in range(signs.shape[0]):
                    f = signs[c, k] * gy[hy + m]
                    row = out[c, i + m, j - half : j + half + 1]
                    for l in range(source.size):
                        row[l] += f * source[l]


deposit = njit(deposit_py, error_model="numpy", fastmath=FLAGS, cache=True)


def gather_py(x, mass, log_mass, highest, x0, y0, dx, dy, var, level, log_sum, first, second):
    """log S_0, and for level 1 S_1/S_0 (2,) and S_2/S_0 less the square of that (3,): xx, xy, yy; S_k = sum m (g - x)^k e^{-|g - x|^2/2 var}.

    A disc about x is summed, as wide as the mass of the nearest node demands. Where there is none, the largest terms of all, on a log scale.
    """
    ny, nx = mass.shape
    c = -0.5 / var
    most = int(math.sqrt(2 * var * 140.0) / dx) + 3
    gx, d, gx1, gx2 = np.empty(2 * most), np.empty(2 * most), np.empty(2 * most), np.empty(2 * most)
    unit = math.log(2 * math.pi * var / (dx * dy))
    for p in range(x.shape[0]):
        px, py = x[p, 0], x[p, 1]
        if not (abs(px) < math.inf and abs(py) < math.inf):
            log_sum[p] = -math.inf if px == px and py == py else math.nan
            first[p] = -x[p]
            second[p] = 0.0
            continue
        # clipped first: a point may be further away than integers reach
        j = int(min(max(np.rint((px - x0) / dx), 0.0), nx - 1.0))
        i = int(min(max(np.rint((py - y0) / dy), 0.0), ny - 1.0))
        near = log_mass[i, j] + unit + c * ((px - x0 - j * dx) ** 2 + (py - y0 - i * dy) ** 2)
        r2 = 2 * var * (NEGLIGIBLE + min(max(-near, 0.0), 100.0))
        r = math.sqrt(r2)
        lo, hi = max(j - int(r / dx) - 1, 0), min(j + int(r / dx) + 2, nx)
        for l in range(lo, hi):
            t = x0 + l * dx - px
            d[l - lo] = t
            gx[l - lo] = fast_exp(c * t * t)
        if level > 0:
            for l in range(hi - lo):
                gx1[l] = gx[l] * d[l]
                gx2[l] = gx1[l] * d[l]
        s0, sx, sy, sxx, sxy, syy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for m in range(max(i - int(r / dy) - 1, 0), min(i + int(r / dy) + 2, ny)):
            t = y0 + m * dy - py
            chord = r2 - t * t
            if chord <= 0:
                continue
            half = math.sqrt(chord)
            left = max(int((px - half - x0) / dx), lo)
            row = mass[m, left : max(min(int((px + half - x0) / dx) + 1, hi), left)]
            g = gx[left - lo : left - lo + row.size]
            gy = fast_exp(c * t * t)
            r0 = 0.0
            if level == 0:
                for l in range(row.size):
                    r0 += row[l] * g[l]
                s0 += gy * r0
                continue
            g1, g2 = gx1[left - lo : left - lo + row.size], gx2[left - lo : left - lo + row.size]
            r1, rr = 0.0, 0.0
            for l in range(row.size):
                r0 += row[l] * g[l]
                r1 += row[l] * g1[l]
                rr += row[l] * g2[l]
            s0 += gy * r0
            sx += gy * r1
            sy += gy * t * r0
            sxx += gy * rr
            sxy += gy * t * r1
            syy += gy * t * t * r0
        log_s = math.log(s0) if s0 > 0 else -math.inf
        if log_s < -110.0:  # the disc was too small
            best = -1e300
            for m in range(ny):
                t = y0 + m * dy - py
                if highest[m] + c * t * t > best:
                    for l in range(nx):
                        best = max(best, log_mass[m, l] + c * (t * t + (x0 + l * dx - px) ** 2))
            s0, sx, sy, sxx, sxy, syy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for m in range(ny):
                t = y0 + m * dy - py
                if highest[m] + c * t * t > best - NEGLIGIBLE:
                    for l in range(nx):
                        e = log_mass[m, l] + c * (t * t + (x0 + l * dx - px) ** 2) - best
                        if e > -NEGLIGIBLE:
                            e, u = fast_exp(min(e, 0.0)), x0 + l * dx - px
                            s0 += e
                            sx += e * u
                            sy += e * t
                            sxx += e * u * u
                            sxy += e * u * t
                            syy += e * t * t
            log_s = best + math.log(s0)
        log_sum[p] = log_s
        if level > 0:
            sx, sy = sx / s0, sy / s0
            first[p, 0], first[p, 1] = sx, sy
            second[p, 0], second[p, 1], second[p, 2] = sxx / s0 - sx * sx, sxy / s0 - sx * sy, syy / s0 - sy * sy


gather = njit(gather_py, error_model="numpy", fastmath=FLAGS, cache=True)


def height(points, weights, var):
    r"""The density at its centre of the Gaussian with the moments of \sum_k w_k N(a_k, var): what CUT and TRUSTED refer to."""
    mean = weights @ points
    centred = points - mean
    cov = (centred * weights[:, None]).T @ centred + var * np.eye(2)
    return 1 / (2 * math.pi * math.sqrt(np.linalg.det(cov)))


def box(points, weights, var, step, cut, shift=0.0, limit=LIMIT):
    """(x0, y0, columns, rows) of the lattice that holds the discs of ``deposit``; points of weight < 1e-24 may be left out to meet ``limit``."""
    norm = weights / (2 * math.pi * var)
    for least in (0.0, 1e-24):
        kept = (norm > cut) & (weights > least)
        reach = np.sqrt(2 * var * np.log(norm[kept] / cut))[:, None]
        lo, hi = (points[kept] - reach).min(axis=0) - (3 - shift) * step, (points[kept] + reach).max(axis=0) + 3 * step
        shape = (hi - lo) / step + 2
        if shape.prod() <= limit:
            return float(lo[0]), float(lo[1]), int(shape[0]), int(shape[1])
    raise NotTrusted(
        f"propagate: a grid of {shape.prod():.1e} points would be needed in the plane, at most {limit} are kept: the noise of a step is too small, "
        "or its map too steep, for the width of the law; use smaller steps and stop earlier, or simulate(table, score, n=..., seed=...)"
    )


@dataclass(frozen=True, eq=False)
class Lattice:
    """mass (rows, columns), sum 1, at (x0 + j dx, y0 + i dy), each spread by N(0, var I); ``top``: the height of the law."""

    mass: np.ndarray
    x0: float
    y0: float
    dx: float
    dy: float
    var: float
    top: float

    @classmethod
    def of(cls, points, weights, var):
        r"""The law \sum_k w_k N(a_k, var I), points (n, 2)."""
        top, d = height(points, weights, var), SPACING * math.sqrt(var)
        cut = CUT * top
        x0, y0, nx, ny = box(points, weights, 0.5 * var, np.array([d, d]), cut)
        out = np.zeros((1, ny, nx))
        deposit(np.ascontiguousarray(points), np.ascontiguousarray(weights), np.ones((1, len(weights))), 0.5 * var, x0, y0, d, d, cut, out)
        out[out <= cut] = 0.0
        return cls(frozen(out[0] / out.sum()), x0, y0, d, d, 0.5 * var, top)

    @property
    def axes(self):
        """(x (columns,), y (rows,)) of the lattice."""
        rows, columns = self.mass.shape
        return self.x0 + self.dx * np.arange(columns), self.y0 + self.dy * np.arange(rows)

    @cached_property
    def points(self):
        """(nodes (n, 2), weights (n,)) of those that carry mass."""
        i, j = np.nonzero(self.mass)
        x, y = self.axes
        return np.stack([x[j], y[i]], axis=1), self.mass[i, j]

    @cached_property
    def logs(self):
        """log of the masses, and its maximum in each row; -1e300 for none."""
        with np.errstate(divide="ignore"):
            log = np.maximum(np.log(self.mass), -1e300)
        return log, log.max(axis=1)

    def moved(self, m, v):
        """The law of m X + sqrt(v) Z."""
        nodes, weights = self.points
        if v > 0:
            return Lattice.of(m * nodes, weights, m * m * self.var + v)
        x0, y0 = (m * z[0 if m > 0 else -1] for z in self.axes)
        mass = self.mass if m > 0 else self.mass[::-1, ::-1]
        return Lattice(frozen(mass), float(x0), float(y0), abs(m) * self.dx, abs(m) * self.dy, m * m * self.var, self.top / (m * m))

    @cached_property
    def moments(self):
        """(mean (2,), covariance (2, 2))."""
        nodes, weights = self.points
        mean = weights @ nodes
        centred = nodes - mean
        return mean, (centred * weights[:, None]).T @ centred + self.var * np.eye(2)

    def log_density(self, x):
        """log q at x (n, 2)."""
        return self._gathered(x, 0)[0]

    def local(self, x):
        """(log q (n,), E[g - x | x] (n, 2), Cov[g | x] (n, 2, 2)): node g has posterior weight m_g N(x; g, var) / q(x)."""
        log_q, first, (xx, xy, yy) = self._gathered(x, 1)
        return log_q, first, np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2)

    def sample(self, n, seed):
        """n draws (n, 2): a node by its weight, then its Gaussian; growing n keeps the first rows."""
        nodes, weights = self.points
        j = draw_labels(weights, n, seed)
        return nodes[j] + math.sqrt(self.var) * stream(seed, "sample: normals").standard_normal((len(j), 2))

    def _gathered(self, x, level):
        log_sum, first, second = np.empty(len(x)), np.empty((len(x), 2)), np.empty((len(x), 3))
        gather(x, self.mass, *self.logs, self.x0, self.y0, self.dx, self.dy, self.var, level, log_sum, first, second)
        return log_sum - math.log(2 * math.pi * self.var), first, second.T
