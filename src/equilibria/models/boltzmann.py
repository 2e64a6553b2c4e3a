"""One class for every undirected model: named layers, edges between them, a bias on each layer.

The layer graph must be two-colourable: the lecture's odd and even layers. Layers of one colour are
independent given the other, so Gibbs sampling is two block draws, mean field two block updates, and
one colour can be summed out in closed form.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equilibria.random import RandomState, as_stream
from equilibria.units import Bernoulli, Units

__all__ = ["BoltzmannMachine", "State", "stack_names"]

State = Mapping[str, Tensor]
"""Values of layers by name, each (rows, size)."""


class BoltzmannMachine(nn.Module):
    r"""An undirected model over a two-colourable graph of layers.

    .. math:: E(x) = \sum_l \left[ e_l(x_l) - b_l \cdot s_l \right]
              - \sum_{(a, b)} s_a^\top W_{ab} s_b, \qquad p(x) = e^{-E(x)} / Z

    with s the layers' signals and e their base energies. Two layers are a restricted Boltzmann
    machine, a path is a deep one (*Deep Learning*, section 20.4), other graphs carry labels,
    several modalities or past and future.

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
        for name in layers:  # torch's containers keep some names for themselves
            kept = hasattr(nn.ModuleDict, name) or hasattr(nn.ParameterDict, name)
            if not name.isidentifier() or kept:
                raise ValueError(f"layers: {name!r} is no usable layer name, such as 'hidden1'")
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
        # the same objects in plain dicts, which take no microseconds to ask
        self._units, self._bias = dict(layers), dict(self.bias.items())
        self._weight = dict(self.weight.items())

    @classmethod
    def stack(cls, *units: Units) -> BoltzmannMachine:
        """A path of layers named ``visible``, ``hidden1``, ``hidden2``, …"""
        names = stack_names(units)
        return cls(dict(zip(names, units, strict=True)), itertools.pairwise(names))

    @classmethod
    def from_arrays(
        cls, weights: Sequence[Any], biases: Sequence[Any], units: Sequence[Units] | None = None
    ) -> BoltzmannMachine:
        """A stack with parameters trained elsewhere.

        ``weights`` are W¹ (visible × hidden1), W² (hidden1 × hidden2), …, numpy or torch (float64
        is kept), ``biases`` one more, from the visible layer up; ``units`` Bernoulli by default. Of
        a scikit-learn machine: ``from_arrays([rbm.components_.T], [rbm.intercept_visible_,
        rbm.intercept_hidden_])``.

        >>> machine = BoltzmannMachine.from_arrays([np.ones((3, 2))], [np.zeros(3), np.zeros(2)])
        >>> machine.energy({"visible": np.ones((1, 3)), "hidden1": np.ones((1, 2))})
        tensor([-6.], dtype=torch.float64, grad_fn=<...>)
        """
        weight, bias = ([_floating(x) for x in arrays] for arrays in (weights, biases))
        shapes, sizes = [tuple(w.shape) for w in weight], [b.numel() for b in bias]
        if shapes != list(itertools.pairwise(sizes)) or any(b.ndim != 1 for b in bias):
            raise ValueError(
                f"weights: of shapes {shapes}, and biases of {[tuple(b.shape) for b in bias]}; "
                "expected a bias for each layer and a matrix (lower, upper) between neighbours"
            )
        if not all(bool(torch.isfinite(x).all()) for x in (*weight, *bias)):
            raise ValueError("weights, biases: expected finite numbers, found NaN or infinity")
        machine = cls.stack(*(units or map(Bernoulli, sizes)))
        if [len(b) for b in machine.bias.values()] != sizes:
            raise ValueError(f"units: expected layers of {sizes} columns, as the biases are")
        types = [x.dtype for x in (*weight, *bias)]
        machine = machine.to(functools.reduce(torch.promote_types, types))
        with torch.no_grad():
            own = (*machine.bias.values(), *machine.weight.values())
            for parameter, value in zip(own, (*bias, *weight), strict=True):
                parameter.copy_(value)
        return machine

    @torch.no_grad()
    def initialise(self, random_state: RandomState = 0, std: float = 0.01) -> BoltzmannMachine:
        """Draw every weight from N(0, std²), leave the biases, return the machine."""
        stream = as_stream(random_state)
        for key, weight in self.weight.items():
            weight.copy_(stream.child(key).normal(weight.shape, weight.dtype).mul_(std))
        return self

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
        return getattr(self, f"base_{name}")

    def set_base(self, name: str, mean: Tensor) -> None:
        """Store the base bias under which the layer has this mean, (size,)."""
        base = self.base(name)
        mean = torch.as_tensor(mean, dtype=base.dtype, device=base.device).detach()
        field = self.units(name).field_of(mean)
        if mean.shape != base.shape or not bool(torch.isfinite(field).all()):
            raise ValueError(
                f"mean: layer {name!r} has no finite bias with this mean of shape "
                f"{tuple(mean.shape)}; smooth the data's rates"
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
        """The layer's total input, (rows, size): its bias and its neighbours' signals.

        ``beta`` scales the couplings and moves the bias between the base rates (β = 0) and the
        machine's own (β = 1). Only the neighbours ``among`` these count, all by default.
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
                # the first product takes the bias with it at no cost
                add = torch.addmm if field.ndim == 1 else Tensor.addmm_
                field = add(field, signal, weight, alpha=beta)
        if field.ndim == 1:  # no neighbour: as many rows as the state has, else one for all
            rows = next((values.shape[0] for values in state.values()), 1)
            field = field.expand(rows, -1)
        return field

    def energy(self, state: Mapping[str, Any]) -> Tensor:
        """E(x) of joint states (values of every layer, each (rows, size)), (rows,), in nats."""
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

        For an RBM it is minus the free energy.
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
        """Arrays as tensors of the machine's type and device; by default all ``layers`` come."""
        wanted = set(self.layers if layers is None else layers)
        if not wanted <= set(state) <= set(self.layers):
            raise ValueError(f"state: expected the layers {sorted(wanted)}, found {list(state)}")
        values = {
            name: torch.as_tensor(value, dtype=self.dtype, device=self.device)
            for name, value in state.items()
        }
        shapes = {name: tuple(value.shape) for name, value in values.items()}
        rows = next(iter(shapes.values()), ())[:1]
        expected = {name: (*rows, self.units(name).size) for name in values}
        if shapes != expected:
            raise ValueError(f"state: expected shapes {expected}, found {shapes}")
        return values

    def bias_at(self, name: str, beta: float | Tensor) -> Tensor:
        """The layer's bias at inverse temperature β, from its base bias to its own.

        (size,), or (rows, size) for β of (rows, 1).
        """
        bias = self._bias[name]
        own = not isinstance(beta, Tensor) and beta == 1.0
        return bias if own else torch.lerp(self.base(name), bias, beta)

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
            kinds = ", ".join(type(layers[name]).__name__ for name in (a, b))
            raise ValueError(
                f"edges: {a!r} and {b!r} are both unbounded ({kinds}), so Z may not exist; put "
                "bounded units between them"
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
                    here, there = path[name], path[other]
                    shared = sum(a == b for a, b in zip(here, there, strict=False))
                    cycle = " – ".join([*reversed(here[shared - 1 :]), *there[shared:], name])
                    raise ValueError(
                        f"edges: the layers {cycle} form an odd cycle; a Boltzmann machine here "
                        "needs a two-colourable graph"
                    )
    odd = tuple(name for name in names if len(path[name]) % 2)
    return odd, tuple(name for name in names if name not in odd)
