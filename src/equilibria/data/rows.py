"""The rows that a model is trained on and those kept from training, as recipes see them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from equilibria.data.batches import Batch, Batches, binarise
from equilibria.data.columns import Chosen, blocks, is_frame, release, subset, take
from equilibria.data.table import Statistics, Table
from equilibria.random import Stream

__all__ = ["Labels", "Rows", "digest", "fixed_draw", "take", "with_labels"]

NORMAL = 0.5 * math.log(2 * math.pi * math.e)  # nats of a standard normal number
KEPT_CELLS = 1 << 22  # encoded ones, up to which a table is encoded as a whole


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Training rows and held-out rows under a table.

    ``values`` are arrays or frames in the data's own scale, ``codes`` class numbers (−1 where
    missing), ``held`` the rows of ``validation_fraction``; ``binarise`` says how greys become zeros
    and ones, and ``shard`` (rank, world) which share of every batch is this process's.
    """

    table: Table
    values: Any
    codes: np.ndarray | None
    stream: Stream
    held: Any = None
    held_codes: np.ndarray | None = None
    binarise: str | None = None
    shard: tuple[int, int] = (0, 1)
    device: str = "cpu"

    def __len__(self) -> int:
        return len(self.values)

    @functools.cached_property
    def statistics(self) -> Statistics:
        """Sums and counts of the encoded columns, grey layers, whether cells are missing."""
        return self.table.statistics(self.values)

    @functools.cached_property
    def encoded(self) -> tuple[Any, Callable[[Any], Tensor]]:
        """The rows and how a batch of them is encoded: of a small table all at once, for every
        batch of every stage."""
        if len(self) * self.table.size > KEPT_CELLS:
            return self.values, self.table.encode
        return self.table.encode(self.values), lambda rows: rows

    @functools.cached_property
    def independent(self) -> float:
        """What a row costs in nats under independent columns, in the model's scale: entropies by
        the shares of the rows, of numbers a standard normal's. Infinite where a column's law is no
        such thing (pictures, numbers of zero or more)."""
        cost, found = 0.0, self.statistics
        for layer in self.table.layers:
            sums, n = found.total[layer.columns], found.counts[layer.columns]
            share = (sums / n.clamp(min=1)).clamp(0, 1)
            if layer.kind == "spin":
                share = (sums / n.clamp(min=1) + 1) / 2
            own = torch.special.entr(share)
            if layer.kind in ("binary", "gap", "spin"):
                own = own + torch.special.entr(1 - share)
            elif layer.kind in ("real", "quantile"):
                own = torch.full_like(share, NORMAL)
            elif layer.kind != "categorical":
                return math.inf
            cost += float((own * n).sum()) / len(self)
        if self.codes is not None:
            cost += math.log(self.table.classes)
        return cost

    def graded(self, binarise: str | None) -> Rows:
        """The same rows, whose table knows which layers are grey; these are made binary so."""
        table = self.table.with_grey(self.statistics.grey)
        found = dataclasses.replace(self, table=table, binarise=binarise if table.grey else None)
        vars(found)["statistics"] = self.statistics  # which cost a pass over all rows
        return found

    def divided(self, order: Tensor, held: int) -> Rows:
        """The rows at some places, each kind in the order of the data; the first ``held`` of the
        places are of those held out."""
        aside, own = (np.sort(places) for places in np.split(order.numpy(), [held]))
        codes = [None if self.codes is None else self.codes[places] for places in (own, aside)]
        some = {"values": subset(self.values, own), "held": subset(self.values, aside)}
        return dataclasses.replace(self, codes=codes[0], held_codes=codes[1], **some)

    def refuse_unseen(self) -> None:
        """Refuse a column that no row has a value of."""
        for layer in self.table.layers:
            if not bool(self.statistics.counts[layer.columns].all()):
                column = self.table.column_name(layer.source[0])
                raise ValueError(f"X: {column} has no observed value; leave it out")

    def batches(self, name: str, size: int) -> Batches:
        """A stage's source of batches, in an order of its own; never larger than the data."""
        key = "fixed" if self.binarise == "fixed" else name
        order = self.stream.child("data", key)
        return self.batches_by(order, min(size, len(self)), self.binarise)

    def batches_by(self, order: Stream, size: int, binarise: str | None = None) -> Batches:
        """Batches in the order of a stream, of so many rows; greys as they are unless made
        binary."""
        values, encode = self.encoded
        return Batches(
            values,
            size,
            order,
            labels=self.codes,
            encode=encode,
            missing=self.statistics.missing,
            binarise=binarise,
            greys=self.table.grey_columns,
            spread=self.table.spread if self.table.ties else None,
            shard=self.shard,
            device=self.device,
        )

    def some(self, count: int, name: str, *, held: bool = False) -> Batch:
        """At most ``count`` rows drawn by ``name``, greys as one fixed draw each."""
        values, codes = (self.held, self.held_codes) if held else (self.values, self.codes)
        order = self.stream.child(name).permutation(len(values))
        places = order[:count].sort().values.numpy()
        found = fixed_draw(self.table, take(values, places), self.binarise, self.stream)
        missing = found.isnan()
        mask = ~missing if bool(missing.any()) else None
        label = None if codes is None else torch.from_numpy(codes[places]).to(self.device)
        found = found.masked_fill(missing, 0.0).to(torch.float32)
        return Batch(found.to(self.device), None if mask is None else mask.to(self.device), label)


