r"""Divergences of Gaussian mixtures on the line as proofs: level "rigorous", every rounding, remainder and tail inside the enclosure.

Total variation: the sign of p - q is certified cell by cell, and masses are differences of distribution functions. KL and Fisher information:
Gauss–Legendre with Arb's remainder for analytic integrands (Johansson 2018, https://arxiv.org/abs/1802.07942), and explicit bounds of the tails.
"""

from functools import reduce

from .balls import Balls, acb, arb, balls, enclosed, exactly, normal, up_to

__all__ = ["divergence", "fisher", "fisher_divergence", "information", "kullback_leibler", "relative_fisher", "total_variation", "variation"]

SMALL = 2.0**-84  # the largest mass of a cell whose sign stays unknown
CELLS = 2**14
ORDER = 8


@exactly
def total_variation(p, q):
    r"""TV = \frac12 \int |p - q|, rigorous. p, q : Gaussian or GaussianMixture of dimension 1. Raises NoMethod for other laws."""
    return enclosed(variation(balls(p, "total_variation"), balls(q, "total_variation"))).cut(0.0, 1.0)


@exactly
def kullback_leibler(p, q):
    r"""KL(p | q) = \int p \log(p/q) in nats, rigorous. Laws and errors as ``total_variation``."""
    return enclosed(divergence(balls(p, "kullback_leibler"), balls(q, "kullback_leibler")))


@exactly
def fisher_divergence(p, q):
    r"""E_p|\nabla\log p - \nabla\log q|^2, rigorous. Laws and errors as ``total_variation``."""
    return enclosed(information(balls(p, "fisher_divergence"), balls(q, "fisher_divergence")))


@exactly
def relative_fisher(law, t=0.0):
    r"""I(p_t|\gamma) = E|\nabla\log p_t + x|^2, p_t the law after Ornstein–Uhlenbeck time t >= 0 (exactly the float given), rigorous."""
    return enclosed(information(balls(law, "relative_fisher").flow(t), normal()))


@exactly
def fisher(law, t=0.0):
    r"""E|\nabla\log p_t|^2, rigorous; law and t as ``relative_fisher``."""
    return enclosed(information(balls(law, "fisher").flow(t), None))


# ---- total variation ------------------------------------------------------------------------------------------------------------------


@exactly
def variation(p, q):
    """TV of two mixtures in balls, a ball."""
    d, lost = p.minus(q)
    if not d.terms:
        return up_to(lost / 2)
    a, b = d.hull()
    doubled, run = arb(0, lost) + up_to(sum((abs(w) * Balls(((arb(1), m, v),)).outside(a, b) for w, m, v in d.terms), arb(0))), None
    for left, sign, slack in [*_cells(d, a, b), (b, None, None)]:
        if run is not None and run[0] != sign:  # masses of neighbouring cells of one sign telescope
            doubled += run[0] * (d.cdf(left) - d.cdf(run[1]))
            run = None
        if sign == 0:
            doubled += up_to(slack)
        elif run is None:
            run = sign, left
    return doubled / 2


def _cells(d, a, b):
    r"""(left end, sign of d or 0, bound of \int|d| if 0), from left to right: cells are halved until their sign or their mass is settled.

    In units of the leading component, D = d/|w_j| N_j: the range of D on a cell, and a Taylor polynomial about its middle with Lagrange's
    remainder, which sees the sign where p and q nearly cancel.
    """
    stack, count = [(a, b)], 0
    while stack:
        left, right = stack.pop()
        x, count = left.union(right), count + 1
        (j, cell), (_, middle), away = d.series(x, ORDER + 1), d.series(x.mid(), ORDER), x - x.mid()
        size, taylor = cell[0], reduce(lambda rest, k: rest * away + middle[k], reversed(range(ORDER)), cell[ORDER])
        sign = 1 if size > 0 or taylor > 0 else -1 if size < 0 or taylor < 0 else 0
        if sign:
            yield left, sign, None
            continue
        w, m, v = d.terms[j]
        mass = abs(w) * (((m - right) / (2 * v).sqrt()).erfc() - ((m - left) / (2 * v).sqrt()).erfc()) / 2
        slack = (mass * size).abs_upper().min((mass * taylor).abs_upper())
        if slack < SMALL or count > CELLS:
            yield left, 0, slack
        else:
            stack += [(x.mid(), right), (left, x.mid())]


# ---- integrals ------------------------------------------------------------------------------------------------------------------------


def _over(f, a, b):
    r"""\int_a^b f; f(z, analytic) must be analytic on a ball z, or not finite, where ``analytic`` is set."""
    return acb.integral(f, acb(a), acb(b), rel_tol=arb(2) ** -60, abs_tol=arb(2) ** -100).real


def divergence(p, q):
    r"""KL(p | q) of mixtures in balls: \int (p\log(p/q) - p + q) over an interval, its masses, and p|\log(p/q)| outside.

    There |\log f| <= |\log \sup f| + |l_j(x)| for any one component j of f = p, q; the widest is taken.
    """
    if p.same(q):
        return arb(0)

    def f(z, analytic):
        lp, ep, _ = p.lead(z)
        lq, eq, _ = q.lead(z)
        sp, sq = sum(ep, acb(0)), sum(eq, acb(0))
        log = lp - lq + (sp.log(analytic=analytic) - sq.log(analytic=analytic))  # analytic where neither sum meets the branch cut
        over, under = lp.exp() * sp, lq.exp() * sq
        return over * log - over + under

    a, b = p.hull()
    tail = arb(0)
    for law in (p, q):
        w, m, v = max(law.terms, key=lambda term: float(term[2]))
        highest = sum((w / (2 * arb.pi() * v).sqrt() for w, _, v in law.terms), arb(0))
        level = (w / (2 * arb.pi() * v).sqrt()).log()
        tail += (abs(highest.log()) + abs(level)) * p.outside(a, b) + p.outside(a, b, m) / (2 * v)
    tail = tail.upper()
    return _over(f, a, b) + q.outside(a, b) - p.outside(a, b) + arb(0, tail)


def information(p, q):
    r"""E_p|\nabla\log p - \nabla\log q|^2 of mixtures in balls, E_p|\nabla\log p|^2 without q.

    Outside the interval: |s_p - s_q|^2 <= 2 s_p^2 + 2 s_q^2, p s_p^2 <= \sum_k w_k N_k (x - m_k)^2/v_k^2, s_q^2 <= \max_j (x - m_j)^2/v_j^2.
    """
    if q is not None and p.same(q):
        return arb(0)

    def score(law, z):
        level, ratios, slopes = law.lead(z)
        total = sum(ratios, acb(0))
        return level, total, sum((e * s for e, s in zip(ratios, slopes, strict=True)), acb(0)) / total

    def f(z, _):  # meromorphic: a pole in z makes the ball infinite
        level, total, gap = score(p, z)
        gap -= 0 if q is None else score(q, z)[2]
        return level.exp() * total * gap * gap

    a, b = p.hull()
    tail = sum((Balls((term,)).outside(a, b, term[1]) / term[2] ** 2 for term in p.terms), arb(0))
    tail += arb(0) if q is None else sum((p.outside(a, b, m) / v**2 for _, m, v in q.terms), arb(0))
    return _over(f, a, b) + up_to(2 * tail)
