"""A deep Boltzmann machine 784-500-1000 on MNIST: trained with the defaults, its test bound with log Z from both sides.

    EQUILIBRIA_DATA=... python experiments/mnist_dbm.py --out runs/mnist-dbm

Pixels are re-sampled from their grey levels in each minibatch; the 10,000 test pictures are binarised once, by a draw keyed by the picture.
Published, with the same data preparation: -84.62 (Salakhutdinov & Hinton 2009; forward AIS alone, 300 to 500 epochs of joint training).
A run that is there already is not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from record import record

import equilibria
from equilibria import DBM
from equilibria.inference import annealing, gibbs
from equilibria.training.origin import attach, collect

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--out", default="runs/mnist-dbm")
parser.add_argument("--steps", type=int, default=20000)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--sweeps", type=int, default=20000, help="of the chains that reverse AIS starts from")
parser.add_argument("--betas", type=int, default=20000)
options = parser.parse_args()
torch.set_num_threads(options.threads)

data = collect("mnist")
if (Path(options.out) / "model.safetensors").exists():
    model = equilibria.load(options.out)
else:
    model = DBM(steps=options.steps, random_state=options.seed, out=options.out)
    attach(model, data)
    model.fit(data.train.values)

machine, test = model.machine_, data.test.values
forward = annealing.log_partition(machine, chains=100, betas=options.betas, random_state=1)
chains = gibbs.run(machine, model.chains_, options.sweeps, random_state=2)
reverse = annealing.reverse_log_partition(machine, chains, betas=options.betas, random_state=3)
unnormalised = model.score(test) + model.log_partition_.value
print(f"{forward}\n{reverse}")
bounds = unnormalised - forward.value, unnormalised - reverse.value
print(f"test bound {bounds[0]:.2f} by forward, {bounds[1]:.2f} by reverse AIS (published, by forward AIS alone: -84.62)")
record(
    "mnist-dbm-500-1000",
    seeds=[options.seed],
    data="MNIST, pixels re-sampled from grey levels in each minibatch; test pictures binarised once",
    parameters=model.get_params(),
    training_seconds=model.history_[-1]["seconds"],
    log_partition=forward.to_json(),
    log_partition_reverse=reverse.to_json(),
    chain_sweeps=options.sweeps,
    test_bound=bounds[0],
    test_bound_reverse=bounds[1],
    published={"test_bound": -84.62, "source": "Salakhutdinov & Hinton 2009"},
)
