"""How a machine's unrolled mean field is fine-tuned to tell classes apart, by backpropagation."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from equilibria.data.batches import Batches
from equilibria.data.rows import Rows, take
from equilibria.games.supervised import SupervisedGame
from equilibria.inference.unrolling import Unrolled
from equilibria.random import Stream
from equilibria.solvers import Optimiser, Simultaneous
from equilibria.training.stage import Average, Best, Stage

__all__ = ["fine_tuning"]


def fine_tuning(model: Unrolled, how: Any, rows: Rows) -> list[Stage]:
    """One stage over the labelled rows; the machine's means are worked out once, for it stays."""
    inputs, label = _labelled(model, rows, held=False)
    network, dropout = model.network, (how.input_dropout, how.dropout)
    adversary: dict[str, Any] = {"adversary": how.adversarial_radius, "columns": network.sizes[0]}
    game = SupervisedGame(network, dropout, how.precision, **adversary)
    where: dict[str, Any] = {"shard": rows.shard, "device": rows.device}
    size, order, codes = min(how.batch_size, len(inputs)), rows.stream.child("data"), label.cpu()
    batches = Batches(inputs, size, order, labels=codes, encode=lambda chosen: chosen, **where)
    schedule = {"schedule": how.schedule, "steps": 0 if how.schedule == "constant" else how.steps}
    momentum = how.momentum if how.optimiser == "sgd" else 0.0
    rule = Optimiser(
        how.optimiser, how.learning_rate, momentum, weight_decay=how.weight_decay, **schedule
    )
    stage = Stage("fine-tuning", game, Simultaneous(rule), batches, how.steps)
    stage.average = average = Average(network, how.average) if how.average else None
    if rows.held is not None:
        held, classes = _labelled(model, rows, held=True)

        def logits() -> Tensor:
            return torch.cat([network(part) for part in held.split(2000)])

        def right(network: Any) -> Tensor:  # one number a held-out row
            return (logits().argmax(1) == classes).double()

        @torch.no_grad()
        def cost(stream: Stream) -> dict[str, float]:  # by the averaged network
            with average.applied() if average else contextlib.nullcontext():
                return {"held_out_cost": float(functional.cross_entropy(logits(), classes))}

        stage.best = Best(network, right, "held_out_accuracy", sure=0.0)
        stage.monitor = cost
    return [stage]


def _labelled(model: Unrolled, rows: Rows, held: bool) -> tuple[Tensor, Tensor]:
    """The network's inputs and the classes of the rows whose class is known."""
    values, codes = (rows.held, rows.held_codes) if held else (rows.values, rows.codes)
    assert codes is not None
    known = (codes >= 0).nonzero()[0]
    if not len(known):
        where = "held out" if held else "to train on"
        cure = "give more labels, or leave validation_fraction out"
        raise ValueError(f"y: none of the {len(codes)} rows {where} has a label; {cure}")
    encoded = rows.table.encode(take(values, known), model.machine.dtype)
    inputs = model.inputs(encoded.to(rows.device))
    return inputs, torch.from_numpy(codes[known]).to(rows.device)
