"""Mean field: the factorial Q(h | v) nearest to the posterior, by coordinate ascent in two blocks.

The variational bound is

    L(v) = E_Q[−E(v, h)] + H(Q) ≤ log Σ_h exp(−E(v, h)),

so L(v) − log Z bounds log p(v). One block of Q given the other is solved exactly, so L never falls
(*Deep Learning*, section 20.4.2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from equilibria.inference.clamp import Clamp, Held, count_of, observed, one_block, take

if TYPE_CHECKING:
    from equilibria.models.boltzmann import BoltzmannMachine, State

__all__ = ["MeanField", "bounds_of_states", "mean_field", "update"]


class MeanField(NamedTuple):
    """The fixed points of :func:`mean_field`.

    Attributes
    ----------
    means : dict of str to Tensor
        Every layer, (rows, size); observed cells hold their values.
    bound : Tensor
        L in nats, (rows,): a lower bound on log Σ exp(−E) over the free cells.
    converged : Tensor
        Whether the row's largest change fell below the tolerance, (rows,) bool.
    """

    means: dict[str, Tensor]
    bound: Tensor
    converged: Tensor


@torch.no_grad()
def mean_field(
    machine: BoltzmannMachine, clamp: Clamp, *, tolerance: float = 1e-6, max_steps: int = 1000
) -> MeanField:
    """Coordinate ascent to a fixed point; a row's does not depend on the rows beside it.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    clamp : mapping
        What is observed: layer → values, or layer → (values, mask).
    tolerance : float
        A row stops when no mean moves by more in a step, in the units of the layer.
    max_steps : int
        Limit on the steps of a row.

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> units = Bernoulli(6), Bernoulli(5), Bernoulli(4)
    >>> machine = BoltzmannMachine.stack(*units).initialise(0, std=1.0)
    >>> q = mean_field(machine, {"visible": torch.ones(2, 6)})
    >>> q.means["hidden1"].shape, bool(q.converged.all())
    (torch.Size([2, 5]), True)
    """
    return _solved(_Problem.build(machine, observed(machine, clamp)), tolerance, max_steps)


@torch.no_grad()
def bounds_of_states(
    machine: BoltzmannMachine,
    held: Mapping[str, Held],
    layer: str,
    states: Tensor,
    tolerance: float = 1e-6,
    max_steps: int = 1000,
) -> Tensor:
    """The bound with a layer held in each of ``states`` (states, size), (rows, states).

    ``held`` is a parsed clamp of the other layers, whose products are made once.
    """
    problem = _Problem.build(machine, held)
    found = [_solved(problem.holding(layer, x), tolerance, max_steps).bound for x in states]
    return torch.stack(found, 1)


def _solved(problem: _Problem, tolerance: float, max_steps: int) -> MeanField:
    machine, rows = problem.machine, len(problem.constant)
    means = problem.start()
    fields = {name: machine.bias[name].expand(rows, -1) for name in problem.free}
    result = {name: x.clone() for name, x in means.items()}
    bound = problem.bound(means, fields).clone()
    converged = torch.zeros(rows, dtype=torch.bool)
    active = torch.arange(rows, device=machine.device)

    def keep(which: Tensor) -> None:  # of the active rows
        bound[active[which]] = problem.bound(means, fields)[which]
        for name in result:
            result[name][active[which]] = means[name][which]

    for _ in range(max_steps):
        means, fields, change = problem.step(means, fields)
        left = change > tolerance
        if bool(left.all()):
            continue
        keep(~left)
        converged[active[~left].cpu()] = True
        active, problem = active[left], problem.rows(left)
        means, fields = ({n: x[left] for n, x in part.items()} for part in (means, fields))
        if not len(active):
            break
    keep(torch.ones_like(active, dtype=torch.bool))
    return MeanField(result, bound, converged)


def update(
    machine: BoltzmannMachine,
    held: Mapping[str, Held],
    steps: int,
    gain: Mapping[str, float] | None = None,
    start: State | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """A fixed number of steps without a test of convergence, which would copy from the device.

    ``start`` has the means to start from; by default they are those of the biases alone. Returns
    the means, the fields of the free layers, and the largest change of the last step (0-d; 0 where
    one is exact).
    """
    if one_block(machine, held):
        means, fields = {name: h.values for name, h in held.items()}, {}
        whole = {name: x for name, x in means.items() if held[name].mask is None}
        for name in machine.layers:
            if name not in whole:
                field = machine.field(name, whole)
                fields[name] = field * gain[name] if gain and name in gain else field
                mean = machine.units(name).mean(fields[name])
                means[name] = held[name].fill(mean) if name in held else mean
        return means, fields, torch.zeros((), dtype=machine.dtype)
    problem = _Problem.build(machine, held, gain, bound=False)
    means = problem.start()
    if start is not None:
        means = {**start, **{name: h.fill(start[name]) for name, h in held.items()}}
    fields, change = {}, torch.zeros((), dtype=machine.dtype)
    for _ in range(steps):
        means, fields, change = problem.step(means, fields)
    return means, fields, change.max()


@dataclasses.dataclass(frozen=True)
class _Problem:
    """A machine with a clamp: the input from wholly observed layers is computed once."""

    machine: BoltzmannMachine
    held: Mapping[str, Held]
    static: Mapping[str, Tensor]
    constant: Tensor
    gain: Mapping[str, float]

    @classmethod
    def build(
        cls,
        machine: BoltzmannMachine,
        held: Mapping[str, Held],
        gain: Mapping[str, float] | None = None,
        bound: bool = True,
    ) -> _Problem:
        """``bound`` False leaves out what only :meth:`bound` needs: −E of the observed layers."""
        fixed = {name: h.values for name, h in held.items() if h.mask is None}
        rows, free = count_of(held), [name for name in machine.layers if name not in fixed]
        static = {name: machine.field(name, fixed, among=fixed).expand(rows, -1) for name in free}
        total = torch.zeros(rows, dtype=machine.dtype, device=machine.device)
        if bound:
            for name, x in fixed.items():
                units = machine.units(name)
                total = total + units.signal(x) @ machine.bias[name] - units.base_energy(x).sum(1)
            total = _coupled(machine, fixed, fixed, total)
        return cls(machine, held, static, total, gain or {})

    @property
    def free(self) -> tuple[str, ...]:
        """The layers that are not wholly observed."""
        return tuple(self.static)

    def rows(self, index: Tensor) -> _Problem:
        static = {name: field[index] for name, field in self.static.items()}
        held, constant = take(self.held, index), self.constant[index]
        return dataclasses.replace(self, held=held, static=static, constant=constant)

    def holding(self, name: str, state: Tensor) -> _Problem:
        """The same with a free layer held in one state, (size,), in every row."""
        machine, x, static = self.machine, state.unsqueeze(0), dict(self.static)
        units, signal = machine.units(name), machine.units(name).signal(x)
        constant = self.constant + (static.pop(name) * signal).sum(1) - units.base_energy(x).sum(1)
        for other, weight in machine.neighbours(name):
            if other in static:
                static[other] = static[other] + signal @ weight.T
        held = {**self.held, name: Held(x.expand(len(constant), -1))}
        return dataclasses.replace(self, held=held, static=static, constant=constant)

    def start(self) -> dict[str, Tensor]:
        """Observed cells at their values, free ones at the mean that their bias alone gives."""
        means = {name: h.values for name, h in self.held.items()}
        for name, static in self.static.items():
            bias = self.machine.bias[name].expand_as(static)
            means[name] = self.fill(name, self.machine.units(name).mean(bias))
        return means

    def step(
        self, means: State, fields: State
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Both blocks once, ``colours[1]`` first: (means, fields, largest change of each row)."""
        means, fields, changes = dict(means), dict(fields), [torch.zeros_like(self.constant)]
        for name in (*self.machine.colours[1], *self.machine.colours[0]):
            if name in self.static:
                fields[name] = self.field(name, means)
                new = self.fill(name, self.machine.units(name).mean(fields[name]))
                changes.append((new - means[name]).abs().amax(1))
                means[name] = new
        return means, fields, torch.stack(changes).amax(0)

    def field(self, name: str, means: State) -> Tensor:
        field = self.static[name]
        for other, weight in self.machine.neighbours(name):
            if other in self.static:
                field = torch.addmm(field, self.machine.units(other).signal(means[other]), weight)
        return field * self.gain[name] if name in self.gain else field

    def bound(self, means: State, fields: State) -> Tensor:
        """L for means that came from ``fields``.

        Each free variable adds log_partition(f) − f · s (its entropy, up to the base energy that
        cancels), each observed one its own −base_energy; then E_Q of the couplings, by the static
        fields and the edges between free layers.
        """
        total = self.constant
        for name, static in self.static.items():
            units, field, x = self.machine.units(name), fields[name], means[name]
            own, hold = units.log_partition(field), self.held.get(name)
            if hold is not None and hold.mask is not None and hold.variables is not None:
                own = torch.where(hold.variables, -units.base_energy(x), own)
                field = field.masked_fill(hold.mask, 0.0)
            total = total + own.sum(1) + ((static - field) * units.signal(x)).sum(1)
        return _coupled(self.machine, self.static, means, total)

    def fill(self, name: str, x: Tensor) -> Tensor:
        return self.held[name].fill(x) if name in self.held else x


def _coupled(
    machine: BoltzmannMachine, among: Mapping[str, Tensor], values: State, total: Tensor
) -> Tensor:
    """``total`` plus s_aᵀ W s_b of each row, over the edges among some layers, (rows,)."""
    for a, b in machine.edges:
        if a in among and b in among:
            pull = machine.units(a).signal(values[a]) @ machine.weight[f"{a}-{b}"]
            total = total + (pull * machine.units(b).signal(values[b])).sum(1)
    return total
