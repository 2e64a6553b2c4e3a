"""RBM and DBM: scores against enumeration, samples in the data's own scale, and every kind of
column."""

from __future__ import annotations

import copy
import importlib.util
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from equilibria import DBM, RBM, load
from equilibria.data import bars_and_stripes
from equilibria.inference import exact

FALSE_ALARM = 1e-6
random = np.random.RandomState(0)
BITS = (random.uniform(size=(80, 6)) < np.array([0.1, 0.3, 0.5, 0.5, 0.7, 0.9])).astype(np.uint8)
GREYS = random.uniform(size=(60, 5))
KIND = random.uniform(size=(200, 1)) < 0.5
PAIRS = ((random.uniform(size=(200, 6)) < 0.05) ^ ((np.arange(6) < 3) == KIND)).astype(np.uint8)
"""Rows near 111000 or 000111: about −2.0 nats a row at best, −6 log 2 = −4.2 where columns are
taken for fair coins of their own."""
COINS = -6 * math.log(2)

RBM_OPTIONS = {"n_components": 4, "n_iter": 5, "batch_size": 10, "chains": 10, "random_state": 0}
DBM_OPTIONS = {
    "hidden": (5, 3),
    "steps": 40,
    "pretrain_steps": 20,
    "batch_size": 10,
    "chains": 10,
    "learning_rate": 0.05,
    "random_state": 0,
}


def small(kind, **options):
    return kind(**{**(RBM_OPTIONS if kind is RBM else DBM_OPTIONS), **options})


def all_states(columns: int) -> np.ndarray:
    return (np.arange(2**columns)[:, None] >> np.arange(columns) & 1).astype(float)


def parameters_of(model) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.machine_.parameters()])


# ---------------------------------------------------------------- scores


def enumerated(model, X: np.ndarray) -> np.ndarray:
    """log p(v) of a small stack of binary layers by summing exp(−E) over all hidden states, in
    numpy."""
    weights = [w.detach().double().numpy() for w in model.machine_.weight.values()]
    biases = [b.detach().double().numpy() for b in model.machine_.bias.values()]
    visible, hidden = all_states(len(biases[0])), [all_states(len(b)) for b in biases[1:]]

    def log_sums(v: np.ndarray) -> np.ndarray:
        """log Σ_h exp(−E(v, h)) by a pass down the stack."""
        message = np.zeros(len(hidden[-1]))
        for i in range(len(hidden) - 1, 0, -1):
            table = hidden[i - 1] @ weights[i] @ hidden[i].T + (hidden[i] @ biases[i + 1] + message)
            message = np.logaddexp.reduce(table, axis=1)
        table = v @ weights[0] @ hidden[0].T + (hidden[0] @ biases[1] + message)
        return v @ biases[0] + np.logaddexp.reduce(table, axis=1)

    return log_sums(X) - np.logaddexp.reduce(log_sums(visible))


def test_an_rbms_scores_are_the_exact_log_likelihood():
    model = small(RBM, n_iter=30, learning_rate=0.2).fit(BITS)
    scores = model.score_samples(BITS)
    assert np.abs(scores - enumerated(model, BITS)).max() < 1e-9
    assert np.abs(np.exp(model.score_samples(all_states(6))).sum() - 1) < 1e-9
    assert model.score(BITS) == pytest.approx(scores.mean(), abs=1e-12)
    assert model.log_partition_.is_exact


def test_a_dbms_scores_are_a_lower_bound():
    model = small(DBM, learning_rate=0.3, momentum=0.9, steps=300).fit(BITS)
    scores, truth = model.score_samples(BITS), enumerated(model, BITS.astype(float))
    assert (scores <= truth + 1e-9).all()
    assert (truth - scores).max() > 1e-6, (
        "this machine's posterior does not couple its layers: the test is empty"
    )
    assert (truth - scores).max() < 0.5
    found = model.log_likelihood(BITS)
    assert found.value == pytest.approx(scores.mean(), abs=1e-5)
    assert "bound" in found.name


def test_greys_are_scored_as_one_draw_of_them():
    model = small(RBM, binarise="resample").fit(GREYS)
    rounded = {
        tuple(row): score
        for row, score in zip(all_states(5), model.score_samples(all_states(5)), strict=True)
    }
    scores = model.score_samples(GREYS)
    assert all(min(abs(score - other) for other in rounded.values()) < 1e-9 for score in scores)
    model = small(RBM, binarise="threshold").fit(GREYS)
    assert np.allclose(
        model.score_samples(GREYS), model.score_samples((GREYS > 0.5).astype(float)), atol=1e-9
    )


# ---------------------------------------------------------------- samples


