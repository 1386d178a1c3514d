# ruff: noqa: RUF005, SIM300  Triton's Python knows no unpacking into a tuple, and a type stands on the right of ==
# mypy: ignore-errors
r"""The kernels of the device engine in Triton: normals, whole chains in registers, and what stands between two matrix products.

The normals are those of :mod:`.normals`: the same Philox words and the same polynomials in the same order, so that they agree bit for bit
wherever a multiply-add that is written out is rounded once; every launch asks that no other is contracted.

Particles 2p and 2p + 1 share the random words of a pair and are stepped side by side by one thread. Logits are measured in bits (the
constants carry \log_2 e), so that 2^x, which the hardware has, replaces e^x.
"""

import triton
import triton.language as tl

from .elementary import _COS_F, _LN4_F, _LN4_LOW_F, _LOG_F, _SIN_F

__all__ = ["advance", "chains", "draw", "weigh"]

_L0, _L1, _L2 = (tl.constexpr(float(p)) for p in _LOG_F)
_S0, _S1, _S2, _S3 = (tl.constexpr(float(p)) for p in _SIN_F)
_C0, _C1, _C2, _C3 = (tl.constexpr(float(p)) for p in _COS_F)
_LN4, _LN4_LOW = tl.constexpr(float(_LN4_F)), tl.constexpr(float(_LN4_LOW_F))  # minus


# ---- normals -------------------------------------------------------------------------------------------------------------------------


@triton.jit
def philox(pair, row, coordinate, k0, k1):
    """The four words of Philox4x32-10 at the counter (pair mod 2^32, row, coordinate, pair div 2^32); pair int64, k0, k1 uint32."""
    c0, c3 = pair.to(tl.uint32), (pair >> 32).to(tl.uint32)
    c1, c2 = (c0 * 0 + row).to(tl.uint32), (c0 * 0 + coordinate).to(tl.uint32)
    for _ in tl.static_range(10):
        left, right = c0.to(tl.uint64) * 0xD2511F53, c2.to(tl.uint64) * 0xCD9E8D57
        c0, c1, c2, c3 = (right >> 32).to(tl.uint32) ^ c1 ^ k0, right.to(tl.uint32), (left >> 32).to(tl.uint32) ^ c3 ^ k1, left.to(tl.uint32)
        k0, k1 = k0 + 0x9E3779B9, k1 + 0xBB67AE85
    return c0, c1, c2, c3


@triton.jit
def _radius_and_arc(c0, c1, c2, c3, KIND: tl.constexpr):
    r"""\sqrt{-2 \log u}, and the cosine and sine of the angle in [-\pi/4, \pi/4): the texts of :mod:`.elementary`."""
    if KIND == tl.float32:
        shifted = ((c1 >> 1).to(tl.int32).to(tl.float32) + 0.5).to(tl.uint32, bitcast=True) + (0x3F800000 - 0x3F3504F3)
        k = ((shifted >> 23).to(tl.int32) - (127 + 31)).to(tl.float32)
        f = 2.0 - ((shifted & 0x007FFFFF) + 0x3FB504F3).to(tl.float32, bitcast=True)
        s = tl.div_rn(f, f - 4.0)
        z = s * s
        p = tl.fma(tl.fma(z, _L0, _L1), z, _L2)
        squared = tl.fma(k, _LN4, tl.fma(k, _LN4_LOW, tl.fma(-s, tl.fma(z, p, f), f)))
        x = (((c3 << 2) | (c2 >> 30)) ^ 0x80000000).to(tl.int32, bitcast=True).to(tl.float32) * 2.0**-32
        z = x * x
        sine = x * tl.fma(tl.fma(tl.fma(z, _S0, _S1), z, _S2), z, _S3)
        cosine = tl.fma(tl.fma(tl.fma(tl.fma(z, _C0, _C1), z, _C2), z, _C3), z, 1.0)
        return tl.sqrt_rn(squared), cosine, sine
    else:
        zero = tl.full(c0.shape, 0.0, tl.float64)  # zero + p: a coefficient in float64; as it stands it would be rounded to float32
        shifted = ((c1.to(tl.int64) << 20 | (c0 >> 12).to(tl.int64)).to(tl.float64) + 0.5).to(tl.uint64, bitcast=True)
        shifted += 0x3FF0000000000000 - 0x3FE6A09E667F3BCD
        k = ((shifted >> 52).to(tl.int64) - (1023 + 52)).to(tl.float64)
        f = 2.0 - ((shifted & 0x000FFFFFFFFFFFFF) + 0x3FF6A09E667F3BCD).to(tl.float64, bitcast=True)
        s = f / (f - 4.0)
        z = s * s
        w = z * z
        p = tl.fma(w, zero + 0.2923561430683465, tl.fma(z, zero + 0.30663223444110016, zero + 0.3636578486507374))
        p = tl.fma(p, w, tl.fma(z, zero + 0.4444442217875899, zero + 0.5714285725250767))
        p = tl.fma(p, w, tl.fma(z, zero + 0.7999999999979778, zero + 1.333333333333334))
        squared = tl.fma(k, zero - 1.3862943611198906, tl.fma(k, zero - 4.638093627692598e-17, tl.fma(-s, tl.fma(z, p, f), f)))
        x = (((c3 & 0x3FFFFFFF).to(tl.int64) << 22 | (c2 >> 10).to(tl.int64)).to(tl.float64) - (2.0**51 - 0.5)) * 2.0**-52
        z = x * x
        w = z * z
        p = tl.fma(z, zero + 5.6339279856583726e-08, zero - 3.5986433131315896e-06)
        p = tl.fma(p, w, tl.fma(z, zero + 0.00016044115073200066, zero - 0.004681754132339787))
        p = tl.fma(p, w, tl.fma(z, zero + 0.07969262624604294, zero - 0.6459640975062443))
        sine = x * tl.fma(p, z, zero + 1.5707963267948966)
        p = tl.fma(w, zero - 6.32939064877311e-09, tl.fma(z, zero + 4.710678366340137e-07, zero - 2.520203902702769e-05))
        p = tl.fma(p, w, tl.fma(z, zero + 0.0009192602745467278, zero - 0.020863480763340766))
        p = tl.fma(p, w, tl.fma(z, zero + 0.2536695079010478, zero - 1.2337005501361697))
        return tl.sqrt(squared), tl.fma(p, z, zero + 1.0), sine


