"""CSV files, a block of lines at a time: pandas reads, and what it would change is looked at again.

A column is ``"truth"``, ``"whole"``, ``"big"`` (whole numbers beyond 64 bits), ``"real"`` or
``"text"``, or nothing yet while all its cells are missing. What pandas infers of a block is taken
as it stands but in four cases: text (which may be numbers beyond 64 bits, or with spaces), whole
numbers that are floats because cells are missing, digits behind a leading zero, which are text, and
the one number that pandas takes for a missing cell.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from equilibria.check import affordable
from equilibria.data.columns import FORMS, is_date, twice
from equilibria.data.reading import opened, reading

__all__ = ["dated", "read_table"]

BLOCK = 1 << 22  # bytes, or as many as make some rows of a very wide table
_WIDE = 1 << 8  # bytes a column, at least, in a block
_CELLS = {  # what a cell may be, the first that it is
    "whole": re.compile(r"\s*[+-]?(0|[1-9][0-9]*)\s*", re.A),
    "real": re.compile(
        r"\s*[+-]?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|inf(inity)?)\s*",
        re.I | re.A,
    ),
    "truth": re.compile(r"\s*(true|false)\s*", re.I | re.A),
}
_ZERO = re.compile(r"^\s*[+-]?0[0-9]", re.M | re.A)
_NA = frozenset(
    ["", " ", "NA", "N/A", "n/a", "nan", "NaN", "-nan", "-NaN", "null", "NULL", "<NA>", "None"]
)
_ORDER = ("", "whole", "big", "real", "text")  # what a column of two is: the later one
_INFERRED = {"b": "truth", "i": "whole", "u": "big", "f": "real", "O": "text"}
_DTYPES: dict[str, Any] = {"truth": np.bool_, "whole": np.int64, "real": np.float64}
_LEAST = b"9223372036854775808"  # with a minus what pandas writes for a missing whole number


def read_table(path: Path, label: str | None, text: bool) -> Any:
    """A frame of the columns of a CSV file; text in others than ``label`` is refused unless it is
    to be read.

    Room is made once, by what the first block tells of the columns and of the number of rows. Where
    a later one tells otherwise, the file is read to its end for that alone, and then again.
    """
    known, room = list[str](), 0
    while True:
        kept, rows = None, 0
        with opened(path) as file:
            source = _Source(path, file)
            kinds = known if len(known) == source.width else [""] * source.width
            for block in source.blocks():
                part = _look(source, block, rows, kinds)
                both = [_merged(*pair) for pair in zip(kinds, part.kinds, strict=True)]
                for place in (p for p, kind in enumerate(both) if kind == "text" != kinds[p]):
                    if not text and source.names[place] != label:
                        _refuse(source, block, place, kinds[place], rows)
                if not rows:
                    count = int(len(part.frame) * source.size / file.tell())
                    affordable("source", str(path), 2.0 * count * source.width)
                    kept = _Columns(both, room or count * 5 // 4 + 100)
                kinds, rows = both, rows + len(part.frame)
                if kept is not None and not kept.store(part, kinds, rows):
                    kept = None
        if not rows:
            raise ValueError(f"{path}: has no rows under its header; expected at least one")
        if kept is not None:
            return kept.frame(source.names, rows)
        known, room = kinds, rows


def dated(frame: Any) -> Any:
    """The frame, with dates and times for text where every cell of a column is one as ISO 8601
    writes them: 2026-12-01, 2026-12-01 09:30, 2026-12-01T09:30:15.25.

    How they are written stands in its ``attrs``; of several forms in one column the longest.
    """
    forms = {}
    for name in frame.columns[[dtype.kind not in "biufmMc" for dtype in frame.dtypes]]:
        known = frame[name].notna().to_numpy()
        if not known.any() or not is_date(frame[name].iloc[int(known.argmax())]):
            continue
        cells = frame[name].to_numpy(dtype=object)
        if not all(map(is_date, cells[known])):
            continue
        form = re.sub(r"\d", "0", max(cells[known], key=len))
        words = np.where(known, cells, "NaT").astype("U26")
        with contextlib.suppress(ValueError):  # the thirtieth of February
            frame[name] = words.astype(f"datetime64[{'us' if '.' in form else 's'}]")
            forms[name] = form
    if forms:
        frame.attrs[FORMS] = forms
    return frame


class _Source:
    """The header of a file, how its cells are separated, and its lines in blocks."""

    def __init__(self, path: Path, file: io.BufferedReader):
        self.path, self.file = path, file
        self.size = os.fstat(file.fileno()).st_size
        with reading(path, "CSV file in UTF-8"):
            content = self._block(BLOCK).decode("utf-8-sig")
            head = list(itertools.islice(io.StringIO(content, newline=""), 20))
            first = head[0] if head else ""
            self.separator = next((s for s in ";\t" if s in first and "," not in first), ",")
            lines = csv.reader(io.StringIO(content, newline=""), delimiter=self.separator)
            cells = next(lines, [])
            used = itertools.islice(io.StringIO(content, newline=""), lines.line_num)
            self.rest = content[sum(map(len, used)) :].encode()
        decimal = self.separator == ";" and any(re.search(r"(^|;)\s*-?\d+,\d+", s) for s in head)
        self.decimal = "," if decimal else "."
        self.names = _header(path, cells)
        self.width = len(self.names)

    def blocks(self) -> Iterator[bytes]:
        """Whole lines; a cell in quotes may hold some of them."""
        size = max(BLOCK, _WIDE * self.width)
        block = self.rest + self._block(max(0, size - len(self.rest)))
        while block:
            yield block
            block = self._block(size)

    def _block(self, size: int) -> bytes:
        block = self.file.read(size) + self.file.readline() if size else b""
        while block.count(b'"') % 2 and (more := self.file.read(len(block))):
            block += more + self.file.readline()
        if b"\0" in block:  # where pandas would end a cell
            what = "holds a zero byte; expected text in UTF-8 (of UTF-16, save it anew)"
            raise ValueError(f"{self.path}: {what}")
        return block

    def records(self, block: bytes, row: int) -> list[list[str]]:
        """The cells of a block as the csv module has them, a list each row, each row whole."""
        with reading(self.path, "CSV file in UTF-8"):
            text = io.StringIO(block.decode(), newline="")
            found = list(csv.reader(text, delimiter=self.separator))
        if self.width > 1:  # in a file of one column a blank line is a missing cell
            found = [cells for cells in found if cells and (len(cells) > 1 or cells[0].strip())]
        for place, cells in enumerate(found):
            if not cells:
                cells.append("")
            if len(cells) != self.width:
                what = (
                    f"row {row + place + 1} has {len(cells)} cells under a header of {self.width}"
                )
                raise ValueError(f"{self.path}: {what}; repair that row")
        return found

    def parse(self, block: bytes, **how: Any) -> Any:
        """A block as pandas reads it; columns are called by their places."""
        import pandas as pd

        how |= {"sep": self.separator, "decimal": self.decimal, "encoding": "utf-8"}
        how |= {"header": None, "names": range(self.width), "index_col": False}
        how |= {"na_values": sorted(_NA), "keep_default_na": False, "low_memory": False}
        how["skip_blank_lines"] = self.width > 1
        with reading(self.path, "CSV file in UTF-8"):
            return pd.read_csv(io.BytesIO(block), **how)

    def doubtful(self, block: bytes) -> bool:
        """Whether rows may be of different lengths, or cells be more than their numbers tell."""
        separator = self.separator.encode()
        cells = np.frombuffer(b"  " + block + b"\n", np.uint8)
        rows = np.count_nonzero(cells == ord("\n")) - block.endswith(b"\n")
        even = np.count_nonzero(cells == ord(separator)) == rows * (self.width - 1)
        even &= block.partition(b"\n")[0].count(separator) == self.width - 1
        returns = b"\r" in block and b"\r" in block.replace(b"\r\n", b"")
        if not even or returns or b'"' in block or _LEAST in block:
            return True
        before, cell, after = cells[1:-2], cells[2:-1], cells[3:]
        leading = (cell == ord("0")) & (after - ord("0") < 10)
        leading &= (before - ord("0") > 9) & (before != ord(self.decimal))
        zeros = np.flatnonzero(leading) + 2  # of which those of 1e-05 lead nothing
        signs = np.isin(cells[zeros - 1], (ord("+"), ord("-")))
        return not bool((signs & np.isin(cells[zeros - 2], (ord("e"), ord("E")))).all())


def _header(path: Path, cells: list[str]) -> list[str]:
    if not cells:
        raise ValueError(f"{path}: is empty; expected a line of column names and rows under it")
    columns = [name.strip() for name in cells]
    numbers = all(_CELLS["real"].fullmatch(name) for name in columns)
    if numbers and columns != [str(i) for i in range(len(columns))]:
        found = f"its first line holds numbers only ({', '.join(columns[:4])}, …)"
        raise ValueError(f"{path}: {found}; put a line of column names above it")
    again = twice(columns)
    if again is not None:
        raise ValueError(f"{path}: two columns are called {again!r}; give each its own name")
    return columns


class _Part(NamedTuple):
    """A block: a frame, what its columns are, and the cells (values, which are missing) of those
    that pandas does not read as they are meant."""

    frame: Any
    kinds: list[str]
    special: dict[int, tuple[np.ndarray, np.ndarray]]


def _look(source: _Source, block: bytes, row: int, before: list[str]) -> _Part:
    records = source.records(block, row) if source.doubtful(block) else None
    known = {place for place, kind in enumerate(before) if kind == "text"}
    try:
        frame = source.parse(block, dtype=dict.fromkeys(known, "str") or None)  # {} is slow
    except ValueError:
        source.records(block, row)  # names the row, where one is too long
        raise
    if records is not None and len(records) != len(frame):
        what = f"it has {len(records)} rows or {len(frame)}, by how quotes are read"
        raise ValueError(f"{source.path}: not a readable CSV file ({what}); repair its quotes")
    kinds = [_INFERRED[dtype.kind] for dtype in frame.dtypes]
    looked = {p for p, kind in enumerate(kinds) if kind == "text" and p not in known}
    special, doubts = dict[int, tuple[np.ndarray, np.ndarray]](), list[int]()
    if "real" in kinds:
        reals = np.flatnonzero(np.array(kinds) == "real")
        for place in reals[(frame if len(reals) == source.width else frame[reals]).isna().any()]:
            values = frame[place].to_numpy()
            gaps = np.isnan(values)
            if gaps.all():
                kinds[place] = ""
            elif ((values == np.rint(values)) | gaps).all():
                doubts.append(place)
    if records is not None:
        for place in (p for p, kind in enumerate(kinds) if kind not in ("", "text")):
            cells = [cells[place] for cells in records]
            if place in doubts or _ZERO.search("\n".join(cells)):
                looked.add(place)
    elif doubts:
        own = source.parse(block, usecols=doubts, dtype_backend="numpy_nullable")
        for place in doubts:
            if own[place].dtype.kind == "i":
                values, kinds[place] = own[place].to_numpy(dtype=np.int64, na_value=0), "whole"
                special[place] = values, own[place].isna().to_numpy()
            elif own[place].dtype.kind != "f":
                looked.add(place)
    if looked:
        words = source.parse(block, usecols=sorted(looked), dtype="str", na_filter=False)
        for place in looked:
            kinds[place], special[place] = _classified(words[place], source.decimal)
    return _Part(frame, kinds, special)


def _classified(cells: Any, decimal: str) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
    """What a column of strings is, and its cells as that."""
    import pandas as pd

    cells = np.asarray(cells, dtype=object)
    codes, found = pd.factorize(cells)
    kind, values = "", list[Any]()
    for cell in found:
        one, value = _read(cell, decimal)
        kind = _merged(kind, one)
        values.append(value)
        if kind == "text":
            missing = np.array([cell in _NA for cell in found])[codes]
            return kind, (np.where(missing, np.nan, cells), missing)
    chosen = np.array([*values, None], dtype=object)[:-1]
    return kind, (chosen[codes], np.array([value is None for value in chosen], bool)[codes])


def _read(cell: Any, decimal: str) -> tuple[str, Any]:
    """What a cell is, and its value."""
    word = str(cell).replace(decimal, ".")
    if word in _NA:
        return "", None
    kind = next((kind for kind, form in _CELLS.items() if form.fullmatch(word)), "text")
    if kind == "whole":
        return ("whole" if -(2**63) <= int(word) < 2**63 else "big"), int(word)
    value: dict[str, Any] = {"text": cell, "truth": word.strip().lower() == "true"}
    return kind, float(word) if kind == "real" else value[kind]


def _merged(one: str, other: str) -> str:
    """What a column is whose cells are of two kinds."""
    if one == other or not (one and other):
        return one or other
    return "text" if "truth" in (one, other) else max(one, other, key=_ORDER.index)


def _refuse(source: _Source, block: bytes, place: int, kind: str, rows: int) -> None:
    """Name the first cell of a block that makes a column text."""
    cells = source.parse(block, usecols=[place], dtype="str", na_filter=False)[place]
    for row, cell in enumerate(cells, rows + 1):
        kind = _merged(kind, _read(cell, source.decimal)[0])
        if kind == "text":
            name = source.names[place]
            raise ValueError(
                f"{source.path}: column {name!r} holds the text {cell[:100]!r} in row {row}; "
                "expected numbers only (recode the column as numbers, leave missing cells empty, "
                f"name it as the label with label={name!r}, or take kinds='mixed' or 'categorical')"
            )


class _Columns:
    """Room for so many rows of columns: those of a kind in one array (columns, rows), text and big
    numbers as objects."""

    def __init__(self, kinds: list[str], room: int):
        self.kinds, self.room = [kind or "real" for kind in kinds], room
        places, columns = list(enumerate(self.kinds)), _DTYPES.items()
        self.homes = {kind: [p for p, own in places if own == kind] for kind in _DTYPES}
        self.values = {k: np.empty((len(self.homes[k]), room), dtype) for k, dtype in columns}
        self.gaps = {k: np.zeros((len(self.homes[k]), room), bool) for k in ("truth", "whole")}
        self.objects = {p: np.empty(room, object) for p, k in places if k in ("big", "text")}

    def store(self, part: _Part, kinds: list[str], stop: int) -> bool:
        """Keep a block that ends at row ``stop``; False where there is no room for it, or its
        columns are now of other kinds."""
        if stop > self.room or [kind or "real" for kind in kinds] != self.kinds:
            return False
        span = slice(stop - len(part.frame), stop)
        for kind, places in self.homes.items():
            fine = [part.kinds[p] == kind and p not in part.special for p in places]
            usual: Any = slice(None) if all(fine) else np.array(fine)
            chosen = places if all(fine) else [places[i] for i in np.flatnonzero(usual)]
            frame = part.frame if len(chosen) == len(kinds) else part.frame[chosen]
            self.values[kind][usual, span] = frame.to_numpy().T
            for i in [] if all(fine) else np.flatnonzero(~usual):
                cells, missing = _cells(part, places[i])
                if kind == "real":
                    self.values[kind][i, span] = np.where(missing, np.nan, cells)
                else:
                    self.values[kind][i, span] = np.where(missing, 0, cells)
                    self.gaps[kind][i, span] = missing
        for place, column in self.objects.items():
            cells, missing = _cells(part, place)
            column[span] = cells
            column[span][missing] = None
        return True

    def frame(self, names: list[str], rows: int) -> Any:
        """The rows, in types of pandas that have gaps where a column does."""
        import pandas as pd

        made = []
        for kind, places in self.homes.items():
            values, gaps = self.values[kind][:, :rows], self.gaps.get(kind)
            torn: Any = np.zeros(len(places), bool) if gaps is None else gaps[:, :rows].any(1)
            if not torn.all():
                plain = values[~torn] if torn.any() else values
                columns = [places[i] for i in np.flatnonzero(~torn)]
                made.append(pd.DataFrame(plain.T, columns=columns, copy=False))
            array = pd.arrays.BooleanArray if kind == "truth" else pd.arrays.IntegerArray
            for i in np.flatnonzero(torn):
                column = array(values[i], self.gaps[kind][i, :rows])
                made.append(pd.DataFrame({places[i]: column}, copy=False))
        for place, cells in self.objects.items():
            dtype = "str" if self.kinds[place] == "text" else object
            made.append(pd.DataFrame({place: pd.Series(cells[:rows], dtype=dtype)}, copy=False))
        frame = made[0] if len(made) == 1 else pd.concat(made, axis=1)[list(range(len(names)))]
        return frame.set_axis(names, axis=1)


def _cells(part: _Part, place: int) -> tuple[np.ndarray, np.ndarray]:
    """A column of a block, and which of its cells are missing."""
    if place in part.special:
        return part.special[place]
    column = part.frame[place]
    return column.to_numpy(), column.isna().to_numpy()
