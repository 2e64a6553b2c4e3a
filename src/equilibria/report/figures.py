"""The charts of a report, each as a piece of HTML that needs no other file.

They are inline SVGs drawn in the colour of the page's own text, so that they can be read on a light and on a dark page; one is about as
wide as a phone, so that its lettering keeps its size there.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from string import ascii_uppercase
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

__all__ = ["class_shares", "curves", "framed", "scatter"]

BLUE, ORANGE = "#2f7fc1", "#d2601a"  # told apart by colour-blind eyes, and 3 : 1 against white and against black
_INK = "#010203"  # stands for the page's text colour
_WIDTH, _HEIGHT = 350, 220  # pixels
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be selected, and read aloud
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    **{f"{axis}tick.labelsize": 11 for axis in "xy"},
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), _INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
}
_PANELS: tuple[tuple[str, str, dict[str, str], str], ...] = (
    (
        "Reconstruction error",
        "squared error per variable",
        {"reconstruction": ""},
        "Of the visible means given the hidden ones: not the likelihood.",
    ),
    ("Energy contrast", "E(data) − E(chains), nats", {"contrast": ""}, "A surrogate for the likelihood: it should settle, not fall."),
    (
        "Mean-field change",
        "probability",
        {"mean_field_change": ""},
        "The largest move of the last update in a step: small once mean field has settled.",
    ),
    ("Dead hidden units", "share of units", {"dead_units": ""}, "Always off or always on in a batch."),
    (
        "What each player pays",
        "cost, nats",
        {"critic_cost": "critic", "generator_cost": "generator"},
        "At an equilibrium they are level; neither need fall.",
    ),
    (
        "The critic's logits",
        "mean logit, nats",
        {"real_logit": "real rows", "fake_logit": "generated rows"},
        "Above 0 the critic takes a row for real.",
    ),
    (
        "The critic's accuracy",
        "share of right answers",
        {"accuracy": ""},
        "At 0.5 (dotted) the critic can only guess; near 1 the generator learns little.",
    ),
)
_REFERENCE = {"accuracy": 0.5}
_NO_MEASURE = ("step", "stage", "stage_step", "seconds")


def framed(content: str, title: str, caption: str = "") -> str:
    """A ``<figure>`` of some HTML under a title and above a caption, both plain text."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure><h4>{escape(title)}</h4>{content}{below}</figure>"


# ---------------------------------------------------------------- curves


def curves(history: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """A sentence on how to read them, and a panel for each measure in the rows of ``metrics.jsonl``, with the stages marked.

    Examples
    --------
    >>> note, panels = curves([{"step": 1, "stage": "play", "accuracy": 0.5}, {"step": 2, "stage": "play", "accuracy": 0.6}])
    >>> len(panels), panels[0].startswith("<figure><h4>The critic&#x27;s accuracy</h4><svg ")
    (1, True)
    """
    known = {name for _, _, lines, _ in _PANELS for name in lines}
    present = dict.fromkeys(name for row in history for name in row if name not in _NO_MEASURE)
    rest = [(name.replace("_", " "), "value", {name: ""}, "") for name in present if name not in known]
    panels = [panel for panel in _PANELS if any(name in present for name in panel[2])]
    return _legend(history), [_panel(history, *panel) for panel in [*panels, *rest]]


def _legend(history: Sequence[Mapping[str, Any]]) -> str:
    stages = _stages(history)
    named = f"Stages: {', '.join(f'{letter} {stage}' for letter, stage in zip(ascii_uppercase, stages, strict=False))}."
    bold = "Where measurements are noisy, the bold line averages neighbouring ones."
    return f"{named} {bold}" if len(stages) > 1 else bold


def _panel(history: Sequence[Mapping[str, Any]], title: str, unit: str, lines: Mapping[str, str], note: str) -> str:
    stages, seen = _stages(history), []
    with _drawing():
        figure, axes = _axes(unit, "step (update of the parameters)")
        for name, colour in zip(lines, (BLUE, ORANGE), strict=False):
            for stage in stages:
                points = np.array([(row["step"], row[name]) for row in history if str(row.get("stage")) == stage and name in row], float)
                if len(points):
                    seen.append(points[:, 1])
                    _line(axes, points, colour)
            if name in _REFERENCE:
                axes.axhline(_REFERENCE[name], color=_INK, linestyle=":", linewidth=1.2)
        _scale(axes, np.concatenate(seen))
        _mark(axes, stages)
        svg = _svg(figure, f"{title} over the steps of training")
    keys = "".join(_key(colour, label) for label, colour in zip(lines.values(), (BLUE, ORANGE), strict=False) if label)
    return framed(keys + svg, title, note)


def _stages(history: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int]]:
    """Stage → its first and last step."""
    spans: dict[str, tuple[int, int]] = {}
    last = 0
    for row in history:
        name = str(row.get("stage"))
        spans[name] = (spans[name][0] if name in spans else last, row["step"])
        last = row["step"]
    return spans


