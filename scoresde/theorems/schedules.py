r"""Step schedules: a bound for steps that shrink towards the data, for laws without a smooth density, and the best schedule of all."""

import math

import numpy as np

from .. import grid
from ..divergence import kullback_leibler, total_variation
from ..engine.descent import optimal_total_variation
from ..errors import NoMethod
from ..information import path_kullback_leibler, relative_fisher
from ..laws import Gaussian, standard_normal
from ..schedule import optimal
from ..scheme import ancestral, exponential_absolute
from ..score import exact
from .bounds import ANCESTRAL, EXPONENTIAL_RELATIVE, MOMENT, Along, bounded, last_law, powered, recognise
from .claim import Statement, claim_over, not_applicable, states
from .coordinates import pieces
from .numeric import about, exists, mutated, needs, slow, unmet, vouched

__all__ = [
    "benton_2024_early_stopping", "de_bruijn_bound", "second_moment_bound", "shrinking_times", "total_variation_schedule",
    "watson_2021_optimal_schedule",
]  # fmt: skip


# ---- D5 -------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "D5", "early stopping, no smoothness: KL(p_δ|chain) ≤ KL(p_T|γ) + κ[δI_δ + KL(p_δ|γ) − I_T − KL(p_1|γ)]",
    "form: Benton, De Bortoli, Doucet & Deligiannidis 2024, arXiv:2308.03686; constant 1: derived here",
    r"h_k \le \kappa \min(1, t_{k+1}),\ \delta<1\le T:\quad"
    r" KL(p_\delta|L(\hat Y)) \le KL(p_T|\gamma)+\kappa[\delta I_\delta+KL(p_\delta|\gamma)-I_T-KL(p_1|\gamma)]"
    r" \le \tfrac12[e^{-2T}(M_2-d)-d\ln(1-e^{-2T})]+\kappa[\delta(d\tfrac{m^4}{\sigma^2}+m^2M_2)+\tfrac12(m^2(M_2-d)-d\ln\sigma^2)],"
    r"\quad m=e^{-\delta},\ \sigma^2=1-m^2",
    (MOMENT, "exact score, used at the left end of each step", "exponential_relative, or ancestral with variance beta"),
    "No density is assumed: point masses and boxes are covered. The chain is judged against p_δ, which is at W2 distance O(√δ) from the target.",
))  # fmt: skip
def benton_2024_early_stopping(target, table=None, *, quick=False):
    r"""KL(p_\delta | chain) <= KL_path <= KL(p_T|\gamma) + \kappa[\delta I_\delta + KL(p_\delta|\gamma) - I_T - KL(p_1|\gamma)].

    Each step adds at most h_k (I_{k+1} - I_k); h_k <= \kappa min(1, t_{k+1}) makes the sum at most -\kappa\int min(1, t) dI, by de Bruijn the
    bracket, itself bounded in terms of E|X|^2. Cells: both schemes, \kappa and \delta swept on the coarsest grid they allow;
    marginal and path divergence on the left, both forms on the right. table : judge this chain alone, with its own \kappa and \delta in
    (0, 1), T >= 1. Control: the same for exponential_absolute on N(0, 1), where the bound is 0.
    """
    theorem, among = benton_2024_early_stopping, (EXPONENTIAL_RELATIVE, ANCESTRAL)
    needs(target, "noised", "second_moment")
    if pieces(target) is None:
        what = f"a {type(target).__name__} in dimension {target.dim}"
        raise NoMethod(f"early stopping: no exact law of the chain for {what}; take one axis (targets.first_axis)")
    what = about(theorem, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what)) is not None:
        return claim
    if table is not None:
        proved, T, stop = recognise(table, among), float(table.times[0]), float(table.times[-1])
        if proved is None or not 0 < stop < 1 <= T:
            allowed = " and ".join(s.name for s in among)
            reason = f"table: got {table.name or 'a table'} from {T:g} to {stop:g}; the bound is for {allowed}, 0 < stop < 1 <= T"
            return not_applicable(reason=reason, **what)
        chains = [(proved, table)]
    else:
        brief = quick or slow(target) or target.dim > 1
        pairs = ((0.5, 0.05),) if brief else ((0.5, 0.1), (0.5, 0.01), (0.25, 0.1))
        chains = [(proved, proved.scheme(shrinking_times(2.0, kappa, stop))) for kappa, stop in pairs for proved in among]
    p, score, cells = Along(target), exact(target), []
    for proved, chain in chains:
        T, stop, kappa = float(chain.times[0]), float(chain.times[-1]), _ratio(chain.times)
        bounds = {"de Bruijn": de_bruijn_bound(p, T, kappa, stop), "second moment": second_moment_bound(p, T, kappa, stop)}
        lefts = {"marginal": kullback_leibler(p.at(stop), last_law(chain, score)), "path": path_kullback_leibler(target, chain)}
        cell = {"scheme": proved.name, "T": T, "kappa": kappa, "stop": stop, "steps": chain.rows}
        for kind, left in lefts.items():
            for form, right in bounds.items():
                cells.append(bounded(left, right, name=theorem.__name__, parameters={**cell, "divergence": kind, "form": form}))
    return claim_over(cells, parameters={"chains": len(chains)}, control=_absolute_on_normal(theorem), **what)


