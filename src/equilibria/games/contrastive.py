"""The contrastive game: one player, a Boltzmann machine, that lowers the data's energy and raises its own samples'.

This is Algorithm 20.1 of *Deep Learning* for any two-coloured graph: mean field for the positive phase, block Gibbs for the
negative one. With persistent chains it is stochastic maximum likelihood (PCD); with chains that restart at the data it is
contrastive divergence (CD); with persistent chains that trade places with those of easier machines, tempering. For an RBM mean field is
exact.
"""

from __future__ import annotations

import copy
import dataclasses
import numbers
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from equilibria.data import Batch
from equilibria.games.best import Best
from equilibria.games.game import Game
from equilibria.games.replicas import Snapshots, moves, remember
from equilibria.inference import gibbs, tempering
from equilibria.inference.clamp import Held, one_block
from equilibria.inference.mean_field import update
from equilibria.models.boltzmann import BoltzmannMachine, State
from equilibria.random import Stream

__all__ = ["NEGATIVE", "PRECISION", "TEMPERED", "ContrastiveGame", "Phases"]

NEGATIVE = ("persistent", "data", "tempered", "trajectory")
TEMPERED = ("tempered", "trajectory")
"""Those whose chains swap places with the rungs of a ladder."""
PRECISION = {"float32": None, "bfloat16": torch.bfloat16}
OWN_PACE = 0.3
"""How far a layer's own parameters move in the centred gauge, as a part of their slope.

A row far out pulls log σ² up by its square over σ², and the next batches bring it down by no more than ½ each: at the pace of the weights,
one row can throw it to where the machine does not come back from.
"""
ACTIVITY_RATE = 0.1  # how far the running mean of a sparse layer moves towards each batch's: the damping of .9 of the 2009 protocol


