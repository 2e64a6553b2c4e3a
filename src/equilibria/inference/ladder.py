r"""Replica exchange: chains at several distributions, from one that mixes at once to the model's
own.

Every replica has a distribution over the same layers: a machine at an inverse temperature β. Two
kinds of ladder are in use.

- **Temperatures**: one machine at 0 = β₁ < … < β_R = 1 (Geyer 1991; for RBMs Desjardins et al.
  2010; Cho, Raiko & Ilin 2010).
- **Trajectory**: the base rates, earlier states of the same training run, then the machine as it is
  now (Béreux, Decelle, Furtlehner, Rosset & Seoane 2024, "Fast training and sampling of
  restricted Boltzmann machines"). Where learning splits a mode in two step by step, a fall in
  temperature splits it at once, and swaps between temperatures are refused there.

Training, sampling and the estimate of log Z use the same move. It draws one colour x of every
replica, lets neighbours swap it, and draws the other colour. Replicas i and j swap with probability

.. math:: \min\left(1, \frac{p_i(x_j)\, p_j(x_i)}{p_i(x_i)\, p_j(x_j)}\right),

p being the marginal of that colour, in which Z cancels. With marginals rather than joint states the
swap may forget the summed colour, and is accepted no less often, since summing out brings
distributions closer; so the colour with more states is summed. Its fields are needed to draw it
anyway: swaps between temperatures cost no matrix product at all, along a trajectory one a replica
and parity.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from equilibria.check import whole
from equilibria.inference import gibbs
from equilibria.inference.clamp import Clamp, Held, parse
from equilibria.random import RandomState, Stream, as_stream

if TYPE_CHECKING:
    from equilibria.models.boltzmann import BoltzmannMachine, State

__all__ = [
    "Info",
    "Moved",
    "Replica",
    "exchange",
    "kept_colour",
    "run",
    "start",
    "step",
    "temperatures",
    "trajectory",
]


class Replica(NamedTuple):
    """One distribution of a ladder: a machine at β; at 0 it is the machine's base rates."""

    machine: BoltzmannMachine
    beta: float = 1.0


class Moved(NamedTuple):
    """The result of a move.

    Attributes
    ----------
    states : list of dict of str to Tensor
        The state of every replica, each layer (chains, size).
    fields : list of dict of str to Tensor
        For every replica, the field that each free layer of the summed colour was drawn under. It
        belongs to the new state of the kept colour: its mean is the Rao–Blackwellised statistic.
    chance, accepted : Tensor
        For every pair of neighbours and every chain, (replicas − 1, chains): the probability of the
        swap (float64) and whether it took place.
    """

    states: list[dict[str, Tensor]]
    fields: list[dict[str, Tensor]]
    chance: Tensor
    accepted: Tensor


class Info(NamedTuple):
    """How well a ladder mixes.

    Attributes
    ----------
    acceptance : Tensor
        Mean probability of a swap for each pair of neighbours, (replicas − 1,), float64. The
        smallest is the ladder's bottleneck.
    round_trips : Tensor
        How often a state went from the first replica to the last and back, for each chain,
        (chains,), int64. If none did, the last replica has had no fresh state from the first.
    """

    acceptance: Tensor
    round_trips: Tensor


