"""Trees of discrete variables on which a table's columns hang: exact densities of mixed tables.

Independent columns, mixtures, Chow–Liu trees and latent trees are one model; what differs is the
tree, which columns hang where, and how the tree was found (:mod:`equilibria.recipes.trees`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from equilibria.models.model import Model, class_log_prob_by_scores
from equilibria.random import Stream
from equilibria.units import Units
from equilibria.units.columns import LABEL

__all__ = ["Counts", "DiscreteTree"]

NEVER = -1e30
"""log 0, as a number whose product with 0 is 0."""
PART = 1000  # rows that expected counts are worked out from at a time
FLOOR = 1e-3  # the least variance of a leaf, in units of the column's own
GRID = 2000  # points at most at which a real column's distribution function is worked out
REAL = 3  # statistics of a real column: x, x² and whether it was seen


class Counts(NamedTuple):
    """What the expectation step finds, sums over rows.

    How often each pair of states of a variable and its parent came, ``(nodes, K, K)``; the leaves'
    statistics under each state, ``(nodes, S, K)``; and the log-likelihood, 0-d.
    """

    edges: Tensor
    leaves: Tensor
    log_prob: Tensor


class DiscreteTree(Model):
    r"""Columns given discrete variables that form a tree, or several.

    .. math:: p(x) = \sum_z \prod_i p(z_i \mid z_{\pi(i)}) \prod_{c \text{ on } i} p(x_c \mid z_i)

    A leaf is categorical or, of a real column, normal. Missing cells are summed out. All sums over
    z are one pass from the leaves to the roots (Pearl 1988, *Probabilistic reasoning in intelligent
    systems*, chapter 4).

    Parameters
    ----------
    units : mapping of str to Units
        The visible layers in the order of an encoded row.
    states : int
        K, of each of the variables z.
    node : sequence of int
        For each variable of the table the number of the one it hangs on.
    known : sequence of int
        Nodes that *are* their one discrete column: a state is a category, as in a Chow–Liu tree.

    Attributes
    ----------
    parent : Tensor of int64, (nodes,)
        π(i), −1 of a root.
    edges : Tensor, (nodes, K, K)
        log p(z_i = k | z_π(i) = j) at [i, j, k]; of a root at [i, 0, k].
    leaves : Tensor, (nodes, S, K)
        Natural parameters of the leaves of each node, padded to the largest number S.

    Examples
    --------
    >>> from equilibria.units import Bernoulli
    >>> model = DiscreteTree({"visible": Bernoulli(3)}, 2, [0, 0, 0]).initialise(Stream(0))
    >>> states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    >>> model.log_prob(states).exp().sum().round(decimals=5)  # of all eight states
    tensor(1.)
    """

    parent: Tensor
    known: Tensor
    columns: Tensor
    group: Tensor
    units: Any

    def __init__(
        self,
        units: Mapping[str, Units],
        states: int,
        node: Sequence[int],
        known: Sequence[int] = (),
    ):
        super().__init__()
        self.units, self.states, self.node = nn.ModuleDict(units), states, tuple(node)
        vars(self)["class_log_prob"] = self.class_log_prob if LABEL in units else None
        vars(self)["features"] = self.features if states > 1 else None
        count = max(node) + 1
        # categories of each variable, 0 of a real one; its statistics begin at `first`
        self.sizes = [size for one in units.values() for size in sizes_of(one)]
        *self.first, total = itertools.accumulate((size or REAL for size in self.sizes), initial=0)
        places = [list[int]() for _ in range(count)]
        groups = [list[int]() for _ in range(count)]
        for variable, (where, size) in enumerate(zip(node, self.sizes, strict=True)):
            begin = self.first[variable]
            places[where] += range(begin, begin + (size or REAL))
            groups[where] += [variable] * (size or REAL)
        width = max(map(len, places))
        pad = [width - len(row) for row in places]
        columns = [row + [total] * more for row, more in zip(places, pad, strict=True)]
        group = [row + [len(self.sizes)] * more for row, more in zip(groups, pad, strict=True)]
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.register_buffer("group", torch.tensor(group), persistent=False)
        self.register_buffer("known", torch.tensor(list(known), dtype=torch.int64))
        self.register_buffer("parent", torch.full((count,), -1))
        edges = torch.full((count, states, states), -math.log(states))
        leaves = torch.zeros(count, width, states)
        for i in known:  # state k is category k; the states beyond the categories never come
            size = self.sizes[self.node.index(i)]
            same = torch.eye(width, states).bool()
            leaves[i] = torch.full((width, states), NEVER).masked_fill(same, 0.0)
            leaves[i, size:] = 0.0
            leaves[i, :, size:] = NEVER
        # counts move them, and no gradient
        self.edges = nn.Parameter(edges.float(), requires_grad=False)
        self.leaves = nn.Parameter(leaves.float(), requires_grad=False)

    # ------------------------------------------------------------ the tree

    def join(self, parent: Sequence[int]) -> DiscreteTree:
        """Set the parents, −1 of a root; ``self``."""
        self.parent.copy_(torch.as_tensor(parent))
        return self

    def depths(self) -> list[Tensor]:
        """The nodes at each depth, the roots first."""
        parent, depth = self.parent.tolist(), dict[int, int]()
        for i in range(len(parent)):
            path = []
            while i >= 0 and i not in depth:
                path.append(i)
                i = parent[i]
            above = depth.get(i, -1)
            for place, one in enumerate(reversed(path), 1):
                depth[one] = above + place
        found = [list[int]() for _ in range(max(depth.values()) + 1)]
        for i in range(len(parent)):
            found[depth[i]].append(i)
        return [torch.tensor(nodes, device=self.edges.device) for nodes in found]

    # ------------------------------------------------------------ densities

    def statistics(self, x: Tensor) -> Tensor:
        """What the leaves are linear in, (n, total + 1); zeros where a cell is missing."""
        parts, columns = [], x.split([units.size for units in self.units.values()], 1)
        for units, values in zip(self.units.values(), columns, strict=True):
            seen = ~values.isnan()
            values = values.nan_to_num()
            if units.states is None:
                found = torch.stack([values, values.square(), seen.to(values)], 2).flatten(1)
            elif hasattr(units, "sizes"):
                found = values
            else:
                up = (values - units.lowest) / (1 - units.lowest) * seen
                found = torch.stack([seen.to(values) - up, up], 2).flatten(1)
            parts.append(found)
        return torch.cat([*parts, x.new_zeros(len(x), 1)], 1)

    def evidence(self, statistics: Tensor) -> Tensor:
        """log p(the columns on i | z_i), (nodes, n, K)."""
        own = statistics[:, self.columns].transpose(0, 1)
        return torch.bmm(own, self.leaves.to(own))

    def upward(
        self, evidence: Tensor, edges: Tensor, depths: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """log p(x), (n,), and at each depth the evidence below and at its nodes, (nodes, n, K)."""
        place = torch.empty_like(self.parent)
        for nodes in depths:
            place[nodes] = torch.arange(len(nodes), device=place.device)
        below, total = list[Tensor](), evidence.new_zeros(evidence.shape[1])
        message = parents = None
        for nodes in reversed(depths):
            here = evidence[nodes]
            if message is not None:
                here = here.index_add(0, place[parents], message)
            below.append(here)
            top = here.amax(2, keepdim=True).detach()
            chance = torch.bmm((here - top).exp(), edges[nodes].exp().transpose(1, 2))
            message = chance.clamp(min=torch.finfo(chance.dtype).tiny).log() + top
            parents = self.parent[nodes]
        assert message is not None
        return total + message[:, :, 0].sum(0), below[::-1]

    def log_prob(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """log p(x), (n,); missing cells (NaN) are summed out."""
        evidence = self.evidence(self.statistics(x))
        return self.upward(evidence, self.edges.to(evidence), self.depths())[0]

    # ------------------------------------------------------------ expectation and maximisation

    def expected(self, x: Tensor) -> Counts:
        """What rows say of all counts in expectation, under these parameters.

        A log-likelihood's derivative in log p(z_i = k | z_π(i) = j) is the expected count of that
        pair, and in the evidence of a state the chance of that state.
        """
        depths, found = self.depths(), None
        for rows in x.split(PART):
            statistics = self.statistics(rows)
            with torch.enable_grad():
                evidence = self.evidence(statistics).detach().requires_grad_()
                edges = self.edges.to(evidence).detach().clone().requires_grad_()
                total = self.upward(evidence, edges, depths)[0].sum()
                state, pairs = torch.autograd.grad(total, [evidence, edges])
            own = statistics[:, self.columns].permute(1, 2, 0)
            part = Counts(pairs, torch.bmm(own, state), total.detach())
            found = part if found is None else Counts(*map(torch.add, found, part))
        assert found is not None
        return found

    @torch.no_grad()
    def maximise(self, counts: Counts, smoothing: float = 1.0) -> None:
        """The parameters under which counts are likeliest, ``smoothing`` observations added to each
        distribution, as the column has them over all states."""
        pairs, own = counts.edges.double(), counts.leaves.double()
        share = torch.full_like(pairs, smoothing / self.states)
        for i in self.known.tolist():
            size = self.sizes[self.node.index(i)]
            share[i] = smoothing / size
            share[i, :, size:] = 0
        chances = pairs + share
        self.edges.copy_(_log(chances / chances.sum(2, keepdim=True)))
        found = torch.zeros_like(own)
        discrete, real = self._discrete(own, smoothing), self._real(own, smoothing)
        found = torch.where(self._is_real[:, :, None], real, discrete)
        found[self.known] = self.leaves[self.known].to(found)
        self.leaves.copy_(found)

    def initialise(self, stream: Stream) -> DiscreteTree:
        """Random distributions of variables and leaves; ``self``."""
        pairs = stream.child("edges").uniform(tuple(self.edges.shape), torch.float64)
        own = stream.child("leaves").uniform(tuple(self.leaves.shape), torch.float64)
        nodes, places = self._reals
        own[nodes, places] = stream.child("means").normal((len(nodes), self.states), torch.float64)
        own[nodes, places + 1] = own[nodes, places].square() + 1
        own[nodes, places + 2] = 1
        self.maximise(Counts(pairs, own, pairs.sum()), smoothing=1e-3)
        return self

    def _discrete(self, own: Tensor, smoothing: float) -> Tensor:
        """log p(category | state), (nodes, S, K)."""
        totals = own.new_zeros(len(self.sizes) + 1, self.states)
        totals.index_add_(0, self.group.flatten(), own.flatten(0, 1))
        counts = [*self.sizes, 1]
        sizes = own.new_tensor([max(size, 1) for size in counts])[self.group][:, :, None]
        overall = own.sum(2, keepdim=True) + 1 / sizes
        overall = overall / (totals.sum(1)[self.group][:, :, None] + 1)
        return _log((own + smoothing * overall) / (totals[self.group] + smoothing))

    def _real(self, own: Tensor, smoothing: float) -> Tensor:
        """μ/σ², −1/2σ² and what makes the density whole, (nodes, S, K)."""
        found, (nodes, places) = torch.zeros_like(own), self._reals
        if len(nodes):
            sums, squares, seen = (own[nodes, places + i] for i in range(REAL))
            every = seen.sum(1, keepdim=True) + 1e-9
            centre = sums.sum(1, keepdim=True) / every
            spread = (squares.sum(1, keepdim=True) / every - centre**2).clamp(min=FLOOR)
            weight = seen + smoothing
            mean = (sums + smoothing * centre) / weight
            variance = (squares + smoothing * (spread + centre**2)) / weight - mean**2
            variance = variance.clamp(min=FLOOR)
            found[nodes, places] = mean / variance
            found[nodes, places + 1] = -0.5 / variance
            found[nodes, places + 2] = -0.5 * (mean**2 / variance + (2 * math.pi * variance).log())
        return found

    @property
    def _reals(self) -> tuple[Tensor, Tensor]:
        """Node and first place of each real column's statistics."""
        _, place = self._places
        pairs = zip(self.first, self.sizes, strict=True)
        first = torch.tensor([at for at, size in pairs if not size], dtype=torch.int64).to(place)
        return self._places[0][first], place[first]

    @property
    def _is_real(self) -> Tensor:
        """Which of the padded statistics are of real columns, (nodes, S)."""
        real = torch.tensor([size == 0 for size in self.sizes] + [False], device=self.group.device)
        return real[self.group]

    @property
    def _places(self) -> tuple[Tensor, Tensor]:
        """Node and place of each statistic, (total,) each."""
        total = self.first[-1] + (self.sizes[-1] or REAL)
        nodes, places = (self.columns < total).nonzero(as_tuple=True)
        order = self.columns[nodes, places].argsort()
        return nodes[order], places[order]

    # ------------------------------------------------------------ draws and means

    @torch.no_grad()
    def sample(self, n: int, stream: Stream, given: Tensor | None = None) -> Tensor:
        """Independent draws, (n, d), exactly from the model given the cells that are held."""
        size = sum(units.size for units in self.units.values())
        free = torch.full((n, size), torch.nan, device=self.edges.device)
        return self.complete(free if given is None else given, free, stream)[0]

    @torch.no_grad()
    def complete(self, x: Tensor, observed: Tensor, stream: Stream, n: int = 1) -> Tensor:
        """Independent draws of the missing cells given the others, (n, rows, d), exactly."""
        rows = x.repeat(n, 1)
        drawn = self._leaves_of(self.drawn(rows, stream), stream).to(rows)
        return torch.where(rows.isnan(), drawn, rows).unflatten(0, (n, len(x)))

    def drawn(self, x: Tensor, stream: Stream) -> Tensor:
        """A draw of all z given each row, (n, nodes)."""
        depths, evidence = self.depths(), self.evidence(self.statistics(x))
        edges = self.edges.to(evidence)
        _, below = self.upward(evidence, edges, depths)
        found = torch.zeros(len(x), len(self.parent), dtype=torch.int64, device=x.device)
        for depth, (nodes, here) in enumerate(zip(depths, below, strict=True)):
            above = found[:, self.parent[nodes].clamp(min=0)] if depth else found[:, nodes]
            logits = edges[nodes[None], above].transpose(0, 1) + here  # (nodes, n, K)
            chance = logits.softmax(2).cumsum(2)
            draw = stream.child("state", depth).uniform((len(x), len(nodes)), chance.dtype)
            place = (chance <= draw.T[:, :, None].to(chance) * chance[:, :, -1:]).sum(2)
            found[:, nodes] = place.clamp(max=self.states - 1).T
        return found

    def _leaves_of(self, states: Tensor, stream: Stream) -> Tensor:
        """A draw of all columns given z, (n, d)."""
        nodes, places = self._places
        natural = self.leaves[nodes, places, states[:, nodes]].double()
        parts, begin = [], 0
        for name, units in self.units.items():
            width = sum(size or REAL for size in sizes_of(units))
            own, draw = natural[:, begin : begin + width], stream.child("leaf", name)
            begin += width
            if units.states is None:
                first, second, _ = own.unflatten(1, (-1, REAL)).unbind(2)
                deviation = (-0.5 / second).sqrt()
                noise = draw.normal(tuple(first.shape), first.dtype, first.device)
                parts.append(first * deviation.square() + deviation * noise)
                continue
            if not hasattr(units, "sizes"):
                low, high = own.unflatten(1, (-1, 2)).unbind(2)
                own = (high - low) / (1 - units.lowest)
            parts.append(units.sample(own, draw))
        return torch.cat(parts, 1)

    def responsibilities(self, x: Tensor) -> Tensor:
        """p(z_i = k | the row), (nodes, n, K)."""
        with torch.enable_grad():
            evidence = self.evidence(self.statistics(x)).detach().requires_grad_()
            total = self.upward(evidence, self.edges.to(evidence), self.depths())[0]
            return torch.autograd.grad(total.sum(), evidence)[0]

    def means(self, x: Tensor, observed: Tensor, stream: Stream) -> Tensor:
        """E[x | the cells that are there], (rows, d), exactly."""
        parts = []
        for units, chance, own in self._conditionals(x):
            if units.states is None:
                chance, own = chance[::REAL], -0.5 * own[::REAL] / own[1::REAL]
            elif not hasattr(units, "sizes"):
                chance, own = chance[1::2], own[1::2].exp() * (1 - units.lowest) + units.lowest
            else:
                own = own.exp()
            parts.append(torch.einsum("cnk,ck->nc", chance, own))
        return torch.where(x.isnan(), torch.cat(parts, 1), x)

    def marginals(self, x: Tensor, observed: Tensor, stream: Stream, n: int) -> Tensor:
        """n equally likely values of each cell given those that are there, (n, rows, d): the
        quantiles at (i − ½)/n of its own distribution, exact but for those of a real column, whose
        level is right to 3e-4. Nothing is drawn."""
        levels, parts = ((torch.arange(n) + 0.5) / n).to(x), list[Tensor]()
        for units, chance, own in self._conditionals(x):
            if units.states is None:
                laws = zip(chance[::REAL], own[::REAL], own[1::REAL], strict=True)
                parts.append(torch.stack([_quantiles(*law, levels) for law in laws], 2))
                continue
            shares = torch.einsum("cnk,ck->nc", chance, own.exp())
            for part in shares.split(sizes_of(units), 1):
                place = (levels[:, None, None] > part.cumsum(1)[:, :-1]).sum(2)
                if hasattr(units, "sizes"):
                    parts.append(nn.functional.one_hot(place, part.shape[1]).to(x))
                else:
                    parts.append((place * (1 - units.lowest) + units.lowest)[:, :, None].to(x))
        return torch.where(x.isnan(), torch.cat(parts, 2), x)

    def _conditionals(self, x: Tensor) -> Iterator[tuple[Any, Tensor, Tensor]]:
        """Layer by layer, of its columns' statistics: p(state | row), (statistics, rows, K), and
        the natural parameters, (statistics, K)."""
        chance, (nodes, places) = self.responsibilities(x), self._places
        natural, begin = self.leaves[nodes, places].to(chance), 0
        for units in self.units.values():
            own = slice(begin, begin + sum(size or REAL for size in sizes_of(units)))
            yield units, chance[nodes[own]], natural[own]
            begin = own.stop

    def class_log_prob(self, x: Tensor, stream: Stream) -> Tensor:
        """log p(class | row), (rows, classes), exactly."""
        return class_log_prob_by_scores(self, x, self.units[LABEL].size)

    def features(self, x: Tensor) -> Tensor:
        """p(z_i = k | the row) of each node's states but the last, (rows, nodes · (K − 1))."""
        return self.responsibilities(x)[:, :, :-1].transpose(0, 1).flatten(1)

    def describe(self) -> str:
        variables, states = len(self.parent), self.states
        if states == 1:
            return "Independent columns."
        if variables == 1:
            return f"Mixture of {states} components with independent columns."
        return f"Tree of {variables} discrete variables of {states} states."


