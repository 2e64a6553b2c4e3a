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
from equilibria.report.view import FILE, read, read_verdict
from equilibria.training.origin import Parts, run_data
from equilibria.training.run import Run

__all__ = ["Summary"]

_NOT_SAID = ("out", "overwrite", "verbose", "minutes")  # minutes have become a length


class Summary:
    """A finished run: the folder ``run``, the fitted ``model``, the rows of its ``history``.

    ``parts`` are its data where they are still to be had, else ``no_data`` says why they are not: a
    model can be shown without them. ``results`` is the evaluation, if there has been one.
    """

    def __init__(self, path: str | Path):
        self.run = Run.open(path)
        self.model: Any = load(self.run)
        self.history = self.model.history_
        self.parts: Parts | None = None
        self.no_data = ""
        try:
            self.parts = run_data(self.run)
        except ValueError as error:
            self.no_data = str(error)
        evaluated = (self.run.path / FILE).exists()
        self.results: list[Measure] | None = read(self.run) if evaluated else None
        self.verdict = read_verdict(self.run)
        self.origin: dict[str, Any] = self.run.config.get("data") or {}
        self.data_name = Path(str(self.origin.get("source", "an array"))).name
        if self.parts is not None:
            self.data_name = self.parts.train.name

    @property
    def title(self) -> str:
        """The kind of model and the name of its data."""
        name = re.split(r"[:(.]", type(self.model).__doc__ or self.model.name, maxsplit=1)[0]
        return f"{' '.join(name.split())} on {self.data_name}"

    @property
    def sentences(self) -> str:
        """What the model is, and how it was trained."""
        rows, took, config, model = "", "", self.run.config, self.model
        if self.parts is not None:
            train = self.parts.train
            columns = _plural(train.values.shape[1], "column")
            rows = f" ({_plural(len(train), 'row')} of {columns})"
        if self.history and "seconds" in self.history[-1]:
            took = f" in {_plural(round(self.history[-1]['seconds']), 'second')}"
        return (
            f"{model.model_.describe()} Trained on {self.data_name}{rows} for "
            f"{_plural(model.n_steps_, 'step')}{took}, with seed {config['seed']}, by equilibria "
            f"{config['equilibria']}. Its place among generative models: {taxonomy(model.model_)}."
        )

    @property
    def reproduction(self) -> str:
        """The command that trains the same model on the same data; else the Python for it."""
        changed, origin = self._changed(), self.origin
        if not origin:
            kind = type(self.model).__name__
            given = ", ".join(f"{name}={value!r}" for name, value in changed.items())
            return f"from equilibria import {kind}\n{kind}({given}).fit(X)"
        words = ["equilibria", "train", self.model.name, str(origin.get("source"))]
        words += ["--out", "NEW_FOLDER"]
        about = {name: origin.get(name) for name in ("size", "colour", "label", "held_out")}
        about = {name: v for name, v in about.items() if v not in (None, "grey")}
        for name, value in {**about, **changed}.items():
            flag = name.replace("_", "-")
            on = isinstance(value, bool)
            words += [f"--{flag}" if value else f"--no-{flag}"] if on else [f"--{flag}"]
            words += [] if on else [spelled(value)]
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
        used = self.model.settings_  # with the lengths that minutes have become
        values = {field: getattr(used, field.name) for field in parameters(self.model)}
        return {
            field.name: value
            for field, value in values.items()
            if field.name not in _NOT_SAID
            and value not in (told.get(field.name, field.default), field.default)
        }


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)
