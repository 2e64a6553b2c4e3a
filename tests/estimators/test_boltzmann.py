"""RBM and DBM: scores against enumeration, samples in the data's own scale, and every kind of column."""

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
"""Rows near 111000 or 000111: about −2.0 nats a row at best, −6 log 2 = −4.2 where columns are taken for fair coins of their own."""
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
    """log p(v) of a small stack of binary layers by summing exp(−E) over all hidden states, in numpy."""
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
    model = small(DBM, learning_rate=0.3, steps=300).fit(BITS)
    scores, truth = model.score_samples(BITS), enumerated(model, BITS.astype(float))
    assert (scores <= truth + 1e-9).all()
    assert (truth - scores).max() > 1e-6, (
        "this machine's posterior does not couple its layers: the test is empty"
    )
    assert (truth - scores).max() < 0.5
    found = model.log_likelihood(BITS)
    assert found.value == pytest.approx(scores.mean(), abs=1e-5)
    assert "bound" in found.name


@pytest.mark.parametrize("kind", [RBM, DBM])
@pytest.mark.parametrize("binarise", ["resample", "fixed", "threshold", None])
def test_scores_are_deterministic_and_of_a_row_alone(kind, binarise):
    model = small(kind, binarise=binarise).fit(GREYS)
    scores = model.score_samples(GREYS)
    assert (model.score_samples(GREYS) == scores).all()
    assert np.allclose(model.score_samples(GREYS[::-1])[::-1], scores, atol=1e-9)
    assert np.allclose(
        [model.score_samples(row[None])[0] for row in GREYS[:5]], scores[:5], atol=1e-9
    )
    state = torch.get_rng_state()
    model.score_samples(GREYS)
    assert torch.equal(torch.get_rng_state(), state)


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


# ---------------------------------------------------------------- reproducibility


@pytest.mark.parametrize("kind", [RBM, DBM])
def test_the_seed_reproduces_the_fit(kind):
    first, second, third = (small(kind, random_state=seed).fit(BITS) for seed in (1, 1, 2))
    assert torch.equal(parameters_of(first), parameters_of(second))
    assert not torch.equal(parameters_of(first), parameters_of(third))
    assert (first.sample(5) == second.sample(5)).all()


@pytest.mark.parametrize("kind", [RBM, DBM])
def test_threads_change_nothing_but_the_last_digits(kind):
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(parameters_of(small(kind).fit(BITS)))
    finally:
        torch.set_num_threads(before)
    assert torch.allclose(found[0], found[1], atol=1e-4)


def test_random_states_of_all_kinds():
    fresh = [small(RBM, random_state=None).fit(BITS) for _ in range(2)]
    assert fresh[0].seed_ != fresh[1].seed_
    assert not torch.equal(parameters_of(fresh[0]), parameters_of(fresh[1]))
    again = small(RBM, random_state=fresh[0].seed_).fit(BITS)
    assert torch.equal(parameters_of(again), parameters_of(fresh[0]))
    states = [small(RBM, random_state=np.random.RandomState(5)).fit(BITS) for _ in range(2)]
    assert torch.equal(parameters_of(states[0]), parameters_of(states[1]))
    moving = np.random.RandomState(5)
    both = [small(RBM, random_state=moving).fit(BITS) for _ in range(2)]
    assert torch.equal(parameters_of(both[0]), parameters_of(states[0]))
    assert not torch.equal(parameters_of(both[0]), parameters_of(both[1]))
    with pytest.raises(ValueError, match="random_state='x': expected"):
        small(RBM, random_state="x").fit(BITS)


def test_samples_follow_their_own_random_state():
    model = small(RBM).fit(BITS)
    assert (model.sample(20) == model.sample(20)).all()
    assert (model.sample(20, random_state=3) == model.sample(20, random_state=3)).all()
    assert (model.sample(20, random_state=3) != model.sample(20, random_state=4)).any()


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


def test_given_cells_are_kept():
    model = small(RBM, n_iter=20).fit(BITS)
    given = np.full(6, np.nan)
    given[[0, 5]] = 1, 0
    samples = model.sample(40, given=given)
    assert (samples[:, 0] == 1).all()
    assert (samples[:, 5] == 0).all()
    assert len(np.unique(samples[:, 1:5], axis=0)) > 3
    rows = np.where(random.uniform(size=(40, 6)) < 0.5, BITS[:40].astype(float), np.nan)
    kept = ~np.isnan(rows)
    assert (model.sample(40, given=rows)[kept] == rows[kept]).all()
    assert (model.sample(2, given=BITS[:2]) == BITS[:2]).all()
    grey = small(RBM).fit(GREYS)
    assert np.allclose(
        grey.sample(3, given=[0.25, np.nan, np.nan, np.nan, 0.75])[:, [0, 4]],
        [0.25, 0.75],
        atol=1e-6,
    )


def test_conditional_samples_follow_the_conditional():
    """The share of a 1 in each free cell against enumeration: 500 independent chains, a two-sided binomial test."""
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n=0: expected a whole number, 1 or more"),
        ({"sweeps": 0}, "sweeps=0: expected"),
        ({"y": 3}, "y=3: RBM has no label layer"),
        ({"given": [1.0, 0.0]}, r"given: expected shape \(6,\) or \(1, 6\), found \(2,\)"),
        ({"given": [5.0] * 6}, "given: X holds values from 5 to 5, outside 0 to 1"),
        ({"given": [math.inf] * 6}, "given: "),
    ],
)
def test_impossible_samples_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(RBM).fit(BITS).sample(**options)


