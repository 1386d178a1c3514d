"""Samples: arrays (n, d) of numpy or torch as checked float64 rows, draws of laws, halves."""

import numpy as np

from .._arrays import finite, namespace, positive_int, seed_words

__all__ = ["drawn", "draws", "halves", "is_sample", "positive", "rows", "same_dimension", "two_samples"]


def is_sample(x):
    """Is x an array (a sample of an unknown law) rather than a law?"""
    return isinstance(x, np.ndarray) or namespace(x) is not np


def rows(name, x, least=1):
    """x as float64 (n, d), n >= least. Raises ValueError, with the remedy, for another shape or numbers that are not finite."""
    x = finite(name, x if namespace(x) is np else x.detach().cpu())
    if x.ndim != 2 or not x.shape[1]:
        remedy = f"; write {name}[:, None] for n numbers" if x.ndim == 1 else ""
        raise ValueError(f"{name}: got shape {x.shape}, allowed is a sample (n, d){remedy}")
    if len(x) < least:
        raise ValueError(f"{name}: got {len(x)} rows, allowed are at least {least}")
    return x


def two_samples(p, q, least=1):
    """Both samples as rows of equal dimension. Raises ValueError if they share numbers: copies are not independent."""
    x, y = rows("p", p, least), rows("q", q, least)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"q: got a sample of dimension {y.shape[1]} beside one of dimension {x.shape[1]}, allowed are equal dimensions")
    if np.shares_memory(x, y) or np.array_equal(x, y):
        raise ValueError("q: got the same draws as p, allowed are two independent samples; draw the second one with another seed")
    return x, y


def same_dimension(x, law):
    """Raises ValueError unless the rows x (n, d) and the law have the same dimension."""
    if x.shape[1] != law.dim:
        raise ValueError(f"sample: got shape {x.shape} with a law of dimension {law.dim}, allowed are equal dimensions")


def drawn(name, p, q, n, seed):
    """Both sides as rows: a law is sampled, n draws (None: as many as the other side has) from a stream of its own."""
    given = [len(x) for x in (p, q) if is_sample(x)]
    n = given[0] if n is None and given else n
    return two_samples(*(x if is_sample(x) else draws(f"{name}: {side}", x, n, seed) for side, x in (("p", p), ("q", q))), least=2)


def draws(purpose, law, n, seed):
    """(n, d) draws of a law, n >= 2, from the stream (seed, purpose)."""
    return law.sample(positive_int("n", n, least=2), np.random.SeedSequence(seed_words(seed, purpose)))


def halves(n):
    """Indices of two halves of n rows in a fixed random order: a sample that was sorted is as good as any other."""
    order = np.random.Generator(np.random.PCG64DXSM(n)).permutation(n)
    return order[::2], order[1::2]


def positive(name, value):
    """``value`` as a float > 0. Raises ValueError."""
    value = float(finite(name, value))
    if not value > 0:
        raise ValueError(f"{name}: got {value}, allowed is a number > 0")
    return value
