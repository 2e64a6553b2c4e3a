"""What a page tells of one run: its model, its data, its evaluation, and how to make it again."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from equilibria.estimators import load
from equilibria.estimators.params import parameters, spelled
from equilibria.models.model import taxonomy
from equilibria.numbers import Measure
from equilibria.report.assessment import FILE, read
from equilibria.training.origin import Parts, run_data
from equilibria.training.run import Run

__all__ = ["Summary"]

_NOT_SAID = ("out", "overwrite", "verbose")


class Summary:
    """A finished run.

    Attributes
    ----------
    run : Run
        The folder.
    model : estimator
        Fitted.
    history : list of dict
        Rows of ``metrics.jsonl``.
    parts : Parts or None
        Its rows, where they are still to be had.
    no_data : str
        Why there are no rows, else empty: a model can be shown without them.
    results : list of Measure, or None
        The evaluation, if there has been one.
    """

    def __init__(self, path: str | Path):
        self.run = Run.open(path)
        self.model: Any = load(self.run)
        self.history: list[dict[str, Any]] = self.run.metrics()
        self.parts: Parts | None = None
        self.no_data = ""
        try:
            self.parts = run_data(self.run)
        except ValueError as error:
            self.no_data = str(error)
        evaluated = (self.run.path / FILE).exists()
        self.results: list[Measure] | None = read(self.run) if evaluated else None
        self.origin: dict[str, Any] = self.run.config.get("data") or {}

    @property
    def data_name(self) -> str:
        """What to call the data, as far as the run knows."""
        if self.parts is not None:
            return self.parts.train.name
        source = self.origin.get("source")
        return "an array" if source is None else Path(str(source)).name

    @property
    def title(self) -> str:
        """The kind of model and the name of its data."""
        name = re.split(r"[:(.]", type(self.model).__doc__ or self.model.name, maxsplit=1)[0]
        return f"{' '.join(name.split())} on {self.data_name}"

    @property
    def sentences(self) -> str:
        """What the model is, and how it was trained."""
        rows, took = "", ""
        if self.parts is not None:
            train = self.parts.train
            columns = _plural(train.values.shape[1], "column")
            rows = f" ({_plural(len(train), 'row')} of {columns})"
        if self.history and "seconds" in self.history[-1]:
            took = f" in {_plural(round(self.history[-1]['seconds']), 'second')}"
        config = self.run.config
        return (
            f"{self.model.model_.describe()} Trained on {self.data_name}{rows} for "
            f"{_plural(self.model.n_steps_, 'step')}{took}, with seed {config['seed']}, by "
            f"equilibria {config['equilibria']}. Its place among generative models: "
            f"{taxonomy(self.model.model_)}."
        )

    @property
    def reproduction(self) -> str:
        """The command that trains the same model on the same data; else the Python for it."""
        changed = self._changed()
        if not self.origin:
            kind = type(self.model).__name__
            given = ", ".join(f"{name}={value!r}" for name, value in changed.items())
            return f"from equilibria import {kind}\n{kind}({given}).fit(X)"
        words = ["equilibria", "train", self.model.name, str(self.origin.get("source"))]
        words += ["--out", "NEW_FOLDER"]
        about = {name: self.origin.get(name) for name in ("size", "colour", "label", "held_out")}
        about = {name: v for name, v in about.items() if v not in (None, "grey")}
        for name, value in {**about, **changed}.items():
            words += _option(name, value)
        again = f"equilibria resume {shlex.quote(str(self.run.path))}"
        return (
            f"# to train the same model again\n{shlex.join(words)}\n\n"
            f"# to go on with this run, had it been stopped\n{again}"
        )

    def _changed(self) -> dict[str, Any]:
        """The parameters that differ from the defaults, but for what the data say themselves."""
        told: dict[str, Any] = {}
        if self.parts is not None:
            train = self.parts.train
            told["picture_shape"] = train.shape
            told["value_range"] = None if train.low is None else (train.low, train.high)
        found = {}
        for field in parameters(self.model):
            value = getattr(self.model, field.name)
            known = value == told.get(field.name, field.default) or value == field.default
            if field.name not in _NOT_SAID and not known:
                found[field.name] = value
        return found


def _option(name: str, value: Any) -> list[str]:
    """As the command line writes it."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    return [flag, spelled(value)]


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)
