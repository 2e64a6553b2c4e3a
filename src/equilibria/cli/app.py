"""The command ``equilibria``: what each sub-command does, and how errors end it.

What a model can do is asked of its capabilities.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import inspect
import io
import os
import re
import shlex
import shutil
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from equilibria import __version__
from equilibria.cli.options import (
    anything,
    choice,
    comma_list,
    keyword,
    known,
    options,
    real,
    refuse,
    trainable,
    whole,
)
from equilibria.errors import DivergedError, ExtraError, TrainingInterrupted, too_large

__all__ = ["main"]


def option(text: str, metavar: str, parser: Any = None, *names: str) -> Any:
    """An option of a command."""
    return typer.Option(*names, parser=parser, metavar=metavar, help=text)


RUN = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]
JUDGED = Annotated[str, typer.Argument(metavar="RUN", help="A run folder; or a table of rows.")]
SAMPLES = Annotated[str | None, option("Of a table: samples of it, as a table.", "FILE")]
TARGET = Annotated[str | None, option("Of a table: a column to predict.", "column")]
CONTROL = Annotated[str | None, option("Of a table: rows that samples were not made of.", "FILE")]
RUNS = Annotated[list[str], typer.Argument(metavar="RUN", help="One run folder or more.")]
SOURCE = Annotated[str, typer.Argument(metavar="DATA", help="A name (equilibria data), or a path.")]
EITHER = Annotated[str, typer.Argument(metavar="RUN|TABLE", help="A run folder, or a table.")]
OWN = "Rows; of a table by default its own."
ROWS = Annotated[str | None, typer.Argument(metavar="DATA", help=OWN)]
FILE = Annotated[str, typer.Argument(metavar="TABLE", help="A table: a path, or a name.")]
SIDES = comma_list(whole, (1, 2))
SIZE = Annotated[Any, option("For a folder: side, or height,width.", "int[,int]", SIDES)]
GREYS = choice("grey", "rgb")
COLOUR = Annotated[Any, option("For a folder of pictures.", "grey|rgb", GREYS)]
LABEL = Annotated[str | None, option("For a table: the labels, no part of the rows.", "column")]
KEPT_BACK = "For a path: share of the rows to keep back for evaluation; 0.1 by default."
HELD_OUT = Annotated[Any, option(KEPT_BACK, "number", real)]
OVERWRITE = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]
TABLE = Annotated[str, option("A table as .csv, .parquet or .npz.", "FILE")]
SCORES = Annotated[str | None, option("A table for the score of each row.", "FILE")]
DRAWN = Annotated[str, option("Pictures as .png, or a table.", "FILE")]
SEED = Annotated[Any, option("Of the draws; by default the model's own.", "int", whole)]
COUNT = Annotated[Any, option("How many.", "int", whole, "-n")]
COMPLETIONS = Annotated[Any, option("Completions of each row, in turn.", "int", whole, "-n")]
WHOSE = "Whose samples, if it has --labels."
CLASS = Annotated[str | None, option(WHOSE, "label", None, "--class")]
KEYED = "Columns in which no two rows are alike; may be repeated."
RULED = "What rows must meet, such as 'start <= end'; others are drawn anew; may be repeated."
RULES = Annotated[list[str] | None, option(RULED, "rule", None, "--rule")]
UNIQUE = Annotated[list[str] | None, option(KEYED, "column[,column…]", None, "--unique")]
DRAWS = Annotated[Any, option("Rows to draw; by default as many as there are.", "int", whole, "-n")]
ONE = Annotated[str | None, option("In place of one that is chosen.", "name")]
MODEL = Annotated[str | None, option("For a table: in place of one that is chosen.", "name")]
TOTAL = Annotated[Any, option("Of training, all models together.", "number", real)]
WHAT = "For a table: what columns are (age=real); by default by what they hold."
KINDS = Annotated[Any, option(WHAT, "value", anything)]
LEVEL = Annotated[Any, option("Up to which p a row is odd.", "number", real)]
KEPT = Annotated[str | None, option("For a table: where runs go; by default beside FILE.", "DIR")]
SEEDS = Annotated[Any, option("Of the models and the draws.", "int", whole)]
BETAS = Annotated[Any, option("Anneal log Z anew through so many temperatures.", "int", whole)]
FILLED = choice("draw", "mode", "mean", "best")
HOW = Annotated[Any, option(
    "Draws, the most probable values, means, or the best of each column: a number's mean, a "
    "whole number's median, the most probable value.", "draw|mode|mean|best", FILLED
)]  # fmt: skip
MODELS = Annotated[Any, option("Names (equilibria models).", "a,b,…", comma_list(str))]
MINUTES = Annotated[Any, option("Of training, for each model.", "number", real)]
STEPS = Annotated[Any, option("Of training, for each model.", "int", whole)]
PAGE = Annotated[str | None, option("By default report.html in the first run.", "FILE.html")]
FOLDER = Annotated[str, option("Where the runs and the report go.", "DIR")]
SAFE = "In a .csv: text such as =1+1 behind an apostrophe, that no spreadsheet works it out."
GUARD = Annotated[bool, typer.Option("--guard", help=SAFE)]
TABLES = (".csv", ".parquet", ".npz")
CSV_ROWS = 20_000  # that are made text at a time
ABOUT = {"size": (SIZE, None), "colour": (COLOUR, "grey")}
ABOUT |= {"label": (LABEL, None), "held_out": (HELD_OUT, None)}
DEMO: dict[str, dict[str, Any]] = {
    "dbm": {"ais_betas": 2000},
    "gan": {"steps": 3000, "batch_size": 256},
}
"""Settings of the models that the demonstration trains."""
DOES = {"sample": "sample", "score": "score", "complete": "fill", "classify": "predict"}
DOES["forecast"] = "forecast"
"""Capability → what the list of models calls it."""


def say(sentence: object = "") -> None:
    """Print a line, in the first process only; ``torchrun`` starts many."""
    if os.environ.get("RANK", "0") == "0":
        print(sentence, flush=True)


# ---------------------------------------------------------------------- train and resume


def register(group: typer.Typer) -> None:
    """Give ``equilibria train`` a command for each model."""
    for name, about in () if group.registered_commands else known()["models"].items():
        made = group.command(name, help=about["help"], context_settings=WIDE)
        made(_training_command(name, about))


def _training_command(model: str, described: dict[str, Any]) -> Any:
    """The command that trains one kind of model: a function whose signature typer reads."""
    found = sorted(options(described), key=lambda option: option.name != "out")

    def command(source: str, **given: Any) -> None:
        settings = {option.name: given.pop(option.name) for option in found}
        refuse(described, settings)
        _refuse_unknown(source=source)
        from equilibria.estimators import all_estimators

        estimator = all_estimators()[model](**settings)
        _train(estimator, source, given)
        _advise(estimator, estimator.out)

    about = [keyword(name, *hint) for name, hint in ABOUT.items()]
    signature = inspect.Signature([keyword("source", SOURCE), *found, *about])
    command.__signature__ = signature  # type: ignore[attr-defined]
    return command


def _refuse_unknown(**sources: str | None) -> None:
    """Refuse what is neither a data set nor a path, before anything heavy is imported."""
    from equilibria import check

    for name, source in sources.items():
        if source is not None:
            check.source(source, known()["data"], name)


def _refuse_few(**numbers: Any) -> None:
    """Refuse whole numbers below 1, before anything heavy is imported."""
    from equilibria import check

    for name, number in numbers.items():
        if number is not None:
            check.whole(1)(name, number)


def _train(estimator: Any, source: str, about: dict[str, Any]) -> None:
    from equilibria.training.origin import collect
    from equilibria.training.run import Run

    twin = estimator.checked()
    if os.environ.get("RANK", "0") == "0":
        Run.refuse_taken(estimator.out, estimator.overwrite)
    parts = collect(source, **{**about, "size": _side(about["size"])})
    train, test = parts.train, parts.test
    if estimator.labels and train.labels is None:
        advice = "name their column with --label, or leave --labels out"
        raise ValueError(f"labels=True: {source} has no labels; {advice}")
    if len(train) < 2:
        raise ValueError(f"source={source!r} has 1 row to train on; expected two or more")
    try:
        prepared = twin.prepared(train)
        table = prepared[0]
        if parts.unseen:
            with _about(source, "held-out rows must be like those to train on (see --held-out)"):
                unknown = estimator.unknown
                table.check(test.frame(), allow_missing=estimator.missing, unknown=unknown)
                estimator.refuse_untold(table, test.frame())
    except ValueError:
        if parts.whole is not None:  # an error then names the row of the file, not of a part of it
            estimator.preview(parts.whole)
        raise
    parts = dataclasses.replace(parts, whole=None)
    held = f", {len(test):,} held out." if parts.unseen else "; none held out."
    say(f"{train.name}: {len(train):,} rows to train on{held}")
    say(table.describe())
    with _processes():
        estimator.adopt(twin.train(*prepared))
    _conclude(estimator, parts)


def resume(run: RUN) -> None:
    """Go on with a training that was stopped, bit for bit as if it had not been."""
    from equilibria.training.run import Run

    folder = Run.open(run)
    from equilibria import estimators
    from equilibria.training.origin import run_data

    if folder.ended():
        say(f"The training of {run} has ended; there is nothing left to resume.")
        return
    parts = run_data(folder)
    with _processes():
        estimator = estimators.resume(folder, parts.train)
    _conclude(estimator, parts)
    _advise(estimator, run)


def _conclude(estimator: Any, parts: Any) -> None:
    """What came of a training."""
    from equilibria.report.view import rows_for

    if os.environ.get("RANK", "0") != "0":
        return
    used = estimator.settings_
    for name, asked in estimator.asked_.items() if used.minutes is None else ():
        if asked is None:
            say(f"Chosen by the rows: {name} = {getattr(used, name)}.")
    for sentence in estimator.health_:
        say(sentence)
    if "normaliser" in estimator.capabilities_:
        say(estimator.log_partition_)
    if "score" in estimator.capabilities_:
        rows = "held-out" if parts.unseen else "the training"
        say(f"On {rows} rows: {estimator.log_likelihood(rows_for(estimator, parts.test))}")
    else:
        say(f"A {type(estimator).__name__} {estimator.cannot('score')}.")


def _advise(estimator: Any, run: str) -> None:
    """What to do next."""
    folder = shlex.quote(str(run))
    say(f"The run is in {run}. What to do next:")
    kind = "png" if estimator.table_.shape is not None else "csv"
    if "sample" in estimator.capabilities_:
        say(f"  equilibria sample {folder} -n 64 --out samples.{kind}")
    say(f"  equilibria evaluate {folder}\n  equilibria report {folder}")


@contextlib.contextmanager
def _processes() -> Iterator[None]:
    """Leave the other processes when training is over."""
    import torch
    from torch import distributed

    def joined() -> bool:
        return distributed.is_available() and distributed.is_initialized()

    try:
        yield
        if joined():  # one that leaves while another's last message is under way may abort
            distributed.barrier()
    except TrainingInterrupted:
        with contextlib.suppress(Exception):  # where all were; else the others are not waited for
            if joined():
                distributed.monitored_barrier(timeout=datetime.timedelta(seconds=5))
        raise
    finally:
        if joined():
            distributed.destroy_process_group()
            # what follows (log Z, scores) is the first one's alone, with the threads of all here
            here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
            torch.set_num_threads(here * torch.get_num_threads())


# ---------------------------------------------------------------------- what a run is used for


def sample(
    run: RUN,
    out: DRAWN,
    n: COUNT = "64",
    seed: SEED = None,
    of: CLASS = None,
    rules: RULES = None,
    unique: UNIQUE = None,
    overwrite: OVERWRITE = False,
    guard: GUARD = False,
) -> None:
    """Draw samples from a trained model into a file."""
    _refuse_few(n=n)
    path = _target(out, (".png", *TABLES), overwrite)
    estimator, _ = _model(run, "sample")
    table, pictured = estimator.table_, path.suffix.lower() == ".png"
    if pictured and table.shape is None:
        advice = "write a table (.csv), or train with --picture-shape"
        raise ValueError(f"out={out!r}: the rows of {run} are no pictures; {advice}")
    _refuse_full(path, n, table.width)
    wanted = {} if of is None else {"y": _class_called(of, estimator, run)}
    ruled = _must(rules, unique, table)
    if pictured or ruled:
        rows = _ruled(estimator, n, seed, {**wanted, **ruled})
    else:  # a .csv is written a block at a time
        draw = estimator.sampled if path.suffix.lower() == ".csv" else estimator.sample
        rows = draw(n, random_state=seed, **wanted)
    if pictured:
        from equilibria.data.pictures import save_grid
        from equilibria.report.charts import as_pictures

        path.parent.mkdir(parents=True, exist_ok=True)
        save_grid(path, as_pictures(table, rows), zoom=max(1, 56 // max(table.shape[:2])))
    else:
        _write(path, rows, guard)
    whose = "" if of is None else f", all of the class {of},"
    say(f"{n} samples of {run}{whose} are in {path}.")


def score(
    run: RUN,
    source: SOURCE,
    out: SCORES = None,
    overwrite: OVERWRITE = False,
    betas: BETAS = None,
    size: SIZE = None,
    colour: COLOUR = "grey",
    label: LABEL = None,
) -> None:
    """Score rows by their log-likelihood in nats; a name stands for its test split.

    log Z is what the run has, worked out where it has none, or annealed anew with --betas; the run
    keeps it.
    """
    _refuse_few(betas=betas)
    _refuse_unknown(source=source)
    path = None if out is None else _target(out, TABLES, overwrite)
    estimator, rows, data = _model_and_rows(run, source, "score", size, colour, label)
    if betas is not None:
        if "normaliser" not in estimator.capabilities_:
            raise ValueError(f"betas={betas}: the model {estimator.cannot('normaliser')}")
        known = estimator.log_partition_
        say(f"log Z in the run: {known}")
        exact = "It is exact, and needs no annealing."
        say(exact if known.is_exact else estimator.anneal(betas=betas))
    found, scores = estimator.scored(rows)
    bound = "bound" in found.name
    lower = "a lower bound: the log-likelihood itself is at least as high, given log Z"
    say(f"{found}\nIt is {lower if bound else 'no bound but the log-likelihood itself'}.")
    if path is not None:
        name = "bound on log-likelihood" if bound else "log-likelihood"
        _write(path, {name: scores})
        say(f"Scores: {_counted(len(data))} in {path}.")


def fill(
    run: EITHER,
    out: TABLE,
    source: ROWS = None,
    n: COMPLETIONS = "1",
    how: HOW = "draw",
    seed: SEED = None,
    overwrite: OVERWRITE = False,
    guard: GUARD = False,
    label: LABEL = None,
    model: MODEL = None,
    kinds: KINDS = None,
    runs: KEPT = None,
) -> None:
    """Fill in the empty cells of a table, given the others; a name stands for its test split.

    With a RUN its model does; with a TABLE a model that takes gaps is fitted to all its rows first,
    by default the one of a tree, a mixture and a latent tree under which held-out rows are
    likeliest. Columns keep their names and types. Labels take no part, and come back as the last
    column.
    """
    _refuse_few(n=n)
    _refuse_unknown(run=run, source=source)
    import pandas as pd

    from equilibria.data.columns import missing_cells

    path = _target(out, TABLES, overwrite)
    if _is_run(run, source, model=model, kinds=kinds, runs=runs):
        estimator, rows, data = _model_and_rows(run, source, "complete", label=label)
    else:
        if label is not None:
            what = "goes with a RUN that learnt labels; in a table it is a column like others"
            raise ValueError(f"label={label!r} {what}; leave it out")
        with _spelled("source", "run"):
            data = _table(run, kinds=kinds)
        _refuse_unlike(data, source, kinds)
        folder = _beside(path, runs)
        estimator = _fitted(data, "complete", folder, model, kinds, overwrite)
        rows = data.frame()
        if source is not None:
            rows, data = _rows(estimator, source, "complete")
    gaps = int(missing_cells(rows).sum())
    filled = estimator.impute(rows, n=n, how=how, random_state=seed)
    names = data.columns or [f"x{i}" for i in range(estimator.table_.width)]
    frames = [
        part if isinstance(part, pd.DataFrame) else pd.DataFrame(part, columns=names)
        for part in ([filled] if n == 1 else filled)
    ]
    label = (data.source or {}).get("label")
    if data.labels is not None and label is not None:
        labels = pd.Series(data.labels).convert_dtypes()  # whole numbers, where some are missing
        for frame in frames:
            frame[label] = labels.set_axis(frame.index)
    _write(path, pd.concat(frames) if n > 1 else frames[0], guard)
    gaps -= int(missing_cells(frames[0][list(names)]).sum())  # names and the like stay empty
    say(f"{_counted(len(data), n)} in {path}. Empty cells that were filled: {gaps:,}.")


def predict(
    run: EITHER,
    out: TABLE,
    source: ROWS = None,
    overwrite: OVERWRITE = False,
    guard: GUARD = False,
    size: SIZE = None,
    colour: COLOUR = "grey",
    label: LABEL = None,
    model: MODEL = None,
    kinds: KINDS = None,
    runs: KEPT = None,
) -> None:
    """Predict the class of rows; a name stands for its test split.

    With a RUN its model does; with a TABLE and --label a model is fitted to it first, and the rows
    whose label is missing are predicted, or those of DATA. Each row's class and the classes'
    probabilities are written.
    """
    _refuse_unknown(run=run, source=source)
    path, places = _target(out, TABLES, overwrite), None
    if _is_run(run, source, model=model, kinds=kinds, runs=runs):
        estimator, rows, data = _model_and_rows(run, source, "classify", size, colour, label)
    else:
        if label is None:
            raise ValueError("label=None: name the column of TABLE that is to be predicted")
        with _spelled("source", "run"):
            data = _table(run, label, kinds)
        places = _unlabelled(data, label) if source is None else None
        _refuse_unlike(data, source, kinds, label)
        folder = _beside(path, runs)
        estimator = _fitted(data, "classify", folder, model, kinds, overwrite)
        if places is None:
            rows, data = _rows(estimator, source, "classify", label=label)
        else:
            data = data.rows(places)
            rows = data.frame()
    chances = estimator.predict_proba(rows)
    names = [f"p({_called(label)})" for label in estimator.classes_.tolist()]
    found = estimator.classes_[chances.argmax(1)]
    which = {} if places is None else {"row": places + 1}
    _write(path, {**which, "class": found, **dict(zip(names, chances.T, strict=True))}, guard)
    say(f"Classes: {_counted(len(data))} in {path}.")
    codes = None if data.labels is None else estimator.table_.labels.encode(data.labels)
    if codes is not None and (codes >= 0).any():
        right = 100 * float((chances.argmax(1) == codes)[codes >= 0].mean())
        say(f"{right:.2f} % of the {(codes >= 0).sum()} whose class the data know are right.")


def evaluate(
    run: JUDGED, samples: SAMPLES = None, target: TARGET = None, control: CONTROL = None
) -> None:
    """Judge a trained model by the rows that were held out, and measure it; or judge samples.

    equilibria evaluate REAL.csv --samples SYNTHETIC.csv sets two tables of the same columns beside
    each other: columns, pairs of columns, whether trees tell them apart, what samples are good for
    (--target) and whether they leak rows (--control).
    """
    if samples is not None:
        return say(_of_tables(run, samples, target, control))
    for name, value in (("target", target), ("control", control)):
        if value is not None:
            raise ValueError(f"{name}={value!r}: it goes with --samples; leave it out")
    if Path(run).is_file():
        what = "is a file; name a run folder, or samples of these rows with --samples"
        raise ValueError(f"run={run!r} {what}")
    from equilibria.training.run import Run

    Run.open(run)
    from equilibria.report.assessment import assess
    from equilibria.report.view import CLASS_SHARE, read_verdict

    numbers = assess(run)
    verdict = read_verdict(Run.open(run))
    if verdict is not None:
        say(f"{verdict}\n")
    for number in numbers:
        if not number.name.startswith(CLASS_SHARE):  # the report draws them
            say(number)


def _of_tables(real: str, samples: str, target: str | None, control: str | None) -> Any:
    """What is said of samples beside rows, both in files."""
    _refuse_unknown(run=real, samples=samples, control=control)
    from equilibria.data.load import load
    from equilibria.evaluation.tables import evaluate

    files = [real, samples, *([] if control is None else [control])]
    found = [load(one, text=Path(one).suffix.lower() == ".csv").frame() for one in files]
    held = found[2] if control is not None else None
    return evaluate(*found[:2], target=target, control=held)


def compare(
    source: SOURCE,
    models: MODELS,
    out: FOLDER,
    minutes: MINUTES = None,
    steps: STEPS = None,
    size: SIZE = None,
    colour: COLOUR = "grey",
    label: LABEL = None,
    held_out: HELD_OUT = None,
    seed: SEED = "0",
) -> None:
    """Train several models on the same rows and judge them by the same held-out ones.

    Each has a run folder in DIR; a model whose run has ended is not trained again, and one that was
    stopped goes on. The table, what can be concluded from it, and a page on all of them.
    """
    _refuse_few(steps=steps)
    _refuse_unknown(source=source)
    from equilibria.report import compare as comparison
    from equilibria.report import page
    from equilibria.training.origin import collect

    path = Path(out) / "report.html"
    page.refuse_foreign(path)
    parts = collect(source, size=_side(size), colour=colour, label=label, held_out=held_out)
    if not parts.unseen:
        raise ValueError(f"held_out={held_out!r}: rows held out judge the models; hold some out")
    how: dict[str, Any] = {"minutes": minutes, "steps": steps, "random_state": seed}
    found = comparison.compare(parts.train, models, test=parts.test, out=out, **how)
    say(found)
    trained = [Path(out) / one.name for one in found.entries if not one.why]
    if trained:
        say(page.write(trained, path, found))


def report(run: RUNS, out: PAGE = None, overwrite: OVERWRITE = False) -> None:
    """Write a page that shows what runs have learnt, and print its path."""
    from equilibria.training.run import Run

    for one in run:
        Run.open(one)
    from equilibria.report import page

    path = None if out is None else _target(out, (".html", ".htm"), overwrite=True)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    say(page.write([Path(one) for one in run], path, overwrite=overwrite))


# ---------------------------------------------------------------------- what a table is used for


def synthesise(
    source: FILE,
    out: TABLE,
    n: DRAWS = None,
    model: ONE = None,
    minutes: TOTAL = "2",
    label: LABEL = None,
    kinds: KINDS = None,
    rules: RULES = None,
    unique: UNIQUE = None,
    runs: KEPT = None,
    seed: SEEDS = "0",
    overwrite: OVERWRITE = False,
    guard: GUARD = False,
) -> None:
    """Write a synthetic table: rows as those of TABLE are, with its columns and types.

    Several models are trained on four fifths of the rows, unless --model names one. Rows are drawn
    from the one whose samples are told least from the other rows. With --label its class is learnt
    as a class, and classes have the shares that they have; rules are then over the other columns.
    The same command goes on where it was stopped. At the end: whether the samples can be trusted.
    """
    from equilibria.check import number

    _refuse_few(n=n)
    minutes = number(0, above=True)("minutes", minutes)
    _refuse_unknown(source=source)
    from equilibria.estimators import load
    from equilibria.report.compare import compare as compared

    path = _target(out, TABLES, overwrite)
    folder, data = _beside(path, runs), _table(source, label, kinds)
    n = len(data) if n is None else n
    must = _must_of(source, data.frame(), kinds, rules, unique)
    parts = _parts(source, data)
    models = _suited(data, model, kinds, seed)
    slow = [name for name, one in models.items() if not one.quick]
    each = minutes / len(slow) if slow else None
    what = f", {', '.join(slow)} for {each:.2g} minutes each" if slow else ""
    say(f"Training {', '.join(models)} on {len(parts.train):,} rows{what} …")
    how: dict[str, Any] = {"minutes": each, "random_state": seed}
    with _spelled("out", "runs"):
        found = compared(parts.train, models, test=parts.test, out=folder, **how)
    name, why = found.choice()
    if model is None:
        say(f"{found}\n{why}")
    estimator = load(folder / name)
    _write(path, _drawn(estimator, n, seed, data, source, label, must), guard)
    say(f"{n:,} rows drawn from {name} are in {path}. Can they be trusted?")
    verdict = found[name].verdict
    for sentence in () if verdict is None else verdict.answers:
        say(f"  {sentence}")
    _advise(estimator, str(folder / name))


def odd(
    table: FILE,
    source: ROWS = None,
    out: SCORES = None,
    level: LEVEL = "0.05",
    model: ONE = None,
    kinds: KINDS = None,
    seed: SEEDS = "0",
    overwrite: OVERWRITE = False,
    guard: GUARD = False,
) -> None:
    """Find the rows of a table that are unlike the others, and which cells make them so.

    Each row is judged by a model that has not seen it: p is the share of rows that are as unlikely.
    Of the table's own rows about 5 % have p ≤ .05, whatever they hold: look at the first ones. Rows
    of DATA are judged by the table; of usual ones about 5 % have p ≤ .05. By default the one of a
    tree, a mixture and a latent tree judges under which held-out rows are likeliest.
    """
    _refuse_unknown(table=table, source=source)
    from equilibria.report.folds import model_of
    from equilibria.report.odd import odd as found_odd

    path = None if out is None else _target(out, TABLES, overwrite)
    with _spelled("source", "table"):
        data = _table(table, kinds=kinds)
    X = data.frame()
    judge = None if model is None else model_of(model, X, kinds, random_state=seed)
    rows = None if source is None else _table(source, told=False).frame()
    found = found_odd(X, judge, rows, level=level, random_state=seed, kinds=kinds)
    say(f"{found.why}\n{found}")
    if source is None:
        say(f"Of a table's own rows at most {100 * found.level:g} % ever have: p ranks them.")
    else:
        say(f"Of rows like the table's about {100 * found.level:g} % would be flagged.")
    if path is not None:
        _write(path, found.to_frame(), guard)
        say(f"p of each row and cell: {_counted(len(found.pvalues))} in {path}.")


# ---------------------------------------------------------------------- lists, demonstration


def models() -> None:
    """List the models with their place in the tree of generative models and what each can do."""
    from equilibria.estimators import all_estimators
    from equilibria.models.model import capabilities, taxonomy

    rows = []
    for name, cls in all_estimators().items():
        own = trainable(cls)
        can = capabilities(cls.model) if own else cls().capabilities_
        does = ", ".join(verb for key, verb in DOES.items() if key in can)
        rows.append((not own, taxonomy(cls.model) if own else "built on a machine", name, does))
    say(f"{'estimator':12}{'place in the taxonomy':47}what it can do")
    for _, place, name, does in sorted(rows):
        say(f"{name:12}{place:47}{does}")
    say("Classes are predicted by a model that was trained with --labels (a GAN with")
    say("--semi-supervised too); a GAN fills in columns where --condition names the others.")


def data() -> None:
    """List the data sets that have a name."""
    from equilibria.data.files import MIRRORS, find, folder_of
    from equilibria.data.load import names

    for name, line in names().items():
        folder, where = folder_of(name), "built in"
        if folder is not None:
            absent = (
                "not here: see EQUILIBRIA_DATA"
                if folder not in MIRRORS
                else "downloaded when first asked for"
            )
            found = find(folder)
            where = absent if found is None else f"found in {found}"
        say(f"{name:14} {line}: {where}")
    say("Anything else is a path: a folder of pictures, a .csv, .parquet, .npz, .npy or idx file.")


def demo(out: FOLDER, overwrite: OVERWRITE = False) -> None:
    """Train two kinds of model on small digits, and write a report on both; a minute or two."""
    from equilibria.estimators import all_estimators
    from equilibria.report import page

    folders, path = [Path(out) / name for name in DEMO], Path(out) / "report.html"
    if not overwrite:
        page.refuse_foreign(path)
    for (name, how), folder in zip(DEMO.items(), folders, strict=True):
        cls = all_estimators()[name]
        say(f"Training a {cls.__name__} into {folder} …")
        estimator = cls(**how, out=str(folder), overwrite=overwrite, random_state=0)
        _train(estimator, "digits", {key: default for key, (_, default) in ABOUT.items()})
        evaluate(str(folder))
    say(page.write(folders, path, overwrite=overwrite))


COMMANDS = (
    *(resume, sample, score, synthesise, fill, odd, predict, evaluate, compare, report),
    *(models, data, demo),
)


# ---------------------------------------------------------------------- details


def _target(out: str, suffixes: Sequence[str], overwrite: bool) -> Path:
    """A file that may be written, with the folder it is to be in."""
    path = Path(out)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"out={out!r}: expected a name that ends in {' or '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"out={out!r} is a folder: name a file")
    if os.path.lexists(path) and not overwrite:
        advice = "choose another name, or replace it with --overwrite"
        raise ValueError(f"out={out!r} is there already: {advice}")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        advice = "choose a folder that you may write to"
        raise ValueError(f"out={out!r} cannot be written (in {above}): {advice}")
    return path


def _refuse_full(path: Path, n: int, width: int) -> None:
    """Refuse rows that the disk cannot hold: a cell takes a digit and a comma at least."""
    where = next(folder for folder in path.absolute().parents if folder.exists())
    least, free = 2.0 * n * width, shutil.disk_usage(where).free
    if path.suffix.lower() == ".csv" and least > free:
        what = f"would take {least / 2**30:,.0f} GiB at least, and {where} has {free / 2**30:,.0f}"
        raise ValueError(f"n={n}: {what}; take fewer")


def _model(run: str, capability: str) -> tuple[Any, dict[str, Any]]:
    """A trained model that can do this, and what its run says of the data it was trained on."""
    from equilibria.estimators import load
    from equilibria.training.run import Run

    folder = Run.open(run)
    estimator = load(folder)
    if capability not in estimator.capabilities_:
        other = "draws no samples: see equilibria predict"
        cannot = other if capability == "sample" else estimator.cannot(capability)
        raise ValueError(f"run={run!r}: a {type(estimator).__name__} {cannot}")
    return estimator, folder.config.get("data") or {}


def _model_and_rows(
    run: str,
    source: Any,
    capability: str,
    size: Any = None,
    colour: str = "grey",
    label: str | None = None,
) -> tuple[Any, Any, Any]:
    """A trained model, rows that it can take, and the data that they are of."""
    estimator, origin = _model(run, capability)
    return estimator, *_rows(estimator, source, capability, size, colour, label, origin)


def _rows(
    estimator: Any,
    source: Any,
    capability: str,
    size: Any = None,
    colour: str = "grey",
    label: str | None = None,
    origin: Mapping[str, Any] = {},
) -> tuple[Any, Any]:
    """Rows that a model can take (of a set with a name those of its test split), and the data that
    they are of."""
    from equilibria.data.load import load, names
    from equilibria.report.view import rows_for

    how: dict[str, Any] = {"size": _side(size), "colour": colour, "label": label}
    if source in names():
        how["split"] = "test"
    elif Path(source).suffix.lower() == ".csv":
        how["text"] = True
    found = load(source, **how)
    column = origin.get("label")  # the labels of the training are labels here too
    if label is None and column is not None and column in (found.columns or ()):
        found = load(source, **{**how, "label": column})
    with _about(source, "give rows like those the model was trained on"):
        rows, gaps = rows_for(estimator, found), estimator.missing or capability == "complete"
        unknown = estimator.settings_.unknown
        estimator.table_.check(rows, allow_missing=gaps, unknown=unknown)
    return rows, found


def _is_run(run: str, source: str | None, **given: Any) -> bool:
    """Whether the first word is a run folder, with which nothing goes that is about a table."""
    if not Path(run).is_dir():
        return False
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"{name}={value!r} goes with a table, and {run} is a run; leave it out"
            )
    if source is None:
        raise ValueError(f"run={run!r} is a run folder: name the rows after it")
    return True


def _table(source: str, label: str | None = None, kinds: Any = None, told: bool = True) -> Any:
    """All rows of a table; and what its columns are taken for is said."""
    from equilibria.data.load import load
    from equilibria.report.folds import table_of

    if Path(source).is_dir():
        raise ValueError(f"source={source!r} is a folder: name a table, such as a .csv file")
    how: dict[str, Any] = {"text": True} if Path(source).suffix.lower() == ".csv" else {}
    data = load(source, label=label, **how)
    if told:
        say(f"{data.name}: {len(data):,} rows")
        say(table_of(data.frame(), kinds).describe())
    return data


def _refuse_unlike(data: Any, source: str | None, kinds: Any, label: str | None = None) -> None:
    """Refuse rows that are unlike a table's, before a model is fitted to it."""
    from equilibria.report.folds import table_of

    if source is None:
        return
    rows = _table(source, told=False).frame()
    if hasattr(rows, "iloc"):
        rows = rows.drop(columns=[label], errors="ignore")
    with _about(source, "give rows like those of the table"):
        table_of(data.frame(), kinds).encode(rows)