def shrinking_times(T, kappa, stop):
    """The fewest times from T to ``stop`` with steps of at most kappa min(1, next time), at equal ratios below 1 and equal steps above."""
    inner = math.ceil(math.log(1 / stop) / math.log1p(kappa))
    outer = math.ceil((T - 1) / kappa)
    return np.append(np.linspace(T, 1.0, outer + 1), stop ** (np.arange(1, inner + 1) / inner))


def _ratio(times):
    """The kappa of a grid: the largest step over the smaller of 1 and the time it leads to."""
    return float(np.max(-np.diff(times) / np.minimum(1.0, times[1:])))


def de_bruijn_bound(p, T, kappa, stop):
    """The first bound of D5, for ``p`` an Along."""
    bracket = p.information(stop) * stop + p.divergence(stop) - p.information(T) - p.divergence(1.0)
    return p.divergence(T) + bracket.cut(0.0) * kappa


def second_moment_bound(p, T, kappa, stop):
    """The second bound of D5, which needs two moments only."""
    d, second = p.dim, p.second_moment
    m2, var = math.exp(-2 * stop), -math.expm1(-2 * stop)
    start = ((second - d) * math.exp(-2 * T) - d * math.log(-math.expm1(-2 * T))) * 0.5
    return start + ((second * m2 + d * m2 * m2 / var) * stop + ((second - d) * m2 - d * math.log(var)) * 0.5) * kappa


def _absolute_on_normal(theorem):
    """D5 for exponential_absolute on N(0, 1), where both bounds' de Bruijn form is 0."""
    gamma, T, kappa, stop = Along(standard_normal(1)), 2.0, 0.5, 0.05
    left = kullback_leibler(gamma.law, last_law(exponential_absolute(shrinking_times(T, kappa, stop)), exact(gamma.law)))
    said = mutated(theorem, r"KL(p_\delta|L(\hat Y)) \le \ldots \text{ for exponential\_absolute}, \pi = N(0, 1)")
    return bounded(left, de_bruijn_bound(gamma, T, kappa, stop), parameters={"T": T, "kappa": kappa, "stop": stop}, **said)


# ---- D10 ------------------------------------------------------------------------------------------------------------------------------


CLOSED = "p_t in closed form: each step of the descent takes hundreds of them"
INFORMATION = "I_δ finite at the end δ of the grid (δ = 0 if I(π|γ) is finite, else 0.01)"


