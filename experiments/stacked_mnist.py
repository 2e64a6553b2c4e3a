"""Stacked MNIST: three digits as the three colours of a picture, 1,000 modes; how many a GAN finds,
and their KL, beside the real data's.

    EQUILIBRIA_DATA=… python experiments/stacked_mnist.py [--network dcgan] [--minutes 30]
    [--device cuda] [--out runs/stacked]

Protocol (Lin et al. 2018, section 4.2): 128,000 stacks of training digits; 26,000 samples; a mode
is a triple of digits, read off each colour by a classifier trained on the real digits; KL of the
samples' histogram over the 1,000 triples from that of the data (uniform). The real rows' own
numbers, through the same classifier, are the floor: chance gives .0194, and MNIST's classes are not
quite equally many. The networks here are far smaller than the published ones and are trained for
fewer steps; the numbers say what that costs.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from record import RESULTS, budgeted, record
from sklearn.linear_model import LogisticRegression

from equilibria import GAN
from equilibria.data import load, save_grid
from equilibria.evaluation import features
from equilibria.evaluation.statistics import kl_chance, kl_divergence
from equilibria.random import Stream

PUBLISHED = {
    "DCGAN (Lin et al. 2018)": [99, 3.40],
    "PacDCGAN2 (Lin et al. 2018)": [1000, 0.06],
    "StyleGAN2": [940, 0.42],
    "R3GAN (Huang et al. 2024)": [1000, 0.029],
    "R3GAN, small ablation, relativistic + R1 + R2": [1000, 0.078],
}
RECIPE: dict[str, Any] = {  # of grey pictures: in colour GAN's own is for sets as small as emoji
    "loss": "non-saturating",
    "penalties": {},
    "critic_learning_rate": 2e-4,
    "normalisation": "both",
}
SAMPLES, STACKS = 26_000, 128_000


def stacked(digits: np.ndarray, n: int, stream: Stream) -> np.ndarray:
    """``n`` stacks of three of these pictures each, drawn independently: rows of (28, 28, 3)."""
    picks = stream.integers((n, 3), len(digits)).numpy()
    return digits[picks].transpose(0, 2, 1).reshape(n, -1)


class Reader:
    """Triples of digits read off stacks by a classifier of single digits."""

    def __init__(self, rows: int = 30_000):
        train, test = load("mnist"), load("mnist", split="test")
        self.seen = features.network_features(
            train.values[:rows], train.labels[:rows], test.values, test.labels, (28, 28), steps=1500
        )
        self.head = LogisticRegression(max_iter=500).fit(
            self.of(train.values[:rows]), train.labels[:rows]
        )
        self.accuracy = float(self.head.score(self.of(test.values), test.labels))

    def of(self, digits: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                self.seen(part)
                for part in np.array_split(np.asarray(digits), max(1, len(digits) // 2000))
            ]
        )

    def triples(self, stacks: np.ndarray) -> np.ndarray:
        colours = np.asarray(stacks).reshape(len(stacks), 784, 3)
        read = [
            self.head.predict(self.of(colours[:, :, colour])).astype(int) for colour in range(3)
        ]
        return read[0] * 100 + read[1] * 10 + read[2]


def found(triples: np.ndarray) -> dict[str, float]:
    """Modes and KL from the uniform law over the 1,000."""
    counts, uniform = np.bincount(triples, minlength=1000), np.full(1000, 1e-3)
    kl, floor = kl_divergence(counts, uniform), kl_chance(uniform, len(triples))
    return {"modes": int((counts > 0).sum()), "kl": kl, "kl_floor": floor, "samples": len(triples)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--network",
        choices=("mlp", "dcgan", "residual"),
        default="dcgan",
    )
    parser.add_argument("--channels", type=int, default=24)
    parser.add_argument("--packing", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--hidden", type=int, nargs="+", help="of perceptrons; GAN's own by default"
    )
    parser.add_argument("--batch-size", type=int, help="GAN's own by default")
    parser.add_argument("--out", help="a run folder, to go on from where it was stopped")
    options = budgeted(parser, minutes=30)
    began, reader = time.monotonic(), Reader()
    print(
        f"the classifier reads {100 * reader.accuracy:.2f} % of held-out digits right", flush=True
    )
    digits, held_out = (
        np.asarray(load("mnist").values),
        np.asarray(load("mnist", split="test").values),
    )
    real = found(reader.triples(stacked(held_out, SAMPLES, Stream(options.seed).child("held out"))))
    print(f"real rows: {real}", flush=True)
    hidden = options.hidden and tuple(options.hidden)
    size: dict[str, Any] = (
        {"hidden": hidden} if options.network == "mlp" else {"channels": options.channels}
    )
    settings = {
        "network": options.network,
        "minutes": options.minutes,
        "packing": options.packing,
        **({} if options.network == "mlp" else RECIPE),
        "batch_size": options.batch_size,
        **size,
    }
    shared = {
        "value_range": (0, 255),
        "picture_shape": (28, 28, 3),
        "device": options.device,
        "out": options.out,
        "verbose": 1,
    }
    rows = stacked(digits, STACKS, Stream(options.seed).child("stacks"))
    start = time.monotonic()
    model = GAN(**settings, **shared, random_state=options.seed).fit(rows)
    took = time.monotonic() - start
    samples = np.asarray(model.sample(SAMPLES))
    ours = found(reader.triples(samples))
    save_grid(RESULTS / "stacked-mnist.png", samples[:64].reshape(-1, 28, 28, 3) / 255.0, zoom=3)
    print(f"samples: {ours}; {took:.0f} s; {model.health_}", flush=True)
    about = {
        "seed": options.seed,
        "settings": settings,
        "training_seconds": round(took, 1),
        "steps": model.n_steps_,
        "classifier_accuracy": reader.accuracy,
    }
    result = {
        "ours": ours,
        "real": real,
        "health": model.health_,
        "seconds_in_all": round(time.monotonic() - began, 1),
    }
    record("stacked_mnist", **about, **result, published=PUBLISHED, protocol=__doc__)


if __name__ == "__main__":
    main()
