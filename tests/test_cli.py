"""The command line: what each command does and prints, and one sentence with exit code 2 for each kind of bad input."""

from __future__ import annotations

import inspect
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
from PIL import Image

from equilibria import cli, estimators
from equilibria.cli.options import PYTHON_ONLY, choice, comma_list, descriptions, options
from equilibria.data import load, read_csv, read_npz
from equilibria.errors import DivergedError, TrainingInterrupted
from equilibria.estimators import MODELS
from equilibria.report import assessment, demo
from equilibria.training.origin import collect, run_data
from equilibria.training.run import Run

SOURCE = Path(__file__).parents[1] / "src"
QUICK_RBM = ("--n-components", "4", "--n-iter", "2")
QUICK_DBM = ("--hidden", "8,4", "--steps", "3", "--pretrain-steps", "2", "--ais-betas", "10", "--ais-chains", "4")
QUICK_GAN = ("--hidden", "8", "--steps", "3")

Console = Callable[..., tuple[int, str, str]]


@pytest.fixture
def console(capsys: pytest.CaptureFixture[str]) -> Console:
    """Run a command line in this process: (exit code, standard output, standard error)."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(console: Console) -> Callable[..., str]:
    """Run a command line that must end with exit code 2 and one sentence on standard error, which is returned."""

    def run(*words: object) -> str:
        code, _, errors = console(*words)
        lines = errors.splitlines()
        assert code == 2
        assert len(lines) == 1, errors
        assert lines[0].startswith("equilibria: ")
        return lines[0]

    return run


def test_a_folder_of_pictures_trains_a_pyramid(tmp_path: Path, console: Console, refused: Callable[..., str]) -> None:
    """The pictures bring their shape; a table has none, and is refused."""
    (tmp_path / "pictures").mkdir()
    for i in range(12):
        Image.fromarray(np.random.RandomState(i).randint(0, 255, (8, 12, 3)).astype(np.uint8)).save(tmp_path / "pictures" / f"{i}.png")
    words = ("--hidden", "8", "--channels", "4", "--steps", "2")
    assert console("train", "lapgan", tmp_path / "pictures", "--colour", "rgb", *words, "--out", tmp_path / "run")[0] == 0
    assert console("sample", tmp_path / "run", "-n", 3, "--out", tmp_path / "three.png")[0] == 0
    assert "picture-shape=None: a pyramid is of pictures" in refused("train", "lapgan", "ring", *words, "--out", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def write_table(path: Path, rows: np.ndarray) -> Path:
    """A CSV file of integers or text with the columns c0, c1, …."""
    header = ",".join(f"c{i}" for i in range(rows.shape[1]))
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", encoding="utf-8")
    return path


def bits(rows: int = 40, columns: int = 6) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 2, (rows, columns))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table and three finished runs; the tests only read it."""
    folder = tmp_path_factory.mktemp("cli")
    table = write_table(folder / "bits.csv", bits())
    for words in (("rbm", table, *QUICK_RBM), ("dbm", "digits", *QUICK_DBM), ("gan", "digits", *QUICK_GAN)):
        assert cli.main(["train", *map(str, words), "--out", str(folder / words[0])]) == 0
    return folder


@pytest.fixture
def table(home: Path) -> Path:
    return home / "bits.csv"


# ---------------------------------------------------------------- help, options


def test_help_is_quick_and_light() -> None:
    program = (
        "import sys; from equilibria.cli import main; code = main(['--help'])\n"
        "print('HEAVY', sorted({'torch', 'sklearn', 'numpy', 'matplotlib'} & set(sys.modules))); sys.exit(code)"
    )
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=SOURCE, timeout=60, check=True)
        seconds.append(time.perf_counter() - began)
        assert done.stdout.splitlines()[-1] == "HEAVY []"
    print(f"equilibria --help took {min(seconds):.3f} s")
    assert min(seconds) < 1.0  # 0.3 s is the aim, on a machine that does nothing else


def test_exit_codes_reach_the_shell(tmp_path: Path) -> None:
    def equilibria(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "equilibria", *words], capture_output=True, text=True, cwd=SOURCE, timeout=60, check=False
        )

    assert equilibria("--version").returncode == 0
    refused = equilibria("sample", str(tmp_path), "--out", "samples.txt")
    assert refused.returncode == 2
    assert refused.stderr == "equilibria: --out='samples.txt': expected a name that ends in .png or .npz or .csv\n"


