"""Kill real training processes at random moments, resume them, and compare the end with a run that
was left alone, bit for bit.

Each trial starts ``fit`` in a process of its own, with a checkpoint after every update, waits for a
random update of the whole training (every second trial also for a checkpoint being written), sends
SIGKILL, resumes the run and compares model, last checkpoint and metrics.

    python experiments/kill.py --trials 10 --seed 0
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

import equilibria
from equilibria import durable
from equilibria.errors import TrainingInterrupted
from equilibria.training import trainer
from equilibria.training.run import Run

__all__ = [
    "FAMILIES",
    "STEPS",
    "data",
    "differences",
    "estimator",
    "finish",
    "kill",
    "reference",
    "start",
    "wait",
]

PICTURES: dict[str, Any] = {"value_range": (0, 16), "picture_shape": (8, 8), "random_state": 0}
FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "dbm": (
        equilibria.DBM,
        {
            "hidden": (24, 12),
            "steps": 100,
            "pretrain_steps": 50,
            "batch_size": 50,
            "chains": 20,
            "k": 2,
            "ais_betas": 20,
            "ais_chains": 5,
        },
    ),
    "gan": (equilibria.GAN, {"hidden": (32, 32), "latent_dim": 8, "steps": 200, "batch_size": 50}),
}
STEPS = {"dbm": 200, "gan": 200}
TIMEOUT = 120.0


def data() -> np.ndarray:
    """Some digits, (400, 64) from 0 to 16."""
    return load_digits().data[:400]


def estimator(family: str, out: Path | str | None) -> Any:
    """The estimator of every trial of a family."""
    kind, parameters = FAMILIES[family]
    return kind(**parameters, **PICTURES, out=None if out is None else str(out))


def reference(family: str, out: Path) -> None:
    """Train in this process, without a break."""
    estimator(family, out).fit(data())


def finish(out: Path) -> Any:
    """Resume in this process."""
    return equilibria.resume(out, data())


def start(family: str, out: Path) -> subprocess.Popen[bytes]:
    """Train in a new process, or go on there with a run that has begun."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen([sys.executable, __file__, "--work", family, str(out)], env=environment)


def wait(process: subprocess.Popen[bytes], out: Path, step: int) -> None:
    """Return when the run has a checkpoint of ``step`` or later."""
    until = time.monotonic() + TIMEOUT
    while process.poll() is None and max(Run(out, {}).steps(), default=-1) < step:
        if time.monotonic() > until:
            process.kill()
            raise TimeoutError(f"{out} did not reach step {step} in {TIMEOUT:g} s")
        time.sleep(0.002)


def kill(process: subprocess.Popen[bytes], out: Path, step: int, saving: bool, delay: float) -> str:
    """SIGKILL at ``step`` and ``delay`` seconds later, or while a checkpoint is being written; says
    what was left."""
    wait(process, out, step)
    if saving:
        while process.poll() is None and not _writing(out / "checkpoints"):
            pass
    else:
        time.sleep(delay)
    process.kill()
    code = process.wait()
    left = sorted(path.name for path in (out / "checkpoints").glob(".step-*"))
    newest = max(Run(out, {}).steps(), default=None)
    dead = "killed" if code == -signal.SIGKILL else f"already ended with code {code}"
    return f"{dead} at checkpoint {newest} of {step}+" + (
        f", leaving {', '.join(left)}" if left else ""
    )


def _writing(folder: Path) -> bool:
    """Whether a checkpoint later than all complete ones is being written; an earlier number is one
    being deleted."""
    newest = max(Run(folder.parent, {}).steps(), default=-1)
    return any(
        int(path.name.split(".")[1].removeprefix("step-")) > newest
        for path in folder.glob(".step-*.tmp")
    )


def differences(left: Path, right: Path) -> list[str]:
    """Where two finished runs differ, in bits; the seconds that they took are left out."""
    runs = [Run.open(path) for path in (left, right)]
    found = []
    models, ends = [run.load_model() for run in runs], [run.load_checkpoint() for run in runs]
    states = [
        durable.pack({name: value for name, value in end.state.items() if name != "seconds"})
        for end in ends
    ]
    metrics = [
        [{name: value for name, value in row.items() if name != "seconds"} for row in run.metrics()]
        for run in runs
    ]
    found += [f"model {name}" for name in _unequal(models[0][0], models[1][0])]
    found += [f"checkpoint {name}" for name in _unequal(states[0][0], states[1][0])]
    pairs = {
        "metadata": [model[1] for model in models],
        "checkpoint's numbers": [state[1] for state in states],
        "metrics": metrics,
    }
    found += [
        f"{name}"
        for name, (a, b) in {**pairs, "last step": [end.step for end in ends]}.items()
        if a != b
    ]
    return found


def _unequal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> list[str]:
    if set(left) != set(right):
        return sorted(set(left) ^ set(right))
    return [name for name, value in left.items() if not _same_bits(value, right[name])]


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


def trial(family: str, folder: Path, number: int, seed: int) -> tuple[str, list[str]]:
    """(what happened, differences) of one kill and one resume; the reference is in ``folder /
    family``."""
    chance, out = random.Random(f"{seed} {family} {number}"), folder / f"{family}-{number}"
    step, delay = chance.randrange(1, STEPS[family] - 1), chance.uniform(0, 0.05)
    what = kill(start(family, out), out, step, saving=number % 2 == 1, delay=delay)
    if start(family, out).wait() != 0:
        return what, ["the resumed process failed"]
    return what, differences(folder / family, out)


def work(family: str, out: Path) -> int:
    """What a trial's process does: train or resume; the exit code of an interrupted one is 128 +
    the signal's number."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    trainer.CHECKPOINT_SECONDS = 0.0
    try:
        if (out / "config.json").exists():
            finish(out)
        else:
            reference(family, out)
    except TrainingInterrupted as stop:
        print(stop, file=sys.stderr)
        return 128 + stop.signal
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10, help="kills of each family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", choices=sorted(FAMILIES), nargs="*", default=sorted(FAMILIES))
    parser.add_argument("--work", nargs=2, metavar=("FAMILY", "RUN"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        return work(arguments.work[0], Path(arguments.work[1]))
    torch.set_num_threads(1)
    good = 0
    with tempfile.TemporaryDirectory() as name:
        for family in arguments.family:
            reference(family, Path(name) / family)
            for number in range(arguments.trials):
                what, wrong = trial(family, Path(name), number, arguments.seed)
                good += not wrong
                print(
                    f"{family} {number}: {what}: "
                    f"{'identical' if not wrong else 'DIFFERS: ' + ', '.join(wrong)}",
                    flush=True,
                )
    total = arguments.trials * len(arguments.family)
    print(f"{good} of {total} identical")
    return 0 if good == total else 1


if __name__ == "__main__":
    sys.exit(main())
