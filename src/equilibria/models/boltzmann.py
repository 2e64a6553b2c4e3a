"""One class for every undirected model: named layers, edges between them, a bias on each layer.

The layer graph must be two-colourable: the lecture's odd and even layers. Layers of one colour are
independent given the other, so Gibbs sampling is two block draws, mean field two block updates, and
one colour can be summed out in closed form.
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

__all__ = ["BoltzmannMachine", "State", "log_states", "stack_names", "units_from_config"]

State = Mapping[str, Tensor]
"""Values of layers by name, each (rows, size)."""


class BoltzmannMachine(nn.Module):
    r"""An undirected model over a two-colourable graph of layers.

    .. math:: E(x) = \sum_l \left[ e_l(x_l) - b_l \cdot s_l \right]
              - \sum_{(a, b)} s_a^\top W_{ab} s_b, \qquad p(x) = e^{-E(x)} / Z

    with s the layers' signals and e their base energies. Two layers are a restricted Boltzmann
    machine, a path is a deep Boltzmann machine (*Deep Learning*, section 20.4), other graphs carry
    labels, several modalities or past and future.

    Parameters
    ----------
    layers : mapping of str to Units
        The layers; the first is the visible one by convention. Names are Python identifiers.
    edges : iterable of (str, str)
        Which layers are joined, each pair once; never two unbounded ones.

    Attributes
    ----------
    bias, weight : nn.ParameterDict
        ``bias["hidden1"]`` (size,), ``weight["visible-hidden1"]`` (size of visible, size of
        hidden1); all zeros at first: see :meth:`initialise`. They are changed in place.
    colours : pair of tuples of str
        The two independent sets of layers; the first layer is in ``colours[0]``.

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
            kept = hasattr(nn.ModuleDict, name) or hasattr(nn.ParameterDict, name)
            if not name.isidentifier() or kept:
                raise ValueError(
                    f"layers: {name!r} is no usable layer name (torch's containers keep some); use "
                    "a Python identifier such as 'hidden1'"
                )
            if not isinstance(units, Units):
                raise ValueError(f"layers: {name!r} is a {type(units).__name__}; expected Units")
        self.edges = _checked_edges(layers, edges)
        self.colours = _two_colours(tuple(layers), self.edges)
        self.layers = nn.ModuleDict(layers)
        # filled one by one: from a dict torch would sort them
        self.bias, self.weight = nn.ParameterDict(), nn.ParameterDict()
        for name, units in layers.items():
            self.bias[name] = nn.Parameter(torch.zeros(units.size, dtype=torch.float32))
            self.register_buffer(f"base_{name}", torch.zeros(units.size, dtype=torch.float32))
        self._neighbours: dict[str, list[tuple[str, str, bool]]] = {name: [] for name in layers}
        for a, b in self.edges:
            self.weight[f"{a}-{b}"] = nn.Parameter(
                torch.zeros(layers[a].size, layers[b].size, dtype=torch.float32)
            )
            self._neighbours[a].append((b, f"{a}-{b}", True))
            self._neighbours[b].append((a, f"{a}-{b}", False))
        # The same objects in plain dicts: an update asks for them some fifty times, and torch's
        # containers take microseconds each.
        self._units, self._bias = dict(layers), dict(self.bias.items())
        self._weight = dict(self.weight.items())

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
        names = stack_names(units)
        return cls(dict(zip(names, units, strict=True)), itertools.pairwise(names))

    @classmethod
    def from_arrays(
        cls,
        weights: Sequence[Any],
        biases: Sequence[Any],
        units: Sequence[Units] | None = None,
    ) -> BoltzmannMachine:
        """A stack with parameters trained elsewhere.

        Parameters
        ----------
        weights : sequence of arrays
            W¹ (visible × hidden1), W² (hidden1 × hidden2), …: numpy or torch; float64 is kept.
        biases : sequence of arrays
            One more than weights, from the visible layer up.
        units : sequence of Units, optional
            Bernoulli layers by default.

        Examples
        --------
        Of a scikit-learn machine: ``from_arrays([rbm.components_.T], [rbm.intercept_visible_,
        rbm.intercept_hidden_])``.

        >>> machine = BoltzmannMachine.from_arrays([np.ones((3, 2))], [np.zeros(3), np.zeros(2)])
        >>> machine.energy({"visible": np.ones((1, 3)), "hidden1": np.ones((1, 2))})
        tensor([-6.], dtype=torch.float64, grad_fn=<...>)
        """
        weight, bias = ([_floating(x) for x in arrays] for arrays in (weights, biases))
        shapes, sizes = [tuple(w.shape) for w in weight], [len(b) for b in bias]
        if shapes != list(itertools.pairwise(sizes)) or any(b.ndim != 1 for b in bias):
            raise ValueError(
                f"weights: of shapes {shapes}, and biases of {[tuple(b.shape) for b in bias]}; "
                "expected a bias for each layer and a matrix (lower, upper) between neighbours"
            )
        if not all(bool(torch.isfinite(x).all()) for x in (*weight, *bias)):
            raise ValueError("weights, biases: expected finite numbers, found NaN or infinity")
        layers = [Bernoulli(size) for size in sizes] if units is None else list(units)
        if [layer.size for layer in layers] != sizes:
            raise ValueError(f"units: of {[u.size for u in layers]} columns, the biases of {sizes}")
        types = [x.dtype for x in (*weight, *bias)]
        machine = cls.stack(*layers).to(functools.reduce(torch.promote_types, types))
        with torch.no_grad():
            parameters = (*machine.bias.values(), *machine.weight.values())
            for parameter, value in zip(parameters, (*bias, *weight), strict=True):
                parameter.copy_(value)
        return machine

    def initialise(self, random_state: RandomState = 0, std: float = 0.01) -> BoltzmannMachine:
        """Draw every weight from N(0, std²), leave the biases, return the machine."""
        stream = as_stream(random_state)
        with torch.no_grad():
            for key, weight in self.weight.items():
                weight.copy_(stream.child(key).normal(weight.shape, weight.dtype).mul_(std))
        return self

    def config(self) -> dict[str, Any]:
        """Layers and edges as JSON-able data; :meth:`from_config` builds the (zero) machine."""
        layers = {name: units.config() for name, units in self._units.items()}
        return {"layers": layers, "edges": [list(edge) for edge in self.edges]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BoltzmannMachine:
        """The inverse of :meth:`config`."""
        layers = {name: units_from_config(units) for name, units in config["layers"].items()}
        return cls(layers, [tuple(edge) for edge in config["edges"]])

    # ---------------------------------------------------------------- the distribution

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self._bias.values())).dtype

    @property
    def device(self) -> torch.device:
        return next(iter(self._bias.values())).device

    def units(self, name: str) -> Units:
        """The Units of one layer."""
        return self._units[name]

    def base(self, name: str) -> Tensor:
        """The layer's bias at β = 0: the data's base rates if they were stored, or 0."""
        base: Tensor = getattr(self, f"base_{name}")
        return base

    def set_base(self, name: str, mean: Tensor) -> None:
        """Store the base bias under which the layer has this mean, (size,)."""
        base = self.base(name)
        mean = torch.as_tensor(mean, dtype=base.dtype, device=base.device).detach()
        field = self.units(name).field_of(mean)
        if mean.shape != base.shape or not bool(torch.isfinite(field).all()):
            raise ValueError(
                f"mean: layer {name!r} has no finite bias with this mean of shape "
                f"{tuple(mean.shape)}; smooth the data's rates, for binary units "
                "(n · mean + 1) / (n + 2) over n rows"
            )
        base.copy_(field)

    def neighbours(self, name: str) -> list[tuple[str, Tensor]]:
        """The layers joined to this one, each with its weights as (neighbour's size, own size)."""
        weight = self._weight
        return [
            (other, weight[key].T if transposed else weight[key])
            for other, key, transposed in self._neighbours[name]
        ]

    def field(
        self, name: str, state: State, beta: float = 1.0, among: Iterable[str] | None = None
    ) -> Tensor:
        """The layer's total input: its bias and its neighbours' signals through the weights.

        Parameters
        ----------
        name : str
            The layer.
        state : mapping
            Values of its neighbours.
        beta : float
            Scales the couplings and moves the bias between the base rates (β = 0) and the machine's
            own (β = 1).
        among : iterable of str, optional
            Only these neighbours count (all by default).

        Returns
        -------
        Tensor, shape (rows, size)
        """
        return self._gather(name, self.bias_at(name, beta), state, beta, among)

    def pull(self, name: str, state: State) -> Tensor:
        """The part of :meth:`field` at β = 1 that comes from the neighbours, without the bias."""
        return self._gather(name, torch.zeros_like(self._bias[name]), state)

    def _gather(
        self,
        name: str,
        field: Tensor,
        state: State,
        beta: float = 1.0,
        among: Iterable[str] | None = None,
    ) -> Tensor:
        for other, weight in self.neighbours(name):
            if among is None or other in among:
                signal = self.units(other).signal(state[other])
                field = (
                    torch.addmm(field, signal, weight, alpha=beta)
                    if field.ndim == 1  # the first product takes the bias with it at no cost
                    else field.addmm_(signal, weight, alpha=beta)
                )
        if field.ndim == 1:  # no neighbour: as many rows as the state has, else one for all
            rows = next((values.shape[0] for values in state.values()), 1)
            field = field.expand(rows, -1)
        return field

    def energy(self, state: Mapping[str, Any]) -> Tensor:
        """E(x) of joint states, shape (rows,), in nats.

        Parameters
        ----------
        state : mapping of str to array
            Values of every layer, each (rows, size).
        """
        values = self.as_state(state)
        total = torch.zeros((), dtype=self.dtype, device=self.device)
        for name in self.layers:
            total = total + self.own_energy(name, values[name])
        for a, b in self.edges:
            pull = self.units(a).signal(values[a]) @ self.weight[f"{a}-{b}"]
            total = total - (pull * self.units(b).signal(values[b])).sum(1)
        return total

    def log_marginal(self, colour: int, state: State, beta: float = 1.0) -> Tensor:
        """log Σ exp(−E) over all states of the other colour, given this one's, shape (rows,).

        ``state`` has the layers of ``colours[colour]``. Z is the sum of the exponential of this
        over their states: for an RBM it is minus the free energy.
        """
        total = torch.zeros((), dtype=self.dtype)
        for name in self.colours[colour]:
            total = total - self.own_energy(name, state[name], beta)
        for name in self.colours[1 - colour]:
            field = self.field(name, state, beta)
            total = total + self.units(name).log_partition(field).sum(1)
        return total

    def as_state(
        self, state: Mapping[str, Any], layers: Iterable[str] | None = None
    ) -> dict[str, Tensor]:
        """Arrays as tensors of the machine's type and device, checked by name and shape.

        All ``layers`` are wanted by default.
        """
        unknown = [name for name in state if name not in self.layers]
        missing = [n for n in (self.layers if layers is None else layers) if n not in state]
        if unknown or missing:
            raise ValueError(
                f"state: the machine has the layers {list(self.layers)}; unknown {unknown}, "
                f"missing {missing}"
            )
        values = {
            name: torch.as_tensor(value, dtype=self.dtype, device=self.device)
            for name, value in state.items()
        }
        shapes = {name: tuple(value.shape) for name, value in values.items()}
        rows = next(iter(shapes.values()), ())[:1]
        wanted = {name: (*rows, self.units(name).size) for name in values}
        if shapes != wanted or not all(len(shape) == 2 for shape in shapes.values()):
            raise ValueError(f"state: expected shapes {wanted}, found {shapes}")
        return values

    def bias_at(self, name: str, beta: float | Tensor) -> Tensor:
        """The layer's bias at inverse temperature β, from its base bias to its own.

        (size,), or (rows, size) for β of (rows, 1).
        """
        bias = self._bias[name]
        if isinstance(beta, Tensor):
            return torch.lerp(self.base(name), bias, beta)
        return bias if beta == 1.0 else torch.lerp(self.base(name), bias, beta)

    def own_energy(self, name: str, x: Tensor, beta: float = 1.0) -> Tensor:
        """A layer's part of the energy without the couplings, (rows,)."""
        units = self.units(name)
        return units.base_energy(x).sum(1) - units.signal(x) @ self.bias_at(name, beta)

    def extra_repr(self) -> str:
        return ", ".join(f"{a}–{b}" for a, b in self.edges)


