"""The type in which a network's matrix products are worked out."""

from __future__ import annotations

import contextlib

import torch

__all__ = ["PRECISIONS", "products"]

PRECISIONS: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}
"""Name → the type of the matrix products, where it is not the parameters' own."""


def products(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Within it matrix products and convolutions are worked out in ``precision``."""
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype=dtype) if dtype else contextlib.nullcontext()
