"""Checks of arguments, each written once: a check refuses a bad value and returns a good one.

A check is called with the argument's name and its value. It returns the value as Python's own type
(a numpy integer becomes an ``int``) or raises a ``ValueError`` that names the argument, what came
and what was expected. The parameters of estimators carry the same checks.

>>> whole(1)("steps", np.int64(20))
20
>>> whole(1)("steps", 0)
Traceback (most recent call last):
ValueError: steps=0: expected a whole number, 1 or more
>>> choice("adam", "sgd")("optimiser", "adma")
Traceback (most recent call last):
ValueError: optimiser='adma': expected 'adam' or 'sgd'
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = [
    "Check",
    "affordable",
    "anything",
    "choice",
    "device",
    "flag",
    "folder",
    "number",
    "optional",
    "seed",
    "sequence",
    "whole",
    "widths",
]


@dataclasses.dataclass(frozen=True)
class Check:
    """What is accepted, in words and as a function.

    Attributes
    ----------
    expected : str
        In words, for the message and the documentation.
    accept : callable
        value → the value as Python's own type, or None where it is refused.
    kind : type
        What one entry is on the command line: ``int``, ``float``, ``str``, ``bool``, or ``object``
        for a word, columns or a mapping.
    options : tuple of str
        The values that there are, where they are few.
    many : bool
        Whether the value is a sequence.
    optional : bool
        Whether None is accepted.
    """

    expected: str
    accept: Callable[[Any], Any]
    kind: type = str
    options: tuple[str, ...] = ()
    many: bool = False
    optional: bool = False

    def __call__(self, name: str, value: Any) -> Any:
        if value is None and self.optional:
            return None
        accepted = self.accept(value)
        if accepted is None:
            raise ValueError(f"{name}={value!r}: expected {self.expected}")
        return accepted


def whole(least: int = 0, most: int | None = None) -> Check:
    """A whole number from ``least`` to ``most``."""

    def accept(value: Any) -> int | None:
        good = isinstance(value, int | np.integer) and not isinstance(value, bool)
        good = good and value >= least and (most is None or value <= most)
        return int(value) if good else None

    ends = f"{least} or more" if most is None else f"{least} to {most}"
    return Check(f"a whole number, {ends}", accept, int)


def number(low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> Check:
    """A finite number from ``low`` to ``high``; with ``above`` not ``low`` itself."""

    def accept(value: Any) -> float | None:
        if not isinstance(value, int | float | np.number) or isinstance(value, bool):
            return None
        good = math.isfinite(value) and low <= value <= high and not (above and value == low)
        return (value.item() if isinstance(value, np.number) else value) if good else None

    words = "a finite number"
    if low > -math.inf:
        words += f" above {low:g}" if above else f" of at least {low:g}"
    if high < math.inf:
        words += f"{' and' if low > -math.inf else ''} at most {high:g}"
    return Check(words, accept, float)


def choice(*options: str) -> Check:
    """One of these words."""
    names = [repr(option) for option in options]
    words = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]

    def accept(value: Any) -> str | None:
        return str(value) if isinstance(value, str) and value in options else None

    return Check(words, accept, str, tuple(options))


def flag() -> Check:
    """True or False."""
    kinds = bool | np.bool_
    return Check("True or False", lambda v: bool(v) if isinstance(v, kinds) else None, bool)


def sequence(
    each: Check, least: int = 1, expected: str | None = None, length: int | None = None
) -> Check:
    """A tuple whose entries pass ``each``; of ``length`` entries, where it is given."""

    def accept(value: Any) -> tuple[Any, ...] | None:
        if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
            return None
        if len(value) < least or (length is not None and len(value) != length):
            return None
        entries = tuple(each.accept(entry) for entry in value)
        return None if any(entry is None for entry in entries) else entries

    words = expected or (f"{length} numbers" if length else f"a sequence, each {each.expected}")
    return Check(words, accept, each.kind, many=True)


def widths(least: int = 1) -> Check:
    """Sizes of layers, such as (500, 1000)."""
    return sequence(whole(1), least, "widths of layers, such as (500, 1000), each 1 or more")


def optional(check: Check) -> Check:
    """None, or what ``check`` accepts."""
    return dataclasses.replace(check, expected=f"None or {check.expected}", optional=True)


def anything(expected: str = "anything") -> Check:
    """No check here: the value is checked where the data are known."""
    return Check(expected, lambda value: value, object, optional=True)


def folder() -> Check:
    """The name of a folder."""
    path: Any = str | os.PathLike
    return Check("the name of a folder", lambda value: value if isinstance(value, path) else None)


def seed() -> Check:
    """A whole number, a numpy generator, or None."""

    def accept(value: Any) -> Any:
        if isinstance(value, np.random.RandomState | np.random.Generator):
            return value
        return whole().accept(value)

    return optional(Check("a whole number, a numpy generator or None", accept, int))


def device() -> Check:
    """A device that torch can use here."""

    def accept(value: Any) -> str | None:
        import torch

        if not isinstance(value, str | torch.device):
            return None
        try:
            torch.zeros(1, device=value).item()
        except (RuntimeError, AssertionError, TypeError):
            return None
        return str(value)

    return Check("a device that torch can use here, such as 'cpu'", accept)


def affordable(name: str, value: Any, numbers: float) -> None:
    """Refuse what asks for more single-precision numbers than the machine's memory holds."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    asked, held = 4 * numbers / 2**30, pages / 2**30
    if asked > held:
        what = f"would take {asked:,.0f} GiB of memory, and this machine has {held:,.0f}"
        raise ValueError(f"{name}={value!r}: {what}; take fewer")
