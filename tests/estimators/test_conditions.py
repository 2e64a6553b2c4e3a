"""Conditional GANs: labels, missing labels, given columns, piles of pictures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from equilibria import GAN, load
from equilibria.data import Schema
from equilibria.estimators.conditions import Given
from equilibria.random import Stream

random = np.random.RandomState(0)
KIND = np.array(["left", "right"])[random.randint(0, 2, 400)]
TWO = random.normal(size=(400, 2)) * 0.3 + np.where(KIND == "left", -2.0, 2.0)[:, None]
PLAIN = {"payoff": "non-saturating", "penalties": {}, "bandwidth": 0, "prior": "normal", "schedule": "constant", "critic_rate": 5e-3}
SMALL = {"hidden": (16,), "latent_dim": 2, "steps": 200, "batch_size": 50, "random_state": 0}
OPTIONS = {**PLAIN, **SMALL, "learning_rate": 5e-3, "average": 0.9}


@pytest.fixture(scope="module")
def labelled() -> GAN:
    return GAN(**OPTIONS, labels=True).fit(TWO, KIND)


def test_rows_of_a_class_are_of_that_class(labelled: GAN) -> None:
    """The classes' means are 4 apart and their deviation .3: without the condition a third would be on the wrong side."""
    left, right = labelled.sample(200, y="left"), labelled.sample(200, y="right")
    assert (left[:, 0] < 0).mean() > 0.95
    assert (right[:, 0] > 0).mean() > 0.95
    mixed = labelled.sample(4, y=["left", "right", "left", "right"])
    assert (np.sign(mixed[:, 0]) == [-1, 1, -1, 1]).all()


def test_classes_are_drawn_by_their_shares_where_none_is_asked(labelled: GAN) -> None:
    """2,000 draws: the share is within 5 standard errors, a false alarm below 1e-6."""
    share, found = (KIND == "right").mean(), (labelled.sample(2000)[:, 0] > 0).mean()
    assert abs(found - share) < 5 * np.sqrt(0.25 / 2000) + 0.05
    assert (labelled.sample(40) == labelled.sample(60)[:40]).all()
    some = labelled.sample(50, y=["left"] * 25 + [None] * 25)
    assert (some[:25, 0] < 0).mean() > 0.9
    assert (some[25:, 0] > 0).any()


def test_a_labelled_model_travels(labelled: GAN, tmp_path) -> None:
    labelled.save(tmp_path / "run")
    again = load(tmp_path / "run")
    assert (again.sample(20, y="left") == labelled.sample(20, y="left")).all()
    assert (again.sample(20) == labelled.sample(20)).all()
    assert (again.transform(TWO[:5]) == labelled.transform(TWO[:5])).all()
    assert again.classes_.tolist() == ["left", "right"]


def test_the_features_of_a_labelled_critic_are_means_over_the_classes(labelled: GAN) -> None:
    critic, x = labelled.critic_.double(), labelled.schema_.encode(TWO[:6], torch.float64)
    shares = [(name == KIND).mean() for name in ("left", "right")]
    one_hot = torch.eye(2, dtype=torch.float64)
    expected = sum(share * critic.features(x, one_hot[[c] * 6]) for c, share in enumerate(shares))
    labelled.critic_.float()
    assert np.allclose(labelled.transform(TWO[:6]), expected.detach().numpy(), atol=1e-12)
    assert labelled.transform(TWO[:6].astype(np.float32)).dtype == np.float32


def test_a_few_labels_are_enough_for_a_classifier(tmp_path) -> None:
    """12 labels of 400; the classes are 13 deviations apart, so nearly all others are predicted right."""
    y = KIND.astype(object)
    y[12:] = None
    model = GAN(**OPTIONS, labels=True, semi_supervised=True).fit(TWO, y)
    assert (model.predict(TWO[12:]) == KIND[12:]).mean() > 0.97
    chances = model.predict_proba(TWO[:7])
    assert np.allclose(chances.sum(1), 1)
    assert next(row["labelled"] for row in reversed(model.history_) if "labelled" in row) <= 0.5
    assert model.sample(5).shape == (5, 2)
    with pytest.raises(ValueError, match="y='left': this GAN is not conditional on labels"):
        model.sample(5, y="left")
    model.save(tmp_path / "run")
    assert (load(tmp_path / "run").predict_proba(TWO) == model.predict_proba(TWO)).all()


