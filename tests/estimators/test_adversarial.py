"""GAN: the stages its parameters build, samples in the data's own scale, averaging, reproducibility."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from equilibria import GAN, load
from equilibria.data import GaussianMixture
from equilibria.estimators import players
from equilibria.games.payoffs import PAYOFFS
from equilibria.random import Stream
from equilibria.solvers import Alternating, Simultaneous

random = np.random.RandomState(0)
POINTS = random.normal(size=(120, 2)) * [1.0, 50.0] + [0.0, 1000.0]
OPTIONS = {"hidden": (8, 6), "latent_dim": 3, "steps": 12, "batch_size": 20, "random_state": 0}


def small(**options) -> GAN:
    return GAN(**{**OPTIONS, **options})


def stage_of(model: GAN):
    """The stage that fit plays, with the fitted estimator's seed and schema."""
    model.fit(POINTS)
    return model._stages(POINTS, None, 0, 1)[0]


def parameters_of(model: GAN) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in (*model.generator_.parameters(), *model.critic_.parameters())])


def test_the_networks_are_what_hidden_says():
    model = small().fit(POINTS)
    assert model.generator_.network.sizes == (3, 8, 6, 2)
    assert model.critic_.network.sizes == (2 + 2 * 64, 6, 8, 1)
    assert model.critic_.frequencies.norm(dim=0).max().item() == pytest.approx(10)
    assert small(bandwidth=0).fit(POINTS).critic_.sizes == (2, 6, 8, 1)
    assert model.generator_.network.output is None
    assert small(value_range=(-200, 1200)).fit(POINTS).generator_.network.output == "tanh"


def test_a_critic_that_sees_waves_is_faster_and_its_penalties_fade():
    waves, many = stage_of(small()), stage_of(small(bandwidth=0))
    assert waves.solver.optimisers["critic"].rate == pytest.approx(3 * waves.solver.optimisers["generator"].rate)
    assert waves.game.fade == (3e-5, 12)
    assert many.solver.optimisers["critic"].rate == many.solver.optimisers["generator"].rate
    assert many.game.fade == (1.0, 12)
    assert stage_of(small(critic_rate=2e-4, fade=0.5)).game.fade == (0.5, 12)
    assert stage_of(small(critic_rate=2e-4)).solver.optimisers["critic"].rate == 2e-4


def test_a_run_keeps_the_defaults_that_it_was_made_with(tmp_path, monkeypatch):
    small(out=str(tmp_path / "run")).fit(POINTS)
    monkeypatch.setattr(players, "SHARP", {"pace": 5.0, "fade": 0.5})  # another version's
    monkeypatch.setitem(players.FAMILIES, "mlp", dataclasses.replace(players.FAMILIES["mlp"], average=0.5))
    old, new = load(tmp_path / "run"), small().fit(POINTS)
    assert [model._fading("mlp", model.critic_) for model in (old, new)] == [3e-5, 0.5]
    assert [model._tuned("mlp", model.critic_).pace for model in (old, new)] == [3.0, 5.0]
    assert [model._family("mlp").average for model in (old, new)] == [0.99, 0.5]
    assert old.fit(POINTS)._tuned("mlp", old.critic_).pace == 5.0, "a new fit follows the version that makes it"


@pytest.mark.parametrize(("solver", "kind"), [("alternating", Alternating), ("simultaneous", Simultaneous)])
def test_the_solver_is_the_named_one(solver, kind):
    stage = stage_of(small(solver=solver, k=3, learning_rate=0.002, critic_rate=0.001, betas=[0.1, 0.2]))
    assert type(stage.solver) is kind
    assert {name: (rule.rate, rule.betas, rule.kind) for name, rule in stage.solver.optimisers.items()} == {
        "critic": (0.001, (0.1, 0.2), "adam"),
        "generator": (0.002, (0.1, 0.2), "adam"),
    }
    if kind is Alternating:
        assert stage.solver.k == 3


def test_k_counts_the_critics_updates():
    model = small(k=4)
    stage = stage_of(model)
    stage.solver.bind(stage.game)
    stage.solver.step(stage.game, stage.source(Stream(0)), Stream(0))
    assert stage.solver.updates == {"critic": 4, "generator": 1}
    assert stage.batches.position == 4


def test_every_payoff_trains_in_its_own_way():
    """Samples of the same seed are finite and differ from one payoff to the next, and None is one of them.

    The Jensen–Shannon divergence in its two forms is the minimax game but for constants, to which Adam is blind.
    """
    drawn = {name: small(payoff=name, penalties={}).fit(POINTS).sample(50) for name in PAYOFFS}
    assert all(np.isfinite(rows).all() for rows in drawn.values())
    alike = [(a, b) for a, b in itertools.combinations(drawn, 2) if np.array_equal(drawn[a], drawn[b])]
    assert alike == [("minimax", "js"), ("minimax", "gan"), ("js", "gan")]
    assert np.array_equal(small(penalties={}).fit(POINTS).sample(50), drawn["relativistic"])


def test_samples_have_the_scale_and_type_of_the_data():
    samples = small().fit(POINTS).sample(40)
    assert samples.shape == (40, 2)
    assert samples.dtype == POINTS.dtype
    assert (np.abs(samples.mean(0) - POINTS.mean(0)) < 5 * POINTS.std(0)).all()
    pictures = random.randint(0, 256, size=(60, 9)).astype(np.uint8)
    samples = small(value_range=(0, 255), picture_shape=(3, 3)).fit(pictures).sample(10)
    assert samples.dtype == np.uint8
    assert samples.min() < samples.max()
    assert small().fit(POINTS.astype(np.float32)).sample(3).dtype == np.float32
    sixteen = small(value_range=(0, 16)).fit(random.randint(0, 17, size=(60, 4)))
    samples = sixteen.sample(100)
    assert samples.dtype == np.int64
    assert samples.min() >= 0
    assert samples.max() <= 16


