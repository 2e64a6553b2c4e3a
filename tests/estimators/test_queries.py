"""What a fitted machine can be asked: labels, completions, mixed tables; against machines small
enough to be exact."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from equilibria import DBM, RBM, Mixture, load, resume
from equilibria.inference import exact
from small import BITS, fitted, with_capability

PROTOTYPES = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]], dtype=float)
LABELS = np.arange(300) % 3
ROWS = np.abs(PROTOTYPES[LABELS] - (np.random.RandomState(0).uniform(size=(300, 6)) < 0.05))
"""Three classes, each with a pattern of six cells of which one in twenty is flipped."""

OPTIONS = {
    "labels": True,
    "learning_rate": 0.1,
    "momentum": 0.5,
    "batch_size": 20,
    "random_state": 0,
}


def rbm(**options):
    return RBM(**{"n_components": 6, "n_iter": 100, "chains": 50, **OPTIONS, **options})


def dbm(**options):
    return DBM(
        **{
            "hidden": (6, 6),
            "steps": 1500,
            "pretrain_steps": 300,
            "k": 2,
            **OPTIONS,
            "learning_rate": 0.1,
            **options,
        }
    )


@pytest.fixture(scope="module")
def classifier() -> RBM:
    return rbm().fit(ROWS, LABELS)


def test_class_probabilities_are_the_machines_own(classifier):
    """p(label | v) by enumeration of the whole machine."""
    machine, rows = copy.deepcopy(classifier.machine_).double(), torch.tensor(ROWS[:20])
    joint = [
        exact.log_prob(machine, {"visible": rows, "label": torch.eye(3).double()[[k] * 20]})
        for k in range(3)
    ]
    truth = torch.log_softmax(torch.stack(joint, 1), 1).exp().numpy()
    assert np.abs(classifier.predict_proba(ROWS[:20]) - truth).max() < 1e-9
    assert classifier.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("make", [rbm, dbm])
def test_labels_are_learnt_and_some_may_be_missing(make):
    names = np.array(["ant", "bee", "cow"], dtype=object)
    labels = names[LABELS]
    labels[::4] = None
    model = make().fit(ROWS, labels)
    assert (model.predict(PROTOTYPES) == names).all()
    assert (
        model.predict(ROWS[::4]) == names[LABELS[::4]]
    ).mean() > 0.9  # of the rows whose labels were missing
    drawn = model.sample(300, y="bee", random_state=0)
    assert (drawn.mean(0)[2:4] > 0.7).all()
    assert (drawn.mean(0)[[0, 1, 4, 5]] < 0.3).all()


def test_a_cell_may_be_missing_where_a_class_is_asked_for(classifier):
    rows = PROTOTYPES.copy()
    rows[:, ::2] = np.nan
    assert (classifier.predict(rows) == [0, 1, 2]).all()
    machine, given = (
        copy.deepcopy(classifier.machine_).double(),
        (torch.tensor(PROTOTYPES), torch.tensor(~np.isnan(rows))),
    )
    joint = [
        exact.log_prob(machine, {"visible": given, "label": torch.eye(3).double()[[k] * 3]})
        for k in range(3)
    ]
    truth = torch.softmax(torch.stack(joint, 1), 1).numpy()
    assert np.abs(classifier.predict_proba(rows) - truth).max() < 1e-9
    among = classifier.predict_proba(np.concatenate([ROWS[:5], rows[::-1]]))
    assert np.abs(among[:5] - classifier.predict_proba(ROWS[:5])).max() < 1e-12
    assert np.abs(among[5:] - truth[::-1]).max() < 1e-9


def test_labels_are_summed_over_in_scores(classifier):
    machine, rows = copy.deepcopy(classifier.machine_).double(), ROWS[:20]
    scores, truth = (
        classifier.score_samples(rows),
        exact.log_prob(machine, {"visible": torch.tensor(rows)}).numpy(),
    )
    assert np.abs(scores - truth).max() < 1e-9
    estimate = classifier.log_likelihood(rows)
    assert estimate.name == "mean log-likelihood"
    assert estimate.value == pytest.approx(scores.mean(), abs=1e-6)
    gaps = np.where(np.arange(6) < 2, np.nan, rows)
    assert (
        classifier.score_samples(gaps)
        <= exact.log_prob(
            machine, {"visible": (torch.tensor(gaps).nan_to_num(), torch.tensor(~np.isnan(gaps)))}
        ).numpy()
        + 1e-9
    ).all()
    assert "bound" in classifier.log_likelihood(gaps).name


def test_the_label_survives_saving_and_resuming(classifier, tmp_path):
    classifier.save(tmp_path / "a")
    again = load(tmp_path / "a")
    assert (again.predict_proba(ROWS) == classifier.predict_proba(ROWS)).all()
    assert again.classes_.tolist() == [0, 1, 2]
    model = rbm(n_iter=2, out=tmp_path / "b").fit(ROWS, LABELS)
    with pytest.raises(ValueError, match="not the data that the run was started with"):
        resume(tmp_path / "b", ROWS, 2 - LABELS)
    (tmp_path / "b" / "model.safetensors").unlink()
    assert (
        resume(tmp_path / "b", ROWS, LABELS).predict_proba(ROWS) == model.predict_proba(ROWS)
    ).all()


def test_without_a_label_layer_y_is_ignored_and_nothing_is_predicted():
    a, b = (RBM(n_components=3, n_iter=2, random_state=0).fit(ROWS, y) for y in (None, LABELS))
    assert (a.components_ == b.components_).all()
    assert not hasattr(a, "predict")
    assert not hasattr(a, "classes_")
    with pytest.raises(AttributeError, match="has no attribute 'predict_proba'") as refused:
        a.predict_proba(ROWS)
    assert "construct it with labels=True" in str(refused.value.__cause__)


# ---------------------------------------------------------------- completions


@pytest.fixture(scope="module")
def pairs() -> RBM:
    """Columns 0 and 1 agree, and so do columns 2 and 3."""
    rows = np.repeat(np.random.RandomState(0).randint(2, size=(400, 2)), 2, axis=1).astype(np.uint8)
    return RBM(
        n_components=6, n_iter=40, batch_size=10, learning_rate=0.1, chains=50, random_state=0
    ).fit(rows)


def test_completions_are_drawn_from_the_conditional(pairs):
    """2,000 completions of one row against the enumerated conditional: a χ² above 30.7 (3 degrees
    of freedom) has probability 1e-6."""
    given = np.array([[1.0, np.nan, np.nan, 0.0]])
    drawn = pairs.impute(given, n=2000, random_state=1)[:, 0, 1:3]
    options = torch.tensor([[1.0, a, b, 0.0] for a in (0, 1) for b in (0, 1)], dtype=torch.float64)
    p = torch.softmax(
        exact.log_prob(copy.deepcopy(pairs.machine_).double(), {"visible": options}), 0
    ).numpy()
    counts = np.bincount((drawn[:, 0] * 2 + drawn[:, 1]).astype(int), minlength=4)
    assert ((counts - 2000 * p) ** 2 / (2000 * p)).sum() < 30.7
    assert (pairs.impute(given, how="mode") == [[1, 1, 0, 0]]).all()
    means = pairs.impute(given, how="mean", sweeps=2000)
    assert means[0, 1] == pytest.approx(p[2] + p[3], abs=0.02)
    assert means[0, 2] == pytest.approx(p[1] + p[3], abs=0.02)


def test_training_takes_missing_cells():
    """A fifth of the cells is gone; what is learnt is near to what is learnt without gaps."""
    rows = np.repeat(np.random.RandomState(0).randint(2, size=(300, 2)), 2, axis=1).astype(float)
    rows[np.random.RandomState(1).uniform(size=rows.shape) < 0.2] = np.nan
    rows = rows[~np.isnan(rows).all(1)]
    model = RBM(
        n_components=6, n_iter=60, batch_size=10, learning_rate=0.3, chains=50, random_state=0
    ).fit(rows)
    whole = np.array([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 0, 0]], dtype=float)
    scores = model.score_samples(whole)
    assert scores[:2].min() > scores[2] + 1  # pairs agree: 1/4 each, and 0
    assert np.isfinite(model.score_samples(rows)).all()  # of what is observed in each row
    one = model.model_.clamp(torch.tensor([[np.nan, np.nan, np.nan, 1.0]]).double())
    assert model.score_samples([[np.nan, np.nan, np.nan, 1.0]])[0] <= float(
        exact.log_prob(copy.deepcopy(model.machine_).double(), one)
    )  # mean field is a bound
    assert (model.impute([[np.nan, 1, 0, np.nan]], how="mode") == [[1, 1, 0, 0]]).all()


def test_mean_field_over_missing_cells_converges_in_training():
    """Cells are copies of one coin, so a machine needs only that the missing ones follow those that
    are there.

    After one step the means still move by .9 (they come from h = 0), and complete rows get −1.6
    nats in place of −log 2 and −1.0 here.
    """
    rows = np.repeat(np.array([[0.0], [1.0]]), 100, axis=0) * np.ones(4)
    rows[np.random.RandomState(1).uniform(size=rows.shape) < 0.4] = np.nan
    rows = rows[~np.isnan(rows).all(1)]
    model = RBM(4, n_iter=60, batch_size=20, learning_rate=0.1, momentum=0.9, random_state=0).fit(
        rows
    )
    assert [row["mean_field_change"] for row in model.history_ if "mean_field_change" in row][
        -1
    ] < 0.05
    assert -1.25 < model.score([[0.0] * 4, [1.0] * 4]) <= -np.log(2)


# ---------------------------------------------------------------- tables of several kinds


def table(rows: int, seed: int) -> pd.DataFrame:
    """A yes/no column, a colour of three and a length, all told by one hidden kind."""
    r = np.random.RandomState(seed)
    kind = r.randint(3, size=rows)
    flip = r.uniform(size=rows) < 0.05
    frame = pd.DataFrame(
        {
            "tall": np.where((kind == 2) ^ flip, "y", "n"),
            "size": 2.0 * kind + 0.3 * r.normal(size=rows),
        }
    )
    frame["colour"] = np.array(["blue", "green", "red"])[kind]
    return frame


@pytest.fixture(scope="module")
def mixed() -> RBM:
    return RBM(
        10, n_iter=60, kinds="mixed", batch_size=10, learning_rate=0.25, chains=100, random_state=0
    ).fit(table(500, 0))


def test_a_mixed_table_comes_back_as_it_was(mixed):
    assert [layer.name for layer in mixed.table_.layers] == ["binary", "categorical", "quantile"]
    new = mixed.sample(300)
    assert list(new.columns) == ["tall", "size", "colour"]
    assert new["size"].dtype == float
    assert set(new["tall"]) == {"y", "n"}
    centre = new.groupby("colour")["size"].mean()
    assert (np.abs(centre - [0.0, 2.0, 4.0]) < 0.5).all()


def test_a_mixed_table_is_filled_in(mixed):
    test = table(100, 1)
    gone = test.copy()
    gone["colour"] = None
    filled = mixed.impute(gone, how="mode")
    assert (filled["colour"] == test["colour"]).mean() > 0.9
    assert (filled["size"] == test["size"]).all()
    with pytest.raises(ValueError, match="which have no mean"):
        mixed.impute(gone, how="mean")
    assert mixed.transform(test).shape == (100, 10)
    assert mixed.components_.shape == (10, 5)
    assert np.isfinite(mixed.score_samples(test)).all()


def test_a_mixed_machine_is_saved_with_its_schema(mixed, tmp_path):
    mixed.save(tmp_path / "run")
    again, test = load(tmp_path / "run"), table(20, 2)
    assert (again.score_samples(test) == mixed.score_samples(test)).all()
    pd.testing.assert_frame_equal(again.sample(5), mixed.sample(5))


@pytest.mark.parametrize("hidden_type", ["bernoulli", "spin", "rectified"])
@pytest.mark.parametrize("units", ["binary", "spin"])
def test_every_kind_of_hidden_unit_learns(units, hidden_type):
    rows = np.repeat(np.random.RandomState(0).randint(2, size=(300, 2)), 2, axis=1).astype(float)
    rows = 2 * rows - 1 if units == "spin" else rows
    options = {
        "learning_rate": 0.25 if hidden_type == "rectified" else 0.5,
        "batch_size": 10,
        "chains": 50,
        "random_state": 0,
    }
    model = RBM(n_components=5, n_iter=15, kinds=units, hidden_type=hidden_type, **options).fit(
        rows
    )
    assert model.score(rows) > -2.4  # coins: −2.77; perfect: −1.39
    assert set(np.unique(model.sample(50))) == set(np.unique(rows))


def test_rectified_columns_stay_positive():
    rows = np.random.RandomState(0).exponential(size=(300, 3)) * [1, 10, 100]
    model = RBM(
        n_components=4, n_iter=10, kinds="positive", learning_rate=0.01, random_state=0
    ).fit(rows)
    new = model.sample(500)
    assert (new >= 0).all()
    assert (np.abs(np.log(new.mean(0) / rows.mean(0))) < 0.5).all()


# ---------------------------------------------------------------- what a review found


def test_a_missing_real_cell_has_no_density():
    """Columns that are independent: the score of a row is the sum of its observed columns'
    densities, in the data's own scale."""
    rows = np.random.RandomState(0).normal(size=(200, 2)) * [1000.0, 1.0]
    model = RBM(n_components=1, n_iter=1, learning_rate=1e-9, random_state=0).fit(rows)
    both, first, second, none = model.score_samples(
        [[0.0, 0.0], [0.0, np.nan], [np.nan, 0.0], [np.nan, np.nan]]
    )
    assert none == pytest.approx(0.0, abs=1e-3)
    assert both == pytest.approx(first + second, abs=1e-3)
    assert first == pytest.approx(second - np.log(1000), abs=0.3)
    assert model.log_likelihood([[np.nan, 0.0], [np.nan, 0.0]]).value == pytest.approx(second)


