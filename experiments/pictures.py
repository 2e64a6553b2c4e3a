"""Pictures within minutes of one core: dcgan, residual and LAPGAN beside MLPs and the DCGAN of
tutorials, on digits, MNIST, Fashion-MNIST and emoji at 32 and 64 pixels.

    EQUILIBRIA_DATA=… python experiments/pictures.py --data mnist --minutes 4 --seeds 0 1 2 \
        --network dcgan residual lapgan mlp tutorial [--channels 64] [--device cuda]

Each fit has ``--minutes`` of the processor's own time (of a GPU: of the clock), on ``--threads``
threads, all else by default. ``tutorial`` is a bare loop with what tutorials have: 64 and 32
channels, batch norm in both, non-saturating, Adam 2e-4 and .5 for both, batches of 64, no average.
Samples are measured against held-out rows by the Fréchet distance, through features of a small
classifier trained here on the training rows' labels, or, of emoji, through pixels shrunk to 8 × 8;
its floor is that of halves of the real rows.

Rows are kept by seed and minutes in experiments/results/pictures-DATA-NETWORK.json, the last sheet
of 64 samples beside it. Emoji are Noto's (SIL OFL 1.1).
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from emoji_arithmetic import emoji
from record import RESULTS, budgeted, kept, record
from torch import Tensor, nn
from torch.nn import functional

from equilibria import GAN, LAPGAN
from equilibria.data import Data, divide, load, save_grid
from equilibria.evaluation import features, frechet, memorisation
from equilibria.networks.pictures import halvings, to_planes, to_rows
from equilibria.training import trainer as budget

NETWORKS = ("dcgan", "residual", "lapgan", "mlp", "tutorial")
DATA = ("digits", "mnist", "fashion-mnist", "emoji32", "emoji64")


def parts(name: str) -> tuple[Data, Data]:
    """Training and held-out rows."""
    if not name.startswith("emoji"):
        return load(name), load(name, split="test")
    size = int(name.removeprefix("emoji"))
    return divide(Data(emoji(size).rows, shape=(size, size, 3), low=0, high=255, name=name), 0.1, 0)


# ------------------------------------------------------------------ the tutorial's


def tutorial_networks(shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """64 and 32 channels for two halvings, twice as many before each further one."""
    colours, times = (*shape, 1)[2], halvings(*shape[:2])
    small = shape[0] >> times, shape[1] >> times
    widths = [32 * 2**i for i in range(times)]
    up: list[nn.Module] = [nn.ConvTranspose2d(100, widths[-1], small, bias=False)]
    for a, b in pairwise([*reversed(widths), colours]):
        up += [nn.BatchNorm2d(a), nn.ReLU(), nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False)]
    down: list[nn.Module] = [nn.Conv2d(colours, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
    for a, b in pairwise(widths):
        down += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
    down += [nn.Flatten(), nn.Linear(widths[-1] * small[0] * small[1], 1)]
    generator, critic = nn.Sequential(*up, nn.Tanh()), nn.Sequential(*down)
    for part in (*generator.modules(), *critic.modules()):
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(part.weight, 0, 0.02)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1, 0.02)
    return generator, critic


def tutorial(data: Data, options: argparse.Namespace, seed: int, n: int) -> tuple[Any, int]:
    """Samples of a bare loop, and its steps."""
    torch.manual_seed(seed)
    assert data.shape is not None
    generator, critic = (part.to(options.device) for part in tutorial_networks(data.shape))
    half = (float(data.high or 1) - float(data.low or 0)) / 2
    real = torch.from_numpy(np.asarray(data.values, np.float32)) / half - 1
    rules = [
        torch.optim.Adam(part.parameters(), 2e-4, betas=(0.5, 0.999))
        for part in (critic, generator)
    ]
    cross = functional.binary_cross_entropy_with_logits
    began, steps = budget.CLOCK(), 0
    while budget.CLOCK() - began < 60 * options.minutes:
        steps += 1
        x = to_planes(real[torch.randint(len(real), (64,))], data.shape).to(options.device)
        fake = generator(torch.randn(64, 100, 1, 1, device=options.device))
        answers = critic(x), critic(fake.detach())
        cost = cross(answers[0], torch.ones_like(answers[0]))
        cost = cost + cross(answers[1], torch.zeros_like(answers[1]))
        rules[0].zero_grad()
        cost.backward()
        rules[0].step()
        answer = critic(fake)
        rules[1].zero_grad()
        cross(answer, torch.ones_like(answer)).backward()
        rules[1].step()
    with torch.no_grad():
        draws = torch.randn(n, 100, 1, 1).split(500)
        rows: list[Tensor] = [to_rows(generator.eval()(z.to(options.device))).cpu() for z in draws]
    return (torch.cat(rows).numpy() + 1) * half, steps


# ------------------------------------------------------------------ measures


def looked_through(train: Data, test: Data) -> features.Features:
    """Features of a classifier trained on the training rows' labels; where they have none, pixels
    shrunk to few enough numbers for a covariance of some hundred held-out rows."""
    shape = train.shape
    assert shape is not None
    if train.labels is not None:
        some = train.values[:10_000], train.labels[:10_000], test.values, test.labels
        return features.network_features(*some, shape, steps=300)
    return features.Features(
        "pixels shrunk to 8 × 8, in grey", lambda rows: small(np.asarray(rows), shape)
    )


def small(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pictures as means over blocks, 8 × 8 in grey."""
    pictures = rows.astype(float).reshape(len(rows), 8, shape[0] // 8, 8, shape[1] // 8, -1)
    return pictures.mean((2, 4, 5)).reshape(len(rows), 64)


def model_of(network: str, data: Data, options: argparse.Namespace, seed: int) -> GAN | LAPGAN:
    """An estimator with its defaults."""
    shared: dict[str, Any] = {
        "channels": options.channels,
        "batch_size": options.batch_size,
        "value_range": (data.low, data.high),
        "picture_shape": data.shape,
        "random_state": seed,
        "device": options.device,
        "precision": options.precision,
        "minutes": options.minutes,
    }
    return LAPGAN(**shared) if network == "lapgan" else GAN(network=network, **shared)


def run(network: str, parts: tuple[Data, Data], seen: Any, options: Any, seed: int) -> Any:
    """One fit and what its samples are worth; the samples."""
    train, test = parts
    began, used = time.monotonic(), time.process_time()
    n = min(10_000, 2 * len(test.values))
    if network == "tutorial":
        samples, steps = tutorial(train, options, seed, n)
    else:
        model = model_of(network, train, options, seed).fit(train.values)
        samples, steps = np.asarray(model.sample(n)), model.n_steps_
    row: dict[str, Any] = {"seed": seed, "minutes": options.minutes, "steps": steps}
    row["clock"] = round(time.monotonic() - began, 1)
    row["processor"] = round(time.process_time() - used, 1)
    if network != "tutorial":
        last = model.history_[-1]["seconds"]
        row |= {"training": last, "health": model.health_}
    distance = frechet(test.values, samples, seen)
    copies = memorisation(samples[:1000], train.values, test.values)
    row |= {"frechet": distance.value, "floor": distance.chance, "copies": bool(copies.warning)}
    print(f"{network}, seed {seed}, {steps} steps: {distance}\n  {copies}", flush=True)
    return row, samples


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--channels", type=int, help="the device's own by default")
    parser.add_argument("--batch-size", type=int, help="the network's own by default")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    options = budgeted(parser, minutes=4)
    own = {name: getattr(options, name) for name in ("channels", "batch_size", "precision")}
    own |= {"device": options.device}
    for name in options.data:
        both = parts(name)
        seen = looked_through(*both)
        for seed in options.seeds:
            for network in options.network:
                row, samples = run(network, both, seen, options, seed)
                keep(f"pictures-{name}-{network}", row | own, seen.name)
                sheet(f"pictures-{name}-{network}", samples[:64], both[0])


def keep(name: str, row: dict[str, Any], seen: str) -> None:
    """Record a row in the place of an earlier one of the same settings."""
    same = ("seed", "minutes", "channels", "batch_size", "precision", "device")
    rows = [
        old
        for old in kept(name, "rows").get("rows", [])
        if any(old.get(key) != row[key] for key in same)
    ]
    rows = sorted([*rows, row], key=lambda one: (one["minutes"], one["seed"]))
    alike = [one for one in rows if all(one.get(key) == row[key] for key in same[1:])]
    median = statistics.median(one["frechet"] for one in alike)
    record(name, rows=rows, features=seen, last={"minutes": row["minutes"], "median": median})


def sheet(name: str, samples: np.ndarray, data: Data) -> None:
    """64 samples as a picture."""
    assert data.shape is not None
    shown = samples.reshape(-1, *data.shape).astype(float) / float(data.high or 1)
    save_grid(RESULTS / f"{name}.png", shown.clip(0, 1), zoom=max(1, 96 // data.shape[0]))


if __name__ == "__main__":
    main()
