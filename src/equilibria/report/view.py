"""What the evaluation of a run and its page share: rows and samples side by side, and the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from equilibria import durable
from equilibria.data.batches import binarise
from equilibria.data.load import Data
from equilibria.data.rows import fixed_draw
from equilibria.data.table import Table
from equilibria.errors import RunError
from equilibria.evaluation.verdict import Verdict
from equilibria.numbers import Measure
from equilibria.random import Stream
from equilibria.training.run import Run

__all__ = ["CLASS_SHARE", "FILE", "VERDICT", "View", "read", "read_verdict", "rows_for", "some"]

FILE, VERDICT = "evaluation.json", "verdict.json"
CLASS_SHARE = "share of samples in class "


def read(run: Run) -> list[Measure]:
    """What :func:`~equilibria.report.assessment.assess` wrote into a run folder, by this version or
    by 0.1.0."""

    def parse(entries: Any) -> list[Measure]:
        return [Measure.from_json({k: v for k, v in one.items() if k != "type"}) for one in entries]

    found = _parsed(run, FILE, parse)
    if found is None:
        how = f"equilibria evaluate {run.path}"
        raise RunError(f"run={str(run.path)!r} has not been evaluated yet: {how}")
    return found


def read_verdict(run: Run) -> Verdict | None:
    """The verdict on a run, where it has one."""
    return _parsed(run, VERDICT, Verdict.from_json)


def _parsed(run: Run, name: str, parse: Callable[[Any], Any]) -> Any:
    """The content of a file of a run's evaluation; None where there is none."""
    how = f"make it anew with equilibria evaluate {run.path}"
    try:
        content = run.read_result(name)
        return None if content is None else parse(content)
    except RunError as error:
        raise RunError(f"{error}; {how}") from error
    except durable.MALFORMED as error:
        raise RunError(f"{run.path / name} is damaged ({error!r}); {how}") from error


def rows_for(model: Any, data: Data) -> Any:
    """The rows of a data set as a model was given its own: a frame in its order, or an array."""
    if data.columns is None or model.table_.names is None:
        return data.array()
    return model.table_.match(data.frame())


def some(data: Data, most: int, stream: Stream) -> Data:
    """A random choice of rows, in their order."""
    if len(data) <= most:
        return data
    return data.rows(np.sort(stream.permutation(len(data))[:most].numpy()))


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """Rows and samples as encoded numbers, (rows, sharp) → float64, in which like is compared with
    like; ``note`` says how.

    A model of grey values is one of binary rows. Some draw binary rows: then all rows are made
    binary by a draw. Some give means, which look like grey rows but are smoother than any: where
    that would tell them apart (``sharp``), both are made binary.
    """

    table: Table
    rows: Callable[[Any, bool], np.ndarray]
    samples: Callable[[Any, bool], np.ndarray]
    note: str = ""

    def near(self, X: Any, samples: bool = False) -> np.ndarray:
        """Rows, or samples, whose distances tell copies: rare values of a category, which are one
        to the model, are set apart behind the encoded columns."""
        values = (self.samples if samples else self.rows)(X, False)
        return np.hstack([values, self.table.signs(X)]) if self.table.merged else values

    @classmethod
    def of(cls, model: Any, drawn: Any) -> View:
        """The view that suits a model and its samples."""
        table, how, grey = model.table_, model.settings_.binarise, model.table_.grey_columns

        def plain(X: Any, sharp: bool) -> np.ndarray:
            return table.encode(X, torch.float64).numpy()

        if not table.grey or how is None:
            return cls(table, plain, plain)
        cells = torch.from_numpy(plain(drawn, False))
        cells = cells if grey is None else cells[:, grey]
        means = not bool(((cells == 0) | (cells == 1)).all())
        stream = Stream(0).child("assessment", "binarise")

        def rows(X: Any, sharp: bool) -> np.ndarray:
            return fixed_draw(table, X, how if sharp or not means else None, model.stream).numpy()

        def samples(X: Any, sharp: bool) -> np.ndarray:
            encoded = torch.from_numpy(plain(X, sharp))
            kept = torch.zeros_like(encoded, dtype=torch.bool) if grey is None else ~grey
            return encoded.where(kept, binarise(encoded, "resample", stream)).numpy()

        if means:
            smooth = "Samples are the model's means, beside grey rows."
            return cls(
                table, rows, lambda X, sharp: (samples if sharp else plain)(X, sharp), smooth
            )
        return cls(table, rows, plain, "Samples are binary, and rows were made so by a draw each.")
