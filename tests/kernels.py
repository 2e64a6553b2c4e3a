"""Checks of the samplers against enumerated transition matrices: what the samplers' own tests and
the planted bugs both run.

The truths come from :func:`exact.energy` alone: a conditional is exp(−E) over the states of one
colour, normalised; a marginal is its sum
over the other colour. A check raises an ``AssertionError``. The statistical ones draw 200,000
chains from one state and hold their counts
to the row of the matrix by a G-test: a sound sampler fails once in a million, and a row that is off
by 3 % of each probability (a
χ²-distance of 9e-4, so 180 above the mean of a statistic whose standard deviation is 45 for a
thousand states) is caught nearly always.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import special, stats

import refinements
from equilibria.inference import completion, exact, gibbs, ladder, partition
from equilibria.inference.clamp import Held, parse, take
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.units import Bernoulli, Categorical, Spin
from exact import Array, clamps_of, energy, joint_states, machine_of

ALARM = 1e-6
CHAINS = 200_000

# ------------------------------------------------------------------ states and truths


def colour_states(
    machine: BoltzmannMachine, colour: int, held: Mapping[str, Held]
) -> dict[str, torch.Tensor]:
    """The states of one colour that agree with a clamp of one row."""
    states = {
        n: torch.from_numpy(x)
        for n, x in joint_states(machine, list(machine.colours[colour])).items()
    }
    keep = torch.ones(len(next(iter(states.values()))), dtype=torch.bool)
    for name, x in states.items():
        if name in held:
            observed = (
                torch.ones_like(x, dtype=torch.bool) if held[name].mask is None else held[name].mask
            )
            keep &= ((held[name].values == x) | ~observed).all(1)
    return {name: x[keep] for name, x in states.items()}


def count(states: Mapping[str, torch.Tensor]) -> int:
    return len(next(iter(states.values())))


def transition(
    machine: BoltzmannMachine,
    colour: int,
    given: Mapping[str, torch.Tensor],
    to: Mapping[str, torch.Tensor],
    held: Mapping[str, Held],
    beta: float,
) -> Array:
    """P(colour = to[j] | other colour = given[i]) by the machine's fields and the units' means,
    (states given, states to)."""
    p = torch.ones(count(given), count(to), dtype=torch.float64)
    for name in machine.colours[colour]:
        mean = machine.units(name).mean(machine.field(name, given, beta))
        if isinstance(machine.units(name), Spin):
            mean = 0.5 * (1 + mean)
        cell = (
            mean[:, None] * to[name]
            if not isinstance(machine.units(name), Bernoulli | Spin)
            else None
        )
        if cell is None:
            cell = torch.where(to[name] == 1, mean[:, None], 1 - mean[:, None])
        else:
            cell = torch.where(
                to[name] == 1, cell, torch.ones_like(cell)
            )  # a group's one-hot column is its only factor
        if name in held:
            mask = held[name].mask
            cell = torch.where(
                torch.ones_like(cell, dtype=torch.bool) if mask is None else mask,
                torch.ones_like(cell),
                cell,
            )
        p = p * cell.prod(-1)
    return p.numpy()


def log_joint(
    machine: BoltzmannMachine,
    zero: Mapping[str, torch.Tensor],
    one: Mapping[str, torch.Tensor],
    beta: float,
) -> Array:
    """−E over (state of colour 0, state of colour 1), enumerated."""
    n0, n1 = count(zero), count(one)
    state = {
        **{n: x.repeat_interleave(n1, 0) for n, x in zero.items()},
        **{n: x.repeat(n0, 1) for n, x in one.items()},
    }
    return -energy(machine, {n: x.numpy() for n, x in state.items()}, beta).reshape(n0, n1)


def joint(
    machine: BoltzmannMachine,
    zero: Mapping[str, torch.Tensor],
    one: Mapping[str, torch.Tensor],
    beta: float,
) -> Array:
    """The enumerated π over (state of colour 0, of colour 1) of what agrees with the clamp."""
    logs = log_joint(machine, zero, one, beta)
    p = np.exp(logs - logs.max())
    return p / p.sum()


def number(x: Mapping[str, torch.Tensor], states: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Which of the states each row is, by its columns as a binary number; −1 for none."""
    digits = (torch.cat([states[n] for n in states], 1) > 0).long()
    code = 2 ** torch.arange(digits.shape[1])
    table = torch.full((2 ** digits.shape[1],), -1)
    table[digits @ code] = torch.arange(len(digits))
    return table[(torch.cat([x[n] for n in states], 1) > 0).long() @ code]


