"""Each column's own law as its rows show it, and numbers as normal scores (:class:`Margin`)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.special import ndtr, ndtri

__all__ = ["Margin", "Margins"]

DIGITS = 6  # behind the point, among which a column's resolution is looked for
EXACT = 2.0**53
WHOLE = 2.0**62  # up to here numbers are whole ones of 64 bits: days in nanoseconds
MOST = 500  # cells of equal shares
FEWEST = 4  # rows of the cells towards the ends
TIE = 1e-9  # of F, above which a value is one that comes again and again, not a rounding
LEAST = 1e-12  # of a probability: scores stay within 7 of 0
Grid = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Margin:
    """A distribution function F that is linear between its knots.

    Found by :meth:`of` in n rows: about 2√n cells of equal shares, smaller ones towards the ends,
    and a value that comes in a cell's worth of rows by itself. Beyond the ends, and in gaps between
    such values, some 1/n is left for rows that are still to come.

    Attributes
    ----------
    knots : tuple of float
        Ascending; two equal ones are a value that comes again and again. On a grid they are in
        steps of the grid, and each value fills the step around it.
    shares : tuple of float
        F at the knots, strictly ascending within (0, 1).
    grid : (first, step, digits) or None
        Values are (first + k·step) / 10^digits for k = 0, 1, …: whole numbers, multiples of five,
        cents.

    Examples
    --------
    >>> law = Margin.of(np.array([0.0, 0.0, 5.0, 10.0, 20.0]))
    >>> law.grid  # fives
    (0, 5, 0)
    """

    knots: tuple[float, ...]
    shares: tuple[float, ...]
    grid: Grid | None = None

    @classmethod
    def of(cls, values: np.ndarray, single: bool = False) -> Margin:
        """The law of finite values (n,) in float64; ``single`` where they came as float32."""
        values = np.sort(values)
        grid = _grid_of(values, single)
        points = values if grid is None else np.rint(_on_grid(values, grid))
        points, counts = np.unique(points, return_counts=True)
        first, last, share = _pieces(points, counts)
        half = 0.0 if grid is None else 0.5
        knots, shares = _knots(points[first] - half, points[last] + half, share, grid is None)
        rare = 1 / (len(values) + 1)
        if ((np.diff(shares) == 0) & (np.diff(knots) > 0)).any():
            shares = (1 - rare) * shares + rare * (knots - knots[0]) / (knots[-1] - knots[0])
        shares = rare / 2 + (1 - rare) * shares
        return cls(tuple(knots.tolist()), tuple(shares.tolist()), grid)


def _grid_of(values: np.ndarray, single: bool) -> Grid | None:
    """The coarsest grid of decimal numbers on which all values lie, if there is one."""
    largest = max(abs(values[0]), abs(values[-1]))
    spacing = float(np.spacing(np.float32(min(largest, 1e38)))) if single else 0.0
    for digits in range(DIGITS + 1):
        if largest * 10.0**digits > (EXACT if digits else WHOLE):
            return None
        near = np.round(values, digits)
        same = near.astype(np.float32) == values.astype(np.float32) if single else near == values
        if same.all():
            ticks = np.rint(values * 10.0**digits).astype(np.int64)
            step = max(int(np.gcd.reduce(ticks - ticks[0])), 1)
            fine = step / 10.0**digits < 8 * spacing  # any number of such a type lies on it
            fine |= (ticks[-1] - ticks[0]) / step > EXACT
            return None if fine else (int(ticks[0]), step, digits)
    return None


def _on_grid(values: np.ndarray, grid: Grid) -> np.ndarray:
    first, step, digits = grid
    return (values * 10.0**digits - first) / step


def _pieces(points: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of distinct values that share a cell: their first, their last, and their shares."""
    ends = np.concatenate([[0], counts.cumsum()])
    rows = int(ends[-1])
    width = max(rows / min(MOST, math.ceil(2 * math.sqrt(rows))), 1.0)
    halved = [width / 2**i for i in range(1, 64) if width / 2**i >= FEWEST]
    inner = np.arange(1, math.floor(rows / width + 0.5)) * width
    cuts = np.concatenate([halved[::-1], inner, rows - np.array(halved)])
    middle = (ends[:-1] + ends[1:]) / 2
    cell = np.searchsorted(cuts, middle)
    sizes = np.diff(np.concatenate([[0.0], cuts, [rows]]))
    alone = (counts > 1) & (counts >= sizes[cell] / 2)
    begins = np.ones(len(points), dtype=bool)
    begins[1:] = (cell[1:] != cell[:-1]) | alone[1:] | alone[:-1]
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(points)) - 1
    return first, last, (ends[last + 1] - ends[first]) / rows


