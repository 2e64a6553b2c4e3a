"""Damaged run folders: each is refused in a sentence, or gives what it gave before."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import equilibria
from equilibria import durable
from equilibria.data import bars_and_stripes
from equilibria.errors import RunError
from equilibria.estimators.migrate import migrated
from equilibria.training.run import Run
from scripts import script

damage = script("siege/damage.py")
FORMER = Path(__file__).parents[1] / "estimators" / "runs"
RUNS = {"ended": ("rbm", False), "stopped": ("rbm", True), "with another in it": ("fine-tuned", 0)}


@pytest.fixture(scope="module", autouse=True)
def unsynced() -> Iterator[None]:
    """Nothing here is to survive a power cut."""
    with mock.patch.object(os, "fsync", return_value=None):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of each kind, with other seeds; the tests only read them."""
    folder = tmp_path_factory.mktemp("damage")
    for what, (kind, stopped) in RUNS.items():
        (folder / what).mkdir()
        for seed in (0, 1):
            damage.trained(kind, seed, folder / what / str(seed), stopped)
    return folder


@pytest.fixture
def runs(home: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of two that have ended."""
    for seed in ("0", "1"):
        shutil.copytree(home / "ended" / seed, tmp_path / seed)
    return tmp_path / "0", tmp_path / "1"


@pytest.mark.parametrize(("what", "count"), [("ended", 50), ("stopped", 40), (list(RUNS)[2], 15)])
def test_a_damaged_run_is_refused_or_gives_what_it_gave(
    home: Path, tmp_path: Path, what: str, count: int
) -> None:
    """Each kind of harm falls on some file, a number of them more often."""
    top = tmp_path / "runs"
    shutil.copytree(home / what, top)
    X, whole = damage.rows(top), shutil.copytree(top / "0", top / "whole")
    expected, told = damage.state(whole, X)
    assert told == []
    trials = damage.damaged(top / "0", random.Random(what), top / "1")
    found = [
        (trial, damage.outcome(trial, expected, X))
        for _, trial in zip(range(count), trials, strict=False)
    ]
    assert [one for one in found if one[1].startswith(damage.BAD)] == []
    assert {"refused", "same"} <= {said for _, said in found}


@pytest.mark.parametrize("name", sorted(path.name for path in FORMER.glob("*[0-9]")))
def test_damage_to_a_run_of_an_earlier_format_is_no_traceback(name: str, tmp_path: Path) -> None:
    """It has no seals, so that types and places are all that can be checked."""
    (tmp_path / "rows.csv").touch()
    shutil.copytree(FORMER / name, tmp_path / name)
    how = ("types", "nested", "digit", "line", "no file", "forged")
    trials = damage.damaged(tmp_path / name, random.Random(name), tmp_path / "other", how)
    found = [
        (trial, damage.outcome(trial, None, bars_and_stripes(2)))
        for _, trial in zip(range(25), trials, strict=False)
    ]
    assert [one for one in found if one[1].startswith(damage.BAD)] == []


@pytest.mark.parametrize("file", ["config.json", "model.json", "metrics.jsonl", "evaluation.json"])
def test_a_file_of_another_run_is_not_taken(runs: tuple[Path, Path], file: str) -> None:
    mine, other = runs
    shutil.copy(other / file, mine / file)
    if file == "model.json":
        shutil.copy(other / "model.safetensors", mine / "model.safetensors")
    with pytest.raises(RunError, match=r"another (run|model)|damaged: its rows"):
        damage.state(mine, None)


def test_a_rate_that_is_changed_by_hand_is_found(runs: tuple[Path, Path]) -> None:
    mine, _ = runs
    config = json.loads((mine / "config.json").read_text())
    config["params"]["weight_decay"] = 0.5
    for text in (json.dumps(config, indent=1), json.dumps({**config, "format": 2}, indent=1)):
        (mine / "config.json").write_text(text)
        with pytest.raises(RunError, match=r"config\.json is damaged.*restore it from a copy"):
            equilibria.load(mine)
    del config["digest"]
    for less in ({}, {"run": None}):
        config = {k: v for k, v in config.items() if k not in less}
        (mine / "config.json").write_text(json.dumps({**config, "format": 2}))
        with pytest.raises(RunError, match=r"lacks the digest|is of another run"):
            equilibria.load(mine)


def test_a_damaged_model_is_named_by_resume_and_the_remedy_works(runs: tuple[Path, Path]) -> None:
    mine, _ = runs
    X = damage.rows(mine.parent)
    whole, path = equilibria.load(mine), mine / "model.safetensors"
    good = path.read_bytes()
    for record in (False, True):
        path.write_bytes(good[:-1])
        if record:
            os.truncate(mine / "model.json", 20)
        said = rf"is damaged.*; delete {path} and resume the run \(equilibria resume {mine}\)"
        for use in (lambda: equilibria.load(mine), lambda: equilibria.resume(mine, X)):
            with pytest.raises(RunError, match=said):
                use()
        path.unlink()
        again = equilibria.resume(mine, X)
        assert path.read_bytes() == good
        assert (again.sample(5) == whole.sample(5)).to_numpy().all()
        assert again.history_ == whole.history_


def test_without_its_metrics_a_run_goes_on_and_says_so(runs: tuple[Path, Path]) -> None:
    mine, _ = runs
    (mine / "metrics.jsonl").unlink()
    with pytest.warns(UserWarning, match=r"metrics\.jsonl is missing or empty: the run has"):
        assert equilibria.load(mine).history_ == []


def test_a_lock_that_is_a_link_leaves_its_target_alone(tmp_path: Path) -> None:
    run, mine = Run.create(tmp_path / "run", {}), tmp_path / "mine"
    mine.write_text("mine")
    for make in (lambda: os.symlink(mine, run.path / "lock"), lambda: os.mkfifo(run.path / "lock")):
        make()
        with pytest.raises(RunError, match=r"lock is a link.*move it away"), run.lock():
            pass
        (run.path / "lock").unlink()
    assert mine.read_text() == "mine"


def test_a_run_folder_may_be_reached_through_a_link(runs: tuple[Path, Path]) -> None:
    link = runs[0].with_name("link")
    link.symlink_to(runs[0])
    assert (equilibria.load(link).sample(3) == equilibria.load(runs[0]).sample(3)).to_numpy().all()


def test_runs_of_format_2_load_and_go_on() -> None:
    """They have no seals. Score and length are those of the version that wrote them."""
    model = equilibria.load(FORMER / "rbm-format-2")
    assert model.n_steps_ == 40
    assert model.score(bars_and_stripes(2)) == pytest.approx(-2.78892, abs=1e-4)
    assert model.history_[-1]["step"] == 40


def test_a_training_of_format_2_goes_on(tmp_path: Path) -> None:
    """Where it was given what has another default now; else it is refused."""
    shutil.copytree(FORMER / "rbm-format-2-stopped", tmp_path / "run")
    with pytest.raises(
        RunError, match=r"learning_rate, momentum.* left to defaults that have changed"
    ):
        equilibria.resume(tmp_path / "run", bars_and_stripes(2))
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    inner = {**config, "params": {"machine": {"params": config["params"]}}}
    path.write_text(json.dumps(inner))
    with pytest.raises(RunError, match="left to defaults that have changed"):
        migrated(equilibria.NextState, Run.open(tmp_path / "run"))
    config["params"] |= {"learning_rate": 0.05, "momentum": 0.9}
    path.write_text(json.dumps(config))
    model = equilibria.resume(tmp_path / "run", bars_and_stripes(2))
    weights = [one.model_.state_dict() for one in (model, equilibria.load(FORMER / "rbm-format-2"))]
    assert weights[0].keys() == weights[1].keys()
    for name in weights[0]:
        np.testing.assert_allclose(*(one[name].numpy() for one in weights), atol=1e-5)
    assert equilibria.load(tmp_path / "run").n_steps_ == 40


def test_what_json_can_hold_is_a_sentence(tmp_path: Path) -> None:
    path, texts = tmp_path / "x.json", ["[" * 100_000, '{"a": ' * 10_000 + "1" + "}" * 10_000]
    texts += ["1e400", "[1]", "null", '"digest"', '{"digest": 1e400}', "9" * 5000, "\ud800", ""]
    for text in texts:
        path.write_bytes(text.encode(errors="surrogatepass"))
        with pytest.raises(RunError, match=r"x\.json is damaged"):
            durable.read_sealed(path)


def test_sizes_are_known_before_a_file_is_read(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    run.save_model({}, {})
    for name in ("model.safetensors", "model.json", "config.json"):
        os.truncate(run.path / name, 2**40)
        with pytest.raises(RunError, match=rf"{name} is damaged.* {2**40} bytes"):
            (Run.open(run.path) if name == "config.json" else run).load_model()
