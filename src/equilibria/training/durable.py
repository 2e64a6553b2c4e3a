"""Files that survive a crash: written aside, synced, swapped in whole, and checked when read.

A process may be killed, and a machine may lose power, between any two instructions. What is written
here is therefore either absent or complete under its final name, and later damage (a truncated
file, a flipped bit) is found before a single number of it is used. Nothing goes through pickle: a
state is a file of tensors (safetensors), a JSON tree, and a manifest with the SHA-256 of both.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from equilibria.errors import RunError

__all__ = ["complete", "load", "pack", "replace", "save", "to_json", "unpack"]

FORMAT = 1  # of a saved state, not of a run
_TENSORS, _TREE, _MANIFEST = "state.safetensors", "state.json", "manifest.json"
_DTYPES = "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 bfloat16 float32 float64"
_DTYPES += " complex64 float8_e4m3fn float8_e5m2"
_PORTABLE = frozenset(getattr(torch, name) for name in _DTYPES.split())


def replace(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` so that a reader finds the old file or the new one, never a part.

    The new file is written beside the old one as ``.NAME.<pid>.tmp`` and renamed over it.
    """
    aside = _hidden(path, "tmp")
    try:
        _write(aside, data)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def fingerprint(data: bytes) -> dict[str, Any]:
    """The size and SHA-256 by which ``data`` is recognised."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def read_checked(path: Path, expected: Mapping[str, Any]) -> bytes:
    """The bytes of ``path``; a RunError names the file unless it has the expected fingerprint."""
    data = _read(path)
    then, now = expected, fingerprint(data)
    if then["size"] != now["size"]:
        sizes = f"{then['size']} bytes were written, {now['size']} are there"
        raise RunError(f"{path} is damaged: {sizes}")
    if then["sha256"] != now["sha256"]:
        what = f"SHA-256 {then['sha256']} then, {now['sha256']} now"
        raise RunError(f"{path} is damaged: its contents have changed ({what})")
    return data


def seal(content: Mapping[str, Any]) -> bytes:
    """JSON text of ``content`` whose last entry, ``digest``, is the SHA-256 of the others."""
    plain = json.loads(json.dumps(content))  # what a reader will see: string keys, lists
    digest = hashlib.sha256(json.dumps(plain).encode()).hexdigest()
    return (json.dumps({**plain, "digest": digest}, indent=1) + "\n").encode()


def read_sealed(path: Path) -> dict[str, Any]:
    """The content of a file that :func:`seal` made, refused if a single bit of it has changed."""
    data = _read(path)
    try:
        content: dict[str, Any] = json.loads(data)
        del content["digest"]
        intact = seal(content) == data
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged: it is no sealed JSON ({error})") from error
    if not intact:
        raise RunError(f"{path} is damaged: its contents do not match the digest in its last line")
    return content


def to_json(value: Mapping[str, Any], argument: str) -> bytes:
    """One line of JSON; a ValueError names the entry of ``argument`` that JSON cannot hold."""
    for key, entry in value.items():
        try:
            json.dumps(entry)
        except (TypeError, ValueError) as error:
            what = f"{argument}[{key!r}]={entry!r}: {error}"
            raise ValueError(f"{what}; give plain numbers, strings, lists and dicts") from error
    return json.dumps(dict(value)).encode()


def encode(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file of dense tensors on any device; the file holds a copy of each."""
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.dtype not in _PORTABLE:
            kind = f"{tensor.dtype}, {tensor.layout}"
            raise TypeError(f"{name} is a tensor of {kind}, which safetensors cannot hold")
    whole = torch.contiguous_format
    return safetensors.torch.save(
        {k: t.detach().to("cpu", copy=True, memory_format=whole) for k, t in tensors.items()}
    )


