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

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from equilibria.check import number, optional, whole
from equilibria.inference import gibbs
from equilibria.inference.clamp import Clamp, Held, parse
from equilibria.models.boltzmann import BoltzmannMachine, State, log_states
from equilibria.random import RandomState, Stream, as_stream

__all__ = [
    "Info",
    "Moved",
    "Replica",
    "choose_betas",
    "exchange",
    "kept_colour",
    "run",
    "start",
    "step",
    "temperatures",
    "trajectory",
]

MAX_REPLICAS = 200
_FIRST_REPLICAS = 16


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
        swap (float64) and whether it took place. NaN for pairs of a parity that was left out.
    """

    states: list[dict[str, Tensor]]
    fields: list[dict[str, Tensor]]
    chance: Tensor
    accepted: Tensor


@dataclasses.dataclass(frozen=True)
class Info:
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
    >>> machine = BoltzmannMachine.from_arrays([np.ones((3, 2))], [np.zeros(3), np.zeros(2)])
    >>> [beta for _, beta in temperatures(machine, 5)]
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
        From :func:`temperatures` or :func:`trajectory`, or (machine, beta) pairs.
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
        layer → values, or layer → (values, mask), the same for every replica, one row for each
        chain.
    visit : callable, optional
        ``visit(step, states, fresh)`` after every move; ``fresh`` (chains,) tells whether the last
        replica's state has been at the first one since the start.

    Examples
    --------
    All zeros and all ones have the same probability in this machine, and plain Gibbs sampling never
    finds its way from the one to the other:

    >>> machine = BoltzmannMachine.from_arrays(
    ...     [np.full((6, 4), 6.0)], [np.full(6, -12.0), np.full(4, -18.0)])
    >>> zeros = {"visible": torch.zeros(500, 6), "hidden1": torch.zeros(500, 4)}
    >>> float(gibbs.run(machine, zeros, steps=100)["visible"].mean())
    0.0
    >>> states, info = run(temperatures(machine, 12), steps=100, states=[zeros] * 12)
    >>> 0.4 < float(states[-1]["visible"].mean()) < 0.6, int(info.round_trips.sum()) > 0
    (True, True)
    """
    replicas, steps = _checked(replicas), whole()("steps", steps)
    stream = as_stream(random_state)
    if states is None:
        values = start(replicas, whole(1)("chains", chains), stream.child("start"), clamp)
    else:
        pairs = zip(replicas, states, strict=True)
        values = [replica.machine.as_state(state) for replica, state in pairs]
    rows = _rows(values)
    held = parse(replicas[-1].machine, clamp, rows)
    values = [{n: held[n].fill(x) if n in held else x for n, x in s.items()} for s in values]
    device = replicas[0].machine.device
    total = torch.zeros(len(replicas) - 1, dtype=torch.float64, device=device)
    travel = _Travel(len(replicas), rows, device)
    with torch.no_grad():
        for count in range(steps):
            moved = step(replicas, values, stream.child(count), held)
            values = moved.states
            total += moved.chance.mean(1)
            travel.follow(moved.accepted)
            if visit is not None:
                visit(count, values, travel.fresh)
    copies = [{name: x.clone() for name, x in state.items()} for state in values]
    return copies, Info(total / max(steps, 1), travel.trips)


def start(
    replicas: Sequence[Replica],
    chains: int,
    random_state: RandomState = 0,
    clamp: Clamp | None = None,
) -> list[dict[str, Tensor]]:
    """First states of every replica, drawn from its base rates."""
    stream = as_stream(random_state)
    return [
        gibbs.start(replica.machine, chains, stream.child(i), clamp)
        for i, replica in enumerate(replicas)
    ]


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
    return exchange(replicas, middle, stream, None, held)


def exchange(
    replicas: Sequence[Replica],
    states: Sequence[State],
    stream: Stream,
    parity: int | None = None,
    held: Mapping[str, Held] | None = None,
) -> Moved:
    """Neighbours swap their kept colour, chain by chain; then the summed colour is drawn.

    The product of the replicas' distributions is invariant: with one colour summed out the swap is
    a Metropolis step, and a draw of that colour given the other completes the state.

    Parameters
    ----------
    replicas, states : sequence
        A state for each replica, (chains, size) a layer. Row c of one swaps with row c of the next.
    stream : Stream
        This move's own randomness.
    parity : {0, 1}, optional
        Which pairs may swap: (0, 1), (2, 3), … or (1, 2), (3, 4), …; by default these after those.
    held : mapping of str to Held, optional
        A parsed clamp; the marginals are then conditional on what it observes.
    """
    held = held or {}
    at = [_Replica.of(replica, s, held) for replica, s in zip(replicas, states, strict=True)]
    shape, device = (len(at) - 1, _rows(states)), at[0].log.device
    chance = torch.full(shape, math.nan, dtype=torch.float64, device=device)
    accepted = torch.zeros(shape, dtype=torch.bool, device=device)
    # rows are chains: a process with a share of them draws its own part
    uniform = stream.child("swap").uniform(shape[::-1], torch.float64, device)
    for first in (0, 1) if parity is None else (parity,):
        for i in range(first, len(at) - 1, 2):
            chance[i], accepted[i] = at[i].swap(at[i + 1], uniform[:, i], held)
    drawn = [one.draw(stream.child("second", i), held) for i, one in enumerate(at)]
    return Moved([state for state, _ in drawn], [f for _, f in drawn], chance, accepted)


