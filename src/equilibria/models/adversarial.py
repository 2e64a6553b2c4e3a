"""Trained generators with their critics as models over encoded rows.

:class:`Adversarial` is one pair: the drawn columns of a row given its other columns and its class,
where these are given. :class:`Pyramid` is one pair for each level of a Laplacian pyramid.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from equilibria.data.batches import Batch
from equilibria.data.given import Given
from equilibria.models.generator import Generator
from equilibria.models.model import Model
from equilibria.models.pyramid import PyramidGenerator
from equilibria.random import Stream

__all__ = ["Adversarial", "Implicit", "Pyramid"]

MEANS = 200  # draws that a conditional mean is the mean of


class Implicit(Model):
    """Base of models that are sampled through a generator, perhaps by class.

    There are ``classes`` label columns behind those of the table; ``by_class`` says whether rows
    are drawn, and judged, by class.
    """

    class_shares: Tensor

    def __init__(self, classes: int = 0, by_class: bool = False):
        super().__init__()
        self.classes, self.by_class = classes, by_class
        self.register_buffer("class_shares", torch.zeros(0, dtype=torch.float64))

    def note_shares(self, codes: Any) -> None:
        """Count the classes of the training rows; −1 is no class."""
        if codes is not None:
            codes = torch.as_tensor(codes)
            counts = torch.bincount(codes[codes >= 0], minlength=self.classes).double()
            self.class_shares = (counts / counts.sum()).to(self.class_shares.device)

    @property
    def conditional(self) -> bool:
        """Whether columns are drawn given others."""
        return False

    def note_conditions(self, rows: Tensor, codes: Tensor | None) -> None:
        """Keep the given columns of training rows; nothing here."""

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
        codes = torch.arange(n) * self.classes // n
        return torch.cat(
            [torch.full((n, width), torch.nan, dtype=torch.float32), self.one_hot(codes)], 1
        )

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


class Adversarial(Implicit):
    """A generator and its critic, and conditions for samples of which none is asked.

    The generator draws the drawn columns of ``given``, given the given ones and then the class's.
    The critic is as the game has it. Classes by which rows are not drawn are the critic's outputs.
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
    ):
        super().__init__(classes, by_class)
        self.generator, self.critic, self.given = generator, critic, given
        self.register_buffer("conditions", torch.zeros(0, len(given.given)).float())
        self.register_buffer("condition_codes", torch.zeros(0, dtype=torch.int64))
        self.ratio = nn.Module()
        self.ratio.register_buffer("how", torch.zeros(0, dtype=torch.int64))
        self.ratio.register_buffer("weights", torch.zeros(0, dtype=torch.float64))
        if not given.given:
            self.complete = self.means = None  # type: ignore[method-assign, assignment]
        if not classes or by_class:
            self.class_log_prob = None  # type: ignore[method-assign, assignment]

    @property
    def conditional(self) -> bool:
        return bool(self.given.given)

    @property
    def size(self) -> int:
        """Columns of an encoded row without the label's."""
        return len(self.given.given) + len(self.given.drawn)

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
        values, condition = self.given.parts(rows[:, : self.size])
        if codes is not None and self.by_class:
            condition = torch.cat([condition, self.one_hot(codes).to(condition)], 1)
        return values, condition if condition.shape[1] else None

    def condition(
        self, n: int, given: Tensor | None, stream: Stream, name: str = "given"
    ) -> tuple[Tensor | None, Tensor | None]:
        """What ``n`` samples are conditioned on: all of it, and the part that stands in a row."""
        codes = self.drawn_classes(n, given, stream)
        held = self._held(n, given, codes, stream, name)
        label = None if codes is None else self.one_hot(codes).to(self.device)
        parts = [part for part in (held, label) if part is not None]
        return (torch.cat(parts, 1) if parts else None), held

    def _held(
        self, n: int, given: Tensor | None, codes: Tensor | None, stream: Stream, name: str
    ) -> Tensor | None:
        if not self.given.given:
            return None
        if given is None or bool(given[:, : self.size].isnan().all()):
            places = self._kept_places(n, codes, stream.child("conditions"))
            return self.conditions[places.to(self.device)]
        drawn, held = self.given.parts(given[:, : self.size])
        if bool(held.isnan().any()) or not bool(drawn.isnan().all()):
            raise ValueError(
                f"{name}: expected numbers in the columns that condition= names, and NaN in all "
                "others"
            )
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
        return self.sample_of(self.generator, n, stream, given)

    def sample_of(
        self,
        generator: Generator,
        n: int,
        stream: Stream,
        given: Tensor | None = None,
        name: str = "given",
    ) -> Tensor:
        """The same with another generator in the place of the model's: its average, say."""
        condition, held = self.condition(n, given, stream, name)
        return self.given.joined(generator.sample(n, stream, condition), held)

    def portraits(self, generator: Generator, n: int, stream: Stream) -> Tensor:
        """Rows by another generator, each class as often."""
        return self.sample_of(generator, n, stream, self.one_of_each(n, self.size))

    def complete(self, x: Tensor, observed: Tensor, stream: Stream, n: int = 1) -> Tensor:
        """Draws of the drawn columns given the others, (n, rows, size)."""
        streams = (stream.child(i).child("sample") for i in range(n))
        draws = [self.sample_of(self.generator, len(x), one, x, "X") for one in streams]
        return torch.stack(draws)

    def means(self, x: Tensor, observed: Tensor, stream: Stream) -> Tensor:
        """Means of the drawn columns given the others, (rows, size): of 200 draws, one by one."""
        total: Any = 0.0
        for i in range(MEANS):
            one = stream.child(i).child("sample")
            total = total + self.sample_of(self.generator, len(x), one, x, "X").double()
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
        return _described("A generator of", self.generator, self.critic)


