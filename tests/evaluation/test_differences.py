"""Margins, pairs and rules on tables small enough to count by hand, and their false alarms."""

from __future__ import annotations

import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from equilibria.evaluation.beside import LEVELS, Cells, beside, spelt
from equilibria.evaluation.differences import MISSING, Histogram, differences
from equilibria.evaluation.margins import associations, distance
from equilibria.evaluation.reasons import reasons
from equilibria.evaluation.statistics import encoded
from equilibria.random import Stream

COIN = np.array(["a", "a", "b", "b"] * 25)
OTHER = np.array(["c", "d", "c", "d"] * 25)  # independent of COIN


def margin(rows: Any, samples: Any) -> Histogram:
    """The one column of two lists."""
    return differences(pd.DataFrame({"x": rows}), pd.DataFrame({"x": samples})).margins[0]


def read(rows: Any, samples: Any) -> list[Cells]:
    """The columns of two frames, as they are drawn."""
    table, both = encoded(rows=rows, samples=samples)
    return [one.short for one in beside(table, *both)]


# ------------------------------------------------------------------ columns


def test_whole_numbers_have_a_bin_each_and_kolmogorovs_distance() -> None:
    found = margin(list(range(20)), [0, 19] * 5)
    assert found.edges is not None
    assert found.edges.tolist() == [i - 0.5 for i in range(21)]
    assert found.shares[0].tolist() == [0.05] * 20
    assert found.shares[1].tolist() == [0.5, *[0.0] * 18, 0.5]
    assert found.apart.value == pytest.approx(0.45)
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
    assert found.apart.name == "total variation of x"


def test_rare_values_go_together() -> None:
    rows = [f"v{i:02d}" for i in range(12) for _ in range(20 - i)]
    found = margin(rows, rows)
    assert found.cells.levels == (*(f"v{i:02d}" for i in range(LEVELS - 1)), "3 others")
    assert found.shares[0, -1] * len(rows) == pytest.approx(sum(20 - i for i in range(9, 12)))
    assert found.cells.others == 3


def test_distances_are_of_all_values_also_of_those_that_go_together() -> None:
    rows = [f"v{i:02d}" for i in range(20) for _ in range(5)]
    assert margin(rows, rows[:50] * 2).apart.value == pytest.approx(0.5)


def test_text_is_in_the_order_of_the_rows_and_numbers_in_their_own() -> None:
    rows = pd.DataFrame({"x": ["a", "b", "b", "c"] * 5, "y": [1.5, 2.5, 2.5, 7.5] * 5})
    one, two = read(rows, rows)
    assert (one.levels, one.rows[:4].tolist()) == (("b", "a", "c"), [1, 0, 0, 2])
    assert (two.levels, two.rows[:4].tolist()) == (("1.5", "2.5", "7.5"), [0, 1, 1, 2])
    assert margin(rows["y"], rows["y"] + 1).apart.name == "Kolmogorov distance of x"


def test_numbers_come_back_as_they_were() -> None:
    """From being encoded: zero is zero, whole is whole, and what is nearly whole is not."""
    stream = np.random.RandomState(0)
    few = np.round(stream.normal(size=200)).clip(-2, 2) / 4
    frame = pd.DataFrame({"few": few, "whole": 1e9 + np.arange(200), "time": 1.7e9 + few / 100})
    one, two, three = read(frame, frame)
    assert one.levels == ("-0.5", "-0.25", "0", "0.25", "0.5")
    assert (two.holds, two.rows.tolist()) == ("whole", frame["whole"].tolist())
    assert len(three.levels) == 5
    tiny = pd.DataFrame({"x": 1e-9 * np.arange(200)})
    assert read(tiny, tiny)[0].holds == "number"


