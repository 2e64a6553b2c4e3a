"""What the numbers of an evaluation are said to mean: good from bad, beyond chance."""

from __future__ import annotations

from equilibria.numbers import Measure
from equilibria.report.health import ROWS, remarks


def test_remarks_tell_good_from_bad() -> None:
    seen = Measure("area that would have been seen", 0.528)
    told_apart = Measure("C2ST area under the curve", 0.97, warning="Samples are told from rows.")
    good = [
        Measure("modes found", 8, n=2500, ideal=8),
        Measure("free energy gap, nats", 0.1, n=100, chance=0.3),
        Measure("C2ST area under the curve", 0.52, 0.48, 0.56, parts=(seen,)),
    ]
    bad = [
        Measure("modes found", 6, n=2500, ideal=8),
        Measure("log-likelihood gap, nats", 1.25, n=100, chance=0.3),
        told_apart,
    ]
    told = (
        "Boosted trees put a sample above a real row in {} % of pairs, where 50 % would be chance"
    )
    assert remarks(good) == [
        "All 8 modes are found among the samples.",
        "It fits training rows no better than held-out ones, beyond what chance may give: no sign "
        "of overfitting.",
        f"{told.format(52)}: no significant difference, but a share below 52.8 % would hardly have "
        "been seen.",
    ]
    assert remarks(bad) == [
        "The samples miss 2 of 8 modes.",
        "It fits training rows better than held-out ones, by 1.25 nats a row: it overfits to that "
        "degree.",
        f"{told.format(97)}: the samples are not yet as the data are.",
    ]
    assert remarks([told_apart.replace(value=0.6)]) == [f"{told.format(60)}."]
    assert remarks([told_apart], judged=True) == []


def test_what_samples_lack_is_remarked_upon_beyond_chance() -> None:
    def share(name: str, value: float, high: float) -> Measure:
        return Measure(name, value, value - 0.05, high, n=500, ideal=0.97)

    assert remarks([share("coverage", 0.5, 0.55), share("precision", 0.6, 0.65)]) == [
        "Only 50 % of the real rows have a sample near them, where a perfect sampler reaches 97 %: "
        "parts of the data are missing among the samples.",
        "Only 60 % of the samples have a real row near them, where a perfect sampler reaches 97 %: "
        "samples are not like the data.",
    ]
    fine = [share("coverage", 0.95, 0.96), share("coverage", 0.8, 0.99), share("recall", 0.1, 0.2)]
    assert remarks(fine) == []


def test_copies_are_warned_of() -> None:
    name = "training rows among the nearest real rows"
    copying = Measure(name, 0.9, warning="The samples copy training rows.")
    fine = Measure(name, 0.5, note="No sign that the samples copy training rows.")
    assert remarks([copying, fine]) == [copying.warning, fine.note]


def test_no_number_is_said_two_things_of() -> None:
    """The rows about one measure exclude one another."""
    endings = {ending for ending, _, _ in ROWS}
    for ending in endings:
        for value in (0.0, 0.3, 0.5, 0.7, 0.9, 1.0):
            for low, high in ((value - 0.1, value + 0.1), (None, None)):
                one = Measure(f"some{ending}", value, low, high, chance=0.5, ideal=1.0)
                assert len(remarks([one])) <= 1
