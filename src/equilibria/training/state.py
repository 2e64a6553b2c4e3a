"""A training state as tensors and JSON: what optimisers, solvers and games keep, written down without pickle."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from equilibria.training import files

__all__ = ["pack", "unpack"]


def pack(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Take a nested state apart into named tensors and a tree for JSON.

    Parameters
    ----------
    state : dict, list, tuple, Tensor, float, int, str, bool or None
        Nested at will; the keys of dicts are strings and integers. Any subclass of dict comes back as a dict.

    Returns
    -------
    tensors : dict of Tensor
        A copy of each tensor, named by its place in the state.
    tree : object
        The rest; a float keeps its bits, infinities and NaN included.

    Raises
    ------
    TypeError
        For anything else; the message says where in the state it stands.

    Examples
    --------
    >>> import torch
    >>> tensors, tree = pack({"rate": 0.1, 0: [torch.ones(2), None]})
    >>> list(tensors)
    ['state[0][0]']
    >>> unpack(tensors, tree)
    {'rate': 0.1, 0: [tensor([1., 1.]), None]}
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _pack(state, "state", tensors)


def unpack(tensors: Mapping[str, Tensor], tree: Any) -> Any:
    """The state that :func:`pack` took apart."""
    if isinstance(tree, list):
        return [unpack(tensors, branch) for branch in tree]
    if not isinstance(tree, dict):
        return tree
    ((tag, content),) = tree.items()
    return _UNPACK[tag](tensors, content)


def _pack(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[place] = files.portable(value, place)
        return {"tensor": place}
    if isinstance(value, dict):
        return {"dict": [[_key(key, place), _pack(entry, f"{place}[{key!r}]", tensors)] for key, entry in value.items()]}
    if type(value) in (list, tuple):
        entries = [_pack(entry, f"{place}[{index}]", tensors) for index, entry in enumerate(value)]
        return entries if type(value) is list else {"tuple": entries}
    if type(value) is float and not math.isfinite(value):
        return {"float": struct.pack(">d", value).hex()}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        f"{place} is a {type(value).__module__}.{type(value).__qualname__}: a checkpoint holds dicts, lists, tuples, tensors, "
        "plain numbers, strings, booleans and None"
    )


def _key(key: Any, place: str) -> str | int:
    if type(key) not in (str, int):
        raise TypeError(f"{place} has the key {key!r}: the keys in a checkpoint are strings and integers")
    return key


_UNPACK: dict[str, Callable[[Mapping[str, Tensor], Any], Any]] = {
    "tensor": lambda tensors, name: tensors[name],
    "dict": lambda tensors, entries: {key: unpack(tensors, entry) for key, entry in entries},
    "tuple": lambda tensors, entries: tuple(unpack(tensors, entry) for entry in entries),
    "float": lambda tensors, bits: struct.unpack(">d", bytes.fromhex(bits))[0],
}
