"""The command line on tables with gaps, text and labels: train, fill, predict, score."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import equilibria
from equilibria.cli.app import main


def write(path: Path, rows: list[list[str]]) -> Path:
    path.write_text(
        "\n".join(",".join(row) for row in [["vote", "size", "colour", "party"], *rows]) + "\n",
        encoding="utf-8",
    )
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
    words = [
        "train",
        "rbm",
        folder / "table.csv",
        "--label",
        "party",
        "--labels",
        "--kinds",
        "mixed",
        "--out",
        folder / "run",
    ]
    options = [
        "--n-components",
        "6",
        "--batch-size",
        "10",
        "--n-iter",
        "100",
        "--learning-rate",
        "0.1",
        "--held-out",
        "0.2",
    ]
    assert main([*map(str, words), *options]) == 0
    return folder


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.reader(file))


def test_fill_keeps_what_is_there_and_leaves_no_gap(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gaps = write(tmp_path / "gaps.csv", [["y", "", "red", ""], ["", "4.1", "", ""]])
    assert (
        main(
            [
                "fill",
                str(home / "run"),
                str(gaps),
                "--label",
                "party",
                "--out",
                str(tmp_path / "full.csv"),
                "-n",
                "2",
            ]
        )
        == 0
    )
    header, *rows = read(tmp_path / "full.csv")
    assert header == ["vote", "size", "colour", "party"]
    assert len(rows) == 4
    assert all(cell for row in rows for cell in row[:3])
    assert [row[3] for row in rows] == [""] * 4, "a missing label stays missing"
    assert [row[0] for row in rows[::2]] == ["y", "y"]
    assert all(float(row[1]) == pytest.approx(4.1) for row in rows[1::2])
    assert "2 rows, 2 times, are in" in capsys.readouterr().out


def test_the_best_of_each_column_fills_in_as_in_python(home: Path, tmp_path: Path) -> None:
    gaps = write(tmp_path / "gaps.csv", [["y", "", "red", ""], ["", "4.1", "", ""]])
    words = ["fill", home / "run", gaps, "--label", "party", "--how", "best"]
    assert main([*map(str, words), "--out", str(tmp_path / "full.csv")]) == 0
    frame = pd.read_csv(gaps).drop(columns="party")
    known = equilibria.load(home / "run").impute(frame, how="best")
    filled = pd.read_csv(tmp_path / "full.csv").drop(columns="party")
    pd.testing.assert_frame_equal(filled, known, check_dtype=False)


def test_one_row_is_enough_to_fill_in_score_and_predict(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row, label = str(write(tmp_path / "row.csv", [["y", "", "red", "left"]])), ["--label", "party"]
    assert main(["fill", str(home / "run"), row, *label, "--out", str(tmp_path / "full.csv")]) == 0
    filled = read(tmp_path / "full.csv")[1]
    assert (filled[0], filled[2], filled[3]) == ("y", "red", "left")
    assert filled[1]
    assert (
        main(["predict", str(home / "run"), row, *label, "--out", str(tmp_path / "class.csv")]) == 0
    )
    assert len(read(tmp_path / "class.csv")) == 2
    capsys.readouterr()
    assert (
        main(["score", str(home / "run"), row, *label, "--out", str(tmp_path / "score.csv")]) == 0
    )
    found = float(read(tmp_path / "score.csv")[1][0])
    said = capsys.readouterr().out
    assert f"log-likelihood = {found:.6g}" in said
    assert "1 row, whose spread is not known" in said
    assert "It is a lower bound" in said, "a cell is missing"
    assert (
        main(
            [
                "train",
                "rbm",
                row,
                *label,
                "--held-out",
                "0",
                "--kinds",
                "mixed",
                "--out",
                str(tmp_path / "none"),
            ]
        )
        != 0
    )
    assert "has 1 row to train on; expected two or more" in capsys.readouterr().err


def table_of(path: Path, header: str, *rows: str) -> str:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(path)


def test_columns_are_known_by_name_and_cells_keep_their_spelling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        f"{i % 2},{['1', '2', 'a'][i % 3]},{i % 5 + 0.1:.1f},{['', '0', '1', '2'][i % 4]}"
        for i in range(60)
    ]
    table = table_of(tmp_path / "train.csv", "bit,code,size,kind", *rows)
    run, out = str(tmp_path / "run"), str(tmp_path / "full.csv")
    words = [
        "train",
        "rbm",
        table,
        "--label",
        "kind",
        "--labels",
        "--kinds",
        "mixed",
        "--out",
        run,
        "--n-components",
        "3",
        "--n-iter",
        "2",
    ]
    assert main(words) == 0
    gaps = table_of(
        tmp_path / "gaps.csv", "code,bit,kind,size", "1,,2,4.1", "2,1,,0.1"
    )  # the codes alone would be taken for numbers
    assert main(["fill", run, gaps, "--label", "kind", "--out", out]) == 0
    header, first, second = read(Path(out))
    assert header == ["bit", "code", "size", "kind"]
    assert (first[1:], second[1:]) == (["1", "4.1", "2"], ["2", "0.1", ""])
    assert float(second[0]) == 1
    capsys.readouterr()
    assert main(["score", run, table_of(tmp_path / "one.csv", "bit,code,size", "1,2,0.1")]) == 0
    assert (
        main(
            [
                "fill",
                run,
                table_of(tmp_path / "other.csv", "bit,code,weight", "1,,2"),
                "--out",
                str(tmp_path / "x.csv"),
            ]
        )
        != 0
    )
    assert "'weight'" in capsys.readouterr().err
    assert (
        main(["sample", run, "--class", "1", "-n", "3", "--out", str(tmp_path / "ones.csv")]) == 0
    )
    assert (
        main(["sample", run, "--class", "3", "-n", "3", "--out", str(tmp_path / "threes.csv")]) != 0
    )
    assert "its classes are 0, 1, 2" in capsys.readouterr().err


def test_a_gan_fills_in_the_columns_that_it_draws_given_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(
        tmp_path / "numbers.csv", [[str(i % 7), str(i), str(-i), str(i % 3)] for i in range(60)]
    )
    words = [
        "train",
        "gan",
        str(table),
        "--out",
        str(tmp_path / "gan"),
        "--steps",
        "3",
        "--hidden",
        "4",
    ]
    assert main([*words, "--condition", "vote,9"]) != 0
    assert "9" in capsys.readouterr().err
    assert main([*words, "--condition", "vote,party"]) == 0
    gaps = write(tmp_path / "gaps.csv", [["1", "", "", "2"], ["3", "", "", "0"]])
    assert (
        main(["fill", str(tmp_path / "gan"), str(gaps), "--out", str(tmp_path / "full.csv")]) == 0
    )
    rows = read(tmp_path / "full.csv")[1:]
    assert [(float(row[0]), float(row[3])) for row in rows] == [(1, 2), (3, 0)]
    assert all(cell for row in rows for cell in row)
    assert (
        main(["fill", str(tmp_path / "gan"), str(table), "--out", str(tmp_path / "again.csv")]) != 0
    )
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_samples_of_one_class(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, drawn = equilibria.load(home / "run"), {}
    for name in ("left", "right"):
        out = str(tmp_path / f"{name}.csv")
        assert main(["sample", str(home / "run"), "--class", name, "-n", "20", "--out", out]) == 0
        assert f"all of the class {name}, are in" in capsys.readouterr().out
        drawn[name] = read(Path(out))[1:]
        rows = model.sample(20, y=name).to_numpy(dtype=object)
        gaps = ("nan", "None")  # a sample has them as rows do; a table leaves them empty
        cells = [["" if str(cell) in gaps else str(cell) for cell in row] for row in rows]
        assert drawn[name] == cells
    assert drawn["left"] != drawn["right"]
    assert (
        main(["sample", str(home / "run"), "--class", "middle", "--out", str(tmp_path / "c.csv")])
        != 0
    )
    assert "--class=middle: " in (said := capsys.readouterr().err)
    assert "its classes are left, right" in said
    assert not (tmp_path / "c.csv").exists()


def test_a_class_is_refused_where_none_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, kinds = np.eye(6)[np.arange(24) % 6], np.arange(24) % 2
    equilibria.DBN((3, 2), steps=2, ais_betas=5, out=str(tmp_path / "dbn")).fit(rows)
    equilibria.GAN((4,), steps=2, labels=True, semi_supervised=True, out=str(tmp_path / "gan")).fit(
        rows, kinds
    )
    for run, sentence in (
        ("dbn", "draws no classes; leave --class out, or train"),
        ("gan", "is not conditional on labels"),
    ):
        assert (
            main(["sample", str(tmp_path / run), "--class", "1", "--out", str(tmp_path / "c.csv")])
            != 0
        )
        assert sentence in capsys.readouterr().err


def test_log_z_is_annealed_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said what log Z was and what it is; both sides where the run has chains."""
    rows = np.eye(24, dtype=np.float32)
    np.save(tmp_path / "rows.npy", rows)
    few = {"ais_betas": 5, "random_state": 0}
    equilibria.DBN((20, 20), steps=2, **few, out=str(tmp_path / "dbn")).fit(rows)
    equilibria.RBM(20, method="cd", n_iter=1, **few, out=str(tmp_path / "cd")).fit(rows)
    equilibria.RBM(3, n_iter=1, **few, out=str(tmp_path / "small")).fit(rows)
    said = {}
    for run in ("dbn", "cd", "small"):
        words = ["score", str(tmp_path / run), str(tmp_path / "rows.npy"), "--betas", "7"]
        assert main(words) == 0
        said[run] = capsys.readouterr().out
    assert "log Z in the run: log Z = " in said["dbn"]
    assert "reverse AIS, 100 chains, 7 temperatures" in said["dbn"]
    assert "AIS, 100 chains, 7 temperatures" in said["cd"]
    assert "reverse AIS" not in said["cd"]
    assert "It is exact, and needs no annealing." in said["small"]
    assert "7 temperatures" in equilibria.load(tmp_path / "cd").log_partition_.method, "it is kept"
    words = ["score", str(tmp_path / "cd"), str(tmp_path / "rows.npy"), "--betas", "0"]
    assert main(words) == 2
    assert "--betas=0: expected a whole number, 1 or more" in capsys.readouterr().err


