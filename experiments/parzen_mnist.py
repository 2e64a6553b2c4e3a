"""Parzen-window log-likelihood of an adversarial network on MNIST, in the protocol of 2014, beside
what it gives to real images.

    python experiments/parzen_mnist.py [--steps 6000] [--seeds 1] [--out FOLDER]

Protocol (Goodfellow et al. 2014, section 5): pixels in [0, 1]; 10,000 samples; the windows' width
from logspace(-1, 0, 10), chosen on the first 1,000 of the validation images 50,000 … 59,999; mean
and standard error over the 10,000 test images. Published there: adversarial nets 225 ± 2, DBN 138 ±
2, stacked CAE 121 ± 1.6, deep GSN 214 ± 1.1. The networks here are what this library's GAN takes by
default for such pictures, not the paper's maxout critic with dropout.

Two rows are measured beside it, since the measure is not to be trusted (Theis et al. 2016): 10,000
training images, and as many centres of k-means (Theis et al. 2016 report about 243 and 313).
Validation and test images are never trained on.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from record import record
from sklearn.cluster import MiniBatchKMeans

from equilibria import GAN
from equilibria.data import load
from equilibria.evaluation import parzen
from equilibria.random import Stream

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--steps", type=int, default=6000)
parser.add_argument("--seeds", type=int, default=1)
parser.add_argument(
    "--rows",
    type=int,
    default=10_000,
    help="test images, samples and centres; fewer for a smoke run",
)
parser.add_argument("--out", help="a run folder for each seed is made under this name")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--name", default="parzen_mnist", help="of the file of results")
options = parser.parse_args()
torch.set_num_threads(options.threads)

train, test = load("mnist"), load("mnist", split="test")
scale = 255.0 if train.high == 255 else 1.0
images = np.asarray(train.values[:50_000], dtype=np.float32) / scale
validation = np.asarray(train.values[50_000:51_000], dtype=np.float32) / scale
tested = np.asarray(test.values[: options.rows], dtype=np.float32) / scale
rows: list[dict[str, Any]] = []


def measure(what: str, samples: np.ndarray, **about: Any) -> None:
    estimate = parzen(tested, samples, validation)
    error = (estimate.value - estimate.low) / 1.96
    rows.append(
        {
            "samples": what,
            "value": estimate.value,
            "standard_error": error,
            "method": estimate.method,
            **about,
        }
    )
    print(f"{what}: {estimate.value:.1f} ± {error:.1f} ({estimate.method})", flush=True)


chosen = images[Stream(0).child("parzen").permutation(len(images))[: options.rows].numpy()]
measure("training images", chosen)
clusters = MiniBatchKMeans(
    options.rows, init=chosen, n_init=1, batch_size=5000, max_iter=5, random_state=0
).fit(images)
measure("k-means centres", clusters.cluster_centers_)
settings = {"steps": options.steps, "value_range": (0.0, 1.0), "picture_shape": (28, 28)}
for seed in range(options.seeds):
    out = None if options.out is None else f"{options.out}_{seed}"
    model = GAN(**settings, random_state=seed, out=out).fit(images)
    measure("GAN", model.sample(options.rows), seed=seed)
record(
    options.name,
    settings=settings,
    rows=rows,
    protocol="10,000 samples, sigma from logspace(-1, 0, 10) on 1,000 validation images, 10,000 "
    "test images"
    if options.rows == 10_000
    else "smoke",
    published={
        "Goodfellow et al. 2014": {
            "GAN": [225, 2],
            "DBN": [138, 2],
            "stacked CAE": [121, 1.6],
            "deep GSN": [214, 1.1],
        }
    },
    warning="No likelihood of the model, and more is not better: training images and k-means "
    "centres stand above.",
)
