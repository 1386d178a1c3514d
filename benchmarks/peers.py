"""The same simulation as others would write it, each as well as its library allows: reverse Euler-Maruyama with the exact score of a mixture.

Particles lie along the last axis, so that every loop over them is one over neighbours in memory, and all that does not depend on x is made before.
Every entry of ``PEERS`` is (name, module it needs, make, batches). ``make(problem, dtype, batch)`` returns run(n, seed), which gives particles
(n, d); ``batch`` is how many are stepped at once, and the benchmark takes the fastest. All have two cores: numpy through two threads of Python,
torch through its own, JAX and diffrax through two devices.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

import scoresde as sd

__all__ = ["PEERS", "THREADS", "Problem", "problem"]

THREADS = 2


@dataclass(frozen=True, eq=False)
class Problem:
    """A mixture of K isotropic Gaussians in R^d and a table on equal steps from T to 0; ``m``, ``inverse`` (K,), ``offset`` (K,) for each step:

    s(t, x) = \\sum_k r_k (m \\mu_k - x) inverse_k, r_k proportional to exp(offset_k - |x - m \\mu_k|^2 inverse_k / 2)."""

    law: sd.GaussianMixture
    table: sd.Table
    h: float
    steps: int
    m: np.ndarray
    inverse: np.ndarray
    offset: np.ndarray

    @property
    def dim(self):
        return self.law.dim

    @property
    def few(self):
        """Few coordinates: squares of differences, summed one by one, beat a matrix product."""
        return self.dim <= 4

    @property
    def factors(self):
        """x' = f_0 x + f_1 s + f_2 z."""
        return 1 + self.h, 2 * self.h, float(np.sqrt(2 * self.h))


def problem(d, count, steps=20, T=2.0, seed=0):
    """The Problem of ``count`` components in R^d, about two apart; its start is N(0, I)."""
    rng = np.random.default_rng(seed)
    weights, variances = rng.dirichlet(np.full(count, 5.0)), rng.uniform(0.3, 0.8, count)
    law = sd.GaussianMixture(weights, 2.0 * rng.standard_normal((count, d)) / np.sqrt(d), variances)
    table = sd.scheme.euler_maruyama(sd.grid.uniform(T, steps))
    kernels = [sd.ornstein_uhlenbeck(float(t)) for t in table.score_times]
    m = np.array([k.m for k in kernels])
    v = m[:, None] ** 2 * variances + np.array([k.v for k in kernels])[:, None]
    return Problem(law, table, T / steps, steps, m, 1 / v, np.log(weights) - 0.5 * d * np.log(v))


# ---- numpy ----------------------------------------------------------------------------------------------------------------------------


def numpy_step(problem, dtype):
    """step(x, z, r): x (d, n) becomes the next state, in place; z is overwritten."""
    mu = problem.law.means.astype(dtype)
    m, inverse, offset = (a.astype(dtype) for a in (problem.m, problem.inverse, problem.offset))
    grow, pull, spread = (dtype(c) for c in problem.factors)

    def step(x, z, r):
        centres, scale = m[r] * mu, inverse[r][:, None]
        if problem.few:
            q = np.zeros((len(mu), x.shape[1]), dtype)
            for j, axis in enumerate(x):
                u = axis - centres[:, j, None]
                u *= u
                q += u
        else:
            q = (-2 * centres) @ x
            q += np.einsum("dn,dn->n", x, x)
            q += np.einsum("kd,kd->k", centres, centres)[:, None]
        q *= -0.5 * scale
        q += offset[r][:, None]
        q -= q.max(axis=0)
        np.exp(q, out=q)
        q *= scale / q.sum(axis=0)
        x *= grow - pull * q.sum(axis=0)
        x += (pull * centres).T @ q
        z *= spread
        x += z

    return step


def numpy_make(problem, dtype, batch):
    step, d = numpy_step(problem, np.dtype(dtype).type), problem.dim

    def block(n, seed):
        rng = np.random.Generator(np.random.SFC64(seed))
        x, z = (np.empty((d, n), dtype) for _ in range(2))
        rng.standard_normal(out=x, dtype=dtype)
        for r in range(problem.steps):
            rng.standard_normal(out=z, dtype=dtype)
            step(x, z, r)
        return x.T

    def run(n, seed):
        sizes = [min(batch, n - lo) for lo in range(0, n, batch)]
        seeds = np.random.SeedSequence(seed).spawn(len(sizes))
        with ThreadPoolExecutor(THREADS) as pool:
            return np.concatenate(list(pool.map(block, sizes, seeds)))

    return run


