"""Checks of how the parts are wired together: what an estimator was asked for is what its sampler,
its game and its scores do.

Each is a function without arguments that raises ``AssertionError``; ``test_wiring.py`` runs them on
the library, and ``mutants`` with a bug planted. They ask the estimators' public methods alone.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import tempfile
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy import special
from torch import Tensor, nn

from adversaries import CHECKS as ADVERSARIES
from equilibria import DBM, DBN, NADE, RBM
from equilibria.data import Batch, Batches
from equilibria.data.rows import with_labels
from equilibria.estimators.params import parameters
from equilibria.inference import mean_field, partition
from equilibria.models.boltzmann import BoltzmannMachine
from equilibria.random import Stream
from equilibria.solvers.optimiser import Optimiser
from equilibria.solvers.solver import Solver
from equilibria.training.run import Run
from equilibria.training.trainer import Trainer
from small import ESTIMATORS, NAMES, plan_of, small, table_of, with_capability

PARZEN = importlib.import_module("equilibria.evaluation.parzen")  # a function has its name
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


def sweeps_of_a_belief_network(k: int) -> None:
    """Samples are k sweeps of the topmost machine from its chains, copied by the layer below."""
    rows, coupling = np.array([[0.0], [1.0]] * 10), 5.0
    model = DBN((1, 1), steps=1, chains=20_000, learning_rate=STILL, random_state=0).fit(rows)
    with torch.no_grad():
        low = model.network_.machine(0)
        low.weight["visible-hidden1"].fill_(60.0)
        low.bias["visible"].fill_(-30.0)
    _pinned(model, coupling)
    for _ in range(20):
        model.partial_fit(rows)
    _pinned(model, coupling)
    drawn = model.sample(20_000, sweeps=k)[:, 0] == model.chains_["hidden1"][:, 0].numpy()
    assert abs(float(drawn.mean()) - _agreement(0, coupling, k)) < 5 * 0.0035


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
    if _has(name, "pretrain_steps"):
        shared["pretrain_steps"] = 0
    model = small(ESTIMATORS[name], **shared).fit(rows)
    found = np.asarray(model.sample(5000, sweeps=10, random_state=1)).mean(0)
    assert np.abs(found - rates).max() < 0.035


def _weights(model: Any) -> dict[str, Tensor]:
    """What a model file holds."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/run")
        return Run.open(f"{folder}/run").load_model()[0]


def _fit(name: str, **options: Any) -> Any:
    """An estimator of a registry's name, fitted in a moment to 64 columns."""
    rows = (Stream(0).uniform((80, 64)).numpy() < np.linspace(0.1, 0.9, 64)).astype(np.float32)
    model = small(ESTIMATORS[name], **{"steps": 20} if _has(name, "steps") else {}, **options)
    if "picture_shape" in model.get_params(deep=False):
        model.set_params(picture_shape=(8, 8), value_range=(0, 1))
    return model.fit(rows, rows[:, 0])


def _has(name: str, parameter: str) -> bool:
    return parameter in {field.name for field in parameters(ESTIMATORS[name])}


AVERAGING = [name for name in NAMES if _has(name, "average")]
BASED = [name for name in with_capability("normaliser") if _has(name, "learning_rate")]
"""Estimators of machines, whose biases start at the base rates."""


def average_is_heeded(name: str) -> None:
    """A fit with a long memory ends elsewhere than one with none, and than one with a short one."""
    ends = [_weights(_fit(name, average=average)) for average in (0.0, 0.2, 0.9)]
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


def held_out_rows_stay_apart() -> None:
    """Rows that are kept from training change no parameter."""
    rows = (Stream(0).uniform((40, 8)).numpy() < 0.5).astype(float)
    options = {"validation_fraction": 0.25, "learning_rate": 0.5}
    one = small(ESTIMATORS["rbm"], **options).fit(rows)
    held = np.sort(one.stream.child("validation").permutation(40).numpy()[:10])
    rows[held] = 1 - rows[held]
    two = small(ESTIMATORS["rbm"], **options).fit(rows)
    assert np.array_equal(one.components_, two.components_)