def test_help_lists_the_commands_with_train_first(console: Console) -> None:
    code, text, _ = console("--help")
    listed = [line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line.strip()]
    assert code == 0
    assert listed == ["train", "resume", "sample", "score", "fill", "predict", "evaluate", "report", "models", "data", "demo"]
    assert console() == (0, text, "")


@pytest.mark.parametrize("name", MODELS)
def test_every_constructor_parameter_is_an_option_with_a_help_text(name: str, console: Console) -> None:
    code, text, _ = console("train", name, "--help")
    said = descriptions(MODELS[name], {cls.__name__: cls for cls in MODELS.values()})
    assert code == 0
    for parameter in inspect.signature(MODELS[name]).parameters:
        if parameter in PYTHON_ONLY:
            assert f"--{parameter}" not in text
            continue
        assert f"--{parameter.replace('_', '-')}" in text
        assert said[parameter].text
        assert "As in" not in said[parameter].text


@pytest.mark.parametrize("name", MODELS)
def test_defaults_are_those_of_the_signature_but_for_the_seed(name: str, monkeypatch: pytest.MonkeyPatch, console: Console) -> None:
    """Every default makes the way through its option: text, parser, constructor."""
    caught: list[Any] = []
    monkeypatch.setattr("equilibria.cli.train._train", lambda estimator, source, about: caught.append(estimator))
    assert console("train", name, "digits", "--out", "x")[0] == 0
    defaults = {key: p.default for key, p in inspect.signature(MODELS[name]).parameters.items()}
    assert caught[0].get_params(deep=False) == {**defaults, "out": "x", "random_state": 0}


def test_options_reach_the_estimator_in_their_own_types(monkeypatch: pytest.MonkeyPatch, console: Console) -> None:
    caught: list[Any] = []
    monkeypatch.setattr("equilibria.cli.train._train", lambda estimator, source, about: caught.append((estimator, source, about)))
    words = ["--hidden", "5, 3", "--no-centred", "--binarise", "none", "--value-range", "-1,1.5", "--picture-shape", "2,3", "--k", "2"]
    code, _, errors = console("train", "dbm", "data.csv", "--out", "x", *words, "--size", "7", "--held-out", "0.25")
    assert (code, errors) == (0, "")
    estimator, source, about = caught[0]
    assert (estimator.hidden, estimator.centred, estimator.binarise, estimator.k) == ((5, 3), False, None, 2)
    assert (estimator.value_range, estimator.picture_shape) == ((-1.0, 1.5), (2, 3))
    assert (source, about) == ("data.csv", {"size": 7, "colour": "grey", "label": None, "held_out": 0.25})


def test_an_estimator_of_another_kind_gets_its_options_too() -> None:
    class Toy:
        """Something.

        Parameters
        ----------
        rate : float, optional
            A ``rate``
            of *steps*.
        way : {"left", "right", None}
            Where to.

        Notes
        -----
        None.
        """

        def __init__(self, rate: float | None = None, *, way: str | None = "left"):
            pass

    rate, way = options(Toy, {})
    assert descriptions(Toy, {})["rate"].text == "A rate of steps."
    assert (rate.default, way.default) == (None, "left")
    assert choice(("left", None))("none") is None
    assert comma_list(int)("(3, 4)") == (3, 4)


# ---------------------------------------------------------------- what commands do


def test_train_says_what_it_reads_and_what_came_of_it(console: Console, table: Path, tmp_path: Path) -> None:
    code, text, errors = console("train", "rbm", table, "--out", tmp_path / "run", *QUICK_RBM)
    assert (code, errors) == (0, "")
    lines = text.splitlines()
    assert lines[0] == "bits.csv: 36 rows to train on, 4 held out."
    assert lines[1] == "6 columns from 0 to 1 as probabilities of binary units; samples are given back as int64."
    assert lines[2].startswith("log Z = ")
    assert lines[3].startswith("On held-out rows: mean log-likelihood = ")
    assert f"The run is in {tmp_path / 'run'}." in text
    assert f"equilibria evaluate {tmp_path / 'run'}" in text


