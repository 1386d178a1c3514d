r"""Losses whose minimiser is the score, and Stein's identity, by expectations on the line."""

import math

import numpy as np

from .. import information
from ..divergence.quadrature import over_line
from ..divergence.view import view
from ..enclosure import Enclosure
from ..errors import NoMethod
from ..kernel import ornstein_uhlenbeck
from .claim import Statement, claim_over, not_applicable, states
from .numeric import EPS, about, equal, exists, flow, mutated, needs, probes, slow, unmet

__all__ = [
    "expectation", "hyvarinen_2005_implicit_score_matching", "line_score", "song_2019_sliced_score_matching", "stein_identity",
    "vincent_2011_denoising_score_matching",
]  # fmt: skip

MOMENT = r"E|X|^2 finite"
FIELDS = {"−x": (lambda x: -x, lambda x: -np.ones_like(x)), "sin x − x/2": (lambda x: np.sin(x) - 0.5 * x, lambda x: np.cos(x) - 0.5)}


def expectation(law, g):
    """E g(X) for a law on the line, g(x) of arrays x, by quadrature (a sum for point masses); an Enclosure."""
    if hasattr(law, "points"):
        values = g(np.asarray(law.points)[:, 0])
        return Enclosure.near(float(law.weights @ values), 64 * EPS * float(law.weights @ np.abs(values)), method="sum over points")
    seen = view(law)

    def f(x, _):
        log_p = seen.logpdf(x)
        here = log_p > -700
        log_p, x = np.where(here, log_p, 0.0), np.where(here, x, x[here].flat[0] if here.any() else 0.0)
        value = np.exp(log_p) * g(x)
        return np.where(here, np.stack([value, 16 * (8 + np.abs(log_p)) * np.abs(value)]), 0.0)

    value, error, noise = over_line(f, seen.edges)
    return Enclosure.near(value, error + EPS * noise, method="quadrature")


