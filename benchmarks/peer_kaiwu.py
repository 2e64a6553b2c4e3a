"""kaiwu-torch-plugin's RestrictedBoltzmannMachine: CD-1 by its objective() and autograd, and its
two half-sweeps."""

from __future__ import annotations

from common import (
    BATCH,
    CHAINS,
    RBM,
    ROWS,
    measure,
    synthetic,
    torch_epoch_floor,
    torch_floor,
    torch_setup,
    version_of,
)

torch_setup()

import torch  # noqa: E402
from kaiwu.torch_plugin import RestrictedBoltzmannMachine  # noqa: E402

version_of("kaiwu-torch-plugin", "torch")
data = torch.from_numpy(synthetic())
model = RestrictedBoltzmannMachine(*RBM)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
state = {"v": data[:CHAINS].clone()}


def epoch() -> None:
    order = torch.randperm(ROWS)
    for start in range(0, ROWS, BATCH):
        batch = data[order[start : start + BATCH]]
        with torch.no_grad():
            full = model.get_hidden(batch, bernoulli=True)
            visible = model.get_visible(full[:, RBM[0] :], bernoulli=True)[:, : RBM[0]]
            positive, negative = model.get_hidden(batch), model.get_hidden(visible)
        optimizer.zero_grad()
        model.objective(positive, negative).backward()
        optimizer.step()


@torch.no_grad()
def sweep() -> None:
    full = model.get_hidden(state["v"], bernoulli=True)
    state["v"] = model.get_visible(full[:, RBM[0] :], bernoulli=True)[:, : RBM[0]]


measure({"epoch · floor": torch_epoch_floor(), "epoch · kaiwu-torch-plugin": epoch})
measure(
    {"RBM sweep · floor": torch_floor(RBM), "RBM sweep · kaiwu-torch-plugin": sweep}, repeats=15
)
