"""From data to what a schema says about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.data import categories as coding
from equilibria.data.columns import Columns, Header, is_frame
from equilibria.data.grouping import group_columns, group_kind, kinds_by_group
from equilibria.data.kinds import GROUPS, MAX_TEXTS, Survey, column_kinds, survey
from equilibria.data.numeric import Table, extremes, moments

__all__ = ["CODED", "KINDS", "SCALED", "UNITS", "as_table", "infer", "refuse_range"]

KINDS = {
    "bernoulli": "probabilities of binary units",
    "gaussian": "Gaussian units, standardised",
    "categorical": "one-hot groups",
    "real": "real numbers, standardised",
    "picture": "greys or colours in [−1, 1]",
    "spin": "spins between −1 and +1",
    "rectified": "rectified units, in standard deviations from zero",
    "binary": "binary units",
    "mixed": "several kinds",
}
RANGED = ("bernoulli", "picture", "spin")
SCALED = ("gaussian", "real", "rectified")
CODED = ("categorical", "binary")
UNITS = {"real": "gaussian", "picture": "gaussian", "binary": "bernoulli"}
"""Which units a kind is for, where it is not itself their name."""

LEAST_DEVIATION = 0.1
"""Of standardised pictures, whose pixels have one scale: no pixel is divided by less than this share of the largest deviation."""


def infer(
    X: Any,
    kind: Any,
    kinds: Any,
    low: float | None,
    high: float | None,
    shape: Sequence[int] | None,
    columns: Sequence[str] | None,
    allow_missing: bool,
    max_categories: int,
    groups: Any = None,
) -> dict[str, Any]:
    """The fields of a schema, as :meth:`Schema.from_json` reads them; see :meth:`Schema.infer` for the arguments."""
    kind, kinds = _kind_and_kinds(kind, kinds) if groups is None else ("mixed", kinds if kind in ("auto", "mixed") else kind)
    data = as_table(X, mixed=kind == "mixed")
    columns = getattr(X, "columns", None) if columns is None else columns
    common = {
        "width": data.shape[1],
        "shape": None if shape is None else tuple(int(side) for side in shape),
        "columns": None if columns is None else tuple(str(name) for name in columns),
        "dtype": _dtype_name(data),
    }
    _refuse_lengths(common)
    if kind != "mixed":
        return _one(data, kind, low, high, allow_missing, common)
    if groups is not None:
        _refuse_for_mixed(shape=shape)
        return _grouped(data, groups, kinds, low, high, allow_missing, max_categories, common)
    _refuse_for_mixed(low=low, high=high, shape=shape)
    return _mixed(data, kinds, allow_missing, max_categories, common)


def as_table(X: Any, mixed: bool) -> Any:
    """The data as an array or a tensor; as :class:`Columns` for a mixed table, so that a DataFrame keeps its columns' types."""
    if mixed and isinstance(X, Tensor):
        X = (X.float() if X.dtype == torch.bfloat16 else X).detach().cpu().numpy()
    table = X if isinstance(X, Tensor) or (mixed and is_frame(X)) else np.asarray(X)
    if table.ndim != 2:
        raise ValueError(f"X has shape {tuple(table.shape)}: expected (rows, columns); flatten pictures and name their shape=")
    if not len(table) or not table.shape[1]:
        raise ValueError(f"X has shape {tuple(table.shape)}: expected at least one row and one column")
    if isinstance(table, np.ndarray) and table.dtype.kind not in "biufOU":
        raise ValueError(f'X is of type {table.dtype}: expected numbers, or text for units="categorical"')
    return Columns(table) if mixed else table


def refuse_range(kind: str, low: float | None, high: float | None, ends: tuple[float, float]) -> None:
    """A sentence where values leave the range of a kind that has one."""
    if kind not in RANGED or low is None or high is None:
        return
    smallest, largest = ends
    if smallest < low or largest > high:
        remedy = ' or units="gaussian" for values without a range' if kind == "bernoulli" else ""
        raise ValueError(
            f"X holds values from {smallest:g} to {largest:g}, outside {low:g} to {high:g}; "
            f"scale them, or give their range (low={smallest:g}, high={largest:g}){remedy}"
        )


def _one(data: Table, kind: str, low: float | None, high: float | None, allow_missing: bool, common: dict[str, Any]) -> dict[str, Any]:
    """A table of one kind of columns, or one part of a mixed table."""
    header = Header(common["columns"], common.get("source"))
    if kind in CODED:
        return {**common, "kind": kind, "categories": coding.find(data, header, allow_missing, binary=kind == "binary")}
    ends = extremes(data, header, allow_missing, low=0.0 if kind == "rectified" else -math.inf)
    if kind == "auto":
        bottom, top = _range("bernoulli", data, ends, low, high)
        kind = "bernoulli" if bottom <= ends[0] and ends[1] <= top else "gaussian"
    if kind in RANGED or low is not None or high is not None:
        low, high = _range(kind, data, ends, low, high)
    refuse_range(kind, low, high, ends)
    fields = {**common, "kind": kind, "low": low, "high": high}
    if kind in SCALED:
        mean, deviation = moments(data, header)
        if common.get("shape") is not None:  # a pixel that hardly varies would be blown up to where one row ruins a training
            deviation = deviation.clamp(min=LEAST_DEVIATION * float(deviation.max()))
        offset = torch.zeros_like(mean) if kind == "rectified" else mean
        fields |= {"offset": offset.tolist(), "scale": deviation.tolist()}
    return fields