@dataclasses.dataclass(frozen=True)
class Phases:
    """A round of the contrastive game.

    ``positive`` and ``negative`` hold a value for each layer, (rows, size): means under Q given the data, and the chains
    (where the layers drawn last appear by their means, which is the lower-variance statistic). ``means`` and
    ``chain_means`` are their signals' means over rows; ``change`` the largest move of the last mean-field step; ``free`` the layers, or
    the cells of one (a mask), that are means in ``positive`` rather than data; ``acceptance`` the mean probability of a swap for each pair
    of neighbours on the chains' ladder, (rungs − 1,), where there is one.
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

    The cost is the contrast E(positive) − E(negative) at the phases' means; its gradient is the stochastic gradient of
    −(bound on log p). For an edge (a, b) and centring offsets μ,

    .. math:: \Delta W = \langle (s_a - \mu_a)(s_b - \mu_b)^\top \rangle_+ - \langle (s_a - \mu_a)(s_b - \mu_b)^\top \rangle_-,
              \qquad \Delta b_l = \langle s_l \rangle_+ - \langle s_l \rangle_- - \sum_{(l, m)} \Delta W_{lm} \mu_m,

    which is the steepest ascent in the gauge where signals are measured from μ, written in the plain parameters (Melchior,
    Fischer & Wiskott 2016, "How to center deep Boltzmann machines"). The parameters themselves stay plain. In that gauge a continuous
    layer's fields are measured in its own σ too, so that a rate means the same whatever the noise: its rows of ΔW and its part of Δb,
    which are divided by σ², are multiplied by it, before the last sum. A learned log σ² takes three tenths of a step (:data:`OWN_PACE`).

    Parameters
    ----------
    machine : BoltzmannMachine
        The player.
    chains : int
        Persistent chains; they start at the machine's base rates.
    steps : int
        Gibbs sweeps a round, the k of the algorithm.
    negative : {"persistent", "data", "tempered", "trajectory"}
        Where the chains start each round: where they were (PCD) or at the batch (CD). Tempered chains are persistent ones, each the top of
        a ladder whose rungs swap states (:mod:`equilibria.inference.tempering`): the same machine at lower inverse temperatures, or the
        base rates and earlier states of this run. Only the machine's own rung enters the gradient. A ladder of R rungs costs R times the
        chains, a trajectory up to twice that.
    centred : bool
        Whether to take steps in the gauge above, where μ follows the data (a moving average of the positive means); else the gradient
        is the plain one, and μ = 0.
    offset_rate : float
        How far μ moves towards each batch's mean.
    mean_field_steps : int
        Updates of both blocks in the positive phase; an RBM always takes one.
    posterior_sweeps : int
        Where mean field is not exact (a deep machine, missing cells), so many Gibbs sweeps over what is free follow it, and their draws
        take its place: the slope is then that of log p of what was observed, but for how far the sweeps are from equilibrium, not of the
        bound, at the price of noise. 0 stays with mean field.
    gain : mapping of str to float, optional
        Multiplies the field of a layer in both phases: 2 for the doubled input of layer-wise pretraining (Salakhutdinov & Hinton 2009).
    visible : str or sequence of str, optional
        The layers that a batch's values belong to, side by side in this order; the machine's first by default. A cell that the batch's
        mask calls missing is free: mean field runs over it too, and nothing of it lasts to the next epoch.
    precision : {"float32", "bfloat16"}
        Of the chains' products (and of all mean-field steps but the last). Draws, statistics and gradients are float32 in any case. For
        machines of bounded layers only.
    betas : int or sequence of float, optional
        The inverse temperatures of ``negative="tempered"``, from 0 to 1, or their number in even steps (10 by default);
        :func:`~equilibria.inference.tempering.choose_betas` places them for a trained machine.
    replicas : int
        Of ``negative="trajectory"``: at most so many earlier states are kept. When one more is due, the one goes whose neighbours swap
        most readily (unless that would leave a narrower place than there is).
    overlap : float
        Of ``negative="trajectory"``: when the newest of the earlier states and the machine swap with a mean probability below this, the
        machine as it is then is added (0.25 as published by Béreux et al.). This looks at one number from the device each round.
    held_out : int
        Where the best machine by so many held-out rows is to be kept, if its log Z can be enumerated: see
        :class:`~equilibria.games.best.Best`.
    sparsity : mapping of str to (target, cost), optional
        Hidden layer → the mean that each of its units is drawn to, and how strongly: its field is pushed by −cost · (running mean −
        target), which moves its bias and its weights from the layers before it (Salakhutdinov & Hinton 2009).

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
        visible: str | Sequence[str] | None = None,
        precision: str = "float32",
        sparsity: Mapping[str, tuple[float, float]] | None = None,
        betas: int | Iterable[float] | None = None,
        replicas: int = 20,
        overlap: float = 0.25,
        stream: Stream | None = None,
        held_out: int = 0,
    ):
        super().__init__()
        visible = (visible,) if isinstance(visible, str) else tuple(visible or (next(iter(machine.layers)),))
        if negative not in NEGATIVE:
            raise ValueError(f"negative={negative!r}: expected one of {NEGATIVE}")
        counts = {"chains": chains, "steps": steps, "mean_field_steps": mean_field_steps, "replicas": replicas}
        for name, value in counts.items():
            if isinstance(value, bool) or int(value) != value or value < 1:
                raise ValueError(f"{name}={value!r}: expected a whole number, 1 or more")
        if isinstance(posterior_sweeps, bool) or int(posterior_sweeps) != posterior_sweeps or posterior_sweeps < 0:
            raise ValueError(f"posterior_sweeps={posterior_sweeps!r}: expected a whole number, 0 or more")
        if not 0 <= offset_rate <= 1:
            raise ValueError(f"offset_rate={offset_rate!r}: expected a number from 0 to 1")
        for argument, names in {"visible": visible, "gain": gain or {}, "sparsity": sparsity or {}}.items():
            for name in names:
                if name not in machine.layers:
                    raise ValueError(f"{argument}: unknown layer {name!r}; the layers are {list(machine.layers)}")
        _check_precision(machine, precision)
        _check_ladder(negative, betas, overlap, gain, precision)
        self.machine = machine
        self.steps, self.negative, self.centred = steps, negative, centred
        self.offset_rate, self.mean_field_steps, self.gain = offset_rate, mean_field_steps, dict(gain or {})
        self.posterior_sweeps = posterior_sweeps
        self.visible, self.precision, self.sparsity = visible, precision, dict(sparsity or {})
        self._rough: list[BoltzmannMachine] = []  # the machine in bfloat16; in a list, so that it is no part of the game's state
        stream = stream or Stream(0)
        if negative != "data":
            self.sharded = [f"chain_{name}" for name in machine.layers]
            for name, values in gibbs.start(machine, chains, stream.child("chains")).items():
                self.register_buffer(f"chain_{name}", values)
        self.overlap = overlap
        self.best = Best(machine, held_out) if held_out and Best.fits(machine) else None
        self.betas = [rung.beta for rung in tempering.ladder(machine, 10 if betas is None else betas)] if negative == "tempered" else []
        self.snapshots = Snapshots(machine, replicas) if negative == "trajectory" else None
        if rungs := (len(self.betas) - 1 if self.betas else replicas + 1 if self.snapshots is not None else 0):
            self.sharded = [*self.sharded, *(f"replica_{name}" for name in machine.layers)]
            states = [gibbs.start(machine, chains, stream.child("replicas", i)) for i in range(rungs)]
            for name in machine.layers:  # (chains, rungs below the machine's own, size): chains first, since they are shared out
                self.register_buffer(f"replica_{name}", torch.stack([state[name] for state in states], 1))
        for name in machine.layers:
            units = machine.units(name)
            mean = units.mean(machine.base(name).unsqueeze(0)).squeeze(0)
            self.register_buffer(f"offset_{name}", units.signal(mean).detach() if centred else torch.zeros_like(mean))
        for name, (target, _) in self.sparsity.items():
            self.register_buffer(f"activity_{name}", torch.full_like(machine.bias[name], target))

    @property
    def chains(self) -> dict[str, Tensor]:
        """The persistent chains' states by layer; empty where chains restart at the data."""
        return {name: getattr(self, f"chain_{name}") for name in self.machine.layers if self.sharded}

    @property
    def replicas(self) -> dict[str, Tensor]:
        """The states on the rungs below the chains', by layer, (chains, rungs, size); empty where chains are not tempered."""
        return {name: getattr(self, f"replica_{name}") for name in self.machine.layers if self.negative in TEMPERED}

    @property
    def last(self) -> int:
        """The colour that a round draws last, and which the negative phase therefore has by its means."""
        return 1 if self.negative not in TEMPERED else 1 - tempering.kept_colour(self.machine)

    def offset(self, name: str) -> Tensor:
        """μ of one layer."""
        return getattr(self, f"offset_{name}")

    def observed(self, batch: Batch) -> dict[str, Held]:
        """The visible layers as a batch has them: its columns side by side, in the order of ``visible``."""
        held, first = {}, 0
        for name in self.visible:
            columns = slice(first, first := first + self.machine.units(name).size)
            held[name] = _held(self.machine, name, batch.values[:, columns], None if batch.mask is None else batch.mask[:, columns])
        return held

    @torch.no_grad()
    def draw(self, batch: Batch, stream: Stream) -> Phases:
        machine, held, rough = self.machine, self.observed(batch), self._rounded()
        positive, fields, change = self._posterior(held, rough)
        inferred: dict[str, Tensor | bool] = dict.fromkeys(fields, True)
        inferred |= {name: ~hold.mask for name, hold in held.items() if hold.mask is not None}
        acceptance = None
        if self.negative in TEMPERED:
            state, last, acceptance = moves(self.rungs(), self.replicas, self.chains, self.steps, stream)
        elif self.negative == "persistent":
            state, last = self._sweeps(rough or machine, self.chains, stream)
        else:
            start = stream.child("restart")
            free = {name: machine.units(name).sample(field, start.child(name)) for name, field in fields.items()}
            state = {**positive, **{name: held[name].fill(x) if name in held else x for name, x in free.items()}}
            state, last = self._sweeps(rough or machine, state, stream)
        if self.negative != "data":
            for name, values in state.items():
                setattr(self, f"chain_{name}", values)  # the moves' own tensors: nothing else writes to them
        negative = {**state, **{name: machine.units(name).mean(last[name]) for name in machine.colours[self.last]}}
        if self.posterior_sweeps and not one_block(self.machine, held):
            positive = self._completed(positive, fields, held, stream.child("posterior"))
            inferred = {name: free for name, free in inferred.items() if name in machine.colours[1]}
        return Phases(positive, negative, self._signal_means(positive), self._signal_means(negative), change, inferred, acceptance)

    def _posterior(self, held: Mapping[str, Held], rough: BoltzmannMachine | None) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Mean field given the data; all steps but the last may be rough, since the last starts from wherever they led."""
        if rough is None or self.mean_field_steps == 1 or one_block(self.machine, held):
            return update(self.machine, held, self.mean_field_steps, self.gain)
        start, _, _ = update(rough, {name: h.to(rough.dtype) for name, h in held.items()}, self.mean_field_steps - 1, self.gain)
        return update(self.machine, held, 1, self.gain, {name: x.to(self.machine.dtype) for name, x in start.items()})

    def _completed(
        self, means: Mapping[str, Tensor], fields: Mapping[str, Tensor], held: Mapping[str, Held], stream: Stream
    ) -> dict[str, Tensor]:
        """Draws of what is free given what is observed, begun where mean field led; of ``colours[1]`` the means given the other colour."""
        machine, state, last = self.machine, dict(means), dict(fields)

        def free(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: held[name].fill(x) if name in held else x for name, x in values.items()}

        state |= free({name: machine.units(name).sample(field, stream.child("first", name)) for name, field in fields.items()})
        for step in range(self.posterior_sweeps):
            state, last = gibbs.sweep(machine, state, stream.child("sweep", step), held, gain=self.gain)
        return {**state, **free({name: machine.units(name).mean(last[name]) for name in machine.colours[1] if name in last})}

    def _sweeps(self, machine: BoltzmannMachine, state: State, stream: Stream) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The chains' moves of a round: (state, the fields of the last sweep), both in the machine's own type."""
        last: dict[str, Tensor] = {}
        state = {name: x.to(machine.dtype) for name, x in state.items()}
        for step in range(self.steps):
            state, last = gibbs.sweep(machine, state, stream.child("sweep", step), gain=self.gain)
        own = self.machine.dtype
        return {name: x.to(own) for name, x in state.items()}, {name: x.to(own) for name, x in last.items()}

    def rungs(self) -> list[tempering.Rung]:
        """The chains' ladder as it is now, the machine's own rung last; empty where chains are not tempered."""
        if self.snapshots is not None:
            return tempering.trajectory(self.machine, self.snapshots.machines(self.machine))
        return tempering.ladder(self.machine, self.betas) if self.betas else []

    def _rounded(self) -> BoltzmannMachine | None:
        """The machine as it is now with every parameter rounded to the chains' precision."""
        dtype = PRECISION[self.precision]
        if dtype is None:
            return None
        if not self._rough or self._rough[0].device != self.machine.device:
            self._rough[:] = [copy.deepcopy(self.machine).to(dtype).requires_grad_(False)]
        for parameter, exact in zip(self._rough[0].parameters(), self.machine.parameters(), strict=True):
            parameter.copy_(exact)
        return self._rough[0]

    def cost(self, player: str, drawn: Phases) -> Tensor:
        return self.machine.energy(drawn.positive).mean() - self.machine.energy(drawn.negative).mean()

    @torch.no_grad()
    def gradient(self, player: str, drawn: Phases) -> list[Tensor]:
        machine = self.machine
        difference = {name: drawn.chain_means[name] - drawn.means[name] for name in machine.layers}
        push = {name: cost * (getattr(self, f"activity_{name}") - target) for name, (target, cost) in self.sparsity.items()}
        bias = {name: self._in_its_unit(name, value + push[name] if name in push else value.clone()) for name, value in difference.items()}
        weight, order = {}, list(machine.layers)
        for a, b in machine.edges:
            descent = self._products(drawn.positive, a, b, self._products(drawn.negative, a, b))
            below, above = sorted((a, b), key=order.index)
            if above in push:
                descent.add_(_outer(drawn.means[below] - self.offset(below), push[above], transposed=above == a))
            if self.centred:
                descent.addr_(self.offset(a), difference[b], alpha=-1).addr_(difference[a], self.offset(b), alpha=-1)
                self._in_its_unit(b, self._in_its_unit(a, descent.T).T)
                bias[a].addmv_(descent, self.offset(b), alpha=-1)
                bias[b].addmv_(descent.T, self.offset(a), alpha=-1)
            weight[f"{a}-{b}"] = descent
        named = {**{f"bias.{name}": g for name, g in bias.items()}, **{f"weight.{key}": g for key, g in weight.items()}}
        for name in machine.layers:
            positive = self._slopes(drawn.positive, name, drawn.free.get(name))
            negative = self._slopes(drawn.negative, name, name in machine.colours[self.last] or None)
            pace = OWN_PACE if self.centred else 1.0
            named |= {f"layers.{name}.{key}": pace * (positive[key] - negative[key]) for key in positive}
        return [named[name] for name, parameter in machine.named_parameters() if parameter.requires_grad]

    def shared(self, drawn: Phases) -> list[Tensor]:
        return [*drawn.means.values(), *([] if drawn.acceptance is None else [drawn.acceptance])]

    @torch.no_grad()
    def settle(self, drawn: Phases) -> None:
        if self.centred:
            for name, mean in drawn.means.items():
                self.offset(name).lerp_(mean, self.offset_rate)
        for name in self.sparsity:
            getattr(self, f"activity_{name}").lerp_(drawn.means[name], ACTIVITY_RATE)
        if self.snapshots is not None and drawn.acceptance is not None:  # here, where all processes have the same acceptance
            remember(self.snapshots, self.machine, self.replicas, self.chains, drawn.acceptance, self.overlap)

    @torch.no_grad()
    def measure(self, drawn: Phases) -> dict[str, Tensor]:
        """``reconstruction``: squared error per variable of the visible mean given the hidden means; ``mean_field_change``;
        ``contrast``: E(positive) − E(negative); ``dead_units``: the share of hidden units whose mean is below 1 % or above 99 % of
        their range. Of tempered chains also ``swap_acceptance``, the mean probability of a swap at the ladder's narrowest place, and of a
        trajectory ``snapshots``, how many earlier states it has.
        """
        machine = self.machine
        errors = torch.cat([(self._rebuilt(name, drawn.positive) - drawn.positive[name]).square() for name in self.visible], 1)
        bounded = {name: units for name in machine.layers if name not in self.visible and (units := machine.units(name)).bounded}
        hidden = [(drawn.means[name] - units.lowest) / (1 - units.lowest) for name, units in bounded.items()]
        error, activity = errors.mean(), torch.cat(hidden or [torch.zeros(1)])
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

    def _rebuilt(self, name: str, positive: Mapping[str, Tensor]) -> Tensor:
        return self.machine.units(name).mean(self.machine.field(name, positive) * self.gain.get(name, 1.0))

    def _signal_means(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.machine.units(name).signal(values[name].mean(0, keepdim=True)).squeeze(0) for name in self.machine.layers}

    def _in_its_unit(self, name: str, slope: Tensor) -> Tensor:
        """In place, a slope whose last dimension is a layer's columns as a step in the centred gauge (see :attr:`Units.field_unit`)."""
        unit = self.machine.units(name).field_unit if self.centred else None
        return slope if unit is None else slope.mul_(unit)

    def _slopes(self, values: Mapping[str, Tensor], name: str, free: Tensor | bool | None) -> dict[str, Tensor]:
        """The energy's slopes in a layer's own parameters, where ``free`` cells hold means (see :meth:`Units.energy_slopes`)."""
        units = self.machine.units(name)
        if next(units.parameters(), None) is None:
            return {}
        return units.energy_slopes(values[name], self.machine.field(name, values) * self.gain.get(name, 1.0), free)

    def _products(self, values: Mapping[str, Tensor], a: str, b: str, less: Tensor | None = None) -> Tensor:
        """⟨s_a s_bᵀ⟩ over rows, or ``less`` minus it in that tensor's memory; scaled and subtracted within the product."""
        left, right = self.machine.units(a).signal(values[a]), self.machine.units(b).signal(values[b])
        if less is None:
            return left.new_empty(left.shape[1], right.shape[1]).addmm_(left.T, right, beta=0, alpha=1 / len(left))
        return less.addmm_(left.T, right, alpha=-1 / len(left))


