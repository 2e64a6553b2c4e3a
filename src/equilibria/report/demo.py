"""The main job in one call: both families learn small digits, are assessed, and share a page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from equilibria.estimators import DBM, GAN
from equilibria.report import page
from equilibria.report.assessment import CLASS_SHARE, assess
from equilibria.training.origin import attach, collect

__all__ = ["run"]

DBM_SETTINGS: dict[str, Any] = {
    "hidden": (128, 64),
    "steps": 6000,
    "pretrain_steps": 2000,
    "mean_field_steps": 10,
    "ais_betas": 2000,
    "random_state": 0,
}
GAN_SETTINGS: dict[str, Any] = {"steps": 3000, "batch_size": 256, "random_state": 0}


def run(out: Path, overwrite: bool = False, say: Callable[[str], None] = print) -> Path:
    """Train a DBM and a GAN on the digits into ``out/dbm`` and ``out/gan``, and write ``out/report.html`` about both.

    Parameters
    ----------
    out : Path
        A folder; it is made.
    overwrite : bool
        Whether earlier runs there may be replaced.
    say : callable
        Where sentences about the progress go.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    RunError
        When a run is in the way, or nothing can be written there.
    """
    loaded = collect("digits")
    say(f"{loaded.train.name}: {len(loaded.train):,} rows to train on, {len(loaded.test):,} held out.")
    folders = []
    for estimator in (DBM(**DBM_SETTINGS), GAN(**GAN_SETTINGS)):
        folder = out / estimator.model_name
        estimator.set_params(out=str(folder), overwrite=overwrite)
        attach(estimator, loaded)
        say(f"Training a {type(estimator).__name__} into {folder} …")
        estimator.fit(loaded.train.values)
        numbers = [number for number in assess(folder) if not number.name.startswith(CLASS_SHARE)]  # these are a chart in the report
        for sentence in (*numbers, *estimator.health_):
            say(f"  {sentence}")
        folders.append(folder)
    return page.write(folders, out / "report.html")
