"""What the benchmarks share: interleaved rounds, medians with intervals, the processor's name, results as JSON."""

import json
import math
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version

import numpy as np

__all__ = [
    "BLUE", "GREY", "INK", "ORANGE", "Spread", "best", "cores", "paint", "processor", "rounds", "seconds", "settle", "slope", "spread",
    "versions", "write",
]  # fmt: skip

INK, BLUE, ORANGE, GREY = "#222222", "#2a6fa8", "#c8611a", "#8a8a8a"


def processor():
    """The processor's name and how many cores there are for us."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions(names=("numpy", "scipy", "numba")):
    """{"python": ..., name: version or None}."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def seconds(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def best(call, runs=5, enough=1.0):
    """The least time of a few runs after one that does not count; one run is enough if it takes longer than ``enough`` seconds."""
    call()
    times = []
    for _ in range(runs):
        times.append(seconds(call))
        if times[-1] > enough:
            break
    return min(times)


def settle(limit=2.0):
    """Wait until no thread of this process is busy, at most ``limit`` seconds: the pools of some libraries spin long after their work, and would
    take a core from whoever is timed next."""
    began = time.perf_counter()
    while time.perf_counter() - began < limit:
        busy = time.process_time()
        time.sleep(0.01)
        if time.process_time() - busy < 1e-3:
            return


def rounds(calls, count):
    """{name: [seconds of each round]}: every round runs all of them, from another one on, so that what disturbs the machine disturbs all alike."""
    names, times = list(calls), {name: [] for name in calls}
    for i in range(count):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            settle()
            times[name].append(seconds(calls[name]))
    return times


class Spread(tuple):
    """(median, lo, hi, confidence)."""

    def __str__(self):
        return f"{self[0]:.3g} [{self[1]:.3g}, {self[2]:.3g}]"


def spread(values, confidence=0.95):
    r"""The median of ``values`` and order statistics around it. P(the k-th of n lies above the median) is binomial, whatever the distribution:

    [x_(k), x_(n+1-k)] covers it with probability 1 - 2 \sum_{i<k} C(n, i) / 2^n; k is the greatest for which that is at least ``confidence``,
    or 1: all of the range. The probability that holds is returned beside it.
    """
    values, n = sorted(values), len(values)
    covers = lambda k: 1 - 2 * sum(math.comb(n, i) for i in range(k)) / 2**n  # noqa: E731
    k = max((k for k in range(1, n // 2 + 1) if covers(k) >= confidence), default=1)
    return Spread((float(np.median(values)), values[k - 1], values[n - k], covers(k)))


def slope(x, seconds):
    """The exponent p of the cost C x^p, by least squares on the logarithms."""
    return float(np.polyfit(np.log(x), np.log(seconds), 1)[0])


def write(path, report):
    """``report`` as JSON in a file, whole or not at all."""
    from scoresde.files import write_whole

    write_whole(path, json.dumps(report, indent=1, allow_nan=False) + "\n")


def paint(path, figure):
    """A matplotlib Figure as PNG, whole or not at all; the bytes are the same for the same figure."""
    import io

    from scoresde.files import write_whole

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_whole(path, buffer.getvalue())