def _parts(source: str, data: Any) -> Any:
    """The rows of a table to train on, and a fifth, 40 at least, to judge by."""
    from equilibria.data.load import divide, names
    from equilibria.evaluation.verdict import FEWEST
    from equilibria.training.origin import Parts, collect

    if source in names():
        return collect(source)
    if len(data) < 2 * FEWEST:
        few = f"{len(data)} rows, and {2 * FEWEST} are needed to train models and to judge them"
        advice = "use equilibria train --held-out 0, and equilibria sample"
        raise ValueError(f"source={source!r} has {few}; {advice}")
    return Parts(*divide(data, max(0.2, FEWEST / len(data))), data)


def _suited(data: Any, model: str | None, kinds: Any, seed: int) -> dict[str, Any]:
    """Models that can take a table, or the one that is asked for; who cannot is said."""
    from equilibria.report.compare import SUITED
    from equilibria.report.folds import model_of

    found = dict[str, Any]()
    for name in SUITED if model is None else (model,):
        one = model_of(name, data.frame(), kinds, random_state=seed)
        try:
            one.set_params(labels=data.source["label"] is not None).preview(data)
        except ValueError as error:
            if model is not None:
                raise
            say(f"{name} is left out ({str(error).partition(';')[0]}).")
        else:
            found[name] = one
    return found


