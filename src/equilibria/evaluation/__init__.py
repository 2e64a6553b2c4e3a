"""Evaluation: numbers that say whether to trust a model, each a :class:`~equilibria.Measure`."""

from equilibria.evaluation.calibration import Calibration, calibration, jensen_shannon, reliability
from equilibria.evaluation.chains import ChainMonitor, free_energy_gap, mixing
from equilibria.evaluation.coverage import Coverage
from equilibria.evaluation.differences import Differences, differences
from equilibria.evaluation.features import PIXELS, Features, network_features
from equilibria.evaluation.likelihood import bound
from equilibria.evaluation.modes import modes
from equilibria.evaluation.monitor import GameMonitor, cluster_coverage
from equilibria.evaluation.parzen import parzen
from equilibria.evaluation.quality import frechet, kernel, memorisation, prdc
from equilibria.evaluation.tables import Evaluation, evaluate
from equilibria.evaluation.two_sample import two_sample
from equilibria.inference.partition import both_sides, log_partition

__all__ = [
    "PIXELS",
    "Calibration",
    "ChainMonitor",
    "Coverage",
    "Differences",
    "Evaluation",
    "Features",
    "GameMonitor",
    "both_sides",
    "bound",
    "calibration",
    "cluster_coverage",
    "differences",
    "evaluate",
    "frechet",
    "free_energy_gap",
    "jensen_shannon",
    "kernel",
    "log_partition",
    "memorisation",
    "mixing",
    "modes",
    "network_features",
    "parzen",
    "prdc",
    "reliability",
    "two_sample",
]
