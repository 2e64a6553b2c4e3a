"""What the numbers of an evaluation say about trust: rows of (when, sentence)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from equilibria.evaluation.two_sample import C2ST, SEEN
from equilibria.numbers import Measure

__all__ = ["ROWS", "remarks"]


def _short(m: Measure) -> bool:
    """Whether a share falls short of a perfect sampler's beyond chance and by a tenth."""
    return None not in (m.high, m.ideal) and max(float(m.high or 0), m.value / 0.9) < (m.ideal or 0)


def _blind(m: Measure) -> bool:
    """Whether a classifier sees no significant difference."""
    return not m.warning


_GAP, _COPIES = " gap, nats", "among the nearest real rows"
_APART = "Boosted trees put a sample above a real row in {value:.0%} of pairs, where 50 % would be "
_APART += "chance"
ROWS: tuple[tuple[str, Callable[[Measure], bool], str], ...] = (
    (
        " found",
        lambda m: m.value < (m.ideal or 0),
        "The samples miss {missed:.0f} of {all} {what}.",
    ),
    (" found", lambda m: m.value == m.ideal, "All {ideal:.0f} {what} are found among the samples."),
    (
        _GAP,
        lambda m: m.chance is not None and m.value > m.chance,
        "It fits training rows better than held-out ones, by {value:.2f} nats a row: it overfits "
        "to that degree.",
    ),
    (
        _GAP,
        lambda m: m.chance is not None and m.value <= m.chance,
        "It fits training rows no better than held-out ones, beyond what chance may give: no sign "
        "of overfitting.",
    ),
    (C2ST, _blind, f"{_APART}: no significant difference, but {{unseen}}."),
    (C2ST, lambda m: not _blind(m) and m.value <= 0.75, f"{_APART}."),
    (
        C2ST,
        lambda m: not _blind(m) and m.value > 0.75,
        f"{_APART}: the samples are not yet as the data are.",
    ),
    (_COPIES, lambda m: bool(m.warning), "{warning}"),
    (_COPIES, lambda m: bool(m.note) and not m.warning, "{note}"),
    (
        "precision",
        _short,
        "Only {value:.0%} of the samples have a real row near them, where a perfect sampler "
        "reaches {ideal:.0%}: samples are not like the data.",
    ),
    (
        "coverage",
        _short,
        "Only {value:.0%} of the real rows have a sample near them, where a perfect sampler "
        "reaches {ideal:.0%}: parts of the data are missing among the samples.",
    ),
    ("predicted classes", lambda m: True, "It names the class of {value:.1%} of the rows rightly."),
)
"""How a measure's name ends, when the sentence is said, and the sentence."""


def remarks(results: Sequence[Measure], judged: bool = False) -> list[str]:
    """What the numbers say about trust, as sentences; ``judged`` leaves out what a verdict says.

    >>> remarks([Measure("classes found", 8, n=1000, ideal=10)])
    ['The samples miss 2 of 10 classes.']
    """
    found = []
    for measure in results:
        for ending, when, sentence in ROWS:
            if judged and ending in (C2ST, _COPIES):
                continue
            if measure.name.endswith(ending) and when(measure):
                ideal = measure.ideal or 0
                said: dict[str, Any] = {"what": measure.name.removesuffix(ending)}
                said |= {"all": f"{ideal:.0f}", "missed": ideal - measure.value}
                said["unseen"] = _unseen(measure)
                text = sentence.format(**vars(measure), **said)
                found.append(text.replace("%", " %").replace("  %", " %"))
    return found


def _unseen(measure: Measure) -> str:
    """What a two-sample test of so many rows would not have seen, as its note says."""
    if not measure.parts:
        return "a small difference would not have been seen"
    return f"a share below {measure[SEEN].value:.1%} would hardly have been seen"