def test_samples_have_the_scale_and_type_of_the_data():
    bytes_ = (GREYS * 255).astype(np.uint8)
    samples = small(RBM, value_range=(0, 255)).fit(bytes_).sample(30)
    assert samples.dtype == np.uint8
    assert samples.min() >= 0
    assert len(np.unique(samples)) > 2, "grey data are given back as means"
    assert small(DBM).fit(BITS).sample(10).dtype == np.uint8
    assert set(np.unique(small(RBM).fit(BITS).sample(50))) == {0, 1}
    floats = (GREYS * 4 - 2).astype(np.float32)
    samples = small(RBM, value_range=(-2, 2)).fit(floats).sample(30)
    assert samples.dtype == np.float32
    assert -2 <= samples.min() < 0 < samples.max() <= 2
    assert small(RBM).fit(BITS.astype(bool)).sample(3).dtype == bool


def test_conditional_samples_follow_the_conditional():
    """The share of a 1 in each free cell against enumeration: 500 independent chains, a two-sided
    binomial test."""
    model = small(RBM, n_iter=40, learning_rate=0.2).fit(BITS)
    given = np.array([1, np.nan, np.nan, 0, np.nan, np.nan])
    states = all_states(6)
    states = states[(states[:, 0] == 1) & (states[:, 3] == 0)]
    p = np.exp(model.score_samples(states))
    shares = (p / p.sum()) @ states
    samples = model.sample(500, given=given, random_state=1, sweeps=100)
    for column in (1, 2, 4, 5):
        assert (
            stats.binomtest(int(samples[:, column].sum()), 500, shares[column]).pvalue
            > FALSE_ALARM / 4
        )


# ---------------------------------------------------------------- other columns


def test_categories_of_text():
    colours = np.array([["red", "yes"], ["green", "no"], ["blue", "no"]] * 20)
    model = small(RBM, kinds="categorical", n_iter=40, learning_rate=0.3).fit(colours)
    samples = model.sample(200)
    assert samples.dtype == colours.dtype
    assert set(samples[:, 0]) <= {"red", "green", "blue"}
    assert set(samples[:, 1]) <= {"yes", "no"}
    scores = model.score_samples(np.array([["red", "yes"], ["red", "no"]]))
    assert scores[0] > scores[1] + 0.5, "what goes together was not learnt"
    given = model.sample(50, given=np.array(["red", None], dtype=object))
    assert (given[:, 0] == "red").all()
    assert model.transform(colours).shape == (60, 4)
    with pytest.raises(ValueError, match="'purple'"):
        model.score_samples(np.array([["purple", "yes"]]))


def test_categories_of_numbers_and_of_both(tmp_path):
    numbers = np.array([[0, 7], [1, 8], [2, 9]] * 20)
    model = small(RBM, kinds="categorical").fit(numbers)
    samples = model.sample(30)
    assert samples.dtype == numbers.dtype
    assert set(samples[:, 1]) <= {7, 8, 9}
    frame = pd.DataFrame({"colour": ["red", "green"] * 30, "wheels": [2, 4] * 30})
    model = small(DBM, kinds="categorical", out=str(tmp_path / "run")).fit(frame)
    samples = model.sample(30)
    assert list(samples.columns) == ["colour", "wheels"]
    assert set(samples["colour"]) <= {"red", "green"}
    assert set(samples["wheels"]) <= {2, 4}
    assert load(tmp_path / "run").sample(30).equals(samples)


def test_a_category_with_one_value_is_refused():
    with pytest.raises(
        ValueError, match="column 1 has the one category 'b' in every row; leave it out"
    ):
        small(RBM, kinds="categorical").fit(
            np.array([["a", "b"], ["c", "b"], [None, "b"]] * 5, dtype=object)
        )


def gaussian_base_rate(train: np.ndarray, test: np.ndarray) -> float:
    return float(stats.norm(train.mean(0), train.std(0)).logpdf(test).sum(1).mean())


def clusters(rows: int, seed: int) -> np.ndarray:
    """Three round clusters in four dimensions, so that columns depend on each other."""
    r = np.random.RandomState(seed)
    centres = np.array([[3.0, 3, 0, 0], [-3, 0, 3, 0], [0, -3, -3, 2]])
    return centres[r.randint(3, size=rows)] + r.normal(size=(rows, 4))


def test_gaussian_columns_with_the_default_parameters():
    """Standardised data, nothing tuned: finite, better than independent normal columns, and the
    data's mean and spread come back."""
    train, test = (clusters(2000, seed) for seed in (1, 2))
    scale = train.std(0)
    train, test = (train - train.mean(0)) / scale, (test - train.mean(0)) / scale
    model = RBM(random_state=0, n_components=16, n_iter=10).fit(train)
    found = model.score(test) - float(model.table_.log_volume(torch.zeros(1, test.shape[1])))
    assert math.isfinite(found)
    assert found > gaussian_base_rate(train, test) + 0.1
    samples = model.sample(2000)
    assert samples.dtype == train.dtype
    assert np.abs(samples.mean(0)).max() < 0.35
    assert 0.7 < samples.std(0).min() <= samples.std(0).max() < 1.5
    assert model.health_


