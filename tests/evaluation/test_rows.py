"""Tables of rows, their errors, and nearest rows against every distance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equilibria.evaluation.rows import as_rows, nearest_row
from equilibria.random import Stream


def test_pictures_are_flattened_and_tensors_accepted() -> None:
    pictures = torch.arange(24.0, requires_grad=True).reshape(2, 1, 3, 4)
    assert as_rows(pictures, "samples").tolist() == [list(range(12)), list(range(12, 24))]


def test_types_do_not_tell_a_copy_from_its_source() -> None:
    greys = np.arange(256.0)[None] / 255
    assert np.array_equal(as_rows(greys, "a"), as_rows(torch.tensor(greys, dtype=torch.float32), "b"))


@pytest.mark.parametrize(
    ("values", "columns", "least", "words"),
    [
        (np.zeros(3), None, 1, "expected shape (rows, columns), found (3,)"),
        (np.zeros((3, 2)), 4, 1, "expected shape (rows, 4), found (3, 2)"),
        (np.zeros((0, 2)), None, 1, "expected at least 1 row, found 0"),
        (np.zeros((3, 2)), None, 4, "expected at least 4 rows, found 3"),
        (np.zeros((3, 0)), None, 1, "expected shape (rows, columns), found (3, 0)"),
        (np.array([[0.0, np.nan], [1.0, np.inf], [0.0, 1.0]]), None, 1, "2 of 3 rows hold NaN or infinity"),
        ([["a", "b"]], None, 1, "expected a table of numbers"),
        ([[1.0, 2.0], [1.0]], None, 1, "expected a table of numbers"),
    ],
)
def test_bad_tables_are_refused_by_name(values: object, columns: int | None, least: int, words: str) -> None:
    with pytest.raises(ValueError, match="thing: ") as error:
        as_rows(values, "thing", columns, least)
    assert words in str(error.value)


def test_nearest_rows_are_those_of_the_whole_distance_table() -> None:
    rows, table = (Stream(0).child(name).normal((n, 3), torch.float64).numpy() for name, n in [("rows", 50), ("table", 400)])
    distances = np.linalg.norm(rows[:, None] - table[None], axis=2)
    index, distance = nearest_row(rows, table)
    assert np.array_equal(index, distances.argmin(axis=1))
    np.testing.assert_allclose(distance, distances.min(axis=1), rtol=0, atol=1e-14)


def test_a_copy_far_from_the_origin_is_at_exactly_zero() -> None:
    table = 1e4 + Stream(1).normal((100, 20), torch.float64).numpy()
    index, distance = nearest_row(table[::-1], table)
    assert index.tolist() == list(range(100))[::-1]
    assert (distance == 0).all()
