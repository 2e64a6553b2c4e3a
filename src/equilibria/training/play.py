"""How an adversarial game went, in sentences: what its logged rows say, and what :class:`equilibria.evaluation.GameMonitor` saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["sentences", "swing"]

Row = Mapping[str, Any]

_ERRORS = 6.0  # standard errors, from which on a difference is spoken of
_PERIODIC = 0.6  # share of one frequency in the margin's variance: noise of 40 rows reaches it once in a million


def sentences(history: Sequence[Row]) -> list[str]:
    """What is wrong with an adversarial run, the gravest first; nothing where no game of that kind was logged.

    Only the last stage is looked at.

    Parameters
    ----------
    history : sequence of mapping
        Rows of ``metrics.jsonl``: those of a round hold ``accuracy``, ``real_logit`` and ``fake_logit``, those of the monitor
        what ``GameMonitor`` measures.

    Examples
    --------
    >>> sentences([{"spread": 0.05, "critic_auc": 0.9, "kernel_distance": 2.0, "kernel_distance_error": 0.1}])
    ['The samples vary only 5 % as much as the data: the generator has collapsed; use packing, R1 and R2 with the relativistic payoff...']
    """
    stage = history[-1].get("stage") if history else None
    rows = [row for row in history if row.get("stage") == stage]
    rounds, looks = [row for row in rows if "accuracy" in row], [row for row in rows if "kernel_distance" in row]
    tail = rounds[-max(1, len(rounds) // 5) :]
    return [*_collapsed(looks), *_classes(looks), *_critic(tail, looks), *_overfitting(looks), *_circling(tail), *_stopping(looks)]


def _collapsed(looks: Sequence[Row]) -> list[str]:
    spread = looks[-1].get("spread", 1.0) if looks else 1.0
    if spread >= 0.3:
        return []
    return [
        f"The samples vary only {100 * spread:.0f} % as much as the data: the generator has collapsed; use packing, R1 and R2 with the "
        "relativistic payoff, or a smaller learning rate."
    ]


def _classes(looks: Sequence[Row]) -> list[str]:
    counted = [row for row in looks if row.get("classes", 0) > 0]
    if not counted:
        return []
    last, best = counted[-1], max(counted, key=lambda row: row["classes_found"])
    found, total = int(last["classes_found"]), int(last["classes"])
    if found < best["classes_found"]:
        return [
            f"Modes were lost: the samples covered {best['classes_found']:.0f} of {total} clusters {_when(best)} and {found} at the end; "
            "use packing, a penalty (R1 and R2), or stop earlier."
        ]
    if found < total:
        return [f"The samples miss {total - found} of {total} clusters of the data: train longer, or use packing or a penalty (R1 and R2)."]
    return []


def _critic(tail: Sequence[Row], looks: Sequence[Row]) -> list[str]:
    """A critic that wins, or one that has given up."""
    accuracy = sum(row["accuracy"] for row in tail) / len(tail) if tail else 0.5
    last = looks[-1] if looks else {}
    auc = last.get("critic_auc", 0.5)
    if accuracy > 0.95 or auc > 0.995:
        told = f"put {100 * auc:.1f} % of real rows above samples"
        if accuracy > 0.95:
            told = f"told {100 * accuracy:.0f} % of real and generated rows apart"
        return [
            f"The critic {told} at the end: the generator learns little from it; lower its learning rate or k, or use the "
            "non-saturating payoff."
        ]
    if "critic_auc" in last and auc < 0.55 and last["kernel_distance"] > _ERRORS * last["kernel_distance_error"]:
        return [
            f"The critic puts a real row above a sample {100 * auc:.0f} times in 100, where 50 is chance, though they differ (kernel "
            f"distance {last['kernel_distance']:.3g}): it has collapsed; raise its learning rate or k, give it more units, or lower a "
            "penalty."
        ]
    return []


def _overfitting(looks: Sequence[Row]) -> list[str]:
    """Karras et al. 2020: where held-out rows stand between samples and training rows."""
    last = looks[-1] if looks else {}
    if "held_out_logit" not in last:
        return []
    gap, range_ = last["train_logit"] - last["held_out_logit"], last["train_logit"] - last["sampled_logit"]
    if gap < _ERRORS * last["logit_error"] or gap < 0.4 * range_:
        return []
    return [
        f"The critic knows the training rows by heart: its logit is {last['train_logit']:.2f} on them, {last['held_out_logit']:.2f} on "
        f"held-out rows and {last['sampled_logit']:.2f} on samples; give it more data, fewer units, instance noise or a penalty (R1), or "
        "stop earlier."
    ]


def _circling(tail: Sequence[Row]) -> list[str]:
    if len(tail) < 5:
        return []
    margin = np.array([row["real_logit"] - row["fake_logit"] for row in tail], dtype=float)
    width, level = float(np.ptp(margin)), max(1.0, abs(float(margin.mean())))
    rhythm = swing(margin)
    periodic = len(margin) >= 20 and rhythm is not None and rhythm[1] > _PERIODIC and width > level
    if width <= 4 * level and not periodic:
        return []
    apart = (tail[-1].get("step", len(tail)) - tail[0].get("step", 1)) / (len(tail) - 1)
    turns = f", once in about {rhythm[0] * apart:.0f} rounds" if periodic and rhythm is not None else ""
    return [
        f"The critic's margin swung by {width:.1f} over the last fifth of the run{turns}: the players circle; lower both learning rates, "
        "or use a penalty (R1), an optimistic or extragradient solver, or averaging."
    ]


def swing(values: np.ndarray) -> tuple[float, float] | None:
    """The dominant period of a curve, in its own steps, and its share in the variance about the curve's trend.

    None for a curve without three periods in it, or one that does not vary: a slow bend, or a random walk's, is no oscillation.

    Examples
    --------
    >>> period, share = swing(np.sin(2 * np.pi * np.arange(40) / 8) + 0.1 * np.arange(40))
    >>> period, share > 0.95
    (8.0, True)
    """
    steps = np.arange(len(values))
    rest = values - np.polyval(np.polyfit(steps, values, 1), steps) if len(values) > 3 else np.zeros(0)
    power = np.square(np.abs(np.fft.rfft(rest)))[1:] if len(rest) else np.zeros(0)
    if not power.sum() > 1e-20 * len(values) * np.square(values).sum() or power.argmax() < 2:
        return None
    return len(values) / float(power.argmax() + 1), float(power.max() / power.sum())


def _stopping(looks: Sequence[Row]) -> list[str]:
    """Said where the best of several looks was long ago, and the last ones are worse beyond chance."""
    if len(looks) < 5:
        return []
    best = min(looks, key=lambda row: row["kernel_distance"])
    late = looks[-2:]
    if looks.index(best) > 0.7 * (len(looks) - 1):
        return []
    if any(row["kernel_distance"] - best["kernel_distance"] < _ERRORS * _error(row, best) for row in late):
        return []
    return [
        f"The samples were nearest to the data {_when(best)} (kernel distance {best['kernel_distance']:.3g}, at the end "
        f"{looks[-1]['kernel_distance']:.3g}): stop there, or lower the learning rates."
    ]


def _error(*rows: Row) -> float:
    return float(np.sqrt(sum(row["kernel_distance_error"] ** 2 for row in rows)))


def _when(row: Row) -> str:
    return f"at step {row['step']:,}" if "step" in row else "earlier"
