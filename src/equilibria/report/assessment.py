"""What a finished run is worth, measured on rows it did not see, and kept in the run folder as ``evaluation.json``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equilibria.data import Data, binarise
from equilibria.data.columns import missing_cells
from equilibria.errors import RunError
from equilibria.estimators import load_generative
from equilibria.evaluation import Coverage, memorisation, modes, two_sample
from equilibria.numbers import Measure
from equilibria.random import Stream
from equilibria.report.likeness import comparable, has_classes, likeness, listed
from equilibria.training.files import replace_file
from equilibria.training.origin import run_data
from equilibria.training.run import Run

__all__ = ["CLASS_SHARE", "FILE", "assess", "read", "remarks"]

FILE = "evaluation.json"
CLASS_SHARE = "share of samples in class "
_HELD_OUT_ROWS = 2000
_TRAINING_ROWS = 20_000  # a copy of a training row is found only among the rows that are looked at
_MODE_SAMPLES = 2500  # the published protocol
_MEMORISATION = "training rows among the nearest real rows"
_RENAMED = {"samples": "n", "floor": "chance", "best": "ideal", "features": "method", "caveat": "note"}  # since 0.1.0


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


def assess(path: str | Path, *, samples: int = 1000) -> list[Measure]:
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
    list of Measure

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
    rows = run_data(run)
    model = load_generative(path)
    if not hasattr(model, "sample"):
        raise RunError(f"run={str(path)!r} is a {type(model).__name__}, which draws no samples to be judged: see equilibria predict")
    case = _case(model, *rows)
    drawn = case.model.sample(samples, random_state=case.stream.child("samples"))
    all_train, held_out = (_complete(data) for data in (case.all_train, case.held_out))
    beside = dataclasses.replace(case, all_train=all_train, held_out=held_out)  # samples have no gaps
    gaps = len(case.held_out) - len(beside.held_out)
    alike = [*_told_apart(beside, drawn, gaps), *_likeness(beside, drawn), *_copying(beside, drawn)]
    results = [*_likelihood(case), *_modes(case), *_coverage(beside, drawn), *alike]
    _write(run.path / FILE, results)
    return results


def read(path: str | Path) -> list[Measure]:
    """What :func:`assess` wrote into the run folder ``path``.

    Raises
    ------
    RunError
        When the folder is no run, has not been evaluated, or the file is damaged.
    """
    file = Run.open(path).path / FILE
    try:
        entries = json.loads(file.read_bytes())
        return [_measure(entry) for entry in entries]
    except FileNotFoundError as error:
        raise RunError(f"run={str(path)!r} has not been evaluated yet: equilibria evaluate {path}") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{file} is damaged ({error!r}): make it anew with equilibria evaluate {path}") from error


def remarks(results: Sequence[Measure]) -> list[str]:
    """What the numbers say about trust, as sentences.

    Examples
    --------
    >>> remarks([Measure("classes found", 8, n=1000, ideal=10)])
    ['The samples miss 2 of 10 classes.']
    """
    sentences = []
    for result in results:
        if result.name in ("C2ST accuracy", "accuracy at telling samples from real rows"):
            sentences.append(_accuracy(result))
        elif result.name.endswith(" found") and result.ideal is not None:
            sentences.append(_found(result.name.removesuffix(" found"), int(result.value), int(result.ideal)))
        elif result.name.endswith("free energy gap, nats") and result.chance is not None:
            sentences.append(_gap(result.value, result.chance))
        elif result.name.endswith(_MEMORISATION):
            sentences += [said for said in (result.warning, result.note) if said]
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


def _share_remarks(measure: Measure) -> list[str]:
    """Of precision and coverage, where they fall short of a perfect sampler's beyond chance and by a tenth."""
    what = {"precision": "samples have a real row near them", "coverage": "real rows have a sample near them"}
    near = next((sentence for name, sentence in what.items() if measure.name.startswith(name)), None)
    if near is None or measure.high is None or measure.ideal is None or max(measure.high, measure.value / 0.9) >= measure.ideal:
        return []
    meaning = "samples are not like the data" if measure.name.startswith("precision") else "parts of the data are missing among the samples"
    return [f"Only {100 * measure.value:.0f} % of the {near}, where a perfect sampler reaches {100 * measure.ideal:.0f} %: {meaning}."]


def _accuracy(estimate: Measure) -> str:
    share = f"{100 * estimate.value:.0f} % of samples and real rows are told apart by a random forest, where 50 % would be chance"
    if estimate.low is not None and estimate.low <= 0.5:
        return f"{share}: it sees no difference."
    return f"{share}: the samples are not yet as the data are." if estimate.value > 0.75 else f"{share}."


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


