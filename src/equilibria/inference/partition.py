r"""log Z of a Boltzmann machine: enumerated, or by annealed importance sampling and Bennett's
ratio.

**Annealing** (Neal 2001; Salakhutdinov & Murray 2008) draws chains from the independent base rates,
where Z is known, and carries them through inverse temperatures 0 = β₀ < … < β_K = 1 by Gibbs
sweeps; the importance weights average to Z/Z₀. From the model's own samples down to the base rates
they average to Z₀/Z. By Jensen's inequality the way up tends to underestimate log Z and the way
down to overestimate it: together they bracket it, if those samples are the model's (Burda, Grosse &
Salakhutdinov 2015; Grosse, Ghahramani & Adams 2015). **Bennett's acceptance ratio** (Bennett 1976;
Shirts & Chodera 2008) of neighbours on a ladder (:mod:`.ladder`) is the intercept of a logistic
regression that tells their samples apart, with the least variance of all such estimates. Annealing
needs chains that keep up with β, Bennett's ratio needs equilibrium at every replica, so the two
fail differently. One colour is always summed out: a weight is a ratio of marginals, and varies less
than one of joint states.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy import optimize, special, stats
from torch import Tensor

from equilibria.check import affordable, choice, whole
from equilibria.inference import exact, gibbs
from equilibria.inference import ladder as exchanges
from equilibria.inference.ladder import Replica, kept_colour
from equilibria.numbers import Measure, effective
from equilibria.random import RandomState, Stream, as_stream

if TYPE_CHECKING:
    from equilibria.models.boltzmann import BoltzmannMachine, State

__all__ = [
    "Betas",
    "adaptive_schedule",
    "bennett",
    "both_sides",
    "conservative",
    "forward_ais",
    "from_weights",
    "ladder_draws",
    "log_partition",
    "reverse_ais",
    "schedule",
]

Array = np.ndarray[Any, np.dtype[Any]]
Progress = Callable[[int, int], None]
Betas = int | str | Iterable[float]
"""A number of temperatures (:func:`schedule`), "adaptive", or a list of them."""

MAX_STATES = 2**16
"""The largest number of states for which log Z is enumerated: about a second's work."""
SOURCES = {
    "chains": "They come from plain chains: if those miss a mode, this side is too small too.",
    "tempering": "They come from a tempering ladder.",
    "exact": "They are exact draws.",
}
"""Where the samples of reverse annealing come from, with its note."""
TEMPERATURE = 12
"""Single-precision numbers that one of a list of temperatures takes the place of."""
MISSED = "Modes that no chain has met are not in the interval."
UNSTABLE = "a parameter may be infinite or a Gaussian layer unstable"


def log_partition(
    machine: BoltzmannMachine,
    random_state: RandomState = 0,
    betas: Betas = 1000,
    chains: int = 100,
    max_states: int = MAX_STATES,
    progress: Progress | None = None,
) -> Measure:
    """log Z in nats: enumerated up to ``max_states`` states, else :func:`forward_ais`.

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> print(log_partition(BoltzmannMachine.stack(Bernoulli(3), Bernoulli(2))))
    log Z = 3.46574 (exact; exact enumeration)
    """
    if exact.enumerable(machine, max_states=max_states):
        value = float(exact.log_partition(machine, max_states=max_states))
        return Measure.exact("log Z", value, "exact enumeration")
    how: dict[str, Any] = {"betas": betas, "chains": chains, "progress": progress}
    return forward_ais(machine, random_state=random_state, **how).replace(name="log Z")


