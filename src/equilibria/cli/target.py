"""Files that a command is to write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["target"]


def target(out: str, suffixes: Sequence[str], overwrite: bool) -> Path:
    """A file that may be written, with the folder it is to be in.

    Raises
    ------
    ValueError
        When it is there already, ends otherwise than in ``suffixes``, or cannot be written.
    """
    path = Path(out)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"out={out!r}: expected a name that ends in {' or '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"out={out!r} is a folder: name a file")
    if path.exists() and not overwrite:
        raise ValueError(f"out={out!r} is there already: choose another name, or replace it with --overwrite")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out={out!r} cannot be written ({error}): choose a folder that you may write to") from error
    return path
