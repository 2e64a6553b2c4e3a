"""The supervised game: one player, a network that pays for each label that it did not expect.

Its cost of classes is also what a semi-supervised critic pays for its labelled examples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.data.batches import Batch
from equilibria.games.game import Game
from equilibria.networks.mlp import PRECISIONS, products
from equilibria.random import Stream

__all__ = ["MISSING", "SupervisedGame", "class_cost", "class_errors"]

MISSING = -1
"""The label of a row that has none."""


def class_cost(logits: Tensor, label: Tensor) -> Tensor:
    """Mean −log softmax(logits)[label] over the labelled rows, a scalar; 0 where there are none.

    >>> class_cost(torch.zeros(3, 2), torch.tensor([0, 1, -1]))
    tensor(0.6931)
    """
    label = label.long()
    total = functional.cross_entropy(logits, label, ignore_index=MISSING, reduction="sum")
    return total / (label != MISSING).sum().clamp(min=1)


def class_errors(logits: Tensor, label: Tensor) -> Tensor:
    """The fraction of labelled rows that are given another class, 0-d; 0 where there are none."""
    known = label != MISSING
    return (known & (logits.argmax(1) != label)).sum() / known.sum().clamp(min=1)


class SupervisedDraw(NamedTuple):
    """What a round holds fixed: inputs ``(n, d)``, labels ``(n,)``, masks of dropout."""

    values: Tensor
    label: Tensor
    masks: tuple[Tensor, ...]
    shifted_masks: tuple[Tensor, ...] = ()


class SupervisedGame(Game):
    """A network that pays the cross-entropy of the labels.

    J = −mean over labelled rows of log p(label | x). Rows with the label −1 are left out of the
    mean. With dropout each unit of the input is kept with probability 1 − ``dropout[0]`` and each
    hidden unit with 1 − ``dropout[1]``, and what is kept is divided by it.

    With an ``adversary`` of radius ε it pays half for the rows as they are and half for the rows as
    the adversary would have them,

        J = ½ CE(x) + ½ CE(x + ε·g/|g|),  g = ∇_x CE(x),

    the worst shift of length ε to first order. Its move is taken as given: at a maximum the cost's
    slope through it is zero (Danskin).

    Parameters
    ----------
    network : nn.Module
        ``network(x)`` gives logits ``(n, classes)``. With dropout, ``network(x, masks)`` multiplies
        masks into its input and its hidden layers, and ``network.masked`` lists their widths.
    dropout : (float, float)
        Rates of the input and of the hidden layers, in [0, 1).
    precision : {"float32", "bfloat16"}
        Type of the matrix products; parameters and gradients keep their own.
    adversary : float
        How far the adversary may shift a row, in Euclidean length; 0 is no adversary.
    columns : int, optional
        How many of the input's first columns it may shift; all by default.

    References
    ----------
    Srivastava et al. 2014, "Dropout"; Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing
    adversarial examples"; Miyato et al. 2016, "Distributional smoothing with virtual adversarial
    training".
    """

    players = ("network",)
    network: Any

    def __init__(
        self,
        network: nn.Module,
        dropout: tuple[float, float] = (0.0, 0.0),
        precision: str = "float32",
        *,
        adversary: float = 0.0,
        columns: int | None = None,
    ):
        super().__init__()
        self.network, self.dropout, self.columns = network, dropout, columns
        self.precision, self.adversary = precision, adversary

    def draw(self, batch: Batch, stream: Stream) -> SupervisedDraw:
        """The batch as it is, and dropout's masks."""
        if batch.label is None:
            raise ValueError("batch: a supervised game needs labels, −1 where a row has none")
        masks = self._masks(batch.values, stream)
        shifted = self._masks(batch.values, stream.child("shifted")) if self.adversary else ()
        return SupervisedDraw(batch.values, batch.label.to(torch.int64), masks, shifted)

    def cost(self, player: str, drawn: SupervisedDraw) -> Tensor:
        """Mean −log p(label | x) of the labelled rows, averaged with that of the shifted rows."""
        if not self.adversary:
            return class_cost(self.logits(drawn.values, drawn.masks), drawn.label)
        plain, shifted = self.shift(drawn)
        return (plain + class_cost(self.logits(shifted, drawn.shifted_masks), drawn.label)) / 2

    def logits(self, x: Tensor, masks: tuple[Tensor, ...] = ()) -> Tensor:
        """The network's logits ``(n, classes)`` in the type of ``x``."""
        with products(self.precision, x.device):
            logits = self.network(x, masks) if masks else self.network(x)
        return logits.to(x.dtype)

    @torch.no_grad()
    def measure(self, drawn: SupervisedDraw) -> dict[str, Tensor]:
        """The cost and the error rate over labelled rows, both under this round's dropout."""
        logits = self.logits(drawn.values, drawn.masks)
        error = class_errors(logits, drawn.label)
        return {"cost": class_cost(logits, drawn.label), "error": error}

    def shift(self, drawn: SupervisedDraw) -> tuple[Tensor, Tensor]:
        """The cost of the rows as they are, and the rows where they cost most to first order."""
        with torch.enable_grad():
            x = drawn.values.detach().requires_grad_()
            cost = class_cost(self.logits(x, drawn.masks), drawn.label)
            (slope,) = torch.autograd.grad(cost, x, retain_graph=True)
            if self.columns is not None:
                slope[:, self.columns :] = 0
        length = slope.norm(dim=1, keepdim=True).clamp(min=torch.finfo(slope.dtype).tiny)
        return cost, torch.addcmul(drawn.values, slope, length.reciprocal(), value=self.adversary)

    def _masks(self, x: Tensor, stream: Stream) -> tuple[Tensor, ...]:
        """Of each layer: 1 / (1 − rate) with probability 1 − rate, else 0."""
        if not any(self.dropout):
            return ()
        dtype, masks = PRECISIONS[self.precision] or x.dtype, []
        for i, width in enumerate(self.network.masked):
            rate = self.dropout[min(i, 1)]
            if rate == 0:
                masks.append(torch.ones((), dtype=dtype, device=x.device))
                continue
            draw = stream.child("dropout", i).centred((len(x), width), device=x.device)
            masks.append((draw >= rate - 0.5).to(dtype).div_(1 - rate))
        return tuple(masks)