def both_sides(
    machine: BoltzmannMachine,
    samples: Mapping[str, Any] | None = None,
    *,
    source: str = "chains",
    betas: Betas = "adaptive",
    chains: int = 100,
    ladder: bool | Mapping[str, Any] | None = None,
    random_state: RandomState = 0,
    progress: Progress | None = None,
) -> Measure:
    """log Z by forward and reverse annealing: see :func:`conservative`.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model, of any units.
    samples : mapping of str to array, optional
        States of every layer, (rows, size), one reverse run each. They must be the model's, in its
        modes' proportions: chains that have met only some modes make both sides too small together,
        and no test can tell. By default they are drawn by a ladder.
    source : {"chains", "tempering", "exact"}
        Where ``samples`` come from: the note says so.
    betas, chains, random_state, progress
        Of annealing: see :func:`forward_ais`.
    ladder : bool or mapping, optional
        Whether log Z is taken from a ladder as well (by default where no samples are given), or the
        options of :func:`ladder_draws`, and ``betas``: a number of steps (40) or temperatures.

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0, std=2.0)
    >>> z = both_sides(machine, betas=200, ladder={"betas": 5, "chains": 50, "sweeps": 100})
    >>> [part.name for part in z.parts], z.warning
    (['forward AIS', 'reverse AIS', 'ladder'], '')
    """
    if samples is None and ladder is False:
        raise ValueError("samples=None with ladder=False: give the model's samples or a ladder")
    stream = as_stream(random_state)
    how: dict[str, Any] = {"betas": _temperatures(machine, betas, stream)}
    how |= {"random_state": stream, "progress": progress}
    found = []
    if ladder or samples is None:
        options = {"chains": chains, **(ladder if isinstance(ladder, Mapping) else {})}
        key, levels = stream.child("ladder"), options.pop("betas", 40)
        if isinstance(levels, int):
            levels = adaptive_schedule(machine, levels, random_state=key)
        replicas = exchanges.temperatures(machine, levels)
        draws = ladder_draws(replicas, random_state=key, **options)
        found = [bennett(replicas, draws)]
        if samples is None:
            samples, source = draws.samples, "tempering"
    up = forward_ais(machine, chains=chains, **how)
    return conservative(up, reverse_ais(machine, samples, source=source, **how), *found)


def conservative(forward: Measure, reverse: Measure, *others: Measure) -> Measure:
    """The largest estimate of log Z, for the smallest likelihood, with all as its parts.

    Its interval covers those of all parts. The warning says by how much they disagree and what to
    do: where intervals do not meet, or values are more than a nat apart.

    Examples
    --------
    >>> up = Measure("forward AIS", 99.0, 98.9, 99.1)
    >>> z = conservative(up, Measure("reverse AIS", 100.5, 100.2, 100.8))
    >>> z.value, z.low, z["reverse AIS"].value - z["forward AIS"].value
    (100.5, 98.9, 1.5)
    >>> z.warning
    'The estimates of log Z are 1.50 nats apart (forward AIS 99.00, reverse AIS 100.50): use more
    temperatures.'
    """
    parts = (forward, reverse, *others)
    low = [part.value if part.low is None else part.low for part in parts]
    high = [part.value if part.high is None else part.high for part in parts]
    largest = max(parts, key=lambda part: part.value)
    apart = largest.value - min(part.value for part in parts)
    sentences = [f"{part.name}: {part.warning}" for part in parts if part.warning]
    if max(low) > min(high) or apart > 1.0:
        values = ", ".join(f"{part.name} {part.value:.2f}" for part in parts)
        cure = "use more temperatures."
        if reverse.value < forward.value:
            cure = "the reverse samples are not the model's, sample longer or by a ladder."
        sentences.insert(0, f"The estimates of log Z are {apart:.2f} nats apart ({values}): {cure}")
    method = f"the larger of {' and '.join(part.method for part in parts)}"
    said = {"method": method, "note": MISSED, "warning": " ".join(sentences)}
    return largest.replace(name="log Z", low=min(low), high=max(high), parts=parts, **said)


# ------------------------------------------------------------------ annealing


@torch.no_grad()
def forward_ais(
    machine: BoltzmannMachine,
    *,
    chains: int = 100,
    betas: Betas = 1000,
    random_state: RandomState = 0,
    progress: Progress | None = None,
) -> Measure:
    """log Z by annealing from the base rates: those that ``machine.set_base`` stored.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    chains : int
        Number of independent runs, at least 2.
    betas : int, "adaptive" or sequence of float
        Number of temperatures (:func:`schedule`), 1,000 of them placed by
        :func:`adaptive_schedule`, or the inverse temperatures, from 0 to 1.
    random_state : int, Stream or numpy generator
        The same value gives the same estimate.
    progress : callable, optional
        ``progress(done, total)`` after each temperature.

    Returns
    -------
    Measure
        In nats, with the 95 % interval of :func:`interval` and effective sample size (Σw)² / Σw².

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0, std=0.5)
    >>> z = forward_ais(machine, random_state=0)
    >>> z.low - 0.05 < exact.log_partition(machine) < z.high + 0.05
    True
    """
    chains, parent = whole(2)("chains", chains), as_stream(random_state)
    steps, stream = _temperatures(machine, betas, parent), parent.child("annealing")
    logs = annealed(machine, steps, gibbs.start(machine, chains, stream), stream, progress)
    method = f"AIS, {chains} chains, {len(steps) - 1} temperatures"
    note = "Forward AIS tends to underestimate log Z, which flatters the model."
    return from_weights(logs + base_log_partition(machine), method, note, name="forward AIS")


