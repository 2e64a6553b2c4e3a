"""Tables as users have them, through the estimators: each case once went wrong in some library."""

from __future__ import annotations

import decimal

import numpy as np
import pandas as pd
import pytest
import torch

import equilibria
from equilibria import DBM, DBN, GAN, MADE, RBM, FineTunedClassifier, NextState
from equilibria.data import GaussianMixture, load, read_csv, write_csv
from equilibria.errors import DivergedError
from equilibria.evaluation import frechet, memorisation, modes, two_sample

N = 40
RNG = np.random.default_rng(0)
IDS = 2**53 + 1 + 2 * np.arange(N)
BITS = (RNG.random((N, 6)) > 0.5) * 1.0
HALF = RNG.random((N, 3)) > 0.5
NUMBERS = pd.DataFrame(
    {"id": IDS, "x": RNG.normal(size=N), "n": np.arange(N)}, index=RNG.permutation(N)
)


def rbm(**how):
    return RBM(3, n_iter=2, random_state=0, **how)


def dbm(**how):
    return DBM(hidden=(3, 2), steps=3, pretrain_steps=3, random_state=0, **how)


def dbn(**how):
    return DBN(hidden=(3, 2), steps=3, random_state=0, **how)


def made(**how):
    return MADE(hidden=(8,), steps=3, random_state=0, **how)


def gan(**how):
    return GAN(hidden=(4,), steps=3, batch_size=10, random_state=0, **how)


each = pytest.mark.parametrize("make", [rbm, dbm, dbn, made, gan])
each_graph = pytest.mark.parametrize("make", [rbm, dbm])


# ---------------------------------------------------------------------- a column keeps its type

COLUMNS = {
    "ordered category": pd.Categorical(["a", "c"] * 20, categories=list("cab"), ordered=True),
    "Float64": pd.array([*np.arange(N - 1) * 0.5, None], dtype="Float64"),
    "boolean": pd.array([True, None] + [True, False] * 19, dtype="boolean"),
    "Int64": pd.array([*range(N - 1), None], dtype="Int64"),
    "whole": np.arange(N),
    "truth": [True, False] * 20,
    "date": pd.date_range("2024", periods=N, freq="h"),
    "zoned": pd.date_range("2024", periods=N, tz="Europe/Berlin"),
    "duration": pd.to_timedelta(range(N), unit="s"),
    "text": ["02139", "2139"] * 20,
    "string": pd.array(["u", None] * 20, dtype="string"),
    "decimal": [decimal.Decimal(i) / 4 for i in range(N)],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_sample_has_the_types_of_the_data(name):
    make = (rbm, dbm, made)[list(COLUMNS).index(name) % 3]
    frame = pd.DataFrame({"c": COLUMNS[name], "x": np.arange(N) * 0.5}, index=RNG.permutation(N))
    if make is made:  # which takes no missing cells
        frame = frame[frame["c"].notna()]
    drawn = make().fit(frame).sample(50)
    assert drawn.dtypes.equals(frame.dtypes)
    assert drawn["c"].map(type).isin(set(frame["c"].map(type))).all()
    if name in ("ordered category", "text", "string"):
        assert set(drawn["c"]) <= set(frame["c"].dropna())
    if name in ("whole", "Int64"):
        assert (drawn["c"] % 1 == 0).all()


def test_columns_may_have_numbers_for_names():
    frame = pd.DataFrame(RNG.normal(size=(N, 2)))
    assert list(rbm(kinds="real").fit(frame).sample(2).columns) == [0, 1]


def test_what_cannot_be_is_refused_by_name():
    for odd in (pd.period_range("2024", periods=N), [{}] * N, [1, "a"] * 20, [1j] * N):
        with pytest.raises(ValueError, match="column 'odd'"):
            rbm().fit(pd.DataFrame({"odd": odd, "x": np.arange(N)}))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (0.0, 1e20),
        (0.0, -1e30),
        (np.uint64(3), np.uint64(2**63 + 5)),
        (np.int64(2**53 + 1), np.int64(2**53 + 2)),
        (3, 10**20),
    ],
)
@pytest.mark.parametrize("kinds", ["categorical", "mixed"])
def test_a_category_is_drawn_as_it_was(a, b, kinds):
    large = isinstance(b, int)
    cells = np.where(HALF, np.array(b, dtype=object), a) if large else np.where(HALF, b, a)
    for make in (rbm, made) if kinds == "mixed" else (dbm, dbn):
        drawn = make(kinds=kinds).fit(cells).sample(50)
        assert drawn.dtype == cells.dtype
        assert set(drawn.ravel().tolist()) == set(cells.ravel().tolist())


