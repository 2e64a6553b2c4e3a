"""Mixed tables: what each column is taken for, there and back to the bit, missing cells, and the sentence for each bad table."""

from __future__ import annotations

import itertools
import json
import math
import tracemalloc

import numpy as np
import pytest
import torch
from scipy import stats

from equilibria.data import Schema, numeric
from equilibria.data.kinds import MAX_TEXTS
from equilibria.random import Stream

pandas = pytest.importorskip("pandas")

TABLE = np.array(
    [
        ["y", 20, 1.5, True, "red", 3, 0.0],
        ["n", 35, 1.75, False, "blue", 0, 2.5],
        ["y", 31, -0.25, True, "green", 1, 1.0],
        ["n", 64, 1.5, True, "blue", 3, 0.0],
    ],
    dtype=object,
)
NAMES = ["vote", "age", "height", "adult", "colour", "children", "spent"]
KINDS = {"age": "real", "spent": "positive"}
SCHEMA = Schema.infer(TABLE, kind="mixed", columns=NAMES, kinds=KINDS)


def random_table(seed: int, missing: float = 0.0) -> np.ndarray:
    """Up to 12 columns in a random order, of every kind there is, and 3 to 40 rows; ``missing`` is the share of empty cells."""
    stream = Stream(seed).child("table")
    n, width = 3 + int(stream.child("n").integers((1,), 38)), 1 + int(stream.child("width").integers((1,), 12))
    makers = {
        0: lambda s: [bool(b) for b in s.integers((n,), 2)],
        1: lambda s: [("no", "yes")[b] for b in s.integers((n,), 2)],
        2: lambda s: [(-7, 7)[b] for b in s.integers((n,), 2)],
        3: lambda s: [("a", "b", "ç", "")[b] for b in s.integers((n,), 4)],
        4: lambda s: [int(b) for b in s.integers((n,), 6)],
        5: lambda s: [int(b) * 1000003 for b in s.integers((n,), 1 << 20)],
        6: lambda s: (s.normal((n,), torch.float64) * 1e3).tolist(),
    }
    columns = [makers[int(stream.child("kind", j).integers((1,), 7))](stream.child("cells", j)) for j in range(width)]
    table = np.array(columns, dtype=object).T.copy()
    for j in range(width):  # every column has the two values that it needs
        table[0, j], table[1, j] = _pair(table[0, j])
    empty = stream.child("missing").uniform((n, width)).numpy() < missing
    empty[:2] = False
    table[empty] = None
    return table


def _pair(cell):
    pairs = {bool: (False, True), float: (-1.5, 2.25)}
    if isinstance(cell, str):
        return ("no", "yes") if cell in ("no", "yes") else ("a", "b")
    if type(cell) in pairs:
        return pairs[type(cell)]
    return (-7, 7) if abs(cell) == 7 else (0, 5)


def equal_cells(a, b) -> bool:
    """Same values of the same Python types, floats to twelve digits."""
    if isinstance(a, float):
        return type(b) is float and math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-9)
    return type(a) is type(b) and a == b


def test_every_column_finds_its_layer():
    found = [(layer.name, layer.kind, layer.columns, layer.variables, layer.source) for layer in SCHEMA.layers]
    assert found == [
        ("binary", "bernoulli", slice(0, 2), 2, (0, 3)),
        ("categorical", "categorical", slice(2, 8), 2, (4, 5)),
        ("real", "gaussian", slice(8, 10), 2, (1, 2)),
        ("positive", "rectified", slice(10, 11), 1, (6,)),
    ]
    assert [layer.categories for layer in SCHEMA.layers] == [None, (("blue", "green", "red"), (0, 1, 3)), None, None]
    assert SCHEMA.size == 11


def test_encoded_values_are_those_of_each_kind():
    encoded = SCHEMA.encode(TABLE, torch.float64).numpy()
    age, height, spent = (TABLE[:, j].astype(float) for j in (1, 2, 6))
    expected = np.column_stack(
        [
            TABLE[:, 0] == "y",
            TABLE[:, 3].astype(bool),
            *(TABLE[:, 4] == colour for colour in ("blue", "green", "red")),
            *(TABLE[:, 5] == count for count in (0, 1, 3)),
            (age - age.mean()) / age.std(),
            (height - height.mean()) / height.std(),
            spent / spent.std(),
        ]
    )
    np.testing.assert_allclose(encoded, expected.astype(float), atol=1e-12)