def _must(rules: Any, unique: Any, table: Any) -> dict[str, Any]:
    """What rows of a table must meet, as ``sample`` takes it."""
    if not rules and not unique:
        return {}
    keys = [
        key if key in (table.names or ()) else tuple(part.strip() for part in key.split(","))
        for key in unique or ()
    ]
    return {"rules": tuple(rules or ()), "unique": keys}


def _must_of(source: str, X: Any, kinds: Any, rules: Any, unique: Any) -> dict[str, Any]:
    """The same of a table that models are to be trained on; what its own rows break is said."""
    from equilibria.data.rules import Rules
    from equilibria.report.folds import table_of

    if not rules and not unique:
        return {}
    table = table_of(X, kinds)
    must = _must(rules, unique, table)
    for name, broken in Rules.of(must["rules"], must["unique"], table).broken(X).items():
        if broken.any():
            say(f"{100 * broken.mean():.3g} % of the rows of {source} break {name!r} themselves.")
    return must


def _ruled(estimator: Any, n: int, seed: Any, wanted: Mapping[str, Any]) -> Any:
    """Samples; how many broke a rule is said."""
    rows, share = estimator.sample(n, random_state=seed, return_share=True, **wanted)
    if wanted.get("rules") or wanted.get("unique"):
        share = 100 * (1 - share.value)
        say(f"{share:.3g} % of the rows drawn at first broke a rule, and were drawn anew.")
    return rows


