"""``equilibria train`` and ``equilibria resume``."""

from __future__ import annotations

import contextlib
import inspect
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from equilibria.cli.console import complain, first_process, say
from equilibria.cli.options import choice, comma_list, keyword, options, plain, real, whole

if TYPE_CHECKING:
    from equilibria.data import Data, Schema
    from equilibria.training.origin import Loaded

__all__ = ["COLOUR", "LABEL", "RUN", "SIZE", "SOURCE", "describe_data", "register", "resume"]

SOURCE = Annotated[str, typer.Argument(metavar="DATA", help="A name that `equilibria data` lists, or a path.")]
SIZE = Annotated[Any, typer.Option(parser=comma_list(whole, (1, 2)), metavar="int[,int]", help="For a folder: side, or height,width.")]
COLOUR = Annotated[Any, typer.Option(parser=choice(("grey", "rgb")), metavar="grey|rgb", help="For a folder of pictures.")]
LABEL = Annotated[str | None, typer.Option(metavar="column", help="For a CSV file: the column of labels; it is no part of the values.")]
HELD_OUT = Annotated[
    Any, typer.Option(parser=real, metavar="number", help="For a path: share of the rows to keep back for evaluation; 0.1 by default.")
]
RUN = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]


def register(group: typer.Typer) -> None:
    """Give ``equilibria train`` a command for each model; this imports the models."""
    from equilibria.estimators import MODELS

    if not group.registered_commands:
        for name, cls in MODELS.items():
            group.command(name, help=_introduction(cls), context_settings={"max_content_width": 120})(_command(cls, MODELS))


def resume(run: RUN) -> None:
    """Go on with a training that was stopped, bit for bit as if it had not been."""
    from equilibria import estimators
    from equilibria.training.origin import run_data
    from equilibria.training.run import Run

    folder = Run.open(run)
    if (folder.path / "model.safetensors").exists():
        say(f"The training of {run} has ended; there is nothing left to resume.")
        return
    train, test = run_data(folder)
    with _training():
        estimator = estimators.resume(run, train.values, train.labels)
    _conclude(estimator, test, test is not train, run)


def describe_data(size: tuple[int, ...] | None, colour: str, label: str | None) -> dict[str, Any]:
    """Options about data as :func:`equilibria.data.load` takes them."""
    return {"size": size[0] if size is not None and len(size) == 1 else size, "colour": colour, "label": label}


def _command(cls: type, known: dict[str, Any]) -> Any:
    """The command that trains one kind of model: a function whose signature typer reads."""

    def command(**given: Any) -> None:
        about = describe_data(given.pop("size"), given.pop("colour"), given.pop("label"))
        _train(cls(**{name: given.pop(name) for name in names}), given["source"], {**about, "held_out": given["held_out"]})

    parameters = options(cls, {model.__name__: model for model in known.values()})
    names = [parameter.name for parameter in parameters]
    parameters.sort(key=lambda parameter: parameter.name != "out")
    about_data = [
        keyword("size", SIZE, None),
        keyword("colour", COLOUR, "grey"),
        keyword("label", LABEL, None),
        keyword("held_out", HELD_OUT, None),
    ]
    command.__signature__ = inspect.Signature([keyword("source", SOURCE), *parameters, *about_data])  # type: ignore[attr-defined]
    return command


def _train(estimator: Any, source: str, about: dict[str, Any]) -> None:
    from equilibria.training.origin import attach, collect
    from equilibria.training.run import Run

    estimator._validate()
    if estimator.out is not None and first_process():
        Run.refuse_taken(estimator.out, estimator.overwrite)
    loaded = collect(source, **about, text=getattr(estimator, "units", None) in ("categorical", "mixed"))
    if getattr(estimator, "labels", False) and loaded.train.labels is None:
        raise ValueError(f"labels: {source} has no labels; name their column with --label, or leave --labels out")
    if len(loaded.train) < 2:
        raise ValueError(f"source={source!r} has 1 row to train on; expected two or more")
    attach(estimator, loaded)
    say(_rows(loaded))
    say(_checked(estimator, loaded).describe())
    with _training():
        estimator.fit(loaded.train.values, loaded.train.labels)
    _conclude(estimator, loaded.test, loaded.test is not loaded.train, estimator.out)


def may_hold_text(schema: Schema) -> bool:
    """Whether cells of such a table may be text."""
    return schema.kind in ("categorical", "mixed")


def _checked(estimator: Any, loaded: Loaded) -> Schema:
    """What ``fit`` will infer, after a check of all rows: an error names the row of the file, not of a part of it."""
    if loaded.whole is not None:
        _infer(estimator, loaded.whole)
    schema = _infer(estimator, loaded.train)
    schema.encode(loaded.test.values, allow_missing=estimator._takes_missing)
    return schema


def _infer(estimator: Any, data: Data) -> Schema:
    from sklearn.base import clone

    twin = clone(estimator)
    if data.columns is not None:
        twin.feature_names_in_ = data.columns
    return twin._infer(data.values)


def _rows(loaded: Loaded) -> str:
    n, held = len(loaded.train), loaded.test is not loaded.train
    return f"{loaded.train.name}: {n:,} rows to train on" + (f", {len(loaded.test):,} held out." if held else "; none held out.")


@contextlib.contextmanager
def _training() -> Iterator[None]:
    """Leave the other processes when training is over; stopped by a signal, end with the conventional code."""
    from torch import distributed

    from equilibria.errors import TrainingInterrupted

    def joined() -> bool:
        return distributed.is_available() and distributed.is_initialized()

    try:
        yield
    except TrainingInterrupted as stopped:
        complain(str(stopped))
        raise typer.Exit(128 + stopped.signal) from stopped
    else:
        if joined():
            distributed.barrier()  # one that leaves while another's last message is under way may abort as it ends (LOG.md)
    finally:
        if joined():
            distributed.destroy_process_group()


def _conclude(estimator: Any, test: Data, held_out: bool, run: str) -> None:
    """What came of a training, and what to do next."""
    if not first_process():
        return
    if hasattr(estimator, "log_likelihood"):
        if hasattr(estimator, "log_partition_"):  # not of a model whose density is known outright
            say(estimator.log_partition_)
        say(f"On {'held-out' if held_out else 'the training'} rows: {estimator.log_likelihood(test.values)}")
    else:
        say(f"A {type(estimator).__name__} has no likelihood; equilibria evaluate measures its samples.")
    for sentence in estimator.health_:
        say(sentence)
    folder = shlex.quote(str(run))
    say(f"The run is in {run}. What to do next:")
    table = "csv" if may_hold_text(estimator.schema_) else "npz"
    for words in (f"sample {folder} -n 64 --out samples.{table}", f"evaluate {folder}", f"report {folder}"):
        say(f"  equilibria {words}")


def _introduction(cls: type) -> str:
    """The docstring's text before its first section."""
    paragraphs = (inspect.getdoc(cls) or "").partition("\n\nParameters\n")[0].split("\n\n")
    return "\n\n".join(map(plain, paragraphs))