@torch.no_grad()
def reverse_ais(
    machine: BoltzmannMachine,
    samples: Mapping[str, Any],
    *,
    betas: Betas = 1000,
    source: str = "chains",
    random_state: RandomState = 0,
    progress: Progress | None = None,
) -> Measure:
    """log Z by annealing from the model's own samples down to the base rates.

    ``samples`` are states of every layer, (rows, size), two or more; ``source`` as in
    :func:`both_sides`, the rest as in :func:`forward_ais`.
    """
    source, state = choice(*SOURCES)("source", source), machine.as_state(samples)
    rows = whole(2)("rows of samples", len(next(iter(state.values()))))
    parent = as_stream(random_state)
    steps, stream = _temperatures(machine, betas, parent), parent.child("reverse annealing")
    logs = annealed(machine, steps[::-1], state, stream, progress) - base_log_partition(machine)
    method = f"reverse AIS, {rows} chains, {len(steps) - 1} temperatures"
    note = "Reverse AIS tends to overestimate log Z, if its samples really are the model's."
    note = f"{note} {SOURCES[source]}"
    return from_weights(logs, method, note, name="reverse AIS", sign=-1.0)


def annealed(
    machine: BoltzmannMachine,
    betas: Sequence[float],
    state: State,
    stream: Stream,
    progress: Progress | None = None,
    trace: list[Tensor] | None = None,
) -> Tensor:
    """log w of each chain along ``betas``, float64 (chains,); ``trace`` takes its parts.

    A move draws the summed colour, then the kept one. As a chain on the kept colour it is
    reversible, so the way down may use the moves of the way up.
    """
    kept, state = kept_colour(machine), dict(state)
    rows = len(next(iter(state.values())))
    total = torch.zeros(rows, dtype=torch.float64, device=machine.device)
    for step, (before, after) in enumerate(itertools.pairwise(betas)):
        # one product serves both marginals and the draw; squares of a field are not small
        pull = {name: machine.pull(name, state) for name in machine.colours[1 - kept]}
        wide = {n: x if machine.units(n).bounded else x.double() for n, x in pull.items()}
        first, felt = (
            {n: torch.add(machine.bias_at(n, b), x, alpha=b) for n, x in wide.items()}
            for b in (before, after)
        )
        part = _log_ratio(machine, kept, state, (before, first), (after, felt))
        total += part
        if trace is not None:
            trace.append(part)
        if step + 2 < len(betas):
            key = stream.child(step)
            for name, field in felt.items():
                field = field.to(machine.dtype)
                state[name] = machine.units(name).sample(field, key.child(name))
            state |= gibbs.block(machine, kept, state, key, beta=after)[0]
        if progress is not None:
            progress(step + 1, len(betas) - 1)
    return total


def _log_ratio(
    machine: BoltzmannMachine,
    kept: int,
    state: State,
    before: tuple[float, State],
    after: tuple[float, State],
) -> Tensor:
    """log f_after/f_before of the kept colour, (rows,), given (β, fields of the other) of both.

    Differences are taken variable by variable and summed in float64; base energies cancel. Of
    bounded units the terms are small, and exact to the digits of the fields' type; the fields of
    others are to be in float64.
    """
    total = torch.zeros((), dtype=torch.float64)
    for name in machine.colours[kept]:
        bias = machine.bias_at(name, after[0]).double() - machine.bias_at(name, before[0])
        total = total + machine.units(name).signal(state[name]).double() @ bias
    for name, field in after[1].items():
        log_partition = machine.units(name).log_partition
        ratio = log_partition(field) - log_partition(before[1][name])
        total = total + ratio.sum(1, dtype=torch.float64)
    return total


@torch.no_grad()
def base_log_partition(machine: BoltzmannMachine) -> float:
    """log Z at β = 0, in closed form."""
    fields = ((machine.units(name), machine.base(name).double()) for name in machine.layers)
    return sum(float(units.log_partition(field[None]).sum()) for units, field in fields)