class Pyramid(Implicit):
    """Generators and critics of the levels of a Laplacian pyramid, the coarsest first."""

    def __init__(self, generator: PyramidGenerator, critics: nn.ModuleList, classes: int):
        super().__init__(classes, bool(classes))
        self.generator, self.critics = generator, critics

    def sample(self, n: int, stream: Stream, given: Tensor | None = None) -> Tensor:
        """Draw ``n`` pictures coarse to fine, (n, size); ``given`` holds the label's columns."""
        return self.generator.sample(n, stream, self.condition(n, given, stream))

    def condition(self, n: int, given: Tensor | None, stream: Stream) -> Tensor | None:
        """The label's columns of ``n`` rows; None where there are none."""
        codes = self.drawn_classes(n, given, stream)
        return None if codes is None else self.one_hot(codes).to(self.device)

    def view(self, level: int, batch: Batch, stream: Stream) -> Batch:
        """A level's details, and as their condition the doubled coarser picture and the class."""
        values, coarse = self.generator.pyramid.at(batch.values, level)
        parts = [] if coarse is None else [coarse]
        if batch.label is not None and self.by_class:
            parts.append(self.one_hot(batch.label))
        return Batch(values, None, None, torch.cat(parts, 1) if parts else None)

    def portraits(self, level: int, generator: Generator, n: int, stream: Stream) -> Tensor:
        """Pictures of the levels so far, with another generator in the place of this level's."""
        levels: list[Any] = list(self.generator.generators)
        levels[self.generator.pyramid.levels - level] = generator
        condition = self.condition(n, self.one_of_each(n, 0), stream)
        return PyramidGenerator(levels, self.generator.pyramid).sample(n, stream, condition, level)

    def describe(self) -> str:
        levels = len(self.critics)
        return _described(f"A pyramid of {levels} generators of", self.generator, self.critics)


def _described(what: str, generator: nn.Module, critic: nn.Module) -> str:
    own, its = (sum(p.numel() for p in one.parameters()) for one in (generator, critic))
    return f"{what} {own:,} parameters, trained against {its:,} of critics."
