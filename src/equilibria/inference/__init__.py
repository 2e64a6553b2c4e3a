"""Inference in undirected models: Gibbs sampling, mean field, annealed importance sampling, exact enumeration."""

from equilibria.inference import annealing, bennett, exact, gibbs
from equilibria.inference.mean_field import MeanField, mean_field

__all__ = ["MeanField", "annealing", "bennett", "exact", "gibbs", "mean_field"]
