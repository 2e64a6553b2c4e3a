"""Inference: Gibbs sampling, replica exchange, mean field, exact sums, log Z, density ratios."""

from equilibria.inference import diagnostics, exact, gibbs, ladder, partition
from equilibria.inference.mean_field import MeanField, mean_field

__all__ = ["MeanField", "diagnostics", "exact", "gibbs", "ladder", "mean_field", "partition"]
