"""Product targets: the blocks of coordinates of the chain are independent, each a chain of its own; equal ones are propagated once."""

from ..laws import Product
from ..laws.rotated import Rotated

__all__ = ["propagate_product"]


def propagate_product(table, frame, factors, *, tolerance, keep="last"):
    """The law of the last state (or of all states): a Product, in the basis of ``frame`` if that is not None.

    factors : [(score of a block, its start), ...], in the order of the coordinates.
    """
    from .propagate import marginals, propagate

    done = {}
    for pair in factors:
        if id(pair) not in done:  # the errors of the factors add up in total variation
            how = {"start": pair[1], "tolerance": tolerance / len(factors)}
            done[id(pair)] = marginals(table, pair[0], **how) if keep == "all" else [propagate(table, pair[0], **how)]
    states = [Product(parts) for parts in zip(*(done[id(pair)] for pair in factors), strict=True)]
    if frame is not None:
        states = [Rotated(law, frame.basis) for law in states]
    return states if keep == "all" else states[-1]
