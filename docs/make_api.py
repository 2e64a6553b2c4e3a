"""Writes docs/api.md: every public name of the library with its signature and the first sentences
of its docstring; and src/equilibria/cli/models.json: the options of every model.

    python docs/make_api.py            # writes both
    python docs/make_api.py --check    # says whether they are up to date, and writes nothing

Nothing is said here that is not in the sources: a module's public names are its ``__all__``, in the
order of the source. A name that a package takes from a module of its own is described once, under
the package.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import itertools
import pkgutil
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).with_name("api.md")
INSIDE = (
    "__main__",
    "check",
    "cli",
    "data",
    "estimators",
    "evaluation.statistics",
    "fast",
    "games.best",
    "games.replicas",
    "inference.belief",
    "inference.boltzmann",
    "inference.unrolling",
    "networks.normalisation",
    "networks.pictures",
    "recipes",
    "report",
    "training",
)
"""Packages and modules whose own modules a user never imports; what a package hands on is described
all the same."""
SHOWN = (
    "data",
    "estimators",
    "estimators.adversarial",
    "estimators.contrastive",
    "estimators.critic",
    "estimators.estimator",
    "recipes.adversarial",
    "training.health",
    "training.run",
    "training.stage",
    "training.trainer",
)
"""The exceptions."""
ORDER = (
    *("", "estimators", "numbers", "errors", "random", "data", "units", "models", "inference"),
    *("evaluation", "games", "solvers", "recipes", "training", "networks"),
)
HEAD = """# API reference

<!-- Written by docs/make_api.py from the sources: change the docstrings, then run it again. -->

Every public name with its signature and the first sentence of its docstring. `help(name)` has the
rest: equations, shapes, sources and an example. An estimator's own parameters stand in a table;
those that it shares stand with its bases. [architecture.md](architecture.md) has the contracts;
the guides are [for Boltzmann machines](guides/boltzmann.md), [for GANs](guides/gan.md) and
[on trust](guides/trust.md). The
command line has its own help: `equilibria --help`.
"""


def page() -> str:
    """The text of docs/api.md."""
    return (
        "\n".join(
            [HEAD, *_contents(), "", *(line for name in _modules() for line in _section(name))]
        ).rstrip()
        + "\n"
    )


@functools.cache
def _modules() -> tuple[str, ...]:
    """The modules with something to describe, in the order of the page."""
    import equilibria

    found = [
        "equilibria",
        *(info.name for info in pkgutil.walk_packages(equilibria.__path__, "equilibria.")),
    ]
    kept = [name for name in found if _public(name.removeprefix("equilibria").lstrip("."))]
    return tuple(name for name in sorted(kept, key=_rank) if _own(name))


def _public(name: str) -> bool:
    return name in SHOWN or not any(
        name == hidden or name.startswith(f"{hidden}.") for hidden in INSIDE
    )


def _rank(name: str) -> tuple[int, str]:
    """By package in ``ORDER`` (one that it does not know comes last), then by name."""
    package = name.removeprefix("equilibria").lstrip(".").split(".")[0]
    return ORDER.index(package) if package in ORDER else len(ORDER), name


@functools.cache
def _own(module: str) -> tuple[str, ...]:
    """The public names that are described under ``module``: not those that a package above it
    shows, or that come from elsewhere."""
    shown = [id(_value(above, name)) for above in _above(module) for name in _names(above)]
    names = [
        name
        for name in _names(module)
        if id(_value(module, name)) not in shown and _at_home(module, name)
    ]
    return tuple(sorted(names, key=str.lower)) if module == "equilibria" else tuple(names)


def _above(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


def _names(module: str) -> list[str]:
    """What a module says is public, but for other modules and its version."""
    names = getattr(importlib.import_module(module), "__all__", [])
    return [
        name
        for name in names
        if not isinstance(_value(module, name), ModuleType) and not name.startswith("__")
    ]


def _at_home(module: str, name: str) -> bool:
    value = _value(module, name)
    if not inspect.isroutine(value) and not inspect.isclass(value):
        return True
    home = value.__module__
    return home == module or home.startswith(module + ".") or not home.startswith("equilibria")


def _value(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _contents() -> Iterator[str]:
    """Links to the sections, one line for a package."""
    packages: dict[str, list[str]] = {}
    for name in _modules():
        packages.setdefault(".".join(name.split(".")[:2]), []).append(name)
    for names in packages.values():
        yield "- " + " · ".join(f"[{name}](#{name.replace('.', '')})" for name in names)


def _section(module: str) -> Iterator[str]:
    yield f"## {module}"
    yield ""
    yield _summary(importlib.import_module(module))
    yield ""
    for name in _own(module):
        yield from _entry(module, name)
    yield ""


def _entry(module: str, name: str) -> Iterator[str]:
    value = _value(module, name)
    if inspect.isclass(value):
        own = _parameters(value)
        yield _item(name + ("" if own is not None else _signature(value)), _summary(value))
        yield from _table(value, own or [])
        for method, member in _members(value):
            said = _first(_own_words(member))
            fixed = isinstance(member, property | functools.cached_property)
            shown = "" if fixed else _signature(getattr(value, method))
            if said and not _is_said_above(value, method):
                yield "  " + _item(f".{method}{shown}", said)
    elif inspect.isroutine(value):
        yield _item(name + _signature(value), _summary(value))
    else:
        yield _item(name, _first(_said_of_constants(module).get(name, "")) or _shape(value))


def _parameters(cls: type) -> list[Any] | None:
    """An estimator's own parameters; None of any other class."""
    from equilibria.estimators.estimator import Trained
    from equilibria.estimators.params import parameters

    if not issubclass(cls, Trained):
        return None
    own = inspect.get_annotations(cls)
    return [field for field in parameters(cls) if field.name in own]