def schedule(steps: int) -> list[float]:
    """Inverse temperatures, denser towards 1, in the proportions of Salakhutdinov & Murray (2008).

    A thirtieth of the steps goes to [0, 0.5], four fifteenths to [0.5, 0.9], the rest to [0.9, 1];
    below 300 steps they are even.

    Examples
    --------
    >>> betas = schedule(1000)
    >>> len(betas), betas[0], betas[-1]
    (1001, 0.0, 1.0)
    """
    steps = whole(1)("betas", steps)
    affordable("betas", steps, float(TEMPERATURE) * steps)
    if steps < 300:
        return torch.linspace(0, 1, steps + 1, dtype=torch.float64).tolist()
    first, second = steps // 30 + 1, 4 * steps // 15
    parts = [(0.0, 0.5, first), (0.5, 0.9, second), (0.9, 1.0, steps - first - second)]
    betas = [torch.linspace(a, b, n + 1, dtype=torch.float64)[:-1] for a, b, n in parts]
    return [*torch.cat(betas).tolist(), 1.0]


@torch.no_grad()
def adaptive_schedule(
    machine: BoltzmannMachine,
    steps: int = 1000,
    *,
    chains: int = 50,
    pilot: int = 200,
    random_state: RandomState = 0,
) -> list[float]:
    r"""Inverse temperatures that share the variance of the log weights out evenly, by a pilot run.

    A step Δβ adds about Δβ² g(β) to the variance, g being the variance of d log f_β/dβ at β. For a
    given number of steps the sum is least where each has the same part of the thermodynamic length
    :math:`\int_0^1 \sqrt{g(\beta)} \, d\beta` (Gelman & Meng 1998; Crooks 2007). Two annealing runs
    of ``chains`` and at most ``pilot`` temperatures measure it, the second at the temperatures that
    the first proposes. A tenth of the steps is spread evenly, in case the pilot has missed
    something.

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0, std=3.0)
    >>> betas = adaptive_schedule(machine, 100)
    >>> len(betas), betas[0], betas[-1]
    (101, 0.0, 1.0)
    """
    steps, stream = whole(1)("betas", steps), as_stream(random_state).child("pilot")
    betas = schedule(min(pilot, 299))  # even temperatures
    for turn in range(2):
        key, trace = stream.child(turn), []  # type: tuple[Stream, list[Tensor]]
        annealed(machine, betas, gibbs.start(machine, chains, key), key, trace=trace)
        lengths = _finite(torch.stack(trace)).std(1).cpu().numpy()
        total, share = lengths.sum(), 0.1 if lengths.any() else 1.0
        rates = share * np.diff(betas) + (0.9 * lengths / total if total > 0 else 0.0)
        reached = np.concatenate([[0.0], np.cumsum(rates)])
        count = steps if turn else len(betas) - 1
        inner = np.interp(np.linspace(0, reached[-1], count + 1), reached, betas)[1:-1]
        betas = [0.0, *inner.tolist(), 1.0]
    return betas


def _temperatures(machine: BoltzmannMachine, betas: Betas, stream: Stream) -> list[float]:
    if isinstance(betas, str):
        choice("adaptive")("betas", betas)
        return adaptive_schedule(machine, random_state=stream)
    if not isinstance(betas, Iterable):
        return schedule(betas)
    return [beta for _, beta in exchanges.temperatures(machine, betas)]


def _finite(logs: Tensor) -> Tensor:
    if not bool(torch.isfinite(logs).all()):
        raise ValueError(f"machine: its annealed log weights or ratios are not finite; {UNSTABLE}")
    return logs


# ------------------------------------------------------------------ importance weights


def from_weights(
    log_weights: Tensor | Array,
    method: str,
    note: str = "",
    *,
    name: str = "log Z",
    sign: float = 1.0,
) -> Measure:
    """``sign`` · log of the mean of independent weights; −1 where they average to 1/Z.

    Examples
    --------
    >>> print(from_weights(np.array([0.0, 0.1, -0.1, 0.0]), "four weights"))
    log Z = 0.00249896 (95 % interval -0.131275 to 0.133545; n = 4, effectively 4; four weights)
    """
    logs = _finite(torch.as_tensor(log_weights)).cpu().numpy()
    value, *ends = (sign * end for end in interval(logs))
    said: dict[str, Any] = {"method": method, "note": note, "warning": warning(logs)}
    return Measure(name, value, min(ends), max(ends), n=len(logs), ess=effective(logs), **said)


