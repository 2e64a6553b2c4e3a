"""Checkpoints: bit-exact round trips, damage found and named, and no moment that loses a state."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from equilibria import durable
from equilibria.errors import RunError
from equilibria.training.run import Run

FILES = ("state.safetensors", "state.json", "manifest.json")


def same(left, right) -> bool:
    """Equal in structure, type and every bit."""
    if isinstance(left, torch.Tensor):
        bits = [
            t.detach().contiguous().reshape(-1).view(torch.uint8).tolist() for t in (left, right)
        ]
        return left.dtype == right.dtype and left.shape == right.shape and bits[0] == bits[1]
    if isinstance(left, dict):
        keys = [[(type(key), key) for key in side] for side in (left, right)]
        return (
            isinstance(right, dict)
            and keys[0] == keys[1]
            and all(same(left[key], right[key]) for key in left)
        )
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, float):
        return struct.pack(">d", left) == struct.pack(">d", right)
    return left == right


def round_trip(folder: Path, state):
    durable.save(folder / "state", state, 1)
    return durable.load(folder / "state")[0]


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path, {})


def at(run: Run, step: int) -> Path:
    return run.path / "checkpoints" / f"step-{step:09d}"


def names(run: Run) -> list[str]:
    return sorted(path.name for path in (run.path / "checkpoints").iterdir())


def flip(path: Path, byte: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def state_at(step: int) -> dict:
    return {"step": step, "chains": torch.full((3, 2), float(step))}


def trained(optimiser_class, **options):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)
    )
    optimiser = optimiser_class(network.parameters(), **options)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.9)
    return network, optimiser, schedule


def play(network, optimiser, schedule, steps: range) -> None:
    for step in steps:
        rows = torch.rand(8, 3, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        network(rows).square().mean().backward()
        optimiser.step()
        schedule.step()


@pytest.mark.parametrize(
    ("optimiser_class", "options"),
    [
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        (torch.optim.AdamW, {"lr": torch.tensor(0.01), "betas": (0.5, 0.99), "amsgrad": True}),
    ],
)
def test_an_optimiser_goes_on_as_if_it_had_never_stopped(tmp_path, optimiser_class, options):
    through = trained(optimiser_class, **options)
    play(*through, range(5))
    states = [part.state_dict() for part in through]
    loaded = round_trip(tmp_path, states)
    assert same(loaded, [dict(states[0]), *states[1:]])

    again = trained(optimiser_class, **options)
    for part, state in zip(again, loaded, strict=True):
        part.load_state_dict(state)
    play(*through, range(5, 10))
    play(*again, range(5, 10))
    assert same([part.state_dict() for part in again], [part.state_dict() for part in through])


def test_every_dtype_and_kind_of_tensor(tmp_path):
    whole = torch.arange(24.0).reshape(2, 3, 4)
    state = {
        "0-d": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.zeros(0, 3),
        "bool": torch.tensor([True, False]),
        "big": torch.tensor([2**62 + 1, -1]),
        "bfloat16": torch.tensor([1.0, 3.0]).bfloat16(),
        "half": torch.tensor([1.0, 3.0]).half(),
        "special": torch.tensor([math.inf, -0.0, math.nan, 5e-324], dtype=torch.float64),
        "complex": torch.tensor([1 + 2j]).conj(),
        "transposed": whole.mT,
        "expanded": torch.tensor([7.0]).expand(5),
        "shared": [whole, whole[0], whole],
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    loaded = round_trip(tmp_path, state)
    assert same(loaded, {**state, "complex": torch.tensor([1 - 2j])})
    assert not loaded["parameter"].requires_grad
    loaded["shared"][0].zero_()
    assert same(loaded["shared"][2], whole)


def test_plain_values_and_keys_keep_type_and_bits(tmp_path):
    payload = struct.unpack(">d", bytes.fromhex("7ff800000000beef"))[0]
    state = {
        "0": "text key",
        0: "integer key",
        "a/b": {"dict": 1, "tensor": [], "": None},
        "floats": [0.1, -0.0, 1.0, 1e308, 5e-324, math.inf, -math.inf, math.nan, payload],
        "integers": (1, 2**80, -3, True, False),
        "strings": ["π", "\ud800", "line\nbreak", ""],
        "nothing": [None, {}, [], ()],
    }
    assert same(round_trip(tmp_path, state), state)


def random_state(source: random.Random, depth: int):
    leaf = [
        lambda: source.getrandbits(80) - 2**79,
        lambda: struct.unpack(">d", source.randbytes(8))[0],
        lambda: "".join(chr(source.randrange(1, 0x3000)) for _ in range(source.randrange(6))),
        lambda: source.choice([None, True, False]),
        lambda: torch.tensor(
            [source.random() for _ in range(source.randrange(4))],
            dtype=source.choice([torch.float32, torch.float64]),
        ),
        lambda: torch.tensor(source.randrange(100)),
    ]
    if depth == 0 or source.random() < 0.2:
        return source.choice(leaf)()
    size = source.randrange(5)
    if source.random() < 0.5:
        keys = [
            source.choice([source.randrange(-3, 4), str(source.randrange(4)), "state['a']"])
            for _ in range(size)
        ]
        return {key: random_state(source, depth - 1) for key in keys}
    return source.choice([list, tuple])(random_state(source, depth - 1) for _ in range(size))


def test_any_nested_state_survives_json():
    for seed in range(40):
        state = random_state(random.Random(seed), 5)
        tensors, tree = durable.pack(state)
        assert same(durable.unpack(tensors, json.loads(json.dumps(tree))), state), seed
    assert type(durable.unpack(*durable.pack(OrderedDict(a=1)))) is dict


def test_what_cannot_be_held_is_named_with_its_place(run):
    for value, kind in [({1, 2}, "set"), (1j, "complex"), (torch.Size([1]), "Size")]:
        with pytest.raises(TypeError, match=rf"state\['solver'\]\[0\]\[1\].*{kind}"):
            run.save_checkpoint({"solver": {0: [None, value]}}, 1)
    for key in (True, None, 1.5, (0, 1)):
        with pytest.raises(TypeError, match=r"state\['a'\] has the key"):
            run.save_checkpoint({"a": {key: 1}}, 1)
    with pytest.raises(RuntimeError, match="COO"):
        run.save_checkpoint({"weight": torch.eye(2).to_sparse()}, 1)
    assert list(run.path.iterdir()) == []


def test_the_last_ones_are_kept(run):
    for step in (5, 10, 2_000_000_000):
        run.save_checkpoint(state_at(step), step)
    assert run.steps() == [10, 2_000_000_000]
    path = at(run, 2_000_000_000)
    assert path.name == "step-2000000000"
    assert sorted(entry.name for entry in path.iterdir()) == sorted(FILES)
    assert len(names(run)) == 2


def test_going_on_from_an_earlier_step_drops_the_future_that_was_given_up(run):
    for step in (10, 20, 15):
        run.save_checkpoint(state_at(step), step)
    assert run.steps() == [10, 15]


def test_a_damaged_checkpoint_does_not_count_among_the_kept(run):
    for step in (1, 2):
        run.save_checkpoint(state_at(step), step)
    os.truncate(at(run, 2) / "state.safetensors", 9)
    run.save_checkpoint(state_at(3), 3)
    assert run.steps() == [1, 3]


def test_the_same_step_is_replaced(run):
    for version in (1, 2):
        run.save_checkpoint({"version": version}, 7)
    assert run.load_checkpoint().state == {"version": 2}
    assert names(run) == ["step-000000007"]


def test_unfinished_folders_are_cleared_and_foreign_ones_left(run):
    for name in (".step-000000003.12.tmp", "notes", "step-by-step"):
        (run.path / "checkpoints" / name).mkdir(parents=True)
    run.save_checkpoint({}, 4)
    assert names(run) == ["notes", "step-000000004", "step-by-step"]


def test_every_flipped_bit_is_found_and_named(run):
    run.save_checkpoint({"weight": torch.ones(2), "rate": 0.1}, 3)
    folder = at(run, 3)
    for name in FILES:
        intact = (folder / name).read_bytes()
        for byte in range(len(intact)):
            flip(folder / name, byte, byte % 8)
            with pytest.raises(RunError, match=name):
                durable.load(folder)
            (folder / name).write_bytes(intact)
    durable.load(folder)


@pytest.mark.parametrize(
    ("damage", "name"),
    [("flip", FILES[0]), ("truncate", FILES[1]), ("delete", FILES[2])],
)
def test_the_one_before_a_damaged_checkpoint_is_used(run, name, damage):
    for step in (1, 2):
        run.save_checkpoint(state_at(step), step)
    path = at(run, 2) / name
    if damage == "flip":
        flip(path, 30, 4)
    elif damage == "delete":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - 1)
    loaded = run.load_checkpoint()
    assert loaded.step == 1
    assert same(loaded.state, state_at(1))
    assert len(loaded.skipped) == 1
    assert str(path) in loaded.skipped[0]
    with pytest.raises(RunError, match=name):
        durable.load(path.parent)


def test_the_sentence_gives_what_was_expected_and_found(run):
    run.save_checkpoint({"x": torch.ones(2)}, 1)
    path = at(run, 1) / "state.safetensors"
    size = path.stat().st_size
    manifest = json.loads((path.parent / "manifest.json").read_text())
    flip(path, size - 1, 0)
    with pytest.raises(RunError, match=manifest["files"]["state.safetensors"]["sha256"]):
        durable.load(path.parent)
    os.truncate(path, size - 3)
    with pytest.raises(
        RunError, match=rf"{size} bytes .* were written, {size - 3} bytes .* are there"
    ):
        durable.load(path.parent)


def test_when_none_is_usable_each_is_named(run):
    with pytest.raises(RunError, match="no checkpoint"):
        run.load_checkpoint()
    for step in (1, 2):
        run.save_checkpoint(state_at(step), step)
    for step in (1, 2):
        (at(run, step) / "state.json").unlink()
    with pytest.raises(RunError, match=r"step-000000002.*missing.*step-000000001.*missing"):
        run.load_checkpoint()


def test_a_newer_format_is_refused(run, monkeypatch):
    monkeypatch.setattr(durable, "FORMAT", 2)
    run.save_checkpoint({}, 1)
    path = at(run, 1)
    monkeypatch.undo()
    with pytest.raises(RunError, match=r"format 2.*newer version"):
        durable.load(path)


class Killed(BaseException):
    """Stands for death at that instruction; the clearing-up that follows an error raises it as
    well, since the dead do none."""


def break_call(patch, name: str, at: int, error: BaseException) -> None:
    """Let the ``at``-th call of ``os.name`` from now on raise."""
    calls = [0]
    original, rmtree = getattr(os, name), shutil.rmtree

    def broken(*arguments, **keywords):
        calls[0] += 1
        if calls[0] == at:
            raise error
        return original(*arguments, **keywords)

    def rmtree_of_the_living(*arguments, **keywords):
        if calls[0] >= at and isinstance(error, Killed):
            raise error
        rmtree(*arguments, **keywords)

    patch.setattr(os, name, broken)
    patch.setattr(shutil, "rmtree", rmtree_of_the_living)


# Saving step 3 renames twice (the new one in, the oldest away) and calls fsync five times.
CALLS = {"rename": (1, 2), "fsync": range(1, 6)}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Killed()], ids=repr)
def test_a_failure_at_any_call_leaves_what_was_saved(tmp_path, monkeypatch, error):
    for name, call in [(name, call) for name, calls in CALLS.items() for call in calls]:
        run = Run(tmp_path / f"{name}-{call}", {})
        for earlier in (1, 2):
            run.save_checkpoint(state_at(earlier), earlier)
        arrived = (name, call) in (("fsync", 5), ("rename", 2))
        with monkeypatch.context() as patch:
            break_call(patch, name, call, error)
            if (name, call) == ("rename", 2) and error.args:  # one more than two stays: no failure
                run.save_checkpoint(state_at(3), 3)
            else:
                said = "No space left.*earlier checkpoints are intact" if error.args else None
                with pytest.raises((RunError, Killed), match=said):
                    run.save_checkpoint(state_at(3), 3)
        loaded = run.load_checkpoint()
        assert loaded.skipped == [], call
        assert same(loaded.state, state_at(3 if arrived else 2)), call
        assert same(durable.load(at(run, 1))[0], state_at(1)), call

        run.save_checkpoint(state_at(4), 4)
        assert run.load_checkpoint().step == 4
        assert len(names(run)) == 2, call


def test_a_step_that_is_saved_again_loses_no_other(run, monkeypatch):
    """A run goes on from a whole checkpoint, so it saves a step again only where that was damaged;
    killed then, it still has the one before."""
    for step in (1, 2):
        run.save_checkpoint(state_at(step), step)
    (at(run, 2) / "state.json").unlink()
    with monkeypatch.context() as patch:
        break_call(patch, "rename", 1, Killed())
        with pytest.raises(Killed):
            run.save_checkpoint(state_at(2), 2)
    assert same(run.load_checkpoint().state, state_at(1))
    run.save_checkpoint(state_at(2), 2)
    assert same(run.load_checkpoint().state, state_at(2))
    assert len(names(run)) == 2


def test_a_file_keeps_its_mode_and_may_have_a_long_name(tmp_path):
    path = tmp_path / ("x" * 250 + ".csv")
    durable.replace(path, b"one")
    path.chmod(0o600)
    durable.replace(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_killed_writer_left_is_swept_and_what_a_living_one_has_is_not(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead, alive = (tmp_path / f".a.csv.{pid}.tmp" for pid in (process.pid, os.getppid()))
    other = tmp_path / f".b.csv.{process.pid}.tmp"
    for path in (dead, alive, other):
        path.touch()
    durable.replace(tmp_path / "a.csv", b"whole")
    assert not dead.exists()
    assert alive.exists()
    assert other.exists()
