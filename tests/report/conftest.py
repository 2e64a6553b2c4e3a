"""Small finished runs that the tests of the report share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equilibria import DBM, GAN, MADE
from equilibria.data import write_csv
from equilibria.report.assessment import assess
from equilibria.training.origin import collect

HOSTILE = "<script>alert('&\"')</script>"


@pytest.fixture(scope="session")
def trained() -> Callable[..., Path]:
    """Fit an estimator to some data; its run folder."""

    def fit(model: Any, source: str | Path, folder: Path, **about: Any) -> Path:
        model.set_params(out=str(folder), random_state=0).fit(collect(source, **about).train)
        return folder

    return fit


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, trained: Callable[..., Path]) -> dict[str, Path]:
    """An evaluated DBM, MADE and GAN of digits."""
    folder = tmp_path_factory.mktemp("runs")
    models = {
        "dbm": DBM(hidden=(12, 6), steps=60, pretrain_steps=30, ais_betas=20, ais_chains=10),
        "made": MADE(hidden=(20,), steps=60),
        "gan": GAN(hidden=(30,), steps=50, batch_size=64),
    }
    for name, model in models.items():
        assess(trained(model, "digits", folder / name), samples=60)
    return {name: folder / name for name in models}


@pytest.fixture
def hostile_table(tmp_path: Path) -> Path:
    """A CSV file whose columns, labels and own name are HTML."""
    noise = np.random.RandomState(0).normal(size=(80, 3)).round(3)
    labels = np.where(noise[:, 0] > 0, HOSTILE, "$x_1$")
    path = tmp_path / "<img src=x onerror=y>.csv"
    names = [f"{HOSTILE}{i}" for i in range(3)] + ["label"]
    write_csv(path, np.column_stack([noise.astype(str), labels]), names)
    return path