# ---------------------------------------------------------------- other columns


def test_categories_of_text():
    colours = np.array([["red", "yes"], ["green", "no"], ["blue", "no"]] * 20)
    model = small(RBM, units="categorical", n_iter=40, learning_rate=0.3).fit(colours)
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
    model = small(RBM, units="categorical").fit(numbers)
    samples = model.sample(30)
    assert samples.dtype == numbers.dtype
    assert set(samples[:, 1]) <= {7, 8, 9}
    frame = pd.DataFrame({"colour": ["red", "green"] * 30, "wheels": [2, 4] * 30})
    model = small(DBM, units="categorical", out=str(tmp_path / "run")).fit(frame)
    samples = model.sample(30)
    assert list(samples.columns) == ["colour", "wheels"]
    assert set(samples["colour"]) <= {"red", "green"}
    assert set(samples["wheels"]) <= {2, 4}
    assert load(tmp_path / "run").sample(30).equals(samples)


def test_a_category_with_one_value_is_refused():
    with pytest.raises(
        ValueError, match="column 1 has the one category 'b' in every row; leave it out"
    ):
        small(RBM, units="categorical").fit(
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
    """Standardised data, nothing tuned: finite, better than independent normal columns, and the data's mean and spread come back."""
    train, test = (clusters(2000, seed) for seed in (1, 2))
    scale = train.std(0)
    train, test = (train - train.mean(0)) / scale, (test - train.mean(0)) / scale
    model = RBM(random_state=0, n_components=16, n_iter=10).fit(train)
    found = model.score(test) - float(np.log(np.array(model.schema_.scale)).sum())
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
    model = RBM(random_state=0, n_components=8, n_iter=10, units="gaussian", chains=200).fit(data)
    samples = model.sample(1000)
    assert (np.abs(samples.mean(0) - data.mean(0)) < 0.4 * data.std(0)).all()
    assert np.isfinite(model.score_samples(data)).all()


# ---------------------------------------------------------------- further training, and other ways to train


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
    """Within half a nat of the best that can be, by enumeration: the settings of experiments/bars_and_stripes.py."""
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


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0}, "n_components=0: expected a whole number, 1 or more"),
        ({"n_iter": 1.5}, "n_iter=1.5: expected"),
        ({"batch_size": True}, "batch_size=True: expected"),
        ({"learning_rate": 0}, "learning_rate=0: expected a finite number above 0"),
        ({"learning_rate": math.inf}, "learning_rate=inf: expected"),
        ({"learning_rate": math.nan}, "learning_rate=nan: expected"),
        ({"momentum": 1.0}, "momentum=1.0: expected"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0: expected"),
        ({"units": "binary"}, "units='binary': expected one of 'auto', 'bernoulli'"),
        ({"method": "x"}, "method='x': expected one of 'pcd', 'cd'"),
        ({"binarise": "x"}, "binarise='x': expected one of"),
        ({"k": 0}, "k=0: expected"),
        ({"chains": 0}, "chains=0: expected"),
        ({"ais_chains": 1}, "ais_chains=1: expected a whole number, 2 or more"),
        ({"device": "abacus"}, "device='abacus': torch cannot use it here"),
        ({"value_range": (1,)}, r"value_range=\(1,\): expected two numbers"),
        ({"value_range": (0, "x")}, r"value_range\[1\]='x': expected a finite number"),
        ({"picture_shape": 6}, r"picture_shape=6: expected \(height, width\)"),
        ({"picture_shape": (2, 2)}, r"shape=\(2, 2\) has 4 values, but X has 6 columns"),
    ],
)
def test_impossible_parameters_are_refused_before_any_work(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        small(RBM, **{"out": str(tmp_path / "run"), **options}).fit(BITS)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": ()}, r"hidden=\(\): expected the number of units of each hidden layer"),
        ({"hidden": "12"}, "hidden='12': expected"),
        ({"hidden": 12}, "hidden=12: expected"),
        ({"hidden": (4, 0)}, r"hidden\[1\]=0: expected"),
        ({"steps": 0}, "steps=0: expected"),
        ({"pretrain_steps": -1}, "pretrain_steps=-1: expected a whole number, 0 or more"),
        ({"pretrain_rate": 0.0}, r"pretrain_rate=0.0: expected"),
        ({"mean_field_steps": 0}, "mean_field_steps=0: expected"),
    ],
)
def test_impossible_parameters_of_a_dbm_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(DBM, **options).fit(BITS)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.empty((0, 3)), "0 sample"),
        (BITS[:1], "1 sample"),
        (np.array([[0.0, np.inf], [1.0, 0.0]]), "infinity"),
        (np.array([[np.nan, 0.0], [np.nan, 1.0]]), "column 0 has no observed value"),
        (np.array([["a", "b"], ["c", "d"]]), "numeric"),
        (np.zeros(5), "1D array"),
        (BITS * 3.0, "outside 0 to 1"),
    ],
)
def test_unusable_data_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        small(RBM, units="bernoulli").fit(X)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RBM(10**10), "n_components=10000000000: would take"),
        (lambda: RBM(10**20), "n_components=100000000000000000000: would take"),
        (lambda: DBM((10**6, 10**6)), r"hidden=\(1000000, 1000000\): would take"),
        (lambda: RBM(4, chains=10**12), "chains=1000000000000: would take"),
        (lambda: RBM(4, method="tempered", rungs=10**12), "rungs=1000000000000: would take"),
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
