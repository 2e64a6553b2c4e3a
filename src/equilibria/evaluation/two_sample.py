"""The classifier two-sample test: can a forest tell samples from real rows?"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from equilibria.evaluation.rows import as_rows
from equilibria.evaluation.statistics import wilson
from equilibria.numbers import Measure
from equilibria.random import RandomState, as_stream

__all__ = ["two_sample"]

CAVEAT = "0.5 is chance; where this forest sees no difference, another classifier may."
_TREES = 100


def two_sample(real: Any, fake: Any, random_state: RandomState = 0, *, max_rows: int = 5000) -> Measure:
    """Held-out accuracy of a random forest that tells ``fake`` rows from ``real`` ones: 0.5 where it cannot, 1 where it always can.

    As many rows of each are used; half of them teach the forest, the other half test it.

    Parameters
    ----------
    real, fake : array or tensor, shape (n, …), (m, …)
        Real rows (held out from the model, or copies pass for real) and samples, prepared alike: a difference in rounding or
        in grey levels is a difference.
    random_state : int, Stream or numpy generator
        The same value gives the same answer.
    max_rows : int
        At most so many rows of each are used.

    Returns
    -------
    Measure
        The accuracy with Wilson's 95 % interval; ``samples`` counts the held-out rows of both kinds.

    Raises
    ------
    ValueError
        For NaN, different numbers of columns, or fewer than 4 rows of either.

    References
    ----------
    Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests", https://arxiv.org/abs/1610.06545

    Examples
    --------
    >>> from equilibria.random import Stream
    >>> noise = Stream(0).normal((800, 2))
    >>> same, other = two_sample(noise[:400], noise[400:]), two_sample(noise[:400], 5 + noise[400:])
    >>> abs(same.value - 0.5) < 0.12, other.low > 0.95
    (True, True)
    """
    rows = as_rows(real, "real", least=4)
    others = as_rows(fake, "fake", rows.shape[1], least=4)
    if max_rows < 4:
        raise ValueError(f"max_rows={max_rows!r}: expected at least 4")
    stream = as_stream(random_state).child("two_sample")
    n = min(len(rows), len(others), int(max_rows))
    order = np.stack([stream.child("real").permutation(len(rows))[:n], stream.child("fake").permutation(len(others))[:n]], axis=1)
    table = np.concatenate([rows[order[:, 0]], others[order[:, 1]]])
    label = np.repeat([0, 1], n)
    learn = np.tile(np.arange(n) < n // 2, 2)
    forest = RandomForestClassifier(_TREES, min_samples_leaf=2, random_state=stream.integer() % 2**32)
    right = int((forest.fit(table[learn], label[learn]).predict(table[~learn]) == label[~learn]).sum())
    trials = int((~learn).sum())
    low, high = wilson(right, trials)
    method = (
        f"random forest of {_TREES} trees on the raw columns, {learn.sum()} rows to learn from and {trials} to judge; Wilson's interval"
    )
    name = "accuracy at telling samples from real rows"
    return Measure(name, right / trials, low, high, n=trials, method=method, note=CAVEAT)
