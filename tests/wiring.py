"""Checks of how the parts are wired together: what an estimator was asked for is what its sampler,
its game and its scores do.

Each is a function without arguments that raises ``AssertionError``; ``test_wiring.py`` runs them on
the library, and ``mutants`` with a bug planted. They ask the estimators' public methods alone.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import tempfile
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch
from adversaries import CHECKS as ADVERSARIES
from scipy import special
from torch import Tensor, nn

from equilibria import DBM, DBN, RBM
from equilibria.data import Batches
from equilibria.estimators import ESTIMATORS
from equilibria.inference import annealing
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.training.run import Run

PARZEN = importlib.import_module(
    "equilibria.evaluation.parzen"
)  # the package has a function of that name
STILL = 1e-12  # a learning rate at which parameters stay where they are

# ------------------------------------------------------------------ sweeps


def _pinned(model: Any, coupling: float) -> None:
    """A machine of one unit a layer whose units are on half of the time and agree with their
    neighbours.
    """
    machine, degree = model.machine_, dict.fromkeys(model.machine_.layers, 0)
    with torch.no_grad():
        for a, b in machine.edges:
            machine.weight[f"{a}-{b}"].fill_(coupling)
            degree[a], degree[b] = degree[a] + 1, degree[b] + 1
        for name in machine.layers:
            machine.bias[name].fill_(-coupling * degree[name] / 2)


def _agreement(above: int, coupling: float, sweeps: int) -> float:
    """How often a visible unit is after so many sweeps what it was, by enumeration; ``above``
    layers on top of the first hidden one.
    """
    on = special.expit(
        coupling * (np.arange(2) - 0.5)
    )  # p(unit above or below = 1 | hidden = 0, 1)
    given = np.stack([1 - on, on], 1)  # [hidden, neighbour]
    sides = list(itertools.product(range(2), repeat=1 + above))
    step = np.zeros((2, 2))
    for h, side in itertools.product(range(2), sides):
        chance = np.prod([given[h, s] for s in side])
        up = special.expit(coupling * (sum(side) - len(side) / 2))
        step[h] += chance * np.array([1 - up, up])
    joint = given / 2  # [hidden, visible] at equilibrium
    return float((joint * (np.linalg.matrix_power(step, sweeps - 1) @ given)).sum())


def sweeps_of_an_update(kind: str, k: int) -> None:
    """The training's chains make k sweeps an update: 20,000 of them, whose agreement with
    themselves is known.

    Its standard error is .0035 at most: 5 of them are a false alarm in a million. One sweep more or
    less moves it by .05.
    """
    rows = np.array([[0.0], [1.0]] * 10)
    shared: dict[str, Any] = {"chains": 20_000, "k": k, "learning_rate": STILL, "random_state": 0}
    model = RBM(1, **shared) if kind == "rbm" else DBM((1, 1), pretrain_steps=0, **shared)
    coupling = 5.0
    model.partial_fit(rows)
    _pinned(model, coupling)
    for _ in range(20):
        model.partial_fit(rows)
    before = model.chains_["visible"].clone()
    model.partial_fit(rows)
    found = float((model.chains_["visible"] == before).double().mean())
    above = 0 if kind == "rbm" else 1
    truth, other = (_agreement(above, coupling, sweeps) for sweeps in (k, k + 1))
    assert abs(truth - other) > 0.03, "the check no longer tells k from k + 1"
    assert abs(found - truth) < 5 * 0.0035
    drawn = model.sample(20_000, sweeps=k)[:, 0] == model.chains_["visible"][:, 0].numpy()
    assert abs(float(drawn.mean()) - truth) < 5 * 0.0035


# ------------------------------------------------------------------ chances, biases, averages


def parzen_width() -> None:
    """The width is the one that validation rows like best, and not the one that test rows do."""
    samples = Stream(0).normal((200, 2)).double().numpy()
    near = samples[:40] + 0.01 * Stream(1).normal((40, 2)).double().numpy()
    far = samples[:40] + 0.6 * Stream(2).normal((40, 2)).double().numpy()
    widths = [0.02, 0.2, 0.6]
    found = {
        name: PARZEN.parzen(rows, samples, held, widths).method
        for name, rows, held in (("near", far, near), ("far", near, far))
    }
    assert "width 0.02 " in found["near"]
    assert "width 0.02 " not in found["far"]


def biases_at_the_base_rates(name: str) -> None:
    """A machine that has learnt nothing yet draws each column at the data's rate: 5,000 samples,
    .035 is 5 standard errors.
    """
    rates = np.array([0.03, 0.2, 0.5, 0.8, 0.97, 0.65])
    rows = (np.arange(400)[:, None] < 400 * rates).astype(float)
    shared: dict[str, Any] = {"learning_rate": STILL, "random_state": 0}
    known = {
        "n_components": 3,
        "n_iter": 1,
        "hidden": (3, 2),
        "steps": 2,
        "pretrain_steps": 0,
        "ais_betas": 5,
    }
    cls = ESTIMATORS[name]
    model = cls(
        **shared,
        **{key: value for key, value in known.items() if key in inspect.signature(cls).parameters},
    ).fit(rows)
    assert (
        np.abs(np.asarray(model.sample(5000, sweeps=10, random_state=1)).mean(0) - rates).max()
        < 0.035
    )


def _weights(model: Any) -> dict[str, Tensor]:
    """What a model file holds."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/run")
        return Run.open(f"{folder}/run").load_model()[0]


