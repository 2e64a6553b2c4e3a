"""Every sentence about a run: when it comes, and when not."""

from __future__ import annotations

import numpy as np

from equilibria.numbers import Measure
from equilibria.random import Stream
from equilibria.training.health import FINE, ROWS, sentences, swing

CALM = {
    "train_logit": 0.6,
    "held_out_logit": 0.5,
    "sampled_logit": -0.5,
    "logit_error": 0.05,
    "critic_auc": 0.7,
    "spread": 0.95,
    "kernel_distance": 0.01,
    "kernel_distance_error": 0.01,
    "classes_found": 10.0,
    "classes": 10.0,
}


def looks(*changes: dict[str, float]) -> list[dict[str, float]]:
    return [{"step": 100 * i, **CALM, **change} for i, change in enumerate(changes or [{}], 1)]


def rounds(margins) -> list[dict[str, float]]:
    return [
        {"step": 10 * i, "accuracy": 0.6, "real_logit": m, "fake_logit": 0.0}
        for i, m in enumerate(margins)
    ]


def estimate(value=10.0, half=0.1, ess=50.0, n=100) -> Measure:
    return Measure("log Z", value, value - half, value + half, n=n, ess=ess, method="AIS")


def play(accuracy=0.6, margins=(1.0,) * 50) -> list[dict[str, float]]:
    return [
        {"step": i, "accuracy": accuracy, "real_logit": margin, "fake_logit": 0.0}
        for i, margin in enumerate(margins)
    ]


QUIET = [
    (history, None)
    for history in (
        [],
        looks(),
        looks(*[{}] * 10),
        looks({"classes_found": 3.0}, {}),  # found in the end
        looks({"classes": 0.0, "classes_found": 0.0}),  # too few samples to look for any
        looks({"spread": 0.05}, {}),  # recovered
        looks({"critic_auc": 0.5}),  # cannot tell, and there is nothing to tell
        looks({"kernel_distance": 5.0}),  # differ, and the critic tells
        looks({"train_logit": 0.9, "logit_error": 0.2}),  # a gap that chance may give
        looks(
            {"train_logit": 9.0, "held_out_logit": 8.0}
        ),  # held-out rows are far nearer to training rows than to samples
        looks(
            *[
                {"kernel_distance": d, "kernel_distance_error": 0.5}
                for d in (0.1, 0.2, 0.3, 0.4, 0.5)
            ]
        ),  # worse, within chance
        looks(*[{"kernel_distance": d} for d in (9.0, 5.0, 2.0, 1.0, 0.5)]),  # better and better
        [*looks({"spread": 0.0, "stage": 1}), *looks({"stage": 2})],  # another stage
        rounds([1.0] * 60),
        rounds(1 + 0.4 * np.sin(np.arange(200))),  # regular, but small
        rounds(np.linspace(0, 3, 200)),
    )
]
QUIET += [
    (play(), None),
    (play(accuracy=0.95), None),
    (play(margins=[-20.0, 20.0] * 20 + [1.0] * 10), None),  # only the end of a game is judged
    (play(margins=[30.0, 31.0] * 25), None),  # a steady wide margin is no swing
    ([*play(accuracy=1.0)[:30], *play(accuracy=0.5)[30:]], None),
    # an earlier count of clusters stands where later checks had too few samples to look for any
    (looks({}, {"classes": 0.0, "classes_found": 0.0}), None),
    ([{"step": 1, "dead_units": 0.3, "mean_field_change": 0.1}], estimate()),
    ([{"step": 1, "dead_units": 1.0}, {"step": 2, "dead_units": 0.0}], None),
    ([], Measure.exact("log Z", 1e9, "enumeration")),
    ([], estimate(ess=None, n=None)),
    ([], Measure("log Z", 1.0)),
]


def test_nothing_is_wrong():
    for history, log_z in QUIET:
        assert sentences(history, log_z) == [FINE], history


