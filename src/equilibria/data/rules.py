"""Rules that rows must meet: comparisons of columns, and keys that no two rows share.

A rule is read by Python's own parser and refused unless it is a comparison; what is left of it,
names of columns, constants and signs, is worked out by ``pandas.DataFrame.eval``.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from equilibria.data.columns import is_frame, missing_cells, nearest_name
from equilibria.data.table import Table

__all__ = ["LEAST", "ROUNDS", "Rule", "Rules"]

ROUNDS = 200
"""How often rows are drawn anew, each time as many as are wanted or ``LEAST``."""
LEAST = 100
HOPELESS = 2000  # rows without one that holds: of a share that so many rounds can serve, p < 1e-4
_QUOTED = re.compile(r"""("[^"]*"|'[^']*')|`([^`]*)`""")
_SIGNS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
_EXPECTED = "expected a comparison of columns, such as 'start <= end'"


@dataclasses.dataclass(frozen=True, eq=False)
class Rule:
    """One rule: which rows of a frame meet it.

    Attributes
    ----------
    text : str
        As it was given; of a function its name.
    places : tuple of int
        The columns that it speaks of; of a function none.
    how : str or callable
        The comparison, column j called ``cj``; or frame → bool of each row.
    """

    text: str
    places: tuple[int, ...]
    how: str | Callable[[Any], Any]

    def holds(self, frame: Any) -> np.ndarray:
        """Bool (n,); a comparison holds in a row that lacks a cell that it speaks of, as SQL's
        ``CHECK`` does."""
        if not isinstance(self.how, str):
            found = np.asarray(self.how(frame))
            if found.shape == (len(frame),) and found.dtype == bool:
                return found
            what = f"gave {found.dtype} of shape {found.shape} for {len(frame)} rows"
            self.refuse(what, "expected True or False for each")
        own = frame.iloc[:, list(self.places)]
        known = ~_gaps(own)
        found = np.ones(len(frame), dtype=bool)
        if known.any():
            own = own.set_axis([f"c{place}" for place in self.places], axis=1)
            own = own[known].reset_index(drop=True).infer_objects()
            try:
                found[known] = np.asarray(own.eval(self.how, engine="python"), dtype=bool)
            except (TypeError, ValueError, ArithmeticError, NotImplementedError) as error:
                self.refuse(f"cannot be worked out ({error})", _EXPECTED)
        return found

    def refuse(self, what: str, expected: str = _EXPECTED) -> NoReturn:
        """Say what is wrong with it."""
        raise ValueError(f"rules={self.text!r:.80} {what}; {expected}")

    @classmethod
    def of(cls, text: Any, table: Table) -> Rule:
        """A rule over the columns of a table, checked."""
        if callable(text):
            return cls(getattr(text, "__name__", repr(text)), (), text)
        if not isinstance(text, str):
            cls(text, (), "").refuse("is no text", f"{_EXPECTED}, or a function of a frame")
        return _Grammar(text, table).rule()


class _Grammar:
    """Comparisons of columns with columns and constants, and, or, not; nothing else is let in."""

    def __init__(self, text: str, table: Table):
        self.own, self.table = Rule(text, (), ""), table
        self.names, self.quoted, self.places = _names(table), dict[str, str](), set[int]()

    def rule(self) -> Rule:
        text = self.own.text
        self.source = _QUOTED.sub(self._quote, text.strip())
        try:
            tree = ast.parse(self.source, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self.own.refuse("cannot be read", f"{_EXPECTED}; odd names go in backticks")
        if not any(isinstance(node, ast.Compare) for node in ast.walk(tree)):
            self.own.refuse("compares nothing")
        self.truth(tree)
        if not self.places:
            self.own.refuse("speaks of no column")
        return Rule(text, tuple(sorted(self.places)), ast.unparse(tree))

    def _quote(self, match: re.Match[str]) -> str:
        """A name in backticks as one that Python's parser takes; text as it is."""
        if match[2] is None:
            return match[0]
        name = f"__quoted_{len(self.quoted)}__"
        self.quoted[name] = match[2]
        return name

    def truth(self, node: ast.expr) -> None:
        """True or false of each row."""
        if isinstance(node, ast.BoolOp):
            for part in node.values:
                self.truth(part)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.truth(node.operand)
        elif isinstance(node, ast.Compare):
            if any(isinstance(sign, ast.Is | ast.IsNot) for sign in node.ops):
                self.refuse(node)
            sides, kinds = [node.left, *node.comparators], set[str]()
            for place, side in enumerate(sides):
                among = place and isinstance(node.ops[place - 1], ast.In | ast.NotIn)
                kinds |= self.among(side) if among else {self.value(side)}
            if {"text", "number"} <= kinds:
                self.own.refuse("compares text with a number")
        elif not (isinstance(node, ast.Name) and self.type(node) == "truth"):
            self.refuse(node)

    def among(self, node: ast.expr) -> set[str]:
        """Constants in a list; what they are."""
        if not isinstance(node, ast.List | ast.Tuple):
            self.refuse(node)
        for one in node.elts:
            if any(isinstance(part, ast.Name) for part in ast.walk(one)):
                self.refuse(node)
        return {self.value(one) for one in node.elts}

    def value(self, node: ast.expr) -> str:
        """A value of each row; what it is: ``"number"``, ``"text"`` or ``"time"``."""
        if isinstance(node, ast.Name):
            holds = self.type(node)
            return {"text": "text", "datetime": "time", "timedelta": "time"}.get(holds, "number")
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float):
            return "text" if isinstance(node.value, str) else "number"
        kinds = set[str]()
        if isinstance(node, ast.BinOp) and isinstance(node.op, _SIGNS):
            kinds = {self.value(node.left), self.value(node.right)}
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            kinds = {self.value(node.operand)}
        else:
            self.refuse(node)
        if "text" in kinds:
            self.own.refuse("reckons with text")
        return "time" if "time" in kinds else "number"

    def type(self, node: ast.Name) -> str:
        """What a column holds; its name becomes the one that it has in a frame's eyes."""
        name = self.quoted.get(node.id, node.id)
        place = _place(name, self.names, f"rules={self.own.text!r}")
        _refuse_unmodelled(self.table, place, f"rules={self.own.text!r}")
        self.places.add(place)
        node.id = f"c{place}"
        return self.table.type(place).holds

    def refuse(self, node: ast.expr) -> NoReturn:
        part = ast.get_source_segment(self.source, node) or ""
        for name, own in self.quoted.items():
            part = part.replace(name, f"`{own}`")
        known = "a rule has columns, constants, + - * / // %, comparisons, and, or, not"
        self.own.refuse(f"has {part[:60]!r} in it, which is no part of a comparison", known)


