r"""How curved a noised law is, and what the score cannot see: bounds of its Jacobian, and the Fisher divergence of far modes."""

import math

import numpy as np

from ..divergence import kullback_leibler
from ..divergence.view import view
from ..enclosure import Enclosure
from ..errors import NoMethod
from ..laws import Empirical, Gaussian, GaussianMixture, SmoothedBox, Uniform
from .claim import Statement, claim_at_most, claim_over, states
from .numeric import EPS, about, at_most, exists, flow, mutated, needs, probes, unmet
from .score_information import score_distance

__all__ = ["brascamp_1976_score_slope", "compact_support_score", "fisher_divergence_blindness"]

MOMENT = r"E|X|^2 finite"


# ---- two-sided bounds of the Jacobian ----------------------------------------------------------------------------------------------------


def curvature(target):
    r"""(\alpha, L): -\nabla^2 \log \pi lies between \alpha I and L I; to about 1e-9 for a mixture on the line. Raises NoMethod for other laws."""
    if isinstance(target, Gaussian):
        cov = np.asarray(target.covariance)
        lam = np.linalg.eigvalsh(cov) if cov.ndim == 2 else np.atleast_1d(cov)
        return 1 / float(lam.max()), 1 / float(lam.min())
    if not isinstance(target, GaussianMixture) or target.dim != 1:
        raise NoMethod(
            f"curvature: got {type(target).__name__} in dimension {target.dim}, allowed are Gaussians and mixtures of Gaussians on the line, whose "
            "log-density is smooth with a bounded second derivative"
        )
    slope = lambda x: -target.score_jacobian(x[:, None])[:, 0, 0]  # noqa: E731
    edges = view(target).edges
    x = (edges[:-1, None] + np.diff(edges)[:, None] * np.linspace(0, 1, 64, endpoint=False)).ravel()
    variances = np.asarray(target.covs).ravel()[target.weights > 0]
    far = 1 / float(variances.max())  # the limit at both ends of the line
    values = slope(x)
    lowest, highest = (_refined(slope, x, values, sign) for sign in (-1.0, 1.0))
    return min(lowest, far), min(max(highest, far), 1 / float(variances.min()))


def _refined(f, x, values, sign):
    """max (sign 1) or min (sign -1) of f near the best of its samples, by repeated sampling between neighbours."""
    for _ in range(6):
        k = int(np.argmax(sign * values))
        x = np.linspace(x[max(k - 1, 0)], x[min(k + 1, len(x) - 1)], 33)
        values = f(x)
    return sign * float(np.max(sign * values))


def _seen(p):
    """Least and largest eigenvalue of -\\nabla s over many points of the line, or five points elsewhere, and its rounding."""
    x = view(p).edges[:, None] if p.dim == 1 else probes(p)
    if p.dim == 1:
        x = (x[:-1] + np.diff(x, axis=0) * np.linspace(0, 1, 16, endpoint=False)).reshape(-1, 1)
        x = x[np.asarray(p.logpdf(x)) > -60]
    lam = np.linalg.eigvalsh(-p.score_jacobian(x))
    rough = 64 * EPS * (8 + np.abs(p.logpdf(x))) * (1 + np.abs(lam).max(-1) + (p.score(x) ** 2).sum(-1))
    low, high = np.argmin(lam[:, 0]), np.argmax(lam[:, -1])
    return tuple(Enclosure.near(lam[k, j], rough[k], method="many points") for k, j in ((low, 0), (high, -1)))


