"""Processes that are killed, told to stop, or run out of disk: nothing is lost, nothing is half.

A scene is a command. It is run once undisturbed, which gives the bytes that it writes; then again
and again in processes of their own, each disturbed at a random place:

- kill: SIGKILL at a random moment. A training is resumed, every third one after one more kill; a
  file that a command writes is then the former one or the new one.
- signal: SIGINT, SIGTERM or SIGHUP. The process ends within five seconds with the
  conventional exit code, and a training is resumed.
- together: a signal as before to a training by two processes, from half of its time on, since the
  processes take the first to begin.
- disk: no file may grow beyond a random size (RLIMIT_FSIZE). The process ends with exit code 2 and
  one sentence, and a training is resumed with more room.

What a resumed training writes is compared with what the undisturbed one wrote: the model byte by
byte, the metrics but for their seconds. A checkpoint is saved after every update.

    python experiments/siege/processes.py kill --count 200 --seed 0
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import fcntl
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from equilibria.cli.app import main as command
from equilibria.training import trainer

__all__ = ["DISTURBANCES", "SCENES", "Siege", "main"]

PATIENCE = 5.0  # seconds from a signal to the end
LONGEST = 300.0  # seconds of any process, after which it hangs
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FORMER = b"what was there before\n"


@dataclasses.dataclass(frozen=True)
class Scene:
    """A command: its words, in which {home} is a folder of its own and {base} one that all share;
    and the file that it writes, or None for a training into {home}/run."""

    words: str
    writes: str | None = None
    processes: int = 1

    @property
    def resumes(self) -> str:
        """The command that goes on with its training."""
        several = f"--processes {self.processes} " if self.processes > 1 else ""
        return f"{several}resume {{home}}/run"


SCENES: dict[str, Scene] = {
    "rbm": Scene("train rbm {base}/bits.csv --n-components 6 --n-iter 4 --out {home}/run"),
    "rbm, watched": Scene(
        "train rbm {base}/bits.csv --n-components 6 --n-iter 2 --validation-fraction 0.3 "
        "--labels --label kind --out {home}/run"
    ),
    "dbm": Scene(
        "train dbm {base}/bits.csv --hidden 6,4 --steps 12 --pretrain-steps 6 --ais-betas 200 "
        "--ais-chains 5 --out {home}/run"
    ),
    "dbn": Scene("train dbn {base}/bits.csv --hidden 6,4 --steps 12 --out {home}/run"),
    "gan": Scene("train gan {base}/mixed.csv --hidden 8,8 --steps 30 --out {home}/run"),
    "gan, convolutional": Scene(
        "train gan {base}/pictures.npy --network dcgan --channels 2 --steps 4 --batch-size 10 "
        "--out {home}/run"
    ),
    "lapgan": Scene(
        "train lapgan {base}/pictures.npy --channels 2 --steps 4 --batch-size 10 --out {home}/run"
    ),
    "made": Scene("train made {base}/mixed.csv --hidden 8 --steps 30 --out {home}/run"),
    "nade": Scene("train nade {base}/bits.csv --hidden 8 --steps 20 --out {home}/run"),
    "mixture": Scene("train mixture {base}/mixed.csv --n-components 3 --out {home}/run"),
    "latent-tree": Scene("train latent-tree {base}/mixed.csv --n-states 3 --out {home}/run"),
    "tree": Scene("train tree {base}/mixed.csv --out {home}/run"),
    "sample.csv": Scene(
        "sample {base}/mixed-run -n 400 --seed 1 --out {home}/o.csv --overwrite", "o.csv"
    ),
    "sample.npz": Scene(
        "sample {base}/bits-run -n 400 --seed 1 --out {home}/o.npz --overwrite", "o.npz"
    ),
    "sample.png": Scene(
        "sample {base}/pictures-run -n 9 --seed 1 --out {home}/o.png --overwrite", "o.png"
    ),
    "score": Scene(
        "score {base}/mixed-run {base}/mixed.csv --out {home}/o.csv --overwrite", "o.csv"
    ),
    "fill": Scene(
        "fill {base}/mixed-run {base}/mixed.csv --seed 1 --out {home}/o.csv --overwrite", "o.csv"
    ),
    "predict": Scene(
        "predict {base}/bits-run {base}/bits.csv --out {home}/o.csv --overwrite", "o.csv"
    ),
    "synthesise": Scene(
        "synthesise {base}/mixed.csv --model tree -n 50 --seed 1 --runs {home}/runs "
        "--out {home}/o.csv --overwrite",
        "o.csv",
    ),
    "odd": Scene("odd {base}/mixed.csv --model tree --out {home}/o.csv --overwrite", "o.csv"),
    "report": Scene("report {base}/bits-run --out {home}/o.html --overwrite", "o.html"),
    "rbm, two": Scene(
        "--processes 2 train rbm {base}/bits.csv --n-components 6 --n-iter 500 --batch-size 10 "
        "--out {home}/run",
        processes=2,
    ),
    "dbm, two": Scene(
        "--processes 2 train dbm {base}/bits.csv --hidden 6,4 --steps 600 --pretrain-steps 200 "
        "--ais-betas 200 --ais-chains 4 --batch-size 10 --out {home}/run",
        processes=2,
    ),
    "made, two": Scene(
        "--processes 2 train made {base}/mixed.csv --hidden 8 --steps 600 --batch-size 10 "
        "--out {home}/run",
        processes=2,
    ),
}
BASES = {
    "mixed-run": "train tree {base}/mixed.csv --out {base}/mixed-run",
    "bits-run": "train rbm {base}/bits.csv --n-components 6 --n-iter 2 --labels --label kind "
    "--out {base}/bits-run",
    "pictures-run": "train gan {base}/pictures.npy --hidden 8 --steps 5 --out {base}/pictures-run",
}


@dataclasses.dataclass(frozen=True)
class End:
    """How a process ended: its exit code, minus the signal that killed it; what it said."""

    code: int
    said: str
    errors: str
    after: float  # seconds from the disturbance to the end


class Siege:
    """The scenes in a folder, with what each writes undisturbed."""

    def __init__(self, home: Path):
        self.home, self.base = home, home / "base"
        self.base.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        bits = pd.DataFrame(rng.integers(0, 2, (90, 6)), columns=list("abcdef"))
        bits["kind"] = np.where(bits.a + bits.b > 1, "many", "few")
        mixed = bits[["a", "b"]].assign(x=rng.normal(size=90), who=rng.choice(list("uvw"), 90))
        mixed.loc[::9, "x"] = np.nan
        bits.to_csv(self.base / "bits.csv", index=False)
        mixed.to_csv(self.base / "mixed.csv", index=False)
        np.save(self.base / "pictures.npy", rng.integers(0, 256, (40, 8, 8), np.uint8))
        for run, words in BASES.items():
            if not (self.base / run).exists():
                self._must(words, self.base)
        self.known: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}

    def _must(self, words: str, home: Path) -> None:
        end = self.play(words, home)
        assert end.code == 0, f"{words}: {end}"

    def reference(self, name: str) -> Any:
        """What the scene writes when it is left alone."""
        if name not in self.known:
            home = self.home / f"whole {name}".replace(" ", "-").replace(",", "")
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            began = time.monotonic()
            self._must(SCENES[name].words, home)
            self.seconds[name] = time.monotonic() - began
            self.known[name] = self.written(name, home)
        return self.known[name]

    def written(self, name: str, home: Path) -> Any:
        """What the scene has written: a file's bytes, or a model's, and metrics but for seconds."""
        file = SCENES[name].writes
        if file is not None:
            return (home / file).read_bytes() if (home / file).exists() else None
        rows = [json.loads(one) for one in (home / "run/metrics.jsonl").read_text().splitlines()]
        for row in rows:
            for key in ("seconds", "check"):
                row.pop(key, None)
        return (home / "run/model.safetensors").read_bytes(), rows

    def play(
        self, words: str, home: Path, disturb: Callable[[int], float] | None = None, limit: int = -1
    ) -> End:
        """Run a command in a process of its own; ``disturb(pid)`` gives when it did so."""
        filled = [word.format(home=home, base=self.base) for word in words.split()]
        pipes = [_pipe(), _pipe()]  # no files: a limit of files would cut what is said
        pid = os.fork()
        if pid == 0:
            for stream, (_, end) in enumerate(pipes, start=1):
                os.dup2(end, stream)
            sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
            self._child(filled, limit)
        for _, end in pipes:
            os.close(end)
        began = time.monotonic()
        at = disturb(pid) if disturb is not None else began
        code = _wait(pid, LONGEST)
        after = time.monotonic() - at
        return End(code, *(_read(end) for end, _ in pipes), after)

    @staticmethod
    def _child(words: list[str], limit: int) -> None:
        code = 99
        try:
            if limit >= 0:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            trainer.CHECKPOINT_SECONDS = 0.0
            code = command(words)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)

    # ---------------------------------------------------------------- one trial

    def trial(self, how: str, number: int, seed: int) -> tuple[str, str]:
        """The scene's name, and what came of it: "untouched", "whole", "former", "resumed", "new";
        or a fault in words."""
        rng = random.Random(f"{seed} {how} {number}")
        several = how == "together"
        names = [name for name, one in SCENES.items() if (one.processes > 1) == several]
        name = names[number % len(names)]
        whole, home = self.reference(name), Path(tempfile.mkdtemp(dir=self.home))
        try:
            if SCENES[name].writes is not None:
                (home / SCENES[name].writes).write_bytes(FORMER)
            return name, DISTURBANCES[how](self, name, whole, home, rng)
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def _kill(self, name: str, whole: Any, home: Path, rng: random.Random) -> str:
        words = SCENES[name].words
        for _ in range(1 if rng.random() < 2 / 3 else 2):
            end = self.play(words, home, self._after(name, signal.SIGKILL, rng))
            if end.code not in (-9, 0):
                return f"exit {end.code}: {end.errors[-500:]}"
            if SCENES[name].writes is None and (home / "run/config.json").exists():
                words = SCENES[name].resumes
        return self._ended(name, whole, home, words)

    def _signal(self, name: str, whole: Any, home: Path, rng: random.Random) -> str:
        number = rng.choice(SIGNALS)
        end = self.play(SCENES[name].words, home, self._after(name, number, rng))
        if end.code not in (0, -number, 128 + number):
            return f"{number.name}: exit {end.code}: {end.errors[-500:]}"
        if end.after > PATIENCE:
            return f"{number.name}: ended after {end.after:.1f} s"
        if "Traceback" in end.errors:
            return f"{number.name}: {end.errors[-500:]}"
        return self._left(home) or self._ended(name, whole, home, SCENES[name].words)

    def _disk(self, name: str, whole: Any, home: Path, rng: random.Random) -> str:
        file = SCENES[name].writes
        size = len(whole if file is not None else whole[0])
        end = self.play(SCENES[name].words, home, limit=int(rng.random() ** 2 * 1.2 * size))
        if end.code == 0:
            return self._ended(name, whole, home, SCENES[name].words, untouched=True)
        if end.code != 2 or len(end.errors.strip().splitlines()) != 1:
            return f"exit {end.code}: {end.errors[-500:]}"
        if str(home) not in end.errors and str(self.base) not in end.errors:
            return f"names no file: {end.errors}"
        return self._left(home) or self._ended(name, whole, home, SCENES[name].words)

    def _after(self, name: str, number: int, rng: random.Random) -> Callable[[int], float]:
        """Send a signal at a random moment of what the scene takes."""
        began = 0.5 if SCENES[name].processes > 1 else 0.0
        delay = (began + rng.random() * (1.05 - began)) * self.seconds[name]

        def disturb(pid: int) -> float:
            until = time.monotonic() + delay
            while time.monotonic() < until:
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    break
                time.sleep(0.005)
            os.kill(pid, number)
            return time.monotonic()

        return disturb

    @staticmethod
    def _left(home: Path) -> str:
        """Temporary files that a process left that was not killed."""
        left = [str(path.relative_to(home)) for path in home.rglob(".*.tmp")]
        return f"left {', '.join(left)}" if left else ""

    def _ended(self, name: str, whole: Any, home: Path, words: str, untouched: bool = False) -> str:
        file = SCENES[name].writes
        if file is not None:
            now = self.written(name, home)
            if now not in (FORMER, whole):
                return f"half: {len(now or b'')} bytes of {file}, neither the former nor the new"
            if now == FORMER and untouched:
                return "exit 0, and nothing was written"
            end = self.play(words, home)
            if end.code != 0 or self.written(name, home) != whole:
                return f"not again: exit {end.code}: {end.errors[-500:]}"
            return self._left(home) or ("new" if now == whole else "former")
        if (home / "run/config.json").exists():
            words = SCENES[name].resumes
        end = self.play(words, home)
        if end.code != 0:
            return f"not resumed: exit {end.code}: {end.errors[-500:]}"
        same = self.written(name, home) == whole
        what = "whole" if "nothing left to resume" in end.said else "resumed"
        return self._left(home) or (what if same else "another model or other metrics")


DISTURBANCES: dict[str, Any] = {
    "kill": Siege._kill,
    "signal": Siege._signal,
    "together": Siege._signal,
    "disk": Siege._disk,
}
GOOD = ("whole", "resumed", "former", "new")


def _pipe() -> tuple[int, int]:
    """The ends of a pipe that holds a megabyte."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 1 << 20)
    return ends


def _read(end: int) -> str:
    with open(end, "rb") as file:
        return file.read().decode(errors="replace")


def _wait(pid: int, longest: float) -> int:
    """Its exit code, minus the signal that ended it; killed when it hangs."""
    until = time.monotonic() + longest
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return 98
        time.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("how", choices=DISTURBANCES)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    home = Path(tempfile.mkdtemp(prefix="siege"))
    counts = collections.Counter[str]()
    try:
        siege = Siege(home)
        for number in range(options.first, options.first + options.count):
            name, what = siege.trial(options.how, number, options.seed)
            counts[what if what in GOOD else "fault"] += 1
            if what not in GOOD:
                print(f"{options.how} --first {number} --count 1 ({name}): {what}", flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