def _opened(theorem, target):
    """(what, None), or (what, the claim "not applicable") where the second moment is infinite. Raises NoMethod off the line."""
    needs(target, "noised", "second_moment")
    what = about(theorem, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is None and target.dim != 1:
        raise NoMethod(f"{theorem.__name__}: got dimension {target.dim}, allowed is 1: its expectations are integrals over the line")
    return what, claim


def line_score(law):
    """x -> s(x) for flat arrays of the line."""
    return view(law).score


# ---- losses ----------------------------------------------------------------------------------------------------------------------------


@states(Statement(
    "B4", r"denoising score matching = explicit score matching + (m²/σ⁴) Φ_t",
    "Vincent 2011, https://doi.org/10.1162/NECO_a_00142; constant derived here",
    r"E\left|f(X_t)-\nabla_x\log p(X_t\mid X_0)\right|^2 = E\left|f(X_t)-s_t(X_t)\right|^2 + \frac{m^2}{v^2}\,\Phi_t,\qquad"
    r" \Phi_t = E\,\mathrm{tr\,Cov}(X_0\mid X_t)", (MOMENT,),
    caveat="some notes print equality without the constant; the loss of the perfect score is (m²/σ⁴) Φ, not 0",
))  # fmt: skip
def vincent_2011_denoising_score_matching(target, *, quick=False):
    r"""E|f(X_t) + Z/\sqrt v|^2 = E|f - s|^2 + (m^2/v^2) \Phi_t for two fields f.

    Left: Gauss–Hermite in the noise under quadrature over X_0, no score; right: quadrature under p_t. Control: without the constant (there is
    none where X_0 is constant, and \Phi = 0).
    """
    what, claim = _opened(vincent_2011_denoising_score_matching, target)
    if claim is not None:
        return claim
    z, w = np.polynomial.hermite_e.hermegauss(64)
    w = w / w.sum()
    cells, wrong, terms = [], [], {}
    for t in (0.5,) if quick or slow(target) else (0.05, 0.5, 2.0):
        kernel, p = ornstein_uhlenbeck(t), flow(target, t)
        m, sd, s = kernel.m, math.sqrt(kernel.v), line_score(p)
        constant = (m / kernel.v) ** 2 * information.mmse(target, t)
        terms[f"(m²/σ⁴) Φ at t = {t:g}"] = constant
        for name, (field, _) in FIELDS.items():
            noisy = expectation(target, lambda x0: (w * (field(m * x0[..., None] + sd * z) + z / sd) ** 2).sum(-1))  # noqa: B023
            explicit = expectation(p, lambda x: (field(x) - s(x)) ** 2)  # noqa: B023
            for side, rhs in ((cells, explicit + constant), (wrong, explicit)):
                side.append(equal(noisy, rhs, digits=7, floor=1 / kernel.v, name="loss", parameters={"f": name, "t": t}))
    told = any(c.lo > 1e-6 for c in terms.values())
    control = claim_over(wrong, **mutated(vincent_2011_denoising_score_matching, r"E|f-\nabla_x\log p(X_t|X_0)|^2 = E|f-s_t|^2")) if told else None
    return claim_over(cells, control=control, terms=terms, **what)


def _vanishing(law):
    r"""p f -> 0 at both ends? Judged by the density at the outermost panel edges, against the inverse of the standard deviation."""
    if hasattr(law, "points"):
        return False
    edges = view(law).edges
    ends = np.exp(np.asarray(law.logpdf(edges[[0, -1], None])))
    return bool(np.max(ends * (1 + np.abs(edges[[0, -1]]))) <= 1e-6)


ENDS = "p f → 0 at the ends of the support"


def _each(target, quick):
    """(parameters, law, its score) at time 0 and later; None for the law where the boundary term does not vanish or there is no density."""
    for t in (0.0, 0.5) if quick or slow(target) else (0.0, 0.1, 0.5, 2.0):
        p = flow(target, t)
        fit = _vanishing(p) and exists(lambda t=t: information.fisher(target, t))
        yield {"t": t}, p if fit else None, line_score(p) if fit else None


@states(Statement(
    "B5", r"implicit score matching: ½E|f − s|² = E[½|f|² + div f] + ½F", "Hyvärinen 2005, https://jmlr.org/papers/v6/hyvarinen05a.html",
    r"\tfrac12E_p|f-\nabla\log p|^2 = E_p\left[\tfrac12|f|^2+\nabla\cdot f\right]+\tfrac12F(p),\qquad F(p)=E_p|\nabla\log p|^2", (MOMENT, ENDS),
    caveat="the boundary term must vanish: for a uniform law at t = 0 it does not, and the identity is false; some notes print −div f",
))  # fmt: skip
def hyvarinen_2005_implicit_score_matching(target, *, quick=False):
    r"""\frac12 E|f - s|^2 = E[\frac12|f|^2 + div f] + \frac12 F for two fields f, at time 0 and later.

    A time where p f does not vanish at the ends is out of scope, and says so. Control: -div f.
    """
    what, claim = _opened(hyvarinen_2005_implicit_score_matching, target)
    if claim is not None:
        return claim
    cells, wrong = [], []
    for parameters, p, s in _each(target, quick):
        if p is None:
            cells.append(not_applicable("loss", f"fails here: {ENDS}", relation="=", parameters=parameters, assumptions=((ENDS, False),)))
            continue
        rest = 0.5 * information.fisher(target, parameters["t"])
        for name, (field, slope) in FIELDS.items():
            loss = expectation(p, lambda x: 0.5 * (field(x) - s(x)) ** 2)  # noqa: B023
            for side, sign in ((cells, 1.0), (wrong, -1.0)):
                rhs = expectation(p, lambda x: 0.5 * field(x) ** 2 + sign * slope(x)) + rest  # noqa: B023
                side.append(equal(loss, rhs, digits=7, floor=max(1.0, rest.value), name="loss", parameters={**parameters, "f": name}))
    wrong = [c for c in wrong if c.parameters["f"] == "−x"]  # E div f = -1, never 0
    control = claim_over(wrong, **mutated(hyvarinen_2005_implicit_score_matching, r"\tfrac12E|f-s|^2 = E[\tfrac12|f|^2-\nabla\cdot f]+\tfrac12F"))
    return claim_over(cells, control=control, **what)


@states(Statement(
    "B6", r"Hutchinson's trace in sliced score matching: mean and variance",
    "Hutchinson 1989; Song, Garg, Shi & Ermon 2019, https://arxiv.org/abs/1905.07088",
    r"E[v^\top Jv] = \mathrm{tr}\,J \text{ if } E[vv^\top]=I;\qquad \mathrm{Var}(v^\top Jv) = 2\sum_{i\ne j}\bar J_{ij}^2\ (v_i=\pm1),\quad"
    r" 2\|\bar J\|_F^2\ (v\text{ normal}),\quad \bar J=\tfrac12(J+J^\top),\; J=\nabla s_t(x)",
    (MOMENT,), caveat="it gives div f in the sliced loss E[vᵀ∇f v + ½(vᵀf)²]; some notes print an extra ½ before the bracket, and ½(vᵀ∇s v)² inside",
))  # fmt: skip
def song_2019_sliced_score_matching(target, *, quick=False):
    r"""Var(v^T J v) for J = \nabla s_t(x), by enumerating all signs (d <= 10) and by tensor Gauss–Hermite quadrature (d <= 3).

    Also its mean, tr J; each at the worst of five points. On the line the signs give variance 0. Control: half the variance.
    """
    needs(target, "noised", "second_moment")
    what = about(song_2019_sliced_score_matching, (MOMENT, exists(target.second_moment)))
    if (claim := unmet(what, "=")) is not None:
        return claim
    if (d := target.dim) > 10:
        raise NoMethod(f"song_2019_sliced_score_matching: got dimension {d}, allowed is at most 10: all 2^d directions of signs are enumerated")
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * d, indexing="ij")).reshape(d, -1)
    kinds = {"signs": (signs, np.full(signs.shape[1], 0.5**d))}
    if d <= 3:
        z, w = np.polynomial.hermite_e.hermegauss(4)  # exact to degree 7 in each direction; the square has degree 4
        grid = np.meshgrid(*[np.arange(4)] * d, indexing="ij")
        kinds["normal"] = z[np.array(grid).reshape(d, -1)], np.prod(w[np.array(grid)] / w.sum(), axis=0).ravel()
    cells, wrong = [], []
    for t in (0.5,) if quick else (0.1, 0.5, 2.0):
        p = flow(target, t)
        J = p.score_jacobian(probes(p))
        for kind, (v, weight) in kinds.items():
            form = np.einsum("ik,nij,jk->nk", v, J, v)
            mean = form @ weight
            got = (form - mean[:, None]) ** 2 @ weight
            square = (J**2).sum((-1, -2)) - (np.einsum("nii->ni", J) ** 2).sum(-1) * (kind == "signs")
            size, trace = float((J**2).sum((-1, -2)).max()), np.einsum("nii->n", J)
            at = int(np.argmax(np.abs(mean - trace)))
            lhs = Enclosure.near(mean[at], 256 * d * EPS * math.sqrt(size), method="enumeration")
            cells.append(equal(lhs, trace[at], digits=9, floor=math.sqrt(size), name="mean", parameters={"of": "mean", "v": kind, "t": t}))
            for side, factor in ((cells, 2.0), (wrong, 1.0)):
                at = int(np.argmax(np.abs(got - factor * square)))
                lhs = Enclosure.near(got[at], 1024 * d * EPS * size, method="enumeration" if kind == "signs" else "Gauss–Hermite quadrature")
                side.append(equal(lhs, factor * square[at], digits=9, floor=size, name="variance", parameters={"of": "variance", "v": kind, "t": t}))
    control = claim_over(wrong, **mutated(song_2019_sliced_score_matching, r"\mathrm{Var}(v^\top Jv) = \|\bar J\|_F^2"))
    return claim_over(cells, control=control, **what)


