"""The verbs for a table: synthesise, fill, odd, predict; what they write, say and refuse."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import equilibria
from equilibria import durable
from equilibria.errors import TrainingInterrupted
from equilibria.estimators import estimator
from equilibria.estimators.trees import Counting
from equilibria.training.run import Run

Console = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]
TYPES = {"party": "str", "size": "float64", "count": "int64", "code": "str"}


def draw(n: int, seed: int = 0) -> pd.DataFrame:
    """A party that tells a size, a count that does not matter, a code; the names stay out."""
    r = np.random.RandomState(seed)
    party = r.randint(0, 2, n)
    return pd.DataFrame(
        {
            "party": np.array(["left", "right"])[party],
            "size": (4 * party + 0.3 * r.normal(size=n)).round(2),
            "count": r.randint(0, 40, n),
            "code": np.array(["a", "b", "c"])[r.randint(0, 3, n)],
        }
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole table, one with gaps, one with labels that are missing; the tests only read them."""
    folder = tmp_path_factory.mktemp("verbs")
    whole = draw(200)
    whole.to_csv(folder / "whole.csv", index=False)
    gaps = whole.astype(object)
    gaps.iloc[::7, 1] = None
    gaps.iloc[::11, 0] = None
    gaps.to_csv(folder / "gaps.csv", index=False)
    unknown = whole.astype(object)
    unknown.iloc[5:15, 0] = None
    unknown.to_csv(folder / "unknown.csv", index=False)
    return folder


# ---------------------------------------------------------------- synthesise


