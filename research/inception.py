"""Features of the Inception network of the published FID, where its weights are at hand."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from torch import Tensor, nn

from equilibria.evaluation.features import Features, as_pictures

__all__ = ["inception"]


def inception(
    shape: tuple[int, ...], low: float, high: float, weights: str | Path | None = None
) -> Features:
    """The 2,048 features of the Inception network behind the published FID, as torchmetrics brings
    it; nothing is downloaded.

    Parameters
    ----------
    shape : tuple of int
        (height, width) or (height, width, 3) of the pictures; grey ones are shown in three equal
        colours.
    low, high : float
        The range of the pictures, mapped to whole numbers 0 … 255.
    weights : path, optional
        The network's weights (``weights-inception-2015-12-05-6726825d.pth``), by default where
        torch keeps downloaded models.

    Raises
    ------
    ValueError

    """
    if not high > low:
        raise ValueError(f"low={low!r}, high={high!r}: expected the range of the pictures")
    try:
        network_type = importlib.import_module("torchmetrics.image.fid").NoTrainInceptionV3
    except ImportError as error:
        raise ValueError(
            f"Inception features need the packages torchmetrics and torch-fidelity ({error}): "
            "install them, or take network_features"
        ) from None
    file = (
        Path(torch.hub.get_dir()) / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
        if weights is None
        else Path(weights)
    )
    if not file.is_file():
        raise ValueError(
            f"weights={str(file)!r}: no such file, and nothing is downloaded at run time; put the "
            "weights there, or take network_features"
        )
    network = network_type(
        name="inception-v3-compat", features_list=["2048"], feature_extractor_weights_path=str(file)
    )
    bytes_first = _ToBytes(shape, low, high)
    return Features.of(
        nn.Sequential(bytes_first, network),
        "2,048 features of the Inception network of the published FID (ImageNet)",
    )


class _ToBytes(nn.Module):
    """Rows on [low, high] → pictures of three colours in whole numbers 0 … 255, which that network
    takes."""

    def __init__(self, shape: tuple[int, ...], low: float, high: float):
        super().__init__()
        self.shape, self.low, self.high = shape, low, high

    def forward(self, x: Tensor) -> Tensor:
        pictures = (
            as_pictures(x, self.shape)
            .sub(self.low)
            .div(self.high - self.low)
            .mul(255)
            .round()
            .clamp(0, 255)
        )
        return pictures.to(torch.uint8).expand(-1, 3, -1, -1)
