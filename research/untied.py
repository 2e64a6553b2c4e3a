"""A belief network whose recognition weights are not the generative ones transposed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equilibria.models.belief_network import BeliefNetwork
from equilibria.models.boltzmann import BoltzmannMachine

__all__ = ["UntiedNetwork"]


class UntiedNetwork(BeliefNetwork):
    """Q(h | v) through upward weights of its own, equal to the generative ones at first.

    What is generated, and so p(v), does not depend on them; the bound does.

    Attributes
    ----------
    recognition : nn.ParameterDict
        By edge, (size below, size above), of the directed layers.

    References
    ----------
    Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets", section 5.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> network = UntiedNetwork.stack(Bernoulli(3), Bernoulli(2), Bernoulli(2)).initialise(0)
    >>> list(network.recognition)
    ['visible-hidden1']
    """

    def __init__(self, machines: Sequence[BoltzmannMachine]):
        super().__init__(machines)
        self.recognition = nn.ParameterDict()
        for machine in machines[:-1]:
            for key, weight in machine.weight.items():
                self.recognition[key] = nn.Parameter(weight.detach().clone())

    def up_field(self, i: int, below: Tensor) -> Tensor:
        lower, above = self.layers[i : i + 2]
        if f"{lower}-{above}" not in self.recognition:
            return super().up_field(i, below)
        signal, bias = self.units(lower).signal(below), self.machine(i).bias[above]
        return torch.addmm(bias, signal, self.recognition[f"{lower}-{above}"])
