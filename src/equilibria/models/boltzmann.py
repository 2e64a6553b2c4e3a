"""One class for every undirected model: named layers, the edges between them, a bias on each layer.

The layer graph must be two-colourable: the lecture's odd and even layers. Layers of one colour are independent given the
other, so Gibbs sampling is two block draws, mean field two block updates, and one colour can be summed out in closed form.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equilibria.random import RandomState, as_stream
from equilibria.units import UNITS, Bernoulli, Units

__all__ = ["BoltzmannMachine", "State"]

State = Mapping[str, Tensor]
"""Values of layers by name, each (rows, size)."""


class BoltzmannMachine(nn.Module):
    r"""An undirected model over a two-colourable graph of layers.

    .. math:: E(x) = \sum_l \left[ e_l(x_l) - b_l \cdot s_l \right] - \sum_{(a, b)} s_a^\top W_{ab} s_b,
              \qquad p(x) = e^{-E(x)} / Z

    with s the layers' signals and e their base energies. Two layers are a restricted Boltzmann machine, a path is a deep
    Boltzmann machine (*Deep Learning*, section 20.4), other graphs carry labels, several towers or past and future.

    Parameters
    ----------
    layers : mapping of str to Units
        The layers; the first is the visible one by convention. Names are Python identifiers.
    edges : iterable of (str, str)
        Which layers are joined, each pair once.

    Attributes
    ----------
    bias, weight : nn.ParameterDict
        ``bias["hidden1"]`` (size,), ``weight["visible-hidden1"]`` (size of visible, size of hidden1); all zeros at first:
        see :meth:`initialise`.
    colours : pair of tuples of str
        The two independent sets of layers; the first layer is in ``colours[0]``.

    Raises
    ------
    ValueError
        For an unknown or repeated edge, an odd cycle (which is named), or an edge between two unbounded layers.

    Examples
    --------
    >>> from equilibria.units import Bernoulli, Categorical
    >>> machine = BoltzmannMachine(
    ...     {"visible": Bernoulli(6), "hidden": Bernoulli(4), "label": Categorical([3])},
    ...     edges=[("visible", "hidden"), ("hidden", "label")],
    ... )
    >>> machine.colours
    (('visible', 'label'), ('hidden',))
    """

    def __init__(self, layers: Mapping[str, Units], edges: Iterable[tuple[str, str]]):
        super().__init__()
        for name, units in layers.items():
            if not isinstance(name, str) or not name.isidentifier():
                raise ValueError(f"layers: {name!r} is not a usable layer name; use a Python identifier such as 'hidden1'")
            if hasattr(nn.ModuleDict, name) or hasattr(nn.ParameterDict, name):
                raise ValueError(f"layers: {name!r} is a name that torch's containers keep for themselves; use another, such as '{name}_'")
            if not isinstance(units, Units):
                raise ValueError(f"layers: {name!r} is a {type(units).__name__}; expected Units such as Bernoulli(100)")
        if not layers:
            raise ValueError("layers: the machine needs at least one layer")
        self.edges = _checked_edges(layers, edges)
        self.colours = _two_colours(tuple(layers), self.edges)
        self.layers = nn.ModuleDict(layers)
        self.bias, self.weight = nn.ParameterDict(), nn.ParameterDict()  # filled one by one: from a dict torch would sort them
        for name, units in layers.items():
            self.bias[name] = nn.Parameter(torch.zeros(units.size))
            self.register_buffer(f"base_{name}", torch.zeros(units.size))
        for a, b in self.edges:
            self.weight[f"{a}-{b}"] = nn.Parameter(torch.zeros(layers[a].size, layers[b].size))
        self._neighbours: dict[str, list[tuple[str, str, bool]]] = {name: [] for name in layers}
        for a, b in self.edges:
            self._neighbours[a].append((b, f"{a}-{b}", True))
            self._neighbours[b].append((a, f"{a}-{b}", False))

    # ---------------------------------------------------------------- construction

    @classmethod
    def stack(cls, *units: Units) -> BoltzmannMachine:
        """A path of layers named ``visible``, ``hidden1``, ``hidden2``, …

        Examples
        --------
        >>> from equilibria.units import Bernoulli
        >>> BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5), Bernoulli(4)).edges
        (('visible', 'hidden1'), ('hidden1', 'hidden2'))
        """
        if len(units) < 2:
            raise ValueError(f"units: a stack needs at least two layers, {len(units)} came")
        names = ["visible"] + [f"hidden{i}" for i in range(1, len(units))]
        return cls(dict(zip(names, units, strict=True)), list(itertools.pairwise(names)))

    @classmethod
    def from_arrays(cls, weights: Sequence[Any], biases: Sequence[Any], units: Sequence[Units] | None = None) -> BoltzmannMachine:
        """A stack with parameters trained elsewhere.

        Parameters
        ----------
        weights : sequence of arrays
            W¹ (visible × hidden1), W² (hidden1 × hidden2), …: numpy or torch; float64 is kept as float64.
        biases : sequence of arrays
            One more than weights, from the visible layer up.
        units : sequence of Units, optional
            Bernoulli layers by default.

        Examples
        --------
        A scikit-learn machine: ``from_arrays([rbm.components_.T], [rbm.intercept_visible_, rbm.intercept_hidden_])``.

        >>> machine = BoltzmannMachine.from_arrays(weights=[np.ones((3, 2))], biases=[np.zeros(3), np.zeros(2)])
        >>> machine.energy({"visible": np.ones((1, 3)), "hidden1": np.ones((1, 2))})
        tensor([-6.], dtype=torch.float64, grad_fn=<...>)
        """
        weight = [_as_parameter(w, f"weights[{i}]", 2) for i, w in enumerate(weights)]
        bias = [_as_parameter(b, f"biases[{i}]", 1) for i, b in enumerate(biases)]
        if not weight or len(bias) != len(weight) + 1:
            raise ValueError(f"biases: {len(weight)} weight matrices join {len(weight) + 1} layers, but {len(bias)} biases came")
        for i, w in enumerate(weight):
            if tuple(w.shape) != (len(bias[i]), len(bias[i + 1])):
                raise ValueError(f"weights[{i}]: expected shape {(len(bias[i]), len(bias[i + 1]))} by the biases, found {tuple(w.shape)}")
        layers = [Bernoulli(len(b)) for b in bias] if units is None else list(units)
        if [layer.size for layer in layers] != [len(b) for b in bias]:
            raise ValueError(f"units: layers of {[layer.size for layer in layers]} columns, but the biases have {[len(b) for b in bias]}")
        machine = cls.stack(*layers).to(functools.reduce(torch.promote_types, [x.dtype for x in (*weight, *bias)]))
        with torch.no_grad():
            for (a, b), w in zip(machine.edges, weight, strict=True):
                machine.weight[f"{a}-{b}"].copy_(w)
            for name, value in zip(machine.layers, bias, strict=True):
                machine.bias[name].copy_(value)
        return machine

    def initialise(self, random_state: RandomState = 0, std: float = 0.01) -> BoltzmannMachine:
        """Draw every weight from N(0, std²), leave the biases, return the machine."""
        stream = as_stream(random_state)
        with torch.no_grad():
            for key, weight in self.weight.items():
                weight.copy_(stream.child(key).normal(weight.shape, weight.dtype).mul_(std))
        return self

    def config(self) -> dict[str, Any]:
        """Layers and edges as JSON-able data; :meth:`from_config` builds the (zero) machine again."""
        return {"layers": {name: self.units(name).config() for name in self.layers}, "edges": [list(edge) for edge in self.edges]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BoltzmannMachine:
        """The inverse of :meth:`config`."""
        layers = {name: UNITS[c["units"]](**{k: v for k, v in c.items() if k != "units"}) for name, c in config["layers"].items()}
        return cls(layers, [tuple(edge) for edge in config["edges"]])

    # ---------------------------------------------------------------- the distribution

    @property
    def dtype(self) -> torch.dtype:
        return self._first.dtype

    @property
    def device(self) -> torch.device:
        return self._first.device

    @property
    def _first(self) -> Tensor:
        return self._tables("bias")[next(iter(self._neighbours))]

    def _tables(self, name: str) -> dict[str, Any]:
        """``bias`` or ``weight`` as a plain dict: a small update asks some fifty times, and torch's containers take microseconds each."""
        return self._modules[name]._parameters  # type: ignore[union-attr]

    def units(self, name: str) -> Units:
        """The Units of one layer."""
        return self._modules["layers"]._modules[name]  # type: ignore[union-attr, return-value]

    def base(self, name: str) -> Tensor:
        """The bias that the layer has at β = 0: the data's base rates where ``fit`` stored them, else zeros."""
        return getattr(self, f"base_{name}")

    def set_base(self, name: str, mean: Tensor) -> None:
        """Store the base bias under which the layer has this mean, (size,).

        Raises
        ------
        ValueError
            For a wrong shape, or a mean that no finite bias gives: a binary unit that is always 0, for instance.
        """
        base = self.base(name)
        mean = torch.as_tensor(mean, dtype=base.dtype, device=base.device).detach()
        if mean.shape != base.shape:
            raise ValueError(f"mean: layer {name!r} needs {len(base)} numbers, found shape {tuple(mean.shape)}")
        field = self.units(name).field_of(mean)
        if not bool(torch.isfinite(field).all()):
            raise ValueError(
                f"mean: layer {name!r} has no finite bias with a mean at or beyond the ends of its range; "
                "smooth the data's rates, for binary units (n · mean + 1) / (n + 2) over n rows"
            )
        base.copy_(field)

    def neighbours(self, name: str) -> list[tuple[str, Tensor]]:
        """The layers joined to this one, each with its weights as (size of the neighbour, size of this layer)."""
        weight = self._tables("weight")
        return [(other, weight[key].T if transposed else weight[key]) for other, key, transposed in self._neighbours[name]]

    def field(self, name: str, state: State, beta: float = 1.0, among: Iterable[str] | None = None) -> Tensor:
        """What layer ``name`` feels: its bias and its neighbours' signals through the weights, shape (rows, size).

        Parameters
        ----------
        name : str
            The layer.
        state : mapping
            Values of its neighbours.
        beta : float
            Scales the couplings and moves the bias between the base rates (β = 0) and the machine's own (β = 1).
        among : iterable of str, optional
            Only these neighbours count (all by default).
        """
        return self._gather(name, self.bias_at(name, beta), state, beta, among)

    def pull(self, name: str, state: State) -> Tensor:
        """The part of :meth:`field` at β = 1 that comes from the neighbours, without the bias."""
        return self._gather(name, torch.zeros_like(self.bias[name]), state)

    def _gather(self, name: str, field: Tensor, state: State, beta: float = 1.0, among: Iterable[str] | None = None) -> Tensor:
        for other, weight in self.neighbours(name):
            if among is None or other in among:
                signal = self.units(other).signal(state[other])
                # the first product takes the bias with it at no cost, the others add to what is there
                field = torch.addmm(field, signal, weight, alpha=beta) if field.ndim == 1 else field.addmm_(signal, weight, alpha=beta)
        if field.ndim == 1:  # nothing was felt: one row for all where there is no state to count the rows of
            rows = next((values.shape[0] for values in state.values()), 1)
            field = field.expand(rows, -1)
        return field

    def energy(self, state: Mapping[str, Any]) -> Tensor:
        """E(x) of joint states, shape (rows,), in nats.

        Parameters
        ----------
        state : mapping of str to array
            Values of every layer, each (rows, size).

        Raises
        ------
        ValueError
            When a layer is missing, unknown, or has the wrong shape.
        """
        values = self.as_state(state)
        total = sum((self.own_energy(name, values[name]) for name in self.layers), torch.zeros((), dtype=self.dtype, device=self.device))
        for a, b in self.edges:
            pull = self.units(a).signal(values[a]) @ self.weight[f"{a}-{b}"]
            total = total - (pull * self.units(b).signal(values[b])).sum(1)
        return total

    def log_marginal(self, colour: int, state: State, beta: float = 1.0) -> Tensor:
        """log Σ exp(−E) over all states of the other colour, given the layers of ``colours[colour]``, shape (rows,).

        Z is the sum of the exponential of this over the states of the one colour: for an RBM, minus the free energy.
        """
        total = sum((-self.own_energy(name, state[name], beta) for name in self.colours[colour]), torch.zeros((), dtype=self.dtype))
        for name in self.colours[1 - colour]:
            total = total + self.units(name).log_partition(self.field(name, state, beta)).sum(1)
        return total

    def as_state(self, state: Mapping[str, Any], layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Arrays as tensors of the machine's type and device, checked by name and shape (all layers by default)."""
        wanted = list(self.layers if layers is None else layers)
        unknown = [name for name in state if name not in self.layers]
        missing = [name for name in wanted if name not in state]
        if unknown or missing:
            raise ValueError(f"state: the machine has the layers {list(self.layers)}; unknown {unknown}, missing {missing}")
        values = {name: torch.as_tensor(value, dtype=self.dtype, device=self.device) for name, value in state.items()}
        for name, value in values.items():
            if value.ndim != 2 or value.shape[1] != self.units(name).size:
                raise ValueError(f"state[{name!r}]: expected shape (rows, {self.units(name).size}), found {tuple(value.shape)}")
        rows = {name: value.shape[0] for name, value in values.items()}
        if len(set(rows.values())) > 1:
            raise ValueError(f"state: every layer needs the same number of rows, found {rows}")
        return values

    def bias_at(self, name: str, beta: float | Tensor) -> Tensor:
        """The layer's bias at inverse temperature β, from its base bias to its own: (size,), or (rows, size) for β of (rows, 1)."""
        bias = self._tables("bias")[name]
        if isinstance(beta, Tensor):
            return torch.lerp(self.base(name), bias, beta)
        return bias if beta == 1.0 else torch.lerp(self.base(name), bias, beta)

    def own_energy(self, name: str, x: Tensor, beta: float = 1.0) -> Tensor:
        """A layer's part of the energy without the couplings, (rows,)."""
        units = self.units(name)
        return units.base_energy(x).sum(1) - units.signal(x) @ self.bias_at(name, beta)

    def extra_repr(self) -> str:
        return ", ".join(f"{a}–{b}" for a, b in self.edges)


def _as_parameter(array: Any, name: str, dimensions: int) -> Tensor:
    tensor = torch.as_tensor(np.asarray(array) if not isinstance(array, Tensor) else array).detach()
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.get_default_dtype())
    if tensor.ndim != dimensions or not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name}: expected {dimensions} dimension(s) of finite numbers, found shape {tuple(tensor.shape)}")
    return tensor