@states(Statement(
    "D10", "the optimal step schedule: path KL(grid.optimal) ≤ path KL(any grid with as many steps)",
    "derived here from C8; dynamic programming on a bound: Watson, Ho, Norouzi & Chan 2021, arXiv:2106.03802",
    r"KL_{path}(t^*) = \min_{T=t_0>\dots>t_N=\delta} KL(p_\delta|\gamma) - \sum_k (x_{k+1}-x_k)\,g(x_k),\quad x=\tfrac12e^{-2t},\ g=e^{2t}I_t;"
    r"\qquad \frac{g(x_k)-g(x_{k-1})}{x_{k+1}-x_k} = g'(x_k)",
    (INFORMATION, "ancestral with variance beta, exact score, started at N(0, I)"),
    "Optimal for the path divergence, which bounds the marginal one; the marginal has another optimum, D10m.",
))  # fmt: skip
def watson_2021_optimal_schedule(target, *, quick=False, steps=30, T=6.0):
    r"""KL_path of ancestral sampling (variance "beta") on grid.optimal(target, T, steps) is at most that on every other grid of as many steps.

    Cells: uniform, linear, quadratic, cosine, tanh, geometric, log-SNR grids, the optimum of another law (N(0, 1/4)), and the optimal grid
    with its inner times moved by 1% of the adjoining steps, two ways. The divergence is the Girsanov sum of information.py, not the program's
    own value. Control: the uniform grid is at most the optimal one.
    """
    theorem = watson_2021_optimal_schedule
    stop = 0.0 if exists(lambda: relative_fisher(target)) else 0.01
    what = about(theorem, (INFORMATION, stop == 0.0 or exists(lambda: relative_fisher(target, stop))))
    if (claim := unmet(what)) is not None:
        return claim
    if slow(target):
        steps = min(steps, 10)
    best = optimal(target, T, steps, stop=stop)
    path = lambda times: path_kullback_leibler(target, ancestral(times, "beta"))  # noqa: E731
    others = _familiar(T, steps, stop, brief=quick or slow(target))
    if not quick and not slow(target):
        others["optimal for N(0, 1/4)"] = optimal(Gaussian([0.0], 0.25), T, steps, stop=stop)
    for sign in (1.0, -1.0):
        nudge = sign * 0.01 * np.minimum(-np.diff(best)[:-1], -np.diff(best)[1:]) * np.where(np.arange(steps - 1) % 2, -1.0, 1.0)
        others[f"optimal, moved {'+' if sign > 0 else '-'}"] = best + np.concatenate([[0.0], nudge, [0.0]])
    least, found = path(best), {name: path(times) for name, times in others.items()}
    cells = [bounded(least, value, name=theorem.__name__, parameters={"other": name}) for name, value in found.items()]
    control = bounded(found["uniform"], least, **mutated(theorem, r"KL_{path}(\text{uniform}) \le KL_{path}(t^*)"))
    terms = {"path KL, optimal": least} | {f"path KL, {name}": value for name, value in found.items() if "moved" not in name}
    terms |= {"first step": float(best[0] - best[1]), "last step": float(best[-2] - best[-1])}
    if target.dim == 1 and not quick and not slow(target):
        score, p = exact(target), Along(target).at(stop)
        for name, times in (("optimal", best), ("uniform", others["uniform"])):
            error = vouched(lambda times=times: total_variation(last_law(ancestral(times, "beta"), score), p))
            terms |= {} if error is None else {f"TV, {name}": error}
    parameters = {"T": T, "steps": steps, "stop": stop}
    return powered(claim_over(cells, terms=terms, parameters=parameters, **what), control)


def _familiar(T, steps, stop, brief):
    """Grids in use, by name; those that never reach 0 get a last step to it."""
    others = {"uniform": grid.uniform(T, steps, stop=stop), "quadratic": grid.quadratic(T, steps, stop=stop)}
    if brief:
        return others
    others |= {f.__name__: f(T, steps, stop=stop) for f in (grid.linear, grid.cosine, grid.tanh)}
    if stop == 0.0:
        return others | {f.__name__: np.append(f(T, steps - 1, stop=T / steps**2), 0.0) for f in (grid.geometric, grid.log_snr)}
    return others | {f.__name__: f(T, steps, stop=stop) for f in (grid.geometric, grid.log_snr)}


