"""Layer-wise pretraining: which machines are trained, with which doubled fields, and how they are put together."""

from __future__ import annotations

import pytest
import torch

import plays
from equilibria.data import Batch
from equilibria.estimators.stack import pretraining, settle_game
from equilibria.games.contrastive import ContrastiveGame
from equilibria.inference import mean_field
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.solvers import Rule
from equilibria.training.distributed import Processes
from equilibria.training.trainer import Trainer
from equilibria.units import Bernoulli, Categorical

SIZES = (plays.SIZE, 7, 6, 5)


def machine_of(*sizes: int, dtype: torch.dtype = torch.float64) -> BoltzmannMachine:
    machine = BoltzmannMachine.stack(*[Bernoulli(size) for size in sizes]).to(dtype).initialise(0)
    machine.set_base("visible", plays.ROWS[:, : sizes[0]].mean(0))
    with torch.no_grad():
        machine.bias["visible"].copy_(machine.base("visible"))
    return machine


def stages_of(machine: BoltzmannMachine, steps: int = 5, rate: float = 0.1, on_last=lambda: None, levels=None, copies: int = 1):
    levels = [[name] for name in machine.layers] if levels is None else levels
    rule = Rule("sgd", rate)
    return pretraining(machine, levels, lambda name: plays.batches(name, machine.dtype), rule, steps, Stream(1), on_last, copies=copies)


@pytest.mark.parametrize(
    ("sizes", "gains"),
    [
        (SIZES[:2], [(1.0, 1.0)]),
        (SIZES[:3], [(1.0, 2.0), (2.0, 1.0)]),
        (SIZES, [(1.0, 2.0), (2.0, 2.0), (2.0, 1.0)]),
    ],
)
def test_a_stage_for_each_pair_with_doubled_fields_but_at_the_ends(sizes, gains):
    machine = machine_of(*sizes)
    stages = stages_of(machine)
    assert [stage.name for stage in stages] == [f"pretrain {i + 1}" for i in range(len(gains))]
    for i, (stage, gain) in enumerate(zip(stages, gains, strict=True)):
        names = list(machine.layers)[i : i + 2]
        assert list(stage.game.machine.layers) == names
        assert tuple(stage.game.gain[name] for name in names) == gain
        assert stage.game.negative == "data"
        assert stage.game.machine.dtype == torch.float64
    assert torch.equal(stages[0].game.machine.base("visible"), machine.base("visible"))
    assert torch.equal(stages[0].game.machine.bias["visible"], machine.bias["visible"])


def test_the_features_are_the_means_below_with_doubled_fields():
    stages = stages_of(machine_of(*SIZES))
    values = plays.ROWS[:6].double()
    features = values
    for i, stage in enumerate(stages):
        seen = values if stage.view is None else stage.view(Batch(values), Stream(0)).values
        assert torch.allclose(seen, features, atol=1e-12)
        rbm = stage.game.machine
        (weight,) = rbm.weight.values()
        upper = list(rbm.layers)[1]
        factor = 2.0 if i < len(stages) - 1 else 1.0
        features = torch.sigmoid(factor * (features @ weight + rbm.bias[upper])).detach()


def test_the_machine_is_put_together_when_the_last_stage_ends():
    machine, moments = machine_of(*SIZES), []
    stages = stages_of(machine, on_last=lambda: moments.append({name: p.detach().clone() for name, p in machine.named_parameters()}))
    untouched = {name: p.detach().clone() for name, p in machine.named_parameters()}
    Trainer(stages[:2], Stream(0)).fit()
    assert all(torch.equal(p, untouched[name]) for name, p in machine.named_parameters())
    Trainer(stages[2:], Stream(0)).fit()
    rbms = [stage.game.machine for stage in stages]
    assert len(moments) == 1
    for rbm in rbms:
        ((key, weight),) = rbm.weight.items()
        assert torch.equal(machine.weight[key], weight)
        assert torch.equal(moments[0][f"weight.{key}"], weight)
    assert torch.equal(machine.bias["visible"], rbms[0].bias["visible"])
    assert torch.equal(machine.bias["hidden1"], rbms[0].bias["hidden1"] + rbms[1].bias["hidden1"])
    assert torch.equal(machine.bias["hidden2"], rbms[1].bias["hidden2"] + rbms[2].bias["hidden2"])
    assert torch.equal(machine.bias["hidden3"], rbms[2].bias["hidden3"])


