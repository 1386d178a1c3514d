r"""Slides "Modelos Generativos", part 3: the backward chain X_k = X_{k+1} + \gamma {X_{k+1} + 2 grad log p_k(X_{k+1})} + \sqrt{2\gamma} Z.

The exact backward kernel p_{k|k+1} is a mixture (Bayes' rule in each component); every approximation is measured against it.
"""

import math

import numpy as np

from scoresde import Gaussian, grid, kernel, propagate, scheme, score, total_variation
from scoresde._arrays import stream

from .bench import EPS
from .formula import Formula, Sides
from .numeric import ORDER, QUAD, limit, order


def _pairs(bench):
    """Pairs (x_k (n, 1), x_{k+1} (n, 1)): the quantiles of p_k, each with each of p_{k+1}."""
    x, y = bench.points(bench.law(bench.k)), bench.points(bench.law(bench.k + 1))
    return np.repeat(x, len(y), axis=0), np.tile(y, (len(x), 1))


def _exact(bench, x, y):
    """log p_{k|k+1}(x|y) for pairs."""
    return np.array([float(bench.backward(bench.k, b).logpdf(a)) for a, b in zip(x, y, strict=True)])


def _bayes(bench):
    """The second and the third line against the exact kernel, with their constants written out."""
    g, p, q = bench.gamma, bench.law(bench.k), bench.law(bench.k + 1)
    x, y = _pairs(bench)
    square = ((y - (1 - g) * x) ** 2)[:, 0] / (4 * g)
    log_c0 = -0.5 * math.log(4 * math.pi * g)
    log_c1 = log_c0 + p.logpdf(y) - q.logpdf(y)
    second = log_c0 - square + p.logpdf(x) - q.logpdf(y)
    third = log_c1 - square + p.logpdf(x) - p.logpdf(y)
    exact = _exact(bench, x, y)
    return Sides([second, third], [exact, exact], QUAD * (1 + square + np.abs(exact)), "log of lines 2 and 3, log p_(k|k+1), at 25 pairs")


def _fourth_line(sign):
    r"""log of the fourth line at x_k minus that at the next x_k, so that C_1 cancels, against the exact kernel."""

    def sides(bench):
        g, p = bench.gamma, bench.law(bench.k)
        x, y = _pairs(bench)
        line = -(((y - (1 - g) * x) ** 2)[:, 0] + sign * 4 * g * (p.logpdf(x) - p.logpdf(y))) / (4 * g)
        exact = _exact(bench, x, y)
        found, exact = (np.diff(v.reshape(5, 5), axis=0) for v in (line, exact))
        size = np.abs(line).max() + np.abs(exact).max()
        return Sides(found, exact, QUAD * size, "log ratios of the density at x_k, x_k'")

    return sides


def _square(bench):
    """Vectors of R^3 drawn from the target, coordinate by coordinate."""
    g = bench.gamma
    x, y = bench.target.sample(120, bench.seed).reshape(2, 20, 3)
    norm = lambda v: np.sum(v * v, axis=-1)  # noqa: E731
    left = norm(y - (1 - g) * x)
    right = norm(x - (1 + g) * y) - 2 * g * norm(y - x) + g * g * (norm(x) - norm(y))
    return Sides(left, right, 64 * EPS * (norm(x) + norm(y)), "both sides for 20 pairs in R³")


def _taylor(weight):
    r"""The Taylor remainder of log p_k with \int weight(t) Hess(...) dt, against the true one."""

    def sides(bench):
        p = bench.law(bench.k)
        x, y = _pairs(bench)
        edges, (t, w) = np.linspace(0, 1, 65), np.polynomial.legendre.leggauss(14)
        t = (edges[:-1, None] + (t + 1) / 128).reshape(-1)
        w = np.tile(w / 128, 64)
        at = (1 - t)[:, None, None] * y + t[:, None, None] * x
        found = np.einsum("t,tn->n", w * weight(t), p.score_jacobian(at)[..., 0, 0]) * ((x - y) ** 2)[:, 0]
        exact = p.logpdf(x) - p.logpdf(y) - (p.score(y) * (x - y))[:, 0]
        size = np.abs(p.logpdf(x)) + np.abs(p.logpdf(y)) + np.abs(p.score(y) * (x - y))[:, 0]
        return Sides(found, exact, QUAD * size, "integral, true remainder, at 25 pairs")

    return sides


