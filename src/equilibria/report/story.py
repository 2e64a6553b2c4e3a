"""What a report tells about one run: the run, its model, its data, its evaluation, and how to make it again."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from equilibria.data import Data
from equilibria.estimators import MODELS, load_generative
from equilibria.numbers import Measure
from equilibria.report import assessment
from equilibria.training.origin import run_data
from equilibria.training.run import Run

__all__ = ["Story"]

_NAMES = {
    "rbm": "Restricted Boltzmann machine",
    "dbm": "Deep Boltzmann machine",
    "dbn": "Deep belief network",
    "gan": "Generative adversarial network",
    "lapgan": "Laplacian pyramid of adversarial networks",
    "fine-tuned": "Fine-tuned classifier",
}
_NOT_OPTIONS = ("out", "overwrite", "verbose", "random_state")


class Story:
    """All that a page shows about one finished run.

    Attributes
    ----------
    run : Run
        The folder.
    model : estimator
        Fitted.
    history : list of dict
        Rows of ``metrics.jsonl``.
    train, test : Data or None
        Its rows, where they are still to be had; one and the same object where nothing was held out.
    no_data : str
        Why there are no rows, else empty: a model can be shown without them.
    results : list of Measure, or None
        The evaluation, if there has been one.

    Raises
    ------
    RunError
        When the folder is no finished run, or a file of it is damaged.
    """

    def __init__(self, path: Path):
        self.run = Run.open(path)
        self.model: Any = load_generative(path)
        self.history: list[dict[str, Any]] = self.run.metrics()
        self.train, self.test, self.no_data = _rows(self.run)
        evaluated = (self.run.path / assessment.FILE).exists()
        self.results: list[Measure] | None = assessment.read(path) if evaluated else None

    @property
    def title(self) -> str:
        """The kind of model and the name of its data."""
        name = self.run.config["model"]
        title = f"{_NAMES.get(name, name)} on {self.data_name}"
        return title if self._lag is None else f"Next state, lag {self._lag}: {title}"

    @property
    def _lag(self) -> int | None:
        """Of a next-state model."""
        part = self.run.config.get("next_state")
        return None if part is None else int(part["lag"])

    @property
    def data_name(self) -> str:
        """What to call the data, as far as the run knows."""
        if self.train is not None:
            return self.train.name
        source = (self.run.config.get("data") or {}).get("source")
        return "an array" if source is None else Path(str(source)).name

    @property
    def sentence(self) -> str:
        """What the run is, in one sentence."""
        rows = "" if self.train is None else f" ({len(self.train):,} rows of {_plural(self.train.values.shape[1], 'column')})"
        took = f" in {_plural(round(self.history[-1]['seconds']), 'second')}" if self.history and "seconds" in self.history[-1] else ""
        config = self.run.config
        return (
            f"{_anatomy(self.model)}, trained on {self.data_name}{rows} for {_plural(self.model.n_steps_, 'step')}{took}, "
            f"with seed {config['seed']}, by equilibria {config['equilibria']}."
        )

    @property
    def reproduction(self) -> str:
        """The command that trains the same model on the same data, where they came from a name or a path; else the Python for it."""
        origin = self.run.config.get("data")
        if not isinstance(origin, dict) or self.run.config["model"] not in MODELS:
            return self._python()
        words = ["equilibria", "train", self.run.config["model"], str(origin.get("source")), "--out", "NEW_FOLDER"]
        for name in ("size", "colour", "label", "held_out"):
            if origin.get(name) not in (None, "grey"):
                words += _option(name, origin[name])
        words += _option("random_state", self.run.config["seed"])
        for name, value in self._changed((*_NOT_OPTIONS, *self._known_from_data())):
            words += _option(name, value)
        resume = f"equilibria resume {shlex.quote(str(self.run.path))}"
        return f"# to train the same model again\n{shlex.join(words)}\n\n# to go on with this run, had it been stopped\n{resume}"

    def _python(self) -> str:
        """The same for a model of an array."""
        name, without = type(self.model).__name__, ("out", "overwrite", "verbose", *(() if self._lag is None else ("kinds", "units")))
        arguments = ", ".join(f"{parameter}={value!r}" for parameter, value in self._changed(without))
        rows = "X, y" if getattr(self.model, "labels", False) or hasattr(self.model, "predict_proba") else "X"
        if self._lag is None:
            return f"from equilibria import {name}\n{name}({arguments}).fit({rows})"
        return f"from equilibria import {name}, NextState\nNextState({name}({arguments}), lag={self._lag}).fit(X)"

    def _changed(self, without: Sequence[str]) -> list[tuple[str, Any]]:
        """The parameters that differ from the estimator's defaults."""
        defaults = {name: p.default for name, p in inspect.signature(type(self.model)).parameters.items()}
        given = self.model.get_params(deep=False)
        return [(name, given[name]) for name, default in defaults.items() if name not in without and given[name] != default]

    def _known_from_data(self) -> list[str]:
        """Parameters that need not be given, since the data say as much."""
        if self.train is None:
            return []
        told = {"value_range": (self.train.low, self.train.high), "picture_shape": self.train.shape}
        return [name for name, value in told.items() if getattr(self.model, name, None) == value]


def _rows(run: Run) -> tuple[Data | None, Data | None, str]:
    try:
        return *run_data(run), ""
    except ValueError as error:
        return None, None, str(error)


def _anatomy(model: Any) -> str:
    if hasattr(model, "pretrained_"):
        first = type(model.pretrained_).__name__
        return f"A network with layers of {_and(model.network_.sizes[1:])} units, fine-tuned from the mean field of a {first}"
    if hasattr(model, "machine_"):
        stack = getattr(model, "network_", model.machine_)
        return f"Layers of {_and([stack.units(name).size for name in stack.layers])} units"
    if hasattr(model, "networks_"):
        sizes = [f"{shape[0]} x {shape[1]}" for shape in reversed(model.pyramid_.shapes)]
        return f"Generators and critics of pictures of {_and(sizes)} ({_and(list(reversed(model.networks_)))})"
    if getattr(model, "network_", "mlp") != "mlp":
        return f"Generator and critic of {model.channels} channels and up ({model.network_})"
    widths: Sequence[int] = getattr(getattr(getattr(model, "generator_", None), "network", None), "sizes", [])
    return f"Generator and critic with hidden layers of {_and(widths[1:-1])} units" if len(widths) > 2 else type(model).__name__


def _and(numbers: Sequence[int | str]) -> str:
    *first, last = (str(number) for number in numbers)
    return f"{', '.join(first)} and {last}" if first else last


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)


def _option(name: str, value: Any) -> list[str]:
    """As the command line writes it."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if isinstance(value, list | tuple):
        return [flag, ",".join(map(str, value))]
    if isinstance(value, dict):
        return [flag, ",".join(f"{key}={entry}" for key, entry in value.items())]
    return [flag, "none" if value is None else str(value)]
