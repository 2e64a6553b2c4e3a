"""Trained generators with their critics as models over encoded rows.

:class:`Adversarial` draws some columns of a row given its other columns and its class, where these
are given; :class:`Given` says which.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from equilibria.data.batches import Batch
from equilibria.models.generator import Generator
from equilibria.models.model import Model
from equilibria.random import Stream

if TYPE_CHECKING:
    from equilibria.data.table import Table

__all__ = ["Adversarial", "Given", "Implicit"]

MEANS = 200  # draws that a conditional mean is the mean of
REDRAWS = 50  # of a row that is to be filled in, and comes with a gap


@dataclasses.dataclass(frozen=True)
class Given:
    """Encoded columns in two parts: those that are given, and those that are drawn given them.

    ``given`` and ``drawn`` are places in an encoded row, ascending; ``shape`` is of the drawn part,
    where it is a picture, and the given part is ``planes`` pictures of that shape, or none.
    """

    given: tuple[int, ...]
    drawn: tuple[int, ...]
    shape: tuple[int, ...] | None
    planes: int = 0

    @classmethod
    def of(cls, table: Table, columns: Any) -> Given:
        """The parts of a table's rows; ``columns`` are numbers or names, None where none is given.

        A row that is a tall picture may be given from the top: it is then a pile of pictures, of
        which the last is drawn, if the given part is as high as it, twice as high and so on.

        >>> from equilibria.data.table import Table
        >>> how = {"kinds": "picture", "value_range": (0, 1), "picture_shape": (9, 3)}
        >>> parts = Given.of(Table.fit([[0.0] * 27] * 2, **how), range(18))
        >>> parts.shape, parts.planes
        ((3, 3), 2)
        """
        if columns is None:
            return cls((), tuple(range(table.size)), table.shape)
        names = list(table.names or ())
        for column in columns:
            if column not in (names if isinstance(column, str) else range(table.width)):
                known = f"names, or numbers from 0 to {table.width - 1}"
                raise ValueError(f"condition: there is no column {column!r}; expected {known}")
        places = [names.index(one) if isinstance(one, str) else int(one) for one in columns]
        encoded = [(*table.columns_of(place), *table.gap_of(place)) for place in places]
        given = tuple(sorted(place for one in encoded for place in one))
        drawn = tuple(place for place in range(table.size) if place not in set(given))
        if len(set(given)) < len(given) or not all(encoded) or not given or not drawn:
            varying = table.width - len(table.aside)
            raise ValueError(
                f"condition={columns!r:.60}: expected some of the {varying} columns that vary, "
                "each once, and some left to be drawn"
            )
        planes, rest = divmod(len(given), len(drawn))
        if table.shape is not None and given == tuple(range(len(given))) and not rest:
            one = (table.shape[0] // (planes + 1), *table.shape[1:])
            if math.prod(one) == len(drawn):
                return cls(given, drawn, one, planes)
        return cls(given, drawn, None)

    def parts(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Encoded rows as (drawn, given)."""
        return rows[:, _index(self.drawn)], rows[:, _index(self.given)]

    def joined(self, drawn: Tensor, given: Tensor | None) -> Tensor:
        """The inverse of :meth:`parts`."""
        if given is None or not self.given:
            return drawn
        rows = drawn.new_empty(len(drawn), len(self.drawn) + len(self.given))
        rows[:, _index(self.drawn)], rows[:, _index(self.given)] = drawn, given.to(drawn)
        return rows


def _index(places: tuple[int, ...]) -> slice | list[int]:
    """Places as a slice where they are one, which takes no copy."""
    first = places[0] if places else 0
    run = slice(first, first + len(places))
    return run if places == tuple(range(run.start, run.stop)) else list(places)


