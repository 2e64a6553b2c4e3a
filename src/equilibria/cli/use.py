"""The commands that read a finished run: sample, score, evaluate, report; and the lists of models and data."""

from __future__ import annotations

import dataclasses
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from equilibria.cli.console import say
from equilibria.cli.options import choice, plain, whole
from equilibria.cli.target import target
from equilibria.cli.train import COLOUR, LABEL, RUN, SIZE, SOURCE, describe_data, may_hold_text

if TYPE_CHECKING:
    import numpy as np

    from equilibria.data import Data, Schema

__all__ = ["data", "demo", "evaluate", "fill", "models", "predict", "report", "sample", "score"]

OVERWRITE = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]


NO_DENSITY = "is a {kind}, which has no density to score by: see equilibria evaluate {run}"
NO_FILLING = "is a {kind}, which cannot fill in cells given others: train an rbm or a dbm, or a gan with --condition"
NO_SAMPLES = "is a {kind}, which predicts classes and draws no samples: see equilibria predict {run}"
NO_LABELS = "predicts no classes: train with --labels (a gan with --semi-supervised too) on data with labels"


def sample(
    run: RUN,
    out: Annotated[str, typer.Option(metavar="FILE", help="A .png of pictures, or a table as .npz or .csv.")],
    n: Annotated[Any, typer.Option("-n", parser=whole, metavar="int", help="Number of samples.")] = "64",
    seed: Annotated[Any, typer.Option(parser=whole, metavar="int", help="Of the draws; by default the model's own.")] = None,
    of: Annotated[str | None, typer.Option("--class", metavar="label", help="Whose samples, of a model with --labels.")] = None,
    overwrite: OVERWRITE = False,
) -> None:
    """Draw samples from a trained model into a file."""
    path = target(out, (".png", ".npz", ".csv"), overwrite)
    estimator = _model(run, ("sample", NO_SAMPLES))
    if path.suffix.lower() == ".png":
        _refuse_no_pictures(estimator.schema_, run, out)
    _refuse_text(estimator.schema_, path)
    wanted = {} if of is None else {"y": _class_called(of, estimator, run)}
    _write_rows(path, estimator.sample(n, random_state=seed, **wanted), estimator.schema_, _columns(run))
    say(f"{n} samples of {run}{'' if of is None else f', all of the class {of},'} are in {path}.")


def score(
    run: RUN,
    source: SOURCE,
    out: Annotated[str | None, typer.Option(metavar="FILE.csv", help="Where to write the score of each row.")] = None,
    overwrite: OVERWRITE = False,
    betas: Annotated[
        Any,
        typer.Option(parser=whole, metavar="int", help="Anneal log Z anew through so many temperatures."),
    ] = None,
    size: SIZE = None,
    colour: COLOUR = "grey",
    label: LABEL = None,
) -> None:
    """Score rows by their log-likelihood in nats; a name stands for its test split.

    log Z is what training ended with, unless it is annealed anew (from both sides, where the run has chains); the run stays as it is.
    """
    from equilibria.data import write_csv

    path = None if out is None else target(out, (".csv",), overwrite)
    if betas is not None:
        from equilibria.estimators import parameters

        parameters.whole("betas", betas, 1)
    estimator, rows = _model_and_rows(run, source, ("log_likelihood", NO_DENSITY), size=size, colour=colour, label=label)
    if betas is not None:
        _anneal_anew(estimator, betas)
    estimate = estimator.log_likelihood(rows.values)
    bound = "bound" in estimate.name
    say(estimate)
    say(
        "It is a lower bound: the log-likelihood itself is at least as high, given log Z."
        if bound
        else "It is no bound but the log-likelihood itself, given log Z."
    )
    if path is not None:
        write_csv(path, estimator.score_samples(rows.values)[:, None], ["bound on log-likelihood" if bound else "log-likelihood"])
        say(f"Scores: {_counted(len(rows))} in {path}.")