def stack_names(units: Sequence[Units]) -> list[str]:
    """``visible``, ``hidden1``, ``hidden2``, … for the layers of a stack, two or more."""
    if len(units) < 2:
        raise ValueError(f"units: a stack needs at least two layers, {len(units)} came")
    return ["visible", *(f"hidden{i}" for i in range(1, len(units)))]


def units_from_config(config: Mapping[str, Any]) -> Units:
    """Units as their ``config()`` describes them."""
    return UNITS[config["units"]](**{k: v for k, v in config.items() if k != "units"})


def log_states(machine: BoltzmannMachine, colour: int) -> float:
    """log₂ of the number of states of one colour; infinite for a continuous layer."""
    states = [machine.units(name).states for name in machine.colours[colour]]
    return math.inf if None in states else sum(math.log2(s) for s in states if s)


def _floating(array: Any) -> Tensor:
    tensor = torch.as_tensor(array if isinstance(array, Tensor) else np.asarray(array)).detach()
    return tensor if tensor.is_floating_point() else tensor.to(torch.float32)


def _checked_edges(
    layers: Mapping[str, Units], edges: Iterable[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    checked: list[tuple[str, str]] = []
    for a, b in edges:
        if a not in layers or b not in layers or (a, b) in checked or (b, a) in checked:
            raise ValueError(f"edges: {(a, b)} came twice or joins none of {list(layers)}")
        if not layers[a].bounded and not layers[b].bounded:
            raise ValueError(
                f"edges: {a!r} and {b!r} are both unbounded ({type(layers[a]).__name__}, "
                f"{type(layers[b]).__name__}), so Z may not exist; put bounded units between them"
            )
        checked.append((a, b))
    return tuple(checked)


def _two_colours(
    names: Sequence[str], edges: Sequence[tuple[str, str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Breadth-first two-colouring; an odd cycle is named in the error."""
    path: dict[str, list[str]] = {}  # from the root of its component, the layer itself last
    for root in names:
        queue = [] if root in path else [root]
        path.setdefault(root, [root])
        for name in queue:
            for other in [b if a == name else a for a, b in edges if name in (a, b)]:
                if other not in path:
                    path[other] = [*path[name], other]
                    queue.append(other)
                elif (len(path[other]) - len(path[name])) % 2 == 0:
                    both = path[name], path[other]
                    shared = sum(a == b for a, b in zip(*both, strict=False))
                    cycle = [*reversed(both[0][shared - 1 :]), *both[1][shared:], name]
                    raise ValueError(
                        f"edges: the layers {' – '.join(cycle)} form an odd cycle; a Boltzmann "
                        "machine here needs a two-colourable graph"
                    )
    odd = [name for name in names if len(path[name]) % 2]
    return tuple(odd), tuple(name for name in names if name not in odd)
