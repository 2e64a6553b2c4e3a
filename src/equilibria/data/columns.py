"""What a column can be (:data:`KINDS`), and how its cells are read and written (:class:`Column`).

Arrays of numbers are read in blocks and never copied whole, so that a memory map will do; pandas is
imported only where a DataFrame comes or goes.
"""

from __future__ import annotations

import dataclasses
import decimal
import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["ALIASES", "KINDS", "Column", "Kind", "Rows", "is_frame", "is_missing", "missing_cells"]

BLOCK_CELLS = 1 << 22
_NARROW = ("bool", "int8", "uint8", "int16", "uint16", "float16", "float32")  # exact in float32
_EXACT = 2**53  # whole numbers up to here are exact in float64


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of column.

    Attributes
    ----------
    meaning : str
        What the columns are for a model, in words.
    found : str
        Which columns are taken to be of this kind where nothing is said.
    units : str
        The class of :mod:`equilibria.units` for it.
    activation : str
        The last function of a network that makes such columns.
    ends : (low, high) or None
        Encoded values of the two ends of the data's range, of a kind that has one.
    least : float or None
        The smallest value that such a column may hold, where there is one.
    old : str
        Its name in runs of version 0.1.0.
    """

    meaning: str
    found: str
    units: str
    activation: str
    ends: tuple[float, float] | None = None
    least: float | None = None
    old: str = ""


KINDS = {
    "binary": Kind(
        "binary units",
        "truth values, and any two whole numbers or texts; alone in a table, numbers from 0 to 1",
        *("Bernoulli", "sigmoid", (0.0, 1.0), None, "bernoulli"),
    ),
    "categorical": Kind(
        "one-hot groups",
        "text, categories of pandas, and whole numbers with few different values",
        *("Categorical", "softmax", None, None, "categorical"),
    ),
    "real": Kind(
        "real numbers, standardised",
        "all other numbers, dates and durations",
        *("Gaussian", "linear", None, None, "gaussian"),
    ),
    "positive": Kind(
        "numbers of zero or more, in standard deviations from zero",
        "never: it is for you to say",
        *("Rectified", "softplus", None, 0.0, "rectified"),
    ),
    "spin": Kind(
        "spins between −1 and +1",
        "never: it is for you to say",
        *("Spin", "tanh", (-1.0, 1.0), None, "spin"),
    ),
    "picture": Kind(
        "greys or colours in [−1, 1]",
        "never: it is for you to say",
        *("Gaussian", "tanh", (-1.0, 1.0), None, "picture"),
    ),
}
"""Every kind of column that there is, one row each, in the order of the layers of a mixed table.

A column that is coded takes one encoded column for each of its categories, or, where it is binary,
one in all. A kind with ``ends`` is scaled from its range; any other is centred and divided by its
standard deviation (``positive``: divided alone).
"""

ALIASES = {kind.old: word for word, kind in KINDS.items() if kind.old != word}


def is_frame(table: Any) -> bool:
    """Whether this is a DataFrame."""
    return hasattr(table, "iloc") and hasattr(table, "dtypes") and hasattr(table, "columns")


def is_missing(cell: Any) -> bool:
    """None, NaN in any type, or one of pandas' marks."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float | np.floating | decimal.Decimal) and cell != cell


def missing_cells(cells: np.ndarray) -> np.ndarray:
    """Which cells of an array are missing, bool of the same shape."""
    if cells.dtype == object:
        found = np.fromiter(map(is_missing, cells.reshape(-1)), dtype=bool, count=cells.size)
        return found.reshape(cells.shape)
    return np.isnan(cells) if cells.dtype.kind in "fc" else np.zeros(cells.shape, dtype=bool)


