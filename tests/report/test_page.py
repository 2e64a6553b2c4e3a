"""The page: well-formed, complete, self-contained, safe against hostile names, repeatable."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import equilibria
from equilibria import GAN, RBM, Independent
from equilibria.data import write_csv
from equilibria.errors import RunError
from equilibria.models.model import Panel
from equilibria.report import assessment, page, panels
from equilibria.report.health import remarks
from equilibria.report.summary import Summary
from equilibria.report.view import FILE, read, read_verdict
from equilibria.training.run import Run

Trained = Callable[..., Path]
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Reader(HTMLParser):
    """Checks that tags are balanced, and collects tags, attributes and text."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def everything(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "new" / "all.html"
    return page.write(list(runs.values()), out).read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_needs_nothing_else(everything: str) -> None:
    reader = Reader(everything)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(reader.tags)
    for name, value in reader.attributes:
        if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
            assert value is not None
            assert value.startswith(("data:image/png;base64,", "#")), value[:80]
        assert not name.startswith("on")
    assert "http" not in re.sub(r"base64,[^\"]*", "", everything)
    assert "@import" not in everything
    targets = re.findall(r"url\(([^)]*)\)", everything)
    assert all(target.startswith("#") for target in targets)
    images = re.findall(r'<img [^>]*alt="[^"]+"', everything)
    assert everything.count("<img ") == len(images)
    charts = re.findall(r'<svg role="img" aria-label="[^"]+"', everything)
    assert everything.count("<svg ") == len(charts)


