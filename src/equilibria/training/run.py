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
import importlib.metadata
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from equilibria.errors import RunError
from equilibria.training import durable

__all__ = ["FORMAT", "RENAMED", "Checkpoint", "Run", "migrate"]

FORMAT = 2
KEEP = 2  # checkpoints
_CONFIG, _METRICS, _LOCK = "config.json", "metrics.jsonl", "lock"
_MODEL, _RECORD = "model.safetensors", "model.json"
_SAMPLE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_STEP = re.compile(r"\.?step-(\d{9,})(?:\.\d+\.(tmp|old))?")
_ASIDE = re.compile(r"\.(config\.json|metrics\.jsonl|model\.safetensors|model\.json)\.\d+\.tmp")
_OWN: tuple[str, ...] = (
    *("metrics.jsonl", "model.safetensors", "model.json", "evaluation.json", "report.html"),
    *("checkpoints/*step-*", f"samples/*-{'[0-9]' * 9}.png"),
)
_MACHINE = "machine"  # a run within a run: the model that a fine-tuned one began from

RENAMED: dict[str, dict[str, str]] = {}
"""Parameters whose names changed from format 1 to 2: model → former name → present name."""


def migrate(
    config: Mapping[str, Any], renamed: Mapping[str, Mapping[str, str]] = RENAMED
) -> dict[str, Any]:
    """The configuration in the present format, from one of any earlier format.

    >>> old = {"format": 1, "model": "rbm", "params": {"rungs": 8, "k": 1}}
    >>> migrate(old, {"rbm": {"rungs": "replicas"}})
    {'format': 2, 'model': 'rbm', 'params': {'replicas': 8, 'k': 1}}
    """
    config = dict(config)
    if config["format"] < 2 and "params" in config:
        names = renamed.get(str(config.get("model")), {})
        config["params"] = {names.get(k, k): value for k, value in config["params"].items()}
    return {**config, "format": FORMAT}


class Checkpoint(NamedTuple):
    """A verified checkpoint: ``skipped`` says of each newer one what is damaged."""

    step: int
    state: Any
    path: Path
    skipped: list[str]


