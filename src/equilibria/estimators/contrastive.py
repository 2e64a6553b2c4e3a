"""Parameters that the estimators of Boltzmann machines share, and what they can be asked beside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from equilibria.check import anything, choice, flag, number, optional, sequence, whole
from equilibria.data.batches import Batch, binarise
from equilibria.data.rows import Rows, with_labels
from equilibria.data.table import Table
from equilibria.errors import DivergedError
from equilibria.estimators.estimator import MODELLED, Estimator, settled
from equilibria.estimators.params import estimator, param
from equilibria.estimators.reckoning import refuse_unaffordable
from equilibria.games.contrastive import ContrastiveGame
from equilibria.inference.boltzmann import BoltzmannModel
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.networks.mlp import PRECISIONS
from equilibria.numbers import Measure
from equilibria.random import Stream, as_seed
from equilibria.recipes.contrastive import (
    FULL,
    HIDDEN,
    NEGATIVE,
    Graph,
    game_of,
    optimiser,
    pace,
    rate_of,
)
from equilibria.solvers import Simultaneous, Solver
from equilibria.training.stage import finite
from equilibria.units.columns import LABEL
from equilibria.units.continuous import Gaussian

__all__ = ["Contrastive", "Undirected"]


@estimator
class Contrastive(Estimator):
    """Base of RBM, DBM and DBN: how contrastive learning is done."""

    takes = frozenset({*MODELLED, "positive", "spin"})
    stride = 0.4  # the default learning rate over one less the momentum
    optimiser = "sgd"
    renamed: ClassVar[dict[str, str]] = {
        "units": "kinds",
        "rungs": "replicas",
        "hidden_units": "hidden_type",
        "towers": "modalities",
        "copies": "top_replication",
        "pretrain_rate": "pretrain_learning_rate",
        "pretrain_decay": "pretrain_weight_decay",
        "bound_importance": "importance_samples",
    }

    learning_rate: float | None = param(
        None,
        "First learning rate, which falls linearly to zero. By default .4 (DBM: .1) times one less "
        "the momentum, in proportion less in batches of under 50 (by Adam .02, DBM .005); a fifth "
        "of it where a visible layer is real-valued; where numbers go by their ranks two fifths, "
        "less of more than four columns.",
        optional(number(0, above=True)),
    )
    batch_size: int = param(100, "Rows in a batch; all rows, where there are fewer.", whole(1))
    method: str = param(
        "pcd",
        "Where the negative phase's chains start: where they were, or at the data. Tempered chains "
        "are where they were, each the first replica of a ladder that swaps states: the machine at "
        "lower inverse temperatures, or earlier states of the training.",
        choice(*NEGATIVE),
    )
    k: int = param(1, "Gibbs sweeps an update.", whole(1))
    chains: int | None = param(
        None, "Persistent chains; by default as many as rows in a batch.", optional(whole(1))
    )
    centred: bool = param(
        True, "Whether the gradient is centred (Melchior, Fischer & Wiskott 2016).", flag()
    )
    momentum: float | None = param(
        None, "Of the gradient steps; by default .5, and .9 of Adam.", optional(number(0, 0.999))
    )
    weight_decay: float = param(0.0, "Of the weights; biases have none.", number(0))
    average: float = param(
        0.0,
        "Decay of the averaged parameters that the model ends with; 0 takes the last ones (Polyak "
        "& Juditsky 1992).",
        number(0, 0.999999),
    )
    precision: str = param(
        "float32",
        "Type of the chains' products; statistics and gradients are float32.",
        choice(*PRECISIONS),
    )
    sparsity: Any = param(
        None,
        "(target, cost): draws each hidden unit's mean activity to the target, with a slope of "
        "cost times the distance.",
        optional(sequence(number(0), 2, "(target, cost)", length=2)),
    )
    ais_chains: int = param(
        100, "Annealing runs behind log Z where it is not enumerable.", whole(2)
    )
    ais_betas: int = param(1000, "Temperatures of each.", whole(1))

    def first_rate(self, table: Table, rows: int = FULL) -> float:
        """The first learning rate of the last stage, on so many ``rows`` of data."""
        if self.learning_rate is not None:
            return self.learning_rate
        adam = self.optimiser == "adam"
        return pace(table) * (self.stride / 20 if adam else rate_of(self, self.stride, rows))

    def check(self) -> None:
        if self.sparsity is not None and self.sparsity[0] > 1:
            raise ValueError(f"sparsity={self.sparsity!r}: the target is a share, at most 1")

    # ------------------------------------------------------------ what a subclass gives

    def last_game(self, model: Any, stream: Stream) -> ContrastiveGame:
        """The game of the last stage."""
        raise NotImplementedError

    def last_view(self, model: Any, batch: Batch, stream: Stream) -> Batch:
        """A batch as the last stage sees it."""
        return with_labels(batch, self.table_.classes) if self.table_.classes else batch

    # ------------------------------------------------------------ online learning

    @settled()
    def partial_fit(self, X: Any, y: Any = None) -> Any:
        """One update of the last stage on ``X`` as its batch, at the first learning rate.

        The first call builds the model; its batch must hold every class and every category. Chains
        go on where they were; centring offsets and momentum begin anew after ``fit`` or ``load``.
        log Z is worked out again when it is next asked for.

        Raises
        ------
        equilibria.errors.DivergedError
            When the update made a parameter non-finite: the state before it is kept.
        """
        first = not self.__sklearn_is_fitted__()
        fitted = self.checked() if first else self
        rows = fitted.first_batch(X, y) if first else fitted.next_batch(X, y)
        fitted.update(rows)
        return self.adopt(fitted) if first else self

    def first_batch(self, X: Any, y: Any) -> Rows:
        """The rows of a first batch; the model is built from them."""
        X, y, _ = self.informed(X).opened(X, y)
        X = self.validated(X, reset=True)
        table = self.tabulate(X, y)
        self.seed_ = as_seed(self.random_state)
        refuse_unaffordable(self, table)
        rows = Rows(table, X, self.codes(table, y, len(X)), self.stream, device=self.device)
        self.table_ = table.with_grey(rows.statistics.grey)
        rows = dataclasses.replace(rows, table=self.table_)
        plan = self.build(self.table_, self.stream)
        self.model_ = plan.model.to(self.device)
        plan.recipe(rows)
        self.n_steps_, self.history_, self.health_, self.numbers_ = 0, [], [], {}
        return rows

    def next_batch(self, X: Any, y: Any) -> Rows:
        """The rows of a later batch, under the table that the first one made."""
        X, y, _ = self.opened(X, y)
        X = self.validated(X)
        table, settings = self.table_, self.settings_
        rows = Rows(table, X, self.codes(table, y, len(X)), self.stream, device=settings.device)
        grey = sorted({*table.grey, *rows.statistics.grey})
        return dataclasses.replace(rows, table=table.with_grey(grey))

    def update(self, rows: Rows) -> None:
        """One step of the last stage's game."""
        game, solver = self.__dict__.get("_online") or self._revived(len(rows))
        binarise = self.settings_.binarise if rows.table.grey else None
        stream = self.stream.child("partial", self.n_steps_)
        batch = batch_of(dataclasses.replace(rows, binarise=binarise), stream.child("binarise"))
        batch = self.last_view(self.model_, batch, stream.child("seen"))
        before = {name: x.clone() for name, x in game.state_dict().items()}
        solver.step(game, iter([batch]), stream, measure=False)
        learnt = [unit.variance for unit in game.modules() if isinstance(unit, Gaussian)]
        if not bool(finite(game)) or not all(bool(torch.isfinite(one).all()) for one in learnt):
            game.load_state_dict(before)
            self.__dict__.pop("_online", None)
            raise DivergedError(
                "partial_fit: a parameter or a chain is not finite after this batch; the state "
                "before it is kept. Try a learning rate three to ten times smaller, or look for "
                "values far from the rest in the data."
            )
        self.model_.keep(game.chains)
        self.table_, grey = rows.table, self.model_.grey
        self.model_.grey = type(grey)(rows.table.grey)  # names of layers, or whether there are any
        self.n_steps_ += 1
        self.forget()

    def _revived(self, rows: int) -> tuple[ContrastiveGame, Solver]:
        """The last stage's game, its chains where training left them, with a constant rate."""
        settings = self.settings_
        game = settings.last_game(self.model_, self.stream)
        with torch.no_grad():
            for name, values in self.model_.kept().items():
                if name in game.chains:  # over again where there are more of them now
                    places = torch.arange(len(game.chains[name]), device=values.device)
                    game.chains[name].copy_(values[places % len(values)])
        rule = optimiser(settings, self.table_, settings.first_rate(self.table_, rows), 0)
        self._online = game, Simultaneous(rule)
        return self._online

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k != "_online"}

    # ------------------------------------------------------------ names of the first edition

    @property
    def machine_(self) -> BoltzmannMachine:
        """The machine of the model."""
        return self.model_.machine

    @property
    def chains_(self) -> dict[str, torch.Tensor]:
        """The training's persistent chains."""
        return self.model_.kept()

    @property
    def log_partition_sides_(self) -> tuple[Measure, ...]:
        """Forward and reverse AIS; empty where log Z was enumerated or one side is all there is."""
        return self.log_partition_.parts