def rows_beyond_the_chains_are_new(name: str) -> None:
    """A row and the one a round of chains later have nothing in common.

    Their correlation over 400 pairs in each of 6 columns, with one sweep, where chains remember
    most: √n · r is standard normal where there is none, 5.2 of it once in 5 million columns. Rows
    of one chain have correlations above .5, which is 10.
    """
    patterns = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]], dtype=float)
    rows = np.abs(patterns[np.arange(300) % 3] - (Stream(0).uniform((300, 6)).numpy() < 0.03))
    sizes: dict[str, Any] = {"n_components": 6, "n_iter": 120, "steps": 800, "pretrain_steps": 200}
    wanted = {key: value for key, value in sizes.items() if _has(name, key)}
    options: dict[str, Any] = {
        "batch_size": 50,
        "chains": 400,
        "learning_rate": 0.1,
        "momentum": 0.5,
    }
    model = small(ESTIMATORS[name], **wanted, **options).fit(rows)
    drawn = np.asarray(model.sample(1200, sweeps=1, random_state=1), dtype=float)
    for here, there in itertools.combinations(np.split(drawn, 3), 2):
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(here.T, there.T, strict=True)]
        assert np.abs(r).max() * np.sqrt(400) < 5.5
    assert np.array_equal(model.sample(450, sweeps=1, random_state=1)[:400], drawn[:400])


# ------------------------------------------------------------------ labels, scales, pretraining


def missing_labels_are_free() -> None:
    """A label that is missing is no class, and masked."""
    batch = with_labels(Batch(torch.zeros(3, 2), label=torch.tensor([1, -1, 0])), 2)
    assert batch.values[:, 2:].tolist() == [[0, 1], [0, 0], [1, 0]]
    assert batch.mask is not None
    assert batch.mask[:, 2:].tolist() == [[True] * 2, [False] * 2, [True] * 2]
    assert bool(batch.mask[:, :2].all())


def densities_in_the_datas_scale(name: str) -> None:
    """x ↦ 100 x takes 2 log 100 nats off the density of each row of two columns."""
    rows = Stream(0).normal((60, 2)).double().numpy()
    near, far = (small(ESTIMATORS[name]).fit(X).score(X) for X in (rows, 100 * rows))
    assert abs(near - far - 2 * np.log(100)) < 1e-3


def density_sums_to_one(name: str) -> None:
    """Over all 2¹² binary rows, to 1e-6; and no row's density is beyond reason."""
    states = table_of(12)
    rows = states[Stream(0).permutation(4096).numpy()[:200]]
    wide = {"hidden": (40, 40)} if _has(name, "hidden") else {}
    model = small(ESTIMATORS[name], **wide, batch_size=50, learning_rate=0.1).fit(rows)
    scores = model.score_samples(states)
    assert np.ptp(scores) > 0.5, "all rows are alike: the check is empty"
    assert abs(np.exp(scores).sum() - 1) < 1e-6


@torch.no_grad()
def an_ensemble_is_a_mean() -> None:
    """Of the densities of three orders, over all 2⁶ rows."""
    model = NADE((5,), orders=3, steps=3, random_state=0).fit(table_of(6))
    assert abs(np.exp(model.score_samples(table_of(6))).sum() - 1) < 1e-6


@torch.no_grad()
def pretraining_agrees_with_the_machine() -> None:
    """Where the layer above mirrors the one below, a hidden unit of the machine feels what its RBM
    promised: (1 + c)(Wv + b) with c replicas of the top (2009: one, 2012: two).
    """
    v, h = torch.tensor([[1.0, 0, 1, 1]]), torch.tensor([[1.0, 0, 1]])
    for replicas in (1, 2):
        how = {"top_replication": replicas, "pretrain_steps": 1}
        machine = DBM((3, 4 * replicas), **how)
        model, stages = plan_of(machine, table_of(4))
        below, above = (stage.game.machine for stage in stages[:2])
        assert dict(stages[0].game.gain) == {"visible": 1.0, "hidden1": 1.0 + replicas}
        assert dict(stages[1].game.gain) == {"hidden1": 1.0 + replicas, "hidden2": 1.0}
        below.weight["visible-hidden1"].copy_(Stream(0).normal((4, 3)))
        above.weight["hidden1-hidden2"].copy_(below.weight["visible-hidden1"].T)
        for rbm in (below, above):
            rbm.bias["hidden1"].fill_(0.3)
        above.bias["hidden2"].fill_(-0.2)
        stages[1].on_end()
        top = {"visible": v, "hidden2": torch.cat([v] * replicas, 1)}
        promised = (1 + replicas) * below.field("hidden1", {"visible": v})
        assert torch.allclose(model.machine.field("hidden1", top), promised, atol=1e-5)
        upper = above.field("hidden2", {"hidden1": h}).repeat(1, replicas)
        assert torch.allclose(model.machine.field("hidden2", {"hidden1": h}), upper, atol=1e-5)
        assert torch.equal(model.machine.bias["visible"], below.bias["visible"])


