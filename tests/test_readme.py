"""Every Python block of the README and the guides runs, every command they show exists with its
options, every link leads somewhere, and the API reference is what the sources say."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import re
import shlex
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from equilibria.cli import app
from equilibria.cli.options import KNOWN, written

ROOT = Path(__file__).parents[1]
GUIDES = sorted(
    path for path in (ROOT / "docs").rglob("*.md") if path.name != "architecture.md"
)  # there, blocks are contracts
PAGES = [ROOT / "README.md", *GUIDES]
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+) *\n(?P<code>.*?)^(?P=indent)``` *$",
    re.MULTILINE | re.DOTALL,
)
OPTION = re.compile(r"--?[a-zA-Z][\w-]*")
SEPARATORS = {"|", "||", "&&", ";", ">", ">>", "<", "&"}


class Block(NamedTuple):
    """A fenced block: its name for messages, the line its code starts at, its code."""

    name: str
    line: int
    code: str


def blocks(page: Path, language: str) -> list[Block]:
    """The blocks that are fenced with ``language`` alone; a page that is not there has none."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    found = [match for match in FENCE.finditer(text) if match["language"] == language]
    lines = [text[: match.start("code")].count("\n") + 1 for match in found]
    return [
        Block(
            f"{page.name}, {language} block {number} (line {line})",
            line,
            textwrap.dedent(match["code"]),
        )
        for number, (match, line) in enumerate(zip(found, lines, strict=True), start=1)
    ]


def run_blocks(page: Path) -> None:
    """Run a page's Python blocks in order, in one namespace and in the current folder."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        try:
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)
        except Exception as error:
            pytest.fail(f"{block.name} failed with {type(error).__name__}: {error}\n{block.code}")


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """(where, arguments) of each ``equilibria …`` line in a page's bash blocks."""
    found = []
    for block in blocks(page, "bash"):
        for line in block.code.replace("\\\n", " ").splitlines():
            words = shlex.split(line.strip().removeprefix("$ "), comments=True)
            if words and words[0] == "equilibria":
                end = next(
                    (place for place, word in enumerate(words) if word in SEPARATORS), len(words)
                )
                found.append((f"{block.name}: {line.strip()}", words[1:end]))
    return found


@functools.cache
def help_text(*path: str) -> tuple[int, str]:
    """Exit code and text of ``equilibria <path> --help``, on a wide terminal without colours."""
    plain = {"COLUMNS": "400", "TERM": "dumb", "NO_COLOR": "1"}
    said, code = io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        for name, value in plain.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["equilibria", *path, "--help"])
        try:
            code = app.main() or 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, said.getvalue()


def faults(arguments: list[str]) -> list[str]:
    """What is wrong with a command line, judged by the command's own help."""
    if arguments[:1] == ["--processes"]:
        arguments = arguments[2:]
    first_option = next(
        (place for place, word in enumerate(arguments) if word.startswith("-")), len(arguments)
    )
    code, text = help_text(*arguments[:first_option])
    if code != 0:
        return [f"no such command: {text.strip()}"]
    options = [word.partition("=")[0] for word in arguments if OPTION.match(word)]
    return [
        f"no option {option}"
        for option in options
        if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text)
    ]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name
)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_blocks(page)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page)], ids=lambda page: page.name
)
def test_commands_exist_with_their_options(page: Path) -> None:
    wrong = [
        f"{where}: {fault}" for where, arguments in commands(page) for fault in faults(arguments)
    ]
    assert wrong == []


def test_the_readme_shows_python_and_commands() -> None:
    readme = ROOT / "README.md"
    assert blocks(readme, "python")
    assert commands(readme)


def test_a_failing_block_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n", encoding="utf-8"
    )
    with pytest.raises(
        pytest.fail.Exception,
        match=r"page\.md, python block 2 \(line 8\) failed with AssertionError",
    ):
        run_blocks(page)


def test_commands_are_found_across_continued_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\npip install .\n$ equilibria train rbm x \\\n    --out a  # why\n"
        "equilibria models | cat\n```\n",
        encoding="utf-8",
    )
    assert [arguments for _, arguments in commands(page)] == [
        ["train", "rbm", "x", "--out", "a"],
        ["models"],
    ]


def test_a_wrong_command_and_a_wrong_option_are_reported() -> None:
    assert faults(["--help"]) == []
    assert faults(["--surely-not"]) == ["no option --surely-not"]
    assert faults(["surely-not"])[0].startswith("no such command")


# ---------------------------------------------------------------- links


def dead_links(page: Path) -> list[str]:
    """The relative links of a page whose file, or whose section of it, is not there."""
    text = re.sub(
        r"```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    dead = []
    for link in re.findall(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)", text):
        name, _, section = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if "://" not in link and not (
            target.exists() and (not section or section in sections(target))
        ):
            dead.append(link)
    return dead


def sections(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md"],
    ids=lambda page: page.name,
)
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n[a](page.md#a-page) [b](#b) [c](gone.md) [d](https://example.org/x)\n",
        encoding="utf-8",
    )
    assert dead_links(page) == ["#b", "gone.md"]


# ---------------------------------------------------------------- the API reference


@functools.cache
def make_api() -> ModuleType:
    """docs/make_api.py as a module."""
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_api_reference_is_up_to_date() -> None:
    found = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert found == make_api().page(), (
        "docs/api.md is not what the sources say: run python docs/make_api.py"
    )


def test_the_command_line_knows_the_models_as_they_are() -> None:
    assert KNOWN.read_text(encoding="utf-8") == written(), (
        f"{KNOWN.name} is not what the estimators say: run python docs/make_api.py"
    )


@pytest.mark.parametrize("package", ["", ".data", ".evaluation", ".games", ".solvers", ".units"])
def test_the_api_reference_has_every_name_of_a_package(package: str) -> None:
    module = importlib.import_module(f"equilibria{package}")
    listed = set(
        re.findall(
            r"^- `(\w+)", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    assert {name for name in module.__all__ if not name.startswith("__")} - listed == set()


def test_the_api_reference_says_what_docstrings_say() -> None:
    api = make_api()
    assert api._first(
        "Means of :meth:`~equilibria.RBM.transform` for ``X``,\n    row by row.\n\n    More."
    ) == ("Means of `transform` for `X`, row by row.")

    def example(self, a, *, b=0.5, c=len):
        """Nothing."""

    assert api._signature(example) == "(a, *, b=0.5, c=<built-in function len>)"
