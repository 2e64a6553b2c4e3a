"""Held-out rows: every row is in one part, by a seed, and bad shares are refused."""

from __future__ import annotations

import numpy as np
import pytest

from equilibria.data import Data, divide


def numbered(n: int) -> Data:
    """Rows that hold their own number, with labels that say the same."""
    return Data(np.arange(n, dtype=np.int64)[:, None], np.arange(n), columns=("row",), low=0.0, high=float(n), name="numbers")


@pytest.mark.parametrize(("n", "share", "held"), [(100, 0.1, 10), (7, 0.5, 4), (5, 0.01, 2), (4, 0.5, 2)])
def test_every_row_is_in_one_part_in_its_order_and_with_its_label(n: int, share: float, held: int) -> None:
    train, test = divide(numbered(n), share)
    assert (len(train), len(test)) == (n - held, held)
    rows = [part.values[:, 0].tolist() for part in (train, test)]
    assert sorted(rows[0] + rows[1]) == list(range(n))
    for part, numbers in zip((train, test), rows, strict=True):
        assert numbers == sorted(numbers)
        assert part.labels is not None
        assert part.labels.tolist() == numbers
        assert (part.columns, part.high, part.name) == (("row",), float(n), "numbers")


def test_the_seed_decides() -> None:
    held = [tuple(divide(numbered(1000), 0.1, seed)[1].values[:, 0]) for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


@pytest.mark.parametrize(
    ("n", "share", "sentence"),
    [
        (10, 0.0, "held_out=0.0: expected a share"),
        (10, 1.0, "held_out=1.0: expected a share"),
        (10, float("nan"), "held_out=nan: expected a share"),
        (100, 0.99, "held_out=0.99 leaves 1 of the 100 rows of numbers"),
        (3, 0.1, "held_out=0.1 leaves 1 of the 3 rows of numbers"),
        (1, 0.1, "held_out=0.1 leaves 0 of the 1 rows of numbers"),
    ],
)
def test_a_share_that_cannot_be_is_refused(n: int, share: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        divide(numbered(n), share)
