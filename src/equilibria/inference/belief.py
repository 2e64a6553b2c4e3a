"""The deep belief network as a model over encoded rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from equilibria.inference.boltzmann import Chains, projections
from equilibria.models.belief_network import BeliefNetwork, tightened
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.models.model import Panel
from equilibria.random import Stream

__all__ = ["Belief"]

DRAWS = 4000  # of the hidden layers at a time


class Belief(Chains):
    """Directed layers under a restricted Boltzmann machine, and the chains of that machine.

    Parameters
    ----------
    network : BeliefNetwork
        The layers.
    grey : bool
        Whether the data were probabilities of binary units: samples are then the last step's means.
    importance : int
        Draws of the hidden layers that make one importance-weighted bound.
    betas, chains : int
        Temperatures and runs of annealing, where log Z is not enumerated.
    """

    def __init__(
        self,
        network: BeliefNetwork,
        *,
        grey: bool = False,
        importance: int = 1,
        betas: int = 10_000,
        chains: int = 100,
    ):
        super().__init__(network.top, betas, chains)
        self.network, self.grey, self.importance = network, grey, importance
        lacking = "log_prob_bound" if network.exact else "log_prob"
        setattr(self, lacking, None)  # one hidden layer has an exact density, more have a bound

    @property
    def machine(self) -> BoltzmannMachine:
        """The topmost machine."""
        return self.network.top

    @torch.no_grad()
    def sample(
        self, n: int, stream: Stream, given: Tensor | None = None, sweeps: int = 200
    ) -> Tensor:
        """Gibbs sampling in the topmost machine, ``sweeps`` sweeps a row, then one pass down."""
        state, key = self.states(n, stream.child("first")), stream.child("sweeps")
        return self.network.sample(n, key, sweeps=sweeps, state=state, mean=self.grey)

    def log_prob_bound(self, x: Tensor, stream: Stream, samples: int = 1) -> Tensor:
        """The variational lower bound on log p(x) + log Z, (rows,), importance-weighted if asked.

        The draws of the hidden layers are keyed by the row's content: a row has the same bound in
        any company. With one hidden layer there is nothing to draw: see :meth:`log_prob`.
        """
        network, draws = self.network, samples * self.importance
        contents = (row.numpy().tobytes() for row in x.double().cpu())
        keys = [hashlib.blake2b(content, digest_size=8).hexdigest() for content in contents]
        parts, size = [], max(1, DRAWS // draws)
        for first in range(0, len(x), size):
            part = slice(first, first + size)
            weights = network.log_weights(x[part], draws, stream, keys[part])
            parts.append(tightened(weights, self.importance).double().mean(1))
        return torch.cat(parts)

    def log_prob(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """log p(x) + log Z of each row, (rows,), of a network of one hidden layer."""
        return self.network.log_weights(x, 1, Stream(0)).squeeze(1)

    def features(self, x: Tensor) -> Tensor:
        """Recognition means of all hidden units, each given the means of the layer below."""
        parts, values = [], x
        for depth in range(1, len(self.network.layers)):
            values = self.network.features(values, depth, first=depth - 1)
            parts.append(values)
        return torch.cat(parts, 1)

    def panels(self, table: Any) -> Iterable[Panel]:
        """What hidden units look for, layer by layer, where rows are pictures."""
        if table.shape is not None:
            yield from projections(self.network, self.network.layers[0])

    def describe(self) -> str:
        sizes = "-".join(str(self.network.units(name).size) for name in self.network.layers)
        return f"Deep belief network of {sizes} units; the topmost two layers are undirected."
