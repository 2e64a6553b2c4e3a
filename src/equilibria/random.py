"""Counter-based random streams.

A draw is a pure function of (seed, names, step, cell): no state moves, so the same numbers come out for any thread count,
any sharding over processes and after any resume.

The hash. A stream's 64-bit key gives an odd stride a and a base b; cell c is mapped to x = a·c + b (mod 2³²), a different
arithmetic progression for every key, and then through two rounds of xor-shift and multiply with the constants of
C. Wellons' ``lowbias32`` (public domain). The last xor-shift of that hash is left out because only the high bits are
used. Random numbers, not matrix products, are what makes the usual samplers slow on a CPU, so the draws work in place on
32-bit integers, in parts that stay in a core's cache; binary draws are one compiled loop where Numba is installed
(:mod:`equilibria.fast`), the same draws bit for bit.
"""

from __future__ import annotations

import hashlib
import math
import numbers
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria import fast

__all__ = ["RandomState", "Stream", "as_seed", "as_stream"]

_MULTIPLY_1 = 0x7FEB352D
_MULTIPLY_2 = 0x846CA68B - 2**32  # the same bits as a signed 32-bit integer
_CELLS = 2**32  # a stream's period in cells
_PART = 2**17


class Stream:
    """Random numbers keyed by (seed, names, cell).

    Parameters
    ----------
    seed : int
        Any integer; two streams with different seeds are independent.

    Notes
    -----
    Asking the same stream twice gives the same numbers twice. Every use therefore derives a child of its own:
    ``stream.child("gibbs", step)``.

    Examples
    --------
    >>> stream = Stream(0).child("noise", 3)
    >>> whole = stream.uniform((4, 2))
    >>> bool((stream.rows(2).uniform((2, 2)) == whole[2:]).all())
    True
    """

    __slots__ = ("_cycle", "_first_row", "_key", "_rank")

    def __init__(self, seed: int, _key: bytes | None = None, _first_row: int = 0, _rank: int = 0, _cycle: int = 0):
        self._key = _digest(b"equilibria", int(seed)) if _key is None else _key
        self._first_row = _first_row
        self._rank = _rank
        self._cycle = _cycle

    def __repr__(self) -> str:
        return f"Stream(key={self._key.hex()}, first_row={self._first_row}, rank={self._rank})"

    def child(self, *names: str | int) -> Stream:
        """The stream below this one that belongs to ``names`` (strings, layer names, step numbers)."""
        key = self._key
        for name in names:
            key = _digest(key, name)
        return Stream(0, _key=key, _first_row=self._first_row, _rank=self._rank, _cycle=self._cycle)

    def rows(self, first: int) -> Stream:
        """The same stream, where row 0 of what is drawn is global row ``first``."""
        return Stream(0, _key=self._key, _first_row=int(first))

    def shard(self, rank: int) -> Stream:
        """The same stream for process ``rank`` of several with equal shares: of a draw of n rows, row 0 is global row rank · n."""
        return Stream(0, _key=self._key, _rank=int(rank))

    def cycle(self, rows: int) -> Stream:
        """The same stream, whose draws begin again every ``rows`` rows: row i has what row i mod ``rows`` has.

        Examples
        --------
        >>> draw = Stream(0).cycle(2).uniform((4, 3))
        >>> bool((draw[:2] == draw[2:]).all()), bool((draw[:2] == Stream(0).uniform((2, 3))).all())
        (True, True)
        """
        if rows < 1:
            raise ValueError(f"rows={rows!r}: expected a positive whole number, after which the draws begin again")
        return Stream(0, _key=self._key, _cycle=int(rows))

    def integer(self) -> int:
        """One 63-bit integer: a seed for a generator that is not ours."""
        return int.from_bytes(_digest(self._key, "integer"), "little") >> 1

    def bits(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Signed 32-bit integers whose high bits are uniform, int32 of ``shape``; cells are numbered row by row."""
        if self._cycle:
            return self._over_again(Stream.bits, shape, device)
        out = torch.empty(tuple(shape), dtype=torch.int32, device=device)
        for part, bits, _ in self._parts(out):
            part.copy_(bits)
        return out

    def centred(self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
        """Uniform numbers on the grid of 2⁻²⁴ (float32) or 2⁻⁵³ (float64) in [−½, ½), every value exact.

        A cell is 1 with probability p when ``centred < p - 0.5``, and then p = 0 never and p = 1 always happens.

        Raises
        ------
        ValueError
            For a narrower type, in which the largest of these numbers would be rounded to ½.
        """
        _check_precision(dtype)
        if self._cycle:
            return self._over_again(Stream.centred, shape, dtype, device)
        out = torch.empty(tuple(shape), dtype=dtype, device=device)
        for part, bits, _ in self._parts(out):
            part.copy_(bits.bitwise_right_shift_(8)).mul_(2.0**-24)
        if dtype == torch.float64:
            low = self.child("low").bits(shape, device).bitwise_right_shift_(3).bitwise_and_(2**29 - 1)
            out.add_(low, alpha=2.0**-53)
        return out

    def bernoulli_(self, probability: Tensor) -> Tensor:
        """Replace every probability by 1 with that probability, else by 0, in place; returns the tensor.

        The draw of a cell is :meth:`centred`'s, so p = 0 never and p = 1 always gives 1, and NaN gives 0.

        Raises
        ------
        ValueError
            For a type other than float32 and float64.

        Examples
        --------
        >>> Stream(0).bernoulli_(torch.tensor([[0.0, 1.0, 0.3, 0.7]]))
        tensor([[0., 1., 0., 1.]])
        """
        _check_precision(probability.dtype)
        if not probability.is_contiguous():
            return probability.copy_(self.bernoulli_(probability.contiguous()))
        shape, single = probability.shape, probability.dtype == torch.float32
        streams = (self,) if single else (self, self.child("low"))
        if not self._cycle and fast.bernoulli_(probability, *(stream._progression(shape) for stream in streams)):
            return probability
        if self._cycle or not single:
            draw = self.centred(shape, probability.dtype, probability.device)
            return torch.lt(draw, probability.sub_(0.5), out=probability)
        minus_half = torch.tensor(-(2.0**23), device=probability.device)
        for part, bits, scratch in self._parts(probability):
            draw = scratch.view(torch.float32).copy_(bits.bitwise_right_shift_(8))
            torch.add(minus_half, part, alpha=2.0**24, out=part)  # p − ½ in units of the draws' grid: scaling by a power of two is exact
            torch.lt(draw, part, out=part)
        return probability

    def _over_again(self, draw: Callable[..., Tensor], shape: Sequence[int], *how: Any) -> Tensor:
        """What ``draw`` gives for the first rows of ``shape``, again and again."""
        once = draw(Stream(0, _key=self._key), (min(self._cycle, shape[0]), *shape[1:]), *how)
        return once[torch.arange(shape[0], device=once.device) % max(len(once), 1)]

    def _progression(self, shape: Sequence[int]) -> fast.Progression:
        """Stride and base (mod 2³²) of the cells of a draw of this shape, its first cell being 0."""
        columns, count = math.prod(shape[1:]), math.prod(shape)
        first = (self._first_row + self._rank * (shape[0] if shape else 1)) * columns
        if first + count > _CELLS:
            raise ValueError(
                f"shape={tuple(shape)} from row {self._first_row}: a stream has {_CELLS} cells; draw in parts from children of it"
            )
        stride, base = int.from_bytes(self._key[:4], "little") | 1, int.from_bytes(self._key[4:], "little")
        return stride, (base + stride * first) % _CELLS

    def _parts(self, out: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Flat parts of ``out``, each with its cells' bits and an int32 scratch: they stay in a core's cache through all the passes."""
        count = out.numel()
        stride, base = self._progression(out.shape)
        cells, bits, scratch = _buffers(count, out.device)
        size, flat = len(cells), out.view(-1)
        for begin in range(0, count, max(size, 1)):
            part = flat[begin : begin + size]
            x, high = bits[: len(part)], scratch[: len(part)]
            torch.mul(cells[: len(part)], _signed(stride), out=x).add_(_signed(base + stride * begin))
            # torch shifts arithmetically: the masks take the copies of the sign away
            x.bitwise_xor_(torch.bitwise_right_shift(x, 16, out=high).bitwise_and_(0xFFFF)).mul_(_MULTIPLY_1)
            x.bitwise_xor_(torch.bitwise_right_shift(x, 15, out=high).bitwise_and_(0x1FFFF)).mul_(_MULTIPLY_2)
            yield part, x, high

    def uniform(self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
        """Uniform numbers in [0, 1)."""
        return self.centred(shape, dtype, device).add_(0.5)

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
        """Standard normal numbers, by the inverse of the normal distribution function, one cell a number.

        In float32 the tails end at ±5.4 (a two-sided mass of 6e-8 is missing), in float64 at ±8.3.
        """
        half_cell = 2.0**-25 if dtype != torch.float64 else 2.0**-54
        return self.centred(shape, dtype, device).add_(half_cell).mul_(2.0).erfinv_().mul_(math.sqrt(2.0))

    def integers(self, shape: Sequence[int], high: int, device: torch.device | str = "cpu") -> Tensor:
        """Integers 0 … high − 1, int64; the bias is below ``high`` · 2⁻⁵³."""
        if high < 1:
            raise ValueError(f"high={high!r}: expected a positive whole number; the integers are 0 … high − 1")
        return self.uniform(shape, torch.float64, device).mul_(high).to(torch.int64).clamp_(max=high - 1)

    def permutation(self, n: int) -> Tensor:
        """A random order of 0 … n − 1 (int64, on the CPU), from 53-bit sort keys."""
        return torch.argsort(self.rows(0).uniform((n,), torch.float64), stable=True)


RandomState = int | np.integer | np.random.RandomState | np.random.Generator | Stream | None


def as_stream(random_state: RandomState) -> Stream:
    """A stream from what scikit-learn calls ``random_state``.

    An integer gives the same stream each time, ``None`` a fresh one, a numpy generator one seeded by its next number.

    Raises
    ------
    ValueError
        For anything else.
    """
    return Stream(as_seed(random_state)) if not isinstance(random_state, Stream) else random_state


def as_seed(random_state: RandomState) -> int:
    """The integer seed that ``random_state`` stands for: what a run folder records."""
    if random_state is None:
        return secrets.randbits(63)
    if isinstance(random_state, numbers.Integral) and not isinstance(random_state, bool):
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(0, 2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(0, 2**63 - 1))
    if isinstance(random_state, Stream):
        return random_state.integer()
    raise ValueError(f"random_state={random_state!r}: expected None, an integer, a numpy RandomState or Generator, or a Stream")


_LOCAL = threading.local()


def _buffers(count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(0, 1, 2, …) and two scratch tensors, int32, for a draw of ``count`` cells.

    On a CPU every thread keeps one set: fresh memory for them costs as much as the draw.
    """
    size = count
    if device.type == "cpu":
        size = min(count, _PART)
        kept = getattr(_LOCAL, "buffers", None)
        if kept is not None and len(kept[0]) >= size:
            return kept[0][:size], kept[1][:size], kept[2][:size]
    with torch.inference_mode(False):  # a tensor made within it could not be written to outside
        cells = torch.arange(size, dtype=torch.int32, device=device)
        buffers = cells, torch.empty_like(cells), torch.empty_like(cells)
    if device.type == "cpu":
        _LOCAL.buffers = buffers
    return buffers


def _check_precision(dtype: torch.dtype) -> None:
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype={dtype}: draws are float32 or float64; draw in float32 and convert what comes of it")


def _digest(key: bytes, name: str | int) -> bytes:
    tag = b"s" + name.encode() if isinstance(name, str) else b"i" + str(int(name)).encode()
    return hashlib.blake2b(tag, digest_size=8, key=key).digest()


def _signed(value: int) -> int:
    value %= _CELLS
    return value - _CELLS if value >= _CELLS // 2 else value
