"""Laws of data: the kernel density estimate."""

import numpy as np

from .._arrays import finite
from .mixture import GaussianMixture

__all__ = ["kernel_density"]


def kernel_density(data, bandwidth=None):
    r"""\frac1n \sum_i N(x_i, diag(b^2)): the kernel density estimate of data (n, d), a GaussianMixture.

    bandwidth : () or (d,), a standard deviation > 0. None is Silverman's rule for Gaussian kernels, for each coordinate
    b_j = s_j (4 / ((d + 2) n))^{1/(d+4)} with s_j its standard deviation (divisor n - 1).
    Raises ValueError for data of another shape, or a rule that gives 0 (fewer than 2 points, a constant coordinate).
    Source: Silverman 1986, Density Estimation for Statistics and Data Analysis, eq. 4.14.
    """
    data = finite("data", data)
    if data.ndim != 2 or not data.size:
        remedy = "; write data[:, None] for numbers on the line" if data.ndim == 1 else ""
        raise ValueError(f"data: got shape {data.shape}, allowed is (n, d){remedy}")
    n, d = data.shape
    if bandwidth is None:
        s = data.std(axis=0, ddof=1) if n > 1 else np.zeros(d)
        if not (s > 0).all():
            j = int(np.argmin(s))
            raise ValueError(f"data: got standard deviation {s[j]} in coordinate {j} ({n} points), allowed is > 0; pass bandwidth=")
        bandwidth = s * (4 / ((d + 2) * n)) ** (1 / (d + 4))
    b = finite("bandwidth", bandwidth)
    if b.shape not in ((), (d,)) or (b <= 0).any():
        raise ValueError(f"bandwidth: got {b!r:.60} of shape {b.shape}, allowed are standard deviations > 0 of shape () or ({d},)")
    variance = b * b if b.ndim == 0 else np.broadcast_to(b * b, (n, d))
    return GaussianMixture(np.full(n, 1 / n), data, variance[:, 0] if b.ndim and d == 1 else variance)
