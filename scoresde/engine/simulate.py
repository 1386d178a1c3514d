r"""Particles through a table: the front door of the simulators. What is wrong is said here, before any work."""

import inspect
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path as File

import numpy as np

from .._arrays import equal_fields, finite, namespace, positive_int, seed_words
from ..errors import NoMethod, NotTrusted
from ..scheme.table import RandomTable
from . import gpu, loop
from .fused import need, program, run
from .normals import key, normals, uniforms
from .propagate import check_chain

__all__ = ["Path", "simulate", "trajectories"]

ENGINES = ("auto", "loop", "fused")
_SHARE = 0.5  # of the memory that is available, which a run may take
_TIME_NAMES, _POINT_NAMES = {"t", "time", "times", "tau", "sigma"}, {"x", "y", "points", "sample", "samples", "state"}


@dataclass(frozen=True, eq=False)
class Path:
    """Particles at every state of a chain: times (S+1,), forward noise times; states (S+1, n, d), the start first."""

    times: np.ndarray
    states: np.ndarray

    __eq__ = equal_fields


def simulate(table, score, n, *, seed, start=None, engine="auto", device=None, dtype=np.float64, batch=None):
    r"""n particles of the chain y_{r+1} = \sum_j a_{r,j} y_{r-j} + b_{r,j} s_{r-j} + \sum_l c_{r,l} z_{r-l}, at its last state: (n, d).

    table : Table. score : s(t, x) -> shape of x, t a float (forward noise time), x (n, d); None if the table never evaluates it.
    seed : int or SeedSequence; particle i depends on (seed, i) alone, so growing n keeps the first rows, and neither ``batch`` nor
    threads change anything. (In the loop engine as far as the score treats its rows one by one: a matrix product may round by their number.)
    start : Law, or array (n, d); None is N(0, I) in score.dim. engine : "auto", "loop" (the reference, any score) or "fused" (exact scores of
    Gaussian mixtures and empirical measures, plus constant shifts and fields M u(t, x); "auto" takes it where it applies).
    device : a torch device; a tensor there comes back, and a score gets tensors. On "cuda" the scores of the fused engine are stepped by one
    Triton kernel or by matrix products (:mod:`.gpu`: same random words, float64 unless dtype says float32; engine="fused" does so on "cpu", too),
    others by the loop. dtype : float64 or float32, from the same normals. batch : particles per call of the score in the loop engine.
    Raises TypeError and ValueError for wrong arguments, NoMethod for engine="fused" with a score it does not take, NotTrusted if a
    particle is not finite at the end. A run that needs more than half of the memory available is refused.
    """
    chain = _prepare("simulate", table, score, n, seed, start, engine, device, dtype, batch, states=1)
    keep = np.full(table.rows, -1)
    keep[-1] = 0
    return _run(chain, keep, 1)[0]


def trajectories(table, score, n, *, seed, start=None, engine="auto", device=None, dtype=np.float64, batch=None):
    """The particles of :func:`simulate`, seen at all S+1 states, the start first: ``trajectories(...).states[-1]`` is ``simulate(...)``.

    Arguments and errors as there. The memory needed is (S+1) n d numbers.
    """
    states = len(table.states) if hasattr(table, "states") else 1
    chain = _prepare("trajectories", table, score, n, seed, start, engine, device, dtype, batch, states=states)
    plain = chain.plain
    keep = np.where(plain.state, np.cumsum(plain.state), -1)
    out = _run(chain, keep, states)
    return Path(plain.times[plain.states], out)


@dataclass(frozen=True, eq=False)
class _Chain:
    """The arguments after they were checked."""

    name: str
    table: object
    score: object
    n: int
    dim: int
    key: tuple
    start: object  # (lo, hi) -> rows lo..hi-1 of y_0, float64
    start_key: object  # of y_0 ~ N(0, I), for an engine that draws it by itself; None for other starts
    program: object  # of the fused engine, or None
    torch: object  # the module, or None
    device: object
    dtype: str
    batch: int

    @property
    def plain(self):
        """The table, or of a random one what does not depend on the draws."""
        return self.table.skeleton if isinstance(self.table, RandomTable) else self.table

    def rows(self, x, lo):
        """The reference loop from x = y_0 of the particles lo, lo + 1, ..."""
        table = self.table
        if isinstance(table, RandomTable):
            table = table.at(np.stack([uniforms(self.key, len(x), row=j, first=lo) for j in range(table.uniforms)]))
        return loop.rows(table, self.score, x, self.key, first=lo)


