"""Which columns are which units, how they are scaled, and the way back to the data's own scale and type."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.data import categories as coding
from equilibria.data import inferring
from equilibria.data.columns import Columns, Header
from equilibria.data.inferring import KINDS, SCALED, UNITS, as_table, refuse_range
from equilibria.data.kinds import GROUPS, MAX_CATEGORIES
from equilibria.data.layers import SchemaLayer
from equilibria.data.numeric import Table, numbers, own_column, own_type, refuse_outside, row_ranges

__all__ = ["KINDS", "Schema"]

_NEW = ("parts", "source", "dtypes", "name")  # left out of the JSON where they are not used
_TUPLES = ("offset", "scale", "shape", "columns", "source", "dtypes")


@dataclasses.dataclass(frozen=True)
class Schema:
    """The translation between a table in the data's own scale and the columns of a model. Made by :meth:`infer`.

    =========== =====================================================
    kind        encoded value of x
    =========== =====================================================
    bernoulli   (x − low) / (high − low), in [0, 1]
    picture     2 (x − low) / (high − low) − 1, in [−1, 1]
    spin        2 (x − low) / (high − low) − 1, in [−1, 1]
    gaussian    (x − offset) / scale, per column
    real        (x − offset) / scale, per column
    rectified   x / scale, per column, for x ≥ 0
    categorical one column for each category, 1 at the value's own
    binary      0 for the first of the column's two values, 1 for the second
    mixed       each column by its own kind, the kinds one after the other
    =========== =====================================================

    The columns of a mixed table are put together by kind: first those that are ``binary``, then ``categorical``, ``gaussian`` and
    ``rectified``. :attr:`layers` says which encoded columns are which.

    Attributes
    ----------
    kind : str
        What the columns are for the model: one of those above.
    width : int
        Number of the data's columns.
    low, high : float or None
        The range of the data's values, where one is known.
    offset, scale : tuple of float or None
        Per column, for the standardised kinds.
    categories : tuple of tuples or None
        Per column, its categories in sorted order.
    shape : tuple of int or None
        (height, width) or (height, width, 3) where a row is a flattened picture.
    columns : tuple of str or None
        Names of the data's columns.
    dtype : str
        numpy's name of the data's type, which :meth:`decode` gives back.
    parts : tuple of Schema or None
        Of a mixed table: the schema of each kind's columns.
    source : tuple of int or None
        Of such a part: the places of its columns in the whole table.
    dtypes : tuple of str or None
        Of a mixed table: the type of each column, as a DataFrame calls it.
    name : str or None
        Of a part: the name of its layer, where columns were put together by name rather than by kind.

    Examples
    --------
    >>> import numpy as np
    >>> schema = Schema.infer(np.array([[0, 16], [8, 4]], dtype=np.uint8), low=0, high=16)
    >>> schema.encode(np.array([[4, 16]]))
    tensor([[0.2500, 1.0000]])
    >>> schema.decode(torch.tensor([[0.25, 1.0]]))
    array([[ 4, 16]], dtype=uint8)

    A mixed table: a vote, a height and a colour.

    >>> table = np.array([["y", 1.5, "red"], ["n", 1.7, "blue"], ["y", 1.9, "green"]], dtype=object)
    >>> mixed = Schema.infer(table, kind="mixed")
    >>> [(layer.name, layer.kind, layer.source) for layer in mixed.layers]
    [('binary', 'bernoulli', (0,)), ('categorical', 'categorical', (2,)), ('real', 'gaussian', (1,))]
    >>> mixed.decode(mixed.encode(table))[1].tolist()
    ['n', 1.7, 'blue']
    """

    kind: str
    width: int
    low: float | None = None
    high: float | None = None
    offset: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    categories: coding.Categories | None = None
    shape: tuple[int, ...] | None = None
    columns: tuple[str, ...] | None = None
    dtype: str = "float64"
    parts: tuple[Schema, ...] | None = None
    source: tuple[int, ...] | None = None
    dtypes: tuple[str, ...] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r}: expected one of {', '.join(KINDS)}")
        try:
            np.dtype(self.dtype)
        except TypeError as error:
            raise ValueError(f"dtype={self.dtype!r}: expected numpy's name of a type, such as 'float64'") from error
        if self.shape is not None and math.prod(self.shape) != self.width:
            raise ValueError(f"shape={self.shape} has {math.prod(self.shape)} values, but X has {self.width} columns")
        for name, entries in (("columns", "names"), ("source", "entries"), ("dtypes", "entries")):
            value = getattr(self, name)
            if value is not None and len(value) != self.width:
                raise ValueError(f"{name} has {len(value)} {entries}, but X has {self.width} columns")
        if (self.kind == "mixed") != (self.parts is not None):
            raise ValueError(f"parts={self.parts!r}: a schema of kind 'mixed' has parts, and no other does")
        if self.parts is not None and sorted(self._order) != list(range(self.width)):
            raise ValueError(f"parts speak of the columns {self._order}, but X has {self.width} columns; expected each once")

    @classmethod
    def infer(
        cls,
        X: np.ndarray | Tensor | Any,
        *,
        kind: str | Sequence[str] | Mapping[int | str, str] = "auto",
        low: float | None = None,
        high: float | None = None,
        shape: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
        allow_missing: bool = False,
        kinds: Sequence[str] | Mapping[int | str, str] | None = None,
        max_categories: int = MAX_CATEGORIES,
        groups: Mapping[str, Any] | None = None,
    ) -> Schema:
        """A schema from data.

        Parameters
        ----------
        X : ndarray, Tensor or DataFrame, shape (n, d)
            The data; read in blocks, so that a memory map larger than memory will do.
        kind : str
            One of the kinds above, or ``"auto"``: bernoulli if all values lie in ``low`` … ``high``, else gaussian. A list or a
            mapping is short for ``kind="mixed", kinds=…``.
        low, high : float, optional
            The range of the values: by default 0 and 1; for ``"picture"`` 0 and 255 for uint8, 0 and 1 for values in between, else
            the smallest and the largest value; for ``"spin"`` −1 and 1, or 0 and 1 where nothing is below 0.
        shape, columns : optional
            Recorded as they are; a DataFrame brings names of its own.
        allow_missing : bool
            Whether NaN, None and pandas' NA are missing values rather than errors.
        kinds : sequence or mapping, optional
            Of a mixed table: ``"binary"``, ``"categorical"``, ``"real"``, ``"positive"`` or ``"auto"`` for each column, or for some of
            them by name or number, e.g. ``{"age": "real", 3: "categorical"}``. By default, and for ``"auto"``: truth values, and any
            two whole numbers or texts, are binary; other text is categorical (up to 100 different), and so are whole numbers
            with at most ``max_categories`` different values; all else is real. ``"positive"`` (real and never below 0) is for you to say.
        max_categories : int
            How many different whole numbers are still taken as categories.
        groups : mapping, optional
            Name → columns (a slice, a range, a list of numbers or names): each group is a layer of its own, under that name and of
            one kind, which is inferred, or given by ``kind`` for all groups or by ``kinds`` for some of them by name. Each column is
            in one group. ``low`` and ``high`` are then the range of those groups that are probabilities of binary units.

        Raises
        ------
        ValueError
            If ``X`` is no table of finite numbers (for categorical: of whole numbers or text), or its values leave the range.
        """
        return cls.from_json(inferring.infer(X, kind, kinds, low, high, shape, columns, allow_missing, max_categories, groups))

    @property
    def size(self) -> int:
        """Number of encoded columns."""
        if self.parts is not None:
            return sum(part.size for part in self.parts)
        return sum(len(group) for group in self.categories) if self.categories is not None and self.kind != "binary" else self.width

    @property
    def layers(self) -> tuple[SchemaLayer, ...]:
        """The visible layers: one called ``"visible"``, or one for each kind (or each named group) of a mixed table."""
        names, first, layers = {kind: name for name, kind in GROUPS.items()}, 0, []
        for part in self.parts or (self,):
            name = "visible" if self.parts is None else part.name or names[part.kind]
            groups = part.categories if part.kind == "categorical" else None
            source = tuple(range(part.width)) if part.source is None else part.source
            columns = slice(first, first + part.size)
            layers.append(SchemaLayer(name, UNITS.get(part.kind, part.kind), columns, part.width, groups, source))
            first += part.size
        return tuple(layers)

    @property
    def text(self) -> tuple[int, ...]:
        """Places of the columns whose categories are text."""
        places = []
        for part in self.parts or (self,):
            source = range(part.width) if part.source is None else part.source
            places += [place for place, group in zip(source, part.categories or (), strict=False) if group and isinstance(group[0], str)]
        return tuple(places)

    def encode(self, X: np.ndarray | Tensor | Any, dtype: torch.dtype = torch.float32, *, allow_missing: bool = False) -> Tensor:
        """The model's values of any rows of the data, shape (n, size).

        Parameters
        ----------
        X : ndarray, Tensor or DataFrame, shape (n, d)
            Rows in the data's own scale.
        dtype : torch.dtype
            Type of the result.
        allow_missing : bool
            Whether NaN, None and pandas' NA are kept as NaN (a missing category in its whole group) rather than refused.

        Raises
        ------
        ValueError
            If ``X`` has another number of columns, is not finite, leaves the range, or holds a category that was not there at first.
        """
        data = as_table(X, mixed=self.parts is not None)
        if data.shape[1] != self.width:
            raise ValueError(f"X has {data.shape[1]} columns; the schema was made from data with {self.width}")
        blocks = [self._encode_block(data, rows, first, dtype, allow_missing) for first, rows in row_ranges(data)]
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks)

    def encode_masked(self, X: np.ndarray | Tensor | Any, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor | None]:
        """The model's values with 0 in missing cells, and which cells are observed.

        Returns
        -------
        values : Tensor, shape (n, size)
            As :meth:`encode` gives them.
        mask : Tensor of bool, shape (n, size), or None
            True where observed (a category as a whole); None where nothing is missing.

        Examples
        --------
        >>> schema = Schema.infer(np.array([[0.0], [1.0]]))
        >>> schema.encode_masked(np.array([[np.nan], [1.0]]))
        (tensor([[0.],
                [1.]]), tensor([[False],
                [ True]]))
        """
        values = self.encode(X, dtype, allow_missing=True)
        missing = values.isnan()
        return (values.masked_fill_(missing, 0), ~missing) if bool(missing.any()) else (values, None)

    def decode(self, values: Tensor) -> np.ndarray:
        """The way back: rows (n, size) of the model in the data's own scale and type, shape (n, d).

        Whole numbers are rounded and clipped to their range; of a categorical group the largest column wins, of a binary column the
        second value above ½. Where the columns of a mixed table differ in type, the array is one of Python objects, and
        :attr:`dtypes` has what a DataFrame needs to know.

        Raises
        ------
        ValueError
            If ``values`` has another number of columns, or is not finite where the data were whole numbers.
        """
        if values.ndim != 2 or values.shape[1] != self.size:
            raise ValueError(f"values has shape {tuple(values.shape)}: expected (n, {self.size})")
        if self.parts is not None:
            return self._decode_parts(values)
        if self.categories is not None:
            return coding.decode(values, self.categories, self.dtype, binary=self.kind == "binary")
        offset, scale = self._affine(torch.float64)
        decoded = (values.detach().cpu().to(torch.float64) * scale + offset).numpy()
        return own_type(decoded, self.dtype, self.low, self.high)

    def decode_means(self, values: Tensor) -> np.ndarray:
        """Means of the model's columns in the data's own scale, float64 (n, d): neither rounded nor clipped.

        Of two-valued text the mean is the probability of the second value; a categorical column has none, and is NaN in a mixed table.

        Raises
        ------
        ValueError
            Where all columns are categorical.
        """
        if self.parts is not None:
            pieces = zip(self.parts, values.split([part.size for part in self.parts], dim=1), strict=True)
            blank = np.full((len(values), self.width), np.nan)
            means = [blank[:, : part.width] if part.kind == "categorical" else part.decode_means(piece) for part, piece in pieces]
            return np.concatenate(means, axis=1)[:, np.argsort(self._order)]
        if self.kind == "categorical":
            raise ValueError("values: categories have no mean; decode the most probable one")
        if self.kind == "binary":
            low, high = np.array([pair if isinstance(pair[0], int) else (0, 1) for pair in self.categories or ()], dtype=float).T
            return values.detach().cpu().double().numpy() * (high - low) + low
        offset, scale = self._affine(torch.float64)
        return (values.detach().cpu().to(torch.float64) * scale + offset).numpy()

    def describe(self) -> str:
        """One sentence about what was inferred.

        Examples
        --------
        >>> print(Schema("bernoulli", 64, 0.0, 16.0, shape=(8, 8), dtype="uint8").describe())
        64 columns from 0 to 16 (pictures of 8×8) as probabilities of binary units; samples are given back as uint8.
        >>> print(Schema.infer(np.array([[0, 1.5], [1, 2.5]]), kind="mixed", columns=["vote", "size"]).describe())
        1 column (vote) as binary units; 1 column (size) as Gaussian units, standardised; samples are given back as float64.
        """
        if self.parts is None:
            return f"{self._clause()}; samples are given back as {self.dtype}."
        types = ", ".join(dict.fromkeys(self.dtypes or (self.dtype,)))
        return "; ".join([part._clause() for part in self.parts] + [f"samples are given back as {types}."])

    @property
    def log_scales(self) -> Tensor:
        """log |dx / d(encoded)| of each encoded column, (size,) in float64: 0 where values are discrete.

        The sum over a row's observed cells is what their density in the data's own scale is less than in the model's.
        """
        if self.parts is not None:
            return torch.cat([part.log_scales for part in self.parts])
        if self.kind not in SCALED or self.scale is None:
            return torch.zeros(self.size, dtype=torch.float64)
        return torch.tensor(self.scale, dtype=torch.float64).log()

    @property
    def log_volume(self) -> float:
        """log |dx / d(encoded)| in nats: a density of the data's own values is that of the encoded ones less this.

        Zero where values are discrete, since a probability has no scale; in a mixed table the scaled columns alone count.
        """
        if self.parts is not None:
            return math.fsum(part.log_volume for part in self.parts)
        if self.kind not in SCALED or self.scale is None:
            return 0.0
        return float(np.log(self.scale).sum())

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold, floats to the last bit."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["parts"] = None if self.parts is None else [part.to_json() for part in self.parts]
        return {name: value for name, value in fields.items() if value is not None or name not in _NEW}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Schema:
        """The inverse of :meth:`to_json`, also after a trip through JSON text."""
        fields: dict[str, Any] = {name: tuple(value) if name in _TUPLES and value is not None else value for name, value in data.items()}
        if fields.get("categories") is not None:
            fields["categories"] = tuple(tuple(group) for group in fields["categories"])
        if fields.get("parts") is not None:
            fields["parts"] = tuple(cls.from_json(part) for part in fields["parts"])
        return cls(**fields)

    @property
    def _order(self) -> list[int]:
        """The data's columns in the order of the parts."""
        return [place for part in self.parts or () for place in part.source or ()]

    def _clause(self) -> str:
        known = "" if self.low is None or self.high is None else f" from {self.low:g} to {self.high:g}"
        pictures = "" if self.shape is None else f" (pictures of {'×'.join(map(str, self.shape))})"
        meaning = KINDS[self.kind] + (f" ({self.size} columns)" if self.kind == "categorical" else "")
        listed = "" if self.source is None else f" ({self._listed()})"
        called = "" if self.name is None else f"{self.name}: "
        return f"{called}{self.width} column{'' if self.width == 1 else 's'}{listed}{known}{pictures} as {meaning}"

    def _listed(self) -> str:
        """The first columns of a part, so that a reader can check what was inferred."""
        header = Header(self.columns, self.source)
        names = [header.column(place).removeprefix("column ").strip("'") for place in range(min(self.width, 6))]
        return ", ".join(names) + (", …" if self.width > 6 else "")

    def _encode_block(self, data: Table, rows: slice, first: int, dtype: torch.dtype, allow_missing: bool) -> Tensor:
        if self.parts is not None:
            assert isinstance(data, Columns)
            parts = [(part, Columns(data.table, part.source)) for part in self.parts]
            return torch.cat([part._encode_block(own, rows, first, dtype, allow_missing) for part, own in parts], 1)
        block, header = data[rows], Header(self.columns, self.source)
        if self.categories is not None:
            encode = coding.encode_binary if self.kind == "binary" else coding.encode
            return encode(block, first, self.categories, header, dtype, allow_missing)
        values = numbers(block, dtype, first, header, precise=self.kind in SCALED)
        if not self._certain(block):
            ends = refuse_outside(values, first, header, allow_missing, low=0.0 if self.kind == "rectified" else -math.inf)
            refuse_range(self.kind, self.low, self.high, ends)
        offset, scale = self._affine(values.dtype)
        return ((values - offset.to(values.device)) / scale.to(values.device)).to(dtype)

    def _decode_parts(self, values: Tensor) -> np.ndarray:
        assert self.parts is not None
        assert self.dtypes is not None
        decoded = np.empty((len(values), self.width), dtype=self.dtype)
        for part, layer in zip(self.parts, self.layers, strict=True):
            own = part.decode(values[:, layer.columns])
            for column, place in enumerate(layer.source):
                decoded[:, place] = own_column(own[:, column], self.dtypes[place])
        return decoded

    def _affine(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Offset and scale of x = offset + scale · encoded."""
        if self.offset is not None and self.scale is not None:
            return torch.tensor(self.offset, dtype=dtype), torch.tensor(self.scale, dtype=dtype)
        assert self.low is not None
        assert self.high is not None
        span = self.high - self.low
        centre, half = (self.low, span) if self.kind == "bernoulli" else (self.low + span / 2, span / 2)
        return torch.tensor(centre, dtype=dtype), torch.tensor(half, dtype=dtype)

    def _certain(self, block: np.ndarray | Tensor) -> bool:
        """Whether the type alone says that values are in range, as bytes of pictures are: no pass over them is needed."""
        if self.kind in SCALED or self.low is None or self.high is None:
            return False
        byte = block.dtype in (np.dtype(np.uint8), torch.uint8)
        return byte and self.low <= 0 and self.high >= 255
