"""Mode collapse on a ring of eight Gaussians, and its cure beside it: a strip of the lecture.

    python experiments/lecture/collapse.py [--steps 8000]

The upper row is the plain game: non-saturating, one critic update for each of the generator's. It
puts its samples on three of the eight modes and stays there: from the third picture (1,600 steps)
to the last they are the same three. The slide (Metz et al. 2017, figure 2) shows a game that moves
from mode to mode; these settings do not reproduce that. The lower row has the same networks, noise
and rates with relativistic pairs and R1 and R2 (Huang et al. 2024). The numbers are the modes found
and the share of high quality of 2,500 samples (within 3σ), and how evenly the modes are visited.
The samples left between the modes below are the bridges of connected noise; by default ``GAN`` has
a mixed prior and anneals its penalties.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from record import RESULTS, record

from equilibria.data import Batches, GaussianMixture
from equilibria.evaluation import modes
from equilibria.games.adversarial import AdversarialGame
from equilibria.models.generator import Generator
from equilibria.networks import MLP
from equilibria.numbers import Measure
from equilibria.random import Stream
from equilibria.solvers import Alternating, Optimiser

DATA = GaussianMixture.ring(8, radius=2.0, std=0.05)
GAMES = {
    "plain": {"payoff": "non-saturating"},
    "relativistic + R1 + R2": {"payoff": "relativistic", "penalties": {"r1": 0.05, "r2": 0.05}},
}
SHARES = (0.02, 0.08, 0.2, 0.45, 1.0)
QUALITY, KL = "share of high-quality samples", "KL over modes"


def strip(name: str, steps: int, rate: float, seed: int) -> list[tuple[int, np.ndarray, Measure]]:
    """2,500 samples at some moments of a game, and what they are worth."""
    stream = Stream(seed)
    generator = Generator(MLP((16, 128, 128, 2), stream=stream.child("generator")), 16)
    game = AdversarialGame(
        generator, MLP((2, 128, 128, 1), "leaky_relu", stream=stream.child("critic")), **GAMES[name]
    )
    solver = Alternating(Optimiser("adam", rate, betas=(0.5, 0.999)))
    batches = Batches(
        DATA.sample(50_000, stream.child("data")),
        200,
        stream.child("batches"),
        encode=torch.from_numpy,
    )
    moments, seen = {max(1, round(share * steps)) for share in SHARES}, []
    for step in range(1, steps + 1):
        solver.step(game, batches, stream.child(step), measure=False)
        if step in moments:
            samples = generator.sample(2500, stream.child("look")).numpy()
            seen.append((step, samples, modes(samples, DATA)))
            print(f"{name}, {step} steps: {seen[-1][2]}", flush=True)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    strips = {name: strip(name, options.steps, options.rate, options.seed) for name in GAMES}
    figure, panels = plt.subplots(2, len(SHARES) + 1, figsize=(13, 4.6), layout="constrained")
    for row, (name, seen) in zip(panels, strips.items(), strict=True):
        for panel, (step, samples, found) in zip(row, seen, strict=False):
            panel.scatter(*samples.T, s=2, alpha=0.25, color="tab:blue", lw=0)
            panel.set_title(
                f"{step} steps: {found.value:.0f} of 8, {100 * found[QUALITY].value:.0f} %",
                fontsize=8,
            )
        row[-1].scatter(*DATA.sample(2500, Stream(1)).T, s=2, alpha=0.25, color="tab:red", lw=0)
        row[-1].set_title("data", fontsize=8)
        row[0].set_ylabel(name)
    for panel in panels.flat:
        panel.set(xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[], aspect="equal")
    folder = RESULTS / "lecture"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "collapse.png", dpi=110)
    rows = [
        {
            "game": name,
            "steps": step,
            "modes": int(found.value),
            "high_quality": found[QUALITY].value,
            "kl": found[KL].value,
            "kl_floor": found[KL].chance,
        }
        for name, seen in strips.items()
        for step, _, found in seen
    ]
    record("lecture/collapse", settings=vars(options), games=GAMES, rows=rows)


if __name__ == "__main__":
    main()
