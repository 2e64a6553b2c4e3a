"""Numbers a person can act on: the curves of a run as sentences.

What can be wrong is a table, :data:`ROWS`: a condition on the numbers of a run's last stage, and
what is said where it holds. A number that was not logged has a value that nothing is wrong with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace as Numbers
from typing import Any

import numpy as np

__all__ = ["FINE", "ROWS", "sentences", "swing"]

FINE = "The curves of this run show no fault; whether it is right held-out rows tell: verdict(X)."
_ERRORS = 6.0  # standard errors, from which on a difference is spoken of
_PERIODIC = 0.6  # share of one frequency in the variance: noise of 40 rows has it once in a million
_NAMES = "dead_units mean_field_change frozen_chains free_energy_gap free_energy_gap_floor"
_NAMES += " held_out_loss kernel_distance kernel_distance_error logit_error sampled_logit"
_NAMES += " train_logit classes classes_found contrast real_logit train_objective"
_HARMLESS = dict.fromkeys(_NAMES.split(), 0.0)
_HARMLESS |= {"critic_auc": 0.6, "r_hat": 1.0, "swap_acceptance": 1.0, "spread": 1.0}
_HARMLESS |= dict.fromkeys(
    ("held_out_logit", "contrast_limit", "independent_objective"), float("inf")
)
_EXPLODED = 1e4  # a critic's logit, beyond which the players' costs are no longer about the rows
ROWS: tuple[tuple[Callable[[Numbers], bool], str], ...] = (
    (
        lambda v: v.behind > 0.5,
        "Training rows are at least {behind:,.3g} nats a row less likely than under independent "
        "columns: the updates overshot, or were too few; use a learning rate three to ten times "
        "smaller, or train longer.",
    ),
    (
        lambda v: abs(v.real_logit) > _EXPLODED,
        "The critic's logit of real rows is {real_logit:.3g}: the players' updates overshot; use "
        "learning rates three to ten times smaller, or a penalty (R1).",
    ),
    (
        lambda v: v.dead_units > 0.3,
        "{dead_units:.0%} of the hidden units are always off or always on: use fewer of them, or a "
        "smaller learning rate.",
    ),
    (
        lambda v: v.mean_field_change > 0.1,
        "Mean field still moved by {mean_field_change:.2f} in its last training step: raise "
        "mean_field_steps (of a DBM), or lower the learning rate.",
    ),
    (
        lambda v: v.frozen_chains > 0.01,
        "{frozen_chains:.0%} of the chains stood still at the end: use a smaller learning rate, or "
        "method='tempered'.",
    ),
    (
        lambda v: v.r_hat > 1.5,
        "The chains keep to places of their own (R̂ of the energy is {r_hat:.1f}, ideally 1): "
        "samples depend on where they start; use more chains, method='tempered' or 'trajectory', "
        "or more sweeps when sampling.",
    ),
    (
        lambda v: 1.1 < v.r_hat <= 1.5,
        "The chains had not settled in the sweeps over which they were watched (R̂ of the energy "
        "is {r_hat:.2f}, 1.01 where they have): use more sweeps when sampling, or a larger k.",
    ),
    (
        lambda v: v.swap_acceptance < 0.05,
        "Only {swap_acceptance:.0%} of swaps are accepted at the ladder's narrowest place: use "
        "more replicas.",
    ),
    (
        lambda v: v.free_energy_gap > max(v.free_energy_gap_floor, 0.5),
        "Training rows fit better than held-out ones by {free_energy_gap:.1f} nats a row (chance: "
        "{free_energy_gap_floor:.1f}): the machine overfits; use a weight decay, fewer hidden "
        "units, or fewer updates.",
    ),
    (
        lambda v: v.held_out_loss > 0,
        "An earlier machine fitted held-out rows better than the last one, by {held_out_loss:.2g} "
        "nats a row, and is the one that was kept: use fewer updates, or a smaller learning rate.",
    ),
    (
        lambda v: v.spread < 0.3,
        "The samples vary only {spread:.0%} as much as the data: the generator has collapsed; use "
        "packing, R1 and R2 with the relativistic payoff, or a smaller learning rate.",
    ),
    (
        lambda v: v.classes_found < v.most,
        "Modes were lost: the samples covered {most:.0f} of {classes:.0f} clusters {most_at} and "
        "{classes_found:.0f} at the end; use packing, a penalty (R1 and R2), or stop earlier.",
    ),
    (
        lambda v: v.most <= v.classes_found < v.classes,
        "The samples miss {missed:.0f} of {classes:.0f} clusters of the data: train longer, or use "
        "packing or a penalty (R1 and R2).",
    ),
    (
        lambda v: bool(v.won),
        "The critic {won} at the end: the generator learns little from it; lower its learning rate "
        "or k, or use the non-saturating payoff.",
    ),
    (
        lambda v: not v.won and v.critic_auc < 0.55 and v.differs,
        "The critic puts a real row above a sample {auc_of_100:.0f} times in 100, where 50 is "
        "chance, though they differ (kernel distance {kernel_distance:.3g}): it has collapsed; "
        "raise its learning rate or k, give it more units, or lower a penalty.",
    ),
    (  # Karras et al. 2020: where held-out rows stand between samples and training rows
        lambda v: (
            v.overfit >= max(_ERRORS * v.logit_error, 0.4 * (v.train_logit - v.sampled_logit))
        ),
        "The critic knows the training rows by heart: its logit is {train_logit:.2f} on them, "
        "{held_out_logit:.2f} on held-out rows and {sampled_logit:.2f} on samples; give it more "
        "data, fewer units, instance noise or a penalty (R1), or stop earlier.",
    ),
    (
        lambda v: v.swung > 4 * v.margin or bool(v.turns),
        "The critic's margin swung by {swung:.1f} over the last fifth of the run{turns}: the "
        "players circle; lower both learning rates, or use a penalty (R1), an optimistic or "
        "extragradient solver, or averaging.",
    ),
    (
        lambda v: v.nearest is not None,
        "The samples were nearest to the data {nearest_at} (kernel distance {nearest:.3g}, at the "
        "end {kernel_distance:.3g}): stop there, or lower the learning rates.",
    ),
)


def sentences(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the logged rows say, the gravest first; one reassuring sentence if nothing is wrong.

    Only the last stage is looked at.

    >>> sentences([{"step": 1, "stage": "train", "dead_units": 0.6}])
    ['60 % of the hidden units are always off or always on: use fewer of them, or a smaller ...']
    """
    stage = history[-1].get("stage") if history else None
    rows = [row for row in history if row.get("stage") == stage]
    last = {name: value for row in rows for name, value in row.items()}  # of whatever was logged
    v = Numbers(**{**_HARMLESS, **last})
    counted = [row for row in rows if row.get("classes", 0) > 0] or [_HARMLESS]
    most = max(counted, key=lambda row: row["classes_found"])
    v.classes, v.classes_found = counted[-1]["classes"], counted[-1]["classes_found"]
    v.most, v.most_at, v.missed = most["classes_found"], _when(most), v.classes - v.classes_found
    v.differs = v.kernel_distance > _ERRORS * v.kernel_distance_error
    floor = 1.01 * v.independent_objective  # of all rows, where the objective is of some
    v.behind = max(v.contrast - v.contrast_limit, v.train_objective - floor)
    v.auc_of_100, v.overfit = 100 * v.critic_auc, v.train_logit - v.held_out_logit
    best = _left_behind([row for row in rows if "kernel_distance" in row])
    v.nearest, v.nearest_at = best and best["kernel_distance"], best and _when(best)
    _circling(v, [row for row in rows if "accuracy" in row])
    found = [text.format(**vars(v)) for wrong, text in ROWS if wrong(v)]
    return [re.sub(r"(?<=[0-9])%", " %", sentence) for sentence in found] or [FINE]


