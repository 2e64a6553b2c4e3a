"""The machine that a fine-tuned classifier starts from: an estimator, or the run folder of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equilibria.errors import RunError
from equilibria.estimators.boltzmann import DBM, RBM
from equilibria.estimators.undirected import UndirectedEstimator
from equilibria.training.run import Run

__all__ = ["source_of"]

KINDS: dict[str, type[UndirectedEstimator]] = {cls.model_name: cls for cls in (RBM, DBM)}


def source_of(machine: Any, device: str) -> UndirectedEstimator:
    """The estimator that ``machine`` stands for; a run folder is loaded, onto ``device``.

    Raises
    ------
    ValueError
        When it is something else.
    equilibria.errors.RunError
        When the folder is missing, damaged, of another model, or its training has not ended.
    """
    if isinstance(machine, str | Path):
        run = Run.open(machine)
        kind = run.config.get("model")
        if kind not in KINDS:
            raise RunError(f"machine={str(machine)!r} is a run of the model {kind!r}: expected one of {', '.join(KINDS)}")
        return KINDS[kind]._from_run(run, device)
    machine = getattr(machine, "estimator", machine)  # out of a FrozenEstimator
    if not isinstance(machine, UndirectedEstimator) or machine.model_name not in KINDS:
        raise ValueError(f"machine={machine!r}: expected an RBM or a DBM, or the run folder of a trained one")
    return machine
