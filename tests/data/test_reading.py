"""Files that are none, that are damaged, or that ask for more than there is: a sentence each."""

from __future__ import annotations

import gzip
import io
import os
import socket
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from equilibria import Independent
from equilibria.data import Data, columns, delimited, divide, load, read_csv, write_csv
from equilibria.data.columns import Chosen, twice
from equilibria.data.rows import digest
from scripts import script

SUFFIXES = (".csv", ".npz", ".npy", ".gz", "-ubyte")
HUGE = "would take .* of memory, and this machine has"


def place(path: Path, kind: str) -> None:
    """Something that is no file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    else:
        path.symlink_to(kind)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["pipe", "socket", "/dev/zero", "/proc/self/mem"])
def test_what_is_no_file_is_refused_at_once(tmp_path, monkeypatch, suffix, kind):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    place(Path(f"idx{suffix}"), kind)
    with pytest.raises(
        ValueError, match=rf"idx{suffix}: (is no regular file|cannot be read|not a)"
    ):
        load(f"idx{suffix}")


def test_a_pipe_among_pictures_is_refused(tmp_path):
    Image.new("L", (3, 3)).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"b\.png: is no regular file"):
        load(tmp_path)


def test_names_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"source='xxx.*cannot be a path"):
        load("x" * 300 + ".csv")
    with pytest.raises(ValueError, match="no such file or folder"):
        load("~nobody-of-this-name/a.csv")
    with pytest.raises(ValueError, match="source=3: cannot be a path"):
        load(3)  # type: ignore[arg-type]
    os.makedirs(os.fsencode(tmp_path) + b"/\xff")
    Image.new("L", (3, 3)).save(os.fsencode(tmp_path) + b"/\xff/a.png")
    with pytest.raises(ValueError, match=r"sub-folder .* gives its pictures their label"):
        load(tmp_path)


def header(rows: int) -> bytes:
    """Of a .npy file of so many rows."""
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({rows}, 6)}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def test_a_file_that_asks_for_more_than_there_is(tmp_path):
    (tmp_path / "a.npy").write_bytes(header(10**12) + bytes(4800))
    with pytest.raises(ValueError, match="asks for 48,000,000,000,000 bytes where 4,800 are"):
        load(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.npy", header(10**12) + bytes(4800))
    with pytest.raises(ValueError, match="asks for 48,000,000,000,000 bytes where 4,800 are"):
        load(tmp_path / "a.npz")
    body = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 28, 28)
    (tmp_path / "a.gz").write_bytes(gzip.compress(body + bytes(10**6)))
    with pytest.raises(ValueError, match=HUGE):
        load(tmp_path / "a.gz")
    body = bytes([0, 0, 8, 3]) + struct.pack(">3I", 10, 2, 2)
    (tmp_path / "b.gz").write_bytes(gzip.compress(body + bytes(10**8), 1))
    with pytest.raises(ValueError, match="too long: more than the 56 bytes"):
        load(tmp_path / "b.gz")


def test_a_bomb_among_pictures(tmp_path):
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 10**4, 10**4, 8, 0, 0, 0, 0))]
    parts += [(b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b"")]
    whole = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + whole)
    with pytest.raises(ValueError, match=r"a\.png: not a readable picture .*decompression bomb"):
        load(tmp_path)


def test_a_picture_that_would_start_a_program_is_none(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    with pytest.raises(ValueError, match=r"a\.png: not a readable picture \(it is none of PNG"):
        load(tmp_path)


# ---------------------------------------------------------------------- mutations

CASES = 20  # of each format


@pytest.fixture(scope="module")
def siege() -> ModuleType:
    return script("siege/inputs.py")


def test_mutated_files_load_or_are_refused_in_a_sentence(siege):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for suffix in siege.FORMATS if find_spec("pyarrow") else siege.FORMATS[:-1]:
            counts, odd = siege.run(suffix, range(CASES), seed=3)
            assert odd == []
            assert counts["accepted"] + counts["refused"] == CASES


def test_the_siege_notices(siege, tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("a\n1\n2\n")

    def with_fault(fault):
        def load(*_, **__):
            raise fault

        monkeypatch.setattr(siege, "load", load)
        return siege.attempt(tmp_path / "a.csv", {})

    assert with_fault(KeyError("x")).startswith("KeyError")
    assert with_fault(ValueError("something is wrong")).startswith("unclear (names no file)")
    assert with_fault(ValueError(f"{tmp_path / 'a.csv'}: one\ntwo")).startswith("unclear (several")
    assert with_fault(siege.Late()) == "late"


# ---------------------------------------------------------------------- CSV in blocks

TABLES = {
    "a number becomes text": "a,b\n1,x\n2,y\n3,z\n007,w\n",
    "truth becomes text": "a,b\ntrue,1\nfalse,2\n1,3\n",
    "whole becomes real": "a,b\n1,1\n2,2\n2.5,3\n1e-05,4\n",
    "whole becomes big": "a,b\n1,1\n2,2\n99999999999999999999,3\n",
    "gaps at first": "a,b\n,\nNA,\n3,x\n4,\n",
    "gaps later": "a,b\n1,true\n2,false\n,\n4,true\n",
    "lines in quotes": 'a,b\n"x\ny",1\n"u,""v",2\nz,3\n',
    "decimal commas": "a;b\n1,5;x\n2,25;y\n3;z\n",
    "the least whole number": "a,b\n-9223372036854775808,1\n,2\n5,3\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_blocks_do_not_matter(tmp_path, monkeypatch, name):
    path = tmp_path / "t.csv"
    path.write_text(TABLES[name])
    whole = load(path, text=True).frame()
    monkeypatch.setattr(delimited, "BLOCK", 4)
    monkeypatch.setattr(delimited, "_WIDE", 1)
    parts = load(path, text=True).frame()
    assert list(map(str, parts.dtypes)) == list(map(str, whole.dtypes))
    assert parts.equals(whole)


def test_what_cells_are(tmp_path):
    path = tmp_path / "t.csv"
    for name, dtypes, cells in [
        ("a number becomes text", ["str", "str"], ["1", "2", "3", "007"]),
        ("truth becomes text", ["str", "int64"], ["true", "false", "1"]),
        ("whole becomes big", ["object", "int64"], [1, 2, 10**20 - 1]),
        ("decimal commas", ["float64", "str"], [1.5, 2.25, 3.0]),
    ]:
        path.write_text(TABLES[name])
        frame = load(path, text=True).frame()
        assert list(map(str, frame.dtypes)) == dtypes
        assert frame["a"].tolist() == cells
    path.write_text(TABLES["the least whole number"])
    column = load(path, text=True).frame()["a"]
    assert column.isna().tolist() == [False, True, False]
    assert int(column[0]) == -(2**63)


def test_rows_of_other_lengths_are_named_in_any_block(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK", 4)
    monkeypatch.setattr(delimited, "_WIDE", 1)
    for text, what in [
        ("a,b\n1,2\n3,4,5\n6\n", "row 2 has 3 cells"),
        ("a,b\n1,2\n3,4\n6\n7,8,9\n", "row 3 has 1 cells"),
        ('a,b\n1,2\n3,4\n"6"\n', "row 3 has 1 cells"),
        ("a,b\n1,2\n3,x\n", "column 'b' holds the text 'x' in row 2"),
        ("a,b\n1,2\n3,007\n", "column 'b' holds the text '007' in row 2"),
        ("a,b\n1,2\n3,\0\n", "holds a zero byte"),
    ]:
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(ValueError, match=what):
            read_csv(tmp_path / "t.csv")


def test_the_check_of_names_is_linear():
    names = [str(i) for i in range(10**5)]  # pair by pair it would take minutes
    assert twice(names) is None
    assert twice([*names, "7"]) == "7"


@pytest.mark.parametrize("names", [range(5), ["a", "0", "b", "(1, 2)", "c"]])
@pytest.mark.parametrize("index", [None, "row", "date"])
def test_parquet_is_read_by_the_columns_names(tmp_path, monkeypatch, names, index):
    """Whole numbers and an index of its own included; some columns at a time as all at once."""
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(np.arange(15.0).reshape(3, 5), columns=list(names))
    if index is not None:
        frame.index = pd.Index(["x", "y", "x"], name=None if index == "row" else index)
    frame.to_parquet(tmp_path / "a.parquet")
    for cells in (1 << 23, 6):
        monkeypatch.setitem(load.__globals__, "_PARQUET_CELLS", cells)
        found = load(tmp_path / "a.parquet")
        pd.testing.assert_frame_equal(found.values, frame)
        assert found.columns == tuple(map(str, names))
        pd.testing.assert_frame_equal(found.frame(), frame)


# ---------------------------------------------------------------------- a memory map, guarded cells


@pytest.fixture
def kept(tmp_path):
    """A memory map of 3.2 million cells, and how many bytes of it are in memory."""
    rows = np.arange(400_000)[:, None]
    np.save(tmp_path / "kept.npy", ((rows >> np.arange(8)) & 1).astype(np.float32))
    values = np.load(tmp_path / "kept.npy", mmap_mode="r")

    def resident() -> int:
        found = Path("/proc/self/smaps").read_text().partition("kept.npy\n")[2].partition("Rss:")[2]
        return 1024 * int(found.split()[0])

    return values, resident


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux says what is there")
@pytest.mark.parametrize("view", [np.asarray, lambda values: values, lambda values: values[1:]])
def test_a_memory_map_is_let_go_by_fit_and_score(kept, monkeypatch, view):
    """What scikit-learn gives back is a view of the map, which is no ``memmap`` itself."""
    values, resident = kept
    monkeypatch.setattr(columns, "BLOCK_CELLS", 1 << 17)
    assert values.sum() > 0
    assert resident() > values.nbytes // 2
    model = Independent(kinds="binary", binarise=None).fit(view(values))
    assert resident() < values.nbytes // 8
    for ask in (model.score_samples, model.table_.check, digest):
        assert values.sum() > 0
        ask(view(values))
        assert resident() < values.nbytes // 8


def test_the_rows_of_a_memory_map_are_not_copied(kept, monkeypatch):
    values, _ = kept
    monkeypatch.setattr(columns, "BLOCK_CELLS", 1 << 17)
    for X, share in ((values, 0.5), (divide(Data(values), 0.4)[0].values, 0.0)):
        tracemalloc.start()
        Independent(kinds="binary", binarise=None, validation_fraction=share).fit(X)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        places = 3 * 8 * len(values)  # an order of the rows, and the places of each part
        assert peak < places + values.nbytes / 4


def test_what_is_copied_on_write_is_kept(tmp_path):
    """To let go of such a map is to lose what was written into it."""
    np.save(tmp_path / "a.npy", np.zeros((60, 2)))
    for view in (np.asarray, lambda values: values):
        values = np.load(tmp_path / "a.npy", mmap_mode="c")
        values[:] = written = np.arange(120.0).reshape(60, 2)
        train, held_out = divide(Data(view(values)), 0.2)
        assert isinstance(train.values, Chosen)
        model = Independent(kinds="real").fit(view(values))
        model.score(train.values)
        model.score(held_out.values)
        assert np.array_equal(values, written)


def test_a_split_of_a_memory_map_is_read_as_one_of_an_array(tmp_path, monkeypatch):
    values = np.arange(600, dtype=np.float32).reshape(100, 6)
    np.save(tmp_path / "a.npy", values)
    whole = Data(load(tmp_path / "a.npy").values, columns=tuple("abcdef"))
    for mapped, copied in zip(divide(whole, 0.2), divide(Data(values), 0.2), strict=True):
        assert isinstance(mapped.values, Chosen)
        assert mapped.digest() == copied.digest()
        with monkeypatch.context() as patch:
            patch.setattr(columns, "BLOCK_CELLS", 50)
            assert mapped.digest() == copied.digest() == Data(copied.values.copy("F")).digest()
        assert np.array_equal(mapped.values, copied.values)
        assert np.array_equal(mapped.values[3:7, [1, 2]], copied.values[3:7, [1, 2]])
        assert type(mapped.array()) is np.ndarray
        assert np.array_equal(mapped.frame()["c"], copied.values[:, 2])
        assert np.array_equal(mapped.values / 255, copied.values / np.float32(255))
        assert np.array_equal(1 - mapped.values, 1 - copied.values)
        again = mapped.rows(np.array([5, 1]))
        assert isinstance(again.values, Chosen)
        assert np.array_equal(again.values, copied.values[[5, 1]])


def test_too_few_rows_of_a_memory_map_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 2)))
    data = load(tmp_path / "a.npy")
    for few in (data.values[:1], data.rows(np.array([3])).values):
        with pytest.raises(ValueError, match=r"X: 1 sample\(s\) while a minimum of 2 is required"):
            Independent().fit(few)
    with pytest.raises(ValueError, match="X: 0 sample"):
        Independent().fit(data.values).score(data.rows(np.array([], dtype=int)).values)


def test_guarded_text_is_no_formula(tmp_path):
    cells = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\tx", "\rx", "fine", None]
    rows = np.array([[cell, -1.5] for cell in cells], dtype=object)
    write_csv(tmp_path / "a.csv", rows, ["=a", "b"])
    plain, _, names = read_csv(tmp_path / "a.csv", text=True)
    assert plain[:, 0].tolist() == cells
    assert names == ("=a", "b")
    write_csv(tmp_path / "a.csv", rows, ["=a", "b"], guard=True)
    found, _, names = read_csv(tmp_path / "a.csv", text=True)
    assert names == ("'=a", "b")
    assert found[:, 0].tolist() == [*(f"'{cell}" for cell in cells[:6]), "fine", None]
    assert found[:, 1].tolist() == [-1.5] * 8
    assert rows[0, 0] == cells[0]


def test_cells_are_quoted_each_by_itself(tmp_path):
    """So that what is written in parts is what is written at once."""
    cells = ["a", "b\rc", "d\ne", 'f"g', "h,i", "j\r\nk", "", None]
    frame = pd.DataFrame({"t\rt": cells, "x": [1.5, np.nan] * 4, "i": range(8)})
    whole, parts = io.BytesIO(), io.BytesIO()
    write_csv(whole, frame)
    for first in range(8):
        write_csv(parts, frame[first : first + 1], header=not first)
    assert parts.getvalue() == whole.getvalue()
    lines = whole.getvalue().decode()
    assert lines.startswith(
        '"t\rt",x,i\na,1.5,0\n"b\rc",,1\n"d\ne",1.5,2\n"f""g",,3\n"h,i",1.5,4\n'
    )
    assert lines.endswith('"j\r\nk",,5\n,1.5,6\n,,7\n')
    write_csv(tmp_path / "a.csv", frame)
    assert (tmp_path / "a.csv").read_bytes() == whole.getvalue()
    found = load(tmp_path / "a.csv", text=True).frame()
    assert found["t\rt"].tolist()[:6] == cells[:6]


def test_a_part_that_is_held_out_need_not_be_a_copy():
    values = np.arange(600.0).reshape(100, 6)
    for given, shared in ((values, True), (values.astype(object), False)):
        for lazy, copied in zip(
            divide(Data(given), 0.2, copy=False), divide(Data(given), 0.2), strict=True
        ):
            assert isinstance(lazy.values, Chosen) == shared
            assert type(copied.values) is np.ndarray
            assert np.array_equal(lazy.values, copied.values)
    one, other = divide(Data(values), 0.2, copy=False)
    parts = one, divide(Data(values), 0.2)[0]
    models = [Independent(kinds="real", random_state=0).fit(part.values) for part in parts]
    assert np.array_equal(*(model.score_samples(other.values) for model in models))


def test_dates_in_a_file_are_dates(tmp_path):
    cells = {
        "day": ["2020-02-29", "1066-10-14", ""],
        "time": ["2020-02-29 09:30", "2020-03-01T10:00:05", "2020-03-02"],
        "fine": ["2020-02-29 09:30:00.25", "", "2020-03-01"],
        "no day": ["2020-02-30", "2020-02-28", "2020-02-27"],
        "word": ["2020-02-28", "later", "2020-02-27"],
        "number": ["20200228", "20200229", ""],
        "empty": ["", "", ""],
    }
    pd.DataFrame(cells).to_csv(tmp_path / "a.csv", index=False)
    frame = load(tmp_path / "a.csv", text=True).values
    kinds = [str(dtype) for dtype in frame.dtypes]
    days = ["datetime64[s]", "datetime64[s]", "datetime64[us]"]
    assert kinds == [*days, "str", "str", "Int64", "float64"]
    assert frame["day"].isna().tolist() == [False, False, True]
    assert frame["time"][1] == pd.Timestamp("2020-03-01 10:00:05")
    assert frame["fine"][0] == pd.Timestamp("2020-02-29 09:30:00.25")
    write_csv(tmp_path / "b.csv", frame[["day", "no day"]])
    again = load(tmp_path / "b.csv", text=True).values
    assert again.equals(frame[["day", "no day"]])
    label = load(tmp_path / "a.csv", text=True, label="word")
    assert label.labels.tolist() == cells["word"]
    assert read_csv(tmp_path / "a.csv", text=True)[0][0, 0] == "2020-02-29"  # an array has no dates


def test_days_of_a_file_are_drawn_as_days(tmp_path):
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(200) % 90, unit="D")
    pd.DataFrame({"day": days, "kind": ["a", "b"] * 100}).to_csv(tmp_path / "a.csv", index=False)
    frame = load(tmp_path / "a.csv", text=True).values
    drawn = Independent(random_state=0).fit(frame).sample(500, random_state=0)
    assert (drawn["day"].dt.normalize() == drawn["day"]).all()
    assert drawn["day"].between(days.min(), days.max()).all()
    write_csv(tmp_path / "b.csv", drawn)
    assert (tmp_path / "b.csv").read_text().splitlines()[1].startswith("2024-")
    assert len((tmp_path / "b.csv").read_text().splitlines()[1].split(",")[0]) == 10
