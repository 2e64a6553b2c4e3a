"""The choices that an estimator's parameters offer are the rows of the tables below."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from equilibria import DBM, DBN, GAN, LAPGAN, RBM
from equilibria.estimators.fine_tuned import FineTunedClassifier
from equilibria.estimators.params import parameters
from equilibria.games.contrastive import NEGATIVE
from equilibria.games.payoffs import PAYOFFS
from equilibria.games.penalties import PENALTIES
from equilibria.models.generator import PRIORS
from equilibria.networks.precision import PRECISIONS
from equilibria.recipes import contrastive
from equilibria.solvers import SOLVERS
from equilibria.solvers.optimiser import SCHEDULES


@pytest.mark.parametrize(
    ("estimators", "parameter", "table"),
    [
        ((GAN, LAPGAN), "loss", PAYOFFS),
        ((GAN, LAPGAN), "solver", SOLVERS),
        ((GAN, LAPGAN), "prior", PRIORS),
        ((GAN, LAPGAN, FineTunedClassifier), "schedule", SCHEDULES),
        ((GAN, LAPGAN, RBM, DBM, DBN, FineTunedClassifier), "precision", PRECISIONS),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_option_is_a_row_of_its_table(
    estimators: tuple[type, ...], parameter: str, table: Iterable[str]
) -> None:
    for estimator in estimators:
        (field,) = (field for field in parameters(estimator) if field.name == parameter)
        assert field.metadata["check"].options == tuple(table), estimator.__name__


def test_the_penalties_are_named_where_they_are_chosen() -> None:
    (field,) = (field for field in parameters(GAN) if field.name == "penalties")
    for name in PENALTIES:
        assert name in f"{field.metadata['doc']} {field.metadata['check'].expected}"


def test_every_method_is_a_negative_phase_of_the_game() -> None:
    (field,) = (field for field in parameters(RBM) if field.name == "method")
    assert field.metadata["check"].options == tuple(contrastive.NEGATIVE)
    assert set(contrastive.NEGATIVE.values()) == set(NEGATIVE)
