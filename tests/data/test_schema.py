"""The schema: every kind there and back, what "auto" picks, and the sentence for each bad table."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from equilibria.data import Schema, numeric

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (40, 6), np.uint8)
REALS = RNG.normal([5, -300, 0.01], [2, 50, 1e-4], (200, 3))
CODES = RNG.integers(3, 7, (60, 4))

EXAMPLES = {
    "greys": (BYTES, {"low": 0, "high": 255}),
    "probabilities": (RNG.random((10, 4)), {}),
    "truth": (RNG.random((10, 4)) < 0.5, {}),
    "gaussian": (REALS, {"kind": "gaussian"}),
    "gaussian bytes": (BYTES, {"kind": "gaussian"}),
    "real": (REALS.astype(np.float32), {"kind": "real"}),
    "picture": (BYTES, {"kind": "picture", "shape": (2, 3)}),
    "picture of floats": (REALS, {"kind": "picture", "columns": ["a", "b", "c"]}),
    "codes": (CODES, {"kind": "categorical"}),
    "codes as floats": (CODES.astype(np.float32), {"kind": "categorical"}),
    "text": (np.array([["y", "no"], ["n", "yes"], ["y", "?"]]), {"kind": "categorical"}),
    "objects": (np.array([["y", 3], ["n", 1], ["y", 2]], dtype=object), {"kind": "categorical"}),
}
each_example = pytest.mark.parametrize(("X", "options"), EXAMPLES.values(), ids=EXAMPLES.keys())


@each_example
def test_decode_undoes_encode(X, options):
    schema = Schema.infer(X, **options)
    decoded = schema.decode(schema.encode(X, torch.float64))
    assert decoded.dtype == X.dtype
    assert decoded.shape == X.shape
    if X.dtype.kind == "f":
        np.testing.assert_allclose(decoded, X, rtol=1e-6 if X.dtype == np.float32 else 1e-12, atol=1e-12)
    else:
        assert (decoded == X).all()


@each_example
def test_json_gives_back_the_same_schema(X, options):
    schema = Schema.infer(X, **options)
    again = Schema.from_json(json.loads(json.dumps(schema.to_json(), allow_nan=False)))
    assert again == schema
    assert torch.equal(again.encode(X), schema.encode(X))


@each_example
def test_rows_encode_alike_alone_and_together(X, options):
    schema = Schema.infer(X, **options)
    whole = schema.encode(X)
    assert whole.dtype == torch.float32
    assert whole.shape == (len(X), schema.size)
    assert torch.equal(schema.encode(X[2:3]), whole[2:3])


@each_example
def test_the_sentence_names_the_type(X, options):
    sentence = Schema.infer(X, **options).describe()
    assert sentence.endswith(f"given back as {Schema.infer(X, **options).dtype}.")
    assert "\n" not in sentence


@each_example
def test_blocks_do_not_show(X, options, monkeypatch):
    schema = Schema.infer(X, **options)
    encoded = schema.encode(X)
    monkeypatch.setattr(numeric, "_BLOCK_CELLS", 2 * X.shape[1])
    assert torch.equal(schema.encode(X), encoded)
    blocked = Schema.infer(X, **options)
    assert torch.allclose(blocked.encode(X), encoded, atol=1e-5)


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian", "categorical"])
def test_tensors_are_as_good_as_arrays(kind):
    X = (CODES > 4).astype(np.float32)
    schema = Schema.infer(X, kind=kind)
    assert Schema.infer(torch.from_numpy(X), kind=kind) == schema
    assert torch.equal(schema.encode(torch.from_numpy(X)), schema.encode(X))


def test_bfloat16_comes_back_as_float32():
    schema = Schema.infer(torch.tensor([[0.5], [1.0]], dtype=torch.bfloat16))
    assert schema.dtype == "float32"
    assert schema.encode(torch.tensor([[0.5]], dtype=torch.bfloat16)).tolist() == [[0.5]]


def test_greys_are_probabilities():
    schema = Schema.infer(BYTES, low=0, high=255)
    assert schema.kind == "bernoulli"
    np.testing.assert_allclose(schema.encode(BYTES), BYTES / 255, rtol=1e-6)


def test_pictures_span_minus_one_to_one():
    schema = Schema.infer(BYTES, kind="picture")
    assert (schema.low, schema.high) == (0, 255)
    np.testing.assert_allclose(schema.encode(BYTES), BYTES / 127.5 - 1, atol=1e-6)
    assert schema.encode(np.array([[0, 255, 0, 0, 0, 0]], np.uint8))[0, :2].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (np.array([[0.2], [0.9]]), (0, 1)),
        (np.array([[-3.0], [5.0]]), (-3, 5)),
        (np.array([[2], [16]]), (2, 16)),
        (np.array([[3]], np.uint8), (0, 255)),
    ],
)
def test_the_usual_range_of_pictures(X, expected):
    schema = Schema.infer(X, kind="picture")
    assert (schema.low, schema.high) == expected


@pytest.mark.parametrize("kind", ["gaussian", "real"])
def test_standardising(kind):
    X = np.column_stack([REALS, np.full(200, 0.1)])  # a constant that no float holds exactly
    schema = Schema.infer(X, kind=kind)
    assert schema.offset is not None
    assert schema.scale is not None
    np.testing.assert_allclose(schema.offset, X.mean(0), rtol=1e-12)
    np.testing.assert_allclose(schema.scale[:3], X[:, :3].std(0), rtol=1e-10)
    assert schema.scale[3] == 1
    encoded = schema.encode(X, torch.float64)
    assert (encoded[:, 3] == 0).all()
    np.testing.assert_allclose(encoded[:, :3].std(0, correction=0), 1, rtol=1e-10)


@pytest.mark.parametrize("unit", [1e300, 1e-300])
def test_a_spread_that_float64_cannot_square_is_refused(unit):
    rows = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 3.0]]) * [1.0, unit]
    with pytest.raises(ValueError, match=r"X: column 1 .*holds values from 0 to 3e.*give it in another unit"):
        Schema.infer(rows, kind="real")


def test_a_large_offset_keeps_its_digits():
    X = 1.7e9 + np.arange(5.0)[:, None] / 8
    encoded = Schema.infer(X, kind="real").encode(X)
    np.testing.assert_allclose(encoded[:, 0], (np.arange(5) - 2) / np.arange(5).std(), rtol=1e-6)


@pytest.mark.parametrize(
    ("X", "options", "kind"),
    [
        (np.array([[0, 1], [1, 0]]), {}, "bernoulli"),
        (np.array([[0.0, 0.5]]), {}, "bernoulli"),
        (np.array([[0.0, 1.5]]), {}, "gaussian"),
        (np.array([[-0.1, 1.0]]), {}, "gaussian"),
        (np.array([[0, 200]]), {"low": 0, "high": 255}, "bernoulli"),
        (np.array([[0, 16]]), {"high": 16}, "bernoulli"),
        (np.array([[0, 300]]), {"low": 0, "high": 255}, "gaussian"),
    ],
)
def test_auto(X, options, kind):
    assert Schema.infer(X, **options).kind == kind


def test_categories_become_sorted_one_hot_groups():
    X = np.array([["b", "x"], ["a", "y"], ["c", "x"]])
    schema = Schema.infer(X, kind="categorical", columns=["p", "q"])
    assert schema.categories == (("a", "b", "c"), ("x", "y"))
    assert schema.size == 5
    assert schema.encode(X).tolist() == [[0, 1, 0, 1, 0], [1, 0, 0, 0, 1], [0, 0, 1, 1, 0]]
    scores = torch.tensor([[0.2, 0.1, 0.7, 0.9, 0.1]])
    assert schema.decode(scores).tolist() == [["c", "x"]]


def test_whole_numbers_are_rounded_and_clipped():
    decoded = Schema("gaussian", 3, offset=(250.0,) * 3, scale=(10.0,) * 3, dtype="uint8").decode(torch.tensor([[0.06, 3.0, -40.0]]))
    assert decoded.dtype == np.uint8
    assert decoded.tolist() == [[251, 255, 0]]
    assert Schema("bernoulli", 2, 0.0, 16.0, dtype="uint8").decode(torch.tensor([[1.2, -0.2]])).tolist() == [[16, 0]]
    assert Schema("gaussian", 1, 0.0, 16.0, offset=(8.0,), scale=(4.0,), dtype="int64").decode(torch.tensor([[9.0]])).tolist() == [[16]]
    assert Schema("bernoulli", 3, 0.0, 1.0, dtype="bool").decode(torch.tensor([[0.7, 0.2, 1.0]])).tolist() == [[True, False, True]]


def test_missing_values_are_kept_where_they_are_allowed():
    X = np.array([[0.0, np.nan], [1.0, 0.5], [np.nan, 0.25]])
    for kind in ("bernoulli", "picture", "gaussian"):
        schema = Schema.infer(X, kind=kind, allow_missing=True)
        encoded = schema.encode(X, torch.float64, allow_missing=True)
        assert (encoded.isnan().numpy() == np.isnan(X)).all()
        np.testing.assert_allclose(schema.decode(encoded), X, atol=1e-12)
    schema = Schema.infer(X, kind="gaussian", allow_missing=True)
    assert schema.offset == (0.5, 0.375)
    assert schema.scale == (0.5, 0.125)


@pytest.mark.parametrize(
    "X",
    [
        np.array([[1.0, 5.0], [np.nan, 6.0], [2.0, np.nan]]),
        np.array([["a", "u"], [None, "v"], ["b", float("nan")]], dtype=object),
    ],
)
def test_missing_categories_are_a_group_of_nan(X):
    schema = Schema.infer(X, kind="categorical", allow_missing=True)
    assert schema.size == 4
    encoded = schema.encode(X, allow_missing=True)
    assert encoded[0].tolist() == [1, 0, 1, 0]
    assert encoded[1, :2].isnan().all()
    assert encoded[1, 2:].tolist() == [0, 1]
    assert encoded[2, :2].tolist() == [0, 1]
    assert encoded[2, 2:].isnan().all()


def test_a_row_with_nothing_observed_encodes():
    text = Schema.infer(np.array([["a"], ["b"]]), kind="categorical")
    assert text.encode(np.array([[None]], dtype=object), allow_missing=True).isnan().all()
    greys = Schema.infer(np.array([[0.0], [1.0]]))
    assert greys.encode(np.array([[np.nan]]), allow_missing=True).isnan().all()


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (np.zeros(3), {}, r"X has shape \(3,\): expected \(rows, columns\); flatten pictures"),
        (np.zeros((0, 3)), {}, r"X has shape \(0, 3\): expected at least one row and one column"),
        (np.zeros((3, 0)), {}, r"X has shape \(3, 0\)"),
        (np.zeros((2, 2), complex), {}, "X is of type complex128: expected numbers"),
        (np.array([["1", "2"]]), {}, r"X\[0, 0\] \(column 0\) is .*'1'.*; expected numbers .*units=\"categorical\""),
        (np.array([[1, 2], [3, "x"]], dtype=object), {"columns": ["p", "q"]}, r"X\[1, 1\] \(column 'q'\) is 'x'; expected numbers"),
        (np.array([[1.0, 2.0], [3.0, np.nan]]), {}, r"X\[1, 1\] \(column 1\) is NaN; fill it, or leave the row out"),
        (np.array([[1.0, -np.inf]]), {"columns": ["p", "q"]}, r"X\[0, 1\] \(column 'q'\) is -inf; replace it"),
        (np.array([[1.0, np.nan], [np.inf, 0]]), {"allow_missing": True}, r"X\[1, 0\] \(column 0\) is inf"),
        (np.array([[1.0, np.nan]]), {"kind": "gaussian", "allow_missing": True}, r"X: column 1 has no observed value; leave it out"),
        (np.array([[np.nan]]), {"allow_missing": True}, "X has no observed value"),
        (BYTES, {"kind": "bernoulli"}, rf'X holds values from {BYTES.min()} to {BYTES.max()}, outside 0 to 1; .*or units="gaussian"'),
        (BYTES, {"kind": "picture", "high": 3}, "outside 0 to 3"),
        (BYTES, {"kind": "normal"}, "kind='normal': expected 'auto' or one of bernoulli, gaussian, categorical, real, picture"),
        (BYTES, {"low": 3, "high": 3}, "low=3, high=3: expected finite numbers, the first below the second"),
        (REALS, {"kind": "real", "low": 0, "high": np.inf}, "low=0, high=inf: expected finite numbers"),
        (np.ones((3, 2)) * 7, {"kind": "picture"}, "low=7, high=7: expected finite numbers"),
        (BYTES, {"shape": (2, 2)}, r"shape=\(2, 2\) has 4 values, but X has 6 columns"),
        (BYTES, {"columns": ["a"]}, "columns has 1 names, but X has 6 columns"),
        (np.array([[1.0], [0.5]]), {"kind": "categorical"}, r"X\[1, 0\] \(column 0\) is 0\.5; a category is a whole number or text"),
        (
            np.array([["a"], [3]], dtype=object),
            {"kind": "categorical"},
            r"X\[0, 0\] \(column 0\) is 'a'; a category is a whole number or text",
        ),
        (np.array([[1.0], [np.inf]]), {"kind": "categorical"}, r"X\[1, 0\] \(column 0\) is inf"),
        (np.array([[1.0], [np.nan]]), {"kind": "categorical"}, r"X\[1, 0\] \(column 0\) is NaN; fill it"),
        (np.array([["a"], [None]], dtype=object), {"kind": "categorical"}, r"X\[1, 0\] \(column 0\) is None; fill it"),
        (np.array([[None]], dtype=object), {"kind": "categorical", "allow_missing": True}, "X: column 0 has no observed value"),
    ],
)
def test_infer_refusals(X, options, message):
    with pytest.raises(ValueError, match=message):
        Schema.infer(X, **options)


GREYS = Schema.infer(np.array([[0.0, 1.0], [1.0, 0.0]]))
VOTES = Schema.infer(np.array([["y", "n"], ["n", "y"]]), kind="categorical", columns=["tax", "war"])
NUMBERED = Schema.infer(np.array([[1, 2], [3, 4]]), kind="categorical")


@pytest.mark.parametrize(
    ("schema", "X", "message"),
    [
        (GREYS, np.zeros((2, 3)), "X has 3 columns; the schema was made from data with 2"),
        (GREYS, np.array([[0.0, 1.0], [0.5, 2.5]]), r'X holds values from 0 to 2\.5, outside 0 to 1; scale them.*units="gaussian"'),
        (GREYS, np.array([[0.0, 1.0], [np.nan, 0.5]]), r"X\[1, 0\] \(column 0\) is NaN"),
        (GREYS, np.array([[0, 7]], np.uint8), "X holds values from 0 to 7, outside 0 to 1"),
        (VOTES, np.array([["y", "n"], ["y", "?"]]), r"X\[1, 1\] \(column 'war'\) is '\?', which was not among its categories 'n', 'y'"),
        (VOTES, np.array([[1, 2]]), r"X\[0, 0\] \(column 'tax'\) is 1, which was not among"),
        (VOTES, np.array([["y", None]], dtype=object), r"X\[0, 1\] \(column 'war'\) is None; fill it"),
        (NUMBERED, np.array([[1, 3]]), r"X\[0, 1\] \(column 1\) is 3, which was not among its categories 2, 4"),
        (NUMBERED, np.array([[9, 2]]), r"X\[0, 0\] \(column 0\) is 9, which was not among its categories 1, 3"),
    ],
)
def test_encode_refusals(schema, X, message):
    with pytest.raises(ValueError, match=message):
        schema.encode(X)


def test_the_named_row_counts_from_the_start(monkeypatch):
    monkeypatch.setattr(numeric, "_BLOCK_CELLS", 4)
    X = np.zeros((9, 2))
    X[7, 1] = np.nan
    for make in (Schema.infer, GREYS.encode):
        with pytest.raises(ValueError, match=r"X\[7, 1\]"):
            make(X)
    with pytest.raises(ValueError, match=r"X\[8, 0\] \(column 'tax'\) is 'q'"):
        VOTES.encode(np.array([["y", "y"]] * 8 + [["q", "y"]]))


def test_decode_refusals():
    with pytest.raises(ValueError, match=r"values has shape \(2, 3\): expected \(n, 2\)"):
        GREYS.decode(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="values holds NaN or inf, which the data's type uint8 cannot"):
        Schema("bernoulli", 1, 0.0, 255.0, dtype="uint8").decode(torch.tensor([[torch.nan]]))


def test_a_foreign_kind_in_a_file_is_refused():
    with pytest.raises(ValueError, match="kind='quantum': expected one of"):
        Schema.from_json({"kind": "quantum", "width": 3})


def test_a_memory_map_is_read_without_a_warning(tmp_path):
    np.save(tmp_path / "a.npy", BYTES)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    schema = Schema.infer(mapped, low=0, high=255)
    assert torch.equal(schema.encode(mapped), schema.encode(BYTES))


def test_the_caller_keeps_its_data():
    X = REALS.astype(np.float32)
    before, tensor = X.copy(), torch.from_numpy(X.copy())
    schema = Schema.infer(X, kind="real")
    schema.encode(X)
    schema.encode(tensor)
    assert (before == X).all()
    assert (tensor.numpy() == before).all()