def kept_colour(machine: BoltzmannMachine) -> int:
    """The colour that is swapped, 0 or 1: the one with fewer states, so that the larger is summed.

    A continuous layer is never kept if the other colour is discrete.
    """
    return min((0, 1), key=lambda colour: (log_states(machine, colour), colour))


@dataclasses.dataclass
class _Replica:
    """A replica with its state.

    ``kept`` has the layers of the kept colour, ``pull`` the input of the summed ones from their
    neighbours at β = 1, ``log`` the log marginal of the kept layers, (chains,), float64.
    """

    replica: Replica
    kept: dict[str, Tensor]
    pull: dict[str, Tensor]
    log: Tensor

    @classmethod
    def of(cls, replica: Replica, state: State, held: Mapping[str, Held]) -> _Replica:
        machine, colour = replica.machine, kept_colour(replica.machine)
        kept = {name: state[name] for name in machine.colours[colour]}
        pull = {name: machine.pull(name, kept) for name in machine.colours[1 - colour]}
        return cls.weighed(replica, kept, pull, held)

    @classmethod
    def weighed(
        cls,
        replica: Replica,
        kept: dict[str, Tensor],
        pull: dict[str, Tensor],
        held: Mapping[str, Held],
    ) -> _Replica:
        machine, beta = replica
        fields = {name: _field(replica, name, pull) for name in pull}
        colour = kept_colour(machine)
        log = gibbs.log_marginal(machine, colour, kept, fields, beta, held)
        return cls(replica, kept, pull, log)

    def with_state_of(self, other: _Replica, held: Mapping[str, Held]) -> _Replica:
        """The other's state here. The same machine pulls alike, whatever its temperature."""
        if self.replica.machine is other.replica.machine:
            return self.weighed(self.replica, other.kept, other.pull, held)
        return self.of(self.replica, other.kept, held)

    def take(self, other: _Replica, where: Tensor) -> None:
        """The other's chains in the rows that ``where`` marks."""
        rows = where.unsqueeze(1)
        self.kept = {name: torch.where(rows, other.kept[name], x) for name, x in self.kept.items()}
        self.pull = {name: torch.where(rows, other.pull[name], x) for name, x in self.pull.items()}
        self.log = torch.where(where, other.log, self.log)

    def swap(
        self, above: _Replica, uniform: Tensor, held: Mapping[str, Held]
    ) -> tuple[Tensor, Tensor]:
        """One swap with the replica above, in place: (its probability, whether it took place)."""
        here, there = self.with_state_of(above, held), above.with_state_of(self, held)
        log_ratio = here.log + there.log - self.log - above.log
        accepted = uniform.log() < log_ratio  # log 0 = −∞ is not below −∞: no chance, no swap
        self.take(here, accepted)
        above.take(there, accepted)
        return log_ratio.clamp(max=0.0).exp(), accepted

    def draw(
        self, stream: Stream, held: Mapping[str, Held]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Draw the summed colour given the kept one: (the whole state, the fields)."""
        machine, state, fields = self.replica.machine, dict(self.kept), {}
        for name in self.pull:
            hold = held.get(name)
            if hold is not None and hold.mask is None:
                state[name] = hold.values
                continue
            fields[name] = _field(self.replica, name, self.pull)
            x = machine.units(name).sample(fields[name], stream.child(name))
            state[name] = x if hold is None else hold.fill(x)
        return {name: state[name] for name in machine.layers}, fields


def _field(replica: Replica, name: str, pull: State) -> Tensor:
    bias = replica.machine.bias_at(name, replica.beta)
    return torch.add(bias, pull[name], alpha=replica.beta)


class _Travel:
    """Follows each state up and down the ladder and counts its returns from last to first."""

    def __init__(self, replicas: int, chains: int, device: torch.device):
        # 0: has not been at the first replica yet; 1: has; 2: went on from there to the last
        self.stage = torch.zeros(replicas, chains, dtype=torch.int64, device=device)
        self.trips = torch.zeros(chains, dtype=torch.int64, device=device)
        self.mark_ends()

    @property
    def fresh(self) -> Tensor:
        """Whether the state of the last replica has been at the first, (chains,)."""
        return self.stage[-1] > 0

    def follow(self, accepted: Tensor) -> None:
        """The swaps of one :func:`step`: the even pairs' took place before the odd ones'."""
        for i in [*range(0, len(accepted), 2), *range(1, len(accepted), 2)]:
            low, high = self.stage[i].clone(), self.stage[i + 1].clone()
            self.stage[i] = torch.where(accepted[i], high, low)
            self.stage[i + 1] = torch.where(accepted[i], low, high)
        self.mark_ends()

    def mark_ends(self) -> None:
        self.trips += self.stage[0] == 2
        self.stage[0] = 1
        self.stage[-1] = torch.where(self.stage[-1] == 1, 2, self.stage[-1])


def choose_betas(
    machine: BoltzmannMachine,
    replicas: int | None = None,
    *,
    acceptance: float = 0.5,
    chains: int = 100,
    steps: int = 200,
    rounds: int = 6,
    random_state: RandomState = 0,
) -> list[float]:
    """Inverse temperatures at which all pairs of neighbours swap about equally often.

    The rejection rates add up along the ladder to a barrier Λ(β) that hardly depends on where the
    replicas stand, so equal steps of Λ are refused equally often (Syed et al. 2022). Λ is measured
    by running a ladder, the temperatures are moved, and so on, ``rounds`` times. Modes that no
    chain has met do not count.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model; its base rates are the first replica.
    replicas : int, optional
        Number of temperatures; by default as many as ``acceptance`` takes, at most 200.
    acceptance : float
        Mean probability of a swap to aim at where ``replicas`` is not given. At ½ a ladder carries
        most states for its cost.
    chains, steps, rounds : int
        Ladders side by side, moves in each round (its first half is not counted), and rounds.
    random_state : int, Stream or numpy generator
        The same value gives the same temperatures.

    Returns
    -------
    list of float
        From 0.0 to 1.0, rising.

    Examples
    --------
    >>> machine = BoltzmannMachine.from_arrays(
    ...     [np.full((6, 4), 6.0)], [np.full(6, -12.0), np.full(4, -18.0)])
    >>> betas = choose_betas(machine, replicas=6, steps=40, rounds=4)
    >>> _, info = run(temperatures(machine, betas), steps=100)
    >>> bool(info.acceptance.max() - info.acceptance.min() < 0.1)
    True
    """
    replicas = optional(whole(2))("replicas", replicas)
    number(0, 1 - 1e-9, above=True)("acceptance", acceptance)
    half = (whole(1)("steps", steps) + 1) // 2
    stream = as_stream(random_state)
    betas = torch.linspace(0, 1, replicas or _FIRST_REPLICAS, dtype=torch.float64).tolist()
    states = start(temperatures(machine, betas), chains, stream.child("start"))
    for count in range(whole(1)("rounds", rounds)):
        key, here = stream.child("round", count), temperatures(machine, betas)
        states, _ = run(here, half, states=states, random_state=key.child("settle"))
        states, info = run(here, half, states=states, random_state=key.child("count"))
        before = np.array(betas)
        # a barrier that rises everywhere can be inverted
        refused = np.clip(1.0 - info.acceptance.cpu().numpy(), 1e-6, None)
        barrier = np.concatenate([[0.0], np.cumsum(refused)])
        wanted = max(math.ceil(barrier[-1] / (1 - acceptance)), 1) + 1
        places = np.linspace(0.0, barrier[-1], replicas or min(wanted, MAX_REPLICAS))
        betas = [0.0, *PchipInterpolator(barrier, before)(places)[1:-1].tolist(), 1.0]
        states = [states[int(np.abs(before - beta).argmin())] for beta in betas]
    return betas


def _checked(replicas: Sequence[Replica]) -> list[Replica]:
    """The replicas as such, two or more, of machines with the same layers."""
    checked = [Replica(*replica) for replica in replicas]
    if len(checked) < 2:
        raise ValueError(f"replicas: {len(checked)} came; expected two or more")
    first = checked[0].machine
    for i, (machine, beta) in enumerate(checked):
        number(0, 1)(f"replicas[{i}].beta", beta)
        sizes = [{name: m.units(name).size for name in m.layers} for m in (first, machine)]
        if sizes[0] != sizes[1] or machine.colours != first.colours:
            said = f"has the layers {sizes[1]}, the first machine {sizes[0]}"
            raise ValueError(f"replicas[{i}]: its machine {said}; all need the same")
    return checked


def _rows(states: Sequence[State]) -> int:
    return len(next(iter(states[0].values())))
