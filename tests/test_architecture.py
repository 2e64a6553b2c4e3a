"""Imports run downward through the layers of docs/architecture.md, without cycles, and nothing unsafe is imported."""

from __future__ import annotations

import ast
import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "equilibria"
LAYERS = (
    ("cli",),
    ("report",),
    ("estimators",),
    ("training",),
    ("solvers",),
    ("games",),
    ("evaluation",),
    ("inference",),
    ("models",),
    ("networks",),
    ("units",),
    ("data",),
    ("numbers", "random", "check", "errors"),
    ("fast",),
)
DEPTH = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}
FACE = ("equilibria", "equilibria.__main__")  # the package's own face stands above the layers and may import any of them
FORBIDDEN = (
    *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal"),
    *("torchvision", "lightning", "pytorch_lightning"),
    *("torch.load", "joblib.load", "pandas.read_pickle", "allow_pickle"),
)


class Import(NamedTuple):
    """One import: who imports what, and where."""

    module: str
    target: str
    place: str


def module_names(package: Path) -> dict[str, Path]:
    """Every module below ``package``: dotted name to file."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that can run: everything but the bodies of ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for branch in child.orelse:
                yield branch
                yield from executed(branch)
        else:
            yield child
            yield from executed(child)


def dotted_imports(node: ast.AST, package: str) -> list[str]:
    """The full dotted names that one statement or call imports; ``package`` is what one leading dot stands for."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        source = ".".join([*above, *([node.module] if node.module else [])])
        return [f"{source}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
        return [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant) and isinstance(argument.value, str)]
    return []


def imports(package: Path) -> Iterator[Import]:
    """All imports among the package's own modules, those inside functions included."""
    names = module_names(package)
    for module, path in names.items():
        parent = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for node in executed(ast.parse(path.read_text(encoding="utf-8"))):
            for dotted in dotted_imports(node, parent):
                if dotted.split(".")[0] == "equilibria" and dotted != "equilibria.__version__":
                    place = f"{path.relative_to(package.parent)}:{getattr(node, 'lineno', 0)}"
                    yield Import(module, owner(dotted, names), place)


def owner(dotted: str, names: dict[str, Path]) -> str:
    """The module that ``dotted``, a module or a name in one, belongs to."""
    parts = dotted.split(".")
    layer = ".".join(parts[:2]) if parts[1:] and parts[1] in DEPTH else "equilibria"  # a layer needs no __init__.py
    return next((prefix for end in range(len(parts), 1, -1) if (prefix := ".".join(parts[:end])) in names), layer)


def depth(module: str) -> int:
    """The layer of a module, 0 at the top; the package's face above all."""
    return -1 if module in FACE else DEPTH[module.split(".")[1]]


def violations(package: Path) -> list[str]:
    """A sentence for each module outside the layers, each upward import and each cycle."""
    unplaced = [name for name in module_names(package) if name not in FACE and name.split(".")[1] not in DEPTH]
    if unplaced:
        return [f"{name} belongs to no layer: place it in docs/architecture.md and in LAYERS" for name in unplaced]
    found = [imported for imported in imports(package) if imported.module not in FACE]
    upward = [
        f"{one.place}: {one.module} imports {one.target}, which is above it; imports run downward only"
        for one in found
        if depth(one.target) < depth(one.module)
    ]
    return upward + cycles(found)


def cycles(found: list[Import]) -> list[str]:
    """A sentence for each cycle that a depth-first walk over the imports meets."""
    edges: dict[str, dict[str, str]] = {}
    for one in found:
        if one.module != one.target:
            edges.setdefault(one.module, {}).setdefault(one.target, one.place)
    sentences, finished = [], set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            ring = [*path[path.index(module) :], module]
            places = ", ".join(edges[here][there] for here, there in itertools.pairwise(ring))
            sentences.append(f"{places}: a cycle of imports: {' → '.join(ring)}")
        elif module not in finished:
            for target in edges.get(module, {}):
                visit(target, [*path, module])
            finished.add(module)

    for module in edges:
        visit(module, [])
    return sentences


def unsafe(package: Path) -> list[str]:
    """A sentence for each use of a forbidden module or function."""
    sentences = []
    for path in module_names(package).values():
        for line, dotted in sorted(set(uses(ast.parse(path.read_text(encoding="utf-8"))))):
            if any(f"{dotted}.".startswith(f"{name}.") for name in FORBIDDEN):
                sentences.append(f"{path.relative_to(package.parent)}:{line}: {dotted} is forbidden: it runs or hides foreign code")
    return sentences


def uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of every import, and of every attribute, renamed by ``import … as`` or not."""
    full: dict[str, str] = {}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom | ast.Call | ast.Attribute)]
    for node in nodes:
        dotted = dotted_imports(node, "")
        yield from ((node.lineno, name) for name in dotted)
        if isinstance(node, ast.Import | ast.ImportFrom):
            full |= {alias.asname: name for alias, name in zip(node.names, dotted, strict=True) if alias.asname}
            full |= {alias.name: name for alias, name in zip(node.names, dotted, strict=True) if isinstance(node, ast.ImportFrom)}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            head, _, rest = ast.unparse(node).partition(".")
            yield node.lineno, f"{full.get(head, head)}.{rest}"
        if isinstance(node, ast.Call):
            keywords = {key.arg: ast.unparse(key.value) for key in node.keywords}
            if keywords.get("allow_pickle", "False") != "False":
                yield node.lineno, "allow_pickle"


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A copy of the package to plant faults in."""
    copy = tmp_path / "equilibria"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def plant(path: Path, code: str) -> int:
    """Append ``code`` to a file; the number of its last line."""
    path.parent.mkdir(exist_ok=True)
    text = (path.read_text(encoding="utf-8") if path.exists() else "") + f"\n{code}\n"
    path.write_text(text, encoding="utf-8")
    return len(text.splitlines())


def test_imports_run_downward_without_cycles() -> None:
    assert module_names(PACKAGE), f"no modules found in {PACKAGE}"
    assert violations(PACKAGE) == []


def test_the_page_lists_the_same_layers() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = re.search(r"^## Layers.*\n\n((?:    .+\n)+)", page, re.MULTILINE)
    assert block, "docs/architecture.md has no indented list under its heading '## Layers'"
    assert tuple(tuple(line.strip().split(", ")) for line in block[1].splitlines()) == LAYERS


@pytest.mark.parametrize(
    ("code", "target"),
    [
        ("from equilibria.training import trainer", "equilibria.training"),
        ("import equilibria.cli", "equilibria.cli"),
        ("from .solvers import Optimiser", "equilibria.solvers"),
        ("def late():\n    from equilibria import estimators", "equilibria.estimators"),
        ("import importlib\nimportlib.import_module('equilibria.report')", "equilibria.report"),
        ("from equilibria import load", "equilibria"),
    ],
)
def test_a_planted_upward_import_is_reported(planted: Path, code: str, target: str) -> None:
    line = plant(planted / "errors.py", code)
    report = [sentence for sentence in violations(planted) if f"equilibria/errors.py:{line}: " in sentence and "above it" in sentence]
    assert len(report) == 1
    assert f"equilibria.errors imports {target}" in report[0]


def test_evaluation_may_not_import_training(planted: Path) -> None:
    line = plant(planted / "evaluation" / "planted.py", "from equilibria.training import trainer")
    assert any(f"equilibria/evaluation/planted.py:{line}: " in sentence for sentence in violations(planted))


@pytest.mark.parametrize(
    "code",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from equilibria.training import trainer",
        "from equilibria import __version__",
        "import math",
    ],
)
def test_harmless_imports_are_not_reported(planted: Path, code: str) -> None:
    before = violations(planted)
    plant(planted / "errors.py", code)
    assert violations(planted) == before


def test_a_planted_cycle_is_reported(planted: Path) -> None:
    for here, there in [("one", "two"), ("two", "three"), ("three", "one")]:
        plant(planted / "data" / f"{here}.py", f"def late():\n    from .{there} import anything")
    report = [sentence for sentence in violations(planted) if "a cycle of imports" in sentence]
    assert any(all(f"equilibria/data/{name}.py:3" in sentence for name in ("one", "two", "three")) for sentence in report)


def test_a_module_outside_the_layers_is_reported(planted: Path) -> None:
    plant(planted / "helpers.py", "import math")
    assert any(sentence.startswith("equilibria.helpers belongs to no layer") for sentence in violations(planted))


def test_nothing_unsafe_is_used() -> None:
    assert unsafe(PACKAGE) == []


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
def test_a_planted_unsafe_use_is_reported(planted: Path, code: str) -> None:
    line = plant(planted / "errors.py", code)
    assert any(sentence.startswith(f"equilibria/errors.py:{line}: ") for sentence in unsafe(planted))


def test_help_imports_neither_torch_nor_sklearn() -> None:
    program = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('HEAVY', sorted({'torch', 'sklearn'} & set(sys.modules))))\n"
        "from equilibria.cli import main\n"
        "sys.argv = ['equilibria', '--help']\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"
