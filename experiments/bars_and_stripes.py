"""A deep Boltzmann machine 16-12-8 on bars and stripes, where everything can be checked by
enumeration.

The 30 patterns of 4×4 pixels are equally likely, so no model has a larger average log-likelihood
than −log 30 = −3.401 nats. For each seed it prints the exact average log-likelihood, the
variational bound with the exact log Z below it, and the AIS estimate of log Z beside the exact one.

    python experiments/bars_and_stripes.py --seeds 3
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from typing import Any

import torch

from equilibria import DBM
from equilibria.data import bars_and_stripes
from equilibria.inference import exact, partition

__all__ = ["PARAMETERS", "measure", "train"]

PARAMETERS: dict[str, Any] = {
    "hidden": (12, 8),
    "steps": 3000,
    "learning_rate": 0.05,
    "pretrain_steps": 1000,
    "pretrain_learning_rate": 0.2,
    "momentum": 0.5,
    "weight_decay": 0.0,
    "k": 5,
    "chains": 100,
    "mean_field_steps": 20,
}


def train(seed: int) -> DBM:
    """A machine trained on all patterns."""
    return DBM(**PARAMETERS, random_state=seed).fit(bars_and_stripes(4))


def measure(model: DBM, seed: int) -> dict[str, float]:
    """Exact average log-likelihood, its bound, and log Z exactly and by annealing with its
    interval, in nats."""
    patterns = bars_and_stripes(4)
    machine = copy.deepcopy(model.machine_).double()
    estimate = partition.forward_ais(machine, random_state=seed, betas=3000, chains=200)
    return {
        "log_likelihood": float(
            exact.log_prob(machine, {"visible": torch.as_tensor(patterns)}).mean()
        ),
        "bound": model.score(patterns),
        "log_z": exact.log_partition(machine),
        "low": estimate.low,
        "high": estimate.high,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"best possible {-math.log(30):.3f}")
    rows = []
    for seed in range(arguments.seeds):
        began = time.monotonic()
        model = train(seed)
        seconds, found = time.monotonic() - began, measure(model, seed)
        rows.append({"seed": seed, **found, "training_seconds": seconds})
        inside = found["low"] <= found["log_z"] <= found["high"]
        print(
            f"seed {seed}  log-likelihood {found['log_likelihood']:.3f}  bound "
            f"{found['bound']:.3f}  log Z {found['log_z']:.3f}  "
            f"AIS {found['low']:.3f} to {found['high']:.3f} "
            f"({'contains' if inside else 'misses'} it)  trained in {seconds:.1f} s",
            flush=True,
        )
    from record import (
        record,
    )  # beside this file; imported here so that the tests can load the functions above

    record("bars_and_stripes", parameters=PARAMETERS, best_possible=-math.log(30), rows=rows)


if __name__ == "__main__":
    main()
