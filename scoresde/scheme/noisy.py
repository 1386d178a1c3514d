r"""Solvers of second order with noise: in the clock \lambda = \log(m/\sqrt v), with midpoints in time, or with noise put back between flow steps."""

import numpy as np

from .._arrays import finite
from ..grid import checked
from .flow import _above_zero, _log_snr
from .table import RandomTable, Table, two_rows

__all__ = ["churned_heun", "dpm_solver_pp_2m_sde", "dpm_solver_pp_sde", "midpoint", "randomized_midpoint"]


def midpoint(grid):
    r"""\tilde y = y + \frac h2 b_t(y) + \sqrt h z_1,   y' = y + h\, b_{t - h/2}(\tilde y) + \sqrt h (z_1 + z_2),  b = y + 2s.

    The stage is the Euler point of the same Brownian path. Weak order 2, two evaluations a step, and half of the noise is fresh at its end.
    Source: Milstein 1995, Numerical integration of stochastic differential equations, section 1.5
    """
    times = checked(grid)
    half = np.full((1, len(times) - 1), 0.5)
    return _midpoints(times, half, name="midpoint", reference="Milstein 1995").particle(0)


def randomized_midpoint(grid):
    r"""\tilde y = y + uh\, b_t(y) + \sqrt{2uh}\, z_1,   y' = y + h\, b_{t - uh}(\tilde y) + \sqrt{2h} (\sqrt u z_1 + \sqrt{1 - u} z_2),  u ~ U(0, 1).

    b = y + 2s. A new u in each step and for each particle: E h b_{t-uh} is the integral of b over the step. Two evaluations a step; a RandomTable.
    Sources: Shen & Lee 2019, https://arxiv.org/abs/1909.05503 (underdamped); He, Balasubramanian & Erdogdu 2020, https://arxiv.org/abs/2011.03176;
    for diffusion models Gupta, Cai & Chen 2024, https://arxiv.org/abs/2406.00924
    """
    times = checked(grid)
    given = lambda u: _midpoints(times, np.asarray(u, dtype=np.float64).T, name="randomized_midpoint", reference="Shen & Lee 2019")  # noqa: E731
    return RandomTable(len(times) - 1, given, name="randomized_midpoint")


def _midpoints(times, u, *, name, reference):
    """The rows of both, for u (n, steps): coefficients with a last axis n."""
    u = u.T
    t, h = times[:-1, None] + 0 * u, -np.diff(times)[:, None] + 0 * u
    zero, one, s = 0 * u, 1 + 0 * u, t - u * h
    ends = np.stack([s, times[1:, None] + 0 * u], 1).reshape(-1, u.shape[1])
    return Table(
        np.concatenate([t[:1], ends]),
        two_rows((1 + u * h, zero), (h, one)), two_rows((2 * u * h, zero), (2 * h, zero)),
        two_rows((np.sqrt(2 * u * h), zero), (np.sqrt(2 * h * (1 - u)), np.sqrt(2 * h * u))),
        state=np.tile([False, True], len(h)), name=name, order=2, reference=reference,
    )  # fmt: skip


def dpm_solver_pp_2m_sde(grid):
    r"""y' = \frac{\sigma_u}{\sigma_t} e^{-H} y + m_u (1 - e^{-2H}) \{D_t + \frac1{2r} (D_t - D_{prev})\} + \sigma_u \sqrt{1 - e^{-2H}}\, z,

    D = \hat x_0 = (y + v s)/m, \sigma = \sqrt v,  H = \lambda_u - \lambda_t, r = H_{prev} / H.

    Two-step multistep in the data prediction, for the reverse SDE. The first step is of first order, and so is a last one that ends at 0 (\lambda
    is infinite there). Weak order 2 on grids that end above 0.
    Source: Lu et al. 2022, https://arxiv.org/abs/2211.01095
    """
    times = checked(grid)
    v, m = -np.expm1(-2 * times), np.exp(-times)
    H = np.diff(_log_snr(times))
    gain = m[1:] * -np.expm1(-2 * H)
    extra = np.zeros_like(H)  # 1 / (2 r)
    extra[1:] = np.where(np.isfinite(H[1:]), H[1:], 0.0) / (2 * H[:-1])
    now, before = gain * (1 + extra) / m[:-1], np.zeros_like(H)
    before[1:] = -gain[1:] * extra[1:] / m[:-2]
    # e^{-H} \sigma_u/\sigma_t = e^{u - t} v_u / v_t, also at u = 0
    a = np.stack([np.exp(times[1:] - times[:-1]) * v[1:] / v[:-1] + now, before], -1)
    b = np.stack([now * v[:-1], before * np.append(0.0, v[:-2])], -1)
    return Table(
        times, a, b, np.sqrt(v[1:] * -np.expm1(-2 * H)),
        name="dpm_solver_pp_2m_sde", order=2 if times[-1] > 0 else None, reference="Lu et al. 2022, arXiv:2211.01095",
    )  # fmt: skip


