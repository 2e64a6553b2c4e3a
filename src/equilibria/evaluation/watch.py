"""How an adversarial game stands while it is played: a few numbers from some rows, cheap enough to be logged ten times in a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn.cluster import KMeans
from torch import Tensor

from equilibria.data.batches import Batch
from equilibria.evaluation.coverage import Coverage
from equilibria.evaluation.distances import gaussian, kernel_estimate
from equilibria.evaluation.rows import as_rows
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["landmarks", "watch_game"]

Sample = Callable[[int, Stream, Tensor | None], Tensor]
Critic = Callable[[Tensor, Tensor | None], Tensor]

_FEWEST = 5  # rows of a cluster that is to be looked for
_KNOWN = 3  # real rows that must claim a class, or samples are not asked to: a cluster may have no core of its own
_EXPECTED = 14.0  # a class that fewer samples are expected of may be missed by chance: with e⁻¹⁴ = 1e-6


def landmarks(
    train: Any, labels: Any = None, *, clusters: int = 20, max_rows: int = 1000, random_state: RandomState = 0
) -> Coverage | None:
    """What :func:`watch_game` looks for among the samples: the classes of the data, or clusters where there are no labels.

    Parameters
    ----------
    train : array or tensor, shape (n, …)
        Real rows, on the scale of the samples.
    labels : array, shape (n,), optional
        Their classes; without them, the clusters of k-means stand in.
    clusters : int
        How many clusters at most.
    max_rows : int
        At most so many rows are used.
    random_state : int, Stream or numpy generator
        Which.

    Returns
    -------
    Coverage or None
        None where there are no two classes of five rows or more: rows that are all alike, or one heap and a few rows far from it.

    Raises
    ------
    ValueError
        For NaN, or fewer than 20 rows.

    Examples
    --------
    >>> from equilibria.data.toy import GaussianMixture
    >>> found = landmarks(GaussianMixture.ring().sample(500, Stream(0)), clusters=8)
    >>> len(found.classes), found.accuracy.value
    (8, 1.0)
    """
    rows, stream = as_rows(train, "train", least=20), as_stream(random_state).child("landmarks")
    kept = stream.permutation(len(rows))[:max_rows].numpy()
    rows = rows[kept]
    if labels is None:
        distinct = len(np.unique(rows, axis=0))
        model = KMeans(min(int(clusters), len(rows) // 10, distinct), n_init=3, random_state=stream.integer() % 2**32)
        codes = model.fit_predict(rows)
    else:
        codes = np.unique(np.asarray(labels)[kept], return_inverse=True)[1]
    seen = np.bincount(codes)[codes] >= _FEWEST
    return Coverage.fit(rows[seen], codes[seen], random_state=stream) if len(np.unique(codes[seen])) > 1 else None


def watch_game(
    sample: Sample,
    critic: Critic,
    train: Batch,
    held_out: Batch | None = None,
    *,
    stream: Stream,
    coverage: Coverage | None = None,
    packing: int = 1,
    rows: int = 500,
) -> dict[str, float]:
    """Numbers that :func:`equilibria.training.health.sentences` speaks of, from at most ``rows`` rows of each kind.

    Parameters
    ----------
    sample : callable
        ``(n, stream, condition) → (n, …)``, as :meth:`Generator.sample`.
    critic : callable
        ``(x, condition) → logits``, one a row (one a pack of ``packing`` rows), as ``AdversarialGame.logits``. In evaluation mode, or its
        running averages would move.
    train, held_out : Batch
        Real rows (``values``, and ``condition`` where the game has one) that the critic was trained on and that it was not. Other
        rows are taken of them each time.
    stream : Stream
        Which rows, and the samples' noise.
    coverage : Coverage, optional
        From :func:`landmarks`; made once, since it takes longer than the rest.
    packing : int
        Examples that the critic sees side by side.
    rows : int
        At most so many of each kind, at least 20.

    Returns
    -------
    dict of str to float
        ``train_logit``, ``sampled_logit``: means over rows; ``held_out_logit`` and ``logit_error``, the standard error of the difference
        to ``train_logit``, where rows were held out. ``critic_auc``: how often the critic puts a real row (a held-out one, where there are
        such) above a sample; ½ where it cannot tell, whatever its payoff. ``spread``: root of the samples' total variance over the rows'.
        ``kernel_distance`` and ``kernel_distance_error``: the squared discrepancy of the raw columns under a Gaussian kernel of half the
        median distance, with its standard error. ``classes_found`` of ``classes``:
        those claimed with confidence, of those that at least 14 samples are expected of and that at least three real rows claim.

    Raises
    ------
    ValueError
        For fewer than 20 rows of a kind, or NaN in the samples.

    Examples
    --------
    >>> data = Batch(Stream(0).normal((400, 2)))
    >>> found = watch_game(lambda n, stream, _: 0.1 * stream.normal((n, 2)), lambda x, _: x.norm(dim=1), data, stream=Stream(1))
    >>> round(found["spread"], 1), found["critic_auc"] > 0.9
    (0.1, True)
    """
    if rows < 20 or len(train.values) < 20 or (held_out is not None and len(held_out.values) < 20):
        raise ValueError(f"rows={rows!r}: expected 20 or more, and as many of train and held_out; leave held_out out where there are fewer")
    seen = _some(train, rows, packing, stream.child("train"))
    unseen = None if held_out is None else _some(held_out, rows, packing, stream.child("held out"))
    judged = seen if unseen is None else unseen
    with torch.no_grad():
        fake = sample(len(judged.values), stream.child("samples"), judged.condition)
        logits = {name: _logits(critic, batch) for name, batch in _kinds(seen, unseen, Batch(fake, condition=judged.condition)).items()}
    real, generated = as_rows(judged.values, "held_out"), as_rows(fake, "samples")
    found = {f"{name}_logit": float(values.mean()) for name, values in logits.items()}
    if "held_out" in logits:
        found["logit_error"] = math.hypot(*(stats.sem(logits[name]) for name in ("train", "held_out")))
    found["critic_auc"] = _auc(logits.get("held_out", logits["train"]), logits["sampled"])
    found["spread"] = math.sqrt(generated.var(axis=0).sum() / max(real.var(axis=0).sum(), 1e-30))
    found["kernel_distance"], found["kernel_distance_error"] = kernel_estimate(real, generated, gaussian(real))
    return found if coverage is None else found | _classes(coverage, real, generated)


def _kinds(seen: Batch, unseen: Batch | None, sampled: Batch) -> dict[str, Batch]:
    kinds = {"train": seen, "sampled": sampled}
    return kinds if unseen is None else {**kinds, "held_out": unseen}


def _some(batch: Batch, most: int, packing: int, stream: Stream) -> Batch:
    """Random rows, in whole packs."""
    count = max(min(most, len(batch.values)) // packing, 1) * packing
    index = stream.permutation(len(batch.values))[:count].to(batch.values.device)
    return Batch(batch.values[index], condition=None if batch.condition is None else batch.condition[index])


def _logits(critic: Critic, batch: Batch) -> np.ndarray:
    return critic(batch.values, batch.condition).reshape(-1).double().cpu().numpy()


def _auc(real: np.ndarray, fake: np.ndarray) -> float:
    """P(real above fake), ties counting half."""
    statistic = stats.mannwhitneyu(real, fake, method="asymptotic").statistic
    return float(statistic) / (len(real) * len(fake))


def _classes(coverage: Coverage, real: np.ndarray, samples: np.ndarray) -> dict[str, float]:
    """Of the classes that as many real rows claim, and that samples may not miss by chance, how many the samples claim."""
    claimed, known = coverage.measure(samples).claimed, coverage.measure(real).claimed
    often = [str(label) for label, p in zip(coverage.classes, coverage.frequencies, strict=True) if p * len(samples) >= _EXPECTED]
    looked_for = [label for label in often if known[label] >= _KNOWN]
    return {"classes_found": float(sum(claimed[label] > 0 for label in looked_for)), "classes": float(len(looked_for))}
