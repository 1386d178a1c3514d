r"""The device engine: the tables and scores of the fused engine, through torch, on a graphics card.

Two ways, chosen by the table's size. Up to 8 coordinates a whole chain runs in the registers of one thread, normals included: one Triton
kernel for the whole run. Above, or without Triton, particles go in blocks through two matrix products a row,

    G = y \mu^T,  w_k = r_k / V_k,  s = m w \mu - (\sum_k w_k) y + shift,  r_k \propto 2^{slope_k G_k + offset_k - bend_k |y|^2},

with one kernel that turns logits into weights and one that draws the noise and takes the step. Means and particles are measured from
the mean of the means, c: what is stored is y_r - f_r c with a number f_r, so that a far cloud costs no digits; the bend is the excess of 1/V_k
over its middle: a common 1/V cancels. The constants of tables, clocks and laws are computed in float64 on the processor.

Accuracy. A product of float32 vectors of length d is off by up to about u \sqrt d |y| |\mu|, u = 2^-24, and a logit by m/V times that:
:func:`logit_error`. Where this passes 0.05 the products of that row are made in float64. Measured at d = 1024 with 1024 components of
variance 0.05 at distance 45: float32 scores are off by at most 2e-6 of their root mean square for t from 0.01 to 3. Torch's switches for
shorter products (torch.set_float32_matmul_precision) are left as they are: full float32 unless the user asks. If he asks, the error of the
score is measured and shown in a warning; for factors rounded as TF32 does it was 2e-5 at t = 3, 1e-3 at 0.5, 5e-3 at 0.01.

Which bits: the random words and the normals are those of the processor, bit for bit. A chain in registers depends on (seed, particle) alone;
matrix products may round by the number of particles in a block. From device to device particles agree to rounding, which the chain's own
flow amplifies.

Sources: Milakov & Gimelshein 2018, https://arxiv.org/abs/1805.02867 (running maximum); Tillet, Kung & Cox 2019, Triton,
https://doi.org/10.1145/3315508.3329973
"""

import warnings
from importlib.util import find_spec

import numpy as np

from ..errors import NotTrusted

__all__ = ["available", "logit_error", "need", "run"]

TOLERANCE = 0.05  # of a logit, above which float32 products give way to float64
_COORDINATES, _BLOCKS = 8, 64  # what the registers of a thread hold: coordinates; and numbers of a pair of particles, with their memories
_NUMBERS = 2**26  # in the largest array of a block of particles
_BITS = 1 / np.log(2)


def kernels(device):
    """The module of kernels for a device: Triton's on a card where it is installed, else torch's."""
    if device.type == "cuda" and find_spec("triton"):
        from . import triton_kernels as chosen
    else:
        from . import torch_kernels as chosen
    return chosen


def _lags(program):
    a, b, c, used, drawn = program.table
    return a.shape[1], b.shape[1] if used.any() else 0, c.shape[1] if drawn.any() else 0


def _in_registers(program, dim, device_kernels):
    return hasattr(device_kernels, "chains") and dim <= _COORDINATES and 2 * dim * sum(_lags(program)) <= _BLOCKS


