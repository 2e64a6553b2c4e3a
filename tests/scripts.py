"""Experiments as modules, whose functions tests call."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def script(path: str) -> ModuleType:
    """An experiment by its path below the folder of experiments; ``sys.path`` stays as it was."""
    file = EXPERIMENTS / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem], before = module, list(sys.path)
    sys.path.insert(0, str(file.parent))  # as a script has it
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module
