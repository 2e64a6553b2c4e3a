"""The contrastive game: one player, a Boltzmann machine, against its own samples.

This is Algorithm 20.1 of *Deep Learning* for any two-coloured graph: mean field for the positive
phase, block Gibbs for the negative one. With persistent chains it is stochastic maximum likelihood
(PCD), with chains that restart at the data contrastive divergence (CD), with replica exchange
tempering. For an RBM mean field is exact.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from equilibria.check import choice
from equilibria.data.batches import Batch
from equilibria.games.game import Game
from equilibria.games.replicas import Snapshots, moves, remember
from equilibria.inference import gibbs, ladder
from equilibria.inference.clamp import Held, one_block
from equilibria.inference.mean_field import update
from equilibria.models.boltzmann import BoltzmannMachine, State
from equilibria.networks.mlp import PRECISIONS
from equilibria.random import Stream

__all__ = ["NEGATIVE", "TEMPERED", "ContrastiveGame", "Phases"]

NEGATIVE = ("persistent", "data", "tempered", "trajectory")
TEMPERED = ("tempered", "trajectory")
"""Those whose chains are the last replicas of a ladder."""
OWN_PACE = 0.3
"""Step-size factor of a layer's own parameters in the centred gauge.

An outlying row pulls log σ² up by its square over σ², and the next batches bring it down by at most
½ each: at the rate of the weights, one row can throw it to where the machine does not recover.
"""
ACTIVITY_RATE = 0.1
"""Of the running mean of a sparse layer: 1 minus the damping of .9 of the 2009 protocol."""


@dataclasses.dataclass(frozen=True)
class Phases:
    """One update's statistics.

    ``positive`` and ``negative`` hold a value for each layer, (rows, size): means under Q given the
    data, and the chains (the layers drawn last by their means, which have less variance). ``means``
    and ``chain_means`` are their signals' means over rows; ``change`` is the largest move of the
    last mean-field step; ``free`` the layers, or the cells of one (a mask), that are means in
    ``positive`` rather than data; ``acceptance`` the mean probability of a swap for each pair of
    replicas.
    """

    positive: dict[str, Tensor]
    negative: dict[str, Tensor]
    means: dict[str, Tensor]
    chain_means: dict[str, Tensor]
    change: Tensor
    free: dict[str, Tensor | bool]
    acceptance: Tensor | None = None


class ContrastiveGame(Game):
    r"""Maximum likelihood for a Boltzmann machine through a positive and a negative phase.

    The cost is the contrast E(positive) − E(negative) at the phases' means; its gradient is the
    stochastic gradient of −(bound on log p). For an edge (a, b) and centring offsets μ,

    .. math:: \Delta W = \langle (s_a - \mu_a)(s_b - \mu_b)^\top \rangle_+
              - \langle (s_a - \mu_a)(s_b - \mu_b)^\top \rangle_-, \qquad
              \Delta b_l = \langle s_l \rangle_+ - \langle s_l \rangle_-
              - \sum_{(l, m)} \Delta W_{lm} \mu_m,

    which is steepest ascent in the gauge where signals are measured from μ, written in the plain
    parameters (Melchior, Fischer & Wiskott 2016, "How to center deep Boltzmann machines"). In that
    gauge the input of a continuous layer is measured in its own σ too, so that a rate means the
    same whatever the noise: its rows of ΔW and its part of Δb are multiplied by σ² before the last
    sum. A learned log σ² takes :data:`OWN_PACE` of a step.

    Parameters
    ----------
    machine : BoltzmannMachine
        The player.
    chains, steps : int
        Persistent chains, which start at the machine's base rates, and Gibbs sweeps an update, the
        k of the algorithm.
    negative : {"persistent", "data", "tempered", "trajectory"}
        Where the chains start each update: where they were (PCD) or at the batch (CD). Tempered
        chains are persistent ones, each the last replica of a ladder
        (:mod:`equilibria.inference.ladder`) of inverse temperatures, or of the base rates and
        earlier states of this run. Only the machine's own replica enters the gradient. R replicas
        cost R times the chains, a trajectory up to twice that.
    centred, offset_rate : bool, float
        Whether to take steps in the gauge above, where μ moves so far towards each batch's mean;
        else the gradient is the plain one, and μ = 0.
    mean_field_steps : int
        Updates of both blocks in the positive phase; an RBM always takes one.
    posterior_sweeps : int
        Where mean field is not exact (a deep machine, missing cells), so many Gibbs sweeps over
        what is free follow it and their draws take its place: the gradient is then that of log p of
        what is observed, up to the sweeps' distance from equilibrium, at the price of noise.
    gain : mapping of str to float, optional
        Multiplies the field of a layer in both phases: 2 for the doubled input of layer-wise
        pretraining (Salakhutdinov & Hinton 2009). Not for tempered chains.
    visible : sequence of str, optional
        The layers that a batch's values belong to, side by side in this order; the machine's first
        by default. A cell that the batch's mask calls missing is free.
    precision : {"float32", "bfloat16"}
        Of the chains' products and of all mean-field steps but the last; draws, statistics and
        gradients are float32. For machines of bounded layers and plain chains only.
    sparsity : mapping of str to (target, cost), optional
        Hidden layer → the mean that its units are drawn to, and how strongly: its field is pushed
        by −cost · (running mean − target), which moves its bias and its weights from the layers
        before it (Salakhutdinov & Hinton 2009).
    betas : int or sequence of float
        The inverse temperatures of ``negative="tempered"``, or their number in even steps.
    replicas, overlap : int, float
        Of ``negative="trajectory"``: at most so many earlier states are kept, and the machine is
        added when it swaps with the newest of them with a mean probability below ``overlap`` (as
        published by Béreux et al.). It copies one number from the device each update.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(4)).initialise(0)
    >>> game = ContrastiveGame(machine, chains=5)
    >>> drawn = game.draw(Batch(torch.ones(8, 6)), Stream(0))
    >>> [tuple(g.shape) for g in game.gradient("machine", drawn)]
    [(6,), (4,), (6, 4)]
    """

    players = ("machine",)

    def __init__(
        self,
        machine: BoltzmannMachine,
        *,
        chains: int = 100,
        steps: int = 1,
        negative: str = "persistent",
        centred: bool = True,
        offset_rate: float = 0.01,
        mean_field_steps: int = 10,
        posterior_sweeps: int = 0,
        gain: Mapping[str, float] | None = None,
        visible: Sequence[str] | None = None,
        precision: str = "float32",
        sparsity: Mapping[str, tuple[float, float]] | None = None,
        betas: int | Iterable[float] = 10,
        replicas: int = 20,
        overlap: float = 0.25,
        stream: Stream | None = None,
    ):
        super().__init__()
        layers, stream = list(machine.layers), stream or Stream(0)
        self.machine, self.centred, self.gain = machine, centred, dict(gain or {})
        self.visible, self.sparsity = tuple(visible or layers[:1]), dict(sparsity or {})
        self.negative, self.steps = choice(*NEGATIVE)("negative", negative), steps
        self.mean_field_steps, self.posterior_sweeps = mean_field_steps, posterior_sweeps
        self.offset_rate, self.overlap, self.dtype = offset_rate, overlap, PRECISIONS[precision]
        if self.dtype is not None and not all(machine.units(name).bounded for name in layers):
            said = "continuous values would be rounded to three digits"
            raise ValueError(f"precision={precision!r}: {said}; leave it at 'float32'")
        self._rough: list[BoltzmannMachine] = []  # in a list: no part of the game's state
        self._named = [*machine.named_parameters()]
        own = {name: [*machine.units(name).parameters()] for name in layers}
        self._learning = [name for name in layers if own[name]]
        if negative != "data":
            self.sharded = [f"chain_{name}" for name in layers]
            for name, values in gibbs.start(machine, chains, stream.child("chains")).items():
                self.register_buffer(f"chain_{name}", values)
        self.betas, self.snapshots, below = list[float](), None, 0
        if negative == "tempered":
            self.betas = [beta for _, beta in ladder.temperatures(machine, betas)]
            below = len(self.betas) - 1
        elif negative == "trajectory":
            self.snapshots, below = Snapshots(machine, replicas), replicas + 1
        if below:
            self.sharded = [*self.sharded, *(f"replica_{name}" for name in layers)]
            keys = [stream.child("replicas", i) for i in range(below)]
            states = [gibbs.start(machine, chains, key) for key in keys]
            for name in layers:  # (chains, replicas below, size): processes share the chains out
                stacked = torch.stack([state[name] for state in states], 1)
                self.register_buffer(f"replica_{name}", stacked)
        for name in layers:
            units = machine.units(name)
            mean = units.mean(machine.base(name).unsqueeze(0)).squeeze(0)
            offset = units.signal(mean).detach() if centred else torch.zeros_like(mean)
            self.register_buffer(f"offset_{name}", offset)
        for name, (target, _) in self.sparsity.items():
            self.register_buffer(f"activity_{name}", torch.full_like(machine.bias[name], target))

    @property
    def chains(self) -> dict[str, Tensor]:
        """The persistent chains' states by layer; empty where chains restart at the data."""
        names = self.machine.layers if self.sharded else ()
        return {name: getattr(self, f"chain_{name}") for name in names}

    @property
    def replicas(self) -> dict[str, Tensor]:
        """The states of the replicas below the chains', by layer, (chains, replicas, size)."""
        names = self.machine.layers if self.negative in TEMPERED else ()
        return {name: getattr(self, f"replica_{name}") for name in names}

    @property
    def last(self) -> int:
        """The colour that an update draws last: the negative phase has it by its means."""
        return 1 - ladder.kept_colour(self.machine) if self.negative in TEMPERED else 1

    def offset(self, name: str) -> Tensor:
        """μ of one layer."""
        return getattr(self, f"offset_{name}")

    def observed(self, batch: Batch) -> dict[str, Held]:
        """The visible layers of a batch: its columns side by side, in the order of ``visible``."""
        held, first = {}, 0
        for name in self.visible:
            units = self.machine.units(name)
            columns = slice(first, first := first + units.size)
            values = batch.values[:, columns].to(self.machine.dtype)
            mask = None if batch.mask is None else batch.mask[:, columns]
            if mask is None or bool(mask.all()):  # held whole, which is cheaper
                held[name] = Held(values)
            else:
                held[name] = Held(values.masked_fill(~mask, 0.0), mask, units.per_variable(mask))
        return held

    @torch.no_grad()
    def draw(self, batch: Batch, stream: Stream) -> Phases:
        machine, held, rough = self.machine, self.observed(batch), self._rounded()
        positive, fields, change = self._posterior(held, rough)
        inferred: dict[str, Tensor | bool] = dict.fromkeys(fields, True)
        inferred |= {name: ~hold.mask for name, hold in held.items() if hold.mask is not None}
        acceptance = None
        if self.negative in TEMPERED:
            replicas, chains = self.replica_ladder(), self.chains
            state, last, acceptance = moves(replicas, self.replicas, chains, self.steps, stream)
        elif self.negative == "persistent":
            state, last = self._sweeps(rough or machine, self.chains, stream)
        else:
            state = self._drawn(positive, fields, held, stream.child("restart"))
            state, last = self._sweeps(rough or machine, state, stream)
        if self.negative != "data":
            for name, values in state.items():  # new tensors: nothing else writes to them
                self._buffers[f"chain_{name}"] = values
        means = {name: machine.units(name).mean(last[name]) for name in machine.colours[self.last]}
        negative = {**state, **means}
        if self.posterior_sweeps and not one_block(machine, held):
            positive = self._completed(positive, fields, held, stream.child("posterior"))
            inferred = {n: free for n, free in inferred.items() if n in machine.colours[1]}
        signals = self._signal_means(positive), self._signal_means(negative)
        return Phases(positive, negative, *signals, change, inferred, acceptance)

    def _posterior(
        self, held: Mapping[str, Held], rough: BoltzmannMachine | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Mean field given the data; all steps but the last may be rough, since it starts there."""
        machine, steps, gain = self.machine, self.mean_field_steps, self.gain
        if rough is None or steps == 1 or one_block(machine, held):
            return update(machine, held, steps, gain)
        rounded = {name: h.to(rough.dtype) for name, h in held.items()}
        start = update(rough, rounded, steps - 1, gain)[0]
        return update(machine, held, 1, gain, {n: x.to(machine.dtype) for n, x in start.items()})

    def _drawn(
        self, values: State, fields: State, held: Mapping[str, Held], *keys: Stream
    ) -> dict[str, Tensor]:
        """``values`` with free layers drawn from their fields; without a key, their means."""
        state = dict(values)
        for name, field in fields.items():
            units = self.machine.units(name)
            x = units.sample(field, keys[0].child(name)) if keys else units.mean(field)
            state[name] = held[name].fill(x) if name in held else x
        return state

    def _completed(
        self, means: State, fields: State, held: Mapping[str, Held], stream: Stream
    ) -> dict[str, Tensor]:
        """Draws of what is free, from mean field on; of ``colours[1]`` its means."""
        state, last = self._drawn(means, fields, held, stream.child("first")), fields
        for step in range(self.posterior_sweeps):
            key = stream.child("sweep", step)
            state, last = gibbs.sweep(self.machine, state, key, held, gain=self.gain)
        second = {name: last[name] for name in self.machine.colours[1] if name in last}
        return self._drawn(state, second, held)

    def _sweeps(
        self, machine: BoltzmannMachine, state: State, stream: Stream
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(state, fields of the last sweep) of the chains, both in the machine's own type."""
        own, last = self.machine, dict[str, Tensor]()
        if machine is not own:
            state = {name: x.to(machine.dtype) for name, x in state.items()}
        for step in range(self.steps):
            key = stream.child("sweep", step)
            state, last = gibbs.sweep(machine, state, key, gain=self.gain)
        if machine is not own:
            state, last = ({n: x.to(own.dtype) for n, x in part.items()} for part in (state, last))
        return dict(state), last

    def replica_ladder(self) -> list[ladder.Replica]:
        """The chains' ladder, the machine last; empty where chains are not tempered."""
        if self.snapshots is not None:
            return ladder.trajectory(self.machine, self.snapshots.machines(self.machine))
        return ladder.temperatures(self.machine, self.betas) if self.betas else []

    def _rounded(self) -> BoltzmannMachine | None:
        """The machine as it is now with every parameter rounded to the chains' precision."""
        machine = self.machine
        if self.dtype is None:
            return None
        if not self._rough or self._rough[0].device != machine.device:
            self._rough[:] = [copy.deepcopy(machine).to(self.dtype).requires_grad_(False)]
        rounded = self._rough[0].parameters()
        for parameter, precise in zip(rounded, machine.parameters(), strict=True):
            parameter.copy_(precise)
        return self._rough[0]

    def cost(self, player: str, drawn: Phases) -> Tensor:
        energy = self.machine.energy
        return energy(drawn.positive).mean() - energy(drawn.negative).mean()

    @torch.no_grad()
    def gradient(self, player: str, drawn: Phases) -> list[Tensor]:
        machine, means = self.machine, drawn.means
        difference = {name: drawn.chain_means[name] - mean for name, mean in means.items()}
        offset = {name: self.offset(name) for name in means} if self.centred else {}
        push = {
            name: cost * (getattr(self, f"activity_{name}") - target)
            for name, (target, cost) in self.sparsity.items()
        }
        bias = {
            name: self._in_its_unit(name, value + push[name] if name in push else value.clone())
            for name, value in difference.items()
        }
        weight, order = {}, list(means)
        for a, b in machine.edges:
            descent = self._products(drawn.positive, a, b, self._products(drawn.negative, a, b))
            below, above = sorted((a, b), key=order.index)
            if above in push:
                pushed = torch.outer(means[below] - self.offset(below), push[above])
                descent.add_(pushed.T if above == a else pushed)
            if self.centred:
                descent.addr_(offset[a], difference[b], alpha=-1)
                descent.addr_(difference[a], offset[b], alpha=-1)
                self._in_its_unit(b, self._in_its_unit(a, descent.T).T)
                bias[a].addmv_(descent, offset[b], alpha=-1)
                bias[b].addmv_(descent.T, offset[a], alpha=-1)
            weight[f"{a}-{b}"] = descent
        named = {f"bias.{name}": g for name, g in bias.items()}
        named |= {f"weight.{key}": g for key, g in weight.items()}
        for name in self._learning:
            positive = self._slopes(drawn.positive, name, drawn.free.get(name))
            last = name in machine.colours[self.last] or None
            negative = self._slopes(drawn.negative, name, last)
            pace = OWN_PACE if self.centred else 1.0
            for key, slope in positive.items():
                named[f"layers.{name}.{key}"] = pace * (slope - negative[key])
        return [named[name] for name, parameter in self._named if parameter.requires_grad]

    def shared(self, drawn: Phases) -> list[Tensor]:
        return [*drawn.means.values(), *([] if drawn.acceptance is None else [drawn.acceptance])]

    @torch.no_grad()
    def settle(self, drawn: Phases) -> None:
        if self.centred:
            for name, mean in drawn.means.items():
                self.offset(name).lerp_(mean, self.offset_rate)
        for name in self.sparsity:
            getattr(self, f"activity_{name}").lerp_(drawn.means[name], ACTIVITY_RATE)
        if self.snapshots is not None and drawn.acceptance is not None:
            # here, where all processes have the same acceptance
            states, swaps = (self.replicas, self.chains), drawn.acceptance
            remember(self.snapshots, self.machine, *states, swaps, self.overlap)

    @torch.no_grad()
    def measure(self, drawn: Phases) -> dict[str, Tensor]:
        """Numbers for the log.

        ``reconstruction``: squared error per variable of the visible mean given the hidden means;
        ``dead_units``: the share of hidden units whose mean is below 1 % or above 99 % of their
        range; ``swap_acceptance``: the mean probability of a swap at a ladder's bottleneck.
        """
        machine, positive, errors = self.machine, drawn.positive, []
        for name in self.visible:
            field = machine.field(name, positive) * self.gain.get(name, 1.0)
            errors.append((machine.units(name).mean(field) - positive[name]).square())
        hidden = []
        for name in machine.layers:
            if name not in self.visible and (units := machine.units(name)).bounded:
                hidden.append((drawn.means[name] - units.lowest) / (1 - units.lowest))
        error = torch.cat(errors, 1).mean()
        activity = torch.cat(hidden or [error.new_zeros(1)])
        measured = {
            "reconstruction": error,
            "contrast": self.cost("machine", drawn),
            "mean_field_change": drawn.change,
            "dead_units": ((activity < 0.01) | (activity > 0.99)).to(error.dtype).mean(),
        }
        if drawn.acceptance is not None:
            measured["swap_acceptance"] = drawn.acceptance.min()
        if self.snapshots is not None:
            measured["snapshots"] = self.snapshots.used.to(error.dtype)
        return measured

    def _signal_means(self, values: State) -> dict[str, Tensor]:
        machine = self.machine
        return {name: machine.units(name).signal(values[name].mean(0)) for name in machine.layers}

    def _in_its_unit(self, name: str, slope: Tensor) -> Tensor:
        """In place: a slope whose last dimension is a layer's columns as a step in the gauge."""
        unit = self.machine.units(name).field_unit if self.centred else None
        return slope if unit is None else slope.mul_(unit)

    def _slopes(self, values: State, name: str, free: Tensor | bool | None) -> dict[str, Tensor]:
        """The energy's slopes in a layer's own parameters, where ``free`` cells hold means."""
        units = self.machine.units(name)
        field = self.machine.field(name, values) * self.gain.get(name, 1.0)
        return units.energy_slopes(values[name], field, free)

    def _products(self, values: State, a: str, b: str, less: Tensor | None = None) -> Tensor:
        """⟨s_a s_bᵀ⟩ over rows, or in place ``less`` minus it; scaled within the product."""
        left = self.machine.units(a).signal(values[a])
        right, share = self.machine.units(b).signal(values[b]), 1 / len(left)
        if less is None:
            empty = left.new_empty(left.shape[1], right.shape[1])
            return empty.addmm_(left.T, right, beta=0, alpha=share)
        return less.addmm_(left.T, right, alpha=-share)
