r"""Discretisations of the probability flow dY = (Y + s) dt, and the solvers that use log-SNR \lambda = \log(m / \sqrt v) as the clock."""

import numpy as np

from ..grid import checked
from .table import Table, two_rows

__all__ = ["dpm_solver_2", "dpm_solver_pp_2m", "flow_euler", "flow_heun"]


def flow_euler(grid):
    r"""y' = (1 + h) y + h s.  Order 1. Source: Song et al. 2021, https://arxiv.org/abs/2011.13456"""
    times = checked(grid)
    h = -np.diff(times)
    return Table(times, 1 + h, h, 0.0, name="flow_euler", order=1, reference="Song et al. 2021, arXiv:2011.13456")


def flow_heun(grid):
    r"""\tilde y = (1 + h) y + h s,   y' = y + \frac h2 (y + s + \tilde y + \tilde s).  Order 2, two evaluations a step.

    Source: Karras et al. 2022, https://arxiv.org/abs/2206.00364
    """
    times = checked(grid)
    h, zero = -np.diff(times), np.zeros(len(times) - 1)
    a = two_rows((1 + h, zero), (h / 2, 1 + h / 2))
    b = two_rows((h, zero), (h / 2, h / 2))
    return Table(
        np.append(times[0], np.repeat(times[1:], 2)), a, b, 0.0,
        state=np.tile([False, True], len(h)), name="flow_heun", order=2, reference="Karras et al. 2022, arXiv:2206.00364",
    )  # fmt: skip


def dpm_solver_2(grid):
    r"""Exponential midpoint in \lambda: \tilde y = \frac{m_s}{m_t} y - \sigma_s (e^{H/2} - 1) \varepsilon_t,
    y' = \frac{m_u}{m_t} y - \sigma_u (e^H - 1) \tilde\varepsilon_s.

    H = \lambda_u - \lambda_t, s the midpoint in \lambda. Order 2; the grid must end above 0 (\lambda is infinite there).
    Source: Lu et al. 2022, https://arxiv.org/abs/2206.00927
    """
    times = _above_zero(grid)
    t, u = times[:-1], times[1:]
    lam = _log_snr(times)
    H = np.diff(lam)
    s = 0.5 * np.logaddexp(0.0, -2 * (lam[:-1] + H / 2))
    sigma = lambda x: np.sqrt(-np.expm1(-2 * x))  # noqa: E731
    zero = np.zeros_like(H)
    a = two_rows((np.exp(t - s), zero), (zero, np.exp(t - u)))
    b = two_rows((sigma(s) * sigma(t) * np.expm1(H / 2), zero), (sigma(u) * sigma(s) * np.expm1(H), zero))
    return Table(
        np.append(np.stack([t, s], -1).ravel(), u[-1]), a, b, 0.0,
        state=np.tile([False, True], len(H)), name="dpm_solver_2", order=2, reference="Lu et al. 2022, arXiv:2206.00927",
    )  # fmt: skip


def dpm_solver_pp_2m(grid):
    r"""y' = \frac{\sigma_u}{\sigma_t} y + m_u (1 - e^{-H}) \{(1 + \frac1{2r}) D_t - \frac1{2r} D_{prev}\},
    D = \hat x_0 = (y + v s)/m,  r = H_{prev} / H.

    Two-step multistep in the data prediction; the first step is of first order, so is a last step that ends at 0 (\lambda is infinite there).
    Order 2 on grids that end above 0. Source: Lu et al. 2022, https://arxiv.org/abs/2211.01095
    """
    times = checked(grid)
    v, m = -np.expm1(-2 * times), np.exp(-times)
    lam = _log_snr(times)
    H = np.diff(lam)
    ratio = np.sqrt(v[1:] / v[:-1])
    gain = m[1:] * -np.expm1(-H)
    extra = np.zeros_like(H)  # 1 / (2 r)
    extra[1:] = np.where(np.isfinite(H[1:]), H[1:], 0.0) / (2 * H[:-1])
    now, before = gain * (1 + extra) / m[:-1], np.zeros_like(H)
    before[1:] = -gain[1:] * extra[1:] / m[:-2]
    a = np.stack([ratio + now, before], -1)
    b = np.stack([now * v[:-1], before * np.append(0.0, v[:-2])], -1)
    return Table(times, a, b, 0.0, name="dpm_solver_pp_2m", order=2 if times[-1] > 0 else None, reference="Lu et al. 2022, arXiv:2211.01095")


def _log_snr(times):
    with np.errstate(divide="ignore"):
        return -times - 0.5 * np.log(-np.expm1(-2 * times))


def _above_zero(grid):
    times = checked(grid)
    if times[-1] <= 0:
        raise ValueError("grid: got last time 0, allowed is > 0: this scheme steps in log-SNR, which is infinite at the data; use stop=1e-3, say")
    return times
