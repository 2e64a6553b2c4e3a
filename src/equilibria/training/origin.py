"""The data of a run: how they were divided, and how they are found again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from equilibria import data as catalogue
from equilibria.data import Data, divide
from equilibria.errors import RunError
from equilibria.training.run import Run

__all__ = ["HELD_OUT", "Parts", "collect", "run_data"]

HELD_OUT = 0.1
SPLIT_SEED = 0  # not the model's: runs with other seeds are compared on the same held-out rows
TABLES = (".csv", ".parquet")
_ENTRIES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("source", "digest", "colour", "split"), (str,)),
    "label": (str, type(None)),
    "size": (int, list, type(None)),
    "held_out": (int, float, type(None)),
    "seed": (int,),
    "text": (bool, type(None)),
}
"""Types of what a run says of its data."""


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """The rows of a run; ``train`` and ``test`` are one object where nothing is held out.

    ``whole`` are all rows in the order of their file, where they come from a path.
    """

    train: Data
    test: Data
    whole: Data | None

    @property
    def unseen(self) -> bool:
        """Whether the rows to evaluate on were held out."""
        return self.train is not self.test


def collect(
    source: str | Path, *, held_out: float | None = None, seed: int = SPLIT_SEED, **how: Any
) -> Parts:
    """Load data in two parts: the official split of a named set, a random one of a path.

    Of a path, the fraction ``held_out`` of the rows is kept from training, 0.1 by default; 0 trains
    and evaluates on all of them. ``how`` are the options of :func:`equilibria.data.load`; columns
    of a CSV file may hold text unless ``text`` says otherwise.

    Examples
    --------
    >>> parts = collect("digits")
    >>> len(parts.train), len(parts.test), parts.train.origin["source"]
    (1437, 360, 'digits')
    """
    named = isinstance(source, str) and source in catalogue.names()
    if named and held_out is not None:
        what = f"{source} is a built-in set, whose splits are its own"
        raise ValueError(f"held_out={held_out!r}: {what}; leave held_out out")
    if not named and Path(source).suffix.lower() == ".csv":
        how = {"text": True, **how}
    train = catalogue.load(source, **how)
    if named:
        test = catalogue.load(source, **{**how, "split": "test"})
        if len(test) == len(train) and test.digest() == train.digest():
            test = train  # a set with no split of its own
        return Parts(train, test, None)
    held_out = HELD_OUT if held_out is None else held_out
    parts = (train, train) if held_out == 0 else divide(train, held_out, seed, copy=False)
    return Parts(*parts, train)


def run_data(run: Run) -> Parts:
    """The rows that a run was trained on, and those to evaluate it on."""
    origin, where = run.config.get("data"), f"run={str(run.path)!r}"
    if origin is None:
        raise RunError(
            f"{where} does not say where its data came from, since it was trained on an array: go "
            "on in Python, with equilibria.load(run), or equilibria.resume(run, X) if its training "
            "was stopped"
        )
    try:
        source, sha = origin["source"], origin["digest"]
        how = {name: origin[name] for name in ("size", "colour", "label", "held_out")}
        how |= {name: origin[name] for name in ("split", "seed", "text") if name in origin}
        how["size"] = tuple(how["size"]) if isinstance(how["size"], list) else how["size"]
        wrong = [n for n, kinds in _ENTRIES.items() if n in origin and type(origin[n]) not in kinds]
        if wrong:
            raise TypeError(f"{wrong[0]} is {origin[wrong[0]]!r:.40}")
    except (KeyError, TypeError) as error:
        what = f"{run.path / 'config.json'} is damaged: its entry 'data' is incomplete ({error!r})"
        raise RunError(f"{what}; restore it from a copy") from error
    if Path(source).suffix.lower() != ".csv":
        how.pop("text", None)
    parts = collect(source, **how)
    train = parts.train  # of version 0.1.0 the digest is that of an array
    if sha != train.digest() and sha != dataclasses.replace(train, values=train.array()).digest():
        raise RunError(
            f"{where} was trained on other rows than {source} holds now (their SHA-256 differs): "
            "put the former data back in their place"
        )
    return parts
