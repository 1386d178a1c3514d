r"""The exact distance of a chain from the reverse diffusion, before any bound: of the paths (Girsanov), of the skeletons, and as a Riemann sum.

The closed sums of ``information`` are compared with the definitions, whose expectations over two times of the flow are computed by
quadrature in both variables: neither Tweedie's nor de Bruijn's identity is used there.
"""

import itertools
import math
from itertools import pairwise

import numpy as np

from ..divergence import kullback_leibler
from ..divergence.panels import GAUSS, KRONROD, NODES, integrate
from ..divergence.view import view
from ..enclosure import Enclosure
from ..errors import NoMethod
from ..information import joint_kullback_leibler, path_kullback_leibler, relative_fisher
from ..kernel import ornstein_uhlenbeck
from ..laws import standard_normal
from ..scheme import ancestral, euler_maruyama, exponential_absolute, exponential_relative
from .claim import Statement, claim_over, states
from .coordinates import coordinates
from .numeric import EPS, about, at_most, blurred, equal, exists, flow, mutated, needs, slow, unmet

__all__ = ["cameron_martin_girsanov_path", "kingma_2021_refinement", "kingma_2021_riemann_sum", "skeleton_kullback_leibler", "two_times"]

MOMENT = r"E|X|^2 finite"
AWAY = "KL(π|γ) > 1e-6 (at π = γ both sides are 0)"
SCHEMES = {
    "euler_maruyama": euler_maruyama, "exponential_relative": exponential_relative, "exponential_absolute": exponential_absolute,
    "ancestral, beta": lambda grid: ancestral(grid, "beta"),
}  # fmt: skip
SPACINGS = (0.16, 0.08, 0.04)  # of the sum over the noise, which goes to 8.6 standard deviations: beyond there is less than 1e-17


def two_times(law, kernel, f):
    r"""(values (k,), errors (k,)) of E f(X, Y, Z), where X has the ``law`` on the line and Y = m X + \sqrt v Z is the kernel's next state.

    f(x, y, z) -> list of k arrays of the shape of y. Adaptive quadrature over X; over Z a trapezoidal sum, refined until the sum over every other
    point, whose error is far larger, agrees to 1e-9. A law of points is summed.
    """
    for spacing in SPACINGS:
        value, rounding, gap = _two_times(law, kernel, f, spacing)
        if np.all(gap <= 1e-9 * (1 + np.abs(value))):
            break
    return value, rounding + gap


def _two_times(law, kernel, f, spacing):
    """(values, errors of the sum over X and of rounding, differences to the sum over every other Z)."""
    sd, last = math.sqrt(kernel.v), 2 * round(4.3 / spacing)
    z = spacing * np.arange(-last, last + 1)
    w = spacing * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    every_other = np.where(np.arange(-last, last + 1) % 2, 0.0, 2 * w)

    def rows(x):
        y = kernel.m * x[..., None] + sd * z
        found = np.stack([np.broadcast_to(row, y.shape) for row in f(x[..., None], y, z)])
        fine = found @ w
        return fine, 16 + np.abs(found) @ w, np.abs(fine - found @ every_other)  # f may be a difference of logarithms of size 16

    if hasattr(law, "points"):
        value, size, gap = (part @ np.asarray(law.weights) for part in rows(np.asarray(law.points)[:, 0]))
        return value, 64 * EPS * size, gap

    def g(x, _):
        p = np.exp(np.asarray(law.logpdf(x[..., None])))
        return np.concatenate([p * part for part in rows(x)])

    edges = view(law).edges
    count = len(f(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros(1)))
    found = integrate(g, edges[:-1], edges[1:], watch=count, tolerance=1e-11, rounds=12, most=20_000)
    value, error = found.value.sum(1), found.error.sum(1)
    return value[:count], error[:count] + 64 * EPS * value[count : 2 * count], value[2 * count :]


def log_normal(x, v):
    r"""\log N(x; 0, v)."""
    return -0.5 * (x * x / v + math.log(2 * math.pi * v))


def entropy_of(target, t):
    r"""KL(p_t|\gamma)."""
    return kullback_leibler(flow(target, t), standard_normal(target.dim))


