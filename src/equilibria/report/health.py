"""What the numbers of an evaluation say about trust: rows of (when, sentence)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from equilibria.numbers import Measure

__all__ = ["ROWS", "remarks"]


def _short(m: Measure) -> bool:
    """Whether a share falls short of a perfect sampler's beyond chance and by a tenth."""
    if m.high is None or m.ideal is None:
        return False
    return max(m.high, m.value / 0.9) < m.ideal


def _sees_nothing(m: Measure) -> bool:
    return m.low is not None and m.low <= 0.5


_APART = "{value:.0%} of samples and real rows are told apart by a random forest, where 50 % would be chance"
ROWS: tuple[tuple[str, Callable[[Measure], bool], str], ...] = (
    (
        " found",
        lambda m: m.ideal is not None and m.value < m.ideal,
        "The samples miss {missed:.0f} of {ideal:.0f} {what}.",
    ),
    (
        " found",
        lambda m: m.ideal is not None and m.value >= m.ideal,
        "All {ideal:.0f} {what} are found among the samples.",
    ),
    (
        " gap, nats",
        lambda m: m.chance is not None and m.value > m.chance,
        "It fits training rows better than held-out ones, by {value:.2f} nats a row: it overfits to "
        "that degree.",
    ),
    (
        " gap, nats",
        lambda m: m.chance is not None and m.value <= m.chance,
        "It fits training rows no better than held-out ones, beyond what chance may give: no sign of "
        "overfitting.",
    ),
    ("C2ST accuracy", _sees_nothing, f"{_APART}: it sees no difference."),
    (
        "C2ST accuracy",
        lambda m: not _sees_nothing(m) and m.value > 0.75,
        f"{_APART}: the samples are not yet as the data are.",
    ),
    ("C2ST accuracy", lambda m: not _sees_nothing(m) and m.value <= 0.75, f"{_APART}."),
    ("among the nearest real rows", lambda m: bool(m.warning), "{warning}"),
    ("among the nearest real rows", lambda m: not m.warning, "{note}"),
    (
        "precision",
        _short,
        "Only {value:.0%} of the samples have a real row near them, where a perfect sampler reaches "
        "{ideal:.0%}: samples are not like the data.",
    ),
    (
        "coverage",
        _short,
        "Only {value:.0%} of the real rows have a sample near them, where a perfect sampler reaches "
        "{ideal:.0%}: parts of the data are missing among the samples.",
    ),
    (
        "predicted classes",
        lambda m: True,
        "It names the class of {value:.1%} of the rows whose class is known.",
    ),
)
"""How a measure's name ends, when the sentence is said, and the sentence."""


def remarks(results: Sequence[Measure]) -> list[str]:
    """What the numbers say about trust, as sentences.

    Examples
    --------
    >>> remarks([Measure("classes found", 8, n=1000, ideal=10)])
    ['The samples miss 2 of 10 classes.']
    """
    found = []
    for measure in results:
        for ending, when, sentence in ROWS:
            if measure.name.endswith(ending) and when(measure):
                said = {"what": measure.name.removesuffix(ending)}
                if measure.ideal is not None:
                    said |= {"missed": measure.ideal - measure.value}
                text = sentence.format(**{**vars(measure), **said})
                found += [text.replace("%", " %").replace("  %", " %")] if text else []
    return found
