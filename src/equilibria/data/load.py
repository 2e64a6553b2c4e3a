"""Data by name or by path: built-in sets, pictures, tables and arrays, all as one :class:`Data`."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from equilibria.check import affordable, choice
from equilibria.check import source as path_of
from equilibria.data.columns import FORMS, is_frame, nearest_name, subset, take, written
from equilibria.data.delimited import dated, read_table
from equilibria.data.files import BINARY_SETS, PARTS, fetch, folder_of, table_path
from equilibria.data.pictures import parse_idx, read_folder, read_idx
from equilibria.data.reading import opened, reading
from equilibria.data.rows import digest
from equilibria.data.toy import GaussianMixture, bars_and_stripes
from equilibria.errors import ExtraError
from equilibria.random import Stream

__all__ = ["Data", "divide", "load", "names", "read_csv", "read_npy", "read_npz", "write_csv"]


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """A data set in memory, or memory-mapped.

    Attributes
    ----------
    values : ndarray, Chosen or DataFrame, shape (n, d)
        One example a row, in the data's own types. Of some rows of a memory map (:meth:`rows`) a
        ``Chosen``, whose rows are read where they are asked for; :meth:`array` reads them all.
    labels : ndarray, shape (n,), or None
        What each example is.
    columns : tuple of str or None
        Names of the d columns.
    shape : tuple of int or None
        (height, width) or (height, width, 3) where a row is a flattened picture.
    low, high : float or None
        The range that values are known to have, e.g. 0 and 255.
    name : str
        What to call it.
    density : GaussianMixture or None
        The distribution the data were drawn from, where it is known.
    source : dict or None
        How :func:`load` was asked for them; None where they were not loaded.
    """

    values: Any
    labels: np.ndarray | None = None
    columns: tuple[str, ...] | None = None
    shape: tuple[int, ...] | None = None
    low: float | None = None
    high: float | None = None
    name: str = "data"
    density: GaussianMixture | None = None
    source: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def array(self) -> np.ndarray:
        """The values as one array; of a frame Python objects, None where missing, or numbers."""
        return _as_array(self.values) if is_frame(self.values) else np.asarray(self.values)

    def frame(self) -> Any:
        """The values as ``fit`` takes them: a DataFrame where columns have names."""
        if self.columns is None or is_frame(self.values):
            return self.values
        import pandas as pd

        return pd.DataFrame(self.array(), columns=list(self.columns))

    @property
    def origin(self) -> dict[str, Any] | None:
        """What is needed to load the same rows again, with their SHA-256; a run folder keeps it."""
        if self.source is None:
            return None
        columns = None if self.columns is None else list(self.columns)
        return {**self.source, "columns": columns, "digest": self.digest()}

    def digest(self) -> str:
        """SHA-256 (hex) of values and labels with their types and shapes."""
        return digest(self.values, self.labels)

    def rows(self, chosen: np.ndarray, copy: bool = True) -> Data:
        """Some rows, with all but their source as it is; copies, but of a memory map the rows are
        read where they are asked for, and without ``copy`` of any array of numbers."""
        labels = None if self.labels is None else take(self.labels, chosen)
        values = subset(self.values, chosen, copy)
        return dataclasses.replace(self, values=values, labels=labels, source=None)


def load(
    source: str | os.PathLike[str],
    *,
    split: str = "train",
    size: int | tuple[int, int] | None = None,
    colour: str = "grey",
    label: str | None = None,
    text: bool = False,
) -> Data:
    """Data from a built-in name (see :func:`names`) or a path.

    Parameters
    ----------
    source : str or path
        A built-in name; or a folder of pictures, a ``.csv``, ``.parquet``, ``.npz`` or ``.npy``
        file, or an idx file (``.gz`` or not). A local file that is called like a built-in set is
        meant by ``./name``.
    split : {"train", "valid", "test", "all"}
        Which part; a path has no test part, and only sets whose split is their own have ``valid``.
    size, colour
        For a folder of pictures: see :func:`~equilibria.data.read_folder`.
    label : str, optional
        For a table in a file: the column that holds labels.
    text : bool
        For a CSV file: whether columns may hold text. The values are then a DataFrame, in which
        dates that are written as ISO 8601 has them are dates. ``attrs["dates"]`` tells how, which
        :func:`write_csv` follows; of several forms in a column the longest.

    Examples
    --------
    >>> digits = load("digits")
    >>> digits.values.shape, digits.shape, digits.high
    ((1437, 64), (8, 8), 16.0)
    """
    choice("train", "valid", "test", "all")("split", split)
    how = {"size": size, "colour": colour, "label": label, "text": text}
    path = path_of(source, tuple(_BUILT_IN))
    if path is None:
        where, found = str(source), _named(str(source), split, how)
    else:
        where, found = str(path.resolve()), _of_path(path, split, how)
    held_out = None if path is None else 0
    return dataclasses.replace(
        found, source={"source": where, "split": split, **how, "held_out": held_out}
    )


def _named(name: str, split: str, how: dict[str, Any]) -> Data:
    _refuse_options(name, "a built-in set", how, "size", "colour", "label", "text")
    find, about = _BUILT_IN[name]
    if split == "valid" and find is not _binary_set:
        advice = "divide(load(name), 0.1) holds some of its training rows out"
        raise ValueError(f"split='valid': {name} has no validation part ({about}); {advice}")
    return find(name, split)


def _of_path(path: Path, split: str, how: dict[str, Any]) -> Data:
    if split in ("test", "valid"):
        remedy = "put those examples in a path of their own, or use split='train'"
        raise ValueError(f"split={split!r}: {path} has no {split} part; {remedy}")
    suffix, folder = path.suffix.lower(), path.is_dir()
    refused: tuple[str, ...] = () if folder else ("size", "colour")
    refused += () if suffix in (".csv", ".parquet") and not folder else ("label", "text")
    _refuse_options(path, "a folder of pictures" if folder else "a file", how, *refused)
    if folder:
        return _of_array(path, *read_folder(path, size=how["size"], colour=how["colour"]))
    if suffix in (".csv", ".parquet"):
        frame, labels = _read_table(path, how["label"], how["text"])
        frame = dated(frame) if how["text"] and suffix == ".csv" else frame
        values = frame if how["text"] or suffix == ".parquet" else _as_array(frame)
        return Data(values, labels, tuple(map(str, frame.columns)), name=path.name)
    if suffix == ".npz":
        return _of_array(path, *read_npz(path))
    if suffix == ".npy":
        return _of_array(path, read_npy(path))
    if suffix == ".gz" or "idx" in path.name:
        return _of_array(path, read_idx(path))
    known = "a folder of pictures, .csv, .parquet, .npz, .npy, or an idx file (…-ubyte, …-ubyte.gz)"
    raise ValueError(f"{path}: unknown kind of file; expected {known}")


def names() -> dict[str, str]:
    """The built-in data sets: name → one line about it.

    Examples
    --------
    >>> "digits" in names()
    True
    """
    return {name: line for name, (_, line) in _BUILT_IN.items()}


def divide(data: Data, share: float, seed: int = 0, copy: bool = True) -> tuple[Data, Data]:
    """A part to train on and a part held out, drawn at random; each keeps the order of the rows.

    ``share`` of the n rows is held out, round(share · n) of them, but at least two, since intervals
    come from their spread. The same seed gives the same rows. ``copy`` is that of
    :meth:`Data.rows`.

    Examples
    --------
    >>> train, held_out = divide(Data(np.arange(20).reshape(10, 2)), 0.3)
    >>> len(train), len(held_out)
    (7, 3)
    """
    if not 0 < share < 1:
        raise ValueError(f"held_out={share!r}: expected a share of the rows above 0 and below 1")
    n, count = len(data), max(2, round(share * len(data)))
    if n - count < 2:
        left = f"leaves {max(0, n - count)} of the {n} rows of {data.name} to train on"
        remedy = "expected two there and two held out: bring more rows, or hold none out (0)"
        raise ValueError(f"held_out={share!r} {left}; {remedy}")
    held = np.zeros(n, dtype=bool)
    held[Stream(seed).child("held out").permutation(n)[:count].numpy()] = True
    train, source = data.rows(~held, copy), data.source
    if source is not None:
        source = {**source, "held_out": share, "seed": seed}
    return dataclasses.replace(train, source=source), data.rows(held, copy)


# ---------------------------------------------------------------------- built-in sets


def _digits(name: str, split: str) -> Data:
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    whole = Data(values.astype(np.uint8), labels.astype(np.int64), None, (8, 8), 0.0, 16.0, name)
    return whole.rows(_stratified(labels, split, name, 360))


def _table(name: str, split: str) -> Data:
    votes = ("house_votes_1984.csv", "party")
    file, label = votes if name == "house-votes" else ("dna_splice.csv", "Class")
    values, labels, columns = read_csv(table_path(file), label, text=True)
    assert labels is not None
    rows = _stratified(labels, split, name, round(len(labels) / 5))
    return Data(values, labels, columns, name=name).rows(rows)


def _stratified(labels: np.ndarray, split: str, name: str, count: int) -> np.ndarray:
    """Evenly spaced examples of the list sorted by class, each class in random order."""
    n = len(labels)
    shuffled = Stream(0).child(name).permutation(n).numpy()
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    test = np.zeros(n, dtype=bool)
    test[by_class[(2 * np.arange(count) + 1) * n // (2 * count)]] = True
    return np.flatnonzero({"train": ~test, "test": test, "all": np.ones(n, dtype=bool)}[split])


def _mnist(name: str, split: str) -> Data:
    prefixes = {"train": ["train"], "test": ["t10k"], "all": ["train", "t10k"]}[split]
    files = (
        f"{prefix}-{part}-ubyte" for part in ("images-idx3", "labels-idx1") for prefix in prefixes
    )
    found = [parse_idx(*fetch(name, file)) for file in files]
    pictures, labels = found[: len(prefixes)], found[len(prefixes) :]
    values = pictures[0] if len(pictures) == 1 else np.concatenate(pictures)
    digits = np.concatenate(labels).astype(np.int64)
    return Data(values.reshape(len(values), -1), digits, None, (28, 28), 0.0, 255.0, name)


def _binary_set(name: str, split: str) -> Data:
    """One of the sets that come with a split of their own, of zeros and ones."""
    width, *counts = BINARY_SETS[name]
    folder, shape = str(folder_of(name)), (28, 28) if name == "mnist-binary" else None
    pattern = "binarized_mnist_{}.amat" if shape else f"{name.removeprefix('debd-')}.{{}}.data"
    parts = [
        _bits(*fetch(folder, pattern.format(part)), (rows, width))
        for part, rows in zip(PARTS, counts, strict=True)
        if split in (part, "all")
    ]
    return Data(np.concatenate(parts), shape=shape, low=0.0, high=1.0, name=name)


def _bits(content: bytes, name: str, shape: tuple[int, int]) -> np.ndarray:
    """Lines of zeros and ones with a comma or a space between, (rows, columns) of uint8."""
    found = np.frombuffer(content.replace(b"\r", b""), np.uint8)
    cells = found[(found == ord("0")) | (found == ord("1"))] - ord("0")
    lines = content.count(b"\n") + (content[-1:] not in (b"\n", b""))
    between = np.isin(found, np.frombuffer(b"01, \n", np.uint8)).all()
    if not between or (lines, len(cells)) != (shape[0], shape[0] * shape[1]):
        what = f"{lines} lines with {len(cells)} zeros and ones" if between else "other characters"
        wanted = f"expected {shape[0]} lines of {shape[1]} zeros and ones"
        raise ValueError(f"{name}: found {what}; {wanted}; fetch it again")
    return cells.reshape(shape)


def _toy(name: str, split: str) -> Data:
    density = {"ring": GaussianMixture.ring, "grid": GaussianMixture.grid}[name]()
    sizes = {"train": 100_000, "test": 20_000}
    parts = [part for part in sizes if split in (part, "all")]
    points = [density.sample(sizes[part], Stream(0).child(name, part)) for part in parts]
    return Data(np.concatenate(points), columns=("x", "y"), name=name, density=density)


def _bars(name: str, split: str) -> Data:
    return Data(bars_and_stripes(4), shape=(4, 4), low=0.0, high=1.0, name=name)


_BUILT_IN: dict[str, tuple[Callable[[str, str], Data], str]] = {
    "digits": (_digits, "1,797 digits, 8×8 greys, from scikit-learn (train 1,437, test 360)"),
    "mnist": (_mnist, "70,000 digits, 28×28 greys (train 60,000, test 10,000)"),
    "fashion-mnist": (
        _mnist,
        "70,000 clothes of 10 kinds, 28×28 greys (train 60,000, test 10,000)",
    ),
    "ring": (_toy, "8 Gaussians on a circle, a known density (train 100,000, test 20,000)"),
    "grid": (_toy, "25 Gaussians on a grid, a known density (train 100,000, test 20,000)"),
    "bars": (_bars, "bars and stripes, 30 binary patterns of 4×4 (every split is all of them)"),
    "house-votes": (_table, "16 votes of 435 members, and their party (train 348, test 87)"),
    "dna": (_table, "180 binary columns of DNA, and its junction (train 2,549, test 637)"),
}
for _name, (_width, *_rows) in BINARY_SETS.items():
    _what = "pixels of MNIST, binarised once" if _name == "mnist-binary" else "binary columns"
    _parts = ", ".join(f"{part} {n:,}" for part, n in zip(PARTS, _rows, strict=True))
    _BUILT_IN[_name] = (_binary_set, f"{_width} {_what} ({_parts})")


def _of_array(path: Path, array: np.ndarray, labels: np.ndarray | None = None) -> Data:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path}: its array is of type {array.dtype}; expected numbers")
    pictures = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))
    if (array.ndim != 2 and not pictures) or not array.size:
        expected = "(rows, columns), (n, height, width) or (n, height, width, 3), and not empty"
        raise ValueError(f"{path}: its array has shape {array.shape}; expected {expected}")
    if labels is not None and labels.shape != array.shape[:1]:
        found = f"has labels of shape {labels.shape} for {len(array)} examples"
        raise ValueError(f"{path}: {found}; expected one each")
    colours = array.shape[3:] if array.shape[3:] == (3,) else ()
    shape = array.shape[1:3] + colours if pictures else None
    bytes_ = pictures and array.dtype == np.uint8
    high = 1.0 if array.dtype == np.bool_ else 255.0 if bytes_ else None
    low = None if high is None else 0.0
    return Data(array.reshape(len(array), -1), labels, None, shape, low, high, path.name)


def _refuse_options(source: Any, kind: str, how: dict[str, Any], *refused: str) -> None:
    purposes = {"label": "names a column of a table", "text": "is about the columns of a CSV file"}
    for name in refused:
        if how[name] not in (None, False, "grey"):
            purpose = purposes.get(name, "applies to a folder of pictures")
            raise ValueError(
                f"{name}={how[name]!r}: {purpose}, and {source} is {kind}; leave it out"
            )


# ---------------------------------------------------------------------- tables and arrays

_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # the first sign of what a spreadsheet works out
_PARQUET_CELLS = 1 << 23  # that are read at a time
_NPZ_KEYS = (("X", "y"), ("images", "labels"))


def read_csv(
    path: str | os.PathLike[str], label: str | None = None, *, text: bool = False
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """A table of numbers, or of numbers and text, under a line of column names.

    A column keeps its own type. Digits behind a leading zero (``02139``) or with signs between
    (``12_34``) are text. Cells are separated by commas, or by semicolons or tabs where the first
    line has these alone. An empty cell is missing, and so is ``NA`` in any of its spellings.

    The file is in UTF-8; ``label`` names a column of labels, which is not part of the values; with
    ``text`` columns may hold text, which otherwise is refused.

    Returns
    -------
    values : ndarray, shape (n, d)
        int64 where all cells are whole, float64 where all are numbers (NaN where missing); else,
        and for whole numbers that float64 would change, Python objects (None where missing).
    labels : ndarray, shape (n,), or None
        int64, float64 (NaN where missing) or text (None where missing).
    columns : tuple of str
        Names of the d columns.
    """
    frame, labels = _read_table(Path(path), label, text)
    return _as_array(frame), labels, tuple(frame.columns)


def write_csv(
    path: str | os.PathLike[str] | IO[bytes],
    values: Any,
    columns: Sequence[str] | None = None,
    header: bool = True,
    *,
    guard: bool = False,
) -> None:
    """Write a table (n, d) of numbers or text, under a header unless it goes on, into a file of a
    name or one that is open; a missing cell is left empty.

    Names of the columns are by default a frame's own, or ``x0``, ``x1``, ….

    With ``guard`` an apostrophe is put before text, also a column's name, that begins with one of
    = + - @, a tab or a line break, since a spreadsheet would work it out as a formula (OWASP, *CSV
    injection*). That changes such cells for all who read the file; numbers stay as they are.
    """
    import pandas as pd

    if not is_frame(values):
        values = np.asarray(values)
        if values.ndim != 2:
            raise ValueError(f"values has shape {values.shape}: expected (rows, columns)")
        values = values.astype(np.uint8) if values.dtype == np.bool_ else values
        values = pd.DataFrame(values, columns=[f"x{i}" for i in range(values.shape[1])])
    values = values.copy(deep=False)  # whose columns may be written otherwise
    if columns is not None and len(columns) != values.shape[1]:
        what = f"{len(columns)} names for {values.shape[1]} columns of values"
        raise ValueError(f"columns has {what}")
    names: list[Any] = list(values.columns if columns is None else columns)
    for name, form in values.attrs.get(FORMS, {}).items():
        if name in values.columns and values[name].dtype.kind == "M":
            values[name] = written(values[name].to_numpy(), form)
    if guard:
        names = list(map(_guarded, names))
        for place in np.flatnonzero([dtype.kind == "O" for dtype in values.dtypes]).tolist():
            cells = values.iloc[:, place].astype(object)
            values.isetitem(place, cells.map(_guarded, na_action="ignore"))
    how: dict[str, Any] = {"header": names if header else False, "index": False}
    with contextlib.ExitStack() as stack:
        if isinstance(path, str | os.PathLike):
            path = stack.enter_context(Path(path).expanduser().open("wb"))
        values.to_csv(_Lines(path), lineterminator="\r\n", **how)


class _Lines:
    """A file of lines that end in a line feed: csv, which ends them in both signs, so quotes a cell
    that holds either."""

    def __init__(self, file: IO[bytes]):
        self._file = file

    def write(self, line: str) -> None:
        self._file.write(line.removesuffix("\r\n").encode() + b"\n")


def _guarded(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def read_npz(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """The array and the labels in a ``.npz`` file.

    They are called ``X`` (and ``y``) or ``images`` (and ``labels``), or there is a single array.
    """
    with opened(path) as file:
        with reading(path, ".npz file"):
            archive: Any = np.load(file, allow_pickle=False)
            if not hasattr(archive, "zip"):
                raise ValueError("not an archive of arrays")
            keys = list(archive)
            pair = next((pair for pair in _NPZ_KEYS if pair[0] in keys), tuple(keys))
            wanted = [key for key in pair if key in keys]
            sizes = [archive.zip.getinfo(f"{key}.npy").file_size for key in wanted]
            for key, size in zip(wanted, sizes, strict=True):  # before room is made for them
                with archive.zip.open(f"{key}.npy") as member:
                    _npy_header(member, size)
        if pair in _NPZ_KEYS or len(keys) == 1:
            affordable("source", str(path), sum(sizes) / 4)
            with reading(path, ".npz file"):
                found = [archive[key] for key in wanted]
            return found[0], found[1] if len(found) > 1 else None
    listed = ", ".join(keys) or "nothing"
    raise ValueError(
        f"{path}: holds {listed}; expected X (and y), images (and labels), or a single array"
    )


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in a ``.npy`` file as a read-only memory map, which may be larger than memory."""
    with opened(path) as file:
        if file.peek(4)[:4] == b"PK\3\4":
            raise ValueError(f"{path}: not a readable .npy file (it is an archive: call it .npz)")
        with reading(path, ".npy file"):
            how = _npy_header(file, os.fstat(file.fileno()).st_size)
            if 0 in how["shape"]:  # of nothing there is no map
                return np.zeros(how["shape"], how["dtype"])
            return np.memmap(file, mode="r", **how)