@states(Statement(
    "B15", r"α/(m² + ασ²) ⪯ −∇s_t ⪯ L/(m² + Lσ²)", "Brascamp & Lieb 1976, https://doi.org/10.1016/0022-1236(76)90004-5; Cramér–Rao for the posterior",
    r"\alpha I\preceq-\nabla^2\log\pi\preceq LI \;\Rightarrow\; \frac{\alpha}{m^2+\alpha v}I \preceq -\nabla s_t \preceq \frac{L}{m^2+Lv}I,\qquad"
    r" m^2+\alpha v>0", (MOMENT,),
    caveat="Gaussians attain both; α may be negative, for as long as m² + ασ² > 0: modes far apart shorten that time",
))  # fmt: skip
def brascamp_1976_score_slope(target, *, quick=False):
    r"""\alpha/(m^2 + \alpha v) <= -\nabla s_t <= L/(m^2 + L v), at the extremes over many points.

    Gaussians in any dimension and mixtures on the line. Times: small in L, then ones up to where m^2 + \alpha v = 0. Control: half the upper
    bound.
    """
    needs(target, "noised", "second_moment")
    what = about(brascamp_1976_score_slope, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what)) is not None:
        return claim
    alpha, top = curvature(target)
    latest = 1.0 if alpha >= 0 else 1 / (1 - alpha)  # v < latest keeps m^2 + alpha v > 0
    cells, wrong = [], []
    for v in (min(0.01 / (1 + top), 0.1 * latest), *((0.5 * latest,) if quick else (0.2 * latest, 0.5 * latest, 0.9 * latest))):
        t = -0.5 * math.log1p(-v)
        m2 = 1 - v
        least, largest = _seen(flow(target, t))
        room = 1e-8 * (abs(alpha) + top) / (m2 + min(alpha, 0.0) * v) ** 2  # alpha and L are known to 1e-9 of the curvature's size
        lower = Enclosure.near(alpha / (m2 + alpha * v), room, method="closed form")
        upper = Enclosure.near(top / (m2 + top * v), room, method="closed form")
        cells.append(claim_at_most(lower, least, slack=2 * room + least.width, name="slope", parameters={"of": "α/(m² + ασ²)", "t": t}))
        cells.append(claim_at_most(largest, upper, slack=2 * room + largest.width, name="slope", parameters={"of": "L/(m² + Lσ²)", "t": t}))
        wrong.append(at_most(largest, 0.5 * upper, name="slope", parameters={"t": t}))
    control = claim_over(wrong, **mutated(brascamp_1976_score_slope, r"-\nabla s_t \preceq \frac{L}{2(m^2+Lv)}I"))
    return claim_over(cells, control=control, terms={"α": alpha, "L": top}, **what)


COMPACT = "π has compact support"


def _radius(target):
    """The support's radius about 0, or None."""
    if isinstance(target, Empirical):
        return float(np.linalg.norm(target.points[target.weights > 0], axis=1).max())
    if isinstance(target, Uniform) and not isinstance(target, SmoothedBox):
        return float(np.linalg.norm(np.maximum(np.abs(target.low), np.abs(target.high))))
    return None


