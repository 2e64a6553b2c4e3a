"""A number is never bare: value, interval, method, effective sample size and caveat."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

__all__ = ["Estimate"]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimated quantity with its uncertainty.

    Attributes
    ----------
    value : float
        The estimate, in nats where it is a log-probability.
    low, high : float
        Ends of the interval; equal to ``value`` where the value is exact.
    method : str
        How it was obtained.
    name : str
        What is estimated.
    level : float
        The interval's nominal coverage.
    ess : float or None
        Effective sample size, in samples.
    samples : int or None
        Number of samples behind it.
    caveat : str
        What the interval does not cover; empty if there is nothing to say.
    warning : str
        What was seen to go wrong, where something was: ``caveat`` begins with it.

    Examples
    --------
    >>> print(Estimate(1.25, 1.0, 1.5, method="AIS, 100 chains", name="log Z", ess=80.0, samples=100))
    log Z = 1.250 (95 % interval 1.000 to 1.500; AIS, 100 chains; effective sample size 80 of 100)
    >>> print(Estimate(2.0, 2.0, 2.0, method="exact enumeration", name="log Z"))
    log Z = 2.000 (exact enumeration)
    """

    value: float
    low: float
    high: float
    method: str
    name: str = "estimate"
    level: float = 0.95
    ess: float | None = None
    samples: int | None = None
    caveat: str = ""
    warning: str = ""

    def __str__(self) -> str:
        parts = [self.method]
        if not self.exact:
            parts.insert(0, f"{100 * self.level:g} % interval {self.low:.3f} to {self.high:.3f}")
        if self.ess is not None:
            parts.append(f"effective sample size {self.ess:.0f}" + (f" of {self.samples}" if self.samples else ""))
        sentence = f"{self.name} = {self.value:.3f} ({'; '.join(parts)})"
        return f"{sentence}. {self.caveat}" if self.caveat else sentence

    def __float__(self) -> float:
        return self.value

    @property
    def exact(self) -> bool:
        """Whether the interval has no width."""
        return self.low == self.high

    def shifted(self, offset: float, *, sign: float = 1.0, name: str | None = None, caveat: str | None = None) -> Estimate:
        """``offset + sign · self``: a log-likelihood from a log partition function, for instance."""
        ends = sorted((offset + sign * self.low, offset + sign * self.high))
        return dataclasses.replace(
            self,
            value=offset + sign * self.value,
            low=ends[0],
            high=ends[1],
            name=self.name if name is None else name,
            caveat=self.caveat if caveat is None else caveat,
        )

    def to_json(self) -> dict[str, Any]:
        """A dictionary for a run folder; an infinite end becomes a string, which JSON can hold."""
        return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Estimate:
        """The inverse of :meth:`to_json`."""
        numbers = ("value", "low", "high", "level", "ess")
        values: dict[str, Any] = {k: float(v) if k in numbers and v is not None else v for k, v in data.items()}
        return cls(**values)
