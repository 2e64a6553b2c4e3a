"""Files that survive a crash: synced to the disk, swapped in whole, and checked against their SHA-256 when read.

A process may be killed, and a machine may lose power, between any two instructions. What is written here is therefore
either absent or complete under its final name, and damage that comes later (a truncated file, a flipped bit) is found
before a single number of it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from equilibria.errors import RunError

__all__ = [
    "decode_tensors",
    "encode_tensors",
    "fingerprint",
    "portable",
    "read_checked",
    "read_sealed",
    "replace_file",
    "seal",
    "sync_folder",
    "to_json",
    "write_synced",
]

_DTYPES = frozenset(
    {
        *(torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
        *(torch.float8_e4m3fn, torch.float8_e5m2),
    }
)


def write_synced(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` and return once the disk has it."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Return once the disk has the folder's list of names, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` so that a reader finds the old file or the new one, never a part.

    The new file is written beside the old one as ``.NAME.<pid>.tmp`` and renamed over it.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_synced(aside, data)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def fingerprint(data: bytes) -> dict[str, Any]:
    """The size and SHA-256 by which ``data`` is recognised.

    Examples
    --------
    >>> fingerprint(b"abc")["size"], fingerprint(b"abc")["sha256"][:8]
    (3, 'ba7816bf')
    """
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def read_checked(path: Path, expected: Mapping[str, Any]) -> bytes:
    """The bytes of ``path``, which must have the ``expected`` fingerprint.

    Raises
    ------
    RunError
        When the file is missing or unreadable, or its size or SHA-256 is another one; the message gives both.
    """
    data = _read(path)
    found = fingerprint(data)
    if found["size"] != expected["size"]:
        raise RunError(f"{path} is damaged: {expected['size']} bytes were written, {found['size']} are there")
    if found["sha256"] != expected["sha256"]:
        change = f"SHA-256 {expected['sha256']} then, {found['sha256']} now"
        raise RunError(f"{path} is damaged: its contents have changed since they were written ({change})")
    return data


def seal(content: Mapping[str, Any]) -> bytes:
    """JSON text of ``content`` that carries the SHA-256 of its other lines as its last entry, ``digest``."""
    plain = json.loads(json.dumps(content))  # what a reader will see: string keys, lists
    digest = hashlib.sha256(json.dumps(plain).encode()).hexdigest()
    return (json.dumps({**plain, "digest": digest}, indent=1) + "\n").encode()


def read_sealed(path: Path) -> dict[str, Any]:
    """The content of a file that :func:`seal` made.

    Raises
    ------
    RunError
        When the file is missing, or a single bit of it is not what ``seal`` wrote.
    """
    data = _read(path)
    try:
        content = json.loads(data)
        del content["digest"]
        intact = seal(content) == data
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged: it is not readable as sealed JSON ({error})") from error
    if not intact:
        raise RunError(f"{path} is damaged: its contents do not match the digest in its last line")
    return content


def to_json(value: Mapping[str, Any], argument: str) -> bytes:
    """One line of JSON; an entry that JSON cannot hold is a ValueError that names it as part of ``argument``."""
    for key, entry in value.items():
        try:
            json.dumps(entry)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{argument}[{key!r}]={entry!r}: {error}; give plain numbers, strings, lists and dicts") from error
    return json.dumps(dict(value)).encode()


def portable(tensor: Tensor, name: str) -> Tensor:
    """A copy of ``tensor`` that a file can hold: on the CPU, contiguous, sharing memory with nothing, without gradient.

    Raises
    ------
    TypeError
        For a sparse or quantised tensor and for a dtype that safetensors does not know; it says ``name``.
    """
    if tensor.layout != torch.strided or tensor.dtype not in _DTYPES:
        raise TypeError(f"{name} is a tensor of {tensor.dtype}, {tensor.layout}, which safetensors cannot hold: store a dense tensor")
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def encode_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """The safetensors file of ``tensors``, which must be :func:`portable`."""
    return safetensors.torch.save(dict(tensors))


def decode_tensors(data: bytes, name: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU; a file of another kind is a RunError that says ``name``."""
    try:
        loaded = safetensors.torch.load(data)
    except SafetensorError as error:
        raise RunError(f"{name} is not a safetensors file ({error})") from error
    # A copy in torch's own memory: matrix products can round differently on memory that is aligned differently.
    return {key: tensor.clone() for key, tensor in loaded.items()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
