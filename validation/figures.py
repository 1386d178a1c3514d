"""Three pictures of the lecture notes, redrawn from exact laws: ``python -m validation.figures --out DIR`` writes them as PNG.

diffusion: a law on the line under the Ornstein-Uhlenbeck process, its marginals and a few paths (note 000); score: a mixture, its score and the
arrows of the score (note 002); un_diffusion: a blog's search for the most probable x given x + noise, beside draws of x (note 004).
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from scoresde import Gaussian, GaussianMixture, Kernel, Table, standard_normal, trajectories
from scoresde.kernel import ornstein_uhlenbeck

from .notes.blog_004 import NOISE, OBSERVED, X, most_probable

__all__ = ["FIGURES", "diffusion", "main", "score", "un_diffusion"]

MIXTURE = GaussianMixture([0.35, 0.65], [[-1.2], [1.5]], [0.25, 0.64])
INK, BLUE, ORANGE, GREY = "#222222", "#2a6fa8", "#c8611a", "#8a8a8a"


def diffusion(seed=0):
    """The density p_t(x) of the mixture's noised law for t in [0, 3], p_0 and p_3 at the sides, and ten paths."""
    last, x = 3.0, np.linspace(-4.0, 4.0, 501)
    t = np.linspace(0.0, last, 301)
    laws = [MIXTURE.noised(ornstein_uhlenbeck(float(u))) if u else MIXTURE for u in t]
    density = np.stack([law.pdf(x[:, None]) for law in laws], axis=1)
    h = np.diff(t)
    forward = Table(t, np.exp(-h), 0.0, np.sqrt(-np.expm1(-2 * h)), name="ornstein_uhlenbeck")
    paths = trajectories(forward, None, 10, seed=seed, start=MIXTURE)

    figure = Figure(figsize=(9.0, 4.2), dpi=150, layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=[1, 5, 1])
    shades = middle.pcolormesh(t, x, density, cmap="Blues", norm=PowerNorm(0.7, vmin=0.0, vmax=0.6), shading="gouraud", rasterized=True)
    middle.plot(paths.times, paths.states[:, :, 0], color=INK, linewidth=0.7)
    middle.set(xlim=(0, last), ylim=(-4, 4), xlabel="$t$", title="$dX = -X\\,dt + \\sqrt{2}\\,dB$")
    bar = figure.colorbar(shades, ax=right, fraction=0.16, pad=0.12, ticks=[0.0, 0.1, 0.2, 0.3, 0.4])
    bar.ax.set(ylim=(0.0, density.max()), title="$p_t(x)$")
    top = 1.1 * density.max()
    for axes, law, name in ((left, laws[0], "$p_0$"), (right, laws[-1], f"$p_{{{last:.0f}}}$")):
        axes.fill_betweenx(x, law.pdf(x[:, None]), color=BLUE, alpha=0.35, linewidth=0)
        axes.plot(law.pdf(x[:, None]), x, color=BLUE, linewidth=1.4)
        axes.set(xticks=[], title=name)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    right.plot(standard_normal(1).pdf(x[:, None]), x, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    right.text(0.03, -3.7, "dashed: N(0, 1)", fontsize=7, color=INK)
    left.set(xlim=(top, 0), ylabel="$x$")
    left.tick_params(left=False)
    left.spines["left"].set_visible(False)
    left.spines["right"].set_visible(True)
    right.set(xlim=(0, top))
    return figure


def score(seed=0):
    """p and its score; arrows point where the score points. It changes from + to - at every mode. ``seed`` is not used."""
    x = np.linspace(-3.6, 4.6, 801)
    p, s = MIXTURE.pdf(x[:, None]), MIXTURE.score(x[:, None])[:, 0]
    zeros = np.flatnonzero(np.diff(np.sign(s)) != 0)
    modes, saddles = x[zeros[s[zeros] > 0]], x[zeros[s[zeros] < 0]]

    figure = Figure(figsize=(7.5, 5.2), dpi=150, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1])
    upper.fill_between(x, p, color=BLUE, alpha=0.3, linewidth=0)
    upper.plot(x, p, color=BLUE, linewidth=1.6)
    for k, weight in enumerate(MIXTURE.weights):
        upper.plot(x, weight * MIXTURE.component(k).pdf(x[:, None]), color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
    upper.set(ylabel="$p(x)$", ylim=(0, 1.25 * p.max()), title="0.35 N(−1.2, 0.5²) + 0.65 N(1.5, 0.8²)")
    for axes in (upper, lower):
        for mode in modes:
            axes.axvline(mode, color=INK, linewidth=0.7, linestyle=":")
        for saddle in saddles:
            axes.axvline(saddle, color=GREY, linewidth=0.7, linestyle=":")
        axes.spines[["top", "right"]].set_visible(False)
    for mode in modes:
        upper.text(mode, 1.17 * p.max(), "mode", ha="center", fontsize=8, color=INK, backgroundcolor="white")
    lower.axhline(0.0, color=INK, linewidth=0.7)
    lower.plot(x, s, color=ORANGE, linewidth=1.6)
    lower.fill_between(x, s, 0.0, color=ORANGE, alpha=0.15, linewidth=0)
    lower.set(xlabel="$x$", ylabel="score $(\\log p)'(x)$", xlim=(x[0], x[-1]), ylim=(-7.5, 10.5))
    at = np.arange(-3.4, 4.5, 0.4)
    pull = MIXTURE.score(at[:, None])[:, 0]
    length = 0.3 * np.tanh(pull / 2)
    lower.quiver(
        at, np.full_like(at, -6.5), length, np.zeros_like(at), angles="xy", scale_units="xy", scale=1, pivot="middle",
        width=0.0035, headwidth=4, headlength=4, headaxislength=3.5, minlength=0, color=INK,
    )  # fmt: skip
    lower.text(-3.5, -5.7, "towards higher density", fontsize=8, color=INK)
    return figure


def un_diffusion(seed=0):
    r"""The most probable x given o, for o \sim N(0, 101), and one draw of x given each o: N(0, 1/101) against N(0, 1)."""
    o = OBSERVED.sample(1000, seed)
    found = np.array([most_probable(value) for value in o[:, 0]])
    drawn = Kernel(1 / 101, float(X.denoise_cov(np.zeros((1, 1)), NOISE)[0, 0, 0])).sample(o, seed)[:, 0]
    x, narrow = np.linspace(-3.6, 3.6, 1441), Gaussian([0.0], 1 / 101)

    figure = Figure(figsize=(8.5, 3.8), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    inset = left.inset_axes((0.07, 0.42, 0.36, 0.5))
    for axes, values, width, law, name in ((left, found, 0.03, narrow, "N(0, 1/101)"), (inset, found, 0.03, narrow, ""), (right, drawn, 0.3, X, "")):
        edges = width * (np.arange(-120, 121) - 0.5)
        axes.hist(values, bins=edges, density=True, color=BLUE, alpha=0.45)
        axes.plot(x, law.pdf(x[:, None]), color=ORANGE, linewidth=1.5, label=name or "N(0, 1), the law of $X$")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set(xlim=(-3.6, 3.6), xlabel="$x$")
    left.plot(x, X.pdf(x[:, None]), color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="N(0, 1), the law of $X$")
    inset.set(xlim=(-0.4, 0.4), xlabel="", yticks=[])
    inset.tick_params(labelsize=7)
    left.set(ylabel=f"density, {len(o)} values", title=f"most probable $x$ given $o$\nsd {found.std():.4f}, exactly {1 / math.sqrt(101):.4f}")
    right.set(title=f"one draw of $x$ given $o$\nsd {drawn.std():.3f}, exactly 1")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8, loc="upper right")
        axes.set_ylim(top=1.25 * axes.get_ylim()[1])
    return figure


FIGURES = {"diffusion": diffusion, "score": score, "un_diffusion": un_diffusion}


def main(argv=None):
    """Write the figures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="validation.figures", description="Three pictures of the lecture notes as PNG.", allow_abbrev=False)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the files, made if it is not there")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of paths and draws (default 0)")
    args = parser.parse_args(argv)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        path = folder / f"{name}.png"
        draw(args.seed).savefig(path, metadata={"Software": None})
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