def test_a_homogeneous_table_has_one_visible_layer():
    X = np.array([[0, 2], [1, 5]])
    for kind, units in (("gaussian", "gaussian"), ("real", "gaussian"), ("picture", "gaussian"), ("rectified", "rectified")):
        (layer,) = Schema.infer(X, kind=kind).layers
        assert (layer.name, layer.kind, layer.columns, layer.variables) == ("visible", units, slice(0, 2), 2)
        assert (layer.categories, layer.source) == (None, (0, 1))
    (layer,) = Schema.infer(X, kind="categorical").layers
    assert (layer.kind, layer.columns, layer.variables, layer.categories) == ("categorical", slice(0, 4), 2, ((0, 1), (2, 5)))
    (layer,) = Schema.infer(X, kind="binary").layers
    assert (layer.kind, layer.columns, layer.variables, layer.categories) == ("bernoulli", slice(0, 2), 2, None)


@pytest.mark.parametrize("seed", range(40))
def test_decode_undoes_encode_in_any_table(seed):
    table = random_table(seed)
    schema = Schema.infer(table, kind="mixed")
    encoded = schema.encode(table, torch.float64)
    decoded = schema.decode(encoded)
    assert encoded.shape == (len(table), schema.size)
    assert all(equal_cells(a, b) for a, b in zip(table.ravel(), decoded.ravel(), strict=True))
    again = Schema.from_json(json.loads(json.dumps(schema.to_json(), allow_nan=False)))
    assert again == schema
    assert torch.equal(again.encode(table, torch.float64), encoded)
    places = sorted(place for layer in schema.layers for place in layer.source)
    assert places == list(range(table.shape[1]))
    assert [layer.columns.start for layer in schema.layers[1:]] == [layer.columns.stop for layer in schema.layers[:-1]]


@pytest.mark.parametrize("seed", range(40, 60))
def test_missing_cells_leave_the_others_alone(seed):
    table = random_table(seed, missing=0.3)
    schema = Schema.infer(table, kind="mixed", allow_missing=True)
    values, mask = schema.encode_masked(table, torch.float64)
    empty = np.vectorize(lambda cell: cell is None)(table)
    if mask is None:
        assert not empty.any()
        return
    for layer in schema.layers:
        for variable, place in enumerate(layer.source):
            groups = [len(group) for group in layer.categories] if layer.categories else [1] * layer.variables
            first = layer.columns.start + sum(groups[:variable])
            seen = mask[:, first : first + groups[variable]].numpy()
            assert (seen == ~empty[:, [place]]).all()
    assert (values[~mask] == 0).all()
    filled = table.copy()
    for place in range(table.shape[1]):
        filled[empty[:, place], place] = table[0, place]
    assert torch.equal(schema.encode(filled, torch.float64)[mask], values[mask])
    assert torch.equal(schema.encode(table, torch.float64, allow_missing=True).isnan(), ~mask)


def test_nothing_missing_has_no_mask():
    values, mask = SCHEMA.encode_masked(TABLE)
    assert mask is None
    assert torch.equal(values, SCHEMA.encode(TABLE))


@pytest.mark.parametrize("cells", [1, 7, 20])
def test_blocks_do_not_show(monkeypatch, cells):
    table = random_table(7, missing=0.2)
    schema = Schema.infer(table, kind="mixed", allow_missing=True)
    encoded = schema.encode(table, torch.float64, allow_missing=True)
    monkeypatch.setattr(numeric, "_BLOCK_CELLS", cells)
    assert Schema.infer(table, kind="mixed", allow_missing=True).layers == schema.layers
    assert torch.equal(schema.encode(table, torch.float64, allow_missing=True).nan_to_num(-9), encoded.nan_to_num(-9))


@pytest.mark.parametrize(
    ("column", "group"),
    [
        ([0, 1, 1], "binary"),
        ([0.0, 1.0, 0.0], "binary"),
        ([True, False, True], "binary"),
        ([-1, 1, 1], "binary"),
        (["y", "n", "y"], "binary"),
        (["1", "0", "1"], "binary"),
        (["a", "b", "c"], "categorical"),
        ([3, 1, 2], "categorical"),
        ([3.0, 1.0, 2.0], "categorical"),
        ([*range(10)], "categorical"),
        ([*range(11)], "real"),
        ([0.5, 1.0, 0.5], "real"),
        ([0, 1, 0.5], "real"),
    ],
)
@pytest.mark.parametrize("make", [lambda c: np.array(c)[:, None], lambda c: np.array(c, dtype=object)[:, None]], ids=["typed", "objects"])
def test_auto(column, group, make):
    assert [layer.name for layer in Schema.infer(make(column), kind="mixed").layers] == [group]


