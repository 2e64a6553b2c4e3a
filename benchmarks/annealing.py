"""Annealed importance sampling of a DBM 784-500-1000 with 100 chains, a temperature's time beside
that of its matrix products: two for each weight matrix, 100 rows each.

    python benchmarks/annealing.py --threads 1 2 --rounds 15

Each count of threads is a process of its own, in which blocks of 100 temperatures and as many
products are timed in turn. On more than one thread it wants a machine that does nothing else, since
each product waits for its slowest thread. Milliseconds a temperature, and medians and ranges of the
ratio of neighbours, go to ``results/annealing.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CHAINS, TEMPERATURES, SIZES = 100, 100, (784, 500, 1000)

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
parser.add_argument("--rounds", type=int, default=15)
parser.add_argument("--out", type=Path, default=HERE / "results" / "annealing.json")


def timed(threads: int, rounds: int) -> dict[str, Any]:
    """What one process finds."""
    import torch

    from equilibria.inference import gibbs
    from equilibria.inference.partition import annealed, schedule
    from equilibria.models.boltzmann import BoltzmannMachine
    from equilibria.random import Stream
    from equilibria.units import Bernoulli

    torch.set_num_threads(threads)
    machine = BoltzmannMachine.stack(*map(Bernoulli, SIZES)).initialise(0, std=0.05)
    betas = schedule(TEMPERATURES)
    rows = [torch.rand(CHAINS, size).round() for size in SIZES]
    weights = [torch.randn(shape) for shape in itertools.pairwise(SIZES)]

    def anneal(stream: Stream) -> None:
        annealed(machine, betas, gibbs.start(machine, CHAINS, stream), stream)

    def products(stream: Stream) -> None:
        for _ in range(TEMPERATURES):
            for below, above, weight in zip(rows, rows[1:], weights, strict=False):
                torch.mm(below, weight)
                torch.mm(above, weight.T)

    taken: dict[str, list[float]] = {"annealing": [], "products": []}
    with torch.no_grad():
        for i in range(rounds + 1):  # the first warms up
            for name, work in (("annealing", anneal), ("products", products)):
                began = time.perf_counter()
                work(Stream(0).child(i))
                taken[name].append(1000 * (time.perf_counter() - began) / TEMPERATURES)
    ratios = [a / b for a, b in zip(*taken.values(), strict=True)][1:]
    found = {name: round(statistics.median(times[1:]), 3) for name, times in taken.items()}
    ratio = {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
    return {**found, **{name: round(value, 3) for name, value in ratio.items()}}


def main() -> None:
    from run import commit, hardware

    options = parser.parse_args()
    results = {}
    for threads in options.threads:
        words = [sys.executable, __file__, "--child", str(threads), str(options.rounds)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        said = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE)
        results[threads] = json.loads(said.stdout)
        print(f"{threads} threads, milliseconds a temperature: {results[threads]}", flush=True)
    about = {"commit": commit(), "hardware": hardware(), "date": time.strftime("%Y-%m-%d")}
    what = {"chains": CHAINS, "temperatures": TEMPERATURES, "rounds": options.rounds}
    text = json.dumps({**about, **what, "threads": results}, indent=2)
    options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(timed(*map(int, sys.argv[2:]))))
    else:
        main()
