"""Numbers that formulas are compared by: derivatives with their error, orders of convergence, what rounding may do."""

import numpy as np

from .bench import EPS

__all__ = ["ORDER", "QUAD", "derivative", "excess", "limit", "order"]

QUAD = 2.0**-39  # relative rounding of a quadrature: 1e4 terms whose densities are exact to 100 EPS or so (their exponents reach 72)
ORDER = 0.25  # half way to the neighbouring order: orders here are multiples of one half


def derivative(f, t, h, noise=64 * EPS):
    """(f'(t), error): the five-point stencil at h beside that at 2h, whose error is 16 times as large (the worst of an array).

    noise : relative rounding of f.
    """
    values = {j: np.asarray(f(t + j * h)) for j in (-4, -2, -1, 1, 2, 4)}
    fine = (values[-2] - 8 * values[-1] + 8 * values[1] - values[2]) / (12 * h)
    coarse = (values[-4] - 8 * values[-2] + 8 * values[2] - values[4]) / (24 * h)
    return fine, float(np.abs(fine - coarse).max()) + 2 * noise * np.abs(values[1]) / h


def limit(coarse, fine):
    """(limit, error) of values at h and h/2 that converge with order 1: one extrapolation; the error is the most it changed anywhere."""
    coarse, fine = np.asarray(coarse), np.asarray(fine)
    return 2 * fine - coarse, float(np.abs(fine - coarse).max())


def order(errors):
    """The order seen in errors at h, h/2, h/4: two successive orders, extrapolated to h = 0 where they differ like h."""
    first, second = np.log2(np.asarray(errors[:-1], dtype=float) / np.asarray(errors[1:], dtype=float))[-2:]
    return float(2 * second - first)


def excess(lhs, rhs):
    """max(lhs - rhs, 0): zero where lhs <= rhs, so that inequalities and equalities can stand side by side."""
    return np.maximum(np.asarray(lhs, dtype=float) - np.asarray(rhs, dtype=float), 0.0)
