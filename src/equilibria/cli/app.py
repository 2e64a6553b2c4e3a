"""The command ``equilibria``: its sub-commands, and how errors end it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from equilibria import __version__
from equilibria.cli import train, use
from equilibria.cli.console import complain, one_sentence
from equilibria.errors import DivergedError

__all__ = ["main"]

_PLAIN: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}
_WIDE = {"max_content_width": 120}


class _TrainFirst(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=lambda name: name != "train")


app = typer.Typer(cls=_TrainFirst, context_settings=_WIDE, **_PLAIN)
models = typer.Typer(context_settings=_WIDE, **_PLAIN)
app.add_typer(models, name="train", help="Train a model on data, into a run folder.")
for command in (train.resume, use.sample, use.score, use.fill, use.predict, use.evaluate, use.report, use.models, use.data, use.demo):
    app.command(context_settings=_WIDE)(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 when all went well, 1 when training diverged, 2 for bad input of any kind (one sentence on standard error says what is wrong),
    128 + signal when training was stopped by one. Any other exception is a bug and keeps its traceback.

    Parameters
    ----------
    arguments : sequence of str, optional
        What stands behind the command's name; by default ``sys.argv[1:]``.

    Examples
    --------
    >>> main(["--version"])
    equilibria 0.1.0
    0
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if words[0] == "train":
        train.register(models)
    try:
        return int(app(words, prog_name="equilibria", standalone_mode=False) or 0)
    except typer.TyperException as error:
        text = error.format_message()
        complain(f"{text[0].lower()}{text[1:].rstrip('.')} (see equilibria {_asked_for(words)}--help)")
    except (ValueError, OSError) as error:
        complain(one_sentence(error, _spelling(words)))
    except DivergedError as error:
        complain(one_sentence(error, _spelling(words)))
        return 1
    return 2


def _version(wanted: bool) -> None:
    if wanted:
        print(f"equilibria {__version__}")
        raise typer.Exit


@app.callback()
def describe(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")] = False,
) -> None:
    """Deep generative models that are trained to an equilibrium: Boltzmann machines and adversarial networks."""


def _command(words: Sequence[str]) -> tuple[Any, list[str]]:
    """The sub-command that the first words name, and those words."""
    command, path = typer.main.get_command(app), list[str]()
    for word in words:
        below = getattr(command, "commands", {}).get(word)
        if below is None:
            break
        command, path = below, [*path, word]
    return command, path


def _asked_for(words: Sequence[str]) -> str:
    return "".join(f"{word} " for word in _command(words)[1])


def _spelling(words: Sequence[str]) -> dict[str, str]:
    """How the command line spells what Python calls ``name``: ``--option`` or ARGUMENT."""
    return {p.name: p.opts[0] if p.opts[0].startswith("-") else p.metavar or p.name for p in _command(words)[0].params}