def nearest_name(word: Any, names: Sequence[Any]) -> str:
    """A hint at the name that was meant, or at the names that there are."""
    close = difflib.get_close_matches(str(word), [str(name) for name in names], n=1)
    listed = ", ".join(map(str, names[:20])) + (", …" if len(names) > 20 else "")
    return f"did you mean {close[0]!r}?" if close else f"the columns are {listed}"


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
    """

    dtype: str
    holds: str = "real"
    levels: tuple[Any, ...] | None = None
    ordered: bool = False
    level_dtype: str = ""
    digits: int = 0

    @classmethod
    def of(cls, series: Any, where: str) -> Column:
        """The type of a frame's column, as far as its dtype tells; ``where`` names it in errors."""
        import pandas as pd

        dtype = series.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            levels = pd.Series(dtype.categories)
            inner = cls.of(levels, where)
            if inner.holds not in ("truth", "whole", "real", "text") and len(levels):
                raise ValueError(f"{where} has categories of type {levels.dtype}; {_CONVERT}")
            listed = tuple(np.asarray(levels, dtype=object).tolist())
            return cls("category", inner.holds, listed, bool(dtype.ordered), str(levels.dtype))
        if dtype.kind != "O" or str(dtype) != "object":
            text = pd.api.types.is_string_dtype(dtype)
            holds = "text" if text else _HOLDS.get(dtype.kind)
            if holds is None or "Sparse" in str(dtype) or not _is_written(dtype):
                raise ValueError(f"{where} is of type {dtype}; {_CONVERT}")
            return cls(str(dtype), holds)
        return cls.of_objects(np.asarray(series, dtype=object), where)

    @classmethod
    def of_objects(cls, cells: np.ndarray, where: str) -> Column:
        """The type that Python objects have in truth."""
        types = {type(cell) for cell in cells if not is_missing(cell)}
        digits = 0
        for holds, classes in _OBJECTS.items():
            if all(issubclass(one, classes) for one in types):
                if holds == "decimal":
                    exponents = [c.as_tuple().exponent for c in cells if not is_missing(c)]
                    digits = max([0, *(-e for e in exponents if isinstance(e, int))])
                return cls("object", holds, digits=digits)
        known = (str, *(one for classes in _OBJECTS.values() for one in classes))
        odd = next((one for one in types if not issubclass(one, known)), None)
        if odd is not None:
            cell = next(c for c in cells if type(c) is odd)
            raise ValueError(f"{where} holds {cell!r}; expected a number or text: {_CONVERT}")
        raise ValueError(f"{where} holds both numbers and text; a column holds one of the two")

    def typed(self, values: np.ndarray, missing: np.ndarray, where: str, origin: int = 0) -> Any:
        """Decoded cells (n,) in the column's own type: an array, or one of pandas'.

        Parameters
        ----------
        values : ndarray, shape (n,)
            Numbers less ``origin``, or chosen categories.
        missing : ndarray of bool, shape (n,)
            Which cells are missing; refused where the type has no mark for that.
        where : str
            What errors call the column.
        origin : int
            What is to be added.
        """
        if values.dtype != object:
            values = self._numbers(values, missing, origin)
        if self.dtype in _NUMPY:
            if np.dtype(self.dtype).kind != "f":
                self._refuse_missing(missing, where)
            values = values if not missing.any() else np.where(missing, np.nan, values)
            return values.astype(self.dtype)
        if self.dtype.startswith(("<U", ">U")):
            self._refuse_missing(missing, where)
            return values.astype(self.dtype)
        values = values.astype(object)
        if self.holds == "truth":
            values = np.array([*map(bool, values), None], dtype=object)[:-1]
        values[missing] = None
        return values if self.dtype == "object" else self._of_pandas(values, missing)

    def _numbers(self, values: np.ndarray, missing: np.ndarray, origin: int) -> np.ndarray:
        """Real numbers as what the column holds; whole ones exactly, as Python's own."""
        values = np.where(missing, 0.0, values)
        if self.holds == "real" or (self.holds == "decimal" and self.dtype in _NUMPY):
            return values + origin if origin else values
        if self.holds == "decimal":
            unit = decimal.Decimal(1).scaleb(-self.digits)
            made = [(decimal.Decimal(v) + origin).quantize(unit) for v in values.tolist()]
            return np.array([*made, None], dtype=object)[:-1]
        low, high = self._ends()
        rounded = np.rint(values)
        if not origin and self.dtype in _NUMPY and abs(low) <= _EXACT and high <= _EXACT:
            return rounded.clip(low, high)
        exact = [min(max(int(v) + origin, low), high) for v in rounded.tolist()]
        return np.array([*exact, None], dtype=object)[:-1]

    def _ends(self) -> tuple[int, int]:
        """The smallest and the largest whole number of the type."""
        if self.holds == "truth":
            return 0, 1
        name = self.dtype.lower().removesuffix("[pyarrow]")  # pandas' Int64 has numpy's limits
        if name in _NUMPY and np.dtype(name).kind in "iu":
            return int(np.iinfo(name).min), int(np.iinfo(name).max)
        limit = 2**63 if self.holds in ("datetime", "timedelta") else 2**1000
        return 1 - limit, limit - 1

    def _of_pandas(self, values: np.ndarray, missing: np.ndarray) -> Any:
        import pandas as pd

        if self.levels is not None:
            levels = pd.Index(self.levels, dtype=self.level_dtype)
            return pd.Categorical(values, categories=levels, ordered=self.ordered)
        if self.holds == "truth":
            values = np.array(
                [None if m else bool(v) for v, m in zip(values, missing, strict=True)]
            )
        if self.holds not in ("datetime", "timedelta"):
            return pd.array(values, dtype=_pandas_type(self.dtype))
        code = "M8" if self.holds == "datetime" else "m8"
        ticks = np.array([0 if m else v for v, m in zip(values, missing, strict=True)], dtype="i8")
        times = pd.Series(ticks.view(f"{code}[{_unit(self.dtype)}]")).mask(missing)
        zone = getattr(_pandas_type(self.dtype), "tz", None)
        if zone is not None:
            times = times.dt.tz_localize("UTC").dt.tz_convert(zone)
        return times.astype(self.dtype).array

    def _refuse_missing(self, missing: np.ndarray, where: str) -> None:
        if missing.any():
            raise ValueError(
                f"values: {where} holds NaN, which the data's type {self.dtype} cannot; "
                "fill missing values before decoding"
            )


