"""Denoising score matching."""

import copy
import itertools
import math
import time
from dataclasses import replace

import numpy as np
import torch

from .._arrays import finite, frozen, positive_int, seed_words, stream
from ..errors import NotTrusted
from .learned import score
from .network import Network, angles

__all__ = ["train"]

BLOCK = 64  # steps whose draws are made together, and that are one entry of the loss curve
AVERAGE = 7.0  # the average weighs step k like k^7: about the last eighth of the run, however long it is


def train(target, *, seed, steps=None, seconds=None, T=6.0, stop=1e-3, width=64, depth=3, batch=512, rate=6e-3, threads=1, progress=None):
    r"""\min_F\; E\, k | F(t, U) - (\sin\varphi\, X_0 - \cos\varphi\, Z) |^2,   U = \cos\varphi\, X_0 + \sin\varphi\, Z,   k = \cos\varphi / \sqrt v,

    in the whitened coordinates of :class:`Network`: denoising score matching of the Ornstein–Uhlenbeck flow, log t uniform on
    [log stop, log T], stratified within each step. The weight k lies between those of the prediction of noise (1) and of the score
    (k^2): it keeps the largest L2(p_t) error of the score over t low. Every X_0 is noised by Z and by -Z: as t -> 0 their shares
    -\cos\varphi (Z, -Z) of the target, which carry nearly all of its noise, cancel in the gradient.

    target : a Law (fresh draws at every step), or data (n, d), an array: the mean and covariance come from it too; n >= 2.
    seed : int | SeedSequence; steps : int, or seconds : float, a time budget (exactly one; only ``steps`` is reproducible);
    stop, T : the score is trained, and can be evaluated, on [stop, T]: a uniform grid of step h ending at 0 asks for t >= h;
    width, depth : the hidden layers; batch : draws of X_0 per step; rate : Adam's largest step (warm-up, then cosine);
    threads : torch's threads meanwhile (put back afterwards): one is the fastest for small networks, by far where other work shares the
    cores; None leaves the number alone;
    progress : called as progress(fraction, loss) every 64 steps.

    Returns a LearnedScore in float64 whose weights are averaged over the training, step k with weight k^7. Equal seeds give equal
    weights, bit by bit, with the same torch, processor and threads. No global generator is read or moved. Raises TypeError or ValueError
    for wrong arguments, before any work, and NotTrusted if the loss stops being finite.

    Source: Vincent 2011, https://doi.org/10.1162/NECO_a_00142; the average: Karras et al. 2024, https://arxiv.org/abs/2312.02696
    """
    if (steps is None) == (seconds is None):
        raise ValueError(f"steps: got steps={steps} and seconds={seconds}, allowed is exactly one of them")
    if steps is not None:
        steps = positive_int("steps", steps)
    else:
        seconds = _positive("seconds", seconds)
    stop, T, rate = _positive("stop", stop), _positive("T", T), _positive("rate", rate)
    if not stop < T:
        raise ValueError(f"stop: got stop={stop} and T={T}, allowed is 0 < stop < T")
    width, depth, batch = positive_int("width", width), positive_int("depth", depth), positive_int("batch", batch)
    deadline = None if seconds is None else time.monotonic() + seconds
    threads = torch.get_num_threads() if threads is None else positive_int("threads", threads)
    draw, mean, cov = _source(target, seed)
    generator = torch.Generator().manual_seed(int(stream(seed, "learn").integers(2**63)))
    network = Network(len(mean), width, depth).start(mean, cov, generator)
    batches = _batches(draw, network, generator, batch, stop, T)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        average, losses = _descend(network, batches, rate, steps, deadline, progress)
    finally:
        torch.set_num_threads(before)
    curve = frozen([float(part.mean()) for part in torch.stack(losses).split(BLOCK)])
    return replace(score(average, dim=len(mean)), stop=stop, T=T, losses=curve)


