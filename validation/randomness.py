"""The generator behind the simulators before Dieharder: the words of Philox in the two orders that chains read them, and its normals.

    python -m validation.randomness [--quick] [--seed SEED]

Streams: the words of many particles at one row; the words of 256 particles over rows and coordinates; the leading 32 bits of \\Phi(z) of the
float64 normals. The first before every test of dieharder that its authors call good, the others before a dozen, each on numbers of its own. With N
tests of a correct generator about N / 100 are WEAK (two-sided level .01) and N / 10^6 FAILED; a WEAK one is drawn again with five times the numbers
under another key, and must then pass. A counter times an odd constant is the control. Dieharder is the Debian package of that name (Brown,
Eddelbuettel & Bauer, https://webhome.phy.duke.edu/~rgb/General/dieharder.php).
"""

import argparse
import shutil
import subprocess
import sys
from itertools import count

import numpy as np
from scipy.special import ndtr

from scoresde.engine.normals import key, normals, raw

from . import findings

TESTS = (0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 15, 16, 17, 100, 101, 102, 200, 201, 202, 203, 204, 205, 206, 207, 208, 209)  # "Good"
SOME = (0, 1, 2, 8, 15, 100, 101, 102, 200, 205, 207, 209)
QUICK = (100, 101, 15, 205)
LENGTHS = {200: 12, 201: 5, 202: 5, 203: 16}  # -n of the tests that ask for one
CHUNK = 1 << 16


def particles(words):
    """Words of particles 0, 1, ... at row 0."""
    return (raw(words, CHUNK, first=i * CHUNK // 2) for i in count())


def chains(words):
    """Words of the first 256 particles over the coordinates of row 0, 1, ...: a chain in 16 dimensions."""
    return (np.concatenate([raw(words, 256, row=r, coordinate=j) for r in range(16 * i, 16 * i + 16) for j in range(16)]) for i in count())


def uniforms(words):
    r"""The leading 32 bits of \Phi(z)."""
    return ((ndtr(normals(words, CHUNK, 1, first=i * CHUNK)) * 2.0**32).astype(np.uint32) for i in count())


def counter(_words):
    """The control: consecutive numbers times an odd constant, a generator whose low bits have short periods."""
    return (np.arange(i * CHUNK, (i + 1) * CHUNK, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) for i in count())


STREAMS = {"particles": (particles, TESTS), "chains": (chains, SOME), "uniforms of normals": (uniforms, SOME)}


def dieharder(stream, test, multiplier=1):
    """The assessments (name, p-value, PASSED | WEAK | FAILED) of one test on a stream of arrays."""
    command = ["dieharder", "-g", "200", "-d", str(test), "-m", str(multiplier), "-c", ","]
    command += [part for column in ("test_name", "ntuple", "pvalues", "assessment") for part in ("-D", column)]
    if test in LENGTHS:
        command += ["-n", str(LENGTHS[test])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            for numbers in stream:
                process.stdin.write(numbers.tobytes())
        except BrokenPipeError:  # it has read enough
            pass
        out = process.stdout.read().decode()
    rows = [[cell.strip() for cell in line.split(",")] for line in out.splitlines()]
    return [(f"{name} {length}".removesuffix(" 0"), float(p), verdict) for name, length, p, verdict in rows]


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m validation.randomness", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four short tests of each stream")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if shutil.which("dieharder") is None:
        print("dieharder is not installed, so nothing was tested; on Debian: apt-get install dieharder")
        return 0
    twice, counts = [], dict.fromkeys(("PASSED", "WEAK", "FAILED"), 0)
    for name, (stream, tests) in STREAMS.items():
        for test in QUICK if options.quick else tests:
            words = lambda attempt, at=f"{name} {test}": key(options.seed, f"validation {at} {attempt}")  # noqa: E731
            found = dieharder(stream(words("first")), test)
            weak = [i for i, (*_, verdict) in enumerate(found) if verdict == "WEAK"]
            if weak:  # again with more numbers; what counts is what was weak
                again = dieharder(stream(words("again")), test, multiplier=5)
                twice += [(name, *again[i]) for i in weak if again[i][-1] != "PASSED"]
            for row in found:
                counts[row[-1]] += 1
                print(f"{name:20}  {row[0]:24}  {row[1]:.4f}  {row[2]}" + ("" if row[-1] == "PASSED" else "  <--"), flush=True)
    control = [verdict for *_, verdict in dieharder(counter(None), 100) + dieharder(counter(None), 15)]
    print()
    claims = [(f"dieharder: {', '.join(f'{n} {verdict}' for verdict, n in counts.items())}", counts["FAILED"] == 0)]
    claims.append((f"what was weak passes with five times the numbers{''.join(f'; {row}' for row in twice)}", not twice))
    return findings([*claims, (f"control, a counter times a constant: {', '.join(control)}", "FAILED" in control)])


if __name__ == "__main__":
    sys.exit(main())
