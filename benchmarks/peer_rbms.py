"""rbms (TorchRBM): the body of its train() without the HDF5 saves (PCD-1), and its two
half-sweeps."""

from __future__ import annotations

import typing

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

if not hasattr(typing, "override"):  # it asks for Python 3.12 only because of this name
    import typing_extensions

    typing.override = typing_extensions.override

from rbms import BBRBM  # noqa: E402
from rbms.bernoulli_bernoulli.implement import _init_parameters  # noqa: E402
from rbms.sampler import PCD  # noqa: E402

version_of("rbms", "torch")
data = torch.from_numpy(synthetic())
vbias, hbias, weights = _init_parameters(RBM[1], data, torch.device("cpu"), torch.float32)
params = BBRBM(weight_matrix=weights, vbias=vbias, hbias=hbias)
params.init_grad()
sampler = PCD(params=params, chains=params.init_chains(num_samples=BATCH), num_steps=1)
optimizer = torch.optim.SGD(params.parameters(), lr=0.05, maximize=True)
state = {"chains": params.init_chains(num_samples=CHAINS)}


@torch.no_grad()
def epoch() -> None:
    order = torch.randperm(ROWS)
    for start in range(0, ROWS, BATCH):
        batch = data[order[start : start + BATCH]]
        optimizer.zero_grad(set_to_none=False)
        current = params.init_chains(num_samples=BATCH, start_v=batch)
        negative = sampler.get_conf_grad(batch=batch)
        params.compute_gradient(data=current, chains=negative, centered=True)
        params.pre_grad_update()
        optimizer.step()
        params.post_grad_update()
        sampler.post_grad_update(params=params)


@torch.no_grad()
def sweep() -> None:
    state["chains"] = params.sample_visibles(params.sample_hiddens(state["chains"]))


measure({"epoch · floor": torch_epoch_floor(), "epoch · rbms": epoch})
measure({"RBM sweep · floor": torch_floor(RBM), "RBM sweep · rbms": sweep}, repeats=15)
