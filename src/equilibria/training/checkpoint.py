"""Checkpoints: the state of a training run as a folder that is complete or absent, hashed, and free of pickle.

``folder/step-000000123`` holds ``state.safetensors`` (the tensors), ``state.json`` (everything else, and which tensor
goes where) and ``manifest.json`` (size and SHA-256 of the two). It is written under another name, synced to the disk and renamed, so
a killed process leaves the checkpoints before it as they were.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from equilibria.errors import RunError
from equilibria.training import files
from equilibria.training.state import pack, unpack

__all__ = ["FORMAT", "Loaded", "delete_all", "load", "load_latest", "pack", "save", "steps", "unpack", "verify"]

FORMAT = 1
_TENSORS, _TREE, _MANIFEST = "state.safetensors", "state.json", "manifest.json"
_COMPLETE = re.compile(r"step-(\d{9,})")
_SET_ASIDE = re.compile(r"\.step-(\d{9,})\.\d+\.old")  # a step's earlier version, until its new one has the name
_UNFINISHED = re.compile(r"\.step-\d{9,}\.\d+\.tmp")


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that was read and verified.

    Attributes
    ----------
    step : int
        The step it was saved at.
    state : object
        What was given to :func:`save`, tensors on the CPU.
    path : Path
        Its folder.
    skipped : list of str
        One sentence for each newer checkpoint that was damaged: which file, and what was expected and found.
    """

    step: int
    state: Any
    path: Path
    skipped: list[str] = field(default_factory=list)


def save(folder: Path | str, state: Any, step: int, keep: int = 2) -> Path:
    """Save ``state`` as ``folder/step-<step>`` and keep the last ``keep`` checkpoints.

    When it returns, the disk has the checkpoint; when it is killed or raises, the earlier checkpoints are as they were. Checkpoints of
    later steps belong to a future that was given up, by going on from an earlier one, and are deleted.

    Parameters
    ----------
    folder : Path
        Where the checkpoints of one run lie; made when missing. One process may write to it at a time.
    state : object
        What :func:`~equilibria.training.state.pack` takes.
    step : int
        At least 0. A checkpoint of the same step is replaced.
    keep : int
        At least 1.

    Returns
    -------
    Path
        The checkpoint's folder.

    Raises
    ------
    ValueError
        For a step or a ``keep`` out of range.
    TypeError
        For a state that :func:`pack` refuses.
    RunError
        When the disk refuses, being full for instance.

    Examples
    --------
    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for step in (10, 20, 30):
    ...         path = save(folder, {"weight": torch.full((2,), float(step))}, step)
    ...     loaded = load_latest(folder)
    ...     steps(folder), loaded.step, loaded.state
    ([20, 30], 30, {'weight': tensor([30., 30.])})
    """
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise ValueError(f"step={step!r}: expected an integer, 0 or more")
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise ValueError(f"keep={keep!r}: expected an integer, 1 or more")
    tensors, tree = pack(state)
    contents = {_TENSORS: files.encode_tensors(tensors), _TREE: json.dumps(tree, separators=(",", ":")).encode()}
    final = Path(folder) / f"step-{step:09d}"
    try:
        _write(final, contents, step)
    except OSError as error:
        raise RunError(
            f"{final} could not be written ({error}); earlier checkpoints are intact: free some space or repair the disk"
        ) from error
    _prune(final.parent, step, keep)
    return final


def load(path: Path | str) -> Loaded:
    """Read one checkpoint, every byte verified.

    Raises
    ------
    RunError
        When it is missing, damaged, or of a format newer than this version knows.
    """
    path = Path(path)
    manifest, contents = _read(path)
    tensors = files.decode_tensors(contents[_TENSORS], str(path / _TENSORS))
    try:
        return Loaded(manifest["step"], unpack(tensors, json.loads(contents[_TREE])), path)
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path / _TREE} does not describe a state ({error!r})") from error


