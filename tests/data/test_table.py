"""Tables: every kind there and back, frames in their own types, and each refusal."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from scipy import stats

from equilibria.data import KINDS, Batches, Table, load
from equilibria.data.columns import missing_cells
from equilibria.random import Stream
from equilibria.units.columns import VISIBLE

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (40, 6), np.uint8)
REALS = RNG.normal([5, -300, 0.01], [2, 50, 1e-4], (200, 3))
CODES = RNG.integers(3, 7, (60, 4))
N = 20
LEVELS = pandas.CategoricalDtype(["lo", "mid", "hi", "never"], ordered=True)

ARRAYS = {
    "greys": (BYTES, {"value_range": (0, 255)}),
    "probabilities": (RNG.random((10, 4)), {}),
    "truth": (RNG.random((10, 4)) < 0.5, {}),
    "real bytes": (BYTES, {"kinds": "real"}),
    "real": (REALS.astype(np.float32), {"kinds": "real"}),
    "positive": (np.abs(REALS), {"kinds": "positive"}),
    "picture": (BYTES, {"kinds": "picture", "picture_shape": (2, 3)}),
    "picture of floats": (REALS, {"kinds": "picture"}),
    "spin": (np.where(RNG.random((10, 4)) < 0.5, -1, 1), {"kinds": "spin"}),
    "codes": (CODES, {"kinds": "categorical"}),
    "codes as floats": (CODES.astype(np.float32), {"kinds": "categorical"}),
    "text": (np.array([["y", "no"], ["n", "yes"], ["y", "?"]]), {"kinds": "categorical"}),
    "objects": (np.array([["y", 3], ["n", 1], ["y", 2]], dtype=object), {}),
    "mixed floats": (np.array([[0, 3, 1.5], [1, 4, 2.5], [1, 5, 0.0]]), {"kinds": "mixed"}),
    "large": (2**60 + np.arange(12).reshape(6, 2) ** 2, {"kinds": "real"}),
    "hashes": (np.uint64(2**63) + np.arange(12, dtype=np.uint64).reshape(6, 2), {"kinds": "real"}),
    "sentinels": (np.where(CODES > 4, 1e20, -1e30), {"kinds": "categorical"}),
    "hash codes": (np.where(CODES > 4, np.uint64(2**63 + 5), np.uint64(3)), {"kinds": "mixed"}),
    "long codes": (
        np.where(CODES > 4, np.array(10**20, dtype=object), 3),
        {"kinds": "categorical"},
    ),
}
COLUMNS = {
    "ordered categories": pandas.Series(
        pandas.Categorical(["lo", "mid", "hi", "lo"] * 5, dtype=LEVELS)
    ),
    "categories of numbers": pandas.Series(pandas.Categorical([4, 2, 7, 4] * 5)),
    "categories of truth": pandas.Series(pandas.Categorical([True, False] * 10)),
    "float64": pandas.Series(np.arange(N) * 0.5),
    "whole floats": pandas.Series(np.arange(N) % 2 * 1.0),
    "float32": pandas.Series(np.arange(N) * 0.5, dtype="float32"),
    "int8": pandas.Series(np.arange(N), dtype="int8"),
    "bool": pandas.Series([True, False] * 10),
    "Float64": pandas.Series([*np.arange(N - 1) * 0.5, None], dtype="Float64"),
    "boolean": pandas.Series([True, None, False, True] * 5, dtype="boolean"),
    "Int64": pandas.Series([*range(N - 1), None], dtype="Int64"),
    "Int64 beyond 2⁵³": pandas.Series(
        [2**53 + 1 + 2 * i for i in range(N - 1)] + [None], dtype="Int64"
    ),
    "int64 beyond 2⁵³": pandas.Series(2**53 + 1 + 2 * np.arange(N)),
    "uint64": pandas.Series(np.uint64(2**63 + 5) + np.arange(N, dtype=np.uint64)),
    "two large codes": pandas.Series(np.where(np.arange(N) % 3, 2**53 + 1, 2**53 + 2)),
    "Python's integers": pandas.Series([10**20 + 7 * i for i in range(N)], dtype=object),
    "Python's truth": pandas.Series([True, None, False, True] * 5, dtype=object),
    "text": pandas.Series(["a", "b", None, "d"] * 5),
    "string": pandas.Series(["a", "b", None, "d"] * 5, dtype="string"),
    "text digits": pandas.Series(["1", "0", "007", "1"] * 5),
    "objects": pandas.Series(["a", "b", None, "d"] * 5, dtype=object),
    "dates": pandas.Series([*pandas.date_range("2024", periods=N - 1, freq="h"), pandas.NaT]),
    "dates of a zone": pandas.Series(
        pandas.date_range("2024-03-30", periods=N, freq="7h", tz="Europe/Berlin")
    ),
    "nanoseconds": pandas.Series(pandas.date_range("2024", periods=N, freq="7ns", unit="ns")),
    "durations": pandas.Series([*pandas.to_timedelta(range(N - 1), unit="s"), pandas.NaT]),
    "decimals": pandas.Series([decimal.Decimal(i) / 4 for i in range(N)]),
}


def again(table: Table) -> Table:
    """The table after a trip through JSON text."""
    return Table.from_json(json.loads(json.dumps(table.to_json(), allow_nan=False)))


@pytest.mark.parametrize(("X", "options"), ARRAYS.values(), ids=ARRAYS)
def test_an_array_comes_back_and_blocks_do_not_show(X, options, monkeypatch):
    table = Table.fit(X, **options)
    encoded = table.encode(X, torch.float64)
    assert encoded.shape == (len(X), table.size)
    assert torch.equal(again(table).encode(X), table.encode(X))
    assert torch.equal(table.encode(X[2:3]), table.encode(X)[2:3])
    for decoded in (table.decode(encoded), again(table).decode(encoded)):
        assert (type(decoded), decoded.dtype) == (np.ndarray, X.dtype)
        if X.dtype.kind == "f":
            close = 1e-6 if X.dtype == np.float32 else 1e-12
            np.testing.assert_allclose(decoded, X, rtol=close, atol=1e-12)
        else:
            assert (decoded == X).all()
            assert [type(cell) for cell in decoded.flat] == [type(cell) for cell in X.flat]
    monkeypatch.setattr("equilibria.data.columns.BLOCK_CELLS", 2 * X.shape[1])
    assert torch.equal(table.encode(X, torch.float64), encoded)
    assert torch.allclose(Table.fit(X, **options).encode(X, torch.float64), encoded, rtol=1e-12)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_a_frame_comes_back_as_it_was(name):
    frame = pandas.DataFrame(
        {"t": ["u", "v"] * 10, name: COLUMNS[name]}, index=RNG.permutation(N) + 50
    )
    frame[name] = COLUMNS[name].array
    table = Table.fit(frame)
    encoded = table.encode(frame, torch.float64)
    assert torch.equal(again(table).encode(frame).isnan(), encoded.isnan())
    for one in (table, again(table)):
        pandas.testing.assert_frame_equal(one.decode(encoded, like=frame), frame, rtol=1e-6)
    drawn = table.decode(torch.rand(encoded.shape, dtype=torch.float64) * 3, gaps=False)
    assert list(drawn.dtypes) == list(frame.dtypes)
    filled = table.put_back(drawn, frame)
    assert filled.notna().all(axis=None)
    assert filled.index.equals(frame.index)
    known = frame[name].notna()
    pandas.testing.assert_series_equal(filled[name][known], frame[name][known], check_exact=True)
    alone = pandas.DataFrame({name: COLUMNS[name], "x": np.arange(N) * 0.25})
    if table.type(1).holds == "text":
        message = rf"X\[0, 0\] \(column {name!r}\) is '.*'; expected numbers"
        with pytest.raises(ValueError, match=message):
            Table.fit(alone, kinds="real")
    elif table.type(1).levels is None:
        real = Table.fit(alone, kinds="real")
        decoded = real.decode(real.encode(alone, torch.float64))
        pandas.testing.assert_frame_equal(decoded, alone, rtol=1e-6)


def test_what_cannot_be_is_refused_by_name():
    for cells in [
        [1, "a"] * 10,
        [datetime.date(2024, 1, 1)] * N,
        pandas.period_range("2024", periods=N),
        pandas.cut(np.arange(N), 3),
        [{}] * N,
        [1j] * N,
    ]:
        with pytest.raises(ValueError, match="X: column 'odd' "):
            Table.fit(pandas.DataFrame({"odd": cells, "x": range(N)}))


def random_table(seed: int, missing: float = 0.0) -> np.ndarray:
    """Up to 12 columns of every kind in a random order, 3 to 40 rows; some cells None."""
    stream = Stream(seed).child("table")
    n = 3 + int(stream.child("n").integers((1,), 38))
    width = 1 + int(stream.child("width").integers((1,), 12))
    makers = {
        0: lambda s: [bool(b) for b in s.integers((n,), 2)],
        1: lambda s: [("no", "yes")[b] for b in s.integers((n,), 2)],
        2: lambda s: [(-7, 7)[b] for b in s.integers((n,), 2)],
        3: lambda s: [("a", "b", "ç", "")[b] for b in s.integers((n,), 4)],
        4: lambda s: [int(b) for b in s.integers((n,), 6)],
        5: lambda s: [int(b) * 1000003 for b in s.integers((n,), 1 << 20)],
        6: lambda s: (s.normal((n,), torch.float64) * 1e3).tolist(),
    }
    pairs = {0: (False, True), 1: ("no", "yes"), 2: (-7, 7), 3: ("a", "b"), 6: (-1.5, 2.25)}
    table = np.empty((n, width), dtype=object)
    for j in range(width):  # every column has the two values that it needs
        maker = int(stream.child("kind", j).integers((1,), 7))
        table[:, j] = makers[maker](stream.child("cells", j))
        table[:2, j] = pairs.get(maker, (0, 5))
    empty = stream.child("missing").uniform((n, width)).numpy() < missing
    empty[:2] = False
    table[empty] = None
    return table


FIRST = json.loads((Path(__file__).parent / "schemas.json").read_text())


def test_a_schema_of_the_first_edition_reads_alike():
    """Schemas that version 0.1.0 wrote, with what it encoded and decoded by them."""
    for case in FIRST:
        X = np.array(case["X"], dtype=case["dtype"])
        encoded = torch.tensor(np.array(case["encoded"], dtype=np.float64))
        noise = Stream(1).uniform(tuple(encoded.shape), torch.float64) * 2 - 0.5
        migrated = Table.from_json(case["schema"])
        options = case["options"] | {"gaps": False}
        if options.get("kinds") == "mixed":  # whose reals are by their ranks today
            kinds = {place: layer.kind for layer in migrated.layers for place in layer.source}
            options["kinds"] = {**dict.fromkeys(range(X.shape[1]), "auto"), **kinds}
        for table in (migrated, Table.fit(X, **options), again(migrated)):
            assert torch.equal(
                table.encode(X, torch.float64).nan_to_num(-9), encoded.nan_to_num(-9)
            )
            decoded = table.decode(noise)
            assert decoded.tolist() == case["decoded"]
            assert decoded.dtype == X.dtype
            flat = [cell for row in case["decoded"] for cell in row]
            assert list(map(type, decoded.ravel().tolist())) == list(map(type, flat))
            if case["log_scales"] is not None:
                assert log_scales(table) == pytest.approx(case["log_scales"], rel=1e-12)


def test_columns_are_matched_by_name():
    frame = pandas.DataFrame({"age": [20.0, 30.0, 50.0], "income": [1e4, 3e4, 2e4]})
    table = Table.fit(frame, kinds="real")
    assert torch.equal(table.encode(frame[["income", "age"]]), table.encode(frame))
    with pytest.raises(
        ValueError, match=r"given has the column 'Income', .*; did you mean 'income'\?"
    ):
        table.match(frame.rename(columns={"income": "Income"}), "given")
    with pytest.raises(ValueError, match="X lacks the column 'age'"):
        table.encode(frame[["income"]])
    with pytest.raises(ValueError, match="X has 1 columns; the table was fitted on 2"):
        table.encode(np.zeros((3, 1)))
    with pytest.raises(ValueError, match="two columns are called 'a'"):
        Table.fit(pandas.DataFrame([[1, 2]], columns=["a", "a"]))
    numbered = Table.fit(pandas.DataFrame(REALS))
    assert list(numbered.decode(torch.zeros(1, 3)).columns) == [0, 1, 2]
    assert torch.equal(numbered.encode(pandas.DataFrame(REALS)[[2, 0, 1]]), numbered.encode(REALS))


def test_dates_are_read_in_the_unit_of_fit():
    dates = pandas.date_range("2024", periods=5, freq="h", unit="us")
    table = Table.fit(pandas.DataFrame({"t": dates}))
    encoded = table.encode(pandas.DataFrame({"t": dates}))
    for unit in ("s", "ns"):
        assert torch.equal(table.encode(pandas.DataFrame({"t": dates.as_unit(unit)})), encoded)
    assert table.encode(pandas.DataFrame({"t": [np.nan]})).isnan().all()
    for other in (dates.tz_localize("UTC"), dates - dates[0], range(5), list("abcde")):
        with pytest.raises(
            ValueError, match=r"new: column 't' is of type .*, and was datetime64\[us\] in"
        ):
            table.encode(pandas.DataFrame({"t": other}), name="new")
    with pytest.raises(ValueError, match="column 'x' is of type datetime64"):
        Table.fit(pandas.DataFrame({"x": REALS[:, 0]})).encode(pandas.DataFrame({"x": dates}))


def test_what_was_given_comes_back_to_the_bit():
    frame = pandas.DataFrame(
        {"id": 2**53 + 1 + 2 * np.arange(N), "x": RNG.normal(size=N), "n": np.arange(N)},
        index=RNG.permutation(N),
    )
    table = Table.fit(frame, kinds="real")
    gaps = frame.copy()
    gaps.iloc[:5, 1] = np.nan
    gaps.iloc[7, 2] = np.nan  # which makes floats of whole numbers
    for rows in (table.decode(torch.zeros(N, 3)), table.decode_means(torch.full((N, 3), 0.123))):
        filled = table.put_back(rows, gaps)
        assert (filled["id"] == frame["id"]).all()
        assert (filled["x"].iloc[5:] == frame["x"].iloc[5:]).all()
        assert filled.index.equals(frame.index)
        assert list(filled.dtypes) == list(frame.dtypes)
    assert table.put_back(table.decode(torch.zeros(4, 3)), gaps.iloc[7:8])["x"].nunique() == 1
    one = table.put_back(table.decode(torch.zeros(2, 3)), np.array([[np.nan, 0.25, 7]]))
    assert one["x"].tolist() == [0.25, 0.25]
    assert list(one.dtypes) == list(frame.dtypes)
    drawn = Table.fit(CODES, kinds="real").decode(torch.zeros(2, 4))
    given = np.array([[5.5, np.nan, 1, 2]] * 2)
    assert Table.fit(CODES, kinds="real").put_back(drawn, given)[0, 0] == 5.5
    assert Table.fit(CODES, kinds="real").put_back(drawn, np.floor(given)).dtype == CODES.dtype
    words = Table.fit(random_table(3))
    X = random_table(3, missing=0.5)
    back = words.put_back(words.decode(torch.rand(len(X), words.size)), X)
    assert all(a == b for a, b in zip(back.flat, X.flat, strict=True) if b is not None)
    large = 2**53 + 1 + 2 * np.arange(6).reshape(3, 2)
    means = Table.fit(large, kinds="real").decode_means(torch.zeros(3, 2))
    assert (Table.fit(large, kinds="real").put_back(means, large) == large).all()


def test_means_are_neither_rounded_nor_made_up():
    frame = pandas.DataFrame(
        {
            "n": [1, 2, 3, 40],
            "b": [True, False, True, True],
            "c": list("abca"),
            "t": pandas.date_range("2024", periods=4),
        }
    )
    table = Table.fit(frame, kinds={"n": "real", "t": "real"})
    encoded = table.encode(frame, torch.float64)
    with pytest.raises(ValueError, match="column 'c' holds text or categories, which have no mean"):
        table.decode_means(encoded)
    wanted = np.array([[True, True, False, True]] * 4)
    means = table.decode_means(encoded[:2].mean(0, keepdim=True), wanted=wanted)
    assert means.loc[0, ["n", "b"]].tolist() == [pytest.approx(1.5), 0.5]
    assert means["t"].iloc[0] == pandas.Timestamp("2024-01-01 12:00")
    assert means["c"].isna().all()
    assert Table.fit(BYTES, kinds="real").decode_means(torch.zeros(1, 6)).dtype == np.float64


def test_whole_numbers_stay_whole_where_cells_are_missing():
    frame = pandas.DataFrame({"n": [*map(float, range(15)), np.nan], "t": ["a", "b"] * 8})
    table = Table.fit(frame)
    drawn = table.decode(torch.rand(50, table.size) * 2, gaps=False)["n"]
    assert drawn.dtype == float
    assert (drawn % 1 == 0).all()
    assert Table.fit(frame[["n"]]).decode(torch.full((1, 1), 0.1))["n"][0] % 1 != 0


def test_constant_columns_and_names_do_not_stop_a_table():
    n = 120
    frame = pandas.DataFrame(
        {
            "name": [f"{'nmp'[i % 3]}{i}" for i in range(n)],
            "const": ["q"] * n,
            "one": [7] * n,
            "x": np.arange(n) * 0.5,
            "when": pandas.date_range("2024", periods=n),
            "gap": ["u", None, "w"] * 40,
            "day": pandas.Timestamp("2024-05-01"),
        }
    )
    table = Table.fit(frame)
    assert [place for place, _ in table.aside] == [0, 1, 2, 6]
    assert dict(table.aside)[1] == "q"
    assert again(table).aside == table.aside
    drawn = table.decode(torch.zeros(3, table.size))
    assert drawn["name"].isna().all()
    assert (drawn["const"].tolist(), drawn["one"].tolist()) == (["q"] * 3, [7] * 3)
    assert (drawn["day"] == frame["day"].iloc[0]).all()
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert (table.put_back(table.decode(table.encode(frame)), frame)["name"] == frame["name"]).all()
    text = table.describe()
    assert "3 columns the same in every row, and given back so (const, one, day)" in text
    assert "1 column of text with fewer than two rows a value, not modelled" in text
    assert "2 columns as numbers by their ranks, as normal scores (x, when)" in text


def towns(n: int, seed: int = 0) -> pandas.DataFrame:
    """Rows of a town among 300, Zipf's law, and of a number."""
    rng, rank = np.random.default_rng(seed), np.arange(1, 301)
    town = np.array([f"t{i:03d}" for i in rank], dtype=object)
    chance = 1 / rank**1.1
    return pandas.DataFrame(
        {"town": rng.choice(town, n, p=chance / chance.sum()), "x": rng.normal(size=n)}
    )


