"""Which columns are which units, how they are scaled, and the way back to the data's own scale and type."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.data import categories as coding
from equilibria.data.numeric import extremes, moments, numbers, refuse_non_finite, row_blocks

__all__ = ["KINDS", "Schema"]

KINDS = {
    "bernoulli": "probabilities of binary units",
    "gaussian": "Gaussian units, standardised",
    "categorical": "one-hot groups",
    "real": "real numbers, standardised",
    "picture": "greys or colours in [−1, 1]",
}
_RANGED = ("bernoulli", "picture")
_STANDARDISED = ("gaussian", "real")
_TUPLES = ("offset", "scale", "shape", "columns")


@dataclasses.dataclass(frozen=True)
class Schema:
    """The translation between a table in the data's own scale and the columns of a model. Made by :meth:`infer`.

    ========== =====================================================
    kind       encoded value of x
    ========== =====================================================
    bernoulli  (x − low) / (high − low), in [0, 1]
    picture    2 (x − low) / (high − low) − 1, in [−1, 1]
    gaussian   (x − offset) / scale, per column
    real       (x − offset) / scale, per column
    categorical one column for each category, 1 at the value's own
    ========== =====================================================

    Attributes
    ----------
    kind : {"bernoulli", "gaussian", "categorical", "real", "picture"}
        What the columns are for the model.
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

    Examples
    --------
    >>> import numpy as np
    >>> schema = Schema.infer(np.array([[0, 16], [8, 4]], dtype=np.uint8), low=0, high=16)
    >>> schema.encode(np.array([[4, 16]]))
    tensor([[0.2500, 1.0000]])
    >>> schema.decode(torch.tensor([[0.25, 1.0]]))
    array([[ 4, 16]], dtype=uint8)
    """

    kind: str
    width: int
    low: float | None = None
    high: float | None = None
    offset: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    categories: tuple[tuple[int | str, ...], ...] | None = None
    shape: tuple[int, ...] | None = None
    columns: tuple[str, ...] | None = None
    dtype: str = "float64"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r}: expected one of {', '.join(KINDS)}")
        try:
            np.dtype(self.dtype)
        except TypeError as error:
            raise ValueError(f"dtype={self.dtype!r}: expected numpy's name of a type, such as 'float64'") from error
        if self.shape is not None and math.prod(self.shape) != self.width:
            raise ValueError(f"shape={self.shape} has {math.prod(self.shape)} values, but X has {self.width} columns")
        if self.columns is not None and len(self.columns) != self.width:
            raise ValueError(f"columns has {len(self.columns)} names, but X has {self.width} columns")

    @classmethod
    def infer(
        cls,
        X: np.ndarray | Tensor,
        *,
        kind: str = "auto",
        low: float | None = None,
        high: float | None = None,
        shape: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
        allow_missing: bool = False,
    ) -> Schema:
        """A schema from data.

        Parameters
        ----------
        X : ndarray or Tensor, shape (n, d)
            The data; read in blocks, so that a memory map larger than memory will do.
        kind : str
            One of the kinds above, or ``"auto"``: bernoulli if all values lie in ``low`` … ``high``, else gaussian.
        low, high : float, optional
            The range of the values: by default 0 and 1, and for ``"picture"`` 0 and 255 for uint8, 0 and 1 for values in between, else
            the smallest and the largest value.
        shape, columns : optional
            Recorded as they are.
        allow_missing : bool
            Whether NaN is a missing value rather than an error.

        Raises
        ------
        ValueError
            If ``X`` is no table of finite numbers (for categorical: of whole numbers or text), or its values leave the range.
        """
        if kind != "auto" and kind not in KINDS:
            raise ValueError(f"kind={kind!r}: expected 'auto' or one of {', '.join(KINDS)}")
        data = _table(X)
        common: dict[str, Any] = {
            "width": data.shape[1],
            "shape": None if shape is None else tuple(int(side) for side in shape),
            "columns": None if columns is None else tuple(str(name) for name in columns),
            "dtype": _dtype_name(data),
        }
        if kind == "categorical":
            return cls(kind, categories=coding.find(data, common["columns"], allow_missing), **common)
        ends = extremes(data, common["columns"], allow_missing)
        if kind == "auto":
            bottom, top = _range("bernoulli", data, ends, low, high)
            kind = "bernoulli" if bottom <= ends[0] and ends[1] <= top else "gaussian"
        if kind in _RANGED:
            low, high = _range(kind, data, ends, low, high)
            schema = cls(kind, low=low, high=high, **common)
            schema._refuse_outside(*ends)
            return schema
        if low is not None or high is not None:
            low, high = _range(kind, data, ends, low, high)
        mean, deviation = moments(data, common["columns"])
        return cls(kind, low=low, high=high, offset=tuple(mean.tolist()), scale=tuple(deviation.tolist()), **common)

    @property
    def size(self) -> int:
        """Number of encoded columns."""
        return self.width if self.categories is None else sum(len(group) for group in self.categories)

    def encode(self, X: np.ndarray | Tensor, dtype: torch.dtype = torch.float32, *, allow_missing: bool = False) -> Tensor:
        """The model's values of any rows of the data, shape (n, size).

        Parameters
        ----------
        X : ndarray or Tensor, shape (n, d)
            Rows in the data's own scale.
        dtype : torch.dtype
            Type of the result.
        allow_missing : bool
            Whether NaN is kept (a missing category is NaN in its whole group) rather than refused.

        Raises
        ------
        ValueError
            If ``X`` has another number of columns, is not finite, leaves the range, or holds a category that was not there at first.
        """
        data = _table(X)
        if data.shape[1] != self.width:
            raise ValueError(f"X has {data.shape[1]} columns; the schema was made from data with {self.width}")
        parts = [self._encode_block(block, first, dtype, allow_missing) for first, block in row_blocks(data)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def decode(self, values: Tensor) -> np.ndarray:
        """The way back: rows (n, size) of the model in the data's own scale and type, shape (n, d).

        Whole numbers are rounded and clipped to their range; of a categorical group the largest column wins.

        Raises
        ------
        ValueError
            If ``values`` has another number of columns, or is not finite where the data were whole numbers.
        """
        if values.ndim != 2 or values.shape[1] != self.size:
            raise ValueError(f"values has shape {tuple(values.shape)}: expected (n, {self.size})")
        if self.categories is not None:
            return coding.decode(values, self.categories, np.dtype(self.dtype))
        offset, scale = self._affine(torch.float64)
        return self._own_type((values.detach().cpu().to(torch.float64) * scale + offset).numpy())

    def describe(self) -> str:
        """One sentence about what was inferred.

        Examples
        --------
        >>> print(Schema("bernoulli", 64, 0.0, 16.0, shape=(8, 8), dtype="uint8").describe())
        64 columns from 0 to 16 (pictures of 8×8) as probabilities of binary units; samples are given back as uint8.
        """
        known = "" if self.low is None or self.high is None else f" from {self.low:g} to {self.high:g}"
        pictures = "" if self.shape is None else f" (pictures of {'×'.join(map(str, self.shape))})"
        meaning = KINDS[self.kind] + (f" ({self.size} columns)" if self.categories is not None else "")
        plural = "" if self.width == 1 else "s"
        return f"{self.width} column{plural}{known}{pictures} as {meaning}; samples are given back as {self.dtype}."

    @property
    def log_volume(self) -> float:
        """log |dx / d(encoded)| in nats: a density of the data's own values is that of the encoded ones less this.

        Zero where values are discrete, since a probability has no scale.
        """
        if self.kind not in _STANDARDISED or self.scale is None:
            return 0.0
        return float(np.log(self.scale).sum())

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold, floats to the last bit."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Schema:
        """The inverse of :meth:`to_json`, also after a trip through JSON text."""
        fields: dict[str, Any] = {name: tuple(value) if name in _TUPLES and value is not None else value for name, value in data.items()}
        if fields.get("categories") is not None:
            fields["categories"] = tuple(tuple(group) for group in fields["categories"])
        return cls(**fields)

    def _encode_block(self, block: np.ndarray | Tensor, first: int, dtype: torch.dtype, allow_missing: bool) -> Tensor:
        if self.categories is not None:
            return coding.encode(block, first, self.categories, self.columns, dtype, allow_missing)
        values = numbers(block, dtype, first, self.columns, precise=self.kind in _STANDARDISED)
        if not self._certain(block):
            smallest, largest = refuse_non_finite(values, first, self.columns, allow_missing)
            self._refuse_outside(smallest, largest)
        offset, scale = self._affine(values.dtype)
        return ((values - offset.to(values.device)) / scale.to(values.device)).to(dtype)

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
        if self.kind in _STANDARDISED or self.low is None or self.high is None:
            return False
        byte = block.dtype in (np.dtype(np.uint8), torch.uint8)
        return byte and self.low <= 0 and self.high >= 255

    def _refuse_outside(self, smallest: float, largest: float) -> None:
        if self.kind not in _RANGED or self.low is None or self.high is None:
            return
        if smallest < self.low or largest > self.high:
            remedy = ' or units="gaussian" for values without a range' if self.kind == "bernoulli" else ""
            raise ValueError(
                f"X holds values from {smallest:g} to {largest:g}, outside {self.low:g} to {self.high:g}; "
                f"scale them, or give their range (low={smallest:g}, high={largest:g}){remedy}"
            )

    def _own_type(self, values: np.ndarray) -> np.ndarray:
        dtype = np.dtype(self.dtype)
        if dtype.kind not in "biu":
            return values.astype(dtype)
        if not np.isfinite(values).all():
            raise ValueError(f"values holds NaN or inf, which the data's type {dtype} cannot; fill missing values before decoding")
        lowest, highest = (0.0, 1.0) if dtype.kind == "b" else (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max))
        lowest = lowest if self.low is None else max(lowest, math.ceil(self.low))
        highest = highest if self.high is None else min(highest, math.floor(self.high))
        return np.rint(values).clip(lowest, highest).astype(dtype)


def _table(X: np.ndarray | Tensor) -> np.ndarray | Tensor:
    table = X if isinstance(X, Tensor) else np.asarray(X)
    if table.ndim != 2:
        raise ValueError(f"X has shape {tuple(table.shape)}: expected (rows, columns); flatten pictures and name their shape=")
    if not len(table) or not table.shape[1]:
        raise ValueError(f"X has shape {tuple(table.shape)}: expected at least one row and one column")
    if isinstance(table, np.ndarray) and table.dtype.kind not in "biufOU":
        raise ValueError(f'X is of type {table.dtype}: expected numbers, or text for units="categorical"')
    return table


def _dtype_name(table: np.ndarray | Tensor) -> str:
    if isinstance(table, np.ndarray):
        return table.dtype.str if table.dtype.kind == "U" else table.dtype.name  # numpy cannot read the name of a text type
    name = str(table.dtype).removeprefix("torch.")
    return "float32" if name == "bfloat16" else name


def _range(kind: str, X: np.ndarray | Tensor, ends: tuple[float, float], low: float | None, high: float | None) -> tuple[float, float]:
    """The range as given, else what is usual for the kind and the type."""
    default = (0.0, 1.0)
    if kind == "picture" and X.dtype in (np.dtype(np.uint8), torch.uint8):
        default = (0.0, 255.0)
    elif kind != "bernoulli" and (ends[0] < 0 or ends[1] > 1):
        default = ends
    bottom, top = default[0] if low is None else float(low), default[1] if high is None else float(high)
    if not (math.isfinite(bottom) and math.isfinite(top) and bottom < top):
        raise ValueError(f"low={bottom:g}, high={top:g}: expected finite numbers, the first below the second")
    return bottom, top
