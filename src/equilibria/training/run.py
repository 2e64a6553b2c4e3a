"""The run folder: the only contract between training and what reads it.

======================  =========================================================================
``config.json``         what was trained and how, with the folder's format and version
``metrics.jsonl``       one JSON object a line, each with the global ``step`` it was measured at
``checkpoints/``        the last two states to go on from, each a folder ``step-000000123``
``samples/``            pictures drawn during training
``model.safetensors``   the trained tensors; ``model.json`` has their SHA-256 and metadata
``lock``                held by the process that trains
======================  =========================================================================
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import operator
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from equilibria import __version__
from equilibria.errors import RunError
from equilibria.training import durable

__all__ = ["FORMAT", "Checkpoint", "Run"]

FORMAT = 2  # of a new folder; format 1 is that of version 0.1.0
KEEP = 2  # checkpoints
_CONFIG, _METRICS, _LOCK = "config.json", "metrics.jsonl", "lock"
_MODEL, _RECORD = "model.safetensors", "model.json"
_STEP = re.compile(r"step-(\d{9,})")
_ASIDE = re.compile(r"\.(config\.json|metrics\.jsonl|model\.safetensors|model\.json)\.\d+\.tmp")
_LEFT = (".step-*.tmp", ".step-*.old")  # by a save or a deletion that was cut short
_FOLDERS = ("checkpoints", "samples")
_OWN: tuple[str, ...] = (_METRICS, _MODEL, _RECORD, "evaluation.json", "report.html")
_OWN += ("checkpoints/step-*[0-9]", *(f"checkpoints/{name}" for name in _LEFT))
_OWN += (f"samples/*-{'[0-9]' * 9}.png",)


class Checkpoint(NamedTuple):
    """A verified checkpoint: ``skipped`` says of each newer one what is damaged."""

    step: int
    state: Any
    skipped: list[str]


class Run:
    """A run folder: its ``path`` and its ``config``. :meth:`create` or :meth:`open` give one.

    >>> import tempfile
    >>> run = Run.create(Path(tempfile.mkdtemp()) / "first", {"model": "rbm"})
    >>> run.log({"step": 10, "cost": 0.5})
    >>> Run.open(run.path).metrics()
    [{'step': 10, 'cost': 0.5}]
    """

    def __init__(self, path: Path | str, config: dict[str, Any]):
        self.path, self.config = Path(path), config

    # ---------------------------------------------------------------- create and open

    @classmethod
    def create(cls, path: Path | str, config: Mapping[str, Any], overwrite: bool = False) -> Run:
        """Make a run folder, with its parents.

        ``path`` is a folder that does not exist or is empty. With ``overwrite`` it may hold a run
        that no process is training: that run's files are deleted, and a warning names any others,
        which stay. ``format`` and ``equilibria``, the version, are added to ``config``.
        """
        run, where = cls(path, {}), f"out={str(path)!r}"
        run.config = _plain({**config, "format": FORMAT, "equilibria": __version__})
        try:
            if cls.refuse_taken(path, overwrite):
                run.clear(where)
            run.path.mkdir(parents=True, exist_ok=True)
            durable.replace(run.path / _CONFIG, _lines(run.config))
        except OSError as error:
            what = f"{where} cannot be written ({error})"
            raise RunError(f"{what}: choose a folder that you may write to") from error
        return run

    @classmethod
    def refuse_taken(cls, path: Path | str, overwrite: bool = False) -> bool:
        """Refuse what :meth:`create` would; returns whether an earlier run would be deleted."""
        path, where = Path(path), f"out={str(path)!r}"
        if not path.exists():
            above = next(folder for folder in path.absolute().parents if folder.exists())
            if not above.is_dir():
                what = f"{where} cannot be written ({above} is a file)"
                raise RunError(f"{what}: choose a folder that you may write to")
            return False
        if not path.is_dir():
            raise RunError(f"{where} is a file: name a folder")
        if all(_ASIDE.fullmatch(entry.name) for entry in path.iterdir()):
            return False
        try:
            cls.open(path)
        except RunError as error:
            what = f"{where} holds files that are no run of this version, and was left untouched"
            raise RunError(f"{what}: choose a new or an empty folder") from error
        if not overwrite:
            how = f"go on with it (equilibria resume {path}), or overwrite it"
            raise RunError(f"{where} holds a run: choose another folder, {how}")
        return True

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Open a run folder of this version or an earlier one; a RunError says why it is none."""
        path, where = Path(path), f"run={str(path)!r}"
        file = path / _CONFIG
        if not file.is_file():
            what = f"is not a run (it has no {_CONFIG})" if path.exists() else "does not exist"
            raise RunError(f"{where} {what}: name the folder that training wrote")
        try:
            config = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            what = f"{file} is damaged, or cannot be read ({error})"
            raise RunError(f"{what}; restore it from a copy") from error
        version = config.get("equilibria") if isinstance(config, dict) else None
        ours = isinstance(version, str) and (version == "unknown" or version[:1].isdigit())
        if not ours or type(config.get("format")) is not int:  # other programs have such a file too
            raise RunError(f"{where} is not a run: its {_CONFIG} is not one that equilibria wrote")
        if config["format"] > FORMAT:
            what = f"has format {config['format']}, written by equilibria {version}"
            raise RunError(f"{where} {what}; this version reads up to {FORMAT}: use a newer one")
        return cls(path, config)

    def update_config(self, **changes: Any) -> None:
        """Set entries of the configuration, in memory and on disk."""
        self.config = _plain({**self.config, **changes})
        with _writing(self.path / _CONFIG):
            durable.replace(self.path / _CONFIG, _lines(self.config))

    def clear(self, where: str) -> None:
        """Delete what a run writes, but the lock, which is held, and the configuration, by which
        the folder is still a run if we die here; name the rest."""
        own, folders = list(_OWN), list(_FOLDERS)
        for part in Run.open(self.path).config.get("beside", ()):  # runs within the run
            with contextlib.suppress(RunError):
                Run.open(self.path / part)  # a folder of that name that is no run stays
                own += [f"{part}/{name}" for name in (*_OWN, _CONFIG, _LOCK)]
                folders += [*(f"{part}/{name}" for name in _FOLDERS), part]
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self.lock())
            except RunError as error:
                raise RunError(f"{where} cannot be overwritten: {error}") from error
            for path in [path for pattern in own for path in self.path.glob(pattern)]:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            for name in folders:
                with contextlib.suppress(OSError):  # it is not there, or holds files of others
                    (self.path / name).rmdir()
            left = sorted({path.name for path in self.path.iterdir()} - {_CONFIG, _LOCK})
        if left:
            what = f"{where}: {', '.join(left)} belong to no run and were left as they are"
            warnings.warn(what, stacklevel=3)

    # ---------------------------------------------------------------- metrics and pictures

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row, which has the global ``step`` it was measured at, to the metrics.

        Infinities and NaN are written as ``Infinity`` and ``NaN``, which Python's JSON reads.
        """
        line = json.dumps(row) + "\n"
        with _writing(self.path / _METRICS), open(self.path / _METRICS, "a") as file:
            file.write(line)

    def metrics(self) -> list[dict[str, Any]]:
        """The logged rows, oldest first; a last line that a crash cut short is no row."""
        path, rows = self.path / _METRICS, list[dict[str, Any]]()
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                rows.append({**row, "step": operator.index(row["step"])})
            except (ValueError, TypeError, KeyError) as error:
                what = f"{path} is damaged: line {number} is not a row of metrics"
                raise RunError(f"{what}; delete that line") from error
        return rows

    def truncate_metrics(self, step: int) -> None:
        """Forget the rows after ``step``, in one go: what a run does that goes on from there."""
        rows = [row for row in self.metrics() if row["step"] <= step]
        with _writing(self.path / _METRICS):
            kept = "".join(json.dumps(row) + "\n" for row in rows)
            durable.replace(self.path / _METRICS, kept.encode())

    def sample_path(self, step: int, name: str) -> Path:
        """``samples/NAME-<step>.png``; the folder is made."""
        folder = self.path / "samples"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}-{step:09d}.png"

    # ---------------------------------------------------------------- checkpoints

    def save_checkpoint(self, state: Any, step: int) -> None:
        """Save what :func:`durable.pack` takes, after the disk has the rows logged so far.

        The last two checkpoints are kept. Those of later steps belong to a future that was given up
        by going on from an earlier one, and are deleted.
        """
        with contextlib.suppress(FileNotFoundError), open(self.path / _METRICS, "rb") as file:
            os.fsync(file.fileno())
        folder = self.path / "checkpoints"
        with _writing(folder, "earlier checkpoints are intact; "):
            durable.save(folder / f"step-{step:09d}", state, step)
        saved = self._checkpoints()
        whole = [s for s in sorted(saved) if s <= step and durable.complete(saved[s])]
        for s in saved.keys() - whole[-KEEP:]:  # a deletion cut short must not look like damage
            with contextlib.suppress(OSError):
                os.rename(saved[s], folder / f".step-{s:09d}.{os.getpid()}.tmp")
        for left in [path for name in _LEFT for path in folder.glob(name)]:
            shutil.rmtree(left, ignore_errors=True)

    def load_checkpoint(self) -> Checkpoint:
        """The newest checkpoint that is whole; ``skipped`` says what is wrong with newer ones."""
        folder, skipped = self.path / "checkpoints", list[str]()
        for _, path in sorted(self._checkpoints().items(), reverse=True):
            try:
                state, step = durable.load(path)
                return Checkpoint(step, state, skipped)
            except RunError as error:
                skipped.append(str(error))
        if not skipped:
            what = f"{folder} holds no checkpoint: the run stopped before its first one"
            raise RunError(f"{what}, so train again from the start")
        what = f"{folder} holds no usable checkpoint: {'; '.join(skipped)}"
        raise RunError(f"{what}. Restore it from a copy, or train again from the start")

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending; they are not verified."""
        return sorted(self._checkpoints())

    def _checkpoints(self) -> dict[int, Path]:
        found = [(_STEP.fullmatch(p.name), p) for p in (self.path / "checkpoints").glob("step-*")]
        return {int(match[1]): path for match, path in found if match}

    # ---------------------------------------------------------------- the model

    def save_model(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Write the trained tensors and their ``metadata`` (what JSON can hold).

        Killed half-way, it leaves the earlier model, with the earlier metadata, or the new one.
        """
        data = durable.encode(tensors)
        record = {**durable.fingerprint(data), "metadata": _plain(metadata)}
        former: dict[str, Any] | None = None
        with contextlib.suppress(RunError):
            former, _ = self._read_model()
        with _writing(self.path):
            # Two files cannot be swapped at once: while the tensors change, the record knows both.
            durable.replace(self.path / _RECORD, durable.seal({**record, "former": former}))
            durable.replace(self.path / _MODEL, data)
            durable.replace(self.path / _RECORD, durable.seal(record))

    def load_model(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors, on the CPU, and the metadata, every byte verified."""
        record, data = self._read_model()
        return durable.decode(data, str(self.path / _MODEL)), record["metadata"]

    def _read_model(self) -> tuple[dict[str, Any], bytes]:
        path = self.path / _MODEL
        if not path.exists():
            what = f"{path} is missing: the training was not finished, or the file was deleted"
            raise RunError(f"{what}; resume the run")
        record = durable.read_sealed(self.path / _RECORD)
        former = record.pop("former", None)
        try:
            return record, durable.read_checked(path, record)
        except RunError:
            if not former:
                raise
            return former, durable.read_checked(path, former)

    # ---------------------------------------------------------------- one writer at a time

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run while writing to it, so that two processes never train it at once.

        The operating system frees the lock when the process ends, however it ends.
        """
        with contextlib.ExitStack() as stack:
            with _writing(self.path / _LOCK):
                file = stack.enter_context(open(self.path / _LOCK, "a+b"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read().decode(errors="replace").strip() or "unknown"
                what = f"run={str(self.path)!r} is being trained by process {holder}"
                raise RunError(f"{what}: wait for it, or stop it") from error
            file.truncate(0)
            file.write(b"%d\n" % os.getpid())
            file.flush()
            for path in self.path.iterdir():  # what a killed writer left
                if _ASIDE.fullmatch(path.name):
                    path.unlink(missing_ok=True)
            yield


@contextlib.contextmanager
def _writing(path: Path, meanwhile: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = f"{meanwhile}free some space, or see that you may write there"
        raise RunError(f"{path} could not be written ({error}): {advice}") from error


def _lines(config: dict[str, Any]) -> bytes:
    return (json.dumps(config, indent=1) + "\n").encode()


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader of the JSON will have: string keys, lists."""
    return dict(json.loads(json.dumps(dict(value))))
