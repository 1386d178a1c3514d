r"""Slides "Modelos generativos basados en score", L206-L307: the objective in the plane, and sliced score matching.

In the plane the law is the target at two noise times, the model's score s that of a correlated mixture.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from scoresde import GaussianMixture, Product, fisher_divergence, information

from .bench import Bench
from .formula import Formula
from .sums import LOST, close, equal, mean_of, rule, total
from .uruguay_002_fisher import model

__all__ = ["FORMULAS", "plane"]


SIGNS = np.array([[1.0, 1.0], [1.0, -1.0]])  # Rademacher vectors in the plane, up to their sign


@dataclass(frozen=True, eq=False)
class Plane:
    """Quadrature in the plane: probabilities w, the score p of the law, the model's score s and Jacobian ds."""

    w: np.ndarray
    p: np.ndarray
    s: np.ndarray
    ds: np.ndarray
    information: object

    def mean_of(self, values):
        return total(self.w * values)


@lru_cache(maxsize=4)
def plane(bench: Bench):
    """The target at two noise times as coordinates, and a correlated mixture as the model."""
    law = Product([bench.ou(0.3), bench.ou(0.6)])
    guess = _correlated(law)
    (x, u), (y, v) = (rule(factor) for factor in law.expanded())
    weight = u[:, None] * v
    i, j = np.nonzero(weight > LOST)
    points = np.column_stack([x[i, 0], y[j, 0]])
    return Plane(weight[i, j], law.score(points), guess.score(points), guess.score_jacobian(points), information.fisher(law))


def _correlated(law):
    """A mixture in the plane of about the law's size, with correlations."""
    size = np.sqrt(np.diag(law.cov()))
    means = law.mean() + size * np.array([[-0.8, 0.5], [0.7, -0.4]])
    return GaussianMixture([0.4, 0.6], means, np.outer(size, size) * np.array([[[0.8, 0.3], [0.3, 0.6]], [[0.6, -0.2], [-0.2, 0.9]]]))


# F06, F09, F10
def _with_the_trace(bench):
    q = plane(bench)
    left = q.mean_of(0.5 * ((q.p - q.s) ** 2).sum(1))
    right = q.mean_of(0.5 * (q.s**2).sum(1) + np.trace(q.ds, axis1=1, axis2=2)) + 0.5 * q.information
    return equal((left, right), what="in the plane: E|score - s|^2/2, and E[|s|^2/2 + tr Ds] + E|score|^2/2")


def _sliced_fisher(q):
    return 0.5 * (q.mean_of(0.5 * ((q.p - q.s) @ SIGNS[0]) ** 2) + q.mean_of(0.5 * ((q.p - q.s) @ SIGNS[1]) ** 2))


def _sliced_is_fisher(bench):
    q = plane(bench)
    return equal((_sliced_fisher(q), q.mean_of(0.5 * ((q.p - q.s) ** 2).sum(1))), what="sliced and full Fisher divergence/2, Rademacher v")


def _sliced_objective(factor):
    def sides(bench):
        q = plane(bench)
        constant = 0.5 * sum((q.mean_of(0.5 * (q.p @ v) ** 2) for v in SIGNS), start=0.0)
        objective = 0.5 * sum((q.mean_of(np.einsum("nij,i,j->n", q.ds, v, v) + 0.5 * (q.s @ v) ** 2) for v in SIGNS), start=0.0)
        return equal((_sliced_fisher(q) - constant, factor * objective), what="sliced Fisher divergence/2 less its constant, and the objective")

    return sides


# F11, F12
def _sliced_on_the_line(bench, second, first):
    """E[v second v + (v first)^2/2] with v = 1 or -1, beside the objective by the package."""
    objective = 0.5 * fisher_divergence(bench.target, bench.second) - 0.5 * information.fisher(bench.target)
    return equal(
        (objective, mean_of(bench.target, lambda x: second(x) + 0.5 * first(x) ** 2)), what="E[s' + s^2/2], and the sliced objective for v = ±1"
    )


def _one_derivative_too_many(bench):
    step = 1e-3 * bench.sd
    curvature = lambda x: (model(bench, x + step)[1] - model(bench, x - step)[1]) / (2 * step)  # noqa: E731
    return _sliced_on_the_line(bench, curvature, lambda x: model(bench, x)[1])


def _one_derivative_less(bench):
    return _sliced_on_the_line(bench, lambda x: model(bench, x)[1], lambda x: model(bench, x)[0])


def _projections(bench):
    """Gaussian v by Gauss-Hermite quadrature (exact: polynomials of degree 4), Rademacher v by listing them."""
    law = Product([bench.ou(0.3), bench.ou(0.6)])
    S = _correlated(law).score_jacobian(law.mean()[None, :])[0]
    z, u = bench.hermite(5)
    v, w = np.stack(np.meshgrid(z, z), -1).reshape(-1, 2), np.outer(u, u).reshape(-1)
    form, signs = np.einsum("ni,ij,nj->n", v, S, v), np.einsum("ni,ij,nj->n", SIGNS, S, SIGNS)
    second = (w[:, None] * v).T @ v
    mean = w @ form
    return close(
        [*second.reshape(-1), mean, w @ (form - mean) ** 2, signs.mean(), signs.var()],
        [1.0, 0.0, 0.0, 1.0, np.trace(S), 2 * (S**2).sum(), np.trace(S), 2 * (S**2).sum() - 2 * (np.diag(S) ** 2).sum()],
        "E vv^T; mean and variance of v^T S v: Gaussian tr S, 2|S|^2; Rademacher tr S, twice the off-diagonal squares",
    )


FORMULAS = (
    Formula(
        "002-F06", "002 L206", "J in d dimensions: the trace of the Jacobian matrix", "", "HOLDS", _with_the_trace,
        note="d backward passes; the d² derivatives of L208 are those of the whole Jacobian",
    ),
    Formula(
        "002-F09", "002 L245", "½ E_v E_x (vᵀ∇ log p - vᵀs)²", "", "HOLDS", _sliced_is_fisher, note="equals the Fisher divergence where E vvᵀ = I",
    ),
    Formula(
        "002-F10", "002 L250", "½ E_v E_x [vᵀ∇s v + ½(vᵀs)²]", "E_v E_x [vᵀ∇s v + ½(vᵀs)²]", "MISPRINT", _sliced_objective(0.5),
        _sliced_objective(1.0), "misprint", "same minimiser, half the value",
    ),
    Formula(
        "002-F11", "002 L307", "J = (1/N) Σ [v_nᵀ∇²s v_n + ½(v_nᵀ∇s)²], v_1..v_n", "J = (1/N) Σ [v_nᵀ∇s v_n + ½(v_nᵀs)²], v_1..v_N", "MISPRINT",
        _one_derivative_too_many, _one_derivative_less, "misprint", "the printed form is right with log p_θ in place of s",
    ),
    Formula(
        "002-F12", "002 L253", "projections v Gaussian or Rademacher", "", "HOLDS", _projections, note="E vvᵀ = I for both; Rademacher varies less",
    ),
)  # fmt: skip
