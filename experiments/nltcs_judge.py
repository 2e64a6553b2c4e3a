"""nltcs as the exact judge: log Z by annealing and by the ladder, and the truth, along a training.

    EQUILIBRIA_DATA=… python experiments/nltcs_judge.py [--units 64 256] [--seeds 3] [--repeats 10]

nltcs has 16 binary columns, so log Z of any RBM on it is a sum over 65,536 states, however many
hidden units there are. RBMs of 64 and 256 units are trained for 1, 3, 10 and 30 passes; of each,
forward AIS, reverse AIS (from the ladder's samples), the ladder, and the worse of all (``both``)
are worked out ``repeats`` times with 100 chains and 1,000 temperatures placed by the machine. Error
is the estimate minus the truth, in nats: its mean, and the largest in size. ``covers`` is the share
of 95 % intervals that hold the truth, ``warned`` the share with a warning, ``silent`` the share
that errs by more than half a nat without one.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from record import kept, record

from equilibria import RBM
from equilibria.data import load
from equilibria.inference import exact, partition
from equilibria.numbers import Measure
from equilibria.random import Stream

UNITS, PASSES = (64, 256), (1, 3, 10, 30)


def shares(found: list[Measure], truth: list[float]) -> dict[str, float]:
    errors = np.array([one.value for one in found]) - truth
    covers = [low <= z <= high for low, z, high in zip(*_ends(found, truth), strict=True)]
    warned = np.array([bool(one.warning) for one in found])
    return {
        "error": float(errors.mean()),
        "largest": float(np.abs(errors).max()),
        "covers": float(np.mean(covers)),
        "warned": float(warned.mean()),
        "silent": float(((np.abs(errors) > 0.5) & ~warned).mean()),
        "estimates": len(found),
    }


def _ends(found: list[Measure], truth: list[float]) -> Any:
    return [one.low for one in found], truth, [one.high for one in found]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", nargs="+", type=int, default=UNITS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = load("nltcs").values
    former = kept("nltcs_judge", "rows").get("rows", [])
    table = [row for row in former if row["units"] not in options.units]
    for units in options.units:
        for passes in PASSES:
            found, truths = defaultdict[str, list[Measure]](list), list[float]()
            for seed in range(options.seeds):
                how: dict[str, Any] = {"batch_size": 100, "learning_rate": 0.2, "momentum": 0.5}
                model = RBM(units, n_iter=passes, random_state=seed, **how).fit(rows)
                truth = float(exact.log_partition(model.machine_.double()))
                for repeat in range(options.repeats):
                    stream = Stream(seed).child("judge", repeat)
                    both = partition.both_sides(model.machine_, random_state=stream)
                    truths.append(truth)
                    found["both"].append(both)
                    for part in both.parts:
                        found[part.name].append(part)
            for name, estimates in found.items():
                row = {"units": units, "passes": passes, "estimate": name}
                table.append(row | {"truth": truths[0]} | shares(estimates, truths))
                print(table[-1], flush=True)
            record("nltcs_judge", rows=table, protocol=__doc__)


if __name__ == "__main__":
    main()