def test_labels_can_be_turned_off_again():
    model = rbm(n_iter=2).fit(ROWS, LABELS)
    model.set_params(labels=False).fit(ROWS)
    assert list(model.machine_.layers) == ["visible", "hidden1"]
    assert not hasattr(model, "predict")


def test_a_gibbs_step_with_a_label_layer_keeps_the_models_law(classifier):
    """From exact draws, one step gives exact draws again: each pattern's share within 4.9 standard
    errors (1e-6 for each of 64)."""
    patterns = torch.tensor([[(i >> j) & 1 for j in range(6)] for i in range(64)]).double()
    p = (
        exact.log_prob(copy.deepcopy(classifier.machine_).double(), {"visible": patterns})
        .exp()
        .numpy()
    )
    start = patterns.numpy()[np.random.RandomState(0).choice(64, size=20_000, p=p / p.sum())]
    counts = np.bincount(
        (classifier.gibbs(start, random_state=1) @ 2 ** np.arange(6)).astype(int), minlength=64
    )
    assert (np.abs(counts - 20_000 * p) < 4.9 * np.sqrt(20_000 * p * (1 - p)) + 3).all()


def test_kinds_survive_saving(tmp_path):
    frame = table(60, 3)
    model = RBM(
        n_components=3,
        n_iter=1,
        kinds={"size": "real", 2: "categorical"},
        random_state=0,
    ).fit(frame)
    model.save(tmp_path / "run")
    assert load(tmp_path / "run").kinds == {"size": "real", 2: "categorical"}


