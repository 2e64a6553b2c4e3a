"""Labels to codes and back, in every type, and the sentence for what are no classes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.exceptions import DataConversionWarning

from equilibria.data import LabelCoding
from equilibria.random import Stream

pandas = pytest.importorskip("pandas")

EXAMPLES = {
    "ints": (np.array([3, 1, 3, 7]), None, [1, 3, 7], [1, 0, 1, 2]),
    "bytes": (np.array([3, 1, 3, 7], np.uint8), None, [1, 3, 7], [1, 0, 1, 2]),
    "truth": (np.array([True, False]), None, [False, True], [1, 0]),
    "text": (np.array(["b", "a", "b"]), None, ["a", "b"], [1, 0, 1]),
    "text as objects": (np.array(["b", None, "a"], dtype=object), None, ["a", "b"], [1, -1, 0]),
    "a list of text": (["b", None, "a", float("nan")], None, ["a", "b"], [1, -1, 0, -1]),
    "a list of ints": ([2, None, 1], None, [1, 2], [1, -1, 0]),
    "floats": (np.array([2.0, np.nan, 1.0]), None, [1.0, 2.0], [1, -1, 0]),
    "minus one": (np.array([2, -1, 1, -1]), -1, [1, 2], [1, -1, 0, -1]),
    "minus one as a float": (np.array([2.0, -1.0, np.nan, 1.0]), -1, [1.0, 2.0], [1, -1, -1, 0]),
    "question mark": (np.array(["b", "?", "a"]), "?", ["a", "b"], [1, -1, 0]),
    "text among numbers": ([2, "?", 1], "?", [1, 2], [1, -1, 0]),
    "NaN as the mark": (np.array([2.0, np.nan, 1.0]), np.nan, [1.0, 2.0], [1, -1, 0]),
    "series": (pandas.Series(["b", None, "a"]), None, ["a", "b"], [1, -1, 0]),
    "nullable": (pandas.Series([2, None, 1], dtype="Int64"), None, [1, 2], [1, -1, 0]),
    "category": (pandas.Series(pandas.Categorical(["b", "a"])), None, ["a", "b"], [1, 0]),
}
each_example = pytest.mark.parametrize(
    ("y", "mark", "classes", "codes"), EXAMPLES.values(), ids=EXAMPLES.keys()
)


@each_example
def test_codes_and_back(y, mark, classes, codes):
    coding = LabelCoding.infer(y, mark)
    assert coding.classes.tolist() == classes
    encoded = coding.encode(y)
    assert encoded.dtype == np.int64
    assert encoded.tolist() == codes
    seen = encoded >= 0
    assert coding.decode(encoded[seen]).tolist() == [
        label for label, there in zip(np.asarray(y, dtype=object), seen, strict=True) if there
    ]
    assert coding.decode(encoded[seen]).dtype == coding.classes.dtype


@each_example
def test_json_gives_back_the_same_coding(y, mark, classes, codes):
    coding = LabelCoding.infer(y, mark)
    again = LabelCoding.from_json(json.loads(json.dumps(coding.to_json(), allow_nan=False)))
    assert again.classes.dtype == coding.classes.dtype
    assert again.classes.tolist() == classes
    assert again.encode(y).tolist() == codes


@pytest.mark.parametrize("dtype", ["int8", "int64", "float32", "float64", "bool"])
def test_the_labels_own_type_comes_back(dtype):
    y = np.array([1, 0, 1, 1], dtype)
    coding = LabelCoding.infer(y)
    assert coding.classes.dtype == dtype
    assert (coding.decode(coding.encode(y)) == y).all()


@pytest.mark.parametrize("seed", range(10))
def test_codes_are_places_among_sorted_classes(seed):
    n = 200
    y = Stream(seed).child("y").integers((n,), 30).numpy() - 11
    holes = Stream(seed).child("holes").uniform((n,)).numpy() < 0.2
    labels = np.where(holes, None, y)
    coding = LabelCoding.infer(labels)
    assert (coding.classes == np.unique(y[~holes])).all()
    codes = coding.encode(labels)
    assert ((codes == -1) == holes).all()
    assert (coding.classes[codes[~holes]] == y[~holes]).all()


def test_missing_codes_become_the_mark():
    codes = np.array([0, -1])
    assert LabelCoding.infer(["a", "b"]).decode(codes).tolist() == ["a", None]
    assert LabelCoding.infer(["a", "b"], "unknown").decode(codes).tolist() == ["a", "unknown"]
    assert LabelCoding.infer([1, 2], -1).decode(codes).tolist() == [1, -1]
    assert LabelCoding.infer([1, 2, "?"], "?").decode(codes).tolist() == [1, "?"]
    decoded = LabelCoding.infer(np.array([1.0, 2.0])).decode(codes)
    assert decoded.dtype == np.float64
    assert np.isnan(decoded[1])
    with pytest.raises(
        ValueError,
        match="codes holds −1, and labels of type int64 have no value for a missing one",
    ):
        LabelCoding.infer([1, 2]).decode(codes)


def test_a_text_class_named_nan_is_a_class():
    assert LabelCoding.infer(["nan", None, "a"]).encode(["nan", None]).tolist() == [1, -1]


def test_all_labels_may_be_missing_later():
    coding = LabelCoding.infer(["a", "b"])
    assert coding.encode([None, None]).tolist() == [-1, -1]
    assert coding.encode(np.array([np.nan])).tolist() == [-1]


def test_tensors_are_labels_too():
    assert LabelCoding.infer(torch.tensor([4, 2])).encode(torch.tensor([2, 4])).tolist() == [0, 1]


def test_a_column_is_taken_with_scikit_learns_warning():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        assert LabelCoding.infer(np.array([[1], [2]])).classes.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0.5, 1.0, 2.0], r"Unknown label type: continuous\. y holds 0\.5: expected classes"),
        (np.array([0.5, 1.0], dtype=object), "Unknown label type: continuous"),
        (np.array([0.0, 1.0, np.inf]), r"Unknown label type: continuous\. y holds inf"),
        (
            ["a", 1],
            "Unknown label type: y holds int and str; expected whole numbers, truth values or text",
        ),
        ([{}, {}], "Unknown label type: y holds dict"),
        (np.array([1j, 2j]), "Unknown label type: y holds complex128"),
        ([1, 1, None], "y has only one class, 1; expected at least two classes"),
        (["a", "a"], "y has only one class, 'a'"),
        ([None, None], "y has no label that is not missing"),
        (np.full(3, np.nan), "y has no label that is not missing"),
        (np.zeros((2, 2)), r"y should be a 1d array, got an array of shape \(2, 2\) instead"),
        (3, r"y should be a 1d array, got an array of shape \(\) instead"),
    ],
)
def test_infer_refusals(y, message):
    with pytest.raises(ValueError, match=message):
        LabelCoding.infer(y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([None, "a", "x"], r"y\[2\] is 'x', which is not among the classes 'a', 'b'"),
        ([3], r"y\[0\] is 3, which is not among the classes 'a', 'b'"),
    ],
)
def test_encode_refusals(y, message):
    with pytest.raises(ValueError, match=message):
        LabelCoding.infer(["a", "b"]).encode(y)


@pytest.mark.parametrize("codes", [[2], [-2], [0.0]])
def test_decode_refusals(codes):
    with pytest.raises(
        ValueError, match="codes: expected whole numbers from 0 to 1, or −1 for a missing label"
    ):
        LabelCoding.infer(["a", "b"]).decode(np.array(codes))