class Run:
    """A run folder; made by :meth:`create` or :meth:`open`.

    Configuration and metrics are read from the disk once; this object then keeps them.

    Examples
    --------
    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = Run.create(folder + "/digits", {"model": "rbm"})
    ...     with run.lock():
    ...         run.log({"step": 10, "cost": 0.5})
    ...         _ = run.save_checkpoint({"weight": torch.zeros(2)}, step=10)
    ...     again = Run.open(folder + "/digits")
    ...     again.config["model"], again.metrics(), again.load_checkpoint().step
    ('rbm', [{'step': 10, 'cost': 0.5}], 10)
    """

    def __init__(self, path: Path | str, config: dict[str, Any]):
        self.path = Path(path)
        self.config = config
        self._rows: list[dict[str, Any]] | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    # ---------------------------------------------------------------- create and open

    @classmethod
    def create(cls, path: Path | str, config: Mapping[str, Any], overwrite: bool = False) -> Run:
        """Make a run folder, with its parents.

        ``path`` is a folder that does not exist or is empty. With ``overwrite`` it may hold a run
        that no process is training: that run's files are deleted, and a warning names any others,
        which stay. ``format`` and ``equilibria``, the version, are added to ``config``.
        """
        marks = {"format": FORMAT, "equilibria": _version()}
        run = cls(path, json.loads(durable.to_json({**config, **marks}, "config")))
        where = f"out={str(path)!r}"
        try:
            if cls.refuse_taken(path, overwrite):
                run._empty(where)
            run.path.mkdir(parents=True, exist_ok=True)
            run._write_config()
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
        if not path.exists():
            raise RunError(f"{where} does not exist: name the folder of a run")
        file = path / _CONFIG
        if not file.is_file():
            what = f"{where} is not a run (it has no {_CONFIG})"
            raise RunError(f"{what}: name the folder that training wrote")
        try:
            config = json.loads(file.read_bytes())
        except OSError as error:
            what = f"{where} cannot be read ({error})"
            raise RunError(f"{what}: choose a folder that you may read") from error
        except ValueError as error:
            what = f"{file} is damaged: it is not JSON ({error})"
            raise RunError(f"{what}; restore it from a copy") from error
        version = config.get("equilibria") if isinstance(config, dict) else None
        ours = isinstance(version, str) and (version == "unknown" or version[:1].isdigit())
        if not ours or type(config.get("format")) is not int:  # other programs have such a file too
            raise RunError(f"{where} is not a run: its {_CONFIG} is not one that equilibria wrote")
        if config["format"] > FORMAT:
            what = f"has format {config['format']}, written by equilibria {config['equilibria']}"
            raise RunError(f"{where} {what}; this version reads up to {FORMAT}: use a newer one")
        return cls(path, migrate(config))

    def update_config(self, **changes: Any) -> None:
        """Set entries of the configuration, in memory and on disk."""
        self.config = json.loads(durable.to_json({**self.config, **changes}, "config"))
        with _writing(self.path / _CONFIG):
            self._write_config()

    # ---------------------------------------------------------------- metrics

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row, which has the global ``step`` it was measured at, to the metrics.

        Infinities and NaN are written as ``Infinity`` and ``NaN``, which Python's JSON reads.
        """
        if type(row.get("step")) is not int:
            raise ValueError(f"row={dict(row)!r}: expected a whole number under 'step'")
        line = durable.to_json(row, "row")
        path = self.path / _METRICS
        with _writing(path), open(path, "a+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            if end and file.read(1) != b"\n":  # a line that a crash cut short is cut off
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
            file.write(line + b"\n")
        if self._rows is not None:
            self._rows.append(json.loads(line))

    def metrics(self) -> list[dict[str, Any]]:
        """The logged rows, oldest first; a last line that a crash cut short is no row."""
        if self._rows is None:
            path = self.path / _METRICS
            lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
            rows = [_row(line) for line in lines]
            if None in rows:
                what = f"{path} is damaged: line {rows.index(None) + 1} is not a row of metrics"
                raise RunError(f"{what}; delete that line")
            self._rows = [row for row in rows if row is not None]
        return list(self._rows)

    def truncate_metrics(self, step: int) -> None:
        """Forget the rows after ``step``, in one go: what a run does that goes on from there."""
        self._rows = [row for row in self.metrics() if row["step"] <= step]
        with _writing(self.path / _METRICS):
            kept = b"".join(json.dumps(row).encode() + b"\n" for row in self._rows)
            durable.replace(self.path / _METRICS, kept)

    # ---------------------------------------------------------------- checkpoints

    def save_checkpoint(self, state: Any, step: int) -> Path:
        """Save what :func:`durable.pack` takes, after the disk has the rows logged so far.

        The last two checkpoints are kept. Those of later steps belong to a future that was given up
        by going on from an earlier one, and are deleted.
        """
        with contextlib.suppress(FileNotFoundError), open(self.path / _METRICS, "rb") as file:
            os.fsync(file.fileno())
        path = self._step_path(step)
        with _writing(path, "earlier checkpoints are intact; "):
            durable.save(path, state, step)
        whole = [s for s in self.steps() if s <= step and durable.complete(self._step_path(s))]
        for entry, saved, kind in self._saved():
            aside = kind == "tmp" or (kind == "old" and self._step_path(saved).exists())
            if aside or saved not in whole[-KEEP:]:
                _discard(entry, saved)
        return path

    def load_checkpoint(self) -> Checkpoint:
        """The newest checkpoint that is whole; ``skipped`` says what is wrong with newer ones."""
        folder, skipped = self.path / "checkpoints", list[str]()
        for step in reversed(self.steps()):
            try:
                state, saved = durable.load(self._step_path(step))
            except RunError as error:
                skipped.append(str(error))
            else:
                return Checkpoint(saved, state, self._step_path(step), skipped)
        if not skipped:
            what = f"{folder} holds no checkpoint: the run stopped before its first one"
            raise RunError(f"{what}, so train again from the start")
        what = f"{folder} holds no usable checkpoint: {'; '.join(skipped)}"
        raise RunError(f"{what}. Restore it from a copy, or train again from the start")

    def steps(self) -> list[int]:
        """The steps that have a checkpoint, ascending; they are not verified."""
        return sorted({step for _, step, kind in self._saved() if kind != "tmp"})

    def _step_path(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step:09d}"

    def _saved(self) -> list[tuple[Path, int, str | None]]:
        """(path, step, kind) of everything that a save has left; of a finished one no kind."""
        found = [(p, _STEP.fullmatch(p.name)) for p in (self.path / "checkpoints").glob("*step-*")]
        return [(path, int(match[1]), match[2]) for path, match in found if match]

    # ---------------------------------------------------------------- the model

    def save_model(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Write the trained tensors and their ``metadata`` (what JSON can hold).

        Killed half-way, it leaves the earlier model, with the earlier metadata, or the new one.
        """
        plain = json.loads(durable.to_json(metadata, "metadata"))
        data = durable.encode(tensors)
        record = {**durable.fingerprint(data), "metadata": plain}
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

    def sample_path(self, step: int, name: str) -> Path:
        """``samples/NAME-<step>.png``; the folder is made."""
        if not _SAMPLE_NAME.fullmatch(name):
            raise ValueError(f"name={name!r}: expected letters, digits, '_', '-' and '.'")
        folder = self.path / "samples"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}-{step:09d}.png"

    # ---------------------------------------------------------------- one writer at a time

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run while writing to it, so that two processes never train it at once.

        The operating system frees the lock when the process ends, however it ends.
        """
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(self.path / _LOCK, "a+b"))
            except OSError as error:
                what = f"{self.path / _LOCK} cannot be written"
                raise RunError(f"{what}: {error.strerror}") from error
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

    def _write_config(self) -> None:
        text = json.dumps(self.config, indent=1) + "\n"
        durable.replace(self.path / _CONFIG, text.encode())

    def _empty(self, where: str) -> None:
        """Delete what a run writes, but the lock, which is held, and the configuration, by which
        the folder is still a run if we die here; name the rest."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self.lock())
            except RunError as error:
                raise RunError(f"{where} cannot be overwritten: {error}") from error
            own, folders = list(_OWN), ["checkpoints", "samples"]
            if (self.path / _MACHINE / _CONFIG).is_file():
                own += [f"{_MACHINE}/{name}" for name in (*_OWN, _CONFIG, _LOCK)]
                folders += [f"{_MACHINE}/{name}" for name in folders] + [_MACHINE]
            for path in [path for pattern in own for path in self.path.glob(pattern)]:
                if path.parent.name == "checkpoints" and not _STEP.fullmatch(path.name):
                    continue
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            for name in folders:
                with contextlib.suppress(OSError):  # it is not there, or holds files of others
                    (self.path / name).rmdir()
            left = sorted({path.name for path in self.path.iterdir()} - {_CONFIG, _LOCK})
        if left:
            what = f"{where}: {', '.join(left)} belong to no run and were left as they are"
            warnings.warn(what, stacklevel=3)


def _discard(path: Path, step: int) -> None:
    """Delete a checkpoint under another name: cut short, that must not look like damage."""
    doomed = path.with_name(f".step-{step:09d}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        os.rename(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


@contextlib.contextmanager
def _writing(path: Path, meanwhile: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = f"{meanwhile}free some space, or see that you may write there"
        raise RunError(f"{path} could not be written ({error}): {advice}") from error


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def _version() -> str:
    try:
        return importlib.metadata.version("equilibria")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
