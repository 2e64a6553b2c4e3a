"""What each command does. What a model can do is asked of its capabilities."""

from __future__ import annotations

import contextlib
import inspect
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from equilibria.cli.options import choice, comma_list, keyword, options, real, trainable, whole

__all__ = ["COMMANDS", "register"]


def option(text: str, metavar: str, parser: Any = None, *names: str) -> Any:
    """An option of a command."""
    return typer.Option(*names, parser=parser, metavar=metavar, help=text)


RUN = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]
SOURCE = Annotated[str, typer.Argument(metavar="DATA", help="A name (equilibria data), or a path.")]
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
CLASS = Annotated[
    str | None, option("Whose samples, if it has --labels.", "label", None, "--class")
]
BETAS = Annotated[Any, option("Anneal log Z anew through so many temperatures.", "int", whole)]
FILLED = choice("draw", "mode", "mean")
HOW = Annotated[Any, option("Draws, the most probable values, or means.", "draw|mode|mean", FILLED)]
RUNS = Annotated[list[str], typer.Argument(metavar="RUN", help="One run folder or more.")]
PAGE = Annotated[str | None, option("By default report.html in the first run.", "FILE.html")]
FOLDER = Annotated[str, option("Where the runs and the report go.", "DIR")]
TABLES = (".csv", ".parquet", ".npz")
DEMO: dict[str, dict[str, Any]] = {
    "dbm": {"hidden": (128, 64), "steps": 6000, "pretrain_steps": 2000, "ais_betas": 2000},
    "gan": {"steps": 3000, "batch_size": 256},
    "made": {"hidden": (200,), "steps": 3000},
}
"""Settings of the models that the demonstration may train: the first two that there are."""


def first_process() -> bool:
    """Whether this is the one process that speaks; ``torchrun`` starts many."""
    return os.environ.get("RANK", "0") == "0"


def say(sentence: object = "") -> None:
    """Print a line on standard output, in the first process only."""
    if first_process():
        print(sentence, flush=True)


# ---------------------------------------------------------------------- train and resume


def register(group: typer.Typer) -> None:
    """Give ``equilibria train`` a command for each model; this imports the models."""
    from equilibria.estimators import all_estimators

    if group.registered_commands:
        return
    for name, cls in all_estimators().items():
        if trainable(cls):
            head = (inspect.getdoc(cls) or "").partition("\n\nParameters\n")[0]
            wide = {"max_content_width": 100}
            made = group.command(name, help=plain(head), context_settings=wide)
            made(_training_command(cls))


def _training_command(cls: Any) -> Any:
    """The command that trains one kind of model: a function whose signature typer reads."""

    def command(**given: Any) -> None:
        about = {name: given.pop(name) for name in ("size", "colour", "label", "held_out")}
        estimator = cls(**{name: given.pop(name) for name in names})
        _train(estimator, given["source"], about)
        _advise(estimator, estimator.out)

    found = options(cls)
    names = [option.name for option in found]
    found.sort(key=lambda option: option.name != "out")
    about_data = [
        keyword("size", SIZE, None),
        keyword("colour", COLOUR, "grey"),
        keyword("label", LABEL, None),
        keyword("held_out", HELD_OUT, None),
    ]
    signature = inspect.Signature([keyword("source", SOURCE), *found, *about_data])
    command.__signature__ = signature  # type: ignore[attr-defined]
    return command


def _train(estimator: Any, source: str, about: dict[str, Any]) -> None:
    from equilibria.training.origin import collect
    from equilibria.training.run import Run

    estimator.checked()
    if first_process():
        Run.refuse_taken(estimator.out, estimator.overwrite)
    parts = collect(source, **{**about, "size": _side(about["size"])})
    train = parts.train
    if estimator.labels and train.labels is None:
        advice = "name their column with --label, or leave --labels out"
        raise ValueError(f"labels=True: {source} has no labels; {advice}")
    if len(train) < 2:
        raise ValueError(f"source={source!r} has 1 row to train on; expected two or more")
    if parts.whole is not None:  # an error then names the row of the file, not of a part of it
        estimator.preview(parts.whole)
    table = estimator.preview(train)
    if parts.unseen:
        with _about(source, "held-out rows must be like those to train on (see --held-out)"):
            table.encode(parts.test.frame(), allow_missing=estimator.missing)
    held = f"{len(parts.test):,} held out." if parts.unseen else "none held out."
    between = ", " if parts.unseen else "; "
    say(f"{train.name}: {len(train):,} rows to train on{between}{held}")
    say(table.describe())
    with _processes():
        estimator.fit(train)
    _conclude(estimator, parts)


