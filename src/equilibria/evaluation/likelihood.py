"""Likelihood of undirected models: log Z, the bound on held-out log-likelihood, and the gap to the training rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats

from equilibria.estimate import Estimate
from equilibria.evaluation.metric import Metric
from equilibria.inference import annealing, exact, mean_field
from equilibria.inference.clamp import Clamp, Held, parse, take
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import RandomState

__all__ = ["MAX_STATES", "bound", "free_energy_gap", "log_partition"]

MAX_STATES = 2**16
"""The largest number of states for which log Z is enumerated rather than annealed: about a second's work."""

_BATCH = 2000  # rows of mean field at a time


def log_partition(
    machine: BoltzmannMachine,
    random_state: RandomState = 0,
    betas: int | Sequence[float] = 1000,
    chains: int = 100,
    max_states: int = MAX_STATES,
    progress: Callable[[int, int], None] | None = None,
) -> Estimate:
    """log Z in nats: enumerated where the machine is small enough, else by annealed importance sampling.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    random_state, betas, chains, progress
        For annealing: see :func:`equilibria.inference.annealing.log_partition`.
    max_states : int
        A machine whose smaller all-discrete colour has at most so many states is enumerated.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> print(log_partition(BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2))))
    log Z = 3.466 (exact enumeration)
    """
    if exact.enumerable(machine, max_states=max_states):
        value = float(exact.log_partition(machine, max_states=max_states))
        return Estimate(value, value, value, "exact enumeration", "log Z")
    return annealing.log_partition(machine, chains=chains, betas=betas, random_state=random_state, progress=progress)


def bound(
    machine: BoltzmannMachine,
    values: Any,
    log_z: Estimate | None = None,
    *,
    random_state: RandomState = 0,
    tolerance: float = 1e-6,
    max_steps: int = 1000,
) -> Estimate:
    r"""Mean over rows of the variational lower bound on log p(v), in nats.

    .. math:: \frac1n \sum_i \left( E_Q[-E(v_i, h)] + H(Q_i) \right) - \log Z

    Where all free layers are of one colour (a restricted Boltzmann machine) Q is the posterior itself: given log Z the value
    is the mean log-likelihood, and is called so.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    values : array or tensor, shape (n, size), or mapping
        Held-out rows of the first layer, or a clamp: layer → values or (values, mask).
    log_z : Estimate, optional
        By default :func:`log_partition` with ``random_state``.
    random_state : int, Stream or numpy generator
        For log Z where it is not given.
    tolerance, max_steps
        Of mean field: see :func:`equilibria.inference.mean_field`. A row that stops early has a lower bound all the same.

    Returns
    -------
    Estimate
        Its interval joins the standard error over the rows and log Z's interval in quadrature; the caveat says
        what the interval of an estimated log Z does not cover.

    Raises
    ------
    ValueError
        For fewer than two rows, a wrong shape, or values that the layer cannot take.

    References
    ----------
    Salakhutdinov and Hinton 2009, "Deep Boltzmann machines", section 3.2; *Deep Learning*, section 20.4.2.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(4), Bernoulli(3)).double()
    >>> print(bound(machine, torch.eye(4)))
    mean log-likelihood = -2.773 (4 rows, log Z by exact enumeration)
    """
    rows = _Rows.of(machine, values, "values")
    log_z = log_partition(machine, random_state) if log_z is None else log_z
    level = log_z.level
    lower, late = rows.lower_bounds(tolerance, max_steps)
    n = len(lower)
    error = float(stats.t.ppf(0.5 + level / 2, n - 1)) * float(lower.std(ddof=1)) / math.sqrt(n)
    value = float(lower.mean()) - log_z.value
    parts = [f"{n} rows", f"log Z by {log_z.method}"]
    if error or not log_z.exact:
        parts.append("interval: the standard error over rows" + ("" if log_z.exact else " and log Z's interval in quadrature"))
    return Estimate(
        value,
        value - math.hypot(error, log_z.high - log_z.value),  # a larger log Z means a smaller likelihood
        value + math.hypot(error, log_z.value - log_z.low),
        ", ".join(parts),
        "mean log-likelihood" if rows.exact else "mean bound on log-likelihood",
        level,
        samples=n,
        caveat=_caveat(log_z, late, n),
    )


