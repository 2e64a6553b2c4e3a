"""The implicit model: a network that turns noise into data and has no density."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from equilibria.check import choice
from equilibria.random import Stream

__all__ = ["PRIORS", "Generator", "evaluating"]

PRIORS = ("normal", "uniform", "mixed")
"""N(0, I); U(−1, 1); or N(0, 1) in the first half of the columns and a fair ±1 in each other."""

_CHUNK = 4096  # samples at a time, so that memory does not grow with their number


class Generator(nn.Module):
    """p_g, the distribution of x = network(z, condition) with z drawn from a prior.

    Parameters
    ----------
    network : nn.Module
        Called ``network(z, condition)``; ``condition`` may be None.
    latent_dim : int
        Columns of the noise.
    prior : {"normal", "uniform", "mixed"}
        A row of :data:`PRIORS`. A network maps connected noise to connected data, so between
        separate modes it must leave a bridge of samples that are in none; the discrete columns of
        the mixed noise keep it in separate parts (Khayatkhoei, Elgammal & Singh 2018, "Disconnected
        manifold learning for generative adversarial networks").

    Examples
    --------
    >>> generator = Generator(nn.Linear(2, 3), latent_dim=2)
    >>> generator.noise(5, Stream(0)).shape
    torch.Size([5, 2])
    """

    def __init__(self, network: nn.Module, latent_dim: int, prior: str = "normal"):
        super().__init__()
        self.network, self.latent_dim = network, latent_dim
        self.prior = choice(*PRIORS)("prior", prior)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Data ``(n, …)`` for noise ``(n, latent_dim)``."""
        return self.network(z, condition)

    def noise(self, n: int, stream: Stream) -> Tensor:
        """Noise ``(n, latent_dim)`` from the prior, of the network's type and on its device."""
        like = next(self.parameters())
        if self.prior == "uniform":
            return stream.uniform((n, self.latent_dim), like.dtype, like.device).mul_(2.0).sub_(1.0)
        noise = stream.normal((n, self.latent_dim), like.dtype, like.device)
        if self.prior == "mixed":
            noise = noise.where(self.continuous.to(like.device), noise.sign())
        return noise

    @property
    def continuous(self) -> Tensor:
        """Which columns of the noise have a density, ``(latent_dim,)`` of bool."""
        first = -(-self.latent_dim // 2) if self.prior == "mixed" else self.latent_dim
        return torch.arange(self.latent_dim) < first

    @torch.no_grad()
    def sample(self, n: int, stream: Stream, condition: Tensor | None = None) -> Tensor:
        """``n`` samples ``(n, …)`` in evaluation mode; sample i depends on its row i alone."""
        with evaluating(self):
            noise = self.noise(n, stream).split(_CHUNK)
            given = [None] * len(noise) if condition is None else condition.split(_CHUNK)
            return torch.cat([self(*part) for part in zip(noise, given, strict=True)])


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within it the module and all its parts are in evaluation mode; afterwards each as before."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