def resume(run: RUN) -> None:
    """Go on with a training that was stopped, bit for bit as if it had not been."""
    from equilibria import estimators
    from equilibria.training.origin import run_data
    from equilibria.training.run import Run

    folder = Run.open(run)
    if (folder.path / "model.safetensors").exists():
        say(f"The training of {run} has ended; there is nothing left to resume.")
        return
    parts = run_data(folder)
    with _processes():
        estimator = estimators.resume(folder, parts.train)
    _conclude(estimator, parts)
    _advise(estimator, run)


def _conclude(estimator: Any, parts: Any) -> None:
    """What came of a training."""
    if not first_process():
        return
    if "normaliser" in estimator.capabilities_:
        say(estimator.log_partition_)
    if "score" in estimator.capabilities_:
        rows = "held-out" if parts.unseen else "the training"
        say(f"On {rows} rows: {estimator.log_likelihood(rows_for(estimator, parts.test))}")
    else:
        say(f"A {type(estimator).__name__} {estimator.cannot('score')}.")
    for sentence in estimator.health_:
        say(sentence)


def _advise(estimator: Any, run: str) -> None:
    """What to do next."""
    folder = shlex.quote(str(run))
    say(f"The run is in {run}. What to do next:")
    kind = "png" if estimator.table_.shape is not None else "csv"
    if "sample" in estimator.capabilities_:
        say(f"  equilibria sample {folder} -n 64 --out samples.{kind}")
    say(f"  equilibria evaluate {folder}")
    say(f"  equilibria report {folder}")


@contextlib.contextmanager
def _processes() -> Iterator[None]:
    """Leave the other processes when training is over."""
    from torch import distributed

    def joined() -> bool:
        return distributed.is_available() and distributed.is_initialized()

    try:
        yield
        if joined():  # one that leaves while another's last message is under way may abort
            distributed.barrier()
    finally:
        if joined():
            distributed.destroy_process_group()


# ---------------------------------------------------------------------- what a run is used for


