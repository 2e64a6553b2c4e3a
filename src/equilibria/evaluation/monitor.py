"""What is measured of an adversarial game while it is played, as numbers for the log.

A monitor is an object with ``measure(stream) -> dict[str, float]``. It holds models and rows, moves
no parameter, and is cheap enough for ten validation checks in a run.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from equilibria import check
from equilibria.data.batches import Batch
from equilibria.evaluation.coverage import Coverage
from equilibria.evaluation.statistics import as_rows, gaussian, kernel_estimate
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["GameMonitor", "cluster_coverage"]

_FEWEST = 5  # rows of a cluster that is to be looked for
_KNOWN = 3  # real rows that must claim a class: a cluster may have no core of its own
_EXPECTED = 14.0  # a class that fewer samples are expected of may be missed by chance: e⁻¹⁴ = 1e-6


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
        from sklearn.cluster import KMeans

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