def skeletons(target, tables):
    """KL of (X_{t_0}, ..., X_{t_N}) given each chain of one evaluation a step, exact score, by its definition; the tables share their times.

    Independent coordinates add up. A step adds E log q(X_u|X_t)/N(X_u; a X_t + b s(X_t), c^2) with q by Bayes' rule.
    """
    times = tables[0].times
    total, error = np.zeros(len(tables)), np.zeros(len(tables))
    for (law, count), (k, (t, u)) in itertools.product(coordinates(target), enumerate(pairwise(times))):
        before, after, kernel = flow(law, u), flow(law, t), ornstein_uhlenbeck(float(t - u))

        def f(x, y, z, k=k, before=before, after=after, kernel=kernel):
            s, lost = after.score(y[..., None])[..., 0], np.asarray(after.logpdf(y[..., None]))
            bayes = np.asarray(before.logpdf(x[..., None])) + log_normal(z, 1.0) - 0.5 * math.log(kernel.v) - lost
            return [bayes - log_normal(x - c.a[k, 0] * y - c.b[k, 0] * s, c.c[k, 0] ** 2) for c in tables]

        value, off = two_times(before, kernel, f)
        total, error = total + count * value, error + count * off
    start = entropy_of(target, float(times[0]))
    return [start + Enclosure.near(v, e, method="quadrature over two times") for v, e in zip(total, error, strict=True)]


def _asked(theorem, target):
    """(refusal or None, what, stop): the assumptions checked; p_stop is the target: stop = 0, or 0.05 where I is infinite or slow."""
    needs(target, "noised", "second_moment")
    what = about(theorem, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim, what, 0.0
    coordinates(target)  # the expectations over two times are sums on the line
    stop = 0.0 if exists(lambda: relative_fisher(target)) and not slow(target) else 0.05
    what = about(theorem, (MOMENT, True), (AWAY, entropy_of(target, stop).hi > 1e-6))
    return unmet(what, "="), what, stop


# ---- D1 --------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "D1", "KL of the paths, exactly: KL(p_T‖γ) + ¼ Σ ∫ E|b − b̂|² is a finite sum of I_k",
    "Cameron & Martin 1944; Girsanov 1960, https://doi.org/10.1137/1105027; the sum: derived here (de Bruijn's identity)",
    r"KL_{path} = KL(p_T|\gamma)+\tfrac14\sum_k\int_0^{h_k}E|b-\hat b|^2d\delta,\quad"
    r" \tfrac14E|b-\hat b|^2 = I+(1-2e^\delta)I_k\ \text{(relative)},\; F+(1-2e^{-\delta})F_k\ \text{(absolute)},\;"
    r" I-e^{2\delta}I_k\ \text{(ancestral)}", (MOMENT, AWAY),
    caveat="exact score, chain started at γ; the reverse diffusion's noise is √2 dB, hence ¼ and not ½",
))  # fmt: skip
def cameron_martin_girsanov_path(target, *, quick=False):
    r"""KL of path laws by Girsanov's theorem, integrated over time and over (Y_t, Y_{t_k}), against ``information.path_kullback_leibler``.

    Cells: the four schemes on the grid 0.7 > 0.4 > 0.15 (quick, or d > 1: one step); independent coordinates add up. Control: 1/2 in place of
    1/4, as for dB instead of \sqrt2 dB.
    """
    refusal, what, _ = _asked(cameron_martin_girsanov_path, target)
    if refusal is not None:
        return refusal
    grid = np.array([0.4, 0.15] if quick or slow(target) or target.dim > 1 else [0.7, 0.4, 0.15])
    start, (work, error) = entropy_of(target, float(grid[0])), _girsanov(target, grid)
    cells, wrong, terms = [], [], {f"KL(p_{grid[0]:g}|γ)": start}
    for (name, scheme), w, e in zip(SCHEMES.items(), work, error, strict=True):
        work_done = Enclosure.near(w, e, method="Girsanov, by quadrature")
        rhs = path_kullback_leibler(target, scheme(grid))
        how = {"digits": 6, "floor": 1e-4, "name": "path KL", "parameters": {"scheme": name, "grid": grid.tolist()}}
        cells.append(equal(start + work_done, rhs, **how))
        wrong.append(equal(start + 2 * work_done, rhs, **how))
        terms[f"¼ Σ ∫ E|b − b̂|², {name}"] = work_done
    control = claim_over(wrong, **mutated(cameron_martin_girsanov_path, r"KL_{path} = KL(p_T|\gamma)+\tfrac12\sum_k\int_0^{h_k}E|b-\hat b|^2d\delta"))
    return claim_over(cells, control=control, terms=terms, **what)


def _girsanov(target, grid):
    r"""(\frac14\sum_k\int E|b-\hat b|^2 for each scheme (4,), error (4,)): Gauss–Kronrod in time, its expectations over two times."""
    total, error = np.zeros(4), np.zeros(4)
    for (law, count), (t, u) in itertools.product(coordinates(target), pairwise(grid)):
        after, half = flow(law, t), 0.5 * (t - u)
        at = [_drift_error(law, after, t, half * (1 + node)) for node in NODES]
        values, off = np.array([v for v, _ in at]), np.array([e for _, e in at])
        fine, coarse = half * KRONROD @ values, half * GAUSS @ values
        total, error = total + count * fine, error + count * (np.abs(fine - coarse) + half * KRONROD @ off)
    return total, error


