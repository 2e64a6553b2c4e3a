"""What memory cannot hold is refused by name before any work, whatever asks for it."""

import os
import re
import time

import numpy as np
import pytest

from equilibria import RBM, Mixture, NextState
from equilibria.estimators.params import parameters
from equilibria.inference.partition import schedule
from equilibria.training.trainer import Trainer
from small import BITS, ESTIMATORS, LABELS, fitted, small, with_capability

LENGTHS = "steps n_iter pretrain_steps critic_steps k mean_field_steps posterior_sweeps"
"""How long a training takes: no number is too large."""
NO_SIZES = ("random_state", "verbose", "picture_shape")
CLIPPED = "batch_size levels"
"""Cut down to the rows that there are; or a number by itself."""
ASKED = {
    "components": {"kinds": "real"},
    "bins": {"kinds": "real"},
    "replicas": {"method": "tempered"},
    "channels": {"network": "dcgan", "kinds": "picture", "picture_shape": (8, 8)},
    "dense": {"network": "dcgan", "kinds": "picture", "picture_shape": (8, 8)},
    "bound_samples": {"kinds": "picture"},
}
"""What an estimator is told beside, where it knows it: the parameter counts for something then."""
WHOLE = [
    (name, field.name)
    for name, cls in sorted(ESTIMATORS.items())
    for field in parameters(cls)
    if field.metadata["check"].kind is int and field.name not in NO_SIZES
]


class BeganError(Exception):
    """Training would have begun."""


@pytest.fixture(autouse=True)
def machine_of_16_gib(monkeypatch):
    """So that what is refused does not depend on where this runs."""
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**22}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)


@pytest.fixture
def stopped(monkeypatch):
    """A trainer that stops before the first step."""
    fitted("dbm")  # what is imported in a first training is not counted

    def fit(self, **how):
        raise BeganError

    monkeypatch.setattr(Trainer, "fit", fit)


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("size", [10**9, 10**12])
@pytest.mark.parametrize(("name", "parameter"), WHOLE)
def test_every_whole_number_is_reckoned_with(name, parameter, size):
    cls = ESTIMATORS[name]
    known = {field.name: field for field in parameters(cls)}
    beside = {k: v for k, v in ASKED.get(parameter, {}).items() if k in known}
    if parameter == "bound_samples" and name != "flow":
        beside = {}
    X = np.tile(BITS, (1, 4)) if "network" in beside else BITS
    value = (size,) if known[parameter].metadata["check"].many else size
    model = small(cls, **{**beside, parameter: value})
    begun = time.process_time()
    with pytest.raises((ValueError, BeganError)) as told:
        model.fit(X, LABELS)
    assert time.process_time() - begun < 1
    if told.type is BeganError:
        assert parameter in (*LENGTHS.split(), *CLIPPED.split())
    else:
        assert f"{parameter}={value!r}" in str(told.value)


@pytest.mark.usefixtures("stopped")
def test_sizes_are_reckoned_together_and_lengths_not():
    """Two layers of a hundred thousand are too large, though neither is by itself; a long training
    does not hide it, and what fits is taken."""
    wide = 10**5
    with pytest.raises(ValueError, match=r"hidden=\(100000, 100000\): would take 149 GiB"):
        small(ESTIMATORS["made"], hidden=(wide, wide), steps=10**9).fit(BITS)
    for hidden in ((wide, 4), (4, wide)):
        with pytest.raises(BeganError):
            small(ESTIMATORS["made"], hidden=hidden).fit(BITS)
    with pytest.raises(ValueError, match="batch_size=1000000000: would take"):
        RBM(4, batch_size=10**9).fit(BITS)  # as many chains


def test_contrastive_divergence_keeps_no_chains_to_reckon_with():
    few, one = (RBM(4, method="cd", n_iter=1, batch_size=n, random_state=0) for n in (40, 10**10))
    np.testing.assert_array_equal(one.fit(BITS).components_, few.fit(BITS).components_)


def test_an_estimator_inside_another_is_reckoned_with():
    with pytest.raises(ValueError, match="n_components=1000000000: would take"):
        NextState(RBM(10**9)).fit(BITS)
    with pytest.raises(ValueError, match="n_components=1000000000: would take"):
        RBM(10**9).partial_fit(BITS)


def test_quadratic_sizes_are_extrapolated_exactly():
    """A mixture of K has K² transitions and 2K probabilities of each of 16 columns, fourfold."""
    K = 10**6
    asked = 4 * 4 * (K**2 + 2 * 16 * K) / 2**30
    with pytest.raises(ValueError, match=f"n_components=1000000: would take {asked:,.0f} GiB"):
        Mixture(K).fit(BITS)


@pytest.mark.usefixtures("stopped")
def test_sizes_far_apart_are_reckoned_exactly():
    """The weights of a masked network of 16 columns and its biases, fourfold."""
    wide, other = 10**6, 17_001
    inputs = 16 * wide + wide * other + 16 * other
    asked = 4 * 4 * (inputs + wide + other + 16) / 2**30
    for hidden in ((wide, other), (other, wide)):
        with pytest.raises(ValueError, match=re.escape(f"would take {asked:,.0f} GiB")):
            small(ESTIMATORS["made"], hidden=hidden).fit(BITS)


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize(
    ("name", "how", "columns", "gib"),
    [
        ("rbm", {"n_components": 15_000}, 10_000, 2),
        ("dbm", {"hidden": (4_999, 5_000, 4_998)}, 10_000, 1),
        ("made", {"hidden": (1_500,) * 60}, 16, 2),
        ("rbm", {"n_components": 500}, 10_000, None),
        ("made", {"hidden": (1_000,) * 4}, 16, None),
    ],
)
def test_many_sizes_of_some_thousands_are_reckoned(monkeypatch, name, how, columns, gib):
    """Each alone is nothing beside a GiB: their products, with columns and each other, are."""
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**18}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    X = np.zeros((4, columns), np.uint8)
    X[::2] = 1
    model = small(ESTIMATORS[name], **how)
    with pytest.raises((ValueError, BeganError)) as told:
        model.fit(X, np.arange(4) % 2)
    if gib is None:
        assert told.type is BeganError
    else:
        assert f"would take {gib} GiB" in str(told.value)


@pytest.mark.parametrize("name", with_capability("sample"))
def test_samples_and_completions_beyond_memory_are_refused(name):
    model = fitted(name)
    with pytest.raises(ValueError, match="n=1000000000000: would take"):
        model.sample(10**12)
    if "complete" in model.capabilities_:
        with pytest.raises(ValueError, match="n=1000000000000: would take"):
            model.impute(BITS, n=10**12)
    if "normaliser" in model.capabilities_:
        with pytest.raises(ValueError, match="chains=1000000000000: would take"):
            model.anneal(chains=10**12)


def test_futures_and_temperatures_beyond_memory_are_refused():
    model = fitted("next-state")
    for asked in ({"n": 10**12}, {"horizon": 10**12}):
        with pytest.raises(ValueError, match=r"(n|horizon)=1000000000000: would take"):
            model.forecast(BITS[:3], **{"horizon": 2, **asked})
    with pytest.raises(ValueError, match="n=1000000000000: would take"):
        model.predict_next(BITS[:3], n=10**12)
    with pytest.raises(ValueError, match="betas=1000000000000: would take"):
        schedule(10**12)
