"""The run folder: the only contract between training and what reads it.

======================  ==========================================================================
``config.json``         what was trained and how, with the folder's format and the library's version
``metrics.jsonl``       one JSON object a line, each with the global ``step`` it was measured at
``checkpoints/``        the state to go on from (:mod:`equilibria.training.checkpoint`)
``samples/``            pictures drawn while it trains
``model.safetensors``   the trained tensors; ``model.json`` has their SHA-256 and metadata
``lock``                held by the process that trains
``evaluation.json``     the numbers of ``equilibria evaluate``
``report.html``         the page of ``equilibria report``
``machine/``            of a fine-tuned classifier: the run that it started from
======================  ==========================================================================

Overwriting a run deletes these and nothing else.
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from equilibria.errors import RunError
from equilibria.training import checkpoint, files, metrics, model_file

__all__ = ["FORMAT", "Run"]

FORMAT = 1
_CONFIG, _METRICS, _LOCK = "config.json", "metrics.jsonl", "lock"
_FILES = (_METRICS, "model.safetensors", "model.json", "evaluation.json", "report.html")
_PARTS = ("machine",)  # runs within a run, which it was made from
_LEFTOVER = re.compile(rf"\.({'|'.join(re.escape(name) for name in (_CONFIG, *_FILES))})\.\d+\.tmp")
_SAMPLE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SAMPLE = re.compile(rf"{_SAMPLE_NAME.pattern}-\d{{9,}}\.png")


class Run:
    """A run folder; made by :meth:`create` or :meth:`open`.

    Attributes
    ----------
    path : Path
        The folder.
    config : dict
        What ``config.json`` holds.

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
        self._locked = False

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @classmethod
    def create(cls, path: Path | str, config: Mapping[str, Any], overwrite: bool = False) -> Run:
        """Make a run folder, with its parents.

        Parameters
        ----------
        path : Path or str
            A folder that does not exist or is empty; with ``overwrite`` it may be a run that no process is training.
        config : dict
            What JSON can hold. ``format`` and ``equilibria`` (the version) are added.
        overwrite : bool
            Whether an earlier run there is deleted. Files that no run writes stay, and a warning names them.

        Raises
        ------
        RunError
            When the path is taken or cannot be written; the message names the argument ``out``.
        ValueError
            When ``config`` holds what JSON cannot.
        """
        path = Path(path)
        run = cls(path, json.loads(files.to_json({**config, "format": FORMAT, "equilibria": _version()}, "config")))
        where = f"out={str(path)!r}"
        try:
            if _claim(path, overwrite, where):
                run._empty(where)
            path.mkdir(parents=True, exist_ok=True)
            run._write_config()
        except OSError as error:
            raise RunError(f"{where} cannot be written ({error}): choose a folder that you may write to") from error
        return run

    @staticmethod
    def refuse_taken(path: Path | str, overwrite: bool = False) -> None:
        """Raise the RunError that :meth:`create` would for a path that is taken, and write nothing: for a check before long work."""
        _claim(Path(path), overwrite, f"out={str(path)!r}")

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Open a run folder that exists.

        Raises
        ------
        RunError
            When it is missing, is not a run, is damaged, or has a format newer than this version knows.
        """
        path = Path(path)
        try:
            return cls(path, _read_config(path))
        except OSError as error:
            raise RunError(f"run={str(path)!r} cannot be read ({error}): choose a folder that you may read") from error

    def update_config(self, **changes: Any) -> None:
        """Set entries of the configuration, in memory and on disk."""
        self.config = json.loads(files.to_json({**self.config, **changes}, "config"))
        with _writing(self.path / _CONFIG):
            self._write_config()

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to ``metrics.jsonl``.

        Infinities and NaN are written as ``Infinity`` and ``NaN``, which Python's JSON reads.

        Raises
        ------
        ValueError
            When the row has no integer ``step``, or holds what JSON cannot (a tensor, say).
        """
        with _writing(self.path / _METRICS):
            metrics.append(self.path / _METRICS, row)

    def metrics(self) -> list[dict[str, Any]]:
        """The logged rows, oldest first; a last line that was cut short by a crash is left out.

        Raises
        ------
        RunError
            When a line in the middle is damaged; the message gives its number.
        """
        return metrics.read(self.path / _METRICS)

    def truncate_metrics(self, step: int) -> None:
        """Forget the rows after ``step``: what a run does that goes on from there."""
        with _writing(self.path / _METRICS):
            metrics.truncate(self.path / _METRICS, step)

    def save_checkpoint(self, state: Any, step: int) -> Path:
        """Save ``state`` by :func:`checkpoint.save`, after the disk has the rows logged so far."""
        with contextlib.suppress(FileNotFoundError), open(self.path / _METRICS, "rb") as file:
            os.fsync(file.fileno())
        return checkpoint.save(self.path / "checkpoints", state, step)

    def load_checkpoint(self) -> checkpoint.Loaded:
        """The newest checkpoint that is whole, by :func:`checkpoint.load_latest`."""
        return checkpoint.load_latest(self.path / "checkpoints")

    def save_model(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Write ``model.safetensors``, and its SHA-256 and ``metadata`` (what JSON can hold) into ``model.json``.

        Killed half-way, it leaves the earlier model, with the earlier metadata, or the new one, with the new.
        """
        with _writing(self.path):
            model_file.save(self.path, tensors, metadata)

    def load_model(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors (on the CPU) and metadata of the model, verified.

        Raises
        ------
        RunError
            When there is none yet, or a file of it is truncated or changed; the message names the file.
        """
        return model_file.load(self.path)

    def sample_path(self, step: int, name: str) -> Path:
        """``samples/NAME-<step>.png``; the folder is made."""
        if not _SAMPLE_NAME.fullmatch(name):
            raise ValueError(f"name={name!r}: expected letters, digits, '_', '-' and '.', because it becomes a file's name")
        folder = self.path / "samples"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}-{step:09d}.png"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run while writing to it, so that two processes never train it at once.

        The operating system frees the lock when the process ends, however it ends. Taken again inside itself it does nothing.

        Raises
        ------
        RunError
            When another process holds it; the message gives its number.
        """
        if self._locked:
            yield
            return
        try:
            file = open(self.path / _LOCK, "a+b")  # noqa: SIM115 - closed, and so unlocked, below
        except OSError as error:
            raise RunError(f"{self.path / _LOCK} cannot be written: {error.strerror}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                holder = file.read().decode(errors="replace").strip() or "unknown"
                raise RunError(f"run={str(self.path)!r} is being trained by process {holder}: wait for it, or stop it") from error
            file.truncate(0)
            file.write(b"%d\n" % os.getpid())
            file.flush()
            self._sweep()
            self._locked = True
            try:
                yield
            finally:
                self._locked = False

    def _write_config(self) -> None:
        files.replace_file(self.path / _CONFIG, (json.dumps(self.config, indent=1) + "\n").encode())

    def _sweep(self) -> None:
        """Delete what a killed writer left aside; only the holder of the lock may."""
        for path in self.path.iterdir():
            if _LEFTOVER.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _empty(self, where: str) -> None:
        """Delete what a run writes but the lock, which is held, and the configuration: dying here leaves a folder that is still a run."""
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self.lock())
            except RunError as error:
                raise RunError(f"{where} cannot be overwritten: {error}") from error
            _delete(self.path)
            foreign = _named(self.path, without=(_CONFIG, _LOCK))
            if foreign:
                warnings.warn(f"{where}: left what is no part of a run: {', '.join(foreign)}", stacklevel=4)


def _delete(path: Path) -> None:
    """Delete what a run writes into its folder, but its configuration and lock, and no link's target."""
    for name in _FILES:
        if (path / name).is_file() or (path / name).is_symlink():
            (path / name).unlink()
    checkpoint.delete_all(path / "checkpoints")
    for picture in (path / "samples").glob("*.png"):
        if _SAMPLE.fullmatch(picture.name):
            picture.unlink()
    _delete_if_empty(path / "samples")
    for part in (path / name for name in _PARTS):
        if part.is_dir() and not part.is_symlink() and _is_run(part):
            _delete(part)
            if not _named(part, without=(_CONFIG, _LOCK)):
                shutil.rmtree(part)


