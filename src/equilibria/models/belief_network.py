"""The deep belief network: directed layers below, a restricted Boltzmann machine on top (*Deep Learning*, section 20.3).

It is a stack of restricted Boltzmann machines, each trained on what the one below makes of the data (Hinton, Osindero & Teh 2006). Of
all but the topmost one only the two conditionals are used: downwards to generate, upwards to recognise. The topmost one is a
distribution with a Z, and the only part of the network that has one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import RandomState, Stream, as_stream
from equilibria.units import UNITS, Units

__all__ = ["BeliefNetwork", "tightened"]


class BeliefNetwork(nn.Module):
    r"""Directed layers v ← h¹ ← … ← h^{L−1}, on top of which h^{L−1} and h^L are a restricted Boltzmann machine.

    .. math:: p(v, h^1, \dots, h^L) = p(v \mid h^1) \, p(h^1 \mid h^2) \cdots p(h^{L-2} \mid h^{L-1}) \, p(h^{L-1}, h^L)

    Each p(· | ·) is the law of a layer's Units under the field of the layer above. The posterior over the hidden layers is approximated
    from below, Q(h | v) = Q(h¹ | v) Q(h² | h¹) ⋯, each factor the law of a layer under the field of the layer below: at first through the
    same weights, transposed (see :meth:`untie`). With one hidden layer the network is the machine itself, and nothing is approximated.

    Parameters
    ----------
    machines : sequence of BoltzmannMachine
        Restricted Boltzmann machines of two layers each, from the data up; the upper layer of one is the lower layer of the next, in
        name and Units. The network holds the machines themselves, not copies. Of a directed one the lower bias belongs to the
        generative direction and the upper bias to recognition.

    Attributes
    ----------
    machines : nn.ModuleList
        As given; ``top`` is the last.
    layers : tuple of str
        Names of the layers, from the data up.
    recognition : nn.ParameterDict
        Upward weights of the directed layers, (size below, size above), once :meth:`untie` has been called; empty before.

    Raises
    ------
    ValueError
        For a machine with other than two layers, or neighbours that do not fit.

    References
    ----------
    Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets"; Salakhutdinov and Murray 2008, section 4.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> network = BeliefNetwork.stack(Bernoulli(6), Bernoulli(5), Bernoulli(4)).initialise(0)
    >>> network.layers, network.sample(3).shape
    (('visible', 'hidden1', 'hidden2'), torch.Size([3, 6]))
    """

    def __init__(self, machines: Sequence[BoltzmannMachine]):
        super().__init__()
        self.layers = _checked_layers(machines)
        self.machines = nn.ModuleList(machines)
        self.recognition = nn.ParameterDict()

    # ---------------------------------------------------------------- construction

    @classmethod
    def stack(cls, *units: Units) -> BeliefNetwork:
        """A network with zero parameters, its layers named ``visible``, ``hidden1``, ``hidden2``, …"""
        if len(units) < 2:
            raise ValueError(f"units: a belief network needs at least two layers, {len(units)} came")
        names = ["visible"] + [f"hidden{i}" for i in range(1, len(units))]
        pairs = itertools.pairwise(zip(names, units, strict=True))
        return cls([BoltzmannMachine({a: x, b: y}, [(a, b)]) for (a, x), (b, y) in pairs])

    def initialise(self, random_state: RandomState = 0, std: float = 0.01) -> BeliefNetwork:
        """Draw every weight from N(0, std²), leave the biases, return the network."""
        stream = as_stream(random_state)
        for i in range(len(self.machines)):
            self.machine(i).initialise(stream.child(i), std)
        return self

    def untie(self) -> BeliefNetwork:
        """Give recognition weights of its own, equal to the generative ones at first; return the network."""
        for i in range(len(self.machines) - 1):
            key, weight = _key(self.machine(i)), self.machine(i).weight[_key(self.machine(i))]
            if key not in self.recognition:
                self.recognition[key] = nn.Parameter(weight.detach().clone())
        return self

    def config(self) -> dict[str, Any]:
        """Layers, and whether they are tied, as JSON-able data; :meth:`from_config` builds the (zero) network again."""
        return {"layers": {name: self.units(name).config() for name in self.layers}, "tied": self.tied}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BeliefNetwork:
        """The inverse of :meth:`config`."""
        layers = {name: UNITS[c["units"]](**{k: v for k, v in c.items() if k != "units"}) for name, c in config["layers"].items()}
        pairs = itertools.pairwise(layers.items())
        network = cls([BoltzmannMachine({a: x, b: y}, [(a, b)]) for (a, x), (b, y) in pairs])
        return network if config["tied"] else network.untie()

    # ---------------------------------------------------------------- the parts

    @property
    def tied(self) -> bool:
        """Whether recognition goes through the generative weights."""
        return len(self.recognition) == 0

    @property
    def top(self) -> BoltzmannMachine:
        """The undirected machine of the two topmost layers."""
        return self.machine(-1)

    @property
    def exact(self) -> bool:
        """Whether there is no directed layer, so that the bound is the log-likelihood itself."""
        return len(self.machines) == 1

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Neighbouring layers, the lower one first."""
        return tuple(itertools.pairwise(self.layers))

    @property
    def weight(self) -> dict[str, nn.Parameter]:
        """Generative weights by edge, ``weight["visible-hidden1"]`` (size of visible, size of hidden1)."""
        return {_key(self.machine(i)): self.machine(i).weight[_key(self.machine(i))] for i in range(len(self.machines))}

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
        i = self.layers.index(name)
        return self.machine(max(i - 1, 0)).units(name)

    # ---------------------------------------------------------------- the two directions

    def down_field(self, i: int, above: Tensor) -> Tensor:
        """What layer i feels of layer i + 1 when it is generated, (rows, size)."""
        below, upper = self.layers[i : i + 2]
        return self.machine(i).field(below, {upper: above})

    def up_field(self, i: int, below: Tensor) -> Tensor:
        """What layer i + 1 feels of layer i when it is recognised, (rows, size)."""
        lower, above = self.layers[i : i + 2]
        key = f"{lower}-{above}"
        if key not in self.recognition:
            return self.machine(i).field(above, {lower: below})
        return torch.addmm(self.machine(i).bias[above], self.units(lower).signal(below), self.recognition[key])

    def features(self, v: Tensor, depth: int, stream: Stream | None = None, first: int = 0) -> Tensor:
        """Layer ``depth`` given layer ``first``: a draw from Q, layer by layer, or without a stream the means of means; (rows, size)."""
        for i in range(first, depth):
            units, field = self.units(self.layers[i + 1]), self.up_field(i, v)
            v = units.mean(field) if stream is None else units.sample(field, stream.child(self.layers[i + 1]))
        return v

    def down(self, values: Tensor, depth: int, random_state: RandomState = 0, mean: bool = False) -> Tensor:
        """The data given layer ``depth``: a draw, layer by layer (of the data themselves the ``mean``, if asked), (rows, size)."""
        stream = as_stream(random_state)
        for i in reversed(range(depth)):
            units, field = self.units(self.layers[i]), self.down_field(i, values)
            values = units.mean(field) if mean and i == 0 else units.sample(field, stream.child(self.layers[i]))
        return values

    @torch.no_grad()
    def sample(
        self, n: int = 1, random_state: RandomState = 0, sweeps: int = 200, state: Mapping[str, Tensor] | None = None, mean: bool = False
    ) -> Tensor:
        """Ancestral samples (n, size): Gibbs sampling in the topmost machine, then one pass down.

        Parameters
        ----------
        n : int
            Rows.
        random_state : int, Stream or numpy generator
            The same value gives the same samples.
        sweeps : int
            Gibbs sweeps of the topmost machine; only they are approximate, the pass down is a draw from the model.
        state : mapping, optional
            Where its chains start, layer → (n, size); by default a draw from its base rates.
        mean : bool
            Give the data's means of the last step rather than draws.
        """
        if n < 1 or sweeps < 1:
            raise ValueError(f"n={n!r}, sweeps={sweeps!r}: expected at least 1 of each")
        stream, top = as_stream(random_state), self.top
        below, above = top.layers
        hidden = self._first(above, n, stream) if state is None else state[above]
        for step in range(sweeps):
            key = stream.child(step)
            field = top.field(below, {above: hidden})
            values = top.units(below).sample(field, key.child(below))
            hidden = top.units(above).sample(top.field(above, {below: values}), key.child(above))
        if self.exact:
            return top.units(below).mean(field) if mean else values
        return self.down(values, len(self.machines) - 1, stream.child("down"), mean)

    def _first(self, name: str, n: int, stream: Stream) -> Tensor:
        return self.top.units(name).sample(self.top.base(name).expand(n, -1), stream.child("start", name))

    # ---------------------------------------------------------------- the bound

    @torch.no_grad()
    def log_weights(self, v: Tensor, samples: int = 1, random_state: RandomState = 0, keys: Sequence[str] | None = None) -> Tensor:
        r"""log w = log p*(v, h¹, …, h^{L−1}) − log Q(h | v) for draws h ~ Q, shape (rows, samples), in nats.

        p* lacks the topmost machine's 1/Z, and its hidden layer is summed out in closed form. The mean of w is Z · p(v), the mean of log w
        is log Z plus the variational bound: −log Q at the draw stands for the entropy, so where Q is the posterior itself every
        weight is the same.

        Parameters
        ----------
        v : Tensor
            Values of the first layer, (rows, size).
        samples : int
            Draws of the hidden layers for each row.
        random_state : int, Stream or numpy generator
            Of the draws.
        keys : sequence of str, optional
            A name for each row; its draws then depend on the name, not on its place in the table.

        Raises
        ------
        ValueError
            For values of a wrong shape or that the layer cannot take.
        """
        stream, below = as_stream(random_state), self._checked(v)
        total = torch.zeros((), dtype=self.dtype, device=self.device)
        for i in range(len(self.machines) - 1):
            lower, upper = (self.units(name) for name in self.layers[i : i + 2])
            field = self.up_field(i, below)
            if i == 0:  # only now: the fields of all draws of a row are the same
                field, below = field.repeat_interleave(samples, 0), below.repeat_interleave(samples, 0)
            above = _draw(upper, field, stream.child(self.layers[i + 1]), samples, keys)
            total = total + _log_density(lower, self.down_field(i, above), below) - _log_density(upper, field, above)
            below = above
        total = total + self.top.log_marginal(0, {self.layers[-2]: below})
        return total.view(len(v), -1).expand(-1, samples)

    def log_prob_bound(
        self,
        v: Tensor,
        log_z: Any,
        samples: int = 10,
        importance: int = 1,
        random_state: RandomState = 0,
        keys: Sequence[str] | None = None,
    ) -> Tensor:
        r"""A lower bound on log p(v) for each row, in nats, by Monte Carlo over Q; shape (rows,).

        .. math:: E_Q\Big[\log p(v \mid h^1) + \dots + \log \sum_{h^L} e^{-E(h^{L-1}, h^L)}\Big] + H(Q) - \log Z

        With ``importance`` K it is E[log (w₁ + … + w_K)/K] − log Z, which rises with K towards log p(v) (Burda, Grosse & Salakhutdinov
        2016). It is a bound in expectation: the average has the draws' noise, which more ``samples`` lessen.

        Parameters
        ----------
        v, random_state, keys
            As in :meth:`log_weights`.
        log_z : float or Estimate
            log Z of ``top``.
        samples, importance : int
            How many terms are averaged, and of how many draws each of them is made.

        Examples
        --------
        >>> from equilibria.units import Bernoulli
        >>> network = BeliefNetwork.stack(Bernoulli(3), Bernoulli(2), Bernoulli(2))
        >>> network.log_prob_bound(torch.ones(1, 3), log_z=4 * math.log(2)) / math.log(2)
        tensor([-3.])
        """
        return tightened(self.log_weights(v, samples * importance, random_state, keys), importance).mean(1) - float(log_z)

    def _checked(self, v: Tensor) -> Tensor:
        units = self.units(self.layers[0])
        if v.ndim != 2 or v.shape[1] != units.size or len(v) < 1:
            raise ValueError(f"v: expected shape (rows, {units.size}), found {tuple(v.shape)}")
        units.check(v, "v")
        return v.to(self.device, self.dtype)


