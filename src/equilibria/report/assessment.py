"""What a finished run is worth, measured on rows it did not see, and kept in the run folder as ``evaluation.json``."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equilibria.data import Data, binarise
from equilibria.data.columns import missing_cells
from equilibria.errors import RunError
from equilibria.estimate import Estimate
from equilibria.estimators import load
from equilibria.evaluation import Coverage, CoverageReport, Metric, modes, nearest, two_sample
from equilibria.random import Stream
from equilibria.report.likeness import comparable, has_classes, likeness
from equilibria.training import durable
from equilibria.training.origin import run_data
from equilibria.training.run import Run

__all__ = ["CLASS_SHARE", "FILE", "Result", "assess", "read", "remarks"]

Result = Metric | Estimate

FILE = "evaluation.json"
CLASS_SHARE = "share of samples in class "
_HELD_OUT_ROWS = 2000
_TRAINING_ROWS = 20_000  # a copy of a training row is found only among the rows that are looked at
_MODE_SAMPLES = 2500  # the published protocol
_COPIES = {True: "The samples copy training rows.", False: "No sign that the samples copy training rows."}
_KINDS: dict[str, type[Metric] | type[Estimate]] = {"metric": Metric, "estimate": Estimate}


@dataclasses.dataclass(frozen=True, eq=False)
class _Case:
    """A model and the rows to judge it by.

    ``train`` is as many of the training rows as ``held_out`` has, ``all_train`` as many of their ``total`` as are looked at;
    ``unseen`` tells whether the held-out rows were not trained on.
    """

    model: Any
    all_train: Data
    train: Data
    held_out: Data
    unseen: bool
    total: int
    stream: Stream


def assess(path: str | Path, *, samples: int = 1000) -> list[Result]:
    """Measure the model of a finished run, the most important number first, and write ``evaluation.json`` into its folder.

    A model with a likelihood is scored on held-out and on as many training rows; the samples of every model are looked at for
    missing modes (where the density of the data is known) and classes (where the data have labels), told from held-out rows
    by a classifier, and searched for copies of training rows. Those of a model without a likelihood are also set beside held-out rows by
    Fréchet and kernel distances, precision, recall, density and coverage, through a network trained on the classes where there are any. At
    most 2,000 held-out and 20,000 training rows are used. The same run gives the same numbers, and runs on the same data are measured
    on the same rows.

    Parameters
    ----------
    path : str or Path
        The run folder.
    samples : int
        How many samples to draw, at least 4.

    Returns
    -------
    list of Metric and Estimate

    Raises
    ------
    RunError
        When the folder is no finished run, does not say where its data came from, or cannot be written.
    ValueError
        For a bad ``samples``, or data that can no longer be loaded.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 4:
        raise ValueError(f"samples={samples!r}: expected a whole number, 4 or more")
    run = Run.open(path)
    case = _case(load(path), *run_data(run))
    drawn = case.model.sample(samples, random_state=case.stream.child("samples"))
    all_train, held_out = (_complete(data) for data in (case.all_train, case.held_out))
    beside = dataclasses.replace(case, all_train=all_train, held_out=held_out)  # samples have no gaps
    coverage = _coverage(beside, drawn)
    found = [] if coverage is None else coverage.metrics()
    gaps = len(case.held_out) - len(beside.held_out)
    alike = [*_told_apart(beside, drawn, gaps), *_likeness(beside, drawn), *_copying(beside, drawn)]
    results = [*_likelihood(case), *_modes(case), *found, *alike]
    _write(run.path / FILE, [*results, *_class_shares(beside, coverage)])
    return read(path)


def read(path: str | Path) -> list[Result]:
    """What :func:`assess` wrote into the run folder ``path``.

    Raises
    ------
    RunError
        When the folder is no run, has not been evaluated, or the file is damaged.
    """
    file = Run.open(path).path / FILE
    try:
        entries = json.loads(file.read_bytes())
        return [_KINDS[entry["type"]].from_json({k: v for k, v in entry.items() if k != "type"}) for entry in entries]
    except FileNotFoundError as error:
        raise RunError(f"run={str(path)!r} has not been evaluated yet: equilibria evaluate {path}") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{file} is damaged ({error!r}): make it anew with equilibria evaluate {path}") from error


