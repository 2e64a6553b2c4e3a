"""CSV, ``.npz`` and ``.npy`` files, and the sentence for each that cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

from equilibria.data import read_csv, read_npy, read_npz, write_csv


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
    assert values.dtype == np.float32
    assert np.array_equal(values, np.array([[1, 2.5, -300], [np.nan, np.nan, 4], [0.1, np.nan, 7]], np.float32), equal_nan=True)


def test_byte_order_mark_and_windows_lines_do_not_matter(table):
    values, _, columns = read_csv(table("a,b\r\n1,2\r\n3,4\r\n", "utf-8-sig"))
    assert columns == ("a", "b")
    assert values.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("cells", "expected", "dtype"),
    [
        (("3", "1", "2"), [3, 1, 2], np.int64),
        (("0.5", "1", "2"), [0.5, 1.0, 2.0], np.float64),
        (("x", "y", "x"), ["x", "y", "x"], np.dtype("<U1")),
        (("x", "", "1"), ["x", None, "1"], np.dtype(object)),
    ],
)
def test_labels_are_numbers_or_text(table, cells, expected, dtype):
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
        ("5,0.5\n1,2\n3,4\n", None, r"its first line holds numbers only \(5, 0\.5, …\); put a line of column names above it"),
        ("a,a\n1,2\n3,4\n", None, "two columns are called 'a'"),
        ("a,b\n1,2\n3,x7\n", None, "column 'b' holds the text 'x7' in row 2; expected numbers only .*label='b'"),
        ("k,a,b\nu,1,2\nv,,x7\n", "k", "column 'b' holds the text 'x7' in row 2"),
        ("a,b\n1,2\n3\n", None, "row 2 has 1 cells under a header of 2"),
        ("age,size\n1,2\n3,4\n", "agee", r"label='agee': .* has no such column; did you mean 'age'\?"),
        ("age,size\n1,2\n3,4\n", "q", "label='q': .*its columns are age, size"),
        ("k\n1\n2\n", "k", "has no column besides the label 'k'"),
    ],
)
def test_csv_refusals(table, text, label, message):
    with pytest.raises(ValueError, match=message):
        read_csv(table(text), label)


def test_other_encodings_are_refused(table):
    with pytest.raises(ValueError, match=r"table\.csv: not a CSV file in UTF-8"):
        read_csv(table("größe,b\n1,2\n3,4\n", "latin-1"))


def test_write_csv_round_trip(tmp_path):
    values = np.array([[0.1, 1e-30, np.nan], [3.0, -2.5e10, 7.0]], np.float32)
    write_csv(tmp_path / "a.csv", values, ["a", "b, c", "d"])
    read, _, columns = read_csv(tmp_path / "a.csv")
    assert columns == ("a", "b, c", "d")
    assert np.array_equal(read, values, equal_nan=True)


def test_one_column_with_a_missing_cell_survives(tmp_path):
    write_csv(tmp_path / "a.csv", np.array([[1.0], [np.nan], [3.0]]))
    assert np.array_equal(read_csv(tmp_path / "a.csv")[0], [[1], [np.nan], [3]], equal_nan=True)


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
    assert allowed[0].dtype == np.float32
    assert np.array_equal(plain[0], allowed[0], equal_nan=True)
    assert plain[1:] == allowed[1:]


def test_text_survives_writing_and_reading(tmp_path):
    values = np.array([["a", 1, 0.5], [None, 2, None], ["c, d", None, -1e-30]], dtype=object)
    write_csv(tmp_path / "a.csv", values, ["p", "q", "r"])
    assert read_csv(tmp_path / "a.csv", text=True)[0].tolist() == values.tolist()


@pytest.mark.parametrize("names", [("X", "y"), ("images", "labels")])
def test_npz_with_labels(tmp_path, names):
    arrays = {names[0]: np.arange(6).reshape(3, 2), names[1]: np.array([0, 1, 0]), "more": np.zeros(2)}
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
    with pytest.raises(ValueError, match=r"a\.npz: not a readable \.npz file .*allow_pickle"):
        read_npz(path)
    np.savez(path, X=np.random.default_rng(0).random((50, 50)))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ValueError, match=r"a\.npz: not a readable \.npz file"):
        read_npz(path)
    with path.open("wb") as file:
        np.save(file, np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"a\.npz: not a readable \.npz file \(not an archive of arrays\)"):
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
