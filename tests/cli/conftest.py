"""Command lines that are run in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from equilibria.cli import app as commands

Console = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]


@pytest.fixture
def console(capsys: pytest.CaptureFixture[str]) -> Console:
    """Run a command line in this process: (exit code, standard output, standard error)."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = commands.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(console: Console) -> Refused:
    """Run a command line that must end with exit code 2 and one sentence, which is returned."""

    def run(*words: object) -> str:
        code, _, errors = console(*words)
        lines = errors.splitlines()
        assert code == 2
        assert len(lines) == 1, errors
        assert lines[0].startswith("equilibria: ")
        return lines[0]

    return run
