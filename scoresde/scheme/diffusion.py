"""Discretisations of the reverse diffusion dY = {Y + 2 s} dt + sqrt(2) dB."""

import numpy as np

from ..grid import checked
from .table import Table, two_rows

__all__ = ["euler_maruyama", "exponential_absolute", "exponential_relative", "stochastic_heun"]


def euler_maruyama(grid):
    r"""y' = (1 + h) y + 2h s + \sqrt{2h}\, z.  Weak order 1.

    grid (N+1,) : strictly decreasing. Source: Song et al. 2021, https://arxiv.org/abs/2011.13456
    """
    times = checked(grid)
    h = -np.diff(times)
    return Table(times, 1 + h, 2 * h, np.sqrt(2 * h), name="euler_maruyama", order=1, reference="Song et al. 2021, arXiv:2011.13456")


def exponential_absolute(grid):
    r"""The score s is frozen, the linear part +Y solved: y' = e^h y + 2(e^h - 1) s + \sqrt{e^{2h} - 1}\, z.  Weak order 1.

    It does not preserve N(0, I). Source: Chen et al. 2022, https://arxiv.org/abs/2209.11215
    """
    times = checked(grid)
    h = -np.diff(times)
    return Table(
        times, np.exp(h), 2 * np.expm1(h), np.sqrt(np.expm1(2 * h)),
        name="exponential_absolute", order=1, reference="Chen et al. 2022, arXiv:2209.11215",
    )  # fmt: skip


def exponential_relative(grid):
    r"""y' = e^{-h} y + 2(1 - e^{-h})(s + y) + \sqrt{1 - e^{-2h}}\, z: the relative score U = s + y is frozen, the linear part -Y solved.

    Weak order 1. It preserves N(0, I). Source: Conforti, Durmus & Gentiloni Silveri 2023, https://arxiv.org/abs/2308.12240
    """
    times = checked(grid)
    h = -np.diff(times)
    return Table(
        times, 1 - np.expm1(-h), -2 * np.expm1(-h), np.sqrt(-np.expm1(-2 * h)),
        name="exponential_relative", order=1, reference="Conforti, Durmus & Gentiloni Silveri 2023, arXiv:2308.12240",
    )  # fmt: skip


def stochastic_heun(grid):
    r"""\tilde y = y + h b + \sqrt{2h}\, z,   y' = y + \frac h2 (b + \tilde b) + \sqrt{2h}\, z,  b = y + 2s.  Weak order 2, two evaluations a step.

    Source: Karras et al. 2022 (Heun with noise), https://arxiv.org/abs/2206.00364
    """
    times = checked(grid)
    h, zero = -np.diff(times), np.zeros(len(times) - 1)
    root = np.sqrt(2 * h)
    return Table(
        np.append(times[0], np.repeat(times[1:], 2)),
        two_rows((1 + h, zero), (h / 2, 1 + h / 2)), two_rows((2 * h, zero), (h, h)), two_rows((root, zero), (zero, root)),
        state=np.tile([False, True], len(h)), name="stochastic_heun", order=2, reference="Karras et al. 2022, arXiv:2206.00364",
    )  # fmt: skip