def fill(
    run: RUN,
    source: SOURCE,
    out: Annotated[str, typer.Option(metavar="FILE", help="A table as .npz or .csv.")],
    n: Annotated[Any, typer.Option("-n", parser=whole, metavar="int", help="Completions of each row, one set after another.")] = "1",
    how: Annotated[Any, typer.Option(parser=choice(("draw", "mode", "mean")), metavar="draw|mode|mean", help="What is put in.")] = "draw",
    seed: Annotated[Any, typer.Option(parser=whole, metavar="int", help="Of the draws; by default the model's own.")] = None,
    overwrite: OVERWRITE = False,
    label: LABEL = None,
) -> None:
    """Fill in the empty cells of a table, given the others; a name stands for its test split.

    The labels of a CSV file take no part in it, and are written to another CSV file as its last column.
    """
    import numpy

    path = target(out, (".npz", ".csv"), overwrite)
    estimator, rows = _model_and_rows(run, source, ("impute", NO_FILLING), label=label)
    _refuse_text(estimator.schema_, path)
    filled = _array(estimator.impute(rows.values, n=n, how=how, random_state=seed))
    table, columns = filled.reshape(-1, filled.shape[-1]), _columns(run)
    if rows.labels is not None and label is not None and path.suffix.lower() == ".csv":
        labels = [_whole(value) for value in rows.labels.tolist()] * n
        table = numpy.column_stack([_objects(table), numpy.array(labels, dtype=object)])
        columns = [*(columns or rows.columns or ()), label]
    _write_rows(path, table, estimator.schema_, columns)
    say(f"{_counted(len(rows), n)} in {path}.")


def predict(
    run: RUN,
    source: SOURCE,
    out: Annotated[str, typer.Option(metavar="FILE.csv", help="Where to write each row's class and the classes' probabilities.")],
    overwrite: OVERWRITE = False,
    size: SIZE = None,
    colour: COLOUR = "grey",
    label: LABEL = None,
) -> None:
    """Predict the class of rows by a model with a label layer, or a fine-tuned one; a name stands for its test split."""
    import numpy

    from equilibria.data import write_csv

    path = target(out, (".csv",), overwrite)
    estimator, rows = _model_and_rows(run, source, ("predict_proba", NO_LABELS), size=size, colour=colour, label=label)
    chances = estimator.predict_proba(rows.values)
    classes = [str(name) for name in estimator.classes_.tolist()]
    found = estimator.classes_[chances.argmax(1)]
    write_csv(path, numpy.column_stack([found.astype(object), chances.astype(object)]), ["class", *(f"p({name})" for name in classes)])
    say(f"Classes: {_counted(len(rows))} in {path}.")
    if rows.labels is None:
        return
    codes = estimator.label_coding_.encode(rows.labels)
    known = codes >= 0
    if known.any():
        right = float((chances.argmax(1)[known] == codes[known]).mean())
        say(f"{100 * right:.2f} % of the {known.sum()} whose class the data know are as they say.")


def evaluate(run: RUN) -> None:
    """Measure a trained model against the rows that were held out."""
    from equilibria.report.assessment import CLASS_SHARE, assess

    for number in assess(Path(run)):
        if not number.name.startswith(CLASS_SHARE):  # the report draws them
            say(number)


def report(
    run: Annotated[list[str], typer.Argument(metavar="RUN", help="One run folder or more.")],
    out: Annotated[str | None, typer.Option(metavar="FILE.html", help="The page; by default report.html in the first run.")] = None,
) -> None:
    """Write a page that shows what runs have learned, and print its path."""
    from equilibria.report import page

    path = None if out is None else target(out, (".html", ".htm"), overwrite=True)
    say(page.write([Path(one) for one in run], path))


def models() -> None:
    """List the models that can be trained."""
    from equilibria.estimators import MODELS

    for name, cls in MODELS.items():
        say(f"{name:6} {plain((cls.__doc__ or '').splitlines()[0])}")


