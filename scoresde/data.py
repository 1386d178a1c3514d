"""A user's data file as a target: read, centred, divided by one common scale, smoothed by a kernel density estimate."""

import csv
import heapq
import math
import os
import re
from dataclasses import dataclass
from functools import partial

import numpy as np

__all__ = ["Preparation", "as_target", "read_points"]

LARGEST = 1e150  # squares of more are not numbers
_ALLOWED = f"allowed are finite numbers below {LARGEST:.0e} in size; leave the row out or choose another unit"
CELLS = 512  # a mixture of more components than this costs every theorem more than the points are worth
COST = 1e-3  # in total variation: merging goes on to fewer cells while its bound stays below, far below what the estimate itself is off
CURVATURE = math.exp(-0.5) / math.sqrt(2 * math.pi)  # phi(1), a quarter of the integral of |phi''|


# ---- reading --------------------------------------------------------------------------------------------------------------------------


def read_points(path):
    """The rows of a .csv or .npy file as an array (n, d) of float64, and a line that says how it was read.

    .csv: one row a line; cells separated by ";", a tab, "," or blanks (found out from the second line); a first line without any number is
    a header; empty lines and lines that begin with # are skipped; the decimal sign is the point. .npy: (n,) or (n, d) of real numbers.

    Raises OSError if the file cannot be read, ValueError for another suffix, no rows, fewer than 2 rows, rows of unequal length (names the
    line), a cell that is not a number (names line and column), NaN or infinity, a column that is constant.
    """
    path = os.fspath(path)
    readers = {".csv": _read_csv, ".npy": _read_npy}
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in readers:
        raise ValueError(f"{path}: got the suffix {suffix!r}, allowed are .csv and .npy; save the data as one of these")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file; give the path of a .csv or .npy file")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: got a folder, allowed is a .csv or .npy file")
    points, names, how = readers[suffix](path)
    n, d = points.shape
    if n < 2:
        raise ValueError(f"{path}: got {n} row, allowed are at least 2 rows: one point has no spread")
    for j in range(d):
        if np.ptp(points[:, j]) < 1e-150:
            label = f"{j + 1} ({names[j]})" if names else f"{j + 1}"
            raise ValueError(f"{path}: column {label} is constant ({points[0, j]:g}), allowed are columns that vary; leave it out")
    columns = f"{d} column{'s' * (d > 1)}" + (f" ({', '.join(names)})" if names and d <= 8 else "")
    return points, f"read {n} rows × {columns} from {os.path.basename(path)}, {how}"


def _read_csv(path):
    with open(path, "rb") as file:
        raw = file.read()
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    # only digits matter: a header in another encoding may lose a letter, a cell that does is reported as not a number
    text = raw.decode(encoding, "replace")
    lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise ValueError(f"{path}: no rows in the file; allowed are lines of numbers")
    cut, separator = _separator(lines[min(1, len(lines) - 1)][1])
    first = cut(lines[0][1])
    header = all(_number(cell) is None for cell in first)
    if header:
        lines = lines[1:]
        if not lines:
            raise ValueError(f"{path}: a header and no rows; allowed are lines of numbers")
    width = len(cut(lines[0][1]))
    points = np.empty((len(lines), width))
    for r, (i, line) in enumerate(lines):
        cells = cut(line)
        if len(cells) != width:
            raise ValueError(
                f"{path}: line {i} has {len(cells)} cell{'s' * (len(cells) != 1)}, line {lines[0][0]} has {width} ({separator}), "
                "allowed are rows of equal length"
            )
        for j, cell in enumerate(cells):
            x = _number(cell)
            if x is None:
                raise ValueError(f"{path}: line {i}, column {j + 1}: {_not_a_number(cell)}")
            if not abs(x) < LARGEST:
                raise ValueError(f"{path}: line {i}, column {j + 1}: got {cell[:40]!r}, {_ALLOWED}")
            points[r, j] = x
    names = [cell.strip("\"' ") or "no name" for cell in first] if header and len(first) == width else []
    return points, names, f"{separator}, {'first line taken as a header' if header else 'no header'}"


