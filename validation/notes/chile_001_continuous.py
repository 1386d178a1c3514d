r"""Slides "Modelos Generativos", part 5: the Ornstein-Uhlenbeck process dX = -X dt + \sqrt2 dB, its generator, its convergence, its reversal."""

import math

import numpy as np

from scoresde import (
    Product,
    grid,
    information,
    kullback_leibler,
    ornstein_uhlenbeck,
    propagate,
    scheme,
    score,
    standard_normal,
    total_variation,
    wasserstein2,
)

from .formula import Formula, Sides
from .numeric import QUAD, derivative

TIMES = (0.25, 0.5, 1.0, 2.0)
STEP = 2.0**-6  # of derivatives in time: its fourth power is 6e-8


def _generator(transposed):
    r"""d/dh E f(x + b h + \sqrt h \sigma Z) at h = 0 for f = x1^2 + 3 x1 x2 + x2^3, b = -x, against <b, grad f> + <Sigma, Hess f>/2."""

    def sides(bench):
        sigma = np.array([[1.0, 0.8], [0.0, 0.5]])
        x = np.array([bench.mean, bench.mean + bench.sd])
        z, w = bench.hermite(4)
        noise, weight = np.stack(np.meshgrid(z, z, indexing="ij"), -1).reshape(-1, 2) @ sigma.T, np.outer(w, w).ravel()

        def mean(h):  # a polynomial of degree 3 in h
            y1, y2 = (x * (1 - h) + math.sqrt(h) * noise).T
            return weight @ (y1**2 + 3 * y1 * y2 + y2**3)

        h = 0.25 * np.arange(4)
        found = np.polynomial.polynomial.polyfit(h, [mean(u) for u in h], 3)[1]
        Sigma = sigma.T @ sigma if transposed else sigma @ sigma.T
        gradient, hessian = np.array([2 * x[0] + 3 * x[1], 3 * x[0] + 3 * x[1] ** 2]), np.array([[2, 3], [3, 6 * x[1]]])
        exact = -x @ gradient + 0.5 * np.sum(Sigma * hessian)
        return Sides(exact, found, QUAD * (1 + float(np.abs(x).max()) ** 3) * 10, "⟨b, ∇f⟩ + ½⟨Σ, ∇²f⟩, d/dh E f(X_h)")

    return sides


def _infinitesimal(bench):
    """E[A f(X_t)] = E[-x f' + f''] for f = x^4 and f = cos x, against d/dt E f(X_t)."""
    t = 0.5
    tests = [(lambda x: x**4, lambda x: -4 * x**4 + 12 * x**2), (np.cos, lambda x: x * np.sin(x) - np.cos(x))]
    found = [bench.expectation(bench.ou(t), lambda x, g=g: g(x[:, 0])) for _, g in tests]
    exact, error = zip(
        *(derivative(lambda u, f=f: bench.expectation(bench.ou(u), lambda x: f(x[:, 0])), t, STEP, QUAD) for f, _ in tests), strict=True
    )
    return Sides(found, exact, np.array(error) + QUAD * np.abs(found), "E[A f(X_t)], d/dt E f(X_t), for x⁴ and cos x")


def _martingale(bench):
    r"""E[f(t, X_t) - f(s, X_s) | X_s = x] against E \int_s^t (d_u f + A f)(X_u) du for f(t, x) = t x^3 + x^4, at 5 x."""
    s, t = 0.3, 1.1
    x = bench.points(bench.ou(s))
    z, w = bench.hermite(8)
    u, du = np.polynomial.legendre.leggauss(24)
    u, du = s + 0.5 * (t - s) * (u + 1), 0.5 * (t - s) * du

    def given(time, f):
        k = ornstein_uhlenbeck(time - s)
        return f(k.m * x + math.sqrt(k.v) * z) @ w

    drift = sum(b * given(a, lambda y, a=a: y**3 - y * (3 * a * y**2 + 4 * y**3) + 6 * a * y + 12 * y**2) for a, b in zip(u, du, strict=True))
    change = given(t, lambda y: t * y**3 + y**4) - (s * x**3 + x**4)[:, 0]
    return Sides(change, drift, QUAD * (1 + x[:, 0] ** 4) * 100, "E[f(t, X_t) - f(s, X_s) | X_s], E of the integral, at 5 X_s")


def _covariance(bench, s, t, noise):
    """Cov(X_s, X_t) of e^{-t} X_0 + a martingale part with covariance ``noise``."""
    return math.exp(-s - t) * bench.var + noise