def _checked_edges(layers: Mapping[str, Units], edges: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    checked: list[tuple[str, str]] = []
    for a, b in edges:
        if a not in layers or b not in layers:
            raise ValueError(f"edges: {(a, b)} joins an unknown layer; the layers are {list(layers)}")
        if (a, b) in checked or (b, a) in checked:
            raise ValueError(f"edges: {(a, b)} came twice")
        if not layers[a].bounded and not layers[b].bounded:
            raise ValueError(
                f"edges: {a!r} and {b!r} are both unbounded ({type(layers[a]).__name__}, {type(layers[b]).__name__}), "
                "so Z may not exist; put a layer of bounded units between them"
            )
        checked.append((a, b))
    return tuple(checked)


def _two_colours(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Breadth-first two-colouring; an odd cycle is named in the error."""
    parent: dict[str, str | None] = {}
    depth: dict[str, int] = {}
    for root in names:
        if root in depth:
            continue
        parent[root], depth[root] = None, 0
        queue = [root]
        for name in queue:
            for other in [b if a == name else a for a, b in edges if name in (a, b)]:
                if other not in depth:
                    parent[other], depth[other] = name, depth[name] + 1
                    queue.append(other)
                elif (depth[other] - depth[name]) % 2 == 0:
                    cycle = " – ".join(_cycle(name, other, parent))
                    raise ValueError(f"edges: the layers {cycle} form an odd cycle; a Boltzmann machine here needs a two-colourable graph")
    return tuple(n for n in names if depth[n] % 2 == 0), tuple(n for n in names if depth[n] % 2 == 1)


def _cycle(a: str, b: str, parent: Mapping[str, str | None]) -> list[str]:
    """The cycle that the edge a–b closes in the tree of ``parent``."""

    def line(name: str | None) -> list[str]:
        path = []
        while name is not None:
            path.append(name)
            name = parent[name]
        return path

    up_a, up_b = line(a), line(b)
    meeting = next(name for name in up_a if name in up_b)
    return [*up_a[: up_a.index(meeting) + 1], *reversed(up_b[: up_b.index(meeting)]), a]


def log_states(machine: BoltzmannMachine, colour: int) -> float:
    """log₂ of the number of states of one colour; infinite for a continuous layer."""
    states = [machine.units(name).states for name in machine.colours[colour]]
    return math.inf if None in states else sum(math.log2(s) for s in states if s)