def follow(cell: torch.Tensor, row: Array) -> None:
    """The G-test of drawn cells against their probabilities; cells due fewer than 5 draws are taken
    as one."""
    assert int(cell.min()) >= 0, "a draw is outside the states that it may be in"
    counts, expected = np.bincount(cell.numpy(), minlength=row.size), row.ravel() * len(cell)
    assert not counts[row.ravel() == 0].any(), "a draw is in a state of no probability"
    common = expected > 5.0
    counted, due = (
        np.append(counts[common], counts[~common].sum()),
        np.append(expected[common], expected[~common].sum()),
    )
    counted, due = (counted, due) if due[-1] > 5.0 else (counted[:-1], due[:-1])
    assert (
        stats.power_divergence(
            counted, due * (counted.sum() / due.sum()), lambda_="log-likelihood"
        ).pvalue
        > ALARM
    )


def repeated(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One state for all chains."""
    return {name: x.expand(CHAINS, -1) for name, x in state.items()}


def widened(held: Mapping[str, Held], rows: int = CHAINS) -> dict[str, Held]:
    """The one row of a clamp for all chains."""

    def wide(x: torch.Tensor | None) -> torch.Tensor | None:
        return None if x is None else x.expand(rows, -1)

    return {
        name: Held(h.values.expand(rows, -1), wide(h.mask), wide(h.variables))
        for name, h in held.items()
    }


# ------------------------------------------------------------------ block Gibbs


def clamp_row(shape: str, clamp: str | None, row: int = 2) -> dict[str, Held]:
    return (
        {}
        if clamp is None
        else take(parse(machine_of(shape), clamps_of(shape)[clamp]), slice(row, row + 1))
    )


@torch.no_grad()
def gibbs_kernel(shape: str, beta: float = 1.0, clamp: str | None = None) -> None:
    """The kernel of the machine's fields and the units' means is that of the energies, and π P = π,
    to 1e-10."""
    machine, held = machine_of(shape), clamp_row(shape, clamp)
    zero, one = colour_states(machine, 0, held), colour_states(machine, 1, held)
    pi = joint(machine, zero, one, beta)
    first, second = (
        transition(machine, 0, one, zero, held, beta),
        transition(machine, 1, zero, one, held, beta),
    )
    assert np.abs(first - (pi / pi.sum(0)).T).max() < 1e-10
    assert np.abs(second - pi / pi.sum(1, keepdims=True)).max() < 1e-10
    assert np.abs((pi.sum(0) @ first)[:, None] * second - pi).max() < 1e-10


@torch.no_grad()
def gibbs_draws(shape: str, beta: float = 1.0, clamp: str | None = None, steps: int = 1) -> None:
    """Sweeps by :func:`gibbs.run` from one state follow the row of Pⁿ, clamped cells at their
    values."""
    machine, held = machine_of(shape), clamp_row(shape, clamp)
    zero, one = colour_states(machine, 0, held), colour_states(machine, 1, held)
    pi = joint(machine, zero, one, beta)
    first, second = (pi / pi.sum(0)).T, pi / pi.sum(1, keepdims=True)
    row = first[-1]
    for _ in range(steps - 1):
        row = row @ second @ first
    start = repeated({n: x[-1:] for n, x in {**zero, **one}.items()})
    drawn = gibbs.run(machine, start, steps, Stream(5).child(shape), widened(held), beta)
    at = number(drawn, zero), number(drawn, one)
    assert min(int(x.min()) for x in at) >= 0, "a clamped cell was redrawn"
    follow(at[0] * second.shape[1] + at[1], row[:, None] * second)


class Extreme(Stream):
    """A stream whose every uniform number is 0, the one that decides between < and ≤."""

    def centred(
        self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: Any = "cpu"
    ) -> torch.Tensor:
        return torch.full(tuple(shape), -0.5, dtype=dtype, device=device)

    def child(self, *names: str | int) -> Stream:
        return self


@torch.no_grad()
def draws_at_the_edge() -> None:
    """What has probability 0 does not happen and what has probability 1 does, when the uniform
    number is 0."""
    certain = torch.tensor([[-1e4, 1e4]], dtype=torch.float64)
    assert Bernoulli(2).sample(certain, Extreme(0)).tolist() == [[0.0, 1.0]]
    assert Spin(2).sample(certain, Extreme(0)).tolist() == [[-1.0, 1.0]]
    assert Categorical([3]).sample(
        torch.tensor([[-1e4, 1e4, -1e4]], dtype=torch.float64), Extreme(0)
    ).tolist() == [[0.0, 1.0, 0.0]]


@torch.no_grad()
def cooled_law(shape: str, clamp: str | None = None, rows: int = 20_000) -> None:
    """Chains by :func:`gibbs.anneal` have the enumerated law of all joint states.

    The G-test sees an end at β = 0.9, a forgotten clamp, or one stream for all steps.
    """
    machine, held = machine_of(shape), clamp_row(shape, clamp)
    zero, one = colour_states(machine, 0, held), colour_states(machine, 1, held)
    pi = joint(machine, zero, one, 1.0)
    drawn = gibbs.anneal(machine, rows, 200, 3, widened(held, rows))
    follow(number(drawn, zero) * pi.shape[1] + number(drawn, one), pi)


@torch.no_grad()
def cooled_shares(rows: int = 20_000) -> None:
    """Two modes that plain chains hardly leave, .814 and .186 of the mass by enumeration.

    The share of 20,000 independent chains has a standard error of .003; cooling in 1,000 steps
    leaves .042 between it and
    the truth, so that .06 is 6 of them away. Plain chains are .18 away, and chains cooled in 200
    steps .085.
    """
    size, weight, tilt = 5, 2.0, 0.15
    bias = torch.full((size,), -weight * size / 2 + tilt).double()
    machine = BoltzmannMachine.from_arrays(
        [torch.full((size, size), weight).double()], [bias, bias.clone()]
    )
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=size))).double()
    law = exact.log_prob(machine, {"visible": states}).exp()
    truth = float(law[states.sum(1) > size / 2].sum())

    def off(state: dict[str, torch.Tensor]) -> float:
        return abs(float((state["visible"].sum(1) > size / 2).double().mean()) - truth)

    assert off(gibbs.anneal(machine, rows, 1000, 1)) < 0.06
    plain = gibbs.run(machine, gibbs.start(machine, rows, 1), 400, 2)
    assert off(plain) > 0.15, "the machine no longer tells annealed chains from plain ones"


@torch.no_grad()
def alike_means(shape: str, clamp: str, sweeps: int = 20) -> None:
    """Conditional means by chains with the same draws in every row: enumerated ones, the same for
    rows that are alike.

    A mean over 3,000 independent chains of numbers whose range is at most 2 has a standard error of
    .018 at most, however slowly each
    chain moves: five and a half of them are a false alarm in a million, over a dozen cells. One
    chain over and over is off by more.
    """
    machine, held = tiny(shape, 1), tiny_clamp(shape, clamp)
    means = completion.conditional_means(
        machine, widened(held, 3), sweeps=sweeps, chains=3000, alike=True
    )
    machine = copy.deepcopy(machine).requires_grad_(True)
    with torch.enable_grad():
        slopes = torch.autograd.grad(
            exact.log_sum(machine, held).sum(), list(machine.bias.values())
        )
    truth = dict(zip(machine.bias, slopes, strict=True))
    for name, mean in means.items():
        assert torch.equal(mean[0], mean[1])
        assert torch.equal(mean[0], mean[2])
        assert float((machine.units(name).signal(mean)[0] - truth[name]).abs().max()) < 0.1


# ------------------------------------------------------------------ ladders

_TINY: dict[str, Callable[[], BoltzmannMachine]] = {
    "slim": lambda: BoltzmannMachine.stack(Bernoulli(2), Bernoulli(1)),
    "rbm": lambda: BoltzmannMachine.stack(Bernoulli(2), Bernoulli(2)),
    "dbm": lambda: BoltzmannMachine.stack(Bernoulli(2), Bernoulli(2), Bernoulli(1)),
    "softmax": lambda: BoltzmannMachine.stack(Categorical([3]), Bernoulli(2)),
    "label": lambda: BoltzmannMachine.stack(Bernoulli(2), Categorical([3]), Categorical([2])),
    "spin": lambda: BoltzmannMachine.stack(Spin(2), Bernoulli(1), Spin(1)),
}
TINY = tuple(_TINY)


@functools.cache
def tiny(shape: str, seed: int) -> BoltzmannMachine:
    machine = _TINY[shape]().double()
    generator = np.random.default_rng([seed, TINY.index(shape)])
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.copy_(torch.from_numpy(generator.normal(0.0, 1.5, parameter.shape)))
        for name in machine.layers:
            machine.base(name).copy_(
                torch.from_numpy(generator.normal(0.0, 0.7, machine.bias[name].shape))
            )
    return machine.requires_grad_(False)


def replicas_of(kind: str, shape: str) -> list[ladder.Replica]:
    """A small ladder: of temperatures, or of a machine's base rates, an earlier machine and the
    machine itself."""
    now, before = tiny(shape, 1), tiny(shape, 2)
    ladders = {
        "temperatures": [(now, 0.3), (now, 1.0)],
        "base": [(now, 0.0), (now, 1.0)],
        "snapshot": [(before, 1.0), (now, 1.0)],
        "three temperatures": [(now, 0.0), (now, 0.4), (now, 1.0)],
        "trajectory": [(now, 0.0), (before, 1.0), (now, 1.0)],
    }
    return [ladder.Replica(*replica) for replica in ladders[kind]]


def tiny_clamp(shape: str, clamp: str | None) -> dict[str, Held]:
    """One row: a cell of the first layer, the last layer whole, or a cell of the first layer of
    ``colours[1]``."""
    machine = tiny(shape, 1)
    names = list(machine.layers)
    if clamp is None:
        return {}
    if clamp == "whole":
        return parse(
            machine,
            {names[-1]: machine.units(names[-1]).state_at(torch.tensor([1]), torch.float64)},
        )
    name = names[0] if clamp == "masked" else names[1]
    values = machine.units(name).state_at(torch.tensor([1]), torch.float64)
    mask = torch.zeros_like(values, dtype=torch.bool)
    mask[:, :1] = True
    return parse(machine, {name: (values, mask)})


class Product:
    """The enumerated product of a ladder's replicas; a product state has a number, in which the
    last replica turns fastest."""

    def __init__(self, replicas: Sequence[ladder.Replica], held: Mapping[str, Held]):
        machine = replicas[0].machine
        self.replicas, self.held = replicas, held
        states = [colour_states(machine, colour, held) for colour in (0, 1)]
        sizes = [count(colour_states(machine, colour, {})) for colour in (0, 1)]
        turned = sizes[1] < sizes[0]  # the colour with fewer states swaps
        self.kept, self.summed = states[::-1] if turned else states
        logs = [log_joint(replica.machine, *states, replica.beta) for replica in replicas]
        logs = [log.T for log in logs] if turned else logs
        self.pi = [special.softmax(log) for log in logs]  # (kept, summed)
        self.log_marginal = [special.logsumexp(log, axis=1) for log in logs]
        self.index = np.indices([count(self.kept)] * len(replicas)).reshape(
            len(replicas), -1
        )  # (replicas, product states) of the kept colour

    def states(self, other: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        """Every product state of the kept colour as a row, with a fixed state of the summed one on
        each replica."""
        rows = self.index.shape[1]
        return [
            {
                **{n: x[i] for n, x in self.kept.items()},
                **{n: x[b : b + 1].expand(rows, -1) for n, x in self.summed.items()},
            }
            for i, b in zip(self.index, other, strict=True)
        ]

    @property
    def marginal(self) -> Array:
        """The product of the replicas' marginals of the kept colour."""
        return functools.reduce(np.multiply.outer, [pi.sum(1) for pi in self.pi]).ravel()

    def chance(self, pair: int) -> Array:
        """The true probability of a swap from every product state."""
        low, high = self.index[pair], self.index[pair + 1]
        a, b = self.log_marginal[pair], self.log_marginal[pair + 1]
        return np.exp(np.minimum(0.0, a[high] + b[low] - a[low] - b[high]))

    def swapped(self, pair: int) -> Array:
        """Where one pair's swap leads from every product state."""
        swapped = self.index.copy()
        swapped[[pair, pair + 1]] = swapped[[pair + 1, pair]]
        return np.ravel_multi_index(tuple(swapped), [count(self.kept)] * len(self.replicas))

    def swaps(self, chance: Array, pair: int) -> Array:
        """The matrix of one pair's swap, given its probability from every product state."""
        to = self.swapped(pair)
        matrix = np.diag(1.0 - chance)
        np.add.at(matrix, (np.arange(len(to)), to), chance)
        return matrix

    def complete(self, row: Array) -> Array:
        """A law of the kept colour's product states together with the summed colour given them, (of
        the one, of the other)."""
        second = [pi / pi.sum(1, keepdims=True) for pi in self.pi]
        given = [
            functools.reduce(
                np.multiply.outer, [k[i] for k, i in zip(second, at, strict=True)]
            ).ravel()
            for at in self.index.T
        ]
        return row[:, None] * np.array(given)

    def follow(self, states: Sequence[Mapping[str, torch.Tensor]], row: Array) -> None:
        """The G-test of drawn product states."""
        cell = torch.zeros(len(next(iter(states[0].values()))), dtype=torch.int64)
        for table in (self.kept, self.summed):
            for state in states:
                at = number(state, table)
                assert int(at.min()) >= 0, "a clamped cell was redrawn"
                cell = cell * count(table) + at
        follow(cell, self.complete(row))


@torch.no_grad()
def swap_chance(kind: str, shape: str, clamp: str | None = None) -> None:
    """Each pair's swap has the true probability from every product state, and π S = π with detailed
    balance for the first one, to 1e-10."""
    held = tiny_clamp(shape, clamp)
    product = Product(replicas_of(kind, shape), held)
    rows = product.index.shape[1]
    wide = widened(held, rows)
    states = product.states([0] * len(product.replicas))
    moved = ladder.exchange(product.replicas, states, Stream(1), wide)
    found, at = moved.chance.numpy(), np.arange(rows)
    matrix, pi = product.swaps(found[0], 0), product.marginal
    assert np.abs(pi @ matrix - pi).max() < 1e-10
    assert np.abs(pi[:, None] * matrix - (pi[:, None] * matrix).T).max() < 1e-10
    for pair in range(len(product.replicas) - 1):  # of three replicas, where the first swap led
        assert np.abs(found[pair] - product.chance(pair)[at]).max() < 1e-10
        at = np.where(moved.accepted[pair].numpy(), product.swapped(pair)[at], at)


def _middling(product: Product) -> int:
    """The product state whose swaps are the least sure."""
    pairs = range(len(product.replicas) - 1)
    doubt = sum(np.abs(product.chance(pair) - 0.5) for pair in pairs)
    same = sum((product.index[pair] == product.index[pair + 1]).astype(float) for pair in pairs)
    return int(np.argmin(doubt + same))


@torch.no_grad()
def swap_draws(kind: str, shape: str, clamp: str | None = None) -> None:
    """Swaps from one product state, the summed colour unlikely at first, follow the row: even
    pairs, odd pairs, that colour drawn."""
    held = tiny_clamp(shape, clamp)
    product = Product(replicas_of(kind, shape), held)
    at = _middling(product)
    unlikely = [
        int(np.argmin(pi[i])) for pi, i in zip(product.pi, product.index[:, at], strict=True)
    ]
    states = [
        repeated({n: x[at : at + 1] for n, x in state.items()})
        for state in product.states(unlikely)
    ]
    row = np.zeros(len(product.marginal))
    row[at] = 1.0
    moved = ladder.exchange(
        product.replicas, states, Stream(6).child(kind, shape), held=widened(held)
    )
    product.follow(moved.states, row @ _both(product))


@torch.no_grad()
def step_draws(kind: str, shape: str, clamp: str | None = None) -> None:
    """Whole moves from one product state follow the row of P on the product space, and the law that
    P was built of has π P = π."""
    held = tiny_clamp(shape, clamp)
    product = Product(replicas_of(kind, shape), held)
    at = [int(np.argmax(pi.sum(0))) for pi in product.pi]
    row = functools.reduce(
        np.multiply.outer, [pi[:, b] / pi[:, b].sum() for pi, b in zip(product.pi, at, strict=True)]
    ).ravel()
    states = [repeated({n: x[:1] for n, x in state.items()}) for state in product.states(at)]
    moved = ladder.step(product.replicas, states, Stream(7).child(kind, shape), widened(held))
    product.follow(moved.states, row @ _both(product))
    assert np.abs(product.marginal @ _both(product) - product.marginal).max() < 1e-12


def _both(product: Product) -> Array:
    """The even pairs' swaps, then the odd ones'."""
    matrix = np.eye(len(product.marginal))
    pairs = range(len(product.replicas) - 1)
    for pair in [*pairs[::2], *pairs[1::2]]:
        matrix = matrix @ product.swaps(product.chance(pair), pair)
    return matrix


def pair_acceptance(machine: BoltzmannMachine, betas: list[float]) -> Array:
    """The mean probability of a swap between neighbours, all at their own distributions:
    enumerated."""
    zero, one = colour_states(machine, 0, {}), colour_states(machine, 1, {})
    logs = [
        special.logsumexp(log_joint(machine, zero, one, beta), axis=int(count(zero) <= count(one)))
        for beta in betas
    ]
    found = []
    for a, b in itertools.pairwise(logs):
        p, q = special.softmax(a), special.softmax(b)
        ratio = (
            a[None, :] + b[:, None] - a[:, None] - b[None, :]
        )  # (state of the lower replica, state of the upper one)
        found.append((p[:, None] * q[None, :] * np.exp(np.minimum(ratio, 0.0))).sum())
    return np.array(found)


@torch.no_grad()
def swap_at_the_edge() -> None:
    """A swap of no probability does not take place, when the uniform number is 0."""
    machine = BoltzmannMachine.from_arrays([np.zeros((1, 1))], [np.full(1, 1e308), np.zeros(1)])
    states = [
        {"visible": torch.full((1, 1), x).double(), "hidden1": torch.zeros(1, 1).double()}
        for x in (0.0, 1e3)
    ]
    moved = ladder.exchange(
        [ladder.Replica(machine, 0.0), ladder.Replica(machine, 1.0)], states, Extreme(0)
    )
    assert moved.chance.tolist() == [[0.0]]
    assert moved.accepted.tolist() == [[False]]


@torch.no_grad()
def exact_draws(
    machine: BoltzmannMachine, rows: int, stream: Stream, beta: float = 1.0
) -> dict[str, torch.Tensor]:
    """Exact draws at β: the smaller colour by its enumerated marginal, the other one given it."""
    kept = ladder.kept_colour(machine)
    counts = [machine.units(name).states or 0 for name in machine.colours[kept]]
    index, every = torch.arange(int(np.prod(counts))), {}
    for name, states in zip(machine.colours[kept], counts, strict=True):
        every[name] = machine.units(name).state_at(index % states, machine.dtype)
        index = index // states
    shares = torch.softmax(machine.log_marginal(kept, every, beta), 0).cumsum(0)
    uniform = stream.uniform((rows,), torch.float64)
    chosen = torch.searchsorted(shares, uniform).clamp(max=len(shares) - 1)
    state = {name: values[chosen] for name, values in every.items()}
    other, _ = gibbs.block(machine, 1 - kept, state, stream.child("other"), beta=beta)
    return {**state, **other}


@torch.no_grad()
def annealed_weights() -> None:
    """Weights of 6,000 nats that chains do not enter are exact to 1e-8, through 500 temperatures.

    The couplings are 0 and the kept layer has its base rates, so each weight is the ratio of the
    summed layer's closed forms, telescoped. Sums in single precision are off by 1e-4.
    """
    machine = BoltzmannMachine.stack(Bernoulli(2), Bernoulli(300)).double()
    generator = np.random.default_rng(0)
    machine.bias["hidden1"].copy_(torch.from_numpy(generator.uniform(10.0, 30.0, 300)))
    start = gibbs.start(machine, 10, Stream(0))
    betas = partition.schedule(500)
    logs = partition.annealed(machine, betas, start, Stream(1)) + partition.base_log_partition(
        machine
    )
    truth = 2 * np.log(2) + np.logaddexp(0, machine.bias["hidden1"].numpy()).sum()
    assert float((logs - truth).abs().max()) < 1e-8


# ------------------------------------------------------------------ their names


def _named(check: Callable[..., None], *cases: tuple[Any, ...]) -> dict[str, Callable[[], None]]:
    return {
        f"{check.__name__}({', '.join(map(str, case))})": functools.partial(check, *case)
        for case in cases
    }


CHECKS: dict[str, Callable[[], None]] = {
    **_named(gibbs_kernel, *itertools.product(("rbm", "dbm"), (1.0, 0.5), (None,))),
    **_named(gibbs_kernel, ("softmax", 1.0, "masked"), ("label", 0.5), ("spin", 1.0, "masked")),
    **_named(gibbs_draws, *itertools.product(("rbm", "spin"), (1.0, 0.5), (None,))),
    **_named(gibbs_draws, ("dbm", 1.0, None), ("softmax", 1.0, None), ("rbm", 1.0, "masked")),
    **_named(gibbs_draws, ("softmax", 0.5, "masked"), ("label", 1.0, None)),
    **_named(gibbs_draws, ("rbm", 1.0, None, 2), ("dbm", 1.0, "several", 2)),
    **_named(draws_at_the_edge, ()),
    **_named(cooled_law, ("rbm",), ("dbm4", "masked"), ("softmax",), ("spin", "masked")),
    **_named(cooled_shares, ()),
    **_named(alike_means, ("rbm", "masked"), ("dbm", "whole"), ("label", "masked")),
    **_named(alike_means, ("spin", "masked"), ("spin", "whole", 4)),
    **_named(swap_chance, *zip(itertools.cycle(("temperatures", "snapshot")), TINY, strict=False)),
    **_named(swap_chance, ("temperatures", "rbm"), ("snapshot", "rbm"), ("base", "rbm")),
    **_named(swap_chance, ("three temperatures", "slim"), ("trajectory", "softmax")),
    **_named(swap_chance, *itertools.product(("temperatures", "snapshot"), ("rbm",), ("second",))),
    **_named(swap_chance, ("temperatures", "dbm", "whole"), ("snapshot", "dbm", "masked")),
    **_named(swap_draws, *zip(itertools.cycle(("snapshot", "temperatures")), TINY, strict=False)),
    **_named(swap_draws, ("three temperatures", "rbm"), ("trajectory", "slim")),
    **_named(swap_draws, ("temperatures", "dbm", "masked"), ("snapshot", "rbm", "second")),
    **_named(step_draws, ("temperatures", "rbm"), ("base", "dbm"), ("snapshot", "label")),
    **_named(step_draws, ("three temperatures", "rbm"), ("trajectory", "slim")),
    **_named(step_draws, ("temperatures", "dbm", "masked")),
    **_named(swap_at_the_edge, ()),
    **_named(annealed_weights, ()),
    **_named(refinements.rejection, (2,)),
    **_named(refinements.chains, (1,), (2,)),
    **_named(refinements.choice, (2,)),
    **_named(refinements.langevin_moves, (0.6,)),
    **_named(refinements.langevin_mixed, ()),
    **_named(refinements.langevin_coins, ()),
}
"""Every check by name, such as ``swap_draws(temperatures, rbm)``."""
