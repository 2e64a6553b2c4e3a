"""DBN: its scores against enumeration, the greedy stages and where each begins, what the layers
above add, and every kind of column."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import belief
import equilibria
from equilibria import DBN
from equilibria.data import Batch, Table
from equilibria.inference import exact
from equilibria.random import Stream
from equilibria.training.trainer import Trainer
from equilibria.units import Categorical, Gaussian
from small import plan_of

random = np.random.RandomState(0)
KIND = random.uniform(size=(200, 1)) < 0.5
PAIRS = ((random.uniform(size=(200, 6)) < 0.05) ^ ((np.arange(6) < 3) == KIND)).astype(np.uint8)
"""Rows near 111000 or 000111: about −2.0 nats a row at best, −6 log 2 = −4.2 where columns are
taken for fair coins of their own."""
GREYS = random.uniform(size=(60, 5))
OPTIONS: dict[str, Any] = {
    "hidden": (5, 6),
    "steps": 60,
    "batch_size": 10,
    "chains": 10,
    "learning_rate": 0.5,
    "random_state": 0,
}


def small(**options: Any) -> DBN:
    return DBN(**{**OPTIONS, **options})


def planned(model: DBN, X: np.ndarray = PAIRS) -> tuple[Any, list[Any]]:
    """The network and its stages."""
    inside, stages = plan_of(model, X)
    return inside.network, stages


def states(columns: int) -> torch.Tensor:
    return torch.from_numpy(
        (np.arange(2**columns)[:, None] >> np.arange(columns) & 1).astype(float)
    )


# ---------------------------------------------------------------- scores


def test_scores_are_a_lower_bound_near_the_enumerated_one():
    """Over 1,000 draws; 4.9 of the enumerated standard errors, a false alarm in a million."""
    model = small(
        hidden=(5, 4, 3), start="random", steps=50, learning_rate=0.5, bound_samples=1000
    ).fit(PAIRS)
    network, v = model.network_.double(), torch.from_numpy(PAIRS[:40].astype(float))
    (lower, spread), truth = belief.bound(network, v), belief.log_prob(network, v)
    assert (lower < truth).all()
    assert (truth - lower).max() > 0.01, "Q is the posterior: the test is empty"
    assert (np.abs(model.score_samples(PAIRS[:40]) - lower) < 4.9 * spread / math.sqrt(1000)).all()
    assert model.log_partition_.value == pytest.approx(belief.log_partition(network), abs=1e-9)


def test_the_estimate_says_bound_and_agrees_with_the_scores():
    model = small().fit(PAIRS)
    found = model.log_likelihood(PAIRS)
    assert found.name == "mean bound on log-likelihood"
    assert found.value == pytest.approx(model.score(PAIRS), abs=1e-9)
    assert found.low < found.value < found.high
    tighter = small(importance_samples=20).fit(PAIRS).log_likelihood(PAIRS)
    assert tighter.value > found.value


def test_one_hidden_layer_is_an_rbm_and_its_score_no_bound():
    model = small(hidden=(4,)).fit(PAIRS)
    truth = exact.log_prob(
        model.machine_.double(), {"visible": torch.from_numpy(PAIRS.astype(float))}
    )
    assert np.allclose(model.score_samples(PAIRS), truth.numpy(), atol=1e-6)
    assert [row["stage"] for row in model.history_][-1] == "layer 1"


def test_it_learns_and_the_second_layer_adds_to_the_first():
    """Exact log-likelihoods. Two hidden units with a short first training leave something to be
    learnt, which the second layer does."""
    options = {**OPTIONS, "steps": 200, "learning_rate": 0.1, "momentum": 0.9}
    v = torch.from_numpy(PAIRS.astype(float))
    scores = []
    for hidden in ((2,), (2, 8)):
        network = DBN(**{**options, "hidden": hidden}).fit(PAIRS).network_.double()
        one = len(hidden) == 1
        truth = exact.log_prob(network.top, {"visible": v}) if one else belief.log_prob(network, v)
        scores.append(float(truth.mean()))
    assert scores[0] > -6 * math.log(2) + 1
    assert scores[1] > scores[0] + 0.01


# ---------------------------------------------------------------- the stages


def test_each_stage_trains_a_pair_of_layers_on_draws_of_the_layer_below():
    model = small(hidden=(5, 4, 3), sparsity=(0.2, 0.1), average=0.9)
    network, stages = planned(model)
    assert [stage.name for stage in stages] == ["layer 1", "layer 2", "layer 3"]
    assert [tuple(stage.game.machine.layers) for stage in stages] == [
        ("visible", "hidden1"),
        ("hidden1", "hidden2"),
        ("hidden2", "hidden3"),
    ]
    assert stages[-1].game.machine is network.top
    assert all(stage.average.module is stage.game.machine for stage in stages)
    v = torch.from_numpy(PAIRS.astype(np.float32))
    assert stages[0].view is None
    seen = stages[2].view(Batch(v), Stream(4)).values
    assert torch.equal(seen, network.features(v, 2, Stream(4)))
    assert set(seen.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(seen, stages[2].view(Batch(v), Stream(5)).values)


def test_a_layer_begins_with_the_likelihood_that_was_reached():
    """Hinton's transposed start has the log-likelihood of the layer below; spare hidden units, with
    weights of 0.01, change it little."""
    for hidden, tolerance in (((5, 6), 1e-5), ((5, 9), 0.02)):
        model = small(hidden=hidden)
        network, stages = planned(model)
        Trainer(stages[:1], Stream(0), verbose=False).fit()
        truth = exact.log_prob(network.machine(0).double(), {"visible": states(6)})
        found = torch.from_numpy(belief.log_prob(network.double(), states(6)))
        assert float((found - truth).abs().max()) < tolerance
        bound = network.log_weights(states(6), 200, Stream(0)).mean(1) - exact.log_partition(
            network.top
        )
        assert float((bound - truth).max()) < 0.3


@pytest.mark.parametrize(
    ("options", "X"), [({"start": "random"}, PAIRS), ({"hidden": (5, 4)}, PAIRS), ({}, PAIRS - 0.5)]
)
def test_a_random_start_has_the_rates_of_the_features(options, X):
    """Where it is asked for, and where the layer two below has more units than this one or is not
    binary."""
    model = small(**options, weight_decay=0.0)
    network, stages = planned(model, X)
    Trainer(stages[:1], Stream(0), verbose=False).fit()
    machine = network.top
    assert float(machine.weight["hidden1-hidden2"].detach().abs().max()) < 0.1
    assert torch.equal(machine.bias["hidden1"], machine.base("hidden1"))
    rates, n = torch.sigmoid(machine.base("hidden1")), len(X)
    expected = network.features(Table.fit(X).encode(X), 1).mean(0).detach()
    assert (
        float((rates - expected).abs().max()) < 5 * 0.5 / math.sqrt(n) + 1 / n
    )  # drawn features: five standard errors, and smoothing


def test_partial_fit_moves_the_top_alone():
    model = small().fit(PAIRS)
    before = {name: value.clone() for name, value in model.network_.state_dict().items()}
    log_z = model.log_partition_
    model.partial_fit(PAIRS[:10])
    moved = {
        name
        for name, value in model.network_.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved == {
        f"machines.1.{name}" for name in ("bias.hidden1", "bias.hidden2", "weight.hidden1-hidden2")
    }
    assert model.log_partition_ != log_z
    assert model.machine_ is model.network_.top


# ---------------------------------------------------------------- samples, features, columns


def test_samples_are_those_of_the_network():
    """A G-test over all states of the data at 1e-6; 3,000 rows of chains that start at the base
    rates."""
    model = small(method="cd", steps=80).fit(PAIRS)
    assert model.chains_ == {}
    drawn = model.sample(3000, random_state=1)
    counts = np.bincount((drawn @ 2 ** np.arange(6)).astype(int), minlength=64)
    expected = 3000 * np.exp(belief.log_prob(model.network_.double(), states(6)))
    assert belief.g_test(counts, expected) > 1e-6


def test_samples_go_on_from_the_chains_and_come_in_the_data_s_own_scale():
    model = small(value_range=(0, 16), picture_shape=(2, 3)).fit(PAIRS * 16)
    assert set(model.chains_) == {"hidden1", "hidden2"}
    rows = model.sample(40)
    assert rows.dtype == np.uint8
    assert set(np.unique(rows)) == {0, 16}
    assert (rows == model.sample(40)).all()
    assert (rows != model.sample(40, random_state=5)).any()
    greys = small(value_range=(0, 1)).fit(GREYS).sample(20)
    assert ((greys > 0) & (greys < 1)).all()


def test_transform_is_recognition_layer_by_layer():
    model = small().fit(PAIRS)
    first, second = model.network_.machines
    h1 = torch.sigmoid(
        first.field("hidden1", {"visible": torch.from_numpy(PAIRS.astype(np.float32))})
    )
    h2 = torch.sigmoid(second.field("hidden2", {"hidden1": h1}))
    out = model.transform(PAIRS)
    assert out.shape == (200, 11)
    assert np.allclose(out, torch.cat([h1, h2], 1).detach().numpy(), atol=1e-5)


def test_categories_and_real_values():
    frame = pd.DataFrame(
        {"colour": ["red", "blue", "green"] * 20, "shape": ["round", "square"] * 30}
    )
    model = small(kinds="categorical").fit(frame)
    assert isinstance(model.network_.units("visible"), Categorical)
    assert set(model.sample(30)["colour"]) <= {"red", "blue", "green"}
    reals = random.normal(size=(80, 3)) * 10
    near, far = small(learning_rate=0.01).fit(reals), small(learning_rate=0.01).fit(100 * reals)
    assert isinstance(near.network_.units("visible"), Gaussian)
    assert near.score(reals) - far.score(100 * reals) == pytest.approx(
        3 * math.log(100), abs=0.1
    )  # densities in the data's own scale


def test_greater_depth_goes_through_a_run_folder(tmp_path):
    model = small(hidden=(5, 6, 5), picture_shape=(2, 3), out=str(tmp_path / "run")).fit(PAIRS)
    loaded = equilibria.load(tmp_path / "run")
    assert loaded.network_.layers == ("visible", "hidden1", "hidden2", "hidden3")
    assert loaded.machine_ is loaded.network_.top
    assert (loaded.sample(7) == model.sample(7)).all()
    assert str(loaded.log_likelihood(PAIRS)) == str(model.log_likelihood(PAIRS))
    pictures = {
        path.name[: len("layer-1")] for path in (tmp_path / "run" / "samples").glob("*.png")
    }
    assert pictures == {"layer-1", "layer-2", "layer-3"}


def test_bfloat16_chains_train_as_well():
    assert small(precision="bfloat16", steps=100).fit(PAIRS).score(PAIRS) > -6 * math.log(2) + 0.5
