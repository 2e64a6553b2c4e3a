"""A visible layer: columns of one kind, encoded and decoded together."""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.data.columns import KINDS, Rows

__all__ = ["Layer", "ends_of", "refuse_gaps", "refuse_range"]


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
    def _known(self) -> list[tuple[dict[Any, int], np.ndarray | None]]:
        """Where each category stands, to be looked up."""
        known: list[tuple[dict[Any, int], np.ndarray | None]] = []
        for group in self.categories or ():
            place = {value: code for code, value in enumerate(group)}
            numeric = all(isinstance(v, int | float) and abs(v) <= 2**53 for v in group)
            ordered = sorted(place.items()) if numeric else []
            known.append((place, np.array(ordered, dtype=np.float64).T if ordered else None))
        return known

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
            ends = ends_of(values, rows, block.start, self.source, missing, KINDS[self.kind].least)
            refuse_range(self.kind, self.low, self.high, ends, rows.name)
        offset, scale = (part.to(values.dtype) for part in self.affine)
        return ((values - offset) / scale).to(dtype)

    def _coded(
        self, rows: Rows, block: slice, dtype: torch.dtype, missing: bool, unknown: str
    ) -> Tensor:
        assert self.categories is not None
        parts = []
        for place, group, known in zip(self.source, self.categories, self._known, strict=True):
            cells, gaps = rows.cells(block, place)
            if not missing:
                refuse_gaps(rows, gaps, cells, block.start, place)
            codes = _codes(cells, gaps, *known)
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
            if (codes < 0).any():
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


def _double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _codes(
    cells: np.ndarray, missing: np.ndarray, place: dict[Any, int], numbers: np.ndarray | None
) -> np.ndarray:
    """Places of cells among categories, int64; −1 where missing or none of them.

    ``numbers`` are the categories, sorted, with their places, where float64 holds them exactly.
    """
    if cells.dtype.kind in "biuf" and numbers is not None:
        at = np.searchsorted(numbers[0], cells).clip(max=numbers.shape[1] - 1)
        found = (numbers[0, at] == cells) & ~missing
        return np.where(found, numbers[1, at], -1).astype(np.int64)
    listed = cells.tolist()
    if cells.dtype.kind in "iu" and isinstance(next(iter(place), None), str):
        listed = list(map(str, listed))  # text that spells numbers, in a file that has no other
    found = [-1 if gap else place.get(c, -1) for c, gap in zip(listed, missing, strict=True)]
    return np.array(found, dtype=np.int64)


def refuse_gaps(rows: Rows, missing: np.ndarray, cells: np.ndarray, first: int, place: int) -> None:
    if missing.any():
        row = int(missing.argmax())
        cell = "None" if cells[row] is None else "NaN"
        raise ValueError(
            f"{rows.where(first + row, place)} is {cell}; fill it, or leave the row out"
        )


def refuse_range(
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


def ends_of(
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
