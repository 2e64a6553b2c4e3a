"""Evaluation: numbers that say whether to trust a model, each with its sample count and its floor."""

from equilibria.evaluation.copying import Copying, nearest
from equilibria.evaluation.coverage import Coverage, CoverageReport
from equilibria.evaluation.likelihood import TwoSided, both_sides, bound, free_energy_gap, log_partition
from equilibria.evaluation.metric import Metric
from equilibria.evaluation.modes import Modes, modes
from equilibria.evaluation.two_sample import two_sample

__all__ = [
    "Copying",
    "Coverage",
    "CoverageReport",
    "Metric",
    "Modes",
    "TwoSided",
    "both_sides",
    "bound",
    "free_energy_gap",
    "log_partition",
    "modes",
    "nearest",
    "two_sample",
]
