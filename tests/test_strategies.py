"""The strategies yield what they say: valid laws, kernels, grids, tables and scores within the stated ranges."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scoresde.kernel import Kernel
from scoresde.laws import GaussianMixture, Law
from scoresde.scheme import Table
from scoresde.testing import grids, kernels, laws, mixtures, points, scores, tables


@given(laws(smooth=False), kernels())
def test_laws_and_kernels(law, kernel):
    assert isinstance(law, Law) and 1 <= law.dim <= 2 and isinstance(kernel, Kernel) and kernel.v >= 1 / 64
    assert np.isfinite(law.cov()).all() and law.noised(kernel).dim == law.dim


@given(mixtures(max_dim=3, max_components=4))
def test_mixtures(law):
    assert isinstance(law, GaussianMixture) and law.dim <= 3 and len(law.weights) <= 4 and np.abs(law.means).max() <= 4
    for k in range(len(law.weights)):
        values = np.linalg.eigvalsh(law.component(k).cov())
        assert values[0] >= 0.999 / 16 and values[-1] <= 4.001


@given(grids(), tables())
def test_grids_and_tables(grid, table):
    assert (np.diff(grid) < 0).all() and grid[-1] >= 0 and 2 <= len(grid) <= 9
    assert isinstance(table, Table) and table.times[-1] > 0


@given(st.data())
def test_points_and_scores(data):
    law = data.draw(laws())
    x = data.draw(points(law))
    s = data.draw(scores(law))
    assert x.ndim == 2 and x.shape[1] == law.dim == s.dim and s(0.5, x).shape == x.shape
    exact = law.noised(s.forward(0.5) if hasattr(s, "forward") else s.score.forward(0.5)).score(x)
    assert np.abs(s(0.5, x) - exact).max() <= (s.error_bound or 0) + 1e-12 * (1 + np.abs(exact).max())
