"""The figures that the house is held to, and the rules of its floors; each rule notices a fault."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest

import equilibria
import house
from equilibria.estimators import all_estimators
from equilibria.estimators.params import parameters
from equilibria.games.payoffs import PAYOFFS
from equilibria.games.penalties import PENALTIES, PLACES, Penalty
from equilibria.models.generator import PRIORS, Generator
from equilibria.networks.mlp import ACTIVATIONS, MLP, OUTPUTS, PRECISIONS
from equilibria.networks.pictures import PictureCritic, PictureGenerator
from equilibria.solvers import Optimiser
from equilibria.solvers.optimiser import SCHEDULES

MODULES = house.modules()
EDGES = house.graph(MODULES)
HOMES = [f"equilibria.{home}" for home in equilibria.homes().values() if "estimators." in home]


# ------------------------------------------------------------------ figures


@functools.cache
def figures() -> dict[str, int]:
    lines = [line for module in MODULES.values() for line in module.lines]
    length, cycles = house.chains(EDGES)
    return {
        "longest chain of imports": length,
        "cycles": len(cycles),
        "files loaded by an estimator": max(len(house.loaded(EDGES, home)) for home in HOMES),
        "private names on other objects": len(house.foreign(MODULES)),
        "private names of self from other files": len(house.scattered(MODULES)),
        "classes with two bases of ours": len(house.mixed(MODULES)),
        "lines over 100 characters": sum(len(line) > 100 for line in lines),
        "if … raise": house.refusals(MODULES),
        "lines": len(lines),
    }


LIMITS = {
    "longest chain of imports": 15,
    "cycles": 0,
    "files loaded by an estimator": 64,  # goal: 60; margins, heads and missing cells came
    "private names on other objects": 0,
    "private names of self from other files": 2,  # torch's own
    "classes with two bases of ours": 0,
    "lines over 100 characters": 0,
    "if … raise": 325,  # goal: 200; comparisons, binary sets, verbs and reports of tables came
    "lines": 33_235,  # goal: 17,000; exact residents, verdict, comparison, tables, rules came
}
"""What a figure is today, where it is above its goal: it may only fall."""


@pytest.mark.parametrize("name", LIMITS)
def test_a_figure_does_not_grow(name: str) -> None:
    assert figures()[name] <= LIMITS[name]


# ------------------------------------------------------------------ floors


def test_imports_run_downward_without_cycles() -> None:
    assert house.upward(MODULES) == []
    assert house.chains(EDGES)[1] == []


def test_nothing_unsafe_is_used() -> None:
    assert house.unsafe(MODULES) == []


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("errors.py", "from equilibria.training import trainer"),
        ("errors.py", "import equilibria.cli.app"),
        ("data/one.py", "from ..solvers import Optimiser"),
        ("evaluation/one.py", "def late():\n    from equilibria import estimators"),
        ("models/one.py", "import importlib\nimportlib.import_module('equilibria.report')"),
        ("games/one.py", "from equilibria import load"),
        ("helpers.py", "import math"),
    ],
)
def test_a_planted_upward_import_is_reported(place: str, code: str) -> None:
    report = house.upward(house.modules({place: code}))
    name = place.removesuffix(".py").replace("/", ".")
    assert len(report) == 1
    assert f"equilibria.{name} " in report[0]


def test_what_is_only_for_types_is_no_import() -> None:
    code = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from equilibria.cli import app\n"
    )
    more = "from equilibria import __version__\nimport math\n"
    assert house.upward(house.modules({"errors.py": code + more})) == []


def test_planted_faults_are_counted() -> None:
    ring = {f"data/{a}.py": f"def late():\n    from .{b} import x" for a, b in ("xy", "yz", "zx")}
    assert len(house.chains(house.graph(house.modules(ring)))[1]) == 1
    faults = {
        "data/a.py": "class A:\n    def _own(self): pass\nclass B: pass",
        "data/b.py": "from .a import A, B\nclass C(A, B):\n    def go(self):\n        "
        "self._own()\n",
        "data/c.py": "def f(a):\n    if a._own:\n        raise ValueError\n",
    }
    found = house.modules(faults)
    assert set(house.mixed(found)) - set(house.mixed(MODULES)) == {"C"}
    assert len(house.scattered(found)) == len(house.scattered(MODULES)) + 1
    assert len(house.foreign(found)) == len(house.foreign(MODULES)) + 1
    assert house.refusals(found) == house.refusals(MODULES) + 1


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from torchvision.transforms import Resize",
        "import lightning.pytorch",
        "import torch as t\nt.load('x')",
        "from joblib import load",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
    ],
)
def test_a_planted_unsafe_use_is_reported(code: str) -> None:
    report = house.unsafe(house.modules({"data/one.py": code}))
    assert [sentence.split(":")[0] for sentence in report] == ["one.py"]


def test_help_imports_neither_torch_nor_sklearn() -> None:
    program = (
        "import sys, atexit\n"
        "heavy = {'torch', 'sklearn', 'pandas'}\n"
        "atexit.register(lambda: print('HEAVY', sorted(heavy & set(sys.modules))))\n"
        "from equilibria.cli.app import main\n"
        "sys.argv = ['equilibria', '--help']\n"
        "sys.exit(main())\n"
    )
    command = [sys.executable, "-c", program]
    home = house.PACKAGE.parent
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=home, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"


# ------------------------------------------------------------------ choices


def named(owner: Any, parameter: str) -> set[str | None]:
    """The choices in the braces behind a parameter's name."""
    pattern = rf"^ *{parameter} : (?:.*or )?{{(.*?)}}"
    found = re.search(pattern, owner.__doc__, re.MULTILINE | re.DOTALL)
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


def test_an_estimators_choices_are_those_of_its_checks() -> None:
    """The docstring is made of the parameter table; a choice that prose names is one of the
    table's."""
    words = {word for table in (PAYOFFS, PENALTIES, PRIORS, SCHEDULES) for word in table}
    seen = 0
    for cls in all_estimators().values():
        for field in parameters(cls):
            options = field.metadata["check"].options
            line = f"{field.name} : {field.metadata['check'].expected}, default"
            assert line in cls.__doc__
            assert all(repr(word) in line for word in options)
            seen += len(set(options) & words)
    assert seen > len(PAYOFFS)
