"""Charts of a table's columns and of pairs of them, rows beside samples; small, for many."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, PercentFormatter

from equilibria.evaluation.beside import spelt
from equilibria.evaluation.differences import MISSING, Histogram, Pair
from equilibria.report import charts

__all__ = ["margin", "pair"]

_WIDTH, _HEIGHT, _LETTERS = 215, 132, 9  # pixels, and the size of letters in them
_LONGEST = 14  # letters of a name beside a bar
_SQUARE = 190  # height of a pair
_POINTS = 600  # of either kind
_NUMBERED = 5  # parts across, up to which cells of a pair have their share written in them
ROWS, SAMPLES = charts.COLOURS[:2]


def margin(title: str, one: Histogram, caption: str = "") -> str:
    """A column's histogram, or a bar for each of its values and one for missing cells."""
    with charts.drawing("", "", _HEIGHT, _WIDTH) as (figure, axes):
        figure.set_layout_engine(None)  # places worked out for each chart take as long as it
        axes.tick_params(labelsize=_LETTERS, length=2, pad=2)
        words = (_levels if one.edges is None else _histogram)(axes, one)
        left = (0.6 * _LETTERS * max(map(len, words)) + 10) / _WIDTH
        figure.subplots_adjust(left=left, right=0.97, bottom=0.16, top=0.97)
        return charts.framed(charts.svg_of(figure, _told(one)), title, caption)


def _levels(axes: Axes, one: Histogram) -> Sequence[str]:
    """Lying bars, a pair for each value; what is written to their left."""
    labels, shares = [_short(name) for name in one.cells.levels], one.shares
    if any(one.cells.missing):
        labels.append(MISSING)
        shares = np.hstack([shares, np.array(one.cells.missing)[:, None]])
    places = np.arange(len(labels))
    for i, colour in enumerate((ROWS, SAMPLES)):
        axes.barh(places + 0.4 * i - 0.2, shares[i], 0.4, color=colour)
    axes.set_yticks(places, labels, parse_math=False)
    axes.set_ylim(max(len(labels), 3) - 0.5, -0.5)  # bars of two values are no blocks
    axes.grid(visible=False, axis="y")
    _percent(axes.xaxis, shares)
    return labels


def _histogram(axes: Axes, one: Histogram) -> Sequence[str]:
    """Rows as an area, samples as a line over it; missing cells as bars to the right."""
    assert one.edges is not None
    edges, shares = one.edges, one.shares
    axes.stairs(shares[0], edges, fill=True, color=ROWS, alpha=0.55)
    axes.stairs(shares[1], edges, color=SAMPLES, linewidth=1.5)
    width, gone = float(edges[-1] - edges[0]), any(one.cells.missing)
    ticks = _ticks(one, edges[0] + width * (0.75 if gone else 1))
    words = [spelt(tick, one.cells.holds, width) for tick in ticks]
    if gone:
        place = edges[-1] + 0.12 * width
        for i, colour in enumerate((ROWS, SAMPLES)):
            axes.bar(
                place + (i - 0.5) * 0.05 * width, one.cells.missing[i], 0.05 * width, color=colour
            )
        ticks, words = [*ticks, place], [*words, MISSING]
        axes.set_xlim(edges[0] - 0.02 * width, edges[-1] + 0.26 * width)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.set_xticks(ticks, words, parse_math=False)
    axes.grid(visible=False, axis="x")
    _percent(axes.yaxis, shares)
    return ["100%"]


def _ticks(one: Histogram, most: float) -> list[float]:
    """Two or three round numbers; of dates both ends."""
    assert one.edges is not None
    low, high = float(one.edges[0]), float(one.edges[-1])
    if one.cells.holds in ("date", "duration"):
        return [low + 0.1 * (high - low), low + (0.65 if most < high else 0.9) * (high - low)]
    found = MaxNLocator(3, integer=one.cells.holds == "whole", steps=[1, 2, 5, 10])
    return [float(tick) for tick in found.tick_values(low, high) if low <= tick <= most]


def _percent(axis: Any, shares: np.ndarray) -> None:
    axis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(PercentFormatter(1.0, 0 if shares.max(initial=0) > 0.04 else 1))


