"""What a fitted Boltzmann machine says of rows: log p of each, their mean as an `Estimate`, and log Z behind both."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from equilibria.data.schema import Schema
from equilibria.estimate import Estimate
from equilibria.estimators.layout import split
from equilibria.estimators.parameters import affordable, whole
from equilibria.evaluation import likelihood
from equilibria.evaluation.likelihood import TwoSided
from equilibria.games.contrastive import TEMPERED
from equilibria.inference import exact, gibbs
from equilibria.inference.completion import evidence
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.numbers import Measure
from equilibria.random import RandomState, Stream

__all__ = ["Scores"]

SETTLING_SWEEPS = 1000  # of the chains that reverse annealing starts from


class Scores:
    """Methods of an estimator with a ``machine_``, a ``schema_`` and training ``chains_``."""

    machine_: BoltzmannMachine
    chains_: dict[str, Tensor]
    schema_: Schema
    method: str
    ais_chains: int
    ais_betas: int
    _log_partition: Estimate | None = None
    _sides: TwoSided | None = None
    _double: BoltzmannMachine | None = None

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of each row in nats: exact up to log Z for an RBM with complete rows, else the variational lower bound.

        Missing cells, and the label where there is a layer of it, are free: the probability is that of what is observed in the row. An
        RBM's labels are summed over class by class, which is exact too.

        log Z is worked out once, when ``fit`` ends (``log_partition_``). Grey rows are made binary by a draw that is keyed by the
        row's own content (or by the threshold, where training used it), so the answer is deterministic. Of real-valued data it is the
        density in the data's own scale.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        values = self._binary(self._table(X, reset=False))
        found = evidence(self._precise(), split(self.schema_.layers, values), tolerance=1e-7).values
        return found.cpu().numpy() - self.log_partition_.value - self._log_volume(values)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of :meth:`score_samples`."""
        return float(self.score_samples(X).mean())

    def log_likelihood(self, X: Any) -> Estimate:
        """Mean log p(x) over rows as an :class:`~equilibria.estimate.Estimate`, which says whether it is a bound and how sure it is."""
        check_is_fitted(self)
        values = self._binary(self._table(X, reset=False))
        clamp, volume = split(self.schema_.layers, values), self._log_volume(values)
        return likelihood.bound(self._precise(), clamp, self.log_partition_, log_volume=volume)

    def _log_volume(self, values: Tensor) -> np.ndarray:
        """What a row's log density is less in the data's own scale than in the machine's: that of its observed cells, (rows,)."""
        return ((~values.isnan()).cpu().double() @ self.schema_.log_scales).numpy()

    def _gap(self, train: Any, held_out: Any) -> Measure:
        """How much better the model knows training rows than held-out ones."""
        return likelihood.free_energy_gap(self._precise(), self.clamp_of(train), self.clamp_of(held_out))

    def clamp_of(self, X: Any) -> dict[str, Any]:
        """Rows as a clamp of ``machine_``, for the functions of inference and evaluation: greys as one fixed draw each, NaN free."""
        check_is_fitted(self)
        return split(self.schema_.layers, self._binary(self._table(X, reset=False)))

    @property
    def log_partition_(self) -> Estimate:
        """log Z with its interval: exact where the smaller colour can be enumerated, else the larger of annealing's two sides.

        The way up starts from the base rates, the way down from the training's chains after another thousand sweeps; the larger log Z makes
        the likelihood the smaller one. Without persistent chains (``method="cd"``) there is the way up alone.
        """
        check_is_fitted(self)
        return self._log_partition or self._work_out_log_partition()

    def anneal(self, betas: int | None = None, chains: int | None = None, random_state: RandomState = None) -> Estimate:
        """Work log Z out again, as ``fit`` does at its end: ``log_partition_`` and all that rests on it are then by this estimate.

        A model file is left as it is; :meth:`save` writes the new one.

        Parameters
        ----------
        betas, chains : int, optional
            Temperatures and annealing runs, ``ais_betas`` and ``ais_chains`` by default. More temperatures bring the two sides together.
        random_state : int, numpy generator or None
            None uses the seed of ``fit``: the same numbers give the same estimate again.

        Returns
        -------
        Estimate
            The new ``log_partition_``; both sides are in ``log_partition_sides_``.

        Examples
        --------
        >>> from equilibria import RBM
        >>> model = RBM(20, n_iter=1, ais_betas=20, random_state=0).fit(np.eye(24, dtype=np.float32))
        >>> before = model.log_partition_sides_.forward
        >>> after = model.anneal(betas=500)
        >>> after.high - after.low < before.high - before.low
        True
        """
        check_is_fitted(self)
        betas, chains = self.ais_betas if betas is None else betas, self.ais_chains if chains is None else chains
        whole("betas", betas, 1)
        whole("chains", chains, 2)
        affordable("betas", betas, 2.0 * betas)  # a list of doubles
        affordable("chains", chains, float(chains) * sum(self.machine_.units(name).size for name in self.machine_.layers))
        return self._estimate_log_partition(betas, chains, self._draws(random_state, "log partition"))

    def _work_out_log_partition(self, progress: Callable[[int, int], None] | None = None) -> Estimate:
        return self._estimate_log_partition(self.ais_betas, self.ais_chains, self._draws(None, "log partition"), progress)

    def _estimate_log_partition(
        self, betas: int, chains: int, stream: Stream, progress: Callable[[int, int], None] | None = None
    ) -> Estimate:
        small = exact.enumerable(self.machine_, max_states=likelihood.MAX_STATES)
        options: dict[str, Any] = {"betas": betas, "chains": chains, "random_state": stream}
        if small or not self.chains_:
            machine = self._precise() if small else self.machine_
            self._log_partition, self._sides = likelihood.log_partition(machine, **options, progress=progress), None
            return self._log_partition
        start = self._first_state(chains, stream.child("samples"), SETTLING_SWEEPS)
        samples = gibbs.run(self.machine_, start, SETTLING_SWEEPS, stream.child("settling"))
        source = "tempering" if self.method in TEMPERED else "chains"
        self._sides = likelihood.both_sides(self.machine_, samples, source=source, ladder=False, **options, progress=_both_ways(progress))
        self._log_partition = self._sides.worse
        return self._log_partition

    @property
    def log_partition_sides_(self) -> TwoSided | None:
        """Both sides of log Z; None where it was enumerated, or there are no chains to come down from."""
        self.log_partition_  # noqa: B018  works them out
        return self._sides

    def _log_partition_data(self) -> dict[str, Any]:
        """For the model file."""
        return {"log_partition": self.log_partition_.to_json(), "sides": None if self._sides is None else self._sides.to_json()}

    def _restore_log_partition(self, metadata: dict[str, Any]) -> None:
        self._log_partition = Estimate.from_json(metadata["log_partition"])
        self._sides = TwoSided.from_json(metadata["sides"]) if metadata.get("sides") else None

    def _precise(self) -> BoltzmannMachine:
        """The machine in float64, so that a row's answer does not depend on the rows beside it."""
        if self._double is None:
            self._double = copy.deepcopy(self.machine_).double()
        return self._double

    if TYPE_CHECKING:  # of the estimator that this is mixed into

        def _table(self, X: Any, reset: bool) -> np.ndarray: ...
        def _binary(self, X: np.ndarray) -> Tensor: ...
        def _draws(self, random_state: RandomState, name: str) -> Stream: ...
        def _first_state(self, n: int, stream: Stream, cooling: int) -> dict[str, Tensor]: ...


def _both_ways(progress: Callable[[int, int], None] | None) -> Callable[[int, int], None] | None:
    """One bar for the way up and the way down, which each count from one."""
    if progress is None:
        return None
    before = [0]

    def both(done: int, total: int) -> None:
        progress(before[0] + done, 2 * total)
        before[0] = total if done == total else before[0]

    return both
