"""Boltzmann machines with scikit-learn's face: `RBM` and `DBM`."""

from __future__ import annotations

from equilibria.estimators.deep import DBM
from equilibria.estimators.restricted import RBM

__all__ = ["DBM", "RBM"]