def _separator(line):
    """How to cut lines like this one, and its name. A line of numbers holds no separator but its own, so the first found is it."""
    for sign, name in ((";", "semicolon-separated"), ("\t", "tab-separated"), (",", "comma-separated")):
        if sign in line:
            return partial(_cut_at, sign), name
    return str.split, "separated by blanks" if len(line.split()) > 1 else "one number a line"


def _cut_at(sign, line):
    return [cell.strip() for cell in next(csv.reader([line], delimiter=sign))]


def _number(cell):
    if "_" in cell:  # 1_000 is a number to Python only
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def _not_a_number(cell):
    if not cell:
        return "the cell is empty; fill it or leave the line out"
    comma = re.fullmatch(r"[-+]?\d*,\d+", cell)
    return f"got {cell[:40]!r}, allowed is a number like -1.5e3" + ("; write the decimal sign as a point" if comma else "")


def _read_npy(path):
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        raise ValueError(f"{path}: not a .npy file of numbers that can be read; write it with numpy.save, without objects") from None
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{path}: got an array of {array.dtype}, allowed are real numbers")
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"{path}: got an array of shape {array.shape}, allowed is (n,) or (n, d), one row a point, not empty")
    points = np.array(array, dtype=np.float64).reshape(len(array), -1)
    if not (np.abs(points) < LARGEST).all():
        r, j = np.argwhere(~(np.abs(points) < LARGEST))[0]
        raise ValueError(f"{path}: row {r}, column {j} (from 0): got {points[r, j]}, {_ALLOWED}")
    return points, [], f"{array.dtype} array of shape {array.shape}"


# ---- a target -------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preparation:
    """What was done to the data: x -> (x - centre) / scale, then one Gaussian of standard deviation ``bandwidth`` (d,) at each of ``cells``
    points; ``tv_cost`` bounds the total variation between the estimate from all points and the one used (0 if nothing was merged).
    """

    points: int
    centre: tuple
    scale: float
    bandwidth: tuple
    cells: int
    tv_cost: float
    raw: bool = False
    uneven: float = 1.0

    @property
    def lines(self):
        """Lines for the user: what was assumed, and in which units."""
        first = "used as they are (--raw)" if self.raw else f"centred at {_tuple(self.centre)}, divided by {self.scale:.4g} (--raw disables both)"
        yield f"{first}; target: kernel density estimate, bandwidth {_tuple(self.bandwidth)} (Silverman)"
        if self.cells < self.points:
            cost = f"TV between the two estimates ≤ {self.tv_cost:.2g}" if self.tv_cost > 1e-15 else "equal points only: the estimate is the same"
            yield f"{self.points} points merged into {self.cells} weighted ones; {cost}"
        if not self.raw:
            yield f"1 unit of a distance (W1, W2) here is {self.scale:.4g} of the data's units; TV and KL have no unit"
        if self.uneven > 100:
            yield f"the columns' spreads differ by a factor of {self.uneven:.0f}: bring them to like units, or bounds say little about the small ones"


def _tuple(x):
    x = [f"{v:.4g}" for v in x]
    x = x if len(x) <= 6 else [*x[:5], "…"]
    return x[0] if len(x) == 1 else f"({', '.join(x)})"