def remarks(results: Sequence[Result]) -> list[str]:
    """What the numbers say about trust, as sentences.

    Examples
    --------
    >>> remarks([Metric("classes found", 8, 1000, best=10)])
    ['The samples miss 2 of 10 classes.']
    """
    sentences = []
    for result in results:
        if isinstance(result, Estimate):
            sentences += _estimate_remarks(result)
        elif result.name.endswith(" found") and result.best is not None:
            sentences.append(_found(result.name.removesuffix(" found"), int(result.value), int(result.best)))
        elif result.name.endswith("free energy gap, nats") and result.floor is not None:
            sentences.append(_gap(result.value, result.floor))
        elif result.note.startswith(tuple(_COPIES.values())):
            sentences.append(result.note)
        else:
            sentences += _share_remarks(result)
    return sentences


def _found(what: str, found: int, total: int) -> str:
    if found < total:
        return f"The samples miss {total - found} of {total} {what}."
    return f"All {total} {what} are found among the samples."


def _gap(value: float, floor: float) -> str:
    if value > floor:
        return f"It fits training rows better than held-out ones, by {value:.2f} nats a row: it overfits to that degree."
    return "It fits training rows no better than held-out ones, beyond what chance may give: no sign of overfitting."


def _share_remarks(metric: Metric) -> list[str]:
    """Of precision and coverage, where they fall short of a perfect sampler's beyond chance and by a tenth."""
    what = {"precision, ": "samples have a real row near them", "coverage, ": "real rows have a sample near them"}
    near = next((sentence for name, sentence in what.items() if metric.name.startswith(name)), None)
    if near is None or metric.high is None or metric.best is None or max(metric.high, metric.value / 0.9) >= metric.best:
        return []
    meaning = "samples are not like the data" if metric.name.startswith("precision") else "parts of the data are missing among the samples"
    return [f"Only {100 * metric.value:.0f} % of the {near}, where a perfect sampler reaches {100 * metric.best:.0f} %: {meaning}."]


def _estimate_remarks(estimate: Estimate) -> list[str]:
    if not estimate.name.startswith("accuracy at telling samples"):
        return []
    share = f"{100 * estimate.value:.0f} % of samples and real rows are told apart by a random forest, where 50 % would be chance"
    if estimate.low <= 0.5:
        return [f"{share}: it sees no difference."]
    return [f"{share}: the samples are not yet as the data are." if estimate.value > 0.75 else f"{share}."]


# ---------------------------------------------------------------- what is measured


def _case(model: Any, train: Data, test: Data) -> _Case:
    stream = Stream(0).child("assessment")
    held_out = _some(test, _HELD_OUT_ROWS, stream.child("held out"))
    return _Case(
        model,
        all_train=_some(train, _TRAINING_ROWS, stream.child("all training")),
        train=_some(train, len(held_out), stream.child("training")),
        held_out=held_out,
        unseen=train is not test,
        total=len(train),
        stream=stream,
    )


def _some(data: Data, most: int, stream: Stream) -> Data:
    """A random choice of rows, in their order."""
    if len(data) <= most:
        return data
    return _chosen(data, np.sort(stream.permutation(len(data))[:most].numpy()))


def _complete(data: Data) -> Data:
    """The rows without a gap."""
    torn = np.logical_or.reduce([missing_cells(column) for column in data.values.T])
    return _chosen(data, ~torn) if torn.any() else data


def _chosen(data: Data, rows: np.ndarray) -> Data:
    return dataclasses.replace(data, values=data.values[rows], labels=None if data.labels is None else data.labels[rows])


