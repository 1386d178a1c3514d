r"""The binomial chain of note 003 by listing its paths: two bits, T = 4 steps, 4^5 paths.

Each step keeps a bit with probability 1 - \beta/2 (it is redrawn with probability \beta); x_0 are two bits of the target: which of four intervals.
The decoder is a chain of random transition matrices, drawn from the bench's seed; its prior is uniform.
"""

from dataclasses import dataclass, replace
from functools import lru_cache, reduce

import numpy as np

from .bench import Bench
from .sums import column

__all__ = ["BETAS", "STEPS", "UNIFORM", "Chain", "bit_kernel", "chain", "exact_reverse", "reversible_first"]

BETAS = (0.1, 0.2, 0.3, 0.4)
STEPS = len(BETAS)
UNIFORM = np.full(4, 0.25)


def bit_kernel(beta, bits=2):
    r"""[y, x] = T_\pi(x|y; \beta): each bit kept with probability 1 - \beta/2."""
    one = np.array([[1 - beta / 2, beta / 2], [beta / 2, 1 - beta / 2]])
    return reduce(np.kron, [one] * bits)


@dataclass(frozen=True, eq=False)
class Chain:
    """``data`` q(x_0) (4,); ``forward`` [y, x] = q(x_t = x|x_{t-1} = y) and ``decoder`` [x, y] = rho(x_{t-1} = y|x_t = x), T matrices each."""

    data: np.ndarray
    forward: tuple[np.ndarray, ...]
    decoder: tuple[np.ndarray, ...]

    @property
    def q(self):
        """Probabilities of the paths (x_0, ..., x_T), (4,) * (T + 1)."""
        p = self.data
        for B in self.forward:
            p = p[..., None] * B
        return p

    @property
    def rho(self):
        """The same of the decoder's paths, from the uniform x_T down to x_0."""
        p = UNIFORM
        for R in reversed(self.decoder):
            p = R.T.reshape(4, 4, *(1,) * (p.ndim - 1)) * p[None]
        return p

    def marginal(self, *times):
        """q of the states at these times, which ascend: (4,) * len(times)."""
        return self.q.sum(axis=tuple(t for t in range(STEPS + 1) if t not in times))

    def reach(self, t):
        """[y, x] = q(x_t = x|x_0 = y)."""
        return reduce(np.matmul, self.forward[:t], np.eye(4))

    def posterior(self, t):
        """[x_0, y, x_t] = q(x_{t-1} = y|x_t, x_0), from the path law."""
        joint = self.q.sum(axis=tuple(s for s in range(STEPS + 1) if s not in (0, t - 1, t)))
        return joint / joint.sum(axis=1, keepdims=True)

    @property
    def log_ratio(self):
        r"""\log\rho(x_{0:T})/q(x_{1:T}|x_0), path by path."""
        return np.log(self.rho) - np.log(self.q / self.data.reshape(4, *(1,) * STEPS))

    @property
    def likelihood(self):
        r"""L = E \log\rho(x_0)."""
        return self.data @ np.log(self.rho.sum(axis=tuple(range(1, STEPS + 1))))

    @property
    def bound(self):
        r"""K = E_q \log\rho(x_{0:T})/q(x_{1:T}|x_0)."""
        return (self.q * self.log_ratio).sum()

    def step_term(self, t):
        r"""E_q \log\rho(x_{t-1}|x_t)/q(x_t|x_{t-1})."""
        pair = self.marginal(t - 1, t)
        return (pair * (np.log(self.decoder[t - 1].T) - np.log(self.forward[t - 1]))).sum()

    def step_divergence(self, t):
        r"""E KL(q(x_{t-1}|x_t, x_0)|\rho(x_{t-1}|x_t)), t >= 2."""
        post = self.posterior(t)
        joint = post * self.marginal(0, t)[:, None, :]
        return (joint * (np.log(post) - np.log(self.decoder[t - 1].T)[None])).sum()

    def conditional_entropy(self, t):
        """H_q(x_t|x_0)."""
        kernel = self.reach(t)
        return -(self.data[:, None] * kernel * np.log(kernel)).sum()


@lru_cache(maxsize=8)
def chain(bench: Bench):
    """The Chain of the bench: cell probabilities at mean -.8 sd, mean, mean + .8 sd, a tenth of them uniform so that none vanishes."""
    edges = column(bench.mean + bench.sd * np.array([-0.8, 0.0, 0.8]))
    cells = np.diff(np.concatenate([[0.0], bench.target.cdf(edges), [1.0]]))
    draws = np.random.default_rng([bench.seed, 3]).random((STEPS, 4, 4)) + 0.2
    return Chain(0.9 * cells + 0.1 * UNIFORM, tuple(map(bit_kernel, BETAS)), tuple(draws / draws.sum(axis=2, keepdims=True)))


def reversible_first(c):
    r"""The chain with \rho(x_0|x_1) = q(x_1|x_0) \pi(x_0)/\pi(x_1)."""
    return replace(c, decoder=(c.forward[0].T, *c.decoder[1:]))


def exact_reverse(c):
    r"""The chain with \rho(x_{t-1}|x_t) = q(x_{t-1}|x_t) for t >= 2."""
    made = [c.decoder[0]]
    for t in range(2, STEPS + 1):
        pair = c.marginal(t - 1, t)
        made.append((pair / pair.sum(axis=0)).T)
    return replace(c, decoder=tuple(made))
