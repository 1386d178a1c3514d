r"""Adversarial training of a generator: what the best discriminator attains, what that says about the generator, and averaged iterates."""

import math

import numpy as np

from ..divergence import jensen_shannon, total_variation
from ..divergence.panels import integrate
from ..divergence.view import view
from ..enclosure import Enclosure
from ..errors import NoMethod
from ..laws import Empirical, Gaussian
from .claim import Statement, claim_over, states
from .numeric import EPS, about, at_most, equal, exists, flow, mutated, needs, slow, unmet

__all__ = ["exponential_moving_average", "goodfellow_2014_discriminator", "goodfellow_2014_minimum", "lin_1991_jensen_shannon"]

MOMENT = r"E|X|^2 finite"
LN2 = Enclosure.near(math.log(2.0), EPS, method="closed form")


# ---- generators, and expectations under a pair of laws -----------------------------------------------------------------------------------


def _generators(target, quick):
    r"""{name: \mu}: laws a generator might have. The first is never \pi, and its density ratio to \pi takes values other than 0, 1, \infty."""
    if hasattr(target, "points"):  # \pi and one more point, half each, so that \pi has a density with respect to \mu
        far = target.points.max(axis=0) + 1.0
        weights = [0.5 * target.weights, 0.9 * target.weights]
        return {f"{1 - w.sum():.1g} on one more point": Empirical(np.vstack([target.points, far]), np.append(w, 1 - w.sum())) for w in weights}
    mean, variance = target.mean(), float(target.cov()[0, 0])
    found = {"N(mean + sd, variance)": Gaussian(mean + math.sqrt(variance), variance), "N(mean, 2 variance)": Gaussian(mean, 2 * variance)}
    return found if quick or slow(target) else found | {"p_0.3": flow(target, 0.3), "p_0.02": flow(target, 0.02)}


def _integral(p, q, f):
    r"""\int f(\log p, \log q, x), f of arrays: over the line, or (two laws on the same points) as a sum."""
    if hasattr(p, "points"):
        with np.errstate(divide="ignore"):
            found = f(*(np.log(np.append(w, [0.0] * (len(q.points) - len(w)))) for w in (p.weights, q.weights)), q.points[:, 0])
        value, error = float(np.sum(found)), 8 * EPS * float(np.sum(np.abs(found)))
    else:
        first, second = view(p), view(q)
        edges = np.union1d(first.edges, second.edges)
        g = lambda x, _: f(first.logpdf(x), second.logpdf(x), x)[None]  # noqa: E731
        value, error = integrate(g, edges[:-1], edges[1:], watch=1, tolerance=1e-13, rounds=14).total()
    return Enclosure.near(value, error + p.error + q.error + 64 * EPS * (1 + abs(value)), method="quadrature")


def _softplus(x):
    return np.logaddexp(0.0, x)


def _times(weight, x):
    """weight x, and 0 where the weight is."""
    return weight * np.where(weight > 0, x, 0.0)


def _value(p, q, tilt):
    r"""V(D) = E_\pi \log D + E_\mu \log(1 - D), D = \sigma(tilt(\ell, x)), \ell = \log\pi/\mu the best logit."""

    def f(a, b, x):
        logit = tilt(_log_ratio(a, b), x)
        return -_times(np.exp(a), _softplus(-logit)) - _times(np.exp(b), _softplus(logit))

    return _integral(p, q, f)


def _loss(p, q, tilt):
    r"""\int (\pi + \mu) kl(D^* | D), kl the divergence of two coins."""

    def f(a, b, x):
        best = _log_ratio(a, b)
        with np.errstate(invalid="ignore"):
            logit = tilt(best, x)
            heads, tails = _softplus(-logit) - _softplus(-best), _softplus(logit) - _softplus(best)
        return _times(np.exp(a), np.where(np.isfinite(heads), heads, 0.0)) + _times(np.exp(b), np.where(np.isfinite(tails), tails, 0.0))

    return _integral(p, q, f)


def _log_ratio(a, b):
    """a - b, and 0 where both densities vanish."""
    return np.where(np.isneginf(a) & np.isneginf(b), 0.0, np.subtract(a, np.where(np.isneginf(a) & np.isneginf(b), 0.0, b)))