def _table(cls: type, fields: list[Any]) -> Iterator[str]:
    """An estimator's bases, and its own parameters in a table."""
    if _parameters(cls) is None:
        return
    bases = [base.__name__ for base in cls.__mro__[1:] if _is_described(base)]
    if bases:
        yield "  Shares the parameters and methods of " + ", ".join(f"`{b}`" for b in bases) + "."
    if fields:
        yield from ("", "  | parameter | default | meaning |", "  | --- | --- | --- |")
        for field in fields:
            said = " ".join(field.metadata["doc"].split()).replace("|", "\\|")
            yield f"  | `{field.name}` | `{field.default!r}` | {said} |"
        yield ""


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties of a class, its library bases' included, unless a base is
    described on its own."""
    seen: dict[str, Any] = {}
    for base in cls.__mro__:
        if not base.__module__.startswith("equilibria") or (
            base is not cls and _is_described(base)
        ):
            continue
        for name, member in vars(base).items():
            kinds = (property, functools.cached_property, classmethod, staticmethod)
            if (
                not name.startswith("_")
                and name != "extra_repr"
                and (
                    inspect.isfunction(member) or isinstance(member, kinds) or hasattr(member, "fn")
                )
            ):
                seen.setdefault(name, member)
    yield from seen.items()


@functools.cache
def _is_described(cls: type) -> bool:
    return any(cls is _value(module, name) for module in _modules() for name in _own(module))


def _is_said_above(cls: type, method: str) -> bool:
    """Whether a base that is described has the same method with the same signature."""
    own = _signature(getattr(cls, method))
    bases = (base for base in cls.__mro__[1:] if _is_described(base) and hasattr(base, method))
    return any(_signature(getattr(base, method)) == own for base in bases)


def _own_words(member: Any) -> str:
    """The docstring of a method itself, not that of a base's."""
    for name in ("fget", "func", "__func__", "fn"):
        member = getattr(member, name, None) or member
    return inspect.cleandoc(getattr(member, "__doc__", None) or "")


def _signature(value: Any) -> str:
    """``(a, b=1)``: parameters with their defaults; types are left to the docstring."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    parameters = [
        p.replace(annotation=p.empty, default=_plain(p.default))
        for p in signature.parameters.values()
        if p.name not in ("self", "cls")
    ]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


class _Written:
    """A default as it is written in a signature."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _plain(default: Any) -> Any:
    """A default that reads the same in every run and version."""
    if (
        default is inspect.Parameter.empty
        or default is None
        or isinstance(default, bool | int | float | str | tuple | list)
    ):
        return default
    text = repr(default)
    return _Written(
        text
        if " at 0x" not in text
        else getattr(default, "__qualname__", f"{type(default).__name__}(…)")
    )


def _summary(value: Any) -> str:
    return _first(inspect.getdoc(value) or "")


def _first(text: str) -> str:
    """The first sentence, as Markdown, on one line."""
    paragraph = " ".join(textwrap.dedent(text).strip().split("\n\n")[0].split())
    paragraph = re.split(r"(?<=[a-zé\d)`’”\]])\. (?=[A-Z`])", paragraph, maxsplit=1)[0]
    paragraph = re.sub(
        r":\w+:`~?([^`<]+?)(?: <[^`]+>)?`",
        lambda found: f"`{found[1].rsplit('.', 1)[-1]}`",
        paragraph,
    )
    return re.sub(r"``([^`]+)``", r"`\1`", paragraph)


def _item(name: str, text: str) -> str:
    return f"- `{name}`" + (f": {text}" if text else "")


def _shape(value: Any) -> str:
    """Of a constant that nothing is said of: what it is."""
    if isinstance(value, dict | tuple | list | set | frozenset) and all(
        isinstance(key, str) for key in value
    ):
        return ", ".join(f"`{key}`" for key in value)
    return f"`{value!r}`" if isinstance(value, bool | int | float | str) else ""


@functools.cache
def _said_of_constants(module: str) -> dict[str, str]:
    """The strings that stand below assignments in a module's source."""
    body = ast.parse(inspect.getsource(importlib.import_module(module))).body
    said = {}
    for statement, below in itertools.pairwise(body):
        if (
            isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            targets = (
                statement.targets
                if isinstance(statement, ast.Assign)
                else [getattr(statement, "target", None)]
            )
            said.update(
                {
                    target.id: inspect.cleandoc(below.value.value)
                    for target in targets
                    if isinstance(target, ast.Name)
                }
            )
    return said


def main() -> int:
    """Write the page, or with ``--check`` compare it; the exit code."""
    from equilibria.cli.options import KNOWN, written

    files, old = {PAGE: page(), KNOWN: written()}, list[Path]()
    for file, text in files.items():
        if "--check" not in sys.argv[1:]:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            old.append(file)
    for file in old:
        print(f"{file} is out of date: run python docs/make_api.py")
    return len(old)


if __name__ == "__main__":
    sys.exit(main())
