"""Independent columns, mixtures, Chow–Liu trees and latent trees with scikit-learn's face."""

from __future__ import annotations

import copy
import math
from typing import Any

from equilibria.check import number, optional, whole
from equilibria.data.rows import Rows
from equilibria.data.table import Table
from equilibria.errors import DivergedError, TrainingInterrupted
from equilibria.estimators.estimator import MODELLED, Estimator, Plan
from equilibria.estimators.params import estimator, param
from equilibria.models.tree import DiscreteTree
from equilibria.random import Stream
from equilibria.recipes import trees
from equilibria.training.distributed import Processes
from equilibria.training.stage import Stage
from equilibria.training.trainer import Trainer
from equilibria.units.columns import units_of

__all__ = ["ChowLiuTree", "Independent", "LatentTree", "Mixture"]

CHOICES = 10, 30, 100, 300  # components that are tried
TRIED, FEWEST = 20, 40  # iterations of a trial; training rows that it needs


@estimator
class Counting(Estimator):
    """Base of the models that are trained by expectation maximisation."""

    model = DiscreteTree
    missing = True
    quick = True
    takes = frozenset({*MODELLED, "spin"})

    steps: int | None = param(20, "Iterations of expectation maximisation.", whole(1))
    smoothing: float = param(
        1.0,
        "Observations that are added to each distribution, as its column has them over all rows.",
        number(0, above=True),
    )
    batch_size: int | None = param(
        None,
        "Rows in a batch; by default all, and each step is an iteration of EM.",
        optional(whole(1)),
    )

    def stage(self, model: DiscreteTree, rows: Rows) -> list[Stage]:
        """The one stage of a model that is ready for expectation maximisation."""
        return [trees.by_counts(model, self, rows)]


@estimator
class Independent(Counting):
    """Independent columns: the floor that every model must beat.

    Categories have their shares, real columns a normal distribution.

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import Independent
    >>> X = np.array([[0, 0], [0, 1], [1, 1], [0, 1]])
    >>> model = Independent(smoothing=1e-9).fit(X)
    >>> np.exp(model.score_samples([[1, 1]])).round(4)  # ¼ · ¾
    array([0.1875])
    """

    name = "independent"

    smoothing: float = param(
        1.0,
        "Observations that are added to each distribution, as its column has them over all rows.",
        number(0, above=True),
        positional=True,
    )
    steps: int = param(1, "Iterations of expectation maximisation; one is all it takes.", whole(1))

    @property
    def capabilities_(self) -> frozenset[str]:
        return super().capabilities_ - {"features"}  # it has nothing but the columns themselves

    def build(self, table: Table, stream: Stream) -> Plan:
        units = units_of(table)
        model = DiscreteTree(units, 1, [0] * variables_of(units))
        return Plan(model, lambda rows: self.stage(model, rows))


@estimator
class ChowLiuTree(Counting):
    """Chow–Liu tree: the likeliest tree of pairwise dependencies between columns.

    A real column is cut into bins of equal shares, which take its place in the tree; in each it is
    normal, and EM fits both.

    References
    ----------
    Chow & Liu 1968, "Approximating discrete probability distributions with dependence trees".

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import ChowLiuTree
    >>> X = np.repeat([[0, 0, 1], [1, 1, 0]], 50, axis=0)
    >>> model = ChowLiuTree(smoothing=1e-9).fit(X)
    >>> np.exp(model.score_samples([[1, 1, 0], [1, 0, 0]])).round(4)
    array([0.5, 0. ])
    """

    name = "tree"

    bins: int = param(8, "Of a real column.", whole(2), positional=True)
    steps: int | None = param(
        None,
        "Iterations of expectation maximisation; by default 20, and of categories that are all "
        "there the one that it takes.",
        optional(whole(1)),
    )

    def decided(self, rows: Rows, group: Processes) -> dict[str, Any]:
        if self.steps is not None:
            return {}
        real = any(one.states is None for one in units_of(rows.table).values())
        unknown = rows.codes is not None and bool((rows.codes < 0).any())
        more = real or unknown or rows.statistics.missing or self.batch_size is not None
        return {"steps": 20 if more else 1}

    def build(self, table: Table, stream: Stream) -> Plan:
        units = units_of(table)
        count = variables_of(units)
        sizes = DiscreteTree(units, 1, range(count)).sizes
        known = [i for i, size in enumerate(sizes) if size]
        states = max(size or self.bins for size in sizes)
        model = DiscreteTree(units, states, range(count), known)

        def recipe(rows: Rows) -> list[Stage]:
            one_hot = trees.OneHot(model, rows, self.bins)
            model.join(trees.tree_of(one_hot, rows))
            trees.begin_in_bins(model, one_hot, rows)
            return self.stage(model, rows)

        return Plan(model, recipe)


