"""How far the samples of a dcgan are from MNIST along one training, by average of its generator.

    EQUILIBRIA_DATA=… python experiments/dcgan_average.py --minutes 15 --seeds 0 [--noise 0]

A bare loop with torch's own layers and Adam, nothing of the library's in it: dense ends of 256,
16 and 32 channels, batch norm in both networks but for the ends, non-saturating, the generator's
rate .001 and the critic's 2e-4, β (.5, .999), batches of 64, constant rates. Beside the weights
themselves run their averages by .999 and .9997, with batch norm's statistics from 20 batches of
their own. At each mark of the processor's own minutes the Fréchet distance is that of
``experiments/pictures.py``: 5,000 samples to as many test rows, through features of a classifier
of the training rows.

Rows are kept by seed, minutes and average in experiments/results/dcgan_average.json.
"""

from __future__ import annotations

import argparse
import copy
import time
from typing import Any

import numpy as np
import torch
from pictures import looked_through, parts
from record import kept, record
from torch import Tensor, nn
from torch.nn import functional

from equilibria.evaluation import frechet

MARKS = (1, 2, 4, 6, 8, 11, 15)
AVERAGES = {"none": 0.0, ".999": 0.999, ".9997": 0.9997}
LATENT, CHANNELS, BATCH = 64, 16, 64


def networks() -> tuple[nn.Module, nn.Module]:
    """The generator and the critic."""
    c, wide = CHANNELS, 2 * CHANNELS * 49
    norm, plane = nn.BatchNorm1d, nn.BatchNorm2d
    generator = nn.Sequential(
        *(nn.Linear(LATENT, 256, bias=False), norm(256), nn.ReLU()),
        *(nn.Linear(256, wide, bias=False), norm(wide), nn.ReLU(), nn.Unflatten(1, (2 * c, 7, 7))),
        *(nn.ConvTranspose2d(2 * c, c, 4, 2, 1, bias=False), plane(c), nn.ReLU()),
        *(nn.ConvTranspose2d(c, 1, 4, 2, 1), nn.Tanh()),
    )
    critic = nn.Sequential(
        *(nn.Conv2d(1, c, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(c, 2 * c, 4, 2, 1), plane(2 * c), nn.LeakyReLU(0.2), nn.Flatten()),
        *(nn.Linear(wide, 256), norm(256), nn.LeakyReLU(0.2), nn.Linear(256, 1)),
    )
    return generator, critic


def samples(generator: nn.Module, n: int = 10_000) -> np.ndarray:
    """Pictures (n, 784) from 0 to 255, batch norm by statistics of the generator's own."""
    own = copy.deepcopy(generator).train()
    for part in own.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.momentum = None
            part.reset_running_stats()
    with torch.no_grad():
        for _ in range(20):
            own(torch.randn(256, LATENT))
        rows = torch.cat([own.eval()(torch.randn(500, LATENT)) for _ in range(n // 500)])
    return ((rows.numpy() + 1) * 127.5).reshape(n, -1)


def train(seed: int, minutes: float, noise: float, judge: Any) -> None:
    """One training; ``judge(minutes, steps, generators by average)`` at each mark."""
    torch.manual_seed(seed)
    real = torch.from_numpy(np.asarray(parts("mnist")[0].values, np.float32))
    real = real.view(-1, 1, 28, 28) / 127.5 - 1
    generator, critic = networks()
    averages = {name: copy.deepcopy(generator) for name in AVERAGES}
    rules = [
        torch.optim.Adam(one.parameters(), rate, betas=(0.5, 0.999))
        for one, rate in ((generator, 1e-3), (critic, 2e-4))
    ]

    def seen(x: Tensor) -> Tensor:
        return critic(x + noise * torch.randn_like(x) if noise else x)

    marks, began, steps = [mark for mark in MARKS if mark <= minutes], time.process_time(), 0
    while marks:
        if time.process_time() - began > 60 * marks[0]:
            paused = time.process_time()
            judge(marks.pop(0), steps, averages)
            began += time.process_time() - paused
            continue
        x = real[torch.randint(len(real), (BATCH,))]
        fake = generator(torch.randn(BATCH, LATENT))
        cost = (
            functional.softplus(-seen(x)).mean() + functional.softplus(seen(fake.detach())).mean()
        )
        rules[1].zero_grad()
        cost.backward()
        rules[1].step()
        rules[0].zero_grad()
        functional.softplus(-seen(fake)).mean().backward()
        rules[0].step()
        steps += 1
        with torch.no_grad():
            for name, own in averages.items():
                decay = min(AVERAGES[name], (1 + steps) / (10 + steps))
                for mean, value in zip(own.parameters(), generator.parameters(), strict=True):
                    mean.lerp_(value, 1 - decay)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--noise", type=float, default=0.0, help="of what the critic sees")
    options = parser.parse_args()
    torch.set_num_threads(1)
    both = parts("mnist")
    features = looked_through(*both)

    for seed in options.seeds:

        def judge(minutes: float, steps: int, generators: Any, seed: int = seed) -> None:
            for name, generator in generators.items():
                found = frechet(both[1].values, samples(generator), features)
                key = {"seed": seed, "minutes": minutes, "average": name, "noise": options.noise}
                row = key | {"steps": steps, "frechet": round(found.value, 3)}
                row |= {"low": found.low, "high": found.high, "floor": found.chance}
                print(row, flush=True)
                rows = [
                    old
                    for old in kept("dcgan_average", "rows").get("rows", [])
                    if any(old[field] != value for field, value in key.items())
                ]
                record("dcgan_average", rows=[*rows, row], features=features.name)

        train(seed, options.minutes, options.noise, judge)


if __name__ == "__main__":
    main()