def test_the_threshold_is_an_argument():
    X = np.arange(30)[:, None]
    assert Schema.infer(X, kind="mixed", max_categories=30).layers[0].name == "categorical"
    assert Schema.infer(X, kind="mixed", max_categories=29).layers[0].name == "real"


@pytest.mark.parametrize(
    "options",
    [
        {"kind": ["real", "auto", "categorical"]},
        {"kind": {0: "real", -1: "categorical"}},
        {"kind": "mixed", "kinds": {"a": "gaussian", "c": "categorical"}},
        {"kinds": ["real", "binary", "categorical"]},
        {"kind": "mixed", "kinds": {"b": "bernoulli", 0: "real", 2: "categorical"}},
    ],
)
def test_kinds_can_be_said(options):
    X = np.array([[0, 0, 0], [1, 1, 1], [2, 1, 50]])
    schema = Schema.infer(X, columns=["a", "b", "c"], **options)
    assert [(layer.name, layer.source) for layer in schema.layers] == [("binary", (1,)), ("categorical", (2,)), ("real", (0,))]
    assert schema.decode(schema.encode(X)).tolist() == X.tolist()


def test_numpys_own_type_comes_back():
    X = np.array([[0, 3, 1.5], [1, 4, 2.5], [1, 5, 0.0]], np.float32)
    decoded = Schema.infer(X, kind="mixed").decode(Schema.infer(X, kind="mixed").encode(X, torch.float64))
    assert decoded.dtype == np.float32
    assert (decoded == X).all()
    text = np.array([["y", "red"], ["n", "green"], ["y", "blue"]])
    schema = Schema.infer(text, kind="mixed")
    assert schema.decode(schema.encode(text)).dtype == text.dtype
    assert (schema.decode(schema.encode(text)) == text).all()


def test_frames_keep_each_columns_type():
    frame = pandas.DataFrame(
        {
            "text": ["u", None, "v", "w"],
            "nullable": pandas.array([20, None, 31, 2**40], dtype="Int64"),
            "real": [1.5, 1.7, np.nan, 1.9],
            "truth": [True, False, True, True],
            "level": pandas.Categorical(["low", "high", "low", "middle"]),
            "codes": pandas.Categorical(range(4), categories=range(4)),
            "maybe": pandas.array([True, None, False, True], dtype="boolean"),
            "small": np.array([0, 1, 5, 5], np.int8),
        }
    )
    schema = Schema.infer(frame, kind="mixed", allow_missing=True, kinds={"nullable": "real"})
    assert schema.columns == tuple(frame.columns)
    assert schema.dtypes == tuple(map(str, frame.dtypes))
    values, mask = schema.encode_masked(frame, torch.float64)
    assert mask is not None
    again = pandas.DataFrame(schema.decode(values), columns=schema.columns).astype(dict(zip(schema.columns, schema.dtypes, strict=True)))
    assert (again.dtypes.astype(str) == frame.dtypes.astype(str)).all()
    seen = frame.notna().to_numpy()
    pairs = zip(again.to_numpy(dtype=object)[seen], frame.to_numpy(dtype=object)[seen], strict=True)
    assert all(a == b or (isinstance(b, float) and math.isclose(a, b, rel_tol=1e-12)) for a, b in pairs)
    assert torch.equal(schema.encode(frame.to_numpy(dtype=object), torch.float64, allow_missing=True).isnan(), ~mask)


def test_a_frames_index_does_not_matter():
    frame = pandas.DataFrame({"a": [0, 1, 1], "b": [0.5, 2.0, 3.5]}, index=[2.0, 0.5, 1.0])
    schema = Schema.infer(frame, kind="mixed")
    assert torch.equal(schema.encode(frame), schema.encode(frame.to_numpy()))