def test_a_synthetic_table_has_the_columns_types_and_laws_of_its_source(
    console: Console, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made.csv"
    words = ("synthesise", home / "whole.csv", "-n", 300, "--out", out, "--model", "mixture")
    code, text, errors = console(*words)
    assert code == 0, errors
    made = pd.read_csv(out)
    assert dict(made.dtypes.astype(str)) == TYPES
    assert len(made) == 300
    means = made.groupby("party")["size"].mean()
    assert means["right"] - means["left"] == pytest.approx(4, abs=0.8)
    lines = text.splitlines()
    assert lines[0] == "whole.csv: 200 rows"
    assert "Training mixture on 160 rows …" in lines
    assert f"300 rows drawn from mixture are in {out}. Can they be trusted?" in lines
    assert any(line.startswith("  Can samples be told from data?") for line in lines)
    run = tmp_path / "made-runs" / "mixture"
    assert lines[-2:] == [f"  equilibria evaluate {run}", f"  equilibria report {run}"]
    assert equilibria.load(run).name == "mixture"
    assert console("evaluate", run)[0] == 0, "the run knows where its rows are"


def test_the_model_is_chosen_by_the_two_sample_score_and_it_is_said_why(
    console: Console, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from equilibria.report import compare

    monkeypatch.setattr(compare, "SUITED", ("independent", "tree", "flow"))
    words = ("synthesise", home / "gaps.csv", "--out", tmp_path / "a.csv", "--minutes", "0.05")
    code, text, errors = console(*words)
    assert code == 0, errors
    assert "flow is left out (X: column 'party' has missing cells" in text
    assert "Training independent, tree on 160 rows …" in text
    assert "tree is taken: its samples are told from held-out rows least" in text
    made = pd.read_csv(tmp_path / "a.csv")
    assert (len(made), list(made.columns)) == (200, list(TYPES)), "as many as there are"
    again = console(*words[:-4], "--out", tmp_path / "b.csv", "--runs", tmp_path / "a-runs")
    assert again[0] == 0, "runs that have ended are read"
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()


def test_a_label_is_drawn_as_a_class_and_stays_in_its_place(
    console: Console, home: Path, tmp_path: Path
) -> None:
    out, words = tmp_path / "a.csv", ("--label", "party", "--model", "tree")
    assert console("synthesise", home / "unknown.csv", "-n", 400, "--out", out, *words)[0] == 0
    made = pd.read_csv(out)
    assert dict(made.dtypes.astype(str)) == TYPES
    means = made.groupby("party")["size"].mean()
    assert means["right"] - means["left"] == pytest.approx(4, abs=0.8)
    assert 0 < made["party"].isna().sum() < 60, "5 % of the labels are missing"
    assert equilibria.load(tmp_path / "a-runs" / "tree").labels


# ---------------------------------------------------------------- rules


def test_rules_are_met_in_what_is_written(console: Console, home: Path, tmp_path: Path) -> None:
    out, more = tmp_path / "made.csv", tmp_path / "more.csv"
    rules = ("--rule", "size<=5.0 or count==0", "--rule", "party == 'left' or `count` % 2 == 0")
    words = ("synthesise", home / "whole.csv", "--out", out, "--model", "tree", *rules)
    code, text, errors = console(*words, "--unique", "size, count")
    assert code == 0, errors
    whole, made = draw(200), pd.read_csv(out)
    assert len(made) == 200
    assert ((made["size"] <= 5) | (made["count"] == 0)).all()
    assert ((made["party"] == "left") | (made["count"] % 2 == 0)).all()
    assert not made.duplicated(["size", "count"]).any()
    broken = 100 * ((whole["party"] != "left") & (whole["count"] % 2 == 1)).mean()
    said = f"{broken:.3g} % of the rows of {home / 'whole.csv'} break {rules[3]!r} themselves."
    assert said in text.splitlines()
    assert re.search(r"\n[1-9]\S* % of the rows drawn at first broke a rule", text)
    run = tmp_path / "made-runs" / "tree"
    assert console("sample", run, "--out", more, "-n", 30, "--rule", "size > 4.0")[0] == 0
    drawn = equilibria.load(run).sample(30, rules="size > 4.0").reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_csv(more), drawn)


def test_bad_rules_are_refused_before_a_training(
    refused: Refused, home: Path, tmp_path: Path
) -> None:
    words = ("synthesise", home / "whole.csv", "--out", tmp_path / "made.csv")
    said = refused(*words, "--rule", "count==sise")
    assert said.startswith("equilibria: --rule='count==sise': 'sise' is no column; did you mean")
    assert "no part of a comparison" in refused(*words, "--rule", "__import__('os').getcwd() < 3")
    assert "--unique=('size', 'cod')" in refused(*words, "--unique", "size,cod")
    assert not list(tmp_path.iterdir())


def test_rules_are_over_the_columns_beside_the_label(
    console: Console, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made.csv"
    words = ("synthesise", home / "whole.csv", "--out", out, "--model", "tree", "--label", "party")
    code, _, errors = console(*words, "--rule", "count >= 10")
    assert code == 0, errors
    made = pd.read_csv(out)
    assert list(made) == list(TYPES)
    assert (made["count"] >= 10).all()
    assert made.groupby("party")["size"].mean().diff().iloc[1] > 3


# ---------------------------------------------------------------- fill


def test_a_table_fills_its_own_gaps(console: Console, home: Path, tmp_path: Path) -> None:
    out, before = tmp_path / "full.csv", pd.read_csv(home / "gaps.csv")
    code, text, errors = console("fill", home / "gaps.csv", "--out", out)
    assert code == 0, errors
    after = pd.read_csv(out)
    assert list(after.columns) == list(before.columns)
    assert not after.isna().to_numpy().any()
    known = before.notna().to_numpy()
    assert (after.to_numpy()[known] == before.to_numpy()[known]).all()
    truth = draw(200)["party"].to_numpy()
    gone = before["party"].isna() & before["size"].notna()
    assert (after["party"][gone] == truth[gone]).mean() > 0.7, "its size tells the party"
    assert " is taken: held-out rows are likeliest under it" in text
    assert "200 rows are in" in text
    (run,) = (tmp_path / "full-runs").iterdir()
    assert f"The run is in {run}." in text
    words = ("fill", run, home / "gaps.csv", "--out", tmp_path / "again.csv")
    assert console(*words)[0] == 0, "its run fills others"
    assert pd.read_csv(tmp_path / "again.csv").equals(after)


def test_a_table_fills_the_gaps_of_another(console: Console, home: Path, tmp_path: Path) -> None:
    few = pd.DataFrame({"party": ["left", None], "size": [None, 4.1]})
    few.assign(count=3, code="a").to_csv(tmp_path / "few.csv", index=False)
    words = ("fill", home / "whole.csv", tmp_path / "few.csv", "--model", "tree")
    assert console(*words, "--out", tmp_path / "out.csv")[0] == 0
    made = pd.read_csv(tmp_path / "out.csv")
    assert made["party"].tolist() == ["left", "right"]
    assert made["size"].notna().all()


# ---------------------------------------------------------------- odd


def test_odd_rows_are_listed_with_their_cells_and_written(
    console: Console, home: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(home / "whole.csv")
    table.loc[41, "size"] = 60.0
    table.to_csv(tmp_path / "table.csv", index=False)
    words = ("odd", tmp_path / "table.csv", "--out", tmp_path / "odd.csv", "--level", "0.02")
    code, text, errors = console(*words)
    assert code == 0, errors
    lines = text.splitlines()
    assert "4 of 200 rows (2.0 %) have p ≤ 0.02." in lines
    first = lines[lines.index("The oddest:") + 2]
    assert first.split()[:2] == ["42", "0.005"]
    assert re.search(r"size = 60\.0 \(p = 0\.0(05|1)\)", first), "the end of its column's ranks"
    assert "Of a table's own rows at most 2 % ever have: p ranks them." in lines
    found = pd.read_csv(tmp_path / "odd.csv")
    assert list(found.columns) == ["p", "odd", "cells", *(f"p({name})" for name in TYPES)]
    assert (len(found), int(found["odd"].sum())) == (200, 4)
    assert "size" in found["cells"][41].split("; ")
    assert not (tmp_path / "odd-runs").exists()


def test_rows_of_another_file_are_judged_by_the_table(console: Console, home: Path) -> None:
    code, text, errors = console("odd", home / "whole.csv", home / "whole.csv", "--model", "tree")
    assert code == 0, errors
    assert "Rows are judged by tree." in text
    assert "Of rows like the table's about 5 % would be flagged." in text


# ---------------------------------------------------------------- predict


def test_missing_labels_of_a_table_are_predicted(
    console: Console, home: Path, tmp_path: Path
) -> None:
    words = ("predict", home / "unknown.csv", "--label", "party", "--out", tmp_path / "a.csv")
    code, text, errors = console(*words)
    assert code == 0, errors
    assert "is taken: held-out labels given their rows are likeliest under it" in text
    found, truth = pd.read_csv(tmp_path / "a.csv"), draw(200)["party"]
    assert list(found.columns) == ["row", "class", "p(left)", "p(right)"]
    assert found["row"].tolist() == list(range(6, 16))
    assert found["class"].tolist() == truth[5:15].tolist()


def test_labels_of_other_rows_are_predicted(console: Console, home: Path, tmp_path: Path) -> None:
    words = ("predict", home / "unknown.csv", home / "whole.csv", "--label", "party")
    code, text, errors = console(*words, "--out", tmp_path / "a.csv", "--model", "mixture")
    assert code == 0, errors
    assert "Classes: 200 rows are in" in text
    assert float(text.rpartition(" % of the 200")[0].split()[-1]) > 95


# ---------------------------------------------------------------- refusals, and how it can end


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("synthesise", "none.csv", "--out", "{tmp}/a.csv"), "TABLE='none.csv': no such file"),
        (("synthesise", "{home}", "--out", "{tmp}/a.csv"), "is a folder: name a table"),
        (("synthesise", "{t}", "--out", "{tmp}/a.txt"), "a name that ends in .csv or .parquet"),
        (("synthesise", "{t}", "-n", "0", "--out", "{tmp}/a.csv"), "-n=0: expected a whole number"),
        (("synthesise", "{t}", "--out", "{tmp}/a.csv", "--model", "x"), "--model='x' is unknown"),
        (("synthesise", "{t}", "--out", "{tmp}/a.csv", "--label", "x"), "--label='x': "),
        (
            ("synthesise", "{t}", "--out", "{tmp}/a.csv", "--minutes", "0", "--model", "rbm"),
            "--minutes=0.0: expected",
        ),
        (
            ("synthesise", "{tmp}/few.csv", "--out", "{tmp}/a.csv"),
            "has 3 rows, and 80 are needed to train models and to judge them; use",
        ),
        (
            ("synthesise", "{t}", "--out", "{tmp}/a.csv", "--kinds", "colour=real"),
            "kinds names the column 'colour', which X does not have; the columns are party,",
        ),
        (
            ("synthesise", "{home}/gaps.csv", "--out", "{tmp}/a.csv", "--model", "flow"),
            "column 'party' has missing cells, and a Flow takes none",
        ),
        (("fill", "none.csv", "--out", "{tmp}/a.csv"), "RUN|TABLE='none.csv': no such file"),
        (("fill", "{home}", "--out", "{tmp}/a.csv"), "is a run folder: name the rows after it"),
        (("fill", "{home}", "{t}", "--out", "{tmp}/a.csv"), "is not a run (it has no config.json)"),
        (
            ("fill", "{home}", "{t}", "--out", "{tmp}/a.csv", "--model", "tree"),
            "--model='tree' goes with a table, and {home} is a run; leave it out",
        ),
        (("fill", "{t}", "--out", "{tmp}/a.csv", "--label", "code"), "--label='code' goes with a"),
        (("fill", "{t}", "--out", "{tmp}/a.csv", "--model", "flow"), "a Flow cannot fill cells"),
        (("fill", "{t}", "none.csv", "--out", "{tmp}/a.csv"), "DATA='none.csv': no such file"),
        (("fill", "{t}", "{tmp}/few.csv", "--out", "{tmp}/a.csv"), "give rows like those of the"),
        (("odd", "none.csv"), "TABLE='none.csv': no such file"),
        (("odd", "{t}", "none.csv"), "DATA='none.csv': no such file"),
        (("odd", "{t}", "--level", "2"), "--level=2.0: expected a finite number above 0"),
        (("odd", "{t}", "--model", "lapgan"), "column 'party' is binary, and a LAPGAN"),
        (("predict", "{t}", "--out", "{tmp}/a.csv"), "--label=None: name the column of TABLE"),
        (
            ("predict", "{t}", "--out", "{tmp}/a.csv", "--label", "party"),
            "--label='party': every row has one; leave the cells to be predicted empty, or give",
        ),
        (
            ("predict", "{t}", "{t}", "--out", "{tmp}/a.csv", "--label", "code", "--model", "dbn"),
            "--model='dbn': a DBN learns no labels",
        ),
    ],
)
def test_a_bad_command_line_is_refused_in_a_sentence(
    words: tuple[str, ...], sentence: str, refused: Refused, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "few.csv").write_text("a,b\n1,x\n2,y\n3,x\n")
    places = {"home": home, "t": home / "whole.csv", "tmp": tmp_path}
    assert sentence.format(**places) in refused(*(word.format(**places) for word in words))
    assert [one.name for one in tmp_path.iterdir()] == ["few.csv"]