def test_rare_values_are_one_category_and_come_back_by_their_shares():
    frame = towns(2000)
    table = again(Table.fit(frame))
    count = frame["town"].value_counts()
    (layer,) = (one for one in table.layers if one.kind == "categorical")
    values, shares = layer.rare_of(0)
    assert set(values) == set(count.index[count < 10])
    assert layer.sizes == ((count >= 10).sum() + 1,)
    total = (count < 10).mul(count).sum() + 1  # one for values that were not seen
    np.testing.assert_allclose(np.array(shares) * total, count[[*values]])
    elsewhere = frame[:1].assign(town="elsewhere")
    assert table.among_rare(elsewhere)[0, 0] == len(values)
    assert table.log_shares(elsewhere)[0, 0] == pytest.approx(-np.log(total))
    assert table.decode(table.encode(elsewhere))["town"][0] == values[0]
    assert f"rare values as one, drawn by their shares: {len(values)} of town" in table.describe()

    rare, n = table.encode(frame[frame["town"] == values[-1]][:1]), 200_000
    many = table.decode(rare.expand(n, -1), share=table.shares(n, Stream(0)))["town"]
    assert table.decode(rare)["town"][0] == values[0]  # without a draw the commonest
    # each count is binomial: beyond 6 deviations at 1e-9 each; a uniform choice is seen
    shares = np.array(shares) / sum(shares)
    error = many.value_counts().reindex([*values]).fillna(0).to_numpy() / n - shares
    assert (np.abs(error) < 6 * np.sqrt(shares / n)).all()
    assert abs(1 / len(values) - shares[0]) > 12 * np.sqrt(shares[0] / n)

    known, chances = table.chances(torch.nan_to_num(rare), 0)
    assert sorted(known) == sorted(count.index)
    some = dict(zip(known, chances[0], strict=True))
    np.testing.assert_allclose(chances.sum(), 1, atol=1e-12)
    ratio = np.array([some[value] for value in values]) / shares
    np.testing.assert_allclose(ratio, ratio[0])  # what the category has, by the shares
    assert 0.8 < ratio[0] < 1


