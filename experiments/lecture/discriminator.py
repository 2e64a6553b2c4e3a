"""The discriminator climbing to D* = p/(p + q) on two known densities; the generator stands still.

    python experiments/lecture/discriminator.py [--steps 4000]

Data of three bumps, samples of one broad bump. The critic sees draws alone and pays the
cross-entropy. Its answer after some numbers of steps is drawn beside p/(p + q). The error is the
largest |D − D*| where either density is above a hundredth of its largest value: elsewhere there is
nothing to learn from. The best critic's cost is log 4 − 2 JSD. The JSD is known by quadrature; the
critic's estimate of it, log 2 − cost/2 on fresh draws, is printed with its interval over the draws.
In expectation it is a lower bound, but one set of draws may be above the truth.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import stats
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from record import RESULTS, record

from equilibria.data import Batches, GaussianMixture
from equilibria.evaluation import jensen_shannon
from equilibria.games.adversarial import AdversarialGame
from equilibria.models.generator import Generator
from equilibria.networks import MLP
from equilibria.random import Stream
from equilibria.solvers import Optimiser, Simultaneous

DATA = GaussianMixture(np.array([[-2.0], [0.5], [1.8]]), 0.4)
MEAN, STD = 0.3, 1.6  # of the samples
SHOWN = (0, 30, 100, 300, 1000)


class CriticAlone(AdversarialGame):
    """The adversarial game with the generator as it stands."""

    players = ("critic",)


def still_generator() -> Generator:
    """x = std · z + mean."""
    network = MLP((1, 1), stream=Stream(0))
    with torch.no_grad():
        network.layers[0].weight.fill_(STD)
        network.layers[0].bias.fill_(MEAN)
    return Generator(network.requires_grad_(False), 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=4000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    stream = Stream(0)
    x = torch.linspace(-5, 5, 1001)[:, None]
    p, q = np.exp(DATA.log_density(x)), stats.norm.pdf(x[:, 0], MEAN, STD)
    best, seen = p / (p + q), (p > 0.01 * p.max()) | (q > 0.01 * q.max())
    jsd = (
        float(
            np.trapezoid(
                np.where(p > 0, p * np.log(2 * best.clip(1e-300)), 0) + q * np.log(2 * (1 - best)),
                x[:, 0],
            )
        )
        / 2
    )

    critic = MLP((1, 64, 64, 1), "tanh", stream=stream.child("critic"))
    game = CriticAlone(still_generator(), critic)
    rule = Optimiser("adam", 3e-3, schedule="cosine", steps=options.steps)
    solver = Simultaneous(rule)
    batches = Batches(
        DATA.sample(200_000, stream.child("data")),
        1000,
        stream.child("batches"),
        encode=torch.from_numpy,
    )

    def answer() -> Tensor:
        with torch.no_grad():
            return torch.sigmoid(critic(x)[:, 0])

    curves = {}
    for step in range(options.steps + 1):
        if step in (*SHOWN, options.steps):
            curves[step] = answer().numpy()
        solver.step(game, batches, stream.child(step), measure=False)
    errors = {step: float(np.abs(curve - best)[seen].max()) for step, curve in curves.items()}

    real = torch.from_numpy(DATA.sample(200_000, stream.child("test")))
    fake = game.generator.sample(200_000, stream.child("test"))
    with torch.no_grad():
        found = jensen_shannon(critic(real), critic(fake))
    cost = 2 * (math.log(2) - found.value)
    print(
        "largest |D − p/(p + q)|:",
        ", ".join(f"{error:.3f} after {step} steps" for step, error in errors.items()),
    )
    print(f"the critic's cost {cost:.4f}, at best {math.log(4) - 2 * jsd:.4f}")
    print(f"JSD {jsd:.4f}; by the critic {found.value:.4f} ({found.low:.4f} to {found.high:.4f})")
    draw(x[:, 0].numpy(), p, q, best, curves, errors)
    record(
        "lecture/discriminator",
        steps=options.steps,
        errors=errors,
        cost=cost,
        best_cost=math.log(4) - 2 * jsd,
        **{"JSD": jsd, "estimate of JSD": found.value, "interval": [found.low, found.high]},
    )


def draw(
    x: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    best: np.ndarray,
    curves: dict[int, np.ndarray],
    errors: dict[int, float],
) -> None:
    """One panel a moment: both densities below, D and D* above them."""
    figure, panels = plt.subplots(
        2, 3, figsize=(11, 5.6), sharex=True, sharey=True, layout="constrained"
    )
    for panel, (step, curve) in zip(panels.flat, curves.items(), strict=True):
        panel.fill_between(x, p, color="tab:blue", alpha=0.25, lw=0, label="p, the data")
        panel.fill_between(x, q, color="tab:green", alpha=0.25, lw=0, label="q, the samples")
        panel.plot(x, best, color="black", ls="--", lw=1, label="p/(p + q)")
        panel.plot(x, curve, color="tab:red", lw=1.6, label="D")
        panel.set_title(f"{step} steps: off by {errors[step]:.3f} at most", fontsize=10)
    panels[0, 0].set(xlim=(-5, 5), ylim=(0, 1.02))
    panels[0, 0].legend(fontsize=8, loc="upper left")
    folder = RESULTS / "lecture"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "discriminator.png", dpi=110)


if __name__ == "__main__":
    main()
