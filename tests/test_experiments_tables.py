"""The pieces of the experiment on synthetic tables, on the irises."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from scripts import script


@pytest.fixture(scope="module")
def synthetic() -> ModuleType:
    return script("tables/synthetic.py")


def test_tables_are_split_and_keep_their_values(synthetic: ModuleType) -> None:
    for name, rows in (("iris", 150), ("wine", 178), ("diabetes", 442), ("cancer", 569)):
        task = synthetic.load(name)
        assert len(task.train) + len(task.test) == rows
        assert task.target in task.train
    assert set(synthetic.load("iris").train.target) == {"setosa", "versicolor", "virginica"}


def test_interpolated_rows_lie_between_a_row_and_a_near_one(synthetic: ModuleType) -> None:
    task = synthetic.load("iris")
    found = synthetic.interpolated(task, 200, 0)
    assert list(found) == list(task.train)
    numbers = task.train.select_dtypes("number")
    assert (found[numbers.columns] >= numbers.min()).all(axis=None)
    assert (found[numbers.columns] <= numbers.max()).all(axis=None)
    setosa = found[found.target == "setosa"]  # whose neighbours are all of their kind
    assert setosa["petal length (cm)"].max() < 2


def test_judged_by_the_same_numbers_rows_stand_before_shuffled_columns(
    synthetic: ModuleType,
) -> None:
    task, draw = synthetic.load("iris"), np.random.RandomState(0)
    mixed = task.train.apply(lambda column: draw.permutation(column))
    own, other = (synthetic.judged(task, rows, 0) for rows in (task.train, mixed))
    assert own["told"] < 0.7 < 0.8 < other["told"]
    assert own["shapes"] == other["shapes"] == own["trends"] == 1
    assert other["trends"] < 0.8
    assert own["use"] == own["real"] > 0.9 > 0.7 > other["use"]
    assert own["copies"] == 1
