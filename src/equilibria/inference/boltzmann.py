"""Boltzmann machines as models over encoded rows: visible layers side by side, the label last."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equilibria.check import affordable
from equilibria.inference import exact, gibbs, partition
from equilibria.inference.completion import class_log_prob, conditional_means, evidence
from equilibria.inference.mean_field import mean_field
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.models.model import Model, Panel, Progress
from equilibria.numbers import Measure
from equilibria.random import Stream
from equilibria.units.columns import LABEL

__all__ = ["BoltzmannModel", "Chains", "Deep", "Restricted"]

SETTLING = 1000  # sweeps of the chains that reverse annealing starts from
ROW_CHAINS = 10  # of each row, behind means and marginals
FRESH = 1000  # temperatures through which a chain is cooled that no training chain stands behind


class Chains(Model):
    """A model with a Boltzmann machine in it and the persistent chains of that machine.

    ``betas`` and ``chains`` are the temperatures and runs of annealing, where log Z is not
    enumerated; ``tempered`` says whether the training's chains were, which makes them better
    samples.
    """

    machine: Any

    def __init__(self, machine: BoltzmannMachine, betas: int, chains: int, tempered: bool = False):
        super().__init__()
        self.betas, self.chains, self.tempered = betas, chains, tempered
        self.chain = nn.Module()
        for name in machine.layers:
            self.chain.register_buffer(name, torch.zeros(0, machine.units(name).size).float())

    @property
    def dtype(self) -> torch.dtype:
        return self.machine.dtype

    def keep(self, chains: Mapping[str, Tensor]) -> None:
        """Take over the training's persistent chains, from which samples go on."""
        for name, values in chains.items():
            setattr(self.chain, name, values.detach().clone())

    def kept(self) -> dict[str, Tensor]:
        """The persistent chains, (chains, size) each; empty where there are none."""
        found = dict(self.chain.named_buffers())
        return found if all(len(values) for values in found.values()) else {}

    def states(self, n: int, stream: Stream) -> dict[str, Tensor]:
        """First states of ``n`` independent chains of the machine, from the stream's first row on.

        Beyond the number of the training's chains, and where there are none, they are fresh ones,
        cooled from the base rates.
        """
        first, kept = stream.first, self.kept()
        parts = {name: values[first : first + n] for name, values in kept.items()}
        missing = n - len(next(iter(parts.values()), ()))
        if not missing:
            return parts
        before = max(0, first - len(next(iter(kept.values()), ())))
        fresh = gibbs.anneal(self.machine, missing, FRESH, stream.child("fresh").rows(before))
        return {name: torch.cat([parts[name], x]) if parts else x for name, x in fresh.items()}

    def log_normaliser(
        self,
        stream: Stream,
        progress: Progress | None = None,
        betas: int | None = None,
        chains: int | None = None,
    ) -> Measure:
        """log Z: enumerated where the smaller side can be, else by annealing from both sides.

        Forward annealing starts at the base rates, reverse annealing at the training's chains after
        another thousand sweeps; the larger estimate, by which rows are less likely, is the value.
        Without persistent chains there is the forward side alone.
        """
        machine, chains = self.machine, chains or self.chains
        units = sum(machine.units(name).size for name in machine.layers)
        affordable("chains", chains, float(units) * chains)
        how: dict[str, Any] = {"betas": betas or self.betas, "chains": chains}
        how |= {"random_state": stream, "progress": progress}
        if exact.enumerable(machine, max_states=partition.MAX_STATES):
            return partition.log_partition(copy.deepcopy(machine).double(), **how)
        if not self.kept():
            return partition.log_partition(machine, **how)
        start = self.states(chains, stream.child("samples"))
        samples = gibbs.run(machine, start, SETTLING, stream.child("settling"))
        how["source"] = "tempering" if self.tempered else "chains"
        return partition.both_sides(machine, samples, ladder=False, **how)


