"""Deep generative models that are trained to an equilibrium: Boltzmann machines and adversarial
networks.

The names below are imported on first use, so that ``import equilibria`` and the command line's help
stay quick.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "ChowLiuTree": "estimators.trees",
    "DBM": "estimators.dbm",
    "DBN": "estimators.dbn",
    "Flow": "estimators.flow",
    "GAN": "estimators.gan",
    "Independent": "estimators.trees",
    "LAPGAN": "estimators.lapgan",
    "LatentTree": "estimators.trees",
    "MADE": "estimators.made",
    "Mixture": "estimators.trees",
    "NADE": "estimators.nade",
    "RBM": "estimators.rbm",
    "FineTunedClassifier": "estimators.fine_tuned",
    "NextState": "estimators.next_state",
    "Imputer": "estimators.imputer",
    "compare": "report.compare",
    "odd": "report.odd",
    "evaluate": "evaluation.tables",
    "verdict": "report.verdict",
    "load": "estimators",
    "resume": "estimators",
    "BeliefNetwork": "models.belief_network",
    "BoltzmannMachine": "models.boltzmann",
    "Generator": "models.generator",
    "Model": "models.model",
    "capabilities": "models.model",
    "Measure": "numbers",
    "Stream": "random",
    "Table": "data.table",
}
"""Public name → the module that has it. A model is on the command line too."""

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'equilibria' has no attribute {name!r}")
    return getattr(importlib.import_module(f"equilibria.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def homes() -> dict[str, str]:
    """Public names and the modules that have them."""
    return dict(_HOMES)