def test_text_may_stand_far_down():
    cells = np.array([[i % 3, None] for i in range(200)], dtype=object)
    cells[150:, 1], cells[:150, 1] = "late", "early"
    cells[:120, 1] = None
    assert set(rbm().fit(cells).sample(50)[:, 1]) <= {"early", "late", None}


@each_graph
def test_labels_beyond_float_and_integer(make):
    y = np.array([2**63 + 1, 10**20] * 20, dtype=object)
    model = make(labels=True).fit(BITS, y)
    assert model.classes_.tolist() == [2**63 + 1, 10**20]
    assert set(model.predict(BITS)) <= set(y)


# ---------------------------------------------------------------------- names, index, known cells


@pytest.mark.parametrize(("make", "how"), [(rbm, "draw"), (rbm, "mean"), (dbm, "mode")])
def test_known_cells_index_and_types_survive_filling_in(make, how):
    holed = NUMBERS.copy()
    holed.iloc[:5, 1] = np.nan
    holed.iloc[7, 2] = np.nan  # which makes floats of whole numbers
    filled = make(kinds="real").fit(NUMBERS).impute(holed, how=how)
    assert filled.index.equals(NUMBERS.index)
    assert filled.dtypes.equals(NUMBERS.dtypes)
    assert (filled["id"] == NUMBERS["id"]).all()
    known = NUMBERS.index[5:]
    holed["x"] = filled["x"]  # aligned by the index
    assert (holed.loc[known, "x"] == NUMBERS.loc[known, "x"]).all()


@pytest.mark.parametrize("make", [rbm, dbm, dbn])
def test_transform_keeps_the_index(make):
    model = make(kinds="real").fit(NUMBERS).set_output(transform="pandas")
    assert model.transform(NUMBERS).index.equals(NUMBERS.index)


def given_models():
    frame = NUMBERS.assign(z=np.arange(N) * 0.5)
    return [
        (rbm(kinds="real").fit(NUMBERS), {"x": [0.5], "n": [7], "id": [np.nan]}),
        (dbm(kinds="real").fit(NUMBERS), {"x": [0.5], "n": [7], "id": [np.nan]}),
        (gan(condition=["x", "n"]).fit(frame), {"z": [np.nan], "n": [7], "id": [np.nan], "x": 0.5}),
    ]


def test_given_cells_are_matched_by_name():
    for model, cells in given_models():
        drawn = model.sample(1, given=pd.DataFrame(cells, index=["mine"]))
        assert drawn["x"].tolist() == [0.5]
        assert drawn["n"].tolist() == [7]
        assert drawn.index.tolist() == ["mine"]
        assert drawn["id"].dtype == "int64"
        wrong = pd.DataFrame(cells).rename(columns={"x": "foo"})
        with pytest.raises(ValueError, match="given has the column 'foo', which the data of fit"):
            model.sample(1, given=wrong)
        with pytest.raises(ValueError, match="given lacks the column 'n'"):
            model.sample(1, given=pd.DataFrame(cells).drop(columns="n"))


@pytest.mark.parametrize("method", ["score_samples", "impute", "transform"])
def test_rows_in_another_order_of_columns_are_refused(method):
    model = rbm(kinds="real").fit(NUMBERS)
    with pytest.raises(ValueError, match="same order as they were in fit"):
        getattr(model, method)(NUMBERS[["x", "n", "id"]])


def test_dates_are_not_numbers():
    frame = pd.DataFrame({"t": pd.date_range("2024", periods=N), "x": np.arange(N) * 0.5})
    model = rbm().fit(frame)
    seconds = frame.assign(t=frame["t"].dt.as_unit("s"))
    assert (model.score_samples(seconds) == model.score_samples(frame)).all()
    with pytest.raises(ValueError, match="column 't' is of type int64, and was datetime64"):
        model.score_samples(frame.assign(t=np.arange(N)))