def _small(name: str, **options: Any) -> Any:
    """An estimator of a registry's name, fitted in a moment to 64 columns."""
    rows = (Stream(0).uniform((80, 64)).numpy() < np.linspace(0.1, 0.9, 64)).astype(np.float32)
    known: dict[str, Any] = {
        "n_components": 4,
        "n_iter": 5,
        "hidden": (6, 4),
        "steps": 20,
        "pretrain_steps": 5,
        "ais_betas": 5,
        "ais_chains": 4,
        "epochs": 20,
        "channels": 4,
        "picture_shape": (8, 8),
        "value_range": (0, 1),
        "batch_size": 20,
        "random_state": 0,
        **options,
    }
    cls = ESTIMATORS[name]
    wanted = {
        key: value for key, value in known.items() if key in inspect.signature(cls).parameters
    }
    if "machine" not in inspect.signature(cls).parameters:
        return cls(**wanted).fit(rows)
    return cls(RBM(4, n_iter=1, ais_betas=5, random_state=0), **wanted).fit(rows, rows[:, 0])


AVERAGING = [
    name for name, cls in ESTIMATORS.items() if "average" in inspect.signature(cls).parameters
]


def average_is_heeded(name: str) -> None:
    """A fit with a long memory ends elsewhere than one with none, and than one with a short one."""
    ends = [_weights(_small(name, average=average)) for average in (0.0, 0.2, 0.9)]
    parameters = [
        key for key, value in ends[0].items() if value.is_floating_point() and "chain" not in key
    ]
    for here, there in itertools.combinations(ends, 2):
        assert any(not torch.equal(here[key], there[key]) for key in parameters)


# ------------------------------------------------------------------ what is drawn from what


def batches_of_the_stages(name: str) -> None:
    """Every stage of a deep model reads the rows in an order of its own, which their first columns
    tell.
    """
    rows = ((np.arange(64)[:, None] >> np.arange(6)) & 1).astype(float)
    read: dict[int, list[bytes]] = {}
    held: list[Batches] = []  # so that no two have one address
    draw = Batches.__next__

    def recorded(self: Batches) -> Any:
        batch = draw(self)
        held.append(self)
        read.setdefault(id(self), []).extend(row.numpy().tobytes() for row in batch.values[:, :6])
        return batch

    options: dict[str, Any] = {
        "batch_size": 16,
        "ais_betas": 5,
        "random_state": 0,
        "hidden": (5, 4, 3),
    }
    model = DBM(pretrain_steps=4, steps=4, **options) if name == "dbm" else DBN(steps=4, **options)
    with mock.patch.object(Batches, "__next__", recorded):
        model.fit(rows)
    orders = list(read.values())
    assert len(orders) >= 3
    assert all(sorted(order[:64]) == sorted(orders[0][:64]) for order in orders)
    assert all(a[:64] != b[:64] for a, b in itertools.combinations(orders, 2))


