"""A metric is never bare: its sample count, its floor, what a perfect sampler scores, and the features it looks through."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

__all__ = ["Metric"]

_NUMBERS = ("value", "floor", "best", "low", "high")


@dataclasses.dataclass(frozen=True)
class Metric:
    """A measured number with what is needed to read it.

    Attributes
    ----------
    name : str
        What is measured, with its unit where it has one.
    value : float
        The measurement.
    samples : int
        Number of samples behind it.
    floor : float or None
        What chance alone gives with so many samples: a difference of this size means nothing. ``None`` where there is none.
    best : float or None
        What a perfect sampler scores in the limit of many samples.
    features : str
        What the samples are looked at through (a classifier, a feature map); empty for the raw columns.
    note : str
        A sentence on how to read it.
    low, high : float or None
        Ends of the value's 95 % interval; ``None`` where there is none.

    Examples
    --------
    >>> print(Metric("KL over modes", 0.0031, 2500, floor=0.0014, best=0.0))
    KL over modes = 0.0031 (2500 samples; chance alone gives 0.0014; a perfect sampler scores 0)
    """

    name: str
    value: float
    samples: int
    floor: float | None = None
    best: float | None = None
    features: str = ""
    note: str = ""
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        parts = [f"{self.samples} sample" + ("s" if self.samples != 1 else "")]
        if self.low is not None and self.high is not None:
            parts.insert(0, f"95 % interval {self.low:.4g} to {self.high:.4g}")
        if self.floor is not None:
            parts.append(f"chance alone gives {self.floor:.4g}")
        if self.best is not None:
            parts.append(f"a perfect sampler scores {self.best:.4g}")
        if self.features:
            parts.append(f"seen through {self.features}")
        sentence = f"{self.name} = {self.value:.4g} ({'; '.join(parts)})"
        return f"{sentence}. {self.note}" if self.note else sentence

    def __float__(self) -> float:
        return self.value

    def to_json(self) -> dict[str, Any]:
        """A dictionary for a run folder; a number that is not finite becomes a string, which JSON can hold."""
        return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Metric:
        """The inverse of :meth:`to_json`."""
        numbers = {k: float(data[k]) for k in _NUMBERS if data.get(k) is not None}
        return cls(**{**data, **numbers})
