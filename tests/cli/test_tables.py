"""The command line on tables with gaps, text and labels: train, fill, predict, score."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

import equilibria
from equilibria import cli


def write(path: Path, rows: list[list[str]]) -> Path:
    path.write_text("\n".join(",".join(row) for row in [["vote", "size", "colour", "party"], *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a mixed table with gaps whose party tells every column."""
    folder, r = tmp_path_factory.mktemp("tables"), np.random.RandomState(0)
    rows = []
    for i in range(120):
        party = i % 2
        row = [
            "yn"[party],
            f"{4 * party + 0.3 * r.normal():.3f}",
            ["red", "blue", "green"][party + (i % 7 == 0)],
            ["left", "right"][party],
        ]
        rows.append([("" if j < 3 and r.uniform() < 0.1 else cell) for j, cell in enumerate(row)])
    write(folder / "table.csv", rows)
    words = ["train", "rbm", folder / "table.csv", "--label", "party", "--labels", "--kinds", "mixed", "--out", folder / "run"]
    options = ["--n-components", "6", "--n-iter", "100", "--learning-rate", "0.05", "--held-out", "0.2"]
    assert cli.main([*map(str, words), *options]) == 0
    return folder


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.reader(file))


def test_fill_keeps_what_is_there_and_leaves_no_gap(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gaps = write(tmp_path / "gaps.csv", [["y", "", "red", ""], ["", "4.1", "", ""]])
    assert cli.main(["fill", str(home / "run"), str(gaps), "--label", "party", "--out", str(tmp_path / "full.csv"), "-n", "2"]) == 0
    header, *rows = read(tmp_path / "full.csv")
    assert header == ["vote", "size", "colour", "party"]
    assert len(rows) == 4
    assert all(cell for row in rows for cell in row[:3])
    assert [row[3] for row in rows] == [""] * 4, "a missing label stays missing"
    assert [row[0] for row in rows[::2]] == ["y", "y"]
    assert all(float(row[1]) == pytest.approx(4.1) for row in rows[1::2])
    assert "2 rows, 2 times, are in" in capsys.readouterr().out


def test_one_row_is_enough_to_fill_in_score_and_predict(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row, label = str(write(tmp_path / "row.csv", [["y", "", "red", "left"]])), ["--label", "party"]
    assert cli.main(["fill", str(home / "run"), row, *label, "--out", str(tmp_path / "full.csv")]) == 0
    filled = read(tmp_path / "full.csv")[1]
    assert (filled[0], filled[2], filled[3]) == ("y", "red", "left")
    assert filled[1]
    assert cli.main(["predict", str(home / "run"), row, *label, "--out", str(tmp_path / "class.csv")]) == 0
    assert len(read(tmp_path / "class.csv")) == 2
    capsys.readouterr()
    assert cli.main(["score", str(home / "run"), row, *label, "--out", str(tmp_path / "score.csv")]) == 0
    found = float(read(tmp_path / "score.csv")[1][0])
    assert f"log-likelihood = {found:.3f} (1 row, whose spread is not known" in capsys.readouterr().out
    assert cli.main(["train", "rbm", row, *label, "--held-out", "0", "--kinds", "mixed", "--out", str(tmp_path / "none")]) != 0
    assert "has 1 row to train on; expected two or more" in capsys.readouterr().err


def table_of(path: Path, header: str, *rows: str) -> str:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(path)


def test_columns_are_known_by_name_and_cells_keep_their_spelling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i % 2},{['1', '2', 'a'][i % 3]},{i % 5 + 0.1:.1f},{['', '0', '1', '2'][i % 4]}" for i in range(60)]
    table = table_of(tmp_path / "train.csv", "bit,code,size,kind", *rows)
    run, out = str(tmp_path / "run"), str(tmp_path / "full.csv")
    words = ["train", "rbm", table, "--label", "kind", "--labels", "--kinds", "mixed", "--out", run, "--n-components", "3", "--n-iter", "2"]
    assert cli.main(words) == 0
    gaps = table_of(tmp_path / "gaps.csv", "code,bit,kind,size", "1,,2,4.1", "2,1,,0.1")  # the codes alone would be taken for numbers
    assert cli.main(["fill", run, gaps, "--label", "kind", "--out", out]) == 0
    header, first, second = read(Path(out))
    assert header == ["bit", "code", "size", "kind"]
    assert (first[1:], second[1:]) == (["1", "4.1", "2"], ["2", "0.1", ""])
    assert float(second[0]) == 1
    capsys.readouterr()
    assert cli.main(["score", run, table_of(tmp_path / "one.csv", "bit,code,size", "1,2,0.1")]) == 0
    assert cli.main(["fill", run, table_of(tmp_path / "other.csv", "bit,code,weight", "1,,2"), "--out", str(tmp_path / "x.csv")]) != 0
    assert "has a column 'weight'; the model was trained on bit, code, size" in capsys.readouterr().err
    assert cli.main(["sample", run, "--class", "1", "-n", "3", "--out", str(tmp_path / "ones.csv")]) == 0
    assert cli.main(["sample", run, "--class", "3", "-n", "3", "--out", str(tmp_path / "threes.csv")]) != 0
    assert "its classes are 0, 1, 2" in capsys.readouterr().err


def test_a_gan_fills_in_the_columns_that_it_draws_given_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "numbers.csv", [[str(i % 7), str(i), str(-i), str(i % 3)] for i in range(60)])
    words = ["train", "gan", str(table), "--out", str(tmp_path / "gan"), "--steps", "3", "--hidden", "4"]
    assert cli.main([*words, "--condition", "vote,9"]) != 0
    assert "9" in capsys.readouterr().err
    assert cli.main([*words, "--condition", "vote,party"]) == 0
    gaps = write(tmp_path / "gaps.csv", [["1", "", "", "2"], ["3", "", "", "0"]])
    assert cli.main(["fill", str(tmp_path / "gan"), str(gaps), "--out", str(tmp_path / "full.csv")]) == 0
    rows = read(tmp_path / "full.csv")[1:]
    assert [(float(row[0]), float(row[3])) for row in rows] == [(1, 2), (3, 0)]
    assert all(cell for row in rows for cell in row)
    assert cli.main(["fill", str(tmp_path / "gan"), str(table), "--out", str(tmp_path / "again.csv")]) != 0
    assert "expected numbers in the columns" in capsys.readouterr().err