@states(Statement(
    "B8", r"Stein: E[⟨s, f⟩ + div f] = 0", "Stein 1972, https://projecteuclid.org/euclid.bsmsp/1200514239; Liu, Lee & Jordan 2016",
    r"E_p\left[\langle\nabla\log p,f\rangle+\nabla\cdot f\right] = 0", (MOMENT, ENDS),
    caveat="false for laws whose density jumps at the ends of the support, such as a uniform one at t = 0",
))  # fmt: skip
def stein_identity(target, *, quick=False):
    r"""E<s, f> = -E div f for two fields f, at time 0 and later.

    A time where p f does not vanish at the ends is out of scope, and says so. Control: E<s, f> = E div f.
    """
    what, claim = _opened(stein_identity, target)
    if claim is not None:
        return claim
    cells, wrong = [], []
    for parameters, p, s in _each(target, quick):
        if p is None:
            cells.append(not_applicable("mean", f"fails here: {ENDS}", relation="=", parameters=parameters, assumptions=((ENDS, False),)))
            continue
        for name, (field, slope) in FIELDS.items():
            work = expectation(p, lambda x: s(x) * field(x))  # noqa: B023
            trace = expectation(p, slope)
            for side, sign in ((cells, -1.0), (wrong, 1.0)):
                side.append(equal(work, sign * trace, digits=7, floor=1.0, name="mean", parameters={**parameters, "f": name}))
    wrong = [c for c in wrong if c.parameters["f"] == "−x"]
    control = claim_over(wrong, **mutated(stein_identity, r"E_p\langle\nabla\log p,f\rangle = E_p\nabla\cdot f"))
    return claim_over(cells, control=control, **what)
