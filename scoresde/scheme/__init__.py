r"""Samplers as tables: a scheme is a function from a time grid to a :class:`Table`.

With h = t - u the step from t to u, m = e^{-t}, v = 1 - e^{-2t}, every step is linear in the states, the scores and the noises.
Adding a scheme is adding one function; no engine knows any of them.
"""

from .chain import denoise_last, forward_euler_maruyama, score_at_end
from .diffusion import euler_maruyama, exponential_absolute, exponential_relative, stochastic_heun
from .flow import dpm_solver_2, dpm_solver_pp_2m, flow_euler, flow_heun
from .langevin import annealed_langevin, langevin, predictor_corrector
from .posterior import ancestral, ddim, optimal_variance
from .table import Table

__all__ = [
    "Table", "ancestral", "annealed_langevin", "ddim", "denoise_last", "dpm_solver_2", "dpm_solver_pp_2m", "euler_maruyama", "exponential_absolute",
    "exponential_relative", "flow_euler", "flow_heun", "forward_euler_maruyama", "langevin", "optimal_variance", "predictor_corrector",
    "score_at_end", "stochastic_heun",
]  # fmt: skip
