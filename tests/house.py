"""Figures of the package's structure, from its syntax trees alone."""

from __future__ import annotations

import ast
import collections
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PACKAGE = Path(__file__).parents[1] / "src" / "equilibria"
FLOORS = (
    ("cli",),
    ("lab",),
    ("report",),
    ("estimators",),
    ("recipes",),
    ("training",),
    ("evaluation",),
    ("solvers",),
    ("games",),
    ("inference",),
    ("models",),
    ("networks",),
    ("units",),
    ("data",),
    ("numbers", "check", "random", "fast", "durable", "errors"),
)
"""The floors of the house from the top: imports run downward."""
DEPTH = {name: depth for depth, floor in enumerate(FLOORS) for name in floor}
FACE = ("equilibria", "equilibria.__main__")
"""The package's own face, which may import any floor."""
ALLOWED = {("equilibria.estimators", "equilibria")}
"""Estimators are found in the face's own table of names, where a new one is entered."""
FORBIDDEN = (
    *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal"),
    *("torchvision", "lightning", "pytorch_lightning"),
    *("torch.load", "joblib.load", "pandas.read_pickle", "allow_pickle"),
)


class Module(NamedTuple):
    """One file of the package."""

    path: Path
    lines: list[str]
    tree: ast.Module


def modules(sources: dict[str, str] | None = None) -> dict[str, Module]:
    """Every module by its dotted name; ``sources`` stand for files, or beside them."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    texts |= {PACKAGE / place: text for place, text in (sources or {}).items()}
    found = {}
    for path, text in texts.items():
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(path, text.splitlines(), _parsed(text))
    return found


@functools.cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


# ------------------------------------------------------------------ imports


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that can run: all but the bodies of ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for branch in child.orelse:
                yield branch
                yield from executed(branch)
        else:
            yield child
            yield from executed(child)


def dotted(node: ast.AST, package: str = "") -> list[str]:
    """The dotted names that a statement or call imports; ``package`` is what one dot stands for."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        parts = package.split(".")
        above = parts[: len(parts) - node.level + 1] if node.level else []
        source = ".".join([*above, *([node.module] if node.module else [])])
        return [f"{source}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
        ("import_module", "__import__")
    ):
        names = [part.value for part in node.args[:1] if isinstance(part, ast.Constant)]
        return [name for name in names if isinstance(name, str)]
    return []


def graph(found: dict[str, Module]) -> dict[str, dict[str, str]]:
    """Module → what it imports of the package's modules, those inside functions included, and
    where."""
    edges: dict[str, dict[str, str]] = {name: {} for name in found}
    for name, module in found.items():
        parent = name if module.path.name == "__init__.py" else name.rpartition(".")[0]
        for node in executed(module.tree):
            for target in dotted(node, parent):
                owner = _owner(target, found)
                if owner and owner != name and target != "equilibria.__version__":
                    place = (
                        f"{module.path.relative_to(PACKAGE.parent)}:{getattr(node, 'lineno', 0)}"
                    )
                    edges[name].setdefault(owner, place)
    return edges


def _owner(target: str, found: dict[str, Module]) -> str | None:
    """The module that a dotted name, a module or a name in one, belongs to."""
    parts = target.split(".")
    if parts[0] != "equilibria":
        return None
    prefixes = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in found), None)


def upward(found: dict[str, Module]) -> list[str]:
    """A sentence for each module on no floor, and for each import that runs upward."""
    sentences = [
        f"{name} is on no floor: place it in FLOORS"
        for name in found
        if name not in FACE and name.split(".")[1] not in DEPTH
    ]
    for name, targets in graph(found).items():
        if name in FACE or name.split(".")[1] not in DEPTH:
            continue
        for target, place in targets.items():
            above = -1 if target in FACE else DEPTH.get(target.split(".")[1], -1)
            if above < DEPTH[name.split(".")[1]] and (name, target) not in ALLOWED:
                sentences.append(f"{place}: {name} imports {target}, which is above it")
    return sentences