def test_a_missing_label_may_have_a_mark() -> None:
    y = np.where(np.arange(400) < 30, (KIND == "right").astype(int), -7)
    model = GAN(**{**OPTIONS, "steps": 5}, labels=True, semi_supervised=True, missing_label=-7).fit(TWO, y)
    assert model.classes_.tolist() == [0, 1]


@pytest.fixture(scope="module")
def conditional() -> GAN:
    """x₁ = 2 x₀ ± 1, the sign a fair coin, and a small noise."""
    x = random.uniform(-2, 2, 2000)
    rows = np.column_stack([x, 2 * x + np.sign(random.normal(size=2000)) + 0.05 * random.normal(size=2000)])
    size = {"hidden": (48, 48), "steps": 2000, "batch_size": 100}
    return GAN(**size, learning_rate=2e-3, critic_rate=2e-3, latent_dim=2, random_state=0, condition=[0]).fit(rows)


@pytest.mark.parametrize("x", [-1.0, 0.0, 1.5])
def test_the_conditional_law_is_learnt(conditional: GAN, x: float) -> None:
    """Both branches, each with about half of 1,000 draws, where they should be."""
    rows = conditional.sample(1000, given=[x, np.nan])
    assert (rows[:, 0] == x).all()
    rest = rows[:, 1] - 2 * x
    assert 0.3 < (rest > 0).mean() < 0.7
    assert abs(np.median(rest[rest > 0]) - 1) < 0.25
    assert abs(np.median(rest[rest < 0]) + 1) < 0.25


def test_given_rows_are_filled_in(conditional: GAN) -> None:
    rows = np.array([[0.5, np.nan], [-0.25, np.nan]])
    filled = conditional.impute(rows)
    assert (filled[:, 0] == rows[:, 0]).all()
    assert np.isfinite(filled).all()
    several = conditional.impute(rows, n=3)
    assert several.shape == (3, 2, 2)
    means = conditional.impute(rows, how="mean")
    assert np.abs(means[:, 1] - 2 * rows[:, 0]).max() < 0.6  # halfway between the branches


def test_without_a_question_conditions_are_the_datas(conditional: GAN, tmp_path) -> None:
    rows = conditional.sample(500)
    assert -2.01 < rows[:, 0].min() < -1.8
    assert 1.8 < rows[:, 0].max() < 2.01
    conditional.save(tmp_path / "run")
    again = load(tmp_path / "run")
    assert (again.sample(30) == conditional.sample(30)).all()
    assert (again.impute([[0.5, np.nan]]) == conditional.impute([[0.5, np.nan]])).all()


def test_conditions_and_classes_are_drawn_together(tmp_path) -> None:
    """The given column tells the class, of which one has 7 rows of 400: without a question, or by class, pairs are the data's."""
    kind = np.where(np.arange(400) < 7, "rare", KIND)
    places = {"left": -3.0, "rare": 9.0, "right": 3.0}
    rows = np.column_stack([[places[name] for name in kind], random.normal(size=400)])
    model = GAN(**{**OPTIONS, "steps": 2}, labels=True, condition=[0]).fit(rows, kind)
    for name, place in places.items():
        assert np.allclose(model.sample(50, y=name)[:, 0], place, atol=1e-5)
    drawn, held = model._condition(4000, None, None, Stream(1))
    given = model.schema_.decode(model._given.joined(torch.zeros(4000, 1), held))[:, 0]
    assert np.allclose(given, np.array(list(places.values()))[drawn[:, 1:].argmax(1)], atol=1e-5)
    share = (kind == "left").mean()  # a false alarm in a million at 4.9 standard errors
    assert abs((given < 0).mean() - share) < 4.9 * np.sqrt(share * (1 - share) / 4000)
    model.save(tmp_path / "run")
    assert (load(tmp_path / "run").sample(30) == model.sample(30)).all()


def test_a_class_none_of_whose_conditions_was_kept_has_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("equilibria.estimators.adversarial.KEPT", 3)
    model = GAN(**{**OPTIONS, "steps": 2}, labels=True, condition=[0]).fit(TWO[:60], np.arange(60) % 20)
    kept = model.schema_.decode(model._given.joined(torch.zeros(3, 1), model.conditions_))[:, 0]
    assert all(np.isin(model.sample(5, y=label)[:, 0].astype(np.float32), kept.astype(np.float32)).all() for label in range(20))


def test_columns_of_a_frame_are_given_by_name() -> None:
    frame = pd.DataFrame({"a": TWO[:, 0], "b": TWO[:, 1], "c": TWO.sum(1)})
    model = GAN(**{**OPTIONS, "steps": 5}, condition=["c", "a"]).fit(frame)
    rows = model.sample(3, given=[1.0, np.nan, 2.0])
    assert list(rows.columns) == ["a", "b", "c"]
    assert (rows[["a", "c"]].to_numpy() == [1.0, 2.0]).all()