def load_latest(folder: Path | str) -> Loaded:
    """Read the newest checkpoint that is whole; ``skipped`` names the newer ones that are not.

    Raises
    ------
    RunError
        When there is none; the message says what is wrong with each.
    """
    skipped: list[str] = []
    for path in reversed(_candidates(Path(folder))):
        try:
            loaded = load(path)
        except RunError as error:
            skipped.append(str(error))
        else:
            return Loaded(loaded.step, loaded.state, loaded.path, skipped)
    if not skipped:
        raise RunError(f"{folder} holds no checkpoint: the run stopped before its first one, so train again from the start")
    raise RunError(f"{folder} holds no usable checkpoint: {'; '.join(skipped)}. Restore it from a copy, or train again from the start")


def verify(path: Path | str) -> None:
    """Check every byte of a checkpoint against its manifest.

    Raises
    ------
    RunError
        Naming the first file that is missing or changed, with the size or hash expected and found.
    """
    _read(Path(path))


def steps(folder: Path | str) -> list[int]:
    """The steps that have a checkpoint in ``folder``, ascending; they are not verified."""
    return sorted({_step(path) for path in _candidates(Path(folder))})


def delete_all(folder: Path | str) -> None:
    """Delete every checkpoint in ``folder``, and the folder where nothing else is in it."""
    folder = Path(folder)
    for path in folder.glob("*step-*"):
        if any(kind.fullmatch(path.name) for kind in (_COMPLETE, _SET_ASIDE, _UNFINISHED)) and not path.is_symlink():
            shutil.rmtree(path)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _write(final: Path, contents: Mapping[str, bytes], step: int) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    aside = _hidden(final, "tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        for name, data in contents.items():
            files.write_synced(aside / name, data)
        manifest = {"format": FORMAT, "step": step, "files": {name: files.fingerprint(data) for name, data in contents.items()}}
        files.write_synced(aside / _MANIFEST, files.seal(manifest))
        files.sync_folder(aside)
        if (
            final.exists()
        ):  # a folder cannot be renamed over another, so the earlier one steps aside, where it is still found if we die here
            shutil.rmtree(_hidden(final, "old"), ignore_errors=True)
            os.rename(final, _hidden(final, "old"))
        os.rename(aside, final)
        files.sync_folder(final.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    if not path.is_dir():
        raise RunError(f"{path} is missing")
    manifest = files.read_sealed(path / _MANIFEST)
    if manifest.get("format") != FORMAT:
        raise RunError(f"{path} has checkpoint format {manifest.get('format')!r} and this version reads {FORMAT}: use a newer version")
    return manifest, {name: files.read_checked(path / name, manifest["files"][name]) for name in (_TENSORS, _TREE)}


def _is_complete(path: Path) -> bool:
    """Whether every file is there in its size: what can be told without reading the tensors."""
    try:
        manifest = files.read_sealed(path / _MANIFEST)
        return all((path / name).stat().st_size == entry["size"] for name, entry in manifest["files"].items())
    except (RunError, OSError):
        return False


def _candidates(folder: Path) -> list[Path]:
    """Checkpoints by ascending step; of one step, the version under the final name comes last."""
    found = [path for path in folder.glob("*step-*") if _COMPLETE.fullmatch(path.name) or _SET_ASIDE.fullmatch(path.name)]
    return sorted(found, key=lambda path: (_step(path), path.name.startswith("step")))


def _step(path: Path) -> int:
    return int(path.name.removeprefix(".").removeprefix("step-").split(".")[0])


def _prune(folder: Path, step: int, keep: int) -> None:
    for path in folder.glob(".step-*"):
        if _UNFINISHED.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
    candidates = _candidates(folder)
    complete = {_step(path): path for path in candidates if _step(path) <= step and _is_complete(path)}
    kept = list(complete.values())[-keep:]
    for path in candidates:
        if path not in kept:
            _discard(path)


def _discard(path: Path) -> None:
    doomed = _hidden(path, "tmp")  # a deletion cut short must not look like a damaged checkpoint
    try:
        os.rename(path, doomed)
    except OSError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def _hidden(path: Path, kind: str) -> Path:
    return path.with_name(f".step-{_step(path):09d}.{os.getpid()}.{kind}")
