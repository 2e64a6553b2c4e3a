"""Numbers a person can act on: the curves of a run as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from equilibria.estimate import Estimate

__all__ = ["sentences"]


def sentences(history: Sequence[Mapping[str, Any]], facts: Mapping[str, Any] | None = None) -> list[str]:
    """What the logged rows and the final facts say, the gravest first; one reassuring sentence if nothing is wrong.

    Parameters
    ----------
    history : sequence of mapping
        Rows of ``metrics.jsonl``.
    facts : mapping, optional
        ``log_partition``: the final Estimate of log Z.

    Examples
    --------
    >>> sentences([{"step": 1, "stage": "train", "dead_units": 0.6}])
    ['60 % of the hidden units are always off or always on: use fewer of them, or a smaller learning rate.']
    """
    facts = facts or {}
    found = [*_boltzmann(_last(history)), *_log_partition(facts.get("log_partition")), *_adversarial(history)]
    return found or ["Nothing in the curves of this run looks wrong."]


def _last(history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return history[-1] if history else {}


def _boltzmann(last: Mapping[str, Any]) -> list[str]:
    found = []
    dead = last.get("dead_units", 0.0)
    if dead > 0.3:
        found.append(f"{100 * dead:.0f} % of the hidden units are always off or always on: use fewer of them, or a smaller learning rate.")
    change = last.get("mean_field_change", 0.0)
    if change > 0.1:
        found.append(f"Mean field still moved by {change:.2f} in its last training step: raise mean_field_steps.")
    return found


def _log_partition(estimate: Estimate | None) -> list[str]:
    if estimate is None or estimate.exact:
        return []
    found = []
    if estimate.ess is not None and estimate.samples and estimate.ess < 0.1 * estimate.samples:
        found.append(
            f"Only {estimate.ess:.0f} of {estimate.samples} AIS chains carry the estimate of log Z: "
            "raise ais_betas, and take the log-likelihood as optimistic until then."
        )
    if estimate.high - estimate.low > 2:
        found.append(f"log Z is known to no better than {estimate.high - estimate.low:.1f} nats: raise ais_betas or ais_chains.")
    return found


def _adversarial(history: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [row for row in history if "accuracy" in row]
    tail = rows[-max(1, len(rows) // 5) :]
    if not tail:
        return []
    accuracy = sum(row["accuracy"] for row in tail) / len(tail)
    found = []
    if accuracy > 0.95:
        found.append(
            f"The critic told {100 * accuracy:.0f} % of real and generated rows apart at the end: the generator learns little from it; "
            "lower its learning rate or k, or use the non-saturating payoff."
        )
    logits = [row["real_logit"] - row["fake_logit"] for row in tail]
    spread = max(logits) - min(logits)
    if len(tail) >= 5 and spread > 4 * max(1.0, abs(sum(logits) / len(logits))):
        found.append(
            f"The critic's margin swung by {spread:.1f} over the last fifth of the run: the players circle; lower both learning rates."
        )
    return found