def test_what_is_there_stays_unless_it_is_to_be_replaced(
    console: Console, refused: Refused, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.csv"
    out.write_text("mine")
    for verb in ("synthesise", "fill", "odd", "predict"):
        assert f"--out='{out}' is there already" in refused(verb, home / "gaps.csv", "--out", out)
    assert out.read_text() == "mine"
    words = ("fill", home / "gaps.csv", "--out", out, "--model", "tree")
    assert console(*words, "--overwrite")[0] == 0
    out.unlink()
    run = tmp_path / "a-runs" / "tree"
    assert f"--runs='{run}' holds a run: choose another folder" in refused(*words)
    words = ("synthesise", home / "whole.csv", "--model", "tree", "--out")
    assert console(*words, tmp_path / "b.csv")[0] == 0
    words = ("synthesise", home / "gaps.csv", "--model", "tree", "--out")
    said = refused(*words, tmp_path / "c.csv", "--runs", tmp_path / "b-runs")
    assert "--runs=" in said
    assert "its runs have other train, test; name another folder" in said


def test_a_file_is_written_whole_or_not_at_all(
    console: Console, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = tmp_path / "a.csv", durable.os.replace

    def full(*given: Any) -> None:
        if Path(given[1]) == out:
            raise OSError(28, "No space left on device", str(out))
        real(*given)

    monkeypatch.setattr(durable.os, "replace", full)
    words = ("fill", home / "gaps.csv", "--out", out, "--model", "independent")
    code, _, errors = console(*words)
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "No space left on device" in errors
    assert [one.name for one in tmp_path.iterdir()] == ["a-runs"]


def test_a_signal_stops_it_and_the_same_command_goes_on(
    console: Console, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("synthesise", home / "whole.csv", "--model", "rbm")
    monkeypatch.setattr(estimator, "share_within", lambda minutes, stages: (0.2, 0.0))
    save, left = Run.save_checkpoint, [1]

    def stopping(run: Run, state: object, at: int) -> object:
        left[0] -= 1
        if not left[0]:
            signal.raise_signal(signal.SIGINT)
        return save(run, state, at)

    monkeypatch.setattr(Run, "save_checkpoint", stopping)
    out = tmp_path / "a.csv"
    code, _, errors = console(*words, "--out", out)
    assert code == 130, errors
    assert "equilibria resume" in errors
    assert not out.exists()
    code, _, errors = console(*words, "--out", out)
    assert code == 0, errors
    assert len(pd.read_csv(out)) == 200


def test_an_interrupt_of_a_model_that_has_no_run_ends_with_its_code(
    console: Console, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, *given: Any) -> None:
        raise TrainingInterrupted(signal.SIGINT, "Stopped.")

    monkeypatch.setattr(Counting, "train", fail)
    code, _, errors = console("odd", home / "whole.csv", "--out", tmp_path / "a.csv")
    assert (code, errors) == (130, "equilibria: Stopped.\n")
    assert list(tmp_path.iterdir()) == []


def test_parquet_comes_and_goes_with_its_types(
    console: Console, home: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    frame = draw(200).astype({"count": "int16", "code": "category"})
    frame.to_parquet(tmp_path / "table.parquet")
    out = tmp_path / "made.parquet"
    words = ("synthesise", tmp_path / "table.parquet", "--model", "tree", "--out", out)
    assert console(*words, "--label", "party")[0] == 0
    made = pd.read_parquet(out)
    assert made.dtypes.equals(frame.dtypes)
    assert list(made["code"].cat.categories) == ["a", "b", "c"]