def test_the_generator_is_averaged_and_the_critic_is_not():
    averaged, raw = (small(average=decay, steps=40, learning_rate=0.01).fit(POINTS) for decay in (0.999, 0.0))
    assert torch.equal(averaged.critic_.network.layers[0].weight, raw.critic_.network.layers[0].weight)
    assert not torch.equal(averaged.generator_.network.layers[0].weight, raw.generator_.network.layers[0].weight)
    assert (averaged.sample(5) != raw.sample(5)).any()


def test_the_average_is_that_of_the_raw_path():
    """Worked out again from the generator's path without averaging."""
    path = []
    model = small(average=0.0, steps=15, learning_rate=0.01)
    stage = stage_of(model)
    first = stage.game.generator.network.layers[0].weight.detach().clone()
    stage.solver.bind(stage.game)
    key = model._stream().child("train").child("stage", "play")
    for step in range(15):
        stage.solver.step(stage.game, stage.source(key.child(step)), key.child(step))
        path.append(stage.game.generator.network.layers[0].weight.detach().clone())
    mean = first
    for t, weight in enumerate(path):
        decay = min(0.9, (1 + t) / (10 + t))
        mean = decay * mean + (1 - decay) * weight
    found = small(average=0.9, steps=15, learning_rate=0.01).fit(POINTS).generator_.network.layers[0].weight
    assert torch.allclose(found, mean, atol=1e-6)


def test_the_seed_reproduces_the_fit():
    first, second, third = (small(random_state=seed).fit(POINTS) for seed in (1, 1, 2))
    assert torch.equal(parameters_of(first), parameters_of(second))
    assert not torch.equal(parameters_of(first), parameters_of(third))
    fresh = small(random_state=None).fit(POINTS)
    assert torch.equal(parameters_of(small(random_state=fresh.seed_).fit(POINTS)), parameters_of(fresh))
    states = [small(random_state=np.random.RandomState(5)).fit(POINTS) for _ in range(2)]
    assert torch.equal(parameters_of(states[0]), parameters_of(states[1]))


def test_threads_change_nothing_but_the_last_digits():
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(parameters_of(small(betas=(0.5, 0.999)).fit(POINTS)))
    finally:
        torch.set_num_threads(before)
    # a step of Adam is about the slope's sign where the slope is next to nothing, and the last digit may turn that: of few cells, by a step
    moved = (found[0] - found[1]).abs()
    assert moved.max() < 0.01
    assert (moved > 1e-4).double().mean() < 0.01


def test_samples_follow_their_own_random_state():
    model = small().fit(POINTS)
    assert (model.sample(20) == model.sample(20)).all()
    assert (model.sample(20) == model.sample(30)[:20]).all(), "sample i depends on its row alone"
    assert (model.sample(20, random_state=3) != model.sample(20, random_state=4)).any()


def test_a_gan_finds_a_cluster():
    """A round cluster far from where it starts: mean and spread of 1000 samples."""
    data = GaussianMixture(np.array([[3.0, -2.0]]), std=0.5).sample(1000, Stream(0))
    model = GAN(hidden=(32,), latent_dim=2, steps=800, learning_rate=2e-3, average=0.99, random_state=0).fit(data)
    samples = model.sample(1000)
    assert np.abs(samples.mean(0) - [3, -2]).max() < 0.25
    assert 0.05 < samples.std(0).min() <= samples.std(0).max() < 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": ()}, r"hidden=\(\): expected the widths of the hidden layers"),
        ({"hidden": "16"}, "hidden='16': expected"),
        ({"hidden": (8, 0)}, r"hidden\[1\]=0: expected"),
        ({"latent_dim": 0}, "latent_dim=0: expected"),
        ({"k": 0}, "k=0: expected"),
        ({"steps": 2.5}, "steps=2.5: expected"),
        ({"batch_size": 0}, "batch_size=0: expected"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0: expected a finite number above 0"),
        ({"critic_rate": math.inf}, "critic_rate=inf: expected"),
        ({"betas": 0.5}, "betas=0.5: expected two numbers"),
        ({"betas": (0.5, 1.0)}, r"betas=\(0.5, 1.0\): expected two numbers"),
        ({"average": 1.0}, "average=1.0: expected"),
        ({"payoff": "x"}, "payoff='x': expected one of"),
        ({"prior": "x"}, "prior='x': expected one of None, 'normal', 'uniform', 'mixed'"),
        ({"fade": 0}, "fade=0: expected"),
        ({"bandwidth": -1}, "bandwidth=-1: expected"),
        ({"schedule": "inverse"}, "schedule='inverse': expected one of None, 'constant', 'linear', 'cosine'"),
        ({"solver": "x"}, "solver='x': expected one of"),
        ({"units": "bernoulli"}, "units='bernoulli': expected one of 'auto', 'picture', 'real'"),
        ({"device": "abacus"}, "device='abacus': torch cannot use it here"),
        ({"value_range": (0, 1, 2)}, r"value_range=\(0, 1, 2\): expected two numbers"),
        ({"value_range": (0, 1)}, "outside 0 to 1"),
    ],
)
def test_impossible_parameters_are_refused_before_any_work(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        small(**{"out": str(tmp_path / "run"), **options}).fit(POINTS)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("options", "message"), [({"n": 0}, "n=0: expected"), ({"y": 3}, "y=3: this GAN is not conditional")])
def test_impossible_samples_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small().fit(POINTS).sample(**options)
