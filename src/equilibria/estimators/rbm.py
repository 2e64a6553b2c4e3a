"""The restricted Boltzmann machine with scikit-learn's face."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from equilibria.check import number, optional, whole
from equilibria.data.rows import Rows, fixed_draw
from equilibria.data.table import Table
from equilibria.estimators.contrastive import Undirected, as_numpy
from equilibria.estimators.estimator import Plan, settled
from equilibria.estimators.params import estimator, param
from equilibria.inference import gibbs
from equilibria.inference.boltzmann import Restricted
from equilibria.inference.completion import class_log_prob
from equilibria.random import RandomState, Stream, as_stream
from equilibria.recipes.contrastive import prepare, refuse_chains, unbounded, whole_machine
from equilibria.training.stage import Stage
from equilibria.units.columns import LABEL

__all__ = ["RBM"]

PASSES = 10  # over the data, by default
UPDATES, LONG = 300, 4000  # at least; of a mixed table or real-valued columns: tables/synthetic.py


@estimator
class RBM(Undirected):
    """Restricted Boltzmann machine: one visible and one hidden layer.

    p(v, h) ∝ exp(vᵀWh + b·v + c·h) for binary data, trained by persistent (or plain) contrastive
    divergence with the centred gradient. It takes the place of scikit-learn's ``BernoulliRBM``
    (same parameter names, ``transform``, ``partial_fit``, ``gibbs``), and adds a real
    log-likelihood, samples, real-valued and categorical data.

    Attributes
    ----------
    model_ : Restricted
        The trained model; ``machine_`` is its BoltzmannMachine.
    log_partition_ : Measure
        log Z with its interval, worked out when it is first asked for.
    components_, intercept_hidden_, intercept_visible_ : ndarray
        Weights (n_components, n_features) and biases, as in scikit-learn.
    table_, history_, health_
        As in every estimator.

    References
    ----------
    Smolensky 1986; Tieleman 2008 (PCD); *Deep Learning*, section 20.2.

    Examples
    --------
    >>> import numpy as np
    >>> from equilibria import RBM
    >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> model = RBM(n_components=2, n_iter=10, random_state=0).fit(X)
    >>> model.transform(X).shape, model.sample(5).shape
    ((4, 2), (5, 3))
    """

    name = "rbm"
    model = Restricted
    lengths = ("n_iter",)

    n_components: int = param(256, "Hidden units.", whole(1), positional=True)
    n_iter: int | None = param(
        None,
        "Passes over the data; by default 10, or as many as make 300 updates, of a mixed table or "
        "real-valued columns 4,000, where that is more.",
        optional(whole(1)),
    )
    batch_size: int = param(50, "Rows in a batch; all rows, where there are fewer.", whole(1))
    initial_std: float = param(
        0.01,
        "Standard deviation of the first weights. Few hidden units part sooner from a larger one: "
        "beginning alike, they learn the same.",
        number(0),
    )
    posterior_sweeps: int = param(
        0,
        "Where cells or labels are missing, so many Gibbs sweeps over them follow mean field in "
        "each update, so that what is learnt is the likelihood of what was observed rather than a "
        "bound.",
        whole(0),
    )

    def widths(self) -> tuple[int, ...]:
        return (self.n_components,)

    def build(self, table: Table, stream: Stream) -> Plan:
        refuse_chains(self, table.size + self.n_components)
        model = self.model_of(table, stream, self.initial_std)

        def recipe(rows: Rows) -> list[Stage]:
            prepare(model.machine, rows)
            size = min(self.batch_size, len(rows))
            steps = max(1, (self.n_iter or PASSES) * len(rows) // size)
            if self.n_iter is None:
                long = table.kind == "mixed" or unbounded(table)
                steps = max(steps, LONG if long else UPDATES)
            return [whole_machine(model, self, rows, steps)]

        return Plan(model, recipe)

    @settled()
    def gibbs(self, v: Any, random_state: RandomState = None) -> Any:
        """One Gibbs step from ``v``: hidden units drawn, then new visible ones, shape of ``v``.

        Without ``random_state`` each call draws anew, so that calling it again and again is a
        Markov chain.
        """
        check_is_fitted(self)
        rows = self.validated(v)
        values = fixed_draw(self.table_, rows, self.settings_.binarise, self.stream, "v")
        if bool(values.isnan().any()):
            raise ValueError(
                "v: a Gibbs step starts from complete rows; fill the missing cells first, by impute"
            )
        stream, machine = as_stream(random_state).child("gibbs"), self.machine_
        blank = torch.full((len(values), self.table_.classes), torch.nan, dtype=machine.dtype)
        state: dict[str, Any] = self.model_.clamp(
            torch.cat([values.to(machine.dtype), blank], 1).to(machine.device)
        )
        with torch.no_grad():
            if LABEL in machine.layers:
                # the label is drawn first, so that hidden units are drawn given v alone
                chances = class_log_prob(machine, LABEL, state).to(machine.dtype)
                state[LABEL] = machine.units(LABEL).sample(chances, stream.child("label"))
            hidden, _ = gibbs.block(machine, 1, state, stream.child("hidden"))
            drawn, _ = gibbs.block(machine, 0, hidden, stream.child("visible"))
        joined = torch.cat([drawn[name] for name in self.model_.visible], 1)
        share = self.table_.shares(len(joined), stream)
        return self.table_.decode(joined.cpu(), like=rows, share=share)

    @property
    def components_(self) -> np.ndarray:
        names = self.model_.visible
        return np.concatenate([as_numpy(self.machine_.weight[f"{n}-hidden1"]) for n in names]).T

    @property
    def intercept_hidden_(self) -> np.ndarray:
        return as_numpy(self.machine_.bias["hidden1"])

    @property
    def intercept_visible_(self) -> np.ndarray:
        return np.concatenate([as_numpy(self.machine_.bias[name]) for name in self.model_.visible])
