"""What the estimators of autoregressive models share."""

from __future__ import annotations

from typing import Any

from equilibria.check import choice, number, whole
from equilibria.data.table import Table
from equilibria.estimators.estimator import MODELLED, Estimator, Plan
from equilibria.estimators.params import estimator, param
from equilibria.models.model import Model
from equilibria.recipes.likelihood import maximum_likelihood

__all__ = ["Autoregressive"]


@estimator
class Autoregressive(Estimator):
    """Base of the models that are products of conditionals.

    A cell may be missing where an indicator tells of it (:class:`~equilibria.models.autoregressive.
    Autoregressive`): in a mixed table, in the columns that had gaps in training.
    """

    takes = frozenset({*MODELLED, "spin"})
    missing = indicated = True

    order: str = param(
        "fixed",
        "Of the columns: fixed by the seed, or any, a new one in every batch, so that any cells "
        "can be filled in given the others.",
        choice("fixed", "any"),
    )
    components: int = param(
        1, "Of the mixture of normal distributions that a real column's conditional is.", whole(1)
    )
    steps: int = param(10_000, "Updates of the parameters.", whole(1))
    batch_size: int = param(100, "Rows in a batch.", whole(1))
    learning_rate: float = param(
        1e-3, "Adam's first rate, which falls to zero.", number(0, above=True)
    )
    average: float = param(
        0.0, "Decay of the averaged parameters; 0 takes the last.", number(0, 0.999999)
    )

    @property
    def capabilities_(self) -> frozenset[str]:
        found = super().capabilities_
        return found if self.settings_.order == "any" else found - {"complete", "means"}

    def cannot(self, capability: str) -> str:
        if capability == "complete":
            return (
                "cannot fill cells in given others in a fixed order: construct it with order='any'"
            )
        return super().cannot(capability)

    def plan(self, model: Model) -> Plan:
        """A model and its training by maximum likelihood."""
        how: dict[str, Any] = {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "average": self.average,
        }
        return Plan(model, maximum_likelihood(model, rate=self.learning_rate, **how))


def gaps_of(table: Table) -> dict[int, int]:
    """Of each column with an indicator the number of its variable → that of the indicator.

    >>> import numpy as np
    >>> gaps_of(Table.fit(np.array([["a", 1.0], ["b", np.nan], ["a", 2.0]], dtype=object)))
    {1: 2}
    """
    found = [(layer.kind == "gap", place) for layer in table.layers for place in layer.source]
    return {found.index((False, place)): i for i, (gap, place) in enumerate(found) if gap}
