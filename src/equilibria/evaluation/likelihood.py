"""Likelihood of undirected models: log Z, the bound on held-out log-likelihood, and the gap to the training rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from scipy import stats

from equilibria.estimate import Estimate
from equilibria.evaluation.bounds import described, gap, less_log_z, refuse_few
from equilibria.inference import annealing, bennett, exact
from equilibria.inference.clamp import Clamp, count_of, parse
from equilibria.inference.completion import Evidence, evidence
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.numbers import Measure
from equilibria.random import RandomState, as_stream

__all__ = ["MAX_STATES", "TwoSided", "both_sides", "bound", "free_energy_gap", "log_partition"]

MAX_STATES = 2**16
"""The largest number of states for which log Z is enumerated rather than annealed: about a second's work."""

WIDE = 1.0
"""How many nats the sides of log Z may be apart before that is said, however wide their intervals."""


@dataclasses.dataclass(frozen=True)
class TwoSided:
    """log Z from both sides, and from a ladder where one was run.

    Attributes
    ----------
    forward : Estimate
        Annealing from the base rates up, which tends to fall short.
    reverse : Estimate
        Annealing from the model's samples down, which tends to overshoot, if they are the model's.
    ladder : Estimate or None
        Bennett's ratio over a ladder of temperatures.

    Examples
    --------
    >>> low = Estimate(99.0, 98.9, 99.1, "AIS", "log Z")
    >>> both = TwoSided(low, Estimate(100.5, 100.2, 100.8, "reverse AIS", "log Z"))
    >>> both.gap, both.agree, both.worse.value
    (1.5, False, 100.5)
    >>> TwoSided.from_json(both.to_json()) == both
    True
    """

    forward: Estimate
    reverse: Estimate
    ladder: Estimate | None = None

    @property
    def sides(self) -> tuple[Estimate, ...]:
        """All estimates that there are."""
        return (self.forward, self.reverse) if self.ladder is None else (self.forward, self.reverse, self.ladder)

    @property
    def gap(self) -> float:
        """Reverse minus forward, in nats: how much log Z is open, where the samples were the model's."""
        return self.reverse.value - self.forward.value

    @property
    def spread(self) -> float:
        """The largest estimate minus the smallest, in nats."""
        return max(e.value for e in self.sides) - min(e.value for e in self.sides)

    @property
    def agree(self) -> bool:
        """Whether every two intervals meet and no two values are more than a nat apart."""
        return max(e.low for e in self.sides) <= min(e.high for e in self.sides) and self.spread <= WIDE

    @property
    def worse(self) -> Estimate:
        """The largest estimate, which makes the likelihood smallest; its interval takes in the intervals of all sides."""
        largest = max(self.sides, key=lambda e: e.value)
        return dataclasses.replace(
            largest,
            low=min(e.low for e in self.sides),
            high=max(e.high for e in self.sides),
            method=f"the larger of {' and '.join(e.method for e in self.sides)}",
            caveat=self.warning or "Both sides agree; modes that none of them has met are not in the interval.",
            warning=self.warning,
        )

    @property
    def warning(self) -> str:
        """What does not fit, in sentences: the sides apart, or weights degenerate; empty where nothing was seen."""
        named = {"Forward AIS": self.forward, "Reverse AIS": self.reverse, "The ladder": self.ladder}
        sentences = [f"{name}: {e.warning}" for name, e in named.items() if e is not None and e.warning]
        if not self.agree:
            values = ", ".join(f"{name[0].lower() + name[1:]} {e.value:.2f}" for name, e in named.items() if e is not None)
            sentences.insert(0, f"The estimates of log Z are {self.spread:.2f} nats apart ({values}): {self._cure()}")
        return " ".join(sentences)

    def _cure(self) -> str:
        if self.reverse.value < self.forward.value:
            return "the reverse side is the lower one, so its samples are not the model's: sample longer, or from a tempering ladder."
        return "anneal through more temperatures, and take the larger one until they meet."

    def __str__(self) -> str:
        parts = [str(e) for e in self.sides]
        return "\n".join([*parts, self.warning or f"The sides agree: {self.spread:.2f} nats apart."])

    def to_json(self) -> dict[str, Any]:
        """A dictionary for a run folder."""
        return {name: None if e is None else e.to_json() for name, e in vars(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TwoSided:
        """The inverse of :meth:`to_json`."""
        ladder = data.get("ladder")
        return cls(Estimate.from_json(data["forward"]), Estimate.from_json(data["reverse"]), ladder and Estimate.from_json(ladder))


def log_partition(
    machine: BoltzmannMachine,
    random_state: RandomState = 0,
    betas: annealing.Betas = 1000,
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


def both_sides(
    machine: BoltzmannMachine,
    samples: Mapping[str, Any] | None = None,
    *,
    source: str = "chains",
    betas: annealing.Betas = "adaptive",
    chains: int = 100,
    ladder: bool | Mapping[str, Any] | None = None,
    random_state: RandomState = 0,
    progress: Callable[[int, int], None] | None = None,
) -> TwoSided:
    """log Z by annealing up from the base rates and down from the model's samples, through the same temperatures.

    The way down is an upper side only where ``samples`` really are the model's, in its modes' proportions: from a tempering ladder,
    or from chains much longer than they need to go between modes. Chains that have met some modes only make both sides
    too small together, and nothing can tell; where no samples are given they are therefore drawn by a ladder.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model, of any units.
    samples : mapping of str to array, optional
        States of every layer, (rows, size), one annealing run each; by default the ladder's.
    source : {"chains", "tempering", "exact"}
        Where ``samples`` come from: the caveat says so.
    betas, chains, random_state, progress
        Of annealing: see :func:`equilibria.inference.annealing.log_partition`. The temperatures are adaptive by default.
    ladder : bool or mapping, optional
        Whether log Z is taken from a ladder as well (by default where no samples are given), or its options: see
        :func:`equilibria.inference.bennett.ladder`.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0, std=2.0)
    >>> both = both_sides(machine, betas=200, ladder={"betas": 5, "chains": 50, "sweeps": 100})
    >>> both.agree, both.warning
    (True, '')
    """
    stream = as_stream(random_state)
    steps = annealing.temperatures(machine, betas, stream)
    found = None
    if ladder or (ladder is None and samples is None):
        options: dict[str, Any] = {"chains": chains, "random_state": stream, **(ladder if isinstance(ladder, Mapping) else {})}
        found = bennett.ladder(machine, **options)
    if samples is None:
        if found is None:
            raise ValueError("samples: none came and ladder=False; give the model's samples, or let the ladder draw them")
        samples, source = found.samples, "tempering"
    forward = annealing.log_partition(machine, chains=chains, betas=steps, random_state=stream, progress=progress)
    reverse = annealing.reverse_log_partition(machine, samples, betas=steps, source=source, random_state=stream, progress=progress)
    return TwoSided(forward, reverse, None if found is None else found.estimate)


def bound(
    machine: BoltzmannMachine,
    values: Any,
    log_z: Estimate | TwoSided | None = None,
    *,
    log_volume: Any = 0.0,
    random_state: RandomState = 0,
    tolerance: float = 1e-6,
    max_steps: int = 1000,
) -> Estimate:
    r"""Mean over rows of the variational lower bound on log p(v), in nats.

    .. math:: \frac1n \sum_i \left( E_Q[-E(v_i, h)] + H(Q_i) \right) - \log Z

    Where all free layers are of one colour (a restricted Boltzmann machine) Q is the posterior itself, and where a layer of labels is free
    besides, the sum over the classes is exact (:func:`equilibria.inference.completion.evidence`): given log Z the value is the mean
    log-likelihood, and is called so.

    Parameters
    ----------
    machine : BoltzmannMachine
        The model.
    values : array or tensor, shape (n, size), or mapping
        Held-out rows of the first layer, or a clamp: layer → values or (values, mask).
    log_z : Estimate or TwoSided, optional
        By default :func:`log_partition` with ``random_state``. Of two sides the worse one counts: the one that makes the bound smaller.
    log_volume : float or array of shape (n,)
        What is taken from each row's value: log |dx / d(encoded)| of its observed cells, for a density in another scale than the machine's.
    random_state : int, Stream or numpy generator
        For log Z where it is not given.
    tolerance, max_steps
        Of mean field: see :func:`equilibria.inference.mean_field`. A row that stops early has a lower bound all the same.

    Returns
    -------
    Estimate
        Its interval joins the standard error over the rows (of one row there is none) and log Z's interval in quadrature; the caveat says
        what the interval of an estimated log Z does not cover.

    Raises
    ------
    ValueError
        For no rows, a wrong shape, or values that the layer cannot take.

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
    found = _evidence(machine, values, "values", tolerance, max_steps, least=1)
    log_z = log_partition(machine, random_state) if log_z is None else log_z.worse if isinstance(log_z, TwoSided) else log_z
    level = log_z.level
    lower = _numbers(found) - np.asarray(log_volume)
    n, late = len(lower), int((~found.converged).sum())
    error = 0.0 if n == 1 else float(stats.t.ppf(0.5 + level / 2, n - 1)) * float(lower.std(ddof=1)) / math.sqrt(n)
    said = f"Mean field had not converged on {late} of {n} rows, whose bound could be tighter." if late else ""
    return less_log_z(float(lower.mean()), error, log_z, described(n, log_z, error), exact=bool(found.exact.all()), rows=n, said=said)


def free_energy_gap(machine: BoltzmannMachine, train: Any, held_out: Any, *, tolerance: float = 1e-6, max_steps: int = 1000) -> Measure:
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
    Measure
        Near 0 without overfitting and growing with it; its floor is 1.96 standard errors.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> machine = BoltzmannMachine.stack(Bernoulli(4), Bernoulli(3))
    >>> free_energy_gap(machine, torch.eye(4), torch.ones(5, 4)).value
    0.0
    """
    both = [_evidence(machine, rows, name, tolerance, max_steps) for name, rows in (("train", train), ("held_out", held_out))]
    seen, unseen = (_numbers(found) for found in both)
    return gap(seen, unseen, exact=bool(both[0].exact.all()))


def _evidence(machine: BoltzmannMachine, values: Any, name: str, tolerance: float, max_steps: int, least: int = 2) -> Evidence:
    """Of rows of the first layer or a clamp, ``least`` or more."""
    clamp: Clamp = values if isinstance(values, Mapping) else _first_layer(machine, values, name, least)
    held = parse(machine, clamp)
    refuse_few(count_of(held), name, least)
    return evidence(machine, held, tolerance=tolerance, max_steps=max_steps)


def _numbers(found: Evidence) -> np.ndarray:
    return found.values.double().cpu().numpy()


def _first_layer(machine: BoltzmannMachine, values: Any, name: str, least: int) -> dict[str, torch.Tensor]:
    layer = next(iter(machine.layers))
    units = machine.units(layer)
    tensor = torch.as_tensor(values, dtype=machine.dtype, device=machine.device)
    if tensor.ndim != 2 or tensor.shape[1] != units.size:
        raise ValueError(f"{name}: expected shape (rows, {units.size}) for layer {layer!r}, found {tuple(tensor.shape)}")
    refuse_few(len(tensor), name, least)
    units.check(tensor, name)
    return {layer: tensor}
