"""Completions of MNIST digits: the left half given, eight right halves drawn from a trained deep
Boltzmann machine.

    EQUILIBRIA_DATA=... python experiments/mnist_completions.py

Each row of ``results/mnist-completions.png`` is a test picture, its left half on grey, then eight
completions by clamped Gibbs chains. The record has how far they are from the truth and from each
other, in differing pixels of the right half: several completions, not one average.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from record import RESULTS, record

import equilibria
from equilibria.data import load, save_grid

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--run", default=str(Path(__file__).parent / "results" / "mnist-dbm-500-1000"))
parser.add_argument("--pictures", type=int, default=12)
parser.add_argument("--draws", type=int, default=8)
parser.add_argument("--sweeps", type=int, default=2000)
options = parser.parse_args()
torch.set_num_threads(1)

model, test = equilibria.load(options.run), load("mnist", split="test")
truth = test.values[: options.pictures].astype(float)
halves = truth.reshape(-1, 28, 28).copy()
halves[:, :, 14:] = np.nan
given = halves.reshape(len(truth), -1)
drawn = model.impute(given, n=options.draws, random_state=0, sweeps=options.sweeps)
missing = np.isnan(given)
right = (drawn / 255 > 0.5)[:, missing].reshape(options.draws, len(truth), -1)
real = (truth / 255 > 0.5)[missing].reshape(len(truth), -1)
to_truth = float((right != real).mean((0, 2)).mean())
apart = float(
    np.mean([(right[i] != right[j]).mean() for i in range(options.draws) for j in range(i)])
)
blank = float(real.mean())
shown = (
    np.concatenate([truth[None], np.nan_to_num(given, nan=96.0)[None], drawn])
    .transpose(1, 0, 2)
    .reshape(-1, 28, 28)
)
path = RESULTS / "mnist-completions.png"
save_grid(path, shown / 255, columns=options.draws + 2, zoom=2)
print(
    f"right halves: {100 * to_truth:.1f} % of pixels differ from the truth, {100 * apart:.1f} % "
    f"from each other; blank {100 * blank:.1f} %"
)
record(
    "mnist-completions",
    seeds=[0],
    data="MNIST test pictures, the left 14 of 28 columns given in grey levels",
    model=str(Path(options.run).name),
    sweeps=options.sweeps,
    differs_from_truth=to_truth,
    differs_from_each_other=apart,
    blank_differs_from_truth=blank,
    picture=path.name,
)