@pytest.mark.parametrize("family", ["dbm", "made", "gan"])
def test_it_says_what_is_known_of_each_run(
    family: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    content = page.write([runs[family]], tmp_path / "page.html").read_text(encoding="utf-8")
    model, reader = equilibria.load(runs[family]), Reader(content)
    results = read(Run.open(runs[family]))
    verdict = read_verdict(Run.open(runs[family]))
    assert verdict is not None
    said = (one.sentence for one in (*verdict.answers, *verdict.uses.values()))
    for sentence in (*said, *model.health_, *remarks(results, True), model.model_.describe()):
        assert html.escape(sentence) in content
    for result in results:
        name = html.escape(result.name[:1].upper() + result.name[1:])
        number = f"{result.value:.3f}" if "nats" in result.name else f"{result.value:.4g}"
        pattern = f'<th scope="row">{re.escape(name)}</th><td class="value">([^<]*)</td>'
        row = re.search(pattern, content)
        assert row is not None, name
        assert row[1].startswith(number)
    for name in model.get_params(deep=False):
        assert name in reader.text
    for heading in ("Samples of the model", "Real examples", "Nearest training rows"):
        assert f"<h4>{heading}</h4>" in content


def test_it_names_models_data_and_how_to_make_them_again(
    everything: str, runs: dict[str, Path]
) -> None:
    text = Reader(everything).text
    assert "3 trained models" in text
    assert "Deep Boltzmann machine on digits" in text
    assert "Generative adversarial network on digits" in text
    assert "Trained on digits (1,437 rows of 64 columns) for 120 steps" in text
    assert "explicit density, variational bound" in text
    assert "equilibria train dbm digits --out NEW_FOLDER " in text
    for option in ("--hidden 12,6", "--steps 60", "--pretrain-steps 30", "--random-state 0"):
        assert option in text
    assert f"equilibria resume {runs['dbm']}" in text
    assert "Classes among the samples" in text
    assert "The critic's accuracy" in text
    assert "What the model pays" in text


def test_the_command_it_gives_trains_the_same_model(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from equilibria.cli.app import main

    words = Summary(runs["made"]).reproduction.splitlines()[1].split()
    assert words[0] == "equilibria"
    folder = tmp_path / "again"
    assert main([str(folder) if w == "NEW_FOLDER" else w for w in words[1:]]) == 0
    model = "model.safetensors"
    assert (folder / model).read_bytes() == (runs["made"] / model).read_bytes()


def test_the_same_run_gives_the_same_page_beside_its_model(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(runs["gan"], tmp_path / "run")
    written = page.write([copy])
    assert written == copy / "report.html"
    first = written.read_bytes()
    assert page.write([str(copy)], str(tmp_path / "other.html")).read_bytes() == first
    assert not list(copy.glob(".*.tmp"))


def test_a_run_without_evaluation_says_how_to_make_one(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(runs["gan"], tmp_path / "a run")
    (copy / FILE).unlink()
    text = Reader(page.write([copy]).read_text(encoding="utf-8")).text
    assert f"equilibria evaluate '{copy}'" in text
    assert "What was measured" not in text


def test_a_run_on_an_array_is_shown_without_its_data(tmp_path: Path) -> None:
    X = np.random.RandomState(0).randint(0, 2, (30, 6))
    how = {"n_iter": 2, "random_state": 0, "picture_shape": (2, 3)}
    RBM(n_components=3, **how, out=str(tmp_path / "run")).fit(X)
    text = Reader(page.write([tmp_path / "run"]).read_text(encoding="utf-8")).text
    assert "Restricted Boltzmann machine on an array" in text
    assert "Its data are not shown" in text
    assert "RBM(n_components=3, n_iter=2, picture_shape=(2, 3), random_state=0).fit(X)" in text
    assert "Samples of the model" in text
    assert "Real examples" not in text


def test_hostile_names_stay_text(hostile_table: Path, tmp_path: Path, trained: Trained) -> None:
    folder = trained(GAN(hidden=(4,), steps=3), hostile_table, tmp_path / "run", label="label")
    assessment.assess(folder, samples=20)
    content = page.write([folder]).read_text(encoding="utf-8")
    reader = Reader(content)
    assert "script" not in reader.tags
    assert not any(value == "y" for name, value in reader.attributes if name == "onerror")
    assert "<img src=x" not in content
    assert "alert('&\"')</script>2" in reader.text  # the column's name, in the table of columns
    assert "on <img src=x onerror=y>.csv" in reader.text


def test_points_in_the_plane_are_scattered_under_escaped_names(
    tmp_path: Path, trained: Trained
) -> None:
    points = np.random.RandomState(0).normal(size=(50, 2))
    write_csv(tmp_path / "points.csv", points, ["<b>", "a&b"])
    folder = trained(GAN(hidden=(4,), steps=3), tmp_path / "points.csv", tmp_path / "run")
    reader = Reader(page.write([folder]).read_text(encoding="utf-8"))
    assert "Samples over real points" in reader.text
    assert "b" not in reader.tags
    assert "a&b" in reader.text


def test_data_that_are_gone_are_named_and_the_model_is_still_shown(
    tmp_path: Path, trained: Trained
) -> None:
    write_csv(tmp_path / "points.csv", np.random.RandomState(0).normal(size=(50, 2)))
    folder = trained(GAN(hidden=(4,), steps=3), tmp_path / "points.csv", tmp_path / "run")
    (tmp_path / "points.csv").unlink()
    text = Reader(page.write([folder]).read_text(encoding="utf-8")).text
    assert "Its data are not shown" in text
    assert "Generative adversarial network on points.csv" in text


def test_a_mixed_table_is_shown_column_by_column(tmp_path: Path, trained: Trained) -> None:
    rows = [f"{'yn'[i % 2]},{i / 3:.2f},{i % 5}" for i in range(60)]
    (tmp_path / "table.csv").write_text("\n".join(["vote,size,kind", *rows]) + "\n")
    folder = trained(RBM(n_components=4, n_iter=1), tmp_path / "table.csv", tmp_path / "run")
    text = Reader(page.write([folder]).read_text(encoding="utf-8")).text
    assert "Column by column" in text
    assert re.search(r"vote[yn], \d+ %[yn], \d+ %", text)
    assert re.search(r"size\d+\.\d+ ± ", text)


def test_a_page_of_many_columns_draws_fewer_samples(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "wide.npy", np.random.default_rng(0).integers(0, 2, (40, 30)))
    folder = trained(Independent(), tmp_path / "wide.npy", tmp_path / "run")
    drawn, sample = list[int](), Independent.sample

    def counted(self: Independent, n: int, **options: object) -> object:
        drawn.append(n)
        return sample(self, n, **options)

    monkeypatch.setattr(Independent, "sample", counted)
    for cells, rows in ((10**6, 2000), (30 * 500, 500), (30, 300)):
        monkeypatch.setattr(panels, "_CELLS", cells)
        panels.pictures(Summary(folder))
        assert drawn.pop() == rows


def test_a_model_shows_what_it_has_to_show(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Panels of every kind, and the Markov chain of a model that is one."""
    model = type(equilibria.load(runs["made"]).model_)
    shown = [
        Panel("Some bars", "bars", {"a": 1.0, "b": 2.0}, "How high."),
        Panel("Some curve", "curve", {"this": [1.0, 2.0], "that": [2.0, 1.0]}),
        Panel("Some weights", "pictures", np.linspace(-1, 1, 128).reshape(2, 64)),
    ]
    monkeypatch.setattr(model, "panels", lambda self, table: shown)
    content = panels.pictures(Summary(runs["made"]))
    for one in shown:
        assert f"<h4>{one.title}</h4>" in content
    assert "Its Markov chain" not in content
    monkeypatch.setattr(model, "transition", lambda self, x, stream: 1 - x, raising=False)
    assert "<h4>Its Markov chain</h4>" in panels.pictures(Summary(runs["made"]))


def test_every_layer_of_a_machine_and_its_chains_are_shown(runs: dict[str, Path]) -> None:
    content = panels.pictures(Summary(runs["dbm"]))
    for heading in ("Weights of layer hidden1", "Weights of layer hidden2", "Persistent chains"):
        assert f"<h4>{heading}</h4>" in content


def test_what_cannot_be_shown_is_refused_and_left_alone(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(RunError, match="run="):
            page.write([path])
        with pytest.raises(RunError, match="run="):
            page.write([runs["made"], path], tmp_path / "page.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(RunError, match="out="):
        page.write([runs["made"]], tmp_path / "notes.txt" / "page.html")
    for nothing in ([], str(runs["made"])):
        with pytest.raises(ValueError, match="runs="):
            page.write(nothing)