def test_tensors_are_as_good_as_arrays():
    X = np.array([[0, 3, 1.5], [1, 4, 2.5], [1, 5, 0.0]], np.float32)
    schema = Schema.infer(torch.from_numpy(X), kind="mixed")
    assert schema == Schema.infer(X, kind="mixed")
    assert torch.equal(schema.encode(torch.from_numpy(X)), schema.encode(X))


@pytest.mark.parametrize("kind", ["mixed", "gaussian"])
def test_a_memory_map_is_never_copied_whole(tmp_path, monkeypatch, kind):
    rows = np.arange(200_000)
    np.save(tmp_path / "a.npy", np.column_stack([rows % 2, rows % 7, rows % 3, *np.sin(rows + np.arange(5)[:, None])]))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    monkeypatch.setattr(numeric, "_BLOCK_CELLS", 1 << 14)
    tracemalloc.start()
    schema = Schema.infer(mapped, kind=kind)
    schema.encode(mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < mapped.nbytes / 8  # numpy's share: torch's memory is not traced, and holds the result


def test_log_volume_counts_scaled_columns_alone():
    scaled = [np.std(TABLE[:, j].astype(float)) for j in (1, 2, 6)]
    assert math.isclose(SCHEMA.log_volume, sum(map(math.log, scaled)), rel_tol=1e-12)
    assert Schema.infer(TABLE[:, [0, 3, 4]], kind="mixed").log_volume == 0


def test_log_volume_is_the_change_of_density():
    X = np.array([[0, 3.0], [1, 5.0], [1, 10.0]])
    schema = Schema.infer(X, kind=["binary", "real"])
    encoded = schema.encode(X, torch.float64)[:, 1].numpy()
    own = stats.norm(X[:, 1].mean(), X[:, 1].std()).logpdf(X[:, 1])
    np.testing.assert_allclose(stats.norm.logpdf(encoded) - schema.log_volume, own, atol=1e-12)


def test_the_sentence_names_each_group():
    assert SCHEMA.describe() == (
        "2 columns (vote, adult) as binary units; 2 columns (colour, children) as one-hot groups (6 columns); "
        "2 columns (age, height) as Gaussian units, standardised; 1 column (spent) as rectified units, in standard deviations from zero; "
        "samples are given back as object, int64, float64, bool."
    )
    wide = Schema.infer(np.arange(16).reshape(2, 8) % 2 + np.array([[0], [1]]), kind="mixed")
    assert "(0, 1, 2, 3, 4, 5, …)" in wide.describe()


def test_spins_are_minus_one_and_one():
    X = np.array([[-1, 1], [1, 1]])
    for values, options in ((X, {}), ((X + 1) // 2, {}), (X == 1, {}), (X * 3 + 5, {"low": 2, "high": 8})):
        schema = Schema.infer(values, kind="spin", **options)
        assert schema.encode(values).tolist() == X.tolist()
        assert schema.decode(schema.encode(values)).tolist() == values.tolist()
        assert schema.decode(schema.encode(values)).dtype == values.dtype
        assert schema.log_volume == 0
        assert schema.layers[0].kind == "spin"
    with pytest.raises(ValueError, match=r"X holds values from -1 to 3, outside -1 to 1"):
        Schema.infer(np.array([[-1, 3]]), kind="spin")


def test_rectified_keeps_zero_where_it_is():
    X = np.array([[0.0, 7.0], [3.0, 7.0], [6.0, 7.0]])
    schema = Schema.infer(X, kind="rectified")
    encoded = schema.encode(X, torch.float64)
    np.testing.assert_allclose(encoded, X / [X[:, 0].std(), 1], rtol=1e-12)
    np.testing.assert_allclose(schema.decode(encoded), X, rtol=1e-12)
    assert math.isclose(schema.log_volume, math.log(X[:, 0].std()))
    with pytest.raises(ValueError, match=r"X\[1, 0\] \(column 0\) is -0\.5; such a column holds zero or more"):
        Schema.infer(np.array([[1.0], [-0.5]]), kind="rectified")
    with pytest.raises(ValueError, match=r"X\[0, 1\] \(column 1\) is -3"):
        schema.encode(np.array([[np.nan, -3.0]]), allow_missing=True)


def test_binary_columns_give_back_their_own_words():
    X = np.array([["y", "no"], ["n", "yes"]])
    schema = Schema.infer(X, kind="binary")
    assert schema.encode(X).tolist() == [[1, 0], [0, 1]]
    assert schema.size == 2
    assert schema.decode(torch.tensor([[0.4, 0.6], [0.51, 0.5]])).tolist() == [["n", "yes"], ["y", "no"]]


def test_what_is_missing_stays_missing_where_the_type_has_a_mark():
    table = np.array([["a", 1.5], ["b", None], [None, 2.5]], dtype=object)
    schema = Schema.infer(table, kind="mixed", allow_missing=True)
    decoded = schema.decode(schema.encode(table, torch.float64, allow_missing=True))
    assert decoded[:, 0].tolist() == ["a", "b", None]
    assert np.isnan(decoded[1, 1])
    for X in (np.array([[1], [2]]), np.array([["a"], ["b"]])):
        for kind, size in (("categorical", 2), ("binary", 1)):
            with pytest.raises(ValueError, match=r"values holds NaN, which the data's type .* cannot; fill missing values"):
                Schema.infer(X, kind=kind).decode(torch.full((1, size), torch.nan))
    with pytest.raises(ValueError, match="values holds NaN, which the data's type int64 cannot"):
        Schema.infer(np.array([[0, "a"], [1, "b"]], dtype=object), kind="mixed").decode(torch.full((1, 2), torch.nan))


OLD = {  # what the version before mixed tables wrote
    "kind": "gaussian",
    "width": 2,
    "low": None,
    "high": None,
    "offset": [1.5, 2.0],
    "scale": [0.5, 1.0],
    "categories": None,
    "shape": None,
    "columns": ["a", "b"],
    "dtype": "float64",
}


def test_old_json_loads_and_is_written_as_it_was():
    schema = Schema.from_json(OLD)
    assert schema == Schema.infer(np.array([[1.0, 1.0], [2.0, 3.0]]), kind="gaussian", columns=["a", "b"])
    assert json.loads(json.dumps(schema.to_json())) == OLD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": None}, "a schema of kind 'mixed' has parts"),
        ({"kind": "gaussian"}, "a schema of kind 'mixed' has parts, and no other does"),
        ({"parts": SCHEMA.to_json()["parts"][:-1]}, r"parts speak of the columns \[0, 3, 4, 5, 1, 2\], but X has 7 columns"),
        ({"dtypes": ["bool"]}, "dtypes has 1 entries, but X has 7 columns"),
    ],
)
def test_damaged_json_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Schema.from_json({**SCHEMA.to_json(), **change})


MANY = np.array([[f"name {i}", i % 2] for i in range(MAX_TEXTS + 1)], dtype=object)


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (
            TABLE,
            {"kinds": {"hight": "real"}, "columns": NAMES},
            "kinds names the column 'hight', which X does not have; did you mean 'height'",
        ),
        (TABLE, {"kinds": {9: "real"}}, "kinds names the column 9, .*expected a column's name, or its number from 0 to 6"),
        (TABLE, {"kinds": {0: "normal"}}, r"kinds\[0\]='normal': expected 'auto' or one of binary, categorical, real, positive"),
        (TABLE, {"kinds": ["real"]}, "kinds has 1 entries for 7 columns"),
        (TABLE, {"kinds": "real"}, "kinds='real': expected a kind for each column"),
        (TABLE, {"kind": ["real"] * 7, "kinds": {0: "real"}}, "say the same thing twice"),
        (TABLE, {"kind": "gaussian", "kinds": {0: "real"}}, "is for a mixed table, and kind='gaussian' is for all columns"),
        (TABLE, {"low": 0}, "low=0 speaks of all columns"),
        (TABLE, {"shape": (7,)}, r"shape=\(7,\) speaks of all columns"),
        (TABLE, {"kinds": {0: "real"}}, r"X\[0, 0\] \(column 0\) is 'y'; expected numbers"),
        (TABLE, {"kinds": {4: "binary"}, "columns": NAMES}, r"column 'colour' has 3 different values \('blue', 'green', 'red'\); a binary"),
        (TABLE, {"kinds": {2: "positive"}}, r"X\[2, 2\] \(column 2\) is -0\.25; such a column holds zero or more"),
        (TABLE, {"kinds": {2: "categorical"}}, r"X\[0, 2\] \(column 2\) is 1\.5; a category is a whole number or text"),
        (np.array([[1, 2], [1, 3]]), {}, "X: column 0 has the one category 1 in every row; leave it out"),
        (np.array([["a", 1], ["b", None]], dtype=object), {}, r"X\[1, 1\] \(column 1\) is None; fill it"),
        (np.array([[1.5, 1], [2.5, np.nan]]), {}, r"X\[1, 1\] \(column 1\) is NaN; fill it"),
        (np.array([[1, None], [0, None]], dtype=object), {"allow_missing": True}, "X: column 1 has no observed value; leave it out"),
        (
            np.array([[0, "a"], [1, 3]], dtype=object),
            {},
            r"X\[1, 1\] \(column 1\) is 3; a column holds numbers or text, and this one holds both",
        ),
        (np.array([[0, "a"], [1, {}]], dtype=object), {}, r"X\[1, 1\] \(column 1\) is {}; expected a number or text"),
        (np.array([[0.5, 1], [np.inf, 0]]), {}, r"X\[1, 0\] \(column 0\) is inf; replace it by a finite number"),
        (MANY, {}, "X: column 0 is text with more than 100 different values, which looks like a name"),
        (np.zeros((3, 2), complex), {}, "X is of type complex128: expected numbers"),
        (pandas.DataFrame({"t": pandas.to_datetime(["2020-01-01", "2021-01-01"])}), {}, "X: column 't' is of type datetime64"),
    ],
)
def test_infer_refusals(X, options, message):
    with pytest.raises(ValueError, match=message):
        Schema.infer(X, **{"kind": "mixed", **options})


