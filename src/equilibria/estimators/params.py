"""Parameters of estimators: default, sentence and check of each stand in one place.

An estimator is a class whose parameters are fields::

    @estimator
    class VAE(Estimator):
        \"\"\"Variational autoencoder (Kingma & Welling 2014).\"\"\"

        latent_dim: int = param(32, "Columns of z.", whole(1))

Its constructor, the section *Parameters* of its docstring, the checks before ``fit`` and the
options on the command line all come from the fields.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import textwrap
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from equilibria.check import Check

__all__ = ["estimator", "param", "parameters", "spelled"]


def param(
    default: Any, sentence: str, check: Check, *, positional: bool = False, option: bool = True
) -> Any:
    """A field of an estimator.

    Parameters
    ----------
    default : object
        What it is unless the user says otherwise.
    sentence : str
        What it means, for docstring and help.
    check : Check
        What is accepted.
    positional : bool
        Whether it may be given by place.
    option : bool
        Whether the command line has it.
    """
    about = {"doc": sentence, "check": check, "option": option}
    return dataclasses.field(default=default, metadata=about, kw_only=not positional)


def estimator(cls: Any) -> Any:
    """Make a class with :func:`param` fields an estimator: its constructor and its docstring."""
    built = dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)
    text = inspect.cleandoc(built.__doc__ or "")
    head, mark, rest = text.partition("\n\nAttributes\n")
    if not mark:
        head, mark, rest = text.partition("\n\nReferences\n")
    if not mark:
        head, mark, rest = text.partition("\n\nExamples\n")
    if getattr(cls, "renamed", None):
        built.__init__ = _with_former_names(built.__init__, built.renamed)
    section = "\n".join(["", "", "Parameters", "----------", *map(_documented, parameters(built))])
    built.__doc__ = head + section + mark + rest
    return built


def _with_former_names(init: Callable[..., None], renamed: Mapping[str, str]) -> Any:
    """A constructor that takes the former names of parameters too, with a warning."""

    @functools.wraps(init)
    def accepting(self: Any, *args: Any, **given: Any) -> None:
        for old in [name for name in given if name in renamed]:
            message = f"{old} is now called {renamed[old]}"
            warnings.warn(message, FutureWarning, stacklevel=2)
            value = given.pop(old)
            if given.get(renamed[old]) is None:
                given[renamed[old]] = value
        init(self, *args, **given)

    return accepting


def parameters(cls: Any) -> list[dataclasses.Field[Any]]:
    """The parameters of an estimator: positional ones, its own, then inherited ones."""
    kind = cls if isinstance(cls, type) else type(cls)
    owner: dict[str, int] = {}
    for depth, base in enumerate(kind.__mro__):
        for name in inspect.get_annotations(base):
            owner.setdefault(name, depth)
    fields = [field for field in dataclasses.fields(cls) if field.init]
    return sorted(fields, key=lambda field: (bool(field.kw_only), owner[field.name]))


def spelled(value: Any) -> str:
    """A value as the command line writes it.

    >>> spelled((5, 3)), spelled({"age": "real", 3: "binary"}), spelled(None)
    ('5,3', 'age=real,3=binary', 'none')
    """
    if isinstance(value, Mapping):
        return ",".join(f"{key}={entry}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def _documented(field: dataclasses.Field[Any]) -> str:
    expected, doc = field.metadata["check"].expected, field.metadata["doc"]
    text = textwrap.wrap(doc, 92, initial_indent="    ", subsequent_indent="    ")
    return "\n".join([f"{field.name} : {expected}, default {field.default!r}", *text])
