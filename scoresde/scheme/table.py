"""A scheme is data: one linear recurrence over past states, scores and noises, one row per score evaluation."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .._arrays import equal_fields, finite, frozen

__all__ = ["Table", "two_rows"]


@dataclass(frozen=True, eq=False)
class Table:
    r"""y_{r+1} = \sum_j a_{r,j} y_{r-j} + \sum_j b_{r,j} s_{r-j} + \sum_l c_{r,l} z_{r-l},   s_r = score(score_times_r, y_r),  z_r \sim N(0, I).

    times (R+1,): y_r stands at times_r (forward noise time). a, b (R, J), c (R, L); (R,) is read as J = L = 1, a number is repeated.
    state (R,): False marks y_{r+1} as a stage inside a step; the last row must end in a state. score_times (R,) defaults to times[:-1].
    ``order`` is the weak order where it is known, ``reference`` the source. A row may look back only to rows that exist.
    ``later @ earlier`` joins two tables; their times must meet. Which law engine applies is computed from the coefficients.
    Raises ValueError for wrong shapes, times that are not finite, or a look back before the start.
    """

    times: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    state: np.ndarray | None = field(default=None, kw_only=True)
    score_times: np.ndarray | None = field(default=None, kw_only=True)
    name: str = field(default="", kw_only=True)
    order: float | None = field(default=None, kw_only=True)
    reference: str = field(default="", kw_only=True)

    def __post_init__(self):
        times = finite("times", self.times)
        if times.ndim != 1 or len(times) < 2:
            raise ValueError(f"times: got shape {times.shape}, allowed is (R+1,) with R >= 1 rows")
        if times.min() < 0:
            raise ValueError(f"times: got {times.min()}, allowed are forward noise times >= 0")
        rows = len(times) - 1
        a, b, c = (_coefficients(k, getattr(self, k), rows) for k in "abc")
        lags = max(a.shape[1], b.shape[1])
        a, b = (np.pad(x, ((0, 0), (0, lags - x.shape[1]))) for x in (a, b))
        for name, x in (("a", a), ("b", b), ("c", c)):
            lag = np.arange(x.shape[1])
            early = (x != 0) & (lag[None, :] > np.arange(rows)[:, None])
            if early.any():
                r, j = np.argwhere(early)[0]
                raise ValueError(f"{name}: got {name}[{r}, {j}] = {x[r, j]}, allowed is 0: row {r} has no row {r - j} to look back to")
        state = np.ones(rows, dtype=bool) if self.state is None else np.asarray(self.state)
        if state.shape != (rows,) or state.dtype != bool:
            raise ValueError(f"state: got shape {state.shape} of {state.dtype}, allowed is ({rows},) of bool")
        if not state[-1]:
            raise ValueError("state: got False in the last row, allowed is True: the last row ends in a state")
        score_times = times[:-1] if self.score_times is None else finite("score_times", self.score_times)
        if score_times.shape != (rows,):
            raise ValueError(f"score_times: got shape {score_times.shape}, allowed is ({rows},)")
        for name, x in (("times", times), ("a", a), ("b", b), ("c", c), ("score_times", score_times)):
            object.__setattr__(self, name, frozen(x))
        object.__setattr__(self, "state", frozen(state, dtype=bool))

    def __matmul__(self, earlier):
        if not isinstance(earlier, Table):
            return NotImplemented
        if self.times[0] != earlier.times[-1]:
            raise ValueError(
                f"later @ earlier: got a table that starts at t = {self.times[0]} after one that ends at t = {earlier.times[-1]}, "
                "allowed are tables whose times meet; build both on one grid"
            )
        join = lambda x, y: np.concatenate([_wide(x, y.shape[1]), _wide(y, x.shape[1])])  # noqa: E731
        return Table(
            np.concatenate([earlier.times[:-1], self.times]),
            join(earlier.a, self.a), join(earlier.b, self.b), join(earlier.c, self.c),
            state=np.concatenate([earlier.state, self.state]),
            score_times=np.concatenate([earlier.score_times, self.score_times]),
            name=earlier.name if earlier.name == self.name else f"{self.name} @ {earlier.name}",
            order=earlier.order if earlier.order == self.order else None,
            reference="; ".join(dict.fromkeys(filter(None, (earlier.reference, self.reference)))),
        )  # fmt: skip

    __eq__ = equal_fields

    def __hash__(self):
        return hash((self.times.tobytes(), self.a.tobytes(), self.b.tobytes(), self.c.tobytes(), self.name))

    def __repr__(self):
        return f"Table({self.name!r}, rows={self.rows}, T={self.times[0]:g}, stop={self.times[-1]:g}, evaluations={self.evaluations})"

    @property
    def rows(self):
        """R, the number of rows."""
        return len(self.a)

    @cached_property
    def used(self):
        """(R,) bool: is the score of row r ever used? An unused one is never evaluated."""
        used = np.zeros(self.rows, dtype=bool)
        for j in range(self.b.shape[1]):
            used[: self.rows - j] |= self.b[j:, j] != 0
        return used

    @cached_property
    def drawn(self):
        """(R,) bool: is the noise of row r ever used?"""
        drawn = np.zeros(self.rows, dtype=bool)
        for j in range(self.c.shape[1]):
            drawn[: self.rows - j] |= self.c[j:, j] != 0
        return drawn

    @property
    def evaluations(self):
        """How many times the score is evaluated."""
        return int(np.count_nonzero(self.used))

    @property
    def states(self):
        """(S+1,) row indices r of the states y_r, the start included."""
        return np.append(0, 1 + np.flatnonzero(self.state))

    @cached_property
    def segments(self):
        """[(r0, r1), ...]: the finest splitting of the rows such that rows r0..r1-1 depend on the past through y_{r0} alone."""
        cut = np.ones(self.rows + 1, dtype=bool)
        for r in range(self.rows):
            # a lag j >= 1 reaches y_{r-j} (allowed to be the first of the segment), s_{r-j} likewise, z_{r-l} of a row inside
            reach = max(
                max((j for j in range(self.a.shape[1]) if self.a[r, j] or self.b[r, j]), default=0),
                max((l for l in range(self.c.shape[1]) if self.c[r, l]), default=0),
            )
            cut[r - reach + 1 : r + 1] = False
        edges = np.flatnonzero(cut)
        return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))

    def noise(self, r0, r1):
        """How noise enters rows r0..r1-1: "none"; "last" (fresh noise added after a deterministic map); "inside" (a later score sees it)."""
        block = self.c[r0:r1]
        if not block.any():
            return "none"
        return "last" if not block[:-1].any() and not block[-1, 1:].any() else "inside"


def _coefficients(name, value, rows):
    array = finite(name, value)
    if array.ndim == 0:
        array = np.full((rows, 1), float(array))
    elif array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[0] != rows or array.shape[1] < 1:
        raise ValueError(f"{name}: got shape {np.shape(value)}, allowed is a number, ({rows},) or ({rows}, lags): one row per score evaluation")
    return array


def _wide(x, lags):
    return np.pad(x, ((0, 0), (0, max(0, lags - x.shape[1]))))


def two_rows(stage, end):
    """(2N, 2) coefficients of a two-evaluation step: the row of the stage and the row of the end, in turn; each a pair (lag 0, lag 1) of (N,)."""
    return np.stack([np.stack(stage, -1), np.stack(end, -1)], axis=1).reshape(-1, 2)
