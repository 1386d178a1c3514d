r"""The exact scalars of a law along the forward flow p_t = law(e^{-t} X_0 + \sqrt{1 - e^{-2t}} Z), and exact KL divergences of chains.

de Bruijn: d/dt KL(p_t|\gamma) = -I_t with I_t = E|\nabla\log p_t + x|^2. It turns the Girsanov and the skeleton KL of a one-evaluation
chain with the exact score into finite sums of I at the grid's times: no Monte Carlo, no integral over time.
Everything is exact for Gaussians in any dimension, for laws on the line, for products of such laws, and for mixtures that are one after a turn
(``laws.rotated``).
"""

import math
from dataclasses import dataclass

import numpy as np

from ._arrays import as_law, equal_fields, finite, frozen
from .divergence import flow, kullback_leibler, product
from .enclosure import Enclosure
from .errors import NoMethod
from .kernel import ornstein_uhlenbeck
from .laws import Empirical, Gaussian, Product, standard_normal
from .laws.rotated import factorised

__all__ = [
    "Ledger", "entropy", "fisher", "joint_kullback_leibler", "ledger", "mmse", "mutual_information", "path_kullback_leibler", "relative_fisher",
]  # fmt: skip

EPS = 2.0**-52


@dataclass(frozen=True, eq=False)
class Ledger:
    """The scalars of a law at forward times, arrays (n,): I(p_t|N(0, I)), E|s|^2, E|X_t|^2, entropy (nats), E tr Cov(X_0|X_t)."""

    times: np.ndarray
    relative_fisher: np.ndarray
    fisher: np.ndarray
    second_moment: np.ndarray
    entropy: np.ndarray
    mmse: np.ndarray

    def __post_init__(self):
        for name in self.__dataclass_fields__:
            object.__setattr__(self, name, frozen(getattr(self, name)))

    __eq__ = equal_fields


def relative_fisher(law, t=0.0):
    r"""I(p_t|\gamma) = E|\nabla\log p_t(X_t) + X_t|^2 >= 0; infinite at t = 0 for a law without a density or with jumps.

    law : Gaussian in any d, law on the line, or product of those; t : forward time >= 0. Raises NoMethod for other laws, ValueError for t < 0.
    """
    return _quantity(law, t, 0).cut(0.0)


def fisher(law, t=0.0):
    r"""F_t = E|\nabla\log p_t(X_t)|^2 = d/v - (m/v)^2 \Phi_t, \Phi = ``mmse``. Parameters and errors as ``relative_fisher``."""
    return _quantity(law, t, 1).cut(0.0)


def entropy(law, t=0.0):
    r"""H(p_t) = -\int p_t \log p_t, nats; -inf for a discrete law at t = 0. Parameters and errors as ``relative_fisher``."""
    return _quantity(law, t, 2)


def mmse(law, t=0.0):
    r"""\Phi_t = E\,tr\,Cov(X_0|X_t), the least mean square error of denoising. Parameters and errors as ``relative_fisher``."""
    return _quantity(law, t, 3).cut(0.0)


def mutual_information(law, t=0.0):
    r"""I(X_0; X_t) = H(p_t) - \frac d2\log(2\pi e v_t) >= 0, nats; at t = 0 the Shannon entropy of a discrete law, else infinite.

    Parameters and errors as ``relative_fisher``. Source: Guo, Shamai & Verdú 2005, https://doi.org/10.1109/TIT.2005.844072
    """
    t, law = _time(t), as_law("law", law)
    if t > 0:
        return (entropy(law, t) - 0.5 * law.dim * math.log(2 * math.pi * math.e * -math.expm1(-2 * t))).cut(0.0)
    if isinstance(law, Product):
        return sum((n * mutual_information(f) for f, n in zip(law.factors, law.repeat, strict=True)), start=Enclosure.exact(0.0))
    if not isinstance(law, Empirical):
        return Enclosure.near(math.inf, 0.0, method="X_0 has a density and is known")
    _, index = np.unique(law.points, axis=0, return_inverse=True)
    w = np.bincount(index.reshape(-1), law.weights)
    w = w[w > 0]
    return Enclosure.near(-float(w @ np.log(w)), 4 * EPS * math.sqrt(len(w)), method="sum over atoms").cut(0.0)


def ledger(law, times):
    """All scalars at ``times`` (n,) >= 0, as plain numbers; inf or -inf where they are infinite. Mixtures are done in one sweep.

    law : as ``relative_fisher``. Raises NoMethod, ValueError likewise.
    """
    times = _times(times)
    values, _ = _scalars(law, times)
    return Ledger(times, values[0], values[1], _second_moment(law, times), values[2], values[3])


def _times(times):
    times = finite("times", times)
    if times.ndim != 1 or (times < 0).any():
        raise ValueError(f"times: got shape {times.shape} and least {np.min(times, initial=0.0)}, allowed are forward noise times (n,) >= 0")
    return times