def _path(noise, what):
    def sides(bench):
        pairs = ((0.4, 1.1), (0.1, 2.0), (1.0, 1.2), (0.7, 0.7))
        found = [_covariance(bench, s, t, noise(s, t)) for s, t in pairs]
        exact = [ornstein_uhlenbeck(t - s).m * float(bench.ou(s).cov()[0, 0]) for s, t in pairs]
        return Sides(found, exact, QUAD * (1 + bench.var), what)

    return sides


def _strong(bench):
    r"""The moments of X_t = X_0 + \int b ds + \int \sigma dB: E X_t = E X_0 - \int E X_s ds, E X_t^2 = E X_0^2 + \int (2 - 2 E X_s^2) ds."""
    u, w = np.polynomial.legendre.leggauss(24)
    found, exact = [], []
    for t in TIMES:
        times, weights = 0.5 * t * (u + 1), 0.5 * t * w
        laws = [bench.ou(float(s)) for s in times]
        found += [float(bench.ou(t).mean()[0]), bench.ou(t).second_moment()]
        exact += [bench.mean - weights @ [float(law.mean()[0]) for law in laws]]
        exact += [bench.target.second_moment() + weights @ [2 - 2 * law.second_moment() for law in laws]]
    return Sides(found, exact, QUAD * (1 + bench.target.second_moment()), "E X_t, E X_t² of the kernel, of the integral equation, at 4 times")


def _wasserstein(bench):
    left, right = [], []
    for d in (1, 3):
        law = bench.target if d == 1 else Product([bench.target] * d)
        for t in (0.0, *TIMES):
            k = ornstein_uhlenbeck(t)
            left.append(wasserstein2(law if t == 0 else law.noised(k), standard_normal(d)).hi)
            right.append(k.m * (math.sqrt(law.second_moment()) + math.sqrt(d)))
    return Sides(left, right, QUAD * np.array(right), "W2(L(X_t), N), e^-t {E^½|X_0|² + √d}, for d = 1, 3 at 5 times", "<=")


def _entropy_decay(bench):
    first = kullback_leibler(bench.target, bench.noise)
    found = [kullback_leibler(bench.ou(t), bench.noise) for t in TIMES]
    tv = [total_variation(bench.ou(t), bench.noise) for t in TIMES]
    left = [e.lo for e in (*found, *tv)]
    right = [*(math.exp(-2 * t) * first.hi for t in TIMES), *(math.exp(-t) * math.sqrt(first.hi / 2) for t in TIMES)]
    return Sides(left, right, QUAD, "KL(p_t|N), TV(p_t, N); e^-2t KL_0, e^-t √(KL_0/2), at 4 times", "<=")


def _de_bruijn(bench):
    found, errors = zip(
        *(derivative(lambda u: kullback_leibler(bench.ou(u), bench.noise).value, t, STEP, QUAD) for t in (0.3, 0.7, 1.5)), strict=True
    )
    exact = [information.relative_fisher(bench.target, t) for t in (0.3, 0.7, 1.5)]
    error = np.array(errors) + [e.width for e in exact]
    return Sides(found, [-e.value for e in exact], error + QUAD * 10, "d/dt KL(p_t|N), -I(p_t|N), at 3 times")


def _dimension(bench):
    """W2(L(X_t), N) in d = 1 and d = 100 (independent coordinates), at t = 1, 2."""
    times = (1.0, 2.0)
    one = [wasserstein2(bench.ou(t), bench.noise).value for t in times]
    law = Product([bench.target] * 100)
    many = [wasserstein2(law.noised(ornstein_uhlenbeck(t)), standard_normal(100)).value for t in times]
    return np.array(one), np.array(many)


def _free(bench):
    one, many = _dimension(bench)
    return Sides(many, one, 1e4 * QUAD * many, "W2(L(X_t), N) in d = 100, in d = 1, at t = 1, 2")


def _prefactor(bench):
    one, many = _dimension(bench)
    left, right = [*many, many[1] / many[0]], [*(10 * one), one[1] / one[0]]
    return Sides(left, right, 1e4 * QUAD * np.abs(right), "W2 in d = 100, 10 W2 in d = 1, at t = 1, 2; the ratios of the two times")


def _reversal(bench):
    """The Fokker-Planck equation of dY = {Y + 2 grad log p} dt + sqrt2 dB for the law p_{T-t}: -d/dt log p_t = -1 - y s - s' - s^2."""
    found, exact, errors = [], [], []
    for t in (0.3, 0.8):
        p = bench.ou(t)
        y = bench.points(p)
        s, ds = p.score(y)[:, 0], p.score_jacobian(y)[:, 0, 0]
        value, error = derivative(lambda u, y=y: bench.ou(u).logpdf(y), t, STEP / 4, 1e-14)
        # -(b p)' / p + p'' / p with b = y + 2 s, p' = s p, p'' = (s' + s^2) p
        exact.append(-(1 + 2 * ds) - (y[:, 0] + 2 * s) * s + ds + s * s)
        found.append(-value)
        errors.append(error)
    return Sides(found, exact, errors, "-d/dt log p_t, the reverse SDE's Fokker-Planck operator on p_t over p_t, at 10 points")


