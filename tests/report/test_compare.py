"""Models beside each other: the same rows, one budget, a run folder each, a table and sentences."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import equilibria
from equilibria import GAN, RBM, Independent, Mixture, compare
from equilibria.data import Data
from equilibria.errors import RunError, TrainingInterrupted
from equilibria.evaluation.two_sample import C2ST
from equilibria.evaluation.verdict import Answer, Verdict
from equilibria.numbers import Measure
from equilibria.report.compare import FILE, Comparison, Entry
from equilibria.training.run import Run

ROWS = np.random.RandomState(0).randint(0, 2, (300, 1)).repeat(5, axis=1)
ROWS = np.abs(ROWS - (np.random.RandomState(1).uniform(size=ROWS.shape) < 0.05))


def test_the_better_model_is_named_with_its_lead(tmp_path: Path) -> None:
    """Columns that copy each other but for 5 %: a tree knows it, independent columns do not."""
    found = compare(ROWS, ["independent", "tree", "gan"], steps=4, out=tmp_path)
    assert [row[0] for row in found.table] == ["model", "independent", "tree", "gan"]
    assert found["tree"].scores is not None
    assert found["tree"].measure("log-likelihood").value == pytest.approx(
        found["tree"].scores.mean(), abs=1e-9
    )
    text = str(found)
    assert "By likelihood tree is before independent by" in text
    assert "Of gan no likelihood is known." in text
    assert "All was judged by" in text
    assert json.loads((tmp_path / FILE).read_text())["table"] == found.table


def test_steps_are_every_model_s_but_the_quick_ones(tmp_path: Path) -> None:
    found = compare(ROWS, ["mixture", "rbm", "gan"], steps=30, out=tmp_path, held_out=0.5)
    assert not any(one.why for one in found.entries)
    mixture, rbm, gan = (equilibria.load(tmp_path / name) for name in ("mixture", "rbm", "gan"))
    assert mixture.n_steps_ == Mixture().steps
    assert gan.n_steps_ == 30
    assert rbm.n_steps_ == 30  # 150 rows, batches of 50
    assert rbm.settings_.n_iter == 10


def test_what_has_been_trained_is_read_and_what_was_stopped_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"columns": Independent(), "game": GAN(steps=8)}
    whole = compare(ROWS, models, out=tmp_path / "whole")
    save = Run.save_checkpoint

    def stopping(run: Run, state: object, at: int) -> object:
        if at == 4:
            signal.raise_signal(signal.SIGINT)
        return save(run, state, at)

    monkeypatch.setattr("equilibria.training.trainer.CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "save_checkpoint", stopping)
        with pytest.raises(TrainingInterrupted):
            compare(ROWS, models, out=tmp_path / "stopped")
    before = (tmp_path / "stopped" / "columns" / "model.safetensors").stat().st_mtime_ns
    again = compare(ROWS, models, out=tmp_path / "stopped")
    assert (tmp_path / "stopped" / "columns" / "model.safetensors").stat().st_mtime_ns == before
    assert again["game"].measure("C2ST") == whole["game"].measure("C2ST")


@pytest.mark.parametrize("name", ["asked.json", "comparison.json"])
def test_a_folder_with_such_files_of_others_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"table": "mine"}')
    with pytest.raises(RunError, match=rf"{name} is damaged.*or is not of a comparison.*another"):
        compare(ROWS, [Independent()], out=tmp_path)
    assert (tmp_path / name).read_text() == '{"table": "mine"}'
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_samples_teach_what_rows_teach() -> None:
    """Labels that a column tells: trees trained on a mixture's samples know them too."""
    frame = pd.DataFrame({"a": ROWS[:, 0], "b": ROWS[:, 1], "c": np.arange(len(ROWS)) % 7.0})
    data = Data(frame, np.where(ROWS[:, 2] > 0, "yes", "no"), ("a", "b", "c"))
    found = compare(data, ["mixture"], held_out=0.4)["mixture"].measure("trained on samples")
    assert found is not None
    assert found.value > 0.85
    assert found.ideal is not None
    assert found.ideal > 0.85


def test_a_model_that_cannot_take_the_rows_is_a_line_that_says_why() -> None:
    found = compare(np.random.RandomState(0).normal(size=(300, 3)), {"a": RBM(kinds="binary")})
    assert found["a"].why
    assert f"a could not be trained: {found['a'].why}" in str(found)


@pytest.mark.parametrize(
    ("models", "how", "message"),
    [
        (["tree", "forest"], {}, "models: 'forest' is unknown; expected some of"),
        (["tree", Independent(), Independent()], {}, "two are called 'independent'"),
        ([], {}, "models: there are none"),
        (["tree"], {"minutes": 1, "steps": 2}, "minutes=1, steps=2: give one of the two"),
        ([Mixture(out="x")], {}, "out='x' of a model: each model's is a folder"),
        (["tree"], {"steps": 0}, None),
        (["gan"], {"steps": 0}, "steps=0"),
        (["tree"], {"held_out": 0}, "held_out=0"),
        (["tree"], {"test": ROWS}, "test: it goes with a Data as X"),
        (
            {"a": RBM(binarise="fixed"), "b": RBM(binarise="threshold")},
            {},
            "figures of different binarisations are of different data",
        ),
    ],
)
def test_refusals(models: list[object], how: dict[str, object], message: str | None) -> None:
    if message is None:
        assert compare(ROWS, models, **how)["tree"].why == ""
        return
    with pytest.raises(ValueError, match=message):
        compare(ROWS, models, **how)


def entry(name: str, area: float, half: float, score: float | None) -> Entry:
    told = Measure(C2ST, area, area - half, area + half)
    verdict = Verdict((Answer("Can samples be told from data?", "yes", "", (told,)),), {})
    scores = None if score is None else np.full(9, score)
    return Entry(name, verdict, scores=scores, density="" if score is None else "all")


def test_the_model_told_least_is_taken_and_of_those_that_tie_the_likeliest() -> None:
    far, close = entry("far", 0.9, 0.02, -1.0), entry("close", 0.58, 0.02, -9.0)
    tied, silent = entry("tied", 0.42, 0.02, -5.0), entry("silent", 0.57, 0.02, None)
    failed = Entry("failed", why="it takes no gaps")
    name, why = Comparison((far, close, failed), 9).choice()
    assert name == "close", "however likely the other is"
    assert why == (
        "close is taken: its samples are told from held-out rows least (area under the curve close "
        "0.580; .5 is chance)."
    )
    name, why = Comparison((far, close, tied, silent), 9).choice()
    assert name == "tied", "an area below one half is as far from it"
    assert "samples of 3 are told from held-out rows least" in why
    assert "held-out rows are likeliest under it (-5.000 nats a row)" in why
    assert Comparison((far, silent), 9).choice()[0] == "silent"
    with pytest.raises(ValueError, match=r"samples of none could be judged \(failed: it takes no"):
        Comparison((failed,), 9).choice()
