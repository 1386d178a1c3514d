"""Panels of the line: on which a log-density is smooth, or a map moves little."""

import numpy as np

__all__ = ["chebyshev", "gauss_legendre", "resolved", "smooth_panels"]

NODES = 16
GAUSS, WEIGHTS = np.polynomial.legendre.leggauss(NODES)


def gauss_legendre(edges):
    """(x, w): 16 nodes and weights on each panel."""
    half = 0.5 * np.diff(edges)
    x = (0.5 * (edges[1:] + edges[:-1]))[:, None] + half[:, None] * GAUSS
    return x.ravel(), (half[:, None] * WEIGHTS).ravel()


def resolved(f, edges, longest, rounds=12):
    """(x, w, f(x)): Gauss nodes on panels that are halved until f moves by at most ``longest`` on each."""
    for _ in range(rounds):
        x, w = gauss_legendre(edges)
        y = f(x)
        long = np.ptp(y.reshape(-1, NODES), axis=1) > longest
        if not long.any():
            break
        edges = np.sort(np.append(edges, 0.5 * (edges[:-1] + edges[1:])[long]))
    return x, w, y


def chebyshev(degree):
    """(nodes (degree+1,) on [-1, 1], increasing; matrix (degree+1, degree+1)): values at the nodes @ matrix.T = Chebyshev coefficients."""
    k = np.arange(degree + 1)
    angle = np.pi * k[::-1] / degree
    nodes = np.cos(angle)
    nodes[0], nodes[-1] = -1.0, 1.0
    matrix = 2 / degree * np.cos(np.outer(k, angle))
    matrix[:, [0, -1]] *= 0.5
    matrix[[0, -1]] *= 0.5
    return nodes, matrix


def smooth_panels(log_density, edges, tolerance=1e-8, degree=16, most=3000):
    """Halve panels until the last Chebyshev coefficients of the log-density are below ``tolerance`` on each; where a panel is so small and
    light that only rounding is left to see, halving stops."""
    t, matrix = chebyshev(degree)
    least = 1e-3 * (edges[-1] - edges[0])
    done, todo = [], np.stack([edges[:-1], edges[1:]], axis=1)
    while len(todo) and len(todo) + sum(map(len, done)) < most:
        half = 0.5 * (todo[:, 1] - todo[:, 0])
        x = todo.mean(axis=1)[:, None] + half[:, None] * t
        f = log_density(x.ravel()).reshape(x.shape)
        top = f.max(axis=1)
        with np.errstate(invalid="ignore"):  # a density may vanish
            tail = np.abs(f @ matrix.T)[:, -3:].max(axis=1)
            smooth = tail <= tolerance + 1e-13 * np.abs(f).max(axis=1)
        light = (top < -80) | ((half < least) & (top + np.log(half) < -28)) | (half < 1e-11 * least)
        keep = smooth | light
        done.append(todo[keep])
        halves = todo[~keep]
        middle = halves.mean(axis=1)
        todo = np.concatenate([np.stack([halves[:, 0], middle], 1), np.stack([middle, halves[:, 1]], 1)])
    return np.unique(np.concatenate([*done, todo]))
