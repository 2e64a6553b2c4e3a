"""What a machine's hidden units are worth to a linear classifier, beside BernoulliRBM, PCA and the
columns themselves.

    EQUILIBRIA_DATA=… python experiments/tables/features.py [--tables titanic …] [--seeds 3]
    [--features raw pca …]

Six mixed tables with a class, and scikit-learn's digits. The columns but the class are learnt from
the training rows without it; a logistic regression, its penalty chosen by five folds, is fitted to
the training rows' features and scored once on the test rows: share right, and log-loss in nats.
``raw`` are the columns (numbers standardised, gaps by the median; a column for each category);
``pca`` as many of their principal components as hold 95 % of the variance; ``bernoulli-rbm``
scikit-learn's machine on them brought to 0 … 1; ``rbm`` and ``dbm`` ours on the table as it is, 64
hidden units as in BernoulliRBM and the defaults (the DBM has 64 and 32, features of both layers,
and 3,000 steps after 1,500 of pretraining each); ``raw+rbm`` both beside each other. Seconds are
the processor's, of one thread, to learn the features. Rows are kept by table, features and seed in
experiments/results/tables_features.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import tables
from record import kept, record

from equilibria import DBM, RBM
from equilibria import data as sets

UNITS, STEPS = 64, 3000
TABLES = ("titanic", "penguins", "credit", "cancer", "wine", "iris", "digits")
FEATURES = ("raw", "pca", "bernoulli-rbm", "rbm", "dbm", "raw+rbm")


def columns() -> Any:
    """Columns of a frame as numbers: standardised, and one for each category."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (words, make_column_selector(dtype_exclude="number")),
    )


def learnt(name: str, train: Any, test: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of training and test rows."""
    if "+" in name:
        parts = [learnt(part, train, test, seed) for part in name.split("+")]
        one, other = (np.hstack(found) for found in zip(*parts, strict=True))
        return one, other
    if name in ("rbm", "dbm"):
        model: Any = RBM(UNITS, random_state=seed)
        if name == "dbm":
            steps = {"steps": STEPS, "pretrain_steps": STEPS // 2}
            model = DBM(hidden=(UNITS, UNITS // 2), random_state=seed, **steps)
        model.fit(train)
        return model.transform(train), model.transform(test)
    steps: list[Any] = [columns()] if isinstance(train, pd.DataFrame) else [MinMaxScaler()]
    if name == "pca":
        steps.append(PCA(0.95, random_state=seed))
    if name == "bernoulli-rbm":
        steps += [MinMaxScaler(clip=True), BernoulliRBM(UNITS, random_state=seed)]
    line = make_pipeline(*steps).fit(train)
    return line.transform(train), line.transform(test)


def rows_of(name: str) -> tuple[Any, Any, Any, Any]:
    """Rows and classes to train on and to test."""
    if name == "digits":
        parts = [sets.load(name, split=part) for part in ("train", "test")]
        return parts[0].values, parts[1].values, parts[0].labels, parts[1].labels
    task = tables.load(name)
    frames = [part.drop(columns=task.target) for part in (task.train, task.test)]
    return *frames, task.train[task.target], task.test[task.target]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES)
    parser.add_argument("--features", nargs="+", default=FEATURES, choices=FEATURES)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    for kind in (ConvergenceWarning, FutureWarning):
        warnings.simplefilter("ignore", kind)
    for name in options.tables:
        train, test, y, expected = rows_of(name)
        for features in options.features:
            for seed in range(options.seeds):
                began = time.process_time()
                X, held_out = learnt(features, train, test, seed)
                seconds = time.process_time() - began
                scale = StandardScaler().fit(X)
                model = LogisticRegressionCV(Cs=8, cv=5, max_iter=2000, scoring="neg_log_loss").fit(
                    scale.transform(X), y
                )
                chances = model.predict_proba(scale.transform(held_out))
                row = {
                    "table": name,
                    "features": features,
                    "seed": seed,
                    "columns": X.shape[1],
                    "right": float((model.classes_[chances.argmax(1)] == expected).mean()),
                    "log_loss": float(log_loss(expected, chances, labels=model.classes_)),
                    "rows": len(expected),
                    "seconds": round(seconds, 2),
                }
                print(row, flush=True)
                key = (name, features, seed)
                rows = [
                    old
                    for old in kept("tables_features", "rows").get("rows", [])
                    if (old["table"], old["features"], old["seed"]) != key
                ]
                record("tables_features", rows=[*rows, row], protocol=__doc__)


if __name__ == "__main__":
    main()
