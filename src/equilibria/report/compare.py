"""Many models on the same rows: trained within one budget, judged by the same questions."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from equilibria import check, durable
from equilibria.data.columns import as_frame, take
from equilibria.data.load import Data, divide
from equilibria.errors import RunError
from equilibria.estimators import all_estimators, load, resume
from equilibria.estimators.estimator import Trained
from equilibria.estimators.params import parameters
from equilibria.evaluation.statistics import wilson
from equilibria.evaluation.two_sample import C2ST, SEEN
from equilibria.evaluation.verdict import FEWEST, Verdict, difference
from equilibria.numbers import Measure
from equilibria.random import Stream
from equilibria.report.verdict import verdict
from equilibria.report.view import VERDICT, rows_for
from equilibria.training.origin import Parts
from equilibria.training.run import Run, writing

__all__ = ["FILE", "SUITED", "Comparison", "Entry", "compare"]

FILE = "comparison.json"
SAMPLES = 1000  # whose drawing is timed
SUITED = ("independent", "tree", "mixture", "latent-tree", "made", "gan", "rbm")
"""Models among which one is chosen for a table."""
ASKED = "asked.json"
RESERVED = {"out": "each model's is a folder in compare's own", "minutes": "give compare's own"}


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One model of a comparison.

    Attributes
    ----------
    name : str
    verdict : Verdict
    measures : tuple of Measure
        Accuracy of a classifier trained on samples, where there are labels; seconds.
    scores : ndarray or None
        Log-likelihoods of the held-out rows, in nats.
    density : str
        What they are densities of: columns, and how greys are made binary.
    health : tuple of str
        What its curves say.
    why : str
        Why it could not be trained, and then nothing else is there.
    """

    name: str
    verdict: Verdict | None = None
    measures: tuple[Measure, ...] = ()
    scores: np.ndarray | None = None
    density: str = ""
    health: tuple[str, ...] = ()
    why: str = ""

    def measure(self, words: str) -> Measure | None:
        """The number whose name has these words, if there is one."""
        known = [*self.measures, *(self.verdict.measures if self.verdict else ())]
        return next((one for one in known if words in one.name), None)

    def row(self) -> list[str]:
        """Its line of the table."""
        if self.verdict is None:
            return [self.name, "not trained", *[""] * (len(HEADER) - 2)]
        likelihood, told = self.measure("log-likelihood"), self.measure(C2ST)
        copies, tstr = self.measure("that are a training row"), self.measure("trained on samples")
        copies = copies or self.measure("nearest real rows")
        seconds = [self.measure(f"seconds to {what}") for what in ("train", "sample")]
        share = None if copies is None else copies["samples that are a training row"]
        return [
            self.name,
            "none" if likelihood is None else _spread(likelihood),
            "" if likelihood is None else _kind(likelihood),
            "" if told is None else f"{told.value:.3f}" + ("" if told.warning else " (not told)"),
            "" if tstr is None else f"{100 * tstr.value:.1f} %",
            "" if share is None else f"{100 * share.value:.1f} %",
            *("" if one is None else f"{one.value:.1f}" for one in seconds),
        ]