def _triples(bench):
    r"""(C, \gamma, x_k, x_{k+1}) that satisfy |x_{k+1} - x_k|^2 <= C\gamma, |x| <= C and C\gamma <= 1: from the chain, and at random."""
    g = 0.01
    x = bench.law(bench.k, g).sample(4000, bench.seed)
    y = bench.chain(1, g).sample(x, bench.seed)
    C = np.maximum(np.maximum(np.abs(x), np.abs(y)), (y - x) ** 2 / g)[:, 0]
    chain = np.stack([C, np.full(len(C), g), x[:, 0], y[:, 0]])[:, C * g <= 1]
    rng = stream(bench.seed, "001-F18")
    C = 10 ** rng.uniform(-2, 2, 20000)
    g = np.minimum(rng.random(20000) ** 0.3, 0.999) / C
    y = C * np.where(rng.random(20000) < 0.5, np.sign(rng.random(20000) - 0.5), rng.uniform(-1, 1, 20000))
    x = np.clip(y + np.where(y > 0, -1, 1) * np.sqrt(C * g) * rng.random(20000) ** 0.1, -C, C)
    return np.concatenate([chain, np.stack([C, g, x, y])], axis=1)


def _swap(C, g, x, y):
    left = np.abs((y - (1 - g) * x) ** 2 - (x - (1 + g) * y) ** 2)
    return Sides(left, 4 * C * g * g, 64 * EPS * (x * x + y * y), "left side, 4Cγ²", "<=")


def _first_order(bench):
    r"""left/\gamma as \gamma -> 0 at k\gamma = 0.4, x_k - x_{k+1} = ±\sqrt{C\gamma}, against its limit, so that a D exists.

    The limit of (log p_k(x_k) - log p_{k+1}(x_{k+1}) - <grad, .>)/\gamma is C/2 Hess log p_t - d/dt log p_t, by the Fokker-Planck equation
    d/dt log p_t = 1 + x s + s' + s^2; with p_k(x_{k+1}) in place of p_{k+1}(x_{k+1}), the second reading, the first term alone.
    """
    t, C = 0.4, 1.7
    p = bench.ou(t)
    y = bench.points(p)
    s, ds = p.score(y)[:, 0], p.score_jacobian(y)[:, 0, 0]
    bend, drift = 0.5 * C * ds, 1 + y[:, 0] * s + ds + s * s

    def scaled(g):
        k = round(t / g)
        now, then = bench.law(k, g), bench.law(k + 1, g)
        moved = [now.logpdf(y + u) - now.score(y)[:, 0] * u for u in (math.sqrt(C * g), -math.sqrt(C * g))]
        mean = 0.5 * (moved[0] + moved[1])  # odd powers of the root cancel
        return np.stack([mean - then.logpdf(y), mean - now.logpdf(y)]) / g

    found, error = limit(scaled(2e-3), scaled(1e-3))
    return Sides(found, [bend - drift, bend], error + 64 * EPS * 50 / 1e-3, "left/γ extrapolated to γ = 0, its limit; p_(k+1) as printed, and p_k")


def _gaussian_step(bench):
    """Orders of the step's mean, variance and law in gamma, at 5 points; and the completed square, which is exact."""
    t, errors = 0.4, []
    for g in (1 / 80, 1 / 160, 1 / 320):
        k = round(t / g)
        p, worst = bench.law(k, g), np.zeros(3)
        for y in bench.points(p, (0.1, 0.35, 0.6, 0.9)):
            exact, step = bench.backward(k, y, g), Gaussian(y + g * (y + 2 * p.score(y)), 2 * g)
            worst += np.abs([exact.mean()[0] - step.mean()[0], exact.cov()[0, 0] - 2 * g, total_variation(exact, step).value])
        errors.append(worst)
    orders = np.minimum([order(e) for e in np.array(errors).T], (2, 2, 1))  # higher where a leading term happens to vanish
    g, p = bench.gamma, bench.law(bench.k)
    x, y = _pairs(bench)
    drift = p.score(y)
    line = (-((x - (1 + g) * y) ** 2) / (4 * g) + drift * (x - y))[:, 0].reshape(5, 5)
    normal = np.array([float(Gaussian(b + g * (b + 2 * u), 2 * g).logpdf(a)) for a, b, u in zip(x, y, drift, strict=True)]).reshape(5, 5)
    found, exact = np.diff(line, axis=0).ravel(), np.diff(normal, axis=0).ravel()
    size = QUAD * (np.abs(line).max() + np.abs(normal).max())
    return Sides(
        [*orders, *found],
        [2, 2, 1, *exact],
        [ORDER] * 3 + [size] * len(found),
        "orders of mean, variance, TV in γ, at least 2, 2, 1; the square completed",
    )