@triton.jit
def normals(pair, row, coordinate, k0, k1, KIND: tl.constexpr):
    """The normals of the particles 2 pair and 2 pair + 1; row and coordinate: int32, scalars or like pair."""
    c0, c1, c2, c3 = philox(pair, row, coordinate, k0, k1)
    radius, cosine, sine = _radius_and_arc(c0, c1, c2, c3, KIND)
    swap = (c3 & 0x40000000) != 0
    radius = tl.where((c3 & 0x80000000) != 0, -radius, radius)  # half a turn
    return radius * tl.where(swap, -sine, cosine), radius * tl.where(swap, cosine, sine)


@triton.jit(do_not_specialize=["k0", "k1", "first", "n", "row"])
def _draw(out, k0, k1, first, n, row, d, KIND: tl.constexpr, PAIRS: tl.constexpr, WIDTH: tl.constexpr):
    p, j = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)[:, None], tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)[None, :]
    p, j = p.to(tl.int64) + 0 * j, j + 0 * p
    k0, k1 = k0.to(tl.uint32, bitcast=True), k1.to(tl.uint32, bitcast=True)
    even, odd = normals(p + first // 2, row, j, k0, k1, KIND)
    at = out + 2 * p * d + j
    tl.store(at, even, mask=(j < d) & (2 * p < n))
    tl.store(at + d, odd, mask=(j < d) & (2 * p + 1 < n))


# ---- a whole chain in registers ------------------------------------------------------------------------------------------------------
# A tuple of 2 D blocks holds D coordinates of pairs of particles: coordinate j of the even ones at 2 j, of the odd ones at 2 j + 1.
# Memories are such tuples one after another, the newest first.


@triton.jit
def _repeat(block, COUNT: tl.constexpr):
    out = ()
    for _ in tl.static_range(COUNT):
        out = out + (block,)
    return out


@triton.jit
def _push(new, memory, SIZE: tl.constexpr, COUNT: tl.constexpr):
    """new (SIZE blocks) before the newest of a memory of COUNT blocks, whose oldest are dropped."""
    for i in tl.static_range(COUNT - SIZE):
        new = new + (memory[i],)
    return new


@triton.jit
def _score(zero, x, means, inverse, offset, m, shift, tiles, D: tl.constexpr, AXES: tl.constexpr, TILE: tl.constexpr, MANY: tl.constexpr):
    r"""\sum_k r_k V_k^{-1} (m \mu_k - x) + shift; inverse (K, AXES) = V^{-1}, offset (K,): the constants of the logits in bits.

    Components come in tiles with a running maximum, as in :mod:`.lanes`; MANY: there is more than one tile.
    """
    top0, top1 = zero - float("inf"), zero - float("inf")
    total0, total1 = zero, zero
    pull = _repeat(zero, 2 * D)
    for tile in range(tiles):
        q = ()
        greatest0, greatest1 = top0, top1
        for i in tl.static_range(TILE):
            k = tile * TILE + i
            q0, q1 = zero, zero
            for j in tl.static_range(D):
                mean = m * tl.load(means + k * D + j)
                u0, u1 = x[2 * j] - mean, x[2 * j + 1] - mean
                if AXES == 1:
                    q0, q1 = tl.fma(u0, u0, q0), tl.fma(u1, u1, q1)
                else:
                    p = tl.load(inverse + k * D + j)
                    q0, q1 = tl.fma(p * u0, u0, q0), tl.fma(p * u1, u1, q1)
            half = zero - 0.7213475204444817  # \log_2(e) / 2
            if AXES == 1:
                half = half * tl.load(inverse + k)
            constant = tl.load(offset + k)
            q0, q1 = tl.fma(half, q0, constant), tl.fma(half, q1, constant)
            greatest0, greatest1 = tl.maximum(greatest0, q0), tl.maximum(greatest1, q1)
            q = q + (q0, q1)
        if MANY:  # what was summed so far was measured from a lower greatest logit
            fade0, fade1 = tl.exp2(top0 - greatest0), tl.exp2(top1 - greatest1)
            total0, total1 = total0 * fade0, total1 * fade1
            faded = ()
            for j in tl.static_range(D):
                faded = faded + (pull[2 * j] * fade0, pull[2 * j + 1] * fade1)
            pull = faded
        top0, top1 = greatest0, greatest1
        for i in tl.static_range(TILE):
            k = tile * TILE + i
            e0, e1 = tl.exp2(q[2 * i] - top0), tl.exp2(q[2 * i + 1] - top1)
            total0, total1 = total0 + e0, total1 + e1
            if AXES == 1:
                p = tl.load(inverse + k)
                e0, e1 = p * e0, p * e1
            pulled = ()
            for j in tl.static_range(D):
                mean = m * tl.load(means + k * D + j)
                u0, u1 = mean - x[2 * j], mean - x[2 * j + 1]
                if AXES > 1:
                    p = tl.load(inverse + k * D + j)
                    u0, u1 = p * u0, p * u1
                pulled = pulled + (tl.fma(e0, u0, pull[2 * j]), tl.fma(e1, u1, pull[2 * j + 1]))
            pull = pulled
    total0, total1 = 1.0 / total0, 1.0 / total1
    s = ()
    for j in tl.static_range(D):
        moved = tl.load(shift + j)
        s = s + (tl.fma(pull[2 * j], total0, moved), tl.fma(pull[2 * j + 1], total1, moved))
    return s


@triton.jit(do_not_specialize=["k0", "k1", "n", "rows", "tiles"])
def _chains(
    out, keep, used, drawn, a, b, c, m, inverse, offset, means, shift, k0, k1, n, rows, tiles,
    D: tl.constexpr, AXES: tl.constexpr, TILE: tl.constexpr, MANY: tl.constexpr, LAGS: tl.constexpr, SCORES: tl.constexpr,
    NOISES: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    kind = out.dtype.element_ty
    pair = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    even, odd = 2 * pair < n, 2 * pair + 1 < n
    at = out + pair * (2 * D)
    zero = tl.full([PAIRS], 0.0, kind)
    k0, k1 = k0.to(tl.uint32, bitcast=True), k1.to(tl.uint32, bitcast=True)
    x = ()
    for j in tl.static_range(D):
        x = x + (tl.load(at + j, mask=even, other=0.0), tl.load(at + D + j, mask=odd, other=0.0))
    y = _push(x, _repeat(zero, 2 * D * LAGS), 2 * D, 2 * D * LAGS)
    s, z = _repeat(zero, 2 * D * SCORES), _repeat(zero, 2 * D * NOISES)
    for r in range(rows):
        if SCORES > 0:
            score = _repeat(zero, 2 * D)
            if tl.load(used + r) != 0:
                score = _score(zero, y, means, inverse, offset, tl.load(m + r), shift, tiles, D, AXES, TILE, MANY)
            inverse += tiles * TILE * AXES
            offset += tiles * TILE
            s = _push(score, s, 2 * D, 2 * D * SCORES)
        if NOISES > 0:
            noise = _repeat(zero, 2 * D)
            if tl.load(drawn + r) != 0:
                noise = ()
                for j in tl.static_range(D):
                    noise = noise + normals(pair, r, j, k0, k1, kind)
            z = _push(noise, z, 2 * D, 2 * D * NOISES)
        new = ()
        for i in tl.static_range(2 * D):
            u = zero
            for j in tl.static_range(NOISES):
                u = tl.fma(z[2 * D * j + i], tl.load(c + r * NOISES + j), u)
            for j in tl.static_range(SCORES):
                u = tl.fma(s[2 * D * j + i], tl.load(b + r * SCORES + j), u)
            for j in tl.static_range(LAGS):
                u = tl.fma(y[2 * D * j + i], tl.load(a + r * LAGS + j), u)
            new = new + (u,)
        y = _push(new, y, 2 * D, 2 * D * LAGS)
        slot = tl.load(keep + r)
        if slot >= 0:
            to = at + slot.to(tl.int64) * n * D
            for j in tl.static_range(D):
                tl.store(to + j, new[2 * j], mask=even)
                tl.store(to + D + j, new[2 * j + 1], mask=odd)


# ---- between two matrix products -----------------------------------------------------------------------------------------------------


@triton.jit
def _logits(products, slope, offset, square, bend, k, count, BENT: tl.constexpr):
    inside = k < count
    q = tl.fma(tl.load(products + k, mask=inside, other=0.0), tl.load(slope + k, mask=inside, other=0.0),
               tl.load(offset + k, mask=inside, other=-float("inf")))  # fmt: skip
    if BENT:
        q = tl.fma(tl.load(bend + k, mask=inside, other=0.0), -square, q)
    return q


@triton.jit(do_not_specialize=["count"])
def _weigh(weights, pull, products, slope, offset, inverse, squares, bend, count, BENT: tl.constexpr, TILE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    products, weights, lane = products + row * count, weights + row * count, tl.arange(0, TILE)
    kind = products.dtype.element_ty
    square = tl.load(squares + row) if BENT else tl.full([], 0.0, kind)
    top, total = tl.full([TILE], -float("inf"), kind), tl.full([TILE], 0.0, kind)
    for first in range(0, count, TILE):  # every lane has a running maximum of its own
        q = _logits(products, slope, offset, square, bend, first + lane, count, BENT)
        new = tl.maximum(top, q)
        level = tl.where(new == -float("inf"), 0.0, new)  # a lane without a component yet
        total = total * tl.exp2(top - level) + tl.exp2(q - level)
        top = new
    greatest = tl.max(top, axis=0)
    total = tl.sum(total * tl.exp2(top - greatest), axis=0)
    pulled = tl.full([TILE], 0.0, kind)
    for first in range(0, count, TILE):
        k = first + lane
        q = _logits(products, slope, offset, square, bend, k, count, BENT)
        p = tl.exp2(q - greatest) * tl.load(inverse + k, mask=k < count, other=0.0) / total
        pulled += p
        tl.store(weights + k, p.to(weights.dtype.element_ty), mask=k < count)
    tl.store(pull + row, tl.sum(pulled, axis=0))


@triton.jit(do_not_specialize=["k0", "k1", "first", "n", "row", "reach"])
def _advance(
    new, s, z, x, product, pull, shift, centre, numbers, k0, k1, first, n, row, reach, d,
    SCORED: tl.constexpr, DRAWN: tl.constexpr, KEEP_S: tl.constexpr, KEEP_Z: tl.constexpr, KIND: tl.constexpr, PAIRS: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    p, j = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)[:, None], tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)[None, :]
    p, j = p.to(tl.int64) + 0 * j, j + 0 * p
    k0, k1 = k0.to(tl.uint32, bitcast=True), k1.to(tl.uint32, bitcast=True)
    if DRAWN:
        z0, z1 = normals(p + first // 2, row, j, k0, k1, KIND)
    m, a, b = tl.load(numbers).to(KIND), tl.load(numbers + 1).to(KIND), tl.load(numbers + 2).to(KIND)
    c, drift = tl.load(numbers + 3).to(KIND), tl.load(numbers + 4).to(KIND)
    moved, constant = tl.load(shift + j, mask=j < d, other=0.0), drift * tl.load(centre + j, mask=j < d, other=0.0)
    for odd in tl.static_range(2):
        i = 2 * p + odd
        inside = (j < d) & (i < n)
        at = i * d + j
        u = tl.load(x + at, mask=inside, other=0.0)
        to = tl.fma(u, a, constant)
        if SCORED:
            # a pull is one number for all coordinates (reach 0) or one for each (reach 1)
            held = tl.load(pull + (at * reach + i * (1 - reach)), mask=inside, other=0.0)
            v = tl.fma(tl.load(product + at, mask=inside, other=0.0), m, tl.fma(held, -u, moved))
            to = tl.fma(v, b, to)
            if KEEP_S:
                tl.store(s + at, v, mask=inside)
        if DRAWN:
            w = z1 if odd else z0
            to = tl.fma(w, c, to)
            if KEEP_Z:
                tl.store(z + at, w, mask=inside)
        tl.store(new + at, to, mask=inside)


# ---- the launches: the same functions as in :mod:`.torch_kernels`, and whole chains --------------------------------------------------

_EXACT = {"enable_fp_fusion": False}  # what is one multiply-add is written as one
_KINDS = {"torch.float32": tl.float32, "torch.float64": tl.float64}


def _signed(key):
    """The two words of a key as int32 with the same bits: Triton compiles one kernel for each integer type."""
    return [int(k) - (int(k) >> 31 << 32) for k in key]


def _tiles(n, d):
    """Pairs of particles and coordinates of one program, 1024 normals of each parity at most, and the grid."""
    width = min(128, triton.next_power_of_2(d))
    pairs = 1024 // width
    return (triton.cdiv(triton.cdiv(n, 2), pairs), triton.cdiv(d, width)), {"PAIRS": pairs, "WIDTH": width}


def draw(out, key, first, row):
    """Overwrite out (n, d) with the normals of the particles first, ..., first + n - 1 (first even) at one row, made in float64."""
    n, d = out.shape
    grid, sizes = _tiles(n, d)
    _draw[grid](out, *_signed(key), first, n, row, d, KIND=tl.float64, **sizes, **_EXACT)


def weigh(products, slope, offset, inverse, squares, bend, dtype):
    r"""Weights r_k V_k^{-1} (n, K) in dtype and their sums (n,): see :func:`.torch_kernels.weigh`. Overwrites products if it can."""
    n, count = products.shape
    weights = products if products.dtype == dtype else products.new_empty((n, count), dtype=dtype)
    pull = products.new_empty(n, dtype=dtype)
    bent = bend is not None
    tile = min(4096, triton.next_power_of_2(count))
    _weigh[(n,)](
        weights, pull, products, slope, offset, inverse, squares if bent else pull, bend if bent else pull, count,
        BENT=bent, TILE=tile, num_warps=8 if tile > 1024 else 4, **_EXACT,
    )  # fmt: skip
    return weights, pull


def advance(x, product, pull, shift, centre, numbers, key, first, row, drawn, keep_s, keep_z):
    """The next state, score and noise: see :func:`.torch_kernels.advance`."""
    n, d = x.shape
    grid, sizes = _tiles(n, d)
    scored = product is not None
    new, s, z = x.new_empty(x.shape), product if scored and keep_s else None, x.new_empty(x.shape) if drawn and keep_z else None
    fill = lambda u: x if u is None else u  # noqa: E731  a pointer that is not followed
    _advance[grid](
        new, fill(s), fill(z), x, fill(product), fill(pull), shift, centre, numbers, *_signed(key), first, n, row,
        int(scored and pull.ndim == 2), d, SCORED=scored, DRAWN=drawn, KEEP_S=s is not None, KEEP_Z=z is not None,
        KIND=_KINDS[str(x.dtype)], **sizes, **_EXACT,
    )  # fmt: skip
    return new, s, z


def chains(out, keep, table, law, key, tile):
    """Particles from out[0] through all rows, y_{r+1} to out[keep[r]] where keep[r] >= 0; out (states, n, d).

    keep int32 (rows,). table: used, drawn int32 (rows,), a (rows, lags), b (rows, lags), c (rows, noises), with no column at all where the
    table uses no score or no noise. law: m (rows,), inverse (rows, K, axes) = 1/V, offset (rows, K) the constants of the logits in bits,
    means (K, d), shift (d,); K is a multiple of tile. All real numbers in the type of out.
    """
    (_, n, d), (_, _, a, b, c), (_, inverse, _, means, _) = out.shape, table, law
    tiles, pairs = len(means) // tile, 128 if d > 4 or out.element_size() == 8 else 256
    _chains[(triton.cdiv(triton.cdiv(n, 2), pairs),)](
        out, keep, *table, *law, *_signed(key), n, len(keep), tiles,
        D=d, AXES=inverse.shape[2], TILE=tile, MANY=tiles > 1, LAGS=a.shape[1], SCORES=b.shape[1], NOISES=c.shape[1], PAIRS=pairs, **_EXACT,
    )  # fmt: skip