def test_a_column_that_samples_lack_is_at_distance_one() -> None:
    found = margin([*range(20), None], [None] * 5)
    assert (found.apart.value, found.cells.missing, found.outside) == (1, (1 / 21, 1), 0)
    assert found.shares.sum(1) == pytest.approx([20 / 21, 0])


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
        (pd.Series([True, False, None] * 4, dtype=object), "value", ("False", "True")),
        (pd.Series([2, 1, None] * 4, dtype="Int64"), "value", ("1", "2")),
        (pd.Series(range(12), dtype="Int64"), "whole", ()),
        (pd.Series([decimal.Decimal(i) / 4 for i in range(12)], dtype=object), "number", ()),
        (pd.Series([1.5, None, 2] * 4, dtype=object), "value", ("1.5", "2")),
        (pd.Series(pd.Categorical(["lo", "hi"] * 6, ["lo", "mid", "hi"])), "value", ("lo", "hi")),
        (pd.Series(pd.date_range("2020-01-01", periods=12, tz="UTC")), "date", ()),
        (pd.Series(pd.to_timedelta(range(12), unit="h")), "duration", ()),
    ],
)
def test_columns_of_every_type_are_read(cells: Any, holds: str, levels: tuple[str, ...]) -> None:
    frame = pd.DataFrame({"x": cells, "y": range(12)})
    one = read(frame, frame[::-1])[0]
    assert (one.holds, one.levels) == (holds, levels)
    assert np.array_equal(one.rows, one.samples[::-1], equal_nan=True)
    assert np.isnan(one.rows).tolist() == cells.isna().tolist()
    found = differences(pd.concat([frame] * 2), frame)  # 12 samples: too few for a tree
    assert found.told is None
    distances = [distance(part.apart)[0] for part in (*found.margins, *found.pairs)]
    assert distances == pytest.approx([0] * 3)


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
        (
            pd.DataFrame({"x": [1]}),
            pd.DataFrame({"y": [1]}),
            "samples has the column 'y', which real does not",
        ),
        (pd.DataFrame({"x": [1]}), pd.DataFrame({"x": []}), "samples has shape"),
        ([[1.0]], [[1.0, 2.0]], "samples has the column 1, which real does not"),
        ([[np.inf]], [[1.0]], "real: column 0 holds an infinite number"),
    ],
)
def test_tables_that_are_unlike_are_refused(rows: Any, samples: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        differences(rows, samples)


# ------------------------------------------------------------------ pairs


def test_a_lost_dependence_is_half_and_one_of_wrong_columns_is_no_fault() -> None:
    rows = pd.DataFrame({"x": COIN, "y": COIN, "z": OTHER})
    lost = rows.assign(y=np.where(OTHER == "c", "a", "b"))
    found = differences(rows, lost)
    pairs = {(one.first.name, one.second.name): distance(one.apart)[0] for one in found.pairs}
    assert pairs["x", "y"] == pytest.approx(0.5)  # shares of ½ in two cells, then ¼ in four
    assert pairs["y", "z"] == pytest.approx(0.5)
    assert pairs["x", "z"] == pytest.approx(0)
    assert (found.beyond, found.compared) == (2, 3)
    mostly = np.repeat(["a", "b"], [90, 10])  # both columns wrong, but independent as in the rows
    wrong = pd.DataFrame({"x": mostly, "z": np.where(np.arange(100) % 10, "c", "d")})
    found = differences(rows[["x", "z"]], wrong)
    assert [bool(one.apart.warning) for one in found.margins] == [True, True]
    assert distance(found.pairs[0].apart)[0] == pytest.approx(0.56)  # 0.81 − ¼, all the others less
    assert found.beyond == 0


def test_what_was_missing_is_a_level_of_a_pair() -> None:
    rows = {"x": [*COIN, *["a"] * 50], "y": [*COIN, *[None] * 50]}
    one = differences(pd.DataFrame(rows), pd.DataFrame({"x": COIN, "y": COIN})).pairs[0]
    assert one.labels == (("a", "b"), ("a", "b", MISSING))
    assert one.counts.tolist() == [[[50, 0, 50], [0, 50, 0]], [[50, 0, 0], [0, 50, 0]]]
    assert distance(one.apart)[0] == pytest.approx((1 / 3 + 1 / 6 + 1 / 6) / 2)
    assert not one.apart.warning  # where y is there, x follows it as in the rows


def test_numbers_are_compared_by_fifths_and_have_a_rank_correlation() -> None:
    x = np.arange(100.0)
    rows = pd.DataFrame({"x": x, "y": x**3})
    one = differences(rows, rows.assign(y=-(x**3) - 1)).pairs[0]
    assert one.labels[0] == ("≤ 19", "20–39", "40–59", "60–79", "> 79")
    assert np.array_equal(one.counts[0], 20 * np.eye(5))
    assert one.counts[1][:, 0].tolist() == [20] * 5  # all of the samples' y are below the rows'
    assert [round(float(part), 9) for part in one.apart.parts] == [1, -1]
    assert distance(one.apart)[0] == pytest.approx(np.corrcoef(x, x**3)[0, 1])
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


def test_distances_are_within_chance_and_alarms_are_few() -> None:
    """Of 100 pairs of tables distances are near half of twice their sampling errors, and of three
    kinds of alarm, each in 5 % of cases at most, none comes 16 times: 1e-5 by the binomial law."""
    stream = np.random.RandomState(0)
    tables = [(drawn(120, stream), drawn(400, stream)) for _ in range(100)]
    found = [differences(*both, i) for i, both in enumerate(tables)]
    ratios = [np.square(distance(one.apart)) for table in found for one in table.margins]
    pairs = [associations(read(*both)[:4]) for both in tables]
    of_pairs = [np.square(distance(one)) for some in pairs for one in some.values()]
    for parts in (ratios, of_pairs):
        squares, errors = np.sum(parts, axis=0)
        assert 2 * np.sqrt(squares / errors) == pytest.approx(1, abs=0.1)
    alarms = [sum(any(one.apart.warning for one in table.margins) for table in found)]
    alarms += [sum(bool(table.beyond) for table in found)]
    alarms += [sum(bool(table.reasons) for table in found)]
    assert max(alarms) < 16, alarms


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
    told = reasons(read(rows, samples), Stream(0))[1]
    assert told is not None
    assert abs(told.value - 0.5) < 0.15  # 6 standard errors
    assert reasons(read(rows.iloc[:5], samples), Stream(0)) == ((), None)
