"""Counter-based random streams.

A draw is a pure function of (seed, names, step, cell): no state moves, so the same numbers come out
for any thread count, any sharding over processes and after any resume.

The hash. A stream's 64-bit key gives an odd stride a and a base b; cell c is mapped to
x = a·c + b (mod 2³²), a different arithmetic progression for every key, and then through two rounds
of xor-shift and multiply with the constants of C. Wellons' ``lowbias32`` (public domain), whose
last xor-shift is left out because only the high bits are used. On a CPU draws are numpy's 32-bit
integers, whose calls take a third of the time of torch's, in parts that stay in a core's cache;
binary draws are one compiled loop where Numba is installed (:mod:`equilibria.fast`). The draws are
the same bit for bit.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria import fast

__all__ = ["RandomState", "Stream", "as_seed", "as_stream"]

Shape = Sequence[int]
Device = torch.device | str
FLOAT = torch.float32
# (shift, mask, factor): integers with a sign shift arithmetically, and the masks take the copies of
# the sign away; the second factor has the same bits as a signed 32-bit integer.
_ROUNDS = ((16, 0xFFFF, 0x7FEB352D), (15, 0x1FFFF, 0x846CA68B - 2**32))
_CELLS = 2**32  # the period of a hash in cells: the rows beyond it are a child's
_NUMBERS = np.arange(2**16, dtype=np.int32)  # of a part's cells


class Stream:
    """Random numbers keyed by (seed, names, cell); different seeds are independent.

    Asking the same stream twice gives the same numbers twice. Every use therefore derives a child
    of its own: ``stream.child("gibbs", step)``.

    Examples
    --------
    >>> stream = Stream(0).child("noise", 3)
    >>> whole = stream.uniform((4, 2))
    >>> bool((stream.rows(2).uniform((2, 2)) == whole[2:]).all())
    True
    """

    __slots__ = ("_cycle", "_first", "_key", "_rank")

    def __init__(
        self, seed: int, _key: bytes = b"", _first: int = 0, _rank: int = 0, _cycle: int = 0
    ):
        self._key = _key or _digest(b"equilibria", int(seed))
        self._first, self._rank, self._cycle = _first, _rank, _cycle

    def __repr__(self) -> str:
        return f"Stream(key={self._key.hex()}, first_row={self._first}, rank={self._rank})"

    def child(self, *names: str | int) -> Stream:
        """The stream below this one that belongs to ``names``, words and numbers of steps."""
        key = self._key
        for name in names:
            key = _digest(key, name)
        return Stream(0, key, self._first, self._rank, _cycle=self._cycle)

    def rows(self, first: int) -> Stream:
        """The same stream, where row 0 of what is drawn is global row ``first``."""
        return Stream(0, self._key, _first=int(first))

    @property
    def first(self) -> int:
        """What row 0 of what is drawn is called: see :meth:`rows`."""
        return self._first

    def part(self, first: int, rows: int) -> Stream:
        """The same stream from row ``first`` on of a draw of so many rows, whatever came before.

        >>> stream = Stream(0).shard(1)
        >>> bool((stream.part(2, 5).bits((3, 2)) == stream.bits((5, 2))[2:]).all())
        True
        """
        start = self._first + self._rank * rows + first
        return Stream(0, self._key, _first=start, _cycle=self._cycle)

    def shard(self, rank: int) -> Stream:
        """The same stream for process ``rank`` of several: row 0 of n is global row rank · n."""
        return Stream(0, self._key, _rank=int(rank))

    def cycle(self, rows: int) -> Stream:
        """The same stream, where row i has the draws of row i mod ``rows``, 1 or more."""
        return Stream(0, self._key, _cycle=int(rows))

    def integer(self) -> int:
        """One 63-bit integer: a seed for a generator that is not ours."""
        return int.from_bytes(_digest(self._key, "integer"), "little") >> 1

    def bits(self, shape: Shape, device: Device = "cpu") -> Tensor:
        """Signed 32-bit integers whose high bits are uniform; cells are numbered row by row."""
        if self._apart(shape):
            return self._in_parts(Stream.bits, shape, device)
        out = torch.empty(tuple(shape), dtype=torch.int32, device=device)
        for part, bits in self._parts(out):
            part[...] = bits
        return out

    def centred(self, shape: Shape, dtype: torch.dtype = FLOAT, device: Device = "cpu") -> Tensor:
        """Uniform numbers on the grid of 2⁻²⁴ (float32) or 2⁻⁵³ (float64) in [−½, ½), all exact.

        A cell is 1 with probability p when ``centred < p - 0.5``: p = 0 never and p = 1 always is.
        In a narrower type the largest of them would be rounded to ½, so it is refused.
        """
        _check_precision(dtype)
        if self._apart(shape):
            return self._in_parts(Stream.centred, shape, dtype, device)
        out = torch.empty(tuple(shape), dtype=dtype, device=device)
        for part, bits in self._parts(out):
            part[...] = bits >> 8
            part *= 2.0**-24
        if dtype == torch.float64:
            low = self.child("low").bits(shape, device)
            out.add_(low.bitwise_right_shift_(3).bitwise_and_(2**29 - 1), alpha=2.0**-53)
        return out

    def bernoulli_(self, probability: Tensor) -> Tensor:
        """Replace every probability by 1 with that probability, else by 0, in place.

        The draw of a cell is :meth:`centred`'s, so p = 0 never and p = 1 always gives 1, and NaN 0.

        >>> Stream(0).bernoulli_(torch.tensor([[0.0, 1.0, 0.3, 0.7]]))
        tensor([[0., 1., 0., 1.]])
        """
        _check_precision(probability.dtype)
        if not probability.is_contiguous():
            return probability.copy_(self.bernoulli_(probability.contiguous()))
        shape, single = probability.shape, probability.dtype == torch.float32
        apart = self._apart(shape)
        if not apart and (kernel := fast.kernel(probability)) is not None:
            streams = (self,) if single else (self, self.child("low"))
            kernel(*(place for one in streams for place in one.progression(shape)))
            return probability
        if apart or not single:
            draw = self.centred(shape, probability.dtype, probability.device)
            return torch.lt(draw, probability.sub_(0.5), out=probability)
        for part, bits in self._parts(probability):
            high: Any = bits >> 8
            high = high.astype(np.float32) if isinstance(high, np.ndarray) else high.float()
            # p − ½ in units of the draws' grid: scaling by a power of two is exact
            part -= 0.5
            part *= 2.0**24
            part[...] = high < part
        return probability

    def _apart(self, shape: Shape) -> bool:
        """Whether a draw's cells are no single progression: rows come again, or the hash's end."""
        return self._cycle > 0 or sum(self._span(shape)) * math.prod(shape[1:]) > _CELLS

    def _span(self, shape: Shape) -> tuple[int, int]:
        """The first row of a draw, and how many there are."""
        rows = shape[0] if shape else 1
        return self._first + self._rank * rows, rows

    def _in_parts(self, draw: Callable[..., Tensor], shape: Shape, *how: Any) -> Tensor:
        """What ``draw`` gives for rows that come again and again, or that go on in a child.

        The hash begins again after 2³² cells: so many whole rows as fit into them are a period, and
        each period but the first has a key of its own.
        """
        first, rows = self._span(shape)
        if self._cycle:
            last = self._cycle if first else min(self._cycle, rows)
            once = draw(Stream(0, _key=self._key), (last, *shape[1:]), *how)
            return once[torch.arange(first, first + rows, device=once.device) % max(last, 1)]
        period, parts = _CELLS // math.prod(shape[1:]), list[Tensor]()
        if not period:
            raise ValueError(f"shape={tuple(shape)}: a row has {_CELLS} cells at most")
        for i in range(first // period, (first + max(rows, 1) - 1) // period + 1):
            begin, end = max(first - i * period, 0), min(first + rows - i * period, period)
            key = self.child("period", i) if i else self
            parts.append(draw(key.rows(begin), (end - begin, *shape[1:]), *how))
        return torch.cat(parts)

    def progression(self, shape: Shape) -> fast.Progression:
        """Stride and base (mod 2³²) of the cells of a draw of this shape, counted from 0."""
        first = self._span(shape)[0] * math.prod(shape[1:])
        stride = int.from_bytes(self._key[:4], "little") | 1
        return stride, (int.from_bytes(self._key[4:], "little") + stride * first) % _CELLS

    def _parts(self, out: Tensor) -> Iterator[tuple[Any, Any]]:
        """Flat parts of ``out`` and the bits of their cells: arrays on a CPU, else tensors."""
        stride, base = self.progression(out.shape)
        flat: Any = out.view(-1)
        numbers: Any = _NUMBERS
        if out.device.type == "cpu":
            flat = flat.numpy()
        else:
            numbers = torch.arange(len(flat), dtype=torch.int32, device=out.device)
        for first in range(0, len(flat), max(1, len(numbers))):
            part = flat[first : first + len(numbers)]
            yield part, _hashed(numbers[: len(part)], stride, base + stride * first)

    def uniform(self, shape: Shape, dtype: torch.dtype = FLOAT, device: Device = "cpu") -> Tensor:
        """Uniform numbers in [0, 1)."""
        return self.centred(shape, dtype, device).add_(0.5)

    def normal(self, shape: Shape, dtype: torch.dtype = FLOAT, device: Device = "cpu") -> Tensor:
        """Standard normal numbers, by the inverse of the distribution function, one cell a number.

        In float32 the tails end at ±5.4 (a mass of 6e-8 is missing), in float64 at ±8.3.
        """
        half_cell = 2.0**-25 if dtype != torch.float64 else 2.0**-54
        draw = self.centred(shape, dtype, device).add_(half_cell).mul_(2.0)
        return draw.erfinv_().mul_(math.sqrt(2.0))

    def integers(self, shape: Shape, high: int, device: Device = "cpu") -> Tensor:
        """Integers 0 … high − 1, int64; the bias is below ``high`` · 2⁻⁵³."""
        draw = self.uniform(shape, torch.float64, device).mul_(high)
        return draw.to(torch.int64).clamp_(max=high - 1)

    def permutation(self, n: int) -> Tensor:
        """A random order of 0 … n − 1 (int64, on the CPU), from 53-bit sort keys."""
        return torch.argsort(self.rows(0).uniform((n,), torch.float64), stable=True)


RandomState = int | np.integer | np.random.RandomState | np.random.Generator | Stream | None


def as_stream(random_state: RandomState) -> Stream:
    """A stream from what scikit-learn calls ``random_state``; ``None`` gives a fresh one."""
    return Stream(as_seed(random_state)) if not isinstance(random_state, Stream) else random_state


def as_seed(random_state: RandomState) -> int:
    """The integer seed that ``random_state`` stands for: what a run folder records."""
    if random_state is None:
        return secrets.randbits(63)
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(0, 2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(0, 2**63 - 1))
    if isinstance(random_state, Stream):
        return random_state.integer()
    kinds = "None, an integer, a numpy RandomState or Generator, or a Stream"
    raise ValueError(f"random_state={random_state!r}: expected {kinds}")


def _hashed(cells: Any, stride: int, base: int) -> Any:
    """The bits of cells: int32, arrays or tensors."""
    x = cells * _signed(stride)
    x += _signed(base)
    for shift, mask, factor in _ROUNDS:
        x ^= (x >> shift) & mask
        x *= factor
    return x


def _check_precision(dtype: torch.dtype) -> None:
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype={dtype}: draws are float32 or float64; convert them afterwards")


def _digest(key: bytes, name: str | int) -> bytes:
    tag = b"s" + name.encode() if isinstance(name, str) else b"i" + str(int(name)).encode()
    return hashlib.blake2b(tag, digest_size=8, key=key).digest()


def _signed(value: int) -> int:
    value %= _CELLS
    return value - _CELLS if value >= _CELLS // 2 else value
