"""Clamping: one mechanism for posteriors, filling in, missing labels and conditional samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from equilibria.models.boltzmann import BoltzmannMachine

__all__ = ["Clamp", "Held", "by_completeness", "count_of", "observed", "one_block", "parse", "take"]

Clamp = Mapping[str, Any]
"""layer → values (rows, size), or layer → (values, mask) with mask True for observed cells."""


@dataclasses.dataclass(frozen=True)
class Held:
    """A layer that is observed, in whole (``mask`` None) or in part.

    ``values`` (rows, size) has zeros in the free cells; ``mask`` (rows, size) is bool;
    ``variables`` is the mask over variables.
    """

    values: Tensor
    mask: Tensor | None = None
    variables: Tensor | None = None

    def fill(self, x: Tensor) -> Tensor:
        """x with the observed cells put in."""
        return self.values if self.mask is None else torch.where(self.mask, self.values, x)

    def to(self, dtype: torch.dtype) -> Held:
        """The same, with values of another type."""
        return dataclasses.replace(self, values=self.values.to(dtype))

    def each(self, change: Callable[[Tensor], Tensor]) -> Held:
        """The same after ``change`` of all three tensors."""
        mask, variables = (x if x is None else change(x) for x in (self.mask, self.variables))
        return Held(change(self.values), mask, variables)


def parse(
    machine: BoltzmannMachine, clamp: Clamp | None, rows: int | None = None
) -> dict[str, Held]:
    """Check a clamp and bring it into one form; values of one row are repeated ``rows`` times.

    This is the door for values from outside: an unknown layer, a wrong shape, a value that the
    layer cannot take and a half-observed categorical variable are refused.
    """
    held = {name: _checked(machine, name, given) for name, given in (clamp or {}).items()}
    if rows is not None:
        held = {
            name: h.each(lambda part: part.expand(rows, -1)) if len(h.values) == 1 else h
            for name, h in held.items()
        }
    counts = {name: len(h.values) for name, h in held.items()}
    if len({*counts.values()} | ({rows} if held and rows is not None else set())) > 1:
        wanted = "the same number of rows" if rows is None else f"{rows} rows (or one for all)"
        raise ValueError(f"clamp: every layer needs {wanted}, found {counts}")
    return held


def _checked(machine: BoltzmannMachine, name: str, given: Any) -> Held:
    if isinstance(given, Held):
        return given
    if name not in machine.layers:
        layers = list(machine.layers)
        raise ValueError(f"clamp: unknown layer {name!r}; the layers are {layers}")
    here, units = f"clamp[{name!r}]", machine.units(name)
    values, mask = given if isinstance(given, tuple) else (given, None)
    values = torch.as_tensor(values, dtype=machine.dtype, device=machine.device)
    if values.ndim != 2 or values.shape[1] != units.size or not len(values):
        wanted = f"one or more rows, shape (rows, {units.size})"
        raise ValueError(f"{here}: expected {wanted}, found {tuple(values.shape)}")
    mask = None if mask is None else torch.as_tensor(mask, dtype=torch.bool, device=machine.device)
    if mask is not None and mask.shape != values.shape:
        shapes = f"{tuple(mask.shape)}, the values {tuple(values.shape)}"
        raise ValueError(f"{here}: the mask has shape {shapes}")
    if mask is None or bool(mask.all()):
        units.check(values, here)
        return Held(values)
    variables = units.per_variable(mask)
    if not bool(torch.isfinite(values[mask]).all()):
        raise ValueError(f"{here}: an observed cell is NaN or infinite; mask it")
    # the free cells get a possible value, so that the observed ones are judged
    units.check(torch.where(mask, values, units.mean(torch.zeros_like(values))), here)
    return Held(torch.where(mask, values, torch.zeros_like(values)), mask, variables)


def observed(machine: BoltzmannMachine, clamp: Clamp) -> dict[str, Held]:
    """:func:`parse` for functions that need something to be observed, one row at least."""
    held = parse(machine, clamp)
    if not held:
        raise ValueError("clamp: nothing is observed; give at least one layer, in whole or in part")
    return held


def count_of(held: Mapping[str, Held]) -> int:
    """Rows of a clamp; 0 where nothing is held."""
    return next((len(h.values) for h in held.values()), 0)


def one_block(machine: BoltzmannMachine, held: Mapping[str, Held]) -> bool:
    """Whether one colour is wholly observed, so that one update of mean field is exact."""
    whole = {name for name, h in held.items() if h.mask is None}
    return any(whole.issuperset(colour) for colour in machine.colours)


def take(held: Mapping[str, Held], index: Tensor | slice) -> dict[str, Held]:
    """Some rows of a clamp."""
    return {name: h.each(lambda part: part[index]) for name, h in held.items()}


def by_completeness(held: Mapping[str, Held]) -> Iterator[tuple[Tensor, dict[str, Held]]]:
    """(places, clamp) of the rows in which no cell is missing, held whole, then of the others."""
    gappy = torch.zeros(count_of(held), dtype=torch.bool)
    for h in held.values():
        if h.mask is not None:
            gappy |= ~h.mask.all(1).cpu()
    whole, others = (~gappy).nonzero().flatten(), gappy.nonzero().flatten()
    if len(whole):
        yield whole, {name: Held(h.values) for name, h in take(held, whole).items()}
    if len(others):
        yield others, take(held, others)