def interval(log_weights: Array) -> tuple[float, float, float]:
    r"""(log of the mean weight, lower end, upper end) at 95 %, in closed form.

    Student's interval covers 80 % instead of 95 % of log-normal weights at σ = 2, so two
    corrections are made. With g the sample skewness, the pivot of the ends is Hall's monotone cubic
    in t, t + g t²/3√n + g² t³/27n + g/6√n, solved for ± t_{n−1} (Hall 1992, "On the removal of
    skewness by transformation"). Where the log weights pass for normal (Shapiro and Wilk at 1 %)
    the interval is widened to Cox's for a log-normal mean, which knows of the tail that n weights
    have not shown yet,

    .. math:: \bar\ell + \tfrac12 s_\ell^2 \pm t_{n-1} \sqrt{s_\ell^2 / n + s_\ell^4 / 2(n - 1)}.

    The lower end is at most log 40 below the value: by Markov's inequality an average of positive
    weights with mean Z exceeds 40 Z with probability at most 1/40.
    """
    n, top = len(log_weights), log_weights.max()
    value = float(top + math.log(np.exp(log_weights - top).mean()))
    relative = np.exp(log_weights - value)
    t = float(stats.t.ppf(0.975, n - 1))
    low = high = 0.0
    if (deviation := float(relative.std(ddof=1))) >= 1e-12:
        slope = float(((relative - 1.0) ** 3).mean()) / deviation**3 / 3  # a third of the skewness
        targets = np.array([t, -t]) / math.sqrt(n)
        if abs(slope) >= 1e-9:
            cubic = 1 + 3 * slope * (targets - slope / (2 * n))
            targets = (np.cbrt(cubic) - 1) / slope
        low, high = (math.log(end) if end > 0 else -math.inf for end in 1 - targets * deviation)
    if 3 <= n <= 2000 and np.ptp(log_weights) >= 1e-9 and stats.shapiro(log_weights).pvalue > 0.01:
        variance = float(log_weights.var(ddof=1))
        centre = float(log_weights.mean()) + variance / 2 - value
        half = t * math.sqrt(variance / n + variance**2 / (2 * (n - 1)))
        low, high = min(low, centre - half), max(high, centre + half)
    return value, value + max(low, -math.log(40)), value + high


