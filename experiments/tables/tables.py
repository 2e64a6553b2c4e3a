"""The eight mixed tables of these experiments: rows to train on, rows held out, and the column to
predict.

Four are files of ``EQUILIBRIA_DATA/tables`` with a split of their own. Four come with scikit-learn,
and a third of their rows is held out: the largest two with 30 and 13 measurements and a diagnosis
or a cultivar, a cohort with an age, a sex and whole numbers, and the irises. (Its other tables are
downloads, or have 20 rows.) Nothing is made discrete: values stay as the packages have them,
classes by their names. Only pandas and scikit-learn are needed here, so that the peers' environment
can read the same rows.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.model_selection import train_test_split

__all__ = ["TABLES", "Task", "load"]

_FILES = {"titanic": "survived", "penguins": "species", "diamonds": "price", "credit": "Status"}
_SHIPPED: dict[str, Callable[..., object]] = {
    "cancer": datasets.load_breast_cancer,
    "wine": datasets.load_wine,
    "diabetes": lambda **how: datasets.load_diabetes(scaled=False, **how),
    "iris": datasets.load_iris,
}
TABLES = (*_FILES, *_SHIPPED)


@dataclasses.dataclass(frozen=True)
class Task:
    """A table: ``train`` and ``test`` rows, and the column ``target`` that the others predict."""

    name: str
    train: pd.DataFrame
    test: pd.DataFrame
    target: str

    def scaled(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows as they are judged: a price by its logarithm, of at least the cheapest."""
        if self.target != "price":
            return rows
        return rows.assign(price=np.log(rows.price.clip(lower=self.train.price.min())))


def load(name: str, split: int | None = None) -> Task:
    """One of :data:`TABLES`, in its own split, or in a random one of the same sizes."""
    if name in _FILES:
        folder = Path(os.environ["EQUILIBRIA_DATA"]) / "tables"
        parts = [pd.read_csv(folder / f"{name}_{part}.csv") for part in ("train", "test")]
        if split is None:
            return Task(name, *parts, _FILES[name])
        frame, target, held = pd.concat(parts), _FILES[name], len(parts[1])
    else:
        found = _SHIPPED[name](as_frame=True)
        frame, target, held = found.frame.copy(), "target", -(-len(found.frame) // 3)
        if "target_names" in found:
            frame["target"] = found.target_names[found.target].astype(str)
    train, test = train_test_split(frame, test_size=held, random_state=split or 0)
    return Task(name, train.reset_index(drop=True), test.reset_index(drop=True), target)
