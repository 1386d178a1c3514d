r"""The formulas of five sets of lecture notes on score-based diffusion, each as printed and as corrected, evaluated on a target.

000: "Modelos Generativos" (Universidad de Oviedo); 001: "Modelos Generativos" (Universidad de Chile); 002: "Modelos generativos basados en
score" (Universidad de la República, Uruguay); 003: a report on diffusion models (Moscow State University, in Russian); 004: "Un matemático
visita los modelos de difusión" (a blog). Places are lines of their text.
"""

from . import (
    blog_004,
    chile_001_adversarial,
    chile_001_backward,
    chile_001_continuous,
    chile_001_convergence,
    chile_001_forward,
    chile_001_practice,
    chile_001_score,
    oviedo_000,
    russia_003_bound,
    russia_003_ddpm,
    russia_003_scores,
    uruguay_002_annealed,
    uruguay_002_conditional,
    uruguay_002_denoising,
    uruguay_002_fisher,
    uruguay_002_langevin,
    uruguay_002_sliced,
)
from .bench import EPS, Bench, mixture
from .formula import Finding, Formula, Sides, judge

__all__ = ["EPS", "FORMULAS", "Bench", "Finding", "Formula", "Sides", "judge", "mixture"]

_UNSORTED = (
    *oviedo_000.FORMULAS,
    *chile_001_adversarial.FORMULAS, *chile_001_forward.FORMULAS, *chile_001_backward.FORMULAS, *chile_001_score.FORMULAS,
    *chile_001_continuous.FORMULAS, *chile_001_convergence.FORMULAS, *chile_001_practice.FORMULAS,
    *uruguay_002_fisher.FORMULAS, *uruguay_002_sliced.FORMULAS, *uruguay_002_denoising.FORMULAS,
    *uruguay_002_langevin.FORMULAS, *uruguay_002_annealed.FORMULAS, *uruguay_002_conditional.FORMULAS,
    *russia_003_bound.FORMULAS, *russia_003_ddpm.FORMULAS, *russia_003_scores.FORMULAS,
    *blog_004.FORMULAS,
)  # fmt: skip
FORMULAS = tuple(sorted(_UNSORTED, key=lambda formula: formula.id))
"""All of them, in the order of the notes."""