def _likelihood(case: _Case) -> list[Measure]:
    """log p on held-out rows, on training rows, the gap between them, and log Z."""
    model = case.model
    if not hasattr(model, "log_likelihood"):
        return []
    results: list[Measure] = []
    for rows, what in ((case.held_out, "held-out rows"), (case.train, "training rows")):
        if len(rows) >= 2 and (case.unseen or what == "training rows"):
            estimate = model.log_likelihood(rows.values)
            results.append(_as_measure(estimate, f"{estimate.name} of {what}, nats"))
    if case.unseen and len(case.held_out) >= 2 and hasattr(model, "_gap"):
        results.append(model._gap(case.train.values, case.held_out.values))  # of the very rows scored above
    if hasattr(model, "log_partition_"):
        results.append(_as_measure(model.log_partition_, "log Z, nats"))
    return results


def _modes(case: _Case) -> list[Measure]:
    density = case.held_out.density
    if density is None:
        return []
    return listed(modes(case.model.sample(_MODE_SAMPLES, random_state=case.stream.child("modes")), density))


def _coverage(case: _Case, drawn: np.ndarray) -> list[Measure]:
    """Which classes the samples cover, and each one's share for a chart; nothing where labels are missing or are no classes."""
    train, test = case.all_train, case.held_out
    if not has_classes(train) or not len(test):
        return []
    judged_by = (comparable(case.model, test.values), test.labels) if case.unseen and test.labels is not None else (None, None)
    coverage = Coverage.fit(comparable(case.model, train.values), train.labels, *judged_by)
    samples = comparable(case.model, drawn)
    found, counts = coverage.measure(samples), coverage.counts(samples)[0]
    table = zip(coverage.classes, counts / counts.sum(), coverage.frequencies, strict=True)
    shares = (Measure(f"{CLASS_SHARE}{c}", float(s), n=found.n, method=found.method, ideal=float(p)) for c, s, p in table)
    return [*listed(found), *shares]


def _likeness(case: _Case, drawn: np.ndarray) -> list[Measure]:
    if hasattr(case.model, "log_likelihood") or not case.unseen:
        return []
    return list(likeness(case.model, case.all_train, case.held_out, drawn))


def _told_apart(case: _Case, drawn: np.ndarray, gaps: int) -> list[Measure]:
    model, real = case.model, case.held_out.values
    if len(real) < 4:
        return []
    if getattr(model, "grey_", False) and model.binarise is not None:
        # The model is one of binary rows: grey means would be told from grey rows by their smoothness alone.
        fake = binarise(model.schema_.encode(drawn), "resample", case.stream.child("binarise"))
        estimate = two_sample(model._binary(real), fake)
    else:
        estimate = two_sample(comparable(model, real), comparable(model, drawn))
    note = "" if case.unseen else " Nothing was held out, so copies of training rows pass for real."
    note += f" {gaps} of {gaps + len(real)} rows have gaps and are left out." if gaps else ""
    return [estimate.replace(note=f"{estimate.note}{note}")]


def _copying(case: _Case, drawn: np.ndarray) -> list[Measure]:
    if not case.unseen or not min(len(case.all_train), len(case.held_out)):
        return []
    rows = (comparable(case.model, values) for values in (drawn, case.all_train.values, case.held_out.values))
    found = memorisation(*rows)
    compared = "" if len(case.all_train) == case.total else f" Only {len(case.all_train):,} of {case.total:,} training rows were compared."
    return listed(found.replace(note=f"{found.note}{compared}".strip()))


# ---------------------------------------------------------------- the file


def _write(file: Path, results: Sequence[Measure]) -> None:
    entries = [result.to_json() for result in results]
    try:
        replace_file(file, (json.dumps(entries, indent=1, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise RunError(f"{file} could not be written ({error}): free some space, or see that you may write there") from error


def _measure(entry: dict[str, Any]) -> Measure:
    """One entry of the file; those of version 0.1.0 have a type and other names."""
    if "type" not in entry:
        return Measure.from_json(entry)
    named = {_RENAMED.get(name, name): value for name, value in entry.items() if name != "type"}
    if named.get("warning"):
        named["note"] = named.get("note", "").removeprefix(named["warning"]).strip()
    return Measure.from_json(named)


def _as_measure(estimate: Any, name: str) -> Measure:
    """What a model says of its likelihood, by another name."""
    if isinstance(estimate, Measure):
        return estimate.replace(name=name)
    return _measure({"type": "estimate", **estimate.to_json(), "name": name})
