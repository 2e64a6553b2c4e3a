"""Features that rows and samples are compared through."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from equilibria import check
from equilibria.data.batches import Batch, Batches
from equilibria.evaluation.statistics import as_labels, as_rows, wilson
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["PIXELS", "Features", "network_features"]

_BATCH = 1000  # rows through a network at a time
_WIDTH = 64
_CHANNELS = (16, 32)
_LEARNING_RATE, _BATCH_SIZE = 2e-3, 50


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """A map from rows to features, with the name that each measure made through it carries.

    Attributes
    ----------
    name : str
        What the features are, as it is to be printed.
    function : callable
        Rows ``(n, d)`` in float64 → features ``(n, width)``, row by row.

    Examples
    --------
    >>> halves = Features("means of halves", lambda x: x.reshape(len(x), 2, -1).mean(axis=2))
    >>> halves([[1.0, 3.0, 5.0, 7.0]])
    array([[2., 6.]])
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]

    def __call__(self, values: Any, name: str = "rows") -> np.ndarray:
        """Features ``(n, width)`` of ``values`` ``(n, …)`` in float64; ``name`` is for errors."""
        found = np.asarray(self.function(as_rows(values, name)), dtype=np.float64)
        if not np.isfinite(found).all():
            cure = "check the scale of these rows"
            raise ValueError(f"{name}: their features ({self.name}) hold NaN or infinity; {cure}")
        return found.reshape(len(found), -1)

    @classmethod
    def of(
        cls,
        module: nn.Module,
        name: str,
        shape: tuple[int, ...] | None = None,
        *,
        centre: float | np.ndarray = 0.0,
        scale: float | np.ndarray = 1.0,
    ) -> Features:
        """The flattened output of a torch module in evaluation mode.

        The module takes ``(rows − centre) / scale``, computed in float64, as float32 rows
        ``(n, d)``; with a ``shape``, (height, width) or (height, width, 3), as pictures
        ``(n, channels, height, width)``.
        """
        module = module.eval()

        @torch.no_grad()
        def function(rows: np.ndarray) -> np.ndarray:
            parts = torch.from_numpy((rows - centre) / scale).float().split(_BATCH)
            found = [module(as_pictures(part, shape)).flatten(1).double() for part in parts]
            return torch.cat(found).numpy()

        return cls(name, function)


PIXELS = Features("raw columns", lambda rows: rows)
"""The rows as they are: the pixels of a picture, the columns of a table."""


def as_pictures(rows: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """Rows ``(n, d)``, colour last, as ``(n, channels, height, width)``; rows without a shape."""
    if shape is None:
        return rows
    pictures = rows.reshape(len(rows), *shape)
    return pictures.unsqueeze(1) if len(shape) == 2 else pictures.movedim(3, 1)


def network_features(
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    shape: tuple[int, ...] | None = None,
    *,
    random_state: RandomState = 0,
    steps: int = 1000,
    max_rows: int = 10_000,
) -> Features:
    """The last hidden layer of a small classifier trained here on labelled real rows.

    Two convolutions of stride 2 (16 and 32 maps) and a layer of 64 units where rows are pictures of
    8 × 8 or more, two layers of 64 units elsewhere. All are rectified, and trained by Adam at rate
    .002 in batches of 50, on standardised columns, or pictures. The same seed, rows and number of
    threads give the same features.

    Parameters
    ----------
    X, y : array or tensor, shape (n, …), (n,)
        Real rows, on the scale of what will be compared, and their labels.
    X_test, y_test : arrays
        Labelled rows to judge the classifier by: its accuracy is part of the features' name.
    shape : tuple of int, optional
        (height, width) or (height, width, 3) where a row is a picture.
    steps, max_rows : int
        Updates, and the most rows to train on.

    Examples
    --------
    >>> from equilibria.data import load
    >>> train, test = load("digits"), load("digits", split="test")
    >>> labelled = train.values[:300], train.labels[:300], test.values, test.labels
    >>> network_features(*labelled, (8, 8), steps=20)(test.values).shape
    (360, 64)
    """
    steps = check.whole(1)("steps", steps)
    max_rows = check.whole(2)("max_rows", max_rows)
    rows = as_rows(X, "X")
    test = as_rows(X_test, "X_test", rows.shape[1])
    labels, test_labels = as_labels(y, "y", len(rows)), as_labels(y_test, "y_test", len(test))
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2 or not np.ptp(rows, axis=0).any():
        raise ValueError(
            f"X, y: expected rows that vary, of two classes or more, not {len(classes)}"
        )
    if shape is not None and math.prod(shape) != rows.shape[1]:
        what = f"shape={shape}: rows of X have {rows.shape[1]} columns"
        raise ValueError(f"{what}; leave shape out where they are no pictures")
    over = None if shape else 0  # the pixels of pictures have one scale, the columns of a table not
    centre, spread = rows.mean(axis=over), rows.std(axis=over)
    scale = np.where(spread > 0, spread, 1.0)
    stream = as_stream(random_state).child("features")
    shape = shape if shape is not None and min(shape[:2]) >= 8 else None
    body = _body(rows.shape[1], shape)
    network = nn.Sequential(body, skip_init(nn.Linear, _WIDTH, len(classes)))
    _initialise((*body, network[1]), stream.child("weights"))
    kept = stream.child("rows").permutation(len(rows))[:max_rows]
    standard = torch.from_numpy((rows - centre) / scale).float()[kept]
    given, key = torch.from_numpy(codes)[kept], stream.child("order")
    _train(network, islice(Batches(standard, _BATCH_SIZE, key, labels=given), steps), shape)
    logits = Features.of(network, "logits", shape, centre=centre, scale=scale)(test)
    right = int((classes[logits.argmax(axis=1)] == test_labels).sum())
    low, high = wilson(right, len(test))
    kind = "a convolutional network" if shape else "a network"
    name = f"{_WIDTH} features of {kind} trained on {len(kept):,} labelled real rows, right on "
    name += f"{100 * right / len(test):.1f} % of {len(test):,} held-out ones "
    name += f"({100 * low:.1f} to {100 * high:.1f})"
    return Features.of(body, name, shape, centre=centre, scale=scale)


def _body(columns: int, shape: tuple[int, ...] | None) -> nn.Sequential:
    if shape is None:
        first, second = (skip_init(nn.Linear, size, _WIDTH) for size in (columns, _WIDTH))
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
    layers: list[nn.Module] = []
    height, width = (-(-side // 4) for side in shape[:2])
    colours = 1 if len(shape) == 2 else shape[2]
    for fan_in, fan_out in zip((colours, *_CHANNELS), _CHANNELS, strict=False):
        layers += [skip_init(nn.Conv2d, fan_in, fan_out, 3, stride=2, padding=1), nn.ReLU()]
    dense = skip_init(nn.Linear, _CHANNELS[-1] * height * width, _WIDTH)
    return nn.Sequential(*layers, nn.Flatten(), dense, nn.ReLU())


@torch.no_grad()
def _initialise(layers: Iterable[nn.Module], stream: Stream) -> None:
    """He's normal weights, drawn from our own stream."""
    for i, layer in enumerate(layers, start=3):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            deviation = math.sqrt(2 / layer.weight[0].numel())
            layer.weight.copy_(stream.child(i).normal(layer.weight.shape).mul_(deviation))
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _train(network: nn.Module, batches: Iterable[Batch], shape: tuple[int, ...] | None) -> None:
    optimiser = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    for batch in batches:
        assert batch.label is not None
        loss = nn.functional.cross_entropy(network(as_pictures(batch.values, shape)), batch.label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.requires_grad_(False)
