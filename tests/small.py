"""Every estimator, made small by the names of its parameters: a new one needs no entry here."""

from __future__ import annotations

import functools
import signal
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from equilibria import RBM
from equilibria.data.rows import Rows
from equilibria.estimators import all_estimators
from equilibria.estimators.params import parameters
from equilibria.training.run import Run

ESTIMATORS = all_estimators()
NAMES = sorted(ESTIMATORS)
SIZES: dict[str, Any] = {
    "n_components": 4,
    "n_iter": 2,
    "hidden": (6, 4),
    "steps": 6,
    "pretrain_steps": 3,
    "batch_size": 10,
    "chains": 10,
    "mean_field_steps": 3,
    "bound_samples": 2,
    "ais_chains": 4,
    "ais_betas": 10,
    "channels": 4,
    "latent_dim": 2,
    "random_state": 0,
}
"""Sizes of a training that takes a moment; an estimator is given those that it has."""

_RATES = np.where(np.arange(40)[:, None] % 2, 0.2, 0.8)
BITS = (np.random.RandomState(0).uniform(size=(40, 16)) < _RATES).astype(float)
"""Rows of two kinds: pictures of four by four, and a sequence."""
LABELS = np.where(np.arange(40) % 2, "odd", "even")


def small(cls: Any, **options: Any) -> Any:
    """An estimator of small size."""
    names = {field.name for field in parameters(cls)}
    sizes = {name: value for name, value in SIZES.items() if name in names}
    if "machine" in names:
        sizes["machine"] = small(RBM, n_iter=1)
    if cls.takes == {"picture"}:
        sizes["picture_shape"] = (4, 4)
    return cls(**{**sizes, **options})


@functools.cache
def fitted(name: str) -> Any:
    """The small estimator of a name, fitted to :data:`BITS`; for tests that leave it as it is."""
    return small(ESTIMATORS[name]).fit(BITS, LABELS)


def with_capability(*wanted: str, **options: Any) -> list[str]:
    """Names of the estimators that have all of these capabilities when fitted."""
    found = []
    for name, cls in ESTIMATORS.items():
        known = {field.name for field in parameters(cls)}
        if set(options) <= known and set(wanted) <= small(cls, **options).capabilities_:
            found.append(name)
    return sorted(found)


GAPS = np.where(np.arange(16) % 3, BITS[:5], np.nan)
QUESTIONS: dict[str, Any] = {
    "sample": lambda model, X: model.sample(7),
    "score_samples": lambda model, X: model.score_samples(X),
    "transform": lambda model, X: model.transform(X),
    "predict_log_proba": lambda model, X: model.predict_log_proba(X),
    "impute": lambda model, X: model.impute(GAPS, n=2),
    "forecast": lambda model, X: model.forecast(X[:3], 3),
}
"""Method → a question to it, asked of a model of the columns of :data:`BITS`."""


def answers(model: Any, X: np.ndarray = BITS) -> dict[str, np.ndarray]:
    """What a fitted model says to everything that it can be asked, its state included."""
    found = {k: np.asarray(ask(model, X)) for k, ask in QUESTIONS.items() if hasattr(model, k)}
    return {**found, **{name: x.numpy() for name, x in state_of(model).items()}}


def state_of(model: Any) -> dict[str, Tensor]:
    """Parameters and buffers of a model; copies."""
    return {name: x.detach().clone() for name, x in model.model_.state_dict().items()}


def assert_same(left: Any, right: Any, X: np.ndarray = BITS) -> None:
    """Two fitted models answer the same, bit for bit."""
    mine, other = (
        model if isinstance(model, dict) else answers(model, X) for model in (left, right)
    )
    assert list(mine) == list(other)
    assert [name for name, x in mine.items() if not np.array_equal(x, other[name], True)] == []


def table_of(columns: int) -> np.ndarray:
    """All binary rows, (2**columns, columns)."""
    return (np.arange(2**columns)[:, None] >> np.arange(columns) & 1).astype(float)


def doubles(rows: np.ndarray) -> Tensor:
    """Rows as a float64 tensor."""
    return torch.from_numpy(np.asarray(rows, dtype=np.float64))


def plan_of(model: Any, X: Any, y: Any = None) -> tuple[Any, list[Any]]:
    """An estimator's model and the stages that it would be trained in."""
    twin = model.checked()
    X = twin.validated(X, reset=True)
    table = twin.tabulate(X, y)
    twin.seed_ = int(twin.random_state or 0)
    plan = twin.build(table, twin.stream)
    rows = Rows(table, X, twin.codes(table, y, len(X)), twin.stream)
    return plan.model, plan.recipe(rows)


def stop_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """SIGINT when the checkpoint of a step is written; one is written at every step."""
    patch.setattr("equilibria.training.trainer.CHECKPOINT_SECONDS", 0.0)
    save = Run.save_checkpoint

    def stopping(run: Run, state: Any, at: int) -> Any:
        if at == step:
            signal.raise_signal(signal.SIGINT)
        return save(run, state, at)

    patch.setattr(Run, "save_checkpoint", stopping)
