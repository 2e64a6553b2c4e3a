"""Files that survive a crash: written aside, synced, swapped in whole, and checked when read.

A process may be killed, and a machine may lose power, between any two instructions. What is written
here is therefore either absent or complete under its final name, and later damage (a truncated
file, a flipped bit) is found before a single number of it is used. Nothing goes through pickle: a
state is a file of tensors (safetensors), a JSON tree, and a manifest with the SHA-256 of both. Only
regular files are opened: never what a link points to, nor a pipe or a device, which has no end.

torch is imported where tensors are: a run folder can be looked at without it.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import shutil
import stat
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equilibria.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["complete", "load", "manifest", "pack", "replace", "save", "unpack"]

FORMAT = 1  # of a saved state, not of a run
_TENSORS, _TREE, _MANIFEST = FILES = ("state.safetensors", "state.json", "manifest.json")
_NAME = 80  # characters of a name that its temporary file has: with all the name may be too long
LARGEST = 2**28  # bytes of a file whose size nothing tells beforehand
MALFORMED = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What can come of JSON that is of another type, too deep, or of a number that is too large."""


# ---------------------------------------------------------------- a file


def replace(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Put ``data``, or its parts one after the other, at ``path`` so that a reader finds the old
    file or the new one, never a part.

    The new file is written beside the old one as ``.NAME.<pid>.tmp`` and renamed over it.
    """
    aside = _hidden(path)
    sweep(path)
    try:
        _write(aside, data)
        with contextlib.suppress(OSError):  # of a new file, and where modes are not ours to set
            os.chmod(aside, stat.S_IMODE(os.stat(path).st_mode))
        os.replace(aside, path)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:  # it names no file, or the hidden one
            error.filename = str(path)
        raise
    sync(path.parent)


def fingerprint(data: bytes) -> dict[str, Any]:
    """The size and SHA-256 by which ``data`` is recognised."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def read_checked(path: Path, expected: Mapping[str, Any]) -> bytes:
    """The bytes of ``path``; a RunError names the file unless it has the expected fingerprint."""
    data = read(path, expected)
    found = fingerprint(data)["sha256"]
    if found != expected["sha256"]:
        then = f"{len(data)} bytes of SHA-256 {expected['sha256']} were written"
        raise RunError(f"{path} is damaged: {then}, {len(data)} bytes of {found} are there")
    return data


def seal(content: Mapping[str, Any]) -> bytes:
    """JSON text of ``content`` whose last entry, ``digest``, is the SHA-256 of the others."""
    plain = json.loads(json.dumps(content))  # what a reader will see: string keys, lists
    digest = hashlib.sha256(json.dumps(plain).encode()).hexdigest()
    return (json.dumps({**plain, "digest": digest}, indent=1) + "\n").encode()


def unseal(data: bytes, path: Path) -> dict[str, Any]:
    """The content of what :func:`seal` made, refused if a single bit of it has changed."""
    content = parse(data, path)
    try:
        del content["digest"]
        if seal(content) == data:
            return dict(content)
    except MALFORMED as error:
        raise RunError(f"{path} is damaged: it is no sealed JSON ({error!r})") from error
    raise RunError(f"{path} is damaged: its contents do not match the digest in its last line")


def read_sealed(path: Path) -> dict[str, Any]:
    """The content of a file that :func:`seal` made."""
    return unseal(read(path), path)


def parse(data: bytes, path: Path) -> Any:
    """What JSON text says; ``path`` is where it came from."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: it is no JSON ({error})") from error


def encode(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file of dense tensors on any device; the file holds a copy of each."""
    import safetensors.torch
    import torch

    whole = torch.contiguous_format
    copies = {k: x.detach().to("cpu", copy=True, memory_format=whole) for k, x in tensors.items()}
    return safetensors.torch.save(copies)


def decode(data: bytes, name: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU; ``name`` says which file it was."""
    import safetensors.torch

    try:
        loaded = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise RunError(f"{name} is not a safetensors file ({error})") from error
    # Copied into torch's own memory: matrix products can round differently by alignment.
    return {key: tensor.clone() for key, tensor in loaded.items()}


# ---------------------------------------------------------------- a state, in a folder


def save(path: Path, state: Any, step: int, **about: Any) -> None:
    """Save what :func:`pack` takes as the folder ``path``; on return the disk has it.

    What is said ``about`` it is sealed in its manifest. A folder of that name is set aside as
    ``.NAME.<pid>.old``, for the caller to delete: since a run goes on from a whole one, it was
    damaged.
    """
    tensors, tree = pack(state)
    contents = {_TENSORS: encode(tensors), _TREE: json.dumps(tree, separators=(",", ":")).encode()}
    files = {name: fingerprint(data) for name, data in contents.items()}
    contents[_MANIFEST] = seal({"format": FORMAT, "step": step, "files": files, **about})
    aside = _hidden(path)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        for name, data in contents.items():
            _write(aside / name, data)
        sync(aside)
        if path.exists():  # a folder cannot be renamed over another one
            os.rename(path, aside.with_suffix(".old"))
        os.rename(aside, path)
        sync(path.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def load(path: Path) -> tuple[Any, int]:
    """The state and its step, every byte verified; a RunError names the file that is damaged."""
    known = manifest(path)
    data, tree = (read_checked(path / name, known["files"][name]) for name in (_TENSORS, _TREE))
    tensors, tree = decode(data, str(path / _TENSORS)), parse(tree, path / _TREE)
    try:
        return unpack(tensors, tree), known["step"]
    except MALFORMED as error:
        raise RunError(f"{path / _TREE} is damaged: it is no state ({error!r})") from error


def manifest(path: Path) -> dict[str, Any]:
    """What the manifest of a saved state says, verified; its files are not looked at."""
    file = path / _MANIFEST
    found = read_sealed(file)
    if found.get("format") != FORMAT:
        what = f"{path} has checkpoint format {found.get('format')!r}"
        raise RunError(f"{what} and this version reads {FORMAT}: use a newer version")
    try:
        known = [(type(x["size"]), type(x["sha256"])) for x in map(found["files"].get, FILES[:2])]
        if type(found["step"]) is int and known == [(int, str)] * 2:
            return found
    except MALFORMED:
        pass
    raise RunError(f"{file} is damaged: it lacks the step, or the sizes of the files")


def complete(path: Path, **about: Any) -> bool:
    """Whether every file is there in its size, and the manifest says the same ``about`` it: what
    can be told without reading the tensors."""
    try:
        known = manifest(path)
        sizes = {name: os.lstat(path / name).st_size for name in FILES[:2]}
    except (RunError, OSError):
        return False
    same = all(known.get(name) == value for name, value in about.items())
    return same and all(known["files"][name]["size"] == size for name, size in sizes.items())


def pack(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Take a nested state apart into tensors, named by their place, and a tree for JSON.

    A state is nested dicts (with keys of text or whole numbers), lists and tuples of tensors,
    numbers, text, booleans and None. A float keeps its bits, infinities and NaN included.

    >>> import torch
    >>> tensors, tree = pack({"rate": 0.1, 0: [torch.ones(2), None]})
    >>> list(tensors)
    ['state[0][0]']
    >>> unpack(tensors, tree)
    {'rate': 0.1, 0: [tensor([1., 1.]), None]}
    """
    tensors: dict[str, Tensor] = {}
    return tensors, _pack(state, "state", tensors)


def _pack(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    from torch import Tensor

    if isinstance(value, Tensor):
        tensors[place] = value
        return {"tensor": place}
    if isinstance(value, dict):
        for key in value:
            if type(key) not in (str, int):
                raise TypeError(f"{place} has the key {key!r}: expected text or a whole number")
        return {"dict": [[k, _pack(v, f"{place}[{k!r}]", tensors)] for k, v in value.items()]}
    if type(value) in (list, tuple):
        entries = [_pack(entry, f"{place}[{i}]", tensors) for i, entry in enumerate(value)]
        return entries if type(value) is list else {"tuple": entries}
    if type(value) is float and not math.isfinite(value):
        return {"float": struct.pack(">d", value).hex()}
    if value is None or type(value) in (bool, int, float, str):
        return value
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(f"{place} is a {kind}: expected dicts, lists, tuples, tensors and plain values")


def unpack(tensors: Mapping[str, Tensor], tree: Any) -> Any:
    """The state that :func:`pack` took apart."""
    if isinstance(tree, list):
        return [unpack(tensors, branch) for branch in tree]
    if not isinstance(tree, dict):
        return tree
    ((tag, content),) = tree.items()
    if tag == "tensor":
        return tensors[content]
    if tag == "float":
        return struct.unpack(">d", bytes.fromhex(content))[0]
    entries = unpack(tensors, content)
    return dict(entries) if tag == "dict" else tuple(entries)


# ---------------------------------------------------------------- the disk


def opened(path: Path, flags: int) -> int:
    """The descriptor of a regular file; a RunError refuses anything else that has its name."""
    safe = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | safe, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _irregular(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _irregular(path)
    return descriptor


def _irregular(path: Path) -> RunError:
    what = "is a link, a folder, a pipe or a device, where a regular file belongs"
    return RunError(f"{path} {what}: move it away, and put the file back in its place")


def read(path: Path, expected: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of a regular file, whose size is known before they are read."""
    try:
        with open(opened(path, os.O_RDONLY), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if expected is not None and size != expected["size"]:
                then = f"{expected['size']} bytes of SHA-256 {expected['sha256']} were written"
                raise RunError(f"{path} is damaged: {then}, {size} bytes of another are there")
            if expected is None and size > LARGEST:
                raise RunError(f"{path} is damaged: {size} bytes are more than are ever written")
            return file.read(size)
    except OSError as error:
        raise RunError(f"{path} is missing, or cannot be read ({error})") from error


def _write(path: Path, data: bytes | Iterable[bytes]) -> None:
    with open(opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.writelines([data] if isinstance(data, bytes) else data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Bring the folder's list of names to the disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some disks have no such thing
            raise
    finally:
        os.close(descriptor)


def sweep(path: Path) -> None:
    """Delete what writers of this file left that were killed."""
    for left in path.parent.glob(f".{glob.escape(path.name[:_NAME])}.*.tmp"):
        try:
            os.kill(int(left.name.split(".")[-2]), 0)
        except ProcessLookupError:
            left.unlink(missing_ok=True)
        except (ValueError, OSError, OverflowError):  # no number of a process; another user's
            continue


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name[:_NAME]}.{os.getpid()}.tmp")