SAID = [
    (
        [{"dead_units": 0.31}],
        None,
        "31 % of the hidden units are always off or always on: use fewer of them, or a smaller "
        "learning rate.",
    ),
    (
        [{"mean_field_change": 0.25}],
        None,
        "Mean field still moved by 0.25 in its last training step: raise mean_field_steps (of a "
        "DBM), or lower the learning rate.",
    ),
    (
        [],
        estimate(ess=9.0),
        "Only 9 of 100 AIS chains carry the estimate of log Z: raise ais_betas",
    ),
    (
        [],
        estimate(half=1.1),
        "log Z is known to no better than 2.2 nats: raise ais_betas or ais_chains.",
    ),
    (
        play(accuracy=0.97),
        None,
        "The critic told 97 % of real and generated rows apart at the end: the generator learns "
        "little from it",
    ),
    (
        play(margins=[1.0] * 40 + [-5.0, 5.0] * 5),
        None,
        "The critic's margin swung by 10.0 over the last fifth of the run: the players circle",
    ),
    (
        [{"frozen_chains": 0.02}],
        None,
        "2 % of the chains stood still at the end: use a smaller learning rate",
    ),
    ([{"r_hat": 1.6}], None, "The chains keep to places of their own (R̂ of the energy is 1.6"),
    ([{"swap_acceptance": 0.04}], None, "Only 4 % of swaps are accepted at the ladder's narrowest"),
    (
        [{"free_energy_gap": 1.5, "free_energy_gap_floor": 0.2}],
        None,
        "Training rows fit better than held-out ones by 1.5 nats a row (chance: 0.2)",
    ),
    (
        [{"held_out_loss": 0.25}],
        None,
        "An earlier machine fitted held-out rows better than the last one, by 0.25 nats a row",
    ),
]
SAID += [
    (history, None, expected)
    for history, expected in [
        (
            looks({"spread": 0.2}),
            "The samples vary only 20 % as much as the data: the generator has collapsed",
        ),
        (
            looks({}, {"classes_found": 7.0}),
            "Modes were lost: the samples covered 10 of 10 clusters at step 100 and 7 at the end",
        ),
        (
            looks({"classes_found": 4.0}, {"classes_found": 8.0}),
            "The samples miss 2 of 10 clusters of the data",
        ),
        (
            looks({"critic_auc": 0.999}),
            "The critic put 99.9 % of real rows above samples at the end: the generator learns "
            "little",
        ),
        (
            looks({"critic_auc": 0.51, "kernel_distance": 0.1}),
            "The critic puts a real row above a sample 51 times in 100, where 50 is chance, "
            "though they differ (kernel distance 0.1)",
        ),
        (
            looks({"train_logit": 2.0, "held_out_logit": 0.0}),
            "The critic knows the training rows by heart: its logit is 2.00 on them, 0.00 on "
            "held-out rows and -0.50 on samples",
        ),
        (
            looks(*[{"kernel_distance": d} for d in (0.9, 0.1, 0.5, 0.5, 0.6)]),
            "The samples were nearest to the data at step 200 (kernel distance 0.1, at the end "
            "0.6): stop there",
        ),
        (
            rounds(1 + np.sin(2 * np.pi * np.arange(200) / 8)),
            "The critic's margin swung by 2.0 over the last fifth of the run, once in about 80 "
            "rounds: the players circle",
        ),
    ]
]


def test_what_is_wrong_is_said():
    for history, log_z, expected in SAID:
        found = sentences(history, log_z)
        assert len(found) == 1, found
        assert found[0].startswith(expected)
        assert found[0].endswith(".")
    assert len(SAID) > len(ROWS) - 2, "each row of the table but that on the sides of log Z"
    apart = sentences([], estimate(), sides="Forward and reverse are 95 % apart.")
    assert apart == ["Both sides of log Z do not meet. Forward and reverse are 95 % apart."]


def test_the_gravest_comes_first_and_all_are_said():
    found = sentences([{"dead_units": 0.9, "mean_field_change": 0.5}], estimate(half=3.0, ess=1.0))
    assert [sentence.split()[0] for sentence in found] == ["90", "Mean", "Only", "log"]
    assert FINE not in found


def test_the_gravest_of_a_game_comes_first() -> None:
    found = sentences(
        looks(
            {
                "spread": 0.0,
                "classes_found": 1.0,
                "critic_auc": 1.0,
                "train_logit": 5.0,
                "held_out_logit": -1.0,
            }
        )
    )
    assert [sentence.split()[1] for sentence in found] == ["samples", "samples", "critic", "critic"]


def test_the_period_of_a_wave_on_a_slope_and_of_none() -> None:
    steps = np.arange(60)
    period, share = swing(5 + 0.2 * steps + np.cos(2 * np.pi * steps / 10))
    assert period == 10
    assert share > 0.95
    for still in (
        np.zeros(40),
        np.ones(3),
        3.0 * steps,
        np.square(steps / 10),
    ):  # a bend is no oscillation
        assert swing(still) is None


def test_noise_has_no_period() -> None:
    """Fisher's g: noise of 40 rows has a share of .6 once in a million; 2,000 draws would all but
    never meet it."""
    noise = Stream(0).normal((2000, 40)).double().numpy()
    shares = [found[1] for row in noise if (found := swing(row)) is not None]
    assert len(shares) > 1000
    assert max(shares) < 0.6


def test_a_drifting_margin_is_not_taken_for_a_swing() -> None:
    walks = np.cumsum(Stream(1).normal((300, 40)).double().numpy(), axis=1)
    assert sum((found := swing(row)) is not None and found[1] > 0.6 for row in walks) <= 3
