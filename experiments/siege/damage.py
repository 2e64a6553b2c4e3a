"""Damage run folders as disks, copies and hands do, and look at what is then made of them.

Each trial copies the folder of a run that has ended, or was stopped, and spoils one of its files:
bits, cuts, holes, files and folders of another run, JSON of other numbers and types or nested
10,000 deep, links, pipes and folders in place of files. Then the copy is loaded, its training gone
on with, its evaluation read. Good is a sentence (``RunError``), or the very model, history and
numbers of the run that was left alone; told is that with a warning. Bad is any other exception, a
model that is another, five seconds without an answer, or a file outside the folder that changed.

    python experiments/siege/damage.py --count 1000 --seed 0
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd

import equilibria
from equilibria import durable
from equilibria.data import bars_and_stripes, load, write_csv
from equilibria.errors import RunError, TrainingInterrupted
from equilibria.numbers import Measure
from equilibria.report.view import read, read_verdict
from equilibria.training import trainer
from equilibria.training.origin import run_data
from equilibria.training.run import Run

__all__ = ["BAD", "Trial", "damaged", "main", "outcome", "state", "trained"]

SECONDS = 5
BAD = ("SILENT", "TRACEBACK", "HANG", "OUTSIDE")
PRECIOUS = b"a file outside the run folder"
STOP = 15  # updates, of 20
VALUES = (None, True, -1, 0, 10**30, "x", "", [], {}, [[]], {"a": 1}, 0.5, "1e400", "NaN", "-1e400")


# ------------------------------------------------------------------ runs


def estimator(kind: str, seed: int, out: Path | None) -> Any:
    """A small estimator of each kind that is besieged; the second has a run within its run."""
    how: dict[str, Any] = {"random_state": seed, "out": None if out is None else str(out)}
    if kind == "rbm":
        return equilibria.RBM(n_components=3, n_iter=5, batch_size=3, **how)
    machine = equilibria.RBM(n_components=3, n_iter=2, batch_size=3, random_state=seed)
    return equilibria.FineTunedClassifier(machine, steps=20, batch_size=3, **how)


def rows(folder: Path) -> Any:
    """Twelve rows with a label, in a file beside the runs."""
    file = folder / "rows.csv"
    if not file.exists():
        X = np.concatenate([bars_and_stripes(2)] * 2)
        write_csv(file, pd.DataFrame(X, columns=["a", "b", "c", "d"]).assign(y=X[:, 0]))
    return load(file, label="y")


def trained(kind: str, seed: int, out: Path, stopped: bool = False) -> Path:
    """The folder of a run on the rows beside it that has ended, or was stopped at update 15."""
    data, save = rows(out.parent), Run.save_checkpoint

    def stopping(run: Run, content: Any, step: int) -> None:
        if stopped and step == STOP:
            signal.raise_signal(signal.SIGINT)
        save(run, content, step)

    with (
        mock.patch.object(trainer, "CHECKPOINT_SECONDS", 0.0),
        mock.patch.object(Run, "save_checkpoint", stopping),
        contextlib.suppress(TrainingInterrupted),
    ):
        estimator(kind, seed, out).fit(data)
    if not stopped:
        Run.open(out).write_result("evaluation.json", [Measure("log p", -1.5).to_json()])
    return out


# ------------------------------------------------------------------ harm


class Trial(NamedTuple):
    """A damaged copy of a run folder: what was done to it, to which file."""

    harm: str
    file: str
    folder: Path


def damaged(
    folder: Path, chance: random.Random, other: Path, harms: tuple[str, ...] = ()
) -> Iterator[Trial]:
    """Copies of a run folder, each damaged in one way, without end; each is deleted before the next
    is made. ``other`` is a run like it, whose files come into its own; ``harms`` are those of
    ``HARMS`` to choose from, by default all."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    aim = folder.with_name(f"{folder.name}-damaged")
    while True:
        shutil.copytree(folder, aim, symlinks=True)
        harm, file = chance.choice(harms or tuple(HARMS)), chance.choice(files)
        if HARMS[harm](aim / file, chance, other / file):
            yield Trial(harm, str(file), aim)
        shutil.rmtree(aim)


def _bytes(change: Callable[[bytearray, random.Random], bytes]) -> Any:
    """Harm to the bytes of a file."""

    def harm(path: Path, chance: random.Random, other: Path) -> bool:
        if not path.is_file() or not path.stat().st_size:
            return False
        before = path.read_bytes()
        after = bytes(change(bytearray(before), chance))
        path.write_bytes(after)
        return after != before

    return harm


def _flipped(data: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 3))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _hole(data: bytearray, chance: random.Random) -> bytes:
    first = chance.randrange(len(data))
    size = min(chance.choice((1, 16, 512)), len(data) - first)
    return bytes(data[:first] + bytes(size) + data[first + size :])