def _descend(network, batches, rate, steps, deadline, progress):
    """The averaged network, and the loss of every step."""
    average = copy.deepcopy(network)
    weights, averages = [[p.detach() for p in net.parameters()] for net in (network, average)]
    adam = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.9, 0.99), fused=True)
    scale, losses, began = network.scale.float(), [], time.monotonic()
    for k, (t, x0, z) in enumerate(batches):
        done = k / steps if deadline is None else (time.monotonic() - began) / max(deadline - began, 1e-9)
        if k and (k % BLOCK == 0 or done >= 1):
            recent = float(torch.stack(losses[-BLOCK:]).mean())
            if not math.isfinite(recent):
                raise NotTrusted(f"train: the loss is {recent} after {k} steps; take a smaller rate= (got {rate:g}) or a larger stop=")
            if progress is not None:
                progress(min(done, 1.0), recent)
        if k and done >= 1:
            break
        with torch.enable_grad():
            loss = _loss(network, scale, t, x0, z)
            adam.zero_grad()
            loss.backward()
        adam.param_groups[0]["lr"] = rate * min(1.0, 50 * done + 1e-3) * 0.5 * (1 + math.cos(math.pi * done))
        adam.step()
        torch._foreach_lerp_(averages, weights, 1 - (1 - 1 / (k + 1)) ** (1 + AVERAGE))
        losses.append(loss.detach())
    return average, losses


def _loss(network, scale, t, x0, z):
    """The weighted error of F on the pairs (x0, z) and (x0, -z): t (n, 1), x0 and z (n, d), whitened."""
    m, sigma, w = angles(t, scale)
    c, s = m * scale / w, sigma / w
    u, aim = torch.cat([c * x0 + s * z, c * x0 - s * z]), torch.cat([s * x0 - c * z, s * x0 + c * z])
    return ((c / sigma).repeat(2, 1) * (network.velocity(t.repeat(2, 1), u) - aim) ** 2).mean()


def _batches(draw, network, generator, batch, stop, T):
    """For ever: times (batch, 1), whitened draws of X_0 and normals (batch, d), in float32."""
    mean, basis, scale = (b.numpy() for b in (network.mean, network.basis, network.scale))
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)  # a direction without spread has nothing to learn
    own = {"generator": generator, "dtype": torch.float32, "device": "cpu"}
    for block in itertools.count():
        x0 = torch.from_numpy((draw(block, BLOCK * batch) - mean) @ basis * inverse).float().reshape(BLOCK, batch, -1)
        z = torch.randn(x0.shape, **own)
        strata = (torch.rand(BLOCK, 1, **own) + torch.arange(batch)) / batch
        t = torch.exp(math.log(stop) + math.log(T / stop) * strata)
        yield from zip(t[..., None], x0, z)


def _source(target, seed):
    """(draws of a block: (number of the block, n) -> (n, d), mean (d,), cov (d, d)) of a law or of the rows of an array."""
    if hasattr(target, "sample") and hasattr(target, "noised"):
        words = seed_words(seed, "learn data")
        mean, cov = finite("target.mean()", target.mean()), finite("target.cov()", target.cov())
        return lambda block, n: target.sample(n, np.random.SeedSequence(words, spawn_key=(block,))), mean, cov
    if callable(target) or isinstance(target, (str, dict)):
        raise TypeError(f"target: got {type(target).__name__}, allowed is a Law, or data (n, d), an array")
    data = finite("target", target)
    if data.ndim != 2 or len(data) < 2 or not data.shape[1]:
        raise ValueError(f"target: got an array of shape {data.shape}, allowed is (n, d) with n >= 2; write x[:, None] for n points on the line")
    rng = stream(seed, "learn data")
    return lambda block, n: data[rng.integers(len(data), size=n)], data.mean(axis=0), np.cov(data, rowvar=False, ddof=0).reshape(data.shape[1], -1)


def _positive(name, value):
    value = float(finite(name, value))
    if not value > 0:
        raise ValueError(f"{name}: got {value}, allowed is a number > 0")
    return value
