"""Data by name and by path, and each refusal's sentence."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from equilibria.data import Data, bars_and_stripes, load, names
from equilibria.data.load import SPLITS


def test_every_name_has_a_line():
    assert set(names()) == {"digits", "mnist", "fashion-mnist", "ring", "grid", "bars", "house-votes", "dna"}
    assert all(line and "\n" not in line for line in names().values())


def test_digits_are_scikit_learns():
    digits, (values, labels) = load("digits", split="all"), load_digits(return_X_y=True)
    assert (digits.values == values).all()
    assert digits.labels is not None
    assert (digits.labels == labels).all()
    assert (digits.shape, digits.low, digits.high, digits.values.dtype) == ((8, 8), 0, 16, np.uint8)


def test_digits_split_is_stratified_and_complete():
    train, test, everything = (load("digits", split=split) for split in SPLITS)
    assert (len(train), len(test), len(everything)) == (1437, 360, 1797)
    assert train.labels is not None
    assert test.labels is not None
    shares = np.bincount(test.labels) - 360 * np.bincount(load_digits().target) / 1797
    assert (np.abs(shares) < 1).all()
    together = np.concatenate([train.values, test.values])
    assert sorted(map(bytes, together)) == sorted(map(bytes, everything.values))


def test_digits_split_never_changes():
    assert load("digits").digest() == load("digits").digest() == "c0f67aacc1961ebc9714b881063d90ddc2b5c7a1e57c9d7d829453bc4ebfa455"


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_toy_sets_have_their_density(name):
    train, test = load(name), load(name, split="test")
    assert train.values.shape == (100_000, 2)
    assert test.values.shape == (20_000, 2)
    assert train.density is not None
    assert (load(name, split="all").values == np.concatenate([train.values, test.values])).all()
    assert not (train.values[:20_000] == test.values).all(1).any()
    distances = np.linalg.norm(test.values[:, None] - train.density.centres, axis=-1).min(1)
    # χ² of two degrees: P(distance > 7.5 std) = exp(−28), so a false alarm in 20,000 points is below 1e-6
    assert distances.max() < 7.5 * train.density.std
    assert train.digest() == load(name).digest() != test.digest()


def test_bars_are_the_thirty_patterns_in_every_split():
    for split in SPLITS:
        bars = load("bars", split=split)
        assert (bars.values == bars_and_stripes(4)).all()
        assert (bars.shape, bars.low, bars.high) == ((4, 4), 0, 1)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_mnist_is_whole(data_folder, name):
    train, test = load(name), load(name, split="test")
    assert train.values.shape == (60_000, 784)
    assert test.values.shape == (10_000, 784)
    assert train.values.dtype == np.uint8
    assert (train.shape, train.low, train.high) == ((28, 28), 0, 255)
    assert test.labels is not None
    assert test.labels.dtype == np.int64
    assert np.bincount(test.labels).min() > 800


def test_house_votes_are_text_with_holes(data_folder):
    votes = load("house-votes", split="all")
    assert votes.values.shape == (435, 16)
    assert votes.labels is not None
    assert dict(zip(*np.unique(votes.labels, return_counts=True), strict=True)) == {"democrat": 267, "republican": 168}
    cells = votes.values.ravel().tolist()
    assert (cells.count("y"), cells.count("n"), cells.count(None)) == (3421, 3147, 392)
    assert votes.columns is not None
    assert votes.columns[0] == "handicapped_infants"


def test_dna_is_binary_and_whole(data_folder):
    dna = load("dna", split="all")
    assert dna.values.shape == (3186, 180)
    assert set(np.unique(dna.values)) == {0, 1}
    assert dna.labels is not None
    assert dict(zip(*np.unique(dna.labels, return_counts=True), strict=True)) == {"ei": 767, "ie": 765, "n": 1654}


@pytest.mark.parametrize(("name", "sizes"), [("house-votes", (348, 87, 435)), ("dna", (2549, 637, 3186))])
def test_tables_split_is_stratified_and_complete(data_folder, name, sizes):
    train, test, everything = (load(name, split=split) for split in SPLITS)
    assert (len(train), len(test), len(everything)) == sizes
    assert train.labels is not None
    assert test.labels is not None
    for label in np.unique(everything.labels):
        assert abs((test.labels == label).sum() - sizes[1] / sizes[2] * (everything.labels == label).sum()) < 1
    rows = [repr(row) for part in (train, test) for row in part.values.tolist()]
    assert sorted(rows) == sorted(repr(row) for row in everything.values.tolist())
    assert load(name).digest() == train.digest() != test.digest()


def test_text_in_a_csv_file_on_request(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\nu,1\n,2\n")
    assert load(tmp_path / "a.csv", text=True).values.tolist() == [["u", 1], [None, 2]]
    with pytest.raises(ValueError, match="column 'a' holds the text 'u' in row 1"):
        load(tmp_path / "a.csv")


def test_digest_depends_on_values_labels_types_and_shapes():
    base = Data(np.arange(6).reshape(3, 2), np.array(["a", "b", "c"]))
    others = [
        Data(base.values, np.array(["a", "b", "d"])),
        Data(base.values),
        Data(base.values + 1, base.labels),
        Data(base.values.astype(np.int32), base.labels),
        Data(base.values.reshape(2, 3), base.labels),
        Data(base.values, np.array(["a", None, "c"], dtype=object)),
    ]
    assert len(base) == 3
    assert base.digest() == Data(np.asfortranarray(base.values), base.labels).digest()
    assert len({data.digest() for data in [base, *others]}) == 7
    assert len(base.digest()) == 64


def test_load_csv(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,kind,b\n1,x,2\n3,y,\n")
    data = load(path, label="kind")
    assert data.columns == ("a", "b")
    assert data.labels is not None
    assert data.labels.tolist() == ["x", "y"]
    assert np.array_equal(data.values, [[1, 2], [3, np.nan]], equal_nan=True)
    assert (data.name, data.shape, data.low) == ("t.csv", None, None)


@pytest.mark.parametrize(
    ("array", "shape", "high"),
    [
        (np.zeros((5, 4)), None, None),
        (np.zeros((5, 4), np.uint8), None, None),
        (np.zeros((5, 4), bool), None, 1),
        (np.zeros((5, 4, 3), np.uint8), (4, 3), 255),
        (np.zeros((5, 4, 2, 1), np.uint8), (4, 2), 255),
        (np.zeros((5, 4, 2, 3), np.float32), (4, 2, 3), None),
    ],
)
@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_load_arrays(tmp_path, array, shape, high, kind):
    path = tmp_path / f"a.{kind}"
    np.savez(path, X=array, y=np.arange(5)) if kind == "npz" else np.save(path, array)
    data = load(str(path), split="all")
    assert data.values.shape == (5, array[0].size)
    assert data.values.dtype == array.dtype
    assert (data.shape, data.high) == (shape, high)
    assert data.low == (None if high is None else 0)
    assert (data.labels is None) == (kind == "npy")


def test_npy_stays_on_disk(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(24, dtype=np.uint8).reshape(4, 2, 3))
    values = load(tmp_path / "a.npy").values
    assert isinstance(values, np.memmap)
    assert values.shape == (4, 6)


def test_load_idx_and_folder(tmp_path):
    content = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 2, 3) + bytes(range(12))
    for name, packed in (("a-idx3-ubyte", content), ("b.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(packed)
        data = load(tmp_path / name)
        assert data.values.tolist() == [list(range(6)), list(range(6, 12))]
        assert (data.shape, data.high) == ((2, 3), 255)
    folder = tmp_path / "pictures"
    for label in "ab":
        (folder / label).mkdir(parents=True)
        Image.new("RGB", (4, 6), "red").save(folder / label / "1.png")
    data = load(folder, size=(3, 2), colour="rgb")
    assert data.shape == (3, 2, 3)
    assert data.values.shape == (2, 18)
    assert data.labels is not None
    assert data.labels.tolist() == ["a", "b"]


def test_a_name_wins_over_a_local_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert len(load("digits")) == 1437
    with pytest.raises(ValueError, match="digits: holds no pictures"):
        load("./digits")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("mnits", {}, r"source='mnits': neither a path nor a built-in set \(digits, mnist, .*\); did you mean 'mnist'\?"),
        (
            "zzz",
            {},
            r"source='zzz': neither a path nor a built-in set \(digits, mnist, fashion-mnist, ring, grid, bars, house-votes, dna\)$",
        ),
        ("gone.csv", {}, "source='gone.csv': no such file or folder"),
        ("some/where", {}, "source='some/where': no such file or folder"),
        ("digits", {"split": "valid"}, "split='valid': expected 'train', 'test' or 'all'"),
        ("digits", {"size": 4}, "size=4: applies to a folder of pictures, and digits is a built-in set"),
        ("digits", {"colour": "rgb"}, "colour='rgb': applies to a folder"),
        ("digits", {"label": "y"}, "label='y': names a column of a CSV file, and digits is a built-in set"),
        ("digits", {"text": True}, "text=True: is about the columns of a CSV file, and digits is a built-in set"),
        ("line.npy", {"text": True}, "text=True: is about the columns of a CSV file"),
        ("t.csv", {"split": "test"}, r"split='test': t\.csv has no test part"),
        ("t.csv", {"size": 3}, "size=3: applies to a folder of pictures"),
        ("none.npz", {}, r"none\.npz: its array has shape \(0, 2\); expected at least one row"),
        ("line.npy", {}, r"line\.npy: its array has shape \(4,\); expected \(rows, columns\)"),
        ("line.npy", {"label": "y"}, "label='y': names a column of a CSV file"),
        ("text.npy", {}, r"text\.npy: its array is of type <U1; expected numbers"),
        ("uneven.npz", {}, r"uneven\.npz: has labels of shape \(3,\) for 2 examples"),
        ("notes.txt", {}, r"notes\.txt: unknown kind of file; expected a folder of pictures, \.csv"),
        (".", {"label": "y"}, "label='y': names a column of a CSV file, and . is a folder of pictures"),
    ],
)
def test_load_refusals(tmp_path, monkeypatch, source, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("a\n1\n2\n")
    (tmp_path / "notes.txt").write_text("hello")
    np.savez("none.npz", np.zeros((0, 2)))
    np.save("line.npy", np.zeros(4))
    np.save("text.npy", np.array([["a"], ["b"]]))
    np.savez("uneven.npz", X=np.zeros((2, 2)), y=np.zeros(3))
    with pytest.raises(ValueError, match=message):
        load(source, **options)
