"""Labelled rows that are kept back from training, and the network that does best on them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from equilibria.games.supervised import SupervisedGame
from equilibria.random import Stream
from equilibria.training.stage import Stage

__all__ = ["kept_back", "watch"]


def kept_back(codes: np.ndarray, fraction: float) -> int:
    """How many of the labelled rows (``codes`` of 0 or more) a share of them is.

    Raises
    ------
    ValueError
        When it is none of them though the share is above 0, or all.

    Examples
    --------
    >>> kept_back(np.array([0, 1, -1, 0, 1]), 0.5)
    2
    """
    labelled = int((codes >= 0).sum())
    count = round(fraction * labelled)
    if fraction and not 0 < count < labelled:
        raise ValueError(f"validation_fraction={fraction!r} keeps back {count} of {labelled} labelled rows; expected some, and some left")
    return count


def watch(stage: Stage, inputs: Tensor, label: Tensor) -> None:
    """Have a stage look at rows that were kept back, and end with the network that did best on them.

    Each look logs the error and the cross-entropy of the averaged network (of the raw one, without an average); the game, built with
    ``keep=True``, keeps the best one in its buffers and so in every checkpoint.
    """
    game = stage.game
    assert isinstance(game, SupervisedGame)

    @torch.no_grad()
    def look(stream: Stream) -> dict[str, float]:
        parameters = {name: p.detach() for name, p in game.network.named_parameters()} if stage.average is None else stage.average.values
        logits = torch.cat([torch.func.functional_call(game.network, parameters, (rows,)) for rows in inputs.split(2000)])
        error = float((logits.argmax(1) != label).double().mean())
        game.consider(error, parameters)
        return {"held_out_error": error, "held_out_cost": float(functional.cross_entropy(logits, label))}

    def recall() -> None:
        assert game.best is not None
        game.network.load_state_dict(game.best.state_dict())

    stage.monitor, stage.on_end = look, recall
