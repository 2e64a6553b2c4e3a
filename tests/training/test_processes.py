"""Two processes follow one: the same numbers, one all-reduce an update, checkpoints that either can
resume.

One pair of gloo processes does everything once for the whole file (this file, run as a script); the
tests compare what it leaves.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

import plays
from equilibria.errors import TrainingInterrupted
from equilibria.random import Stream
from equilibria.solvers import Solver
from equilibria.training.distributed import Processes, processes
from equilibria.training.run import Run
from equilibria.training.trainer import SYNC, Trainer

FAMILIES = sorted(plays.FAMILIES)
STEPS = {"dbm": 60, "gan": 100}
UPDATES = {"dbm": 100, "gan": 200}  # pretraining twice 20 and joint 60; of two players
TIMEOUT = 300
STOP = 2 * SYNC + 3


class Stopped(Trainer):
    """A trainer of which one process is sent SIGTERM after round ``STOP``."""

    signalled = 0

    def _round(self, *args: Any) -> None:
        super()._round(*args)
        if self.step == STOP and self.processes.rank == self.signalled:
            signal.raise_signal(signal.SIGTERM)


def train(
    family: str,
    group: Processes,
    run: Run | None = None,
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> Trainer:
    options = {"steps": STEPS[family], **options}
    stages = plays.FAMILIES[family](dtype, (group.rank, group.world), **options)
    return Trainer(stages, Stream(0), run, group, verbose=False)


def interrupt(family: str, group: Processes, path: Path) -> int:
    """A run that the last process is told to stop; the step it stops at."""
    run = Run.create(path, {}) if group.writes else Run(path, {})
    trainer = train(family, group, run)
    trainer.__class__, trainer.signalled = Stopped, group.world - 1
    try:
        trainer.fit()
    except TrainingInterrupted:
        return trainer.step
    raise AssertionError("the signal was not seen")


def whole_state(trainer: Trainer) -> dict[str, torch.Tensor]:
    """The state at the end, when the chains of all processes have been collected."""
    return {name: value.contiguous() for name, value in plays.state_of(trainer.stages).items()}


# ---------------------------------------------------------------- what each process does


def counted(calls: list[int]) -> None:
    """Count the exchanges within the steps of solvers."""
    step, inside = Solver.update, [False]

    def update(self: Solver, *args: Any) -> None:
        inside[0] = True
        step(self, *args)
        inside[0] = False

    reduce = dist.all_reduce

    def all_reduce(*args: Any, **kwargs: Any) -> Any:
        calls[0 if inside[0] else 1] += 1
        return reduce(*args, **kwargs)

    Solver.update, dist.all_reduce = update, all_reduce


def work(folder: Path) -> None:
    torch.set_num_threads(1)
    group = processes()
    results: dict[str, torch.Tensor] = {}
    facts: dict[str, Any] = {
        "agreed": group.agree(41 + group.rank),
        "mean": group.mean({"a": float(group.rank), "b": 1.0}),
    }
    calls = [0, 0]
    counted(calls)
    for family in FAMILIES:
        calls[:] = 0, 0
        trainer = train(family, group)
        trainer.fit()
        facts[f"{family} calls"] = list(calls)
        facts[f"{family} history"] = trainer.history
        results.update(
            {f"{family}/long/{name}": value for name, value in whole_state(trainer).items()}
        )
        short = train(
            family,
            group,
            dtype=torch.float32,
            steps=1,
            **({"pretrain": 0} if family == "dbm" else {}),
        )
        short.fit()
        results.update(
            {f"{family}/short/{name}": value for name, value in whole_state(short).items()}
        )
        facts[f"{family} stopped"] = interrupt(family, group, folder / f"{family}-two")
        resumed = train(family, group, Run.open(folder / f"{family}-one"))
        resumed.fit(resume=True)
        results.update(
            {f"{family}/resumed/{name}": value for name, value in whole_state(resumed).items()}
        )
    if group.writes:
        save_file(
            {name: value.clone() for name, value in results.items()}, folder / "results.safetensors"
        )
        (folder / "facts.json").write_text(json.dumps(facts))
    dist.barrier()
    dist.destroy_process_group()


# ---------------------------------------------------------------- and what is seen of it here


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    """The folder that the two processes leave."""
    folder = tmp_path_factory.mktemp("pair")
    for family in FAMILIES:
        interrupt(family, Processes(), folder / f"{family}-one")
    port, paths = str(free_port()), os.pathsep.join(path for path in sys.path if path)
    common = {
        **os.environ,
        "PYTHONPATH": paths,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, str(folder)]
    both = [
        subprocess.Popen(
            command,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=TIMEOUT)[1] for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], "\n".join(errors)
    return folder


@functools.cache
def results(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "results.safetensors")


def part(folder: Path, prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in results(folder).items()
        if name.startswith(prefix)
    }


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "facts.json").read_text())


@functools.cache
def alone(family: str) -> dict[str, torch.Tensor]:
    """What one process comes to."""
    trainer = train(family, Processes())
    trainer.fit()
    return dict(sorted(whole_state(trainer).items()))


def distance(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    return plays.largest_difference(dict(sorted(left.items())), dict(sorted(right.items())))


@pytest.mark.parametrize("family", FAMILIES)
def test_two_follow_one_in_float64(pair, family):
    """100 rounds; the DBM's are pretraining by CD and the joint stage from chains at the data's
    posterior. Chains agree exactly."""
    found = part(pair, f"{family}/long/")
    assert all(value.dtype == torch.float64 for value in found.values())
    assert distance(found, alone(family)) < 1e-10
    chains = [name for name in found if ".chain_" in name]
    assert len(chains) == (3 if family == "dbm" else 0)
    assert all(bool((found[name] == alone(family)[name]).all()) for name in chains)


def test_two_follow_one_in_float32_for_an_update(pair):
    for family in FAMILIES:
        one = train(
            family,
            Processes(),
            dtype=torch.float32,
            steps=1,
            **({"pretrain": 0} if family == "dbm" else {}),
        )
        before = plays.state_of(one.stages)
        one.fit()
        found = part(pair, f"{family}/short/")
        assert all(value.dtype == torch.float32 for value in found.values())
        assert distance(found, whole_state(one)) < 1e-5
        assert distance(before, whole_state(one)) > 1e-4


def test_the_rows_of_metrics_are_averages_over_processes(pair):
    for family in FAMILIES:
        trainer = train(family, Processes())
        trainer.fit()
        found = facts(pair)[f"{family} history"]
        assert [row["step"] for row in found] == [row["step"] for row in trainer.history]
        names = {
            "dbm": ("contrast", "reconstruction"),
            "gan": ("critic_cost", "generator_cost", "real_logit", "accuracy"),
        }[family]
        for ours, theirs in zip(trainer.history, found, strict=True):
            assert {name: ours[name] for name in names} == pytest.approx(
                {name: theirs[name] for name in names}, abs=1e-9
            )


def test_one_all_reduce_an_update(pair):
    """Beside one for each logged row and two at each pause and stage's end, about signals (there is
    no run, so none about checkpoints)."""
    for family in FAMILIES:
        inside, outside = facts(pair)[f"{family} calls"]
        rows = len(facts(pair)[f"{family} history"])
        lengths = [stage.steps for stage in train(family, Processes()).stages]
        pauses = sum((length - 1) // SYNC for length in lengths)
        assert inside == UPDATES[family]
        assert outside == rows + pauses + len(lengths)


def test_they_agree_on_a_number(pair):
    assert facts(pair)["agreed"] == 41
    assert facts(pair)["mean"] == {"a": 0.5, "b": 1.0}


def test_what_one_process_saved_two_can_resume(pair):
    for family in FAMILIES:
        assert distance(part(pair, f"{family}/resumed/"), alone(family)) < 1e-10


@pytest.mark.parametrize("family", FAMILIES)
def test_what_two_processes_saved_one_can_resume(pair, family):
    """The signal came to the second process alone; both stopped at the same later step, and the
    chains were saved whole."""
    assert facts(pair)[f"{family} stopped"] % SYNC == 0
    run = Run.open(pair / f"{family}-two")
    loaded = run.load_checkpoint()
    assert STOP <= loaded.step == facts(pair)[f"{family} stopped"] < STOP + SYNC
    games = {
        name: value
        for game in loaded.state["games"].values()
        for name, value in game.items()
        if name.startswith("chain_")
    }
    assert {len(value) for value in games.values()} == ({8} if family == "dbm" else set())
    trainer = train(family, Processes(), run)
    trainer.fit(resume=True)
    assert distance(whole_state(trainer), alone(family)) < 1e-10


def test_a_signal_to_the_launcher_saves_and_one_process_goes_on(tmp_path: Path) -> None:
    """The exit code is the conventional one; and what differs is said."""
    words = [sys.executable, "-m", "equilibria", "--processes", "2", "train", "rbm", "bars"]
    words += ["--batch-size", "10", "--n-iter", "1000"]
    started = subprocess.Popen(
        [*words, "--out", str(tmp_path / "run")], stderr=subprocess.PIPE, text=True
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists() and started.poll() is None:
        time.sleep(0.05)
    started.terminate()
    _, errors = started.communicate(timeout=TIMEOUT)
    assert started.returncode == 128 + signal.SIGTERM, errors
    assert errors.startswith("equilibria: Stopped by signal 15 at step ")
    assert errors.count("\n") == 1
    run = Run.open(tmp_path / "run")
    state = run.load_checkpoint().state
    assert state["processes"] == 2


def test_going_on_in_another_number_of_processes_is_said(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {"model": "toy"})
    with pytest.raises(TrainingInterrupted):
        Stopped(plays.FAMILIES["dbm"](torch.float64, (0, 1), steps=60), Stream(0), run).fit()
    state = run.load_checkpoint().state
    run.save_checkpoint({**state, "processes": 2}, run.steps()[-1])
    trainer = train("dbm", Processes(), run)
    trainer.fit(resume=True)
    assert trainer.told == [
        f"{STOP} steps were played in 2 processes, the others in 1: the same draws, and sums equal "
        "but for rounding."
    ]


if __name__ == "__main__":
    work(Path(sys.argv[1]))
