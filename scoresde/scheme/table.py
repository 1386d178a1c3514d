"""A scheme is data: one linear recurrence over past states, scores and noises, one row per score evaluation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .._arrays import equal_fields, finite, frozen, positive_int

__all__ = ["RandomTable", "Table", "two_rows"]


@dataclass(frozen=True, eq=False)
class Table:
    r"""y_{r+1} = \sum_j a_{r,j} y_{r-j} + \sum_j b_{r,j} s_{r-j} + \sum_l c_{r,l} z_{r-l},   s_r = score(score_times_r, y_r),  z_r \sim N(0, I).

    times (R+1,): y_r stands at times_r (forward noise time). a, b (R, J), c (R, L); (R,) is read as J = L = 1, a number is repeated.
    state (R,): False marks y_{r+1} as a stage inside a step; the last row must end in a state. score_times (R,) defaults to times[:-1].
    ``order`` is the weak order where it is known, ``reference`` the source. A row may look back only to rows that exist.
    ``later @ earlier`` joins two tables; their times must meet. Which law engine applies is computed from the coefficients.
    target : a law with ``logpdf``. Each row is then a proposal, taken with probability min(1, \pi(y') p(y', y) / (\pi(y) p(y, y'))), p(y, .) the
    law N(y + h s, 2h) of the row (a = 1, b = h, c^2 = 2h, one evaluation a step), else y stays: \pi is invariant whatever the score.
    Coefficients may carry a last axis n, one recurrence for each particle (what a :class:`RandomTable` gives): times (R+1, n) say so, and
    a, b, c and score_times then end in n, too.
    Raises ValueError for wrong shapes, times that are not finite, a look back before the start, or rows that are no proposal.
    """

    times: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    state: np.ndarray | None = field(default=None, kw_only=True)
    score_times: np.ndarray | None = field(default=None, kw_only=True)
    target: Any = field(default=None, kw_only=True)
    name: str = field(default="", kw_only=True)
    order: float | None = field(default=None, kw_only=True)
    reference: str = field(default="", kw_only=True)

    def __post_init__(self):
        times = finite("times", self.times)
        if times.ndim not in (1, 2) or len(times) < 2:
            raise ValueError(f"times: got shape {times.shape}, allowed is (R+1,) with R >= 1 rows, or (R+1, n) for n particles")
        if times.min() < 0:
            raise ValueError(f"times: got {times.min()}, allowed are forward noise times >= 0")
        rows, each = len(times) - 1, times.shape[1:]
        a, b, c = (_coefficients(k, getattr(self, k), rows, each) for k in "abc")
        lags = max(a.shape[1], b.shape[1])
        a, b = _wide(a, lags), _wide(b, lags)
        for name, x in (("a", a), ("b", b), ("c", c)):
            lag = np.arange(x.shape[1])
            early = _any(x) & (lag[None, :] > np.arange(rows)[:, None])
            if early.any():
                r, j = np.argwhere(early)[0]
                raise ValueError(f"{name}: got {name}[{r}, {j}] = {x[r, j]}, allowed is 0: row {r} has no row {r - j} to look back to")
        state = np.ones(rows, dtype=bool) if self.state is None else np.asarray(self.state)
        if state.shape != (rows,) or state.dtype != bool:
            raise ValueError(f"state: got shape {state.shape} of {state.dtype}, allowed is ({rows},) of bool")
        if not state[-1]:
            raise ValueError("state: got False in the last row, allowed is True: the last row ends in a state")
        score_times = times[:-1] if self.score_times is None else finite("score_times", self.score_times)
        if score_times.shape != (rows, *each):
            raise ValueError(f"score_times: got shape {score_times.shape}, allowed is {(rows, *each)}")
        if self.target is not None:
            _refuse_no_proposal(self.target, a, b, c, state, each)
        for name, x in (("times", times), ("a", a), ("b", b), ("c", c), ("score_times", score_times)):
            object.__setattr__(self, name, frozen(x))
        object.__setattr__(self, "state", frozen(state, dtype=bool))

    def __matmul__(self, earlier):
        if not isinstance(earlier, Table):
            return NotImplemented
        if self.times.shape[1:] != earlier.times.shape[1:] or np.any(self.times[0] != earlier.times[-1]):
            raise ValueError(
                f"later @ earlier: got a table that starts at t = {self.times[0]} after one that ends at t = {earlier.times[-1]}, "
                "allowed are tables whose times meet; build both on one grid"
            )
        if (self.target is None) != (earlier.target is None) or not (self.target is earlier.target or self.target == earlier.target):
            raise ValueError(
                f"later @ earlier: got tables with the Metropolis targets {self.target} and {earlier.target}, allowed is one and the same (or none); "
                "run one after the other: propagate(later, score, start=propagate(earlier, score)), or simulate(..., start=particles)"
            )
        join = lambda x, y: np.concatenate([_wide(z, max(x.shape[1], y.shape[1])) for z in (x, y)])  # noqa: E731
        return Table(
            np.concatenate([earlier.times[:-1], self.times]),
            join(earlier.a, self.a), join(earlier.b, self.b), join(earlier.c, self.c),
            state=np.concatenate([earlier.state, self.state]),
            score_times=np.concatenate([earlier.score_times, self.score_times]), target=self.target,
            name=earlier.name if earlier.name == self.name else f"{self.name} @ {earlier.name}",
            order=earlier.order if earlier.order == self.order else None,
            reference="; ".join(dict.fromkeys(filter(None, (earlier.reference, self.reference)))),
        )  # fmt: skip

    __eq__ = equal_fields

    def __hash__(self):
        return hash((self.times.tobytes(), self.a.tobytes(), self.b.tobytes(), self.c.tobytes(), self.name))

    def __repr__(self):
        T, stop = self.times[0].flat[0], self.times[-1].flat[0]
        return f"Table({self.name!r}, rows={self.rows}, T={T:g}, stop={stop:g}, evaluations={self.evaluations})"

    def particle(self, i):
        """The recurrence of one particle as a table of its own, where the coefficients carry a last axis."""
        if self.times.ndim == 1:
            return self
        return Table(
            self.times[:, i], self.a[..., i], self.b[..., i], self.c[..., i], state=self.state, score_times=self.score_times[:, i],
            name=self.name, order=self.order, reference=self.reference,
        )  # fmt: skip

    @property
    def rows(self):
        """R, the number of rows."""
        return len(self.a)

    @cached_property
    def used(self):
        """(R,) bool: is the score of row r ever used? An unused one is never evaluated."""
        used = np.zeros(self.rows, dtype=bool)
        for j in range(self.b.shape[1]):
            used[: self.rows - j] |= _any(self.b[j:, j : j + 1])[:, 0]
        return used

    @cached_property
    def drawn(self):
        """(R,) bool: is the noise of row r ever used?"""
        drawn = np.zeros(self.rows, dtype=bool)
        for j in range(self.c.shape[1]):
            drawn[: self.rows - j] |= _any(self.c[j:, j : j + 1])[:, 0]
        return drawn

    @property
    def evaluations(self):
        """How many times the score is evaluated (with a Metropolis test once more, at the last proposal)."""
        return int(np.count_nonzero(self.used)) + (self.target is not None)

    @property
    def states(self):
        """(S+1,) row indices r of the states y_r, the start included."""
        return np.append(0, 1 + np.flatnonzero(self.state))

    @cached_property
    def segments(self):
        """[(r0, r1), ...]: the finest splitting of the rows such that rows r0..r1-1 depend on the past through y_{r0} alone."""
        cut = np.ones(self.rows + 1, dtype=bool)
        looks = _any(self.a) | _any(self.b)
        # a lag j >= 1 reaches y_{r-j} (allowed to be the first of the segment), s_{r-j} likewise, z_{r-l} of a row inside
        reach = np.maximum(*((x * np.arange(x.shape[1])).max(axis=1, initial=0) for x in (looks, self._noisy)))
        for r in np.flatnonzero(reach):
            cut[r - reach[r] + 1 : r + 1] = False
        edges = np.flatnonzero(cut)
        return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))

    @cached_property
    def _noisy(self):
        return _any(self.c)

    def noise(self, r0, r1):
        """How noise enters rows r0..r1-1: "none"; "last" (fresh noise added after a deterministic map); "inside" (a later score sees it)."""
        block = self._noisy[r0:r1]
        if not block.any():
            return "none"
        return "last" if not block[:-1].any() and not block[-1, 1:].any() else "inside"


@dataclass(frozen=True, eq=False)
class RandomTable:
    r"""A scheme that draws its times: given u ~ U(0, 1)^{uniforms}, independent for each particle, it is the Table ``given(u)``.

    uniforms : how many a particle draws; given : u (uniforms, n) -> Table whose coefficients carry a last axis n. Which rows are states, and
    the times of the states, may not depend on u. ``simulate`` draws u from the stream of the particle's seed; ``propagate`` integrates over u.
    Raises TypeError or ValueError where ``given`` returns anything else.
    """

    uniforms: int
    given: Callable
    name: str = ""

    target = None

    def __post_init__(self):
        positive_int("uniforms", self.uniforms)
        if not callable(self.given):
            raise TypeError(f"given: got {type(self.given).__name__}, allowed is a function of u (uniforms, n) that returns a Table")

    def __repr__(self):
        return f"RandomTable({self.name!r}, uniforms={self.uniforms}, rows={self.rows}, evaluations={self.evaluations})"

    def at(self, u):
        """given(u) for u (uniforms, n), checked."""
        table = self.given(u)
        if not isinstance(table, Table):
            raise TypeError(f"given: got {type(table).__name__} back, allowed is a Table")
        if table.times.shape[1:] != (u.shape[1],) or table.target is not None:
            raise ValueError(
                f"given: got times of shape {table.times.shape}, target {table.target} back for u of shape {u.shape}; allowed is a Table of times "
                f"(R+1, {u.shape[1]}), its other coefficients with a last axis of {u.shape[1]}, and no Metropolis test"
            )
        return table

    @cached_property
    def skeleton(self):
        """The table of a particle whose uniforms are all one half: what does not depend on them can be read off."""
        return self.at(np.full((self.uniforms, 1), 0.5)).particle(0)

    @property
    def rows(self):
        """R, the number of rows."""
        return self.skeleton.rows

    @property
    def evaluations(self):
        """How many times the score is evaluated."""
        return self.skeleton.evaluations

    @property
    def states(self):
        """(S+1,) row indices r of the states y_r, the start included."""
        return self.skeleton.states


def _any(x):
    """(R, lags) bool: which coefficients are not zero, for any particle."""
    return x != 0 if x.ndim == 2 else (x != 0).any(axis=2)


def _coefficients(name, value, rows, each):
    """``value`` as (rows, lags, *each), each = () or (n,)."""
    array = finite(name, value)
    if array.ndim == 0:
        array = np.full((rows, 1), float(array))
    elif array.ndim == 1 + len(each) and array.shape == (rows, *each):
        array = array[:, None]
    if each and array.ndim == 2 and len(array) == rows:
        array = np.broadcast_to(array[..., None], (*array.shape, *each))
    if array.ndim != 2 + len(each) or array.shape[0] != rows or array.shape[1] < 1 or array.shape[2:] != each:
        more = "".join(f", {n}" for n in each)
        raise ValueError(
            f"{name}: got shape {np.shape(value)}, allowed is a number, ({rows},{more[1:]}) or ({rows}, lags{more}): one row per score evaluation"
        )
    return array


def _refuse_no_proposal(target, a, b, c, state, each):
    """A Metropolis test needs rows N(y + h s, 2h) with h > 0, each of which ends in a state."""
    if not callable(getattr(target, "logpdf", None)):
        raise TypeError(f"target: got {type(target).__name__}, allowed is a law with logpdf(x), or None for no Metropolis test")
    one = max(a.shape[1], b.shape[1], c.shape[1]) == 1 and state.all() and not each
    h = b[:, 0]
    if not one or (h <= 0).any() or (a != 1).any() or not np.allclose(c[:, 0] ** 2, 2 * h, rtol=1e-12, atol=0.0):
        raise ValueError(
            "target: got rows that are no Langevin proposals, allowed with a Metropolis test are a = 1, b = h > 0, c = sqrt(2 h), no memory and no "
            "stages; scheme.mala(target, step=, steps=) builds them"
        )


def _wide(x, lags):
    return np.pad(x, [(0, 0), (0, lags - x.shape[1])] + [(0, 0)] * (x.ndim - 2))


def two_rows(stage, end):
    """(2N, 2) coefficients of a two-evaluation step: the row of the stage and the row of the end, in turn; each a pair (lag 0, lag 1) of (N,).

    With (N, n) for n particles, (2N, 2, n).
    """
    pairs = np.stack([np.stack(stage, 1), np.stack(end, 1)], axis=1)
    return pairs.reshape(-1, *pairs.shape[2:])
