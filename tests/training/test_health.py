"""Every sentence about a run: when it comes, and when not."""

from __future__ import annotations

import pytest

from equilibria.numbers import Measure
from equilibria.training.health import sentences

FINE = "Nothing in the curves of this run looks wrong."


def estimate(value=10.0, half=0.1, ess=50.0, samples=100) -> Measure:
    return Measure("log Z", value, value - half, value + half, method="AIS", ess=ess, n=samples)


def play(accuracy=0.6, margins=(1.0,) * 50) -> list[dict[str, float]]:
    return [{"step": i, "accuracy": accuracy, "real_logit": margin, "fake_logit": 0.0} for i, margin in enumerate(margins)]


@pytest.mark.parametrize(
    ("history", "facts"),
    [
        ([], None),
        ([{"step": 1, "dead_units": 0.3, "mean_field_change": 0.1}], {"log_partition": estimate()}),
        ([{"step": 1, "dead_units": 1.0}, {"step": 2, "dead_units": 0.0}], {}),
        ([], {"log_partition": Measure.exact("log Z", 1e9, "exact enumeration")}),
        ([], {"log_partition": estimate(ess=None, samples=None)}),
        (play(), None),
        (play(accuracy=0.95), None),
        ([*play(accuracy=1.0)[:30], *play(accuracy=0.5)[30:]], None),
    ],
)
def test_nothing_is_wrong(history, facts):
    assert sentences(history, facts) == [FINE]


@pytest.mark.parametrize(
    ("history", "facts", "expected"),
    [
        (
            [{"dead_units": 0.31}],
            {},
            "31 % of the hidden units are always off or always on: use fewer of them, or a smaller learning rate.",
        ),
        (
            [{"mean_field_change": 0.25}],
            {},
            "Mean field still moved by 0.25 in its last training step: raise mean_field_steps (of a DBM), or lower the learning rate.",
        ),
        ([], {"log_partition": estimate(ess=9.0)}, "Only 9 of 100 AIS chains carry the estimate of log Z: raise ais_betas"),
        ([], {"log_partition": estimate(half=1.1)}, "log Z is known to no better than 2.2 nats: raise ais_betas or ais_chains."),
        (play(accuracy=0.97), {}, "The critic told 97 % of real and generated rows apart at the end: the generator learns little from it"),
        (
            play(margins=[1.0] * 40 + [-5.0, 5.0] * 5),
            {},
            "The critic's margin swung by 10.0 over the last fifth of the run: the players circle",
        ),
    ],
)
def test_what_is_wrong_is_said(history, facts, expected):
    found = sentences(history, facts)
    assert len(found) == 1
    assert found[0].startswith(expected)
    assert found[0].endswith(".")


def test_the_gravest_comes_first_and_all_are_said():
    found = sentences([{"dead_units": 0.9, "mean_field_change": 0.5}], {"log_partition": estimate(half=3.0, ess=1.0)})
    assert [sentence.split()[0] for sentence in found] == ["90", "Mean", "Only", "log"]
    assert FINE not in found


def test_only_the_end_of_a_game_is_judged():
    margins = [-20.0, 20.0] * 20 + [1.0] * 10
    assert sentences(play(margins=margins)) == [FINE]


def test_a_steady_wide_margin_is_no_swing():
    assert sentences(play(margins=[30.0, 31.0] * 25)) == [FINE]
