"""A deep belief network goes through evaluation and report like any other model with a likelihood."""

from __future__ import annotations

from pathlib import Path

import pytest

import equilibria
from equilibria import DBN
from equilibria.report import page
from equilibria.report.assessment import assess
from equilibria.training.origin import attach, collect


def test_it_is_measured_and_shown(tmp_path: Path) -> None:
    run, loaded = tmp_path / "run", collect("digits")
    model = DBN(hidden=(12, 64), steps=20, random_state=0, out=str(run), ais_betas=20, ais_chains=10)
    attach(model, loaded)
    model.fit(loaded.train.values)
    results = {result.name: result for result in assess(run, samples=100)}
    held_out, training = (results[f"mean bound on log-likelihood of {what} rows, nats"] for what in ("held-out", "training"))
    assert results["variational free energy gap, nats"].value == pytest.approx(training.value - held_out.value, abs=1e-6)
    assert held_out.value == pytest.approx(equilibria.load(run).score(loaded.test.values), abs=1e-6)
    assert results["log Z, nats"].value == pytest.approx(model.log_partition_.value)
    text = page.write([run], None).read_text(encoding="utf-8")
    for words in ("Deep belief network", "Layers of 64, 12 and 64 units", "Filters of the first hidden layer", "hidden layer 2"):
        assert words in text
    assert "equilibria train dbn digits --out NEW_FOLDER --random-state 0 --hidden 12,64 --steps 20" in text