def _prepare(name, table, score, n, seed, start, engine, device, dtype, batch, states):
    if not isinstance(engine, str) or engine not in ENGINES:
        raise ValueError(f"engine: got {engine!r}, allowed are {', '.join(map(repr, ENGINES))}")
    n = positive_int("n", n)
    batch = n if batch is None else positive_int("batch", batch)
    dtype = _dtype(dtype)
    if start is not None and not hasattr(start, "sample"):
        start = _points(start, n, device)
    _check_order(score)
    dim = check_chain(table, score, start, random=True)
    plain = table.skeleton if isinstance(table, RandomTable) else table
    if isinstance(start, np.ndarray) and not plain.drawn.any() and plain is table:
        keys = [(np.uint64(0), np.uint64(0))] * 2  # nothing is drawn
    else:
        keys = [key(seed, f"simulate {what}") for what in ("noise", "start")]
    torch, device = (None, None) if device is None else _torch(device)
    fused = None
    one_recurrence = plain is table and table.target is None
    if engine == "fused" and not one_recurrence:
        raise NoMethod("engine: got 'fused' with Metropolis tests or random times, which the reference loop takes; use engine='auto'")
    if engine == "fused" and torch is not None and device.type not in ("cuda", "cpu"):
        raise ValueError(f"device: got '{device}' with engine='fused', which runs on 'cuda' and 'cpu'; use engine='loop'")
    if one_recurrence and (engine == "fused" or (engine == "auto" and (torch is None or device.type == "cuda"))):
        takes = need(table, score, dim, dtype, device)
        if takes is None and engine == "fused":
            raise NoMethod(
                f"engine: got 'fused' with a score of type {type(score).__name__}; it takes score.exact(law) of a Gaussian, a GaussianMixture or "
                "an Empirical, and score.perturbed of one (on a device: isotropic or diagonal covariances, constant directions); use engine='auto'"
            )
        if takes is not None:
            if torch is None:  # the constants of a run can be larger than its particles
                _check_memory(name, n, dim, dtype, plain, states, 0, start, takes=takes)
            fused = program(table, score, dim, dtype if torch is None else "float64")
    if plain is not table:  # each particle has its own coefficients: a few hundred megabytes of them at a time
        batch = min(batch, max(1, 2**24 // (plain.a.size + plain.b.size + plain.c.size + 2 * plain.rows)))
    on_device = gpu.need(fused, n, dim, dtype, states, device) if fused and torch else 0
    _check_memory(name, n, dim, dtype, plain, states, 0 if fused else min(batch, n), start, on_device, device)
    begin = _starter(start, seed, keys[1], n, dim)
    return _Chain(name, table, score, n, dim, keys[0], begin, keys[1] if start is None else None, fused, torch, device, dtype, batch)


def _run(chain, keep, states):
    """(states, n, d) numpy or torch; keep[r]: where y_{r+1} goes, or -1. With more than one state the first is the start."""
    n, dim = chain.n, chain.dim
    if chain.program is not None and chain.torch is not None:
        out = gpu.run(chain.program, chain.start_key or chain.start, keep, states, chain.key, n, dim, chain.dtype, chain.device)
    elif chain.program is not None:
        out = run(chain.program, chain.start_key or chain.start, keep, states, chain.key, n, dim, chain.dtype)
        if states > 1:
            for lo in range(0, n, chain.batch):
                out[0, lo : lo + chain.batch] = chain.start(lo, min(lo + chain.batch, n))
    else:
        out = _loop(chain, keep, states)
    _check_finite(chain, out)
    if states > 1 and chain.torch is None:
        out.setflags(write=False)
    return out


def _loop(chain, keep, states):
    xp, size = chain.torch or np, (states, chain.n, chain.dim)
    out = np.empty(size, chain.dtype) if xp is np else xp.empty(size, dtype=getattr(xp, chain.dtype), device=chain.device)
    for lo in range(0, chain.n, chain.batch):
        x = _tensor(chain, chain.start(lo, min(lo + chain.batch, chain.n)))
        if states > 1:
            out[0, lo : lo + chain.batch] = x
        for r, y in enumerate(chain.rows(x, lo)):
            if keep[r] >= 0:
                out[keep[r], lo : lo + chain.batch] = y
    return out


def _tensor(chain, x):
    """A copy of x in the run's own namespace and dtype, on its device."""
    x = np.array(x, dtype=chain.dtype)
    return x if chain.torch is None else chain.torch.from_numpy(x).to(chain.device)


# ---- arguments -----------------------------------------------------------------------------------------------------------------------


def _points(start, n, device):
    """An array of points as numpy float64 (n, d)."""
    if namespace(start) is not np:
        if device is None:
            raise TypeError("start: got a torch tensor without device=, allowed is a numpy array then; pass device=start.device to run in torch")
        start = start.detach().cpu().numpy()
    start = np.array(finite("start", start))
    if start.ndim != 2 or len(start) != n or start.shape[1] < 1:
        remedy = "; write start[:, None] for n points on the line" if start.ndim == 1 else ""
        raise ValueError(f"start: got an array of shape {start.shape}, allowed is (n, d) with n = {n}, a Law, or None for N(0, I){remedy}")
    return start


def _starter(start, seed, start_key, n, dim):
    if start is None:
        return lambda lo, hi: normals(start_key, hi - lo, dim, first=lo)
    if isinstance(start, np.ndarray):
        return lambda lo, hi: start[lo:hi]
    x = np.asarray(start.sample(n, np.random.SeedSequence(seed_words(seed, "simulate start"))), dtype=np.float64)
    if x.shape != (n, dim):
        raise ValueError(f"start: got draws of shape {x.shape} from {type(start).__name__}.sample({n}, seed), allowed is ({n}, {dim})")
    return lambda lo, hi: x[lo:hi]


def _dtype(dtype):
    torch_name = str(dtype).removeprefix("torch.")
    try:
        name = torch_name if torch_name != str(dtype) else np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in ("float64", "float32"):
        raise ValueError(f"dtype: got {name}, allowed are float64 and float32")
    return name


def _check_order(score):
    """Refuse s(x, t) where the names of its arguments give it away: for most formulas a swap has a shape that fits."""
    try:
        names = [p.name.lower() for p in inspect.signature(score).parameters.values()][:2]
    except (TypeError, ValueError):
        return
    if len(names) == 2 and names[0] in _POINT_NAMES and names[1] in _TIME_NAMES:
        raise TypeError(f"score: got a function of ({names[0]}, {names[1]}), allowed is s(t, x), time first; pass lambda t, x: score(x, t)")


def _torch(device):
    try:
        torch = sys.modules.get("torch") or import_module("torch")
    except ImportError:
        raise ValueError(f"device: got {device!r}, but torch is not installed; drop device= to run in numpy, or install scoresde[gpu]") from None
    try:
        return torch, torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device: got {device!r}, allowed is a torch device such as 'cpu' or 'cuda' ({error})") from None


def _check_memory(name, n, dim, dtype, table, states, live_rows, start, on_device=0, device=None, takes=0):
    """Refuse a run that would take more than half of what is there; live_rows: particles stepped at once; on_device: its need where it is known.

    takes: what the fused engine needs beside the particles.
    """
    size = 8 if dtype == "float64" else 4
    live = table.a.shape[1] + table.b.shape[1] + table.c.shape[1] + 2  # states, scores, noises
    need = on_device or n * dim * size * states + live_rows * dim * size * live + (0 if start is None else 8 * n * dim) + takes
    there = gpu.available(device) if device is not None and device.type == "cuda" else _available_memory()
    if there is not None and need > _SHARE * there:
        remedy = (
            "the constants of the components in every row take most of it: use fewer rows or components, or engine='loop'"
            if takes > need / 2
            else f"simulate keeps one state of {states}"
            if states > 1
            else "draw fewer particles, or run several seeds and reduce each; dtype=float32 takes half"
        )
        raise ValueError(
            f"n: {name} with n = {n}, d = {dim}, {states} states kept, {dtype} needs {need / 1e9:.3g} GB, allowed is half of the "
            f"{there / 1e9:.3g} GB available; {remedy}"
        )


def _available_memory():
    """Bytes that can still be taken, or None where the system does not say; inside a container its own limit counts too."""
    try:
        lines = File("/proc/meminfo").read_text().splitlines()
        there = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None
    try:
        limit, used = (int(File(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        return min(there, max(limit - used, 0))
    except (OSError, ValueError):  # no such limit, or "max"
        return there


# ---- results -------------------------------------------------------------------------------------------------------------------------


def _check_finite(chain, out):
    finite_ones = (chain.torch or np).isfinite(out)
    if finite_ones.all():
        return
    lost = ~finite_ones.all(-1).all(0)
    lost = lost if chain.torch is None else lost.cpu().numpy()
    i = int(np.argmax(lost))
    raise NotTrusted(f"{chain.name}: {int(lost.sum())} of {chain.n} particles are not finite. {_cause(chain, i)}")


def _cause(chain, i):
    """Run particle i alone through the reference loop, to say where it was lost and whether the score or the step did it."""
    table, t = chain.plain, chain.plain.times
    y = _tensor(chain, chain.start(i, i + 1))
    all_finite = (chain.torch or np).isfinite
    for r, new in enumerate(chain.rows(y, i)):
        if not bool(all_finite(new).all()):
            where = f"Particle {i} is lost in row {r}, from t = {t[r]:g} to {t[r + 1]:g}"
            size = float(abs(y).max())
            asked = size < 1e30 and table.used[r]  # beyond, the chain had exploded before
            if asked and not bool(all_finite(loop.evaluate(chain.score, float(table.score_times[r]), y)).all()):
                return f"{where}: the score is not finite at t = {table.score_times[r]:g} and a point of size {size:.3g}; check it there"
            return f"{where}: the likely cause is a step too large for the score there; take more steps, or a grid graded towards the data"
        y = new
    return f"Particle {i} went so far out that squared distances overflow in {chain.dtype}: the likely cause is a step too large; take more steps"
