"""RBM in BernoulliRBM's place in scikit-learn's digits pipeline: accuracy, log-likelihood and fit
time of both, for some seeds.

The data are those of scikit-learn's example "Restricted Boltzmann machine features for digit
classification": each digit and its four copies moved by a pixel, scaled to [0, 1], a fifth held
out. Features of 100 hidden units go into a logistic regression.

    python experiments/digits_pipeline.py --seeds 3
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import minmax_scale

from equilibria import RBM, BoltzmannMachine
from equilibria.data import binarise
from equilibria.evaluation import likelihood
from equilibria.inference.boltzmann import Restricted
from equilibria.random import Stream

__all__ = ["MACHINES", "PARAMETERS", "accuracy", "log_likelihood", "nudged_digits"]

PARAMETERS: dict[str, Any] = {
    "n_components": 100,
    "learning_rate": 0.06,
    "batch_size": 10,
    "n_iter": 10,
}  # the example's
MACHINES = {
    "BernoulliRBM": BernoulliRBM,
    "RBM": functools.partial(RBM, momentum=0.9),  # .5 learns features more slowly: LOG.md
}


def nudged_digits() -> tuple[np.ndarray, np.ndarray]:
    """The digits and their copies moved by a pixel up, left, right and down, (8985, 64) in [0, 1],
    and their classes."""
    X, y = load_digits(return_X_y=True)
    padded = np.pad(X.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    moved = [
        padded[:, down : down + 8, right : right + 8].reshape(-1, 64)
        for down, right in ((1, 1), (2, 1), (1, 2), (1, 0), (0, 1))
    ]
    return minmax_scale(np.concatenate(moved), feature_range=(0, 1)), np.tile(y, 5)


def accuracy(machine: Any, split: Iterable[np.ndarray]) -> tuple[float, float]:
    """(test accuracy, seconds to fit the machine) of the machine's features under the example's
    logistic regression."""
    train, test, train_y, test_y = split
    began = time.monotonic()
    machine.fit(train)
    seconds = time.monotonic() - began
    # The example's tol=1 was of the gradient's sum over the rows; newer versions of scikit-learn
    # take the mean.
    classifier = LogisticRegression(solver="newton-cg", tol=1e-4, C=6000)
    return make_pipeline(_Fitted(machine), classifier).fit(train, train_y).score(
        test, test_y
    ), seconds


def log_likelihood(machine: Any, rows: np.ndarray) -> float:
    """Mean log p of ``rows``, their greys drawn once, in nats, with log Z by annealing: the same
    for both libraries."""
    weights, biases = (
        [machine.components_.T],
        [machine.intercept_visible_, machine.intercept_hidden_],
    )
    drawn = binarise(torch.as_tensor(rows), "fixed", Stream(0))
    model = Restricted(BoltzmannMachine.from_arrays(weights, biases), ["visible"])
    return likelihood.bound(model, drawn.to(model.dtype)).value


class _Fitted:
    """A fitted transformer that a pipeline does not fit again."""

    def __init__(self, machine: Any):
        self.machine = machine

    def fit(self, X: np.ndarray, y: Any = None) -> _Fitted:
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return self.machine.transform(X)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    X, y = nudged_digits()
    split = train_test_split(X, y, test_size=0.2, random_state=0)
    rows = []
    for seed in range(arguments.seeds):
        for name, machine in MACHINES.items():
            model = machine(**PARAMETERS, random_state=seed)
            found, seconds = accuracy(model, split)
            nats = log_likelihood(model, split[1])
            rows.append(
                {
                    "seed": seed,
                    "machine": name,
                    "accuracy": found,
                    "log_likelihood": nats,
                    "fit_seconds": seconds,
                }
            )
            print(
                f"seed {seed}  {name:12s}  accuracy {found:.4f}  log-likelihood {nats:.2f}  fit "
                f"{seconds:.1f} s",
                flush=True,
            )
    from record import (
        record,
    )  # beside this file; imported here so that the tests can load the functions above

    record("digits_pipeline", parameters=PARAMETERS, momentum_of_rbm=0.9, rows=rows)


if __name__ == "__main__":
    main()
