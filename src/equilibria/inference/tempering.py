r"""Parallel tempering: chains that trade places along a ladder, from a distribution that mixes at once to the model's own.

Every rung of the ladder is a distribution over the same layers: a machine at an inverse temperature. Two ladders are in use.

- **Temperatures**: one machine at 0 = β₁ < … < β_R = 1 (Geyer 1991; for RBMs Desjardins et al. 2010; Cho, Raiko & Ilin 2010).
- **Trajectory**: the base rates, then earlier states of the same training run, then the machine as it is now (Béreux, Decelle, Furtlehner,
  Rosset & Seoane 2024, "Fast training and sampling of restricted Boltzmann machines"). Where learning splits a mode in two step by step, a
  fall in temperature splits it at once, and swaps between temperatures are refused there.

One mechanism serves both. A move draws one colour x of every rung, lets neighbours on the ladder swap it, and draws the other colour.
Between rungs i and j the states of the *kept* colour trade places with probability

.. math:: \min\left(1, \frac{p_i(x_j)\, p_j(x_i)}{p_i(x_i)\, p_j(x_j)}\right),

p being the marginal of that colour, in which Z cancels. Why marginals rather than joint states: what is drawn next does not depend on
the old values of the summed colour, so the swap may forget them; on average marginals are swapped no less often, since summing out brings
distributions closer (so the colour with more states is the summed one); and what that colour feels, which the marginal needs, is what it
is drawn from anyway. On a ladder of temperatures swaps therefore cost no matrix product at all, on a trajectory one per rung and parity.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from equilibria.inference import gibbs
from equilibria.inference.clamp import Clamp, Held, parse
from equilibria.inference.exchange import Place, Rung, kept_colour
from equilibria.models.boltzmann import BoltzmannMachine, State
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["Info", "Moved", "Rung", "choose_betas", "kept_colour", "ladder", "run", "start", "step", "swap", "sweep", "trajectory"]

MAX_RUNGS = 200
_FIRST_RUNGS = 16


class Moved(NamedTuple):
    """What a move leaves.

    Attributes
    ----------
    states : list of dict of str to Tensor
        The states of every rung, each layer (chains, size).
    fields : list of dict of str to Tensor
        For every rung, the field that each free layer of the summed colour was drawn under: it belongs to the new state of the kept one,
        so its mean is the Rao–Blackwellised statistic.
    chance, accepted : Tensor
        For every pair of neighbours and every chain, (rungs − 1, chains): the probability of the swap (float64), and whether it took
        place. A pair of the other parity, which was not asked, has chance NaN.
    """

    states: list[dict[str, Tensor]]
    fields: list[dict[str, Tensor]]
    chance: Tensor
    accepted: Tensor


@dataclasses.dataclass(frozen=True)
class Info:
    """How well a ladder carries.

    Attributes
    ----------
    acceptance : Tensor
        Mean probability of a swap for each pair of neighbours, (rungs − 1,), float64. Its smallest value is the ladder's bottleneck.
    round_trips : Tensor
        How often a state went from the first rung to the last and back, for each chain's ladder, (chains,), int64. None at all means that
        the last rung has had no fresh state from the first.
    """

    acceptance: Tensor
    round_trips: Tensor


# ------------------------------------------------------------------ ladders


def ladder(machine: BoltzmannMachine, betas: int | Iterable[float] = 10) -> list[Rung]:
    """Rungs of one machine at inverse temperatures that rise from 0 to 1; a number of them stands for even steps.

    Examples
    --------
    >>> machine = BoltzmannMachine.from_arrays(weights=[np.ones((3, 2))], biases=[np.zeros(3), np.zeros(2)])
    >>> [beta for _, beta in ladder(machine, 5)]
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if not isinstance(betas, Iterable):
        if isinstance(betas, bool) or not isinstance(betas, numbers.Integral) or betas < 2:
            raise ValueError(f"betas={betas!r}: expected at least 2 rungs, or inverse temperatures that rise from 0 to 1")
        betas = torch.linspace(0, 1, int(betas), dtype=torch.float64).tolist()
    values = [float(beta) for beta in betas]
    if len(values) < 2 or values[0] != 0.0 or values[-1] != 1.0 or not all(a < b for a, b in itertools.pairwise(values)):
        raise ValueError(f"betas={values}: expected inverse temperatures that rise from 0 to 1")
    return [Rung(machine, beta) for beta in values]


