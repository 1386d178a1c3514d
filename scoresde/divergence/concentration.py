r"""Confidence bounds that hold at every sample size: plain functions of bounded draws, counts and sizes.

Each states exactly what holds with probability at least 1 - alpha. Two-sided bounds are two one-sided ones at alpha/2.
"""

import math

import numpy as np
from scipy import special

__all__ = ["betting", "betting_lower", "clopper_pearson", "clopper_pearson_lower", "dkw", "empirical_bernstein", "mcdiarmid", "normal"]

_SHARE = 0.75  # of the wealth that one bet may lose
_PIECE = 2**16  # draws at a time: a piece stays in the cache


def empirical_bernstein(x, alpha):
    r"""(lo, hi), |\bar x - \mu| \le \sqrt{2 V \log(4/\alpha) / n} + \frac{7 \log(4/\alpha)}{3 (n - 1)} with probability at least 1 - alpha.

    x : (n,) independent draws in [0, 1] with mean \mu, n >= 2; V their variance with divisor n - 1.
    Source: Maurer & Pontil 2009, https://arxiv.org/abs/0907.3740, theorem 4 on either side at alpha/2.
    """
    n, log = len(x), math.log(4 / alpha)
    mean, half = float(np.mean(x)), math.sqrt(2 * float(np.var(x, ddof=1)) * log / n) + 7 * log / (3 * (n - 1))
    return max(mean - half, 0.0), min(mean + half, 1.0)


def betting(x, alpha):
    r"""(lo, hi) with P(lo <= \mu <= hi) >= 1 - alpha: ``betting_lower`` of x and of 1 - x, each at alpha/2; it always holds the mean of x.

    Narrower than ``empirical_bernstein``: no constant is paid for the range where few draws reach it.
    """
    mean = float(np.mean(x))
    return min(betting_lower(x, 0.5 * alpha), mean), max(1.0 - betting_lower(1.0 - x, 0.5 * alpha), mean)


def betting_lower(x, alpha):
    r"""lo = \sup\{m : \prod_t (1 + \lambda_t(m) (x_t - m)) \ge 1/\alpha\} (0 if there is none), P(\mu < lo) <= alpha.

    x : (n,) draws in [0, 1] with conditional means E[x_t | x_1, ..., x_{t-1}] = \mu. The product is the wealth of a gambler against "the mean
    is m", who stakes \lambda_t(m) = \min(\sqrt{2 \log(1/\alpha) / (n \hat\sigma^2_{t-1})}, 3/(4m)) on draw t, fixed before it is seen. At
    m = \mu it is a nonnegative martingale of mean 1, so Markov's inequality holds for it; it decreases in m, so the root is a bound.
    Time O(n) per step of the root search, memory 40 n bytes.
    Source: Waudby-Smith & Ramdas 2024, https://doi.org/10.1093/jrsssb/qkad009 (predictable plug-in bets)
    """
    from scipy.optimize import brentq

    n, need, size = len(x), -math.log(alpha), np.arange(2.0, len(x) + 2)
    spread = np.cumsum(x)
    spread += 0.5
    spread /= size
    np.subtract(x, spread, out=spread)
    np.square(spread, out=spread)
    np.cumsum(spread, out=spread)
    spread += 0.25
    spread /= size
    bets = np.empty(n)
    bets[0] = 0.25
    bets[1:] = spread[:-1]
    bets *= n / (2 * need)
    np.sqrt(bets, out=bets)
    np.reciprocal(bets, out=bets)

    def excess(m):
        most = _SHARE / m if m > 0 else math.inf
        pieces = (slice(i, i + _PIECE) for i in range(0, n, _PIECE))
        return float(sum(np.log1p(np.minimum(bets[s], most) * (x[s] - m)).sum() for s in pieces)) - need

    top = float(np.max(x))
    if excess(0.0) <= 0 or top == 0:
        return 0.0
    return max(brentq(excess, 0.0, top, xtol=1e-10, rtol=1e-10) - 3e-10, 0.0)  # to the left of the root all is rejected


def clopper_pearson_lower(k, n, alpha):
    r"""lo with P(lo <= \theta) >= 1 - alpha for k ~ Binomial(n, \theta): P_{lo}(K \ge k) = alpha, and 0 for k = 0.

    Source: Clopper & Pearson 1934, https://doi.org/10.1093/biomet/26.4.404
    """
    return float(special.betaincinv(k, n - k + 1, alpha)) * (1 - 1e-9) if k else 0.0  # the inverse is good to 1e-10


def clopper_pearson(k, n, alpha):
    r"""(lo, hi) with P(lo <= \theta <= hi) >= 1 - alpha for k ~ Binomial(n, \theta): one-sided bounds at alpha/2. Source: as there."""
    return clopper_pearson_lower(k, n, 0.5 * alpha), 1.0 - clopper_pearson_lower(n - k, n, 0.5 * alpha)


def dkw(n, alpha):
    r"""e = \sqrt{\log(2/\alpha) / (2n)}: P(\sup_x |F_n(x) - F(x)| \le e) \ge 1 - \alpha for n independent draws from any F on the line.

    Source: Dvoretzky, Kiefer & Wolfowitz 1956; the constant: Massart 1990, https://doi.org/10.1214/aop/1176990746
    """
    return math.sqrt(math.log(2 / alpha) / (2 * n))


def mcdiarmid(n, alpha, change=1.0):
    r"""e = c \sqrt{\log(1/\alpha) / (2n)}: P(f - E f \ge e) \le \alpha if changing one of n independent arguments moves f by at most c/n.

    With f their mean and c their range this is Hoeffding's inequality. Source: McDiarmid 1989, https://doi.org/10.1017/CBO9781107359949.008
    """
    return change * math.sqrt(math.log(1 / alpha) / (2 * n))


def normal(x, alpha):
    r"""e = z_{1-\alpha/2} s / \sqrt n: \bar x \pm e covers the mean with a probability that tends to 1 - alpha, if the variance is finite.

    The central limit theorem: a statement about n -> infinity, not about the n at hand.
    """
    return -float(special.ndtri(0.5 * alpha)) * float(np.std(x, ddof=1)) / math.sqrt(len(x))
