"""A table's rows beside samples, column by column: numbers, or places among the column's values."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from typing import Any

import numpy as np

from equilibria.data.columns import unit_of
from equilibria.data.table import Table

__all__ = ["LEVELS", "Cells", "beside", "called", "column", "spelt"]

LEVELS = 10  # values of a column that are told apart; the rarest go together
_UNITS = (365.25 * 86400, "y"), (86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")
_TIMES = {"datetime": "date", "timedelta": "duration"}
_ROUNDING = 4e-15  # of what was encoded and decoded


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """A column of rows and of samples, read alike.

    Attributes
    ----------
    name : str
    rows, samples : ndarray of float64, shape (n,) and (m,)
        Numbers, or places among ``levels``; NaN where a cell is missing. A date is the seconds
        since 1970, a duration its seconds.
    levels : tuple of str
        What the places stand for; empty for numbers.
    holds : str
        ``"number"``, ``"whole"``, ``"date"``, ``"duration"``, ``"value"`` or ``"text"``.
    others : int
        How many values the last level stands for, where it stands for several.
    """

    name: str
    rows: np.ndarray
    samples: np.ndarray
    levels: tuple[str, ...] = ()
    holds: str = "number"
    others: int = 0

    @property
    def known(self) -> tuple[np.ndarray, np.ndarray]:
        """The cells that are not missing."""
        return self.rows[~np.isnan(self.rows)], self.samples[~np.isnan(self.samples)]

    @property
    def missing(self) -> tuple[float, float]:
        """The shares of missing cells, in rows and in samples."""
        return float(np.isnan(self.rows).mean()), float(np.isnan(self.samples).mean())

    @functools.cached_property
    def short(self) -> Cells:
        """The same with ten levels at most, of those that are in the cells, the rarest together;
        text by the commonest of the rows. Numbers of so few values have levels too."""
        different, counts = np.unique(np.concatenate(self.known), return_counts=True)
        if not self.levels and not 0 < len(different) <= LEVELS:
            return self
        most = len(different) if len(different) <= LEVELS else LEVELS - 1
        kept = different[np.sort(np.argsort(-counts, kind="stable")[:most])]
        if self.holds == "text":
            kept = kept[np.argsort(-(self.known[0][:, None] == kept).sum(axis=0), kind="stable")]
        levels, others = self.levels, len(different) - most
        words = [levels[int(v)] if levels else spelt(float(v), self.holds) for v in kept]
        words += [f"{others} others"] * (others > 0)

        def placed(cells: np.ndarray) -> np.ndarray:
            same = cells[:, None] == kept
            at = np.where(same.any(axis=1), same.argmax(axis=1), most).astype(float)
            return np.where(np.isnan(cells), np.nan, at)

        return Cells(
            self.name, placed(self.rows), placed(self.samples), tuple(words), "value", others
        )


def beside(table: Table, rows: np.ndarray, samples: np.ndarray) -> list[Cells]:
    """The columns of rows and samples that a table has encoded
    (:func:`~equilibria.evaluation.statistics.encoded`), in the order of the data.

    >>> table = Table.fit(np.array([["a", 1.5], ["b", 2.5]], dtype=object), kinds={1: "real"})
    >>> first, second = beside(table, np.array([[0.0, -1.0], [1.0, np.nan]]), np.array([[1, 1.0]]))
    >>> first.levels, first.rows, second.rows, second.samples
    (('a', 'b'), array([0., 1.]), array([1.5, nan]), array([2.5]))
    """
    found = {}
    for layer in table.layers:
        for i, place in enumerate(layer.source):
            kind, levels = table.type(place), tuple[str, ...]()
            both = [column(table, part, place) for part in (rows, samples)]
            if layer.categories is not None:
                levels, several = tuple(map(_word, layer.categories[i])), len(layer.rare_of(i)[0])
                levels = (*levels[:-1], f"{several} rare values") if several else levels
                holds = "text" if kind.holds == "text" and kind.levels is None else "value"
            else:
                offset, scale = (float(part[i]) for part in layer.affine)
                origin, holds = layer.origin[i] if layer.origin else 0, _TIMES.get(kind.holds, "")
                unit: Any = unit_of(kind.dtype) if holds else "s"
                seconds = float(np.timedelta64(1, unit) / np.timedelta64(1, "s"))
                both = [(x * scale + offset + origin) * seconds for x in both]
                cells, lost = np.concatenate(both), _ROUNDING * (abs(offset) + scale)
                near = np.isclose(cells, np.rint(cells), _ROUNDING, lost)
                holds = holds or ("whole" if near[~np.isnan(cells)].all() else "number")
                if holds == "whole":
                    both = [np.rint(x) + 0.0 for x in both]  # no −0
                both = [np.where(np.abs(x) <= lost, 0.0, x) for x in both]
            found[place] = Cells(called(table, place), both[0], both[1], levels, holds)
    return [found[place] for place in sorted(found)]


def column(table: Table, rows: np.ndarray, place: int) -> np.ndarray:
    """One column of encoded rows, (n,): its numbers as they are, or the codes of its categories."""
    own = rows[:, table.columns_of(place)]
    code = np.where(np.isnan(own).any(axis=1), np.nan, own.argmax(axis=1))
    return own[:, 0] if own.shape[1] == 1 else code


def called(table: Table, place: int) -> str:
    """A column as numbers call it: by its name alone, where it has one."""
    name = table.key(place)
    return name if isinstance(name, str) else f"column {name}"


def _word(value: Any) -> str:
    """A category."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return spelt(float(value), "number") if number else " ".join(str(value).split())


def spelt(value: float, holds: str, span: float = math.inf) -> str:
    """A number in words, as its column has it; a date as finely as a range of ``span`` seconds
    asks for, by default to the day or, where it has one, to the minute.

    >>> spelt(1234.5, "number"), spelt(86400.0, "date"), spelt(5400.0, "duration")
    ('1234', '1970-01-02', '1.5 h')
    """
    if holds == "date":
        time = np.datetime64(round(value), "s")
        if math.isinf(span):
            return str(time)[: 10 if value % 86400 == 0 else 16].replace("T", " ")
        for least, unit in ((4 * 365, "Y"), (90, "M"), (3, "D")):
            if span >= least * 86400:
                return str(time.astype(f"datetime64[{unit}]"))
        return str(time)[11:16]
    if holds == "duration":
        size, unit = next((one for one in _UNITS if abs(value) >= one[0]), _UNITS[-1])
        return f"{value / size:.3g} {unit}"
    if abs(value) >= 1e6 or (holds != "whole" and 0 < abs(value) < 1e-4):
        return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.3g}")
    return f"{value:.0f}" if holds == "whole" or abs(value) >= 1000 else f"{value:.4g}"