def _line(axes: Axes, points: np.ndarray, colour: str) -> None:
    """Measurements; many of them pale, under a bold mean of neighbours."""
    steps, values = points.T
    window = len(values) // 15 if len(values) >= 45 else 1
    axes.plot(steps, values, color=colour, linewidth=1.0 if window > 1 else 1.6, alpha=0.4 if window > 1 else 1.0)
    if window > 1:
        kernel = np.full(window, 1 / window)
        axes.plot(np.convolve(steps, kernel, "valid"), np.convolve(values, kernel, "valid"), color=colour, linewidth=2)


def _scale(axes: Axes, values: np.ndarray) -> None:
    """Logarithmic where the values span more than a factor of 20."""
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    if values.min() > 0 and np.quantile(values, 0.99) > 20 * np.quantile(values, 0.01):
        axes.set_yscale("log")
        decades = math.log10(values.max() / values.min())
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2.5 else (1.0, 3.0), numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        return
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if values.min() == values.max():
        axes.set_ylim(min(values[0], 0.0) - 0.04, max(values[0], 1.0) + 0.04)  # not a magnified nothing


def _mark(axes: Axes, stages: Mapping[str, tuple[int, int]]) -> None:
    """Shade every other stage, and head each with its letter: names would not fit."""
    if len(stages) < 2:
        return
    for i, (letter, (first, last)) in enumerate(zip(ascii_uppercase, stages.values(), strict=False)):
        if i % 2 == 0:
            axes.axvspan(first, last, facecolor=_INK, alpha=0.07, linewidth=0)
        axes.text((first + last) / 2, 1.02, letter, ha="center", va="bottom", transform=axes.get_xaxis_transform())


# ---------------------------------------------------------------- other charts


def scatter(real: np.ndarray, samples: np.ndarray, columns: Sequence[str]) -> str:
    """Samples of two columns over real rows."""
    with _drawing():
        figure, axes = _axes(columns[1], columns[0], height=_WIDTH)
        for points, colour, size in ((real, BLUE, 9.0), (samples, ORANGE, 4.0)):
            axes.scatter(points[:, 0], points[:, 1], s=size, color=colour, alpha=0.6, linewidths=0, rasterized=True)
        axes.set_aspect("equal", adjustable="datalim")
        svg = _svg(figure, f"Scatter plot of {len(samples)} samples over {len(real)} real points")
    keys = _key(BLUE, f"{len(real):,} real points") + _key(ORANGE, f"{len(samples):,} samples")
    return framed(keys + svg, "Samples over real points")


def class_shares(shares: Mapping[str, tuple[float, float]]) -> str:
    """Bars for each class: its share of the samples beside its share of the training rows, in per cent."""
    lying = len(shares) > 12 or max(map(len, shares)) > 4
    places, height = np.arange(len(shares)), max(_HEIGHT, 26 * len(shares) + 60) if lying else _HEIGHT
    with _drawing():
        figure, axes = _axes("class" if lying else "share, %", "share, %" if lying else "class", height=height)
        axes.grid(visible=False, axis="y" if lying else "x")
        for series, colour, shift in ((0, ORANGE, -0.2), (1, BLUE, 0.2)):
            lengths = [100 * pair[series] for pair in shares.values()]
            (axes.barh if lying else axes.bar)(places + shift, lengths, 0.4, color=colour)
        (axes.set_yticks if lying else axes.set_xticks)(places, list(shares), parse_math=False)
        if lying:
            axes.invert_yaxis()
        told = "; ".join(
            f"{name}: {100 * ours:.1f} % of samples, {100 * real:.1f} % of training rows" for name, (ours, real) in shares.items()
        )
        svg = _svg(figure, f"Classes. {told}")
    keys = _key(ORANGE, "samples") + _key(BLUE, "training rows")
    return framed(keys + svg, "Classes among the samples", "As seen by a classifier that was fitted on real rows.")


def _axes(ylabel: str, xlabel: str, height: int = _HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH / 72, height / 72), layout="constrained")  # an SVG has 72 units an inch
    axes = figure.subplots()
    axes.set_xlabel(_short(xlabel), parse_math=False)
    axes.set_ylabel(_short(ylabel), parse_math=False)
    return figure, axes


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _key(colour: str, label: str) -> str:
    return f'<span class="key"><i style="background:{colour}"></i>{escape(label)}</span>'


@contextlib.contextmanager
def _drawing() -> Iterator[None]:
    """The style of charts; letters that the drawing font lacks are no cause for a warning, since the reader's browser has its own."""
    with warnings.catch_warnings(), matplotlib.rc_context(_STYLE):
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def _svg(figure: Figure, alt: str) -> str:
    """Inline SVG: the same figure gives the same text, and shares no identifier with its neighbours."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": alt}):
        figure.savefig(
            buffer, format="svg", transparent=True, dpi=144, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    svg = buffer.getvalue()
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg[svg.index("<svg") :])
    svg = re.sub(r'<g id="[^"]*"', "<g", svg).replace(_INK, "currentColor")
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box is not None
    head = f'<svg role="img" aria-label="{escape(alt)}" viewBox="0 0 {box[1]} {box[2]}" style="max-width:{1.3 * float(box[1]):.0f}px">'
    return head + svg[svg.index(">") + 1 :]
