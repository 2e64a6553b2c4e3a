"""Normalising flows with scikit-learn's face."""

from __future__ import annotations

from typing import Any

from equilibria.check import affordable, flag, number, optional, whole, widths
from equilibria.data.table import Table
from equilibria.estimators.estimator import Estimator, Plan
from equilibria.estimators.params import estimator, param
from equilibria.models import flow
from equilibria.models.model import Model
from equilibria.random import Stream
from equilibria.recipes.likelihood import maximum_likelihood

__all__ = ["Flow"]


@estimator
class Flow(Estimator):
    """Normalising flow of neural splines (Durkan et al. 2019): an exact density of real columns.

    Pictures, the rows with ``value_range`` or ``picture_shape``, have uniform noise added to their
    whole numbers; their score is then a lower bound on the log-probability. Needs the extra
    ``equilibria[flows]``.

    References
    ----------
    Durkan, Bekasov, Murray & Papamakarios 2019, "Neural spline flows"; Theis, van den Oord & Bethge
    2016, "A note on the evaluation of generative models" (pictures).

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import Flow
    >>> X = np.random.RandomState(0).normal(size=(200, 2))
    >>> model = Flow(transforms=2, hidden=(16,), steps=20, random_state=0).fit(X)
    >>> model.score_samples(X).shape, model.sample(3).shape, model.transform(X).shape
    ((200,), (3, 2), (200, 2))
    """

    name = "flow"
    model = flow.Flow
    labelled = False
    takes = frozenset({"real", "quantile", "picture"})
    numbers = "real"

    transforms: int = param(5, "Invertible maps in the chain.", whole(1), positional=True)
    hidden: tuple[int, ...] = param(
        (128, 128),
        "Widths of each map's network; at least as many as columns, unless coupling.",
        widths(),
    )
    bins: int = param(8, "Pieces of each spline.", whole(2))
    coupling: bool | None = param(
        None,
        "Whether one half of the columns is mapped given the other, which draws rows of many "
        "columns faster, rather than each given those before; by default that is of pictures.",
        optional(flag()),
    )
    levels: int | None = param(
        None,
        "Values of a picture's pixel, at equal distances: by default the whole numbers of its "
        "range, and 256 where pixels are no whole numbers.",
        optional(whole(2)),
    )
    steps: int = param(10_000, "Updates of the parameters.", whole(1))
    batch_size: int = param(256, "Rows in a batch.", whole(1))
    learning_rate: float = param(
        1e-3, "Adam's first rate, which falls to zero.", number(0, above=True)
    )
    average: float = param(
        0.0, "Decay of the averaged parameters; 0 takes the last.", number(0, 0.999999)
    )
    bound_samples: int = param(10, "Draws of the noise behind the score of a picture.", whole(1))

    def check(self) -> None:
        flow.zuko_flows()  # its absence is told before any work

    def column_kinds(self) -> Any:
        return self.pictures_or_reals()

    def build(self, table: Table, stream: Stream) -> Plan:
        pictures = table.kind == "picture"
        size: dict[str, Any] = {"transforms": self.transforms, "hidden": self.hidden}
        size["coupling"] = pictures if self.coupling is None else self.coupling
        model: Model = flow.Flow(table.size, stream.child("weights"), bins=self.bins, **size)
        if pictures:
            affordable("bound_samples", self.bound_samples, float(self.bound_samples) * table.size)
            model = flow.Dequantised(model, self.levels or levels_of(table))
        how: dict[str, Any] = {"rate": self.learning_rate, "average": self.average}
        how |= {"steps": self.steps, "batch_size": self.batch_size}
        return Plan(model, maximum_likelihood(model, **how))


def levels_of(table: Table) -> int:
    """Whole numbers in the range of a table's pixels; 256 where they are no whole numbers."""
    (layer,) = table.layers
    assert layer.low is not None and layer.high is not None  # noqa: PT018
    whole = all(column.holds in ("truth", "whole") for column in table.types)
    return max(2, round(layer.high - layer.low) + 1) if whole else 256
