"""MADE, the masked autoencoder, with scikit-learn's face."""

from __future__ import annotations

from typing import Any

from equilibria.check import whole, widths
from equilibria.data.table import Table
from equilibria.estimators.autoregressive import Autoregressive, gaps_of
from equilibria.estimators.estimator import Plan
from equilibria.estimators.params import estimator, param
from equilibria.models import made
from equilibria.random import Stream
from equilibria.units.columns import units_of

__all__ = ["MADE"]


@estimator
class MADE(Autoregressive):
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

    hidden: tuple[int, ...] = param(
        (500,), "Widths of the hidden layers.", widths(), positional=True
    )
    masks: int = param(
        1,
        "Orders and connectivities that share the weights, and whose densities are averaged.",
        whole(1),
    )

    def build(self, table: Table, stream: Stream) -> Plan:
        how: dict[str, Any] = {"order": self.order, "components": self.components}
        how |= {"masks": self.masks, "gaps": gaps_of(table)}
        return self.plan(made.MADE(units_of(table), self.hidden, stream.child("weights"), **how))
