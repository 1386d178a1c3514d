r"""Slides "Modelos Generativos", part 6: the convergence theorem of the generative chain, its proof, and its hypotheses.

R_N is the Euler-Maruyama chain with the exact score, Q_T the exact reverse diffusion, both started from \pi_0 = N(0, 1).
"""

import math

import numpy as np
from scipy.interpolate import CubicSpline

from scoresde import (
    Density,
    Empirical,
    Gaussian,
    fisher_divergence,
    grid,
    kullback_leibler,
    ornstein_uhlenbeck,
    propagate,
    scheme,
    score,
    total_variation,
    wasserstein2,
)
from scoresde.theorems import de_bortoli_2021_constants, de_bortoli_2021_total_variation
from scoresde.theorems.reversal import reverse_density

from .formula import Formula, Sides
from .numeric import ORDER, QUAD, excess, order


def _bound(theorem, law, what):
    r"""TV and its bound B e^{-T} + C (M + \sqrt\gamma) e^{DT} at the cells of a theorem of the package, those where the bound is below 1."""

    def sides(bench):
        claim = theorem(law(bench), quick=True)
        cells = [cell for cell in claim.cells if not cell.vacuous]
        return Sides([c.lhs.hi for c in cells], [c.rhs.lo for c in cells], QUAD, f"TV(L(Y_N), π), {what}, at {len(cells)} (T, γ, M)", "<=")

    return sides


def _chain(bench, T, h, M=0.0, law=None, stop=0.0):
    """The law of the chain's output, score off by the constant M."""
    s = score.exact(bench.target if law is None else law)
    return propagate(scheme.euler_maruyama(grid.uniform(T, h=h, stop=stop)), score.perturbed(s, M) if M else s)


def _in_the_error(bench):
    r"""TV of the outputs with and without a score error M: of order 1 in M, and at most M \sqrt{T/2} (Girsanov, Pinsker), for all T."""
    T, h = 2.0, 0.05
    plain = _chain(bench, T, h)
    sizes = (0.04, 0.02, 0.01)
    moved = [total_variation(_chain(bench, T, h, M), plain).value for M in sizes]
    data = Gaussian([bench.mean], bench.var)
    times = (4.0, 8.0, 16.0)
    late = [total_variation(_chain(bench, u, h, 0.1, data), _chain(bench, u, h, 0.0, data)).value for u in times]
    over = [*excess(moved, np.array(sizes) * math.sqrt(T / 2)), *excess(late, 0.1 * np.sqrt(np.array(times) / 2))]
    return Sides(
        [order(moved), *over], [1.0, *np.zeros(6)], [ORDER, *[QUAD] * 6], "order of TV in M, 1; excess over M √(T/2), 0; T = 2, and 4, 8, 16"
    )


def _manifold(bench):
    r"""A point of dimension 0 as data: TV = 1 for every step and time, W_2 of order 1/2 in the step."""
    law = Empirical([[bench.mean]])
    outputs = [_chain(bench, 3.0, h, law=law) for h in (0.04, 0.02, 0.01)]
    outputs.append(_chain(bench, 1.0, 0.04, law=law))
    far, near = [total_variation(q, law) for q in outputs], [wasserstein2(q, law).value for q in outputs[:3]]
    return Sides([*(e.lo for e in far), order(near)], [1, 1, 1, 1, 0.5], [*[QUAD] * 4, ORDER], "TV to the data at 4 (T, γ), 1; order of W2 in γ, 1/2")


def _exact_reverse(bench, T, nodes):
    r"""\pi_0 Q_T, with density \pi(x) E[(d\pi_0/dp_T)(X_T) | X_0 = x]: the logarithm of the expectation is a spline through ``nodes`` points.

    Beyond 12 standard deviations of the target (mass 1e-30) the expectation is that at the end.
    """
    low, high = bench.target.breakpoints()[[0, -1]]
    y = np.linspace(low, high, nodes)
    spline = CubicSpline(y, np.log1p(reverse_density(bench.target, T, bench.noise, y, spacing=200 / nodes)))
    return Density(lambda x: bench.target.logpdf(x) + spline(np.clip(x[..., 0], low, high)), dim=1, name="π_0 Q_T")


CASES = ((1.0, 0.05), (2.0, 0.02))  # (T, gamma)


def _both(bench, f):
    """(values, errors) of f(chain, reverse law, T) at the two cases; the error is the difference of two resolutions."""
    chains = [(_chain(bench, T, h), T) for T, h in CASES]
    fine, coarse = ([f(chain, _exact_reverse(bench, T, n), T) for chain, T in chains] for n in (1600, 800))
    return np.array(fine), np.abs(np.array(fine) - coarse) + QUAD


def _triangle(bench):
    """TV(π_0 R_N, π) <= TV(π_0 R_N, π_0 Q_T) + TV(π P_T, π_0); and TV(p_T Q_T, π_0 Q_T) <= TV(π P_T, π_0), p_T Q_T = π."""

    def distances(chain, reverse, T):
        pairs = ((chain, bench.target), (bench.target, reverse), (chain, reverse), (bench.ou(T), bench.noise))
        return [total_variation(*pair).value for pair in pairs]

    values, errors = _both(bench, distances)
    whole, data, approximation, mixing = values.T
    error = errors.sum(axis=1)
    what = "TV(π_0 R_N, π), TV(p_T Q_T, π_0 Q_T); the sum, TV(π P_T, π_0); T = 1, 2"
    return Sides([whole, data], [approximation + mixing, mixing], [error, error], what, "<=")


