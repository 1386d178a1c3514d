r"""Slides "Modelos Generativos", part 4: score matching, denoising (DSM) and implicit (ISM), for p_k and p_{k|0} of the Euler-Maruyama chain."""

import numpy as np

from scoresde import Gaussian, fisher_divergence, information

from .formula import Formula, Sides
from .numeric import QUAD


def _mean(bench, k, f):
    """E f(X_k, X_0) on the joint rule, f(x (n, 1, 1), x0 (1, n0, 1)) -> (n, n0) or what broadcasts to it."""
    x, x0, w = bench.joint(k)
    return float(np.sum(w * f(x[:, None, :], x0[None, :, :])))


def _target(bench, k):
    """grad log p_{k|0}(x|x0) on the joint rule."""
    chain = bench.chain(k)
    return lambda x, x0: chain.score(x, x0)[..., 0]


def _dsm(bench, k, f):
    """DSM_k(f), f : (n, 1) -> (n,)."""
    target = _target(bench, k)
    return _mean(bench, k, lambda x, x0: (f(x[:, 0])[:, None] - target(x, x0)) ** 2)


def _ism(bench, k, f, slope):
    """E[f^2/2 + div f] under p_k."""
    return bench.expectation(bench.law(k), lambda x: 0.5 * f(x) ** 2 + slope(x))


def _score(law):
    return lambda x: law.score(x)[:, 0]


def _slope(law):
    return lambda x: law.score_jacobian(x)[:, 0, 0]


def _trial(bench):
    """A smooth f that is no score of the target, and f'."""
    a, b, c = -0.4, 0.9, 1.3 / max(bench.sd, 1.0)
    return lambda x: a * x[:, 0] + b * np.tanh(c * x[:, 0] - 0.2), lambda x: a + b * c / np.cosh(c * x[:, 0] - 0.2) ** 2


def _conditional_mean(bench):
    r"""\int grad log p_{k|0}(x|x0) p_{0|k}(x0|x) dx0 against the score; and Tweedie's x0 = (x + \sigma_k^2 score)/m_k against E[X_0|x]."""
    k, chain, law = bench.k, bench.chain(bench.k), bench.law(bench.k)
    found, exact = [], []
    for x in bench.points(law):
        posterior = bench.target.given(x, [[chain.m]], chain.v)
        x0 = bench.expectation(posterior, lambda y: y[:, 0])
        found += [bench.expectation(posterior, lambda y, x=x: chain.score(x, y)[:, 0]), x0]
        s = law.score(x)
        exact += [float(s[0]), float((x + chain.v * s)[0] / chain.m)]
    return Sides(found, exact, QUAD * (1 + np.abs(exact)) / chain.v, f"E[∇ log p_({k}|0) | x], E[X_0|x]; score, (x + σ² score)/m; at 5 points")


def _minimiser(bench):
    r"""DSM(score) = 1/\sigma_k^2 - I(p_k), the conditional variance that is left; DSM(score + g) exceeds it by E g^2 for six g."""
    k, law, v = bench.k, bench.law(bench.k), bench.chain(bench.k).v
    s, least = _score(law), 1 / v - information.fisher(law).value
    found, exact = [_dsm(bench, k, s)], [least]
    for a, c in ((0.1, 0.0), (0.3, 0.8), (1.0, 1.7), (-0.2, 3.0), (0.7, 0.3), (-1.0, 0.6)):
        g = lambda x, a=a, c=c: a * np.cos(c * x[:, 0] + 0.3)  # noqa: E731
        found.append(_dsm(bench, k, lambda x, g=g: s(x) + g(x)))
        exact.append(least + bench.expectation(law, lambda x, g=g: g(x) ** 2))
    return Sides(found, exact, QUAD * (1 / v + np.array(exact)), "DSM of the score and of six others; 1/σ² - I(p_k) + E g²")


