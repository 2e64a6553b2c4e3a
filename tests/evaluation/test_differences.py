"""Margins, pairs and rules on tables small enough to count by hand, and their false alarms."""

from __future__ import annotations

import decimal
import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from equilibria.evaluation.beside import LEVELS, beside, spelt
from equilibria.evaluation.dependence import MISSING, pairs
from equilibria.evaluation.differences import Margin, differences
from equilibria.evaluation.reasons import reasons
from equilibria.random import Stream

COIN = np.array(["a", "a", "b", "b"] * 25)
OTHER = np.array(["c", "d", "c", "d"] * 25)  # independent of COIN


def margin(rows: Any, samples: Any) -> Margin:
    """The one column of two lists."""
    return differences(pd.DataFrame({"x": rows}), pd.DataFrame({"x": samples})).margins[0]


# ------------------------------------------------------------------ columns


def test_whole_numbers_have_a_bin_each_and_kolmogorovs_distance() -> None:
    found = margin(list(range(10)), [0, 9] * 5)
    assert found.edges is not None
    assert found.edges.tolist() == [i - 0.5 for i in range(11)]
    assert found.shares[0].tolist() == [0.1] * 10
    assert found.shares[1].tolist() == [0.5, *[0.0] * 8, 0.5]
    assert found.apart.value == pytest.approx(0.4)
    assert found.outside == 0


def test_bins_suit_the_rows_and_the_outermost_hold_what_lies_beyond() -> None:
    rows = np.linspace(0, 1, 101)
    found = margin(rows, [-1000.0, 0.5, 0.5, 1e6])
    assert found.edges is not None
    assert found.edges[[0, -1]] == pytest.approx([0.01 - 0.98 / 4, 0.99 + 0.98 / 4])
    assert found.shares[1, [0, -1]].tolist() == [0.25, 0.25]
    assert found.shares.sum(1) == pytest.approx([1, 1])
    assert found.outside == 0.5


def test_values_have_their_shares_and_missing_cells_the_rest() -> None:
    found = margin(["a"] * 5 + ["b"] * 3 + [None] * 2, ["b"] * 3 + ["c", None])
    assert found.cells.levels == ("a", "b", "c")
    assert found.shares.tolist() == [[0.5, 0.3, 0.0], [0.0, 0.6, 0.2]]
    assert found.cells.missing == (0.2, 0.2)
    assert found.apart.value == pytest.approx(0.5 * (5 / 8 + abs(3 / 8 - 3 / 4) + 1 / 4))
    assert found.apart.method == "total variation"


def test_rare_values_go_together() -> None:
    rows = [f"v{i:02d}" for i in range(12) for _ in range(20 - i)]
    found = margin(rows, rows)
    assert found.cells.levels == (*(f"v{i:02d}" for i in range(LEVELS - 1)), "5 others")
    assert found.shares[0, -1] * len(rows) == pytest.approx(sum(20 - i for i in range(7, 12)))
    assert found.cells.others == 5


def test_what_is_furthest_beyond_chance_comes_first_and_names_match() -> None:
    rows = pd.DataFrame({"same": COIN, "moved": np.arange(100.0), "half": COIN})
    samples = pd.DataFrame({"half": ["a"] * 100, "moved": rows["moved"] + 1000, "same": COIN})
    found = differences(rows, samples)
    assert [one.cells.name for one in found.margins] == ["moved", "half", "same"]
    assert [one.apart.value for one in found.margins] == [1, 0.5, 0]
    assert [bool(one.apart.warning) for one in found.margins] == [True, True, False]


@pytest.mark.parametrize(
    ("cells", "holds", "levels"),
    [
        (pd.Series([True, False, None] * 4, dtype=object), "value", ("True", "False")),
        (pd.Series([2, 1, None] * 4, dtype="Int64"), "value", ("1", "2")),
        (pd.Series(range(12), dtype="Int64"), "whole", ()),
        (pd.Series([decimal.Decimal(i) / 4 for i in range(12)], dtype=object), "number", ()),
        (pd.Series([1.5, None, 2] * 4, dtype=object), "value", ("1.5", "2")),
        (pd.Series(pd.Categorical(["lo", "hi"] * 6, ["lo", "mid", "hi"])), "value", ("lo", "hi")),
        (pd.Series(pd.date_range("2020-01-01", periods=12, tz="UTC")), "date", ()),
        (pd.Series(pd.to_timedelta(range(12), unit="h")), "duration", ()),
        (pd.Series([None] * 12, dtype=object), "value", ()),
        (pd.Series([np.nan] * 12), "value", ()),
    ],
)
def test_columns_of_every_type_are_read(cells: Any, holds: str, levels: tuple[str, ...]) -> None:
    frame = pd.DataFrame({"x": cells, "y": range(12)})
    one = beside(frame, frame[::-1])[0]
    assert (one.holds, one.levels) == (holds, levels)
    assert np.array_equal(one.rows, one.samples[::-1], equal_nan=True)
    assert np.isnan(one.rows).tolist() == cells.isna().tolist()
    found = differences(pd.concat([frame] * 2), frame)  # 12 samples: too few for a tree
    assert found.told is None
    assert all(part.apart.value == 0 for part in (*found.margins, *found.pairs))


