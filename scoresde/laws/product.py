"""Products of independent laws: equal factors are stored and evaluated once, over all their coordinates together."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._arrays import namespace, positive_int, stream
from ._common import on_the_line, rows

__all__ = ["Product"]


@dataclass(frozen=True, eq=False, repr=False)
class Product:
    r"""p(x) = \prod_i p_i(x_i), x = (x_1, ..., x_r) in blocks of the factors' dimensions.

    factors : sequence of laws; repeat : None, or one count >= 1 per factor. Neighbours that are equal are stored once: ``Product([law] *
    1000)`` has ``factors == (law,)``, ``repeat == (1000,)`` and costs one vectorised evaluation; ``expanded()`` lists all 1000.
    Raises TypeError for a factor that is no law, ValueError for no factors or wrong counts.
    """

    factors: Any
    repeat: Any = None

    def __post_init__(self):
        factors = tuple(self.factors)
        if not factors:
            raise ValueError("factors: got none, allowed is at least one law")
        for law in factors:
            if not hasattr(law, "dim") or not hasattr(law, "noised"):
                raise TypeError(f"factors: got {type(law).__name__}, allowed are laws (with .dim and .noised(kernel)); for an array use Empirical")
        counts = (1,) * len(factors) if self.repeat is None else tuple(positive_int("repeat", r) for r in self.repeat)
        if len(counts) != len(factors):
            raise ValueError(f"repeat: got {len(counts)} counts for {len(factors)} factors, allowed is one each")
        runs = []
        for law, count in zip(factors, counts, strict=True):
            if runs and (law is runs[-1][0] or law == runs[-1][0]):
                runs[-1][1] += count
            else:
                runs.append([law, count])
        self.__dict__.update(factors=tuple(law for law, _ in runs), repeat=tuple(count for _, count in runs))

    @cached_property
    def dim(self):
        return sum(law.dim * count for law, count in zip(self.factors, self.repeat, strict=True))

    @cached_property
    def _groups(self):
        """[(law, columns (r, law.dim)), ...]: each distinct law once, with the coordinates of all its copies."""
        places, start = {}, 0
        for law, count in zip(self.factors, self.repeat, strict=True):
            stop = start + law.dim * count
            places.setdefault(id(law), (law, []))[1].append(np.arange(start, stop).reshape(count, law.dim))
            start = stop
        return [(law, np.concatenate(columns)) for law, columns in places.values()]

    def expanded(self):
        """All factors in order, the repeated ones repeated."""
        return tuple(law for law, count in zip(self.factors, self.repeat, strict=True) for _ in range(count))

    @property
    def error(self):
        """Errors in total variation add up."""
        return min(1.0, sum(count * getattr(law, "error", 0.0) for law, count in zip(self.factors, self.repeat, strict=True)))

    @property
    def twin(self):
        twins = [getattr(law, "twin", None) for law in self.factors]
        if all(twin is None for twin in twins):
            return None
        return Product([law if twin is None else twin for law, twin in zip(self.factors, twins, strict=True)], self.repeat)

    def __repr__(self):
        terms = [f"{law!r} ** {count}" if count > 1 else repr(law) for law, count in zip(self.factors[:3], self.repeat, strict=False)]
        return f"Product({' * '.join(terms)}{' * ...' if len(self.factors) > 3 else ''}, d={self.dim})"

    def __eq__(self, other):
        return self.factors == other.factors and self.repeat == other.repeat if isinstance(other, Product) else NotImplemented

    def __hash__(self):
        return hash((self.factors, self.repeat))

    def _take(self, x, columns):
        """The coordinates (n, r, law.dim) of one group, a view if it is all."""
        return x.reshape(-1, *columns.shape) if columns.size == self.dim else x[:, columns]

    def _scatter(self, parts, shape):
        """Vectors (..., dim) from the groups' (..., r, law.dim)."""
        if len(parts) == 1:  # one law: its copies are the coordinates in order
            return parts[0].reshape(*shape, self.dim)
        xp = namespace(parts[0])
        order = np.argsort(np.concatenate([columns.reshape(-1) for _, columns in self._groups]))
        flat = [part.reshape(*shape, columns.size) for part, (_, columns) in zip(parts, self._groups, strict=True)]
        return xp.concatenate(flat, -1)[..., order]

    def _scatter_blocks(self, parts, shape):
        """Block-diagonal matrices (..., dim, dim) from the groups' (..., r, law.dim, law.dim)."""
        xp = namespace(parts[0])
        where = {} if xp is np else {"device": parts[0].device}
        out = xp.zeros((*shape, self.dim, self.dim), dtype=parts[0].dtype, **where)
        for part, (_, columns) in zip(parts, self._groups, strict=True):
            for i in range(columns.shape[1]):
                for j in range(columns.shape[1]):
                    out[..., columns[:, i], columns[:, j]] = part[..., i, j]
        return out

    def mean(self):
        return self._scatter([np.broadcast_to(law.mean(), columns.shape) for law, columns in self._groups], ())

    def cov(self):
        return self._scatter_blocks([np.broadcast_to(law.cov(), (*columns.shape, law.dim)) for law, columns in self._groups], ())

    def second_moment(self):
        return float(sum(count * law.second_moment() for law, count in zip(self.factors, self.repeat, strict=True)))

    def logpdf(self, x):
        r"""\sum_i \log p_i(x_i), (...)."""
        x, shape = rows(x, self.dim)
        return sum(law.logpdf(self._take(x, columns)).sum(-1) for law, columns in self._groups).reshape(shape)

    def pdf(self, x):
        logpdf = self.logpdf(x)
        return namespace(logpdf).exp(logpdf)

    def score(self, x):
        x, shape = rows(x, self.dim)
        return self._scatter([law.score(self._take(x, columns)) for law, columns in self._groups], (len(x),)).reshape(*shape, self.dim)

    def score_jacobian(self, x):
        """Block diagonal, (..., d, d)."""
        x, shape = rows(x, self.dim)
        blocks = self._scatter_blocks([law.score_jacobian(self._take(x, columns)) for law, columns in self._groups], (len(x),))
        return blocks.reshape(*shape, self.dim, self.dim)

    def sample(self, n, seed):
        """(n, d) draws; each factor has a seed of its own, derived from ``seed``. Growing n keeps the first rows."""
        n, parts = positive_int("n", n, least=0), []
        for i, (law, columns) in enumerate(self._groups):
            own = int(stream(seed, f"sample: factor {i}").integers(2**62))
            parts.append(np.asarray(law.sample(n * len(columns), own)).reshape(n, *columns.shape))
        return self._scatter(parts, (n,))

    def noised(self, kernel):
        """The product of the noised factors."""
        noised = {id(law): law.noised(kernel) for law, _ in self._groups}
        return Product(tuple(noised[id(law)] for law in self.factors), self.repeat)

    def denoise(self, x, kernel):
        r"""E[X_0 | m X_0 + \sqrt v Z = x], factor by factor, (..., d)."""
        x, shape = rows(x, self.dim)
        return self._scatter([law.denoise(self._take(x, columns), kernel) for law, columns in self._groups], (len(x),)).reshape(*shape, self.dim)

    def denoise_cov(self, x, kernel):
        """Block diagonal, (..., d, d)."""
        x, shape = rows(x, self.dim)
        blocks = self._scatter_blocks([law.denoise_cov(self._take(x, columns), kernel) for law, columns in self._groups], (len(x),))
        return blocks.reshape(*shape, self.dim, self.dim)

    def cdf(self, x):
        """Dimension 1 only, else NoMethod."""
        on_the_line(self, "cdf")
        return self.factors[0].cdf(x)

    def sf(self, x):
        """Dimension 1 only, else NoMethod."""
        on_the_line(self, "sf")
        return self.factors[0].sf(x)

    def quantile(self, u):
        """Dimension 1 only, else NoMethod."""
        on_the_line(self, "quantile")
        return self.factors[0].quantile(u)

    def breakpoints(self):
        """Dimension 1 only, else NoMethod."""
        on_the_line(self, "breakpoints")
        return self.factors[0].breakpoints()
