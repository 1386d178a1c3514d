"""``scoresde doctor``: what this installation is, what is missing and how to get it, and whether two known numbers come out."""

import os
import platform
import re
import time
from importlib import metadata

__all__ = ["examine", "lines"]


def examine():
    """Findings as a plain object: versions, machine, extras, checks; ``ok`` is False if a check fails."""
    from .report.verify import threads, versions

    checks = [_timed(name, check) for name, check in CHECKS]
    return {
        "versions": versions(),
        "machine": {"processor": _processor(), "threads": threads(), "system": platform.platform(terse=True)},
        "cache": _cache(),
        "extras": _extras(),
        "checks": checks,
        "ok": all(c["ok"] for c in checks),
    }


def lines(found):
    """The findings as lines of text."""
    yield "  ".join(f"{name} {version or 'missing'}" for name, version in found["versions"].items())
    machine, cache = found["machine"], found["cache"]
    yield f"{machine['processor']}, {machine['threads']} thread{'s' * (machine['threads'] > 1)}, {machine['system']}"
    state = f"{cache['files']} compiled functions kept" if cache["writable"] else "not writable: every start compiles anew; set NUMBA_CACHE_DIR"
    yield f"compiler's cache {cache['folder']}: {state}"
    for extra in found["extras"]:
        missing = f"missing {', '.join(extra['missing'])}: pip install 'scoresde[{extra['extra']}]'"
        yield f"  {'–' if extra['missing'] else '✓'} {extra['extra']:<10} {missing if extra['missing'] else 'present'}"
    if not found["extras"]:
        yield "  optional parts: unknown, the package is not installed; run pip install -e . in its folder"
    for check in found["checks"]:
        yield f"  {'✓' if check['ok'] else '✗'} {check['name']}: {check['detail']} ({check['seconds']:.1f} s)"
    yield "all checks passed" if found["ok"] else "a check FAILED: numbers from this installation are not to be trusted; please report it"


# ---- what is here ---------------------------------------------------------------------------------------------------------------------


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"


def _cache():
    """Where compiled functions are kept between runs: beside the engine's sources, unless NUMBA_CACHE_DIR says otherwise."""
    folder = os.environ.get("NUMBA_CACHE_DIR") or os.path.join(os.path.dirname(__file__), "engine", "__pycache__")
    existing = folder
    while not os.path.isdir(existing) and os.path.dirname(existing) != existing:
        existing = os.path.dirname(existing)
    files = sum(name.endswith(".nbi") for _, _, names in os.walk(folder) for name in names)
    return {"folder": folder, "writable": os.access(existing, os.W_OK), "files": files}


def _extras():
    """[{extra, missing}] from the metadata of the installed package: the one list of what each extra needs."""
    try:
        requirements = metadata.requires("scoresde") or []
    except metadata.PackageNotFoundError:
        return []
    found = {}
    for requirement in requirements:
        match = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if match and name and name[0].lower() != "scoresde":  # scoresde[learn] inside another extra
            found.setdefault(match[1], []).append(name[0])
    return [{"extra": extra, "missing": [n for n in names if not _installed(n)]} for extra, names in sorted(found.items())]


def _installed(name):
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


# ---- known numbers --------------------------------------------------------------------------------------------------------------------


def _propagated():
    """TV between the law of 60 Euler–Maruyama steps, T = 6, exact score, and its target gm3 (computed independently at two resolutions)."""
    import scoresde as sd

    law = sd.propagate(_table(), sd.score.exact(sd.targets.gm3))
    error = abs(sd.total_variation(law, sd.targets.gm3).value - 0.143223141992885)
    return error <= 1e-12, f"off by {error:.1e}, allowed 1e-12"


def _simulated():
    """The mean of 1e4 particles of the same chain against the mean of its law; 6 standard errors are passed by chance once in 5e8 runs."""
    import scoresde as sd

    score = sd.score.exact(sd.targets.gm3)
    law = sd.propagate(_table(), score)
    x = sd.simulate(_table(), score, n=10_000, seed=0)
    z = abs(float(x.mean()) - float(law.mean()[0])) / (float(law.cov()[0, 0]) / len(x)) ** 0.5
    return z <= 6, f"mean off by {z:.2f} standard errors, allowed 6"


def _table():
    import scoresde as sd

    return sd.scheme.euler_maruyama(sd.grid.uniform(T=6.0, steps=60))


CHECKS = (
    ("exact law of 60 Euler–Maruyama steps on gm3, distance to the target", _propagated),
    ("10 000 simulated particles of the same chain", _simulated),
)


def _timed(name, check):
    start = time.monotonic()
    try:
        ok, detail = check()
    except Exception as error:  # a broken installation is what is looked for
        ok, detail = False, f"{type(error).__name__}: {error}"
    return {"name": name, "ok": bool(ok), "detail": detail, "seconds": round(time.monotonic() - start, 3)}