class BoltzmannModel(Chains):
    """A Boltzmann machine, its persistent chains, and which of its layers a row holds.

    Parameters
    ----------
    machine : BoltzmannMachine
        The machine.
    visible : sequence of str
        Its visible layers in the order of an encoded row. A layer ``"label"`` stands behind them.
    grey : sequence of str
        Binary layers whose data were probabilities: samples of these are the means of the last
        sweep.
    betas, chains, tempered
        As in :class:`Chains`.
    """

    def __init__(
        self,
        machine: BoltzmannMachine,
        visible: Sequence[str],
        *,
        grey: Sequence[str] = (),
        betas: int = 1000,
        chains: int = 100,
        tempered: bool = False,
    ):
        super().__init__(machine, betas, chains, tempered)
        self.machine, self.visible, self.grey = machine, tuple(visible), tuple(grey)
        if LABEL not in machine.layers:
            self.class_log_prob = None  # type: ignore[assignment]

    @property
    def rows(self) -> tuple[str, ...]:
        """The layers of an encoded row."""
        return (*self.visible, LABEL) if LABEL in self.machine.layers else self.visible

    @property
    def hidden(self) -> list[str]:
        """The layers that no row holds."""
        return [name for name in self.machine.layers if name not in self.rows]

    def clamp(self, x: Tensor) -> dict[str, tuple[Tensor, Tensor] | Tensor]:
        """Encoded rows as a clamp: NaN cells, and a label of nothing else, are free."""
        sizes = [self.machine.units(name).size for name in self.rows]
        clamp: dict[str, Any] = {}
        for name, part in zip(self.rows, x[:, : sum(sizes)].split(sizes, 1), strict=True):
            missing = part.isnan()
            if not bool(missing.any()):
                clamp[name] = part
            elif name != LABEL or not bool(missing.all()):
                clamp[name] = (part.masked_fill(missing, 0.0), ~missing)
        return clamp

    def joined(self, state: Mapping[str, Tensor]) -> Tensor:
        """The layers of a row side by side."""
        return torch.cat([state[name] for name in self.rows], 1)

    @torch.no_grad()
    def shown(self, state: Mapping[str, Tensor]) -> Tensor:
        """A state as rows; of layers whose data were grey, the means."""
        units, field = self.machine.units, self.machine.field
        means = {name: units(name).mean(field(name, state)) for name in self.grey}
        return self.joined({**state, **means})

    @torch.no_grad()
    def sample(
        self, n: int, stream: Stream, given: Tensor | None = None, sweeps: int = 200
    ) -> Tensor:
        """Block Gibbs sampling, ``sweeps`` sweeps from :meth:`states`: each row its own chain."""
        clamp = {} if given is None else self.clamp(given.to(self.dtype))
        state = self.states(n, stream.child("first"))
        return self.shown(gibbs.run(self.machine, state, sweeps, stream.child("sweeps"), clamp))

    def complete(
        self, x: Tensor, observed: Tensor, stream: Stream, n: int = 1, sweeps: int = 200
    ) -> Tensor:
        """Draws from p(missing | observed) by clamped Gibbs chains, (n, rows, d)."""
        clamp = self.clamp(x.repeat(n, 1))
        state = gibbs.start(self.machine, n * len(x), stream, clamp)
        state = gibbs.run(self.machine, state, sweeps, stream.child("sweeps"), clamp)
        return self.joined(state).unflatten(0, (n, len(x)))

    def means(self, x: Tensor, observed: Tensor, stream: Stream, sweeps: int = 200) -> Tensor:
        """E[x | observed] by Rao–Blackwellised averages over ten chains a row."""
        how: dict[str, Any] = {"sweeps": sweeps, "chains": ROW_CHAINS, "random_state": stream}
        return self.joined(conditional_means(self.machine, self.clamp(x), **how))

    def marginals(
        self, x: Tensor, observed: Tensor, stream: Stream, n: int, sweeps: int = 200
    ) -> Tensor:
        """States of ten clamped chains a row in the second half of their sweeps, (n, rows, d)."""
        each = -(-n // ROW_CHAINS)
        clamp, every = self.clamp(x.repeat(ROW_CHAINS, 1)), max(1, sweeps // 2 // each)
        state = gibbs.start(self.machine, ROW_CHAINS * len(x), stream, clamp)
        state = gibbs.run(self.machine, state, sweeps // 2, stream.child("sweeps"), clamp)
        parts = list[Tensor]()
        for i in range(each):
            state = gibbs.run(self.machine, state, every, stream.child("kept", i), clamp)
            parts.append(self.joined(state).unflatten(0, (ROW_CHAINS, len(x))))
        return torch.cat(parts)[:n]

    def class_log_prob(self, x: Tensor, stream: Stream) -> Tensor:
        """log p(class | row): exact in a restricted machine, else by bounds or chains."""
        clamp = {name: held for name, held in self.clamp(x).items() if name != LABEL}
        return class_log_prob(self.machine, LABEL, clamp, random_state=stream)

    def features(self, x: Tensor) -> Tensor:
        """Mean-field means of all hidden units given each row, layer after layer."""
        means = mean_field(self.machine, self.clamp(x), tolerance=1e-9).means
        return torch.cat([means[name] for name in self.hidden], 1)

    def describe(self) -> str:
        sizes = "-".join(str(self.machine.units(name).size) for name in self.machine.layers)
        joined = ", ".join(f"{a}–{b}" for a, b in self.machine.edges)
        return f"Boltzmann machine of {sizes} units; joined layers: {joined}."

    def panels(self, table: Any) -> Iterable[Panel]:
        """What hidden units look for, layer by layer, and the persistent chains, as pictures."""
        if table.shape is None or len(self.visible) != 1:
            return
        yield from projections(self.machine, self.visible[0])
        if self.kept():
            chains = self.shown({name: values[:64] for name, values in self.kept().items()})
            yield Panel("Persistent chains", "pictures", chains, "Where training left them.")


def projections(stack: Any, name: str) -> Iterable[Panel]:
    """The weights of each hidden layer to the pixels of ``name``, as pictures; of a layer above the
    first, their product with those in between."""
    weights, depth = torch.eye(1), 0
    for below, above in stack.edges:
        if below != name or above == LABEL:
            continue
        found = stack.weight[f"{below}-{above}"].detach().cpu().float()
        weights, name, depth = (weights @ found if depth else found), above, depth + 1
        strongest = weights.norm(dim=0).argsort(descending=True)[:64]
        what = "Each unit's weights to the pixels."
        if depth > 1:
            what = "What a unit would add to the pixels if the layers between were linear."
        if weights.shape[1] > 64:
            what += f" The 64 of {weights.shape[1]} units with the largest weights."
        yield Panel(f"Weights of layer {above}", "pictures", weights.T[strongest], what)


class Restricted(BoltzmannModel):
    """A machine whose hidden units are independent given a complete row: its score is exact."""

    def log_prob(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """log p(x) + log Z of each row, (rows,).

        With cells missing it is the mean-field bound; a label is summed over class by class.
        """
        return evidence(self.machine, self.clamp(x), tolerance=1e-7).values


class Deep(BoltzmannModel):
    """A machine with hidden layers on both sides of the graph: its score is a bound."""

    def log_prob_bound(self, x: Tensor, stream: Stream, samples: int = 1) -> Tensor:
        """Mean field's lower bound on log p(x) + log Z of each row, (rows,); nothing is drawn."""
        return evidence(self.machine, self.clamp(x), tolerance=1e-7).values
