"""Arrays at the public door: the namespace of a point, shapes of points, read-only parameters, keyed random streams."""

import hashlib
import sys

import numpy as np

__all__ = ["as_law", "as_points", "equal_fields", "finite", "frozen", "like", "namespace", "positive_int", "seed_words", "stream", "turned"]


def namespace(x):
    """numpy, or torch if ``x`` is a torch tensor. torch is looked up, never imported: who holds a tensor has imported it."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else np


def like(value, x):
    """``value`` (a number or a float64 array) in the namespace, dtype and on the device of ``x``."""
    xp = namespace(x)
    if xp is np:
        return np.asarray(value, dtype=x.dtype)
    return xp.as_tensor(np.array(value), dtype=x.dtype, device=x.device)


def as_points(x, dim, name="x"):
    """Points ``(..., dim)``: floats keep their dtype and namespace, integers become float64.

    Raises ValueError, with the remedy, if the last axis is not ``dim``: ``(n,)`` is n coordinates, not n points.
    """
    xp = namespace(x)
    if xp is np:
        x = np.asarray(x)
        if x.dtype.kind in "iub":
            x = x.astype(np.float64)
        elif x.dtype.kind != "f":
            raise TypeError(f"{name}: got an array of dtype {x.dtype}, allowed are real numbers")
    elif not x.is_floating_point():
        x = x.to(xp.float64)
    if x.ndim == 0 or x.shape[-1] != dim:
        remedy = f"; write {name}[:, None] for n points on the line" if dim == 1 and x.ndim == 1 else ""
        raise ValueError(f"{name}: got shape {tuple(x.shape)}, allowed is (..., {dim}): the last axis holds the coordinates{remedy}")
    return x


def as_law(name, value):
    """``value``, refused with a TypeError if it is no law, that is if it cannot be noised."""
    if not hasattr(value, "noised"):
        raise TypeError(f"{name}: got {type(value).__name__}, allowed is a Law (it has .noised(kernel)); an array of samples: wrap it in Empirical")
    return value


def finite(name, value):
    """``value`` as float64, refused if anything in it is NaN or infinite."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: got {type(value).__name__} {value!r:.80}, allowed are real numbers") from None
    if not np.isfinite(array).all():
        where = tuple(int(i[0]) for i in np.nonzero(~np.isfinite(array))) if array.ndim else ()
        raise ValueError(f"{name}: got {array[where]}{f' at index {where}' if where else ''}, allowed are finite numbers")
    return array


def positive_int(name, value, least=1):
    """``value`` as an int that is at least ``least``; floats that are whole are refused too: a count is an int."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: got {type(value).__name__} {value!r:.80}, allowed is an int >= {least}")
    if value < least:
        raise ValueError(f"{name}: got {value}, allowed is an int >= {least}")
    return int(value)


def frozen(value, dtype=np.float64):
    """A read-only contiguous numpy copy: parameters of a frozen value cannot be changed behind its back."""
    array = np.array(value, dtype=dtype, order="C", copy=True)
    array.setflags(write=False)
    return array


def equal_fields(self, other):
    """Equality of two frozen values field by field, arrays compared as a whole (an ``__eq__`` for dataclasses that hold arrays)."""
    if type(self) is not type(other):
        return NotImplemented
    pairs = ((getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) or isinstance(b, np.ndarray) else a == b for a, b in pairs)


def seed_words(seed, purpose):
    """Entropy words of the stream (seed, purpose). Equal seeds never share a stream between two purposes.

    Raises ValueError if ``seed`` is None (no seed, no randomness), TypeError for a Generator or anything else.
    """
    if seed is None:
        raise ValueError("seed: got None, allowed is an int or a numpy SeedSequence; draws are made here, so pass seed=0, say")
    if isinstance(seed, np.random.SeedSequence):
        entropy = seed.entropy if isinstance(seed.entropy, (list, tuple)) else [seed.entropy or 0]
        words = [*map(int, entropy), *map(int, seed.spawn_key), len(seed.spawn_key)]
    elif isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        if seed < 0:
            raise ValueError(f"seed: got {seed}, allowed is an int >= 0 or a numpy SeedSequence")
        words = [int(seed)]
    else:
        raise TypeError(f"seed: got {type(seed).__name__}, allowed is an int >= 0 or a numpy SeedSequence (a Generator has hidden state)")
    return [int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little"), *words]


def stream(seed, purpose):
    """The numpy Generator keyed by (seed, purpose); a SeedSequence is read, never spawned in place."""
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(seed_words(seed, purpose))))


def turned(z, matrix):
    """z @ matrix for draws z (n, d), in blocks of one shape: how a BLAS sums depends on the shape, and a row must not depend on how many others
    there are."""
    n, d = z.shape
    blocks = np.zeros((-(-n // _BLOCK), _BLOCK, d))
    blocks.reshape(-1, d)[:n] = z
    return np.matmul(blocks, matrix).reshape(-1, matrix.shape[1])[:n]


_BLOCK = 64