def dpm_solver_pp_sde(grid):
    r"""\tilde y = \frac{\sigma_s}{\sigma_t} e^{-H/2} y + m_s (1 - e^{-H}) D_t + \sigma_s \sqrt{1 - e^{-H}}\, z_1,
    y' = \frac{\sigma_u}{\sigma_t} e^{-H} y + m_u (1 - e^{-2H}) \tilde D_s + \sigma_u \sqrt{1 - e^{-H}} (e^{-H/2} z_1 + z_2).

    H = \lambda_u - \lambda_t, s the midpoint in \lambda, D = (y + v s)/m, \sigma = \sqrt v. A step is two evaluations; both noises are of one path.
    Weak order 2; the grid must end above 0 (\lambda is infinite there). Source: Lu et al. 2022, https://arxiv.org/abs/2211.01095
    """
    times = _above_zero(grid)
    t, u = times[:-1], times[1:]
    lam = _log_snr(times)
    H = np.diff(lam)
    s = 0.5 * np.logaddexp(0.0, -2 * (lam[:-1] + H / 2))
    v = lambda x: -np.expm1(-2 * x)  # noqa: E731
    zero = np.zeros_like(H)
    near, far = np.exp(-s) * -np.expm1(-H), np.exp(-u) * -np.expm1(-2 * H)  # of D_t in the stage, of \tilde D_s in the step
    a = two_rows((np.sqrt(v(s) / v(t)) * np.exp(-H / 2) + near * np.exp(t), zero), (far * np.exp(s), np.sqrt(v(u) / v(t)) * np.exp(-H)))
    b = two_rows((near * np.exp(t) * v(t), zero), (far * np.exp(s) * v(s), zero))
    fresh = np.sqrt(v(u) * -np.expm1(-H))
    c = two_rows((np.sqrt(v(s) * -np.expm1(-H)), zero), (fresh, fresh * np.exp(-H / 2)))
    return Table(
        np.append(np.stack([t, s], -1).ravel(), u[-1]), a, b, c,
        state=np.tile([False, True], len(H)), name="dpm_solver_pp_sde", order=2, reference="Lu et al. 2022, arXiv:2211.01095",
    )  # fmt: skip


def churned_heun(grid, churn):
    r"""Noise from t up to \hat t, then Heun's step of the probability flow from \hat t down to u:
    \hat\sigma = (1 + \gamma) \sigma_t,  \gamma = \min(churn / N, \sqrt2 - 1),  \sigma = \sqrt v / m.

    \hat y = e^{t - \hat t} y + \sqrt{1 - e^{2(t - \hat t)}}\, z is exact, so any churn >= 0 keeps the marginals but for the flow's error; churn 0 is
    ``flow_heun``. N steps of two evaluations. Heun's step is taken in t (in \sigma in the source). Order 2 as a flow at churn 0.
    Source: Karras et al. 2022, algorithm 2, https://arxiv.org/abs/2206.00364
    """
    times = checked(grid)
    churn = float(finite("churn", churn))
    if churn < 0:
        raise ValueError(f"churn: got {churn}, allowed is churn >= 0: 0 is noise-free, N (sqrt(2) - 1) is the most that {len(times) - 1} steps use")
    t, u, N = times[:-1], times[1:], len(times) - 1
    gamma = min(churn / N, np.sqrt(2.0) - 1)
    up = t + 0.5 * np.log1p(-np.expm1(-2 * t) * gamma * (2 + gamma))  # v/m^2 = e^{2t} - 1 grows by (1 + gamma)^2
    h, zero, one = up - u, np.zeros(N), np.ones(N)
    pairs = lambda *rows: np.stack([np.stack(row, -1) for row in rows], axis=1).reshape(-1, 2)  # noqa: E731
    a = pairs((np.exp(t - up), zero), (1 + h, zero), (h / 2, one + h / 2))
    b = pairs((zero, zero), (h, zero), (h / 2, h / 2))
    c = pairs((np.sqrt(-np.expm1(2 * (t - up))), zero), (zero, zero), (zero, zero))
    return Table(
        np.append(times[0], np.stack([up, u, u], -1).ravel()), a, b, c[:, :1],
        state=np.tile([False, False, True], N), name="churned_heun", order=2 if churn == 0 else None,
        reference="Karras et al. 2022, arXiv:2206.00364",
    )  # fmt: skip
