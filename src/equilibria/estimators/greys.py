"""Grey values of binary columns: which layers have them, and how they become zeros and ones."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from equilibria.data import Schema, binarise
from equilibria.random import Stream

__all__ = ["Greys", "Statistics"]


class Greys:
    """Methods of an estimator with a ``schema_``, some of whose binary layers may be grey."""

    schema_: Schema
    binarise: str | None
    device: str
    grey_layers_: tuple[str, ...] = ()

    @property
    def grey_(self) -> bool:
        """Whether the data of some binary layer were grey: probabilities rather than zeros and ones."""
        return bool(self.grey_layers_)

    @property
    def _binarise(self) -> str | None:
        """How a batch becomes binary: not at all where it is so already or stays real."""
        return self.binarise if self.grey_ else None

    @property
    def _grey_columns(self) -> Tensor | None:
        """Which encoded columns are greys; None where all may be."""
        if self.schema_.kind != "mixed":
            return None
        grey = torch.zeros(self.schema_.size, dtype=torch.bool)
        for layer in self.schema_.layers:
            grey[layer.columns] = layer.name in self.grey_layers_
        return grey

    def _greys_drawn(self, values: Tensor, how: str, stream: Stream) -> Tensor:
        """Greys as zeros and ones; other columns as they are."""
        grey = self._grey_columns
        if grey is None:
            return _binarised(values, how, stream)
        return torch.where(grey, _binarised(values.where(grey, 0.0), how, stream), values)

    def _binary(self, X: np.ndarray) -> Tensor:
        """Encoded rows in float64, NaN where missing; grey ones as one fixed draw each, keyed by the row's content."""
        values = self._encode(X, torch.float64, allow_missing=True)
        if not self.grey_:
            return values.to(self.device)
        if self.binarise == "threshold":
            return self._greys_drawn(values, "threshold", Stream(0)).to(self.device)
        stream = self._stream().child("content")
        draws = torch.stack([stream.child(_content(row)).uniform((row.shape[0],), torch.float64) for row in values])
        grey = self._grey_columns
        kept = values.isnan() if grey is None else values.isnan() | ~grey
        return torch.where(kept, values, (draws < values).to(values)).to(self.device)

    def _greys_data(self) -> dict[str, Any]:
        """For the model file."""
        return {"grey": self.grey_, "grey_layers": list(self.grey_layers_)}

    def _restore_greys(self, metadata: dict[str, Any]) -> None:
        self.grey_layers_ = tuple(metadata.get("grey_layers", ["visible"] if metadata["grey"] else []))  # of one layer in runs of 0.1.0

    if TYPE_CHECKING:  # of the estimator that this is mixed into

        def _encode(self, X: np.ndarray, dtype: torch.dtype = ..., *, name: str = ..., allow_missing: bool = ...) -> Tensor: ...
        def _stream(self) -> Stream: ...


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What one pass over the data tells: sum and count of each encoded column's observed cells; which layers are grey, is any missing?"""

    total: Tensor
    counts: Tensor
    grey: set[str]
    gaps: bool

    @classmethod
    def of(cls, X: np.ndarray, schema: Schema) -> Statistics:
        total, counts = torch.zeros(schema.size, dtype=torch.float64), torch.zeros(schema.size, dtype=torch.float64)
        grey: set[str] = set()
        for first in range(0, len(X), 4096):
            block = schema.encode(X[first : first + 4096], torch.float64, allow_missing=True)
            missing = block.isnan()
            total += block.nansum(0)
            counts += (~missing).sum(0)
            sharp = ((block == 0) | (block == 1) | missing).all(0)
            grey |= {layer.name for layer in schema.layers if layer.kind == "bernoulli" and not bool(sharp[layer.columns].all())}
        return cls(total, counts, grey, bool((counts < len(X)).any()))


def _binarised(values: Tensor, how: str, stream: Stream) -> Tensor:
    """Greys as zeros and ones; missing cells stay NaN."""
    missing = values.isnan()
    return torch.where(missing, values, binarise(values.masked_fill(missing, 0.0), how, stream))


def _content(row: Tensor) -> str:
    return hashlib.blake2b(row.numpy().tobytes(), digest_size=8).hexdigest()