HEADER = (
    *("model", "log-likelihood", "", "told apart", "trained on it", "copies", "train s"),
    "sample s",
)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found: an entry for each model, and what can be concluded.

    ``print`` shows the table and the sentences.
    """

    entries: tuple[Entry, ...]
    rows: int
    """Held-out rows that all was judged by."""

    def __getitem__(self, name: str) -> Entry:
        for one in self.entries:
            if one.name == name:
                return one
        raise KeyError(f"{name!r}: expected one of {[one.name for one in self.entries]}")

    def choice(self) -> tuple[str, str]:
        """The model whose samples are to be taken, and why in a sentence.

        It is the one whose samples are told from held-out rows least. Of those within the interval
        of its area under the curve, which the test does not tell apart, the likeliest is taken.
        """
        told = {one.name: found for one in self.entries if (found := one.measure(C2ST))}
        if not told:
            why = "; ".join(f"{one.name}: {one.why}" for one in self.entries if one.why)
            raise ValueError(f"models: samples of none could be judged ({why})")
        far = {name: abs(found.value - 0.5) for name, found in told.items()}
        least = min(far, key=lambda name: far[name])
        reach = far[least] + (told[least].high or 1.0) - told[least].value
        near = [name for name in told if far[name] <= reach]
        scored = [one for one in _alike(self.entries) if one.name in near]
        areas = ", ".join(f"{name} {told[name].value:.3f}" for name in near)
        what = f"told from held-out rows least (area under the curve {areas}; .5 is chance)"
        if not scored or len(near) == 1:
            return least, f"{least} is taken: its samples are {what}."
        best = max(scored, key=lambda one: float(_own(one).mean()))
        tied = "which are not told apart, and of these held-out rows are likeliest under it"
        nats = f"{float(_own(best).mean()):.3f} nats a row"
        said = f"samples of {len(near)} are {what}, {tied} ({nats})"
        return best.name, f"{best.name} is taken: {said}."

    @property
    def table(self) -> list[list[str]]:
        """A header and a line for each model."""
        return [list(HEADER), *(one.row() for one in self.entries)]

    @property
    def sentences(self) -> list[str]:
        """What can be concluded, and what cannot."""
        return [*_ranked(self.entries), *_told(self.entries), *_unknown(self)]

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.table, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in self.table
        ]
        return "\n".join([*lines, "", *self.sentences])

    def to_json(self) -> dict[str, Any]:
        entries = []
        for one in self.entries:
            entry: dict[str, Any] = {"name": one.name, "why": one.why, "health": list(one.health)}
            entry["verdict"] = None if one.verdict is None else one.verdict.to_json()
            entry["measures"] = [measure.to_json() for measure in one.measures]
            entries.append(entry)
        return {"table": self.table, "sentences": self.sentences, "entries": entries}


def compare(
    X: Any,
    models: Sequence[Any] | Mapping[str, Any],
    y: Any = None,
    *,
    held_out: float = 0.2,
    test: Any = None,
    minutes: float | None = None,
    steps: int | None = None,
    out: str | Path | None = None,
    random_state: int = 0,
) -> Comparison:
    """Train models on the same rows and judge them on the same held-out ones.

    Parameters
    ----------
    X : array-like, frame or Data
        The rows.
    models : sequence of str or estimator, or mapping of str to estimator
        Names as on the command line, or estimators with parameters of their own.
    y : array-like, optional
        Labels, which every model that can learns too.
    held_out : float
        Share of the rows that is kept for judging, unless ``test`` is given.
    test : Data, optional
        The rows to judge by, where ``X`` is a ``Data`` too.
    minutes, steps : float, int, optional
        What each model is trained for, one of the two; models that are fitted in seconds are left
        as they are.
    out : str or Path, optional
        Folder of a run for each model; a model whose run has ended is loaded, and one whose run was
        stopped goes on.
    random_state : int
        Seed of the models that have none of their own, and of the division.

    Returns
    -------
    Comparison

    Examples
    --------
    >>> rows = np.random.RandomState(0).randint(0, 2, (400, 1)).repeat(4, axis=1)
    >>> found = compare(rows, ["independent", "tree"])
    >>> found["tree"].verdict["density"].short, found["independent"].verdict["density"].short
    ('unknown', 'no')
    """
    minutes = check.optional(check.number(0, above=True))("minutes", minutes)
    parts = _parts(X, y, held_out, test, random_state)
    if len(parts.test) < FEWEST:
        few = f"{len(parts.test)} rows are held out, and {FEWEST} are needed"
        raise ValueError(f"held_out={held_out!r}: {few}; bring more rows, or hold more out")
    named = _estimators(models, parts, minutes, steps, random_state)
    folder = None if out is None else Path(out)
    if folder is not None:
        _refuse_other(folder, named, parts)
    entries = []
    for name, estimator in named.items():
        entries.append(_entry(name, estimator, parts, None if folder is None else folder / name))
    found = Comparison(tuple(entries), len(parts.test))
    if folder is not None:
        _write(folder / FILE, found.to_json())
    return found


# ------------------------------------------------------------------ before


def _refuse_other(folder: Path, named: Mapping[str, Any], parts: Parts) -> None:
    """Refuse a folder whose runs are of other rows, or of models with other parameters, and note
    there what is asked for now."""
    file, known = folder / ASKED, dict[str, Any]()
    asked: dict[str, Any] = {
        "train": parts.train.digest(),
        "test": parts.test.digest(),
        "models": {name: repr(one.get_params()) for name, one in named.items()},
    }
    try:
        known |= durable.read_sealed(file) if os.path.lexists(file) else {}
        if os.path.lexists(folder / FILE):  # which will be replaced
            durable.read_sealed(folder / FILE)
    except RunError as error:
        what = f"{error}, or is not of a comparison"
        raise RunError(f"out={str(folder)!r}: {what}; name another folder") from error
    if known:
        other = [part for part in ("train", "test") if known[part] != asked[part]]
        other += [n for n, how in asked["models"].items() if known["models"].get(n, how) != how]
        if other:
            what = f"its runs have other {', '.join(other)}"
            raise RunError(f"out={str(folder)!r}: {what}; name another folder")
        asked["models"] = {**known["models"], **asked["models"]}
    folder.mkdir(parents=True, exist_ok=True)
    _write(file, asked)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    with writing(file):
        durable.replace(file, durable.seal(content))


def _parts(X: Any, y: Any, held_out: float, test: Any, seed: Any) -> Parts:
    """Rows to train on and rows to judge by."""
    if hasattr(X, "digest"):
        if y is not None:
            X = dataclasses.replace(X, labels=np.asarray(y))
        return Parts(X, test, None) if test is not None else Parts(*divide(X, held_out, seed), X)
    if test is not None:
        raise ValueError("test: it goes with a Data as X; give held_out, or make X a Data")
    labels, X = (None if y is None else np.asarray(y)), as_frame(X)
    columns = tuple(X.columns) if hasattr(X, "columns") else None
    whole = Data(X if columns else np.asarray(X), labels, columns)
    return Parts(*divide(whole, held_out, seed), whole)


def _estimators(
    models: Any, parts: Parts, minutes: float | None, steps: int | None, seed: Any
) -> dict[str, Any]:
    """An estimator by each name, with the budget and a seed."""
    if minutes is not None and steps is not None:
        raise ValueError(f"minutes={minutes!r}, steps={steps!r}: give one of the two")
    known, found = all_estimators(), dict[str, Any]()
    models = [models] if isinstance(models, str) else models
    entries = models.items() if isinstance(models, Mapping) else [(None, one) for one in models]
    for given, model in entries:
        if not isinstance(model, str | Trained):
            what = "expected names or estimators of this library"
            raise ValueError(f"models: {model!r:.60}: {what}")
        if isinstance(model, str) and model not in known:
            raise ValueError(f"models: {model!r} is unknown; expected some of {', '.join(known)}")
        estimator = known[model]() if isinstance(model, str) else model
        name = given or estimator.name
        if name in found:
            raise ValueError(f"models: two are called {name!r}; name them by a mapping")
        found[name] = _budgeted(estimator, parts, minutes, steps, seed)
    if not found:
        raise ValueError("models: there are none; name two or more")
    ways = {one.binarise for one in found.values() if one.binarise is not None}
    if len(ways) > 1:
        what = "figures of different binarisations are of different data"
        raise ValueError(f"binarise: models have {sorted(map(repr, ways))}; {what}, so use one")
    return found


def _budgeted(
    estimator: Any, parts: Parts, minutes: float | None, steps: int | None, seed: Any
) -> Any:
    """A copy with the length asked for, labels where they can be learnt, and a seed."""
    names, changes = {field.name for field in parameters(estimator)}, dict[str, Any]()
    for name, advice in RESERVED.items():
        if getattr(estimator, name, None) is not None:
            raise ValueError(f"{name}={getattr(estimator, name)!r} of a model: {advice}")
    if estimator.random_state is None:
        changes["random_state"] = seed
    if parts.train.labels is not None and estimator.labelled and "labels" in names:
        changes["labels"] = True
    if not estimator.quick and minutes is not None and "minutes" in names:
        changes["minutes"] = minutes
    if not estimator.quick and steps is not None and estimator.lengths[0] in names:
        length = check.whole(1)("steps", steps)
        if estimator.lengths[0] == "n_iter":  # passes over the rows
            count = len(parts.train)
            length = max(1, round(length * min(estimator.batch_size, count) / count))
        changes[estimator.lengths[0]] = length
    given = {field.name: getattr(estimator, field.name) for field in parameters(estimator)}
    return type(estimator)(**{**given, **changes})


# ------------------------------------------------------------------ one model


def _entry(name: str, estimator: Any, parts: Parts, out: Path | None) -> Entry:
    """A model, trained or loaded, and what is said of it; or why it cannot be."""
    try:
        model = _trained(estimator, parts, out)
        rows, train = rows_for(model, parts.test), rows_for(model, parts.train)
        found = verdict(model, rows, parts.test.labels, train)
        scores = model.score_samples(rows) if "score" in model.capabilities_ else None
        measures = [*_seconds(model), *_useful(model, parts)]
    except RunError:
        raise
    except (ValueError, ArithmeticError, ImportError) as error:
        return Entry(name, why=" ".join(str(error).split()))
    if out is not None:
        Run.open(out).write_result(VERDICT, found.to_json())
    table, how = model.table_, model.settings_.binarise
    columns = sorted((c, layer.kind) for layer in table.layers for c in layer.source)
    density = repr((columns, how if table.grey else None))
    return Entry(name, found, tuple(measures), scores, density, tuple(model.health_))


def _trained(estimator: Any, parts: Parts, out: Path | None) -> Any:
    """The fitted model: loaded where its run has ended, gone on with where it was stopped."""
    if out is not None and (out / "config.json").exists():
        run = Run.open(out)
        return load(run) if run.ended() else resume(run, parts.train)
    how = {} if out is None else {"out": str(out)}
    return estimator.set_params(**how).fit(parts.train)


def _seconds(model: Any) -> list[Measure]:
    """How long it took to train it, and takes to draw a thousand rows."""
    found = []
    if model.history_ and "seconds" in model.history_[-1]:
        found.append(Measure("seconds to train", float(model.history_[-1]["seconds"])))
    if "sample" in model.capabilities_:
        began = time.monotonic()
        model.sample(SAMPLES, random_state=0)
        found.append(Measure(f"seconds to sample {SAMPLES} rows", time.monotonic() - began))
    return found


def _useful(model: Any, parts: Parts) -> list[Measure]:
    """Train on synthetic rows, test on real ones: the share of held-out labels that boosted trees
    name, trained on as many samples as there are training rows; beside the real rows' own."""
    coding = model.table_.labels if "sample" in model.capabilities_ else None
    train, test = parts.train.labels, parts.test.labels
    if coding is None or train is None or test is None:
        return []
    known = coding.encode(train)
    if not (coding.encode(test) >= 0).any():
        return []
    picked = Stream(0).child("classes").integers((len(known),), int((known >= 0).sum())).numpy()
    wanted = known[known >= 0][picked]
    drawn = model.sample(len(wanted), y=coding.classes[wanted], random_state=0)
    told, truth = (rows_for(model, part) for part in (parts.train, parts.test))
    kept, judged = np.flatnonzero(known >= 0), coding.encode(test)
    rows = {"samples": (drawn, wanted), "training rows": (take(told, kept), known[kept])}
    found = []
    for what, (X, codes) in rows.items():
        found.append(_accuracy(model, X, codes, truth, judged, what))
    return [found[0].replace(ideal=found[1].value)]


