"""Command-line options from the estimators' parameters, and how their values are read.

``models.json`` beside this file has what the command line needs of every model: help, options,
defaults and checks. Importing the models would take seconds, in which a misspelled word would wait
for its answer. ``python docs/make_api.py`` writes it, and a test holds it to the estimators.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "KNOWN",
    "choice",
    "comma_list",
    "describe",
    "keyword",
    "known",
    "options",
    "real",
    "refuse",
    "trainable",
    "whole",
    "written",
]

KNOWN = Path(__file__).with_name("models.json")
DEFAULTS = {"random_state": 0}  # a run can be repeated without being asked for


def trainable(cls: Any) -> bool:
    """Whether the command line can train it: not one that is built around another estimator."""
    from equilibria.estimators.params import parameters

    return all(field.metadata["option"] or field.kw_only for field in parameters(cls))


def describe(cls: Any) -> dict[str, Any]:
    """Of an estimator that can be trained: its help, and its options with defaults and checks."""
    from equilibria.check import Check
    from equilibria.estimators.params import parameters, spelled

    plain, found = {field.name: field.default for field in dataclasses.fields(Check)}, []
    for field in parameters(cls):
        check, default = field.metadata["check"], DEFAULTS.get(field.name, field.default)
        if not field.metadata["option"]:
            continue
        if check.kind is not bool or check.many:
            default = spelled(default) if default is not None or check.options else None
        told = {key: value for key, value in vars(check).items() if value != plain[key]}
        about = {"name": field.name, "doc": field.metadata["doc"]}
        found.append({**about, "default": default, "check": told})
    return {"help": _unmarked(cls), "options": found}


def written() -> str:
    """What ``models.json`` is to hold: names of data sets, and of each model what is described."""
    from equilibria.data.load import names
    from equilibria.estimators import all_estimators

    models = {name: describe(cls) for name, cls in all_estimators().items() if trainable(cls)}
    return (
        json.dumps({"data": list(names()), "models": models}, indent=1, ensure_ascii=False) + "\n"
    )


def _unmarked(cls: Any) -> str:
    """What a model's docstring says of it, without the marks of reStructuredText."""
    text = re.split(r"\n\n(?:Parameters|Attributes|References)\n", inspect.getdoc(cls) or "")[0]
    text = re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"\1", text)
    return re.sub(r"\*([^*\n]+)\*", r"\1", text.replace("`", ""))


@functools.cache
def known() -> dict[str, Any]:
    """What ``models.json`` holds."""
    found: dict[str, Any] = json.loads(KNOWN.read_text(encoding="utf-8"))
    return found


def options(about: dict[str, Any]) -> list[inspect.Parameter]:
    """One typer option for each that :func:`describe` tells of; ``out`` must be given.

    >>> [option.name for option in options(known()["models"]["rbm"])][:3]
    ['n_components', 'batch_size', 'n_iter']
    """
    found = []
    for field in about["options"]:
        check, default = _check(field), field["default"]
        kind: Any = bool if check.kind is bool and not check.many else Any
        how: dict[str, Any] = {"help": field["doc"]}
        if kind is Any:
            how["parser"], how["metavar"] = _reader(check)
        if field["name"] == "out":
            how["help"] = field["doc"].partition(";")[0] + "."
            default = inspect.Parameter.empty
        found.append(keyword(field["name"], Annotated[kind, typer.Option(**how)], default))
    return found


def refuse(about: dict[str, Any], given: dict[str, Any]) -> None:
    """Refuse values of options as the estimator would, but for devices, which torch knows."""
    for field in about["options"]:
        if field["check"]["rule"] != "device":
            _check(field)(field["name"], given[field["name"]])


def _check(field: dict[str, Any]) -> Any:
    from equilibria.check import Check

    told = field["check"]
    return Check(**{**told, "options": tuple(told.get("options", ()))})


def keyword(name: str, hint: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """A parameter of a command, as typer reads it."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


# ---------------------------------------------------------------------- how values are read


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


def word(text: str) -> int | float | str:
    """A number where it reads as one, else the text."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(str(text))
    return str(text).strip()


def comma_list(one: Callable[[str], Any], counts: Sequence[int] = ()) -> Callable[[str], Any]:
    """Values with commas between them as a tuple; where ``counts`` is given, one of so many."""

    def parse(text: str) -> tuple[Any, ...]:
        values = tuple(one(part.strip()) for part in str(text).strip("()[] ,").split(","))
        if counts and len(values) not in counts:
            found = f"{text!r} has {len(values)} number{'s' * (len(values) != 1)}"
            expected = f"expected {' or '.join(map(str, counts))}, with a comma between them"
            raise typer.BadParameter(f"{found}; {expected}")
        return values

    return parse


def choice(*allowed: str | None) -> Callable[[str], Any]:
    """One of some words; None is spelled ``none``."""
    by_name = {"none" if value is None else value: value for value in allowed}

    def parse(text: str) -> Any:
        if str(text) not in by_name:
            raise typer.BadParameter(f"{text!r} is none of {', '.join(map(repr, by_name))}")
        return by_name[str(text)]

    return parse


def anything(text: str) -> Any:
    """A word or number, several with commas between them, or a mapping of them.

    >>> anything("real"), anything("age,3"), anything("r1=1,r2=0.5")
    ('real', ('age', 3), {'r1': 1, 'r2': 0.5})
    """
    if "=" in str(text):
        pairs = [part.partition("=") for part in str(text).split(",")]
        if not all(name.strip() and entry.strip() for name, _, entry in pairs):
            expected = "expected names and values, such as age=real,3=binary"
            raise typer.BadParameter(f"{text!r}: {expected}")
        return {word(name): word(entry) for name, _, entry in pairs}
    return comma_list(word)(text) if "," in str(text) else word(text)


_READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    int: (whole, "int"),
    float: (real, "number"),
    str: (str, "text"),
    object: (word, "name"),
}


def _reader(check: Any) -> tuple[Callable[[str], Any], str]:
    """How a value is read, and how the help calls it."""
    if check.options:
        names = (*check.options, None) if check.optional else check.options
        return choice(*names), "|".join("none" if name is None else name for name in names)
    one, name = _READERS[check.kind]
    if check.many:
        one, name = comma_list(one), f"{name},{name},…"
    elif check.kind is object:
        one, name = anything, "value"
    if not check.optional and check.kind is not object:
        return one, name
    return lambda text: None if str(text) == "none" else one(text), name