def test_forecasts_have_the_types_of_the_sequence():
    frame = pd.DataFrame({"n": np.arange(N) % 5, "m": np.arange(N) % 3})
    model = NextState(rbm(kinds="categorical"), random_state=0).fit(frame)
    drawn = model.forecast(frame, 4)
    assert drawn.dtypes.equals(frame.dtypes)
    assert list(drawn.columns) == ["n", "m"]


def test_a_classifier_gives_the_labels_own_type():
    y = np.array(["007", "7"] * 20)
    first = rbm().fit(BITS)
    classifier = FineTunedClassifier(first, steps=3, random_state=0).fit(BITS, y)
    assert set(classifier.predict(BITS)) <= {"007", "7"}


# ---------------------------------------------------------------------- state


@each
def test_a_refused_fit_leaves_the_model(make):
    model = make().fit(BITS)
    before = model.sample(5)
    for bad in (
        BITS[:1],
        np.full((3, 2), np.inf),
        pd.DataFrame({"p": [1.5, 2.5, 3.5], "q": [None] * 3}),
        np.array([["a", {}]] * 3, dtype=object),
    ):
        with pytest.raises((ValueError, TypeError)):
            model.fit(bad)
        assert (model.sample(5) == before).all()
        assert model.n_features_in_ == 6


def test_refused_labels_leave_the_classes(tmp_path):
    y = np.where(BITS[:, 0] > 0, "dog", "cat")
    model = rbm(labels=True).fit(BITS, y)
    for bad in (np.array(["x", "z"] * 19), np.full(N, "x"), np.arange(N) * 0.5):
        with pytest.raises(ValueError, match="y"):
            model.fit(BITS, bad)
    assert model.classes_.tolist() == ["cat", "dog"]
    model.save(tmp_path / "run")
    assert (equilibria.load(tmp_path / "run").predict(BITS) == model.predict(BITS)).all()


@pytest.mark.parametrize(
    ("make", "params"),
    [
        (gan, {"packing": 2}),
        (gan, {"latent_dim": 3}),
        (gan, {"condition": [0]}),
        (gan, {"labels": True}),
        (gan, {"prior": "uniform"}),
        (rbm, {"n_components": 9}),
        (rbm, {"kinds": "spin", "labels": True}),
        (dbm, {"hidden": (2, 2, 2)}),
        (made, {"hidden": (5, 5)}),
    ],
)
def test_what_was_fitted_is_saved(tmp_path, make, params):
    model = make().fit(BITS)
    drawn = model.sample(3)
    model.set_params(**params).save(tmp_path / "run")
    assert (equilibria.load(tmp_path / "run").sample(3) == drawn).all()


@pytest.mark.parametrize(
    ("make", "name", "number"),
    [
        (rbm, "n_iter", np.int64),
        (dbm, "steps", np.uint8),
        (dbn, "steps", np.int16),
        (made, "steps", np.int64),
    ],
)
def test_numpys_numbers_are_pythons(tmp_path, make, name, number):
    plain = make().set_params(**{name: 3}).fit(BITS)
    same = make(out=tmp_path / "run").set_params(**{name: number(3)}, verbose=number(0)).fit(BITS)
    assert same.n_steps_ == plain.n_steps_
    again = equilibria.load(tmp_path / "run")
    assert type(getattr(again, name)) is int
    assert (again.sample(3) == plain.sample(3)).all()


def test_small_types_do_not_overflow(tmp_path):
    steps = rbm().set_params(n_iter=np.uint8(200), batch_size=np.uint8(20)).fit(BITS).n_steps_
    assert steps == 200 * N // 20
    model = rbm(labels=np.True_, missing_label=np.int64(-1), learning_rate=np.float32(0.125))
    model.fit(BITS, BITS[:, 0].astype(int)).save(tmp_path / "run")
    assert equilibria.load(tmp_path / "run").get_params()["missing_label"] == -1


