"""The network: a small multilayer perceptron around which everything that is linear is exact."""

from itertools import pairwise

import torch

__all__ = ["Network"]

FREQUENCIES = 4


class Network(torch.nn.Module):
    r"""s(t, x) = Q\, w^{-1/2} ( \tfrac{m}{\sqrt v} \lambda^{1/2} F(t, u) - u ),   u = w^{-1/2} Q^T (x - m \mu),   w = m^2 \lambda + v,

    with (m, v) the Ornstein–Uhlenbeck kernel at t and data of mean \mu and covariance Q diag(\lambda) Q^T. With whitened data x_0,
    noise z and the angle \tan\varphi = \sqrt{v / (m^2 \lambda)} the input is u = \cos\varphi\, x_0 + \sin\varphi\, z, and F is asked for the
    velocity \sin\varphi\, x_0 - \cos\varphi\, z: both have unit variance at every t, in every direction. F = 0 is the exact score of
    N(\mu, Q diag(\lambda) Q^T), and the weight of F vanishes like e^{-t}: what is learned is only what is not Gaussian.

    F is ``depth`` layers of ``width`` smooth units (SiLU), of u and of sines and cosines of the log signal-to-noise ratio.
    Call: t (n,), x (n, dim) -> (n, dim). The parametrisation is that of Karras et al. 2022 (https://arxiv.org/abs/2206.00364) and of
    Salimans & Ho 2022 (https://arxiv.org/abs/2202.00512), per principal direction.
    """

    def __init__(self, dim, width, depth, *, device=None):
        super().__init__()
        self.width, self.depth = width, depth
        sizes = [dim + 2 * FREQUENCIES, *[width] * depth]
        layers = []
        for before, after in pairwise(sizes):
            layers += [_linear(before, after, device), torch.nn.SiLU()]
        self.net = torch.nn.Sequential(*layers, _linear(width, dim, device))
        exact = {"dtype": torch.float64, "device": device}
        self.register_buffer("mean", torch.zeros(dim, **exact))
        self.register_buffer("basis", torch.eye(dim, **exact))
        self.register_buffer("scale", torch.ones(dim, **exact))  # sqrt(lambda)

    @torch.no_grad()
    def start(self, mean, cov, generator):
        """The moments of the data, random hidden layers, and F = 0."""
        spectrum, basis = torch.linalg.eigh(torch.tensor(cov, dtype=torch.float64))
        floor = 1e-14 * spectrum[-1].clamp(min=0)  # below it an eigenvalue is rounding: that direction is constant
        self.scale.copy_(torch.where(spectrum > floor, spectrum.clamp(min=0).sqrt(), torch.zeros(())))
        self.basis.copy_(basis)
        self.mean.copy_(torch.tensor(mean, dtype=torch.float64))
        for layer in self.net:
            if isinstance(layer, torch.nn.Linear):
                layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
                layer.bias.normal_(0, 0.5, generator=generator)
        self.net[-1].weight.zero_()
        self.net[-1].bias.zero_()
        return self

    def forward(self, t, x):
        m, sigma, w = angles(t[:, None], self.scale)
        u = (x - m * self.mean) @ self.basis / w
        return ((m * self.scale / sigma * self.velocity(t[:, None], u) - u) / w) @ self.basis.T

    def velocity(self, t, u):
        """F(t, u): t (n, 1), u (n, dim) -> (n, dim)."""
        clock = 0.25 * (torch.log(-torch.expm1(-2 * t)) + 2 * t)  # log(v / m^2) / 4
        waves = [f(k * clock) for k in range(1, FREQUENCIES + 1) for f in (torch.sin, torch.cos)]
        return self.net(torch.cat([u, *waves], dim=1))


def angles(t, scale):
    r"""m, \sqrt v, and \sqrt{m^2 \lambda + v} with \lambda = scale^2."""
    m, v = torch.exp(-t), -torch.expm1(-2 * t)
    return m, v.sqrt(), (m * m * scale * scale + v).sqrt()


def _linear(before, after, device):
    """A layer whose weights are not drawn: drawing would move torch's global generator."""
    return torch.nn.utils.skip_init(torch.nn.Linear, before, after, dtype=torch.float32, device=device or "cpu")