def _digit(data: bytearray, chance: random.Random) -> bytes:
    """Another number, such as a hand writes: of the same form."""
    places = [i for i, byte in enumerate(data) if byte in b"0123456789"]
    if places:
        place = chance.choice(places)
        data[place] = ord(str((int(chr(data[place])) + chance.randrange(1, 10)) % 10))
    return bytes(data)


def _line(data: bytearray, chance: random.Random) -> bytes:
    """A line that is gone, or there twice."""
    lines = bytes(data).splitlines(keepends=True)
    place = chance.randrange(len(lines))
    return b"".join(
        lines[:place] + lines[place : place + 1] * chance.choice((0, 2)) + lines[place + 1 :]
    )


def _json(sealed: bool) -> Any:
    """Harm to an entry of a JSON file: another type, or gone; with the digest that goes with it."""

    def harm(path: Path, chance: random.Random, other: Path) -> bool:
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return False
        if not isinstance(content, dict):  # a lock
            return False
        if sealed and path.name == "config.json" and not path.with_name("model.json").exists():
            return False  # a training goes on as a configuration with a right digest says
        places = list(_places(content))
        if not places or (sealed and content.pop("digest", None) is None):
            return False
        owner, key = chance.choice([p for p in places if p[1] != "digest"])
        if chance.random() < 0.2:
            del owner[key]
        else:
            owner[key] = chance.choice(VALUES)
        text = durable.seal(content).decode() if sealed else json.dumps(content, indent=1)
        for number in ("1e400", "-1e400", "NaN"):
            text = text.replace(f'"{number}"', number)
        path.write_text(text)
        return True

    return harm


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every (owner, key) of a JSON tree."""
    entries = list(content.items() if isinstance(content, dict) else enumerate(content))
    for key, value in entries:
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _nested(path: Path, chance: random.Random, other: Path) -> bool:
    """A JSON file nested deep, whole or in one entry."""
    if path.suffix not in (".json", ".jsonl"):
        return False
    depth = chance.choice((100, 900, 10_000, 100_000))
    deep = chance.choice(
        ("[" * depth + "]" * depth, '{"a":' * depth + "0" + "}" * depth, "[" * depth)
    )
    before = path.read_text().strip()
    path.write_text(chance.choice((deep, f'{before[:-1]}, "more": {deep}}}\n')))
    return True


def _swapped(path: Path, chance: random.Random, other: Path) -> bool:
    """A file or folder of the other run in its place; of checkpoints the newest."""
    found = other if other.exists() else next(iter(sorted(other.parent.glob("*"))), other)
    if not found.exists() or found.is_dir() != path.is_dir():
        return False
    _away(path)
    shutil.copytree(found, path) if found.is_dir() else shutil.copy(found, path)
    return True


def _model(path: Path, chance: random.Random, other: Path) -> bool:
    """A model with its record, of the other run."""
    if path.name != "model.json" or not other.exists():
        return False
    for name in ("model.json", "model.safetensors"):
        shutil.copy(other.with_name(name), path.with_name(name))
    return True


def _exchanged(path: Path, chance: random.Random, other: Path) -> bool:
    """Two neighbours under each other's name."""
    beside = [p for p in sorted(path.parent.iterdir()) if p != path]
    if not beside:
        return False
    neighbour, aside = chance.choice(beside), path.with_name("aside")
    path.rename(aside)
    neighbour.rename(path)
    aside.rename(neighbour)
    return True


def _gone(path: Path, chance: random.Random, other: Path) -> bool:
    _away(path)
    return True


def _no_file(path: Path, chance: random.Random, other: Path) -> bool:
    """A pipe, an endless device, a link outside, to itself or to nothing, or a folder."""
    _away(path)
    kind, precious = (
        chance.choice(("pipe", "device", "link", "loop", "nothing", "folder")),
        outside(path),
    )
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        aims = {"device": "/dev/zero", "link": precious, "loop": path, "nothing": path / "nothing"}
        path.symlink_to(aims[kind])
    return True


def _linked(path: Path, chance: random.Random, other: Path) -> bool:
    """The file or folder itself, elsewhere, and a link to it in its place."""
    elsewhere = outside(path).with_name("elsewhere")
    _away(elsewhere)
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    return True


def _large(path: Path, chance: random.Random, other: Path) -> bool:
    """A file of a terabyte, without a byte on the disk."""
    if not path.is_file():
        return False
    os.truncate(path, 2**40)
    return True


def _away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def outside(path: Path) -> Path:
    """The file that nothing in a run folder may change; it lies beside the runs."""
    top = next(folder for folder in path.parents if (folder / "rows.csv").exists())
    return top / "precious"