def _time(t):
    t = finite("t", t)
    if t.ndim or t < 0:
        raise ValueError(f"t: got {t!r:.60}, allowed is one forward noise time >= 0; many times at once: ledger(law, times)")
    return float(t)


def _second_moment(law, times):
    m2 = np.exp(-2 * times)
    return m2 * law.second_moment() - np.expm1(-2 * times) * law.dim


def _scalars(law, times):
    """(values, errors), each (4, n)."""
    law = product.plain(as_law("law", law))
    if isinstance(law, Gaussian):
        return flow.gaussian(law, times)
    if law.dim == 1:
        return flow.on_the_line(law, times)
    turned = factorised(law)
    if turned is not None:  # the relative Fisher information and its kin do not see a turn
        return _scalars(turned.law, times)
    if isinstance(law, Product):
        parts = [(n, _scalars(f, times)) for f, n in zip(law.factors, law.repeat, strict=True)]
        return tuple(sum(n * part[k] for n, part in parts) for k in (0, 1))
    factors = product.factors(law)
    if factors is None:
        raise NoMethod(
            f"information: no exact method for {type(law).__name__} in dimension {law.dim}; there is one for Gaussians in any dimension, for laws on "
            "the line, for Product of such laws, and for mixtures whose means span a line beside a common Gaussian"
        )
    distinct = {id(f): f for f in factors}
    parts = [(sum(f is g for f in factors), _scalars(g, times)) for g in distinct.values()]
    return tuple(sum(n * part[k] for n, part in parts) for k in (0, 1))


def _quantity(law, t, row):
    times = np.array([_time(t)])
    values, errors = _scalars(law, times)
    value, error = float(values[row, 0]), float(errors[row, 0])
    if math.isinf(value):
        return Enclosure.near(value, 0.0, method="no density, or one that jumps")
    twin = getattr(law, "twin", None)
    if twin is not None:
        error += abs(value - float(_scalars(twin, times)[0][row, 0]))
    return Enclosure.near(value, error, method="closed form" if isinstance(law, Gaussian) else "quadrature")


# ---- chains of one evaluation per step, exact score, started from N(0, I) ----------------------------------------------------------


def path_kullback_leibler(target, table):
    r"""KL of the reverse diffusion's path law given the chain's own interpolation, exact score, chain started from N(0, I):

    KL(p_T|\gamma) + \frac14\sum_k\int_0^{h_k} E|b - \hat b|^2 d\delta, by Girsanov's theorem; at least ``joint_kullback_leibler``, and equal
    to it for ancestral sampling with variance "beta".

    target : as ``relative_fisher``; table : rows of euler_maruyama, exponential_relative, exponential_absolute or ancestral(variance="beta"),
    recognised by their coefficients, on the OU clock. Raises NoMethod for any other row (it names the first).
    """
    target, steps = as_law("target", target), _steps(table)
    h, rows = steps.h, _recognised(steps)
    up, down, twice = np.expm1(h), -np.expm1(-h), 0.5 * np.expm1(2 * h)
    # integral over the step of everything but I itself, whose integral telescopes: coefficients of I_k, of M2_k - d, and of d
    sinh = np.sinh(h)
    choices = [
        (h - 2 * sinh, -0.75 * (twice + h) + sinh + 0.5 * down, 0.5 * (h - down)),  # Euler–Maruyama
        (h - 2 * up, 0 * h, 0 * h),  # exponential, relative score frozen
        (h - 2 * down, -twice - (h - 2 * down), 2 * (h - down)),  # exponential, absolute score frozen
        (-twice, 0 * h, 0 * h),  # ancestral
    ]
    of_i, of_m, of_d = (np.select([rows == j for j in range(4)], [c[k] for c in choices]) for k in range(3))
    return _summed(target, steps, of_i, of_m, of_d, "Girsanov, summed by de Bruijn's identity")


def joint_kullback_leibler(target, table):
    r"""KL of the law of (X_{t_0}, ..., X_{t_N}) of the reverse diffusion given the chain (Y_0, ..., Y_N), exact score, Y_0 \sim N(0, I).

    For steps N(\alpha y + \beta U_k(y), v I), U = s + y: the mean square error of a step splits into the posterior variance of
    X_{t_{k+1}} given X_{t_k} and the bias (e^{-h} - \alpha, 2\sinh h - \beta), each exact in terms of I_k and E|X_{t_k}|^2.

    target : as ``relative_fisher``; table : any rows y' = a y + b s + c z with one evaluation at the step's left end, on the OU clock. Infinite
    if some c = 0. Raises NoMethod for other tables.
    """
    target, steps = as_law("target", target), _steps(table)
    h, a, b, v = steps.h, steps.a, steps.b, steps.c**2
    if (v == 0).any():
        if isinstance(target, Empirical) and steps.times[-1] == 0:
            raise NoMethod("joint_kullback_leibler: a discrete target at time 0 with a step without noise; stop the grid before 0")
        return Enclosure.near(math.inf, 0.0, method="a step without noise against one with a density")
    beta = -np.expm1(-2 * h)
    ratio, grow = beta / v, np.exp(2 * h)
    bias_y, bias_u = np.exp(-h) - (a - b), 2 * np.sinh(h) - b
    # grow * beta * (d - beta F_k) is the posterior variance, F_k = I_k - (M2_k - d) + d
    half = 0.5 * ratio * grow * beta
    of_i = bias_u**2 / (2 * v) - half
    of_m = half + bias_y**2 / (2 * v) + bias_y * bias_u / v - 0.5 * np.expm1(2 * h)
    of_d = 0.5 * (_excess(ratio) + ratio * np.expm1(2 * h)) - half + bias_y**2 / (2 * v)
    return _summed(target, steps, of_i, of_m, of_d, "sum over steps of Gaussian divergences")