def sizes_of(units: Any) -> list[int]:
    """The categories of each of a layer's variables; 0 for a real one."""
    if units.states is None:
        return [0] * units.variables
    return list(getattr(units, "sizes", [2] * units.variables))


def _quantiles(chance: Tensor, first: Tensor, second: Tensor, levels: Tensor) -> Tensor:
    """Quantiles of mixtures of normal distributions, (levels, rows), by their distribution function
    on a grid that is as fine as the components are narrow."""
    deviation = (-0.5 / second).sqrt()
    steps = torch.linspace(-5, 5, 101).to(chance)
    grid = (first * deviation.square() + deviation * steps[:, None]).flatten().sort().values
    grid = grid[torch.linspace(0, len(grid) - 1, min(len(grid), GRID)).long()]
    each = torch.special.ndtr((grid - (first * deviation.square())[:, None]) / deviation[:, None])
    found = chance @ each
    found = found / found[:, -1:]
    place = torch.searchsorted(found, levels.expand(len(found), -1).contiguous())
    place = place.clamp(1, len(grid) - 1)
    low, high = found.gather(1, place - 1), found.gather(1, place)
    share = ((levels - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return torch.lerp(grid[place - 1], grid[place], share).T


def _log(chance: Tensor) -> Tensor:
    return torch.where(chance > 0, chance.clamp(min=1e-300).log(), NEVER)
