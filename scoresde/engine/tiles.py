r"""The products that dominate the fused simulator in high dimension, as tiles of explicit vectors that stay in registers.

For particles side by side ("lanes", the last axis), with x (d, lanes), q (K, lanes), centres and matrix (K, d) and out (d, lanes),

    squares:  q_k = \sum_j w_{kj} (x_j - a_{kj})^2,          weigh:  q_k = e^{l_k - \max l} b_k,  l_k = a_k q_k + o_k,
    gather:  out_j = out_j + \sum_k q_k b_{kj},             normalise:  out_j = (out_j - w_j x_j) i + shift_j.

A compiler's vectoriser would pass every partial sum through memory, one coordinate at a time. Here a tile of 4 components (coordinates) by 4
vectors of lanes is summed in registers over all coordinates (components) before it is stored, so that a multiply-add needs half a load.
The vectors are as wide as the processor has them. Each lane is summed on its own and in the order of the plain text, whose bits the tiles
have on every machine.

Source of the scheme: Goto & van de Geijn 2008, Anatomy of high-performance matrix multiplication, https://doi.org/10.1145/1356052.1356053
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numba.np.arrayobj import populate_array

from .elementary import exp, exp32
from .vectors import BYTES, SIDE, Vectors, constant, fma, load, pointer, spread, store, where, widen

__all__ = ["ROWS", "advance", "gather", "normalise", "part", "power", "squares", "weigh"]

ROWS = 4  # components or coordinates in a tile


def power(x):
    """e^x in the precision of x; see :mod:`.elementary`."""
    return exp(x) if x.dtype == np.float64 else exp32(x)


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


def weigh(q, top, total, weight, fade, scale, offset, factor, size, lanes, fresh):
    """From logits l_k = scale_k q_k + offset_k to weights, in place; the running maximum top, total = \\sum_k e^{l_k - top} and its weighted kin.

    q_k becomes factor_k e^{l_k - top}, of which weight is the sum. Unless fresh, total and weight are continued: what was summed before under
    a lower maximum is multiplied by fade = e^{old top - top}, which is left for the caller's other sums.
    Flat arrays: q (K lanes,); top, total, weight, fade (lanes,); scale, offset, factor (K,).
    """
    for i in range(lanes):
        old = high = q.dtype.type(-np.inf) if fresh else top[i]
        for k in range(size):
            q[k * lanes + i] = logit = fma(scale[k], q[k * lanes + i], offset[k])
            high = where(logit > high, logit, high)
        top[i] = high
        if fresh:
            total[i] = weight[i] = 0
        else:
            fade[i] = power(old - high)
            total[i] *= fade[i]
            weight[i] *= fade[i]
        for k in range(size):
            e = power(q[k * lanes + i] - high)
            q[k * lanes + i] = pull = factor[k] * e
            total[i], weight[i] = total[i] + e, weight[i] + pull


def gather(out, q, matrix, size, low, high, d, lanes, fresh):
    """Add q_k b_{kj} over k < size to out_j, low <= j < high, or to 0 if fresh.

    Flat arrays: out ((high - low) lanes,), q (K lanes,), matrix (K d,).
    """
    for j in range(low, high):
        for i in range(lanes):
            place = (j - low) * lanes + i
            total = out.dtype.type(0) if fresh else out[place]
            for k in range(size):
                total = fma(q[k * lanes + i], matrix[k * d + j], total)
            out[place] = total


def normalise(out, x, inverse, weight, stride, shift, d, lanes):
    """out_j = (out_j - w_j x_j) i + shift_j. Flat arrays: out, x (d lanes,), inverse i (lanes,), shift (d,); w_j from weight[j stride] on."""
    for i in range(lanes):
        for j in range(d):
            w = weight[j * stride + i] * inverse[i]
            out[j * lanes + i] = fma(out[j * lanes + i], inverse[i], fma(-w, x[j * lanes + i], shift[j]))


def advance(y, x, z, q, matrix, size, low, high, d, lanes, inverse, weight, shift, a, b, c):
    """y_j = a x_j + b s_j + c z_j, low <= j < high: gather into s, afresh, and normalise it with one weight, without storing s.

    Flat arrays: y, x, z ((high - low) lanes,), y may be x; q (K lanes,), matrix (K d,), inverse, weight (lanes,), shift (d,).
    """
    for j in range(low, high):
        for i in range(lanes):
            place, s = (j - low) * lanes + i, y.dtype.type(0)
            for k in range(size):
                s = fma(q[k * lanes + i], matrix[k * d + j], s)
            s = fma(s, inverse[i], fma(-(weight[i] * inverse[i]), x[place], shift[j]))
            y[place] = fma(a, x[place], fma(b, s, c * z[place]))


def part(x, low, high):
    """x[low:high] of a flat array; compiled, it is a view that counts no references, which a slice does by locked instructions."""
    return x[low:high]


# ---- the same by the compiler: loops written in LLVM's own vectors ---------------------------------------------------------------------


class _Tiles:
    """What the emitters need: arguments as pointers and indices, vectors from places, sums held in registers."""

    def __init__(self, context, builder, signature, args):
        widen(builder)
        self.builder, kind = builder, signature.args[0].dtype
        self.width = BYTES * 8 // kind.bitwidth
        self.values = [
            pointer(context, builder, kind, value)
            if isinstance(kind, types.Array)
            else context.cast(builder, value, kind, types.intp)
            if isinstance(kind, types.Integer)
            else value
            for kind, value in zip(signature.args, args, strict=True)
        ]

    def where(self, array, row, stride, place):
        return self.builder.gep(array, [self.builder.add(self.builder.mul(row, stride), place)])

    def load(self, array, row, stride, place):
        return load(self.builder, self.where(array, row, stride, place))

    def spread(self, array, i):
        """The i-th number in all places."""
        return spread(self.builder, self.builder.load(self.builder.gep(array, [i])))

    def loop(self, start, stop, step=1):
        return cgutils.for_range_slice(self.builder, start, stop, constant(step), ir.IntType(64), inc=True)

    def summed(self, initial, start, stop, add):
        """The Vectors after add(place, vectors) for every place in start..stop-1, in registers throughout."""
        b = self.builder
        flat = [part for v in initial for part in v.parts]
        before, head = b.block, b.append_basic_block("sum")
        done = b.append_basic_block("sum.done")
        b.cbranch(b.icmp_signed("<", start, stop), head, done)
        b.position_at_end(head)
        place = b.phi(ir.IntType(64))
        sums = [b.phi(part.type) for part in flat]
        place.add_incoming(start, before)
        for phi, value in zip(sums, flat, strict=True):
            phi.add_incoming(value, before)
        results = [part for v in add(place, self._bundle(sums)) for part in v.parts]
        following, last = b.add(place, constant(1)), b.block
        place.add_incoming(following, last)
        for phi, value in zip(sums, results, strict=True):
            phi.add_incoming(value, last)
        b.cbranch(b.icmp_signed("<", following, stop), head, done)
        b.position_at_end(done)
        finals = [b.phi(part.type) for part in flat]
        for phi, value, result in zip(finals, flat, results, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(result, last)
        return self._bundle(finals)

    def pulled(self, sums, q, matrix, rows, lane, size, d, lanes):
        """The sums of gather, one for each row."""

        def add(k, sums):
            weights, at = self.load(q, k, lanes, lane), self.builder.mul(k, d)
            return [fma(weights, self.spread(matrix, self.builder.add(at, j)), total) for j, total in zip(rows, sums, strict=True)]

        return self.summed(sums, constant(0), size, add)

    def _bundle(self, parts):
        return [Vectors(self.builder, parts[i : i + SIDE]) for i in range(0, len(parts), SIDE)]

    def tiles(self, low, high, lanes, emit):
        """emit(row, rows, lane) over low..high-1 by fours, then one by one, and over the lanes."""
        b = self.builder
        fours = b.add(low, b.and_(b.sub(high, low), constant(-ROWS)))
        for start, stop, rows in ((low, fours, ROWS), (fours, high, 1)):
            with self.loop(start, stop, rows) as (row, _), self.loop(constant(0), lanes, SIDE * self.width) as (lane, _):
                emit([b.add(row, constant(k)) for k in range(rows)], lane)

    def unless(self, condition, x, y):
        """Vectors y(), or x where the condition, a single bit, holds."""
        y = y()
        return y.each(lambda part, other: self.builder.select(condition, other, part), x)


def _emit_squares(context, builder, signature, args):
    t = _Tiles(context, builder, signature, args)
    q, x, centres, weights, first, size, low, high, d, lanes = t.values
    weighted = not isinstance(signature.args[3], types.NoneType)
    begins = builder.icmp_signed("==", low, constant(0))

    def emit(rows, lane):
        def add(j, sums):
            point, out = t.load(x, j, lanes, lane), []
            for k, total in zip(rows, sums, strict=True):
                at = builder.add(builder.mul(k, d), j)
                u = point - t.spread(centres, at)
                out.append(fma(t.spread(weights, at) * u if weighted else u, u, total))
            return out

        sums = [t.unless(begins, 0.0, lambda k=k: t.load(q, k, lanes, lane)) for k in rows]
        for k, total in zip(rows, t.summed(sums, low, high, add), strict=True):
            store(total, t.where(q, k, lanes, lane))

    t.tiles(first, builder.add(first, size), lanes, emit)
    return context.get_dummy_value()


def _emit_weigh(context, builder, signature, args):
    t = _Tiles(context, builder, signature, args)
    q, top, total, weight, fade, scale, offset, factor, size, lanes, fresh = t.values
    with t.loop(constant(0), lanes, SIDE * t.width) as (lane, _):
        place = [builder.gep(array, [lane]) for array in (top, total, weight, fade)]
        old = t.unless(fresh, -np.inf, lambda: load(builder, place[0]))

        def raise_top(k, sums):
            logit = fma(t.spread(scale, k), t.load(q, k, lanes, lane), t.spread(offset, k))
            store(logit, t.where(q, k, lanes, lane))
            return [where(logit > sums[0], logit, sums[0])]

        (high,) = t.summed([old], constant(0), size, raise_top)
        store(high, place[0])
        with builder.if_then(builder.not_(fresh), likely=False):
            faded = power(old - high)
            store(faded, place[3])
            for p in place[1:3]:
                store(load(builder, p) * faded, p)

        def add(k, sums):
            e = power(t.load(q, k, lanes, lane) - high)
            pull = t.spread(factor, k) * e
            store(pull, t.where(q, k, lanes, lane))
            return [sums[0] + e, sums[1] + pull]

        sums = [t.unless(fresh, 0.0, lambda p=p: load(builder, p)) for p in place[1:3]]
        for p, value in zip(place[1:3], t.summed(sums, constant(0), size, add), strict=True):
            store(value, p)
    return context.get_dummy_value()


def _emit_gather(context, builder, signature, args):
    t = _Tiles(context, builder, signature, args)
    out, q, matrix, size, low, high, d, lanes, fresh = t.values

    def emit(rows, lane):
        places = [t.where(out, builder.sub(j, low), lanes, lane) for j in rows]
        sums = [t.unless(fresh, 0.0, lambda p=p: load(builder, p)) for p in places]
        for place, total in zip(places, t.pulled(sums, q, matrix, rows, lane, size, d, lanes), strict=True):
            store(total, place)

    t.tiles(low, high, lanes, emit)
    return context.get_dummy_value()


def _emit_normalise(context, builder, signature, args):
    t = _Tiles(context, builder, signature, args)
    out, x, inverse, weight, stride, shift, d, lanes = t.values
    with t.loop(constant(0), lanes, SIDE * t.width) as (lane, _):
        inverse = load(builder, builder.gep(inverse, [lane]))
        with t.loop(constant(0), d) as (j, _):
            to = t.where(out, j, lanes, lane)
            w = t.load(weight, j, stride, lane) * inverse
            store(fma(load(builder, to), inverse, fma(-w, t.load(x, j, lanes, lane), t.spread(shift, j))), to)
    return context.get_dummy_value()


def _emit_advance(context, builder, signature, args):
    t = _Tiles(context, builder, signature, args)
    y, x, z, q, matrix, size, low, high, d, lanes, inverse, weight, shift, *factors = t.values
    a, b, c = (spread(builder, factor) for factor in factors)

    def emit(rows, lane):
        i = load(builder, builder.gep(inverse, [lane]))
        w = load(builder, builder.gep(weight, [lane])) * i
        sums = t.pulled([i.each(lambda part: ir.Constant(part.type, None))] * len(rows), q, matrix, rows, lane, size, d, lanes)
        for j, s in zip(rows, sums, strict=True):
            at, place = builder.sub(j, low), t.load(x, builder.sub(j, low), lanes, lane)
            s = fma(s, i, fma(-w, place, t.spread(shift, j)))
            store(fma(a, place, fma(b, s, c * t.load(z, at, lanes, lane))), t.where(y, at, lanes, lane))

    t.tiles(low, high, lanes, emit)
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


@overload(part, jit_options={"forceinline": True})
def _overload_part(x, low, high):
    return lambda x, low, high: _part(x, low, high)


@intrinsic
def _squares(_context, q, x, centres, weights, first, size, low, high, d, lanes):
    return types.none(q, x, centres, weights, first, size, low, high, d, lanes), _emit_squares


@overload(squares)
def _overload_squares(q, x, centres, weights, first, size, low, high, d, lanes):
    return lambda q, x, centres, weights, first, size, low, high, d, lanes: _squares(q, x, centres, weights, first, size, low, high, d, lanes)


@intrinsic
def _weigh(_context, q, top, total, weight, fade, scale, offset, factor, size, lanes, fresh):
    return types.none(q, top, total, weight, fade, scale, offset, factor, size, lanes, types.boolean), _emit_weigh


@overload(weigh)
def _overload_weigh(q, top, total, weight, fade, scale, offset, factor, size, lanes, fresh):
    return lambda q, top, total, weight, fade, scale, offset, factor, size, lanes, fresh: _weigh(
        q, top, total, weight, fade, scale, offset, factor, size, lanes, fresh
    )


@intrinsic
def _gather(_context, out, q, matrix, size, low, high, d, lanes, fresh):
    return types.none(out, q, matrix, size, low, high, d, lanes, types.boolean), _emit_gather


@overload(gather)
def _overload_gather(out, q, matrix, size, low, high, d, lanes, fresh):
    return lambda out, q, matrix, size, low, high, d, lanes, fresh: _gather(out, q, matrix, size, low, high, d, lanes, fresh)


@intrinsic
def _normalise(_context, out, x, inverse, weight, stride, shift, d, lanes):
    return types.none(out, x, inverse, weight, stride, shift, d, lanes), _emit_normalise


@overload(normalise)
def _overload_normalise(out, x, inverse, weight, stride, shift, d, lanes):
    return lambda out, x, inverse, weight, stride, shift, d, lanes: _normalise(out, x, inverse, weight, stride, shift, d, lanes)


@intrinsic
def _advance(_context, y, x, z, q, matrix, size, low, high, d, lanes, inverse, weight, shift, a, b, c):
    kind = y.dtype
    return types.none(y, x, z, q, matrix, size, low, high, d, lanes, inverse, weight, shift, kind, kind, kind), _emit_advance


@overload(advance)
def _overload_advance(y, x, z, q, matrix, size, low, high, d, lanes, inverse, weight, shift, a, b, c):
    return lambda y, x, z, q, matrix, size, low, high, d, lanes, inverse, weight, shift, a, b, c: _advance(
        y, x, z, q, matrix, size, low, high, d, lanes, inverse, weight, shift, a, b, c
    )