def trajectory(machine: BoltzmannMachine, snapshots: Iterable[BoltzmannMachine] = ()) -> list[Rung]:
    """The base rates, earlier states of the machine from the oldest on, and the machine itself."""
    return [Rung(machine, 0.0), *(Rung(snapshot) for snapshot in snapshots), Rung(machine)]


# ------------------------------------------------------------------ runs


def run(
    rungs: Sequence[Rung],
    steps: int = 100,
    *,
    chains: int = 100,
    states: Sequence[Mapping[str, Any]] | None = None,
    random_state: RandomState = 0,
    clamp: Clamp | None = None,
) -> tuple[list[dict[str, Tensor]], Info]:
    """Run a ladder and return the states of every rung, the model's last, and how well it carried.

    Parameters
    ----------
    rungs : sequence of Rung
        From :func:`ladder` or :func:`trajectory`, or (machine, beta) pairs.
    steps : int
        Number of moves; each is a Gibbs sweep of every rung with a swap of the even and one of the odd pairs in its middle.
    chains : int
        Number of ladders side by side, where no ``states`` are given.
    states : sequence of mapping, optional
        Where to go on from, one state for each rung; left as they are.
    random_state : int, Stream or numpy generator
        The same value gives the same chains.
    clamp : mapping, optional
        layer → values, or layer → (values, mask), the same for every rung, one row for each chain.

    Examples
    --------
    All zeros and all ones weigh the same in this machine, and plain Gibbs sampling never finds its way from the one to the other:

    >>> machine = BoltzmannMachine.from_arrays([np.full((6, 4), 6.0)], [np.full(6, -12.0), np.full(4, -18.0)])
    >>> zeros = {"visible": torch.zeros(500, 6), "hidden1": torch.zeros(500, 4)}
    >>> float(gibbs.run(machine, zeros, steps=100)["visible"].mean())
    0.0
    >>> states, info = run(ladder(machine, 12), steps=100, states=[zeros] * 12)
    >>> 0.4 < float(states[-1]["visible"].mean()) < 0.6, int(info.round_trips.sum()) > 0
    (True, True)
    """
    ladder_ = _checked(rungs)
    if isinstance(steps, bool) or not isinstance(steps, numbers.Integral) or steps < 0:
        raise ValueError(f"steps={steps!r}: expected a whole number of moves, 0 or more")
    stream = as_stream(random_state)
    values = start(ladder_, chains, stream.child("start"), clamp) if states is None else _states(ladder_, states)
    rows = _rows(values)
    held = parse(ladder_[-1].machine, clamp, rows)
    values = [{name: held[name].fill(x) if name in held else x for name, x in state.items()} for state in values]
    total = torch.zeros(len(ladder_) - 1, dtype=torch.float64, device=ladder_[0].machine.device)
    trips = _Trips(len(ladder_), rows, total.device)
    with torch.no_grad():
        for number in range(int(steps)):
            moved = step(ladder_, values, stream.child(number), held)
            values = moved.states
            total += moved.chance.mean(1)
            trips.follow(moved.accepted)
    return [{name: x.clone() for name, x in state.items()} for state in values], Info(total / max(int(steps), 1), trips.count)


def start(rungs: Sequence[Rung], chains: int, random_state: RandomState = 0, clamp: Clamp | None = None) -> list[dict[str, Tensor]]:
    """First states of every rung, from its base rates: exact for a rung at β = 0, in the wrong place for the others."""
    if isinstance(chains, bool) or not isinstance(chains, numbers.Integral) or chains < 1:
        raise ValueError(f"chains={chains!r}: expected a whole number, 1 or more")
    stream = as_stream(random_state)
    return [gibbs.start(rung.machine, int(chains), stream.child(i), clamp) for i, rung in enumerate(_checked(rungs))]


# ------------------------------------------------------------------ moves


def sweep(
    rungs: Sequence[Rung], states: Sequence[State], stream: Stream, held: Mapping[str, Held] | None = None
) -> list[dict[str, Tensor]]:
    """A Gibbs sweep of every rung, without swaps.

    Rungs are swept one after the other: their products put side by side in one were no faster on a CPU.
    """
    return [
        gibbs.sweep(rung.machine, state, stream.child(i), held, rung.beta)[0]
        for i, (rung, state) in enumerate(zip(rungs, states, strict=True))
    ]


