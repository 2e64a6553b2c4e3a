"""Run folders and files as the commands need them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equilibria.errors import RunError

if TYPE_CHECKING:
    from equilibria.training.run import Run

__all__ = ["fitted", "opened", "target"]


def opened(path: str | Path) -> Run:
    """A run folder whose configuration is complete.

    Raises
    ------
    RunError
        Where it is not.
    """
    from equilibria import estimators
    from equilibria.training.run import Run

    run = Run.open(path)
    try:
        estimators._class_of(run)._unfitted(run)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{run.path / 'config.json'} is damaged ({error!r}): restore it from a copy") from error
    return run


def fitted(path: str | Path) -> Any:
    """The fitted estimator of a run folder."""
    from equilibria import estimators

    opened(path)
    return estimators.load(path)


def target(out: str, suffixes: Sequence[str], overwrite: bool) -> Path:
    """A file that may be written, with the folder it is to be in.

    Raises
    ------
    ValueError
        When it is there already, ends otherwise than in ``suffixes``, or cannot be written.
    """
    path = Path(out)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"out={out!r}: expected a name that ends in {' or '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"out={out!r} is a folder: name a file")
    if path.exists() and not overwrite:
        raise ValueError(f"out={out!r} is there already: choose another name, or replace it with --overwrite")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out={out!r} cannot be written ({error}): choose a folder that you may write to") from error
    return path
