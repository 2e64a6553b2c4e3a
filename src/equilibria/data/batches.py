"""Batches in a seeded order whose whole state is one integer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.check import choice, whole
from equilibria.data.columns import is_frame, take
from equilibria.random import Stream

__all__ = ["BINARISE", "Batch", "Batches", "binarise"]

BINARISE = ("resample", "fixed", "threshold")
_BLOCK_ROWS = 4096
_MISSING = 255  # in place of a binary value that is missing, where binary values are kept as bytes


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """What a round of training is given.

    Attributes
    ----------
    values : Tensor, shape (rows, size)
        The examples.
    mask : Tensor of bool, shape (rows, size), or None
        True where a value is observed (others hold 0); None where all are.
    label : Tensor, shape (rows,), or None
        What each example is; among class numbers −1 says that it is not known.
    condition : Tensor or None
        What each example is conditioned on.
    """

    values: Tensor
    mask: Tensor | None = None
    label: Tensor | None = None
    condition: Tensor | None = None

    def with_gaps(self) -> Tensor:
        """The values, NaN where a cell is missing."""
        return self.values if self.mask is None else self.values.masked_fill(~self.mask, torch.nan)


def binarise(values: Tensor, how: str, stream: Stream) -> Tensor:
    """Greys in [0, 1], each the probability of a 1, as zeros and ones in the type of ``values``.

    ``"threshold"`` gives 1 above 0.5; ``"resample"`` and ``"fixed"`` draw, cell (i, j) of the
    stream for ``values[i, j]``, and differ in how often :class:`Batches` does it.

    Examples
    --------
    >>> binarise(torch.tensor([[0.0, 0.4, 0.6, 1.0]]), "threshold", Stream(0))
    tensor([[0., 0., 1., 1.]])
    """
    choice(*BINARISE)("binarise", how)
    _refuse_no_greys(values)
    return _binarise(values, how, stream)


class Batches(Iterator[Batch]):
    """An endless iterator of full batches.

    Epoch e visits the n rows in the order π_e = ``stream.child("order", e).permutation(n)``. Batch
    i is the places i·batch_size … (i + 1)·batch_size − 1 of π_0 π_1 π_2 …, so it may run over into
    the next epoch. Nothing else is remembered than the number of the next batch: with the same
    ``position``, a resumed run sees the same batches.

    Parameters
    ----------
    values : Tensor, ndarray or DataFrame, shape (n, d)
        The data, which may be a memory map.
    batch_size : int
        Rows in a batch, over all processes; it may exceed n.
    stream : Stream
        Where orders and draws come from.
    labels : Tensor or ndarray of numbers, shape (n,), optional
        They go along as ``Batch.label``; −1 marks a missing class.
    encode : callable, optional
        From raw rows of ``values`` to a float tensor, e.g. :meth:`Table.encode`; by default rows
        become float32.
    binarise : {None, "resample", "fixed", "threshold"}
        How greys in [0, 1] become 0 or 1: by a fresh draw for every batch, by one draw for every
        row of the data (kept as one byte a cell), or by comparing with 0.5.
    greys : Tensor of bool, shape (size,), optional
        Which encoded columns are greys to make binary, where not all of them are.
    spread : callable, optional
        (rows, draws in [0, 1) of their shape) → rows, :meth:`Table.spread`: what comes again and
        again is drawn anew within its own interval in every batch.
    missing : bool
        Whether rows may hold NaN, which means a missing value: every batch then has a ``mask``, and
        0 in place of NaN. What is drawn for the other cells does not depend on it.
    shard : (rank, world)
        The process gets the rank-th of ``world`` equal slices of every batch, with the draws that
        one process would make.
    device : torch.device or str
        Where batches are put.
    position : int
        The number of the next batch.

    Examples
    --------
    >>> batches = Batches(np.arange(6.0).reshape(3, 2), 4, Stream(0))
    >>> next(batches).values.shape, batches.position
    (torch.Size([4, 2]), 1)
    >>> again = Batches(np.arange(6.0).reshape(3, 2), 4, Stream(0))
    >>> bool((batches.at(0).values == again.at(0).values).all())
    True
    """

    def __init__(
        self,
        values: Any,
        batch_size: int,
        stream: Stream,
        *,
        labels: Any = None,
        encode: Callable[[Any], Tensor] | None = None,
        binarise: str | None = None,
        greys: Tensor | None = None,
        spread: Callable[[Tensor, Tensor], Tensor] | None = None,
        missing: bool = False,
        shard: tuple[int, int] = (0, 1),
        device: torch.device | str = "cpu",
        position: int = 0,
    ):
        self.batch_size, self.shard = whole(1)("batch_size", batch_size), shard
        self.position, self.device = whole()("position", position), torch.device(device)
        if self.batch_size % shard[1]:
            what = f"cannot be shared out to {shard[1]} processes; choose a multiple"
            raise ValueError(f"batch_size={batch_size} {what}")
        self._stream, self._binarise, self._missing = stream, binarise, missing
        self._greys = None if greys is None or bool(greys.all()) else greys
        self._values, self._encode, self._spread = values, encode or _floats, spread
        self._labels = None if labels is None else torch.as_tensor(labels)
        self._orders: dict[int, Tensor] = {}
        if binarise == "fixed" or (binarise is not None and encode is None):
            self._prepare_greys(fixed=binarise == "fixed")

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        batch = self.at(self.position)
        self.position += 1
        return batch

    def at(self, position: int) -> Batch:
        """Batch number ``position``; the iterator does not move."""
        rank, world = self.shard
        rows = self.batch_size // world
        places = self._places(position * self.batch_size + rank * rows, rows)
        values = self._encode(take(self._values, places))
        if self._spread is not None:
            stream = self._stream.child("ties", position).rows(rank * rows)
            values = self._spread(values, stream.uniform(values.shape))
        values, mask = self._observed(values)
        values, mask = self._to_device(values), None if mask is None else self._to_device(mask)
        if self._binarise in ("resample", "threshold"):
            stream = self._stream.child("binarise", position).rows(rank * rows)
            values = self._drawn(values, stream)
        label = None if self._labels is None else self._to_device(take(self._labels, places))
        return Batch(values, mask, label)

    def _observed(self, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """Zeros in place of NaN, and the mask; a zero stays one when it is made binary."""
        if not self._missing:
            return values, None
        missing = values.isnan()
        return values.masked_fill(missing, 0), ~missing

    def _places(self, first: int, count: int) -> Tensor:
        """Rows of the data at places ``first`` … of the concatenated orders."""
        n = len(self._values)
        parts = [
            self._order(epoch)[max(0, first - epoch * n) : first + count - epoch * n]
            for epoch in range(first // n, (first + count - 1) // n + 1)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _order(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            while len(self._orders) > 1:  # a batch at the seam of two epochs needs both
                self._orders.pop(next(iter(self._orders)))
            self._orders[epoch] = self._stream.child("order", epoch).permutation(len(self._values))
        return self._orders[epoch]

    def _prepare_greys(self, fixed: bool) -> None:
        """Check all greys first; where one draw is to last, keep it in place of the data."""
        kept, stream = [], self._stream.child("binarise")
        for first in range(0, len(self._values), _BLOCK_ROWS):
            rows = torch.arange(first, min(first + _BLOCK_ROWS, len(self._values)))
            greys, mask = self._observed(self._encode(take(self._values, rows)))
            _refuse_no_greys(greys if self._greys is None else greys[:, self._greys])
            if fixed:
                drawn = self._drawn(greys, stream.rows(first))
                drawn = drawn if mask is None else drawn.masked_fill(~mask, torch.nan)
                if self._greys is None:  # one byte a cell where all are binary
                    drawn = drawn.nan_to_num(nan=_MISSING).to(torch.uint8)
                kept.append(drawn)
        if fixed:
            self._values, self._encode = torch.cat(kept), _floats
            if self._greys is None:
                self._encode = _from_bytes(greys.dtype, self._missing)

    def _drawn(self, values: Tensor, stream: Stream) -> Tensor:
        """Greys as zeros and ones; columns that are none stay as they are."""
        drawn = _binarise(values, str(self._binarise), stream)
        return drawn if self._greys is None else drawn.where(self._greys.to(values.device), values)

    def _to_device(self, rows: Tensor) -> Tensor:
        if self.device.type == "cuda" and rows.device.type == "cpu":
            return rows.pin_memory().to(self.device, non_blocking=True)
        return rows.to(self.device)


def _binarise(values: Tensor, how: str, stream: Stream) -> Tensor:
    if how == "threshold":
        return (values > 0.5).to(values.dtype)
    return stream.bernoulli_(values.clone())


def _refuse_no_greys(values: Tensor) -> None:
    low, high = (float(end) for end in torch.aminmax(values))
    if not (low >= 0 and high <= 1):  # also where they are NaN
        what = "cannot be binarised; expected greys in [0, 1] (scale them, or use binarise=None)"
        raise ValueError(f"values from {low:g} to {high:g} {what}")


def _from_bytes(dtype: torch.dtype, missing: bool) -> Callable[[Tensor], Tensor]:
    if not missing:
        return lambda rows: rows.to(dtype)
    return lambda rows: rows.to(dtype).masked_fill(rows == _MISSING, torch.nan)


def _floats(rows: Any) -> Tensor:
    if is_frame(rows) or (isinstance(rows, np.ndarray) and rows.dtype == object):
        raise ValueError("values holds Python objects: expected numbers, or encode=Table.encode")
    if isinstance(rows, Tensor):
        return rows.to(torch.float32)
    return torch.from_numpy(rows.astype(np.float32))
