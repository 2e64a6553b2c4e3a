"""GAN: what its parameters build, samples in the data's own scale, averaging, reproducibility."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adversaries import CHECKS
from equilibria import GAN, LAPGAN, load
from equilibria.data import GaussianMixture
from equilibria.games.payoffs import PAYOFFS
from equilibria.random import Stream
from equilibria.recipes import adversarial
from equilibria.solvers import Alternating, Optimiser

random = np.random.RandomState(0)
POINTS = random.normal(size=(120, 2)) * [1.0, 50.0] + [0.0, 1000.0]
OPTIONS = {"hidden": (8, 6), "latent_dim": 3, "steps": 12, "batch_size": 20, "random_state": 0}


def small(**options: Any) -> GAN:
    return GAN(**{**OPTIONS, **options})


def parameters_of(model: GAN) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.model_.parameters()])


def test_the_networks_are_what_hidden_says() -> None:
    model = small().fit(POINTS)
    assert model.generator_.network.sizes == (3, 8, 6, 2)
    assert model.critic_.network.network.sizes == (2 + 2 * 64, 6, 8, 1)
    assert model.critic_.network.frequencies.norm(dim=0).max().item() == pytest.approx(10)
    assert small(max_frequency=0).fit(POINTS).critic_.network.sizes == (2, 6, 8, 1)
    assert model.generator_.network.output is None
    ranged = small(value_range=(-200, 1200)).fit(POINTS)
    assert ranged.generator_.network.output == "tanh"


def test_a_critic_with_fourier_features_is_faster_and_its_penalties_fall() -> None:
    def told(**options: Any) -> tuple[float, float]:
        how = small(**options).fit(POINTS).resolved_
        return how.critic_learning_rate / how.learning_rate, how.annealing

    assert told() == (3.0, 3e-5)
    assert told(max_frequency=0) == (1.0, 1.0)
    assert told(critic_learning_rate=2e-4, annealing=0.5) == (0.2, 0.5)


def test_a_run_keeps_the_presets_that_it_was_made_with(tmp_path: Path) -> None:
    small(out=str(tmp_path / "run")).fit(POINTS)
    with pytest.MonkeyPatch.context() as patch:  # another version's
        changed = {name: dict(row) for name, row in adversarial.PRESETS.items()}
        changed["fourier"] = {"critic_pace": 5.0, "annealing": 0.5}
        changed["mlp"] |= {"average": 0.5}
        patch.setattr(adversarial, "PRESETS", changed)
        old, new = load(tmp_path / "run"), small().fit(POINTS)
        told = [
            (
                model.resolved_.annealing,
                model.resolved_.critic_pace,
                model.resolved_.average,
            )
            for model in (old, new)
        ]
        assert told == [(3e-5, 3.0, 0.99), (0.5, 5.0, 0.5)]
        again = old.fit(POINTS).resolved_.average
        assert again == 0.5, "a new fit follows the version that makes it"


@pytest.mark.parametrize("solver", ["alternating", "simultaneous"])
def test_the_players_move_as_they_were_told(solver: str, monkeypatch: Any) -> None:
    """Both rates and betas reach their own player, and so do the updates that a schedule spans."""
    seen: list[Any] = []
    original = Optimiser.build
    monkeypatch.setattr(Optimiser, "build", lambda own, p: seen.append(own) or original(own, p))
    rates = {"learning_rate": 0.002, "critic_learning_rate": 0.001, "betas": [0.1, 0.2]}
    small(solver=solver, critic_steps=3, **rates).fit(POINTS)
    turns = 3 if solver == "alternating" else 1
    told = {(rule.rate, rule.betas, rule.kind, rule.steps) for rule in seen}
    assert told == {(0.001, (0.1, 0.2), "adam", 12 * turns), (0.002, (0.1, 0.2), "adam", 12)}


def test_critic_steps_counts_the_critics_updates(monkeypatch: Any) -> None:
    """Of each player as the solver counts them, and of the batches that were read."""
    seen: list[Alternating] = []
    original = Alternating.bind
    monkeypatch.setattr(
        Alternating, "bind", lambda own, game: seen.append(own) or original(own, game)
    )
    small(critic_steps=4).fit(POINTS)
    assert seen[0].updates == {"critic": 48, "generator": 12}


def test_every_loss_trains_in_its_own_way() -> None:
    """Samples of the same seed are finite and differ from one loss to the next; None is one of
    them.

    The Jensen–Shannon divergence in its two forms is the minimax game but for constants, to which
    Adam is blind.
    """
    drawn = {name: small(loss=name, penalties={}).fit(POINTS).sample(50) for name in PAYOFFS}
    assert all(np.isfinite(rows).all() for rows in drawn.values())
    pairs = itertools.combinations(drawn, 2)
    alike = [(a, b) for a, b in pairs if np.array_equal(drawn[a], drawn[b])]
    assert alike == [("minimax", "js"), ("minimax", "gan"), ("js", "gan")]
    assert np.array_equal(small(penalties={}).fit(POINTS).sample(50), drawn["relativistic"])


def test_samples_have_the_scale_and_type_of_the_data() -> None:
    samples = small().fit(POINTS).sample(40)
    assert samples.shape == (40, 2)
    assert samples.dtype == POINTS.dtype
    assert (np.abs(samples.mean(0) - POINTS.mean(0)) < 5 * POINTS.std(0)).all()
    pictures = random.randint(0, 256, size=(60, 9)).astype(np.uint8)
    samples = small(value_range=(0, 255), picture_shape=(3, 3)).fit(pictures).sample(10)
    assert samples.dtype == np.uint8
    assert samples.min() < samples.max()
    assert small().fit(POINTS.astype(np.float32)).sample(3).dtype == np.float32
    samples = small(value_range=(0, 16)).fit(random.randint(0, 17, size=(60, 4))).sample(100)
    assert samples.dtype == np.int64
    assert samples.min() >= 0
    assert samples.max() <= 16


def test_the_generator_is_averaged_and_the_critic_is_not() -> None:
    how = {"steps": 40, "learning_rate": 0.01}
    averaged, raw = (small(average=decay, **how).fit(POINTS) for decay in (0.999, 0.0))
    ours, its = (
        [getattr(model, name) for model in (averaged.model_, raw.model_)]
        for name in ("generator", "critic")
    )
    assert torch.equal(*(critic.network.layers[0].weight for critic in its))
    assert not torch.equal(*(one.network.layers[0].weight for one in ours))
    assert (averaged.sample(5) != raw.sample(5)).any()


@pytest.mark.parametrize("name", CHECKS)
def test_the_parts_are_wired_together(name: str) -> None:
    CHECKS[name]()


def test_the_seed_reproduces_the_fit() -> None:
    first, second, third = (small(random_state=seed).fit(POINTS) for seed in (1, 1, 2))
    assert torch.equal(parameters_of(first), parameters_of(second))
    assert not torch.equal(parameters_of(first), parameters_of(third))
    fresh = small(random_state=None).fit(POINTS)
    again = small(random_state=fresh.seed_).fit(POINTS)
    assert torch.equal(parameters_of(again), parameters_of(fresh))
    states = [small(random_state=np.random.RandomState(5)).fit(POINTS) for _ in range(2)]
    assert torch.equal(*map(parameters_of, states))


def test_threads_change_nothing_but_the_last_digits() -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(parameters_of(small(betas=(0.5, 0.999)).fit(POINTS)))
    finally:
        torch.set_num_threads(before)
    # a step of Adam is about the slope's sign where the slope is next to nothing, and the last
    # digit may turn that: of few cells, by a step
    moved = (found[0] - found[1]).abs()
    assert moved.max() < 0.01
    assert (moved > 1e-4).double().mean() < 0.01


def test_samples_follow_their_own_random_state() -> None:
    model = small().fit(POINTS)
    assert (model.sample(20) == model.sample(20)).all()
    assert (model.sample(20) == model.sample(30)[:20]).all(), "sample i depends on its row alone"
    assert (model.sample(20, random_state=3) != model.sample(20, random_state=4)).any()


def test_a_gan_finds_a_cluster() -> None:
    """A round cluster far from where it starts: mean and spread of 1000 samples."""
    data = GaussianMixture(np.array([[3.0, -2.0]]), std=0.5).sample(1000, Stream(0))
    how = {"steps": 800, "learning_rate": 2e-3, "average": 0.99, "random_state": 0}
    samples = GAN(hidden=(32,), latent_dim=2, **how).fit(data).sample(1000)
    assert np.abs(samples.mean(0) - [3, -2]).max() < 0.25
    assert 0.05 < samples.std(0).min() <= samples.std(0).max() < 0.9


@pytest.mark.parametrize("cls", [GAN, LAPGAN])
def test_former_names_of_parameters_are_taken_with_a_warning(cls: Any) -> None:
    with pytest.warns(FutureWarning, match="is now called"):
        model = cls(payoff="hinge", k=2, bandwidth=3.0, fade=0.5, critic_rate=0.1, units="picture")
    assert (model.loss, model.critic_steps, model.max_frequency) == ("hinge", 2, 3.0)
    assert (model.annealing, model.critic_learning_rate) == (0.5, 0.1)
    assert model.kinds == "picture"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": ()}, r"hidden=\(\): expected None or widths"),
        ({"critic_steps": 0}, "critic_steps=0: expected"),
        ({"critic_learning_rate": math.inf}, "critic_learning_rate=inf: expected"),
        ({"betas": (0.5, 1.0)}, r"betas=\(0.5, 1.0\): expected None or two numbers in \[0, 1\)"),
        ({"loss": "x"}, "loss='x': expected None or 'minimax'"),
        ({"penalties": "r1"}, "penalties='r1': expected None or a mapping"),
        ({"penalties": {"r3": 1.0}}, "penalties=.*: expected None or a mapping from 'r1'"),
        ({"penalties": {"r1": -1.0}}, "penalties=.*: expected None or a mapping"),
        ({"packing": 30}, "batch_size=20: a batch has 20 rows, and 30 are needed for packs of 30"),
        ({"kinds": "spin", "value_range": None}, "kinds: column 0 is spin, and a GAN knows"),
        ({"value_range": (0, 1)}, "outside 0 to 1|value_range"),
        ({"validation_fraction": 0.05}, "validation_fraction: 6 rows .* fitted to 10 or more"),
    ],
)
def test_impossible_parameters_are_refused_before_any_work(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    rows = (POINTS.mean(0) < POINTS).astype(float) if "kinds" in options else POINTS
    with pytest.raises(ValueError, match=message):
        small(**{"out": str(tmp_path / "run"), **options}).fit(rows)
    assert not (tmp_path / "run").exists()


def test_impossible_samples_are_refused() -> None:
    model = small().fit(POINTS)
    for options, message in (({"n": 0}, "n=0: expected"), ({"y": 3}, "y=3: this GAN learnt no")):
        with pytest.raises(ValueError, match=message):
            model.sample(**options)
