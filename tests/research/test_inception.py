"""Inception features: refused without the package or the weights, shown bytes with them."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from research.inception import inception


class _Flat(torch.nn.Module):
    """Stands in for the published network: its weights are not at hand."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str):
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dtype == torch.uint8
        return x.flatten(1)


def test_inception_is_refused_without_its_package_or_weights_and_shown_bytes_with_them(
    monkeypatch, tmp_path
) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics.image.fid", None)
    with pytest.raises(ValueError, match="need the packages torchmetrics"):
        inception((2, 2), 0, 1)
    package = types.SimpleNamespace(NoTrainInceptionV3=_Flat)
    for name, module in (
        ("torchmetrics", package),
        ("torchmetrics.image", package),
        ("torchmetrics.image.fid", package),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(ValueError, match="nothing is downloaded at run time"):
        inception((2, 2), 0, 1, tmp_path / "none.pth")
    (tmp_path / "weights.pth").write_bytes(b"")
    features = inception((1, 2), -1, 1, tmp_path / "weights.pth")
    assert features([[-1.0, 1.0]]).tolist() == [[0, 255] * 3]
    with pytest.raises(ValueError, match="low=1"):
        inception((2, 2), 1, 1)
