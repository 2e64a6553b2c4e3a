"""RBMs by their former defaults (batches of ten, rate .05, momentum .9) and by the present ones
(batches of fifty, rate .2, momentum .5), and what of it is the momentum's.

    EQUILIBRIA_DATA=… python experiments/momentum.py [--sets plants jester …] [--seeds 0 1]

Ten passes over the first 4,000 training rows (of MNIST 10,000, greys drawn anew each time), 256
hidden units. Test log-likelihood of 2,000 rows in nats, log Z by forward and reverse annealing, the
larger; ``sides`` is how far apart the two are: where they are far apart the figure is a lower
bound at best. Seconds are of the processor, one thread. nltcs is exact.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
import torch
from record import record

from equilibria import RBM, Independent
from equilibria.data import load

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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
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
    record("momentum", settings=SETTINGS, table=table, protocol=__doc__)


if __name__ == "__main__":
    main()
