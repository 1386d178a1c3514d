r"""Note 003, L50-L122: nonequilibrium thermodynamics, the bound K and its parts, for the binomial and the Gaussian chain."""

import math
from functools import reduce

import numpy as np

from scoresde import Gaussian, Kernel, information, kullback_leibler

from .bits import STEPS, UNIFORM, bit_kernel, chain, exact_reverse, reversible_first
from .formula import Formula, Sides
from .numeric import ORDER, derivative, order
from .sums import agree, close, column, equal, fact, images, joint, mean_of, together

__all__ = ["FORMULAS", "central_term", "unit_size"]

BETA = 0.05


def _keep(beta):
    """The Gaussian step that keeps N(0, 1)."""
    return Kernel(math.sqrt(1 - beta), beta)


# F01
def _stationary(bench):
    k, x = _keep(0.17), column([-1.3, 0.2, 2.1])
    pairs = [
        (mean_of(Gaussian([0.0], 1.0), lambda y, z=z: np.exp(k.logpdf(np.full_like(y, z), y))), float(bench.noise.pdf(column(z))[0])) for z in x[:, 0]
    ]
    return together(
        equal(*pairs, what="integral of T(y|y') pi(y'), and pi(y), Gaussian"), close(UNIFORM @ bit_kernel(0.17), UNIFORM, "the same for two bits")
    )


# F02, F03
def _path_law(bench):
    c = chain(bench)
    q = c.q
    seen = [q.sum(axis=tuple(s for s in range(STEPS + 1) if s != t)) for t in range(STEPS + 1)]
    return close(
        [q.sum(), *np.concatenate(seen)], [1.0, *np.concatenate([c.data @ c.reach(t) for t in range(STEPS + 1)])], "1024 paths: sum, marginals"
    )


def _importance_form(bench):
    c = chain(bench)
    q, later = c.q, tuple(range(1, STEPS + 1))
    given = q / c.data.reshape(4, *(1,) * STEPS)
    ratio = UNIFORM
    for R, B in zip(c.decoder, c.forward, strict=True):  # rho(x_T) prod rho/q along (x_0, ..., x_T)
        ratio = ratio[..., None] * (R.T / B)
    return close([c.rho.sum(), *(given * ratio).sum(axis=later)], [1.0, *c.rho.sum(axis=later)], "sum of rho; rho(x_0), and its importance form")


# F04, F05, F49
def _jensen(bench):
    """E KL(q(x_1:T|x_0)|rho(x_1:T|x_0)) from normalised conditional laws."""
    c, later = chain(bench), tuple(range(1, STEPS + 1))
    lead = (4, *(1,) * STEPS)
    rho = c.rho / c.rho.sum(axis=later).reshape(lead)
    gap = (c.q * (np.log(c.q / c.data.reshape(lead)) - np.log(rho))).sum()
    return together(close(c.likelihood - c.bound, gap, "L - K, and the posterior gap", size=5.0), fact(gap > 0, what="K is below L"))


def _two_terms(bench):
    c = chain(bench)
    first = sum(c.step_term(t) for t in range(1, STEPS + 1))
    return close(c.bound, first + c.marginal(STEPS) @ np.log(UNIFORM), "K, and its two terms", size=5.0)


# F06, F08, F50
def unit_size(law):
    """The law scaled to E x^2 = 1."""
    return law.noised(Kernel(1 / math.sqrt(law.second_moment()), 0.0))


def _log_prior(law):
    r"""E_q \log\pi(x) = -H(q) - KL(q|\pi), \pi = N(0, 1)."""
    return -information.entropy(law) - kullback_leibler(law, Gaussian([0.0], 1.0))


def _is_minus_the_entropy(laws):
    def sides(bench):
        k = _keep(0.6)
        pairs = [(_log_prior(law.noised(k)), -information.entropy(bench.noise)) for law in laws(bench)]
        c = chain(bench)
        return together(
            equal(*pairs, what="E_q(x_T) log pi(x_T), and -H(pi)"), close(c.marginal(STEPS) @ np.log(UNIFORM), -math.log(4), "the same for two bits")
        )

    return sides


def central_term(law):
    r"""\int q(x_0, x_1) \log \pi(x_0)/\pi(x_1)."""
    return _log_prior(law) - _log_prior(law.noised(_keep(BETA)))