def data() -> None:
    """List the data sets that have a name."""
    from equilibria.data import names

    for name, line in names().items():
        say(f"{name:14} {line}: {_whereabouts(name)}")
    say("Anything else is a path: a folder of pictures, a .csv, .npz or .npy file, or an idx file.")


def demo(
    out: Annotated[str, typer.Option(metavar="DIR", help="Where the runs and the report go.")],
    overwrite: OVERWRITE = False,
) -> None:
    """Train a deep Boltzmann machine and a GAN on small digits, and write a report on both; a few minutes."""
    from equilibria.report.demo import run

    say(run(Path(out), overwrite, say))


def _anneal_anew(estimator: Any, betas: int) -> None:
    """Work log Z out again, and say what it was and what it is."""
    say(f"log Z in the run: {estimator.log_partition_}")
    if estimator.log_partition_.exact:
        say("It is exact, and needs no annealing.")
        return
    anew = estimator.anneal(betas)
    say(estimator.log_partition_sides_ or f"{anew}\nThe run has no chains to come down from: this is the way up alone.")


def _refuse_no_pictures(schema: Schema, run: str, out: str) -> None:
    if schema.shape is None or schema.kind == "categorical":
        raise ValueError(f"out={out!r}: the rows of {run} are no pictures; write a table (.npz or .csv), or train with --picture-shape")


def _refuse_text(schema: Schema, path: Path) -> None:
    if path.suffix.lower() == ".npz" and may_hold_text(schema):
        raise ValueError(f"out={str(path)!r}: a table that may hold text goes into a .csv; an .npz of text is read through pickle alone")


def _model(run: str, needed: tuple[str, str]) -> Any:
    """A trained model. ``needed`` is a method that it must have, and the sentence to be said, after ``run=…``, where it has not."""
    from equilibria.estimators import load_generative

    estimator = load_generative(run)
    method, sentence = needed
    if not hasattr(estimator, method):
        raise ValueError(f"run={run!r} {sentence.format(kind=type(estimator).__name__, run=run)}")
    return estimator


def _class_called(name: str, estimator: Any, run: str) -> Any:
    """The class that is written so."""
    if getattr(estimator, "semi_supervised", False):
        raise ValueError(f"--class={name}: {run} is semi-supervised, and its samples are of all classes; leave --class out")
    if not getattr(estimator, "labels", False):
        raise ValueError(f"--class={name}: {run} draws no classes; leave --class out, or train a model with --labels")
    classes = {str(_whole(label)): label for label in estimator.classes_.tolist()}
    if name not in classes:
        raise ValueError(f"--class={name}: {run} draws no such class; its classes are {', '.join(classes)}")
    return classes[name]


def _whole(label: Any) -> Any:
    """A label as it is written: a class that is a number became a float where other labels were missing."""
    broken = isinstance(label, Real) and not isinstance(label, Integral)
    return int(float(label)) if broken and float(label).is_integer() else label


def _counted(rows: int, times: int = 1) -> str:
    repeated = "" if times == 1 else f", {times} times,"
    return f"{rows} row{'s' * (rows != 1)}{repeated} {'is' if rows * times == 1 else 'are'}"


def _model_and_rows(run: str, source: str, needed: tuple[str, str], **about: Any) -> tuple[Any, Data]:
    """A trained model and rows that it can take; of a set with a name, those of its test split."""
    from equilibria.data import load, names

    described = describe_data(about.get("size"), about.get("colour", "grey"), about.get("label"))
    estimator, named = _model(run, needed), source in names()
    text = not named and may_hold_text(estimator.schema_)
    rows = load(source, split="test" if named else "train", **described, text=text)
    rows = dataclasses.replace(rows, values=rows.array())
    if rows.values.shape[1] == estimator.n_features_in_:
        rows = _as_trained(rows, estimator.schema_, _columns(run), source)
    gaps = estimator._takes_missing or needed[0] == "impute"  # a conditional GAN fills in gaps that it is not trained with
    _refuse_unfit(estimator, rows, source, run, about.get("label"), gaps)
    return estimator, rows