def _delete_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _named(folder: Path, without: Sequence[str] = ()) -> list[str]:
    """What is in a folder, by name; a folder's ends in a stroke."""
    entries = sorted(entry for entry in folder.iterdir() if entry.name not in without and not _LEFTOVER.fullmatch(entry.name))
    return [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]


def _is_run(path: Path) -> bool:
    try:
        _read_config(path)
    except (RunError, OSError):
        return False
    return True


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} could not be written ({error}): free some space, or see that you may write there") from error


def _claim(path: Path, overwrite: bool, where: str) -> bool:
    """Whether an earlier run is in the way and may be deleted; refuses everything else that is in the way."""
    if not path.exists():
        return False
    if not path.is_dir():
        raise RunError(f"{where} is a file: name a folder")
    if all(_LEFTOVER.fullmatch(entry.name) for entry in path.iterdir()):
        return False
    try:
        Run.open(path)
    except RunError as error:
        raise RunError(
            f"{where} holds files that are no run of this version, and was left untouched: choose a new or an empty folder"
        ) from error
    if not overwrite:
        raise RunError(f"{where} holds a run: choose another folder, go on with it (equilibria resume {path}), or overwrite it")
    return True


def _read_config(path: Path) -> dict[str, Any]:
    where = f"run={str(path)!r}"
    if not path.exists():
        raise RunError(f"{where} does not exist: name the folder of a run")
    if not (path / _CONFIG).is_file():
        raise RunError(f"{where} is not a run (it has no {_CONFIG}): name the folder that training wrote")
    try:
        config = json.loads((path / _CONFIG).read_bytes())
    except ValueError as error:
        raise RunError(f"{path / _CONFIG} is damaged: it is not JSON ({error}); restore it from a copy") from error
    if not _is_config(config):
        raise RunError(f"{where} is not a run: its {_CONFIG} is not one that equilibria wrote")
    if config["format"] > FORMAT:
        written = f"has format {config['format']}, written by equilibria {config['equilibria']}"
        raise RunError(f"{where} {written}; this version reads up to format {FORMAT}: use a newer version")
    return config


def _is_config(config: Any) -> bool:
    """Other programs write a config.json too: only ours has both marks."""
    return isinstance(config, dict) and type(config.get("format")) is int and isinstance(config.get("equilibria"), str)


def _version() -> str:
    try:
        return importlib.metadata.version("equilibria")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
