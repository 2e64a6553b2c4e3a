"""Command-line options from an estimator's signature and docstring, so that neither is written twice."""

from __future__ import annotations

import ast
import collections.abc
import contextlib
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import typer

__all__ = ["choice", "comma_list", "descriptions", "keyword", "options", "plain", "real", "whole"]

DEFAULTS: Mapping[str, Any] = {"random_state": 0}  # where the command line differs: a run can be repeated without being asked for
REQUIRED = ("out",)
PYTHON_ONLY = ("kinds", "towers")  # mappings to and from columns, which no option spells


class Description(NamedTuple):
    """What a docstring says about a parameter."""

    kind: str
    text: str


def options(cls: type, known: Mapping[str, type]) -> list[inspect.Parameter]:
    """One typer option for each constructor parameter of an estimator.

    Parameters
    ----------
    cls : type
        With type hints and a numpy docstring.
    known : mapping
        Class name → class, for entries that say ``As in :class:`…```.

    Examples
    --------
    >>> from equilibria import RBM
    >>> [option.name for option in options(RBM, {"RBM": RBM})][:3]
    ['n_components', 'learning_rate', 'batch_size']
    """
    hints, said = typing.get_type_hints(vars(cls)["__init__"]), descriptions(cls, known)
    parameters = [one for one in inspect.signature(cls).parameters.values() if one.name not in PYTHON_ONLY]
    return [_option(parameter, hints[parameter.name], said[parameter.name]) for parameter in parameters]


def descriptions(cls: type, known: Mapping[str, type]) -> dict[str, Description]:
    """Parameter name → what the numpy docstring of a class says, looked up in another class where it says so."""
    section = re.search(r"^Parameters\n-+\n(.*?)(?:\n\n|\Z)", inspect.getdoc(cls) or "", re.MULTILINE | re.DOTALL)
    found = {}
    for names, kind, text in re.findall(r"^(\w[\w, ]*?)(?: : (.*))?\n((?: +.*\n?)+)", section[1] if section else "", re.MULTILINE):
        other = re.fullmatch(r"As in :class:`~?(?:\w+\.)*(\w+)`\.", " ".join(text.split()))
        entry = Description(kind, plain(text))
        inherited = descriptions(known[other[1]], known) if other else {}
        found.update({name: inherited.get(name, entry) for name in names.split(", ")})
    return found


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(str(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no whole number") from None


def real(text: str) -> float:
    """A number."""
    try:
        return float(str(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number") from None


def number_or_text(text: str) -> int | float | str:
    """A number where it reads as one, else the text."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(str(text))
    return str(text)


def comma_list(one: Callable[[str], Any], counts: Sequence[int] = ()) -> Callable[[str], Any]:
    """Numbers with commas between them as a tuple; where ``counts`` is given, one of so many."""

    def parse(text: str) -> tuple[Any, ...]:
        values = tuple(one(part.strip()) for part in str(text).strip("()[] ,").split(","))
        if counts and len(values) not in counts:
            found = f"{text!r} has {len(values)} number{'s' * (len(values) != 1)}"
            raise typer.BadParameter(f"{found}; expected {' or '.join(map(str, counts))}, with a comma between them")
        return values

    parse.__name__ = "numbers"
    return parse


def weights(text: str) -> dict[str, float]:
    """Names and numbers, ``r1=1,r2=0.5``, as a mapping."""
    pairs = [part.partition("=") for part in str(text).split(",")]
    if not all(name.strip() and number for name, _, number in pairs):
        raise typer.BadParameter(f"{text!r}: expected names and numbers, such as r1=1,r2=0.5")
    return {name.strip(): real(number) for name, _, number in pairs}


def choice(allowed: tuple[Any, ...]) -> Callable[[str], Any]:
    """One of some words; None is spelled ``none``."""
    by_name = {_spelled(value): value for value in allowed}

    def parse(text: str) -> Any:
        if text not in by_name:
            raise typer.BadParameter(f"{text!r} is none of {', '.join(map(repr, by_name))}")
        return by_name[text]

    parse.__name__ = "word"
    return parse


def _option(parameter: inspect.Parameter, hint: Any, said: Description) -> inspect.Parameter:
    name, default = parameter.name, DEFAULTS.get(parameter.name, parameter.default)
    if hint is bool:
        return keyword(name, Annotated[bool, typer.Option(help=said.text)], default)
    parser, metavar = _parser(hint, said.kind)
    if name in REQUIRED:
        text = said.text.partition(";")[0].rstrip(".") + "."  # what follows says that it may be left out
        return keyword(name, Annotated[Any, typer.Option(help=text, parser=parser, metavar=metavar)])
    return keyword(name, Annotated[Any, typer.Option(help=said.text, parser=parser, metavar=metavar)], _default(default, said.kind))


def keyword(name: str, hint: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """A parameter of a command, as typer reads it."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _parser(hint: Any, kind: str) -> tuple[Callable[[str], Any], str]:
    """How a value is read, and how the help calls it."""
    words = _choices(kind)
    if words:
        return choice(words), "|".join(map(_spelled, words))
    if any(typing.get_origin(part) is collections.abc.Mapping for part in (hint, *typing.get_args(hint))):
        return weights, "name=number,…"
    several = next((part for part in (hint, *typing.get_args(hint)) if _is_list(part)), None)
    if several is not None:
        inner = typing.get_args(several)
        columns = str in typing.get_args(inner[0])
        one: Callable[[str], Any] = number_or_text if columns else real if inner[0] is float else whole
        name = "column" if columns else "number" if inner[0] is float else "int"
        if typing.get_origin(several) is tuple and inner[-1] is not Ellipsis:
            return comma_list(one, (len(inner),)), ",".join([name] * len(inner))
        return comma_list(one), f"{name},{name},…"
    parts = typing.get_args(hint) or (hint,)
    if str in parts and float in parts:
        return number_or_text, "number|text"
    if float in parts:
        return real, "number"
    return (whole, "int") if int in parts else (str, "text")


def _is_list(hint: Any) -> bool:
    return typing.get_origin(hint) in (tuple, list, collections.abc.Sequence)


def _choices(kind: str) -> tuple[Any, ...]:
    """The values between braces in a docstring's type, in their order."""
    braces = re.match(r"\{.*?\}", kind)
    if not braces:
        return ()
    body = ast.parse(braces[0], mode="eval").body
    return tuple(ast.literal_eval(element) for element in body.elts) if isinstance(body, ast.Set) else ()


def _default(value: Any, kind: str) -> str | None:
    """A default as it is written on the command line; None, unless it is a choice, is not written at all."""
    if value is None and None not in _choices(kind):
        return None
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else _spelled(value)


def _spelled(value: Any) -> str:
    return "none" if value is None else str(value)


def plain(text: str) -> str:
    """One paragraph without the marks of reStructuredText."""
    text = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"\1", " ".join(text.split()))
    return re.sub(r"\*([^*]+)\*", r"\1", text.replace("``", "").replace("`", ""))