def test_predict_writes_classes_with_their_probabilities(home: Path, tmp_path: Path) -> None:
    words = [
        "predict",
        home / "run",
        home / "table.csv",
        "--label",
        "party",
        "--out",
        tmp_path / "classes.csv",
    ]
    assert main(list(map(str, words))) == 0
    header, *rows = read(tmp_path / "classes.csv")
    assert header == ["class", "p(left)", "p(right)"]
    assert all(float(row[1]) + float(row[2]) == pytest.approx(1) for row in rows)
    truth = [row[-1] for row in read(home / "table.csv")[1:]]
    assert np.mean([row[0] == party for row, party in zip(rows, truth, strict=True)]) > 0.9
    assert main(["score", str(home / "run"), str(home / "table.csv"), "--label", "party"]) == 0


def test_rows_with_gaps_are_left_out_of_what_is_set_beside_samples(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(home / "run")]) == 0
    gaps = sum("" in row[:3] for row in read(home / "table.csv")[1:])
    said = re.search(
        r"(\d+) of 24 rows have gaps and are left out", capsys.readouterr().out.replace("\n", " ")
    )
    assert said is not None
    assert 0 < int(said[1]) <= gaps


FILL = ("fill", "{run}", "{table}", "--out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fill", "{run}", "nothing.csv", "--out", "{tmp}/a.csv"), "no such file or folder"),
        ((*FILL, "{tmp}/a.png"), "expected a name that ends in .csv"),
        ((*FILL, "{tmp}/a.csv", "--how", "worst"), "is none of 'draw', 'mode', 'mean', 'best'"),
        ((*FILL, "{tmp}/a.csv", "--how", "mean"), "which have no mean"),
        ((*FILL, "{tmp}/a.npz"), "the table holds text: write .csv"),
        (("sample", "{run}", "--out", "{tmp}/a.npz"), "the table holds text: write .csv"),
        (("predict", "{run}", "{table}", "--label", "sex", "--out", "{tmp}/a.csv"), "sex"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    places = {"run": home / "run", "table": home / "table.csv", "tmp": tmp_path}
    assert main([word.format(**places) for word in words]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert message in errors[0]


def test_tables_keep_types_and_parquet_too(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The labels of the training are labels again, though they are not named."""
    pytest.importorskip("pyarrow")
    frame = pd.read_csv(home / "table.csv")
    frame["size"] = frame["size"].astype("Float64")
    frame.index = pd.Index([f"r{i}" for i in range(len(frame))], name="row")
    frame.to_parquet(tmp_path / "table.parquet")
    words = ["fill", home / "run", tmp_path / "table.parquet", "--out", tmp_path / "full.parquet"]
    assert main(list(map(str, words))) == 0, capsys.readouterr().err
    full = pd.read_parquet(tmp_path / "full.parquet")
    assert list(full.columns) == list(frame.columns)
    assert full.index.equals(frame.index)
    assert str(full["size"].dtype) == "Float64"
    assert not full[["vote", "size", "colour"]].isna().to_numpy().any()
    assert list(full["party"]) == list(frame["party"])
    known = frame["vote"].notna()
    assert list(full["vote"][known]) == list(frame["vote"][known])


def test_columns_are_given_their_kinds_by_name(tmp_path: Path) -> None:
    rows = [f"{i % 3},{i / 7:.2f},{'ab'[i % 2]}" for i in range(40)]
    table = table_of(tmp_path / "table.csv", "code,size,word", *rows)
    words = ["train", "rbm", table, "--kinds", "code=real,word=categorical", "--n-iter", "1"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    kinds = {layer.kind: layer.source for layer in equilibria.load(tmp_path / "run").table_.layers}
    assert (kinds["real"], kinds["quantile"]) == ((0,), (1,))
    assert 2 in kinds["categorical"]


def samples_of_two_columns(path: Path, seed: int, n: int = 200) -> Path:
    r = np.random.RandomState(seed)
    x = r.normal(size=n)
    colour = np.where(x + 0.3 * r.normal(size=n) > 0, "red", "blue")
    pd.DataFrame({"size": x.round(3), "colour": colour}).to_csv(path, index=False)
    return path


def test_samples_are_evaluated_beside_rows_in_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, held = (samples_of_two_columns(tmp_path / f"{i}.csv", i) for i in (0, 1))
    samples = samples_of_two_columns(tmp_path / "samples.csv", 2, 300)
    words = ["evaluate", str(real), "--samples", str(samples)]
    assert main([*words, "--target", "colour", "--control", str(held)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("300 samples beside 200 rows, 200 held-out rows.")
    frames = [pd.read_csv(path) for path in (real, samples, held)]
    found = equilibria.evaluate(*frames[:2], target="colour", control=frames[2])
    assert text == f"{found}\n"
    assert found.use.short == "yes"
    for extra, sentence in (
        (["--target", "color"], "--target='color' is no column; did you mean 'colour'?"),
        (["--samples", str(tmp_path / "no.csv")], "no such file or folder"),
    ):
        assert main([*words, *extra]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["evaluate", str(real)]) == 2
    assert "is a file; name a run folder, or samples of these" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), "--target", "colour"]) == 2
    assert "--target='colour': it goes with --samples" in capsys.readouterr().err
