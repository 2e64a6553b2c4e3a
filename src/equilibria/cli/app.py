"""The command ``equilibria``: its sub-commands, and how errors end it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from equilibria import __version__
from equilibria.cli import commands
from equilibria.errors import DivergedError

__all__ = ["main"]

_PLAIN: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"max_content_width": 100},
}


class _Group(TyperGroup):
    """Lists ``train`` first; a signal ends a command with the conventional code."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=lambda name: name != "train")

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:  # a TrainingInterrupted is one
            _complain(str(stopped) or "stopped")
            raise typer.Exit(128 + getattr(stopped, "signal", 2)) from stopped


app = typer.Typer(cls=_Group, **_PLAIN)
models = typer.Typer(**_PLAIN)
app.add_typer(models, name="train", help="Train a model on data, into a run folder.")
for command in commands.COMMANDS:
    app.command(context_settings=_PLAIN["context_settings"])(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 when all went well, 1 when training diverged, 2 for bad input of any kind (one sentence on
    standard error says what is wrong), 128 + signal when work was stopped by one. Any other
    exception is a bug and keeps its traceback.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands behind the command's name; by default ``sys.argv[1:]``.

    Examples
    --------
    >>> main(["--version"])
    equilibria 0.2.0
    0
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if words[0] == "train":
        commands.register(models)
    try:
        return int(app(words, prog_name="equilibria", standalone_mode=False) or 0)
    except typer.TyperException as error:
        text = error.format_message()
        path = "".join(f"{word} " for word in _command(words)[1])
        _complain(f"{text[0].lower()}{text[1:].rstrip('.')} (see equilibria {path}--help)")
    except (ValueError, OSError) as error:
        _complain(one_sentence(error, _spelling(words)))
    except DivergedError as error:
        _complain(one_sentence(error, _spelling(words)))
        return 1
    return 2


def _complain(sentence: str) -> None:
    """A line on standard error, in one process of each machine: one machine alone may be wrong."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"equilibria: {sentence}", file=sys.stderr, flush=True)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"equilibria {__version__}")
        raise typer.Exit


@app.callback()
def describe(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it and end."),
    ] = False,
) -> None:
    """Deep generative models trained to an equilibrium: Boltzmann machines, GANs and more."""


def _command(words: Sequence[str]) -> tuple[Any, list[str]]:
    """The sub-command that the first words name, and those words."""
    command, path = typer.main.get_command(app), list[str]()
    for word in words:
        below = getattr(command, "commands", {}).get(word)
        if below is None:
            break
        command, path = below, [*path, word]
    return command, path


def _spelling(words: Sequence[str]) -> dict[str, str]:
    """How the command line spells what Python calls ``name``: ``--option`` or ARGUMENT."""
    known = _command(words)[0].params
    return {p.name: p.opts[0] if p.opts[0].startswith("-") else p.metavar or p.name for p in known}


def one_sentence(error: BaseException, spelling: Mapping[str, str]) -> str:
    """The message of an error on one line, with arguments spelled as on the command line.

    Examples
    --------
    >>> one_sentence(ValueError("n_iter=0: expected 1 or more"), {"n_iter": "--n-iter"})
    '--n-iter=0: expected 1 or more'
    """
    import re

    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename} cannot be used: {error.strerror}"
    text = re.sub(r"=\(([\d., -]+)\)", lambda tuple_: "=" + tuple_[1].replace(" ", ""), text)
    return re.sub(r"\b[a-z_]+(?==)", lambda name: spelling.get(name[0], name[0]), text)
