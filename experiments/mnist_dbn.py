"""A deep belief network 784-500-2000 on MNIST: its test bound with log Z of the topmost machine
from both sides.

    EQUILIBRIA_DATA=... python experiments/mnist_dbn.py --out runs/mnist-dbn

Pixels are re-sampled from their grey levels in each minibatch; the 10,000 test pictures are
binarised once, by a draw keyed by the picture. Published, for a network of this shape: a bound of
-86.22 (Salakhutdinov & Murray 2008, forward AIS alone; -86.34 for its first RBM), and -84.55 by
importance sampling instead of the bound (Theis, Gerwinn, Sinz & Bethge 2011). A training that was
stopped goes on where it was, and a run that is there already is not trained again, only measured.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import torch
from record import record

import equilibria
from equilibria import DBN
from equilibria.evaluation import likelihood
from equilibria.inference import gibbs, partition
from equilibria.inference.belief import Belief
from equilibria.training.origin import collect

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--out", default="runs/mnist-dbn")
parser.add_argument("--hidden", type=int, nargs="+", default=[500, 2000])
parser.add_argument(
    "--steps", type=int, default=60000, help="of each layer's training; 600 are an epoch"
)
parser.add_argument("--rate", type=float, default=0.05)
parser.add_argument("--average", type=float, default=0.999)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument(
    "--sweeps", type=int, default=20000, help="of the chains that reverse AIS starts from"
)
parser.add_argument("--betas", type=int, default=20000)
parser.add_argument(
    "--samples", type=int, default=20, help="draws of the hidden layer behind a picture's bound"
)
parser.add_argument(
    "--importance",
    type=int,
    default=50,
    help="draws behind each of two importance-weighted bounds of a picture",
)
options = parser.parse_args()
torch.set_num_threads(options.threads)


def trained() -> DBN:
    run = Path(options.out)
    if (run / "model.safetensors").exists():
        return equilibria.load(run)
    if (run / "config.json").exists():
        return equilibria.resume(run, data.train)
    model = DBN(
        options.hidden,
        steps=options.steps,
        learning_rate=options.rate,
        momentum=0.9,
        average=options.average,
        random_state=options.seed,
    )
    return model.set_params(out=options.out).fit(data.train)


data = collect("mnist")
model = trained()
network, test = copy.deepcopy(model.network_).double(), model.values(data.test.values)
forward = partition.forward_ais(model.machine_, chains=100, betas=options.betas, random_state=1)
chains = gibbs.run(model.machine_, model.chains_, options.sweeps, random_state=2)
reverse = partition.reverse_ais(model.machine_, chains, betas=options.betas, random_state=3)
print(f"{forward}\n{reverse}", flush=True)


def bounds(samples: int, importance: int) -> dict[str, Any]:
    """The test bound by either side's log Z."""
    model = Belief(network, importance=importance)
    estimate = likelihood.bound(model, test, forward, samples=samples, random_state=4)
    print(
        f"{estimate}\nby reverse AIS {estimate.value + forward.value - reverse.value:.2f}",
        flush=True,
    )
    return {
        "forward": estimate.to_json(),
        "reverse": estimate.value + forward.value - reverse.value,
    }


bound, weighted = bounds(options.samples, 1), bounds(2, options.importance)
record(
    "mnist-dbn-" + "-".join(map(str, options.hidden)),
    seeds=[options.seed],
    data="MNIST, pixels re-sampled from grey levels in each minibatch; test pictures binarised "
    "once",
    parameters=model.get_params(),
    training_seconds=model.history_[-1]["seconds"],
    log_partition=forward.to_json(),
    log_partition_reverse=reverse.to_json(),
    chain_sweeps=options.sweeps,
    test_bound=bound["forward"]["value"],
    test_bound_reverse=bound["reverse"],
    test_bound_estimate=bound["forward"],
    importance_weighted_bound=weighted["forward"],
    importance_weighted_bound_reverse=weighted["reverse"],
    published={
        "test_bound": -86.22,
        "source": "Salakhutdinov & Murray 2008",
        "test_log_likelihood": -84.55,
        "source of it": "Theis, Gerwinn, Sinz & Bethge 2011",
    },
)
