"""Command-line options from an estimator's parameter table, and how their values are read."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

__all__ = ["choice", "comma_list", "keyword", "options", "real", "trainable", "whole"]

DEFAULTS = {"random_state": 0}  # a run can be repeated without being asked for


def trainable(cls: Any) -> bool:
    """Whether the command line can train it: not one that is built around another estimator."""
    from equilibria.estimators.params import parameters

    return all(field.metadata["option"] or field.kw_only for field in parameters(cls))


def options(cls: Any) -> list[inspect.Parameter]:
    """One typer option for each parameter of an estimator; ``out`` must be given.

    >>> from equilibria import RBM
    >>> [option.name for option in options(RBM)][:3]
    ['n_components', 'batch_size', 'n_iter']
    """
    from equilibria.estimators.params import parameters, spelled

    found = []
    for field in parameters(cls):
        check, text = field.metadata["check"], field.metadata["doc"]
        default = DEFAULTS.get(field.name, field.default)
        if not field.metadata["option"]:
            continue
        kind: Any = bool if check.kind is bool and not check.many else Any
        how: dict[str, Any] = {"help": text}
        if kind is Any:
            how["parser"], how["metavar"] = _reader(check)
            default = spelled(default) if default is not None or check.options else None
        if field.name == "out":
            how["help"], default = text.partition(";")[0] + ".", inspect.Parameter.empty
        found.append(keyword(field.name, Annotated[kind, typer.Option(**how)], default))
    return found


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