def _drawn(
    estimator: Any,
    n: int,
    seed: Any,
    data: Any,
    source: str,
    label: str | None,
    must: Mapping[str, Any],
) -> Any:
    """Samples; with a label classes are drawn by their shares, and rows given them."""
    import numpy as np

    from equilibria.data.columns import missing_cells
    from equilibria.random import Stream

    if label is None:
        return _ruled(estimator, n, seed, must)
    whole = _table(source, told=False).frame()  # with the label's own type and place
    stream, known = Stream(seed).child("labels"), np.flatnonzero(~missing_cells(data.labels))
    picked = stream.child("rows").integers((n,), len(data)).numpy()
    instead = known[stream.child("known").integers((n,), len(known)).numpy()]
    told = np.where(np.isin(picked, known), picked, instead)
    rows = _ruled(estimator, n, seed, {**must, "y": data.labels[told]})
    column = whole[label].iloc[picked].set_axis(rows.index)
    rows.insert(list(whole.columns).index(label), label, column)
    return rows


def _unlabelled(data: Any, label: str) -> Any:
    """Places of the rows whose label is missing."""
    import numpy as np

    from equilibria.data.columns import missing_cells

    places = np.flatnonzero(missing_cells(data.labels))
    if not len(places):
        advice = "leave the cells to be predicted empty, or give rows as DATA"
        raise ValueError(f"label={label!r}: every row has one; {advice}")
    return places


