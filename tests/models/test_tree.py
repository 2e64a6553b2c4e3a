"""Trees of discrete variables: densities, marginals and draws held to sums over all states."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from equilibria.models.tree import NEVER, DiscreteTree
from equilibria.random import Stream
from equilibria.recipes.trees import chow_liu, mutual_information
from equilibria.units import Bernoulli, Categorical, Gaussian, Spin
from small import table_of

MIXED = {"b": Bernoulli(2), "c": Categorical([3]), "s": Spin(1), "g": Gaussian(1, learned=True)}
SHAPES = {
    "independent": (1, [0] * 5, [-1]),
    "mixture": (4, [0] * 5, [-1]),
    "chain": (3, [0, 1, 2, 3, 4], [1, 2, -1, 2, 3]),
    "forest": (2, [0, 1, 2, 0, 1], [-1, 0, -1]),
    "bare node": (3, [0, 1, 3, 3, 3], [2, 2, -1, 2]),
}
"""States of each variable, what the five columns hang on, parents."""


def tree(shape: str, seed: int = 0) -> DiscreteTree:
    states, node, parent = SHAPES[shape]
    return DiscreteTree(MIXED, states, node).join(parent).double().initialise(Stream(seed))


def discrete_rows(values: Tensor) -> Tensor:
    """All values of the four discrete columns, with each of these of the real one."""
    found = [
        torch.tensor([*bits, *(float(c == k) for k in range(3)), spin, float(x)])
        for bits in itertools.product([0.0, 1.0], repeat=2)
        for c in range(3)
        for spin in (-1.0, 1.0)
        for x in values
    ]
    return torch.stack(found).double()


def naive(model: DiscreteTree, row: Tensor) -> float:
    """log p of a row by a sum over all states of all variables; NaN cells are left out."""
    count, total = len(model.parent), 0.0
    names = ["b", "b", "c", "s", "g"]
    for z in itertools.product(range(model.states), repeat=count):
        chance = 1.0
        for i, parent in enumerate(model.parent.tolist()):
            chance *= math.exp(model.edges[i, z[parent] if parent >= 0 else 0, z[i]])
        columns = [row[:1], row[1:2], row[2:5], row[5:6], row[6:]]
        for variable, (name, cell) in enumerate(zip(names, columns, strict=True)):
            if bool(cell.isnan().any()):
                continue
            i = model.node[variable]
            first = model.first[variable]
            own = model.columns[i].tolist()
            natural = [
                model.leaves[i, own.index(first + s), z[i]].item()
                for s in range(3 if name in "cg" else 2)
            ]
            if name == "c":
                chance *= math.exp(natural[int(cell.argmax())])
            elif name == "g":
                x = float(cell)
                chance *= math.exp(natural[0] * x + natural[1] * x * x + natural[2])
            else:
                chance *= math.exp(natural[int(float(cell) > 0)])
        total += chance
    return math.log(total)


@pytest.mark.parametrize("shape", SHAPES)
def test_densities_are_sums_over_all_states_and_gaps_are_summed_out(shape: str) -> None:
    model = tree(shape)
    rows = discrete_rows(torch.tensor([-0.7, 1.3]))
    gaps = Stream(1).uniform((len(rows), 5)) < 0.4
    torn = rows.masked_fill(gaps[:, [0, 1, 2, 2, 2, 3, 4]], torch.nan)
    for some in (rows, torn):
        expected = [naive(model, row) for row in some]
        assert np.allclose(model.log_prob(some), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_masses_sum_to_one(shape: str) -> None:
    """By the trapezoid over the real column, whose tails are below 1e-20 there."""
    values = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    mass = tree(shape).log_prob(discrete_rows(values)).exp().reshape(-1, len(values))
    assert torch.trapezoid(mass, values).sum().item() == pytest.approx(1, abs=1e-9)


def test_twelve_columns_sum_to_one() -> None:
    for states, node, parent in ((5, [0] * 12, [-1]), (3, range(12), [-1, *range(11)])):
        model = DiscreteTree({"v": Bernoulli(12)}, states, list(node)).join(parent)
        model = model.double().initialise(Stream(2))
        total = model.log_prob(torch.from_numpy(table_of(12))).exp().sum()
        assert total.item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_expected_counts_are_the_posterior_s_and_em_never_lowers_the_likelihood(shape: str) -> None:
    data, model = tree(shape, 3).sample(400, Stream(4)).double(), tree(shape, 5)
    data = data.masked_fill(
        (Stream(6).uniform((400, 5)) < 0.2)[:, [0, 1, 2, 2, 2, 3, 4]], torch.nan
    )
    counts = model.expected(data)
    assert torch.allclose(counts.edges.sum((1, 2)), counts.edges.new_tensor(400.0), atol=1e-8)
    assert counts.log_prob.item() == pytest.approx(model.log_prob(data).sum().item(), abs=1e-8)
    before = -math.inf
    for _ in range(15):
        counts = model.expected(data)
        assert counts.log_prob.item() > before - 1e-7
        before = counts.log_prob.item()
        model.maximise(counts, smoothing=1e-12)


def test_draws_follow_the_density_and_the_cells_that_are_held() -> None:
    """20,000 draws of 24 cells: χ² below its 1 − 1e-6 quantile, from 0 and given two columns."""
    from scipy import stats

    model, n = tree("chain"), 20_000
    drawn = model.sample(n, Stream(7))
    rows = discrete_rows(torch.tensor([0.0]))
    rows[:, 6] = torch.nan
    found = [float((drawn[:, :6] == row[:6]).all(1).sum()) for row in rows]
    expected = n * model.log_prob(rows).exp()
    chi = ((torch.tensor(found) - expected) ** 2 / expected).sum().item()
    assert chi < stats.chi2.ppf(1 - 1e-6, len(rows) - 1)
    held = torch.full((n, 7), torch.nan, dtype=torch.float64)
    held[:, 0], held[:, 6] = 1.0, 0.4
    drawn = model.sample(n, Stream(8), held)
    assert bool((drawn[:, 0] == 1).all() and (drawn[:, 6] == 0.4).all())
    rows = rows[rows[:, 0] == 1]
    rows[:, 6] = 0.4
    found = [float((drawn[:, 1:6] == row[1:6]).all(1).sum()) for row in rows]
    expected = n * (model.log_prob(rows) - model.log_prob(held[:1])).exp()
    chi = ((torch.tensor(found) - expected) ** 2 / expected).sum().item()
    assert chi < stats.chi2.ppf(1 - 1e-6, len(rows) - 1)
    # the real column given the others: its mean within 5 standard errors
    free = torch.full((n, 7), torch.nan, dtype=torch.float64)
    free[:, :2] = torch.tensor([1.0, 0.0])
    values = model.sample(n, Stream(9), free)[:, 6]
    mean = model.means(free[:1], free[:1], Stream(0))[0, 6]
    assert abs(values.mean() - mean) < 5 * values.std() / n**0.5


@pytest.mark.parametrize("shape", ["mixture", "chain"])
def test_conditional_means_are_ratios_of_sums(shape: str) -> None:
    model = tree(shape)
    row = torch.full((1, 7), torch.nan, dtype=torch.float64)
    row[0, 1], row[0, 6] = 1.0, -0.3
    found = model.means(row, row, Stream(0))[0]
    rows = discrete_rows(torch.tensor([-0.3]))
    rows = rows[rows[:, 1] == 1]
    chance = (model.log_prob(rows) - model.log_prob(row)).exp()
    expected = (chance[:, None] * rows).sum(0)
    assert torch.allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_marginals_are_quantiles_of_ratios_of_sums(shape: str) -> None:
    """Their levels by the trapezoid over the real column; shares of discrete values to 1/n."""
    model, n = tree(shape), 199
    row = torch.full((2, 7), torch.nan, dtype=torch.float64)
    row[0, 1], row[0, 5] = 1.0, -1.0
    found = model.marginals(row, ~row.isnan(), Stream(0), n)
    assert found.shape == (n, 2, 7)
    assert bool((found[:, 0, [1, 5]] == row[0, [1, 5]]).all())
    means = model.means(row, ~row.isnan(), Stream(0))
    for column in range(6):
        shares = found[:, :, column].mean(0)
        assert torch.allclose(shares, means[:, column], atol=(2 if column == 5 else 1) / n)
    values = torch.linspace(-40, 40, 160_001, dtype=torch.float64)
    for i in range(2):
        rows = row[i].repeat(len(values), 1)
        rows[:, 6] = values
        density = (model.log_prob(rows) - model.log_prob(row[i : i + 1])).exp()
        below = torch.cumulative_trapezoid(density, values)
        at = torch.searchsorted(values, found[:, i, 6].contiguous()) - 1
        levels = (torch.arange(n) + 0.5) / n
        assert torch.allclose(below[at], levels.double(), rtol=0, atol=5e-4)


def test_known_nodes_make_a_chow_liu_tree_of_pair_frequencies() -> None:
    """p(x) = p(x_r) Π p(x_i | x_π(i)) by counting, to 1e-9, with unequal numbers of categories."""
    rows = np.random.RandomState(0).randint(0, [2, 3, 4], size=(300, 3))
    units = {"c": Categorical([2, 3, 4])}
    one_hot = np.concatenate([np.eye(k)[rows[:, i]] for i, k in enumerate((2, 3, 4))], 1)
    x = torch.from_numpy(one_hot)
    model = DiscreteTree(units, 4, [0, 1, 2], known=[0, 1, 2]).join([1, -1, 1]).double()
    model.maximise(model.expected(x), smoothing=1e-12)
    pairs = {}
    for a, b in ((0, 1), (2, 1)):
        joint = np.zeros((4, 4))
        np.add.at(joint, (rows[:, a], rows[:, b]), 1 / 300)
        pairs[a] = joint
    root = np.bincount(rows[:, 1], minlength=3) / 300
    expected = [
        math.log(root[r[1]]) + sum(math.log(pairs[a][r[a], r[1]] / root[r[1]]) for a in (0, 2))
        for r in rows
    ]
    assert np.allclose(model.log_prob(x), expected, atol=1e-9)


def test_one_component_is_independent_columns_to_the_last_digit() -> None:
    rows = torch.from_numpy((np.random.RandomState(1).uniform(size=(200, 6)) < 0.3).astype(float))
    one = DiscreteTree({"v": Bernoulli(6)}, 1, [0] * 6).double()
    one.maximise(one.expected(rows), smoothing=1.0)
    share = (rows.sum(0) + (rows.sum(0) + 0.5) / 201) / 201
    expected = (rows * share.log() + (1 - rows) * (1 - share).log()).sum(1)
    assert torch.allclose(one.log_prob(rows), expected, rtol=0, atol=1e-12)


def test_mutual_information_and_the_tree_are_brute_force_s() -> None:
    """Against the definition on a table of counts; the tree among all 16 of four variables."""
    generator = np.random.RandomState(2)
    first = generator.randint(0, 2, 500)
    rows = np.stack([first, first ^ (generator.uniform(size=500) < 0.1)], 1)
    rows = np.column_stack(
        [rows, rows[:, 1] ^ (generator.uniform(size=500) < 0.2), generator.randint(0, 2, 500)]
    )
    hot = torch.from_numpy(np.stack([1 - rows, rows], 2).reshape(500, 8)).double()
    found = mutual_information([hot[:200], hot[200:]], lambda x: x, [2] * 4)
    for a, b in itertools.combinations(range(4), 2):
        joint = np.full((2, 2), 0.25)
        np.add.at(joint, (rows[:, a], rows[:, b]), 1)
        joint /= joint.sum()
        outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        assert found[a, b] == pytest.approx((joint * np.log(joint / outer)).sum(), abs=1e-12)
    pairs = list(itertools.combinations(range(4), 2))
    best = max(
        (edges for edges in itertools.combinations(pairs, 3) if _spans(edges)),
        key=lambda edges: sum(found[edge] for edge in edges),
    )
    parents = chow_liu(found)
    assert {tuple(sorted((i, p))) for i, p in enumerate(parents) if p >= 0} == set(best)


def _spans(edges: tuple[tuple[int, int], ...]) -> bool:
    reached = {0}
    for _ in edges:
        reached |= {v for edge in edges if reached & set(edge) for v in edge}
    return len(reached) == 4


def test_extreme_values_have_finite_densities() -> None:
    model = tree("chain").float()
    row = torch.tensor([[1.0, 0, 1, 0, 0, 1, 1e6]])
    assert bool(torch.isfinite(model.log_prob(row)).all())
    assert bool((model.edges >= NEVER).all())