def _conventions(bench):
    r"""TV of the two chains' laws, scores of p_k and of p_{k+1} at X_{k+1}, stopped at t = 0.2, for three steps."""
    s = score.exact(bench.target)
    tables = [scheme.euler_maruyama(grid.uniform(2.2, steps, stop=0.2)) for steps in (40, 80, 160)]
    return [total_variation(propagate(scheme.score_at_end(table), s), propagate(table, s)) for table in tables]


def _same_chain(bench):
    tv = _conventions(bench)[0]
    return Sides(tv.value, 0.0, tv.width, "TV of the laws of the two chains at t = .2 (γ = .05), 0")


def _one_step_apart(bench):
    r"""The chain with the index raised by one is the scheme, coefficient by coefficient; the distance of the two has order 1."""
    tv = [e.value for e in _conventions(bench)]
    times = grid.uniform(2.0, 20)
    table = scheme.euler_maruyama(times)
    g, j = times[0] / 20, np.arange(20, 0, -1)  # X_{j-1} = X_j + g {X_j + 2 s(j g, X_j)} + sqrt(2g) Z
    rows = np.stack([table.a[:, 0] - (1 + g), table.b[:, 0] - 2 * g, table.score_times - j * g])
    return Sides([order(tv), np.abs(rows).max()], [1.0, 0.0], [ORDER, 64 * EPS * 2], "order of their TV in γ, 1; rows of EM with s(jγ, X_j)")


def _ancestral(bench, k):
    r"""The density at 5 points of X_k if X_{k+1} ~ p_{k+1} and the step is the exact backward kernel.

    A trapezoidal sum over X_{k+1}, of spacing d: its error falls like e^{-2 (\pi s/d)^2}, s^2 = 2\gamma the variance of a step; here e^{-98}.
    """
    x, after = bench.points(bench.target), bench.law(k + 1)
    y = np.arange(*after.breakpoints()[[0, -1]], math.sqrt(2 * bench.gamma) / 2.23)
    w = (y[1] - y[0]) * after.pdf(y[:, None])
    return sum(u * bench.backward(k, v[None]).pdf(x) for u, v in zip(w, y, strict=True) if u > 1e-18)


def _last_state(which):
    r"""What the last states follow when no step is wrong: X_1 has density p_1, X_0 has density \pi."""

    def sides(bench):
        x = bench.points(bench.target)
        one, zero = _ancestral(bench, 1), _ancestral(bench, 0)
        if which == "printed":
            return Sides(one, bench.target.pdf(x), QUAD * bench.target.pdf(x), "density of X_1 by exact backward steps, π, at 5 points")
        exact = np.stack([bench.law(1).pdf(x), bench.target.pdf(x)])
        return Sides([one, zero], exact, QUAD * exact, "densities of X_1 and X_0 by exact backward steps, p_1 and π, at 5 points")

    return sides


def _net(bench):
    r"""s(t, .) = grad log p_{t/\gamma}, indexed by time, on the chain's own grid; 60 steps."""
    return score.exact(bench.target, forward=kernel.euler_maruyama_marginals(grid.uniform(60 * bench.gamma, 60)))


def _index(bench):
    """A net indexed by the step, asked at k gamma: it answers for the step number k gamma."""
    k = 60
    x = bench.points(bench.law(k))
    by_step = bench.law(round(k * bench.gamma)).score(x)
    return Sides(by_step, bench.law(k).score(x), QUAD * (1 + np.abs(x)), "s(kγ, x) of a net with s(k, ·) = ∇ log p_k; ∇ log p_k; k = 60, γ = .1")


def _time(bench):
    net, times = _net(bench), grid.uniform(60 * bench.gamma, 60)
    steps = (60, 30, 6)
    x = bench.points(bench.law(60))
    found = [net(float(times[60 - k]), x) for k in steps]
    exact = [bench.law(k).score(x) for k in steps]
    return Sides(found, exact, 1e3 * QUAD * (1 + np.abs(exact)), "s(kγ, x) of a net indexed by time; ∇ log p_k; k = 60, 30, 6")