def test_rare_values_stand_apart_where_copies_are_sought():
    """Equal rows are at 0, other rare values about as far as other categories."""
    frame = towns(2000)[["town"]].assign(x=0.5)
    frame.loc[:999, "x"] = 1.5
    table = Table.fit(frame)
    values, _ = table.rare_of(0)
    asked = pandas.DataFrame({"town": [*values, "elsewhere"], "x": 0.5})
    rows = np.hstack([table.encode(asked, torch.float64).numpy(), table.signs(asked)])
    distance = ((rows[:, None] - rows) ** 2).sum(-1)
    assert (distance.diagonal() == 0).all()
    # 64 signs: 2 ± .25 by their deviation; none beyond 6, in thousands of pairs
    others = distance[~np.eye(len(rows), dtype=bool)]
    assert 0.5 < others.min() <= others.max() < 3.5
    assert not table.signs(frame[frame["town"].isin(frame["town"].mode())]).any()


def test_what_a_column_with_rare_values_cannot_hold_is_refused():
    frame = towns(2000)
    levels = pandas.CategoricalDtype([*sorted(frame["town"].unique()), "unseen"])
    listed = Table.fit(frame.astype({"town": levels}))
    assert len(Table.fit(frame).rare_of(0)[0]) == len(listed.rare_of(0)[0]) > 20
    last = listed.columns_of(0)[-1]
    assert listed.encode(frame[:1].assign(town="unseen"))[0, last] == 1
    codes = frame["town"].factorize()[0].astype(float)
    coded = Table.fit(frame.assign(town=codes), kinds={"town": "categorical"})
    assert len(coded.rare_of(0)[0]) > 20
    assert coded.encode(frame[:1].assign(town=9999.0))[0, coded.columns_of(0)[-1]] == 1
    for table, strange in (
        (Table.fit(frame), 0.5),
        (Table.fit(frame), True),
        (listed, "elsewhere"),
        (coded, 1.5),
    ):
        new = frame[:1].assign(town=pandas.Series([strange], dtype=object))
        with pytest.raises(ValueError, match="which was not among its categories"):
            table.encode(new)
        with pytest.warns(UserWarning, match="taken as missing"):
            assert table.lost(new).tolist() == [[True, False]]
        with pytest.warns(UserWarning, match="taken as missing"):
            found = table.encode(new, unknown="missing")
        assert found[:, table.columns_of(0)].isnan().all()
        assert (table.among_rare(new) == -1).all()
    misspelt = frame[:1].assign(town="Lodnon")
    assert not Table.fit(frame).lost(misspelt).any()  # one more that is rare


