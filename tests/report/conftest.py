"""Small finished runs that the tests of the report share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equilibria import DBM, GAN
from equilibria.data import write_csv
from equilibria.report.assessment import assess
from equilibria.training.origin import attach, collect

HOSTILE = "<script>alert('&\"')</script>"


def trained(estimator: Any, source: str | Path, folder: Path, **about: Any) -> Path:
    """The run folder of an estimator fitted on some data."""
    loaded = collect(source, **about)
    attach(estimator, loaded)
    estimator.set_params(out=str(folder), random_state=0).fit(loaded.train.values)
    return folder


@pytest.fixture(scope="session")
def dbm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluated DBM of digits."""
    model = DBM(hidden=(12, 6), steps=60, pretrain_steps=30, ais_betas=20, ais_chains=10)
    folder = trained(model, "digits", tmp_path_factory.mktemp("runs") / "dbm")
    assess(folder, samples=60)
    return folder


@pytest.fixture(scope="session")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluated GAN of digits."""
    folder = trained(GAN(steps=50, batch_size=64), "digits", tmp_path_factory.mktemp("runs") / "gan")
    assess(folder, samples=60)
    return folder


@pytest.fixture
def hostile_table(tmp_path: Path) -> Path:
    """A CSV file of three columns and a label whose names, and whose own name, are HTML."""
    noise = np.random.RandomState(0).normal(size=(80, 3)).round(3)
    table = np.column_stack([noise.astype(str), np.where(noise[:, 0] > 0, HOSTILE, "$x_1$")])
    path = tmp_path / "<img src=x onerror=y>.csv"
    write_csv(path, table, ["label" if i == 3 else f"{HOSTILE}{i}" for i in range(4)])
    return path
