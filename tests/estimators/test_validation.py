"""With held-out rows the machine that they fitted best is kept, where log Z can be enumerated."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from equilibria import DBM, RBM, resume
from equilibria.errors import TrainingInterrupted
from equilibria.inference import exact
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.training.progress import Interrupts
from equilibria.training.stage import Best
from equilibria.units import Bernoulli

ROWS = np.random.RandomState(0).randint(0, 2, (24, 8)).astype(float)
"""Nothing to be learnt but the rows themselves: the longer a machine trains, the worse it fits
others."""

OPTIONS: dict[str, Any] = {
    "learning_rate": 0.5,
    "momentum": 0.9,
    "batch_size": 12,
    "random_state": 0,
    "validation_fraction": 0.5,
}


def rbm(**options: Any) -> RBM:
    return RBM(**{"n_components": 16, "n_iter": 300, **OPTIONS, **options})


def dbm(**options: Any) -> DBM:
    return DBM(
        **{
            "hidden": (10, 4),
            "steps": 300,
            "pretrain_steps": 20,
            "chains": 20,
            **OPTIONS,
            **options,
        }
    )


def checks(model: Any) -> list[dict[str, float]]:
    return [row for row in model.history_ if "held_out_loss" in row]


@pytest.mark.parametrize(("make", "average"), [(rbm, 0.0), (dbm, 0.9)])
def test_the_best_check_is_kept(make: Any, average: float) -> None:
    """The kept machine's bound on the held-out rows, by an enumerated log Z, is the best of those
    that were logged."""
    model = make(average=average).fit(ROWS)
    logged = [row["held_out_log_likelihood"] for row in checks(model)]
    assert checks(model)[-1]["held_out_loss"] == pytest.approx(max(logged) - logged[-1])
    assert max(logged) - logged[-1] > 0.2, "the last machine is as good as any: the test is empty"
    assert model.log_partition_.is_exact
    assert model.log_partition_.value == pytest.approx(
        exact.log_partition(copy.deepcopy(model.machine_).double()), abs=1e-9
    )
    assert model.score(_held_out(model)) == pytest.approx(max(logged), abs=1e-3)
    assert any(
        "An earlier machine fitted held-out rows better" in sentence for sentence in model.health_
    )


def _held_out(model: Any) -> np.ndarray:
    """As the estimator draws them."""
    order = model.stream.child("validation").permutation(len(ROWS)).numpy()
    return ROWS[np.sort(order[: len(ROWS) // 2])]


def test_it_survives_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rbm().fit(ROWS)
    stopped = iter([False] * 60 + [True] * 10**6)  # after the best check, before the last one
    came = property(lambda self: 2 if next(stopped) else None)
    monkeypatch.setattr(Interrupts, "signal", came)
    with pytest.raises(TrainingInterrupted):
        rbm(out=tmp_path / "run").fit(ROWS)
    monkeypatch.undo()
    model = resume(tmp_path / "run", ROWS)
    assert (model.components_ == whole.components_).all()
    assert [row["held_out_loss"] for row in checks(model)] == [
        row["held_out_loss"] for row in checks(whole)
    ]


def test_a_large_machine_keeps_the_last() -> None:
    model = rbm(n_components=40, n_iter=2, ais_betas=10).fit(np.tile(ROWS, 2))
    assert not checks(model)
    assert any("free_energy_gap" in row for row in model.history_)


def test_an_earlier_check_within_chance_is_not_taken() -> None:
    """A mean difference counts from two standard errors on, here .82."""
    machine = BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2)).initialise(0)
    noise = torch.tensor([1.0, -1.0, 0.0, 0.0]).double()  # a standard error of .41
    scores = iter([torch.zeros(4), noise - 0.8, noise - 0.9])
    best = Best(machine, lambda module: next(scores))
    assert best.consider() == {"held_out_score": 0.0, "held_out_loss": 0.0}
    before = machine.weight["visible-hidden1"].detach().clone()
    with torch.no_grad():
        machine.weight["visible-hidden1"].add_(1.0)
    assert best.consider()["held_out_loss"] == 0.0
    best.recall()
    assert not torch.equal(machine.weight["visible-hidden1"], before)
    assert best.consider()["held_out_loss"] == pytest.approx(0.9, abs=1e-5)
    best.recall()
    assert torch.equal(machine.weight["visible-hidden1"], before)