def _usable(theorem, target, relation):
    """(not applicable or None, the keywords of the claim) for laws with two moments on the line, or on points."""
    needs(target, "mean", "cov")
    points = hasattr(target, "points")
    what = about(theorem, (MOMENT, points or exists(target.second_moment)))
    if target.dim != 1 and not points:
        raise NoMethod(f"{theorem.__name__}: got dimension {target.dim}, allowed is 1: the discriminator's value is an integral on the line")
    return unmet(what, relation), what


# ---- F1 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "F1", "best discriminator: V(D*) = 2 JS(π, μ) − 2 ln 2", "Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 4.1",
    r"V(D) = E_\pi\log D+E_\mu\log(1-D) = 2JS(\pi,\mu)-2\ln2-\int(\pi+\mu)\,kl(D^*|D),\qquad D^* = \frac{\pi}{\pi+\mu}",
    (MOMENT,),
    caveat="JS is the half-sum, in [0, ln 2]: notes that print JS − 2 ln 2 mean KL(π‖m) + KL(μ‖m). D* is unique where π + μ has mass, and as V is"
    " concave a randomised discriminator does no better than its mean",
))  # fmt: skip
def goodfellow_2014_discriminator(target, *, quick=False):
    r"""V(D) = 2 JS(\pi,\mu) - 2 \ln 2 - \int (\pi+\mu) kl(D^*|D): the best discriminator's value, and what any other one loses.

    Cells: several generators \mu and discriminators; V(D) is integrated as it is defined, JS comes from its own quadrature. Control:
    V(D^*) = JS - 2 \ln 2 with the half-sum JS.
    """
    theorem = goodfellow_2014_discriminator
    refusal, what = _usable(theorem, target, "=")
    if refusal is not None:
        return refusal
    cells, wrong, terms = [], [], {}
    centre, sd = float(target.mean()[0]), math.sqrt(float(target.cov()[0, 0])) or 1.0
    players = {
        "D*": lambda best, x: best, "1/2": lambda best, x: np.zeros_like(best), "logit D* + 1": lambda best, x: best + 1.0,
        "logit D* + sin": lambda best, x: best + np.sin((x - centre) / sd),
    }  # fmt: skip
    for name, mu in _generators(target, quick).items():
        js = jensen_shannon(target, mu)
        for player, tilt in players.items():
            at = {"μ": name, "D": player}
            value, lost = _value(target, mu, tilt), _loss(target, mu, tilt) if player != "D*" else 0.0
            cells.append(equal(value, 2 * js - 2 * LN2 - lost, digits=8, floor=1.0, name="V", parameters=at))
            if player == "D*":
                terms[f"V(D*), μ = {name}"] = value
                wrong.append(equal(value, js - 2 * LN2, digits=8, floor=1.0, name="V", parameters=at))
    control = claim_over(wrong[:1], **mutated(theorem, r"V(D^*) = JS(\pi,\mu)-2\ln2,\ JS\in[0,\ln2]"))
    return claim_over(cells, control=control, terms=terms, **what)


