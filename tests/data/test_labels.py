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
    "large": ([2**63 + 1, None, 10**20], None, [2**63 + 1, 10**20], [0, -1, 1]),
    "a tensor": (torch.tensor([4, 2]), None, [2, 4], [1, 0]),
    "category": (pandas.Series(pandas.Categorical(["b", "a"])), None, ["a", "b"], [1, 0]),
}
each_example = pytest.mark.parametrize(
    ("y", "mark", "classes", "codes"), EXAMPLES.values(), ids=EXAMPLES.keys()
)


@each_example
def test_codes_are_places_among_the_classes(y, mark, classes, codes):
    coding = LabelCoding.infer(y, mark)
    again = LabelCoding.from_json(json.loads(json.dumps(coding.to_json(), allow_nan=False)))
    assert again.classes.dtype == coding.classes.dtype
    for one in (coding, again):
        assert one.classes.tolist() == classes
        assert one.encode(y).dtype == np.int64
        assert one.encode(y).tolist() == codes


def test_the_labels_own_type_is_kept():
    for dtype in ["int8", "int64", "float32", "bool", "uint64"]:
        y = np.array([1, 0, 1, 1], dtype)
        coding = LabelCoding.infer(y)
        assert coding.classes.dtype == dtype
        assert (coding.classes[coding.encode(y)] == y).all()


def test_classes_are_sorted():
    for seed in range(3):
        n = 200
        y = Stream(seed).child("y").integers((n,), 30).numpy() - 11
        holes = Stream(seed).child("holes").uniform((n,)).numpy() < 0.2
        labels = np.where(holes, None, y)
        coding = LabelCoding.infer(labels)
        assert (coding.classes == np.unique(y[~holes])).all()
        codes = coding.encode(labels)
        assert ((codes == -1) == holes).all()
        assert (coding.classes[codes[~holes]] == y[~holes]).all()


def test_a_text_class_named_nan_is_a_class():
    assert LabelCoding.infer(["nan", None, "a"]).encode(["nan", None]).tolist() == [1, -1]


def test_all_labels_may_be_missing_later():
    coding = LabelCoding.infer(["a", "b"])
    assert coding.encode([None, None]).tolist() == [-1, -1]
    assert coding.encode(np.array([np.nan])).tolist() == [-1]


def test_a_column_is_taken_with_scikit_learns_warning():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        assert LabelCoding.infer(np.array([[1], [2]])).classes.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0.5, 1.0, 2.0], r"Unknown label type: continuous\. y holds 0\.5: expected classes"),
        (np.array([0.0, 1.0, np.inf]), r"Unknown label type: continuous\. y holds inf"),
        (
            ["a", 1],
            "Unknown label type: y holds both numbers and text",
        ),
        ([{}, {}], "Unknown label type: y holds {}; expected a number or text"),
        (np.array([1j, 2j]), "Complex data not supported"),
        ([1, 1, None], "y has only one class, 1; expected at least two classes"),
        (np.full(3, np.nan), "y has no label that is not missing"),
        (np.zeros((2, 2)), r"y should be a 1d array, got an array of shape \(2, 2\) instead"),
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
