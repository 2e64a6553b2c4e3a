"""Which layers there are, how they are joined and what is pretrained together: names, edges,
colours, levels."""

from __future__ import annotations

import itertools

import pytest

from equilibria.data.layer import Layer
from equilibria.recipes.contrastive import Graph
from equilibria.units import Bernoulli, Categorical, Gaussian

PICTURE = Layer("picture", "binary", (0, 1, 2, 3), slice(0, 4))
SOUND = Layer("sound", "real", (4, 5, 6), slice(4, 7))
NAME = Layer("name", "categorical", (7,), slice(7, 10), categories=(("a", "b", "c"),))


def test_without_modalities_every_visible_layer_is_joined_to_the_first_hidden_one():
    graph = Graph((PICTURE, SOUND), (5, 6), classes=2)
    machine = graph.build()
    assert graph.levels == [["picture", "sound"], ["hidden1"], ["hidden2"]]
    assert machine.edges == (
        ("picture", "hidden1"),
        ("sound", "hidden1"),
        ("hidden1", "hidden2"),
        ("hidden2", "label"),
    )
    assert set(machine.colours[0]) == {"picture", "sound", "hidden2"}
    assert graph.clamped == ["picture", "sound", "label"]


@pytest.mark.parametrize("depth", [2, 3])
def test_modalities_have_hidden_layers_of_their_own_below_a_common_top(depth):
    graph = Graph((PICTURE, SOUND), (5, 6, 2)[:depth], modalities=True)
    own = [[f"picture_hidden{i}", f"sound_hidden{i}"] for i in range(1, depth)]
    assert graph.levels == [["picture", "sound"], *own, [f"hidden{depth}"]]
    assert graph.hidden_levels == graph.levels[1:]
    machine, top = graph.build(), f"hidden{depth}"
    paths = [
        [name, *(f"{name}_hidden{i}" for i in range(1, depth)), top]
        for name in ("picture", "sound")
    ]
    assert set(machine.edges) == {pair for path in paths for pair in itertools.pairwise(path)}
    assert set(machine.colours[0]) == {name for path in paths for name in path[::2]}
    assert [machine.units(level[0]).size for level in graph.hidden_levels] == [5, 6, 2][:depth]
    assert isinstance(machine.units("picture"), Bernoulli)
    assert isinstance(machine.units("sound"), Gaussian)


@pytest.mark.parametrize("depth", [2, 3])
def test_a_modality_of_one_variable_is_joined_to_the_top(depth):
    graph = Graph((NAME, PICTURE), (5, 6, 2)[:depth], modalities=True)
    own = [[f"picture_hidden{i}"] for i in range(1, depth)]
    own[-1] = [*own[-1], "name"]
    assert graph.levels == [["picture"], *own, [f"hidden{depth}"]]
    machine = graph.build()
    path = ["picture", *(f"picture_hidden{i}" for i in range(1, depth)), f"hidden{depth}"]
    assert set(machine.edges) == {*itertools.pairwise(path), ("name", f"hidden{depth}")}
    assert isinstance(machine.units("name"), Categorical)
    assert graph.names == ["name", "picture"]  # the order of an encoded row


def test_modalities_without_room_for_hidden_layers_are_one_stack():
    assert Graph((PICTURE, SOUND), (5,), modalities=True).levels == [
        ["picture", "sound"],
        ["hidden1"],
    ]
    one = Layer("other", "categorical", (0,), slice(0, 3), categories=((0, 1, 2),))
    assert Graph((one, NAME), (5, 6), modalities=True).levels == [
        ["other", "name"],
        ["hidden1"],
        ["hidden2"],
    ]
