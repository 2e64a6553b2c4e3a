"""Rows of numbers in a file of JSON lines that a crash can cut short but not spoil."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from equilibria.errors import RunError
from equilibria.training import files

__all__ = ["append", "read", "truncate"]


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add ``row``, which has the global ``step`` it was measured at, as one line.

    Infinities and NaN are written as ``Infinity`` and ``NaN``, which Python's JSON reads.

    Raises
    ------
    ValueError
        When the row has no integer ``step``, or holds what JSON cannot (a tensor, say).
    """
    step = row.get("step")
    if isinstance(step, bool) or not isinstance(step, int):
        raise ValueError(f"row={dict(row)!r}: expected an integer under 'step', the global step it was measured at")
    line = files.to_json(row, "row") + b"\n"
    with open(path, "a+b") as file:
        _drop_unfinished_line(file)
        file.write(line)


def read(path: Path) -> list[dict[str, Any]]:
    """The rows, oldest first; a last line without an end, which a crash left, is no row. Without a file there are none.

    Raises
    ------
    RunError
        When a line in the middle is damaged; the message gives its number.
    """
    return [row for row, _ in _lines(path)]


def truncate(path: Path, step: int) -> None:
    """Forget the rows after ``step``, in one go: a reader finds the old file or the new one."""
    kept = [line + b"\n" for row, line in _lines(path) if row["step"] <= step]
    files.replace_file(path, b"".join(kept))


def _lines(path: Path) -> list[tuple[dict[str, Any], bytes]]:
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [(_row(line, path, number), line) for number, line in enumerate(lines, start=1)]


def _row(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        raise RunError(f"{path} is damaged: line {number} is not a row of metrics; delete that line")
    return row


def _drop_unfinished_line(file: IO[bytes]) -> None:
    """Cut off a last line without an end, lest the next row be glued to it."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