@states(Statement(
    "B15'", r"|s_t + x/σ²| ≤ mR/σ² and −1/σ² ⪯ ∇s_t ⪯ m²R²/σ⁴ − 1/σ²", "derived here from Tweedie's identities; De Bortoli 2022 uses it",
    r"|X_0|\le R \;\Rightarrow\; \left|s_t(x)+\frac xv\right|\le\frac{mR}v,\qquad"
    r" -\frac1vI \preceq \nabla s_t \preceq \left(\frac{m^2R^2}{v^2}-\frac1v\right)I", (MOMENT, COMPACT),
    caveat="two opposite atoms at ±R attain all three",
))  # fmt: skip
def compact_support_score(target, *, quick=False):
    r"""|s_t + x/v| <= mR/v and -1/v <= \nabla s_t <= m^2 R^2/v^2 - 1/v, where |X_0| <= R: at five points and one far out.

    Uniform and Empirical laws in any dimension. Control: |s_t| <= mR/v, no growth in x.
    """
    needs(target, "noised", "second_moment")
    R = _radius(target)
    what = about(compact_support_score, (MOMENT, exists(target.second_moment)), (COMPACT, R is not None))
    if (claim := unmet(what)) is not None:
        return claim
    cells, wrong = [], []
    for t in (0.5,) if quick else (0.05, 0.5, 2.0):
        m, v, p = math.exp(-t), -math.expm1(-2 * t), flow(target, t)
        x = np.concatenate([probes(p), 4 * (m * R + math.sqrt(v)) * np.ones((1, p.dim))])
        s, J = p.score(x), np.linalg.eigvalsh(p.score_jacobian(x))
        rough = 64 * EPS * (8 + float(np.abs(p.logpdf(x)).max())) * (1 + R + float(np.abs(x).max())) ** 2 / v**2
        number = lambda value, e=rough: Enclosure.near(float(value), e, method="closed form")  # noqa: E731
        pull = np.linalg.norm(s + x / v, axis=1).max()
        cells.append(at_most(number(pull), m * R / v, name="score", parameters={"of": "|s + x/σ²|", "t": t}))
        cells.append(at_most(-1 / v, number(J.min()), name="score", parameters={"of": "−1/σ² ⪯ ∇s", "t": t}))
        cells.append(at_most(number(J.max()), (m * R / v) ** 2 - 1 / v, name="score", parameters={"of": "∇s ⪯ m²R²/σ⁴ − 1/σ²", "t": t}))
        wrong.append(at_most(number(np.linalg.norm(s, axis=1).max()), m * R / v, name="score", parameters={"t": t}))
    control = claim_over(wrong, **mutated(compact_support_score, r"|s_t(x)|\le mR/v"))
    return claim_over(cells, control=control, terms={"R": R}, **what)


# ---- blindness -------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "B7", r"the Fisher divergence is blind to the weights of far modes", "derived here; Wenliang & Kanagawa 2020, https://arxiv.org/abs/2008.10087",
    r"p,q = w\,N(-a,1)+(1-w)\,N(a,1),\; w\in\{\tfrac12,\tfrac14\}:\quad E_p|\nabla\log p-\nabla\log q|^2 \le \tfrac12a^2e^{-a^2/2},\qquad"
    r" KL(p|q) \to \tfrac12\log\tfrac43 = 0.1438",
    caveat="so a score learnt without noise may have any weights; KL ≤ FD/(2α) needs α, which is negative here",
))  # fmt: skip
def fisher_divergence_blindness(target, *, quick=False):
    r"""FD(p, q) <= a^2 e^{-a^2/2}/2 while KL(p|q) >= 1/8, for two far modes of unequal weights (the target is not used).

    Modes at \pm a for a = 3, 4, 6. Proof: s^p - s^q = -2a D(2ax), D(u) = \sinh(c/2)/(\cosh(c/2) + \cosh(u + c/2)), c = \log 3, and p(x) =
    e^{-a^2/2}\varphi(x)\cosh(ax), where \cosh(u/2) D(u)^2 <= 0.095. Control: FD >= KL/10, what one log-Sobolev constant for all a would give.
    """
    what = about(fisher_divergence_blindness)
    cells, wrong, terms = [], [], {}
    for a in (4.0,) if quick else (3.0, 4.0, 6.0):
        p, q = (GaussianMixture([w, 1 - w], [[-a], [a]], 1.0) for w in (0.5, 0.25))
        fd, kl = score_distance(p, q), kullback_leibler(p, q)
        cells.append(at_most(fd, 0.5 * a * a * math.exp(-0.5 * a * a), name="FD", parameters={"of": "Fisher divergence", "a": a}))
        cells.append(at_most(0.125, kl, name="KL", parameters={"of": "KL stays", "a": a}))
        wrong.append(at_most(kl, 10 * fd, name="KL", parameters={"a": a}))
        terms |= {f"FD at a = {a:g}": fd, f"KL at a = {a:g}": kl}
    control = claim_over(wrong, **mutated(fisher_divergence_blindness, r"KL(p|q) \le 10\,E_p|\nabla\log p-\nabla\log q|^2"))
    return claim_over(cells, control=control, terms=terms, **what)