def _held(machine: BoltzmannMachine, name: str, values: Tensor, mask: Tensor | None) -> Held:
    """Some columns of a batch; a layer of which nothing is missing is held whole, which is cheaper."""
    values = values.to(machine.dtype)
    if mask is None or bool(mask.all()):
        return Held(values)
    return Held(torch.where(mask, values, torch.zeros_like(values)), mask, machine.units(name).per_variable(mask))


def _outer(below: Tensor, above: Tensor, transposed: bool) -> Tensor:
    return torch.outer(above, below) if transposed else torch.outer(below, above)


def _check_precision(machine: BoltzmannMachine, precision: str) -> None:
    if precision not in PRECISION:
        raise ValueError(f"precision={precision!r}: expected one of {', '.join(PRECISION)}")
    unbounded = [name for name in machine.layers if not machine.units(name).bounded]
    if PRECISION[precision] is not None and unbounded:
        raise ValueError(
            f"precision={precision!r}: the layers {unbounded} have continuous values, which bfloat16 would round to three digits; "
            "leave precision at 'float32'"
        )


def _check_ladder(
    negative: str, betas: int | Iterable[float] | None, overlap: float, gain: Mapping[str, float] | None, precision: str
) -> None:
    if betas is not None and negative != "tempered":
        raise ValueError(f"betas={betas!r}: only chains with negative='tempered' have temperatures, and negative={negative!r}")
    if isinstance(overlap, bool) or not isinstance(overlap, numbers.Real) or not 0 <= overlap <= 1:
        raise ValueError(f"overlap={overlap!r}: expected a number from 0 to 1")
    if negative in TEMPERED and (gain or PRECISION[precision] is not None):
        what = f"gain={dict(gain)!r}" if gain else f"precision={precision!r}"
        raise ValueError(f"{what}: swaps weigh states by the machine's exact energies; use negative='persistent' or leave it out")
