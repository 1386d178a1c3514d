"""A numerical laboratory for score-based diffusion: exact laws beside simulated ones, numbers with guarantees, theorems with verdicts.

Names are loaded on first use, so that importing the package loads neither torch, nor pyplot, nor scipy.stats.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

try:
    __version__ = version("scoresde")
except PackageNotFoundError:  # used from a checkout that was not installed
    __version__ = "0+unknown"

_MODULES = (
    "grid", "information", "kernel", "learn", "report", "scheme", "score", "targets", "testing", "theorems",
)  # fmt: skip

_NAMES = {
    "Claim": "theorems.claim", "claim_at_most": "theorems.claim", "claim_equal": "theorems.claim", "claim_exists": "theorems.claim",
    "claim_over": "theorems.claim", "claim_rate": "theorems.claim", "decide": "theorems.escalation",
    "Circle": "laws", "Density": "laws", "Empirical": "laws", "Gaussian": "laws", "GaussianMixture": "laws", "Law": "laws", "Product": "laws",
    "Rotated": "laws", "SmoothedBox": "laws", "Uniform": "laws", "kernel_density": "laws", "standard_normal": "laws",
    "Line": "laws.line", "Plane": "laws.plane",
    "Enclosure": "enclosure", "LEVELS": "enclosure",
    "Kernel": "kernel", "ornstein_uhlenbeck": "kernel", "variance_exploding": "kernel",
    "NoMethod": "errors", "NotTrusted": "errors", "NotVerified": "errors",
    "Path": "engine.simulate", "simulate": "engine.simulate", "trajectories": "engine.simulate",
    "chain_total_variation": "engine.rao_blackwell", "coupled_wasserstein2": "engine.coupling",
    "marginals": "engine.propagate", "propagate": "engine.propagate", "optimal_total_variation": "engine.descent",
    "Sweep": "sweeps", "sweep": "sweeps",
    "RandomTable": "scheme", "Table": "scheme",
    "chi_squared": "divergence", "energy_distance": "divergence", "fisher_divergence": "divergence", "hellinger": "divergence",
    "jensen_shannon": "divergence", "kernel_stein_discrepancy": "divergence", "kolmogorov": "divergence", "kullback_leibler": "divergence",
    "maximum_mean_discrepancy": "divergence", "renyi": "divergence", "sliced_wasserstein2": "divergence", "total_variation": "divergence",
    "wasserstein1": "divergence", "wasserstein2": "divergence",
    "explain": "report.explain", "verify": "theorems",
    "from_json": "serial", "load": "serial", "save": "serial", "to_json": "serial",
}  # fmt: skip

__all__ = sorted([*_MODULES, *_NAMES])


def __getattr__(name):
    if name in _MODULES:
        value = import_module(f"{__name__}.{name}")
    elif name in _NAMES:
        value = getattr(import_module(f"{__name__}.{_NAMES[name]}"), name)
    else:
        raise AttributeError(f"module 'scoresde' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return [*__all__, "__version__"]


if TYPE_CHECKING:  # the same names for editors and type checkers
    from . import grid as grid
