"""The scikit-learn face: one estimator a model, with no algorithm of its own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import equilibria
from equilibria.errors import RunError
from equilibria.training.run import Run

__all__ = ["all_estimators", "face", "load", "resume"]


def all_estimators() -> dict[str, Any]:
    """Every estimator by the name that run folders and the command line use.

    >>> sorted(all_estimators())[:2]
    ['dbm', 'dbn']
    """
    found = {}
    for name, home in equilibria.homes().items():
        if home.startswith("estimators."):
            cls = getattr(importlib.import_module(f"equilibria.{home}"), name)
            if hasattr(cls, "name"):  # what is trained into a run has one
                found[cls.name] = cls
    return found


def face(name: str) -> Any:
    """A function of the package's own face, which may be of a floor above: a method of that name
    calls it."""
    return getattr(equilibria, name)


def load(path: str | Path | Run, device: str | None = None) -> Any:
    """The fitted estimator of a run folder.

    Parameters
    ----------
    path : str, Path or Run
        The run folder, or one that is open already.
    device : str, optional
        Where torch computes, if not where it was trained.

    Raises
    ------
    equilibria.errors.RunError
        When the folder is missing, foreign, damaged, or its training has not ended (see
        :func:`resume`).
    """
    run = path if isinstance(path, Run) else Run.open(path)
    return _class_of(run).from_run(run, device)


def resume(path: str | Path | Run, X: Any, y: Any = None) -> Any:
    """Go on with a run that was stopped, from its last good checkpoint; the fitted estimator.

    The result is bit for bit what the run would have given without the stop, on the same build and
    device. ``X`` and ``y`` are the data that the run was started with.

    Raises
    ------
    equilibria.errors.RunError
        When the folder cannot be used.
    """
    run = path if isinstance(path, Run) else Run.open(path)
    return _class_of(run).go_on(run, X, y)


def _class_of(run: Run) -> Any:
    name, known = run.config.get("model"), all_estimators()
    parts = (run.config.get("schema") or {}).get("parts")
    if isinstance(parts, list) and all(isinstance(part, dict) for part in parts):
        parts = [part.get("name") for part in parts]
    if parts == ["past", "future"]:
        name = "next-state"  # 0.1.0 saved the machine of its windows
    if name not in known:
        raise RunError(
            f"run={str(run.path)!r} is of the model {name!r}; this version knows {', '.join(known)}"
        )
    return known[name]
