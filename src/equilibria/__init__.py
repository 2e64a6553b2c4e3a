"""Deep generative models that are trained to an equilibrium: Boltzmann machines and adversarial networks.

The names below are imported on first use, so that ``import equilibria`` and the command line's help stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equilibria.estimators import DBM as DBM
    from equilibria.estimators import DBN as DBN
    from equilibria.estimators import GAN as GAN
    from equilibria.estimators import LAPGAN as LAPGAN
    from equilibria.estimators import RBM as RBM
    from equilibria.estimators import FineTunedClassifier as FineTunedClassifier
    from equilibria.estimators import NextState as NextState
    from equilibria.estimators import load as load
    from equilibria.estimators import resume as resume
    from equilibria.models.belief_network import BeliefNetwork as BeliefNetwork
    from equilibria.models.boltzmann import BoltzmannMachine as BoltzmannMachine
    from equilibria.numbers import Measure as Measure

__version__ = "0.1.0"

_HOMES = {
    "BeliefNetwork": "equilibria.models.belief_network",
    "BoltzmannMachine": "equilibria.models.boltzmann",
    "DBM": "equilibria.estimators",
    "DBN": "equilibria.estimators",
    "GAN": "equilibria.estimators",
    "Estimate": "equilibria.numbers",
    "Measure": "equilibria.numbers",
    "FineTunedClassifier": "equilibria.estimators",
    "LAPGAN": "equilibria.estimators",
    "NextState": "equilibria.estimators",
    "RBM": "equilibria.estimators",
    "load": "equilibria.estimators",
    "resume": "equilibria.estimators",
}

_RENAMED = {"Estimate": "Measure"}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'equilibria' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), _RENAMED.get(name, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
