"""The law of a chain, with no Monte Carlo: the front door that picks the engine from what is computed, never from a name."""

import numpy as np

from .._arrays import finite
from ..errors import NoMethod
from ..laws import Gaussian, standard_normal
from ..scheme.table import RandomTable, Table
from .blocks import blocks
from .gaussian import propagate_gaussian

__all__ = ["marginals", "propagate"]


def propagate(table, score, *, start=None, tolerance=1e-8):
    r"""The exact law of the last state of the chain y_{r+1} = a y_r + b s_r + c z_r (and its multistep, multistage kin).

    table : Table; score : s(t, x), or None if the table never evaluates it; start : Law of y_0, default N(0, I) in score.dim;
    tolerance : the TV error that the engine must vouch for. Returns a Gaussian (affine scores, any dimension), a Line (dimension 1),
    a Product (product targets; mixtures whose means span a line beside a common Gaussian, as a Rotated one), or a Plane (dimension 2). A
    computed law carries ``error`` (TV) and a ``twin`` (itself at an independent resolution). On the line alone: tables with a Metropolis test,
    and random ones (a RandomTable; at tolerance=1e-3, say); their laws come back as a Density.
    Raises TypeError and ValueError for wrong arguments, NoMethod where no exact engine applies (it names what does),
    NotTrusted if the error estimate exceeds ``tolerance``.
    """
    return _run(table, score, start, tolerance, keep="last")


def marginals(table, score, *, start=None, tolerance=1e-8):
    """The laws of all S+1 states, the start first: ``marginals(...)[-1]`` is ``propagate(...)``. Arguments and errors as there."""
    return _run(table, score, start, tolerance, keep="all")


def check_chain(table, score, start, random=False):
    """The dimension, or what does not fit together of table, score and start refused with a remedy; random: is a RandomTable welcome?"""
    if isinstance(table, RandomTable) and not random:
        raise TypeError("table: got a RandomTable, allowed is a Table here; simulate and propagate take random ones")
    if not isinstance(table, Table | RandomTable):
        raise TypeError(f"table: got {type(table).__name__}, allowed is a Table; call a scheme on a grid: scheme.euler_maruyama(grid)")
    if score is None and table.evaluations:
        raise TypeError(f"score: got None, allowed is a callable s(t, x): table {table.name!r} evaluates it {table.evaluations} times")
    if score is not None and not callable(score):
        raise TypeError(f"score: got {type(score).__name__}, allowed is a callable s(t, x); score.exact(law) makes one from a law")
    if isinstance(table, Table) and table.times.ndim > 1:
        raise TypeError("table: got coefficients that differ between particles, allowed is a Table; wrap its maker: RandomTable(uniforms, given)")
    dims = [x for x in (getattr(score, "dim", None), _dim_of_start(start), getattr(table.target, "dim", None)) if x is not None]
    if not dims:
        raise ValueError("score: got a callable without .dim and no start, allowed is either; give the function an attribute dim, or pass start=")
    if len(set(dims)) > 1:
        raise ValueError(f"start: got dimension {dims[1]} for a score of dimension {dims[0]}, allowed are equal dimensions")
    return dims[0]


def _dim_of_start(start):
    if start is None:
        return None
    return start.dim if hasattr(start, "dim") else np.shape(start)[-1]


def _run(table, score, start, tolerance, keep):
    dim = check_chain(table, score, start, random=True)
    tolerance = float(finite("tolerance", tolerance))
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance: got {tolerance}, allowed is 0 < tolerance < 1, an error in total variation")
    if start is None:
        start = standard_normal(dim)
    elif not hasattr(start, "noised"):
        raise TypeError("start: got an array, allowed is a Law: propagate has no particles; wrap the points in Empirical, or use simulate")
    if table.target is not None or isinstance(table, RandomTable):
        return _on_the_line(table, score, start, dim, tolerance=tolerance, keep=keep)
    if isinstance(start, Gaussian) and (score is None or _is_affine(score, table)):
        return propagate_gaussian(table, score, start, keep=keep)
    if dim == 1:
        from .line import propagate_line

        return propagate_line(table, score, start, tolerance=tolerance, keep=keep)
    split = blocks(score, start)
    if split is not None:
        from .product import propagate_product

        return propagate_product(table, *split, tolerance=tolerance, keep=keep)
    if dim == 2:
        from .plane import propagate_plane

        return propagate_plane(table, score, start, tolerance=tolerance, keep=keep)
    raise NoMethod(
        f"propagate: no exact engine for a {type(getattr(score, 'law', score)).__name__} target in dimension {dim}; exact are Gaussian targets "
        "(any dimension), the line, the plane, Product targets, and mixtures whose means span a line beside a common Gaussian; otherwise draw "
        "particles with simulate(table, score, n=..., seed=...)"
    )


def _on_the_line(table, score, start, dim, **how):
    """Chains that stay neither Gaussian nor a product: a Metropolis test sees all coordinates at once, and so does a random time."""
    if dim > 1:
        what = "a Metropolis test" if table.target is not None else "random times"
        raise NoMethod(f"propagate: no exact engine for {what} in dimension {dim}, only on the line; use simulate(table, score, n=..., seed=...)")
    if table.target is not None:
        from .metropolis import propagate_metropolis

        return propagate_metropolis(table, score, start, **how)
    from .randomized import propagate_randomized

    return propagate_randomized(table, score, start, **how)


def _is_affine(score, table):
    t = float(table.score_times[np.argmax(table.used)])
    return hasattr(score, "affine") and score.affine(t) is not None