def _block(program, n, dim):
    """Particles of a block: an even number, or n."""
    return min(n, max(2, _NUMBERS // max(program.score[3].shape[0], dim) // 2 * 2))


def need(program, n, dim, dtype, states, device, device_kernels=None):
    """Bytes on the device of a run: the states kept, the constants, and what a block of particles takes while it is stepped."""
    size, (rows, count) = np.dtype(dtype).itemsize, program.score[2].shape
    whole = size * states * n * dim
    if _in_registers(program, dim, device_kernels or kernels(device)):
        return whole + size * rows * (count + 8) * (1 + program.score[4].shape[1])
    work = _block(program, n, dim) * (count * (16 + 2 * size) + size * dim * (4 + sum(_lags(program))))
    return whole + work + 8 * count * len(program.compact[2]) + count * (program.score[4].shape[1] + dim) * (8 + size) * 2


def available(device):
    """Bytes of a card that can still be taken: what is free, and what torch holds without using it."""
    import torch

    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def run(program, start, keep, states, key, n, dim, dtype, device, device_kernels=None):
    """(states, n, dim) on the device: y_0 in the first place, then y_{r+1} at keep[r] >= 0, over it where keep[r] is 0.

    program: of :func:`.fused.program`, in float64. start: the key of standard normals, or (lo, hi) -> rows lo..hi-1 of y_0.
    device_kernels: the module of kernels, if not the device's own. Raises NotTrusted where even float64 products do not resolve the law.
    """
    import torch

    device_kernels = device_kernels or kernels(device)
    out = torch.empty((states, n, dim), dtype=getattr(torch, dtype), device=device)
    with torch.no_grad(), torch.cuda.device_of(out):
        if isinstance(start, tuple):
            device_kernels.draw(out[0], start, 0, 0)
        else:
            out[0] = torch.from_numpy(np.array(start(0, n)))
        if _in_registers(program, dim, device_kernels):
            _chains(torch, device_kernels, program, out, keep, key)
        else:
            _products(torch, device_kernels, program, out, keep, key)
    return out


# ---- chains in registers -------------------------------------------------------------------------------------------------------------


def _chains(torch, device_kernels, program, out, keep, key):
    a, b, c, used, drawn = program.table
    m, v, offset, means, covs, shift = program.score
    lags, scores, noises = _lags(program)
    most = max(2, min(8, 32 // means.shape[1]))  # logits that are held at once
    tile = -(-len(means) // -(-len(means) // most))
    pad = -len(means) % tile  # components of weight 0
    inverse = np.pad(1 / (m[:, None, None] ** 2 * covs + v[:, None, None]), ((0, 0), (0, pad), (0, 0)))
    offset = np.pad(_BITS * offset, ((0, 0), (0, pad)), constant_values=-np.inf)
    put = lambda x, kind=out.dtype: torch.from_numpy(np.ascontiguousarray(x)).to(out.device, kind)  # noqa: E731
    whole = [put(x, torch.int32) for x in (keep, used, drawn)]
    table = (*whole[1:], put(a[:, :lags]), put(b[:, :scores]), put(c[:, :noises]))
    law = (put(m), put(inverse), put(offset), put(np.pad(means, ((0, pad), (0, 0)))), put(shift))
    device_kernels.chains(out, whole[0], table, law, key, tile)


# ---- blocks through matrix products --------------------------------------------------------------------------------------------------


def logit_error(program, dtype):
    r"""(R,) about how far a logit is off in each row when its products are made in dtype, in natural units:

    u \sqrt d |y| (m |\mu| / V + |y| (1/V_{least} - 1/V_{most}) / 2),  |y| <= m |\mu| + \sqrt{d V},  means measured from their centre.

    u = 2^-24 for float32. It takes the roundings of a sum of d terms for independent and the particles to be where the law has its mass.
    """
    m, v, _, means, covs, _ = program.score
    rho = np.sqrt(np.square(means - means.mean(axis=0)).sum(axis=1).max())
    least, most = (m**2 * f(covs) + v for f in (np.min, np.max))
    d, u, m = means.shape[1], np.finfo(dtype).eps / 2, np.abs(m)
    y = m * rho + np.sqrt(d * most)
    return np.where(program.table[3], u * np.sqrt(d) * y * (m * rho / least + y * (1 / least - 1 / most) / 2), 0.0)


def _products(torch, device_kernels, program, out, keep, key):
    a, b, c, used, drawn = program.table
    m, _, _, means, _, shift = program.score
    lags, scores, noises = _lags(program)
    rows, (n, d) = len(a), out.shape[1:]
    frame = np.append(m, 0.0)  # what is stored is y_r - frame_r centre
    drift = [sum(a[r, j] * frame[r - j] for j in range(min(lags, r + 1))) - frame[r + 1] for r in range(rows)]
    put = lambda x, kind=out.dtype: torch.from_numpy(np.ascontiguousarray(x)).to(out.device, kind)  # noqa: E731
    numbers = put(np.stack([m, a[:, 0], b[:, 0], c[:, 0], drift], axis=1), torch.float64)
    shift, middle = put(shift), put(means.mean(axis=0), torch.float64)
    centre = middle.to(out.dtype)
    wide = logit_error(program, str(out.dtype).removeprefix("torch.")) > TOLERANCE
    if (logit_error(program, np.float64) > TOLERANCE).any():
        raise NotTrusted(f"score: got a law whose logits float64 products miss by more than {TOLERANCE}; pass engine='loop', which takes differences")
    score = _score(torch, device_kernels, program, out.dtype, out.device)
    if out.dtype == torch.float32 and (used & ~wide).any() and _below_float32(torch, out.device):
        _show_error(torch, device_kernels, program, int(np.flatnonzero(used & ~wide)[-1]), out.device)
    block = _block(program, n, d)
    for lo in range(0, n, block):
        hi = min(lo + block, n)
        begin = out[0, lo:hi].to(torch.float64) - frame[0] * middle
        y, s, z = [begin.to(out.dtype)], [], []  # newest first, as many as the table looks back
        for r in range(rows):
            product, pull = score(r, y[0], torch.float64 if wide[r] else out.dtype) if used[r] else (None, None)
            new, *latest = device_kernels.advance(
                y[0], product, pull, shift, centre, numbers[r], key, lo, r, bool(drawn[r]), scores > 1, noises > 1
            )  # fmt: skip
            s.insert(0, latest[0])
            z.insert(0, latest[1])
            for coefficients, past in ((a[r], y), (b[r], s), (c[r], z)):
                for p, u in zip(coefficients[1:].tolist(), past[1:], strict=False):
                    if p != 0 and u is not None:
                        new.add_(u, alpha=p)
            y.insert(0, new)
            del y[lags:], s[max(scores - 1, 0) :], z[max(noises - 1, 0) :]
            if keep[r] >= 0:
                out[keep[r], lo:hi] = new + frame[r + 1] * centre


def _score(torch, device_kernels, program, kind, device):
    """(r, y, wide) -> (product, pull): the score is m product - pull y + shift, y measured from m times the centre.

    kind is the type of y, wide the one in which logits are formed.
    """
    m, v, _, means, covs, _ = program.score
    put = lambda x: torch.from_numpy(np.ascontiguousarray(x)).to(device, torch.float64)  # noqa: E731
    mu, covariance, constant = put(means - means.mean(axis=0)), put(covs), put(_BITS * program.compact[2])  # one row of offsets, or one each
    offset = lambda r: constant[r % len(constant)]  # noqa: E731
    mean, square, bent = {torch.float64: mu, kind: mu.to(kind)}, mu.square().sum(1), bool((covs != covs[0]).any())
    excess = lambda u: _BITS / 2 * (u - (u.amin(0) + u.amax(0)) / 2)  # noqa: E731

    def isotropic(r, y, wide):
        inverse = 1 / (m[r] ** 2 * covariance[:, 0] + v[r])
        slope = _BITS * m[r] * inverse
        row = slope, offset(r) - m[r] / 2 * slope * square, inverse, excess(inverse)
        slope, constants, inverse, bend = (u.to(wide) for u in row)
        y = y.to(wide)
        squares, bend = (y.square().sum(1), bend) if bent else (None, None)
        weights, pull = device_kernels.weigh(y @ mean[wide].T, slope, constants, inverse, squares, bend, kind)
        return weights @ mean[kind], pull

    def diagonal(r, y, wide):
        inverse = 1 / (m[r] ** 2 * covariance + v[r])
        scaled = inverse * mu
        logits = y.to(wide) @ (_BITS * m[r] * scaled).to(wide).T
        if bent:
            logits -= y.to(wide).square() @ excess(inverse).to(wide).T
        one = torch.ones_like(logits[0])
        constants = offset(r) - _BITS / 2 * m[r] ** 2 * (scaled * mu).sum(1)
        weights, _ = device_kernels.weigh(logits, one, constants.to(wide), one, None, None, kind)
        inverse = inverse.to(kind)
        return weights @ scaled.to(kind), weights @ inverse if bent else inverse[0].expand_as(y).contiguous()

    return isotropic if covs.shape[1] == 1 else diagonal


# ---- TF32 and bfloat16, if the user asked torch for them -----------------------------------------------------------------------------


def _below_float32(torch, device):
    """Whether torch's float32 products round their factors; asked of a product, since the switches have several names."""
    x = torch.linspace(1, 2, 64 * 64, dtype=torch.float64, device=device).reshape(64, 64)
    exact = x @ x.T
    return bool(((x.float() @ x.float().T - exact) / exact).abs().max() > 1e-5)  # float32: 64 u = 4e-6 at most


def _show_error(torch, device_kernels, program, r, device):
    """Warn with the measured error of the score in row r, at 64 draws of the law there."""
    m, v, _, means, covs, _ = program.score
    rng = np.random.default_rng(0)
    k = rng.integers(len(means), size=64)
    noise = np.sqrt(m[r] ** 2 * covs[k] + v[r]) * rng.standard_normal((64, means.shape[1]))
    x = torch.from_numpy(m[r] * (means[k] - means.mean(axis=0)) + noise).to(device)

    def value(kind):
        y = x.to(kind)
        product, pull = _score(torch, device_kernels, program, kind, device)(r, y, kind)
        return m[r] * product - (pull if pull.ndim == 2 else pull[:, None]) * y

    exact = value(torch.float64)
    error = float((value(torch.float32) - exact).abs().max() / exact.square().mean().sqrt())
    warnings.warn(
        f"torch makes float32 matrix products in a shorter type, as it was asked to: the score of row {r} is off by up to {error:.1g} of its root "
        "mean square; torch.set_float32_matmul_precision('highest') gives full float32",
        stacklevel=6,
    )