@pytest.mark.parametrize(
    ("counts", "together"),
    [
        ([50, 50], 0),  # two values are a pair
        ([97, 1, 1, 1], 0),  # a hundredth of the rows is a category
        ([980, 9, 9, 2], 3),
        ([990, 1, 9], 2),
        ([991, 9], 0),
        ([985, 10, 5], 0),  # one alone stays itself
        ([20] * 150, 50),  # of more than a hundred, what comes after them
    ],
)
def test_which_values_are_rare(counts, together):
    cells = [f"v{i}" for i, count in enumerate(counts) for _ in range(count)]
    table = Table.fit(pandas.DataFrame({"a": cells, "b": np.arange(len(cells)) * 0.5}))
    assert len(table.rare_of(0)[0]) == together


def test_texts_that_come_once_are_left_aside_and_others_are_not():
    once = [f"{'nmp'[i % 3]}{i}" for i in range(120)]
    for repeated, aside in ((1, True), (3, False)):
        frame = pandas.DataFrame({"a": once * repeated, "b": 0.5 * np.arange(120 * repeated)})
        assert bool(Table.fit(frame).aside) == aside


def test_an_unknown_category_is_refused_or_missing():
    table = Table.fit(np.array([["a", 1], ["b", 2], ["c", 2]], dtype=object))
    new = np.array([["d", 1]], dtype=object)
    with pytest.raises(
        ValueError, match=r"X\[0, 0\] \(column 0\) is 'd', which was not among .* 'a', 'b', 'c'"
    ):
        table.encode(new)
    with pytest.raises(ValueError, match=r'3, .* 1, 2; .*unknown="missing".*kinds={1: "quantile"}'):
        table.encode(np.array([["a", 3]], dtype=object))
    with pytest.warns(UserWarning, match="'d', which was not .*: taken as missing"):
        assert table.encode(new, unknown="missing").isnan().sum() == 3


