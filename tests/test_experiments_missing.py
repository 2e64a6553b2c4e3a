"""The pieces of the experiment on hidden cells: what is hidden, and scikit-learn's coding."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from equilibria.random import Stream
from scripts import script

RANDOM = np.random.RandomState(0)
WHOLE = pd.DataFrame({name: RANDOM.normal(size=4000) for name in "abcdef"}).assign(
    word=RANDOM.choice(["x", "y", "z"], size=4000)
)
WHOLE.iloc[:100, 0] = np.nan


@pytest.fixture(scope="module")
def missing() -> ModuleType:
    return script("tables/missing.py")


@pytest.mark.parametrize("gaps", ["random", "blocks", "large"])
def test_cells_are_hidden_as_it_says(missing: ModuleType, gaps: str) -> None:
    """Shares of 4,000 rows within five standard errors: a false alarm in two million."""
    part = missing.tear(WHOLE, gaps, WHOLE, Stream(0))
    hidden = part.hidden
    assert not hidden.iloc[:100, 0].any()
    pd.testing.assert_frame_equal(part.torn, WHOLE.where(part.torn.notna()))
    lost = hidden.iloc[100:].to_numpy()
    if gaps == "random":
        assert (abs(lost.mean(0) - 0.2) < 5 * 0.4 / np.sqrt(3900)).all()
    elif gaps == "blocks":
        counts = lost.sum(1)
        assert set(counts) == {0, 2, 3}
        assert abs((counts > 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(3900)
    else:
        large = WHOLE["b"].iloc[100:] > WHOLE["b"].median()
        for share, expected in ((lost[large, 1].mean(), 0.3), (lost[~large, 1].mean(), 0.1)):
            assert abs(share - expected) < 5 * 0.46 / np.sqrt(1900)


def test_a_coded_table_comes_back(missing: ModuleType) -> None:
    code = missing.Coded(WHOLE, missing.numbers_of(WHOLE))
    rows = code.encode(WHOLE)
    assert rows.shape == (4000, 8)
    numbers, chances = code.decode(rows)
    assert np.allclose(numbers, WHOLE[list("abcdef")], equal_nan=True)
    assert (chances["word"].idxmax(axis=1) == WHOLE["word"]).all()
    assert np.allclose(chances["word"].sum(axis=1), 1)
