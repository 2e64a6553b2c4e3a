"""Next-state prediction against sequences whose law is known."""

from __future__ import annotations

import io

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from equilibria import DBM, GAN, RBM, NextState, load, resume
from equilibria.random import Stream

TRANSITIONS = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.5, 0.1, 0.4]])
OPTIONS = {"batch_size": 100, "learning_rate": 1.0, "chains": 100, "random_state": 0}


def chain(steps: int, seed: int = 0) -> np.ndarray:
    states, draws = [0], Stream(seed).uniform((steps,)).numpy()
    for u in draws:
        states.append(min(int((u > TRANSITIONS[states[-1]].cumsum()).sum()), 2))
    return np.array(states)[:, None]


@pytest.fixture(scope="module")
def markov() -> NextState:
    return NextState(RBM(6, n_iter=20, **OPTIONS)).fit(chain(3000))


def test_the_transition_matrix_is_learnt(markov):
    """3,000 steps show each row of the matrix some 600 times or more: a frequency is off by .1 (4.9
    standard errors, and what is left
    for the fit) with probability 1e-6; without coupling the worst entry would be off by .4."""
    assert np.abs(markov.predict_proba([[0], [1], [2]]) - TRANSITIONS).max() < 0.1
    assert markov.classes_.tolist() == [0, 1, 2]
    assert set(markov.model_.machine.edges) == {("past", "hidden1"), ("future", "hidden1")}


def test_draws_are_from_the_predicted_law(markov):
    """1,000 draws: a χ² above 27.7 (2 degrees of freedom) has probability 1e-6."""
    p = markov.predict_proba([[1]])[0]
    drawn = markov.predict_next([[0], [1]], n=1000, random_state=1)
    assert drawn.shape == (1000, 1)
    counts = np.bincount(drawn[:, 0], minlength=3)
    assert ((counts - 1000 * p) ** 2 / (1000 * p)).sum() < 27.7
    assert markov.predict_next([[1]], how="mode").tolist() == [[int(p.argmax())]]


def test_forecasts_roll_on(markov):
    """Two steps on, p² of the matrix: 500 futures, a χ² above 27.7 (2 degrees of freedom) has
    probability 1e-6."""
    p = markov.predict_proba([[0], [1], [2]])
    two = p[0] @ p
    futures = markov.forecast([[0]], 2, n=500, random_state=0, sweeps=100)
    assert futures.shape == (500, 2, 1)
    counts = np.bincount(futures[:, 1, 0], minlength=3)
    assert ((counts - 500 * two) ** 2 / (500 * two)).sum() < 27.7
    assert (futures == markov.forecast([[0]], 2, n=500, random_state=0, sweeps=100)).all()


def test_a_cycle_of_text_with_two_rows_of_past():
    """a b a c a b a c …: after an a only the row before tells what comes."""
    rows = np.array(list("abac") * 100, dtype=object)[:, None]
    model = NextState(RBM(8, n_iter=50, **OPTIONS), lag=2).fit(rows)
    futures = ["".join(future) for future in model.forecast(rows[:2], 6, n=30)[:, :, 0]]
    assert max(set(futures), key=futures.count) == "acabac"
    assert (model.predict_proba(rows[:4]).argmax(1) == [0, 2, 0]).all()  # after ab, ba, ac
    assert model.table_.layers[0].variables == 2


@pytest.mark.parametrize("kind", ["rbm", "dbm"])
def test_binary_states_that_move(kind):
    """A one that walks round five places, seen with a flip in fifty."""
    walk = np.eye(5)[np.arange(400) % 5]
    rows = np.abs(walk - (Stream(0).uniform((400, 5)).numpy() < 0.02))
    if kind == "rbm":
        machine = RBM(12, n_iter=60, **OPTIONS)
    else:
        machine = DBM(
            (12, 6),
            steps=200,
            pretrain_steps=400,
            pretrain_learning_rate=0.2,
            k=1,
            ais_betas=20,
            **{**OPTIONS, "learning_rate": 0.02},
        )
    model = NextState(machine).fit(rows)
    for place in range(5):
        future = model.predict_next(np.eye(5)[[place]], how="mean")
        assert future.shape == (1, 5)
        assert future.argmax() == (place + 1) % 5


def test_real_states_in_their_own_scale():
    """x' = 3 − x/2 + noise: the mean of the next row is near the line; a machine that saw no past
    would say 2, which is .5 away."""
    noise, x = Stream(0).normal((800,)).numpy(), [2.0]
    for e in noise:
        x.append(3 - 0.5 * x[-1] + 0.5 * e)
    frame = pd.DataFrame({"height": x})
    model = NextState(RBM(10, kinds="real", n_iter=150, **{**OPTIONS, "learning_rate": 0.5})).fit(
        frame
    )
    for now in (1.0, 3.0):
        ahead = model.predict_next(pd.DataFrame({"height": [now]}), how="mean")
        assert list(ahead.columns) == ["height"]
        assert abs(ahead["height"][0] - (3 - 0.5 * now)) < 0.25
    assert not hasattr(model, "predict_proba")


def test_sequences_stay_apart_and_all_states_are_known_to_both_layers():
    """State 9 is the last of its sequence each time: it never is a past, and can still be asked
    about."""
    rows, groups = np.tile([0, 1, 9], 40)[:, None], np.repeat(np.arange(40), 3)
    model = NextState(RBM(6, n_iter=100, **{**OPTIONS, "batch_size": 20})).fit(rows, groups=groups)
    assert model.predict_next([[0]], how="mode").tolist() == [[1]]
    assert model.predict_next([[1]], how="mode").tolist() == [[9]]
    assert model.predict_proba([[9]]).shape == (1, 3)