def decode(data: bytes, name: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU; ``name`` says which file it was."""
    try:
        loaded = safetensors.torch.load(data)
    except SafetensorError as error:
        raise RunError(f"{name} is not a safetensors file ({error})") from error
    # Copied into torch's own memory: matrix products can round differently by alignment.
    return {key: tensor.clone() for key, tensor in loaded.items()}


# ---------------------------------------------------------------- a state, in a folder


def save(path: Path, state: Any, step: int) -> None:
    """Save what :func:`pack` takes as the folder ``path``, in place of an earlier one there.

    On return the disk has it. Killed before, the earlier folder is there, under its own name or set
    aside as ``.NAME.<pid>.old``, where :func:`load` finds it.
    """
    tensors, tree = pack(state)
    contents = {_TENSORS: encode(tensors), _TREE: json.dumps(tree, separators=(",", ":")).encode()}
    files = {name: fingerprint(data) for name, data in contents.items()}
    contents[_MANIFEST] = seal({"format": FORMAT, "step": step, "files": files})
    aside, former = _hidden(path, "tmp"), _hidden(path, "old")
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        for name, data in contents.items():
            _write(aside / name, data)
        _sync(aside)
        if path.exists():  # a folder cannot be renamed over another one
            shutil.rmtree(former, ignore_errors=True)
            os.rename(path, former)
        os.rename(aside, path)
        _sync(path.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(former, ignore_errors=True)


def load(path: Path) -> tuple[Any, int]:
    """The state and its step, every byte verified; a RunError names the file that is damaged."""
    path = _present(path)
    if not path.is_dir():
        raise RunError(f"{path} is missing")
    manifest = read_sealed(path / _MANIFEST)
    if manifest.get("format") != FORMAT:
        found = f"{path} has checkpoint format {manifest.get('format')!r}"
        raise RunError(f"{found} and this version reads {FORMAT}: use a newer version")
    data, tree = (read_checked(path / name, manifest["files"][name]) for name in (_TENSORS, _TREE))
    try:
        state = unpack(decode(data, str(path / _TENSORS)), json.loads(tree))
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path / _TREE} does not describe a state ({error!r})") from error
    return state, manifest["step"]


def complete(path: Path) -> bool:
    """Whether every file is there in its size: what can be told without reading the tensors."""
    path = _present(path)
    try:
        files = read_sealed(path / _MANIFEST)["files"]
        return all((path / name).stat().st_size == e["size"] for name, e in files.items())
    except (RunError, OSError):
        return False


def pack(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Take a nested state apart into tensors, named by their place, and a tree for JSON.

    A state is nested dicts (with keys of text or whole numbers), lists and tuples of tensors,
    numbers, text, booleans and None. A float keeps its bits, infinities and NaN included.

    >>> tensors, tree = pack({"rate": 0.1, 0: [torch.ones(2), None]})
    >>> list(tensors)
    ['state[0][0]']
    >>> unpack(tensors, tree)
    {'rate': 0.1, 0: [tensor([1., 1.]), None]}
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _pack(state, "state", tensors)


def unpack(tensors: Mapping[str, Tensor], tree: Any) -> Any:
    """The state that :func:`pack` took apart."""
    if isinstance(tree, list):
        return [unpack(tensors, branch) for branch in tree]
    if not isinstance(tree, dict):
        return tree
    ((tag, content),) = tree.items()
    return _UNPACK[tag](tensors, content)


def _pack(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[place] = value
        return {"tensor": place}
    if isinstance(value, dict):
        for key in value:
            if type(key) not in (str, int):
                raise TypeError(f"{place} has the key {key!r}: expected text or a whole number")
        entries = [[k, _pack(entry, f"{place}[{k!r}]", tensors)] for k, entry in value.items()]
        return {"dict": entries}
    if type(value) in (list, tuple):
        entries = [_pack(entry, f"{place}[{i}]", tensors) for i, entry in enumerate(value)]
        return entries if type(value) is list else {"tuple": entries}
    if type(value) is float and not math.isfinite(value):
        return {"float": struct.pack(">d", value).hex()}
    if value is None or type(value) in (bool, int, float, str):
        return value
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(f"{place} is a {kind}: expected dicts, lists, tuples, tensors and plain values")


_UNPACK: dict[str, Callable[[Mapping[str, Tensor], Any], Any]] = {
    "tensor": lambda tensors, name: tensors[name],
    "dict": lambda tensors, entries: {key: unpack(tensors, entry) for key, entry in entries},
    "tuple": lambda tensors, entries: tuple(unpack(tensors, entry) for entry in entries),
    "float": lambda tensors, bits: struct.unpack(">d", bytes.fromhex(bits))[0],
}


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Bring the folder's list of names to the disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error


def _hidden(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{kind}")


def _present(path: Path) -> Path:
    """``path``, or what a save that was killed half-way has set aside of it."""
    aside = () if path.exists() else sorted(path.parent.glob(f".{path.name}.*.old"))
    return aside[-1] if aside else path
