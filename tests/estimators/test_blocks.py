"""Work that goes over rows a block at a time gives what one block would."""

import os
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from equilibria import RBM, Independent
from equilibria.cli.app import main
from equilibria.durable import replace
from equilibria.estimators import estimator
from equilibria.evaluation import margins
from equilibria.evaluation.beside import Cells
from equilibria.random import Stream
from small import BITS, LABELS, NAMES, fitted, small, with_capability


@pytest.fixture
def short(monkeypatch):
    """Blocks of eight rows, of chunks of four."""

    def shorten() -> None:
        monkeypatch.setattr(estimator, "CHUNK", 4)
        monkeypatch.setattr("equilibria.data.columns.BLOCK_CELLS", 8 * 18)

    return shorten


@pytest.mark.parametrize("name", with_capability("sample"))
def test_samples_do_not_depend_on_the_blocks(name, short):
    """Bit for bit: more rows than there are persistent chains, whose own come first."""
    model = fitted(name)
    whole = np.asarray(model.sample(29, random_state=1))
    short()
    blocks = list(model.sampled(29, random_state=1))
    assert len(blocks) > 2
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    np.testing.assert_array_equal(np.asarray(model.sample(29, random_state=1)), whole)


@pytest.mark.parametrize("name", with_capability("classify"))
def test_samples_by_class_do_not_depend_on_the_blocks(name, short):
    model = fitted(name) if fitted(name).labels else small(type(fitted(name)), labels=True)
    model = model if hasattr(model, "model_") else model.fit(BITS, LABELS)
    if "sample" not in model.capabilities_:
        pytest.skip("predicts alone")
    y = np.where(np.arange(19) % 3, "odd", "even")
    whole = model.sample(19, y, random_state=1)
    short()
    np.testing.assert_array_equal(model.sample(19, y, random_state=1), whole)
    with pytest.raises(ValueError, match="y: expected one label, or 19 of them, found 2"):
        model.sample(19, y[:2])


@pytest.mark.parametrize("name", with_capability("sample"))
def test_a_stream_given_is_gone_on_with(name, short):
    """Rows from its first on, or one process's share: so many of the whole, whatever the blocks."""
    model = fitted(name)
    whole = np.asarray(model.sample(27, random_state=Stream(1)))
    short()
    for stream, first, n in ((Stream(1).rows(3), 3, 20), (Stream(1).shard(2), 18, 9)):
        found = np.concatenate(list(model.sampled(n, random_state=stream)))
        np.testing.assert_allclose(found, whole[first : first + n], atol=1e-6)


@pytest.mark.parametrize("name", ["rbm", "made", "gan", "flow"])
def test_samples_go_on_beyond_the_period_of_a_stream(name):
    """Of 16 columns row 2**28 begins again: here it is another row."""
    stream = Stream(1).rows(2**28)
    found = fitted(name).sample(5, random_state=stream)
    assert found.shape == (5, 16)
    rest = fitted(name).sample(3, random_state=stream.rows(2**28 + 2))
    np.testing.assert_allclose(found[2:], rest, atol=1e-6)


def test_a_stream_of_rows_is_of_one_fit_and_its_labels_are_read_at_once(short):
    model = RBM(4, n_iter=1, labels=True, random_state=0).fit(BITS, LABELS)
    y = np.where(np.arange(29) % 3, "odd", "even")
    whole = model.sample(29, y, random_state=1)
    short()
    y[20] = "none"
    with pytest.raises(ValueError, match=r"y\[20\] is 'none', which is not among the classes"):
        model.sampled(29, y)
    y[20] = "odd"
    blocks = model.sampled(29, y, random_state=1)
    first = next(blocks)
    model.set_params(n_components=3).fit(BITS[:, :4], LABELS)
    np.testing.assert_array_equal(np.concatenate([first, *blocks]), whole)


