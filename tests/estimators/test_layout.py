"""Which layers there are, how they are joined and what is pretrained together: names, edges, colours, levels."""

from __future__ import annotations

import itertools

import pytest
import torch

from equilibria.data import Batch
from equilibria.data.layers import SchemaLayer
from equilibria.estimators.layout import Layout
from equilibria.estimators.stack import pretraining
from equilibria.random import Stream
from equilibria.solvers import Optimiser
from equilibria.units import Bernoulli, Categorical, Gaussian

PICTURE = SchemaLayer("picture", "bernoulli", slice(0, 4), 4, None, (0, 1, 2, 3))
SOUND = SchemaLayer("sound", "gaussian", slice(4, 7), 3, None, (4, 5, 6))
NAME = SchemaLayer("name", "categorical", slice(7, 10), 1, (("a", "b", "c"),), (7,))


def test_without_towers_every_visible_layer_is_joined_to_the_first_hidden_one():
    layout = Layout((PICTURE, SOUND), (5, 6), classes=2)
    machine = layout.build()
    assert layout.levels == [["picture", "sound"], ["hidden1"], ["hidden2"]]
    assert machine.edges == (("picture", "hidden1"), ("sound", "hidden1"), ("hidden1", "hidden2"), ("hidden2", "label"))
    assert set(machine.colours[0]) == {"picture", "sound", "hidden2"}
    assert layout.clamped == ["picture", "sound", "label"]


@pytest.mark.parametrize("depth", [2, 3])
def test_towers_have_hidden_layers_of_their_own_below_a_common_top(depth):
    layout = Layout((PICTURE, SOUND), (5, 6, 2)[:depth], towers=True)
    own = [[f"picture_hidden{i}", f"sound_hidden{i}"] for i in range(1, depth)]
    assert layout.levels == [["picture", "sound"], *own, [f"hidden{depth}"]]
    assert layout.hidden_levels == layout.levels[1:]
    machine, top = layout.build(), f"hidden{depth}"
    paths = [[name, *(f"{name}_hidden{i}" for i in range(1, depth)), top] for name in ("picture", "sound")]
    assert set(machine.edges) == {pair for path in paths for pair in itertools.pairwise(path)}
    assert set(machine.colours[0]) == {name for path in paths for name in path[::2]}
    assert [machine.units(level[0]).size for level in layout.hidden_levels] == [5, 6, 2][:depth]
    assert isinstance(machine.units("picture"), Bernoulli)
    assert isinstance(machine.units("sound"), Gaussian)


@pytest.mark.parametrize("depth", [2, 3])
def test_a_tower_of_one_variable_is_joined_to_the_top(depth):
    layout = Layout((NAME, PICTURE), (5, 6, 2)[:depth], towers=True)
    own = [[f"picture_hidden{i}"] for i in range(1, depth)]
    own[-1] = [*own[-1], "name"]
    assert layout.levels == [["picture"], *own, [f"hidden{depth}"]]
    machine = layout.build()
    path = ["picture", *(f"picture_hidden{i}" for i in range(1, depth)), f"hidden{depth}"]
    assert set(machine.edges) == {*itertools.pairwise(path), ("name", f"hidden{depth}")}
    assert isinstance(machine.units("name"), Categorical)
    assert layout.visible_names == ["name", "picture"]  # the order of an encoded row


def test_towers_without_room_for_hidden_layers_are_one_stack():
    assert Layout((PICTURE, SOUND), (5,), towers=True).levels == [["picture", "sound"], ["hidden1"]]
    one = SchemaLayer("other", "categorical", slice(0, 3), 1, ((0, 1, 2),), (0,))
    assert Layout((one, NAME), (5, 6), towers=True).levels == [["other", "name"], ["hidden1"], ["hidden2"]]


def test_a_tower_of_one_variable_comes_into_the_topmost_stage_of_pretraining():
    """The first stage sees the picture alone; the second its features with the name beside them, masked where it is missing."""
    layout = Layout((NAME, PICTURE), (5, 6), towers=True)
    machine = layout.build().double().initialise(0, std=0.5)
    make = {"batches": lambda name: None, "rule": Optimiser("sgd", 0.1), "steps": 1, "stream": Stream(1), "on_last": lambda: None}
    stages = pretraining(machine, layout.levels, **make, copies=2, visible=layout.visible_names)
    first, second = (stage.game for stage in stages)
    assert first.machine.edges == (("picture", "picture_hidden1"),)
    assert dict(first.gain) == {"picture": 1.0, "picture_hidden1": 3.0}
    assert set(second.machine.edges) == {("picture_hidden1", "hidden2"), ("name", "hidden2")}
    assert dict(second.gain) == {"picture_hidden1": 3.0, "name": 2.0, "hidden2": 1.0}
    name = torch.eye(3).double()
    picture = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 1], [1, 1, 1, 0]]).double()
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[1, :3] = False
    batch = Batch(torch.cat([name * mask[:, :3], picture], 1), mask)
    seen = stages[0].view(batch, Stream(0))
    assert torch.equal(seen.values, picture)
    features = stages[1].view(batch, Stream(0))
    h = torch.sigmoid(3 * (picture @ first.machine.weight["picture-picture_hidden1"] + first.machine.bias["picture_hidden1"]))
    assert torch.allclose(features.values, torch.cat([h, name * mask[:, :3]], 1), atol=1e-12)
    assert torch.equal(features.mask[:, 5:], mask[:, :3])
    assert bool(features.mask[:, :5].all())
    stages[-1].on_end()
    assert torch.equal(machine.bias["name"], 2 * second.machine.bias["name"])  # each copy of the top does its half