def sample(
    run: RUN,
    out: DRAWN,
    n: COUNT = "64",
    seed: SEED = None,
    of: CLASS = None,
    overwrite: OVERWRITE = False,
) -> None:
    """Draw samples from a trained model into a file."""
    path = target(out, (".png", *TABLES), overwrite)
    estimator, _ = _model(run, "sample")
    if path.suffix.lower() == ".png" and estimator.table_.shape is None:
        advice = "write a table (.csv), or train with --picture-shape"
        raise ValueError(f"out={out!r}: the rows of {run} are no pictures; {advice}")
    wanted = {} if of is None else {"y": _class_called(of, estimator, run)}
    rows = estimator.sample(n, random_state=seed, **wanted)
    if path.suffix.lower() == ".png":
        from equilibria.data import save_grid
        from equilibria.report.charts import as_pictures

        zoom = max(1, 56 // max(estimator.table_.shape[:2]))
        save_grid(path, as_pictures(estimator.table_, rows), zoom=zoom)
    else:
        _write(path, rows)
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
    path = None if out is None else target(out, TABLES, overwrite)
    estimator, data = _model_and_rows(run, source, "score", size, colour, label)
    if betas is not None:
        _anneal(estimator, betas)
    rows = rows_for(estimator, data)
    found = estimator.log_likelihood(rows)
    say(found)
    bound = "bound" in found.name
    say(
        "It is a lower bound: the log-likelihood itself is at least as high, given log Z."
        if bound
        else "It is no bound but the log-likelihood itself."
    )
    if path is not None:
        name = "bound on log-likelihood" if bound else "log-likelihood"
        _write(path, {name: estimator.score_samples(rows)})
        say(f"Scores: {_counted(len(data))} in {path}.")


def _anneal(estimator: Any, betas: int) -> None:
    """Work log Z out again, and say what it was and what it is."""
    from equilibria import check

    check.whole(1)("betas", betas)
    if "normaliser" not in estimator.capabilities_:
        raise ValueError(f"betas={betas}: the model {estimator.cannot('normaliser')}")
    say(f"log Z in the run: {estimator.log_partition_}")
    if estimator.log_partition_.is_exact:
        say("It is exact, and needs no annealing.")
    else:
        say(estimator.anneal(betas=betas))


def fill(
    run: RUN,
    source: SOURCE,
    out: TABLE,
    n: COMPLETIONS = "1",
    how: HOW = "draw",
    seed: SEED = None,
    overwrite: OVERWRITE = False,
    label: LABEL = None,
) -> None:
    """Fill in the empty cells of a table, given the others; a name stands for its test split.

    Columns keep their names and types. Labels take no part, and come back as the last column.
    """
    import pandas as pd

    path = target(out, TABLES, overwrite)
    estimator, data = _model_and_rows(run, source, "complete", label=label)
    filled = estimator.impute(rows_for(estimator, data), n=n, how=how, random_state=seed)
    parts = [filled] if n == 1 else list(filled)
    names = data.columns or [f"x{i}" for i in range(estimator.table_.width)]
    frames = [part if _is_frame(part) else pd.DataFrame(part, columns=names) for part in parts]
    label = (data.source or {}).get("label")
    if data.labels is not None and label is not None:
        labels = pd.Series(data.labels).convert_dtypes()  # whole numbers, where some are missing
        frames = [frame.assign(**{label: labels.set_axis(frame.index)}) for frame in frames]
    _write(path, pd.concat(frames) if n > 1 else frames[0])
    say(f"{_counted(len(data), n)} in {path}.")


def predict(
    run: RUN,
    source: SOURCE,
    out: TABLE,
    overwrite: OVERWRITE = False,
    size: SIZE = None,
    colour: COLOUR = "grey",
    label: LABEL = None,
) -> None:
    """Predict the class of rows; a name stands for its test split.

    Each row's class and the classes' probabilities are written.
    """
    path = target(out, TABLES, overwrite)
    estimator, data = _model_and_rows(run, source, "classify", size, colour, label)
    chances = estimator.predict_proba(rows_for(estimator, data))
    names = [f"p({called(label)})" for label in estimator.classes_.tolist()]
    found = estimator.classes_[chances.argmax(1)]
    _write(path, {"class": found, **dict(zip(names, chances.T, strict=True))})
    say(f"Classes: {_counted(len(data))} in {path}.")
    codes = None if data.labels is None else estimator.table_.labels.encode(data.labels)
    if codes is not None and (codes >= 0).any():
        right = 100 * float((chances.argmax(1) == codes)[codes >= 0].mean())
        say(f"{right:.2f} % of the {(codes >= 0).sum()} whose class the data know are right.")


def evaluate(run: RUN) -> None:
    """Measure a trained model against the rows that were held out."""
    from equilibria.report.assessment import CLASS_SHARE, assess

    for number in assess(run):
        if not number.name.startswith(CLASS_SHARE):  # the report draws them
            say(number)


def report(run: RUNS, out: PAGE = None) -> None:
    """Write a page that shows what runs have learnt, and print its path."""
    from equilibria.report import page

    path = None if out is None else target(out, (".html", ".htm"), overwrite=True)
    say(page.write([Path(one) for one in run], path))


# ---------------------------------------------------------------------- lists, demonstration


def models() -> None:
    """List the models by their place in the tree of generative models, with what each can do."""
    from equilibria.estimators import all_estimators
    from equilibria.models.model import capabilities, taxonomy

    verbs = {"sample": "sample", "score": "score", "complete": "fill", "classify": "predict"}
    found: dict[str, list[str]] = {}
    for name, cls in all_estimators().items():
        can = capabilities(cls.model)
        marks = "".join(f"{verb if key in can else '-':9}" for key, verb in verbs.items())
        line = f"  {name:12}{marks} {first_line(cls)}"
        found.setdefault(taxonomy(cls.model), []).append(line)
    for leaf, lines in sorted(found.items()):
        say("\n".join([leaf, *lines]))
    say("A model predicts classes where it is trained with --labels.")


def data() -> None:
    """List the data sets that have a name."""
    from equilibria.data import names
    from equilibria.data.load import HASHES, find

    for name, line in names().items():
        where = "built in"
        if any(key.startswith(f"{name}/") for key in HASHES):
            folder = find(name)
            where = "downloaded when first asked for" if folder is None else f"found in {folder}"
        say(f"{name:14} {line}: {where}")
    say("Anything else is a path: a folder of pictures, a .csv, .parquet, .npz, .npy or idx file.")


def demo(out: FOLDER, overwrite: OVERWRITE = False) -> None:
    """Train two kinds of model on small digits, and write a report on both; a minute or two."""
    from equilibria.estimators import all_estimators
    from equilibria.report import page

    known, folders = all_estimators(), list[Path]()
    for name in [name for name in DEMO if name in known][:2]:
        folders.append(Path(out) / name)
        how = {"out": str(folders[-1]), "overwrite": overwrite, "random_state": 0}
        say(f"Training a {known[name].__name__} into {folders[-1]} …")
        about = dict.fromkeys(("size", "label", "held_out"))
        _train(known[name](**DEMO[name], **how), "digits", {**about, "colour": "grey"})
        evaluate(str(folders[-1]))
    say(page.write(folders, Path(out) / "report.html"))


COMMANDS = (resume, sample, score, fill, predict, evaluate, report, models, data, demo)


# ---------------------------------------------------------------------- details


def plain(text: str) -> str:
    """Text without the marks of reStructuredText."""
    import re

    text = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"\1", text)
    text = text.partition("\n\nAttributes\n")[0].partition("\n\nReferences\n")[0]
    return re.sub(r"\*([^*\n]+)\*", r"\1", text.replace("``", "").replace("`", ""))


