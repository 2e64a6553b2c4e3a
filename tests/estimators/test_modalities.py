"""Modalities: columns by name as visible layers, each predicted from the others."""

from __future__ import annotations

import copy
import io

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

from equilibria import DBM, RBM, load, resume
from equilibria.inference import exact
from equilibria.random import Stream

PROTOTYPES = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]], dtype=float)
NAMES = np.arange(240) % 3
PICTURES = np.abs(PROTOTYPES[NAMES] - (Stream(0).uniform((240, 6)).numpy() < 0.03))
ROWS = np.column_stack([PICTURES, 5 + NAMES])
MODALITIES = {"picture": range(6), "name": [6]}


def frame() -> pd.DataFrame:
    table = pd.DataFrame(PICTURES, columns=list("abcdef"))
    table["name"] = np.array(["ant", "bee", "cow"])[NAMES]
    return table


def rbm(**options):
    return RBM(
        **{
            "n_components": 5,
            "n_iter": 40,
            "learning_rate": 0.1,
            "batch_size": 20,
            "random_state": 0,
            "modalities": MODALITIES,
            **options,
        }
    )


def dbm(**options):
    small = {
        "hidden": (8, 6),
        "steps": 300,
        "pretrain_steps": 300,
        "pretrain_learning_rate": 0.3,
        "pretrain_weight_decay": 1e-4,
        "k": 1,
        "batch_size": 20,
    }
    return DBM(
        **{
            **small,
            "learning_rate": 0.05,
            "random_state": 0,
            "modalities": MODALITIES,
            "ais_betas": 50,
            **options,
        }
    )


@pytest.fixture(scope="module")
def deep() -> DBM:
    modalities = {"picture": list("abcdef"), "name": "name"}
    return dbm(modalities=modalities).fit(frame())


def test_the_layers_are_the_modalities(deep):
    assert [(layer.name, layer.kind) for layer in deep.table_.layers] == [
        ("picture", "binary"),
        ("name", "categorical"),
    ]
    assert set(deep.machine_.edges) == {
        ("picture", "picture_hidden1"),
        ("picture_hidden1", "hidden2"),
        ("name", "hidden2"),
    }
    assert deep.transform(frame()).shape == (240, 14)
    assert "picture: 6 columns from 0 to 1 as probabilities" in deep.table_.describe()


def test_each_modality_is_predicted_from_the_other(deep):
    test = pd.DataFrame(PROTOTYPES, columns=list("abcdef"))
    test["name"] = ["ant", "bee", "cow"]
    unnamed, unseen = test.copy(), test.copy()
    unnamed["name"] = None
    unseen[list("abcdef")] = np.nan
    pd.testing.assert_frame_equal(deep.impute(unnamed, how="mode"), test)
    pd.testing.assert_frame_equal(deep.impute(unseen, how="mode"), test)
    means = deep.impute(unseen, how="mean")  # of the picture; the name, a category, was given
    assert (means["name"] == test["name"]).all()
    assert ((means[list("abcdef")].to_numpy() > 0.5) == PROTOTYPES).all()
    assert np.abs(means[list("abcdef")].to_numpy() - PROTOTYPES).mean() < 0.3
    with pytest.raises(
        ValueError, match="column 'name' holds text or categories, which have no mean"
    ):
        deep.impute(unnamed, how="mean")
    drawn = deep.sample(200, given=[None] * 6 + ["bee"], random_state=0)
    assert set(drawn["name"]) == {"bee"}
    assert (np.abs(drawn[list("abcdef")].to_numpy().mean(0) - PROTOTYPES[1]) < 0.3).all()


def test_scores_are_those_of_the_machine():
    """By enumeration of an RBM: each row's log p, and that of a picture whose name is not known."""
    model = rbm(n_iter=10).fit(ROWS)
    rows = torch.tensor(PICTURES[:10])
    clamps = [
        {"picture": rows, "name": torch.eye(3).double()[torch.as_tensor(names)]}
        for names in (NAMES[:10], [0] * 10, [1] * 10, [2] * 10)
    ]
    truth, *each = (
        exact.log_prob(copy.deepcopy(model.machine_).double(), clamp).numpy() for clamp in clamps
    )
    assert np.abs(model.score_samples(ROWS[:10]) - truth).max() < 1e-8
    blank = ROWS[:10].copy()
    blank[:, 6] = np.nan
    bound, whole = model.score_samples(blank), np.logaddexp.reduce(each)
    assert (bound <= whole + 1e-8).all()
    assert (bound > truth - 1e-8).all() or (bound > whole - 0.7).all()


def test_modalities_survive_clone_joblib_and_a_run_folder(deep, tmp_path):
    again = clone(deep)
    assert again.get_params() == deep.get_params()
    buffer = io.BytesIO()
    joblib.dump(deep, buffer)
    buffer.seek(0)
    deep.save(tmp_path / "run")
    for one in (joblib.load(buffer), load(tmp_path / "run")):
        assert (one.score_samples(frame()) == deep.score_samples(frame())).all()
        pd.testing.assert_frame_equal(one.sample(5), deep.sample(5))
    refitted = clone(load(tmp_path / "run")).set_params(steps=1, pretrain_steps=1).fit(frame())
    assert refitted.table_.to_json() == deep.table_.to_json()


