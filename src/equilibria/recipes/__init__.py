"""Recipes: how a model is trained, as a function from rows to a list of stages."""