def _fitted(
    data: Any, capability: str, folder: Path, model: str | None, kinds: Any, overwrite: bool
) -> Any:
    """A model fitted to all rows of a table, into a run folder of its name."""
    from equilibria.report.folds import likeliest, model_of

    X, how = data.frame(), {"kinds": kinds, "labels": capability == "classify"}
    if model is None:
        model, why, _ = likeliest(X, data.labels if how["labels"] else None, **how)
        say(why)
    run = folder / model
    estimator = model_of(model, X, out=str(run), overwrite=overwrite, **how)
    strange = how["labels"] and not estimator.labelled
    if strange or capability not in estimator.capabilities_:
        what = "learns no labels" if strange else estimator.cannot(capability)
        raise ValueError(f"model={model!r}: a {type(estimator).__name__} {what}")
    with _spelled("out", "runs"):
        estimator.fit(data)
    say(f"The run is in {run}.")
    return estimator


def _beside(path: Path, runs: str | None) -> Path:
    """Where the runs of a command go that writes a file."""
    return path.with_name(f"{path.stem}-runs") if runs is None else Path(runs)


@contextlib.contextmanager
def _spelled(name: str, here: str) -> Iterator[None]:
    """Errors that name an argument by what it is called here."""
    try:
        yield
    except ValueError as error:
        raise type(error)(re.sub(rf"\b{name}=", f"{here}=", str(error), count=1)) from error


