"""Every sentence about a run: when it comes, and when not."""

from __future__ import annotations

from equilibria.training.health import FINE, sentences


def play(accuracy=0.6, margins=(1.0,) * 50) -> list[dict[str, float]]:
    return [
        {"step": i, "accuracy": accuracy, "real_logit": margin, "fake_logit": 0.0}
        for i, margin in enumerate(margins)
    ]


def checks(*distances: float) -> list[dict[str, float]]:
    return [
        {"step": i, "kernel_distance": d, "kernel_distance_error": 0.001}
        for i, d in enumerate(distances)
    ]


def test_nothing_is_wrong():
    for history in (
        [],
        [{"step": 1, "dead_units": 0.3, "mean_field_change": 0.1}],
        [{"step": 1, "contrast": 1000.0, "contrast_limit": 1000.0}],
        [{"step": 1, "train_objective": 101.0, "independent_objective": 100.0}],
        [{"step": 1, "dead_units": 1.0}, {"step": 2, "dead_units": 0.0}],
        [{"step": 1, "stage": "a", "dead_units": 1.0}, {"step": 2, "stage": "b"}],
        play(),
        play(accuracy=0.95),
        [*play(accuracy=1.0)[:30], *play(accuracy=0.5)[30:]],
        play(margins=[-20.0, 20.0] * 20 + [1.0] * 10),  # only the end of a game is judged
        play(margins=[30.0, 31.0] * 25),  # a steady wide margin is no swing
        checks(0.5, 0.3, 0.2, 0.1, 0.1),
    ):
        assert sentences(history) == [FINE], history


def test_what_is_wrong_is_said():
    for history, expected in [
        ([{"dead_units": 0.31}], "31 % of the hidden units are always off or always on"),
        (
            [{"contrast": 1234.0, "contrast_limit": 1000.0}],
            "Training rows are at least 234 nats a row less likely than under independent columns",
        ),
        (
            [{"train_objective": 202.0, "independent_objective": 100.0}],
            "Training rows are at least 101 nats a row less likely than under independent columns",
        ),
        ([{"real_logit": -2e6}], "The critic's logit of real rows is -2e+06"),
        ([{"mean_field_change": 0.25}], "Mean field still moved by 0.25 in its last"),
        ([{"frozen_chains": 0.5}], "50 % of the chains stood still at the end"),
        ([{"r_hat": 2.0}], "The chains keep to places of their own (R̂ of the energy is 2.0"),
        ([{"r_hat": 1.11}], "The chains had not settled in the sweeps over which they were"),
        ([{"swap_acceptance": 0.01}], "Only 1 % of swaps are accepted"),
        ([{"free_energy_gap": 3.0}], "Training rows fit better than held-out ones by 3.0 nats"),
        ([{"held_out_loss": 0.2}], "An earlier machine fitted held-out rows better"),
        ([{"spread": 0.1}], "The samples vary only 10 % as much as the data"),
        ([{"classes": 8, "classes_found": 5}], "The samples miss 3 of 8 clusters of the data"),
        (
            [{"step": 5, "classes": 8, "classes_found": 7}, {"classes": 8, "classes_found": 2}],
            "Modes were lost: the samples covered 7 of 8 clusters at step 5 and 2 at the end",
        ),
        ([{"critic_auc": 0.999}], "The critic put 99.9 % of real rows above samples at the end"),
        (play(accuracy=0.97), "The critic told 97 % of real and generated rows apart at the end"),
        (
            [{"critic_auc": 0.5, "kernel_distance": 0.4, "kernel_distance_error": 0.01}],
            "The critic puts a real row above a sample 50 times in 100",
        ),
        (
            [{"train_logit": 3.0, "held_out_logit": 0.0, "sampled_logit": -1.0}],
            "The critic knows the training rows by heart: its logit is 3.00 on them, 0.00",
        ),
        (
            play(margins=[1.0] * 40 + [-5.0, 5.0] * 5),
            "The critic's margin swung by 10.0 over the last fifth of the run: the players circle",
        ),
        (
            play(margins=[1.0] * 160 + [2.0, 3.5, 2.0, 0.5] * 10),
            "The critic's margin swung by 3.0 over the last fifth of the run, once in about 4",
        ),
        (checks(0.5, 0.1, 0.3, 0.4, 0.5, 0.5), "The samples were nearest to the data at step 1"),
    ]:
        found = sentences(history)
        assert len(found) == 1, found
        assert found[0].startswith(expected)
        assert found[0].endswith(".")


def test_the_gravest_comes_first_and_all_are_said():
    found = sentences([{"dead_units": 0.9, "mean_field_change": 0.5, "r_hat": 9.0}])
    assert [sentence.split()[0] for sentence in found] == ["90", "Mean", "The"]