def _accuracy(model: Any, X: Any, codes: Any, truth: Any, judged: Any, what: str) -> Measure:
    """Of boosted trees on held-out rows."""
    encoded = [model.table_.encode(rows).numpy() for rows in (X, truth)]
    trees = HistGradientBoostingClassifier(random_state=0).fit(encoded[0], codes)
    right = (trees.predict(encoded[1]) == judged)[judged >= 0]
    ends = wilson(int(right.sum()), len(right))
    name = f"accuracy of trees trained on {what}"
    return Measure(name, float(right.mean()), *ends, n=len(right))


# ------------------------------------------------------------------ sentences


def _spread(one: Measure) -> str:
    half = max((one.high or one.value) - one.value, one.value - (one.low or one.value))
    return f"{one.value:.3f} ± {half:.3f}"


def _kind(one: Measure) -> str:
    if "bound" in one.name:
        return "bound"
    return "exact" if "log Z" not in one.method or "enumeration" in one.method else "both sides"


def _ranked(entries: Sequence[Entry]) -> list[str]:
    """The order by likelihood, as far as paired differences tell it."""
    scored = _alike(entries)
    others = [one.name for one in entries if one.scores is not None and one not in scored]
    apart = f"Likelihoods of {', '.join(others)} are of other columns, and not ranked with these."
    if len(scored) < 2:
        return ["Fewer than two models have a likelihood of the same columns: nothing ranks them."]
    best = max(scored, key=lambda one: float(_own(one).mean()))
    said = []
    for other in scored:
        if other is not best:
            gain = difference(_own(best), _own(other), best.name)
            tied = gain.low is not None and gain.low <= 0
            bound = (likelihood := other.measure("log-likelihood")) and _kind(likelihood) == "bound"
            what = f"{other.name} by {gain.value:.3f} ± {gain.chance:.3f} nats a row"
            what += " (not told apart)" if tied else ""
            said.append(what + (", which has a bound alone and may be better" if bound else ""))
    ranked = f"By likelihood {best.name} is before {'; '.join(said)}."
    return [ranked, apart] if others else [ranked]


