r"""Wasserstein distance of the chain by contraction: what one step adds, carried through the step maps that follow."""

import numpy as np

from ..divergence import wasserstein2
from ..enclosure import Enclosure
from ..errors import NotTrusted
from ..grid import uniform
from ..information import ledger
from ..kernel import ornstein_uhlenbeck
from ..laws import Gaussian, GaussianMixture, standard_normal
from ..scheme import euler_maruyama
from ..score import exact
from .bounds import bounded, last_law
from .claim import Statement, claim_over, states
from .coordinates import pieces
from .numeric import EPS, about, flow, mutated, unmet

__all__ = ["bruno_2023_wasserstein2"]

CURVED = "αI ≤ −∇² log π ≤ LI with α, L in closed form: a Gaussian, or a mixture on the line of components of one variance (α may be < 0)"


@states(Statement(
    "D7", "W₂(chain, π) ≤ (Π r_k) W₂(p_T, γ) + Σ_k (Π_{j>k} r_j) D_k under (semi-)log-concavity",
    "form: Bruno, Zhang, Lim, Akyildiz & Sabanis 2023, arXiv:2311.13584, and Gao, Nguyen & Zhu 2023, arXiv:2311.11003; "
    "contraction rates and exact local errors: derived here",
    r"W_2(L(\hat Y),\pi) \le \Big(\prod_k r_k\Big) W_2(p_T,\gamma) + \sum_k\Big(\prod_{j>k}r_j\Big)D_k,\quad"
    r" r_k=\max(|1+h(1-2\alpha_{t_k})|,|1+h(1-2L_{t_k})|),\ D_k=\int_0^h\sqrt{E|b_{t_k-\delta}-b_{t_k}|^2}\,d\delta",
    (CURVED, "euler_maruyama, exact score"),
    "The bound is O(√h), the truth O(h): splitting bias and martingale parts of D_k would restore it.",
))  # fmt: skip
def bruno_2023_wasserstein2(target, *, quick=False):
    r"""W_2(chain, \pi) <= (\prod r_k) W_2(p_T, \gamma) + \sum_k (\prod_{j>k} r_j) D_k for euler_maruyama with equal steps.

    Each step map y + h b(t_k, y) is r_k-Lipschitz, and a synchronous coupling of one step from p_{t_k} costs at most D_k, exact in terms of
    I_t and E|X_t|^2. Cells: T = 8, h = 0.2 (for Gaussians 0.1 and 0.05, too). Control: the first term alone, on N(0, 1), where it is 0.
    """
    theorem = bruno_2023_wasserstein2
    what = about(theorem, (CURVED, _curvature(target, 0.0) is not None))
    if (claim := unmet(what)) is not None:
        return claim
    T, cells, terms = 8.0, [], {}
    for h in (0.2,) if quick else (0.2, 0.1, 0.05) if isinstance(target, Gaussian) else (0.2,):  # of a mixture each time is a quadrature
        left, start, local, products = _terms(target, T, h)
        right = start * products[0] + local
        cells.append(bounded(left, right, name=theorem.__name__, parameters={"T": T, "h": h, "steps": round(T / h)}))
        terms |= {f"initialisation, h = {h:g}": start * products[0], f"discretisation, h = {h:g}": local, f"W2, h = {h:g}": left}
    left, start, _, products = _terms(standard_normal(1), 4.0, 0.1)
    said = mutated(theorem, r"W_2(L(\hat Y),\pi) \le \prod_k r_k\, W_2(p_T,\gamma)")
    control = bounded(left, start * products[0], parameters={"T": 4.0, "h": 0.1}, **said)
    return claim_over(cells, terms=terms, control=control, **what)


def _terms(target, T, h):
    r"""(W_2(chain, \pi), W_2(p_T, \gamma), \sum_k \prod_{j>k} r_j D_k, the products \prod_{j>=k} r_j (N,))."""
    times = uniform(T, h=h)
    steps = -np.diff(times)
    ends = np.array([_curvature(target, t) for t in times[:-1]])
    rates = np.max(np.abs(1 + steps[:, None] * (1 - 2 * ends)), axis=1)
    with np.errstate(over="ignore"):
        products = np.cumprod(rates[::-1])[::-1]
    if not np.isfinite(products[0]):
        raise NotTrusted(f"bruno_2023_wasserstein2: the step maps expand beyond 1e308 (alpha down to {ends.min():.3g}): the bound says nothing")
    local, error = _local(target, times)
    after = np.append(products[1:], 1.0)
    value = float(after @ local)
    discretisation = Enclosure.near(value, float(after @ error) + 64 * EPS * value, method="quadrature in time")
    left = wasserstein2(last_law(euler_maruyama(times), exact(target)), target)
    return left, wasserstein2(flow(target, T), standard_normal(target.dim)), discretisation, products


def _curvature(target, t):
    r"""(\alpha_t, L_t) with \alpha_t I <= -\nabla^2 \log p_t <= L_t I; None where they are not known in closed form.

    A mixture of one variance v and means in an interval of length 2R: -(\log p)'' = 1/v - Var(\mu|x)/v^2, and Var <= R^2 (Popoviciu).
    """
    kernel = ornstein_uhlenbeck(t)
    if isinstance(target, Gaussian):
        spread = np.linalg.eigvalsh(target.cov()) if target.covariance.ndim == 2 else np.ravel(target.covariance)
        spread = kernel.m**2 * spread + kernel.v
        return 1 / float(spread.max()), 1 / float(spread.min())
    if target.dim > 1:
        parts = pieces(target)
        ends = [None] if parts is None else [_curvature(part, t) for part, _ in parts]
        return None if None in ends else (min(lo for lo, _ in ends), max(hi for _, hi in ends))
    if not isinstance(target, GaussianMixture) or np.ptp(target.covs) > 0:
        return None
    var, radius = kernel.m**2 * float(target.covs.flat[0]) + kernel.v, 0.5 * kernel.m * float(np.ptp(target.means))
    return 1 / var - (radius / var) ** 2, 1 / var


def _local(target, times):
    r"""(D_k, error) (N,): \int_0^h \sqrt{E|b_{t_k-\delta} - b_{t_k}|^2} d\delta, \delta = h u^2, by Gauss–Legendre with 5 and 3 nodes.

    E|b - b_k|^2 = J + J_k - 2 (4 \cosh\delta I_k - (2 \cosh\delta + 2 e^{-\delta})(M_k - d) + e^{-\delta} M_k),  J = 4I - 3M + 4d,  M = E|X|^2.
    """
    h, d, values = -np.diff(times), target.dim, []
    for nodes in (5, 3):
        x, weight = np.polynomial.legendre.leggauss(nodes)
        u = 0.5 * (1 + np.append(-1.0, x))[:, None]  # the first row is delta = 0, the left end
        delta = h * u * u
        along = ledger(target, np.maximum(times[:-1] - delta, 0.0).ravel())
        info, moment = along.relative_fisher.reshape(delta.shape), along.second_moment.reshape(delta.shape)
        J, cosh, shrunk = 4 * info - 3 * moment + 4 * d, np.cosh(delta), np.exp(-delta)
        square = J + J[0] - 2 * (4 * cosh * info[0] - 2 * (cosh + shrunk) * (moment[0] - d) + shrunk * moment[0])
        values.append(weight @ (u * h * np.sqrt(np.maximum(square, 0.0)))[1:])
    return values[0], np.abs(values[0] - values[1])