def _likelihood(case: _Case) -> list[Result]:
    """log p on held-out rows, on training rows, the gap between them, and log Z."""
    model = case.model
    if not hasattr(model, "log_likelihood"):
        return []
    results: list[Result] = []
    for rows, what in ((case.held_out, "held-out rows"), (case.train, "training rows")):
        if len(rows) >= 2 and (case.unseen or what == "training rows"):
            estimate = model.log_likelihood(rows.values)
            results.append(dataclasses.replace(estimate, name=f"{estimate.name} of {what}, nats"))
    if case.unseen and len(case.held_out) >= 2:
        results.append(model._gap(case.train.values, case.held_out.values))  # of the very rows scored above
    return [*results, dataclasses.replace(model.log_partition_, name="log Z, nats")]


def _modes(case: _Case) -> list[Result]:
    density = case.held_out.density
    if density is None:
        return []
    return list(modes(case.model.sample(_MODE_SAMPLES, random_state=case.stream.child("modes")), density).metrics())


def _class_shares(case: _Case, report: CoverageReport | None) -> list[Result]:
    """Class by class, for a chart; the best is the class's share of the training rows."""
    if report is None:
        return []
    classes, counts = np.unique(np.asarray(case.all_train.labels), return_counts=True)
    shares = zip(classes, counts / counts.sum(), strict=True)
    return [Metric(f"{CLASS_SHARE}{c}", report.shares[str(c)], report.samples, best=float(p), features=report.features) for c, p in shares]


def _coverage(case: _Case, drawn: np.ndarray) -> CoverageReport | None:
    """Which classes the samples cover; None where labels are missing or are no classes."""
    train, test = case.all_train, case.held_out
    if not has_classes(train) or not len(test):
        return None
    judged_by = (comparable(case.model, test.values), test.labels) if case.unseen and test.labels is not None else (None, None)
    coverage = Coverage.fit(comparable(case.model, train.values), train.labels, *judged_by)
    return coverage.measure(comparable(case.model, drawn))


def _likeness(case: _Case, drawn: np.ndarray) -> list[Result]:
    if hasattr(case.model, "log_likelihood") or not case.unseen:
        return []
    return list(likeness(case.model, case.all_train, case.held_out, drawn))


def _told_apart(case: _Case, drawn: np.ndarray, gaps: int) -> list[Result]:
    model, real = case.model, case.held_out.values
    if len(real) < 4:
        return []
    if getattr(model, "grey_", False) and model.binarise is not None:
        # The model is one of binary rows: grey means would be told from grey rows by their smoothness alone.
        fake = binarise(model.schema_.encode(drawn), "resample", case.stream.child("binarise"))
        estimate = two_sample(model._binary(real), fake)
    else:
        estimate = two_sample(comparable(model, real), comparable(model, drawn))
    caveat = "" if case.unseen else " Nothing was held out, so copies of training rows pass for real."
    caveat += f" {gaps} of {gaps + len(real)} rows have gaps and are left out." if gaps else ""
    return [dataclasses.replace(estimate, caveat=f"{estimate.caveat}{caveat}")]


def _copying(case: _Case, drawn: np.ndarray) -> list[Result]:
    if not case.unseen or not min(len(case.all_train), len(case.held_out)):
        return []
    rows = (comparable(case.model, values) for values in (drawn, case.all_train.values, case.held_out.values))
    report = nearest(*rows)
    *distances, nearer = report.metrics()
    looked_at = "" if len(case.all_train) == case.total else f" Only {len(case.all_train):,} of {case.total:,} of them were looked at."
    return [dataclasses.replace(nearer, note=_COPIES[report.copies] + looked_at), *distances]


# ---------------------------------------------------------------- the file


def _write(file: Path, results: Sequence[Result]) -> None:
    kinds = {cls: name for name, cls in _KINDS.items()}
    entries = [{"type": kinds[type(result)], **{k: _plain(v) for k, v in result.to_json().items()}} for result in results]
    try:
        durable.replace(file, (json.dumps(entries, indent=1, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise RunError(f"{file} could not be written ({error}): free some space, or see that you may write there") from error


def _plain(value: Any) -> Any:
    """numpy's numbers as Python's."""
    value = value.item() if isinstance(value, np.generic) else value
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