def tightened(log_weights: Tensor, importance: int) -> Tensor:
    """Bounds of ``importance`` draws each, out of the (rows, samples · importance) weights of single draws; (rows, samples).

    Examples
    --------
    >>> tightened(torch.zeros(2, 6), importance=3).shape
    torch.Size([2, 2])
    """
    return torch.logsumexp(log_weights.reshape(len(log_weights), -1, importance), 2) - math.log(importance)


def _draw(units: Units, field: Tensor, stream: Stream, samples: int, keys: Sequence[str] | None) -> Tensor:
    if keys is None:
        return units.sample(field, stream)
    return torch.cat([units.sample(rows, stream.child(key)) for key, rows in zip(keys, field.split(samples), strict=True)])


def _log_density(units: Units, field: Tensor, x: Tensor) -> Tensor:
    """log p(x | field), (rows,)."""
    return (field * units.signal(x)).sum(1) - units.base_energy(x).sum(1) - units.log_partition(field).sum(1)


def _key(machine: BoltzmannMachine) -> str:
    return next(iter(machine.weight))


def _checked_layers(machines: Sequence[BoltzmannMachine]) -> tuple[str, ...]:
    names: list[str] = []
    for i, machine in enumerate(machines):
        pair = tuple(machine.layers)
        if len(pair) != 2 or machine.edges != (pair,):
            raise ValueError(f"machines[{i}]: expected two layers and the edge from the lower to the upper one, found {list(pair)}")
        if names and (names[-1] != pair[0] or machines[i - 1].units(pair[0]).config() != machine.units(pair[0]).config()):
            below, here = machines[i - 1].units(names[-1]), machine.units(pair[0])
            raise ValueError(
                f"machines[{i}]: its lower layer is {pair[0]!r}, {here!r}, but the machine below ends in {names[-1]!r}, {below!r}; "
                "give both the same name and Units"
            )
        names += pair[1:] if names else pair
    if len(set(names)) < max(len(names), 2):
        raise ValueError(f"machines: expected at least one, with layers of different names, found the layers {names}")
    return tuple(names)