def _central(exact):
    def sides(bench):
        pairs = [(central_term(law), 0.5 * BETA * (1 - law.second_moment()) if exact else 0.0) for law in images(bench)]
        return equal(*pairs, what="integral of log pi(x_0)/pi(x_1)")

    return sides


# F07
def _detailed_balance(swapped):
    def sides(bench):
        k, pi = _keep(BETA), bench.noise
        x0 = bench.points(bench.target)
        x1 = k.m * x0 + math.sqrt(k.v) * column([0.7, -1.1, 0.4, 1.3, -0.5])
        left = np.exp(k.logpdf(x1, x0) + pi.logpdf(x0) - pi.logpdf(x1))
        right = np.exp(k.logpdf(x1, x0) if swapped else k.logpdf(x0, x1))
        B = bit_kernel(BETA)
        return together(
            close(left, right, "q(x1|x0) pi(x0)/pi(x1), and the kernel"), close(B * UNIFORM[:, None] / UNIFORM, B.T, "the same for two bits")
        )

    return sides


# F09 - F12, F14
def _without_the_centre(bench):
    c = reversible_first(chain(bench))
    return close(c.bound, sum(c.step_term(t) for t in range(2, STEPS + 1)) - math.log(4), "K, and the sum from t = 2 less H(x_T)", size=5.0)


def _bayes(bench):
    """The posterior from the path law, and the forward kernel given x_0 as well."""
    c, gaps = chain(bench), []
    for t in range(2, STEPS + 1):
        right = c.posterior(t) * c.reach(t)[:, None, :] / c.reach(t - 1)[:, :, None]
        gaps.append(np.broadcast_to(c.forward[t - 1], right.shape).reshape(-1) - right.reshape(-1))
    return close(np.concatenate(gaps), np.zeros(64 * (STEPS - 1)), "q(x_t|x_(t-1), x_0), and Bayes' formula, 192 triples", size=1.0)


def _telescope(bench):
    c = chain(bench)
    total = 0.0
    for t in range(2, STEPS + 1):
        law = c.marginal(0, t - 1, t)
        total += (law * (np.log(c.reach(t - 1))[:, :, None] - np.log(c.reach(t))[:, None, :])).sum()
    return close(total, c.conditional_entropy(STEPS) - c.conditional_entropy(1), "sum over t of E log q(x_(t-1)|x_0)/q(x_t|x_0)", size=5.0)


def _final_bound(sign):
    def sides(bench):
        c = reversible_first(chain(bench))
        divergences = sum(c.step_divergence(t) for t in range(2, STEPS + 1))
        right = sign * divergences + c.conditional_entropy(STEPS) - c.conditional_entropy(1) - math.log(4)
        return close(c.bound, right, "K from the paths, and by its terms", size=5.0)

    return sides


def _best_decoder(bench):
    """K gains exactly sum E KL(q(x_{t-1}|x_t)|rho(x_{t-1}|x_t)) when the decoder becomes the exact reverse chain; Gaussian terms in closed form."""
    c = chain(bench)
    best, gain = exact_reverse(c), 0.0
    for t in range(2, STEPS + 1):
        pair = c.marginal(t - 1, t)
        gain += (pair * (np.log(best.decoder[t - 1].T) - np.log(c.decoder[t - 1].T))).sum()
    k = _keep(BETA)
    entropy = information.entropy(Gaussian([k.m * bench.mean], k.v))
    return together(
        close(best.bound - c.bound, gain, "gain of K with the exact reverse chain", size=5.0),
        fact(gain > 0, what="it is a gain"),
        equal((entropy, -mean_of(Gaussian([0.0], k.v), Gaussian([0.0], k.v).logpdf)), what="H(x_1|x_0), closed and by quadrature"),
    )


# F13
def _definition(bench):
    ratio = mean_of(bench.target, lambda x: bench.target.logpdf(x) - bench.second.logpdf(x))
    return equal((kullback_leibler(bench.target, bench.second), ratio), what="KL(p|q), and E log p/q")


