"""Where a run's data came from, so that the same rows can be loaded again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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
    """The rows of a run.

    Attributes
    ----------
    train, test : Data
        What is trained on and what is evaluated on; one and the same object where nothing is held out.
    whole : Data or None
        All rows in the order of their file, where they come from a path.
    origin : dict
        What JSON can hold and :func:`collect` needs to load the same rows again, with the SHA-256 of ``train``.
    """

    train: Data
    test: Data
    whole: Data | None
    origin: dict[str, Any]


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

    Parameters
    ----------
    source, size, colour, label
        As in :func:`equilibria.data.load`.
    held_out : float, optional
        Share of a path's rows to keep back from training, 0.1 by default. 0 trains on all of them, and evaluates on the same.
    seed : int
        Of the random split.
    text : bool
        Whether the columns of a CSV file may hold text.

    Raises
    ------
    ValueError
        For data that cannot be loaded, or a ``held_out`` that does not apply.

    Examples
    --------
    >>> loaded = collect("digits")
    >>> len(loaded.train), len(loaded.test), loaded.origin["source"]
    (1437, 360, 'digits')
    """
    named = isinstance(source, str) and source in catalogue.names()
    text = text and not named and Path(source).suffix.lower() == ".csv"
    how: dict[str, Any] = {"size": size, "colour": colour, "label": label, **({"text": True} if text else {})}
    if named and held_out is not None:
        raise ValueError(f"held_out={held_out!r}: {source} is a built-in set with a test split of its own; leave held_out out")
    train = catalogue.load(source, split="train", **how)
    train = dataclasses.replace(train, values=train.array())
    whole = None if named else train
    if whole is None:
        test = catalogue.load(source, split="test", **how)
        test = train if len(test) == len(train) and test.digest() == train.digest() else test  # a set with no split of its own
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
    """Tell an estimator, before ``fit``, what is known of its data: range and picture shape unless it has them, and their origin.

    Columns that it names as its ``condition`` become numbers.

    Examples
    --------
    >>> from equilibria import RBM
    >>> model = RBM()
    >>> attach(model, collect("digits"))
    >>> model.value_range, model.picture_shape
    ((0.0, 16.0), (8, 8))
    """
    data = loaded.train
    known = {"value_range": None if data.low is None else (data.low, data.high), "picture_shape": data.shape}
    given = estimator.get_params(deep=False)
    estimator.set_params(**{name: value for name, value in known.items() if value is not None and given[name] is None})
    if given.get("condition") is not None and data.columns is not None:  # by name, and fit is handed an array, which has none
        numbers = {name: place for place, name in enumerate(data.columns)}
        estimator.set_params(condition=[numbers.get(column, column) for column in given["condition"]])
    estimator._data_origin = loaded.origin


def run_data(run: Run) -> tuple[Data, Data]:
    """The rows that a run was trained on, and those to evaluate it on.

    They are one and the same object where the run held nothing out.

    Raises
    ------
    RunError
        When the run does not say where its data came from, or the data there are not what they were.
    ValueError
        When the data can no longer be loaded.
    """
    origin = run.config.get("data")
    if origin is None:
        raise RunError(
            f"run={str(run.path)!r} does not say where its data came from, since it was trained on an array: "
            "go on in Python, with equilibria.load(run), or equilibria.resume(run, X) if its training was stopped"
        )
    loaded = collect(**_arguments(run, origin))
    if loaded.origin["digest"] != origin["digest"]:
        raise RunError(
            f"run={str(run.path)!r} was trained on other rows than {origin['source']} holds now (their SHA-256 differs): "
            "put the former data back in their place"
        )
    return loaded.train, loaded.test


def _arguments(run: Run, origin: Mapping[str, Any]) -> dict[str, Any]:
    try:
        size = origin["size"]
        named = origin["source"] in catalogue.names()
        return {
            "source": origin["source"],
            "size": tuple(size) if isinstance(size, list) else size,
            "colour": origin["colour"],
            "label": origin["label"],
            "held_out": None if named else origin["held_out"],
            "seed": origin["seed"],
            "text": bool(origin.get("text", False)),
        }
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{run.path / 'config.json'} is damaged: its entry 'data' is incomplete ({error!r}); restore it from a copy"
        ) from error