def test_the_doubling_makes_the_stack_agree_with_the_machine():
    """Where the layer above mirrors the one below, a hidden unit of the machine feels what its RBM promised: σ(2(Wv + c))."""
    machine = machine_of(4, 3, 4)
    stages = stages_of(machine)
    below, above = (stage.game.machine for stage in stages)
    with torch.no_grad():
        below.weight["visible-hidden1"].normal_(generator=torch.Generator().manual_seed(0))
        above.weight["hidden1-hidden2"].copy_(below.weight["visible-hidden1"].T)
        for rbm in (below, above):
            rbm.bias["hidden1"].fill_(0.3)
    stages[-1].on_end()
    v = torch.tensor([[1.0, 0, 1, 1]], dtype=torch.float64)
    promised = torch.sigmoid(2 * below.field("hidden1", {"visible": v}))
    assert torch.allclose(torch.sigmoid(machine.field("hidden1", {"visible": v, "hidden2": v})), promised, atol=1e-12)


@torch.no_grad()
def test_two_copies_of_the_top_agree_with_the_machine():
    """With the top's two halves and the layer below mirrored, a hidden unit feels 3(Wv + c), as its RBM promised (2012)."""
    machine = machine_of(4, 3, 8)
    stages = stages_of(machine, copies=2)
    below, above = (stage.game.machine for stage in stages)
    assert [dict(stage.game.gain) for stage in stages] == [{"visible": 1.0, "hidden1": 3.0}, {"hidden1": 3.0, "hidden2": 1.0}]
    assert above.units("hidden2").size == 4
    below.weight["visible-hidden1"].normal_(generator=torch.Generator().manual_seed(0))
    above.weight["hidden1-hidden2"].copy_(below.weight["visible-hidden1"].T)
    for rbm in (below, above):
        rbm.bias["hidden1"].fill_(0.3)
    above.bias["hidden2"].fill_(-0.2)
    stages[-1].on_end()
    v = torch.tensor([[1.0, 0, 1, 1]], dtype=torch.float64)
    promised = 3 * below.field("hidden1", {"visible": v})
    assert torch.allclose(machine.field("hidden1", {"visible": v, "hidden2": torch.cat([v, v], 1)}), promised, atol=1e-12)
    h = torch.tensor([[1.0, 0, 1]], dtype=torch.float64)
    assert torch.allclose(machine.field("hidden2", {"hidden1": h}), above.field("hidden2", {"hidden1": h}).repeat(1, 2), atol=1e-12)


def test_two_towers_and_a_label_are_trained_in_pairs_of_levels():
    layers = {"left": Bernoulli(4), "right": Bernoulli(5), "left_hidden": Bernoulli(3), "right_hidden": Bernoulli(2), "top": Bernoulli(4)}
    edges = [("left", "left_hidden"), ("right", "right_hidden"), ("left_hidden", "top"), ("right_hidden", "top"), ("label", "top")]
    machine = BoltzmannMachine({**layers, "label": Categorical([3])}, edges).double()
    stages = stages_of(machine, levels=[["left", "right"], ["left_hidden", "right_hidden"], ["top"]])
    first, second = (stage.game for stage in stages)
    assert first.visible == ("left", "right")
    assert first.machine.edges == (("left", "left_hidden"), ("right", "right_hidden"))
    assert second.visible == ("left_hidden", "right_hidden", "label")
    batch = Batch(plays.ROWS[:6].double(), label=torch.tensor([0, 1, 2, -1, 0, 0]))
    seen = stages[1].view(batch, Stream(0))
    assert torch.equal(seen.values[:, 5:].argmax(1)[:3], torch.tensor([0, 1, 2]))
    assert seen.mask is not None
    assert torch.equal(seen.mask.all(1), batch.label >= 0)
    assert bool(seen.mask[:, :5].all())
    h = torch.sigmoid(2 * (batch.values[:, :4] @ first.machine.weight["left-left_hidden"] + first.machine.bias["left_hidden"]))
    assert torch.allclose(seen.values[:, :3], h, atol=1e-12)
    for stage in stages:
        drawn = stage.game.draw(batch if stage.view is None else stage.view(batch, Stream(0)), Stream(0))
        assert all(bool(torch.isfinite(g).all()) for g in stage.game.gradient("machine", drawn))
    stages[-1].on_end()
    assert torch.equal(machine.weight["label-top"], second.machine.weight["label-top"])