# F15
def _nearly_gaussian(bench):
    r"""The exact reverse law of a small step has skewness \beta^{3/2} c, c the third derivative of log p, and so KL = \beta^3 c^2/12 to the matched
    Gaussian; here where |c| is largest among 97 quantiles, for three steps. A Gaussian target has exactly Gaussian reverse steps."""
    curvature = lambda x: bench.target.score_jacobian(column(x))[:, 0, 0]  # noqa: E731
    x = bench.points(bench.target, np.linspace(0.02, 0.98, 97))[:, 0]
    third, _ = derivative(curvature, x, 0.01 * math.sqrt(bench.target.covs.min()))
    x = x[np.argmax(np.abs(third))]
    scale, found = 1 / max(abs(curvature(x)[0]), 1 / bench.target.covs.min(), 1.0), []
    for beta in scale * np.array([0.02, 0.01, 0.005]):
        k = _keep(beta)
        law = bench.target.given([k.m * x], np.array([[k.m]]), k.v)
        found.append(kullback_leibler(law, Gaussian(law.mean(), float(law.cov()[0, 0]))).value)
    if found[0] < 1e-10:  # too near a Gaussian for an order to be seen
        return Sides(found, 0.0, 1e-10, "KL(exact reverse|matched Gaussian)")
    return Sides(order(found), 3.0, ORDER, "order in beta at which KL(exact reverse|matched Gaussian) goes to 0")


# F16 - F18
def _erased_evenly(_):
    T, c = 10, reduce(np.matmul, [bit_kernel(1 / (10 - t + 1), bits=1) for t in range(1, 11)])
    signals = [reduce(np.matmul, [bit_kernel(1 / (T - s + 1), bits=1) for s in range(1, t + 1)]) for t in range(1, T + 1)]
    left = [m[0, 0] - m[1, 0] for m in signals]
    return together(
        close(left, [1 - t / T for t in range(1, T + 1)], "signal left after t of 10 steps, and 1 - t/10", size=1.0), close(c, np.full((2, 2), 0.5))
    )


def _frozen_noise(bench):
    r"""\frac{d}{d\beta} E\varphi(x_1) with \varphi = \cos(x/\ell): by differences of exact laws, and pathwise with \epsilon fixed."""
    at = 0.2
    length = math.sqrt(bench.target.noised(_keep(at)).cov()[0, 0])

    def mean_cosine(betas):
        return np.array([mean_of(bench.target.noised(_keep(b)), lambda x: np.cos(x[:, 0] / length)).value for b in betas])

    j = joint(bench.target, _keep(at))
    moves = -0.5 * j.x0 / math.sqrt(1 - at) + 0.5 * j.z / math.sqrt(at)
    pathwise = j.mean_of(-np.sin(j.x / length) / length * moves)
    found, error = derivative(mean_cosine, np.array([at]), 0.01)
    return agree(pathwise.value, (found, error + (pathwise.hi - pathwise.lo)), "derivative of E cos(x_1/l) in beta, pathwise and by differences")


def _multiplied(bench):
    r"""A reverse step N(\mu, v) times r(x) = N(c; x, w): exact mean, and \mu + v (\log r)'(\mu): they differ by v^2 (\mu - c)/(w (w + v)) exactly."""
    w, c, pairs = 0.5 * bench.var, bench.mean + bench.sd, []
    for mu in bench.points(bench.target)[:, 0]:
        for v in (1e-2 * w, 1e-4 * w):
            exact = float(Gaussian([mu], v).denoise(column(c), Kernel(1.0, w))[0, 0])
            pairs.append((exact, mu + v * (c - mu) / w, 2 * abs(mu - c) * (v / w) ** 2))
    exact, moved, error = np.array(pairs).T
    return Sides(exact, moved, error, "mean of N(mu, v) r, and mu + v (log r)'(mu), to within 2 |mu - c| (v/w)^2")