@estimator
class Undirected(Contrastive):
    """Base of RBM and DBM: a graph of layers."""

    missing = True

    hidden_type: str = param("bernoulli", "Type of the hidden units.", choice(*HIDDEN))
    modalities: Any = param(
        None,
        "Name → columns of X (a slice, a range, numbers or names), each column in one: every "
        "modality is a visible layer of its own; in a DBM it has hidden layers of its own below a "
        "common top (Srivastava & Salakhutdinov 2012).",
        anything("None or a mapping from names to columns"),
        option=False,
    )
    replicas: int = param(
        10, "Of a tempered ladder: inverse temperatures, or the most earlier states.", whole(1)
    )
    optimiser: str = param("sgd", "How gradients become steps.", choice("sgd", "adam"))

    def graph(self, table: Table) -> Graph:
        """The layers of the machine."""
        many = self.modalities is not None
        return Graph(table.layers, self.widths(), self.hidden_type, table.classes, many)

    def widths(self) -> tuple[int, ...]:
        """Of the hidden layers, from the visible ones up."""
        raise NotImplementedError

    def model_of(self, table: Table, stream: Stream, std: float = 0.01) -> Any:
        """The model, with small random weights."""
        machine = self.graph(table).build().initialise(stream.child("weights"), std=std)
        names = [layer.name for layer in table.layers]
        how: dict[str, Any] = {"betas": self.ais_betas, "chains": self.ais_chains}
        how["tempered"] = self.method in ("tempered", "trajectory")
        return self.model(machine, names, grey=table.grey, **how)

    def last_game(self, model: BoltzmannModel, stream: Stream) -> ContrastiveGame:
        return game_of(model.machine, self, stream.child("chains"), model.rows, model.hidden)

    def check(self) -> None:
        super().check()
        self._refuse_modalities()
        if self.method == "tempered" and self.replicas < 2:
            raise ValueError(f"replicas={self.replicas!r}: a tempered ladder has 2 or more")
        if self.precision != "float32" and self.method in ("tempered", "trajectory"):
            raise ValueError(
                f"precision={self.precision!r}: with method={self.method!r} chains are float32; "
                "leave precision out"
            )
        if self.hidden_type == "rectified" and (
            len(self.widths()) > 1 or self.kinds in ("real", "positive", "gaussian", "rectified")
        ):
            raise ValueError(
                "hidden_type='rectified': two neighbouring layers would be unbounded, and the "
                "machine might have no normaliser; take 'bernoulli' or 'spin'"
            )

    def _refuse_modalities(self) -> None:
        """Refuse names that other layers of the machine have."""
        names = self.modalities if isinstance(self.modalities, Mapping) else ()
        depth = range(1, len(self.widths()) + 1)
        taken = [
            LABEL,
            *(f"{name}hidden{i}" for name in ("", *(f"{n}_" for n in names)) for i in depth),
        ]
        for name in names:
            if not str(name).isidentifier() or name in taken:
                raise ValueError(
                    f"modalities: {name!r} cannot be the name of one: names are words, and "
                    f"{', '.join(taken[:2])}, … are those of other layers"
                )


def batch_of(rows: Rows, stream: Stream) -> Batch:
    """All rows as one batch, greys and ties drawn from ``stream``."""
    values = rows.table.encode(rows.values)
    if rows.table.ties:
        values = rows.table.spread(values, stream.child("ties").uniform(values.shape))
    missing = values.isnan()
    if rows.binarise is not None:
        grey = rows.table.grey_columns
        kept = missing if grey is None else missing | ~grey
        drawn = binarise(values.masked_fill(kept, 0.0), rows.binarise, stream)
        values = values.where(kept, drawn)
    mask = ~missing if bool(missing.any()) else None
    label = None if rows.codes is None else torch.from_numpy(rows.codes)
    moved = [None if x is None else x.to(rows.device) for x in (mask, label)]
    return Batch(values.masked_fill(missing, 0.0).to(rows.device), *moved)


def as_numpy(values: torch.Tensor) -> np.ndarray:
    """A parameter for the user."""
    return values.detach().cpu().numpy()
