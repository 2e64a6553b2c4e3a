"""Annealed importance sampling (Neal 2001; Salakhutdinov & Murray 2008): log Z of machines too large to enumerate.

Chains are drawn from independent base rates, where Z is known, and carried through inverse temperatures 0 = β₀ < … < β_K = 1
by Gibbs sweeps. The importance weights average to Z/Z₀. One colour is always summed out, so a weight is a ratio of
marginals and its variance is smaller than that of joint states.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilibria.estimate import Estimate
from equilibria.inference import gibbs, weights
from equilibria.inference.exchange import kept_colour
from equilibria.models.boltzmann import BoltzmannMachine, State
from equilibria.random import RandomState, Stream, as_stream

__all__ = ["SOURCES", "Betas", "adaptive_schedule", "log_partition", "reverse_log_partition", "schedule"]

CAVEAT = "Forward AIS tends to underestimate log Z, which flatters the model."
REVERSE_CAVEAT = "Reverse AIS tends to overestimate log Z, if its samples really are the model's."
SOURCES = {
    "chains": "They come from plain chains: where those have missed a mode, this side is too small as well.",
    "tempering": "They come from a tempering ladder.",
    "exact": "They are exact draws.",
}
"""Where the samples of the way down may come from, and what is to be said about it."""

Betas = int | str | Iterable[float]
"""A number of steps (:func:`schedule`), "adaptive" (:func:`adaptive_schedule`), or inverse temperatures that rise from 0 to 1."""


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
def adaptive_schedule(
    machine: BoltzmannMachine, steps: int = 1000, *, chains: int = 50, pilot: int = 200, random_state: RandomState = 0
) -> list[float]:
    r"""Inverse temperatures that share the variance of the log weights out evenly, by a pilot run.

    A step of Δβ adds about Δβ² g(β) to the variance, with g the variance of d log f_β/dβ over the states at β (f_β is the marginal
    that the weights are made of). For a given number of steps the sum is least where each has the same part of the thermodynamic length

    .. math:: L = \int_0^1 \sqrt{g(\beta)} \, d\beta

    (Gelman & Meng 1998, "Simulating normalizing constants"; Crooks 2007, "Measuring thermodynamic length"). The length is measured by two
    short annealing runs, the second of them at the temperatures that the first proposes; a tenth of the steps is spread evenly, so
    that what the pilot did not see is not skipped.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    steps : int
        Number of temperatures after β = 0.
    chains, pilot : int
        Size of each pilot run: chains, and temperatures at most. By default the two cost a fifth of 100 chains at 1,000 temperatures.
    random_state : int, Stream or numpy generator
        The same value gives the same schedule.

    Returns
    -------
    list of float
        ``steps`` + 1 rising numbers from 0 to 1.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0, std=3.0)
    >>> betas = adaptive_schedule(machine, 100)
    >>> len(betas), betas[0], betas[-1]
    (101, 0.0, 1.0)
    """
    for name, value, least in (("steps", steps, 1), ("chains", chains, 2), ("pilot", pilot, 1)):
        if isinstance(value, bool) or int(value) != value or value < least:
            raise ValueError(f"{name}={value!r}: expected a whole number, {least} or more")
    stream = as_stream(random_state).child("pilot")
    ladder = schedule(min(int(pilot), 299))  # even temperatures
    for turn in range(2):
        key = stream.child(turn)
        trace: list[Tensor] = []
        _run(machine, ladder, gibbs.start(machine, int(chains), key), key, None, trace)
        lengths = torch.stack(trace).std(1)
        if not bool(torch.isfinite(lengths).all()):
            raise ValueError("machine: its annealed weights are not finite; a parameter may be infinite or a Gaussian layer unstable")
        ladder = _even(ladder, lengths.tolist(), int(steps) if turn else len(ladder) - 1)
    return ladder


def _even(ladder: Sequence[float], lengths: Sequence[float], steps: int, share: float = 0.1) -> list[float]:
    """``steps`` + 1 temperatures with equal parts of the length, of which ``share`` is laid evenly over β."""
    total = sum(lengths)
    parts = [(1 - share) * part / total if total > 0 else 0.0 for part in lengths]
    rates = [p + (share if total > 0 else 1.0) * (b - a) for p, (a, b) in zip(parts, itertools.pairwise(ladder), strict=True)]
    reached = np.concatenate([[0.0], np.cumsum(rates)])
    betas = np.interp(np.linspace(0, reached[-1], steps + 1), reached, ladder)
    return [0.0, *betas[1:-1].tolist(), 1.0]


@torch.no_grad()
def log_partition(
    machine: BoltzmannMachine,
    *,
    chains: int = 100,
    betas: Betas = 1000,
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
    betas : int, "adaptive" or sequence of float
        Number of intermediate distributions (see :func:`schedule`), 1,000 of them placed by :func:`adaptive_schedule`, or the inverse
        temperatures from 0 to 1.
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
    parent = as_stream(random_state)
    ladder, stream = temperatures(machine, betas, parent), parent.child("annealing")
    log_weights = _run(machine, ladder, gibbs.start(machine, int(chains), stream), stream, progress)
    return _estimate(log_weights + base_log_partition(machine), f"AIS, {chains} chains, {_described(ladder, betas)}")


@torch.no_grad()
def reverse_log_partition(
    machine: BoltzmannMachine,
    samples: Mapping[str, Any],
    *,
    betas: Betas = 1000,
    source: str = "chains",
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
    source : {"chains", "tempering", "exact"}
        Where the samples come from, for the caveat: plain chains are the least to be trusted.

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
    if source not in SOURCES:
        raise ValueError(f"source={source!r}: expected one of {tuple(SOURCES)}")
    if rows < 2:
        raise ValueError(f"samples: {rows} row(s) came; expected at least 2, since the interval comes from their spread")
    parent = as_stream(random_state)
    ladder, stream = temperatures(machine, betas, parent), parent.child("reverse annealing")
    log_weights = _run(machine, ladder[::-1], dict(state), stream, progress)
    method = f"reverse AIS, {rows} chains, {_described(ladder, betas)}"
    return _estimate(log_weights - base_log_partition(machine), method, -1.0, f"{REVERSE_CAVEAT} {SOURCES[source]}")


def temperatures(machine: BoltzmannMachine, betas: Betas, stream: Stream, adaptive: bool = False) -> list[float]:
    """``betas`` as a list that rises from 0 to 1; with ``adaptive`` a number of steps is placed adaptively too."""
    if isinstance(betas, str):
        if betas != "adaptive":
            raise ValueError(f"betas={betas!r}: expected a number, 'adaptive', or inverse temperatures that rise from 0 to 1")
        return adaptive_schedule(machine, random_state=stream)
    if not isinstance(betas, Iterable):
        return adaptive_schedule(machine, betas, random_state=stream) if adaptive else schedule(betas)
    ladder = [float(b) for b in betas]
    if len(ladder) < 2 or ladder[0] != 0.0 or ladder[-1] != 1.0 or not all(a <= b for a, b in itertools.pairwise(ladder)):
        raise ValueError("betas: expected inverse temperatures that rise from 0 to 1")
    return ladder


def _described(ladder: Sequence[float], betas: Betas) -> str:
    steps = len(ladder) - 1
    kind = "adaptive " if isinstance(betas, str) else "" if ladder == schedule(steps) else "given "
    return f"{steps} {kind}temperatures"


def _run(
    machine: BoltzmannMachine,
    ladder: Sequence[float],
    state: dict[str, Tensor],
    stream: Stream,
    progress: Callable[[int, int], None] | None,
    trace: list[Tensor] | None = None,
) -> Tensor:
    """log w of each chain along the ladder, in whichever direction it goes, float64 (chains,); ``trace`` takes each step's part of it.

    A move draws the summed colour and then the kept one. As a chain on the kept colour it is reversible, so the way down may use
    the moves of the way up.
    """
    kept = kept_colour(machine)
    total = torch.zeros(len(next(iter(state.values()))), dtype=torch.float64, device=machine.device)
    for step, (before, after) in enumerate(itertools.pairwise(ladder)):
        # What the summed layers feel from their neighbours serves both marginals and the draw: one product where three would do.
        pull = {name: machine.pull(name, state) for name in machine.colours[1 - kept]}
        part = log_marginal(machine, kept, state, pull, after) - log_marginal(machine, kept, state, pull, before)
        total += part
        if trace is not None:
            trace.append(part)
        if step + 2 < len(ladder):
            key = stream.child(step)
            for name, coupling in pull.items():
                state[name] = machine.units(name).sample(machine.bias_at(name, after) + after * coupling, key.child(name))
            state.update(gibbs.block(machine, kept, state, key, beta=after)[0])
        if progress is not None:
            progress(step + 1, len(ladder) - 1)
    return total


def log_marginal(machine: BoltzmannMachine, kept: int, state: State, pull: State, beta: float | Tensor) -> Tensor:
    """log Σ exp(−E_β) over the layers that have a ``pull``, float64 (chains,); β is one number, or one a row, (chains, 1)."""
    total = torch.zeros((), dtype=torch.float64)
    for name in machine.colours[kept]:
        units, x = machine.units(name), state[name]
        own = units.signal(x) * machine.bias_at(name, beta)
        total = total + own.sum(1, dtype=torch.float64) - units.base_energy(x).sum(1, dtype=torch.float64)
    for name, coupling in pull.items():
        field = machine.bias_at(name, beta) + beta * coupling
        total = total + machine.units(name).log_partition(field).sum(1, dtype=torch.float64)
    return total


@torch.no_grad()
def base_log_partition(machine: BoltzmannMachine) -> float:
    """log Z at β = 0, in closed form."""
    return sum(float(machine.units(n).log_partition(machine.base(n).unsqueeze(0)).double().sum()) for n in machine.layers)


def _estimate(log_weights: Tensor, method: str, sign: float = 1.0, caveat: str = CAVEAT, level: float = 0.95) -> Estimate:
    """log Z as ``sign`` · log of the mean weight."""
    return weights.estimate(log_weights.cpu().numpy(), method, caveat, sign=sign, level=level)
