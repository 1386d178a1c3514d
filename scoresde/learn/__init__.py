r"""Learned scores: train a network by denoising score matching, wrap one of your own, save and load it. Needs torch and safetensors.

What comes back is a score like any other: s(t, x) on numpy arrays or torch tensors, with ``dim`` and ``jacobian``, for ``simulate``,
``propagate`` and the theorems. How far it is from the exact score, ``scoresde.score.l2_error`` measures.
"""

try:
    import safetensors.torch
    import torch
except ImportError as error:
    raise ImportError(f"scoresde.learn: {error}; it needs torch and safetensors: pip install 'scoresde[learn]'", name=error.name) from error

from .checkpoint import load, save
from .learned import LearnedScore, score
from .network import Network
from .training import train

__all__ = ["LearnedScore", "Network", "load", "save", "score", "train"]
del safetensors, torch
