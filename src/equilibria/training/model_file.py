"""The trained model: ``model.safetensors``, and ``model.json`` with its size, SHA-256 and metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from equilibria.errors import RunError
from equilibria.training import files

__all__ = ["load", "save"]

_MODEL, _RECORD = "model.safetensors", "model.json"


def save(folder: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write the model and its ``metadata`` (what JSON can hold) into ``folder``.

    Killed half-way, it leaves the earlier model with the earlier metadata, or the new one with the new.
    """
    data = files.encode_tensors({name: files.portable(tensor, f"tensors[{name!r}]") for name, tensor in tensors.items()})
    record = {**files.fingerprint(data), "metadata": json.loads(files.to_json(metadata, "metadata"))}
    # Two files cannot be swapped in at once: while the tensors change, the record knows both.
    files.replace_file(folder / _RECORD, files.seal({**record, "former": _present_record(folder)}))
    files.replace_file(folder / _MODEL, data)
    files.replace_file(folder / _RECORD, files.seal(record))


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the metadata, every byte verified.

    Raises
    ------
    RunError
        When there is no model yet, or a file of it is missing, truncated or changed; the message names the file.
    """
    path = folder / _MODEL
    if not path.exists():
        raise RunError(f"{path} is missing: the training was not finished, or the file was deleted; resume the run")
    record = files.read_sealed(folder / _RECORD)
    try:
        data = files.read_checked(path, record)
    except RunError:
        if not record.get("former"):
            raise
        record = record["former"]
        data = files.read_checked(path, record)
    return files.decode_tensors(data, str(path)), record["metadata"]


def _present_record(folder: Path) -> dict[str, Any] | None:
    """The record of the model that is there now, when both are whole."""
    try:
        record = files.read_sealed(folder / _RECORD)
        found = files.fingerprint((folder / _MODEL).read_bytes())
    except (RunError, OSError):
        return None
    candidates = [record, record.pop("former", None)]
    return next((entry for entry in candidates if entry and entry["sha256"] == found["sha256"]), None)