def free_energy_gap(machine: BoltzmannMachine, train: Any, held_out: Any, *, tolerance: float = 1e-6, max_steps: int = 1000) -> Metric:
    """Mean free energy of held-out rows minus that of training rows, in nats: how much better the model knows the latter.

    It is the gap in mean log-likelihood, and needs no log Z. Where hidden layers depend on each other the variational
    free energy, minus the mean-field bound, takes the free energy's place.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    train, held_out : array or tensor, shape (m, size), (n, size), or mappings
        Rows of the first layer, or clamps.
    tolerance, max_steps
        Of mean field.

    Returns
    -------
    Metric
        Near 0 without overfitting and growing with it; its floor is 1.96 standard errors.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(4), Bernoulli(3))
    >>> free_energy_gap(machine, torch.eye(4), torch.ones(5, 4)).value
    0.0
    """
    parts = _Rows.of(machine, train, "train"), _Rows.of(machine, held_out, "held_out")
    seen, unseen = (rows.lower_bounds(tolerance, max_steps)[0] for rows in parts)
    error = math.sqrt(seen.var(ddof=1) / len(seen) + unseen.var(ddof=1) / len(unseen))
    kind = "free energy" if parts[0].exact else "variational free energy"
    note = f"Held-out minus {len(seen)} training rows; a gap within the floor (1.96 standard errors) may be chance."
    return Metric(f"{kind} gap, nats", float(seen.mean() - unseen.mean()), len(unseen), floor=1.96 * error, best=0.0, note=note)


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Checked rows of a machine."""

    machine: BoltzmannMachine
    held: Mapping[str, Held]
    count: int

    @classmethod
    def of(cls, machine: BoltzmannMachine, values: Any, name: str) -> _Rows:
        clamp: Clamp = values if isinstance(values, Mapping) else _first_layer(machine, values, name)
        held = parse(machine, clamp)
        count = min((len(h.values) for h in held.values()), default=0)
        _refuse_few(count, name)
        return cls(machine, held, count)

    @property
    def exact(self) -> bool:
        """Whether the free layers are independent given what is observed, so that mean field is exact."""
        whole = [name for name, h in self.held.items() if h.mask is None]
        return any(set(colour) <= set(whole) for colour in self.machine.colours)

    def lower_bounds(self, tolerance: float, max_steps: int) -> tuple[np.ndarray, int]:
        """(lower bound on log Σ exp(−E) over what is free for each row, float64; how many rows had not converged)."""
        bounds, late = [], 0
        for first in range(0, self.count, _BATCH):
            found = mean_field(self.machine, take(self.held, slice(first, first + _BATCH)), tolerance=tolerance, max_steps=max_steps)
            bounds.append(found.bound.double().cpu().numpy())
            late += int((~found.converged).sum())
        return np.concatenate(bounds), 0 if self.exact else late


def _first_layer(machine: BoltzmannMachine, values: Any, name: str) -> dict[str, torch.Tensor]:
    layer = next(iter(machine.layers))
    units = machine.units(layer)
    tensor = torch.as_tensor(values, dtype=machine.dtype, device=machine.device)
    if tensor.ndim != 2 or tensor.shape[1] != units.size:
        raise ValueError(f"{name}: expected shape (rows, {units.size}) for layer {layer!r}, found {tuple(tensor.shape)}")
    _refuse_few(len(tensor), name)
    units.check(tensor, name)
    return {layer: tensor}


def _refuse_few(count: int, name: str) -> None:
    if count < 2:
        raise ValueError(f"{name}: expected at least 2 rows, since the interval comes from their spread, found {count}")


def _caveat(log_z: Estimate, late: int, rows: int) -> str:
    sentences = []
    if late:
        sentences.append(f"Mean field had not converged on {late} of {rows} rows, whose bound could be tighter.")
    if not log_z.exact:
        sentences.append("Chains that miss a mode make log Z too small and this figure too large: the interval does not cover that.")
    return " ".join(sentences)