@contextlib.contextmanager
def _about(source: str, advice: str) -> Iterator[None]:
    """Errors about rows of ``source``: what is advised on training is over."""
    try:
        yield
    except ValueError as error:
        said = str(error).partition(";")[0]
        raise ValueError(f"source={source!r}: {said}; {advice}") from error


def _called(label: Any) -> str:
    """A class as it is written: one of numbers became a float where other labels were missing."""
    return f"{label:g}" if isinstance(label, float) else str(label)


def _class_called(name: str, estimator: Any, run: str) -> Any:
    """The class that is written so."""
    if estimator.table_.classes == 0:
        advice = "leave --class out, or train a model with --labels"
        raise ValueError(f"--class={name}: {run} draws no classes; {advice}")
    classes = {_called(label): label for label in estimator.classes_.tolist()}
    if name not in classes:
        known = ", ".join(classes)
        raise ValueError(f"--class={name}: {run} draws no such class; its classes are {known}")
    return classes[name]


def _side(size: tuple[int, ...] | None) -> Any:
    return size[0] if size is not None and len(size) == 1 else size


def _write(path: Path, rows: Any, guard: bool = False) -> None:
    """A table, or for a .csv the blocks of one, in the format that the file's name asks for, whole
    or not at all: names and types stay."""
    import numpy as np

    from equilibria import durable

    path.parent.mkdir(parents=True, exist_ok=True)

    suffix, content = path.suffix.lower(), io.BytesIO()
    if suffix not in (".npz", ".parquet"):
        durable.replace(path, _csv(rows if isinstance(rows, Iterator) else iter([rows]), guard))
        return
    frame = _framed(rows)
    if suffix == ".npz":
        values = rows if isinstance(rows, np.ndarray) else frame.to_numpy()
        if values.dtype == object:
            advice = "write .csv or .parquet; an .npz of text is read through pickle alone"
            raise ValueError(f"out={str(path)!r}: the table holds text: {advice}")
        np.savez_compressed(content, X=values)
    else:
        try:
            frame.to_parquet(content)
        except ImportError as error:
            raise ValueError(f"out={str(path)!r}: needs pyarrow, or write .csv") from error
    durable.replace(path, content.getvalue())


