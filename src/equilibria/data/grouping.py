"""Groups of columns by name, each a visible layer of one kind: the towers of a machine, the past and the future of a sequence."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from equilibria.data.columns import Columns, Header
from equilibria.data.kinds import GROUPS, Survey, place_of
from equilibria.data.numeric import extremes

__all__ = ["GROUP_KINDS", "group_columns", "group_kind", "kinds_by_group"]

GROUP_KINDS = {**GROUPS, **{kind: kind for kind in ("bernoulli", "gaussian", "rectified", "spin")}}
"""What a group may be said to be, and the schema's kind for it: the words of a mixed table, and the units'."""


def group_columns(groups: Any, width: int, header: Header) -> dict[str, tuple[int, ...]]:
    """Each group's columns by their places: every column in exactly one group.

    Parameters
    ----------
    groups : mapping
        Name → a slice, one column, or a sequence of columns; a column is a number or, where the table has them, a name.
    width : int
        Columns of the table.
    header : Header
        Their names.

    Raises
    ------
    ValueError
        For a column that does not exist, is in two groups or in none, or a group without columns.

    Examples
    --------
    >>> group_columns({"picture": slice(3), "name": "digit"}, 4, Header(("a", "b", "c", "digit")))
    {'picture': (0, 1, 2), 'name': (3,)}
    """
    if not isinstance(groups, Mapping) or not groups:
        raise ValueError(f'groups={groups!r}: expected a mapping from names to columns, such as {{"picture": range(64), "name": [64]}}')
    places = {name: _places(name, columns, width, header) for name, columns in groups.items()}
    owner: dict[int, str] = {}
    for name, place in ((name, place) for name, chosen in places.items() for place in chosen):
        if place in owner:
            where = f"twice in {name!r}" if owner[place] == name else f"in {owner[place]!r} and in {name!r}"
            raise ValueError(f"groups: {header.column(place)} is {where}; expected each column in one group")
        owner[place] = name
    left = [place for place in range(width) if place not in owner]
    if left:
        raise ValueError(f"groups: {header.column(left[0])} is in no group ({len(left)} of {width} are not); expected each column in one")
    return places


def group_kind(
    name: str,
    table: Columns,
    found: Sequence[Survey],
    header: Header,
    allow_missing: bool,
    ends: tuple[float, float],
    max_categories: int,
) -> str:
    """The one kind, in the schema's words, that a group's columns are of.

    Zeros and ones (or only the two ends of the range) are binary units; so are greys between them, which is to say numbers of which
    some column has too many to be categories. Text, and whole numbers with few values, are categories, or binary where no column
    has more than two. All else is real. A column with a single value says nothing.

    Parameters
    ----------
    name : str
        What errors call the group.
    table, found, header
        The group's columns, what was found in them, and what errors call them.
    allow_missing : bool
        Whether cells may be missing.
    ends : (low, high)
        The range of greys.
    max_categories : int
        How many different whole numbers are still taken as categories.

    Raises
    ------
    ValueError
        Where the columns are of several kinds.
    """
    speaking = {place: column.kind(header.column(place), max_categories) for place, column in enumerate(found) if len(column.values) != 1}
    kinds, text = set(speaking.values()), any(column.text for column in found)
    if not text and all(column.values <= set(ends) for column in found):
        return "bernoulli"
    if text or (kinds and "real" not in kinds):
        _refuse_several(name, speaking, header)
        return "binary" if kinds <= {"binary"} else "categorical"
    low, high = extremes(table, header, allow_missing)
    if ends[0] <= low and high <= ends[1]:
        return "bernoulli"
    _refuse_several(name, speaking, header)
    return "gaussian"


def kinds_by_group(kinds: Any, names: Sequence[str]) -> dict[str, str]:
    """The schema's kind of each group for which one was said: one word for all, or a mapping from names to words.

    Examples
    --------
    >>> kinds_by_group({"name": "categorical", "sound": "real"}, ["picture", "name", "sound"])
    {'name': 'categorical', 'sound': 'gaussian'}
    """
    if isinstance(kinds, str):
        kinds = dict.fromkeys(names, kinds)
    if not isinstance(kinds, Mapping | None):
        raise ValueError(f"kinds={kinds!r}: expected a mapping from the names of groups ({', '.join(names)}) to kinds")
    for name, kind in (kinds or {}).items():
        if name not in names:
            raise ValueError(f"kinds names the group {name!r}, which is none of {', '.join(map(repr, names))}")
        if kind not in GROUP_KINDS and kind != "auto":
            raise ValueError(f"kinds[{name!r}]={kind!r}: expected 'auto' or one of {', '.join(GROUP_KINDS)}")
    return {name: GROUP_KINDS[kind] for name, kind in (kinds or {}).items() if kind != "auto"}


def _places(name: Any, columns: Any, width: int, header: Header) -> tuple[int, ...]:
    if isinstance(columns, slice):
        columns = range(*columns.indices(width))
    elif isinstance(columns, str | int | np.integer) and not isinstance(columns, bool):
        columns = [columns]
    if not isinstance(columns, Sequence | np.ndarray) or isinstance(columns, str) or not len(columns):
        raise ValueError(f"groups[{name!r}]={columns!r}: expected some columns: a slice, a range, or a list of numbers or names")
    return tuple(place_of(column, width, header, f"groups[{name!r}]") for column in columns)


def _refuse_several(name: str, speaking: Mapping[int, str], header: Header) -> None:
    """Real columns beside others; categories of two and of more go together."""
    for here, there in itertools.pairwise(speaking):
        if (speaking[here] == "real") != (speaking[there] == "real"):
            listed = f"{header.column(here)} is {speaking[here]}, {header.column(there)} is {speaking[there]}"
            raise ValueError(
                f"groups[{name!r}] has columns of several kinds: {listed}; put them into groups of their own, "
                f'or say which kind is meant (kinds={{"{name}": "{_likely(speaking)}"}})'
            )


def _likely(speaking: Mapping[int, str]) -> str:
    return "real" if "real" in speaking.values() else "categorical"
