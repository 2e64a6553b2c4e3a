"""A deep Boltzmann machine on MNIST or Fashion-MNIST, its test bound with log Z from both sides,
and a sheet of its samples.

    EQUILIBRIA_DATA=... python experiments/mnist_dbm.py --out runs/mnist-dbm-500-1000
    EQUILIBRIA_DATA=... python experiments/mnist_dbm.py --hidden 500,500,1000 --out
    runs/mnist-dbm-500-500-1000 EQUILIBRIA_DATA=... python experiments/mnist_dbm.py --data
    fashion-mnist --steps 40000 --out runs/fashion-mnist-dbm-500-1000

Pixels are re-sampled from their grey levels in each minibatch; the 10,000 test pictures are
binarised once, by a draw keyed by the picture. The samples are the grey means of 100 of the model's
chains after further sweeps. Published, for MNIST with the same preparation: -84.62 for two layers
and -85.10 for three (Salakhutdinov & Hinton 2009; forward AIS alone, 300 to 500 epochs of joint
training). A run that was stopped goes on; one that has ended is not trained again, only measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, kept, record

import equilibria
from equilibria import DBM
from equilibria.data import save_grid
from equilibria.inference import gibbs, partition
from equilibria.training.origin import collect

PARAMETERS: dict[str, Any] = {
    "steps": 150_000,
    "learning_rate": 0.005,
    "momentum": 0.9,
    "pretrain_learning_rate": 0.05,
    "pretrain_steps": 10_000,
    "pretrain_weight_decay": 2e-4,
    "top_replication": 2,
    "weight_decay": 1e-4,
    "average": 0.9995,
    "precision": "bfloat16",
    "ais_betas": 20_000,
}
PUBLISHED = {"mnist-dbm-500-1000": -84.62, "mnist-dbm-500-500-1000": -85.10}

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--data", choices=("mnist", "fashion-mnist"), default="mnist")
parser.add_argument("--out", default="runs/mnist-dbm-500-1000")
parser.add_argument("--hidden", default="500,1000")
parser.add_argument("--steps", type=int, default=PARAMETERS["steps"])
parser.add_argument("--pretrain-steps", type=int, default=PARAMETERS["pretrain_steps"])
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument(
    "--sweeps", type=int, default=20000, help="of the chains that reverse AIS starts from"
)
parser.add_argument("--betas", type=int, default=20000)
options = parser.parse_args()
torch.set_num_threads(options.threads)

hidden = tuple(int(width) for width in options.hidden.split(","))
data, folder = collect(options.data), Path(options.out)
if (folder / "model.safetensors").exists():
    model = equilibria.load(folder)
elif (folder / "config.json").exists():
    model = equilibria.resume(folder, data.train)
else:
    parameters = {**PARAMETERS, "steps": options.steps, "pretrain_steps": options.pretrain_steps}
    model = DBM(hidden, **parameters, random_state=options.seed, out=options.out)
    model.fit(data.train)

name = f"{options.data}-dbm-" + "-".join(map(str, hidden))
machine, test = model.machine_, data.test.values
forward = partition.forward_ais(machine, chains=100, betas=options.betas, random_state=1)
chains = gibbs.run(machine, model.chains_, options.sweeps, random_state=2)
reverse = partition.reverse_ais(machine, chains, betas=options.betas, random_state=3)
# what the model's own scores, and `equilibria score`, then use
model.numbers_["log_partition"] = log_z = partition.conservative(forward, reverse)
unnormalised = model.score(test) + log_z.value
seen = model.score(data.train.values[:10_000]) + log_z.value
print(f"{forward}\n{reverse}")
bounds = unnormalised - forward.value, unnormalised - reverse.value
print(
    f"test bound {bounds[0]:.2f} by forward, {bounds[1]:.2f} by reverse AIS (published, by "
    f"forward AIS alone: {PUBLISHED.get(name)})"
)
saved = RESULTS / name
save_grid(RESULTS / f"{name}.png", model.sample(100, sweeps=1000).reshape(-1, 28, 28) / 255, zoom=2)
model.save(saved, overwrite=True)
record(
    name,
    seeds=[model.seed_],
    data=f"{options.data}, pixels re-sampled from grey levels in each minibatch; test pictures "
    "binarised once",
    parameters=model.get_params(),
    training_seconds=model.history_[-1]["seconds"],
    log_partition=forward.to_json(),
    log_partition_reverse=reverse.to_json(),
    chain_sweeps=options.sweeps,
    test_bound=bounds[0],
    test_bound_reverse=bounds[1],
    train_bound=seen - forward.value,
    model=str(saved.relative_to(RESULTS.parents[1])),
    **kept(name, "classification_error", "classification_errors"),
    picture=f"{name}.png",
    published={"test_bound": PUBLISHED[name], "source": "Salakhutdinov & Hinton 2009"}
    if name in PUBLISHED
    else None,
)
