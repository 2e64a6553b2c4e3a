"""Adversarial play by several processes, as threads that wait for each other: all solvers follow
one process that sees every row."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from itertools import repeat

import pytest
import torch
from torch import Tensor, nn

from equilibria.data.batches import Batch
from equilibria.games.adversarial import AdversarialGame
from equilibria.models.generator import Generator
from equilibria.networks.mlp import MLP
from equilibria.random import Stream
from equilibria.solvers import SOLVERS, Optimiser, Simultaneous
from equilibria.training.distributed import Processes
from equilibria.training.stage import Stage
from equilibria.training.trainer import Trainer

ROWS = Stream(0).normal((12, 3), torch.float64)
LABEL = Stream(0).child("label").integers((12,), 2)


class Together:
    """Averages lists of tensors over threads."""

    def __init__(self, world: int):
        self.lists: list[list[Tensor]] = [[] for _ in range(world)]
        self.all_here = threading.Barrier(world, timeout=60)

    def reduce(self, rank: int) -> Callable[[list[Tensor]], None]:
        def average(tensors: list[Tensor]) -> None:
            self.lists[rank] = tensors
            self.all_here.wait()
            means = [torch.stack(same).mean(0) for same in zip(*self.lists, strict=True)]
            self.all_here.wait()
            for tensor, mean in zip(tensors, means, strict=True):
                tensor.copy_(mean)

        return average


def game(critic: nn.Module | None = None, generator: nn.Module | None = None) -> AdversarialGame:
    """Pairs, packs, every penalty and noise: all that could look at another row."""
    generator = MLP((4, 6, 3), stream=Stream(1)) if generator is None else generator
    critic = MLP((2 * 5, 6, 1), stream=Stream(2)) if critic is None else critic
    penalties = {"r1": 1.0, "r2": 0.5, "gradient-penalty": 0.3}
    made = AdversarialGame(
        Generator(generator, 2, "mixed"),
        critic,
        "relativistic",
        penalties=penalties,
        fade=(0.1, 4),
        packing=2,
        instance_noise=0.2,
    )
    return made.double()


def play(
    made: AdversarialGame,
    name: str,
    rank: int,
    world: int,
    reduce: Callable[[list[Tensor]], None] | None,
) -> None:
    size, solver = (
        len(ROWS) // world,
        SOLVERS[name](Optimiser("sgd", 0.02, momentum=0.5), reduce=reduce),
    )
    share = slice(rank * size, (rank + 1) * size)
    batch = Batch(ROWS[share], condition=nn.functional.one_hot(LABEL[share], 2).double())
    for t in range(6):
        solver.step(made, repeat(batch), Stream(3).child(t).shard(rank), measure=False)


@torch.no_grad()
def distance(left: AdversarialGame, right: AdversarialGame) -> float:
    return max(
        float((a - b).abs().max())
        for a, b in zip(left.parameters(), right.parameters(), strict=True)
    )


@pytest.mark.parametrize(("name", "world"), [(name, 2 + i % 2) for i, name in enumerate(SOLVERS)])
def test_several_follow_one(name: str, world: int) -> None:
    one, together = game(), Together(world)
    several = [copy.deepcopy(one) for _ in range(world)]
    threads = [
        threading.Thread(
            target=play, args=(made, name, rank, world, together.reduce(rank)), daemon=True
        )
        for rank, made in enumerate(several)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    before = copy.deepcopy(one)
    play(one, name, 0, 1, None)
    assert distance(one, before) > 1e-3
    assert max(distance(one, made) for made in several) < 1e-12


def test_what_looks_across_rows_is_refused() -> None:
    critic = nn.Sequential(nn.BatchNorm1d(2 * 5), nn.Linear(2 * 5, 1))
    generator = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
    for across in (game(critic=critic), game(generator=generator)):
        stage = Stage("play", across, Simultaneous(Optimiser("sgd", 0.1)), None, 1)  # type: ignore[arg-type]
        said = r"looks across the rows of a batch .*each of 2 processes would show it its own share"
        with pytest.raises(ValueError, match=said):
            Trainer([stage], Stream(0), processes=Processes(0, 2))
        Trainer([stage], Stream(0))
