"""Distributions as modules: which methods a model has is its place in the taxonomy."""