def _as_trained(rows: Data, schema: Schema, columns: list[str] | None, source: str) -> Data:
    """The columns in the order of the run's; and text where its categories are text, which a few cells may not show."""
    values, names = rows.values, rows.columns
    if names is not None and columns is not None and list(names) != columns:
        if sorted(names) != sorted(columns):
            other = next(name for name in names if name not in columns)
            raise ValueError(f"source={source!r} has a column {other!r}; the model was trained on {', '.join(columns[:8])}")
        values, names = values[:, [names.index(name) for name in columns]], tuple(columns)
    if schema.text:
        values = _objects(values)
        for place in schema.text:
            values[:, place] = [cell if cell is None or cell != cell else str(_whole(cell)) for cell in values[:, place].tolist()]
    return dataclasses.replace(rows, values=values, columns=names)


def _objects(table: np.ndarray) -> np.ndarray:
    """A table whose cells keep their types: a float32 is then written as it was read."""
    import numpy

    return numpy.array([list(row) for row in table], dtype=object)


def _array(rows: Any) -> np.ndarray:
    """An array, out of a DataFrame too."""
    import numpy

    return rows.to_numpy() if hasattr(rows, "to_numpy") else numpy.asarray(rows)


def _refuse_unfit(estimator: Any, rows: Data, source: str, run: str, label: str | None, gaps: bool) -> None:
    """Refuse rows that the model cannot take, before any work; a column of labels that only training had is named."""
    width = rows.values.shape[1]
    if width != estimator.n_features_in_:
        forgotten = None if label else _origin(run).get("label")
        named = f" and the labels {forgotten!r} (name them with --label {forgotten})" if forgotten else ""
        raise ValueError(
            f"source={source!r} has {width} columns, and the model was trained on {estimator.n_features_in_}{named}: give rows like those"
        )
    try:
        estimator.schema_.encode(rows.values, allow_missing=gaps)
    except ValueError as error:  # behind the semicolon it advises on training, which is over
        raise ValueError(f"source={source!r}: {str(error).partition(';')[0]}; give rows like those the model was trained on") from error


def _origin(run: str) -> dict[str, Any]:
    """What a run says of the data it was trained on."""
    from equilibria.training.run import Run

    return Run.open(run).config.get("data") or {}


def _columns(run: str) -> list[str] | None:
    return _origin(run).get("columns")


def _write_rows(path: Path, rows: np.ndarray, schema: Schema, columns: list[str] | None) -> None:
    import numpy

    from equilibria.data import save_grid, write_csv

    if path.suffix.lower() == ".npz":
        numpy.savez_compressed(path, X=rows)
    elif path.suffix.lower() == ".csv":
        write_csv(path, rows, columns)
    else:
        assert schema.shape is not None
        save_grid(path, _pictures(rows, schema), zoom=max(1, 56 // max(schema.shape[:2])))


def _pictures(rows: np.ndarray, schema: Schema) -> np.ndarray:
    """Rows as pictures in [0, 1]: from the known range of the data, else from that of the samples."""
    low = float(rows.min()) if schema.low is None else schema.low
    high = float(rows.max()) if schema.high is None else schema.high
    return ((rows.astype(float) - low) / ((high - low) or 1.0)).clip(0, 1).reshape(len(rows), *(schema.shape or ()))


def _whereabouts(name: str) -> str:
    """Where a named set is: in the library, on this machine, or still to be fetched."""
    from equilibria.data.load import HASHES, find

    if not any(key.startswith(f"{name}/") for key in HASHES):
        return "built in"
    folder = find(name)
    return "downloaded when first asked for" if folder is None else f"found in {folder}"