def step(rungs: Sequence[Rung], states: Sequence[State], stream: Stream, held: Mapping[str, Held] | None = None) -> Moved:
    """A whole move: the kept colour drawn in every rung, the even pairs asked to swap, then the odd ones, the summed colour drawn.

    To ask both parities in turn, always in the same order, carries a state up or down several rungs in a row, where a choice at random
    would let it wander (Syed, Bouchard-Côté, Deligiannidis & Doucet 2022, "Non-reversible parallel tempering").
    """
    kept = kept_colour(rungs[0].machine)
    middle = [
        {**state, **gibbs.block(rung.machine, kept, state, stream.child("first", i), held, rung.beta)[0]}
        for i, (rung, state) in enumerate(zip(rungs, states, strict=True))
    ]
    return swap(rungs, middle, stream, None, held)


def swap(
    rungs: Sequence[Rung], states: Sequence[State], stream: Stream, parity: int | None = None, held: Mapping[str, Held] | None = None
) -> Moved:
    """Let neighbours swap their kept colour (:func:`kept_colour`), each chain for itself, then draw the summed one of every rung.

    It leaves the product of the rungs' distributions as it is: with one colour summed out the swap is a Metropolis step, and to draw that
    colour given the other completes the state. Its old values are not looked at.

    Parameters
    ----------
    rungs : sequence of Rung
    states : sequence of mapping of str to Tensor
        A state for each rung, (chains, size) a layer. Row c of one rung swaps with row c of the next.
    stream : Stream
        This move's own randomness.
    parity : {0, 1}, optional
        Which pairs are asked: (0, 1), (2, 3), … or (1, 2), (3, 4), …; by default the former and then the latter.
    held : mapping of str to Held, optional
        A parsed clamp, the same for every rung; the marginals are then those given what it observes.
    """
    held = held or {}
    places = [Place.of(rung, state, held) for rung, state in zip(rungs, states, strict=True)]
    shape = (len(places) - 1, _rows(states))
    chance = torch.full(shape, math.nan, dtype=torch.float64, device=places[0].log.device)
    accepted = torch.zeros(shape, dtype=torch.bool, device=chance.device)
    uniform = stream.child("swap").uniform(shape[::-1], torch.float64, chance.device)  # rows are chains: a share of them draws its own part
    for i in [i for first in ((0, 1) if parity is None else (parity,)) for i in range(first, len(places) - 1, 2)]:
        chance[i], accepted[i] = places[i].trade(places[i + 1], uniform[:, i], held)
    drawn = [place.draw(stream.child("second", i), held) for i, place in enumerate(places)]
    return Moved([state for state, _ in drawn], [fields for _, fields in drawn], chance, accepted)


class _Trips:
    """Follows each state up and down the ladder, and counts its returns to the first rung from the last."""

    def __init__(self, rungs: int, chains: int, device: torch.device):
        # 0: has not been at the first rung yet; 1: was there; 2: went on from there to the last one
        self.stage = torch.zeros(rungs, chains, dtype=torch.int64, device=device)
        self.count = torch.zeros(chains, dtype=torch.int64, device=device)
        self._mark_ends()

    def follow(self, accepted: Tensor) -> None:
        """The swaps of one :func:`step`: the even pairs took place before the odd ones."""
        for i in [i for first in (0, 1) for i in range(first, len(accepted), 2)]:
            low, high = self.stage[i].clone(), self.stage[i + 1].clone()
            self.stage[i], self.stage[i + 1] = torch.where(accepted[i], high, low), torch.where(accepted[i], low, high)
        self._mark_ends()

    def _mark_ends(self) -> None:
        self.count += self.stage[0] == 2
        self.stage[0] = 1
        self.stage[-1] = torch.where(self.stage[-1] == 1, 2, self.stage[-1])


# ------------------------------------------------------------------ where to put the rungs