def _alike(entries: Sequence[Entry]) -> list[Entry]:
    """The most models whose likelihoods are of the same columns."""
    groups: dict[str, list[Entry]] = {}
    for one in entries:
        if one.scores is not None:
            groups.setdefault(one.density, []).append(one)
    return max(groups.values(), key=len, default=[])


def _own(one: Entry) -> np.ndarray:
    assert one.scores is not None
    return one.scores


def _told(entries: Sequence[Entry]) -> list[str]:
    """Whose samples are told from rows least."""
    known = [(abs(m.value - 0.5), one.name, m) for one in entries if (m := one.measure(C2ST))]
    if not known:
        return []
    _, name, least = min(known, key=lambda part: part[0])
    said = f"Samples of {name} are told from rows least (area under the curve {least.value:.3f}"
    said += ", which is not told from chance" if not least.warning else ""
    return [f"{said}; {least[SEEN].value:.3f} would have been seen)."]


def _unknown(found: Comparison) -> list[str]:
    """What no number here speaks of."""
    entries = found.entries
    none = [one.name for one in entries if one.verdict is not None and one.scores is None]
    said = [f"Of {', '.join(none)} no likelihood is known."] if none else []
    failed = [f"{one.name} could not be trained: {one.why}" for one in entries if one.why]
    what = "smaller differences than these show are open."
    said.append(f"All was judged by {found.rows:,} held-out rows: {what}")
    return [*said, *failed]
