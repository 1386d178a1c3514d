"""Tools for testing your own scores, laws and samplers against exact ones. Needs ``hypothesis`` (installed with ``scoresde[test]``)."""

from .strategies import grids, kernels, laws, mixtures, points, scores, tables

__all__ = ["grids", "kernels", "laws", "mixtures", "points", "scores", "tables"]