def test_partial_fit_goes_on_with_the_chains():
    rows = ROWS[:100]
    model = RBM(n_components=3, n_iter=1, chains=20, random_state=0).fit(rows)
    before = model.chains_["visible"].clone()
    model.partial_fit(rows)
    assert model.chains_["visible"].shape == before.shape == (20, 6)
    assert not torch.equal(model.chains_["visible"], before)


def test_given_numbers_that_are_not_whole_are_kept():
    model = RBM(n_components=2, n_iter=1, value_range=(0, 255), random_state=0).fit(
        np.array([[0, 255], [255, 0]] * 10, dtype=np.uint8)
    )
    assert model.impute([[30.4, np.nan]])[0, 0] == 30.4


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (RBM(method="tempered", replicas=1), "replicas=1: a tempered ladder has 2 or more"),
        (RBM(method="tempered", precision="bfloat16"), "with method='tempered' chains are float32"),
        (RBM(kinds="real", hidden_type="rectified"), "hidden_type='rectified': two neighbouring"),
        (DBM(hidden_type="rectified"), "hidden_type='rectified': two neighbouring layers"),
        (DBM((4, 3), top_replication=2), "top_replication=2: the top layer's 3 units cannot"),
        (RBM(sparsity=(1.5, 0.1)), "the target is a share, at most 1"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        model.fit(ROWS)


@pytest.mark.parametrize("method", ["tempered", "trajectory"])
def test_tempered_chains_learn_and_what_is_watched_is_logged(method):
    model = RBM(
        n_components=4,
        n_iter=10,
        chains=20,
        method=method,
        replicas=4,
        validation_fraction=0.2,
        random_state=0,
    ).fit(ROWS)
    seen = {name for row in model.history_ for name in row}
    assert {
        "swap_acceptance",
        "r_hat",
        "frozen_chains",
        "autocorrelation_time",
        "free_energy_gap",
    } <= seen
    assert model.score(ROWS) > -4.0  # six fair coins: −4.16


def test_a_category_that_fit_did_not_see_is_refused_or_missing():
    """By row: the others' scores are what they are without it."""
    rows, new = table(100, 0), table(3, 5)
    odd = new.copy()
    odd.loc[odd.index[1], "colour"] = "mauve"
    model = Mixture(2, kinds="mixed", random_state=0)
    with pytest.raises(ValueError, match="is 'mauve', which was not among its categories"):
        model.fit(rows).score_samples(odd)
    model.set_params(unknown="missing").fit(rows)
    with pytest.warns(UserWarning, match="'mauve', .*: taken as missing"):
        found = model.score_samples(odd)
    gap = new.copy()
    gap.loc[gap.index[1], "colour"] = None
    np.testing.assert_array_equal(found, model.score_samples(gap))


@pytest.mark.parametrize("name", with_capability("score"))
def test_a_cell_s_score_is_its_log_probability_given_the_rest(name: str) -> None:
    """log p(x) − log Σ_v p(x with v in the cell), by enumeration of the two values; exact for every
    model, of a bound too. p-values are ranks in the column."""
    model = fitted(name)
    if model.table_.kind != "binary":
        pytest.skip("its columns are numbers")
    found, exact = model.cell_scores(BITS[:6]), np.empty((6, BITS.shape[1]))
    for place in range(BITS.shape[1]):
        both = []
        for value in (0.0, 1.0):
            rows = BITS[:6].copy()
            rows[:, place] = value
            both.append(model.score_samples(rows))
        exact[:, place] = model.score_samples(BITS[:6]) - np.logaddexp(*both)
    assert np.allclose(found, exact, atol=1e-5)
    known = model.cell_scores(BITS)
    expected = (1 + (known[None] <= found[:, None]).sum(1)) / (1 + len(BITS))
    assert np.allclose(model.cell_pvalues(BITS[:6], BITS), expected)


def test_cells_of_a_mixed_table_are_scored_by_what_is_left_of_their_row() -> None:
    """A category by enumeration; a number by its density: their sum over a grid is one."""
    stream = np.random.RandomState(0)
    kinds = stream.choice(["a", "b", "c"], 200)
    frame = pd.DataFrame({"kind": kinds, "size": stream.normal(size=200) + (kinds == "a") * 4})
    frame.loc[3, "size"] = None
    model = Mixture(4, random_state=0).fit(frame)
    found = model.cell_scores(frame[:5])
    assert np.isnan(found).tolist() == [[False, row == 3] for row in range(5)]
    every = [frame[:1].assign(kind=kind) for kind in "abc"]
    total = np.logaddexp.reduce([model.score_samples(one)[0] for one in every])
    assert found[0, 0] == pytest.approx(model.score_samples(frame[:1])[0] - total, abs=1e-5)
    grid = np.linspace(-8, 14, 4001)
    rows = pd.DataFrame({"kind": frame["kind"][0], "size": grid})
    assert np.trapezoid(np.exp(model.cell_scores(rows)[:, 1]), grid) == pytest.approx(1, abs=1e-3)
    p = model.cell_pvalues(frame[:5].set_axis(list("vwxyz")), frame)
    assert (list(p.index), list(p.columns)) == (list("vwxyz"), ["kind", "size"])


class Foreign:
    """A frame of another library: it has the interchange protocol, and looks like an array too."""

    def __init__(self, frame: pd.DataFrame):
        self.frame, self.columns, self.shape = frame, list(frame.columns), frame.shape

    def __len__(self) -> int:
        return len(self.frame)

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self.frame.to_numpy()

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> object:
        return self.frame.__dataframe__()


def test_a_frame_of_another_library_is_as_good_as_one_of_pandas() -> None:
    stream = np.random.RandomState(0)
    own = pd.DataFrame({"word": stream.choice(["a", "b"], 60), "size": stream.normal(size=60)})
    own.loc[2, "word"] = None
    foreign, model = Foreign(own), Mixture(2, random_state=0)
    expected = model.fit(own).sample(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.fit(foreign).sample(5).equals(expected)
        assert model.impute(foreign).equals(model.impute(own))
        assert np.array_equal(model.score_samples(foreign), model.score_samples(own))
        assert model.cell_pvalues(foreign, own).equals(model.cell_pvalues(own, own))
        given = own[["word"]].assign(size=None)[:2]
        assert model.sample(2, given=Foreign(given)).equals(model.sample(2, given=given))
        assert str(model.verdict(foreign)) == str(model.verdict(own))
    other = Foreign(own)
    other.__class__ = type("Frame", (Foreign,), {"__dataframe__": lambda self: 1 / 0})
    with pytest.raises(ValueError, match=r"which pandas could not read .*to_pandas"):
        model.fit(other)
