"""What every experiment records beside its numbers: command, commit, machine, versions, seconds."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import equilibria
from equilibria.training import trainer as budget

RESULTS = Path(__file__).parent / "results"


def budgeted(parser: argparse.ArgumentParser, minutes: float | None) -> argparse.Namespace:
    """Options of an experiment whose fits have a budget in minutes, and where and on how many
    threads they run; both hold from now on.

    On a CPU ``minutes=`` goes by the processor's own time, since the machine may be shared.
    """
    parser.add_argument("--minutes", type=float, default=minutes, help="of each fit")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    budget.CLOCK = time.process_time if options.device == "cpu" else time.monotonic
    return options


_STARTED = time.monotonic()


def kept(name: str, *fields: str) -> dict[str, Any]:
    """What another experiment put into ``experiments/results/NAME.json``, and recording it anew
    must not lose."""
    path = RESULTS / f"{name}.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    return {field: held[field] for field in fields if field in held}


def _git(*words: str) -> str:
    told = subprocess.run(["git", *words], capture_output=True, text=True, cwd=RESULTS.parent)
    return told.stdout.strip()


def record(name: str, **result: Any) -> Path:
    """Write ``experiments/results/NAME.json`` and return its path."""
    code = _git("status", "--porcelain", "-uno", "--", "../src", "../benchmarks/*.py", "*.py")
    commit = _git("describe", "--always") + ("-dirty" if code else "")
    header = {
        "command": "python " + shlex.join([os.path.relpath(sys.argv[0]), *sys.argv[1:]]),
        "commit": commit,
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__} "
        f"with {torch.get_num_threads()} threads",
        "equilibria": equilibria.__version__,
        "seconds": round(time.monotonic() - _STARTED, 1),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**header, **result}, indent=1) + "\n")
    print(path.relative_to(RESULTS.parents[1]))
    return path
