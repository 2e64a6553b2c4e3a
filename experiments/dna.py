"""Hidden cells of DNA filled in: an RBM beside scikit-learn's imputers on the same cells; and the
kind of junction from part of the row.

The data are 3,186 pieces of DNA of 60 letters, three binary columns a letter (none of the three is
the fourth letter), and which of three kinds of junction each is. In each split a fifth of the cells
is hidden at random. This is the protocol of ``house_votes.py`` with fewer splits and settings. What
tells a hidden cell is above all its letter's two others, of which at most one is 1: a linear
regression has that rule in two coefficients, while an RBM spends hidden units of its own on each of
the 60 letters.

    python experiments/dna.py
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from house_votes import DEVELOPMENT, REPORTED, compare, develop
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from equilibria import RBM
from equilibria.data import load
from equilibria.random import Stream

__all__ = ["kind_from_part"]

MACHINE: dict[str, Any] = {
    "n_components": 300,
    "method": "cd",
    "k": 3,
    "optimiser": "adam",
    "learning_rate": 0.01,
    "weight_decay": 0.1,
    "initial_std": 0.02,
    "posterior_sweeps": 5,
    "average": 0.98,
    "batch_size": 200,
    "n_iter": 100,
    "ais_chains": 20,  # log Z is not used here
    "ais_betas": 100,
}
FAMILIES: dict[str, list[dict[str, Any]]] = {
    "KNNImputer": [{"n_neighbors": k} for k in (10, 30, 100)],
    "IterativeImputer": [
        {"model": "ridge", "bounded": True, "n_nearest_features": n, "max_iter": 3}
        for n in (20, 60, None)
    ],
    "RBM": [
        {**MACHINE, "n_components": 100},
        MACHINE,
        {**MACHINE, "n_components": 600, "weight_decay": 0.3, "n_iter": 200},
    ],
}


def kind_from_part(
    values: np.ndarray, kinds: np.ndarray, shares: Sequence[float], splits: int
) -> dict[str, Any]:
    """Accuracy where so large a share of a row's cells is known, drawn at random; a fifth of the
    rows is kept back in each split.

    Boosted trees take missing cells as they are; the logistic regression has them at the column's
    mean.
    """
    rows = []
    for seed in range(REPORTED, REPORTED + splits):
        test, train = np.split(
            Stream(seed).child("rows").permutation(len(values)).numpy(), [len(values) // 5]
        )
        rbm = RBM(**MACHINE, labels=True, random_state=seed).fit(values[train], kinds[train])
        trees = HistGradientBoostingClassifier(random_state=0, max_iter=40).fit(
            values[train], kinds[train]
        )
        logistic, means = (
            LogisticRegression(C=0.1, max_iter=300).fit(values[train], kinds[train]),
            values[train].mean(0),
        )
        for share in shares:
            known = (
                Stream(seed)
                .child("known", str(share))
                .uniform(values[test].shape, torch.float64)
                .numpy()
                < share
            )
            X = np.where(known, values[test], np.nan)
            told = {
                "RBM": rbm.predict(X),
                "trees": trees.predict(X),
                "logistic": logistic.predict(np.where(known, values[test], means)),
            }
            rows.append(
                {
                    "split": seed,
                    "known": share,
                    **{name: float((y == kinds[test]).mean()) for name, y in told.items()},
                }
            )
            print(rows[-1], flush=True)
    names = ("RBM", "trees", "logistic")
    means_of = {
        share: {
            name: float(np.mean([row[name] for row in rows if row["known"] == share]))
            for name in names
        }
        for share in shares
    }
    return {"means": means_of, "rows": rows}


def main() -> None:
    from record import record  # beside this file; its clock starts here

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = load("dna", split="all")
    values, kinds = np.asarray(data.values, float), np.asarray(data.labels)
    nothing = np.empty((len(values), 0))
    tried = develop(values, nothing, FAMILIES, 1)
    found = compare(values, nothing, tried, arguments.splits, 1)
    told = kind_from_part(values, kinds, (0.1, 0.3, 1.0), 2)
    record(
        "dna",
        data="3,186 rows, 180 binary columns; a fifth of the cells hidden at random in each split",
        seeds={"reported": [REPORTED, arguments.splits], "development": [DEVELOPMENT, 1]},
        intervals="95 % t intervals of paired differences over splits; 'corrected' as by Nadeau "
        "& Bengio 2003, since splits share cells",
        development=tried,
        **found,
        kinds=told,
    )


if __name__ == "__main__":
    main()