def _pinsker(which):
    r"""KL(\pi_0 R_N | \pi_0 Q_T) and TV of the same laws, at two (T, \gamma)."""

    def sides(bench):
        values, errors = _both(bench, lambda chain, reverse, T: [f(chain, reverse).value for f in (kullback_leibler, total_variation)])
        kl, tv = values.T
        if which == "printed":
            return Sides(kl, 2 * tv**2, errors.sum(axis=1), "KL(π_0 R_N|π_0 Q_T), 2 TV²", "<=")
        return Sides(tv, np.sqrt(kl / 2), errors.sum(axis=1), "TV(π_0 R_N, π_0 Q_T), √(KL/2)", "<=")

    return sides


def _supremum(bench, times):
    r"""sup of |grad log p_t| within 2 standard deviations, for data on two points."""
    law = Empirical([[bench.mean - bench.sd], [bench.mean + bench.sd]])
    x = np.linspace(bench.mean - 2 * bench.sd, bench.mean + 2 * bench.sd, 401)[:, None]
    s = score.exact(law)
    return np.array([np.abs(s(t, x)).max() for t in times])


def _unbounded(bench):
    r"""log_10 of the growth of the supremum per decade of t: 0 if a continuous s could stay within M for all t in [0, T]."""
    return Sides(np.diff(np.log10(_supremum(bench, (1e-3, 1e-4, 1e-5)))), 0.0, ORDER, "growth exponent of sup|∇ log p_t| as t → 0, 0 if bounded")


def _stopped(bench):
    r"""For t >= \delta the supremum is finite: at most (|x| + m|x_0|)/v_\delta."""
    delta = 0.05
    most = (np.abs(bench.mean) + 2 * bench.sd + np.abs(bench.mean) + bench.sd) / ornstein_uhlenbeck(delta).v
    times = np.geomspace(delta, 5.0, 12)
    return Sides(_supremum(bench, times), most, QUAD * most, "sup|∇ log p_t| at 12 times in [δ, T], its bound; δ = .05", "<=")


def _likelihood(bench):
    r"""KL(p_0|q_0) - KL(p_T|q_T) against \int_0^T E_{p_t}|grad log p_t - grad log q_t|^2 dt for two laws in the same noise."""
    T, q = 2.0, bench.second
    drop = kullback_leibler(bench.target, q) - kullback_leibler(bench.ou(T), q.noised(ornstein_uhlenbeck(T)))

    def integral(n):
        u, w = np.polynomial.legendre.leggauss(n)
        t, w = T * (0.5 * (u + 1)) ** 3, w * 1.5 * T * (0.5 * (u + 1)) ** 2  # dense at 0, where the integrand changes fastest
        return sum(b * fisher_divergence(bench.ou(a), q.noised(ornstein_uhlenbeck(float(a)))).value for a, b in zip(t, w, strict=True))

    fine, coarse = integral(32), integral(20)
    return Sides(
        drop.value, fine, abs(fine - coarse) + QUAD * 100 * fine + drop.width, "KL(p_0|q_0) - KL(p_T|q_T), integral of the Fisher divergence"
    )


FORMULAS = (
    Formula(
        "001-F43", "001 L813", "‖L(Y_N) - π‖_TV ≤ B e^{-T} + C (M + γ^{1/2}) e^{DT}", "", "HOLDS",
        _bound(de_bortoli_2021_total_variation, lambda bench: Gaussian([bench.mean], bench.var), "bounds with proved constants"),
        note="N(mean, variance of the target) as data; read T = Σγ_k, γ = max γ_k; loose: the true order in γ is 1",
    ),
    Formula(
        "001-F43b", "001 L813", "the same bound, mixture data", "", "HOLDS",
        _bound(de_bortoli_2021_constants, lambda bench: bench.target, "the bound fitted on other cells"), note="loose",
    ),
    Formula(
        "001-F44", "001 L807-813", "the dependence on M is at most C M e^{DT}", "", "HOLDS", _in_the_error,
        note="linear in M, without exponential growth in T"
    ),
    Formula(
        "001-F45", "001 L831", "the hypothesis on π fails if π lives on a manifold of dimension p < d", "", "HOLDS", _manifold,
        note="TV = 1, yet W_2 → 0",
    ),
    Formula(
        "001-F46", "001 L839", "‖π_0 R_N - π‖_TV ≤ ‖π_0 R_N - π_0 Q_T‖_TV + ‖π P_T - π_0‖_TV", "", "HOLDS", _triangle,
        note="(Q_t) is no semigroup: it depends on time",
    ),
    Formula(
        "001-F47", "001 L848", "Pinsker's theorem controls KL(π_0 R_N|π_0 Q_T)", "Pinsker: TV ≤ √(KL/2); the KL itself is controlled by Girsanov",
        "IMPRECISE", _pinsker("printed"), _pinsker("corrected"), "qualifier",
    ),
    Formula(
        "001-F52", "001 L922", "Girsanov's theorem justifies weighting the loss", "", "HOLDS", _likelihood,
        note="the likelihood's weight is λ = g(t)² (2 here), not σ²",
    ),
    Formula(
        "001-F55", "001 L830", "‖s(t, x) - ∇ log p_t(x)‖ ≤ M for all t ∈ [0, T]", "… for all t ∈ [δ, T]", "IMPRECISE", _unbounded,
        _stopped, "qualifier",
        "data on a manifold: the score is unbounded as t → 0, no continuous s is near it",
    ),
)  # fmt: skip