def test_differences_of_large_numbers_survive():
    for X in (
        1.7e9 + np.arange(5.0)[:, None] / 8,
        2**62 + np.arange(5)[:, None],
        np.uint64(2**63) + np.arange(5, dtype=np.uint64)[:, None],
    ):
        encoded = Table.fit(X, kinds="real").encode(X)
        assert encoded.dtype == torch.float32
        np.testing.assert_allclose(
            encoded[:, 0], (np.arange(5) - 2) / np.arange(5).std(), rtol=1e-6
        )
    small = Table.fit(2**62 + np.arange(5)[:, None], kinds="real")
    assert small.encode(2**62 - np.arange(3)[:, None])[:, 0].diff().lt(0).all()  # below the origin


def test_numpys_scalars_are_pythons():
    X = BYTES.astype(np.int64)
    plain = Table.fit(X, value_range=(0, 255), picture_shape=(2, 3), kinds="picture")
    sides, ends = np.array([2, 3], np.uint8), (np.uint8(0), np.float32(255))
    other = Table.fit(X, value_range=ends, picture_shape=sides, kinds=np.str_("picture"))
    assert other.to_json() == plain.to_json()
    keyed = Table.fit(CODES, kinds={np.int64(0): "real"}, max_categories=np.int64(3))
    scalars = np.array([[np.int64(3), np.str_("a")], [np.int64(5), np.str_("b")]], dtype=object)
    for table in (keyed, Table.fit(scalars)):
        assert json.dumps(again(table).to_json()) == json.dumps(table.to_json())