# ---- torch ----------------------------------------------------------------------------------------------------------------------------


def torch_pull(few, x, centres, inverse, offset):
    r"""(\sum_k r_k inverse_k (1, n), \sum_k r_k inverse_k m \mu_k (d, n)): the score at x (d, n) is the second minus the first times x."""
    if few:
        q = sum((x[j] - centres[:, j, None]) ** 2 for j in range(len(x)))
    else:
        q = (x * x).sum(0) - 2 * centres @ x + (centres * centres).sum(1, keepdim=True)
    q = (offset[:, None] - 0.5 * inverse[:, None] * q).softmax(0) * inverse[:, None]
    return q.sum(0, keepdim=True), centres.T @ q


def torch_step(problem, dtype):
    """(step, arguments of every step): step(x, z, centres, inverse, offset) is the next state, a function of tensors alone."""
    import torch

    as_tensor = lambda x: torch.tensor(x, dtype=getattr(torch, dtype))  # noqa: E731
    centres = problem.m[:, None, None] * problem.law.means
    (grow, pull, spread), few = problem.factors, problem.few

    def step(x, z, *a):
        total, mean = torch_pull(few, x, *a)
        return (grow - pull * total) * x + pull * mean + spread * z

    return step, [(as_tensor(centres[r]), as_tensor(problem.inverse[r]), as_tensor(problem.offset[r])) for r in range(problem.steps)]


def torch_make(problem, dtype, batch, compiled=False):
    import torch

    torch.set_num_threads(THREADS)
    step, arguments = torch_step(problem, dtype)
    if compiled:
        torch.compiler.reset()  # what was compiled for other shapes counts towards a limit, above which it would run uncompiled
        step = torch.compile(step, dynamic=False)
    kind = getattr(torch, dtype)

    def run(n, seed):
        torch.manual_seed(seed)
        out = []
        with torch.no_grad():
            for _ in range(0, n, batch):  # always whole batches: another size would be compiled again
                x, z = torch.randn(problem.dim, batch, dtype=kind), torch.empty(problem.dim, batch, dtype=kind)
                for a in arguments:
                    x = step(x, z.normal_(), *a)
                out.append(x)
        return torch.cat(out, 1)[:, :n].numpy().T

    return run


def torch_compiled(problem, dtype, batch):
    return torch_make(problem, dtype, batch, compiled=True)


def torchsde_make(problem, dtype, batch):
    import torch
    import torchsde

    torch.set_num_threads(THREADS)
    kind, last = getattr(torch, dtype), problem.h * problem.steps
    means, variances = (torch.tensor(x, dtype=kind) for x in (problem.law.means, problem.law.covs))
    log_weights = torch.log(torch.tensor(problem.law.weights, dtype=kind))

    class Reverse:
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t, x):
            m = torch.exp(t - last)
            v = m * m * variances + (1 - m * m)
            total, mean = torch_pull(problem.few, x, m * means, 1 / v, log_weights - 0.5 * problem.dim * torch.log(v))
            return (1 - 2 * total) * x + 2 * mean

        def g(self, t, x):
            return torch.full_like(x, np.sqrt(2.0))

    sde, ends = Reverse(), torch.tensor([0.0, last], dtype=kind)

    def run(n, seed):
        torch.manual_seed(seed)
        out = []
        with torch.no_grad():
            for i, _ in enumerate(range(0, n, batch)):
                x = torch.randn(problem.dim, batch, dtype=kind)
                path = torchsde.BrownianInterval(0.0, last, size=x.shape, dtype=kind, entropy=seed * 1000 + i, dt=problem.h)
                out.append(torchsde.sdeint(sde, x, ends, bm=path, method="euler", dt=problem.h)[-1])
        return torch.cat(out, 1)[:, :n].numpy().T

    return run


# ---- JAX ------------------------------------------------------------------------------------------------------------------------------


