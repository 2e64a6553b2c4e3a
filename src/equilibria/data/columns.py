"""What a column can be (:data:`KINDS`), and how its cells are read and written (:class:`Column`).

Arrays of numbers are read in blocks and never copied whole, so that a memory map will do; pandas is
imported only where a DataFrame comes or goes.
"""

from __future__ import annotations

import collections
import dataclasses
import decimal
import difflib
import mmap
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "ALIASES",
    "KINDS",
    "Chosen",
    "Column",
    "Kind",
    "Reader",
    "as_frame",
    "blocks",
    "is_frame",
    "missing_cells",
]
__all__ += ["mapped", "release", "slab", "subset", "take", "twice", "unit_of"]

BLOCK_CELLS = 1 << 20
EXACT = 2**53  # whole numbers up to here are exact in float64
_NARROW = ("bool", "int8", "uint8", "int16", "uint16", "float16", "float32")  # exact in float32
_SHORT = {"float16": "float16", "halffloat": "float16", "float32": "float32", "float": "float32"}
_NUMPY = {*_NARROW, "int32", "uint32", "int64", "uint64", "float64"}
_TIMES = {"datetime": "M", "timedelta": "m"}
_DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?", re.A)
FORMS = "dates"
"""In ``attrs`` of a frame: how its file writes the dates of some columns, by name."""
_HOLDS = {"b": "truth", "i": "whole", "u": "whole", "f": "real", "M": "datetime", "m": "timedelta"}
_WHOLE = (int, np.integer, np.bool_)
_REAL = (*_WHOLE, float, np.floating)
_NUMBERS = (*_REAL, decimal.Decimal)
_OBJECTS: dict[str, tuple[type, ...]] = {
    "truth": (bool, np.bool_),
    "whole": _WHOLE,
    "real": _REAL,
    "decimal": _NUMBERS,
    "text": (str,),
}
_CONVERT = "convert the column to numbers, text or dates that pandas knows, or leave it out"


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of column.

    Attributes
    ----------
    meaning : str
        What the columns are for a model, in words.
    ends : (low, high) or None
        Encoded values of the two ends of the data's range, of a kind that has one.
    least : float
        The smallest value that such a column may hold.
    old : str
        Its name in runs of version 0.1.0.
    """

    meaning: str
    ends: tuple[float, float] | None = None
    least: float = -np.inf
    old: str = ""


KINDS = {
    "binary": Kind("binary units", (0.0, 1.0), old="bernoulli"),
    "categorical": Kind("one-hot groups", old="categorical"),
    "real": Kind("real numbers, standardised", old="gaussian"),
    "positive": Kind("numbers of zero or more, in standard deviations", None, 0.0, "rectified"),
    "quantile": Kind("numbers by their ranks, as normal scores"),
    "spin": Kind("spins between −1 and +1", (-1.0, 1.0), old="spin"),
    "picture": Kind("greys or colours in [−1, 1]", (-1.0, 1.0), old="picture"),
    "gap": Kind("whether a cell is missing, as binary units"),
}
"""Every kind of column that there is, one row each, in the order of the layers of a mixed table.

A column that is coded takes one encoded column for each of its categories, or, where it is binary,
one in all. A kind with ``ends`` is scaled from its range; any other is centred and divided by its
standard deviation (``positive``: divided alone; ``quantile``: see
:class:`~equilibria.data.margin.Margin`). A ``gap`` stands beside the column of which it tells.
"""

ALIASES = {kind.old: word for word, kind in KINDS.items() if kind.old not in ("", word)}


def is_frame(table: Any) -> bool:
    """Whether this is a DataFrame."""
    return hasattr(table, "iloc") and hasattr(table, "columns")


def as_frame(table: Any, name: str = "X") -> Any:
    """A frame of another library, such as polars, as one of pandas, by the interchange protocol
    (``__dataframe__``); everything else as it is."""
    if is_frame(table) or not hasattr(table, "__dataframe__"):
        return table
    import pandas as pd

    try:
        with warnings.catch_warnings():  # pandas 3 would have everyone depend on pyarrow
            warnings.simplefilter("ignore")
            return pd.api.interchange.from_dataframe(table)
    except Exception as error:  # another library's code
        kind = f"{type(table).__module__}.{type(table).__qualname__}"
        what = f"a {kind}, which pandas could not read ({error})"
        raise ValueError(f"{name} is {what}; give it as a pandas DataFrame (to_pandas)") from error


def is_missing(cell: Any) -> bool:
    """None, NaN in any type, or one of pandas' marks."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float | np.floating | decimal.Decimal) and cell != cell


