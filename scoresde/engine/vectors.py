r"""One text for a number and for many: arithmetic that runs on NumPy scalars, and that the compiler is handed as explicit vectors.

A compiler's vectoriser gives up at a call, at a reduction, at a loop it finds too long, and where it does not it works at one vector at a
time, though the processor could do several that do not wait for each other. So the inner texts of the fused simulator are written once, as
plain Python on scalars: that is what the tests read. Called with :class:`Vectors` instead, the same text emits LLVM's instructions for
``SIDE`` vectors side by side, as wide as the processor has them.

A text may use + - * / & | ^ << >> < > !=, and the functions below. There is no fast-math: every operation is rounded as written, so that the
bits are those of the scalars on every machine.
"""

from fractions import Fraction

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, overload

__all__ = [
    "BYTES", "LANES", "SIDE", "Vectors", "bits", "constant", "fma", "full_width", "halves", "join", "lanewise", "load", "lookup", "number", "pointer",
    "splat", "spread", "sqrt", "store", "value", "where", "widen",
]  # fmt: skip

_ASKED = config.CPU_FEATURES  # type: ignore[attr-defined]  # what NUMBA_CPU_NAME or NUMBA_CPU_FEATURES bind the compiler to
_WIDE = "+avx512f" in (llvmlite.binding.get_host_cpu_features().flatten() if _ASKED is None else _ASKED).split(",")
BYTES = 64 if _WIDE else 32  # of a vector
SIDE = 4 if _WIDE else 2  # vectors side by side; the 32 (16) registers hold the operands too
LANES = 64  # what lanes side by side are a multiple of: whole groups of vectors, however wide they are

_FLOATS = {32: ir.FloatType(), 64: ir.DoubleType()}
_DTYPES = {"double": np.float64, "float": np.float32, "i64": np.uint64, "i32": np.uint32}
_LOW, _U32 = np.uint64(0xFFFFFFFF), np.uint64(32)


class Vectors:
    """LLVM vectors side by side, for which a text emits every operation in turn."""

    __array_ufunc__ = None  # a NumPy scalar leaves arithmetic with us to us

    def __init__(self, builder, parts):
        self.builder, self.parts = builder, tuple(parts)
        self.kind, self.width = self.parts[0].type.element, self.parts[0].type.count

    @property
    def dtype(self):
        return np.dtype(_DTYPES[str(self.kind)])

    @property
    def floating(self):
        return isinstance(self.kind, ir.FloatType | ir.DoubleType)

    def each(self, emit, *others):
        """The Vectors of emit(part, ...) over our parts and those of others, or constants."""
        return Vectors(self.builder, [emit(*xs) for xs in zip(self.parts, *map(self._lift, others), strict=True)])

    def to(self, kind):
        """The type of our vectors with another element."""
        return ir.VectorType(kind, self.width)

    def _lift(self, other):
        if isinstance(other, Vectors):
            return other.parts
        x = float(other) if self.floating else int(other)
        return [ir.Constant(part.type, [x] * self.width) for part in self.parts]

    def __add__(self, other):
        return self.each(self.builder.fadd if self.floating else self.builder.add, other)

    def __sub__(self, other):
        return self.each(self.builder.fsub if self.floating else self.builder.sub, other)

    def __rsub__(self, other):
        return self.each(lambda x, y: (self.builder.fsub if self.floating else self.builder.sub)(y, x), other)

    def __mul__(self, other):
        return self.each(self.builder.fmul if self.floating else self.builder.mul, other)

    def __truediv__(self, other):
        return self.each(self.builder.fdiv, other)

    def __rtruediv__(self, other):
        return self.each(lambda x, y: self.builder.fdiv(y, x), other)

    def __neg__(self):
        return self.each(self.builder.fneg)

    def __and__(self, other):
        return self.each(self.builder.and_, other)

    def __or__(self, other):
        return self.each(self.builder.or_, other)

    def __xor__(self, other):
        return self.each(self.builder.xor, other)

    def __lshift__(self, other):
        return self.each(self.builder.shl, other)

    def __rshift__(self, other):
        return self.each(self.builder.lshr, other)

    def __lt__(self, other):
        return self.each(lambda x, y: self.builder.fcmp_ordered("<", x, y), other)

    def __gt__(self, other):
        return self.each(lambda x, y: self.builder.fcmp_ordered(">", x, y), other)

    def __ne__(self, other):
        return self.each(lambda x, y: self.builder.icmp_unsigned("!=", x, y), other)

    __hash__ = None  # type: ignore[assignment]
    __radd__, __rmul__ = __add__, __mul__


