"""From a fit to the page, with the real work done: every estimator is trained, loaded, evaluated
and reported on.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import equilibria
from equilibria import cli
from equilibria.data import load as load_data
from equilibria.estimate import Estimate
from equilibria.estimators import ESTIMATORS, GAN, MODELS, RBM
from equilibria.report import assessment
from equilibria.training.run import Run

TINY: dict[str, Any] = {
    "n_components": 4,
    "n_iter": 1,
    "hidden": (6, 4),
    "steps": 3,
    "pretrain_steps": 2,
    "channels": 4,
    "epochs": 1,
    "ais_betas": 10,
    "ais_chains": 4,
    "bound_samples": 2,
    "random_state": 0,
}
"""Settings of a fit of a second or two, of which each estimator takes those that it has."""


def settings(cls: type) -> dict[str, Any]:
    known = inspect.signature(cls).parameters
    return {name: value for name, value in TINY.items() if name in known}


def option(name: str, value: Any) -> list[str]:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return [f"--{name.replace('_', '-')}", text]


def fitted(cls: type, folder: Path) -> Any:
    """Of an estimator that the command line does not train: a fit in Python to digits, its run in
    ``folder``.
    """
    digits = load_data("digits")
    X, y = digits.values[:100], digits.labels[:100]
    inner = RBM(**settings(RBM), value_range=(0, 16), out=None)
    model = cls(inner, **settings(cls))
    model.fit(X, y)
    model.save(folder)
    return model


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    return cli.main([str(word) for word in words]), *capsys.readouterr()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_goes_from_a_fit_to_its_page(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cls, folder = ESTIMATORS[name], tmp_path / "run"
    if name in MODELS:
        words = [word for pair in settings(cls).items() for word in option(*pair)]
        code, text, errors = command(capsys, "train", name, "digits", *words, "--out", folder)
        assert code == 0, errors
        assert "The run is in" in text
    else:
        fitted(cls, folder)
    assert type(equilibria.load(folder)) is cls
    code, text, errors = command(capsys, "evaluate", folder)
    if name in MODELS:
        assert code == 0, errors
        measured = assessment.read(folder)
        assert len(measured) > 5
        lines = [
            str(result) for result in measured if not result.name.startswith(assessment.CLASS_SHARE)
        ]
        assert text == "".join(f"{line}\n" for line in lines)
    else:  # trained on an array, which a run cannot load again
        assert code == 2
        assert errors.startswith("equilibria: ")
        assert len(errors.splitlines()) == 1
    code, text, errors = command(capsys, "report", folder)
    assert code == 0, errors
    assert text == f"{folder / 'report.html'}\n"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert cls.__name__ in page or f"equilibria train {name}" in page
    health = equilibria.estimators.load_generative(folder).health_
    assert all(sentence[:20] in page for sentence in health if "'" not in sentence[:20])
    if name in MODELS:
        assert "What was measured" in page


def test_a_report_of_several_runs_goes_where_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for pair in settings(RBM).items() for word in option(*pair)]
    for name in ("first", "second"):
        assert command(capsys, "train", "rbm", "digits", *words, "--out", tmp_path / name)[0] == 0
    out = tmp_path / "page.html"
    code, text, _ = command(capsys, "report", tmp_path / "first", tmp_path / "second", "--out", out)
    assert (code, text) == (0, f"{out}\n")
    page = out.read_text(encoding="utf-8")
    assert "2 trained models" in page
    assert page.count("<section") == 2
    assert "has not been evaluated" in page


def test_a_density_without_a_log_z_is_trained_evaluated_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that knows its density outright: it has a ``log_likelihood`` and no
    ``log_partition_``.
    """

    def log_likelihood(self: GAN, X: Any) -> Estimate:
        return Estimate(-9.0, -10.0, -8.0, "in closed form", "mean log-likelihood")

    monkeypatch.setattr(GAN, "log_likelihood", log_likelihood, raising=False)
    words = [word for pair in settings(GAN).items() for word in option(*pair)]
    code, text, errors = command(
        capsys, "train", "gan", "digits", *words, "--out", tmp_path / "run"
    )
    assert code == 0, errors
    assert "On held-out rows: " in text
    assert "log Z" not in text
    assert command(capsys, "evaluate", tmp_path / "run")[0] == 0
    names = [result.name for result in assessment.read(tmp_path / "run")]
    assert names[:2] == [
        f"mean log-likelihood of {rows}, nats" for rows in ("held-out rows", "training rows")
    ]
    assert "log Z, nats" not in names
    assert command(capsys, "report", tmp_path / "run")[0] == 0


def test_a_run_of_a_gan_keeps_the_bandwidth_it_was_trained_with(tmp_path: Path) -> None:
    """The frequencies that a critic sees are part of its shape: a run whose default was another one
    is not damaged.
    """
    rows = np.random.RandomState(0).normal(size=(60, 2))
    model = GAN(**settings(GAN), bandwidth=0.0).fit(rows)
    model.save(tmp_path / "run")
    run = Run.open(tmp_path / "run")  # as a version would have written it whose default was none
    families = {
        kind: {**family, "bandwidth": 0.0} for kind, family in run.config["families"].items()
    }
    run.update_config(params={**run.config["params"], "bandwidth": None}, families=families)
    again = equilibria.load(tmp_path / "run")
    assert again.bandwidth is None
    assert np.array_equal(again.transform(rows), model.transform(rows))
    again.save(tmp_path / "again")
    assert np.array_equal(
        equilibria.load(tmp_path / "again").transform(rows), model.transform(rows)
    )
