"""The pieces of the emoji experiment, on pictures small enough to be known."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from scripts import script


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    return script("emoji_arithmetic.py")


def table(experiment: ModuleType):
    """A man and a woman as a cook in two tones and as a judge in one; a person; a woman alone."""
    names = ["cook m", "cook w", "cook m 1", "cook w 1", "judge m", "judge w", "person", "queen"]
    role = np.array(["COOK"] * 4 + ["JUDGE"] * 2 + ["COOK", "QUEEN"])
    rows = np.arange(8)[:, None] * np.array([[10, 1]])
    return experiment.Emoji(
        rows,
        np.array(names),
        np.array([1, 2, 1, 2, 1, 2, 3, 2]),
        role,
        np.array([0, 0, 1, 1, 0, 0, 0, 0]),
    )


def test_pairs_differ_in_gender_alone(experiment):
    assert experiment.pairs_of(table(experiment)).tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_direction_knows_nothing_of_its_own_role(experiment):
    differences = np.array([[1.0, 0.0], [3.0, 0.0], [10.0, 2.0]])
    found = experiment.without_own(differences, np.array(["COOK", "COOK", "JUDGE"]))
    assert found.tolist() == [[10.0, 2.0], [10.0, 2.0], [2.0, 0.0]]


def test_an_answer_is_right_where_role_tone_and_gender_are(experiment):
    data = table(experiment)
    women = np.array([1, 3, 5])
    assert experiment.share(women, data, women)["share"] == 1
    score = experiment.share(np.array([1, 1, 4]), data, women)
    assert (score["right"], score["of"]) == (1, 3)
    assert score["interval"][0] < 1 / 3 < score["interval"][1]
    assert experiment.nearest(np.array([[9.0, 2.0], [71.0, 7.0]]), data.rows).tolist() == [1, 7]
    assert experiment.nearest(np.array([[9.0, 2.0]]), data.rows, np.array([[1, 0]])).tolist() == [2]


def test_pictures_are_shrunk_by_means(experiment):
    images = np.zeros((1, 4, 4, 3), np.uint8)
    images[0, :2, :2, 0] = [[0, 10], [20, 30]]
    small = experiment.shrink(images, 2)
    assert small.shape == (1, 2, 2, 3)
    assert small[0, 0, 0].tolist() == [15, 0, 0]
    assert small.sum() == 15
    with pytest.raises(SystemExit, match="--size 3: expected a divisor of 4"):
        experiment.shrink(images, 3)


def test_the_482_pairs(experiment, data_folder, monkeypatch):
    monkeypatch.setenv("EQUILIBRIA_DATA", str(data_folder))
    data = experiment.emoji(16)
    assert data.rows.shape == (3916, 16 * 16 * 3)
    pairs = experiment.pairs_of(data)
    assert pairs.shape == (482, 2)
    assert (data.role[pairs[:, 0]] == data.role[pairs[:, 1]]).all()
