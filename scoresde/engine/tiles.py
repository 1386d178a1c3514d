r"""The products that dominate the fused simulator in high dimension, as tiles of explicit vectors that stay in registers.

For particles side by side ("lanes", the last axis), with x (d, lanes), q (K, lanes), centres and matrix (K, d) and out (d, lanes),

    squares:  q_k = \sum_j w_{kj} (x_j - a_{kj})^2,          gather:  out_j = out_j + \sum_k q_k b_{kj},
    normalise:  out_j = (out_j - w_j x_j) / t + shift_j.

A compiler's vectoriser would pass every partial sum through memory, one coordinate at a time. Here a tile of 4 components (coordinates) by 4
vectors of lanes is summed in registers over all coordinates (components) before it is stored, so that a multiply-add needs half a load.
The vectors are as wide as the processor has them. Each lane is summed on its own and in the order of the plain text, whose bits the tiles
have on every machine.

Source of the scheme: Goto & van de Geijn 2008, Anatomy of high-performance matrix multiplication, https://doi.org/10.1145/1356052.1356053
"""

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numba.np.arrayobj import populate_array

from .elementary import fma

__all__ = ["LINE", "gather", "normalise", "part", "squares"]

_WIDE = llvmlite.binding.get_host_cpu_features().get("avx512f", False)
_BYTES = 64 if _WIDE else 32  # of a vector
_VECTORS = 4 if _WIDE else 2  # of lanes in a tile: 16 (8) sums, and the 32 (16) registers hold the operands too
_ROWS = 4  # components or coordinates in a tile
LINE = 256  # bytes that lanes must be a multiple of: whole tiles, however wide the vectors are


def squares(q, x, centres, weights, first, size, low, high, d, lanes):
    """Add the coordinates low, ..., high - 1 to the weighted squared distances of the components first, ..., first + size - 1 (all from 0 on).

    Flat arrays: q (K lanes,), x (d lanes,), centres (K d,), weights (K d,), or None for weights 1. With low = 0 what q held is overwritten.
    """
    for k in range(first, first + size):
        for i in range(lanes):
            total = q.dtype.type(0) if low == 0 else q[k * lanes + i]
            for j in range(low, high):
                u = x[j * lanes + i] - centres[k * d + j]
                total = fma(u if weights is None else weights[k * d + j] * u, u, total)
            q[k * lanes + i] = total


def gather(out, q, matrix, size, d, lanes, fresh):
    """Add q_k b_{kj} over k < size to out_j, or to 0 if fresh. Flat arrays: out (d lanes,), q (K lanes,), matrix (K d,)."""
    for j in range(d):
        for i in range(lanes):
            total = out.dtype.type(0) if fresh else out[j * lanes + i]
            for k in range(size):
                total = fma(q[k * lanes + i], matrix[k * d + j], total)
            out[j * lanes + i] = total


def normalise(out, x, total, weight, stride, shift, d, lanes):
    """out_j = (out_j - w_j x_j) / total + shift_j. Flat arrays: out, x (d lanes,), total (lanes,), shift (d,); w_j from weight[j stride] on."""
    for i in range(lanes):
        inverse = out.dtype.type(1) / total[i]
        for j in range(d):
            w = weight[j * stride + i] * inverse
            out[j * lanes + i] = fma(out[j * lanes + i], inverse, fma(-w, x[j * lanes + i], shift[j]))


def part(x, low, high):
    """x[low:high] of a flat array; compiled, it is a view that counts no references, which a slice does by locked instructions."""
    return x[low:high]


# ---- the same by the compiler: loops written in LLVM's own vectors ---------------------------------------------------------------------


