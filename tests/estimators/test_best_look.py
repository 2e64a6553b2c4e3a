"""With held-out rows the machine that they fitted best is the one that is kept, where log Z can be enumerated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from equilibria import DBM, RBM, resume
from equilibria.errors import TrainingInterrupted
from equilibria.games.best import Best
from equilibria.inference import exact
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.training.progress import Interrupts
from equilibria.units import Bernoulli

ROWS = np.random.RandomState(0).randint(0, 2, (24, 8)).astype(float)
"""Nothing to be learnt but the rows themselves: the longer a machine trains, the worse it fits others."""

OPTIONS: dict[str, Any] = {"learning_rate": 0.5, "batch_size": 12, "random_state": 0, "validation_fraction": 0.5}


def rbm(**options: Any) -> RBM:
    return RBM(**{"n_components": 16, "n_iter": 300, **OPTIONS, **options})


def dbm(**options: Any) -> DBM:
    return DBM(**{"hidden": (10, 4), "steps": 300, "pretrain_steps": 20, "chains": 20, **OPTIONS, **options})


def looks(model: Any) -> list[dict[str, float]]:
    return [row for row in model.history_ if "held_out_loss" in row]


@pytest.mark.parametrize(("make", "average"), [(rbm, 0.0), (dbm, 0.9)])
def test_the_best_look_is_kept(make: Any, average: float) -> None:
    """The kept machine's bound on the held-out rows, by an enumerated log Z, is the best of those that were logged."""
    model = make(average=average).fit(ROWS)
    logged = [row["held_out_log_likelihood"] for row in looks(model)]
    assert looks(model)[-1]["held_out_loss"] == pytest.approx(max(logged) - logged[-1])
    assert max(logged) - logged[-1] > 0.2, "the last machine is as good as any: the test is empty"
    assert model.log_partition_.is_exact
    assert model.log_partition_.value == pytest.approx(exact.log_partition(model._precise()), abs=1e-9)
    assert model.score(_held_out(model)) == pytest.approx(max(logged), abs=1e-3)
    assert any("An earlier machine fitted held-out rows better" in sentence for sentence in model.health_)


def _held_out(model: Any) -> np.ndarray:
    """As the estimator draws them."""
    order = model._stream().child("validation").permutation(len(ROWS)).numpy()
    return ROWS[np.sort(order[: len(ROWS) // 2])]


def test_it_survives_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rbm().fit(ROWS)
    stopped = iter([False] * 60 + [True] * 10**6)  # after the best look, before the last one
    monkeypatch.setattr(Interrupts, "requested", property(lambda self: next(stopped)))
    with pytest.raises(TrainingInterrupted):
        rbm(out=tmp_path / "run").fit(ROWS)
    monkeypatch.undo()
    model = resume(tmp_path / "run", ROWS)
    assert (model.components_ == whole.components_).all()
    assert [row["held_out_loss"] for row in looks(model)] == [row["held_out_loss"] for row in looks(whole)]


def test_a_large_machine_keeps_the_last() -> None:
    model = rbm(n_components=40, n_iter=2, ais_betas=10).fit(np.tile(ROWS, 2))
    assert not looks(model)
    assert any("free_energy_gap" in row for row in model.history_)


def test_an_earlier_look_within_chance_is_not_taken() -> None:
    """A mean difference counts from two standard errors on, here .82."""
    machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2)).initialise(0)
    best, z = Best(machine, rows=4), exact.log_partition(machine)
    assert best.consider(machine, lambda m: torch.zeros(4)) == {
        "held_out_log_likelihood": pytest.approx(-z, abs=1e-6),
        "held_out_loss": 0.0,
    }
    before = machine.weight["visible-hidden1"].detach().clone()
    with torch.no_grad():
        machine.weight["visible-hidden1"].add_(1.0)
    shift = exact.log_partition(machine) - z
    noise = torch.tensor([1.0, -1.0, 0.0, 0.0]).double()  # a standard error of .41
    assert best.consider(machine, lambda m: shift - 0.8 + noise)["held_out_loss"] == 0.0
    best.recall(machine)
    assert not torch.equal(machine.weight["visible-hidden1"], before)
    assert best.consider(machine, lambda m: shift - 0.9 + noise)["held_out_loss"] == pytest.approx(0.9, abs=1e-5)
    best.recall(machine)
    assert torch.equal(machine.weight["visible-hidden1"], before)


def test_only_small_machines_are_looked_at() -> None:
    assert Best.fits(BoltzmannMachine.stack(Bernoulli(14), Bernoulli(30)))
    assert not Best.fits(BoltzmannMachine.stack(Bernoulli(15), Bernoulli(30)))
