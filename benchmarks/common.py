"""What every contestant shares: the work, the clock, and the floor that is timed beside it.

The work: an RBM 784-500, batches of 500, 10,000 synthetic binary rows (one epoch of PCD-1 or CD-1),
and block Gibbs sweeps of 1000 chains of an RBM 784-500 and a DBM 784-500-1000. The floor is the
bare matrix products of the same work, timed in the same process and in turn with it, so that a
contestant's share of the floor holds on a machine that others use too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence

ROWS, BATCH, CHAINS = 10_000, 500, 1000
RBM, DBM = (784, 500), (784, 500, 1000)

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--repeats", type=int, default=7)
parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
arguments = parser.parse_args()
for _name in (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
):  # before numpy and torch are imported
    os.environ[_name] = str(arguments.threads)

import numpy as np  # noqa: E402

clock = time.perf_counter if arguments.clock == "wall" else time.process_time
Work = Callable[[], object]


def synthetic(seed: int = 0) -> np.ndarray:
    """Binary rows from a mixture of 20 products of Bernoullis, about 19 % ones, as MNIST has."""
    rng = np.random.default_rng(seed)
    means = rng.beta(0.2, 0.8, size=(20, RBM[0]))
    return (rng.random((ROWS, RBM[0])) < means[rng.integers(20, size=ROWS)]).astype(np.float32)


def measure(works: dict[str, Work], repeats: int | None = None) -> None:
    """Time the works in turn and print the median seconds of each, one JSON object a line."""
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats or arguments.repeats):
        for name, work in works.items():
            start = clock()
            work()
            seconds[name].append(clock() - start)
    for name, times in seconds.items():
        print(
            json.dumps(
                {"name": name, "seconds": sorted(times)[len(times) // 2], "best": min(times)}
            ),
            flush=True,
        )


def torch_floor(sizes: Sequence[int], precision: str = "float32") -> Work:
    """The matrix products of one sweep: two for each weight matrix."""
    import torch

    dtype = getattr(torch, precision)
    states = [(torch.rand(CHAINS, size) < 0.5).to(dtype) for size in sizes]
    weights = [torch.randn(a, b).mul_(0.01).to(dtype) for a, b in itertools.pairwise(sizes)]
    fields = [torch.empty_like(state) for state in states]

    @torch.no_grad()
    def sweep() -> None:
        for i, weight in enumerate(weights):
            torch.mm(states[i], weight, out=fields[i + 1])
            torch.mm(states[i + 1], weight.T, out=fields[i])

    return sweep


def numpy_floor(sizes: Sequence[int]) -> Work:
    """The same by numpy: beside what runs on its threads, which keep torch's waiting."""
    random = np.random.default_rng(0)
    states = [random.integers(2, size=(CHAINS, size)).astype(np.float32) for size in sizes]
    weights = [np.zeros(shape, np.float32) for shape in itertools.pairwise(sizes)]
    return lambda: [
        (states[i] @ weight, states[i + 1] @ weight.T) for i, weight in enumerate(weights)
    ]


def numpy_epoch_floor() -> Work:
    """:func:`torch_epoch_floor` by numpy."""
    random = np.random.default_rng(0)
    v, h = (random.random((BATCH, size), np.float32) for size in RBM)
    weight = random.random(RBM, np.float32)

    def epoch() -> None:
        for _ in range(ROWS // BATCH):
            v @ weight, h @ weight.T, v @ weight, v.T @ h, v.T @ h

    return epoch


def torch_epoch_floor() -> Work:
    """The matrix products of an epoch of PCD-1: five an update."""
    import torch

    v, h = torch.rand(BATCH, RBM[0]).round_(), torch.rand(BATCH, RBM[1])
    weight, slope = torch.randn(RBM).mul_(0.01), torch.empty(RBM)
    on_v, on_h = torch.empty_like(v), torch.empty_like(h)

    @torch.no_grad()
    def epoch() -> None:
        for _ in range(ROWS // BATCH):
            torch.mm(v, weight, out=on_h)
            torch.mm(h, weight.T, out=on_v)
            torch.mm(v, weight, out=on_h)
            torch.mm(v.T, h, out=slope)
            torch.mm(v.T, h, out=slope)

    return epoch


def torch_setup() -> None:
    import torch

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)


def version_of(*packages: str) -> None:
    """Print the versions that took part."""
    from importlib.metadata import version

    print(
        json.dumps(
            {
                "versions": {
                    "python": sys.version.split()[0],
                    **{name: version(name) for name in packages},
                }
            }
        ),
        flush=True,
    )