# ---- F2 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "F2", "the generator's minimum: V(D*) ≥ −ln 4, and only at μ = π", "Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, Theorem 1",
    r"-\ln4+TV(\pi,\mu)^2 \le V(D^*_\mu) \le 0,\qquad V(D^*_\pi) = -\ln4", (MOMENT,),
    caveat="the first inequality, from JS ≥ TV²/2, makes “only at μ = π” quantitative; V = 0 for mutually singular laws, and then has no gradient",
))  # fmt: skip
def goodfellow_2014_minimum(target, *, quick=False):
    r"""-\ln 4 + TV^2 <= V(D^*_\mu) <= 0, with V = -\ln 4 at \mu = \pi.

    Cells: several generators, and \mu = \pi, where V is bounded from both sides. Control: a minimum of -\ln 2 (one expectation forgotten).
    """
    theorem = goodfellow_2014_minimum
    refusal, what = _usable(theorem, target, "<=")
    if refusal is not None:
        return refusal
    best = lambda logit, x: logit  # noqa: E731
    cells, terms = [], {}
    for name, mu in _generators(target, quick).items():
        value, tv = _value(target, mu, best), total_variation(target, mu)
        terms[f"V(D*), μ = {name}"] = value
        cells.append(at_most(tv * tv - 2 * LN2, value, name="V", parameters={"of": "−ln 4 + TV² ≤ V", "μ": name}))
        cells.append(at_most(value, 0.0, name="V", parameters={"of": "V ≤ 0", "μ": name}))
    own = _value(target, target, best)
    cells.append(at_most(own, -2.0 * LN2, name="V", parameters={"of": "V ≤ −ln 4", "μ": "π"}))
    cells.append(at_most(-2.0 * LN2, own, name="V", parameters={"of": "−ln 4 ≤ V", "μ": "π"}))
    wrong = [at_most(-1.0 * LN2, own, name="V", parameters={"of": "−ln 2 ≤ V", "μ": "π"})]
    control = claim_over(wrong, **mutated(theorem, r"V(D^*_\mu) \ge -\ln2"))
    return claim_over(cells, control=control, terms={"V(D*), μ = π": own, **terms}, **what)


# ---- F3 ----------------------------------------------------------------------------------------------------------------------------------


def envelope(t):
    r"""\frac12[(1+t)\ln(1+t) + (1-t)\ln(1-t)], t in [0, 1]: the least JS of two laws at total variation t, which two coins attain."""
    return 0.5 * ((1 + t) * math.log1p(t) + ((1 - t) * math.log1p(-t) if t < 1 else 0.0))


@states(Statement(
    "F3", "Jensen–Shannon between the envelopes of total variation", "Lin 1991, https://doi.org/10.1109/18.61115 (upper bound); lower: two coins",
    r"\tfrac12t^2 \le \tfrac12[(1+t)\ln(1+t)+(1-t)\ln(1-t)] \le JS(\pi,\mu) \le t\ln2,\qquad t = TV(\pi,\mu)", (MOMENT,),
    caveat="both envelopes are attained at every t: by the coins (1 ± t)/2, and by laws that share the mass 1 − t and are singular otherwise",
))  # fmt: skip
def lin_1991_jensen_shannon(target, *, quick=False):
    r"""½[(1+t) \ln(1+t) + (1-t) \ln(1-t)] <= JS(\pi,\mu) <= t \ln 2, t = TV(\pi,\mu).

    Cells: several generators; and that both ends are attained (by laws on two and three points), as inequalities the other way round.
    Control: JS >= t \ln 2, which holds for no pair with a density ratio other than 0, 1 and \infty.
    """
    theorem = lin_1991_jensen_shannon
    refusal, what = _usable(theorem, target, "<=")
    if refusal is not None:
        return refusal
    cells, wrong, terms = [], [], {}
    for name, mu in _generators(target, quick).items():
        js, t = jensen_shannon(target, mu), total_variation(target, mu)
        lo, hi = envelope(max(t.lo, 0.0)) - 4 * EPS, envelope(min(t.hi, 1.0)) + 4 * EPS
        least = Enclosure(lo, hi, t.level, t.alpha, method="increasing in TV").cut(0.0)
        cells.append(at_most(least, js, name="JS", parameters={"of": "lower", "μ": name}))
        cells.append(at_most(0.5 * t * t, least, name="JS", parameters={"of": "TV²/2 ≤ lower", "μ": name}))
        cells.append(at_most(js, LN2 * t, name="JS", parameters={"of": "upper", "μ": name}))
        wrong.append(at_most(LN2 * t, js, name="JS", parameters={"of": "t ln 2 ≤ JS", "μ": name}))
        terms |= {f"JS, μ = {name}": js, f"TV, μ = {name}": t}
    for t in (0.1, 0.5, 0.9):
        coins = [Empirical([[0.0], [1.0]], [0.5 + s * t / 2, 0.5 - s * t / 2]) for s in (1, -1)]
        apart = [Empirical([[0.0], [1.0], [2.0]], w) for w in ([1 - t, t, 0.0], [1 - t, 0.0, t])]
        least = Enclosure.near(envelope(t), 8 * EPS, method="closed form")
        cells.append(at_most(jensen_shannon(*coins), least, name="JS", parameters={"of": "lower attained", "TV": t}))
        cells.append(at_most(t * LN2, jensen_shannon(*apart), name="JS", parameters={"of": "upper attained", "TV": t}))
    control = claim_over(wrong[:1], **mutated(theorem, r"JS(\pi,\mu) \ge t\ln2"))
    return claim_over(cells, control=control, terms=terms, **what)