HARMS: dict[str, Callable[[Path, random.Random, Path], bool]] = {
    "flipped": _bytes(_flipped),
    "cut": _bytes(lambda data, chance: data[: chance.randrange(len(data))]),
    "grown": _bytes(lambda data, chance: data + chance.randbytes(chance.choice((1, 9, 999)))),
    "empty": _bytes(lambda data, chance: b""),
    "hole": _bytes(_hole),
    "noise": _bytes(lambda data, chance: chance.randbytes(len(data))),
    "digit": _bytes(_digit),
    "line": _bytes(_line),
    "types": _json(sealed=False),
    "forged": _json(sealed=True),
    "nested": _nested,
    "swapped": _swapped,
    "model": _model,
    "exchanged": _exchanged,
    "gone": _gone,
    "no file": _no_file,
    "linked": _linked,
    "large": _large,
}
"""How a file is damaged; False where a file cannot be so. What is forged has a right digest: it may
be taken for another run, but must not end in a traceback."""


# ------------------------------------------------------------------ what came of it


def state(folder: Path, X: Any) -> tuple[str, list[str]]:
    """All that a run folder gives, as a digest, and what was told beside it."""
    run, told = Run.open(folder), list[str]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ended = run.ended()
        model = equilibria.load(folder) if ended else equilibria.resume(folder, X)
        judged = (ended and "data" in run.config) or os.path.lexists(folder / "evaluation.json")
        measures = [m.to_json() for m in read(run)] if judged else []
        verdict = read_verdict(run)
    told = [str(one.message) for one in caught]
    told += [said for said in model.health_ if str(folder) in said]
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in model.history_]
    history += [said for said in model.health_ if str(folder) not in said]
    tensors, tree = durable.pack(dict(model.model_.state_dict()))
    plain = [
        sorted((k, repr(v)) for k, v in model.get_params(deep=False).items() if k != "machine"),
        [model.table_.to_json(), model.n_steps_, model.seed_, tree, measures, verdict],
        run.config.get("data") and run_data(run).train.digest(),
    ]
    text = repr((plain, [(k, x.numpy().tobytes()) for k, x in tensors.items()]))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{digest} {hashlib.sha256(repr(history).encode()).hexdigest()}", told


class Hang(BaseException):
    """No answer came in time."""


def _late(*_: Any) -> None:
    raise Hang


def outcome(trial: Trial, expected: str | None, X: Any) -> str:
    """``refused``, ``same`` or ``told``; or one of ``BAD``, and what it was.

    ``expected`` is what :func:`state` gives of the run that was left alone; None of one that has no
    seal by which a change could be found.
    """
    precious = outside(trial.folder)
    precious.write_bytes(PRECIOUS)
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(SECONDS)
    try:
        found, told = state(trial.folder, X)
        if any("no history" in one for one in told):
            found, expected = found.split()[0], expected and expected.split()[0]
        said = "told" if told else "same"
        said = said if expected in (None, found) or trial.harm == "forged" else "SILENT"
    except ValueError as error:
        sentence = isinstance(error, RunError) and "\n" not in str(error)
        said = "refused" if sentence or trial.harm == "forged" else f"TRACEBACK {error!r}"
    except Hang:
        said = "HANG"
    except Exception:
        said = f"TRACEBACK {traceback.format_exc()}"
    finally:
        signal.alarm(0)
    return said if precious.read_bytes() == PRECIOUS else "OUTSIDE"


def besiege(folder: Path, kind: str, stopped: bool, count: int, seed: int) -> dict[str, Any]:
    """Outcomes of so many damaged copies of one run, by harm."""
    top = folder / f"{kind}-{'stopped' if stopped else 'ended'}"
    top.mkdir(parents=True)
    runs = [trained(kind, number, top / str(number), stopped) for number in (0, 1)]
    X, whole = rows(top), top / "whole"
    shutil.copytree(runs[0], whole)
    expected, _ = state(whole, X)
    chance, found = (
        random.Random(f"{seed} {kind} {stopped}"),
        collections.defaultdict(collections.Counter),
    )
    for _, trial in zip(range(count), damaged(runs[0], chance, runs[1]), strict=False):
        said = outcome(trial, expected, X)
        found[trial.harm][said.split()[0]] += 1
        if said.startswith(BAD):
            print(f"{top.name}: {trial.harm} {trial.file}: {said}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="damaged folders in all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    found: dict[str, Any] = collections.defaultdict(collections.Counter)
    cases = [(kind, stopped) for kind in ("rbm", "fine-tuned") for stopped in (False, True)]
    unsynced = mock.patch.object(os, "fsync", return_value=None)  # no power cut is to be survived
    with tempfile.TemporaryDirectory() as name, unsynced:
        for number, (kind, stopped) in enumerate(cases):
            share = len(range(number, arguments.count, len(cases)))
            for harm, counts in besiege(Path(name), kind, stopped, share, arguments.seed).items():
                found[harm] += counts
    words = ("refused", "same", "told", *BAD)
    print(f"{'harm':12}" + "".join(f"{word:>10}" for word in words))
    for harm, counts in [
        *sorted(found.items()),
        ("all", sum(found.values(), collections.Counter())),
    ]:
        print(f"{harm:12}" + "".join(f"{counts[word]:10}" for word in words))
    total = sum(found.values(), collections.Counter())
    print(json.dumps(total))
    return int(any(total[word] for word in BAD))


if __name__ == "__main__":
    sys.exit(main())
