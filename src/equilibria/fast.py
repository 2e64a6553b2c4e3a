"""The binary draw as one compiled loop, where Numba is installed: the extra ``[fast]``.

Without it numpy makes about a dozen passes over a draw (:mod:`equilibria.random`). Both read the
same probabilities and compute the same integers, so **the draws are the same bit for bit** and
nothing about a run depends on whether the extra is there. So the kernel is compiled only once numpy
has spent about as long on draws as compiling takes; and it runs on the calling thread alone,
since at 10¹⁰ cells a second it waits for memory: no pool of threads can hang after a fork.
``EQUILIBRIA_FAST`` in the environment says ``0`` for never, ``1`` for at once.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Progression", "available", "kernel", "load"]

Progression = tuple[int, int]
"""(stride, base) of a hash: cell c starts from stride · c + base (mod 2³²)."""

_CALL = 14e-6  # what a draw costs in numpy, however small it is, in seconds
_CELL = 1.3e-9  # what each of its cells adds
_COMPILING = 1.0  # what importing Numba and compiling costs

# glibc gives a large block back as soon as it is freed, and every page of the next one is then a
# fault: 5 % of a sweep of 1000 chains. The largest block ever freed sets the limit, up to 32 MB.
torch.empty(2**25 - 2**14, dtype=torch.uint8)

_spent = 0.0  # seconds of this process on draws in numpy
_compiled: dict[torch.dtype, Callable[..., None]] | None = None


def available() -> bool:
    """Whether the compiled draw can be used: Numba is there and ``EQUILIBRIA_FAST`` is not 0."""
    return os.environ.get("EQUILIBRIA_FAST", "") != "0" and _installed()


@functools.cache  # asked at every draw until the kernels are compiled: a search of all folders
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def load() -> bool:
    """Compile the kernels now, about a second's work, and say whether they are there."""
    global _compiled
    if _compiled is None:
        _compiled = {}
        with contextlib.suppress(Exception):  # numpy draws the same
            _compiled = _kernels() if available() else {}
    return bool(_compiled)


def kernel(probability: Tensor) -> Callable[..., None] | None:
    """What draws in place of ``probability`` (contiguous), given progressions; None for numpy.

    A cell becomes 1 where its hash, as a number in [−½, ½), is below its probability − ½, else 0.
    float32 takes one progression, float64 two: of the high 24 bits and the low 29.
    """
    global _spent
    if probability.device.type != "cpu":
        return None
    if _compiled is None:  # not asked yet
        _spent += _CALL + _CELL * probability.numel()
        if _spent < _COMPILING and os.environ.get("EQUILIBRIA_FAST") != "1" and available():
            return None
        load()
    found = _compiled.get(probability.dtype) if _compiled else None
    return found and functools.partial(found, probability.view(-1).numpy())


def _kernels() -> dict[torch.dtype, Callable[..., None]]:
    # Every constant has its width: one 64-bit operand would take the loop out of the vector unit.
    # Compiled anew in each process: Numba's cache on disk is pickled.
    import numba
    from numba import float32, int32, uint32

    if numba.config.DISABLE_JIT:
        return {}
    multiply_1, multiply_2 = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
    shift_8, shift_15, shift_16 = np.uint32(8), np.uint32(15), np.uint32(16)
    low_bits, shift_low = np.int32(2**29 - 1), np.int32(3)
    scale, half, low_scale, high_scale = np.float32(2.0**24), np.float32(0.5), 2.0**-53, 2.0**-24

    @numba.njit(inline="always")  # type: ignore[misc, unused-ignore]
    def hashed(cell: Any, stride: Any, base: Any) -> Any:
        x = uint32(uint32(cell) * stride + base)
        x = uint32((x ^ (x >> shift_16)) * multiply_1)
        return int32(uint32((x ^ (x >> shift_15)) * multiply_2))

    compiled = functools.partial(numba.njit, nogil=True, error_model="numpy")

    @compiled(["void(float32[::1]" + 2 * ", uint32" + ")"])  # type: ignore[misc, unused-ignore]
    def single(p: Any, stride: Any, base: Any) -> None:
        for cell in range(p.shape[0]):
            draw = float32(hashed(cell, stride, base) >> int32(shift_8))
            p[cell] = float32(1.0) if draw < (p[cell] - half) * scale else float32(0.0)

    @compiled(["void(float64[::1]" + 4 * ", uint32" + ")"])  # type: ignore[misc, unused-ignore]
    def double(p: Any, stride: Any, base: Any, low_stride: Any, low_base: Any) -> None:
        for cell in range(p.shape[0]):
            high = (hashed(cell, stride, base) >> int32(shift_8)) * high_scale
            low = ((hashed(cell, low_stride, low_base) >> shift_low) & low_bits) * low_scale
            p[cell] = 1.0 if high + low < p[cell] - 0.5 else 0.0

    return {torch.float32: single, torch.float64: double}
