"""Annealed importance sampling (Neal 2001; Salakhutdinov & Murray 2008): log Z of machines too large to enumerate.

Chains are drawn from independent base rates, where Z is known, and carried through inverse temperatures 0 = β₀ < … < β_K = 1
by Gibbs sweeps. The importance weights average to Z/Z₀. One colour is always summed out, so a weight is a ratio of
marginals and its variance is smaller than that of joint states.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from equilibria.estimate import Estimate
from equilibria.inference import gibbs
from equilibria.models.boltzmann import BoltzmannMachine, State, log_states
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["log_partition", "reverse_log_partition", "schedule"]

CAVEAT = "Forward AIS tends to underestimate log Z, which flatters the model."
REVERSE_CAVEAT = "Reverse AIS tends to overestimate log Z, if its samples really are the model's."


def schedule(steps: int) -> list[float]:
    """Inverse temperatures, denser towards 1, in the proportions of Salakhutdinov & Murray (2008).

    A thirtieth of the steps goes to [0, 0.5], four fifteenths to [0.5, 0.9], the rest to [0.9, 1]; below 300 steps they are even.

    Examples
    --------
    >>> betas = schedule(1000)
    >>> len(betas), betas[0], betas[-1]
    (1001, 0.0, 1.0)
    """
    if isinstance(steps, bool) or int(steps) != steps or steps < 1:
        raise ValueError(f"steps={steps!r}: expected a whole number of temperatures, 1 or more")
    if steps < 300:
        return torch.linspace(0, 1, steps + 1, dtype=torch.float64).tolist()
    first, second = steps // 30 + 1, 4 * steps // 15
    parts = [(0.0, 0.5, first), (0.5, 0.9, second), (0.9, 1.0, steps - first - second)]
    betas = [torch.linspace(low, high, n + 1, dtype=torch.float64)[:-1] for low, high, n in parts]
    return [*torch.cat(betas).tolist(), 1.0]


@torch.no_grad()
def log_partition(
    machine: BoltzmannMachine,
    *,
    chains: int = 100,
    betas: int | Sequence[float] = 1000,
    random_state: RandomState = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Estimate:
    """Estimate log Z by annealed importance sampling from the machine's base rates.

    The base distribution has independent layers with the biases of ``machine.base``: the data's base rates where ``fit``
    stored them (``machine.set_base``), else uniform ones.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    chains : int
        Number of independent runs, at least 2.
    betas : int or sequence of float
        Number of intermediate distributions (see :func:`schedule`), or the inverse temperatures from 0 to 1.
    random_state : int, Stream or numpy generator
        The same value gives the same estimate.
    progress : callable, optional
        ``progress(done, total)`` after each temperature.

    Returns
    -------
    Estimate
        log Z in nats with its 95 % interval (from the spread of the weights), and effective sample size
        (Σw)² / Σw². The interval knows nothing of modes that no chain has met.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> from equilibria.inference import exact
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5), Bernoulli(4)).initialise(0, std=0.5)
    >>> estimate = log_partition(machine, random_state=0)
    >>> estimate.low - 0.05 < exact.log_partition(machine) < estimate.high + 0.05
    True
    """
    if isinstance(chains, bool) or int(chains) != chains or chains < 2:
        raise ValueError(f"chains={chains!r}: expected at least 2 chains, since the interval comes from their spread")
    ladder, stream = _ladder(betas), as_stream(random_state).child("annealing")
    weights = _run(machine, ladder, gibbs.start(machine, int(chains), stream), stream, progress)
    method = f"AIS, {chains} chains, {len(ladder) - 1} temperatures"
    return _estimate(weights + _base_log_partition(machine), method)


@torch.no_grad()
def reverse_log_partition(
    machine: BoltzmannMachine,
    samples: Mapping[str, Any],
    *,
    betas: int | Iterable[float] = 1000,
    random_state: RandomState = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Estimate:
    """Estimate log Z from the other side: annealing from the model's own samples down to the base rates.

    The weights of the way down average to Z₀/Z, so by Jensen's inequality log Z is overestimated where :func:`log_partition`
    underestimates it: together they bracket it (Burda, Grosse & Salakhutdinov 2015; Grosse, Ghahramani & Adams 2015). That holds only if
    ``samples`` really are the model's: chains that have met some of its modes only make this side wrong too.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    samples : mapping of str to array
        States of every layer, each (rows, size), drawn from the model: long-run chains. Two rows or more, one annealing run each.
    betas, random_state, progress
        As in :func:`log_partition`.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5), Bernoulli(4)).initialise(0, std=0.5)
    >>> samples = gibbs.run(machine, gibbs.start(machine, rows=100), steps=100)
    >>> above, below = reverse_log_partition(machine, samples), log_partition(machine)
    >>> abs(above.value - below.value) < 0.1
    True
    """
    state = machine.as_state(samples)
    rows = len(next(iter(state.values())))
    if rows < 2:
        raise ValueError(f"samples: {rows} row(s) came; expected at least 2, since the interval comes from their spread")
    ladder, stream = _ladder(betas), as_stream(random_state).child("reverse annealing")
    weights = _run(machine, ladder[::-1], dict(state), stream, progress)
    method = f"reverse AIS, {rows} chains, {len(ladder) - 1} temperatures"
    return _estimate(weights - _base_log_partition(machine), method, -1.0, REVERSE_CAVEAT)


def _ladder(betas: int | Iterable[float]) -> list[float]:
    ladder = [float(b) for b in betas] if isinstance(betas, Iterable) else schedule(betas)
    if len(ladder) < 2 or ladder[0] != 0.0 or ladder[-1] != 1.0 or not all(a <= b for a, b in itertools.pairwise(ladder)):
        raise ValueError("betas: expected inverse temperatures that rise from 0 to 1")
    return ladder


def _run(
    machine: BoltzmannMachine,
    ladder: Sequence[float],
    state: dict[str, Tensor],
    stream: Stream,
    progress: Callable[[int, int], None] | None,
) -> Tensor:
    """log w of each chain along the ladder, in whichever direction it goes, float64 (chains,).

    A move draws the summed colour and then the kept one. As a chain on the kept colour it is reversible, so the way down may use
    the moves of the way up.
    """
    kept = min((0, 1), key=lambda colour: (log_states(machine, colour), colour))  # the smaller colour is sampled, the larger summed out
    weights = torch.zeros(len(next(iter(state.values()))), dtype=torch.float64, device=machine.device)
    for step, (before, after) in enumerate(itertools.pairwise(ladder)):
        # What the summed layers feel from their neighbours serves both marginals and the draw: one product where three would do.
        pull = {name: machine.pull(name, state) for name in machine.colours[1 - kept]}
        weights += _log_marginal(machine, kept, state, pull, after) - _log_marginal(machine, kept, state, pull, before)
        if step + 2 < len(ladder):
            key = stream.child(step)
            for name, coupling in pull.items():
                state[name] = machine.units(name).sample(machine.bias_at(name, after) + after * coupling, key.child(name))
            state.update(gibbs.block(machine, kept, state, key, beta=after)[0])
        if progress is not None:
            progress(step + 1, len(ladder) - 1)
    return weights


def _log_marginal(machine: BoltzmannMachine, kept: int, state: State, pull: State, beta: float) -> Tensor:
    """log Σ exp(−E_β) over the layers that have a ``pull``, float64 (chains,)."""
    total = sum((-machine.own_energy(name, state[name], beta).double() for name in machine.colours[kept]), torch.zeros(()))
    for name, coupling in pull.items():
        field = machine.bias_at(name, beta) + beta * coupling
        total = total + machine.units(name).log_partition(field).sum(1, dtype=torch.float64)
    return total


def _base_log_partition(machine: BoltzmannMachine) -> float:
    return sum(float(machine.units(n).log_partition(machine.base(n).unsqueeze(0)).double().sum()) for n in machine.layers)


def _estimate(log_weights: Tensor, method: str, sign: float = 1.0, caveat: str = CAVEAT, level: float = 0.95) -> Estimate:
    """log Z as ``sign`` · log of the mean weight, with the interval from the weights' spread."""
    n = len(log_weights)
    value = float(torch.logsumexp(log_weights, 0)) - math.log(n)
    if not math.isfinite(value):
        raise ValueError("machine: its annealed weights are not finite; a parameter may be infinite or a Gaussian layer unstable")
    relative = torch.exp(log_weights - value)
    ess = float(relative.sum() ** 2 / relative.square().sum())
    error = float(relative.std()) / math.sqrt(n)  # of the mean weight, relative to it; the delta method carries it to the logarithm
    half = float(stats.t.ppf(0.5 + level / 2, n - 1)) * error
    if ess < 0.1 * n:
        caveat = f"Few chains carry the estimate: use more temperatures, and read the interval as too narrow. {caveat}"
    value *= sign
    return Estimate(value, value - half, value + half, method, "log Z", level, ess, n, caveat)
