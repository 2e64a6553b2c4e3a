"""Numbers a person can act on: the curves of a run as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from equilibria.numbers import Measure
from equilibria.training import play

__all__ = ["sentences"]


def sentences(history: Sequence[Mapping[str, Any]], facts: Mapping[str, Any] | None = None) -> list[str]:
    """What the logged rows and the final facts say, the gravest first; one reassuring sentence if nothing is wrong.

    Parameters
    ----------
    history : sequence of mapping
        Rows of ``metrics.jsonl``.
    facts : mapping, optional
        ``log_partition``: the final Measure of log Z; ``sides``: both sides of it (``agree``, ``warning``); ``rotation``: the
        :class:`~equilibria.training.rotation.Rotation` of a small game.

    Examples
    --------
    >>> sentences([{"step": 1, "stage": "train", "dead_units": 0.6}])
    ['60 % of the hidden units are always off or always on: use fewer of them, or a smaller learning rate.']
    """
    facts = facts or {}
    rotation = facts.get("rotation")
    found = [
        *_boltzmann(_last(history)),
        *_log_partition(facts.get("log_partition")),
        *play.sentences(history),
        *([str(rotation)] if rotation is not None and rotation.circles else []),
    ]
    return found or ["Nothing in the curves of this run looks wrong."]


def _last(history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The last value of everything that was logged in the last stage: some rows hold what is watched, others what is paid."""
    stage = history[-1].get("stage") if history else None
    return {name: value for row in history if row.get("stage") == stage for name, value in row.items()}


def _boltzmann(last: Mapping[str, Any]) -> list[str]:
    return [*_units(last), *_chains(last), *_gap(last)]


def _chains(last: Mapping[str, Any]) -> list[str]:
    found = []
    frozen = last.get("frozen_chains", 0.0)
    if frozen > 0.01:
        found.append(f"{100 * frozen:.0f} % of the chains stood still at the end: use a smaller learning rate, or method='tempered'.")
    r_hat = last.get("r_hat", 1.0)
    if r_hat > 1.5:
        found.append(
            f"The chains keep to places of their own (R̂ of the energy is {r_hat:.1f}, ideally 1): samples depend on where they start; "
            "use more chains, method='tempered' or 'trajectory', or more sweeps when sampling."
        )
    swaps = last.get("swap_acceptance", 1.0)
    if swaps < 0.05:
        found.append(f"Only {100 * swaps:.0f} % of swaps are accepted at the ladder's narrowest place: use more rungs.")
    return found


def _gap(last: Mapping[str, Any]) -> list[str]:
    gap, floor = last.get("free_energy_gap", 0.0), last.get("free_energy_gap_floor", 0.0)
    found = []
    if gap > max(floor, 0.5):
        found.append(
            f"Training rows fit better than held-out ones by {gap:.1f} nats a row (chance: {floor:.1f}): the machine overfits; "
            "use a weight decay, fewer hidden units, or fewer updates."
        )
    loss = last.get("held_out_loss", 0.0)
    if loss:
        found.append(
            f"An earlier machine fitted held-out rows better than the last one, by {loss:.2g} nats a row, and is the one that was kept: "
            "use fewer updates, or a smaller learning rate."
        )
    return found


def _units(last: Mapping[str, Any]) -> list[str]:
    found = []
    dead = last.get("dead_units", 0.0)
    if dead > 0.3:
        found.append(f"{100 * dead:.0f} % of the hidden units are always off or always on: use fewer of them, or a smaller learning rate.")
    change = last.get("mean_field_change", 0.0)
    if change > 0.1:
        remedy = "raise mean_field_steps (of a DBM), or lower the learning rate"
        found.append(f"Mean field still moved by {change:.2f} in its last training step: {remedy}.")
    return found


def _log_partition(estimate: Measure | None) -> list[str]:
    if estimate is None or estimate.is_exact:
        return []
    apart = "nats apart" in estimate.warning
    found = [f"Both sides of log Z do not meet. {estimate.warning}"] if apart else []
    if estimate.ess is not None and estimate.n and estimate.ess < 0.1 * estimate.n:
        found.append(
            f"Only {estimate.ess:.0f} of {estimate.n} AIS chains carry the estimate of log Z: "
            "raise ais_betas, and take the log-likelihood as optimistic until then."
        )
    if estimate.high - estimate.low > 2:
        found.append(f"log Z is known to no better than {estimate.high - estimate.low:.1f} nats: raise ais_betas or ais_chains.")
    return found
