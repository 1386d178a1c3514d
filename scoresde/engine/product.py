"""Product targets: the coordinates of the chain are independent, so each is a chain on the line; equal factors are propagated once."""

from ..laws import Product

__all__ = ["propagate_product"]


def propagate_product(table, factors, *, tolerance, keep="last"):
    """The Product law of the last state (or of all states). factors : [(score on the line, start on the line), ...], one per coordinate."""
    from .propagate import marginals

    done = {}
    for pair in factors:
        if id(pair) not in done:  # the errors of the factors add up in total variation
            done[id(pair)] = marginals(table, pair[0], start=pair[1], tolerance=tolerance / len(factors))
    states = [Product([done[id(pair)][k] for pair in factors]) for k in range(len(table.states))]
    return states if keep == "all" else states[-1]
