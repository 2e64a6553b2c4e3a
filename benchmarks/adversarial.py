"""A round of the small adversarial game here and in bare loops, in turn.

    python benchmarks/adversarial.py --threads 1 --rounds 15 --steps 200 [--clock cpu]

The work: MLPs of 4 hidden layers of 128 units, two columns of data and of noise, batch 256, relativistic pairs with R1 and R2, Adam; the
critic moves once, then the generator, each on fresh noise. The bare loops are what one would write by hand: ``bare`` as in the authors'
code of R3GAN (data and samples apart, a derivative each, torch's Adam as it comes), ``bare, fused`` with everything that makes it faster
(one pass for both, one derivative, fused Adam). Ours makes its noise from counter-based streams, as in training; theirs is
``torch.randn``. Ratios are within a round of the clock, and their median over rounds is what counts, since the machine may be busy.
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
from typing import Any

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--rounds", type=int, default=15)
parser.add_argument("--steps", type=int, default=200, help="in a round, for each contestant")
parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results" / "adversarial.json")
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch is imported

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import softplus  # noqa: E402

from equilibria.data import Batch  # noqa: E402
from equilibria.games.adversarial import AdversarialGame  # noqa: E402
from equilibria.models.generator import Generator  # noqa: E402
from equilibria.networks.mlp import MLP  # noqa: E402
from equilibria.random import Stream  # noqa: E402
from equilibria.solvers import SOLVERS, Rule  # noqa: E402

BATCH, WIDTH, DEPTH, GAMMA, RATE, BETAS = 256, 128, 4, 1.0, 1e-3, (0.5, 0.999)
clock = time.perf_counter if options.clock == "wall" else time.process_time
Work = Callable[[int], Any]


def rows() -> Tensor:
    return Stream(0).child("rows").normal((BATCH, 2))


def ours(solver: str, measured: bool = False) -> Work:
    hidden = [WIDTH] * DEPTH
    generator = Generator(MLP([2, *hidden, 2], stream=Stream(1).child("generator")), latent_dim=2)
    critic = MLP([2, *hidden, 1], activation="leaky_relu", stream=Stream(1).child("critic"))
    game = AdversarialGame(generator, critic, "relativistic", penalties={"r1": GAMMA, "r2": GAMMA})
    play, batches, stream = SOLVERS[solver](Rule("adam", RATE, betas=BETAS)), repeat(Batch(rows())), Stream(2)
    place = iter(range(1 << 40))

    def work(steps: int) -> None:
        for _ in range(steps):
            play.step(game, batches, stream.child(next(place)), measure=measured)

    return work


def layers(activation: Callable[[], nn.Module], out: int) -> nn.Sequential:
    sizes = [2, *[WIDTH] * DEPTH]
    hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(*hidden, nn.Linear(WIDTH, out))


def bare(fused: bool) -> Work:
    """A loop by hand."""
    torch.manual_seed(0)
    generator, critic = layers(nn.ReLU, 2), layers(lambda: nn.LeakyReLU(0.2), 1)
    adam = {"lr": RATE, "betas": BETAS} | ({"fused": True} if fused else {})
    critics, generators = (torch.optim.Adam(module.parameters(), **adam) for module in (critic, generator))
    real = rows()

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

    def work(steps: int) -> None:
        for _ in range(steps):
            with torch.no_grad():
                fake = generator(torch.randn(BATCH, 2))
            cost = together(fake) if fused else apart(fake)
            critics.zero_grad()
            cost.backward()
            critics.step()
            critic.requires_grad_(False)
            cost = softplus(critic(real) - critic(generator(torch.randn(BATCH, 2)))).mean()
            generators.zero_grad()
            cost.backward()
            generators.step()
            critic.requires_grad_(True)

    return work


def main() -> None:
    torch.set_num_threads(options.threads)
    works = {
        "bare": bare(False),
        "bare, fused": bare(True),
        "equilibria": ours("alternating"),
        "equilibria, measured": ours("alternating", True),
    }
    for work in works.values():
        work(20)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(options.rounds):
        for name, work in works.items():
            start = clock()
            work(options.steps)
            seconds[name].append((clock() - start) / options.steps)
    results: dict[str, Any] = {}
    for name, times in seconds.items():
        results[name] = {"milliseconds": 1e3 * statistics.median(times)}
        for other in ("bare", "bare, fused"):
            ratios = [a / b for a, b in zip(times, seconds[other], strict=True)]
            results[name][f"over {other}"] = {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
        over = ", ".join(f"{results[name][f'over {other}']['median']:.3f} × {other}" for other in ("bare", "bare, fused"))
        print(f"{name:22} {results[name]['milliseconds']:7.3f} ms a round   {over}")
    about = {name: getattr(options, name) for name in ("threads", "clock", "rounds", "steps")} | {"torch": torch.__version__}
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2)}
    options.out.write_text(json.dumps({**about, **machine, "results": results}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
