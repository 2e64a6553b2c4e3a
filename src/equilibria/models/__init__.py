"""Distributions as `nn.Module`s: what methods a model has is its place in the taxonomy of chapter
20."""