def missing_cells(cells: Any) -> np.ndarray:
    """Which cells of an array or a frame are missing, bool of the same shape."""
    if is_frame(cells):
        return np.asarray(cells.isna())
    cells = np.asarray(cells)
    if cells.dtype == object:
        found = np.fromiter(map(is_missing, cells.reshape(-1)), dtype=bool, count=cells.size)
        return found.reshape(cells.shape)
    return np.isnan(cells) if cells.dtype.kind in "fc" else np.zeros(cells.shape, dtype=bool)


def take(values: Any, places: Any) -> Any:
    """Rows of a tensor, an array (of a memory map these alone are read) or a frame."""
    if isinstance(values, Tensor):
        return torch.index_select(values, 0, torch.as_tensor(places, device=values.device))
    places = np.asarray(places)
    found = values.iloc[places] if is_frame(values) else values[places]
    release(values)
    return found


def mapped(values: Any) -> np.memmap | None:
    """The memory map that an array is, or is a view of, as scikit-learn makes one; else None."""
    while isinstance(values, np.ndarray) and not isinstance(values, np.memmap):
        values = values.base
    return values if isinstance(values, np.memmap) and values.base is not None else None


def release(values: Any) -> None:
    """Let go of what has been read of a memory map: it takes memory no longer.

    Not of one that is copied on write (mode "c"), whose changed cells are in memory alone.
    """
    values = mapped(values)
    if values is None or values.mode not in ("r", "r+", "w+"):
        return
    while isinstance(values, np.ndarray):
        values = values.base
    if isinstance(values, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        values.madvise(mmap.MADV_DONTNEED)


def blocks(n: int, width: int, multiple: int = 1) -> Iterator[slice]:
    """Ranges of n rows of a million cells each; of a multiple of so many rows, but for the last."""
    step = max(1, BLOCK_CELLS // multiple // max(1, width)) * multiple
    for first in range(0, n, step):
        yield slice(first, min(first + step, n))


def slab(values: Any, rows: slice) -> Any:
    """A range of rows of an array or a frame, without a copy."""
    return values.iloc[rows] if is_frame(values) else values[rows]


class Chosen(np.lib.mixins.NDArrayOperatorsMixin):
    """Some rows of an array, by their places: read where they are asked for, never copied as a
    whole unless by ``np.asarray``, by numpy's functions or by an operator. It has no other method
    of an array.

    >>> rows = Chosen(np.array([[1, 2], [3, 4], [5, 6]]), np.array([0, 2]))
    >>> rows.shape, rows[1:].tolist(), rows[:, 0].tolist()
    ((2, 2), [[5, 6]], [1, 5])
    >>> (rows + 1).tolist()
    [[2, 3], [6, 7]]
    """

    def __init__(self, values: np.ndarray, places: np.ndarray):
        self._values, self._places = values, places
        self.dtype, self.shape = values.dtype, (len(places), *values.shape[1:])
        self.ndim, self.nbytes = values.ndim, len(places) * values[:1].nbytes

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, *columns = key if isinstance(key, tuple) else (key,)
        if columns and isinstance(columns[0], int):  # of a map that one column alone is read
            found = self._values[self._places[rows], columns[0]]
        else:
            found = self._values[self._places[rows]]
            found = found[:, columns[0]] if columns else found
        release(self._values)
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *given: Any, **how: Any) -> Any:
        read = [np.asarray(one) if isinstance(one, Chosen) else one for one in given]
        return getattr(ufunc, method)(*read, **how)

    def chosen(self, places: np.ndarray) -> Chosen:
        """Some of these rows."""
        return Chosen(self._values, self._places[places])


def subset(values: Any, places: np.ndarray, copy: bool = True) -> Any:
    """Rows as :func:`take` gives them; but of a memory map, and without ``copy`` of any array of
    numbers, they are read where they are asked for."""
    if isinstance(values, Chosen):
        return values.chosen(places)
    shared = not copy and isinstance(values, np.ndarray) and values.dtype != object
    if shared or mapped(values) is not None:
        return Chosen(values, np.arange(len(values))[places])
    return take(values, places)


def nearest_name(word: Any, names: Sequence[Any]) -> str:
    """A hint at the name that was meant, or at the names that there are."""
    close = difflib.get_close_matches(str(word), [str(name) for name in names], n=1)
    return f"did you mean {close[0]!r}?" if close else f"the columns are {listed(names, 20)}"


def listed(names: Iterable[Any], most: int = 10) -> str:
    """The first names of many, in a sentence."""
    words = list(map(str, names))
    return ", ".join(words[:most]) + (", …" if len(words) > most else "")


def twice(names: Iterable[Any]) -> Any:
    """The first name that comes a second time; None where there is none."""
    return next((name for name, n in collections.Counter(names).items() if n > 1), None)


def objects(cells: Iterable[Any]) -> np.ndarray:
    """Python objects as an array (n,), whatever they are."""
    return np.array([*cells, None], dtype=object)[:-1]


@dataclasses.dataclass(frozen=True)
class Column:
    """The type of one column: what its cells are, and what decoded cells become.

    Attributes
    ----------
    dtype : str
        numpy's or pandas' name of the type.
    holds : str
        ``"truth"``, ``"whole"``, ``"real"``, ``"text"``, ``"datetime"``, ``"timedelta"`` or
        ``"decimal"``.
    levels : tuple or None
        Of pandas' categories: all of them in their order, also those that no row has.
    ordered : bool
        Whether these have an order.
    level_dtype : str
        The type of these.
    digits : int
        Of decimals: how many there are behind the point.
    form : str
        Of dates that a file has as text: one of them with zeros for digits.
    """

    dtype: str
    holds: str = "real"
    levels: tuple[Any, ...] | None = None
    ordered: bool = False
    level_dtype: str = ""
    digits: int = 0
    form: str = ""

    @classmethod
    def of(cls, series: Any, where: str) -> Column:
        """The type of a frame's column; ``where`` names it in errors."""
        import pandas as pd

        dtype = series.dtype
        if str(dtype) == "object":
            return cls.of_objects(np.asarray(series, dtype=object), where)
        if isinstance(dtype, pd.CategoricalDtype):
            levels = pd.Series(dtype.categories)
            inner = cls.of(levels, where)
            if inner.holds not in ("truth", "whole", "real", "text") and len(levels):
                raise ValueError(f"{where} has categories of type {levels.dtype}; {_CONVERT}")
            values = tuple(np.asarray(levels, dtype=object).tolist())
            return cls("category", inner.holds, values, bool(dtype.ordered), str(levels.dtype))
        holds = "text" if pd.api.types.is_string_dtype(dtype) else _HOLDS.get(dtype.kind)
        if holds is None or "Sparse" in str(dtype) or not _has_name(dtype):
            raise ValueError(f"{where} is of type {dtype}; {_CONVERT}")
        return cls(str(dtype), holds)

    @classmethod
    def of_objects(cls, cells: np.ndarray, where: str) -> Column:
        """The type that Python objects have in truth."""
        present = [cell for cell in cells if not is_missing(cell)]
        types = set(map(type, present))
        for holds, classes in _OBJECTS.items():
            if all(issubclass(one, classes) for one in types):
                ends = [c.as_tuple().exponent for c in present] if holds == "decimal" else []
                digits = max([0, *(-e for e in ends if isinstance(e, int))])
                return cls("object", holds, digits=digits)
        odd = next((cell for cell in present if not isinstance(cell, (*_NUMBERS, str))), None)
        if odd is not None:
            raise ValueError(f"{where} holds {odd!r}; expected a number or text: {_CONVERT}")
        raise ValueError(f"{where} holds both numbers and text; a column holds one of the two")

    def typed(self, values: np.ndarray, missing: np.ndarray, where: str, origin: int = 0) -> Any:
        """Decoded cells (n,), numbers less ``origin`` or chosen categories, in the own type."""
        text = self.dtype.startswith(("<U", ">U"))
        if (text or (self.dtype in _NUMPY and self.dtype[0] != "f")) and missing.any():
            what = f"holds NaN, which the data's type {self.dtype} cannot"
            raise ValueError(f"values: {where} {what}; fill missing values before decoding")
        if values.dtype != object:
            values = self._numbers(np.where(missing, 0.0, values), origin)
        if text or self.dtype in _NUMPY:
            return (np.where(missing, np.nan, values) if missing.any() else values).astype(
                self.dtype
            )
        if self.holds == "truth":
            values = objects(map(bool, values))
        values = values.astype(object)
        values[missing] = None
        return values if self.dtype == "object" else self._of_pandas(values, missing)

    def _numbers(self, values: np.ndarray, origin: int) -> np.ndarray:
        """Real numbers as what the column holds; whole ones exactly, as Python's own."""
        if self.holds == "real":
            values, name = values + origin if origin else values, self.dtype.lower().partition("[")
            if name[0] in _SHORT:  # what is drawn beyond the type's numbers is the last of them
                most = float(np.finfo(_SHORT[name[0]]).max)
                values = values.clip(-most, most)
            return values
        if self.holds == "decimal":
            unit = decimal.Decimal(1).scaleb(-self.digits)
            return objects((decimal.Decimal(v) + origin).quantize(unit) for v in values.tolist())
        low, high = self._ends()
        values = np.rint(values)
        if not origin and self.dtype in _NUMPY and abs(low) <= EXACT and high <= EXACT:
            return values.clip(low, high)
        return objects(min(max(int(v) + origin, low), high) for v in values.tolist())

    def _ends(self) -> tuple[int, int]:
        """The smallest and the largest whole number of the type."""
        name = self.dtype.lower().removesuffix("[pyarrow]")  # pandas' Int64 has numpy's limits
        if self.holds == "truth":
            return 0, 1
        if name in _NUMPY and np.dtype(name).kind in "iu":
            return int(np.iinfo(name).min), int(np.iinfo(name).max)
        limit = 2**63 if self.holds in _TIMES else 2**1000
        return 1 - limit, limit - 1

    def _of_pandas(self, cells: np.ndarray, missing: np.ndarray) -> Any:
        import pandas as pd

        if self.levels is not None:
            levels = pd.Index(self.levels, dtype=self.level_dtype)
            return pd.Categorical(cells, categories=levels, ordered=self.ordered)
        if self.holds not in _TIMES:
            return pd.array(cells, dtype=_pandas_type(self.dtype))
        ticks = np.where(missing, np.iinfo("i8").min, cells).astype("i8")  # numpy's mark of NaT
        times = pd.Series(ticks.view(f"{_TIMES[self.holds]}8[{unit_of(self.dtype)}]"))
        zone = getattr(_pandas_type(self.dtype), "tz", None)
        if zone is not None:
            times = times.dt.tz_localize("UTC").dt.tz_convert(zone)
        return times.astype(self.dtype).array


def is_date(cell: Any) -> bool:
    """Whether a cell is text that looks like a date as ISO 8601 has them; it may be 2026-02-30.

    >>> is_date("2026-12-01T09:30"), is_date("1.12.2026")
    (True, False)
    """
    return isinstance(cell, str) and _DATE.fullmatch(cell) is not None


def written(times: np.ndarray, form: str) -> np.ndarray:
    """Dates (n,) as text of this form, None where missing."""
    words = np.datetime_as_string(times.astype("datetime64[us]")).astype(f"U{len(form)}")
    cells = np.array(words, dtype=object)
    if " " in form:
        cells = objects(word.replace("T", " ") for word in words.tolist())
    cells[np.isnat(times)] = None
    return cells


def unit_of(dtype: str) -> str:
    """The unit of a type of dates or durations: datetime64[us, UTC] has microseconds."""
    unit = dtype.partition("[")[2].partition(",")[0].partition("]")[0]
    return "D" if unit == "day" else unit


def _pandas_type(name: str) -> Any:
    """The type of a name; pandas itself takes that of Arrow's text for one of its own."""
    import pandas as pd

    if name == "string[pyarrow]":
        import pyarrow

        return pd.ArrowDtype(pyarrow.string())
    return pd.api.types.pandas_dtype(name)


def _has_name(dtype: Any) -> bool:
    """Whether a type can be had from its name, which is what is kept of it."""
    try:
        return str(_pandas_type(str(dtype))) == str(dtype)
    except (TypeError, NotImplementedError):
        return False


class Reader:
    """A table of any make, read a block of rows at a time.

    Parameters
    ----------
    X : array-like, Tensor or DataFrame, shape (n, d)
        The data, which may be a memory map.
    name : str
        What errors call it.
    first : int
        What errors call the first row.
    names, types : sequence, optional
        Names that errors call the columns by, and types whose units dates are read in; by default
        their own.

    Examples
    --------
    >>> rows = Reader(np.array([[1.0, np.nan], [2.0, 3.0]]))
    >>> rows.where(1, 0), rows.numbers(slice(2), (1,)).tolist()
    ('X[1, 0] (column 0)', [[nan], [3.0]])
    """

    def __init__(
        self,
        X: Any,
        name: str = "X",
        names: Sequence[Any] | None = None,
        types: Sequence[Column] = (),
        first: int = 0,
    ):
        X = as_frame(X, name)
        self.name, self.is_frame, self._first = name, is_frame(X), first
        self.table: Any = X if self.is_frame else _array(X)
        self.shape = tuple(self.table.shape)
        if len(self.shape) != 2 or not all(self.shape):
            what = "expected (rows, columns), at least one of each; flatten pictures and name"
            raise ValueError(f"{name} has shape {self.shape}: {what} their shape")
        self._dtypes = list(map(str, X.dtypes)) if self.is_frame else [str(self.table.dtype)]
        self.dtype = self._dtypes[0] if len(set(self._dtypes)) == 1 else "object"
        if not self.is_frame and self.table.dtype.kind not in "biufOU":
            raise ValueError(f"{name} is of type {self.dtype}: expected numbers or text")
        self.names = _labels(X.columns, name) if self.is_frame else None
        self._called, self._types = self.names if names is None else names, types
        self._views = dict[int, np.ndarray]()  # of a frame's numbers: asking pandas takes longer

    def __len__(self) -> int:
        return self.shape[0]

    def ranges(self) -> Iterator[slice]:
        """The :func:`blocks` of its rows."""
        for rows in blocks(*self.shape):
            yield rows
            release(self.table)

    def levels(self, place: int) -> tuple[Any, ...] | None:
        """Of pandas' categories all of them, where the types are known."""
        return self._types[place].levels if self._types else None

    def called(self, place: int) -> str:
        """A column by its name, else by its number."""
        return f"column {place if self._called is None else self._called[place]!r}"

    def where(self, row: int, place: int) -> str:
        """A cell by its row and column."""
        return f"{self.name}[{self._first + row}, {place}] ({self.called(place)})"

    def refuse_gaps(self, missing: np.ndarray, cells: np.ndarray, first: int, place: int) -> None:
        """Name the first missing cell of a block of a column, where there is one."""
        if missing.any():
            row = int(missing.argmax())
            mark = "None" if cells[row] is None else "NaN"
            what = f"{self.where(first + row, place)} is {mark}"
            raise ValueError(f"{what}; fill it, or leave the row out")

    def column(self, place: int) -> Column:
        """The type of a column."""
        where = f"{self.name}: {self.called(place)}"
        if self.is_frame:
            found = Column.of(self.table.iloc[:, place], where)
            form = self.table.attrs.get(FORMS, {}).get(self.table.columns[place], "")
            return dataclasses.replace(found, form=form) if found.holds == "datetime" else found
        if self.table.dtype == object:
            return Column.of_objects(self.table[:, place], where)
        text = self.table.dtype.kind == "U"
        return (
            Column(self.table.dtype.str, "text")
            if text
            else Column(self.dtype, _HOLDS[self.table.dtype.kind])
        )

    def cells(self, rows: slice, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Some rows of a column in its own type, and which of them are missing.

        Dates and durations are whole numbers of their unit, categories what they stand for. Where a
        cell is missing the value beside it means nothing.
        """
        if not self.is_frame:
            cells = self.table[rows, place]
        elif self._dtypes[place] in _NUMPY:
            if place not in self._views:
                self._views[place] = self.table.iloc[:, place].to_numpy()
            cells = self._views[place][rows]
        else:
            types = self._types[place] if self._types else None
            return _read(self.table.iloc[rows, place], types)
        return cells, missing_cells(cells)

    def numbers(
        self, rows: slice, places: Sequence[int], origin: Any = None, wide: bool = True
    ) -> Tensor:
        """Some rows of some columns less ``origin``, NaN where missing.

        In float64, or, unless ``wide``, in float32 where the data's type loses nothing there. The
        difference is taken before anything is rounded, so that large whole numbers keep theirs.
        """
        dtypes = {self._dtypes[p] for p in places} if self.is_frame else set(self._dtypes)
        alike = dtypes <= _NUMPY and (len(dtypes) == 1 or dtypes <= set(_NARROW))
        if not alike or origin is not None:
            pairs = zip(places, origin or [0] * len(places), strict=True)
            return torch.from_numpy(np.stack([self._floats(rows, *pair) for pair in pairs], 1))
        chosen = slice(None) if tuple(places) == tuple(range(self.shape[1])) else list(places)
        block = (
            self.table.iloc[rows, chosen].to_numpy() if self.is_frame else self.table[rows, chosen]
        )
        to = np.float64 if wide or str(block.dtype) not in _NARROW else np.float32
        with np.errstate(invalid="ignore"):  # numpy warns of a signalling NaN that it widens
            return torch.from_numpy(block.astype(to))  # copies: torch wants a writable array

    def _floats(self, rows: slice, place: int, origin: int) -> np.ndarray:
        """A column less ``origin``, exactly; text is refused even where it spells a number."""
        cells, missing = self.cells(rows, place)
        if cells.dtype.kind in "biuf" and not origin:
            with np.errstate(invalid="ignore"):
                return np.where(missing, np.nan, cells.astype(np.float64))
        values, cells = np.full(len(cells), np.nan), cells.astype(object)
        for row in np.flatnonzero(~missing).tolist():
            if not isinstance(cells[row], _NUMBERS):
                found = f"{self.where(rows.start + row, place)} is {str(cells[row])!r}"
                remedy = '(recode the column, or take it as "categorical")'
                raise ValueError(f"{found}; expected numbers {remedy}")
            try:
                values[row] = float(cells[row] - origin if origin else cells[row])
            except OverflowError:
                where = self.where(rows.start + row, place)
                raise ValueError(f"{where} is beyond what a float holds; leave it empty") from None
        return values


def _array(X: Any) -> Any:
    """Data without a frame as an array; a list that holds text keeps the types of its cells."""
    if isinstance(X, Tensor):
        X = (X.float() if X.dtype == torch.bfloat16 else X).detach().cpu().numpy()
    if hasattr(X, "__array__"):
        return X if isinstance(X, Chosen) else np.asarray(X)
    cells = np.array(X, dtype=object)
    text = any(isinstance(cell, str) or cell is None for cell in cells.reshape(-1))
    return cells if text else np.asarray(X)


def _labels(columns: Any, name: str) -> tuple[Any, ...]:
    labels = tuple(label.item() if isinstance(label, np.generic) else label for label in columns)
    for place, label in enumerate(labels):
        if isinstance(label, bool) or not isinstance(label, str | int):
            what = f"column {place} is called {label!r}; expected text or a number"
            raise ValueError(f"{name}: {what}")
    if len(set(labels)) < len(labels):
        what = f"two columns are called {twice(labels)!r}"
        raise ValueError(f"{name}: {what}; give each its own name")
    return labels


def _read(series: Any, known: Column | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A frame's column as an array, and which cells are missing; dates in the unit of ``known``."""
    import pandas as pd

    dtype = series.dtype
    if str(dtype) in _NUMPY:
        cells = series.to_numpy()
        return cells, missing_cells(cells)
    missing = series.isna().to_numpy(dtype=bool)
    if isinstance(dtype, pd.CategoricalDtype):
        levels = _read(pd.Series(dtype.categories))[0] if len(dtype.categories) else np.zeros(1)
        return levels[series.cat.codes.to_numpy().clip(min=0)], missing
    if dtype.kind in "mM":
        unit = unit_of(str(dtype) if known is None else known.dtype)
        return series.to_numpy(f"{dtype.kind}8[{unit}]").view("i8"), missing
    if dtype.kind in "biuf":
        return series.fillna(False if dtype.kind == "b" else 0).to_numpy(
            dtype=dtype.numpy_dtype
        ), missing
    return series.to_numpy(dtype=object), missing