def _start(bench):
    r"""Started from N(0, 1) or from p_T: the outputs differ by at most TV(p_T, N), which is at most e^{-T} \sqrt{KL_0/2}."""
    s, left, right = score.exact(bench.target), [], []
    entropy = math.sqrt(kullback_leibler(bench.target, bench.noise).hi / 2)
    for T in (1.0, 2.0, 4.0):
        table = scheme.euler_maruyama(grid.uniform(T, h=0.05))
        outputs = total_variation(propagate(table, s), propagate(table, s, start=bench.ou(T)))
        initial = total_variation(bench.ou(T), bench.noise)
        left += [outputs.lo, initial.lo]
        right += [initial.hi, math.exp(-T) * entropy]
    return Sides(left, right, QUAD, "TV of the outputs, TV(p_T, N); TV(p_T, N), e^-T √(KL_0/2); T = 1, 2, 4", "<=")


FORMULAS = (
    Formula(
        "001-F34", "001 L725", "A f = ⟨b, ∇f⟩ + ½⟨Σ, ∇²f⟩, Σ = σᵀσ", "… Σ = σσᵀ", "MISPRINT", _generator(True), _generator(False), "misprint",
        "for σ of shape (d, m) the printed product has the wrong shape; equal for symmetric σ, such as √2 Id",
    ),
    Formula("001-F35", "001 L725", "E[A(t, f)(X_t)] = lim (E f(X_{t+h}) - E f(X_t))/h", "", "HOLDS", _infinitesimal, note="f not depending on t"),
    Formula("001-F36", "001 L729", "M_t = f(t, X_t) - f(0, X_0) - ∫_0^t (∂_s f + A(s, f))(X_s) ds is a martingale", "", "HOLDS", _martingale),
    Formula(
        "001-F37", "001 L736", "X_t = e^{-t} X_0 + B_{1-e^{-2t}}", "X_t = e^{-t} (X_0 + B_{e^{2t}-1})", "CONVENTION",
        _path(lambda s, t: -math.expm1(-2 * min(s, t)), "Cov(X_s, X_t) as printed, of OU, at 4 pairs of times"),
        _path(lambda s, t: math.exp(-s - t) * math.expm1(2 * min(s, t)), "Cov(X_s, X_t) of e^-t (X_0 + B), of OU, at 4 pairs of times"),
        "convention", "printed: right at each time, not as a process",
    ),
    Formula("001-F38", "001 L745", "W_2(L(X_t), μ_Z) ≤ e^{-t} {E^{1/2}‖X_0‖² + d^{1/2}}", "", "HOLDS", _wasserstein),
    Formula(
        "001-F39", "001 L746", "by the log-Sobolev inequality of μ_Z, KL(L(X_t)|μ_Z) is controlled", "", "HOLDS", _entropy_decay,
        note="rate not printed: KL_t ≤ e^{-2t} KL_0, hence TV ≤ e^{-t} √(KL_0/2)",
    ),
    Formula(
        "001-F39b", "001 L746", "d/dt KL(p_t|μ_Z) = -I(p_t|μ_Z)", "", "HOLDS", _de_bruijn,
        note="not printed: what the log-Sobolev inequality is used with",
    ),
    Formula(
        "001-F40", "001 L747", "geometric rates of convergence, independent of the dimension",
        "the exponent is; the prefactor grows as d^{1/2}", "IMPRECISE",
        _free, _prefactor, "qualifier", "d = 100 against d = 1",
    ),
    Formula("001-F41", "001 L760", "dY_t = {Y_t + 2∇ log p_{T-t}(Y_t)} dt + √2 dB_t reverses X", "", "HOLDS", _reversal, note="needs Y_0 ~ p_T"),
    Formula("001-F42", "001 L752-760, L796", "Y_0 ~ μ_Z in place of p_T", "", "HOLDS", _start, note="the bias is at most of order e^{-T}"),
    Formula(
        "001-F54", "001 L712", "X_t = X_0 + ∫_0^t b(s, X_s) ds + ∫_0^t σ(s, X_s) dB_s", "", "HOLDS", _strong,
        note="a definition: OU satisfies it",
    ),
)  # fmt: skip
