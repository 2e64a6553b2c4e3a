"""Inference in undirected models: Gibbs sampling, tempering, mean field, annealed importance sampling, exact enumeration."""

from equilibria.inference import annealing, bennett, diagnostics, exact, gibbs, tempering
from equilibria.inference.mean_field import MeanField, mean_field

__all__ = ["MeanField", "annealing", "bennett", "diagnostics", "exact", "gibbs", "mean_field", "tempering"]