def chains_start_at_the_data() -> None:
    """After pretraining each chain is a row of the data, with its hidden units drawn from their
    posterior's means, and the centring offsets are these means' averages.
    """
    rows = (Stream(0).uniform((30, 12)).numpy() < 0.5).astype(float)
    model, stages = plan_of(DBM((6, 4), pretrain_steps=1, chains=30, mean_field_steps=50), rows)
    Trainer(stages[:2], Stream(1), verbose=False).fit()
    game = stages[2].game
    chains = game.chains["visible"].double().numpy()
    assert sorted(map(tuple, chains)) == sorted(map(tuple, rows))
    means = mean_field(model.machine, {"visible": torch.from_numpy(chains).float()}).means
    for name in ("hidden1", "hidden2"):
        assert set(game.chains[name].unique().tolist()) <= {0.0, 1.0}
        p = means[name].detach()
        spread = 5 * float((p * (1 - p)).sum().sqrt())
        assert abs(float((game.chains[name] - p).sum())) < spread
        assert torch.allclose(game.offset(name), p.mean(0), atol=1e-4)


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
    forward, reverse = (model.log_partition_[f"{way} AIS"].value for way in ("forward", "reverse"))
    assert abs(forward - reverse) > 5.0
    rows = (Stream(5).uniform((10, 24)).numpy() < 0.5).astype(np.float32)
    machine = model.machine_
    field = (
        torch.from_numpy(rows).double() @ machine.weight["visible-hidden1"].detach().double()
        + machine.bias["hidden1"].detach()
    )
    free = (
        torch.from_numpy(rows).double() @ machine.bias["visible"].detach().double()
    ) + nn.functional.softplus(field).sum(1)
    truth = free.numpy() - max(forward, reverse)
    assert np.abs(model.score_samples(rows) - truth).max() < 1e-3
    assert abs(model.log_likelihood(rows).value - truth.mean()) < 1e-3


def settled_chains_anneal_down() -> None:
    """Where the training's chains stand is nothing to log Z: they settle first.

    From states that the machine all but never visits the way down through 20 temperatures ends 8
    nats off; from settled ones less than one off, with a standard error of a quarter.
    """
    model = _unlisted(1.5)
    model.anneal(betas=20)
    before = model.log_partition_["reverse AIS"].value
    model.model_.keep({name: torch.zeros_like(x) for name, x in model.chains_.items()})
    model.anneal(betas=20)
    after = [model.log_partition_[f"{way} AIS"].value for way in ("forward", "reverse")]
    assert abs(before - after[1]) < 2.5
    assert abs(after[0] - after[1]) < 3


def updates_heed_strides() -> None:
    """A gradient that lies channels-last moves each weight of a contiguous kernel by its own entry:
    the step of descent is −rate · gradient, to 1e-6."""
    kernel = nn.Parameter(torch.zeros(6, 5, 3, 3))
    game: Any = mock.Mock(players=("one",), parameters_of=lambda player: [kernel])
    solver = Solver(Optimiser("sgd", 0.5))
    solver.bind(game)
    gradient = Stream(0).normal(kernel.shape).contiguous(memory_format=torch.channels_last)
    solver.move("one", [gradient])
    assert torch.allclose(kernel, -0.5 * gradient, atol=1e-6)


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
    found = partition.forward_ais(machine, chains=4, betas=3000, random_state=0)
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
    **_called(biases_at_the_base_rates, *((name,) for name in BASED)),
    **_called(average_is_heeded, *((name,) for name in AVERAGING)),
    **_called(batches_of_the_stages, ("dbm",), ("dbn",)),
    **_called(sweeps_of_a_belief_network, (1,), (2,)),
    **_called(held_out_rows_stay_apart, ()),
    **_called(rows_beyond_the_chains_are_new, *((name,) for name in BASED)),
    **_called(missing_labels_are_free, ()),
    **_called(densities_in_the_datas_scale, ("rbm",), ("made",)),
    **_called(density_sums_to_one, ("rbm",), ("made",), ("nade",)),
    **_called(an_ensemble_is_a_mean, ()),
    **_called(pretraining_agrees_with_the_machine, ()),
    **_called(chains_start_at_the_data, ()),
    **_called(scores_by_the_worse_side, ()),
    **_called(settled_chains_anneal_down, ()),
    **_called(updates_heed_strides, ()),
    **_called(annealing_adds_up_in_double_precision, ()),
}
"""Every check by name."""