def test_a_run_finds_its_rows_again(home: Path) -> None:
    train, test = run_data(Run.open(home / "rbm"))
    rows = np.concatenate([train.values, test.values])
    assert (len(train), len(test)) == (36, 4)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, bits()))
    again = collect(home / "bits.csv")
    assert np.array_equal(again.train.values, train.values)
    digits, held = run_data(Run.open(home / "gan"))
    assert np.array_equal(digits.values, load("digits").values)
    assert np.array_equal(held.values, load("digits", split="test").values)


def test_the_data_s_range_and_picture_shape_are_filled_in_unless_given(home: Path) -> None:
    for name in ("dbm", "gan"):
        params = Run.open(home / name).config["params"]
        assert (params["value_range"], params["picture_shape"]) == ([0.0, 16.0], [8, 8])


def test_training_on_all_rows_evaluates_on_them_and_says_so(console: Console, table: Path, tmp_path: Path) -> None:
    code, text, _ = console("train", "rbm", table, "--out", tmp_path / "run", "--held-out", "0", *QUICK_RBM)
    assert code == 0
    assert "40 rows to train on; none held out." in text
    assert "On the training rows: " in text
    train, test = run_data(Run.open(tmp_path / "run"))
    assert train is test


def test_a_label_column_is_left_out(console: Console, tmp_path: Path) -> None:
    table = write_table(tmp_path / "named.csv", np.column_stack([bits(20, 3).astype(str), np.repeat(["a", "b"], 10)]))
    assert console("train", "rbm", table, "--label", "c3", "--out", tmp_path / "run", *QUICK_RBM)[0] == 0
    train, _ = run_data(Run.open(tmp_path / "run"))
    assert train.columns == ("c0", "c1", "c2")
    assert set(train.labels) == {"a", "b"}


def test_sample_writes_pictures_and_tables(console: Console, home: Path, tmp_path: Path) -> None:
    assert console("sample", home / "dbm", "-n", 5, "--out", tmp_path / "new" / "a.png")[0] == 0
    with Image.open(tmp_path / "new" / "a.png") as grid:
        assert grid.size == (7 * (3 * 9 + 1), 7 * (2 * 9 + 1))  # 3 × 2 tiles of 8 with lines of 1 between, 7 times enlarged
    assert console("sample", home / "gan", "-n", 5, "--out", tmp_path / "a.npz")[0] == 0
    values, _ = read_npz(tmp_path / "a.npz")
    assert (values.shape, values.dtype) == ((5, 64), np.uint8)
    assert console("sample", home / "rbm", "-n", 5, "--out", tmp_path / "a.csv")[0] == 0
    table, _, columns = read_csv(tmp_path / "a.csv")
    assert (table.shape, columns) == ((5, 6), ("c0", "c1", "c2", "c3", "c4", "c5"))
    assert set(table.ravel()) <= {0.0, 1.0}