def test_names_by_the_hundred_are_categories_when_said_so():
    assert Schema.infer(MANY, kind={0: "categorical"}).size == MAX_TEXTS + 2


@pytest.mark.parametrize(
    ("place", "cell", "message"),
    [
        (0, "?", r"X\[1, 0\] \(column 'vote'\) is '\?', which was not among its categories 'n', 'y'"),
        (1, np.inf, r"X\[1, 1\] \(column 'age'\) is inf"),
        (1, "old", r"X\[1, 1\] \(column 'age'\) is 'old'; expected numbers"),
        (3, None, r"X\[1, 3\] \(column 'adult'\) is None; fill it"),
        (4, "pink", r"X\[1, 4\] \(column 'colour'\) is 'pink', which was not among its categories 'blue', 'green', 'red'"),
        (5, 2, r"X\[1, 5\] \(column 'children'\) is 2, which was not among its categories 0, 1, 3"),
        (6, -1.0, r"X\[1, 6\] \(column 'spent'\) is -1; such a column holds zero or more"),
        (6, np.nan, r"X\[1, 6\] \(column 'spent'\) is NaN; fill it"),
    ],
)
def test_encode_names_the_cell_in_the_whole_table(place, cell, message):
    X = TABLE.copy()
    X[1, place] = cell
    with pytest.raises(ValueError, match=message):
        SCHEMA.encode(X)


