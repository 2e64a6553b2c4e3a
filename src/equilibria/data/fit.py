"""Finds what the columns of a table are: their kinds, and the layers that they make."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.check import number, sequence
from equilibria.data.columns import (
    ALIASES,
    EXACT,
    KINDS,
    Column,
    Reader,
    listed,
    missing_cells,
    nearest_name,
    slab,
)
from equilibria.data.layer import Layer, Rare, ends_of, refuse_range
from equilibria.data.margin import Margin

__all__ = ["MIXED", "Finder", "limits"]

MAX_TEXTS = 100  # common values of a column of text
RARE_ROWS, RARE_SHARE = 10, 0.01  # fewer rows, and a smaller share of them, than a category has
NUMBERED = re.compile(r"(.*?)(\d{1,18})")
CALLED = re.compile(r"(?:^|[^A-Za-z])(?:id|ID|key|no|nr)$|[a-z](?:Id|ID)$", re.ASCII)
LAW_ROWS = 1 << 15  # behind a column's own law, or up to twice as many
MIXED = ("binary", "categorical", "real", "positive", "quantile")  # layers of a mixed table
SAID = tuple(kind for kind in KINDS if kind != "gap")  # what a user can say of a column
_LEAST_DEVIATION = 0.1  # of a picture's pixels: the share of the largest that they are divided by
_EXACT_TYPES = ("float", "double", "bool", "int8", "int16", "int32", "uint8", "uint16", "uint32")

Places = tuple[int, ...]
Serial = tuple[str, int, int]
"""Of an identifier: what stands before its number, digits of that (0: as it is), the next one."""


@dataclasses.dataclass
class Survey:
    """What a column holds."""

    column: Column
    values: Counter[Any] = dataclasses.field(default_factory=Counter)  # one more than asked about
    whole: bool = True
    missing: bool = False

    def kind(self, called: str, most: int) -> str:
        """The kind that these values speak for; "aside" where a model has nothing to learn."""
        holds, declared, count = self.column.holds, self.column.levels is not None, len(self.values)
        if not count:
            raise ValueError(f"X: {called} has no observed value; leave it out")
        if holds == "decimal":
            return "real"
        if count == 1 or (holds == "text" and not declared and self.alone(most)):
            return "aside"
        if holds in ("datetime", "timedelta"):
            return "real"
        if self.whole and count == 2:
            return "binary"
        few = self.whole and count <= most
        return "categorical" if declared or holds in ("text", "truth") or few else "real"

    def alone(self, most: int) -> bool:
        """Whether a text of very many values has fewer than two rows a value, such as names."""
        return len(self.values) > max(MAX_TEXTS, most) and 2 * len(self.values) > self.rows

    @property
    def rows(self) -> int:
        """Observed cells."""
        return sum(self.values.values())

    def common(self, group: tuple[Any, ...]) -> tuple[tuple[Any, ...], Rare | None]:
        """Categories of which the rare ones are the last together, and these with their shares.

        Rare are values of less than ten rows and of less than a hundredth of them, and what comes
        after the hundredth in the order of frequency; the commonest never is.
        """
        least, counts = min(RARE_ROWS, RARE_SHARE * self.rows), self.values
        order = sorted(group, key=lambda value: -counts[value])
        kept = [v for i, v in enumerate(order) if not i or (i < MAX_TEXTS and counts[v] >= least)]
        rare = order[len(kept) :]
        if len(rare) < 2:
            return group, None
        total = 1 + sum(counts[value] for value in rare)  # one for those that are still to come
        shares = tuple(counts[value] / total for value in rare)
        return (*filter(set(kept).__contains__, group), rare[0]), (tuple(rare), shares)

    def categories(self, kind: str, called: str) -> tuple[Any, ...]:
        """The values in order (of pandas' categories theirs), if they can be categories."""
        levels = self.column.levels
        order = sorted(self.values) if levels is None else levels
        group, fault = tuple(filter(self.values.__contains__, order)), ""
        if not group:
            fault = "has no observed value; leave it out"
        elif len(group) == 1:
            fault = f"has the one category {group[0]!r} in every row; leave it out"
        elif self.column.holds == "decimal":
            fault = "holds decimals; take it as real"
        elif not self.whole and levels is None:
            odd = next(value for value in group if value != round(value))
            fault = f"holds {odd!r}; a category is a whole number or text"
        elif kind == "binary" and len(group) > 2:
            fault = f"has {len(group)} different values ({listed(map(repr, group), 5)}); "
            fault += "a binary column has two: take it as categorical"
        if fault:
            raise ValueError(f"X: {called} {fault}")
        return group


class Finder:
    """Finds the layers of a table; :meth:`Table.fit` has the arguments."""

    def __init__(self, rows: Reader, limits: Any, allow_missing: bool, most: int, gaps: bool):
        self.rows, self.limits, self.allow_missing, self.most = rows, limits, allow_missing, most
        self.gaps = gaps
        self.places = {name: place for place, name in enumerate(rows.names or ())}
        single = not rows.is_frame and rows.table.dtype != object
        self.types = [rows.column(place) for place in range(1 if single else rows.shape[1])]

    def type(self, place: int) -> Column:
        return self.types[place if len(self.types) > 1 else 0]

    def word(self, kinds: str) -> str:
        """The word for all columns; ``"auto"`` means mixed where not all columns are numbers."""
        kind = ALIASES.get(kinds, kinds)
        if kind not in (*SAID, "auto", "mixed"):
            known = ", ".join(map(repr, SAID))
            raise ValueError(f"kinds={kinds!r}: expected 'auto', 'mixed', {known}")
        numbers = ("truth", "whole", "real", "decimal")
        odd = any(one.holds not in numbers or one.levels is not None for one in self.types)
        return "mixed" if kind == "auto" and odd else kind

    def has_gaps(self) -> bool:
        """Whether any cell is missing that may be."""
        if not self.allow_missing:
            return False
        blocks = (slab(self.rows.table, block) for block in self.rows.ranges())
        return any(missing_cells(block).any() for block in blocks)

    def survey(self, places: Iterable[int], every: Iterable[int] = ()) -> dict[int, Survey]:
        """One pass over columns; all the values of those in ``every``, or of pandas' categories."""
        found = {place: Survey(self.type(place)) for place in places}
        limit = max(MAX_TEXTS, self.most)
        whole = {place for place, one in found.items() if one.column.levels is not None}
        whole |= set(every)
        for block in self.rows.ranges():
            for place, known in found.items():
                cells, missing = self.rows.cells(block, place)
                if not self.allow_missing:
                    self.rows.refuse_gaps(missing, cells, block.start, place)
                present = cells[~missing] if missing.any() else cells
                known.missing |= bool(missing.any())
                known.whole &= _all_whole(present, known.column.holds)
                if place in whole or len(known.values) <= limit:
                    new, counts = np.unique(present, return_counts=True)
                    each = (v.item() if isinstance(v, np.generic) else v for v in new.tolist())
                    known.values.update(dict(zip(each, counts.tolist(), strict=True)))
                while place not in whole and len(known.values) > limit + 1:
                    known.values.popitem()
        return found

    def mixed(self, kinds: Any) -> tuple[list[Layer], tuple[tuple[int, Any], ...]]:
        """Columns put together by kind; and those left aside, with the value that they all have, or
        of identifiers how these go on."""
        rows, places = self.rows, range(self.rows.shape[1])
        chosen = self._said(kinds)
        texts = [place for place in places if self.type(place).holds == "text"]
        found = self.survey(places, [p for p, kind in chosen.items() if kind in MIXED[:2]] + texts)
        made = dict[int, Serial]()
        for place, one in found.items():
            if place not in chosen:
                kind = one.kind(rows.called(place), self.most)
                serial = self._serial(place, kind, one)
                if serial is not None:
                    kind, made[place] = "aside", serial
                chosen[place] = "quantile" if kind == "real" else kind
        aside: list[tuple[int, Any]] = list(made.items())
        for place in (place for place in places if chosen[place] == "aside" and place not in made):
            values = found[place].values
            if len(values) > 1 and self.type(place).dtype.startswith("<U"):
                what = f"is text of more than {MAX_TEXTS} values with fewer than two rows a value"
                raise ValueError(f"X: {rows.called(place)} {what}; leave it out")
            aside.append((place, next(iter(values)) if len(values) == 1 else None))
        sources = {kind: tuple(p for p in places if chosen[p] == kind) for kind in MIXED}
        layers = [self.layer(k, k, source, found=found) for k, source in sources.items() if source]
        layers = [self._with_rare(layer, found) for layer in layers]
        gaps = tuple(p for p in places if found[p].missing and chosen[p] != "aside")
        if gaps and self.gaps:
            layers.append(Layer("gap", "gap", gaps))
        if not layers:
            raise ValueError("X: every column is constant, or text that hardly recurs")
        if rows.is_frame:  # whole numbers that are floats because cells are missing come back whole
            for place, one in found.items():
                if one.whole and one.missing and one.column == Column("float64"):
                    self.types[place] = Column("float64", "whole")
        return layers, tuple(sorted(aside))

    def _with_rare(self, layer: Layer, found: Mapping[int, Survey]) -> Layer:
        """The layer, each categorical column's rare values together."""
        if layer.kind != "categorical":
            return layer
        pairs = zip(layer.source, layer.categories or (), strict=True)
        groups, rare = zip(*(found[place].common(group) for place, group in pairs), strict=True)
        return dataclasses.replace(layer, categories=groups, rare=rare if any(rare) else None)

    def _serial(self, place: int, kind: str, known: Survey) -> Serial | None:
        """How a column goes on that only numbers the rows: all different, and whole numbers by the
        name of one, or text that ends in a number."""
        text = self.type(place).holds == "text" and kind == "aside"
        name = "" if self.rows.names is None else str(self.rows.names[place])
        if not text and not (kind == "real" and CALLED.search(name)):
            return None
        found = known if text else self.survey([place], [place])[place]  # of text it has all
        if len(found.values) < found.rows or found.missing or (not found.whole and not text):
            return None
        dtype = self.type(place).dtype
        if not text:
            last = int(max(found.values))
            narrow = dtype in ("int8", "uint8", "int16", "uint16") or abs(last) > EXACT
            return None if narrow else ("", 0, last + 1)
        if dtype.startswith(("<U", ">U")):  # an array's text is as long as its longest
            return None
        parts = [one for value in found.values if (one := NUMBERED.fullmatch(value))]
        before, widths = {one[1] for one in parts}, {len(one[2]) for one in parts}
        if len(parts) < len(found.values) or len(before) > 1:
            return None
        width = widths.pop() if len(widths) == 1 else 0
        return before.pop(), width, max(int(one[2]) for one in parts) + 1

    def modalities(self, modalities: Any, kinds: Any) -> list[Layer]:
        """Columns put together by name, each group of one kind."""
        places = self._modality_places(modalities)
        if isinstance(kinds, str):
            word = self.word(kinds)
            kinds = {} if word in ("auto", "mixed") else dict.fromkeys(places, word)
        if not isinstance(kinds, Mapping) or not set(kinds) <= set(places):
            known = ", ".join(map(repr, places))
            raise ValueError(
                f"kinds={kinds!r}: expected a kind, or a mapping from modalities ({known})"
            )
        said = {name: _word(name, kind, SAID) for name, kind in kinds.items()}
        found, layers = self.survey(range(self.rows.shape[1])), []
        for name, source in places.items():
            kind = said.get(name, "auto")
            spoken = self._spoken(source, found)
            greys = kind in ("auto", "binary") and self._are_greys(source, found, spoken)
            if kind == "auto":
                kind = "binary" if greys else self._modality_kind(name, spoken)
            coded = kind == "categorical" or (kind == "binary" and not greys)
            surveyed = self.survey(source, source) if coded else None
            layers.append(self.layer(name, kind, source, found=surveyed))
        if self.limits is not None and all(layer.low is None for layer in layers):
            what = "no modality's values lie in it; leave it out"
            raise ValueError(f"value_range={self.limits}: {what}")
        return layers

    def _spoken(self, source: Places, found: Mapping[int, Survey]) -> dict[int, str]:
        """What the columns with more than one value speak for."""
        several = [place for place in source if len(found[place].values) != 1]
        kinds = {p: found[p].kind(self.rows.called(p), self.most) for p in several}
        return {p: "categorical" if kind == "aside" else kind for p, kind in kinds.items()}

    def _are_greys(self, source: Places, found: Mapping[int, Survey], spoken: Any) -> bool:
        """Whether numbers are probabilities: the ends of the range alone, or any between them."""
        low, high = self.limits or (0.0, 1.0)
        if any(self.type(place).holds == "text" for place in source):
            return False
        if all(set(found[place].values) <= {low, high} for place in source):
            return True
        ends = self._extremes(source, None) if "real" in spoken.values() else None
        return ends is not None and low <= ends[0] and ends[1] <= high

    def _modality_kind(self, name: str, spoken: dict[int, str]) -> str:
        """Text, and whole numbers with few values, are categories; all else is real."""
        real = [place for place, kind in spoken.items() if kind == "real"]
        other = [place for place in spoken if place not in real]
        if real and other:
            pair = (f"{self.rows.called(p)} is {spoken[p]}" for p in sorted((real[0], other[0])))
            raise ValueError(
                f"modalities[{name!r}] has columns of several kinds: {', '.join(pair)}; put them "
                f'into modalities of their own, or say the kind (kinds={{"{name}": "real"}})'
            )
        if not other:
            return "real"
        return "binary" if set(spoken.values()) == {"binary"} else "categorical"

    def _modality_places(self, modalities: Any) -> dict[str, Places]:
        """Each group's columns by their places: every column in exactly one group."""
        rows, width = self.rows, self.rows.shape[1]
        if not isinstance(modalities, Mapping) or not modalities:
            example = '{"picture": range(64), "name": [64]}'
            raise ValueError(
                f"modalities={modalities!r}: expected names and their columns: {example}"
            )
        owner: dict[int, str] = {}
        for name, columns in modalities.items():
            if isinstance(columns, slice):
                columns = range(*columns.indices(width))
            elif isinstance(columns, str | int | np.integer):
                columns = [columns]
            if not isinstance(columns, Sequence | np.ndarray) or not len(columns):
                what = "expected some columns: a slice, a range, or a list of numbers or names"
                raise ValueError(f"modalities[{name!r}]={columns!r}: {what}")
            for place in (self._place(column, f"modalities[{name!r}]") for column in columns):
                if place in owner:
                    where = f"in {owner[place]!r} and in {name!r}"
                    where = f"twice in {name!r}" if owner[place] == name else where
                    raise ValueError(
                        f"modalities: {rows.called(place)} is {where}; expected it in one"
                    )
                owner[place] = name
        left = [place for place in range(width) if place not in owner]
        if left:
            several = f"({len(left)} of {width} are not); expected each column in one"
            raise ValueError(f"modalities: {rows.called(left[0])} is in no modality {several}")
        return {name: tuple(p for p, own in owner.items() if own == name) for name in modalities}

    def _place(self, column: Any, argument: str) -> int:
        """A column's place, from its name or its number."""
        names, width = self.rows.names or (), self.rows.shape[1]
        if isinstance(column, Hashable) and column in self.places:
            return self.places[column]
        whole = isinstance(column, int | np.integer) and not isinstance(column, bool)
        if whole and -width <= column < width:
            return int(column) % width
        hint = nearest_name(column, names) if names else f"expected a number from 0 to {width - 1}"
        raise ValueError(f"{argument} names the column {column!r}, which X does not have; {hint}")

    def _said(self, kinds: Any) -> dict[int, str]:
        """Kinds by the columns' places."""
        if isinstance(kinds, str):
            return {}
        width = self.rows.shape[1]
        if not isinstance(kinds, Mapping) and len(kinds) != width:
            remedy = "give one each, or a mapping from some columns to kinds"
            raise ValueError(f"kinds has {len(kinds)} entries for {width} columns; {remedy}")
        pairs = (
            kinds.items() if isinstance(kinds, Mapping) else zip(range(width), kinds, strict=True)
        )
        words = [(column, _word(column, kind, MIXED)) for column, kind in pairs]
        by_name = isinstance(kinds, Mapping)
        places = {self._place(c, "kinds") if by_name else c: word for c, word in words}
        return {place: word for place, word in places.items() if word != "auto"}

    def layer(
        self, name: str, kind: str, source: Places, shape: Any = None, found: Any = None
    ) -> Layer:
        """A layer of one kind; ``found`` where its columns were surveyed, to be coded."""
        text = any(self.type(place).holds == "text" for place in source)
        if kind == "categorical" or (kind == "binary" and (found is not None or text)):
            found = self.survey(source, source) if found is None else found
            groups = [found[place].categories(kind, self.rows.called(place)) for place in source]
            return Layer(name, kind, source, categories=tuple(groups))
        origin = self._origin(source)
        ends = self._extremes(source, origin, -math.inf if kind == "auto" else KINDS[kind].least)
        if kind == "auto":
            low, high = self.limits or (0.0, 1.0)
            kind = "binary" if low <= ends[0] and ends[1] <= high else "real"
        if KINDS[kind].ends is not None:
            low, high = self.limits or self._usual_range(kind, ends)
            refuse_range(kind, low, high, ends, "X")
            return Layer(name, kind, source, low=low, high=high)
        if kind == "quantile":
            return Layer(name, kind, source, origin=origin, laws=self.laws(source, origin))
        mean, deviation = self._moments(source, origin)
        if shape is not None:  # a pixel that hardly varies would be blown up, and one row ruin all
            deviation = deviation.clamp(min=_LEAST_DEVIATION * float(deviation.max()))
        if kind == "positive":
            mean, origin = torch.zeros_like(mean), None
        offset, scale = tuple(mean.tolist()), tuple(deviation.tolist())
        return Layer(name, kind, source, offset=offset, scale=scale, origin=origin)

    def laws(self, source: Places, origin: Any) -> tuple[Margin, ...]:
        """The laws of columns by their ranks, less their origins."""
        return tuple(self._law(p, origin[i] if origin else 0) for i, p in enumerate(source))

    def _law(self, place: int, origin: int) -> Margin:
        """The law of a column's observed values less its origin; of many rows, of every k-th, and
        the two ends."""
        rows, known, skipped = self.rows, (origin,) if origin else None, len(self.rows) // LAW_ROWS
        low, high, parts = math.inf, -math.inf, []
        for block in rows.ranges():
            values = rows.numbers(block, (place,), known).numpy()[:, 0]
            values = values[~np.isnan(values)]
            parts.append(values[:: skipped + 1].copy())
            low, high = min(low, values.min(initial=low)), max(high, values.max(initial=high))
        if low > high:
            raise ValueError(f"X: {rows.called(place)} has no observed value; leave it out")
        values = np.concatenate([*parts, [low, high]] if skipped else parts)
        return Margin.of(values, "float32" in self.type(place).dtype.lower())

    def _origin(self, source: Places) -> Places | None:
        """The smallest value of each column whose whole numbers float64 cannot tell apart."""
        origin = [0] * len(source)
        for column, place in enumerate(source):
            kind, ends = self.type(place), [0]
            if kind.dtype.lower().startswith(_EXACT_TYPES) or kind.holds == "text":
                continue
            for block in self.rows.ranges():
                cells, missing = self.rows.cells(block, place)
                present = cells[~missing]
                if len(present) and (present.dtype.kind in "iu" or kind.holds == "whole"):
                    ends += [int(present.min()), int(present.max())]
            if max(map(abs, ends)) > EXACT:
                origin[column] = min(ends[1:])
        return tuple(origin) if any(origin) else None

    def _extremes(
        self, source: Places, origin: Any, least: float = -math.inf
    ) -> tuple[float, float]:
        """The smallest and the largest observed value, of columns together."""
        ends = []
        for block in self.rows.ranges():
            values = self.rows.numbers(block, source, origin, wide=False)
            ends.append(ends_of(values, self.rows, block.start, source, self.allow_missing, least))
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        if low > high:
            raise ValueError("X has no observed value; expected at least one that is not missing")
        return low, high

    def _usual_range(self, kind: str, ends: tuple[float, float]) -> tuple[float, float]:
        """What is usual for the kind and the type."""
        if kind == "picture" and self.rows.dtype == "uint8":
            return 0.0, 255.0
        if kind == "spin" and ends[0] < 0:
            return -1.0, 1.0
        if kind in ("spin", "binary") or (ends[0] >= 0 and ends[1] <= 1):
            return 0.0, 1.0
        return limits(ends) or ends

    def _moments(self, source: Places, origin: Any) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each column, float64; 1 for a constant one."""
        rows = self.rows
        total, count, squares = (torch.zeros(len(source), dtype=torch.float64) for _ in range(3))
        low, high = torch.full_like(total, torch.inf), torch.full_like(total, -torch.inf)
        for block in rows.ranges():
            values = rows.numbers(block, source, origin)
            total += values.nansum(0)
            count += (~values.isnan()).sum(0)
            low = torch.minimum(low, values.nan_to_num(nan=torch.inf).amin(0))
            high = torch.maximum(high, values.nan_to_num(nan=-torch.inf).amax(0))
        constant = low == high  # exactly: rounding would give a tiny deviation to divide by
        mean = torch.where(constant, low, total / count)
        for block in rows.ranges():
            squares += (rows.numbers(block, source, origin) - mean).square().nansum(0)
        deviation = torch.where(constant, 1.0, (squares / count).sqrt())
        good = mean.isfinite() & deviation.isfinite() & (deviation > 0)
        for column in (~good).nonzero().flatten().tolist():
            what = "has no observed value; leave it out"
            if count[column]:
                what = f"holds values from {low[column]:g} to {high[column]:g}, whose squares "
                what += "float64 cannot hold; give it in another unit"
            raise ValueError(f"X: {rows.called(source[column])} {what}")
        return mean, deviation


def limits(value_range: Any) -> tuple[float, float] | None:
    """A range of values as (low, high), checked."""
    if value_range is None:
        return None
    expected = "(low, high): finite numbers, the first below the second"
    low, high = sequence(number(), 2, expected, 2)("value_range", value_range)
    if not low < high:
        raise ValueError(f"value_range={value_range!r}: expected {expected}")
    return float(low), float(high)


def _word(column: Any, kind: Any, known: Iterable[str]) -> str:
    word = ALIASES.get(kind, kind) if isinstance(kind, str) else kind
    if word not in (*known, "auto"):
        expected = f"expected 'auto' or one of {', '.join(known)}"
        raise ValueError(f"kinds[{column!r}]={kind!r}: {expected}")
    return str(word)


def _all_whole(present: np.ndarray, holds: str) -> bool:
    if present.dtype.kind == "f":
        return bool((present == np.rint(present)).all())
    if present.dtype == object and holds in ("real", "decimal"):
        return all(float(cell).is_integer() for cell in present)
    return True
