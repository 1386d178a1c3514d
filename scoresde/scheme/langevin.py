r"""Langevin steps x' = x + \varepsilon s + \sqrt{2\varepsilon}\, z at a fixed noise time, alone and as correctors."""

import numpy as np

from .._arrays import finite, positive_int
from ..grid import checked
from .table import Table

__all__ = ["annealed_langevin", "langevin", "mala", "predictor_corrector"]


def langevin(*, step, steps, t=0.0):
    r"""x' = x + \varepsilon \nabla\log p_t(x) + \sqrt{2\varepsilon}\, z, ``steps`` times at noise time t (the unadjusted Langevin algorithm).

    step : \varepsilon > 0. Notes that write \frac\alpha2 and \sqrt\alpha mean \alpha = 2 step. Weak order 1.
    Source: Roberts & Tweedie 1996, https://doi.org/10.2307/3318418
    """
    step, steps = _step(step), positive_int("steps", steps)
    t = float(finite("t", t))
    return Table(np.full(steps + 1, t), 1.0, step, np.sqrt(2 * step), name="langevin", order=1, reference="Roberts & Tweedie 1996")


def mala(target, *, step, steps):
    r"""y = x + h s(x) + \sqrt{2h}\, z, taken with probability \min(1, \frac{\pi(y) p(y, x)}{\pi(x) p(x, y)}), p(x, .) = N(x + h s, 2h); else x stays.

    The Metropolis-adjusted Langevin algorithm: \pi = ``target`` is invariant for every step and every score (of time 0: ``score.exact(target)``, or
    a network's), which only steers the proposals. target : a law with ``logpdf``; step : h > 0. One state and one evaluation a step.
    Sources: Besag 1994, in the discussion of Grenander & Miller; Roberts & Tweedie 1996, https://doi.org/10.2307/3318418
    """
    step, steps = _step(step), positive_int("steps", steps)
    return Table(np.zeros(steps + 1), 1.0, step, np.sqrt(2 * step), target=target, name="mala", reference="Besag 1994; Roberts & Tweedie 1996")


def annealed_langevin(levels, *, steps, step, power=2):
    r"""x' = x + \varepsilon_l \nabla\log p_{\sigma_l}(x) + \sqrt{2\varepsilon_l}\, z, ``steps`` times at each level l = 1..L.

    \varepsilon_l = step (\sigma_l/\sigma_L)^{power}.

    levels : (L,) strictly decreasing noise levels > 0, the last one next to the data, in the clock of the score: standard deviations for
    ``score.exact(law, variance_exploding)``. One state per level; step > 0 is that of the last level.
    power : 2 makes the step scale with the variance; 1 is printed in some notes, and hardly moves at the coarse levels.
    Source: Song & Ermon 2019, https://arxiv.org/abs/1907.05600
    """
    levels = finite("levels", levels)
    if levels.ndim != 1 or not len(levels) or levels.min() <= 0 or (np.diff(levels) >= 0).any():
        raise ValueError("levels: allowed are (L,) strictly decreasing noise levels > 0, from coarse to fine, as numpy.geomspace(10, 0.01, 10)")
    step, steps, power = _step(step), positive_int("steps", steps), float(finite("power", power))
    times, sizes = np.repeat(levels, steps), np.repeat(step * (levels / levels[-1]) ** power, steps)
    return Table(
        np.append(times, times[-1]), 1.0, sizes, np.sqrt(2 * sizes),
        state=np.tile([False] * (steps - 1) + [True], len(levels)), name="annealed_langevin", reference="Song & Ermon 2019, arXiv:1907.05600",
    )  # fmt: skip


def predictor_corrector(grid, *, steps, step):
    r"""An Euler–Maruyama step from t to u, then ``steps`` Langevin steps of size ``step`` at u; one state per grid step.

    Source: Song et al. 2021, https://arxiv.org/abs/2011.13456
    """
    times = checked(grid)
    step, steps = _step(step), positive_int("steps", steps)
    h, N = -np.diff(times), len(times) - 1
    rows = lambda predictor, corrector: np.column_stack([predictor] + [np.full(N, corrector)] * steps).ravel()  # noqa: E731
    return Table(
        np.append(times[0], np.repeat(times[1:], steps + 1)),
        rows(1 + h, 1.0), rows(2 * h, step), rows(np.sqrt(2 * h), np.sqrt(2 * step)),
        state=np.tile([False] * steps + [True], N), name="predictor_corrector", reference="Song et al. 2021, arXiv:2011.13456",
    )  # fmt: skip


def _step(step):
    step = float(finite("step", step))
    if step <= 0:
        raise ValueError(f"step: got {step}, allowed is a step > 0")
    return step