def test_a_row_of_another_type_in_a_later_block_is_refused(monkeypatch):
    monkeypatch.setattr(numeric, "_BLOCK_CELLS", 2)
    X = np.array([["a"], ["b"], ["a"], ["b"], [3]], dtype=object)
    with pytest.raises(ValueError, match=r"X\[4, 0\] \(column 0\) is 3; a category is a whole number or text"):
        Schema.infer(X, kind="categorical")
    with pytest.raises(ValueError, match=r"X\[4, 0\] \(column 0\) is 3; a column holds numbers or text"):
        Schema.infer(X, kind="mixed")


@pytest.mark.parametrize("name", ["house-votes", "dna"])
def test_real_tables_survive_the_trip(data_folder, name):
    from equilibria.data import load

    data = load(name, split="all")
    schema = Schema.infer(data.values, kind="mixed", columns=data.columns, allow_missing=True)
    assert [layer.name for layer in schema.layers] == ["binary"]
    assert schema.size == data.values.shape[1]
    values, mask = schema.encode_masked(data.values)
    decoded, seen = schema.decode(values), np.ones(data.values.shape, bool) if mask is None else mask.numpy()
    assert (~seen).sum() == {"house-votes": 392, "dna": 0}[name]
    assert (decoded[seen] == data.values[seen]).all()
    assert decoded.dtype == data.values.dtype
    assert all(cell is None for cell in itertools.islice(data.values[~seen], 400))
