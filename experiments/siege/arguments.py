"""Bad words for every option of every verb: each is refused in one sentence, or it is no bad word.

Verbs, options and models are read off the command line itself. In a command that is right one
option's value is replaced, or an argument, and the command is run in this process, for five
processor seconds at most. Training stops when it would begin, so that a word that is taken costs
nothing; what a verb does with it besides is done.

    python experiments/siege/arguments.py --count 3000 --seed 0
    python experiments/siege/arguments.py --only 'train rbm:17' --seed 0
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import processes
import torch
import typer

from equilibria.cli import app
from equilibria.training import trainer
from equilibria.training.trainer import Trainer

__all__ = ["BAD", "Late", "attempt", "case", "commands", "main"]

SECONDS = 5.0
MEMORY = 8 << 30
BAD = (
    *("", " ", "-1", "0", "1", "2", "1e400", "nan", "inf", "-inf", "1e-400", "-0.0", "1.5", "1e3"),
    *("1000000000", "1000000000000", "9" * 40, "0x10", "1_000", "٣", "None", "none", "true"),
    *(",", ",,", "1,,2", "1,2,3,4,5,6,7", "()", "[1,2", "a=b", "=", "a=", "=b", "a=b=c", "../.."),
    *("/dev/null", "/", "~", "é", "\u202e", "-", "--", "*", "$(x)", "%s", "{0}", "'", '"', "a;b"),
    *("new\nline", "\x1b[31m", "x" * 10_000, "missing.csv", "/dev/zero", "real", "image", "\udc80"),
)
GOOD = ("refused", "taken", "help")


class Late(BaseException):
    """The time is over."""


class BegunError(Exception):
    """Training would begin: nothing was wrong with the words."""


def commands() -> dict[str, list[str]]:
    """Every command that is right, by its verb (and model): words with {home} and {base}."""
    data = {"pictures": "pictures.npy", "labels": "bits.csv"}
    found = {
        f"train {model}": ["train", model, f"{{base}}/{data['labels']}", "--out", "{home}/run"]
        for model in app.known()["models"]
    }
    found["train flow"][2] = "{base}/real.csv"
    for model in ("lapgan",):
        found[f"train {model}"][2] = f"{{base}}/{data['pictures']}"
    for scene in (one for one in processes.SCENES.values() if one.processes == 1):
        words = scene.words.split()
        if words[0] != "train":
            found.setdefault(words[0], words)
    found["resume"] = ["resume", "{base}/bits-run"]
    found["evaluate"] = ["evaluate", "{base}/bits.csv", "--samples", "{base}/bits.csv"]
    found["compare"] = ["compare", "{base}/bits.csv", "--models", "tree", "--out", "{home}/all"]
    found["demo"] = ["demo", "--out", "{home}/demo"]
    return found | {"models": ["models"], "data": ["data"]}


def _options(name: str) -> Iterator[Any]:
    group: Any = typer.main.get_command(app.app)
    for word in name.split():
        group = group.commands[word]
    yield from (one for one in group.params if one.name not in ("help", "version"))


def case(name: str, words: list[str], number: int, seed: int) -> list[str]:
    """The words of one trial: a bad value for one option or argument, now and then for two."""
    rng, found = random.Random(f"{seed} {name} {number}"), list(words)
    known = list(_options(name))
    for _ in range(rng.choice((1, 1, 1, 2))):
        bad = rng.choice(BAD)
        if not known or rng.random() < 0.05:
            place = rng.randrange(len(name.split()), len(found) + 1)
            found[place:place] = [rng.choice((bad, f"--{bad}"))]
            continue
        one = rng.choice(known)
        if one.param_type_name == "argument":
            place = len(name.split())
            found[place : place + 1] = [bad]
        elif one.is_flag:
            found.append(one.opts[0] if rng.random() < 0.8 else f"{one.opts[0]}={bad}")
        elif one.opts[0] in found:
            found[found.index(one.opts[0]) + 1] = bad
        else:
            found += [f"{one.opts[0]}={bad}"] if rng.random() < 0.5 else [one.opts[0], bad]
    return found


def _late(*_: Any) -> None:
    raise Late


def attempt(words: list[str]) -> str:
    """``"refused"``, ``"taken"``, ``"help"``, or what else happened."""
    said, errors = io.StringIO(), io.StringIO()
    kept = Trainer.fit

    def begun(*_: Any, **__: Any) -> int:
        raise BegunError

    before = signal.signal(signal.SIGPROF, _late)
    streams = contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors)
    with streams[0], streams[1], warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            Trainer.fit = begun  # type: ignore[method-assign]
            trainer.TRIAL_SECONDS = 0.1  # of a budget in minutes
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            code = app.main(words)
        except BegunError:
            return "taken"
        except Late as error:  # a billion rows that the disk holds are work, and no fault
            where = traceback.extract_tb(error.__traceback__)
            return "taken" if any(Path(one.filename).stem == "durable" for one in where) else "late"
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)
            own = [one for one in where if "/src/equilibria" in one.filename][-1:] or where[-1:]
            place = f"{Path(own[0].filename).name}:{own[0].lineno}"
            return f"{type(error).__name__}: {str(error)[:150]!r} ({place})"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)
            Trainer.fit = kept  # type: ignore[method-assign]
    sentence = errors.getvalue().rstrip("\n")
    if code == 0:
        return "help" if "--help" in words else "taken"
    if code != 2:
        return f"exit {code}: {sentence[:200]!r}"
    one = sentence.startswith("equilibria: ") and "\n" not in sentence
    return "refused" if one and len(sentence) < 2500 else f"unclear: {sentence[:300]!r}"


def run(
    name: str, words: list[str], numbers: range, seed: int, siege: processes.Siege
) -> Iterator[tuple[int, list[str], str]]:
    """Number, words and outcome of each trial."""
    for number in numbers:
        given, home = case(name, words, number, seed), Path(tempfile.mkdtemp(dir=siege.home))
        places: Mapping[str, Path] = {"home": home, "base": siege.base}
        filled = [
            word.format(**places) if word in words and word not in BAD else word for word in given
        ]
        here = Path.cwd()
        try:
            os.chdir(home)
            yield number, given, attempt(filled)
        finally:
            os.chdir(here)
            shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000, help="trials, of all verbs together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one verb, such as 'train rbm'; or one trial of it: ':17'")
    options = parser.parse_args()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    wanted, _, one = (options.only or "").partition(":")
    home, counts = Path(tempfile.mkdtemp(prefix="siege")), collections.Counter[str]()
    try:
        siege = processes.Siege(home)
        app.register(app.training)
        names = {name: words for name, words in commands().items() if wanted in ("", name)}
        each = -(-options.count // len(names))
        numbers = range(int(one), int(one) + 1) if one else range(each)
        for name, words in names.items():
            for number, given, outcome in run(name, words, numbers, options.seed, siege):
                counts[outcome if outcome in GOOD else "fault"] += 1
                if outcome not in GOOD:
                    shown = " ".join(repr(word)[:60] for word in given)
                    print(f"--only '{name}:{number}' {shown}: {outcome}", flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
