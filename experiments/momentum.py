"""RBMs by their former defaults (batches of ten, rate .05, momentum .9) and by the present ones
(batches of fifty, rate .2, momentum .5), and what of it is the momentum's.

    EQUILIBRIA_DATA=… python experiments/momentum.py [--sets plants jester …] [--seeds 0 1] [--bare]

Ten passes over the first 4,000 training rows (of MNIST 10,000, greys drawn anew each time), 256
hidden units. Test log-likelihood of 2,000 rows in nats, log Z by forward and reverse annealing, the
larger; ``sides`` is how far apart the two are: where they are far apart the figure is a lower
bound at best. Seconds are of the processor, one thread. nltcs is exact.

``--bare`` holds the finding to a loop in numpy and float64 that shares nothing with the library but
the annealing: centred PCD-1 on plants in batches of fifty, rates that fall to zero, offsets that
follow the means by a hundredth of the way.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
import torch
from record import kept, record
from scipy.special import expit

from equilibria import RBM, Independent
from equilibria.data import load
from equilibria.inference.partition import forward_ais
from equilibria.models.boltzmann import BoltzmannMachine

SETS = ("nltcs", "plants", "baudio", "jester", "bnetflix", "accidents", "pumsb_star", "debd-dna")
SETS += ("bbc", "mnist")
SETTINGS: dict[str, dict[str, Any]] = {
    "former": {"batch_size": 10, "learning_rate": 0.05, "momentum": 0.9},
    "former, momentum .5": {"batch_size": 10, "learning_rate": 0.04, "momentum": 0.5},
    "present, momentum .9": {"batch_size": 50, "learning_rate": 0.04, "momentum": 0.9},
    "present": {"batch_size": 50, "learning_rate": 0.2, "momentum": 0.5},
}


def rows_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows, in [0, 1]."""
    count, scale = (10_000, 255.0) if name == "mnist" else (4000, 1.0)
    parts = [np.asarray(load(name, split=split).values) for split in ("train", "test")]
    return parts[0][:count] / scale, parts[1][:2000] / scale


def bare(rate: float, momentum: float, seed: int, size: int = 50) -> dict[str, float]:
    """The test log-likelihood of an RBM of 256 units by a loop that shares nothing with ours."""
    (rows, test), draw = rows_of("plants"), np.random.default_rng(seed)
    rows = rows.astype(float)
    shares = (rows.sum(0) + 1) / (len(rows) + 2)
    weight = 0.01 * draw.standard_normal((rows.shape[1], 256))
    visible, hidden = np.log(shares / (1 - shares)), np.zeros(256)
    velocity = [np.zeros_like(one) for one in (weight, visible, hidden)]
    chains = (draw.random((size, len(shares))) < shares).astype(float)
    means, active = rows.mean(0), np.full(256, 0.5)
    steps = 10 * len(rows) // size
    for step in range(steps):
        start = step * size % len(rows)
        if start == 0:
            order = draw.permutation(len(rows))
        x = rows[order[start : start + size]]
        h = expit(x @ weight + hidden)
        drawn = draw.random(h.shape) < expit(chains @ weight + hidden)
        chains = (draw.random(x.shape) < expit(drawn @ weight.T + visible)).astype(float)
        free = expit(chains @ weight + hidden)
        active = 0.99 * active + 0.01 * h.mean(0)
        means = 0.99 * means + 0.01 * x.mean(0)
        slope = ((x - means).T @ (h - active) - (chains - means).T @ (free - active)) / size
        slopes = slope, x.mean(0) - chains.mean(0) - slope @ active
        slopes = *slopes, h.mean(0) - free.mean(0) - means @ slope
        for parameter, speed, uphill in zip(
            (weight, visible, hidden), velocity, slopes, strict=True
        ):
            speed *= momentum
            speed += uphill
            parameter += rate * (1 - step / steps) * speed
    machine = BoltzmannMachine.from_arrays([weight], [visible, hidden])
    machine.set_base("visible", torch.from_numpy(shares))
    log_z = forward_ais(machine, chains=100, betas=1000, random_state=0).value
    with torch.no_grad():
        clamp = {"visible": torch.from_numpy(test.astype(float))}
        score = float(machine.double().log_marginal(0, clamp).mean()) - log_z
    print(f"bare, rate {rate}, momentum {momentum}, seed {seed}: {score:.2f}", flush=True)
    return {"rate": rate, "momentum": momentum, "seed": seed, "test": score}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--bare", action="store_true", help="the loop in numpy alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if options.bare:
        found = [bare(*how, seed) for how in ((0.04, 0.9), (0.2, 0.5)) for seed in (1, 2, 3)]
        record("momentum", **kept("momentum", "settings", "table", "protocol"), bare=found)
        return
    table: list[dict[str, Any]] = []
    for name in options.sets:
        train, test = rows_of(name)
        floor = Independent(kinds="binary").fit(train.round()).score(test.round())
        for seed in options.seeds:
            for how, given in SETTINGS.items():
                began = time.process_time()
                model = RBM(random_state=seed, verbose=0, **given).fit(train)
                row: dict[str, Any] = {"set": name, "settings": how, "seed": seed}
                row |= {"seconds": round(time.process_time() - began, 2), "steps": model.n_steps_}
                row["independent"] = float(floor)
                row["test"] = float(np.mean(model.score_samples(test)))
                sides = [side.value for side in model.log_partition_.parts]
                row["sides"] = float(max(sides) - min(sides)) if sides else 0.0
                print(row, flush=True)
                table.append(row | {"health": model.health_[0]})
    held = kept("momentum", "bare")
    record("momentum", settings=SETTINGS, table=table, protocol=__doc__, **held)


if __name__ == "__main__":
    main()
