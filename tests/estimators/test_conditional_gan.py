"""Conditional GANs: labels, missing labels, given columns, piles of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from equilibria import GAN, Table, load
from equilibria.models.adversarial import Given
from equilibria.random import Stream

random = np.random.RandomState(0)
KIND = np.array(["left", "right"])[random.randint(0, 2, 400)]
TWO = random.normal(size=(400, 2)) * 0.3 + np.where(KIND == "left", -2.0, 2.0)[:, None]
PLAIN = {"loss": "non-saturating", "penalties": {}, "max_frequency": 0, "prior": "normal"}
SMALL = {"hidden": (16,), "latent_dim": 2, "steps": 200, "batch_size": 50, "random_state": 0}
RATES = {"learning_rate": 5e-3, "critic_learning_rate": 5e-3, "schedule": "constant"}
OPTIONS: dict[str, Any] = {**PLAIN, **SMALL, **RATES, "average": 0.9}
QUICK = {**OPTIONS, "steps": 2}


@pytest.fixture(scope="module")
def labelled() -> GAN:
    return GAN(**OPTIONS, labels=True).fit(TWO, KIND)


def test_rows_of_a_class_are_of_that_class(labelled: GAN) -> None:
    """The classes' means are 4 apart and their deviation .3: without the condition a third would be
    on the wrong side."""
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


def test_a_labelled_model_travels(labelled: GAN, tmp_path: Path) -> None:
    labelled.save(tmp_path / "run")
    again = load(tmp_path / "run")
    assert (again.sample(20, y="left") == labelled.sample(20, y="left")).all()
    assert (again.sample(20) == labelled.sample(20)).all()
    assert (again.transform(TWO[:5]) == labelled.transform(TWO[:5])).all()
    assert again.classes_.tolist() == ["left", "right"]


def test_the_features_of_a_labelled_critic_are_means_over_the_classes(labelled: GAN) -> None:
    each = [labelled.critic_.features(TWO[:6], [name] * 6) for name in ("left", "right")]
    shares = [(name == KIND).mean() for name in ("left", "right")]
    expected = sum(share * one for share, one in zip(shares, each, strict=True))
    # critic_ has rows in float32 and works in float64, as the ratio does
    assert np.allclose(labelled.transform(TWO[:6]), expected, atol=1e-6)
    assert not np.allclose(*each, atol=1e-3)
    assert labelled.transform(TWO[:6].astype(np.float32)).dtype == np.float32


def test_a_few_labels_are_enough_for_a_classifier(tmp_path: Path) -> None:
    """12 labels of 400; the classes are 13 deviations apart, so nearly all others are predicted
    right."""
    y = KIND.astype(object)
    y[12:] = None
    model = GAN(**OPTIONS, labels=True, semi_supervised=True).fit(TWO, y)
    assert (model.predict(TWO[12:]) == KIND[12:]).mean() > 0.97
    assert np.allclose(model.predict_proba(TWO[:7]).sum(1), 1)
    assert next(row["labelled"] for row in reversed(model.history_) if "labelled" in row) <= 0.5
    assert model.sample(5).shape == (5, 2)
    with pytest.raises(ValueError, match="y='left': this GAN is not conditional on labels"):
        model.sample(5, y="left")
    model.save(tmp_path / "run")
    assert (load(tmp_path / "run").predict_proba(TWO) == model.predict_proba(TWO)).all()


def test_a_missing_label_may_have_a_mark() -> None:
    y = np.where(np.arange(400) < 30, (KIND == "right").astype(int), -7)
    model = GAN(**QUICK, labels=True, semi_supervised=True, missing_label=-7).fit(TWO, y)
    assert model.classes_.tolist() == [0, 1]


@pytest.fixture(scope="module")
def conditional() -> GAN:
    """x₁ = 2 x₀ ± 1, the sign a fair coin, and a small noise."""
    x = random.uniform(-2, 2, 2000)
    sign = np.sign(random.normal(size=2000))
    rows = np.column_stack([x, 2 * x + sign + 0.05 * random.normal(size=2000)])
    size = {"hidden": (48, 48), "steps": 2000, "batch_size": 100, "latent_dim": 2}
    rates = {"learning_rate": 2e-3, "critic_learning_rate": 2e-3}
    return GAN(**size, **rates, random_state=0, condition=[0]).fit(rows)


@pytest.mark.parametrize("x", [-1.0, 1.5])
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
    assert (several[0] != several[1]).any(), "each is a draw of its own"
    means = conditional.impute(rows, how="mean")
    assert np.abs(means[:, 1] - 2 * rows[:, 0]).max() < 0.6  # halfway between the branches


def test_without_a_question_conditions_are_the_datas(conditional: GAN, tmp_path: Path) -> None:
    rows = conditional.sample(500)
    assert -2.01 < rows[:, 0].min() < -1.8
    assert 1.8 < rows[:, 0].max() < 2.01
    conditional.save(tmp_path / "run")
    again = load(tmp_path / "run")
    assert (again.sample(30) == conditional.sample(30)).all()
    assert (again.impute([[0.5, np.nan]]) == conditional.impute([[0.5, np.nan]])).all()


def test_conditions_and_classes_are_drawn_together(tmp_path: Path) -> None:
    """The given column tells the class, of which one has 7 rows of 400: without a question, or by
    class, pairs are the data's."""
    kind = np.where(np.arange(400) < 7, "rare", KIND)
    places = {"left": -3.0, "rare": 9.0, "right": 3.0}
    rows = np.column_stack([[places[name] for name in kind], random.normal(size=400)])
    model = GAN(**QUICK, labels=True, condition=[0]).fit(rows, kind)
    for name, place in places.items():
        assert np.allclose(model.sample(50, y=name)[:, 0], place, atol=1e-5)
    both, held = model.model_.condition(4000, None, Stream(1))
    given = model.table_.decode(torch.cat([held, torch.zeros(4000, 1)], 1))[:, 0]
    expected = np.array(list(places.values()))[both[:, 1:].argmax(1)]
    assert np.allclose(given, expected, atol=1e-5)
    share = (kind == "left").mean()  # a false alarm in a million at 4.9 standard errors
    assert abs((given < 0).mean() - share) < 4.9 * np.sqrt(share * (1 - share) / 4000)
    model.save(tmp_path / "run")
    assert (load(tmp_path / "run").sample(30) == model.sample(30)).all()


