"""How trees of discrete variables are found and trained: independent columns, mixtures, Chow–Liu
trees and latent trees.

Settings (``how``) are the parameters of the estimators, by their names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import csgraph
from torch import Tensor
from torch.nn import functional

from equilibria.check import affordable
from equilibria.data.rows import Labels, Rows, with_labels
from equilibria.games.likelihood import Likelihood
from equilibria.models.tree import REAL, Counts, DiscreteTree
from equilibria.random import Stream
from equilibria.solvers.expectation import ExpectationMaximisation
from equilibria.training.stage import Best, Stage

__all__ = [
    "OneHot",
    "begin_as_mixture",
    "begin_in_bins",
    "by_counts",
    "chow_liu",
    "everything",
    "trial_of",
]

MONITORED = 2000  # rows of either kind whose log-likelihood is measured while training
PART = 4000  # rows that are counted at a time
TRIAL = 20_000  # rows of a trial
PAIRED = 12  # single-precision numbers for each pair of categories, in counting them
STAY = 0.9  # of a latent tree that begins as a mixture: the chance of the parent's state


def by_counts(model: DiscreteTree, how: Any, rows: Rows) -> Stage:
    """The stage in which a tree is trained by EM."""
    rows.refuse_unseen()
    size = len(rows) if how.batch_size is None else min(how.batch_size, len(rows))
    solver = ExpectationMaximisation(len(rows), how.smoothing, batch_size=size)
    stage = Stage("fit", Likelihood(model), solver, rows.batches("fit", size), how.steps)
    stage.view = Labels(rows.table.classes) if rows.table.classes else None
    kinds = {"train": False} | ({} if rows.held is None else {"held_out": True})
    some = {kind: watched(rows, held) for kind, held in kinds.items()}

    def monitor(stream: Stream) -> dict[str, float]:
        found = {kind: model.log_prob(x).double().mean() for kind, x in some.items()}
        return {f"{kind}_log_likelihood": float(value) for kind, value in found.items()}

    stage.monitor = monitor
    if "held_out" in some:
        stage.best = Best(model, lambda tree: tree.log_prob(some["held_out"]), "held_out_score")
    return stage


def watched(rows: Rows, held: bool = False) -> Tensor:
    """Some rows of either kind, labels behind them, NaN where a cell is missing."""
    batch = rows.some(MONITORED, "monitored", held=held)
    return (with_labels(batch, rows.table.classes) if rows.table.classes else batch).with_gaps()


def trial_of(rows: Rows) -> Rows:
    """At most 20,000 rows that are drawn, a tenth of them held out; all on each process."""
    order = rows.stream.child("trial").permutation(len(rows))[:TRIAL]
    return dataclasses.replace(rows.divided(order, len(order) // 10), shard=(0, 1))


def everything(rows: Rows) -> Iterable[Tensor]:
    """All training rows, some at a time, NaN where a cell is missing; greys as one draw each."""
    whole = dataclasses.replace(rows, shard=(0, 1))  # each process finds the same tree
    batches = whole.batches("counted", PART)
    view = Labels(rows.table.classes) if rows.table.classes else None
    left, i = len(rows), 0
    while left > 0:
        batch = batches.at(i)
        yield (batch if view is None else view(batch, rows.stream)).with_gaps()[:left]
        left, i = left - batches.batch_size, i + 1


# ------------------------------------------------------------------ the tree


class OneHot:
    """Rows → columns of zeros and ones, ``sizes[v]`` for variable v side by side; zeros where its
    cell is missing. Real columns are cut into ``bins`` of equal shares."""

    def __init__(self, model: DiscreteTree, rows: Rows, bins: int):
        self.model = model
        self.sizes = [size or bins for size in model.sizes]
        about = ("columns", len(model.sizes)) if all(model.sizes) else ("bins", bins)
        affordable(*about, float(PAIRED) * sum(self.sizes) ** 2)
        share = torch.arange(1, bins, dtype=torch.float64) / bins
        seen = model.statistics(watched(rows).double())
        self.cuts: dict[int, Tensor] = {}
        for variable, size in enumerate(model.sizes):
            if not size:
                value, _, known = self._real(seen, variable)
                own = value[known > 0]
                cuts = torch.quantile(own, share.to(value)) if len(own) else share.to(value)
                self.cuts[variable] = cuts

    def __call__(self, x: Tensor) -> Tensor:
        statistics, parts = self.model.statistics(x), []
        for variable, (first, size) in enumerate(
            zip(self.model.first, self.model.sizes, strict=True)
        ):
            part = statistics[:, first : first + size]
            if not size:
                value, _, known = self._real(statistics, variable)
                where = torch.bucketize(value.contiguous(), self.cuts[variable].to(value))
                part = functional.one_hot(where, self.sizes[variable]) * known[:, None]
            parts.append(part)
        return torch.cat(parts, 1)

    def _real(self, statistics: Tensor, variable: int) -> tuple[Tensor, ...]:
        first = self.model.first[variable]
        return statistics[:, first : first + REAL].unbind(1)


def mutual_information(
    parts: Iterable[Tensor], one_hot: Callable[[Tensor], Tensor], sizes: Sequence[int]
) -> np.ndarray:
    """I(a; b) of each pair of variables in nats, (variables, variables), by counts.

    A pair is counted in the rows that have both; one observation more is spread over each pair of
    categories, so that rare ones are no evidence.
    """
    joint: Any = 0.0
    for part in parts:
        found = one_hot(part).double()
        joint = joint + found.T @ found
    owner = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).to(joint.device)
    width = torch.tensor(sizes, dtype=torch.float64, device=joint.device)[owner]
    joint = joint + 1 / (width[:, None] * width)
    summed = functional.one_hot(owner, len(sizes)).T.double()  # (variables, columns)
    both = summed @ joint @ summed.T  # rows that have both, of each pair of variables
    chance = joint / both[owner][:, owner]
    first, second = (chance @ summed.T)[:, owner], (summed @ chance)[owner]
    return (summed @ (chance * (chance / (first * second)).log()) @ summed.T).cpu().numpy()


def chow_liu(information: np.ndarray) -> list[int]:
    """Parents in the tree with the most information between neighbours; −1 of the root, which
    knows most of all others.

    Chow & Liu 1968, "Approximating discrete probability distributions with dependence trees".
    """
    information = information.copy()
    np.fill_diagonal(information, 0)
    weight = information.max() + 1 - information  # an edge of a sparse graph must be above 0
    np.fill_diagonal(weight, 0)
    tree, root = csgraph.minimum_spanning_tree(weight), int(information.sum(1).argmax())
    _, before = csgraph.breadth_first_order(sparse.csr_matrix(tree), root, directed=False)
    return [-1 if i == root else int(before[i]) for i in range(len(information))]


def tree_of(one_hot: OneHot, rows: Rows) -> list[int]:
    """Chow and Liu's parents of a table's variables."""
    return chow_liu(mutual_information(everything(rows), one_hot, one_hot.sizes))


# ------------------------------------------------------------------ where EM begins


def begin_as_mixture(model: DiscreteTree, rows: Rows, stream: Stream) -> None:
    """State k of every node stands for row k of some that are drawn: a leaf's first counts are half
    of that row and half of all, and a child is mostly in its parent's state."""
    statistics = model.statistics(watched(rows).double())
    order = stream.child("seeds").permutation(len(statistics)).to(statistics.device)
    chosen = order[torch.arange(model.states, device=order.device) % len(order)]
    blend = 0.5 * statistics[chosen] + 0.5 * statistics.mean(0)
    own = blend[:, model.columns].permute(1, 2, 0)
    same = torch.eye(model.states, dtype=torch.float64, device=own.device)
    pairs = (STAY * same + (1 - STAY) / model.states).expand(len(own), -1, -1).clone()
    pairs[model.parent < 0] = 1 / model.states
    share = len(rows) / model.states
    model.maximise(Counts(share * pairs, share * own, own.sum()), smoothing=1e-6)


def begin_in_bins(model: DiscreteTree, one_hot: OneHot, rows: Rows) -> None:
    """State k of a real column's node stands for its bin k; all else by counting once."""
    own: Any = 0.0
    for part in everything(rows):
        x = part.double()
        statistics, bins, states = (
            model.statistics(x),
            one_hot(x),
            x.new_zeros(len(model.parent), len(x), model.states),
        )
        first = 0
        for node, size in enumerate(one_hot.sizes):
            states[node, :, :size] = bins[:, first : first + size]
            first += size
        own = own + torch.bmm(statistics[:, model.columns].permute(1, 2, 0), states)
    pairs = torch.ones_like(model.edges, dtype=torch.float64)
    model.maximise(Counts(pairs, own, own.sum()))
