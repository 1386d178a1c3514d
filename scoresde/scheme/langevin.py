r"""Langevin steps x' = x + \varepsilon s + \sqrt{2\varepsilon}\, z at a fixed noise time, alone and as correctors."""

import numpy as np

from .._arrays import finite, positive_int
from ..grid import checked
from .table import Table

__all__ = ["langevin", "predictor_corrector"]


def langevin(*, step, steps, t=0.0):
    r"""x' = x + \varepsilon \nabla\log p_t(x) + \sqrt{2\varepsilon}\, z, ``steps`` times at noise time t (the unadjusted Langevin algorithm).

    step : \varepsilon > 0. Notes that write \frac\alpha2 and \sqrt\alpha mean \alpha = 2 step. Weak order 1.
    Source: Roberts & Tweedie 1996, https://doi.org/10.2307/3318418
    """
    step, steps = _step(step), positive_int("steps", steps)
    t = float(finite("t", t))
    return Table(np.full(steps + 1, t), 1.0, step, np.sqrt(2 * step), name="langevin", order=1, reference="Roberts & Tweedie 1996")


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