def test_a_class_none_of_whose_conditions_was_kept_has_any(monkeypatch: Any) -> None:
    monkeypatch.setattr("equilibria.recipes.adversarial.KEPT", 3)
    model = GAN(**QUICK, labels=True, condition=[0]).fit(TWO[:60], np.arange(60) % 20)
    conditions = model.model_.conditions
    kept = model.table_.decode(torch.cat([conditions, torch.zeros(3, 1)], 1))[:, 0]
    drawn = [model.sample(5, y=label)[:, 0].astype(np.float32) for label in range(20)]
    assert len(kept) == 3
    assert np.isin(drawn, kept.astype(np.float32)).all()


def test_columns_of_a_frame_are_given_by_name() -> None:
    frame = pd.DataFrame({"a": TWO[:, 0], "b": TWO[:, 1], "c": TWO.sum(1)})
    model = GAN(**QUICK, condition=["c", "a"]).fit(frame)
    rows = model.sample(3, given=[1.0, np.nan, 2.0])
    assert list(rows.columns) == ["a", "b", "c"]
    assert (rows[["a", "c"]].to_numpy() == [1.0, 2.0]).all()
    gaps = frame.head(2).assign(b=np.nan)
    assert (model.impute(gaps)[["a", "c"]] == gaps[["a", "c"]]).all(axis=None)


def test_a_pile_of_pictures_is_drawn_given_those_above() -> None:
    """The last of three 8 × 8 frames, by convolutions, given the two before: channels of both
    players."""
    frames = random.uniform(size=(30, 3 * 64))
    options = {**QUICK, "network": "dcgan", "channels": 4, "learning_rate": None}
    model = GAN(**options, condition=range(128), picture_shape=(24, 8), value_range=(0, 1))
    model.fit(frames)
    assert model.network_ == "dcgan"
    assert model.generator_.network.planes == 2
    given = np.concatenate([frames[0, :128], np.full(64, np.nan)])
    rows = model.sample(4, given=given)
    assert (rows[:, :128] == frames[0, :128]).all()
    assert (rows[:, 128:] >= 0).all()
    other = model.sample(4, given=np.concatenate([1 - frames[0, :128], np.full(64, np.nan)]))
    assert (other[:, 128:] != rows[:, 128:]).any(), "what is given makes a difference"


