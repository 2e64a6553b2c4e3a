"""The provenance of a run's data: what is needed to load the same rows again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from equilibria import data as catalogue
from equilibria.data import Data, divide
from equilibria.errors import RunError
from equilibria.training.run import Run

__all__ = ["HELD_OUT", "Loaded", "attach", "collect", "run_data"]

HELD_OUT = 0.1
SPLIT_SEED = 0  # not the model's: runs with other seeds are compared on the same held-out rows


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """The rows of a run."""

    train: Data
    test: Data  # one object with ``train`` where nothing is held out
    whole: Data | None  # all rows in the order of their file, where they come from a path
    origin: dict[str, Any]  # how to load the same rows, with the SHA-256 of ``train``


def collect(
    source: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    colour: str = "grey",
    label: str | None = None,
    held_out: float | None = None,
    seed: int = SPLIT_SEED,
    text: bool = False,
) -> Loaded:
    """Load data in two parts: the official split of a named set, a random one of a path.

    ``source``, ``size``, ``colour`` and ``label`` are as in :func:`equilibria.data.load`; ``text``
    says that the columns of a CSV file may hold text. Of a path, the fraction ``held_out`` of the
    rows is kept from training, 0.1 by default; 0 trains and evaluates on all of them.

    Examples
    --------
    >>> loaded = collect("digits")
    >>> len(loaded.train), len(loaded.test), loaded.origin["source"]
    (1437, 360, 'digits')
    """
    named = isinstance(source, str) and source in catalogue.names()
    how: dict[str, Any] = {"size": size, "colour": colour, "label": label}
    if text and not named and Path(source).suffix.lower() == ".csv":
        how["text"] = True
    if named and held_out is not None:
        what = f"{source} is a built-in set with a test split of its own"
        raise ValueError(f"held_out={held_out!r}: {what}; leave held_out out")
    train = catalogue.load(source, split="train", **how)
    whole = None if named else train
    if whole is None:
        test = catalogue.load(source, split="test", **how)
        if len(test) == len(train) and test.digest() == train.digest():
            test = train  # a set with no split of its own
    else:
        held_out = HELD_OUT if held_out is None else held_out
        train, test = (whole, whole) if held_out == 0 else divide(whole, held_out, seed)
    origin = {
        "source": str(source) if named else str(Path(source).expanduser().resolve()),
        **how,
        "held_out": held_out,
        "seed": seed,
        "columns": None if train.columns is None else list(train.columns),
        "digest": train.digest(),
    }
    return Loaded(train, test, whole, origin)


def attach(estimator: Any, loaded: Loaded) -> None:
    """Tell an estimator, before ``fit``, what is known of its data and where they came from.

    It gets the values' range and the pictures' shape unless it has them; columns that it names as
    its ``condition`` become numbers.

    Examples
    --------
    >>> from equilibria import RBM
    >>> model = RBM()
    >>> attach(model, collect("digits"))
    >>> model.value_range, model.picture_shape
    ((0.0, 16.0), (8, 8))
    """
    data, given = loaded.train, estimator.get_params(deep=False)
    known: dict[str, Any] = {"picture_shape": data.shape}
    known["value_range"] = None if data.low is None else (data.low, data.high)
    known = {name: value for name, value in known.items() if given[name] is None}
    estimator.set_params(**known)
    if given.get("condition") is not None and data.columns is not None:  # fit gets a bare array
        numbers = {name: place for place, name in enumerate(data.columns)}
        estimator.set_params(condition=[numbers.get(name, name) for name in given["condition"]])
    estimator._data_origin = loaded.origin


def run_data(run: Run) -> tuple[Data, Data]:
    """The rows that a run was trained on, and those to evaluate it on, which may be the same."""
    origin, where = run.config.get("data"), f"run={str(run.path)!r}"
    if origin is None:
        raise RunError(
            f"{where} does not say where its data came from, since it was trained on an array: go "
            "on in Python, with equilibria.load(run), or equilibria.resume(run, X) if its training "
            "was stopped"
        )
    try:
        names = ("source", "size", "colour", "label", "held_out", "seed")
        how = {**{name: origin[name] for name in names}, "text": bool(origin.get("text", False))}
        how["size"] = tuple(how["size"]) if isinstance(how["size"], list) else how["size"]
    except (KeyError, TypeError) as error:
        what = f"{run.path / 'config.json'} is damaged: its entry 'data' is incomplete ({error!r})"
        raise RunError(f"{what}; restore it from a copy") from error
    loaded = collect(**how)
    if loaded.origin["digest"] != origin["digest"]:
        raise RunError(
            f"{where} was trained on other rows than {origin['source']} holds now (their SHA-256 "
            "differs): put the former data back in their place"
        )
    return loaded.train, loaded.test
