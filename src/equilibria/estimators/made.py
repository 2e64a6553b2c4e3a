"""MADE, the masked autoencoder, with scikit-learn's face."""

from __future__ import annotations

from typing import Any

from equilibria.check import number, whole, widths
from equilibria.data.table import Table
from equilibria.estimators.estimator import Estimator, Plan
from equilibria.estimators.params import estimator, param
from equilibria.models import made
from equilibria.random import Stream
from equilibria.recipes.likelihood import maximum_likelihood
from equilibria.units.columns import units_of

__all__ = ["MADE"]


@estimator
class MADE(Estimator):
    """Masked autoencoder for distribution estimation (Germain et al. 2015): an exact density.

    References
    ----------
    Germain, Gregor, Murray & Larochelle 2015, "MADE: masked autoencoder for distribution
    estimation".

    Examples
    --------
    >>> from equilibria import MADE
    >>> from equilibria.data import bars_and_stripes
    >>> X = bars_and_stripes(3)
    >>> model = MADE(hidden=(32,), steps=50, random_state=0).fit(X)
    >>> model.score_samples(X).shape, model.sample(2).shape
    ((14,), (2, 9))
    """

    name = "made"
    model = made.MADE
    labelled = False
    takes = frozenset({"binary", "categorical", "real", "spin"})

    hidden: tuple[int, ...] = param(
        (500,), "Widths of the hidden layers.", widths(), positional=True
    )
    steps: int = param(10_000, "Updates of the parameters.", whole(1))
    batch_size: int = param(100, "Rows in a batch.", whole(1))
    learning_rate: float = param(
        1e-3, "Adam's first rate, which falls to zero.", number(0, above=True)
    )
    average: float = param(
        0.0, "Decay of the averaged parameters; 0 takes the last.", number(0, 0.999999)
    )

    def build(self, table: Table, stream: Stream) -> Plan:
        model = made.MADE(units_of(table), self.hidden, stream.child("weights"))
        how: dict[str, Any] = {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "average": self.average,
        }
        return Plan(model, maximum_likelihood(model, rate=self.learning_rate, **how))
