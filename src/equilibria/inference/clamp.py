"""Clamping: the one mechanism behind posteriors, filling in, missing labels and conditional samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from equilibria.models.boltzmann import BoltzmannMachine

__all__ = ["Clamp", "Held", "by_completeness", "count_of", "observed", "one_block", "parse", "take"]

Clamp = Mapping[str, Any]
"""layer → values (rows, size), or layer → (values, mask) with mask True where the cell is observed."""


@dataclasses.dataclass(frozen=True)
class Held:
    """A layer that is held, in whole (``mask`` None) or in part.

    ``values`` (rows, size) has zeros in the free cells; ``mask`` (rows, size) bool; ``variables`` the mask over variables.
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


def parse(machine: BoltzmannMachine, clamp: Clamp | None, rows: int | None = None) -> dict[str, Held]:
    """Check a clamp and bring it into one form.

    Values of one row are repeated ``rows`` times.

    Raises
    ------
    ValueError
        For an unknown layer, a wrong shape, a value that the layer cannot take, or a half-observed categorical variable.
    """
    held: dict[str, Held] = {}
    for name, given in (clamp or {}).items():
        if isinstance(given, Held):
            held[name] = given
            continue
        values, mask = given if isinstance(given, tuple) else (given, None)
        if name not in machine.layers:
            raise ValueError(f"clamp: unknown layer {name!r}; the layers are {list(machine.layers)}")
        units = machine.units(name)
        values = torch.as_tensor(values, dtype=machine.dtype, device=machine.device)
        if values.ndim != 2 or values.shape[1] != units.size:
            raise ValueError(f"clamp[{name!r}]: expected values of shape (rows, {units.size}), found {tuple(values.shape)}")
        if not len(values):
            raise ValueError(f"clamp[{name!r}]: no rows came; leave the layer out to leave it free")
        if mask is not None:
            mask = torch.as_tensor(mask, dtype=torch.bool, device=machine.device)
            if mask.shape != values.shape:
                raise ValueError(f"clamp[{name!r}]: the mask has shape {tuple(mask.shape)}, the values {tuple(values.shape)}")
            mask = None if bool(mask.all()) else mask
        variables = None if mask is None else units.per_variable(mask)
        if mask is None:
            units.check(values, f"clamp[{name!r}]")
        else:
            if not bool(torch.isfinite(values[mask]).all()):
                raise ValueError(f"clamp[{name!r}]: an observed cell is NaN or infinite; mark it missing in the mask")
            typical = units.mean(torch.zeros_like(values))  # a possible value for the free cells, so that the observed ones are judged
            units.check(torch.where(mask, values, typical), f"clamp[{name!r}]")
            values = torch.where(mask, values, torch.zeros_like(values))
        if rows is not None and values.shape[0] != rows:
            if values.shape[0] != 1:
                raise ValueError(f"clamp[{name!r}]: expected {rows} rows (or one for all), found {values.shape[0]}")
            values = values.expand(rows, -1)
            mask = None if mask is None else mask.expand(rows, -1)
            variables = None if variables is None else variables.expand(rows, -1)
        held[name] = Held(values, mask, variables)
    counts = {name: h.values.shape[0] for name, h in held.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"clamp: every layer needs the same number of rows, found {counts}")
    return held


def observed(machine: BoltzmannMachine, clamp: Clamp) -> dict[str, Held]:
    """:func:`parse` for what needs something to be observed, one row at least."""
    held = parse(machine, clamp)
    if not held:
        raise ValueError("clamp: nothing is observed; give at least one layer, in whole or in part")
    if not count_of(held):
        raise ValueError("clamp: no rows came")
    return held


def count_of(held: Mapping[str, Held]) -> int:
    """Rows of a clamp; 0 where nothing is held."""
    return next((len(h.values) for h in held.values()), 0)


def one_block(machine: BoltzmannMachine, held: Mapping[str, Held]) -> bool:
    """Whether all layers of one colour are wholly observed, so that what is free is independent and one update of mean field is exact."""
    return any(all(name in held and held[name].mask is None for name in colour) for colour in machine.colours)


def take(held: Mapping[str, Held], index: Tensor | slice) -> dict[str, Held]:
    """Some rows of a clamp."""

    def pick(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[index]

    return {name: Held(h.values[index], pick(h.mask), pick(h.variables)) for name, h in held.items()}


def by_completeness(held: Mapping[str, Held]) -> Iterator[tuple[Tensor, dict[str, Held]]]:
    """(places, clamp) of the rows in which no cell is missing, whose layers are held whole, then of the others."""
    gaps = [~h.mask.all(1) for h in held.values() if h.mask is not None]
    if not gaps:
        yield torch.arange(count_of(held)), dict(held)
        return
    gappy = torch.stack(gaps).any(0)
    whole, others = (~gappy).nonzero().flatten(), gappy.nonzero().flatten()
    if len(whole):
        yield whole, {name: Held(h.values) for name, h in take(held, whole).items()}
    if len(others):
        yield others, take(held, others)
