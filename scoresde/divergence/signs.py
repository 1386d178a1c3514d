"""Where a function on the line changes sign: brackets by adaptive sampling, roots by Ridders' method, all vectorised.

A gap between neighbouring samples is settled when its second differences leave no room for an unseen root, or when what an unseen pair of
roots could enclose (its weight) is negligible; the weight of everything left unsettled is returned, so that the caller can state it.
"""

import numpy as np

EPS = 2.0**-52


def sign_changes(f, x, kinks=(), *, rounds=48, most=6000):
    """Roots and jumps through zero of a function g, as a sorted array, and the weight of possible unseen pairs of roots.

    f(x) -> (g, weight density, rounding of g), each (n,); g may be infinite. x : (n,) sorted samples. ``kinks`` : points at which g may
    jump; a gap in doubt is split there first. The weight of a lobe of size g on a gap of length l is l * density * min(1, |g|).
    """
    x = np.unique(x)
    g, density, rounding = _cleaned(f, x)
    kinks, slack = np.asarray(kinks, dtype=np.float64), 0.0
    tiny = 1e-18 * float(np.sum(np.diff(x) * np.maximum(density[1:], density[:-1]) * np.minimum(1, np.maximum(np.abs(g[1:]), np.abs(g[:-1])))))
    for turn in range(rounds):
        doubtful, weight = _doubtful(x, g, density, rounding, tiny)
        if turn == rounds - 1 or len(x) > most:
            slack += float(np.sum(weight[doubtful]))
            break
        if not doubtful.any():
            break
        new = _split(x, doubtful, kinks if turn == 0 else kinks[:0])
        if not len(new):
            slack += float(np.sum(weight[doubtful]))
            break
        order = np.argsort(both := np.concatenate([x, new]), kind="stable")
        x = both[order]
        g, density, rounding = (np.concatenate(pair)[order] for pair in zip((g, density, rounding), _cleaned(f, new), strict=True))
    flat = (g[1:] == 0) | (g[:-1] == 0)  # below its own rounding nothing is known about the sign
    slack += float(np.sum((np.diff(x) * np.maximum(density[1:], density[:-1]) * np.maximum(rounding[1:], rounding[:-1]))[flat]))
    sign = np.sign(g)
    some = np.nonzero(sign)[0]  # zeros take the sign of their neighbours
    change = np.nonzero(sign[some[1:]] != sign[some[:-1]])[0]
    left, right = some[change], some[change + 1]
    return ridders(lambda y: f(y)[0], x[left], x[right], g[left], g[right]), slack


def _cleaned(f, x):
    """g with everything below its own rounding set to zero, and NaN (both laws vanish) too."""
    g, density, rounding = f(x)
    return np.where(np.isnan(g) | (np.abs(g) <= rounding), 0.0, g), density, rounding


def _doubtful(x, g, density, rounding, tiny):
    width = np.diff(x)
    a, b = g[:-1], g[1:]
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        slope = (b - a) / width
        second = np.abs(np.diff(slope)) / (x[2:] - x[:-2])  # half the second derivative; not finite beside a jump to infinity
        second = np.concatenate([[np.nan], np.where(np.isfinite(second), second, np.nan), [np.nan]])
        bow = 0.5 * np.fmax(second[:-1], second[1:]) * width**2  # twice the deviation from the chord
        bow = np.where(np.isnan(bow) | ~np.isfinite(a + b), np.inf, bow)
        settled = np.where(a * b > 0, np.minimum(np.abs(a), np.abs(b)) > bow, (np.abs(b - a) > 8 * bow) & (a * b < 0))
        settled |= bow <= np.maximum(rounding[:-1], rounding[1:])
        settled |= np.isinf(a) & (a == b)  # one law vanishes here: the panels show where its support ends
    weight = width * np.maximum(density[:-1], density[1:]) * np.minimum(1.0, bow)
    negligible = (weight <= tiny) | (width <= 8 * EPS * np.maximum(np.abs(x[:-1]), np.abs(x[1:])))
    return ~settled & ~negligible, weight


def _split(x, doubtful, kinks):
    """Midpoints of the gaps in doubt, or both sides of the kinks inside them."""
    left, right = x[:-1][doubtful], x[1:][doubtful]
    sides = np.concatenate([np.nextafter(kinks, -np.inf), np.nextafter(kinks, np.inf)]) if len(kinks) else kinks
    if len(sides):
        gap = np.searchsorted(left, sides, side="right") - 1
        inside = (gap >= 0) & (sides > left[np.maximum(gap, 0)]) & (sides < right[np.maximum(gap, 0)])
        if inside.any():
            taken = np.unique(gap[inside])
            rest = np.ones(len(left), dtype=bool)
            rest[taken] = False
            return np.setdiff1d(np.concatenate([sides[inside], 0.5 * (left + right)[rest]]), x)
    return np.setdiff1d(0.5 * left + 0.5 * right, x)


def ridders(f, a, b, fa, fb, *, rounds=60):
    """Roots of f in the brackets [a, b] (f(a) f(b) <= 0; infinite values allowed: then bisection), all at once.

    Stops at a change below 1e-10 of the bracket given: the caller's errors are quadratic in it (jumps come here already bracketed to ulps).
    Source: Ridders 1979, https://doi.org/10.1109/TCS.1979.1084580
    """
    a, b, fa, fb = (np.array(v, dtype=np.float64) for v in (a, b, fa, fb))
    root, fine, live = 0.5 * (a + b), 1e-10 * (b - a), np.arange(len(a))
    for turn in range(rounds):
        if not len(live):
            break
        la, lb, ga, gb = a[live], b[live], fa[live], fb[live]
        middle = 0.5 * la + 0.5 * lb
        gm = np.nan_to_num(f(middle), nan=0.0, posinf=np.inf, neginf=-np.inf)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            scale = np.maximum(np.maximum(np.abs(ga), np.abs(gb)), np.abs(gm))  # the product below must not overflow
            u, v, m = ga / scale, gb / scale, gm / scale
            guess = middle + (middle - la) * np.sign(u - v) * m / np.sqrt(m * m - u * v)
        guess = np.where(np.isfinite(guess) & (guess > la) & (guess < lb), guess, middle)
        gg = np.nan_to_num(f(guess), nan=0.0, posinf=np.inf, neginf=-np.inf)
        done = (gg == 0) | ((np.abs(guess - root[live]) <= fine[live]) & (turn > 0) & np.isfinite(ga) & np.isfinite(gb))
        for y, gy in ((middle, gm), (guess, gg)):
            inside = (y >= la) & (y <= lb)
            low = inside & (np.sign(gy) == np.sign(ga))
            high = inside & ~low
            la, ga = np.where(low, y, la), np.where(low, gy, ga)
            lb, gb = np.where(high, y, lb), np.where(high, gy, gb)
        a[live], b[live], fa[live], fb[live], root[live] = la, lb, ga, gb, guess
        done |= lb - la <= 4 * EPS * np.maximum(np.abs(la), np.abs(lb))
        live = live[~done]
    return np.sort(root)
