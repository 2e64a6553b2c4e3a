"""Rates that overshoot: training that stays finite says so first, an update that does not is taken
back."""

import numpy as np
import pytest
import torch

from equilibria import DBM, GAN, MADE, RBM, Independent
from equilibria.data import Table
from equilibria.data.batches import Batch
from equilibria.data.labels import LabelCoding
from equilibria.data.rows import Rows
from equilibria.errors import DivergedError
from equilibria.evaluation.chains import ChainMonitor
from equilibria.games.contrastive import ContrastiveGame
from equilibria.inference import exact
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.units import Bernoulli
from small import BITS, answers, assert_same

WORSE = "Training rows are at least"


@pytest.mark.parametrize(
    "model",
    [
        RBM(6, n_iter=20, learning_rate=1e6),
        DBM((6, 4), steps=10, pretrain_steps=0, learning_rate=1e6, momentum=0.9),
        MADE((6,), steps=10, learning_rate=1e4),
    ],
)
def test_a_rate_that_overshoots_is_named_in_the_first_sentence(model):
    model.set_params(random_state=0).fit(BITS)
    assert model.health_[0].startswith(WORSE), model.health_
    assert "learning rate three to ten times smaller" in model.health_[0]


def test_players_that_overshoot_are_named_in_the_first_sentence():
    model = GAN((6,), steps=20, learning_rate=1e6, random_state=0).fit(BITS)
    assert model.health_[0].startswith("The critic's logit of real rows is"), model.health_


def test_a_fair_training_is_not_said_to_overshoot():
    for model in (RBM(6, n_iter=4), MADE((6,), steps=300, learning_rate=0.02)):
        model.set_params(random_state=0).fit(BITS)
        assert not any(sentence.startswith(WORSE) for sentence in model.health_)


def test_what_independent_columns_cost_is_what_they_score():
    """Of shares in the rows: exactly what the model of independent columns has without smoothing,
    a missing cell included; of a label, whatever the shares of the classes, log of their number."""
    X = np.array([["a", 0.0], ["b", 1.0], ["c", 1.0], ["a", np.nan], ["a", 1.0]], dtype=object)
    model = Independent(smoothing=1e-9, kinds=["categorical", "binary"]).fit(X)
    rows = Rows(model.table_, X, None, Stream(0))
    assert rows.independent == pytest.approx(-model.score(X), abs=1e-6)
    classes = LabelCoding.infer(["u", "v", "v", "w", None])
    labelled = Rows(model.table_.with_labels(classes), X, np.array([0, 1, 1, 2, -1]), Stream(0))
    assert labelled.independent == pytest.approx(rows.independent + np.log(3))
    told = {"kinds": "picture", "value_range": (0, 1)}
    assert Rows(Table.fit(BITS, **told), BITS, None, Stream(0)).independent == np.inf


@pytest.mark.parametrize("std", [0.1, 3.0, 30.0])
def test_no_likelihood_is_above_what_the_contrast_allows(std):
    """Mean log p of a batch, enumerated, is at most minus its contrast plus the hidden units'
    largest entropy, log 32."""
    machine = BoltzmannMachine.stack(Bernoulli(6), Bernoulli(5)).initialise(0, std=std)
    game, x = ContrastiveGame(machine, chains=50, stream=Stream(1)), torch.eye(6)
    contrast = game.measure(game.draw(Batch(x), Stream(2)))["contrast"].double()
    found = exact.log_prob(machine.double(), {"visible": x.double()}).mean()
    most = -contrast + 5 * np.log(2)
    assert found <= most
    limit = ChainMonitor(game, independent=2.0, sweeps=10).measure(Stream(0))["contrast_limit"]
    assert limit == pytest.approx(2 + 5 * np.log(2))


def test_an_online_update_that_diverges_is_taken_back():
    rows = np.random.RandomState(0).normal(size=(20, 16))
    model = RBM(4, kinds="real", learning_rate=0.01, random_state=0).partial_fit(rows)
    before = answers(model, rows)
    with pytest.raises(DivergedError, match=r"partial_fit: .* not finite .* before it is kept"):
        model.partial_fit(rows * 1e30)
    assert model.n_steps_ == 1
    assert_same(answers(model, rows), before)
    model.partial_fit(rows)
    assert model.n_steps_ == 2
    fresh = RBM(4, kinds="real", learning_rate=1e38, momentum=0.9, random_state=0)
    with pytest.raises(DivergedError):
        [fresh.partial_fit(rows) for _ in range(5)]
