"""A choice that a docstring or a page names is one of its table, and each of the table is named."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest

from equilibria.games.penalties import PLACES, Penalty
from equilibria.models.generator import PRIORS, Generator
from equilibria.networks.mlp import ACTIVATIONS, MLP, OUTPUTS
from equilibria.networks.pictures import PictureCritic, PictureGenerator
from equilibria.networks.precision import PRECISIONS
from equilibria.solvers import Optimiser
from equilibria.solvers.optimiser import SCHEDULES


def named(owner: Any, parameter: str) -> set[str | None]:
    """The choices in the braces behind a parameter's name."""
    found = re.search(
        rf"^ *{parameter} : (?:.*or )?{{(.*?)}}", owner.__doc__, re.MULTILINE | re.DOTALL
    )
    assert found, f"{owner.__name__} names no choices of {parameter}"
    words = re.split(r",[\s\\]*", found[1])
    return {None if word == "None" else word.strip('"') for word in words}


@pytest.mark.parametrize(
    ("owner", "parameter", "table"),
    [
        (Optimiser, "schedule", SCHEDULES),
        (MLP, "activation", ACTIVATIONS),
        (MLP, "output", OUTPUTS),
        (MLP, "precision", PRECISIONS),
        (PictureGenerator, "output", OUTPUTS),
        (PictureCritic, "precision", PRECISIONS),
        (Generator, "prior", PRIORS),
        (Penalty, "at", PLACES),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_docstring_names_its_table(owner: Any, parameter: str, table: Iterable[str]) -> None:
    assert named(owner, parameter) == set(table)