# ---- F4 ----------------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "F4", "exponential moving average: weights m(1−m)^j, window 1/m", "linear recursion; averaged iterates: Polyak & Juditsky 1992",
    r"\bar\theta_{n} = (1-m)\bar\theta_{n-1}+m\theta_n = (1-m)^n\bar\theta_0+\sum_{j<n}m(1-m)^j\theta_{n-j};\quad \theta_i\sim\pi\text{ independent}:"
    r"\ \mathrm{tr\,Cov}\,\bar\theta_n = \frac{m}{2-m}(1-(1-m)^{2n})\,\mathrm{tr\,Cov}\,\pi;\quad \sum_{j\ge0}(j+1)\,m(1-m)^j = \frac1m",
    (MOMENT,), caveat="the mean age 1/m is not the number of iterates that the variance sees, which is 2/m − 1",
))  # fmt: skip
def exponential_moving_average(target, *, quick=False):
    r"""\bar\theta_n = \sum_j m(1-m)^j \theta_{n-j}: the average of independent iterates from \pi, its mean, its variance and its window.

    Cells: the recursion for E and tr Cov run step by step, and the weights that an impulse leaves, against the closed forms. Control: a
    variance m, that of an average of 1/m iterates, at n = \infty.
    """
    theorem = exponential_moving_average
    needs(target, "mean", "second_moment")
    what = about(theorem, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    mean = np.asarray(target.mean())
    size, spread = float(np.linalg.norm(mean)), max(target.second_moment() - float(mean @ mean), 0.0)
    cells, wrong, terms = [], [], {}
    for m in (0.1,) if quick else (0.5, 0.1, 0.01):
        n = math.ceil(40 / m)  # (1 - m)^n < e^{-40}
        centre, variance, weights = 0.0, 0.0, np.zeros(n)
        for k in range(n):
            centre, variance = (1 - m) * centre + m * size, (1 - m) ** 2 * variance + m * m
            weights *= 1 - m
            weights[k] = m
            if k in (4, n - 1):
                near = lambda x, k=k: Enclosure.near(x, (4 * k + 16) * EPS * abs(x), method="recursion")  # noqa: E731
                closed = -m / (2 - m) * math.expm1(2 * (k + 1) * math.log1p(-m))
                cells.append(_same(near(centre), -math.expm1((k + 1) * math.log1p(-m)) * size, "|E θ̄ₙ|, θ̄₀ = 0", m, k + 1))
                cells.append(_same(near(variance * spread), closed * spread, "tr Cov", m, k + 1))
        ages = np.arange(n, 0, -1)
        powers = m * np.exp((ages - 1) * math.log1p(-m))
        worst = int(np.argmax(np.abs(weights - powers)))
        cells.append(_same(near(float(weights[worst])), float(powers[worst]), "weights, the worst", m, n))
        window = near(float(ages @ weights))
        cells.append(_same(window, 1 / m, "window", m, n))
        wrong.append(_same(near(variance), m, "Σ weights²", m, n))
        terms |= {f"variance seen, m = {m:g}": near(variance), f"window, m = {m:g}": window}
    control = claim_over(wrong, **mutated(theorem, r"\mathrm{Cov}\,\bar\theta_\infty = m\,\mathrm{Cov}\,\pi"))
    return claim_over(cells, control=control, terms=terms, **what)


def _same(lhs, rhs, of, m, n):
    rhs = Enclosure.near(rhs, 16 * EPS * abs(rhs), method="closed form")
    return equal(lhs, rhs, digits=9, floor=1e-12, name=of, parameters={"of": of, "m": m, "n": n})