def test_the_default_type_is_not_read():
    before = Table.fit(REALS).encode(REALS)
    torch.set_default_dtype(torch.float64)
    try:
        mixed = random_table(4)
        assert torch.equal(Table.fit(REALS).encode(REALS), before)
        assert Table.fit(mixed).encode(mixed).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_statistics_are_those_of_the_columns(monkeypatch):
    X = np.array([[0.2, 3.0], [1.0, np.nan], [0.0, 5.0]])
    table = Table.fit(X, modalities={"grey": [0], "x": [1]}, kinds={"x": "real"})
    found = table.statistics(X, rows=2)
    encoded = table.encode(X, torch.float64)
    assert torch.equal(found.total, encoded.nansum(0))
    assert (found.counts.tolist(), found.grey, found.missing) == ([3, 2], {"grey"}, True)
    assert table.statistics(np.array([[0, 1], [1, 1]])).grey == frozenset()
    frame = pandas.DataFrame(X, columns=["a", "b"])
    assert torch.equal(
        Table.fit(frame, kinds="real").statistics(frame, rows=2).counts, found.counts
    )


def test_batches_of_a_frame_are_encoded_as_they_are_drawn():
    frame = pandas.DataFrame({"t": ["u", "v"] * 10, "x": np.arange(N) * 0.5})
    table = Table.fit(frame)
    batch = Batches(frame, 8, Stream(0), encode=table.encode).at(0)
    places = Stream(0).child("order", 0).permutation(N)[:8]
    assert torch.equal(batch.values, table.encode(frame)[places])
    with pytest.raises(ValueError, match=r"encode=Table\.encode"):
        Batches(frame, 8, Stream(0)).at(0)


