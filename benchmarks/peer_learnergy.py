"""learnergy's RBM: fit (CD-1), and its two half-sweeps."""

from __future__ import annotations

import logging

from common import (
    BATCH,
    CHAINS,
    measure,
    synthetic,
    torch_epoch_floor,
    torch_floor,
    torch_setup,
    version_of,
)

torch_setup()

import torch  # noqa: E402
from learnergy.models.bernoulli import RBM  # noqa: E402

logging.disable(logging.CRITICAL)
version_of("learnergy", "torch")
data = torch.from_numpy(synthetic())
dataset = torch.utils.data.TensorDataset(data, torch.zeros(len(data)))
model = RBM(784, 500, steps=1, learning_rate=0.05)
state = {"v": data[:CHAINS].clone()}


@torch.no_grad()
def sweep() -> None:
    _, h = model.hidden_sampling(state["v"])
    _, state["v"] = model.visible_sampling(h)


measure(
    {
        "epoch · floor": torch_epoch_floor(),
        "epoch · learnergy": lambda: model.fit(dataset, batch_size=BATCH, epochs=1),
    },
    repeats=4,
)
measure({"RBM sweep · floor": torch_floor((784, 500)), "RBM sweep · learnergy": sweep}, repeats=15)