def chains(edges: dict[str, dict[str, str]]) -> tuple[int, list[str]]:
    """The length of the longest chain of imports, and a sentence for each cycle."""
    depth: dict[str, int] = {}
    cycles: list[str] = []

    def visit(name: str, path: list[str]) -> int:
        if name in path:
            ring = [*path[path.index(name) :], name]
            places = ", ".join(edges[here][there] for here, there in itertools.pairwise(ring))
            cycles.append(f"{places}: a cycle of imports: {' → '.join(ring)}")
            return 0
        if name not in depth:
            below = [visit(target, [*path, name]) for target in edges[name]]
            depth[name] = 1 + max(below, default=0)
        return depth[name]

    return max(visit(name, []) for name in edges), cycles


def loaded(edges: dict[str, dict[str, str]], start: str) -> set[str]:
    """The modules that importing one loads, packages on the way included, by all that it may
    import."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in seen and name != "equilibria":
            seen.add(name)
            waiting += edges[name]
    return seen


# ------------------------------------------------------------------ names, classes, checks


def foreign(found: dict[str, Module]) -> list[str]:
    """Private names that are used on anything but ``self`` and ``cls``."""
    sentences = []
    for module in found.values():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Attribute) or not _private(node.attr):
                continue
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls", "super()"):
                sentences.append(f"{module.path.name}:{node.lineno}: {owner}.{node.attr}")
    return sentences


def scattered(found: dict[str, Module]) -> list[str]:
    """Private names of ``self`` that no class of the file defines."""
    defined: dict[str, set[str]] = collections.defaultdict(set)
    used: list[tuple[str, ast.Attribute]] = []
    for name, module in found.items():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                defined[node.name].add(name)
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
                for part in itertools.chain.from_iterable(map(ast.walk, targets)):
                    if isinstance(part, ast.Name):
                        defined[part.id].add(name)
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls"):
                if isinstance(node.ctx, ast.Store):
                    defined[node.attr].add(name)
                elif _private(node.attr):
                    used.append((name, node))
    return [
        f"{name}:{node.lineno}: {node.attr}"
        for name, node in used
        if defined[node.attr] and name not in defined[node.attr]
    ]


def _private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def mixed(found: dict[str, Module]) -> list[str]:
    """Classes with two bases of the package."""
    classes = [
        node
        for module in found.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    ]
    own = {node.name for node in classes}
    bases = {
        node.name: [ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases]
        for node in classes
    }
    return [name for name, parts in bases.items() if sum(part in own for part in parts) > 1]


def refusals(found: dict[str, Module]) -> int:
    """How many ``if … raise`` there are."""
    nodes: Iterator[Any] = itertools.chain.from_iterable(ast.walk(m.tree) for m in found.values())
    ifs = (node for node in nodes if isinstance(node, ast.If))
    return sum(any(isinstance(part, ast.Raise) for part in node.body) for node in ifs)


def unsafe(found: dict[str, Module]) -> list[str]:
    """A sentence for each use of a forbidden module or function."""
    sentences = []
    for module in found.values():
        for line, name in sorted(set(_uses(module.tree))):
            if any(f"{name}.".startswith(f"{word}.") for word in FORBIDDEN):
                sentences.append(f"{module.path.name}:{line}: {name} runs or hides foreign code")
    return sentences


def _uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of every import and every attribute, renamed by ``as`` or not."""
    full: dict[str, str] = {}
    for node in ast.walk(tree):
        names = dotted(node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            direct = isinstance(node, ast.ImportFrom)
            pairs = zip(node.names, names, strict=True)
            full |= {a.asname or a.name: name for a, name in pairs if a.asname or direct}
        yield from ((getattr(node, "lineno", 0), name) for name in names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            head, _, rest = ast.unparse(node).partition(".")
            yield node.lineno, f"{full.get(head, head)}.{rest}"
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                    yield node.lineno, "allow_pickle"