class _Tiles:
    """What both products need to emit: pointers into flat arrays of one floating type, vectors, sums held in registers."""

    def __init__(self, context, builder, signature, args):
        self.builder, self.scalar = builder, context.get_value_type(signature.args[0].dtype)
        self.size = signature.args[0].dtype.bitwidth // 8
        self.count = _BYTES // self.size
        self.vector = ir.VectorType(self.scalar, self.count)
        self.zero = ir.Constant(self.vector, [0.0] * self.count)
        self.word = context.get_value_type(types.intp)
        self.values = [
            context.make_array(kind)(context, builder, value).data
            if isinstance(kind, types.Array)
            else context.cast(builder, value, kind, types.intp)
            if isinstance(kind, types.Integer)
            else value
            for kind, value in zip(signature.args, args, strict=True)
        ]
        name = f"llvm.fma.v{self.count}f{self.size * 8}"
        self.fused = cgutils.get_or_insert_function(builder.module, ir.FunctionType(self.vector, [self.vector] * 3), name)

    def constant(self, i):
        return ir.Constant(self.word, i)

    def fma(self, x, y, z):
        return self.builder.call(self.fused, (x, y, z))

    def where(self, array, row, stride, place):
        index = self.builder.add(self.builder.mul(row, stride), place)
        return self.builder.gep(array, [index])

    def load(self, pointer, i):
        """The i-th vector from a pointer on."""
        pointer = self.builder.gep(pointer, [self.constant(i * self.count)])
        return self.builder.load(self.builder.bitcast(pointer, self.vector.as_pointer()), align=self.size)

    def store(self, vector, pointer, i):
        pointer = self.builder.gep(pointer, [self.constant(i * self.count)])
        self.builder.store(vector, self.builder.bitcast(pointer, self.vector.as_pointer()), align=self.size)

    def spread(self, pointer):
        """A number in all places of a vector."""
        one = self.builder.insert_element(ir.Constant(self.vector, ir.Undefined), self.builder.load(pointer), ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), self.count), [0] * self.count))

    def loop(self, start, stop, step=1):
        return cgutils.for_range_slice(self.builder, start, stop, self.constant(step), self.word, inc=True)

    def summed(self, initial, start, stop, add):
        """The list of sums after add(place, sums) for every place in start..stop-1, in registers throughout."""
        b = self.builder
        before, head = b.block, b.append_basic_block("sum")
        done = b.append_basic_block("sum.done")
        b.cbranch(b.icmp_signed("<", start, stop), head, done)
        b.position_at_end(head)
        place = b.phi(self.word)
        sums = [b.phi(self.vector) for _ in initial]
        place.add_incoming(start, before)
        for phi, value in zip(sums, initial, strict=True):
            phi.add_incoming(value, before)
        results = add(place, sums)
        following, last = b.add(place, self.constant(1)), b.block
        place.add_incoming(following, last)
        for phi, value in zip(sums, results, strict=True):
            phi.add_incoming(value, last)
        b.cbranch(b.icmp_signed("<", following, stop), head, done)
        b.position_at_end(done)
        finals = [b.phi(self.vector) for _ in initial]
        for phi, value, result in zip(finals, initial, results, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(result, last)
        return finals

    def tiles(self, low, high, lanes, emit):
        """emit(row, rows, lane) over low..high-1 by fours, then one by one, and over the lanes."""
        b = self.builder
        fours = b.add(low, b.and_(b.sub(high, low), self.constant(-_ROWS)))
        for start, stop, rows in ((low, fours, _ROWS), (fours, high, 1)):
            with self.loop(start, stop, rows) as (row, _), self.loop(self.constant(0), lanes, _VECTORS * self.count) as (lane, _):
                emit(row, rows, lane)


def _emit_squares(context, builder, signature, args):
    t = _Tiles(context, builder, signature, args)
    q, x, centres, weights, first, size, low, high, d, lanes = t.values
    weighted = not isinstance(signature.args[3], types.NoneType)
    begins = builder.icmp_signed("==", low, t.constant(0))

    def emit(row, rows, lane):
        to = [t.where(q, builder.add(row, t.constant(k)), lanes, lane) for k in range(rows)]
        initial = [builder.select(begins, t.zero, t.load(p, i)) for p in to for i in range(_VECTORS)]

        def add(j, sums):
            at = t.where(x, j, lanes, lane)
            points, sums = [t.load(at, i) for i in range(_VECTORS)], iter(sums)
            out = []
            for k in range(rows):
                row_k = builder.add(row, t.constant(k))
                centre = t.spread(t.where(centres, row_k, d, j))
                weight = t.spread(t.where(weights, row_k, d, j)) if weighted else None
                for point in points:
                    u = builder.fsub(point, centre)
                    out.append(t.fma(builder.fmul(weight, u) if weighted else u, u, next(sums)))
            return out

        for n, value in enumerate(t.summed(initial, low, high, add)):
            t.store(value, to[n // _VECTORS], n % _VECTORS)

    t.tiles(first, builder.add(first, size), lanes, emit)
    return context.get_dummy_value()


def _emit_gather(context, builder, signature, args):
    t = _Tiles(context, builder, signature, args)
    out, q, matrix, size, d, lanes, fresh = t.values

    def emit(row, rows, lane):
        to = [t.where(out, builder.add(row, t.constant(j)), lanes, lane) for j in range(rows)]
        initial = [builder.select(fresh, t.zero, t.load(p, i)) for p in to for i in range(_VECTORS)]

        def add(k, sums):
            at = t.where(q, k, lanes, lane)
            weights, sums = [t.load(at, i) for i in range(_VECTORS)], iter(sums)
            entries = [t.spread(t.where(matrix, k, d, builder.add(row, t.constant(j)))) for j in range(rows)]
            return [t.fma(weight, entry, next(sums)) for entry in entries for weight in weights]

        for n, value in enumerate(t.summed(initial, t.constant(0), size, add)):
            t.store(value, to[n // _VECTORS], n % _VECTORS)

    t.tiles(t.constant(0), d, lanes, emit)
    return context.get_dummy_value()


def _emit_normalise(context, builder, signature, args):
    t = _Tiles(context, builder, signature, args)
    out, x, total, weight, stride, shift, d, lanes = t.values
    with t.loop(t.constant(0), lanes, t.count) as (lane, _):
        inverse = builder.fdiv(ir.Constant(t.vector, [1.0] * t.count), t.load(builder.gep(total, [lane]), 0))
        with t.loop(t.constant(0), d) as (j, _):
            to = t.where(out, j, lanes, lane)
            w = builder.fmul(t.load(t.where(weight, j, stride, lane), 0), inverse)
            moved = t.fma(builder.fneg(w), t.load(t.where(x, j, lanes, lane), 0), t.spread(builder.gep(shift, [j])))
            t.store(t.fma(t.load(to, 0), inverse, moved), to, 0)
    return context.get_dummy_value()


@intrinsic
def _part(_context, x, low, high):
    def emit(context, builder, signature, args):
        flat = context.make_array(x)(context, builder, args[0])
        low, high = (context.cast(builder, value, kind, types.intp) for value, kind in zip(args[1:], signature.args[1:], strict=True))
        count, view = builder.sub(high, low), context.make_array(x)(context, builder)
        size = context.get_constant(types.intp, x.dtype.bitwidth // 8)
        populate_array(view, data=builder.gep(flat.data, [low]), shape=[count], strides=[size], itemsize=size, meminfo=None)
        return view._getvalue()

    return x(x, low, high), emit


@intrinsic
def _squares(_context, q, x, centres, weights, first, size, low, high, d, lanes):
    return types.none(q, x, centres, weights, first, size, low, high, d, lanes), _emit_squares


@intrinsic
def _gather(_context, out, q, matrix, size, d, lanes, fresh):
    return types.none(out, q, matrix, size, d, lanes, types.boolean), _emit_gather


@intrinsic
def _normalise(_context, out, x, total, weight, stride, shift, d, lanes):
    return types.none(out, x, total, weight, stride, shift, d, lanes), _emit_normalise


@overload(part, jit_options={"forceinline": True})
def _overload_part(x, low, high):
    return lambda x, low, high: _part(x, low, high)


@overload(squares)
def _overload_squares(q, x, centres, weights, first, size, low, high, d, lanes):
    return lambda q, x, centres, weights, first, size, low, high, d, lanes: _squares(q, x, centres, weights, first, size, low, high, d, lanes)


@overload(gather)
def _overload_gather(out, q, matrix, size, d, lanes, fresh):
    return lambda out, q, matrix, size, d, lanes, fresh: _gather(out, q, matrix, size, d, lanes, fresh)


@overload(normalise)
def _overload_normalise(out, x, total, weight, stride, shift, d, lanes):
    return lambda out, x, total, weight, stride, shift, d, lanes: _normalise(out, x, total, weight, stride, shift, d, lanes)
