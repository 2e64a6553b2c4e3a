"""The type in which a network's matrix products are worked out."""

from __future__ import annotations

import contextlib

import torch

__all__ = ["PRECISIONS", "products"]

PRECISIONS: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}
"""Name → the type of the matrix products, where it is not the parameters' own."""


def products(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Within it matrix products and convolutions are worked out in ``precision``.

    Parameters and their gradients keep their type.

    Examples
    --------
    >>> with products("bfloat16", torch.device("cpu")):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    dtype = PRECISIONS[precision]
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)
