"""A page's part on a table: where samples are unlike rows, in charts, in rules and in numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from equilibria.data.columns import is_frame, listed
from equilibria.evaluation.beside import Cells, spelt
from equilibria.evaluation.differences import Differences, Histogram, differences
from equilibria.evaluation.margins import distance
from equilibria.evaluation.two_sample import SEEN
from equilibria.models.model import Panel
from equilibria.numbers import Measure
from equilibria.report import charts

__all__ = ["sections"]

OPEN, DRAWN, LISTED = 12, 100, 300  # columns that are seen at once, drawn at all, given in numbers
PICTURED = 3  # pairs
GAPS = 12  # columns whose missing cells are listed


def sections(
    table: Any, rows: Any, samples: Any, kind: str, draw: Callable[[Panel], str], note: str = ""
) -> str:
    """Columns, pairs, rules and missing cells; ``kind`` says what rows these are, ``draw`` makes a
    chart of a panel.

    Columns that no model is told (constants, free text) are left out.
    """
    aside = [place for place, _ in table.aside]
    kept = [place for place in range(table.width) if place not in aside]
    if not kept:
        return ""
    names = table.names or [f"column {place}" for place in range(table.width)]
    both = [_some(X, kept, names) for X in (rows, samples)]
    if max(len({*both[0][name].dropna(), *both[1][name].dropna()}) for name in both[0]) < 2:
        said = "Every column has one value in all rows and samples."
        return f'<h3>Column by column</h3><p class="note">{said}</p>'
    found = differences(*both)
    if aside:
        note = f"{note} Not modelled, and left out: {listed(names[place] for place in aside)}."
    if found.left_out:
        note += f" Of one value in all rows and samples, and left out: {listed(found.left_out)}."
    return (
        _margins(found, kind, note, draw)
        + _pairs(found, draw)
        + _reasons(found, kind)
        + _missing(found.margins, kind)
    )


def _some(X: Any, kept: Sequence[int], names: Sequence[Any]) -> Any:
    """Some columns of a table, as a frame."""
    import pandas as pd

    if not is_frame(X):
        X = pd.DataFrame(np.asarray(X)).set_axis(list(names), axis=1)
    return X.iloc[:, list(kept)]


# ------------------------------------------------------------------ columns


def _margins(found: Differences, kind: str, note: str, draw: Callable[[Panel], str]) -> str:
    margins = found.margins
    drawn = [draw(Panel(one.cells.name, "margin", one, _caption(one))) for one in margins[:DRAWN]]
    far = sum(bool(one.apart.warning) for one in margins)
    said = f"{_of(far, len(margins), 'column')} further apart than chance would put them. Apart is "
    said += "Kolmogorov's distance of numbers and the total variation of values, each of 0 to 1; "
    said += "an outermost bar holds what lies beyond it. Those furthest beyond chance come first."
    folded = ""
    if more := "".join(drawn[OPEN:]):
        what = f"{len(drawn) - OPEN} more column{'s' * (len(drawn) > OPEN + 1)}"
        folded = f'<details><summary>{what}</summary><div class="small">{more}</div></details>'
    if len(margins) > DRAWN:
        folded += f'<p class="note">{len(margins) - DRAWN} columns are nearer, and not drawn.</p>'
    return (
        f"<h3>Column by column</h3>{charts.keys((kind, 'samples'))}"
        f'<p class="note">{escape(f"{said} {note}".strip())}</p>'
        f'<div class="small">{"".join(drawn[:OPEN])}</div>{folded}{_in_numbers(margins, kind)}'
    )


def _of(count: int, whole: int, noun: str) -> str:
    """How many of how many, as a sentence begins."""
    nouns = f"{whole:,} {noun}" + "s" * (whole != 1)
    return f"{f'{count:,}' if count else 'None'} of {nouns} {'is' if count < 2 else 'are'}"


def _caption(one: Histogram) -> str:
    said = f"Apart {one.apart.value:.3f}{'' if one.apart.warning else ', within chance'}."
    if one.outside > 0.01 + 2 / (1 + (one.apart.n or 0)):
        said += f" {100 * one.outside:.0f} % of samples are beyond all rows."
    return said


def _in_numbers(margins: Sequence[Histogram], kind: str) -> str:
    """Every column in a line."""
    rows = [
        (
            one.cells.name,
            *(_typical(one.cells, known) for known in one.cells.known),
            *(f"{100 * share:.1f} %" for share in one.cells.missing),
            *_apart(one.apart),
        )
        for one in margins[:LISTED]
    ]
    head = ("Column", kind, "Samples", "Missing", "in samples", "Apart", "Twice its sampling error")
    cut = f"<p>{len(margins) - LISTED} more columns are not listed.</p>"
    table = _table(head, rows, "numbers") + cut * (len(margins) > LISTED)
    what = "Column by column in numbers: mean ± standard deviation, or the commonest value"
    return f"<details><summary>{what}</summary>{table}</details>"


def _apart(one: Measure) -> tuple[str, str]:
    far, error = distance(one)
    return f"{far:.3f}", f"{error:.3f}"


def _table(head: Iterable[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table of plain texts, the first of a line its name; ``kind`` is a class of the page."""
    head = [escape(one[:1].upper() + one[1:]) for one in head]
    names = "".join(f"<th>{one}</th>" for one in head)
    lines = (
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(
            f'<td data-of="{name}">{escape(cell)}</td>'
            for name, cell in zip(head[1:], cells, strict=True)
        )
        + "</tr>"
        for first, *cells in rows
    )
    body, of = "".join(lines), f' class="{kind}"' if kind else ""
    return f"<table{of}><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _typical(cells: Cells, known: np.ndarray) -> str:
    """Mean and standard deviation of numbers; of values the commonest and its share."""
    if not len(known):
        return "none"
    if cells.levels:
        counts = np.bincount(known.astype(int), minlength=len(cells.levels))
        counts = counts[: len(counts) - bool(cells.others)]
        return f"{cells.levels[counts.argmax()]}, {100 * counts.max() / len(known):.0f} %"
    mean, spread = float(known.mean()), float(known.std())
    if cells.holds in ("date", "duration"):
        said = spelt(mean, cells.holds, 60 * 86400 if spread > 86400 else math.inf)
        return f"{said} ± {spelt(spread, 'duration')}"
    return f"{spelt(mean, 'number')} ± {spelt(spread, 'number')}"