def test_parts_of_rows_are_put_together_again() -> None:
    table, rows = Table.fit(np.zeros((2, 5)), kinds="real"), Stream(0).normal((4, 5))
    for columns in ([0, 1], [4], [3, 1], [1, 2, 4]):
        given = Given.of(table, columns)
        assert torch.equal(given.joined(*given.parts(rows)), rows)
        assert torch.equal(given.parts(rows)[1], rows[:, sorted(columns)])
    shape = {"kinds": "picture", "value_range": (0, 1), "picture_shape": (8, 2)}
    pile = Table.fit(np.zeros((2, 16)), **shape)
    assert Given.of(pile, range(4)).planes == 0, "no picture as high as what is left"
    assert Given.of(pile, range(8)).shape == (4, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"condition": [2]}, "there is no column 2; expected names, or numbers from 0 to 1"),
        ({"condition": ["a"]}, "condition: there is no column 'a'"),
        ({"condition": [0, 0]}, "each once, and some left to be drawn"),
        ({"condition": [0, 1]}, "some left to be drawn"),
        ({"condition": "a"}, "condition='a': expected None or a list of columns"),
        ({"semi_supervised": True}, "the classes are those of y; set labels=True too"),
        ({"labels": True, "semi_supervised": True, "packing": 2}, "a pack has no class of its own"),
        ({"labels": True}, "y=None: labels=True needs the labels"),
    ],
)
def test_impossible_conditions_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GAN(**OPTIONS, **options).fit(TWO)


def test_impossible_questions_are_refused(conditional: GAN, labelled: GAN) -> None:
    plain = GAN(**QUICK).fit(TWO)
    for ask, message in (
        (lambda: conditional.sample(2, given=[0.0, 1.0]), "given: expected numbers in the columns"),
        (lambda: conditional.sample(2, given=[0.0]), "given has 1 columns; the table"),
        (lambda: conditional.impute([[0.0, 1.0]]), "X: expected numbers in the columns that cond"),
        (lambda: conditional.impute([[0.0, np.nan]], n=2, how="mean"), "n=2: with how='mean'"),
        (
            lambda: plain.sample(2, y=np.zeros(2)),
            r"y=array\(\[0., 0.\]\): this GAN learnt no labels",
        ),
        (lambda: plain.sample(2, given=[0.0, np.nan]), "given: a GAN draws whole rows"),
        (lambda: labelled.sample(2, y="up"), "is 'up', which is not among the classes"),
        (lambda: GAN(**OPTIONS, labels=True).fit(TWO, [None, *KIND[1:]]), "1 of 400 labels are"),
    ):
        with pytest.raises(ValueError, match=message):
            ask()


def test_what_a_gan_can_do_is_what_it_was_built_for(conditional: GAN, labelled: GAN) -> None:
    plain = GAN(**QUICK).fit(TWO)
    assert plain.capabilities_ == GAN().capabilities_ == {"sample", "features"}
    assert labelled.capabilities_ == GAN(labels=True).capabilities_ == {"sample", "features"}
    both = {"sample", "features", "complete", "means"}
    assert conditional.capabilities_ == GAN(condition=[0]).capabilities_ == both
    classifier = GAN(labels=True, semi_supervised=True)
    assert classifier.capabilities_ == {"sample", "features", "classify"}
    for name in ("impute", "predict", "predict_proba"):
        with pytest.raises(AttributeError) as refused:
            getattr(plain, name)
        assert "construct it with" in str(refused.value.__cause__ or refused.value)
    with pytest.raises(AttributeError, match="learnt no labels, and has no classes_"):
        _ = plain.classes_


def test_a_gan_of_the_first_version_answers_what_it_answered(tmp_path: Path) -> None:
    """The folder was written by 0.1.0, with labels, a condition and a ratio that was fitted."""
    model = load(Path(__file__).parent / "runs" / "gan-0.1.0")
    rnd = np.random.RandomState(0)
    rows = (rnd.normal(size=(120, 2)) * [1.0, 50.0] + [0.0, 1000.0])[:4]
    ratio = [1.0443032971662225, 1.6206358150364861, 1.204783484103086, 0.065340020448166]
    drawn = [[1.1880298153357443, 973.1889451560921], [0.1549474302427623, 978.6397548768639]]
    features = [0.1943895028412302, 0.049257147105426724, -0.13617404392560942]
    model.save(tmp_path / "again")
    for one in (model, load(tmp_path / "again")):
        assert np.allclose(one.sample(6)[:2], drawn, rtol=1e-5)
        y = np.where(rows[:, 0] > 0, "b", "a")
        assert np.allclose(one.critic_.log_ratio(rows, y), ratio, atol=1e-6)
        assert np.allclose(one.transform(rows)[0, :3], features, atol=1e-6)
        refined = one.sample(5, refine="reject")[:2]
        assert np.allclose(refined[:, 1], [998.2198965699506, 995.6557108605185], rtol=1e-5)
    assert model.resolved_.loss == "relativistic"
    assert (model.resolved_.annealing, model.resolved_.critic_pace) == (3e-5, 3.0)
