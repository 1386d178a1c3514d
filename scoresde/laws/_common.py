"""What the laws share: points as rows, blocks that bound memory, the coefficients of a kernel, normal tails, inverse distribution functions."""

import math

import numpy as np
from scipy import special

from .._arrays import as_points, finite, namespace
from ..errors import NoMethod
from ..kernel import Kernel

BLOCK = 2**20  # numbers of one temporary array: 8 MB, about the size of a cache


def rows(x, dim):
    """Points ``(..., dim)`` as rows ``(n, dim)``, and the leading shape to go back to."""
    x = as_points(x, dim)
    return x.reshape(-1, dim), tuple(x.shape[:-1])


def in_blocks(f, x, width):
    """f(x) for rows x (n, d), taken in blocks so that temporaries of ``width`` numbers a row stay small."""
    step = max(1, BLOCK // width)
    if len(x) <= step:
        return f(x)
    return namespace(x).concatenate([f(x[i : i + step]) for i in range(0, len(x), step)])


def coefficients(kernel):
    """(m, v) of a kernel as floats. Raises TypeError for anything else, ValueError for one pair per row: a law is noised by one kernel."""
    if not isinstance(kernel, Kernel):
        raise TypeError(f"kernel: got {type(kernel).__name__} {kernel!r:.60}, allowed is a Kernel, such as ornstein_uhlenbeck(t)")
    m, v = kernel.m, kernel.v
    if type(m) is not float or type(v) is not float:
        raise ValueError("kernel: got m, v of shape (n,), allowed are numbers: a law is noised by one kernel at a time; loop over the times")
    return m, v


def refuse_point_mass(kernel):
    raise ValueError(f"kernel: got m = {kernel.m}, v = {kernel.v}, allowed is v > 0 or m != 0: the noised law would be a point mass, without density")


def refuse_noiseless(kernel):
    raise ValueError(f"kernel: got v = {kernel.v}, allowed is v > 0: without noise there is nothing to denoise")


def on_the_line(law, what):
    """NoMethod unless the law has dimension 1."""
    if law.dim != 1:
        raise NoMethod(f"{what}: got a law of dimension {law.dim}, allowed is 1; project it onto an axis first (targets.first_axis)")


def weights_of(weights, name="weights"):
    """Checked weights (K,): nonnegative, sum 1 up to K 1e-12."""
    weights = finite(name, weights)
    if weights.ndim != 1 or not len(weights):
        raise ValueError(f"{name}: got shape {weights.shape}, allowed is (K,) with K >= 1")
    if (weights < 0).any():
        k = int(np.argmin(weights))
        raise ValueError(f"{name}: got {weights[k]} at index {k}, allowed are numbers >= 0")
    total = math.fsum(weights)
    if abs(total - 1) > 1e-12 * len(weights):
        raise ValueError(f"{name}: got numbers that sum to {total!r}, allowed is 1; divide them by their sum")
    return weights


def probabilities(u):
    """u in [0, 1] as float64 of any shape, for quantiles."""
    u = finite("u", u)
    if ((u < 0) | (u > 1)).any():
        raise ValueError(f"u: got {u[(u < 0) | (u > 1)].flat[0]}, allowed are probabilities in [0, 1]")
    return u


def trusted(cls, **fields):
    """An instance without validation, for results that are right by construction; arrays become read-only."""
    new = object.__new__(cls)
    for value in fields.values():
        if type(value) is np.ndarray:
            value.flags.writeable = False
    new.__dict__.update(fields)
    return new


def same(a, b):
    """Equal shapes and equal numbers."""
    return a is b or (a.shape == b.shape and bool((a == b).all()))


def fingerprint(*arrays):
    """A hash that agrees with ``same`` (0.0 == -0.0)."""
    return hash(tuple((x.shape, (x + 0.0).tobytes()) for x in arrays))


def wide(diagonal):
    """Diagonal matrices (..., d, d) with the given diagonals (..., d)."""
    xp = namespace(diagonal)
    return diagonal[..., None] * xp.eye(diagonal.shape[-1], dtype=diagonal.dtype, **_device(diagonal, xp))


def _device(x, xp):
    return {} if xp is np else {"device": x.device}


def ndtr(z):
    r"""\Phi(z), relatively accurate in the left tail."""
    xp = namespace(z)
    return special.ndtr(z) if xp is np else xp.special.ndtr(z)


def normal_quantile(u):
    r"""\Phi^{-1}(u), accurate at both ends: 1 - u is exact for u >= 1/2."""
    with np.errstate(divide="ignore"):
        return np.where(u <= 0.5, special.ndtri(u), -special.ndtri(1 - u))


def dyadic_breakpoints(centres, sds, extra=()):
    """Panel edges: multiples of a power of two close to sd/2 within 12 sd of each centre, and ``extra`` points.

    The grids of different scales are nested, so they merge where they overlap and the finest scale wins there.
    """
    step = np.exp2(np.round(np.log2(sds / 2)))
    first, last = np.floor((centres - 12 * sds) / step), np.ceil((centres + 12 * sds) / step)
    k = first[:, None] + np.arange(int((last - first).max()) + 1)
    points = (k * step[:, None])[k <= last[:, None]]
    return np.unique(np.concatenate([points, np.asarray(extra, dtype=np.float64)]))


def solve_quantile(u, ends, tail, pdf):
    """x with cdf(x) = u, u of any shape, result (..., 1); 0 and 1 give -inf and inf. ends(u) -> (lo, hi) brackets the root; see ``invert``."""
    u = probabilities(u)
    flat = u.reshape(-1)
    inside, x = (flat > 0) & (flat < 1), np.where(flat > 0.5, np.inf, -np.inf)
    x[inside] = invert(flat[inside], *ends(flat[inside]), tail, pdf)
    return x.reshape(*u.shape, 1)


def invert(u, lo, hi, tail, pdf):
    """x (n,) with cdf(x) = u, bracketed by lo <= x <= hi: Newton in the logarithm of the smaller tail, bisection where it fails.

    tail(x, upper) is the survival function where ``upper``, else the distribution function; both relatively accurate, so that u = 1e-300
    and u = 1 - 1e-16 are solved as well as u = 1/2.
    """
    u, x = np.asarray(u, dtype=np.float64), lo + 0.5 * (hi - lo)
    lo, hi, upper = lo.copy(), hi.copy(), u > 0.5
    aim = np.where(upper, 1 - u, u)
    last, todo = np.full(len(u), np.inf), np.arange(len(u))
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        for _ in range(2200):  # bisection alone needs at most 2098 halvings between any two floats
            at, up = x[todo], upper[todo]
            mass = tail(at, up)
            gap = np.log(mass / aim[todo])
            right = (gap > 0) != up  # the root is to the left of x
            hi[todo[right]], lo[todo[~right]] = at[right], at[~right]
            step = np.where(up, 1.0, -1.0) * gap * mass / pdf(at)
            new = at + step
            middle = lo[todo] + 0.5 * (hi[todo] - lo[todo])
            newton = (new >= lo[todo]) & (new <= hi[todo]) & (np.abs(step) <= 0.5 * last[todo])
            solved = np.abs(gap) <= 1e-15
            new = np.where(solved, at, np.where(newton, new, middle))
            done = solved | (new == at) | (hi[todo] <= lo[todo])
            last[todo] = np.abs(new - at)
            x[todo] = new
            todo = todo[~done]
            if not len(todo):
                return x
    return x