# ------------------------------------------------------------------ pairs, rules, gaps


def _pairs(found: Differences, draw: Callable[[Panel], str]) -> str:
    if not found.pairs:
        return ""
    said = f"{_of(found.beyond, found.compared, 'pair')} further apart than chance would put them, "
    said += "by how the columns depend on each other. Colour is the share of a value, or fifth of "
    said += "the rows, of the column upwards, given that of the column across."
    drawn, rows = "", []
    for i, one in enumerate(found.pairs):
        name = f"{one.first.name} and {one.second.name}"
        rows.append((name, *(f"{part.value:.2f}" for part in one.apart.parts), *_apart(one.apart)))
        if i < PICTURED:
            what = one.apart.parts[0].name.partition(" in ")[0]
            chance = "" if one.apart.warning else ": within chance"
            caption = f"{what[:1].upper()}{what[1:]} {{:.2f}} in rows, {{:.2f}} in samples{chance}."
            drawn += draw(Panel(name, "pair", one, caption.format(*map(float, one.apart.parts))))
    head = ("Pair", "rows", "samples", "apart", "twice its sampling error")
    what = "In numbers: rank correlation of numbers, Cramér's V of others. Apart is half of the "
    what += "difference of two numbers' correlations, else the total variation of both together"
    return (
        f'<h3>Pairs of columns furthest apart</h3><p class="note">{escape(said)}</p>'
        f'<div class="grid">{drawn}</div>'
        f"<details><summary>{what}</summary>{_table(head, rows)}</details>"
    )


def _reasons(found: Differences, kind: str) -> str:
    told = found.told
    if told is None:
        return ""
    area, low, high = (f"{100 * (end or 0):.0f}" for end in (told.value, told.low, told.high))
    said = (
        f"By three questions at most, a tree puts a sample above a row in {area} % of pairs (95 % "
    )
    said += f"interval {low} to {high}) of halves that it has not seen, where 50 % are chance"
    if found.reasons:
        rows = [(one.rule, *_percents(one.rows, one.samples)) for one in found.reasons]
        table = _table(("Rule", f"share of {kind}", "share of samples"), rows, "rules")
        return f'<h3>What gives samples away</h3><p class="note">{escape(said)}.</p>{table}'
    said += (
        f": no more than chance would, and {100 * told[SEEN].value:.0f} % would have been seen in "
    )
    said += "nine of ten cases."
    if found.beyond:
        said += " It sees little of how two numbers depend on each other: that is in the pairs."
    return f'<h3>What gives samples away</h3><p class="note">{escape(said)}</p>'


def _percents(*shares: float) -> list[str]:
    return [f"{100 * share:.1f} %" for share in shares]


def _missing(margins: Sequence[Histogram], kind: str) -> str:
    """Shares of missing cells, of the columns that have most."""
    gaps = [(one.cells.name, *one.cells.missing) for one in margins if any(one.cells.missing)]
    if not gaps:
        return ""
    said = f"Cells are missing in {len(gaps):,} of {len(margins):,} columns"
    said += f", of which the {GAPS} with most are listed." if len(gaps) > GAPS else "."
    if not any(share for *_, share in gaps):
        said += " Samples have none, and were compared with the cells that are there."
    most = sorted(gaps, key=lambda one: -max(one[1:]))[:GAPS]
    rows = [(name, *_percents(*shares)) for name, *shares in most]
    table = _table(("Column", f"missing in {kind}", "missing in samples"), rows)
    return f'<h3>What was missing</h3><p class="note">{escape(said)}</p>{table}'
