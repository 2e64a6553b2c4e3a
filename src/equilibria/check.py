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
import difflib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

__all__ = [
    "Check",
    "affordable",
    "anything",
    "choice",
    "column",
    "device",
    "flag",
    "folder",
    "memory",
    "number",
    "optional",
    "seed",
    "sequence",
    "source",
    "weights",
    "whole",
    "widths",
]


@dataclasses.dataclass(frozen=True)
class Check:
    """What is accepted: data, so that the command line has the same checks without the models.

    Attributes
    ----------
    expected : str
        In words, for the message and the documentation.
    rule : str
        A row of ``RULES``: what one entry is.
    options : tuple of str
        The words that there are, where they are few.
    low, high : float
        The range of a number; with ``above`` not ``low`` itself.
    many : bool
        Whether the value is a sequence: of ``least`` entries or more, or of ``length``.
    optional : bool
        Whether None is accepted.
    """

    expected: str
    rule: str
    options: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    many: bool = False
    least: int = 1
    length: int | None = None
    optional: bool = False

    @property
    def kind(self) -> type:
        """What one entry is on the command line: ``int``, ``float``, ``str``, ``bool``, or
        ``object`` for a word, columns or a mapping."""
        return RULES[self.rule][0]

    def __call__(self, name: str, value: Any) -> Any:
        if value is None and self.optional:
            return None
        accepted = self.accept(value)
        if accepted is None:
            raise ValueError(f"{name}={value!r}: expected {self.expected}")
        return accepted

    def accept(self, value: Any) -> Any:
        """The value as Python's own type, or None where it is refused."""
        accept = RULES[self.rule][1]
        if not self.many:
            return accept(self, value)
        if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray):
            return None
        if len(value) < self.least or self.length not in (None, len(value)):
            return None
        entries = tuple(accept(self, entry) for entry in value)
        return None if any(entry is None for entry in entries) else entries


def _whole(check: Check, value: Any) -> int | None:
    good = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return int(value) if good and check.low <= value <= check.high else None


def _number(check: Check, value: Any) -> float | None:
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        return None
    if isinstance(value, int) and abs(value) > 1e300:  # no float holds it
        return None
    good = math.isfinite(value) and check.low <= value <= check.high
    good = good and not (check.above and value == check.low)
    return (value.item() if isinstance(value, np.number) else value) if good else None


def _choice(check: Check, value: Any) -> str | None:
    return str(value) if isinstance(value, str) and value in check.options else None


def _flag(check: Check, value: Any) -> bool | None:
    return bool(value) if isinstance(value, bool | np.bool_) else None


def _folder(check: Check, value: Any) -> Any:
    return value if isinstance(value, str | os.PathLike) else None


def _seed(check: Check, value: Any) -> Any:
    generator = isinstance(value, np.random.RandomState | np.random.Generator)
    return value if generator else _whole(check, value)


def _column(check: Check, value: Any) -> Any:
    return value if isinstance(value, str) else _whole(check, value)


def _weights(check: Check, value: Any) -> dict[str, float] | None:
    if not isinstance(value, Mapping) or any(name not in check.options for name in value):
        return None
    weights = {str(name): _number(check, weight) for name, weight in value.items()}
    return None if None in weights.values() else weights  # type: ignore[return-value]


def _device(check: Check, value: Any) -> str | None:
    import torch

    if not isinstance(value, str | torch.device):
        return None
    try:
        torch.zeros(1, device=value).item()
    except (RuntimeError, AssertionError, TypeError):
        return None
    return str(value)


RULES: Mapping[str, tuple[type, Callable[[Check, Any], Any]]] = MappingProxyType(
    {
        "whole": (int, _whole),
        "number": (float, _number),
        "choice": (str, _choice),
        "flag": (bool, _flag),
        "folder": (str, _folder),
        "seed": (int, _seed),
        "device": (str, _device),
        "column": (object, _column),
        "weights": (object, _weights),
        "anything": (object, lambda check, value: value),
    }
)
"""Rule → what an entry is on the command line, and (check, value) → value, None if refused."""