def test_a_pile_of_pictures_is_drawn_given_those_above() -> None:
    """The last of three 8 × 8 frames, by convolutions, given the two before: channels of both players."""
    frames = random.uniform(size=(30, 3 * 64))
    options = {**OPTIONS, "network": "dcgan", "steps": 3, "channels": 4, "learning_rate": None}
    model = GAN(**options, condition=range(128), picture_shape=(24, 8), value_range=(0, 1)).fit(frames)
    assert model.network_ == "dcgan"
    assert model.generator_.network.given.planes == 2
    given = np.concatenate([frames[0, :128], np.full(64, np.nan)])
    rows = model.sample(4, given=given)
    assert (rows[:, :128] == frames[0, :128]).all()
    assert (rows[:, 128:] >= 0).all()
    other = model.sample(4, given=np.concatenate([1 - frames[0, :128], np.full(64, np.nan)]))
    assert (other[:, 128:] != rows[:, 128:]).any(), "what is given makes a difference"


def test_parts_of_rows_are_put_together_again() -> None:
    schema = Schema.infer(np.zeros((2, 5)), kind="real")
    rows = Stream(0).normal((4, 5))
    for columns in ([0, 1], [4], [3, 1], [1, 2, 4]):
        given = Given.of(schema, columns)
        assert torch.equal(given.joined(*given.parts(rows)), rows)
    pile = Schema.infer(np.zeros((2, 16)), kind="picture", low=0, high=1, shape=[8, 2])
    assert Given.of(pile, range(4)).planes == 0, "no picture as high as what is left"
    assert Given.of(pile, range(8)).shape == (4, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"condition": [2]}, "condition: there is no column 2; expected names, or numbers from 0 to 1"),
        ({"condition": ["a"]}, "condition: there is no column 'a'"),
        ({"condition": [0, 0]}, "a column is named twice"),
        ({"condition": [0, 1]}, "some left to be drawn"),
        ({"condition": []}, "expected some of the 2 columns"),
        ({"condition": "a"}, "condition='a': expected a list of columns"),
        ({"semi_supervised": True}, "semi_supervised=True: the classes are those of y; set labels=True too"),
        ({"labels": True, "semi_supervised": True, "packing": 2}, "a pack has no class of its own"),
        ({"labels": True}, "y=None: labels=True needs the labels"),
    ],
)
def test_impossible_conditions_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GAN(**OPTIONS, **options).fit(TWO)


def test_impossible_questions_are_refused(conditional: GAN, labelled: GAN) -> None:
    plain = GAN(**{**OPTIONS, "steps": 2}).fit(TWO)
    for ask, message in (
        (lambda: conditional.sample(2, given=[0.0, 1.0]), "given: expected numbers in the columns condition"),
        (lambda: conditional.sample(2, given=[np.nan, np.nan]), "given: expected numbers in the columns condition"),
        (lambda: conditional.sample(2, given=[0.0]), r"given: expected shape \(2,\) or \(2, 2\)"),
        (lambda: conditional.impute([[0.0]]), "X has 1 features"),
        (lambda: conditional.impute([[0.0, 1.0]]), r"X: expected numbers in the columns condition=\[0\] and NaN in all others"),
        (lambda: conditional.impute([[np.nan, np.nan]]), "X: expected numbers in the columns condition"),
        (lambda: plain.direction(TWO[:4], [0, 1, 0, 1], return_residuals=True), "return_residuals: a direction"),
        (lambda: plain.sample(2, y=np.zeros(2)), r"y=array\(\[0., 0.\]\): this GAN is not conditional on labels; .*labels=True"),
        (lambda: conditional.impute([[0.0, np.nan]], n=2, how="mean"), "n=2: with how='mean'"),
        (lambda: plain.sample(2, given=[0.0, np.nan]), "given: this GAN draws whole rows"),
        (lambda: labelled.sample(2, y="up"), "is 'up', which is not among the classes"),
        (lambda: GAN(**OPTIONS, labels=True).fit(TWO, [None, *KIND[1:]]), "1 of 400 labels are missing"),
    ):
        with pytest.raises(ValueError, match=message):
            ask()
    for name in ("impute", "predict", "predict_proba", "classes_"):
        with pytest.raises(AttributeError) as refused:
            getattr(plain, name)
        assert "construct it with" in str(refused.value.__cause__ or refused.value)