def _drift_error(target, after, t, delta):
    r"""\frac14 E|b - \hat b|^2 for each scheme, a time delta into the step that starts at \tau = t: Y_t = X_{t - delta}, Y_{t_k} = X_t."""
    now = flow(target, t - delta)

    def f(x, y, _):
        b = x + 2 * np.asarray(now.score(x[..., None]))[..., 0]
        s = np.asarray(after.score(y[..., None]))[..., 0]
        frozen = (y + 2 * s, -x + 2 * (s + y), x + 2 * s, -x + 2 * math.exp(delta) * (s + y))
        return [0.25 * (b - hat) ** 2 for hat in frozen]

    return two_times(now, ornstein_uhlenbeck(float(delta)), f)


# ---- D2 --------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "D2", "KL of the skeletons, exactly: a finite sum of I_k and E|X|²", "derived here (chain rule of KL, Tweedie's and de Bruijn's identities)",
    r"KL_{joint} = KL(p_T|\gamma)+\sum_k E\,KL\big(X_{\tau_{k+1}}|X_{\tau_k}\,\big\|\,N(\alpha X_{\tau_k}+\beta U_k,vI)\big)"
    r" = KL(p_T|\gamma)+\sum_k\Big\{H_k-H_{k+1}+\tfrac d2\ln\tfrac{v}{1-e^{-2h}}-\tfrac d2+\tfrac{\mathrm{mse}_k}{2v}\Big\}", (MOMENT, AWAY),
    caveat="exact score, chain started at γ; at most the KL of the paths, and equal to it for ancestral sampling with variance beta",
))  # fmt: skip
def skeleton_kullback_leibler(target, table=None, *, quick=False):
    r"""KL of (X_{t_0}, ..., X_{t_N}) given the chain, by its definition (quadrature over two times, step by step), against
    ``information.joint_kullback_leibler``.

    Cells: the four schemes on a coarse graded grid; independent coordinates add up. table : judge this one-evaluation chain alone (every step
    has noise). Control: the KL of the paths in place of that of the skeletons, for Euler–Maruyama.
    """
    refusal, what, stop = _asked(skeleton_kullback_leibler, target)
    if refusal is not None:
        return refusal
    grid = np.array([1.0, 0.4, stop] if quick or slow(target) or target.dim > 1 else [1.2, 0.7, 0.3, 0.1, stop])
    tables = [scheme(grid) for scheme in SCHEMES.values()]
    chains = {table.name or "given": table} if table is not None else dict(zip(SCHEMES, tables, strict=True))
    sums = {name: joint_kullback_leibler(target, chain) for name, chain in chains.items()}  # refuses tables it cannot judge
    if any(math.isinf(e.lo) for e in sums.values()):
        raise NoMethod("skeleton_kullback_leibler: got a step without noise (KL is infinite), allowed are tables whose every step has some")
    cells, terms = [], {}
    for (name, rhs), lhs in zip(sums.items(), skeletons(target, list(chains.values())), strict=True):
        cells.append(equal(lhs, rhs, digits=7, floor=1e-4, name="joint KL", parameters={"scheme": name}))
        terms[f"KL_joint, {name}"] = rhs
    coarse = euler_maruyama(np.array([1.0, 0.4, max(stop, 0.05)]))
    (joint,), path = skeletons(target, [coarse]), path_kullback_leibler(target, coarse)
    control = equal(joint, path, digits=7, floor=1e-4, **mutated(skeleton_kullback_leibler, r"KL_{joint} = KL_{path}\ \text{for Euler–Maruyama}"))
    return claim_over(cells, control=control, terms=terms, **what)


