"""RBMs at small batches: ``RBM`` beside scikit-learn's ``BernoulliRBM`` on the digits, in turn,
each by its own defaults, and ours by scikit-learn's.

    python benchmarks/small.py --rounds 5

Processor time of one thread. A ratio is that of neighbours in one round, and its median over rounds
counts, since the machine may be busy. Test log-likelihood is by one evaluator for all: test rows,
each grey one draw, by log Z of 200 annealing runs of 1,500 temperatures. Every round has a seed of
its own. The work of ``updates`` is the difference between two lengths of training, so that what a
fit does beside (encoding, checks of the chains) is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "small.json")
options = parser.parse_args()
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before numpy
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from run import commit, hardware  # noqa: E402
from sklearn.neural_network import BernoulliRBM  # noqa: E402

from equilibria import RBM  # noqa: E402
from equilibria.data import load  # noqa: E402
from equilibria.inference.partition import forward_ais  # noqa: E402
from equilibria.models.boltzmann import BoltzmannMachine  # noqa: E402

torch.set_num_threads(1)
TRAIN, TEST = (load("digits", split=split).values / 16.0 for split in ("train", "test"))
SHARP = torch.from_numpy((np.random.default_rng(0).random(TEST.shape) < TEST).astype(float))
SAME = {"n_components": 256, "batch_size": 10, "n_iter": 10}
CONTESTANTS: dict[str, Callable[[int], Any]] = {
    "scikit-learn": lambda seed: BernoulliRBM(random_state=seed),
    "equilibria": lambda seed: RBM(random_state=seed, verbose=0),
    "equilibria, batches of ten": lambda seed: RBM(random_state=seed, verbose=0, **SAME),
}


def log_likelihood(rbm: Any, seed: int) -> float:
    """Mean over test rows, in nats."""
    biases = [rbm.intercept_visible_, rbm.intercept_hidden_]
    machine = BoltzmannMachine.from_arrays([rbm.components_.T], biases)
    machine.set_base("visible", torch.from_numpy((TRAIN.sum(0) + 1) / (len(TRAIN) + 2)))
    z = forward_ais(machine, chains=200, betas=1500, random_state=seed).value
    with torch.no_grad():
        return float(machine.double().log_marginal(0, {"visible": SHARP}).mean()) - z


def seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def microseconds(make: Callable[[int], Any], seed: int) -> float:
    """Of one update: 20 passes less 10 of them, in batches of ten."""
    long, short = make(seed).set_params(n_iter=20), make(seed).set_params(n_iter=10)
    updates = 10 * len(TRAIN) // 10
    return 1e6 * (seconds(lambda: long.fit(TRAIN)) - seconds(lambda: short.fit(TRAIN))) / updates


found: dict[str, dict[str, list[float]]] = {
    name: {"seconds": [], "ratio": [], "log_likelihood": []} for name in CONTESTANTS
}
updates: dict[str, list[float]] = {"scikit-learn": [], "equilibria, batches of ten": []}
RBM(n_iter=1, verbose=0).fit(TRAIN)  # warms up
for turn in range(options.rounds):
    models = {name: make(turn) for name, make in CONTESTANTS.items()}
    for name, model in models.items():
        found[name]["seconds"].append(seconds(lambda model=model: model.fit(TRAIN)))
        found[name]["log_likelihood"].append(log_likelihood(model, turn))
        peer = found["scikit-learn"]["seconds"][-1]
        found[name]["ratio"].append(found[name]["seconds"][-1] / peer)
    for name, times in updates.items():
        times.append(microseconds(CONTESTANTS[name], turn))
results = {
    name: {
        kind: {"median": statistics.median(values), "low": min(values), "high": max(values)}
        for kind, values in kinds.items()
    }
    for name, kinds in found.items()
}
for name, kinds in results.items():
    said = ", ".join(
        f"{k} {v['median']:.3f} ({v['low']:.3f} to {v['high']:.3f})" for k, v in kinds.items()
    )
    print(f"{name}: {said}")
per_update = {name: statistics.median(times) for name, times in updates.items()}
print("microseconds an update:", {name: round(x) for name, x in per_update.items()})
record = {"commit": commit(), "hardware": hardware(), "rounds": options.rounds}
record |= {"results": results, "microseconds an update": per_update}
options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