def choose_betas(
    machine: BoltzmannMachine,
    rungs: int | None = None,
    *,
    acceptance: float = 0.5,
    chains: int = 100,
    steps: int = 200,
    rounds: int = 6,
    random_state: RandomState = 0,
) -> list[float]:
    """Inverse temperatures at which all pairs of neighbours swap about equally often.

    The shares of refused swaps add up along the ladder to a barrier Λ(β) that hardly depends on where the rungs stand, so rungs at equal
    steps of Λ are refused equally often (Syed et al. 2022). Λ is measured by running a ladder, the rungs are moved, and so on, ``rounds``
    times.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model; its base rates are the first rung.
    rungs : int, optional
        Number of inverse temperatures; by default as many as ``acceptance`` takes, at most 200.
    acceptance : float
        Mean probability of a swap to aim at where ``rungs`` is not given. At ½ a ladder carries most for its cost.
    chains, steps, rounds : int
        Ladders side by side, moves in each round (its first half is not counted), and rounds.
    random_state : int, Stream or numpy generator
        The same value gives the same temperatures.

    Returns
    -------
    list of float
        From 0.0 to 1.0, rising. Modes that no chain has met do not count: see how :func:`run` fares on them.

    Examples
    --------
    >>> machine = BoltzmannMachine.from_arrays([np.full((6, 4), 6.0)], [np.full(6, -12.0), np.full(4, -18.0)])
    >>> betas = choose_betas(machine, rungs=6, steps=40, rounds=4)
    >>> _, info = run(ladder(machine, betas), steps=100)
    >>> bool(info.acceptance.max() - info.acceptance.min() < 0.1)
    True
    """
    if rungs is not None and (isinstance(rungs, bool) or not isinstance(rungs, numbers.Integral) or rungs < 2):
        raise ValueError(f"rungs={rungs!r}: expected a whole number of inverse temperatures, 2 or more")
    if not 0 < acceptance < 1:
        raise ValueError(f"acceptance={acceptance!r}: expected a number between 0 and 1")
    for name, value in {"steps": steps, "rounds": rounds}.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(f"{name}={value!r}: expected a whole number, 1 or more")
    stream = as_stream(random_state)
    betas = torch.linspace(0, 1, rungs or _FIRST_RUNGS, dtype=torch.float64).tolist()
    states = start(ladder(machine, betas), chains, stream.child("start"))
    for number in range(rounds):
        key, here = stream.child("round", number), ladder(machine, betas)
        states, _ = run(here, (steps + 1) // 2, states=states, random_state=key.child("settle"))
        states, info = run(here, (steps + 1) // 2, states=states, random_state=key.child("count"))
        before, betas = betas, _even(betas, info.acceptance.cpu().numpy(), rungs, acceptance)
        nearest = [min(range(len(before)), key=lambda i, beta=beta: abs(before[i] - beta)) for beta in betas]  # type: ignore[misc]
        states = [states[i] for i in nearest]
    return betas


def _even(betas: Sequence[float], acceptance: np.ndarray[Any, Any], rungs: int | None, aim: float) -> list[float]:
    """The same barrier in equal parts."""
    refused = np.clip(1.0 - acceptance, 1e-6, None)  # a barrier that rises everywhere can be inverted
    barrier = np.concatenate([[0.0], np.cumsum(refused)])
    count = rungs or min(max(math.ceil(barrier[-1] / (1 - aim)), 1) + 1, MAX_RUNGS)
    inner = PchipInterpolator(barrier, betas)(np.linspace(0.0, barrier[-1], count))[1:-1]
    return [0.0, *(float(beta) for beta in inner), 1.0]


# ------------------------------------------------------------------ checks


def _checked(rungs: Sequence[Rung]) -> list[Rung]:
    """The rungs as such, of machines with the same layers."""
    checked = [Rung(*rung) for rung in rungs]
    if len(checked) < 2:
        raise ValueError(f"rungs: {len(checked)} came; a ladder needs at least two, such as ladder(machine, 10)")
    first = checked[0].machine
    for i, (machine, beta) in enumerate(checked):
        if not isinstance(machine, BoltzmannMachine) or isinstance(beta, bool) or not 0 <= beta <= 1:
            raise ValueError(f"rungs[{i}]: expected a BoltzmannMachine and an inverse temperature from 0 to 1, found {machine!r}, {beta!r}")
        sizes = [{name: m.units(name).size for name in m.layers} for m in (first, machine)]
        if sizes[0] != sizes[1] or machine.colours != first.colours:
            raise ValueError(f"rungs[{i}]: its machine has the layers {sizes[1]}, the first one's has {sizes[0]}; all need the same")
    return checked


def _states(rungs: Sequence[Rung], states: Sequence[Mapping[str, Any]]) -> list[dict[str, Tensor]]:
    if len(states) != len(rungs):
        raise ValueError(f"states: {len(states)} came for {len(rungs)} rungs; expected one for each")
    values = [rung.machine.as_state(state) for rung, state in zip(rungs, states, strict=True)]
    rows = [_rows([state]) for state in values]
    if len(set(rows)) > 1:
        raise ValueError(f"states: every rung needs the same number of rows, found {rows}")
    return values


def _rows(states: Sequence[State]) -> int:
    return len(next(iter(states[0].values())))