@pytest.mark.parametrize("kinds", ["mixed", "real"])
def test_a_memory_map_is_never_copied_whole(tmp_path, monkeypatch, kinds):
    rows = np.arange(200_000)
    columns = [rows % 2, rows % 7, rows % 3, *np.sin(rows + np.arange(5)[:, None])]
    np.save(tmp_path / "a.npy", np.column_stack(columns))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    monkeypatch.setattr("equilibria.data.columns.BLOCK_CELLS", 1 << 14)
    tracemalloc.start()
    Table.fit(mapped, kinds=kinds).encode(mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # numpy's share: torch's is not traced, and holds the result; a law is found in some of the rows
    assert peak < mapped.nbytes / 8 + (2 << 20)


def test_each_column_by_what_it_holds():
    for column, expected in [
        ([0, 1, 1], "binary"),
        ([0.0, 1.0, 0.0], "binary"),
        ([True, False, True], "binary"),
        (["1", "0", "1"], "binary"),
        (["a", "b", "c"], "categorical"),
        ([3.0, 1.0, 2.0], "categorical"),
        ([*range(10)], "categorical"),
        ([*range(11)], "quantile"),
        ([0.5, 1.0, 0.5], "quantile"),
    ]:
        for dtype in (None, object):
            table = Table.fit(np.array(column, dtype=dtype)[:, None], kinds="mixed")
            assert [layer.name for layer in table.layers] == [expected]


def test_auto():
    for X, options, expected in [
        (np.array([[0, 1], [1, 0]]), {}, "binary"),
        (np.array([[0.0, 0.5]]), {}, "binary"),
        (np.array([[0.0, 1.5]]), {}, "real"),
        (np.array([[0, 200]]), {"value_range": (0, 255)}, "binary"),
        (np.array([[0, 300]]), {"value_range": (0, 255)}, "real"),
        ([[0, "a"], [1, "b"]], {}, "mixed"),
        (pandas.DataFrame({"a": [0.5, 0.2], "b": [True, False]}), {}, "binary"),
        (
            pandas.DataFrame({"a": [0.5, 0.2], "b": pandas.date_range("2024", periods=2)}),
            {},
            "mixed",
        ),
        (torch.tensor([[0.0, 1.0]], dtype=torch.bfloat16), {}, "binary"),
    ]:
        assert Table.fit(X, **options).kind == expected


@pytest.mark.parametrize(
    "kinds",
    [
        ["real", "auto", "categorical"],
        {"a": "gaussian", 2: "categorical"},
        {-3: "real", "c": "categorical"},
    ],
)
def test_kinds_can_be_said(kinds):
    X = pandas.DataFrame([[0, 0, 0], [1, 1, 1], [2, 1, 50]], columns=list("abc"))
    layers = Table.fit(X, kinds=kinds).layers
    sources = {layer.name: layer.source for layer in layers}
    assert sources == {"binary": (1,), "categorical": (2,), "real": (0,)}


@pytest.mark.parametrize(
    ("groups", "kinds", "expected"),
    [
        ({"p": [0, 1], "q": [2], "r": [3]}, "auto", ["binary", "categorical", "real"]),
        ({"p": slice(2), "q": 2, "r": -1}, {"q": "real"}, ["binary", "real", "real"]),
        (
            {"p": ["a", 1], "q": "c", "r": [3]},
            {"p": "bernoulli", "r": "positive"},
            ["binary", "categorical", "positive"],
        ),
        ({"p": [0], "q": [1], "r": [2, 3]}, {"q": "spin", "r": "real"}, ["binary", "spin", "real"]),
    ],
)
def test_groups_are_layers_by_name(groups, kinds, expected):
    X = pandas.DataFrame([[0, 1, 3, 2.5], [1, 0, 4, 0.5], [1, 1, 5, 7.0]], columns=list("abcd"))
    table = Table.fit(X, modalities=groups, kinds=kinds)
    assert [layer.name for layer in table.layers] == ["p", "q", "r"]
    assert [layer.kind for layer in table.layers] == expected
    pandas.testing.assert_frame_equal(table.decode(table.encode(X, torch.float64)), X)


def test_every_kind_has_its_units():
    assert set(VISIBLE) == set(KINDS) - {"picture"}  # which is for networks


def log_scales(table):
    """The change of density of each encoded column alone."""
    one = torch.full((table.size, table.size), torch.nan).fill_diagonal_(0.0)
    return table.log_volume(one).tolist()


def test_log_volume_is_the_change_of_density():
    X = np.array([[0, 3.0], [1, 5.0], [1, 10.0]])
    table = Table.fit(X, kinds=["binary", "real"])
    own = stats.norm(X[:, 1].mean(), X[:, 1].std()).logpdf(X[:, 1])
    encoded = table.encode(X, torch.float64)[:, 1].numpy()
    volume = table.log_volume(table.encode(X, torch.float64)).numpy()
    np.testing.assert_allclose(stats.norm.logpdf(encoded) - volume, own, atol=1e-12)
    assert log_scales(table) == [0, pytest.approx(math.log(X[:, 1].std()))]


def test_whole_numbers_are_rounded_and_clipped():
    real = Table.fit(np.array([[240], [260 - 5]], np.uint8), kinds="real")
    assert real.decode(torch.tensor([[9.0], [-90.0], [0.1]])).ravel().tolist() == [255, 0, 248]
    grey = Table.fit(np.array([[0, 16]], np.uint8), value_range=(0, 16))
    assert grey.decode(torch.tensor([[1.2, -0.2]])).tolist() == [[16, 0]]
    frame = pandas.DataFrame({"a": [0, 16], "b": [3, 4]}, dtype="Int16")
    table = Table.fit(frame, value_range=(0, 16))
    assert table.decode(torch.tensor([[1.2, -0.2]])).to_numpy().tolist() == [[16, 0]]


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (np.zeros(3), {}, r"X has shape \(3,\): expected \(rows, columns\)"),
        (np.zeros((3, 2), complex), {}, "X is of type complex128: expected numbers or text"),
        (REALS, {"kinds": "normal"}, "kinds='normal': expected 'auto', 'mixed', 'binary'"),
        (REALS, {"kinds": {9: "real"}}, "kinds names the column 9, .*number from 0 to 2"),
        (
            REALS,
            {"kinds": "mixed", "value_range": (0, 1)},
            r"value_range=\(0, 1\) speaks of all columns",
        ),
        (REALS, {"value_range": (1, 0)}, r"value_range=\(1, 0\): expected \(low, high\)"),
        (
            REALS,
            {"picture_shape": (1, 3, 5)},
            r"picture_shape=\(1, 3, 5\): expected \(height, width\)",
        ),
        (
            REALS,
            {"kinds": "binary"},
            r"X holds values from .*, outside 0 to 1; scale them, or give their range",
        ),
        (
            REALS,
            {"kinds": "positive"},
            r"X\[0, 1\] \(column 1\) is -\d.*; such a column holds zero or more",
        ),
        (
            REALS,
            {"kinds": "categorical"},
            r"X: column 0 holds .*; a category is a whole number or text",
        ),
        (
            np.array([[0.5, 1], [np.inf, 0]]),
            {},
            r"X\[1, 0\] \(column 0\) is inf; replace it by a finite",
        ),
        (
            np.array([[1.5, np.nan]]),
            {"allow_missing": False},
            r"X\[0, 1\] \(column 1\) is NaN; fill it",
        ),
        (
            np.array([["a", None]]),
            {"allow_missing": False},
            r"X\[0, 1\] \(column 1\) is None; fill it",
        ),
        (
            np.array([[1.5, np.nan], [2, np.nan]]),
            {},
            "X: column 1 has no observed value; leave it out",
        ),
        (
            np.array([[0, 1], [5, 1], [7, 2]]),
            {"kinds": {0: "binary"}},
            r"column 0 has 3 different values \(0, 5, 7\)",
        ),
        (
            np.array([["a"], ["a"]]),
            {"kinds": "categorical"},
            "has the one category 'a' in every row",
        ),
        (
            REALS,
            {"modalities": {"a": [0]}},
            r"modalities: column 1 is in no modality \(2 of 3 are not\)",
        ),
        (REALS, {"modalities": {"a": [0, 0, 1, 2]}}, "modalities: column 0 is twice in 'a'"),
        (
            REALS,
            {"modalities": {"a": [0, 1], "b": [1, 2]}},
            "modalities: column 1 is in 'a' and in 'b'",
        ),
        (
            REALS,
            {"modalities": {"a": [], "b": [0]}},
            r"modalities\['a'\]=\[\]: expected some columns",
        ),
        (
            REALS,
            {"modalities": {"a": [0, 1, 2]}, "kinds": {"z": "real"}},
            r"a mapping from modalities \('a'\)",
        ),
        (
            np.array([[0, 1.5], [1, 2.5], [2, 7]]),
            {"modalities": {"a": [0, 1]}},
            r"modalities\['a'\] has columns of several",
        ),
        (np.array([[0.0], [3e300]]), {"kinds": "real"}, "whose squares float64 cannot hold"),
    ],
)
def test_refusals(X, options, message):
    with pytest.raises(ValueError, match=message):
        Table.fit(X, **options)


