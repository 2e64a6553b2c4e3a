"""A table: what its columns are, their numbers for a model, and the way back (:class:`Table`)."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.check import sequence, whole
from equilibria.data.columns import (
    ALIASES,
    FORMS,
    KINDS,
    Column,
    Reader,
    as_frame,
    is_date,
    is_frame,
    is_missing,
    listed,
    missing_cells,
    nearest_name,
    objects,
    slab,
)
from equilibria.data.fit import MIXED, Finder, limits
from equilibria.data.labels import LabelCoding
from equilibria.data.layer import Layer, Rare
from equilibria.random import Stream

__all__ = ["Statistics", "Table"]

NEVER_DRAWN = 1 / 400  # the chance of a category whose mean over draws is 0


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What one pass over the data tells about the encoded columns.

    Sum and number of each column's observed cells (float64, of shape (size,)), the binary layers
    that hold more than zeros and ones, and whether any cell is missing.
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
    quantile    Φ⁻¹(F(x)), a normal score, with the column's own F
    spin        2 (x − low) / (high − low) − 1, in [−1, 1]
    picture     2 (x − low) / (high − low) − 1, in [−1, 1]
    gap         1 where the cell of another column is missing
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
        every row; identifiers, which go on (what stands before the number, its digits, the next
        one); and texts without repetition such as names, which are left empty (None).
    labels : LabelCoding or None
        Classes of the rows, where they are learnt too: a model then has a column for each class
        behind those of the table.
    grey : tuple of str
        Binary layers that hold more than zeros and ones, which are probabilities.

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
    [('binary', (0,)), ('categorical', (2,)), ('quantile', (1,))]
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
    labels: LabelCoding | None = None
    grey: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        first, placed = 0, []
        for layer in self.layers:
            columns = slice(first, first + layer.size)
            placed.append(dataclasses.replace(layer, columns=columns))
            first = columns.stop
        object.__setattr__(self, "layers", tuple(placed))

    @classmethod
    def fit(
        cls,
        X: Any,
        *,
        kinds: str | Sequence[str] | Mapping[Any, str] = "auto",
        value_range: Sequence[float] | None = None,
        picture_shape: Sequence[int] | None = None,
        modalities: Mapping[str, Any] | None = None,
        allow_missing: bool = True,
        max_categories: int = 10,
        gaps: bool = True,
        numbers: str = "auto",
        indicated: bool = False,
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
        modalities : mapping, optional
            Name → columns (a slice, a range, a list of numbers or names). Each is a layer of one
            kind, by what it holds or by ``kinds`` (one word, or a mapping from these names). Each
            column is in one of them. ``value_range`` is then that of those that are binary.
        allow_missing : bool
            Whether NaN, None and pandas' NA are missing values rather than errors.
        max_categories : int
            How many different whole numbers are still taken as categories.
        gaps : bool
            Whether a mixed table says which cells are missing, in a layer ``"gap"`` of a binary
            column for each column with gaps, so that a model draws rows that have them too.
        numbers : str
            What ``"auto"`` takes a table of numbers alone for, where that is not to be seen.
        indicated : bool
            Whether ``"auto"`` takes numbers with missing cells, unless they are pictures, for a
            mixed table, which says which these are.
        """
        if not isinstance(kinds, str | Mapping | Sequence | np.ndarray):
            raise ValueError(f"kinds={kinds!r}: expected a kind, or kinds by column")
        rows = Reader(X)
        width, aside = rows.shape[1], tuple[tuple[int, Any], ...]()
        finder = Finder(rows, limits(value_range), allow_missing, max_categories, gaps)
        shape = _picture(picture_shape, width)
        if isinstance(kinds, str) and kinds == "auto" and finder.word(kinds) == "auto":
            kinds = "mixed" if indicated and shape is None and finder.has_gaps() else numbers
        if modalities is not None:
            layers = finder.modalities(modalities, kinds)
        elif isinstance(kinds, str) and (word := finder.word(kinds)) != "mixed":
            layers = [finder.layer("visible", word, tuple(range(width)), shape=shape)]
        else:
            for name, value in (("value_range", value_range), ("picture_shape", picture_shape)):
                if value is not None:
                    what = "speaks of all columns, and a mixed table has several kinds"
                    raise ValueError(f"{name}={value!r} {what}; leave it out")
            layers, aside = finder.mixed(kinds)
        types = tuple(finder.types)
        return cls(tuple(layers), types, width, rows.names, shape, rows.is_frame, aside)

    @property
    def kind(self) -> str:
        """The one kind of all columns, or ``"mixed"``."""
        return self.layers[0].kind if [one.name for one in self.layers] == ["visible"] else "mixed"

    @property
    def size(self) -> int:
        """Number of encoded columns."""
        return sum(layer.size for layer in self.layers)

    @property
    def classes(self) -> int:
        """Number of classes; 0 where no labels are learnt."""
        return 0 if self.labels is None else len(self.labels.classes)

    @property
    def grey_columns(self) -> Tensor | None:
        """Which encoded columns are grey, bool (size,); None where all are."""
        if len(self.grey) == len(self.layers):
            return None
        grey = torch.zeros(self.size, dtype=torch.bool)
        for layer in self.layers:
            grey[layer.columns] = layer.name in self.grey
        return grey

    @property
    def owner(self) -> tuple[int, ...]:
        """Which of the data's columns each encoded one is of."""
        pairs = (pair for one in self.layers for pair in zip(one.source, one.sizes, strict=True))
        return tuple(place for place, size in pairs for _ in range(size))

    def states(self, place: int) -> Tensor | None:
        """The encoded values that a discrete column can have, one a row; None of any other, and of
        greys."""
        layer = next(one for one in self.layers if place in one.source)
        if layer.kind == "categorical":
            return torch.eye(layer.sizes[layer.source.index(place)], dtype=torch.float64)
        if layer.kind not in ("binary", "spin") or layer.name in self.grey:
            return None
        return torch.tensor(KINDS[layer.kind].ends, dtype=torch.float64)[:, None]

    def with_grey(self, layers: Iterable[str]) -> Table:
        """The same table, these of its binary layers known as grey."""
        return dataclasses.replace(self, grey=tuple(sorted(layers)))

    def with_laws(self, X: Any) -> Table:
        """The same table, with the laws of its columns by their ranks as these rows show them.

        A law knows the rows that it was found in: their ends are its ends. Rows are judged alike
        only where none, or all of them, were among these.
        """
        finder = Finder(Reader(self.match(X)), None, True, 0, False)
        layers = tuple(
            one
            if one.laws is None
            else dataclasses.replace(one, laws=finder.laws(one.source, one.origin))
            for one in self.layers
        )
        return dataclasses.replace(self, layers=layers)

    def with_labels(self, labels: LabelCoding) -> Table:
        """The same table, with a label beside its columns."""
        return dataclasses.replace(self, labels=labels)

    def pictures(self, values: Tensor, shape: Sequence[int] | None = None) -> np.ndarray:
        """Encoded rows as pictures in [0, 1]; of ``shape`` where it is not the rows'."""
        shape = self.shape if shape is None else shape
        if shape is None:
            raise ValueError("the rows of this table are no pictures; fit it with picture_shape")
        pictures = values.detach().cpu().float().view(len(values), *shape)
        low, high = (self.kind in KINDS and KINDS[self.kind].ends) or (0.0, 1.0)
        return ((pictures - low) / (high - low)).clamp(0, 1).numpy()

    @property
    def text(self) -> tuple[int, ...]:
        """Places of the columns that hold text."""
        return tuple(place for place in range(self.width) if self.type(place).holds == "text")

    def type(self, place: int) -> Column:
        """The type of a column."""
        return self.types[place if len(self.types) > 1 else 0]

    def key(self, place: int) -> Any:
        """What the data call a column: its name, else its number."""
        return place if self.names is None else self.names[place]

    def column_name(self, place: int) -> str:
        """A column by its name, else by its number, as sentences call it."""
        return f"column {self.key(place)!r}"

    # ------------------------------------------------------------------ to the model

    def match(self, X: Any, name: str = "X") -> Any:
        """The data with a frame's columns in the table's order; of arrays the width is checked.

        Columns are matched by name wherever both have names. Dates stand for dates alone.
        """
        fault, X = "", as_frame(X, name)
        if not is_frame(X) or self.names is None:
            shape = np.shape(X)
            if len(shape) == 2 and shape[1] != self.width:
                fault = f"has {shape[1]} columns; the table was fitted on {self.width}"
        else:
            found = Reader(X, name).names or ()
            known, given = set(self.names), set(found)  # or many names would take their square
            unknown = [label for label in found if label not in known]
            absent = [label for label in self.names if label not in given]
            if unknown:
                fault = f"has the column {unknown[0]!r}, which the data of fit did not have; "
                fault += nearest_name(unknown[0], self.names)
            elif absent:
                fault = f"lacks the column {absent[0]!r}; give every column of fit"
            else:
                X = X if found == self.names else X[list(self.names)]
                self._refuse_other_times(X, name)
        if fault:
            raise ValueError(f"{name} {fault}")
        return X

    def _refuse_other_times(self, X: Any, name: str) -> None:
        """Dates, durations and numbers do not stand for each other."""
        for place, dtype in enumerate(X.dtypes):
            known = self.type(place)
            code = {"datetime": "M", "timedelta": "m"}.get(known.holds, "")
            alike = dtype.kind == code and ("," in str(dtype)) == ("," in known.dtype)
            if (code or dtype.kind in "mM") and not alike and X.iloc[:, place].notna().any():
                what = f"is of type {dtype}, and was {known.dtype} in fit; convert it"
                cells = X.iloc[:, place].tolist() if known.form else []
                odd = (row for row, cell in enumerate(cells) if not _may_be_date(cell))
                for row in itertools.islice(odd, 1):  # one cell of a file makes all of it text
                    what = f"held dates in fit, and its row {row} is {cells[row]!r} "
                    what += "(correct it, or leave the cell empty)"
                raise ValueError(f"{name}: {self.column_name(place)} {what}")

    def encode(
        self,
        X: Any,
        dtype: torch.dtype = torch.float32,
        *,
        name: str = "X",
        allow_missing: bool = True,
        unknown: str = "refuse",
        told: bool = True,
        first: int = 0,
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
        told : bool
            Whether a missing cell is known to be a gap, or is one that is only not known: NaN
            stands then in the layer ``"gap"`` too.
        first : int
            What errors call the first row.
        """
        types = self.types if self.is_frame else ()
        rows = Reader(self.match(X, name), name, self.names, types, first)
        blocks = []
        for block in rows.ranges():
            parts = [one.encode(rows, block, dtype, allow_missing, unknown) for one in self.layers]
            blocks.append(parts[0] if len(parts) == 1 else torch.cat(parts, 1))
        values = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
        if unknown == "missing":  # what is not known is a gap, where a gap can be told
            for indicator, own in self.indicators.items():
                values[:, indicator] = values[:, own[0]].isnan().to(dtype)
        if not told:
            for layer in self.layers:
                if layer.kind == "gap":
                    part = values[:, layer.columns]
                    part.masked_fill_(part > 0.5, torch.nan)
        return values

    def check(self, X: Any, **how: Any) -> None:
        """Refuse rows as :meth:`encode` does with the same options, some at a time."""
        X = self.match(X)
        for rows in Reader(X).ranges():
            self.encode(slab(X, rows), first=rows.start, **how)

    @property
    def ties(self) -> bool:
        """Whether any column that is taken by its ranks has values that come again and again."""
        return any(layer.laws is not None and layer.margins.ties for layer in self.layers)

    def spread(self, values: Tensor, share: Tensor) -> Tensor:
        """Encoded rows whose tied scores are drawn anew, by ``share`` in [0, 1) of their shape."""
        values = values.clone()
        for layer in self.layers:
            if layer.laws is not None:
                part = values[:, layer.columns]
                values[:, layer.columns] = layer.margins.spread(part, share[:, layer.columns])
        return values

    @property
    def indicators(self) -> dict[int, tuple[int, ...]]:
        """Encoded column that says where cells of a column are missing → those of its value."""
        gaps = (place for layer in self.layers if layer.kind == "gap" for place in layer.source)
        return {self.gap_of(place)[0]: self.columns_of(place) for place in gaps}

    def lost(self, X: Any, name: str = "X") -> np.ndarray:
        """Which cells are missing, or hold a category that the table does not have, bool
        (n, width); there is a warning of the latter. A value that was not seen is none where the
        column has rare ones: it is then one more of these."""
        found = np.array(missing_cells(X))
        gone = self.encode(X, name=name, unknown="missing").isnan().numpy()
        for column, place in enumerate(self.owner):
            found[:, place] |= gone[:, column]
        return found

    def gap_of(self, place: int) -> tuple[int, ...]:
        """The encoded column that says where a column's cells are missing, if there is one."""
        return self._encoded.get((True, place), ())

    def columns_of(self, place: int) -> tuple[int, ...]:
        """The encoded columns that hold a column's value; none of one that is left aside."""
        return self._encoded.get((False, place), ())

    @functools.cached_property
    def _encoded(self) -> dict[tuple[bool, int], tuple[int, ...]]:
        """(whether it tells of gaps, column of the data) → its encoded columns."""
        found = {}
        for layer in self.layers:
            first = layer.columns.start
            for place, size in zip(layer.source, layer.sizes, strict=True):
                found[layer.kind == "gap", place] = tuple(range(first, first + size))
                first += size
        return found

    def statistics(self, X: Any, rows: int = 4096) -> Statistics:
        """Sums and counts of the encoded columns, in one pass over blocks of rows."""
        X = self.match(X)
        total, counts = (torch.zeros(self.size, dtype=torch.float64) for _ in range(2))
        grey: set[str] = set()
        binary = [layer for layer in self.layers if layer.kind == "binary"]
        for first in range(0, len(X), rows):
            block = slice(first, first + rows)
            values = self.encode(slab(X, block), torch.float64)
            missing = values.isnan()
            total += values.nansum(0)
            counts += (~missing).sum(0)
            sharp = ((values == 0) | (values == 1) | missing).all(0)
            grey |= {layer.name for layer in binary if not bool(sharp[layer.columns].all())}
        return Statistics(total, counts, frozenset(grey), bool((counts < len(X)).any()))

    # ------------------------------------------------------------------ and back

    def decode(
        self,
        values: Tensor,
        like: Any = None,
        numbers: np.ndarray | None = None,
        *,
        gaps: bool = True,
        share: Tensor | None = None,
    ) -> Any:
        """Rows (n, size) of the model in the data's own scale and types, shape (n, width).

        Whole numbers are rounded and clipped to their type and range; of a category's columns the
        largest wins, of a binary one the second value above ½. A frame comes back as a frame, with
        the index of ``like`` where that is given. ``numbers`` are those of :meth:`numbers`, where
        they are not NaN in place of what ``values`` say. With ``gaps`` a cell is empty where the
        layer ``"gap"`` says so. ``share`` is that of :meth:`shares`; without it a rare category is
        the commonest of its values.
        """
        if values.ndim != 2 or values.shape[1] != self.size:
            raise ValueError(f"values has shape {tuple(values.shape)}: expected (n, {self.size})")
        cells = {place: self._constant(place, len(values)) for place, _ in self.aside}
        empty = self.gaps_in(values) if gaps else {}
        for layer in self.layers:
            if layer.kind == "gap":
                continue
            own = share if layer.rare else None
            decoded, missing = _decoded(layer, values[:, layer.columns], numbers, own)
            plain = not (self.is_frame or layer.origin or self.aside)
            if len(self.types) == len(self.layers) == 1 and plain:
                flat = self._typed(layer, 0, decoded.reshape(-1), missing.reshape(-1))
                return flat.reshape(decoded.shape)
            for column, place in enumerate(layer.source):
                origin = layer.origin[column] if layer.origin else 0
                parts = decoded[:, column], missing[:, column] | empty.get(place, False)
                cells[place] = self._typed(layer, place, *parts, origin)
        return self._assembled(cells, len(values), like)

    def shares(self, n: int, stream: Stream) -> Tensor:
        """What :meth:`decode` chooses rare values by, uniform in [0, 1): (n, columns that are
        categories), or (n, 0) where none has rare values."""
        several = sum(layer.variables for layer in self.layers if layer.rare)
        return stream.child("rare").uniform((n, several), torch.float64)

    def rare_of(self, place: int) -> Rare:
        """The rare values of a column, which a model knows as one category, and their shares."""
        layer = next((one for one in self.layers if one.rare and place in one.source), None)
        return ((), ()) if layer is None else layer.rare_of(layer.source.index(place))

    def among_rare(self, X: Any) -> np.ndarray:
        """Each cell's place among the rare values of its column, int64 (n, width): behind the last
        of values which were not seen, −1 of all else."""
        rows = Reader(self.match(X), "X", self.names, self.types if self.is_frame else ())
        found = np.full(rows.shape, -1)
        for layer in self.layers:
            for column, place in enumerate(layer.source if layer.rare else ()):
                if layer.rare_of(column)[0]:
                    found[:, place] = layer.among_rare(rows, column)
        return found

    @property
    def merged(self) -> tuple[int, ...]:
        """The columns that have rare values."""
        places = sorted(place for layer in self.layers if layer.rare for place in layer.source)
        return tuple(place for place in places if self.rare_of(place)[0])

    def log_shares(self, X: Any) -> np.ndarray:
        """The log of each cell's share of its category, (n, width): 0 where it is all of it.

        A model knows the probability of the category; that of the cell is so much less.
        """
        places, found = self.among_rare(X), np.zeros((len(X), self.width))
        for place in self.merged:
            some = np.flatnonzero(places[:, place] >= 0)
            shares = np.array(self.rare_of(place)[1])
            known = np.log(np.append(shares, 1 - shares.sum()))
            found[some, place] = known[places[some, place]]
        return found

    def signs(self, X: Any) -> np.ndarray:
        """Random signs in 64 columns for each column of :attr:`merged`, of norm 1 for a rare value
        and 0 for all else, float64 (n, 64 columns).

        Beside an encoded row they set rare values apart, which are one category in it: their
        squared distance is 2 in the mean, as that of two other categories, and 0 of equal ones.
        """
        places = self.among_rare(X)
        found = np.zeros((len(places), 64 * len(self.merged)))
        for i, place in enumerate(self.merged):
            some = np.flatnonzero(places[:, place] >= 0)
            shape = (len(self.rare_of(place)[0]) + 1, 64)
            sign = Stream(0).child("signs", place).integers(shape, 2).numpy() / 4 - 1 / 8
            found[some, 64 * i : 64 * (i + 1)] = sign[places[some, place]]
        return found

    def going_on(self, rows: int) -> Table:
        """The same table, whose identifiers have gone on by so many rows."""
        aside = (
            (place, (*value[:2], value[2] + rows) if isinstance(value, tuple) else value)
            for place, value in self.aside
        )
        return dataclasses.replace(self, aside=tuple(aside))

    def gaps_in(self, values: Tensor) -> dict[int, np.ndarray]:
        """Which cells of encoded rows are gaps, by column, bool (n,)."""
        return {
            place: (values[:, layer.columns.start + column] > 0.5).cpu().numpy()
            for layer in self.layers
            if layer.kind == "gap"
            for column, place in enumerate(layer.source)
        }

    def _typed(
        self, layer: Layer, place: int, cells: np.ndarray, missing: np.ndarray, origin: int = 0
    ) -> Any:
        """Decoded cells in the type of their column."""
        kind = self.type(place)
        if layer.categories is None and kind.holds in ("truth", "whole"):
            missing = missing | ~np.isfinite(cells)
            if layer.low is not None and layer.high is not None:
                cells = np.rint(cells).clip(math.ceil(layer.low), math.floor(layer.high))
        return kind.typed(cells, missing, self.column_name(place), origin)

    def numbers(self, values: Tensor) -> np.ndarray:
        """Encoded rows in the data's own scale less each column's origin, float64 (n, width),
        neither rounded nor cut; NaN in columns of categories.

        >>> rows = np.array([["y", 1.0], ["n", 3.0]], dtype=object)
        >>> table = Table.fit(rows, kinds={1: "real"})
        >>> table.numbers(torch.tensor([[0.0, 0.5]]))  # the mean is 2, the deviation 1
        array([[nan, 2.5]])
        """
        found = np.full((len(values), self.width), np.nan)
        for layer in self.layers:
            if layer.numeric:
                found[:, layer.source] = layer.decode(values[:, layer.columns].double())[0]
        return found

    def numbers_of(self, X: Any) -> np.ndarray:
        """The same numbers as they stand in the data; NaN where a cell is missing too."""
        rows = Reader(self.match(X), "X", self.names, self.types if self.is_frame else ())
        found = np.full(rows.shape, np.nan)
        for layer in self.layers:
            if layer.numeric:
                every = slice(0, len(rows))
                found[:, layer.source] = rows.numbers(every, layer.source, layer.origin)
        return found

    def chances(self, means: Tensor, place: int) -> tuple[list[Any], np.ndarray] | None:
        """Of a discrete column its values, the rare ones last, and the chance of each by the means
        of the encoded columns, float64 (n, K); None of any other.

        One that never came in a model's draws counts as half a draw of two hundred.

        >>> rows = np.array([["y", 1.5], ["n", 3.0]], dtype=object)
        >>> Table.fit(rows).chances(torch.tensor([[0.25, 0.0]]), 0)
        (['n', 'y'], array([[0.75, 0.25]]))
        """
        layer = next(one for one in self.layers if place in one.source and one.kind != "gap")
        ends, column = KINDS[layer.kind].ends, layer.source.index(place)
        if layer.numeric and layer.kind not in ("binary", "spin"):
            return None
        several, shares = layer.rare_of(column)
        if layer.categories is not None:
            group = layer.categories[column]
            values = objects((*group[:-1], *several) if several else group)
        else:
            values = np.array([layer.low, layer.high])
        part = means[:, self.columns_of(place)].double()
        if ends is not None:
            up = ((part - ends[0]) / (ends[1] - ends[0])).clamp(0, 1)
            part = torch.cat([1 - up, up], 1)
        part = part.masked_fill(part == 0, NEVER_DRAWN)
        part = part / part.sum(1, keepdim=True)
        if several:
            share = torch.tensor(shares, dtype=torch.float64)
            part = torch.cat([part[:, :-1], part[:, -1:] * (share / share.sum())], 1)
        known = np.zeros(len(values), dtype=bool)
        own = self.type(place).typed(values, known, self.column_name(place)).tolist()
        return own, part.numpy()

    def typed(self, numbers: np.ndarray, place: int) -> list[Any]:
        """Numbers of one column, as :meth:`numbers` has them, in the type of its cells."""
        layer = next(one for one in self.layers if one.numeric and place in one.source)
        origin = layer.origin[layer.source.index(place)] if layer.origin else 0
        cells = self.type(place).typed(numbers, np.isnan(numbers), self.column_name(place), origin)
        return list(cells)

    @property
    def modelled(self) -> list[int]:
        """The columns of the data that are told a model."""
        return sorted({place for layer in self.layers for place in layer.source})

    def decode_modes(self, values: Tensor, like: Any = None, numbers: Any = None) -> Any:
        """Each cell's most probable value given its mean; of a real one, the mean, or else what
        ``numbers`` has."""
        values = values.clone()
        for layer in self.layers:
            part = values[:, layer.columns]
            if layer.kind == "binary":
                values[:, layer.columns] = (part > 0.5).to(values.dtype)
            elif layer.kind == "spin":
                values[:, layer.columns] = torch.where(part > 0, 1.0, -1.0).to(values.dtype)
            for place in layer.source if layer.rare else ():
                shares = self.rare_of(place)[1]
                if shares:  # the commonest of them by itself, not all together
                    values[:, self.columns_of(place)[-1]] *= max(shares) / sum(shares)
        return self.decode(values, like, numbers, gaps=False)

    def _constant(self, place: int, n: int) -> Any:
        """A column that is left aside: its one value, how it goes on, or nothing."""
        value = dict(self.aside)[place]
        if isinstance(value, tuple):
            before, digits, first = value
            made = np.arange(first, first + n)
            if self.type(place).holds == "text":
                made = objects(f"{before}{number:0{digits}d}" for number in made.tolist())
            return self.type(place).typed(made, np.zeros(n, dtype=bool), self.column_name(place))
        cells, missing = np.array([value, None], dtype=object)[:1].repeat(n), value is None
        return self.type(place).typed(cells, np.full(n, missing), self.column_name(place))

    def decode_means(
        self, values: Tensor, like: Any = None, wanted: Any = None, numbers: Any = None
    ) -> Any:
        """Means of the model's columns in the data's own scale, float64, neither rounded nor cut.

        Dates and durations are given as such. Categories and text have no mean: they are refused
        where ``wanted`` (bool, (n, width); all by default) asks for one, and NaN elsewhere.
        ``numbers`` are as in :meth:`decode`.
        """
        times = ("datetime", "timedelta") if self.is_frame else ()
        cells: dict[int, Any] = {}
        for place, _ in self.aside:
            if self.type(place).holds != "text":
                constant = self._constant(place, len(values))
                timed = self.type(place).holds in times
                cells[place] = constant if timed else np.asarray(constant, dtype=np.float64)
        for layer in self.layers:
            if layer.kind == "gap":
                continue
            part = values[:, layer.columns].detach().cpu().to(torch.float64)
            if layer.categories is None:
                decoded, gaps = _decoded(layer, part, numbers)
                for column, place in enumerate(layer.source):
                    kind, origin = self.type(place), layer.origin[column] if layer.origin else 0
                    cells[place] = decoded[:, column] + origin
                    if kind.holds in times:
                        cells[place] = kind.typed(decoded[:, column], gaps[:, column], "", origin)
            elif layer.kind == "binary":
                for column, (place, pair) in enumerate(
                    zip(layer.source, layer.categories, strict=True)
                ):
                    if not isinstance(pair[0], str):
                        low, high = map(float, pair)
                        cells[place] = part[:, column].numpy() * (high - low) + low
        for place in (place for place in range(self.width) if place not in cells):
            cells[place] = np.full(len(values), np.nan)
            if wanted is None or np.asarray(wanted)[:, place].any():
                raise ValueError(
                    f"values: {self.column_name(place)} holds text or categories, which have no "
                    'mean; how="best" gives numbers their mean and these their likeliest value'
                )
        return self._assembled(cells, len(values), like, np.float64)

    def put_back(self, rows: Any, given: Any) -> Any:
        """Decoded rows (n, width) with the given cells exactly as they came, types and index too.

        ``given`` are rows with some cells missing, or one row for all.
        """
        given = self.match(given, "given")
        if is_frame(rows):
            return self._columns_put_back(rows, given)
        table = given.to_numpy() if is_frame(given) else Reader(given, "given").table
        table = np.broadcast_to(table, rows.shape)
        known = ~missing_cells(table)
        if known.all():
            return table.copy()
        if rows.dtype.kind in "OU" or table.dtype.kind in "OU":
            rows = rows.astype(object)
        elif rows.dtype.kind != "f":  # whole numbers beside given ones that may not be
            with np.errstate(invalid="ignore"):  # a number beyond the type is then another
                exact = (table[known].astype(rows.dtype) == table[known]).all()
            rows = rows if exact else rows.astype(table.dtype)
        rows = rows.copy()
        rows[known] = table[known]
        return rows

    def _columns_put_back(self, rows: Any, given: Any) -> Any:
        """Column by column: one of a frame without a gap stays as it is."""
        import pandas as pd

        framed = is_frame(given)
        if not framed:
            given = pd.DataFrame(Reader(given, "given").table).set_axis(rows.columns, axis=1)
        if not framed or len(given) != len(rows):
            given = given.iloc[np.arange(len(rows)) % len(given)].set_axis(rows.index)
        columns = []
        for place in range(self.width):
            came, drawn, kind = given.iloc[:, place], rows.iloc[:, place], self.type(place)
            gaps = came.isna().to_numpy(dtype=bool)
            filled = came.astype(object).to_numpy(copy=True)
            filled[gaps] = drawn.astype(object).to_numpy()[gaps]
            left = bool(missing_cells(filled).any())
            if kind.holds in ("truth", "whole") and drawn.dtype.kind == "f" and not left:
                filled[gaps] = np.rint(filled[gaps].astype(float))  # means of whole numbers
            if not framed:
                came = _series(filled, drawn.dtype)
            elif gaps.any():  # in the type of fit, where it loses nothing
                empty = kind.typed(np.array([], dtype=object), np.zeros(0, dtype=bool), "")
                made = _series(filled, came.dtype if left else pd.Series(empty).dtype)
                came = made if made.dtype == pd.Series(empty).dtype else _series(filled, came.dtype)
            columns.append(came.set_axis(given.index))
        frame = pd.concat(columns, axis=1).set_axis(list(given.columns), axis=1)
        forms = {**rows.attrs.get(FORMS, {}), **given.attrs.get(FORMS, {})}
        frame.attrs = {**given.attrs, **({FORMS: forms} if forms else {})}
        return frame

    def _assembled(self, cells: Mapping[int, Any], n: int, like: Any, dtype: Any = None) -> Any:
        """Columns as a frame or an array, as the data were."""
        if self.is_frame:
            import pandas as pd

            index = getattr(like, "index", None)
            index = pd.RangeIndex(n) if index is None or len(index) != n else index
            columns = {
                place: pd.Series(
                    cells[place], index=index, dtype=getattr(cells[place], "dtype", None)
                )
                for place in range(self.width)
            }
            frame = pd.DataFrame(columns, index=index).set_axis(list(self.names or ()), axis=1)
            forms = {self.key(p): self.type(p).form for p in range(self.width) if self.type(p).form}
            frame.attrs = {FORMS: forms} if forms else {}
            return frame
        if dtype is None:
            same = len({one.dtype for one in self.types}) == 1
            dtype = np.dtype(self.types[0].dtype) if same else object
        made = np.empty((n, self.width), dtype=dtype)
        for place, column in cells.items():
            made[:, place] = column
        return made

    # ------------------------------------------------------------------ scale, words, storage

    def log_volume(self, values: Tensor) -> Tensor:
        """log |dx / d(encoded)| of encoded rows, summed over their observed cells, float64 (n,).

        It is what a log-density in the data's own scale is less than in the model's. Discrete
        columns have none. Of a column by its ranks it is log φ(z) − log f, f being its own density,
        or its mass where whole numbers and the like are values that come again and again.
        """
        total = torch.zeros(len(values), dtype=torch.float64)
        for layer in self.layers:
            part = values[:, layer.columns].detach().cpu().double()
            if layer.laws is not None:
                total += layer.margins.log_volume(part).nansum(1)
            elif layer.scale is not None:
                scale = torch.tensor(layer.scale, dtype=torch.float64)
                total += (~part.isnan()).double() @ scale.log()
        return total

    def describe(self) -> str:
        """What each column was taken for, in sentences.

        Examples
        --------
        >>> rows = np.array([[0, 1.5, 7], [1, 2.5, 7]])
        >>> print(Table.fit(rows, kinds="mixed").describe())
        1 column as binary units (0). 1 column as numbers by their ranks, as normal scores (1).
        1 column the same in every row, and given back so (2). Rows are given back as float64.
        """
        parts = [self._clause(layer) for layer in self.layers if layer.kind != "gap"]
        gaps = [place for layer in self.layers if layer.kind == "gap" for place in layer.source]
        if gaps:
            what = "with missing cells, which samples have too"
            parts.append(f"{_count(gaps)} {what}{self._listed(gaps)}")
        serial = [place for place, value in self.aside if isinstance(value, tuple)]
        constant = [p for p, value in self.aside if value is not None and p not in serial]
        unlike = [place for place, value in self.aside if value is None]
        texts = "of text with fewer than two rows a value, not modelled: samples leave it empty"
        for places, what in (
            (constant, "the same in every row, and given back so"),
            (serial, "that number the rows, not modelled: samples go on from the last"),
            (unlike, texts),
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
        called = "" if layer.name in ("visible", *MIXED) else f"{layer.name}: "
        names = "" if layer.name == "visible" else self._listed(layer.source)
        rare = ((place, len(self.rare_of(place)[0])) for place in layer.source)
        together = ", ".join(f"{n} of {self.key(place)}" for place, n in rare if n)
        note = f", rare values as one, drawn by their shares: {together}" if together else ""
        return f"{called}{_count(layer.source)}{known}{shape} as {meaning}{names}{note}"

    def _listed(self, places: Iterable[int]) -> str:
        names = listed(map(self.key, places), 20)
        return f" ({names})"

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold, floats to the last bit."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["layers"] = [layer.to_json() for layer in self.layers]
        fields["types"] = [dataclasses.asdict(column) for column in self.types]
        fields["labels"] = None if self.labels is None else self.labels.to_json()
        return {"table": 2, **fields}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Table:
        """The inverse of :meth:`to_json`; the schema of a run of version 0.1.0 is read too."""
        if "table" not in data:
            return _of_first_edition(data)
        fields: dict[str, Any] = {name: value for name, value in data.items() if name != "table"}
        fields |= {name: tuple(v) for name, v in fields.items() if isinstance(v, list)}
        fields["layers"] = tuple(map(Layer.from_json, data["layers"]))
        types = [{**one, "levels": _tuple(one["levels"])} for one in data["types"]]
        fields["types"] = tuple(Column(**one) for one in types)
        aside = (
            (p, tuple(value) if isinstance(value, list) else value) for p, value in data["aside"]
        )
        fields["aside"] = tuple(aside)
        if fields.get("labels") is not None:
            fields["labels"] = LabelCoding.from_json(fields["labels"])
        return cls(**fields)


def _picture(shape: Any, width: int) -> tuple[int, ...] | None:
    """A picture's shape, checked."""
    if shape is None:
        return None
    expected = "(height, width), or (height, width, 3) for colours"
    sides = sequence(whole(1), 2, expected)("picture_shape", shape)
    fault = "" if len(sides) == 2 or sides[2:] in ((1,), (3,)) else f": expected {expected}"
    if not fault and math.prod(sides) != width:
        fault = f" has {math.prod(sides)} values, but X has {width} columns"
    if fault:
        raise ValueError(f"picture_shape={shape!r}{fault}")
    return tuple(sides)


def _decoded(
    layer: Layer, values: Tensor, numbers: Any, share: Tensor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What a layer's values stand for, and which are missing; ``numbers`` have their say first."""
    decoded, missing = layer.decode(values, share)
    if numbers is not None and layer.numeric:
        own = numbers[:, layer.source]
        decoded = np.where(np.isnan(own), decoded, own)
    return decoded, missing


def _may_be_date(cell: Any) -> bool:
    """Whether a file's cell is a date or missing."""
    try:
        return is_missing(cell) or (is_date(cell) and bool(np.datetime64(cell)))
    except ValueError:  # the thirtieth of February
        return False


def _tuple(values: Any) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def _count(places: Sequence[int]) -> str:
    return f"{len(places)} column{'' if len(places) == 1 else 's'}"


def _series(cells: np.ndarray, dtype: Any) -> Any:
    """Python objects as a column of this type; of the type that they have where it changes one."""
    import pandas as pd

    try:
        made = pd.Series(cells, dtype=object).astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return pd.Series(cells, dtype=object)
    gaps = made.isna().to_numpy(dtype=bool)
    same = gaps == missing_cells(cells)
    pairs = zip(made[~gaps].astype(object), cells[~gaps], strict=True)
    same[~gaps] &= np.array([a == b for a, b in pairs], dtype=bool)  # of none, no array of floats
    return made if same.all() else pd.Series(cells, dtype=object).infer_objects()


def _of_first_edition(data: Mapping[str, Any]) -> Table:
    """The table that the schema of a run of version 0.1.0 is."""
    mixed = data.get("parts") is not None
    layers = []
    for part in data["parts"] if mixed else (data,):
        kind = ALIASES.get(part["kind"], part["kind"])
        fields = {k: part.get(k) for k in ("categories", "offset", "scale", "low", "high")}
        name = (part.get("name") or kind) if mixed else "visible"
        source = part.get("source") or range(part["width"])
        layers.append(Layer.from_json({**fields, "name": name, "kind": kind, "source": source}))
    dtypes = data.get("dtypes") or [data["dtype"]]
    types = [Column(dtype, _holds(dtype)) for dtype in dtypes]
    names = data.get("columns")
    frame = names is not None and mixed
    if mixed and data["dtype"] == "object" and not frame:
        types = [dataclasses.replace(one, dtype="object") for one in types]
    for layer in layers if mixed else ():
        for place, group in zip(layer.source, layer.categories or (), strict=False):
            holds = "text" if isinstance(group[0], str) else types[place].holds
            levels = tuple(group) if types[place].dtype == "category" else None
            level = "" if levels is None else "str" if holds == "text" else "int64"
            types[place] = Column(types[place].dtype, holds, levels, level_dtype=level)
    shape = _tuple(data["shape"])
    return Table(tuple(layers), tuple(types), data["width"], _tuple(names), shape, frame)


def _holds(dtype: str) -> str:
    name = dtype.lower()
    if name.startswith("bool"):
        return "truth"
    return "whole" if name.startswith(("int", "uint")) else "text" if name[0] in "<>" else "real"
