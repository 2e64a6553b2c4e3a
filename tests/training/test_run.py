"""The run folder: what may be created, opened and overwritten, and what a killed writer leaves."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from equilibria import durable
from equilibria.errors import RunError
from equilibria.training.run import FORMAT, PAGE_MARK, Run

WRITER = """
import itertools, sys, torch
from equilibria.training.run import Run
torch.set_num_threads(1)
run = Run.open(sys.argv[1])
with run.lock():
    for step in itertools.count(int(sys.argv[2])):
        tensors = {f"layer{i}": torch.full((200,), float(step)) for i in range(20)}
        run.log({"step": step, "text": "x" * 300})
        run.save_checkpoint({"tensors": tensors, "again": step}, step)
        run.save_checkpoint({"tensors": tensors, "again": step}, step)
        run.save_model(tensors, {"step": step})
        run.update_config(step=step, text="x" * 300)
        print(step, flush=True)
"""


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path / "run", {"model": "rbm"})


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_new_run_is_what_is_opened(tmp_path):
    config = {"model": "dbm", "hidden": (20, 10), "rate": 0.1, "format": 99}
    created = Run.create(tmp_path / "deep" / "run", config)
    opened = Run.open(str(tmp_path / "deep" / "run"))
    assert opened.config == created.config
    assert opened.config["hidden"] == [20, 10]
    assert opened.config["format"] == FORMAT == 4
    assert isinstance(opened.config["equilibria"], str)
    assert [path.name for path in opened.path.iterdir()] == ["config.json"]


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / ".config.json.123.tmp").write_text("cut short by a crash")
    assert Run.create(tmp_path, {}).path == tmp_path


def test_the_configuration_is_updated(run):
    run.update_config(steps=5, model="dbm")
    assert Run.open(run.path).config == run.config
    assert run.config | {"steps": 5, "model": "dbm"} == run.config


def test_a_file_is_not_a_place_for_a_run(tmp_path):
    (tmp_path / "x").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(RunError, match=r"^out='.*x' is a file"):
            Run.create(tmp_path / "x", {}, overwrite)
        with pytest.raises(RunError, match=r"^out='.*run' cannot be written"):
            Run.create(tmp_path / "x" / "run", {}, overwrite)
    assert (tmp_path / "x").read_text() == "mine"


FOREIGN = [
    *(None, "{}", "[1]", "{"),
    '{"architectures": ["Bert"], "format": "pt"}',
    '{"format": 1, "equilibria": "reached"}',
    '{"format": 3, "equilibria": "9.0"}',
]


def test_a_foreign_folder_is_never_touched(tmp_path):
    for number, config in enumerate(FOREIGN):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "thesis.tex").write_text("mine")
        if config is not None:
            (folder / "config.json").write_text(config)
        before = contents(folder)
        for overwrite in (False, True):
            said = r"^out=.*untouched.*choose a new or an empty folder"
            with pytest.raises(RunError, match=said):
                Run.create(folder, {}, overwrite)
        assert contents(folder) == before, config


def test_an_earlier_run_is_kept_unless_overwriting_is_asked_for(run):
    run.log({"step": 1})
    run.save_checkpoint({}, 1)
    run.save_model({"w": torch.ones(1)}, {})
    before = contents(run.path)
    with pytest.raises(
        RunError, match=r"^out=.*holds a run.*another folder.*equilibria resume.*overwrite"
    ):
        Run.create(run.path, {"model": "gan"})
    assert contents(run.path) == before
    again = Run.create(run.path, {"model": "gan"}, overwrite=True)
    assert again.config["model"] == "gan"
    assert again.metrics() == []
    assert contents(run.path).items() >= before.items(), "until the new one can be gone on with"
    with again.lock():
        again.save_checkpoint({}, 2)
        assert Run.open(run.path).config == again.config
        assert again.steps() == [2]
    assert {path.name for path in run.path.iterdir()} == {"config.json", "lock", "checkpoints"}


def test_a_run_in_training_is_not_overwritten(run):
    run.log({"step": 1})
    before = contents(run.path)
    with run.lock(), pytest.raises(RunError, match=rf"^out=.*overwritten.*process {os.getpid()}"):
        Run.create(run.path, {}, overwrite=True)
    assert {**contents(run.path), "lock": b""} == {**before, "lock": b""}


def test_overwriting_deletes_what_a_run_writes_and_names_the_rest(tmp_path, run):
    """Whatever its name, a file that no run writes stays, also in the folders of a run."""
    page = ("report.html", "samples/joint-000000005.png")
    for name in ("evaluation.json", "verdict.json", "model.json", *page):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_text(PAGE_MARK)
    for step in (5, 6):
        run.save_checkpoint({}, step)
    run.write_beside("machine", lambda path: Run.create(path, {}).save_model({}, {}))
    Run.create(run.path / "theirs", {})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data").write_text("mine")
    (run.path / "data").symlink_to(tmp_path / "elsewhere")
    mine = ["thesis.tex", "samples/best.png", "checkpoints/step-000000005.txt", "notes/report.html"]
    mine += ["checkpoints/step-000000006/notes.txt", "machine/notes.txt"]
    for name in mine:
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_text("mine")
    (tmp_path / "link").symlink_to(run.path)
    named = "checkpoints/step-000000005.txt, checkpoints/step-000000006/notes.txt, data, "
    named += "machine/notes.txt, notes, samples/best.png, theirs, thesis.tex belong to no run"
    with pytest.warns(UserWarning, match=named):
        new = Run.create(tmp_path / "link", {"model": "gan"}, overwrite=True)
    new.save_model({}, {})
    assert (tmp_path / "elsewhere" / "data").read_text() == "mine"
    assert Run.open(run.path).config["model"] == "gan"
    left = set(contents(run.path)) - {"config.json", "lock", "model.json", "model.safetensors"}
    assert left == {*mine, "theirs/config.json"}
    (run.path / "report.html").write_text("mine")
    with pytest.warns(UserWarning, match=r"report\.html"):
        Run.create(run.path, {}, overwrite=True).save_model({}, {})
    assert (run.path / "report.html").read_text() == "mine"


class Killed(BaseException):
    """Stands for death at that instruction: every call after it raises it as well."""


CALLS = ("fsync", "mkdir", "rename", "replace", "rmdir", "unlink")


def die_at(patch: pytest.MonkeyPatch, number: int, error: BaseException) -> Iterator[int]:
    """Let the call of that number, among those that change a disk, raise; of the dead all do.
    Returns what counts them."""
    count = itertools.count(1)

    def dying(call):
        def wrapped(*arguments, **keywords):
            reached = next(count)
            if reached == number or (reached > number and isinstance(error, Killed)):
                raise error
            return call(*arguments, **keywords)

        return wrapped

    for name in CALLS:
        call = getattr(os, name) if name != "fsync" else lambda descriptor: None
        patch.setattr(os, name, dying(call))
    return count


def machine(steps: int) -> Callable[[Path], None]:
    """Saves a run within a run."""
    return lambda path: Run.create(path, {}).save_model({}, {"steps": steps})


def is_former(path: Path) -> bool:
    """Whether the folder holds the former run or the new one; and that one whole."""
    run = Run.open(path)
    loaded = run.load_checkpoint()
    assert loaded.skipped == []
    assert (path / "thesis.tex").read_text() == "mine"
    former = run.config["model"] == "former"
    assert loaded.state == {"model": run.config["model"]}
    assert len(run.metrics(loaded.metrics)) == (2 if former else 1)
    if former:
        assert run.steps() == [5, 7]
        assert run.load_model().metadata == {"steps": 7}
        assert run.read_result("evaluation.json") == [1]
        assert Run.open(run.beside("machine")).load_model().metadata == {"steps": 1}
        assert (path / "samples" / "joint-000000005.png").exists()
    return former


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Killed()], ids=repr)
def test_a_former_run_stays_whole_until_the_new_one_is(tmp_path, monkeypatch, error):
    """The writer fails, or is killed, at each of its calls in turn."""
    former = Run.create(tmp_path / "former", {"model": "former"})
    for step in (5, 7):
        former.log({"step": step})
        former.save_checkpoint({"model": "former"}, step)
    former.write_beside("machine", machine(1))
    former.sample_path(5, "joint").write_text("a picture")
    former.save_model({"w": torch.ones(2)}, {"steps": 7})
    former.write_result("evaluation.json", [1])
    (former.path / "thesis.tex").write_text("mine")
    seen = []
    for number in itertools.count(1):
        path = tmp_path / str(number)
        shutil.copytree(former.path, path)
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            count = die_at(patch, number, error)
            with contextlib.suppress(RunError, Killed):
                run = Run.create(path, {"model": "new"}, overwrite=True)
                with run.lock():
                    run.write_beside("machine", machine(2))
                    run.log({"step": 5})
                    run.save_checkpoint({"model": "new"}, 5)
        seen.append(is_former(path))
        with Run.open(path).lock():
            assert is_former(path) == seen[-1]
        assert set(contents(path)) <= {*contents(former.path), "lock", "machine/lock"}
        if not seen[-1]:
            assert not (path / "model.json").exists()
            within = Run.open(Run.open(path).beside("machine"))
            assert within.load_model().metadata == {"steps": 2}
        if next(count) <= number:
            break
    assert not seen[-1]
    assert seen == sorted(seen, reverse=True), "once it is the new one it stays so"
    assert seen.count(True) > 15
    assert seen.count(False) > 5


def test_a_new_run_that_comes_to_nothing_leaves_the_former_one(run):
    run.save_model({"w": torch.ones(1)}, {"steps": 3})
    before = contents(run.path)
    again = Run.create(run.path, {"model": "gan"}, overwrite=True)
    with pytest.raises(TypeError), again.lock():
        again.log({"step": 1, "cost": object()})
    assert {**contents(run.path), "lock": b""} == {**before, "lock": b""}
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []


def test_a_configuration_alone_does_not_make_a_run_of_an_earlier_version(tmp_path):
    """It has no seal: a sealed record of a model, or a checkpoint, must be there too."""
    folder = tmp_path / "run"
    shutil.copytree(Path(__file__).parents[1] / "estimators" / "runs" / "rbm-0.1.0", folder)
    record = (folder / "model.json").read_text()
    (folder / "model.json").write_text(record.replace('"steps": 200', '"steps": 201'))
    before = contents(folder)
    with pytest.raises(RunError, match="untouched"):
        Run.create(folder, {}, overwrite=True)
    assert contents(folder) == before
    (folder / "model.json").write_text(record)
    Run.create(folder, {}, overwrite=True).save_model({}, {})
    assert set(contents(folder)) == {"config.json", "lock", "model.json", "model.safetensors"}


def test_an_unwritable_place_is_named(tmp_path, monkeypatch):
    def refuse(*arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match=r"^out='.*run' cannot be written .*Permission denied"):
        Run.create(tmp_path / "run", {})


def test_a_run_of_an_earlier_format_is_opened_as_it_is(tmp_path):
    """So the version that wrote it can still read it."""
    former = {"model": "rbm", "params": {"rungs": 8}, "format": 1, "equilibria": "0.1.0"}
    (tmp_path / "config.json").write_text(json.dumps(former))
    run = Run.open(tmp_path)
    assert run.config == former
    run.update_config(health=[])
    assert json.loads((tmp_path / "config.json").read_text()) == {**former, "health": []}


def test_what_is_not_a_run_is_not_opened(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        Run.open(tmp_path / "absent")
    with pytest.raises(RunError, match="not a run"):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text('{"format": 1}')
    with pytest.raises(RunError, match=r"not a run.*config\.json"):
        Run.open(tmp_path)


def test_a_damaged_or_newer_configuration_is_named(run):
    path = run.path / "config.json"
    text = path.read_text()
    path.write_text(text[:-5])
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        Run.open(run.path)
    path.write_bytes(b"\xff" + text.encode())
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        Run.open(run.path)
    path.write_text(json.dumps(run.config | {"format": FORMAT + 1, "equilibria": "9.9"}))
    with pytest.raises(RunError, match=rf"format {FORMAT + 1}.*9\.9.*newer one"):
        Run.open(run.path)


def test_metrics_come_back_in_order(run):
    rows = [{"step": s, "cost": 1 / (s + 1), "far": float("inf"), "at": (s,)} for s in range(5)]
    for row in rows:
        run.log(row)
    assert Run.open(run.path).metrics() == [row | {"at": list(row["at"])} for row in rows]
    assert (run.path / "metrics.jsonl").read_text().count("\n") == 5


def test_a_line_cut_short_is_no_row_and_spoils_none(run):
    """Whoever goes on with a run first forgets the rows after the checkpoint, and with them it."""

    def logged() -> list[int]:
        return [row["step"] for row in Run.open(run.path).metrics()]

    for step in (1, 2):
        run.log({"step": step})
    path = run.path / "metrics.jsonl"
    os.truncate(path, path.stat().st_size - 1)  # even where the cut line reads as JSON
    assert logged() == [1]
    run.truncate_metrics(2)
    run.log({"step": 3})
    assert logged() == [1, 3]
    path.write_text('{"step"')
    assert logged() == []


def test_a_damaged_line_in_the_middle_is_named(run):
    for line in ('{"step": ', "[1]", '{"cost": 1}', "\0\0", '{"step": "1"}'):
        (run.path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n')
        with pytest.raises(RunError, match=r"metrics\.jsonl is damaged: line 2"):
            run.metrics()


def test_rows_after_a_step_are_forgotten(run):
    for step in range(6):
        run.log({"step": step, "cost": 0.1})
    run.truncate_metrics(3)
    run.log({"step": 4})
    for reader in (run, Run.open(run.path)):
        assert [row["step"] for row in reader.metrics()] == [0, 1, 2, 3, 4]


def test_the_model_comes_back(run):
    tensors = {"w": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor([True])}
    with pytest.raises(RunError, match=r"model\.safetensors is missing.*resume"):
        run.load_model()
    run.save_model({"w": torch.zeros(1)}, {"first": True})
    run.save_model(tensors, {"layers": [3, 2]})
    loaded, metadata, logged = run.load_model()
    assert run.metrics(logged) == []
    assert metadata == {"layers": [3, 2]}
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    for bad in (({"w": torch.eye(2).to_sparse()}, {}), (tensors, {"scaler": torch.ones(1)})):
        with pytest.raises((TypeError, RuntimeError), match=r"COO|not JSON serializable"):
            run.save_model(*bad)
    assert run.load_model()[1] == {"layers": [3, 2]}


def test_damage_to_the_model_is_named(run):
    for name in ("model.safetensors", "model.json"):
        run.save_model({"w": torch.ones(3)}, {"layers": [3]})
        path, said = run.path / name, name.replace(".", r"\.")
        intact = path.read_bytes()
        flipped = (
            intact[:byte] + bytes([intact[byte] ^ 1 << byte % 8]) + intact[byte + 1 :]
            for byte in range(len(intact))
        )
        for data in (*flipped, intact[:-1], b""):
            path.write_bytes(data)
            with pytest.raises(RunError, match=said):
                run.load_model()
        path.unlink()
        with pytest.raises(RunError, match=f"{said} is missing"):
            run.load_model()


def test_a_failure_while_the_model_is_replaced_leaves_one_of_the_two(tmp_path, monkeypatch):
    replace = os.replace
    for at, first in itertools.product((1, 2, 3), (True, False)):
        count = itertools.count(1)

        def broken(*arguments, calls=count, at=at):
            if next(calls) == at:
                raise OSError(28, "No space left on device")
            replace(*arguments)

        run = Run.create(tmp_path / f"{at}-{first}", {})
        if not first:
            run.save_model({"w": torch.ones(2)}, {"version": 1})
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", broken)
            with pytest.raises(RunError, match="No space left"):
                run.save_model({"w": torch.full((2,), 2.0)}, {"version": 2})
        if first and at < 3:
            with pytest.raises(RunError, match="missing"):
                run.load_model()
        else:
            tensors, metadata, _ = run.load_model()
            assert metadata["version"] == (2 if at == 3 else 1)
            assert torch.equal(tensors["w"], torch.full((2,), float(metadata["version"])))
        run.save_model({"w": torch.full((2,), 3.0)}, {"version": 3})
        assert run.load_model()[1] == {"version": 3}
        assert not list(run.path.glob(".*"))


def test_the_model_of_version_0_1_0_is_read():
    """Its file, its record and its configuration, as that version wrote them."""
    run = Run.open(Path(__file__).parents[1] / "estimators" / "runs" / "rbm-0.1.0")
    tensors, metadata, _ = run.load_model()
    assert tensors["machine.weight.visible-hidden1"].shape == (4, 3)
    assert metadata["machine"]
    assert run.config["format"] == 1
    assert run.metrics()[-1]["step"] > 0


def test_a_full_disk_is_a_sentence(run, monkeypatch):
    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, "replace", refuse)
    for write in (
        lambda: run.update_config(a=1),
        lambda: run.truncate_metrics(1),
        lambda: run.save_model({}, {}),
    ):
        with pytest.raises(RunError, match="No space left"):
            write()
    assert [path.name for path in run.path.iterdir()] == ["config.json"]
    assert "a" not in Run.open(run.path).config


def test_samples_have_a_place(run):
    path = run.sample_path(1500, "joint")
    assert path == run.path / "samples" / "joint-000001500.png"
    assert path.parent.is_dir()


def test_the_lock_admits_one_and_is_given_back(run):
    with run.lock():
        with pytest.raises(RunError, match=f"process {os.getpid()}"), Run.open(run.path).lock():
            pass
        with pytest.raises(RunError, match="being trained"), run.lock():
            pass
    (run.path / ".model.safetensors.99.tmp").write_text("left by a killed process")
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    with run.lock():
        assert {path.name for path in run.path.iterdir()} == {"config.json", "lock"}


def check_after_kill(run: Run, reached: int) -> int:
    run = Run.open(run.path)
    loaded = run.load_checkpoint()
    assert loaded.skipped == []
    assert loaded.step >= reached
    assert loaded.state["again"] == loaded.step
    tensors, metadata, _ = run.load_model()
    for found, step in ((loaded.state["tensors"], loaded.step), (tensors, metadata["step"])):
        assert len(found) == 20
        assert all(
            torch.equal(tensor, torch.full((200,), float(step))) for tensor in found.values()
        )
    logged = [row["step"] for row in run.metrics()]
    assert logged == list(range(len(logged)))
    assert loaded.step <= logged[-1]
    run.truncate_metrics(loaded.step)
    return loaded.step


def test_a_writer_killed_at_random_moments_leaves_a_whole_run(run):
    step = -1
    for _ in range(2):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(run.path), str(step + 1)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            reached = int(writer.stdout.readline())
            time.sleep(random.uniform(0.0, 0.15))
            with pytest.raises(RunError, match=f"process {writer.pid}"), run.lock():
                pass
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
        with run.lock():
            step = check_after_kill(run, reached)


# ---------------------------------------------------------------- of two at once


def test_of_two_that_begin_in_one_folder_one_is_refused(tmp_path, monkeypatch):
    """Both find it empty; the second's configuration is there when the first locks it."""
    monkeypatch.setattr(Run, "refuse_taken", classmethod(lambda *_: False))
    first, second = (Run.create(tmp_path / "run", {"model": "rbm"}) for _ in range(2))
    with pytest.raises(RunError, match="has been replaced by another run"), first.lock():
        pass
    with second.lock():
        pass


def test_what_is_found_of_a_model_is_not_written_beside_another(tmp_path):
    former = Run.create(tmp_path / "run", {"model": "rbm"})
    former.save_model({"w": torch.ones(2)}, {})
    following = Run.create(tmp_path / "run", {"model": "rbm"}, overwrite=True)
    following.save_model({"w": torch.zeros(2)}, {})
    with pytest.raises(RunError, match="has been replaced by another run"):
        former.write_result("evaluation.json", [])
    following.write_result("evaluation.json", [1])
    assert following.read_result("evaluation.json") == [1]


def test_notes_in_a_checkpoint_stay_in_sight(tmp_path):
    run = Run.create(tmp_path / "run", {"model": "rbm"})
    run.save_checkpoint({"x": 1}, 1)
    note = tmp_path / "run" / "checkpoints" / "step-000000001" / "notes.txt"
    note.write_text("mine")
    for step in (2, 3, 4):
        run.save_checkpoint({"x": step}, step)
    assert note.read_text() == "mine"
    assert [path.name for path in note.parent.iterdir()] == ["notes.txt"]
    assert run.load_checkpoint().step == 4