def test_numbers_are_spelt_as_they_are_read() -> None:
    day = 86400.0
    spans = (float("inf"), 5000 * day, 200 * day, 5 * day, day)
    assert [spelt(day * 18262 + 3600, "date", span) for span in spans] == [
        *("2020-01-01 01:00", "2020", "2020-01", "2020-01-01", "01:00")
    ]
    assert [spelt(v, "number") for v in (0, 0.125, 2.5e-7, 12345.6, 3e12)] == [
        *("0", "0.125", "2.5e-7", "12346", "3e12")
    ]
    assert [spelt(v, "duration") for v in (90, 36 * 3600)] == ["1.5 min", "1.5 d"]


@pytest.mark.parametrize(
    ("rows", "samples", "message"),
    [
        (pd.DataFrame({"x": [1]}), pd.DataFrame({"y": [1]}), "samples: column 'x'"),
        (pd.DataFrame({"x": [1]}), pd.DataFrame({"x": []}), "samples has shape"),
        ([[1.0]], [[1.0, 2.0]], "samples: column 1 is in one"),
        ([[np.inf]], [[1.0]], "column 0 holds an infinite number"),
    ],
)
def test_tables_that_are_unlike_are_refused(rows: Any, samples: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        differences(rows, samples)


# ------------------------------------------------------------------ pairs


def distances(rows: dict[str, Any], samples: dict[str, Any]) -> dict[tuple[str, str], float]:
    found = differences(pd.DataFrame(rows), pd.DataFrame(samples)).pairs
    return {(one.first.name, one.second.name): one.apart.value for one in found}


def test_a_lost_dependence_is_half_and_one_of_wrong_columns_is_none() -> None:
    rows = {"x": COIN, "y": COIN, "z": OTHER}
    lost = {"x": COIN, "y": np.where(OTHER == "c", "a", "b"), "z": OTHER}
    found = distances(rows, lost)
    assert found["x", "y"] == pytest.approx(0.5)  # d is ±1/4 in four cells, then 0
    assert found["y", "z"] == pytest.approx(0.5)
    assert found["x", "z"] == pytest.approx(0)
    mostly = np.array(["a"] * 9 + ["b"])  # all columns wrong, but independent as in the rows
    table = np.array(list(itertools.product(mostly, np.where(mostly == "a", "c", "d"))))
    wrong = distances({"x": COIN, "z": OTHER}, {"x": table[:, 0], "z": table[:, 1]})
    assert wrong["x", "z"] == pytest.approx(0, abs=1e-9)


def test_distances_are_those_of_a_count_by_hand() -> None:
    stream = np.random.RandomState(0)
    tables = []
    for n in (150, 400):
        frame = pd.DataFrame(stream.randint(0, 4, (n, 3)), columns=list("xyz"))
        frame["w"] = (frame["x"] + stream.randint(0, 2, n)).astype(str)
        tables.append(frame.mask(stream.uniform(size=frame.shape) < 0.2))
    for (a, b), value in distances(*({c: f[c] for c in f} for f in tables)).items():
        dependences = []
        for frame in tables:
            values = frame[[a, b]].map(lambda v: MISSING if pd.isna(v) else str(v))
            joint = pd.crosstab(values[a], values[b], normalize=True)
            dependences.append(joint - np.outer(joint.sum(axis=1), joint.sum()))
        apart = dependences[0].sub(dependences[1]).abs().to_numpy().sum() / 2
        assert value == pytest.approx(apart)


def test_rows_without_one_of_both_cells_are_left_out_where_samples_have_no_gaps() -> None:
    rows = {"x": [*COIN, *["a"] * 50], "y": [*COIN, *[None] * 50]}
    samples = {"x": COIN, "y": COIN}
    assert distances(rows, samples)["x", "y"] == pytest.approx(0)


def test_numbers_are_compared_by_fifths_and_have_a_rank_correlation() -> None:
    x = np.arange(100.0)
    rows = pd.DataFrame({"x": x, "y": x**3})
    one = differences(rows, rows.assign(y=-(x**3) - 1)).pairs[0]
    assert one.labels[0] == ("≤ 19", "20–39", "40–59", "60–79", "> 79")
    assert np.array_equal(one.counts[0], 20 * np.eye(5))
    assert one.counts[1][:, 0].tolist() == [20] * 5  # all of the samples' y are below the rows'
    assert [round(float(part), 9) for part in one.apart.parts] == [1, -1]
    assert one.apart.value == pytest.approx((5 * (0.2 - 0.04) + 20 * 0.04) / 2)
    halves = differences(rows / 2 + 0.25, rows / 2).pairs[0].labels[0]
    assert halves == ("≤ 10.15", "10.15–20.05", "20.05–29.95", "29.95–39.85", "> 39.85")
    coin = differences(pd.DataFrame({"x": COIN, "y": COIN}), pd.DataFrame({"x": COIN, "y": OTHER}))
    assert [round(float(part), 9) for part in coin.pairs[0].apart.parts] == [1, 0]


def drawn(n: int, stream: np.random.RandomState) -> pd.DataFrame:
    """Numbers, values and gaps that depend on each other."""
    x = 0.8 * stream.normal(size=(n, 1)) + 0.6 * stream.normal(size=(n, 8))
    frame = pd.DataFrame(x, columns=list("abcdefgh"))
    for name in "abc":
        frame[name] = pd.cut(frame[name], [-9, -1, 0, 1, 9], labels=list("pqrs")).astype(str)
    frame["d"] = (frame["d"] > 1).astype(int)
    return frame.mask(stream.uniform(size=frame.shape) < 0.1)


def test_chance_is_what_tables_of_one_law_have_and_alarms_are_few() -> None:
    """Of 100 pairs of tables the mean distance is chance, to a tenth, and of three kinds of alarm,
    each in 5 % of cases at most, none comes 16 times: 1e-5 by the binomial law."""
    stream = np.random.RandomState(0)
    found = [differences(drawn(120, stream), drawn(400, stream), i) for i in range(100)]
    for kind in ("margins", "pairs"):
        parts = [one.apart for table in found for one in getattr(table, kind)]
        if kind == "pairs":  # all of them, not the furthest
            columns = [beside(drawn(120, stream), drawn(400, stream))[:4] for _ in range(100)]
            parts = [one.apart for some in columns for one in pairs(some)[0]]
        ratio = sum(one.value for one in parts) / sum(one.chance or 0 for one in parts)
        assert abs(ratio - 1) < 0.1
    alarms = [sum(any(one.apart.warning for one in table.margins) for table in found)]
    alarms += [sum(bool(table.beyond) for table in found)]
    alarms += [sum(bool(table.reasons) for table in found)]
    assert max(alarms) < 16


# ------------------------------------------------------------------ rules


def rules(rows: dict[str, Any], samples: dict[str, Any]) -> dict[str, tuple[float, float]]:
    found = differences(pd.DataFrame(rows), pd.DataFrame(samples)).reasons
    return {one.rule: (one.rows, one.samples) for one in found}


def test_what_separates_them_is_one_rule_with_its_shares() -> None:
    low, high = np.arange(100) % 50, np.arange(100) % 50 + 100
    assert rules({"x": low}, {"x": high}) == {"x ≤ 74": (1, 0), "x > 74": (0, 1)}
    assert rules({"x": COIN}, {"x": ["c"] * 60}) == {"x is c": (0, 1), "x is not c": (1, 0)}
    assert rules({"x": ["yes"] * 60}, {"x": ["no"] * 60}) == {
        "x is yes": (1, 0),
        "x is no": (0, 1),
    }
    gaps = {"x": [None] * 100, "y": low}
    found = rules({"x": low.astype(float), "y": low}, gaps)
    assert found == {"x is missing": (0, 1), "x is known": (1, 0)}


def test_a_rule_of_two_columns_a_tie_and_a_date() -> None:
    first, second = np.repeat(["a", "b"], 200), np.tile(["c", "d"], 200)
    keep = ~((first == "a") & (second == "c"))  # no sample has both
    found = rules({"x": first, "y": second}, {"x": first[keep], "y": second[keep]})
    assert found["x is a, y is c"][1] == 0
    assert 0.15 < found["x is a, y is c"][0] < 0.35  # of 200 rows of the other half
    stream = np.random.RandomState(0)
    tied = np.where(np.arange(400) % 2, 56.0, stream.normal(56, 3, 400))
    shares = rules({"x": tied}, {"x": stream.normal(56, 3, 400)})["x = 56"]
    assert shares[0] > 0.4
    assert shares[1] == 0
    days = pd.date_range("2020-01-01", periods=200)
    dates = rules({"x": days}, {"x": days + pd.Timedelta(days=200)})
    assert dates == {"x ≤ 2020-07-18": (1, 0), "x > 2020-07-18": (0, 1)}


def test_rules_are_judged_on_rows_that_the_tree_has_not_seen() -> None:
    stream = np.random.RandomState(0)
    noise = [pd.DataFrame(stream.normal(size=(60, 40))) for _ in range(2)]
    found = differences(*noise)
    assert found.reasons == ()
    assert found.told is not None
    assert abs(found.told.value - 0.5) < 0.3  # a tree of so few rows separates its own half


def test_samples_without_gaps_are_not_told_by_them() -> None:
    stream = np.random.RandomState(0)
    rows, samples = (pd.DataFrame(stream.normal(size=(400, 2)), columns=["x", "y"]) for _ in "ab")
    rows = rows.mask(stream.uniform(size=rows.shape) < 0.4)
    told = reasons(beside(rows, samples), Stream(0))[1]
    assert told is not None
    assert abs(told.value - 0.5) < 0.15  # 6 standard errors
    assert reasons(beside(rows.iloc[:5], samples), Stream(0)) == ((), None)