def _npy_header(file: Any, size: int) -> dict[str, Any]:
    """Type, shape and place of the array in a ``.npy`` file of so many bytes, as it is to be
    mapped."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"its format {version} is unknown")
    narrow = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if narrow else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which pickle alone could read")
    start, asked = file.tell(), math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or start + asked > size:
        raise ValueError(f"its header {shape} asks for {asked:,} bytes where {size - start:,} are")
    return {"dtype": dtype, "shape": shape, "offset": start, "order": "F" if fortran else "C"}


def _read_table(path: Path, label: str | None, text: bool) -> tuple[Any, np.ndarray | None]:
    """A frame of the columns, and the labels."""
    if path.suffix.lower() == ".parquet":
        frame = _read_parquet(path)
    else:
        frame = read_table(path, label, text)
    if label is None:
        return frame, None
    if label not in frame.columns:
        hint = nearest_name(label, list(frame.columns)).replace("the columns", "its columns")
        raise ValueError(f"label={label!r}: {path} has no such column; {hint}")
    if frame.shape[1] == 1:
        raise ValueError(f"{path}: has no column besides the label {label!r}; expected one or more")
    labels = _as_array(frame[[label]])[:, 0]
    if labels.dtype == object and all(isinstance(cell, str) for cell in labels):
        labels = labels.astype(str)
    return frame.drop(columns=label), labels


def _read_parquet(path: Path) -> Any:
    """A frame, read some columns at a time, since Arrow's own copy of these lies beside it."""
    import pandas as pd

    try:
        from pyarrow import default_memory_pool, parquet
    except ImportError as error:
        what = "is not installed, and Parquet files need it"
        raise ExtraError(f'pyarrow {what}: pip install "equilibria[tables]"') from error
    with opened(path) as file:
        with reading(path, "Parquet file"):
            about = parquet.ParquetFile(file)
            index = (about.schema_arrow.pandas_metadata or {}).get("index_columns", ())
            names = [name for name in about.schema_arrow.names if name not in index]
        rows = about.metadata.num_rows
        affordable("source", str(path), 2.0 * rows * about.metadata.num_columns)
        step = max(1, _PARQUET_CELLS // max(1, rows))
        with reading(path, "Parquet file"):
            groups = [names[first : first + step] for first in range(0, len(names), step)]
            parts = [pd.read_parquet(file, columns=group) for group in groups or [names]]
            default_memory_pool().release_unused()
            return parts[0] if len(parts) == 1 else pd.concat(parts, axis=1)


def _as_array(frame: Any) -> np.ndarray:
    """A frame as one array of numbers where that changes no cell, else of Python objects."""
    kinds = {dtype.kind for dtype in frame.dtypes}
    if all(isinstance(dtype, np.dtype) for dtype in frame.dtypes) and kinds == {"f"}:
        return frame.to_numpy(dtype=np.float64)  # without a copy, where they lie together
    missing = frame.isna().to_numpy(dtype=bool)
    if kinds <= set("biu") and not missing.any():
        return frame.to_numpy(dtype=np.int64 if kinds != {"b"} else bool)
    wide = [column for column in frame if frame[column].dtype.kind in "iu"]
    small = all(bool((frame[one].abs().dropna() <= 2**53).all()) for one in wide)
    if kinds <= set("biuf") and small:
        return frame.to_numpy(dtype=np.float64, na_value=np.nan)
    cells = frame.astype(object).to_numpy(copy=True)
    cells[missing] = None
    return cells