def _mixed(data: Columns, kinds: Any, allow_missing: bool, max_categories: int, common: dict[str, Any]) -> dict[str, Any]:
    """A table whose columns are put together by kind, each group of them with fields of its own."""
    header = Header(common["columns"])
    found = survey(data, header, allow_missing, max(MAX_TEXTS, max_categories))
    chosen = column_kinds(found, header, kinds, max_categories)
    parts = []
    for group, kind in GROUPS.items():
        source = tuple(place for place, choice in enumerate(chosen) if choice == group)
        if source:
            about = _about_part(source, kind, common)
            parts.append(_one(Columns(data.table, source), kind, None, None, allow_missing, about))
    return _of_parts(parts, found, data, common)


def _grouped(
    data: Columns,
    groups: Any,
    kinds: Any,
    low: float | None,
    high: float | None,
    allow_missing: bool,
    max_categories: int,
    common: dict[str, Any],
) -> dict[str, Any]:
    """A table whose columns are put together by name, each group of one kind."""
    header = Header(common["columns"])
    places = group_columns(groups, common["width"], header)
    said = kinds_by_group(kinds, list(places))
    found = survey(data, header, allow_missing, max(MAX_TEXTS, max_categories))
    ends = (0.0 if low is None else float(low), 1.0 if high is None else float(high))
    parts = []
    for name, source in places.items():
        own, own_header = [found[place] for place in source], Header(_names_of(source, common), source)
        table = Columns(data.table, source)
        kind = said.get(name) or group_kind(name, table, own, own_header, allow_missing, ends, max_categories)
        ranged = (low, high) if kind in RANGED else (None, None)
        parts.append(_one(table, kind, *ranged, allow_missing, {"name": name, **_about_part(source, kind, common)}))
    if (low is not None or high is not None) and not any(part["kind"] in RANGED for part in parts):
        raise ValueError(f"low={ends[0]:g}, high={ends[1]:g}: the values of no group lie in this range; leave it out, or scale them")
    return _of_parts(parts, found, data, common)


def _about_part(source: tuple[int, ...], kind: str, common: dict[str, Any]) -> dict[str, Any]:
    """What a part of a mixed table knows of its columns."""
    coded = common["dtype"] if common["dtype"].startswith(("<U", ">U")) else "object"
    dtype = coded if kind in CODED else "float64"
    return {"width": len(source), "source": source, "columns": _names_of(source, common), "dtype": dtype}


def _names_of(source: tuple[int, ...], common: dict[str, Any]) -> tuple[str, ...] | None:
    names = common["columns"]
    return None if names is None else tuple(names[place] for place in source)


def _of_parts(parts: list[dict[str, Any]], found: list[Survey], data: Columns, common: dict[str, Any]) -> dict[str, Any]:
    dtypes = tuple(one.dtype if dtype == "object" else dtype for one, dtype in zip(found, data.dtypes, strict=True))
    return {**common, "kind": "mixed", "parts": parts, "dtypes": dtypes}


def _kind_and_kinds(kind: Any, kinds: Any) -> tuple[str, Any]:
    """Both as they were said, or in short: a list or a mapping of kinds speaks of a mixed table."""
    if not isinstance(kind, str):
        if kinds is not None:
            raise ValueError(f"kind={kind!r} and kinds={kinds!r} say the same thing twice; leave one out")
        return "mixed", kind
    if kind != "auto" and kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected 'auto' or one of {', '.join(KINDS)}")
    if kinds is not None and kind not in ("auto", "mixed"):
        raise ValueError(f"kinds={kinds!r} is for a mixed table, and kind={kind!r} is for all columns; leave one out")
    return (kind, None) if kinds is None else ("mixed", kinds)


def _refuse_for_mixed(**options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name}={value!r} speaks of all columns, and a mixed table has several kinds; leave it out")


def _refuse_lengths(common: dict[str, Any]) -> None:
    """Names that do not fit are refused before the data are read."""
    if common["columns"] is not None and len(common["columns"]) != common["width"]:
        raise ValueError(f"columns has {len(common['columns'])} names, but X has {common['width']} columns")


def _dtype_name(table: Table) -> str:
    if isinstance(table, Tensor):
        name = str(table.dtype).removeprefix("torch.")
        return "float32" if name == "bfloat16" else name
    if isinstance(table, Columns):
        return table.common_dtype
    return table.dtype.str if table.dtype.kind == "U" else table.dtype.name  # numpy cannot read the name of a text type


def _range(kind: str, X: Table, ends: tuple[float, float], low: float | None, high: float | None) -> tuple[float, float]:
    """The range as given, else what is usual for the kind and the type."""
    default = (0.0, 1.0)
    if kind == "picture" and not isinstance(X, Columns) and X.dtype in (np.dtype(np.uint8), torch.uint8):
        default = (0.0, 255.0)
    elif kind == "spin":
        default = (-1.0, 1.0) if ends[0] < 0 else (0.0, 1.0)
    elif kind != "bernoulli" and (ends[0] < 0 or ends[1] > 1):
        default = ends
    bottom, top = default[0] if low is None else float(low), default[1] if high is None else float(high)
    if not (math.isfinite(bottom) and math.isfinite(top) and bottom < top):
        raise ValueError(f"low={bottom:g}, high={top:g}: expected finite numbers, the first below the second")
    return bottom, top