@pytest.mark.parametrize("kinds", ["real", "spin"])
def test_a_batch_that_diverges_is_taken_back(tmp_path, kinds):
    draws = RNG.normal(size=(20, 2))
    far = 1000 * draws if kinds == "real" else np.sign(draws)
    rate = 0.01 if kinds == "real" else 3e38  # one step from what float32 holds: 3 to 8 batches do
    model = RBM(3, kinds=kinds, random_state=0, learning_rate=rate, momentum=0.9)
    near = far / 1000 if kinds == "real" else far
    model.partial_fit(near)

    def go_on():
        for _ in range(20):
            model.partial_fit(far)

    with pytest.raises(DivergedError, match="the state before it is kept"):
        go_on()
    assert np.isfinite(model.score_samples(near)).all()
    model.save(tmp_path / "run")
    assert np.isfinite(equilibria.load(tmp_path / "run").score_samples(near)).all()


@each
def test_global_state_is_neither_read_nor_moved(make):
    before = make().fit(BITS).sample(4)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002  (the global generator is meant)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    try:
        with torch.inference_mode():
            model = make().fit(BITS)
            drawn = model.sample(4)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert (drawn == before).all()
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert {p.dtype for p in model.model_.parameters()} == {torch.float32}


# ---------------------------------------------------------------------- files, large numbers


@pytest.mark.parametrize(
    "text",
    [
        "zip,x\n02139,1\n2139,2\n02139,3\n",
        "code,x\n12_34,1\n1_2,2\n1_2,3\n",
        f"id,x\n{2**53 + 1},0\n{2**53 + 2},1\n{2**53 + 3},1\n",
        f"id,k\n{2**60 + 1},a\n{2**60 + 2},b\n{2**60 + 5},b\n",
        "a;b\n1,5;x\n-3,25;y\n2;y\n",
        "t,x\n1700000001,1\n1700000060,2\n1700000061,5\n",
        "b,x\nTrue,1\nfalse,2\nTrue,2\n",
    ],
)
def test_a_file_comes_back_as_it_stood(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    frame = load(tmp_path / "t.csv", text=True).values
    holed = frame.copy().astype({frame.columns[1]: object})
    holed.iloc[0, 1] = None
    filled = rbm(kinds="mixed").fit(frame).impute(holed)
    first = frame.columns[0]
    assert filled[first].tolist() == frame[first].tolist()
    assert filled.dtypes.equals(frame.dtypes)
    write_csv(tmp_path / "f.csv", filled)
    assert read_csv(tmp_path / "f.csv", text=True)[0][:, 0].tolist() == frame[first].tolist()


@pytest.mark.parametrize("offset", [0.0, 1.7e9, -3e11])
def test_differences_of_large_numbers_reach_the_numbers(offset):
    real, far = RNG.normal(size=(200, 2)), RNG.normal(size=(200, 2)) + 8
    assert two_sample(real + offset, far + offset).value > 0.95
    assert frechet(real + offset, far + offset).value == pytest.approx(128, rel=0.1)
    density = GaussianMixture(np.array([[offset] * 2, [offset + 8] * 2]), 1.0)
    assert modes(np.r_[real, far] + offset, density).value == 2
    fresh = RNG.normal(size=(100, 2))
    copied = memorisation(fresh + offset, real + offset, far[:100] - 8 + offset).parts[0]
    assert copied.name == "samples that are a training row"
    assert copied.value == 0


@pytest.mark.parametrize("make", [rbm, made])
def test_large_numbers_are_learnt_like_small_ones(make):
    small = np.arange(N, dtype=np.int64)[:, None] * [1, 2]
    large = small + 2**62
    models = [make(kinds="real").fit(X) for X in (small, large)]
    scores = [model.score_samples(X) for model, X in zip(models, (small, large), strict=True)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-6)
    drawn = [model.sample(30) for model in models]
    assert np.abs(drawn[1] - 2**62 - drawn[0]).max() <= 1
    dates = pd.DataFrame(
        {"t": pd.to_datetime(1_700_000_000 + small[:, 0], unit="s"), "x": small[:, 1]}
    )
    assert make(kinds="real").fit(dates).sample(30)["t"].nunique() > 10