def _csv(blocks: Iterator[Any], guard: bool) -> Iterator[bytes]:
    """Blocks of a table as the text of one CSV file."""
    from equilibria.data.load import write_csv

    for i, rows in enumerate(blocks):
        frame = _framed(rows)
        for first in range(0, len(frame), CSV_ROWS):
            content = io.BytesIO()
            part = frame.iloc[first : first + CSV_ROWS]
            write_csv(content, part, header=not i + first, guard=guard)
            yield content.getvalue()


def _framed(rows: Any) -> Any:
    """Rows as a frame; columns of an array are x0, x1, …."""
    import numpy as np
    import pandas as pd

    if isinstance(rows, pd.DataFrame):
        return rows  # as it is: a copy would forget how its dates are written
    frame = pd.DataFrame(rows)
    if isinstance(rows, np.ndarray):
        frame.columns = [f"x{i}" for i in range(frame.shape[1])]
    return frame


def _counted(rows: int, times: int = 1) -> str:
    repeated = "" if times == 1 else f", {times} times,"
    return f"{rows} row{'s' * (rows != 1)}{repeated} {'is' if rows * times == 1 else 'are'}"


# ---------------------------------------------------------------------- the command itself


class _Group(TyperGroup):
    """Lists ``train`` first; a signal ends a command with the conventional code."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=lambda name: name != "train")

    def invoke(self, ctx: Any) -> Any:
        try:
            with _interruptible():
                return super().invoke(ctx)
        except KeyboardInterrupt as stopped:  # a TrainingInterrupted is one
            _complain(str(stopped) or "stopped")
            raise typer.Exit(128 + getattr(stopped, "signal", 2)) from stopped


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as SIGINT does: what was begun is cleared away."""

    def stop(number: int, frame: Any) -> None:
        raise TrainingInterrupted(number, f"stopped by signal {number}")

    former = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                former[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


WIDE = {"max_content_width": 100}
_TYPER: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None}
_TYPER |= {"pretty_exceptions_enable": False, "context_settings": WIDE}
app = typer.Typer(cls=_Group, **_TYPER)
training = typer.Typer(**_TYPER)
app.add_typer(training, name="train", help="Train a model on data, into a run folder.")
for command in COMMANDS:
    app.command(context_settings=WIDE)(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (by default of ``sys.argv``) and return its exit code.

    0 when all went well, 1 when training diverged, 2 for bad input of any kind (one sentence on
    standard error says what is wrong), 128 + signal when work was stopped by one. Any other
    exception is a bug and keeps its traceback.

    >>> main(["--version"])
    equilibria 0.2.0
    0
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    for stream in (sys.stdout, sys.stderr):  # where × or a file's name cannot be written as it is
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if words[0] == "train":
        register(training)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warned
            return int(app(words, prog_name="equilibria", standalone_mode=False, obj=words) or 0)
    except typer.TyperException as error:
        text = error.format_message()
        path = "".join(f"{word} " for word in _command(words)[1])
        _complain(f"{text[0].lower()}{text[1:].rstrip('.')} (see equilibria {path}--help)")
    except (ValueError, OSError, ExtraError, DivergedError) as error:
        known = _command(words)[0].params
        spelled = {p.name: p.opts[0] if p.opts[0][0] == "-" else p.metavar or p.name for p in known}
        _complain(one_sentence(error, spelled))
        return 1 if isinstance(error, DivergedError) else 2
    except (MemoryError, RuntimeError) as error:
        if not too_large(error):
            raise
        said = "this takes more memory than there is; ask for fewer rows at a time (-n), a smaller"
        _complain(f"{said} model, or smaller batches")
    return 2


def _warned(message: Any, category: Any, *where: Any, **more: Any) -> None:
    """What the library warns of, as a sentence; not the place in its code."""
    if issubclass(category, UserWarning):
        _complain(str(message))


def _complain(sentence: str) -> None:
    """A line on standard error, in one process of each machine: one machine alone may be wrong."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        short = re.sub(r"(\S{200})\S{200,}(\S{100})", r"\1…\2", sentence)  # of a word without end
        print(f"equilibria: {short}", file=sys.stderr, flush=True)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"equilibria {__version__}")
        raise typer.Exit


VERSION = typer.Option("--version", callback=_version, is_eager=True, help="Print it and end.")
SHARED = "Share a training among so many processes of this machine; before train or resume."
PROCESSES = Annotated[Any, option(SHARED, "int", whole)]


@app.callback()
def describe(
    context: typer.Context,
    version: Annotated[bool, VERSION] = False,
    processes: PROCESSES = None,
) -> None:
    """Deep generative models trained to an equilibrium: Boltzmann machines, GANs and more."""
    if processes is None:
        return
    _refuse_few(processes=processes)
    if context.invoked_subcommand not in ("train", "resume"):
        raise ValueError(f"processes={processes}: only train and resume share their work")
    from equilibria.training.distributed import launch

    words: list[str] = context.obj
    raise typer.Exit(launch(words[words.index(context.invoked_subcommand) :], processes))


def _command(words: Sequence[str]) -> tuple[Any, list[str]]:
    """The sub-command that the first words name, and those words."""
    command, path = typer.main.get_command(app), list[str]()
    for word in words:
        below = getattr(command, "commands", {}).get(word)
        if below is None:
            break
        command, path = below, [*path, word]
    return command, path


def one_sentence(error: BaseException, spelling: Mapping[str, str]) -> str:
    """The message of an error on one line, with arguments spelled as on the command line.

    >>> one_sentence(ValueError("n_iter=0: expected 1 or more"), {"n_iter": "--n-iter"})
    '--n-iter=0: expected 1 or more'

    What a terminal would obey, as in the name of a file, is spelled out.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename} cannot be used: {error.strerror}"
    text = re.sub(r"=\(([\d., -]+)\)", lambda tuple_: "=" + tuple_[1].replace(" ", ""), text)
    text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
    return re.sub(r"\b[a-z_]+(?==(?!=))", lambda name: spelling.get(name[0], name[0]), text)