def _excess(ratio):
    """r - 1 - log r >= 0."""
    e = ratio - 1
    return np.where(np.abs(e) < 1e-4, e * e * (0.5 - e / 3 + e * e / 4), e - np.log(ratio))


def _summed(target, steps, of_i, of_m, of_d, method):
    """KL(p_stop|gamma) + sum of coefficients times I_k, M2_k - d and d."""
    d, times = target.dim, steps.times[:-1]
    values, errors = _scalars(target, times)
    m2 = np.exp(-2 * times) * (target.second_moment() - d)
    stop = float(steps.times[-1])
    rest = kullback_leibler(target.noised(ornstein_uhlenbeck(stop)) if stop > 0 else target, standard_normal(d))
    if math.isinf(rest.lo) or not np.isfinite(values[0]).all():
        return Enclosure(math.inf, math.inf, rest.level, 0.0, math.inf, "KL(p_stop|N(0, I)) is infinite")
    terms = np.concatenate([of_i * values[0], of_m * m2, of_d * d])
    error = float(np.abs(of_i) @ errors[0]) + 8 * EPS * float(np.sum(np.abs(terms)) + np.sum(np.abs(of_i) * (1 + values[0])))
    error += 8 * EPS * (target.second_moment() + d) * float(np.abs(of_m) @ np.exp(-2 * times))  # the difference of two moments cancels
    return (rest + Enclosure.near(math.fsum(terms), error, method=method)).cut(0.0)


@dataclass(frozen=True)
class _Steps:
    times: np.ndarray
    h: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray


def _steps(table):
    """The rows (a, b, c) of a table of one evaluation a step. Raises TypeError, NoMethod."""
    if not hasattr(table, "score_times"):
        raise TypeError(f"table: got {type(table).__name__}, allowed is a Table, such as scheme.euler_maruyama(grid)")
    lagged = any(getattr(table, k)[:, 1:].any() for k in "abc")
    if lagged or not table.state.all() or not np.array_equal(table.score_times[table.used], table.times[:-1][table.used]):
        raise NoMethod(
            f"table: {table.name or 'this table'} looks back, has inner stages, or takes its score elsewhere than at the left end of a step; allowed "
            "are rows y' = a y + b s + c z with s at the time of y; total_variation and kullback_leibler of propagate(...) judge any table"
        )
    h = -np.diff(table.times)
    if (h <= 0).any():
        raise NoMethod(f"table: {table.name or 'this table'} has a step of length {h.min()!r}, allowed are decreasing times, as in reverse time")
    return _Steps(table.times, h, table.a[:, 0], table.b[:, 0], table.c[:, 0])


def _recognised(steps):
    """For each row 0..3: Euler–Maruyama, exponential relative, exponential absolute, ancestral. Raises NoMethod for another."""
    h, e = steps.h, np.expm1
    known = np.array([
        (1 + h, 2 * h, 2 * h), (1 - e(-h), -2 * e(-h), -e(-2 * h)), (np.exp(h), 2 * e(h), e(2 * h)), (np.exp(h), 2 * np.sinh(h), -e(-2 * h)),
    ])  # fmt: skip
    got = np.stack([steps.a, steps.b, steps.c**2])
    rounding = 64 * EPS * (1 + steps.times[:-1]) * np.exp(2 * h)  # h is a difference of times
    off = np.max(np.abs(known - got), axis=1)
    row = np.argmin(off, axis=0)
    strange = np.flatnonzero(np.min(off, axis=0) > rounding)
    if len(strange):
        k = int(strange[0])
        raise NoMethod(
            f"table: row {k} has a = {steps.a[k]:.6g}, b = {steps.b[k]:.6g}, c^2 = {steps.c[k] ** 2:.6g} for a step {h[k]:.6g}; allowed are rows of "
            "euler_maruyama, exponential_relative, exponential_absolute and ancestral(variance='beta'), whose interpolation is known; "
            "joint_kullback_leibler takes any one-evaluation row"
        )
    return row