# ---- C8 --------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "C8", "KL of the exact denoiser's chain = KL(π‖γ) − Σ ½(e^(2h)−1) I_k, a Riemann sum",
    "in substance: Kingma, Salimans, Poole & Ho 2021, arXiv:2107.00630; in this form: derived here",
    r"KL_{path} = KL_{joint} = KL(\pi|\gamma)-\sum_k\tfrac12(e^{2h_k}-1)I_{\tau_k},\qquad"
    r" KL(\pi|\gamma)=\int_0^{1/2}g\,dx,\; x=\tfrac12e^{-2\tau},\; g=e^{2\tau}I_\tau\ \text{increasing in } x", (MOMENT, AWAY),
    caveat="ancestral sampling, variance beta, exact score, started at γ; as the steps get small only the end points of the schedule count",
))  # fmt: skip
def kingma_2021_riemann_sum(target, *, quick=False):
    r"""KL_joint of ancestral(variance="beta"), by its definition, against KL(\pi|\gamma) less a left Riemann sum of g = e^{2\tau} I_\tau.

    Cells: nested grids of 1, 2, 4 and 8 steps from T = 1. KL_path equals the sum by Girsanov's theorem, which D1 verifies.
    Control: \sum h_k I_k in place of \sum (e^{2h_k} - 1) I_k/2.
    """
    refusal, what, stop = _asked(kingma_2021_riemann_sum, target)
    if refusal is not None:
        return refusal
    cells, wrong, whole, terms = [], [], entropy_of(target, stop), {}
    for grid in _nested(stop, (1, 2) if quick or slow(target) or target.dim > 1 else (1, 2, 4, 8)):
        h, terms_of = -np.diff(grid), [relative_fisher(target, float(t)) for t in grid[:-1]]
        (lhs,) = skeletons(target, [ancestral(grid, "beta")])
        rhs, careless = (whole - sum(float(w) * e for w, e in zip(weight, terms_of, strict=True)) for weight in (0.5 * np.expm1(2 * h), h))
        how = {"digits": 7, "floor": 1e-3, "name": "KL", "parameters": {"steps": len(h)}}
        cells.append(equal(lhs, rhs, **how))
        wrong.append(equal(lhs, careless, **how))
        terms[f"KL_joint, {len(h)} steps"] = lhs
    control = claim_over(wrong, **mutated(kingma_2021_riemann_sum, r"KL_{joint} = KL(\pi|\gamma)-\sum_kh_kI_{\tau_k}"))
    return claim_over(cells, control=control, terms={f"KL(p_{stop:g}|γ)": whole, **terms}, **what)


def _nested(stop, counts):
    r"""Grids from 1 to ``stop``, equal in x = e^{-2\tau}/2, each with all the times of the one before."""
    ends = np.exp(-2 * np.array([1.0, stop]))
    for n in counts:
        times = -0.5 * np.log(np.linspace(*ends, n + 1))
        times[-1] = stop
        yield times


@states(Statement(
    "C8'", "refinement never hurts the exact denoiser: KL(p_T‖γ) ≤ KL_joint(finer grid) ≤ KL_joint(grid)",
    "Kingma, Salimans, Poole & Ho 2021, arXiv:2107.00630; here: left Riemann sums of a monotone function",
    r"KL(p_T|\gamma) \le KL_{joint}(G') \le KL_{joint}(G)\quad\text{for } G\subset G',\qquad KL_{joint}\to KL(p_T|\gamma)", (MOMENT, AWAY),
    caveat="of the joint law; for the law of the last state alone no such theorem is claimed",
))  # fmt: skip
def kingma_2021_refinement(target, *, quick=False):
    r"""KL_joint falls when times are added to the grid, and stays above KL(p_T|\gamma); equality where I = e^{-2\tau} I_0 (a shifted N(0, I)).

    Cells: grids of 1, 2, 4, ..., 16 steps, nested. In d > 1 too, where I is known in closed form. Control: one tenth of the initial divergence
    KL(p_T|\gamma) as the upper end.
    """
    needs(target, "noised", "second_moment")
    what = about(kingma_2021_refinement, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what)) is not None:
        return claim
    stop = 0.0 if exists(lambda: relative_fisher(target)) else 0.05
    floor, whole = entropy_of(target, 1.0), entropy_of(target, stop).hi
    what = about(kingma_2021_refinement, (MOMENT, True), (AWAY, whole > 1e-6))
    if (claim := unmet(what)) is not None:
        return claim
    counts = (1, 2, 4) if quick or slow(target) else (1, 2, 4, 8, 16)
    rounding = 32 * EPS * (1 + whole)  # of times, exponentials and I, in a sum that starts from KL(p_stop|gamma)
    found = [blurred(joint_kullback_leibler(target, ancestral(grid, "beta")), rounding) for grid in _nested(stop, counts)]
    cells = [at_most(floor, found[-1], name="KL", parameters={"of": "KL(p_T|γ) ≤ KL_joint", "steps": counts[-1]})]
    cells += [
        at_most(fine, coarse, name="KL", parameters={"of": "refined ≤ coarse", "steps": n}) for coarse, fine, n in zip(found, found[1:], counts[1:])
    ]
    control = at_most(found[-1], 0.1 * floor, **mutated(kingma_2021_refinement, r"KL_{joint}(G) \le \tfrac1{10}KL(p_T|\gamma)"))
    terms = {"KL(p_1|γ)": floor} | {f"KL_joint, {n} steps": e for n, e in zip(counts, found, strict=True)}
    return claim_over(cells, control=control, terms=terms, **what)