@states(Statement(
    "D10m", "the step schedule for the law itself: TV(best grid) ≤ TV(any grid in use, and the optimum for path KL)",
    "derived here: BFGS on the propagated law, with its exact gradient in the times",
    r"t^* = \arg\min_{T=t_0>\dots>t_N=\delta} TV(L(\hat Y), p_\delta):\quad TV(t^*) \le TV(t) \text{ for the grids in use},"
    r"\qquad TV(t^*) \le (1+10^{-3})\, TV(t) \text{ for } t \text{ near } t^*",
    ("π on the line", CLOSED, INFORMATION, "ancestral with variance beta, exact score, started at N(0, I)"),
    "A local minimum, compared with a list of grids: no proof that no other grid is better. Signed errors of different steps may cancel, so "
    "the marginal error is not a sum over steps, and dynamic programming does not apply.",
))  # fmt: skip
def total_variation_schedule(target, *, quick=False, steps=30, T=6.0):
    r"""TV(chain on optimal_total_variation(target, T, steps), p_stop) <= TV(chain on t, p_stop): ancestral sampling, variance "beta".

    t : the uniform, linear, quadratic, cosine, tanh, geometric and log-SNR grids, the optimum for path KL (D10), and the grid itself with its
    steps multiplied by e^{\pm 0.1}: every second one, and those of either half. Its neighbours may be better by a thousandth, where the descent
    ends. All sides are TV of propagated laws with their errors. Control: the uniform grid is at most the best.
    """
    theorem = total_variation_schedule
    if target.dim != 1:
        raise NoMethod(f"{theorem.__name__}: got dimension {target.dim}, allowed is 1: the law of the chain is needed with its density")
    needs(target, "noised", "logpdf", "score", "quantile")
    if (claim := unmet(about(theorem, (CLOSED, not slow(target))))) is not None:
        return claim
    stop = 0.0 if exists(lambda: relative_fisher(target)) else 0.01
    what = about(theorem, (CLOSED, True), (INFORMATION, stop == 0.0 or exists(lambda: relative_fisher(target, stop))))
    if (claim := unmet(what)) is not None:
        return claim
    best = optimal_total_variation(target, T, steps, stop=stop)
    others = {"path KL (D10)": optimal(target, T, steps, stop=stop)} | _familiar(T, steps, stop, brief=quick)
    patterns = {"every second step": np.where(np.arange(steps) % 2, -0.1, 0.1), "halves": np.where(np.arange(steps) < steps // 2, -0.1, 0.1)}
    near = {f"{name}, {'+' if sign > 0 else '-'}": _stretched(best, sign * by) for name, by in patterns.items() for sign in (1, -1)}
    score, p = exact(target), Along(target).at(stop)
    error = lambda times: total_variation(last_law(ancestral(times, "beta"), score), p)  # noqa: E731
    least, found = error(best), {name: error(times) for name, times in others.items()}
    cells = [bounded(least, value, name=theorem.__name__, parameters={"other": name}) for name, value in found.items()]
    cells += [bounded(least, error(t) * 1.001, name=theorem.__name__, parameters={"near": name}) for name, t in near.items()]
    control = bounded(found["uniform"], least, **mutated(theorem, r"TV(\text{uniform}) \le TV(t^*)"))
    terms = {"TV, best": least} | {f"TV, {name}": value for name, value in found.items()}
    terms |= {"first step": float(best[0] - best[1]), "last step": float(best[-2] - best[-1])}
    return powered(claim_over(cells, terms=terms, parameters={"T": T, "steps": steps, "stop": stop}, **what), control)


def _stretched(times, by):
    """The grid whose steps are those of ``times`` times e^{by}, scaled to the same ends."""
    h = -np.diff(times) * np.exp(by)
    inner = times[0] - np.cumsum(h)[:-1] * ((times[0] - times[-1]) / h.sum())
    return np.concatenate([times[:1], inner, times[-1:]])
