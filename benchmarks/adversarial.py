"""A round of adversarial games here and in bare loops, in turn: a small one, and pictures by each
kind of network.

    python benchmarks/adversarial.py --threads 1 --rounds 15 [--only small dcgan] [--clock cpu]

The work: Adam; the critic moves once, then the generator, each on fresh noise. MLPs play
relativistic pairs with R1 and R2: ``small`` has 4 hidden layers of 128 units, two columns of data
and of noise, batch 256; ``mlp`` (3 × 512) is of pictures of 28 × 28 pixels, 64 columns of noise,
batch 64. Networks of pictures are as ``GAN`` builds them on a CPU, 16 channels and a dense layer of
256, batch 64: ``dcgan`` and ``residual`` by their presets but for instance noise (non-saturating,
batch norm in both), and ``dcgan, R1 and R2``, without batch norm, by relativistic pairs with both
penalties. The bare loops are what one would write by hand: ``bare`` has data and samples apart, a
derivative each, and torch's Adam as it comes; ``bare, fused`` everything that makes it faster (one
pass for both and one derivative where there is no batch norm, fused Adam). MLPs are torch's own
layers there, networks of pictures the same modules as ours. Ours makes its noise from counter-based
streams, as in training; theirs is ``torch.randn``. ``equilibria, measured`` reports costs and
logits too, which training does once in many rounds. Ratios are within a round of the clock, and
their median over rounds is what counts, since the machine may be busy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any, NamedTuple

GAMES = ("small", "mlp", "dcgan", "dcgan, R1 and R2", "residual")
parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=15)
parser.add_argument("--only", nargs="+", choices=GAMES, default=GAMES)
parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
parser.add_argument(
    "--out", type=Path, default=Path(__file__).resolve().parent / "results" / "adversarial.json"
)
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch is imported

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import softplus  # noqa: E402

from equilibria.data import Batch  # noqa: E402
from equilibria.games.adversarial import AdversarialGame  # noqa: E402
from equilibria.models.generator import Generator  # noqa: E402
from equilibria.networks import (  # noqa: E402
    MLP,
    DCGANCritic,
    DCGANGenerator,
    ResidualGenerator,
)
from equilibria.random import Stream  # noqa: E402
from equilibria.solvers import SOLVERS, Optimiser  # noqa: E402

GAMMA, RATE, BETAS, SHAPE = 1.0, 1e-3, (0.5, 0.999), (28, 28)
BARE = ("bare", "bare, fused")
clock = time.perf_counter if options.clock == "wall" else time.process_time
Work = Callable[[int], Any]


class Setup(NamedTuple):
    """Columns, noise, batch, rounds between two looks at the clock; the generator's output;
    perceptrons' layers, or both networks."""

    columns: int
    latent: int
    batch: int
    steps: int
    output: str | None = "tanh"
    hidden: tuple[int, ...] = ()
    pair: Callable[[], tuple[nn.Module, nn.Module]] | None = None
    penalised: bool = True


def convolutional(
    generator: Callable[..., nn.Module], critic: Callable[..., nn.Module], norm: str | None
) -> Callable[[], tuple[nn.Module, nn.Module]]:
    def pair() -> tuple[nn.Module, nn.Module]:
        streams = Stream(1).child("generator"), Stream(1).child("critic")
        how: dict[str, Any] = {"channels": 16, "hidden": 256, "normalisation": norm}
        return generator(SHAPE, 64, stream=streams[0], **how), critic(
            SHAPE, stream=streams[1], **how
        )

    return pair


SETUPS = {
    "small": Setup(2, 2, 256, 200, None, (128,) * 4),
    "mlp": Setup(784, 64, 64, 40, hidden=(512,) * 3),
    "dcgan": Setup(
        784, 64, 64, 10, pair=convolutional(DCGANGenerator, DCGANCritic, "batch"), penalised=False
    ),
    "dcgan, R1 and R2": Setup(
        784, 64, 64, 10, pair=convolutional(DCGANGenerator, DCGANCritic, None)
    ),
    "residual": Setup(
        784,
        64,
        64,
        5,
        pair=convolutional(ResidualGenerator, DCGANCritic, "batch"),
        penalised=False,
    ),
}


def rows(setup: Setup) -> Tensor:
    return Stream(0).child("rows").normal((setup.batch, setup.columns))


