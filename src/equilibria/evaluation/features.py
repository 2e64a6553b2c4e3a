"""What samples are looked at through: raw columns, a small network trained here, an ImageNet network from an installed package."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from equilibria.data.batches import Batches
from equilibria.evaluation.rows import as_rows
from equilibria.evaluation.statistics import wilson
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["PIXELS", "Features", "inception", "network_features"]

_BATCH = 1000  # rows through a network at a time
_WIDTH = 64
_CHANNELS = (16, 32)
_LEARNING_RATE, _TRAINING_BATCH = 2e-3, 50


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """A map from rows to rows of numbers, with the name that every measure made through it carries.

    Attributes
    ----------
    name : str
        What the features are, as it is to be printed.
    function : callable
        Rows ``(n, d)`` in float64 → features ``(n, width)``, row by row.

    Examples
    --------
    >>> halves = Features("column means of two halves", lambda rows: rows.reshape(len(rows), 2, -1).mean(axis=2))
    >>> halves([[1.0, 3.0, 5.0, 7.0]])
    array([[2., 6.]])
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]

    def __call__(self, values: Any, name: str = "rows", columns: int | None = None, least: int = 1) -> np.ndarray:
        """The features ``(n, width)`` of ``values`` ``(n, …)`` in float64.

        Raises
        ------
        ValueError
            For text, NaN or infinity, too few rows or another number of columns (see :func:`~equilibria.evaluation.rows.as_rows`);
            for features that are not finite.
        """
        found = np.asarray(self.function(as_rows(values, name, columns, least)), dtype=np.float64)
        if not np.isfinite(found).all():
            raise ValueError(f"{name}: their features ({self.name}) hold NaN or infinity; check the scale of these rows")
        return found.reshape(len(found), -1)

    @classmethod
    def of(cls, module: nn.Module, name: str, shape: tuple[int, ...] | None = None) -> Features:
        """The output of a torch module, in evaluation mode, for rows, or for pictures where a ``shape`` is given.

        Parameters
        ----------
        module : nn.Module
            Given float32 rows ``(n, d)``, or pictures ``(n, channels, height, width)``; what it returns is flattened.
        name : str
        shape : tuple of int, optional
            (height, width) or (height, width, 3): how a row is laid out.
        """
        module = module.eval()

        def function(rows: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                parts = torch.from_numpy(rows).float().split(_BATCH)
                return torch.cat([module(as_pictures(part, shape)).flatten(1).double() for part in parts]).numpy()

        return cls(name, function)


PIXELS = Features("raw columns", lambda rows: rows)
"""The rows as they are: the pixels of a picture, the columns of a table."""


def as_pictures(rows: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """Rows ``(n, d)`` as ``(n, channels, height, width)``, colour last in a row; without a shape they stay rows."""
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
    """The last hidden layer of a small classifier that is trained here on labelled real rows.

    Two convolutions of stride 2 (16 and 32 maps) and a layer of 64 units where rows are pictures of 8 × 8 or more, two layers of 64 units
    elsewhere. All rectified, by Adam at rate .002 in batches of 50. The same seed, rows and number of threads give the same features.

    Parameters
    ----------
    X : array or tensor, shape (n, …)
        Real rows, on the scale of what will be looked at.
    y : array, shape (n,)
        Their labels.
    X_test, y_test : arrays
        Labelled rows to judge the classifier by: its accuracy is part of the features' name.
    shape : tuple of int, optional
        (height, width) or (height, width, 3) where a row is a picture.
    random_state : int, Stream or numpy generator
        Initial weights, the order of the rows, and which are used of more than ``max_rows``.
    steps, max_rows : int
        Updates, and how many of the rows are used at most.

    Raises
    ------
    ValueError
        For rows and labels of different lengths, NaN, one class only, constant rows, or a ``shape`` that does not fit.

    Examples
    --------
    >>> from equilibria.data import load
    >>> train, test = load("digits"), load("digits", split="test")
    >>> features = network_features(train.values[:300], train.labels[:300], test.values, test.labels, (8, 8), steps=20)
    >>> features(test.values).shape
    (360, 64)
    """
    if steps < 1 or max_rows < 2:
        raise ValueError(f"steps={steps!r}, max_rows={max_rows!r}: expected at least 1 update and 2 rows")
    rows = as_rows(X, "X")
    test = as_rows(X_test, "X_test", rows.shape[1])
    labels, test_labels = _labels(y, "y", len(rows)), _labels(y_test, "y_test", len(test))
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2 or rows.std() == 0:
        raise ValueError(f"X, y: expected rows that vary, of two classes or more; found {len(classes)} class(es), deviation {rows.std():g}")
    if shape is not None and math.prod(shape) != rows.shape[1]:
        raise ValueError(f"shape={shape}: rows of X have {rows.shape[1]} columns; leave shape out where they are no pictures")
    stream = as_stream(random_state).child("features")
    shape = shape if shape is not None and min(shape[:2]) >= 8 else None
    network = _Classifier(rows, shape, len(classes), stream.child("weights"))
    kept = stream.child("rows").permutation(len(rows))[:max_rows]
    _train(network, torch.from_numpy(rows).float()[kept], torch.from_numpy(codes)[kept], steps, stream)
    right = int((classes[network.predict(torch.from_numpy(test).float())] == test_labels).sum())
    low, high = wilson(right, len(test))
    kind = "a convolutional network" if shape else "a network"
    name = (
        f"{_WIDTH} features of {kind} trained on {len(kept):,} labelled real rows, "
        f"right on {100 * right / len(test):.1f} % of {len(test):,} held-out ones ({100 * low:.1f} to {100 * high:.1f})"
    )
    return Features.of(network.body, name)


class _Classifier(nn.Module):
    """Standardised rows → ``body`` → 64 features → ``head`` → class logits."""

    def __init__(self, rows: np.ndarray, shape: tuple[int, ...] | None, classes: int, stream: Stream):
        super().__init__()
        layers: list[nn.Module] = [_Standardise(float(rows.mean()), float(rows.std()), shape)]
        if shape is None:
            size = rows.shape[1]
            layers += [skip_init(nn.Linear, size, _WIDTH), nn.ReLU(), skip_init(nn.Linear, _WIDTH, _WIDTH), nn.ReLU()]
        else:
            colours = 1 if len(shape) == 2 else shape[2]
            height, width = (-(-side // 4) for side in shape[:2])
            for fan_in, fan_out in zip((colours, *_CHANNELS), _CHANNELS, strict=False):
                layers += [skip_init(nn.Conv2d, fan_in, fan_out, 3, stride=2, padding=1), nn.ReLU()]
            layers += [nn.Flatten(), skip_init(nn.Linear, _CHANNELS[-1] * height * width, _WIDTH), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = skip_init(nn.Linear, _WIDTH, classes)
        for i, layer in enumerate(self.modules()):
            if isinstance(layer, nn.Linear | nn.Conv2d):
                _initialise(layer, stream.child(i))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    @torch.no_grad()
    def predict(self, rows: Tensor) -> np.ndarray:
        return torch.cat([self(part).argmax(dim=1) for part in rows.split(_BATCH)]).numpy()


class _Standardise(nn.Module):
    def __init__(self, mean: float, deviation: float, shape: tuple[int, ...] | None):
        super().__init__()
        self.mean, self.deviation, self.shape = mean, deviation, shape

    def forward(self, x: Tensor) -> Tensor:
        return as_pictures((x - self.mean) / self.deviation, self.shape)


@torch.no_grad()
def _initialise(layer: nn.Linear | nn.Conv2d, stream: Stream) -> None:
    """He's normal weights, drawn from our own stream."""
    fan_in = layer.weight[0].numel()
    layer.weight.copy_(stream.normal(layer.weight.shape).mul_(math.sqrt(2 / fan_in)))
    if layer.bias is not None:
        layer.bias.zero_()


def _train(network: _Classifier, rows: Tensor, codes: Tensor, steps: int, stream: Stream) -> None:
    optimiser = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    for batch in islice(Batches(rows, _TRAINING_BATCH, stream.child("order"), labels=codes), steps):
        assert batch.label is not None
        loss = nn.functional.cross_entropy(network(batch.values), batch.label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.requires_grad_(False)


def _labels(y: Any, name: str, rows: int) -> np.ndarray:
    labels = np.asarray(y)
    if labels.shape != (rows,):
        raise ValueError(f"{name}: expected one label for each of the {rows} rows, found shape {labels.shape}")
    return labels


def inception(shape: tuple[int, ...], low: float, high: float, weights: str | Path | None = None) -> Features:
    """The 2,048 features of the Inception network behind the published FID, as torchmetrics brings it; nothing is downloaded.

    Parameters
    ----------
    shape : tuple of int
        (height, width) or (height, width, 3) of the pictures; grey ones are shown in three equal colours.
    low, high : float
        The range of the pictures, mapped to whole numbers 0 … 255.
    weights : path, optional
        The network's weights (``weights-inception-2015-12-05-6726825d.pth``), by default where torch keeps downloaded models.

    Raises
    ------
    ValueError
        Where torchmetrics (or torch-fidelity, on which it stands) is not installed, or there is no file of weights.
    """
    if not high > low:
        raise ValueError(f"low={low!r}, high={high!r}: expected the range of the pictures")
    try:
        network_type = importlib.import_module("torchmetrics.image.fid").NoTrainInceptionV3
    except ImportError as error:
        raise ValueError(
            f"Inception features need the packages torchmetrics and torch-fidelity ({error}): install them, or take network_features"
        ) from None
    file = Path(torch.hub.get_dir()) / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth" if weights is None else Path(weights)
    if not file.is_file():
        raise ValueError(
            f"weights={str(file)!r}: no such file, and nothing is downloaded at run time; put the weights there, or take network_features"
        )
    network = network_type(name="inception-v3-compat", features_list=["2048"], feature_extractor_weights_path=str(file))
    bytes_first = _ToBytes(shape, low, high)
    return Features.of(nn.Sequential(bytes_first, network), "2,048 features of the Inception network of the published FID (ImageNet)")


class _ToBytes(nn.Module):
    """Rows on [low, high] → pictures of three colours in whole numbers 0 … 255, which that network takes."""

    def __init__(self, shape: tuple[int, ...], low: float, high: float):
        super().__init__()
        self.shape, self.low, self.high = shape, low, high

    def forward(self, x: Tensor) -> Tensor:
        pictures = as_pictures(x, self.shape).sub(self.low).div(self.high - self.low).mul(255).round().clamp(0, 255)
        return pictures.to(torch.uint8).expand(-1, 3, -1, -1)
