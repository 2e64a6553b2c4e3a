"""One process among several: shares and gatherings, without starting any (see test_processes.py for
two real ones)."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

import plays
from equilibria.random import Stream
from equilibria.training.distributed import Processes, processes
from equilibria.training.trainer import Trainer


def test_without_torchrun_a_process_is_alone(monkeypatch):
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    assert processes() == Processes(0, 1)
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert processes() == Processes(0, 1)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.delenv("RANK")
    assert processes() == Processes(0, 1)
    assert not dist.is_initialized()


def test_alone_nothing_is_exchanged():
    alone, tensors = Processes(), [torch.arange(3.0), torch.ones(2, 2)]
    alone.average(tensors)
    assert torch.equal(tensors[0], torch.arange(3.0))
    assert torch.equal(tensors[1], torch.ones(2, 2))
    assert alone.mean({"a": 1.5}) == {"a": 1.5}
    assert [alone.any(flag) for flag in (True, False)] == [True, False]
    assert alone.agree(2**62) == 2**62
    assert alone.writes
    assert not Processes(1, 2).writes


def with_sum(monkeypatch, others: torch.Tensor) -> list[int]:
    """As if the other process contributed ``others``; how often it was asked."""
    calls = []

    def all_reduce(tensor: torch.Tensor) -> None:
        calls.append(tensor.numel())
        tensor += others.to(tensor.dtype)

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    monkeypatch.setattr(dist, "get_backend", lambda: "gloo")
    return calls


def test_an_average_of_many_tensors_is_one_exchange(monkeypatch):
    calls = with_sum(monkeypatch, torch.arange(6.0))
    tensors = [torch.zeros(2, 2), torch.ones(()), torch.full((1,), 3.0)]
    kept = list(tensors)
    Processes(0, 2).average(tensors)
    assert calls == [6]
    assert [tensor.tolist() for tensor in kept] == [[[0.0, 0.5], [1.0, 1.5]], 2.5, [4.0]]


def test_nothing_to_average_is_no_exchange(monkeypatch):
    calls = with_sum(monkeypatch, torch.zeros(()))
    Processes(0, 2).average([])
    assert Processes(0, 2).mean({}) == {}
    assert calls == []


def test_tensors_are_averaged_entry_by_entry_whatever_their_layout(monkeypatch):
    """Transposed, channels-last and sliced here, contiguous in the other process: both
    send the same order, and each keeps its own layout."""
    sent = []

    def all_reduce(tensor: torch.Tensor) -> None:
        sent.append(tensor.clone())
        tensor += tensor

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    images = torch.arange(48.0).reshape(2, 3, 2, 4).to(memory_format=torch.channels_last)
    base, sliced = torch.arange(6.0).reshape(3, 2), torch.arange(8.0)[::2]
    here = [base.T, images, sliced, torch.arange(3.0).view(1, 1, 3)]
    there = [tensor.clone(memory_format=torch.contiguous_format) for tensor in here]
    Processes(0, 2).average(here)
    Processes(1, 2).average(there)
    assert torch.equal(sent[0], sent[1])
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
    assert here[1].is_contiguous(memory_format=torch.channels_last)
    assert there[1].is_contiguous()


def test_one_flag_is_enough(monkeypatch):
    for others in (0.0, 1.0):
        with_sum(monkeypatch, torch.tensor(others))
        assert Processes(0, 2).any(True)
        assert Processes(0, 2).any(False) is (others > 0)


def test_chains_are_shared_out_and_come_back_whole(monkeypatch):
    whole = plays.boltzmann(pretrain=0)[0].game.state_dict()
    games = []
    for rank in range(2):
        game = plays.boltzmann(pretrain=0)[0].game
        Processes(rank, 2).share(game)
        games.append(game)
    assert [game.chain_visible.shape[0] for game in games] == [4, 4]
    for name in games[0].sharded:
        assert torch.equal(torch.cat([getattr(game, name) for game in games]), whole[name])
        assert getattr(games[0], name).data_ptr() != whole[name].data_ptr()

    def all_gather(parts: list[torch.Tensor], mine: torch.Tensor) -> None:
        name = next(
            name
            for name in games[1].sharded
            if getattr(games[1], name).data_ptr() == mine.data_ptr()
        )
        for part, game in zip(parts, games, strict=True):
            part.copy_(getattr(game, name))

    monkeypatch.setattr(dist, "all_gather", all_gather)
    gathered = Processes(1, 2).gathered(games[1])
    assert list(gathered) == list(whole)
    assert all(torch.equal(gathered[name], whole[name]) for name in whole)


def test_a_share_is_taken_of_a_restored_state():
    whole = plays.boltzmann(pretrain=0)[0].game.state_dict()
    state = {name: value + 1 for name, value in whole.items()}
    for rank in (0, 1):
        game, group = plays.boltzmann(pretrain=0)[0].game, Processes(rank, 2)
        group.share(game)
        group.restore(game, state)
        assert torch.equal(game.chain_hidden1, state["chain_hidden1"][4 * rank : 4 * rank + 4])
        weight = "machine.weight.visible-hidden1"
        assert torch.equal(game.state_dict()[weight], state[weight])


def test_chains_that_cannot_be_shared_are_refused():
    with pytest.raises(
        ValueError,
        match="chains: 8 cannot be shared equally among 3 processes; choose a multiple of 3",
    ):
        Trainer(plays.boltzmann(), Stream(0), processes=Processes(0, 3))