FORMULAS = (
    Formula(
        "001-F14", "001 L495, lines 1-3",
        "p_{k|k+1} = C_0 exp[-‖x_{k+1}-(1-γ)x_k‖²/(4γ)] p_k(x_k)/p_{k+1}(x_{k+1}) = C_1 exp[…] p_k(x_k)/p_k(x_{k+1})", "", "HOLDS", _bayes,
        note="C_1 = C_0 p_k(x_{k+1})/p_{k+1}(x_{k+1}) depends on x_{k+1} only",
    ),
    Formula(
        "001-F15", "001 L495, line 4; L501", "C_1 exp[-(‖x_{k+1}-(1-γ)x_k‖² + 4γ{log p_k(x_k) - log p_k(x_{k+1})})/(4γ)]",
        "C_1 exp[-(‖x_{k+1}-(1-γ)x_k‖² - 4γ{log p_k(x_k) - log p_k(x_{k+1})})/(4γ)]", "MISPRINT", _fourth_line(1), _fourth_line(-1), "misprint",
    ),
    Formula(
        "001-F16", "001 L505", "‖x_{k+1}-(1-γ)x_k‖² = ‖x_k-(1+γ)x_{k+1}‖² - 2γ‖x_{k+1}-x_k‖² + γ²{‖x_k‖²-‖x_{k+1}‖²}", "", "HOLDS", _square
    ),
    Formula(
        "001-F17", "001 L506", "Taylor: remainder ∫_0^1 ∇² log p_k((1-t)x_{k+1} + t x_k)(x_k-x_{k+1})^{⊗2} dt",
        "remainder ∫_0^1 (1-t) ∇² log p_k(…)(x_k-x_{k+1})^{⊗2} dt", "MISPRINT", _taylor(np.ones_like), _taylor(lambda t: 1 - t), "misprint",
    ),
    Formula(
        "001-F18", "001 L511", "|‖x_{k+1}-(1-γ)x_k‖² - ‖x_k-(1+γ)x_{k+1}‖²| ≤ 4Cγ² if ‖x_{k+1}-x_k‖² ≤ Cγ, ‖x‖ ≤ C", "… and Cγ ≤ 1", "CONVENTION",
        lambda bench: _swap(4.0, 0.5, 4.0 - math.sqrt(2.0), 4.0), lambda bench: _swap(*_triples(bench)), "convention",
        "printed: C = 4, γ = 1/2, x_{k+1} = 4, x_k = 4 - √2; corrected: states of the chain and 20000 random triples",
    ),
    Formula(
        "001-F19", "001 L512", "|log p_k(x_k) - log p_{k+1}(x_{k+1}) - ⟨∇ log p_k(x_{k+1}), x_k-x_{k+1}⟩| ≤ Dγ", "", "HOLDS", _first_order,
        note="log p_k(x_{k+1}) is what the chain needs; either way left/γ has a limit, so that a D exists",
    ),
    Formula(
        "001-F20", "001 L521",
        "p_{k|k+1} ≈ C_2 exp[-‖x_k-(1+γ)x_{k+1}‖²/(4γ) + ⟨∇ log p_k(x_{k+1}), x_k-x_{k+1}⟩] ≈ N(x_{k+1} + γ{x_{k+1} + 2∇ log p_k(x_{k+1})}, 2γ Id)",
        "", "HOLDS", _gaussian_step, note="the second ≈ is an equality after normalisation",
    ),
    Formula(
        "001-F30", "001 L534, L774, L787", "the discrete chain, ∇ log p_k at X_{k+1}, is the EM discretisation of the reverse SDE",
        "it is with ∇ log p_{k+1} at X_{k+1}; the two conventions differ by O(γ)", "CONVENTION", _same_chain, _one_step_apart, "convention",
    ),
    Formula(
        "001-F31", "001 L686, L698", "X_1 is approximately distributed as π", "X_1 ≈ p_1 = Law((1-γ)X_0 + √(2γ)Z), and X_0 ≈ π", "CONVENTION",
        _last_state("printed"), _last_state("corrected"), "convention",
        "an early stop one step before X_0; with exact backward steps, so that only the index shows",
    ),
    Formula(
        "001-F32", "001 L674, L684", "s(k, ·) ≈ ∇ log p_k, and the sampler evaluates s(kγ, X)",
        "s(kγ, ·) ≈ ∇ log p_k: indexed by time throughout", "CONVENTION",
        _index, _time, "convention",
    ),
)  # fmt: skip
