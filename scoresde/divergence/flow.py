r"""Scalars of a law along the Ornstein–Uhlenbeck flow: E|s+x|^2, E|s|^2, entropy and E tr Cov(X_0|X_t), at many times at once.

Every function returns (values (4, n), errors (4, n)) in this order. p_t has kernel m = e^{-t}, v = 1 - e^{-2t}; lam = m^2 var + v.
"""

import math

import numpy as np

from ..kernel import ornstein_uhlenbeck
from ..laws import Empirical, GaussianMixture
from .panels import EPS, integrate
from .quadrature import _jumps, over_line
from .view import Pair, view

LOG_2PI_E = math.log(2 * math.pi) + 1
MANY = 64  # components beyond which times are taken one by one


def clock(times):
    """(m, v) of the flow."""
    return np.exp(-times), -np.expm1(-2 * times)


def gaussian(law, times):
    """Closed forms in any dimension, from the eigenvalues of the covariance."""
    cov, mean, d = law.covariance, law.mean(), law.dim
    lam = np.linalg.eigvalsh(cov) if cov.ndim == 2 else np.atleast_1d(cov)
    count = d / len(lam)
    m, v = (x[:, None] for x in clock(times))
    now = m * m * lam + v
    excess = m * m * (lam - 1)  # now - 1 without cancellation
    mean2 = m[:, 0] ** 2 * float(mean @ mean)
    values = np.stack([
        count * (excess**2 / now).sum(1) + mean2, count * (1 / now).sum(1),
        0.5 * count * (np.log1p(excess) + LOG_2PI_E).sum(1), count * (lam * v / now).sum(1),
    ])  # fmt: skip
    loss = 8 * EPS * (1 if cov.ndim < 2 else d * float(np.linalg.cond(cov)))
    errors = loss * np.abs(values)
    errors[2] += loss * d
    return values, errors


def mixture(weights, means, variances, times, edges):
    """A mixture on the line (variance 0: a point mass); ``edges``: the panels of each noised law."""
    kept = weights > 0
    w, mu, var = np.log(weights[kept]), means[kept], variances[kept]
    m, v = clock(times)
    lam, noisy = m[:, None] ** 2 * var + v[:, None], v > 0  # (n, K)
    parameters = {
        "centre": m[:, None] * mu, "lam": lam, "constant": w - 0.5 * np.log(2 * math.pi * lam),
        "gain": m[:, None] * var / lam, "own": var * v[:, None] / lam, "slope": m[:, None] ** 2 * (var - 1) / lam,
    }  # fmt: skip

    def f(x, who):
        centre, lam, constant, gain, own, slope = (table[who].T[:, :, None] for table in parameters.values())
        z = x - centre
        logits = constant - 0.5 * z * z / lam
        top = logits.max(axis=0)
        r = np.exp(logits - top)
        total = r.sum(axis=0)
        r /= total
        log_p = top + np.log(total)
        p = np.exp(log_p)
        score_parts, relative_parts = -z / lam, slope * x + centre / lam
        score, relative = (r * score_parts).sum(axis=0), (r * relative_parts).sum(axis=0)
        guess = mu[:, None, None] + gain * z
        spread = (r * own).sum(axis=0) + (r * (guess - (r * guess).sum(axis=0)) ** 2).sum(axis=0)
        shaky = 4 * (4 + np.abs(log_p)) * p  # rounding of p and of the r in units of EPS
        sizes = (r * np.abs(relative_parts)).sum(axis=0), (r * np.abs(score_parts)).sum(axis=0)
        spread = np.where(noisy[who][:, None], spread, 0.0)  # at time 0 X_0 is known
        values = [p * relative**2, p * score**2, -p * log_p, p * spread]
        noise = [
            shaky * (relative**2 + 2 * np.abs(relative) * sizes[0]), shaky * (score**2 + 2 * np.abs(score) * sizes[1]),
            shaky * (1 + np.abs(log_p)), shaky * (spread + np.sqrt(spread) * (r * np.abs(guess)).sum(axis=0)),
        ]  # fmt: skip
        return np.stack(values + noise)

    lo, hi = (np.concatenate([e[s] for e in edges]) for s in (slice(None, -1), slice(1, None)))
    who = np.repeat(np.arange(len(times)), [len(e) - 1 for e in edges])
    done = integrate(f, lo, hi, who, watch=4, most=40 * len(lo))
    at = np.concatenate([[0], np.cumsum([len(e) - 1 for e in edges])[:-1]])
    values, errors = np.add.reduceat(done.value, at, axis=1), np.add.reduceat(done.error[:4], at, axis=1)
    return values[:4], errors + EPS * values[4:] + 2 * EPS * np.abs(values[:4])


def one_by_one(law, times):
    """Any law on the line that can be noised, a time after another."""
    columns = [_single(law, float(t)) for t in times]
    return np.array([[c[j][0] for c in columns] for j in range(4)]), np.array([[c[j][1] for c in columns] for j in range(4)])


def _single(law, t):
    kernel = ornstein_uhlenbeck(t)
    now = law.noised(kernel) if t > 0 else law
    seen = view(now)
    pair = Pair(seen, seen)

    def over(g):
        def f(x, _):
            log_p = seen.logpdf(x)
            p = np.exp(log_p)
            here = p > 0
            value, noise = g(np.where(here, x, x[here].flat[0]) if here.any() else x, np.where(here, log_p, 0.0))
            return np.where(here, np.stack([p * value, 4 * p * (4 + np.abs(log_p)) * noise]), 0.0)

        value, error, noise = over_line(f, seen.edges)
        return value, error + EPS * noise

    def square(s, size):
        return s * s, s * s + 2 * np.abs(s) * size

    rough = _jumps(pair)
    relative = (math.inf, 0.0) if rough else over(lambda x, _: square((s := seen.score(x)) + x, np.abs(s) + np.abs(x)))
    fisher = (math.inf, 0.0) if rough else over(lambda x, _: square(s := seen.score(x), np.abs(s)))
    entropy = over(lambda _, log_p: (-log_p, 1 + np.abs(log_p)))
    if t == 0:
        return relative, fisher, entropy, (0.0, 0.0)

    def posterior(x, _):
        c = np.asarray(law.denoise_cov(x[..., None], kernel))[..., 0, 0]
        return c, c + np.sqrt(np.abs(c)) * (1 + np.abs(x))

    return relative, fisher, entropy, over(posterior)


def on_the_line(law, times):
    """Law of dimension 1 at ``times``: in one vectorised sweep for mixtures and discrete laws of at most MANY components."""
    discrete = isinstance(law, Empirical)
    if discrete and 0 in times:  # no density at time 0
        values, errors = np.zeros((4, len(times))), np.zeros((4, len(times)))
        values[:3, times == 0] = np.array([math.inf, math.inf, -math.inf])[:, None]
        if (later := times > 0).any():
            values[:, later], errors[:, later] = on_the_line(law, times[later])
        return values, errors
    if not (discrete or isinstance(law, GaussianMixture)) or len(law.weights) > MANY:
        return one_by_one(law, times)
    count = len(law.weights)
    points, variances = (law.points, np.zeros(count)) if discrete else (law.means, law.covs.reshape(count))
    edges = [law.noised(ornstein_uhlenbeck(float(t))).breakpoints() for t in times]
    return mixture(law.weights, points[:, 0], variances, times, edges)