def test_gaussian_columns_in_their_own_units():
    """Columns of any offset and scale: the mean of the samples is the mean of the data.

    The clusters are far apart, so a chain stays in one: there are many.
    """
    data = clusters(500, 3) * np.array([1, 100, 1e-3, 5]) + np.array([0, 1e4, -1, 7])
    model = RBM(random_state=0, n_components=8, n_iter=10, kinds="real", chains=200).fit(data)
    samples = model.sample(1000)
    assert (np.abs(samples.mean(0) - data.mean(0)) < 0.4 * data.std(0)).all()
    assert np.isfinite(model.score_samples(data)).all()


# ------------------------------------------ further training, and other ways to train


@pytest.mark.parametrize("kind", [RBM, DBM])
def test_partial_fit_learns(kind):
    model, first = small(kind, learning_rate=0.1, momentum=0.5, chains=50), None
    for i in range(400):
        assert model.partial_fit(PAIRS[i % 4 * 50 :][:50]) is model
        first = model.score(PAIRS) if first is None else first
    assert model.n_steps_ == 400
    assert first == pytest.approx(COINS, abs=0.1)
    assert model.score(PAIRS) > COINS + 1
    assert model.sample(3).shape == (3, 6)
    with pytest.raises(ValueError, match="X has 5 features"):
        model.partial_fit(PAIRS[:, :5])


def test_partial_fit_goes_on_after_fit_and_its_rate_does_not_fall():
    model = small(RBM).fit(BITS)
    before, log_z = parameters_of(model), model.log_partition_.value
    model.partial_fit(BITS[:10])
    step = float((parameters_of(model) - before).norm())
    assert step > 0
    assert model.log_partition_.value != log_z
    for _ in range(200):
        model.partial_fit(BITS[:10])
    before = parameters_of(model)
    model.partial_fit(BITS[:10])
    assert float((parameters_of(model) - before).norm()) > step / 20


def test_partial_fit_of_greys_draws_them():
    one, two = (small(RBM).partial_fit(GREYS) for _ in range(2))
    assert torch.equal(parameters_of(one), parameters_of(two))
    means = small(RBM, binarise=None).partial_fit(GREYS)
    assert not torch.equal(parameters_of(one), parameters_of(means))


@pytest.mark.parametrize(
    "options",
    [{"method": "cd"}, {"centred": False}, {"k": 3}, {"momentum": 0.0}, {"binarise": "fixed"}],
)
@pytest.mark.parametrize("kind", [RBM, DBM])
def test_every_way_to_train_trains(kind, options):
    length = {"n_iter": 30} if kind is RBM else {"steps": 500, "pretrain_steps": 50}
    settings = {"learning_rate": 0.1, "momentum": 0.5, "chains": 50, **length, **options}
    model = small(kind, **settings).fit(PAIRS)
    assert model.score(PAIRS) > COINS + 0.8
    assert bool(model.chains_) is (model.method == "pcd")
    assert model.sample(4).shape == (4, 6)


def test_a_dbm_learns_bars_and_stripes():
    """Within half a nat of the best that can be, by enumeration: the settings of
    experiments/bars_and_stripes.py."""
    path = Path(__file__).parents[2] / "experiments" / "bars_and_stripes.py"
    spec = importlib.util.spec_from_file_location("bars", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    model = script.train(seed=0)
    found = script.measure(model, seed=0)
    assert found["log_likelihood"] > -math.log(30) - 0.5
    assert found["log_likelihood"] < -math.log(30)
    assert found["bound"] <= found["log_likelihood"]
    assert found["low"] <= found["log_z"] <= found["high"]
    machine = copy.deepcopy(model.machine_).double()
    assert model.log_partition_.value == pytest.approx(exact.log_partition(machine), abs=1e-9)
    drawn = {tuple(row) for row in model.sample(300)}
    patterns = {tuple(row) for row in bars_and_stripes(4)}
    assert len(drawn & patterns) >= 20


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RBM(10**10), "n_components=10000000000: would take"),
        (lambda: RBM(10**20), "n_components=100000000000000000000: would take"),
        (lambda: DBM((10**6, 10**6)), r"hidden=\(1000000, 1000000\): would take"),
        (lambda: RBM(4, chains=10**12), "chains=1000000000000: would take"),
        (lambda: RBM(4, method="tempered", replicas=10**12), "replicas=1000000000000: would take"),
        (lambda: RBM(4, ais_chains=10**12), "ais_chains=1000000000000: would take"),
    ],
)
def test_what_memory_cannot_hold_is_refused_before_any_work(build, message, tmp_path):
    model = build().set_params(out=str(tmp_path / "run"))
    with pytest.raises(
        ValueError, match=message + r" .* GiB of memory, and this machine has .*; take fewer"
    ):
        model.fit(np.eye(6))
    assert not (tmp_path / "run").exists()


def test_more_samples_than_memory_holds_are_refused():
    model = RBM(2, n_iter=1, random_state=0).fit(np.eye(6))
    with pytest.raises(ValueError, match="n=1000000000000: would take"):
        model.sample(10**12)
