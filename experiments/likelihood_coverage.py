"""Do the intervals of log Z cover it on machines trained to sharp modes, and does a warning come
where they do not?

Six machines whose log Z is enumerated: four trained by exact maximum likelihood (digits; small
digits, three layers; bars and stripes with a label layer; bars and stripes, all parameters doubled
afterwards), one that is flat, and one with a planted mode, deep and narrow, that chains do not
find: there no estimate that only sees the chains can know. For each, with uniform and with the
data's base rates (where these are not uniform too), 100 seeds of

- forward AIS and reverse AIS, 100 chains, with fixed and with adaptive temperatures, the latter
  from exact draws and from plain chains (200 sweeps from the base rates),
- the ladder: 12 temperatures, 40 chains, 300 sweeps with swaps, Bennett's ratio,
- two sides: forward and reverse (from the ladder's samples) and the ladder together, by the
  interval of the worse one.

It prints for each the share of 95 % intervals that cover, the share that warns, the warnings where
the interval does cover (``false``), and the silent failures: off by more than three standard errors
(half-widths over 1.96) and no warning.

    python experiments/likelihood_coverage.py
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

from equilibria.data import bars_and_stripes
from equilibria.inference import exact, gibbs, ladder, partition
from equilibria.inference.ladder import kept_colour
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.numbers import Measure
from equilibria.random import Stream
from equilibria.units import Bernoulli, Categorical

__all__ = ["CASES", "draws", "learn", "measure"]

Data = dict[str, torch.Tensor]
CHAINS, LADDER = 100, {"betas": 12, "chains": 40, "sweeps": 300, "every": 5}


def learn(
    machine: BoltzmannMachine, data: Data, steps: int, rate: float = 0.05
) -> BoltzmannMachine:
    """Exact maximum likelihood by Adam on enumerated gradients, so that the modes are as sharp as
    the machine can make them."""
    optimiser = torch.optim.Adam(machine.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        (exact.log_sum(machine) - exact.log_sum(machine, data).mean()).sum().backward()
        optimiser.step()
    return machine


def _stack(*sizes: int, std: float) -> BoltzmannMachine:
    return BoltzmannMachine.stack(*(Bernoulli(size) for size in sizes)).double().initialise(0, std)


def digits() -> tuple[BoltzmannMachine, Data]:
    """64-12 on 500 thresholded 8×8 digits."""
    data = {"visible": torch.as_tensor(load_digits().data[:500] > 7.5).double()}
    return learn(_stack(64, 12, std=0.1), data, 400), data


def small_digits() -> tuple[BoltzmannMachine, Data]:
    """16-10-6 on digits of 4×4 pixels, thresholded."""
    pooled = load_digits().images[:200].reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    data = {"visible": torch.as_tensor(pooled > 6).double()}
    return learn(_stack(16, 10, 6, std=0.3), data, 600), data


def label() -> tuple[BoltzmannMachine, Data]:
    """16-10 with a label (bars or stripes) on the hidden layer; the bars three times as
    frequent."""
    patterns = torch.as_tensor(bars_and_stripes(4)).double()
    kind = torch.nn.functional.one_hot(torch.tensor([0] * 16 + [1] * 14), 2).double()
    order = torch.tensor([*range(16)] * 3 + [*range(16, 30)])
    layers = {"visible": Bernoulli(16), "hidden": Bernoulli(10), "label": Categorical([2])}
    machine = (
        BoltzmannMachine(layers, [("visible", "hidden"), ("label", "hidden")])
        .double()
        .initialise(1, 0.3)
    )
    data = {"visible": patterns[order], "label": kind[order]}
    return learn(machine, data, 700), data


def doubled() -> tuple[BoltzmannMachine, Data]:
    """16-10 on bars and stripes, then every parameter times two."""
    data = {"visible": torch.as_tensor(bars_and_stripes(4)).double()}
    machine = learn(_stack(16, 10, std=0.3), data, 800)
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter.mul_(2)
    return machine, data


def hidden_mode() -> tuple[BoltzmannMachine, Data]:
    """24-12, nearly flat but for one state 24 nats deep, whose mass is a thousand times that of all
    others and draws no chain."""
    machine = _stack(24, 12, std=0.05)
    with torch.no_grad():
        machine.weight["visible-hidden1"][:, 0] = 5.0
        machine.bias["hidden1"][0] = -96.0
    return machine, {"visible": torch.as_tensor(load_digits().data[:200, :24] > 7.5).double()}


def flat() -> tuple[BoltzmannMachine, Data]:
    """16-10 with weights of 0.3: what every estimator should do without a word."""
    data = {"visible": torch.as_tensor(bars_and_stripes(4)).double()}
    return _stack(16, 10, std=0.3), data


CASES: dict[str, Callable[[], tuple[BoltzmannMachine, Data]]] = {
    f.__name__: f for f in (label, doubled, small_digits, flat, hidden_mode, digits)
}


@torch.no_grad()
def draws(machine: BoltzmannMachine, rows: int, stream: Stream) -> dict[str, torch.Tensor]:
    """Exact draws: the smaller colour by its enumerated marginal, the other given it."""
    kept = kept_colour(machine)
    counts = [machine.units(name).states or 0 for name in machine.colours[kept]]
    index = torch.arange(int(np.prod(counts)))
    every = {}
    for name, count in zip(machine.colours[kept], counts, strict=True):
        every[name], index = (
            machine.units(name).state_at(index % count, machine.dtype),
            index // count,
        )
    shares = torch.softmax(machine.log_marginal(kept, every), 0).cumsum(0)
    chosen = torch.searchsorted(shares, stream.uniform((rows,), torch.float64)).clamp(
        max=len(shares) - 1
    )
    state = {name: values[chosen] for name, values in every.items()}
    return {**state, **gibbs.block(machine, 1 - kept, state, stream.child("other"))[0]}


@torch.no_grad()
def forward(
    machine: BoltzmannMachine, betas: list[float], seeds: int, stream: Stream
) -> list[Measure]:
    """The estimates of ``seeds`` runs of 100 chains, worked out as one run of them all."""
    logs = partition.annealed(machine, betas, gibbs.start(machine, seeds * CHAINS, stream), stream)
    logs = logs + partition.base_log_partition(machine)
    return [partition.from_weights(part, "AIS") for part in logs.split(CHAINS)]


@torch.no_grad()
def reverse(
    machine: BoltzmannMachine, betas: list[float], samples: Data, rows: int, stream: Stream
) -> list[Measure]:
    logs = partition.annealed(machine, betas[::-1], samples, stream)
    logs = logs - partition.base_log_partition(machine)
    return [partition.from_weights(part, "reverse AIS", sign=-1.0) for part in logs.split(rows)]


def ladders(machine: BoltzmannMachine, seeds: int, stream: Stream) -> tuple[list[Measure], Data]:
    """The ladder of each seed, from one run of all their chains; the samples of all, seed by
    seed."""
    options, chains = dict(LADDER), LADDER["chains"]
    betas = partition.adaptive_schedule(machine, options.pop("betas"), random_state=stream)
    replicas = ladder.temperatures(machine, betas)
    options |= {"chains": seeds * chains, "random_state": stream}
    draws = partition.ladder_draws(replicas, **options)
    found = []
    for first in range(0, seeds * chains, chains):
        mine = slice(first, first + chains)
        part = partition.Draws(draws.up[..., mine], draws.down[..., mine], draws.fresh[:, mine], {})
        found.append(partition.bennett(replicas, part))
    return found, dict(draws.samples)


def measure(
    machine: BoltzmannMachine, seeds: int, temperatures: int, stream: Stream
) -> dict[str, dict[str, float]]:
    """The table of one machine: estimator → shares and errors."""
    truth = exact.log_partition(machine)
    adaptive = partition.adaptive_schedule(machine, temperatures, random_state=stream)
    exactly = draws(machine, seeds * CHAINS, stream.child("exact"))
    chains = gibbs.run(
        machine,
        gibbs.start(machine, seeds * CHAINS, stream.child("start")),
        200,
        stream.child("chains"),
    )
    up = forward(machine, adaptive, seeds, stream.child("up"))
    found_by_ladder, samples = ladders(machine, seeds, stream.child("ladder"))
    down = reverse(machine, adaptive, samples, LADDER["chains"], stream.child("down"))
    found = {
        "forward, fixed": forward(
            machine, partition.schedule(temperatures), seeds, stream.child("fixed")
        ),
        "forward, adaptive": up,
        "reverse, exact draws": reverse(
            machine, adaptive, exactly, CHAINS, stream.child("exactly")
        ),
        "reverse, plain chains": reverse(
            machine, adaptive, chains, CHAINS, stream.child("plainly")
        ),
        "reverse, ladder's": down,
        "ladder": found_by_ladder,
        "two sides": [
            partition.conservative(*sides) for sides in zip(up, down, found_by_ladder, strict=True)
        ],
    }
    return {name: shares(estimates, float(truth)) for name, estimates in found.items()}


def shares(estimates: list[Measure], truth: float) -> dict[str, float]:
    covers = np.array([e.low <= truth <= e.high for e in estimates])
    warns = np.array([bool(e.warning) for e in estimates])
    errors = np.array([e.value - truth for e in estimates])
    standard = np.array(
        [
            (e.high - e.value if error < 0 else e.value - e.low) / 1.96
            for e, error in zip(estimates, errors, strict=True)
        ]
    )
    failed = ~covers & (np.abs(errors) > 3 * standard)
    return {
        "covers": float(covers.mean()),
        "warns": float(warns.mean()),
        "false": float(warns[covers].mean()) if covers.any() else 0.0,
        "silent": float((failed & ~warns).mean()),
        "bias": float(errors.mean()),
        "error": float(np.sqrt((errors**2).mean())),
        "half_width": float(np.median([e.high - e.low for e in estimates]) / 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--temperatures", type=int, default=100)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    from record import (
        record,
    )  # beside this file; imported here so that the tests can load the functions above

    tables: dict[str, Any] = {}
    for case in arguments.only:
        uniform, data = CASES[case]()
        uniform.requires_grad_(False)
        rates = copy.deepcopy(uniform)
        for name, x in data.items():
            rates.set_base(name, (x.sum(0) + 1) / (len(x) + 2))
        same = all(torch.allclose(rates.base(name), uniform.base(name), atol=1e-6) for name in data)
        for base, machine in [("uniform", uniform)] + [("data's", rates)] * (not same):
            table = measure(
                machine, arguments.seeds, arguments.temperatures, Stream(0).child(case, base)
            )
            tables[f"{case}, {base} base rates"] = {
                "log_z": exact.log_partition(machine),
                "estimators": table,
            }
            print(f"{case}, {base} base rates: log Z {exact.log_partition(machine):.3f}")
            for name, row in table.items():
                print(
                    f"  {name:22s}"
                    + "".join(f"  {key} {value:6.3f}" for key, value in row.items()),
                    flush=True,
                )
        record(
            "likelihood_coverage",
            seeds=arguments.seeds,
            chains=CHAINS,
            temperatures=arguments.temperatures,
            ladder=LADDER,
            tables=tables,
        )


if __name__ == "__main__":
    main()
