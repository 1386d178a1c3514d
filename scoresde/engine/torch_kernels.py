"""What the device engine does around its matrix products, in plain torch: the text that :mod:`.triton_kernels` is held against, for every device.

The normals come from the processor, hence are those of :mod:`.normals` bit for bit.
"""

import numpy as np
import torch

from .normals import normals

__all__ = ["advance", "draw", "weigh"]


def _normals(like, key, first, row, dtype):
    return torch.from_numpy(normals(key, *like.shape, row=row, first=first, dtype=dtype)).to(like)


def draw(out, key, first, row):
    """Overwrite out (n, d) with the normals of the particles first, ..., first + n - 1 at one row, made in float64."""
    out.copy_(_normals(out, key, first, row, np.float64))


def weigh(products, slope, offset, inverse, squares, bend, dtype):
    r"""w_{ik} = r_{ik} q_k and \sum_k w_{ik}, r_{ik} \propto 2^{slope_k G_{ik} + offset_k - bend_k squares_i}: (n, K) and (n,) in dtype.

    products G (n, K), overwritten; slope, offset, inverse q, bend (K,) and squares (n,) in its type; bend None where it is 0.
    """
    logits = products.mul_(slope).add_(offset)
    if bend is not None:
        logits.addr_(squares, bend, alpha=-1)
    e = logits.sub_(logits.amax(1, keepdim=True)).exp2_()
    weights = (e / e.sum(1, keepdim=True)).mul_(inverse).to(dtype)
    return weights, weights.sum(1)


def advance(x, product, pull, shift, centre, numbers, key, first, row, drawn, keep_s, keep_z):
    """(a x + b s + c z + drift centre, s, z) with s = m product - pull x + shift, all (n, d); numbers: m, a, b, c, drift as float64 (5,).

    product None: no score in this row, s = 0; pull (n,) or (n, d). Not drawn: z = 0. s and z are returned as None where they are 0 or not
    kept. product may be overwritten.
    """
    m, a, b, c, drift = numbers.to(x.dtype)
    new, s, z = torch.addcmul(drift * centre, x, a), None, None
    if product is not None:
        s = product.mul_(m).add_(shift).addcmul_(pull if pull.ndim == 2 else pull[:, None], x, value=-1)
        new.addcmul_(s, b)
    if drawn:
        z = _normals(x, key, first, row, str(x.dtype).removeprefix("torch."))
        new.addcmul_(z, c)
    return new, s if keep_s else None, z if keep_z else None