def _circling(v: Numbers, steps: Sequence[Mapping[str, Any]]) -> None:
    """Whether the critic won over the last fifth of the run, and how its margin swings there."""
    tail = steps[-max(1, len(steps) // 5) :]
    accuracy = float(np.mean([row["accuracy"] for row in tail])) if tail else 0.5
    v.won = f"put {v.critic_auc:.1%} of real rows above samples" if v.critic_auc > 0.995 else ""
    if accuracy > 0.95:
        v.won = f"told {accuracy:.0%} of real and generated rows apart"
    v.swung, v.margin, v.turns = 0.0, 1.0, ""
    if len(tail) < 5:
        return
    margin = np.array([row["real_logit"] - row["fake_logit"] for row in tail], dtype=float)
    v.swung, v.margin = float(np.ptp(margin)), max(1.0, abs(float(margin.mean())))
    period, share = swing(margin)
    if len(margin) >= 20 and share > _PERIODIC and v.swung > v.margin:
        apart = tail[-1].get("step", len(tail)) - tail[0].get("step", 1)
        v.turns = f", once in about {period * apart / (len(tail) - 1):.0f} rounds"


def swing(values: np.ndarray) -> tuple[float, float]:
    """The dominant period of a curve, in its own steps, and its share in the variance about a line.

    (0, 0) without three periods: a slow bend, or a random walk's, is no oscillation.

    >>> period, share = swing(np.sin(2 * np.pi * np.arange(40) / 8) + 0.1 * np.arange(40))
    >>> period, share > 0.95
    (8.0, True)
    """
    from scipy import signal

    rest = signal.detrend(values)
    power = np.square(np.abs(np.fft.rfft(rest)))[1:]
    least = 1e-20 * len(values) * np.square(values).sum()  # what rounding leaves of a line
    if not power.sum() > least or power.argmax() < 2:
        return 0.0, 0.0
    return len(values) / float(power.argmax() + 1), float(power.max() / power.sum())


def _left_behind(checks: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The best of several validation checks, where it was long ago and the last two are worse."""
    best = min(checks, key=lambda row: row["kernel_distance"], default=None)
    if best is None or len(checks) < 5 or checks.index(best) > 0.7 * (len(checks) - 1):
        return None
    for row in checks[-2:]:
        error = np.hypot(row["kernel_distance_error"], best["kernel_distance_error"])
        if row["kernel_distance"] - best["kernel_distance"] < _ERRORS * error:
            return None
    return best


def _when(row: Mapping[str, Any]) -> str:
    return f"at step {row['step']:,}" if "step" in row else "earlier"