def whole(least: int = 0, most: int | None = None) -> Check:
    """A whole number from ``least`` to ``most``."""
    ends = f"{least} or more" if most is None else f"{least} to {most}"
    high = math.inf if most is None else most
    return Check(f"a whole number, {ends}", "whole", low=least, high=high)


def number(low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> Check:
    """A finite number from ``low`` to ``high``; with ``above`` not ``low`` itself."""
    words = "a finite number"
    if low > -math.inf:
        words += f" above {low:g}" if above else f" of at least {low:g}"
    if high < math.inf:
        words += f"{' and' if low > -math.inf else ''} at most {high:g}"
    return Check(words, "number", low=low, high=high, above=above)


def choice(*options: str) -> Check:
    """One of these words."""
    names = [repr(option) for option in options]
    words = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
    return Check(words, "choice", tuple(options))


def flag() -> Check:
    """True or False."""
    return Check("True or False", "flag")


def sequence(
    each: Check, least: int = 1, expected: str | None = None, length: int | None = None
) -> Check:
    """A tuple whose entries pass ``each``; of ``length`` entries, where it is given."""
    words = expected or (f"{length} numbers" if length else f"a sequence, each {each.expected}")
    return dataclasses.replace(each, expected=words, many=True, least=least, length=length)


def widths(least: int = 1) -> Check:
    """Sizes of layers, such as (500, 1000)."""
    return sequence(whole(1), least, "widths of layers, such as (500, 1000), each 1 or more")


def optional(check: Check) -> Check:
    """None, or what ``check`` accepts."""
    return dataclasses.replace(check, expected=f"None or {check.expected}", optional=True)


def anything(expected: str = "anything") -> Check:
    """No check here: the value is checked where the data are known."""
    return Check(expected, "anything", optional=True)


def column() -> Check:
    """The name of a column, or its place."""
    return Check("a column", "column", low=0)


def weights(*names: str) -> Check:
    """A mapping from some of these names to weights."""
    words = f"a mapping from {', '.join(map(repr, names))} to weights of at least 0"
    return Check(words, "weights", tuple(names), low=0)


def folder() -> Check:
    """The name of a folder."""
    return Check("the name of a folder", "folder")


def seed() -> Check:
    """A whole number, a numpy generator, or None."""
    return optional(Check("a whole number or a numpy generator", "seed", low=0))


def device() -> Check:
    """A device that torch can use here."""
    return Check("a device that torch can use here, such as 'cpu'", "device")


def source(
    given: str | os.PathLike[str], names: Sequence[str], name: str = "source"
) -> Path | None:
    """The path that is meant, or None for the name of a data set; what is neither is refused."""
    if isinstance(given, str) and given in names:
        return None
    try:
        path = Path(os.path.expanduser(given))  # of no such user: as it is
        if path.exists():
            return path
    except (OSError, TypeError, ValueError) as error:  # too long, or in a folder without access
        said = getattr(error, "strerror", None) or error
        raise ValueError(f"{name}={given!r}: cannot be a path ({said}); give another") from error
    if os.sep in str(given) or path.suffix:
        raise ValueError(f"{name}={str(given)!r}: no such file or folder")
    close = difflib.get_close_matches(str(given), names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    known = ", ".join(names)
    raise ValueError(f"{name}={str(given)!r}: neither a path nor a built-in set ({known}){hint}")


def memory() -> float:
    """How many single-precision numbers the machine's memory holds."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 4


def affordable(name: str, value: Any, numbers: float) -> None:
    """Refuse what asks for more single-precision numbers than the machine's memory holds."""
    held = memory()
    if numbers > held:
        what = f"would take {numbers / 2**28:,.0f} GiB of memory, and this machine has"
        raise ValueError(f"{name}={value!r}: {what} {held / 2**28:,.0f}; take fewer")