@dataclasses.dataclass
class Labels:
    """A stage's view: the label's columns, one for each class, beside a batch's values."""

    classes: int

    def __call__(self, batch: Batch, stream: Stream) -> Batch:
        return with_labels(batch, self.classes)


def with_labels(batch: Batch, classes: int) -> Batch:
    """A batch whose values have the label's columns beside them; a missing label is masked."""
    if batch.label is None:
        return batch
    known = (batch.label >= 0).unsqueeze(1)
    columns = functional.one_hot(batch.label.clamp(min=0), classes).to(batch.values.dtype) * known
    mask = batch.mask
    if mask is not None or not bool(known.all()):
        mask = torch.ones_like(batch.values, dtype=torch.bool) if mask is None else mask
        mask = torch.cat([mask, known.expand(-1, classes)], 1)
    return Batch(torch.cat([batch.values, columns], 1), mask, batch.label, batch.condition)


def digest(*parts: Any) -> str:
    """SHA-256 (hex) of arrays and frames with their types and shapes; None is passed over."""
    found = hashlib.sha256()
    for part in parts:
        if is_frame(part):
            types = zip(part.columns, map(str, part.dtypes), strict=True)
            found.update(repr(list(types)).encode())
            arrays: Any = (part.iloc[:, place].to_numpy() for place in range(part.shape[1]))
        else:
            lazy = part is None or isinstance(part, Chosen)
            arrays = () if part is None else (part if lazy else np.asarray(part),)
        for array in arrays:
            found.update(f"{array.dtype.str}{array.shape}".encode())
            if array.dtype.hasobject:
                found.update(repr(array.tolist()).encode())
            else:
                for rows in blocks(len(array), math.prod(array.shape[1:])):
                    found.update(np.ascontiguousarray(array[rows]).view(np.uint8).data)
                    release(array)
    return found.hexdigest()


def fixed_draw(
    table: Table,
    X: Any,
    how: str | None,
    stream: Stream,
    name: str = "X",
    ties: bool = True,
    unknown: str = "refuse",
    first: int = 0,
) -> Tensor:
    """Encoded rows in float64, NaN where missing; greys as one draw each, keyed by the row's
    content, and tied scores too.

    A row has the same draw each time and in any company; ``how="threshold"`` compares with ½.
    """
    values = table.encode(X, torch.float64, name=name, unknown=unknown, first=first)
    grey = table.grey_columns
    kept = values.isnan() if grey is None else values.isnan() | ~grey
    sharp, ties = how is not None and bool(table.grey), ties and table.ties
    if sharp and how == "threshold":
        return values.where(kept, binarise(values.masked_fill(kept, 0.0), how, stream))
    if not sharp and not ties:
        return values
    names = [hashlib.blake2b(row.numpy().tobytes(), digest_size=8).digest() for row in values]
    if sharp:
        keys, shape = stream.child("content"), (table.size,)
        draws = [keys.child(one.hex()).uniform(shape, torch.float64) for one in names]
        values = values.where(kept, (torch.stack(draws) < values).to(values))
    return table.spread(values, _keyed(names, table.size, stream)) if ties else values


def _keyed(names: list[bytes], size: int, stream: Stream) -> Tensor:
    """Uniform numbers in [0, 1), (names, size), by what each row is called: SplitMix64 (Steele, Lea
    & Flood 2014) from a state of its own, so that many rows cost one pass."""
    seed = np.uint64(stream.child("ties").integer())
    state = np.frombuffer(b"".join(names), dtype="<u8")[:, None] ^ seed
    with np.errstate(over="ignore"):
        z = state + np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return torch.from_numpy((z >> np.uint64(11)).astype(np.float64) * 2.0**-53)