def _indices(ks):
    r"""DSM_k(score) against 1/\sigma_k^2 - I(p_k); NaN where p_{k|0} has no density, so that the loss does not exist."""

    def sides(bench):
        found, exact = [], []
        for k in ks:
            try:
                found.append(_dsm(bench, k, _score(bench.law(k))))
            except ValueError:  # a kernel without noise has no density, hence no gradient to match
                found.append(np.nan)
            with np.errstate(divide="ignore"):
                exact.append(np.divide(1.0, abs(bench.chain(k).v)) - information.fisher(bench.law(k)).value)
        scale = [1 / bench.chain(k).v if k else 1.0 for k in ks]
        return Sides(found, exact, 10 * QUAD * np.array(scale), f"DSM_k(∇ log p_k), 1/σ_k² - I(p_k), for k = {', '.join(map(str, ks))}")

    return sides


def _expanded(bench):
    """DSM(f) against E[f^2 + 2 div f] + E|grad log p_{k|0}|^2."""
    k, (f, slope) = bench.k, _trial(bench)
    target = _target(bench, k)
    left = _dsm(bench, k, f)
    size = _mean(bench, k, lambda x, x0: target(x, x0) ** 2)
    right = 2 * _ism(bench, k, f, slope) + size
    return Sides(left, right, QUAD * (left + 3 * size + 3), "DSM(f), right side")


def _by_parts(bench):
    """Given X_0 = x0, at 5 x0."""
    chain, (f, slope) = bench.chain(bench.k), _trial(bench)
    left, right = [], []
    for x0 in bench.points(bench.target):
        law = Gaussian(chain.m * x0, chain.v)
        left.append(bench.expectation(law, lambda x, x0=x0: f(x) * chain.score(x, x0[None, :])[:, 0]))
        right.append(-bench.expectation(law, slope))
    return Sides(left, right, QUAD * (3 + np.abs(bench.points(bench.target)[:, 0])), "E[f ∇ log p_(k|0) | X_0], -E[f' | X_0], at 5 X_0")


def _implicit(bench):
    r"""ISM(score) = -I(p_k)/2, and ISM(f) - ISM(score) = half the Fisher divergence for f the score of another law."""
    k, p, q = bench.k, bench.law(bench.k), bench.second.noised(bench.chain(bench.k))
    fisher = information.fisher(p)
    least, other = _ism(bench, k, _score(p), _slope(p)), _ism(bench, k, _score(q), _slope(q))
    gap = fisher_divergence(p, q)
    f, slope = _trial(bench)
    trial = bench.expectation(p, lambda x: (f(x) - _score(p)(x)) ** 2)
    right = [-0.5 * fisher.value, 0.5 * gap.value, 0.5 * trial]
    error = QUAD * (1 + fisher.value) + fisher.width + gap.width
    return Sides(
        [least, other - least, _ism(bench, k, f, slope) - least], right, error, "ISM(score), ISM(f) - ISM(score) for two f; -I/2, E|f - score|²/2"
    )


FORMULAS = (
    Formula("001-F21", "001 L554", "∇ log p_k(x_k) = E[∇ log p_{k|0}(x_k|X_0) | X_k = x_k]", "", "HOLDS", _conditional_mean),
    Formula("001-F22", "001 L574-578, L598", "∇ log p_k = argmin {E‖f(X_k) - ∇ log p_{k|0}(X_k|X_0)‖² : f ∈ L²(p_k)}", "", "HOLDS", _minimiser),
    Formula(
        "001-F23", "001 L592", "… valid for all k ∈ {0, …, N-1}", "… for all k ∈ {1, …, N}", "MISPRINT",
        _indices((0, 1, 5)), _indices((1, 5, 6)), "misprint", "p_{0|0} is a point mass: σ_0 = 0, the target -Ẑ/σ_0 is infinite",
    ),
    Formula("001-F27", "001 L620-626", "E‖f - ∇ log p_{k|0}‖² = E[‖f‖² + 2 div f] + E‖∇ log p_{k|0}‖²", "", "HOLDS", _expanded),
    Formula("001-F28", "001 L622", "E[⟨f, ∇ log p_{k|0}⟩ | X_0] = -E[div f | X_0]", "", "HOLDS", _by_parts),
    Formula(
        "001-F29", "001 L628, L636", "∇ log p_k = argmin E[½‖f‖² + div f]", "", "HOLDS", _implicit,
        note="over f with a divergence, not all of L²(p_k); DSM = 2 ISM + constant, so equal λ_k weigh the two losses by a factor 2",
    ),
)  # fmt: skip
