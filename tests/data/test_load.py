"""Data by name and by path, tables in files, held-out rows, and each refusal's sentence."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pandas
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import equilibria
from equilibria.data import (
    Data,
    bars_and_stripes,
    divide,
    load,
    names,
    read_csv,
    read_npy,
    read_npz,
    write_csv,
)
from equilibria.data.files import BINARY_SETS, PARTS

SPLITS = ("train", "test", "all")
COMPLETE = (
    *("nltcs", "plants", "baudio", "jester", "bnetflix", "accidents", "pumsb_star", "debd-dna"),
    *("bbc", "mushrooms", "nips", "moviereview", "voting", "mnist-binary"),
)


def test_every_name_has_a_line():
    assert set(names()) == {
        "digits",
        "mnist",
        "fashion-mnist",
        "ring",
        "grid",
        "bars",
        "house-votes",
        "dna",
        *BINARY_SETS,
    }
    assert len(BINARY_SETS) == 25
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
    assert (
        load("digits").digest()
        == load("digits").digest()
        == "c0f67aacc1961ebc9714b881063d90ddc2b5c7a1e57c9d7d829453bc4ebfa455"
    )


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_toy_sets_have_their_density(name):
    train, test = load(name), load(name, split="test")
    assert train.values.shape == (100_000, 2)
    assert test.values.shape == (20_000, 2)
    assert train.density is not None
    assert (load(name, split="all").values == np.concatenate([train.values, test.values])).all()
    assert not (train.values[:20_000] == test.values).all(1).any()
    distances = np.linalg.norm(test.values[:, None] - train.density.centres, axis=-1).min(1)
    # χ² of two degrees: P(distance > 7.5 std) = exp(−28); a false alarm is below 1e-6
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
    assert dict(zip(*np.unique(votes.labels, return_counts=True), strict=True)) == {
        "democrat": 267,
        "republican": 168,
    }
    cells = votes.values.ravel().tolist()
    assert (cells.count("y"), cells.count("n"), cells.count(None)) == (3421, 3147, 392)
    assert votes.columns is not None
    assert votes.columns[0] == "handicapped_infants"


def test_dna_is_binary_and_whole(data_folder):
    dna = load("dna", split="all")
    assert dna.values.shape == (3186, 180)
    assert set(np.unique(dna.values)) == {0, 1}
    assert dna.labels is not None
    assert dict(zip(*np.unique(dna.labels, return_counts=True), strict=True)) == {
        "ei": 767,
        "ie": 765,
        "n": 1654,
    }


@pytest.mark.parametrize("name", COMPLETE)
def test_binary_sets_are_whole(data_folder, name):
    """Each part is checked by its SHA-256, and has the published rows and columns."""
    width, *rows = BINARY_SETS[name]
    parts = [load(name, split=part) for part in PARTS]
    assert [part.values.shape for part in parts] == [(n, width) for n in rows]
    assert all(set(np.unique(part.values)) == {0, 1} for part in parts)
    assert parts[0].shape == ((28, 28) if name == "mnist-binary" else None)
    assert len(load(name, split="all")) == sum(rows)


@pytest.fixture
def msnbc(tmp_path, monkeypatch):
    """A set that no hash is known of: the folder its files are looked for in, and its rows."""
    monkeypatch.setenv("EQUILIBRIA_DATA", str(tmp_path))
    width, _, rows, _ = BINARY_SETS["msnbc"]
    bits = np.random.default_rng(0).integers(0, 2, (rows, width)).astype(np.uint8)
    folder = tmp_path / "debd" / "msnbc"
    folder.mkdir(parents=True)
    return folder, bits


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_binary_set_is_read_from_its_usual_file(msnbc, ending, packed):
    folder, bits = msnbc
    text = "".join(",".join(map(str, row)) + ending for row in bits.tolist()).encode()
    file = folder / "msnbc.valid.data"
    if packed:
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(text))
    else:
        file.write_bytes(text)
    read = load("msnbc", split="valid")
    assert (read.values == bits).all()
    assert (read.low, read.high, read.values.dtype) == (0, 1, np.uint8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1\n", "found 1 lines with 2 zeros and ones; expected 38843 lines of 17"),
        ("0,2\n", "found other characters"),
    ],
)
def test_a_binary_set_of_another_size_is_refused(msnbc, text, message):
    (msnbc[0] / "msnbc.valid.data").write_text(text)
    with pytest.raises(ValueError, match=message):
        load("msnbc", split="valid")


def test_an_absent_binary_set_says_where_it_is_looked_for(msnbc):
    with pytest.raises(ValueError, match=r"debd/msnbc: msnbc\.test\.data was neither found"):
        load("msnbc", split="test")


def test_a_damaged_binary_set_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("EQUILIBRIA_DATA", str(tmp_path))
    folder = tmp_path / "debd" / "nltcs"
    folder.mkdir(parents=True)
    (folder / "nltcs.train.data").write_text("0,1\n")
    with pytest.raises(ValueError, match="its content has SHA-256"):
        load("nltcs")


def test_sets_without_validation_rows_say_so():
    with pytest.raises(ValueError, match="split='valid': digits has no validation part"):
        load("digits", split="valid")


@pytest.mark.parametrize(
    ("name", "sizes"), [("house-votes", (348, 87, 435)), ("dna", (2549, 637, 3186))]
)
def test_tables_split_is_stratified_and_complete(data_folder, name, sizes):
    train, test, everything = (load(name, split=split) for split in SPLITS)
    assert (len(train), len(test), len(everything)) == sizes
    assert train.labels is not None
    assert test.labels is not None
    for label in np.unique(everything.labels):
        assert (
            abs(
                (test.labels == label).sum()
                - sizes[1] / sizes[2] * (everything.labels == label).sum()
            )
            < 1
        )
    rows = [repr(row) for part in (train, test) for row in part.values.tolist()]
    assert sorted(rows) == sorted(repr(row) for row in everything.values.tolist())
    assert load(name).digest() == train.digest() != test.digest()


def test_text_in_a_csv_file_on_request(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\nu,1\n,2\n")
    data = load(tmp_path / "a.csv", text=True)
    assert data.array().tolist() == [["u", 1], [None, 2]]
    assert [str(dtype) for dtype in data.values.dtypes] == ["str", "int64"]
    assert data.rows(np.array([False, True])).array().tolist() == [[None, 2]]
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


def test_load_arrays(tmp_path):
    for array, shape, high in [
        (np.zeros((5, 4)), None, None),
        (np.zeros((5, 4), np.uint8), None, None),
        (np.zeros((5, 4), bool), None, 1),
        (np.zeros((5, 4, 3), np.uint8), (4, 3), 255),
        (np.zeros((5, 4, 2, 1), np.uint8), (4, 2), 255),
        (np.zeros((5, 4, 2, 3), np.float32), (4, 2, 3), None),
    ]:
        for kind in ("npz", "npy"):
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
        (
            "mnits",
            {},
            r"source='mnits': neither a path nor a built-in set .*; did you mean 'mnist'\?",
        ),
        (
            "zzz",
            {},
            r"source='zzz': neither a path nor a built-in set \(digits, .*, dna, nltcs, .*\)$",
        ),
        ("gone.csv", {}, "source='gone.csv': no such file or folder"),
        ("digits", {"split": "half"}, "split='half': expected 'train', 'valid', 'test' or 'all'"),
        (
            "digits",
            {"size": 4},
            "size=4: applies to a folder of pictures, and digits is a built-in set",
        ),
        (
            "digits",
            {"label": "y"},
            "label='y': names a column of a table, and digits is a built-in set",
        ),
        (
            "digits",
            {"text": True},
            "text=True: is about the columns of a CSV file, and digits is a built-in set",
        ),
        ("t.csv", {"split": "test"}, r"split='test': t\.csv has no test part"),
        ("t.csv", {"size": 3}, "size=3: applies to a folder of pictures"),
        ("none.npz", {}, r"none\.npz: its array has shape \(0, 2\); expected .* and not empty"),
        ("line.npy", {}, r"line\.npy: its array has shape \(4,\); expected \(rows, columns\)"),
        ("text.npy", {}, r"text\.npy: its array is of type <U1; expected numbers"),
        ("uneven.npz", {}, r"uneven\.npz: has labels of shape \(3,\) for 2 examples"),
        (
            "notes.txt",
            {},
            r"notes\.txt: unknown kind of file; expected a folder of pictures, \.csv",
        ),
        (
            ".",
            {"label": "y"},
            "label='y': names a column of a table, and . is a folder of pictures",
        ),
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


def numbered(n: int) -> Data:
    """Rows that hold their own number, with labels that say the same."""
    return Data(
        np.arange(n, dtype=np.int64)[:, None],
        np.arange(n),
        columns=("row",),
        low=0.0,
        high=float(n),
        name="numbers",
    )


def test_every_row_is_in_one_part_in_its_order_and_with_its_label():
    for n, share, held in [(100, 0.1, 10), (7, 0.5, 4), (5, 0.01, 2), (4, 0.5, 2)]:
        train, test = divide(numbered(n), share)
        assert (len(train), len(test)) == (n - held, held)
        rows = [part.values[:, 0].tolist() for part in (train, test)]
        assert sorted(rows[0] + rows[1]) == list(range(n))
        for part, numbers in zip((train, test), rows, strict=True):
            assert numbers == sorted(numbers)
            assert part.labels is not None
            assert part.labels.tolist() == numbers
            assert (part.columns, part.high, part.name) == (("row",), float(n), "numbers")


def test_the_seed_decides() -> None:
    held = [tuple(divide(numbered(1000), 0.1, seed)[1].values[:, 0]) for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_a_share_that_cannot_be_is_refused():
    for n, share, sentence in [
        (10, 0.0, "held_out=0.0: expected a share"),
        (10, 1.0, "held_out=1.0: expected a share"),
        (10, float("nan"), "held_out=nan: expected a share"),
        (100, 0.99, "held_out=0.99 leaves 1 of the 100 rows of numbers"),
        (3, 0.1, "held_out=0.1 leaves 1 of the 3 rows of numbers"),
        (1, 0.1, "held_out=0.1 leaves 0 of the 1 rows of numbers"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            divide(numbered(n), share)


@pytest.fixture
def table(tmp_path):
    def write(text: str, encoding: str = "utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_numbers_missing_cells_and_names(table):
    values, labels, columns = read_csv(table('a,"b, c",d\n1,2.5,-3e2\n,nan, 4 \n\n0.1,,7\n'))
    assert columns == ("a", "b, c", "d")
    assert labels is None
    expected = [[1, 2.5, -300], [np.nan, np.nan, 4], [0.1, np.nan, 7]]
    assert values.dtype == np.float64
    assert np.array_equal(values, expected, equal_nan=True)


def test_byte_order_mark_and_windows_lines_do_not_matter(table):
    values, _, columns = read_csv(table("a,b\r\n1,2\r\n3,4\r\n", "utf-8-sig"))
    assert columns == ("a", "b")
    assert values.tolist() == [[1, 2], [3, 4]]


def test_labels_are_numbers_or_text(table):
    for cells, expected, dtype in [
        (("3", "1", "2"), [3, 1, 2], np.int64),
        (("0.5", "1", "2"), [0.5, 1.0, 2.0], np.float64),
        (("x", "y", "x"), ["x", "y", "x"], np.dtype("<U1")),
        (("x", "", "1"), ["x", None, "1"], np.dtype(object)),
    ]:
        text = "kind,a\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells))
        values, labels, columns = read_csv(table(text), label="kind")
        assert columns == ("a",)
        assert values.tolist() == [[0], [1], [2]]
        assert labels is not None
        assert labels.dtype == dtype
        assert labels.tolist() == expected


def test_a_missing_number_label_is_nan(table):
    _, labels, _ = read_csv(table("a,kind\n1,3\n2,\n"), label="kind")
    assert np.array_equal(labels, [3, np.nan], equal_nan=True)


def test_numbered_columns_are_a_header(table):
    assert read_csv(table("0,1,2\n5,6,7\n8,9,9\n"))[2] == ("0", "1", "2")


@pytest.mark.parametrize(
    ("text", "label", "message"),
    [
        ("", None, r"table\.csv: is empty; expected a line of column names and rows under it"),
        ("a,b\n", None, r"table\.csv: has no rows under its header; expected at least one"),
        (
            "5,0.5\n1,2\n3,4\n",
            None,
            r"its first line holds numbers only \(5, 0\.5, …\); put a line of column names",
        ),
        ("a,a\n1,2\n3,4\n", None, "two columns are called 'a'"),
        (
            "a,b\n1,2\n3,x7\n",
            None,
            "column 'b' holds the text 'x7' in row 2; expected numbers only .*label='b'",
        ),
        ("k,a,b\nu,1,2\nv,,x7\n", "k", "column 'b' holds the text 'x7' in row 2"),
        ("a,b\n1,2\n3\n", None, "row 2 has 1 cells under a header of 2"),
        (
            "age,size\n1,2\n3,4\n",
            "agee",
            r"label='agee': .* has no such column; did you mean 'age'\?",
        ),
    ],
)
def test_csv_refusals(table, text, label, message):
    with pytest.raises(ValueError, match=message):
        read_csv(table(text), label)


def test_other_encodings_are_refused(table):
    with pytest.raises(ValueError, match=r"table\.csv: not a readable CSV file in UTF-8"):
        read_csv(table("größe,b\n1,2\n3,4\n", "latin-1"))


def test_write_csv_round_trip(tmp_path):
    values = np.array([[0.1, 1e-30, np.nan], [3.0, -2.5e10, 7.0]], np.float32)
    write_csv(tmp_path / "a.csv", values, ["a", "b, c", "d"])
    read, _, columns = read_csv(tmp_path / "a.csv")
    assert columns == ("a", "b, c", "d")
    assert np.array_equal(read.astype(np.float32), values, equal_nan=True)


def test_one_column_with_a_missing_cell_survives(tmp_path):
    write_csv(tmp_path / "a.csv", np.array([[1.0], [np.nan], [3.0]]))
    assert np.array_equal(read_csv(tmp_path / "a.csv")[0], [[1], [np.nan], [3]], equal_nan=True)


@pytest.mark.parametrize(
    "cells",
    [
        ["2026-12-01", "1999-01-31"],
        ["2026-12-01 09:30", "2026-12-01 00:00"],
        ["2026-12-01T09:30", "2026-12-01T00:00"],
        ["2026-12-01T09:30:15", "1899-12-01T00:00:00"],
        ["2026-12-01 09:30:15.25", "2026-12-01 09:30:15.50"],
        ["2026-12-01T09:30:15.123456", "2026-12-01T00:00:00.000000"],
    ],
)
def test_dates_are_written_as_they_came(tmp_path, cells):
    lines = [f"{cell},{i}" for i, cell in enumerate([*cells, "", *cells])]
    (tmp_path / "a.csv").write_text("\n".join(["when,x", *lines, ""]))
    data = load(tmp_path / "a.csv", text=True)
    assert data.values["when"].dtype.kind == "M"
    for frame in (data.frame(), data.rows(np.arange(5)).frame()):
        write_csv(tmp_path / "b.csv", frame)
        assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()
    model = equilibria.Mixture(2, random_state=0).fit(data)
    model.save(tmp_path / "run")
    drawn = equilibria.load(tmp_path / "run").sample(50)
    write_csv(tmp_path / "c.csv", drawn)
    again = load(tmp_path / "c.csv", text=True)
    assert again.values.attrs == data.values.attrs
    filled = model.impute(data.frame())
    write_csv(tmp_path / "d.csv", filled)
    made = (tmp_path / "d.csv").read_text().splitlines()
    assert [made[i] for i in (1, 2, 4, 5)] == [lines[i] for i in (0, 1, 3, 4)]
    assert len(made[3]) == len(made[1])


def test_a_column_of_dates_may_have_any_name_and_be_empty_beside_others(tmp_path):
    days = [f"2026-12-{1 + i % 28:02d}" for i in range(60)]
    lines = [f"{day},{day}T02:43,{i}" for i, day in enumerate(days)]
    (tmp_path / "a.csv").write_text("\n".join(["self,when,x", *lines]) + "\n")
    data = load(tmp_path / "a.csv", text=True)
    model = equilibria.Independent().fit(data)
    (tmp_path / "b.csv").write_text("\n".join(["self,when,x", *(f"{d},," for d in days)]) + "\n")
    filled = model.impute(load(tmp_path / "b.csv", text=True).frame())
    write_csv(tmp_path / "c.csv", filled)
    written = [line.split(",") for line in (tmp_path / "c.csv").read_text().splitlines()[1:]]
    assert [cells[0] for cells in written] == days
    assert {len(cells[1]) for cells in written} == {len("2026-12-01T02:43")}


def test_a_cell_that_is_no_date_is_named(tmp_path):
    text = "when,x\n" + "".join(f"2026-12-{1 + i % 28:02d},{i}\n" for i in range(60))
    (tmp_path / "a.csv").write_text(text)
    model = equilibria.Independent().fit(load(tmp_path / "a.csv", text=True))
    for strange in ("2026-02-30", "soon"):
        (tmp_path / "b.csv").write_text(text.replace("2026-12-03", strange, 1))
        with pytest.raises(ValueError, match=f"'when' held dates in fit.* row 2 is '{strange}'"):
            model.score_samples(load(tmp_path / "b.csv", text=True).frame())


def test_write_csv_keeps_whole_numbers_text_and_truth(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, np.array([[1, 2], [3, 4]], np.uint8))
    assert path.read_text() == "x0,x1\n1,2\n3,4\n"
    write_csv(path, np.array([["nan", None], ["b", float("nan")]], dtype=object), ["p", "q"])
    assert path.read_text() == "p,q\nnan,\nb,\n"
    write_csv(path, np.array([[True, False]]), ["p", "q"])
    assert path.read_text() == "p,q\n1,0\n"


def test_write_csv_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"values has shape \(3,\): expected \(rows, columns\)"):
        write_csv(tmp_path / "a.csv", np.zeros(3))
    with pytest.raises(ValueError, match="columns has 1 names for 2 columns of values"):
        write_csv(tmp_path / "a.csv", np.zeros((3, 2)), ["a"])


def test_text_columns_on_request(table):
    path = table("who,n,x,party\nann,1,0.5,r\n bob ,,nan,d\n,3, 2 ,\n")
    values, labels, columns = read_csv(path, label="party", text=True)
    assert columns == ("who", "n", "x")
    assert values.dtype == object
    assert values.tolist() == [["ann", 1, 0.5], [" bob ", None, None], [None, 3, 2.0]]
    assert [type(cell) for cell in values[2]] == [type(None), int, float]
    assert labels is not None
    assert labels.tolist() == ["r", "d", None]


def test_a_table_of_numbers_is_read_alike_with_text_allowed(table):
    path = table("a,b\n1,\n0.1,nan\n-3e2, 4 \n")
    plain, allowed = read_csv(path), read_csv(path, text=True)
    assert allowed[0].dtype == np.float64
    assert np.array_equal(plain[0], allowed[0], equal_nan=True)
    assert plain[1:] == allowed[1:]


def test_text_survives_writing_and_reading(tmp_path):
    values = np.array([["a", 1, 0.5], [None, 2, None], ["c, d", None, -1e-30]], dtype=object)
    write_csv(tmp_path / "a.csv", values, ["p", "q", "r"])
    assert read_csv(tmp_path / "a.csv", text=True)[0].tolist() == values.tolist()


@pytest.mark.parametrize("names", [("X", "y"), ("images", "labels")])
def test_npz_with_labels(tmp_path, names):
    arrays = {
        names[0]: np.arange(6).reshape(3, 2),
        names[1]: np.array([0, 1, 0]),
        "more": np.zeros(2),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    values, labels = read_npz(tmp_path / "a.npz")
    assert (values == arrays[names[0]]).all()
    assert labels is not None
    assert (labels == arrays[names[1]]).all()


def test_npz_without_labels(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones((3, 2)), other=np.zeros(1))
    values, labels = read_npz(tmp_path / "a.npz")
    assert labels is None
    assert values.shape == (3, 2)
    np.savez(tmp_path / "b.npz", whatever=np.full((2, 2), 5))
    assert (read_npz(tmp_path / "b.npz")[0] == 5).all()


def test_npz_refusals(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, p=np.ones(3), q=np.ones(3))
    with pytest.raises(ValueError, match=r"a\.npz: holds p, q; expected X \(and y\)"):
        read_npz(path)
    np.savez(path, X=np.array([{}, {}], dtype=object))
    with pytest.raises(ValueError, match=r"a\.npz: not a readable \.npz file .*pickle alone"):
        read_npz(path)
    np.savez(path, X=np.random.default_rng(0).random((50, 50)))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ValueError, match=r"a\.npz: not a readable \.npz file"):
        read_npz(path)
    with path.open("wb") as file:
        np.save(file, np.zeros((3, 2)))
    with pytest.raises(
        ValueError, match=r"a\.npz: not a readable \.npz file \(not an archive of arrays\)"
    ):
        read_npz(path)


def test_npy_is_mapped_not_read(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(3, 2))
    values = read_npy(tmp_path / "a.npy")
    assert isinstance(values, np.memmap)
    assert values.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_npy_refusals(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"a\.npy: not a readable \.npy file"):
        read_npy(path)
    np.save(path, np.zeros((10, 10)))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"a\.npy: not a readable \.npy file"):
        read_npy(path)
    np.savez(tmp_path / "b.npz", X=np.zeros((3, 2)))
    (tmp_path / "b.npz").rename(path)
    with pytest.raises(ValueError, match=r"a\.npy: .*an archive: call it \.npz"):
        read_npy(path)


def test_cells_are_read_as_they_stand(table):
    for text, expected in [
        ("zip,k\n02139,a\n2139,b\n", [["02139", "a"], ["2139", "b"]]),
        ("code,k\n12_34,a\n1_2,b\n", [["12_34", "a"], ["1_2", "b"]]),
        ("id,x\n100000001,1\n100000002,2\n", [[100000001, 1], [100000002, 2]]),
        (f"id,x\n{2**53 + 1},1.5\n{2**53 + 2},\n", [[2**53 + 1, 1.5], [2**53 + 2, None]]),
        (f"id,x\n{2**53 + 1},1\n,2\n", [[2**53 + 1, 1], [None, 2]]),
        (f"id,x\n{10**20},a\n3,b\n", [[10**20, "a"], [3, "b"]]),
        ("x,k\n1,a\n\n0,b\n", [[1, "a"], [0, "b"]]),
        ("a;b\n1;2\n3;4\n", [[1, 2], [3, 4]]),
        ("a;b\n1,5;x\n-3,25;y\n", [[1.5, "x"], [-3.25, "y"]]),
        ("a\tb\n1\tu\n3\tv\n", [[1, "u"], [3, "v"]]),
        ("a,b\nNA,x\n2,NA\n", [[None, "x"], [2, None]]),
        ("a,b\n1e-46,x\n2e-46,y\n", [[1e-46, "x"], [2e-46, "y"]]),
        ("b,c\nTrue,x\nfalse,y\n", [[True, "x"], [False, "y"]]),
        ("b,c\nTrue,x\n,y\n", [[True, "x"], [None, "y"]]),
        ("a,b\n٣,x\n4,y\n", [["٣", "x"], ["4", "y"]]),
    ]:
        values, _, _ = read_csv(table(text), text=True)
        assert values.tolist() == expected
        assert [list(map(type, row)) for row in values.tolist()] == [
            list(map(type, row)) for row in expected
        ]


def test_a_blank_line_of_a_single_column_is_a_missing_cell(table):
    assert np.array_equal(read_csv(table("x\n1\n\n0\n"))[0], [[1], [np.nan], [0]], equal_nan=True)


def test_labels_with_leading_zeros_are_text(table):
    _, labels, _ = read_csv(table("y,x\n007,1\n7,2\n"), label="y")
    assert labels is not None
    assert labels.tolist() == ["007", "7"]


def test_numbers_keep_their_digits(table):
    values, _, _ = read_csv(table("t,x\n1700000001,0.5\n1700000060,0.1\n"))
    assert values.tolist() == [[1700000001, 0.5], [1700000060, 0.1]]
    with pytest.raises(ValueError, match="column 'zip' holds the text '02139' in row 1"):
        read_csv(table("zip\n02139\n"))


def test_a_frame_is_written_and_read(tmp_path):
    frame = pandas.DataFrame({"id": [2**53 + 1, 5], "k": ["a", None], "x": [0.1, np.nan]})
    write_csv(tmp_path / "a.csv", frame)
    pandas.testing.assert_frame_equal(load(tmp_path / "a.csv", text=True).values, frame)
    assert load(tmp_path / "a.csv", text=True).digest() != Data(frame.iloc[::-1]).digest()
