"""Runs of earlier versions, in the words of this one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from equilibria.data.labels import LabelCoding
from equilibria.data.table import Table
from equilibria.errors import RunError
from equilibria.estimators.params import parameters
from equilibria.numbers import Measure
from equilibria.training.run import Run

__all__ = ["migrated", "renamed"]

REMADE = ("learning_rate", "momentum", "pretrain_learning_rate", "n_iter")  # in format 4


def migrated(cls: Any, run: Run) -> dict[str, Any]:
    """The configuration of a run as this version writes it; one that is so already stays as it is.

    Of version 0.1.0 parameters have other names (``cls.renamed``), columns are a schema rather than
    a table, and log Z lies in the metadata of the model. A training left half-way that this version
    would not go on with bit for bit is refused: of 0.1.0, or before format 4 with parameters left
    to defaults that are others now.
    """
    config = dict(run.config)
    known = "table" in config
    remade = _remade(config["params"]) if known and config["format"] < 4 else []
    if (remade or not known) and not (run.path / "model.safetensors").exists():
        whose = f", with {', '.join(remade)} left to defaults that have changed" if remade else ""
        raise RunError(
            f"run={str(run.path)!r} was begun by equilibria {config['equilibria']}{whose}, and its "
            "training has not ended; this version would go on with other draws: end it with that "
            "version, or train again"
        )
    if known:
        return config
    metadata = run.load_model()[1]
    table = Table.from_json(config["schema"])
    labels = config.get("labels")
    if labels is not None:
        table = table.with_labels(LabelCoding.from_json(labels))
    grey = metadata.get("grey_layers", ["visible"] if metadata.get("grey") else [])
    table = table.with_grey(grey)
    found = metadata.get("sides") or {}
    parts = [side for side in found.values() if side]
    log_z = metadata.get("log_partition")
    if log_z is not None:
        whole = Measure.from_json(log_z).replace(parts=tuple(map(Measure.from_json, parts)))
        config["numbers"] = {"log_partition": whole.to_json(), **config.get("numbers", {})}
    params = cls.params_of(config)
    config["kept"] = cls.kept_of(config, metadata)
    return {**config, "params": params, "table": table.to_json()}


def _remade(params: Mapping[str, Any]) -> list[str]:
    """Parameters of a Boltzmann machine, itself or within, that were left to former defaults."""
    inner = params.get("machine")
    within = _remade(inner["params"]) if isinstance(inner, dict) and "params" in inner else []
    own = REMADE if "chains" in params else ()
    return [name for name in own if params.get(name, 0) is None] + within


def renamed(cls: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by their present names; those that are no more are left out."""
    known, found = {field.name for field in parameters(cls)}, dict[str, Any]()
    for old, value in params.items():
        name = getattr(cls, "renamed", {}).get(old, old)
        if name in known and (found.get(name) is None or value is not None):
            found[name] = value
    return found