@pytest.mark.parametrize(
    ("place", "cell", "message"),
    [
        (
            0,
            "?",
            r"new\[1, 0\] \(column 'vote'\) is '\?', which was not among its categories 'n', 'y'",
        ),
        (1, np.inf, r"new\[1, 1\] \(column 'age'\) is inf"),
        (1, "old", r"new\[1, 1\] \(column 'age'\) is 'old'; expected numbers"),
        (2, None, r"new\[1, 2\] \(column 'adult'\) is None; fill it"),
        (3, -1.0, r"new\[1, 3\] \(column 'spent'\) is -1; such a column holds zero or more"),
    ],
)
def test_encode_names_the_cell(place, cell, message):
    frame = pandas.DataFrame(
        {
            "vote": list("yny"),
            "age": [20, 35, 31],
            "adult": [True, False, True],
            "spent": [0, 2.5, 1],
        }
    )
    table = Table.fit(frame, kinds={"age": "real", "spent": "positive"})
    X = frame.astype(object)
    X.iloc[1, place] = cell
    with pytest.raises(ValueError, match=message):
        table.encode(X, name="new", allow_missing=False)


def test_decode_refuses_what_a_type_cannot_hold():
    table = Table.fit(pandas.DataFrame({"n": [1, 2, 3], "t": list("aba")}), kinds={"n": "real"})
    with pytest.raises(
        ValueError, match="column 'n' holds NaN, which the data's type int64 cannot"
    ):
        table.decode(torch.full((1, 2), torch.nan))
    with pytest.raises(ValueError, match=r"values has shape \(1, 3\): expected \(n, 2\)"):
        table.decode(torch.zeros(1, 3))
    for kinds in ("categorical", "real"):
        with pytest.raises(ValueError, match="which the data's type int64 cannot"):
            Table.fit(CODES, kinds=kinds).decode(
                torch.full((1, Table.fit(CODES, kinds=kinds).size), torch.nan)
            )


@pytest.mark.parametrize("name", ["house-votes", "dna"])
def test_real_tables_survive_the_trip(data_folder, name):
    data = load(name, split="all")
    frame = pandas.DataFrame(data.values, columns=data.columns)
    for X in (data.values, frame):
        table = Table.fit(X, kinds="mixed")
        assert [one.name for one in table.layers] == ["binary", "gap"][: 1 + (name != "dna")]
        decoded = np.asarray(table.decode(table.encode(X)))
        seen = ~missing_cells(data.values)
        assert (~seen).sum() == {"house-votes": 392, "dna": 0}[name]
        assert (decoded[seen] == data.values[seen]).all()
        assert (missing_cells(decoded) == ~seen).all()


def test_identifiers_are_made_anew():
    n = 120
    frame = pandas.DataFrame(
        {
            "passengerId": np.arange(1, n + 1),
            "ticket": [f"T-{i:05d}" for i in range(n)],
            "place": [f"row {i}" for i in range(n)],
            "size": np.arange(n),  # numbered too, and not called so
            "word": ["a", "b"] * 60,
        }
    )
    table = Table.fit(frame)
    for one in (table, again(table)):
        assert one.aside == ((0, ("", 0, 121)), (1, ("T-", 5, 120)), (2, ("row ", 0, 120)))
        drawn = one.decode(torch.zeros(2, one.size))
        assert drawn["passengerId"].tolist() == [121, 122]
        assert drawn["ticket"].tolist() == ["T-00120", "T-00121"]
        assert drawn["place"].tolist() == ["row 120", "row 121"]
        assert list(drawn.dtypes) == list(frame.dtypes)
        known = frame.assign(word=[None, "b"] * 60)
        filled = one.put_back(one.decode(one.encode(known).nan_to_num()), known)
        pandas.testing.assert_frame_equal(
            filled[["passengerId", "ticket"]], frame[["passengerId", "ticket"]]
        )
    assert "3 columns that number the rows" in table.describe()


def test_an_array_of_one_layer_keeps_its_constant_columns():
    X = np.column_stack([RNG.normal(size=50), np.full(50, 7.0)])
    table = Table.fit(X, kinds="mixed")
    drawn = table.decode(table.encode(X))
    assert drawn.shape == X.shape
    assert (drawn[:, 1] == 7).all()


def test_amounts_are_no_identifiers():
    frame = pandas.DataFrame({"PAID": np.arange(50) * 3, "word": ["a", "b"] * 25})
    assert Table.fit(frame).aside == ()
    narrow = pandas.DataFrame({"id": np.arange(50, dtype=np.int8), "word": ["a", "b"] * 25})
    assert Table.fit(narrow).aside == ()


def test_an_unseen_category_is_a_gap_where_gaps_are_told():
    frame = pandas.DataFrame({"word": ["a", "b", None] * 10, "x": np.arange(30) * 0.5})
    table = Table.fit(frame)
    new = frame[:2].assign(word=["a", "z"])
    with pytest.warns(UserWarning, match="taken as missing"):
        found = table.encode(new, unknown="missing")
    assert found[:, table.gap_of(0)].flatten().tolist() == [0, 1]


@pytest.mark.parametrize("dtype", ["float16", "float32", "Float32"])
def test_what_is_drawn_beyond_a_types_numbers_is_the_last_of_them(dtype):
    """Three standard deviations above the largest number that the type has."""
    most = float(np.finfo(dtype.lower()).max)
    X = pandas.DataFrame({"a": [-most, 0.0, most], "b": [1.0, 2.0, 4.0]}).astype(dtype)
    table = Table.fit(X, kinds="real")
    found = table.decode(torch.tensor([[9.0, 0.0], [-9.0, 0.0]], dtype=torch.float64))
    assert str(found.dtypes.iloc[0]) == dtype
    assert found["a"].astype(float).tolist() == [most, -most]
