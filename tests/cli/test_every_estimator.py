"""From a fit to the page, with the real work done: every estimator is trained, loaded, used,
evaluated and reported on, by the command line where that can train it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import equilibria
from equilibria import RBM
from equilibria.cli.app import main
from equilibria.cli.options import trainable, written
from equilibria.data import load as load_data
from equilibria.estimators import all_estimators
from equilibria.estimators.params import parameters, spelled
from equilibria.report.view import CLASS_SHARE, read, read_verdict
from equilibria.training.run import Run

ALL = all_estimators()
TINY: dict[str, Any] = {
    "n_components": 4,
    "n_iter": 1,
    "hidden": (6, 4),
    "steps": 3,
    "pretrain_steps": 2,
    "channels": 4,
    "ais_betas": 10,
    "ais_chains": 4,
    "bound_samples": 2,
    "random_state": 0,
}
"""Settings of a fit of a second or two, of which each estimator takes those that it has."""
USES = {"sample": "sample", "score": "score", "fill": "complete", "predict": "classify"}
"""Command → the capability that it needs."""


def settings(cls: Any) -> dict[str, Any]:
    known = {field.name for field in parameters(cls)}
    return {name: value for name, value in TINY.items() if name in known}


def words(cls: Any) -> list[str]:
    found = [(f"--{name.replace('_', '-')}", spelled(v)) for name, v in settings(cls).items()]
    return [word for pair in found for word in pair]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*given: object) -> tuple[int, str, str]:
        capsys.readouterr()
        return main([str(word) for word in given]), *capsys.readouterr()

    return run


@pytest.mark.parametrize("name", ALL)
def test_every_estimator_goes_from_a_fit_to_its_page(
    name: str, tmp_path: Path, command: Any
) -> None:
    cls, folder, digits = ALL[name], tmp_path / "run", load_data("digits")
    if trainable(cls):
        code, text, errors = command("train", name, "digits", *words(cls), "--out", folder)
        assert code == 0, errors
        assert "The run is in" in text
        can = equilibria.load(folder).capabilities_
        assert ("On held-out rows:" in text) == ("score" in can)
    else:
        inner = RBM(**settings(RBM), value_range=(0, 16))
        some = slice(0, 100)
        cls(inner, **settings(cls)).fit(digits.values[some], digits.labels[some]).save(folder)
    model = equilibria.load(folder)
    assert type(model) is cls
    for verb, capability in USES.items():
        suffix = ("--out", tmp_path / f"{verb}.csv")
        rows = () if verb == "sample" else ("digits",)
        code, _, errors = command(verb, folder, *rows, *suffix)
        assert code == (0 if capability in model.capabilities_ else 2), errors
        if code:
            assert errors.startswith(("equilibria: RUN=", "equilibria: RUN|TABLE=")), errors
            assert len(errors.splitlines()) == 1
            assert cls.__name__ in errors
    code, text, errors = command("evaluate", folder)
    if trainable(cls):
        assert code == 0, errors
        measured = read(Run.open(folder))
        assert len(measured) > 5
        shown = [one for one in measured if not one.name.startswith(CLASS_SHARE)]
        verdict = read_verdict(Run.open(folder))
        assert text == f"{verdict}\n\n" + "".join(f"{one}\n" for one in shown)
        assert ("log Z, nats" in text) == ("normaliser" in model.capabilities_)
    else:  # trained on an array, which a run cannot load again
        assert (code, len(errors.splitlines())) == (2, 1)
    code, text, errors = command("report", folder)
    assert code == 0, errors
    assert text == f"{folder / 'report.html'}\n"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert cls.__name__ in page or f"equilibria train {name}" in page
    assert ("Samples of the model" in page) == ("sample" in model.capabilities_)
    assert ("What was measured" in page) == trainable(cls)


@pytest.mark.parametrize("name", [name for name in ALL if trainable(ALL[name])])
def test_every_parameter_is_an_option_and_its_default_makes_the_way_through_it(
    name: str, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, parser, constructor: the estimator is the default one but for the seed."""
    code, text, _ = command("train", name, "--help")
    assert code == 0
    unwrapped = " ".join(text.split())
    for field in parameters(ALL[name]):
        shown = f"--{field.name.replace('_', '-')} " in text
        assert shown == field.metadata["option"]
        assert not shown or field.metadata["doc"].split(";")[0][:30] in unwrapped
    caught: list[Any] = []
    monkeypatch.setattr("equilibria.cli.app._train", lambda model, *_: caught.append(model))
    monkeypatch.setattr("equilibria.cli.app._advise", lambda *_: None)
    assert command("train", name, "digits", "--out", "x")[0] == 0
    defaults = {field.name: field.default for field in parameters(ALL[name])}
    assert caught[0].get_params(deep=False) == {**defaults, "out": "x", "random_state": 0}


def test_an_estimator_that_the_command_line_has_never_seen_is_trained_and_reported_on(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new model is a file and a line: nothing here, and nothing in the report, knows its name."""
    from equilibria.estimators.params import estimator

    @estimator
    class Mine(equilibria.MADE):
        """My own model: of nothing new."""

        name = "mine"

    found = {**ALL, "mine": Mine}
    monkeypatch.setattr("equilibria.estimators.all_estimators", lambda: found)
    monkeypatch.setattr("equilibria.cli.app.known", lambda: json.loads(written()))
    monkeypatch.setattr("equilibria.cli.app.training.registered_commands", [])
    code, _, errors = command("train", "mine", "digits", *words(Mine), "--out", tmp_path / "run")
    assert code == 0, errors
    assert command("evaluate", tmp_path / "run")[0] == 0
    assert command("report", tmp_path / "run")[0] == 0
    assert "<h1>My own model on digits</h1>" in (tmp_path / "run" / "report.html").read_text()
    (tmp_path / "run" / "model.safetensors").unlink()
    (tmp_path / "run" / "model.json").unlink()
    assert command("resume", tmp_path / "run")[0] == 0


def test_a_report_of_several_runs_goes_where_it_is_told(tmp_path: Path, command: Any) -> None:
    for name in ("first", "second"):
        given = ("train", "rbm", "digits", *words(RBM), "--out", tmp_path / name)
        assert command(*given)[0] == 0
    out = tmp_path / "page.html"
    code, text, _ = command("report", tmp_path / "first", tmp_path / "second", "--out", out)
    assert (code, text) == (0, f"{out}\n")
    page = out.read_text(encoding="utf-8")
    assert "2 trained models" in page
    assert page.count("<section") == 2
    assert "has not been evaluated" in page
