"""More samples than training had chains: rows are independent, given the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from equilibria import DBM, DBN, RBM

PATTERNS = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]], dtype=float)
LABELS = np.arange(300) % 3
ROWS = np.abs(PATTERNS[LABELS] - (np.random.RandomState(0).uniform(size=(300, 6)) < 0.03))
CHAINS = 400
OPTIONS: dict[str, Any] = {"batch_size": 50, "chains": CHAINS, "random_state": 0}


def rbm(**options: Any) -> RBM:
    return RBM(n_components=6, n_iter=120, learning_rate=0.1, momentum=0.5, **OPTIONS, **options)


MAKE = {
    "rbm": rbm,
    "dbm": lambda: DBM(hidden=(6, 4), steps=800, pretrain_steps=200, learning_rate=0.1, **OPTIONS),
    "dbn": lambda: DBN(hidden=(6, 4), steps=800, learning_rate=0.1, **OPTIONS),
}


@pytest.mark.parametrize("name", MAKE)
def test_a_row_and_the_one_a_round_of_chains_later_have_nothing_in_common(name: str) -> None:
    """The correlation over 400 pairs in each of 6 columns, with one sweep, where chains remember
    most.

    √n · r is standard normal where there is none: 5.2 of these once in 5 million columns, a false
    alarm in a million tests. Rows of one chain, as they were drawn before, have correlations above
    .5, which is 10.
    """
    model = MAKE[name]().fit(ROWS)
    drawn = np.asarray(model.sample(3 * CHAINS, sweeps=1, random_state=1), dtype=float)
    first, *later = np.split(drawn, 3)
    limit = stats.norm.isf(1e-6 / (2 * 6 * 3))
    for here, there in [*((first, rows) for rows in later), tuple(later)]:
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(here.T, there.T, strict=True)]
        assert np.abs(r).max() * np.sqrt(CHAINS) < limit


def test_rows_up_to_the_chains_are_what_they_were_and_go_on_in_any_company() -> None:
    model = rbm().fit(ROWS)
    few, many = (
        np.asarray(model.sample(n, sweeps=3, random_state=1)) for n in (CHAINS, CHAINS + 50)
    )
    assert np.array_equal(few, many[:CHAINS])
    assert len({row.tobytes() for row in many[CHAINS:]}) > 3


def test_rows_beyond_the_chains_are_of_the_asked_class_and_around_the_given_cells() -> None:
    model = rbm(labels=True).fit(ROWS, LABELS)
    asked = np.resize([0, 1, 2], CHAINS + 300)
    drawn = model.sample(len(asked), y=asked, sweeps=20, random_state=0)
    assert (np.abs(drawn - PATTERNS[asked]).sum(1)[CHAINS:] <= 1).mean() > 0.8
    given = np.full((len(asked), 6), np.nan)
    given[:, :2] = PATTERNS[asked, :2]
    drawn = model.sample(len(asked), given=given, sweeps=20, random_state=0)
    assert np.array_equal(drawn[:, :2], given[:, :2])
    lit = asked == 0
    assert drawn[CHAINS:][lit[CHAINS:]][:, 2:].mean() < 0.2