def temperatures(machine: BoltzmannMachine, betas: int | Iterable[float] = 10) -> list[Replica]:
    """One machine at inverse temperatures that rise from 0 to 1; a number stands for even steps.

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> [beta for _, beta in temperatures(BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2)), 5)]
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if not isinstance(betas, Iterable):
        betas = torch.linspace(0, 1, whole(2)("betas", betas), dtype=torch.float64).tolist()
    values = [float(beta) for beta in betas]
    rising = all(a < b for a, b in itertools.pairwise(values))
    if len(values) < 2 or values[0] != 0.0 or values[-1] != 1.0 or not rising:
        raise ValueError(f"betas={values}: expected inverse temperatures that rise from 0 to 1")
    return [Replica(machine, beta) for beta in values]


def trajectory(
    machine: BoltzmannMachine, snapshots: Iterable[BoltzmannMachine] = ()
) -> list[Replica]:
    """The base rates, earlier states of the machine from the oldest on, and the machine itself."""
    return [Replica(machine, 0.0), *(Replica(snapshot) for snapshot in snapshots), Replica(machine)]


def run(
    replicas: Sequence[Replica],
    steps: int = 100,
    *,
    chains: int = 100,
    states: Sequence[Mapping[str, Any]] | None = None,
    random_state: RandomState = 0,
    clamp: Clamp | None = None,
    visit: Callable[[int, list[dict[str, Tensor]], Tensor], None] | None = None,
) -> tuple[list[dict[str, Tensor]], Info]:
    """Run a ladder and return the states of every replica, the model's last, and how well it mixed.

    Parameters
    ----------
    replicas : sequence of Replica
        Two or more, from :func:`temperatures` or :func:`trajectory`.
    steps : int
        Number of moves; each is a Gibbs sweep of every replica with a swap of the even and one of
        the odd pairs in its middle.
    chains : int
        Number of ladders side by side, where no ``states`` are given.
    states : sequence of mapping, optional
        Where to start, one state for each replica; by default the base rates.
    random_state : int, Stream or numpy generator
        The same value gives the same chains.
    clamp : mapping, optional
        As for :func:`equilibria.inference.gibbs.run`, the same for every replica.
    visit : callable, optional
        ``visit(step, states, fresh)`` after every move; ``fresh`` (chains,) tells whether the last
        replica's state has been at the first one since the start.

    Examples
    --------
    All zeros and all ones have the same probability in this machine, and plain Gibbs sampling never
    finds its way from the one to the other:

    >>> import numpy as np
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> machine = BoltzmannMachine.from_arrays(
    ...     [np.full((6, 4), 6.0)], [np.full(6, -12.0), np.full(4, -18.0)])
    >>> zeros = {"visible": torch.zeros(500, 6), "hidden1": torch.zeros(500, 4)}
    >>> float(gibbs.run(machine, zeros, steps=100)["visible"].mean())
    0.0
    >>> states, info = run(temperatures(machine, 12), steps=100, states=[zeros] * 12)
    >>> 0.4 < float(states[-1]["visible"].mean()) < 0.6, int(info.round_trips.sum()) > 0
    (True, True)
    """
    stream, last = as_stream(random_state), replicas[-1].machine
    if states is None:
        values = start(replicas, whole(1)("chains", chains), stream.child("start"), clamp)
    else:
        pairs = zip(replicas, states, strict=True)
        values = [replica.machine.as_state(state) for replica, state in pairs]
    rows, device = len(next(iter(values[0].values()))), last.device
    held = parse(last, clamp, rows)
    values = [{n: held[n].fill(x) if n in held else x for n, x in s.items()} for s in values]
    total = torch.zeros(len(replicas) - 1, dtype=torch.float64, device=device)
    # of a state 0: has not been at the first replica yet; 1: has; 2: went on from there to the last
    stage = torch.zeros(len(replicas), rows, dtype=torch.int64, device=device)
    trips = _mark_ends(stage)
    with torch.no_grad():
        for count in range(whole()("steps", steps)):
            moved = step(replicas, values, stream.child(count), held)
            values = moved.states
            total += moved.chance.mean(1)
            for i in _pairs(moved.accepted):
                stage[i : i + 2] = (
                    stage[i : i + 2].flip(0).where(moved.accepted[i], stage[i : i + 2])
                )
            trips = trips + _mark_ends(stage)
            if visit is not None:
                visit(count, values, stage[-1] > 0)
    copies = [{name: x.clone() for name, x in state.items()} for state in values]
    return copies, Info(total / max(steps, 1), trips)


def _mark_ends(stage: Tensor) -> Tensor:
    """Note in place what each state has reached; which of them are back at the first replica."""
    back = (stage[0] == 2).to(torch.int64)
    stage[0] = 1
    stage[-1] = torch.where(stage[-1] == 1, 2, stage[-1])
    return back


def _pairs(of: Sequence[Any] | Tensor) -> list[int]:
    """The lower ends of the pairs, even ones first."""
    return [*range(0, len(of), 2), *range(1, len(of), 2)]


def start(
    replicas: Sequence[Replica],
    chains: int,
    random_state: RandomState = 0,
    clamp: Clamp | None = None,
) -> list[dict[str, Tensor]]:
    """First states of every replica, drawn from its base rates."""
    stream = as_stream(random_state)
    machines = enumerate(replica.machine for replica in replicas)
    return [gibbs.start(machine, chains, stream.child(i), clamp) for i, machine in machines]


def step(
    replicas: Sequence[Replica],
    states: Sequence[State],
    stream: Stream,
    held: Mapping[str, Held] | None = None,
) -> Moved:
    """A whole move: the kept colour is drawn, even pairs swap it, odd pairs, the other is drawn.

    Both parities in turn, always in this order, carry a state several replicas up or down in a row,
    where a choice at random would let it wander (Syed, Bouchard-Côté, Deligiannidis & Doucet 2022,
    "Non-reversible parallel tempering").
    """
    kept, middle = kept_colour(replicas[0].machine), []
    for i, (replica, state) in enumerate(zip(replicas, states, strict=True)):
        key = stream.child("first", i)
        drawn, _ = gibbs.block(replica.machine, kept, state, key, held, replica.beta)
        middle.append({**state, **drawn})
    return exchange(replicas, middle, stream, held)


def exchange(
    replicas: Sequence[Replica],
    states: Sequence[State],
    stream: Stream,
    held: Mapping[str, Held] | None = None,
) -> Moved:
    """Neighbours swap their kept colour, chain by chain; then the summed colour is drawn.

    Row c of a replica's state, (chains, size) a layer, swaps with row c of the next one's, the
    pairs (0, 1), (2, 3), … before the others. The product of the replicas' distributions is
    invariant: with one colour summed out (given what a parsed clamp ``held`` observes of it) the
    swap is a Metropolis step, and a draw of that colour given the other completes the state.
    """
    at = [Place(replica, s, held) for replica, s in zip(replicas, states, strict=True)]
    shape, device = (len(at) - 1, len(at[0].log)), at[0].log.device
    chance = torch.empty(shape, dtype=torch.float64, device=device)
    accepted = torch.zeros(shape, dtype=torch.bool, device=device)
    # rows are chains: a process with a share of them draws its own part
    uniform = stream.child("swap").uniform(shape[::-1], torch.float64, device)
    for i in _pairs(accepted):
        chance[i], accepted[i] = at[i].swap(at[i + 1], uniform[:, i])
    drawn = [place.draw(stream.child("second", i)) for i, place in enumerate(at)]
    return Moved([state for state, _ in drawn], [f for _, f in drawn], chance, accepted)


def kept_colour(machine: BoltzmannMachine) -> int:
    """The colour that is swapped, 0 or 1: the one with fewer states, so that the larger is summed.

    A continuous layer is never kept if the other colour is discrete.
    """

    def size(colour: int) -> float:
        states = [machine.units(name).states for name in machine.colours[colour]]
        return math.inf if None in states else sum(math.log2(s) for s in states if s)

    return int(size(1) < size(0))


class Place:
    """A replica with its state and what a clamp holds.

    ``kept`` has the layers of the kept colour, ``pull`` the input of the summed ones from their
    neighbours at β = 1, ``log`` the log marginal of the kept layers, (chains,), float64.
    """

    def __init__(
        self,
        replica: Replica,
        state: State,
        held: Mapping[str, Held] | None = None,
        pull: dict[str, Tensor] | None = None,
    ):
        machine, beta = replica
        colour = kept_colour(machine)
        self.replica, self.held = replica, held or {}
        self.kept = {name: state[name] for name in machine.colours[colour]}
        self.pull = pull or {n: machine.pull(n, self.kept) for n in machine.colours[1 - colour]}
        fields = {name: self.field(name) for name in self.pull}
        self.log = gibbs.log_marginal(machine, colour, self.kept, fields, beta, held)

    def field(self, name: str) -> Tensor:
        machine, beta = self.replica
        return torch.add(machine.bias_at(name, beta), self.pull[name], alpha=beta)

    def with_state_of(self, other: Place) -> Place:
        """The other's state here. The same machine pulls alike, whatever its temperature."""
        same = self.replica.machine is other.replica.machine
        return Place(self.replica, other.kept, self.held, other.pull if same else None)

    def take(self, other: Place, where: Tensor) -> None:
        """The other's chains in the rows that ``where`` marks."""
        rows = where.unsqueeze(1)
        self.kept = {name: torch.where(rows, other.kept[name], x) for name, x in self.kept.items()}
        self.pull = {name: torch.where(rows, other.pull[name], x) for name, x in self.pull.items()}
        self.log = torch.where(where, other.log, self.log)

    def swap(self, above: Place, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """One swap with the replica above, in place: (its probability, whether it took place)."""
        here, there = self.with_state_of(above), above.with_state_of(self)
        log_ratio = here.log + there.log - self.log - above.log
        accepted = uniform.log() < log_ratio  # log 0 = −∞ is not below −∞: no chance, no swap
        self.take(here, accepted)
        above.take(there, accepted)
        return log_ratio.clamp(max=0.0).exp(), accepted

    def draw(self, stream: Stream) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Draw the summed colour given the kept one: (the whole state, the fields)."""
        machine, state, fields = self.replica.machine, dict(self.kept), {}
        for name in self.pull:
            hold = self.held.get(name)
            if hold is not None and hold.mask is None:
                state[name] = hold.values
                continue
            fields[name] = self.field(name)
            x = machine.units(name).sample(fields[name], stream.child(name))
            state[name] = x if hold is None else hold.fill(x)
        return {name: state[name] for name in machine.layers}, fields
