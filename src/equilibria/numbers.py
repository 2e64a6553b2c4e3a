"""One type for every number that the library reports."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Measure", "effective", "migrate"]

_FLOATS = ("value", "low", "high", "level", "chance", "ideal", "ess")


@dataclasses.dataclass(frozen=True)
class Measure:
    """A measured or estimated number with what is needed to read it.

    Attributes
    ----------
    name : str
        The quantity, with its unit where it has one: "log Z, nats".
    value : float
        The estimate.
    low, high : float or None
        Ends of the interval; equal to ``value`` where the value is exact, None where no interval
        is known.
    level : float
        Nominal coverage of the interval.
    n : int or None
        Sample count.
    method : str
        How the number was obtained, or the features that samples were compared through.
    chance : float or None
        What chance alone gives with so many samples; a difference of this size means nothing.
    ideal : float or None
        What a perfect model scores in the limit of many samples.
    ess : float or None
        Effective sample size.
    note : str
        How to read the number, and what its interval leaves out.
    warning : str
        What was seen to go wrong; empty if nothing was.
    parts : tuple of Measure
        The numbers this one summarises: both sides of log Z, the measures of a report. They are
        found by name, ``measure["reverse AIS"]``.

    Examples
    --------
    >>> z = Measure("log Z", 1.25, 1.0, 1.5, n=100, ess=80.0, method="AIS")
    >>> print(z)
    log Z = 1.25 (95 % interval 1 to 1.5; n = 100, effectively 80; AIS)
    >>> print(Measure.exact("log Z", 2.0, "enumeration"))
    log Z = 2 (exact; enumeration)
    >>> print(Measure("KL over modes", 0.0031, n=2500, chance=0.0014, ideal=0.0))
    KL over modes = 0.0031 (n = 2500; chance 0.0014; ideal 0)
    >>> Measure.from_json(z.to_json()) == z
    True
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    n: int | None = None
    method: str = ""
    chance: float | None = None
    ideal: float | None = None
    ess: float | None = None
    note: str = ""
    warning: str = ""
    parts: tuple[Measure, ...] = ()

    @classmethod
    def exact(cls, name: str, value: float, method: str, **others: Any) -> Measure:
        """A number without error: its interval has no width."""
        return cls(name, value, value, value, method=method, **others)

    @property
    def is_exact(self) -> bool:
        """Whether the interval has no width."""
        return self.low is not None and self.low == self.high

    def __str__(self) -> str:
        said = []
        if self.is_exact:
            said.append("exact")
        elif self.low is not None and self.high is not None:
            said.append(f"{100 * self.level:g} % interval {self.low:.6g} to {self.high:.6g}")
        if self.n is not None:
            effective = "" if self.ess is None else f", effectively {self.ess:.0f}"
            said.append(f"n = {self.n}{effective}")
        if self.chance is not None:
            said.append(f"chance {self.chance:.4g}")
        if self.ideal is not None:
            said.append(f"ideal {self.ideal:.4g}")
        if self.method:
            said.append(self.method)
        sentence = f"{self.name} = {self.value:.6g}" + (f" ({'; '.join(said)})" if said else "")
        remarks = " ".join(text for text in (self.warning, self.note) if text)
        lines = [f"{sentence}. {remarks}" if remarks else sentence]
        parts = (line for part in self.parts for line in str(part).split("\n"))
        return "\n".join([*lines, *(f"  {line}" for line in parts)])

    def __float__(self) -> float:
        return self.value

    def __getitem__(self, name: str) -> Measure:
        """The part of that name, or the number itself; ``KeyError`` names those that there are."""
        for part in (self, *self.parts):
            if part.name == name:
                return part
        raise KeyError(f"{name!r}: {self.name} has the parts {[part.name for part in self.parts]}")

    def replace(self, **changes: Any) -> Measure:
        """The same number with other fields."""
        return dataclasses.replace(self, **changes)

    def shifted(self, offset: float, *, sign: float = 1.0, **changes: Any) -> Measure:
        """``offset + sign · self``: a log-likelihood from log Z, for instance.

        Examples
        --------
        >>> z = Measure("log Z", 2.0, 1.6, 2.3)
        >>> print(z.shifted(1.0, sign=-1.0, name="log p"))
        log p = -1 (95 % interval -1.3 to -0.6)
        """
        if self.low is not None and self.high is not None:
            low, high = sorted((offset + sign * self.low, offset + sign * self.high))
            changes = {"low": low, "high": high, **changes}
        return self.replace(value=offset + sign * self.value, **changes)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for a run folder; a number that is not finite becomes text."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        data["parts"] = [part.to_json() for part in self.parts]
        empty: tuple[Any, ...] = (None, "", [])
        return {k: _plain(v) for k, v in data.items() if v not in empty}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measure:
        """The inverse of :meth:`to_json`; files of version 0.1.0 are read too."""
        data = migrate(data)
        data = {k: float(v) if k in _FLOATS and v is not None else v for k, v in data.items()}
        data["parts"] = tuple(cls.from_json(part) for part in data.get("parts", ()))
        return cls(**data)


_RENAMED = {"samples": "n", "caveat": "note", "floor": "chance", "best": "ideal"}
_RENAMED |= {"features": "method"}


def migrate(data: Mapping[str, Any]) -> dict[str, Any]:
    """Fields under the names of today from a dictionary of version 0.1.0 (or of today).

    A caveat began with the warning, which is a field of its own now.

    >>> migrate({"samples": 9, "caveat": "Few. Low.", "warning": "Few."})
    {'n': 9, 'note': 'Low.', 'warning': 'Few.'}
    """
    found = {_RENAMED.get(name, name): value for name, value in data.items()}
    if "caveat" in data:
        found["note"] = (found["note"] or "").removeprefix(found.get("warning") or "").strip()
    return {name: value for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def effective(log_weights: np.ndarray) -> float:
    """(Σw)² / Σw²: the number of equal weights with the same variance of the mean.

    >>> effective(np.zeros(4))
    4.0
    """
    relative = np.exp(log_weights - log_weights.max())
    return float(relative.sum() ** 2 / np.square(relative).sum())
