"""Rows kept back from training, to be evaluated on."""

from __future__ import annotations

import dataclasses

import numpy as np

from equilibria.data.catalogue import Data
from equilibria.random import Stream

__all__ = ["divide"]


def divide(data: Data, share: float, seed: int = 0) -> tuple[Data, Data]:
    """A part to train on and a part that is held out, drawn at random; each keeps the order of the rows.

    Parameters
    ----------
    data : Data
        n rows.
    share : float
        Share of the rows to hold out, above 0 and below 1: round(share · n) of them, but at least two, since intervals come from
        their spread.
    seed : int
        The same seed gives the same rows.

    Returns
    -------
    train, held_out : Data
        With everything else as in ``data``; their rows are copies, of a memory map too.

    Raises
    ------
    ValueError
        For another ``share``, or where fewer than two rows would be left to train on.

    Examples
    --------
    >>> train, held_out = divide(Data(np.arange(20).reshape(10, 2)), 0.3)
    >>> len(train), len(held_out)
    (7, 3)
    """
    if not 0 < share < 1:
        raise ValueError(f"held_out={share!r}: expected a share of the rows above 0 and below 1, such as 0.1")
    n = len(data)
    count = max(2, round(share * n))
    if n - count < 2:
        left = f"leaves {max(0, n - count)} of the {n} rows of {data.name} to train on"
        raise ValueError(f"held_out={share!r} {left}; expected two there and two held out: bring more rows, or hold none out (0)")
    held = np.zeros(n, dtype=bool)
    held[Stream(seed).child("held out").permutation(n)[:count].numpy()] = True
    return _rows(data, ~held), _rows(data, held)


def _rows(data: Data, chosen: np.ndarray) -> Data:
    return dataclasses.replace(data, values=data.values[chosen], labels=None if data.labels is None else data.labels[chosen])
