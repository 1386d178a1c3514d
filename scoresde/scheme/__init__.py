r"""Samplers as tables: a scheme is a function from a time grid to a :class:`Table`.

With h = t - u the step from t to u, m = e^{-t}, v = 1 - e^{-2t}, every step is linear in the states, the scores and the noises.
Adding a scheme is adding one function; no engine knows any of them.
"""

from .chain import denoise_last, forward_euler_maruyama, score_at_end
from .diffusion import euler_maruyama, exponential_absolute, exponential_relative, stochastic_heun
from .flow import dpm_solver_2, dpm_solver_pp_2m, flow_euler, flow_heun
from .langevin import annealed_langevin, langevin, mala, predictor_corrector
from .noisy import churned_heun, dpm_solver_pp_2m_sde, dpm_solver_pp_sde, midpoint, randomized_midpoint
from .posterior import ancestral, ddim, optimal_variance
from .table import RandomTable, Table

__all__ = [
    "RandomTable", "Table", "ancestral", "annealed_langevin", "churned_heun", "ddim", "denoise_last", "dpm_solver_2", "dpm_solver_pp_2m",
    "dpm_solver_pp_2m_sde", "dpm_solver_pp_sde", "euler_maruyama", "exponential_absolute", "exponential_relative", "flow_euler", "flow_heun",
    "forward_euler_maruyama", "langevin", "mala", "midpoint", "optimal_variance", "predictor_corrector", "randomized_midpoint", "score_at_end",
    "stochastic_heun",
]  # fmt: skip
