"""Checks of constructor parameters: each names the parameter, what came and what was expected."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["affordable", "asked_for", "choice", "flag", "number", "pair", "towers", "usable_device", "whole", "widths", "writable_name"]


def whole(name: str, value: Any, least: int) -> None:
    """Refuse what is not a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}={value!r}: expected a whole number, {least} or more")


def widths(name: str, value: Any, expected: str) -> None:
    """Refuse what is not a sequence of layer sizes; ``expected`` says what they are."""
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray) or len(value) < 1:
        raise ValueError(f"{name}={value!r}: expected {expected}")
    for i, size in enumerate(value):
        whole(f"{name}[{i}]", size, 1)


def number(name: str, value: Any, low: float, high: float = float("inf"), *, open_low: bool = False) -> None:
    """Refuse what is not a number from ``low`` to ``high``."""
    good = (
        isinstance(value, int | float | np.number)
        and not isinstance(value, bool)
        and np.isfinite(value)
        and low <= value <= high
        and not (open_low and value == low)
    )
    if not good:
        bounds = "finite number" if low == -float("inf") else f"finite number {'above' if open_low else 'of at least'} {low:g}"
        raise ValueError(f"{name}={value!r}: expected a {bounds}" + (f" and at most {high:g}" if high != float("inf") else ""))


def affordable(name: str, value: Any, numbers: float) -> None:
    """Refuse what asks for more single-precision numbers than the machine's memory holds."""
    gigabytes, held = 4 * numbers / 2**30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if gigabytes > held:
        raise ValueError(f"{name}={value!r}: would take {gigabytes:,.0f} GiB of memory, and this machine has {held:,.0f}; take fewer")


def asked_for(n: Any, columns: int) -> None:
    """Refuse a number of samples, of so many columns, that is none or that memory cannot hold."""
    whole("n", n, 1)
    affordable("n", n, float(n) * columns)


def pair(name: str, value: Any) -> tuple[float, float]:
    """Two numbers as floats; refuses anything else."""
    if not isinstance(value, Sequence | np.ndarray) or len(value) != 2 or isinstance(value, str):
        raise ValueError(f"{name}={value!r}: expected two numbers")
    for position, entry in enumerate(value):
        number(f"{name}[{position}]", entry, -float("inf"))
    return float(value[0]), float(value[1])


def choice(name: str, value: Any, options: Any) -> None:
    """Refuse what is not one of ``options``."""
    if not isinstance(value, str | None) or value not in options:
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, options))}")


def flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={value!r}: expected True or False")


def towers(value: Any) -> None:
    """Refuse what is no mapping from usable names to columns; which columns there are is known when the data are."""
    if not isinstance(value, Mapping) or len(value) < 2:
        raise ValueError(
            f'towers={value!r}: expected a mapping from two or more names to columns, such as {{"picture": range(64), "name": [64]}}'
        )
    for name in value:
        reserved = name == "label" or (isinstance(name, str) and re.search(r"(^|_)hidden\d+$", name) is not None)
        if not isinstance(name, str) or not name.isidentifier() or reserved:
            why = "is kept for other layers" if reserved else "is no Python identifier"
            raise ValueError(f"towers: the name {name!r} {why}; choose another, such as 'picture'")


def usable_device(device: Any) -> None:
    """Refuse a device that torch cannot use here."""
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device={device!r}: torch cannot use it here ({str(error).splitlines()[0]}); try 'cpu'") from error


def writable_name(name: str, value: Any) -> None:
    """Refuse what cannot be the name of a folder."""
    if value is not None and not isinstance(value, str | os.PathLike):
        raise ValueError(f"{name}={value!r}: expected the name of a folder, or None to write nothing")