def first_line(cls: Any) -> str:
    """What a model is called: the beginning of its docstring."""
    import re

    return re.split(r"[:(.]", (cls.__doc__ or cls.__name__).strip(), maxsplit=1)[0].strip()


def target(out: str, suffixes: Sequence[str], overwrite: bool) -> Path:
    """A file that may be written, with the folder it is to be in."""
    path = Path(out)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"out={out!r}: expected a name that ends in {' or '.join(suffixes)}")
    if path.is_dir():
        raise ValueError(f"out={out!r} is a folder: name a file")
    if path.exists() and not overwrite:
        advice = "choose another name, or replace it with --overwrite"
        raise ValueError(f"out={out!r} is there already: {advice}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        advice = "choose a folder that you may write to"
        raise ValueError(f"out={out!r} cannot be written ({error}): {advice}") from error
    return path


def rows_for(estimator: Any, data: Any) -> Any:
    """The rows of a data set as a model was given its own: a frame, or an array."""
    from equilibria.report.assessment import rows_for

    return rows_for(estimator, data)


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
    source: str,
    capability: str,
    size: Any = None,
    colour: str = "grey",
    label: str | None = None,
) -> tuple[Any, Any]:
    """A trained model and rows that it can take; of a set with a name, those of its test split."""
    from equilibria.data import load, names

    estimator, origin = _model(run, capability)
    named, suffix = source in names(), Path(source).suffix.lower()
    how: dict[str, Any] = {"size": _side(size), "colour": colour, "label": label}
    how |= {"split": "test"} if named else {"text": True} if suffix == ".csv" else {}
    found = load(source, **how)
    column = origin.get("label")  # the labels of the training are labels here too
    if label is None and column is not None and column in (found.columns or ()):
        found = load(source, **{**how, "label": column})
    with _about(source, "give rows like those the model was trained on"):
        rows = rows_for(estimator, found)
        gaps = estimator.missing or capability == "complete"
        estimator.table_.encode(rows, allow_missing=gaps)
    return estimator, found


@contextlib.contextmanager
def _about(source: str, advice: str) -> Iterator[None]:
    """Errors about rows of ``source``: what is advised on training is over."""
    try:
        yield
    except ValueError as error:
        said = str(error).partition(";")[0]
        raise ValueError(f"source={source!r}: {said}; {advice}") from error


def called(label: Any) -> str:
    """A class as it is written: one of numbers became a float where other labels were missing."""
    return f"{label:g}" if isinstance(label, float) else str(label)


def _class_called(name: str, estimator: Any, run: str) -> Any:
    """The class that is written so."""
    if estimator.table_.classes == 0:
        advice = "leave --class out, or train a model with --labels"
        raise ValueError(f"--class={name}: {run} draws no classes; {advice}")
    classes = {called(label): label for label in estimator.classes_.tolist()}
    if name not in classes:
        known = ", ".join(classes)
        raise ValueError(f"--class={name}: {run} draws no such class; its classes are {known}")
    return classes[name]


def _side(size: tuple[int, ...] | None) -> Any:
    return size[0] if size is not None and len(size) == 1 else size


def _is_frame(rows: Any) -> bool:
    return hasattr(rows, "iloc")


def _write(path: Path, rows: Any) -> None:
    """A table in the format that the file's name asks for: names and types stay."""
    import numpy as np
    import pandas as pd

    suffix = path.suffix.lower()
    frame = rows if _is_frame(rows) else pd.DataFrame(rows)
    if not _is_frame(rows) and not isinstance(rows, dict):
        frame.columns = [f"x{i}" for i in range(frame.shape[1])]
    if suffix == ".npz":
        values = rows if isinstance(rows, np.ndarray) else frame.to_numpy()
        if values.dtype == object:
            advice = "write .csv or .parquet; an .npz of text is read through pickle alone"
            raise ValueError(f"out={str(path)!r}: the table holds text: {advice}")
        np.savez_compressed(path, X=values)
    elif suffix == ".parquet":
        try:
            frame.to_parquet(path)
        except ImportError as error:
            raise ValueError(f"out={str(path)!r}: needs pyarrow, or write .csv") from error
    else:
        from equilibria.data import write_csv

        write_csv(path, frame)


def _counted(rows: int, times: int = 1) -> str:
    repeated = "" if times == 1 else f", {times} times,"
    return f"{rows} row{'s' * (rows != 1)}{repeated} {'is' if rows * times == 1 else 'are'}"
