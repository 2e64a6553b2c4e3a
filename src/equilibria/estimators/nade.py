"""NADE, the neural autoregressive distribution estimator, with scikit-learn's face."""

from __future__ import annotations

from typing import Any

from equilibria.check import choice, whole, widths
from equilibria.data.table import Table
from equilibria.estimators.autoregressive import Autoregressive, gaps_of
from equilibria.estimators.estimator import Plan
from equilibria.estimators.params import estimator, param
from equilibria.models import nade
from equilibria.random import Stream
from equilibria.units.columns import units_of

__all__ = ["NADE"]


@estimator
class NADE(Autoregressive):
    """Neural autoregressive distribution estimator (Larochelle & Murray 2011): an exact density.

    References
    ----------
    Larochelle & Murray 2011, "The neural autoregressive distribution estimator".

    Uria, Murray & Larochelle 2014, "A deep and tractable density estimator".

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import NADE
    >>> from equilibria.data import bars_and_stripes
    >>> X = bars_and_stripes(3)
    >>> model = NADE(hidden=(32,), order="any", steps=50, random_state=0).fit(X)
    >>> torn = np.where(np.arange(9) % 2, np.nan, X)
    >>> model.score_samples(X).shape, model.impute(torn).shape
    ((14,), (14, 9))
    """

    name = "nade"
    model = nade.NADE

    hidden: tuple[int, ...] = param(
        (500,),
        "Widths of the hidden layers; of a fixed order each but the first costs as much for every "
        "column as it does for all of them where any order may come.",
        widths(),
        positional=True,
    )
    orders: int = param(1, "Orders whose densities are averaged.", whole(1))
    activation: str = param(
        "sigmoid", "What the hidden units' sums pass through.", choice(*nade.ACTIVATIONS)
    )

    def build(self, table: Table, stream: Stream) -> Plan:
        how: dict[str, Any] = {"order": self.order, "components": self.components}
        how |= {"orders": self.orders, "activation": self.activation, "gaps": gaps_of(table)}
        return self.plan(nade.NADE(units_of(table), self.hidden, stream.child("weights"), **how))
