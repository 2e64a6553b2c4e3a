"""Tempered chains in the contrastive game: the moves of ``ladder``, the rule of the trajectory, and
a state that is all buffers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from equilibria.data import Batch
from equilibria.games.contrastive import ContrastiveGame, Phases
from equilibria.games.replicas import Snapshots
from equilibria.inference import gibbs, ladder
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.training.distributed import Processes
from equilibria.units import Bernoulli
from exact import clamps_of, machine_of, moments, paired

KINDS = ("tempered", "trajectory")
SIGMA = stats.norm.isf(1e-6 / 2)


def game_of(machine: BoltzmannMachine, negative: str, **options: Any) -> ContrastiveGame:
    levels = {"betas": 4} if negative == "tempered" else {"replicas": 3}
    return ContrastiveGame(
        machine, negative=negative, **{"chains": 6, "stream": Stream(3), **levels, **options}
    )


def with_snapshot(game: ContrastiveGame, earlier: BoltzmannMachine) -> ContrastiveGame:
    if game.snapshots is not None:
        game.snapshots.add(earlier)
    return game


def batch_of(shape: str) -> Batch:
    return Batch(clamps_of(shape)["whole"][next(iter(machine_of(shape).layers))])


def buffers(game: ContrastiveGame) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in game.named_buffers()}


# ------------------------------------------------------------------ the chains


@pytest.mark.parametrize(
    ("shape", "negative"), paired(("rbm", "softmax", "gaussian", "label"), KINDS, 1)
)
@torch.no_grad()
def test_a_draw_is_a_rounds_moves_of_the_ladder(shape: str, negative: str) -> None:
    """To the bit, for two rounds of two moves; and nothing but a draw moves a chain."""
    game = with_snapshot(
        game_of(machine_of(shape), negative, steps=2, centred=False), machine_of(shape, std=0.5)
    )
    machine, replicas = game.machine, game.replica_ladder()
    below = len(replicas) - 1
    states = [
        {n: getattr(game, f"replica_{n}")[:, i].clone() for n in machine.layers}
        for i in range(below)
    ]
    states.append({n: x.clone() for n, x in game.chains.items()})
    for turn in range(2):
        chance = torch.zeros(below, dtype=torch.float64)
        for step in range(2):
            moved = ladder.step(replicas, states, Stream(turn).child("sweep", step))
            states, chance = moved.states, chance + moved.chance.mean(1) / 2
        drawn = game.draw(batch_of(shape), Stream(turn))
        before = buffers(game)
        with torch.enable_grad():
            game.gradient("machine", drawn)
        game.cost("machine", drawn)
        game.measure(drawn)
        assert all(torch.equal(x, before[n]) for n, x in buffers(game).items())
        for name in machine.layers:
            assert torch.equal(game.chains[name], states[-1][name])
            assert all(
                torch.equal(getattr(game, f"replica_{name}")[:, i], states[i][name])
                for i in range(below)
            )
        assert torch.equal(drawn.acceptance, chance)
        kept = ladder.kept_colour(machine)
        for name in machine.colours[kept]:
            assert torch.equal(drawn.negative[name], states[-1][name])
        for name in machine.colours[1 - kept]:  # the mean given the machine's own replica
            mean = machine.units(name).mean(machine.field(name, states[-1]))
            assert torch.allclose(drawn.negative[name], mean, atol=1e-12)


@pytest.mark.parametrize("negative", KINDS)
@torch.no_grad()
def test_the_negative_phase_is_the_machines_own(negative: str) -> None:
    """20,000 ladders that have settled: every moment of the gradient within 4.9 standard errors of
    the enumerated one."""
    machine = machine_of("rbm", std=1.5)
    game = with_snapshot(
        game_of(machine, negative, chains=20_000, centred=False), machine_of("rbm", std=0.7)
    )
    for step in range(20):
        drawn = game.draw(batch_of("rbm"), Stream(8).child(step))
    v, h = drawn.negative["visible"], drawn.negative["hidden1"]
    truth = moments(machine)
    products = v[:, :, None] * h[:, None, :]
    for found, exact in (
        (v, "bias.visible"),
        (h, "bias.hidden1"),
        (products, "weight.visible-hidden1"),
    ):
        assert (
            float(((found.mean(0) - truth[exact]) / (found.std(0) / 20_000**0.5)).abs().max())
            < SIGMA
        )


@torch.no_grad()
def test_tempered_chains_leave_a_mode_that_persistent_ones_never_do() -> None:
    """All zeros and all ones weigh the same. From zeros, 400 chains: the share of ones within 4.9
    standard errors of ½."""
    machine = BoltzmannMachine.from_arrays(
        [np.full((6, 4), 6.0)], [np.full(6, -12.0), np.full(4, -18.0)]
    )
    shares = {}
    for negative, options in {"persistent": {}, "tempered": {"betas": 10}}.items():
        # type: ignore[arg-type]
        game = ContrastiveGame(machine, chains=400, negative=negative, **options)
        for name in machine.layers:
            getattr(game, f"chain_{name}").zero_()
        for step in range(80):
            game.draw(Batch(torch.ones(2, 6)), Stream(step))
        shares[negative] = float((game.chains["visible"].mean(1) > 0.5).double().mean())
    assert shares["persistent"] == 0.0
    assert abs(shares["tempered"] - 0.5) < SIGMA * 0.5 / 20


def test_the_machines_own_chains_start_where_persistent_ones_do() -> None:
    plain = ContrastiveGame(machine_of("dbm"), chains=6, stream=Stream(3))
    for negative in KINDS:
        game = game_of(machine_of("dbm"), negative)
        assert all(torch.equal(game.chains[n], x) for n, x in plain.chains.items())
        drawn = game.draw(batch_of("dbm"), Stream(0))
        names = dict(game.machine.named_parameters())
        assert [g.shape for g in game.gradient("machine", drawn)] == [
            p.shape for p in names.values()
        ]
        assert list(game.parameters_of("machine")) == list(
            game.machine.parameters()
        )  # no snapshot among them


# ------------------------------------------------------------------ the trajectory


def settled(game: ContrastiveGame, acceptance: list[float]) -> Phases:
    """One round that found this acceptance."""
    drawn = game.draw(batch_of("rbm"), Stream(1))
    assert drawn.acceptance is not None
    assert len(drawn.acceptance) == len(acceptance)
    return dataclasses.replace(drawn, acceptance=torch.tensor(acceptance, dtype=torch.float64))


@torch.no_grad()
def test_a_snapshot_is_taken_when_the_newest_no_longer_reaches_the_machine() -> None:
    game = game_of(machine_of("rbm"), "trajectory", overlap=0.3)
    machine, snapshots = game.machine, game.snapshots
    assert snapshots is not None
    game.settle(settled(game, [0.3]))
    assert [beta for _, beta in game.replica_ladder()] == [0.0, 1.0]
    drawn = settled(game, [0.29])
    assert (
        int(snapshots.used) == 0
    )  # a draw takes none: only what all processes have averaged decides
    game.settle(drawn)
    assert [beta for _, beta in game.replica_ladder()] == [0.0, 1.0, 1.0]
    for name in machine.layers:
        assert torch.equal(getattr(game, f"replica_{name}")[:, 1], game.chains[name])
    kept = [p.clone() for p in machine.parameters()]
    for p in machine.parameters():
        p.add_(1.0)
    taken = game.replica_ladder()[1].machine
    assert all(torch.equal(a, b) for a, b in zip(taken.parameters(), kept, strict=True))
    game.settle(settled(game, [0.0, 0.9]))  # only the newest one counts
    assert int(snapshots.used) == 1


@torch.no_grad()
def test_when_the_trajectory_is_full_the_one_goes_whose_neighbours_are_closest() -> None:
    """Snapshots 0, 1, 2 of acceptances .5 (base–0), .9 (0–1), .8 (1–2), .1 (2–machine): without 1
    the gap is narrowest, .72."""
    game = game_of(machine_of("rbm"), "trajectory")
    for number in range(3):
        for p in game.machine.parameters():
            p.fill_(float(number))
        game.settle(settled(game, [0.9] * number + [0.1]))
    for p in game.machine.parameters():
        p.fill_(3.0)
    drawn = settled(game, [0.5, 0.9, 0.8, 0.1])
    before = {n: getattr(game, f"replica_{n}").clone() for n in game.machine.layers}
    game.settle(
        dataclasses.replace(drawn, acceptance=torch.tensor([0.3, 0.3, 0.3, 0.2]))
    )  # .09 at best: that would help no one
    assert torch.equal(game.replica_ladder()[1].machine.bias["visible"], torch.zeros(5))
    game.settle(drawn)
    assert [
        float(next(replica.machine.parameters()).flatten()[0]) for replica in game.replica_ladder()
    ] == [3.0, 0.0, 2.0, 3.0, 3.0]
    for name, x in before.items():
        expected = torch.stack([x[:, 0], x[:, 1], x[:, 3], game.chains[name]], 1)
        assert torch.equal(getattr(game, f"replica_{name}"), expected)


def test_a_run_takes_snapshots_of_itself_and_goes_on_to_the_bit_from_its_state() -> None:
    """Training until the trajectory is full and thinned; a game that loads a state in the middle
    ends where the first one does."""

    def play(game: ContrastiveGame, rounds: range) -> None:
        for number in rounds:
            drawn = game.draw(
                Batch(torch.eye(2).repeat_interleave(3, 1).repeat(5, 1)), Stream(5).child(number)
            )
            with torch.no_grad():
                for parameter, slope in zip(
                    game.parameters_of("machine"), game.gradient("machine", drawn), strict=True
                ):
                    parameter.sub_(slope, alpha=0.5)
            game.settle(drawn)

    def fresh() -> ContrastiveGame:
        machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5), Bernoulli(3)).initialise(
            0, std=0.3
        )
        return ContrastiveGame(
            machine, chains=20, negative="trajectory", replicas=2, overlap=0.7, stream=Stream(1)
        )

    whole = fresh()
    play(whole, range(40))
    state = {name: x.clone() for name, x in whole.state_dict().items()}
    assert whole.snapshots is not None
    assert int(whole.snapshots.used) == 2
    play(whole, range(40, 80))
    assert not torch.equal(whole.snapshots.values, state["snapshots.values"])  # thinned since
    resumed = fresh()
    play(resumed, range(3))  # and what it was before does not matter
    resumed.load_state_dict(state)
    play(resumed, range(40, 80))
    found = resumed.state_dict()
    assert all(torch.equal(x, found[name]) for name, x in whole.state_dict().items())
    assert {name: x.shape for name, x in state.items()} == {
        name: x.shape for name, x in fresh().state_dict().items()
    }


# ------------------------------------------------------------------ processes, reports, refusals


@pytest.mark.parametrize(
    ("shape", "negative"), paired(("rbm", "softmax", "gaussian", "label"), KINDS, 1)
)
@torch.no_grad()
def test_two_processes_average_to_one(shape: str, negative: str) -> None:
    batch = batch_of(shape)
    whole, *halves = (
        with_snapshot(game_of(machine_of(shape), negative, chains=8), machine_of(shape, std=0.5))
        for _ in range(3)
    )
    together = whole.draw(batch, Stream(4))
    parts = []
    for rank, game in enumerate(halves):
        Processes(rank, 2).share(game)
        parts.append(game.draw(Batch(batch.values[2 * rank : 2 * rank + 2]), Stream(4).shard(rank)))
        for name in game.sharded:
            assert torch.allclose(
                getattr(game, name), getattr(whole, name)[4 * rank : 4 * rank + 4], atol=1e-12
            )
    for one, a, b in zip(
        whole.shared(together),
        *(g.shared(p) for g, p in zip(halves, parts, strict=True)),
        strict=True,
    ):
        assert torch.allclose(one, (a + b) / 2, atol=1e-12)
    slopes = [
        game.gradient("machine", drawn)
        for game, drawn in zip([whole, *halves], [together, *parts], strict=True)
    ]
    for one, a, b in zip(*slopes, strict=True):
        assert torch.allclose(one, (a + b) / 2, atol=1e-10)


@torch.no_grad()
def test_what_is_measured() -> None:
    for negative, extra in {
        "tempered": {"swap_acceptance"},
        "trajectory": {"swap_acceptance", "snapshots"},
        "persistent": set(),
    }.items():
        game = ContrastiveGame(machine_of("rbm"), chains=6, negative=negative)
        drawn = game.draw(batch_of("rbm"), Stream(0))
        measured = game.measure(drawn)
        assert (
            set(measured)
            == {"reconstruction", "contrast", "mean_field_change", "dead_units"} | extra
        )
        assert all(x.ndim == 0 for x in measured.values())
        if drawn.acceptance is not None:
            assert float(measured["swap_acceptance"]) == float(drawn.acceptance.min())


@torch.no_grad()
def test_snapshots_follow_their_values() -> None:
    """A move to another type or place in memory leaves no stale machine behind."""
    machine = machine_of("label").float()
    snapshots = Snapshots(machine, 2)
    snapshots.add(machine)
    assert torch.equal(snapshots.machines(machine)[0].bias["label"], machine.bias["label"])
    snapshots.double()
    (taken,) = snapshots.machines(machine.double())
    assert taken.dtype == torch.float64
    snapshots.values += 1.0
    assert all(
        torch.equal(a, b + 1.0)
        for a, b in zip(taken.parameters(), machine.parameters(), strict=True)
    )
    state = {n: x.clone() for n, x in gibbs.start(machine, 3).items()}
    assert torch.equal(
        taken.field("label", state), snapshots.machines(machine)[0].field("label", state)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"negative": "tempered", "betas": [0.2, 1.0]}, "rise from 0 to 1"),
        ({"negative": "tempered", "betas": 1}, "betas=1: expected a whole number, 2 or more"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ContrastiveGame(machine_of("rbm"), **options)
