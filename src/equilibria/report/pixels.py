"""Pictures made of pixels, as PNGs in data URIs: samples, real examples, filters."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

from equilibria.data import picture_grid
from equilibria.report.figures import framed

__all__ = ["examples", "filters", "greys", "strip"]


def greys(values: Any, shape: Sequence[int], low: float, high: float) -> np.ndarray:
    """Rows as pictures (n, height, width[, 3]) in [0, 1]; what lies beyond ``low`` … ``high`` is cut off."""
    table = np.asarray(values, dtype=np.float64).reshape(-1, *shape)
    return ((table - low) / (high - low)).clip(0, 1)


def examples(pictures: np.ndarray, title: str, caption: str = "", columns: int = 8) -> str:
    """A grid of pictures in [0, 1]."""
    return framed(
        _image(picture_grid(pictures, min(columns, len(pictures))), f"{title}: a grid of {len(pictures)} pictures"), title, caption
    )


def filters(weights: np.ndarray, shape: Sequence[int], title: str, what: str, most: int = 64) -> str:
    """Weights (visible, hidden) as a grid of pictures, the columns of largest norm first; blue below 0, red above.

    Examples
    --------
    >>> filters(np.eye(4), (2, 2), "Filters", "What each unit sees.").startswith("<figure><h4>Filters</h4><img ")
    True
    """
    order = np.argsort(-np.linalg.norm(weights, axis=0), kind="stable")[:most]
    pictures = weights.T[order].reshape(-1, *shape)
    if pictures.ndim == 4:
        pictures = pictures.mean(-1)  # colours would hide the sign
    scale = float(np.quantile(np.abs(pictures), 0.995)) or 1.0
    coloured = matplotlib.colormaps["RdBu_r"]((pictures / scale).clip(-1, 1) / 2 + 0.5)[..., :3]
    count = (
        f"all {len(order)} units"
        if len(order) == weights.shape[1]
        else f"the {len(order)} of {weights.shape[1]} units with the largest weights"
    )
    caption = f"{what} Red is positive, white 0, blue negative, to ±{scale:.2g}. Shown: {count}."
    return framed(_image(picture_grid(coloured, min(8, len(order))), f"{title}: {count}"), title, caption)


def strip(files: Sequence[Path]) -> list[str]:
    """Sample pictures saved while training: the first, the middle and the last, in the order of their steps."""
    steps = {file: _step_and_stage(file) for file in files}
    ordered = sorted((file for file in files if steps[file] is not None), key=lambda file: steps[file] or (0, ""))
    chosen = dict.fromkeys(ordered[i] for i in (0, len(ordered) // 2, -1)) if ordered else {}
    found = []
    for file in chosen:
        step, stage = steps[file] or (0, "")
        title = f"After {step:,} steps ({stage})"
        with Image.open(file) as picture:
            found.append(framed(_image(np.asarray(picture.convert("RGB")), f"Samples {title[0].lower()}{title[1:]}", 260), title))
    return found


def _step_and_stage(file: Path) -> tuple[int, str] | None:
    match = re.fullmatch(r"(.+)-(\d+)", file.stem)
    return (int(match[2]), match[1].replace("-", " ")) if match else None


def _image(pixels: np.ndarray, alt: str, width: int = 340) -> str:
    """An ``<img>`` with each pixel enlarged to a whole number of them, up to about ``width``."""
    zoom = max(1, round(width / pixels.shape[1]))
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((pixels.shape[1] * zoom, pixels.shape[0] * zoom), Image.Resampling.NEAREST).save(
        buffer, "PNG", optimize=True
    )
    data = base64.b64encode(buffer.getvalue()).decode()
    shown = f"max-width:{max(width, 200)}px"
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" style="{shown}">'