def pareto_shape(log_weights: Array) -> float:
    """k̂ of a generalised Pareto tail of the weights; moments above 1/k do not exist.

    The tail holds min(n/5, 3√n) weights; the fit is that of Zhang and Stephens (2009) with the weak
    prior of Vehtari, Simpson, Gelman, Yao and Gabry (2024), "Pareto smoothed importance sampling".
    NaN where fewer than five weights are in the tail or they are all equal.
    """
    n, ordered = len(log_weights), np.sort(log_weights)
    if (size := int(min(n / 5, 3 * math.sqrt(n)))) < 5:
        return math.nan
    excess = np.exp(ordered[-size:] - ordered[-1]) - math.exp(ordered[-size - 1] - ordered[-1])
    if excess[-1] <= 1e-12 or excess[0] <= 0:
        return math.nan
    grid = 30 + int(math.sqrt(size))
    places = np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))
    theta = 1 / excess[-1] + (1 - places) / (3 * excess[size // 4])
    shape = np.log1p(-theta[:, None] * excess).mean(1)
    weight = special.softmax(size * (np.log(-theta / shape) - shape - 1))
    fitted = float(np.log1p(-float((theta * weight).sum()) * excess).mean())
    return (fitted * size + 5.0) / (size + 10)


def warning(log_weights: Array) -> str:
    """A sentence where the weights' mean is not to be trusted; else nothing.

    Signs are an effective sample size below 10 %, or a tail whose mean converges too slowly for any
    n at hand, k̂ > 0.7. The tail counts only where the effective sample size is below 50 %, since
    k̂ of a hundred weights is known to about ± 0.3.
    """
    n, few = len(log_weights), effective(log_weights)
    if few < 0.1 * n or few < 3:
        said, cure = f"Few chains carry the estimate ({few:.0f} of {n})", "temperatures"
    elif few < 0.5 * n and (shape := pareto_shape(log_weights)) > 0.7:
        said = f"The largest weights have a heavy tail (Pareto shape {shape:.2f})"
        cure = "temperatures or chains"
    else:
        return ""
    return f"{said}: use more {cure}, and read the interval as too narrow."


# ------------------------------------------------------------------ Bennett's ratio over a ladder


class Draws(NamedTuple):
    """Draws of a ladder.

    ``up`` and ``down`` are log f_{i+1}/f_i at draws of replica i and of replica i + 1, (pairs,
    draws, chains); ``fresh`` (draws, chains) tells whether the last replica's state has been at the
    first; ``samples`` are the last replica's states at the end.
    """

    up: Array
    down: Array
    fresh: Array
    samples: Mapping[str, Tensor]


@torch.no_grad()
def ladder_draws(
    replicas: Sequence[Replica],
    *,
    states: Sequence[Mapping[str, Any]] | None = None,
    chains: int = 100,
    sweeps: int = 500,
    every: int = 5,
    random_state: RandomState = 0,
) -> Draws:
    """Sample a ladder for :func:`bennett`: every ``every``-th sweep after the first third.

    Where no ``states`` are given the chains of each replica start where annealing through the
    ladder brings them, with a sweep at each replica.
    """
    chains, sweeps = whole(2)("chains", chains), whole(1)("sweeps", sweeps)
    stream, found, fresh = as_stream(random_state), [], []
    if states is None:
        states = [gibbs.start(replicas[0].machine, chains, stream.child("start"))]
        for i, (machine, beta) in enumerate(replicas[1:]):
            states.append(gibbs.sweep(machine, states[-1], stream.child("start", i), beta=beta)[0])

    def visit(step: int, now: Sequence[State], been: Tensor) -> None:
        if step >= sweeps // 3 and (sweeps - 1 - step) % every == 0:
            found.append(log_ratios(replicas, now))
            fresh.append(been.cpu().numpy())

    last, _ = exchanges.run(replicas, sweeps, states=states, random_state=stream, visit=visit)
    up, down = (np.stack(part, 1) for part in zip(*found, strict=True))
    return Draws(up, down, np.stack(fresh), last[-1])


@torch.no_grad()
def log_ratios(replicas: Sequence[Replica], states: Sequence[State]) -> tuple[Array, Array]:
    """log f_{i+1}/f_i at the states of replica i and of replica i + 1, each (pairs, rows)."""
    at = [exchanges.Place(replica, state) for replica, state in zip(replicas, states, strict=True)]
    pairs = list(itertools.pairwise(at))
    up = torch.stack([above.with_state_of(below).log - below.log for below, above in pairs])
    down = torch.stack([above.log - below.with_state_of(above).log for below, above in pairs])
    return up.cpu().numpy(), down.cpu().numpy()


def bennett(replicas: Sequence[Replica], draws: Draws) -> Measure:
    """log Z of the last replica: :func:`bennett_ratio` summed along a ladder from β = 0.

    The interval is Student's over the chains, so it holds for draws that are correlated in time and
    between replicas; ``ess`` is the worst pair's. The warning names pairs that hardly overlap,
    pairs whose samples contradict each other, drift, and states that have not travelled. Each of
    its tests gives one false alarm in a thousand ladders.

    Examples
    --------
    >>> from equilibria.models.boltzmann import BoltzmannMachine
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0, std=2.0)
    >>> replicas = exchanges.temperatures(machine, 8)
    >>> z = bennett(replicas, ladder_draws(replicas, chains=50, sweeps=50))
    >>> z.low - 0.1 < exact.log_partition(machine) < z.high + 0.1
    True
    """
    pairs = [bennett_ratio(*both) for both in zip(draws.up, draws.down, strict=True)]
    chains = draws.up.shape[2]
    value = base_log_partition(replicas[0].machine) + sum(pair.value for pair in pairs)
    together = _spread(np.sum([pair.influence for pair in pairs], axis=0))
    error = together if all(math.isfinite(pair.error) for pair in pairs) else math.inf
    half = float(stats.t.ppf(0.975, chains - 1)) * error
    worst = int(np.argmin([pair.ess for pair in pairs]))
    odd = int(np.argmax([abs(pair.consistency) for pair in pairs]))
    drift = np.sum([pair.drift for pair in pairs], axis=0)
    said, t = [], pairs[odd].consistency
    if (few := pairs[worst].ess) < 20:
        where = f"Replicas {worst} and {worst + 1} hardly overlap (effective sample size {few:.0f})"
        said.append(f"{where}: put one between them or draw more.")
    if abs(t) > stats.t.isf(0.5e-3 / len(pairs), chains - 1):
        where = f"The samples of replicas {odd} and {odd + 1} contradict each other (t = {t:.1f})"
        said.append(f"{where}: one of them is not in equilibrium, sweep longer.")
    if abs(moved := drift.sum()) > stats.t.isf(0.5e-3, chains - 1) * _spread(drift) > 0:
        halves = "between the halves of the draws"
        said.append(f"log Z moved by {moved:.2f} nats {halves}: sweep longer.")
    if (share := float(draws.fresh.mean())) < 0.9:
        where = f"Only {100 * share:.0f} % of the last replica's draws have been at β = 0"
        said.append(f"{where}: sweep longer, or use fewer replicas.")
    method = f"Bennett's ratio, {len(replicas)} replicas, {chains} chains, {len(draws.fresh)} draws"
    note = "It needs equilibrium: modes that all replicas miss are not in its interval."
    words: dict[str, Any] = {"method": method, "note": note, "warning": " ".join(said)}
    return Measure("ladder", value, value - half, value + half, ess=few, **words)


class Ratio(NamedTuple):
    """log Z of one replica minus that of the one below.

    ``error`` is its standard error, each chain being one observation however correlated its draws;
    ``ess`` is the number of independent draws that would give this error at the largest distance at
    which replicas still overlap; ``consistency`` is Student's t of the test that the log-odds rise
    with slope 1 in log f_b/f_a, as they do in equilibrium. ``influence`` and ``drift`` (chains,)
    are each chain's part of the value, and of its change between the halves of the draws.
    """

    value: float
    error: float
    ess: float
    consistency: float
    influence: Array
    drift: Array


def bennett_ratio(up: Array, down: Array) -> Ratio:
    """Bennett's ratio from log f_b/f_a at draws of a (``up``) and b (``down``), (draws, chains).

    With p(x) = σ(log f_b/f_a − r + log n_b/n_a), the probability that x came from b, r solves
    Σ_a p = Σ_b (1 − p).
    """
    _finite(torch.as_tensor(up)), _finite(torch.as_tensor(down))
    offset = math.log(down.size / up.size)
    reach = abs(offset) + 40.0

    def mistaken(r: float) -> tuple[Array, Array]:  # p of draws of a, 1 − p of draws of b
        return special.expit(up - r + offset), special.expit(r - down - offset)

    def excess(r: float) -> float:
        p, q = mistaken(r)
        return float(p.sum() - q.sum())

    low, high = min(up.min(), down.min()) - reach, max(up.max(), down.max()) + reach
    value = float(optimize.brentq(excess, low, high, xtol=1e-12, rtol=1e-14))
    p, q = mistaken(value)
    weight_a, weight_b = p * (1 - p), q * (1 - q)
    information = float(weight_a.sum() + weight_b.sum())
    if information < 1e-12:
        return Ratio(value, math.inf, 0.0, 0.0, *np.zeros((2, up.shape[1])))
    influence = (p.sum(0) - q.sum(0)) / information
    error, drift = _spread(influence), (_later(p) - _later(q)) / information
    centre = float((weight_a * up).sum() + (weight_b * down).sum()) / information
    score = ((down - centre) * q).sum(0) - ((up - centre) * p).sum(0)
    # Where states that only one replica has shown decide, the spread is too small.
    told = float((weight_a * (up - centre) ** 2).sum() + (weight_b * (down - centre) ** 2).sum())
    t = float(score.sum()) / max(_spread(score), math.sqrt(told)) if told > 0 else 0.0
    ess = 2 / (error**2 + 1 / up.size + 1 / down.size)
    return Ratio(value, error, ess, t, influence, drift)


def _later(x: Array) -> Array:
    """Twice the sum over the later half of the draws minus the earlier half's, (chains,)."""
    half = len(x) // 2
    return 2 * (x[len(x) - half :].sum(0) - x[:half].sum(0))


def _spread(parts: Array) -> float:
    """The standard error of a sum over chains."""
    return math.sqrt(len(parts)) * float(parts.std(ddof=1))