def _jax():
    """jax with both precisions, and one device for each core: XLA runs most loops of one device on one core."""
    os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={THREADS}")
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


def jax_pull(few, x, centres, inverse, offset):
    """As ``torch_pull``."""
    import jax

    if few:
        q = sum((x[j] - centres[:, j, None]) ** 2 for j in range(len(x)))
    else:
        q = (x * x).sum(0) - 2 * centres @ x + (centres * centres).sum(1, keepdims=True)
    q = jax.nn.softmax(offset[:, None] - 0.5 * inverse[:, None] * q, 0) * inverse[:, None]
    return q.sum(0), centres.T @ q


def _on_both(jax, block, batch, dim):
    """run(n, seed) that calls block(key), which gives (d, batch), as often as needed, on both devices at once."""
    devices = jax.devices()[:THREADS]
    compiled = jax.pmap(block, devices=devices)

    def run(n, seed):
        calls = -(-n // (batch * len(devices)))
        keys = jax.random.split(jax.random.key(seed, impl="unsafe_rbg"), (calls, len(devices)))
        done = [compiled(k) for k in keys]  # handed out without waiting
        return np.concatenate([np.asarray(x) for x in done]).swapaxes(-1, -2).reshape(-1, dim)[:n]

    return run


def jax_make(problem, dtype, batch):
    jax = _jax()
    as_array = lambda x: np.asarray(x, dtype)  # noqa: E731
    rows = tuple(as_array(x) for x in (problem.m[:, None, None] * problem.law.means, problem.inverse, problem.offset))
    grow, pull, spread = (np.dtype(dtype).type(c) for c in problem.factors)

    def block(key):
        first, noise = jax.random.split(key)
        x = jax.random.normal(first, (problem.dim, batch), dtype)

        def step(x, row):
            key, *row = row
            total, mean = jax_pull(problem.few, x, *row)
            return (grow - pull * total) * x + pull * mean + spread * jax.random.normal(key, x.shape, dtype), None

        return jax.lax.scan(step, x, (jax.random.split(noise, problem.steps), *rows))[0]

    return _on_both(jax, block, batch, problem.dim)


def diffrax_make(problem, dtype, batch):
    jax = _jax()
    import diffrax
    import jax.numpy as jnp
    import lineax

    means, variances, log_weights = (np.asarray(x, dtype) for x in (problem.law.means, problem.law.covs, np.log(problem.law.weights)))
    last, kind = problem.h * problem.steps, np.dtype(dtype).type

    def drift(t, x, _):
        m = jnp.exp(t - last)
        v = m * m * variances + (1 - m * m)
        total, mean = jax_pull(problem.few, x, m * means, 1 / v, log_weights - 0.5 * problem.dim * jnp.log(v))
        return (1 - 2 * total) * x + 2 * mean

    def diffusion(t, x, _):
        return lineax.DiagonalLinearOperator(jnp.full_like(x, np.sqrt(2.0)))

    def block(key):
        first, noise = jax.random.split(key)
        x = jax.random.normal(first, (problem.dim, batch), dtype)
        path = diffrax.UnsafeBrownianPath(shape=jax.ShapeDtypeStruct(x.shape, x.dtype), key=noise)
        terms = diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(diffusion, path))
        done = diffrax.diffeqsolve(
            terms, diffrax.Euler(), kind(0), kind(last), kind(problem.h), x, adjoint=diffrax.ForwardMode(), max_steps=problem.steps + 1, throw=False
        )
        return done.ys[-1]

    return _on_both(jax, block, batch, problem.dim)


PEERS = (  # name, module, make, numbers (particles times coordinates) that are stepped at once: the fastest is taken
    ("numpy, vectorised", "numpy", numpy_make, (2**17,)),
    ("numpy, blocked", "numpy", numpy_make, (2**12, 2**14, 2**15)),
    ("torch", "torch", torch_make, (2**13, 2**16)),
    ("torch.compile", "torch", torch_compiled, (2**15,)),
    ("JAX, blocked", "jax", jax_make, (2**11, 2**14)),
    ("diffrax", "diffrax", diffrax_make, (2**11, 2**14)),
    ("torchsde", "torchsde", torchsde_make, (2**14,)),
)