def test_it_travels(markov, tmp_path):
    assert clone(markov).get_params(deep=False)["lag"] == 1
    assert markov.get_params()["machine__n_components"] == 6
    buffer = io.BytesIO()
    joblib.dump(markov, buffer)
    buffer.seek(0)
    markov.save(tmp_path / "run")
    for copy in (joblib.load(buffer), load(tmp_path / "run")):
        assert type(copy) is NextState
        assert (copy.predict_proba([[0], [2]]) == markov.predict_proba([[0], [2]])).all()
        assert (copy.forecast([[0]], 3) == markov.forecast([[0]], 3)).all()
        assert copy.lag == 1


def test_a_stopped_run_goes_on_with_the_sequence(tmp_path):
    model = NextState(RBM(6, n_iter=5, out=str(tmp_path / "run"), **OPTIONS), lag=2).fit(chain(200))
    (tmp_path / "run" / "model.safetensors").unlink()
    again = resume(tmp_path / "run", chain(200))
    assert (type(again), again.lag) == (NextState, 2)
    past = [[0], [1]]
    assert (again.predict_proba(past) == model.predict_proba(past)).all()
    with pytest.raises(ValueError, match="not the data that the run was started with"):
        resume(tmp_path / "run", chain(200, seed=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lag": 0}, "lag=0: expected a whole number, 1 or more"),
        ({"lag": 5}, "lag=5: a window takes 6 rows, and X has 5 rows"),
        ({"machine": "rbm"}, "machine='rbm': expected an RBM, a DBM or a GAN"),
        ({"machine": RBM(labels=True)}, "machine: labels=True is for a model of single rows"),
        ({"machine": RBM(kinds="mixed")}, "a state's columns must be of one kind"),
        ({"machine": RBM(k=0)}, "k=0"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        NextState(**options).fit(np.eye(5))


def test_too_short_a_past_is_refused():
    model = NextState(RBM(2, n_iter=1, random_state=0), lag=2).fit(np.eye(6))
    with pytest.raises(ValueError, match="X has 1 rows: a prediction looks at the last lag=2"):
        model.predict_next(np.eye(6)[:1])


def jumps(steps: int) -> np.ndarray:
    """x ← x / 2 ± 1, the sign a fair coin, and a little noise: a chain on an interval whose next
    state has two places."""
    coins, noise, rows = (
        Stream(1).uniform((steps,)).numpy() < 0.5,
        Stream(2).normal((steps,)).numpy(),
        [0.0],
    )
    for coin, e in zip(coins, noise, strict=True):
        rows.append(rows[-1] / 2 + (1 if coin else -1) + 0.05 * e)
    return np.array(rows)[:, None]


@pytest.fixture(scope="module")
def adversarial() -> NextState:
    options = {
        "hidden": (48, 48),
        "latent_dim": 2,
        "prior": "mixed",
        "steps": 1200,
        "learning_rate": 2e-3,
        "average": 0.99,
    }
    return NextState(GAN(**options, random_state=0)).fit(jumps(2000))


@pytest.mark.parametrize("x", [-1.0, 0.0, 1.5])
def test_a_gan_learns_the_next_state_of_a_markov_chain(adversarial, x):
    """Both places of the next state, each in about half of 1,000 draws: one that forgot the past
    would be off by ½ or more."""
    drawn = adversarial.predict_next([[x]], n=1000)[:, 0] - x / 2
    assert 0.35 < (drawn > 0).mean() < 0.65
    assert abs(np.median(drawn[drawn > 0]) - 1) < 0.25
    assert abs(np.median(drawn[drawn < 0]) + 1) < 0.25


def test_a_gans_forecasts_roll_on_and_travel(adversarial, tmp_path):
    futures = adversarial.forecast([[0.0]], 20, n=200)
    assert futures.shape == (200, 20, 1)
    # the chain's own law: mean 0, variance 1 / (1 − ¼); 200 futures' standard error is .08
    assert abs(futures[:, -1].mean()) < 0.5
    assert 0.7 < futures[:, -1].std() < 1.5
    adversarial.save(tmp_path / "run")
    again = load(tmp_path / "run")
    assert type(again) is NextState
    assert again.lag == 1
    assert (again.forecast([[0.0]], 3) == adversarial.forecast([[0.0]], 3)).all()
    assert abs(adversarial.predict_next([[1.0]], how="mean")[0, 0] - 0.5) < 0.4
    with pytest.raises(AttributeError, match="predict_proba"):
        adversarial.predict_proba([[1.0]])


def test_a_gan_of_frames_has_the_last_ones_beside_it():
    walk = np.eye(8)[:, None] * np.eye(8)[None, :, :]  # a dot that walks down the diagonal
    frames = np.tile(walk, (4, 1, 1)).reshape(-1, 64)
    gan = GAN(
        network="dcgan",
        channels=4,
        latent_dim=2,
        steps=3,
        picture_shape=(8, 8),
        value_range=(0, 1),
        random_state=0,
    )
    model = NextState(gan, lag=2).fit(frames)
    assert model.row_.shape == (8, 8)
    assert model.predict_next(frames[:5], n=3).shape == (3, 64)
    framed = NextState(GAN(hidden=(4,), steps=2, random_state=0)).fit(
        pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [1.0, 3.0, 2.0]})
    )
    assert list(framed.predict_next(pd.DataFrame({"a": [1.0], "b": [2.0]})).columns) == ["a", "b"]


@pytest.mark.parametrize(
    ("gan", "message"),
    [
        (GAN(labels=True), "labels=True is for a model of single rows"),
        (GAN(condition=[0]), r"condition=\[0\] is for a model of single rows"),
    ],
)
def test_a_gan_of_single_rows_is_refused(gan, message):
    with pytest.raises(ValueError, match=message):
        NextState(gan).fit(jumps(20))
