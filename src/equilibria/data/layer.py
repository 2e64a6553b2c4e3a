"""A visible layer: columns of one kind, encoded and decoded together."""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.data.columns import EXACT, KINDS, Reader, listed, objects
from equilibria.data.margin import Margin, Margins

__all__ = ["Layer", "Rare", "ends_of", "refuse_range"]

Rare = tuple[tuple[Any, ...], tuple[float, ...]]
"""Values that are one category together, and the share of each among them; what the shares lack of
1 is that of values which were not seen."""


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
    laws : tuple of Margin or None
        Of columns that are taken by their ranks.
    rare : tuple or None
        Of coded columns: each one's rare values, and the share of each among them; None of a column
        that has none. Together they are the last category, which is called by the commonest.
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
    laws: tuple[Margin, ...] | None = None
    rare: tuple[Rare | None, ...] | None = None

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
        return tuple(map(len, self.categories))

    @property
    def numeric(self) -> bool:
        """Whether encoded values stand for numbers, and not for categories."""
        return self.categories is None and self.kind != "gap"

    @property
    def linear(self) -> bool:
        """Whether the mean of encoded values stands for the mean of the numbers."""
        return self.numeric and self.laws is None

    def rare_of(self, column: int) -> Rare:
        """The rare values of a column, and their shares; none of one that has none."""
        return (self.rare and self.rare[column]) or ((), ())

    @functools.cached_property
    def affine(self) -> tuple[Tensor, Tensor]:
        """Offset and scale of x = offset + scale · encoded, float64."""
        if self.offset is not None and self.scale is not None:
            return _double(self.offset), _double(self.scale)
        ends, low, high = KINDS[self.kind].ends, self.low, self.high
        assert ends is not None and low is not None and high is not None  # noqa: PT018
        scale = (high - low) / (ends[1] - ends[0])
        return _double(low - ends[0] * scale), _double(scale)

    @functools.cached_property
    def margins(self) -> Margins:
        """The laws of a layer of columns that are taken by their ranks."""
        assert self.laws is not None
        return Margins(self.laws)

    @functools.cached_property
    def _places(self) -> list[tuple[dict[Any, int], np.ndarray | None]]:
        """Of each column its categories' places; in order too, where float64 holds them exactly."""
        found: list[tuple[dict[Any, int], np.ndarray | None]] = []
        for column, group in enumerate(self.categories or ()):
            place = {value: code for code, value in enumerate(group)}
            place |= dict.fromkeys(self.rare_of(column)[0], len(group) - 1)
            exact = all(isinstance(v, int | float) and abs(v) <= EXACT for v in place)
            ordered = np.array(sorted(place.items()), dtype=np.float64).T if exact else None
            found.append((place, ordered))
        return found

    def encode(
        self, rows: Reader, block: slice, dtype: torch.dtype, missing: bool, unknown: str
    ) -> Tensor:
        """Some rows of a table, (n, size)."""
        if self.categories is not None:
            return self._coded(rows, block, dtype, missing, unknown)
        if self.kind == "gap":
            gaps = [rows.cells(block, place)[1] for place in self.source]
            return torch.from_numpy(np.stack(gaps, 1)).to(dtype)
        if self.laws is not None:
            values = rows.numbers(block, self.source, self.origin)
            ends_of(values, rows, block.start, self.source, missing)
            return self.margins.scores(values).to(dtype)
        wide = self.scale is not None or dtype == torch.float64
        values = rows.numbers(block, self.source, self.origin, wide)
        if (
            self.scale is not None
            or rows.dtype != "uint8"
            or self.low != 0
            or (self.high or 0) < 255
        ):
            ends = ends_of(values, rows, block.start, self.source, missing, KINDS[self.kind].least)
            refuse_range(self.kind, self.low, self.high, ends, rows.name)
        offset, scale = (part.to(values.dtype) for part in self.affine)
        return ((values - offset) / scale).to(dtype)

    def _coded(
        self, rows: Reader, block: slice, dtype: torch.dtype, missing: bool, unknown: str
    ) -> Tensor:
        parts = []
        for column, place in enumerate(self.source):
            size, known = self.sizes[column], self._places[column]
            cells, gaps = rows.cells(block, place)
            if not missing:
                rows.refuse_gaps(gaps, cells, block.start, place)
            codes, unseen = self._code(rows, cells, gaps, column)
            if unseen.any():
                row = int(unseen.argmax())
                found = f"{rows.where(block.start + row, place)} is {cells[row:].tolist()[0]!r}"
                found += f", which was not among its categories {listed(map(repr, known[0]))}"
                if unknown != "missing":
                    remedy = 'take it as a gap (unknown="missing")'
                    if isinstance(next(iter(known[0])), int | float):
                        called = rows.called(place).removeprefix("column ")
                        remedy += f', or the column as numbers (kinds={{{called}: "quantile"}})'
                    raise ValueError(f"{found}; {remedy}")
                warnings.warn(f"{found}: taken as missing", UserWarning, stacklevel=4)
            place_of = torch.from_numpy(codes)[:, None]
            if self.kind == "binary":
                part = place_of.to(dtype)
            else:
                part = torch.zeros(len(codes), size, dtype=dtype)
                part.scatter_(1, place_of.clamp(min=0), 1.0)
            parts.append(part.masked_fill_(place_of < 0, torch.nan))
        return torch.cat(parts, 1)

    def among_rare(self, rows: Reader, column: int) -> np.ndarray:
        """Places of a column's cells among its rare values, int64 (n,); behind the last that of
        values which were not seen, −1 of all else."""
        cells, gaps = rows.cells(slice(0, len(rows)), self.source[column])
        values = self.rare_of(column)[0]
        places = _codes(cells, gaps, {value: i for i, value in enumerate(values)}, None)
        codes, _ = self._code(rows, cells, gaps, column)
        return np.where((codes == self.sizes[column] - 1) & (places < 0), len(values), places)

    def _code(
        self, rows: Reader, cells: np.ndarray, gaps: np.ndarray, column: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes of a column's cells, −1 where there is none; and which cells are neither missing
        nor a value that the column can have.

        A value that was not seen is one more rare one, in a column of such, where it is as they
        are: text, or a whole number; of pandas' categories one of these.
        """
        codes = _codes(cells, gaps, *self._places[column])
        unseen = (codes < 0) & ~gaps
        if self.rare_of(column)[0] and unseen.any():
            levels = rows.levels(self.source[column])
            new = _could_be(cells[unseen], self.rare_of(column)[0])
            if levels is not None:
                new &= np.array([cell in levels for cell in cells[unseen].tolist()])
            codes[np.flatnonzero(unseen)[new]] = self.sizes[column] - 1
            unseen = (codes < 0) & ~gaps
        return codes, unseen

    def decode(self, values: Tensor, share: Tensor | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(n, variables): numbers less ``origin``, or chosen categories; and which are missing.

        Rare values are chosen by ``share`` in [0, 1), (n, variables); without it the commonest.
        """
        values = values.detach().cpu()
        if self.categories is None:
            if self.laws is None:
                offset, scale = self.affine
                numbers = (values.to(torch.float64) * scale + offset).numpy()
            else:
                numbers = self.margins.values(values.double()).numpy()
            return numbers, np.isnan(numbers)
        chosen = np.empty((len(values), self.variables), dtype=object)
        missing = np.zeros(chosen.shape, dtype=bool)
        for column, part in enumerate(values.split(self.sizes, dim=1)):
            place = (part[:, 0] > 0.5).long() if self.kind == "binary" else part.argmax(1)
            chosen[:, column] = objects(self.categories[column])[place.numpy()]
            several, shares = self.rare_of(column)
            if several and share is not None:
                some = np.flatnonzero(place.numpy() == len(self.categories[column]) - 1)
                reach = np.cumsum(shares)
                at = np.searchsorted(reach, reach[-1] * share[some, column].numpy(), side="right")
                chosen[some, column] = objects(several)[at.clip(max=len(several) - 1)]
            missing[:, column] = part.isnan().any(1).numpy()
        return chosen, missing

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold; the encoded columns follow from the order."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.laws is not None:
            fields["laws"] = list(map(dataclasses.astuple, self.laws))
        return {k: v for k, v in fields.items() if v is not None and k != "columns"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Layer:
        """The inverse of :meth:`to_json`."""
        fields: dict[str, Any] = dict(data)
        fields |= {k: tuple(v) for k, v in data.items() if isinstance(v, list | range)}
        if fields.get("categories") is not None:
            fields["categories"] = tuple(map(tuple, fields["categories"]))
        if fields.get("rare") is not None:
            fields["rare"] = tuple(one and tuple(map(tuple, one)) for one in fields["rare"])
        if fields.get("laws") is not None:
            laws = ((tuple(knots), tuple(shares), grid) for knots, shares, grid in fields["laws"])
            fields["laws"] = tuple(Margin(*law[:2], law[2] and tuple(law[2])) for law in laws)
        return cls(**fields)


def _double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _codes(
    cells: np.ndarray, missing: np.ndarray, place: dict[Any, int], ordered: np.ndarray | None
) -> np.ndarray:
    """Places of cells among categories, int64; −1 where missing or none of them."""
    if cells.dtype.kind in "biuf" and ordered is not None:
        at = np.searchsorted(ordered[0], cells).clip(max=ordered.shape[1] - 1)
        found = (ordered[0, at] == cells) & ~missing
        return np.where(found, ordered[1, at], -1).astype(np.int64)
    values = cells.tolist()
    if cells.dtype.kind in "iu" and isinstance(next(iter(place), None), str):
        values = list(map(str, values))  # text that spells numbers, in a file that has no other
    try:
        codes = [-1 if gap else place.get(v, -1) for v, gap in zip(values, missing, strict=True)]
    except TypeError:  # a list, say, is no key
        codes = [
            place.get(v, -1) if isinstance(v, Hashable) and not gap else -1
            for v, gap in zip(values, missing, strict=True)
        ]
    return np.array(codes, dtype=np.int64)


def _could_be(cells: np.ndarray, known: Sequence[Any]) -> np.ndarray:
    """Which cells a column could hold that has these values, text or whole numbers, bool (n,)."""
    if isinstance(known[0], str):
        if cells.dtype.kind in "iu" and all(map(str.isdecimal, known)):
            return np.ones(len(cells), dtype=bool)  # it spells numbers, in a file that has no other
        return np.array([isinstance(cell, str) for cell in cells.tolist()])
    whole = (int, float, np.number)
    return np.array([isinstance(v, whole) and float(v).is_integer() for v in cells.tolist()])


def refuse_range(kind: str, low: Any, high: Any, ends: tuple[float, float], name: str) -> None:
    """A sentence where values leave the range of a kind that has one."""
    if KINDS[kind].ends is None or ends[0] > ends[1]:
        return
    if ends[0] < low or ends[1] > high:
        remedy = ' or kinds="real" for values without a range' if kind == "binary" else ""
        raise ValueError(
            f"{name} holds values from {ends[0]:g} to {ends[1]:g}, outside {low:g} to {high:g}; "
            f"scale them, or give their range (value_range=({ends[0]:g}, {ends[1]:g})){remedy}"
        )


def ends_of(
    values: Tensor,
    rows: Reader,
    first: int,
    source: Sequence[int],
    allow_missing: bool = True,
    least: float = -math.inf,
) -> tuple[float, float]:
    """The smallest and the largest observed value; refuses what is not finite, or below ``least``.

    Without a single observed value the ends are +∞ and −∞.
    """
    low, high = (float(end) for end in torch.aminmax(values))  # NaN wins over every number here
    if math.isfinite(low) and math.isfinite(high) and low >= least:
        return low, high
    bad = values.isinf() | (values < least) | (values.isnan() & (not allow_missing))
    for row, column in bad.nonzero()[:1].tolist():
        value = values[row, column].item()
        text, remedy = f"{value:g}", "replace it by a finite number"
        if math.isnan(value):
            text, remedy = "NaN", "fill it, or leave the row out"
        elif math.isfinite(value):
            remedy = "such a column holds zero or more; correct it, or take the column as real"
        raise ValueError(f"{rows.where(first + row, source[column])} is {text}; {remedy}")
    known = values[~values.isnan()]
    return (float(known.min()), float(known.max())) if known.numel() else (math.inf, -math.inf)
