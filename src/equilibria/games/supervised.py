"""The supervised game: one player, a network that pays for each label it did not expect."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from equilibria.data.batches import Batch
from equilibria.games.game import Game
from equilibria.networks.precision import PRECISIONS, products
from equilibria.random import Stream

__all__ = ["SupervisedDraw", "SupervisedGame"]

MISSING = -1


class SupervisedDraw(NamedTuple):
    """What a round holds fixed: inputs ``(n, d)``, labels ``(n,)`` of int64 with −1 where missing, dropout's masks, and those of the
    rows that the adversary shifts."""

    values: Tensor
    label: Tensor
    masks: tuple[Tensor, ...]
    shifted_masks: tuple[Tensor, ...] = ()


class SupervisedGame(Game):
    """A network that pays the cross-entropy of the labels, J = −mean over labelled rows of log p(label | x).

    Rows with the label −1 are left out of the mean; a batch without a label costs nothing. With dropout each unit of the input is kept with
    probability 1 − ``dropout[0]`` and each hidden unit with 1 − ``dropout[1]``, and what is kept is divided by it, so that the
    whole network needs no scaling afterwards. The masks are drawn in ``draw``, so ``cost`` is pure.

    With an ``adversary`` of radius ε it pays half for the rows as they are and half for the rows as the adversary would have them,

        J = ½ CE(x) + ½ CE(x + ε·g/|g|),  g = ∇_x CE(x),

    the worst shift of length ε to first order. Its move is taken as given: at a maximum the cost's slope through it is zero (Danskin).

    Parameters
    ----------
    network : nn.Module
        ``network(x)`` gives logits ``(n, classes)``. With dropout, ``network(x, masks)`` multiplies masks into its input and
        its hidden layers, and ``network.masked`` lists their widths.
    dropout : (float, float)
        Rates of the input and of the hidden layers, in [0, 1).
    precision : {"float32", "bfloat16"}
        Type of the matrix products; parameters and gradients keep their own.
    adversary : float
        How far the adversary may shift a row, in Euclidean length; 0 is no adversary.
    columns : int, optional
        How many of the input's first columns it may shift; all by default.
    keep : bool
        Whether the best network so far by a held-out measure is kept among the buffers: see :meth:`consider`.

    Raises
    ------
    ValueError
        For a rate outside [0, 1), a radius below 0 or an unknown precision; in ``draw`` for a batch without labels or with a mask.

    References
    ----------
    Srivastava et al. 2014, "Dropout"; Goodfellow, Shlens & Szegedy 2015, "Explaining and harnessing adversarial examples" (with the largest
    cell bounded); Miyato et al. 2016, "Distributional smoothing with virtual adversarial training" (with the length bounded).

    Examples
    --------
    >>> from equilibria.networks.mlp import MLP
    >>> game = SupervisedGame(MLP((2, 4, 3), stream=Stream(0)))
    >>> drawn = game.draw(Batch(torch.zeros(2, 2), label=torch.tensor([0, -1])), Stream(1))
    >>> round(game.cost("network", drawn).item(), 4)  # the log of three classes
    1.0986
    """

    players = ("network",)
    best_error: Tensor

    def __init__(
        self,
        network: nn.Module,
        dropout: tuple[float, float] = (0.0, 0.0),
        precision: str = "float32",
        *,
        adversary: float = 0.0,
        columns: int | None = None,
        keep: bool = False,
    ):
        super().__init__()
        if len(dropout) != 2 or not all(0 <= rate < 1 for rate in dropout):
            raise ValueError(f"dropout={dropout!r}: expected the rates of the input and of the hidden layers, each in [0, 1)")
        if precision not in PRECISIONS:
            raise ValueError(f"precision={precision!r}: expected one of {', '.join(map(repr, PRECISIONS))}")
        if not 0 <= adversary < float("inf"):
            raise ValueError(f"adversary={adversary!r}: expected how far it may shift a row, a finite number of at least 0")
        self.network, self.dropout, self.precision = network, dropout, precision
        self.adversary, self.columns = float(adversary), columns
        self.best = copy.deepcopy(network).requires_grad_(False) if keep else None
        if keep:
            self.register_buffer("best_error", torch.tensor(2.0, dtype=torch.float64))  # worse than any

    def draw(self, batch: Batch, stream: Stream) -> SupervisedDraw:
        """The batch as it is, and dropout's masks."""
        if batch.label is None:
            raise ValueError("batch has no labels: a supervised game needs them, -1 where one is missing")
        if batch.mask is not None:
            raise ValueError("batch has a mask of missing values; a supervised game needs complete rows: fill them in or leave them out")
        masks = self._masks(batch.values, stream)
        shifted = self._masks(batch.values, stream.child("shifted")) if self.adversary else ()
        return SupervisedDraw(batch.values, batch.label.to(torch.int64), masks, shifted)

    def cost(self, player: str, drawn: SupervisedDraw) -> Tensor:
        """The mean of −log p(label | x) over the rows that have one, and as much again of the rows that the adversary shifted."""
        if player not in self.players:
            raise ValueError(f"player={player!r}: expected one of {', '.join(self.players)}")
        if not self.adversary:
            return _mean_cost(self.logits(drawn.values, drawn.masks), drawn.label)
        plain, shifted = self._shift(drawn)
        return (plain + _mean_cost(self.logits(shifted, drawn.shifted_masks), drawn.label)) / 2

    def logits(self, x: Tensor, masks: tuple[Tensor, ...] = ()) -> Tensor:
        """The network's logits ``(n, classes)`` in the type of ``x``."""
        with products(self.precision, x.device):
            logits = self.network(x, masks) if masks else self.network(x)
        return logits.to(x.dtype)

    @torch.no_grad()
    def measure(self, drawn: SupervisedDraw) -> dict[str, Tensor]:
        """The cost, and the share of labelled rows whose likeliest class is another, both under this round's dropout."""
        labelled, logits = drawn.label != MISSING, self.logits(drawn.values, drawn.masks)
        wrong = (logits.argmax(1) != drawn.label) & labelled
        return {"cost": _mean_cost(logits, drawn.label), "error": wrong.sum() / labelled.sum().clamp(min=1)}

    @torch.no_grad()
    def consider(self, error: float, parameters: Mapping[str, Tensor]) -> None:
        """Keep ``parameters`` (the network's, or their average) as the best ones where ``error`` is no larger than any before.

        Of equals the last is kept: it was found at the lowest rate. The network itself does not move.
        """
        if self.best is None:
            raise ValueError("keep=False: this game keeps no best network; build it with keep=True")
        if error <= float(self.best_error):
            self.best_error.fill_(error)
            for name, parameter in self.best.named_parameters():
                parameter.copy_(parameters[name])

    def _shift(self, drawn: SupervisedDraw) -> tuple[Tensor, Tensor]:
        """The cost of the rows as they are, and the rows where they cost most to first order."""
        with torch.enable_grad():
            x = drawn.values.detach().requires_grad_()
            cost = _mean_cost(self.logits(x, drawn.masks), drawn.label)
            (slope,) = torch.autograd.grad(cost, x, retain_graph=True)
            if self.columns is not None:
                slope[:, self.columns :] = 0
        length = slope.norm(dim=1, keepdim=True).clamp(min=torch.finfo(slope.dtype).tiny)
        return cost, torch.addcmul(drawn.values, slope, length.reciprocal(), value=self.adversary)

    def _masks(self, x: Tensor, stream: Stream) -> tuple[Tensor, ...]:
        if not any(self.dropout):
            return ()
        widths = self.network.masked
        assert isinstance(widths, tuple)
        rates = (self.dropout[0], *[self.dropout[1]] * (len(widths) - 1))
        dtype = PRECISIONS[self.precision] or x.dtype
        return tuple(
            _mask((len(x), width), rate, stream.child("dropout", i), x.device, dtype)
            for i, (width, rate) in enumerate(zip(widths, rates, strict=True))
        )


def _mean_cost(logits: Tensor, label: Tensor) -> Tensor:
    total = functional.cross_entropy(logits, label, ignore_index=MISSING, reduction="sum")
    return total / (label != MISSING).sum().clamp(min=1)


def _mask(shape: tuple[int, int], rate: float, stream: Stream, device: torch.device, dtype: torch.dtype) -> Tensor:
    """1 / (1 − rate) with probability 1 − rate, else 0; a lone one where nothing is dropped."""
    if rate == 0:
        return torch.ones((), dtype=dtype, device=device)
    kept = stream.centred(shape, device=device) >= rate - 0.5
    return kept.to(dtype).div_(1 - rate)
