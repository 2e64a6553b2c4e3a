"""The deep belief network with scikit-learn's face."""

from __future__ import annotations

import itertools
from typing import Any

from equilibria.check import affordable, choice, whole, widths
from equilibria.data.batches import Batch
from equilibria.data.rows import Rows
from equilibria.data.table import Table
from equilibria.estimators.contrastive import Contrastive
from equilibria.estimators.estimator import MODELLED, Plan
from equilibria.estimators.params import estimator, param
from equilibria.games.contrastive import ContrastiveGame
from equilibria.inference.belief import Belief
from equilibria.models.belief_network import BeliefNetwork
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.recipes.contrastive import refuse_chains
from equilibria.recipes.greedy import Features, greedy, layer_game
from equilibria.training.stage import Stage
from equilibria.units import Bernoulli
from equilibria.units.columns import units_of

__all__ = ["DBN"]


@estimator
class DBN(Contrastive):
    """Deep belief network: directed layers under a restricted Boltzmann machine, trained greedily.

    Each pair of neighbouring layers is trained as a restricted Boltzmann machine on draws of the
    layer below given the data. The topmost pair stays one; of the others the downward half
    generates and the upward half recognises. ``partial_fit`` moves the topmost machine alone.

    Attributes
    ----------
    model_ : Belief
        The trained model; ``network_`` is its BeliefNetwork, ``machine_`` the topmost machine.
    log_partition_ : Measure
        log Z of the topmost machine, worked out when it is first asked for.
    table_, history_, health_
        As in every estimator.

    References
    ----------
    Hinton, Osindero & Teh 2006, "A fast learning algorithm for deep belief nets"; Salakhutdinov &
    Murray 2008 (the likelihood); *Deep Learning*, section 20.3.

    Examples
    --------
    >>> from equilibria import DBN
    >>> from equilibria.data import bars_and_stripes
    >>> X = bars_and_stripes(3)
    >>> model = DBN(hidden=(8, 9), steps=50, random_state=0).fit(X)
    >>> model.score_samples(X).shape, model.sample(2).shape
    ((14,), (2, 9))
    """

    name = "dbn"
    model = Belief
    labelled = False
    takes = frozenset(MODELLED)

    hidden: tuple[int, ...] = param(
        (500, 500, 2000),
        "Units of each hidden layer, from the visible layer up.",
        widths(),
        positional=True,
    )
    steps: int = param(10_000, "Updates of each layer's training.", whole(1))
    method: str = param(
        "pcd",
        "Where the negative phase's chains start: where they were, or at the data.",
        choice("pcd", "cd"),
    )
    start: str = param(
        "transposed",
        "Where a layer above the first begins: as the layer below upside down, with the likelihood "
        "that the layers below have reached (binary layers, and units enough), or from small "
        "random weights.",
        choice("transposed", "random"),
    )
    ais_betas: int = param(10_000, "Temperatures of each annealing run.", whole(1))
    bound_samples: int = param(
        10, "Draws of the hidden layers behind the score of a row.", whole(1)
    )
    importance_samples: int = param(
        1,
        "More than one makes each of them an importance-weighted mean of so many draws: a tighter "
        "bound for as many times the work (Burda, Grosse & Salakhutdinov 2016).",
        whole(1),
    )

    def build(self, table: Table, stream: Stream) -> Plan:
        refuse_chains(self, table.size + sum(self.hidden))
        draws = float(self.bound_samples) * self.importance_samples
        most = max(("bound_samples", "importance_samples"), key=lambda name: getattr(self, name))
        affordable(most, getattr(self, most), draws * sum(self.hidden))
        (visible, units), *others = units_of(table).items()
        if others:
            raise ValueError(
                "kinds: a deep belief network has one visible layer; say one kind for all"
            )
        layers = [(visible, units)]
        layers += [(f"hidden{i}", Bernoulli(size)) for i, size in enumerate(self.hidden, 1)]
        weights, machines = stream.child("weights"), list[BoltzmannMachine]()
        for i, (below, above) in enumerate(itertools.pairwise(layers)):
            machine = BoltzmannMachine(dict([below, above]), [(below[0], above[0])])
            machines.append(machine.initialise(weights.child(i) if i else weights))
        how: dict[str, Any] = {"betas": self.ais_betas, "chains": self.ais_chains}
        how["importance"] = self.importance_samples
        model = Belief(BeliefNetwork(machines), grey=bool(table.grey), **how)

        def recipe(rows: Rows) -> list[Stage]:
            return greedy(model, self, rows)

        return Plan(model, recipe)

    def last_game(self, model: Belief, stream: Stream) -> ContrastiveGame:
        return layer_game(model.machine, self, stream)

    def last_view(self, model: Belief, batch: Batch, stream: Stream) -> Batch:
        return Features(model, len(self.settings_.hidden) - 1)(batch, stream)

    @property
    def network_(self) -> BeliefNetwork:
        """The directed layers and the topmost machine."""
        return self.model_.network