def test_pretraining_learns_something_and_the_same_thing_each_time():
    ends = []
    for _ in range(2):
        machine = machine_of(*SIZES[:3], dtype=torch.float32)
        stages = stages_of(machine, steps=200, rate=0.5)
        trainer = Trainer(stages, Stream(0))
        trainer.fit()
        ends.append(plays.state_of(stages))
    assert plays.largest_difference(*ends) == 0
    rows = [row for row in trainer.history if row["stage"] == "pretrain 1"]
    assert rows[-1]["reconstruction"] < 0.85 * rows[0]["reconstruction"]


# ---------------------------------------------------------------- where the chains begin


def settled(chains: int = 8, rank: int = 0, world: int = 1, rows: int = 20) -> ContrastiveGame:
    machine = machine_of(*SIZES[:3])
    machine.initialise(3, std=1.0)
    game = ContrastiveGame(machine, chains=chains, mean_field_steps=30)
    Processes(rank, world).share(game)
    settle_game(game, Batch(plays.ROWS[:rows].double()), Stream(4), rank)
    return game


def test_chains_begin_at_the_data_and_their_posterior():
    game = settled()
    assert torch.equal(game.chain_visible, plays.ROWS[:8].double())
    for name in ("hidden1", "hidden2"):
        assert set(getattr(game, f"chain_{name}").unique().tolist()) <= {0.0, 1.0}
    means = mean_field(game.machine, {"visible": plays.ROWS[:20].double()}).means
    for name, mean in means.items():
        assert torch.allclose(game.offset(name), mean.mean(0), atol=1e-4)


def test_hidden_units_begin_with_draws_from_the_posterior():
    """Over 60 rows and all units of a layer the draws differ from their means by less than five standard errors (6e-7)."""
    game = settled(chains=60, rows=60)
    means = mean_field(game.machine, {"visible": plays.ROWS.double()}).means
    for name in ("hidden1", "hidden2"):
        p = means[name]
        assert float((getattr(game, f"chain_{name}") - p).sum().abs()) < 5 * float((p * (1 - p)).sum().sqrt())
        agreement = (getattr(game, f"chain_{name}") - 0.5) * (p - 0.5)
        assert float(agreement.sum()) > 0, "a row's draws are not its own"


@pytest.mark.parametrize("world", [2, 4])
def test_processes_begin_with_the_chains_of_one(world):
    whole = settled()
    parts = [settled(rank=rank, world=world) for rank in range(world)]
    for name in whole.sharded:
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    assert all(torch.equal(part.offset("hidden1"), whole.offset("hidden1")) for part in parts)


def test_fewer_rows_than_chains_are_used_over_again():
    game = settled(chains=8, rows=3)
    assert torch.equal(game.chain_visible, plays.ROWS[[0, 1, 2, 0, 1, 2, 0, 1]].double())


def test_restarting_chains_and_uncentred_games_are_left_alone():
    machine = machine_of(*SIZES[:3])
    game = ContrastiveGame(machine, negative="data", centred=False)
    settle_game(game, Batch(plays.ROWS.double()), Stream(4))
    assert all(bool((game.offset(name) == 0).all()) for name in machine.layers)