def ours(setup: Setup, measured: bool = False) -> Work:
    if setup.pair is None:
        sizes = [setup.latent, *setup.hidden, setup.columns]
        network: nn.Module = MLP(sizes, output=setup.output, stream=Stream(1).child("generator"))
        critic: nn.Module = MLP(
            [setup.columns, *setup.hidden, 1],
            activation="leaky_relu",
            stream=Stream(1).child("critic"),
        )
    else:
        network, critic = setup.pair()
    game = AdversarialGame(
        Generator(network, setup.latent),
        critic,
        "relativistic" if setup.penalised else "non-saturating",
        penalties={"r1": GAMMA, "r2": GAMMA} if setup.penalised else {},
    )
    play, batches, stream = (
        SOLVERS["alternating"](Optimiser("adam", RATE, betas=BETAS)),
        repeat(Batch(rows(setup))),
        Stream(2),
    )
    place = iter(range(1 << 40))

    def work(steps: int) -> None:
        for _ in range(steps):
            play.step(game, batches, stream.child(next(place)), measure=measured)

    return work


def layers(sizes: list[int], activation: Callable[[], nn.Module]) -> nn.Sequential:
    *hidden, last = (nn.Linear(a, b) for a, b in pairwise(sizes))
    return nn.Sequential(*(part for layer in hidden for part in (layer, activation())), last)


def bare(setup: Setup, fused: bool) -> Work:
    """A loop by hand."""
    torch.manual_seed(0)
    if setup.pair is None:
        generator: nn.Module = layers([setup.latent, *setup.hidden, setup.columns], nn.ReLU)
        generator = nn.Sequential(generator, nn.Tanh()) if setup.output else generator
        critic: nn.Module = layers([setup.columns, *setup.hidden, 1], lambda: nn.LeakyReLU(0.2))
    else:
        generator, critic = setup.pair()
    adam = {"lr": RATE, "betas": BETAS} | ({"fused": True} if fused else {})
    critics, generators = (
        torch.optim.Adam(module.parameters(), **adam) for module in (critic, generator)
    )
    real = rows(setup)

    def square(answer: Tensor, x: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(answer.sum(), x, create_graph=True)
        return slope.square().sum(1)

    def apart(fake: Tensor) -> Tensor:
        one, other = real.detach().requires_grad_(), fake.requires_grad_()
        on_real, on_fake = critic(one), critic(other)
        penalty = square(on_real, one) + square(on_fake, other)
        return (softplus(on_fake - on_real)[:, 0] + GAMMA / 2 * penalty).mean()

    def together(fake: Tensor) -> Tensor:
        x = torch.cat([real, fake]).requires_grad_()
        answer = critic(x)
        on_real, on_fake = answer.chunk(2)
        return softplus(on_fake - on_real).mean() + GAMMA * square(answer, x).mean()

    def unpenalised(fake: Tensor) -> Tensor:
        return softplus(-critic(real)).mean() + softplus(critic(fake)).mean()

    paid = together if fused else apart
    paid = paid if setup.penalised else unpenalised

    def pays() -> Tensor:
        answer = critic(generator(torch.randn(setup.batch, setup.latent)))
        return softplus((critic(real) if setup.penalised else 0) - answer).mean()

    def work(steps: int) -> None:
        for _ in range(steps):
            with torch.no_grad():
                fake = generator(torch.randn(setup.batch, setup.latent))
            cost = paid(fake)
            critics.zero_grad()
            cost.backward()
            critics.step()
            critic.requires_grad_(False)
            cost = pays()
            generators.zero_grad()
            cost.backward()
            generators.step()
            critic.requires_grad_(True)

    return work


def compare(setup: Setup) -> dict[str, Any]:
    """All contestants in turn, round after round: medians, and the ratios to both bare loops."""
    works = {
        "bare": bare(setup, False),
        "bare, fused": bare(setup, True),
        "equilibria": ours(setup),
        "equilibria, measured": ours(setup, True),
    }
    for work in works.values():
        work(max(2, setup.steps // 10))
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(options.rounds):
        for name, work in works.items():
            start = clock()
            work(setup.steps)
            seconds[name].append((clock() - start) / setup.steps)
    results: dict[str, Any] = {}
    for name, times in seconds.items():
        results[name] = {"milliseconds": 1e3 * statistics.median(times)}
        for other in BARE:
            ratios = [a / b for a, b in zip(times, seconds[other], strict=True)]
            results[name][f"over {other}"] = {
                "median": statistics.median(ratios),
                "low": min(ratios),
                "high": max(ratios),
            }
        over = ", ".join(
            f"{results[name][f'over {other}']['median']:.3f} × {other}" for other in BARE
        )
        print(f"  {name:22} {results[name]['milliseconds']:8.3f} ms a round   {over}", flush=True)
    return results


def main() -> None:
    torch.set_num_threads(options.threads)
    earlier = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    results: dict[str, Any] = earlier.get("games", {})
    for name in options.only:
        print(name, flush=True)
        about = {name: getattr(options, name) for name in ("threads", "clock", "rounds")} | {
            "torch": torch.__version__
        }
        machine = {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 2),
        }
        results[name] = {
            **about,
            **machine,
            "steps": SETUPS[name].steps,
            "results": compare(SETUPS[name]),
        }
    options.out.write_text(
        json.dumps({"games": results}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
