"""The command line: what each command does and prints, and one sentence for each bad input."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import distributed

from equilibria import RBM, durable, estimators
from equilibria.check import anything, choice, number, optional, sequence, whole
from equilibria.cli import app as commands
from equilibria.cli.options import describe, options
from equilibria.data import load, read_csv, read_npz
from equilibria.errors import DivergedError, TrainingInterrupted
from equilibria.estimators import all_estimators
from equilibria.estimators.params import estimator, param
from equilibria.report.view import read
from equilibria.training.origin import collect, run_data
from equilibria.training.run import Run

SOURCE = Path(__file__).parents[2] / "src"
QUICK_RBM = ("--n-components", "4", "--n-iter", "2")
QUICK_DBM = (
    *("--hidden", "8,4", "--steps", "3", "--pretrain-steps", "2"),
    *("--ais-betas", "10", "--ais-chains", "4"),
)
QUICK_MADE = ("--hidden", "8", "--steps", "3")

Console = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]


def write_table(path: Path, rows: np.ndarray) -> Path:
    """A CSV file of integers or text with the columns c0, c1, …."""
    header = ",".join(f"c{i}" for i in range(rows.shape[1]))
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def bits(rows: int = 40, columns: int = 6) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 2, (rows, columns))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table and three finished runs; the tests only read it."""
    folder = tmp_path_factory.mktemp("cli")
    table = write_table(folder / "bits.csv", bits())
    for words in (
        ("rbm", table, *QUICK_RBM),
        ("dbm", "digits", *QUICK_DBM),
        ("made", "digits", *QUICK_MADE),
    ):
        given = ["train", *map(str, words), "--out", str(folder / words[0])]
        assert commands.main(given) == 0
    return folder


@pytest.fixture
def table(home: Path) -> Path:
    return home / "bits.csv"


# ---------------------------------------------------------------- help, options


