"""Pictures from DCGAN, residual networks and LAPGAN: digits, MNIST, Fashion-MNIST, emoji at 32 and
64 pixels.

    EQUILIBRIA_DATA=… python experiments/pictures.py --network dcgan residual lapgan --data digits
    mnist fashion-mnist emoji32 emoji64 \
        --minutes 30 [--channels 64] [--device cuda]

Each fit has ``--minutes`` of the processor's own time (of a GPU: of the clock) for as many rounds
as two short fits say will fit; the rounds are recorded. Samples are written to
experiments/results/pictures-DATA-NETWORK.png, their figures to the .json beside it, measured
against held-out rows through the features of a small classifier trained here, where there are
labels, else through pixels shrunk to 8 × 8. Emoji are Noto's (SIL OFL 1.1).
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from emoji_arithmetic import emoji
from record import RESULTS, record

from equilibria import GAN, LAPGAN
from equilibria.data import Data, divide, load, save_grid
from equilibria.evaluation import features, frechet, memorisation

NETWORKS = ("dcgan", "residual", "lapgan", "mlp")
DATA = ("digits", "mnist", "fashion-mnist", "emoji32", "emoji64")
TRIAL = 20  # rounds of the shorter of the fits that tell how long a round takes


def parts(name: str) -> tuple[Data, Data]:
    """Training and held-out rows."""
    if not name.startswith("emoji"):
        return load(name), load(name, split="test")
    size = int(name.removeprefix("emoji"))
    return divide(Data(emoji(size).rows, shape=(size, size, 3), low=0, high=255, name=name), 0.1, 0)


def model_of(network: str, data: Data, options: argparse.Namespace, **more: Any) -> GAN | LAPGAN:
    """An estimator with its defaults but for the size."""
    shared: dict[str, Any] = {
        "channels": options.channels,
        "batch_size": options.batch_size,
        "value_range": (data.low, data.high),
        "picture_shape": data.shape,
        "random_state": options.seed,
        "device": options.device,
        "precision": options.precision,
        **more,
    }
    return LAPGAN(**shared) if network == "lapgan" else GAN(network=network, **shared)


def seconds(device: str) -> float:
    return time.process_time() if device == "cpu" else time.monotonic()


def steps_within(network: str, data: Data, options: argparse.Namespace) -> int:
    """Rounds of each stage that fit into the time: what two short fits differ by, the cost of
    beginning and of the ten validation checks left out."""
    taken = []
    # the first warms up; both others have ten validation checks
    for steps in (1, TRIAL, 3 * TRIAL):
        began = seconds(options.device)
        model_of(network, data, options, steps=steps).fit(data.values[:1000])
        taken.append(seconds(options.device) - began)
    assert taken[2] > taken[1], "the clock is too coarse to tell how long a round takes"
    a_round = (taken[2] - taken[1]) / (2 * TRIAL)
    return max(TRIAL, int((60 * options.minutes - taken[1]) / a_round))


def looked_through(train: Data, test: Data) -> features.Features | None:
    """Features of a classifier trained on the training rows' labels; None where they have none."""
    if train.labels is None:
        return None
    return features.network_features(
        train.values[:10_000],
        train.labels[:10_000],
        test.values,
        test.labels,
        train.shape,
        steps=300,
    )


def small(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pictures as means over blocks, 8 × 8 in grey: few enough numbers for a covariance of some
    hundred held-out rows."""
    pictures = rows.astype(float).reshape(len(rows), 8, shape[0] // 8, 8, shape[1] // 8, -1)
    return pictures.mean((2, 4, 5)).reshape(len(rows), 64)


def measured(
    samples: np.ndarray, train: Data, test: Data, seen: features.Features | None
) -> dict[str, Any]:
    """Fréchet distance with its floor, and whether samples are copies."""
    real, fake, shape = test.values, samples, train.shape
    assert shape is not None
    if seen is None:
        seen = features.Features(
            "pixels shrunk to 8 × 8, in grey", lambda rows: small(np.asarray(rows), shape)
        )
    distance = frechet(real, fake, seen)
    copies = memorisation(samples[:1000], train.values, test.values)
    print(f"  {distance}\n  {copies}", flush=True)
    return {
        "frechet": distance.value,
        "floor": distance.chance,
        "features": distance.method,
        "copies": bool(copies.warning),
    }


def run(network: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    train, test = parts(name)
    steps = steps_within(network, train, options)
    print(f"{network} on {name}: {steps} rounds a stage", flush=True)
    began, clock = seconds(options.device), time.monotonic()
    model = model_of(network, train, options, steps=steps).fit(train.values)
    took = {
        "training_seconds": round(seconds(options.device) - began, 1),
        "training_clock": round(time.monotonic() - clock, 1),
    }
    samples = np.asarray(model.sample(min(10_000, 2 * len(test))))
    assert train.shape is not None
    shown = samples[:64].reshape(-1, *train.shape).astype(float) / float(train.high or 1)
    save_grid(
        RESULTS / f"pictures-{name}-{network}.png",
        shown.clip(0, 1),
        zoom=max(1, 96 // train.shape[0]),
    )
    print("  " + " ".join(model.health_), flush=True)
    return {
        "network": network,
        "data": name,
        "steps": steps,
        **took,
        **measured(samples, train, test, looked_through(train, test)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=NETWORKS[:3])
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA)
    parser.add_argument("--minutes", type=float, default=30, help="of each fit")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--batch-size", type=int, help="the network's own by default")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    for name in options.data:
        for network in options.network:
            found = run(network, name, options)
            settings = {
                key: getattr(options, key)
                for key in ("minutes", "batch_size", "channels", "precision", "device")
            }
            record(f"pictures-{name}-{network}", seeds=[options.seed], settings=settings, **found)


if __name__ == "__main__":
    main()