_CONVERT = "convert the column to numbers, text or dates that pandas knows, or leave it out"
_SIZES = {"int": (8, 16, 32, 64), "uint": (8, 16, 32, 64), "float": (16, 32, 64)}
_NUMPY = {"bool", *(f"{name}{bits}" for name, sizes in _SIZES.items() for bits in sizes)}
_HOLDS = {"b": "truth", "i": "whole", "u": "whole", "f": "real", "M": "datetime", "m": "timedelta"}
_WHOLE = (int, np.integer, np.bool_)
_OBJECTS: dict[str, tuple[type, ...]] = {
    "truth": (bool, np.bool_),
    "whole": _WHOLE,
    "real": (*_WHOLE, float, np.floating),
    "decimal": (*_WHOLE, float, np.floating, decimal.Decimal),
    "text": (str,),
}


def _unit(dtype: str) -> str:
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


def _is_written(dtype: Any) -> bool:
    """Whether a type can be had from its name, which is what is kept of it."""
    try:
        return str(_pandas_type(str(dtype))) == str(dtype)
    except (TypeError, NotImplementedError):
        return False


class Rows:
    """A table of any make, read a block of rows at a time.

    Parameters
    ----------
    X : array-like, Tensor or DataFrame, shape (n, d)
        The data, which may be a memory map.
    name : str
        What errors call it.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns.
    names : tuple or None
        A frame's names of its columns.
    dtype : str
        The one type that all columns have, else ``"object"``.

    Examples
    --------
    >>> rows = Rows(np.array([[1.0, np.nan], [2.0, 3.0]]))
    >>> rows.where(1, 0), rows.numbers(slice(2), (1,)).tolist()
    ('X[1, 0] (column 0)', [[nan], [3.0]])
    """

    def __init__(self, X: Any, name: str = "X", names: Sequence[Any] | None = None):
        self.name, self.is_frame = name, is_frame(X)
        self.table = X if self.is_frame else _array(X)
        self.shape = tuple(self.table.shape)
        if len(self.shape) != 2 or not self.shape[0] or not self.shape[1]:
            raise ValueError(
                f"{name} has shape {self.shape}: expected (rows, columns), at least one of each; "
                "flatten pictures and name their shape"
            )
        self._dtypes = list(map(str, X.dtypes)) if self.is_frame else [str(self.table.dtype)]
        self.dtype = self._dtypes[0] if len(set(self._dtypes)) == 1 else "object"
        if not self.is_frame and self.table.dtype.kind not in "biufOU":
            raise ValueError(f"{name} is of type {self.table.dtype}: expected numbers or text")
        self.names = _labels(X.columns, name) if self.is_frame else None
        self._called = self.names if names is None else names

    def __len__(self) -> int:
        return self.shape[0]

    def ranges(self) -> Iterator[tuple[int, slice]]:
        """Ranges of rows of some millions of cells each, with the number of the first."""
        step = max(1, BLOCK_CELLS // self.shape[1])
        for first in range(0, len(self), step):
            yield first, slice(first, min(first + step, len(self)))

    def called(self, place: int) -> str:
        """A column by its name, else by its number."""
        return f"column {place if self._called is None else self._called[place]!r}"

    def where(self, row: int, place: int) -> str:
        """A cell by its row and column."""
        return f"{self.name}[{row}, {place}] ({self.called(place)})"

    def column(self, place: int) -> Column:
        """The type of a column."""
        where = f"{self.name}: {self.called(place)}"
        if self.is_frame:
            return Column.of(self.table.iloc[:, place], where)
        if self.table.dtype == object:
            return Column.of_objects(self.table[:, place], where)
        holds = {"b": "truth", "f": "real", "U": "text"}.get(self.table.dtype.kind, "whole")
        return Column(self.table.dtype.str if holds == "text" else self.dtype, holds)

    def cells(self, rows: slice, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Some rows of a column in its own type, and which of them are missing.

        Dates and durations are whole numbers of their unit, categories what they stand for. Where a
        cell is missing the value beside it means nothing.
        """
        if self.is_frame:
            return _read(self.table.iloc[rows, place])
        cells = self.table[rows, place]
        return cells, missing_cells(cells)

    def numbers(
        self,
        rows: slice,
        places: Sequence[int],
        origin: Sequence[int] | None = None,
        wide: bool = True,
    ) -> Tensor:
        """Some rows of some columns less ``origin``, NaN where missing.

        In float64, or, unless ``wide``, in float32 where the data's type loses nothing there. The
        difference is taken before anything is rounded, so that large whole numbers keep theirs.
        """
        all_ = tuple(places) == tuple(range(self.shape[1]))
        dtypes = {self._dtypes[p] for p in places} if self.is_frame else set(self._dtypes)
        alike = dtypes <= _NUMPY and (len(dtypes) == 1 or dtypes <= set(_NARROW))
        if not alike or origin is not None:
            origin = origin or [0] * len(places)
            columns = [self._float(rows, *pair) for pair in zip(places, origin, strict=True)]
            return torch.from_numpy(np.stack(columns, 1))
        if self.is_frame:
            block = self.table.iloc[rows, slice(None) if all_ else list(places)].to_numpy()
        else:
            block = self.table[rows] if all_ else self.table[rows][:, list(places)]
        to = np.float64 if wide or str(block.dtype) not in _NARROW else np.float32
        return torch.from_numpy(block.astype(to))  # astype copies: torch wants a writable array

    def _float(self, rows: slice, place: int, origin: int) -> np.ndarray:
        cells, missing = self.cells(rows, place)
        if cells.dtype.kind not in "biuf":
            return self._parsed(cells, missing, rows.start, place, origin)
        if origin and cells.dtype.kind in "iu":
            wide = cells.astype(np.uint64)  # modulo 2⁶⁴, where the difference of two is exact
            start = np.uint64(origin % 2**64)
            above = cells >= origin
            values = np.where(above, wide - start, start - wide).astype(np.float64)
            values = np.where(above, values, -values)
        else:
            values = cells.astype(np.float64) - origin
        return np.where(missing, np.nan, values) if missing.any() else values

    def _parsed(
        self, cells: np.ndarray, missing: np.ndarray, first: int, place: int, origin: int
    ) -> np.ndarray:
        """Numbers among Python objects; text is refused even where it spells a number."""
        values = np.full(len(cells), np.nan)
        for row in np.flatnonzero(~missing).tolist():
            cell = cells[row]
            if not isinstance(cell, int | float | np.number | np.bool_ | decimal.Decimal):
                raise ValueError(
                    f"{self.where(first + row, place)} is {str(cell)!r}; expected numbers "
                    '(recode the column, or take it as "categorical")'
                )
            values[row] = float(cell - origin if origin else cell)
        return values


def _array(X: Any) -> np.ndarray:
    """Data without a frame as an array; a list that holds text keeps the types of its cells."""
    if isinstance(X, Tensor):
        X = (X.float() if X.dtype == torch.bfloat16 else X).detach().cpu().numpy()
    if isinstance(X, np.ndarray):
        return X
    if hasattr(X, "__array__"):
        return np.asarray(X)
    cells = np.array(X, dtype=object)
    flat = cells.reshape(-1)
    return cells if any(isinstance(c, str) or c is None for c in flat) else np.asarray(X)


def _labels(columns: Any, name: str) -> tuple[Any, ...]:
    labels = tuple(label.item() if isinstance(label, np.generic) else label for label in columns)
    for place, label in enumerate(labels):
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise ValueError(
                f"{name}: column {place} is called {label!r}; expected text or a number"
            )
    twice = next((label for place, label in enumerate(labels) if label in labels[:place]), None)
    if twice is not None:
        raise ValueError(f"{name}: two columns are called {twice!r}; give each its own name")
    return labels


def _read(series: Any) -> tuple[np.ndarray, np.ndarray]:
    """A frame's column as an array in its own type, and which cells are missing."""
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
        return series.to_numpy(f"{dtype.kind}8[{_unit(str(dtype))}]").view("i8"), missing
    if dtype.kind in "biuf":
        zero = False if dtype.kind == "b" else 0
        return series.fillna(zero).to_numpy(dtype=dtype.numpy_dtype), missing
    return series.to_numpy(dtype=object), missing