def _knots(
    low: np.ndarray, high: np.ndarray, share: np.ndarray, continuous: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The knots of pieces from ``low`` to ``high``, and F there.

    Neighbours that are no single values meet half-way; a gap beside a single value stays one.
    """
    single = low == high if continuous else high - low == 1
    meet = ~single[1:] & ~single[:-1]
    half = (high[:-1] + low[1:]) / 2
    low, high = low.copy(), high.copy()
    low[1:][meet], high[:-1][meet] = half[meet], half[meet]
    after = share.cumsum()
    knots = np.stack([low, high], 1).reshape(-1)
    shares = np.stack([after - share, after], 1).reshape(-1)
    kept = np.ones(len(knots), dtype=bool)  # one knot where two pieces meet
    kept[1:] = (np.diff(knots) > 0) | (np.diff(shares) > TIE)
    return knots[kept], shares[kept].clip(0.0, 1.0)


class Margins:
    """The laws of a layer's columns, side by side.

    A number x is the score z = Φ⁻¹(F(x)), which is N(0, 1) where x has the column's law; a value
    that comes again and again has an interval of scores, and z is the middle of its F.

    Parameters
    ----------
    laws : sequence of Margin

    Examples
    --------
    >>> rows = torch.tensor([[1.0], [2.0], [2.0], [4.0]], dtype=torch.float64)
    >>> margins = Margins([Margin.of(rows[:, 0].numpy())])
    >>> margins.values(margins.scores(rows)).T
    tensor([[1., 2., 2., 4.]], dtype=torch.float64)
    """

    def __init__(self, laws: Sequence[Margin]):
        self.laws = tuple(laws)
        width = max(len(law.knots) for law in laws)
        pad = [width - len(law.knots) for law in laws]
        knots = [[*law.knots, *[math.inf] * more] for law, more in zip(laws, pad, strict=True)]
        shares = [[*law.shares, *[2.0] * more] for law, more in zip(laws, pad, strict=True)]
        self.knots = torch.tensor(knots, dtype=torch.float64)  # (columns, knots)
        self.shares = torch.tensor(shares, dtype=torch.float64)
        self.last = torch.tensor([[len(law.knots) - 1] for law in laws])
        grids = [law.grid or (0, 1, 0) for law in laws]
        first, step, digits = torch.tensor(grids, dtype=torch.float64).unbind(1)
        self.first, self.step, self.power = first, step, 10.0**digits
        self.gridded = torch.tensor([law.grid is not None for law in laws])[:, None]
        self.ends = self.knots[:, :1], self.knots.gather(1, self.last)
        self.tail = self.shares[:, :1]  # as much lies beyond the last knot
        reach = (self.ends[1] - self.ends[0]) / (self.last + 1)  # mean distance beyond it
        self.reach = torch.where(reach > 0, reach, 1.0)

    @property
    def ties(self) -> bool:
        """Whether any column has values that come again and again."""
        equal = (self.knots.diff(dim=1) == 0) & (self.shares.diff(dim=1) > TIE)
        return bool(self.gridded.any() | equal.any())

    def scores(self, values: Tensor) -> Tensor:
        """Scores of numbers, both (n, columns) in float64; NaN stays."""
        low, high = self._interval(self._places(values))
        return ndtri(((low + high) / 2).clamp(LEAST, 1 - LEAST)).T

    def values(self, scores: Tensor) -> Tensor:
        """Numbers of scores, both (n, columns) in float64: within the ends, on the grid."""
        x = self._quantile(ndtr(scores.T.contiguous())).clamp(*self.ends)
        on_grid = x.clamp(self.ends[0] + 0.5, self.ends[1] - 0.5).round()
        on_grid = (self.first[:, None] + on_grid * self.step[:, None]) / self.power[:, None]
        return torch.where(self.gridded, on_grid, x).T

    def spread(self, scores: Tensor, share: Tensor) -> Tensor:
        """Scores of which each tied one is drawn anew within its interval, by ``share`` in [0, 1).

        Of rows with the columns' laws they are N(0, 1) without a jump: ties are dequantised
        uniformly in F (Uria, Murray & Larochelle 2013, of pixels).
        """
        double = scores.T.double().contiguous()
        low, high = self._interval(self._seen(ndtr(double)))
        drawn = torch.lerp(low, high, share.T.to(low))
        drawn = ndtri(drawn.clamp(LEAST, 1 - LEAST))
        return torch.where(high - low > TIE, drawn, double).T.to(scores.dtype)

    def log_volume(self, scores: Tensor) -> Tensor:
        """log φ(z) − log f of each score, (n, columns): what a log-density of z is more than that
        of the number, f being the column's own density, or its mass on a grid and at a value that
        comes again and again."""
        double = scores.T.double().contiguous()
        share = ndtr(double)
        low, high = self._interval(self._seen(share))
        normal = -double.square() / 2 - 0.5 * math.log(2 * math.pi)
        tied = self.gridded | (high - low > TIE)
        return (normal - torch.where(tied, high - low, self._slope(share)).log()).T

    # ------------------------------------------------------------ in places of the knots

    def _places(self, values: Tensor) -> Tensor:
        """Numbers as places among the knots, (columns, n)."""
        x = values.T.double().contiguous()
        on_grid = (x * self.power[:, None] - self.first[:, None]) / self.step[:, None]
        return torch.where(self.gridded, on_grid, x)

    def _seen(self, known: Tensor) -> Tensor:
        """The places of F: on a grid those of its values, also beyond the ends."""
        x = self._quantile(known)
        return torch.where(self.gridded, x.round(), x)

    def _interval(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """F just below and at each place; on a grid half a step below and above."""
        half = torch.where(self.gridded, 0.5, 0.0)
        return self._share(x - half, False), self._share(x + half, True)

    def _share(self, x: Tensor, right: bool) -> Tensor:
        """F(x), or where it jumps its limit from the left unless ``right``."""
        after = torch.searchsorted(self.knots, x, right=right)
        upper = after.clamp(min=1).minimum(self.last)
        found = _between(x, upper, self.knots, self.shares)
        low = self.tail * torch.exp((x - self.ends[0]) / self.reach)
        high = 1 - self.tail * torch.exp((self.ends[1] - x) / self.reach)
        found = torch.where(after > self.last, high, found)
        return torch.where(after == 0, low, found)

    def _quantile(self, share: Tensor) -> Tensor:
        """The place x at which F is ``share``."""
        upper = torch.searchsorted(self.shares, share).clamp(min=1).minimum(self.last)
        found = _between(share, upper, self.shares, self.knots)
        low = self.ends[0] + self.reach * (share / self.tail).log()
        high = self.ends[1] - self.reach * ((1 - share) / self.tail).log()
        found = torch.where(share > 1 - self.tail, high, found)
        return torch.where(share < self.tail, low, found)

    def _slope(self, share: Tensor) -> Tensor:
        """The density at the place at which F is ``share``."""
        upper = torch.searchsorted(self.shares, share).clamp(min=1).minimum(self.last)
        rise = self.shares.gather(1, upper) - self.shares.gather(1, upper - 1)
        run = self.knots.gather(1, upper) - self.knots.gather(1, upper - 1)
        outer = torch.minimum(share, 1 - share)
        return torch.where(outer < self.tail, outer / self.reach, rise / run)


def _between(x: Tensor, upper: Tensor, at: Tensor, value: Tensor) -> Tensor:
    """Linear interpolation between the knots ``upper`` − 1 and ``upper``, of each column's."""
    low, high = at.gather(1, upper - 1), at.gather(1, upper)
    share = ((x - low) / (high - low)).clamp(0, 1)
    share = torch.where(high > low, share, 1.0)
    return torch.lerp(value.gather(1, upper - 1), value.gather(1, upper), share)
