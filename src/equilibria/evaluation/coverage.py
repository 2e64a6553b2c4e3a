"""Which classes a generator covers, seen by a classifier that was fitted on real examples."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC

from equilibria.estimate import Estimate
from equilibria.evaluation.metric import Metric
from equilibria.evaluation.rows import as_rows
from equilibria.evaluation.statistics import kl_divergence, kl_floor, wilson
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["Coverage", "CoverageReport"]

FEATURES = "raw columns, RBF support-vector classifier (one against the rest)"


@dataclasses.dataclass(frozen=True)
class CoverageReport:
    """What :meth:`Coverage.measure` found.

    Attributes
    ----------
    found, total : int
        Classes that at least one sample was put into with confidence, and all classes.
    shares : dict of str to float
        Share of the samples put into each class, confident or not.
    kl, kl_floor : float
        KL divergence in nats of these shares from the classes' frequencies among the training rows, and what it is on
        average for as many samples drawn with those frequencies. The classifier's own errors come on top.
    confident, confident_real : float
        Share of the samples classified with confidence, and the same of the held-out real rows.
    accuracy : Estimate
        The classifier's accuracy on held-out real rows, with its binomial interval.
    samples : int
        Number of samples.
    features : str
        What the samples were seen through.
    claimed : dict of str to int
        Number of the samples put into each class with confidence.
    """

    found: int
    total: int
    shares: dict[str, float]
    kl: float
    kl_floor: float
    confident: float
    confident_real: float
    accuracy: Estimate
    samples: int
    features: str = FEATURES
    claimed: dict[str, int] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.found} of {self.total} classes found among {self.samples} samples, {100 * self.confident:.1f} % of them classified "
            f"with confidence (held-out real rows {100 * self.confident_real:.1f} %); KL from the training frequencies {self.kl:.4f} "
            f"(chance alone gives {self.kl_floor:.4f}); seen through {self.features}, held-out accuracy {100 * self.accuracy.value:.2f} %"
        )

    def metrics(self) -> tuple[Metric, ...]:
        """The same numbers one by one, for a table or a run folder."""
        n, features = self.samples, self.features
        low, high = wilson(round(self.confident * n), n)
        note = f"The classifier is right on {100 * self.accuracy.value:.2f} % of held-out real rows."
        return (
            Metric("classes found", self.found, n, best=self.total, features=features, note=note),
            Metric("KL of classes from the training frequencies, nats", self.kl, n, self.kl_floor, 0.0, features, note),
            Metric("share classified with confidence", self.confident, n, None, self.confident_real, features, low=low, high=high),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Coverage:
    """A classifier of real examples that samples are shown to; :meth:`fit` makes one.

    For each class a support-vector machine with a radial kernel separates its rows from all others. A sample is classified
    *with confidence* when exactly one of the machines claims it: far from all data none does. (With two classes there is
    one machine, and every sample is claimed.)

    Attributes
    ----------
    classes : ndarray
        The labels.
    frequencies : ndarray
        Share of each class among the labelled rows.
    accuracy : Estimate
        On held-out rows, with its binomial interval.
    confident : float
        Share of the held-out rows that are classified with confidence.

    Examples
    --------
    >>> from equilibria.data import load
    >>> train, test = load("digits"), load("digits", split="test")
    >>> coverage = Coverage.fit(train.values, train.labels, test.values, test.labels)
    >>> report = coverage.measure(test.values)
    >>> report.found, report.total, report.accuracy.value > 0.98
    (10, 10, True)
    """

    classes: np.ndarray
    frequencies: np.ndarray
    accuracy: Estimate
    confident: float
    columns: int
    _machines: Any = dataclasses.field(repr=False)

    @classmethod
    def fit(
        cls,
        X: Any,
        y: Any,
        X_test: Any = None,
        y_test: Any = None,
        *,
        random_state: RandomState = 0,
        max_rows: int = 6000,
    ) -> Coverage:
        """Fit the classifier on labelled real rows.

        Parameters
        ----------
        X : array or tensor, shape (n, …)
            Real examples, on the scale of the samples to come.
        y : array, shape (n,)
            Their labels.
        X_test, y_test : arrays, optional
            Held-out examples to judge the classifier by; without them every fifth row of each class is held out.
        random_state : int, Stream or numpy generator
            Which rows are held out and which are used of more than ``max_rows``.
        max_rows : int
            At most so many rows are fitted to, since time grows with their square.

        Raises
        ------
        ValueError
            For rows and labels of different lengths, NaN, fewer than two classes, or a class with a single row.
        """
        rows, labels = _labelled(X, y, "X", "y")
        if (X_test is None) != (y_test is None):
            raise ValueError("X_test and y_test: give both or neither")
        classes, counts = np.unique(labels, return_counts=True)
        if len(classes) < 2 or counts.min() < 2:
            raise ValueError(
                f"y: expected two classes or more with two rows each, found {dict(zip(classes.tolist(), counts.tolist(), strict=True))}"
            )
        order = _by_class(labels, as_stream(random_state).child("coverage"))
        if X_test is None:
            held = np.arange(len(order)) % 5 == 2
            test_rows, test_labels, order = rows[order[held]], labels[order[held]], order[~held]
        else:
            test_rows, test_labels = _labelled(X_test, y_test, "X_test", "y_test", rows.shape[1])
        if len(order) > max_rows:
            order = order[np.linspace(0, len(order) - 1, max(max_rows, 2)).round().astype(int)]
        machines = OneVsRestClassifier(SVC(C=10.0, gamma=_gamma(rows[order]))).fit(rows[order], labels[order])
        answer, confident = _classify(machines, test_rows)
        accuracy = _accuracy(int((machines.classes_[answer] == test_labels).sum()), len(test_labels))
        return cls(classes, counts / counts.sum(), accuracy, float(confident.mean()), rows.shape[1], machines)

    def measure(self, samples: Any) -> CoverageReport:
        """Classify ``samples`` (m, …), on the scale of the rows that were fitted to.

        Raises
        ------
        ValueError
            For samples with NaN or another number of columns.
        """
        rows = as_rows(samples, "samples", columns=self.columns)
        answer, confident = _classify(self._machines, rows)
        index = np.searchsorted(self.classes, self._machines.classes_[answer])
        counts, sure = (np.bincount(kept, minlength=len(self.classes)) for kept in (index, index[confident]))
        return CoverageReport(
            found=int((sure > 0).sum()),
            total=len(self.classes),
            shares={str(label): float(c) / len(rows) for label, c in zip(self.classes, counts, strict=True)},
            kl=kl_divergence(counts, self.frequencies),
            kl_floor=kl_floor(self.frequencies, len(rows)),
            confident=float(confident.mean()),
            confident_real=self.confident,
            accuracy=self.accuracy,
            samples=len(rows),
            claimed={str(label): int(c) for label, c in zip(self.classes, sure, strict=True)},
        )


def _labelled(X: Any, y: Any, rows_name: str, labels_name: str, columns: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = as_rows(X, rows_name, columns), np.asarray(y)
    if labels.shape != (len(rows),):
        raise ValueError(f"{labels_name}: expected one label for each of the {len(rows)} rows of {rows_name}, found shape {labels.shape}")
    return rows, labels


def _by_class(labels: np.ndarray, stream: Stream) -> np.ndarray:
    """Row numbers sorted by class, each class in random order: every k-th of them is a fair share of each class."""
    shuffled = stream.permutation(len(labels)).numpy()
    return shuffled[np.argsort(labels[shuffled], kind="stable")]


def _gamma(rows: np.ndarray) -> float:
    """Twice scikit-learn's "scale": narrow enough that noise is claimed by no class."""
    return 2.0 / (rows.shape[1] * max(float(rows.var()), 1e-12))


def _classify(machines: OneVsRestClassifier, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(index of the class with the largest margin, whether it alone claims the row), each (rows,)."""
    margins = machines.decision_function(rows)
    if margins.ndim == 1:
        margins = np.stack([-margins, margins], axis=1)
    return margins.argmax(axis=1), (margins > 0).sum(axis=1) == 1


def _accuracy(right: int, trials: int) -> Estimate:
    low, high = wilson(right, trials)
    return Estimate(right / trials, low, high, f"{trials} held-out real rows, Wilson's interval", "classifier accuracy", samples=trials)
