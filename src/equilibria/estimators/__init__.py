"""The scikit-learn face: one estimator a model, with no algorithm of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equilibria.errors import RunError
from equilibria.estimators.adversarial import GAN
from equilibria.estimators.base import GenerativeEstimator
from equilibria.estimators.belief_network import DBN
from equilibria.estimators.boltzmann import DBM, RBM
from equilibria.estimators.fine_tuned import FineTunedClassifier
from equilibria.estimators.pyramid import LAPGAN
from equilibria.estimators.sequence import NextState
from equilibria.training.run import Run

__all__ = [
    "DBM",
    "DBN",
    "ESTIMATORS",
    "GAN",
    "LAPGAN",
    "MODELS",
    "RBM",
    "FineTunedClassifier",
    "NextState",
    "load",
    "load_generative",
    "resume",
]

MODELS: dict[str, type[GenerativeEstimator]] = {cls.model_name: cls for cls in (RBM, DBM, DBN, GAN, LAPGAN)}
"""Generative estimators by the names that a run folder and the command line use."""

_IN_RUNS: dict[str, type[GenerativeEstimator]] = {**MODELS, FineTunedClassifier.model_name: FineTunedClassifier}

ESTIMATORS: dict[str, type] = {**_IN_RUNS, "next-state": NextState}
"""All estimators by name; what :func:`load` may give."""


def load(path: str | Path, device: str | None = None) -> Any:
    """The fitted estimator of a run folder, of the class that made it.

    Parameters
    ----------
    path : str or Path
        The run folder.
    device : str, optional
        Where torch computes, if not where it was trained.

    Raises
    ------
    equilibria.errors.RunError
        When the folder is missing, foreign, damaged, or its training has not ended (see :func:`resume`).
    """
    run = Run.open(path)
    if NextState.made(run):
        return NextState.load(path, device)
    return _class_of(run)._from_run(run, device)


def load_generative(path: str | Path, device: str | None = None) -> Any:
    """As :func:`load`, but of a :class:`NextState` the machine of its windows, whose rows samples and scores are of."""
    estimator = load(path, device)
    return estimator.machine_ if isinstance(estimator, NextState) else estimator


def resume(path: str | Path, X: Any, y: Any = None) -> Any:
    """Go on with a run that was stopped, from its last good checkpoint, and return the fitted estimator.

    The result is bit for bit what the run would have given without the stop, on the same build and device.

    Parameters
    ----------
    path : str or Path
        The run folder.
    X : array-like
        The data that the run was started with.
    y : array-like, optional
        Its labels, where the model was given them.

    Raises
    ------
    ValueError
        When ``X`` or ``y`` are other data.
    equilibria.errors.RunError
        When the folder cannot be used.
    """
    run = Run.open(path)
    if NextState.made(run):
        return NextState.resumed(run, X)
    return _class_of(run)._resumed(run, X, y)


def _class_of(run: Run) -> type[GenerativeEstimator]:
    name = run.config.get("model")
    if not isinstance(name, str) or name not in _IN_RUNS:
        raise RunError(f"run={str(run.path)!r} is of the model {name!r}; this version knows {', '.join(_IN_RUNS)}")
    return _IN_RUNS[name]