def _told(one: Histogram) -> str:
    """What a chart shows, for those who do not see it."""
    if one.edges is not None:
        return f"{one.cells.name}: histograms of rows and samples"
    said = (
        f"{name} {p:.0%} of rows, {q:.0%} of samples"
        for name, (p, q) in zip(one.cells.levels, one.shares.T, strict=True)
    )
    return f"{one.cells.name}: {'; '.join(said)}"


def pair(title: str, one: Pair, caption: str = "") -> str:
    """Two columns, rows on the left and samples on the right.

    Numbers are points; else each part of the column across has the shares of the parts of the
    other, which sum to one.
    """
    flat = bool(one.first.levels or one.second.levels)
    turned = flat and len(one.labels[1]) < len(one.labels[0])
    across, up = (one.second, one.first) if turned else (one.first, one.second)
    longest = max(map(len, one.labels[turned])) if flat else 0
    turns = longest * len(one.labels[turned]) > 24  # names that do not fit side by side
    height = _SQUARE + (5 * min(longest, _LONGEST) if turns else 0)
    with charts.drawing("", "", height) as (figure, axes):
        axes.remove()
        both = figure.subplots(1, 2, sharex=True, sharey=True)
        if flat:
            _shares(both, one, turned, turns)
        else:
            _points(both, one)
        for part, name, colour in zip(both, ("rows", "samples"), (ROWS, SAMPLES), strict=True):
            part.set_title(name, fontsize=_LETTERS + 1, color=colour)
            part.set_xlabel(_short(across.name, 24), fontsize=_LETTERS + 1, parse_math=False)
            part.tick_params(labelsize=_LETTERS, length=2)
        both[0].set_ylabel(_short(up.name, 24), fontsize=_LETTERS + 1, parse_math=False)
        alt = f"{one.first.name} and {one.second.name}, rows beside samples"
        return charts.framed(charts.svg_of(figure, alt), title, caption)


def _points(both: Sequence[Axes], one: Pair) -> None:
    """Numbers as points, in the range of the middle 99 % of both."""
    for part, side, colour in zip(both, ("rows", "samples"), (ROWS, SAMPLES), strict=True):
        points = np.stack([getattr(one.first, side), getattr(one.second, side)], 1)
        points = points[~np.isnan(points).any(1)][:_POINTS]
        part.scatter(
            points[:, 0], points[:, 1], s=5, color=colour, alpha=0.5, linewidths=0, rasterized=True
        )
    for cells, axis, bound in (
        (one.first, both[0].xaxis, both[0].set_xlim),
        (one.second, both[0].yaxis, both[0].set_ylim),
    ):
        ends = [np.quantile(known, (0.005, 0.995)) for known in cells.known]
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)
        room = 0.05 * (high - low) or 1.0
        bound(low - room, high + room)
        words = functools.partial(_tick, holds=cells.holds, span=high - low + 2 * room)
        axis.set_major_locator(MaxNLocator(3))
        axis.set_major_formatter(FuncFormatter(words))


def _tick(value: float, place: int | None, holds: str, span: float) -> str:
    return spelt(value, holds, span)


def _shares(both: Sequence[Axes], one: Pair, turned: bool, turns: bool) -> None:
    """Shares as the strength of a colour."""
    labels = one.labels[::-1] if turned else one.labels
    for part, counts, colour in zip(both, one.counts, (ROWS, SAMPLES), strict=True):
        table = (counts if turned else counts.T).astype(float)
        table /= np.maximum(table.sum(0), 1)
        shade = np.tile(to_rgba(colour), (*table.shape, 1))
        shade[..., 3] = table
        part.imshow(shade, aspect="auto", interpolation="nearest", origin="lower")
        part.grid(visible=False)
        if table.shape[1] <= _NUMBERED:
            for (i, j), share in np.ndenumerate(table):
                where: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": _LETTERS}
                part.text(j, i, f"{100 * share:.0f}", **where)
    names = [[_short(name, 16) for name in side] for side in labels]
    for part in both:
        part.set_xticks(range(len(names[0])), names[0], parse_math=False)
        part.tick_params(axis="x", labelrotation=90 if turns else 0)
    both[0].set_yticks(range(len(names[1])), names[1], parse_math=False)


def _short(text: str, most: int = _LONGEST) -> str:
    """A text that fits beside a chart."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
