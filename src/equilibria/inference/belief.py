"""The deep belief network as a model over encoded rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from equilibria.inference import exact, gibbs, partition
from equilibria.inference.boltzmann import FRESH, SETTLING, projections
from equilibria.models.belief_network import BeliefNetwork, tightened
from equilibria.models.model import Model, Panel, Progress
from equilibria.numbers import Measure
from equilibria.random import Stream

__all__ = ["Belief"]

DRAWS = 4000  # of the hidden layers at a time


class Belief(Model):
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
        super().__init__()
        self.network, self.grey, self.importance = network, grey, importance
        self.betas, self.chains = betas, chains
        self.chain = nn.Module()
        for name in network.top.layers:
            self.chain.register_buffer(name, torch.zeros(0, network.top.units(name).size).float())

    @property
    def machine(self) -> Any:
        """The topmost machine."""
        return self.network.top

    @property
    def dtype(self) -> torch.dtype:
        return self.network.dtype

    def keep(self, chains: Mapping[str, Tensor]) -> None:
        """Take over the training's persistent chains of the topmost machine."""
        for name in self.network.top.layers:
            if name in chains:
                setattr(self.chain, name, chains[name].detach().clone())

    def kept(self) -> dict[str, Tensor]:
        """The persistent chains; empty where there are none."""
        found = {name: getattr(self.chain, name) for name in self.network.top.layers}
        return found if all(len(values) for values in found.values()) else {}

    @torch.no_grad()
    def sample(
        self, n: int, stream: Stream, given: Tensor | None = None, sweeps: int = 200
    ) -> Tensor:
        """Gibbs sampling in the topmost machine, ``sweeps`` sweeps a row, then one pass down."""
        state = self.states(n, stream.child("first"))
        return self.network.sample(
            n, stream.child("sweeps"), sweeps=sweeps, state=state, mean=self.grey
        )

    def states(self, n: int, stream: Stream) -> dict[str, Tensor]:
        """First states of ``n`` independent chains of the topmost machine."""
        kept, top = self.kept(), self.network.top
        count = len(next(iter(kept.values()))) if kept else 0
        parts = {name: values[:n] for name, values in kept.items()}
        if n <= count:
            return parts
        fresh = gibbs.anneal(top, n - count, FRESH, stream.child("fresh"))
        return {name: torch.cat([parts[name], x]) if kept else x for name, x in fresh.items()}

    def log_prob_bound(self, x: Tensor, stream: Stream, samples: int = 1) -> Tensor:
        """The variational lower bound on log p(x) + log Z, (rows,); importance-weighted if asked
        for.

        The draws of the hidden layers are keyed by the row's content: a row has the same bound in
        any company. With one hidden layer nothing is drawn, and it is log p(x) + log Z itself.
        """
        network, draws = self.network, samples * self.importance
        if network.exact:
            return network.log_weights(x, 1, stream).squeeze(1)
        keys = [_content(row) for row in x.double().cpu()]
        parts, size = [], max(1, DRAWS // draws)
        for first in range(0, len(x), size):
            part = slice(first, first + size)
            weights = network.log_weights(x[part], draws, stream, keys[part])
            parts.append(tightened(weights, self.importance).double().mean(1))
        return torch.cat(parts)

    def features(self, x: Tensor) -> Tensor:
        """Recognition means of all hidden units, each given the means of the layer below."""
        parts, values = [], x
        for depth in range(1, len(self.network.layers)):
            values = self.network.features(values, depth, first=depth - 1)
            parts.append(values)
        return torch.cat(parts, 1)

    def log_normaliser(
        self,
        stream: Stream,
        progress: Progress | None = None,
        betas: int | None = None,
        chains: int | None = None,
    ) -> Measure:
        """log Z of the topmost machine: enumerated, or annealed from both sides."""
        betas, chains, top = betas or self.betas, chains or self.chains, self.network.top
        how: dict[str, Any] = {"betas": betas, "chains": chains, "random_state": stream}
        if exact.enumerable(top, max_states=partition.MAX_STATES) or not self.kept():
            return partition.log_partition(top, progress=progress, **how)
        start = self.states(chains, stream.child("samples"))
        samples = gibbs.run(top, start, SETTLING, stream.child("settling"))
        return partition.both_sides(top, samples, ladder=False, progress=progress, **how)

    def panels(self, table: Any) -> Iterable[Panel]:
        """What hidden units look for, layer by layer, where rows are pictures."""
        if table.shape is not None:
            yield from projections(self.network, next(iter(self.network.layers)))

    def describe(self) -> str:
        sizes = "-".join(str(self.network.units(name).size) for name in self.network.layers)
        return f"Deep belief network of {sizes} units; the topmost two layers are undirected."


def _content(row: Tensor) -> str:
    return hashlib.blake2b(row.numpy().tobytes(), digest_size=8).hexdigest()