class Implicit(Model):
    """Base of models that are sampled through a generator, perhaps by class.

    There are ``classes`` label columns behind those of the table; ``by_class`` says whether rows
    are drawn, and judged, by class, ``conditional`` whether columns are drawn given others.
    """

    class_shares: Tensor
    conditional = False

    def __init__(self, classes: int = 0, by_class: bool = False):
        super().__init__()
        self.classes, self.by_class = classes, by_class
        self.register_buffer("class_shares", torch.zeros(0, dtype=torch.float64))

    def note_shares(self, codes: Any) -> None:
        """Count the classes of the training rows; −1 is no class."""
        if codes is not None:
            codes = torch.as_tensor(codes)
            counts = torch.bincount(codes[codes >= 0], minlength=self.classes).double()
            self.class_shares = (counts / counts.sum()).to(self.device)

    def drawn_classes(self, n: int, given: Tensor | None, stream: Stream) -> Tensor | None:
        """Class numbers of ``n`` rows, on the CPU: as ``given`` says, else drawn by their shares.

        None where rows are not drawn by class.
        """
        if not self.by_class:
            return None
        codes = torch.full((n,), -1)
        if given is not None:
            label = given[:, -self.classes :].cpu()
            codes = label.argmax(1).where(~label.isnan().any(1), codes)
        ends = self.class_shares.cpu().cumsum(0)
        share = stream.child("classes").uniform((n,), torch.float64)
        free = torch.searchsorted(ends, share, right=True).clamp(max=len(ends) - 1)
        return torch.where(codes < 0, free, codes)

    def one_hot(self, codes: Tensor) -> Tensor:
        """Class numbers as columns ``(n, classes)``; zeros where one is missing (−1)."""
        places = torch.arange(self.classes, device=codes.device)
        return (codes[:, None] == places).to(torch.float32)

    def one_of_each(self, n: int, width: int) -> Tensor | None:
        """What to hold of ``n`` rows of ``width`` columns so that each class comes as often."""
        if not self.by_class:
            return None
        free = torch.full((n, width), torch.nan, dtype=torch.float32)
        return torch.cat([free, self.one_hot(torch.arange(n) * self.classes // n)], 1)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def described(self, what: str, generator: nn.Module, critic: nn.Module) -> str:
        """A sentence with the sizes of the players."""
        own, its = (sum(p.numel() for p in one.parameters()) for one in (generator, critic))
        return f"{what} {own:,} parameters, trained against {its:,} of critics."


class Adversarial(Implicit):
    """A generator and its critic, and conditions for samples of which none is asked.

    The generator draws the drawn columns of ``given``, given the given ones and then the class's.
    The critic is as the game has it. Classes by which rows are not drawn are the critic's outputs.
    ``gappy`` are the columns that are 0 where an indicator says that a cell is missing;
    ``indicators`` those that are drawn.
    """

    conditions: Tensor
    condition_codes: Tensor

    def __init__(
        self,
        generator: Generator,
        critic: nn.Module,
        given: Given,
        classes: int = 0,
        by_class: bool = False,
        gappy: tuple[int, ...] = (),
        indicators: tuple[int, ...] = (),
    ):
        super().__init__(classes, by_class)
        self.generator, self.critic, self.given = generator, critic, given
        self.gappy, self.indicators = list(gappy), list(indicators)
        self.conditional, self.size = bool(given.given), len(given.given) + len(given.drawn)
        self.register_buffer("conditions", torch.zeros(0, len(given.given)).float())
        self.register_buffer("condition_codes", torch.zeros(0, dtype=torch.int64))
        self.ratio = nn.Module()
        self.ratio.register_buffer("how", torch.zeros(0, dtype=torch.int64))
        self.ratio.register_buffer("weights", torch.zeros(0, dtype=torch.float64))
        if not self.conditional:
            self.complete = self.means = None  # type: ignore[method-assign, assignment]
        if not classes or by_class:
            self.class_log_prob = None  # type: ignore[method-assign, assignment]

    def note_conditions(self, rows: Tensor, codes: Tensor | None) -> None:
        """Keep the given columns of training rows, and their classes where rows are drawn by
        class."""
        self.conditions = self.given.parts(rows)[1].to(self.device)
        if codes is not None and self.by_class:
            self.condition_codes = codes.to(self.device)

    # ------------------------------------------------------------ what the players see

    def view(self, batch: Batch, stream: Stream) -> Batch:
        """A batch's drawn columns, and its given ones and classes as the condition."""
        values, condition = self.shown(batch.values, batch.label)
        label = batch.label if self.classes and not self.by_class else None
        return Batch(values, None, label, condition)

    def shown(self, rows: Tensor, codes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Encoded rows as (what is drawn, its condition); None where there is no condition."""
        rows = rows[:, : self.size]
        if self.gappy:  # an indicator beside them says where these are missing
            rows = rows.clone()
            rows[:, self.gappy] = rows[:, self.gappy].nan_to_num(nan=0.0)
        values, condition = self.given.parts(rows)
        if codes is not None and self.by_class:
            condition = torch.cat([condition, self.one_hot(codes).to(condition)], 1)
        return values, condition if condition.shape[1] else None

    def condition(
        self, n: int, given: Tensor | None, stream: Stream, name: str = "given"
    ) -> tuple[Tensor | None, Tensor | None]:
        """What ``n`` samples are conditioned on: all of it, and the part that stands in a row."""
        codes = self.drawn_classes(n, given, stream)
        held = self._held(n, given, codes, stream, name) if self.conditional else None
        label = None if codes is None else self.one_hot(codes).to(self.device)
        parts = [part for part in (held, label) if part is not None]
        return (torch.cat(parts, 1) if parts else None), held

    def _held(
        self, n: int, given: Tensor | None, codes: Tensor | None, stream: Stream, name: str
    ) -> Tensor:
        """Given columns, (n, columns); of training rows where none are given."""
        if given is None or bool(given[:, : self.size].isnan().all()):
            places = self._kept_places(n, codes, stream.child("conditions"))
            return self.conditions[places.to(self.device)]
        drawn, held = self.given.parts(given[:, : self.size])
        if bool(held.isnan().any()) or not bool(drawn.isnan().all()):
            expected = "numbers in the columns that condition= names, and NaN in all others"
            raise ValueError(f"{name}: expected {expected}")
        return held.to(self.conditions)

    def _kept_places(self, n: int, codes: Tensor | None, stream: Stream) -> Tensor:
        """Which kept conditions ``n`` samples go with: those of their class, as in the data."""
        known = self.condition_codes.cpu()
        if codes is None or not len(known):
            return stream.integers((n,), len(self.conditions))
        counts, order = torch.bincount(known, minlength=self.classes), known.argsort(stable=True)
        share = stream.uniform((n,), torch.float64)
        place = (counts.cumsum(0) - counts)[codes] + (share * counts[codes]).long()
        anywhere = (share * len(order)).long()  # of a class so rare that none of its rows was kept
        own = order[place.clamp(max=len(order) - 1)]
        return torch.where(counts[codes] > 0, own, anywhere)

    # ------------------------------------------------------------ the contract

    def sample(self, n: int, stream: Stream, given: Tensor | None = None) -> Tensor:
        """Draw ``n`` rows, (n, size); ``given`` holds condition columns, or the label's, or
        both."""
        return self._sample(self.generator, n, stream, given)

    def _sample(
        self, generator: Generator, n: int, stream: Stream, given: Any, name: str = "given"
    ) -> Tensor:
        condition, held = self.condition(n, given, stream, name)
        return self.given.joined(generator.sample(n, stream, condition), held)

    def portraits(self, generator: Generator, n: int, stream: Stream) -> Tensor:
        """Rows by another generator, its average say, each class as often."""
        return self._sample(generator, n, stream, self.one_of_each(n, self.size))

    def complete(self, x: Tensor, observed: Tensor, stream: Stream, n: int = 1) -> Tensor:
        """Draws of the drawn columns given the others, (n, rows, size)."""
        return torch.stack([self._filled(x, stream.child(i)) for i in range(n)])

    def _filled(self, x: Tensor, stream: Stream) -> Tensor:
        """A draw given the given columns in which no cell is a gap: those that are, are drawn anew,
        and after so many times left as they are."""
        drawn = self._sample(self.generator, len(x), stream.child("sample"), x, "X")
        for again in range(REDRAWS if self.indicators else 0):
            gaps = (drawn[:, self.indicators] > 0.5).any(1)
            if not bool(gaps.any()):
                break
            key = stream.child("again", again)
            more = self._sample(self.generator, int(gaps.sum()), key, x[gaps], "X")
            drawn[gaps] = more
        return drawn

    def means(self, x: Tensor, observed: Tensor, stream: Stream) -> Tensor:
        """Means of the drawn columns given the others, (rows, size): of 200 draws, one by one."""
        total: Any = 0.0
        for i in range(MEANS):
            total = total + self._filled(x, stream.child(i)).double()
        return total / MEANS

    def features(self, x: Tensor) -> Tensor:
        """What the critic's last layer sees, (rows, width).

        A critic that knows the class of what it judges has features for each class; they are
        averaged by the classes' shares.
        """
        ask: Any = self.critic.features
        if not self.by_class:
            return ask(*self.shown(x, None))
        each = [torch.full((len(x),), code, device=x.device) for code in range(self.classes)]
        answers = [ask(*self.shown(x, codes)) for codes in each]
        shares = self.class_shares.to(x)
        return torch.stack([s * one for s, one in zip(shares, answers, strict=True)]).sum(0)

    def class_log_prob(self, x: Tensor, stream: Stream) -> Tensor:
        """log p(class | row) by the critic's class logits, (rows, classes)."""
        return self.critic(*self.shown(x, None)).log_softmax(1)

    def describe(self) -> str:
        return self.described("A generator of", self.generator, self.critic)
