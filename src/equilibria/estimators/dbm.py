"""The deep Boltzmann machine with scikit-learn's face."""

from __future__ import annotations

from equilibria.check import number, optional, whole, widths
from equilibria.data.rows import Rows
from equilibria.data.table import Table
from equilibria.estimators.contrastive import Undirected
from equilibria.estimators.estimator import Plan
from equilibria.estimators.params import estimator, param
from equilibria.inference.boltzmann import Deep
from equilibria.random import Stream
from equilibria.recipes.contrastive import prepare, pretraining, refuse_chains, whole_machine
from equilibria.training.stage import Stage

__all__ = ["DBM"]


@estimator
class DBM(Undirected):
    """Deep Boltzmann machine: layer-wise pretraining, then Algorithm 20.1 of *Deep Learning*.

    p(v, h¹, h², …) ∝ exp(vᵀW¹h¹ + h¹ᵀW²h² + … + biases). The positive phase is mean field, the
    negative one persistent block Gibbs chains; the gradient is centred.

    Attributes
    ----------
    model_ : Deep
        The trained model; ``machine_`` is its BoltzmannMachine.
    log_partition_ : Measure
        log Z with its interval, worked out when it is first asked for.
    table_, history_, health_
        As in every estimator.

    References
    ----------
    Salakhutdinov & Hinton 2009, "Deep Boltzmann machines"; *Deep Learning*, section 20.4.

    Examples
    --------
    >>> from equilibria import DBM
    >>> from equilibria.data import bars_and_stripes
    >>> X = bars_and_stripes(3)
    >>> model = DBM(hidden=(8, 4), steps=50, pretrain_steps=20, random_state=0).fit(X)
    >>> model.score_samples(X).shape, model.sample(2).shape
    ((14,), (2, 9))
    """

    name = "dbm"
    model = Deep
    stride = 0.1
    lengths = ("steps", "pretrain_steps")

    hidden: tuple[int, ...] = param(
        (128, 64),
        "Units of each hidden layer, from the visible layer up.",
        widths(),
        positional=True,
    )
    steps: int = param(6000, "Updates of the joint stage.", whole(1))
    k: int = param(5, "Gibbs sweeps an update.", whole(1))
    chains: int = param(100, "Persistent chains.", whole(1))
    ais_betas: int = param(10_000, "Temperatures of each annealing run.", whole(1))
    mean_field_steps: int = param(
        5, "Mean-field updates of both sides in the positive phase.", whole(1)
    )
    pretrain_steps: int = param(
        2000, "Updates of each layer's pretraining; 0 leaves it out.", whole(0)
    )
    pretrain_learning_rate: float | None = param(
        None,
        "First rate of the pretraining. By default .2 times one less the momentum (reals: .02).",
        optional(number(0, above=True)),
    )
    pretrain_weight_decay: float = param(1e-3, "Of the pretraining.", number(0))
    top_replication: int = param(
        1,
        "Replicas of the top layer in pretraining: 1 as in 2009; 2, which divide the top's units "
        "into halves that begin alike, give the top two thirds of the work (Hinton & Salakhutdinov "
        "2012).",
        whole(1),
    )

    def widths(self) -> tuple[int, ...]:
        return tuple(self.hidden)

    def check(self) -> None:
        super().check()
        if self.hidden[-1] % self.top_replication:
            raise ValueError(
                f"top_replication={self.top_replication!r}: the top layer's {self.hidden[-1]} "
                "units cannot be divided into so many equal parts"
            )

    def build(self, table: Table, stream: Stream) -> Plan:
        refuse_chains(self, table.size + sum(self.hidden))
        model = self.model_of(table, stream)

        def recipe(rows: Rows) -> list[Stage]:
            prepare(model.machine, rows)
            joint = whole_machine(model, self, rows, self.steps)
            if not self.pretrain_steps:
                return [joint]
            return [*pretraining(model, self.graph(table), self, rows, joint), joint]

        return Plan(model, recipe)
