"""Do the intervals of log Z cover it on machines trained to sharp modes, and does a warning come where they do not?

(under construction)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.datasets import load_digits

from equilibria.data import bars_and_stripes
from equilibria.inference import exact
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.units import Bernoulli, Categorical


def learn(machine: BoltzmannMachine, data: dict[str, torch.Tensor], steps: int, rate: float = 0.05) -> BoltzmannMachine:
    """Exact maximum likelihood by Adam on enumerated gradients, so that the modes are as sharp as the machine can make them."""
    rows = next(iter(data.values()))
    optimiser = torch.optim.Adam(machine.parameters(), lr=rate)
    for _ in range(steps):
        found = exact.gradient(machine, data)
        for name in machine.bias:
            machine.bias[name].grad = -found.layers[name]
        for key in machine.weight:
            machine.weight[key].grad = -found.edges[key]
        optimiser.step()
    return machine
