"""Charts and pictures, each a piece of HTML that needs no other file.

Charts are inline SVGs in the colour of the page's own text, for light and dark pages; one is about
as wide as a phone, so that its lettering keeps its size there. Pictures are PNGs in data URIs.
"""

from __future__ import annotations

import base64
import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from equilibria import durable
from equilibria.data.pictures import picture_grid

__all__ = ["COLOURS", "INK", "as_pictures", "bars", "curve", "curves", "drawing", "framed", "grid"]
__all__ += ["keys", "scatter", "signed", "strip", "svg_of", "tiles"]

# told apart by colour-blind eyes, 3 : 1 against white and black
COLOURS = "#2f7fc1", "#d2601a", "#3a8f52"
INK = "#010203"  # stands for the page's text colour
_WIDTH, _HEIGHT = 350, 220  # pixels
_INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be selected, and read aloud
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    **{f"{axis}tick.labelsize": 11 for axis in "xy"},
    **dict.fromkeys((*_INKED, "grid.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
}
GAP = {"free_energy_gap": "held-out minus training rows", "free_energy_gap_floor": "chance"}
FITS = {"train_objective": "training", "held_out_objective": "held out"}
COSTS = {"critic_cost": "critic", "generator_cost": "generator"}
MONITORED = {"train_logit": "training", "held_out_logit": "held out", "sampled_logit": "samples"}
CLUSTERS = {"classes": "in the data", "classes_found": "among samples"}
LOGITS = {"real_logit": "real rows", "fake_logit": "generated rows"}
KNOWN: tuple[tuple[str, str, str | dict[str, str], str], ...] = (
    ("Reconstruction error", "squared error", "reconstruction", "Not the likelihood."),
    ("Energy contrast", "E(data) − E(chains), nats", "contrast", "It should settle, not fall."),
    ("Mean-field change", "probability", "mean_field_change", "Small once it has settled."),
    ("Free energy gap", "nats a row", GAP, "Above chance, the model overfits."),
    ("Dead hidden units", "share of units", "dead_units", "Always off or always on."),
    ("Frozen chains", "share of chains", "frozen_chains", "Those that no longer move."),
    ("Autocorrelation time", "sweeps", "autocorrelation_time", "Of the chains' energy."),
    ("Agreement of the chains", "R̂ of the energy", "r_hat", "1 where all chains agree."),
    ("What the model pays", "cost, nats a row", "model_cost", "Of each batch."),
    ("Training and held-out rows", "cost, nats a row", FITS, "Where they part, it overfits."),
    ("What each player pays", "cost, nats", COSTS, "Level at an equilibrium; neither need fall."),
    ("The critic's logits", "mean logit, nats", LOGITS, "Above 0 it takes a row for real."),
    ("The critic's accuracy", "share right", "accuracy", "At 0.5 (dotted) it can only guess."),
    ("Logits of the kinds of rows", "mean logit, nats", MONITORED, "Of the averaged generator."),
    ("The critic's AUC", "area", "critic_auc", "How often a real row is above a sample."),
    ("Spread of the samples", "share of the data's", "spread", "Near 0 it has collapsed."),
    ("Kernel distance", "squared", "kernel_distance", "Of samples and rows: 0 at best."),
    ("Clusters", "clusters", CLUSTERS, "Of the data, and those with a sample."),
)
"""Title, unit, measures with their names in a key, and how to read it; others are drawn plainly."""
_NO_MEASURE = ("step", "stage", "stage_step", "seconds", "kernel_distance_error", "logit_error")


def framed(content: str, title: str, caption: str = "") -> str:
    """A ``<figure>`` of some HTML under a title and above a caption, both plain text."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure><h4>{escape(title)}</h4>{content}{below}</figure>"


def grid(title: str, figures: Sequence[str], note: str = "", kind: str = "grid") -> str:
    """A heading over figures side by side; nothing where there are none."""
    if not figures:
        return ""
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<h3>{escape(title)}</h3>{below}<div class="{kind}">{"".join(figures)}</div>'


# ---------------------------------------------------------------------- pictures


def as_pictures(table: Any, rows: Any) -> np.ndarray:
    """Rows in the data's own scale as pictures (n, height, width[, 3]) in [0, 1].

    White is the largest value that the data can have, where that is known, else the largest here.
    """
    values, layer = np.asarray(rows, dtype=np.float64), table.layers[0]
    low = float(values.min()) if layer.low is None else layer.low
    high = float(values.max()) if layer.high is None else layer.high
    scaled = ((values - low) / ((high - low) or 1.0)).clip(0, 1)
    return scaled.reshape(len(values), *table.shape)


def tiles(pictures: np.ndarray, title: str, caption: str = "", columns: int = 8) -> str:
    """A grid of pictures in [0, 1]."""
    image = _image(picture_grid(pictures, min(columns, len(pictures))), f"{title}: {len(pictures)}")
    return framed(image, title, caption)


def signed(values: np.ndarray, title: str, caption: str = "") -> str:
    """Pictures (n, height, width) of numbers of both signs: blue below 0, white, red above."""
    scale = float(np.quantile(np.abs(values), 0.995)) or 1.0
    shade = (values / scale).clip(-1, 1) / 2 + 0.5
    text = f"{caption} Red is positive, white 0, blue negative, to ±{scale:.2g}.".strip()
    return tiles(matplotlib.colormaps["RdBu_r"](shade)[..., :3], title, text)


def strip(files: Sequence[Path]) -> list[str]:
    """Sample pictures saved while training: the first, the middle and the last of their steps. One
    that is damaged is named."""
    named = ((re.fullmatch(r"(.+)-(\d+)", file.stem), file) for file in files)
    steps = sorted((int(match[2]), match[1], file) for match, file in named if match)
    chosen = dict.fromkeys(steps[i] for i in (0, len(steps) // 2, -1)) if steps else {}
    found = []
    for step, stage, file in chosen:
        try:
            with Image.open(io.BytesIO(durable.read(file)), formats=["PNG"]) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            image = _image(pixels, f"Samples after {step:,} steps", 260)
        except (*durable.MALFORMED, OSError, SyntaxError, Image.DecompressionBombError):
            image = f"<p>{escape(file.name)} is damaged.</p>"
        found.append(framed(image, f"After {step:,} steps ({stage.replace('-', ' ')})"))
    return found


def _image(pixels: np.ndarray, alt: str, width: int = 340) -> str:
    """An ``<img>`` with each pixel enlarged to a whole number of them, up to about ``width``."""
    zoom, buffer = max(1, round(width / pixels.shape[1])), io.BytesIO()
    size = pixels.shape[1] * zoom, pixels.shape[0] * zoom
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)
    picture.save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    style = f"max-width:{max(width, 200)}px"
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" style="{style}">'


# ---------------------------------------------------------------------- curves


def curves(history: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """How to read the curves, and one for each measure in the rows of ``metrics.jsonl``.

    >>> rows = [{"step": i, "stage": "play", "accuracy": 0.5} for i in (1, 2)]
    >>> curves(rows)[1][0].startswith("<figure><h4>The critic&#x27;s accuracy</h4><svg ")
    True
    """
    known = [
        (title, unit, {lines: ""} if isinstance(lines, str) else lines, note)
        for title, unit, lines, note in KNOWN
    ]
    told = {name for _, _, lines, _ in known for name in lines}
    logged = dict.fromkeys(name for row in history for name in row if name not in _NO_MEASURE)
    known += [
        (name.replace("_", " ").capitalize(), "value", {name: ""}, "")
        for name in logged
        if name not in told
    ]
    stages: dict[str, tuple[int, int]] = {}
    last = 0
    for row in history:
        name = str(row.get("stage"))
        stages[name] = (stages[name][0] if name in stages else last, row["step"])
        last = row["step"]
    found = []
    for title, unit, lines, note in known if len(history) > 1 else ():
        if lines := {name: label for name, label in lines.items() if name in logged}:
            chart = _logged(history, stages, title, unit, list(lines))
            found.append(framed(keys(lines.values()) + chart, title, note))
    named = ", ".join(f"{a} {stage}" for a, stage in zip(ascii_uppercase, stages, strict=False))
    bold = "Where measurements are noisy, the bold line averages neighbouring ones."
    return f"Stages: {named}. {bold}" if len(stages) > 1 else bold, found


def _logged(
    history: Sequence[Mapping[str, Any]],
    stages: Mapping[str, tuple[int, int]],
    title: str,
    unit: str,
    names: Sequence[str],
) -> str:
    """Curves of measures that were logged, stage by stage; every other stage is shaded, and each
    headed with its letter, since names would not fit."""
    seen = [np.zeros(0)]
    with drawing(unit, "step (update of the parameters)") as (figure, axes):
        for name, colour in zip(names, COLOURS, strict=False):
            for stage in stages:
                rows = [row for row in history if str(row.get("stage")) == stage and name in row]
                points = np.array([(row["step"], row[name]) for row in rows], float).reshape(-1, 2)
                points = points[np.isfinite(points).all(1)]
                seen.append(points[:, 1])
                _line(axes, points, colour)
        if "accuracy" in names:
            axes.axhline(0.5, color=INK, linestyle=":", linewidth=1.2)
        _scale(axes, np.concatenate(seen))
        place: dict[str, Any] = {"ha": "center", "va": "bottom"}
        place["transform"] = axes.get_xaxis_transform()
        letters = ascii_uppercase if len(stages) > 1 else ""
        for i, (letter, (first, last)) in enumerate(zip(letters, stages.values(), strict=False)):
            if i % 2 == 0:
                axes.axvspan(first, last, facecolor=INK, alpha=0.07, linewidth=0)
            axes.text((first + last) / 2, 1.02, letter, **place)
        return svg_of(figure, f"{title} over the steps of training")


def _line(axes: Axes, points: np.ndarray, colour: str) -> None:
    """Measurements; many of them pale, under a bold mean of neighbours."""
    window = len(points) // 15 if len(points) >= 45 else 1
    width, alpha = (1.0, 0.4) if window > 1 else (1.6, 1.0)
    axes.plot(*points.T, color=colour, linewidth=width, alpha=alpha)
    if window > 1:
        smooth = (np.convolve(x, np.full(window, 1 / window), "valid") for x in points.T)
        axes.plot(*smooth, color=colour, linewidth=2)


def _scale(axes: Axes, values: np.ndarray) -> None:
    """Logarithmic where the values span more than a factor of 20."""
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    values = values if len(values) else np.zeros(1)
    if values.min() > 0 and np.quantile(values, 0.99) > 20 * np.quantile(values, 0.01):
        axes.set_yscale("log")
        wide = math.log10(values.max() / values.min()) > 2.5
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 3.0), numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        return
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if values.min() == values.max():  # not a magnified nothing
        axes.set_ylim(min(values[0], 0.0) - 0.04, max(values[0], 1.0) + 0.04)


# ---------------------------------------------------------------------- other charts


def curve(title: str, values: Mapping[str, Any] | Sequence[float], caption: str = "") -> str:
    """Numbers in their order as a line; or several, by name."""
    named = values if isinstance(values, Mapping) else {"": values}
    with drawing("value", "place") as (figure, axes):
        for numbers, colour in zip(named.values(), COLOURS, strict=False):
            axes.plot(np.asarray(numbers, dtype=float), color=colour, linewidth=1.6)
        return framed(keys(named) + svg_of(figure, title), title, caption)


def scatter(real: np.ndarray, samples: np.ndarray, columns: Sequence[str]) -> str:
    """Samples of two columns over real rows."""
    how: dict[str, Any] = {"alpha": 0.6, "linewidths": 0, "rasterized": True}
    with drawing(columns[1], columns[0], _WIDTH) as (figure, axes):
        for points, colour, size in ((real, COLOURS[0], 9.0), (samples, COLOURS[1], 4.0)):
            axes.scatter(points[:, 0], points[:, 1], s=size, color=colour, **how)
        axes.set_aspect("equal", adjustable="datalim")
        alt = f"Scatter plot of {len(samples)} samples over {len(real)} real points"
        named = keys((f"{len(real):,} real points", f"{len(samples):,} samples"))
        return framed(named + svg_of(figure, alt), "Samples over real points")


def bars(
    title: str,
    values: Mapping[str, Any],
    caption: str = "",
    series: Sequence[str] = (),
    unit: str = "value",
) -> str:
    """Bars by name: a number each, or one for each of ``series``; lying where names are long."""
    named = {str(name): np.atleast_1d(value).astype(float) for name, value in values.items()}
    count = max(len(value) for value in named.values())
    lying = len(named) > 12 or max(map(len, named)) > 4
    places, width = np.arange(len(named)), 0.8 / count
    height = max(_HEIGHT, 26 * len(named) + 60) if lying else _HEIGHT
    with drawing("" if lying else unit, unit if lying else "", height) as (figure, axes):
        axes.grid(visible=False, axis="y" if lying else "x")
        for i, colour in zip(range(count), COLOURS, strict=False):
            lengths = [value[i] for value in named.values()]
            shifted = places + (i + 0.5) * width - 0.4
            (axes.barh if lying else axes.bar)(shifted, lengths, width, color=colour)
        (axes.set_yticks if lying else axes.set_xticks)(places, list(named), parse_math=False)
        if lying:
            axes.invert_yaxis()
        numbers = (", ".join(f"{number:.3g}" for number in value) for value in named.values())
        told = "; ".join(f"{name}: {said}" for name, said in zip(named, numbers, strict=True))
        of = f" ({','.join(series)})" if series else ""
        svg = svg_of(figure, f"{title}, {unit}{of}. {told}")
    return framed(keys(series) + svg, title, caption)


def keys(labels: Iterable[str]) -> str:
    """Which colour is what."""
    return "".join(
        f'<span class="key"><i style="background:{colour}"></i>{escape(label)}</span>'
        for label, colour in zip(labels, COLOURS, strict=False)
        if label
    )


@contextlib.contextmanager
def drawing(
    ylabel: str, xlabel: str, height: int = _HEIGHT, width: int = _WIDTH
) -> Iterator[tuple[Figure, Axes]]:
    """A chart in the page's style; a letter that the font lacks is the reader's browser's to draw.

    An SVG has 72 units an inch.
    """
    with warnings.catch_warnings(), matplotlib.rc_context(_STYLE):
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        axes = figure.subplots()
        for set_label, text in ((axes.set_xlabel, xlabel), (axes.set_ylabel, ylabel)):
            set_label(text if len(text) <= 40 else text[:39] + "…", parse_math=False)
        yield figure, axes


def svg_of(figure: Figure, alt: str) -> str:
    """Inline SVG: the same figure gives the same text, and shares no identifier with others."""
    buffer = io.StringIO()
    none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": alt}):
        figure.savefig(buffer, format="svg", transparent=True, dpi=144, metadata=none)
    svg = buffer.getvalue()
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg[svg.index("<svg") :])
    svg = re.sub(r'<g id="[^"]*"', "<g", svg).replace(INK, "currentColor")
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box is not None
    head = f'<svg role="img" aria-label="{escape(alt)}" viewBox="0 0 {box[1]} {box[2]}" '
    head += f'style="max-width:{1.3 * float(box[1]):.0f}px">'
    return head + svg[svg.index(">") + 1 :]
