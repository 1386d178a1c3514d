"""A number with its guarantee."""

import math
from dataclasses import dataclass
from numbers import Real

__all__ = ["LEVELS", "Enclosure", "enclose"]

LEVELS = ("rigorous", "deterministic", "finite-sample", "asymptotic", "heuristic")


def _down(x):
    return x if math.isinf(x) else math.nextafter(x, -math.inf)


def _up(x):
    return x if math.isinf(x) else math.nextafter(x, math.inf)


@dataclass(frozen=True)
class Enclosure:
    """lo <= true value <= hi, with the strength of that statement.

    ``level``, strongest first: *rigorous* (proved, rounding included), *deterministic* (an error estimate of a quadrature or a recursion),
    *finite-sample* (holds with probability >= 1 - ``alpha`` for the sample size at hand), *asymptotic* (only in the limit), *heuristic*.
    ``value`` is the point estimate or None; bounds may be infinite: ``lo = inf`` says "proven infinite".

    Arithmetic (+ - * / with numbers, which are exact constants, and with enclosures) rounds outward, takes the weaker level and adds the
    alphas. ``bool``, ``float`` and ``<`` raise: an enclosure is not a number. Raises ValueError for NaN, lo > hi, an unknown level,
    alpha outside [0, 1).
    """

    lo: float
    hi: float
    level: str
    alpha: float = 0.0
    value: float | None = None
    method: str = ""

    def __post_init__(self):
        for name in ("lo", "hi", "alpha"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.value is not None:
            object.__setattr__(self, "value", float(self.value))
        if self.level not in LEVELS:
            raise ValueError(f"level: got {self.level!r}, allowed are {', '.join(LEVELS)}")
        if any(math.isnan(x) for x in (self.lo, self.hi, self.alpha, self.value or 0.0)):
            raise ValueError(f"Enclosure: got NaN in lo={self.lo}, hi={self.hi}, alpha={self.alpha}, value={self.value}; say inf if infinite")
        if self.lo > self.hi:
            raise ValueError(f"Enclosure: got lo={self.lo!r} > hi={self.hi!r}, allowed is lo <= hi")
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha: got {self.alpha}, allowed is 0 <= alpha < 1 (a probability of error)")
        if self.value is not None and not self.lo <= self.value <= self.hi:
            raise ValueError(f"value: got {self.value!r} outside [{self.lo!r}, {self.hi!r}]")

    @classmethod
    def exact(cls, x, method="exact"):
        """[x, x], rigorous."""
        return cls(x, x, "rigorous", 0.0, x, method)

    @classmethod
    def near(cls, x, error, level="deterministic", alpha=0.0, method=""):
        """[x - error, x + error]; an infinite ``x`` is [x, x]. Raises ValueError if ``error`` is negative or NaN."""
        x, error = float(x), float(error)
        if not error >= 0:
            raise ValueError(f"error: got {error}, allowed is a number >= 0")
        if math.isinf(x):
            return cls(x, x, level, alpha, x, method)
        if error == 0:
            return cls(x, x, level, alpha, x, method)
        return cls(_down(x - error), _up(x + error), level, alpha, x, method)

    @property
    def width(self):
        """hi - lo; 0 for a proven infinity."""
        return 0.0 if self.lo == self.hi else self.hi - self.lo

    def __contains__(self, x):
        return self.lo <= x <= self.hi

    def cut(self, lo=-math.inf, hi=math.inf):
        """The same statement where the value is known to lie in [lo, hi] (TV in [0, 1], KL >= 0)."""
        clip = lambda x: min(max(x, lo), hi)  # noqa: E731
        value = None if self.value is None else clip(self.value)
        return Enclosure(clip(self.lo), clip(self.hi), self.level, self.alpha, value, self.method)

    def _monotone(self, f, name):
        """f increasing on the range; two ulps outward cover a libm that rounds within one."""
        value = None if self.value is None else f(self.value)
        lo, hi = _down(_down(f(self.lo))), _up(_up(f(self.hi)))
        lo, hi = (f(self.lo), f(self.hi)) if self.lo == self.hi and lo == hi else (lo, hi)
        return Enclosure(lo, hi, self.level, self.alpha, value, f"{name}({self.method})" if self.method else name)

    def sqrt(self):
        """Square root; raises ValueError if lo < 0 (cut it first: ``e.cut(0).sqrt()``)."""
        if self.lo < 0:
            raise ValueError(f"sqrt: got the enclosure [{self.lo!r}, {self.hi!r}], allowed is lo >= 0; say .cut(0) if the value is known to be")
        return self._monotone(math.sqrt, "sqrt").cut(0.0)

    def exp(self):
        """Exponential."""
        return self._monotone(lambda x: math.inf if x > 709.78 else math.exp(x), "exp").cut(0.0)

    def log(self):
        """Natural logarithm; log 0 = -inf. Raises ValueError if lo < 0."""
        if self.lo < 0:
            raise ValueError(f"log: got the enclosure [{self.lo!r}, {self.hi!r}], allowed is lo >= 0")
        return self._monotone(lambda x: -math.inf if x == 0 else math.log(x), "log")

    def maximum(self, other):
        """Encloses max(self, other)."""
        other = enclose(other)
        return _combine(self, other, [max(self.lo, other.lo)], [max(self.hi, other.hi)], max, "max")

    def minimum(self, other):
        """Encloses min(self, other)."""
        other = enclose(other)
        return _combine(self, other, [min(self.lo, other.lo)], [min(self.hi, other.hi)], min, "min")

    def __add__(self, other):
        if (other := enclose(other)) is NotImplemented:
            return other
        return _combine(self, other, [_plus(self.lo, other.lo, -1)], [_plus(self.hi, other.hi, 1)], lambda a, b: a + b, "+")

    def __neg__(self):
        value = None if self.value is None else -self.value
        return Enclosure(-self.hi, -self.lo, self.level, self.alpha, value, self.method)

    def __sub__(self, other):
        if (other := enclose(other)) is NotImplemented:
            return other
        return _combine(self, other, [_plus(self.lo, -other.hi, -1)], [_plus(self.hi, -other.lo, 1)], lambda a, b: a - b, "-")

    def __mul__(self, other):
        if (other := enclose(other)) is NotImplemented:
            return other
        corners = [(a, b) for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return _combine(self, other, [_times(*c, -1) for c in corners], [_times(*c, 1) for c in corners], lambda a, b: _times(a, b, 0), "*")

    def __truediv__(self, other):
        if (other := enclose(other)) is NotImplemented:
            return other
        if 0 in other:
            if not (other.lo == 0 < other.hi and self.lo >= 0):
                lo, hi = -math.inf, math.inf
            else:  # a nonnegative number over one that may vanish: bounded below only
                lo, hi = (0.0 if math.isinf(other.hi) else _down(self.lo / other.hi)), math.inf
            return _combine(self, other, [lo], [hi], None, "/")
        corners = [0.0 if math.isinf(b) else a / b for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return _combine(self, other, [*map(_down, corners)], [*map(_up, corners)], lambda a, b: a / b, "/")

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other):
        return other if (other := enclose(other)) is NotImplemented else other - self

    def __rtruediv__(self, other):
        return other if (other := enclose(other)) is NotImplemented else other / self

    def __abs__(self):
        return self.maximum(-self).cut(0.0) if self.lo < 0 < self.hi else (self if self.lo >= 0 else -self)

    def _refuse(self, *_):
        raise TypeError("an Enclosure is not a number: compare e.hi or e.lo, or read e.value; claim_at_most compares two enclosures")

    __bool__ = __float__ = __int__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse

    def __str__(self):
        grade = self.level + (f", {self.alpha:.0e}" if self.alpha else "")
        if self.lo == self.hi:
            return f"{self.lo!r} ({grade})"
        if math.isinf(self.hi) or math.isinf(self.lo) or self.value is None:
            return f"[{self.lo:.6g}, {self.hi:.6g}] ({grade})"
        return f"{self.value!r} ± {max(self.hi - self.value, self.value - self.lo):.1e} ({grade})"


def enclose(x):
    """An Enclosure as it is, a number as an exact constant, anything else NotImplemented (so that Python raises TypeError)."""
    if isinstance(x, Enclosure):
        return x
    return Enclosure.exact(float(x)) if isinstance(x, Real) else NotImplemented


def _plus(a, b, direction):
    """a + b rounded towards ``direction``; inf - inf is the weakest statement on that side; an exact sum is left alone."""
    if math.isinf(a) and math.isinf(b) and a != b:
        return direction * math.inf
    s = a + b
    bb = s - a
    exact = math.isinf(s) or (a - (s - bb)) + (b - bb) == 0  # Knuth's two-sum: the rounding error of s
    return s if exact else (_up(s) if direction > 0 else _down(s))


def _times(a, b, direction):
    """a b rounded towards ``direction``; products with 0 (also of infinity: a bound times nothing) and with 1 are exact."""
    if a == 0 or b == 0:
        return 0.0
    product = a * b
    return product if direction == 0 or 1 in (a, b) else _up(product) if direction > 0 else _down(product)


def _combine(a, b, lows, highs, f, sign):
    level = LEVELS[max(LEVELS.index(a.level), LEVELS.index(b.level))]
    lo, hi = min(lows), max(highs)
    value = None
    if f is not None and a.value is not None and b.value is not None:
        value = f(a.value, b.value)
        value = None if math.isnan(value) else min(max(value, lo), hi)
    alpha = min(a.alpha + b.alpha, math.nextafter(1.0, 0.0))
    names = [m for m in dict.fromkeys((a.method, b.method)) if m and m != "exact"]
    return Enclosure(lo, hi, level, alpha, value, ", ".join(names) or "exact")
