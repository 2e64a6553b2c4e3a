"""How a machine's unrolled mean field is fine-tuned to tell classes apart, by backpropagation."""

from __future__ import annotations

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
    game = SupervisedGame(
        model.network,
        (how.input_dropout, how.dropout),
        how.precision,
        adversary=how.adversarial_radius,
        columns=model.network.sizes[0],
    )
    size = min(how.batch_size, len(inputs))
    batches = Batches(
        inputs,
        size,
        rows.stream.child("data"),
        labels=label.cpu(),
        encode=lambda chosen: chosen,
        shard=rows.shard,
        device=rows.device,
    )
    steps = 0 if how.schedule == "constant" else how.steps
    momentum = how.momentum if how.optimiser == "sgd" else 0.0
    rule = Optimiser(
        how.optimiser,
        how.learning_rate,
        momentum,
        weight_decay=how.weight_decay,
        schedule=how.schedule,
        steps=steps,
    )
    stage = Stage("fine-tuning", game, Simultaneous(rule), batches, how.steps)
    stage.average = Average(model.network, how.average) if how.average else None
    if rows.held is not None:
        held = _labelled(model, rows, held=True)
        stage.best = Best(model.network, _Accuracy(*held), "held_out_accuracy", sure=0.0)
        stage.monitor = _Cost(model, stage.average, *held)
    return [stage]


def _labelled(model: Unrolled, rows: Rows, held: bool) -> tuple[Tensor, Tensor]:
    """The network's inputs and the classes of the rows whose class is known."""
    values, codes = (rows.held, rows.held_codes) if held else (rows.values, rows.codes)
    assert codes is not None
    known = (codes >= 0).nonzero()[0]
    if not len(known):
        raise ValueError(
            f"y: none of the {len(codes)} rows {'held out' if held else 'to train on'} has a "
            "label; give more labels, or leave validation_fraction out"
        )
    encoded = rows.table.encode(take(values, known), model.machine.dtype)
    inputs = model.inputs(encoded.to(rows.device))
    return inputs, torch.from_numpy(codes[known]).to(rows.device)


class _Accuracy:
    """Which held-out rows a network gets right, one number a row."""

    def __init__(self, inputs: Tensor, label: Tensor):
        self.inputs, self.label = inputs, label

    @torch.no_grad()
    def __call__(self, network: Any) -> Tensor:
        parts = [network(rows).argmax(1) for rows in self.inputs.split(2000)]
        return (torch.cat(parts) == self.label).double()


class _Cost:
    """The cross-entropy of held-out rows, by the averaged network where there is an average."""

    def __init__(self, model: Unrolled, average: Average | None, inputs: Tensor, label: Tensor):
        self.model, self.average, self.inputs, self.label = model, average, inputs, label

    @torch.no_grad()
    def __call__(self, stream: Stream) -> dict[str, float]:
        network = self.model.network
        values: Any = dict(network.named_parameters())
        values = values if self.average is None else self.average.values
        call = torch.func.functional_call
        logits = torch.cat([call(network, values, (rows,)) for rows in self.inputs.split(2000)])
        return {"held_out_cost": float(functional.cross_entropy(logits, self.label))}
