"""A resumed training is the training that was never stopped, bit for bit: after SIGKILL, after
signals, and with damaged files."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import re
import signal
import time
from pathlib import Path
from types import ModuleType

import pytest
from sklearn.datasets import load_digits

import equilibria
import plays
from equilibria.errors import RunError, TrainingInterrupted
from equilibria.random import Stream
from equilibria.training.run import Run
from equilibria.training.trainer import Trainer

SECONDS_TO_STOP = 5.0
FAMILIES = sorted(plays.FAMILIES)


def _script() -> ModuleType:
    path = Path(__file__).parents[2] / "experiments" / "kill.py"
    spec = importlib.util.spec_from_file_location("kill", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kill = _script()


@pytest.fixture(scope="module")
def references(tmp_path_factory) -> dict[str, Path]:
    """A run of each family that nothing disturbed."""
    folder = tmp_path_factory.mktemp("references")
    for family in FAMILIES:
        kill.reference(family, folder / family)
    return {family: folder / family for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_killed_process_leaves_nothing_but_a_pause(tmp_path, references, family):
    """Killed once in the first half (for the DBM: in pretraining) and once, while it saves, in the
    second (the joint stage)."""
    seed = random.randrange(10**6)
    chance, out, half = random.Random(seed), tmp_path / "run", kill.STEPS[family] // 2
    moments = [chance.randrange(1, half - 1), chance.randrange(half + 1, 2 * half - 15)]
    delays = [chance.uniform(0, 0.05) for _ in moments]
    what = []
    for number, (step, delay) in enumerate(zip(moments, delays, strict=True)):
        what.append(kill.kill(kill.start(family, out), out, step, saving=number == 1, delay=delay))
    assert all("killed at checkpoint" in sentence for sentence in what), f"seed {seed}: {what}"
    fitted = kill.finish(out)
    assert kill.differences(references[family], out) == [], f"seed {seed}: {what}"
    assert fitted.n_steps_ == kill.STEPS[family]
    assert fitted.health_ == equilibria.load(references[family]).health_
    assert sorted(path.name for path in (out / "checkpoints").iterdir())[0].startswith("step-"), (
        "leftovers were not swept"
    )


@pytest.mark.parametrize(("family", "number"), [("dbm", signal.SIGINT), ("gan", signal.SIGTERM)])
def test_a_signal_saves_and_exits_in_time(tmp_path, references, family, number):
    seed = random.randrange(10**6)
    out, step = tmp_path / "run", random.Random(seed).randrange(1, kill.STEPS[family] - 40)
    process = kill.start(family, out)
    kill.wait(process, out, step)
    sent = time.monotonic()
    process.send_signal(number)
    assert process.wait(60) == 128 + number, f"seed {seed}"
    assert time.monotonic() - sent < SECONDS_TO_STOP, f"seed {seed}"
    stopped = Run.open(out)
    assert stopped.metrics()[-1]["step"] <= stopped.load_checkpoint().step < kill.STEPS[family]
    with pytest.raises(RunError, match="resume the run"):
        equilibria.load(out)
    kill.finish(out)
    assert kill.differences(references[family], out) == [], f"seed {seed}"


# ---------------------------------------------------------------- stopped in this process


class Stopped(Trainer):
    """A trainer that is sent SIGTERM after round ``stop``."""

    stop: int | None = None

    def _round(self, *args) -> None:
        super()._round(*args)
        if self.step == self.stop:
            signal.raise_signal(signal.SIGTERM)


def train(
    family: str, run: Run, stop: int | None = None, resume: bool = False, seconds: float = 60.0
) -> Trainer:
    trainer = Stopped(plays.FAMILIES[family](steps=30), Stream(0), run)
    trainer.stop = stop
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("equilibria.training.trainer.CHECKPOINT_SECONDS", seconds)
        with contextlib.nullcontext() if stop is None else pytest.raises(TrainingInterrupted):
            trainer.fit(resume=resume)
    return trainer


@pytest.mark.parametrize(
    ("family", "stops"), [("dbm", (1,)), ("dbm", (20, 21)), ("gan", (1, 10, 25))], ids=str
)
def test_any_number_of_stops(tmp_path, family, stops):
    """For the DBM step 20 ends a stage and 21 begins one."""
    whole = train(family, Run.create(tmp_path / "whole", {}))
    run = Run.create(tmp_path / "run", {})
    for number, stop in enumerate(stops):
        trainer = train(family, Run.open(run.path), stop, resume=number > 0)
        assert trainer.step == stop
    end = train(family, run, resume=True)
    assert plays.largest_difference(plays.state_of(whole.stages), plays.state_of(end.stages)) == 0
    assert end.warnings == []
    timeless = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in trainer.history]
        for trainer in (whole, end)
    ]
    assert timeless[0] == timeless[1]


def test_a_run_without_a_checkpoint_begins_again(tmp_path):
    run = Run.create(tmp_path / "run", {})
    run.log({"step": 3, "cost": 1.0})
    trainer = train("gan", run, resume=True)
    assert trainer.history[0]["step"] == 1
    assert len(trainer.history) == 30


def truncate(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:-7])
    return r"is damaged: \d+ bytes of SHA-256 \w+ were written, \d+ bytes"


def flip(path: Path) -> str:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    return "is damaged"


@pytest.mark.parametrize(
    ("harm", "file"),
    [(truncate, "state.safetensors"), (flip, "manifest.json")],
)
def test_damage_is_named_and_the_checkpoint_before_is_used(tmp_path, harm, file):
    whole = train("gan", Run.create(tmp_path / "whole", {}))
    run = Run.create(tmp_path / "run", {})
    train("gan", Run.open(run.path), 12, seconds=0.0)
    newest = run.path / "checkpoints" / f"step-{12:09d}"
    assert run.steps() == [11, 12]
    message = harm(newest / file)
    end = train("gan", run, resume=True)
    assert len(end.warnings) == 1
    assert re.search(rf"{re.escape(str(newest / file))}.*{message}", end.warnings[0])
    assert plays.largest_difference(plays.state_of(whole.stages), plays.state_of(end.stages)) == 0


def test_damage_is_told_to_the_user(tmp_path):
    """The estimator's health names the file, and the run folder keeps the sentence."""
    X = load_digits().data[:60]
    parameters = {
        "hidden": (8,),
        "latent_dim": 2,
        "steps": 12,
        "value_range": (0, 16),
        "random_state": 0,
    }
    whole = equilibria.GAN(**parameters).fit(X)
    interrupted = equilibria.GAN(**parameters, out=str(tmp_path / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("equilibria.training.trainer.CHECKPOINT_SECONDS", 0.0)
        original = Run.save_checkpoint
        patch.setattr(
            Run,
            "save_checkpoint",
            lambda run, state, step: (
                step == 8 and signal.raise_signal(2),
                original(run, state, step),
            )[1],
        )
        with pytest.raises(TrainingInterrupted):
            interrupted.fit(X)
    damaged = tmp_path / "run" / "checkpoints" / f"step-{8:09d}" / "state.safetensors"
    truncate(damaged)
    fitted = equilibria.resume(tmp_path / "run", X)
    assert any(str(damaged) in sentence for sentence in fitted.health_)
    assert equilibria.load(tmp_path / "run").health_ == fitted.health_
    assert (fitted.sample(5) == whole.sample(5)).all()


def test_other_data_are_refused(tmp_path):
    X = load_digits().data[:60]
    model = equilibria.RBM(
        n_components=4, n_iter=1, value_range=(0, 16), random_state=0, out=str(tmp_path / "run")
    ).fit(X)
    for other in (X[::-1], X[:-1], X.astype("float32"), X + (X < 1)):
        with pytest.raises(
            ValueError, match="X: these are not the data that the run was started with"
        ):
            equilibria.resume(tmp_path / "run", other)
    again = equilibria.resume(tmp_path / "run", X)
    assert (again.score_samples(X) == model.score_samples(X)).all()
