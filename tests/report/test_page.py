"""The page: well-formed, complete, self-contained, safe against hostile names, and the same each time."""

from __future__ import annotations

import html
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import equilibria
from equilibria import GAN, RBM
from equilibria.data import write_csv
from equilibria.errors import RunError
from equilibria.report import assessment, page
from equilibria.training.origin import attach, collect

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
def both(dbm: Path, gan: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return page.write([dbm, gan], tmp_path_factory.mktemp("page") / "new" / "both.html").read_text(encoding="utf-8")


def train(estimator, source, folder: Path, **about) -> Path:
    loaded = collect(source, **about)
    attach(estimator, loaded)
    estimator.set_params(out=str(folder), random_state=0).fit(loaded.train.values)
    return folder


def test_the_page_is_well_formed_and_needs_nothing_else(both: str) -> None:
    reader = Reader(both)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(reader.tags)
    for name, value in reader.attributes:
        if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
            assert value is not None
            assert value.startswith(("data:image/png;base64,", "#")), value[:80]
        assert not name.startswith("on")
    assert "http" not in re.sub(r"base64,[^\"]*", "", both)
    assert "@import" not in both
    assert all(not target.startswith('"') and target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", both))
    assert both.count("<img ") == len(re.findall(r'<img [^>]*alt="[^"]+"', both))
    assert both.count("<svg ") == len(re.findall(r'<svg role="img" aria-label="[^"]+"', both))


@pytest.mark.parametrize("family", ["dbm", "gan"])
def test_it_says_what_is_known_of_each_run(family: str, both: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(family)
    model, reader = equilibria.load(folder), Reader(both)
    assert model.health_
    results = assessment.read(folder)
    for sentence in (*model.health_, *assessment.remarks(results)):
        assert html.escape(sentence) in both
    for result in results:
        name = result.name[:1].upper() + result.name[1:]
        number = f"{result.value:.3f}" if "nats" in result.name else f"{result.value:.4g}"
        row = re.search(f'<th scope="row">{re.escape(html.escape(name))}</th><td class="value">([^<]*)</td>', both)
        assert row is not None, name
        assert family == "gan" or row[1].startswith(number)  # the first of two rows of the same name is the DBM's
    for name in model.get_params():
        assert name in reader.text


def test_it_names_models_data_and_how_to_make_them_again(both: str, dbm: Path) -> None:
    text = Reader(both).text
    assert "Deep Boltzmann machine on digits" in text
    assert "Generative adversarial network on digits" in text
    assert "Layers of 64, 12 and 6 units, trained on digits (1,437 rows of 64 columns) for 120 steps" in text
    assert "equilibria train dbm digits --out NEW_FOLDER --random-state 0 --hidden 12,6 --steps 60 --pretrain-steps 30" in text
    assert f"equilibria resume {dbm}" in text
    for heading in (
        "Filters of the first hidden layer",
        "Linear back-projection of hidden layer 2",
        "Samples of the model",
        "Real examples",
    ):
        assert f"<h4>{heading}</h4>" in both
    assert "Classes among the samples" in text
    assert "The critic's accuracy" in text


def test_the_same_run_gives_the_same_page_beside_its_model(gan: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(gan, tmp_path / "run")
    written = page.write([copy])
    assert written == copy / "report.html"
    first = written.read_bytes()
    assert page.write([copy]).read_bytes() == first
    assert page.write([str(copy)], str(tmp_path / "other.html")).read_bytes() == first
    assert not list(copy.glob(".*.tmp"))


def test_a_run_without_evaluation_says_how_to_make_one(gan: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(gan, tmp_path / "a run")
    (copy / assessment.FILE).unlink()
    text = Reader(page.write([copy]).read_text(encoding="utf-8")).text
    assert f"equilibria evaluate '{copy}'" in text
    assert "What was measured" not in text


def test_a_run_on_an_array_is_shown_without_its_data(tmp_path: Path) -> None:
    X = np.random.RandomState(0).randint(0, 2, (30, 6))
    RBM(n_components=3, n_iter=2, random_state=0, picture_shape=(2, 3), out=str(tmp_path / "run")).fit(X)
    text = Reader(page.write([tmp_path / "run"]).read_text(encoding="utf-8")).text
    assert "Restricted Boltzmann machine on an array" in text
    assert "Its data are not shown" in text
    assert "RBM(n_components=3, n_iter=2, random_state=0, picture_shape=(2, 3)).fit(X)" in text
    assert "Samples of the model" in text
    assert "Real examples" not in text


def test_hostile_names_stay_text(hostile_table: Path, tmp_path: Path) -> None:
    folder = train(GAN(hidden=(4,), steps=3), hostile_table, tmp_path / "run", label="label")
    assessment.assess(folder, samples=20)
    content = page.write([folder]).read_text(encoding="utf-8")
    reader = Reader(content)
    assert "script" not in reader.tags
    assert not any(value == "y" for name, value in reader.attributes if name == "onerror")
    assert "<img src=x" not in content
    assert "alert('&\"')</script>2" in reader.text  # the column's name, in the table of columns
    assert "on <img src=x onerror=y>.csv" in reader.text


def test_points_in_the_plane_are_scattered_under_escaped_names(tmp_path: Path) -> None:
    write_csv(tmp_path / "points.csv", np.random.RandomState(0).normal(size=(50, 2)), ["<b>", "a&b"])
    folder = train(GAN(hidden=(4,), steps=3), tmp_path / "points.csv", tmp_path / "run")
    content = page.write([folder]).read_text(encoding="utf-8")
    reader = Reader(content)
    assert "Samples over real points" in reader.text
    assert "b" not in reader.tags
    assert "a&b" in reader.text


def test_damaged_data_are_named_and_the_model_is_still_shown(tmp_path: Path) -> None:
    write_csv(tmp_path / "points.csv", np.random.RandomState(0).normal(size=(50, 2)))
    folder = train(GAN(hidden=(4,), steps=3), tmp_path / "points.csv", tmp_path / "run")
    (tmp_path / "points.csv").unlink()
    text = Reader(page.write([folder]).read_text(encoding="utf-8")).text
    assert "Its data are not shown" in text
    assert "Generative adversarial network on points.csv" in text


def test_foreign_folders_are_refused_and_left_alone(dbm: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(RunError, match="run="):
            page.write([path])
        with pytest.raises(RunError, match="run="):
            page.write([dbm, path], tmp_path / "page.html")
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_an_unwritable_page_and_no_runs_are_refused(gan: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="out="):
        page.write([gan], tmp_path / "file" / "page.html")
    for runs in ([], str(gan), gan):
        with pytest.raises(ValueError, match="runs="):
            page.write(runs)  # type: ignore[arg-type]