# ------------------------------------------------------------------ log Z


def _unlisted(scale: float) -> Any:
    """An RBM that is too large to enumerate, far from its base rates."""
    rows = (Stream(0).uniform((100, 24)).numpy() < 0.5).astype(np.float32)
    options: dict[str, Any] = {
        "n_iter": 1,
        "chains": 60,
        "ais_chains": 60,
        "ais_betas": 4,
        "learning_rate": STILL,
        "random_state": 0,
    }
    model = RBM(24, **options).fit(rows)
    with torch.no_grad():
        for edge in model.machine_.weight.values():
            edge.copy_(scale * Stream(3).normal(tuple(edge.shape)))
    return model


def scores_by_the_worse_side() -> None:
    """log p of a row is minus its free energy minus the larger of the two sides of log Z, where
    these are far apart.
    """
    model = _unlisted(1.0)
    model.anneal(betas=1)
    sides = model.log_partition_sides_
    assert abs(sides.forward.value - sides.reverse.value) > 5.0
    rows = (Stream(5).uniform((10, 24)).numpy() < 0.5).astype(np.float32)
    machine = model.machine_
    field = (
        torch.from_numpy(rows).double() @ machine.weight["visible-hidden1"].detach().double()
        + machine.bias["hidden1"].detach()
    )
    free = (
        torch.from_numpy(rows).double() @ machine.bias["visible"].detach().double()
    ) + nn.functional.softplus(field).sum(1)
    truth = free.numpy() - max(sides.forward.value, sides.reverse.value)
    assert np.abs(model.score_samples(rows) - truth).max() < 1e-3
    assert abs(model.log_likelihood(rows).value - truth.mean()) < 1e-3


def settled_chains_anneal_down() -> None:
    """Where the training's chains stand is nothing to log Z: they settle first.

    From states that the machine all but never visits the way down through 20 temperatures ends 8
    nats off; from settled ones less than one off, with a standard error of a quarter.
    """
    model = _unlisted(1.5)
    model.anneal(betas=20)
    before = model.log_partition_sides_.reverse.value
    model.chains_ = {name: torch.zeros_like(chain) for name, chain in model.chains_.items()}
    model.anneal(betas=20)
    after = model.log_partition_sides_
    assert abs(before - after.reverse.value) < 2.5
    assert abs(after.forward.value - after.reverse.value) < 3


def annealing_adds_up_in_double_precision() -> None:
    """3,000 small steps of a machine of 4,000 nats whose units are independent, so that log Z is
    known.

    Each step is worked out in float32, whose errors cancel to 1e-5; a sum of them in float32 is
    .002 off.
    """
    size = 3000
    biases = [3 * Stream(0).normal((size,)), torch.zeros(3)]
    machine = BoltzmannMachine.from_arrays([torch.zeros(size, 3)], biases).requires_grad_(False)
    truth = sum(float(nn.functional.softplus(bias.double()).sum()) for bias in biases)
    found = annealing.log_partition(machine, chains=4, betas=3000, random_state=0)
    assert abs(found.value - truth) < 3e-4


def _called(
    check: Callable[..., None], *arguments: tuple[Any, ...]
) -> dict[str, Callable[[], None]]:
    return {
        f"{check.__name__}({', '.join(map(str, given))})": functools.partial(check, *given)
        for given in arguments
    }


WIRING: dict[str, Callable[[], None]] = {
    **ADVERSARIES,
    **_called(sweeps_of_an_update, *itertools.product(("rbm", "dbm"), (1, 2))),
    **_called(parzen_width, ()),
    **_called(biases_at_the_base_rates, ("rbm",), ("dbm",), ("dbn",)),
    **_called(average_is_heeded, *((name,) for name in AVERAGING)),
    **_called(batches_of_the_stages, ("dbm",), ("dbn",)),
    **_called(scores_by_the_worse_side, ()),
    **_called(settled_chains_anneal_down, ()),
    **_called(annealing_adds_up_in_double_precision, ()),
}
"""Every check by name."""