# ---- what a text may call ------------------------------------------------------------------------------------------------------------


def fma(x, y, z):
    """x y + z, rounded once; of one floating type."""
    lifted = next((a for a in (x, y, z) if isinstance(a, Vectors)), None)
    if lifted is not None:
        function = _intrinsic(lifted, "fma", 3)
        return Vectors(lifted.builder, [lifted.builder.call(function, xs) for xs in zip(*map(lifted._lift, (x, y, z)), strict=True)])
    plain = x * y + z
    if not np.isfinite(plain):
        return plain
    exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
    return type(plain)(float(exact)) if exact else plain  # which has the sign of a zero


def sqrt(x):
    """The square root, rounded once."""
    if isinstance(x, Vectors):
        function = _intrinsic(x, "sqrt", 1)
        return x.each(lambda part: x.builder.call(function, (part,)))
    return np.sqrt(x)


def bits(x):
    """The bit pattern of a float64 (float32) as uint64 (uint32)."""
    if isinstance(x, Vectors):
        return x.each(lambda part: x.builder.bitcast(part, x.to(ir.IntType(x.dtype.itemsize * 8))))
    return x.view(np.uint32 if x.dtype == np.float32 else np.uint64)


def value(i):
    """The float whose bit pattern is i: the inverse of :func:`bits`."""
    if isinstance(i, Vectors):
        return i.each(lambda part: i.builder.bitcast(part, i.to(_FLOATS[i.kind.width])))
    return i.view(np.float32 if i.dtype == np.uint32 else np.float64)


def number(i):
    """The float32 nearest to a uint32 read as a signed number."""
    if isinstance(i, Vectors):
        return i.each(lambda part: i.builder.sitofp(part, i.to(_FLOATS[32])))
    return np.float32(i.view(np.int32))


def halves(x):
    """The low halves of uint64 as uint32."""
    if not isinstance(x, Vectors):
        return np.uint32(x & _LOW)
    b, short = x.builder, ir.VectorType(ir.IntType(32), 2 * x.width)
    if len(x.parts) % 2:
        return x.each(lambda part: b.trunc(part, x.to(ir.IntType(32))))
    even = ir.Constant(short, list(range(0, 4 * x.width, 2)))  # of two vectors one, twice as wide
    parts = [b.bitcast(part, short) for part in x.parts]
    return Vectors(b, [b.shuffle_vector(low, high, even) for low, high in zip(parts[::2], parts[1::2], strict=True)])


def join(low, high):
    """The uint64 of two low halves."""
    if not isinstance(low, Vectors):
        return (low & _LOW) | (high << _U32)
    b, short = low.builder, ir.VectorType(ir.IntType(32), 2 * low.width)  # a shift would be folded into a multiplication before it, and cost more
    order = ir.Constant(short, [i for k in range(low.width) for i in (2 * k, 2 * k + 2 * low.width)])
    return low.each(lambda x, y: b.bitcast(b.shuffle_vector(b.bitcast(x, short), b.bitcast(y, short), order), x.type), high)


def where(condition, x, y):
    """x where the condition holds, else y."""
    if isinstance(condition, Vectors):
        kind = x if isinstance(x, Vectors) else y
        return Vectors(kind.builder, [kind.builder.select(*xs) for xs in zip(condition.parts, kind._lift(x), kind._lift(y), strict=True)])
    return x if condition else y


def lookup(table, i):
    """table[i mod its length], a power of two: 8 float64 by uint64 or 16 float32 by uint32 are one instruction where vectors are 64 bytes."""
    if not isinstance(i, Vectors):
        return table[int(i) % len(table)]
    kind = i.to(_FLOATS[i.kind.width])
    if BYTES == 64 and len(table) == i.width:  # which reads no other bits of the index
        name = "llvm.x86.avx512.permvar." + ("df" if i.kind.width == 64 else "sf") + ".512"
        function = cgutils.get_or_insert_function(i.builder.module, ir.FunctionType(kind, [kind, i.parts[0].type]), name)
        entries = ir.Constant(kind, [float(x) for x in table])
        return i.each(lambda part: i.builder.call(function, (entries, part)))
    rows = [ir.Constant(kind, [float(x)] * i.width) for x in table]
    rows = [Vectors(i.builder, [row] * len(i.parts)) for row in rows]
    bit = 1
    while len(rows) > 1:  # halved by each bit
        odd = (i & bit) != 0
        rows, bit = [where(odd, y, x) for x, y in zip(rows[::2], rows[1::2], strict=True)], 2 * bit
    return rows[0]


