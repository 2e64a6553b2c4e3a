"""The deep belief network: directed layers, a restricted Boltzmann machine on top (section 20.3).

It is a stack of restricted Boltzmann machines. Of all but the topmost one only the two conditionals
are used: downwards to generate, upwards to recognise. Only the topmost one has a Z.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from equilibria.models.boltzmann import BoltzmannMachine, stack_names
from equilibria.random import RandomState, Stream, as_stream
from equilibria.units import Units

__all__ = ["BeliefNetwork", "tightened"]


class BeliefNetwork(nn.Module):
    r"""Directed layers v ← h¹ ← … ← h^{L−1}; h^{L−1} and h^L are a restricted Boltzmann machine.

    .. math:: p(v, h^1, \dots, h^L)
              = p(v \mid h^1) \, p(h^1 \mid h^2) \cdots p(h^{L-2} \mid h^{L-1}) \, p(h^{L-1}, h^L)

    Each p(· | ·) is the distribution of a layer's Units under the field of the layer above. The
    posterior over the hidden layers is approximated from below, Q(h | v) = Q(h¹ | v) Q(h² | h¹) ⋯,
    each factor the distribution of a layer under the field of the layer below, through the same
    weights transposed. With one hidden layer the network is the machine itself, and nothing is
    approximated.

    Parameters
    ----------
    machines : sequence of BoltzmannMachine
        Restricted Boltzmann machines of two layers each, from the data up; the upper layer of one
        is the lower layer of the next, in name and Units. The network holds the machines
        themselves; ``top`` is the last. Of a directed one the lower bias belongs to the generative
        direction and the upper bias to recognition.

    References
    ----------
    Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets"; Salakhutdinov
    and Murray 2008, section 4.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> network = BeliefNetwork.stack(Bernoulli(6), Bernoulli(5), Bernoulli(4)).initialise(0)
    >>> network.layers, network.sample(3).shape
    (('visible', 'hidden1', 'hidden2'), torch.Size([3, 6]))
    """

    def __init__(self, machines: Sequence[BoltzmannMachine]):
        super().__init__()
        ends = [list(machine.layers.items()) for machine in machines]
        for i, machine in enumerate(machines):
            fits = i == 0 or str(ends[i][0]) == str(ends[i - 1][-1])
            if machine.edges != (tuple(machine.layers),) or not fits:
                raise ValueError(
                    f"machines[{i}]: expected two layers, the lower one that in which the machine "
                    f"below ends, {ends[i - 1][-1]}, found {ends[i]}"
                )
        self.layers = tuple(dict.fromkeys(name for one in machines for name in one.layers))
        self.machines = nn.ModuleList(machines)

    @classmethod
    def stack(cls, *units: Units) -> BeliefNetwork:
        """A network with zero parameters, its layers ``visible``, ``hidden1``, ``hidden2``, …"""
        pairs = itertools.pairwise(zip(stack_names(units), units, strict=True))
        return cls([BoltzmannMachine({a: x, b: y}, [(a, b)]) for (a, x), (b, y) in pairs])

    def initialise(self, random_state: RandomState = 0, std: float = 0.01) -> BeliefNetwork:
        """Draw every weight from N(0, std²), leave the biases, return the network."""
        stream = as_stream(random_state)
        for i in range(len(self.machines)):
            self.machine(i).initialise(stream.child(i), std)
        return self

    @property
    def top(self) -> BoltzmannMachine:
        """The undirected machine of the two topmost layers."""
        return self.machine(-1)

    @property
    def exact(self) -> bool:
        """Whether no layer is directed, so that the bound is the log-likelihood itself."""
        return len(self.machines) == 1

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Neighbouring layers, the lower one first."""
        return tuple(itertools.pairwise(self.layers))

    @property
    def weight(self) -> dict[str, nn.Parameter]:
        """Weights by edge: ``weight["visible-hidden1"]`` (size of visible, size of hidden1)."""
        machines = (self.machine(i) for i in range(len(self.machines)))
        return {key: weight for machine in machines for key, weight in machine.weight.items()}

    @property
    def dtype(self) -> torch.dtype:
        return self.top.dtype

    @property
    def device(self) -> torch.device:
        return self.top.device

    def machine(self, i: int) -> BoltzmannMachine:
        """Machine i, from the data up."""
        return self.machines[i]  # type: ignore[return-value]

    def units(self, name: str) -> Units:
        """The Units of one layer."""
        return self.machine(max(self.layers.index(name) - 1, 0)).units(name)

    def down_field(self, i: int, above: Tensor) -> Tensor:
        """The total input of layer i from layer i + 1 when it is generated, (rows, size)."""
        below, upper = self.layers[i : i + 2]
        return self.machine(i).field(below, {upper: above})

    def up_field(self, i: int, below: Tensor) -> Tensor:
        """The total input of layer i + 1 from layer i when it is recognised, (rows, size)."""
        lower, above = self.layers[i : i + 2]
        return self.machine(i).field(above, {lower: below})

    def features(
        self, v: Tensor, depth: int, stream: Stream | None = None, first: int = 0
    ) -> Tensor:
        """Layer ``depth`` given layer ``first``, (rows, size).

        A draw from Q, layer by layer, or without a stream the means of means.
        """
        for i in range(first, depth):
            name = self.layers[i + 1]
            units, field = self.units(name), self.up_field(i, v)
            v = units.sample(field, stream.child(name)) if stream else units.mean(field)
        return v

    def down(self, values: Tensor, depth: int, stream: Stream, mean: bool = False) -> Tensor:
        """The data, or their ``mean``, given layer ``depth``, (rows, size): a draw by layers."""
        for i in reversed(range(depth)):
            units, field = self.units(self.layers[i]), self.down_field(i, values)
            last = mean and i == 0
            values = (
                units.mean(field) if last else units.sample(field, stream.child(self.layers[i]))
            )
        return values

    @torch.no_grad()
    def sample(
        self,
        n: int = 1,
        random_state: RandomState = 0,
        sweeps: int = 200,
        state: Mapping[str, Tensor] | None = None,
        mean: bool = False,
    ) -> Tensor:
        """Ancestral samples (n, size): Gibbs sampling in the topmost machine, then one pass down.

        Only the ``sweeps`` of the topmost machine are approximate. Its chains start at ``state``,
        layer → (n, size), by default a draw from its base rates; with ``mean`` the last step gives
        the data's means rather than draws.
        """
        stream, top = as_stream(random_state), self.top
        below, above = top.layers
        if state is None:
            start = top.base(above).expand(n, -1)
            hidden = top.units(above).sample(start, stream.child("start", above))
        else:
            hidden = state[above]
        for step in range(sweeps):
            key, field = stream.child(step), top.field(below, {above: hidden})
            values = top.units(below).sample(field, key.child(below))
            hidden = top.units(above).sample(top.field(above, {below: values}), key.child(above))
        if self.exact:
            return top.units(below).mean(field) if mean else values
        return self.down(values, len(self.machines) - 1, stream.child("down"), mean)

    @torch.no_grad()
    def log_weights(
        self,
        v: Tensor,
        samples: int = 1,
        random_state: RandomState = 0,
        keys: Sequence[str] | None = None,
    ) -> Tensor:
        r"""log w = log p*(v, h¹, …, h^{L−1}) − log Q(h | v) for draws h ~ Q, (rows, samples).

        p* lacks the topmost machine's 1/Z, and its hidden layer is summed out in closed form. The
        mean of w is Z · p(v), the mean of log w is log Z plus the variational bound,

        .. math:: E_Q\Big[\log p(v \mid h^1) + \dots
                  + \log \sum_{h^L} e^{-E(h^{L-1}, h^L)}\Big] + H(Q) - \log Z.

        With ``keys``, a name for each row, a row's draws depend on its name and not on its place.
        """
        stream, below = as_stream(random_state), v.to(self.device, self.dtype)
        total = torch.zeros((), dtype=self.dtype, device=self.device)
        for i in range(len(self.machines) - 1):
            lower, upper = (self.units(name) for name in self.layers[i : i + 2])
            field = self.up_field(i, below)
            if i == 0:  # only now: the fields of all draws of a row are the same
                field, below = (x.repeat_interleave(samples, 0) for x in (field, below))
            child = stream.child(self.layers[i + 1])
            if keys is None:
                above = upper.sample(field, child)
            else:
                parts = zip(keys, field.split(samples), strict=True)
                above = torch.cat([upper.sample(rows, child.child(key)) for key, rows in parts])
            total = total + _log_density(lower, self.down_field(i, above), below)
            total = total - _log_density(upper, field, above)
            below = above
        total = total + self.top.log_marginal(0, {self.layers[-2]: below})
        return total.view(len(v), -1).expand(-1, samples)


def tightened(log_weights: Tensor, importance: int) -> Tensor:
    """Bounds of ``importance`` draws each out of weights of single draws.

    (rows, samples · importance) → (rows, samples): log of the mean weight of K draws, whose mean
    rises with K towards log Z p(v) (Burda, Grosse & Salakhutdinov 2016).
    """
    groups = log_weights.reshape(len(log_weights), -1, importance)
    return torch.logsumexp(groups, 2) - math.log(importance)


def _log_density(units: Units, field: Tensor, x: Tensor) -> Tensor:
    """log p(x | field), (rows,)."""
    exponent = (field * units.signal(x)).sum(1) - units.base_energy(x).sum(1)
    return exponent - units.log_partition(field).sum(1)