def test_samples_of_one_class(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, drawn = equilibria.load(home / "run"), {}
    for name in ("left", "right"):
        out = str(tmp_path / f"{name}.csv")
        assert cli.main(["sample", str(home / "run"), "--class", name, "-n", "20", "--out", out]) == 0
        assert f"all of the class {name}, are in" in capsys.readouterr().out
        drawn[name] = read(Path(out))[1:]
        assert drawn[name] == [[str(cell) for cell in row] for row in model.sample(20, y=name)]
    assert drawn["left"] != drawn["right"]
    assert cli.main(["sample", str(home / "run"), "--class", "middle", "--out", str(tmp_path / "c.csv")]) != 0
    assert "--class=middle: " in (said := capsys.readouterr().err)
    assert "its classes are left, right" in said
    assert not (tmp_path / "c.csv").exists()


def test_a_class_is_refused_where_none_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, kinds = np.eye(6)[np.arange(24) % 6], np.arange(24) % 2
    equilibria.DBN((3, 2), steps=2, ais_betas=5, out=str(tmp_path / "dbn")).fit(rows)
    equilibria.GAN((4,), steps=2, labels=True, semi_supervised=True, out=str(tmp_path / "gan")).fit(rows, kinds)
    for run, sentence in (
        ("dbn", "draws no classes; leave --class out, or train"),
        ("gan", "is semi-supervised, and its samples are of all"),
    ):
        assert cli.main(["sample", str(tmp_path / run), "--class", "1", "--out", str(tmp_path / "c.csv")]) != 0
        assert sentence in capsys.readouterr().err


def test_log_z_of_a_dbn_and_without_chains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = np.eye(24, dtype=np.float32)
    np.save(tmp_path / "rows.npy", rows)
    equilibria.DBN((20, 20), steps=2, ais_betas=5, out=str(tmp_path / "dbn")).fit(rows)
    equilibria.RBM(20, method="cd", n_iter=1, ais_betas=5, out=str(tmp_path / "cd")).fit(rows)
    equilibria.RBM(3, n_iter=1, out=str(tmp_path / "small")).fit(rows)
    for run, sentence in (
        ("dbn", "reverse AIS, 100 chains, 7 temp"),
        ("cd", "this is the way up alone"),
        ("small", "exact, and needs no ann"),
    ):
        assert cli.main(["score", str(tmp_path / run), str(tmp_path / "rows.npy"), "--betas", "7"]) == 0
        assert sentence in capsys.readouterr().out
    fitted = equilibria.load(tmp_path / "dbn")
    assert fitted.log_partition_sides_ is not None, "both sides are in the file"
    for argument in ({"betas": 10**14}, {"chains": 10**13}, {"betas": 0}, {"chains": 1}):
        with pytest.raises(ValueError, match=f"{next(iter(argument))}="):
            fitted.anneal(**argument)


def test_log_z_annealed_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, run = np.eye(24, dtype=np.float32), tmp_path / "run"
    equilibria.RBM(20, n_iter=1, ais_betas=20, random_state=0, out=str(run)).fit(rows)
    np.save(tmp_path / "rows.npy", rows)
    before = (run / "model.json").read_bytes()
    assert cli.main(["score", str(run), str(tmp_path / "rows.npy"), "--betas", "50"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"log Z in the run: log Z = .* 20 temperatures", said)
    assert re.search(r"\nlog Z = .*\(.*; AIS, 100 chains, 50 temperatures.*\nlog Z = .*reverse AIS, 100 chains, 50 temperatures", said)
    assert re.search(r"mean log-likelihood = .*reverse AIS, 100 chains, 50 temperatures", said)
    assert (run / "model.json").read_bytes() == before
    assert cli.main(["score", str(run), str(tmp_path / "rows.npy"), "--betas", "0"]) != 0
    assert "--betas=0: expected a whole number, 1 or more" in capsys.readouterr().err


def test_predict_writes_classes_with_their_probabilities(home: Path, tmp_path: Path) -> None:
    words = ["predict", home / "run", home / "table.csv", "--label", "party", "--out", tmp_path / "classes.csv"]
    assert cli.main(list(map(str, words))) == 0
    header, *rows = read(tmp_path / "classes.csv")
    assert header == ["class", "p(left)", "p(right)"]
    assert all(float(row[1]) + float(row[2]) == pytest.approx(1) for row in rows)
    truth = [row[-1] for row in read(home / "table.csv")[1:]]
    assert np.mean([row[0] == party for row, party in zip(rows, truth, strict=True)]) > 0.9
    assert cli.main(["score", str(home / "run"), str(home / "table.csv"), "--label", "party"]) == 0


def test_rows_with_gaps_are_left_out_of_what_is_set_beside_samples(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(home / "run")]) == 0
    gaps = sum("" in row[:3] for row in read(home / "table.csv")[1:])
    said = re.search(r"(\d+) of 24 rows have gaps and are left out", capsys.readouterr().out.replace("\n", " "))
    assert said is not None
    assert 0 < int(said[1]) <= gaps


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fill", "{run}", "nothing.csv", "--out", "{tmp}/a.csv"], "no such file or folder"),
        (["fill", "{run}", "{table}", "--label", "party", "--out", "{tmp}/a.png"], "expected a name that ends in .npz or .csv"),
        (["fill", "{run}", "{table}", "--label", "party", "--how", "best", "--out", "{tmp}/a.csv"], "is none of 'draw', 'mode', 'mean'"),
        (["fill", "{run}", "{table}", "--label", "party", "--how", "mean", "--out", "{tmp}/a.csv"], "categories have no mean"),
        (["fill", "{run}", "{table}", "--out", "{tmp}/a.csv"], "was trained on 3 and the labels 'party' (name them with --label party)"),
        (["fill", "{run}", "{table}", "--label", "party", "--out", "{tmp}/a.npz"], "a table that may hold text goes into a .csv"),
        (["sample", "{run}", "--out", "{tmp}/a.npz"], "a table that may hold text goes into a .csv"),
        (["predict", "{run}", "{table}", "--label", "sex", "--out", "{tmp}/a.csv"], "sex"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    given = [word.format(run=home / "run", table=home / "table.csv", tmp=tmp_path) for word in words]
    assert cli.main(given) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert message in errors[0]
