"""What is to be looked at rather than read: samples beside data, and inside the model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from equilibria.evaluation.statistics import nearest_row
from equilibria.models.model import Panel
from equilibria.random import Stream
from equilibria.report import charts, tables
from equilibria.report.columns import margin, pair
from equilibria.report.view import CLASS_SHARE, View, rows_for, some

if TYPE_CHECKING:
    from equilibria.data.load import Data
    from equilibria.report.summary import Summary

__all__ = ["pictures"]

_PICTURES, _NEAREST, _ROWS, _FEWEST = 64, 16, 2000, 300
_CELLS = 4_000_000  # of samples, beyond which there are fewer rows: a page in seconds
_CHAINS, _STEPS = 8, 8
DRAWN: dict[str, Callable[..., str]] = {
    "bars": charts.bars,
    "curve": charts.curve,
    "margin": margin,
    "pair": pair,
}
"""How a panel of each kind is drawn; pictures need the model's table."""


def pictures(summary: Summary) -> str:
    """Everything of a run that is to be looked at, except its curves."""
    model, columns, panels = summary.model, "", list[str]()
    table = model.table_
    if "sample" in model.capabilities_:
        rows = min(_ROWS, max(_FEWEST, _CELLS // table.width))
        drawn = model.sample(_PICTURES if table.shape else rows)
        if table.shape is not None:
            panels = [*_samples(summary, drawn), *_nearest(summary, drawn)]
        elif summary.parts is not None:
            real = _some(summary.parts.test, rows)
            kind = "held-out rows" if summary.parts.unseen else "training rows"
            view, held_out = View.of(model, drawn), rows_for(model, real)
            both = [held_out, drawn]
            if table.grey:  # like with like: greys as the model knows them
                seen = view.rows(held_out, False), view.samples(drawn, False)
                both = [table.decode(torch.from_numpy(part)) for part in seen]
            draw = functools.partial(_drawn, model)
            columns = tables.sections(table, both[0], both[1], kind, draw, view.note)
            if table.width == 2 and not table.text:
                names = real.columns or ("first column", "second column")
                points = [np.asarray(part, dtype=float) for part in (held_out, drawn)]
                panels = [charts.scatter(points[0], points[1], names)]
    inside = [_drawn(model, panel) for panel in _inside(summary)]
    over_time = charts.strip(sorted((summary.run.path / "samples").glob("*.png")))
    return (
        charts.grid("What it has learnt", [*panels, *_class_bars(summary)])
        + columns
        + charts.grid("Inside the model", inside)
        + charts.grid("Samples while it trained", over_time, kind="strip")
    )


def _some(data: Data, most: int) -> Data:
    """The same random rows for every model of the same data."""
    return some(data, most, Stream(0).child("report"))


# ---------------------------------------------------------------------- samples


def _samples(summary: Summary, drawn: Any) -> Iterator[str]:
    model, parts = summary.model, summary.parts
    note = View.of(model, drawn).note.partition(",")[0].rstrip(".")
    caption = f"Not selected. {note}." if note else "Not selected."
    yield charts.tiles(charts.as_pictures(model.table_, drawn), "Samples of the model", caption)
    if parts is not None:
        rows = rows_for(model, _some(_some(parts.test, _ROWS), _PICTURES))
        unseen = "The model was trained on these: nothing was held out."
        unseen = "Never shown to the model." if parts.unseen else unseen
        yield charts.tiles(charts.as_pictures(model.table_, rows), "Real examples", unseen)


def _nearest(summary: Summary, drawn: Any) -> Iterator[str]:
    """Samples above the training rows nearest to them."""
    if summary.parts is None:
        return
    model, train = summary.model, _some(summary.parts.train, 10 * _ROWS)
    rows, view = rows_for(model, train), View.of(model, drawn)
    seen = view.near(rows)
    whole = np.flatnonzero(~np.isnan(seen).any(1))
    if not len(whole):
        return
    chosen = _rows(drawn, slice(_NEAREST))
    near = _rows(rows, whole[nearest_row(view.near(chosen, samples=True), seen[whole])[0]])
    both = [charts.as_pictures(model.table_, part) for part in (chosen, near)]
    half = _NEAREST // 2
    order = [part[i : i + half] for i in (0, half) for part in both]
    caption = "Each sample, and below it the training row nearest to it."
    yield charts.tiles(np.concatenate(order), "Nearest training rows", caption, columns=half)


def _rows(table: Any, places: Any) -> Any:
    return table.iloc[places] if hasattr(table, "iloc") else table[places]


def _class_bars(summary: Summary) -> Iterator[str]:
    """Each class's share of the samples, beside its share of the training rows."""
    shares = {
        one.name.removeprefix(CLASS_SHARE): (100 * one.ideal, 100 * one.value)
        for one in summary.results or ()
        if one.name.startswith(CLASS_SHARE) and one.ideal is not None
    }
    if shares:
        caption = "As seen by a classifier that was fitted on real rows."
        series = ("training rows", "samples")
        yield charts.bars("Classes among the samples", shares, caption, series, "share, %")


# ---------------------------------------------------------------------- inside the model


def _inside(summary: Summary) -> Iterator[Panel]:
    """What the model has to show, and its Markov chain from real rows where it is one."""
    model = summary.model
    yield from model.model_.panels(model.table_)
    pictured = "chain" in model.capabilities_ and model.table_.shape is not None
    if summary.parts is not None and pictured:
        rows = rows_for(model, _some(summary.parts.test, _CHAINS))
        states = [model.table_.encode(rows).nan_to_num(0.0).to(model.device)]
        stream = Stream(0).child("report", "chain")
        with torch.no_grad():
            for i in range(_STEPS - 1):
                states.append(model.model_.transition(states[-1], stream.child(i)))
        values = torch.stack(states, 1).flatten(0, 1)
        note = "Each line is a chain that begins at a real example, one step a picture."
        yield Panel("Its Markov chain", "pictures", values, note)


def _drawn(model: Any, panel: Panel) -> str:
    title, kind, values, note = panel
    if kind in DRAWN:
        return DRAWN[kind](title, values, note)
    values = torch.as_tensor(values).detach().cpu()[:, : model.table_.size]
    if bool((values < 0).any()):
        shown = values.double().numpy().reshape(len(values), *model.table_.shape)
        return charts.signed(shown if shown.ndim == 3 else shown.mean(-1), title, note)
    return charts.tiles(model.table_.pictures(values), title, note)