FORMULAS = (
    Formula("003-F01", "003 L50", "π(y) = ∫ T_π(y|y'; β) π(y') dy'", "", "HOLDS", _stationary),
    Formula("003-F02", "003 L54", "q(x^{0:T}) = q(x⁰) ∏ q(x^t|x^{t-1})", "", "HOLDS", _path_law),
    Formula("003-F03", "003 L66", "ρ(x⁰) = ∫ ρ(x^T) q(x^{1:T}|x⁰) ∏ ρ(x^{t-1}|x^t)/q(x^t|x^{t-1}) dx^{1:T}", "", "HOLDS", _importance_form),
    Formula("003-F04", "003 L78", "L = E log ρ(x⁰) ≥ K", "", "HOLDS", _jensen, note="L - K = E KL(q(x^{1:T}|x⁰)|ρ(x^{1:T}|x⁰))"),
    Formula("003-F05", "003 L82", "K split in two terms", "", "HOLDS", _two_terms),
    Formula(
        "003-F06", "003 L84", "∫ q(x^T) log π(x^T) = -H_ρ(x^T)", "… exact if E‖x^T‖² = d (or π is uniform); else minus a cross-entropy", "CONVENTION",
        _is_minus_the_entropy(images), _is_minus_the_entropy(lambda b: (unit_size(b.target),)), "convention",
    ),
    Formula(
        "003-F07", "003 L86", "ρ(x⁰|x¹) = q(x¹|x⁰) π(x⁰)/π(x¹) = T_π(x¹|x⁰; β₁)", "… = T_π(x⁰|x¹; β₁)", "MISPRINT", _detailed_balance(True),
        _detailed_balance(False), "misprint", "detailed balance; a symmetric kernel of bits does not see the difference",
    ),
    Formula(
        "003-F08", "003 L90", "∫ q(x⁰, x¹) log π(x⁰)/π(x¹) = 0, as the laws hardly differ", "… = ½β₁ (d - E‖x⁰‖²) for Gaussian π", "MISPRINT",
        _central(False), _central(True), "misprint", "0 if E‖x⁰‖² = d, and for binomial π",
    ),
    Formula(
        "003-F09", "003 L92", "K = Σ_{t≥2} ∫ q log ρ(x^{t-1}|x^t)/q(x^t|x^{t-1}) - H_ρ(x^T)", "", "HOLDS", _without_the_centre,
        note="binomial: F06, F08 exact",
    ),
    Formula("003-F10", "003 L96", "q(x^t|x^{t-1}, x⁰) = q(x^{t-1}|x^t, x⁰) q(x^t|x⁰)/q(x^{t-1}|x⁰)", "", "HOLDS", _bayes),
    Formula("003-F11", "003 L102", "the second logarithm telescopes to E[log q(x¹|x⁰) - log q(x^T|x⁰)]", "", "HOLDS", _telescope),
    Formula(
        "003-F12", "003 L108", "K = Σ_{t≥2} E KL(q(x^{t-1}|x^t, x⁰)|ρ) + H_q(x^T|x⁰) - H_q(x¹|x⁰) - H_ρ(x^T)",
        "K = - Σ_{t≥2} E KL(q(x^{t-1}|x^t, x⁰)|ρ) + H_q(x^T|x⁰) - H_q(x¹|x⁰) - H_ρ(x^T)", "MISPRINT", _final_bound(1), _final_bound(-1), "misprint",
    ),
    Formula("003-F13", "003 L112", "KL(q|ρ) = ∫ q log(q/ρ)", "", "HOLDS", _definition),
    Formula(
        "003-F14", "003 L114", "maximise K over ρ(x^{t-1}|x^t); entropies and divergences are analytic", "", "HOLDS", _best_decoder,
        note="the maximiser is q(x^{t-1}|x^t), not q(x^{t-1}|x^t, x⁰)",
    ),
    Formula(
        "003-F15", "003 L62", "for small β the reverse kernel has the forward kernel's form", "", "HOLDS", _nearly_gaussian, note="KL of order β³",
    ),
    Formula("003-F16", "003 L120", "binomial β_t = 1/(T - t + 1)", "", "HOLDS", _erased_evenly, note="each step erases 1/T of the signal"),
    Formula(
        "003-F17", "003 L120", "frozen noise: x^t as a function of β with ε fixed", "", "HOLDS", _frozen_noise,
        note="Gaussian steps; not binomial ones",
    ),
    Formula(
        "003-F18", "003 L122", "ρ̃ ∝ ρ r: r as a small perturbation of each step", "", "HOLDS", _multiplied, note="first order: μ + Σ ∇ log r(μ)",
    ),
)  # fmt: skip
