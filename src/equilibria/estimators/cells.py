"""What a model says of each missing cell by itself: its mean, its median, chances, an interval."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.data.columns import KINDS, is_frame, take
from equilibria.data.table import Table
from equilibria.evaluation import statistics
from equilibria.models.model import marginals
from equilibria.random import Stream

__all__ = ["LEVEL", "Cells"]

DRAWS = 199
"""Equally likely values of each number: the 10th and the 190th hold a central 90 %, the 100th is
the median."""
LEVEL = 1 - 2 / (DRAWS + 1)  # the largest level that so many tell
_NUMBERS = 1 << 24  # encoded values at a time

Reduce = Callable[[np.ndarray, slice], np.ndarray]
"""Values (DRAWS, rows, places) of some of the rows → what is kept of them, (…, rows, places)."""


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """Rows with gaps, and a model's word on what is missing.

    Parameters
    ----------
    model, table : Model, Table
    X : array or DataFrame
        The rows in the data's own scale.
    missing : ndarray, bool (rows, width)
        Which cells are asked about.
    values : Tensor, shape (rows, d)
        The rows encoded, the label's columns behind them, NaN where free.
    stream : Stream
        Of all draws.
    options : mapping
        Of the model's ``means`` and ``complete``: sweeps of a chain.
    first : int
        What the first row of an array is called.
    """

    model: Any
    table: Table
    X: Any
    missing: np.ndarray
    values: Tensor
    stream: Stream
    options: Mapping[str, Any]
    first: int = 0

    @torch.no_grad()
    def draws(self, n: int) -> Tensor:
        """Completions of the encoded columns, (n, rows, size)."""
        observed = ~self.values.isnan()
        found = self.model.complete(self.values, observed, self.stream, n, **self.options)
        return found[:, :, : self.table.size].cpu()

    @functools.cached_property
    def means(self) -> Tensor:
        """The model's conditional means of the encoded columns, (rows, size)."""
        found = self.model.means(self.values, ~self.values.isnan(), self.stream, **self.options)
        return found[:, : self.table.size].detach().cpu()

    def chances(self, place: int) -> tuple[list[Any], np.ndarray] | None:
        """Of a discrete column its values, and the chances of each in the rows that lack it, (rows,
        K); None of any other."""
        return self.table.chances(self.means[self.missing[:, place]], place)

    @property
    def index(self) -> Any:
        """What the rows are called."""
        import pandas as pd

        if is_frame(self.X):
            return self.X.index
        return pd.RangeIndex(self.first, self.first + len(self.missing))

    def probabilities(self) -> dict[int, Any]:
        """Discrete column with gaps → DataFrame (rows that lack it, values)."""
        import pandas as pd

        found = {}
        for place in self.table.modelled:
            gaps = self.missing[:, place]
            own = self.chances(place) if gaps.any() else None
            if own is not None:
                columns = pd.Index(own[0], dtype=object)
                found[place] = pd.DataFrame(own[1], self.index[gaps], columns)
        return found

    def numbers(self, median: bool) -> np.ndarray:
        """What the encoded means do not tell of missing numbers, (rows, width), NaN elsewhere.

        The mean where the way back to the data is no straight line; with ``median`` the median of
        whole numbers.
        """
        found, chosen = np.full(self.missing.shape, np.nan), dict[int, bool]()
        for layer in self.table.layers:
            for place in layer.source if layer.numeric else ():
                whole = median and self._count(place) and KINDS[layer.kind].ends is None
                if self.missing[:, place].any() and (whole or not layer.linear):
                    chosen[place] = whole
        if not chosen:
            return found
        places, middle = np.array(list(chosen)), np.array(list(chosen.values()))
        rows = np.flatnonzero(self.missing[:, places].any(1))

        def point(draws: np.ndarray, _: slice) -> np.ndarray:
            return np.where(middle, np.median(draws, 0), draws.mean(0))

        found[np.ix_(rows, places)] = self.reduced(rows, places.tolist(), point)
        return found

    def reduced(self, rows: np.ndarray, places: Sequence[int], reduce: Reduce) -> np.ndarray:
        """``reduce`` of equally likely values of some columns of some rows, block by block."""
        whole, parts = np.array([self._count(place) for place in places]), []
        step = max(1, _NUMBERS // (DRAWS * self.values.shape[1]))
        for first in range(0, len(rows), step):
            block = slice(first, min(first + step, len(rows)))
            part, key = self.values[rows[block]], self.stream.child("marginals", first)
            with torch.no_grad():
                drawn = marginals(self.model, part, ~part.isnan(), key, DRAWS, **self.options)
            numbers = self.table.numbers(drawn.flatten(0, 1)[:, : self.table.size].cpu())
            numbers = numbers[:, list(places)].reshape(DRAWS, len(part), len(places))
            parts.append(reduce(np.where(whole, np.rint(numbers), numbers), block))
        return np.concatenate(parts, -2)

    def _count(self, place: int) -> bool:
        return self.table.type(place).holds in ("truth", "whole")

    # ------------------------------------------------------------ intervals

    def intervals(self, how: Mapping[int, tuple[float, float]]) -> Any:
        """Low and high of each missing number, the set of each missing category; a DataFrame.

        ``how`` has the nominal level of each column that is asked about, and the unit beyond 1.
        """
        import pandas as pd

        found, places = [], []
        for place in (place for place in how if self.missing[:, place].any()):
            own = self.chances(place)
            if own is None:
                places.append(place)
                continue
            values, chances = own
            held = statistics.likeliest_set(chances, how[place][0])
            order = np.argsort(-chances, 1, kind="stable")
            lack = np.flatnonzero(self.missing[:, place])
            for row, kept, best in zip(lack, held, order, strict=True):
                found.append((row, place, None, None, tuple(values[k] for k in best if kept[k])))
        rows = np.flatnonzero(self.missing[:, places].any(1))

        def ends(draws: np.ndarray, _: slice) -> np.ndarray:
            pairs = [
                statistics.central_interval(draws[..., i], *how[p]) for i, p in enumerate(places)
            ]
            return np.stack([np.stack(end, 1) for end in zip(*pairs, strict=True)])

        both = self.reduced(rows, places, ends) if places else np.zeros((2, 0, 0))
        for i, place in enumerate(places):
            own = self.missing[rows, place]
            pairs = zip(*(self.table.typed(end[own, i], place) for end in both), strict=True)
            found += [(r, place, *pair, None) for r, pair in zip(rows[own], pairs, strict=True)]
        found.sort(key=lambda one: one[:2])
        keys = [(self.index[row], self.table.key(place)) for row, place, *_ in found]
        index = pd.MultiIndex.from_tuples(keys, names=["row", "column"])
        parts = [pd.Series([one[i] for one in found], index, dtype=object) for i in (2, 3, 4)]
        return pd.concat(parts, axis=1, keys=["low", "high", "categories"])

    def nominal(self, place: int, level: float, gaps: np.ndarray) -> tuple[float, float]:
        """The nominal level that held known cells of a column at ``level``, and the unit beyond 1.

        Each is hidden together with what a random row of ``gaps`` lacks that lacks this column.
        """
        stream = self.stream.child("calibration", place)
        known, patterns = np.flatnonzero(~self.missing[:, place]), gaps[gaps[:, place]]
        least = statistics.fewest(level)
        if len(known) < least:
            what = f"{self.table.column_name(place)} is known in {len(known)} rows"
            raise ValueError(f"calibration: {what}, and level={level:g} needs {least}; give more")
        which = stream.integers((len(known),), len(patterns)).numpy()
        hidden = self.missing[known] | patterns[which]
        whole, free = self.values[known], torch.from_numpy(hidden[:, self.table.owner])
        torn = whole.clone()
        torn[:, : self.table.size].masked_fill_(free.to(torn.device), torch.nan)
        X = take(self.X, known)
        cells = dataclasses.replace(self, X=X, missing=hidden, values=torn, stream=stream)
        own, unit = cells.chances(place), 0.0
        told = self.table.chances(whole[:, : self.table.size].cpu(), place)
        if own is not None and told is not None:
            rare, several = self.table.among_rare(X)[:, place], len(self.table.rare_of(place)[0])
            codes = np.where(rare < 0, told[1].argmax(1), len(own[0]) - several + rare)
            unseen = np.isnan(told[1]).any(1) | (codes == len(own[0]))  # in no set
            found = statistics.set_level(own[1], np.where(unseen, 0, codes))
            found[unseen] = 1.0
        else:
            truth = self.table.numbers_of(X)[:, place]
            unit = float(truth.std())

            def depth(draws: np.ndarray, block: slice) -> np.ndarray:
                return statistics.interval_level(draws[..., 0], truth[block], unit)[:, None]

            found = cells.reduced(np.arange(len(known)), [place], depth)[:, 0]
        return statistics.conformal_level(found, level), unit
