"""Batch norm, and its running statistics re-estimated for a network's final weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from equilibria.check import choice, optional

__all__ = ["BatchNorm", "batch_norms", "normaliser", "reestimate"]

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


def normaliser(name: str | None, width: int, maps: bool = True) -> nn.Module:
    """Batch norm of so many maps, or of so many columns; the identity for None."""
    if optional(choice("batch"))("normalisation", name) is None:
        return nn.Identity()
    return (nn.BatchNorm2d if maps else nn.BatchNorm1d)(width, dtype=torch.float32)


def batch_norms(network: nn.Module) -> list[BatchNorm]:
    """Its layers of batch norm."""
    return [part for part in network.modules() if isinstance(part, BatchNorm)]


@torch.no_grad()
def reestimate(network: nn.Module, inputs: Iterable[tuple[Tensor | None, ...]]) -> None:
    """Replace running statistics by plain means over batches, each the arguments of a call.

    They trail the weights that training passed through; averaged weights have never been run.

    >>> network = nn.BatchNorm1d(1)
    >>> reestimate(network, [(torch.tensor([[1.0], [3.0]]),), (torch.tensor([[5.0], [7.0]]),)])
    >>> network.running_mean, network.running_var
    (tensor([4.]), tensor([2.]))
    """
    norms, modes = batch_norms(network), [(part, part.training) for part in network.modules()]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    network.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over what comes
    for batch in inputs:
        network(*batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for part, mode in modes:
        part.training = mode