def _intrinsic(x, name, count):
    kind = x.parts[0].type
    return cgutils.get_or_insert_function(x.builder.module, ir.FunctionType(kind, [kind] * count), f"llvm.{name}.v{x.width}f{x.dtype.itemsize * 8}")


# ---- memory --------------------------------------------------------------------------------------------------------------------------


def constant(i):
    """An index."""
    return ir.Constant(ir.IntType(64), i)


def pointer(context, builder, kind, array):
    """To the first number of a flat array."""
    return context.make_array(kind)(context, builder, array).data


def load(builder, place):
    """Vectors from a place on."""
    kind = place.type.pointee
    width = BYTES // _bytes(kind)
    vector = ir.VectorType(kind, width).as_pointer()
    places = [builder.bitcast(builder.gep(place, [constant(i * width)]), vector) for i in range(SIDE)]
    return Vectors(builder, [builder.load(p, align=_bytes(kind)) for p in places])


def store(vectors, place):
    """Write Vectors from a place on."""
    b, kind = vectors.builder, place.type.pointee
    for i, part in enumerate(vectors.parts):
        at = b.gep(place, [constant(i * vectors.width)])
        b.store(part, b.bitcast(at, part.type.as_pointer()), align=_bytes(kind))


def spread(builder, x, count=SIDE):
    """Vectors of a number in all places."""
    return Vectors(builder, [splat(builder, x, BYTES // _bytes(x.type))] * count)


def splat(builder, x, width):
    """One vector of a number in all places."""
    one = builder.insert_element(ir.Constant(ir.VectorType(x.type, width), ir.Undefined), x, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width))


def _bytes(kind):
    return {"double": 8, "float": 4, "i64": 8, "i32": 4}[str(kind)]


# ---- loops over lanes ----------------------------------------------------------------------------------------------------------------


def lanewise(text):
    """apply(out, *args), for Python and for the compiler: out_i = text(out_i, *args_i) for every i.

    Arrays are flat, of one floating type and a multiple of ``LANES`` long; other arguments are numbers. out may be one of the arrays.
    """

    def apply(out, *args):
        for i in range(len(out)):
            out[i] = text(out[i], *(a[i] if isinstance(a, np.ndarray) else out.dtype.type(a) for a in args))

    @intrinsic
    def emitted(_context, out, args):
        def emit(context, builder, signature, values):
            widen(builder)
            kind, width = out.dtype, SIDE * BYTES // (out.dtype.bitwidth // 8)
            array = context.make_array(out)(context, builder, values[0])
            length = cgutils.unpack_tuple(builder, array.shape)[0]
            read = []
            for k, x in zip(args, cgutils.unpack_tuple(builder, values[1]), strict=True):
                if isinstance(k, types.Array):
                    begin = pointer(context, builder, k, x)
                    read.append(lambda i, begin=begin: load(builder, builder.gep(begin, [i])))
                else:
                    same = spread(builder, context.cast(builder, x, k, kind))
                    read.append(lambda _, same=same: same)
            with cgutils.for_range_slice(builder, constant(0), length, constant(width), ir.IntType(64), inc=True) as (i, _):
                place = builder.gep(array.data, [i])
                store(text(load(builder, place), *(r(i) for r in read)), place)
            return context.get_dummy_value()

        return types.none(out, args), emit

    @overload(apply, jit_options={"forceinline": True})
    def _overload(out, *args):
        return lambda out, *args: emitted(out, args)

    return apply


# ---- the function that a loop is in ----------------------------------------------------------------------------------------------------


def full_width():
    """Call first in a compiled function: loops in it, and what is inlined, get the widest vectors, and a stack on which they are aligned.

    Left alone, LLVM vectorises for many processors with half of their width, and what does not fit into registers straddles two cache lines.
    """


def widen(builder):
    """What :func:`full_width` does, for an emitter."""
    attributes = builder.function.attributes
    attributes.alignstack = BYTES
    set.add(attributes, f'"prefer-vector-width"="{8 * BYTES}"')  # llvmlite's own add knows no attribute with a value


@intrinsic
def _full_width(_context):
    def emit(context, builder, signature, args):
        widen(builder)
        return context.get_dummy_value()

    return types.none(), emit


@overload(full_width, inline="always")  # into the caller, whose function it is about
def _overload_full_width():
    return lambda: _full_width()
