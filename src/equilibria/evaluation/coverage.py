"""Which classes a generator covers, judged by a classifier fitted to real rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from equilibria.evaluation.statistics import as_labels, as_rows, kl_chance, kl_divergence, wilson
from equilibria.numbers import Measure
from equilibria.random import RandomState, as_stream

__all__ = ["Coverage"]

METHOD = "raw columns, RBF support-vector classifier (one against the rest)"


@dataclasses.dataclass(frozen=True, eq=False)
class Coverage:
    """A classifier of real rows that samples are shown to; :meth:`fit` makes one.

    For each class a support-vector machine with a radial kernel separates its rows from all others.
    A sample is classified *with confidence* when exactly one of the machines claims it: far from
    all data none does. (With two classes there is one machine, and every sample is claimed.)

    Attributes
    ----------
    classes : ndarray
        The labels.
    frequencies : ndarray
        Share of each class among the labelled rows.
    accuracy : Measure
        The classifier's, on held-out rows.
    confident : float
        Share of the held-out rows that are classified with confidence.

    Examples
    --------
    >>> from equilibria.data import load
    >>> train, test = load("digits"), load("digits", split="test")
    >>> coverage = Coverage.fit(train.values, train.labels, test.values, test.labels)
    >>> found = coverage.measure(test.values)
    >>> found.value, found.ideal, coverage.accuracy.value > 0.98
    (10.0, 10.0, True)
    """

    classes: np.ndarray
    frequencies: np.ndarray
    accuracy: Measure
    confident: float
    centre: np.ndarray = dataclasses.field(repr=False)
    scale: float = dataclasses.field(repr=False)
    machines: Any = dataclasses.field(repr=False)

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
        """Fit the classifier to labelled real rows, on the scale of the samples to come.

        Two classes or more, each with two rows or more. It is judged by ``X_test`` and ``y_test``,
        by default every fifth row of each class. At most ``max_rows`` are fitted to, since time
        grows with their square; ``random_state`` says which.
        """
        rows = as_rows(X, "X")
        labels = as_labels(y, "y", len(rows))
        if (X_test is None) != (y_test is None):
            raise ValueError("X_test and y_test: give both or neither")
        classes, counts = np.unique(labels, return_counts=True)
        if len(classes) < 2 or counts.min() < 2:
            found = dict(zip(classes.tolist(), counts.tolist(), strict=True))
            raise ValueError(f"y: expected two classes or more with two rows each, found {found}")
        # Sorted by class, at random within each: every k-th row is a fair share of each class.
        order = as_stream(random_state).child("coverage").permutation(len(labels)).numpy()
        order = order[np.argsort(labels[order], kind="stable")]
        if X_test is None:
            held = np.arange(len(order)) % 5 == 2
            test, test_labels, order = rows[order[held]], labels[order[held]], order[~held]
        else:
            test = as_rows(X_test, "X_test", rows.shape[1])
            test_labels = as_labels(y_test, "y_test", len(test))
        if len(order) > max_rows:
            order = order[np.linspace(0, len(order) - 1, max(max_rows, 2)).round().astype(int)]
        centre = rows[order].mean(axis=0)
        scale = float(np.sqrt(np.square(rows[order] - centre).mean())) or 1.0
        # Twice scikit-learn's "scale": narrow enough that no class claims noise.
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.svm import SVC

        machines = OneVsRestClassifier(SVC(C=10.0, gamma=2.0 / rows.shape[1], random_state=0))
        machines.fit((rows[order] - centre) / scale, labels[order])
        name = "classifier accuracy"
        blank = Measure(name, 0.0)
        judge = cls(classes, counts / counts.sum(), blank, 0.0, centre, scale, machines)
        answer, sure = judge.classify(test)
        right, n = int((classes[answer] == test_labels).sum()), len(test)
        accuracy = Measure(name, right / n, *wilson(right, n), n=n, method=METHOD)
        return dataclasses.replace(judge, accuracy=accuracy, confident=float(sure.mean()))

    def classify(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:
        """Index into ``classes`` of each sample's largest margin, and whether it is confident."""
        rows = as_rows(samples, "samples", columns=len(self.centre))
        margins = self.machines.decision_function((rows - self.centre) / self.scale)
        if margins.ndim == 1:
            margins = np.stack([-margins, margins], axis=1)
        return margins.argmax(axis=1), (margins > 0).sum(axis=1) == 1

    def counts(self, samples: Any) -> tuple[np.ndarray, np.ndarray]:
        """Samples put into each class, and those put there with confidence: both ``(classes,)``."""
        answer, sure = self.classify(samples)
        size = len(self.classes)
        return np.bincount(answer, minlength=size), np.bincount(answer[sure], minlength=size)

    def measure(self, samples: Any) -> Measure:
        """Classes found among ``samples`` (m, …): those of at least one confident sample.

        The parts are "KL of classes from the training frequencies", in nats, of all samples, to
        which the classifier's own errors add; and "share classified with confidence", beside that
        of held-out rows.
        """
        counts, sure = self.counts(samples)
        n, frequencies = int(counts.sum()), self.frequencies
        how: dict[str, Any] = {"n": n, "method": METHOD}
        kl = Measure(
            "KL of classes from the training frequencies",
            kl_divergence(counts, frequencies),
            chance=kl_chance(frequencies, n),
            ideal=0.0,
            note="In nats.",
            **how,
        )
        name, claimed = "share classified with confidence", int(sure.sum())
        share = Measure(name, claimed / n, *wilson(claimed, n), ideal=self.confident, **how)
        note = f"The classifier is right on {100 * self.accuracy.value:.2f} % of held-out rows."
        found, ideal = float((sure > 0).sum()), float(len(self.classes))
        return Measure("classes found", found, ideal=ideal, note=note, parts=(kl, share), **how)
