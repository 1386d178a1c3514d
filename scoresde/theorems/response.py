r"""First-order change of the law of the reverse process under a small change of its generator, by quadrature.

If the density of a chain started at p_T satisfies q - \pi = \epsilon e_1 + O(\epsilon^2), then with a source R_\tau on the way

    e_1(x) / \pi(x) = \int_0^T E[R_\tau(X_\tau) | X_0 = x] d\tau,   X_\tau = e^{-\tau} x + \sqrt{1 - e^{-2\tau}} Z:

what is created at \tau travels down the reverse flow, whose density relative to p is a conditional expectation under the forward one. For a
chain that follows the probability flow dx/d\tau = -x - s_\tau(x) the expectation is the value at the one point x_\tau that x comes from.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..laws import Gaussian, GaussianMixture

__all__ = ["Derivatives", "Response", "components", "respond", "respond_along_flow"]


def components(target):
    """(weights, means, variances), (K,) each, of a Gaussian or a Gaussian mixture on the line; None for any other law."""
    if not isinstance(target, (Gaussian, GaussianMixture)) or target.dim != 1:
        return None
    if isinstance(target, Gaussian):
        return np.ones(1), target.mean(), target.cov().ravel()
    return target.weights, target.means[:, 0], np.reshape(target.covs, -1)


@dataclass(frozen=True)
class Derivatives:
    r"""y, s = \nabla\log p_\tau and s', s'', s''' at points y, any shape: what the sources are made of."""

    y: np.ndarray
    s: np.ndarray
    s1: np.ndarray
    s2: np.ndarray
    s3: np.ndarray


def _derivatives(parts, tau, y):
    r"""From q_n = p^{(n)}/p = \sum_k r_k (-1)^n He_n(z_k) / \sigma_k^n, r_k the responsibilities."""
    w, mu, var = parts
    m2 = math.exp(-2 * tau)
    sd = np.sqrt(m2 * var - math.expm1(-2 * tau))
    centre = math.sqrt(m2) * mu
    depth = np.stack([math.log(a) - math.log(b) - 0.5 * ((y - c) / b) ** 2 for a, b, c in zip(w, sd, centre, strict=True) if a > 0])
    depth -= depth.max(axis=0)
    r = np.exp(depth, out=depth)
    r /= r.sum(axis=0)
    q = [0.0] * 5
    for share, b, c in zip(r, sd[w > 0], centre[w > 0], strict=True):
        z = (c - y) / b
        zz = z * z
        q[1] = q[1] + share * z / b
        q[2] = q[2] + share * (zz - 1) / b**2
        q[3] = q[3] + share * z * (zz - 3) / b**3
        q[4] = q[4] + share * (zz * (zz - 6) + 3) / b**4
    _, q1, q2, q3, q4 = q
    square = q1 * q1
    s2 = q3 - 3 * q1 * q2 + 2 * q1 * square
    s3 = q4 - 4 * q1 * q3 - 3 * q2 * q2 + 12 * square * q2 - 6 * square * square
    return Derivatives(y, q1, q2 - square, s2, s3)


@dataclass(frozen=True)
class Response:
    r"""e_1 on an equidistant grid x (n,) that holds \pi with room: e (n,), its integral E from the left, and \pi."""

    x: np.ndarray
    e: np.ndarray
    E: np.ndarray
    density: np.ndarray

    def total_variation(self):
        r"""\lim TV/\epsilon = \frac12\int|e_1|: half the total variation of E, whose turning points are where e_1 changes sign."""
        return 0.5 * float(np.sum(np.abs(np.diff(_at_zeros(self.x, self.E, self.e)))))

    def kullback_leibler(self):
        r"""\lim KL/\epsilon^2 = \frac12\int e_1^2/\pi."""
        ratio = np.divide(self.e, self.density, out=np.zeros_like(self.e), where=self.density > 0)
        return 0.5 * float((self.e @ ratio) * (self.x[1] - self.x[0]))

    def wasserstein1(self):
        r"""\lim W_1/\epsilon = \int|E|."""
        return float(np.sum(np.abs(np.diff(_at_zeros(self.x, _primitive(self.x, self.E), self.E)))))

    def plus(self, other):
        """The response to both, on the same grid."""
        return Response(self.x, self.e + other.e, self.E + other.E, self.density)

    def at(self, y):
        """e_1 at points y (n,), by trigonometric interpolation."""
        n, dx = len(self.x), self.x[1] - self.x[0]
        wave = 2j * math.pi * np.fft.rfftfreq(n, dx)
        weight = np.full(len(wave), 2.0)
        weight[0] = 1.0
        return np.real(np.exp(np.multiply.outer(np.asarray(y) - self.x[0], wave)) @ (weight * np.fft.rfft(self.e))) / n


def respond(target, T, sources, *, start=0.0, fine=1.0):
    r"""[Response of each source], the sources acting for noise times in (start, T); source : (\tau, Derivatives) -> R_\tau.

    target : a Gaussian or mixture of Gaussians on the line. Gauss–Legendre in \tau on panels that grow from the data, a trapezoidal sum in Z, a
    grid in x of an eighth of the least standard deviation: all of them converge geometrically. ``fine`` multiplies the three resolutions.
    """
    parts = components(target)
    x = _axis(parts, fine)
    z = 0.3 / fine * np.arange(-round(27 * fine), round(27 * fine) + 1)
    weight = np.exp(-0.5 * z * z)
    weight /= weight.sum()
    total = np.zeros((len(sources), len(x)))
    for tau, share in zip(*_times(float(parts[2].min()), start, T, math.ceil(8 * fine)), strict=True):
        field = _derivatives(parts, tau, np.add.outer(math.exp(-tau) * x, math.sqrt(-math.expm1(-2 * tau)) * z))
        for row, source in zip(total, sources, strict=True):
            row += share * (source(tau, field) @ weight)
    density = np.asarray(target.pdf(x[:, None]))
    return [_response(x, row * density, density) for row in total]


def respond_along_flow(target, T, source, *, fine=1.0):
    """The Response of a source that acts along the probability flow for noise times in (0, T): Runge–Kutta from each x on, between the nodes."""
    parts = components(target)
    x, slope = _axis(parts, fine), lambda t, y: -y - _derivatives(parts, t, y).s
    y, t, total = x, 0.0, np.zeros(len(x))
    for tau, share in zip(*_times(float(parts[2].min()), 0.0, T, math.ceil(8 * fine)), strict=True):
        h = 0.5 * (tau - t)
        for _ in range(2):
            k1 = slope(t, y)
            k2 = slope(t + h / 2, y + h / 2 * k1)
            k3 = slope(t + h / 2, y + h / 2 * k2)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(t + h, y + h * k3))
            t += h
        total += share * source(tau, _derivatives(parts, tau, y))
    density = np.asarray(target.pdf(x[:, None]))
    return _response(x, total * density, density)


def _axis(parts, fine):
    _, mu, var = parts
    sd = np.sqrt(var)
    lo, hi = float(np.min(mu - 10 * sd)), float(np.max(mu + 10 * sd))
    n = 2 * math.ceil(4 * fine * (hi - lo) / float(sd.min())) + 1  # odd, so that the interpolant has no Nyquist term
    return np.linspace(lo, hi, n, endpoint=False)


def _response(x, e, density):
    return Response(x, e, _primitive(x, e), density)


def _times(scale, start, T, nodes):
    r"""Gauss–Legendre nodes and weights on (start, T), panels doubling from a quarter of ``scale``, the least variance, on."""
    edges = [start]
    step = 0.25 * max(scale, start)
    while edges[-1] < T:
        edges.append(min(T, edges[-1] + step))
        step = min(2 * step, 1.0)
    edges = np.array(edges)
    node, weight = np.polynomial.legendre.leggauss(nodes)
    half = 0.5 * np.diff(edges)[:, None]
    return (edges[:-1, None] + half * (1 + node)).ravel(), (half * weight).ravel()


def _primitive(x, f):
    """The integral of f from x[0], f smooth, and the same at both ends of the grid; its mean grows linearly."""
    n, dx = len(x), x[1] - x[0]
    wave = 2j * math.pi * np.fft.rfftfreq(n, dx)
    hat = np.fft.rfft(f)
    mean = hat[0].real / n
    hat[1:] /= wave[1:]
    hat[0] = 0.0
    rest = np.fft.irfft(hat, n)
    return rest - rest[0] + mean * (x - x[0])


def _at_zeros(x, F, f):
    """F (with F' = f) at both ends and where f changes sign: F on each cell is the cubic through both ends' values and slopes."""
    k = np.flatnonzero(f[:-1] * f[1:] < 0)
    u = f[k] / (f[k] - f[k + 1])
    dx = x[1] - x[0]
    for _ in range(2):  # the zero of the cubic's slope, by Newton; its error is of order dx^3, that of F there of dx^4
        rise = (F[k + 1] - F[k]) / dx
        slope = f[k] + u * (6 * rise - 4 * f[k] - 2 * f[k + 1]) + u * u * (3 * f[k] + 3 * f[k + 1] - 6 * rise)
        bend = 6 * rise - 4 * f[k] - 2 * f[k + 1] + 2 * u * (3 * f[k] + 3 * f[k + 1] - 6 * rise)
        u = np.clip(u - np.divide(slope, bend, out=np.zeros_like(u), where=bend != 0), 0.0, 1.0)
    rise = (F[k + 1] - F[k]) / dx
    inner = F[k] + dx * (u * f[k] + u**2 * (3 * rise - 2 * f[k] - f[k + 1]) + u**3 * (f[k] + f[k + 1] - 2 * rise))
    return np.concatenate([F[:1], inner, F[-1:]])