@dataclasses.dataclass(frozen=True, eq=False)
class Rules:
    """Rules that rows of a table must meet, and keys that no two of them may share.

    Made by :meth:`of`. Columns of data without names are called x0, x1, ….

    Attributes
    ----------
    rules : tuple of Rule
    keys : tuple of tuple of int
        Places of the columns of each key.
    names : tuple of str
        Of the table's columns.

    Examples
    --------
    >>> table = Table.fit(np.array([[1.0, 2.0], [3.0, 1.0]]), kinds="real")
    >>> rules = Rules.of("x0 <= x1", (), table)
    >>> {text: broken.tolist() for text, broken in rules.broken([[0.5, 0.7], [2.0, 1.0]]).items()}
    {'x0 <= x1': [False, True]}
    >>> Rules.of("__import__('os').system('ls') == 0", (), table)
    Traceback (most recent call last):
    ValueError: rules=...which is no part of a comparison; a rule has columns, constants, ...
    """

    rules: tuple[Rule, ...]
    keys: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, rules: Any, unique: Any, table: Table) -> Rules:
        """Rules checked, on a row of the table's types too, before any row is drawn.

        Parameters
        ----------
        rules : str, callable, or sequence of these
            Comparisons of columns, or functions of a frame that give True or False for each row.
        unique : str, or sequence of str and of tuples of str
            Columns without a value that comes twice; a tuple of columns is one key.
        table : Table
        """
        names = _names(table)
        found = tuple(Rule.of(rule, table) for rule in _listed(rules))
        keys, numbered = [], {place for place, value in table.aside if isinstance(value, tuple)}
        for key in _listed(unique):
            parts = key if isinstance(key, tuple | list) else (key,)
            places = tuple(_place(part, names, f"unique={key!r}") for part in parts)
            if not numbered.intersection(places):  # identifiers are numbered, and never alike
                for place in places:
                    _refuse_unmodelled(table, place, f"unique={key!r}")
                keys.append(places)
        made = cls(found, tuple(keys), names)
        if made.rules:
            made.broken(table.decode(torch.zeros(1, table.size)))
        return made

    def __bool__(self) -> bool:
        return bool(self.rules or self.keys)

    def broken(self, rows: Any) -> dict[str, np.ndarray]:
        """Which rows break each rule, and which repeat a key of a row before them, bool (n,)."""
        frame = self._frame(rows)
        found = {rule.text: ~rule.holds(frame) for rule in self.rules}
        for key, name in zip(self.keys, self._key_names(), strict=True):
            own = frame.iloc[:, list(key)]
            found[name] = own.duplicated().to_numpy() & ~_gaps(own)
        return found

    def refuse(self, given: Any) -> None:
        """Refuse given cells that break a rule by themselves."""
        own = dataclasses.replace(self, rules=tuple(rule for rule in self.rules if rule.places))
        for text, broken in own.broken(given).items():
            if broken.any():
                row = int(broken.argmax())
                raise ValueError(f"given: row {row} breaks {text!r} by its own cells; change them")

    def kept(
        self,
        n: int,
        draw: Callable[[np.ndarray, int], Tensor],
        decode: Callable[[Tensor, np.ndarray], Any],
    ) -> tuple[Tensor, int]:
        """Encoded rows 0 … n − 1 that meet the rules, and how many did when first drawn.

        Rejection (von Neumann 1951): each row is the first of its own draws that holds, so its law
        is the model's given the rules. A key that a kept row has is as a broken rule.

        Parameters
        ----------
        n : int
        draw : callable
            (places of rows, which may come several times; number of the round) → encoded rows.
        decode : callable
            (encoded rows, their places) → rows in the data's own scale.

        Raises
        ------
        ValueError
            When not all rows were found in ``ROUNDS`` rounds, or none in thousands of draws.
        """
        places = np.arange(n)
        rows = found = draw(places, 0)
        waiting, seen = np.ones(n, dtype=bool), [set[Any]() for _ in self.keys]
        names = [*(rule.text for rule in self.rules), *self._key_names()]
        at_once, tried, broken = 0, 0, np.zeros(len(names), dtype=np.int64)
        for again in range(1, ROUNDS + 2):
            taken = self._taken(decode(found, places), places, waiting, seen, broken)
            if again == 1:
                at_once = len(taken)
            else:
                here = torch.from_numpy(places[taken])
                rows = rows.index_copy(0, here, found[torch.from_numpy(taken)])
            tried, left = tried + len(places), np.flatnonzero(waiting)
            if not len(left):
                return rows, at_once
            if again > ROUNDS or (tried >= HOPELESS and len(left) == n):
                break
            places = np.repeat(left, max(1, max(n, LEAST) // len(left)))
            found = draw(places, again)
        shares = [
            f"{100 * b / tried:.4g} % break {name!r}" for name, b in zip(names, broken, strict=True)
        ]
        what = f"{n - len(left)} of {n} rows were found in {tried:,} draws, of which"
        advice = "loosen them, or leave a column that the others give out of fit and work it out"
        raise ValueError(f"rules: {what} {', '.join(shares)}; {advice}")

    def _taken(
        self,
        rows: Any,
        places: np.ndarray,
        waiting: np.ndarray,
        seen: Sequence[set[Any]],
        broken: np.ndarray,
    ) -> np.ndarray:
        """Which of some draws are kept, in their order: ``waiting``, keys that were ``seen`` and
        how often each rule was ``broken`` are brought up to date."""
        frame = self._frame(rows)
        holds = np.ones((len(frame), len(self.rules)), dtype=bool)
        for j, rule in enumerate(self.rules):
            holds[:, j] = rule.holds(frame)
        broken[: len(self.rules)] += (~holds).sum(0)
        keys, taken = [self._values(frame, key) for key in self.keys], []
        for i in np.flatnonzero(holds.all(1)):
            own = [key[i] for key in keys]
            twice = [value in known for value, known in zip(own, seen, strict=True)]
            broken[len(self.rules) :] += np.array(twice, dtype=bool)
            if waiting[places[i]] and not any(twice):
                waiting[places[i]] = False
                taken.append(i)
                for value, known in zip(own, seen, strict=True):
                    known |= {value} - {None}
        return np.array(taken, dtype=np.int64)

    def _key_names(self) -> list[str]:
        return ["unique " + ", ".join(self.names[place] for place in key) for key in self.keys]

    def _values(self, frame: Any, key: Sequence[int]) -> list[Any]:
        """A key of each row; None where a cell of it is missing, which is like no other."""
        own = frame.iloc[:, list(key)]
        missing = _gaps(own)
        values = zip(*(own.iloc[:, j].tolist() for j in range(len(key))), strict=True)
        return [None if gap else value for gap, value in zip(missing, values, strict=True)]

    def _frame(self, rows: Any) -> Any:
        """Rows as a frame with names."""
        if is_frame(rows):
            return rows
        import pandas as pd

        return pd.DataFrame(np.asarray(rows), columns=list(self.names)).infer_objects()


def _names(table: Table) -> tuple[str, ...]:
    names = table.names
    return tuple(f"x{i}" for i in range(table.width)) if names is None else tuple(map(str, names))


def _listed(some: Any) -> tuple[Any, ...]:
    """One or several, as several."""
    return tuple(some) if isinstance(some, list | tuple) else (some,)


def _gaps(frame: Any) -> np.ndarray:
    """Rows that lack a cell."""
    return np.asarray(missing_cells(frame).any(1))


def _place(name: Any, names: Sequence[str], where: str) -> int:
    """A column by its name."""
    if str(name) not in names:
        raise ValueError(f"{where}: {str(name)!r} is no column; {nearest_name(name, names)}")
    return names.index(str(name))


def _refuse_unmodelled(table: Table, place: int, where: str) -> None:
    """Refuse a column whose cells no model draws: redrawing would change nothing."""
    value = dict(table.aside).get(place, "constant")
    if value is None or isinstance(value, tuple):
        what = "is left empty in samples" if value is None else "numbers the rows"
        raise ValueError(f"{where}: {table.column_name(place)} {what}; leave it out")