METHODS = "score_samples row_scores cell_scores transform predict_log_proba predict_proba predict"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "next-state"])
def test_answers_do_not_depend_on_the_blocks(name, short):
    """To the rounding of a product of other rows; errors name the row of the table."""
    model = fitted(name)
    known = [method for method in METHODS.split() if hasattr(model, method)]
    if name == "flow":
        known.remove("cell_scores")  # its columns are numbers, and it sums none out
    whole = {method: getattr(model, method)(BITS) for method in known}
    total = model.log_likelihood(BITS).value if "score" in model.capabilities_ else None
    short()
    for method in known:
        found = getattr(model, method)(BITS)
        assert found.dtype == whole[method].dtype
        if found.dtype.kind == "f":
            np.testing.assert_allclose(found, whole[method], rtol=1e-9, atol=1e-9)
        else:
            np.testing.assert_array_equal(found, whole[method])
    if total is not None:
        measure, scores = model.scored(BITS)
        assert measure.value == pytest.approx(total, abs=1e-9)
        np.testing.assert_allclose(scores, whole["score_samples"], atol=1e-9)


def test_frames_go_on_and_errors_name_the_row_of_the_table(short):
    """Identifiers go on without a gap; a category that fit did not see is where it is."""
    X = pd.DataFrame({"id": range(100, 140), "kind": LABELS, "size": np.arange(40) / 7})
    model = Independent(random_state=0).fit(X)
    whole = model.sample(31)
    short()
    pd.testing.assert_frame_equal(model.sample(31), whole)
    assert whole["id"].tolist() == list(range(140, 171))
    X.loc[37, "kind"] = "strange"
    with pytest.raises(ValueError, match=r"X\[37, 1\] .* is 'strange'"):
        model.score_samples(X)
    with pytest.raises(ValueError, match=r"X\[37, 1\] .* is 'strange'"):
        model.table_.check(X)


def test_samples_reach_a_file_block_by_block(short, tmp_path):
    """One header; what is in the file is what the model draws. Half of it is never left behind."""
    X = pd.DataFrame({"id": range(40), "kind": LABELS, "size": np.arange(40) / 7})
    model = Independent(random_state=0, out=str(tmp_path / "run")).fit(X)
    short()
    file = tmp_path / "drawn.csv"
    assert main(["sample", str(tmp_path / "run"), "-n", "31", "--out", str(file)]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(file), model.sample(31))
    before = file.read_bytes()

    def parts():
        yield b"half"
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        replace(file, parts())
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn.csv", "run"]


def test_what_no_file_takes_in_blocks_is_drawn_as_one_table(short, tmp_path, monkeypatch, capsys):
    """Its rows are counted through, and more than memory holds are refused before any is drawn."""
    X = pd.DataFrame({"count": np.arange(40) % 5, "size": np.arange(40) / 7})
    model = Independent(random_state=0, out=str(tmp_path / "run")).fit(X)
    short()
    for suffix in ["npz"] + ["parquet"] * (find_spec("pyarrow") is not None):
        file = tmp_path / f"drawn.{suffix}"
        words = ["sample", str(tmp_path / "run"), "--overwrite", "--out", str(file), "-n"]
        assert main([*words, "31"]) == 0
        wanted, before = model.sample(31), file.read_bytes()
        if suffix == "parquet":
            pd.testing.assert_frame_equal(pd.read_parquet(file), wanted)
        else:
            np.testing.assert_array_equal(np.load(file)["X"], wanted)
        with monkeypatch.context() as patch:  # a machine of no memory
            patch.setattr(os, "sysconf", lambda name: 0)
            assert main([*words, "31"]) == 2
        assert "n=31: would take" in capsys.readouterr().err
        assert file.read_bytes() == before


def test_of_very_many_columns_some_pairs_are_compared(monkeypatch):
    monkeypatch.setattr(margins, "PAIRS", 50)
    rows = np.random.RandomState(0).normal(size=(30, 12))
    cells = [Cells(str(i), column, column) for i, column in enumerate(rows.T)]
    found = margins.associations(cells)
    assert 40 <= len(found) <= 50
    assert all(i < j for i, j in found)
    monkeypatch.setattr(margins, "PAIRS", 66)
    every = margins.associations(cells)
    assert len(every) == 66
    assert all(found[pair].value == every[pair].value for pair in found)
