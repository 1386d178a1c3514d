"""Schemes built on the Gaussian posterior q(x_u | x_t, x_0): DDPM's ancestral sampling and DDIM."""

import numpy as np

from .._arrays import finite
from ..grid import checked
from ..information import ledger
from .table import Table

__all__ = ["ancestral", "ddim", "optimal_variance"]

VARIANCES = ("posterior", "beta")


def ancestral(grid, variance="posterior", last_noise=True):
    r"""y' = e^h y + 2 \sinh h\, s + c z,  with \beta = 1 - e^{-2h} and c^2 = \beta ("beta"), \beta v_u / v_t ("posterior"), or an array (N,).

    The posterior mean of DDPM. "beta" is optimal for N(0, I), "posterior" for point masses, :func:`optimal_variance` for a given target.
    last_noise=False returns the mean in the last step. Weak order 1 with "beta"; "posterior" is h log(1/h) when the grid ends at 0.
    Source: Ho, Jain & Abbeel 2020, https://arxiv.org/abs/2006.11239
    """
    times = checked(grid)
    h = -np.diff(times)
    beta = -np.expm1(-2 * h)
    if isinstance(variance, str):
        if variance not in VARIANCES:
            raise ValueError(f"variance: got {variance!r}, allowed are {', '.join(map(repr, VARIANCES))} or an array ({len(h)},)")
        c2 = beta if variance == "beta" else beta * _ratio(times)
    else:
        c2 = finite("variance", variance)
        if c2.shape != h.shape or (c2 < 0).any():
            raise ValueError(f"variance: got shape {c2.shape} and least {c2.min()}, allowed are {len(h)} variances >= 0, one per step")
    c = np.sqrt(c2)
    if not last_noise:
        c[-1] = 0.0
    order = 1 if isinstance(variance, str) and variance == "beta" else None
    return Table(times, np.exp(h), 2 * np.sinh(h), c, name="ancestral", order=order, reference="Ho, Jain & Abbeel 2020, arXiv:2006.11239")


def optimal_variance(grid, target):
    r"""c^2 = e^{2h} \beta (1 - \beta F_t / d),  F_t = E|\nabla\log p_t|^2: the mean of the reverse posterior variance, shape (N,).

    The best isotropic variance for the exact score (Analytic-DPM). target : a law whose Fisher information is known.
    Source: Bao et al. 2022, https://arxiv.org/abs/2201.06503
    """
    times = checked(grid)
    beta = -np.expm1(2 * np.diff(times))
    information = ledger(target, times[:-1]).fisher
    return np.maximum(np.exp(-2 * np.diff(times)) * beta * (1 - beta * information / target.dim), 0.0)


def ddim(grid, eta=0.0):
    r"""y' = m_u \hat x_0 + \sqrt{v_u - c^2}\, \hat\varepsilon + c z,  c = \eta \sqrt{\beta v_u / v_t},
    \hat x_0 = (y + v_t s)/m_t, \hat\varepsilon = -\sqrt{v_t} s.

    eta in [0, 1]: 0 is noise-free, 1 has the variance of ancestral(grid, "posterior"). Source: Song, Meng & Ermon 2021, https://arxiv.org/abs/2010.02502
    """
    times = checked(grid)
    eta = float(finite("eta", eta))
    if not 0 <= eta <= 1:
        raise ValueError(f"eta: got {eta}, allowed is 0 <= eta <= 1 (0 noise-free, 1 ancestral)")
    t, u = times[:-1], times[1:]
    h, vt, vu = t - u, -np.expm1(-2 * t), -np.expm1(-2 * u)
    c2 = eta * eta * -np.expm1(-2 * h) * _ratio(times)
    b = np.exp(h) * vt - np.sqrt(vt * np.maximum(vu - c2, 0.0))
    order = 1 if times[-1] > 0 else None
    return Table(times, np.exp(h), b, np.sqrt(c2), name="ddim", order=order, reference="Song, Meng & Ermon 2021, arXiv:2010.02502")


def _ratio(times):
    """v_u / v_t for each step, in (0, 1]; 0 in a step that ends at the data."""
    return np.expm1(-2 * times[1:]) / np.expm1(-2 * times[:-1])