def test_sample_repeats_by_its_seed(console: Console, home: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert console("sample", home / "gan", "--out", tmp_path / f"{name}.npz", "--seed", seed)[0] == 0
    a, b, c = (read_npz(tmp_path / f"{name}.npz")[0] for name in "abc")
    assert len(a) == 64
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_sample_overwrites_only_when_asked(console: Console, refused: Callable[..., str], home: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    out.write_text("mine")
    assert f"--out='{out}' is there already" in refused("sample", home / "rbm", "--out", out)
    assert out.read_text() == "mine"
    assert console("sample", home / "rbm", "--out", out, "--overwrite")[0] == 0
    assert out.read_text().startswith("c0,c1")


def test_score_says_whether_it_is_a_bound_and_writes_scores(console: Console, home: Path, table: Path, tmp_path: Path) -> None:
    code, text, _ = console("score", home / "rbm", table, "--out", tmp_path / "scores.csv")
    assert code == 0
    assert "no bound but the log-likelihood itself" in text
    scores, _, columns = read_csv(tmp_path / "scores.csv")
    assert columns == ("log-likelihood",)
    expected = estimators.load(home / "rbm").score_samples(bits().astype(np.float32))
    assert np.allclose(scores[:, 0], expected, atol=1e-5)
    code, text, _ = console("score", home / "dbm", "digits")
    assert code == 0
    assert "360 rows" in text  # the test split
    assert "It is a lower bound" in text


def test_resume_goes_on_where_training_was_stopped(console: Console, home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(home / "gan", copy)
    (copy / "model.safetensors").unlink()
    (copy / "model.json").unlink()
    code, text, _ = console("resume", copy)
    assert code == 0
    assert "The run is in" in text
    assert (copy / "model.safetensors").read_bytes() == (home / "gan" / "model.safetensors").read_bytes()
    code, text, _ = console("resume", copy)
    assert code == 0
    assert text == f"The training of {copy} has ended; there is nothing left to resume.\n"


def test_models_and_data_are_listed(console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, text, _ = console("models")
    assert code == 0
    assert [line.split()[0] for line in text.splitlines()] == list(MODELS)
    monkeypatch.setenv("EQUILIBRIA_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / "mnist" / f"{part}-ubyte.gz").touch()
    code, text, _ = console("data")
    assert code == 0
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["digits"].endswith("built in")
    assert lines["mnist"].endswith(f"found in {tmp_path / 'mnist'}")


def test_the_demo_trains_both_families_and_prints_the_report_last(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "DBM_SETTINGS", {"hidden": (8, 4), "steps": 3, "pretrain_steps": 2, "ais_betas": 10, "random_state": 0})
    monkeypatch.setattr(demo, "GAN_SETTINGS", {"hidden": (8,), "steps": 3, "random_state": 0})
    code, text, _ = console("demo", "--out", tmp_path / "demo")
    assert code == 0
    assert text.splitlines()[-1] == str(tmp_path / "demo" / "report.html")
    page = (tmp_path / "demo" / "report.html").read_text()
    for name, title in (("dbm", "Deep Boltzmann machine on digits"), ("gan", "Generative adversarial network on digits")):
        results = assessment.read(tmp_path / "demo" / name)
        assert title in page
        assert sum(str(result) in text for result in results) >= 5
    assert console("demo", "--out", tmp_path / "demo")[0] == 2
    assert console("demo", "--out", tmp_path / "demo", "--overwrite")[0] == 0


def test_of_many_processes_only_the_first_speaks(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert console("models") == (0, "", "")
    assert console("sample", "nowhere", "--out", "x.png") == (2, "", "")
    monkeypatch.setenv("LOCAL_RANK", "0")  # the first on another machine: something may be wrong with that machine alone
    assert console("sample", "nowhere", "--out", "x.png")[2] != ""


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("train", "rbn", "digits", "--out", "x"), "no such command 'rbn'. Did you mean 'rbm', 'dbn'?"),
        (("smaple", "x"), "no such command 'smaple'. Did you mean 'sample'?"),
        (("train", "rbm", "digits"), "missing option '--out'"),
        (("train", "rbm", "--out", "x"), "missing argument 'DATA'"),
        (("train", "rbm", "digits", "--out", "x", "--hiden", "3"), "no such option: --hiden"),
        (("train", "rbm", "digits", "--out", "x", "--k", "1.5"), "invalid value for '--k': '1.5' is no whole number"),
        (("train", "rbm", "digits", "--out", "x", "--momentum", "much"), "invalid value for '--momentum': 'much' is no number"),
        (("train", "dbm", "digits", "--out", "x", "--hidden", "5,x"), "invalid value for '--hidden': 'x' is no whole number"),
        (("train", "gan", "digits", "--out", "x", "--betas", "0.5"), "invalid value for '--betas': '0.5' has 1 number; expected 2,"),
        (("train", "rbm", "digits", "--out", "x", "--units", "bits"), "invalid value for '--units': 'bits' is none of 'auto', 'bernoulli'"),
        (
            ("train", "rbm", "digits", "--out", "x", "--size", "1,2,3"),
            "invalid value for '--size': '1,2,3' has 3 numbers; expected 1 or 2,",
        ),
        (("train", "rbm", "digits", "--out", "x", "--n-iter", "0"), "--n-iter=0: expected a whole number, 1 or more"),
        (("train", "rbm", "digits", "--out", "x", "--device", "abacus"), "--device='abacus': torch cannot use it here"),
        (("train", "rbm", "digist", "--out", "x"), "DATA='digist': neither a path nor a built-in set"),
        (("train", "rbm", "none.csv", "--out", "x"), "DATA='none.csv': no such file or folder"),
        (("train", "rbm", "digits", "--out", "x", "--held-out", "0.5"), "--held-out=0.5: digits is a built-in set with a test split"),
        (("train", "rbm", "digits", "--out", "x", "--label", "y"), "--label='y': names a column of a CSV file"),
        (("score", "nowhere", "digits"), "RUN='nowhere' does not exist"),
    ],
)
def test_a_bad_command_line_is_refused_in_a_sentence(
    words: tuple[str, ...], sentence: str, refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        (table_with("red"), (), "column 'c2' holds the text 'red' in row 7; expected numbers only"),
        (table_with("inf"), (), "X[6, 2] (column 'c2') is inf; replace it by a finite number"),
        (table_with("3"), ("--units", "bernoulli"), "X holds values from 0 to 3, outside 0 to 1"),
        (bits(1), (), "leaves 0 of the 1 rows of data.csv to train on"),
        (bits(0), (), "has no rows under its header; expected at least one"),
        (bits(3), (), "leaves 1 of the 3 rows of data.csv to train on"),
        (bits(), ("--held-out", "1.5"), "--held-out=1.5: expected a share of the rows above 0 and below 1"),
        (bits(), ("--picture-shape", "2,2"), "--picture-shape=2,2 has 4 values, but X has 6 columns"),
        (bits(), ("--label", "c9"), "has no such column"),
    ],
)
def test_bad_data_are_refused_before_any_work(
    rows: np.ndarray, options: tuple[str, ...], sentence: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    table = write_table(tmp_path / "data.csv", rows)
    assert sentence in refused("train", "rbm", table, "--out", tmp_path / "run", *options, *QUICK_RBM)
    assert not (tmp_path / "run").exists()


def test_values_outside_the_range_are_answered_with_the_command_line_s_own_options(refused: Callable[..., str], tmp_path: Path) -> None:
    table = write_table(tmp_path / "data.csv", table_with("3"))
    sentence = refused("train", "rbm", table, "--out", tmp_path / "run", "--units", "bernoulli")
    assert '(--value-range=0,3) or --units="gaussian"' in sentence


def test_an_empty_file_and_a_damaged_one_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not really")
    (tmp_path / "sheet.xlsx").touch()
    for name, sentence in (("empty.csv", "is empty"), ("broken.npz", "not a readable .npz file"), ("sheet.xlsx", "unknown kind of file")):
        assert sentence in refused("train", "rbm", tmp_path / name, "--out", tmp_path / "run")


def test_an_out_that_cannot_be_used_is_refused(refused: Callable[..., str], home: Path, table: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("mine")
    train = ("train", "rbm", table, *QUICK_RBM, "--out")
    assert "is a file: name a folder" in refused(*train, tmp_path / "file")
    assert "cannot be written" in refused(*train, tmp_path / "file" / "run")
    assert "holds files that are no run" in refused(*train, tmp_path / "foreign", "--overwrite")
    assert f"--out='{home / 'gan'}' holds a run" in refused(*train, home / "gan")
    assert (tmp_path / "foreign" / "thesis.tex").read_text() == "mine"
    sample = ("sample", home / "rbm", "--out")
    assert "cannot be written" in refused(*sample, tmp_path / "file" / "a.csv")
    assert "ends in .png or .npz or .csv" in refused(*sample, tmp_path / "a.txt")
    assert "is a folder: name a file" in refused(*sample, tmp_path / "foreign.csv", *_folder(tmp_path / "foreign.csv"))


def _folder(path: Path) -> tuple[()]:
    path.mkdir()
    return ()


def test_what_a_model_cannot_do_is_refused(refused: Callable[..., str], home: Path, table: Path, tmp_path: Path) -> None:
    assert "are no pictures" in refused("sample", home / "rbm", "--out", tmp_path / "a.png")
    assert "-n=0: expected a whole number" in refused("sample", home / "rbm", "-n", 0, "--out", tmp_path / "a.csv")
    assert "is a GAN, which has no density" in refused("score", home / "gan", "digits")
    assert "is a GAN, which cannot fill in cells" in refused("fill", home / "gan", "digits", "--out", tmp_path / "filled.csv")
    assert "predicts no classes: train with --labels" in refused("predict", home / "rbm", "digits", "--out", tmp_path / "classes.csv")
    assert "DATA='digits' has 64 columns, and the model was trained on 6" in refused("score", home / "rbm", "digits")
    assert "outside 0 to 1; give rows like those" in refused("score", home / "rbm", write_table(tmp_path / "three.csv", table_with("3")))


@pytest.mark.parametrize("command", ["sample", "score", "evaluate", "report"])
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda run: (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-40]), "model.safetensors"),
        (lambda run: (run / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda run: (run / "config.json").write_text('{"format": 1, "equi'), "config.json is damaged: it is not JSON"),
        (
            lambda run: edit(run, lambda config: config.pop("params")),
            "its config.json or its model is not what was written (KeyError: 'params')",
        ),
        (
            lambda run: edit(run, lambda config: config.update(model="vae")),
            "is of the model 'vae'; this version knows rbm, dbm, dbn, gan, lapgan",
        ),
        (lambda run: edit(run, lambda config: config.update(format=99)), "has format 99"),
        (lambda run: (run / "config.json").unlink(), "is not a run (it has no config.json)"),
    ],
    ids=["truncated", "unfinished", "no JSON", "incomplete", "other model", "newer", "no run"],
)
def test_a_damaged_run_is_refused(
    command: str, damage: Callable[[Path], Any], sentence: str, refused: Callable[..., str], home: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(home / "rbm", run)
    damage(run)
    words = {"sample": ("--out", tmp_path / "a.csv"), "score": (home / "bits.csv",), "evaluate": (), "report": ()}[command]
    assert sentence in refused(command, run, *words)


def edit(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    config = json.loads((run / "config.json").read_text())
    change(config)
    (run / "config.json").write_text(json.dumps(config))


def test_a_run_without_its_data_is_refused(refused: Callable[..., str], table: Path, home: Path, tmp_path: Path) -> None:
    for name in ("array", "moved", "changed", "incomplete"):
        shutil.copytree(home / "rbm", tmp_path / name)
        (tmp_path / name / "model.safetensors").unlink()
    other = write_table(tmp_path / "other.csv", 1 - bits())
    edit(tmp_path / "array", lambda config: config.update(data=None))
    edit(tmp_path / "moved", lambda config: config["data"].update(source=str(tmp_path / "gone.csv")))
    edit(tmp_path / "changed", lambda config: config["data"].update(source=str(other)))
    edit(tmp_path / "incomplete", lambda config: config["data"].pop("seed"))
    assert "equilibria.resume(run, X)" in refused("resume", tmp_path / "array")
    assert "no such file or folder" in refused("resume", tmp_path / "moved")
    assert "was trained on other rows" in refused("resume", tmp_path / "changed")
    assert "its entry 'data' is incomplete" in refused("resume", tmp_path / "incomplete")


# ---------------------------------------------------------------- how training can end


def test_a_diverged_training_ends_with_exit_code_1(console: Console, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(self: Any, X: Any, y: Any = None) -> None:
        raise DivergedError("Stage 'train' diverged at step 3.")

    monkeypatch.setattr(MODELS["rbm"], "fit", diverge)
    code, _, errors = console("train", "rbm", table, "--out", tmp_path / "run")
    assert (code, errors) == (1, "equilibria: Stage 'train' diverged at step 3.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_ends_with_the_signal_s_code(
    number: signal.Signals, console: Console, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Any, X: Any, y: Any = None) -> None:
        raise TrainingInterrupted(number, "Stopped; the state is saved.")

    monkeypatch.setattr(MODELS["rbm"], "fit", stop)
    code, _, errors = console("train", "rbm", table, "--out", tmp_path / "run")
    assert (code, errors) == (128 + number, "equilibria: Stopped; the state is saved.\n")


def test_a_bug_keeps_its_traceback(console: Console, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, X: Any, y: Any = None) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(MODELS["rbm"], "fit", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        console("train", "rbm", table, "--out", tmp_path / "run")


def test_a_real_signal_stops_the_training_and_resume_ends_it(console: Console, home: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", "rbm", str(home / "bits.csv"), "--out", str(run), "--n-components", "4", "--n-iter", "1000"]
    process = subprocess.Popen([sys.executable, "-m", "equilibria", *words], cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
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
    assert Run.open(run).metrics()[-1]["step"] == 1000 * 36 // estimators.RBM().batch_size
