"""Fixed binarised MNIST: tractable densities beside machines, all on the same rows.

    EQUILIBRIA_DATA=… python experiments/mnist_binary.py [--models independent made rbm …]

The pictures of Larochelle & Murray (50,000 to train on, 10,000 to choose by, 10,000 to test), each
binarised once; figures of re-sampled pixels are not comparable. Mean log-likelihood in nats. Sizes
of a mixture are chosen by the validation rows; all else is one setting and one seed, and test rows
are scored once. ``--out`` keeps the runs: one that was stopped goes on, one that ended is only
measured. log Z of machines is known from both sides, by 100 chains; a DBM's and a DBN's figure is a
lower bound. Published, recalled from the tables of Uria et al. 2014 and Germain et al. 2015, is
PUBLISHED below; theirs are trained for hundreds of passes, ours for the minutes that are printed.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from record import kept, record

import equilibria
from equilibria.data import load
from equilibria.estimators import all_estimators
from equilibria.inference import gibbs
from equilibria.inference.partition import both_sides

PUBLISHED = {
    "mixture": (-137.64, "500 components"),
    "nade": (-88.33, "500 units, fixed order"),
    "made": (-88.40, "one layer of 8,000, one mask; two layers and 32 masks -86.64"),
    "made-any": (-85.10, "EoNADE, two layers, 128 orders"),
    "rbm": (-86.34, "CD-25, of re-sampled pixels, as those tables quote it"),
    "dbm": (-84.62, "784-500-1000, of re-sampled pixels, as those tables quote it"),
    "dbn": (-84.55, "784-500-2000, of re-sampled pixels, as those tables quote it"),
}
MACHINE: dict[str, Any] = {"batch_size": 100, "precision": "bfloat16", "ais_betas": 2000}
MACHINE |= {"momentum": 0.9, "weight_decay": 1e-4}
MODELS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "independent": ("independent", [{}]),
    "tree": ("tree", [{"steps": 1}]),
    "mixture": ("mixture", [{"n_components": k} for k in (20, 100, 500)]),
    "made": (
        "made",
        [{"hidden": (500,), "steps": 50_000, "average": 0.999},
         {"hidden": (500,), "steps": 15_000, "average": 0.999},
         {"hidden": (1000,), "steps": 30_000, "average": 0.999, "masks": 32}],
    ),
    "made-any": (
        "made",
        [{"hidden": (500, 500), "steps": 40_000, "average": 0.999, "order": "any", "masks": 8}],
    ),
    "nade": ("nade", [{"hidden": (500,), "steps": 3_000, "average": 0.999}]),
    "rbm": (
        "rbm",
        [MACHINE | {"n_components": 500, "learning_rate": 0.01, "average": 0.999}
         | {"method": "pcd", "k": 3, "n_iter": 100}],
    ),
    "dbm": (
        "dbm",
        [MACHINE | {"hidden": (500, 1000), "learning_rate": 0.005, "average": 0.9995}
         | {"steps": 60_000, "pretrain_steps": 10_000, "pretrain_learning_rate": 0.05}
         | {"pretrain_weight_decay": 2e-4, "top_replication": 2}],
    ),
    "dbn": (
        "dbn",
        [{"hidden": (500, 2000), "steps": 30_000, "learning_rate": 0.05, "momentum": 0.9}
         | {"average": 0.999}],
    ),
}  # fmt: skip
"""Row of the table → its estimator, and the sizes among which validation rows choose."""
SWEEPS, BETAS = 5000, 15_000  # of the chains that reverse annealing starts from; temperatures


def trained(model: Any, train: Any) -> tuple[Any, float]:
    """The model of its run, which is begun, gone on with, or read; processor seconds, which a run
    that is only read has kept."""
    run, began = Path(model.out), time.process_time()
    clock = run / "processor_seconds"
    if (run / "model.safetensors").exists():
        return equilibria.load(run), float(clock.read_text()) if clock.exists() else 0.0
    going = (run / "config.json").exists()
    model = equilibria.resume(run, train) if going else model.fit(train)
    clock.write_text(str(time.process_time() - began))
    return model, time.process_time() - began


def measured(name: str, model: Any) -> None:
    """Give a machine its log Z from both sides; what its own likelihoods then use."""
    if name not in ("rbm", "dbm"):
        return
    chains = gibbs.run(model.machine_, model.chains_, SWEEPS, random_state=2)
    sides = both_sides(model.machine_, chains, betas=BETAS, ladder=False, random_state=1)
    model.numbers_["log_partition"] = sides
    print(sides, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--out", type=Path, default=Path("runs/mnist-binary"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = {part: load("mnist-binary", split=part) for part in ("train", "valid", "test")}
    for name in options.models:
        estimator, grid = MODELS[name]
        total, found = 0.0, []
        for number, how in enumerate(grid):
            folder = str(options.out / f"{name}-{number}")
            model = all_estimators()[estimator](**how, random_state=0, out=folder)
            model, seconds = trained(model, rows["train"])
            total += seconds
            measured(name, model)
            valid = model.log_likelihood(rows["valid"].values)
            found.append((valid.value, model, how))
            print(f"  {name} {how}: valid {valid.value:.3f}, {seconds:.0f} s", flush=True)
        valid, model, how = max(found, key=lambda one: one[0])
        row = {"model": name, "estimator": estimator, "chosen": how, "valid": valid}
        row |= {"test": model.log_likelihood(rows["test"].values).to_json()}
        row |= {"seconds": round(total, 1), "published": PUBLISHED.get(name)}
        print(f"{name}: test {row['test']['value']:.3f}", flush=True)
        former = kept("mnist_binary", "rows").get("rows", [])
        others = [one for one in former if one["model"] != name]
        record("mnist_binary", rows=[*others, row], protocol=__doc__)


if __name__ == "__main__":
    main()
