"""What rows decide: the number of a mixture's components, the length of a tree's training."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

import equilibria
from equilibria import ChowLiuTree, Mixture, check
from equilibria.errors import TrainingInterrupted
from equilibria.estimators import estimator
from equilibria.estimators.trees import CHOICES
from equilibria.models.tree import DiscreteTree
from equilibria.recipes import trees
from equilibria.training import trainer
from equilibria.training.distributed import Processes
from small import assert_same


def patterns(kinds: int, rows: int, width: int) -> np.ndarray:
    """Rows that are one of so many patterns, 2 % of their bits turned."""
    draw = np.random.default_rng(0)
    of = draw.integers(2, size=(kinds, width))[draw.integers(kinds, size=rows)]
    return (of != (draw.uniform(size=of.shape) < 0.02)).astype(float)


def test_there_are_as_many_components_as_held_out_rows_like() -> None:
    """60 patterns take more than 30 components; of columns that are independent more than a few
    know the rows by heart, and cost new ones dearly."""
    many = Mixture(random_state=0).fit(patterns(60, 3000, 40))
    few = Mixture(random_state=0).fit(np.random.default_rng(1).integers(2, size=(200, 60)))
    assert many.settings_.n_components >= 100
    assert few.settings_.n_components == 10
    new = patterns(60, 4000, 40)[3000:]
    assert many.score(new) > Mixture(10, random_state=0).fit(patterns(60, 3000, 40)).score(new) + 2
    tiny = Mixture(random_state=0).fit(np.eye(3))  # too few rows for a trial
    assert tiny.settings_.n_components == 10


def test_what_the_user_asked_for_stays(tmp_path: Path) -> None:
    rows = patterns(12, 400, 16)
    model = Mixture(random_state=3, validation_fraction=0.2, out=tmp_path / "run").fit(rows)
    chosen = model.settings_.n_components
    assert model.n_components is None
    assert clone(model).n_components is None
    assert chosen == 30
    found = equilibria.load(tmp_path / "run")
    assert found.n_components is None
    assert found.settings_.n_components == chosen
    by_hand = Mixture(chosen, random_state=3, validation_fraction=0.2).fit(rows)
    assert_same(by_hand, model, rows)
    (tmp_path / "run" / "model.safetensors").unlink()
    assert_same(equilibria.resume(tmp_path / "run", rows), model, rows)
    timed = Mixture(random_state=0, minutes=0.01).fit(rows)
    assert timed.settings_.n_components
    assert timed.settings_.steps
    assert timed.minutes == 0.01


def test_a_trial_that_cannot_be_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A column whose one value is held out, and sizes that memory does not hold, end the trial."""
    rows = np.full((100, 2), np.nan)
    rows[:, 0], rows[7, 1] = np.arange(100) % 2, 1.0
    for seed in range(12):
        model = Mixture(kinds="binary", random_state=seed).fit(rows)
        assert model.settings_.n_components in CHOICES
    wide = np.random.default_rng(0).integers(2, size=(1500, 200))
    monkeypatch.setattr(check, "memory", lambda: 3e5)
    assert Mixture(random_state=0).fit(wide).settings_.n_components < 300


def test_a_trial_is_of_some_rows_and_counts_as_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "TRIAL", 50)
    ticks = iter(range(10**6))
    monkeypatch.setattr(trainer, "CLOCK", lambda: 0.0)
    monkeypatch.setattr(estimator, "CLOCK", lambda: 100.0 * next(ticks))
    model = Mixture(random_state=0).fit(patterns(3, 400, 8))
    assert model.history_[0]["seconds"] >= 100
    trial = trees.trial_of(model._split(model.table_, patterns(3, 400, 8), None, Processes()))
    assert (len(trial), len(trial.held)) == (45, 5)


def test_a_signal_in_the_trial_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = DiscreteTree.log_prob

    def log_prob(self: Any, *given: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return of(self, *given)

    monkeypatch.setattr(DiscreteTree, "log_prob", log_prob)
    with pytest.raises(TrainingInterrupted, match="while n_components was tried; nothing was"):
        Mixture(random_state=0, out=tmp_path / "run").fit(patterns(3, 100, 4))
    assert not (tmp_path / "run").exists()


def test_a_tree_of_complete_categories_takes_one_iteration() -> None:
    """More change nothing; gaps, numbers and batches want them."""
    rows = patterns(8, 300, 12)
    once = ChowLiuTree(random_state=0).fit(rows)
    assert once.n_steps_ == 1
    assert once.get_params()["steps"] is None
    longer = ChowLiuTree(steps=20, random_state=0).fit(rows)
    np.testing.assert_allclose(once.score_samples(rows), longer.score_samples(rows), atol=1e-5)
    torn = np.where(np.arange(12) == np.arange(300)[:, None] % 12, np.nan, rows)
    assert ChowLiuTree().fit(torn).n_steps_ == 20
    assert ChowLiuTree().fit(rows + np.linspace(0, 1, 300)[:, None]).n_steps_ == 20
    assert ChowLiuTree(batch_size=50).fit(rows).n_steps_ == 20
    labels = np.array(["a", "b", None] * 100)
    assert ChowLiuTree(labels=True).fit(rows, labels).n_steps_ == 20
    timed = ChowLiuTree(minutes=0.01).fit(rows)
    assert timed.steps is None
    assert timed.settings_.steps == timed.n_steps_