@estimator
class Mixture(Counting):
    """Mixture: components with independent columns, by EM.

    The number of components is by default the one of 10, 30, 100 and 300 that a tenth of the
    training rows likes best after 20 iterations on the others, of 20,000 rows at most, tried in
    turn until more are no better; ``settings_.n_components`` tells it.

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import Mixture
    >>> X = np.repeat([[0, 0, 0], [1, 1, 1]], 50, axis=0)
    >>> model = Mixture(2, smoothing=1e-6, random_state=0).fit(X)
    >>> np.exp(model.score_samples([[1, 1, 1]])).round(3)
    array([0.5])
    """

    name = "mixture"

    n_components: int | None = param(
        None,
        "Components; by default as many as rows that are held out for a trial like best.",
        optional(whole(1)),
        positional=True,
    )
    steps: int = param(60, "Iterations of expectation maximisation.", whole(1))

    def decided(self, rows: Rows, group: Processes) -> dict[str, Any]:
        if self.n_components is not None:
            return {}
        twin, best, chosen = copy.copy(self), -math.inf, CHOICES[0]
        twin.steps, twin.batch_size = min(TRIED, self.steps), None
        trial, shown = trees.trial_of(rows), bool(self.verbose) or self.out is not None
        for count in CHOICES if len(rows) >= FEWEST else ():
            twin.n_components = count
            try:
                stages = twin.stages_of(twin.build(rows.table, self.stream), trial, Processes())
                with Trainer(stages, self.stream.child("trial"), verbose=shown) as trainer:
                    trainer.fit()
            except TrainingInterrupted as error:
                what = f"Stopped by signal {error.signal} while n_components was tried; nothing"
                raise TrainingInterrupted(error.signal, f"{what} was saved.") from error
            except (ValueError, DivergedError):  # too many, or a column that the trial lacks
                break
            curve = [line.get("held_out_log_likelihood", -math.inf) for line in trainer.history]
            if max(curve) <= best:
                break
            best, chosen = max(curve), count
        return {"n_components": group.agree(chosen)}

    def build(self, table: Table, stream: Stream) -> Plan:
        units, count = units_of(table), self.n_components or CHOICES[-1]
        model = DiscreteTree(units, count, [0] * variables_of(units))

        def recipe(rows: Rows) -> list[Stage]:
            trees.begin_as_mixture(model, rows, stream)
            return self.stage(model, rows)

        return Plan(model, recipe)


@estimator
class LatentTree(Counting):
    """Hidden Chow–Liu tree: each column hangs on a hidden variable of the columns' tree.

    With its parameters exact probabilities of any cells given any others are one pass up and one
    down the tree (Liu & Van den Broeck 2021, "Tractable regularization of probabilistic circuits").

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import LatentTree
    >>> X = np.repeat([[0, 0, 0], [1, 1, 1]], 50, axis=0)
    >>> model = LatentTree(2, random_state=0).fit(X)
    >>> bool(model.score(X) > 3 * np.log(0.5))
    True
    """

    name = "latent-tree"

    n_states: int = param(16, "States of each hidden variable.", whole(1), positional=True)
    bins: int = param(8, "Of a real column, for the information between columns.", whole(2))
    steps: int = param(100, "Iterations of expectation maximisation.", whole(1))

    def build(self, table: Table, stream: Stream) -> Plan:
        units = units_of(table)
        model = DiscreteTree(units, self.n_states, range(variables_of(units)))

        def recipe(rows: Rows) -> list[Stage]:
            model.join(trees.tree_of(trees.OneHot(model, rows, self.bins), rows))
            trees.begin_as_mixture(model, rows, stream)
            return self.stage(model, rows)

        return Plan(model, recipe)


def variables_of(units: Any) -> int:
    """Variables of all layers."""
    return sum(one.variables for one in units.values())
