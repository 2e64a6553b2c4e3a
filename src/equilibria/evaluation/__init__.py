"""Evaluation: numbers that say whether to trust a model, each with its sample count and its floor."""

from equilibria.evaluation.calibration import Calibration, Reliability, calibration, ratio_rmse, reliability
from equilibria.evaluation.copying import Copying, nearest
from equilibria.evaluation.coverage import Coverage, CoverageReport
from equilibria.evaluation.distances import frechet, kernel
from equilibria.evaluation.divergence import jensen_shannon
from equilibria.evaluation.features import PIXELS, Features, inception, network_features
from equilibria.evaluation.likelihood import bound, free_energy_gap
from equilibria.evaluation.metric import Metric
from equilibria.evaluation.modes import Modes, modes
from equilibria.evaluation.neighbours import Neighbours, neighbours
from equilibria.evaluation.parzen import parzen
from equilibria.evaluation.two_sample import two_sample
from equilibria.inference.partition import both_sides, log_partition

__all__ = [
    "PIXELS",
    "Calibration",
    "Copying",
    "Coverage",
    "CoverageReport",
    "Features",
    "Metric",
    "Modes",
    "Neighbours",
    "Reliability",
    "both_sides",
    "bound",
    "calibration",
    "frechet",
    "free_energy_gap",
    "inception",
    "jensen_shannon",
    "kernel",
    "log_partition",
    "modes",
    "nearest",
    "neighbours",
    "network_features",
    "parzen",
    "ratio_rmse",
    "reliability",
    "two_sample",
]