def test_help_is_light() -> None:
    """What ``--help`` and ``train`` of nothing import decides how quickly they answer."""
    program = (
        "import sys; from equilibria.cli.app import main; code = main(['--help'])\n"
        "heavy = {'torch', 'sklearn', 'numpy', 'pandas', 'matplotlib', 'scipy'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=SOURCE, check=True
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_exit_codes_reach_the_shell(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "equilibria", "sample", str(tmp_path), "--out", "samples.txt"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=SOURCE, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("equilibria: --out='samples.txt': expected a name that ends in")


def test_help_lists_the_commands_with_train_first(console: Console) -> None:
    code, text, _ = console("--help")
    below = text.partition("Commands:")[2].splitlines()
    listed = [line.split()[0] for line in below if line.strip()]
    assert code == 0
    assert listed == ["train", *(command.__name__ for command in commands.COMMANDS)]
    assert console() == (0, text, "")


@pytest.mark.parametrize("command", [command.__name__ for command in commands.COMMANDS])
def test_every_command_has_a_help(command: str, console: Console) -> None:
    code, text, errors = console(command, "--help")
    assert (code, errors) == (0, "")
    assert text.startswith(f"Usage: equilibria {command}")


def test_options_reach_the_estimator_in_their_own_types(
    monkeypatch: pytest.MonkeyPatch, console: Console, tmp_path: Path
) -> None:
    caught: list[Any] = []
    monkeypatch.chdir(tmp_path)
    Path("data.csv").touch()
    monkeypatch.setattr(commands, "_train", lambda *given: caught.append(given))
    monkeypatch.setattr(commands, "_advise", lambda *given: None)
    words = ["--hidden", "5, 3", "--no-centred", "--binarise", "none", "--value-range", "-1,1.5"]
    words += ["--picture-shape", "2,3", "--k", "2", "--kinds", "age=real,3=categorical"]
    about = ["--size", "7", "--held-out", "0.25"]
    code, _, errors = console("train", "dbm", "data.csv", "--out", "x", *words, *about)
    assert (code, errors) == (0, "")
    model, source, data = caught[0]
    assert (model.hidden, model.centred, model.binarise, model.k) == ((5, 3), False, None, 2)
    assert (model.value_range, model.picture_shape) == ((-1.0, 1.5), (2, 3))
    assert model.kinds == {"age": "real", 3: "categorical"}
    assert (source, data["held_out"], data["size"]) == ("data.csv", 0.25, (7,))


def test_what_is_refused_is_refused_before_torch_is_imported() -> None:
    """A word that is wrong costs no seconds: every value that the parameter table refuses."""
    words = ("--k=0", "--k=x", "--kk=1", "--chains=-1", "--binarise=so", "--learning-rate=nan")
    program = (
        "import sys\n"
        "from equilibria.cli.app import main\n"
        f"found = [main(['train', 'rbm', 'digits', '--out', 'x', word]) for word in {words}]\n"
        "found += [main(['train', 'rbm', name, '--out', 'x']) for name in ('digis', 'no.csv')]\n"
        "print(found, 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=SOURCE, check=True
    )
    assert done.stdout == f"{[2] * 8} False\n", done.stderr
    assert len(done.stderr.splitlines()) == 8


def test_more_rows_than_the_disk_holds_are_refused(
    console: Console, home: Path, tmp_path: Path
) -> None:
    code, _, errors = console(
        "sample", home / "rbm", "-n", "1" + 15 * "0", "--out", tmp_path / "a.csv"
    )
    assert code == 2
    assert errors.startswith("equilibria: -n=1000000000000000: would take ")
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_parameter_can_be_spelled() -> None:
    """What the option's parser makes of the text that a user would write."""

    @estimator
    class Toy(RBM):
        """Something."""

        way: str = param("left", "Where to.", optional(choice("left", "right")))
        rate: float | None = param(None, "How fast.", optional(number(0)))
        ends: Any = param((1, 2), "Two numbers.", sequence(number(), length=2))
        condition: Any = param(None, "Columns.", anything("columns"))
        penalties: Any = param(None, "Weights by name.", anything("weights"))
        most: int = param(3, "At most.", whole(1))

    found = {option.name: option for option in options(describe(Toy))}
    said = {
        "way": ("none", None),
        "rate": ("0.5", 0.5),
        "ends": ("3,4.5", (3.0, 4.5)),
        "condition": ("age,3", ("age", 3)),
        "penalties": ("r1=1,r2=0.5", {"r1": 1, "r2": 0.5}),
        "most": ("7", 7),
    }
    for name, (text, value) in said.items():
        assert found[name].annotation.__metadata__[0].parser(text) == value
    assert found["rate"].default is None
    assert found["ends"].default == "1,2"


# ---------------------------------------------------------------- what commands do


def test_train_says_what_it_reads_and_what_came_of_it(
    console: Console, table: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    code, text, errors = console("train", "rbm", table, "--out", run, *QUICK_RBM)
    assert (code, errors) == (0, "")
    lines = text.splitlines()
    assert lines[0] == "bits.csv: 36 rows to train on, 4 held out."
    assert lines[1].startswith("6 columns from 0 to 1 as probabilities of binary units")
    assert lines[2].startswith("The curves of this run")  # first what speaks against it
    assert lines[3].startswith("log Z = ")
    assert lines[4].startswith("On held-out rows: mean log-likelihood = ")
    assert f"The run is in {run}." in text
    assert f"equilibria sample {run} -n 64 --out samples.csv" in text
    assert "exact enumeration" in json.dumps(Run.open(run).config), "log Z is kept"


def test_a_run_finds_its_rows_again(home: Path) -> None:
    parts = run_data(Run.open(home / "rbm"))
    rows = np.concatenate([parts.train.array(), parts.test.array()])
    assert (len(parts.train), len(parts.test)) == (36, 4)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, bits()))
    assert np.array_equal(collect(home / "bits.csv").train.array(), parts.train.array())
    digits = run_data(Run.open(home / "made"))
    assert np.array_equal(digits.train.values, load("digits").values)
    assert np.array_equal(digits.test.values, load("digits", split="test").values)


def test_a_fit_in_python_leaves_a_run_that_knows_its_data(table: Path, tmp_path: Path) -> None:
    """Data are fitted to as they are: range, shape and origin need not be said."""
    model = RBM(n_components=2, n_iter=1, random_state=0, out=str(tmp_path / "a"))
    model.fit(load("digits"))
    assert (model.settings_.value_range, model.settings_.picture_shape) == ((0.0, 16.0), (8, 8))
    assert (model.value_range, model.picture_shape) == (None, None)
    assert len(run_data(Run.open(tmp_path / "a")).test) == 360
    model.set_params(out=str(tmp_path / "b")).fit(load(table))
    parts = run_data(Run.open(tmp_path / "b"))
    assert not parts.unseen
    assert len(parts.train) == 40


def test_the_data_s_range_and_picture_shape_are_filled_in_unless_given(
    console: Console, home: Path, tmp_path: Path
) -> None:
    params = Run.open(home / "dbm").config["params"]
    assert (params["value_range"], params["picture_shape"]) == ([0.0, 16.0], [8, 8])
    words = ("--value-range", "0,20", "--out", tmp_path / "run")
    assert console("train", "made", "digits", *QUICK_MADE, *words)[0] == 0
    assert Run.open(tmp_path / "run").config["params"]["value_range"] == [0.0, 20.0]


def test_training_on_all_rows_evaluates_on_them_and_says_so(
    console: Console, table: Path, tmp_path: Path
) -> None:
    words = ("--out", tmp_path / "run", "--held-out", "0")
    code, text, _ = console("train", "rbm", table, *words, *QUICK_RBM)
    assert code == 0
    assert "40 rows to train on; none held out." in text
    assert "On the training rows: " in text
    assert not run_data(Run.open(tmp_path / "run")).unseen


def test_a_folder_of_pictures_brings_their_shape(tmp_path: Path, console: Console) -> None:
    (tmp_path / "pictures").mkdir()
    for i in range(12):
        picture = np.random.RandomState(i).randint(0, 255, (4, 6)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{i}.png")
    words = ("--out", tmp_path / "run", *QUICK_MADE)
    assert console("train", "made", tmp_path / "pictures", *words)[0] == 0
    assert console("sample", tmp_path / "run", "-n", 3, "--out", tmp_path / "three.png")[0] == 0
    assert Run.open(tmp_path / "run").config["params"]["picture_shape"] == [4, 6]


def test_sample_writes_pictures_and_tables(console: Console, home: Path, tmp_path: Path) -> None:
    assert console("sample", home / "dbm", "-n", 5, "--out", tmp_path / "new" / "a.png")[0] == 0
    with Image.open(tmp_path / "new" / "a.png") as grid:
        # 3 × 2 tiles of 8 with lines of 1 between, 7 times enlarged
        assert grid.size == (7 * (3 * 9 + 1), 7 * (2 * 9 + 1))
    assert console("sample", home / "made", "-n", 5, "--out", tmp_path / "a.npz")[0] == 0
    values, _ = read_npz(tmp_path / "a.npz")
    assert (values.shape, values.dtype) == ((5, 64), np.uint8)
    assert console("sample", home / "rbm", "-n", 5, "--out", tmp_path / "a.csv")[0] == 0
    table, _, columns = read_csv(tmp_path / "a.csv")
    assert (table.shape, columns) == ((5, 6), ("c0", "c1", "c2", "c3", "c4", "c5"))
    assert set(table.ravel()) <= {0, 1}
    assert table.dtype.kind == "i", "whole numbers come back as whole numbers"


def test_sample_repeats_by_its_seed_and_overwrites_only_when_asked(
    console: Console, refused: Refused, home: Path, tmp_path: Path
) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        words = ("--out", tmp_path / f"{name}.npz", "--seed", seed)
        assert console("sample", home / "made", *words)[0] == 0
    a, b, c = (read_npz(tmp_path / f"{name}.npz")[0] for name in "abc")
    assert len(a) == 64
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    out = tmp_path / "a.npz"
    assert f"--out='{out}' is there already" in refused("sample", home / "made", "--out", out)
    assert console("sample", home / "rbm", "--out", out, "--overwrite")[0] == 0
    assert read_npz(out)[0].shape == (64, 6)


def test_score_says_whether_it_is_a_bound_and_writes_scores(
    console: Console, home: Path, table: Path, tmp_path: Path
) -> None:
    code, text, _ = console("score", home / "rbm", table, "--out", tmp_path / "scores.csv")
    assert code == 0
    assert "no bound but the log-likelihood itself" in text
    scores, _, columns = read_csv(tmp_path / "scores.csv")
    assert columns == ("log-likelihood",)
    expected = estimators.load(home / "rbm").score_samples(collect(table).train.frame())
    whole = [row.tolist() for row in bits()]
    places = [whole.index(row.tolist()) for row in collect(table).train.array()]
    assert np.allclose(scores[places, 0], expected, atol=1e-5)
    code, text, _ = console("score", home / "dbm", "digits")
    assert code == 0
    assert "360 rows" in text  # the test split
    assert "It is a lower bound" in text


@pytest.mark.parametrize("name", ["rbm", "made"])
def test_resume_goes_on_where_training_was_stopped(
    name: str, console: Console, home: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(home / name, copy)
    (copy / "model.safetensors").unlink()
    (copy / "model.json").unlink()
    code, text, errors = console("resume", copy)
    assert code == 0, errors
    assert "The run is in" in text
    model = "model.safetensors"
    assert (copy / model).read_bytes() == (home / name / model).read_bytes()
    said = f"The training of {copy} has ended; there is nothing left to resume.\n"
    assert console("resume", copy) == (0, said, "")


def test_models_are_listed_in_a_table(console: Console) -> None:
    code, text, _ = console("models")
    assert code == 0
    head, *lines = text.splitlines()[:-2]
    place, does = head.index("place in the taxonomy"), head.index("what it can do")
    found = {line.split()[0]: (line[place:does].strip(), line[does:]) for line in lines}
    assert set(found) == set(all_estimators())
    assert found["made"] == ("explicit density, tractable", "sample, score, fill, predict")
    assert found["rbm"][1] == "sample, score, fill, predict"
    assert found["dbm"][0] == "explicit density, variational bound"
    assert found["next-state"] == ("built on a machine", "forecast")
    assert found["fine-tuned"] == ("built on a machine", "predict")


def test_data_are_listed(console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUILIBRIA_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / "mnist" / f"{part}-ubyte.gz").touch()
    code, text, _ = console("data")
    assert code == 0
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["digits"].endswith("built in")
    assert lines["mnist"].endswith(f"found in {tmp_path / 'mnist'}")


def test_the_demo_trains_two_kinds_and_prints_the_report_last(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = all_estimators()
    names = [name for name in commands.DEMO if name in known][:2]
    quick = {"hidden": (8, 4), "steps": 3, "pretrain_steps": 2, "ais_betas": 10, "ais_chains": 4}
    for name in names:
        has = {field.name for field in known[name].__dataclass_fields__.values()}
        settings = {key: value for key, value in quick.items() if key in has}
        monkeypatch.setitem(commands.DEMO, name, settings)
    code, text, _ = console("demo", "--out", tmp_path / "demo")
    assert code == 0
    assert text.splitlines()[-1] == str(tmp_path / "demo" / "report.html")
    page = (tmp_path / "demo" / "report.html").read_text()
    assert page.count("<section") == 2
    assert names[0] == "dbm"
    for name in names:
        results = read(Run.open(tmp_path / "demo" / name))
        assert sum(str(result) in text for result in results) >= 5
    assert console("demo", "--out", tmp_path / "demo")[0] == 2


def test_of_many_processes_only_the_first_speaks(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert console("models") == (0, "", "")
    assert console("sample", "nowhere", "--out", "x.png") == (2, "", "")
    monkeypatch.setenv("LOCAL_RANK", "0")  # the first on another machine, which alone may be wrong
    assert console("sample", "nowhere", "--out", "x.png")[2] != ""


def test_what_follows_several_processes_has_the_threads_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joined, threads = [True], list[int]()
    monkeypatch.setattr(distributed, "is_initialized", lambda: bool(joined))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setattr(distributed, "barrier", lambda: None)
    monkeypatch.setattr(distributed, "destroy_process_group", joined.clear)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    with commands._processes():
        assert not threads
    assert threads == [6]
    assert not joined


# ---------------------------------------------------------------- bad input

RBM_ON_DIGITS = ("train", "rbm", "digits", "--out", "x")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("train", "rbn", "digits", "--out", "x"), "no such command 'rbn'. Did you mean 'rbm'"),
        (("smaple", "x"), "no such command 'smaple'. Did you mean 'sample'?"),
        (("train", "rbm", "digits"), "missing option '--out'"),
        (("train", "rbm", "--out", "x"), "missing argument 'DATA'"),
        ((*RBM_ON_DIGITS, "--hiden", "3"), "no such option: --hiden"),
        ((*RBM_ON_DIGITS, "--k", "1.5"), "value for '--k': '1.5' is no whole number"),
        ((*RBM_ON_DIGITS, "--momentum", "much"), "value for '--momentum': 'much' is no number"),
        (
            ("train", "dbm", "digits", "--out", "x", "--hidden", "5,x"),
            "value for '--hidden': 'x' is no whole number",
        ),
        ((*RBM_ON_DIGITS, "--method", "cdd"), "value for '--method': 'cdd' is none of 'pcd'"),
        ((*RBM_ON_DIGITS, "--kinds", "age=,b"), "value for '--kinds': 'age=,b': expected names"),
        ((*RBM_ON_DIGITS, "--size", "1,2,3"), "value for '--size': '1,2,3' has 3 numbers"),
        ((*RBM_ON_DIGITS, "--value-range", "1,2,3"), "--value-range=1.0,2.0,3.0: expected"),
        ((*RBM_ON_DIGITS, "--n-iter", "0"), "--n-iter=0: expected None or a whole number, 1"),
        ((*RBM_ON_DIGITS, "--kinds", "bits"), "--kinds='bits'"),
        ((*RBM_ON_DIGITS, "--device", "abacus"), "--device='abacus': expected a device"),
        (("train", "rbm", "digist", "--out", "x"), "DATA='digist': neither a path nor a built-in"),
        (("train", "rbm", "none.csv", "--out", "x"), "DATA='none.csv': no such file or folder"),
        ((*RBM_ON_DIGITS, "--held-out", "0.5"), "--held-out=0.5: digits is a built-in set"),
        ((*RBM_ON_DIGITS, "--label", "y"), "--label='y': names a column of a table"),
        (("score", "nowhere", "digits"), "RUN='nowhere' does not exist"),
        (("resume", "nowhere"), "RUN='nowhere' does not exist"),
        (("demo",), "missing option '--out'"),
    ],
)
def test_a_bad_command_line_is_refused_in_a_sentence(
    words: tuple[str, ...],
    sentence: str,
    refused: Refused,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(*words)
    assert list(tmp_path.iterdir()) == []


def table_with(cell: str) -> np.ndarray:
    rows = bits().astype(object)
    rows[6, 2] = cell
    return rows


@pytest.mark.parametrize(
    ("rows", "options", "sentence"),
    [
        (table_with("red"), ("--kinds", "binary"), "'red'"),
        (table_with("inf"), (), "column 'c2'"),
        (table_with("3"), ("--kinds", "binary"), "outside 0 to 1"),
        (bits(1), (), "leaves 0 of the 1 rows of data.csv to train on"),
        (bits(0), (), "has no rows under its header; expected at least one"),
        (bits(3), (), "leaves 1 of the 3 rows of data.csv to train on"),
        (bits(1), ("--held-out", "0"), "has 1 row to train on; expected two or more"),
        (bits(), ("--held-out", "1.5"), "--held-out=1.5: expected a share of the rows above 0"),
        (bits(), ("--picture-shape", "2,2"), "--picture-shape=2,2 has 4 values, but X has 6"),
        (bits(), ("--label", "c9"), "has no such column"),
        (bits(), ("--labels",), "--labels=True: "),
    ],
)
def test_bad_data_are_refused_before_any_work(
    rows: np.ndarray, options: tuple[str, ...], sentence: str, refused: Refused, tmp_path: Path
) -> None:
    table = write_table(tmp_path / "data.csv", rows)
    words = ("--out", tmp_path / "run", *options, *QUICK_RBM)
    assert sentence in refused("train", "rbm", table, *words)
    assert not (tmp_path / "run").exists()


def test_an_empty_file_and_a_damaged_one_are_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not really")
    (tmp_path / "sheet.xlsx").touch()
    for name, sentence in (
        ("empty.csv", "is empty"),
        ("broken.npz", "not a readable .npz file"),
        ("sheet.xlsx", "unknown kind of file"),
    ):
        assert sentence in refused("train", "rbm", tmp_path / name, "--out", tmp_path / "run")


def test_an_out_that_cannot_be_used_is_refused(
    refused: Refused, console: Console, home: Path, table: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("mine")
    (tmp_path / "folder.csv").mkdir()
    train = ("train", "rbm", table, *QUICK_RBM, "--out")
    assert "is a file: name a folder" in refused(*train, tmp_path / "file")
    assert "cannot be written" in refused(*train, tmp_path / "file" / "run")
    foreign = refused(*train, tmp_path / "foreign", "--overwrite")
    assert "holds files that are no run" in foreign
    assert f"--out='{home / 'made'}' holds a run" in refused(*train, home / "made")
    assert (tmp_path / "foreign" / "thesis.tex").read_text() == "mine"
    page = tmp_path / "foreign" / "report.html"
    page.write_text("mine")
    said = "is there already, and is not known to be a page of equilibria"
    for words in (
        ("report", home / "rbm", "--out", page),
        ("demo", "--out", page.parent),
        ("compare", table, "--models", "tree", "--out", page.parent),
    ):
        assert said in refused(*words)
    names = {entry.name for entry in page.parent.iterdir()}
    assert (page.read_text(), names) == ("mine", {"report.html", "thesis.tex"})
    assert console("report", home / "rbm", "--out", page, "--overwrite")[0] == 0
    assert console("report", home / "rbm", "--out", page)[0] == 0, "its own page is made anew"
    sample = ("sample", home / "rbm", "--out")
    assert "cannot be written" in refused(*sample, tmp_path / "file" / "a.csv")
    assert "ends in .png or .csv" in refused(*sample, tmp_path / "a.txt")
    assert "is a folder: name a file" in refused(*sample, tmp_path / "folder.csv")


def test_what_a_run_cannot_do_is_refused(refused: Refused, home: Path, tmp_path: Path) -> None:
    png, csv = tmp_path / "a.png", tmp_path / "a.csv"
    assert "are no pictures" in refused("sample", home / "rbm", "--out", png)
    assert "-n=0: expected a whole number" in refused("sample", home / "rbm", "-n", 0, "--out", csv)
    assert "cannot fill cells" in refused("fill", home / "made", "digits", "--out", csv)
    assert "predicts no classes" in refused("predict", home / "rbm", "digits", "--out", csv)
    assert "--betas=3: the model needs no log Z" in refused(
        "score", home / "made", "digits", "--betas", 3
    )
    assert "64 columns" in refused("score", home / "rbm", "digits")
    three = write_table(tmp_path / "three.csv", table_with("3"))
    assert "give rows like those the model was trained on" in refused("score", home / "rbm", three)


def remove_model(run: Path) -> None:
    (run / "model.safetensors").unlink()


def truncate_model(run: Path) -> None:
    file = run / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])


def edit(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    config = durable.read_sealed(run / "config.json")
    change(config)
    (run / "config.json").write_bytes(durable.seal(config))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (truncate_model, "model.safetensors"),
    "unfinished": (remove_model, "model.safetensors is missing"),
    "no JSON": (
        lambda run: (run / "config.json").write_text('{"form'),
        "config.json is damaged: it is no JSON",
    ),
    "incomplete": (lambda run: edit(run, lambda c: c.pop("params")), "(KeyError: 'params')"),
    "other model": (
        lambda run: edit(run, lambda c: c.update(model="vea")),
        "is of the model 'vea'; this version knows",
    ),
    "newer": (lambda run: edit(run, lambda c: c.update(format=99)), "has format 99"),
    "no run": (lambda run: (run / "config.json").unlink(), "is not a run (it has no config.json)"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_refused_by_every_command(
    damage: str, refused: Refused, home: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(home / "rbm", run)
    break_it, sentence = DAMAGES[damage]
    break_it(run)
    assert sentence in refused("sample", run, "--out", tmp_path / "a.csv")
    assert sentence in refused("score", run, home / "bits.csv")
    assert sentence in refused("evaluate", run)
    assert sentence in refused("report", run)


def test_a_run_without_its_data_is_refused(refused: Refused, home: Path, tmp_path: Path) -> None:
    for name in ("array", "moved", "changed", "incomplete"):
        shutil.copytree(home / "rbm", tmp_path / name)
        (tmp_path / name / "model.safetensors").unlink()
    other = write_table(tmp_path / "other.csv", 1 - bits())
    edit(tmp_path / "array", lambda config: config.update(data=None))
    gone = str(tmp_path / "gone.csv")
    edit(tmp_path / "moved", lambda config: config["data"].update(source=gone))
    edit(tmp_path / "changed", lambda config: config["data"].update(source=str(other)))
    edit(tmp_path / "incomplete", lambda config: config["data"].pop("held_out"))
    assert "equilibria.resume(run, X)" in refused("resume", tmp_path / "array")
    assert "no such file or folder" in refused("resume", tmp_path / "moved")
    assert "was trained on other rows" in refused("resume", tmp_path / "changed")
    assert "its entry 'data' is incomplete" in refused("resume", tmp_path / "incomplete")


# ---------------------------------------------------------------- how training can end


FULL = "equilibria: this takes more memory than there is; ask for fewer rows at a time (-n), a "
FULL += "smaller model, or smaller batches\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            MemoryError(),
            2,
            FULL,
        ),
        (DivergedError("Stage 'joint' diverged."), 1, "equilibria: Stage 'joint' diverged.\n"),
        (TrainingInterrupted(signal.SIGINT, "Stopped."), 130, "equilibria: Stopped.\n"),
        (TrainingInterrupted(signal.SIGTERM, "Stopped."), 143, "equilibria: Stopped.\n"),
        (KeyboardInterrupt(), 130, "equilibria: stopped\n"),
    ],
)
def test_a_training_that_fails_ends_with_its_code(
    error: BaseException,
    code: int,
    said: str,
    console: Console,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: Any, *told: Any) -> None:
        raise error

    monkeypatch.setattr(RBM, "train", fail)
    found, _, errors = console("train", "rbm", table, "--out", tmp_path / "run")
    assert (found, errors) == (code, said)


def test_a_bug_keeps_its_traceback(
    console: Console, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, *told: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(RBM, "train", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        console("train", "rbm", table, "--out", tmp_path / "run")


def test_a_real_signal_stops_the_training_and_resume_ends_it(
    console: Console, home: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["train", "rbm", str(home / "bits.csv"), "--out", str(run), "--n-components", "4"]
    command = [sys.executable, "-m", "equilibria", *words, "--n-iter", "1000"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=SOURCE, stdout=pipe, stderr=pipe)
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"equilibria resume {run}" in errors.decode()
    assert "is missing" in console("sample", run, "--out", tmp_path / "a.csv")[2]
    code, text, _ = console("resume", run)
    assert code == 0
    assert "log Z = " in text
    assert Run.open(run).metrics()[-1]["step"] == 1000  # all 36 rows are a batch


def test_output_degrades_where_an_encoding_lacks_a_sign(monkeypatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert commands.main(["data"]) == 0
    sys.stdout.flush()
    assert rb"8\xd78 greys" in written.getvalue()


def test_a_file_whose_name_a_terminal_would_obey(tmp_path, capsys) -> None:
    path = tmp_path / "\x1b[31mred\n.csv"
    path.write_text("a\n")
    assert commands.main(["odd", str(path)]) == 2
    said = capsys.readouterr().err
    assert r"\x1b[31mred .csv: has no rows under its header" in said
    assert said.count("\n") == 1
