"""A table: what its columns are, their numbers for a model, and the way back (:class:`Table`)."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.data.kind import (
    ALIASES,
    KINDS,
    Column,
    Rows,
    is_frame,
    missing_cells,
    nearest_name,
)

__all__ = ["Layer", "Statistics", "Table"]

MAX_CATEGORIES = 10
MAX_TEXTS = 100
_MIXED = ("binary", "categorical", "real", "positive")  # the layers of a mixed table, in order
_EXACT = 2**53
_LEAST_DEVIATION = 0.1  # of a picture's pixels: the share of the largest that they are divided by


@dataclasses.dataclass(frozen=True)
class Layer:
    """A visible layer: columns of one kind, side by side in an encoded row.

    Attributes
    ----------
    name : str
        ``"visible"``; in a mixed table the kind; or the name of a group of columns.
    kind : str
        A row of :data:`~equilibria.data.KINDS`.
    source : tuple of int
        Which columns of the data, in the order of the variables.
    columns : slice
        Which encoded columns.
    categories : tuple of tuples or None
        Of coded columns: each one's categories. A ``categorical`` one has an encoded column for
        each; a ``binary`` one has one, which is 1 for the second.
    offset, scale : tuple of float or None
        Of standardised columns: encoded = (x − origin − offset) / scale.
    low, high : float or None
        The range of the data, where there is one.
    origin : tuple of int or None
        Subtracted exactly before anything is rounded, where whole numbers are beyond 2⁵³.
    """

    name: str
    kind: str
    source: tuple[int, ...]
    columns: slice = dataclasses.field(default_factory=lambda: slice(0))
    categories: tuple[tuple[Any, ...], ...] | None = None
    offset: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    low: float | None = None
    high: float | None = None
    origin: tuple[int, ...] | None = None

    @property
    def variables(self) -> int:
        """Number of the data's columns."""
        return len(self.source)

    @property
    def size(self) -> int:
        """Number of encoded columns."""
        return sum(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Encoded columns of each of the data's columns."""
        if self.categories is None or self.kind == "binary":
            return (1,) * len(self.source)
        return tuple(len(group) for group in self.categories)

    @functools.cached_property
    def affine(self) -> tuple[Tensor, Tensor]:
        """Offset and scale of x = offset + scale · encoded, float64."""
        if self.offset is not None and self.scale is not None:
            return _double(self.offset), _double(self.scale)
        ends = KINDS[self.kind].ends
        assert ends is not None
        assert self.low is not None
        assert self.high is not None
        scale = (self.high - self.low) / (ends[1] - ends[0])
        return _double(self.low - ends[0] * scale), _double(scale)

    def encode(
        self, rows: Rows, block: slice, dtype: torch.dtype, missing: bool, unknown: str
    ) -> Tensor:
        """Some rows of a table, (n, size)."""
        if self.categories is not None:
            return self._coded(rows, block, dtype, missing, unknown)
        standardised = self.scale is not None
        wide = standardised or dtype == torch.float64
        values = rows.numbers(block, self.source, self.origin, wide)
        if standardised or rows.dtype != "uint8" or self.low != 0 or (self.high or 0) < 255:
            ends = _ends(values, rows, block.start, self.source, missing, KINDS[self.kind].least)
            _refuse_range(self.kind, self.low, self.high, ends, rows.name)
        offset, scale = (part.to(values.dtype) for part in self.affine)
        return ((values - offset) / scale).to(dtype)

    def _coded(
        self, rows: Rows, block: slice, dtype: torch.dtype, missing: bool, unknown: str
    ) -> Tensor:
        assert self.categories is not None
        parts = []
        for place, group in zip(self.source, self.categories, strict=True):
            cells, gaps = rows.cells(block, place)
            if not missing:
                _refuse_gaps(rows, gaps, cells, block.start, place)
            codes = _codes(cells, gaps, group)
            unseen = (codes < 0) & ~gaps
            if unseen.any():
                row = int(unseen.argmax())
                listed = ", ".join(map(repr, group[:10])) + (", …" if len(group) > 10 else "")
                cell = cells[row].item() if isinstance(cells[row], np.generic) else cells[row]
                found = f"{rows.where(block.start + row, place)} is {cell!r}"
                found += f", which was not among its categories {listed}"
                if unknown != "missing":
                    raise ValueError(found)
                warnings.warn(f"{found}: taken as missing", UserWarning, stacklevel=4)
            place_of = torch.from_numpy(codes)
            if self.kind == "binary":
                part = place_of[:, None].to(dtype)
            else:
                part = torch.zeros(len(codes), len(group), dtype=dtype)
                part.scatter_(1, place_of.clamp(min=0)[:, None], 1.0)
            part[place_of < 0] = torch.nan
            parts.append(part)
        return torch.cat(parts, 1)

    def decode(self, values: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """(n, variables): numbers less ``origin``, or chosen categories; and which are missing."""
        values = values.detach().cpu()
        if self.categories is None:
            offset, scale = self.affine
            numbers = (values.to(torch.float64) * scale + offset).numpy()
            return numbers, np.isnan(numbers)
        chosen = np.empty((len(values), self.variables), dtype=object)
        missing = np.zeros(chosen.shape, dtype=bool)
        for column, part in enumerate(values.split(self.sizes, dim=1)):
            place = (part[:, 0] > 0.5).long() if self.kind == "binary" else part.argmax(1)
            group = np.array([*self.categories[column], None], dtype=object)
            chosen[:, column] = group[place.numpy()]
            missing[:, column] = part.isnan().any(1).numpy()
        return chosen, missing

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold; the encoded columns follow from the order."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {k: v for k, v in fields.items() if v is not None and k != "columns"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Layer:
        """The inverse of :meth:`to_json`."""
        tuples = ("source", "offset", "scale", "origin")
        fields = {k: tuple(v) if k in tuples and v is not None else v for k, v in data.items()}
        if fields.get("categories") is not None:
            fields["categories"] = tuple(tuple(group) for group in fields["categories"])
        return cls(**fields)


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What one pass over the data tells about the encoded columns.

    Attributes
    ----------
    total, counts : Tensor, shape (size,)
        Sum and number of each encoded column's observed cells, float64.
    grey : frozenset of str
        The binary layers that hold more than zeros and ones.
    missing : bool
        Whether any cell is missing.
    """

    total: Tensor
    counts: Tensor
    grey: frozenset[str]
    missing: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """The translation between data in its own scale and type and the columns of a model.

    Made by :meth:`fit`. Each column is of one of :data:`~equilibria.data.KINDS`, and columns of one
    kind make a layer.

    =========== ========================================================
    kind        encoded value of x
    =========== ========================================================
    binary      (x − low) / (high − low), in [0, 1]; or 0 for the first of
                two values and 1 for the second
    categorical one column for each category, 1 at the value's own
    real        (x − mean) / standard deviation
    positive    x / standard deviation, for x ≥ 0
    spin        2 (x − low) / (high − low) − 1, in [−1, 1]
    picture     2 (x − low) / (high − low) − 1, in [−1, 1]
    =========== ========================================================

    Attributes
    ----------
    layers : tuple of Layer
        One called ``"visible"``, or one for each kind (or each named group) of a mixed table.
    types : tuple of Column
        The type of each column, or the one type of all.
    names : tuple or None
        Names of the columns, of data that had them.
    shape : tuple of int or None
        (height, width) or (height, width, colours) where a row is a flattened picture.
    width : int
        Number of the data's columns.
    is_frame : bool
        Whether the data were a DataFrame, as which rows are then given back.
    aside : tuple of (place, value)
        Columns of a mixed table that no model is told: constant ones, which have this value in
        every row, and texts without repetition such as names, which are left empty (None).

    Examples
    --------
    >>> table = Table.fit(np.array([[0, 16], [8, 4]], dtype=np.uint8), value_range=(0, 16))
    >>> table.encode(np.array([[4, 16]], dtype=np.uint8))
    tensor([[0.2500, 1.0000]])
    >>> table.decode(torch.tensor([[0.25, 1.0]]))
    array([[ 4, 16]], dtype=uint8)

    A mixed table: a vote, a height and a colour.

    >>> rows = np.array([["y", 1.5, "red"], ["n", 1.7, "blue"], ["y", 1.9, "green"]], dtype=object)
    >>> mixed = Table.fit(rows)
    >>> [(layer.name, layer.source) for layer in mixed.layers]
    [('binary', (0,)), ('categorical', (2,)), ('real', (1,))]
    >>> mixed.decode(mixed.encode(rows))[1].tolist()
    ['n', 1.7, 'blue']
    """

    layers: tuple[Layer, ...]
    types: tuple[Column, ...]
    width: int
    names: tuple[Any, ...] | None = None
    shape: tuple[int, ...] | None = None
    is_frame: bool = False
    aside: tuple[tuple[int, Any], ...] = ()

    def __post_init__(self) -> None:
        first, placed = 0, []
        for layer in self.layers:
            columns = slice(first, first + layer.size)
            placed.append(dataclasses.replace(layer, columns=columns))
            first = columns.stop
        object.__setattr__(self, "layers", tuple(placed))
        known = [place for layer in placed for place in layer.source] + [p for p, _ in self.aside]
        if sorted(known) != list(range(self.width)) or len(self.types) not in (1, self.width):
            raise ValueError(
                f"layers speak of the columns {known}; expected each of {self.width} once"
            )

    @classmethod
    def fit(
        cls,
        X: Any,
        *,
        kinds: str | Sequence[str] | Mapping[Any, str] = "auto",
        value_range: Sequence[float] | None = None,
        picture_shape: Sequence[int] | None = None,
        groups: Mapping[str, Any] | None = None,
        allow_missing: bool = True,
        max_categories: int = MAX_CATEGORIES,
    ) -> Table:
        """A table from data.

        Parameters
        ----------
        X : array-like, Tensor or DataFrame, shape (n, d)
            The data; read in blocks, so that a memory map larger than memory will do.
        kinds : str, sequence or mapping
            A kind for all columns; or one for each, or for some by name or number, the others by
            what they hold. ``"mixed"``: each by what it holds. ``"auto"``: mixed where a column is
            not made of numbers; else ``"binary"`` where all values lie in ``value_range`` (0 to 1),
            which are then probabilities; else ``"real"``.
        value_range : (low, high), optional
            Of binary columns, spins and pictures. By default 0 to 1; for pictures 0 to 255 of
            uint8, else the smallest and the largest value; for spins −1 to 1 if any is negative.
        picture_shape : sequence of int, optional
            (height, width), or (height, width, colours), of rows that are flattened pictures.
        groups : mapping, optional
            Name → columns (a slice, a range, a list of numbers or names). Each group is a layer of
            one kind, by what it holds or by ``kinds`` (one word, or a mapping from groups). Each
            column is in one group. ``value_range`` is then that of the groups that are binary.
        allow_missing : bool
            Whether NaN, None and pandas' NA are missing values rather than errors.
        max_categories : int
            How many different whole numbers are still taken as categories.
        """
        rows = Rows(X)
        fitter = _Fitter(rows, _range_of(value_range), allow_missing, max_categories)
        shape = _shape_of(picture_shape, rows.shape[1])
        aside: tuple[tuple[int, Any], ...] = ()
        if groups is not None:
            layers = fitter.groups(groups, kinds)
        elif isinstance(kinds, str) and (word := fitter.word(kinds)) != "mixed":
            layers = [fitter.layer("visible", word, tuple(range(rows.shape[1])), shape)]
        else:
            for name, value in (("value_range", value_range), ("picture_shape", picture_shape)):
                if value is not None:
                    raise ValueError(
                        f"{name}={value!r} speaks of all columns, and a mixed table has "
                        "several kinds; leave it out"
                    )
            layers, aside = fitter.mixed(None if isinstance(kinds, str) else kinds)
        return cls(
            tuple(layers), fitter.types, rows.shape[1], rows.names, shape, rows.is_frame, aside
        )

    @property
    def kind(self) -> str:
        """The one kind of all columns, or ``"mixed"``."""
        return self.layers[0].kind if [one.name for one in self.layers] == ["visible"] else "mixed"

    @property
    def size(self) -> int:
        """Number of encoded columns."""
        return sum(layer.size for layer in self.layers)

    @property
    def text(self) -> tuple[int, ...]:
        """Places of the columns that hold text."""
        return tuple(place for place in range(self.width) if self.type(place).holds == "text")

    def type(self, place: int) -> Column:
        """The type of a column."""
        return self.types[place if len(self.types) > 1 else 0]

    def column_name(self, place: int) -> str:
        """A column by its name, else by its number, as sentences call it."""
        return f"column {place if self.names is None else self.names[place]!r}"

    # ------------------------------------------------------------------ to the model

    def match(self, X: Any, name: str = "X") -> Any:
        """The data with a frame's columns in the table's order; of arrays the width is checked.

        Columns are matched by name wherever both have names.
        """
        frame = is_frame(X) and self.names is not None
        if frame:
            found = Rows(X, name).names or ()
            unknown = [label for label in found if label not in (self.names or ())]
            absent = [label for label in self.names or () if label not in found]
            if unknown or absent:
                what = f"has the column {unknown[0]!r}, which the data of fit did not have"
                hint = nearest_name((unknown or absent)[0], self.names or ())
                if not unknown:
                    what, hint = f"lacks the column {absent[0]!r}", "give every column of fit"
                raise ValueError(f"{name} {what}; {hint}")
            return X if found == self.names else X[list(self.names or ())]
        shape = np.shape(X)
        if len(shape) == 2 and shape[1] != self.width:
            raise ValueError(f"{name} has {shape[1]} columns; the table was fitted on {self.width}")
        return X

    def encode(
        self,
        X: Any,
        dtype: torch.dtype = torch.float32,
        *,
        name: str = "X",
        allow_missing: bool = True,
        unknown: str = "refuse",
    ) -> Tensor:
        """The model's values of any rows of the data, shape (n, size).

        Parameters
        ----------
        X : array-like, Tensor or DataFrame, shape (n, d)
            Rows in the data's own scale; a frame's columns are matched by name.
        dtype : torch.dtype
            Type of the result. Values are centred in float64 before they are narrowed to it.
        name : str
            What errors call the data.
        allow_missing : bool
            Whether missing cells become NaN (a category in its whole group) or are refused.
        unknown : {"refuse", "missing"}
            Whether a category that was not there at first is refused, or is taken as missing.
        """
        rows = Rows(self.match(X, name), name, self.names)
        blocks = []
        for _, block in rows.ranges():
            parts = [one.encode(rows, block, dtype, allow_missing, unknown) for one in self.layers]
            blocks.append(parts[0] if len(parts) == 1 else torch.cat(parts, 1))
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks)

    def observed(self, X: Any) -> np.ndarray:
        """Which cells are not missing, bool (n, width)."""
        rows = Rows(self.match(X))
        places = range(self.width)
        return np.stack([~rows.cells(slice(0, len(rows)), place)[1] for place in places], 1)

    def statistics(self, X: Any, rows: int = 4096) -> Statistics:
        """Sums and counts of the encoded columns, in one pass over blocks of rows."""
        X = self.match(X)
        total, counts = (torch.zeros(self.size, dtype=torch.float64) for _ in range(2))
        grey: set[str] = set()
        for first in range(0, len(X), rows):
            block = X.iloc[first : first + rows] if is_frame(X) else X[first : first + rows]
            values = self.encode(block, torch.float64)
            missing = values.isnan()
            total += values.nansum(0)
            counts += (~missing).sum(0)
            sharp = ((values == 0) | (values == 1) | missing).all(0)
            binary = [layer for layer in self.layers if layer.kind == "binary"]
            grey |= {layer.name for layer in binary if not bool(sharp[layer.columns].all())}
        return Statistics(total, counts, frozenset(grey), bool((counts < len(X)).any()))

    # ------------------------------------------------------------------ and back

    def decode(self, values: Tensor, like: Any = None) -> Any:
        """Rows (n, size) of the model in the data's own scale and types, shape (n, width).

        Whole numbers are rounded and clipped to their type and range; of a category's columns the
        largest wins, of a binary one the second value above ½. A frame comes back as a frame, with
        the index of ``like`` where that is given.
        """
        if values.ndim != 2 or values.shape[1] != self.size:
            raise ValueError(f"values has shape {tuple(values.shape)}: expected (n, {self.size})")
        cells: list[Any] = [None] * self.width
        for layer in self.layers:
            decoded, missing = layer.decode(values[:, layer.columns])
            if layer.categories is None and len(self.layers) == len(self.types) == 1:
                made = self._own_type(decoded, layer)
                if made is not None:
                    return made
            for column, place in enumerate(layer.source):
                numbers, gaps, holds = (
                    decoded[:, column],
                    missing[:, column],
                    self.type(place).holds,
                )
                if layer.categories is None and holds in ("truth", "whole"):
                    gaps = ~np.isfinite(numbers)
                    if layer.low is not None and layer.high is not None:
                        ends = math.ceil(layer.low), math.floor(layer.high)
                        numbers = np.rint(numbers).clip(*ends)
                origin = 0 if layer.origin is None else layer.origin[column]
                name = self.column_name(place)
                cells[place] = self.type(place).typed(numbers, gaps, name, origin)
        for place, value in self.aside:
            constant = np.array([value, None], dtype=object)[:1].repeat(len(values))
            gaps = np.full(len(values), value is None)
            cells[place] = self.type(place).typed(constant, gaps, self.column_name(place))
        return self._assembled(cells, len(values), like)

    def decode_means(self, values: Tensor, like: Any = None, wanted: Any = None) -> Any:
        """Means of the model's columns in the data's own scale, float64, neither rounded nor cut.

        Dates and durations are given as such. Categories and text have no mean: they are refused
        where ``wanted`` (bool, (n, width); all by default) asks for one, and NaN elsewhere.
        """
        cells: list[Any] = [np.full(len(values), np.nan) for _ in range(self.width)]
        without = {place for place, _ in self.aside if self.type(place).holds == "text"}
        for place, value in self.aside:
            if place not in without:
                cells[place] = np.full(len(values), float(value))
        for layer in self.layers:
            part = values[:, layer.columns].detach().cpu().to(torch.float64)
            if layer.kind == "categorical":
                without.update(layer.source)
                continue
            numbers = None if layer.categories is not None else layer.decode(part)[0]
            for column, place in enumerate(layer.source):
                if layer.categories is not None:
                    low, high = layer.categories[column]
                    if isinstance(low, str):
                        without.add(place)
                    else:
                        cells[place] = part[:, column].numpy() * (float(high) - low) + float(low)
                    continue
                assert numbers is not None
                origin = 0 if layer.origin is None else layer.origin[column]
                cells[place] = numbers[:, column] + origin
                if self.is_frame and self.type(place).holds in ("datetime", "timedelta"):
                    gaps = np.isnan(numbers[:, column])
                    cells[place] = self.type(place).typed(numbers[:, column], gaps, "", origin)
        for place in sorted(without):
            if wanted is None or np.asarray(wanted)[:, place].any():
                raise ValueError(
                    f"values: {self.column_name(place)} holds text or categories, which have no "
                    "mean; ask for the most probable value, or draw several"
                )
        return self._assembled(cells, len(values), like, np.dtype(np.float64))

    def put_back(self, rows: Any, given: Any) -> Any:
        """Decoded rows with the given cells exactly as they came, their types and index too.

        Parameters
        ----------
        rows : ndarray or DataFrame, shape (n, width)
            As :meth:`decode` or :meth:`decode_means` gives them.
        given : ndarray or DataFrame, shape (n, width) or (1, width)
            Some cells missing.
        """
        given = self.match(given, "given")
        if is_frame(given) and is_frame(rows):
            return self._columns_put_back(rows, given)
        table = given.to_numpy(dtype=object) if is_frame(given) else Rows(given, "given").table
        if is_frame(rows):
            made = [self._typed_back(place, rows, table) for place in range(self.width)]
            return self._assembled(made, len(rows), rows)
        table = np.broadcast_to(table, rows.shape)
        known = ~missing_cells(table)
        if rows.dtype.kind in "OU" or table.dtype.kind in "OU":
            rows = rows.astype(object)
        elif rows.dtype != table.dtype:
            whole = table.dtype.kind != "f" or bool((table[known] % 1 == 0).all())
            exact = whole and bool((table[known].astype(rows.dtype) == table[known]).all())
            rows = rows if exact or rows.dtype.kind == "f" else rows.astype(table.dtype)
        rows = rows.copy()
        rows[known] = table[known]
        return rows

    def _typed_back(self, place: int, rows: Any, table: np.ndarray) -> Any:
        """A frame's column with cells that came in an array."""
        column = rows.iloc[:, place].astype(object).to_numpy(copy=True)
        cells = np.broadcast_to(table[:, place], len(rows)).astype(object)
        known = ~missing_cells(cells)
        column[known] = cells[known]
        return _series(column, rows.iloc[:, place].dtype)

    def _columns_put_back(self, rows: Any, given: Any) -> Any:
        """Column by column: one without a gap stays as it is."""
        import pandas as pd

        if len(given) == 1 and len(rows) > 1:
            given = given.iloc[np.zeros(len(rows), dtype=int)].set_axis(rows.index)
        columns = []
        for place in range(self.width):
            came, drawn = given.iloc[:, place], rows.iloc[:, place]
            gaps = came.isna().to_numpy(dtype=bool)
            if gaps.any():
                filled = came.astype(object).to_numpy(copy=True)
                filled[gaps] = drawn.astype(object).to_numpy()[gaps]
                holds, left = self.type(place).holds, missing_cells(filled).any()
                if holds in ("truth", "whole") and drawn.dtype.kind == "f":  # means
                    filled[gaps] = np.rint(filled[gaps].astype(float)) if not left else filled[gaps]
                came = _fitting(filled, came.dtype, self.type(place), left)
            columns.append(pd.Series(came.array, index=given.index))
        return pd.concat(columns, axis=1).set_axis(list(given.columns), axis=1)

    def _own_type(self, numbers: np.ndarray, layer: Layer) -> np.ndarray | None:
        """All cells at once, where the data were one array of numbers."""
        to = None if self.types[0].dtype.startswith(("<", ">", "object")) else self.types[0].dtype
        if to is None or layer.origin is not None or self.is_frame or layer.variables != self.width:
            return None
        if np.dtype(to).kind == "f":
            return numbers.astype(to)
        if not np.isfinite(numbers).all():
            raise ValueError(
                f"values holds NaN or inf, which the data's type {to} cannot; "
                "fill missing values before decoding"
            )
        low, high = (0, 1) if to == "bool" else (np.iinfo(to).min, np.iinfo(to).max)
        low = low if layer.low is None else max(low, math.ceil(layer.low))
        high = high if layer.high is None else min(high, math.floor(layer.high))
        return np.rint(numbers).clip(float(low), float(high)).astype(to)

    def _assembled(self, cells: list[Any], n: int, like: Any, dtype: Any = None) -> Any:
        """Columns as a frame or an array, as the data were."""
        if self.is_frame:
            import pandas as pd

            index = getattr(like, "index", None)
            index = pd.RangeIndex(n) if index is None or len(index) != n else index
            series = {place: pd.Series(column, index=index) for place, column in enumerate(cells)}
            return pd.DataFrame(series, index=index).set_axis(list(self.names or ()), axis=1)
        first = self.types[0].dtype
        if dtype is None:
            dtype = np.dtype(first) if len({one.dtype for one in self.types}) == 1 else object
        made = np.empty((n, self.width), dtype=dtype)
        for place, column in enumerate(cells):
            made[:, place] = column
        return made

    # ------------------------------------------------------------------ scale, words, storage

    @property
    def log_scales(self) -> Tensor:
        """log |dx / d(encoded)| of each encoded column, float64 (size,); 0 of discrete ones.

        The sum over a row's observed cells is what their log-density in the data's own scale is
        less than in the model's.
        """
        parts = [torch.zeros(one.size, dtype=torch.float64) for one in self.layers]
        scales = [None if one.scale is None else _double(one.scale).log() for one in self.layers]
        return torch.cat([z if s is None else s for z, s in zip(parts, scales, strict=True)])

    @property
    def log_volume(self) -> float:
        """The sum of :attr:`log_scales`, in nats."""
        return math.fsum(
            float(np.log(layer.scale).sum()) for layer in self.layers if layer.scale is not None
        )

    def describe(self) -> str:
        """What each column was taken for, in sentences.

        Examples
        --------
        >>> rows = np.array([[0, 1.5, 7], [1, 2.5, 7]])
        >>> print(Table.fit(rows, kinds="mixed").describe())
        1 column as binary units (0). 1 column as real numbers, standardised (1).
        1 column the same in every row, and given back so (2). Rows are given back as float64.
        """
        parts = [self._clause(layer) for layer in self.layers]
        constant = [place for place, value in self.aside if value is not None]
        unlike = [place for place, value in self.aside if value is None]
        for places, what in (
            (constant, "the same in every row, and given back so"),
            (
                unlike,
                "of text with too many different values, not modelled: samples leave it empty",
            ),
        ):
            if places:
                parts.append(f"{_count(places)} {what}{self._listed(places)}")
        types = ", ".join(dict.fromkeys(column.dtype for column in self.types))
        return ". ".join([*parts, f"Rows are given back as {types}."])

    def _clause(self, layer: Layer) -> str:
        known = "" if layer.low is None else f" from {layer.low:g} to {layer.high:g}"
        shape = "" if self.shape is None else f" (pictures of {'×'.join(map(str, self.shape))})"
        meaning = KINDS[layer.kind].meaning
        if layer.kind == "binary" and layer.categories is None:
            meaning = "probabilities of binary units"
        if layer.kind == "categorical":
            meaning += f" of {layer.size} columns"
        called = "" if layer.name in ("visible", *_MIXED) else f"{layer.name}: "
        listed = "" if layer.name == "visible" else self._listed(layer.source)
        return f"{called}{_count(layer.source)}{known}{shape} as {meaning}{listed}"

    def _listed(self, places: Iterable[int]) -> str:
        names = [str(place if self.names is None else self.names[place]) for place in places]
        return f" ({', '.join(names[:20])}{', …' if len(names) > 20 else ''})"

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold, floats to the last bit."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["layers"] = [layer.to_json() for layer in self.layers]
        fields["types"] = [dataclasses.asdict(column) for column in self.types]
        return {"table": 2, **fields}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Table:
        """The inverse of :meth:`to_json`; the schema of a run of version 0.1.0 is read too."""
        if "table" not in data:
            return _of_first_edition(cls, data)
        fields = {name: value for name, value in data.items() if name != "table"}
        fields["layers"] = tuple(map(Layer.from_json, data["layers"]))
        types = [{**one, "levels": _tuple(one["levels"])} for one in data["types"]]
        fields["types"] = tuple(Column(**one) for one in types)
        fields["aside"] = tuple((place, value) for place, value in data["aside"])
        return cls(**{**fields, "names": _tuple(data["names"]), "shape": _tuple(data["shape"])})


@dataclasses.dataclass
class _Survey:
    """What a column holds."""

    column: Column
    values: set[Any] = dataclasses.field(
        default_factory=set
    )  # at most one more than is asked about
    whole: bool = True
    missing: bool = False

    def kind(self, called: str, most: int) -> str:
        """The kind that these values speak for; "aside" where a model has nothing to learn."""
        holds = self.column.holds
        if not self.values:
            raise ValueError(f"X: {called} has no observed value; leave it out")
        if holds in ("datetime", "timedelta", "decimal"):
            return "real"
        if len(self.values) == 1 and (self.whole or holds == "real"):
            return "aside"
        if self.whole and len(self.values) == 2:
            return "binary"
        declared = self.column.levels is not None
        if holds == "text" and not declared and len(self.values) > max(MAX_TEXTS, most):
            return "aside"
        few = self.whole and len(self.values) <= most
        return "categorical" if declared or holds in ("text", "truth") or few else "real"

    def categories(self) -> tuple[Any, ...]:
        """The values in order: that of pandas' categories, else sorted."""
        if self.column.levels is not None:
            return tuple(level for level in self.column.levels if level in self.values)
        return tuple(sorted(self.values))


class _Fitter:
    """Finds the layers of a table; :meth:`Table.fit` has the arguments."""

    def __init__(
        self, rows: Rows, limits: tuple[float, float] | None, allow_missing: bool, most: int
    ):
        self.rows, self.limits, self.allow_missing, self.most = rows, limits, allow_missing, most
        width = rows.shape[1]
        single = not rows.is_frame and rows.table.dtype != object
        self.types = tuple(rows.column(place) for place in range(1 if single else width))

    def type(self, place: int) -> Column:
        return self.types[place if len(self.types) > 1 else 0]

    def word(self, kinds: str) -> str:
        """One word for all columns in this module's words; ``"auto"`` is answered if types do."""
        kind = ALIASES.get(kinds, kinds)
        if kind not in KINDS and kind not in ("auto", "mixed"):
            raise ValueError(f"kinds={kinds!r}: expected 'auto', 'mixed', {', '.join(KINDS)}")
        odd = any(one.holds not in _NUMBERS or one.levels is not None for one in self.types)
        return "mixed" if kind == "auto" and odd else kind

    def survey(self, places: Sequence[int], every: Sequence[int] = ()) -> dict[int, _Survey]:
        """One pass over columns; all the values of those in ``every``, or of pandas' categories."""
        found = {place: _Survey(self.type(place)) for place in places}
        limit = max(MAX_TEXTS, self.most)
        for first, block in self.rows.ranges():
            for place, known in found.items():
                cells, missing = self.rows.cells(block, place)
                if missing.any() and not self.allow_missing:
                    _refuse_gaps(self.rows, missing, cells, first, place)
                present = cells[~missing] if missing.any() else cells
                known.missing = known.missing or bool(missing.any())
                known.whole = known.whole and _all_whole(present, known.column.holds)
                if len(known.values) <= limit or place in every or known.column.levels is not None:
                    known.values.update(np.unique(present).tolist())
                    while len(known.values) > limit + 1 and place not in every:
                        if known.column.levels is not None:
                            break
                        known.values.pop()
        return found

    def mixed(self, kinds: Any) -> tuple[list[Layer], tuple[tuple[int, Any], ...]]:
        """Columns put together by kind, and those that are left aside."""
        rows, width = self.rows, self.rows.shape[1]
        said = self._said(kinds)
        coded = [place for place, kind in said.items() if kind in ("binary", "categorical")]
        found = self.survey(range(width), coded)
        chosen = dict(said)
        for place, one in found.items():
            if place not in chosen:
                chosen[place] = one.kind(rows.called(place), self.most)
        aside = []
        for place in (place for place in range(width) if chosen[place] == "aside"):
            if len(found[place].values) > 1 and self.type(place).dtype.startswith("<U"):
                raise ValueError(
                    f"X: {rows.called(place)} is text with too many values; leave it out"
                )
            only = len(found[place].values) == 1
            aside.append((place, next(iter(found[place].values)) if only else None))
        layers = []
        for kind in _MIXED:
            source = tuple(place for place in range(width) if chosen[place] == kind)
            if source:
                layers.append(self.layer(kind, kind, source, None, found))
        if not layers:
            raise ValueError(
                "X: every column is constant or text without repetition; nothing to learn"
            )
        self._demoted(found)
        return layers, tuple(aside)

    def _demoted(self, found: Mapping[int, _Survey]) -> None:
        """Whole numbers that became floats because cells are missing are whole when given back."""
        types = [self.type(place) for place in range(self.rows.shape[1])]
        for place, one in found.items():
            whole = one.whole and one.missing and one.column.holds == "real"
            if whole and self.rows.is_frame and one.column.levels is None:
                types[place] = dataclasses.replace(one.column, holds="whole")
        if self.rows.is_frame:
            self.types = tuple(types)

    def layer(
        self,
        name: str,
        kind: str,
        source: tuple[int, ...],
        shape: tuple[int, ...] | None = None,
        found: Mapping[int, _Survey] | None = None,
    ) -> Layer:
        """A layer of one kind; ``found`` where its columns were surveyed."""
        text = any(self.type(place).holds == "text" for place in source)
        if kind == "categorical" or (kind == "binary" and (found is not None or text)):
            found = self.survey(source, source) if found is None else found
            groups = tuple(found[place].categories() for place in source)
            for place, group in zip(source, groups, strict=True):
                self._refuse_group(place, group, kind, found[place])
            return Layer(name, kind, source, categories=groups)
        origin = self._origin(source)
        least = None if kind == "auto" else KINDS[kind].least
        ends = self._extremes(source, origin, least)
        if kind == "auto":
            bottom, top = self.limits or (0.0, 1.0)
            kind = "binary" if bottom <= ends[0] and ends[1] <= top else "real"
        if KINDS[kind].ends is not None:
            low, high = self.limits or self._usual_range(kind, ends)
            _refuse_range(kind, low, high, ends, "X")
            return Layer(name, kind, source, low=low, high=high)
        mean, deviation = self._moments(source, origin)
        if shape is not None:  # a pixel that hardly varies would be blown up, and one row ruin all
            deviation = deviation.clamp(min=_LEAST_DEVIATION * float(deviation.max()))
        if kind == "positive":
            mean, origin = torch.zeros_like(mean), None
        offset, scale = tuple(mean.tolist()), tuple(deviation.tolist())
        return Layer(name, kind, source, offset=offset, scale=scale, origin=origin)

    def groups(self, groups: Any, kinds: Any) -> list[Layer]:
        """Columns put together by name, each group of one kind."""
        width = self.rows.shape[1]
        places = self._group_places(groups, width)
        if isinstance(kinds, str):
            word = self.word(kinds)
            kinds = {} if word in ("auto", "mixed") else dict.fromkeys(places, word)
        if not isinstance(kinds, Mapping):
            raise ValueError(f"kinds={kinds!r}: expected a word, or a mapping from groups to kinds")
        said = {}
        for name, kind in kinds.items():
            if name not in places:
                listed = ", ".join(map(repr, places))
                raise ValueError(f"kinds names the group {name!r}, which is none of {listed}")
            said[name] = _kind_word(name, kind, KINDS)
        every = [place for places_ in places.values() for place in places_]
        found = self.survey(range(width), every if "categorical" in said.values() else ())
        layers = []
        for name, source in places.items():
            kind = said.get(name, "auto")
            greys = kind in ("binary", "auto") and self._are_greys(source, found)
            if greys or KINDS.get(kind, KINDS["binary"]).ends is None or kind == "spin":
                kind = "binary" if greys else kind
            if kind == "auto":
                kind = self._group_kind(name, source, found)
            surveyed = found if kind == "categorical" or (kind == "binary" and not greys) else None
            if surveyed is not None:
                surveyed = self.survey(source, source)
            layers.append(self.layer(name, kind, source, None, surveyed))
        if self.limits is not None and all(layer.low is None for layer in layers):
            raise ValueError(
                f"value_range={self.limits}: the values of no group lie in it; "
                "leave it out, or scale them"
            )
        return layers

    def _are_greys(self, source: tuple[int, ...], found: Mapping[int, _Survey]) -> bool:
        """Whether a group's numbers are probabilities: only the ends of the range, or between."""
        ends = self.limits or (0.0, 1.0)
        if any(self.type(place).holds == "text" for place in source):
            return False
        if all(found[place].values <= set(ends) for place in source):
            return True
        speaking = self._speaking(source, found)
        if "real" not in speaking.values():
            return False
        low, high = self._extremes(source, None)
        return ends[0] <= low and high <= ends[1]

    def _speaking(self, source: tuple[int, ...], found: Mapping[int, _Survey]) -> dict[int, str]:
        """Kinds of the columns that have more than one value."""
        kinds = {}
        for place in source:
            if len(found[place].values) != 1:
                kind = found[place].kind(self.rows.called(place), self.most)
                kinds[place] = "categorical" if kind == "aside" else kind
        return kinds

    def _group_kind(self, name: str, source: tuple[int, ...], found: Mapping[int, _Survey]) -> str:
        """Text, and whole numbers with few values, are categories; all else is real."""
        speaking = self._speaking(source, found)
        for here, there in itertools.pairwise(speaking):
            if (speaking[here] == "real") != (speaking[there] == "real"):
                likely = "real" if "real" in speaking.values() else "categorical"
                raise ValueError(
                    f"groups[{name!r}] has columns of several kinds: {self.rows.called(here)} is "
                    f"{speaking[here]}, {self.rows.called(there)} is {speaking[there]}; put them "
                    f"into groups of their own, or say which kind is meant "
                    f'(kinds={{"{name}": "{likely}"}})'
                )
        kinds = set(speaking.values())
        text = any(self.type(place).holds == "text" for place in source)
        if text or (kinds and "real" not in kinds):
            return "binary" if kinds <= {"binary"} else "categorical"
        return "real"

    def _group_places(self, groups: Any, width: int) -> dict[str, tuple[int, ...]]:
        """Each group's columns by their places: every column in exactly one group."""
        if not isinstance(groups, Mapping) or not groups:
            raise ValueError(
                f"groups={groups!r}: expected a mapping from names to columns, such as "
                '{"picture": range(64), "name": [64]}'
            )
        owner: dict[int, str] = {}
        for name, columns in groups.items():
            if isinstance(columns, slice):
                columns = range(*columns.indices(width))
            elif isinstance(columns, str | int | np.integer) and not isinstance(columns, bool):
                columns = [columns]
            if not isinstance(columns, Sequence | np.ndarray) or not len(columns):
                raise ValueError(
                    f"groups[{name!r}]={columns!r}: expected some columns: a slice, a range, or a "
                    "list of numbers or names"
                )
            for place in (self.place(column, f"groups[{name!r}]") for column in columns):
                if place in owner:
                    where = f"in {owner[place]!r} and in {name!r}"
                    where = f"twice in {name!r}" if owner[place] == name else where
                    raise ValueError(
                        f"groups: {self.rows.called(place)} is {where}; expected each column in one"
                    )
                owner[place] = name
        left = [place for place in range(width) if place not in owner]
        if left:
            raise ValueError(
                f"groups: {self.rows.called(left[0])} is in no group ({len(left)} of {width} are "
                "not); expected each column in one"
            )
        return {name: tuple(p for p, own in owner.items() if own == name) for name in groups}

    def place(self, column: Any, argument: str) -> int:
        """A column's place, from its name or its number."""
        names, width = self.rows.names or (), self.rows.shape[1]
        if column in names:
            return names.index(column)
        whole = isinstance(column, int | np.integer) and not isinstance(column, bool)
        if whole and -width <= column < width:
            return int(column) % width
        hint = nearest_name(column, names) if names else f"expected a number from 0 to {width - 1}"
        raise ValueError(f"{argument} names the column {column!r}, which X does not have; {hint}")

    def _said(self, kinds: Any) -> dict[int, str]:
        """Kinds by the columns' places."""
        width = self.rows.shape[1]
        if kinds is None:
            return {}
        if not isinstance(kinds, Mapping):
            if len(kinds) != width:
                raise ValueError(
                    f"kinds has {len(kinds)} entries for {width} columns; give one each, or a "
                    "mapping from some columns to kinds"
                )
            kinds = dict(enumerate(kinds))
            places = {place: place for place in kinds}
        else:
            places = {column: self.place(column, "kinds") for column in kinds}
        words = {places[column]: _kind_word(column, kind, _MIXED) for column, kind in kinds.items()}
        return {place: word for place, word in words.items() if word != "auto"}

    def _refuse_group(self, place: int, group: tuple[Any, ...], kind: str, found: _Survey) -> None:
        """A sentence where a column has no categories, one, or for a binary one more than two."""
        called = f"X: {self.rows.called(place)}"
        if not group:
            raise ValueError(f"{called} has no observed value; leave it out")
        if len(group) < 2:
            raise ValueError(
                f"{called} has the one category {group[0]!r} in every row; leave it out"
            )
        if not found.whole and self.type(place).levels is None:
            odd = next(value for value in group if value != round(value))
            raise ValueError(f"{called} holds {odd!r}; a category is a whole number or text")
        if kind == "binary" and len(group) > 2:
            listed = ", ".join(map(repr, group[:5])) + (", …" if len(group) > 5 else "")
            raise ValueError(
                f"{called} has {len(group)} different values ({listed}); a binary column has two: "
                "take it as categorical"
            )

    def _origin(self, source: tuple[int, ...]) -> tuple[int, ...] | None:
        """The smallest value of columns of whole numbers that float64 cannot tell apart."""
        wide = ("whole", "datetime", "timedelta", "real")
        origin = [0] * len(source)
        for column, place in enumerate(source):
            kind = self.type(place)
            if kind.holds not in wide or str(kind.dtype).lower().startswith(("float", "double")):
                continue
            lows, highs = [], []
            for _, block in self.rows.ranges():
                cells, missing = self.rows.cells(block, place)
                present = cells[~missing]
                if present.dtype.kind in "iuO" and len(present):
                    lows.append(int(present.min()) if _finite(present.min()) else 0)
                    highs.append(int(present.max()) if _finite(present.max()) else 0)
            if lows and max(abs(min(lows)), abs(max(highs))) > _EXACT:
                origin[column] = min(lows)
        return tuple(origin) if any(origin) else None

    def _extremes(
        self, source: tuple[int, ...], origin: Any, least: float | None = None
    ) -> tuple[float, float]:
        """The smallest and the largest observed value, of columns together."""
        ends = [
            _ends(
                self.rows.numbers(block, source, origin, wide=False),
                *(self.rows, first, source, self.allow_missing, least),
            )
            for first, block in self.rows.ranges()
        ]
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        if low > high:
            raise ValueError(
                "X has no observed value; expected at least one number that is not NaN"
            )
        return low, high

    def _usual_range(self, kind: str, ends: tuple[float, float]) -> tuple[float, float]:
        """What is usual for the kind and the type."""
        if kind == "picture" and self.rows.dtype == "uint8":
            return 0.0, 255.0
        if kind == "spin":
            return (-1.0, 1.0) if ends[0] < 0 else (0.0, 1.0)
        if kind == "binary" or (ends[0] >= 0 and ends[1] <= 1):
            return 0.0, 1.0
        return _range_of(ends) or ends

    def _moments(self, source: tuple[int, ...], origin: Any) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each column, float64; 1 for a constant one."""
        rows, width = self.rows, len(source)
        total, count, squares = (torch.zeros(width, dtype=torch.float64) for _ in range(3))
        low, high = torch.full_like(total, torch.inf), torch.full_like(total, -torch.inf)
        for _, block in rows.ranges():
            values = rows.numbers(block, source, origin)
            total += values.nansum(0)
            count += (~values.isnan()).sum(0)
            low = torch.minimum(low, values.nan_to_num(nan=torch.inf).amin(0))
            high = torch.maximum(high, values.nan_to_num(nan=-torch.inf).amax(0))
        for column in (count == 0).nonzero().flatten().tolist():
            called = rows.called(source[column])
            raise ValueError(f"X: {called} has no observed value; leave it out")
        constant = low == high  # exactly: rounding would give a tiny deviation to divide by
        mean = torch.where(constant, low, total / count)
        for _, block in rows.ranges():
            squares += (rows.numbers(block, source, origin) - mean).square().nansum(0)
        deviation = torch.where(constant, 1.0, (squares / count).sqrt())
        good = mean.isfinite() & deviation.isfinite() & (deviation > 0)
        for column in (~good).nonzero().flatten().tolist():
            raise ValueError(
                f"X: {rows.called(source[column])} holds values from {low[column]:g} to "
                f"{high[column]:g}, whose squares float64 cannot hold; give it in another unit"
            )
        return mean, deviation


_NUMBERS = ("truth", "whole", "real", "decimal")


def _double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _tuple(values: Any) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def _count(places: Sequence[int]) -> str:
    return f"{len(places)} column{'' if len(places) == 1 else 's'}"


def _finite(value: Any) -> bool:
    return isinstance(value, int | np.integer) or math.isfinite(value)


def _kind_word(column: Any, kind: Any, known: Iterable[str]) -> str:
    word = ALIASES.get(kind, kind) if isinstance(kind, str) else kind
    if word not in known and word != "auto":
        raise ValueError(
            f"kinds[{column!r}]={kind!r}: expected 'auto' or one of {', '.join(known)}"
        )
    return str(word)


def _range_of(value_range: Any) -> tuple[float, float] | None:
    if value_range is None:
        return None
    try:
        low, high = (float(end) for end in value_range)
    except (TypeError, ValueError) as error:
        raise ValueError(f"value_range={value_range!r}: expected (low, high)") from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"value_range={value_range!r}: expected finite numbers, the first below the second"
        )
    return low, high


def _shape_of(shape: Any, width: int) -> tuple[int, ...] | None:
    if shape is None:
        return None
    sides = tuple(shape) if isinstance(shape, Sequence | np.ndarray) else ()
    good = len(sides) in (2, 3) and all(isinstance(s, int | np.integer) and s > 0 for s in sides)
    if not good or (len(sides) == 3 and sides[2] not in (1, 3)):
        raise ValueError(
            f"picture_shape={shape!r}: expected (height, width), or (height, width, 3) for colours"
        )
    if math.prod(sides) != width:
        raise ValueError(
            f"picture_shape={shape!r} has {math.prod(sides)} values, but X has {width} columns"
        )
    return tuple(int(side) for side in sides)


def _all_whole(present: np.ndarray, holds: str) -> bool:
    if holds == "decimal":
        return False
    if present.dtype.kind == "f":
        return bool((present == np.rint(present)).all())
    if holds == "real" and present.dtype == object:
        return all(float(cell).is_integer() for cell in present)
    return True


def _codes(cells: np.ndarray, missing: np.ndarray, group: tuple[Any, ...]) -> np.ndarray:
    """Places of cells in a group, int64; −1 where missing or none of it."""
    place = {value: code for code, value in enumerate(group)}
    if cells.dtype == object:
        found = [-1 if gap else place.get(c, -1) for c, gap in zip(cells, missing, strict=True)]
        return np.array(found, dtype=np.int64)
    values, inverse = np.unique(cells, return_inverse=True)
    listed = values.tolist()
    if cells.dtype.kind in "iu" and group and isinstance(group[0], str):
        listed = list(map(str, listed))  # text that spells numbers, in a file that has no other
    found = [place.get(value, -1) for value in listed]
    return np.where(missing, -1, np.array(found, dtype=np.int64)[inverse])


def _refuse_gaps(
    rows: Rows, missing: np.ndarray, cells: np.ndarray, first: int, place: int
) -> None:
    if missing.any():
        row = int(missing.argmax())
        cell = "None" if cells[row] is None else "NaN"
        raise ValueError(
            f"{rows.where(first + row, place)} is {cell}; fill it, or leave the row out"
        )


def _refuse_range(
    kind: str, low: float | None, high: float | None, ends: tuple[float, float], name: str
) -> None:
    """A sentence where values leave the range of a kind that has one."""
    if KINDS[kind].ends is None or low is None or high is None or ends[0] > ends[1]:
        return
    if ends[0] < low or ends[1] > high:
        remedy = ' or kinds="real" for values without a range' if kind == "binary" else ""
        raise ValueError(
            f"{name} holds values from {ends[0]:g} to {ends[1]:g}, outside {low:g} to {high:g}; "
            f"scale them, or give their range (value_range=({ends[0]:g}, {ends[1]:g})){remedy}"
        )


def _ends(
    values: Tensor,
    rows: Rows,
    first: int,
    source: Sequence[int],
    allow_missing: bool,
    least: float | None,
) -> tuple[float, float]:
    """The smallest and the largest observed value; refuses what is not finite, or below ``least``.

    Without a single observed value the ends are +∞ and −∞.
    """
    least = -math.inf if least is None else least
    low, high = (float(end) for end in torch.aminmax(values))  # NaN wins over every number here
    if not (math.isfinite(low) and math.isfinite(high) and low >= least):
        bad = values.isinf() | (values < least)
        bad = bad if allow_missing else bad | values.isnan()
        for row, column in bad.nonzero()[:1].tolist():
            value = values[row, column].item()
            text, remedy = f"{value:g}", "replace it by a finite number"
            if math.isnan(value):
                text, remedy = "NaN", "fill it, or leave the row out"
            elif math.isfinite(value):
                remedy = "such a column holds zero or more; correct it, or take the column as real"
            raise ValueError(f"{rows.where(first + row, source[column])} is {text}; {remedy}")
        observed = values[~values.isnan()]
        if not observed.numel():
            return math.inf, -math.inf
        return float(observed.min()), float(observed.max())
    return low, high


def _series(cells: np.ndarray, dtype: Any) -> Any:
    """Python objects as a column of this type, or of the type that they have, where it fails."""
    import pandas as pd

    try:
        made = pd.Series(cells, dtype=object).astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return pd.Series(cells, dtype=object)
    gaps = made.isna().to_numpy(dtype=bool)
    same = gaps == missing_cells(cells)
    kept = made.astype(object).to_numpy()
    same[~gaps] &= [a == b for a, b in zip(kept[~gaps], cells[~gaps], strict=True)]
    return made if same.all() else pd.Series(cells, dtype=object).infer_objects()


def _fitting(cells: np.ndarray, came: Any, column: Column, left: bool) -> Any:
    """Filled cells in the type of fit, where nothing of them is lost in it, else in their own."""
    import pandas as pd

    to = column.typed(np.array([], dtype=object), np.zeros(0, dtype=bool), "")
    wanted = came if left or str(came) == column.dtype else pd.Series(to).dtype
    made = _series(cells, wanted)
    return made if made.dtype == wanted else _series(cells, came)


def _of_first_edition(cls: type[Table], data: Mapping[str, Any]) -> Table:
    """The table that the schema of a run of version 0.1.0 is."""
    words = {**ALIASES, "real": "real", "binary": "binary"}
    mixed = data.get("parts") is not None
    layers = []
    for part in data["parts"] if mixed else (data,):
        kind = words.get(part["kind"], part["kind"])
        layers.append(
            Layer.from_json(
                {
                    **{k: part.get(k) for k in ("categories", "offset", "scale", "low", "high")},
                    "name": (part.get("name") or kind) if mixed else "visible",
                    "kind": kind,
                    "source": part.get("source") or range(part["width"]),
                }
            )
        )
    dtypes = data.get("dtypes") or [data["dtype"]]
    types = [Column(dtype, _holds(dtype)) for dtype in dtypes]
    for layer in layers if mixed else ():
        for place, group in zip(layer.source, layer.categories or (), strict=False):
            holds = "text" if isinstance(group[0], str) else types[place].holds
            levels = tuple(group) if types[place].dtype == "category" else None
            level = "" if levels is None else "str" if holds == "text" else "int64"
            types[place] = Column(types[place].dtype, holds, levels, level_dtype=level)
    names = data.get("columns")
    frame = names is not None and mixed
    return cls(
        tuple(layers), tuple(types), data["width"], _tuple(names), _tuple(data["shape"]), frame
    )


def _holds(dtype: str) -> str:
    name = dtype.lower()
    if name.startswith("bool"):
        return "truth"
    return "whole" if name.startswith(("int", "uint")) else "text" if name[0] in "<>" else "real"
