"""Monitors: what is measured of a model while it is trained, as numbers for the log.

A monitor is an object with ``measure(stream) -> dict[str, float]``. It holds models and rows, moves
no parameter, and is cheap enough for ten validation checks in a run.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import stats
from sklearn.cluster import KMeans
from torch import Tensor

from equilibria import check
from equilibria.data.batches import Batch
from equilibria.evaluation.coverage import Coverage
from equilibria.evaluation.likelihood import gap
from equilibria.evaluation.quality import gaussian, kernel_estimate
from equilibria.evaluation.statistics import as_rows
from equilibria.inference import diagnostics, gibbs
from equilibria.inference.completion import evidence
from equilibria.numbers import Measure
from equilibria.random import RandomState, Stream, as_stream

if TYPE_CHECKING:
    from equilibria.models.boltzmann import BoltzmannMachine, State

__all__ = ["ChainMonitor", "GameMonitor", "cluster_coverage", "free_energy_gap", "mixing"]

_FEWEST = 5  # rows of a cluster that is to be looked for
_KNOWN = 3  # real rows that must claim a class: a cluster may have no core of its own
_EXPECTED = 14.0  # a class that fewer samples are expected of may be missed by chance: e⁻¹⁴ = 1e-6


@torch.no_grad()
def mixing(
    machine: BoltzmannMachine, state: State, sweeps: int = 100, random_state: RandomState = 0
) -> Measure:
    """Whether chains mix: split R̂ of the energy, with ranks, while copies of them run on.

    ``state`` has each layer's values, one chain a row, two chains or more. R̂ is 1 where all chains
    are alike, well above where each keeps to a region of its own. The parts are "autocorrelation
    time" of the energy in sweeps, infinite where it is longer than so many can tell, and "share of
    frozen chains", whose energy never changed.

    References
    ----------
    Vehtari et al. 2021, "Rank-normalization, folding, and localization: an improved R̂".

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0)
    >>> found = mixing(machine, gibbs.start(machine, 50))
    >>> found.value < 1.05, found["share of frozen chains"].value
    (True, 0.0)
    """
    sweeps = check.whole(8)("sweeps", sweeps)
    values, stream = machine.as_state(state), as_stream(random_state).child("watch")
    chains = check.whole(2)("chains", len(next(iter(values.values()))))
    energies: list[Tensor] = []
    for step in range(sweeps):
        values, _ = gibbs.sweep(machine, values, stream.child(step))
        energies.append(machine.energy(values).double().cpu())
    history = torch.stack(energies).numpy()
    time, frozen = diagnostics.autocorrelation_time(history), diagnostics.frozen(history)
    share = Measure("share of frozen chains", float(frozen), n=chains, ideal=0.0)
    parts = (Measure("autocorrelation time", float(time), n=chains, note="In sweeps."), share)
    r_hat = float(diagnostics.r_hat(history))
    how: dict[str, Any] = {"n": chains, "method": f"{sweeps} sweeps", "parts": parts}
    return Measure("R-hat of the energy", r_hat, ideal=1.0, **how)


def free_energy_gap(machine: Any, train: Any, held_out: Any, **how: Any) -> Measure:
    """Mean free energy of held-out rows minus that of training rows, in nats: overfitting.

    It is the gap in mean log-likelihood, and needs no log Z. Where hidden layers depend on each
    other the variational free energy, minus the bound, takes the free energy's place. Rows are
    clamps of a Boltzmann machine; ``how`` are the options of
    :func:`equilibria.inference.completion.evidence`.

    Returns
    -------
    Measure
        Near 0 without overfitting and growing with it; chance alone gives 1.96 standard errors.

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(4), Bernoulli(3))
    >>> seen, unseen = {"visible": torch.eye(4)}, {"visible": torch.ones(5, 4)}
    >>> free_energy_gap(machine, seen, unseen).value
    0.0
    """
    found = [evidence(machine, clamp, **how) for clamp in (train, held_out)]
    kind = "free energy" if bool(found[0].exact.all()) else "variational free energy"
    seen, unseen = (part.values.double().cpu().numpy() for part in found)
    return gap(seen, unseen, f"{kind} gap, nats")


@dataclasses.dataclass(frozen=True, eq=False)
class ChainMonitor:
    """Monitors a Boltzmann machine: whether its chains mix, and whether it overfits.

    ``game`` is a ContrastiveGame, or anything with ``machine`` and ``chains``; ``train`` and
    ``held_out`` are clamps of rows that it is trained on and of others; copies of the chains run on
    for ``sweeps`` at each check.

    Examples
    --------
    >>> from equilibria.games.contrastive import ContrastiveGame
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0)
    >>> sorted(ChainMonitor(ContrastiveGame(machine, chains=20)).measure(Stream(0)))
    ['autocorrelation_time', 'frozen_chains', 'r_hat']
    """

    game: Any
    train: Mapping[str, Any] | None = None
    held_out: Mapping[str, Any] | None = None
    sweeps: int = 50

    def measure(self, stream: Stream) -> dict[str, float]:
        """The numbers of :func:`mixing`, and the gap of :func:`free_energy_gap` and its chance.

        A time that is not finite is logged as the number of sweeps, an R̂ that is not is left out.
        """
        machine, chains = self.game.machine, self.game.chains
        found: dict[str, float] = {}
        if chains and len(next(iter(chains.values()))) > 1:
            mixed = mixing(machine, chains, self.sweeps, stream)
            time = mixed["autocorrelation time"].value
            found["frozen_chains"] = mixed["share of frozen chains"].value
            found["autocorrelation_time"] = time if math.isfinite(time) else float(self.sweeps)
            found |= {"r_hat": mixed.value} if math.isfinite(mixed.value) else {}
        if self.train is not None and self.held_out is not None:
            rows = self.train, self.held_out
            overfit = free_energy_gap(machine, *rows, tolerance=1e-3, max_steps=50)
            found["free_energy_gap"] = overfit.value
            found["free_energy_gap_floor"] = float(overfit.chance or 0.0)
        return found


def cluster_coverage(
    train: Any,
    labels: Any = None,
    *,
    clusters: int = 20,
    max_rows: int = 1000,
    random_state: RandomState = 0,
) -> Coverage | None:
    """A classifier of the data's classes, or of clusters by k-means where there are no labels.

    At most ``max_rows`` of ``train`` (n, …), 20 or more, are used. None where no two classes have
    five rows or more: rows that are all alike, or one heap and a few rows far from it.

    Examples
    --------
    >>> from equilibria.data import GaussianMixture
    >>> found = cluster_coverage(GaussianMixture.ring().sample(500, Stream(0)), clusters=8)
    >>> len(found.classes), found.accuracy.value
    (8, 1.0)
    """
    rows, stream = as_rows(train, "train", least=20), as_stream(random_state).child("landmarks")
    kept = stream.permutation(len(rows))[:max_rows].numpy()
    rows = rows[kept]
    if labels is None:
        count = min(int(clusters), len(rows) // 10, len(np.unique(rows, axis=0)))
        means = KMeans(count, n_init=3, random_state=stream.integer() % 2**32)
        codes = means.fit_predict(rows)
    else:
        codes = np.unique(np.asarray(labels)[kept], return_inverse=True)[1]
    seen = np.bincount(codes)[codes] >= _FEWEST
    if len(np.unique(codes[seen])) < 2:
        return None
    return Coverage.fit(rows[seen], codes[seen], random_state=stream)


@dataclasses.dataclass(frozen=True, eq=False)
class GameMonitor:
    """Monitors an adversarial game: how the critic stands, and how samples compare with real rows.

    Attributes
    ----------
    sample : callable
        ``(n, stream, condition) → (n, …)``, such as :meth:`Generator.sample`.
    critic : callable
        ``(x, condition) → logits``, one a row (one a pack of ``packing`` rows), such as
        ``AdversarialGame.logits``. In evaluation mode, or its running averages would move.
    train, held_out : Batch
        Real rows, with their ``condition``, that the critic is trained on, and that it is not; at
        most ``rows`` random ones of them are taken at each check, 20 or more.
    coverage : Coverage, "clusters" or None
        The classes to look for among the samples; by default :func:`cluster_coverage` of ``train``,
        fitted at the first check.

    Examples
    --------
    >>> data = Batch(Stream(0).normal((400, 2)))
    >>> narrow = lambda n, stream, condition: 0.1 * stream.normal((n, 2))
    >>> found = GameMonitor(narrow, lambda x, _: x.norm(dim=1), data).measure(Stream(1))
    >>> round(found["spread"], 1), found["critic_auc"] > 0.9
    (0.1, True)
    """

    sample: Callable[[int, Stream, Tensor | None], Tensor]
    critic: Callable[[Tensor, Tensor | None], Tensor]
    train: Batch
    held_out: Batch | None = None
    coverage: Coverage | str | None = "clusters"
    packing: int = 1
    rows: int = 500

    def __post_init__(self) -> None:
        for name, batch in (("train", self.train), ("held_out", self.held_out)):
            check.whole(20)(f"rows of {name}", 20 if batch is None else len(batch.values))

    @functools.cached_property
    def _classes(self) -> Coverage | None:
        given = self.coverage
        return cluster_coverage(self.train.values) if isinstance(given, str) else given

    def measure(self, stream: Stream) -> dict[str, float]:
        """The numbers of one check.

        - ``train_logit``, ``sampled_logit``: means over rows; ``held_out_logit`` and
          ``logit_error``, the standard error of the difference to ``train_logit``, where rows are
          held out.
        - ``critic_auc``: how often the critic puts a real row (a held-out one, where there are
          such) above a sample; ½ where it cannot tell them apart.
        - ``spread``: root of the samples' total variance over the rows'.
        - ``kernel_distance``, ``kernel_distance_error``: squared MMD of the raw columns under a
          Gaussian kernel of half the median distance, and its standard error.
        - ``classes_found`` of ``classes``: those claimed with confidence, of those that at least 14
          samples are expected of and that at least three real rows claim.
        """
        kinds = {"train": self._some(self.train, stream.child("train"))}
        if self.held_out is not None:
            kinds["held_out"] = self._some(self.held_out, stream.child("held out"))
        judged = kinds.get("held_out", kinds["train"])
        with torch.no_grad():
            fake = self.sample(len(judged.values), stream.child("samples"), judged.condition)
            kinds["sampled"] = Batch(fake, condition=judged.condition)
            logits = {name: self._logits(batch) for name, batch in kinds.items()}
        real, generated = as_rows(judged.values, "held_out"), as_rows(fake, "samples")
        found = {f"{name}_logit": float(values.mean()) for name, values in logits.items()}
        if "held_out" in logits:
            errors = (float(stats.sem(logits[name])) for name in ("train", "held_out"))
            found["logit_error"] = math.hypot(*errors)
        pair = logits.get("held_out", logits["train"]), logits["sampled"]
        above = float(stats.mannwhitneyu(*pair, method="asymptotic").statistic)  # ties count half
        found["critic_auc"] = above / (len(pair[0]) * len(pair[1]))
        variance = max(float(real.var(axis=0).sum()), 1e-100)
        found["spread"] = math.sqrt(generated.var(axis=0).sum() / variance)
        distance = kernel_estimate(real, generated, gaussian(real))
        found["kernel_distance"], found["kernel_distance_error"] = distance
        if self._classes is not None:
            claimed, known = (self._classes.counts(rows)[1] for rows in (generated, real))
            expected = self._classes.frequencies * len(generated)
            asked = (expected >= _EXPECTED) & (known >= _KNOWN)
            found["classes_found"] = float((claimed[asked] > 0).sum())
            found["classes"] = float(asked.sum())
        return found

    def _some(self, batch: Batch, stream: Stream) -> Batch:
        """Random rows, in whole packs."""
        size = min(self.rows, len(batch.values)) // self.packing
        index = stream.permutation(len(batch.values))[: max(size, 1) * self.packing]
        index = index.to(batch.values.device)
        condition = None if batch.condition is None else batch.condition[index]
        return Batch(batch.values[index], condition=condition)

    def _logits(self, batch: Batch) -> np.ndarray:
        return self.critic(batch.values, batch.condition).reshape(-1).double().cpu().numpy()