def test_a_run_with_modalities_is_resumed_bit_for_bit(tmp_path):
    modalities = {"name": [6], "picture": slice(0, 6)}
    model = dbm(steps=5, pretrain_steps=5, modalities=modalities, out=tmp_path / "run").fit(ROWS)
    (tmp_path / "run" / "model.safetensors").unlink()
    assert (resume(tmp_path / "run", ROWS).score_samples(ROWS) == model.score_samples(ROWS)).all()


@pytest.mark.parametrize("binarise", ["resample", "fixed", "threshold"])
def test_greys_of_one_modality_stand_beside_real_numbers_of_another(binarise):
    """Only the greys are made binary; real columns and missing cells are as they were, and samples
    show greys."""
    stream = Stream(3)
    grey, real = (
        stream.child("grey").uniform((60, 3)).numpy() * 255,
        5 + 3 * stream.child("real").normal((60, 2)).numpy(),
    )
    rows = np.hstack([grey, real])
    rows[0, 0] = rows[1, 4] = np.nan
    options = {"value_range": (0, 255), "binarise": binarise, "n_iter": 2, "learning_rate": 0.01}
    model = rbm(modalities={"picture": range(3), "sound": range(3, 5)}, **options).fit(rows)
    assert [layer.kind for layer in model.table_.layers] == ["binary", "real"]
    assert model.table_.grey == ("picture",)
    values = model.values(rows)  # what is scored
    encoded = model.table_.encode(rows, torch.float64)
    kept = ~values.isnan()
    assert torch.equal(kept, ~encoded.isnan())
    assert set(values[:, :3][kept[:, :3]].unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(values[:, 3:].nan_to_num(), encoded[:, 3:].nan_to_num())
    drawn = model.sample(20)
    assert len(np.unique(drawn[:, :3])) > 20
    assert ((drawn[:, :3] >= 0) & (drawn[:, :3] <= 255)).all()
    model.partial_fit(rows[:20])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"modalities": {"picture": range(6), "the name": [6]}},
            "modalities: 'the name' cannot be",
        ),
        ({"modalities": {"picture": range(6), "label": [6]}}, "modalities: 'label' cannot be"),
        ({"modalities": {"picture": range(6), "picture_hidden1": [6]}}, "'picture_hidden1' cannot"),
        (
            {"modalities": {"picture": range(6), "name": [7]}},
            r"modalities\['name'\] names the column 7",
        ),
        (
            {"modalities": {"picture": range(6), "name": [3, 6]}},
            "column 3 is in 'picture' and in 'na",
        ),
        (
            {"modalities": {"picture": range(5), "name": [6]}},
            "modalities: column 5 is in no modality",
        ),
        (
            {"modalities": {"picture": range(7), "name": []}},
            r"modalities\['name'\]=\[\]: expected some",
        ),
        ({"kinds": {"names": "real"}}, "kinds=.*a mapping from modalities .'picture', 'name'"),
        ({"value_range": (10, 20)}, "value_range=.*no modality's values lie in it"),
    ],
)
def test_unusable_modalities_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        rbm(**options).fit(ROWS)


def test_a_modality_of_several_kinds_is_refused():
    rows = np.column_stack([PICTURES, 5 + NAMES, 0.1 * np.arange(240) - 3])
    modalities = {"picture": range(6), "rest": [6, 7]}
    with pytest.raises(
        ValueError,
        match=r"modalities\['rest'\] has columns of several kinds: column 6 is categorical, "
        "column 7 is real",
    ):
        rbm(modalities=modalities).fit(rows)
    assert (
        rbm(modalities=modalities, kinds={"rest": "real"}, n_iter=1, learning_rate=0.01)
        .fit(rows)
        .table_.layers[1]
        .kind
        == "real"
    )


# ---------------------------------------------------------------- real data


@pytest.mark.parametrize("kind", ["rbm", "dbm"])
def test_digits_and_their_names(kind):
    """Chance is .1: a name drawn without looking is right more than 110 times in 297 with
    probability far below 1e-6."""
    digits = load_digits()
    rows = np.column_stack([digits.data, digits.target])[Stream(0).permutation(1797).numpy()]
    about = {
        "modalities": {"picture": range(64), "name": [64]},
        "value_range": (0, 16),
        "batch_size": 50,
        "random_state": 0,
        "ais_betas": 20,
    }
    if kind == "rbm":
        model = RBM(64, n_iter=12, learning_rate=0.5, **about)
    else:
        model = DBM(
            (64, 64),
            steps=200,
            pretrain_steps=400,
            pretrain_learning_rate=0.5,
            pretrain_weight_decay=1e-4,
            k=1,
            **about,
        )
    model.fit(rows[:1500])
    test = rows[1500:].copy()
    test[:, 64] = np.nan
    right = (model.impute(test, how="mode", sweeps=40)[:, 64] == rows[1500:, 64]).mean()
    assert right > (0.8 if kind == "rbm" else 0.7)
    named = np.full((10, 65), np.nan)
    named[:, 64] = np.arange(10)
    completed = model.impute(named, how="mean", sweeps=100)[:, :64]
    means = np.stack([rows[:1500][rows[:1500, 64] == k, :64].mean(0) for k in range(10)])
    distance = np.square(completed[:, None] - means[None]).sum(-1)
    assert (distance.argmin(1) == np.arange(10)).sum() >= 9
