"""Run the theorems on targets: rows on a console as they finish, and the same as a report in plain JSON objects."""

import os
import platform
import sys
import textwrap
import time
from dataclasses import replace

import numpy as np
from rich.text import Text

from .. import __version__, information, kullback_leibler, standard_normal, verify
from ..errors import NoMethod, NotTrusted
from ..serial import FORMAT, encode
from .table import Progress, filled, header, number, row, summary
from .unicode import plain

__all__ = ["describe", "run", "threads", "versions"]


def run(targets, theorems, *, seed, alpha, quick, console, rigorous=False):
    """(claims, report). targets : [(name, law, lines about where it comes from)]; the error budget ``alpha`` is shared among them evenly."""
    start = time.monotonic()
    claims, progress = [], Progress(sys.stderr, len(targets) * len(theorems))
    _line(console, f"scoresde {__version__} · {threads()} thread{'s' * (threads() > 1)} · seed {seed} · error budget {number(alpha)}")
    for name, law, about in targets:
        _line(console)
        for text in about:
            for line in textwrap.wrap(text, console.width, subsequent_indent="  "):
                _line(console, line)
        for i, line in enumerate(filled(describe(name, law), console.width - 2, "   ")):
            _line(console, f"  {line}" if i else line)
        if (line := header(console.width)) is not None:
            _line(console, line)
        shown = _Shown(console, theorems, name, progress)
        verify(law, theorems, alpha=alpha / len(targets), seed=seed, quick=quick, rigorous=rigorous, progress=shown)
        claims += shown.claims
    seconds = time.monotonic() - start
    counts, text = summary(claims, seconds)
    _line(console)
    for line in textwrap.wrap(text, console.width):
        _line(console, line)
    report = {
        "format": FORMAT, "command": "verify", "target": {name: _law(law) for name, law, _ in targets}, "seed": seed, "alpha": alpha,
        "quick": quick, "rigorous": rigorous, "claims": [encode(c) for c in claims], "summary": counts, "versions": versions(),
        "seconds": round(seconds, 3),
    }  # fmt: skip
    return claims, report


class _Shown:
    """The callable that ``verify`` reports to: prints each claim's row as it comes, and keeps the claim with its target's name."""

    def __init__(self, console, theorems, name, progress):
        self.console, self.name, self.claims = console, name, []
        self.titles = {f.__name__: f.info.title for f in theorems}
        self.progress = progress
        self.progress.show()

    def __call__(self, claim, index, total):
        self.claims.append(replace(claim, parameters={**claim.parameters, "target": self.name}))
        self.progress.wipe()
        for line in row(claim, plain(self.titles.get(claim.name, claim.name)), self.console.width):
            _line(self.console, line)
        self.progress.show(done=1)


def _law(law):
    try:
        return encode(law)
    except TypeError:  # made of Python functions
        return None


# ---- lines ----------------------------------------------------------------------------------------------------------------------------


def _line(console, text=""):
    if isinstance(text, Text):
        text.rstrip()
    console.print(text, soft_wrap=True)
    console.file.flush()


def describe(name, law):
    """Parts of the line that introduces a target: name, kind, E X, E X^2, KL(π‖γ), I(π‖γ); a dash where there is no method."""
    kinds = {
        "Gaussian": lambda: "Gaussian", "GaussianMixture": lambda: f"mixture of {len(law.weights)} Gaussians",
        "Empirical": lambda: f"{len(law.points)} points", "Uniform": lambda: "uniform on a box", "SmoothedBox": lambda: "smoothed box",
    }  # fmt: skip
    kind = kinds.get(type(law).__name__, lambda: getattr(law, "name", "") or type(law).__name__)()
    where = "on the line" if law.dim == 1 else f"in d = {law.dim}"
    size = law.second_moment() ** 0.5
    mean = [number(x if abs(x) > 1e-12 * size else 0.0, 3) for x in law.mean()]  # less is rounding
    mean = mean[0] if law.dim == 1 else "(" + ", ".join(mean[:4] + ["…"] * (law.dim > 4)) + ")"
    yield f"target {name}"
    yield f"{kind} {where}"
    yield f"E X = {mean}"
    yield f"{'E X²' if law.dim == 1 else 'E|X|²'} = {number(law.second_moment())}"
    yield f"KL(π‖γ) = {_or_dash(lambda: kullback_leibler(law, standard_normal(law.dim)))}"
    yield f"I(π‖γ) = {_or_dash(lambda: information.relative_fisher(law))}"
    if 1 < law.dim <= 500:  # beyond, the matrix costs more than the line is worth
        variances = np.linalg.eigvalsh(law.cov())
        yield f"what needs a line runs on the first principal axis ({variances[-1] / variances.sum():.0%} of the variance)"


def _or_dash(f):
    try:
        return number(f())
    except (NoMethod, NotTrusted, ValueError):
        return "–"


def threads():
    """Threads that the compiled loops use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("NUMBA_NUM_THREADS", "")
    return min(cores, int(wanted)) if wanted.isdecimal() and int(wanted) else cores


def versions():
    """Versions of what the numbers depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"scoresde": __version__, "python": platform.python_version(), "numpy": np.__version__}
    for name in ("scipy", "numba"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found