def as_target(points, raw=False):
    r"""p = \sum_i w_i N(c_i, \mathrm{diag}\, b^2) of the points (x - \text{centre}) / \text{scale}, and a Preparation that says what was done.

    scale is the root of the mean variance of the columns: one number, so that the geometry is kept; ``raw=True`` skips both. b is
    Silverman's bandwidth of all n points. More than 512 points are merged into at most 512 cells (fewer, if the cost below stays under 1e-3),
    each point moved to its cell's mean by \delta_i; with |\delta_i|_b in bandwidths the cost is at most, cell by cell, the smaller of

        TV <= \frac1n \sum_i \mathrm{erf}(|\delta_i|_b / \sqrt8)      (two Gaussians with one covariance, and convexity)
        TV <= \varphi(1) \frac1n \sum_i |\delta_i|_b^2                (the moves of a cell sum to 0, so the first order cancels: Taylor
                                                                   with \int |\varphi''| = 4 \varphi(1))

    Source of the bandwidth: Silverman 1986, Density Estimation, eq. 4.14.
    """
    from .laws import GaussianMixture, kernel_density

    points = np.asarray(points, dtype=np.float64)
    n, d = points.shape
    centre, scale, uneven = np.zeros(d), 1.0, 1.0
    if not raw:
        centre = points.mean(axis=0)
        spread = (points - centre).std(axis=0)
        scale = float(np.sqrt(np.mean(spread**2)))
        points = (points - centre) / scale
        uneven = float(spread.max() / spread.min())
    full = kernel_density(points)
    bandwidth = np.sqrt(_variances(full, d))
    cell = merge(points / bandwidth, CELLS, COST)
    count = int(cell.max()) + 1
    cost, law = 0.0, full
    if count < n:
        share = np.bincount(cell, minlength=count) / n
        means = np.stack([np.bincount(cell, points[:, j], minlength=count) for j in range(d)], axis=1) / (n * share)[:, None]
        cost = merging_cost((points - means[cell]) / bandwidth, cell)
        law = GaussianMixture(share, means, np.broadcast_to(bandwidth**2, (count, d)) if d > 1 else float(bandwidth[0] ** 2))
    return law, Preparation(n, tuple(centre.tolist()), scale, tuple(bandwidth.tolist()), count, cost, raw, uneven)


def _variances(law, d):
    """The common diagonal covariance of a kernel density estimate, (d,)."""
    return np.diagonal(law.component(0).cov()).astype(float)


def merge(points, count, cost=0.0):
    """Cell numbers (n,): all different up to ``count`` points; else at most ``count``, and only as many as bring the cost to ``cost``.

    points in bandwidths. The cell with the largest sum of squares about its mean is cut there, across its widest coordinate, until
    ``merging_cost`` (its second bound) is small enough or all points of each cell are equal. An outlier gets a cell of its own early.
    """
    if len(points) <= count:
        return np.arange(len(points))
    cell = np.zeros(len(points), dtype=np.int64)
    heap = [_cut(points, np.arange(len(points)), 0)]
    for new in range(1, count):
        if CURVATURE * -sum(squares for squares, *_ in heap) <= cost * len(points):
            break
        _, _, members, coordinate = heapq.heappop(heap)
        x = points[members, coordinate]
        upper = x > x.mean()
        if not upper.any():  # the mean rounded up to the largest value
            upper = x == x.max()
        cell[members[upper]] = new
        heapq.heappush(heap, _cut(points, members[~upper], 2 * new - 1))
        heapq.heappush(heap, _cut(points, members[upper], 2 * new))
    return cell


def _cut(points, members, tie):
    """(minus the sum of squares, tie-breaker, members, widest coordinate): the heap's first is the next to cut."""
    x = points[members]
    squares = ((x - x.mean(axis=0)) ** 2).sum(axis=0) * (x.min(axis=0) < x.max(axis=0))
    return -float(squares.sum()), tie, members, int(squares.argmax())


def merging_cost(moves, cell):
    """Bound of TV between the mixtures before and after each point moved by ``moves`` (n, d), in standard deviations; see ``as_target``."""
    squares = (moves**2).sum(axis=1)
    first = np.bincount(cell, [math.erf(x) for x in np.sqrt(squares / 8)])
    second = np.bincount(cell, squares) * CURVATURE
    return float(min(1.0, np.minimum(first, second).sum() / len(cell)))
